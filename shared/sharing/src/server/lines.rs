//! The lines of an answer about a table, in both formats.

use std::collections::BTreeMap;

use delivery::timestamp::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tables::snapshot::{File, PartitionValues, Snapshot};

use super::capabilities::{Capabilities, Format};

/// The content type of answers in lines.
pub(super) const NDJSON: &str = "application/x-ndjson; charset=utf-8";

/// The two lines that every answer about a table begins with.
pub(super) fn head(snapshot: &Snapshot, format: Format, capabilities: &Capabilities) -> Vec<u8> {
    let (protocol, metadata) = match format {
        Format::Parquet => (json!({"minReaderVersion": 1}), parquet_metadata(snapshot)),
        Format::Delta => (json!({"deltaProtocol": delta_protocol(snapshot, capabilities)}), delta_metadata(snapshot)),
    };
    format!("{}\n{}\n", json!({"protocol": protocol}), json!({"metaData": metadata})).into_bytes()
}

fn with_size(mut metadata: Value, snapshot: &Snapshot) -> Value {
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("size".to_owned(), snapshot.size_bytes().into());
        metadata.insert("numFiles".to_owned(), snapshot.file_count().into());
    }
    metadata
}

fn parquet_metadata(snapshot: &Snapshot) -> Value {
    let metadata = &*snapshot.metadata;
    let mut value = json!({
        "id": metadata.id,
        "format": {"provider": "parquet"},
        "schemaString": plain_schema(&metadata.schema_string),
        "partitionColumns": metadata.partition_columns,
        "configuration": {},
    });
    insert_texts(&mut value, metadata);
    with_size(value, snapshot)
}

fn insert_texts(value: &mut Value, metadata: &tables::snapshot::Metadata) {
    if let Some(value) = value.as_object_mut() {
        for (key, text) in [("name", &metadata.name), ("description", &metadata.description)] {
            value.extend(text.iter().map(|text| (key.to_owned(), text.as_str().into())));
        }
    }
}

fn delta_metadata(snapshot: &Snapshot) -> Value {
    let metadata = &*snapshot.metadata;
    let mut value = json!({
        "id": metadata.id,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": metadata.schema_string,
        "partitionColumns": metadata.partition_columns,
        "configuration": metadata.configuration,
    });
    insert_texts(&mut value, metadata);
    if let (Some(created), Some(value)) = (metadata.created_time, value.as_object_mut()) {
        value.insert("createdTime".to_owned(), created.into());
    }
    with_size(json!({"deltaMetadata": value}), snapshot)
}

/// The table's protocol, but for a client that knows no features the plain one that a table of reader version 1 can
/// be read by.
fn delta_protocol(snapshot: &Snapshot, capabilities: &Capabilities) -> Value {
    let protocol = &*snapshot.protocol;
    if !capabilities.knows_features() {
        let writer = if protocol.min_writer_version >= 7 { 2 } else { protocol.min_writer_version };
        return json!({"minReaderVersion": 1, "minWriterVersion": writer});
    }
    let mut value = json!({
        "minReaderVersion": protocol.min_reader_version,
        "minWriterVersion": protocol.min_writer_version,
    });
    if let Some(value) = value.as_object_mut() {
        if protocol.min_reader_version >= 3 {
            value.insert("readerFeatures".to_owned(), json!(protocol.reader_features));
        }
        if protocol.min_writer_version >= 7 {
            value.insert("writerFeatures".to_owned(), json!(protocol.writer_features));
        }
    }
    value
}

/// A schema text whose field metadata holds comments only. A text that is not JSON stays as it is.
fn plain_schema(schema_string: &str) -> String {
    let Ok(mut schema) = serde_json::from_str(schema_string) else { return schema_string.to_owned() };
    keep_comments(&mut schema);
    schema.to_string()
}

fn keep_comments(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let is_field = members.contains_key("name") && members.contains_key("type");
            if let Some(metadata) = members.get_mut("metadata").filter(|_| is_field).and_then(Value::as_object_mut) {
                metadata.retain(|key, _| key == "comment");
            }
            members.iter_mut().filter(|(key, _)| *key != "metadata").for_each(|(_, member)| keep_comments(member));
        }
        Value::Array(elements) => elements.iter_mut().for_each(keep_comments),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[derive(Serialize)]
struct Line<F> {
    file: F,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ParquetFile<'a> {
    url: &'a str,
    id: &'a str,
    partition_values: BTreeMap<&'a str, &'a str>,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<&'a str>,
    expiration_timestamp: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeltaFile<'a> {
    id: &'a str,
    expiration_timestamp: i64,
    delta_single_action: SingleAction<'a>,
}

#[derive(Serialize)]
struct SingleAction<'a> {
    add: Add<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Add<'a> {
    path: &'a str,
    partition_values: &'a PartitionValues,
    size: u64,
    modification_time: i64,
    data_change: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<&'a str>,
}

/// Writes the line of one file.
pub(super) fn file(
    out: &mut Vec<u8>,
    file: &File,
    url: &str,
    expires_at: Timestamp,
    format: Format,
) -> serde_json::Result<()> {
    let id = file_id(&file.path);
    let (size, stats, expiration_timestamp) = (file.size, file.stats.as_deref(), expires_at.millis());
    match format {
        Format::Parquet => {
            let values = file.partition_values.iter();
            let partition_values =
                values.map(|(name, value)| (name.as_str(), value.as_deref().unwrap_or_default())).collect();
            let file = ParquetFile { url, id: &id, partition_values, size, stats, expiration_timestamp };
            serde_json::to_writer(&mut *out, &Line { file })?;
        }
        Format::Delta => {
            let add = Add {
                path: url,
                partition_values: &file.partition_values,
                size,
                modification_time: file.modification_time,
                data_change: true,
                stats,
            };
            let file = DeltaFile { id: &id, expiration_timestamp, delta_single_action: SingleAction { add } };
            serde_json::to_writer(&mut *out, &Line { file })?;
        }
    }
    out.push(b'\n');
    Ok(())
}

/// A file's id: the same whenever the same file is shared, and it does not tell the path.
fn file_id(path: &str) -> String {
    Sha256::digest(path.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The last line, for clients that asked for one.
pub(super) fn end(expires_at: Option<Timestamp>, error: Option<&str>) -> Vec<u8> {
    let mut action = serde_json::Map::new();
    action.extend(expires_at.map(|at| ("minUrlExpirationTimestamp".to_owned(), at.millis().into())));
    action.extend(error.map(|error| ("errorMessage".to_owned(), error.into())));
    format!("{}\n", json!({"endStreamAction": action})).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_schema_keeps_comments_and_nothing_else() {
        let schema = json!({"type": "struct", "fields": [
            {"name": "a", "type": "string", "nullable": true, "metadata": {"comment": "c", "delta.generated": "x"}},
            {"name": "metadata", "type": {"type": "struct", "fields": [
                {"name": "n", "type": "long", "nullable": true, "metadata": {"k": 1}},
            ]}, "nullable": true, "metadata": {}},
        ]});
        let plain: Value = serde_json::from_str(&plain_schema(&schema.to_string())).unwrap();
        assert_eq!(plain["fields"][0]["metadata"], json!({"comment": "c"}));
        assert_eq!(plain["fields"][1]["type"]["fields"][0]["metadata"], json!({}));
        assert_eq!(plain["fields"][1]["name"], "metadata");
        assert_eq!(plain_schema("not json"), "not json");
    }
}
