//! The text of a log entry: JSON lines, of which a reader needs four kinds. Others (`txn`, `cdc`, …) say nothing
//! about a snapshot and are passed over.

use std::collections::{BTreeMap, BTreeSet};

use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Metadata, PartitionValues, Protocol};

/// The actions of one commit that count for a snapshot.
#[derive(Debug)]
pub(super) struct CommitActions {
    pub(super) timestamp: Timestamp,
    pub(super) protocol: Option<Protocol>,
    pub(super) metadata: Option<Metadata>,
    pub(super) removes: Vec<String>,
    pub(super) adds: Vec<AddAction>,
}

/// The `add` action, as far as a reader needs it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AddAction {
    pub(super) path: String,
    #[serde(default)]
    pub(super) partition_values: PartitionValues,
    pub(super) size: u64,
    #[serde(default)]
    pub(super) modification_time: i64,
    #[serde(default)]
    pub(super) stats: Option<String>,
    #[serde(default)]
    deletion_vector: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    add: Option<AddAction>,
    remove: Option<RemoveAction>,
    protocol: Option<ProtocolAction>,
    meta_data: Option<MetadataAction>,
    commit_info: Option<CommitInfoAction>,
}

#[derive(Deserialize)]
struct RemoveAction {
    path: String,
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
    /// Reads a log entry. `modified` is the entry's modification time: the commit's time if it does not say one.
    pub(super) fn parse(text: &[u8], modified: Timestamp) -> Result<Self, PortError> {
        let mut actions =
            Self { timestamp: modified, protocol: None, metadata: None, removes: Vec::new(), adds: Vec::new() };
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let line: Line = serde_json::from_slice(line).map_err(|error| unreadable(error.to_string()))?;
            if let Some(add) = line.add {
                if add.deletion_vector.is_some() {
                    return Err(unreadable("a file has a deletion vector, which these tables must not have"));
                }
                actions.adds.push(add);
            }
            if let Some(remove) = line.remove {
                actions.removes.push(remove.path);
            }
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
