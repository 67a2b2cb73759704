//! Real data in, the same data out: every value, no private column.

use std::path::Path;

use serde_json::{Map, Value, json};
use tests::{Stack, root, table_name, until};

const BOX_OFFICE: &str = "6606aff0-f6f0-4d26-8321-8e89ad7a00ec";
const JOBS_BY_SEX: &str = "27777b55-c866-41c0-8fa9-08c404a74f9f";

/// A run's message and its rows as a recipient must read them.
struct RealRun {
    message: Value,
    rows: Vec<Value>,
}

fn real_run(event: &str) -> RealRun {
    let message: Value =
        serde_json::from_slice(&std::fs::read(root().join("data/events").join(event)).unwrap()).unwrap();
    let key = message["output"]["objects"][0]["key"].as_str().unwrap();
    let text = std::fs::read_to_string(root().join("data/runs").join(key)).unwrap();
    let fields = message["schema"]["fields"].as_array().unwrap();
    let rows = text.lines().map(|line| expected_row(&message, fields, &serde_json::from_str(line).unwrap())).collect();
    RealRun { message, rows }
}

fn expected_row(message: &Value, fields: &[Value], input: &Value) -> Value {
    let mut row = Map::new();
    for field in fields {
        let name = field["name"].as_str().unwrap();
        if name.starts_with('_') || field["isPrivate"] == json!(true) {
            continue;
        }
        let value = &input[name];
        let expected = match field["dataType"].as_str() {
            Some("NUMBER") if !value.is_null() => json!(value.as_f64().unwrap()),
            Some("MONEY") if !value.is_null() => json!({
                "amount": format!("{}.000000", value["amount"]),
                "currency_code": value["currencyCode"],
            }),
            _ => value.clone(),
        };
        row.insert(name.to_owned(), expected);
    }
    row.insert("run_id".to_owned(), message["runId"].clone());
    let finished_at = message["finishedAt"].as_str().unwrap().replace('Z', "+00:00");
    row.insert("run_finished_at".to_owned(), json!(finished_at));
    Value::Object(row)
}

fn sorted(rows: impl IntoIterator<Item = Value>) -> Vec<String> {
    let mut rows: Vec<_> = rows.into_iter().map(|row| ordered(&row)).collect();
    rows.sort();
    rows
}

/// A row as text with its names in order.
fn ordered(row: &Value) -> String {
    let map: std::collections::BTreeMap<_, _> = row.as_object().unwrap().iter().collect();
    serde_json::to_string(&map).unwrap()
}

async fn assert_table(stack: &Stack, profile: &Path, connector: &str, table: &str, runs: &[&RealRun]) {
    let expected = sorted(runs.iter().flat_map(|run| run.rows.clone()));
    for format in ["parquet", "delta"] {
        let (columns, rows) = stack.rows_in_format(profile, connector, table, format).await;
        assert!(
            !columns.iter().any(|column| column.starts_with('_') || column == "internal_margin_note"),
            "{table} in {format} shows a private column: {columns:?}"
        );
        let rows = sorted(rows);
        assert_eq!(rows.len(), expected.len(), "rows of {table} in {format}");
        if let Some((read, wanted)) = rows.iter().zip(&expected).find(|(read, wanted)| read != wanted) {
            panic!("{table} in {format}:\n   read {read}\n wanted {wanted}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_runs_read_back_value_by_value_in_both_formats() {
    let stack = Stack::of_this_test();
    let connector = "real-data";
    let profile = stack.ready_connector(connector, "team-acme", json!({})).await;
    let runs = ["box_office-1.json", "box_office-2.json", "box_office-3.json", "jobs_by_sex-1.json"].map(real_run);
    for run in &runs {
        let key = run.message["output"]["objects"][0]["key"].as_str().unwrap();
        stack.put_output(key, std::fs::read(root().join("data/runs").join(key)).unwrap()).await;
        stack.send(&run.message.to_string()).await;
        // Schema versions are numbered in the order in which runs are accepted.
        let (workflow, id) = (run.message["workflowId"].as_str().unwrap(), run.message["runId"].as_str().unwrap());
        until("a run's execution begins", async || {
            stack.delivery(connector, workflow, id).await.filter(|delivery| delivery.state != "accepted")
        })
        .await;
    }
    for run in &runs {
        let (workflow, id) = (run.message["workflowId"].as_str().unwrap(), run.message["runId"].as_str().unwrap());
        let delivery = stack.delivered(connector, workflow, id).await;
        assert_eq!(delivery.state, "shared", "{delivery:?}");
        assert_eq!(delivery.attributes["rows"], run.rows.len().to_string());
    }
    let [one, two, three, jobs] = &runs;
    let box_office = |suffix: &str| table_name(BOX_OFFICE, suffix);

    let names = stack.tables(&profile).await;
    assert_eq!(names.len(), 5, "{names:?}");
    assert_table(&stack, &profile, connector, &box_office("V1"), &[one, two]).await;
    assert_table(&stack, &profile, connector, &box_office("V2"), &[three]).await;
    assert_table(&stack, &profile, connector, &box_office("LATEST"), &[three]).await;
    assert_table(&stack, &profile, connector, &table_name(JOBS_BY_SEX, "V1"), &[jobs]).await;
    assert_table(&stack, &profile, connector, &table_name(JOBS_BY_SEX, "LATEST"), &[jobs]).await;

    for (table, rows) in
        [(box_office("V1"), 3_201), (box_office("LATEST"), 3_201), (table_name(JOBS_BY_SEX, "V1"), 7_650)]
    {
        let judged = stack.judge(connector, &table).await;
        assert_eq!((&judged["rows"], &judged["records"]), (&json!(rows), &json!(rows)), "{table}: {judged}");
        assert_eq!(judged["protocol"][0], json!(1), "every open client reads {table}");
    }
}
