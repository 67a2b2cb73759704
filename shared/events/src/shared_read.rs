//! The log line of a read: what the sharing server writes and the audit reads.

use delivery::reads::SharedRead;
use delivery::timestamp::Timestamp;
use serde::Deserialize;

/// The message of the line. A filter of the log looks for it.
pub const MESSAGE: &str = "shared table read";

#[derive(Deserialize)]
struct Line {
    timestamp: String,
    message: String,
    #[serde(rename = "connector.id")]
    connector_id: String,
    holder: String,
    table: String,
    table_version: i64,
    read: String,
    files: i64,
    bytes: i64,
}

/// Reads a line of the server's log; `None` if it is about something else.
#[must_use]
pub fn parse(line: &str) -> Option<SharedRead> {
    let line: Line = serde_json::from_str(line.trim()).ok()?;
    Some(SharedRead {
        read_at: Timestamp::parse(&line.timestamp).filter(|_| line.message == MESSAGE)?,
        connector: line.connector_id,
        holder: line.holder,
        table: line.table,
        table_version: line.table_version,
        kind: line.read,
        files: line.files,
        bytes: line.bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"timestamp":"2026-09-01T06:07:30.123456Z","level":"INFO","connector.id":"acme",
        "holder":"recipient","table":"WF_A__V1","table_version":7,"read":"query","files":3,"bytes":4096,
        "message":"shared table read"}"#;

    #[test]
    fn a_read_is_read_and_other_lines_are_not() {
        let read = parse(LINE).unwrap();
        assert_eq!((read.read_at.to_string().as_str(), read.table_version), ("2026-09-01T06:07:30.123456Z", 7));
        assert_eq!((read.kind.as_str(), read.files, read.bytes), ("query", 3, 4_096));
        for other in
            ["", "START RequestId", "{}", &LINE.replace("table read", "table listed"), &LINE.replace("T06", "x")]
        {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
