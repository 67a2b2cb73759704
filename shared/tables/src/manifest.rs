//! Staging manifests in an object store.

use std::sync::Arc;

use async_trait::async_trait;
use delivery::ids::RunKey;
use delivery::ports::{ManifestStore, PortError, PortErrorKind};
use delivery::staged::{StagedRun, manifest_key};
use futures::StreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::log::port_error;

/// Manifests under way at once: each may name many files.
const READS_AT_ONCE: usize = 8;

/// The manifests of one store.
#[derive(Debug)]
pub struct ObjectStoreManifests {
    store: Arc<dyn ObjectStore>,
}

impl ObjectStoreManifests {
    /// The manifests of a store, such as the tables bucket.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }

    /// Writes a run's manifest: from now on it is staged whole.
    ///
    /// # Errors
    ///
    /// Returns [`PortError`] if the store did not take it.
    pub async fn put(&self, staged: &StagedRun) -> Result<(), PortError> {
        let text = events::manifest::write(staged)
            .map_err(|error| PortError::new(PortErrorKind::InvalidData, "write a manifest", error))?;
        self.store
            .put(&Path::from(manifest_key(&staged.run)), PutPayload::from(text.into_bytes()))
            .await
            .map_err(|error| port_error("write a manifest", error))?;
        Ok(())
    }
}

#[async_trait]
impl ManifestStore for ObjectStoreManifests {
    async fn staged(&self, run: &RunKey) -> Result<Option<StagedRun>, PortError> {
        let found = match self.store.get(&Path::from(manifest_key(run))).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(port_error("read a manifest", error)),
        };
        let bytes = found.bytes().await.map_err(|error| port_error("read a manifest", error))?;
        events::manifest::read(&bytes)
            .map(Some)
            .map_err(|error| PortError::new(PortErrorKind::InvalidData, "read a manifest", error))
    }

    async fn staged_each(&self, runs: &[RunKey]) -> Vec<Result<Option<StagedRun>, PortError>> {
        let reads = runs.iter().map(|run| self.staged(run));
        futures::stream::iter(reads.collect::<Vec<_>>()).buffered(READS_AT_ONCE).collect().await
    }
}
