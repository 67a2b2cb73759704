//! A connector's life: which changes are allowed, and the record of each: who, when, what.

use crate::connector::{Connector, ConnectorState};
use crate::timestamp::Timestamp;

/// What is done to a connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Made, changed in its settings, or set up anew after it was revoked.
    SetUp,
    /// Its share was read back: it takes data from now on.
    Verify,
    /// Its first live delivery was proven: history is being delivered.
    BeginBackfill,
    /// History is delivered, or was not asked for.
    Activate,
    /// Stopped from taking anything new.
    Disable,
    /// Takes data again.
    Enable,
    /// What it missed while it was disabled is delivered.
    CatchUp,
    /// The recipient gets a new token; the one of before ends soon.
    RotateToken,
    /// The recipient's access is removed.
    Revoke,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 9] = [
        Self::SetUp,
        Self::Verify,
        Self::BeginBackfill,
        Self::Activate,
        Self::Disable,
        Self::Enable,
        Self::CatchUp,
        Self::RotateToken,
        Self::Revoke,
    ];

    /// The action's stable text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SetUp => "set-up",
            Self::Verify => "verify",
            Self::BeginBackfill => "begin-backfill",
            Self::Activate => "activate",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::CatchUp => "catch-up",
            Self::RotateToken => "rotate-token",
            Self::Revoke => "revoke",
        }
    }

    /// Reads an action's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }
}

/// On whose behalf something is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The execution: CloudTrail says who started it.
    pub execution: String,
    /// Who asked, as the operator says in `requestedBy`.
    pub requested_by: Option<String>,
}

/// One change of a connector, kept for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// What.
    pub action: Action,
    /// Who.
    pub actor: Actor,
}

/// Whether a change was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Changed {
    /// Made now, and audited.
    Now,
    /// Somebody else was first: what was read is out of date.
    Outdated,
}

impl Connector {
    /// The connector in another state, as the next revision of its record.
    #[must_use]
    pub fn moved(&self, state: ConnectorState) -> Self {
        Self { state, revision: self.revision + 1, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_read_back() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Some(action));
        }
        assert_eq!(Action::parse("paint"), None);
    }
}
