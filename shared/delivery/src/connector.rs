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
    pub recipient: TokenRecipient,
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
    /// When it was first set up.
    pub created_at: Timestamp,
}

impl Connector {
    /// Where the connector's tables lie in the tables bucket, without a slash at the end.
    #[must_use]
    pub fn storage_path(&self) -> String {
        storage_path(&self.id)
    }

    /// The share's name: the connector's id.
    #[must_use]
    pub fn share_name(&self) -> &str {
        self.id.as_str()
    }
}

/// Where a connector's tables lie in the tables bucket, without a slash at the end.
#[must_use]
pub fn storage_path(connector: &ConnectorId) -> String {
    format!("connectors/{connector}")
}

/// A recipient who reads by bearer token through the open backend.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectorState {
    /// Its share is being made and checked; it takes no data.
    Provisioning,
    /// It was checked and takes data.
    Ready,
}

impl ConnectorState {
    /// The state's stable text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Ready => "ready",
        }
    }

    /// Reads a state's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Provisioning, Self::Ready].into_iter().find(|state| state.as_str() == text)
    }
}
