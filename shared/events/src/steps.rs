//! What the tasks of the state machines take and give. Properties that are not named here are ignored, so that an
//! execution that began before a deployment still ends.

mod batch;

use delivery::batch::Origin;
use delivery::connector::{Connector, ConnectorState};
use delivery::failure::FailureCode;
use delivery::ids::{ConnectorId, DeliveryKey, RunId, RunKey, TeamId, WorkflowId};
use delivery::state::{FAILURE_CHARS_MAX, Failure, Step};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use crate::text;

pub use batch::*;

/// Input of `RecordOutcome`: what the last step gave, or what a catcher put beside the input of the failed step.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordOutcomeInput {
    /// Runs got through every step.
    Delivered(Box<Published>),
    /// A step failed for good.
    Failed {
        /// The deliveries that fail: a batch's to one connector, or, if nothing could be staged, to all. Those that
        /// failed by themselves before are among them.
        deliveries: Vec<DeliveryKey>,
        /// What the deliveries are made for.
        origin: Origin,
        /// The step that failed.
        step: Step,
        /// The failure; `None` if the function ended without an answer.
        failure: Option<Failure>,
    },
}

/// A step's input, whichever step it was, with what the catcher added.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FailedForm {
    #[serde(with = "text::optional", default)]
    connector_id: Option<ConnectorId>,
    #[serde(with = "text::list", default)]
    connectors: Vec<ConnectorId>,
    failure: CaughtErrors,
}

/// The runs of a batch whose staging is done, as far as a failure needs them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FailedBatchForm {
    #[serde(with = "text::one")]
    team_id: TeamId,
    #[serde(with = "text::one")]
    workflow_id: WorkflowId,
    staged: Staged,
}

/// Errors by the state that they were caught at: each catcher's `ResultPath` is `$.failure.<state>`. One of them is
/// there.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CaughtErrors {
    stage_run: Option<CaughtError>,
    publish_run: Option<CaughtError>,
    share_tables: Option<CaughtError>,
    prove_delivery: Option<CaughtError>,
    promote_latest: Option<CaughtError>,
    record_outcome: Option<CaughtError>,
}

impl CaughtErrors {
    fn newest(self) -> Option<(Step, CaughtError)> {
        [
            // All is done but the record of it.
            (Step::Promoting, self.record_outcome),
            (Step::Promoting, self.promote_latest),
            (Step::Proving, self.prove_delivery),
            (Step::Sharing, self.share_tables),
            (Step::Loading, self.publish_run),
            (Step::Staging, self.stage_run),
        ]
        .into_iter()
        .find_map(|(step, error)| Some((step, error?)))
    }
}

/// What Step Functions puts where a catcher's `ResultPath` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CaughtError {
    /// The error name, such as `Delivery.Rejected` or `States.Timeout`.
    pub error: String,
    /// For a function's error: its JSON as text.
    #[serde(default)]
    pub cause: String,
}

impl CaughtError {
    /// The failure that the function reported; `None` if it ended without an answer.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct FunctionError {
            error_message: String,
        }
        let reported: Option<FunctionError> = serde_json::from_str(&self.cause).ok();
        let (code, message) =
            reported.as_ref().map_or(self.cause.as_str(), |error| error.error_message.as_str()).split_once(": ")?;
        let message = message.chars().take(FAILURE_CHARS_MAX).collect();
        Some(Failure { code: FailureCode::parse(code)?, message })
    }
}

impl<'de> Deserialize<'de> for RecordOutcomeInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if value.get("failure").is_none() {
            let published = Published::deserialize(&value).map_err(decode_error)?;
            return Ok(Self::Delivered(Box::new(published)));
        }
        let failed = FailedForm::deserialize(&value).map_err(decode_error)?;
        let (runs, origin) = failed_runs(&value).map_err(decode_error)?;
        let connectors = failed.connector_id.map_or(failed.connectors, |connector| vec![connector]);
        if connectors.is_empty() {
            return Err(de::Error::missing_field("connectorId"));
        }
        let to = |connector: &ConnectorId, run: &RunKey| DeliveryKey { connector: connector.clone(), run: run.clone() };
        let deliveries =
            connectors.iter().flat_map(|connector| runs.iter().map(move |run| to(connector, run))).collect();
        let (step, error) = failed.failure.newest().ok_or_else(|| de::Error::missing_field("failure"))?;
        Ok(Self::Failed { deliveries, origin, step, failure: error.failure() })
    }
}

/// The runs of a failed step's input, and what they are delivered for: an execution that began before there were
/// batches has its one run under `run`, the input of `StageRun` has them at its top, later inputs under `staged`.
fn failed_runs(value: &Value) -> Result<(Vec<RunKey>, Origin), serde_json::Error> {
    if let Some(run) = value.get("run") {
        return Ok((vec![text::run_key::deserialize(run)?], Origin::Live));
    }
    if value.get("staged").is_none() {
        let input = DeliverRunInput::deserialize(value)?;
        return Ok((input.run_keys(), input.origin));
    }
    let FailedBatchForm { team_id, workflow_id, staged } = FailedBatchForm::deserialize(value)?;
    let key = |run: RunId| RunKey { team: team_id.clone(), workflow: workflow_id.clone(), run };
    Ok((staged.runs.into_iter().map(|run| key(run.run_id)).collect(), staged.origin))
}

fn decode_error<E: de::Error>(error: serde_json::Error) -> E {
    E::custom(error)
}

/// Output of `RecordOutcome`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutcomeRecorded {
    /// How many deliveries are shared.
    pub shared_count: usize,
    /// The connectors that did not get every run.
    #[serde(with = "text::list")]
    pub failed: Vec<ConnectorId>,
    /// The code of the step that failed.
    #[serde(with = "text::optional", default, skip_serializing_if = "Option::is_none")]
    pub code: Option<FailureCode>,
}

/// Input of `Backfill` when the first live delivery of a connector was proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutInput {
    /// The connector.
    #[serde(with = "text::one")]
    pub connector_id: ConnectorId,
    /// That all of its history is delivered, as its set-up says.
    pub rollout: bool,
}

impl RolloutInput {
    /// The rollout of a connector.
    #[must_use]
    pub fn of(connector: &ConnectorId) -> Self {
        Self { connector_id: connector.clone(), rollout: true }
    }
}

/// Input of the tasks of `SetupConnector` behind the first: the first reads an operator's words
/// ([`crate::setup::connector`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorInput {
    /// The connector.
    #[serde(with = "text::one")]
    pub connector_id: ConnectorId,
}

/// Output of the tasks of `SetupConnector`: nothing of the recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorReport {
    /// The connector.
    #[serde(with = "text::one")]
    pub connector_id: ConnectorId,
    /// Its team.
    #[serde(with = "text::one")]
    pub team_id: TeamId,
    /// The share's name.
    pub share_name: String,
    /// `provisioning` or `ready`.
    pub state: String,
}

impl ConnectorReport {
    /// What may be said of a connector, in a state.
    #[must_use]
    pub fn of(connector: &Connector, state: ConnectorState) -> Self {
        Self {
            connector_id: connector.id.clone(),
            team_id: connector.team.clone(),
            share_name: connector.share_name().to_owned(),
            state: state.as_str().to_owned(),
        }
    }
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
