//! Runs about to be announced, and the names that a test needs.

use serde_json::{Value, json};

use crate::stack::Stack;

/// A short text that no other test has.
#[must_use]
pub fn unique() -> String {
    uuid::Uuid::new_v4().simple().to_string().chars().take(12).collect()
}

/// The contact of a test's connector.
#[must_use]
pub fn contact_of(connector: &str) -> String {
    format!("data-{connector}@acme.test")
}

/// The least input of `SetupConnector`, with properties on top.
#[must_use]
pub fn set_up_input(connector: &str, team: &str, more: Value) -> Value {
    let mut input = json!({
        "connectorId": connector,
        "teamId": team,
        "recipient": {"type": "token", "secureContact": contact_of(connector)},
        "workflows": "all",
    });
    if let (Some(input), Value::Object(more)) = (input.as_object_mut(), more) {
        input.extend(more);
    }
    input
}

/// The name of a workflow's table.
#[must_use]
pub fn table_name(workflow: &str, suffix: &str) -> String {
    let label: String =
        workflow.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    format!("WF_{label}__{suffix}")
}

/// A run about to be announced.
#[derive(Debug, Clone)]
pub struct Run {
    /// The team.
    pub team: String,
    /// The workflow.
    pub workflow: String,
    /// The run.
    pub run: String,
    /// When it finished.
    pub finished_at: String,
    /// The declared fields.
    pub fields: Value,
    /// The output's first object.
    pub body: Vec<u8>,
    /// The output's other objects.
    pub more: Vec<Vec<u8>>,
    /// The announced format.
    pub format: String,
    /// The announced number of rows.
    pub row_count: Option<u64>,
}

impl Run {
    /// A run of a small workflow with one text and one number, a number of rows, and a private field.
    #[must_use]
    pub fn small(team: &str, workflow: &str, rows: u64) -> Self {
        let run = uuid::Uuid::new_v4().to_string();
        let body: String = (0..rows)
            .map(|n| format!("{{\"name\": \"{run} {n}\", \"n\": {n}, \"_secret\": \"planted-{run}\"}}\n"))
            .collect();
        Self {
            team: team.to_owned(),
            workflow: workflow.to_owned(),
            run,
            finished_at: "2026-09-01T06:07:30Z".to_owned(),
            fields: json!([
                {"name": "name", "dataType": "STRING", "fieldType": "SCHEMA", "isKey": true},
                {"name": "n", "dataType": "NUMBER", "fieldType": "SCHEMA"},
                {"name": "_secret", "dataType": "STRING", "fieldType": "SCHEMA"},
            ]),
            body: body.into_bytes(),
            more: Vec::new(),
            format: "jsonl".to_owned(),
            row_count: Some(rows),
        }
    }

    /// Where its output's first object lies.
    #[must_use]
    pub fn key(&self) -> String {
        let finished_at = self.finished_at.replace(':', "-");
        format!("kadoa/{}/{}/{finished_at}-{}/data.{}", self.team, self.workflow, self.run, self.format)
    }

    /// Its output's objects: keys and contents, in row order.
    #[must_use]
    pub fn objects(&self) -> Vec<(String, &[u8])> {
        let folder = self.key();
        let folder = folder.rsplit_once('/').unwrap().0;
        let more = self.more.iter().enumerate();
        let more = more.map(|(index, bytes)| (format!("{folder}/data-{}.{}", index + 1, self.format), &**bytes));
        std::iter::once((self.key(), &*self.body)).chain(more).collect()
    }

    /// Its run-completed message.
    #[must_use]
    pub fn message(&self) -> Value {
        let objects: Vec<_> = self.objects().into_iter().map(|(key, _)| json!({"key": key})).collect();
        let mut output = json!({"format": self.format, "objects": objects});
        if let Some(count) = self.row_count {
            output["rowCount"] = json!(count);
        }
        json!({
            "eventType": "workflow_run_completed",
            "eventId": uuid::Uuid::new_v4().to_string(),
            "teamId": self.team,
            "workflowId": self.workflow,
            "workflowName": "A test's workflow",
            "runId": self.run,
            "state": "FINISHED",
            "startedAt": "2026-09-01T06:00:00Z",
            "finishedAt": self.finished_at,
            "schema": {"fields": self.fields},
            "output": output,
        })
    }

    /// Writes its output and announces it.
    pub async fn announce(&self, stack: &Stack) {
        for (key, bytes) in self.objects() {
            stack.put_output(&key, bytes.to_vec()).await;
        }
        stack.send(&self.message().to_string()).await;
    }

    /// Writes its output with its message beside it: history that nobody announces.
    pub async fn lie(&self, stack: &Stack) {
        for (key, bytes) in self.objects() {
            stack.put_output(&key, bytes.to_vec()).await;
        }
        let key = self.key();
        let folder = key.rsplit_once('/').unwrap().0;
        stack.put_output(&format!("{folder}/run.json"), self.message().to_string()).await;
    }

    /// The input of `DeliverRun` for it.
    #[must_use]
    pub fn deliver_input(&self, connectors: &[&str]) -> Value {
        json!({"teamId": self.team, "workflowId": self.workflow, "runId": self.run, "connectors": connectors})
    }
}
