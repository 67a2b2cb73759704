//! A function that reads a queue: each message stands alone.

use async_trait::async_trait;
use delivery::failure::{RetryClass, StepError};
use delivery::ports::RefusedMessages;
use lambda_runtime::{LambdaEvent, service_fn};
use serde::{Deserialize, Serialize};
use tracing::Instrument as _;

use crate::deadline::until;
use crate::failure::Reported;
use crate::log::start_logging;
use crate::settings::{Environment, SettingsError};
use crate::task::{guarded, span};

/// A reader of a queue whose event source mapping has `ReportBatchItemFailures`.
#[async_trait]
pub trait BatchTask: Sized + Send + Sync + 'static {
    /// The function's name in logs, such as `AcceptRun`.
    const STEP: &'static str;
    /// Every setting that the function reads. A test compares them with the template.
    const SETTINGS: &'static [&'static str];

    /// Builds the function's clients, once per execution environment.
    ///
    /// # Errors
    ///
    /// Returns [`SettingsError`] if a setting is missing or cannot be used.
    async fn assemble(environment: &Environment) -> Result<Self, SettingsError>;

    /// Handles one message. A failure of class `Rejected` is refused for good; any other returns the message to the
    /// queue.
    ///
    /// # Errors
    ///
    /// Returns the step's failure.
    async fn handle(&self, body: &str) -> Result<(), StepError>;

    /// Where messages go that will never pass.
    fn refused(&self) -> &dyn RefusedMessages;
}

/// Runs a reader of a queue until the Lambda service ends the process.
///
/// # Errors
///
/// Returns an error if a setting is missing or cannot be used, or if the runtime API is lost.
pub async fn serve_batch<T: BatchTask>() -> Result<(), crate::Error> {
    start_logging();
    let task = T::assemble(&Environment::process(T::SETTINGS)).await?;
    let task = &task;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Batch>| async move {
        Ok::<_, Reported>(until(event.context.deadline(), handle_batch(task, event.payload)).await)
    }))
    .await
}

/// What Lambda hands to a reader of a queue, as far as it is read here.
#[derive(Debug, Deserialize)]
pub(crate) struct Batch {
    #[serde(rename = "Records")]
    pub(crate) records: Vec<Message>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Message {
    // Without an id there is no saying which message failed: "" makes Lambda redeliver the whole batch.
    #[serde(default)]
    pub(crate) message_id: String,
    #[serde(default)]
    pub(crate) body: String,
}

/// The messages that go back to the queue.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchAnswer {
    batch_item_failures: Vec<ItemFailure>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ItemFailure {
    item_identifier: String,
}

impl FromIterator<String> for BatchAnswer {
    fn from_iter<I: IntoIterator<Item = String>>(message_ids: I) -> Self {
        let failure = |item_identifier| ItemFailure { item_identifier };
        Self { batch_item_failures: message_ids.into_iter().map(failure).collect() }
    }
}

pub(crate) async fn handle_batch<T: BatchTask>(task: &T, batch: Batch) -> BatchAnswer {
    let mut failed = Vec::new();
    for message in batch.records {
        let span = span(T::STEP);
        span.record("sqs.message_id", message.message_id.as_str());
        let work = guarded(T::STEP, handle_message(task, &message.body));
        if work.instrument(span).await.is_err() {
            failed.push(message.message_id);
        }
    }
    failed.into_iter().collect()
}

async fn handle_message<T: BatchTask>(task: &T, body: &str) -> Result<(), Reported> {
    match task.handle(body).await {
        Ok(()) => Ok(()),
        Err(error) => settle(task.refused(), body, &error).await,
    }
}

/// Logs a message's failure. One that will never pass is refused; any other comes back, and so does one that cannot be
/// refused.
pub(crate) async fn settle(refused: &dyn RefusedMessages, body: &str, error: &StepError) -> Result<(), Reported> {
    let reported = Reported::step(error);
    if error.code.class() != RetryClass::Rejected {
        return Err(reported);
    }
    refused.refuse(body, error).await.map_err(|refusal| {
        tracing::warn!(failure.cause = %refusal, "the message could not be refused and goes back to the queue");
        reported
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use delivery::failure::FailureCode;
    use delivery::ports::{PortError, PortErrorKind};
    use serde_json::json;

    use super::*;
    use crate::log::testing::capture;

    #[derive(Default)]
    struct Accept {
        refused: Mutex<Vec<(String, FailureCode)>>,
    }

    #[async_trait]
    impl RefusedMessages for Accept {
        async fn refuse(&self, body: &str, error: &StepError) -> Result<(), PortError> {
            if body == "refused, dead-letter queue away" {
                return Err(PortError::new(PortErrorKind::Unavailable, "send", "away"));
            }
            self.refused.lock().unwrap().push((body.to_owned(), error.code));
            Ok(())
        }
    }

    #[async_trait]
    impl BatchTask for Accept {
        const STEP: &'static str = "AcceptRun";
        const SETTINGS: &'static [&'static str] = &[];

        async fn assemble(_: &Environment) -> Result<Self, SettingsError> {
            Ok(Self::default())
        }

        async fn handle(&self, body: &str) -> Result<(), StepError> {
            match body {
                "fine" => Ok(()),
                "late" => Err(StepError::new(FailureCode::AcceptUnavailable, "try again")),
                "panic" => panic!("message body"),
                _ => Err(StepError::new(FailureCode::MessageInvalid, "runId is missing")),
            }
        }

        fn refused(&self) -> &dyn RefusedMessages {
            self
        }
    }

    fn batch(bodies: &[&str]) -> Batch {
        let records: Vec<_> =
            bodies.iter().map(|body| json!({"messageId": format!("m-{body}"), "body": body})).collect();
        serde_json::from_value(json!({ "Records": records })).unwrap()
    }

    #[tokio::test]
    async fn only_what_may_pass_later_goes_back_to_the_queue() {
        let captured = capture();
        let task = Accept::default();
        let bodies = ["fine", "late", "bad", "panic", "refused, dead-letter queue away", "fine"];
        let answer = handle_batch(&task, batch(&bodies)).await;
        let expected = json!({"batchItemFailures": [
            {"itemIdentifier": "m-late"},
            {"itemIdentifier": "m-panic"},
            {"itemIdentifier": "m-refused, dead-letter queue away"},
        ]});
        assert_eq!(serde_json::to_value(answer).unwrap(), expected);
        assert_eq!(*task.refused.lock().unwrap(), [("bad".to_owned(), FailureCode::MessageInvalid)]);
        let lines = captured.take();
        let errors: Vec<_> = lines.iter().filter(|line| line["level"] == "ERROR").collect();
        let ids: Vec<_> = errors.iter().map(|line| line["sqs.message_id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["m-late", "m-bad", "m-refused, dead-letter queue away"]);
    }

    #[tokio::test]
    async fn a_message_without_an_id_makes_the_whole_batch_come_again() {
        let _captured = capture();
        let batch = serde_json::from_value(json!({"Records": [{"body": "late"}]})).unwrap();
        let answer = handle_batch(&Accept::default(), batch).await;
        assert_eq!(serde_json::to_value(answer).unwrap(), json!({"batchItemFailures": [{"itemIdentifier": ""}]}));
    }
}
