use super::*;

#[tokio::test]
async fn a_catch_up_has_the_activity_written_that_waits_though_the_bucket_holds_none() {
    let mut world = World::active().await;
    let since = world.clock.now();
    world
        .change(Changes::Enable, |known| Connector { missed_since: Some(since), ..known.moved(ConnectorState::Active) })
        .await;
    world.backfill(json!({"catchUp": true})).await.unwrap();
    assert_eq!(world.state.wakes(), [connector_id("acme")]);
}

#[tokio::test]
async fn a_catch_up_delivers_what_was_missed_and_not_the_history_before() {
    let mut world = World::active().await;
    world.announced("w-1", "long-before", &[]).await;
    let refused = world.announced("w-1", "refused", &["acme"]).await;
    world.ended(&delivery_key(&connector_id("acme"), &refused.key), failed(FailureCode::ConnectorDisabled)).await;
    world.clock.advance(3_600);
    let disabled_at = world.clock.now();
    world.announced("w-1", "at-the-edge", &[]).await;
    world.clock.advance(600);
    world.announced("w-1", "missed", &[]).await;
    world.lies("w-1", "history", 1, "a").await;
    world
        .change(Changes::Enable, |known| Connector {
            missed_since: Some(disabled_at),
            ..known.moved(ConnectorState::Active)
        })
        .await;
    world.clock.advance(60);
    let report = world.backfill(json!({"catchUp": true})).await.unwrap();
    assert_eq!(report["counts"]["delivered"], 3);
    assert_eq!(world.shared(), names(&["at-the-edge", "missed", "refused"]));
    assert_eq!(world.connector().await.missed_since, None);
    assert_eq!(world.actions().await, [Changes::Enable, Changes::CatchUp]);
    let again = world.backfill(json!({"catchUp": true})).await.unwrap();
    assert_eq!(again["counts"]["planned"], 0);
}

#[tokio::test]
async fn a_run_that_another_backfill_found_and_whose_message_was_missed_is_caught_up() {
    let mut world = World::active().await;
    world.state.put_connector(&Connector { state: ConnectorState::Active, ..connector("other", "t") }).await.unwrap();
    for (run, minute) in [("found", 1), ("never-announced", 2)] {
        world.lies("w-1", run, minute, "a").await;
    }
    world.backfill(json!({"connectorId": "other"})).await.unwrap();
    world.clock.advance(3_600);
    let disabled_at = world.clock.now();
    let message = message("t", "w-1", "found", 1, "a").to_string();
    let Announcement::Finished(run) = events::run_completed::parse(message.as_bytes()).unwrap() else {
        panic!("it is finished")
    };
    let takers = RunConnectors { taken_by: vec![connector_id("other")], missed_by: vec![connector_id("acme")] };
    assert_eq!(world.state.record_run(&run, &takers, world.clock.now()).await.unwrap(), Recorded::New);
    world
        .change(Changes::Enable, |known| Connector {
            missed_since: Some(disabled_at),
            ..known.moved(ConnectorState::Active)
        })
        .await;
    world.backfill(json!({"catchUp": true})).await.unwrap();
    assert_eq!(world.shared(), names(&["found"]), "what was found and not announced was not missed");
}

#[tokio::test]
async fn what_a_catch_up_could_not_bring_and_may_pass_stays_missed() {
    let mut world = World::active().await;
    let since = world.clock.now();
    world.clock.advance(60);
    world.announced("w-1", "good", &[]).await;
    world.announced("w-1", "unlucky", &[]).await;
    world.announced("w-1", "garbled", &[]).await;
    world
        .change(Changes::Enable, |known| Connector { missed_since: Some(since), ..known.moved(ConnectorState::Active) })
        .await;
    world.clock.advance(60);
    world.failing.insert("unlucky".to_owned(), FailureCode::LoadUnavailable);
    world.failing.insert("garbled".to_owned(), FailureCode::RowNotJson);
    let report = world.backfill(json!({"catchUp": true})).await.unwrap();
    assert_eq!((&report["counts"]["failed"], &report["mayPassLater"]), (&json!(2), &json!(true)));
    assert_eq!(world.connector().await.missed_since, Some(since), "the next enabling goes on");

    world.failing.remove("unlucky");
    let report = world.backfill(json!({"catchUp": true})).await.unwrap();
    assert_eq!((&report["counts"]["failed"], &report["mayPassLater"]), (&json!(1), &json!(false)));
    assert_eq!(world.shared(), names(&["good", "unlucky"]));
    assert_eq!(world.connector().await.missed_since, None, "what is refused for good is not missed for ever");
}

#[tokio::test]
async fn a_catch_up_of_a_connector_that_was_disabled_again_leaves_the_rest_to_the_next() {
    let mut world = World::active().await;
    let since = world.clock.now();
    let missing = |known: &Connector| Connector { missed_since: Some(since), ..known.moved(ConnectorState::Active) };
    world.change(Changes::Enable, missing).await;
    world.clock.advance(60);
    let command = json!({"connectorId": "acme", "catchUp": true});
    let mut progress = Value::Null;
    while progress["next"] != "finish" {
        progress = world.task("plan", &command, "arn:e", &progress).await.unwrap();
    }
    // By a clock that is behind the one of the backfill.
    world.clock.advance(-600);
    world.change(Changes::Disable, |known| known.moved(ConnectorState::Disabled)).await;
    world.announced("w-1", "missed", &[]).await;
    world.change(Changes::Enable, |known| known.moved(ConnectorState::Active)).await;
    world.task("finish", &command, "arn:e", &progress).await.unwrap();
    assert_eq!(world.connector().await.missed_since, Some(since));
    world.clock.advance(1);
    assert_eq!(world.backfill(json!({"catchUp": true})).await.unwrap()["counts"]["delivered"], 1);
    assert_eq!(world.connector().await.missed_since, None);
}

#[tokio::test]
async fn a_connector_that_goes_back_to_its_rollout_catches_up_by_it() {
    let mut world = World::active().await;
    world.lies("w-1", "history", 1, "a").await;
    world.announced("w-1", "long-before", &[]).await;
    world.clock.advance(10_000);
    let now = world.clock.now();
    world
        .change(Changes::Enable, |known| Connector {
            missed_since: Some(now),
            ..known.moved(ConnectorState::Backfilling)
        })
        .await;
    world.clock.advance(1);
    let report = world.backfill(json!({"catchUp": true})).await.unwrap();
    assert_eq!((&report["state"], &report["counts"]["delivered"]), (&json!("active"), &json!(2)));
    assert_eq!(world.connector().await.missed_since, None);
}
