//! Who reads: adopting or making recipients, their grants, their tokens.
//!
//! A metastore has one recipient for each recipient metastore, whatever the number of connectors that deliver to it:
//! it is shared by them, and each has a share of its own. A token recipient belongs to one connector. Nothing here
//! deletes a recipient.

use std::collections::BTreeMap;

use delivery::connector::{Connector, Recipient as Reads, SharingIdentifier};
use delivery::ids::ConnectorId;
use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;

use super::verify::selects;
use super::{BackendError, UnityCatalogBackend, addresses};
use crate::error::{ApiError, ApiErrorKind};
use crate::names::{CONNECTOR_PROPERTY, DEPLOYMENT_PROPERTY, databricks_recipient_name, token_recipient_name};
use crate::recipients::{ActivationUrl, NewRecipient, NewRecipientKind, Recipient};
use crate::shares::{Share, ShareGrant};

const SECONDS_PER_DAY: i64 = 86_400;

const CONNECT: &str = "connect a recipient";
const READ_BACK: &str = "read a recipient back";
const GRANT: &str = "grant a share to a recipient";
const REVOKE: &str = "revoke a share from a recipient";

/// How a connector's recipient reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reader {
    /// In the metastore of this sharing identifier.
    Databricks(SharingIdentifier),
    /// By a bearer token that the workspace hands out.
    Token {
        /// When the first token ends, at most a year from now.
        expires_at: Timestamp,
        /// CIDR blocks that may read, at most 100; empty means any.
        allowed_ips: Vec<String>,
    },
}

impl Reader {
    /// How a connector's recipient reads; a token that is made now ends as many days from now as the connector says.
    #[must_use]
    pub fn of(connector: &Connector, now: Timestamp) -> Self {
        match &connector.recipient {
            Reads::Databricks(identifier) => Self::Databricks(identifier.clone()),
            Reads::Token(recipient) => Self::Token {
                expires_at: now.plus_seconds(SECONDS_PER_DAY * i64::from(recipient.token_lifetime_days)),
                allowed_ips: recipient.allowed_ips.clone(),
            },
        }
    }
}

/// A recipient that the connector's share can be granted to.
#[derive(Debug)]
pub struct Adopted {
    /// The recipient's name.
    pub recipient: String,
    /// Where a token recipient downloads its credential, if that was not done yet. It goes to the secure contact,
    /// untouched, and nowhere else.
    pub activation: Option<ActivationUrl>,
}

impl UnityCatalogBackend {
    /// Adopts the reader's recipient if it is this deployment's, or makes it.
    ///
    /// # Errors
    ///
    /// `Denied` with [`BackendError::ForeignRecipient`] if the reader has a recipient that is not ours, with
    /// [`BackendError::HiddenRecipient`] if it has one that our service principal may not see.
    pub async fn adopt(&self, connector: &ConnectorId, reader: &Reader) -> Result<Adopted, PortError> {
        let mut found = self.find_recipient(connector, reader).await?;
        if found.is_none() {
            match self.make_recipient(connector, reader).await {
                Ok(made) => found = Some(made),
                // Made meanwhile, or the name is somebody else's.
                Err(error) if error.kind == ApiErrorKind::Exists => {
                    found = self.find_recipient(connector, reader).await?;
                    if found.is_none() {
                        return Err(self.unseen(connector, reader, error).during(CONNECT));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        let recipient = found.ok_or_else(|| BackendError::NoRecipient.during(CONNECT))?;
        if !self.is_ours(&recipient, connector, reader) {
            return Err(BackendError::ForeignRecipient { recipient: recipient.name }.during(CONNECT));
        }
        if let Reader::Token { allowed_ips, .. } = reader
            && !addresses::same(&recipient.allowed_ips, allowed_ips)
        {
            self.workspace.set_allowed_ips(&recipient.name, allowed_ips).await?;
        }
        Ok(Adopted { recipient: recipient.name, activation: newest_activation(recipient.tokens) })
    }

    /// Why a recipient cannot be made that is not to be found: somebody else has one for the same metastore, or has the
    /// name.
    fn unseen(&self, connector: &ConnectorId, reader: &Reader, refused: ApiError) -> BackendError {
        match reader {
            Reader::Databricks(identifier) if refused.is_same_sharing_identifier() => BackendError::HiddenRecipient {
                identifier: identifier.as_str().to_owned(),
                said: refused.message.unwrap_or_default(),
                deployment: self.settings.deployment.as_str().to_owned(),
            },
            Reader::Databricks(_) | Reader::Token { .. } => {
                BackendError::ForeignRecipient { recipient: self.recipient_name(connector, reader) }
            }
        }
    }

    /// Whether a recipient's IP access list reads back as the connector's. A metastore that reads has none.
    ///
    /// # Errors
    ///
    /// `InvalidData` if it lets others in, or fewer.
    pub(super) fn check_addresses(recipient: &Recipient, reader: &Reader) -> Result<(), PortError> {
        match reader {
            Reader::Token { allowed_ips, .. } if !addresses::same(&recipient.allowed_ips, allowed_ips) => {
                let (found, wanted) = (recipient.allowed_ips.clone(), allowed_ips.clone());
                Err(BackendError::OtherAddresses { recipient: recipient.name.clone(), found, wanted }.during(READ_BACK))
            }
            Reader::Token { .. } | Reader::Databricks(_) => Ok(()),
        }
    }

    pub(super) async fn find_recipient(
        &self,
        connector: &ConnectorId,
        reader: &Reader,
    ) -> Result<Option<Recipient>, PortError> {
        Ok(match reader {
            Reader::Databricks(identifier) => self.workspace.recipient_of(identifier).await?,
            Reader::Token { .. } => self.workspace.recipient(&self.recipient_name(connector, reader)).await?,
        })
    }

    fn recipient_name(&self, connector: &ConnectorId, reader: &Reader) -> String {
        match reader {
            Reader::Databricks(identifier) => databricks_recipient_name(&self.settings.deployment, identifier),
            Reader::Token { .. } => token_recipient_name(&self.settings.deployment, connector),
        }
    }

    async fn make_recipient(&self, connector: &ConnectorId, reader: &Reader) -> Result<Recipient, ApiError> {
        let name = self.recipient_name(connector, reader);
        let mut properties = BTreeMap::from([(DEPLOYMENT_PROPERTY, self.settings.deployment.as_str())]);
        let kind = match reader {
            Reader::Databricks(identifier) => NewRecipientKind::Databricks(identifier),
            Reader::Token { expires_at, allowed_ips } => {
                properties.insert(CONNECTOR_PROPERTY, connector.as_str());
                NewRecipientKind::Token { expires_at: Some(*expires_at), allowed_ips }
            }
        };
        let comment = "Made by Spillway.";
        self.workspace.create_recipient(&NewRecipient { name: &name, comment, kind, properties }).await
    }

    /// Whether a recipient has our marks. Its name does not count: people may choose it.
    pub(super) fn is_ours(&self, recipient: &Recipient, connector: &ConnectorId, reader: &Reader) -> bool {
        let marked = |key: &str, value: &str| recipient.properties.get(key).is_some_and(|found| found == value);
        let deployment = marked(DEPLOYMENT_PROPERTY, self.settings.deployment.as_str());
        match reader {
            Reader::Databricks(_) => deployment && recipient.authentication == "DATABRICKS",
            Reader::Token { .. } => {
                deployment && marked(CONNECTOR_PROPERTY, connector.as_str()) && recipient.authentication == "TOKEN"
            }
        }
    }

    /// Lets a recipient read the connector's share, and reads that back from both ends.
    ///
    /// # Errors
    ///
    /// `NotFound` if the connector has no share, `Denied` if share or recipient is not our service principal's.
    pub async fn grant(&self, connector: &ConnectorId, recipient: &str) -> Result<(), PortError> {
        let share = self.own_share(GRANT, connector).await?;
        self.grant_of(&share.name, recipient).await.map(drop)
    }

    /// Lets a recipient, and nobody else, read the connector's share.
    pub(super) async fn grant_alone(&self, connector: &ConnectorId, recipient: &str) -> Result<(), PortError> {
        let share = self.own_share(GRANT, connector).await?;
        let grants = self.grant_of(&share.name, recipient).await?;
        self.take_grants(&share.name, &grants, Some(recipient)).await
    }

    /// Grants a share, and returns all of its grants as they read back.
    async fn grant_of(&self, share: &str, recipient: &str) -> Result<Vec<ShareGrant>, PortError> {
        self.workspace.grant_share(share, recipient).await?;
        let grants = self.workspace.share_grants(share).await?;
        let access = self.access_by(&grants, share, recipient).await?;
        if access.is_granted() { Ok(grants) } else { Err(BackendError::NotGranted.during(GRANT)) }
    }

    /// Lets a recipient read the connector's share no longer, and reads that back from both ends. Share, tables and
    /// recipient stay. A connector without a share grants nothing.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the grant is still there.
    pub async fn ungrant(&self, connector: &ConnectorId, recipient: &str) -> Result<(), PortError> {
        match self.own_share_to_revoke(connector).await? {
            Some(share) => self.take_grant(&share.name, recipient).await,
            None => Ok(()),
        }
    }

    /// Lets nobody read the connector's share any longer, whoever was granted it.
    pub(super) async fn ungrant_all(&self, connector: &ConnectorId) -> Result<(), PortError> {
        let Some(share) = self.own_share_to_revoke(connector).await? else { return Ok(()) };
        let grants = self.workspace.share_grants(&share.name).await?;
        self.take_grants(&share.name, &grants, None).await
    }

    /// The connector's share; `None` if there is none of ours, so that nothing is granted by us.
    async fn own_share_to_revoke(&self, connector: &ConnectorId) -> Result<Option<Share>, PortError> {
        match self.own_share(REVOKE, connector).await {
            Err(error) if error.kind == PortErrorKind::NotFound => Ok(None),
            share => share.map(Some),
        }
    }

    /// Takes the grants of all but this recipient.
    async fn take_grants(&self, share: &str, grants: &[ShareGrant], but: Option<&str>) -> Result<(), PortError> {
        for grant in grants {
            let stays = but.is_some_and(|recipient| grant.recipient.eq_ignore_ascii_case(recipient));
            if !stays && selects(&grant.privileges) {
                self.take_grant(share, &grant.recipient).await?;
            }
        }
        Ok(())
    }

    /// Takes a recipient's grant, and reads that back from both ends.
    async fn take_grant(&self, share: &str, recipient: &str) -> Result<(), PortError> {
        match self.workspace.revoke_share(share, recipient).await {
            // The recipient is gone, and its grants with it.
            Err(error) if error.kind == ApiErrorKind::Missing => return Ok(()),
            outcome => outcome?,
        }
        let access = self.access(share, recipient).await?;
        if access.is_nowhere() { Ok(()) } else { Err(BackendError::StillGranted.during(REVOKE)) }
    }
}

fn newest_activation(tokens: Vec<crate::recipients::RecipientToken>) -> Option<ActivationUrl> {
    tokens.into_iter().next_back()?.activation
}
