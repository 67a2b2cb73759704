//! What the rollout of a connector waits for, and the rollouts that were started.

use async_trait::async_trait;
use delivery::connector::ConnectorState;
use delivery::ids::ConnectorId;
use delivery::ports::{LiveFailure, PortError, RolloutStarter, RolloutStore};
use delivery::state::DeliveryState;

use super::InMemoryState;

impl InMemoryState {
    /// The rollouts that were started, each once: connector and revision.
    #[must_use]
    pub fn rollouts(&self) -> Vec<(ConnectorId, u64)> {
        self.with(|inner| inner.rollouts.clone())
    }
}

#[async_trait]
impl RolloutStarter for InMemoryState {
    async fn start(&self, connector: &ConnectorId, revision: u64) -> Result<(), PortError> {
        self.call("start a rollout", |inner| {
            let rollout = (connector.clone(), revision);
            if !inner.rollouts.contains(&rollout) {
                inner.rollouts.push(rollout);
            }
            Ok(())
        })
    }
}

#[async_trait]
impl RolloutStore for InMemoryState {
    async fn note_live_failure(&self, failure: &LiveFailure) -> Result<(), PortError> {
        self.call("note that a live delivery failed", |inner| {
            let connector = &failure.delivery.connector;
            let is_ready = inner.connectors.get(connector).is_some_and(|known| known.state == ConnectorState::Ready);
            let delivery = inner.deliveries.get(&failure.delivery);
            if is_ready && delivery.is_none_or(|known| known.delivery.state != DeliveryState::Shared) {
                inner.live_failures.insert(connector.clone(), failure.clone());
            }
            Ok(())
        })
    }

    async fn live_failure(&self, connector: &ConnectorId) -> Result<Option<LiveFailure>, PortError> {
        self.call("read why a rollout waits", |inner| Ok(inner.live_failures.get(connector).cloned()))
    }

    async fn forget_live_failure(&self, connector: &ConnectorId) -> Result<(), PortError> {
        self.call("forget why a rollout waited", |inner| {
            inner.live_failures.remove(connector);
            Ok(())
        })
    }
}
