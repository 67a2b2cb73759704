//! Everything that is stored or crosses a process: messages, records, manifests and the payloads of the state
//! machines.
//!
//! Knows serde, the names of JSON properties and the versions of formats. Knows no storage and no rules of a
//! delivery: what is read here becomes a type of `delivery` or a failure. Each stored format has a fixture in
//! `fixtures/`, read and written back byte-equal by a test.

pub mod activity;
pub mod backfill;
pub mod command;
pub mod connector_record;
pub mod maintenance;
pub mod manifest;
pub mod metadata_wake;
pub mod outgoing;
pub mod redrive;
pub mod run_completed;
pub mod run_record;
pub mod schema_record;
pub mod setup;
pub mod shared_read;
pub mod steps;
pub mod waiting_row;

mod columns;
mod message;
mod property;
mod shape;
mod text;

/// Why a stored text cannot be read. Holds no part of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored {what} cannot be read: {reason}")]
pub struct StoredFormatError {
    /// Which format was read.
    pub what: &'static str,
    /// The reason, without values.
    pub reason: String,
}

/// Reads a stored JSON text of a known version.
fn read_stored<T: serde::de::DeserializeOwned>(
    what: &'static str,
    version: u32,
    text: &[u8],
) -> Result<T, StoredFormatError> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        v: u32,
    }
    let unreadable = |error: serde_json::Error| StoredFormatError { what, reason: decode_reason(&error) };
    let found: Versioned = serde_json::from_slice(text).map_err(unreadable)?;
    if found.v != version {
        let reason = format!("its version is {}, and this program knows version {version}", found.v);
        return Err(StoredFormatError { what, reason });
    }
    serde_json::from_slice(text).map_err(unreadable)
}

/// Writes a stored JSON text.
fn write_stored<T: serde::Serialize>(what: &'static str, value: &T) -> Result<String, StoredFormatError> {
    serde_json::to_string(value).map_err(|error| StoredFormatError { what, reason: decode_reason(&error) })
}

/// What a JSON error says, without the value that it may quote.
#[must_use]
pub fn decode_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let quotes_nothing = error.is_syntax()
        || error.is_eof()
        || ["missing field", "expected "].iter().any(|beginning| text.starts_with(beginning));
    let what = if quotes_nothing { text.as_str() } else { "a property has the wrong type or value" };
    // A value that was read before has no lines.
    if quotes_nothing || error.line() == 0 {
        what.to_owned()
    } else {
        format!("{what} at line {} column {}", error.line(), error.column())
    }
}
