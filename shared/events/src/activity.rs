//! The message `Activity`: what the producer reports of an event, read so that only what may leave comes out.
//! Properties that are not named here are searched for what is private, and otherwise ignored.

use delivery::activity::{PrivateValues, PublicActivity, REDACTED, REQUEST_SOURCES, ReportedActivity, is_personal};
use delivery::failure::{FailureCode, StepError};
use delivery::ids::TeamId;
use delivery::timestamp::Timestamp;
use serde_json::{Map, Value};

use crate::message;
use crate::property::Properties;

/// The largest message that is accepted, in bytes.
pub const MESSAGE_BYTES_MAX: usize = message::BYTES_MAX;

/// Reads a message body: an `Activity`, plain or as the `detail` of an EventBridge event.
///
/// `teamId`, `dateTime` and `title` must be there. Of the others, what is not of its type counts as absent. A text that
/// is a JSON object or array counts as absent, too, and as a title is replaced.
///
/// # Errors
///
/// `MESSAGE_NOT_JSON`, `MESSAGE_INVALID` with the path of the property, `MESSAGE_ID_INVALID` and
/// `MESSAGE_TOO_LARGE`. No error holds a value of the message.
pub fn parse(body: &[u8]) -> Result<PublicActivity, StepError> {
    let document = message::read(body, "leave details out")?;
    let event = message::unwrap_envelope(&document, "teamId");
    let message = Properties::of(event, FailureCode::MessageInvalid);
    let team = TeamId::new(message.string("teamId")?)
        .map_err(|error| StepError::new(FailureCode::MessageIdInvalid, error.to_string()))?;
    let occurred_at = Timestamp::parse(message.string("dateTime")?)
        .ok_or_else(|| message.refuse("dateTime", "must be a time as RFC 3339 writes it"))?;
    let title = message.string("title")?;
    let source = event.get("source").and_then(Value::as_object);
    let resource = event.get("resource").and_then(Value::as_object);
    let of_resource = |name: &str| text(resource?.get(name)?);
    let reported = ReportedActivity {
        team,
        event_id: event.get("eventId").and_then(Value::as_str).map(str::to_owned),
        identity: identity(event),
        occurred_at,
        title: if is_json_payload(title) { REDACTED } else { title }.to_owned(),
        resource_type: of_resource("type"),
        resource_name: of_resource("name"),
        workflow_id: of_resource("workflowId"),
        request_source: source.and_then(|source| text(source.get("requestSource")?)),
        private: private_values(event),
    };
    PublicActivity::of(&reported).ok_or_else(|| message.refuse("title", "must hold a text"))
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !is_json_payload(text)).map(str::to_owned)
}

fn is_json_payload(text: &str) -> bool {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    matches!(serde_json::from_str(text), Ok(Value::Object(_) | Value::Array(_)))
}

/// What an id is made of: the producer's, or else all of the message, whatever the order of its properties.
fn identity(event: &Map<String, Value>) -> String {
    match event.get("eventId").filter(|id| !id.is_null()) {
        Some(id) => format!("eventId {}", canonical(id)),
        None => format!("content {}", canonical(&Value::Object(event.clone()))),
    }
}

/// JSON text with the members of objects in the order of their names.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().map(|(name, value)| (name.clone(), canonical(value))).collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Object(members.into_iter().collect())
        }
        Value::Array(elements) => elements.iter().map(canonical).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// What may not leave in a title, a name or an id of this message:
///
/// - every text and number in `source`, where it was asked for aside, and below every member that [`is_personal`];
/// - `resource.resourceId`, unless it is the workflow's id;
/// - every other text of the message, `details` above all, that is more than one word of letters.
fn private_values(event: &Map<String, Value>) -> PrivateValues {
    let resource = event.get("resource").and_then(Value::as_object);
    let of_resource = |name: &str| resource.and_then(|resource| resource.get(name)).and_then(Value::as_str);
    let of_event = |name: &str| event.get(name).and_then(Value::as_str);
    // `details` may repeat what leaves anyway.
    let leaving = [
        of_event("title"),
        of_event("eventId"),
        of_resource("name"),
        of_resource("type"),
        of_resource("workflowId"),
        of_event("teamId"),
        of_event("dateTime"),
    ];
    let mut search = Search { leaving: leaving.into_iter().flatten().collect(), found: PrivateValues::default() };
    for (name, value) in event {
        match (name.as_str(), value) {
            ("source", Value::Object(source)) => search.source(source),
            ("source", value) => search.value(value, About::Person),
            ("resource", Value::Object(resource)) => search.resource(resource),
            ("teamId" | "eventId" | "dateTime" | "title", Value::String(_)) => {}
            (name, value) => search.member(name, value, About::Anything),
        }
    }
    if let Some(id) = of_resource("resourceId").filter(|id| Some(*id) != of_resource("workflowId")) {
        search.found.insert_payload(id);
    }
    search.found
}

/// What a value is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Person,
    Anything,
}

struct Search<'a> {
    leaving: Vec<&'a str>,
    found: PrivateValues,
}

impl Search<'_> {
    fn source(&mut self, source: &Map<String, Value>) {
        for (name, value) in source {
            if name != "requestSource" || !value.is_string() {
                self.value(value, About::Person);
            }
        }
    }

    fn resource(&mut self, resource: &Map<String, Value>) {
        for (name, value) in resource {
            if !matches!((name.as_str(), value), ("type" | "workflowId" | "resourceId" | "name", Value::String(_))) {
                self.member(name, value, About::Anything);
            }
        }
    }

    fn member(&mut self, name: &str, value: &Value, about: About) {
        self.value(value, if is_personal(name) { About::Person } else { about });
    }

    fn value(&mut self, value: &Value, about: About) {
        match value {
            Value::Object(members) => {
                let about = if names_a_personal_field(members) { About::Person } else { about };
                for (name, value) in members {
                    // Members may be named by ids: `{"u-17": "admin"}`.
                    if about == About::Person && name.bytes().any(|byte| byte.is_ascii_digit()) {
                        self.found.insert(name);
                    }
                    self.member(name, value, about);
                }
            }
            Value::Array(elements) => elements.iter().for_each(|element| self.value(element, about)),
            Value::String(text) if is_json_payload(text) => {
                let inner: Option<Value> = serde_json::from_str(text.trim()).ok();
                inner.iter().for_each(|inner| self.value(inner, about));
            }
            Value::String(text) => self.text(text, about),
            Value::Number(number) if about == About::Person => self.found.insert(&number.to_string()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text(&mut self, text: &str, about: About) {
        match about {
            // "system" is no person.
            About::Person if REQUEST_SOURCES.iter().any(|source| source.eq_ignore_ascii_case(text)) => {}
            About::Person => self.found.insert(text),
            About::Anything if self.leaving.contains(&text) || text.chars().all(char::is_alphabetic) => {}
            About::Anything => self.found.insert_payload(text),
        }
    }
}

/// Whether an object tells of a field by its name, as a list of changes does: `{"field": "ownerId", "before": …}`.
fn names_a_personal_field(members: &Map<String, Value>) -> bool {
    ["field", "key", "name", "path", "property", "attribute"]
        .iter()
        .filter_map(|name| members.get(*name)?.as_str())
        .any(|field| !field.contains(char::is_whitespace) && is_personal(field))
}

#[cfg(test)]
#[path = "activity_tests.rs"]
mod tests;
