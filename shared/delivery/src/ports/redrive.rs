//! What redriving needs: which deliveries of a connector are not shared, starting one of them again, and dead-letter
//! queues.

use async_trait::async_trait;

use super::PortError;
use crate::batch::Origin;
use crate::ids::{ConnectorId, DeliveryKey};
use crate::redrive::{DeadLetter, QueueDepth, Undelivered, UndeliveredPosition};
use crate::timestamp::Timestamp;

/// Lists the deliveries that are not shared. The list may be some seconds behind the records.
#[async_trait]
pub trait UndeliveredDeliveries: Send + Sync {
    /// A connector's deliveries that are not shared, the one that waits longest first, behind a position: at most
    /// `limit` of them; fewer only if there are no more.
    async fn undelivered(
        &self,
        connector: &ConnectorId,
        after: Option<&UndeliveredPosition>,
        limit: usize,
    ) -> Result<Vec<Undelivered>, PortError>;
}

/// Starts deliveries again.
#[async_trait]
pub trait DeliveryRestarter: Send + Sync {
    /// Starts `DeliverRun` for one delivery that came into its state at an instant (it failed, or was left behind then),
    /// with the origin that it had, unless an execution that was started for the same instant runs.
    async fn start_again(&self, delivery: &DeliveryKey, origin: Origin, stopped_at: Timestamp)
    -> Result<(), PortError>;
}

/// A dead-letter queue and the queue whose messages it keeps.
#[async_trait]
pub trait DeadLetterQueue: Send + Sync {
    /// At most `limit` (1 to 10) messages, hidden from others for a while; none if the queue is empty.
    async fn receive(&self, limit: usize) -> Result<Vec<DeadLetter>, PortError>;

    /// Sends a copy of a message to the queue that it came from.
    async fn send_back(&self, letter: &DeadLetter) -> Result<(), PortError>;

    /// How many messages the queue holds, as far as it knows: the numbers may be some seconds old.
    async fn depth(&self) -> Result<QueueDepth, PortError>;

    /// Takes a message out of the dead-letter queue.
    async fn remove(&self, letter: &DeadLetter) -> Result<(), PortError>;

    /// Shows a message to others again.
    async fn release(&self, letter: &DeadLetter) -> Result<(), PortError>;
}
