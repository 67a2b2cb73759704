//! Runs that are delivered together, and what becomes of those that a step cannot take on.
//!
//! A live delivery is a batch of one run; history comes in batches of up to [`BATCH_RUNS_MAX`] runs, and each batch is
//! one commit. A run that fails fails alone: the others go on without it.

use crate::failure::{FailureCode, RetryClass, StepError};
use crate::ids::{ConnectorId, DeliveryKey, RunId, RunKey, TeamId, WorkflowId};
use crate::ports::{DeliveryStore, PortError};
use crate::state::{Ended, Failure};
use crate::timestamp::Timestamp;

/// The most runs of a batch: the records of a batch's deliveries are written in one transaction of the state table.
pub const BATCH_RUNS_MAX: usize = 100;

/// What a delivery is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// The run has just finished.
    #[default]
    Live,
    /// The run is history.
    Backfill,
}

impl Origin {
    /// The origin's stable text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Backfill => "backfill",
        }
    }

    /// Reads an origin's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Live, Self::Backfill].into_iter().find(|origin| origin.as_str() == text)
    }
}

/// Runs of one workflow on their way to one connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The connector that receives the runs.
    pub connector: ConnectorId,
    /// The runs' team.
    pub team: TeamId,
    /// The runs' workflow.
    pub workflow: WorkflowId,
    /// The runs, each once.
    pub runs: Vec<RunId>,
}

impl Batch {
    /// A batch of one.
    #[must_use]
    pub fn of(delivery: &DeliveryKey) -> Self {
        let DeliveryKey { connector, run } = delivery.clone();
        Self { connector, team: run.team, workflow: run.workflow, runs: vec![run.run] }
    }

    /// A run of the batch.
    #[must_use]
    pub fn run(&self, run: &RunId) -> RunKey {
        RunKey { team: self.team.clone(), workflow: self.workflow.clone(), run: run.clone() }
    }

    /// A run's way to the connector.
    #[must_use]
    pub fn delivery(&self, run: &RunId) -> DeliveryKey {
        DeliveryKey { connector: self.connector.clone(), run: self.run(run) }
    }

    /// Every run, in order.
    #[must_use]
    pub fn run_keys(&self) -> Vec<RunKey> {
        self.runs.iter().map(|run| self.run(run)).collect()
    }

    /// Every delivery, in the order of the runs.
    #[must_use]
    pub fn deliveries(&self) -> Vec<DeliveryKey> {
        self.runs.iter().map(|run| self.delivery(run)).collect()
    }
}

/// A run that a step could not take on.
#[derive(Debug)]
pub struct FailedRun {
    /// The run.
    pub run: RunKey,
    /// Why.
    pub error: StepError,
}

impl FailedRun {
    /// A run and its failure.
    #[must_use]
    pub fn new(run: RunKey, error: StepError) -> Self {
        Self { run, error }
    }
}

/// Whether a step has runs to go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// Some runs got through.
    GoOn,
    /// None did.
    AllFailed,
}

/// Ends the deliveries of runs that a step could not take on, each with its own failure, and returns the runs.
///
/// # Errors
///
/// If no run got through, the step fails: with the first failure that may pass when the step is tried again, else with
/// the first of all. What will never pass is recorded before, if there is more than one run: the step's own failure
/// does not take its place.
pub(crate) async fn settle(
    deliveries: &dyn DeliveryStore,
    connectors: &[ConnectorId],
    mut failed: Vec<FailedRun>,
    others: Others,
    now: Timestamp,
    classify: fn(PortError) -> StepError,
) -> Result<Vec<FailedRun>, StepError> {
    if failed.len() == 1 && others == Others::AllFailed {
        return Err(failed.remove(0).error);
    }
    let ended: Vec<_> = failed
        .iter()
        .filter(|failed| others == Others::GoOn || !may_pass(failed.error.code))
        .flat_map(|failed| {
            let delivery =
                |connector: &ConnectorId| DeliveryKey { connector: connector.clone(), run: failed.run.clone() };
            connectors.iter().map(move |connector| (delivery(connector), Ended::Failed(Failure::of(&failed.error))))
        })
        .collect();
    if !ended.is_empty() {
        deliveries.end(&ended, now).await.map_err(classify)?;
    }
    if others == Others::GoOn || failed.is_empty() {
        return Ok(failed);
    }
    let first = failed.iter().position(|failed| may_pass(failed.error.code)).unwrap_or(0);
    Err(failed.remove(first).error)
}

/// Whether the same input may pass when it is tried again.
pub(crate) fn may_pass(code: FailureCode) -> bool {
    match code.class() {
        RetryClass::Transient | RetryClass::Conflict => true,
        RetryClass::Rejected | RetryClass::Defect => false,
    }
}
