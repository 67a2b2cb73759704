//! An event before and after the rules of the allowlist.

use std::fmt;

use super::redact::{PrivateValues, is_personal};
use crate::connector::Scope;
use crate::ids::{TeamId, WorkflowId, sha256_hex};
use crate::metadata::{Cell, Row, WaitingRow};
use crate::timestamp::Timestamp;

/// The longest title and the longest name that leave, in characters. What is longer is cut.
pub const TEXT_CHARS_MAX: usize = 500;

/// The longest id of the producer's that is kept as it is, in characters.
const EVENT_ID_CHARS_MAX: usize = 128;

/// The longest resource type, in characters.
const RESOURCE_TYPE_CHARS_MAX: usize = 64;

/// Where a request can come from; anything else is null.
pub const REQUEST_SOURCES: [&str; 7] = ["SYSTEM", "UI", "SDK", "API", "MCP", "CLI", "ASSISTANT"];

/// An event as its message reports it. Nothing of it leaves but through [`PublicActivity::of`].
#[derive(Clone, PartialEq, Eq)]
pub struct ReportedActivity {
    /// The team that it belongs to.
    pub team: TeamId,
    /// The producer's id for it, if that is a text.
    pub event_id: Option<String>,
    /// What an id is made of if the producer's cannot be used: the same text for every copy of the message.
    pub identity: String,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// What happened; [`REDACTED`](super::REDACTED) if the message has a payload in this place.
    pub title: String,
    /// The kind of thing that it happened to.
    pub resource_type: Option<String>,
    /// That thing's name.
    pub resource_name: Option<String>,
    /// The workflow that it belongs to.
    pub workflow_id: Option<String>,
    /// Where it was asked for.
    pub request_source: Option<String>,
    /// What may not leave in any text.
    pub private: PrivateValues,
}

impl fmt::Debug for ReportedActivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReportedActivity({}, redacted)", self.team)
    }
}

/// An event as it stands in `ACTIVITY_LOG`: made by the rules only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicActivity {
    team: TeamId,
    event_id: String,
    occurred_at: Timestamp,
    title: String,
    resource_type: Option<String>,
    resource_name: Option<String>,
    workflow: Option<WorkflowId>,
    request_source: Option<&'static str>,
}

impl PublicActivity {
    /// Applies the rules. `None` if the title holds no text.
    ///
    /// - Title and name: see [`PrivateValues::insert`] for what is replaced; at most [`TEXT_CHARS_MAX`] characters.
    ///   The name of a person, or of what belongs to one ([`is_personal`]), does not leave at all.
    /// - Type: a letter, then letters, digits, space, `_` and `-`, at most 64; else null.
    /// - Workflow: a workflow id; else null, and the event belongs to the team as a whole.
    /// - Source: one of the seven that are known; else null.
    /// - Id: the producer's, if it is 1 to 128 of `A-Z a-z 0-9 . _ : -`; else a hash.
    ///
    /// Ids and types are not repaired: one that holds anything private counts as none.
    #[must_use]
    pub fn of(reported: &ReportedActivity) -> Option<Self> {
        let private = &reported.private;
        let title = text(private, &reported.title)?;
        let resource_type = reported.resource_type.as_deref().filter(|name| is_type(name) && private.leaves(name));
        let workflow = reported.workflow_id.as_deref().filter(|id| private.names_nobody(id));
        let producers_id = reported.event_id.as_deref().filter(|id| is_event_id(id) && private.leaves(id));
        let event_id =
            producers_id.map_or_else(|| sha256_hex(&[reported.team.as_str(), &reported.identity]), str::to_owned);
        let of_person = reported.resource_type.as_deref().is_some_and(is_personal);
        let resource_name = reported.resource_name.as_deref().filter(|_| !of_person);
        let request_source = reported.request_source.as_deref();
        Some(Self {
            team: reported.team.clone(),
            event_id,
            occurred_at: reported.occurred_at,
            title,
            resource_type: resource_type.map(str::to_owned),
            resource_name: resource_name.and_then(|name| text(private, name)),
            workflow: workflow.and_then(|id| WorkflowId::new(id).ok()),
            request_source: REQUEST_SOURCES.into_iter().find(|known| Some(*known) == request_source),
        })
    }

    /// The team that the event belongs to.
    #[must_use]
    pub fn team(&self) -> &TeamId {
        &self.team
    }

    /// The event's id: its row's key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.event_id
    }

    /// The workflow that the event belongs to; `None` if it belongs to the team as a whole.
    #[must_use]
    pub fn workflow(&self) -> Option<&WorkflowId> {
        self.workflow.as_ref()
    }

    /// When it happened.
    #[must_use]
    pub fn occurred_at(&self) -> Timestamp {
        self.occurred_at
    }

    /// Whether a scope takes the event. One that belongs to the team as a whole is for whoever takes every workflow.
    #[must_use]
    pub fn is_in(&self, scope: &Scope) -> bool {
        self.workflow.as_ref().map_or(*scope == Scope::All, |workflow| scope.contains(workflow))
    }

    /// The event's row of [`MetadataTable::ActivityLog`](crate::metadata::MetadataTable::ActivityLog).
    #[must_use]
    pub fn row(&self) -> WaitingRow {
        let optional = |text: Option<&str>| text.map_or(Cell::Null, |text| Cell::Text(text.to_owned()));
        let row: Row = vec![
            Cell::Text(self.event_id.clone()),
            Cell::Timestamp(self.occurred_at),
            Cell::Text(self.title.clone()),
            optional(self.resource_type.as_deref()),
            optional(self.resource_name.as_deref()),
            optional(self.workflow.as_ref().map(WorkflowId::as_str)),
            optional(self.request_source),
        ];
        WaitingRow { key: self.event_id.clone(), row }
    }
}

/// A text as it may leave; `None` if nothing is in it.
fn text(private: &PrivateValues, text: &str) -> Option<String> {
    let cut: String = private.redact(text).chars().take(TEXT_CHARS_MAX).collect();
    let cut = cut.trim();
    (!cut.is_empty()).then(|| cut.to_owned())
}

fn is_type(text: &str) -> bool {
    text.len() <= RESOURCE_TYPE_CHARS_MAX
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b' ' | b'-'))
}

fn is_event_id(text: &str) -> bool {
    (1..=EVENT_ID_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-'))
}

#[cfg(test)]
#[path = "public_tests.rs"]
mod tests;
