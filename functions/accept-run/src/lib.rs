//! `AcceptRun`: run-completed messages in, recorded runs and started executions out.

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use aws::sfn::StepFunctionsStarter;
use aws::sqs::DeadLetters;
use delivery::accept::accept;
use delivery::failure::StepError;
use delivery::ports::{Clock, DeliveryStarter, RefusedMessages, RunStore, TableStore};
use lambda::{BatchTask, Environment, SettingsError, SystemClock};

/// The function.
pub struct AcceptRun {
    runs: Arc<dyn RunStore>,
    tables: Arc<dyn TableStore>,
    starter: Arc<dyn DeliveryStarter>,
    refused: Arc<dyn RefusedMessages>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for AcceptRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AcceptRun")
    }
}

#[async_trait]
impl BatchTask for AcceptRun {
    const STEP: &'static str = "AcceptRun";
    const SETTINGS: &'static [&'static str] = &["STATE_TABLE_NAME", "DELIVER_RUN_ARN", "REFUSED_MESSAGES_QUEUE_URL"];

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        Ok(Self {
            runs: store.clone(),
            tables: store,
            starter: Arc::new(StepFunctionsStarter::new(&config, environment.require("DELIVER_RUN_ARN")?)),
            refused: Arc::new(DeadLetters::new(&config, environment.require("REFUSED_MESSAGES_QUEUE_URL")?)),
            clock: Arc::new(SystemClock),
        })
    }

    async fn handle(&self, body: &str) -> Result<(), StepError> {
        let announcement = events::run_completed::parse(body.as_bytes())?;
        let accepted = accept(&*self.runs, &*self.tables, &*self.starter, announcement, self.clock.now()).await?;
        tracing::info!(accepted = ?accepted, "message accepted");
        Ok(())
    }

    fn refused(&self) -> &dyn RefusedMessages {
        &*self.refused
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use testkit::builders::{PutConnector as _, connector, run_key};
    use testkit::sharing::ManualClock;
    use testkit::state::InMemoryState;

    use super::*;

    async fn function() -> (AcceptRun, Arc<InMemoryState>) {
        let state = Arc::new(InMemoryState::default());
        state.put_connector(&connector("acme", "team-acme")).await.unwrap();
        let clock = Arc::new(ManualClock::at_seconds(0));
        let function = AcceptRun {
            runs: state.clone(),
            tables: state.clone(),
            starter: state.clone(),
            refused: state.clone(),
            clock,
        };
        (function, state)
    }

    #[tokio::test]
    async fn a_message_becomes_a_recorded_run_and_one_execution() {
        let (function, state) = function().await;
        let message = json!({
            "eventType": "workflow_run_completed", "teamId": "team-acme", "workflowId": "w-1", "workflowName": "W",
            "runId": "r-1", "state": "FINISHED", "finishedAt": "2026-09-01T06:07:30Z",
            "schema": {"fields": [{"name": "title", "dataType": "STRING"}]},
            "output": {"format": "jsonl", "objects": [{"key": "k"}], "rowCount": 1},
        });
        for _ in 0..2 {
            function.handle(&message.to_string()).await.unwrap();
        }
        let key = run_key("team-acme", "w-1", "r-1");
        assert_eq!(state.started().keys().collect::<Vec<_>>(), [&key.execution_name()]);
        assert_eq!(state.recorded_run(&key).await.unwrap().unwrap().key, key);
    }

    #[tokio::test]
    async fn a_message_that_can_never_pass_is_rejected_with_its_code() {
        let (function, state) = function().await;
        let error = function.handle("{").await.unwrap_err();
        assert_eq!(error.code, delivery::failure::FailureCode::MessageNotJson);
        assert!(state.started().is_empty());
    }
}
