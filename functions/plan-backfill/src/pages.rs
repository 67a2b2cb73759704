//! The pages of a backfill's plan, its lists of failures and its report, in the tables bucket below `backfills/`.

use std::sync::Arc;

use async_trait::async_trait;
use delivery::backfill::{BackfillFailure, BackfillId};
use delivery::batch::Batch;
use delivery::ids::ConnectorId;
use delivery::ports::{BackfillPages, FailureList, PortError, PortErrorKind};
use events::StoredFormatError;
use events::backfill as stored;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use tables::log::port_error;

const WRITE: &str = "write a page of a backfill";
const READ: &str = "read a page of a backfill";

/// The plans in an object store.
#[derive(Debug)]
pub struct ObjectStorePages {
    store: Arc<dyn ObjectStore>,
}

impl ObjectStorePages {
    /// The plans in a store, such as the tables bucket.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }

    async fn write(&self, key: String, text: Result<String, StoredFormatError>) -> Result<(), PortError> {
        let text = text.map_err(|error| PortError::new(PortErrorKind::InvalidData, WRITE, error))?;
        let written = self.store.put(&Path::from(key), PutPayload::from(text.into_bytes())).await;
        written.map(|_| ()).map_err(|error| port_error(WRITE, error))
    }

    async fn read<T>(&self, key: &Path, read: impl Fn(&[u8]) -> Result<T, StoredFormatError>) -> Result<T, PortError> {
        let found = self.store.get(key).await.map_err(|error| port_error(READ, error))?;
        let bytes = found.bytes().await.map_err(|error| port_error(READ, error))?;
        read(&bytes).map_err(|error| PortError::new(PortErrorKind::InvalidData, READ, error))
    }
}

#[async_trait]
impl BackfillPages for ObjectStorePages {
    async fn write_batches(
        &self,
        connector: &ConnectorId,
        backfill: &BackfillId,
        page: u64,
        batches: &[Batch],
    ) -> Result<(), PortError> {
        self.write(stored::batches_key(connector, backfill, page), stored::write_batches(batches)).await
    }

    async fn batches(
        &self,
        connector: &ConnectorId,
        backfill: &BackfillId,
        page: u64,
    ) -> Result<Vec<Batch>, PortError> {
        self.read(&Path::from(stored::batches_key(connector, backfill, page)), stored::read_batches).await
    }

    async fn write_failures(
        &self,
        connector: &ConnectorId,
        backfill: &BackfillId,
        list: FailureList,
        failures: &[BackfillFailure],
    ) -> Result<(), PortError> {
        self.write(stored::failures_key(connector, backfill, list), stored::write_failures(failures)).await
    }

    async fn failures(
        &self,
        connector: &ConnectorId,
        backfill: &BackfillId,
        max: usize,
    ) -> Result<Vec<BackfillFailure>, PortError> {
        let prefix = Path::from(stored::failures_folder(connector, backfill));
        let mut failures = Vec::new();
        let mut lists = self.store.list(Some(&prefix));
        while let Some(list) = lists.try_next().await.map_err(|error| port_error(READ, error))? {
            failures.extend(self.read(&list.location, stored::read_failures).await?);
            if failures.len() >= max {
                failures.truncate(max);
                break;
            }
        }
        Ok(failures)
    }

    async fn write_report(
        &self,
        connector: &ConnectorId,
        backfill: &BackfillId,
        report: &str,
    ) -> Result<(), PortError> {
        self.write(stored::report_key(connector, backfill), Ok(report.to_owned())).await
    }
}
