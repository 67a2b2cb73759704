//! `RedriveMessages`: a page of a dead-letter queue's messages goes back to the queue that they came from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use aws::sqs::SqsDeadLetterQueue;
use delivery::failure::{FailureCode, StepError};
use delivery::ports::{Clock as _, DeadLetterQueue};
use delivery::redrive::redrive_messages_page;
use events::redrive::{
    DeadLetters, MessagesProgress, MessagesReport, PageDone, RedriveMessagesInput, messages, messages_page,
};
use lambda::{Environment, SettingsError, Subject, SystemClock, Task};

/// The function.
pub struct RedriveMessages {
    queues: BTreeMap<DeadLetters, Arc<dyn DeadLetterQueue>>,
}

impl fmt::Debug for RedriveMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedriveMessages")
    }
}

/// The settings of a queue: its dead-letter queue's URL, and its own.
fn settings(queue: DeadLetters) -> [&'static str; 2] {
    match queue {
        DeadLetters::RunCompleted => ["RUN_COMPLETED_DEAD_LETTER_QUEUE_URL", "RUN_COMPLETED_QUEUE_URL"],
        DeadLetters::Activity => ["ACTIVITY_DEAD_LETTER_QUEUE_URL", "ACTIVITY_QUEUE_URL"],
        DeadLetters::Metadata => ["METADATA_DEAD_LETTER_QUEUE_URL", "METADATA_QUEUE_URL"],
        DeadLetters::Maintenance => ["MAINTENANCE_DEAD_LETTER_QUEUE_URL", "MAINTENANCE_QUEUE_URL"],
    }
}

#[async_trait]
impl Task for RedriveMessages {
    const STEP: &'static str = "RedriveMessages";
    const SETTINGS: &'static [&'static str] = &[
        "RUN_COMPLETED_DEAD_LETTER_QUEUE_URL",
        "RUN_COMPLETED_QUEUE_URL",
        "ACTIVITY_DEAD_LETTER_QUEUE_URL",
        "ACTIVITY_QUEUE_URL",
        "METADATA_DEAD_LETTER_QUEUE_URL",
        "METADATA_QUEUE_URL",
        "MAINTENANCE_DEAD_LETTER_QUEUE_URL",
        "MAINTENANCE_QUEUE_URL",
    ];
    type Input = RedriveMessagesInput;
    type Output = PageDone<MessagesProgress, MessagesReport>;

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let mut queues: BTreeMap<DeadLetters, Arc<dyn DeadLetterQueue>> = BTreeMap::new();
        for queue in DeadLetters::ALL {
            let [dead_letters, source] = settings(queue);
            let (dead_letters, source) = (environment.require(dead_letters)?, environment.require(source)?);
            queues.insert(queue, Arc::new(SqsDeadLetterQueue::new(&config, dead_letters, source)));
        }
        Ok(Self { queues })
    }

    fn subject(_: &RedriveMessagesInput) -> Subject {
        Subject::Unknown
    }

    async fn handle(&self, input: RedriveMessagesInput) -> Result<Self::Output, StepError> {
        let (named, redrive, before) = messages(&input)?;
        let queue = self.queues.get(&named);
        let queue =
            queue.ok_or_else(|| StepError::new(FailureCode::RedriveDenied, "the function has no such queue"))?;
        let (redriven, next) = redrive_messages_page(&**queue, &redrive, before, SystemClock.now()).await?;
        Ok(messages_page(named, &redrive, redriven, next))
    }
}
