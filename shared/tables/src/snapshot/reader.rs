//! Finds and fetches log entries: from what is kept if it can, else from a listing.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::actions::CommitActions;
use super::cache::SnapshotCache;
use super::{Replay, Snapshot};
use crate::log::port_error;

/// Files of all kept snapshots together; at about 1 kB of statistics each, some 250 MB.
const KEPT_FILES_MAX: usize = 250_000;

/// Log entries that are fetched at once.
const FETCHES_AT_ONCE: usize = 16;

/// Entries behind a kept snapshot that are asked for one by one before a listing is cheaper.
const PROBES_MAX: u64 = 16;

/// The largest log entry that is read.
const ENTRY_BYTES_MAX: u64 = 256 * 1_024 * 1_024;

/// Reads snapshots of the tables in one object store, and keeps the newest for the next read.
///
/// A read of a kept table costs one request for each new commit and one that finds no more; a read of a version
/// costs one request for each commit since the kept snapshot, so none or one for a version that was just written.
#[derive(Debug)]
pub struct TableReader {
    store: Arc<dyn ObjectStore>,
    kept: Mutex<SnapshotCache>,
}

impl TableReader {
    /// A reader that keeps nothing yet.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self::with_kept_files_max(store, KEPT_FILES_MAX)
    }

    /// A reader that keeps snapshots of at most so many files together.
    #[must_use]
    pub fn with_kept_files_max(store: Arc<dyn ObjectStore>, files_max: usize) -> Self {
        Self { store, kept: Mutex::new(SnapshotCache::new(files_max)) }
    }

    /// The snapshot of the table at `path` (without a slash at the end), at a version or at the newest one.
    ///
    /// # Errors
    ///
    /// `NotFound` if the table or the version is not there, `InvalidData` if the log cannot be read from its first
    /// version on or an entry cannot be understood, else what the store failed with.
    pub async fn snapshot(&self, path: &str, version: Option<u64>) -> Result<Arc<Snapshot>, PortError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).newest_until(path, version);
        let snapshot = match (kept, version) {
            (Some(kept), Some(version)) if kept.version == version => return Ok(kept),
            (Some(kept), Some(version)) => self.advance_to(path, &kept, version).await?,
            (Some(kept), None) => match self.advance(path, &kept).await? {
                Some(newer) => newer,
                None => return Ok(kept),
            },
            (None, version) => self.cold(path, version).await?,
        };
        let snapshot = Arc::new(snapshot);
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).keep(path, snapshot.clone());
        Ok(snapshot)
    }

    /// Applies every commit behind a snapshot; `None` if there is none.
    async fn advance(&self, path: &str, kept: &Snapshot) -> Result<Option<Snapshot>, PortError> {
        let mut replay = Replay::default();
        let mut next = kept.version + 1;
        while next <= kept.version + PROBES_MAX {
            match self.fetch(path, next).await? {
                Some(commit) => replay.apply(next, commit),
                None if next == kept.version + 1 => return Ok(None),
                None => return replay.onto(Some(kept)).map(Some),
            }
            next += 1;
        }
        let listed = self.list(path, Some(next - 1)).await?;
        if let Some(newest) = listed.last() {
            self.replay(path, next..=*newest, &mut replay).await?;
        }
        replay.onto(Some(kept)).map(Some)
    }

    async fn advance_to(&self, path: &str, kept: &Snapshot, version: u64) -> Result<Snapshot, PortError> {
        let mut replay = Replay::default();
        self.replay(path, kept.version + 1..=version, &mut replay).await?;
        replay.onto(Some(kept))
    }

    /// Lists the log, and replays it from version 0.
    async fn cold(&self, path: &str, version: Option<u64>) -> Result<Snapshot, PortError> {
        let listed = self.list(path, None).await?;
        let Some(newest) = listed.last().copied() else {
            return Err(missing("the table has no log"));
        };
        let version = version.unwrap_or(newest);
        if version > newest {
            return Err(missing("the table has no such version"));
        }
        if !listed.iter().copied().eq(0..=newest) {
            let reason = if listed.first() == Some(&0) {
                "a version in the middle is missing"
            } else {
                "version 0 is missing, and checkpoints are not read"
            };
            return Err(PortError::new(PortErrorKind::InvalidData, "read a table's log from its beginning", reason));
        }
        let mut replay = Replay::default();
        self.replay(path, 0..=version, &mut replay).await?;
        replay.onto(None)
    }

    /// Fetches commits side by side and applies them in order.
    async fn replay(&self, path: &str, versions: RangeInclusive<u64>, replay: &mut Replay) -> Result<(), PortError> {
        let fetches = versions.map(async |version| Ok::<_, PortError>((version, self.fetch(path, version).await?)));
        let mut commits = futures::stream::iter(fetches).buffered(FETCHES_AT_ONCE);
        while let Some((version, commit)) = commits.try_next().await? {
            replay.apply(version, commit.ok_or_else(|| missing("a version of the table's log is not there"))?);
        }
        Ok(())
    }

    /// The versions in a table's log behind `after`, in order.
    async fn list(&self, path: &str, after: Option<u64>) -> Result<Vec<u64>, PortError> {
        let log = location(path, None)?;
        let mut listing = match after {
            Some(version) => self.store.list_with_offset(Some(&log), &location(path, Some(version))?),
            None => self.store.list(Some(&log)),
        };
        let mut versions = Vec::new();
        while let Some(entry) = listing.try_next().await.map_err(|error| port_error("list a table's log", error))? {
            versions.extend(entry.location.filename().and_then(version_of));
        }
        versions.sort_unstable();
        Ok(versions)
    }

    async fn fetch(&self, path: &str, version: u64) -> Result<Option<CommitActions>, PortError> {
        const OPERATION: &str = "read an entry of a table's log";
        let found = match self.store.get(&location(path, Some(version))?).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(port_error(OPERATION, error)),
        };
        if found.meta.size > ENTRY_BYTES_MAX {
            return Err(PortError::new(PortErrorKind::InvalidData, OPERATION, "the entry is too large"));
        }
        let modified = Timestamp::from_millis(found.meta.last_modified.timestamp_millis())
            .ok_or_else(|| PortError::new(PortErrorKind::InvalidData, OPERATION, "the entry's time is out of range"))?;
        let text: Bytes = found.bytes().await.map_err(|error| port_error(OPERATION, error))?;
        CommitActions::parse(&text, modified).map(Some)
    }
}

/// Where a version's entry lies, or the log itself.
fn location(path: &str, version: Option<u64>) -> Result<Path, PortError> {
    let text = match version {
        Some(version) => format!("{path}/_delta_log/{version:020}.json"),
        None => format!("{path}/_delta_log"),
    };
    Path::parse(text)
        .map_err(|error| PortError::new(PortErrorKind::InvalidData, "read a table's path", Box::new(error)))
}

/// The version of a commit's file name: twenty digits and `.json`.
fn version_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

fn missing(reason: &'static str) -> PortError {
    PortError::new(PortErrorKind::NotFound, "find a version of a table", reason)
}
