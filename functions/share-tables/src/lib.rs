//! `ShareTables`: a version table is in its connector's share.

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use backends::Backends;
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
    const SETTINGS: &'static [&'static str] = &["STATE_TABLE_NAME", "DATABRICKS"];
    type Input = Published;
    type Output = ();

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        let backend = Backends::assemble(environment, &config, store.clone())?.sharing();
        Ok(Self { deliveries: store.clone(), tables: store, backend, clock: Arc::new(SystemClock) })
    }

    fn subject(input: &Published) -> Subject {
        Subject::of_batch(&input.batch())
    }

    async fn handle(&self, input: Published) -> Result<(), StepError> {
        let ports = Sharing { deliveries: &*self.deliveries, tables: &*self.tables, backend: &*self.backend };
        let table = &input.table;
        let (batch, now) = (input.batch(), self.clock.now());
        share(ports, &batch, &table.name, &input.input.fingerprint, table.membership, now).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use testkit::builders::{connector, connector_id, run_key, schema_of};
    use testkit::sharing::ManualClock;
    use testkit::state::InMemoryState;

    use super::*;

    fn input() -> Published {
        serde_json::from_value(json!({
            "connectorId": "acme",
            "run": {"teamId": "t", "workflowId": "w-1", "runId": "r-1"},
            "staged": {"fingerprint": schema_of("name").fingerprint().as_str(), "rows": 3, "rejectedRows": 0, "bytes": 30,
                       "finishedAt": "2026-09-01T00:07:30Z"},
            "table": {"name": "WF_W_1__V1", "schemaVersion": 1, "tableVersion": 0, "label": "W_1",
                      "membership": "unshared", "schemaDigest": "d"},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_loaded_table_is_shared_and_a_shared_one_costs_one_call() {
        let state = Arc::new(InMemoryState::default());
        let _ = state.provision(&connector("acme", "t")).await.unwrap();
        let now = testkit::builders::instant(0);
        let run = run_key("t", "w-1", "r-1");
        let schema = schema_of("name");
        let opened = state.open_schema_version(&connector_id("acme"), &run.workflow, &schema, now).await.unwrap();
        let function = ShareTables {
            deliveries: state.clone(),
            tables: state.clone(),
            backend: state.clone(),
            clock: Arc::new(ManualClock::at_seconds(0)),
        };
        function.handle(input()).await.unwrap();
        assert_eq!(state.shared_tables(&connector_id("acme")), [opened.name]);
        let before = state.faults.calls().len();
        let mut known = input();
        known.table.membership = delivery::table::Membership::Shared;
        function.handle(known).await.unwrap();
        assert_eq!(state.faults.calls().len() - before, 1);
    }
}
