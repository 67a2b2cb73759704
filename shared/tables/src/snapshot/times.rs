//! From times to versions.

use std::ops::RangeInclusive;

use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;

use super::TableReader;
use super::commits::time_of_commit;
use super::listing::{Listing, missing};

/// On which side of a time a version is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The newest version at the time or before it: what the table was then.
    AtOrBefore,
    /// The first version at the time or after it: where the changes since then begin.
    AtOrAfter,
}

/// What was found at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionAt {
    /// The version, and when it was committed.
    Found {
        /// The table version.
        version: u64,
        /// When it was committed.
        timestamp: Timestamp,
    },
    /// Every version that can be read is newer; this is the earliest of them.
    BeforeFirst {
        /// The table version.
        version: u64,
        /// When it was committed.
        timestamp: Timestamp,
    },
    /// Every version is older; this is the newest.
    AfterLast {
        /// The table version.
        version: u64,
        /// When it was committed.
        timestamp: Timestamp,
    },
}

impl TableReader {
    /// The version of the table at `path` at a time. Costs one listing of the log and a request for each halving of its
    /// versions. Commits are taken to be in the order of their times, as the protocol's in-commit timestamps are.
    ///
    /// # Errors
    ///
    /// As [`TableReader::readable`].
    pub async fn version_at(&self, path: &str, at: Timestamp, side: Side) -> Result<VersionAt, PortError> {
        let listing = self.list(path, None).await?;
        let versions = readable(&listing)?;
        let (first, last) = versions.into_inner();
        let timestamp = self.time(path, &listing, first).await?;
        if at < timestamp {
            return Ok(match side {
                Side::AtOrBefore => VersionAt::BeforeFirst { version: first, timestamp },
                Side::AtOrAfter if first == 0 => VersionAt::Found { version: first, timestamp },
                // Versions that are not kept may lie between the time and this one.
                Side::AtOrAfter => VersionAt::BeforeFirst { version: first, timestamp },
            });
        }
        let mut before = (first, timestamp);
        let mut after = (last, self.time(path, &listing, last).await?);
        if after.1 <= at {
            let (version, timestamp) = after;
            return Ok(match side {
                Side::AtOrAfter if timestamp < at => VersionAt::AfterLast { version, timestamp },
                Side::AtOrBefore | Side::AtOrAfter => VersionAt::Found { version, timestamp },
            });
        }
        // `before` is at the time or before it, `after` is after it.
        while after.0 - before.0 > 1 {
            let middle = before.0 + (after.0 - before.0) / 2;
            let timestamp = self.time(path, &listing, middle).await?;
            if timestamp <= at {
                before = (middle, timestamp);
            } else {
                after = (middle, timestamp);
            }
        }
        let (version, timestamp) = match side {
            Side::AtOrAfter if before.1 < at => after,
            Side::AtOrBefore | Side::AtOrAfter => before,
        };
        Ok(VersionAt::Found { version, timestamp })
    }

    /// The oldest version of the table at `path` that can be read whole, and the newest. Every version between them can.
    /// Costs one listing of the log.
    ///
    /// # Errors
    ///
    /// `NotFound` if the table has no log, `InvalidData` if no version can be read, else what the store failed with.
    pub async fn readable(&self, path: &str) -> Result<RangeInclusive<u64>, PortError> {
        readable(&self.list(path, None).await?)
    }

    /// When a version was committed; a version of which only a checkpoint is left has the checkpoint's time.
    async fn time(&self, path: &str, listing: &Listing, version: u64) -> Result<Timestamp, PortError> {
        match time_of_commit(&self.store, path, version).await? {
            Some(time) => Ok(time),
            None => listing
                .complete(version)
                .find(|checkpoint| checkpoint.version == version)
                .and_then(|checkpoint| checkpoint.parts.first().map(|part| part.last_modified.timestamp_millis()))
                .and_then(Timestamp::from_millis)
                .ok_or_else(|| missing("a version of the table's log is not there")),
        }
    }
}

/// The versions that can be read, from what the log holds: commits without a gap to the newest version, behind version 0
/// or a checkpoint.
fn readable(listing: &Listing) -> Result<RangeInclusive<u64>, PortError> {
    let newest = listing.newest().ok_or_else(|| missing("the table has no log"))?;
    let mut first_commit = newest + 1;
    while let Some(before) = first_commit.checked_sub(1)
        && listing.commits().contains_key(&before)
    {
        first_commit = before;
    }
    let oldest = match first_commit {
        0 => Some(0),
        _ => listing
            .complete(newest)
            .map(|checkpoint| checkpoint.version)
            .take_while(|version| first_commit <= version + 1)
            .last(),
    };
    let unreadable = || PortError::new(PortErrorKind::InvalidData, "read a table's log", "no version of it is whole");
    Ok(oldest.ok_or_else(unreadable)?..=newest)
}
