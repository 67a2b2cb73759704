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
        "eventId": record.get("eventID").and_then(Value::as_str),
        "sequenceNumber": record.pointer("/dynamodb/SequenceNumber").and_then(Value::as_str),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use delivery::failure::FailureCode;
    use delivery::ids::{RunId, RunKey, WorkflowId};
    use delivery::outgoing::{FailedFacts, SharedFacts};
    use delivery::state::Failure;
    use delivery::table::TableName;
    use delivery::timestamp::Timestamp;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn of_each_kind() -> Vec<Happening> {
        let (connector, team) = (ConnectorId::new("acme-token").unwrap(), TeamId::new("team-acme").unwrap());
        let run =
            RunKey { team: team.clone(), workflow: WorkflowId::new("w-1").unwrap(), run: RunId::new("r-1").unwrap() };
        let delivery = DeliveryKey { connector: connector.clone(), run };
        let shared = SharedFacts {
            at: at("2026-09-01T06:09:12Z"),
            table: TableName::from_stored("WF_W_1__V2"),
            table_version: 41,
            rows: 3,
            rejected_rows: 1,
        };
        let failed = FailedFacts {
            at: at("2026-09-01T06:09:12Z"),
            failure: Failure { code: FailureCode::ProofRefused, message: "refused; set it up again".to_owned() },
            attempts: 2,
        };
        vec![
            Happening::DeliveryShared { delivery: delivery.clone(), facts: shared },
            Happening::DeliveryFailed { delivery, facts: failed },
            Happening::ConnectorReady { connector: connector.clone(), team: team.clone() },
            Happening::ConnectorRevoked { connector: connector.clone(), team },
            Happening::TokenExpiring {
                connector,
                token_id: "0123456789abcdef0123456789abcdef".to_owned(),
                expires_at: at("2026-09-08T06:09:12Z"),
                days_left: 7,
            },
        ]
    }

    /// What the schema of an event documents: its properties, all of them required.
    fn documented(name: &str) -> Vec<String> {
        let path = format!("{}/../../docs/schemas/events/{name}.v{SCHEMA_VERSION}.json", env!("CARGO_MANIFEST_DIR"));
        let schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut properties: Vec<String> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        let mut required: Vec<String> = serde_json::from_value(schema["required"].clone()).unwrap();
        properties.sort();
        required.sort();
        assert_eq!(properties, required, "{name}");
        properties
    }

    #[test]
    fn every_event_is_written_as_its_fixture_and_has_what_its_schema_documents() {
        let fixtures: Value = serde_json::from_str(include_str!("../fixtures/outgoing.v1.json")).unwrap();
        let kinds = of_each_kind();
        let names: Vec<_> = kinds.iter().map(Happening::name).collect();
        assert_eq!(names, Happening::NAMES);
        for what in kinds {
            let name = what.name();
            let (id, occurred_at) = ("00112233445566778899aabbccddeeff".to_owned(), at("2026-09-01T06:09:12Z"));
            let written = detail(&OutgoingEvent { id, occurred_at, what }).unwrap();
            let written: Value = serde_json::from_str(&written).unwrap();
            assert_eq!(written, fixtures[name], "{name}: {written}");
            let mut properties: Vec<_> = written.as_object().unwrap().keys().cloned().collect();
            properties.sort();
            assert_eq!(properties, documented(name), "{name}");
        }
    }

    #[test]
    fn a_place_in_the_stream_holds_no_key() {
        let record = json!({"eventID": "e", "dynamodb": {"SequenceNumber": "7", "Keys": {"sk": {"S": "TOKEN#hash"}}}});
        assert_eq!(place(&record), r#"{"eventId":"e","sequenceNumber":"7"}"#);
        assert_eq!(place(&json!({})), r#"{"eventId":null,"sequenceNumber":null}"#);
    }
}
