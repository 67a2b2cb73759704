//! `PublishEvents`: changes of the state table in, events on the vendor's bus out.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::read_change;
use aws::eventbridge::EventBridgeBus;
use aws::sqs::DeadLetters;
use delivery::failure::{FailureCode, StepError};
use delivery::outgoing::{event, publish};
use delivery::ports::{EventBus, RefusedMessages};
use events::outgoing::{Published, StreamBatch, place};
use lambda::{Environment, SettingsError, Subject, Task};

/// The function.
pub struct PublishEvents {
    bus: Arc<dyn EventBus>,
    refused: Arc<dyn RefusedMessages>,
}

impl fmt::Debug for PublishEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublishEvents")
    }
}

#[async_trait]
impl Task for PublishEvents {
    const STEP: &'static str = "PublishEvents";
    const SETTINGS: &'static [&'static str] = &["EVENT_BUS_NAME", "REFUSED_CHANGES_QUEUE_URL"];
    type Input = StreamBatch;
    type Output = Published;

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        Ok(Self {
            bus: Arc::new(EventBridgeBus::new(&config, environment.require("EVENT_BUS_NAME")?)),
            refused: Arc::new(DeadLetters::new(&config, environment.require("REFUSED_CHANGES_QUEUE_URL")?)),
        })
    }

    fn subject(_: &StreamBatch) -> Subject {
        Subject::Unknown
    }

    /// A change that cannot be read never will be: it is put aside, so that it does not hold back the changes behind
    /// it. Any other failure has the stream give the whole batch again.
    async fn handle(&self, input: StreamBatch) -> Result<Published, StepError> {
        let mut found = Vec::new();
        for record in &input.records {
            match read_change(record) {
                Ok(change) => found.extend(change.as_ref().and_then(event)),
                Err(error) => {
                    let error = StepError::caused(FailureCode::EventsChangeUnreadable, error.source.to_string(), error);
                    let place = place(record);
                    tracing::warn!(failure.code = %error.code, failure.cause = %error, change = place, "change put aside");
                    self.refused.refuse(&place, &error).await.map_err(|refusal| {
                        let message = "a change could not be put aside; the stream gives it again";
                        StepError::caused(FailureCode::EventsUnavailable, message, refusal)
                    })?;
                }
            }
        }
        publish(&*self.bus, &found).await?;
        Ok(Published { changes: input.records.len(), events: found.len() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use delivery::outgoing::{OutgoingEvent, Taken};
    use delivery::ports::{PortError, PortErrorKind};
    use lambda::Environment;
    use serde_json::{Value, json};
    use testkit::state::InMemoryState;

    use super::*;

    #[derive(Default)]
    struct Bus {
        taken: Mutex<Vec<String>>,
        away: bool,
    }

    #[async_trait]
    impl EventBus for Bus {
        async fn put(&self, events: &[&OutgoingEvent]) -> Result<Vec<Taken>, PortError> {
            if self.away {
                return Err(PortError::new(PortErrorKind::Unavailable, "put", "away"));
            }
            self.taken.lock().unwrap().extend(events.iter().map(|event| event.what.name().to_owned()));
            Ok(events.iter().map(|_| Taken::Yes).collect())
        }
    }

    fn record(state: &str) -> Value {
        let item = |state: &str| {
            json!({
                "pk": {"S": "CONNECTOR#acme"}, "sk": {"S": "CONNECTOR"}, "connector_id": {"S": "acme"},
                "team_id": {"S": "t"}, "state": {"S": state}, "revision": {"N": "3"}, "record": {"S": "{}"},
            })
        };
        json!({
            "eventID": "e-1", "eventName": "MODIFY",
            "dynamodb": {
                "ApproximateCreationDateTime": 1_788_242_850.25, "SequenceNumber": "17",
                "Keys": {"pk": {"S": "CONNECTOR#acme"}, "sk": {"S": "CONNECTOR"}},
                "OldImage": item("provisioning"), "NewImage": item(state),
            },
        })
    }

    fn function(bus: Bus) -> (PublishEvents, Arc<Bus>, Arc<InMemoryState>) {
        let (bus, refused) = (Arc::new(bus), Arc::new(InMemoryState::default()));
        (PublishEvents { bus: bus.clone(), refused: refused.clone() }, bus, refused)
    }

    fn batch(records: &[Value]) -> StreamBatch {
        serde_json::from_value(json!({ "Records": records })).unwrap()
    }

    #[tokio::test]
    async fn changes_become_events_and_one_that_cannot_be_read_holds_nobody_back() {
        let (function, bus, refused) = function(Bus::default());
        let published = function.handle(batch(&[record("asleep"), record("ready"), json!({})])).await.unwrap();
        assert_eq!(serde_json::to_value(published).unwrap(), json!({"changes": 3, "events": 1}));
        assert_eq!(*bus.taken.lock().unwrap(), ["connector.ready"]);
        let refused = refused.refused();
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].0, json!({"eventId": "e-1", "sequenceNumber": "17"}).to_string(), "no key, no value");
        assert!(refused[0].1.starts_with("EVENTS_CHANGE_UNREADABLE: ") && refused[0].1.contains("state"));
        assert!(!refused[0].1.contains("asleep"));
    }

    #[tokio::test]
    async fn a_batch_that_the_bus_does_not_take_comes_again() {
        let (function, ..) = function(Bus { away: true, ..Bus::default() });
        let error = function.handle(batch(&[record("ready")])).await.unwrap_err();
        assert_eq!(error.code, FailureCode::EventsUnavailable);
    }

    #[tokio::test]
    async fn a_missing_setting_is_named() {
        let environment = Environment::from([("EVENT_BUS_NAME", "default")]);
        let expected = SettingsError::Missing { name: "REFUSED_CHANGES_QUEUE_URL" };
        assert_eq!(PublishEvents::assemble(&environment).await.unwrap_err(), expected);
    }
}
