//! The payloads of `DeliverRun`: a batch of runs, of which a live run is the smallest. Executions that began before
//! there were batches hand in one run's properties where now the list of runs is; they are read as a batch of one.

use delivery::batch::{BATCH_RUNS_MAX, Batch, Origin};
use delivery::connector::{Backend, Connector, ConnectorState};
use delivery::ids::{ConnectorId, DeliveryKey, RunId, RunKey, TeamId, WorkflowId};
use delivery::metadata::DeliveredRun;
use delivery::publish;
use delivery::schema::Fingerprint;
use delivery::stage::StagedRuns;
use delivery::staged::StagedSummary;
use delivery::table::{Membership, SchemaVersion, TableName, WorkflowLabel};
use delivery::timestamp::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::text;

/// The longest workflow name that is passed on, in characters.
pub const WORKFLOW_NAME_CHARS_MAX: usize = 1_000;

/// Input of `DeliverRun`, and of its first task, `StageRun`: `teamId`, `workflowId`, `runId` or `runIds` (1 to
/// [`BATCH_RUNS_MAX`] runs of one public schema), `connectors`, and `origin` if it is not `live`.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliverRunInput {
    /// The runs' team.
    pub team: TeamId,
    /// The runs' workflow.
    pub workflow: WorkflowId,
    /// The runs, each once.
    pub runs: Vec<RunId>,
    /// The connectors in scope.
    pub connectors: Vec<ConnectorId>,
    /// What the deliveries are made for.
    pub origin: Origin,
    /// What earlier invocations of `StageRun` came to, if they ran out of time.
    pub staged: Option<Staged>,
    /// What the function does about the runs that are not staged.
    pub staging: StagingTask,
}

/// The tasks of the function that stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StagingTask {
    /// `StageRun`: it stages them.
    Stage,
    /// `TakeStaged`: it leaves them, because invocations for them ended without an answer. The state machine hands in
    /// what it caught.
    TakeStaged,
}

impl DeliverRunInput {
    /// One run, for an origin: [`Origin::Live`] if it has just finished.
    #[must_use]
    pub fn of_one(run: &RunKey, connectors: &[ConnectorId], origin: Origin) -> Self {
        Self {
            team: run.team.clone(),
            workflow: run.workflow.clone(),
            runs: vec![run.run.clone()],
            connectors: connectors.to_vec(),
            origin,
            staged: None,
            staging: StagingTask::Stage,
        }
    }

    /// The runs with team and workflow, in order.
    #[must_use]
    pub fn run_keys(&self) -> Vec<RunKey> {
        self.runs.iter().map(|run| self.run(run)).collect()
    }

    /// A run with team and workflow.
    #[must_use]
    pub fn run(&self, run: &RunId) -> RunKey {
        RunKey { team: self.team.clone(), workflow: self.workflow.clone(), run: run.clone() }
    }

    /// Every delivery: each run's to each connector.
    #[must_use]
    pub fn deliveries(&self) -> Vec<DeliveryKey> {
        let to = |connector: &ConnectorId| {
            let connector = connector.clone();
            self.run_keys().into_iter().map(move |run| DeliveryKey { connector: connector.clone(), run })
        };
        self.connectors.iter().flat_map(to).collect()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeliverRunForm {
    #[serde(with = "text::one")]
    team_id: TeamId,
    #[serde(with = "text::one")]
    workflow_id: WorkflowId,
    #[serde(with = "text::optional", default, skip_serializing_if = "Option::is_none")]
    run_id: Option<RunId>,
    #[serde(with = "text::list", default, skip_serializing_if = "Vec::is_empty")]
    run_ids: Vec<RunId>,
    #[serde(with = "text::list")]
    connectors: Vec<ConnectorId>,
    #[serde(with = "text::one", default, skip_serializing_if = "is_live")]
    origin: Origin,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stage_run: Option<StageRunForm>,
    #[serde(default, skip_serializing)]
    failure: Option<IgnoredAny>,
}

#[derive(Serialize, Deserialize)]
struct StageRunForm {
    staged: Staged,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_live(origin: &Origin) -> bool {
    *origin == Origin::Live
}

impl Serialize for DeliverRunInput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (run_id, run_ids) = match (self.runs.as_slice(), self.origin) {
            ([one], Origin::Live) => (Some(one.clone()), Vec::new()),
            (many, _) => (None, many.to_vec()),
        };
        DeliverRunForm {
            team_id: self.team.clone(),
            workflow_id: self.workflow.clone(),
            run_id,
            run_ids,
            connectors: self.connectors.clone(),
            origin: self.origin,
            stage_run: self.staged.clone().map(|staged| StageRunForm { staged }),
            failure: None,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DeliverRunInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = DeliverRunForm::deserialize(deserializer)?;
        let runs = runs_of(form.run_id, form.run_ids)?;
        let (team, workflow, connectors, origin) = (form.team_id, form.workflow_id, form.connectors, form.origin);
        let staging = if form.failure.is_some() { StagingTask::TakeStaged } else { StagingTask::Stage };
        let staged = form.stage_run.map(|form| form.staged);
        Ok(Self { team, workflow, runs, connectors, origin, staged, staging })
    }
}

/// One run, or a list of some, each once.
fn runs_of<E: de::Error>(run_id: Option<RunId>, run_ids: Vec<RunId>) -> Result<Vec<RunId>, E> {
    let runs = match (run_id, run_ids) {
        (Some(run), list) if list.is_empty() => vec![run],
        (None, list) if !list.is_empty() => list,
        (None, _) => return Err(E::missing_field("runId")),
        (Some(_), _) => return Err(E::custom("expected one of runId and runIds")),
    };
    let unique: std::collections::BTreeSet<_> = runs.iter().collect();
    if unique.len() != runs.len() || runs.len() > BATCH_RUNS_MAX {
        return Err(E::custom(format_args!("expected at most {BATCH_RUNS_MAX} run ids, each once")));
    }
    Ok(runs)
}

/// Output of `StageRun`: what was staged, in short; the manifests have it whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Staged {
    /// The workflow's name as of the newest run. Executions that began before it was passed on have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_name: Option<String>,
    /// The fingerprint of the public schema; `None` as long as no run is staged.
    #[serde(with = "text::optional", skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// What the deliveries are made for.
    #[serde(with = "text::one", skip_serializing_if = "is_live")]
    pub origin: Origin,
    /// The runs that are staged whole.
    pub runs: Vec<StagedRunSummary>,
    /// How many runs failed.
    pub failed_count: usize,
    /// How many runs wait for another invocation.
    pub waiting_count: usize,
    /// The runs that wait for another invocation.
    #[serde(with = "text::list", skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<RunId>,
}

/// A staged run in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StagedRunSummary {
    /// The run. The one run of an execution that began before there were batches is named beside this.
    #[serde(with = "text::one")]
    pub run_id: RunId,
    /// Rows in the staged files.
    pub rows: u64,
    /// Rows that were not staged.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rejected_rows: u64,
    /// Bytes of the staged files.
    pub bytes: u64,
    /// When the run finished.
    #[serde(with = "text::one")]
    pub finished_at: Timestamp,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(rows: &u64) -> bool {
    *rows == 0
}

impl Staged {
    /// What one more invocation came to, together with those before it.
    #[must_use]
    pub fn and(before: Option<Self>, origin: Origin, outcome: StagedRuns) -> Self {
        let nothing = Self {
            workflow_name: None,
            fingerprint: None,
            origin,
            runs: Vec::new(),
            failed_count: 0,
            waiting_count: 0,
            waiting: Vec::new(),
        };
        let mut staged = before.unwrap_or(nothing);
        if let Some(newest) = outcome.staged.iter().max_by_key(|run| run.finished_at) {
            let known = staged.runs.iter().map(|run| run.finished_at).max();
            if known.is_none_or(|known| known <= newest.finished_at) {
                staged.workflow_name = Some(newest.workflow_name.chars().take(WORKFLOW_NAME_CHARS_MAX).collect());
            }
            staged.fingerprint = Some(newest.fingerprint.clone());
        }
        staged.runs.extend(outcome.staged.into_iter().map(StagedRunSummary::of));
        staged.failed_count += outcome.failed.len();
        staged.waiting = outcome.waiting.into_iter().map(|run| run.run).collect();
        staged.waiting_count = staged.waiting.len();
        staged
    }
}

impl StagedRunSummary {
    fn of(staged: StagedSummary) -> Self {
        let StagedSummary { run, rows, rejected_rows, bytes, finished_at, .. } = staged;
        Self { run_id: run, rows, rejected_rows, bytes, finished_at }
    }
}

/// Both forms of [`Staged`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StagedForm {
    #[serde(default)]
    workflow_name: Option<String>,
    #[serde(with = "text::optional", default)]
    fingerprint: Option<Fingerprint>,
    #[serde(with = "text::one", default)]
    origin: Origin,
    #[serde(default)]
    runs: Option<Vec<StagedRunSummary>>,
    #[serde(default)]
    failed_count: usize,
    #[serde(with = "text::list", default)]
    waiting: Vec<RunId>,
    #[serde(flatten)]
    one: OneRunForm,
}

/// The properties of the one run of an execution that began before there were batches.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OneRunForm {
    rows: Option<u64>,
    rejected_rows: Option<u64>,
    bytes: Option<u64>,
    #[serde(with = "text::optional", default)]
    finished_at: Option<Timestamp>,
}

impl StagedForm {
    fn read<E: de::Error>(self, run: Option<RunId>) -> Result<Staged, E> {
        let runs = match self.runs {
            Some(runs) => runs,
            None => vec![StagedRunSummary {
                run_id: run.ok_or_else(|| E::missing_field("runs"))?,
                rows: self.one.rows.ok_or_else(|| E::missing_field("rows"))?,
                rejected_rows: self.one.rejected_rows.ok_or_else(|| E::missing_field("rejectedRows"))?,
                bytes: self.one.bytes.ok_or_else(|| E::missing_field("bytes"))?,
                finished_at: self.one.finished_at.ok_or_else(|| E::missing_field("finishedAt"))?,
            }],
        };
        Ok(Staged {
            workflow_name: self.workflow_name,
            fingerprint: self.fingerprint,
            origin: self.origin,
            runs,
            failed_count: self.failed_count,
            waiting_count: self.waiting.len(),
            waiting: self.waiting,
        })
    }
}

impl<'de> Deserialize<'de> for Staged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        StagedForm::deserialize(deserializer)?.read(None)
    }
}

/// Input of `PublishRun`: one element of the map over connectors.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishInput {
    /// The connector.
    #[serde(with = "text::one")]
    pub connector_id: ConnectorId,
    /// The runs' team.
    #[serde(with = "text::one")]
    pub team_id: TeamId,
    /// The runs' workflow.
    #[serde(with = "text::one")]
    pub workflow_id: WorkflowId,
    /// The fingerprint of the runs' schema, which `staged` says.
    #[serde(skip)]
    pub fingerprint: Fingerprint,
    /// What was staged.
    pub staged: Staged,
}

impl PublishInput {
    /// The runs that are staged, on their way to the connector.
    #[must_use]
    pub fn batch(&self) -> Batch {
        Batch {
            connector: self.connector_id.clone(),
            team: self.team_id.clone(),
            workflow: self.workflow_id.clone(),
            runs: self.staged.runs.iter().map(|run| run.run_id.clone()).collect(),
        }
    }
}

/// Input of `ShareTables`, `ProveDelivery` and `PromoteLatest`, and of `RecordOutcome` when runs got through.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// The connector, and what was staged.
    #[serde(flatten)]
    pub input: PublishInput,
    /// The version table that holds the runs.
    pub table: LoadedTable,
    /// What was proven; `None` before that step, and in executions that began before there were batches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// Every property of a batch's payloads, in both forms.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchForm {
    #[serde(with = "text::one")]
    connector_id: ConnectorId,
    #[serde(with = "text::optional", default)]
    team_id: Option<TeamId>,
    #[serde(with = "text::optional", default)]
    workflow_id: Option<WorkflowId>,
    #[serde(default)]
    run: Option<RunForm>,
    staged: StagedForm,
    #[serde(default)]
    table: Option<LoadedTable>,
    #[serde(default)]
    proof: Option<Proof>,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct RunForm(#[serde(with = "text::run_key")] RunKey);

impl BatchForm {
    fn input<E: de::Error>(self) -> Result<(PublishInput, Option<LoadedTable>, Option<Proof>), E> {
        let (team, workflow, run) = match self.run {
            Some(RunForm(RunKey { team, workflow, run })) => (Some(team), Some(workflow), Some(run)),
            None => (self.team_id, self.workflow_id, None),
        };
        let staged = self.staged.read(run)?;
        let input = PublishInput {
            connector_id: self.connector_id,
            team_id: team.ok_or_else(|| E::missing_field("teamId"))?,
            workflow_id: workflow.ok_or_else(|| E::missing_field("workflowId"))?,
            fingerprint: staged.fingerprint.clone().ok_or_else(|| E::missing_field("fingerprint"))?,
            staged,
        };
        Ok((input, self.table, self.proof))
    }
}

impl<'de> Deserialize<'de> for PublishInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BatchForm::deserialize(deserializer)?.input().map(|(input, ..)| input)
    }
}

impl<'de> Deserialize<'de> for Published {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (input, table, proof) = BatchForm::deserialize(deserializer)?.input()?;
        let mut table = table.ok_or_else(|| de::Error::missing_field("table"))?;
        if table.runs.is_empty() {
            let loaded =
                |run: &StagedRunSummary| LoadedRun { run_id: run.run_id.clone(), table_version: table.table_version };
            table.runs = input.staged.runs.iter().map(loaded).collect();
        }
        Ok(Self { input, table, proof })
    }
}

/// Output of `PublishRun`: a version table with runs in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadedTable {
    /// The table's name.
    #[serde(with = "text::one")]
    pub name: TableName,
    /// The number of the schema.
    pub schema_version: u32,
    /// The newest table version that holds runs of the batch.
    pub table_version: u64,
    /// The workflow's label.
    #[serde(with = "text::one")]
    pub label: WorkflowLabel,
    /// Whether the table was known to be in the share when the runs were loaded.
    #[serde(with = "text::one")]
    pub membership: Membership,
    /// What the proof compares the shared schema by (`delivery::prove::schema_digest`).
    pub schema_digest: String,
    /// What the connector's share is served by.
    #[serde(with = "text::one", default = "open")]
    pub backend: Backend,
    /// The state of the connector's rollout when the runs were loaded. Executions that began before it was passed on have
    /// none.
    #[serde(with = "text::optional", default, skip_serializing_if = "Option::is_none")]
    pub connector_state: Option<ConnectorState>,
    /// The revision of the connector's record then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector_revision: Option<u64>,
    /// The runs that are in the table.
    #[serde(default)]
    pub runs: Vec<LoadedRun>,
}

fn open() -> Backend {
    Backend::Open
}

/// A run that is in its version table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadedRun {
    /// The run.
    #[serde(with = "text::one")]
    pub run_id: RunId,
    /// The table version that holds it.
    pub table_version: u64,
}

impl LoadedTable {
    /// A version table after a load.
    #[must_use]
    pub fn of(published: &publish::Published, schema_digest: String) -> Self {
        let publish::Published { connector, table, runs, .. } = published;
        let connector: &Connector = connector;
        let loaded =
            |(run, table_version): &(RunId, u64)| LoadedRun { run_id: run.clone(), table_version: *table_version };
        Self {
            name: table.name.clone(),
            schema_version: table.schema_version.0,
            table_version: runs.iter().map(|(_, table_version)| *table_version).max().unwrap_or_default(),
            label: table.label.clone(),
            membership: table.shared,
            schema_digest,
            backend: connector.backend,
            connector_state: Some(connector.rollout_state()),
            connector_revision: Some(connector.revision),
            runs: runs.iter().map(loaded).collect(),
        }
    }
}

/// Output of `ProveDelivery`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// Runs that do not read back.
    #[serde(with = "text::list")]
    pub failed: Vec<RunId>,
}

impl Published {
    /// The runs that got through every step so far, each with the table version that holds it.
    #[must_use]
    pub fn through(&self) -> Vec<(&StagedRunSummary, u64)> {
        let failed = self.proof.as_ref().map(|proof| proof.failed.as_slice()).unwrap_or_default();
        let in_table = |run: &StagedRunSummary| {
            self.table.runs.iter().find(|loaded| loaded.run_id == run.run_id).map(|loaded| loaded.table_version)
        };
        let runs = self.input.staged.runs.iter().filter(|run| !failed.contains(&run.run_id));
        runs.filter_map(|run| Some((run, in_table(run)?))).collect()
    }

    /// These runs on their way to the connector.
    #[must_use]
    pub fn batch(&self) -> Batch {
        let runs = self.through().into_iter().map(|(run, _)| run.run_id.clone()).collect();
        Batch { runs, ..self.input.batch() }
    }

    /// Whether a run of the batch failed on the way.
    #[must_use]
    pub fn lost_runs(&self) -> bool {
        self.input.staged.failed_count > 0 || self.through().len() < self.input.staged.runs.len()
    }

    /// What is recorded of the deliveries when every step is done. Without a name the workflow goes by its id.
    #[must_use]
    pub fn delivered(&self) -> Vec<(RunId, DeliveredRun)> {
        let name = self.input.staged.workflow_name.clone();
        let workflow_name = name.unwrap_or_else(|| self.input.workflow_id.as_str().to_owned());
        let delivered = |(run, table_version): (&StagedRunSummary, u64)| {
            let delivered = DeliveredRun {
                workflow_name: workflow_name.clone(),
                fingerprint: self.input.fingerprint.clone(),
                schema_version: SchemaVersion(self.table.schema_version),
                label: self.table.label.clone(),
                table: self.table.name.clone(),
                table_version,
                rows: run.rows,
                rejected_rows: run.rejected_rows,
                bytes: run.bytes,
                finished_at: run.finished_at,
            };
            (run.run_id.clone(), delivered)
        };
        self.through().into_iter().map(delivered).collect()
    }
}
