//! `PublishMetadata`: a wake in, the connector's metadata tables written.

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use aws::sqs::{DeadLetters, MaintenanceQueue, MetadataQueue};
use backends::Backends;
use delivery::failure::StepError;
use delivery::metadata_writer::{Writing, drain};
use delivery::ports::{
    Clock, MaintenanceRequests, MetadataFiles, MetadataStore, MetadataWriterWaker, RefusedMessages, SharingBackend,
    TableLog,
};
use lambda::{BatchTask, Environment, SettingsError, SystemClock};
use tables::log::ObjectStoreTableLog;
use tables::metadata::ObjectStoreMetadataFiles;

/// The function.
pub struct PublishMetadata {
    store: Arc<dyn MetadataStore>,
    log: Arc<dyn TableLog>,
    files: Arc<dyn MetadataFiles>,
    backend: Arc<dyn SharingBackend>,
    maintenance: Arc<dyn MaintenanceRequests>,
    waker: Arc<dyn MetadataWriterWaker>,
    refused: Arc<dyn RefusedMessages>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for PublishMetadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublishMetadata")
    }
}

#[async_trait]
impl BatchTask for PublishMetadata {
    const STEP: &'static str = "PublishMetadata";
    const SETTINGS: &'static [&'static str] = &[
        "STATE_TABLE_NAME",
        "TABLES_BUCKET",
        "METADATA_QUEUE_URL",
        "METADATA_BATCH_SECONDS",
        "MAINTENANCE_QUEUE_URL",
        "REFUSED_MESSAGES_QUEUE_URL",
        "DATABRICKS",
    ];

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        let backend = Backends::assemble(environment, &config, store.clone())?.sharing();
        let bucket = Arc::new(
            environment.require_as("TABLES_BUCKET", "the name of a bucket", |name| aws::s3::bucket(name).ok())?,
        );
        let seconds =
            environment.require_as("METADATA_BATCH_SECONDS", "a number of seconds", |text| text.parse().ok())?;
        Ok(Self {
            store,
            log: Arc::new(ObjectStoreTableLog::new(bucket.clone())),
            files: Arc::new(ObjectStoreMetadataFiles::new(bucket)),
            backend,
            maintenance: Arc::new(MaintenanceQueue::new(&config, environment.require("MAINTENANCE_QUEUE_URL")?)),
            waker: Arc::new(MetadataQueue::new(&config, environment.require("METADATA_QUEUE_URL")?, seconds)),
            refused: Arc::new(DeadLetters::new(&config, environment.require("REFUSED_MESSAGES_QUEUE_URL")?)),
            clock: Arc::new(SystemClock),
        })
    }

    async fn handle(&self, body: &str) -> Result<(), StepError> {
        let connector = events::metadata_wake::read(body)?;
        tracing::Span::current().record("connector.id", connector.as_str());
        let writing = Writing {
            store: &*self.store,
            log: &*self.log,
            files: &*self.files,
            backend: &*self.backend,
            maintenance: &*self.maintenance,
            waker: &*self.waker,
            clock: &*self.clock,
        };
        let drained = drain(writing, &connector).await?;
        tracing::info!(
            batches = drained.batches,
            rows = drained.rows,
            replaced = drained.replaced,
            "metadata tables written"
        );
        Ok(())
    }

    fn refused(&self) -> &dyn RefusedMessages {
        &*self.refused
    }
}

#[cfg(test)]
mod tests {
    use delivery::failure::FailureCode;
    use delivery::metadata::{Cell, DeliveredRun, MetadataTable};
    use delivery::ports::{DeliveryStore as _, SharingBackend as _, TableStore as _};
    use delivery::state::Ended;
    use delivery::table::SchemaVersion;
    use testkit::builders::{PutConnector as _, connector, delivery_key, instant, run_key, schema_of};
    use testkit::lake::InMemoryLake;
    use testkit::sharing::ManualClock;
    use testkit::state::InMemoryState;

    use super::*;

    #[tokio::test]
    async fn a_wake_brings_delivered_runs_into_the_tables_once() {
        let (state, lake) = (Arc::new(InMemoryState::default()), Arc::new(InMemoryLake::default()));
        let function = PublishMetadata {
            store: state.clone(),
            log: lake.clone(),
            files: lake.clone(),
            backend: state.clone(),
            maintenance: state.clone(),
            waker: state.clone(),
            refused: state.clone(),
            clock: Arc::new(ManualClock::at_seconds(0)),
        };
        let acme = connector("acme", "t");
        let _ = state.provision(&acme).await.unwrap();
        state.put_connector(&acme).await.unwrap();
        let key = delivery_key(&acme.id, &run_key("t", "w-1", "r-1"));
        let schema = schema_of("title");
        let table = state.open_schema_version(&acme.id, &key.run.workflow, &schema, instant(0)).await.unwrap();
        let delivered = DeliveredRun {
            workflow_name: "Box office".to_owned(),
            fingerprint: schema.fingerprint(),
            schema_version: SchemaVersion(1),
            label: table.label,
            table: table.name,
            table_version: 0,
            rows: 3,
            rejected_rows: 0,
            bytes: 30,
            finished_at: instant(450),
        };
        state.end(&[(key, Ended::Shared(Box::new(delivered)))], instant(500)).await.unwrap();
        for _ in 0..2 {
            function.handle(r#"{"connectorId":"acme"}"#).await.unwrap();
        }
        let text = |text: &str| Cell::Text(text.to_owned());
        assert_eq!(
            lake.metadata_rows(&acme.id, MetadataTable::WorkflowRuns),
            [vec![
                text("r-1"),
                text("w-1"),
                Cell::Integer(1),
                text("WF_W_1__V1"),
                Cell::Integer(0),
                Cell::Integer(3),
                Cell::Integer(0),
                Cell::Timestamp(instant(450)),
                Cell::Timestamp(instant(500)),
            ]]
        );
        assert_eq!(
            lake.metadata_rows(&acme.id, MetadataTable::Workflows),
            [vec![text("w-1"), text("Box office"), Cell::Integer(1), text("WF_W_1__V1"), text("WF_W_1__LATEST")]]
        );
        let error = function.handle("{}").await.unwrap_err();
        assert_eq!(error.code, FailureCode::MessageInvalid);
    }
}
