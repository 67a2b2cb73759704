//! What a backfill needs of the world: the team's recorded runs, the history in the run-output bucket, the plan.

use async_trait::async_trait;

use super::PortError;
use crate::activity::PublicActivity;
use crate::backfill::{BackfillFailure, BackfillId, Counts, Phase};
use crate::batch::Batch;
use crate::failure::{FailureCode, StepError};
use crate::ids::{ConnectorId, RunId, RunKey, TeamId, WorkflowId};
use crate::run::{Announcement, Run};
use crate::schema::Fingerprint;
use crate::state::DeliveryState;
use crate::timestamp::Timestamp;

/// A recorded run in short, as the team's history lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedRun {
    /// The workflow.
    pub workflow: WorkflowId,
    /// The run.
    pub run: RunId,
    /// When the run finished.
    pub finished_at: Timestamp,
    /// When it was recorded.
    pub accepted_at: Timestamp,
    /// How it came to be recorded.
    pub origin: RunOrigin,
    /// The fingerprint of its public schema; `None` if it has none that may be shared.
    pub fingerprint: Option<Fingerprint>,
    /// Bytes of its output, if they are known.
    pub bytes: Option<u64>,
    /// Where the run stands in the list: what a later page begins behind.
    pub place: String,
}

/// How a run came to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunOrigin {
    /// By its message.
    Announced,
    /// A backfill found it in the run-output bucket.
    Found,
}

/// Names the page of a backfill that found a run first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundBy(String);

impl FoundBy {
    /// A page of a backfill.
    #[must_use]
    pub fn page(backfill: &BackfillId, page: u64) -> Self {
        Self(format!("{}#{page}", backfill.as_str()))
    }

    /// The page of a stored name.
    #[must_use]
    pub fn from_stored(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The page's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a run is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It is not.
    No,
    /// It is; a page of a backfill found it first, or its message came first.
    Yes(Option<FoundBy>),
}

/// A run that was found in the run-output bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundRun {
    /// The run, as the message beside its output says.
    pub run: Run,
    /// Bytes of the objects in its folder.
    pub bytes: u64,
}

/// A delivery's record, as far as a backfill asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliverySummary {
    /// Its state.
    pub state: DeliveryState,
    /// What it failed with last.
    pub code: Option<FailureCode>,
}

/// How far a backfill is, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillNote {
    /// What it does.
    pub phase: Phase,
    /// Pages so far.
    pub pages: u64,
    /// What it counted so far.
    pub counts: Counts,
    /// When it began.
    pub started_at: Timestamp,
}

/// The state table, as a backfill uses it. All reads are consistent.
#[async_trait]
pub trait BackfillStore: Send + Sync {
    /// The recorded runs of a team behind a place, `max` at most: workflow by workflow, and in a workflow in the order
    /// in which they finished.
    async fn history(&self, team: &TeamId, after: Option<&str>, max: usize) -> Result<Vec<RecordedRun>, PortError>;

    /// Which of these runs are recorded, and by whom, in their order.
    async fn recorded(&self, runs: &[RunKey]) -> Result<Vec<Known>, PortError>;

    /// Records runs that a page found, without a delivery. The first record of a run stays.
    async fn record_found(&self, runs: &[FoundRun], by: &FoundBy, now: Timestamp) -> Result<(), PortError>;

    /// What is known of a connector's deliveries of these runs, in their order.
    async fn deliveries(
        &self,
        connector: &ConnectorId,
        runs: &[RunKey],
    ) -> Result<Vec<Option<DeliverySummary>>, PortError>;

    /// Notes how far a backfill is.
    async fn note_backfill(
        &self,
        connector: &ConnectorId,
        backfill: &BackfillId,
        note: &BackfillNote,
        now: Timestamp,
    ) -> Result<(), PortError>;
}

/// A folder of a run in the run-output bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    /// Its key, without a slash at the end.
    pub key: String,
    /// The workflow, as its path says; `None` if that is no workflow id.
    pub workflow: Option<WorkflowId>,
    /// The folder's own name.
    pub name: String,
    /// The size of its `run.json`, if there is one.
    pub message_bytes: Option<u64>,
    /// Bytes of its other objects.
    pub output_bytes: u64,
}

/// Run folders, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FolderPage {
    /// The folders, each whole, in the order of their keys.
    pub folders: Vec<RunFolder>,
    /// Behind which place there is more.
    pub after: Option<String>,
}

/// A place in the activity history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ActivityPlace {
    /// The object; empty before the first.
    pub key: String,
    /// Bytes of it that are read.
    pub offset: u64,
    /// Lines of it that are read.
    pub lines: u64,
}

/// A line of the activity history.
#[derive(Debug)]
pub struct ActivityLine {
    /// The object.
    pub key: String,
    /// The line, from 1.
    pub line: u64,
    /// The event; or why it is none.
    pub event: Result<PublicActivity, StepError>,
}

/// Lines of the activity history, and where to go on.
#[derive(Debug, Default)]
pub struct ActivityPage {
    /// The lines.
    pub lines: Vec<ActivityLine>,
    /// Behind which place there is more.
    pub after: Option<ActivityPlace>,
}

/// The history in the run-output bucket.
#[async_trait]
pub trait HistoryBucket: Send + Sync {
    /// The run folders of a team behind a place, in the order of their keys; of one workflow, if one is named.
    async fn run_folders(
        &self,
        team: &TeamId,
        workflow: Option<&WorkflowId>,
        after: Option<&str>,
    ) -> Result<FolderPage, PortError>;

    /// What the messages of these folders announce, in their order.
    ///
    /// # Errors
    ///
    /// The inner error says why a message announces nothing; none of its text quotes the message.
    async fn announcements(&self, folders: &[RunFolder]) -> Result<Vec<Result<Announcement, StepError>>, PortError>;

    /// Lines of the team's activity behind a place: object by object in the order of their keys.
    async fn activity(&self, team: &TeamId, after: &ActivityPlace) -> Result<ActivityPage, PortError>;
}

/// The pages of a backfill's plan. Writing one again replaces it.
#[async_trait]
pub trait BackfillPages: Send + Sync {
    /// Writes the batches of a page: what the state machine reads.
    async fn write_batches(
        &self,
        connector: &ConnectorId,
        backfill: &BackfillId,
        page: u64,
        batches: &[Batch],
    ) -> Result<(), PortError>;

    /// The batches of a page.
    async fn batches(&self, connector: &ConnectorId, backfill: &BackfillId, page: u64)
    -> Result<Vec<Batch>, PortError>;

    /// Writes what failed of a page.
    async fn write_failures(
        &self,
        connector: &ConnectorId,
        backfill: &BackfillId,
        list: FailureList,
        failures: &[BackfillFailure],
    ) -> Result<(), PortError>;

    /// Everything that failed, `max` at most.
    async fn failures(
        &self,
        connector: &ConnectorId,
        backfill: &BackfillId,
        max: usize,
    ) -> Result<Vec<BackfillFailure>, PortError>;

    /// Writes what the backfill came to.
    async fn write_report(&self, connector: &ConnectorId, backfill: &BackfillId, report: &str)
    -> Result<(), PortError>;
}

/// One list of failures: each step of each page has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureList {
    /// What could not be planned.
    Unplanned(u64),
    /// What was planned and did not arrive.
    Undelivered(u64),
}
