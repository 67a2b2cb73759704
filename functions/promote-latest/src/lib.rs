//! `PromoteLatest`: `__LATEST` follows a proven version table.

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use delivery::failure::StepError;
use delivery::ports::{Clock, DeliveryStore, SharingBackend, TableLog, TableStore};
use delivery::promote::{Promoting, Proven, promote};
use events::steps::Published;
use lambda::{Environment, SettingsError, Subject, SystemClock, Task};
use tables::log::ObjectStoreTableLog;

/// The function.
pub struct PromoteLatest {
    deliveries: Arc<dyn DeliveryStore>,
    tables: Arc<dyn TableStore>,
    log: Arc<dyn TableLog>,
    backend: Arc<dyn SharingBackend>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for PromoteLatest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PromoteLatest")
    }
}

#[async_trait]
impl Task for PromoteLatest {
    const STEP: &'static str = "PromoteLatest";
    const SETTINGS: &'static [&'static str] = &["STATE_TABLE_NAME", "TABLES_BUCKET"];
    type Input = Published;
    type Output = ();

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        let bucket = Arc::new(
            environment.require_as("TABLES_BUCKET", "the name of a bucket", |name| aws::s3::bucket(name).ok())?,
        );
        Ok(Self {
            deliveries: store.clone(),
            tables: store.clone(),
            log: Arc::new(ObjectStoreTableLog::new(bucket)),
            backend: store,
            clock: Arc::new(SystemClock),
        })
    }

    fn subject(input: &Published) -> Subject {
        Subject::Delivery(input.delivery())
    }

    async fn handle(&self, input: Published) -> Result<(), StepError> {
        let ports = Promoting {
            deliveries: &*self.deliveries,
            tables: &*self.tables,
            log: &*self.log,
            backend: &*self.backend,
            clock: &*self.clock,
        };
        let proven = Proven {
            source: input.table.name.clone(),
            source_version: input.table.table_version,
            finished_at: input.staged.finished_at,
        };
        promote(ports, &input.delivery(), &input.table.label, &proven).await
    }
}
