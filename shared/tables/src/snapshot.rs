//! Snapshots of tables, for reading: what a table is at one version.
//!
//! Knows how actions add up to a snapshot and how a snapshot is advanced without copying its files. Finding and
//! fetching log entries is `reader`'s part, knowing what there is `listing`'s; the text of the actions is `actions`'.
//! Writes nothing.

pub(crate) mod actions;
mod cache;
mod commits;
mod listing;
pub(crate) mod reader;
mod times;
mod vector;
mod view;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;

pub use actions::{AddedFile, ChangeFile, RemovedFile};
use actions::{CommitActions, TransactionAction};
pub use commits::Commit;
pub(crate) use listing::Listing;
pub use reader::TableReader;
pub use times::{Side, VersionAt};
pub use vector::DeletionVector;
pub use view::{Base, Counts, TableView};

/// Files in one chunk of a snapshot's list: what is copied when a file joins or leaves.
const CHUNK_FILES_MAX: usize = 1_024;

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
        self.files.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The files in the order in which they were added, in chunks that snapshots of neighbouring versions share.
    #[must_use]
    pub fn chunks(&self) -> &[Arc<[Arc<File>]>] {
        &self.files.chunks
    }

    /// How many files the table has.
    #[must_use]
    pub fn file_count(&self) -> usize {
        self.files.count
    }

    /// Bytes of all files.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.files.bytes
    }

    /// Refuses a table that has deletion vectors: for those who would take every row of a file for a row of the table.
    pub(crate) fn without_vectors(self: Arc<Self>) -> Result<Arc<Self>, PortError> {
        if self.files.vectors == 0 {
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
    /// When that version was committed.
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

/// A list of files that is cheap to change into its successor: chunks are shared, never changed.
#[derive(Debug, Clone, Default)]
struct FileList {
    chunks: Vec<Arc<[Arc<File>]>>,
    count: usize,
    bytes: u64,
    /// How many files have a deletion vector.
    vectors: usize,
}

impl FileList {
    /// The list without the touched files and with the added files at its end.
    fn changed(&self, touched: &HashSet<String>, added: Vec<Arc<File>>) -> Self {
        let mut next = Self::default();
        for chunk in &self.chunks {
            let stays = |file: &Arc<File>| !touched.contains(&*file.key());
            if !touched.is_empty() && !chunk.iter().all(stays) {
                let kept: Vec<_> = chunk.iter().filter(|file| stays(file)).cloned().collect();
                if !kept.is_empty() {
                    next.push(kept.into());
                }
            } else {
                next.push(chunk.clone());
            }
        }
        next.extend(added);
        next
    }

    fn push(&mut self, chunk: Arc<[Arc<File>]>) {
        self.count += chunk.len();
        self.bytes += chunk.iter().map(|file| file.size).sum::<u64>();
        self.vectors += vectors(&chunk);
        self.chunks.push(chunk);
    }

    /// Fills the last chunk up before it opens another, so that single appends do not make single chunks.
    fn extend(&mut self, added: Vec<Arc<File>>) {
        let mut added = added;
        if added.is_empty() {
            return;
        }
        if self.chunks.last().is_some_and(|last| last.len() < CHUNK_FILES_MAX)
            && let Some(last) = self.chunks.pop()
        {
            self.count -= last.len();
            self.bytes -= last.iter().map(|file| file.size).sum::<u64>();
            self.vectors -= vectors(&last);
            added.splice(0..0, last.iter().cloned());
        }
        for chunk in added.chunks(CHUNK_FILES_MAX) {
            self.push(chunk.into());
        }
    }
}

fn vectors(files: &[Arc<File>]) -> usize {
    files.iter().filter(|file| file.deletion_vector.is_some()).count()
}

/// What of a log does not show in a snapshot, but belongs into a checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The newest `txn` of each application.
    pub(crate) transactions: BTreeMap<String, TransactionAction>,
    /// The newest `remove` of each file that is not in the table.
    pub(crate) tombstones: BTreeMap<String, RemovedFile>,
}

impl Ledger {
    /// Adds the actions of one commit; removals go first, as in a snapshot.
    pub(crate) fn apply(&mut self, commit: &CommitActions) {
        for remove in &commit.removes {
            self.tombstones.insert(remove.path.clone(), remove.clone());
        }
        for add in &commit.adds {
            self.tombstones.remove(&add.path);
        }
        for transaction in &commit.transactions {
            self.transactions.insert(transaction.app_id.clone(), transaction.clone());
        }
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

/// What some commits in a row come to, a checkpoint perhaps the first of them.
#[derive(Debug, Default)]
struct Replay {
    head: Option<(u64, Timestamp)>,
    protocol: Option<Protocol>,
    metadata: Option<Metadata>,
    /// The key of every file that was added or removed: an earlier entry of it in the base is void.
    touched: HashSet<String>,
    /// Added files by position; a later removal or addition of the file empties the place.
    added: Vec<Option<Arc<File>>>,
    places: HashMap<String, usize>,
    last_partition: Option<Arc<PartitionValues>>,
}

impl Replay {
    /// Adds the actions of one commit. Inside a commit the order of actions says nothing: removals go first.
    fn apply(&mut self, version: u64, commit: CommitActions) {
        self.head = Some((version, commit.timestamp));
        self.protocol = commit.protocol.or_else(|| self.protocol.take());
        self.metadata = commit.metadata.or_else(|| self.metadata.take());
        for remove in commit.removes {
            let key = key(&remove.path, remove.deletion_vector.as_deref()).into_owned();
            self.void(&key);
            self.touched.insert(key);
        }
        for add in commit.adds {
            let file = self.file(add, version, commit.timestamp);
            let key = file.key().into_owned();
            self.void(&key);
            self.touched.insert(key.clone());
            self.places.insert(key, self.added.len());
            self.added.push(Some(Arc::new(file)));
        }
    }

    fn void(&mut self, key: &str) {
        if let Some(place) = self.places.remove(key)
            && let Some(slot) = self.added.get_mut(place)
        {
            *slot = None;
        }
    }

    fn file(&mut self, add: AddedFile, version: u64, timestamp: Timestamp) -> File {
        File {
            path: add.path,
            size: add.size,
            modification_time: add.modification_time,
            stats: add.stats,
            partition_values: self.shared_partition(add.partition_values),
            deletion_vector: add.deletion_vector,
            version,
            timestamp,
        }
    }

    /// Files that follow each other mostly have the same partition: one copy serves them.
    fn shared_partition(&mut self, values: PartitionValues) -> Arc<PartitionValues> {
        match &self.last_partition {
            Some(last) if **last == values => last.clone(),
            Some(_) | None => self.last_partition.insert(Arc::new(values)).clone(),
        }
    }

    /// The snapshot that these commits make of what was before them.
    fn onto(self, before: Before) -> Result<Snapshot, PortError> {
        let lacks = |what: &'static str| PortError::new(PortErrorKind::InvalidData, "replay a table's log", what);
        let (version, timestamp) = self.head.ok_or_else(|| lacks("the log holds no commit"))?;
        let protocol = self.protocol.map(Arc::new).or(before.protocol);
        let metadata = self.metadata.map(Arc::new).or(before.metadata);
        Ok(Snapshot {
            version,
            timestamp,
            protocol: protocol.ok_or_else(|| lacks("the log holds no protocol action"))?,
            metadata: metadata.ok_or_else(|| lacks("the log holds no metaData action"))?,
            base: before.base,
            files: before.files.changed(&self.touched, self.added.into_iter().flatten().collect()),
        })
    }
}

/// What some commits are replayed onto: nothing, or a kept snapshot.
#[derive(Debug, Default)]
struct Before {
    base: Base,
    protocol: Option<Arc<Protocol>>,
    metadata: Option<Arc<Metadata>>,
    files: FileList,
}

impl From<&Snapshot> for Before {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            base: snapshot.base,
            protocol: Some(snapshot.protocol.clone()),
            metadata: Some(snapshot.metadata.clone()),
            files: snapshot.files.clone(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
