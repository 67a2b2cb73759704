//! `PublishRun`: a staged run enters the version table of its schema, exactly once.

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use delivery::failure::{FailureCode, StepError};
use delivery::ports::{Clock, ManifestStore, TableLog, TableStore};
use delivery::prove::schema_digest;
use delivery::publish::{Publishing, publish};
use events::steps::{LoadedTable, PublishInput};
use lambda::{Environment, SettingsError, Subject, SystemClock, Task};
use tables::log::ObjectStoreTableLog;
use tables::manifest::ObjectStoreManifests;

/// The function.
pub struct PublishRun {
    manifests: Arc<dyn ManifestStore>,
    tables: Arc<dyn TableStore>,
    log: Arc<dyn TableLog>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for PublishRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublishRun")
    }
}

#[async_trait]
impl Task for PublishRun {
    const STEP: &'static str = "PublishRun";
    const SETTINGS: &'static [&'static str] = &["STATE_TABLE_NAME", "TABLES_BUCKET"];
    type Input = PublishInput;
    type Output = LoadedTable;

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let bucket = Arc::new(
            environment.require_as("TABLES_BUCKET", "the name of a bucket", |name| aws::s3::bucket(name).ok())?,
        );
        Ok(Self {
            manifests: Arc::new(ObjectStoreManifests::new(bucket.clone())),
            tables: Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?)),
            log: Arc::new(ObjectStoreTableLog::new(bucket)),
            clock: Arc::new(SystemClock),
        })
    }

    fn subject(input: &PublishInput) -> Subject {
        Subject::Delivery(input.delivery())
    }

    async fn handle(&self, input: PublishInput) -> Result<LoadedTable, StepError> {
        let ports =
            Publishing { manifests: &*self.manifests, tables: &*self.tables, log: &*self.log, clock: &*self.clock };
        let published = publish(ports, &input.delivery(), &input.staged.fingerprint).await?;
        let described = tables::schema::describe(&published.schema_string).map_err(|error| {
            StepError::caused(FailureCode::LoadTableCorrupt, "the schema text of the table cannot be read", error)
        })?;
        Ok(LoadedTable::of(&published.table, published.table_version, schema_digest(&described.columns)))
    }
}
