//! Lines of JSON, each an action, some at a time: those of a commit, or of a checkpoint in JSON.

use bytes::{Bytes, BytesMut};
use delivery::ports::PortError;
use delivery::timestamp::Timestamp;
use tokio::sync::OwnedSemaphorePermit;

use super::actions::{CommitActions, commit_time, unreadable};
use crate::object::Object;

/// Bytes that are fetched at once of what is not here.
const RANGE_BYTES: u64 = 4 << 20;

/// The largest line: a table's schema, or what is known of a file.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Lines that are actions at once.
const LINES_AT_ONCE: usize = 1_024;

/// The actions of one object, read from its beginning. A few ranges of its text are in memory at a time.
#[derive(Debug)]
pub(crate) struct ActionLines {
    object: Object,
    /// When the object was written: the time of a commit that does not say its own.
    modified: Timestamp,
    /// The time of the actions, as far as it was read.
    timestamp: Timestamp,
    /// What was fetched and not read.
    text: Bytes,
    fetched: u64,
    has_begun: bool,
    /// What keeps others from being fetched ahead while this is in memory.
    _ahead: Option<OwnedSemaphorePermit>,
}

impl ActionLines {
    /// The lines of an object that was written then.
    pub(crate) fn new(object: Object, modified: Timestamp) -> Self {
        let (text, fetched) = (object.first.clone(), object.first.len() as u64);
        Self { object, modified, timestamp: modified, text, fetched, has_begun: false, _ahead: None }
    }

    /// Keeps a permit as long as the lines are here.
    pub(super) fn with(self, ahead: Option<OwnedSemaphorePermit>) -> Self {
        Self { _ahead: ahead, ..self }
    }

    /// The same from the beginning.
    pub(super) fn again(&self) -> Self {
        Self::new(self.object.clone(), self.modified)
    }

    /// When the commit was made, as far as it was read: when the object was written, until it says its own time.
    pub(super) fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// Whether the text is in memory anyway.
    pub(super) fn are_here(&self) -> bool {
        self.object.whole().is_some()
    }

    /// The next actions, perhaps none; `None` at the end, which is not the first. Their time is the one that was said so
    /// far.
    ///
    /// # Errors
    ///
    /// `InvalidData` if they cannot be understood, `NotFound` if the object is gone, else what the store failed with.
    pub(crate) async fn next(&mut self) -> Result<Option<CommitActions>, PortError> {
        let lines = self.next_lines().await?;
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        // An empty object has its actions, too: none.
        let Some(lines) = lines.or_else(|| is_first.then(Bytes::new)) else { return Ok(None) };
        let actions = CommitActions::parse(&lines, self.timestamp)?;
        self.timestamp = actions.timestamp;
        Ok(Some(actions))
    }

    /// All actions that were not read yet, at once.
    ///
    /// # Errors
    ///
    /// As [`ActionLines::next`].
    pub(super) async fn all(mut self) -> Result<CommitActions, PortError> {
        let mut all = CommitActions::at(self.timestamp);
        while let Some(some) = self.next().await? {
            all.join(some);
        }
        all.timestamp = self.timestamp;
        Ok(all)
    }

    /// When the commit was made; reads no other action, and no more than it needs.
    ///
    /// # Errors
    ///
    /// As [`ActionLines::next`].
    pub(super) async fn time(mut self) -> Result<Timestamp, PortError> {
        while let Some(lines) = self.next_lines().await? {
            if let Some(time) = commit_time(&lines)? {
                return Ok(time.unwrap_or(self.modified));
            }
        }
        Ok(self.modified)
    }

    /// Some whole lines.
    async fn next_lines(&mut self) -> Result<Option<Bytes>, PortError> {
        loop {
            let is_all = self.fetched == self.object.size;
            let end = match end_of_lines(&self.text) {
                None if is_all => self.text.len(),
                end => end.unwrap_or_default(),
            };
            if end > 0 {
                return Ok(Some(self.text.split_to(end)));
            }
            if is_all {
                return Ok(None);
            }
            if self.text.len() > LINE_BYTES_MAX {
                return Err(unreadable("a line of it is too long"));
            }
            let until = self.object.size.min(self.fetched + RANGE_BYTES);
            let more = self.object.fetch(self.fetched..until).await?;
            self.fetched = until;
            self.text = if self.text.is_empty() { more } else { joined(&self.text, &more) };
        }
    }
}

/// Where some whole lines end.
fn end_of_lines(text: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', text).take(LINES_AT_ONCE).last().map(|at| at + 1)
}

fn joined(first: &[u8], second: &[u8]) -> Bytes {
    let mut both = BytesMut::with_capacity(first.len() + second.len());
    both.extend_from_slice(first);
    both.extend_from_slice(second);
    both.freeze()
}
