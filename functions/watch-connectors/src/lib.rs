//! `WatchConnectors`: by a schedule, looks at every connector whose recipient reads. Warns of tokens that end soon, and
//! puts the sums into metrics.
//!
//! Each connector is looked at by itself: one that cannot be is logged and counted, and the others are looked at.

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use aws::ses::SesMailer;
use delivery::failure::StepError;
use delivery::ids::ConnectorId;
use delivery::ports::{Clock, ConnectorStore, ExpiryNotice, TokenWatch, UndeliveredDeliveries};
use delivery::redrive::oldest_expected;
use delivery::watch::{TokensSeen, Watching, classify, watch_tokens, watched};
use futures::StreamExt as _;
use lambda::{Environment, Metric, SettingsError, Subject, SystemClock, Task, Unit, emit_metrics};
use serde::{Deserialize, Serialize};
use sharing::expiry::MailedNotice;

/// How many connectors are looked at side by side.
const CONNECTORS_AT_ONCE: usize = 8;

/// The function.
pub struct WatchConnectors {
    connectors: Arc<dyn ConnectorStore>,
    tokens: Arc<dyn TokenWatch>,
    notice: Arc<dyn ExpiryNotice>,
    deliveries: Arc<dyn UndeliveredDeliveries>,
    clock: Arc<dyn Clock>,
    namespace: String,
}

impl std::fmt::Debug for WatchConnectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WatchConnectors")
    }
}

/// What was seen of one connector.
struct Seen {
    tokens: TokensSeen,
    oldest_undelivered_seconds: u32,
}

/// What the schedule sends; nothing of it matters.
#[derive(Debug, Deserialize)]
pub struct Input {}

/// What was seen, added up over the connectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Watched {
    /// Connectors that were looked at.
    pub connectors: u32,
    /// Connectors that could not be looked at.
    pub failed: u32,
    /// Tokens in use that end within [`delivery::watch::EXPIRING_DAYS`].
    pub tokens_expiring: u32,
    /// Warnings that were given now.
    pub warnings: u32,
    /// How long the oldest delivery is owed that is still expected, in seconds; 0 if there is none.
    pub oldest_undelivered_seconds: u32,
}

impl Watched {
    /// The metrics, without those that would be wrong because a connector was not looked at.
    fn metrics(&self) -> Vec<Metric> {
        let failed = Metric { name: "ConnectorsUnwatched", unit: Unit::Count, value: self.failed.into() };
        let expiring = Metric { name: "TokensExpiring", unit: Unit::Count, value: self.tokens_expiring.into() };
        let value = self.oldest_undelivered_seconds.into();
        let oldest = Metric { name: "OldestUndeliveredSeconds", unit: Unit::Seconds, value };
        if self.failed == 0 { vec![failed, expiring, oldest] } else { vec![failed] }
    }
}

#[async_trait]
impl Task for WatchConnectors {
    const STEP: &'static str = "WatchConnectors";
    const SETTINGS: &'static [&'static str] = &["STATE_TABLE_NAME", "SENDER_ADDRESS", "METRICS_NAMESPACE"];
    type Input = Input;
    type Output = Watched;

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        let mailer = Arc::new(SesMailer::new(&config, environment.require("SENDER_ADDRESS")?));
        Ok(Self {
            connectors: store.clone(),
            tokens: store.clone(),
            deliveries: store,
            notice: Arc::new(MailedNotice::new(mailer)),
            clock: Arc::new(SystemClock),
            namespace: environment.require("METRICS_NAMESPACE")?.to_owned(),
        })
    }

    fn subject(_: &Input) -> Subject {
        Subject::Unknown
    }

    async fn handle(&self, _: Input) -> Result<Watched, StepError> {
        let watched = self.watch_all().await?;
        emit_metrics(&self.namespace, self.clock.now(), &watched.metrics());
        Ok(watched)
    }
}

impl WatchConnectors {
    async fn watch_all(&self) -> Result<Watched, StepError> {
        let connectors = self.connectors.connectors().await.map_err(classify)?;
        let looks = futures::stream::iter(connectors).map(|id| async move { (self.watch_one(&id).await, id) });
        let mut looks = std::pin::pin!(looks.buffer_unordered(CONNECTORS_AT_ONCE));
        let mut sum = Watched::default();
        while let Some((seen, id)) = looks.next().await {
            match seen {
                Ok(seen) => sum.add(seen),
                Err(error) => {
                    sum.failed += 1;
                    let cause = error.source.as_ref().map(ToString::to_string).unwrap_or_default();
                    tracing::error!(
                        failure.code = error.code.as_str(),
                        failure.cause = cause,
                        connector.id = id.as_str(),
                        "a connector could not be watched"
                    );
                }
            }
        }
        Ok(sum)
    }

    /// Everything that is looked at of one connector; nothing of one that was revoked.
    async fn watch_one(&self, id: &ConnectorId) -> Result<Option<Seen>, StepError> {
        let ports = Watching {
            connectors: &*self.connectors,
            tokens: &*self.tokens,
            notice: &*self.notice,
            clock: &*self.clock,
        };
        let Some(connector) = watched(ports.connectors, id).await? else { return Ok(None) };
        let seen = watch_tokens(ports, &connector).await?;
        if seen.refused > 0 {
            tracing::error!(
                failure.code = "INVITATION_REFUSED",
                connector.id = id.as_str(),
                "the mail service refused the warning about a token; check the secure contact"
            );
        }
        // One that is disabled is owed nothing until it takes data again.
        let oldest = if connector.state.takes_data() {
            oldest_expected(&*self.deliveries, id).await.map_err(classify)?
        } else {
            None
        };
        let owed = oldest.map_or(0, |since| self.clock.now().seconds().saturating_sub(since.seconds()).max(0));
        Ok(Some(Seen { tokens: seen, oldest_undelivered_seconds: u32::try_from(owed).unwrap_or(u32::MAX) }))
    }
}

impl Watched {
    fn add(&mut self, seen: Option<Seen>) {
        let Some(seen) = seen else { return };
        self.connectors += 1;
        self.tokens_expiring += seen.tokens.expiring;
        self.warnings += seen.tokens.warnings;
        self.oldest_undelivered_seconds = self.oldest_undelivered_seconds.max(seen.oldest_undelivered_seconds);
    }
}

#[cfg(test)]
mod tests {
    use delivery::connector::{Connector, ConnectorState};
    use delivery::ports::DeliveryStore as _;
    use delivery::state::Step;
    use serde_json::json;
    use sharing::ports::{Grant, Holder, SecretHash, TokenStore as _};
    use testkit::builders::{PutConnector as _, connector, connector_id, delivery_key, instant, run_key};
    use testkit::sharing::{InMemorySharing, ManualClock, RecordingMailer};
    use testkit::state::InMemoryState;

    use super::*;

    const DAY: i64 = 86_400;

    #[tokio::test]
    async fn every_connector_whose_recipient_reads_is_looked_at() {
        let (state, sharing, mailer) = (
            Arc::new(InMemoryState::default()),
            Arc::new(InMemorySharing::default()),
            Arc::new(RecordingMailer::default()),
        );
        let revoked = Connector { state: ConnectorState::Revoked, ..connector("c", "t") };
        for (connector, days) in [(connector("a", "t"), 20), (connector("b", "u"), 5), (revoked, 5)] {
            state.put_connector(&connector).await.unwrap();
            let grant = Grant {
                connector: connector_id(connector.id.as_str()),
                holder: Holder::Recipient,
                expires_at: instant(days * DAY),
                allowed_ips: Vec::new(),
                rotation: 0,
            };
            sharing.put_token(&SecretHash::of(connector.id.as_str()), &grant).await.unwrap();
        }
        let function = WatchConnectors {
            connectors: state.clone(),
            deliveries: state.clone(),
            tokens: sharing,
            notice: Arc::new(MailedNotice::new(mailer.clone())),
            clock: Arc::new(ManualClock::at_seconds(0)),
            namespace: "Spillway/test".to_owned(),
        };
        let watch = async || {
            let input = serde_json::from_value(json!({"id": "e", "source": "aws.events"})).unwrap();
            serde_json::to_value(function.handle(input).await.unwrap()).unwrap()
        };
        let mut expected = json!({
            "connectors": 2, "failed": 0, "tokensExpiring": 1, "warnings": 2, "oldestUndeliveredSeconds": 0,
        });
        assert_eq!(watch().await, expected);
        for share in ["\"a\"", "\"b\""] {
            let mail = mailer.take().unwrap();
            assert!(mail.body.contains(share) && !mail.body.contains("://"), "{}", mail.body);
        }
        for (connector, run, began) in [("a", "r-1", -50), ("a", "r-2", -70), ("b", "r-3", -60), ("c", "r-4", -900)] {
            let owed = delivery_key(&connector_id(connector), &run_key("t", "w-1", run));
            state.enter(&[owed], Step::Loading, instant(began)).await.unwrap();
        }
        expected["warnings"] = json!(0);
        expected["oldestUndeliveredSeconds"] = json!(70);
        assert_eq!(watch().await, expected, "once for each threshold; what a revoked connector is owed is no concern");
        assert!(mailer.take().is_none());
    }
}
