use delivery::schema::{DEPTH_MAX, PublicSchema, Shape};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const BOX_OFFICE: &str = include_str!("../fixtures/run-completed/box_office-3.json");
const JOBS: &str = include_str!("../fixtures/run-completed/jobs_by_sex-1.json");
const ENVELOPE: &str = include_str!("../fixtures/run-completed/eventbridge.json");

fn finished(body: &str) -> Run {
    match parse(body.as_bytes()).unwrap() {
        Announcement::Finished(run) => *run,
        Announcement::NotFinished { state } => panic!("{state}"),
    }
}

fn changed(change: impl FnOnce(&mut Value)) -> Result<Announcement, StepError> {
    let mut message: Value = serde_json::from_str(JOBS).unwrap();
    change(&mut message);
    parse(message.to_string().as_bytes())
}

/// Sets a property by its name, or an element by its index.
fn set(parent: &mut Value, name: &str, value: Value) {
    if let Value::Array(elements) = parent {
        elements[name.parse::<usize>().unwrap()] = value;
    } else {
        parent[name] = value;
    }
}

fn shape_of(field: Value) -> Option<Shape> {
    match changed(|message| message["schema"]["fields"] = json!([field])).unwrap() {
        Announcement::Finished(run) => run.fields[0].shape.clone(),
        Announcement::NotFinished { state } => panic!("{state}"),
    }
}

#[test]
fn a_finished_run_is_read_whole() {
    let run = finished(BOX_OFFICE);
    assert_eq!(run.key.team.as_str(), "team-acme");
    assert_eq!(run.key.workflow.as_str(), "6606aff0-f6f0-4d26-8321-8e89ad7a00ec");
    assert_eq!(run.key.run.as_str(), "511756cc-69d9-43f4-8826-73bf0cd1aa6a");
    assert_eq!(run.workflow_name, "Box office");
    assert_eq!(run.started_at, Timestamp::parse("2026-09-03T06:00:00Z"));
    assert_eq!(Some(run.finished_at), Timestamp::parse("2026-09-03T06:07:30Z"));
    assert_eq!(run.fields.len(), 16);
    assert!(run.fields[0].key && !run.fields[1].key);
    assert_eq!(
        (run.fields[3].data_type.as_deref(), run.fields[3].field_type.as_deref()),
        (None, Some("CLASSIFICATION"))
    );
    assert_eq!(run.fields[13].marking, Marking::Private);
    assert_eq!(run.output.format, "jsonl");
    assert_eq!(run.output.row_count, Some(3201));
    assert_eq!(run.output.objects.len(), 1);
    assert_eq!(run.output.objects[0].bucket, None);
}

#[test]
fn an_eventbridge_event_announces_what_its_detail_announces() {
    assert_eq!(finished(ENVELOPE), finished(JOBS));
}

#[test]
fn a_run_in_another_state_needs_no_more_than_its_state() {
    for state in ["IN_PROGRESS", "FAILED", "SOMETHING_NEW"] {
        let body = json!({"eventType": "workflow_run_completed", "state": state}).to_string();
        assert_eq!(parse(body.as_bytes()).unwrap(), Announcement::NotFinished { state: state.to_owned() });
    }
}

#[test]
fn properties_nobody_knows_and_nulls_are_ignored() {
    let same = changed(|message| {
        message["new"] = json!({"a": [1]});
        message["output"]["compression"] = json!("none");
        message["schema"]["fields"][0]["isPrivate"] = Value::Null;
        message["schema"]["fields"][0]["description"] = Value::Null;
    });
    assert_eq!(same.unwrap(), Announcement::Finished(Box::new(finished(JOBS))));
}

#[test]
fn a_refusal_names_the_property_and_no_value() {
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    let too_many = vec![json!({"key": "k"}); OBJECTS_MAX + 1];
    for (pointer, value, expected) in [
        ("/eventType", json!("secret"), "MESSAGE_INVALID: eventType must be workflow_run_completed"),
        ("/eventType", Value::Null, "MESSAGE_INVALID: eventType is missing"),
        ("/state", json!(7), "MESSAGE_INVALID: state must be a string"),
        ("/runId", Value::Null, "MESSAGE_INVALID: runId is missing"),
        ("/runId", json!("secret/.."), "MESSAGE_ID_INVALID: runId must be 1 to 128"),
        ("/teamId", json!("secret secret"), "MESSAGE_ID_INVALID: teamId must be 1 to 128"),
        ("/workflowId", json!(""), "MESSAGE_ID_INVALID: workflowId must be 1 to 128"),
        ("/workflowName", json!(["secret"]), "MESSAGE_INVALID: workflowName must be a string"),
        ("/finishedAt", json!("secret"), "MESSAGE_INVALID: finishedAt must be a time as RFC 3339 writes it"),
        ("/finishedAt", Value::Null, "MESSAGE_INVALID: finishedAt is missing"),
        ("/startedAt", json!("secret"), "MESSAGE_INVALID: startedAt must be a time"),
        ("/schema", Value::Null, "MESSAGE_INVALID: schema is missing"),
        ("/schema/fields", json!({}), "MESSAGE_INVALID: schema.fields must be an array"),
        ("/schema/fields/1", json!("secret"), "MESSAGE_INVALID: schema.fields[1] must be an object"),
        ("/schema/fields/1/name", json!(7), "MESSAGE_INVALID: schema.fields[1].name must be a string"),
        ("/schema/fields/1/name", json!(""), "MESSAGE_INVALID: schema.fields[1].name must not be empty"),
        (
            "/schema/fields/1/isPrivate",
            json!("true"),
            "MESSAGE_INVALID: schema.fields[1].isPrivate must be true or false",
        ),
        ("/schema/fields/1/isKey", json!(1), "MESSAGE_INVALID: schema.fields[1].isKey must be true or false"),
        ("/output/format", Value::Null, "MESSAGE_INVALID: output.format is missing"),
        ("/output/format", json!("s".repeat(33)), "MESSAGE_INVALID: output.format must have 1 to 32 characters"),
        ("/output/objects", json!([]), "MESSAGE_INVALID: output.objects must have 1 to 10000 elements"),
        ("/output/objects", json!(too_many), "MESSAGE_INVALID: output.objects must have 1 to 10000 elements"),
        ("/output/objects/0/key", json!(""), "MESSAGE_INVALID: output.objects[0].key must have 1 to 1024 bytes"),
        ("/output/objects/0/key", json!(long), "MESSAGE_INVALID: output.objects[0].key must have 1 to 1024 bytes"),
        (
            "/output/objects/0/bucket",
            json!("evil.test/x"),
            "MESSAGE_INVALID: output.objects[0].bucket must be the name",
        ),
        ("/output/rowCount", json!(-1), "MESSAGE_INVALID: output.rowCount must be a whole number of 0 or more"),
        ("/output/rowCount", json!("1"), "MESSAGE_INVALID: output.rowCount must be a whole number of 0 or more"),
    ] {
        let error = changed(|message| {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            set(message.pointer_mut(parent).unwrap(), name, value);
        })
        .unwrap_err()
        .to_string();
        assert!(error.starts_with(expected), "{pointer}: {error}");
        assert!(!error.contains("secret"), "{pointer}: {error}");
    }
}

#[test]
fn what_is_not_an_object_is_not_a_message() {
    for body in [&b""[..], b"{", b"[]", b"null", b"\xff", b"{\"a\":\"\\ud800\"}", &[b'['; 100_000]] {
        assert_eq!(parse(body).unwrap_err().code, FailureCode::MessageNotJson);
    }
}

#[test]
fn a_message_over_the_limit_is_refused_before_it_is_read() {
    let body = vec![b' '; MESSAGE_BYTES_MAX + 1];
    assert_eq!(parse(&body).unwrap_err().code, FailureCode::MessageTooLarge);
    let padded = format!("{JOBS}{}", " ".repeat(MESSAGE_BYTES_MAX - JOBS.len()));
    assert_eq!(finished(&padded), finished(JOBS));
}

#[test]
fn formats_and_names_are_defaulted_as_stated() {
    let Ok(Announcement::Finished(run)) = changed(|message| {
        message["output"]["format"] = json!("JSONL.GZ");
        message["workflowName"] = Value::Null;
    }) else {
        panic!()
    };
    assert_eq!(run.output.format, "JSONL.GZ", "a format is compared as it was announced");
    assert_eq!(run.workflow_name, run.key.workflow.as_str());
}

#[test]
fn a_shape_is_json_or_a_text_of_json_or_an_example_that_is_either() {
    let expected = || Some(Shape::Object(vec![("a".to_owned(), Shape::String("NUMBER".to_owned()))]));
    assert_eq!(shape_of(json!({"name": "f", "dataType": "OBJECT", "shape": {"a": "NUMBER"}})), expected());
    assert_eq!(shape_of(json!({"name": "f", "dataType": "OBJECT", "shape": "{\"a\":\"NUMBER\"}"})), expected());
    assert_eq!(shape_of(json!({"name": "f", "dataType": "OBJECT", "example": {"a": "NUMBER"}})), expected());
    assert_eq!(shape_of(json!({"name": "f", "dataType": "OBJECT", "example": "{\"a\":\"NUMBER\"}"})), expected());
    let both = json!({"name": "f", "dataType": "OBJECT", "shape": {"a": "NUMBER"}, "example": {"b": 1}});
    assert_eq!(shape_of(both), expected());
    let array = json!({"name": "f", "dataType": "ARRAY", "example": [1, true, null]});
    assert_eq!(shape_of(array), Some(Shape::Array(vec![Shape::Number, Shape::Boolean, Shape::Null])));
    for example in [json!("text"), json!(7), json!(true), json!("7"), json!("null"), Value::Null] {
        assert_eq!(shape_of(json!({"name": "f", "dataType": "OBJECT", "example": example})), None);
    }
    assert_eq!(shape_of(json!({"name": "f", "dataType": "STRING", "example": "{\"a\":1}"})), None);
}

#[test]
fn keys_of_a_shape_keep_their_order() {
    let Some(Shape::Object(keys)) =
        shape_of(json!({"name": "f", "dataType": "OBJECT", "shape": {"z": 1, "a": 1, "m": 1}}))
    else {
        panic!()
    };
    assert_eq!(keys.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["z", "a", "m"]);
}

#[test]
fn a_shape_over_the_depth_limit_stays_over_it_and_can_be_stored() {
    let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    for (depth, fits) in [(DEPTH_MAX - 1, true), (DEPTH_MAX, false), (110, false)] {
        let text = nested(depth).to_string();
        let Ok(Announcement::Finished(run)) = changed(|message| {
            message["schema"]["fields"] = json!([{"name": "f", "dataType": "ARRAY", "shape": text}]);
        }) else {
            panic!()
        };
        assert_eq!(PublicSchema::of(&run.fields).is_ok(), fits, "{depth}");
        assert_eq!(crate::run_record::read(&crate::run_record::write(&run).unwrap()).unwrap(), *run);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "(\\{|\\[|\\]|\\}|\"|a|:|,|1){0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("[a-zA-Z_]{0,6}", inner), 0..4)
                .prop_map(|keys| Value::Object(keys.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&body);
    }

    #[test]
    fn any_json_is_read_or_refused(body in any_json()) {
        let _ = parse(body.to_string().as_bytes());
    }

    #[test]
    fn a_message_with_any_property_in_any_place_is_read_or_refused_and_what_is_read_can_be_stored(
        place in 0_usize..12,
        value in any_json(),
    ) {
        let places = [
            "/eventType", "/teamId", "/runId", "/state", "/startedAt", "/finishedAt", "/schema", "/schema/fields",
            "/schema/fields/0", "/schema/fields/0/shape", "/output", "/output/objects",
        ];
        let (parent, name) = places[place].rsplit_once('/').unwrap();
        let read = changed(|message| {
            message["schema"]["fields"][0]["dataType"] = json!("OBJECT");
            set(message.pointer_mut(parent).unwrap(), name, value);
        });
        if let Ok(Announcement::Finished(run)) = read {
            prop_assert_eq!(crate::run_record::read(&crate::run_record::write(&run).unwrap()).unwrap(), *run);
        }
    }
}
