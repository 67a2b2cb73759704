//! What the vendor's other systems are told: which change of state makes which event, and how events reach a bus.
//!
//! Knows no format and no service. One change makes at most one event, and the same change always the same one: whoever
//! is told twice knows it by the event's id.

use std::collections::BTreeSet;

use crate::connector::ConnectorState;
use crate::failure::{FailureCode, StepError};
use crate::ids::{ConnectorId, DeliveryKey, TeamId, sha256_hex};
use crate::ports::{EventBus, PortError, PortErrorKind};
use crate::state::{DeliveryState, Failure};
use crate::table::TableName;
use crate::timestamp::Timestamp;

/// The most events of one request to a bus.
pub const EVENTS_PER_REQUEST_MAX: usize = 10;

/// How often events that a bus did not take are offered again at once.
pub const OFFERS_MAX: usize = 3;

/// Hexadecimal digits of an event's id and of what stands for a token in an event.
const ID_DIGITS: usize = 32;

/// What the state table tells of one change of one item: what it was, if it was there, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A delivery's record was written.
    Delivery {
        /// The delivery.
        key: DeliveryKey,
        /// Its state before.
        before: Option<DeliveryState>,
        /// What it is now.
        after: DeliveryAfter,
    },
    /// A connector's record was written.
    Connector {
        /// The connector.
        id: ConnectorId,
        /// Its team.
        team: TeamId,
        /// Its state before.
        before: Option<ConnectorState>,
        /// Its state now.
        after: ConnectorState,
        /// The revision of the record now.
        revision: u64,
        /// When the table was written.
        at: Timestamp,
    },
    /// A recipient's token among its connector's was written.
    Token {
        /// The connector.
        connector: ConnectorId,
        /// The hash that the token is kept by. It is in no event.
        hash: String,
        /// How many days before the token's end its recipient had been warned, before.
        before: Option<u16>,
        /// How many days before its end its recipient is warned, now.
        after: Option<u16>,
        /// When the token ends.
        expires_at: Timestamp,
        /// When the table was written.
        at: Timestamp,
    },
}

/// What a delivery's record says after it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryAfter {
    /// It has not ended.
    Unfinished(DeliveryState),
    /// It is delivered.
    Shared(SharedFacts),
    /// It failed.
    Failed(FailedFacts),
}

impl DeliveryAfter {
    fn state(&self) -> DeliveryState {
        match self {
            Self::Unfinished(state) => *state,
            Self::Shared(_) => DeliveryState::Shared,
            Self::Failed(_) => DeliveryState::Failed,
        }
    }
}

/// What is told of a delivery that is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFacts {
    /// When.
    pub at: Timestamp,
    /// The version table that holds the run.
    pub table: TableName,
    /// Its version that holds the run.
    pub table_version: u64,
    /// The run's rows in it.
    pub rows: u64,
    /// The run's rows that were left out.
    pub rejected_rows: u64,
}

/// What is told of a delivery that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedFacts {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub failure: Failure,
    /// How often the delivery was begun.
    pub attempts: u32,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingEvent {
    /// The same for the same change, another for another.
    pub id: String,
    /// When the state changed.
    pub occurred_at: Timestamp,
    /// What happened.
    pub what: Happening,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// `delivery.shared`.
    DeliveryShared {
        /// The delivery.
        delivery: DeliveryKey,
        /// What is told of it.
        facts: SharedFacts,
    },
    /// `delivery.failed`.
    DeliveryFailed {
        /// The delivery.
        delivery: DeliveryKey,
        /// What is told of it.
        facts: FailedFacts,
    },
    /// `connector.ready`.
    ConnectorReady {
        /// The connector.
        connector: ConnectorId,
        /// Its team.
        team: TeamId,
    },
    /// `connector.revoked`.
    ConnectorRevoked {
        /// The connector.
        connector: ConnectorId,
        /// Its team.
        team: TeamId,
    },
    /// `token.expiring`.
    TokenExpiring {
        /// The connector.
        connector: ConnectorId,
        /// Tells tokens of a connector apart. Nothing can be read by it.
        token_id: String,
        /// When the token ends.
        expires_at: Timestamp,
        /// The threshold that was reached, in days.
        days_left: u16,
    },
}

impl Happening {
    /// The names of all events, in the order of their variants.
    pub const NAMES: [&'static str; 5] =
        ["delivery.shared", "delivery.failed", "connector.ready", "connector.revoked", "token.expiring"];

    /// The event's stable name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let [shared, failed, ready, revoked, expiring] = Self::NAMES;
        match self {
            Self::DeliveryShared { .. } => shared,
            Self::DeliveryFailed { .. } => failed,
            Self::ConnectorReady { .. } => ready,
            Self::ConnectorRevoked { .. } => revoked,
            Self::TokenExpiring { .. } => expiring,
        }
    }

    /// What it happened to: events of one subject are offered one after the other.
    fn subject(&self) -> String {
        match self {
            Self::DeliveryShared { delivery, .. } | Self::DeliveryFailed { delivery, .. } => delivery.to_string(),
            Self::ConnectorReady { connector, .. } | Self::ConnectorRevoked { connector, .. } => connector.to_string(),
            Self::TokenExpiring { token_id, .. } => token_id.clone(),
        }
    }
}

/// The event of a change; `None` if nobody has to be told.
///
/// A delivery that fails again after another attempt went through its steps in between, so it changes its state again.
/// A failure that is written down twice does not.
#[must_use]
pub fn event(change: &Change) -> Option<OutgoingEvent> {
    match change {
        Change::Delivery { key, before, after } if *before != Some(after.state()) => of_delivery(key, after),
        Change::Connector { id, team, before, after, revision, at } if *before != Some(*after) => {
            let (connector, team) = (id.clone(), team.clone());
            let what = match after {
                ConnectorState::Ready if *before == Some(ConnectorState::Provisioning) => {
                    Happening::ConnectorReady { connector, team }
                }
                ConnectorState::Revoked => Happening::ConnectorRevoked { connector, team },
                ConnectorState::Provisioning
                | ConnectorState::Ready
                | ConnectorState::Backfilling
                | ConnectorState::Active
                | ConnectorState::Disabled => return None,
            };
            let id = event_id(&what, &[id.as_str(), &revision.to_string()]);
            Some(OutgoingEvent { id, occurred_at: *at, what })
        }
        Change::Token { connector, hash, before, after: Some(days), expires_at, at } if *before != Some(*days) => {
            let what = Happening::TokenExpiring {
                connector: connector.clone(),
                token_id: digits(&["token", hash]),
                expires_at: *expires_at,
                days_left: *days,
            };
            let id = event_id(&what, &[connector.as_str(), hash, &days.to_string()]);
            Some(OutgoingEvent { id, occurred_at: *at, what })
        }
        Change::Delivery { .. } | Change::Connector { .. } | Change::Token { .. } => None,
    }
}

fn of_delivery(key: &DeliveryKey, after: &DeliveryAfter) -> Option<OutgoingEvent> {
    let (delivery, run) = (key.clone(), &key.run);
    let (at, what) = match after {
        DeliveryAfter::Unfinished(_) => return None,
        DeliveryAfter::Shared(facts) => (facts.at, Happening::DeliveryShared { delivery, facts: facts.clone() }),
        DeliveryAfter::Failed(facts) => (facts.at, Happening::DeliveryFailed { delivery, facts: facts.clone() }),
    };
    let ids = [key.connector.as_str(), run.team.as_str(), run.workflow.as_str(), run.run.as_str(), &at.to_string()];
    Some(OutgoingEvent { id: event_id(&what, &ids), occurred_at: at, what })
}

fn event_id(what: &Happening, parts: &[&str]) -> String {
    let all: Vec<&str> = std::iter::once(what.name()).chain(parts.iter().copied()).collect();
    digits(&all)
}

fn digits(parts: &[&str]) -> String {
    sha256_hex(parts).chars().take(ID_DIGITS).collect()
}

/// Whether a bus took an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Taken.
    Yes,
    /// Not taken, with the bus's code.
    No(String),
}

/// Offers events to a bus, in their order. Of one subject no two are in one request, and a request is done before the
/// next one begins: a delivery's events do not overtake each other. Events that were taken are not offered again, unless
/// the process ends.
///
/// # Errors
///
/// `EVENTS_UNAVAILABLE` or `EVENTS_DENIED` if an event was not taken. Offering all of them again is harmless.
pub async fn publish(bus: &dyn EventBus, events: &[OutgoingEvent]) -> Result<(), StepError> {
    let mut rest = events;
    while !rest.is_empty() {
        let mut subjects = BTreeSet::new();
        let together = rest.iter().take(EVENTS_PER_REQUEST_MAX);
        let count = together.take_while(|event| subjects.insert(event.what.subject())).count();
        let (request, later) = rest.split_at(count.min(rest.len()));
        offer(bus, request.iter().collect()).await?;
        rest = later;
    }
    Ok(())
}

async fn offer(bus: &dyn EventBus, mut events: Vec<&OutgoingEvent>) -> Result<(), StepError> {
    let mut refusal = String::new();
    for _ in 0..OFFERS_MAX {
        let taken = bus.put(&events).await.map_err(classify)?;
        let refused = taken.iter().find_map(|taken| match taken {
            Taken::Yes => None,
            Taken::No(code) => Some(code.clone()),
        });
        let Some(code) = refused else { return Ok(()) };
        refusal = code;
        let kept = events.into_iter().zip(&taken).filter(|(_, taken)| **taken != Taken::Yes);
        events = kept.map(|(event, _)| event).collect();
    }
    let message =
        format!("the bus did not take {} events ({refusal}); the changes are read again from the stream", events.len());
    Err(StepError::new(FailureCode::EventsUnavailable, message))
}

fn classify(error: PortError) -> StepError {
    match error.kind {
        PortErrorKind::Throttled | PortErrorKind::Unavailable => StepError::caused(
            FailureCode::EventsUnavailable,
            "the bus did not answer; the changes are read again from the stream",
            error,
        ),
        PortErrorKind::Denied | PortErrorKind::NotFound | PortErrorKind::InvalidData => StepError::caused(
            FailureCode::EventsDenied,
            "the bus refuses events; check EventBusName and the role of publish-events",
            error,
        ),
    }
}
