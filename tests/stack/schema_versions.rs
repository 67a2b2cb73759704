//! Schema versions: numbered by public descriptors, agreed by racers, with names that every reader can use.

use serde_json::{Value, json};
use tests::{Place, Run, table_name, unique};

fn field(name: &str, data_type: &str) -> Value {
    json!({"name": name, "dataType": data_type, "fieldType": "SCHEMA"})
}

/// A run of a workflow with these fields and this row.
fn run_of(place: &Place, workflow: &str, fields: Vec<Value>, row: &Value) -> Run {
    Run {
        fields: json!(fields),
        body: row.to_string().into_bytes(),
        row_count: Some(1),
        ..Run::small(&place.team, workflow, 1)
    }
}

async fn versions(place: &Place, workflow: &str) -> Vec<String> {
    let prefix = table_name(workflow, "V");
    let mut names: Vec<_> = place.tables().await.into_iter().filter(|name| name.starts_with(&prefix)).collect();
    names.sort();
    names.iter().map(|name| name.rsplit("__").next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn public_changes_open_versions_private_ones_do_not_and_a_known_schema_keeps_its_number() {
    let place = Place::new().await;
    let workflow = unique();
    let (a, b) = (field("a", "STRING"), field("b", "NUMBER"));
    let first = run_of(&place, &workflow, vec![a.clone(), b.clone()], &json!({"a": "1", "b": 1}));
    place.deliver(&first).await;
    let before = place.stack.commits(&place.connector, &table_name(&workflow, "V1")).await;

    let mut described = b.clone();
    described["description"] = json!("another text");
    let private = field("_new", "STRING");
    let marked = json!({"name": "c", "dataType": "STRING", "fieldType": "SCHEMA", "isPrivate": true});
    let same = run_of(&place, &workflow, vec![private, a.clone(), marked, described], &json!({"a": "2", "b": 2}));
    place.deliver(&same).await;
    assert_eq!(versions(&place, &workflow).await, ["V1"]);

    let mut key = a.clone();
    key["isKey"] = json!(true);
    let changes = [
        vec![a.clone(), b.clone(), field("c", "DATE")],
        vec![a.clone(), field("b", "STRING")],
        vec![b.clone(), a.clone()],
        vec![key, b.clone()],
        vec![a.clone()],
    ];
    for (index, fields) in changes.into_iter().enumerate() {
        place.deliver(&run_of(&place, &workflow, fields, &json!({"a": "3", "b": 3}))).await;
        assert_eq!(versions(&place, &workflow).await.len(), index + 2);
    }
    let again = run_of(&place, &workflow, vec![a, b], &json!({"a": "4", "b": 4}));
    place.deliver(&again).await;
    assert_eq!(versions(&place, &workflow).await, ["V1", "V2", "V3", "V4", "V5", "V6"]);

    let old = place.read_workflow(&workflow, "V1").await;
    assert_eq!(old.columns, ["a", "b", "run_id", "run_finished_at"]);
    let mut values: Vec<_> = old.rows.iter().map(|row| row["a"].as_str().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, ["1", "2", "4"]);
    let after = place.stack.commits(&place.connector, &table_name(&workflow, "V1")).await;
    assert_eq!(after.len(), before.len() + 2, "runs of other schemas leave the table as it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_that_open_a_version_at_once_agree() {
    let place = Place::new().await;
    let workflow = unique();
    let runs: Vec<_> = (0..8)
        .map(|n| {
            let name = if n % 2 == 0 { "even" } else { "odd" };
            run_of(&place, &workflow, vec![field(name, "NUMBER")], &json!({name: n}))
        })
        .collect();
    for run in &runs {
        run.announce(&place.stack).await;
    }
    for run in &runs {
        place.shared(run).await;
    }
    assert_eq!(versions(&place, &workflow).await, ["V1", "V2"]);
    let mut columns = Vec::new();
    for suffix in ["V1", "V2"] {
        let table = place.read_workflow(&workflow, suffix).await;
        assert_eq!(table.rows.len(), 4, "{suffix}");
        columns.push(table.columns[0].clone());
    }
    columns.sort();
    assert_eq!(columns, ["even", "odd"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_columns_are_delivered_and_read() {
    let place = Place::new().await;
    let fields: Vec<_> = (0..2_000).map(|n| field(&format!("f{n}"), "NUMBER")).collect();
    let row: serde_json::Map<_, _> = (0..2_000).map(|n| (format!("f{n}"), json!(n))).collect();
    let run = run_of(&place, &unique(), fields, &Value::Object(row));
    place.deliver(&run).await;
    let table = place.read_workflow(&run.workflow, "V1").await;
    assert_eq!(table.columns.len(), 2_002);
    for n in [0, 31, 32, 1_999] {
        assert_eq!(table.rows[0][format!("f{n}")], json!(f64::from(n)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_clash_get_suffixes_that_readers_and_the_field_table_know() {
    let place = Place::new().await;
    let sources =
        ["Price", "price", "run_id", "Run_Finished_At", "zip-code", "zip_code", "9th", "select", "Größe", "a b"];
    let expected = [
        "Price",
        "price_2",
        "run_id_2",
        "Run_Finished_At_2",
        "zip_code_2",
        "zip_code",
        "c9th",
        "select",
        "Gr__e",
        "a_b",
    ];
    let fields = sources.iter().map(|name| field(name, "STRING")).collect();
    let row: serde_json::Map<_, _> = sources.iter().map(|name| ((*name).to_owned(), json!(name))).collect();
    let run = run_of(&place, &unique(), fields, &Value::Object(row));
    place.deliver(&run).await;

    for format in ["parquet", "delta"] {
        let table = table_name(&run.workflow, "V1");
        let (columns, rows) = place.stack.rows_in_format(&place.profile, &place.connector, &table, format).await;
        assert_eq!(columns[..expected.len()], expected, "{format}");
        assert_eq!(columns[expected.len()..], ["run_id", "run_finished_at"], "{format}");
        for (source, column) in sources.iter().zip(expected) {
            assert_eq!(rows[0][column], json!(source), "{format}");
        }
        assert_eq!(rows[0]["run_id"], json!(run.run), "{format}");
    }
    let described = place.eventually("WORKFLOW_SCHEMA_FIELDS", |table| table.rows.len() == sources.len()).await;
    for (position, (source, column)) in sources.iter().zip(expected).enumerate() {
        let row = &described.having("source_field", source)[0];
        assert_eq!(row["column_name"], json!(column));
        assert_eq!(row["position"].as_f64().unwrap(), position as f64 + 1.0);
    }
}
