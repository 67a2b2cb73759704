//! Commits one after the other: small ones are fetched side by side, large ones a part at a time.

use std::ops::RangeInclusive;
use std::sync::Arc;

use delivery::ports::PortError;
use delivery::timestamp::Timestamp;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore;

use super::action_lines::ActionLines;
use super::actions::CommitActions;
use super::listing::{LargeCommits, missing};
use super::reader::log_file;
use super::{AddedFile, ChangeFile, Metadata, Protocol, RemovedFile, TableReader};
use crate::object::{self, Object};

/// Commits that are fetched at once.
const FETCHES_AT_ONCE: usize = 16;

/// A commit that is not larger is fetched whole; of a larger one so much before it is read.
pub(super) const WHOLE_BYTES_MAX: u64 = 512 << 10;

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
    /// large to hold comes in parts of a thousand files, the first of which says what is new but for files. After an
    /// error there is nothing to rely on.
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
        let commits = open_commits(self.store.clone(), path, versions, LargeCommits::default());
        commits.and_then(|(version, lines)| told(version, lines)).try_flatten()
    }
}

/// A commit as it is told: whole, or in parts behind a first look at all of it.
async fn told(version: u64, lines: ActionLines) -> Result<BoxStream<'static, Result<Commit, PortError>>, PortError> {
    let mut parts = lines.again();
    let mut whole = CommitActions::at(lines.timestamp());
    if lines.are_here() {
        while let Some(part) = parts.next().await? {
            whole.join(part);
        }
        whole.timestamp = parts.timestamp();
        return Ok(stream::once(async move { Ok(Commit::of(version, whole)) }).boxed());
    }
    let mut has_changes = false;
    while let Some(part) = parts.next().await? {
        has_changes |= !part.changes.is_empty();
        whole.join(CommitActions {
            protocol: part.protocol,
            metadata: part.metadata,
            ..CommitActions::at(part.timestamp)
        });
    }
    let timestamp = parts.timestamp();
    let head = Commit { timestamp, has_changes, ..Commit::of(version, whole) };
    let files = actions_of(lines).map_ok(move |part| {
        let part = CommitActions { timestamp, protocol: None, metadata: None, ..part };
        Commit { has_changes, ..Commit::of(version, part) }
    });
    Ok(stream::once(async move { Ok(head) }).chain(files).boxed())
}

/// The parts of the commits of these versions, in order, each with its version.
pub(super) fn parts_of_commits(
    store: Arc<dyn ObjectStore>,
    path: &str,
    versions: RangeInclusive<u64>,
    large: LargeCommits,
) -> impl Stream<Item = Result<(u64, CommitActions), PortError>> + Send + use<> {
    let commits = open_commits(store, path, versions, large);
    commits.map_ok(|(version, lines)| actions_of(lines).map_ok(move |part| (version, part))).try_flatten()
}

/// The commits of these versions, in order, each with its version. The beginnings of some are fetched side by side.
pub(super) fn open_commits(
    store: Arc<dyn ObjectStore>,
    path: &str,
    versions: RangeInclusive<u64>,
    large: LargeCommits,
) -> impl Stream<Item = Result<(u64, ActionLines), PortError>> + Send + use<> {
    let path = path.to_owned();
    let opened = versions.map(move |version| {
        let (store, path, listed) = (store.clone(), path.clone(), large.get(&version).cloned());
        async move {
            let lines = match listed {
                Some(listed) => {
                    let modified = object::modified(&listed)?;
                    ActionLines::new(Object::listed(&store, listed).begin(WHOLE_BYTES_MAX).await?, modified)
                }
                None => find_commit(&store, &path, version)
                    .await?
                    .ok_or_else(|| missing("a version of the table's log is not there"))?,
            };
            Ok((version, lines))
        }
    });
    stream::iter(opened).buffered(FETCHES_AT_ONCE)
}

/// A commit, fetched whole if it is small; `None` if it is not there.
pub(super) async fn find_commit(
    store: &Arc<dyn ObjectStore>,
    path: &str,
    version: u64,
) -> Result<Option<ActionLines>, PortError> {
    let location = log_file(path, &format!("{version:020}.json"))?;
    let found = Object::find(store, location, WHOLE_BYTES_MAX).await?;
    Ok(found.map(|(object, modified)| ActionLines::new(object, modified)))
}

fn actions_of(lines: ActionLines) -> impl Stream<Item = Result<CommitActions, PortError>> + Send {
    stream::try_unfold(lines, async |mut lines: ActionLines| Ok(lines.next().await?.map(|actions| (actions, lines))))
}
