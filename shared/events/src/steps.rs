//! What the tasks of the state machines take and give. Properties that are not named here are ignored, so that an
//! execution that began before a deployment still ends.

use delivery::connector::{Connector, ConnectorState};
use delivery::failure::FailureCode;
use delivery::ids::{ConnectorId, DeliveryKey, RunKey, TeamId};
use delivery::metadata::DeliveredRun;
use delivery::schema::Fingerprint;
use delivery::staged::StagedRun;
use delivery::state::{DeliveryState, Failure, Step};
use delivery::table::{Membership, SchemaVersion, TableName, VersionTable, WorkflowLabel};
use delivery::timestamp::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use crate::text;

/// The longest failure text that is kept, in characters.
pub const FAILURE_CHARS_MAX: usize = 1_000;

/// The longest workflow name that is passed on, in characters.
pub const WORKFLOW_NAME_CHARS_MAX: usize = 1_000;

/// Input of `DeliverRun`, and of its first task, `StageRun`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliverRunInput {
    /// The run: `teamId`, `workflowId`, `runId`.
    #[serde(flatten, with = "text::run_key")]
    pub run: RunKey,
    /// The connectors in scope.
    #[serde(with = "text::list")]
    pub connectors: Vec<ConnectorId>,
}

/// Output of `StageRun`: what was staged, in short; the manifest has it whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Staged {
    /// The workflow's name as of the run. Executions that began before it was passed on have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_name: Option<String>,
    /// The fingerprint of the public schema.
    #[serde(with = "text::one")]
    pub fingerprint: Fingerprint,
    /// Rows in the staged files.
    pub rows: u64,
    /// Rows that were not staged.
    pub rejected_rows: u64,
    /// Bytes of the staged files.
    pub bytes: u64,
    /// When the run finished.
    #[serde(with = "text::one")]
    pub finished_at: Timestamp,
}

impl Staged {
    /// A manifest in short.
    #[must_use]
    pub fn of(staged: &StagedRun) -> Self {
        Self {
            workflow_name: Some(staged.workflow_name.chars().take(WORKFLOW_NAME_CHARS_MAX).collect()),
            fingerprint: staged.schema.fingerprint(),
            rows: staged.rows,
            rejected_rows: staged.rejected.rows,
            bytes: staged.bytes(),
            finished_at: staged.finished_at,
        }
    }
}

/// Input of `PublishRun`: one element of the map over connectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishInput {
    /// The connector.
    #[serde(with = "text::one")]
    pub connector_id: ConnectorId,
    /// The run.
    #[serde(with = "text::run_key")]
    pub run: RunKey,
    /// What was staged.
    pub staged: Staged,
}

impl PublishInput {
    /// The delivery.
    #[must_use]
    pub fn delivery(&self) -> DeliveryKey {
        DeliveryKey { connector: self.connector_id.clone(), run: self.run.clone() }
    }
}

/// Input of `ShareTables`, `ProveDelivery` and `PromoteLatest`, and of `RecordOutcome` when all went well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// The connector.
    #[serde(with = "text::one")]
    pub connector_id: ConnectorId,
    /// The run.
    #[serde(with = "text::run_key")]
    pub run: RunKey,
    /// What was staged.
    pub staged: Staged,
    /// The version table that holds the run.
    pub table: LoadedTable,
}

/// Output of `PublishRun`: a version table with a run in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadedTable {
    /// The table's name.
    #[serde(with = "text::one")]
    pub name: TableName,
    /// The number of the schema.
    pub schema_version: u32,
    /// The table version that holds the run.
    pub table_version: u64,
    /// The workflow's label.
    #[serde(with = "text::one")]
    pub label: WorkflowLabel,
    /// Whether the table was known to be in the share when the run was loaded.
    #[serde(with = "text::one")]
    pub membership: Membership,
    /// What the proof compares the shared schema by (`delivery::prove::schema_digest`).
    pub schema_digest: String,
}

impl LoadedTable {
    /// A version table after a load.
    #[must_use]
    pub fn of(table: &VersionTable, table_version: u64, schema_digest: String) -> Self {
        Self {
            name: table.name.clone(),
            schema_version: table.schema_version.0,
            table_version,
            label: table.label.clone(),
            membership: table.shared,
            schema_digest,
        }
    }
}

impl Published {
    /// What is recorded of the delivery when every step is done. Without a name the workflow goes by its id.
    #[must_use]
    pub fn delivered(&self) -> DeliveredRun {
        let name = self.staged.workflow_name.clone();
        DeliveredRun {
            workflow_name: name.unwrap_or_else(|| self.run.workflow.as_str().to_owned()),
            fingerprint: self.staged.fingerprint.clone(),
            schema_version: SchemaVersion(self.table.schema_version),
            label: self.table.label.clone(),
            table: self.table.name.clone(),
            table_version: self.table.table_version,
            rows: self.staged.rows,
            rejected_rows: self.staged.rejected_rows,
            bytes: self.staged.bytes,
            finished_at: self.staged.finished_at,
        }
    }

    /// The delivery.
    #[must_use]
    pub fn delivery(&self) -> DeliveryKey {
        DeliveryKey { connector: self.connector_id.clone(), run: self.run.clone() }
    }
}

/// Input of `RecordOutcome`: what the last step gave, or what a catcher put beside the input of the failed step.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordOutcomeInput {
    /// Every step is done.
    Delivered(Box<Published>),
    /// A step failed for good.
    Failed {
        /// The deliveries that fail: one, or all of a run that could not be staged.
        deliveries: Vec<DeliveryKey>,
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
        // The input of `StageRun` has the run's ids at its top; later inputs have them under `run`.
        let run = text::run_key::deserialize(value.get("run").unwrap_or(&value)).map_err(decode_error)?;
        let failed = FailedForm::deserialize(&value).map_err(decode_error)?;
        let connectors = failed.connector_id.map_or(failed.connectors, |connector| vec![connector]);
        if connectors.is_empty() {
            return Err(de::Error::missing_field("connectorId"));
        }
        let deliveries = connectors.into_iter().map(|connector| DeliveryKey { connector, run: run.clone() }).collect();
        let (step, error) = failed.failure.newest().ok_or_else(|| de::Error::missing_field("failure"))?;
        Ok(Self::Failed { deliveries, step, failure: error.failure() })
    }
}

fn decode_error<E: de::Error>(error: serde_json::Error) -> E {
    E::custom(error)
}

/// Output of `RecordOutcome`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutcomeRecorded {
    /// The run.
    #[serde(with = "text::run_key")]
    pub run: RunKey,
    /// The connectors whose deliveries ended.
    #[serde(with = "text::list")]
    pub connectors: Vec<ConnectorId>,
    /// `shared` or `failed`.
    #[serde(with = "text::one")]
    pub state: DeliveryState,
    /// The failure's code.
    #[serde(with = "text::optional", default, skip_serializing_if = "Option::is_none")]
    pub code: Option<FailureCode>,
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
