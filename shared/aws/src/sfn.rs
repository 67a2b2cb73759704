//! Step Functions: starts executions.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sfn::Client;
use aws_sdk_sfn::operation::start_execution::StartExecutionError;
use delivery::ids::{ConnectorId, DeliveryKey, RunKey, rollout_execution_name};
use delivery::ports::{DeliveryRestarter, DeliveryStarter, PortError, PortErrorKind, RolloutStarter};
use delivery::redrive::restart_name;
use delivery::timestamp::Timestamp;
use events::steps::{DeliverRunInput, RolloutInput};

use crate::failure::port_error;

const START: &str = "start the run's execution";
const ROLL_OUT: &str = "start the rollout of a connector";

/// Starts `DeliverRun`, or the rollout of history, whichever its state machine is.
#[derive(Debug, Clone)]
pub struct StepFunctionsStarter {
    client: Client,
    state_machine_arn: String,
}

impl StepFunctionsStarter {
    /// Starts executions of one state machine.
    #[must_use]
    pub fn new(config: &SdkConfig, state_machine_arn: &str) -> Self {
        Self { client: Client::new(config), state_machine_arn: state_machine_arn.to_owned() }
    }
}

#[async_trait]
impl DeliveryStarter for StepFunctionsStarter {
    async fn start(&self, run: &RunKey, connectors: &[ConnectorId]) -> Result<(), PortError> {
        self.begin(START, run.execution_name(), serde_json::to_string(&DeliverRunInput::live(run, connectors))).await
    }
}

#[async_trait]
impl DeliveryRestarter for StepFunctionsStarter {
    async fn start_again(&self, delivery: &DeliveryKey, failed_at: Timestamp) -> Result<(), PortError> {
        let input = DeliverRunInput::live(&delivery.run, std::slice::from_ref(&delivery.connector));
        self.begin(START, restart_name(delivery, failed_at), serde_json::to_string(&input)).await
    }
}

#[async_trait]
impl RolloutStarter for StepFunctionsStarter {
    async fn start(&self, connector: &ConnectorId, revision: u64) -> Result<(), PortError> {
        let input = serde_json::to_string(&RolloutInput::of(connector));
        self.begin(ROLL_OUT, rollout_execution_name(connector, revision), input).await
    }
}

impl StepFunctionsStarter {
    /// Starts an execution, unless there is one of that name.
    async fn begin(
        &self,
        operation: &'static str,
        name: String,
        input: serde_json::Result<String>,
    ) -> Result<(), PortError> {
        let input = input.map_err(|error| PortError::new(PortErrorKind::InvalidData, operation, error))?;
        let started = self
            .client
            .start_execution()
            .state_machine_arn(&self.state_machine_arn)
            .name(name)
            .input(input)
            .send()
            .await;
        match started {
            Ok(_) => Ok(()),
            // Somebody was first: a copy of the message, another delivery, or the same redrive.
            Err(error) if error.as_service_error().is_some_and(StartExecutionError::is_execution_already_exists) => {
                Ok(())
            }
            Err(error) => Err(port_error(operation, error)),
        }
    }
}
