//! An operator's command to a connector: the input of a state machine, and the execution that it came with.

use delivery::failure::{FailureCode, StepError};
use delivery::ids::ConnectorId;
use delivery::lifecycle::Actor;
use serde_json::Value;

use crate::property::Properties;

/// The longest `requestedBy`, in characters.
pub const REQUESTED_BY_CHARS_MAX: usize = 256;

/// A command, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The connector.
    pub connector: ConnectorId,
    /// On whose behalf.
    pub actor: Actor,
}

/// Reads `connectorId` and, if it is there, `requestedBy` of an execution's input. `execution` is the execution's ARN,
/// which the state machine passes on from its context.
///
/// # Errors
///
/// `CONNECTOR_INVALID` with the path of the property.
pub fn command(input: &Value, execution: &str) -> Result<Command, StepError> {
    let Value::Object(input) = input else {
        return Err(StepError::new(FailureCode::ConnectorInvalid, "the input must be a JSON object"));
    };
    let input = Properties::of(input, FailureCode::ConnectorInvalid);
    let connector = ConnectorId::new(input.string("connectorId")?)
        .map_err(|error| StepError::new(FailureCode::ConnectorInvalid, error.to_string()))?;
    let requested_by = input.optional_string("requestedBy")?.map(str::to_owned);
    let plain = |who: &String| {
        !who.is_empty() && who.chars().count() <= REQUESTED_BY_CHARS_MAX && !who.chars().any(char::is_control)
    };
    if !requested_by.as_ref().is_none_or(plain) {
        let problem = format!("must be 1 to {REQUESTED_BY_CHARS_MAX} characters without control characters");
        return Err(input.refuse("requestedBy", &problem));
    }
    Ok(Command { connector, actor: Actor { execution: execution.to_owned(), requested_by } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_command_names_its_connector_and_may_name_who_asked() {
        let read = |input: Value| command(&input, "arn:e");
        let plain = read(json!({"connectorId": "acme", "more": 1})).unwrap();
        assert_eq!((plain.connector.as_str(), plain.actor.requested_by), ("acme", None));
        assert_eq!(plain.actor.execution, "arn:e");
        let named = read(json!({"connectorId": "acme", "requestedBy": "Ada"})).unwrap();
        assert_eq!(named.actor.requested_by.as_deref(), Some("Ada"));
        for (input, expected) in [
            (json!([]), "CONNECTOR_INVALID: the input must be a JSON object"),
            (json!({}), "CONNECTOR_INVALID: connectorId is missing"),
            (json!({"connectorId": "a/b"}), "CONNECTOR_INVALID: connectorId must be 1 to"),
            (json!({"connectorId": "a", "requestedBy": 7}), "CONNECTOR_INVALID: requestedBy must be a string"),
            (json!({"connectorId": "a", "requestedBy": ""}), "CONNECTOR_INVALID: requestedBy must be 1 to 256"),
            (json!({"connectorId": "a", "requestedBy": "x\n"}), "CONNECTOR_INVALID: requestedBy must be 1 to 256"),
        ] {
            let refused = read(input).unwrap_err().to_string();
            assert!(refused.starts_with(expected), "{refused}");
        }
    }
}
