//! Reading everything back: what a recipient would find.

use delivery::ids::ConnectorId;
use delivery::ports::PortError;
use delivery::table::TableName;

use super::{BackendError, Room, TABLES_PER_SHARE_MAX, UnityCatalogBackend};
use crate::error::ApiErrorKind;
use crate::shares::{ObjectStatus, ShareGrant};

const VERIFY: &str = "verify a connector's share";
const READ: &str = "read what recipients are given";

/// What the metastore says of a connector's share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareReport {
    /// Tables that should be in the share and are not, by their full names.
    pub missing: Vec<String>,
    /// What is in the share and cannot be read by recipients, by full names: ask for SELECT for the share's owner.
    pub denied: Vec<String>,
    /// Tables that should be readable and of which the metastore says neither that they are nor that they are not.
    pub unproven: Vec<String>,
    /// Tables in the share, the probe not among them.
    pub tables: usize,
    /// Tables that fit.
    pub tables_max: usize,
    /// Whether the recipient may read the share.
    pub access: Access,
}

impl ShareReport {
    /// Whether the recipient can read all that it should.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let unreadable = [&self.missing, &self.denied, &self.unproven];
        unreadable.iter().all(|names| names.is_empty()) && self.access.is_granted()
    }

    /// How much room the share has.
    #[must_use]
    pub fn room(&self) -> Room {
        Room::of(self.tables)
    }
}

/// Whether a recipient may read a share, as either end says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The share names the recipient.
    pub by_share: Said,
    /// The recipient names the share.
    pub by_recipient: Said,
}

/// What one end says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It may.
    Yes,
    /// It may not.
    No,
}

impl Said {
    fn of(found: bool) -> Self {
        if found { Self::Yes } else { Self::No }
    }
}

impl Access {
    /// Whether both ends agree that it may.
    #[must_use]
    pub fn is_granted(self) -> bool {
        self.by_share == Said::Yes && self.by_recipient == Said::Yes
    }

    /// Whether both ends agree that it may not.
    #[must_use]
    pub fn is_nowhere(self) -> bool {
        self.by_share == Said::No && self.by_recipient == Said::No
    }
}

impl UnityCatalogBackend {
    /// Reads a connector's share back: what is in it, what recipients cannot read, and whether this recipient may.
    ///
    /// # Errors
    ///
    /// `NotFound` if the connector has no share.
    pub async fn report(
        &self,
        connector: &ConnectorId,
        recipient: &str,
        tables: &[TableName],
    ) -> Result<ShareReport, PortError> {
        let share = self.own_share(VERIFY, connector).await?;
        let missing = tables.iter().filter(|table| self.object(&share, connector, table).is_none());
        let missing = missing.map(|table| self.full_name(connector, table)).collect();
        let denied = share.objects.iter().filter(|object| object.status == ObjectStatus::PermissionDenied);
        let unproven = tables.iter().filter(|it| self.object(&share, connector, it) == Some(ObjectStatus::Unknown));
        let unproven = unproven.map(|table| self.full_name(connector, table)).collect();
        Ok(ShareReport {
            missing,
            unproven,
            denied: denied.map(|object| object.name.clone()).collect(),
            tables: self.tables_in(&share, connector),
            tables_max: TABLES_PER_SHARE_MAX,
            access: self.access(&share.name, recipient).await?,
        })
    }

    /// The Delta schema text of a table as recipients are given it: the table is in the share and can be read, somebody
    /// was granted the share, all who were are so at both ends, and the metastore says every column in full.
    ///
    /// # Errors
    ///
    /// `NotFound` if the connector has no share or the table is not in it, `Denied` if recipients could not read the
    /// table, `Unavailable` if nobody may read the share, the ends disagree, or the metastore does not say whether the
    /// table can be read, `InvalidData` if the registration is not whole.
    pub async fn registered_schema(&self, connector: &ConnectorId, table: &TableName) -> Result<String, PortError> {
        let share = self.own_share(READ, connector).await?;
        let full_name = self.full_name(connector, table);
        match self.object(&share, connector, table) {
            None => return Err(BackendError::NotShared { table: full_name }.during(READ)),
            Some(ObjectStatus::PermissionDenied) => {
                return Err(BackendError::NotReadable { tables: vec![full_name] }.during(READ));
            }
            Some(ObjectStatus::Unknown) => {
                return Err(BackendError::NotProven { tables: vec![full_name] }.during(READ));
            }
            Some(ObjectStatus::Active) => {}
        }
        let grants = self.workspace.share_grants(&share.name).await?;
        if !grants.iter().any(|grant| selects(&grant.privileges)) {
            return Err(BackendError::NotGranted.during(READ));
        }
        for grant in &grants {
            if selects(&grant.privileges) && self.by_recipient(&share.name, &grant.recipient).await? == Said::No {
                return Err(BackendError::NotGranted.during(READ));
            }
        }
        let registered = self.registered(&full_name, connector, table).await?;
        let registered = registered.ok_or_else(|| BackendError::NotShared { table: full_name.clone() }.during(READ))?;
        registered.schema_text.ok_or_else(|| BackendError::Stale { table: full_name }.during(READ))
    }

    /// Asks both ends whether a recipient may read a share. No name is nobody's.
    pub(super) async fn access(&self, share: &str, recipient: &str) -> Result<Access, PortError> {
        if recipient.is_empty() {
            return Ok(Access { by_share: Said::No, by_recipient: Said::No });
        }
        let grants = self.workspace.share_grants(share).await?;
        self.access_by(&grants, share, recipient).await
    }

    /// Asks the recipient's end, where the share's has been asked for its grants.
    pub(super) async fn access_by(
        &self,
        grants: &[ShareGrant],
        share: &str,
        recipient: &str,
    ) -> Result<Access, PortError> {
        let by_share =
            grants.iter().any(|grant| grant.recipient.eq_ignore_ascii_case(recipient) && selects(&grant.privileges));
        Ok(Access { by_share: Said::of(by_share), by_recipient: self.by_recipient(share, recipient).await? })
    }

    /// Asks a recipient's end whether it may read a share.
    pub(super) async fn by_recipient(&self, share: &str, recipient: &str) -> Result<Said, PortError> {
        let found = match self.workspace.recipient_shares(recipient).await {
            Ok(shares) => {
                shares.iter().any(|access| access.share.eq_ignore_ascii_case(share) && selects(&access.privileges))
            }
            Err(error) if error.kind == ApiErrorKind::Missing => false,
            Err(error) => return Err(error.into()),
        };
        Ok(Said::of(found))
    }
}

pub(super) fn selects(privileges: &[String]) -> bool {
    privileges.iter().any(|privilege| privilege == "SELECT")
}
