//! Snapshots that a warm process keeps. Bounded by bytes, the least recently used table goes first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Base, File, Metadata, Snapshot};

/// Versions kept of one table: readers of a version that was just overtaken (a proof) find it still there.
const VERSIONS_MAX: usize = 4;

/// What may be kept, in about the bytes that it takes in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptBytes {
    /// Of all tables together.
    pub together_max: u64,
    /// Of one table: one that is larger is read from the store each time, a part at a time.
    pub table_max: u64,
}

impl Default for KeptBytes {
    fn default() -> Self {
        Self { together_max: 48 << 20, table_max: 24 << 20 }
    }
}

/// The kept snapshots by table path and version.
#[derive(Debug)]
pub(super) struct SnapshotCache {
    bounds: KeptBytes,
    bytes: u64,
    tick: u64,
    tables: BTreeMap<String, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    used_tick: u64,
    /// What all versions take.
    bytes: u64,
    /// Each with what its commit was known by.
    versions: BTreeMap<u64, (Arc<Snapshot>, Option<String>)>,
}

impl Entry {
    /// What the versions take together: chunks and metadata that they share count once.
    fn weigh(&self) -> u64 {
        let (mut chunks, mut metadata) = (BTreeSet::new(), BTreeSet::new());
        let mut bytes = 0;
        for (snapshot, _) in self.versions.values() {
            bytes += FIXED_BYTES;
            if metadata.insert(Arc::as_ptr(&snapshot.metadata)) {
                bytes += metadata_bytes(&snapshot.metadata);
            }
            for (chunk, chunk_bytes) in snapshot.files.weighed() {
                if chunks.insert(Arc::as_ptr(chunk).cast::<Arc<File>>()) {
                    bytes += chunk_bytes;
                }
            }
        }
        bytes
    }
}

/// What a snapshot takes beside its files and its metadata.
const FIXED_BYTES: u64 = 1_024;

fn metadata_bytes(metadata: &Metadata) -> u64 {
    let configuration: usize = metadata.configuration.iter().map(|(key, value)| key.len() + value.len() + 48).sum();
    (metadata.schema_string.len() + configuration) as u64
}

impl SnapshotCache {
    pub(super) fn new(bounds: KeptBytes) -> Self {
        Self { bounds, bytes: 0, tick: 0, tables: BTreeMap::new() }
    }

    /// What one table may take.
    pub(super) fn table_bytes_max(&self) -> u64 {
        self.bounds.table_max
    }

    /// The newest kept snapshot of a table that is not newer than the version, and has the order of the base, with what
    /// its commit was known by.
    pub(super) fn newest_until(
        &mut self,
        path: &str,
        version: Option<u64>,
        base: Option<Base>,
    ) -> Option<(Arc<Snapshot>, Option<String>)> {
        self.tick += 1;
        let entry = self.tables.get_mut(path)?;
        entry.used_tick = self.tick;
        let mut older = entry.versions.range(..=version.unwrap_or(u64::MAX)).rev().map(|(_, kept)| kept);
        older.find(|(snapshot, _)| base.is_none_or(|base| snapshot.base == base)).cloned()
    }

    /// Forgets one version of a table.
    pub(super) fn forget_version(&mut self, path: &str, version: u64) {
        let Some(mut entry) = self.tables.remove(path) else { return };
        self.bytes -= entry.bytes;
        entry.versions.remove(&version);
        if !entry.versions.is_empty() {
            entry.bytes = entry.weigh();
            self.bytes += entry.bytes;
            self.tables.insert(path.to_owned(), entry);
        }
    }

    /// Forgets what is kept of a table.
    pub(super) fn forget(&mut self, path: &str) {
        self.bytes -= self.tables.remove(path).map_or(0, |entry| entry.bytes);
    }

    /// Keeps a snapshot and lets older ones go until the bounds hold. A table that became too large is not kept at all.
    pub(super) fn keep(&mut self, path: &str, snapshot: Arc<Snapshot>, mark: Option<String>) {
        self.tick += 1;
        let mut entry = self.tables.remove(path).unwrap_or_default();
        self.bytes -= entry.bytes;
        if snapshot.files.total().kept_bytes > self.bounds.table_max {
            return;
        }
        entry.used_tick = self.tick;
        entry.versions.insert(snapshot.version, (snapshot, mark));
        entry.bytes = entry.weigh();
        while entry.versions.len() > VERSIONS_MAX || entry.versions.len() > 1 && entry.bytes > self.bounds.table_max {
            entry.versions.pop_first();
            entry.bytes = entry.weigh();
        }
        self.bytes += entry.bytes;
        self.tables.insert(path.to_owned(), entry);
        while self.bytes > self.bounds.together_max && self.drop_one() {}
    }

    /// Drops the table that was used longest ago.
    fn drop_one(&mut self) -> bool {
        let oldest = self.tables.iter().min_by_key(|(_, entry)| entry.used_tick).map(|(path, _)| path.clone());
        let Some(entry) = oldest.and_then(|path| self.tables.remove(&path)) else { return false };
        self.bytes -= entry.bytes;
        true
    }
}
