//! `PublishRun`: staged runs enter the version table of their schema, each exactly once.

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use delivery::failure::{FailureCode, StepError};
use delivery::ports::{Clock, DeliveryStore, ManifestStore, TableLog, TableStore};
use delivery::prove::schema_digest;
use delivery::publish::{Publishing, publish};
use events::steps::{LoadedTable, PublishInput};
use lambda::{Environment, SettingsError, Subject, SystemClock, Task};
use tables::log::ObjectStoreTableLog;
use tables::manifest::ObjectStoreManifests;

/// The function.
pub struct PublishRun {
    deliveries: Arc<dyn DeliveryStore>,
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
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        Ok(Self {
            deliveries: store.clone(),
            manifests: Arc::new(ObjectStoreManifests::new(bucket.clone())),
            tables: store,
            log: Arc::new(ObjectStoreTableLog::new(bucket)),
            clock: Arc::new(SystemClock),
        })
    }

    fn subject(input: &PublishInput) -> Subject {
        Subject::of_batch(&input.batch())
    }

    async fn handle(&self, input: PublishInput) -> Result<LoadedTable, StepError> {
        let ports = Publishing {
            deliveries: &*self.deliveries,
            manifests: &*self.manifests,
            tables: &*self.tables,
            log: &*self.log,
            clock: &*self.clock,
        };
        let published = publish(ports, &input.batch(), &input.fingerprint, input.staged.origin).await?;
        lambda::log_failed_runs(&published.failed);
        let described = tables::schema::describe(&published.schema_string).map_err(|error| {
            StepError::caused(FailureCode::LoadTableCorrupt, "the schema text of the table cannot be read", error)
        })?;
        Ok(LoadedTable::of(&published, schema_digest(&described.columns)))
    }
}

#[cfg(test)]
mod tests {
    use delivery::connector::{Connector, ConnectorState};
    use delivery::ports::{RunConnectors, RunStore as _};
    use delivery::schema::PublicSchema;
    use delivery::staged::{RejectedRows, StagedFile, StagedRun, staged_file_key};
    use object_store::memory::InMemory;
    use object_store::{ObjectStoreExt as _, PutPayload};
    use serde_json::json;
    use testkit::builders::{PutConnector as _, connector, connector_id, run, run_key};
    use testkit::sharing::ManualClock;
    use testkit::state::InMemoryState;

    use super::*;

    #[tokio::test]
    async fn a_staged_run_goes_in_and_a_loaded_table_comes_out() {
        let (state, bucket) = (Arc::new(InMemoryState::default()), Arc::new(InMemory::new()));
        state.put_connector(&connector("acme", "t")).await.unwrap();
        let run = run(run_key("t", "w-1", "r-1"));
        let _ = state.record_run(&run, &RunConnectors::taking(&[connector_id("acme")]), run.finished_at).await.unwrap();
        let key = staged_file_key(&run.key, 0);
        bucket.put(&key.as_str().into(), PutPayload::from_static(b"parquet")).await.unwrap();
        let schema = PublicSchema::of(&run.fields).unwrap();
        let fingerprint = schema.fingerprint().as_str().to_owned();
        let staged = StagedRun {
            run: run.key.clone(),
            workflow_name: run.workflow_name.clone(),
            finished_at: run.finished_at,
            schema,
            files: vec![StagedFile { key, size_bytes: 7, rows: 3, statistics: "{\"numRecords\":3}".to_owned() }],
            rows: 3,
            rejected: RejectedRows::default(),
        };
        let manifests = ObjectStoreManifests::new(bucket.clone());
        manifests.put(&staged).await.unwrap();
        let function = PublishRun {
            deliveries: state.clone(),
            manifests: Arc::new(manifests),
            tables: state.clone(),
            log: Arc::new(ObjectStoreTableLog::new(bucket.clone())),
            clock: Arc::new(ManualClock::at_seconds(0)),
        };
        let input = json!({
            "connectorId": "acme",
            "run": {"teamId": "t", "workflowId": "w-1", "runId": "r-1"},
            "staged": {"fingerprint": fingerprint, "rows": 3, "rejectedRows": 0, "bytes": 7,
                       "finishedAt": "2026-09-01T00:07:30Z"},
        });
        let columns =
            ["title string", "details struct<z:double,a:array<string>>", "run_id string", "run_finished_at timestamp"];
        let expected = json!({
            "name": "WF_W_1__V1", "schemaVersion": 1, "tableVersion": 0, "label": "W_1", "membership": "unshared",
            "schemaDigest": schema_digest(&columns.map(str::to_owned)), "backend": "open",
            "connectorState": "ready", "connectorRevision": 0, "runs": [{"runId": "r-1", "tableVersion": 0}],
        });
        for _ in 0..2 {
            let output = function.handle(serde_json::from_value(input.clone()).unwrap()).await.unwrap();
            assert_eq!(serde_json::to_value(output).unwrap(), expected);
            // Its rollout is where it was when it was disabled.
            let disabled_in = Some(ConnectorState::Ready);
            let disabled = Connector { state: ConnectorState::Disabled, disabled_in, ..connector("acme", "t") };
            state.put_connector(&disabled).await.unwrap();
        }
        let commit = "connectors/acme/WF_W_1__V1/_delta_log/00000000000000000000.json";
        let commit = bucket.get(&commit.into()).await.unwrap().bytes().await.unwrap();
        let actions: Vec<String> = String::from_utf8(commit.to_vec())
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|action| action.as_object().unwrap().keys().next().unwrap().clone())
            .collect();
        assert_eq!(actions, ["commitInfo", "protocol", "metaData", "txn", "add"]);
    }
}
