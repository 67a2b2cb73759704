//! What `Backfill` is asked, carries between its tasks and reports; and the pages of its plan.

use std::collections::BTreeSet;

use delivery::backfill::{BackfillFailure, BackfillId, Counts, Left, Phase, Purpose, Request};
use delivery::batch::{Batch, Origin};
use delivery::connector::ConnectorState;
use delivery::failure::{FailureCode, StepError};
use delivery::ids::{ConnectorId, RunId, WorkflowId};
use delivery::ports::{ActivityPlace, FailureList};
use delivery::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::property::Properties;
use crate::steps::{DeliverRunInput, StagingTask};
use crate::{StoredFormatError, decode_reason, text};

/// The most failures that an execution carries and puts out; the report has them all.
pub const FAILURES_SHOWN_MAX: usize = 50;

/// The most failures in a report.
pub const FAILURES_REPORTED_MAX: usize = 100_000;

/// The most workflows that an input may name.
pub const WORKFLOWS_MAX: usize = 1_000;

/// Reads an execution's input: `connectorId`, and optional `workflows`, `from`, `to`; `rollout` and `catchUp` are said
/// by the state machines that start a backfill.
///
/// # Errors
///
/// `BACKFILL_INVALID` with the path of the property.
pub fn request(input: &Value) -> Result<Request, StepError> {
    let Value::Object(input) = input else {
        return Err(StepError::new(FailureCode::BackfillInvalid, "the input must be a JSON object"));
    };
    let input = Properties::of(input, FailureCode::BackfillInvalid);
    let connector = ConnectorId::new(input.string("connectorId")?)
        .map_err(|error| StepError::new(FailureCode::BackfillInvalid, error.to_string()))?;
    let workflows = input.get("workflows").map(|_| workflows(&input)).transpose()?;
    let time = |name: &str| {
        let Some(text) = input.optional_string(name)? else { return Ok(None) };
        Timestamp::parse(text).map(Some).ok_or_else(|| input.refuse(name, "must be a time as RFC 3339 writes it"))
    };
    let (from, to) = (time("from")?, time("to")?);
    if from.zip(to).is_some_and(|(from, to)| from >= to) {
        return Err(input.refuse("from", "must be earlier than to"));
    }
    let purpose = match (input.flag("rollout", false)?, input.flag("catchUp", false)?) {
        (false, false) => Purpose::Operator,
        (true, false) => Purpose::Rollout,
        (false, true) => Purpose::CatchUp,
        (true, true) => return Err(input.refuse("catchUp", "cannot be asked for together with rollout")),
    };
    if purpose != Purpose::Operator && (workflows.is_some() || from.is_some() || to.is_some()) {
        return Err(input.refuse("workflows", "from and to cannot narrow a rollout or a catch-up"));
    }
    Ok(Request { connector, purpose, workflows, from, to })
}

fn workflows(input: &Properties<'_>) -> Result<BTreeSet<WorkflowId>, StepError> {
    let named = input.array("workflows")?;
    if named.is_empty() || named.len() > WORKFLOWS_MAX {
        return Err(input.refuse("workflows", &format!("must have 1 to {WORKFLOWS_MAX} elements")));
    }
    let one = |id: &Value| id.as_str().and_then(|id| WorkflowId::new(id).ok());
    named.iter().map(one).collect::<Option<_>>().ok_or_else(|| input.refuse("workflows", "must hold workflow ids"))
}

/// What the tasks of `Backfill` hand on. Bounded: it is in the execution's history once for each page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What the state machine does next.
    pub next: Next,
    /// What the next page is of.
    #[serde(with = "PhaseForm")]
    pub phase: Phase,
    /// Where the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Place>,
    /// The newest page.
    pub page: u64,
    /// The key of the newest page's batches; what the map reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batches: Option<String>,
    /// What was counted so far.
    #[serde(with = "CountsForm")]
    pub counts: Counts,
    /// The first failures.
    pub failures: Vec<FailureForm>,
    /// When the backfill began.
    #[serde(with = "text::one")]
    pub started_at: Timestamp,
    /// The revision of the connector's record that the backfill began with; 0 if it began before this was noted.
    #[serde(default)]
    pub revision: u64,
    /// Since when the connector missed runs, for a catch-up.
    #[serde(with = "text::optional", default, skip_serializing_if = "Option::is_none")]
    pub missed_since: Option<Timestamp>,
}

/// What the state machine does next: the words that its choice knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Next {
    /// Asks for the next page.
    Plan,
    /// Delivers the page's batches.
    Deliver,
    /// Reports.
    Finish,
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    /// Behind a run folder, or behind a run of the team's history.
    Behind(String),
    /// In the activity history.
    Activity(#[serde(with = "ActivityPlaceForm")] ActivityPlace),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Phase", rename_all = "camelCase")]
enum PhaseForm {
    Find,
    Deliver,
    Activity,
    Finish,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ActivityPlace", rename_all = "camelCase")]
struct ActivityPlaceForm {
    key: String,
    offset: u64,
    lines: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Counts", rename_all = "camelCase")]
struct CountsForm {
    found: u64,
    unfinished: u64,
    planned: u64,
    batches: u64,
    already_shared: u64,
    delivered: u64,
    failed: u64,
    activity_events: u64,
    activity_refused: u64,
}

/// A failure as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureForm {
    /// The workflow.
    #[serde(with = "text::optional", default, skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<WorkflowId>,
    /// The run.
    #[serde(with = "text::optional", default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// The object, or its line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The code.
    #[serde(with = "text::one")]
    pub code: FailureCode,
}

impl From<&BackfillFailure> for FailureForm {
    fn from(failure: &BackfillFailure) -> Self {
        let BackfillFailure { workflow, run, place, code } = failure.clone();
        Self { workflow_id: workflow, run_id: run, place, code }
    }
}

impl From<FailureForm> for BackfillFailure {
    fn from(form: FailureForm) -> Self {
        Self { workflow: form.workflow_id, run: form.run_id, place: form.place, code: form.code }
    }
}

const BATCHES: &str = "page of a backfill's plan";
const FAILURES: &str = "list of a backfill's failures";

/// Writes the batches of a page: inputs of `DeliverRun`.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if they cannot be written as JSON.
pub fn write_batches(batches: &[Batch]) -> Result<String, StoredFormatError> {
    let input = |batch: &Batch| DeliverRunInput {
        team: batch.team.clone(),
        workflow: batch.workflow.clone(),
        runs: batch.runs.clone(),
        connectors: vec![batch.connector.clone()],
        origin: Origin::Backfill,
        staged: None,
        staging: StagingTask::Stage,
    };
    crate::write_stored(BATCHES, &batches.iter().map(input).collect::<Vec<_>>())
}

/// Reads the batches of a page.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if the text is no such page.
pub fn read_batches(page: &[u8]) -> Result<Vec<Batch>, StoredFormatError> {
    let unreadable = |reason: String| StoredFormatError { what: BATCHES, reason };
    let inputs: Vec<DeliverRunInput> =
        serde_json::from_slice(page).map_err(|error| unreadable(decode_reason(&error)))?;
    let batch = |input: DeliverRunInput| {
        let [connector] = <[ConnectorId; 1]>::try_from(input.connectors)
            .map_err(|_| unreadable("a batch has not one connector".to_owned()))?;
        Ok(Batch { connector, team: input.team, workflow: input.workflow, runs: input.runs })
    };
    inputs.into_iter().map(batch).collect()
}

/// Writes a list of failures.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if they cannot be written as JSON.
pub fn write_failures(failures: &[BackfillFailure]) -> Result<String, StoredFormatError> {
    crate::write_stored(FAILURES, &failures.iter().map(FailureForm::from).collect::<Vec<_>>())
}

/// Reads a list of failures.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if the text is no such list.
pub fn read_failures(list: &[u8]) -> Result<Vec<BackfillFailure>, StoredFormatError> {
    let forms: Vec<FailureForm> = serde_json::from_slice(list)
        .map_err(|error| StoredFormatError { what: FAILURES, reason: decode_reason(&error) })?;
    Ok(forms.into_iter().map(BackfillFailure::from).collect())
}

/// Where a backfill's plan and report lie in the tables bucket, without a slash at the end.
#[must_use]
pub fn folder(connector: &ConnectorId, backfill: &BackfillId) -> String {
    format!("backfills/{connector}/{}", backfill.as_str())
}

/// The key of a page's batches.
#[must_use]
pub fn batches_key(connector: &ConnectorId, backfill: &BackfillId, page: u64) -> String {
    format!("{}/page-{page:05}.json", folder(connector, backfill))
}

/// Where a backfill's lists of failures lie.
#[must_use]
pub fn failures_folder(connector: &ConnectorId, backfill: &BackfillId) -> String {
    format!("{}/failures", folder(connector, backfill))
}

/// The key of a list of failures.
#[must_use]
pub fn failures_key(connector: &ConnectorId, backfill: &BackfillId, list: FailureList) -> String {
    let name = match list {
        // In the order in which they come to be.
        FailureList::Unplanned(page) => format!("page-{page:05}-0-unplanned"),
        FailureList::Undelivered(page) => format!("page-{page:05}-1-undelivered"),
    };
    format!("{}/{name}.json", failures_folder(connector, backfill))
}

/// The key of a backfill's report.
#[must_use]
pub fn report_key(connector: &ConnectorId, backfill: &BackfillId) -> String {
    format!("{}/report.json", folder(connector, backfill))
}

/// What a backfill came to: the execution's output, and with every failure the report in the tables bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The connector.
    #[serde(with = "text::one")]
    pub connector_id: ConnectorId,
    /// Its state.
    pub state: String,
    /// When the backfill began.
    #[serde(with = "text::one")]
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(with = "text::one")]
    pub ended_at: Timestamp,
    /// What was counted.
    #[serde(with = "CountsForm")]
    pub counts: Counts,
    /// What did not arrive; in the execution's output the first [`FAILURES_SHOWN_MAX`].
    pub failures: Vec<FailureForm>,
    /// Whether something failed that may pass when it is tried again.
    pub may_pass_later: bool,
    /// The report's key in the tables bucket.
    pub report: String,
}

impl Report {
    /// The report of a backfill that ended.
    #[must_use]
    pub fn of(
        connector: &ConnectorId,
        state: ConnectorState,
        progress: &Progress,
        left: Left,
        ended_at: Timestamp,
        report: String,
    ) -> Self {
        Self {
            connector_id: connector.clone(),
            state: state.as_str().to_owned(),
            started_at: progress.started_at,
            ended_at,
            counts: progress.counts,
            failures: progress.failures.clone(),
            may_pass_later: left == Left::Some,
            report,
        }
    }

    /// With these failures in place of the first.
    #[must_use]
    pub fn with_failures(&self, failures: &[BackfillFailure]) -> Self {
        Self { failures: failures.iter().map(FailureForm::from).collect(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use delivery::ids::TeamId;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_is_inputs_of_deliver_run_and_reads_back() {
        let batch = Batch {
            connector: ConnectorId::new("acme").unwrap(),
            team: TeamId::new("t").unwrap(),
            workflow: WorkflowId::new("w-1").unwrap(),
            runs: vec![RunId::new("r-1").unwrap(), RunId::new("r-2").unwrap()],
        };
        let page = write_batches(std::slice::from_ref(&batch)).unwrap();
        let expected =
            r#"[{"teamId":"t","workflowId":"w-1","runIds":["r-1","r-2"],"connectors":["acme"],"origin":"backfill"}]"#;
        assert_eq!(page, expected);
        assert_eq!(read_batches(page.as_bytes()).unwrap(), [batch]);
        assert!(read_batches(b"[{}]").is_err());
    }

    #[test]
    fn a_list_of_failures_reads_back() {
        let failures = [
            BackfillFailure {
                workflow: Some(WorkflowId::new("w-1").unwrap()),
                run: Some(RunId::new("r-1").unwrap()),
                place: None,
                code: FailureCode::RowNotJson,
            },
            BackfillFailure {
                workflow: None,
                run: None,
                place: Some("kadoa/t/activity/a.jsonl line 3".to_owned()),
                code: FailureCode::MessageNotJson,
            },
        ];
        let list = write_failures(&failures).unwrap();
        let expected = r#"[{"workflowId":"w-1","runId":"r-1","code":"ROW_NOT_JSON"},{"place":"kadoa/t/activity/a.jsonl line 3","code":"MESSAGE_NOT_JSON"}]"#;
        assert_eq!(list, expected);
        assert_eq!(read_failures(list.as_bytes()).unwrap(), failures);
    }

    /// An execution that began before a deployment goes on behind it.
    #[test]
    fn what_the_tasks_hand_on_is_read_as_it_was_written() {
        let counts = json!({
            "found": 1, "unfinished": 2, "planned": 3, "batches": 4, "alreadyShared": 5, "delivered": 6, "failed": 7,
            "activityEvents": 8, "activityRefused": 9,
        });
        for (phase, after) in [
            ("find", json!({"behind": "kadoa/t/w/f/run.json"})),
            ("deliver", json!({"behind": "w-1#0000000000000001#r-1"})),
            ("activity", json!({"activity": {"key": "kadoa/t/activity/a.jsonl", "offset": 10, "lines": 2}})),
        ] {
            let written = json!({
                "next": "deliver", "phase": phase, "after": after, "page": 2, "batches": "backfills/a/e/page-00002.json",
                "counts": counts, "failures": [{"runId": "r", "code": "ROW_NOT_JSON"}],
                "startedAt": "2026-09-01T00:00:00Z", "revision": 4, "missedSince": "2026-08-01T00:00:00Z",
            });
            let read: Progress = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), written);
            let mut of_before = written;
            of_before.as_object_mut().unwrap().remove("revision");
            let of_before: Progress = serde_json::from_value(of_before).unwrap();
            assert_eq!(of_before, Progress { revision: 0, ..read });
        }
    }
}
