//! Finds and fetches log entries and checkpoints: from what is kept if it can, else from a listing.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::action_lines::ActionLines;
use super::actions::CommitActions;
use super::cache::{KeptBytes, SnapshotCache};
use super::commits::{LISTED_BYTES, find_commit, open_commits, parts_of_commits, time_of_commit};
use super::files::FileList;
use super::listing::{ListedCommits, Listing, Plan, missing};
use super::outline::Outline;
use super::replay::{Before, BeforeHead, Ledger, Partitions, Replay};
use super::view::{Added, Base, CheckpointRest, CommitsRest, TableView};
use super::{Snapshot, TableState};
use crate::checkpoint::{self, Checkpoint, CheckpointFiles, Columns, Hint, is_useless};
use crate::log::port_error;
use crate::object::{self, Object};

/// Entries behind a kept snapshot that are asked for one by one before a listing is cheaper.
const PROBES_MAX: u64 = 16;

/// The largest hint at a checkpoint that is read.
const HINT_BYTES_MAX: u64 = 4 << 20;

/// Reads the logs of the tables in one object store, and keeps what is newest for the next read.
///
/// A read of a kept table costs one request for each new commit and one that finds no more; a read of a version
/// costs one request for each commit since the kept snapshot, so none or one for a version that was just written. A
/// table that is not kept costs the hint at its newest checkpoint, one listing from there, the checkpoint, and one
/// request for each commit behind it. A large commit is read in ranges of 4 MiB. Commits that hold more than may be kept
/// are read twice, for what they make void and for their files, perhaps behind a beginning that was tried.
///
/// What is kept is looked at again within hours, and our logs keep their commits for days: the next commit after a kept
/// snapshot is never one that was cleaned up. Of tables that others write this cannot be said, nor that they are not
/// deleted and written anew: there the commit of what is kept is looked at first, which is one request more.
#[derive(Debug)]
pub struct TableReader {
    pub(super) store: Arc<dyn ObjectStore>,
    kept: Mutex<SnapshotCache>,
    writers: Writers,
}

/// Who writes the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writers {
    /// We do.
    Ourselves,
    /// Anybody.
    Strangers,
}

impl TableReader {
    /// A reader that keeps nothing yet.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self::keeping(store, KeptBytes::default())
    }

    /// A reader that keeps so much.
    #[must_use]
    pub fn keeping(store: Arc<dyn ObjectStore>, bounds: KeptBytes) -> Self {
        Self { store, kept: Mutex::new(SnapshotCache::new(bounds)), writers: Writers::Ourselves }
    }

    /// A reader of tables that others write, and clean up or replace as they like.
    #[must_use]
    pub fn of_strangers(store: Arc<dyn ObjectStore>) -> Self {
        Self { writers: Writers::Strangers, ..Self::new(store) }
    }

    /// The snapshot of the table at `path` (without a slash at the end), at a version or at the newest one.
    ///
    /// # Errors
    ///
    /// `NotFound` if the table or the version is not there (any more), `InvalidData` if the log has a gap, an entry
    /// cannot be understood, or a file has a deletion vector, else what the store failed with.
    pub async fn snapshot(&self, path: &str, version: Option<u64>) -> Result<Arc<Snapshot>, PortError> {
        let snapshot = match self.warm(path, version, None).await? {
            Some(snapshot) => snapshot,
            None => self.keep(path, self.whole(path, version).await?).await?,
        };
        snapshot.without_vectors()
    }

    /// Opens the table at `path` (without a slash at the end) for reading its files, at a version or at the newest one,
    /// in the order that a base makes, or any. A table that is too large to keep is read as its files are asked for.
    ///
    /// # Errors
    ///
    /// As [`TableReader::snapshot`], but for deletion vectors; `NotFound`, too, if the base is not there any more.
    pub async fn open(&self, path: &str, version: Option<u64>, base: Option<Base>) -> Result<TableView, PortError> {
        if let Some(snapshot) = self.warm(path, version, base).await? {
            return Ok(TableView::kept(snapshot));
        }
        let bytes_max = self.kept().table_bytes_max();
        let mut ways = self.ways(path, version, base).await?;
        loop {
            let begun = self.begin_next(path, &mut ways, bytes_max).await?;
            match begun.files(bytes_max).await? {
                Collected::All(snapshot) => return Ok(TableView::kept(self.keep(path, snapshot).await?)),
                Collected::TooMuch(begun) => {
                    let (may_be_kept, has_checkpoint) =
                        (begun.seems_to_take() <= bytes_max, begun.checkpoint.is_some());
                    let mut view = begun.view()?;
                    if !may_be_kept {
                        return Ok(view);
                    }
                    match view.collect(bytes_max).await {
                        Ok(Some(snapshot)) => return Ok(TableView::kept(self.keep(path, snapshot).await?)),
                        Ok(None) => return Ok(view),
                        Err(error) if has_checkpoint && is_useless(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
                Collected::Unreadable => {}
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, SnapshotCache> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn keep(&self, path: &str, snapshot: Snapshot) -> Result<Arc<Snapshot>, PortError> {
        let snapshot = Arc::new(snapshot);
        let mark = self.mark(path, snapshot.version).await?;
        self.kept().keep(path, snapshot.clone(), mark);
        Ok(snapshot)
    }

    /// What the commit of a version is known by, where it may be replaced; `None` if it is not there.
    async fn mark(&self, path: &str, version: u64) -> Result<Option<String>, PortError> {
        if self.writers == Writers::Ourselves {
            return Ok(None);
        }
        match self.store.head(&log_file(path, &format!("{version:020}.json"))?).await {
            Ok(found) => Ok(Some(found.e_tag.unwrap_or_else(|| found.last_modified.to_rfc3339()))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(port_error("look at an entry of a table's log", error)),
        }
    }

    /// Whether a kept snapshot is still of the table that is there. A commit that is gone tells nothing.
    async fn holds(&self, path: &str, kept: &Snapshot, mark: Option<&str>) -> Result<bool, PortError> {
        if self.writers == Writers::Ourselves {
            return Ok(true);
        }
        let now = self.mark(path, kept.version).await?;
        Ok(now.is_some() && now.as_deref() == mark)
    }

    /// The version from what is kept of the table and the commits behind that; `None` if a cold read is cheaper, or the
    /// only way.
    async fn warm(
        &self,
        path: &str,
        version: Option<u64>,
        base: Option<Base>,
    ) -> Result<Option<Arc<Snapshot>>, PortError> {
        let Some((kept, mark)) = self.kept().newest_until(path, version, base) else { return Ok(None) };
        if !self.holds(path, &kept, mark.as_deref()).await? {
            self.kept().forget(path);
            return Ok(None);
        }
        let replay = match version {
            Some(version) if version == kept.version => return Ok(Some(kept)),
            Some(version) if version - kept.version <= PROBES_MAX => {
                let mut tail = Tail::new(self.kept().table_bytes_max());
                let versions = kept.version + 1..=version;
                if !self.tail(path, versions, ListedCommits::default(), &mut tail).await? {
                    self.kept().forget_version(path, kept.version);
                    return Ok(None);
                }
                tail.replay
            }
            Some(_) => return Ok(None),
            None => match self.advance(path, kept.version, base).await? {
                Advance::Nothing => return Ok(Some(kept)),
                Advance::ByCommits(replay) => *replay,
                Advance::ByCheckpoint => return Ok(None),
                Advance::TooMuch => {
                    // It is not tried again from there.
                    self.kept().forget_version(path, kept.version);
                    return Ok(None);
                }
            },
        };
        Ok(Some(self.keep(path, replay.onto((&*kept).into())?).await?))
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
        match self.scan(path, Columns::Transactions, &mut look).await {
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
        let base = self.scan(path, Columns::All, &mut add).await?;
        let head = BeforeHead { base, ..BeforeHead::default() };
        let snapshot = Arc::new(replay.onto(Before { head, ..Before::default() })?).without_vectors()?;
        Ok(TableState { snapshot, ledger, checkpoint: base.0 })
    }

    /// What there is behind a kept version.
    async fn advance(&self, path: &str, kept: u64, base: Option<Base>) -> Result<Advance, PortError> {
        let mut tail = Tail::new(self.kept().table_bytes_max());
        let mut next = kept + 1;
        while next <= kept + PROBES_MAX {
            match find_commit(&self.store, path, next, LISTED_BYTES).await? {
                Some(commit) => {
                    if !tail.take(next, commit).await? {
                        return Ok(Advance::TooMuch);
                    }
                }
                None if next == kept + 1 => return Ok(Advance::Nothing),
                None => return Ok(Advance::ByCommits(Box::new(tail.replay))),
            }
            next += 1;
        }
        let listed = self.list(path, Some(next)).await?;
        if base.is_none() && listed.newest_checkpoint().is_some() {
            return Ok(Advance::ByCheckpoint);
        }
        if let Some(newest) = listed.newest()
            && !self.tail(path, next..=newest, listed.listed(next..newest + 1), &mut tail).await?
        {
            return Ok(Advance::TooMuch);
        }
        Ok(Advance::ByCommits(Box::new(tail.replay)))
    }

    /// Replays commits as long as what they come to may be kept; whether they all were.
    async fn tail(
        &self,
        path: &str,
        versions: RangeInclusive<u64>,
        listed: ListedCommits,
        tail: &mut Tail,
    ) -> Result<bool, PortError> {
        let mut commits = open_commits(self.store.clone(), path, versions, listed).boxed();
        while let Some((version, commit)) = commits.try_next().await? {
            if !tail.take(version, commit).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads a version from the newest checkpoint that leads to it, however large it is.
    async fn whole(&self, path: &str, version: Option<u64>) -> Result<Snapshot, PortError> {
        let mut ways = self.ways(path, version, None).await?;
        loop {
            let begun = self.begin_next(path, &mut ways, u64::MAX).await?;
            if let Collected::All(snapshot) = begun.files(u64::MAX).await? {
                return Ok(snapshot);
            }
        }
    }

    /// Hands the newest checkpoint and the commits behind it, or all commits, to `take`, in order. Returns what it began
    /// with.
    async fn scan(
        &self,
        path: &str,
        columns: Columns,
        take: &mut (dyn FnMut(u64, CommitActions) + Send),
    ) -> Result<Base, PortError> {
        let mut ways = self.ways(path, None, None).await?;
        loop {
            let plan = self.next_plan(path, &mut ways).await?;
            if let Some(files) = &plan.checkpoint {
                let Some((checkpoint, time)) = self.open_checkpoint(path, files, plan.version).await? else { continue };
                let mut whole = match checkpoint.read(columns).all().await {
                    Ok(whole) => whole,
                    Err(error) if is_useless(&error) => continue,
                    Err(error) => return Err(error),
                };
                whole.join(checkpoint.head);
                whole.timestamp = time;
                take(files.version, whole);
            }
            let mut commits = open_commits(self.store.clone(), path, plan.versions(), plan.commits.clone()).boxed();
            while let Some((version, commit)) = commits.try_next().await? {
                take(version, commit.all().await?);
            }
            return Ok(plan.base());
        }
    }

    /// The ways to read a version. The hint saves listing the whole log; without it, or if it leads nowhere, the listing
    /// is whole. A base says by itself where to begin.
    async fn ways(&self, path: &str, version: Option<u64>, base: Option<Base>) -> Result<Ways, PortError> {
        let begin = match base {
            Some(Base(begin)) => begin,
            None => self.hint(path).await?.map(|hint| hint.version),
        };
        let mut plans = Vec::new();
        if let Some(begin) = begin.filter(|begin| version.is_none_or(|version| *begin <= version)) {
            // A listing that begins in the middle has no way from version 0, and may have none at all.
            plans = self.list(path, Some(begin)).await?.plans(version, base).unwrap_or_default();
            plans.retain(|plan| plan.checkpoint.is_some());
        }
        Ok(Ways { version, base, plans: plans.into(), listed: Listed::TheEnd })
    }

    async fn next_plan(&self, path: &str, ways: &mut Ways) -> Result<Plan, PortError> {
        if ways.plans.is_empty() && ways.listed == Listed::TheEnd {
            ways.listed = Listed::Whole;
            ways.plans = self.list(path, None).await?.plans(ways.version, ways.base)?.into();
        }
        let none =
            || PortError::new(PortErrorKind::InvalidData, "read a table's log", "no checkpoint of it can be read");
        ways.plans.pop_front().ok_or_else(none)
    }

    /// Takes the next way whose checkpoint can be opened, and reads the commits behind it, for what they make void only
    /// if what they add takes more memory than that.
    async fn begin_next(&self, path: &str, ways: &mut Ways, bytes_max: u64) -> Result<Begun, PortError> {
        loop {
            let plan = self.next_plan(path, ways).await?;
            let mut tail = Tail::new(bytes_max);
            let read = async {
                // Most of a large log is files, which take more than a third of their text: with more it is no use trying.
                Ok(plan.commit_bytes() / 3 <= bytes_max
                    && self.tail(path, plan.versions(), plan.commits.clone(), &mut tail).await?)
            };
            let (checkpoint, is_all) = match &plan.checkpoint {
                None => (None, read.await?),
                Some(files) => {
                    let (opened, is_all) = futures::join!(self.open_checkpoint(path, files, plan.version), read);
                    let Some((checkpoint, time)) = opened? else { continue };
                    if files.version == plan.version {
                        tail.replay.head.reach(files.version, time);
                    }
                    (Some((files.version, checkpoint)), is_all?)
                }
            };
            let behind = match is_all {
                true => Behind::Held(tail.replay),
                false => {
                    drop(tail);
                    let Some(outline) = self.outline(path, &plan, checkpoint.as_ref()).await? else { continue };
                    let (store, commits) = (self.store.clone(), plan.commits.clone());
                    let parts = parts_of_commits(store, path, plan.versions(), commits).fuse().boxed();
                    Behind::Outlined(outline, parts)
                }
            };
            return Ok(Begun { base: plan.base(), checkpoint, behind });
        }
    }

    /// Reads the commits behind a checkpoint for what they make void; `None` if the checkpoint cannot be read.
    async fn outline(
        &self,
        path: &str,
        plan: &Plan,
        checkpoint: Option<&(u64, Checkpoint)>,
    ) -> Result<Option<Outline>, PortError> {
        let mut outline = Outline::new();
        if let Some((_, checkpoint)) = checkpoint {
            let mut reading = checkpoint.read(Columns::Keys);
            loop {
                match reading.next().await {
                    Ok(Some(actions)) => outline.meet(&actions.adds),
                    Ok(None) => break,
                    Err(error) if is_useless(&error) => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
        }
        let parts = parts_of_commits(self.store.clone(), path, plan.versions(), plan.commits.clone());
        let mut parts = std::pin::pin!(parts);
        let mut last = None;
        while let Some((version, part)) = parts.try_next().await? {
            outline.apply(version, part, last != Some(version));
            last = Some(version);
        }
        Ok(Some(outline))
    }

    /// Opens a checkpoint on the way to a version, and says the time of its version; `None` if it cannot be read, or is
    /// gone. Its files have the time of the checkpoint itself, to whatever version they are read.
    async fn open_checkpoint(
        &self,
        path: &str,
        files: &CheckpointFiles,
        version: u64,
    ) -> Result<Option<(Checkpoint, Timestamp)>, PortError> {
        let first = files.parts.first().ok_or_else(|| missing("the checkpoint has no file"))?;
        let modified = object::modified(first)?;
        // The time of a version is its commit's to say.
        let time = async {
            if files.version != version {
                return Ok(modified);
            }
            Ok(time_of_commit(&self.store, path, version).await?.unwrap_or(modified))
        };
        let (opened, time) = futures::join!(Checkpoint::open(&self.store, files, modified), time);
        match opened {
            Ok(checkpoint) => Ok(Some((checkpoint, time?))),
            Err(error) if is_useless(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The hint at the newest checkpoint, if there is one that can be read.
    pub(crate) async fn hint(&self, path: &str) -> Result<Option<Hint>, PortError> {
        let found = Object::find(&self.store, log_file(path, checkpoint::HINT)?, HINT_BYTES_MAX).await?;
        Ok(found.and_then(|(hint, _)| serde_json::from_slice(hint.whole()?).ok()))
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

/// What there is behind a kept version.
enum Advance {
    Nothing,
    ByCommits(Box<Replay>),
    /// So many commits that the checkpoint before the last of them is cheaper.
    ByCheckpoint,
    /// More than is kept.
    TooMuch,
}

/// Commits that are replayed as long as what they come to may be kept.
struct Tail {
    replay: Replay,
    bytes_max: u64,
}

impl Tail {
    fn new(bytes_max: u64) -> Self {
        Self { replay: Replay::default(), bytes_max }
    }

    /// Adds a commit; whether what there is may still be kept.
    async fn take(&mut self, version: u64, mut commit: ActionLines) -> Result<bool, PortError> {
        let mut parts = 0;
        while self.replay.kept_bytes() <= self.bytes_max
            && let Some(part) = commit.next().await?
        {
            self.replay.apply(version, part);
            parts += 1;
        }
        if parts > 1 {
            self.replay.settle(version, commit.timestamp());
        }
        Ok(self.replay.kept_bytes() <= self.bytes_max)
    }
}

/// The ways to read a version that were not taken yet.
struct Ways {
    version: Option<u64>,
    base: Option<Base>,
    plans: VecDeque<Plan>,
    listed: Listed,
}

/// How much of the log was listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    TheEnd,
    Whole,
}

/// A way to a version of which the commits were read, and the files of the checkpoint were not.
struct Begun {
    base: Base,
    checkpoint: Option<(u64, Checkpoint)>,
    behind: Behind,
}

/// What the commits behind a checkpoint, or all commits, come to.
enum Behind {
    /// It is here.
    Held(Replay),
    /// What they make void is here; the files that they add are read once more.
    Outlined(Outline, BoxStream<'static, Result<(u64, CommitActions), PortError>>),
}

/// A version with its files, if they could be.
enum Collected {
    All(Snapshot),
    TooMuch(Box<Begun>),
    Unreadable,
}

/// The files of a checkpoint.
enum FilesOf {
    All(FileList),
    TooMuch,
    Unreadable,
}

impl Begun {
    /// The version, if its files take so much memory at most.
    async fn files(self, bytes_max: u64) -> Result<Collected, PortError> {
        let head = self.before();
        let Behind::Held(tail) = self.behind else { return Ok(Collected::TooMuch(Box::new(self))) };
        let room = bytes_max.saturating_sub(tail.kept_bytes());
        Ok(match files_of(self.checkpoint.as_ref(), room).await? {
            FilesOf::All(files) => Collected::All(tail.onto(Before { head, files })?),
            FilesOf::TooMuch => Collected::TooMuch(Box::new(Self { behind: Behind::Held(tail), ..self })),
            FilesOf::Unreadable => Collected::Unreadable,
        })
    }

    /// What the files would take in memory, by a guess, where they were not read for that yet.
    fn seems_to_take(&self) -> u64 {
        match &self.behind {
            Behind::Held(_) => u64::MAX,
            Behind::Outlined(outline, _) => outline.stayed_bytes(),
        }
    }

    fn view(self) -> Result<TableView, PortError> {
        let before = self.before();
        let rest = self.checkpoint.map(|(version, checkpoint)| CheckpointRest {
            reading: checkpoint.read(Columns::Files),
            version,
            timestamp: checkpoint.head.timestamp,
        });
        let (head, touched, added) = match self.behind {
            Behind::Held(tail) => {
                let (head, touched, added) = tail.into_parts();
                (head, touched, Added::Held(added.into_iter()))
            }
            Behind::Outlined(outline, parts) => {
                let (head, touched, times) = outline.into_parts();
                (head, touched, Added::Read(CommitsRest { parts, times }))
            }
        };
        Ok(TableView::streamed(head.onto(before)?, rest, touched, added))
    }

    /// What the checkpoint says of the table.
    fn before(&self) -> BeforeHead {
        let head = self.checkpoint.as_ref().map(|(_, checkpoint)| &checkpoint.head);
        BeforeHead {
            base: self.base,
            protocol: head.and_then(|head| head.protocol.clone()).map(Arc::new),
            metadata: head.and_then(|head| head.metadata.clone()).map(Arc::new),
        }
    }
}

/// The files of a checkpoint, if they could be read and take so much memory at most.
async fn files_of(checkpoint: Option<&(u64, Checkpoint)>, bytes_max: u64) -> Result<FilesOf, PortError> {
    let mut files = FileList::default();
    let Some((version, checkpoint)) = checkpoint else { return Ok(FilesOf::All(files)) };
    if checkpoint.files_bytes > bytes_max {
        return Ok(FilesOf::TooMuch);
    }
    let (mut reading, mut partitions) = (checkpoint.read(Columns::Files), Partitions::default());
    loop {
        let actions = match reading.next().await {
            Ok(Some(actions)) => actions,
            Ok(None) => return Ok(FilesOf::All(files)),
            Err(error) if is_useless(&error) => return Ok(FilesOf::Unreadable),
            Err(error) => return Err(error),
        };
        let some = actions.adds.into_iter();
        files.extend(some.map(|add| Arc::new(partitions.file(add, *version, actions.timestamp))).collect());
        if files.total().kept_bytes > bytes_max {
            return Ok(FilesOf::TooMuch);
        }
    }
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
