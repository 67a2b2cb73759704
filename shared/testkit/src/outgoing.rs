//! A bus in memory, which may refuse some of what it is offered.

use std::sync::Mutex;

use async_trait::async_trait;
use delivery::outgoing::{OutgoingEvent, Taken};
use delivery::ports::{EventBus, PortError};

use crate::faults::Faults;

/// A bus in memory.
#[derive(Debug, Default)]
pub struct InMemoryBus {
    /// Faults of its calls.
    pub faults: Faults,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    taken: Vec<OutgoingEvent>,
    requests: Vec<Vec<OutgoingEvent>>,
    refusals: usize,
}

impl InMemoryBus {
    /// Refuses every second event of so many requests from now on.
    pub fn refuse_some(&self, requests: usize) {
        self.with(|inner| inner.refusals = requests);
    }

    /// The events that were taken, in their order.
    #[must_use]
    pub fn taken(&self) -> Vec<OutgoingEvent> {
        self.with(|inner| inner.taken.clone())
    }

    /// What was offered, request by request.
    #[must_use]
    pub fn requests(&self) -> Vec<Vec<OutgoingEvent>> {
        self.with(|inner| inner.requests.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

#[async_trait]
impl EventBus for InMemoryBus {
    async fn put(&self, events: &[&OutgoingEvent]) -> Result<Vec<Taken>, PortError> {
        self.faults.call("put events on the bus", || {
            Ok(self.with(|inner| {
                inner.requests.push(events.iter().map(|event| (*event).clone()).collect());
                let refuses = inner.refusals > 0;
                inner.refusals = inner.refusals.saturating_sub(1);
                let mut answer = Vec::new();
                for (index, event) in events.iter().enumerate() {
                    if refuses && index % 2 == 0 {
                        answer.push(Taken::No("ThrottlingException".to_owned()));
                    } else {
                        inner.taken.push((*event).clone());
                        answer.push(Taken::Yes);
                    }
                }
                answer
            }))
        })
    }
}
