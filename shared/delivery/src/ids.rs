//! Identifiers that cross the system's edge, and the names derived from them.

use std::fmt;

use sha2::{Digest, Sha256};

/// The longest identifier that is accepted, in bytes. Producer ids are UUIDs or 24 hex digits.
pub const ID_BYTES_MAX: usize = 128;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} must be 1 to {ID_BYTES_MAX} characters of A-Z a-z 0-9 . _ - that begin with a letter or digit and hold no .."
)]
pub struct InvalidId {
    /// Which identifier was read.
    pub what: &'static str,
}

fn is_valid(text: &str) -> bool {
    let mut bytes = text.bytes();
    let begins_well = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    begins_well
        && text.len() <= ID_BYTES_MAX
        && !text.contains("..")
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

macro_rules! id {
    ($name:ident, $what:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Reads an identifier: it becomes part of object keys, item keys and execution names, so it is
            /// checked once, here.
            ///
            /// # Errors
            ///
            /// Returns [`InvalidId`] if a character, the length or a `..` is not allowed.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                if is_valid(&text) { Ok(Self(text)) } else { Err(InvalidId { what: $what }) }
            }

            /// The identifier's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(TeamId, "teamId", "The vendor's customer account.");
id!(WorkflowId, "workflowId", "The producer's workflow.");
id!(RunId, "runId", "One run of a workflow.");
id!(ConnectorId, "connectorId", "One team's configured destination.");

/// Names one run: what staging is keyed by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey {
    /// The run's team.
    pub team: TeamId,
    /// The run's workflow.
    pub workflow: WorkflowId,
    /// The run itself.
    pub run: RunId,
}

impl RunKey {
    /// The name of the run's `DeliverRun` execution: the same for every copy of its message, 53 characters at most
    /// (Step Functions allows 80).
    #[must_use]
    pub fn execution_name(&self) -> String {
        let readable: String = self.run.as_str().chars().filter(|c| *c != '.').take(36).collect();
        format!("{readable}-{}", &sha256_hex(&[self.team.as_str(), self.workflow.as_str(), self.run.as_str()])[..16])
    }
}

/// Names one delivery: one run's way to one connector.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryKey {
    /// The connector that receives the run.
    pub connector: ConnectorId,
    /// The delivered run.
    pub run: RunKey,
}

impl fmt::Display for DeliveryKey {
    /// The delivery's id in logs: connector, workflow and run.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.connector, self.run.workflow, self.run.run)
    }
}

/// The name of the execution that rolls history out to a connector which was ready in this revision of its record: the
/// same for every delivery of the time, 61 characters at most. `start` counts from 1 the executions that ended and left
/// it ready.
#[must_use]
pub fn rollout_execution_name(connector: &ConnectorId, revision: u64, start: u32) -> String {
    let readable: String = connector.as_str().chars().filter(|c| *c != '.').take(36).collect();
    let digits = sha256_hex(&[connector.as_str(), &revision.to_string(), &start.to_string()]);
    format!("rollout-{readable}-{}", &digits[..16])
}

/// SHA-256 over the parts, each closed by a zero byte so that their borders count, in lower-case hex.
#[must_use]
pub fn sha256_hex(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.as_bytes());
        digest.update([0]);
    }
    hex(&digest.finalize())
}

/// Bytes in lower-case hex. (`hex::encode` takes a character at a time, which shows in an answer of ten thousand files.)
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = vec![0; 2 * bytes.len()];
    // There is place for each of them.
    let written = hex::encode_to_slice(bytes, &mut text);
    debug_assert!(written.is_ok());
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_leave_their_prefix_are_refused() {
        let long = "x".repeat(300);
        for text in ["", "a/b", "..", "a..b", "a\"b", "a'b", "_a", ".a", "a b", "é", "a\0", long.as_str()] {
            assert_eq!(RunId::new(text), Err(InvalidId { what: "runId" }), "{text:?}");
        }
        for text in ["a", "6606aff0-f6f0-4d26-8321-8e89ad7a00ec", "507f1f77bcf86cd799439011", "team-acme", "a.b_c"] {
            assert_eq!(RunId::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn an_execution_name_is_derived_from_the_whole_run_and_fits() {
        let key = |team: &str, run: &str| RunKey {
            team: TeamId::new(team).unwrap(),
            workflow: WorkflowId::new("w").unwrap(),
            run: RunId::new(run).unwrap(),
        };
        let long = "r".repeat(ID_BYTES_MAX);
        assert_eq!(key("t", "r").execution_name(), key("t", "r").execution_name());
        assert_ne!(key("t", "r").execution_name(), key("u", "r").execution_name());
        assert_ne!(key("t", "r.1").execution_name(), key("t", "r1").execution_name());
        assert!(key("t", &long).execution_name().len() <= 80);
    }
}
