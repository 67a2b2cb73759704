//! Recording what deliveries ended with, and what follows for a connector whose history waits.

use crate::batch::{Batch, Origin};
use crate::failure::{FailureCode, StepError};
use crate::ids::{ConnectorId, DeliveryKey, RunId};
use crate::metadata::DeliveredRun;
use crate::ports::{Clock, DeliveryStore, LiveFailure, MetadataWriterWaker, PortError, RolloutStarter, RolloutStore};
use crate::state::{Ended, Failure, Step};

/// What recording needs of the world.
#[derive(Clone, Copy)]
pub struct Recording<'a> {
    /// Where the deliveries' states are kept.
    pub deliveries: &'a dyn DeliveryStore,
    /// What writes `WORKFLOW_RUNS`.
    pub waker: &'a dyn MetadataWriterWaker,
    /// What the rollout of a connector waits for.
    pub rollouts: &'a dyn RolloutStore,
    /// What starts the rollout of history.
    pub starter: &'a dyn RolloutStarter,
    /// The time.
    pub clock: &'a dyn Clock,
}

impl std::fmt::Debug for Recording<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recording")
    }
}

/// Records the deliveries of a batch as shared and their rows of `WORKFLOW_RUNS` as waiting, each with its row in one
/// write, and wakes the writer once: also when they were shared before, because the attempt that shared them may have
/// ended before it woke anybody.
///
/// # Errors
///
/// `SHARE_UNAVAILABLE` if the state table or the queue did not answer.
pub async fn record_shared(
    ports: Recording<'_>,
    batch: &Batch,
    delivered: Vec<(RunId, DeliveredRun)>,
) -> Result<(), StepError> {
    let ended =
        delivered.into_iter().map(|(run, delivered)| (batch.delivery(&run), Ended::Shared(Box::new(delivered))));
    ports.deliveries.end(&ended.collect::<Vec<_>>(), ports.clock.now()).await.map_err(classify)?;
    // The time after the write: a wake covers what was written before it.
    ports.waker.wake(&batch.connector, ports.clock.now()).await.map_err(classify)
}

/// Begins the rollout of history, because a live delivery is proven and its connector was ready when it was loaded, in
/// this revision of its record.
///
/// # Errors
///
/// `SHARE_UNAVAILABLE` if the state table or Step Functions did not answer.
pub async fn begin_rollout(ports: Recording<'_>, connector: &ConnectorId, revision: u64) -> Result<(), StepError> {
    ports.rollouts.forget_live_failure(connector).await.map_err(classify)?;
    ports.starter.start(connector, revision).await.map_err(classify)
}

/// Records deliveries as failed in a step and returns the failure. A function that ended without an answer has no
/// failure of its own: the step gives the code. A ready connector, whose rollout waits for a live delivery, has the
/// failure beside its record, too.
///
/// # Errors
///
/// `SHARE_UNAVAILABLE` if the state table did not answer.
pub async fn record_failed(
    ports: Recording<'_>,
    deliveries: &[DeliveryKey],
    origin: Origin,
    step: Step,
    failure: Option<Failure>,
) -> Result<Failure, StepError> {
    let now = ports.clock.now();
    let failure = failure.unwrap_or_else(|| Failure {
        code: step.interrupted(),
        message: "the function ended without an answer, more often than it is tried; see its log, then start \
                  DeliverRun again"
            .to_owned(),
    });
    ports.deliveries.fail(deliveries, &failure, origin, now).await.map_err(classify)?;
    if origin == Origin::Live {
        for delivery in deliveries {
            let noted = LiveFailure { delivery: delivery.clone(), code: failure.code, at: now };
            ports.rollouts.note_live_failure(&noted).await.map_err(classify)?;
        }
    }
    Ok(failure)
}

fn classify(error: PortError) -> StepError {
    StepError::caused(FailureCode::ShareUnavailable, "the outcome could not be recorded; it is tried again", error)
}
