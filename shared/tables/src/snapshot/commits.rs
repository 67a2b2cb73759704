//! Commits one after the other, for readers of changes.

use std::ops::RangeInclusive;

use delivery::ports::PortError;
use delivery::timestamp::Timestamp;
use futures::{Stream, StreamExt as _};

use super::actions::CommitActions;
use super::listing::missing;
use super::reader::{FETCHES_AT_ONCE, fetch};
use super::{AddedFile, ChangeFile, Metadata, Protocol, RemovedFile, TableReader};

/// What one version of a table changed.
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
    /// Files of changed rows: if there is one, they say all that changed.
    pub changes: Vec<ChangeFile>,
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
            changes: actions.changes,
        }
    }
}

impl TableReader {
    /// The commits of these versions of the table at `path`, in order; some are fetched side by side. After an error
    /// there is nothing to rely on.
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
        let (store, path) = (self.store.clone(), path.to_owned());
        let fetches = versions.map(move |version| {
            let (store, path) = (store.clone(), path.clone());
            async move {
                let actions = fetch(&*store, &path, version).await?;
                let actions = actions.ok_or_else(|| missing("a version of the table's log is not there"))?;
                Ok(Commit::of(version, actions))
            }
        });
        futures::stream::iter(fetches).buffered(FETCHES_AT_ONCE)
    }
}
