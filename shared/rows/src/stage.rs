//! Staging: a run's output in, Parquet files and a list of rejections out. Splits the work over lanes, puts their
//! reports back into line order, and ends everything at the first failure.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use arrow_schema::{DataType, Field, Schema, TimeUnit};
use delivery::failure::FailureCode;
use delivery::schema::{PublicSchema, RUN_COLUMNS};
use delivery::staged::Rejection;
use delivery::timestamp::Timestamp;
use parquet::arrow::ArrowSchemaConverter;
use parquet::errors::ParquetError;

use crate::blocks::{Block, BlockReader, Blocks};
use crate::csv::CsvRows;
use crate::file::{ClosedFile, FileSink, StagedPart};
use crate::input::{BlockSource, InputError, Objects};
use crate::json::JsonRows;
use crate::lane::{BlockReport, Common, Lane};
use crate::parquet_input::{ParquetRows, SeekableSource};
use crate::reject::write_line;
use crate::row::Rows;

/// A run's output and its format. `line` in rejections is the line on which the row begins, counted on over the
/// objects, for [`Input::JsonLines`] and [`Input::Csv`], and the row's number from 1 for the others.
pub enum Input<'a> {
    /// One JSON object a line, each object plain or gzip. Lines of white space are no rows.
    JsonLines(&'a mut dyn BlockSource),
    /// An array of JSON objects, or an object with such an array as its member `data`; each object plain or gzip.
    Json(&'a mut dyn BlockSource),
    /// Comma-separated values (RFC 4180) whose first record names the columns, each object plain or gzip. Empty cells
    /// are null but in string columns, and cells of money, structs, arrays and JSON columns are JSON texts.
    Csv(&'a mut dyn BlockSource),
    /// Parquet files, of which the public columns are read.
    Parquet(&'a mut dyn SeekableSource),
}

impl std::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::JsonLines(_) => "JsonLines",
            Self::Json(_) => "Json",
            Self::Csv(_) => "Csv",
            Self::Parquet(_) => "Parquet",
        })
    }
}

/// Makes staged files.
pub trait FileFactory: Sync {
    /// Opens the staged file with this index. Called from several threads; every index at most once, some never.
    ///
    /// # Errors
    ///
    /// Whatever opening failed with; staging ends with it.
    fn create(&self, index: usize) -> io::Result<Box<dyn FileSink>>;
}

/// The values of the two run columns, the same in every row.
#[derive(Debug, Clone, Copy)]
pub struct RunColumns<'a> {
    /// `run_id`.
    pub run_id: &'a str,
    /// `run_finished_at`.
    pub finished_at: Timestamp,
}

/// What staging may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Threads that parse and encode, each with a file of its own. The caller's thread reads.
    pub lanes: NonZeroUsize,
    /// The longest row, as its format writes it, without its line feed; a Parquet row as JSON.
    pub row_bytes_max: usize,
    /// Rows of a row group.
    pub row_group_rows_max: usize,
    /// Encoded bytes of a row group; with the lanes, what bounds the memory.
    pub row_group_bytes_max: usize,
    /// The size at which a file is closed and the lane's next one begins.
    pub file_bytes_max: u64,
    /// The longest rejects file, in lines. Rejected rows behind them are counted only.
    pub rejects_written_max: u64,
}

impl Limits {
    /// The usual limits with so many lanes.
    #[must_use]
    pub fn with_lanes(lanes: NonZeroUsize) -> Self {
        Self {
            lanes,
            row_bytes_max: 16 << 20,
            row_group_rows_max: 131_072,
            row_group_bytes_max: 32 << 20,
            file_bytes_max: 512 << 20,
            rejects_written_max: 10_000,
        }
    }
}

/// A run's output, staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// The files by their index. None if no row passed.
    pub files: Vec<StagedPart>,
    /// Rows in the files.
    pub rows: u64,
    /// Rows that did not pass.
    pub rejected: u64,
    /// The first of them.
    pub first_rejection: Option<Rejection>,
}

/// Why nothing was staged. No sink was finished, unless finishing one of them is what failed.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// An object of JSON lines ends in the middle of a row.
    #[error("the output ends in the middle of line {line}; have the producer write it again")]
    Truncated {
        /// The line, from 1.
        line: u64,
    },
    /// The output cannot be read, or not as its format.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A staged file could not be written.
    #[error("could not write a staged file")]
    Write(#[source] io::Error),
    /// The rejects file could not be written.
    #[error("could not write the rejects file")]
    Rejects(#[source] io::Error),
    /// Parquet refused the rows: our mistake.
    #[error("could not encode rows as parquet")]
    Encode(#[source] ParquetError),
    /// A lane ended without an answer: our mistake.
    #[error("a staging thread ended without an answer")]
    LaneLost,
}

impl From<ParquetError> for StageError {
    /// Finds the sink's own error inside, so that a caller can tell a full disk from a defect.
    fn from(error: ParquetError) -> Self {
        let ParquetError::External(source) = error else { return Self::Encode(error) };
        match source.downcast::<io::Error>() {
            Ok(io) => Self::Write(*io),
            Err(other) => Self::Encode(ParquetError::External(other)),
        }
    }
}

/// The Arrow schema of staged files: the public columns in order, then the two run columns; all nullable.
#[must_use]
pub fn arrow_schema(schema: &PublicSchema) -> Schema {
    let fields = Rows::new(schema.columns()).fields();
    let run_types = [DataType::Utf8, DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")))];
    let run = RUN_COLUMNS.into_iter().zip(run_types).map(|(name, data_type)| Field::new(name, data_type, true));
    Schema::new(fields.iter().map(|field| field.as_ref().clone()).chain(run).collect::<Vec<_>>())
}

/// Stages a run's output.
///
/// The caller's thread reads; `limits.lanes` threads work. For the same input, schema and limits the files are the
/// same, byte by byte.
///
/// `rejects` gets one JSON line for each rejected row, in line order: `line`, `column` or null, `code`, `reason`.
///
/// # Errors
///
/// [`StageError::Truncated`] and [`StageError::Input`] if the output is at fault as a whole, otherwise whatever reading,
/// encoding or writing failed with. Rows that do not pass are no error.
pub fn stage(
    input: Input<'_>,
    files: &dyn FileFactory,
    rejects: &mut dyn io::Write,
    schema: &PublicSchema,
    run: RunColumns<'_>,
    limits: &Limits,
) -> Result<Staged, StageError> {
    let common = Common {
        schema,
        parquet_schema: ArrowSchemaConverter::new().convert(&arrow_schema(schema))?,
        run,
        limits,
        files,
        stopped: AtomicBool::new(false),
        rejects_full_at: AtomicU64::new(u64::MAX),
    };
    thread::scope(|scope| {
        let (reports, collected) = channel();
        let mut senders = Vec::new();
        let mut handles = Vec::new();
        for index in 0..limits.lanes.get() {
            let (sender, blocks) = sync_channel(BLOCKS_WAITING);
            let lane = Lane::new(&common, index)?;
            let reports: Sender<BlockReport> = reports.clone();
            senders.push(sender);
            handles.push(scope.spawn(move || lane.run(&blocks, &reports)));
        }
        drop(reports);
        let mut collector = Collector::new(rejects, &common);
        let (columns, row_bytes_max) = (schema.columns(), limits.row_bytes_max);
        let mut blocks: Box<dyn BlockReader + '_> = match input {
            Input::JsonLines(source) => Box::new(Blocks::new(Objects::new(source), row_bytes_max)),
            Input::Json(source) => Box::new(JsonRows::new(Objects::new(source), row_bytes_max)),
            Input::Csv(source) => Box::new(CsvRows::new(Objects::new(source), columns, row_bytes_max)),
            Input::Parquet(source) => Box::new(ParquetRows::new(source, columns, row_bytes_max)),
        };
        let read = read(&mut *blocks, &senders, &collected, &mut collector);
        if read.is_err() {
            common.stopped.store(true, Ordering::Relaxed);
        }
        drop(senders);
        let drained = read.and_then(|()| collected.iter().try_for_each(|report| collector.take(report)));
        if drained.is_err() {
            common.stopped.store(true, Ordering::Relaxed);
        }
        let files = join(handles);
        // A lane that failed explains why reading stopped, not the other way round.
        let mut closed = files?;
        drained?;
        closed.sort_by_key(|file| file.part.index);
        let mut files = Vec::new();
        for file in closed {
            file.sink.map_or(Ok(()), FileSink::finish).map_err(StageError::Write)?;
            files.push(file.part);
        }
        let rows = files.iter().map(|file| file.rows).sum();
        Ok(Staged { files, rows, rejected: collector.rejected, first_rejection: collector.first })
    })
}

/// Blocks that wait for a lane.
const BLOCKS_WAITING: usize = 2;

/// Deals the blocks out to the lanes in turn, so that every lane's rows are the same each time.
fn read(
    blocks: &mut dyn BlockReader,
    lanes: &[SyncSender<(u64, Block)>],
    reports: &Receiver<BlockReport>,
    collector: &mut Collector<'_>,
) -> Result<(), StageError> {
    for (number, lane) in (0..).zip(lanes.iter().cycle()) {
        let Some(block) = blocks.next()? else { break };
        if lane.send((number, block)).is_err() {
            // The lane has failed and says why when it is joined.
            return Err(StageError::LaneLost);
        }
        for report in reports.try_iter() {
            collector.take(report)?;
        }
    }
    Ok(())
}

fn join(
    handles: Vec<ScopedJoinHandle<'_, Result<Vec<ClosedFile>, StageError>>>,
) -> Result<Vec<ClosedFile>, StageError> {
    let results: Vec<_> =
        handles.into_iter().map(|handle| handle.join().unwrap_or(Err(StageError::LaneLost))).collect();
    let mut files = Vec::new();
    for result in results {
        files.extend(result?);
    }
    Ok(files)
}

/// Puts the lanes' reports into the order of the lines.
struct Collector<'a> {
    common: &'a Common<'a>,
    rejects: &'a mut dyn io::Write,
    /// Reports that came before an earlier block's; never more than the blocks under way.
    early: BTreeMap<u64, BlockReport>,
    next: u64,
    lines: u64,
    rejected: u64,
    written: u64,
    first: Option<Rejection>,
}

impl<'a> Collector<'a> {
    fn new(rejects: &'a mut dyn io::Write, common: &'a Common<'a>) -> Self {
        Self { common, rejects, early: BTreeMap::new(), next: 0, lines: 0, rejected: 0, written: 0, first: None }
    }

    fn take(&mut self, report: BlockReport) -> Result<(), StageError> {
        self.early.insert(report.number, report);
        while let Some(report) = self.early.remove(&self.next) {
            self.next += 1;
            self.rejected += report.rejected;
            for rejected in &report.rejections {
                let rejection = rejected.describe(self.lines, self.common.schema.columns());
                if self.written < self.common.limits.rejects_written_max {
                    write_line(&rejection, self.rejects).map_err(StageError::Rejects)?;
                    self.written += 1;
                }
                self.first.get_or_insert(rejection);
            }
            if self.rejected > 0 && self.written >= self.common.limits.rejects_written_max {
                self.common.rejects_full_at.fetch_min(self.next, Ordering::Relaxed);
            }
            if let Some(line) = report.truncated {
                return Err(StageError::Truncated { line: self.lines + line });
            }
            self.lines += report.lines;
        }
        Ok(())
    }
}

impl StageError {
    /// The failure code if the output itself is at fault; the other causes depend on what was read from and written to.
    #[must_use]
    pub fn code(&self) -> Option<FailureCode> {
        match self {
            Self::Truncated { .. } => Some(FailureCode::OutputTruncated),
            Self::Input(error) => error.code(),
            Self::Write(_) | Self::Rejects(_) | Self::Encode(_) | Self::LaneLost => None,
        }
    }
}
