//! What a listing of a log says: which versions there are, and where their replay can begin.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use object_store::ObjectMeta;

use super::Base;
use crate::checkpoint::{self, CheckpointFiles, LogFile};
use crate::object;

/// How many checkpoints are tried before a log is read from its beginning: one that cannot be read is rare enough.
const CHECKPOINTS_TRIED: usize = 3;

/// The files of a log, or of its end.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    commits: BTreeMap<u64, ObjectMeta>,
    /// Parts by version and form.
    checkpoints: BTreeMap<(u64, Form), BTreeMap<u32, ObjectMeta>>,
    /// The sidecars of V2 checkpoints, by name.
    sidecars: Arc<BTreeMap<String, ObjectMeta>>,
}

/// How a checkpoint is named. There may be several of one version; the greatest is tried first, everywhere, because they
/// may say their files in different orders.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// By a UUID: one file.
    Uuid(String),
    /// By the number of its parts.
    Classic(u32),
}

/// A way to read a version.
#[derive(Debug)]
pub(super) struct Plan {
    /// The version that is read.
    pub(super) version: u64,
    /// The complete checkpoint to begin with, and all its parts.
    pub(super) checkpoint: Option<CheckpointFiles>,
    /// The commits that are read.
    pub(super) commits: ListedCommits,
}

/// Commits by version: how much of them is fetched at once depends on their sizes.
pub(super) type ListedCommits = Arc<BTreeMap<u64, ListedCommit>>;

/// A commit, as a listing has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListedCommit {
    /// Bytes.
    pub(super) size: u64,
    /// When it was written.
    pub(super) modified: Timestamp,
}

impl Plan {
    /// The version of the checkpoint.
    pub(super) fn checkpoint(&self) -> Option<u64> {
        self.checkpoint.as_ref().map(|checkpoint| checkpoint.version)
    }

    /// What the order of the files begins with.
    pub(super) fn base(&self) -> Base {
        Base(self.checkpoint())
    }

    /// The commits that are read.
    pub(super) fn versions(&self) -> RangeInclusive<u64> {
        self.checkpoint().map_or(0, |version| version + 1)..=self.version
    }

    /// The text of all commits that are read, in bytes.
    pub(super) fn commit_bytes(&self) -> u64 {
        self.commits.values().map(|commit| commit.size).sum()
    }
}

impl Listing {
    pub(super) fn put(&mut self, meta: ObjectMeta) {
        let folder = meta.location.parts().rev().nth(1);
        let name = meta.location.filename().unwrap_or_default();
        match folder.as_ref().map(AsRef::as_ref) {
            Some("_delta_log") => {}
            Some(checkpoint::SIDECARS) => {
                Arc::make_mut(&mut self.sidecars).insert(name.to_owned(), meta);
                return;
            }
            Some(_) | None => return,
        }
        match LogFile::parse(name) {
            Some(LogFile::Commit(version)) => {
                self.commits.insert(version, meta);
            }
            Some(LogFile::Checkpoint(version)) => {
                self.checkpoints.entry((version, Form::Classic(1))).or_default().insert(1, meta);
            }
            // A single part of one is another name of a single-file checkpoint; the latter has its place already.
            Some(LogFile::Part { version, part, parts }) => {
                self.checkpoints.entry((version, Form::Classic(parts))).or_default().entry(part).or_insert(meta);
            }
            Some(LogFile::V2(version)) => {
                self.checkpoints.entry((version, Form::Uuid(name.to_owned()))).or_default().insert(1, meta);
            }
            None => {}
        }
    }

    /// The newest version that can be read.
    pub(crate) fn newest(&self) -> Option<u64> {
        let commit = self.commits.last_key_value().map(|(version, _)| *version);
        commit.max(self.newest_checkpoint())
    }

    /// The newest complete checkpoint.
    pub(crate) fn newest_checkpoint(&self) -> Option<u64> {
        self.complete(u64::MAX).next().map(|checkpoint| checkpoint.version)
    }

    /// The commits, in order.
    pub(crate) fn commits(&self) -> &BTreeMap<u64, ObjectMeta> {
        &self.commits
    }

    /// What is known of some commits; one whose time cannot be told is left out.
    pub(super) fn listed(&self, versions: Range<u64>) -> ListedCommits {
        let commits = self.commits.range(versions).filter_map(|(version, meta)| {
            Some((*version, ListedCommit { size: meta.size, modified: object::modified(meta).ok()? }))
        });
        Arc::new(commits.collect())
    }

    /// Every file of a checkpoint, complete or not.
    pub(crate) fn checkpoint_files(&self) -> impl Iterator<Item = (u64, &ObjectMeta)> {
        self.checkpoints.iter().flat_map(|((version, _), parts)| parts.values().map(|meta| (*version, meta)))
    }

    /// Complete checkpoints that are not newer than a version, newest first.
    pub(crate) fn complete(&self, until: u64) -> impl Iterator<Item = CheckpointFiles> {
        let checkpoints = self.checkpoints.iter().rev().skip_while(move |((version, _), _)| until < *version);
        let whole = checkpoints.filter(|((_, form), found)| match form {
            Form::Uuid(_) => true,
            Form::Classic(parts) => usize::try_from(*parts).is_ok_and(|parts| parts == found.len()),
        });
        whole.map(|((version, _), found)| CheckpointFiles {
            version: *version,
            parts: found.values().cloned().collect(),
            sidecars: self.sidecars.clone(),
        })
    }

    /// The ways to read a version (the newest, if none is given), the cheapest first; only those from the base, if one
    /// is given.
    pub(super) fn plans(&self, version: Option<u64>, base: Option<Base>) -> Result<Vec<Plan>, PortError> {
        let newest = self.newest().ok_or_else(|| missing("the table has no log"))?;
        let version = version.unwrap_or(newest);
        if version > newest {
            return Err(missing("the table has no such version"));
        }
        let tried = if base.is_some() { usize::MAX } else { CHECKPOINTS_TRIED };
        let begins = self.complete(version).take(tried).map(Some).chain([None]);
        let plans: Vec<_> = begins
            .map(|checkpoint| Plan { version, checkpoint, commits: ListedCommits::default() })
            .filter(|plan| base.is_none_or(|base| plan.base() == base))
            .filter_map(|mut plan| {
                let (first, behind) = (*plan.versions().start(), version + 1);
                plan.commits = self.listed(first..behind);
                (u64::try_from(plan.commits.len()) == Ok(behind - first)).then_some(plan)
            })
            .collect();
        match base {
            Some(_) if plans.is_empty() => Err(missing("what the listing was based on is not kept any more")),
            None if plans.is_empty() => Err(self.unreadable(version)),
            Some(_) | None => Ok(plans),
        }
    }

    /// Why a version cannot be read.
    fn unreadable(&self, version: u64) -> PortError {
        let oldest = self.commits.first_key_value().map_or(0, |(version, _)| *version);
        let whole = self.commits.keys().filter(|found| **found <= version).count();
        let gap = u64::try_from(whole) != Ok((version + 1).saturating_sub(oldest));
        match oldest {
            0 => broken("a version in the middle is missing"),
            // Every checkpoint that could have led there is gone with the commits: the log was cleaned up.
            _ if self.newest_checkpoint().is_some_and(|checkpoint| checkpoint > version) => {
                missing("the version is older than what is kept of the table's log")
            }
            _ if gap => broken("a version in the middle is missing"),
            _ => broken("version 0 is missing, and there is no checkpoint"),
        }
    }
}

pub(super) fn missing(reason: &'static str) -> PortError {
    PortError::new(PortErrorKind::NotFound, "find a version of a table", reason)
}

fn broken(reason: &'static str) -> PortError {
    PortError::new(PortErrorKind::InvalidData, "read a table's log", reason)
}
