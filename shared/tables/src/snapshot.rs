//! Snapshots of tables, for reading: what a table is at one version.
//!
//! How actions add up to a snapshot is `replay`'s part, and `files`' that a snapshot is advanced without copying its
//! files. Finding and fetching log entries is `reader`'s, knowing what there is `listing`'s; the text of the actions is
//! `actions`', and `action_lines`' that it need not be in memory whole. A table that is too large to keep is no snapshot
//! but a `view`; what of its commits is void then, `outline` knows.
//! Writes nothing.

pub(crate) mod action_lines;
pub(crate) mod actions;
mod cache;
mod commits;
mod files;
mod listing;
mod outline;
pub(crate) mod reader;
mod replay;
mod times;
mod vector;
mod view;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;

pub use actions::{AddedFile, ChangeFile, RemovedFile};
pub use cache::KeptBytes;
pub use commits::Commit;
pub(crate) use files::FILE_BYTES;
use files::FileList;
pub(crate) use listing::Listing;
pub use reader::TableReader;
pub(crate) use replay::Ledger;
pub use times::{Side, VersionAt};
pub use vector::DeletionVector;
pub use view::{Base, Counts, TableView};

/// A table at one version.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The table version.
    pub version: u64,
    /// When the version was committed: the commit's own word, else the log entry's modification time.
    pub timestamp: Timestamp,
    /// What a reader and a writer must be able to do.
    pub protocol: Arc<Protocol>,
    /// Schema, partitioning and properties.
    pub metadata: Arc<Metadata>,
    /// What the order of the files begins with.
    pub base: Base,
    files: FileList,
}

impl Snapshot {
    /// The files, in the order in which they were added.
    pub fn files(&self) -> impl Iterator<Item = &Arc<File>> {
        self.files.chunks().iter().flat_map(|chunk| chunk.iter())
    }

    /// The files in the order in which they were added, in chunks that snapshots of neighbouring versions share.
    #[must_use]
    pub fn chunks(&self) -> &[Arc<[Arc<File>]>] {
        self.files.chunks()
    }

    /// How many files the table has.
    #[must_use]
    pub fn file_count(&self) -> usize {
        self.files.total().files
    }

    /// Bytes of all files.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.files.total().bytes
    }

    /// Refuses a table that has deletion vectors: for those who would take every row of a file for a row of the table.
    pub(crate) fn without_vectors(self: Arc<Self>) -> Result<Arc<Self>, PortError> {
        if self.files.total().vectors == 0 {
            return Ok(self);
        }
        let reason = "a file has a deletion vector, which these tables must not have";
        Err(PortError::new(PortErrorKind::InvalidData, "read a table's files", reason))
    }
}

/// The `protocol` action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// The least version of the Delta protocol that a reader must know.
    pub min_reader_version: u32,
    /// The least version of the Delta protocol that a writer must know.
    pub min_writer_version: u32,
    /// Features that a reader must know (reader version 3).
    pub reader_features: BTreeSet<String>,
    /// Features that a writer must know (writer version 7).
    pub writer_features: BTreeSet<String>,
}

/// The `metaData` action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The table's id, a UUID.
    pub id: String,
    /// The table's name, if it says so.
    pub name: Option<String>,
    /// The table's description, if it says so.
    pub description: Option<String>,
    /// The Delta schema as JSON text.
    pub schema_string: String,
    /// The partition columns, in order.
    pub partition_columns: Vec<String>,
    /// Table properties.
    pub configuration: BTreeMap<String, String>,
    /// When the table was made, in milliseconds since the epoch.
    pub created_time: Option<i64>,
}

/// The values of a file's partition columns, as the log writes them; `None` or empty is null.
pub type PartitionValues = BTreeMap<String, Option<String>>;

/// One data file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The path as the log has it: percent-encoded once over the object's key, relative to the table.
    pub path: String,
    /// The file's size in bytes.
    pub size: u64,
    /// When the file was made, in milliseconds since the epoch.
    pub modification_time: i64,
    /// Statistics as JSON text.
    pub stats: Option<String>,
    /// The values of the partition columns.
    pub partition_values: Arc<PartitionValues>,
    /// Which rows of the file are deleted.
    pub deletion_vector: Option<Arc<DeletionVector>>,
    /// The table version that added the file, or, if a checkpoint is all that is left of it, the checkpoint's: it
    /// was there then.
    pub version: u64,
    /// When that version was committed, or the checkpoint written.
    pub timestamp: Timestamp,
}

/// What a file's actions are known by (PROTOCOL.md, "Action Reconciliation"): its path, and its deletion vector if it
/// has one.
fn key<'a>(path: &'a str, vector: Option<&DeletionVector>) -> Cow<'a, str> {
    match vector {
        Some(vector) => format!("{path}\0{}", vector.unique_id()).into(),
        None => path.into(),
    }
}

impl File {
    fn key(&self) -> Cow<'_, str> {
        key(&self.path, self.deletion_vector.as_deref())
    }
}

impl AddedFile {
    fn key(&self) -> Cow<'_, str> {
        key(&self.path, self.deletion_vector.as_deref())
    }
}

/// All that a table's log says up to a version.
#[derive(Debug)]
pub(crate) struct TableState {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) ledger: Ledger,
    /// The newest checkpoint that can be read.
    pub(crate) checkpoint: Option<u64>,
}

#[cfg(test)]
pub(crate) mod tests;
