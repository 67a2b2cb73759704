use delivery::ids::WorkflowId;
use delivery::metadata::{Cell, MetadataTable};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const UPDATED: &str = include_str!("../fixtures/activity/workflow-updated.json");
const ENVELOPE: &str = include_str!("../fixtures/activity/eventbridge.json");
const SYSTEM: &str = include_str!("../fixtures/activity/system.json");

/// Messages with `LEAK…` planted in every place, each with the row that it has to become.
const HOSTILE: &str = include_str!("../../../tests/fixtures/activity_hostile.json");

fn row(body: &str) -> Value {
    let event = parse(body.as_bytes()).unwrap();
    let columns = MetadataTable::ActivityLog.columns().iter();
    let cell = |cell: Cell| match cell {
        Cell::Null => Value::Null,
        Cell::Text(text) => text.into(),
        Cell::Timestamp(at) => at.to_string().into(),
        Cell::Integer(_) | Cell::Boolean(_) => panic!("no such column"),
    };
    columns.zip(event.row().row).map(|(column, value)| (column.name.to_owned(), cell(value))).collect()
}

fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut message: Value = serde_json::from_str(UPDATED).unwrap();
    change(&mut message);
    message.to_string()
}

#[test]
fn a_message_becomes_a_row() {
    let expected = json!({
        "event_id": "evt_01J6YQ4T8Z",
        "occurred_at": "2026-09-01T06:07:30.125000Z",
        "event_title": "Workflow updated",
        "resource_type": "WORKFLOW",
        "resource_name": "Box office",
        "workflow_id": "6606aff0-f6f0-4d26-8321-8e89ad7a00ec",
        "request_source": "UI",
    });
    assert_eq!(row(UPDATED), expected);
    let event = parse(UPDATED.as_bytes()).unwrap();
    assert_eq!(event.team().as_str(), "team-acme");
    assert_eq!(event.workflow().map(WorkflowId::as_str), expected["workflow_id"].as_str());
}

#[test]
fn a_message_in_an_envelope_becomes_a_row() {
    let mut found = row(ENVELOPE);
    let id = found["event_id"].take();
    assert_eq!(id.as_str().unwrap().len(), 64);
    let expected = json!({
        "event_id": null,
        "occurred_at": "2026-09-01T06:07:30Z",
        "event_title": "Member invited: [redacted]",
        "resource_type": "TEAM_MEMBER",
        "resource_name": null,
        "workflow_id": null,
        "request_source": "API",
    });
    assert_eq!(found, expected);
    let envelope: Value = serde_json::from_str(ENVELOPE).unwrap();
    assert_eq!(row(&envelope["detail"].to_string())["event_id"], id, "with and without an envelope it is one event");
}

#[test]
fn a_message_without_the_optional_members_becomes_a_row() {
    let mut found = row(SYSTEM);
    found["event_id"].take();
    let expected = json!({
        "event_id": null,
        "occurred_at": "2026-09-01T06:07:30Z",
        "event_title": "Maintenance finished",
        "resource_type": null,
        "resource_name": null,
        "workflow_id": null,
        "request_source": "SYSTEM",
    });
    assert_eq!(found, expected);
}

#[test]
fn what_can_never_be_a_row_is_refused_by_the_name_of_its_property() {
    for (pointer, value, expected) in [
        ("/teamId", Value::Null, "MESSAGE_INVALID: teamId is missing"),
        ("/teamId", json!(7), "MESSAGE_INVALID: teamId must be a string"),
        ("/dateTime", Value::Null, "MESSAGE_INVALID: dateTime is missing"),
        ("/dateTime", json!(1_788_242_850), "MESSAGE_INVALID: dateTime must be a string"),
        ("/dateTime", json!("secret"), "MESSAGE_INVALID: dateTime must be a time as RFC 3339 writes it"),
        ("/title", Value::Null, "MESSAGE_INVALID: title is missing"),
        ("/title", json!({"text": "secret"}), "MESSAGE_INVALID: title must be a string"),
        ("/title", json!(["secret"]), "MESSAGE_INVALID: title must be a string"),
        ("/title", json!(7), "MESSAGE_INVALID: title must be a string"),
        ("/title", json!(""), "MESSAGE_INVALID: title must hold a text"),
        ("/title", json!(" \n\u{0}"), "MESSAGE_INVALID: title must hold a text"),
    ] {
        let body = changed(|message| *message.pointer_mut(pointer).unwrap() = value);
        assert_eq!(parse(body.as_bytes()).unwrap_err().to_string(), expected);
    }
    let body = changed(|message| message["teamId"] = json!("../secret"));
    let error = parse(body.as_bytes()).unwrap_err();
    assert_eq!(error.code, FailureCode::MessageIdInvalid);
    assert!(!error.message.contains("secret"));
}

#[test]
fn what_is_no_json_object_is_refused_and_not_quoted() {
    let surrogate = UPDATED.replace("Workflow updated", r"secret \ud800");
    let raw_nul = UPDATED.replace("Workflow updated", "secret \u{0}");
    let deep = format!("{{\"details\": {}\"secret\"{}}}", "[".repeat(200), "]".repeat(200));
    for body in ["", "secret", "{\"secret\"", "[\"secret\"]", "7", "null", &surrogate, &raw_nul, &deep] {
        let error = parse(body.as_bytes()).unwrap_err();
        assert_eq!(error.code, FailureCode::MessageNotJson, "{body}");
        assert!(!error.message.contains("secret"), "{}", error.message);
    }
    assert_eq!(parse(b"{\"title\": \"\xff\"}").unwrap_err().code, FailureCode::MessageNotJson);
    let large = changed(|message| message["details"] = json!("x".repeat(MESSAGE_BYTES_MAX)));
    assert_eq!(parse(large.as_bytes()).unwrap_err().code, FailureCode::MessageTooLarge);
}

#[test]
fn an_id_that_is_derived_is_the_same_for_every_copy() {
    let without_id = changed(|message| message["eventId"] = Value::Null);
    let id = |body: &str| row(body)["event_id"].clone();
    // The same message, its members in another order and with other white space.
    let mut message: Value = serde_json::from_str(&without_id).unwrap();
    let members: Vec<_> = message.as_object().unwrap().clone().into_iter().rev().collect();
    message = Value::Object(members.into_iter().collect());
    assert_ne!(message.to_string(), without_id);
    assert_eq!(id(&serde_json::to_string_pretty(&message).unwrap()), id(&without_id));

    let another_detail = changed(|message| {
        message["eventId"] = Value::Null;
        message["details"]["more"] = json!(1);
    });
    assert_ne!(id(&another_detail), id(&without_id), "two events may differ in nothing that leaves");

    let unsafe_id = |more: u32| {
        changed(|message| {
            message["eventId"] = json!("an id/with spaces");
            message["details"]["more"] = json!(more);
        })
    };
    assert_eq!(id(&unsafe_id(1)), id(&unsafe_id(2)), "the producer's id says which event it is");
    assert_ne!(id(&unsafe_id(1)), id(&without_id));
    let number = |number: u32| changed(|message| message["eventId"] = json!(number));
    assert_ne!(id(&number(1)), id(&number(2)));
    assert_eq!(id(&number(1)).as_str().unwrap().len(), 64);
}

#[test]
fn what_is_planted_does_not_leave() {
    let cases: Vec<Value> = serde_json::from_str(HOSTILE).unwrap();
    assert!(cases.len() > 20);
    for case in cases {
        let name = case["case"].as_str().unwrap();
        let mut found = row(&case["message"].to_string());
        // No id in the fixture: it is derived.
        if case["row"]["event_id"].is_null() {
            let id = found["event_id"].take();
            assert_eq!(id.as_str().unwrap().len(), 64, "{name}");
        }
        assert_eq!(found, case["row"], "{name}");
        assert!(!found.to_string().to_lowercase().contains("leak"), "{name}");
    }
}

#[test]
fn details_may_repeat_what_leaves_anyway() {
    let body = changed(|message| {
        message["details"] = json!({
            "title": "Workflow updated", "name": "Box office", "kind": "WORKFLOW", "state": "updated",
            "workflowId": "6606aff0-f6f0-4d26-8321-8e89ad7a00ec", "part": "6606aff0", "eventId": "evt_01J6YQ4T8Z",
        });
    });
    assert_eq!(row(&body), row(UPDATED));
}

/// Any JSON with a marker in every text and in every name.
fn planted() -> impl Strategy<Value = Value> {
    let marker = (0_u32..10_000).prop_map(|n| format!("LEAK-{n}"));
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        marker.clone().prop_map(Value::from),
        marker.clone().prop_map(|marker| format!("{marker}@acme.test").into()),
        marker.clone().prop_map(|marker| json!({"a": marker}).to_string().into()),
    ];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(marker.clone(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_leaves_of_values_that_are_no_texts(
        source in planted(), resource in planted(), details in planted(), more in planted(), id in planted()
    ) {
        let mut message: Value = serde_json::from_str(UPDATED).unwrap();
        // A text is the producer's own id, whatever it looks like.
        message["eventId"] = if id.is_string() { json!([id]) } else { id };
        message["source"] = source;
        message["resource"] = resource;
        message["details"] = details;
        message["more"] = more;
        let row = row(&message.to_string()).to_string();
        prop_assert!(!row.contains("LEAK"), "{row}");
        prop_assert!(row.contains("Workflow updated"));
    }

    #[test]
    fn whatever_is_private_does_not_leave_in_a_text(
        user in "[a-zA-Z0-9_-]{5,20}", email in "[a-z]{3,8}[._-][a-z]{3,8}", detail in "[a-z]{3,9}-[0-9]{1,9}",
        before in "[ -~]{0,20}", between in "[ -~]{0,20}",
    ) {
        let (user, email, detail) = (format!("Q{user}Q"), format!("Z{email}"), format!("X{detail}"));
        let body = changed(|message| {
            message["source"] = json!({"requestSource": "UI", "userId": user, "userEmail": format!("{email}@acme.test")});
            message["details"] = json!({"changes": [{"before": detail}]});
            message["title"] = format!("t{before}{user}{between}{email}@acme.test").into();
            message["resource"]["name"] = format!("n{before}{detail} {between} {email}").into();
        });
        let row = row(&body).to_string();
        for private in [&user, &email, &detail] {
            prop_assert!(!row.contains(private.as_str()), "{private} in {row}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in any::<String>()) {
        let _ = parse(&bytes);
        let body = changed(|message| message["title"] = text.into());
        let _ = parse(body.as_bytes());
    }
}
