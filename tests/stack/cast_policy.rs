//! The cast policy both ways: what is accepted reads back with the same value by the official client, what is refused
//! is in the rejects file with line and column, and no private value is anywhere.

use serde_json::{Value, json};
use tests::{Place, Run, table_name, unique};

/// Fixed, so that every machine tries the same; set the variable to try others.
fn seed() -> String {
    std::env::var("SPILLWAY_CAST_POLICY_SEED").unwrap_or_else(|_| "20260901".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn random_rows_read_back_as_the_policy_says_or_are_listed_as_rejects() {
    let place = Place::with(json!({"maxRejectedFraction": 1})).await;
    let folder = std::env::temp_dir().join(format!("cast-policy-{}", unique()));
    std::fs::create_dir_all(&folder).unwrap();
    let seed = seed();
    println!("SPILLWAY_CAST_POLICY_SEED={seed}");
    let path = folder.to_str().unwrap();
    let written = place.stack.client("cast_policy.py", &["write", path, &seed]).await.unwrap();
    let written: Value = serde_json::from_str(&written[0]).unwrap();
    assert!(written["levels"].as_u64().unwrap() >= 3, "{written}");
    assert!(written["good"].as_u64().unwrap() >= 100, "{written}");

    let run = Run {
        fields: serde_json::from_slice(&std::fs::read(folder.join("fields.json")).unwrap()).unwrap(),
        body: std::fs::read(folder.join("data.jsonl")).unwrap(),
        row_count: written["rows"].as_u64(),
        ..place.run()
    };
    let delivery = place.deliver(&run).await;
    let rejected = written["rows"].as_u64().unwrap() - written["good"].as_u64().unwrap();
    assert_eq!(delivery.attributes["rejected_rows"], rejected.to_string());

    let key = format!("staging/{}/{}/{}/rejects.jsonl", run.team, run.workflow, run.run);
    let rejects = place.stack.object("TablesBucketName", &key).await.expect("the rejects file");
    let rejects_file = folder.join("rejects.jsonl");
    std::fs::write(&rejects_file, rejects).unwrap();
    let table = format!("{}.data.{}", place.connector, table_name(&run.workflow, "V1"));
    let arguments = ["check", path, place.profile.to_str().unwrap(), &table, rejects_file.to_str().unwrap()];
    let problems = place.stack.client("cast_policy.py", &arguments).await.unwrap();
    assert!(problems.is_empty(), "with seed {seed}: {problems:#?}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_row_fails_a_strict_connector_and_tells_no_value() {
    let place = Place::new().await;
    let run = Run {
        fields: json!([
            {"name": "seller", "dataType": "OBJECT", "fieldType": "SCHEMA",
             "shape": {"offers": [{"price": "NUMBER", "_cost": "NUMBER"}]}},
        ]),
        body: br#"{"seller": {"offers": [{"price": "12 EUR", "_cost": "planted"}]}}"#.to_vec(),
        row_count: Some(1),
        ..place.run()
    };
    run.announce(&place.stack).await;
    let delivery = place.failed(&run).await;
    assert_eq!((delivery.code.as_deref(), delivery.phase.as_deref()), (Some("VALUE_NOT_CASTABLE"), Some("schema")));
    let message = delivery.message.unwrap_or_default();
    assert!(message.contains("seller") && message.contains('1'), "it says line and column: {message}");
    assert!(!message.contains("12 EUR") && !message.contains("planted") && !message.contains("_cost"), "{message}");
}
