//! The activity log: only what is on its allowlist, each event once, for those who take it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::{Place, Run, root, unique, until};

const LOG: &str = "ACTIVITY_LOG";
const QUEUE: &str = "ActivityQueueUrl";

/// What stands in the fixture for everything that may not leave.
const MARKER: &str = "LEAK";

/// One message of the fixture, and the row that may leave of it.
struct Case {
    name: String,
    message: Value,
    row: Value,
}

fn hostile_cases(team: &str) -> Vec<Case> {
    let bytes = std::fs::read(root().join("tests/fixtures/activity_hostile.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
    let case = |mut case: Value| {
        case["message"]["teamId"] = json!(team);
        Case {
            name: case["case"].as_str().unwrap().to_owned(),
            message: case["message"].take(),
            row: case["row"].take(),
        }
    };
    cases.into_iter().map(case).collect()
}

/// A row in the order of its columns, times as the client writes them.
fn shown(row: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map_or("-".to_owned(), |text| text.replace("+00:00", "Z"));
    row.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// What of a row is known beforehand: an event without an id of its own gets one of its content.
fn known(case: &Case, row: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut row = row.clone();
    if case.row.get("event_id").is_none_or(Value::is_null) {
        row.remove("event_id");
    }
    row
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_allowlist_is_written_and_each_event_once() {
    let place = Place::new().await;
    let cases = hostile_cases(&place.team);
    let public = cases.iter().filter(|case| !case.row.is_null()).count();
    assert!(public >= 20 && json!(cases.iter().map(|c| &c.message).collect::<Vec<_>>()).to_string().contains(MARKER));
    for _ in 0..2 {
        for case in &cases {
            place.stack.send_to(QUEUE, &case.message.to_string()).await;
        }
    }
    let log = place.eventually(LOG, |table| table.rows.len() >= public).await;
    let columns =
        ["event_id", "occurred_at", "event_title", "resource_type", "resource_name", "workflow_id", "request_source"];
    assert_eq!(log.columns, columns, "the fixed allowlist");

    let found: Vec<_> = log.rows.iter().map(shown).collect();
    for case in cases.iter().filter(|case| !case.row.is_null()) {
        let wanted: BTreeMap<_, _> =
            shown(&case.row).into_iter().filter(|(name, _)| known_column(case, name)).collect();
        assert!(found.iter().any(|row| known(case, row) == wanted), "{}: {wanted:?} is not in {found:#?}", case.name);
    }

    // A copy that arrives much later is a copy still; whatever comes behind it shows that it was looked at.
    place.stack.send_to(QUEUE, &cases[0].message.to_string()).await;
    let last = event(&place.team, "The last one", None);
    place.stack.send_to(QUEUE, &last.to_string()).await;
    let log = place.eventually(LOG, |table| !table.having("event_title", "The last one").is_empty()).await;
    assert_eq!(log.rows.len(), public + 1, "each event once: {:#?}", log.rows);
    let commits = place.stack.commits(&place.connector, LOG).await.len();
    assert!(commits < cases.len(), "{commits} commits for {} messages: they are written in batches", 2 * cases.len());

    let prefix = format!("connectors/{}/{LOG}", place.connector);
    let bucket = place.stack.output("TablesBucketName");
    let scanned = place.stack.client("scan_table.py", &[bucket, &prefix, MARKER]).await.unwrap();
    assert!(scanned.len() == 1 && !scanned[0].starts_with("0 files"), "{scanned:#?}");
    let mut pages =
        place.stack.dynamodb.scan().table_name(place.stack.output("StateTableName")).into_paginator().send();
    while let Some(page) = pages.next().await {
        for item in page.unwrap().items() {
            assert!(!format!("{item:?}").to_uppercase().contains(MARKER), "the state table keeps what may not leave");
        }
    }
}

fn known_column(case: &Case, name: &str) -> bool {
    name != "event_id" || case.row.get("event_id").is_some_and(|id| !id.is_null())
}

#[tokio::test(flavor = "multi_thread")]
async fn activity_of_while_its_connector_is_disabled_waits_and_comes_once_when_it_is_enabled() {
    let place = Place::new().await;
    let outbox = format!("CONNECTOR#{}", place.connector);
    let disabled = place.stack.command("DisableConnector", &place.connector, json!({})).await;
    assert_eq!(disabled.status, "SUCCEEDED", "{disabled:?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let now = delivery::timestamp::Timestamp::EPOCH.plus_seconds(i64::try_from(now).unwrap()).to_string();
    let mut lines = Vec::new();
    for title in ["One", "Two"] {
        let mut event = event(&place.team, title, None);
        event["dateTime"] = json!(now);
        place.stack.send_to(QUEUE, &event.to_string()).await;
        lines.push(event.to_string());
    }
    let waiting = async || {
        let waiting = place.stack.items(&outbox, "OUTBOX#ACTIVITY_LOG#").await;
        (waiting.len() == 2).then_some(())
    };
    until("both wait", waiting).await;
    // The history in the bucket has them, too.
    place.stack.put_output(&format!("kadoa/{}/activity/1.jsonl", place.team), lines.join("\n")).await;
    let commits = place.stack.commits(&place.connector, LOG).await.len();
    assert_eq!(commits, 1, "no row is written");

    for _ in 0..2 {
        let enabled = place.stack.command("EnableConnector", &place.connector, json!({})).await;
        assert_eq!(enabled.status, "SUCCEEDED", "{enabled:?}");
        let log = place.eventually(LOG, |table| table.rows.len() >= 2).await;
        let mut titles: Vec<_> = log.rows.iter().map(|row| row["event_title"].as_str().unwrap()).collect();
        titles.sort_unstable();
        assert_eq!(titles, ["One", "Two"], "each once");
    }
    assert!(place.stack.items(&outbox, "OUTBOX#ACTIVITY_LOG#").await.is_empty(), "nothing waits any more");
}

fn event(team: &str, title: &str, workflow: Option<&str>) -> Value {
    let mut event = json!({
        "teamId": team,
        "title": title,
        "dateTime": "2026-09-01T06:07:30.123Z",
        "source": {"requestSource": "API", "userId": "u-1", "userEmail": "someone@acme.test"},
        "resource": {"type": "WORKFLOW", "resourceId": unique(), "name": "Box office"},
        "details": {"changed": [1, 2, 3]},
    });
    if let Some(workflow) = workflow {
        event["resource"]["workflowId"] = json!(workflow);
    }
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_to_connectors_that_take_their_workflow_and_nowhere_if_the_log_is_off() {
    let every = Place::new().await;
    let (mine, other) = (unique(), unique());
    let one = Place::of_team(&every.team, json!({"workflows": [mine]})).await;
    let off = Place::of_team(&every.team, json!({"activityLog": false})).await;
    let stranger = Place::new().await;

    let team = &every.team;
    for (title, workflow) in [("Of mine", Some(&*mine)), ("Of another", Some(&*other)), ("Of the team", None)] {
        every.stack.send_to(QUEUE, &event(team, title, workflow).to_string()).await;
    }
    let run = Run::small(team, &mine, 1);
    run.announce(&every.stack).await;
    let titles = |rows: &[Value]| {
        let mut titles: Vec<_> = rows.iter().map(|row| row["event_title"].as_str().unwrap().to_owned()).collect();
        titles.sort();
        titles
    };
    let log = every.eventually(LOG, |table| table.rows.len() >= 3).await;
    assert_eq!(titles(&log.rows), ["Of another", "Of mine", "Of the team"]);
    let log = one.eventually(LOG, |table| !table.rows.is_empty()).await;
    assert_eq!(titles(&log.rows), ["Of mine"], "team-level events go to a scope of all only");

    // The writer of the connector without the log has been at work, and wrote none.
    off.shared(&run).await;
    off.eventually("WORKFLOW_RUNS", |table| table.rows.len() == 1).await;
    assert!(!off.tables().await.iter().any(|name| name == LOG));
    let keys = off.stack.keys("TablesBucketName", &format!("connectors/{}/{LOG}", off.connector)).await;
    assert_eq!(keys, Vec::<String>::new());

    // Another team's log has none of it.
    stranger.stack.send_to(QUEUE, &event(&stranger.team, "Of a stranger", None).to_string()).await;
    let log = stranger.eventually(LOG, |table| !table.rows.is_empty()).await;
    assert_eq!(titles(&log.rows), ["Of a stranger"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_no_activity_go_to_the_dead_letter_queue_with_a_reason() {
    let place = Place::new().await;
    let without = |name: &str| {
        let mut message = event(&place.team, "An event", None);
        message.as_object_mut().unwrap().remove(name);
        message["marker"] = json!(unique());
        (message.to_string(), message["marker"].as_str().unwrap().to_owned())
    };
    let text = format!("not JSON {}", unique());
    let mut cases = vec![((text.clone(), text), "MESSAGE_NOT_JSON", "")];
    for name in ["teamId", "dateTime", "title"] {
        cases.push((without(name), "MESSAGE_INVALID", name));
    }
    for ((body, _), ..) in &cases {
        place.stack.send_to(QUEUE, body).await;
    }
    place.stack.send_to(QUEUE, &event(&place.team, "A good one", None).to_string()).await;
    for ((body, marker), code, said) in &cases {
        let found = async || place.stack.refused("ActivityDeadLetterQueueUrl", marker).await;
        let (refused, attributes) = until("a message is refused", found).await;
        assert_eq!(&refused, body, "the message is kept as it came");
        assert_eq!(attributes["failureCode"], *code, "{attributes:?}");
        assert!(attributes["failureReason"].contains(said), "{attributes:?}");
        assert!(!attributes["failureReason"].contains("someone@acme.test"), "{attributes:?}");
    }
    let log = place.eventually(LOG, |table| !table.rows.is_empty()).await;
    assert_eq!(log.rows.len(), 1, "the good one arrives beside them");
}
