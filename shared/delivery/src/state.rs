//! The life of a delivery, as the operator sees it.

use crate::batch::Origin;
use crate::failure::{FailureCode, Phase, StepError};
use crate::ids::DeliveryKey;
use crate::metadata::DeliveredRun;
use crate::timestamp::Timestamp;

/// The steps of a delivery, in order. Each is a task of `DeliverRun`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// `StageRun`.
    Staging,
    /// `PublishRun`, until the commit is in the log.
    Loading,
    /// `PublishRun`, after the commit.
    Publishing,
    /// `ShareTables`.
    Sharing,
    /// `ProveDelivery`.
    Proving,
    /// `PromoteLatest`.
    Promoting,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 6] =
        [Self::Staging, Self::Loading, Self::Publishing, Self::Sharing, Self::Proving, Self::Promoting];

    /// The code of a function that ended without an answer in this step, more often than it is retried.
    #[must_use]
    pub fn interrupted(self) -> FailureCode {
        match self {
            Self::Staging => FailureCode::StagingInterrupted,
            Self::Loading => FailureCode::LoadInterrupted,
            Self::Publishing | Self::Promoting => FailureCode::PublishInterrupted,
            Self::Sharing => FailureCode::ShareInterrupted,
            Self::Proving => FailureCode::ProofInterrupted,
        }
    }
}

/// The state of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryState {
    /// The run is recorded and its execution is asked for.
    Accepted,
    /// A step has begun.
    InProgress(Step),
    /// Delivered, shared and proven. Final.
    Shared,
    /// A step failed for good. May be started again.
    Failed,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Accepted,
        Self::InProgress(Step::Staging),
        Self::InProgress(Step::Loading),
        Self::InProgress(Step::Publishing),
        Self::InProgress(Step::Sharing),
        Self::InProgress(Step::Proving),
        Self::InProgress(Step::Promoting),
        Self::Shared,
        Self::Failed,
    ];

    /// The state's stable text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::InProgress(Step::Staging) => "staging",
            Self::InProgress(Step::Loading) => "loading",
            Self::InProgress(Step::Publishing) => "publishing",
            Self::InProgress(Step::Sharing) => "sharing",
            Self::InProgress(Step::Proving) => "proving",
            Self::InProgress(Step::Promoting) => "promoting",
            Self::Shared => "shared",
            Self::Failed => "failed",
        }
    }

    /// Reads a state's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// The state after an event. The whole life of a delivery is this match; stores keep it by a condition on the
    /// write. Steps may run twice and a failed delivery may be started again, so only `shared` is final.
    #[must_use]
    pub fn after(self, event: DeliveryEvent) -> Self {
        match (self, event) {
            (Self::Shared, _) | (_, DeliveryEvent::Delivered) => Self::Shared,
            (_, DeliveryEvent::Entered(step)) => Self::InProgress(step),
            (_, DeliveryEvent::Failed) => Self::Failed,
        }
    }
}

/// What happens to a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryEvent {
    /// A step began.
    Entered(Step),
    /// Every step is done.
    Delivered,
    /// A step failed for good.
    Failed,
}

/// What the state table knows of a delivery that a step needs to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The delivery.
    pub key: DeliveryKey,
    /// Its state.
    pub state: DeliveryState,
    /// What it was last begun for: to start it again is to do that again.
    pub origin: Origin,
    /// When it came into its state.
    pub moved_at: Timestamp,
    /// The first table version that the load ever aimed at: a later attempt looks for its own commit from there.
    pub aimed_table_version: Option<u64>,
    /// The table version that holds the run, once it is known.
    pub loaded_table_version: Option<u64>,
}

/// A failure as it is kept on the delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The stable code.
    pub code: FailureCode,
    /// What happened and what to do.
    pub message: String,
}

/// The longest failure text that is kept, in characters.
pub const FAILURE_CHARS_MAX: usize = 1_000;

impl Failure {
    /// What is kept of a step's failure.
    #[must_use]
    pub fn of(error: &StepError) -> Self {
        Self { code: error.code, message: error.message.chars().take(FAILURE_CHARS_MAX).collect() }
    }

    /// The phase that the failure is reported as.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.code.phase()
    }
}

/// What a delivery ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Delivered.
    Shared(Box<DeliveredRun>),
    /// Failed.
    Failed(Failure),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shared_is_final() {
        for state in DeliveryState::ALL {
            for step in Step::ALL {
                let entered = state.after(DeliveryEvent::Entered(step));
                let expected = if state == DeliveryState::Shared { state } else { DeliveryState::InProgress(step) };
                assert_eq!(entered, expected);
            }
            assert_eq!(state.after(DeliveryEvent::Delivered), DeliveryState::Shared);
            assert_eq!(state.after(DeliveryEvent::Failed) == DeliveryState::Shared, state == DeliveryState::Shared);
        }
    }

    #[test]
    fn states_read_back() {
        for state in DeliveryState::ALL {
            assert_eq!(DeliveryState::parse(state.as_str()), Some(state));
        }
    }
}
