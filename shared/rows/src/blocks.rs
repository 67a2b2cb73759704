//! Cuts the bytes of JSON lines into blocks of whole lines. Copies only the lines that lie across two chunks.
//!
//! Knows line ends, object borders and the row limit. Does not know JSON.

use std::mem;

use bytes::Bytes;

use crate::input::{BYTE_ORDER_MARK, Chunk, InputError, Objects};
use crate::texts::RowTexts;

/// Cuts a run's output into blocks of whole rows.
pub(crate) trait BlockReader {
    /// The next block, or `None` at the end. Blocks are never empty.
    fn next(&mut self) -> Result<Option<Block>, InputError>;
}

/// Consecutive bytes of a block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Whole lines, each with its line feed.
    Lines(Bytes),
    /// An object's last line, without a line feed.
    Unterminated(Bytes),
    /// A line over the row limit, which was not kept.
    TooLarge,
    /// Rows of another format than JSON lines.
    Rows(RowTexts),
}

/// Consecutive rows of the output.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) pieces: Vec<Piece>,
    bytes: usize,
}

/// How many bytes make a block.
const BLOCK_BYTES: usize = 1 << 20;

pub(crate) struct Blocks<'a> {
    source: Objects<'a>,
    row_bytes_max: usize,
    /// What is left of the last chunk.
    rest: Bytes,
    /// The beginning of a line that the next chunk goes on with.
    carry: Vec<u8>,
    /// The line at the reader's place is over the limit: its bytes are dropped up to the line feed.
    skipping: bool,
    at_object_start: bool,
    done: bool,
}

impl<'a> Blocks<'a> {
    pub(crate) fn new(source: Objects<'a>, row_bytes_max: usize) -> Self {
        Self {
            source,
            row_bytes_max,
            rest: Bytes::new(),
            carry: Vec::new(),
            skipping: false,
            at_object_start: true,
            done: false,
        }
    }

    /// Moves lines of the last chunk into the block.
    fn split(&mut self, block: &mut Block) {
        if self.skipping || !self.carry.is_empty() {
            let (line_rest, ended) = match memchr::memchr(b'\n', &self.rest) {
                Some(at) => (self.rest.split_to(at + 1), true),
                None => (mem::take(&mut self.rest), false),
            };
            if !self.skipping {
                self.carry.extend_from_slice(&line_rest);
                self.skipping = self.carry.len() > self.row_bytes_max + usize::from(ended);
            }
            if self.skipping {
                self.carry = Vec::new();
            }
            if ended {
                if mem::take(&mut self.skipping) {
                    self.push(block, Piece::TooLarge, 1);
                } else {
                    let line = mem::take(&mut self.carry);
                    self.push_lines(block, line.into());
                }
            }
            return;
        }
        // The block ends with the last line that fits, or with the first one if that is longer.
        let room = (BLOCK_BYTES - block.bytes.min(BLOCK_BYTES)).min(self.rest.len());
        let (within, beyond) = self.rest.split_at_checked(room).unwrap_or((&[], &self.rest));
        let end = memchr::memrchr(b'\n', within).or_else(|| memchr::memchr(b'\n', beyond).map(|at| room + at));
        match end {
            Some(at) => {
                let lines = self.rest.split_to(at + 1);
                self.push_lines(block, lines);
            }
            None => {
                self.carry = self.rest.to_vec();
                self.rest = Bytes::new();
                self.skipping = self.carry.len() > self.row_bytes_max;
                if self.skipping {
                    self.carry = Vec::new();
                }
            }
        }
    }

    fn push_lines(&mut self, block: &mut Block, lines: Bytes) {
        let lines = self.without_mark(lines);
        let bytes = lines.len();
        self.push(block, Piece::Lines(lines), bytes);
    }

    fn push(&mut self, block: &mut Block, piece: Piece, bytes: usize) {
        self.at_object_start = false;
        block.pieces.push(piece);
        block.bytes += bytes;
    }

    fn without_mark(&self, mut bytes: Bytes) -> Bytes {
        if self.at_object_start && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.split_off(BYTE_ORDER_MARK.len())
        } else {
            bytes
        }
    }

    fn end_object(&mut self, block: &mut Block) {
        if mem::take(&mut self.skipping) {
            self.push(block, Piece::TooLarge, 1);
        } else if !self.carry.is_empty() {
            let line = Bytes::from(mem::take(&mut self.carry));
            let line = self.without_mark(line);
            let bytes = line.len();
            self.push(block, Piece::Unterminated(line), bytes);
        }
        self.at_object_start = true;
    }
}

impl BlockReader for Blocks<'_> {
    fn next(&mut self) -> Result<Option<Block>, InputError> {
        let mut block = Block::default();
        while block.bytes < BLOCK_BYTES && !self.done {
            if self.rest.is_empty() {
                match self.source.next()? {
                    Some(Chunk::Bytes(bytes)) => self.rest = bytes,
                    Some(Chunk::ObjectEnd) => self.end_object(&mut block),
                    None => {
                        self.end_object(&mut block);
                        self.done = true;
                    }
                }
            } else {
                self.split(&mut block);
            }
        }
        Ok((!block.pieces.is_empty()).then_some(block))
    }
}

impl From<RowTexts> for Option<Block> {
    fn from(rows: RowTexts) -> Self {
        (!rows.is_empty()).then(|| Block { pieces: vec![Piece::Rows(rows)], bytes: 0 })
    }
}
