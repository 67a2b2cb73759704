//! In-memory sources and sinks, and a reader of staged files.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Float64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use arrow_schema::DataType;
use bytes::Bytes;
use delivery::failure::FailureCode;
use delivery::schema::{Column, ColumnType, Field, Marking, PublicSchema, Shape};
use delivery::timestamp::{Timestamp, format_date};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rows::{
    BlockSource, Chunk, FileFactory, FileSink, Input, InputError, Limits, RunColumns, SeekableObject, SeekableSource,
    StageError, Staged, stage,
};
use serde_json::{Map, Value, json};

pub(crate) const RUN_ID: &str = "run-1";
pub(crate) const FINISHED_AT: &str = "2026-09-01T06:07:30Z";

/// Chunks that are given out one after the other.
pub(crate) struct Chunks(pub(crate) std::vec::IntoIter<Chunk>);

impl BlockSource for Chunks {
    fn next_block(&mut self) -> io::Result<Option<Chunk>> {
        Ok(self.0.next())
    }
}

/// Objects cut into chunks of `size` bytes.
pub(crate) fn objects(objects: &[&[u8]], size: usize) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for object in objects {
        chunks.extend(object.chunks(size.max(1)).map(|chunk| Chunk::Bytes(Bytes::copy_from_slice(chunk))));
        chunks.push(Chunk::ObjectEnd);
    }
    chunks
}

/// Objects that can be read anywhere.
pub(crate) struct Seekable(pub(crate) std::vec::IntoIter<Bytes>);

impl Seekable {
    pub(crate) fn of(objects: &[Vec<u8>]) -> Self {
        Self(objects.iter().map(|object| Bytes::copy_from_slice(object)).collect::<Vec<_>>().into_iter())
    }
}

impl SeekableSource for Seekable {
    fn next_object(&mut self) -> Result<Option<Box<dyn SeekableObject>>, InputError> {
        Ok(self.0.next().map(|bytes| -> Box<dyn SeekableObject> { Box::new(InMemory(bytes)) }))
    }
}

pub(crate) struct InMemory(pub(crate) Bytes);

impl SeekableObject for InMemory {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        Ok(self.0.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()))
    }
}

/// The bytes as a gzip stream of one member.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The formats that are read as a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streamed {
    JsonLines,
    Json,
    Csv,
}

/// Stages objects of a streamed format that arrive in chunks of `size` bytes, on one lane.
pub(crate) fn stage_streamed(
    format: Streamed,
    of: &[&[u8]],
    size: usize,
    schema: &PublicSchema,
) -> Result<Outcome, StageError> {
    let mut chunks = Chunks(objects(of, size).into_iter());
    let input = match format {
        Streamed::JsonLines => Input::JsonLines(&mut chunks),
        Streamed::Json => Input::Json(&mut chunks),
        Streamed::Csv => Input::Csv(&mut chunks),
    };
    stage_input(input, schema, &lanes(1))
}

pub(crate) fn stage_parquet(objects: &[Vec<u8>], schema: &PublicSchema) -> Result<Outcome, StageError> {
    stage_input(Input::Parquet(&mut Seekable::of(objects)), schema, &lanes(1))
}

#[derive(Default, Clone)]
pub(crate) struct Files {
    finished: Arc<Mutex<BTreeMap<usize, Vec<u8>>>>,
}

struct Sink {
    index: usize,
    bytes: Vec<u8>,
    files: Files,
}

impl FileFactory for Files {
    fn create(&self, index: usize) -> io::Result<Box<dyn FileSink>> {
        Ok(Box::new(Sink { index, bytes: Vec::new(), files: self.clone() }))
    }
}

impl FileSink for Sink {
    fn write(&mut self, part: Bytes) -> io::Result<()> {
        self.bytes.extend_from_slice(&part);
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        let before = self.files.finished.lock().unwrap().insert(self.index, self.bytes);
        assert!(before.is_none(), "an index is given once");
        Ok(())
    }
}

/// A staging and all that it left.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) staged: Staged,
    pub(crate) files: BTreeMap<usize, Vec<u8>>,
    pub(crate) rejects: Vec<Value>,
}

pub(crate) fn lanes(lanes: usize) -> Limits {
    Limits::with_lanes(NonZeroUsize::new(lanes).unwrap())
}

pub(crate) fn stage_chunks(chunks: Vec<Chunk>, schema: &PublicSchema, limits: &Limits) -> Result<Outcome, StageError> {
    stage_input(Input::JsonLines(&mut Chunks(chunks.into_iter())), schema, limits)
}

pub(crate) fn stage_input(input: Input<'_>, schema: &PublicSchema, limits: &Limits) -> Result<Outcome, StageError> {
    let files = Files::default();
    let mut rejects = Vec::new();
    let run = RunColumns { run_id: RUN_ID, finished_at: Timestamp::parse(FINISHED_AT).unwrap() };
    let result = stage(input, &files, &mut rejects, schema, run, limits);
    let files = files.finished.lock().unwrap().clone();
    if result.is_err() {
        assert!(files.is_empty(), "a failed staging finishes nothing");
    }
    let staged = result?;
    assert_eq!(
        staged.files.iter().map(|file| file.index).collect::<Vec<_>>(),
        files.keys().copied().collect::<Vec<_>>()
    );
    for (part, bytes) in staged.files.iter().zip(files.values()) {
        assert_eq!(part.size_bytes, bytes.len() as u64);
    }
    let rejects: Vec<Value> = rejects
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    Ok(Outcome { staged, files, rejects })
}

pub(crate) fn stage_bytes(bytes: &[u8], schema: &PublicSchema) -> Result<Outcome, StageError> {
    stage_chunks(objects(&[bytes], 1 << 20), schema, &lanes(1))
}

impl Outcome {
    /// Every file's rows, in the order of the files.
    pub(crate) fn rows(&self) -> Vec<Value> {
        let rows: Vec<_> = self.files.values().flat_map(|file| read(file)).collect();
        assert_eq!(rows.len() as u64, self.staged.rows);
        rows
    }

    /// The rejections as line, column and code.
    pub(crate) fn rejected(&self) -> Vec<(u64, Option<String>, FailureCode)> {
        self.rejects
            .iter()
            .map(|reject| {
                let column = reject["column"].as_str().map(str::to_owned);
                (
                    reject["line"].as_u64().unwrap(),
                    column,
                    FailureCode::parse(reject["code"].as_str().unwrap()).unwrap(),
                )
            })
            .collect()
    }
}

/// The rows of a Parquet file as JSON. Doubles are told by their bits, decimals and times are strings.
pub(crate) fn read(file: &[u8]) -> Vec<Value> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(file)).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    batches
        .into_iter()
        .flat_map(|batch| {
            let rows: ArrayRef = Arc::new(StructArray::from(batch));
            (0..rows.len()).map(move |row| value(&rows, row)).collect::<Vec<_>>()
        })
        .collect()
}

/// How [`read`] shows a double.
pub(crate) fn bits(value: f64) -> Value {
    json!(format!("{:016x}", value.to_bits()))
}

fn value(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::Float64 => bits(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Date32 => json!(format_date(array.as_primitive::<Date32Type>().value(row))),
        DataType::Timestamp(_, zone) => {
            assert_eq!(zone.as_deref(), Some("UTC"));
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            json!(Timestamp::from_micros(micros).unwrap().to_string())
        }
        DataType::Decimal128(38, 6) => json!(array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Struct(fields) => {
            let array = array.as_struct();
            let members = fields.iter().zip(array.columns());
            Value::Object(
                members.map(|(field, member)| (field.name().clone(), value(member, row))).collect::<Map<_, _>>(),
            )
        }
        DataType::List(_) => {
            let elements = array.as_list::<i32>().value(row);
            (0..elements.len()).map(|element| value(&elements, element)).collect()
        }
        other => panic!("no column has type {other}"),
    }
}

pub(crate) fn column(name: &str, column_type: ColumnType) -> Column {
    Column {
        source: name.to_owned(),
        name: name.to_owned(),
        column_type,
        source_type: "STRING".to_owned(),
        key: false,
        description: None,
    }
}

pub(crate) fn schema(columns: &[(&str, ColumnType)]) -> PublicSchema {
    PublicSchema::from_columns(columns.iter().map(|(name, t)| column(name, t.clone())).collect())
}

pub(crate) fn field(name: &str, data_type: &str, shape: Option<Shape>) -> Field {
    Field {
        name: name.to_owned(),
        data_type: Some(data_type.to_owned()),
        field_type: Some("SCHEMA".to_owned()),
        key: false,
        marking: Marking::Public,
        description: None,
        shape,
    }
}

/// A schema with every type: what a workflow declares.
pub(crate) fn every_type() -> PublicSchema {
    let text = || Shape::String("STRING".to_owned());
    let seller = Shape::Object(vec![
        ("name".to_owned(), text()),
        ("rating".to_owned(), Shape::Number),
        ("paid".to_owned(), Shape::String("MONEY".to_owned())),
        ("since".to_owned(), Shape::String("DATE".to_owned())),
        ("marks".to_owned(), Shape::Array(vec![Shape::Array(vec![Shape::Number])])),
    ]);
    let offers = Shape::Array(vec![Shape::Object(vec![
        ("sku".to_owned(), text()),
        ("sold".to_owned(), Shape::Boolean),
        ("tags".to_owned(), Shape::Array(vec![text()])),
    ])]);
    PublicSchema::of(&[
        field("text", "STRING", None),
        field("any", "OBJECT", None),
        field("number", "NUMBER", None),
        field("flag", "BOOLEAN", None),
        field("day", "DATE", None),
        field("at", "DATETIME", None),
        field("price", "MONEY", None),
        field("seller", "OBJECT", Some(seller)),
        field("offers", "ARRAY", Some(offers)),
        field("tags", "ARRAY", Some(Shape::Array(vec![text()]))),
    ])
    .unwrap()
}
