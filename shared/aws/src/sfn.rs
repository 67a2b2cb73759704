//! Step Functions: starts executions.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sfn::Client;
use aws_sdk_sfn::operation::start_execution::StartExecutionError;
use aws_sdk_sfn::types::ExecutionStatus;
use delivery::batch::Origin;
use delivery::ids::{ConnectorId, DeliveryKey, RunKey, rollout_execution_name};
use delivery::ports::{DeliveryRestarter, DeliveryStarter, PortError, PortErrorKind, RolloutStarter};
use delivery::redrive::{STARTS_PER_STOP_MAX, restart_name};
use delivery::timestamp::Timestamp;
use events::steps::{DeliverRunInput, RolloutInput};

use crate::failure::port_error;

const START: &str = "start the run's execution";
const RESTART: &str = "start a failed delivery again";
const ROLL_OUT: &str = "start the rollout of a connector";

/// How often a rollout is started for one revision of its connector, if none of them moves the connector on.
const ROLLOUT_STARTS_MAX: u32 = 5;

/// Whether an execution of a name was begun now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    Now,
    Before,
}

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
        let input = written(START, serde_json::to_string(&DeliverRunInput::of_one(run, connectors, Origin::Live)))?;
        self.begin(START, run.execution_name(), input).await?;
        Ok(())
    }
}

#[async_trait]
impl DeliveryRestarter for StepFunctionsStarter {
    async fn start_again(
        &self,
        delivery: &DeliveryKey,
        origin: Origin,
        stopped_at: Timestamp,
    ) -> Result<(), PortError> {
        let input = DeliverRunInput::of_one(&delivery.run, std::slice::from_ref(&delivery.connector), origin);
        let input = written(RESTART, serde_json::to_string(&input))?;
        for start in 1..=STARTS_PER_STOP_MAX {
            let name = restart_name(delivery, stopped_at, start);
            let known = self.begin(RESTART, name.clone(), input.clone()).await?;
            if known == Begun::Now || self.runs(RESTART, &name).await? {
                return Ok(());
            }
        }
        let source = format!("it was started {STARTS_PER_STOP_MAX} times and never came to its first step");
        Err(PortError::new(PortErrorKind::InvalidData, RESTART, source))
    }
}

#[async_trait]
impl RolloutStarter for StepFunctionsStarter {
    async fn start(&self, connector: &ConnectorId, revision: u64) -> Result<(), PortError> {
        let input = written(ROLL_OUT, serde_json::to_string(&RolloutInput::of(connector)))?;
        for start in 1..=ROLLOUT_STARTS_MAX {
            let name = rollout_execution_name(connector, revision, start);
            let known = self.begin(ROLL_OUT, name.clone(), input.clone()).await?;
            // One that ended left the connector ready, or came to its end meanwhile: then the next has nothing to do.
            if known == Begun::Now || self.runs(ROLL_OUT, &name).await? {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn written(operation: &'static str, input: serde_json::Result<String>) -> Result<String, PortError> {
    input.map_err(|error| PortError::new(PortErrorKind::InvalidData, operation, error))
}

impl StepFunctionsStarter {
    /// Starts an execution, unless there is one of that name.
    async fn begin(&self, operation: &'static str, name: String, input: String) -> Result<Begun, PortError> {
        let started = self
            .client
            .start_execution()
            .state_machine_arn(&self.state_machine_arn)
            .name(name)
            .input(input)
            .send()
            .await;
        match started {
            Ok(_) => Ok(Begun::Now),
            // Somebody was first: a copy of the message, another delivery, or the same redrive.
            Err(error) if error.as_service_error().is_some_and(StartExecutionError::is_execution_already_exists) => {
                Ok(Begun::Before)
            }
            Err(error) => Err(port_error(operation, error)),
        }
    }

    /// Whether the execution of a name has not ended.
    async fn runs(&self, operation: &'static str, name: &str) -> Result<bool, PortError> {
        let machine = &self.state_machine_arn;
        let arn = format!("{}:{name}", machine.replacen(":stateMachine:", ":execution:", 1));
        let found = self.client.describe_execution().execution_arn(arn).send().await;
        let found = found.map_err(|error| port_error(operation, error))?;
        Ok(*found.status() == ExecutionStatus::Running)
    }
}
