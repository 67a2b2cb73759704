//! `RecordOutcome`: deliveries are shared, or failed at a phase with a code. The first live delivery that is shared to a
//! ready connector begins the rollout of its history.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use aws::sfn::StepFunctionsStarter;
use aws::sqs::MetadataQueue;
use delivery::batch::Origin;
use delivery::connector::ConnectorState;
use delivery::failure::StepError;
use delivery::outcome::{Recording, begin_rollout, record_failed, record_shared};
use delivery::ports::{Clock, DeliveryStore, MetadataWriterWaker, RolloutStarter, RolloutStore};
use events::steps::{OutcomeRecorded, RecordOutcomeInput};
use lambda::{Environment, SettingsError, Subject, SystemClock, Task};

/// The function.
pub struct RecordOutcome {
    deliveries: Arc<dyn DeliveryStore>,
    waker: Arc<dyn MetadataWriterWaker>,
    rollouts: Arc<dyn RolloutStore>,
    starter: Arc<dyn RolloutStarter>,
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
    const SETTINGS: &'static [&'static str] =
        &["STATE_TABLE_NAME", "METADATA_QUEUE_URL", "METADATA_BATCH_SECONDS", "BACKFILL_ARN"];
    type Input = RecordOutcomeInput;
    type Output = OutcomeRecorded;

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        let seconds =
            environment.require_as("METADATA_BATCH_SECONDS", "a number of seconds", |text| text.parse().ok())?;
        let waker = MetadataQueue::new(&config, environment.require("METADATA_QUEUE_URL")?, seconds);
        let starter = StepFunctionsStarter::new(&config, environment.require("BACKFILL_ARN")?);
        Ok(Self {
            deliveries: store.clone(),
            waker: Arc::new(waker),
            rollouts: store,
            starter: Arc::new(starter),
            clock: Arc::new(SystemClock),
        })
    }

    fn subject(input: &RecordOutcomeInput) -> Subject {
        match input {
            RecordOutcomeInput::Delivered(published) => Subject::of_batch(&published.batch()),
            RecordOutcomeInput::Failed { deliveries, .. } => match deliveries.as_slice() {
                [one] => Subject::Delivery(one.clone()),
                many => Subject::of_runs(&many.iter().map(|delivery| delivery.run.clone()).collect::<Vec<_>>()),
            },
        }
    }

    async fn handle(&self, input: RecordOutcomeInput) -> Result<OutcomeRecorded, StepError> {
        let ports = Recording {
            deliveries: &*self.deliveries,
            waker: &*self.waker,
            rollouts: &*self.rollouts,
            starter: &*self.starter,
            clock: &*self.clock,
        };
        match input {
            RecordOutcomeInput::Delivered(published) => {
                let delivered = published.delivered();
                let shared_count = delivered.len();
                let batch = published.batch();
                record_shared(ports, &batch, delivered).await?;
                let table = &published.table;
                if let (Origin::Live, Some(ConnectorState::Ready), Some(revision)) =
                    (published.input.staged.origin, table.connector_state, table.connector_revision)
                {
                    begin_rollout(ports, &batch.connector, revision).await?;
                }
                let failed = if published.lost_runs() { vec![batch.connector] } else { Vec::new() };
                Ok(OutcomeRecorded { shared_count, failed, code: None })
            }
            RecordOutcomeInput::Failed { deliveries, origin, step, failure } => {
                let kept = record_failed(ports, &deliveries, origin, step, failure).await?;
                for delivery in &deliveries {
                    tracing::warn!(
                        delivery.id = %delivery,
                        failure.code = %kept.code,
                        failure.phase = kept.phase().as_str(),
                        "delivery failed"
                    );
                }
                let failed: BTreeSet<_> = deliveries.into_iter().map(|delivery| delivery.connector).collect();
                Ok(OutcomeRecorded { shared_count: 0, failed: failed.into_iter().collect(), code: Some(kept.code) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use delivery::metadata::MetadataTable;
    use delivery::state::DeliveryState;
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
            rollouts: state.clone(),
            starter: state.clone(),
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
            let expected = json!({"sharedCount": 0, "failed": ["acme"], "code": code});
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
            assert_eq!(serde_json::to_value(output).unwrap(), json!({"sharedCount": 1, "failed": []}));
            assert_eq!(state.waiting_rows(&key.connector, MetadataTable::WorkflowRuns), 1, "a retry adds no row");
            assert_eq!(state.wakes().len(), attempt, "and wakes the writer all the same");
        }
        assert_eq!(state.record(&key).unwrap().delivery.state, DeliveryState::Shared);
    }
}
