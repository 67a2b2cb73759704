//! `RedriveDeliveries`: a page of stopped deliveries is started again.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use aws::sfn::StepFunctionsStarter;
use delivery::failure::StepError;
use delivery::ports::{ConnectorStore, DeliveryRestarter, DeliveryStore, UndeliveredDeliveries};
use delivery::redrive::{Redriving, redrive_page};
use events::redrive::{
    DeliveriesProgress, DeliveriesReport, PageDone, RedriveDeliveriesInput, deliveries, deliveries_page,
};
use lambda::{Environment, SettingsError, Subject, Task};

/// The function.
pub struct RedriveDeliveries {
    connectors: Arc<dyn ConnectorStore>,
    deliveries: Arc<dyn UndeliveredDeliveries>,
    records: Arc<dyn DeliveryStore>,
    restarter: Arc<dyn DeliveryRestarter>,
}

impl fmt::Debug for RedriveDeliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedriveDeliveries")
    }
}

#[async_trait]
impl Task for RedriveDeliveries {
    const STEP: &'static str = "RedriveDeliveries";
    const SETTINGS: &'static [&'static str] = &["STATE_TABLE_NAME", "DELIVER_RUN_ARN"];
    type Input = RedriveDeliveriesInput;
    type Output = PageDone<DeliveriesProgress, DeliveriesReport>;

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        let starter = StepFunctionsStarter::new(&config, environment.require("DELIVER_RUN_ARN")?);
        let (deliveries, records) = (store.clone(), store.clone());
        Ok(Self { connectors: store, deliveries, records, restarter: Arc::new(starter) })
    }

    fn subject(input: &RedriveDeliveriesInput) -> Subject {
        let connector = deliveries(input).ok().and_then(|redrive| redrive.connector);
        connector.map_or(Subject::Unknown, Subject::Connector)
    }

    async fn handle(&self, input: RedriveDeliveriesInput) -> Result<Self::Output, StepError> {
        let redrive = deliveries(&input)?;
        let ports = Redriving {
            connectors: &*self.connectors,
            deliveries: &*self.deliveries,
            records: &*self.records,
            restarter: &*self.restarter,
        };
        let (redriven, next) = redrive_page(ports, &redrive, input.progress.into()).await?;
        Ok(deliveries_page(&redrive, &redriven, next))
    }
}
