//! What staging leaves behind: the manifest of a run's staged files.

use crate::failure::FailureCode;
use crate::ids::{RunId, RunKey};
use crate::schema::{Fingerprint, PublicSchema};
use crate::timestamp::Timestamp;

/// The manifest of a staged run. It exists only when the run is staged whole: it is written last.
#[derive(Debug, Clone, PartialEq)]
pub struct StagedRun {
    /// The run.
    pub run: RunKey,
    /// The workflow's name, for people.
    pub workflow_name: String,
    /// When the run finished.
    pub finished_at: Timestamp,
    /// The public columns of the files; each file has the two run columns behind them.
    pub schema: PublicSchema,
    /// The files, in row order. Empty if the run has no rows.
    pub files: Vec<StagedFile>,
    /// Rows in the files.
    pub rows: u64,
    /// Rows that were not staged.
    pub rejected: RejectedRows,
}

impl StagedRun {
    /// The run in short.
    #[must_use]
    pub fn summary(&self) -> StagedSummary {
        StagedSummary {
            run: self.run.run.clone(),
            workflow_name: self.workflow_name.clone(),
            fingerprint: self.schema.fingerprint(),
            rows: self.rows,
            rejected_rows: self.rejected.rows,
            bytes: self.bytes(),
            finished_at: self.finished_at,
        }
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }
}

/// A staged run in short: what the later steps need of it beside its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedSummary {
    /// The run.
    pub run: RunId,
    /// The workflow's name as of the run.
    pub workflow_name: String,
    /// The fingerprint of the public schema.
    pub fingerprint: Fingerprint,
    /// Rows in the staged files.
    pub rows: u64,
    /// Rows that were not staged.
    pub rejected_rows: u64,
    /// Bytes of the staged files.
    pub bytes: u64,
    /// When the run finished.
    pub finished_at: Timestamp,
}

/// One staged Parquet file. Nobody behind staging opens it: size, rows and statistics go on from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedFile {
    /// The object's key in the tables bucket.
    pub key: String,
    /// The object's size.
    pub size_bytes: u64,
    /// Rows in the file.
    pub rows: u64,
    /// Statistics as the JSON text of a Delta `add` action (PROTOCOL.md, "Per-file Statistics").
    pub statistics: String,
}

/// The rows that did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RejectedRows {
    /// How many.
    pub rows: u64,
    /// The first of them: what a failure of the delivery is reported as.
    pub first: Option<Rejection>,
    /// The key of the rejects file in the tables bucket, if there is one.
    pub key: Option<String>,
}

/// Why a row was rejected. Never holds a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Where the row is in the output, from 1, counted on over the objects: the line on which it begins (JSON lines,
    /// CSV), or its number (JSON, Parquet).
    pub line: u64,
    /// The column, if one value is at fault. Public by type.
    pub column: Option<String>,
    /// The failure code that stands for the reason.
    pub code: FailureCode,
    /// The reason, said for people, without the value.
    pub reason: String,
}

/// Where a run is staged: `staging/<team>/<workflow>/<run>` in the tables bucket. The prefix `staging/` expires.
#[must_use]
pub fn staging_prefix(run: &RunKey) -> String {
    format!("staging/{}/{}/{}", run.team, run.workflow, run.run)
}

/// The manifest's key.
#[must_use]
pub fn manifest_key(run: &RunKey) -> String {
    format!("{}/manifest.json", staging_prefix(run))
}

/// The rejects file's key: JSON lines of line, column and reason.
#[must_use]
pub fn rejects_key(run: &RunKey) -> String {
    format!("{}/rejects.jsonl", staging_prefix(run))
}

/// The key of the n-th staged file, from 0.
#[must_use]
pub fn staged_file_key(run: &RunKey, index: usize) -> String {
    format!("{}/part-{index:05}.parquet", staging_prefix(run))
}
