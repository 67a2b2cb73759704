//! Finds and fetches log entries and checkpoints: from what is kept if it can, else from a listing.

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
use super::listing::{Listing, Plan, missing};
use super::{Base, Before, Ledger, Replay, Snapshot, TableState, TableView};
use crate::checkpoint::{self, Columns, Hint};
use crate::log::port_error;

/// Files of all kept snapshots together; at about 1 kB of statistics each, some 250 MB.
const KEPT_FILES_MAX: usize = 250_000;

/// Log entries that are fetched at once.
pub(super) const FETCHES_AT_ONCE: usize = 16;

/// Entries behind a kept snapshot that are asked for one by one before a listing is cheaper.
const PROBES_MAX: u64 = 16;

/// The largest log entry, or part of a checkpoint, that is read.
const ENTRY_BYTES_MAX: u64 = 256 * 1_024 * 1_024;

/// Reads snapshots of the tables in one object store, and keeps the newest for the next read.
///
/// A read of a kept table costs one request for each new commit and one that finds no more; a read of a version
/// costs one request for each commit since the kept snapshot, so none or one for a version that was just written. A
/// table that is not kept costs the hint at its newest checkpoint, one listing from there, the checkpoint, and one
/// request for each commit behind it. What is kept is looked at again within hours, and a log keeps its commits for
/// days: the next commit after a kept snapshot is never one that was cleaned up.
#[derive(Debug)]
pub struct TableReader {
    pub(super) store: Arc<dyn ObjectStore>,
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
    /// `NotFound` if the table or the version is not there (any more), `InvalidData` if the log has a gap, an entry
    /// cannot be understood, or a file has a deletion vector, else what the store failed with.
    pub async fn snapshot(&self, path: &str, version: Option<u64>) -> Result<Arc<Snapshot>, PortError> {
        self.at(path, version, None).await?.without_vectors()
    }

    /// Opens the table at `path` (without a slash at the end) for reading its files, at a version or at the newest one,
    /// in the order that a base makes, or any.
    ///
    /// # Errors
    ///
    /// As [`TableReader::snapshot`], but for deletion vectors; `NotFound`, too, if the base is not there any more.
    pub async fn open(&self, path: &str, version: Option<u64>, base: Option<Base>) -> Result<TableView, PortError> {
        self.at(path, version, base).await.map(TableView::kept)
    }

    async fn at(&self, path: &str, version: Option<u64>, base: Option<Base>) -> Result<Arc<Snapshot>, PortError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).newest_until(path, version, base);
        let snapshot = match (kept, version) {
            (Some(kept), Some(version)) if kept.version == version => return Ok(kept),
            (Some(kept), Some(version)) if version - kept.version <= PROBES_MAX => {
                self.advance_to(path, &kept, version).await?
            }
            (Some(kept), None) => match self.advance(path, &kept, base).await? {
                Some(newer) => newer,
                None => return Ok(kept),
            },
            (_, version) => self.cold(path, version, base).await?,
        };
        let snapshot = Arc::new(snapshot);
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).keep(path, snapshot.clone());
        Ok(snapshot)
    }

    /// The version of an application's newest `txn` action in the table at `path`.
    ///
    /// # Errors
    ///
    /// As [`TableReader::snapshot`].
    pub async fn transaction(&self, path: &str, application_id: &str) -> Result<Option<i64>, PortError> {
        let mut newest = None;
        let mut look = |_: u64, commit: CommitActions| {
            let found = commit.transactions.into_iter().rfind(|transaction| transaction.app_id == application_id);
            newest = found.map(|transaction| transaction.version).or(newest);
        };
        match self.scan(path, None, None, Columns::Transactions, &mut look).await {
            Ok(_) => Ok(newest),
            Err(error) if error.kind == PortErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The newest version of the table at `path`; `None` if it has no log.
    ///
    /// # Errors
    ///
    /// What the store failed with.
    pub async fn newest_version(&self, path: &str) -> Result<Option<u64>, PortError> {
        if let Some(hint) = self.hint(path).await?
            && let Some(newest) = self.list(path, Some(hint.version)).await?.newest()
        {
            return Ok(Some(newest));
        }
        Ok(self.list(path, None).await?.newest())
    }

    /// All that the log of the table at `path` says up to its newest version. Nothing of it is kept.
    pub(crate) async fn state(&self, path: &str) -> Result<TableState, PortError> {
        let (mut replay, mut ledger) = (Replay::default(), Ledger::default());
        let mut add = |version: u64, commit: CommitActions| {
            ledger.apply(&commit);
            replay.apply(version, commit);
        };
        let checkpoint = self.scan(path, None, None, Columns::All, &mut add).await?;
        let before = Before { base: Base(checkpoint), ..Before::default() };
        let snapshot = Arc::new(replay.onto(before)?).without_vectors()?;
        Ok(TableState { snapshot, ledger, checkpoint })
    }

    /// Applies every commit behind a snapshot; `None` if there is none.
    async fn advance(&self, path: &str, kept: &Snapshot, base: Option<Base>) -> Result<Option<Snapshot>, PortError> {
        let mut replay = Replay::default();
        let mut next = kept.version + 1;
        while next <= kept.version + PROBES_MAX {
            match fetch(&*self.store, path, next).await? {
                Some(commit) => replay.apply(next, commit),
                None if next == kept.version + 1 => return Ok(None),
                None => return replay.onto(kept.into()).map(Some),
            }
            next += 1;
        }
        let listed = self.list(path, Some(next)).await?;
        if base.is_none() && listed.newest_checkpoint().is_some() {
            return self.cold(path, None, None).await.map(Some);
        }
        if let Some(newest) = listed.newest() {
            self.replay(path, next..=newest, &mut |version, commit| replay.apply(version, commit)).await?;
        }
        replay.onto(kept.into()).map(Some)
    }

    async fn advance_to(&self, path: &str, kept: &Snapshot, version: u64) -> Result<Snapshot, PortError> {
        let mut replay = Replay::default();
        let versions = kept.version + 1..=version;
        self.replay(path, versions, &mut |version, commit| replay.apply(version, commit)).await?;
        replay.onto(kept.into())
    }

    /// Reads a version from the newest checkpoint that leads to it, or from the base.
    async fn cold(&self, path: &str, version: Option<u64>, base: Option<Base>) -> Result<Snapshot, PortError> {
        let mut replay = Replay::default();
        let mut take = |version, commit| replay.apply(version, commit);
        let base = Base(self.scan(path, version, base, Columns::Snapshot, &mut take).await?);
        replay.onto(Before { base, ..Before::default() })
    }

    /// Hands a checkpoint and the commits behind it, or all commits, to `take`, in order. The hint saves listing the
    /// whole log; without it, or if it leads nowhere, the listing is whole. Returns the checkpoint that it began with.
    async fn scan(
        &self,
        path: &str,
        version: Option<u64>,
        base: Option<Base>,
        columns: Columns,
        take: &mut (dyn FnMut(u64, CommitActions) + Send),
    ) -> Result<Option<u64>, PortError> {
        let begin = match base {
            Some(Base(begin)) => begin,
            None => self.hint(path).await?.map(|hint| hint.version),
        };
        if let Some(begin) = begin.filter(|begin| version.is_none_or(|version| *begin <= version)) {
            let listing = self.list(path, Some(begin)).await?;
            // A listing that begins in the middle has no way from version 0.
            if let Ok(plans) = listing.plans(version, base) {
                for plan in plans.into_iter().filter(|plan| plan.checkpoint.is_some()) {
                    let checkpoint = plan.checkpoint();
                    if self.follow(path, plan, columns, take).await? == Followed::ToTheEnd {
                        return Ok(checkpoint);
                    }
                }
            }
        }
        let listing = self.list(path, None).await?;
        for plan in listing.plans(version, base)? {
            let checkpoint = plan.checkpoint();
            if self.follow(path, plan, columns, take).await? == Followed::ToTheEnd {
                return Ok(checkpoint);
            }
        }
        Err(PortError::new(PortErrorKind::InvalidData, "read a table's log", "no checkpoint of it can be read"))
    }

    async fn follow(
        &self,
        path: &str,
        plan: Plan,
        columns: Columns,
        take: &mut (dyn FnMut(u64, CommitActions) + Send),
    ) -> Result<Followed, PortError> {
        let first = plan.first_commit();
        if let Some((version, parts)) = plan.checkpoint {
            // The time of a version is its commit's to say.
            let head =
                async { if version == plan.version { bytes(&*self.store, path, version).await } else { Ok(None) } };
            let fetch = async {
                let mut fetched = Vec::with_capacity(parts.len());
                for part in &parts {
                    fetched.push(get(&*self.store, &part.location).await?);
                }
                Ok(fetched)
            };
            let (head, fetched) = futures::try_join!(head, fetch)?;
            let mut whole: Option<CommitActions> = None;
            for part in fetched {
                let Some((bytes, modified)) = part else { return Ok(Followed::Nowhere) };
                let time = match &head {
                    Some((text, modified)) => CommitActions::parse(text, *modified)?.timestamp,
                    None => modified,
                };
                let part = match checkpoint::read(bytes, columns, time) {
                    Ok(part) => part,
                    Err(error) if error.kind == PortErrorKind::InvalidData => return Ok(Followed::Nowhere),
                    Err(error) => return Err(error),
                };
                match &mut whole {
                    Some(whole) => whole.join(part),
                    None => whole = Some(part),
                }
            }
            take(version, whole.ok_or_else(|| missing("the checkpoint has no parts"))?);
        }
        self.replay(path, first..=plan.version, take).await?;
        Ok(Followed::ToTheEnd)
    }

    /// Fetches commits side by side and hands them on in order.
    async fn replay(
        &self,
        path: &str,
        versions: RangeInclusive<u64>,
        take: &mut (dyn FnMut(u64, CommitActions) + Send),
    ) -> Result<(), PortError> {
        let fetches =
            versions.map(async |version| Ok::<_, PortError>((version, fetch(&*self.store, path, version).await?)));
        let mut commits = futures::stream::iter(fetches).buffered(FETCHES_AT_ONCE);
        while let Some((version, commit)) = commits.try_next().await? {
            take(version, commit.ok_or_else(|| missing("a version of the table's log is not there"))?);
        }
        Ok(())
    }

    /// The hint at the newest checkpoint, if there is one that can be read.
    pub(crate) async fn hint(&self, path: &str) -> Result<Option<Hint>, PortError> {
        let location = log_file(path, checkpoint::HINT)?;
        Ok(get(&*self.store, &location).await?.and_then(|(text, _)| serde_json::from_slice(&text).ok()))
    }

    /// The files of a table's log, all or those of a version and behind it.
    pub(crate) async fn list(&self, path: &str, from: Option<u64>) -> Result<Listing, PortError> {
        let log = log(path)?;
        let mut entries = match from {
            // Every name of a version begins so, and sorts behind it.
            Some(version) => self.store.list_with_offset(Some(&log), &log_file(path, &format!("{version:020}"))?),
            None => self.store.list(Some(&log)),
        };
        let mut listing = Listing::default();
        while let Some(entry) = entries.try_next().await.map_err(|error| port_error("list a table's log", error))? {
            listing.put(entry);
        }
        Ok(listing)
    }
}

/// A commit; `None` if it is not there.
pub(super) async fn fetch(
    store: &dyn ObjectStore,
    path: &str,
    version: u64,
) -> Result<Option<CommitActions>, PortError> {
    let Some((text, modified)) = bytes(store, path, version).await? else { return Ok(None) };
    CommitActions::parse(&text, modified).map(Some)
}

/// The text of a commit and its modification time; `None` if it is not there.
pub(super) async fn bytes(
    store: &dyn ObjectStore,
    path: &str,
    version: u64,
) -> Result<Option<(Bytes, Timestamp)>, PortError> {
    get(store, &log_file(path, &format!("{version:020}.json"))?).await
}

async fn get(store: &dyn ObjectStore, location: &Path) -> Result<Option<(Bytes, Timestamp)>, PortError> {
    const OPERATION: &str = "read an entry of a table's log";
    let found = match store.get(location).await {
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
    Ok(Some((text, modified)))
}

/// Whether a plan led to its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Followed {
    ToTheEnd,
    /// The checkpoint cannot be read, or is gone.
    Nowhere,
}

/// Where a table's log lies.
pub(crate) fn log(path: &str) -> Result<Path, PortError> {
    parse_path(format!("{path}/_delta_log"))
}

/// Where a file of a table's log lies.
pub(crate) fn log_file(path: &str, name: &str) -> Result<Path, PortError> {
    parse_path(format!("{path}/_delta_log/{name}"))
}

fn parse_path(text: String) -> Result<Path, PortError> {
    Path::parse(text)
        .map_err(|error| PortError::new(PortErrorKind::InvalidData, "read a table's path", Box::new(error)))
}
