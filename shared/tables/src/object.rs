//! An object of a store that is read whole or in ranges, of which the beginning may be here already.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{GetResult, ObjectMeta, ObjectStore, ObjectStoreExt as _};

use crate::log::port_error;

const OPERATION: &str = "read a file of a table's log";

/// An object, and its first bytes: none, some, or all of them.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    store: Arc<dyn ObjectStore>,
    pub(crate) location: Path,
    pub(crate) size: u64,
    pub(crate) first: Bytes,
}

impl Object {
    /// An object of a listing, not asked for yet.
    pub(crate) fn listed(store: &Arc<dyn ObjectStore>, listed: ObjectMeta) -> Self {
        Self::of(store, listed.location, listed.size)
    }

    /// An object of a known size, not asked for yet.
    pub(crate) fn of(store: &Arc<dyn ObjectStore>, location: Path, size: u64) -> Self {
        Self { store: store.clone(), location, size, first: Bytes::new() }
    }

    /// Asks for an object, fetches so many bytes of the beginning, and says when it was written; `None` if it is not there.
    pub(crate) async fn find(
        store: &Arc<dyn ObjectStore>,
        location: Path,
        bytes: u64,
    ) -> Result<Option<(Self, Timestamp)>, PortError> {
        let found = match store.get(&location).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(port_error(OPERATION, error)),
        };
        let (size, modified) = (found.meta.size, modified(&found.meta)?);
        let first = match size <= bytes {
            true => found.bytes().await,
            false => beginning(found, bytes).await,
        };
        let first = first.map_err(|error| port_error(OPERATION, error))?;
        Ok(Some((Self { store: store.clone(), location, size, first }, modified)))
    }

    /// Fetches the whole object.
    pub(crate) async fn load(mut self) -> Result<Self, PortError> {
        let found = self.store.get(&self.location).await.map_err(|error| port_error(OPERATION, error))?;
        self.first = found.bytes().await.map_err(|error| port_error(OPERATION, error))?;
        self.size = self.first.len() as u64;
        Ok(self)
    }

    /// Fetches so many bytes of the beginning, fewer if there are no more.
    pub(crate) async fn begin(mut self, bytes: u64) -> Result<Self, PortError> {
        self.first = self.fetch(0..bytes.min(self.size)).await?;
        Ok(self)
    }

    /// Fetches bytes, all of them or an error.
    pub(crate) async fn fetch(&self, range: Range<u64>) -> Result<Bytes, PortError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let wanted = range.end - range.start;
        let found = self.store.get_range(&self.location, range).await.map_err(|error| port_error(OPERATION, error))?;
        if found.len() as u64 == wanted {
            return Ok(found);
        }
        Err(PortError::new(PortErrorKind::InvalidData, OPERATION, "the file is shorter than it was"))
    }

    /// The object, if all of it is here.
    pub(crate) fn whole(&self) -> Option<&Bytes> {
        (self.first.len() as u64 == self.size).then_some(&self.first)
    }
}

/// So many bytes of what begins to come; the rest is not waited for.
async fn beginning(found: GetResult, bytes: u64) -> object_store::Result<Bytes> {
    let (mut stream, mut first) = (found.into_stream(), BytesMut::new());
    while (first.len() as u64) < bytes
        && let Some(some) = stream.try_next().await?
    {
        first.extend_from_slice(&some);
    }
    first.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
    Ok(first.freeze())
}

/// When an object was written.
pub(crate) fn modified(meta: &ObjectMeta) -> Result<Timestamp, PortError> {
    Timestamp::from_millis(meta.last_modified.timestamp_millis())
        .ok_or_else(|| PortError::new(PortErrorKind::InvalidData, OPERATION, "the file's time is out of range"))
}
