//! Delta tables on an object store: the commit path without a snapshot, log replay for reading, and maintenance.
//!
//! Knows Delta's actions, checkpoints and schema text (delta-io/delta `PROTOCOL.md`). Knows no engine: on the commit
//! path files come with their sizes and statistics, and leave the same way. Only compaction opens data files.

mod actions;
mod checkpoint;
pub mod log;
pub mod maintenance;
pub mod manifest;
pub mod metadata;
mod object;
pub mod reads;
pub mod schema;
pub mod snapshot;

use uuid::Uuid;

/// The stable id of the table at a path of the tables bucket: the same if the state of the table is ever lost.
/// Databricks as a recipient of an open server needs a UUID (delta-io/delta-sharing #259).
#[must_use]
pub fn table_id(path: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, path.as_bytes()).to_string()
}
