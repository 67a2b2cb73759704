//! The tables that tell of a connector's data: what they say is what was delivered, in few commits, each row once.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{Place, Run, table_name, unique};

const RUNS: &str = "WORKFLOW_RUNS";
const CATALOGUE: [&str; 3] = ["WORKFLOWS", "WORKFLOW_SCHEMA_VERSIONS", "WORKFLOW_SCHEMA_FIELDS"];

fn whole(value: &Value) -> u64 {
    let number = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!(number >= 0.0 && number.fract() == 0.0, "{number}");
    number as u64
}

fn utc(text: &str) -> Value {
    json!(text.replace('Z', "+00:00"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_say_what_was_delivered() {
    let place = Place::with(json!({"maxRejectedFraction": 0.5})).await;
    let (films, jobs) = (unique(), unique());
    let first = Run::small(&place.team, &films, 3);
    let mut second = Run::small(&place.team, &films, 2);
    second.fields = json!([
        {"name": "name", "dataType": "STRING", "fieldType": "SCHEMA", "isKey": true, "description": "the film's name"},
        {"name": "Name", "dataType": "IMAGE", "fieldType": "SCHEMA"},
        {"name": "label", "fieldType": "CLASSIFICATION"},
        {"name": "n", "dataType": "DATETIME", "fieldType": "SCHEMA"},
        {"name": "offers", "dataType": "ARRAY", "fieldType": "SCHEMA", "shape": [{"sku": "STRING", "price": "MONEY"}]},
        {"name": "more", "dataType": "OBJECT", "fieldType": "SCHEMA"},
        {"name": "_secret", "dataType": "STRING", "fieldType": "SCHEMA"},
    ]);
    second.finished_at = "2026-09-02T06:07:30.5Z".to_owned();
    let mut third = Run::small(&place.team, &jobs, 0);
    third.body = b"{\"name\": \"a\", \"n\": 1}\n{\"name\": \"b\", \"n\": \"12 EUR\"}\n{\"name\": \"c\"}\n".to_vec();
    third.row_count = Some(3);
    let mut failed = Run::small(&place.team, &jobs, 1);
    failed.body = b"not JSON at all".to_vec();
    let mut records = Vec::new();
    for run in [&first, &second, &third] {
        records.push(place.deliver(run).await);
    }
    failed.announce(&place.stack).await;
    place.failed(&failed).await;

    let runs = place.eventually(RUNS, |table| table.rows.len() >= 3).await;
    assert_eq!(runs.rows.len(), 3, "a run that failed has no row: {:?}", runs.rows);
    let versions = [(&first, "V1", 1, 3, 0), (&second, "V2", 2, 2, 0), (&third, "V1", 1, 2, 1)];
    for ((run, suffix, version, rows, rejected), record) in versions.into_iter().zip(&records) {
        let row = &runs.having("run_id", &run.run)[0];
        assert_eq!(row["workflow_id"], json!(run.workflow));
        assert_eq!(row["table_name"], json!(table_name(&run.workflow, suffix)));
        assert_eq!(row["table_version"], json!(record.attributes["loaded_table_version"].parse::<u64>().unwrap()));
        let counted = ["schema_version", "rows", "rejected_rows"].map(|name| whole(&row[name]));
        assert_eq!(counted, [version, rows, rejected], "{row}");
        let finished = run.finished_at.replace(".5Z", ".500000Z");
        assert_eq!(row["finished_at"], utc(&finished));
        assert!(row["shared_at"].as_str().unwrap() > "2026-09", "{row}");
    }

    let fields = place.eventually("WORKFLOW_SCHEMA_FIELDS", |table| table.rows.len() >= 10).await;
    let mut tables = place.read_tables(CATALOGUE).await;
    let workflows = tables.remove("WORKFLOWS").unwrap();
    assert_eq!(workflows.rows.len(), 2);
    for (workflow, newest, suffix) in [(&films, 2, "V2"), (&jobs, 1, "V1")] {
        let row = &workflows.having("workflow_id", workflow)[0];
        assert_eq!(row["workflow_name"], json!("A test's workflow"));
        assert_eq!(whole(&row["newest_schema_version"]), newest);
        assert_eq!(row["version_table_name"], json!(table_name(workflow, suffix)));
        assert_eq!(row["latest_table_name"], json!(table_name(workflow, "LATEST")));
    }
    let versions = tables.remove("WORKFLOW_SCHEMA_VERSIONS").unwrap();
    let first_runs: BTreeSet<_> = versions.rows.iter().map(|row| row["first_run_id"].as_str().unwrap()).collect();
    assert_eq!(first_runs, BTreeSet::from([&*first.run, &*second.run, &*third.run]));
    for row in &versions.rows {
        assert_eq!(row["fingerprint"].as_str().unwrap().len(), 64);
    }
    let of_second: Vec<_> = fields.rows.iter().filter(|row| whole(&row["schema_version"]) == 2).cloned().collect();
    let said = |name: &str| {
        let mut rows: Vec<_> = of_second.iter().map(|row| (whole(&row["position"]), row[name].clone())).collect();
        rows.sort_by_key(|(position, _)| *position);
        rows.into_iter().map(|(_, value)| value.as_str().unwrap_or("-").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(said("source_field"), ["name", "Name", "label", "n", "offers", "more"]);
    assert_eq!(said("column_name"), ["name", "Name_2", "label", "n", "offers", "more"]);
    assert_eq!(said("source_type"), ["STRING", "IMAGE", "CLASSIFICATION", "DATETIME", "ARRAY", "OBJECT"]);
    let offers = "array<struct<sku:string,price:struct<amount:decimal(38,6),currency_code:string>>>";
    assert_eq!(said("delta_type"), ["string", "string", "string", "timestamp", offers, "string"]);
    assert_eq!(said("cast_policy"), ["text", "text", "text", "timestamp_microseconds_truncated", "array", "json_text"]);
    assert_eq!(said("description"), ["the film's name", "-", "-", "-", "-", "-"]);
    let keys: Vec<_> = of_second.iter().filter(|row| row["is_key"] == json!(true)).collect();
    assert_eq!((keys.len(), &keys[0]["column_name"]), (1, &json!("name")));
    assert!(!json!([fields.rows, workflows.rows, versions.rows]).to_string().contains("_secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_deliveries_at_once_make_tens_of_commits_and_a_row_each() {
    let place = Place::new().await;
    let workflow = unique();
    let real: Vec<_> = (0..30).map(|_| Run::small(&place.team, &workflow, 1)).collect();
    for run in &real {
        run.announce(&place.stack).await;
    }
    for run in &real {
        place.shared(run).await;
    }
    let machine = place.stack.output("DeliverRunArn");
    let recorded = place.stack.client("record_runs.py", &[machine, &real[0].run, "970"]).await;
    let recorded = recorded.unwrap_or_else(|error| panic!("{error}"));

    let expected: BTreeSet<_> = real.iter().map(|run| &run.run).chain(&recorded).cloned().collect();
    assert_eq!(expected.len(), 1_000);
    let table = place.eventually(RUNS, |table| table.rows.len() >= expected.len()).await;
    let found: Vec<_> = table.rows.iter().map(|row| row["run_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found.len(), expected.len(), "no row twice");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "every row");
    let commits = place.stack.commits(&place.connector, RUNS).await;
    assert!(commits.len() < 100, "{} commits for 1,000 deliveries", commits.len());
    println!("{} commits for 1,000 deliveries", commits.len());
    let judged = place.stack.judge(&place.connector, RUNS).await;
    assert_eq!((&judged["rows"], &judged["records"]), (&json!(1_000), &json!(1_000)), "{judged}");
}
