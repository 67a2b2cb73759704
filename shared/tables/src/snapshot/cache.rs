//! Snapshots that a warm process keeps. Bounded by files, the least recently used table goes first.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Base, Snapshot};

/// Versions kept of one table: readers of a version that was just overtaken (a proof) find it still there.
const VERSIONS_MAX: usize = 4;

/// The kept snapshots by table path and version.
#[derive(Debug)]
pub(super) struct SnapshotCache {
    files_max: usize,
    files: usize,
    tick: u64,
    tables: BTreeMap<String, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    used_tick: u64,
    versions: BTreeMap<u64, Arc<Snapshot>>,
}

/// Files count once for each kept version although versions share them, and a table without files counts as one.
fn weight(snapshot: &Snapshot) -> usize {
    snapshot.file_count().max(1)
}

impl SnapshotCache {
    pub(super) fn new(files_max: usize) -> Self {
        Self { files_max, files: 0, tick: 0, tables: BTreeMap::new() }
    }

    /// The newest kept snapshot of a table that is not newer than the version, and has the order of the base.
    pub(super) fn newest_until(
        &mut self,
        path: &str,
        version: Option<u64>,
        base: Option<Base>,
    ) -> Option<Arc<Snapshot>> {
        self.tick += 1;
        let entry = self.tables.get_mut(path)?;
        entry.used_tick = self.tick;
        let mut older = entry.versions.range(..=version.unwrap_or(u64::MAX)).rev().map(|(_, snapshot)| snapshot);
        older.find(|snapshot| base.is_none_or(|base| snapshot.base == base)).cloned()
    }

    /// Keeps a snapshot and lets older ones go until the bound holds.
    pub(super) fn keep(&mut self, path: &str, snapshot: Arc<Snapshot>) {
        self.tick += 1;
        let entry = self.tables.entry(path.to_owned()).or_default();
        entry.used_tick = self.tick;
        self.files += weight(&snapshot);
        if let Some(before) = entry.versions.insert(snapshot.version, snapshot) {
            self.files -= weight(&before);
        }
        if entry.versions.len() > VERSIONS_MAX
            && let Some((_, oldest)) = entry.versions.pop_first()
        {
            self.files -= weight(&oldest);
        }
        while self.files > self.files_max && self.drop_one() {}
    }

    /// Drops the oldest version of the table that was used longest ago.
    fn drop_one(&mut self) -> bool {
        let oldest = self.tables.iter().min_by_key(|(_, entry)| entry.used_tick).map(|(path, _)| path.clone());
        let Some(path) = oldest else { return false };
        let Some(entry) = self.tables.get_mut(&path) else { return false };
        if let Some((_, snapshot)) = entry.versions.pop_first() {
            self.files -= weight(&snapshot);
        }
        if entry.versions.is_empty() {
            self.tables.remove(&path);
        }
        true
    }
}
