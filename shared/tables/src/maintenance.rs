//! Maintenance: what keeps a table cheap to open and read, off the path of deliveries.
//!
//! Writes checkpoints, merges small files, and deletes log entries and data files that nobody can be reading any more.
//! Knows one promise: every version that was the newest at some time within the last [`Policy::history_days`] can be
//! read whole. Every call may be made twice, in parallel, beside writers, or end half-way. Knows no queue and no clock.

mod clean;
mod compact;
mod rewrite;
mod statistics;
mod vacuum;

use std::sync::Arc;

use delivery::ports::{PortError, PortErrorKind, WriteOutcome};
use delivery::timestamp::Timestamp;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use percent_encoding::percent_decode_str;

use crate::checkpoint::{self, Hint};
use crate::log::port_error;
use crate::snapshot::reader::log_file;
use crate::snapshot::{TableReader, TableState};

/// Commits between two checkpoints: `delta.checkpointInterval` of every table.
pub const CHECKPOINT_INTERVAL: u64 = 10;

/// Days that every version stays readable, unless a deployment says otherwise.
pub const HISTORY_DAYS_USUAL: u16 = 30;

/// The fewest days of history: far longer than a delivery, or a link that was handed to a recipient, lives.
pub const HISTORY_DAYS_MIN: u16 = 7;

/// The most days of history.
pub const HISTORY_DAYS_MAX: u16 = 365;

/// Clocks differ, and a commit's time is noted before its work: so many seconds longer than promised is kept.
const SLACK_SECONDS: i64 = 3_600;

/// The protocol that is understood whole; a later one may keep actions that a checkpoint of ours would lose.
const READER_MAX: u32 = 1;
const WRITER_MAX: u32 = 4;

/// What maintenance aims for, and how much one call does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Days that every version stays readable, from [`HISTORY_DAYS_MIN`] to [`HISTORY_DAYS_MAX`].
    pub history_days: u16,
    /// Commits between two checkpoints.
    pub checkpoint_interval: u64,
    /// A file of fewer bytes is small.
    pub small_file_bytes: u64,
    /// Small files are merged up to so many bytes.
    pub target_file_bytes: u64,
    /// The fewest small files that are merged after commits.
    pub small_files_after_commits: usize,
    /// The fewest small files that are merged in a full maintenance.
    pub small_files_full: usize,
    /// The most bytes of small files that one call merges.
    pub merged_bytes_max: u64,
    /// The most small files that one call merges.
    pub merged_files_max: usize,
    /// The most objects that one call deletes from the log, and from the files.
    pub deletes_max: usize,
}

impl Policy {
    /// The usual limits with so many days of history; fewer than [`HISTORY_DAYS_MIN`] are as many.
    #[must_use]
    pub fn keeping(history_days: u16) -> Self {
        Self {
            history_days: history_days.clamp(HISTORY_DAYS_MIN, HISTORY_DAYS_MAX),
            checkpoint_interval: CHECKPOINT_INTERVAL,
            small_file_bytes: 32 << 20,
            target_file_bytes: 128 << 20,
            small_files_after_commits: 64,
            small_files_full: 10,
            merged_bytes_max: 512 << 20,
            merged_files_max: 4_096,
            deletes_max: 50_000,
        }
    }

    /// Before this instant, in milliseconds since the epoch, nothing is promised.
    fn cut_off(&self, now: Timestamp) -> i64 {
        let days = i64::from(self.history_days.max(HISTORY_DAYS_MIN));
        now.millis() - (days * 86_400 + SLACK_SECONDS) * 1_000
    }
}

/// How much of the maintenance is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A checkpoint if one is due, and small files merged if there are many.
    AfterCommits,
    /// That, and the log and the files cleaned up.
    Full,
}

/// What one call did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maintained {
    /// The table version that was found, or made by merging; `None` if the table has no log.
    pub version: Option<u64>,
    /// The version of the checkpoint that was written.
    pub checkpoint: Option<u64>,
    /// Small files that were replaced.
    pub files_merged: usize,
    /// Files that replaced them.
    pub files_made: usize,
    /// Bytes of the replaced files.
    pub bytes_merged: u64,
    /// Commits and checkpoints that were deleted.
    pub log_files_deleted: usize,
    /// Data files that were deleted.
    pub data_files_deleted: usize,
    /// Their bytes.
    pub bytes_deleted: u64,
    /// Whether a limit ended the call: there is more to do at once.
    pub unfinished: bool,
}

/// Maintains the tables of one object store.
#[derive(Debug)]
pub struct Maintenance {
    store: Arc<dyn ObjectStore>,
    reader: TableReader,
    policy: Policy,
}

impl Maintenance {
    /// Maintenance of the tables in a store, such as the tables bucket.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, policy: Policy) -> Self {
        Self { reader: TableReader::new(store.clone()), store, policy }
    }

    /// Does the work that is due on the table at `path` (without a slash at the end).
    ///
    /// # Errors
    ///
    /// `InvalidData` if the log or a data file cannot be understood, else what the store failed with. What was done
    /// before stays, and is right; small files that cannot be merged hold nothing else up.
    pub async fn maintain(&self, path: &str, work: Work, now: Timestamp) -> Result<Maintained, PortError> {
        let mut done = Maintained::default();
        if work == Work::AfterCommits && !self.is_due(path).await? {
            return Ok(done);
        }
        let mut state = match self.reader.state(path).await {
            Ok(state) => state,
            Err(error) if error.kind == PortErrorKind::NotFound => return Ok(done),
            Err(error) => return Err(error),
        };
        let protocol = &state.snapshot.protocol;
        if protocol.min_reader_version > READER_MAX || protocol.min_writer_version > WRITER_MAX {
            let reason = "the table's protocol is newer than what maintenance understands";
            return Err(PortError::new(PortErrorKind::InvalidData, "maintain a table", reason));
        }
        let compacted = self.compact(path, &state, work, now, &mut done).await;
        if done.files_made > 0 {
            state = self.reader.state(path).await?;
        }
        done.version = Some(state.snapshot.version);
        self.write_checkpoint(path, &state, now, &mut done).await?;
        if work == Work::Full {
            self.clean_log(path, now, &mut done).await?;
            self.vacuum(path, &state, now, &mut done).await?;
        }
        compacted?;
        Ok(done)
    }

    /// Whether a checkpoint is due: two requests for a table that needs nothing.
    async fn is_due(&self, path: &str) -> Result<bool, PortError> {
        let hint = self.reader.hint(path).await?.map(|hint| hint.version);
        let listing = self.reader.list(path, hint).await?;
        // A hint that leads nowhere is found out, and made good, by looking closer.
        let (Some(newest), checkpoint) = (listing.newest(), listing.newest_checkpoint()) else {
            return Ok(hint.is_some());
        };
        Ok(hint.is_some() && checkpoint.is_none() || self.checkpoint_is_due(newest, checkpoint))
    }

    fn checkpoint_is_due(&self, newest: u64, checkpoint: Option<u64>) -> bool {
        let commits = checkpoint.map_or(newest + 1, |checkpoint| newest.saturating_sub(checkpoint));
        commits >= self.policy.checkpoint_interval.max(1)
    }

    /// Writes a checkpoint of the state, and the hint at it, if one is due or files were merged.
    async fn write_checkpoint(
        &self,
        path: &str,
        state: &TableState,
        now: Timestamp,
        done: &mut Maintained,
    ) -> Result<(), PortError> {
        let version = state.snapshot.version;
        if state.checkpoint == Some(version)
            || done.files_made == 0 && !self.checkpoint_is_due(version, state.checkpoint)
        {
            return Ok(());
        }
        let written = checkpoint::write(state, self.policy.cut_off(now))?;
        let hint = Hint {
            version,
            size: written.actions,
            size_in_bytes: u64::try_from(written.bytes.len()).ok(),
            num_of_add_files: Some(written.adds),
        };
        // Never over another: a reader may be in the middle of it. One that is there says the same.
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let location = log_file(path, &checkpoint::file_name(version))?;
        match self.store.put_opts(&location, PutPayload::from(written.bytes), options).await {
            Ok(_) => done.checkpoint = Some(version),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
            Err(error) => return Err(port_error("write a checkpoint", error)),
        }
        if self.reader.hint(path).await?.is_some_and(|before| before.version >= version) {
            return Ok(());
        }
        let text = serde_json::to_vec(&hint)
            .map_err(|error| PortError::new(PortErrorKind::InvalidData, "write the hint at a checkpoint", error))?;
        let location = log_file(path, checkpoint::HINT)?;
        self.store
            .put(&location, PutPayload::from(text))
            .await
            .map_err(|error| port_error("write the hint at a checkpoint", error))?;
        Ok(())
    }

    /// Offers a commit behind a version until it is in, or until `stands` says that what was committed meanwhile
    /// leaves no place for it. Returns whether it is in.
    async fn commit_behind(
        &self,
        path: &str,
        version: u64,
        commit: &delivery::ports::Commit,
        stands: impl Fn(&delivery::ports::LoggedCommit) -> compact::Meanwhile + Send,
    ) -> Result<bool, PortError> {
        for next in version + 1..=version + compact::RACES_MAX {
            match crate::log::write_commit(&self.store, path, next, commit).await? {
                WriteOutcome::Written => return Ok(true),
                WriteOutcome::Taken => {}
            }
            let Some(taken) = crate::log::read_commit(&self.store, path, next).await? else { return Ok(false) };
            match stands(&taken) {
                compact::Meanwhile::Unrelated => {}
                compact::Meanwhile::Ours => return Ok(true),
                compact::Meanwhile::InTheWay => return Ok(false),
            }
        }
        Ok(false)
    }
}

/// Whether a table mirrors another, whose layout it takes over: it is not merged on its own.
fn is_mirror(path: &str) -> bool {
    path.ends_with("__LATEST")
}

/// The file name that a path of the log stands for (PROTOCOL.md: a URI-encoded relative path); nothing if the file
/// does not lie in the table's folder itself.
fn file_name(path: &str) -> Option<String> {
    let name = percent_decode_str(path).decode_utf8().ok()?;
    (!name.contains('/') && !name.is_empty()).then(|| name.into_owned())
}

#[cfg(test)]
mod tests;
