//! Names and state of a connector's tables.

use std::fmt;

use crate::connector::storage_path;
use crate::ids::{ConnectorId, RunId, WorkflowId, sha256_hex};
use crate::schema::Fingerprint;
use crate::timestamp::Timestamp;

/// The number of a workflow's table schema, from 1: the connector's own count of public descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaVersion(pub u32);

/// The part of a table name that stands for the workflow: upper case, everything outside `A-Z0-9` as `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkflowLabel(String);

impl WorkflowLabel {
    /// The label that a workflow gets if no other workflow of the connector has it.
    #[must_use]
    pub fn preferred(workflow: &WorkflowId) -> Self {
        let keep = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        Self(workflow.as_str().chars().map(keep).collect())
    }

    /// The label of a workflow whose preferred one is taken: a hash suffix keeps it apart.
    #[must_use]
    pub fn distinct(workflow: &WorkflowId) -> Self {
        let hash = sha256_hex(&[workflow.as_str()])[..8].to_ascii_uppercase();
        Self(format!("{}_{hash}", Self::preferred(workflow).0))
    }

    /// A label that was stored before.
    #[must_use]
    pub fn from_stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The label's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a table, and the last part of its path. Names compare without case; ours are upper case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName(String);

impl TableName {
    /// `WF_<label>__V<n>`.
    #[must_use]
    pub fn version(label: &WorkflowLabel, version: SchemaVersion) -> Self {
        Self(format!("WF_{}__V{}", label.0, version.0))
    }

    /// `WF_<label>__LATEST`.
    #[must_use]
    pub fn latest(label: &WorkflowLabel) -> Self {
        Self(format!("WF_{}__LATEST", label.0))
    }

    /// The table of zero rows that a new share is checked with.
    #[must_use]
    pub fn probe() -> Self {
        Self("SPILLWAY_PROBE".to_owned())
    }

    /// A name that was stored before.
    #[must_use]
    pub fn from_stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a table lies in the tables bucket, without a slash at the end.
#[must_use]
pub fn table_path(connector: &ConnectorId, table: &TableName) -> String {
    format!("{}/{table}", storage_path(connector))
}

/// The name of a run's n-th data file in a table: the same for every attempt, so that a retry overwrites itself.
#[must_use]
pub fn data_file_name(run: &RunId, index: usize) -> String {
    format!("{run}-{index:05}.parquet")
}

/// What the state table knows of a version table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionTable {
    /// The table's name.
    pub name: TableName,
    /// The workflow's label, for the name of `__LATEST`.
    pub label: WorkflowLabel,
    /// The number of the schema.
    pub schema_version: SchemaVersion,
    /// The fingerprint of the schema.
    pub fingerprint: Fingerprint,
    /// The newest table version known to be in the log; `None` before the first commit. May be stale, never ahead.
    pub table_version: Option<u64>,
    /// Whether the table is known to be in the share.
    pub shared: Membership,
}

/// Whether a table is known to be in its connector's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// Added and checked.
    Shared,
    /// Not known to be there.
    Unshared,
}

/// What the state table knows of `WF_<label>__LATEST`. The log holds the same facts (its `txn` actions) and wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatestTable {
    /// The newest table version known to be in the log. May be stale, never ahead.
    pub table_version: u64,
    /// What the table mirrors at that version.
    pub mirrored: Mirrored,
    /// Whether the table is known to be in the share.
    pub shared: Membership,
}

/// What a version of `__LATEST` mirrors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrored {
    /// The version table.
    pub source: TableName,
    /// The version table's table version up to which commits are shipped.
    pub source_version: u64,
    /// When the newest mirrored run finished: an older run with another schema does not move the table back.
    pub newest_finished_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_names_are_upper_case_words() {
        let workflow = WorkflowId::new("6606aff0-f6f0-4d26-8321-8e89ad7a00ec").unwrap();
        let label = WorkflowLabel::preferred(&workflow);
        assert_eq!(
            TableName::version(&label, SchemaVersion(2)).as_str(),
            "WF_6606AFF0_F6F0_4D26_8321_8E89AD7A00EC__V2"
        );
        assert_eq!(TableName::latest(&label).as_str(), "WF_6606AFF0_F6F0_4D26_8321_8E89AD7A00EC__LATEST");
    }

    #[test]
    fn workflows_with_the_same_label_are_told_apart() {
        let (a, b) = (WorkflowId::new("a-b").unwrap(), WorkflowId::new("a.b").unwrap());
        assert_eq!(WorkflowLabel::preferred(&a), WorkflowLabel::preferred(&b));
        assert_ne!(WorkflowLabel::distinct(&a), WorkflowLabel::distinct(&b));
    }
}
