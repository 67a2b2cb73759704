//! The planner of history ends in the middle of its work, behind every request that it makes, and every row still
//! arrives once. A binary of its own, because a fault strikes whichever backfill comes first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests end at the first surprise"
)]

use serde_json::{Value, json};
use tests::{Run, Stack, table_name, unique};

const PLANNER: &str = "plan-backfill";

struct Story {
    stack: Stack,
    team: String,
    connector: String,
    workflow: String,
    profile: std::path::PathBuf,
    runs: Vec<String>,
}

impl Story {
    /// Two more runs of history and a failing one, backfilled.
    async fn backfill(&mut self) -> Value {
        for _ in 0..2 {
            let run = Run::small(&self.team, &self.workflow, 1);
            run.lie(&self.stack).await;
            self.runs.push(run.run);
        }
        let ended = self.stack.execute("Backfill", &json!({"connectorId": self.connector})).await;
        assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
        serde_json::from_str(ended.output.as_deref().unwrap()).unwrap()
    }

    async fn gateway(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
        self.stack.gateway(method, path, body).await
    }

    async fn requests(&self) -> u64 {
        let counted = self.gateway(reqwest::Method::GET, "/requests", None).await;
        let plain = |text: &str| text.to_ascii_lowercase().replace('-', "");
        let of_planner = counted.as_array().unwrap().iter();
        let of_planner = of_planner.filter(|entry| plain(entry["caller"].as_str().unwrap()).contains(&plain(PLANNER)));
        of_planner.map(|entry| entry["count"].as_u64().unwrap()).sum()
    }

    async fn kills(&self) -> usize {
        let faults = self.gateway(reqwest::Method::GET, "/faults", None).await;
        faults.as_array().unwrap().iter().map(|fault| fault["killedPids"].as_array().map_or(0, Vec::len)).sum()
    }
}

/// What is before a request is behind the one before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_planner_that_ends_behind_any_of_its_requests_loses_and_doubles_nothing() {
    let stack = Stack::of_this_test();
    let (team, connector, workflow) = (unique(), unique(), unique());
    let profile = stack.ready_connector(&connector, &team, json!({"backfill": false})).await;
    let mut story = Story { stack, team, connector, workflow, profile, runs: Vec::new() };
    let broken = Run { body: b"{\"name\"".to_vec(), ..Run::small(&story.team, &story.workflow, 1) };
    broken.lie(&story.stack).await;
    story.backfill().await;
    story.gateway(reqwest::Method::DELETE, "/requests", None).await;
    story.backfill().await;
    let requests = story.requests().await;
    assert!(requests > 10, "{requests}");
    for nth in 1..=requests {
        story.gateway(reqwest::Method::DELETE, "/faults", None).await;
        let fault = json!({"function": PLANNER, "nth": nth, "when": "after", "action": "kill"});
        story.gateway(reqwest::Method::POST, "/faults", Some(fault)).await;
        let report = story.backfill().await;
        assert_eq!(story.kills().await, 1, "the planner was ended behind request {nth} of {requests}");
        let counts = &report["counts"];
        assert_eq!((&counts["delivered"], &counts["failed"]), (&json!(2), &json!(1)), "request {nth}: {report}");
        assert_eq!(report["failures"][0]["runId"], json!(broken.run), "request {nth}");
    }
    story.gateway(reqwest::Method::DELETE, "/faults", None).await;
    for suffix in ["V1", "LATEST"] {
        let (_, rows) = story.stack.rows(&story.profile, &story.connector, &table_name(&story.workflow, suffix)).await;
        let mut found: Vec<_> = rows.iter().map(|row| row["run_id"].as_str().unwrap()).collect();
        let mut expected: Vec<_> = story.runs.iter().map(String::as_str).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{suffix}");
    }
}
