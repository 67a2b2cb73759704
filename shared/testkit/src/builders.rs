//! Valid values to begin a test with.

use async_trait::async_trait;
use delivery::connector::{Backend, Connector, ConnectorState, Recipient, Scope, SecureContact, TokenRecipient};
use delivery::ids::{ConnectorId, DeliveryKey, RunId, RunKey, TeamId, WorkflowId};
use delivery::lifecycle::{Action, Actor, AuditEntry};
use delivery::metadata::DeliveredRun;
use delivery::ports::{ConnectorStore, PortError};
use delivery::run::{Output, OutputObject, Run};
use delivery::schema::{Column, ColumnType, Field, Marking, PublicSchema, Shape};
use delivery::table::VersionTable;
use delivery::timestamp::Timestamp;

/// The instant so many seconds after 2026-09-01T00:00:00Z.
#[must_use]
pub fn instant(seconds: i64) -> Timestamp {
    Timestamp::EPOCH.plus_seconds(1_788_220_800 + seconds)
}

/// A connector id.
///
/// # Panics
///
/// Panics if the text is not an id.
#[must_use]
pub fn connector_id(text: &str) -> ConnectorId {
    ConnectorId::new(text).expect("a valid connector id")
}

/// A team id.
///
/// # Panics
///
/// Panics if the text is not an id.
#[must_use]
pub fn team_id(text: &str) -> TeamId {
    TeamId::new(text).expect("a valid team id")
}

/// A workflow id.
///
/// # Panics
///
/// Panics if the text is not an id.
#[must_use]
pub fn workflow_id(text: &str) -> WorkflowId {
    WorkflowId::new(text).expect("a valid workflow id")
}

/// A schema of one text column.
#[must_use]
pub fn schema_of(column: &str) -> PublicSchema {
    PublicSchema::from_columns(vec![Column {
        source: column.to_owned(),
        name: column.to_owned(),
        column_type: ColumnType::String,
        source_type: "STRING".to_owned(),
        key: false,
        description: None,
    }])
}

/// A delivered run of three rows in a version table.
#[must_use]
pub fn delivered_run(table: &VersionTable, table_version: u64, finished_at: Timestamp) -> DeliveredRun {
    DeliveredRun {
        workflow_name: "Box office".to_owned(),
        fingerprint: table.fingerprint.clone(),
        schema_version: table.schema_version,
        label: table.label.clone(),
        table: table.name.clone(),
        table_version,
        rows: 3,
        rejected_rows: 1,
        bytes: 700,
        finished_at,
    }
}

/// A run's key.
///
/// # Panics
///
/// Panics if a text is not an id.
#[must_use]
pub fn run_key(team: &str, workflow: &str, run: &str) -> RunKey {
    RunKey { team: team_id(team), workflow: workflow_id(workflow), run: RunId::new(run).expect("a valid run id") }
}

/// A delivery's key.
#[must_use]
pub fn delivery_key(connector: &ConnectorId, run: &RunKey) -> DeliveryKey {
    DeliveryKey { connector: connector.clone(), run: run.clone() }
}

/// A public field of a type.
#[must_use]
pub fn field(name: &str, data_type: &str) -> Field {
    Field {
        name: name.to_owned(),
        data_type: Some(data_type.to_owned()),
        field_type: Some("SCHEMA".to_owned()),
        key: false,
        marking: Marking::Public,
        description: None,
        shape: None,
    }
}

/// A finished run with a key, a private field and a nested shape.
#[must_use]
pub fn run(key: RunKey) -> Run {
    let shape = Shape::Object(vec![("z".to_owned(), Shape::Number), ("a".to_owned(), Shape::Array(vec![Shape::Null]))]);
    Run {
        workflow_name: "Box office".to_owned(),
        started_at: Some(instant(0)),
        finished_at: instant(450),
        fields: vec![
            Field { key: true, description: Some("the film’s title".to_owned()), ..field("title", "STRING") },
            Field { marking: Marking::Private, ..field("internal_margin_note", "STRING") },
            Field { shape: Some(shape), ..field("details", "OBJECT") },
        ],
        output: Output {
            format: "jsonl".to_owned(),
            objects: vec![OutputObject { bucket: None, key: format!("kadoa/{}/data.jsonl", key.run) }],
            row_count: Some(3),
        },
        key,
    }
}

/// An entry of an audit.
#[must_use]
pub fn audit_entry(action: Action, seconds: i64) -> AuditEntry {
    let actor = Actor {
        execution: "arn:aws:states:eu-west-1:1:execution:m:e".to_owned(),
        requested_by: Some("ada".to_owned()),
    };
    AuditEntry { at: instant(seconds), action, actor }
}

/// Writes connectors whatever was there: for tests that begin with them.
#[async_trait]
pub trait PutConnector {
    /// Writes a connector over what is there.
    async fn put_connector(&self, connector: &Connector) -> Result<(), PortError>;
}

#[async_trait]
impl<T: ConnectorStore + ?Sized> PutConnector for T {
    async fn put_connector(&self, connector: &Connector) -> Result<(), PortError> {
        let before = self.connector(&connector.id).await?;
        let _ = self.change_connector(before.as_ref(), connector, &audit_entry(Action::SetUp, 0)).await?;
        Ok(())
    }
}

/// A ready connector that takes every workflow of a team.
///
/// # Panics
///
/// Never: the built-in contact is an address.
#[must_use]
pub fn connector(id: &str, team: &str) -> Connector {
    Connector {
        id: connector_id(id),
        team: team_id(team),
        recipient: Recipient::Token(TokenRecipient {
            secure_contact: SecureContact::new("data@acme.test").expect("an address"),
            token_lifetime_days: 365,
            allowed_ips: Vec::new(),
        }),
        backend: Backend::Open,
        workflows: Scope::All,
        activity_log: true,
        backfill: true,
        max_rejected_fraction: 0.0,
        state: ConnectorState::Ready,
        disabled_in: None,
        missed_since: None,
        rotation: None,
        created_at: instant(0),
        revision: 0,
    }
}
