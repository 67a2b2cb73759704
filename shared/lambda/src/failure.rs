//! A failure on its way out: one log line, and what the Lambda service is told.

use std::error::Error;

use delivery::batch::FailedRun;
use delivery::failure::{RetryClass, StepError};
use lambda_runtime::Diagnostic;

/// A failure that is logged and only has to reach the state machine.
#[derive(PartialEq, Eq)]
pub struct Reported {
    error_type: &'static str,
    error_message: String,
}

impl Reported {
    /// Logs a step's failure, in the only error line of a function, and keeps what the state machine matches.
    pub fn step(error: &StepError) -> Self {
        tracing::error!(
            failure.code = error.code.as_str(),
            failure.phase = error.code.phase().as_str(),
            failure.class = error.code.class().error_type(),
            failure.cause = chain(error),
            "{}",
            error.message
        );
        Self { error_type: error.code.class().error_type(), error_message: error.to_string() }
    }

    /// Logs a mistake of ours that has no code: nobody retries it.
    pub(crate) fn defect(message: String) -> Self {
        let error_type = RetryClass::Defect.error_type();
        tracing::error!(failure.class = error_type, "{message}");
        Self { error_type, error_message: message }
    }

    /// A panic. Its place is logged by the panic hook.
    pub(crate) fn panicked(step: &'static str) -> Self {
        let error_message = format!("{step} panicked; its log has the place");
        Self { error_type: RetryClass::Defect.error_type(), error_message }
    }

    /// A step gave no answer to a message.
    pub(crate) fn unanswered(step: &'static str) -> Self {
        Self::defect(format!("{step} gave no answer to a message"))
    }

    /// What happened, for a caller that is no state machine.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.error_message
    }
}

/// Logs the runs that a step left behind while others of their batch go on: one line each.
pub fn log_failed_runs(failed: &[FailedRun]) {
    for FailedRun { run, error } in failed {
        let span = tracing::info_span!("run", run.id = run.run.as_str(), workflow.id = run.workflow.as_str());
        span.in_scope(|| Reported::step(error));
    }
}

/// The runtime logs the `Debug` text of an error once more; `log` leaves that line out, and this keeps it
/// empty for anybody who does not.
impl std::fmt::Debug for Reported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reported")
    }
}

impl From<Reported> for Diagnostic {
    fn from(reported: Reported) -> Self {
        Self { error_type: reported.error_type.to_owned(), error_message: reported.error_message }
    }
}

/// The causes of an error, outermost first. Adapters keep row values and secrets out of them. An SDK's error says the
/// same at two levels, which is once too often.
fn chain(error: &StepError) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        cause = error.source();
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use delivery::failure::FailureCode;
    use delivery::ports::{PortError, PortErrorKind};

    #[test]
    fn the_state_machine_is_told_the_class_and_the_code() {
        for code in FailureCode::ALL {
            let diagnostic = Diagnostic::from(Reported::step(&StepError::new(*code, "do something")));
            assert_eq!(diagnostic.error_type, code.class().error_type());
            assert_eq!(diagnostic.error_message, format!("{code}: do something"));
            let cause = serde_json::to_string(&diagnostic).unwrap();
            let caught = events::steps::CaughtError { error: diagnostic.error_type, cause };
            assert_eq!(caught.failure().map(|failure| failure.code), Some(*code));
        }
    }

    #[test]
    fn the_chain_names_every_cause_in_order() {
        let cause = PortError::new(PortErrorKind::Unavailable, "read the run's record", "connection refused");
        let error = StepError::caused(FailureCode::StagingUnavailable, "the state table did not answer", cause);
        assert_eq!(chain(&error), "could not read the run's record: connection refused");
        assert_eq!(chain(&StepError::new(FailureCode::StagingUnavailable, "alone")), "");
    }
}
