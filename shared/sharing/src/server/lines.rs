//! The lines of an answer about a table, in both formats.

use std::collections::BTreeMap;

use delivery::timestamp::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use tables::snapshot::{Counts, DeletionVector, Metadata, PartitionValues, Protocol};

use super::capabilities::{Capabilities, Format, has_change_data_feed};
use super::file_ids::FileIds;
use super::json::{line, write_line_with_stats};
use super::source::{At, Entry};

/// The content type of answers in lines.
pub(super) const NDJSON: &str = "application/x-ndjson; charset=utf-8";

/// The line of a protocol, from a version on.
pub(super) fn protocol_line(
    protocol: &Protocol,
    version: Option<u64>,
    format: Format,
    capabilities: &Capabilities,
) -> Vec<u8> {
    let mut value = match format {
        Format::Parquet => json!({"minReaderVersion": 1}),
        Format::Delta => json!({"deltaProtocol": delta_protocol(protocol, capabilities)}),
    };
    if format == Format::Delta {
        extend(&mut value, version.map(|version| ("version", version.into())));
    }
    line(&json!({"protocol": value}))
}

/// The line of metadata, from a version on. `access_modes` are the ways to read the table, if there are several.
pub(super) fn metadata_line(
    metadata: &Metadata,
    counts: Option<Counts>,
    version: Option<u64>,
    access_modes: Map<String, Value>,
    format: Format,
) -> Vec<u8> {
    let mut value = match format {
        Format::Parquet => parquet_metadata(metadata),
        Format::Delta => json!({"deltaMetadata": delta_metadata(metadata)}),
    };
    extend(&mut value, counts.map(|counts| ("size", counts.bytes.into())));
    extend(&mut value, counts.map(|counts| ("numFiles", counts.files.into())));
    extend(&mut value, version.map(|version| ("version", version.into())));
    if let Some(value) = value.as_object_mut() {
        value.extend(access_modes);
    }
    line(&json!({"metaData": value}))
}

fn extend(value: &mut Value, members: impl IntoIterator<Item = (&'static str, Value)>) {
    if let Some(value) = value.as_object_mut() {
        value.extend(members.into_iter().map(|(key, member)| (key.to_owned(), member)));
    }
}

fn parquet_metadata(metadata: &Metadata) -> Value {
    let configuration =
        if has_change_data_feed(metadata) { json!({"enableChangeDataFeed": "true"}) } else { json!({}) };
    let mut value = json!({
        "id": metadata.id,
        "format": {"provider": "parquet"},
        "schemaString": plain_schema(&metadata.schema_string),
        "partitionColumns": metadata.partition_columns,
        "configuration": configuration,
    });
    extend(&mut value, texts(metadata));
    value
}

fn texts(metadata: &Metadata) -> impl Iterator<Item = (&'static str, Value)> {
    let texts = [("name", &metadata.name), ("description", &metadata.description)];
    texts.into_iter().filter_map(|(key, text)| Some((key, text.as_deref()?.into())))
}

fn delta_metadata(metadata: &Metadata) -> Value {
    let mut value = json!({
        "id": metadata.id,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": metadata.schema_string,
        "partitionColumns": metadata.partition_columns,
        "configuration": metadata.configuration,
    });
    extend(&mut value, texts(metadata));
    extend(&mut value, metadata.created_time.map(|created| ("createdTime", created.into())));
    value
}

/// The table's protocol, but for a client that knows no features the plain one that a table of reader version 1 can
/// be read by.
fn delta_protocol(protocol: &Protocol, capabilities: &Capabilities) -> Value {
    if !capabilities.knows_features() {
        let writer = if protocol.min_writer_version >= 7 { 2 } else { protocol.min_writer_version };
        return json!({"minReaderVersion": 1, "minWriterVersion": writer});
    }
    let mut value = json!({
        "minReaderVersion": protocol.min_reader_version,
        "minWriterVersion": protocol.min_writer_version,
    });
    let (reads, writes) = (protocol.min_reader_version >= 3, protocol.min_writer_version >= 7);
    extend(&mut value, reads.then(|| ("readerFeatures", json!(protocol.reader_features))));
    extend(&mut value, writes.then(|| ("writerFeatures", json!(protocol.writer_features))));
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

/// A file with its URLs, in parquet format: `file`, `add`, `remove` or `cdf`. Statistics are added to the line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ParquetFile<'a> {
    url: &'a str,
    id: &'a str,
    partition_values: BTreeMap<&'a str, &'a str>,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
    expiration_timestamp: i64,
}

/// A file in delta format. Its action ends it, so that statistics can be added to the line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeltaFile<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion_vector_file_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
    expiration_timestamp: i64,
    delta_single_action: Named<DeltaAction<'a>>,
}

/// An object of one member.
struct Named<T>(&'static str, T);

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0, &self.1)])
    }
}

/// An action of the log whose paths are URLs: `add`, `remove` or `cdc`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeltaAction<'a> {
    path: &'a str,
    partition_values: &'a PartitionValues,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    modification_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion_timestamp: Option<i64>,
    data_change: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    extended_file_metadata: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion_vector: Option<DeltaVector<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeltaVector<'a> {
    storage_type: &'a str,
    path_or_inline_dv: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i32>,
    size_in_bytes: i32,
    cardinality: i64,
}

/// The URLs of one entry.
#[derive(Debug)]
pub(super) struct Urls {
    /// Of the file.
    pub(super) file: String,
    /// Of the file of its deletion vector, with that file's path in the table; none if there is none, or if it is in
    /// the log.
    pub(super) vector: Option<(String, String)>,
}

/// How files are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileStyle {
    pub(super) format: Format,
    pub(super) ids: FileIds,
    /// Until when the URLs are good.
    pub(super) expires_at: Timestamp,
    /// The version that files say they are of, where one was asked for.
    pub(super) of_version: Option<At>,
}

impl FileStyle {
    /// Writes the line of an entry about a file; `false` if it is not about one.
    pub(super) fn write(self, out: &mut Vec<u8>, entry: &Entry, urls: &Urls) -> serde_json::Result<()> {
        let none = PartitionValues::new();
        let Some(written) = Written::of(entry, &none, self.of_version) else { return Ok(()) };
        let id = self.ids.id(written.path);
        match self.format {
            Format::Parquet => self.write_parquet(out, &written, urls, &id),
            Format::Delta => self.write_delta(out, &written, urls, &id),
        }
    }

    fn write_parquet(self, out: &mut Vec<u8>, file: &Written<'_>, urls: &Urls, id: &str) -> serde_json::Result<()> {
        let values = file.partition_values.iter();
        let partition_values =
            values.map(|(name, value)| (name.as_str(), value.as_deref().unwrap_or_default())).collect();
        let line = ParquetFile {
            url: &urls.file,
            id,
            partition_values,
            size: file.size,
            version: file.at.map(|at| at.version),
            timestamp: file.at.map(|at| at.timestamp.millis()),
            expiration_timestamp: self.expires_at.millis(),
        };
        let stats = file.stats.filter(|_| file.parquet_word != "remove");
        write_line_with_stats(out, &Named(file.parquet_word, line), 2, stats)
    }

    fn write_delta(self, out: &mut Vec<u8>, file: &Written<'_>, urls: &Urls, id: &str) -> serde_json::Result<()> {
        let action = DeltaAction {
            path: &urls.file,
            partition_values: file.partition_values,
            size: file.size,
            modification_time: file.modification_time,
            deletion_timestamp: file.deletion_timestamp,
            data_change: file.delta_word != "cdc",
            extended_file_metadata: (file.delta_word == "remove").then_some(true),
            deletion_vector: file.vector.map(|vector| vector_with(vector, urls)),
        };
        let line = DeltaFile {
            id,
            deletion_vector_file_id: urls.vector.as_ref().map(|(_, path)| self.ids.id(path)),
            version: file.at.map(|at| at.version),
            timestamp: file.at.map(|at| at.timestamp.millis()),
            expiration_timestamp: self.expires_at.millis(),
            delta_single_action: Named(file.delta_word, action),
        };
        write_line_with_stats(out, &Named("file", line), 4, file.stats)
    }
}

/// A vector in a file of its own is at its URL, which is an absolute path.
fn vector_with<'a>(vector: &'a DeletionVector, urls: &'a Urls) -> DeltaVector<'a> {
    let (storage_type, path_or_inline_dv) = match &urls.vector {
        Some((url, _)) => ("p", url.as_str()),
        None => (vector.storage_type.as_str(), vector.path_or_inline_dv.as_str()),
    };
    let (offset, size_in_bytes, cardinality) = (vector.offset, vector.size_in_bytes, vector.cardinality);
    DeltaVector { storage_type, path_or_inline_dv, offset, size_in_bytes, cardinality }
}

/// What both formats say of an entry about a file.
struct Written<'a> {
    parquet_word: &'static str,
    delta_word: &'static str,
    path: &'a str,
    partition_values: &'a PartitionValues,
    size: u64,
    stats: Option<&'a str>,
    modification_time: Option<i64>,
    deletion_timestamp: Option<i64>,
    vector: Option<&'a DeletionVector>,
    at: Option<At>,
}

impl<'a> Written<'a> {
    /// `none` stands in for partition values that the log does not say.
    fn of(entry: &'a Entry, none: &'a PartitionValues, of_version: Option<At>) -> Option<Self> {
        Some(match entry {
            Entry::File(file) => Self {
                parquet_word: "file",
                delta_word: "add",
                path: &file.path,
                partition_values: &file.partition_values,
                size: file.size,
                stats: file.stats.as_deref(),
                modification_time: Some(file.modification_time),
                deletion_timestamp: None,
                vector: file.deletion_vector.as_deref(),
                at: of_version,
            },
            Entry::Added(at, add) => Self {
                parquet_word: "add",
                delta_word: "add",
                path: &add.path,
                partition_values: &add.partition_values,
                size: add.size,
                stats: add.stats.as_deref(),
                modification_time: Some(add.modification_time),
                deletion_timestamp: None,
                vector: add.deletion_vector.as_deref(),
                at: Some(*at),
            },
            Entry::Removed(at, remove) => Self {
                parquet_word: "remove",
                delta_word: "remove",
                path: &remove.path,
                partition_values: remove.partition_values.as_ref().unwrap_or(none),
                size: remove.size.unwrap_or_default(),
                stats: remove.stats.as_deref(),
                modification_time: None,
                deletion_timestamp: Some(remove.deletion_timestamp.unwrap_or(at.timestamp.millis())),
                vector: remove.deletion_vector.as_deref(),
                at: Some(*at),
            },
            Entry::Changed(at, change) => Self {
                parquet_word: "cdf",
                delta_word: "cdc",
                path: &change.path,
                partition_values: &change.partition_values,
                size: change.size,
                stats: None,
                modification_time: None,
                deletion_timestamp: None,
                vector: None,
                at: Some(*at),
            },
            Entry::Protocol(..) | Entry::Metadata(..) => return None,
        })
    }
}

/// How an answer ended.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) refresh_token: Option<String>,
    pub(super) next_page_token: Option<String>,
    /// When the first of the URLs ends.
    pub(super) urls_expire_at: Option<Timestamp>,
    /// What went wrong behind the status, and the status that it would have had.
    pub(super) error: Option<(String, u16)>,
}

impl End {
    /// The last line, for clients that asked for one.
    pub(super) fn line(self) -> Vec<u8> {
        let mut action = Map::new();
        let mut add = |key: &str, value: Option<Value>| action.extend(value.map(|value| (key.to_owned(), value)));
        add("refreshToken", self.refresh_token.map(Value::from));
        add("nextPageToken", self.next_page_token.map(Value::from));
        add("minUrlExpirationTimestamp", self.urls_expire_at.map(|at| at.millis().into()));
        let (message, status) = self.error.unzip();
        add("errorMessage", message.map(Value::from));
        add("httpStatusErrorCode", status.map(Value::from));
        line(&json!({"endStreamAction": action}))
    }
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

    #[test]
    fn an_end_says_only_what_there_is() {
        let line = |end: End| String::from_utf8(end.line()).unwrap();
        assert_eq!(line(End::default()), "{\"endStreamAction\":{}}\n");
        let end = End { error: Some(("broken".to_owned(), 503)), ..End::default() };
        assert_eq!(line(end), "{\"endStreamAction\":{\"errorMessage\":\"broken\",\"httpStatusErrorCode\":503}}\n");
    }
}
