//! Activation links, by the hash of their code. A connector's newest one is named by an item of the connector.

use async_trait::async_trait;
use delivery::ids::ConnectorId;
use delivery::ports::PortError;
use delivery::timestamp::Timestamp;
use sharing::ports::{Activation, ActivationState, ActivationStore, Consumed, Grant, Mailed, SecretHash};

use super::expression::Write;
use super::item::{Attributes, Item, Key, instant, list, number, text};
use super::{DynamoStore, Transacted, busy, damaged, pause, shares};

/// How often storing an activation begins again because another writer was first.
const PUT_ATTEMPTS_MAX: u32 = 10;

const NEWEST: &str = "read the connector's newest activation";
const PUT: &str = "store an activation";
const MAILED: &str = "note that an activation was mailed";
const READ: &str = "read an activation";
const REVOKE: &str = "revoke an activation";
const CONSUME: &str = "use an activation";

#[async_trait]
impl ActivationStore for DynamoStore {
    async fn newest(&self, connector: &ConnectorId) -> Result<Option<(Activation, Mailed)>, PortError> {
        let Some(newest) = self.newest_link(connector, NEWEST).await? else { return Ok(None) };
        let item = self.get(NEWEST, newest.activation.clone()).await?;
        let item = item.ok_or_else(|| damaged(NEWEST, "the newest activation of the connector is gone"))?;
        Ok(Some((read_activation(&item, NEWEST)?, newest.mailed)))
    }

    async fn put(&self, link: &SecretHash, activation: &Activation) -> Result<(), PortError> {
        for attempt in 0..PUT_ATTEMPTS_MAX {
            let newest = self.newest_link(&activation.connector, PUT).await?;
            if newest.as_ref().is_some_and(|newest| newest.link == link.as_str()) {
                return Ok(());
            }
            let mut writes = vec![activation_item(link, activation), newest_item(link, activation, newest.as_ref())];
            if let Some(newest) = newest {
                let item = self.get(PUT, newest.activation.clone()).await?;
                let state = item.map(|item| read_activation(&item, PUT)).transpose()?.map(|earlier| earlier.state);
                if state == Some(ActivationState::Unused) {
                    let replaced = Write::update(newest.activation);
                    writes.push(when_unused(replaced, ActivationState::Replaced));
                }
            }
            if self.transact(PUT, writes).await? == Transacted::Done {
                return Ok(());
            }
            pause(attempt).await;
        }
        Err(busy(PUT))
    }

    async fn mailed(&self, connector: &ConnectorId, link: &SecretHash) -> Result<(), PortError> {
        let write = Write::update(Key::newest_activation(connector))
            .set("mailed", text("yes"))
            .when("#link = :link")
            .valued("link", text(link.as_str()));
        // If a newer link took its place, nobody asks any more whether this one was mailed.
        self.update(MAILED, write).await?;
        Ok(())
    }

    async fn activation(&self, link: &SecretHash) -> Result<Option<Activation>, PortError> {
        let item = self.get(READ, Key::activation(link)).await?;
        item.map(|item| read_activation(&item, READ)).transpose()
    }

    async fn consume(
        &self,
        link: &SecretHash,
        token: &SecretHash,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Consumed, PortError> {
        let used = Write::update(Key::activation(link)).set("used_at", instant(now));
        let used = when_unused(used, ActivationState::Used)
            .when("#state = :unused AND #expires_at_micros > :now")
            .valued("now", number(now.micros()));
        // A share that was revoked hands nothing out.
        let open = Write::check(Key::share(grant.connector.as_str())).when("attribute_not_exists(#revoked_at)");
        let writes =
            vec![used, open, shares::token_item(token, grant), shares::recipient_token_item(token, grant, now)];
        match self.transact(CONSUME, writes).await? {
            Transacted::Done => Ok(Consumed::Now),
            Transacted::Refused(_) => Ok(Consumed::TooLate),
        }
    }
}

/// Which activation of a connector is the newest.
pub(super) struct Newest {
    link: String,
    activation: Key,
    mailed: Mailed,
}

impl DynamoStore {
    /// Marks the connector's newest link as revoked, used or not.
    pub(super) async fn revoke_activation(&self, connector: &ConnectorId, now: Timestamp) -> Result<(), PortError> {
        let Some(newest) = self.newest_link(connector, REVOKE).await? else { return Ok(()) };
        let write = Write::update(newest.activation)
            .set("state", text(state_text(ActivationState::Revoked)))
            .set(shares::REVOKED_AT, instant(now))
            .when("attribute_exists(#pk)");
        self.update(REVOKE, write).await?;
        Ok(())
    }

    async fn newest_link(&self, connector: &ConnectorId, operation: &'static str) -> Result<Option<Newest>, PortError> {
        let Some(item) = self.get(operation, Key::newest_activation(connector)).await? else { return Ok(None) };
        let attributes = Attributes::of(&item, operation);
        let link = attributes.text("link")?.to_owned();
        let mailed = if attributes.text("mailed")? == "yes" { Mailed::Yes } else { Mailed::Unknown };
        Ok(Some(Newest { activation: Key::activation_of(&link), link, mailed }))
    }
}

pub(super) fn newest_item(link: &SecretHash, activation: &Activation, known: Option<&Newest>) -> Write {
    let attributes = [("link", text(link.as_str())), ("mailed", text("unknown"))];
    let write = Write::put(Key::newest_activation(&activation.connector), attributes);
    match known {
        None => write.when_new(),
        Some(known) => write.when("#link = :known").valued("known", text(&known.link)),
    }
}

fn when_unused(write: Write, next: ActivationState) -> Write {
    write
        .set("state", text(state_text(next)))
        .when("#state = :unused")
        .valued("unused", text(state_text(ActivationState::Unused)))
}

pub(super) fn activation_item(link: &SecretHash, activation: &Activation) -> Write {
    let attributes = [
        ("connector_id", text(activation.connector.as_str())),
        ("endpoint", text(&activation.endpoint)),
        ("expires_at", instant(activation.expires_at)),
        ("expires_at_micros", number(activation.expires_at.micros())),
        ("token_lifetime_days", number(activation.token_lifetime_days)),
        ("allowed_ips", list(activation.allowed_ips.iter().map(String::as_str))),
        ("state", text(state_text(activation.state))),
        ("rotation", number(activation.rotation)),
    ];
    let write = Write::put(Key::activation(link), attributes).when_new();
    match &activation.contact {
        Some(contact) => write.with("contact_sha256", text(contact.as_str())),
        None => write,
    }
}

pub(super) fn read_activation(item: &Item, operation: &'static str) -> Result<Activation, PortError> {
    let attributes = Attributes::of(item, operation);
    Ok(Activation {
        connector: attributes.connector_id()?,
        endpoint: attributes.text("endpoint")?.to_owned(),
        expires_at: attributes.instant("expires_at")?,
        token_lifetime_days: attributes.number("token_lifetime_days")?,
        allowed_ips: attributes.list("allowed_ips", |block| Some(block.to_owned()))?,
        state: attributes.read("state", state_of)?,
        // Links of before there were rotations have none.
        rotation: attributes.optional_number("rotation")?.unwrap_or(0),
        contact: attributes.optional_text("contact_sha256")?.map(SecretHash::from_stored),
    })
}

fn state_text(state: ActivationState) -> &'static str {
    match state {
        ActivationState::Unused => "unused",
        ActivationState::Used => "used",
        ActivationState::Replaced => "replaced",
        ActivationState::Revoked => "revoked",
    }
}

fn state_of(text: &str) -> Option<ActivationState> {
    [ActivationState::Unused, ActivationState::Used, ActivationState::Replaced, ActivationState::Revoked]
        .into_iter()
        .find(|state| state_text(*state) == text)
}
