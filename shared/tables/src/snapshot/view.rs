//! A table opened for reading its files, a few thousand at a time.

use std::sync::Arc;

use delivery::ports::PortError;
use delivery::timestamp::Timestamp;

use super::{File, Metadata, Protocol, Snapshot};

/// Where a listing of files begins: the checkpoint it is based on, so that pages made by other processes keep one order.
/// `None`: from version 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Base(pub Option<u64>);

/// How much a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// How many files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// A table at one version, and a place in the list of its files.
#[derive(Debug)]
pub struct TableView {
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
    /// How much the table holds, if that is known before its files are read.
    pub counts: Option<Counts>,
    snapshot: Arc<Snapshot>,
    next_chunk: usize,
}

impl TableView {
    pub(super) fn kept(snapshot: Arc<Snapshot>) -> Self {
        Self {
            version: snapshot.version,
            timestamp: snapshot.timestamp,
            protocol: snapshot.protocol.clone(),
            metadata: snapshot.metadata.clone(),
            base: snapshot.base,
            counts: Some(Counts { files: snapshot.file_count(), bytes: snapshot.size_bytes() }),
            snapshot,
            next_chunk: 0,
        }
    }

    /// The next files, in an order that depends on version and base only; none at the end. At most a few thousand at a
    /// time.
    ///
    /// # Errors
    ///
    /// `InvalidData` if the log cannot be understood, else what the store failed with.
    pub async fn next_files(&mut self) -> Result<Vec<Arc<File>>, PortError> {
        let chunk = self.snapshot.chunks().get(self.next_chunk);
        self.next_chunk += 1;
        Ok(chunk.map(|chunk| chunk.to_vec()).unwrap_or_default())
    }
}
