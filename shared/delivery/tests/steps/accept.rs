//! Accepting runs: once, for the connectors in scope, whoever is enabled meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use delivery::accept::{Accepted, accept};
use delivery::backfill::BackfillId;
use delivery::ports::{BackfillStore as _, ConnectorStore as _, FoundBy, FoundRun};
use delivery::run::Announcement;
use delivery::team::CONNECTORS_PER_TEAM_MAX;
use futures::FutureExt as _;

use super::*;

#[tokio::test]
async fn messages_are_accepted_once_and_only_for_connectors_in_scope() {
    let world = World::new().await;
    let only = Scope::Only([workflow_id("another")].into());
    world.set_up(Connector { workflows: only, ..connector("other", "t") }).await;
    let run = a_run("r", 10);
    let announce = || Announcement::Finished(Box::new(run.clone()));
    let now = instant(0);
    assert_eq!(accept(&world.state, &world.state, &world.state, announce(), now).await.unwrap(), Accepted::Started);
    for _ in 0..3 {
        assert_eq!(
            accept(&world.state, &world.state, &world.state, announce(), now).await.unwrap(),
            Accepted::Duplicate
        );
    }
    let started = world.state.started();
    assert_eq!(started.len(), 1);
    let (_, connectors) = started.get(&run.key.execution_name()).unwrap();
    assert_eq!(connectors, &[connector_id(CONNECTOR)]);

    let unfinished = Announcement::NotFinished { state: "FAILED".to_owned() };
    assert_eq!(accept(&world.state, &world.state, &world.state, unfinished, now).await.unwrap(), Accepted::NotFinished);
    let stranger = Run { key: run_key("stranger", "w", "r"), ..run.clone() };
    let announced = Announcement::Finished(Box::new(stranger.clone()));
    assert_eq!(accept(&world.state, &world.state, &world.state, announced, now).await.unwrap(), Accepted::Unwanted);
    assert!(world.state.recorded_run(&stranger.key).await.unwrap().is_some(), "recorded all the same");
    assert_eq!(world.state.started().len(), 1);
}

#[tokio::test]
async fn a_run_that_a_backfill_found_before_its_message_came_still_reaches_every_connector() {
    let world = World::new().await;
    world.set_up(connector("other", "t")).await;
    let run = a_run("r", 10);
    let by = FoundBy::page(&BackfillId::of_execution("e"), 1);
    world.state.record_found(&[FoundRun { run: run.clone(), bytes: 1 }], &by, instant(0)).await.unwrap();
    for expected in [Accepted::Started, Accepted::Duplicate] {
        let announced = Announcement::Finished(Box::new(run.clone()));
        let accepted = accept(&world.state, &world.state, &world.state, announced, instant(1)).await.unwrap();
        assert_eq!(accepted, expected);
    }
    let started = world.state.started();
    assert_eq!(started.len(), 1, "one execution, however often it is announced");
    let (_, connectors) = started.get(&run.key.execution_name()).unwrap();
    assert_eq!(connectors, &[connector_id(CONNECTOR), connector_id("other")]);
}

/// Whenever a connector is enabled while a run is accepted, it gets the run live, or its catch-up finds the record.
#[tokio::test]
async fn a_connector_that_is_enabled_while_a_run_is_accepted_gets_it() {
    let run = a_run("r", 10);
    let asleep = Connector { state: ConnectorState::Disabled, ..connector("asleep", "t") };
    let mut live = Vec::new();
    for call in 0..6 {
        let state = Arc::new(InMemoryState::default());
        state.put_connector(&asleep).await.unwrap();
        state.put_connector(&connector("awake", "t")).await.unwrap();
        let (enabling, awake) = (state.clone(), asleep.moved(ConnectorState::Active));
        let key = run.key.clone();
        let caught_up = Arc::new(AtomicBool::new(false));
        let finds = caught_up.clone();
        state.faults.meanwhile(state.faults.calls().len() + call, move || {
            enabling.put_connector(&awake).now_or_never().unwrap().unwrap();
            let history = enabling.history(&key.team, None, 10).now_or_never().unwrap().unwrap();
            finds.store(!history.is_empty(), Ordering::SeqCst);
        });
        let announced = Announcement::Finished(Box::new(run.clone()));
        let _ = accept(&*state, &*state, &*state, announced, instant(0)).await.unwrap();
        let started = state.started().values().any(|(_, to)| to.contains(&asleep.id));
        let enabled = state.connector(&asleep.id).await.unwrap().unwrap().state == ConnectorState::Active;
        let finds = caught_up.load(Ordering::SeqCst);
        assert!(!enabled || started || finds, "enabled at call {call}: nobody brings it the run");
        live.push(started);
    }
    // The list, the record, the list again; then the schema's number and the execution.
    assert_eq!(live, [true, true, true, false, false, false]);
}

#[tokio::test]
async fn a_copy_of_a_message_starts_what_the_first_did_not_come_to() {
    let run = a_run("r", 10);
    let state = InMemoryState::default();
    let asleep = Connector { state: ConnectorState::Disabled, ..connector("asleep", "t") };
    state.put_connector(&asleep).await.unwrap();
    let announce = || Announcement::Finished(Box::new(run.clone()));
    // The first attempt ends behind the record.
    state.faults.fail_call(state.faults.calls().len() + 1, PortErrorKind::Unavailable, Strikes::After);
    accept(&state, &state, &state, announce(), instant(0)).await.unwrap_err();
    state.put_connector(&asleep.moved(ConnectorState::Active)).await.unwrap();
    state.put_connector(&connector("later", "t")).await.unwrap();
    assert_eq!(accept(&state, &state, &state, announce(), instant(0)).await.unwrap(), Accepted::Duplicate);
    let started = state.started();
    let (_, connectors) = started.get(&run.key.execution_name()).unwrap();
    assert_eq!(connectors, &[connector_id("asleep")], "and nobody who was set up later");
}

#[tokio::test]
async fn a_run_that_more_connectors_take_than_can_be_is_refused_whole() {
    let state = InMemoryState::default();
    for n in 0..=CONNECTORS_PER_TEAM_MAX {
        state.put_connector(&connector(&format!("c-{n}"), "t")).await.unwrap();
    }
    let run = a_run("r", 10);
    let announced = || Announcement::Finished(Box::new(run.clone()));
    let refused = accept(&state, &state, &state, announced(), instant(0)).await.unwrap_err();
    assert_eq!((refused.code, state.recorded_run(&run.key).await.unwrap()), (FailureCode::TeamFull, None));
    let one = connector("c-0", "t");
    state.put_connector(&one.revoked().unwrap()).await.unwrap();
    assert_eq!(accept(&state, &state, &state, announced(), instant(0)).await.unwrap(), Accepted::Started);
    assert_eq!(state.started()[&run.key.execution_name()].1.len(), CONNECTORS_PER_TEAM_MAX);
}

#[tokio::test]
async fn schema_versions_are_numbered_in_the_order_of_the_announcements() {
    let world = World::new().await;
    let (old, new) = (a_run("r1", 10), with_fields(a_run("r2", 20), vec![field("other", "NUMBER")]));
    for run in [&old, &new] {
        let announced = Announcement::Finished(Box::new(run.clone()));
        assert_eq!(
            accept(&world.state, &world.state, &world.state, announced, instant(0)).await.unwrap(),
            Accepted::Started
        );
    }
    // The later run is through first.
    for run in [&new, &old] {
        world.deliver(run).await.unwrap();
    }
    assert_eq!(world.files(&version(1)).await, ["r1-00000.parquet"]);
    assert_eq!(world.files(&version(2)).await, ["r2-00000.parquet"]);
    assert_eq!(world.files(&latest()).await, ["r2-00000.parquet"]);
}

#[tokio::test]
async fn a_message_that_fails_half_way_is_accepted_when_it_comes_again() {
    let run = a_run("r", 10);
    for number in 0.. {
        let world = World::new().await;
        let before = world.state.faults.calls().len();
        world.state.faults.fail_call(before + number, PortErrorKind::Unavailable, Strikes::After);
        let announce = || Announcement::Finished(Box::new(run.clone()));
        let first = accept(&world.state, &world.state, &world.state, announce(), instant(0)).await;
        let Err(error) = first else {
            assert!(number > 1, "the story has several calls");
            return;
        };
        assert_eq!(error.code, FailureCode::AcceptUnavailable);
        let _ = accept(&world.state, &world.state, &world.state, announce(), instant(0)).await.unwrap();
        assert_eq!(world.state.started().len(), 1, "call {number}");
    }
}
