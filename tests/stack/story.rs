//! A connector's whole life as one story, the recipient reading at each point: one by a token of our own server, one in
//! a Databricks metastore, one by a token of the Databricks workspace.

use std::path::PathBuf;

use serde_json::{Value, json};
use tests::{Run, Stack, set_up_input, table_name, unique, until};

/// A recipient, by what it has in its hands.
enum Reader {
    /// A profile of our own server, read by the official client.
    Profile(PathBuf),
    /// Its metastore, or a token of the workspace: tables are read where the workspace says that they lie.
    Workspace(Value),
}

/// How the workspace refuses who was not granted a share, or comes with a token that has ended.
const NOT_SHARED: &str = "is not shared with this recipient";

/// A team with a connector, and the rows that its recipient has to find.
struct Life {
    stack: Stack,
    team: String,
    connector: String,
    workflow: String,
    set_up: Value,
    expected: Vec<String>,
}

impl Life {
    /// A life that is about to begin, with properties of the set-up on top of the least. Before there is a connector, runs
    /// lie in the bucket, and one was announced to nobody.
    async fn before_the_connector(more: Value) -> Self {
        let (team, connector, workflow) = (unique(), unique(), unique());
        let mut set_up = set_up_input(&connector, &team, json!({"requestedBy": "Ada"}));
        set_up.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut life = Self { stack: Stack::of_this_test(), team, connector, workflow, set_up, expected: Vec::new() };
        life.stack.without_waits().await;
        for day in [1, 2] {
            let run = life.run(day);
            run.lie(&life.stack).await;
        }
        let announced = life.run(3);
        announced.announce(&life.stack).await;
        life.stack.recorded(&life.team, &life.workflow, &announced.run).await;
        life
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
        let private = ["activate", "retrieve_config", "acme.test"].iter().find(|private| output.contains(**private));
        assert_eq!(private, None, "{machine} says too much: {output}");
    }

    async fn refused(&self, machine: &str, code: &str) {
        let ended = self.command(machine, json!({})).await;
        assert_eq!(ended.status, "FAILED", "{machine}: {ended:?}");
        assert!(ended.cause.as_deref().unwrap_or_default().contains(code), "{machine}: {ended:?}");
    }

    async fn is_set_up(&self) {
        let ended = self.stack.execute("SetupConnector", &self.set_up).await;
        assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
        assert_eq!(self.stack.connector_state(&self.connector).await, "ready");
    }

    /// Downloads what is behind the newest link that was e-mailed, and keeps it by a name.
    async fn invited(&self, name: &str) -> Reader {
        if self.set_up["backend"] == "databricks" {
            return Reader::Workspace(self.stack.workspace_reader(&self.connector).await);
        }
        Reader::Profile(self.stack.keep(&self.stack.activate(&self.connector).await, name))
    }

    /// The tables that a recipient sees, or how it is refused.
    async fn tables(&self, reader: &Reader) -> Result<Vec<String>, String> {
        match reader {
            Reader::Profile(profile) => {
                self.stack.client("read_table.py", &[profile.to_str().unwrap(), "tables"]).await
            }
            Reader::Workspace(who) => Ok(self.stack.handed(who, &self.connector).await?.into_keys().collect()),
        }
    }

    async fn rows(&self, reader: &Reader, table: &str) -> Vec<Value> {
        match reader {
            Reader::Profile(profile) => self.stack.rows(profile, &self.connector, table).await.1,
            Reader::Workspace(who) => self.stack.read_handed(who, &self.connector, table).await.rows,
        }
    }

    /// What a recipient reads of both of the workflow's tables is what it has to find, each row once.
    async fn assert_reads(&self, reader: &Reader, when: &str) {
        for suffix in ["V1", "LATEST"] {
            let rows = self.rows(reader, &table_name(&self.workflow, suffix)).await;
            let mut names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
            names.sort();
            assert_eq!(names, self.expected, "{suffix}, {when}");
        }
    }

    async fn assert_refused(&self, reader: &Reader, word: &str) {
        let refused = self.tables(reader).await.unwrap_err();
        assert!(refused.contains(word), "{refused}");
    }

    /// The first live run is proven, and history follows.
    async fn first_live_run(&mut self, reader: &Reader) {
        let tables = self.tables(reader).await.unwrap();
        assert!(!tables.is_empty(), "the recipient is let in");
        assert!(
            !tables.iter().any(|table| table.contains("WF_")),
            "no customer data before a live delivery: {tables:?}"
        );
        let live = self.run(4);
        live.announce(&self.stack).await;
        let delivery = self.stack.delivered(&self.connector, &self.workflow, &live.run).await;
        assert_eq!(delivery.state, "shared", "{delivery:?}");
        until("the connector is active", async || {
            (self.stack.connector_state(&self.connector).await == "active").then_some(())
        })
        .await;
        self.assert_reads(reader, "after the backfill").await;
    }

    /// A run while the connector is disabled does not arrive before it is enabled, and then once.
    async fn disabled_and_enabled(&mut self, reader: &Reader) {
        self.done("DisableConnector", json!({})).await;
        let visible = self.expected.clone();
        let missed = self.run(5);
        missed.announce(&self.stack).await;
        self.stack.recorded(&self.team, &self.workflow, &missed.run).await;
        let all = std::mem::replace(&mut self.expected, visible);
        self.assert_reads(reader, "while the connector is disabled").await;
        assert_eq!(self.stack.delivery(&self.connector, &self.workflow, &missed.run).await, None);
        self.done("EnableConnector", json!({})).await;
        self.expected = all;
        self.assert_reads(reader, "after what was missed").await;
    }

    /// The recipient is refused at once, by a word, and its data stays.
    async fn revoked(&self, reader: &Reader, word: &str) {
        let objects = self.objects().await;
        self.done("RevokeConnector", json!({})).await;
        self.assert_refused(reader, word).await;
        if let Reader::Workspace(_) = reader {
            assert_eq!(self.stack.workspace_share(&self.connector).await["grants"], json!({}));
        }
        let kept = self.objects().await;
        assert!(objects.iter().all(|key| kept.contains(key)), "no data is deleted");
        self.refused("EnableConnector", "CONNECTOR_REVOKED").await;
    }

    async fn objects(&self) -> Vec<String> {
        self.stack.keys("TablesBucketName", &format!("connectors/{}", self.connector)).await
    }

    /// Everything that was done is in the audit, in its order, with who asked for it.
    async fn assert_audit(&self, expected: &[&str]) {
        let audit = self.stack.audit_entries(&self.connector).await;
        let actions: Vec<_> = audit.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
        assert_eq!(actions, expected);
        for entry in &audit {
            let by_machine = ["begin-backfill", "activate", "catch-up"].contains(&entry["action"].as_str().unwrap());
            assert!(by_machine || entry["requested_by"] == "Ada", "who asked is kept: {entry}");
            assert!(entry["execution"].as_str().unwrap().starts_with("arn:"), "{entry}");
        }
    }
}

/// What is done in a life in which tokens are rotated twice.
const WITH_ROTATIONS: [&str; 12] = [
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

/// A life whose recipient reads by tokens, and how it is refused when they have ended and when it was revoked.
async fn lives_by_tokens(more: Value, [expired, revoked]: [&str; 2]) {
    let mut life = Life::before_the_connector(more).await;
    life.is_set_up().await;
    let first = life.invited("first").await;
    life.first_live_run(&first).await;

    life.done("RotateToken", json!({"overlapSeconds": 3_600})).await;
    let second = life.invited("second").await;
    life.assert_reads(&first, "while the tokens overlap").await;
    life.assert_reads(&second, "with the new token").await;
    life.done("RotateToken", json!({"overlapSeconds": 0})).await;
    let third = life.invited("third").await;
    life.assert_reads(&third, "with the newest token").await;
    for old in [&first, &second] {
        life.assert_refused(old, expired).await;
    }

    life.disabled_and_enabled(&third).await;
    life.revoked(&third, revoked).await;

    // Set up anew: another link, another token; what was delivered is there, once.
    life.is_set_up().await;
    let fourth = life.invited("fourth").await;
    life.assert_reads(&fourth, "set up anew").await;
    life.assert_refused(&third, revoked).await;
    life.assert_audit(&WITH_ROTATIONS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_recipient_reads_at_each_point_of_a_connectors_life_and_is_refused_after_it() {
    lives_by_tokens(json!({}), ["expired", "revoked"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_recipient_of_the_workspace_reads_at_each_point_of_a_connectors_life_and_is_refused_after_it() {
    lives_by_tokens(json!({"backend": "databricks"}), [NOT_SHARED; 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_databricks_recipient_reads_at_each_point_of_a_connectors_life_and_is_refused_after_it() {
    let identifier = format!("aws:us-west-2:{}", uuid::Uuid::new_v4());
    let recipient = json!({"type": "databricks", "sharingIdentifier": identifier});
    let mut life = Life::before_the_connector(json!({"recipient": recipient, "backend": "databricks"})).await;
    let reader = Reader::Workspace(json!({"sharingIdentifier": identifier}));
    life.assert_refused(&reader, NOT_SHARED).await;
    life.is_set_up().await;
    life.first_live_run(&reader).await;
    life.refused("RotateToken", "ROTATION_UNSUPPORTED").await;
    life.assert_reads(&reader, "where there is no token to rotate").await;
    life.disabled_and_enabled(&reader).await;
    life.revoked(&reader, NOT_SHARED).await;
    assert!(life.stack.mails(&life.connector).await.is_empty(), "who reads in a metastore is sent nothing");

    life.is_set_up().await;
    life.assert_reads(&reader, "set up anew").await;
    let without_rotations: Vec<_> = WITH_ROTATIONS.into_iter().filter(|action| *action != "rotate-token").collect();
    life.assert_audit(&without_rotations).await;
}
