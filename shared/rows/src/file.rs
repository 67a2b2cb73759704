//! One staged Parquet file: batches in, parts out, statistics at the end.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use bytes::Bytes;
use delivery::schema::Column;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::statistics::statistics;

/// Takes the bytes of one staged file. Dropping it without [`FileSink::finish`] gives the file up.
pub trait FileSink: Send {
    /// Takes the next bytes: parts of 8 MiB, the last one shorter. Blocks until they are taken.
    ///
    /// # Errors
    ///
    /// Whatever writing failed with; staging ends with it.
    fn write(&mut self, part: Bytes) -> io::Result<()>;

    /// Closes the file. Only now it has to exist.
    ///
    /// # Errors
    ///
    /// Whatever closing failed with; staging ends with it.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// How much of a file is handed on at once.
const PART_BYTES: usize = 8 << 20;

/// A file's size and what the manifest says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedPart {
    /// The file's index, as it was given to the factory.
    pub index: usize,
    /// The file's size.
    pub size_bytes: u64,
    /// Rows in the file.
    pub rows: u64,
    /// Statistics as the JSON text of a Delta `add` action (PROTOCOL.md, "Per-file Statistics").
    pub statistics: String,
}

struct Parts {
    /// Taken when the file is closed.
    sink: Option<Box<dyn FileSink>>,
    buffer: Vec<u8>,
    written_bytes: u64,
}

impl Parts {
    fn hand_on(&mut self) -> io::Result<()> {
        let part = std::mem::replace(&mut self.buffer, Vec::with_capacity(PART_BYTES));
        self.sink.as_mut().map_or(Ok(()), |sink| sink.write(part.into()))
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PART_BYTES - self.buffer.len().min(PART_BYTES));
        self.buffer.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        self.written_bytes += taken as u64;
        if self.buffer.len() >= PART_BYTES {
            self.hand_on()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How a file is cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowGroups {
    pub(crate) rows_max: usize,
    pub(crate) bytes_max: usize,
}

/// A file whose bytes are all with its sink.
pub(crate) struct ClosedFile {
    pub(crate) part: StagedPart,
    pub(crate) sink: Option<Box<dyn FileSink>>,
}

pub(crate) struct ParquetFile {
    index: usize,
    writer: ArrowWriter<Parts>,
    schema: SchemaRef,
    array_nulls: BTreeMap<usize, u64>,
}

impl ParquetFile {
    pub(crate) fn new(
        index: usize,
        sink: Box<dyn FileSink>,
        schema: SchemaRef,
        groups: RowGroups,
    ) -> Result<Self, ParquetError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(Default::default()))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_max_row_group_row_count(Some(groups.rows_max))
            .set_max_row_group_bytes(Some(groups.bytes_max))
            .build();
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let parts = Parts { sink: Some(sink), buffer: Vec::new(), written_bytes: 0 };
        let writer = ArrowWriter::try_new_with_options(parts, Arc::clone(&schema), options)?;
        Ok(Self { index, writer, schema, array_nulls: BTreeMap::new() })
    }

    /// Bytes written so far.
    pub(crate) fn bytes(&self) -> usize {
        self.writer.bytes_written()
    }

    pub(crate) fn write(&mut self, arrays: Vec<ArrayRef>) -> Result<(), ParquetError> {
        let mut leaf = 0;
        for array in &arrays {
            count_array_nulls(array, &mut leaf, &mut self.array_nulls);
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays)?;
        self.writer.write(&batch)
    }

    /// Writes what is left. The sink is finished later, when the whole run is staged.
    pub(crate) fn close(mut self, columns: &[Column]) -> Result<ClosedFile, ParquetError> {
        let metadata = self.writer.finish()?;
        let nulls = |leaf: usize| self.array_nulls.get(&leaf).copied().unwrap_or(0);
        let statistics = statistics(columns, &metadata, nulls);
        let parts = self.writer.inner_mut();
        parts.hand_on()?;
        let size_bytes = parts.written_bytes;
        let sink = parts.sink.take();
        let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
        let part = StagedPart { index: self.index, size_bytes, rows, statistics };
        Ok(ClosedFile { part, sink })
    }
}

/// Counts null arrays by their first leaf: Parquet's null count of a leaf also has its null elements.
fn count_array_nulls(array: &ArrayRef, leaf: &mut usize, counts: &mut BTreeMap<usize, u64>) {
    match array.data_type() {
        DataType::Struct(_) => {
            for member in array.as_struct().columns() {
                count_array_nulls(member, leaf, counts);
            }
        }
        DataType::List(element) => {
            *counts.entry(*leaf).or_default() += array.null_count() as u64;
            *leaf += leaves(element.data_type());
        }
        _ => *leaf += 1,
    }
}

fn leaves(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(fields) => fields.iter().map(|field| leaves(field.data_type())).sum(),
        DataType::List(element) => leaves(element.data_type()),
        _ => 1,
    }
}
