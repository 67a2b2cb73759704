//! A connector: one team's configured destination.

use std::collections::BTreeSet;
use std::fmt;

use crate::ids::{ConnectorId, TeamId, WorkflowId};
use crate::timestamp::Timestamp;

/// The longest life of a recipient's token, in days.
pub const TOKEN_LIFETIME_DAYS_MAX: u16 = 365;

/// The name of the one schema in a connector's share.
pub const SHARE_SCHEMA: &str = "data";

/// A connector's configuration and state.
#[derive(Debug, Clone, PartialEq)]
pub struct Connector {
    /// The connector. Its share has the same name.
    pub id: ConnectorId,
    /// The team whose runs it takes.
    pub team: TeamId,
    /// Who reads.
    pub recipient: Recipient,
    /// What its share is served by. Chosen at set-up, for the connector's whole life.
    pub backend: Backend,
    /// Which workflows it takes.
    pub workflows: Scope,
    /// Whether activity is delivered.
    pub activity_log: bool,
    /// Whether history is delivered after the first live delivery.
    pub backfill: bool,
    /// The fraction of a run's rows, 0 to 1, that may be rejected.
    pub max_rejected_fraction: f64,
    /// Where the connector is in its life.
    pub state: ConnectorState,
    /// The state that it was disabled in, and goes back to; set exactly while it is [`ConnectorState::Disabled`].
    pub disabled_in: Option<ConnectorState>,
    /// Since when runs may be missing that it did not take because it was disabled; set until they are caught up.
    pub missed_since: Option<Timestamp>,
    /// The newest rotation of the recipient's token; none if there was none.
    pub rotation: Option<Rotation>,
    /// When it was set up: at first, or anew after it was revoked.
    pub created_at: Timestamp,
    /// Counts the changes of this record: what was read is written only over what was read.
    pub revision: u64,
}

impl Connector {
    /// Where the connector's tables lie in the tables bucket, without a slash at the end.
    #[must_use]
    pub fn storage_path(&self) -> String {
        storage_path(&self.id)
    }

    /// The number of the newest rotation, 0 if there was none: what a link that is made now belongs to.
    #[must_use]
    pub fn rotation_number(&self) -> u32 {
        self.rotation.map_or(0, |rotation| rotation.number)
    }

    /// The share's name: the connector's id.
    #[must_use]
    pub fn share_name(&self) -> &str {
        self.id.as_str()
    }
}

/// One rotation of a recipient's token. Tokens and links that were made before it end by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Counts the connector's rotations, from 1. Links that were made before the first belong to rotation 0.
    pub number: u32,
    /// When it began.
    pub began_at: Timestamp,
    /// When the tokens of before end at the latest.
    pub tokens_end_at: Timestamp,
}

/// Where a connector's tables lie in the tables bucket, without a slash at the end.
#[must_use]
pub fn storage_path(connector: &ConnectorId) -> String {
    format!("connectors/{connector}")
}

/// Who reads a connector's share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// In a Databricks metastore.
    Databricks(SharingIdentifier),
    /// By bearer token.
    Token(TokenRecipient),
}

impl Recipient {
    /// The recipient, if it reads by bearer token.
    #[must_use]
    pub fn token(&self) -> Option<&TokenRecipient> {
        match self {
            Self::Token(recipient) => Some(recipient),
            Self::Databricks(_) => None,
        }
    }

    /// The recipient's metastore, if it reads in one.
    #[must_use]
    pub fn databricks(&self) -> Option<&SharingIdentifier> {
        match self {
            Self::Databricks(identifier) => Some(identifier),
            Self::Token(_) => None,
        }
    }
}

/// What a share is served by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Our own Delta Sharing server. Token recipients only.
    Open,
    /// The vendor's Databricks metastore. Databricks recipients, and tokens that Databricks hands out.
    Databricks,
}

impl Backend {
    /// The backend's stable text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Databricks => "databricks",
        }
    }

    /// Reads a backend's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Databricks].into_iter().find(|backend| backend.as_str() == text)
    }
}

/// What a data recipient calls its metastore: `<cloud>:<region>:<metastore uuid>`, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharingIdentifier(String);

impl SharingIdentifier {
    /// Reads an identifier as `SELECT CURRENT_METASTORE()` shows it.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let mut parts = text.split(':');
        let (cloud, region, uuid) = (parts.next()?, parts.next()?, parts.next()?);
        let groups: Vec<_> = uuid.split('-').map(str::len).collect();
        let good = parts.next().is_none()
            && matches!(cloud, "aws" | "azure" | "gcp")
            && !region.is_empty()
            && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && groups == [8, 4, 4, 4, 12]
            && uuid.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
        good.then_some(Self(text))
    }

    /// The identifier's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A recipient who reads by bearer token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecipient {
    /// Where the activation link goes.
    pub secure_contact: SecureContact,
    /// Life of the token in days from its download, 1 to [`TOKEN_LIFETIME_DAYS_MAX`].
    pub token_lifetime_days: u16,
    /// CIDR blocks that may read; empty means any.
    pub allowed_ips: Vec<String>,
}

/// An e-mail address that must not be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecureContact(String);

impl SecureContact {
    /// Reads an address: printable ASCII without spaces, one `@` with text on both sides, at most 254 characters.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let (local, domain) = text.split_once('@')?;
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b',' | b'"'));
        let fits = text.len() <= 254 && !local.is_empty() && !domain.is_empty() && !domain.contains('@');
        (plain && fits).then_some(Self(text))
    }

    /// The address, to send to or to store.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecureContact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecureContact(redacted)")
    }
}

/// Which workflows of the team a connector takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every workflow, future ones included.
    All,
    /// These workflows.
    Only(BTreeSet<WorkflowId>),
}

impl Scope {
    /// Whether a workflow's runs are delivered.
    #[must_use]
    pub fn contains(&self, workflow: &WorkflowId) -> bool {
        match self {
            Self::All => true,
            Self::Only(workflows) => workflows.contains(workflow),
        }
    }
}

/// Where a connector is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectorState {
    /// Its share is being made and checked; it takes no data.
    Provisioning,
    /// It was checked, and takes live runs. None was delivered and proven yet.
    Ready,
    /// A live delivery was proven; history is being delivered, and live runs are.
    Backfilling,
    /// History is delivered, or was not asked for; live runs are delivered.
    Active,
    /// It takes nothing new. Deliveries that had begun may end.
    Disabled,
    /// Its recipient reads nothing any more. It can only be set up anew.
    Revoked,
}

impl ConnectorState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Provisioning, Self::Ready, Self::Backfilling, Self::Active, Self::Disabled, Self::Revoked];

    /// The state's stable text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Ready => "ready",
            Self::Backfilling => "backfilling",
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
        }
    }

    /// Reads a state's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether new runs are delivered.
    #[must_use]
    pub fn takes_data(self) -> bool {
        match self {
            Self::Ready | Self::Backfilling | Self::Active => true,
            Self::Provisioning | Self::Disabled | Self::Revoked => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_backends_read_back() {
        for state in ConnectorState::ALL {
            assert_eq!(ConnectorState::parse(state.as_str()), Some(state));
        }
        for backend in [Backend::Open, Backend::Databricks] {
            assert_eq!(Backend::parse(backend.as_str()), Some(backend));
        }
        assert_eq!(ConnectorState::parse("asleep"), None);
    }

    #[test]
    fn what_is_no_sharing_identifier_is_refused() {
        assert_eq!(
            SharingIdentifier::new(" AWS:us-west-2:19A84BEE-54BC-43A2-87DE-023D0EC16016 ").unwrap().as_str(),
            "aws:us-west-2:19a84bee-54bc-43a2-87de-023d0ec16016"
        );
        for text in [
            "",
            "aws:us-west-2",
            "aws:us-west-2:19a84bee",
            "ibm:us-west-2:19a84bee-54bc-43a2-87de-023d0ec16016",
            "aws::19a84bee-54bc-43a2-87de-023d0ec16016",
            "aws:us west:19a84bee-54bc-43a2-87de-023d0ec16016",
            "aws:us-west-2:19a84bee-54bc-43a2-87de-023d0ec16016:x",
            "aws:us-west-2:19a84bee-54bc-43a2-87de-023d0ec1601g",
        ] {
            assert_eq!(SharingIdentifier::new(text), None, "{text}");
        }
    }
}
