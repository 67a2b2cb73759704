//! Shares and the tokens that open them.

use async_trait::async_trait;
use delivery::connector::Connector;
use delivery::ids::{ConnectorId, ID_BYTES_MAX};
use delivery::ports::{
    Connected, PortError, PortErrorKind, Provisioned, RecipientBackend, ShareReport, SharingBackend,
};
use delivery::table::TableName;
use delivery::timestamp::Timestamp;
use sharing::ports::{Grant, Holder, SecretHash, ShareCatalog, TokenStore};

use super::expression::Write;
use super::item::{Attributes, Item, Key, instant, list, number, text};
use super::{DynamoStore, Transacted, Written};

/// How long a recipient's token is kept after it expired, in seconds: its holder can still be told what is wrong.
const RECIPIENT_TOKEN_KEPT_SECONDS: i64 = 7 * 86_400;

/// How long a proof's token is kept after it expired, in seconds.
const PROOF_TOKEN_KEPT_SECONDS: i64 = 3_600;

/// The longest table name that is looked up, in bytes: `WF_`, a label with its hash, and the longest ending.
const TABLE_NAME_BYTES_MAX: usize = ID_BYTES_MAX + 64;

const PROVISION: &str = "make a share";
const ADD: &str = "put a table into a share";
const REMOVE: &str = "take a table out of a share";
const GRANT: &str = "read what a token opens";
const LIST: &str = "list the tables of a share";
const CONNECT: &str = "open a share to its recipient";
const VERIFY: &str = "verify a connector's share";
const EXPIRE: &str = "have a recipient's tokens expire";
const REVOKE: &str = "revoke a recipient's access";
const TOKEN: &str = "store a token's hash";

#[async_trait]
impl SharingBackend for DynamoStore {
    async fn provision(&self, connector: &Connector) -> Result<Provisioned, PortError> {
        let id = connector.id.as_str();
        let write = Write::update(Key::share(connector.share_name()))
            .set("connector_id", text(id))
            .when("attribute_not_exists(#pk) OR #connector_id = :connector_id");
        Ok(match self.update(PROVISION, write).await? {
            Written::Done(_) => Provisioned::Ready,
            Written::Refused(_) => Provisioned::Taken,
        })
    }

    async fn add_table(&self, connector: &ConnectorId, table: &TableName) -> Result<(), PortError> {
        let key = Key::shared_table(connector.as_str(), table.as_str());
        let put = Write::put(key.clone(), [("table_name", text(table.as_str()))]);
        if self.transact(ADD, vec![own_share(connector), put]).await? != Transacted::Done {
            return Err(PortError::new(PortErrorKind::NotFound, ADD, "the connector has no share"));
        }
        let found = self.get(ADD, key).await?;
        found.map(drop).ok_or_else(|| PortError::new(PortErrorKind::Unavailable, ADD, "the table does not read back"))
    }

    async fn remove_table(&self, connector: &ConnectorId, table: &TableName) -> Result<(), PortError> {
        let delete = Write::delete(Key::shared_table(connector.as_str(), table.as_str()));
        // A share that is another connector's has no table of this one.
        self.transact(REMOVE, vec![own_share(connector), delete]).await?;
        Ok(())
    }

    /// The server reads the log itself.
    async fn refresh_table(&self, _: &ConnectorId, _: &TableName) -> Result<(), PortError> {
        Ok(())
    }
}

#[async_trait]
impl RecipientBackend for DynamoStore {
    /// Opens a share that was revoked. The recipient itself is whoever gets a token.
    async fn connect(&self, connector: &Connector) -> Result<Connected, PortError> {
        let open = Write::update(Key::share(connector.share_name()))
            .remove("revoked_at")
            .when("#connector_id = :connector_id")
            .valued("connector_id", text(connector.id.as_str()));
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
        let missing = tables.iter().filter(|table| !shared.contains(table)).map(ToString::to_string).collect();
        Ok(ShareReport { missing, denied: Vec::new(), ungranted: share.contains_key("revoked_at") })
    }

    async fn expire_tokens(
        &self,
        connector: &Connector,
        overlap_seconds: u32,
        now: Timestamp,
    ) -> Result<(), PortError> {
        let ends = now.plus_seconds(i64::from(overlap_seconds));
        for (token, expires_at) in self.recipient_tokens(&connector.id, EXPIRE).await? {
            if expires_at <= ends {
                continue;
            }
            let kept = number(ends.seconds().saturating_add(RECIPIENT_TOKEN_KEPT_SECONDS));
            let writes = [Key::token_of(&token), Key::recipient_token(&connector.id, &token)].map(|key| {
                Write::update(key)
                    .set("expires_at", instant(ends))
                    .set("expires_at_seconds", kept.clone())
                    .when("attribute_exists(#pk)")
            });
            // One that is gone meanwhile has ended.
            self.transact(EXPIRE, writes.to_vec()).await?;
        }
        Ok(())
    }

    /// The share's own mark refuses every token at once; then tokens and the unused link go, so that a connector that
    /// is set up anew has none of them.
    async fn revoke(&self, connector: &Connector, now: Timestamp) -> Result<(), PortError> {
        let shut = Write::update(Key::share(connector.share_name()))
            .set_once("revoked_at", instant(now))
            .when("#connector_id = :connector_id")
            .valued("connector_id", text(connector.id.as_str()));
        self.update(REVOKE, shut).await?;
        self.forget_activation(&connector.id).await?;
        for (token, _) in self.recipient_tokens(&connector.id, REVOKE).await? {
            let keys = [Key::token_of(&token), Key::recipient_token(&connector.id, &token)];
            self.transact(REVOKE, keys.map(Write::delete).to_vec()).await?;
        }
        Ok(())
    }
}

impl DynamoStore {
    /// The tokens of a connector's recipient, by their hashes, and when each ends.
    async fn recipient_tokens(
        &self,
        connector: &ConnectorId,
        operation: &'static str,
    ) -> Result<Vec<(String, Timestamp)>, PortError> {
        let items = self.list(operation, Key::recipient_token(connector, "")).await?;
        let token = |item: &Item| {
            let attributes = Attributes::of(item, operation);
            let hash = attributes.read("sk", |sk| sk.strip_prefix("TOKEN#"))?;
            Ok((hash.to_owned(), attributes.instant("expires_at")?))
        };
        items.iter().map(token).collect()
    }
}

/// Holds if the share of the connector's name is the connector's.
fn own_share(connector: &ConnectorId) -> Write {
    let id = connector.as_str();
    Write::check(Key::share(id)).when("#connector_id = :connector_id").valued("connector_id", text(id))
}

#[async_trait]
impl ShareCatalog for DynamoStore {
    async fn grant(&self, token: &SecretHash) -> Result<Option<Grant>, PortError> {
        let item = self.get(GRANT, Key::token(token)).await?;
        item.map(|item| read_grant(&item)).transpose()
    }

    async fn grant_and_table(
        &self,
        token: &SecretHash,
        share: &str,
        table: &str,
    ) -> Result<(Option<Grant>, Option<TableName>), PortError> {
        // What is longer than any name is in no share, and would be refused as a key.
        if share.len() > ID_BYTES_MAX || table.len() > TABLE_NAME_BYTES_MAX {
            return Ok((self.grant(token).await?, None));
        }
        let [token, table] = self.get_all(GRANT, [Key::token(token), Key::shared_table(share, table)]).await?;
        let name = table.map(|item| Attributes::of(&item, GRANT).table_name("table_name")).transpose()?;
        Ok((token.map(|item| read_grant(&item)).transpose()?, name))
    }

    async fn tables(&self, connector: &ConnectorId) -> Result<Vec<TableName>, PortError> {
        let items = self.list(LIST, Key::shared_table(connector.as_str(), "")).await?;
        items.iter().map(|item| Attributes::of(item, LIST).table_name("table_name")).collect()
    }
}

#[async_trait]
impl TokenStore for DynamoStore {
    async fn put_token(&self, token: &SecretHash, grant: &Grant) -> Result<(), PortError> {
        self.update(TOKEN, token_item(token, grant)).await?;
        Ok(())
    }
}

/// A token's item. Writing it twice leaves the same item.
pub(super) fn token_item(token: &SecretHash, grant: &Grant) -> Write {
    let kept = match grant.holder {
        Holder::Recipient => RECIPIENT_TOKEN_KEPT_SECONDS,
        Holder::Proof => PROOF_TOKEN_KEPT_SECONDS,
    };
    Write::update(Key::token(token))
        .set("connector_id", text(grant.connector.as_str()))
        .set("holder", text(grant.holder.as_str()))
        .set("expires_at", instant(grant.expires_at))
        .set("allowed_ips", list(grant.allowed_ips.iter().map(String::as_str)))
        .set("expires_at_seconds", number(grant.expires_at.seconds().saturating_add(kept)))
}

/// A recipient's token among its connector's.
pub(super) fn recipient_token_item(token: &SecretHash, grant: &Grant) -> Write {
    let kept = grant.expires_at.seconds().saturating_add(RECIPIENT_TOKEN_KEPT_SECONDS);
    Write::update(Key::recipient_token(&grant.connector, token.as_str()))
        .set("expires_at", instant(grant.expires_at))
        .set("expires_at_seconds", number(kept))
}

pub(super) fn read_grant(item: &Item) -> Result<Grant, PortError> {
    let attributes = Attributes::of(item, GRANT);
    Ok(Grant {
        connector: attributes.connector_id()?,
        holder: attributes.read("holder", Holder::parse)?,
        expires_at: attributes.instant("expires_at")?,
        allowed_ips: attributes.list("allowed_ips", |block| Some(block.to_owned()))?,
    })
}
