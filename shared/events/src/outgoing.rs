//! Events that leave for the vendor's other systems: source, name and detail, version 1. `docs/events.md` documents
//! them, and `docs/schemas/events` says each as a JSON schema.
//!
//! A detail only gains properties. A change that a reader has to know of is a new [`SCHEMA_VERSION`].

use delivery::ids::{ConnectorId, DeliveryKey, TeamId};
use delivery::outgoing::{Happening, OutgoingEvent};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{StoredFormatError, text, write_stored};

/// The source of every event.
pub const SOURCE: &str = "spillway";

/// The version of the details.
pub const SCHEMA_VERSION: u32 = 1;

const WHAT: &str = "event";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a, T> {
    schema_version: u32,
    event_id: &'a str,
    #[serde(with = "text::one")]
    occurred_at: delivery::timestamp::Timestamp,
    #[serde(flatten)]
    more: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeliveryIds<'a, T> {
    connector_id: &'a str,
    team_id: &'a str,
    workflow_id: &'a str,
    run_id: &'a str,
    #[serde(flatten)]
    more: T,
}

impl<'a, T> DeliveryIds<'a, T> {
    fn of(delivery: &'a DeliveryKey, more: T) -> Self {
        Self {
            connector_id: delivery.connector.as_str(),
            team_id: delivery.run.team.as_str(),
            workflow_id: delivery.run.workflow.as_str(),
            run_id: delivery.run.run.as_str(),
            more,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shared<'a> {
    table_name: &'a str,
    table_version: u64,
    rows: u64,
    rejected_rows: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failed<'a> {
    phase: &'a str,
    code: &'a str,
    message: &'a str,
    attempts: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectorIds<'a> {
    connector_id: &'a str,
    team_id: &'a str,
}

impl<'a> ConnectorIds<'a> {
    fn of(connector: &'a ConnectorId, team: &'a TeamId) -> Self {
        Self { connector_id: connector.as_str(), team_id: team.as_str() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Expiring<'a> {
    connector_id: &'a str,
    token_id: &'a str,
    #[serde(with = "text::one")]
    expires_at: delivery::timestamp::Timestamp,
    days_left: u16,
}

/// The detail of an event as JSON.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if it cannot be written as JSON.
pub fn detail(event: &OutgoingEvent) -> Result<String, StoredFormatError> {
    match &event.what {
        Happening::DeliveryShared { delivery, facts } => {
            let more = Shared {
                table_name: facts.table.as_str(),
                table_version: facts.table_version,
                rows: facts.rows,
                rejected_rows: facts.rejected_rows,
            };
            write(event, DeliveryIds::of(delivery, more))
        }
        Happening::DeliveryFailed { delivery, facts } => {
            let more = Failed {
                phase: facts.failure.phase().as_str(),
                code: facts.failure.code.as_str(),
                message: &facts.failure.message,
                attempts: facts.attempts,
            };
            write(event, DeliveryIds::of(delivery, more))
        }
        Happening::ConnectorReady { connector, team } | Happening::ConnectorRevoked { connector, team } => {
            write(event, ConnectorIds::of(connector, team))
        }
        Happening::TokenExpiring { connector, token_id, expires_at, days_left } => {
            let (connector_id, expires_at, days_left) = (connector.as_str(), *expires_at, *days_left);
            write(event, Expiring { connector_id, token_id, expires_at, days_left })
        }
    }
}

fn write<T: Serialize>(event: &OutgoingEvent, more: T) -> Result<String, StoredFormatError> {
    let detail = Detail { schema_version: SCHEMA_VERSION, event_id: &event.id, occurred_at: event.occurred_at, more };
    write_stored(WHAT, &detail)
}

/// What Lambda hands to a reader of the state table's stream.
#[derive(Debug, Deserialize)]
pub struct StreamBatch {
    /// Changes of items, each with its images, in the order of the stream.
    #[serde(rename = "Records")]
    pub records: Vec<Value>,
}

/// What became of a batch of changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Published {
    /// Changes that were read.
    pub changes: usize,
    /// Events that were made of them.
    pub events: usize,
}

/// Where a change stands in its stream, as JSON: neither a key nor a value of its item.
#[must_use]
pub fn place(record: &Value) -> String {
    json!({
        "eventId": record["eventID"].as_str(),
        "sequenceNumber": record["dynamodb"]["SequenceNumber"].as_str(),
    })
    .to_string()
}
