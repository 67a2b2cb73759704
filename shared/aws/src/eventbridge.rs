//! EventBridge: where events go.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use delivery::outgoing::{OutgoingEvent, Taken};
use delivery::ports::{EventBus, PortError, PortErrorKind};
use events::outgoing::{SOURCE, detail};

use crate::failure::port_error;

const PUT: &str = "put events on the bus";

/// A bus of EventBridge.
#[derive(Debug, Clone)]
pub struct EventBridgeBus {
    client: Client,
    bus: String,
}

impl EventBridgeBus {
    /// The bus of a name or an ARN.
    #[must_use]
    pub fn new(config: &SdkConfig, bus: &str) -> Self {
        Self { client: Client::new(config), bus: bus.to_owned() }
    }
}

#[async_trait]
impl EventBus for EventBridgeBus {
    async fn put(&self, events: &[&OutgoingEvent]) -> Result<Vec<Taken>, PortError> {
        let mut entries = Vec::with_capacity(events.len());
        for event in events {
            let detail = detail(event).map_err(|error| PortError::new(PortErrorKind::InvalidData, PUT, error))?;
            let entry = PutEventsRequestEntry::builder().event_bus_name(&self.bus).source(SOURCE);
            entries.push(entry.detail_type(event.what.name()).detail(detail).build());
        }
        let answer = self.client.put_events().set_entries(Some(entries)).send().await;
        let answer = answer.map_err(|error| port_error(PUT, error))?;
        let taken: Vec<Taken> = answer
            .entries()
            .iter()
            .map(|entry| entry.error_code().map_or(Taken::Yes, |code| Taken::No(code.to_owned())))
            .collect();
        if taken.len() != events.len() {
            let source = "the bus answered for another number of events";
            return Err(PortError::new(PortErrorKind::Unavailable, PUT, source));
        }
        Ok(taken)
    }
}
