//! Which version of a table is meant, and what a client is told of versions and times that are not there. The messages
//! have the words that official clients' tests look for.

use std::sync::Arc;

use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use tables::snapshot::{Base, Side, TableView, VersionAt};

use super::Server;
use super::access::{Names, OpenTable};
use super::capabilities::CHANGE_DATA_FEED;
use super::error::ProtocolError;
use crate::ports::History;

/// A version and when it was committed.
#[derive(Debug, Clone, Copy)]
struct Edge {
    version: u64,
    timestamp: Timestamp,
}

impl Server {
    /// The table at a version, or at the newest one. A table in the share whose log is not there reads as unknown: it
    /// is listed a moment before its first commit.
    pub(super) async fn view(
        &self,
        table: &OpenTable,
        names: &Names,
        version: Option<u64>,
        base: Option<Base>,
    ) -> Result<TableView, ProtocolError> {
        let mut view = match self.tables.open(&table.shared.path, version, base).await {
            Err(error) if error.kind == PortErrorKind::NotFound && version.is_some() => {
                return Err(self.absent(table, names, version.unwrap_or_default(), base).await);
            }
            other => other.map_err(|error| missing_or(error, names))?,
        };
        if table.shared.history == History::NotShared && view.metadata.configuration.contains_key(CHANGE_DATA_FEED) {
            // What its writers keep of the table's changes is not this recipient's to read.
            Arc::make_mut(&mut view.metadata).configuration.remove(CHANGE_DATA_FEED);
        }
        Ok(view)
    }

    /// Why a version cannot be read.
    async fn absent(&self, table: &OpenTable, names: &Names, asked: u64, base: Option<Base>) -> ProtocolError {
        let (first, last) = match self.tables.readable(&table.shared.path).await {
            Ok(versions) => versions.into_inner(),
            Err(error) => return missing_or(error, names),
        };
        if asked < first {
            ProtocolError::not_since(first)
        } else if asked > last {
            ProtocolError::invalid(format!(
                "Cannot time travel Delta table to version {asked}. Available versions: [{first}, {last}]."
            ))
        } else if base.is_some() {
            ProtocolError::invalid("The page token has expired. Please restart the query.")
        } else {
            PortError::new(PortErrorKind::InvalidData, "open a version of a table", "it is kept and cannot be read")
                .into()
        }
    }

    /// The newest version at a time: what the table was then.
    pub(super) async fn version_as_of(
        &self,
        table: &OpenTable,
        names: &Names,
        at: Timestamp,
    ) -> Result<u64, ProtocolError> {
        check_shared(table, names, u64::MAX)?;
        let found = self.tables.version_at(&table.shared.path, at, Side::AtOrBefore).await;
        match found.map_err(|error| missing_or(error, names))? {
            VersionAt::Found { version, timestamp } if timestamp < at => {
                let newest = self.tables.newest_version(&table.shared.path).await?;
                if newest == Some(version) { Err(too_late(at, Edge { version, timestamp })) } else { Ok(version) }
            }
            VersionAt::Found { version, .. } => Ok(version),
            VersionAt::BeforeFirst { version, timestamp } => Err(too_early(at, Edge { version, timestamp })),
            VersionAt::AfterLast { version, timestamp } => Err(too_late(at, Edge { version, timestamp })),
        }
    }

    /// The first version at a time or after it: where the changes since then begin. `early` is what becomes of a time
    /// before all that is kept.
    pub(super) async fn version_since(
        &self,
        table: &OpenTable,
        names: &Names,
        at: Timestamp,
        early: Early,
    ) -> Result<u64, ProtocolError> {
        check_shared(table, names, u64::MAX)?;
        let found = self.tables.version_at(&table.shared.path, at, Side::AtOrAfter).await;
        match (found.map_err(|error| missing_or(error, names))?, early) {
            (VersionAt::Found { version: 0, timestamp }, Early::Refused) if at < timestamp => {
                Err(too_early(at, Edge { version: 0, timestamp }))
            }
            (VersionAt::Found { version, .. }, _) | (VersionAt::BeforeFirst { version, .. }, Early::First) => {
                Ok(version)
            }
            (VersionAt::BeforeFirst { version, timestamp }, Early::Refused) => {
                Err(too_early(at, Edge { version, timestamp }))
            }
            (VersionAt::AfterLast { version, timestamp }, _) => Err(too_late(at, Edge { version, timestamp })),
        }
    }
}

/// Refuses a version that a request names, if it is not among what the share has of the table's past.
pub(super) fn check_shared(table: &OpenTable, names: &Names, version: u64) -> Result<(), ProtocolError> {
    match table.shared.history {
        History::From(first) if version >= first => Ok(()),
        History::From(first) => Err(ProtocolError::not_since(first)),
        History::NotShared => Err(ProtocolError::invalid(format!(
            "Reading table by version or timestamp is not supported because history sharing is not enabled on table: {}",
            names.dotted()
        ))),
    }
}

/// What a time before everything that can be read comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Early {
    /// The first version.
    First,
    /// An error: changes would be missing.
    Refused,
}

fn too_early(at: Timestamp, first: Edge) -> ProtocolError {
    let Edge { version, timestamp } = first;
    ProtocolError::invalid(format!(
        "The provided timestamp ({at}) is before the earliest available version {version} ({timestamp}). Please use a \
         timestamp greater than or equal to {timestamp}."
    ))
}

fn too_late(at: Timestamp, last: Edge) -> ProtocolError {
    let Edge { version, timestamp } = last;
    ProtocolError::invalid(format!(
        "The provided timestamp ({at}) is after the latest available version {version} ({timestamp}). Please use a \
         timestamp less than or equal to {timestamp}."
    ))
}

/// A table whose log is not there is none.
pub(super) fn missing_or(error: PortError, names: &Names) -> ProtocolError {
    if error.kind == PortErrorKind::NotFound { names.unknown() } else { error.into() }
}
