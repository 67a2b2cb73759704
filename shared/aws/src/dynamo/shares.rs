//! Shares and the tokens that open them, as the sharing server asks for them.

use std::collections::HashSet;

use async_trait::async_trait;
use delivery::connector::{Connector, SHARE_SCHEMA};
use delivery::ids::{ConnectorId, ID_BYTES_MAX};
use delivery::ports::{PortError, PortErrorKind, Provisioned, SharingBackend};
use delivery::table::TableName;
use delivery::timestamp::Timestamp;
use sharing::ports::{Grant, Holder, SecretHash, ShareCatalog, SharedTable, Standing, TokenStore};

use super::expression::Write;
use super::item::{Attributes, Item, Key, instant, list, number, text};
use super::{DynamoStore, Transacted, Written};

/// How long a recipient's token is kept after it expired or was revoked, in seconds: its holder can still be told what
/// is wrong.
pub(super) const RECIPIENT_TOKEN_KEPT_SECONDS: i64 = 7 * 86_400;

/// How long a proof's token is kept after it expired, in seconds.
const PROOF_TOKEN_KEPT_SECONDS: i64 = 3_600;

/// The longest table name that is looked up, in bytes: `WF_`, a label with its hash, and the longest ending.
const TABLE_NAME_BYTES_MAX: usize = ID_BYTES_MAX + 64;

/// The mark of a share, a token or a link whose access was taken away: since when.
pub(super) const REVOKED_AT: &str = "revoked_at";
/// On a token whose end is a rotation's: when that was set.
pub(super) const REPLACED_AT: &str = "replaced_at";

const PROVISION: &str = "make a share";
const ADD: &str = "put a table into a share";
const REMOVE: &str = "take a table out of a share";
const GRANT: &str = "read what a token opens";
const LIST: &str = "list the tables of a share";
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

    async fn present(&self, connector: &ConnectorId, tables: &[TableName]) -> Result<Vec<TableName>, PortError> {
        let shared: HashSet<_> = self.tables(connector).await?.into_iter().map(|table| table.name).collect();
        Ok(tables.iter().filter(|table| shared.contains(table)).cloned().collect())
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

/// Holds if the share of the connector's name is the connector's.
fn own_share(connector: &ConnectorId) -> Write {
    let id = connector.as_str();
    Write::check(Key::share(id)).when("#connector_id = :connector_id").valued("connector_id", text(id))
}

#[async_trait]
impl ShareCatalog for DynamoStore {
    async fn grant(&self, token: &SecretHash) -> Result<Option<Standing>, PortError> {
        let Some(item) = self.get(GRANT, Key::token(token)).await? else { return Ok(None) };
        let connector = Attributes::of(&item, GRANT).connector_id()?;
        let share = self.get(GRANT, Key::share(connector.as_str())).await?;
        Ok(Some(standing(&item, share.as_ref())?))
    }

    async fn grant_and_table(
        &self,
        token: &SecretHash,
        share: &str,
        schema: &str,
        table: &str,
    ) -> Result<(Option<Standing>, Option<SharedTable>), PortError> {
        // What is longer than any name is in no share, and would be refused as a key.
        if share.len() > ID_BYTES_MAX || table.len() > TABLE_NAME_BYTES_MAX {
            return Ok((self.grant(token).await?, None));
        }
        let keys = [Key::token(token), Key::share(share), Key::shared_table(share, table)];
        let [token, share, table] = self.get_all(GRANT, keys).await?;
        let table = table.filter(|_| schema.eq_ignore_ascii_case(SHARE_SCHEMA));
        let table = match (&share, table) {
            (Some(share), Some(table)) => {
                let connector = Attributes::of(share, GRANT).connector_id()?;
                let name = Attributes::of(&table, GRANT).table_name("table_name")?;
                Some(SharedTable::of_connector(&connector, name))
            }
            (_, _) => None,
        };
        Ok((token.map(|token| standing(&token, share.as_ref())).transpose()?, table))
    }

    async fn tables(&self, connector: &ConnectorId) -> Result<Vec<SharedTable>, PortError> {
        let items = self.list(LIST, Key::shared_table(connector.as_str(), "")).await?;
        let name = |item| Attributes::of(item, LIST).table_name("table_name");
        items.iter().map(|item| Ok(SharedTable::of_connector(connector, name(item)?))).collect()
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
        .set("rotation", number(grant.rotation))
        .set("expires_at_seconds", number(grant.expires_at.seconds().saturating_add(kept)))
}

/// A recipient's token among its connector's.
pub(super) fn recipient_token_item(token: &SecretHash, grant: &Grant, now: Timestamp) -> Write {
    let kept = grant.expires_at.seconds().saturating_add(RECIPIENT_TOKEN_KEPT_SECONDS);
    Write::update(Key::recipient_token(&grant.connector, token.as_str()))
        .set("connector_id", text(grant.connector.as_str()))
        .set("made_at", instant(now))
        .set("rotation", number(grant.rotation))
        .set("expires_at", instant(grant.expires_at))
        .set("expires_at_seconds", number(kept))
}

/// What a token is good for, by its item and that of its share, if that is its own.
fn standing(token: &Item, share: Option<&Item>) -> Result<Standing, PortError> {
    let grant = read_grant(token)?;
    let of_share =
        |share: &&Item| Attributes::of(share, GRANT).text("connector_id").ok() == Some(grant.connector.as_str());
    let shut = share.filter(of_share).is_some_and(|share| share.contains_key(REVOKED_AT));
    Ok(if shut || token.contains_key(REVOKED_AT) {
        Standing::Revoked
    } else if token.contains_key(REPLACED_AT) {
        Standing::Replaced(grant)
    } else {
        Standing::Granted(grant)
    })
}

pub(super) fn read_grant(item: &Item) -> Result<Grant, PortError> {
    let attributes = Attributes::of(item, GRANT);
    Ok(Grant {
        connector: attributes.connector_id()?,
        holder: attributes.read("holder", Holder::parse)?,
        expires_at: attributes.instant("expires_at")?,
        allowed_ips: attributes.list("allowed_ips", |block| Some(block.to_owned()))?,
        // Items of before there were rotations have none.
        rotation: attributes.optional_number("rotation")?.unwrap_or(0),
    })
}
