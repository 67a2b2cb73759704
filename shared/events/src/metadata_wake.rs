//! The message that wakes the writer of a connector's metadata tables.

use delivery::failure::{FailureCode, StepError};
use delivery::ids::ConnectorId;
use serde::{Deserialize, Serialize};

use crate::{StoredFormatError, text, write_stored};

const WHAT: &str = "metadata wake";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WakeForm {
    #[serde(with = "text::one")]
    connector_id: ConnectorId,
}

/// Writes the message.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if it cannot be written as JSON.
pub fn write(connector: &ConnectorId) -> Result<String, StoredFormatError> {
    write_stored(WHAT, &WakeForm { connector_id: connector.clone() })
}

/// Reads the message.
///
/// # Errors
///
/// `MESSAGE_INVALID` if it is not one.
pub fn read(body: &str) -> Result<ConnectorId, StepError> {
    serde_json::from_str::<WakeForm>(body).map(|form| form.connector_id).map_err(|error| {
        let message =
            format!("the message is not one that wakes the metadata writer: {}", crate::decode_reason(&error));
        StepError::new(FailureCode::MessageInvalid, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let connector = ConnectorId::new("acme").unwrap();
        let text = write(&connector).unwrap();
        assert_eq!(text, r#"{"connectorId":"acme"}"#);
        assert_eq!(read(&text).unwrap(), connector);
        for body in ["", "{}", r#"{"connectorId":"../x"}"#] {
            assert_eq!(read(body).unwrap_err().code, FailureCode::MessageInvalid);
        }
    }
}
