//! A function that reads a queue and handles the messages of a batch together, because they share work.

use std::collections::BTreeMap;

use async_trait::async_trait;
use delivery::failure::StepError;
use delivery::ports::RefusedMessages;
use lambda_runtime::{LambdaEvent, service_fn};
use tracing::Instrument as _;

use crate::batch::{Batch, BatchAnswer, settle};
use crate::deadline::until;
use crate::failure::Reported;
use crate::log::start_logging;
use crate::settings::{Environment, SettingsError};
use crate::task::{guarded, span};

/// A reader of a queue whose event source mapping has `ReportBatchItemFailures`.
#[async_trait]
pub trait GroupTask: Sized + Send + Sync + 'static {
    /// The function's name in logs, such as `PublishActivity`.
    const STEP: &'static str;
    /// Every setting that the function reads. A test compares them with the template.
    const SETTINGS: &'static [&'static str];

    /// Builds the function's clients, once per execution environment.
    ///
    /// # Errors
    ///
    /// Returns [`SettingsError`] if a setting is missing or cannot be used.
    async fn assemble(environment: &Environment) -> Result<Self, SettingsError>;

    /// Handles the messages of a batch and gives an answer for each, in their order. A failure of class `Rejected` is
    /// refused for good; any other returns that message to the queue.
    async fn handle(&self, bodies: &[&str]) -> Vec<Result<(), StepError>>;

    /// Where messages go that will never pass.
    fn refused(&self) -> &dyn RefusedMessages;
}

/// Runs a reader of a queue until the Lambda service ends the process.
///
/// # Errors
///
/// Returns an error if a setting is missing or cannot be used, or if the runtime API is lost.
pub async fn serve_groups<T: GroupTask>() -> Result<(), crate::Error> {
    start_logging();
    let task = T::assemble(&Environment::process(T::SETTINGS)).await?;
    let task = &task;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Batch>| async move {
        Ok::<_, Reported>(until(event.context.deadline(), handle_batch(task, event.payload)).await)
    }))
    .await
}

async fn handle_batch<T: GroupTask>(task: &T, batch: Batch) -> BatchAnswer {
    let bodies: Vec<&str> = batch.records.iter().map(|message| message.body.as_str()).collect();
    let together = guarded(T::STEP, async { Ok(task.handle(&bodies).await) }).instrument(span(T::STEP)).await;
    // A panic has no message: each is handled alone, so that the one that panics does not hold up the others.
    let complete = together.ok().filter(|answers| answers.len() == bodies.len());
    let mut answers: BTreeMap<usize, _> = complete.into_iter().flatten().map(Ok).enumerate().collect();
    let mut failed = Vec::new();
    for (place, message) in batch.records.iter().enumerate() {
        let span = span(T::STEP);
        span.record("sqs.message_id", message.message_id.as_str());
        let work = async {
            let answer = match answers.remove(&place) {
                Some(answer) => answer,
                None => guarded(T::STEP, async { Ok(task.handle(&[&message.body]).await) })
                    .await
                    .and_then(|answers| answers.into_iter().next().ok_or_else(|| Reported::unanswered(T::STEP))),
            };
            match answer? {
                Ok(()) => Ok(()),
                Err(error) => settle(task.refused(), &message.body, &error).await,
            }
        };
        if work.instrument(span).await.is_err() {
            failed.push(message.message_id.clone());
        }
    }
    failed.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use delivery::failure::FailureCode;
    use delivery::ports::PortError;
    use serde_json::json;

    use super::*;
    use crate::log::testing::capture;

    #[derive(Default)]
    struct Record {
        calls: Mutex<Vec<usize>>,
        refused: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl RefusedMessages for Record {
        async fn refuse(&self, body: &str, _: &StepError) -> Result<(), PortError> {
            self.refused.lock().unwrap().push(body.to_owned());
            Ok(())
        }
    }

    #[async_trait]
    impl GroupTask for Record {
        const STEP: &'static str = "PublishActivity";
        const SETTINGS: &'static [&'static str] = &[];

        async fn assemble(_: &Environment) -> Result<Self, SettingsError> {
            Ok(Self::default())
        }

        async fn handle(&self, bodies: &[&str]) -> Vec<Result<(), StepError>> {
            self.calls.lock().unwrap().push(bodies.len());
            let one = |body: &&str| match *body {
                "fine" => Some(Ok(())),
                "late" => Some(Err(StepError::new(FailureCode::ActivityUnavailable, "try again"))),
                "bad" => Some(Err(StepError::new(FailureCode::MessageInvalid, "title is missing"))),
                "panic" => panic!("message body"),
                _ => None,
            };
            bodies.iter().filter_map(one).collect()
        }

        fn refused(&self) -> &dyn RefusedMessages {
            self
        }
    }

    async fn failed(task: &Record, bodies: &[&str]) -> serde_json::Value {
        let record = |(place, body): (usize, &&str)| json!({"messageId": format!("m-{place}"), "body": body});
        let records: Vec<_> = bodies.iter().enumerate().map(record).collect();
        let batch = serde_json::from_value(json!({ "Records": records })).unwrap();
        let answer = serde_json::to_value(handle_batch(task, batch).await).unwrap();
        let failures = answer["batchItemFailures"].as_array().unwrap();
        failures.iter().map(|failure| failure["itemIdentifier"].clone()).collect()
    }

    #[tokio::test]
    async fn a_batch_is_one_call_and_only_what_may_pass_later_goes_back() {
        let captured = capture();
        let task = Record::default();
        assert_eq!(failed(&task, &["fine", "late", "bad", "fine"]).await, json!(["m-1"]));
        assert_eq!(*task.calls.lock().unwrap(), [4]);
        assert_eq!(*task.refused.lock().unwrap(), ["bad"]);
        let lines = captured.take();
        let errors = lines.iter().filter(|line| line["level"] == "ERROR");
        let ids: Vec<_> = errors.map(|line| line["sqs.message_id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["m-1", "m-2"]);
    }

    #[tokio::test]
    async fn a_message_that_panics_holds_nobody_up() {
        let _captured = capture();
        let task = Record::default();
        assert_eq!(failed(&task, &["fine", "panic", "bad", "fine"]).await, json!(["m-1"]));
        assert_eq!(*task.calls.lock().unwrap(), [4, 1, 1, 1, 1]);
        assert_eq!(*task.refused.lock().unwrap(), ["bad"]);
    }

    #[tokio::test]
    async fn a_message_without_an_answer_comes_back() {
        let _captured = capture();
        let task = Record::default();
        assert_eq!(failed(&task, &["late", "silent", "bad"]).await, json!(["m-0", "m-1"]));
        assert_eq!(*task.refused.lock().unwrap(), ["bad"]);
    }
}
