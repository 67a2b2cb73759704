//! The text of a log entry: JSON lines. Kinds that no reader needs (`domainMetadata`, …) are passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use serde::{Deserialize, Deserializer};

use super::{DeletionVector, Metadata, PartitionValues, Protocol};

/// The actions of a commit or a checkpoint, or of a part of one.
#[derive(Debug)]
pub(crate) struct CommitActions {
    pub(crate) timestamp: Timestamp,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) removes: Vec<RemovedFile>,
    pub(crate) adds: Vec<AddedFile>,
    pub(crate) changes: Vec<ChangeFile>,
    pub(crate) transactions: Vec<TransactionAction>,
    pub(crate) sidecars: Vec<Sidecar>,
}

/// The `add` action: a file that joins the table, or takes the place of its earlier entry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddedFile {
    /// The path as the log has it: percent-encoded once over the object's key, relative to the table.
    pub path: String,
    /// The values of the partition columns.
    #[serde(default)]
    pub partition_values: PartitionValues,
    /// The file's size in bytes.
    pub size: u64,
    /// When the file was made, in milliseconds since the epoch.
    #[serde(default)]
    pub modification_time: i64,
    /// Whether rows came with the file; `false` if it only has rows that other files had.
    #[serde(default = "said_by_nobody")]
    pub data_change: bool,
    /// Statistics as JSON text.
    #[serde(default)]
    pub stats: Option<String>,
    /// Which rows of the file are deleted.
    #[serde(default, deserialize_with = "vector")]
    pub deletion_vector: Option<Arc<DeletionVector>>,
}

/// The `remove` action: a file that leaves the table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemovedFile {
    /// The path as the log has it: percent-encoded once over the object's key, relative to the table.
    pub path: String,
    /// When the file left, in milliseconds since the epoch.
    #[serde(default)]
    pub deletion_timestamp: Option<i64>,
    /// Whether rows left with the file; `false` if other files have them.
    #[serde(default = "said_by_nobody")]
    pub data_change: bool,
    #[serde(default)]
    pub(crate) extended_file_metadata: Option<bool>,
    /// The values of the partition columns, if the log says them.
    #[serde(default)]
    pub partition_values: Option<PartitionValues>,
    /// The file's size in bytes, if the log says it.
    #[serde(default)]
    pub size: Option<u64>,
    /// Statistics as JSON text, if the log says them.
    #[serde(default)]
    pub stats: Option<String>,
    /// Which rows of the file were deleted before.
    #[serde(default, deserialize_with = "vector")]
    pub deletion_vector: Option<Arc<DeletionVector>>,
}

/// The `cdc` action: a file of changed rows. A commit that has one says all its changes so (PROTOCOL.md, "Add CDC File").
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeFile {
    /// The path as the log has it: percent-encoded once over the object's key, relative to the table.
    pub path: String,
    /// The values of the partition columns.
    #[serde(default)]
    pub partition_values: PartitionValues,
    /// The file's size in bytes.
    pub size: u64,
}

/// A file whose action does not say whether rows changed: the field is required, so the careful reading is yes.
fn said_by_nobody() -> bool {
    true
}

fn vector<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Arc<DeletionVector>>, D::Error> {
    Ok(Option::<DeletionVector>::deserialize(input)?.map(Arc::new))
}

/// The `sidecar` action: a file with more of a V2 checkpoint's `add`s and `remove`s.
#[derive(Debug, Deserialize)]
pub(crate) struct Sidecar {
    pub(crate) path: String,
}

/// The `txn` action.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TransactionAction {
    pub(crate) app_id: String,
    pub(crate) version: i64,
    #[serde(default)]
    pub(crate) last_updated: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    add: Option<AddedFile>,
    remove: Option<RemovedFile>,
    cdc: Option<ChangeFile>,
    protocol: Option<ProtocolAction>,
    meta_data: Option<MetadataAction>,
    commit_info: Option<CommitInfoAction>,
    txn: Option<TransactionAction>,
    sidecar: Option<Sidecar>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProtocolAction {
    min_reader_version: u32,
    min_writer_version: u32,
    #[serde(default)]
    reader_features: Option<BTreeSet<String>>,
    #[serde(default)]
    writer_features: Option<BTreeSet<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetadataAction {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    schema_string: String,
    #[serde(default)]
    partition_columns: Vec<String>,
    #[serde(default)]
    configuration: BTreeMap<String, Option<String>>,
    #[serde(default)]
    created_time: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommitInfoAction {
    #[serde(default, deserialize_with = "whole")]
    timestamp: Option<i64>,
    #[serde(default, deserialize_with = "whole")]
    in_commit_timestamp: Option<i64>,
}

/// A whole number; what a writer says there else is its own business (PROTOCOL.md, "Commit Provenance Information").
fn whole<'de, D: Deserializer<'de>>(input: D) -> Result<Option<i64>, D::Error> {
    Ok(serde_json::Value::deserialize(input)?.as_i64())
}

impl CommitActions {
    /// No actions, at a time.
    pub(crate) fn at(timestamp: Timestamp) -> Self {
        Self {
            timestamp,
            protocol: None,
            metadata: None,
            removes: Vec::new(),
            adds: Vec::new(),
            changes: Vec::new(),
            transactions: Vec::new(),
            sidecars: Vec::new(),
        }
    }

    /// Adds another part of the same commit or checkpoint; the time stays what it is.
    pub(crate) fn join(&mut self, part: Self) {
        self.protocol = part.protocol.or_else(|| self.protocol.take());
        self.metadata = part.metadata.or_else(|| self.metadata.take());
        self.removes.extend(part.removes);
        self.adds.extend(part.adds);
        self.changes.extend(part.changes);
        self.transactions.extend(part.transactions);
        self.sidecars.extend(part.sidecars);
    }

    /// Forgets all but what a checkpoint says of the table.
    pub(crate) fn keep_head(&mut self) {
        (self.removes, self.adds, self.transactions) = (Vec::new(), Vec::new(), Vec::new());
    }

    /// Reads lines of a log entry. `modified` is the commit's time if they do not say one.
    pub(crate) fn parse(text: &[u8], modified: Timestamp) -> Result<Self, PortError> {
        let mut actions = Self::at(modified);
        for line in lines(text) {
            let line: Line = serde_json::from_slice(line).map_err(|error| unreadable(error.to_string()))?;
            actions.adds.extend(line.add);
            actions.removes.extend(line.remove);
            actions.changes.extend(line.cdc);
            actions.transactions.extend(line.txn);
            actions.sidecars.extend(line.sidecar);
            if let Some(protocol) = line.protocol {
                actions.protocol = Some(Protocol {
                    min_reader_version: protocol.min_reader_version,
                    min_writer_version: protocol.min_writer_version,
                    reader_features: protocol.reader_features.unwrap_or_default(),
                    writer_features: protocol.writer_features.unwrap_or_default(),
                });
            }
            if let Some(metadata) = line.meta_data {
                let configuration = metadata.configuration.into_iter();
                actions.metadata = Some(Metadata {
                    id: metadata.id,
                    name: metadata.name,
                    description: metadata.description,
                    schema_string: metadata.schema_string,
                    partition_columns: metadata.partition_columns,
                    configuration: configuration.filter_map(|(key, value)| Some((key, value?))).collect(),
                    created_time: metadata.created_time,
                });
            }
            if let Some(info) = line.commit_info {
                actions.timestamp = info.time().unwrap_or(modified);
            }
        }
        Ok(actions)
    }
}

impl CommitInfoAction {
    /// The in-commit timestamp, which is there if the table has the feature (PROTOCOL.md, "In-Commit Timestamps"), else
    /// the writer's clock.
    fn time(&self) -> Option<Timestamp> {
        self.in_commit_timestamp.or(self.timestamp).and_then(Timestamp::from_millis)
    }
}

/// When a commit was made, as some of its lines say it: nothing if they do not say who made it, none if not when. Reads no
/// other action.
pub(super) fn commit_time(text: &[u8]) -> Result<Option<Option<Timestamp>>, PortError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct InfoLine {
        commit_info: Option<CommitInfoAction>,
    }
    for line in lines(text) {
        let line: InfoLine = serde_json::from_slice(line).map_err(|error| unreadable(error.to_string()))?;
        if let Some(info) = line.commit_info {
            return Ok(Some(info.time()));
        }
    }
    Ok(None)
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    let lines = std::iter::from_fn(move || {
        let text = rest?;
        let (line, behind) = memchr::memchr(b'\n', text).and_then(|end| text.split_at_checked(end)).unzip();
        rest = behind.and_then(|behind| behind.get(1..));
        Some(line.unwrap_or(text))
    });
    lines.filter(|line| !line.trim_ascii().is_empty())
}

pub(super) fn unreadable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PortError {
    PortError::new(PortErrorKind::InvalidData, "read an entry of a table's log", source)
}
