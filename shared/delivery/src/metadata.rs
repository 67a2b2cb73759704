//! The tables of a connector that tell of its data: names, columns and rows.

use crate::ids::{RunId, RunKey, WorkflowId};
use crate::schema::Fingerprint;
use crate::table::{SchemaVersion, TableName, WorkflowLabel};
use crate::timestamp::Timestamp;

/// The tables beside the version tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetadataTable {
    /// One row per workflow.
    Workflows,
    /// One row per delivered run. Written in batches.
    WorkflowRuns,
    /// One row per schema version of a workflow.
    WorkflowSchemaVersions,
    /// One row per column of a schema version.
    WorkflowSchemaFields,
    /// One row per activity event. Written in batches; only if the connector wants it.
    ActivityLog,
}

/// The type of a metadata column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellType {
    /// Delta `string`.
    Text,
    /// Delta `long`.
    Integer,
    /// Delta `boolean`.
    Boolean,
    /// Delta `timestamp`: UTC, microseconds.
    Timestamp,
}

/// A column of a metadata table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataColumn {
    /// The column's name.
    pub name: &'static str,
    /// Its type.
    pub cell_type: CellType,
    /// What it says: the column's comment in the table's schema, and the documentation.
    pub comment: &'static str,
}

/// A value of a metadata table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// No value.
    Null,
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// An instant.
    Timestamp(Timestamp),
}

/// One row, a cell for each column of its table in order.
pub type Row = Vec<Cell>;

/// A row that waits for the next batch of its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRow {
    /// What makes the row one of a kind in its table: the run, or the event. At most 300 characters.
    pub key: String,
    /// The row.
    pub row: Row,
}

/// A row as the outbox keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRow {
    /// Its key.
    pub key: String,
    /// The row.
    pub row: Row,
    /// What its writer notes beside the row, if the row is a delivered run's.
    pub delivered: Option<DeliveredFacts>,
}

/// What of a delivered run the catalogue tables and the maintenance go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveredFacts {
    /// The workflow.
    pub workflow: WorkflowId,
    /// The run.
    pub run: RunId,
    /// The workflow's name as of this run.
    pub workflow_name: String,
    /// The fingerprint of the run's schema.
    pub fingerprint: Fingerprint,
    /// The workflow's label.
    pub label: WorkflowLabel,
    /// The version table that holds the run.
    pub table: TableName,
    /// The table version that added it.
    pub table_version: u64,
    /// When the run finished.
    pub finished_at: Timestamp,
}

/// A delivered run, as its outcome says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveredRun {
    /// The workflow's name as of this run.
    pub workflow_name: String,
    /// The fingerprint of the run's schema.
    pub fingerprint: Fingerprint,
    /// The number of the run's schema.
    pub schema_version: SchemaVersion,
    /// The workflow's label.
    pub label: WorkflowLabel,
    /// The version table that holds the run.
    pub table: TableName,
    /// The table version that added it.
    pub table_version: u64,
    /// Rows of the run in the table.
    pub rows: u64,
    /// Rows that were rejected.
    pub rejected_rows: u64,
    /// Bytes of the run's files.
    pub bytes: u64,
    /// When the run finished.
    pub finished_at: Timestamp,
}

impl DeliveredRun {
    /// The run's row of [`MetadataTable::WorkflowRuns`], as it waits. Workflow and run are its key.
    #[must_use]
    pub fn row(&self, run: &RunKey, shared_at: Timestamp) -> KeptRow {
        let number = |value: u64| Cell::Integer(i64::try_from(value).unwrap_or(i64::MAX));
        let row = vec![
            Cell::Text(run.run.as_str().to_owned()),
            Cell::Text(run.workflow.as_str().to_owned()),
            number(self.schema_version.0.into()),
            Cell::Text(self.table.as_str().to_owned()),
            number(self.table_version),
            number(self.rows),
            number(self.rejected_rows),
            Cell::Timestamp(self.finished_at),
            Cell::Timestamp(shared_at),
        ];
        let delivered = DeliveredFacts {
            workflow: run.workflow.clone(),
            run: run.run.clone(),
            workflow_name: self.workflow_name.clone(),
            fingerprint: self.fingerprint.clone(),
            label: self.label.clone(),
            table: self.table.clone(),
            table_version: self.table_version,
            finished_at: self.finished_at,
        };
        KeptRow { key: format!("{}/{}", run.workflow, run.run), row, delivered: Some(delivered) }
    }
}

/// The most rows of one batch.
pub const BATCH_ROWS_MAX: usize = 1_000;

/// The most bytes of the keys of one batch: they are kept in one item of at most 400 KB.
pub const BATCH_KEY_BYTES_MAX: usize = 300_000;

/// What is known of a table that is written in batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batched {
    /// The newest table version known to be in the log. May be stale, never ahead.
    pub table_version: Option<u64>,
    /// The number of the next batch, or of the one that is begun. From 1.
    pub next: u64,
    /// The batch that was begun and is not known to be finished.
    pub begun: Option<BegunBatch>,
}

impl Default for Batched {
    fn default() -> Self {
        Self { table_version: None, next: 1, begun: None }
    }
}

/// A batch whose rows are chosen: written down before the first write of its commit, so that whoever goes on with it
/// makes the same commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BegunBatch {
    /// Its number: the version of the table's `txn` action.
    pub number: u64,
    /// The table version that it aimed at first. Its commit is there or later.
    pub aimed_table_version: u64,
    /// The keys of its rows, in the order of the rows.
    pub keys: Vec<String>,
}

impl MetadataTable {
    /// Every metadata table.
    pub const ALL: [Self; 5] = [
        Self::Workflows,
        Self::WorkflowRuns,
        Self::WorkflowSchemaVersions,
        Self::WorkflowSchemaFields,
        Self::ActivityLog,
    ];

    /// The table's name.
    #[must_use]
    pub fn name(self) -> TableName {
        TableName::from_stored(match self {
            Self::Workflows => "WORKFLOWS",
            Self::WorkflowRuns => "WORKFLOW_RUNS",
            Self::WorkflowSchemaVersions => "WORKFLOW_SCHEMA_VERSIONS",
            Self::WorkflowSchemaFields => "WORKFLOW_SCHEMA_FIELDS",
            Self::ActivityLog => "ACTIVITY_LOG",
        })
    }

    /// The tables that are written whole, each time that their content changes.
    pub const CATALOGUE: [Self; 3] = [Self::Workflows, Self::WorkflowSchemaVersions, Self::WorkflowSchemaFields];

    /// The table of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name().as_str() == name)
    }

    /// The table's columns, in order.
    #[must_use]
    pub fn columns(self) -> &'static [MetadataColumn] {
        match self {
            Self::Workflows => &WORKFLOWS,
            Self::WorkflowRuns => &WORKFLOW_RUNS,
            Self::WorkflowSchemaVersions => &WORKFLOW_SCHEMA_VERSIONS,
            Self::WorkflowSchemaFields => &WORKFLOW_SCHEMA_FIELDS,
            Self::ActivityLog => &ACTIVITY_LOG,
        }
    }
}

const fn column(name: &'static str, cell_type: CellType, comment: &'static str) -> MetadataColumn {
    MetadataColumn { name, cell_type, comment }
}

const WORKFLOWS: [MetadataColumn; 5] = [
    column("workflow_id", CellType::Text, "the workflow"),
    column("workflow_name", CellType::Text, "its name, as of its newest delivered run"),
    column("newest_schema_version", CellType::Integer, "the highest schema version with delivered runs"),
    column("version_table_name", CellType::Text, "the table of that schema version"),
    column("latest_table_name", CellType::Text, "the table that follows the newest finished run's schema"),
];

const WORKFLOW_RUNS: [MetadataColumn; 9] = [
    column("run_id", CellType::Text, "the run"),
    column("workflow_id", CellType::Text, "its workflow"),
    column("schema_version", CellType::Integer, "the schema version of its rows"),
    column("table_name", CellType::Text, "the version table that holds its rows"),
    column("table_version", CellType::Integer, "the table version (Delta log version) that added its rows"),
    column("rows", CellType::Integer, "rows delivered"),
    column("rejected_rows", CellType::Integer, "rows that could not be cast and were left out"),
    column("finished_at", CellType::Timestamp, "when the run finished"),
    column("shared_at", CellType::Timestamp, "when its delivery was proven and recorded as shared"),
];

const WORKFLOW_SCHEMA_VERSIONS: [MetadataColumn; 5] = [
    column("workflow_id", CellType::Text, "the workflow"),
    column("schema_version", CellType::Integer, "the number of the schema, from 1"),
    column("fingerprint", CellType::Text, "SHA-256 of the public descriptor, in hex"),
    column("first_run_id", CellType::Text, "the run that was delivered first with this schema"),
    column("table_name", CellType::Text, "the version table"),
];

const WORKFLOW_SCHEMA_FIELDS: [MetadataColumn; 10] = [
    column("workflow_id", CellType::Text, "the workflow"),
    column("schema_version", CellType::Integer, "the schema version"),
    column("position", CellType::Integer, "the column's place in the table, from 1"),
    column("source_field", CellType::Text, "the field's name at the producer"),
    column("column_name", CellType::Text, "the column's name in the table"),
    column("source_type", CellType::Text, "the declared type"),
    column("delta_type", CellType::Text, "the column's type, nested types written out"),
    column("cast_policy", CellType::Text, "the name of the rule that values are cast by"),
    column("is_key", CellType::Boolean, "whether the field is part of the workflow's key"),
    column("description", CellType::Text, "the field's description, as of the schema's first run"),
];

const ACTIVITY_LOG: [MetadataColumn; 7] = [
    column("event_id", CellType::Text, "the event: the producer's id, or one made of its content"),
    column("occurred_at", CellType::Timestamp, "when it happened"),
    column("event_title", CellType::Text, "what happened"),
    column("resource_type", CellType::Text, "the kind of thing that it happened to"),
    column("resource_name", CellType::Text, "that thing's name"),
    column("workflow_id", CellType::Text, "the workflow, if the event belongs to one"),
    column("request_source", CellType::Text, "where it was asked for: SYSTEM, UI, SDK, API, MCP, CLI or ASSISTANT"),
];
