//! `ShareTables`: a version table is in its connector's share.

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use delivery::failure::StepError;
use delivery::ports::{Clock, DeliveryStore, SharingBackend, TableStore};
use delivery::share::{Sharing, share};
use events::steps::Published;
use lambda::{Environment, SettingsError, Subject, SystemClock, Task};

/// The function.
pub struct ShareTables {
    deliveries: Arc<dyn DeliveryStore>,
    tables: Arc<dyn TableStore>,
    backend: Arc<dyn SharingBackend>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ShareTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShareTables")
    }
}

#[async_trait]
impl Task for ShareTables {
    const STEP: &'static str = "ShareTables";
    const SETTINGS: &'static [&'static str] = &["STATE_TABLE_NAME"];
    type Input = Published;
    type Output = ();

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        Ok(Self { deliveries: store.clone(), tables: store.clone(), backend: store, clock: Arc::new(SystemClock) })
    }

    fn subject(input: &Published) -> Subject {
        Subject::Delivery(input.delivery())
    }

    async fn handle(&self, input: Published) -> Result<(), StepError> {
        let ports = Sharing { deliveries: &*self.deliveries, tables: &*self.tables, backend: &*self.backend };
        let table = &input.table;
        share(ports, &input.delivery(), &table.name, &input.staged.fingerprint, table.membership, self.clock.now())
            .await
    }
}
