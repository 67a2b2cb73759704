//! One lane of staging: blocks in, rows parsed and cast, one Parquet file out (the next one when it is full).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};

use delivery::schema::PublicSchema;
use parquet::schema::types::SchemaDescriptor;

use crate::blocks::{Block, Piece};
use crate::chunk::Scratch;
use crate::column::{Column, Repeat};
use crate::file::{ClosedFile, ParquetFile, RowGroups};
use crate::reject::{Reason, Rejected};
use crate::row::{RowFault, Rows};
use crate::scan::Fault;
use crate::stage::{FileFactory, Limits, RunColumns, StageError};

/// What the lanes share.
pub(crate) struct Common<'a> {
    pub(crate) schema: &'a PublicSchema,
    pub(crate) parquet_schema: SchemaDescriptor,
    pub(crate) run: RunColumns<'a>,
    pub(crate) limits: &'a Limits,
    pub(crate) files: &'a dyn FileFactory,
    /// Set when staging has failed: nothing is finished any more.
    pub(crate) stopped: AtomicBool,
    /// Blocks with at least this number need no longer keep their rejections: the rejects file is full before them.
    pub(crate) rejects_full_at: AtomicU64,
}

/// What a lane says about a block.
#[derive(Debug)]
pub(crate) struct BlockReport {
    pub(crate) number: u64,
    /// Lines of the block. Rows of other formats bring their places with them and count as none.
    pub(crate) lines: u64,
    pub(crate) rejected: u64,
    /// The first rejections, as many as the rejects file takes.
    pub(crate) rejections: Vec<Rejected>,
    /// The line in which the object ends in the middle of a row.
    pub(crate) truncated: Option<u64>,
}

pub(crate) struct Lane<'a> {
    common: &'a Common<'a>,
    rows: Rows,
    run_id: Repeat<'a>,
    finished_at: Repeat<'a>,
    scratch: Scratch,
    file: Option<ParquetFile>,
    done: Vec<ClosedFile>,
    /// The index of the next file.
    next_index: usize,
}

impl<'a> Lane<'a> {
    pub(crate) fn new(common: &'a Common<'a>, index: usize) -> Result<Self, StageError> {
        Ok(Self {
            common,
            rows: Rows::new(common.schema.columns()),
            run_id: Column::repeat_text(common.run.run_id),
            finished_at: Column::repeat_micros(common.run.finished_at.micros()),
            scratch: Scratch::new()?,
            file: None,
            done: Vec::new(),
            next_index: index,
        })
    }

    /// Works until there are no more blocks, and returns the files.
    pub(crate) fn run(
        mut self,
        blocks: &Receiver<(u64, Block)>,
        reports: &Sender<BlockReport>,
    ) -> Result<Vec<ClosedFile>, StageError> {
        while let Ok((number, block)) = blocks.recv() {
            if self.common.stopped.load(Ordering::Relaxed) {
                return Ok(Vec::new());
            }
            let report = self.block(number, &block)?;
            drop(block);
            if reports.send(report).is_err() {
                break;
            }
        }
        if self.common.stopped.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        self.write_batch()?;
        self.close_file()?;
        Ok(self.done)
    }

    fn block(&mut self, number: u64, block: &Block) -> Result<BlockReport, StageError> {
        let keep_rejections = number < self.common.rejects_full_at.load(Ordering::Relaxed);
        let mut report = BlockReport { number, lines: 0, rejected: 0, rejections: Vec::new(), truncated: None };
        let limits = self.common.limits;
        let reject = |report: &mut BlockReport, line, reason| {
            report.rejected += 1;
            let full = report.rejections.len() as u64 >= limits.rejects_written_max.max(1);
            if keep_rejections && !full {
                report.rejections.push(Rejected { line, reason });
            }
        };
        let too_large = Reason::TooLarge { limit_bytes: limits.row_bytes_max };
        for piece in &block.pieces {
            match piece {
                Piece::TooLarge => {
                    report.lines += 1;
                    let line = report.lines;
                    reject(&mut report, line, too_large);
                }
                Piece::Lines(bytes) => {
                    let mut rest: &[u8] = bytes;
                    while let Some(at) = memchr::memchr(b'\n', rest) {
                        let (line, after) = rest.split_at_checked(at).unwrap_or_default();
                        rest = after.get(1..).unwrap_or_default();
                        report.lines += 1;
                        let number = report.lines;
                        if line.len() > limits.row_bytes_max {
                            reject(&mut report, number, too_large);
                        } else if let Err(fault) = self.line(line)? {
                            reject(&mut report, number, Reason::Row(fault));
                        }
                    }
                }
                Piece::Rows(rows) => {
                    for (place, row) in rows.iter() {
                        let reason = match row {
                            Ok(text) => match self.row(text)? {
                                Ok(()) => continue,
                                Err(fault) => Reason::Row(fault),
                            },
                            Err(reason) => reason,
                        };
                        reject(&mut report, place, reason);
                    }
                }
                Piece::Unterminated(line) => {
                    report.lines += 1;
                    let number = report.lines;
                    match self.line(line)? {
                        Ok(()) => {}
                        Err(RowFault::Json(Fault::End)) => report.truncated = Some(number),
                        Err(fault) => reject(&mut report, number, Reason::Row(fault)),
                    }
                }
            }
        }
        Ok(report)
    }

    /// Appends a line, if it is not blank.
    #[inline]
    fn line(&mut self, line: &[u8]) -> Result<Result<(), RowFault>, StageError> {
        if line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
            return Ok(Ok(()));
        }
        self.row(line)
    }

    /// Appends a row, and writes a batch when there is enough.
    #[inline]
    fn row(&mut self, text: &[u8]) -> Result<Result<(), RowFault>, StageError> {
        if let Err(fault) = self.rows.append(text) {
            return Ok(Err(fault));
        }
        if self.rows.len() >= BATCH_ROWS.min(self.common.limits.row_group_rows_max)
            || self.rows.line_bytes() >= BATCH_BYTES
        {
            self.write_batch()?;
        }
        Ok(Ok(()))
    }

    fn write_batch(&mut self) -> Result<(), StageError> {
        let rows = self.rows.len();
        if rows == 0 {
            return Ok(());
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open_file()?,
        };
        let run_columns = [self.run_id.rows(rows), self.finished_at.rows(rows)];
        let columns = self.rows.members().iter().map(|member| &member.column).chain(run_columns);
        file.write(columns, rows, &mut self.scratch)?;
        self.rows.clear();
        let full = file.bytes() as u64 >= self.common.limits.file_bytes_max;
        self.file = Some(file);
        if full { self.close_file() } else { Ok(()) }
    }

    fn open_file(&mut self) -> Result<ParquetFile, StageError> {
        let index = self.next_index;
        self.next_index += self.common.limits.lanes.get();
        let sink = self.common.files.create(index).map_err(StageError::Write)?;
        let limits = self.common.limits;
        let groups = RowGroups { rows_max: limits.row_group_rows_max, bytes_max: limits.row_group_bytes_max };
        Ok(ParquetFile::new(index, sink, &self.common.parquet_schema, groups)?)
    }

    fn close_file(&mut self) -> Result<(), StageError> {
        if let Some(file) = self.file.take() {
            self.done.push(file.close(self.common.schema.columns(), &mut self.scratch)?);
        }
        Ok(())
    }
}

/// When a batch is encoded, a page for each leaf: large enough to compress, small enough for the processor's cache.
const BATCH_ROWS: usize = 16_384;
/// Bytes of the batch's lines.
const BATCH_BYTES: usize = 6 << 20;
