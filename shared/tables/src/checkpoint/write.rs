//! From a table's state to a checkpoint's Parquet.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Int32Builder, Int64Builder, ListBuilder, MapBuilder, MapFieldNames, StringBuilder,
};
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray, new_null_array};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use delivery::ports::{PortError, PortErrorKind};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::snapshot::{File, Metadata, Protocol, TableState};

/// Actions that are columns in memory at once.
const BATCH_ROWS: usize = 4_096;

/// Bytes of a row group: what the writer holds, encoded, before it is compressed away.
const ROW_GROUP_BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// A checkpoint as it is written.
#[derive(Debug)]
pub(crate) struct Written {
    /// The file.
    pub(crate) bytes: Vec<u8>,
    /// How many actions it has.
    pub(crate) actions: u64,
    /// How many of them are files.
    pub(crate) adds: u64,
}

/// Writes a state as a classic checkpoint: every `txn`, every file, the tombstones that are not older than
/// `tombstones_since` (in milliseconds since the epoch). zstd, as the data files are: who can read those can read it.
pub(crate) fn write(state: &TableState, tombstones_since: i64) -> Result<Written, PortError> {
    let columns = columns();
    let schema = Arc::new(Schema::new(columns.clone()));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).map_err(unwritable)?))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES_MAX))
        .build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let writer = ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), options).map_err(unwritable)?;
    let mut sheet = Sheet { schema, writer, actions: 0 };

    sheet.put("protocol", protocol(&state.snapshot.protocol)?)?;
    sheet.put("metaData", metadata(&state.snapshot.metadata)?)?;
    let transactions: Vec<_> = state.ledger.transactions.iter().collect();
    for some in transactions.chunks(BATCH_ROWS) {
        let mut app_id = StringBuilder::new();
        let (mut version, mut last_updated) = (Int64Builder::new(), Int64Builder::new());
        for (id, transaction) in some {
            app_id.append_value(id);
            version.append_value(transaction.version);
            last_updated.append_option(transaction.last_updated);
        }
        sheet.put("txn", vec![ready(app_id.finish()), ready(version.finish()), ready(last_updated.finish())])?;
    }
    let tombstones: Vec<_> = state
        .ledger
        .tombstones
        .values()
        .filter(|remove| remove.deletion_timestamp.unwrap_or_default() >= tombstones_since)
        .collect();
    for some in tombstones.chunks(BATCH_ROWS) {
        let mut path = StringBuilder::new();
        let (mut deleted, mut size) = (Int64Builder::new(), Int64Builder::new());
        let (mut data_change, mut extended) = (BooleanBuilder::new(), BooleanBuilder::new());
        let mut partition = map_builder();
        for remove in some {
            path.append_value(&remove.path);
            deleted.append_option(remove.deletion_timestamp);
            data_change.append_value(false);
            extended.append_value(remove.extended_file_metadata.unwrap_or_default());
            append_map(&mut partition, remove.partition_values.as_ref())?;
            size.append_option(remove.size.map(integer).transpose()?);
        }
        let fields = vec![
            ready(path.finish()),
            ready(deleted.finish()),
            ready(data_change.finish()),
            ready(extended.finish()),
            ready(partition.finish()),
            ready(size.finish()),
        ];
        sheet.put("remove", fields)?;
    }
    let mut adds = 0;
    for chunk in state.snapshot.chunks() {
        adds += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        sheet.put("add", files(chunk)?)?;
    }
    let Sheet { writer, actions, .. } = sheet;
    Ok(Written { bytes: writer.into_inner().map_err(unwritable)?, actions, adds })
}

/// The Parquet file under way: each batch has actions of one kind.
struct Sheet {
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
    actions: u64,
}

impl Sheet {
    fn put(&mut self, action: &str, fields: Vec<ArrayRef>) -> Result<(), PortError> {
        let rows = fields.first().map_or(0, |field| field.len());
        let mut fields = Some(fields);
        let columns = self.schema.fields().iter().map(|column| {
            if column.name() != action {
                return Ok(new_null_array(column.data_type(), rows));
            }
            let DataType::Struct(members) = column.data_type() else {
                return Err(unwritable("an action is not a struct"));
            };
            let members = StructArray::try_new(members.clone(), fields.take().unwrap_or_default(), None);
            members.map(ready).map_err(unwritable)
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(unwritable)?;
        self.actions += u64::try_from(rows).unwrap_or(u64::MAX);
        self.writer.write(&batch).map_err(unwritable)
    }
}

fn files(files: &[Arc<File>]) -> Result<Vec<ArrayRef>, PortError> {
    let (mut path, mut stats) = (StringBuilder::new(), StringBuilder::new());
    let (mut size, mut modified) = (Int64Builder::new(), Int64Builder::new());
    let (mut partition, mut data_change) = (map_builder(), BooleanBuilder::new());
    for file in files {
        path.append_value(&file.path);
        append_map(&mut partition, Some(&file.partition_values))?;
        size.append_value(integer(file.size)?);
        modified.append_value(file.modification_time);
        data_change.append_value(false);
        stats.append_option(file.stats.as_deref());
    }
    Ok(vec![
        ready(path.finish()),
        ready(partition.finish()),
        ready(size.finish()),
        ready(modified.finish()),
        ready(data_change.finish()),
        ready(stats.finish()),
    ])
}

fn protocol(protocol: &Protocol) -> Result<Vec<ArrayRef>, PortError> {
    let version = |number: u32| {
        let mut version = Int32Builder::new();
        version.append_value(i32::try_from(number).map_err(unwritable)?);
        Ok::<_, PortError>(ready(version.finish()))
    };
    // A reader takes a list, even an empty one, for a table of named features.
    let features = |names: Vec<&String>| {
        let mut list = list_builder();
        if names.is_empty() {
            list.append(false);
        } else {
            list.append_value(names.into_iter().map(Some));
        }
        ready(list.finish())
    };
    Ok(vec![
        version(protocol.min_reader_version)?,
        version(protocol.min_writer_version)?,
        features(protocol.reader_features.iter().collect()),
        features(protocol.writer_features.iter().collect()),
    ])
}

fn metadata(metadata: &Metadata) -> Result<Vec<ArrayRef>, PortError> {
    let text = |text: Option<&str>| {
        let mut builder = StringBuilder::new();
        builder.append_option(text);
        ready(builder.finish())
    };
    let map = |entries: &BTreeMap<String, Option<String>>| {
        let mut builder = map_builder();
        append_map(&mut builder, Some(entries))?;
        Ok::<_, PortError>(ready(builder.finish()))
    };
    let DataType::Struct(format) = format_type() else { return Err(unwritable("the format is not a struct")) };
    let format =
        StructArray::try_new(format, vec![text(Some("parquet")), map(&BTreeMap::new())?], None).map_err(unwritable)?;
    let mut partition = list_builder();
    partition.append_value(metadata.partition_columns.iter().map(Some));
    let configuration = metadata.configuration.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    let mut created = Int64Builder::new();
    created.append_option(metadata.created_time);
    Ok(vec![
        text(Some(&metadata.id)),
        text(metadata.name.as_deref()),
        text(metadata.description.as_deref()),
        ready(format),
        text(Some(&metadata.schema_string)),
        ready(partition.finish()),
        map(&configuration)?,
        ready(created.finish()),
    ])
}

/// The columns of a checkpoint (PROTOCOL.md, "Checkpoint Schema"), in the order in which the functions here make them.
fn columns() -> Fields {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let long = |name: &str| Field::new(name, DataType::Int64, true);
    let flag = |name: &str| Field::new(name, DataType::Boolean, true);
    let of = |name: &str, fields: Vec<Field>| Field::new(name, DataType::Struct(fields.into()), true);
    Fields::from(vec![
        of("txn", vec![text("appId"), long("version"), long("lastUpdated")]),
        of(
            "add",
            vec![
                text("path"),
                Field::new("partitionValues", map_type(), true),
                long("size"),
                long("modificationTime"),
                flag("dataChange"),
                text("stats"),
            ],
        ),
        of(
            "remove",
            vec![
                text("path"),
                long("deletionTimestamp"),
                flag("dataChange"),
                flag("extendedFileMetadata"),
                Field::new("partitionValues", map_type(), true),
                long("size"),
            ],
        ),
        of(
            "metaData",
            vec![
                text("id"),
                text("name"),
                text("description"),
                Field::new("format", format_type(), true),
                text("schemaString"),
                Field::new("partitionColumns", list_type(), true),
                Field::new("configuration", map_type(), true),
                long("createdTime"),
            ],
        ),
        of(
            "protocol",
            vec![
                Field::new("minReaderVersion", DataType::Int32, true),
                Field::new("minWriterVersion", DataType::Int32, true),
                Field::new("readerFeatures", list_type(), true),
                Field::new("writerFeatures", list_type(), true),
            ],
        ),
    ])
}

fn format_type() -> DataType {
    let fields = vec![Field::new("provider", DataType::Utf8, true), Field::new("options", map_type(), true)];
    DataType::Struct(fields.into())
}

fn list_type() -> DataType {
    DataType::List(element().into())
}

fn element() -> Field {
    Field::new("element", DataType::Utf8, true)
}

fn map_type() -> DataType {
    let entry = vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)];
    DataType::Map(Field::new("key_value", DataType::Struct(entry.into()), false).into(), false)
}

fn map_builder() -> MapBuilder<StringBuilder, StringBuilder> {
    let names = MapFieldNames { entry: "key_value".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
}

fn list_builder() -> ListBuilder<StringBuilder> {
    ListBuilder::new(StringBuilder::new()).with_field(element())
}

fn append_map(
    builder: &mut MapBuilder<StringBuilder, StringBuilder>,
    entries: Option<&BTreeMap<String, Option<String>>>,
) -> Result<(), PortError> {
    for (key, value) in entries.into_iter().flatten() {
        builder.keys().append_value(key);
        builder.values().append_option(value.as_deref());
    }
    builder.append(entries.is_some()).map_err(unwritable)
}

fn ready(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}

fn integer(number: u64) -> Result<i64, PortError> {
    i64::try_from(number).map_err(unwritable)
}

fn unwritable(source: impl Into<Box<dyn Error + Send + Sync>>) -> PortError {
    PortError::new(PortErrorKind::InvalidData, "write a checkpoint", source)
}
