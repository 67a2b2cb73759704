//! The body of a queue's message, whatever it says: a JSON object of a limited size, plain or in an envelope.

use delivery::failure::{FailureCode, StepError};
use serde_json::{Map, Value};

/// The largest message that is accepted, in bytes: the limit of SQS when the formats were made, and what fits an item
/// of the state table (400 KB).
pub(crate) const BYTES_MAX: usize = 256 * 1024;

/// Reads a body as a JSON object; `advice` says how to make a smaller one.
pub(crate) fn read(body: &[u8], advice: &str) -> Result<Map<String, Value>, StepError> {
    if body.len() > BYTES_MAX {
        let message = format!("the message has {} bytes; {BYTES_MAX} is the limit, {advice}", body.len());
        return Err(StepError::new(FailureCode::MessageTooLarge, message));
    }
    let not_json = |reason: &str| StepError::new(FailureCode::MessageNotJson, format!("the message is {reason}"));
    match serde_json::from_slice(body) {
        Ok(Value::Object(document)) => Ok(document),
        Ok(_) => Err(not_json("JSON but not an object")),
        Err(error) => Err(not_json(&format!("not JSON: {}", crate::decode_reason(&error)))),
    }
}

/// The event itself: EventBridge puts it into `detail` and its own properties around it. A message without an envelope
/// has the property `always`.
pub(crate) fn unwrap_envelope<'a>(document: &'a Map<String, Value>, always: &str) -> &'a Map<String, Value> {
    match document.get("detail") {
        Some(Value::Object(detail)) if document.contains_key("detail-type") || !document.contains_key(always) => detail,
        _ => document,
    }
}
