//! `PromoteLatest`: `__LATEST` follows a proven version table.

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use backends::Backends;
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
    const SETTINGS: &'static [&'static str] = &["STATE_TABLE_NAME", "TABLES_BUCKET", "DATABRICKS"];
    type Input = Published;
    type Output = ();

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        let backend = Backends::assemble(environment, &config, store.clone())?.sharing();
        let bucket = Arc::new(
            environment.require_as("TABLES_BUCKET", "the name of a bucket", |name| aws::s3::bucket(name).ok())?,
        );
        Ok(Self {
            deliveries: store.clone(),
            tables: store,
            log: Arc::new(ObjectStoreTableLog::new(bucket)),
            backend,
            clock: Arc::new(SystemClock),
        })
    }

    fn subject(input: &Published) -> Subject {
        Subject::of_batch(&input.batch())
    }

    async fn handle(&self, input: Published) -> Result<(), StepError> {
        let ports = Promoting {
            deliveries: &*self.deliveries,
            tables: &*self.tables,
            log: &*self.log,
            backend: &*self.backend,
            clock: &*self.clock,
        };
        let through = input.through();
        let newest = through.iter().map(|(run, table_version)| (run.finished_at, *table_version));
        let newest = newest.reduce(|(at, version), (other, of_other)| (at.max(other), version.max(of_other)));
        // A batch without runs ends before this step.
        let Some((finished_at, source_version)) = newest else { return Ok(()) };
        let proven = Proven { source: input.table.name.clone(), source_version, finished_at };
        promote(ports, &input.batch(), &input.table.label, &proven).await
    }
}

#[cfg(test)]
mod tests {
    use delivery::ports::{Commit, DataChange, DataFile, WriteOutcome};
    use delivery::schema::{Column, ColumnType, PublicSchema};
    use delivery::staged::StagedFile;
    use serde_json::json;
    use testkit::builders::{connector, connector_id, instant};
    use testkit::lake::InMemoryLake;
    use testkit::sharing::ManualClock;
    use testkit::state::InMemoryState;

    use super::*;

    fn input() -> Published {
        serde_json::from_value(json!({
            "connectorId": "acme",
            "run": {"teamId": "t", "workflowId": "w-1", "runId": "r-1"},
            "staged": {"fingerprint": "f", "rows": 3, "rejectedRows": 0, "bytes": 30,
                       "finishedAt": "2026-09-01T00:07:30Z"},
            "table": {"name": "WF_W_1__V1", "schemaVersion": 1, "tableVersion": 0, "label": "W_1",
                      "membership": "unshared", "schemaDigest": "d"},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_proven_table_goes_in_and_latest_holds_its_files() {
        let (state, lake) = (Arc::new(InMemoryState::default()), Arc::new(InMemoryLake::default()));
        let _ = state.provision(&connector("acme", "t")).await.unwrap();
        let (acme, source) = (connector_id("acme"), input().table.name);
        let staged = StagedFile { key: "s".to_owned(), size_bytes: 30, rows: 3, statistics: "3 r-1".to_owned() };
        lake.put_staged(&staged.key);
        lake.copy_staged(&staged, &acme, &source, "r-1-00000.parquet").await.unwrap();
        let column = Column {
            source: "a".to_owned(),
            name: "a".to_owned(),
            column_type: ColumnType::String,
            source_type: "STRING".to_owned(),
            key: false,
            description: None,
        };
        let file =
            DataFile { name: "r-1-00000.parquet".to_owned(), size_bytes: 30, statistics: staged.statistics.clone() };
        let commit = Commit {
            schema_string: Some(lake.schema_string(&PublicSchema::from_columns(vec![column]))),
            removes: Vec::new(),
            adds: vec![file.clone()],
            transactions: vec![("run/r-1".to_owned(), 1)],
            timestamp: instant(0),
            operation: "WRITE",
            change: DataChange::Rows,
        };
        assert_eq!(lake.write(&acme, &source, 0, &commit).await.unwrap(), WriteOutcome::Written);
        let function = PromoteLatest {
            deliveries: state.clone(),
            tables: state.clone(),
            log: lake.clone(),
            backend: state.clone(),
            clock: Arc::new(ManualClock::at_seconds(0)),
        };
        let latest = delivery::table::TableName::latest(&input().table.label);
        for _ in 0..2 {
            function.handle(input()).await.unwrap();
            assert_eq!(lake.contents(&acme, &latest, 0).await.unwrap().files, std::slice::from_ref(&file));
            assert_eq!(lake.commit_count(&acme, &latest), 1);
        }
        assert_eq!(state.shared_tables(&acme), [latest]);
    }
}
