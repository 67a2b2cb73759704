//! Kill anywhere: functions end in the middle of their work, before and after every request that they make, and every
//! row still arrives once. A binary of its own, because a fault strikes whichever delivery comes first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests end at the first surprise"
)]

use std::collections::BTreeMap;

use serde_json::json;
use tests::{Run, Stack, table_name, unique};

/// The functions of a delivery's way, and what a delivery fails with whose function ends again and again.
const FUNCTIONS: [(&str, &str); 5] = [
    ("stage-run", "STAGING_INTERRUPTED"),
    ("publish-run", "LOAD_INTERRUPTED"),
    ("share-tables", "SHARE_INTERRUPTED"),
    ("prove-delivery", "PROOF_INTERRUPTED"),
    ("promote-latest", "PUBLISH_INTERRUPTED"),
];

struct Story {
    stack: Stack,
    team: String,
    connector: String,
    workflow: String,
    profile: std::path::PathBuf,
    rows: BTreeMap<String, u64>,
}

impl Story {
    async fn begin() -> Self {
        let stack = Stack::of_this_test();
        stack.without_waits().await;
        let (team, connector, workflow) = (unique(), unique(), unique());
        let profile = stack.ready_connector(&connector, &team, json!({"backfill": false})).await;
        let mut story = Self { stack, team, connector, workflow, profile, rows: BTreeMap::new() };
        // The first run makes the tables; the second finds everything warm.
        for _ in 0..2 {
            assert_eq!(story.deliver().await.1, "shared");
        }
        story
    }

    async fn deliver(&mut self) -> (Run, String) {
        let rows = 3 + self.rows.len() as u64 % 5;
        let run = Run::small(&self.team, &self.workflow, rows);
        run.announce(&self.stack).await;
        let ended = self.stack.delivered(&self.connector, &self.workflow, &run.run).await;
        self.rows.insert(run.run.clone(), rows);
        (run, ended.state)
    }

    async fn requests_of_a_delivery(&mut self) -> BTreeMap<&'static str, u64> {
        self.stack.forget_requests().await;
        assert_eq!(self.deliver().await.1, "shared");
        self.stack.requests_of(&FUNCTIONS.map(|(function, _)| function)).await
    }

    /// Every run's rows are in both tables once, by the official client's count.
    async fn assert_each_row_once(&self) {
        for suffix in ["V1", "LATEST"] {
            let (_, rows) = self.stack.rows(&self.profile, &self.connector, &table_name(&self.workflow, suffix)).await;
            let mut names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
            names.sort();
            let mut expected: Vec<_> =
                self.rows.iter().flat_map(|(run, rows)| (0..*rows).map(move |n| format!("{run} {n}"))).collect();
            expected.sort();
            assert_eq!(names, expected, "{suffix}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_ends_before_or_after_any_of_its_requests_loses_and_doubles_nothing() {
    let mut story = Story::begin().await;
    let requests = story.requests_of_a_delivery().await;
    for (function, count) in &requests {
        assert!(*count > 0, "{function} makes requests: {requests:?}");
        for nth in 1..=*count {
            for when in ["before", "after"] {
                story.stack.order_kill(function, nth, when, 1).await;
                let (_, state) = story.deliver().await;
                assert_eq!(story.stack.kills().await, 1, "{function} was ended {when} request {nth}");
                assert_eq!(state, "shared", "{function} ended {when} request {nth}");
            }
        }
    }
    story.stack.forget_faults().await;
    story.assert_each_row_once().await;

    // A function that ends again and again fails the delivery; started again, it arrives.
    for (function, code) in FUNCTIONS {
        story.stack.order_kill(function, 1, "after", 3).await;
        let (run, state) = story.deliver().await;
        assert_eq!((state.as_str(), story.stack.kills().await), ("failed", 3), "{function}");
        let failed = story.stack.delivery(&story.connector, &story.workflow, &run.run).await.unwrap();
        assert_eq!(failed.code.as_deref(), Some(code), "{function}: {failed:?}");
        story.stack.forget_faults().await;
        let ended = story.stack.execute("DeliverRun", &run.deliver_input(&[&story.connector])).await;
        assert_eq!(ended.status, "SUCCEEDED", "{function}: {ended:?}");
        let delivery = story.stack.delivery(&story.connector, &story.workflow, &run.run).await.unwrap();
        assert_eq!((delivery.state.as_str(), delivery.code), ("shared", None), "{function}");
    }
    story.assert_each_row_once().await;
    for suffix in ["V1", "LATEST"] {
        let judged = story.stack.judge(&story.connector, &table_name(&story.workflow, suffix)).await;
        assert_eq!(judged["rows"], judged["records"], "{suffix}: {judged}");
        assert_eq!(judged["rows"].as_u64().unwrap(), story.rows.values().sum::<u64>(), "{suffix}: {judged}");
    }
}
