//! `RecordOutcome`: a delivery is shared, or failed at a phase with a code.

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use aws::sqs::MetadataQueue;
use delivery::failure::{FailureCode, StepError};
use delivery::outcome::{record_failed, record_shared};
use delivery::ports::{Clock, DeliveryStore, MetadataWriterWaker};
use delivery::state::DeliveryState;
use events::steps::{OutcomeRecorded, RecordOutcomeInput};
use lambda::{Environment, SettingsError, Subject, SystemClock, Task};

/// The function.
pub struct RecordOutcome {
    deliveries: Arc<dyn DeliveryStore>,
    waker: Arc<dyn MetadataWriterWaker>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for RecordOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordOutcome")
    }
}

#[async_trait]
impl Task for RecordOutcome {
    const STEP: &'static str = "RecordOutcome";
    const SETTINGS: &'static [&'static str] = &["STATE_TABLE_NAME", "METADATA_QUEUE_URL", "METADATA_BATCH_SECONDS"];
    type Input = RecordOutcomeInput;
    type Output = OutcomeRecorded;

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?);
        let seconds =
            environment.require_as("METADATA_BATCH_SECONDS", "a number of seconds", |text| text.parse().ok())?;
        let waker = MetadataQueue::new(&config, environment.require("METADATA_QUEUE_URL")?, seconds);
        Ok(Self { deliveries: Arc::new(store), waker: Arc::new(waker), clock: Arc::new(SystemClock) })
    }

    fn subject(input: &RecordOutcomeInput) -> Subject {
        match input {
            RecordOutcomeInput::Delivered(published) => Subject::Delivery(published.delivery()),
            RecordOutcomeInput::Failed { deliveries, .. } => match deliveries.as_slice() {
                [one] => Subject::Delivery(one.clone()),
                [first, ..] => Subject::Run(first.run.clone()),
                [] => Subject::Unknown,
            },
        }
    }

    async fn handle(&self, input: RecordOutcomeInput) -> Result<OutcomeRecorded, StepError> {
        let now = self.clock.now();
        match input {
            RecordOutcomeInput::Delivered(published) => {
                let delivery = published.delivery();
                let delivered = published.delivered();
                record_shared(&*self.deliveries, &*self.waker, &*self.clock, &delivery, delivered).await?;
                let (run, connectors) = (delivery.run, vec![delivery.connector]);
                Ok(OutcomeRecorded { run, connectors, state: DeliveryState::Shared, code: None })
            }
            RecordOutcomeInput::Failed { deliveries, step, failure } => {
                let Some(run) = deliveries.first().map(|delivery| delivery.run.clone()) else {
                    return Err(StepError::new(FailureCode::ConnectorNotFound, "the failure names no connector"));
                };
                let mut code = None;
                for delivery in &deliveries {
                    let kept = record_failed(&*self.deliveries, delivery, step, failure.clone(), now).await?;
                    tracing::warn!(
                        delivery.id = %delivery,
                        failure.code = %kept.code,
                        failure.phase = kept.phase().as_str(),
                        "delivery failed"
                    );
                    code = Some(kept.code);
                }
                let connectors = deliveries.into_iter().map(|delivery| delivery.connector).collect();
                Ok(OutcomeRecorded { run, connectors, state: DeliveryState::Failed, code })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use delivery::metadata::MetadataTable;
    use serde_json::json;
    use testkit::builders::{connector_id, delivery_key, run_key};
    use testkit::sharing::ManualClock;
    use testkit::state::InMemoryState;

    use super::*;

    #[tokio::test]
    async fn what_a_catcher_caught_is_recorded_and_reported() {
        let state = Arc::new(InMemoryState::default());
        let function = RecordOutcome {
            deliveries: state.clone(),
            waker: state.clone(),
            clock: Arc::new(ManualClock::at_seconds(0)),
        };
        let run = json!({"teamId": "t", "workflowId": "w-1", "runId": "r-1"});
        let cause = json!({"errorType": "Delivery.Rejected", "errorMessage": "ROW_NOT_JSON: line 2"}).to_string();
        for (input, code) in [
            (
                json!({"connectorId": "acme", "run": run, "failure": {"PublishRun": {"Error": "Delivery.Rejected", "Cause": cause}}}),
                "ROW_NOT_JSON",
            ),
            (
                json!({"connectorId": "acme", "run": run, "failure": {"ProveDelivery": {"Error": "States.Timeout", "Cause": ""}}}),
                "PROOF_INTERRUPTED",
            ),
        ] {
            let output = function.handle(serde_json::from_value(input).unwrap()).await.unwrap();
            let expected = json!({"run": run, "connectors": ["acme"], "state": "failed", "code": code});
            assert_eq!(serde_json::to_value(output).unwrap(), expected);
        }
        let delivered = json!({
            "connectorId": "acme", "run": run,
            "staged": {"workflowName": "Box office", "fingerprint": "f", "rows": 3, "rejectedRows": 0, "bytes": 30,
                       "finishedAt": "2026-09-01T00:07:30Z"},
            "table": {"name": "WF_W_1__V1", "schemaVersion": 1, "tableVersion": 0, "label": "W_1",
                      "membership": "unshared", "schemaDigest": "d"},
        });
        let key = delivery_key(&connector_id("acme"), &run_key("t", "w-1", "r-1"));
        assert_eq!(state.waiting_rows(&key.connector, MetadataTable::WorkflowRuns), 0, "failures have no row");
        for attempt in 1..=2 {
            let output = function.handle(serde_json::from_value(delivered.clone()).unwrap()).await.unwrap();
            assert_eq!(
                serde_json::to_value(output).unwrap(),
                json!({"run": run, "connectors": ["acme"], "state": "shared"})
            );
            assert_eq!(state.waiting_rows(&key.connector, MetadataTable::WorkflowRuns), 1, "a retry adds no row");
            assert_eq!(state.wakes().len(), attempt, "and wakes the writer all the same");
        }
        assert_eq!(state.record(&key).unwrap().delivery.state, DeliveryState::Shared);
    }
}
