//! Plans recorded runs in batches, and asks after what was planned.

use std::collections::BTreeMap;

use super::{BackfillFailure, Counts, Coverage, classify};
use crate::batch::{BATCH_RUNS_MAX, Batch, Origin};
use crate::failure::{FailureCode, StepError};
use crate::ids::{DeliveryKey, RunId, RunKey, WorkflowId};
use crate::ports::{BackfillStore, DeliveryStore, DeliverySummary, RecordedRun, RunOrigin, RunStore, TableStore};
use crate::schema::{Fingerprint, PublicSchema};
use crate::state::{DeliveryState, Failure};
use crate::timestamp::Timestamp;

/// The most recorded runs of one page.
pub const PAGE_RUNS_MAX: usize = 5_000;

/// The most bytes of one batch's outputs, as far as they are known. A run that is larger is a batch of its own.
pub const BATCH_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What planning needs of the world.
#[derive(Clone, Copy)]
pub struct PlanPorts<'a> {
    /// The team's history, and what is delivered.
    pub store: &'a dyn BackfillStore,
    /// The runs' records.
    pub runs: &'a dyn RunStore,
    /// Where schemas get their numbers.
    pub tables: &'a dyn TableStore,
    /// Where a run that cannot be planned is recorded as failed.
    pub deliveries: &'a dyn DeliveryStore,
}

impl std::fmt::Debug for PlanPorts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlanPorts")
    }
}

/// A page of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Behind which place there is more.
    pub after: Option<String>,
    /// What is to be delivered: the workflows take turns, so that batches that run at once seldom meet in one table.
    pub batches: Vec<Batch>,
    /// What it counted.
    pub counts: Counts,
    /// Runs that cannot be delivered as they are.
    pub failures: Vec<BackfillFailure>,
}

/// Plans a page of the team's recorded runs: those that are in scope and not shared. A schema that is new to the
/// connector gets its number here, in the order in which its first runs finished.
///
/// # Errors
///
/// Codes of phase `backfill`; a run that cannot be planned is a failure of the page, and of its delivery, instead.
pub async fn plan(
    ports: PlanPorts<'_>,
    coverage: &Coverage,
    after: Option<&str>,
    now: Timestamp,
) -> Result<Planned, StepError> {
    let listed = ports.store.history(&coverage.team, after, PAGE_RUNS_MAX).await.map_err(classify)?;
    let whole = listed.len() >= PAGE_RUNS_MAX;
    let after = listed.last().filter(|_| whole).map(|run| run.place.clone());
    let in_scope =
        |run: &RecordedRun| coverage.workflows.contains(&run.workflow) && coverage.takes_time(run.finished_at);
    let listed: Vec<_> = listed.into_iter().filter(in_scope).collect();
    let keys: Vec<_> = listed.iter().map(|run| key_of(coverage, run)).collect();
    let known = ports.store.deliveries(&coverage.connector, &keys).await.map_err(classify)?;
    let (mut counts, mut failures) = (Counts::default(), Vec::new());
    let mut groups: BTreeMap<(WorkflowId, Fingerprint), Vec<Vec<RunId>>> = BTreeMap::new();
    let mut filled: BTreeMap<(WorkflowId, Fingerprint), u64> = BTreeMap::new();
    let mut alone = Vec::new();
    let batch = |workflow: &WorkflowId, runs| Batch {
        team: coverage.team.clone(),
        workflow: workflow.clone(),
        runs,
        connector: coverage.connector.clone(),
    };
    for (run, delivery) in listed.into_iter().zip(known) {
        if !was_missed(coverage, &run, delivery) {
            continue;
        }
        if delivery.is_some_and(|delivery| delivery.state == DeliveryState::Shared) {
            counts.already_shared += 1;
            continue;
        }
        let open = |fingerprint: &Fingerprint| groups.contains_key(&(run.workflow.clone(), fingerprint.clone()));
        let fingerprint = match &run.fingerprint {
            Some(fingerprint) if open(fingerprint) => fingerprint.clone(),
            _ => match opened(ports, coverage, &run, now).await? {
                Ok(fingerprint) => fingerprint,
                Err(error) => {
                    let delivery = DeliveryKey { connector: coverage.connector.clone(), run: key_of(coverage, &run) };
                    let failure = Failure { code: error.code, message: error.message };
                    ports.deliveries.fail(&[delivery], &failure, Origin::Backfill, now).await.map_err(classify)?;
                    failures.push(failure_of(run.workflow, run.run, error.code));
                    continue;
                }
            },
        };
        counts.planned += 1;
        // A run that ended its staging's function takes nobody with it again.
        if delivery.is_some_and(|delivery| delivery.code == Some(FailureCode::StagingInterrupted)) {
            alone.push(batch(&run.workflow, vec![run.run]));
            continue;
        }
        let group = (run.workflow, fingerprint);
        let bytes = run.bytes.unwrap_or(0);
        let filled = filled.entry(group.clone()).or_default();
        let chunks = groups.entry(group).or_default();
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < BATCH_RUNS_MAX && filled.saturating_add(bytes) <= BATCH_BYTES_MAX => {
                *filled = filled.saturating_add(bytes);
                chunk.push(run.run);
            }
            _ => {
                *filled = bytes;
                chunks.push(vec![run.run]);
            }
        }
    }
    let chunks = groups.into_iter().flat_map(|((workflow, _), chunks)| {
        chunks.into_iter().enumerate().map(move |(turn, runs)| (turn, workflow.clone(), runs))
    });
    let mut batches: Vec<_> = chunks.map(|(turn, workflow, runs)| (turn, batch(&workflow, runs))).collect();
    batches.sort_by_key(|(turn, _)| *turn);
    let batches: Vec<_> = batches.into_iter().map(|(_, batch)| batch).chain(alone).collect();
    counts.batches = batches.len() as u64;
    counts.failed = failures.len() as u64;
    Ok(Planned { after, batches, counts, failures })
}

/// Whether a run belongs to a catch-up: announced since the connector may have missed it, or refused because the
/// connector was disabled. A backfill that is none takes every run.
fn was_missed(coverage: &Coverage, run: &RecordedRun, delivery: Option<DeliverySummary>) -> bool {
    let Some(since) = coverage.missed_since else { return true };
    let refused = delivery.is_some_and(|delivery| delivery.code == Some(FailureCode::ConnectorDisabled));
    refused || (run.origin == RunOrigin::Announced && run.accepted_at >= since)
}

/// Opens the version table of a run's schema; the inner error says why the run cannot be delivered.
async fn opened(
    ports: PlanPorts<'_>,
    coverage: &Coverage,
    run: &RecordedRun,
    now: Timestamp,
) -> Result<Result<Fingerprint, StepError>, StepError> {
    let Some(record) = ports.runs.recorded_run(&key_of(coverage, run)).await.map_err(classify)? else {
        let message = "the run is in the team's history and its record is not in the state table";
        return Ok(Err(StepError::new(FailureCode::RunNotRecorded, message)));
    };
    let schema = match PublicSchema::of(&record.fields) {
        Ok(schema) => schema,
        Err(error) => return Ok(Err(error)),
    };
    ports.tables.open_schema_version(&coverage.connector, &run.workflow, &schema, now).await.map_err(classify)?;
    Ok(Ok(schema.fingerprint()))
}

fn key_of(coverage: &Coverage, run: &RecordedRun) -> RunKey {
    RunKey { team: coverage.team.clone(), workflow: run.workflow.clone(), run: run.run.clone() }
}

fn failure_of(workflow: WorkflowId, run: RunId, code: FailureCode) -> BackfillFailure {
    BackfillFailure { workflow: Some(workflow), run: Some(run), place: None, code }
}

/// What became of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// What it counted.
    pub counts: Counts,
    /// What did not arrive.
    pub failures: Vec<BackfillFailure>,
}

/// Asks after the runs of a page whose executions ended: their own records say what became of them. One that is
/// neither shared nor failed was left behind by its execution.
///
/// # Errors
///
/// Codes of phase `backfill`.
pub async fn settle(store: &dyn BackfillStore, batches: &[Batch]) -> Result<Settled, StepError> {
    let (mut counts, mut failures) = (Counts::default(), Vec::new());
    for batch in batches {
        let keys = batch.run_keys();
        let known = store.deliveries(&batch.connector, &keys).await.map_err(classify)?;
        for (key, delivery) in keys.into_iter().zip(known) {
            let code = match delivery {
                Some(DeliverySummary { state: DeliveryState::Shared, .. }) => {
                    counts.delivered += 1;
                    continue;
                }
                Some(DeliverySummary { state: DeliveryState::Failed, code: Some(code) }) => code,
                Some(_) | None => FailureCode::BackfillInterrupted,
            };
            failures.push(failure_of(key.workflow, key.run, code));
        }
    }
    counts.failed = failures.len() as u64;
    Ok(Settled { counts, failures })
}
