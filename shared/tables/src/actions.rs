//! The actions of a Delta log as JSON lines (PROTOCOL.md, "Actions"): what we write, and what of it we read back.

use std::collections::BTreeMap;

use delivery::ports::{Commit, DataChange, DataFile, LoggedCommit};
use serde::{Deserialize, Serialize};

use crate::schema::configuration;

/// One line of a commit. A line has one action; unknown ones are passed over.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Action {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commit_info: Option<CommitInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<Protocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) meta_data: Option<MetaData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) txn: Option<Transaction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) add: Option<Add>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remove: Option<Remove>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CommitInfo {
    #[serde(default)]
    pub(crate) timestamp: i64,
    #[serde(default)]
    pub(crate) operation: String,
    #[serde(default)]
    pub(crate) operation_parameters: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    pub(crate) engine_info: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Protocol {
    pub(crate) min_reader_version: u32,
    pub(crate) min_writer_version: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetaData {
    pub(crate) id: String,
    pub(crate) format: Format,
    pub(crate) schema_string: String,
    pub(crate) partition_columns: Vec<String>,
    pub(crate) configuration: BTreeMap<String, String>,
    pub(crate) created_time: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Format {
    pub(crate) provider: String,
    #[serde(default)]
    pub(crate) options: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Transaction {
    pub(crate) app_id: String,
    pub(crate) version: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) last_updated: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Add {
    pub(crate) path: String,
    pub(crate) partition_values: BTreeMap<String, Option<String>>,
    pub(crate) size: u64,
    pub(crate) modification_time: i64,
    pub(crate) data_change: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) stats: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Remove {
    pub(crate) path: String,
    pub(crate) deletion_timestamp: Option<i64>,
    pub(crate) data_change: bool,
    #[serde(default)]
    pub(crate) extended_file_metadata: bool,
    #[serde(default)]
    pub(crate) partition_values: BTreeMap<String, Option<String>>,
    #[serde(default)]
    pub(crate) size: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) stats: Option<String>,
}

/// The log entry of a commit. `table_id` goes into `metaData` if the commit says what the schema is.
pub(crate) fn encode(commit: &Commit, table_id: &str, creates: Creates) -> Result<Vec<u8>, serde_json::Error> {
    let timestamp = commit.timestamp.millis();
    let data_change = commit.change == DataChange::Rows;
    let mut actions = vec![Action {
        commit_info: Some(CommitInfo {
            timestamp,
            operation: commit.operation.to_owned(),
            operation_parameters: BTreeMap::new(),
            engine_info: concat!("spillway/", env!("CARGO_PKG_VERSION")).to_owned(),
        }),
        ..Action::default()
    }];
    if creates == Creates::Table {
        // Reader 1: every open client reads it. Writer 4: the change data feed (PROTOCOL.md, "Protocol Evolution").
        let protocol = Protocol { min_reader_version: 1, min_writer_version: 4 };
        actions.push(Action { protocol: Some(protocol), ..Action::default() });
    }
    if let Some(schema_string) = &commit.schema_string {
        actions.push(Action {
            meta_data: Some(MetaData {
                id: table_id.to_owned(),
                format: Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
                schema_string: schema_string.clone(),
                partition_columns: Vec::new(),
                configuration: configuration(),
                created_time: Some(timestamp),
            }),
            ..Action::default()
        });
    }
    for (app_id, version) in &commit.transactions {
        let txn = Transaction { app_id: app_id.clone(), version: *version, last_updated: Some(timestamp) };
        actions.push(Action { txn: Some(txn), ..Action::default() });
    }
    for file in &commit.removes {
        actions.push(Action {
            remove: Some(Remove {
                path: file.name.clone(),
                deletion_timestamp: Some(timestamp),
                data_change,
                extended_file_metadata: true,
                partition_values: BTreeMap::new(),
                size: file.size_bytes,
                stats: Some(file.statistics.clone()),
            }),
            ..Action::default()
        });
    }
    for file in &commit.adds {
        actions.push(Action {
            add: Some(Add {
                path: file.name.clone(),
                partition_values: BTreeMap::new(),
                size: file.size_bytes,
                modification_time: timestamp,
                data_change,
                stats: Some(file.statistics.clone()),
            }),
            ..Action::default()
        });
    }
    let mut bytes = Vec::new();
    for action in &actions {
        serde_json::to_writer(&mut bytes, action)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Whether a commit is a table's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Creates {
    /// Version 0: it says the protocol.
    Table,
    /// A later version.
    Nothing,
}

/// Reads the lines of a log entry.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Action>, serde_json::Error> {
    serde_json::Deserializer::from_slice(bytes).into_iter().collect()
}

/// What of a log entry the steps look at.
pub(crate) fn decode(bytes: &[u8]) -> Result<LoggedCommit, serde_json::Error> {
    let mut commit = LoggedCommit {
        schema_string: None,
        removes: Vec::new(),
        adds: Vec::new(),
        transactions: Vec::new(),
        change: DataChange::Rows,
    };
    let (mut rows, mut layout) = (false, false);
    for action in parse(bytes)? {
        if let Some(meta_data) = action.meta_data {
            commit.schema_string = Some(meta_data.schema_string);
        }
        if let Some(txn) = action.txn {
            commit.transactions.push((txn.app_id, txn.version));
        }
        if let Some(remove) = action.remove {
            *(if remove.data_change { &mut rows } else { &mut layout }) = true;
            commit.removes.push(DataFile {
                name: remove.path,
                size_bytes: remove.size,
                statistics: remove.stats.unwrap_or_default(),
            });
        }
        if let Some(add) = action.add {
            *(if add.data_change { &mut rows } else { &mut layout }) = true;
            commit.adds.push(DataFile {
                name: add.path,
                size_bytes: add.size,
                statistics: add.stats.unwrap_or_default(),
            });
        }
    }
    if layout && !rows {
        commit.change = DataChange::Layout;
    }
    Ok(commit)
}
