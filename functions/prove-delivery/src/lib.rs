//! `ProveDelivery`: a delivered table version, or the probe table of a new share, read back as the recipient would.

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use backends::{Backends, Readers};
use delivery::connector::Backend;
use delivery::failure::StepError;
use delivery::ids::ConnectorId;
use delivery::ports::{Clock, ConnectorStore, DeliveryStore};
use delivery::prove::{Expected, ExpectedRun, Proving, backend_of, prove, prove_probe};
use events::steps::{ConnectorInput, Proof, Published};
use lambda::{Environment, SettingsError, Subject, SystemClock, Task};
use serde::Deserialize;
use sharing::reader::HttpShareReader;

/// The function.
pub struct ProveDelivery {
    deliveries: Arc<dyn DeliveryStore>,
    connectors: Arc<dyn ConnectorStore>,
    readers: Readers,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ProveDelivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProveDelivery")
    }
}

/// What is proven.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Input {
    /// The probe table of a share that is being set up.
    Probe {
        /// The connector.
        probe: ConnectorInput,
    },
    /// Deliveries.
    Deliveries(Box<Published>),
}

#[async_trait]
impl Task for ProveDelivery {
    const STEP: &'static str = "ProveDelivery";
    const SETTINGS: &'static [&'static str] = &["STATE_TABLE_NAME", "SHARING_ENDPOINT", "DATABRICKS"];
    type Input = Input;
    type Output = Proof;

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let endpoint = environment.require("SHARING_ENDPOINT")?;
        let reader = HttpShareReader::new(endpoint, store.clone(), clock.clone()).map_err(|_| {
            SettingsError::Invalid { name: "SHARING_ENDPOINT", expected: "the URL of a sharing server" }
        })?;
        let readers = Backends::assemble(environment, &config, store.clone())?.readers(Arc::new(reader));
        Ok(Self { deliveries: store.clone(), connectors: store, readers, clock })
    }

    fn subject(input: &Input) -> Subject {
        match input {
            Input::Probe { probe } => Subject::Connector(probe.connector_id.clone()),
            Input::Deliveries(published) => Subject::of_batch(&published.batch()),
        }
    }

    async fn handle(&self, input: Input) -> Result<Proof, StepError> {
        let published = match input {
            Input::Probe { probe } => {
                return self.prove_probe(&probe.connector_id).await.map(|()| Proof::default());
            }
            Input::Deliveries(published) => published,
        };
        let reader = self.readers.of(published.table.backend)?;
        let ports = Proving { deliveries: &*self.deliveries, reader, clock: &*self.clock };
        let runs = published.through().into_iter().map(|(run, table_version)| ExpectedRun {
            run: run.run_id.clone(),
            table_version,
            rows: run.rows,
        });
        let expected = Expected {
            table: published.table.name.clone(),
            schema_digest: published.table.schema_digest.clone(),
            runs: runs.collect(),
        };
        let failed = prove(ports, &published.batch(), &expected).await?;
        lambda::log_failed_runs(&failed);
        Ok(Proof { failed: failed.into_iter().map(|failed| failed.run.run).collect() })
    }
}

impl ProveDelivery {
    /// A share that is being set up has no delivery to say its backend: the connector does, if there are two.
    async fn prove_probe(&self, id: &ConnectorId) -> Result<(), StepError> {
        let backend = if self.readers.differ() { backend_of(&*self.connectors, id).await? } else { Backend::Open };
        prove_probe(self.readers.of(backend)?, id).await
    }
}

#[cfg(test)]
mod tests {
    use delivery::ports::SharingBackend as _;
    use delivery::table::TableName;
    use serde_json::json;
    use testkit::builders::{connector, connector_id};
    use testkit::lake::{InMemoryLake, InMemoryShareReader};
    use testkit::sharing::ManualClock;
    use testkit::state::InMemoryState;

    use super::*;

    #[tokio::test]
    async fn a_probe_and_a_delivery_are_told_apart_and_what_is_not_shared_is_not_proven() {
        let state: &'static InMemoryState = Box::leak(Box::default());
        let lake: &'static InMemoryLake = Box::leak(Box::default());
        let acme = connector_id("acme");
        let _ = state.provision(&connector("acme", "t")).await.unwrap();
        let function = ProveDelivery {
            deliveries: Arc::new(InMemoryState::default()),
            connectors: Arc::new(InMemoryState::default()),
            readers: Readers::new(Arc::new(InMemoryShareReader { lake, state }), None),
            clock: Arc::new(ManualClock::at_seconds(0)),
        };
        let probe = || serde_json::from_value(json!({"probe": {"connectorId": "acme"}})).unwrap();
        let error = function.handle(probe()).await.unwrap_err();
        assert_eq!(error.code, delivery::failure::FailureCode::ProofRefused);

        use delivery::ports::{Commit, TableLog as _};
        let commit = Commit {
            schema_string: Some("probe".to_owned()),
            removes: Vec::new(),
            adds: Vec::new(),
            transactions: Vec::new(),
            timestamp: testkit::builders::instant(0),
            operation: "CREATE TABLE",
            change: delivery::ports::DataChange::Rows,
        };
        let _ = lake.write(&acme, &TableName::probe(), 0, &commit).await.unwrap();
        state.add_table(&acme, &TableName::probe()).await.unwrap();
        function.handle(probe()).await.unwrap();

        let delivery = json!({
            "connectorId": "acme",
            "run": {"teamId": "t", "workflowId": "w-1", "runId": "r-1"},
            "staged": {"fingerprint": "f", "rows": 3, "rejectedRows": 0, "bytes": 30,
                       "finishedAt": "2026-09-01T00:07:30Z"},
            "table": {"name": "SPILLWAY_PROBE", "schemaVersion": 1, "tableVersion": 0, "label": "W_1",
                      "membership": "shared", "schemaDigest": delivery::prove::schema_digest(&["probe".to_owned()])},
        });
        let error = function.handle(serde_json::from_value(delivery).unwrap()).await.unwrap_err();
        assert_eq!(error.code, delivery::failure::FailureCode::ProofRowsMismatch, "the run's rows are not there");
    }
}
