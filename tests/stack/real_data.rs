//! Real data in, the same data out: every value, no private column, and the documentation's own words on it.

use serde_json::{Value, json};
use tests::{Place, Read, Stack, root, sorted, table_name, until};

const BOX_OFFICE: &str = "6606aff0-f6f0-4d26-8321-8e89ad7a00ec";
const JOBS_BY_SEX: &str = "27777b55-c866-41c0-8fa9-08c404a74f9f";
const BIRD_STRIKES: &str = "53498c95-26e2-4688-84b6-921a6201102e";
const BRAND_ICONS: &str = "c1d6a3f4-0f3b-4c9d-9c63-7f2f6f0d5a21";

/// The connector that the documentation's examples name.
const ACME: &str = "acme";

/// A run's message and its rows as a recipient must read them.
struct RealRun {
    message: Value,
    rows: Vec<Value>,
}

impl RealRun {
    async fn of(stack: &Stack, event: &str) -> Self {
        let path = root().join("data/events").join(event);
        let runs = root().join("data/runs");
        let lines = stack.client("expected_rows.py", &[path.to_str().unwrap(), runs.to_str().unwrap()]).await.unwrap();
        Self {
            message: serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap(),
            rows: lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect(),
        }
    }

    fn ids(&self) -> (&str, &str) {
        (self.message["workflowId"].as_str().unwrap(), self.message["runId"].as_str().unwrap())
    }

    async fn announce(&self, place: &Place) {
        let key = self.message["output"]["objects"][0]["key"].as_str().unwrap();
        place.stack.put_output(key, std::fs::read(root().join("data/runs").join(key)).unwrap()).await;
        place.stack.send(&self.message.to_string()).await;
        // Schema versions are numbered in the order in which runs are accepted.
        let (workflow, run) = self.ids();
        until("a run's execution begins", async || {
            place.stack.delivery(&place.connector, workflow, run).await.filter(|delivery| delivery.state != "accepted")
        })
        .await;
    }

    async fn assert_shared(&self, place: &Place) {
        let (workflow, run) = self.ids();
        let delivery = place.stack.delivered(&place.connector, workflow, run).await;
        assert_eq!(delivery.state, "shared", "{delivery:?}");
        assert_eq!(delivery.attributes["rows"], self.rows.len().to_string());
    }
}

fn assert_equal(table: &str, read: &Read, runs: &[&RealRun]) {
    let private = |column: &String| column.starts_with('_') || column == "internal_margin_note";
    assert!(!read.columns.iter().any(private), "{table} shows a private column: {:?}", read.columns);
    let expected = sorted(runs.iter().flat_map(|run| &run.rows));
    let rows = sorted(&read.rows);
    assert_eq!(rows.len(), expected.len(), "rows of {table}");
    if let Some((read, wanted)) = rows.iter().zip(&expected).find(|(read, wanted)| read != wanted) {
        panic!("{table}:\n   read {read}\n wanted {wanted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_runs_read_back_value_by_value_in_both_formats() {
    let stack = Stack::of_this_test();
    let profile = stack.ready_connector(ACME, "team-acme", json!({})).await;
    let place = Place { stack, team: "team-acme".to_owned(), connector: ACME.to_owned(), profile };
    let events = [
        "box_office-1.json",
        "box_office-2.json",
        "box_office-3.json",
        "jobs_by_sex-1.json",
        "bird_strikes-1.json",
        "brand_icons-1.json",
    ];
    let mut runs = Vec::new();
    for event in events {
        let run = RealRun::of(&place.stack, event).await;
        run.announce(&place).await;
        runs.push(run);
    }
    for run in &runs {
        run.assert_shared(&place).await;
    }
    let [one, two, three, jobs, strikes, icons] = runs.as_slice() else { panic!("six runs") };
    let tables = [
        (table_name(BOX_OFFICE, "V1"), vec![one, two]),
        (table_name(BOX_OFFICE, "V2"), vec![three]),
        (table_name(BOX_OFFICE, "LATEST"), vec![three]),
        (table_name(JOBS_BY_SEX, "V1"), vec![jobs]),
        (table_name(JOBS_BY_SEX, "LATEST"), vec![jobs]),
        (table_name(BIRD_STRIKES, "V1"), vec![strikes]),
        (table_name(BIRD_STRIKES, "LATEST"), vec![strikes]),
        (table_name(BRAND_ICONS, "V1"), vec![icons]),
        (table_name(BRAND_ICONS, "LATEST"), vec![icons]),
    ];
    let mut names: Vec<_> = place.tables().await.into_iter().filter(|name| name.starts_with("WF_")).collect();
    let mut wanted: Vec<_> = tables.iter().map(|(name, _)| name.clone()).collect();
    names.sort();
    wanted.sort();
    assert_eq!(names, wanted);

    let read = place.read_tables(tables.iter().map(|(name, _)| name.as_str())).await;
    for (table, runs) in &tables {
        assert_equal(table, &read[table], runs);
    }
    for (table, runs) in tables.iter().filter(|(name, _)| name.contains("__V")) {
        let (columns, rows) = place.stack.rows_in_format(&place.profile, ACME, table, "delta").await;
        assert_equal(table, &Read { columns, rows }, runs);
        let judged = place.stack.judge(ACME, table).await;
        let count: usize = runs.iter().map(|run| run.rows.len()).sum();
        assert_eq!((&judged["rows"], &judged["records"]), (&json!(count), &json!(count)), "{table}: {judged}");
        assert_eq!(judged["protocol"][0], json!(1), "every open client reads {table}");
    }
    documentation_runs_as_written(&place, runs.len()).await;
}

/// Every SQL and Python example of `docs/recipients.md` runs as written against the share that it names.
async fn documentation_runs_as_written(place: &Place, runs: usize) {
    let event = json!({
        "teamId": place.team, "title": "Workflow updated", "dateTime": "2026-09-03T08:00:00Z",
        "source": {"requestSource": "UI"},
        "resource": {"type": "WORKFLOW", "workflowId": BOX_OFFICE, "name": "Box office"},
    });
    place.stack.send_to("ActivityQueueUrl", &event.to_string()).await;
    place.eventually("ACTIVITY_LOG", |table| !table.rows.is_empty()).await;
    place.eventually("WORKFLOW_RUNS", |table| table.rows.len() == runs).await;
    place.eventually("WORKFLOW_SCHEMA_VERSIONS", |table| table.rows.len() == 5).await;
    let page = root().join("docs/recipients.md");
    let arguments = [page.to_str().unwrap(), place.profile.to_str().unwrap()];
    let lines = place.stack.client("documented_examples.py", &arguments).await.unwrap_or_else(|e| panic!("{e}"));
    let results: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let queries: Vec<_> = results.iter().filter(|result| result["kind"] == json!("sql")).collect();
    assert!(queries.len() >= 3, "the three example queries and more: {results:?}");
    assert!(results.iter().any(|result| result["kind"] == json!("python")), "{results:?}");
    for query in queries {
        assert!(query["rows"].as_u64().unwrap() > 0, "a query without an answer shows nothing: {query}");
        assert_eq!(query["text"], json!(query["text"].as_str().unwrap().to_lowercase()), "in lower case");
    }
}
