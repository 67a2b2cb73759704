//! One staged Parquet file: batches in, parts out, statistics at the end.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use delivery::schema;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescriptor;

use crate::chunk::{Chunk, Scratch};
use crate::column::{self, Column};
use crate::levels::Entries;
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
    writer: SerializedFileWriter<Parts>,
    groups: RowGroups,
    chunks: Vec<Chunk>,
    /// Rows of the row group in `chunks`.
    rows: usize,
    array_nulls: BTreeMap<usize, u64>,
}

impl ParquetFile {
    pub(crate) fn new(
        index: usize,
        sink: Box<dyn FileSink>,
        schema: &SchemaDescriptor,
        groups: RowGroups,
    ) -> Result<Self, ParquetError> {
        let parts = Parts { sink: Some(sink), buffer: Vec::new(), written_bytes: 0 };
        let properties = WriterProperties::builder().build();
        let writer = SerializedFileWriter::new(parts, schema.root_schema_ptr(), Arc::new(properties))?;
        let chunks = new_chunks(schema);
        Ok(Self { index, writer, groups, chunks, rows: 0, array_nulls: BTreeMap::new() })
    }

    /// Bytes of the finished row groups.
    pub(crate) fn bytes(&self) -> usize {
        self.writer.bytes_written()
    }

    /// Encodes a batch of `rows` rows, a page for each leaf.
    pub(crate) fn write<'a>(
        &mut self,
        columns: impl Iterator<Item = &'a Column>,
        rows: usize,
        scratch: &mut Scratch,
    ) -> Result<(), ParquetError> {
        if self.rows + rows > self.groups.rows_max {
            self.end_row_group(scratch)?;
        }
        let entries = Entries::of_rows(rows);
        let mut pages = Pages { chunks: &mut self.chunks, leaf: 0, array_nulls: &mut self.array_nulls, scratch };
        for column in columns {
            pages.column(column, &entries)?;
        }
        self.rows += rows;
        if self.chunks.iter().map(Chunk::bytes).sum::<usize>() >= self.groups.bytes_max {
            self.end_row_group(scratch)?;
        }
        Ok(())
    }

    fn end_row_group(&mut self, scratch: &mut Scratch) -> Result<(), ParquetError> {
        let rows = std::mem::take(&mut self.rows);
        if rows == 0 {
            return Ok(());
        }
        let fresh = new_chunks(self.writer.schema_descr());
        let mut group = self.writer.next_row_group()?;
        for chunk in std::mem::replace(&mut self.chunks, fresh) {
            let (bytes, close) = chunk.close(rows, scratch)?;
            group.append_column(&bytes, close)?;
        }
        group.close()?;
        Ok(())
    }

    /// Writes what is left. The sink is finished later, when the whole run is staged.
    pub(crate) fn close(
        mut self,
        columns: &[schema::Column],
        scratch: &mut Scratch,
    ) -> Result<ClosedFile, ParquetError> {
        self.end_row_group(scratch)?;
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

fn new_chunks(schema: &SchemaDescriptor) -> Vec<Chunk> {
    schema.columns().iter().map(|descriptor| Chunk::new(Arc::clone(descriptor))).collect()
}

/// The walk over the columns of a batch, leaf by leaf.
struct Pages<'a> {
    chunks: &'a mut [Chunk],
    leaf: usize,
    /// Null arrays by their first leaf: Parquet's null count of a leaf also has null elements.
    array_nulls: &'a mut BTreeMap<usize, u64>,
    scratch: &'a mut Scratch,
}

impl Pages<'_> {
    fn column(&mut self, column: &Column, entries: &Entries) -> Result<(), ParquetError> {
        match column.parts() {
            column::Parts::Struct { members, valid } => {
                let entries = entries.members(valid);
                for member in members {
                    self.column(&member.column, &entries)?;
                }
            }
            column::Parts::Array { element, offsets, valid } => {
                // An array inside of an array may have the same first leaf; its nulls are elements of the outer one.
                if !entries.are_elements() {
                    let nulls = valid.iter().filter(|valid| !**valid).count() as u64;
                    *self.array_nulls.entry(self.leaf).or_default() += nulls;
                }
                self.column(element, &entries.elements(valid, offsets))?;
            }
            column::Parts::Leaf { values, valid } => {
                self.scratch.levels.clear();
                let sizes = entries.write(valid, &mut self.scratch.numbers, &mut self.scratch.levels);
                if let Some(chunk) = self.chunks.get_mut(self.leaf) {
                    chunk.page(sizes, values, valid, self.scratch)?;
                }
                self.leaf += 1;
            }
        }
        Ok(())
    }
}
