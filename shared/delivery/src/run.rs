//! A finished run as the producer announces it.

use crate::ids::{RunKey, TeamId, WorkflowId};
use crate::schema::Field;
use crate::timestamp::Timestamp;

/// One finished run: what a `RunCompleted` message says, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Team, workflow and run.
    pub key: RunKey,
    /// The workflow's name, for people.
    pub workflow_name: String,
    /// When the run began.
    pub started_at: Option<Timestamp>,
    /// When the run finished: orders the runs of a workflow.
    pub finished_at: Timestamp,
    /// The schema that the run is bound to, private fields included, in the producer's order.
    pub fields: Vec<Field>,
    /// Where its output lies.
    pub output: Output,
}

impl Run {
    /// The run's team.
    #[must_use]
    pub fn team(&self) -> &TeamId {
        &self.key.team
    }

    /// The run's workflow.
    #[must_use]
    pub fn workflow(&self) -> &WorkflowId {
        &self.key.workflow
    }
}

/// A run's output: one or more objects of one format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The format as announced; [`OutputFormat::of`] reads it.
    pub format: String,
    /// The objects, in row order.
    pub objects: Vec<OutputObject>,
    /// The announced number of rows; checked if given.
    pub row_count: Option<u64>,
}

/// One object of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputObject {
    /// The bucket, if it is not the stack's run-output bucket.
    pub bucket: Option<String>,
    /// The object's key.
    pub key: String,
}

/// The output formats that can be staged. Each object is plain or gzip, which its first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// `jsonl`: one JSON object a line.
    JsonLines,
    /// `json`: an array of JSON objects, or an object whose member `data` is one.
    Json,
    /// `csv`: comma-separated values (RFC 4180), the first record of each object being its header.
    Csv,
    /// `parquet`: Parquet files.
    Parquet,
}

impl OutputFormat {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::JsonLines, Self::Json, Self::Csv, Self::Parquet];

    /// The format's name in announcements.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    /// Reads a format's name, exactly; `None` if it cannot be staged.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// What a run-completed message asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Announcement {
    /// A finished run: recorded and delivered.
    Finished(Box<Run>),
    /// A run in another state: acknowledged and counted.
    NotFinished {
        /// The state, as announced.
        state: String,
    },
}
