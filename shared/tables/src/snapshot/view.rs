//! A table opened for reading its files, a few thousand at a time: from what is kept, or straight from a checkpoint.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;

use super::actions::CommitActions;
use super::files::FileList;
use super::outline::Touched;
use super::replay::{Partitions, Reached};
use super::{File, Metadata, Protocol, Snapshot};
use crate::checkpoint::Reading;

/// The most files that are handed out at once of those that are held.
const FILES_AT_ONCE: usize = 1_024;

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
///
/// The view of a table that is too large to keep holds a few thousand files at a time. What the commits behind its
/// checkpoint added is held too if it is small; else they are read twice, first for what of them is void. Files that
/// seemed few enough to be kept, and were not, are held until they are handed out.
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
    rest: Rest,
}

/// The files that were not handed out yet.
#[derive(Debug)]
enum Rest {
    Kept { snapshot: Arc<Snapshot>, next_chunk: usize },
    Streamed(Box<Streamed>),
}

/// First the checkpoint's files but for those that later commits touched, then the files that these added.
#[derive(Debug)]
struct Streamed {
    /// What was read and not handed out.
    ready: VecDeque<Arc<File>>,
    checkpoint: Option<CheckpointRest>,
    touched: Touched,
    added: Added,
    partitions: Partitions,
}

/// The files that commits added.
#[derive(Debug)]
pub(super) enum Added {
    /// They are here; those that are void have left their places empty.
    Held(std::vec::IntoIter<Option<Arc<File>>>),
    /// They are read, those that are void too.
    Read(CommitsRest),
    /// Reading them failed.
    Failed,
}

/// Commits under way.
pub(super) struct CommitsRest {
    /// Parts of commits by version, in order.
    pub(super) parts: BoxStream<'static, Result<(u64, CommitActions), PortError>>,
    /// When commits were made whose parts do not say it all alike.
    pub(super) times: BTreeMap<u64, Timestamp>,
}

impl fmt::Debug for CommitsRest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitsRest").field("times", &self.times).finish_non_exhaustive()
    }
}

/// A checkpoint under way.
#[derive(Debug)]
pub(super) struct CheckpointRest {
    pub(super) reading: Reading,
    pub(super) version: u64,
    pub(super) timestamp: Timestamp,
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
            rest: Rest::Kept { snapshot, next_chunk: 0 },
        }
    }

    pub(super) fn streamed(
        reached: Reached,
        checkpoint: Option<CheckpointRest>,
        touched: Touched,
        added: Added,
    ) -> Self {
        let Reached { version, timestamp, protocol, metadata, base } = reached;
        let partitions = Partitions::default();
        let rest =
            Rest::Streamed(Box::new(Streamed { ready: VecDeque::new(), checkpoint, touched, added, partitions }));
        Self { version, timestamp, protocol, metadata, base, counts: None, rest }
    }

    /// The version with its files, if they take so much memory at most; what was read is handed out in any case. Of a
    /// view that is read from the store.
    pub(super) async fn collect(&mut self, bytes_max: u64) -> Result<Option<Snapshot>, PortError> {
        let Rest::Streamed(streamed) = &mut self.rest else { return Ok(None) };
        let mut files = FileList::default();
        let mut is_all = false;
        while !is_all && files.total().kept_bytes <= bytes_max {
            let mut some = Vec::new();
            while !is_all && some.len() < FILES_AT_ONCE {
                let read = streamed.next_files().await?;
                is_all = read.is_empty();
                some.extend(read);
            }
            files.extend(some);
        }
        is_all &= files.total().kept_bytes <= bytes_max;
        streamed.ready = files.chunks().iter().flat_map(|chunk| chunk.iter().cloned()).collect();
        Ok(is_all.then(|| Snapshot {
            version: self.version,
            timestamp: self.timestamp,
            protocol: self.protocol.clone(),
            metadata: self.metadata.clone(),
            base: self.base,
            files,
        }))
    }

    /// The next files, in an order that depends on version and base only; none at the end. At most a few thousand at a
    /// time.
    ///
    /// # Errors
    ///
    /// Only while a table is read that is too large to keep: `InvalidData` if the log cannot be understood, `NotFound` if
    /// it was cleaned up meanwhile, else what the store failed with.
    pub async fn next_files(&mut self) -> Result<Vec<Arc<File>>, PortError> {
        match &mut self.rest {
            Rest::Kept { snapshot, next_chunk } => {
                let chunk = snapshot.chunks().get(*next_chunk).map(|chunk| chunk.to_vec());
                *next_chunk += 1;
                Ok(chunk.unwrap_or_default())
            }
            Rest::Streamed(streamed) => streamed.next_files().await,
        }
    }
}

impl Streamed {
    async fn next_files(&mut self) -> Result<Vec<Arc<File>>, PortError> {
        if !self.ready.is_empty() {
            let some = self.ready.len().min(FILES_AT_ONCE);
            return Ok(self.ready.drain(..some).collect());
        }
        while let Some(checkpoint) = &mut self.checkpoint {
            let Some(actions) = checkpoint.reading.next().await? else {
                self.checkpoint = None;
                break;
            };
            let (version, timestamp) = (checkpoint.version, checkpoint.timestamp);
            let files = actions.adds.into_iter().map(|add| self.partitions.file(add, version, timestamp));
            let files: Vec<_> = files.filter(|file| !self.touched.voids(file)).map(Arc::new).collect();
            if !files.is_empty() {
                return Ok(files);
            }
        }
        let commits = match &mut self.added {
            Added::Held(files) => return Ok(files.by_ref().flatten().take(FILES_AT_ONCE).collect()),
            Added::Read(commits) => commits,
            Added::Failed => {
                let reason = "it could not be read to its end";
                return Err(PortError::new(PortErrorKind::InvalidData, "read a table's log", reason));
            }
        };
        loop {
            let (version, part) = match commits.parts.try_next().await {
                Ok(Some(part)) => part,
                Ok(None) => return Ok(Vec::new()),
                Err(error) => {
                    self.added = Added::Failed;
                    return Err(error);
                }
            };
            let timestamp = commits.times.get(&version).copied().unwrap_or(part.timestamp);
            let files = part.adds.into_iter().map(|add| self.partitions.file(add, version, timestamp));
            let files: Vec<_> = files.filter(|file| self.touched.admits(file)).map(Arc::new).collect();
            if !files.is_empty() {
                return Ok(files);
            }
        }
    }
}
