//! `ProveDelivery`: a delivered table version, or the probe table of a new share, read back as the recipient would.

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use delivery::failure::StepError;
use delivery::ports::{Clock, DeliveryStore, ShareReader};
use delivery::prove::{Expected, Proving, prove, prove_probe};
use events::steps::{ConnectorInput, Published};
use lambda::{Environment, SettingsError, Subject, SystemClock, Task};
use serde::Deserialize;
use sharing::reader::HttpShareReader;

/// The function.
pub struct ProveDelivery {
    deliveries: Arc<dyn DeliveryStore>,
    reader: Arc<dyn ShareReader>,
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
    /// A delivery.
    Delivery(Box<Published>),
}

#[async_trait]
impl Task for ProveDelivery {
    const STEP: &'static str = "ProveDelivery";
    const SETTINGS: &'static [&'static str] = &["STATE_TABLE_NAME", "SHARING_ENDPOINT"];
    type Input = Input;
    type Output = ();

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let endpoint = environment.require("SHARING_ENDPOINT")?;
        let reader = HttpShareReader::new(endpoint, store.clone(), clock.clone()).map_err(|_| {
            SettingsError::Invalid { name: "SHARING_ENDPOINT", expected: "the URL of a sharing server" }
        })?;
        Ok(Self { deliveries: store, reader: Arc::new(reader), clock })
    }

    fn subject(input: &Input) -> Subject {
        match input {
            Input::Probe { probe } => Subject::Connector(probe.connector_id.clone()),
            Input::Delivery(published) => Subject::Delivery(published.delivery()),
        }
    }

    async fn handle(&self, input: Input) -> Result<(), StepError> {
        let published = match input {
            Input::Probe { probe } => return prove_probe(&*self.reader, &probe.connector_id).await,
            Input::Delivery(published) => published,
        };
        let ports = Proving { deliveries: &*self.deliveries, reader: &*self.reader, clock: &*self.clock };
        let delivery = published.delivery();
        let expected = Expected {
            table: published.table.name,
            table_version: published.table.table_version,
            schema_digest: published.table.schema_digest,
            rows: published.staged.rows,
        };
        prove(ports, &delivery, &expected).await
    }
}
