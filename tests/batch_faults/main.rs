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

use std::collections::BTreeSet;
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
    let command = Command { machine: "DeliverRun", functions: &FUNCTIONS, interrupted: "did not get every run" };
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
        let batches = 1 + (delivered.len() as u64 - 2) / 3;
        assert_eq!(judged["version"], json!(batches - 1), "{suffix}: one commit a batch, whatever ended: {judged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_runs_cost_one_commit_and_few_requests() {
    let _alone = STACK.lock().await;
    let place = Place::begin().await;
    place.stack.without_waits().await;
    let first = place.record(1).await;
    assert_eq!(place.stack.execute("DeliverRun", &place.input(&first)).await.status, "SUCCEEDED");
    let runs = place.record(100).await;
    place.stack.forget_requests().await;
    let began = std::time::Instant::now();
    let ended = place.stack.execute("DeliverRun", &place.input(&runs)).await;
    println!("a batch of 100 took {:?}", began.elapsed());
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    let counted = place.stack.gateway(reqwest::Method::GET, "/requests", None).await;
    let mut of_state = BTreeSet::new();
    let (mut state_requests, mut storage_requests) = (0, 0);
    for entry in counted.as_array().unwrap() {
        let plain = |text: &str| text.to_ascii_lowercase().replace('-', "");
        let caller = plain(entry["caller"].as_str().unwrap());
        if !FUNCTIONS.iter().any(|function| caller.contains(&plain(function))) {
            continue;
        }
        let (service, count) = (entry["service"].as_str().unwrap(), entry["count"].as_u64().unwrap());
        println!("{entry}");
        match service.to_ascii_lowercase().as_str() {
            "dynamodb" => state_requests += count,
            "s3" => storage_requests += count,
            other => drop(of_state.insert(other.to_owned())),
        }
    }
    println!("state {state_requests}, storage {storage_requests}, others {of_state:?}");
    let judged = place.stack.judge(&place.connector, &table_name(&place.workflow, "V1")).await;
    assert_eq!(judged["version"], json!(1), "one commit for the hundred");
    // Each run is read once; what is written of the hundred is written together.
    assert!(state_requests <= 100 + 30, "{state_requests} requests to the state table");
    // Of each run: its manifest looked for, its output read, file and manifest written, manifest read, file copied.
    assert!(storage_requests <= 100 * 8 + 20, "{storage_requests} requests to storage");
}
