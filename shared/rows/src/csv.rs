//! Reads comma-separated values (RFC 4180) record by record and writes the cells of public columns as rows of JSON.
//! Knows headers, quotes and lines. Cells of other columns are passed over: nothing is kept of them.

use std::mem;

use bytes::{Buf, Bytes};
use csv_core::{ReadFieldResult, Reader};
use delivery::schema::{Column, is_private_name};

use crate::blocks::{Block, BlockReader};
use crate::input::{BYTE_ORDER_MARK, Chunk, InputError, Objects};
use crate::reject::Reason;
use crate::texts::{Meaning, RowTexts, quoted, write_cell, write_end, write_key};

/// The most cells of a header.
const HEADER_CELLS_MAX: usize = 16_384;

/// How much of a cell is decoded at once.
const PIECE_BYTES: usize = 4 << 10;

pub(crate) struct CsvRows<'a> {
    source: Objects<'a>,
    columns: &'a [Column],
    /// The columns' names as JSON strings, and what their cells mean.
    members: Vec<(Vec<u8>, Meaning)>,
    row_bytes_max: usize,
    reader: Reader,
    rest: Bytes,
    piece: Box<[u8; PIECE_BYTES]>,
    /// The column of each cell, once the object's header is read.
    header: Option<Vec<Option<usize>>>,
    /// The header so far.
    names: Vec<Option<usize>>,
    at_object_start: bool,
    record: Record,
    done: bool,
}

/// The record at the reader's place.
#[derive(Debug, Default)]
struct Record {
    begun: bool,
    /// The line on which it begins.
    line: u64,
    bytes: usize,
    /// Its cells so far.
    cells: u64,
    /// Its cells that were written.
    members: usize,
    /// The cell at the reader's place, if its column is public.
    cell: Vec<u8>,
}

impl<'a> CsvRows<'a> {
    pub(crate) fn new(source: Objects<'a>, columns: &'a [Column], row_bytes_max: usize) -> Self {
        let members = columns.iter().map(|column| (quoted(&column.source), Meaning::of(&column.column_type)));
        Self {
            source,
            columns,
            members: members.collect(),
            row_bytes_max,
            reader: Reader::new(),
            rest: Bytes::new(),
            piece: Box::new([0; PIECE_BYTES]),
            header: None,
            names: Vec::new(),
            at_object_start: true,
            record: Record::default(),
            done: false,
        }
    }

    /// Reads on in the last chunk: to its end, or until the block is full.
    fn records(&mut self, rows: &mut RowTexts) -> Result<(), InputError> {
        let bytes = mem::take(&mut self.rest);
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if self.record.begun {
                let (result, read) = self.read(rest);
                at += read;
                self.record.bytes += read;
                self.end_field(&result, rows)?;
                continue;
            }
            // A record is never cut: the block ends between two records.
            if rows.is_full() {
                break;
            }
            // Line ends before a record are passed over here, so that its line is known.
            let ends = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let feeds = memchr::memchr_iter(b'\n', rest.get(..ends).unwrap_or_default()).count();
            self.reader.set_line(self.reader.line() + feeds as u64);
            at += ends;
            if at < bytes.len() {
                self.begin_record();
            }
        }
        self.rest = bytes.slice(at.min(bytes.len())..);
        Ok(())
    }

    /// Decodes more of a cell, and keeps it if its column is public.
    fn read(&mut self, input: &[u8]) -> (ReadFieldResult, usize) {
        let (result, read, written) = self.reader.read_field(input, self.piece.as_mut_slice());
        let kept = match &self.header {
            // What is longer than every column's name is none of them.
            None => self.record.cell.len() <= self.row_bytes_max,
            Some(_) => self.record.bytes <= self.row_bytes_max && self.column().is_some(),
        };
        if kept {
            self.record.cell.extend_from_slice(self.piece.get(..written).unwrap_or_default());
        }
        (result, read)
    }

    /// The column of the cell at the reader's place.
    fn column(&self) -> Option<usize> {
        let cell = usize::try_from(self.record.cells).ok()?;
        *self.header.as_ref()?.get(cell)?
    }

    fn begin_record(&mut self) {
        let cell = mem::take(&mut self.record.cell);
        self.record = Record { begun: true, line: self.reader.line(), cell, ..Record::default() };
        self.record.cell.clear();
    }

    fn end_field(&mut self, result: &ReadFieldResult, rows: &mut RowTexts) -> Result<(), InputError> {
        let ReadFieldResult::Field { record_end } = *result else { return Ok(()) };
        if self.header.is_none() {
            self.end_name(record_end)?;
        } else {
            self.end_cell(rows);
            if record_end {
                self.end_row(rows);
            }
        }
        self.record.cell.clear();
        self.record.cells += 1;
        self.record.begun = !record_end;
        Ok(())
    }

    /// Takes a cell of the header.
    fn end_name(&mut self, record_end: bool) -> Result<(), InputError> {
        let object = self.source.object();
        let name = self.record.cell.as_slice();
        let column =
            self.columns.iter().position(|column| column.source.as_bytes() == name && !is_private_name(&column.source));
        if let Some(column) = column
            && self.names.contains(&Some(column))
        {
            let name = self.columns.get(column).map_or("", |column| column.name.as_str());
            return Err(InputError::invalid(object, format!("names the column {name} twice in its header")));
        }
        if self.names.len() >= HEADER_CELLS_MAX || self.record.bytes > self.row_bytes_max {
            return Err(InputError::invalid(object, "has a header that is too long"));
        }
        self.names.push(column);
        if record_end {
            let names = mem::take(&mut self.names);
            if names.iter().all(Option::is_none) {
                return Err(InputError::invalid(object, "has a header that names none of the public fields"));
            }
            self.header = Some(names);
        }
        Ok(())
    }

    /// Writes a cell if it is public and not null.
    fn end_cell(&mut self, rows: &mut RowTexts) {
        let Some((key, meaning)) = self.column().and_then(|index| self.members.get(index)) else { return };
        let null = self.record.cell.is_empty() && meaning.empty_is_null();
        if null || self.record.bytes > self.row_bytes_max {
            return;
        }
        write_key(key, self.record.members == 0, rows.text());
        write_cell(*meaning, &self.record.cell, rows.text());
        self.record.members += 1;
    }

    fn end_row(&mut self, rows: &mut RowTexts) {
        let found = self.record.cells + 1;
        let expected = self.header.as_ref().map_or(0, |header| header.len() as u64);
        if self.record.bytes > self.row_bytes_max {
            rows.refuse_row(self.record.line, Reason::TooLarge { limit_bytes: self.row_bytes_max });
        } else if found != expected {
            rows.refuse_row(self.record.line, Reason::Cells { found, expected });
        } else {
            write_end(self.record.members, rows.text());
            rows.end_row(self.record.line);
        }
    }

    /// Takes a chunk, without the byte order mark at the beginning of an object.
    fn take(&mut self, bytes: Bytes) {
        if !self.at_object_start {
            self.rest = bytes;
            return;
        }
        self.rest = if self.rest.is_empty() { bytes } else { [&self.rest[..], &bytes[..]].concat().into() };
        let waits = self.rest.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(&self.rest);
        if !waits {
            self.begin_object();
        }
    }

    fn begin_object(&mut self) {
        self.at_object_start = false;
        if self.rest.starts_with(BYTE_ORDER_MARK) {
            self.rest.advance(BYTE_ORDER_MARK.len());
        }
    }

    /// Ends an object's last record, which may have no line end.
    fn end_object(&mut self, rows: &mut RowTexts) -> Result<(), InputError> {
        if self.record.begun {
            // A line feed ends every record but one with an open quote.
            let (result, _) = self.read(b"\n");
            if !matches!(result, ReadFieldResult::Field { record_end: true }) {
                let place = format!("within the quotes of a cell in the record of line {}", self.record.line);
                return Err(InputError::truncated(self.source.object(), place));
            }
            self.end_field(&result, rows)?;
        }
        // The lines are counted on over the objects.
        let line = self.reader.line();
        self.header = None;
        self.names.clear();
        self.record.begun = false;
        self.reader.reset();
        self.reader.set_line(line);
        self.at_object_start = true;
        Ok(())
    }
}

impl BlockReader for CsvRows<'_> {
    fn next(&mut self) -> Result<Option<Block>, InputError> {
        let mut rows = RowTexts::default();
        while !self.done && (self.record.begun || !rows.is_full()) {
            if !self.rest.is_empty() && !self.at_object_start {
                self.records(&mut rows)?;
                continue;
            }
            match self.source.next()? {
                Some(Chunk::Bytes(bytes)) => self.take(bytes),
                end => {
                    // Two bytes that waited for the rest of a byte order mark may be left.
                    self.begin_object();
                    self.records(&mut rows)?;
                    self.end_object(&mut rows)?;
                    self.done = end.is_none();
                }
            }
        }
        Ok(rows.into())
    }
}
