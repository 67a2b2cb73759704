//! How actions add up: what commits make of the files before them, and what only a checkpoint keeps of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;

use super::actions::{CommitActions, TransactionAction};
use super::files::FileList;
use super::outline::{Digest, Touched};
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

/// What some commits in a row say of the table itself, a checkpoint perhaps the first of them.
#[derive(Debug, Default)]
pub(super) struct Head {
    reached: Option<(u64, Timestamp)>,
    protocol: Option<Protocol>,
    metadata: Option<Metadata>,
}

impl Head {
    /// Adds a commit, or a part of one.
    pub(super) fn apply(&mut self, version: u64, commit: &mut CommitActions) {
        self.reach(version, commit.timestamp);
        self.protocol = commit.protocol.take().or_else(|| self.protocol.take());
        self.metadata = commit.metadata.take().or_else(|| self.metadata.take());
    }

    /// The version that was reached, although no commit behind the base may have been needed for it.
    pub(super) fn reach(&mut self, version: u64, timestamp: Timestamp) {
        self.reached = Some((version, timestamp));
    }

    /// What the table is, from what it was before.
    pub(super) fn onto(self, before: BeforeHead) -> Result<Reached, PortError> {
        let lacks = |what: &'static str| PortError::new(PortErrorKind::InvalidData, "replay a table's log", what);
        let (version, timestamp) = self.reached.ok_or_else(|| lacks("the log holds no commit"))?;
        let protocol = self.protocol.map(Arc::new).or(before.protocol);
        let metadata = self.metadata.map(Arc::new).or(before.metadata);
        Ok(Reached {
            version,
            timestamp,
            protocol: protocol.ok_or_else(|| lacks("the log holds no protocol action"))?,
            metadata: metadata.ok_or_else(|| lacks("the log holds no metaData action"))?,
            base: before.base,
        })
    }
}

/// A version without its files.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) version: u64,
    pub(super) timestamp: Timestamp,
    pub(super) protocol: Arc<Protocol>,
    pub(super) metadata: Arc<Metadata>,
    pub(super) base: Base,
}

/// What some commits in a row come to, a checkpoint perhaps the first of them.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) head: Head,
    /// An earlier entry of these files in the base is void.
    touched: Touched,
    /// Added files by position; a later removal or addition of the file empties the place.
    added: Vec<Option<Arc<File>>>,
    places: HashMap<Digest, usize>,
    partitions: Partitions,
    /// About what all this takes in memory.
    kept_bytes: u64,
}

/// What a file that was touched takes in memory beside its entry.
const TOUCHED_BYTES: u64 = 96;

impl Replay {
    /// Adds the actions of a commit, or of a part of one. Inside a commit the order of actions says nothing: an addition
    /// goes before a removal.
    pub(super) fn apply(&mut self, version: u64, mut commit: CommitActions) {
        self.head.apply(version, &mut commit);
        for remove in commit.removes {
            let digest = self.touched.digest(&key(&remove.path, remove.deletion_vector.as_deref()));
            if !self.has_added(digest, version) {
                self.touch(digest, version);
            }
        }
        for add in commit.adds {
            let file = self.partitions.file(add, version, commit.timestamp);
            let digest = self.touched.digest(&file.key());
            if self.has_added(digest, version) {
                continue;
            }
            self.touch(digest, version);
            self.kept_bytes += file.kept_bytes();
            self.places.insert(digest, self.added.len());
            self.added.push(Some(Arc::new(file)));
        }
    }

    /// Says when a commit was made that came in parts: the first of them may not have said it.
    pub(super) fn settle(&mut self, version: u64, timestamp: Timestamp) {
        let last = self.added.iter_mut().rev().flatten();
        for file in last.take_while(|file| file.version == version) {
            Arc::make_mut(file).timestamp = timestamp;
        }
    }

    /// Whether this version added the file already, which it must not say twice.
    fn has_added(&self, digest: Digest, version: u64) -> bool {
        let place = self.places.get(&digest).and_then(|place| self.added.get(*place));
        place.and_then(Option::as_ref).is_some_and(|file| file.version == version)
    }

    /// Makes earlier entries of a file void.
    fn touch(&mut self, digest: Digest, version: u64) {
        if self.touched.touch(digest, version) {
            self.kept_bytes += TOUCHED_BYTES;
        }
        let place = self.places.remove(&digest).and_then(|place| self.added.get_mut(place));
        if let Some(file) = place.and_then(Option::take) {
            self.kept_bytes -= file.kept_bytes();
        }
    }

    /// About what it takes in memory.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// The snapshot that these commits make of what was before them.
    pub(super) fn onto(self, before: Before) -> Result<Snapshot, PortError> {
        let Reached { version, timestamp, protocol, metadata, base } = self.head.onto(before.head)?;
        let files = before.files.changed(&self.touched, self.added.into_iter().flatten().collect());
        Ok(Snapshot { version, timestamp, protocol, metadata, base, files })
    }

    /// The parts: what is said of the table, the files whose entries before are void, and the files that were added.
    pub(super) fn into_parts(self) -> (Head, Touched, Vec<Option<Arc<File>>>) {
        (self.head, self.touched, self.added)
    }
}

/// From actions to files. Most tables have few partitions: files of one share its values.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    known: HashSet<Arc<PartitionValues>>,
}

/// Partitions that are remembered at once.
const PARTITIONS_KNOWN_MAX: usize = 1_024;

impl Partitions {
    pub(super) fn file(&mut self, add: AddedFile, version: u64, timestamp: Timestamp) -> File {
        File {
            path: add.path,
            size: add.size,
            modification_time: add.modification_time,
            stats: add.stats,
            partition_values: self.shared(add.partition_values),
            deletion_vector: add.deletion_vector,
            version,
            timestamp,
        }
    }

    fn shared(&mut self, values: PartitionValues) -> Arc<PartitionValues> {
        if let Some(known) = self.known.get(&values) {
            return known.clone();
        }
        if self.known.len() == PARTITIONS_KNOWN_MAX {
            self.known.clear();
        }
        let values = Arc::new(values);
        self.known.insert(values.clone());
        values
    }
}

/// What some commits are replayed onto: nothing, a checkpoint, or a kept snapshot.
#[derive(Debug, Default)]
pub(super) struct Before {
    pub(super) head: BeforeHead,
    pub(super) files: FileList,
}

/// What was before some commits, but for files.
#[derive(Debug, Default)]
pub(super) struct BeforeHead {
    pub(super) base: Base,
    pub(super) protocol: Option<Arc<Protocol>>,
    pub(super) metadata: Option<Arc<Metadata>>,
}

impl From<&Snapshot> for Before {
    fn from(snapshot: &Snapshot) -> Self {
        let (protocol, metadata) = (Some(snapshot.protocol.clone()), Some(snapshot.metadata.clone()));
        Self { head: BeforeHead { base: snapshot.base, protocol, metadata }, files: snapshot.files.clone() }
    }
}
