//! An operator's command to a connector: the input of a state machine, and the execution that it came with.

use delivery::connector::Connector;
use delivery::failure::{FailureCode, StepError};
use delivery::ids::ConnectorId;
use delivery::lifecycle::{Actor, OVERLAP_SECONDS_DEFAULT, OVERLAP_SECONDS_MAX, RotationWish};
use delivery::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::property::Properties;
use crate::text;

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

/// When an execution began, as its state machine passes it on from its context. One that began before this was passed on
/// says nothing.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(transparent)]
pub struct StartedAt(#[serde(with = "text::optional")] Option<Timestamp>);

impl StartedAt {
    /// The time; `now` if nothing was said.
    #[must_use]
    pub fn or(self, now: Timestamp) -> Timestamp {
        self.0.unwrap_or(now)
    }
}

/// What a command left: nothing of the recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeReport {
    /// The connector.
    #[serde(with = "text::one")]
    pub connector_id: ConnectorId,
    /// Its state.
    pub state: String,
    /// Whether runs are to be caught up that it missed while it was disabled.
    pub catch_up: bool,
    /// The newest rotation, 0 if there was none.
    pub rotation: u32,
    /// When the tokens of before the newest rotation end at the latest.
    #[serde(with = "text::optional", default, skip_serializing_if = "Option::is_none")]
    pub tokens_end_at: Option<Timestamp>,
}

impl ChangeReport {
    /// What may be said of a connector.
    #[must_use]
    pub fn of(connector: &Connector) -> Self {
        Self {
            connector_id: connector.id.clone(),
            state: connector.state.as_str().to_owned(),
            catch_up: connector.missed_since.is_some(),
            rotation: connector.rotation_number(),
            tokens_end_at: connector.rotation.map(|rotation| rotation.tokens_end_at),
        }
    }
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

/// Reads what a rotation's input asks for: `overlapSeconds`, 0 to [`OVERLAP_SECONDS_MAX`], and `newLink`. It is asked for
/// when the execution began.
///
/// # Errors
///
/// `CONNECTOR_INVALID` with the path of the property.
pub fn rotation_wish(input: &Value, asked_at: Timestamp) -> Result<RotationWish, StepError> {
    let Value::Object(input) = input else {
        return Err(StepError::new(FailureCode::ConnectorInvalid, "the input must be a JSON object"));
    };
    let input = Properties::of(input, FailureCode::ConnectorInvalid);
    let overlap = input.optional_integer("overlapSeconds")?.unwrap_or(OVERLAP_SECONDS_DEFAULT.into());
    let overlap_seconds = u32::try_from(overlap).ok().filter(|seconds| *seconds <= OVERLAP_SECONDS_MAX);
    let problem = format!("must be 0 to {OVERLAP_SECONDS_MAX}");
    Ok(RotationWish {
        overlap_seconds: overlap_seconds.ok_or_else(|| input.refuse("overlapSeconds", &problem))?,
        new_link: input.flag("newLink", false)?,
        asked_at,
    })
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

    #[test]
    fn an_execution_that_does_not_say_when_it_began_begins_now() {
        let now = Timestamp::EPOCH.plus_seconds(9);
        let read = |value: Value| serde_json::from_value::<StartedAt>(value).map(|started_at| started_at.or(now));
        assert_eq!(read(json!("1970-01-01T00:00:07.000Z")).unwrap(), Timestamp::EPOCH.plus_seconds(7));
        assert_eq!(StartedAt::default().or(now), now);
        assert!(read(json!("yesterday")).is_err());
    }

    #[test]
    fn a_rotation_overlaps_for_a_week_unless_told_otherwise_and_a_month_at_most() {
        for (input, overlap_seconds, new_link) in [
            (json!({}), 604_800, false),
            (json!({"overlapSeconds": 0, "newLink": true}), 0, true),
            (json!({"overlapSeconds": 2_592_000}), 2_592_000, false),
        ] {
            let asked_at = Timestamp::EPOCH.plus_seconds(1);
            let wish = RotationWish { overlap_seconds, new_link, asked_at };
            assert_eq!(rotation_wish(&input, asked_at).unwrap(), wish);
        }
        for (input, expected) in [
            (json!("x"), "CONNECTOR_INVALID: the input must be a JSON object"),
            (json!({"overlapSeconds": 2_592_001}), "CONNECTOR_INVALID: overlapSeconds must be 0 to 2592000"),
            (json!({"overlapSeconds": -1}), "CONNECTOR_INVALID: overlapSeconds must be a whole number"),
            (json!({"newLink": "yes"}), "CONNECTOR_INVALID: newLink must be true or false"),
        ] {
            let refused = rotation_wish(&input, Timestamp::EPOCH).unwrap_err().to_string();
            assert!(refused.starts_with(expected), "{refused}");
        }
    }
}
