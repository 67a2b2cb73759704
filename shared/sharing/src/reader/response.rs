//! The lines of a query's answer, read by the client.

use bytes::{Bytes, BytesMut};
use delivery::ports::{PortError, PortErrorKind, SharedFile, SharedView};
use delivery::schema::RUN_COLUMNS;
use serde::Deserialize;

use super::failed;

/// The largest answer that is read, before and after decompression.
const ANSWER_BYTES_MAX: u64 = 512 * 1_024 * 1_024;

const OPERATION: &str = "read the answer of a shared table";

/// Reads an answer in parquet format.
pub(super) async fn view(response: reqwest::Response) -> Result<SharedView, PortError> {
    let version = response.headers().get("delta-table-version").and_then(|version| version.to_str().ok());
    let table_version =
        version.and_then(|version| version.parse().ok()).ok_or_else(|| unreadable("the table version is missing"))?;
    let mut schema_string = None;
    let mut files = Vec::new();
    let mut read_line = |line: &[u8]| -> Result<(), PortError> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let line: Line = serde_json::from_slice(line).map_err(|error| {
            // The error's own text may quote the line, which holds a URL.
            unreadable(format!("a line is not understood at column {}", error.column()))
        })?;
        if let Some(end) = line.end_stream_action
            && end.error_message.is_some()
        {
            return Err(PortError::new(PortErrorKind::Unavailable, OPERATION, "the server ended the answer early"));
        }
        schema_string = line.meta_data.map(|metadata| metadata.schema_string).or(schema_string.take());
        files.extend(line.file.map(FileLine::shared));
        Ok(())
    };
    let mut rest = BytesMut::new();
    let mut bytes_read = 0;
    let mut response = response;
    while let Some(part) = response.chunk().await.map_err(|error| failed(OPERATION, error))? {
        bytes_read += u64::try_from(part.len()).unwrap_or(u64::MAX);
        if bytes_read > ANSWER_BYTES_MAX {
            return Err(unreadable("the answer is too long"));
        }
        rest.extend_from_slice(&part);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            read_line(&rest.split_to(end + 1))?;
        }
    }
    read_line(&rest)?;
    let schema_string = schema_string.ok_or_else(|| unreadable("the metadata is missing"))?;
    let described = tables::schema::describe(&schema_string).map_err(unreadable)?;
    Ok(SharedView { table_version, columns: described.columns, names: described.names, files })
}

/// Reads a body that must not be longer than so many bytes.
pub(super) async fn limited_body(
    operation: &'static str,
    response: reqwest::Response,
    bytes_max: u64,
) -> Result<Bytes, PortError> {
    let mut body = BytesMut::new();
    let mut response = response;
    while let Some(part) = response.chunk().await.map_err(|error| failed(operation, error))? {
        body.extend_from_slice(&part);
        if u64::try_from(body.len()).unwrap_or(u64::MAX) > bytes_max {
            return Err(PortError::new(PortErrorKind::InvalidData, operation, "the body is too long"));
        }
    }
    Ok(body.freeze())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    meta_data: Option<MetadataLine>,
    file: Option<FileLine>,
    end_stream_action: Option<EndLine>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetadataLine {
    schema_string: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndLine {
    error_message: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct FileLine {
    url: String,
    size: u64,
    stats: Option<String>,
}

impl FileLine {
    fn shared(self) -> SharedFile {
        shared_file(self.url, self.size, self.stats.as_deref())
    }
}

/// A file of a shared table, by what its statistics state: the JSON text of a Delta `add` action.
#[must_use]
pub fn shared_file(url: String, size_bytes: u64, statistics: Option<&str>) -> SharedFile {
    let stats = statistics.and_then(|text| serde_json::from_str::<Statistics>(text).ok());
    let rows = stats.as_ref().and_then(|stats| stats.num_records);
    let run_id = stats.and_then(Statistics::one_run);
    SharedFile { url, size_bytes, rows, run_id }
}

/// What a file states of its rows and of their run.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Statistics {
    num_records: Option<u64>,
    min_values: Option<RunStatistic<String>>,
    max_values: Option<RunStatistic<String>>,
    null_count: Option<RunStatistic<u64>>,
}

#[derive(Debug, Deserialize)]
struct RunStatistic<T> {
    run_id: Option<T>,
}

const _: () = assert!(matches!(RUN_COLUMNS[0].as_bytes(), b"run_id"));

impl Statistics {
    /// The run of every row, if the bounds leave no other.
    fn one_run(self) -> Option<String> {
        let (least, greatest) = (self.min_values?.run_id?, self.max_values?.run_id?);
        let no_nulls = self.null_count.and_then(|nulls| nulls.run_id) == Some(0);
        (no_nulls && least == greatest).then_some(least)
    }
}

fn unreadable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PortError {
    PortError::new(PortErrorKind::InvalidData, OPERATION, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(stats: Option<&str>) -> SharedFile {
        FileLine { url: "u".to_owned(), size: 3, stats: stats.map(str::to_owned) }.shared()
    }

    #[test]
    fn a_file_is_of_a_run_only_if_its_bounds_leave_no_other() {
        let one =
            r#"{"numRecords":2,"minValues":{"a":1,"run_id":"r"},"maxValues":{"run_id":"r"},"nullCount":{"run_id":0}}"#;
        let two = r#"{"numRecords":2,"minValues":{"run_id":"r"},"maxValues":{"run_id":"s"},"nullCount":{"run_id":0}}"#;
        let nulls =
            r#"{"numRecords":2,"minValues":{"run_id":"r"},"maxValues":{"run_id":"r"},"nullCount":{"run_id":1}}"#;
        for (stats, rows, run_id) in [
            (Some(one), Some(2), Some("r")),
            (Some(two), Some(2), None),
            (Some(nulls), Some(2), None),
            (Some("{}"), None, None),
            (Some("garbled"), None, None),
            (None, None, None),
        ] {
            let file = shared(stats);
            assert_eq!((file.rows, file.run_id.as_deref()), (rows, run_id), "{stats:?}");
        }
    }
}
