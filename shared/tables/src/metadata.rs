//! Files of the metadata tables: rows as one Parquet file with its Delta statistics, and the tables' schema text.
//!
//! The files are small and their columns flat, so they are written column by column, without Arrow: what links this
//! module stays small.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use delivery::ids::{ConnectorId, hex, sha256_hex};
use delivery::metadata::{Cell, CellType, MetadataColumn, MetadataTable, Row};
use delivery::ports::{DataFile, EncodedFile, MetadataFiles, PortError, PortErrorKind};
use delivery::table::table_path;
use delivery::timestamp::Timestamp;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};
use serde_json::{Map, Value, json};

use crate::log::port_error;

/// A text bound that is longer is left out of the statistics: it would not help anybody.
const TEXT_BOUND_BYTES_MAX: usize = 256;

const ENCODE: &str = "encode rows of a metadata table";
const PUT: &str = "put a file of a metadata table";

/// The metadata tables' files in one store.
#[derive(Debug)]
pub struct ObjectStoreMetadataFiles {
    store: Arc<dyn ObjectStore>,
}

impl ObjectStoreMetadataFiles {
    /// The tables of a store, such as the tables bucket.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }
}

#[async_trait]
impl MetadataFiles for ObjectStoreMetadataFiles {
    fn metadata_schema_string(&self, table: MetadataTable) -> String {
        schema_string(table)
    }

    fn encode(&self, table: MetadataTable, prefix: &str, rows: &[Row]) -> Result<EncodedFile, PortError> {
        encode(table.columns(), prefix, rows)
    }

    async fn put_file(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
        file: &EncodedFile,
    ) -> Result<(), PortError> {
        let path = Path::from(table_path(connector, &table.name())).join(file.file.name.as_str());
        let payload = PutPayload::from(Bytes::from(file.bytes.clone()));
        self.store.put(&path, payload).await.map(drop).map_err(|error| port_error(PUT, error))
    }
}

/// Rows of these columns as one Parquet file. Equal rows make an equal name.
pub(crate) fn encode(columns: &[MetadataColumn], prefix: &str, rows: &[Row]) -> Result<EncodedFile, PortError> {
    let fits = |row: &Row| {
        row.len() == columns.len() && columns.iter().zip(row).all(|(column, cell)| is_of(column.cell_type, cell))
    };
    if !rows.iter().all(fits) {
        return Err(PortError::new(PortErrorKind::InvalidData, ENCODE, "a row does not have the table's columns"));
    }
    let bytes = parquet(columns, rows).map_err(|error| PortError::new(PortErrorKind::InvalidData, ENCODE, error))?;
    let hash: String = hash_of(&bytes).chars().take(16).collect();
    let name = format!("{prefix}-{hash}.parquet");
    let file = DataFile { name, size_bytes: bytes.len() as u64, statistics: statistics(columns, rows) };
    Ok(EncodedFile { file, bytes })
}

fn hash_of(bytes: &[u8]) -> String {
    sha256_hex(&[&hex(bytes)])
}

/// The Delta schema text of a metadata table. Each column has its comment where Delta readers look for it.
#[must_use]
pub fn schema_string(table: MetadataTable) -> String {
    schema_of(table.columns())
}

/// The Delta schema text of these columns.
pub(crate) fn schema_of(columns: &[MetadataColumn]) -> String {
    let field = |column: &MetadataColumn| {
        let delta_type = match column.cell_type {
            CellType::Text => "string",
            CellType::Integer => "long",
            CellType::Boolean => "boolean",
            CellType::Timestamp => "timestamp",
        };
        json!({"name": column.name, "type": delta_type, "nullable": true, "metadata": {"comment": column.comment}})
    };
    let fields: Vec<_> = columns.iter().map(field).collect();
    json!({"type": "struct", "fields": fields}).to_string()
}

fn is_of(cell_type: CellType, cell: &Cell) -> bool {
    matches!(
        (cell_type, cell),
        (_, Cell::Null)
            | (CellType::Text, Cell::Text(_))
            | (CellType::Integer, Cell::Integer(_))
            | (CellType::Boolean, Cell::Boolean(_))
            | (CellType::Timestamp, Cell::Timestamp(_))
    )
}

fn parquet(columns: &[MetadataColumn], rows: &[Row]) -> Result<Vec<u8>, ParquetError> {
    let fields = columns.iter().map(field).collect::<Result<_, _>>()?;
    let schema = Type::group_type_builder("schema").with_fields(fields).build()?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for (index, column) in columns.iter().enumerate() {
        let Some(mut writer) = group.next_column()? else { break };
        let cells = || rows.iter().filter_map(|row| row.get(index));
        match column.cell_type {
            CellType::Text => write::<ByteArrayType>(&mut writer, cells(), |cell| match cell {
                Cell::Text(text) => Some(ByteArray::from(text.as_str())),
                Cell::Null | Cell::Integer(_) | Cell::Boolean(_) | Cell::Timestamp(_) => None,
            })?,
            CellType::Integer | CellType::Timestamp => write::<Int64Type>(&mut writer, cells(), |cell| match cell {
                Cell::Integer(number) => Some(*number),
                Cell::Timestamp(at) => Some(at.micros()),
                Cell::Null | Cell::Text(_) | Cell::Boolean(_) => None,
            })?,
            CellType::Boolean => write::<BoolType>(&mut writer, cells(), |cell| match cell {
                Cell::Boolean(flag) => Some(*flag),
                Cell::Null | Cell::Text(_) | Cell::Integer(_) | Cell::Timestamp(_) => None,
            })?,
        }
        writer.close()?;
    }
    group.close()?;
    writer.close()?;
    Ok(bytes)
}

fn field(column: &MetadataColumn) -> Result<TypePtr, ParquetError> {
    let (physical, logical) = match column.cell_type {
        CellType::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        CellType::Integer => (Physical::INT64, None),
        CellType::Boolean => (Physical::BOOLEAN, None),
        CellType::Timestamp => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
    };
    let field = Type::primitive_type_builder(column.name, physical);
    Ok(Arc::new(field.with_repetition(Repetition::OPTIONAL).with_logical_type(logical).build()?))
}

fn write<'a, T: DataType>(
    writer: &mut SerializedColumnWriter<'_>,
    cells: impl Iterator<Item = &'a Cell>,
    value: impl Fn(&Cell) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    for cell in cells {
        let value = value(cell);
        levels.push(i16::from(value.is_some()));
        values.extend(value);
    }
    writer.typed::<T>().write_batch(&values, Some(&levels), None).map(drop)
}

/// Statistics as the JSON text of an `add` action (PROTOCOL.md, "Per-file Statistics").
fn statistics(columns: &[MetadataColumn], rows: &[Row]) -> String {
    let (mut least, mut most, mut nulls) = (Map::new(), Map::new(), Map::new());
    for (index, column) in columns.iter().enumerate() {
        let cells = || rows.iter().filter_map(|row| row.get(index));
        let values = || cells().filter(|cell| **cell != Cell::Null);
        let missing = cells().count() - values().count();
        nulls.insert(column.name.to_owned(), missing.into());
        if let Some(bound) = values().min().and_then(|cell| bound(cell, Rounds::Down)) {
            least.insert(column.name.to_owned(), bound);
        }
        if let Some(bound) = values().max().and_then(|cell| bound(cell, Rounds::Up)) {
            most.insert(column.name.to_owned(), bound);
        }
    }
    json!({"numRecords": rows.len(), "minValues": least, "maxValues": most, "nullCount": nulls}).to_string()
}

/// Where a time goes that has no whole milliseconds: Delta's statistics have no finer ones.
#[derive(Clone, Copy)]
enum Rounds {
    Down,
    Up,
}

fn bound(cell: &Cell, rounds: Rounds) -> Option<Value> {
    match cell {
        Cell::Text(text) => (text.len() <= TEXT_BOUND_BYTES_MAX).then(|| text.as_str().into()),
        Cell::Integer(number) => Some((*number).into()),
        Cell::Timestamp(at) => {
            let up = matches!(rounds, Rounds::Up) && at.micros().rem_euclid(1_000) > 0;
            let millis = at.micros().div_euclid(1_000) + i64::from(up);
            let seconds = Timestamp::from_millis(millis.div_euclid(1_000) * 1_000)?.to_string();
            Some(format!("{}.{:03}Z", seconds.strip_suffix('Z')?, millis.rem_euclid(1_000)).into())
        }
        Cell::Null | Cell::Boolean(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    use super::*;

    fn files() -> ObjectStoreMetadataFiles {
        ObjectStoreMetadataFiles::new(Arc::new(InMemory::new()))
    }

    fn text(value: &str) -> Cell {
        Cell::Text(value.to_owned())
    }

    fn at(text: &str) -> Cell {
        Cell::Timestamp(Timestamp::parse(text).unwrap())
    }

    fn activity() -> Vec<Row> {
        let row = |id: &str, when: &str, name: Cell| {
            vec![text(id), at(when), text("Workflow updated"), text("WORKFLOW"), name, Cell::Null, text("UI")]
        };
        vec![
            row("e-2", "2026-09-01T00:00:00.000001Z", text("Box office")),
            row("e-10", "2026-09-01T00:00:01.500001Z", Cell::Null),
            row("é", "2026-08-31T23:59:59.999999Z", text(&"long ".repeat(60))),
        ]
    }

    #[test]
    fn a_schema_has_a_comment_on_each_column() {
        for table in MetadataTable::ALL {
            let schema: Value = serde_json::from_str(&schema_string(table)).unwrap();
            let fields = schema["fields"].as_array().unwrap();
            assert_eq!(fields.len(), table.columns().len());
            for (field, column) in fields.iter().zip(table.columns()) {
                assert_eq!((field["name"].as_str(), field["nullable"].as_bool()), (Some(column.name), Some(true)));
                assert_eq!(field["metadata"], json!({"comment": column.comment}));
            }
            let described = crate::schema::describe(&schema_string(table)).unwrap();
            assert!(described.columns[0].ends_with(" string"), "{:?}", described.columns);
        }
    }

    #[test]
    fn rows_read_back_from_the_file_as_they_were() {
        let rows = activity();
        let encoded = files().encode(MetadataTable::ActivityLog, "batch-00000007", &rows).unwrap();
        assert_eq!(encoded.file.size_bytes, encoded.bytes.len() as u64);
        let reader = SerializedFileReader::new(Bytes::from(encoded.bytes)).unwrap();
        let read = reader.get_row_iter(None).unwrap().map(|row| {
            let cell = |(_, field): (&String, &Field)| {
                if let Field::Str(text) = field {
                    Cell::Text(text.clone())
                } else if let Field::TimestampMicros(micros) = field {
                    Cell::Timestamp(Timestamp::from_micros(*micros).unwrap())
                } else {
                    assert_eq!(*field, Field::Null);
                    Cell::Null
                }
            };
            row.unwrap().get_column_iter().map(cell).collect::<Row>()
        });
        assert_eq!(read.collect::<Vec<_>>(), rows);
    }

    #[test]
    fn numbers_and_flags_read_back_too() {
        let row = vec![
            text("w-1"),
            Cell::Integer(2),
            Cell::Integer(i64::MIN),
            text("a"),
            text("a"),
            text("NUMBER"),
            text("double"),
            text("exact_double"),
            Cell::Boolean(true),
            Cell::Null,
        ];
        let encoded = files().encode(MetadataTable::WorkflowSchemaFields, "content", &[row]).unwrap();
        let reader = SerializedFileReader::new(Bytes::from(encoded.bytes)).unwrap();
        let read = reader.get_row_iter(None).unwrap().next().unwrap().unwrap();
        let fields: Vec<_> = read.get_column_iter().map(|(_, field)| field.clone()).collect();
        assert_eq!(fields[2], Field::Long(i64::MIN));
        assert_eq!((&fields[8], &fields[9]), (&Field::Bool(true), &Field::Null));
        assert!(encoded.file.statistics.contains(r#""minValues":{"workflow_id":"w-1","schema_version":2"#));
    }

    #[test]
    fn statistics_bound_the_values() {
        let encoded = files().encode(MetadataTable::ActivityLog, "batch", &activity()).unwrap();
        let statistics: Value = serde_json::from_str(&encoded.file.statistics).unwrap();
        assert_eq!(
            statistics,
            json!({
                "numRecords": 3,
                "minValues": {
                    "event_id": "e-10", "occurred_at": "2026-08-31T23:59:59.999Z",
                    "event_title": "Workflow updated", "resource_type": "WORKFLOW", "resource_name": "Box office",
                    "request_source": "UI",
                },
                "maxValues": {
                    "event_id": "é", "occurred_at": "2026-09-01T00:00:01.501Z",
                    "event_title": "Workflow updated", "resource_type": "WORKFLOW", "request_source": "UI",
                },
                "nullCount": {
                    "event_id": 0, "occurred_at": 0, "event_title": 0, "resource_type": 0, "resource_name": 1,
                    "workflow_id": 3, "request_source": 0,
                },
            })
        );
    }

    #[test]
    fn equal_rows_make_an_equal_file_and_others_another() {
        let encode = |rows: &[Row]| files().encode(MetadataTable::ActivityLog, "batch-00000001", rows).unwrap();
        assert_eq!(encode(&activity()), encode(&activity()));
        let first = encode(&activity()).file.name;
        let fewer = encode(&activity()[..2]).file.name;
        assert!(first != fewer && first.starts_with("batch-00000001-") && first.ends_with(".parquet"));
    }

    #[test]
    fn a_row_of_another_table_is_refused() {
        let row = vec![Cell::Integer(1); MetadataTable::ActivityLog.columns().len()];
        for rows in [vec![row], vec![activity()[0][..6].to_vec()]] {
            let error = files().encode(MetadataTable::ActivityLog, "batch", &rows).unwrap_err();
            assert_eq!(error.kind, PortErrorKind::InvalidData);
        }
    }

    #[tokio::test]
    async fn a_file_is_put_into_its_tables_folder_as_often_as_one_likes() {
        let store = Arc::new(InMemory::new());
        let files = ObjectStoreMetadataFiles::new(store.clone());
        let encoded = files.encode(MetadataTable::ActivityLog, "batch", &activity()).unwrap();
        let connector = ConnectorId::new("acme").unwrap();
        for _ in 0..2 {
            files.put_file(&connector, MetadataTable::ActivityLog, &encoded).await.unwrap();
        }
        let path = Path::from("connectors/acme/ACTIVITY_LOG").join(encoded.file.name.as_str());
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), encoded.bytes);
    }
}
