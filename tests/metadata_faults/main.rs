//! The writers of metadata tables end in the middle of their work, before and after every request that they make, and
//! every row still arrives once. A binary of its own, because a fault strikes whichever connector comes first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests end at the first surprise"
)]

use serde_json::{Value, json};
use tests::{Place, Run, unique};

const WRITER: &str = "publish-metadata";

/// A writer comes within seconds of a delivery, which takes about one.
const DELIVERIES_MAX: usize = 60;

struct Story {
    place: Place,
    workflow: String,
    runs: Vec<String>,
}

impl Story {
    async fn order(&self, fault: Value) {
        self.place.stack.gateway(reqwest::Method::DELETE, "/faults", None).await;
        self.place.stack.gateway(reqwest::Method::POST, "/faults", Some(fault)).await;
    }

    async fn fired(&self) -> u64 {
        let faults = self.place.stack.gateway(reqwest::Method::GET, "/faults", None).await;
        faults.as_array().unwrap().iter().map(|fault| fault["fired"].as_u64().unwrap()).sum()
    }

    async fn deliver(&mut self) {
        let run = Run::small(&self.place.team, &self.workflow, 1);
        self.place.deliver(&run).await;
        self.runs.push(run.run);
    }

    /// Waits until the newest run is in the table, and holds the table against all that were delivered.
    async fn assert_each_run_once(&self) {
        let table = self.place.eventually("WORKFLOW_RUNS", |table| table.rows.len() >= self.runs.len()).await;
        let mut found: Vec<_> = table.rows.iter().map(|row| row["run_id"].as_str().unwrap()).collect();
        let mut expected: Vec<_> = self.runs.iter().map(String::as_str).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_ends_before_or_after_any_of_its_requests_loses_and_doubles_no_row() {
    let place = Place::new().await;
    place.stack.gateway(reqwest::Method::DELETE, "/faults", None).await;
    place.stack.redeliver_soon("MetadataQueue").await;
    let mut story = Story { place, workflow: unique(), runs: Vec::new() };
    story.deliver().await;
    story.assert_each_run_once().await;

    // How many requests a batch takes, when nothing goes wrong.
    story.place.stack.gateway(reqwest::Method::DELETE, "/requests", None).await;
    story.deliver().await;
    story.assert_each_run_once().await;
    let counted = story.place.stack.gateway(reqwest::Method::GET, "/requests", None).await;
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "");
    let of_writer = |entry: &&Value| plain(entry["caller"].as_str().unwrap()).contains(&plain(WRITER));
    let requests: u64 =
        counted.as_array().unwrap().iter().filter(of_writer).map(|e| e["count"].as_u64().unwrap()).sum();
    assert!(requests >= 3, "a batch is read, written and taken off: {counted}");

    for nth in 1..=requests {
        for when in ["before", "after"] {
            story.order(json!({"function": WRITER, "nth": nth, "when": when, "action": "kill"})).await;
            // Each delivery wakes a writer; rows that an ended one left are the next one's.
            for _ in 0..DELIVERIES_MAX {
                story.deliver().await;
                if story.fired().await == 1 {
                    break;
                }
            }
            assert_eq!(story.fired().await, 1, "a writer was ended {when} request {nth}");
        }
    }
    story.place.stack.gateway(reqwest::Method::DELETE, "/faults", None).await;
    story.deliver().await;
    story.assert_each_run_once().await;
    let judged = story.place.stack.judge(&story.place.connector, "WORKFLOW_RUNS").await;
    assert_eq!(judged["rows"], json!(story.runs.len()), "{judged}");
}
