//! Maintenance: many small files become few, and no reader sees another row for it.

use serde_json::json;
use tests::{Place, Run, sorted, table_name, unique, until};

const SMALL_RUNS: u64 = 24;

/// How many files are few.
const FILES_MAX: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn small_files_are_compacted_and_every_reader_sees_the_same_rows() {
    let place = Place::new().await;
    let workflow = unique();
    let runs: Vec<_> = (0..SMALL_RUNS).map(|n| Run::small(&place.team, &workflow, 1 + n % 3)).collect();
    for run in &runs {
        run.announce(&place.stack).await;
    }
    for run in &runs {
        place.shared(run).await;
    }
    let tables = ["V1", "LATEST"].map(|suffix| table_name(&workflow, suffix));
    let before = place.read_tables(tables.iter().map(String::as_str)).await;
    let rows: u64 = runs.iter().filter_map(|run| run.row_count).sum();
    assert_eq!(before[&tables[0]].rows.len() as u64, rows);
    let held = place.stack.table_version(&place.profile, &place.connector, &tables[0]).await;

    for table in &tables {
        place.stack.maintain(&place.connector, table).await;
    }
    until("the version table has few files", async || {
        let judged = place.stack.judge(&place.connector, &tables[0]).await;
        (judged["files"].as_u64().unwrap() <= FILES_MAX).then_some(())
    })
    .await;
    let after = place.read_tables(tables.iter().map(String::as_str)).await;
    for table in &tables {
        assert_eq!(sorted(&after[table].rows), sorted(&before[table].rows), "{table}");
        let delta = place.stack.rows_in_format(&place.profile, &place.connector, table, "delta").await;
        assert_eq!(sorted(&delta.1), sorted(&before[table].rows), "{table} in delta format");
    }
    let old = place.stack.rows_at(&place.profile, &place.connector, &tables[0], held).await;
    assert_eq!(sorted(&old), sorted(&before[&tables[0]].rows), "the version from before can still be read");

    // Deliveries go on, and `__LATEST` takes the layout of its version table over.
    place.deliver(&Run::small(&place.team, &workflow, 5)).await;
    let after = place.read_tables(tables.iter().map(String::as_str)).await;
    assert_eq!(sorted(&after[&tables[0]].rows), sorted(&after[&tables[1]].rows));
    for table in &tables {
        let judged = place.stack.judge(&place.connector, table).await;
        assert_eq!((&judged["rows"], &judged["records"]), (&json!(rows + 5), &json!(rows + 5)), "{table}: {judged}");
        assert!(judged["files"].as_u64().unwrap() <= FILES_MAX + 1, "{table}: {judged}");
        assert_eq!(judged["protocol"][0], json!(1), "every open client reads {table}");
        let uri = format!("s3://{}/connectors/{}/{table}", place.stack.output("TablesBucketName"), place.connector);
        let lines = place.stack.client("open_every_table.py", &[&uri]).await.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(lines, ["1 tables"]);
    }
}
