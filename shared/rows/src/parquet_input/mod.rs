//! Reads Parquet files row group by row group and writes the rows of their public columns as JSON. Columns and nested
//! members that are not public are left out when the reader is made: their pages are never fetched.
//!
//! What is held at once: a page or two of each public column, and one batch of rows.

mod ranges;
mod values;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, FieldRef, Schema, TimeUnit};
use bytes::Bytes;
use delivery::schema::{Column, is_private_name};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::ChunkReader;
use parquet::schema::types::SchemaDescriptor;

use self::ranges::Ranges;
use self::values::{Writer, writer};
use crate::blocks::{Block, BlockReader};
use crate::input::InputError;
use crate::reject::Reason;
use crate::texts::{Meaning, RowTexts, quoted, write_end, write_key};

/// One object that can be read anywhere.
pub trait SeekableObject: Send + Sync {
    /// The object's size.
    fn size_bytes(&self) -> u64;

    /// The bytes of a range within the object. Blocks until they are there.
    ///
    /// # Errors
    ///
    /// Whatever reading failed with; staging ends with it.
    fn read(&self, range: Range<u64>) -> io::Result<Bytes>;
}

/// The objects of an output, one after the other, each without gzip around it.
pub trait SeekableSource {
    /// The next object, or `None` behind the last.
    ///
    /// # Errors
    ///
    /// Whatever opening failed with; staging ends with it.
    fn next_object(&mut self) -> Result<Option<Box<dyn SeekableObject>>, InputError>;
}

/// Rows of a batch, if they are short.
const BATCH_ROWS_MAX: u64 = 2_048;
/// Decoded bytes that a batch aims at.
const BATCH_BYTES: u64 = 8 << 20;

/// The bytes that begin and end a Parquet file (parquet-format, "File Format").
const MAGIC: &[u8] = b"PAR1";
/// What is read first: the end of the file.
const TAIL_BYTES: u64 = 64 << 10;
/// The shortest Parquet file: both marks, the length of the footer and an empty footer.
const FILE_BYTES_MIN: u64 = 12;

const NOT_PARQUET: &str = "is not a Parquet file";
const BROKEN: &str = "is a Parquet file that cannot be read: broken, encrypted, or with a compression that is not \
                      known";

pub(crate) struct ParquetRows<'a> {
    source: &'a mut dyn SeekableSource,
    columns: &'a [Column],
    /// The columns by their names, each with its name as a JSON string and what its texts mean.
    members: BTreeMap<&'a str, (Vec<u8>, Meaning)>,
    row_bytes_max: usize,
    /// Objects so far.
    object: u64,
    /// Rows so far.
    rows: u64,
    opened: Option<Opened>,
}

/// The file that is being read.
struct Opened {
    ranges: Ranges,
    metadata: ArrowReaderMetadata,
    projection: ProjectionMask,
    row_groups: VecDeque<usize>,
    reader: Option<ParquetRecordBatchReader>,
    /// A batch, and how many of its rows are written.
    batch: Option<(RecordBatch, usize)>,
}

impl<'a> ParquetRows<'a> {
    pub(crate) fn new(source: &'a mut dyn SeekableSource, columns: &'a [Column], row_bytes_max: usize) -> Self {
        let members = columns
            .iter()
            .map(|column| (column.source.as_str(), (quoted(&column.source), Meaning::of(&column.column_type))))
            .collect();
        Self { source, columns, members, row_bytes_max, object: 0, rows: 0, opened: None }
    }

    /// Writes rows of the batch until the block is full. `None` if the batch is used up.
    fn write(&mut self, batch: &RecordBatch, mut row: usize, rows: &mut RowTexts) -> Option<usize> {
        let schema = batch.schema();
        let members: Vec<(&[u8], Writer<'_>)> = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .filter_map(|(field, array)| {
                let (key, meaning) = self.members.get(field.name().as_str())?;
                Some((key.as_slice(), writer(array.as_ref(), *meaning)))
            })
            .collect();
        while row < batch.num_rows() && !rows.is_full() {
            let mut written = 0;
            for (key, write) in &members {
                if let Some(write) = write.at(row) {
                    write_key(key, written == 0, rows.text());
                    write(row, rows.text());
                    written += 1;
                }
                if rows.row_bytes() > self.row_bytes_max {
                    break;
                }
            }
            write_end(written, rows.text());
            self.rows += 1;
            if rows.row_bytes() > self.row_bytes_max {
                rows.refuse_row(self.rows, Reason::TooLarge { limit_bytes: self.row_bytes_max });
            } else {
                rows.end_row(self.rows);
            }
            row += 1;
        }
        (row < batch.num_rows()).then_some(row)
    }

    fn open(&self, object: Box<dyn SeekableObject>) -> Result<Opened, InputError> {
        let size = object.size_bytes();
        let invalid = |fault: &'static str| InputError::invalid(self.object, fault);
        if size < FILE_BYTES_MIN {
            return Err(InputError::truncated(self.object, "before a Parquet file can"));
        }
        let ranges = Ranges::new(object);
        // One request for what is usually the whole footer.
        let tail = ranges.get_bytes(size - size.min(TAIL_BYTES), usize::try_from(size.min(TAIL_BYTES)).unwrap_or(0));
        if !tail.map_err(|_| self.fault(&ranges))?.ends_with(MAGIC) {
            let begin = ranges.get_bytes(0, MAGIC.len()).map_err(|_| self.fault(&ranges))?;
            return Err(if begin == MAGIC {
                InputError::truncated(self.object, "before its Parquet footer does")
            } else {
                invalid(NOT_PARQUET)
            });
        }
        let guarded = |load: &dyn Fn() -> Result<ArrowReaderMetadata, ParquetError>| {
            catch_unwind(AssertUnwindSafe(load)).ok().and_then(Result::ok).ok_or_else(|| self.fault(&ranges))
        };
        // What Arrow notes about its types, such as times in seconds, is followed, unless it is at odds with the file.
        let options = ArrowReaderOptions::new();
        let mut metadata = guarded(&|| {
            ArrowReaderMetadata::load(&ranges, options.clone())
                .or_else(|_| ArrowReaderMetadata::load(&ranges, options.clone().with_skip_arrow_metadata(true)))
        })?;
        let options = options.with_schema(Arc::new(wanted_schema(&metadata)));
        if let Ok(wanted) = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options) {
            metadata = wanted;
        }
        let parquet_schema = metadata.parquet_schema();
        let names: Vec<_> = parquet_schema.root_schema().get_fields().iter().map(|field| field.name()).collect();
        let mut found = 0;
        for column in self.columns {
            match names.iter().filter(|name| **name == column.source).count() {
                0 => {}
                1 => found += 1,
                _ => {
                    let fault = format!("has the column {} twice", column.name);
                    return Err(InputError::invalid(self.object, fault));
                }
            }
        }
        if found == 0 {
            return Err(invalid("has none of the public fields as a column"));
        }
        let leaves = public_leaves(parquet_schema, self.columns);
        ranges.share_among(leaves.len());
        let projection = ProjectionMask::leaves(parquet_schema, leaves);
        let row_groups = (0..metadata.metadata().num_row_groups()).collect();
        Ok(Opened { ranges, projection, metadata, row_groups, reader: None, batch: None })
    }

    /// The next batch of the opened file.
    fn read(&self, opened: &mut Opened) -> Result<Option<RecordBatch>, InputError> {
        loop {
            if let Some(reader) = &mut opened.reader {
                // Broken pages make the reader return an error, or panic in some of its corners.
                match catch_unwind(AssertUnwindSafe(|| reader.next())) {
                    Ok(Some(Ok(batch))) => return Ok(Some(batch)),
                    Ok(None) => opened.reader = None,
                    Ok(Some(Err(_))) | Err(_) => return Err(self.fault(&opened.ranges)),
                }
            }
            let Some(row_group) = opened.row_groups.pop_front() else { return Ok(None) };
            let rows = batch_rows(opened.metadata.metadata().row_group(row_group), &opened.projection);
            let build = || {
                ParquetRecordBatchReaderBuilder::new_with_metadata(opened.ranges.clone(), opened.metadata.clone())
                    .with_projection(opened.projection.clone())
                    .with_row_groups(vec![row_group])
                    .with_batch_size(rows)
                    .build()
            };
            let built = catch_unwind(AssertUnwindSafe(build)).ok().and_then(Result::ok);
            opened.reader = Some(built.ok_or_else(|| self.fault(&opened.ranges))?);
        }
    }

    /// Why the file cannot be read. The reader's own error may hold names of private columns, and is left out.
    fn fault(&self, ranges: &Ranges) -> InputError {
        ranges.failure(self.object).unwrap_or_else(|| InputError::invalid(self.object, BROKEN))
    }
}

impl BlockReader for ParquetRows<'_> {
    fn next(&mut self) -> Result<Option<Block>, InputError> {
        let mut rows = RowTexts::default();
        while !rows.is_full() {
            let Some(mut opened) = self.opened.take() else {
                self.object += 1;
                match self.source.next_object()? {
                    Some(object) => self.opened = Some(self.open(object)?),
                    None => break,
                }
                continue;
            };
            if opened.batch.is_none() {
                match self.read(&mut opened)? {
                    Some(batch) => opened.batch = Some((batch, 0)),
                    // The file is read.
                    None => continue,
                }
            }
            if let Some((batch, row)) = opened.batch.take()
                && let Some(row) = self.write(&batch, row, &mut rows)
            {
                opened.batch = Some((batch, row));
            }
            self.opened = Some(opened);
        }
        Ok(rows.into())
    }
}

/// The leaves of the public columns, without nested members that are private.
fn public_leaves(schema: &SchemaDescriptor, columns: &[Column]) -> Vec<usize> {
    let leaves = schema.columns().iter().enumerate().filter(|(_, leaf)| {
        let parts = leaf.path().parts();
        let declared = parts.first().is_some_and(|root| columns.iter().any(|column| column.source == *root));
        declared && !parts.iter().any(|part| is_private_name(part))
    });
    leaves.map(|(index, _)| index).collect()
}

/// The file's schema in the types that it is best read in: texts as views, because a text that a page's dictionary has
/// once would be copied for every row otherwise; and INT96 times, as old writers make them, in microseconds, because in
/// nanoseconds they would be cut to the years 1677 to 2262 without a word.
fn wanted_schema(metadata: &ArrowReaderMetadata) -> Schema {
    let roots = metadata.parquet_schema().root_schema().get_fields();
    let fields = metadata.schema().fields().iter().zip(roots).map(|(field, root)| {
        let legacy_time = root.is_primitive() && root.get_physical_type() == Type::INT96;
        let wanted =
            if legacy_time { DataType::Timestamp(TimeUnit::Microsecond, None) } else { wanted_type(field.data_type()) };
        field.as_ref().clone().with_data_type(wanted)
    });
    Schema::new(fields.collect::<Vec<_>>())
}

fn wanted_type(data_type: &DataType) -> DataType {
    let wanted = |field: &FieldRef| {
        let data_type = wanted_type(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other type is read as it is")]
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(wanted).collect()),
        DataType::List(element) => DataType::List(wanted(element)),
        DataType::LargeList(element) => DataType::LargeList(wanted(element)),
        other => other.clone(),
    }
}

/// How many rows of a row group are decoded at once.
fn batch_rows(group: &RowGroupMetaData, projection: &ProjectionMask) -> usize {
    let columns = group.columns().iter().enumerate().filter(|(leaf, _)| projection.leaf_included(*leaf));
    let bytes: u64 = columns
        .map(|(_, column)| {
            let encoded = u64::try_from(column.uncompressed_size()).unwrap_or(0);
            // Texts of a dictionary are written once and decoded often.
            let texts = column.unencoded_byte_array_data_bytes().and_then(|bytes| u64::try_from(bytes).ok());
            encoded.max(texts.unwrap_or(0))
        })
        .sum();
    let rows = u64::try_from(group.num_rows()).unwrap_or(0);
    let row_bytes = bytes.checked_div(rows).unwrap_or(0).max(1);
    usize::try_from((BATCH_BYTES / row_bytes).clamp(1, BATCH_ROWS_MAX)).unwrap_or(1)
}
