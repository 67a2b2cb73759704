//! `InviteRecipient`: the activation link goes to the secure contact, and only there. It begins rotations, too, because
//! only this function may send one.

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use aws::ses::SesMailer;
use backends::Backends;
use delivery::failure::StepError;
use delivery::ids::ConnectorId;
use delivery::ports::{Clock, ConnectorStore, Inviter};
use delivery::provision::invite;
use delivery::rotate::{Rotating, rotate};
use events::command::{StartedAt, command, rotation_wish};
use events::steps::ConnectorInput;
use lambda::{Environment, SettingsError, Subject, SystemClock, Task};
use serde::Deserialize;
use serde_json::Value;
use sharing::invite::LinkInviter;

/// The function.
pub struct InviteRecipient {
    connectors: Arc<dyn ConnectorStore>,
    inviter: Arc<dyn Inviter>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for InviteRecipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InviteRecipient")
    }
}

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Input {
    /// Begin a rotation, or go on with the one that is under way.
    Rotate {
        /// The operator's words.
        rotate: Value,
        /// The execution's ARN.
        execution: String,
        /// When the execution began.
        #[serde(default, rename = "startedAt")]
        started_at: StartedAt,
    },
    /// Invite the recipient of a connector, unless that was done.
    Invite(ConnectorInput),
}

#[async_trait]
impl Task for InviteRecipient {
    const STEP: &'static str = "InviteRecipient";
    const SETTINGS: &'static [&'static str] = &["STATE_TABLE_NAME", "SHARING_ENDPOINT", "SENDER_ADDRESS", "DATABRICKS"];
    type Input = Input;
    type Output = ();

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        let mailer = Arc::new(SesMailer::new(&config, environment.require("SENDER_ADDRESS")?));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let endpoint = environment.require("SHARING_ENDPOINT")?;
        let open = LinkInviter::new(store.clone(), mailer.clone(), endpoint, clock.clone());
        let backends = Backends::assemble(environment, &config, store.clone())?;
        Ok(Self { connectors: store, inviter: backends.inviter(Arc::new(open), mailer), clock })
    }

    fn subject(input: &Input) -> Subject {
        match input {
            Input::Invite(input) => Subject::Connector(input.connector_id.clone()),
            Input::Rotate { rotate, .. } => rotate
                .get("connectorId")
                .and_then(Value::as_str)
                .and_then(|id| ConnectorId::new(id).ok())
                .map_or(Subject::Unknown, Subject::Connector),
        }
    }

    async fn handle(&self, input: Input) -> Result<(), StepError> {
        match input {
            Input::Invite(input) => invite(&*self.connectors, &*self.inviter, &*self.clock, &input.connector_id).await,
            Input::Rotate { rotate: words, execution, started_at } => {
                let command = command(&words, &execution)?;
                let wish = rotation_wish(&words, started_at.or(self.clock.now()))?;
                let ports = Rotating { connectors: &*self.connectors, inviter: &*self.inviter, clock: &*self.clock };
                rotate(ports, &command.connector, wish, &command.actor).await.map(drop)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use testkit::builders::{PutConnector as _, connector, instant};
    use testkit::sharing::{InMemorySharing, ManualClock, RecordingMailer};
    use testkit::state::InMemoryState;

    use super::*;

    #[tokio::test]
    async fn one_invitation_leaves_and_the_answer_says_nothing() {
        let (state, sharing, mailer) = (
            Arc::new(InMemoryState::default()),
            Arc::new(InMemorySharing::default()),
            Arc::new(RecordingMailer::default()),
        );
        state.put_connector(&connector("acme", "t")).await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at_seconds(0));
        let inviter = LinkInviter::new(sharing, mailer.clone(), "https://share.test/delta-sharing", clock.clone());
        let function = InviteRecipient { connectors: state, inviter: Arc::new(inviter), clock };
        for _ in 0..2 {
            // The output is a unit: there is nothing in it to say.
            function.handle(serde_json::from_value(json!({"connectorId": "acme"})).unwrap()).await.unwrap();
        }
        assert!(mailer.take().unwrap().body.contains("https://share.test/activate/"));
        assert!(mailer.take().is_none(), "one e-mail, however often it is asked for");
        for _ in 0..2 {
            let input = json!({"rotate": {"connectorId": "acme", "overlapSeconds": 60}, "execution": "arn:e"});
            function.handle(serde_json::from_value(input).unwrap()).await.unwrap();
        }
        assert!(mailer.take().unwrap().body.contains("an earlier credential"));
        assert!(mailer.take().is_none(), "a rotation that is under way is gone on with");
    }

    #[tokio::test]
    async fn a_new_link_is_sent_once_for_an_execution_and_once_more_for_another() {
        let (state, mailer) = (Arc::new(InMemoryState::default()), Arc::new(RecordingMailer::default()));
        state.put_connector(&connector("acme", "t")).await.unwrap();
        let manual = Arc::new(ManualClock::at_seconds(0));
        let clock: Arc<dyn Clock> = manual.clone();
        let sharing = Arc::new(InMemorySharing::default());
        let inviter = LinkInviter::new(sharing, mailer.clone(), "https://share.test/delta-sharing", clock.clone());
        let function = InviteRecipient { connectors: state, inviter: Arc::new(inviter), clock };
        for started_at in [-1, 60] {
            for mails in [1, 0] {
                let rotate = json!({"connectorId": "acme", "newLink": true});
                let input =
                    json!({"rotate": rotate, "execution": "arn:e", "startedAt": instant(started_at).to_string()});
                function.handle(serde_json::from_value(input).unwrap()).await.unwrap();
                assert_eq!(usize::from(mailer.take().is_some()), mails, "{started_at}: the step is tried again");
                assert!(mailer.take().is_none());
                manual.advance(1);
            }
            manual.advance(60);
        }
    }
}
