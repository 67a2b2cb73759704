//! Changes of state are told on the bus: each once by its id, in order, as documented, and without secrets.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use tests::{Inbox, Place, Run, Stack, contact_of, root, table_name, unique, until};

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

/// The hash of the one token of a connector's recipient.
async fn token_hash(stack: &Stack, connector: &str) -> String {
    let found = stack
        .dynamodb
        .query()
        .table_name(stack.output("StateTableName"))
        .key_condition_expression("pk = :pk AND begins_with(sk, :sk)")
        .expression_attribute_values(":pk", s(&format!("TOKENS#{connector}")))
        .expression_attribute_values(":sk", s("TOKEN#"))
        .send()
        .await
        .unwrap();
    let [item] = found.items() else { panic!("one token: {:?}", found.count()) };
    item["sk"].as_s().unwrap().strip_prefix("TOKEN#").unwrap().to_owned()
}

/// Notes a warning, as the watch over tokens does.
async fn warn(stack: &Stack, connector: &str, hash: &str, days: u16) {
    let update = stack.dynamodb.update_item().table_name(stack.output("StateTableName"));
    let update = update.key("pk", s(&format!("TOKENS#{connector}"))).key("sk", s(&format!("TOKEN#{hash}")));
    let update = update.update_expression("SET warned_days = :days");
    update.expression_attribute_values(":days", AttributeValue::N(days.to_string())).send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_state_is_told_once_and_as_documented() {
    let (stack, connector, team) = (Stack::of_this_test(), unique(), unique());
    let mut inbox = Inbox::of_connector(&stack, &connector).await;
    let profile = stack.ready_connector(&connector, &team, json!({"backfill": false})).await;
    let place = Place { stack: stack.clone(), team: team.clone(), connector: connector.clone(), profile };

    let good = place.run();
    let delivered = place.deliver(&good).await;
    let bad = Run { body: b"not JSON\n".to_vec(), row_count: None, ..place.run() };
    bad.announce(&stack).await;
    let failed = place.failed(&bad).await;
    let hash = token_hash(&stack, &connector).await;
    for days in [30, 7, 7, 1] {
        warn(&stack, &connector, &hash, days).await;
    }

    let told = inbox.told(6).await;
    let named = |name: &str| told.iter().filter(|event| event.name == name).collect::<Vec<_>>();
    let [ready] = named("connector.ready")[..] else { panic!("{told:?}") };
    let id = |event: &tests::Told| json!(event.id());
    let at = ready.detail["occurredAt"].clone();
    assert_eq!(
        ready.detail,
        json!({"schemaVersion": 1, "eventId": id(ready), "occurredAt": at, "connectorId": connector, "teamId": team})
    );
    let [shared] = named("delivery.shared")[..] else { panic!("{told:?}") };
    assert_eq!(
        shared.detail,
        json!({
            "schemaVersion": 1, "eventId": id(shared), "occurredAt": delivered.attributes["shared_at"],
            "connectorId": connector, "teamId": team, "workflowId": good.workflow, "runId": good.run,
            "tableName": table_name(&good.workflow, "V1"), "tableVersion": 0, "rows": 3, "rejectedRows": 0,
        })
    );
    let [told_failed] = named("delivery.failed")[..] else { panic!("{told:?}") };
    assert_eq!(
        told_failed.detail,
        json!({
            "schemaVersion": 1, "eventId": id(told_failed), "occurredAt": failed.attributes["failed_at"],
            "connectorId": connector, "teamId": team, "workflowId": bad.workflow, "runId": bad.run,
            "phase": "staging", "code": "ROW_NOT_JSON", "message": failed.message, "attempts": 1,
        })
    );
    let days: Vec<_> = named("token.expiring").iter().map(|event| event.detail["daysLeft"].clone()).collect();
    assert_eq!(days, [30, 7, 1], "each threshold once, in order");
    assert_eq!(told.len(), 6, "and nothing else: {told:?}");

    let texts: Vec<String> = inbox.came().iter().map(|event| event.whole.to_string()).collect();
    for secret in [hash.as_str(), &contact_of(&connector), "planted-"] {
        assert!(!texts.iter().any(|text| text.contains(secret)), "no event holds a secret");
    }
    let file = std::env::temp_dir().join(format!("events-{connector}.jsonl"));
    std::fs::write(&file, texts.join("\n")).unwrap();
    let schemas = root().join("docs/schemas/events");
    let valid = stack.client("validate_events.py", &[schemas.to_str().unwrap(), file.to_str().unwrap()]).await.unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(valid, [format!("{} events are valid", texts.len())]);
    inbox.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_is_revoked_is_told() {
    let (stack, connector, team) = (Stack::of_this_test(), unique(), unique());
    let mut inbox = Inbox::of_connector(&stack, &connector).await;
    stack.ready_connector(&connector, &team, json!({"backfill": false})).await;
    let ended = stack.execute("RevokeConnector", &json!({"connectorId": connector})).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    let told = inbox.told(2).await;
    let names: Vec<_> = told.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["connector.ready", "connector.revoked"]);
    assert_eq!(told[1].detail["teamId"], team);
    inbox.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_ends_in_the_middle_tells_everything_all_the_same() {
    let (stack, connector, team) = (Stack::of_this_test(), unique(), unique());
    let mut inbox = Inbox::of_connector(&stack, &connector).await;
    let profile = stack.ready_connector(&connector, &team, json!({"backfill": false})).await;
    let place = Place { stack: stack.clone(), team, connector, profile };
    let fault = json!({"function": "publish-events", "nth": 1, "times": 2, "when": "after", "action": "kill"});
    let ordered = stack.gateway(reqwest::Method::POST, "/faults", Some(fault)).await;
    let runs: Vec<Run> = (0..4).map(|_| place.run()).collect();
    for run in &runs {
        place.deliver(run).await;
    }
    let told = inbox.told(1 + runs.len()).await;
    let mut shared: Vec<_> = told.iter().filter_map(|event| event.detail["runId"].as_str()).collect();
    let mut expected: Vec<_> = runs.iter().map(|run| run.run.as_str()).collect();
    shared.sort_unstable();
    expected.sort_unstable();
    assert_eq!(shared, expected);
    until("the publisher was ended twice", async || {
        let faults = stack.gateway(reqwest::Method::GET, "/faults", None).await;
        let ours = faults.as_array().unwrap().iter().find(|fault| fault["id"] == ordered["id"]).cloned();
        ours.filter(|fault| fault["fired"] == 2)
    })
    .await;
    inbox.close().await;
}
