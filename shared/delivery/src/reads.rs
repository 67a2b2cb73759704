//! The audit of reads as a table: what the sharing server logged of each read, a day at most at a time.
//!
//! The log is the record; the table is for asking it questions. It is the operator's, in the tables bucket and in no
//! share. Every logged read gets into it once: a commit carries the end of its window as a `txn`, and the next window
//! begins there.

use async_trait::async_trait;

use crate::metadata::{Cell, CellType, MetadataColumn, Row};
use crate::ports::{PortError, PortErrorKind};
use crate::timestamp::Timestamp;

/// Where the table lies in the tables bucket: beside the connectors', so that no role that serves recipients reads it.
pub const READS_TABLE_PATH: &str = "audit/SHARE_READS";

/// Log lines may arrive late: a window ends so many seconds ago, unless told otherwise. A line that arrives later than
/// that is in the log only.
pub const SETTLE_SECONDS_USUAL: u32 = 600;

/// The longest window, in seconds: a day.
const WINDOW_SECONDS_MAX: i64 = 86_400;

/// Commits of one call. Windows without reads make none, so a call passes over any time that nothing was read in.
const COMMITS_MAX: u32 = 100;

/// The most reads that one commit adds: what is kept in memory.
pub const READS_MAX: usize = 100_000;

/// One read, as the server logged it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharedRead {
    /// When the answer ended.
    pub read_at: Timestamp,
    /// The connector whose share was read.
    pub connector: String,
    /// Who read: `recipient`, or `proof`.
    pub holder: String,
    /// The table.
    pub table: String,
    /// The table version that was read, or the first one.
    pub table_version: i64,
    /// What was asked for: `query`, `changes`, `metadata`, …
    pub kind: String,
    /// Files whose URLs were handed out.
    pub files: i64,
    /// Their bytes.
    pub bytes: i64,
}

/// The columns of `SHARE_READS`.
pub const READS_COLUMNS: &[MetadataColumn] = &[
    column("read_at", CellType::Timestamp, "When the answer ended"),
    column("connector_id", CellType::Text, "The connector whose share was read"),
    column("holder", CellType::Text, "Who read: recipient, or proof (a delivery's own read back)"),
    column("table_name", CellType::Text, "The table"),
    column("table_version", CellType::Integer, "The table version that was read; of changes, the first"),
    column("kind", CellType::Text, "What was asked for: query, changes, metadata"),
    column("files", CellType::Integer, "Files whose URLs were handed out"),
    column("bytes", CellType::Integer, "Bytes of these files"),
];

const fn column(name: &'static str, cell_type: CellType, comment: &'static str) -> MetadataColumn {
    MetadataColumn { name, cell_type, comment }
}

impl SharedRead {
    /// The read as a row of [`READS_COLUMNS`].
    #[must_use]
    pub fn row(&self) -> Row {
        vec![
            Cell::Timestamp(self.read_at),
            Cell::Text(self.connector.clone()),
            Cell::Text(self.holder.clone()),
            Cell::Text(self.table.clone()),
            Cell::Integer(self.table_version),
            Cell::Text(self.kind.clone()),
            Cell::Integer(self.files),
            Cell::Integer(self.bytes),
        ]
    }
}

/// The server's log.
#[async_trait]
pub trait ReadLog: Send + Sync {
    /// The reads that were logged from an instant until before another, in no order; a line that is none is passed over.
    async fn reads(&self, from: Timestamp, until: Timestamp) -> Result<Logged, PortError>;
}

/// What a log holds of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logged {
    /// All reads.
    All(Vec<SharedRead>),
    /// More than [`READS_MAX`]: a shorter window is to be asked for.
    TooMany,
}

/// The table of reads.
#[async_trait]
pub trait ReadsTable: Send + Sync {
    /// Until when reads are in the table; `None` if there is no table.
    async fn published_until(&self) -> Result<Option<Timestamp>, PortError>;

    /// Adds reads and moves the end on, in one commit: the first makes the table. Only if the end is still `from`.
    async fn append(
        &self,
        from: Option<Timestamp>,
        until: Timestamp,
        reads: &[SharedRead],
    ) -> Result<Appended, PortError>;
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Appended {
    /// The reads are in the table.
    Done,
    /// Somebody else moved the end on first: what was read of the log is void.
    Overtaken,
}

/// What one call published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedReads {
    /// Rows that were added.
    pub rows: u64,
    /// Until when the table holds all reads.
    pub until: Timestamp,
}

/// Publishes what was logged since the last time, or since `kept_since`, before which the log keeps nothing, until
/// `settled`, from which on lines may still arrive. A window without reads makes no commit.
///
/// # Errors
///
/// What the log or the table failed with; what was committed before stays, and the next call goes on there.
pub async fn publish_reads(
    log: &dyn ReadLog,
    table: &dyn ReadsTable,
    kept_since: Timestamp,
    settled: Timestamp,
) -> Result<PublishedReads, PortError> {
    let mut published = table.published_until().await?;
    let mut from = published.unwrap_or(kept_since).max(kept_since);
    let (mut rows, mut commits, mut window_seconds) = (0, 0, WINDOW_SECONDS_MAX);
    while from < settled && commits < COMMITS_MAX {
        let until = from.plus_seconds(window_seconds).min(settled);
        let mut reads = match log.reads(from, until).await? {
            Logged::All(reads) => reads,
            Logged::TooMany if window_seconds > 1 => {
                window_seconds /= 2;
                continue;
            }
            Logged::TooMany => {
                let source = "a second of the log holds more reads than one commit takes";
                return Err(PortError::new(PortErrorKind::InvalidData, "publish reads", source));
            }
        };
        window_seconds = (window_seconds * 2).min(WINDOW_SECONDS_MAX);
        reads.sort();
        if !reads.is_empty() {
            match table.append(published, until, &reads).await? {
                Appended::Done => rows += reads.len() as u64,
                Appended::Overtaken => break,
            }
            commits += 1;
            published = Some(until);
        }
        from = until;
    }
    Ok(PublishedReads { rows, until: from })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::executor::block_on;

    use super::*;

    const HOUR: i64 = 3_600;
    const DAY: i64 = 24 * HOUR;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::EPOCH.plus_seconds(seconds)
    }

    fn read(seconds: i64, table: &str) -> SharedRead {
        SharedRead {
            read_at: at(seconds),
            connector: "acme".to_owned(),
            holder: "recipient".to_owned(),
            table: table.to_owned(),
            table_version: 3,
            kind: "query".to_owned(),
            files: 2,
            bytes: 10,
        }
    }

    struct Log {
        reads: Vec<SharedRead>,
        at_once: usize,
    }

    impl Log {
        fn of(reads: Vec<SharedRead>) -> Self {
            Self { reads, at_once: READS_MAX }
        }
    }

    #[async_trait]
    impl ReadLog for Log {
        async fn reads(&self, from: Timestamp, until: Timestamp) -> Result<Logged, PortError> {
            let found = self.reads.iter().rev().filter(|read| from <= read.read_at && read.read_at < until);
            let found: Vec<_> = found.cloned().collect();
            Ok(if found.len() > self.at_once { Logged::TooMany } else { Logged::All(found) })
        }
    }

    #[derive(Default)]
    struct Table {
        until: Mutex<Option<Timestamp>>,
        commits: Mutex<Vec<Vec<SharedRead>>>,
    }

    #[async_trait]
    impl ReadsTable for Table {
        async fn published_until(&self) -> Result<Option<Timestamp>, PortError> {
            Ok(*self.until.lock().unwrap())
        }

        async fn append(
            &self,
            from: Option<Timestamp>,
            until: Timestamp,
            reads: &[SharedRead],
        ) -> Result<Appended, PortError> {
            let mut end = self.until.lock().unwrap();
            if *end != from {
                return Ok(Appended::Overtaken);
            }
            *end = Some(until);
            self.commits.lock().unwrap().push(reads.to_vec());
            Ok(Appended::Done)
        }
    }

    fn publish(log: &Log, table: &Table, now: i64) -> PublishedReads {
        block_on(publish_reads(log, table, at(0), at(now))).unwrap()
    }

    #[test]
    fn every_read_is_published_once_a_day_at_a_time() {
        let reads = [read(10, "A"), read(10, "B"), read(DAY - 1, "A"), read(DAY, "A"), read(900 * DAY, "A")];
        let log = Log::of(reads.to_vec());
        let table = Table::default();
        let first = publish(&log, &table, 2 * DAY);
        assert_eq!(first, PublishedReads { rows: 4, until: at(2 * DAY) });
        let again = publish(&log, &table, 2 * DAY);
        assert_eq!(again.rows, 0);
        let late = publish(&log, &table, 901 * DAY);
        assert_eq!(late.rows, 1);
        let commits = table.commits.lock().unwrap();
        let sizes: Vec<_> = commits.iter().map(Vec::len).collect();
        assert_eq!(sizes, [3, 1, 1], "days without reads make no commit");
        assert_eq!(commits[0], [read(10, "A"), read(10, "B"), read(DAY - 1, "A")], "in the order of their time");
    }

    #[test]
    fn what_the_log_forgot_is_not_asked_for() {
        let (log, table) = (Log::of(vec![read(10, "A"), read(5 * HOUR, "A")]), Table::default());
        let done = block_on(publish_reads(&log, &table, at(4 * HOUR), at(6 * HOUR))).unwrap();
        assert_eq!(done.rows, 1);
    }

    #[test]
    fn lines_that_may_still_arrive_are_left_for_the_next_time() {
        let (log, table) = (Log::of(vec![read(HOUR, "A")]), Table::default());
        assert_eq!(publish(&log, &table, HOUR).rows, 0);
        assert_eq!(publish(&log, &table, HOUR + 1).rows, 1);
    }

    #[test]
    fn a_busy_hour_is_published_in_shorter_windows() {
        let reads: Vec<_> = (0..HOUR / 60).map(|minute| read(minute * 60, "A")).collect();
        let (log, table) = (Log { reads: reads.clone(), at_once: 7 }, Table::default());
        assert_eq!(publish(&log, &table, 2 * HOUR).rows, 60);
        assert_eq!(table.commits.lock().unwrap().concat(), reads);
        let at_once = Log { reads: vec![read(5, "A"); 8], at_once: 7 };
        let error = block_on(publish_reads(&at_once, &Table::default(), at(0), at(HOUR))).unwrap_err();
        assert_eq!(error.kind, PortErrorKind::InvalidData);
    }

    #[test]
    fn a_row_has_a_cell_for_each_column() {
        assert_eq!(read(1, "A").row().len(), READS_COLUMNS.len());
    }
}
