//! `PublishActivity`: activity messages in, waiting rows of `ACTIVITY_LOG` out.

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use aws::sqs::{DeadLetters, MetadataQueue};
use delivery::activity::{PublicActivity, Recording, record};
use delivery::failure::StepError;
use delivery::ports::{Clock, MetadataWriterWaker, Outbox, RefusedMessages, RunStore};
use lambda::{Environment, GroupTask, SettingsError, SystemClock};

/// The function.
pub struct PublishActivity {
    runs: Arc<dyn RunStore>,
    outbox: Arc<dyn Outbox>,
    waker: Arc<dyn MetadataWriterWaker>,
    refused: Arc<dyn RefusedMessages>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for PublishActivity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublishActivity")
    }
}

#[async_trait]
impl GroupTask for PublishActivity {
    const STEP: &'static str = "PublishActivity";
    const SETTINGS: &'static [&'static str] =
        &["STATE_TABLE_NAME", "METADATA_QUEUE_URL", "METADATA_BATCH_SECONDS", "REFUSED_MESSAGES_QUEUE_URL"];

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        let seconds =
            environment.require_as("METADATA_BATCH_SECONDS", "a number of seconds", |text| text.parse().ok())?;
        Ok(Self {
            runs: store.clone(),
            outbox: store,
            waker: Arc::new(MetadataQueue::new(&config, environment.require("METADATA_QUEUE_URL")?, seconds)),
            refused: Arc::new(DeadLetters::new(&config, environment.require("REFUSED_MESSAGES_QUEUE_URL")?)),
            clock: Arc::new(SystemClock),
        })
    }

    async fn handle(&self, bodies: &[&str]) -> Vec<Result<(), StepError>> {
        let mut answers: Vec<Result<(), StepError>> = Vec::with_capacity(bodies.len());
        let mut events: Vec<PublicActivity> = Vec::new();
        for body in bodies {
            answers.push(events::activity::parse(body.as_bytes()).map(|event| events.push(event)));
        }
        let recording =
            Recording { runs: &*self.runs, outbox: &*self.outbox, waker: &*self.waker, clock: &*self.clock };
        let recorded = record(recording, &events).await;
        tracing::info!(messages = bodies.len(), events = events.len(), "activity recorded");
        let understood = answers.iter_mut().filter(|answer| answer.is_ok());
        understood.zip(recorded).for_each(|(answer, recorded)| *answer = recorded);
        answers
    }

    fn refused(&self) -> &dyn RefusedMessages {
        &*self.refused
    }
}

#[cfg(test)]
mod tests;
