//! Bad input: a stated code at the right phase, nothing of that run published, everybody else untouched.

use serde_json::{Value, json};
use tests::{Place, Run, root, table_name, unique, until};

fn assert_runbook(code: &str) {
    let page = root().join(format!("infra/runbook/{code}.md"));
    assert!(page.is_file(), "{} is missing", page.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_output_fails_with_its_code_and_publishes_nothing() {
    let place = Place::new().await;
    let good = place.run();
    let line =
        |text: &str| format!("{{\"name\": \"a\", \"n\": 1}}\n{text}\n{{\"name\": \"c\", \"n\": 3}}\n").into_bytes();
    let with_body = |body: Vec<u8>| Run { body, ..place.run() };
    let with_fields = |fields: Value| Run { fields, ..place.run() };
    let private_only =
        json!([{"name": "_a", "dataType": "STRING"}, {"name": "b", "dataType": "STRING", "isPrivate": true}]);
    let same_name = json!([{"name": "price", "dataType": "NUMBER"}, {"name": "price", "dataType": "STRING"}]);
    let too_wide: Vec<_> = (0..2_001).map(|n| json!({"name": format!("f{n}"), "dataType": "STRING"})).collect();
    let huge = format!("{{\"name\": \"{}\", \"n\": 2}}", "x".repeat(17 << 20));
    let deep = format!("{{\"name\": {}1{}, \"n\": 2}}", "[".repeat(65), "]".repeat(65));
    let cases: Vec<(Run, &str, &str)> = vec![
        (with_body(line("this is not JSON")), "ROW_NOT_JSON", "staging"),
        (with_body(line("[1, 2]")), "ROW_NOT_OBJECT", "staging"),
        (with_body(line("17")), "ROW_NOT_OBJECT", "staging"),
        (with_body(b"{\"name\": \"a\", \"n\": 1}\n{\"name\": \"b\", \"n\"".to_vec()), "OUTPUT_TRUNCATED", "staging"),
        (with_body(b"{\"name\": \"a\", \"n\": 1}\n".to_vec()), "ROW_COUNT_MISMATCH", "staging"),
        (with_body(Vec::new()), "ROW_COUNT_MISMATCH", "staging"),
        (with_body(line(&huge)), "ROW_TOO_LARGE", "staging"),
        (with_body(line(&deep)), "ROW_TOO_DEEP", "staging"),
        (with_body(line("{\"name\": \"b\", \"n\": \"12 EUR\"}")), "VALUE_NOT_CASTABLE", "schema"),
        (with_body(line("{\"name\": \"b\\u0000\", \"n\": 2}")), "TEXT_INVALID", "schema"),
        (with_body(line("{\"name\": \"b\\ud800\", \"n\": 2}")), "TEXT_INVALID", "schema"),
        (with_fields(private_only), "NO_PUBLIC_FIELDS", "schema"),
        (with_fields(same_name), "FIELD_NAMES_CLASH", "schema"),
        (with_fields(json!(too_wide)), "SCHEMA_TOO_LARGE", "schema"),
        (Run { format: "xml".to_owned(), ..place.run() }, "OUTPUT_FORMAT_UNSUPPORTED", "staging"),
    ];
    for (run, ..) in &cases {
        run.announce(&place.stack).await;
    }
    good.announce(&place.stack).await;
    for (run, code, phase) in &cases {
        let delivery = place.failed(run).await;
        assert_eq!((delivery.code.as_deref(), delivery.phase.as_deref()), (Some(*code), Some(*phase)), "{delivery:?}");
        let message = delivery.message.unwrap_or_default();
        assert!(message.len() > 20 && !message.contains("12 EUR"), "{code} says what to do and no value: {message}");
        assert_runbook(code);
    }
    assert_eq!(place.stack.delivered(&place.connector, &good.workflow, &good.run).await.state, "shared");
    let tables: Vec<_> = place.tables().await.into_iter().filter(|name| name.starts_with("WF_")).collect();
    assert_eq!(tables.len(), 2, "only the good run's tables are there: {tables:?}");
    let keys = place.stack.keys("TablesBucketName", &format!("connectors/{}", place.connector)).await;
    for (run, code, _) in &cases {
        assert!(!keys.iter().any(|key| key.contains(&table_name(&run.workflow, ""))), "{code} left files");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_object_is_waited_for_and_then_fails() {
    let place = Place::new().await;
    let run = place.run();
    place.stack.send(&run.message().to_string()).await;
    let delivery = place.failed(&run).await;
    assert_eq!((delivery.code.as_deref(), delivery.phase.as_deref()), (Some("OUTPUT_NOT_FOUND"), Some("staging")));
    assert_runbook("OUTPUT_NOT_FOUND");

    // Once the object is there, the delivery can be started again.
    place.stack.put_output(&run.key(), run.body.clone()).await;
    let ended = place.stack.execute("DeliverRun", &run.deliver_input(&[&place.connector])).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    let delivery = place.stack.delivered(&place.connector, &run.workflow, &run.run).await;
    assert_eq!((delivery.state.as_str(), delivery.code), ("shared", None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_output_of_zero_rows_is_delivered() {
    let place = Place::new().await;
    let run = Run { body: Vec::new(), row_count: Some(0), ..place.run() };
    run.announce(&place.stack).await;
    let delivery = place.stack.delivered(&place.connector, &run.workflow, &run.run).await;
    assert_eq!(delivery.state, "shared", "{delivery:?}");
    let (columns, rows) = place.stack.rows(&place.profile, &place.connector, &table_name(&run.workflow, "V1")).await;
    assert_eq!((columns.len(), rows.len()), (4, 0), "the table is there with its columns: {columns:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_may_allow_a_fraction_of_rejected_rows() {
    let place = Place::new().await;
    let lenient = unique();
    let profile = place.stack.ready_connector(&lenient, &place.team, json!({"maxRejectedFraction": 0.25})).await;
    let body = b"{\"name\": \"a\", \"n\": 1}\n{\"name\": \"b\", \"n\": 2}\n{\"name\": \"c\", \"n\": 3}\n{\"name\": \"d\", \"n\": true}\n";
    let run = Run { body: body.to_vec(), row_count: Some(4), ..place.run() };
    run.announce(&place.stack).await;
    let strict = place.failed(&run).await;
    assert_eq!(strict.code.as_deref(), Some("VALUE_NOT_CASTABLE"));
    let delivery = place.stack.delivered(&lenient, &run.workflow, &run.run).await;
    assert_eq!(delivery.state, "shared", "one connector's failure is nobody else's: {delivery:?}");
    assert_eq!(delivery.attributes["rejected_rows"], "1");
    let (_, rows) = place.stack.rows(&profile, &lenient, &table_name(&run.workflow, "V1")).await;
    assert_eq!(rows.len(), 3);
    let key = format!("staging/{}/{}/{}/rejects.jsonl", run.team, run.workflow, run.run);
    assert!(place.stack.keys("TablesBucketName", &format!("staging/{}", run.team)).await.contains(&key));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_can_never_be_accepted_go_to_the_dead_letter_queue_with_a_reason() {
    let place = Place::new().await;
    let without = |name: &str, marker: &str| {
        let mut message = place.run().message();
        message.as_object_mut().unwrap().remove(name);
        message["marker"] = json!(marker);
        (message.to_string(), marker.to_owned())
    };
    let with_run_id = |id: &str, marker: &str| {
        let mut message = place.run().message();
        message["runId"] = json!(id);
        message["marker"] = json!(marker);
        (message.to_string(), marker.to_owned())
    };
    let mut cases = vec![(("not JSON ".to_owned() + &unique(), String::new()), "MESSAGE_NOT_JSON", "")];
    cases[0].0.1 = cases[0].0.0.clone();
    cases.push((without("runId", &unique()), "MESSAGE_INVALID", "runId"));
    cases.push((without("finishedAt", &unique()), "MESSAGE_INVALID", "finishedAt"));
    cases.push((without("schema", &unique()), "MESSAGE_INVALID", "schema"));
    for id in ["a/b", "..", "a..b", "it's", "say \"hi\"", "x".repeat(300).as_str(), ""] {
        cases.push((with_run_id(id, &unique()), "MESSAGE_ID_INVALID", "runId"));
    }
    let good = place.run();
    for ((body, _), ..) in &cases {
        place.stack.send(body).await;
    }
    good.announce(&place.stack).await;
    for ((body, marker), code, said) in &cases {
        let found = async || place.stack.refused("RunCompletedDeadLetterQueueUrl", marker).await;
        let (refused, attributes) = until("a message is refused", found).await;
        assert_eq!(&refused, body, "the message is kept as it came");
        assert_eq!(attributes["failureCode"], *code, "{attributes:?}");
        assert!(attributes["failureReason"].contains(said), "{attributes:?}");
        assert_runbook(code);
    }
    assert_eq!(place.stack.delivered(&place.connector, &good.workflow, &good.run).await.state, "shared");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_states_and_unwanted_runs_are_acknowledged_and_an_envelope_is_opened() {
    let place = Place::new().await;
    let unfinished = place.run();
    let mut message = unfinished.message();
    message["state"] = json!("FAILED");
    place.stack.send(&message.to_string()).await;

    let mut unwanted = place.run();
    unwanted.team = unique();
    unwanted.announce(&place.stack).await;

    let enveloped = place.run();
    place.stack.put_output(&enveloped.key(), enveloped.body.clone()).await;
    let envelope = json!({
        "version": "0", "id": unique(), "detail-type": "workflow_run_completed", "source": "kadoa",
        "account": "000000000000", "time": "2026-09-01T06:07:31Z", "region": "us-east-1", "resources": [],
        "detail": enveloped.message(),
    });
    place.stack.send(&envelope.to_string()).await;

    let delivery = place.stack.delivered(&place.connector, &enveloped.workflow, &enveloped.run).await;
    assert_eq!(delivery.state, "shared", "{delivery:?}");
    until("the queue is empty", async || (place.stack.queue_depth("RunCompletedQueueUrl").await == 0).then_some(()))
        .await;
    assert_eq!(place.stack.delivery(&place.connector, &unfinished.workflow, &unfinished.run).await, None);
    let recorded = place
        .stack
        .dynamodb
        .get_item()
        .table_name(place.stack.output("StateTableName"))
        .key("pk", aws_sdk_dynamodb::types::AttributeValue::S(format!("RUNS#{}#{}", unwanted.team, unwanted.workflow)))
        .key("sk", aws_sdk_dynamodb::types::AttributeValue::S(format!("RUN#{}", unwanted.run)))
        .send()
        .await
        .unwrap();
    assert!(recorded.item.is_some(), "a run that nobody wants yet is recorded");
}
