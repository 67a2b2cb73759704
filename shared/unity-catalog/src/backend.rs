//! The sharing backend on a Databricks metastore: one share and one schema for each connector, its tables registered
//! where they lie.
//!
//! Knows what a share of ours looks like, how to come to it from any state, and that every write is read back. What
//! it made is known by a mark (see [`names`](crate::names)); what has another mark is never touched. Who reads is
//! `recipient`'s part, and what a recipient would find is `verify`'s.
//!
//! [`RecipientBackend`](delivery::ports::RecipientBackend) is in `reads`, and what it is made of in `recipient`,
//! `verify` and, for tokens of the workspace's own, `hosted`.

mod addresses;
mod hosted;
mod reads;
mod recipient;
mod registration;
mod verify;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use delivery::connector::Connector;
use delivery::ids::ConnectorId;
use delivery::ports::{PortError, PortErrorKind, Provisioned, Refusal, Refused, SharingBackend};
use delivery::table::TableName;

pub use recipient::{Adopted, Reader};
pub use registration::Refreshed;
pub use verify::{Access, Said, ShareReport};

use crate::error::{ApiError, ApiErrorKind};
use crate::names::{DeploymentName, connector_mark, connector_name, shared_as};
use crate::ports::TableSchemas;
use crate::shares::{ObjectStatus, Share, ShareUpdate, UPDATES_MAX};
use crate::transport::Workspace;

/// The most tables that the vendor lets into one share (its default; it can be raised).
const SHARED_TABLES_MAX: usize = 1_000;

/// The most tables of a connector in its share. One place is the probe's, so that a set-up can be started again when the
/// share is full.
pub const TABLES_PER_SHARE_MAX: usize = SHARED_TABLES_MAX - 1;

/// From how many tables on a share counts as nearly full: 80 % of what the vendor lets in.
pub const TABLES_PER_SHARE_WARNING: usize = SHARED_TABLES_MAX / 5 * 4;

/// How often an update is tried that somebody else was faster with.
const RACES_MAX: usize = 3;

const PROVISION: &str = "make a connector's share";
const ADD: &str = "put tables into a share";
const LIST: &str = "look which tables are in a share";
const REMOVE: &str = "take a table out of a share";

/// Where a deployment's tables are registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendSettings {
    /// This deployment among others in the metastore.
    pub deployment: DeploymentName,
    /// The catalog, made by the operator, with CREATE SCHEMA, USE CATALOG and EXTERNAL USE SCHEMA for our service
    /// principal. Its managed storage must not hold the tables.
    pub catalog: String,
    /// The tables bucket, such as `s3://bucket`, covered by an external location with CREATE EXTERNAL TABLE and
    /// EXTERNAL USE LOCATION for our service principal.
    pub tables_url: String,
    /// How tables are registered.
    pub registration: Registration,
}

/// How tables are registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registration {
    /// By the Tables API, without compute.
    TablesApi {
        /// The SQL warehouse that refreshes columns in place. Without one, a table whose columns changed is registered
        /// anew, and is out of the share for a moment.
        refresh_warehouse: Option<String>,
    },
    /// By statements on this SQL warehouse, which also refreshes columns.
    Warehouse(String),
}

impl Registration {
    fn warehouse(&self) -> Option<&str> {
        match self {
            Self::TablesApi { refresh_warehouse } => refresh_warehouse.as_deref(),
            Self::Warehouse(id) => Some(id),
        }
    }
}

/// What a metastore has against a step, beyond failed calls.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The connector has no share, or the share of its name is another's.
    #[error("the connector has no share of this deployment; set it up first")]
    NoShare,
    /// The share takes no more tables.
    #[error(
        "the share has {tables} tables and {more} more do not fit; divide the connector's workflows between two \
         connectors"
    )]
    ShareFull {
        /// Tables in the share, the probe not among them.
        tables: usize,
        /// Tables that were to join.
        more: usize,
    },
    /// Tables are in the share, but recipients cannot read them.
    #[error(
        "recipients cannot read {} of the share: its owner lost SELECT, USE CATALOG or USE SCHEMA; grant it again",
        .tables.join(", ")
    )]
    NotReadable {
        /// The tables' names in the metastore.
        tables: Vec<String>,
    },
    /// The metastore does not say whether recipients can read tables of the share.
    #[error("the metastore does not say that recipients can read {}; try again", .tables.join(", "))]
    NotProven {
        /// The tables' names in the metastore.
        tables: Vec<String>,
    },
    /// What was made does not read back.
    #[error("{} does not read back from the metastore; try again", .names.join(", "))]
    NotThere {
        /// Names in the metastore.
        names: Vec<String>,
    },
    /// The metastore has a table of this name that lies elsewhere.
    #[error("the metastore has a table {table} that lies elsewhere; take its registration back")]
    OtherTable {
        /// The table's name in the metastore.
        table: String,
    },
    /// Another table, or managed storage, covers the table's path.
    #[error("the path of {table} overlaps with another table's or with managed storage; look for who registered it")]
    PathTaken {
        /// The table's name in the metastore.
        table: String,
    },
    /// A table is not in the connector's share.
    #[error("{table} is not in the connector's share; share it again")]
    NotShared {
        /// The table's name in the metastore.
        table: String,
    },
    /// The table has no log.
    #[error("{table} has no Delta log; load it first")]
    NoLog {
        /// The table's name.
        table: String,
    },
    /// The metastore's columns of a table stay different from its log's.
    #[error("the metastore's columns of {table} differ from its log's; refresh its metadata on a SQL warehouse")]
    Stale {
        /// The table's name in the metastore.
        table: String,
    },
    /// The recipient belongs to somebody else.
    #[error(
        "the metastore has a recipient {recipient} for this reader that is not this deployment's; delete it, or set \
         its property spillway.deployment and make this deployment's service principal its owner"
    )]
    ForeignRecipient {
        /// The recipient's name.
        recipient: String,
    },
    /// The reader has a recipient that our service principal may not see.
    #[error(
        "the metastore has a recipient for {identifier} that this deployment's service principal may not see (the \
         workspace says: {said}); ask a metastore admin to make the service principal its owner and to set its \
         property spillway.deployment to {deployment}, or to delete it if nobody needs it"
    )]
    HiddenRecipient {
        /// The sharing identifier.
        identifier: String,
        /// The workspace's own words, which may name the recipient.
        said: String,
        /// The name of this deployment.
        deployment: String,
    },
    /// The IP access list of a recipient is not the connector's.
    #[error(
        "the IP access list of recipient {recipient} reads back as [{}] and should be [{}]; set the connector up \
         again, and see who changes it if that does not help",
        .found.join(", "),
        .wanted.join(", ")
    )]
    OtherAddresses {
        /// The recipient's name.
        recipient: String,
        /// The blocks that the metastore lets in; none means any.
        found: Vec<String>,
        /// The connector's blocks; none means any.
        wanted: Vec<String>,
    },
    /// The connector has no recipient.
    #[error("the connector has no recipient of this deployment; set it up first")]
    NoRecipient,
    /// The workspace made a token and named no place to download it.
    #[error("the workspace named no activation URL for the new token; rotate it again")]
    NoActivation,
    /// A grant that was made does not read back.
    #[error("the grant does not read back; try again")]
    NotGranted,
    /// A grant that was revoked reads back.
    #[error("the grant still reads back; revoke it in the workspace at once")]
    StillGranted,
}

impl BackendError {
    /// The kind that a port's caller sees.
    fn kind(&self) -> PortErrorKind {
        match self {
            Self::NoShare | Self::NotShared { .. } | Self::NoLog { .. } | Self::NoRecipient => PortErrorKind::NotFound,
            Self::NotReadable { .. } | Self::ForeignRecipient { .. } | Self::HiddenRecipient { .. } => {
                PortErrorKind::Denied
            }
            Self::NotProven { .. } | Self::NotThere { .. } | Self::NotGranted | Self::StillGranted => {
                PortErrorKind::Unavailable
            }
            Self::ShareFull { .. }
            | Self::OtherTable { .. }
            | Self::PathTaken { .. }
            | Self::Stale { .. }
            | Self::OtherAddresses { .. }
            | Self::NoActivation => PortErrorKind::InvalidData,
        }
    }

    /// What is refused for good; `None` if it may be otherwise at the next attempt, or after a set-up.
    fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::NotReadable { .. } => Some(Refusal::NotReadable),
            Self::ForeignRecipient { .. } | Self::HiddenRecipient { .. } => Some(Refusal::Foreign),
            Self::ShareFull { .. } => Some(Refusal::Full),
            Self::OtherTable { .. } | Self::PathTaken { .. } => Some(Refusal::PathTaken),
            Self::Stale { .. } | Self::OtherAddresses { .. } | Self::NoActivation => Some(Refusal::Invalid),
            Self::NoShare
            | Self::NotShared { .. }
            | Self::NoLog { .. }
            | Self::NoRecipient
            | Self::NotProven { .. }
            | Self::NotThere { .. }
            | Self::NotGranted
            | Self::StillGranted => None,
        }
    }

    fn during(self, operation: &'static str) -> PortError {
        let kind = self.kind();
        match self.refusal() {
            Some(refusal) => PortError::new(kind, operation, Refused::new(refusal, self)),
            None => PortError::new(kind, operation, self),
        }
    }

    /// What the backend has against a step, if that is what an error is about.
    #[must_use]
    pub fn of(error: &PortError) -> Option<&Self> {
        match Refused::of(error) {
            Some(refused) => refused.source.downcast_ref(),
            None => error.source.downcast_ref(),
        }
    }
}

/// The sharing backend on a Databricks metastore.
pub struct UnityCatalogBackend {
    workspace: Arc<Workspace>,
    schemas: Arc<dyn TableSchemas>,
    settings: BackendSettings,
}

impl fmt::Debug for UnityCatalogBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnityCatalogBackend").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl UnityCatalogBackend {
    /// A backend over a workspace.
    #[must_use]
    pub fn new(workspace: Arc<Workspace>, schemas: Arc<dyn TableSchemas>, settings: BackendSettings) -> Self {
        Self { workspace, schemas, settings }
    }

    /// Puts tables into a connector's share, registering those that are not, and reads back that recipients can read
    /// them. Tables that are there stay as they are. As many as one request takes are registered and then put in, so
    /// that an attempt which ends half leaves its work to the next.
    ///
    /// # Errors
    ///
    /// `NotFound` if the connector has no share, `Denied` if recipients could not read one of the tables, else see
    /// [`BackendError`] in the source.
    async fn put_tables(&self, connector: &ConnectorId, tables: &[TableName]) -> Result<(), PortError> {
        let mut race = 0;
        'again: loop {
            let share = self.own_share(ADD, connector).await?;
            let new: Vec<_> = tables.iter().filter(|table| self.object(&share, connector, table).is_none()).collect();
            if new.is_empty() {
                return self.check_tables(&share, connector, tables);
            }
            // The probe has its place in every share: it is let in without a word.
            let more = new.iter().filter(|table| ***table != TableName::probe()).count();
            if more > 0 {
                check_room(&share.name, self.tables_in(&share, connector), more)?;
            }
            for some in new.chunks(UPDATES_MAX) {
                let mut updates = Vec::with_capacity(some.len());
                for table in some {
                    let name = self.register(connector, table).await?;
                    updates.push(ShareUpdate::AddTable { name, shared_as: shared_as(table) });
                }
                match self.workspace.update_share(&share.name, &updates).await {
                    Ok(()) => {}
                    // Somebody added one of them meanwhile: what is there is looked up again.
                    Err(error) if error.kind == ApiErrorKind::Exists && race < RACES_MAX => {
                        race += 1;
                        continue 'again;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            let share = self.own_share(ADD, connector).await?;
            return self.check_tables(&share, connector, tables);
        }
    }

    /// Whether tables are in a share as recipients need them.
    fn check_tables(&self, share: &Share, connector: &ConnectorId, tables: &[TableName]) -> Result<(), PortError> {
        let (mut missing, mut denied, mut unproven) = (Vec::new(), Vec::new(), Vec::new());
        for table in tables {
            match self.object(share, connector, table) {
                None => missing.push(self.full_name(connector, table)),
                Some(ObjectStatus::PermissionDenied) => denied.push(self.full_name(connector, table)),
                Some(ObjectStatus::Unknown) => unproven.push(self.full_name(connector, table)),
                Some(ObjectStatus::Active) => {}
            }
        }
        if !missing.is_empty() {
            return Err(BackendError::NotThere { names: missing }.during(ADD));
        }
        if !denied.is_empty() {
            return Err(BackendError::NotReadable { tables: denied }.during(ADD));
        }
        if !unproven.is_empty() {
            return Err(BackendError::NotProven { tables: unproven }.during(ADD));
        }
        Ok(())
    }

    /// Whether recipients can read a table, if it is in a share under the name that they are told.
    fn object(&self, share: &Share, connector: &ConnectorId, table: &TableName) -> Option<ObjectStatus> {
        let (name, alias) = (self.full_name(connector, table), shared_as(table));
        let same = share.objects.iter().find(|it| it.name == name && it.shared_as.eq_ignore_ascii_case(&alias));
        same.map(|object| object.status)
    }

    /// How many tables a share holds, but for the probe.
    fn tables_in(&self, share: &Share, connector: &ConnectorId) -> usize {
        let probe = self.full_name(connector, &TableName::probe());
        share.objects.iter().filter(|object| object.kind == "TABLE" && object.name != probe).count()
    }

    /// The connector's share, if it is the connector's.
    async fn own_share(&self, operation: &'static str, connector: &ConnectorId) -> Result<Share, PortError> {
        let share = self.workspace.share(&connector_name(connector)).await?;
        let own = share.filter(|share| self.is_marked(share.comment.as_deref(), connector));
        own.ok_or_else(|| BackendError::NoShare.during(operation))
    }

    fn is_marked(&self, comment: Option<&str>, connector: &ConnectorId) -> bool {
        comment == Some(&connector_mark(&self.settings.deployment, connector))
    }

    /// A table's full name in the metastore, which keeps names in lower case.
    fn full_name(&self, connector: &ConnectorId, table: &TableName) -> String {
        let [catalog, schema, name] = self.name_parts(connector, table);
        format!("{catalog}.{schema}.{name}")
    }

    fn name_parts(&self, connector: &ConnectorId, table: &TableName) -> [String; 3] {
        [self.settings.catalog.to_lowercase(), connector_name(connector), table.as_str().to_lowercase()]
    }

    async fn provision_share(&self, connector: &ConnectorId) -> Result<Provisioned, PortError> {
        let (name, mark) = (connector_name(connector), connector_mark(&self.settings.deployment, connector));
        if let Some(share) = self.workspace.share(&name).await? {
            return Ok(whose(share.comment.as_ref() == Some(&mark)));
        }
        let made = made(self.workspace.create_share(&name, &mark).await)?;
        match (self.workspace.share(&name).await?, made) {
            (Some(share), _) => Ok(whose(share.comment.as_ref() == Some(&mark))),
            // The name is taken by what we may not see.
            (None, Made::ByOthers) => Ok(Provisioned::Taken),
            (None, Made::Now) => Err(BackendError::NotThere { names: vec![name] }.during(PROVISION)),
        }
    }

    async fn provision_schema(&self, connector: &ConnectorId) -> Result<Provisioned, PortError> {
        let (name, mark) = (connector_name(connector), connector_mark(&self.settings.deployment, connector));
        let catalog = self.settings.catalog.to_lowercase();
        let full_name = format!("{catalog}.{name}");
        if let Some(schema) = self.workspace.schema(&full_name).await? {
            return Ok(whose(schema.comment.as_ref() == Some(&mark)));
        }
        let made = made(self.workspace.create_schema(&catalog, &name, &mark).await)?;
        match (self.workspace.schema(&full_name).await?, made) {
            (Some(schema), _) => Ok(whose(schema.comment.as_ref() == Some(&mark))),
            (None, Made::ByOthers) => Ok(Provisioned::Taken),
            (None, Made::Now) => Err(BackendError::NotThere { names: vec![full_name] }.during(PROVISION)),
        }
    }
}

/// Who made what is there now.
enum Made {
    Now,
    /// Somebody else, or an attempt of ours whose answer was lost.
    ByOthers,
}

fn made<T>(created: Result<T, ApiError>) -> Result<Made, PortError> {
    match created {
        Ok(_) => Ok(Made::Now),
        Err(error) if error.kind == ApiErrorKind::Exists => Ok(Made::ByOthers),
        Err(error) => Err(error.into()),
    }
}

fn whose(ours: bool) -> Provisioned {
    if ours { Provisioned::Ready } else { Provisioned::Taken }
}

/// How much room a share has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Enough.
    Enough,
    /// At least 80 % of the tables that fit are there.
    NearlyFull,
    /// More tables than fit.
    TooMany,
}

impl Room {
    /// The room of a share with so many tables.
    #[must_use]
    pub fn of(tables: usize) -> Self {
        match tables {
            _ if tables > TABLES_PER_SHARE_MAX => Self::TooMany,
            _ if tables >= TABLES_PER_SHARE_WARNING => Self::NearlyFull,
            _ => Self::Enough,
        }
    }
}

/// Refuses tables that do not fit, and warns in time.
fn check_room(share: &str, tables: usize, more: usize) -> Result<(), PortError> {
    let after = tables + more;
    match Room::of(after) {
        Room::Enough => {}
        Room::NearlyFull => tracing::warn!(
            share.name = share,
            share.tables = after,
            share.tables_max = TABLES_PER_SHARE_MAX,
            "a share is nearly full"
        ),
        Room::TooMany => return Err(BackendError::ShareFull { tables, more }.during(ADD)),
    }
    Ok(())
}

#[async_trait]
impl SharingBackend for UnityCatalogBackend {
    /// Makes the connector's share and its schema.
    async fn provision(&self, connector: &Connector) -> Result<Provisioned, PortError> {
        match self.provision_share(&connector.id).await? {
            Provisioned::Ready => self.provision_schema(&connector.id).await,
            Provisioned::Taken => Ok(Provisioned::Taken),
        }
    }

    async fn add_table(&self, connector: &ConnectorId, table: &TableName) -> Result<(), PortError> {
        self.put_tables(connector, std::slice::from_ref(table)).await
    }

    async fn add_tables(&self, connector: &ConnectorId, tables: &[TableName]) -> Result<(), PortError> {
        self.put_tables(connector, tables).await
    }

    async fn present(&self, connector: &ConnectorId, tables: &[TableName]) -> Result<Vec<TableName>, PortError> {
        let share = self.own_share(LIST, connector).await?;
        Ok(tables.iter().filter(|table| self.object(&share, connector, table).is_some()).cloned().collect())
    }

    /// Takes a table out of the share. Its registration stays: it hides nothing, and holds its path for us.
    async fn remove_table(&self, connector: &ConnectorId, table: &TableName) -> Result<(), PortError> {
        let share = match self.own_share(REMOVE, connector).await {
            // A share that is another connector's has no table of this one.
            Err(error) if error.kind == PortErrorKind::NotFound => return Ok(()),
            share => share?,
        };
        let name = self.full_name(connector, table);
        if !share.objects.iter().any(|object| object.name == name) {
            return Ok(());
        }
        match self.workspace.update_share(&share.name, &[ShareUpdate::RemoveTable { name }]).await {
            Err(error) if error.kind == ApiErrorKind::Missing => Ok(()),
            outcome => Ok(outcome?),
        }
    }

    async fn refresh_table(&self, connector: &ConnectorId, table: &TableName) -> Result<(), PortError> {
        let _ = self.refresh_columns(connector, table).await?;
        // An attempt that ended half may have left the table out of the share, or unregistered.
        self.put_tables(connector, std::slice::from_ref(table)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_counts_as_nearly_full_from_80_percent_on() {
        let rooms = [0, 799, 800, 999, 1_000].map(Room::of);
        assert_eq!(rooms, [Room::Enough, Room::Enough, Room::NearlyFull, Room::NearlyFull, Room::TooMany]);
        assert!(check_room("acme", 998, 1).is_ok());
        assert!(check_room("acme", 999, 1).is_err(), "the last place is the probe's");
    }
}
