//! `ProvisionConnector` and `MarkReady`: a connector's record, share and probe table; then the connector takes data.

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use delivery::failure::StepError;
use delivery::ids::ConnectorId;
use delivery::ports::{Clock, ConnectorStore, RunStore, SharingBackend, TableLog};
use delivery::provision::{Provisioning, make_ready, provision};
use events::steps::{ConnectorInput, ConnectorReport};
use lambda::{Environment, SettingsError, Subject, SystemClock, Task};
use serde::Deserialize;
use serde_json::Value;
use tables::log::ObjectStoreTableLog;

/// The function.
pub struct ProvisionConnector {
    connectors: Arc<dyn ConnectorStore>,
    runs: Arc<dyn RunStore>,
    backend: Arc<dyn SharingBackend>,
    log: Arc<dyn TableLog>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ProvisionConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProvisionConnector")
    }
}

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "camelCase")]
pub enum Input {
    /// Make the connector and its share.
    Provision {
        /// The operator's words.
        setup: Value,
    },
    /// The share was read back: the connector takes data.
    Ready(ConnectorInput),
}

#[async_trait]
impl Task for ProvisionConnector {
    const STEP: &'static str = "ProvisionConnector";
    const SETTINGS: &'static [&'static str] = &["STATE_TABLE_NAME", "TABLES_BUCKET"];
    type Input = Input;
    type Output = ConnectorReport;

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        let bucket = Arc::new(
            environment.require_as("TABLES_BUCKET", "the name of a bucket", |name| aws::s3::bucket(name).ok())?,
        );
        Ok(Self {
            connectors: store.clone(),
            runs: store.clone(),
            backend: store,
            log: Arc::new(ObjectStoreTableLog::new(bucket)),
            clock: Arc::new(SystemClock),
        })
    }

    fn subject(input: &Input) -> Subject {
        match input {
            Input::Provision { setup } => setup
                .get("connectorId")
                .and_then(Value::as_str)
                .and_then(|id| ConnectorId::new(id).ok())
                .map_or(Subject::Unknown, Subject::Connector),
            Input::Ready(connector) => Subject::Connector(connector.connector_id.clone()),
        }
    }

    async fn handle(&self, input: Input) -> Result<ConnectorReport, StepError> {
        let ports = Provisioning {
            connectors: &*self.connectors,
            runs: &*self.runs,
            log: &*self.log,
            backend: &*self.backend,
            clock: &*self.clock,
        };
        let connector = match input {
            Input::Provision { setup } => provision(ports, events::setup::connector(&setup, self.clock.now())?).await?,
            Input::Ready(connector) => make_ready(ports, &connector.connector_id).await?,
        };
        Ok(ConnectorReport::of(&connector, connector.state))
    }
}
