//! Commits one after the other: small ones are fetched whole and side by side, large ones a part at a time.

use std::ops::RangeInclusive;
use std::sync::Arc;

use delivery::ports::PortError;
use delivery::timestamp::Timestamp;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::sync::Semaphore;

use super::action_lines::ActionLines;
use super::actions::CommitActions;
use super::listing::{ListedCommit, ListedCommits, missing};
use super::reader::log_file;
use super::{AddedFile, ChangeFile, Metadata, Protocol, RemovedFile, TableReader};
use crate::object::Object;

/// Commits that are fetched at once.
const FETCHES_AT_ONCE: usize = 16;

/// Of a commit whose size is known, or that is fetched alone, so much is fetched before it is read.
pub(super) const LISTED_BYTES: u64 = 4 << 20;

/// Of another one so much is.
const UNLISTED_BYTES: u64 = 512 << 10;

/// What is fetched before it is read, of all commits of one reading.
const AHEAD_BYTES: u64 = 8 << 20;

/// What one version of a table changed, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The table version.
    pub version: u64,
    /// When the version was committed: the commit's own word, else the log entry's modification time.
    pub timestamp: Timestamp,
    /// The protocol from this version on, if it is a new one.
    pub protocol: Option<Protocol>,
    /// The metadata from this version on, if it is new.
    pub metadata: Option<Metadata>,
    /// Files that joined.
    pub adds: Vec<AddedFile>,
    /// Files that left.
    pub removes: Vec<RemovedFile>,
    /// Files of changed rows.
    pub changes: Vec<ChangeFile>,
    /// Whether the version has files of changed rows, in this part or another: they say all that changed then.
    pub has_changes: bool,
}

impl Commit {
    fn of(version: u64, actions: CommitActions) -> Self {
        Self {
            version,
            timestamp: actions.timestamp,
            protocol: actions.protocol,
            metadata: actions.metadata,
            adds: actions.adds,
            removes: actions.removes,
            has_changes: !actions.changes.is_empty(),
            changes: actions.changes,
        }
    }
}

impl TableReader {
    /// The commits of these versions of the table at `path`, in order; some are fetched side by side. One that is too
    /// large to hold comes in parts of a thousand files: first what is new but for files, then all files that joined, then
    /// all that left. After an error there is nothing to rely on.
    ///
    /// # Errors
    ///
    /// Each item: `NotFound` if the version is not in the log (any more), `InvalidData` if it cannot be understood, else
    /// what the store failed with.
    pub fn commits(
        &self,
        path: &str,
        versions: RangeInclusive<u64>,
    ) -> impl Stream<Item = Result<Commit, PortError>> + Send + use<> {
        let commits = open_commits(self.store.clone(), path, versions, ListedCommits::default());
        commits.and_then(|(version, lines)| told(version, lines)).try_flatten()
    }
}

/// A commit as it is told: whole, or in parts behind a first look at all of it. Tokens of pages count on the order.
async fn told(version: u64, lines: ActionLines) -> Result<BoxStream<'static, Result<Commit, PortError>>, PortError> {
    if lines.are_here() {
        let whole = lines.all().await?;
        return Ok(stream::once(async move { Ok(Commit::of(version, whole)) }).boxed());
    }
    let mut look = lines.again();
    let mut head = CommitActions::at(lines.timestamp());
    let (mut has_changes, mut has_removes) = (false, false);
    while let Some(part) = look.next().await? {
        has_changes |= !part.changes.is_empty();
        has_removes |= !part.removes.is_empty();
        let (protocol, metadata) = (part.protocol, part.metadata);
        head.join(CommitActions { protocol, metadata, ..CommitActions::at(part.timestamp) });
    }
    let timestamp = look.timestamp();
    let part_of = move |actions| Ok(Commit { timestamp, has_changes, ..Commit::of(version, actions) });
    let removes = has_removes.then(|| lines.again());
    let joined = actions_of(lines).map_ok(|CommitActions { adds, changes, timestamp, .. }| CommitActions {
        adds,
        changes,
        ..CommitActions::at(timestamp)
    });
    let left = stream::iter(removes.map(actions_of))
        .flatten()
        .map_ok(|CommitActions { removes, timestamp, .. }| CommitActions { removes, ..CommitActions::at(timestamp) });
    let parts = stream::once(async move { Ok(head) }).chain(joined).chain(left);
    Ok(parts.and_then(move |actions| std::future::ready(part_of(actions))).boxed())
}

/// The parts of the commits of these versions, in order, each with its version.
pub(super) fn parts_of_commits(
    store: Arc<dyn ObjectStore>,
    path: &str,
    versions: RangeInclusive<u64>,
    listed: ListedCommits,
) -> impl Stream<Item = Result<(u64, CommitActions), PortError>> + Send + use<> {
    let commits = open_commits(store, path, versions, listed);
    commits.map_ok(|(version, lines)| actions_of(lines).map_ok(move |part| (version, part))).try_flatten()
}

/// The commits of these versions, in order, each with its version. The beginnings of some are fetched side by side: of
/// small ones all, of large ones few at once.
pub(super) fn open_commits(
    store: Arc<dyn ObjectStore>,
    path: &str,
    versions: RangeInclusive<u64>,
    listed: ListedCommits,
) -> impl Stream<Item = Result<(u64, ActionLines), PortError>> + Send + use<> {
    let path = path.to_owned();
    // Permits of 1 KiB, one version after the other: the next to be read always has its own.
    let ahead = Arc::new(Semaphore::new(kibibytes(AHEAD_BYTES) as usize));
    let permitted = stream::iter(versions).then(move |version| {
        let (ahead, listed) = (ahead.clone(), listed.get(&version).copied());
        let first = listed.map_or(UNLISTED_BYTES, |listed| listed.size.min(LISTED_BYTES));
        async move { (version, listed, first, ahead.acquire_many_owned(kibibytes(first)).await.ok()) }
    });
    let opened = permitted.map(move |(version, listed, first, permit)| {
        let (store, path) = (store.clone(), path.clone());
        async move {
            let lines = match listed {
                Some(ListedCommit { size, modified }) => {
                    let object = Object::of(&store, commit_file(&path, version)?, size);
                    ActionLines::new(object.begin(first).await?, modified)
                }
                None => find_commit(&store, &path, version, first)
                    .await?
                    .ok_or_else(|| missing("a version of the table's log is not there"))?,
            };
            Ok((version, lines.with(permit)))
        }
    });
    opened.buffered(FETCHES_AT_ONCE)
}

fn commit_file(path: &str, version: u64) -> Result<Path, PortError> {
    log_file(path, &format!("{version:020}.json"))
}

fn kibibytes(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1_024)).unwrap_or(u32::MAX)
}

/// A commit of which so many bytes are fetched; `None` if it is not there.
pub(super) async fn find_commit(
    store: &Arc<dyn ObjectStore>,
    path: &str,
    version: u64,
    bytes: u64,
) -> Result<Option<ActionLines>, PortError> {
    let found = Object::find(store, commit_file(path, version)?, bytes).await?;
    Ok(found.map(|(object, modified)| ActionLines::new(object, modified)))
}

/// When the commit of a version was made; `None` if it is not there.
pub(super) async fn time_of_commit(
    store: &Arc<dyn ObjectStore>,
    path: &str,
    version: u64,
) -> Result<Option<Timestamp>, PortError> {
    match find_commit(store, path, version, UNLISTED_BYTES).await? {
        Some(lines) => lines.time().await.map(Some),
        None => Ok(None),
    }
}

fn actions_of(lines: ActionLines) -> impl Stream<Item = Result<CommitActions, PortError>> + Send {
    stream::try_unfold(lines, async |mut lines: ActionLines| Ok(lines.next().await?.map(|actions| (actions, lines))))
}
