//! `ChangeConnector` and `EndTokens`: an operator's command to a connector that was set up. Sends nothing to anybody.

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use backends::Backends;
use delivery::change::{Changing, disable, enable, end_tokens, revoke};
use delivery::failure::StepError;
use delivery::ids::ConnectorId;
use delivery::ports::{Clock, ConnectorStore, RecipientBackend, RunStore};
use events::command::{ChangeReport, command};
use lambda::{Environment, SettingsError, Subject, SystemClock, Task};
use serde::Deserialize;
use serde_json::Value;

/// The function.
pub struct ChangeConnector {
    connectors: Arc<dyn ConnectorStore>,
    runs: Arc<dyn RunStore>,
    recipients: Arc<dyn RecipientBackend>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ChangeConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChangeConnector")
    }
}

/// What is asked for.
#[derive(Debug, Deserialize)]
pub struct Input {
    /// What is done.
    action: Action,
    /// The operator's words.
    command: Value,
    /// The execution's ARN.
    execution: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Action {
    Disable,
    Enable,
    Revoke,
    EndTokens,
}

#[async_trait]
impl Task for ChangeConnector {
    const STEP: &'static str = "ChangeConnector";
    const SETTINGS: &'static [&'static str] = &["STATE_TABLE_NAME", "DATABRICKS"];
    type Input = Input;
    type Output = ChangeReport;

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        let recipients = Backends::assemble(environment, &config, store.clone())?.recipients();
        Ok(Self { connectors: store.clone(), runs: store, recipients, clock: Arc::new(SystemClock) })
    }

    fn subject(input: &Input) -> Subject {
        let id = input.command.get("connectorId").and_then(Value::as_str).and_then(|id| ConnectorId::new(id).ok());
        id.map_or(Subject::Unknown, Subject::Connector)
    }

    async fn handle(&self, input: Input) -> Result<ChangeReport, StepError> {
        let ports = Changing {
            connectors: &*self.connectors,
            runs: &*self.runs,
            recipients: &*self.recipients,
            clock: &*self.clock,
        };
        let command = command(&input.command, &input.execution)?;
        let connector = match input.action {
            Action::Disable => disable(ports, &command.connector, &command.actor).await?,
            Action::Enable => enable(ports, &command.connector, &command.actor).await?,
            Action::Revoke => revoke(ports, &command.connector, &command.actor).await?,
            Action::EndTokens => end_tokens(ports, &command.connector).await?,
        };
        Ok(ChangeReport::of(&connector))
    }
}

#[cfg(test)]
mod tests {
    use delivery::connector::{Connector, ConnectorState, Rotation};
    use delivery::failure::FailureCode;
    use delivery::team::CONNECTORS_PER_TEAM_MAX;
    use serde_json::json;
    use testkit::builders::{PutConnector as _, connector, instant};
    use testkit::sharing::ManualClock;
    use testkit::state::InMemoryState;

    use super::*;

    #[tokio::test]
    async fn a_connector_that_would_be_one_too_many_of_its_team_is_not_enabled() {
        let state = Arc::new(InMemoryState::default());
        let asleep = Connector { state: ConnectorState::Disabled, ..connector("acme", "t") };
        state.put_connector(&asleep).await.unwrap();
        let others: Vec<_> = (0..CONNECTORS_PER_TEAM_MAX).map(|n| connector(&format!("c-{n}"), "t")).collect();
        for other in &others {
            state.put_connector(other).await.unwrap();
        }
        let function = ChangeConnector {
            connectors: state.clone(),
            runs: state.clone(),
            recipients: state.clone(),
            clock: Arc::new(ManualClock::at_seconds(0)),
        };
        let enable = || {
            let input = json!({"action": "enable", "command": {"connectorId": "acme"}, "execution": "arn:e"});
            function.handle(serde_json::from_value(input).unwrap())
        };
        assert_eq!(enable().await.unwrap_err().code, FailureCode::TeamFull);
        assert_eq!(state.connector(&asleep.id).await.unwrap(), Some(asleep));
        state.put_connector(&others[0].revoked().unwrap()).await.unwrap();
        for _ in 0..2 {
            enable().await.unwrap();
        }
    }

    #[tokio::test]
    async fn each_action_answers_with_the_connectors_state_and_what_is_left_to_do() {
        let state = Arc::new(InMemoryState::default());
        let rotation = Rotation { number: 2, began_at: instant(0), tokens_end_at: instant(60) };
        let acme = Connector { rotation: Some(rotation), ..connector("acme", "t") };
        state.put_connector(&acme).await.unwrap();
        let function = ChangeConnector {
            connectors: state.clone(),
            runs: state.clone(),
            recipients: state.clone(),
            clock: Arc::new(ManualClock::at_seconds(0)),
        };
        for (action, state_after, catch_up) in [
            ("disable", "disabled", true),
            ("disable", "disabled", true),
            ("enable", "ready", true),
            ("endTokens", "ready", true),
            ("revoke", "revoked", false),
            ("revoke", "revoked", false),
        ] {
            let input = json!({"action": action, "command": {"connectorId": "acme"}, "execution": "arn:e"});
            let output = function.handle(serde_json::from_value(input).unwrap()).await.unwrap();
            let expected = json!({
                "connectorId": "acme", "state": state_after, "catchUp": catch_up, "rotation": 2,
                "tokensEndAt": "2026-09-01T00:01:00Z",
            });
            assert_eq!(serde_json::to_value(output).unwrap(), expected, "{action}");
        }
    }
}
