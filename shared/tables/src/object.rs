//! An object of a store that is read whole or in ranges, of which the beginning may be here already.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};

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
        Self { store: store.clone(), location: listed.location, size: listed.size, first: Bytes::new() }
    }

    /// Asks for an object, fetches it whole if it is not larger than `whole_max` bytes, and says when it was written;
    /// `None` if it is not there.
    pub(crate) async fn find(
        store: &Arc<dyn ObjectStore>,
        location: Path,
        whole_max: u64,
    ) -> Result<Option<(Self, Timestamp)>, PortError> {
        let found = match store.get(&location).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(port_error(OPERATION, error)),
        };
        let (size, modified) = (found.meta.size, modified(&found.meta)?);
        let first = match size <= whole_max {
            true => found.bytes().await.map_err(|error| port_error(OPERATION, error))?,
            false => Bytes::new(),
        };
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

/// When an object was written.
pub(crate) fn modified(meta: &ObjectMeta) -> Result<Timestamp, PortError> {
    Timestamp::from_millis(meta.last_modified.timestamp_millis())
        .ok_or_else(|| PortError::new(PortErrorKind::InvalidData, OPERATION, "the file's time is out of range"))
}
