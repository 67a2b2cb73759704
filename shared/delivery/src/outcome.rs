//! Recording what a delivery ended with.

use crate::failure::{FailureCode, StepError};
use crate::ids::DeliveryKey;
use crate::ports::{DeliveryStore, PortError};
use crate::state::{DeliveryState, Ended, Failure, Step};
use crate::timestamp::Timestamp;

/// Records a delivery as shared.
///
/// # Errors
///
/// `SHARE_UNAVAILABLE` if the state table did not answer.
pub async fn record_shared(
    deliveries: &dyn DeliveryStore,
    delivery: &DeliveryKey,
    ended: Ended,
    now: Timestamp,
) -> Result<(), StepError> {
    deliveries.end(delivery, &ended, now).await.map_err(classify)
}

/// Records a delivery as failed and returns the failure that is kept. A function that ended without an answer has
/// no failure of its own: the step that the delivery was in gives the code.
///
/// # Errors
///
/// `SHARE_UNAVAILABLE` if the state table did not answer.
pub async fn record_failed(
    deliveries: &dyn DeliveryStore,
    delivery: &DeliveryKey,
    failure: Option<Failure>,
    now: Timestamp,
) -> Result<Failure, StepError> {
    let failure = match failure {
        Some(failure) => failure,
        None => {
            let state = deliveries.delivery(delivery).await.map_err(classify)?.map(|delivery| delivery.state);
            let step = match state {
                Some(DeliveryState::InProgress(step)) => step,
                Some(DeliveryState::Accepted | DeliveryState::Shared | DeliveryState::Failed) | None => Step::Staging,
            };
            Failure {
                code: step.interrupted(),
                message: "the function ended without an answer, more often than it is tried; see its log".to_owned(),
            }
        }
    };
    deliveries.end(delivery, &Ended::Failed(failure.clone()), now).await.map_err(classify)?;
    Ok(failure)
}

fn classify(error: PortError) -> StepError {
    StepError::caused(FailureCode::ShareUnavailable, "the outcome could not be recorded; it is tried again", error)
}
