//! The text of a log entry: JSON lines. Kinds that say nothing about a table's state (`cdc`, …) are passed over.

use std::collections::{BTreeMap, BTreeSet};

use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Metadata, PartitionValues, Protocol};

/// The actions of one commit, or of a checkpoint.
#[derive(Debug)]
pub(crate) struct CommitActions {
    pub(crate) timestamp: Timestamp,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) removes: Vec<RemoveAction>,
    pub(crate) adds: Vec<AddAction>,
    pub(crate) transactions: Vec<TransactionAction>,
}

/// The `add` action, as far as a reader needs it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AddAction {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) partition_values: PartitionValues,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) modification_time: i64,
    #[serde(default)]
    pub(crate) stats: Option<String>,
    #[serde(default)]
    pub(crate) deletion_vector: Option<IgnoredAny>,
}

/// The `remove` action, as far as a checkpoint keeps it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RemoveAction {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) deletion_timestamp: Option<i64>,
    #[serde(default)]
    pub(crate) extended_file_metadata: bool,
    #[serde(default)]
    pub(crate) partition_values: Option<PartitionValues>,
    #[serde(default)]
    pub(crate) size: Option<u64>,
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
    add: Option<AddAction>,
    remove: Option<RemoveAction>,
    protocol: Option<ProtocolAction>,
    meta_data: Option<MetadataAction>,
    commit_info: Option<CommitInfoAction>,
    txn: Option<TransactionAction>,
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
    #[serde(default)]
    timestamp: Option<i64>,
    #[serde(default)]
    in_commit_timestamp: Option<i64>,
}

impl CommitActions {
    /// No actions, at a time.
    pub(crate) fn at(timestamp: Timestamp) -> Self {
        let (removes, adds, transactions) = (Vec::new(), Vec::new(), Vec::new());
        Self { timestamp, protocol: None, metadata: None, removes, adds, transactions }
    }

    /// Adds another part of the same checkpoint.
    pub(crate) fn join(&mut self, part: Self) {
        self.protocol = part.protocol.or_else(|| self.protocol.take());
        self.metadata = part.metadata.or_else(|| self.metadata.take());
        self.removes.extend(part.removes);
        self.adds.extend(part.adds);
        self.transactions.extend(part.transactions);
    }

    /// Reads a log entry. `modified` is the entry's modification time: the commit's time if it does not say one.
    pub(crate) fn parse(text: &[u8], modified: Timestamp) -> Result<Self, PortError> {
        let mut actions = Self::at(modified);
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let line: Line = serde_json::from_slice(line).map_err(|error| unreadable(error.to_string()))?;
            if let Some(add) = line.add {
                if add.deletion_vector.is_some() {
                    return Err(unreadable("a file has a deletion vector, which these tables must not have"));
                }
                actions.adds.push(add);
            }
            if let Some(remove) = line.remove {
                actions.removes.push(remove);
            }
            actions.transactions.extend(line.txn);
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
                let said = info.in_commit_timestamp.or(info.timestamp).and_then(Timestamp::from_millis);
                actions.timestamp = said.unwrap_or(modified);
            }
        }
        Ok(actions)
    }
}

fn unreadable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PortError {
    PortError::new(PortErrorKind::InvalidData, "read an entry of a table's log", source)
}
