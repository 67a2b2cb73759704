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
use super::{BackendError, Said, UnityCatalogBackend, addresses};
use crate::error::{ApiError, ApiErrorKind};
use crate::names::{
    CONNECTOR_PROPERTY, DEPLOYMENT_PROPERTY, connector_name, databricks_recipient_name, is_connector_mark,
    token_recipient_name,
};
use crate::recipients::{ActivationUrl, NewRecipient, NewRecipientKind, Recipient};
use crate::shares::{Share, ShareGrant};

const SECONDS_PER_DAY: i64 = 86_400;

/// The longest life that a token is made with, in seconds. The workspace takes a year by its own clock, which may be
/// behind ours.
const TOKEN_LIFE_SECONDS_MAX: i64 = 365 * SECONDS_PER_DAY - 60;

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
        /// When the first token ends, less than a year from now.
        expires_at: Timestamp,
        /// CIDR blocks that may read, at most 100; empty means any.
        allowed_ips: Vec<String>,
    },
}

impl Reader {
    /// How a connector's recipient reads; a token that is made now ends as many days from now as the connector says, or
    /// a minute before a year is over.
    #[must_use]
    pub fn of(connector: &Connector, now: Timestamp) -> Self {
        match &connector.recipient {
            Reads::Databricks(identifier) => Self::Databricks(identifier.clone()),
            Reads::Token(recipient) => {
                let life = SECONDS_PER_DAY * i64::from(recipient.token_lifetime_days);
                Self::Token {
                    expires_at: now.plus_seconds(life.min(TOKEN_LIFE_SECONDS_MAX)),
                    allowed_ips: recipient.allowed_ips.clone(),
                }
            }
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

    /// The connector's token recipient, if it is there and ours, whoever reads for the connector now.
    pub(super) async fn token_recipient(&self, connector: &ConnectorId) -> Result<Option<Recipient>, PortError> {
        let found = self.workspace.recipient(&token_recipient_name(&self.settings.deployment, connector)).await?;
        Ok(found.filter(|recipient| self.is_ours_by_token(recipient, connector)))
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
        match reader {
            Reader::Databricks(_) => self.has_our_mark(recipient) && recipient.authentication == "DATABRICKS",
            Reader::Token { .. } => self.is_ours_by_token(recipient, connector),
        }
    }

    fn is_ours_by_token(&self, recipient: &Recipient, connector: &ConnectorId) -> bool {
        let of_connector = recipient.properties.get(CONNECTOR_PROPERTY).is_some_and(|it| it == connector.as_str());
        self.has_our_mark(recipient) && of_connector && recipient.authentication == "TOKEN"
    }

    fn has_our_mark(&self, recipient: &Recipient) -> bool {
        let deployment = self.settings.deployment.as_str();
        recipient.properties.get(DEPLOYMENT_PROPERTY).is_some_and(|found| found == deployment)
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

    /// Lets nobody read any longer what has the connector's mark, by whatever name and whoever was granted it. Its
    /// token recipient then reads nothing at all, and its metastore no share of its name that lost the mark.
    ///
    /// # Errors
    ///
    /// `Denied` if a grant is not our service principal's to take, `Unavailable` if one is still there.
    pub(super) async fn ungrant_all(&self, connector: &Connector) -> Result<(), PortError> {
        let (id, name) = (&connector.id, connector_name(&connector.id));
        let named = self.workspace.share(&name).await?;
        let listed = self.workspace.shares().await?;
        let own: Vec<_> = named
            .iter()
            .chain(listed.iter().filter(|share| share.name != name))
            .filter(|share| self.is_marked(share.comment.as_deref(), id))
            .map(|share| share.name.clone())
            .collect();
        // One grant that cannot be taken must not keep the others.
        let mut outcome = Ok(());
        for share in &own {
            outcome = outcome.and(self.ungrant_share(share).await);
        }
        outcome = outcome.and(self.ungrant_token(id).await);
        if named.as_ref().and_then(|share| share.comment.as_deref()).is_some_and(is_connector_mark) {
            return outcome;
        }
        outcome.and(self.ungrant_metastore(connector, named.as_ref()).await)
    }

    async fn ungrant_share(&self, share: &str) -> Result<(), PortError> {
        let grants = self.workspace.share_grants(share).await?;
        self.take_grants(share, &grants, None).await
    }

    /// Takes all grants of the connector's token recipient: it is nobody else's, and so is what it reads.
    async fn ungrant_token(&self, connector: &ConnectorId) -> Result<(), PortError> {
        let Some(recipient) = self.token_recipient(connector).await? else { return Ok(()) };
        let mut outcome = Ok(());
        for access in self.workspace.recipient_shares(&recipient.name).await? {
            if selects(&access.privileges) {
                outcome = outcome.and(self.take_grant(&access.share, &recipient.name).await);
            }
        }
        outcome
    }

    /// Takes the grant of the connector's metastore to the share of the connector's name, which bears no mark or is not
    /// for our service principal to see. What that recipient reads besides is other connectors'.
    async fn ungrant_metastore(&self, connector: &Connector, share: Option<&Share>) -> Result<(), PortError> {
        let Reads::Databricks(identifier) = &connector.recipient else { return Ok(()) };
        let reader = Reader::Databricks(identifier.clone());
        let found = self.find_recipient(&connector.id, &reader).await?;
        let Some(recipient) = found.filter(|it| self.is_ours(it, &connector.id, &reader)) else { return Ok(()) };
        let name = connector_name(&connector.id);
        let grants = match share {
            Some(_) => self.workspace.share_grants(&name).await?,
            None => Vec::new(),
        };
        let access = self.access_by(&grants, &name, &recipient.name).await?;
        if access.is_nowhere() { Ok(()) } else { self.take_grant(&name, &recipient.name).await }
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
        let mut outcome = Ok(());
        for grant in grants {
            let stays = but.is_some_and(|recipient| grant.recipient.eq_ignore_ascii_case(recipient));
            if !stays && selects(&grant.privileges) {
                outcome = outcome.and(self.take_grant(share, &grant.recipient).await);
            }
        }
        outcome
    }

    /// Takes a recipient's grant, and reads that back from both ends.
    async fn take_grant(&self, share: &str, recipient: &str) -> Result<(), PortError> {
        match self.workspace.revoke_share(share, recipient).await {
            // The recipient is gone and its grants with it, or the share is not for us to see.
            Err(error) if error.kind == ApiErrorKind::Missing => {
                return match self.by_recipient(share, recipient).await? {
                    Said::No => Ok(()),
                    Said::Yes => Err(BackendError::StillGranted.during(REVOKE)),
                };
            }
            outcome => outcome?,
        }
        let access = self.access(share, recipient).await?;
        if access.is_nowhere() { Ok(()) } else { Err(BackendError::StillGranted.during(REVOKE)) }
    }
}

fn newest_activation(tokens: Vec<crate::recipients::RecipientToken>) -> Option<ActivationUrl> {
    tokens.into_iter().next_back()?.activation
}
