//! A connector's recipient and its tokens, as their owner changes them.
//!
//! Revoked tokens and links are marked, not deleted: who holds one is told what happened until it is forgotten by its
//! time to live, and a share that is opened anew leaves it shut.

use async_trait::async_trait;
use delivery::connector::Connector;
use delivery::ids::ConnectorId;
use delivery::ports::{Connected, PortError, PortErrorKind, RecipientBackend, ShareReport, TokenWatch, WatchedToken};
use delivery::table::TableName;
use delivery::timestamp::Timestamp;
use sharing::ports::ShareCatalog as _;

use super::expression::Write;
use super::item::{Attributes, Item, Key, instant, number, text};
use super::shares::{RECIPIENT_TOKEN_KEPT_SECONDS, REPLACED_AT, REVOKED_AT};
use super::{DynamoStore, Transacted, Written};

const CONNECT: &str = "open a share to its recipient";
const VERIFY: &str = "verify a connector's share";
const EXPIRE: &str = "have a recipient's tokens expire";
const REVOKE: &str = "revoke a recipient's access";
const TOKENS: &str = "list a recipient's tokens";
const WARNED: &str = "note a warning about a token";

#[async_trait]
impl RecipientBackend for DynamoStore {
    /// Opens a share that was revoked, behind what is left of the access of before: an end that was made half is made
    /// whole first. The recipient itself is whoever gets a token.
    async fn connect(&self, connector: &Connector) -> Result<Connected, PortError> {
        let share = self.get(CONNECT, Key::share(connector.share_name())).await?;
        if let Some(share) = share.filter(|share| share.contains_key(REVOKED_AT)) {
            let since = Attributes::of(&share, CONNECT).instant(REVOKED_AT)?;
            self.revoke_secrets(&connector.id, since).await?;
        }
        let open = own(Write::update(Key::share(connector.share_name())).remove(REVOKED_AT), &connector.id);
        Ok(match self.update(CONNECT, open).await? {
            Written::Done(_) => Connected::Ready,
            Written::Refused(_) => Connected::Foreign,
        })
    }

    async fn verify(&self, connector: &Connector, tables: &[TableName]) -> Result<ShareReport, PortError> {
        let share = self.get(VERIFY, Key::share(connector.share_name())).await?;
        let share =
            share.ok_or_else(|| PortError::new(PortErrorKind::NotFound, VERIFY, "the connector has no share"))?;
        let shared = self.tables(&connector.id).await?;
        let is_shared = |table: &TableName| shared.iter().any(|shared| shared.name == *table);
        let missing = tables.iter().filter(|table| !is_shared(table)).map(ToString::to_string).collect();
        Ok(ShareReport { missing, denied: Vec::new(), ungranted: share.contains_key(REVOKED_AT) })
    }

    async fn expire_tokens(
        &self,
        connector: &Connector,
        overlap_seconds: u32,
        now: Timestamp,
    ) -> Result<(), PortError> {
        let ends = now.plus_seconds(i64::from(overlap_seconds));
        let newest = connector.rotation.map(|rotation| rotation.number);
        for token in self.recipient_tokens(&connector.id, EXPIRE).await? {
            if token.expires_at <= ends || newest.is_some_and(|newest| token.rotation >= newest) {
                continue;
            }
            let kept = number(ends.seconds().saturating_add(RECIPIENT_TOKEN_KEPT_SECONDS));
            let writes = keys(&connector.id, &token.id).map(|key| {
                Write::update(key)
                    .set("expires_at", instant(ends))
                    .set("expires_at_seconds", kept.clone())
                    .set(REPLACED_AT, instant(now))
                    .when("attribute_exists(#pk)")
            });
            // One that is gone meanwhile has ended.
            self.transact(EXPIRE, writes.to_vec()).await?;
        }
        Ok(())
    }

    /// The share's own mark refuses every token at once, proofs' too; then the link and the tokens are marked, so that
    /// a connector that is set up anew has none of them.
    async fn revoke(&self, connector: &Connector, now: Timestamp) -> Result<(), PortError> {
        let shut = Write::update(Key::share(connector.share_name())).set_once(REVOKED_AT, instant(now));
        // A share that is another connector's was never open to this recipient.
        self.update(REVOKE, own(shut, &connector.id)).await?;
        self.revoke_secrets(&connector.id, now).await
    }
}

#[async_trait]
impl TokenWatch for DynamoStore {
    async fn tokens(&self, connector: &ConnectorId) -> Result<Vec<WatchedToken>, PortError> {
        self.recipient_tokens(connector, TOKENS).await
    }

    async fn warned(&self, connector: &ConnectorId, token: &WatchedToken, days: u16) -> Result<(), PortError> {
        let write = Write::update(Key::recipient_token(connector, &token.id))
            .set("warned_days", number(days))
            .when("attribute_exists(#pk) AND (attribute_not_exists(#warned_days) OR #warned_days > :warned_days)");
        self.update(WARNED, write).await?;
        Ok(())
    }
}

impl DynamoStore {
    async fn recipient_tokens(
        &self,
        connector: &ConnectorId,
        operation: &'static str,
    ) -> Result<Vec<WatchedToken>, PortError> {
        let items = self.list(operation, Key::recipient_token(connector, "")).await?;
        items.iter().map(|item| read_recipient_token(item, operation)).collect()
    }

    /// Marks the newest link and every token of a share that is shut: while it is, there come no others.
    async fn revoke_secrets(&self, connector: &ConnectorId, now: Timestamp) -> Result<(), PortError> {
        self.revoke_activation(connector, now).await?;
        let kept = number(now.seconds().saturating_add(RECIPIENT_TOKEN_KEPT_SECONDS));
        for token in self.recipient_tokens(connector, REVOKE).await? {
            let [opening, listed] = keys(connector, &token.id);
            let marked = Write::update(opening)
                .set(REVOKED_AT, instant(now))
                .set("expires_at_seconds", kept.clone())
                .when("attribute_exists(#pk)");
            let listed = Write::delete(listed);
            if self.transact(REVOKE, vec![marked, listed.clone()]).await? != Transacted::Done {
                // The token itself was forgotten.
                self.transact(REVOKE, vec![listed]).await?;
            }
        }
        Ok(())
    }
}

/// What opens the share, and its entry among the connector's tokens.
fn keys(connector: &ConnectorId, token: &str) -> [Key; 2] {
    [Key::token_of(token), Key::recipient_token(connector, token)]
}

/// A write of a share, if it is the connector's.
fn own(write: Write, connector: &ConnectorId) -> Write {
    write.when("#connector_id = :connector_id").valued("connector_id", text(connector.as_str()))
}

pub(super) fn read_recipient_token(item: &Item, operation: &'static str) -> Result<WatchedToken, PortError> {
    let attributes = Attributes::of(item, operation);
    Ok(WatchedToken {
        id: attributes.read("sk", |sk| sk.strip_prefix("TOKEN#"))?.to_owned(),
        made_at: attributes.optional_text("made_at")?.map(|_| attributes.instant("made_at")).transpose()?,
        expires_at: attributes.instant("expires_at")?,
        rotation: attributes.optional_number("rotation")?.unwrap_or(0),
        warned_days: attributes.optional_number("warned_days")?,
    })
}
