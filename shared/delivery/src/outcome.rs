//! Recording what a delivery ended with.

use crate::failure::{FailureCode, StepError};
use crate::ids::DeliveryKey;
use crate::metadata::DeliveredRun;
use crate::ports::{Clock, DeliveryStore, MetadataWriterWaker, PortError};
use crate::state::{Ended, Failure, Step};
use crate::timestamp::Timestamp;

/// Records a delivery as shared and its row of `WORKFLOW_RUNS` as waiting, in one write, and wakes the writer: also
/// when the delivery was shared before, because the attempt that shared it may have ended before it woke anybody.
///
/// # Errors
///
/// `SHARE_UNAVAILABLE` if the state table or the queue did not answer.
pub async fn record_shared(
    deliveries: &dyn DeliveryStore,
    waker: &dyn MetadataWriterWaker,
    clock: &dyn Clock,
    delivery: &DeliveryKey,
    delivered: DeliveredRun,
) -> Result<(), StepError> {
    let ended = Ended::Shared(Box::new(delivered));
    deliveries.end(delivery, &ended, clock.now()).await.map_err(classify)?;
    // The time after the write: a wake covers what was written before it.
    waker.wake(&delivery.connector, clock.now()).await.map_err(classify)
}

/// Records a delivery as failed in a step and returns the failure that is kept. A function that ended without an
/// answer has no failure of its own: the step gives the code.
///
/// # Errors
///
/// `SHARE_UNAVAILABLE` if the state table did not answer.
pub async fn record_failed(
    deliveries: &dyn DeliveryStore,
    delivery: &DeliveryKey,
    step: Step,
    failure: Option<Failure>,
    now: Timestamp,
) -> Result<Failure, StepError> {
    let failure = failure.unwrap_or_else(|| Failure {
        code: step.interrupted(),
        message: "the function ended without an answer, more often than it is tried; see its log, then start \
                  DeliverRun again"
            .to_owned(),
    });
    deliveries.end(delivery, &Ended::Failed(failure.clone()), now).await.map_err(classify)?;
    Ok(failure)
}

fn classify(error: PortError) -> StepError {
    StepError::caused(FailureCode::ShareUnavailable, "the outcome could not be recorded; it is tried again", error)
}
