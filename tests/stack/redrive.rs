//! After a fix: failed deliveries are started again from where they failed, and dead-letter messages go back.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::QueueAttributeName;
use delivery::timestamp::Timestamp;
use serde_json::{Value, json};
use tests::{Execution, Inbox, Place, Run, table_name, unique, until};

fn output(ended: &Execution) -> Value {
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    serde_json::from_str(ended.output.as_deref().unwrap()).unwrap()
}

fn now_millis() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

async fn redrive(place: &Place, more: Value) -> Execution {
    let mut input = json!({"connectorId": place.connector, "ratePerMinute": 600});
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    place.stack.execute("RedriveDeliveries", &input).await
}

/// Everything in a workflow's version table and what is staged of a run: names and when they were written.
async fn written(place: &Place, run: &Run) -> BTreeMap<String, String> {
    use futures::TryStreamExt as _;
    use object_store::ObjectStore as _;
    let bucket = place.stack.bucket("TablesBucketName");
    let mut found = BTreeMap::new();
    let table = format!("connectors/{}/{}", place.connector, table_name(&run.workflow, "V1"));
    for prefix in [table, format!("staging/{}/{}/{}", run.team, run.workflow, run.run)] {
        let objects: Vec<_> = bucket.list(Some(&prefix.as_str().into())).try_collect().await.unwrap();
        assert!(!objects.is_empty(), "{prefix}");
        found.extend(objects.into_iter().map(|object| (object.location.to_string(), object.last_modified.to_string())));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_failed_at_its_proof_goes_on_there() {
    let place = Place::new().await;
    let mut inbox = Inbox::of_connector(&place.stack, &place.connector).await;
    let first = place.run();
    place.deliver(&first).await;
    let unshared = place.unshare(&first.workflow).await;
    let run = Run::small(&place.team, &first.workflow, 5);
    run.announce(&place.stack).await;
    let failed = place.failed(&run).await;
    assert_eq!((failed.phase.as_deref(), failed.code.as_deref()), (Some("proof"), Some("PROOF_REFUSED")));
    let before = written(&place, &run).await;

    // Not mended yet: it fails again, which is told again.
    let asked = json!({"code": "PROOF_REFUSED", "workflows": [run.workflow], "ratePerMinute": 600});
    let report = output(&place.stack.execute("RedriveDeliveries", &asked).await);
    assert_eq!((&report["matched"], &report["started"]), (&json!(1), &json!(1)), "whoever's it is: {report}");
    let again = until("it fails again", async || {
        let delivery = place.stack.delivery(&place.connector, &run.workflow, &run.run).await.unwrap();
        (delivery.state == "failed" && delivery.attributes["failed_at"] != failed.attributes["failed_at"])
            .then_some(delivery)
    })
    .await;
    assert_eq!(again.attributes["attempts"], "2");

    place.share_again(unshared).await;
    // Two at once start it once.
    let (one, other) = tokio::join!(redrive(&place, json!({})), redrive(&place, json!({})));
    assert_eq!((one.status.as_str(), other.status.as_str()), ("SUCCEEDED", "SUCCEEDED"));
    let shared = place.arrived(&run).await;
    assert_eq!(shared.attributes["attempts"], "3", "one execution of the two redrives");
    for step in ["loading_at", "publishing_at", "aimed_table_version", "loaded_table_version"] {
        assert_eq!(shared.attributes.get(step), failed.attributes.get(step), "{step}: it was not loaded again");
    }
    assert_eq!(written(&place, &run).await, before, "nothing was staged or committed again");
    let (_, rows) = place.stack.rows(&place.profile, &place.connector, &table_name(&run.workflow, "LATEST")).await;
    assert_eq!(rows.len(), 8);

    let told: Vec<_> = inbox.told(4).await.into_iter().map(|event| (event.name.clone(), event.detail)).collect();
    let of_run: Vec<_> = told.iter().filter(|(_, detail)| detail["runId"] == run.run).map(|(name, _)| name).collect();
    assert_eq!(of_run, ["delivery.failed", "delivery.failed", "delivery.shared"], "each change of state, in order");
    let report = output(&redrive(&place, json!({})).await);
    assert_eq!((&report["examined"], &report["started"]), (&json!(0), &json!(0)), "nothing is left to do: {report}");
    inbox.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_was_left_behind_is_started_again_for_what_it_was_made_for() {
    let place = Place::new().await;
    let unshared = {
        let first = place.run();
        place.deliver(&first).await;
        let unshared = place.unshare(&first.workflow).await;
        (first.workflow, unshared)
    };
    let run = Run::small(&place.team, &unshared.0, 5);
    run.announce(&place.stack).await;
    place.failed(&run).await;
    place.share_again(unshared.1).await;
    // As if a backfill had made it, and its failure could not be recorded four hours ago.
    let move_to = async |hours: i64| {
        let at = Timestamp::from_millis(now_millis() - hours * 3_600_000).unwrap();
        let key = |text: String| AttributeValue::S(text);
        let update = place.stack.dynamodb.update_item().table_name(place.stack.output("StateTableName"));
        let update = update.key("pk", key(format!("CONNECTOR#{}", place.connector)));
        let update = update.key("sk", key(format!("DELIVERY#{}#{}", run.workflow, run.run)));
        let update = update.update_expression(
            "SET #state = :state, updated_at = :at, undelivered_since_micros = :since, origin = :origin",
        );
        let update = update.expression_attribute_names("#state", "state");
        let update = update.expression_attribute_values(":state", key("proving".to_owned()));
        let update = update.expression_attribute_values(":origin", key("backfill".to_owned()));
        let update = update.expression_attribute_values(":since", AttributeValue::N(at.micros().to_string()));
        update.expression_attribute_values(":at", key(at.to_string())).send().await.unwrap();
    };
    move_to(2).await;
    let report = output(&redrive(&place, json!({})).await);
    assert_eq!((&report["examined"], &report["started"]), (&json!(1), &json!(0)), "its execution may be at work");
    move_to(4).await;
    let report = output(&redrive(&place, json!({"phase": "proof"})).await);
    assert_eq!(report["byCode"], json!({"PROOF_INTERRUPTED": 1}), "{report}");
    let shared = place.arrived(&run).await;
    assert_eq!(shared.attributes["origin"], "backfill");
    let (_, rows) = place.stack.rows(&place.profile, &place.connector, &table_name(&run.workflow, "V1")).await;
    assert_eq!(rows.len(), 8, "each row once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_takes_what_it_was_asked_for_at_its_rate() {
    let place = Place::new().await;
    let first = place.run();
    place.deliver(&first).await;
    let unshared = place.unshare(&first.workflow).await;
    let unproven: Vec<Run> = (0..5).map(|_| Run::small(&place.team, &first.workflow, 2)).collect();
    let garbled = Run { body: b"not JSON\n".to_vec(), row_count: None, ..place.run() };
    for run in unproven.iter().chain([&garbled]) {
        run.announce(&place.stack).await;
    }
    let mut failed_at = Vec::new();
    for run in unproven.iter().chain([&garbled]) {
        failed_at.push(place.failed(run).await.attributes["failed_at"].clone());
    }
    place.share_again(unshared).await;

    let count = async |more: Value| {
        let mut more = more;
        more["dryRun"] = json!(true);
        let report = output(&redrive(&place, more).await);
        assert_eq!(report["started"], 0);
        report["matched"].as_u64().unwrap()
    };
    assert_eq!(count(json!({})).await, 6);
    assert_eq!(count(json!({"phase": "proof"})).await, 5);
    assert_eq!(count(json!({"code": "ROW_NOT_JSON"})).await, 1);
    assert_eq!(count(json!({"workflows": [garbled.workflow]})).await, 1);
    // As instants: their texts have as many digits as they need.
    let instant = |text: &&String| delivery::timestamp::Timestamp::parse(text).unwrap();
    let last = failed_at.iter().max_by_key(instant).unwrap();
    assert_eq!(count(json!({"from": "2000-01-01T00:00:00Z", "to": last})).await, 5, "`to` is not taken");
    assert_eq!(count(json!({"from": last})).await, 1);
    let by_code = output(&redrive(&place, json!({"dryRun": true})).await)["byCode"].clone();
    assert_eq!(by_code, json!({"PROOF_REFUSED": 5, "ROW_NOT_JSON": 1}));

    // At 12 a minute a page starts two: five take three pages.
    let ended = redrive(&place, json!({"phase": "proof", "ratePerMinute": 12})).await;
    assert_eq!(output(&ended)["started"], 5, "{ended:?}");
    assert_eq!(place.stack.tasks_entered(&ended).await, 3);
    for run in &unproven {
        place.arrived(run).await;
    }
    let garbled = place.stack.delivery(&place.connector, &garbled.workflow, &garbled.run).await.unwrap();
    assert_eq!((garbled.state.as_str(), garbled.attributes["attempts"].as_str()), ("failed", "1"), "left alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_cannot_be_meant_is_refused() {
    let place = Place::new().await;
    for (input, said) in [
        (json!({"connectorId": null}), "REDRIVE_INVALID: connectorId must be left out"),
        (json!({"connectorId": "../x"}), "REDRIVE_INVALID: connectorId must be 1 to"),
        (json!({"connectorId": place.connector, "pahse": "proof"}), "REDRIVE_INVALID: the input has a property that"),
        (json!({"connectorId": place.connector, "phase": "lunch"}), "REDRIVE_INVALID: phase must be"),
        (
            json!({"connectorId": place.connector, "ratePerMinute": 601}),
            "REDRIVE_INVALID: ratePerMinute must be 1 to 600",
        ),
        (json!({"connectorId": unique()}), "CONNECTOR_NOT_FOUND: "),
    ] {
        let ended = place.stack.execute("RedriveDeliveries", &input).await;
        let cause = ended.cause.clone().unwrap_or_default();
        assert_eq!((ended.status.as_str(), ended.error.as_deref()), ("FAILED", Some("Delivery.Rejected")));
        assert!(cause.contains(said), "{cause}");
    }
    for (input, said) in [
        (json!({"queue": "lunch"}), "REDRIVE_INVALID: queue must be runCompleted"),
        (json!({"queue": "activity", "limit": 0}), "REDRIVE_INVALID: limit must be 1 to 10000"),
    ] {
        let ended = place.stack.execute("RedriveMessages", &input).await;
        assert!(ended.cause.clone().unwrap_or_default().contains(said), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_the_dead_letter_queue_goes_back_after_the_fix() {
    let place = Place::new().await;
    // As if it had been received too often: an accept-run that lacked a permission.
    let run = place.run();
    place.stack.put_output(&run.key(), run.body.clone()).await;
    place.stack.send_to("RunCompletedDeadLetterQueueUrl", &run.message().to_string()).await;
    // Of other tests there may be refused messages, too: they are refused again, and stay.
    let refused = format!("still not JSON {}", unique());
    place.stack.send_to("RunCompletedDeadLetterQueueUrl", &refused).await;
    let input = json!({"queue": "runCompleted", "ratePerMinute": 600, "requestedBy": "ada"});
    let report = output(&place.stack.execute("RedriveMessages", &input).await);
    assert!(report["sent"].as_u64().unwrap() >= 2, "{report}");
    place.shared(&run).await;
    let found = async || place.stack.refused("RunCompletedDeadLetterQueueUrl", &refused).await;
    let (body, attributes) = until("a message that is still wrong is refused again", found).await;
    assert_eq!((body, attributes["failureCode"].as_str()), (refused, "MESSAGE_NOT_JSON"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wakes_of_the_metadata_writer_go_back_into_their_group() {
    let place = Place::new().await;
    let dead_letters = place.stack.queue("MetadataDeadLetterQueue").await;
    let wake = json!({"connectorId": place.connector}).to_string();
    let send = place.stack.sqs.send_message().queue_url(&dead_letters).message_body(wake);
    send.message_group_id(&place.connector).message_deduplication_id(unique()).send().await.unwrap();
    let report = output(&place.stack.execute("RedriveMessages", &json!({"queue": "metadata"})).await);
    assert!(report["sent"].as_u64().unwrap() >= 1, "{report}");
    until("the dead-letter queue is empty", async || {
        let depth = place.stack.sqs.get_queue_attributes().queue_url(&dead_letters);
        let depth = depth.attribute_names(QueueAttributeName::All).send().await.unwrap();
        let count = depth.attributes().unwrap()[&QueueAttributeName::ApproximateNumberOfMessages].clone();
        (count == "0").then_some(())
    })
    .await;
}
