//! A function that is a task of a state machine: one payload in, one payload out.

use std::panic::AssertUnwindSafe;

use async_trait::async_trait;
use delivery::batch::Batch;
use delivery::failure::StepError;
use delivery::ids::{ConnectorId, DeliveryKey, RunKey, WorkflowId};
use futures::FutureExt as _;
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::deadline::until;
use crate::failure::Reported;
use crate::log::start_logging;
use crate::settings::{Environment, SettingsError};

/// What an invocation is about: goes onto every log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// One run's way to one connector.
    Delivery(DeliveryKey),
    /// Several runs' way to one connector.
    Batch(Batch),
    /// One run.
    Run(RunKey),
    /// Several runs of a workflow.
    Workflow(WorkflowId),
    /// One connector.
    Connector(ConnectorId),
    /// Not known before the input is judged.
    Unknown,
}

impl Subject {
    /// What a batch's invocation is about: its one delivery, or its connector and workflow.
    #[must_use]
    pub fn of_batch(batch: &Batch) -> Self {
        match batch.runs.as_slice() {
            [one] => Self::Delivery(batch.delivery(one)),
            _ => Self::Batch(batch.clone()),
        }
    }

    /// What an invocation for some runs of a workflow is about: the one run, or the workflow.
    #[must_use]
    pub fn of_runs(runs: &[RunKey]) -> Self {
        match runs {
            [one] => Self::Run(one.clone()),
            [first, ..] => Self::Workflow(first.workflow.clone()),
            [] => Self::Unknown,
        }
    }
}

/// One task of a state machine.
#[async_trait]
pub trait Task: Sized + Send + Sync + 'static {
    /// The state's name, such as `StageRun`.
    const STEP: &'static str;
    /// Every setting that the function reads. A test compares them with the template.
    const SETTINGS: &'static [&'static str];
    /// What the state machine hands in.
    type Input: DeserializeOwned + Send;
    /// What the state machine gets.
    type Output: Serialize;

    /// Builds the function's clients, once per execution environment.
    ///
    /// # Errors
    ///
    /// Returns [`SettingsError`] if a setting is missing or cannot be used.
    async fn assemble(environment: &Environment) -> Result<Self, SettingsError>;

    /// What an input is about.
    fn subject(input: &Self::Input) -> Subject;

    /// Decodes, calls one step, encodes.
    ///
    /// # Errors
    ///
    /// Returns the step's failure.
    async fn handle(&self, input: Self::Input) -> Result<Self::Output, StepError>;
}

/// Runs a task until the Lambda service ends the process.
///
/// # Errors
///
/// Returns an error if a setting is missing or cannot be used, or if the runtime API is lost.
pub async fn serve<T: Task>() -> Result<(), crate::Error> {
    start_logging();
    let task = T::assemble(&Environment::process(T::SETTINGS)).await?;
    let task = &task;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
        until(event.context.deadline(), invoke(task, event.payload))
    }))
    .await
}

/// One invocation: its only error line is written on the way.
pub(crate) async fn invoke<T: Task>(task: &T, payload: Value) -> Result<Value, Reported> {
    let span = span(T::STEP);
    let work = async {
        let input: T::Input = serde_json::from_value(payload).map_err(|error| {
            let reason = events::decode_reason(&error);
            Reported::defect(format!("the input is not what {} takes: {reason}", T::STEP))
        })?;
        describe(&Span::current(), &T::subject(&input));
        let output = task.handle(input).await.map_err(|error| Reported::step(&error))?;
        let output = serde_json::to_value(output).map_err(|error| {
            Reported::defect(format!("the output of {} is not JSON: {}", T::STEP, events::decode_reason(&error)))
        })?;
        tracing::info!("task done");
        Ok(output)
    };
    guarded(T::STEP, work).instrument(span).await
}

/// Makes a panic a defect. The panic hook has logged its place.
pub(crate) async fn guarded<T>(
    step: &'static str,
    work: impl Future<Output = Result<T, Reported>>,
) -> Result<T, Reported> {
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    outcome.unwrap_or_else(|_panic| Err(Reported::panicked(step)))
}

/// The span of one invocation.
pub(crate) fn span(step: &'static str) -> Span {
    tracing::info_span!(
        "task",
        step,
        delivery.id = Empty,
        connector.id = Empty,
        workflow.id = Empty,
        run.id = Empty,
        sqs.message_id = Empty
    )
}

/// Notes what the invocation is about.
pub(crate) fn describe(span: &Span, subject: &Subject) {
    let run = |run: &RunKey| {
        span.record("workflow.id", run.workflow.as_str());
        span.record("run.id", run.run.as_str());
    };
    match subject {
        Subject::Delivery(delivery) => {
            span.record("delivery.id", delivery.to_string());
            span.record("connector.id", delivery.connector.as_str());
            run(&delivery.run);
        }
        Subject::Batch(batch) => {
            span.record("connector.id", batch.connector.as_str());
            span.record("workflow.id", batch.workflow.as_str());
        }
        Subject::Run(key) => run(key),
        Subject::Workflow(workflow) => {
            span.record("workflow.id", workflow.as_str());
        }
        Subject::Connector(connector) => {
            span.record("connector.id", connector.as_str());
        }
        Subject::Unknown => {}
    }
}

#[cfg(test)]
mod tests {
    use delivery::failure::FailureCode;
    use events::steps::{ConnectorInput, PublishInput};
    use lambda_runtime::Diagnostic;
    use serde_json::json;

    use super::*;
    use crate::log::testing::capture;

    struct Publish;

    #[async_trait]
    impl Task for Publish {
        const STEP: &'static str = "PublishRun";
        const SETTINGS: &'static [&'static str] = &[];
        type Input = PublishInput;
        type Output = ConnectorInput;

        async fn assemble(_: &Environment) -> Result<Self, SettingsError> {
            Ok(Self)
        }

        fn subject(input: &PublishInput) -> Subject {
            Subject::of_batch(&input.batch())
        }

        async fn handle(&self, input: PublishInput) -> Result<ConnectorInput, StepError> {
            match input.staged.runs[0].rows {
                0 => Err(StepError::new(FailureCode::LoadConflict, "others were first; nothing to do")),
                1 => panic!("row value"),
                _ => Ok(ConnectorInput { connector_id: input.connector_id }),
            }
        }
    }

    fn payload(rows: u64) -> Value {
        let at = "2026-09-01T06:07:30Z";
        json!({
            "connectorId": "acme-token",
            "run": {"teamId": "t", "workflowId": "w-1", "runId": "r-1"},
            "staged": {"fingerprint": "f", "rows": rows, "rejectedRows": 0, "bytes": 1, "finishedAt": at},
        })
    }

    #[tokio::test]
    async fn an_output_is_encoded_and_its_line_says_what_it_is_about() {
        let captured = capture();
        assert_eq!(invoke(&Publish, payload(2)).await, Ok(json!({"connectorId": "acme-token"})));
        let lines = captured.take();
        assert_eq!(lines.len(), 1);
        for (field, value) in [
            ("step", "PublishRun"),
            ("delivery.id", "acme-token/w-1/r-1"),
            ("connector.id", "acme-token"),
            ("workflow.id", "w-1"),
            ("run.id", "r-1"),
            ("level", "INFO"),
        ] {
            assert_eq!(lines[0][field], value, "{field}");
        }
    }

    #[tokio::test]
    async fn a_failure_is_one_line_with_its_code() {
        let captured = capture();
        let diagnostic = Diagnostic::from(invoke(&Publish, payload(0)).await.unwrap_err());
        assert_eq!(diagnostic.error_type, "Delivery.Conflict");
        assert_eq!(diagnostic.error_message, "LOAD_CONFLICT: others were first; nothing to do");
        let lines = captured.take();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["failure.code"], "LOAD_CONFLICT");
        assert_eq!(lines[0]["failure.phase"], "load");
        assert_eq!(lines[0]["delivery.id"], "acme-token/w-1/r-1");
        assert_eq!(lines[0]["level"], "ERROR");
    }

    #[tokio::test]
    async fn an_input_that_cannot_be_decoded_is_a_defect_that_quotes_nothing() {
        let captured = capture();
        let mut input = payload(2);
        input["staged"]["rows"] = json!("secret");
        let diagnostic = Diagnostic::from(invoke(&Publish, input).await.unwrap_err());
        assert_eq!(diagnostic.error_type, "Delivery.Defect");
        let expected = "the input is not what PublishRun takes: a property has the wrong type or value";
        assert_eq!(diagnostic.error_message, expected);
        assert_eq!(captured.take().len(), 1);
    }

    #[tokio::test]
    async fn a_panic_is_a_defect_and_its_text_stays_inside() {
        let _captured = capture();
        let diagnostic = Diagnostic::from(invoke(&Publish, payload(1)).await.unwrap_err());
        assert_eq!(diagnostic.error_type, "Delivery.Defect");
        assert!(diagnostic.error_message.starts_with("PublishRun panicked"));
        assert!(!diagnostic.error_message.contains("row value"));
    }
}
