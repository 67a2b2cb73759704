//! Step Functions: starts executions.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sfn::Client;
use aws_sdk_sfn::operation::start_execution::StartExecutionError;
use delivery::ids::{ConnectorId, RunKey};
use delivery::ports::{DeliveryStarter, PortError, PortErrorKind};
use events::steps::DeliverRunInput;

use crate::failure::port_error;

const START: &str = "start the run's execution";

/// Starts `DeliverRun`.
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
        let input = DeliverRunInput { run: run.clone(), connectors: connectors.to_vec() };
        let input =
            serde_json::to_string(&input).map_err(|error| PortError::new(PortErrorKind::InvalidData, START, error))?;
        let started = self
            .client
            .start_execution()
            .state_machine_arn(&self.state_machine_arn)
            .name(run.execution_name())
            .input(input)
            .send()
            .await;
        match started {
            Ok(_) => Ok(()),
            // A copy of the message was first.
            Err(error) if error.as_service_error().is_some_and(StartExecutionError::is_execution_already_exists) => {
                Ok(())
            }
            Err(error) => Err(port_error(START, error)),
        }
    }
}
