//! What an answer is made of, one entry after the other: the files of a version, or the changes of some versions.
//!
//! Holds a few thousand entries at a time, whatever the table's size. Knows where it is, so that a page can end anywhere.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tables::snapshot::{
    AddedFile, ChangeFile, Commit, DeletionVector, File, Metadata, Protocol, RemovedFile, TableView,
};

use super::capabilities::{has_change_data_feed, needed_features};
use super::error::ProtocolError;
use super::predicate::Predicate;
use super::read_token::{ChangePlace, FilePlace, ReadTokens};

/// The commit that an entry belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    /// The table version.
    pub(super) version: u64,
    /// When it was committed.
    pub(super) timestamp: Timestamp,
}

/// One line of an answer, not written yet.
#[derive(Debug)]
pub(super) enum Entry {
    /// A file of the version.
    File(Arc<File>),
    /// A file that a commit added.
    Added(At, AddedFile),
    /// A file that a commit removed.
    Removed(At, RemovedFile),
    /// A file of changed rows.
    Changed(At, ChangeFile),
    /// The protocol from a version on.
    Protocol(u64, Box<Protocol>),
    /// The metadata from a version on.
    Metadata(u64, Box<Metadata>),
}

/// What an entry has to sign and to count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Object<'a> {
    /// The path in the log.
    pub(super) path: &'a str,
    /// The deleted rows' description.
    pub(super) vector: Option<&'a DeletionVector>,
    /// Bytes.
    pub(super) size: u64,
}

impl Entry {
    /// The file that the entry is about.
    pub(super) fn object(&self) -> Option<Object<'_>> {
        Some(match self {
            Self::File(file) => Object { path: &file.path, vector: file.deletion_vector.as_deref(), size: file.size },
            Self::Added(_, add) => Object { path: &add.path, vector: add.deletion_vector.as_deref(), size: add.size },
            Self::Removed(_, remove) => {
                let size = remove.size.unwrap_or_default();
                Object { path: &remove.path, vector: remove.deletion_vector.as_deref(), size }
            }
            Self::Changed(_, change) => Object { path: &change.path, vector: None, size: change.size },
            Self::Protocol(..) | Self::Metadata(..) => return None,
        })
    }
}

/// Where the entries come from.
#[derive(Debug)]
pub(super) enum Source {
    /// The files of a version.
    Files(Files),
    /// The changes of some versions.
    Changes(Changes),
}

impl Source {
    /// The next entry; none at the end, however often.
    pub(super) async fn next(&mut self) -> Result<Option<Entry>, ProtocolError> {
        match self {
            Self::Files(files) => Ok(files.next().await?.map(Entry::File)),
            Self::Changes(changes) => changes.next().await,
        }
    }

    /// The token of the page that begins with the entry that came last.
    pub(super) fn page_token(&self, tokens: &ReadTokens, checksum: &str) -> Result<String, PortError> {
        match self {
            Self::Files(files) => tokens.page(files.place_of_last(), checksum),
            Self::Changes(changes) => tokens.page(changes.place_of_last(), checksum),
        }
    }
}

/// The files of a version.
#[derive(Debug)]
pub(super) struct Files {
    view: TableView,
    read: std::vec::IntoIter<Arc<File>>,
    /// Files of earlier pages.
    skip: u64,
    passed: u64,
    /// Files that cannot match are left out.
    predicate: Option<Predicate>,
    /// Files behind so many rows are left out.
    row_limit: Option<u64>,
    /// Rows in the files so far, as far as statistics tell.
    rows: u64,
    rows_of_last: u64,
}

impl Files {
    /// The files from a place on, or all of them.
    pub(super) fn new(
        view: TableView,
        place: Option<&FilePlace>,
        predicate: Option<Predicate>,
        row_limit: Option<u64>,
    ) -> Self {
        let (skip, rows) = place.map_or((0, 0), |place| (place.passed, place.rows));
        Self { view, read: Vec::new().into_iter(), skip, passed: 0, predicate, row_limit, rows, rows_of_last: 0 }
    }

    async fn next(&mut self) -> Result<Option<Arc<File>>, PortError> {
        if self.row_limit.is_some_and(|limit| self.rows >= limit) {
            return Ok(None);
        }
        loop {
            let Some(file) = self.read.next() else {
                let read = self.view.next_files().await?;
                if read.is_empty() {
                    return Ok(None);
                }
                self.read = read.into_iter();
                continue;
            };
            self.passed += 1;
            let is_new = self.passed > self.skip;
            if is_new && self.predicate.as_ref().is_none_or(|predicate| predicate.may_match(&file)) {
                self.rows_of_last = if self.row_limit.is_some() { rows(&file) } else { 0 };
                self.rows += self.rows_of_last;
                return Ok(Some(file));
            }
        }
    }

    fn place_of_last(&self) -> FilePlace {
        FilePlace {
            version: self.view.version,
            base: self.view.base.0,
            passed: self.passed.saturating_sub(1),
            rows: self.rows - self.rows_of_last,
        }
    }
}

/// The rows of a file that are not deleted; none if its statistics do not tell.
fn rows(file: &File) -> u64 {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Rows {
        num_records: u64,
    }
    let statistics = file.stats.as_deref().unwrap_or_default();
    let rows = serde_json::from_str(statistics).map_or(0, |rows: Rows| rows.num_records);
    let deleted = file.deletion_vector.as_ref().and_then(|vector| u64::try_from(vector.cardinality).ok());
    rows.saturating_sub(deleted.unwrap_or_default())
}

/// What of the commits is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// The change data feed: files of changed rows where a commit has them.
    ChangeDataFeed,
    /// Files that brought or took rows.
    DataChanges,
}

/// Whether what is new besides files is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Historical {
    /// It is.
    Shown,
    /// It is not.
    Hidden,
}

/// What a reading of changes wants.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) shown: Shown,
    pub(super) metadata: Historical,
    pub(super) protocol: Historical,
    /// Reader features that may turn up on the way.
    pub(super) accepted: BTreeSet<String>,
}

/// The changes of some versions.
pub(super) struct Changes {
    commits: BoxStream<'static, Result<Commit, PortError>>,
    place: ChangePlace,
    wish: Wish,
    /// What the table is at the commit that was read last.
    protocol: Arc<Protocol>,
    metadata: Arc<Metadata>,
    queue: VecDeque<Entry>,
    /// Entries of the first commit that earlier pages passed, and that did not come yet.
    skip: u64,
    /// Whether a commit was asked for.
    has_begun: bool,
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Changes {
    /// The changes from a place on. `start` is the table at the first version, `commits` those from the place's on.
    pub(super) fn new(
        commits: BoxStream<'static, Result<Commit, PortError>>,
        place: ChangePlace,
        start: &TableView,
        wish: Wish,
    ) -> Self {
        let (protocol, metadata, skip) = (start.protocol.clone(), start.metadata.clone(), place.passed);
        Self { commits, place, wish, protocol, metadata, queue: VecDeque::new(), skip, has_begun: false }
    }

    async fn next(&mut self) -> Result<Option<Entry>, ProtocolError> {
        loop {
            if let Some(entry) = self.queue.pop_front() {
                self.place.passed += 1;
                return Ok(Some(entry));
            }
            let Some(commit) = self.commits.next().await else { return Ok(None) };
            let is_first = !std::mem::replace(&mut self.has_begun, true);
            let commit = match commit {
                // A clean-up leaves a checkpoint of a version whose commit is gone.
                Err(error) if error.kind == PortErrorKind::NotFound && is_first => {
                    return Err(ProtocolError::not_since(self.place.version + 1));
                }
                other => other?,
            };
            if is_first {
                self.place.passed = self.skip;
            } else if commit.version != self.place.version {
                (self.place.passed, self.skip) = (0, 0);
            }
            self.place.version = commit.version;
            self.check(&commit)?;
            let entries = self.entries(commit)?;
            let passed = entries.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.skip -= passed as u64;
            self.queue = entries.into_iter().skip(passed).collect();
        }
    }

    /// Refuses what the client, or the answer that has begun, cannot go on with.
    fn check(&mut self, commit: &Commit) -> Result<(), ProtocolError> {
        if let Some(protocol) = &commit.protocol {
            self.protocol = Arc::new(protocol.clone());
        }
        if let Some(metadata) = &commit.metadata {
            self.metadata = Arc::new(metadata.clone());
        }
        if commit.protocol.is_none() && commit.metadata.is_none() {
            return Ok(());
        }
        let needed = needed_features(&self.protocol, &self.metadata);
        if !needed.is_subset(&self.wish.accepted) {
            let needed = needed.difference(&self.wish.accepted).cloned().collect::<Vec<_>>().join(", ");
            return Err(ProtocolError::unsupported(format!(
                "Unsupported Delta Table Properties: version {} of the table cannot be read without {needed}. Use a \
                 client that supports it, or begin behind that version.",
                commit.version
            )));
        }
        if self.wish.shown == Shown::ChangeDataFeed && !has_change_data_feed(&self.metadata) {
            return Err(ProtocolError::not_recorded(self.place.start, self.place.end, commit.version));
        }
        Ok(())
    }

    fn entries(&self, commit: Commit) -> Result<Vec<Entry>, ProtocolError> {
        let at = At { version: commit.version, timestamp: commit.timestamp };
        // The table at the first version is in the answer's head.
        let is_new = |wish: Historical| wish == Historical::Shown && at.version > self.place.start;
        let protocol = commit.protocol.filter(|_| is_new(self.wish.protocol));
        let metadata = commit.metadata.filter(|_| is_new(self.wish.metadata));
        let mut entries: Vec<_> = protocol.map(|new| Entry::Protocol(at.version, new.into())).into_iter().collect();
        entries.extend(metadata.map(|new| Entry::Metadata(at.version, new.into())));
        if self.wish.shown == Shown::ChangeDataFeed && commit.has_changes {
            entries.extend(commit.changes.into_iter().map(|change| Entry::Changed(at, change)));
            return Ok(entries);
        }
        let adds = commit.adds.into_iter().filter(|add| add.data_change);
        entries.extend(adds.map(|add| Entry::Added(at, add)));
        let removes = commit.removes.into_iter().filter(|remove| remove.data_change);
        for remove in removes {
            let has_values = remove.partition_values.is_some() || self.metadata.partition_columns.is_empty();
            if remove.size.is_none() || !has_values {
                return Err(ProtocolError::unsupported(format!(
                    "Version {} of the table removes a file, and its log does not say the file's size and partition \
                     values. Read the table's newest version, or the changes behind that version.",
                    at.version
                )));
            }
            entries.push(Entry::Removed(at, remove));
        }
        Ok(entries)
    }

    fn place_of_last(&self) -> ChangePlace {
        ChangePlace { passed: self.place.passed.saturating_sub(1), ..self.place.clone() }
    }
}
