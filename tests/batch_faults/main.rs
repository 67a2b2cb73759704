//! Kill anywhere, for a batch: the functions of `DeliverRun` end before and after every request that they make for
//! several runs, and every row still arrives once. And how many requests a whole batch costs. A binary of its own,
//! because faults and counts are of whichever delivery comes first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests end at the first surprise"
)]

use std::sync::Mutex;

use serde_json::{Value, json};
use tests::kills::Command;
use tests::{Run, Stack, table_name, unique};

/// The functions of a delivery's way.
const FUNCTIONS: [&str; 6] =
    ["stage-run", "publish-run", "share-tables", "prove-delivery", "promote-latest", "record-outcome"];

/// One test has the stack at a time.
static STACK: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A connector that takes another workflow by itself: runs of this one are recorded, and wait for a batch.
struct Place {
    stack: Stack,
    team: String,
    connector: String,
    workflow: String,
    profile: std::path::PathBuf,
}

impl Place {
    async fn begin() -> Self {
        let stack = Stack::of_this_test();
        let (team, connector, workflow) = (unique(), unique(), unique());
        let profile = stack.ready_connector(&connector, &team, json!({"workflows": ["another-workflow"]})).await;
        Self { stack, team, connector, workflow, profile }
    }

    async fn record(&self, count: u64) -> Vec<Run> {
        let runs: Vec<_> = (0..count).map(|n| Run::small(&self.team, &self.workflow, 2 + n % 3)).collect();
        for run in &runs {
            run.announce(&self.stack).await;
        }
        for run in &runs {
            self.stack.recorded(&run.team, &run.workflow, &run.run).await;
        }
        runs
    }

    fn input(&self, runs: &[Run]) -> Value {
        let ids: Vec<_> = runs.iter().map(|run| run.run.as_str()).collect();
        json!({
            "teamId": self.team, "workflowId": self.workflow, "runIds": ids, "connectors": [self.connector],
            "origin": "backfill",
        })
    }

    /// The requests of the functions since they were forgotten: to the state table, and to storage.
    async fn requests(&self) -> (u64, u64) {
        let plain = |text: &str| text.to_ascii_lowercase().replace('-', "");
        let counted = self.stack.gateway(reqwest::Method::GET, "/requests", None).await;
        let to = |service: &str| {
            let ours = |entry: &&Value| {
                let caller = plain(entry["caller"].as_str().unwrap());
                entry["service"] == service && FUNCTIONS.iter().any(|function| caller.contains(&plain(function)))
            };
            counted.as_array().unwrap().iter().filter(ours).map(|entry| entry["count"].as_u64().unwrap()).sum()
        };
        (to("dynamodb"), to("s3"))
    }

    /// The rows of these runs are in both tables once, by the official client's count.
    async fn assert_each_row_once(&self, runs: &[Run]) {
        let mut expected: Vec<_> =
            runs.iter().flat_map(|run| (0..run.row_count.unwrap()).map(move |n| format!("{} {n}", run.run))).collect();
        expected.sort();
        for suffix in ["V1", "LATEST"] {
            let (_, rows) = self.stack.rows(&self.profile, &self.connector, &table_name(&self.workflow, suffix)).await;
            let mut names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
            names.sort();
            assert_eq!(names, expected, "{suffix}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_functions_end_at_any_request_loses_and_doubles_nothing() {
    let _alone = STACK.lock().await;
    let place = Place::begin().await;
    let delivered = Mutex::new(Vec::new());
    // The first batch makes the tables; those that are counted find everything warm.
    let first = place.record(2).await;
    let ended = place.stack.execute("DeliverRun", &place.input(&first)).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    delivered.lock().unwrap().extend(first);
    let command =
        Command { machine: "DeliverRun", functions: &FUNCTIONS, interrupted: "did not get every run", at_once: 1 };
    let begin = async || {
        let runs = place.record(3).await;
        let input = place.input(&runs);
        delivered.lock().unwrap().extend(runs.clone());
        (runs, input)
    };
    let check = async |runs: &Vec<Run>, _: &tests::Execution| {
        for run in runs {
            let delivery = place.stack.delivery(&place.connector, &place.workflow, &run.run).await.unwrap();
            assert_eq!((delivery.state.as_str(), delivery.code), ("shared", None));
        }
    };
    place.stack.killed_anywhere(&command, begin, check).await;
    let delivered = delivered.into_inner().unwrap();
    place.assert_each_row_once(&delivered).await;
    for suffix in ["V1", "LATEST"] {
        let judged = place.stack.judge(&place.connector, &table_name(&place.workflow, suffix)).await;
        assert_eq!(judged["rows"], judged["records"], "{suffix}: {judged}");
        let rows: u64 = delivered.iter().filter_map(|run| run.row_count).sum();
        assert_eq!(judged["rows"], json!(rows), "{suffix}: {judged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_staging_ends_again_and_again_delivers_what_was_staged_before() {
    let _alone = STACK.lock().await;
    let place = Place::begin().await;
    let runs = place.record(8).await;
    // A run takes fewer requests than this, and eight runs take more than three times as many.
    place.stack.order_kill("stage-run", 12, "after", 3).await;
    let ended = place.stack.execute("DeliverRun", &place.input(&runs)).await;
    assert_eq!(place.stack.kills().await, 3);
    place.stack.forget_faults().await;
    assert_eq!(ended.status, "FAILED", "no failed run hides: {ended:?}");
    let mut arrived = 0;
    for run in &runs {
        let delivery = place.stack.delivery(&place.connector, &place.workflow, &run.run).await.unwrap();
        match (delivery.state.as_str(), delivery.code.as_deref()) {
            ("shared", None) => arrived += 1,
            ("failed", Some("STAGING_INTERRUPTED")) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!((1..runs.len()).contains(&arrived), "{arrived} of {}", runs.len());
    place.assert_each_row_once(&runs[..arrived]).await;
    let ended = place.stack.execute("DeliverRun", &place.input(&runs)).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    place.assert_each_row_once(&runs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_runs_cost_one_commit_and_few_requests() {
    let _alone = STACK.lock().await;
    let place = Place::begin().await;
    place.stack.without_waits().await;
    // The first delivery makes the tables, the second finds everything warm.
    for _ in 0..2 {
        let one = place.record(1).await;
        place.stack.forget_requests().await;
        assert_eq!(place.stack.execute("DeliverRun", &place.input(&one)).await.status, "SUCCEEDED");
    }
    assert_eq!(place.requests().await, (11, 11), "what a live delivery costs behind its acceptance");
    let runs = place.record(100).await;
    place.stack.forget_requests().await;
    let ended = place.stack.execute("DeliverRun", &place.input(&runs)).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    let judged = place.stack.judge(&place.connector, &table_name(&place.workflow, "V1")).await;
    assert_eq!(judged["version"], json!(2), "one commit for the hundred");
    let (state, storage) = place.requests().await;
    // Each run is read once; what is written of the hundred is written together.
    assert!(state <= 100 + 20, "{state} requests to the state table");
    // Of each run: manifest looked for, output read, file and manifest written, manifest read, file copied to the
    // version table and to LATEST, footer read.
    assert!(storage <= 100 * 8 + 10, "{storage} requests to storage");
}
