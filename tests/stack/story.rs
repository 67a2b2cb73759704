//! A connector's whole life as one story, the recipient reading at each point.

use std::path::Path;

use serde_json::{Value, json};
use tests::{Run, Stack, set_up_input, table_name, unique, until};

/// A team with a connector, and the rows that its recipient has to find.
struct Life {
    stack: Stack,
    team: String,
    connector: String,
    workflow: String,
    expected: Vec<String>,
}

impl Life {
    fn new() -> Self {
        let (team, connector, workflow) = (unique(), unique(), unique());
        Self { stack: Stack::of_this_test(), team, connector, workflow, expected: Vec::new() }
    }

    /// A run of the workflow that finished on a day of September; its rows have to be found from now on.
    fn run(&mut self, day: u32) -> Run {
        let mut run = Run::small(&self.team, &self.workflow, 3);
        run.finished_at = format!("2026-09-{day:02}T06:07:30Z");
        self.expected.extend((0..3).map(|n| format!("{} {n}", run.run)));
        self.expected.sort();
        run
    }

    async fn command(&self, machine: &str, more: Value) -> tests::Execution {
        let mut input = json!({"connectorId": self.connector, "requestedBy": "Ada"});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.stack.execute(machine, &input).await
    }

    async fn done(&self, machine: &str, more: Value) {
        let ended = self.command(machine, more).await;
        assert_eq!(ended.status, "SUCCEEDED", "{machine}: {ended:?}");
        let output = ended.output.unwrap_or_default();
        assert!(!output.contains("activate") && !output.contains("acme.test"), "{machine} says too much: {output}");
    }

    async fn until_state(&self, state: &str) {
        until(&format!("the connector is {state}"), async || {
            (self.stack.connector_state(&self.connector).await == state).then_some(())
        })
        .await;
    }

    /// What a recipient reads of both of the workflow's tables is what it has to find.
    async fn assert_reads(&self, profile: &Path, when: &str) {
        for suffix in ["V1", "LATEST"] {
            let (_, rows) = self.stack.rows(profile, &self.connector, &table_name(&self.workflow, suffix)).await;
            let mut names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
            names.sort();
            assert_eq!(names, self.expected, "{suffix}, {when}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_recipient_reads_at_each_point_of_a_connectors_life_and_is_refused_after_it() {
    let mut life = Life::new();
    life.stack.without_waits().await;

    // Before there is a connector: runs in the bucket, and one that was announced to nobody.
    for day in [1, 2] {
        let run = life.run(day);
        run.lie(&life.stack).await;
    }
    let announced = life.run(3);
    announced.announce(&life.stack).await;
    life.stack.recorded(&life.team, &life.workflow, &announced.run).await;

    let set_up = set_up_input(&life.connector, &life.team, json!({"requestedBy": "Ada"}));
    let ended = life.stack.execute("SetupConnector", &set_up).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    let profile = life.stack.activate(&life.connector).await;
    let first = life.stack.keep(&profile, "first");
    assert_eq!(life.stack.connector_state(&life.connector).await, "ready");
    let tables = life.stack.tables(&first).await;
    assert!(!tables.iter().any(|table| table.contains(".WF_")), "no customer data before a live delivery: {tables:?}");

    // The first live run is proven, and history follows.
    let live = life.run(4);
    live.announce(&life.stack).await;
    life.until_state("active").await;
    life.assert_reads(&first, "after the backfill").await;

    life.done("RotateToken", json!({"overlapSeconds": 3_600})).await;
    let second = life.stack.keep(&life.stack.activate(&life.connector).await, "second");
    life.assert_reads(&first, "while the tokens overlap").await;
    life.assert_reads(&second, "with the new token").await;
    life.done("RotateToken", json!({"overlapSeconds": 0})).await;
    let third = life.stack.keep(&life.stack.activate(&life.connector).await, "third");
    life.assert_reads(&third, "with the newest token").await;
    for old in [&first, &second] {
        let refused = life.stack.client("read_table.py", &[old.to_str().unwrap(), "tables"]).await.unwrap_err();
        assert!(refused.contains("expired"), "{refused}");
    }

    life.done("DisableConnector", json!({})).await;
    let visible = life.expected.clone();
    let missed = life.run(5);
    missed.announce(&life.stack).await;
    life.stack.recorded(&life.team, &life.workflow, &missed.run).await;
    let all = std::mem::replace(&mut life.expected, visible);
    life.assert_reads(&third, "while the connector is disabled").await;
    assert_eq!(life.stack.delivery(&life.connector, &life.workflow, &missed.run).await, None);
    life.done("EnableConnector", json!({})).await;
    life.expected = all;
    life.assert_reads(&third, "after what was missed").await;

    let objects = life.stack.keys("TablesBucketName", &format!("connectors/{}", life.connector)).await;
    life.done("RevokeConnector", json!({})).await;
    let refused = life.stack.client("read_table.py", &[third.to_str().unwrap(), "tables"]).await.unwrap_err();
    assert!(refused.contains("revoked"), "{refused}");
    let kept = life.stack.keys("TablesBucketName", &format!("connectors/{}", life.connector)).await;
    assert!(objects.iter().all(|key| kept.contains(key)), "no data is deleted");
    let enabled = life.command("EnableConnector", json!({})).await;
    assert_eq!(enabled.status, "FAILED", "{enabled:?}");
    assert!(enabled.cause.unwrap_or_default().contains("CONNECTOR_REVOKED"));

    // Set up anew: another link, another token; what was delivered is there, once.
    let again = life.stack.execute("SetupConnector", &set_up).await;
    assert_eq!(again.status, "SUCCEEDED", "{again:?}");
    let fourth = life.stack.keep(&life.stack.activate(&life.connector).await, "fourth");
    life.assert_reads(&fourth, "set up anew").await;
    assert!(life.stack.client("read_table.py", &[third.to_str().unwrap(), "tables"]).await.is_err());

    let audit = life.stack.audit_entries(&life.connector).await;
    let actions: Vec<_> = audit.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    let expected = [
        "set-up",
        "verify",
        "begin-backfill",
        "activate",
        "rotate-token",
        "rotate-token",
        "disable",
        "enable",
        "catch-up",
        "revoke",
        "set-up",
        "verify",
    ];
    assert_eq!(actions, expected);
    for entry in &audit {
        let by_machine = ["begin-backfill", "activate", "catch-up"].contains(&entry["action"].as_str().unwrap());
        assert!(by_machine || entry["requested_by"] == "Ada", "who asked is kept: {entry}");
        assert!(entry["execution"].as_str().unwrap().starts_with("arn:"), "{entry}");
    }
}
