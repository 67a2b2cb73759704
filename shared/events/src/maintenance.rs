//! The messages of the maintenance queue: one table each, or the order to ask for every table.

use delivery::failure::{FailureCode, StepError};
use delivery::ids::ConnectorId;
use delivery::table::TableName;
use serde::{Deserialize, Serialize};

use crate::{StoredFormatError, text, write_stored};

const WHAT: &str = "maintenance message";

/// The longest name of a table: a file name's length.
const NAME_LENGTH_MAX: usize = 255;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// One table is looked at.
    Table(TableAsked),
    /// Every table of every connector is to be asked for, in full.
    Sweep,
}

/// A table that is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableAsked {
    /// The connector.
    pub connector: ConnectorId,
    /// The table.
    pub table: TableName,
    /// How much is done.
    pub extent: Extent,
}

/// How much is done on a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// What is due after commits: a checkpoint, and compaction if there are many small files.
    AfterCommits,
    /// That, and the log and the files cleaned up.
    Full,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TableForm {
    #[serde(with = "text::one")]
    connector_id: ConnectorId,
    #[serde(with = "text::one")]
    table: TableName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    work: Option<Extent>,
}

#[derive(Deserialize)]
struct SweepForm {
    sweep: bool,
}

/// Writes the message of a table.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if it cannot be written as JSON.
pub fn write(asked: &TableAsked) -> Result<String, StoredFormatError> {
    let form = TableForm {
        connector_id: asked.connector.clone(),
        table: asked.table.clone(),
        work: (asked.extent == Extent::Full).then_some(Extent::Full),
    };
    write_stored(WHAT, &form)
}

/// Reads a message.
///
/// # Errors
///
/// `MESSAGE_INVALID` if it is not one. A table's name is a plain word: it becomes the path of what is cleaned up.
pub fn read(body: &str) -> Result<Asked, StepError> {
    if serde_json::from_str::<SweepForm>(body).is_ok_and(|form| form.sweep) {
        return Ok(Asked::Sweep);
    }
    let invalid = |reason: &str| {
        let message = format!("the message does not ask for maintenance: {reason}");
        StepError::new(FailureCode::MessageInvalid, message)
    };
    let form: TableForm = serde_json::from_str(body).map_err(|error| invalid(&crate::decode_reason(&error)))?;
    let name = form.table.as_str();
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !plain || name.is_empty() || name.len() > NAME_LENGTH_MAX {
        return Err(invalid("table must be a name of letters, digits and _"));
    }
    let extent = form.work.unwrap_or(Extent::AfterCommits);
    Ok(Asked::Table(TableAsked { connector: form.connector_id, table: form.table, extent }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let asked = |extent| TableAsked {
            connector: ConnectorId::new("acme").unwrap(),
            table: TableName::from_stored("WF_A__V1"),
            extent,
        };
        for (extent, text) in [
            (Extent::AfterCommits, r#"{"connectorId":"acme","table":"WF_A__V1"}"#),
            (Extent::Full, r#"{"connectorId":"acme","table":"WF_A__V1","work":"full"}"#),
        ] {
            assert_eq!(write(&asked(extent)).unwrap(), text);
            assert_eq!(read(text).unwrap(), Asked::Table(asked(extent)));
        }
        assert_eq!(read(r#"{"sweep":true}"#).unwrap(), Asked::Sweep);
    }

    #[test]
    fn a_message_that_names_no_table_is_refused() {
        for body in [
            "",
            "{}",
            r#"{"sweep":false}"#,
            r#"{"connectorId":"acme"}"#,
            r#"{"connectorId":"../x","table":"A"}"#,
            r#"{"connectorId":"acme","table":""}"#,
            r#"{"connectorId":"acme","table":"../staging"}"#,
            r#"{"connectorId":"acme","table":"A/_delta_log"}"#,
            r#"{"connectorId":"acme","table":"A","work":"some"}"#,
        ] {
            assert_eq!(read(body).unwrap_err().code, FailureCode::MessageInvalid, "{body}");
        }
    }
}
