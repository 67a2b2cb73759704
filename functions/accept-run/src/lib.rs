//! `AcceptRun`: run-completed messages in, recorded runs and started executions out.

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use aws::sfn::StepFunctionsStarter;
use aws::sqs::DeadLetters;
use delivery::accept::accept;
use delivery::failure::StepError;
use delivery::ports::{Clock, DeliveryStarter, RefusedMessages, RunStore};
use lambda::{BatchTask, Environment, SettingsError, SystemClock};

/// The function.
pub struct AcceptRun {
    runs: Arc<dyn RunStore>,
    starter: Arc<dyn DeliveryStarter>,
    refused: Arc<dyn RefusedMessages>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for AcceptRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AcceptRun")
    }
}

#[async_trait]
impl BatchTask for AcceptRun {
    const STEP: &'static str = "AcceptRun";
    const SETTINGS: &'static [&'static str] = &["STATE_TABLE_NAME", "DELIVER_RUN_ARN", "REFUSED_MESSAGES_QUEUE_URL"];

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        Ok(Self {
            runs: Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?)),
            starter: Arc::new(StepFunctionsStarter::new(&config, environment.require("DELIVER_RUN_ARN")?)),
            refused: Arc::new(DeadLetters::new(&config, environment.require("REFUSED_MESSAGES_QUEUE_URL")?)),
            clock: Arc::new(SystemClock),
        })
    }

    async fn handle(&self, body: &str) -> Result<(), StepError> {
        let announcement = events::run_completed::parse(body.as_bytes())?;
        let accepted = accept(&*self.runs, &*self.starter, announcement, self.clock.now()).await?;
        tracing::info!(accepted = ?accepted, "message accepted");
        Ok(())
    }

    fn refused(&self) -> &dyn RefusedMessages {
        &*self.refused
    }
}
