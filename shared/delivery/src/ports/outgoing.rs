//! Where events go.

use async_trait::async_trait;

use super::PortError;
use crate::outgoing::{OutgoingEvent, Taken};

/// Takes events for the vendor's other systems.
#[async_trait]
pub trait EventBus: Send + Sync {
    /// Offers at most [`crate::outgoing::EVENTS_PER_REQUEST_MAX`] events: one request. Says for each of them, in their
    /// order, whether it was taken.
    async fn put(&self, events: &[&OutgoingEvent]) -> Result<Vec<Taken>, PortError>;
}
