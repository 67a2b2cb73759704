//! How actions add up: what commits make of the files before them, and what only a checkpoint keeps of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;

use super::actions::{CommitActions, TransactionAction};
use super::files::FileList;
use super::{AddedFile, Base, File, Metadata, PartitionValues, Protocol, RemovedFile, Snapshot, key};

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

/// What some commits in a row come to, a checkpoint perhaps the first of them.
#[derive(Debug, Default)]
pub(super) struct Replay {
    head: Option<(u64, Timestamp)>,
    protocol: Option<Protocol>,
    metadata: Option<Metadata>,
    /// The key of every file that was added or removed: an earlier entry of it in the base is void.
    touched: HashSet<String>,
    /// Added files by position; a later removal or addition of the file empties the place.
    added: Vec<Option<Arc<File>>>,
    places: HashMap<String, usize>,
    partitions: Partitions,
    /// About what the added files take in memory, those of empty places too.
    kept_bytes: u64,
}

impl Replay {
    /// Adds the actions of one commit. Inside a commit the order of actions says nothing: removals go first.
    pub(super) fn apply(&mut self, version: u64, commit: CommitActions) {
        self.head = Some((version, commit.timestamp));
        self.protocol = commit.protocol.or_else(|| self.protocol.take());
        self.metadata = commit.metadata.or_else(|| self.metadata.take());
        for remove in commit.removes {
            let key = key(&remove.path, remove.deletion_vector.as_deref()).into_owned();
            self.void(&key);
            self.touched.insert(key);
        }
        for add in commit.adds {
            let file = self.partitions.file(add, version, commit.timestamp);
            self.kept_bytes += file.kept_bytes();
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

    /// About what the added files take in memory.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// The version that was reached although no commit behind the base was needed for it.
    pub(super) fn reach(&mut self, version: u64, timestamp: Timestamp) {
        self.head = Some((version, timestamp));
    }

    /// The snapshot that these commits make of what was before them.
    pub(super) fn onto(self, before: Before) -> Result<Snapshot, PortError> {
        let files = before.files.clone();
        let replayed = self.replayed(before)?;
        let added = replayed.added.into_iter().flatten().collect();
        Ok(Snapshot {
            version: replayed.version,
            timestamp: replayed.timestamp,
            protocol: replayed.protocol,
            metadata: replayed.metadata,
            base: replayed.base,
            files: files.changed(&replayed.touched, added),
        })
    }

    /// What these commits come to, the files of before left out.
    pub(super) fn replayed(self, before: Before) -> Result<Replayed, PortError> {
        let lacks = |what: &'static str| PortError::new(PortErrorKind::InvalidData, "replay a table's log", what);
        let (version, timestamp) = self.head.ok_or_else(|| lacks("the log holds no commit"))?;
        let protocol = self.protocol.map(Arc::new).or(before.protocol);
        let metadata = self.metadata.map(Arc::new).or(before.metadata);
        Ok(Replayed {
            version,
            timestamp,
            protocol: protocol.ok_or_else(|| lacks("the log holds no protocol action"))?,
            metadata: metadata.ok_or_else(|| lacks("the log holds no metaData action"))?,
            base: before.base,
            touched: self.touched,
            added: self.added,
        })
    }
}

/// A version, with what its commits say of the files before them and the files that they added.
#[derive(Debug)]
pub(super) struct Replayed {
    pub(super) version: u64,
    pub(super) timestamp: Timestamp,
    pub(super) protocol: Arc<Protocol>,
    pub(super) metadata: Arc<Metadata>,
    pub(super) base: Base,
    /// The keys of files that have no place before.
    pub(super) touched: HashSet<String>,
    pub(super) added: Vec<Option<Arc<File>>>,
}

/// From actions to files. Files that follow each other mostly have the same partition: one copy serves them.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    last: Option<Arc<PartitionValues>>,
}

impl Partitions {
    pub(super) fn file(&mut self, add: AddedFile, version: u64, timestamp: Timestamp) -> File {
        let shared = match &self.last {
            Some(last) if **last == add.partition_values => last.clone(),
            Some(_) | None => self.last.insert(Arc::new(add.partition_values)).clone(),
        };
        File {
            path: add.path,
            size: add.size,
            modification_time: add.modification_time,
            stats: add.stats,
            partition_values: shared,
            deletion_vector: add.deletion_vector,
            version,
            timestamp,
        }
    }
}

/// What some commits are replayed onto: nothing, a checkpoint, or a kept snapshot.
#[derive(Debug, Default)]
pub(super) struct Before {
    pub(super) base: Base,
    pub(super) protocol: Option<Arc<Protocol>>,
    pub(super) metadata: Option<Arc<Metadata>>,
    pub(super) files: FileList,
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
