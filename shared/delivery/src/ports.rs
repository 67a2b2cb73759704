//! What the steps need of the world, in our words. Adapters live in `aws`, `tables`, `rows` assemblies and
//! `sharing`; fakes in `testkit`, where one contract suite per port runs against both.

mod backfill;
mod metadata;
mod outgoing;
mod redrive;
mod sharing;

use async_trait::async_trait;

use crate::batch::{Batch, Origin};
use crate::connector::{Connector, ConnectorState, Scope};
use crate::failure::{FailureCode, StepError};
use crate::ids::{ConnectorId, DeliveryKey, RunKey, TeamId, WorkflowId};
use crate::lifecycle::{AuditEntry, Audited, Changed};
use crate::run::Run;
use crate::schema::{Fingerprint, PublicSchema};
use crate::staged::{StagedFile, StagedRun};
use crate::state::{Delivery, Ended, Failure, Step};
use crate::table::{LatestTable, TableName, VersionTable};
use crate::timestamp::Timestamp;

pub use backfill::*;
pub use metadata::*;
pub use outgoing::*;
pub use redrive::*;
pub use sharing::*;

/// An adapter's failure. Expected outcomes, such as a lost race, are not errors.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation}")]
pub struct PortError {
    /// What kind of failure it is; each step makes its own code of it.
    pub kind: PortErrorKind,
    /// What was tried, as a verb phrase.
    pub operation: &'static str,
    /// The cause, whole.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl PortError {
    /// A failure of one operation.
    #[must_use]
    pub fn new(
        kind: PortErrorKind,
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, operation, source: source.into() }
    }
}

/// Kinds of adapter failure, by what the caller does about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortErrorKind {
    /// What was named does not exist.
    NotFound,
    /// The function's role may not do this.
    Denied,
    /// Too many requests.
    Throttled,
    /// The service did not answer, or not in time.
    Unavailable,
    /// What was read cannot be understood.
    InvalidData,
}

/// What a sharing backend holds against a step, for good: the source of a [`PortError`] that retrying does not mend.
#[derive(Debug, thiserror::Error)]
#[error("the sharing backend refuses")]
pub struct Refused {
    /// What it is about; [`crate::share::refused`] makes a code of it.
    pub refusal: Refusal,
    /// What the backend says, whole. Names of its own are in it, and no secret.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Refused {
    /// A refusal, with what the backend says.
    #[must_use]
    pub fn new(refusal: Refusal, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { refusal, source: source.into() }
    }

    /// What a backend refused, if that is what an error is about.
    #[must_use]
    pub fn of(error: &PortError) -> Option<&Self> {
        error.source.downcast_ref()
    }
}

/// What a sharing backend refuses, by what somebody has to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The backend's principal may not do this.
    Denied,
    /// The share's owner may not read a table, so recipients cannot.
    NotReadable,
    /// The share takes no more tables.
    Full,
    /// A table's path or name is taken in the metastore.
    PathTaken,
    /// The reader's recipient is somebody else's.
    Foreign,
    /// The deployment has no such backend.
    Unsupported,
    /// The request is not one that the backend takes, or its answer cannot be understood.
    Invalid,
}

/// Passes the time in, so that steps can be replayed.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// A connector of a team that is not revoked, as far as accepting a run or an activity event needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamConnector {
    /// The connector.
    pub id: ConnectorId,
    /// Where it is in its life.
    pub state: ConnectorState,
    /// Which workflows it takes.
    pub workflows: Scope,
    /// Whether activity is delivered.
    pub activity_log: bool,
}

/// The connectors that have a run in scope, as they were when it was announced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunConnectors {
    /// Those that took data: each has a delivery, at most 90.
    pub taken_by: Vec<ConnectorId>,
    /// Those that took none: they were disabled, or being set up.
    pub missed_by: Vec<ConnectorId>,
}

impl RunConnectors {
    /// These connectors, each of which takes the run.
    #[must_use]
    pub fn taking(connectors: &[ConnectorId]) -> Self {
        Self { taken_by: connectors.to_vec(), missed_by: Vec::new() }
    }
}

/// Whether a run was recorded now or before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Recorded {
    /// Announced for the first time, with a delivery for each connector that takes it.
    New,
    /// A copy of its message was recorded before, for these connectors.
    Before(RunConnectors),
}

/// Keeps every finished run, wanted or not.
#[async_trait]
pub trait RunStore: Send + Sync {
    /// The connectors of a team that are not revoked, as they are now.
    async fn team_connectors(&self, team: &TeamId) -> Result<Vec<TeamConnector>, PortError>;

    /// Records a run that was announced and, in the same write, an `accepted` delivery for each connector that takes
    /// it. The first record of a run stays, and so do the connectors of its first announcement. A run that a backfill
    /// found before its message came keeps its record, and is announced from now on.
    async fn record_run(&self, run: &Run, connectors: &RunConnectors, now: Timestamp) -> Result<Recorded, PortError>;

    /// A run that was recorded.
    async fn recorded_run(&self, key: &RunKey) -> Result<Option<Run>, PortError>;
}

/// Starts the state machine of a run.
#[async_trait]
pub trait DeliveryStarter: Send + Sync {
    /// Starts `DeliverRun` under the run's execution name; an execution of that name that exists is left alone.
    async fn start(&self, run: &RunKey, connectors: &[ConnectorId]) -> Result<(), PortError>;
}

/// Keeps the state of deliveries. A delivery that is `shared` stays so, whatever is written.
#[async_trait]
pub trait DeliveryStore: Send + Sync {
    /// Notes that an execution begins with these deliveries, and what it makes them for: enters [`Step::Staging`].
    async fn begin(&self, deliveries: &[DeliveryKey], origin: Origin, now: Timestamp) -> Result<(), PortError>;

    /// Notes that a step began for these deliveries, making records that do not exist. Entering
    /// [`Step::Staging`] counts an attempt.
    async fn enter(&self, deliveries: &[DeliveryKey], step: Step, now: Timestamp) -> Result<(), PortError>;

    /// Notes what each of these deliveries ended with. The first `shared` of a delivery puts, in the same write, its
    /// row of [`crate::metadata::MetadataTable::WorkflowRuns`] among those that wait for a batch; a later one adds nothing. A delivery
    /// that failed keeps its first failure until a step begins again.
    async fn end(&self, ended: &[(DeliveryKey, Ended)], now: Timestamp) -> Result<(), PortError>;

    /// Notes that these deliveries failed, as [`Self::end`] does, and what they were made for: perhaps none of them was
    /// begun.
    async fn fail(
        &self,
        deliveries: &[DeliveryKey],
        failure: &Failure,
        origin: Origin,
        now: Timestamp,
    ) -> Result<(), PortError>;

    /// The delivery's record.
    async fn delivery(&self, key: &DeliveryKey) -> Result<Option<Delivery>, PortError>;
}

/// Everything that a load needs to know, read at once.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadView {
    /// The connector, if it exists.
    pub connector: Option<Connector>,
    /// The deliveries that are recorded, in the order of the batch's runs.
    pub deliveries: Vec<Option<Delivery>>,
    /// The version table of the runs' schema, if it was opened.
    pub table: Option<VersionTable>,
}

/// Keeps what is known of tables, so that the hot path needs no snapshot.
#[async_trait]
pub trait TableStore: Send + Sync {
    /// Reads connector, deliveries and version table.
    async fn load_view(&self, batch: &Batch, fingerprint: &Fingerprint) -> Result<LoadView, PortError>;

    /// Opens the version table of a schema: a known fingerprint keeps its number, a new one gets the next, and two that
    /// open the same at once agree.
    async fn open_schema_version(
        &self,
        connector: &ConnectorId,
        workflow: &WorkflowId,
        schema: &PublicSchema,
        now: Timestamp,
    ) -> Result<VersionTable, PortError>;

    /// Notes the table version that a load aims at, before its commit, and enters [`Step::Loading`]. The first aim
    /// of a delivery stays; returns those that are kept, in order.
    async fn aim(&self, deliveries: &[DeliveryKey], table_version: u64, now: Timestamp) -> Result<Vec<u64>, PortError>;

    /// Notes that deliveries are loaded as these table versions (entering [`Step::Publishing`]), and that the table's
    /// log reaches at least the newest of them.
    async fn loaded(
        &self,
        deliveries: &[(DeliveryKey, u64)],
        table: &VersionTable,
        now: Timestamp,
    ) -> Result<(), PortError>;

    /// Notes that a version table is in the share.
    async fn version_table_shared(
        &self,
        connector: &ConnectorId,
        workflow: &WorkflowId,
        fingerprint: &Fingerprint,
    ) -> Result<(), PortError>;

    /// Every version table of a connector with its workflow, in the order of workflows and numbers.
    async fn version_tables(&self, connector: &ConnectorId) -> Result<Vec<(WorkflowId, VersionTable)>, PortError>;

    /// What is known of a workflow's `__LATEST`.
    async fn latest(&self, connector: &ConnectorId, workflow: &WorkflowId) -> Result<Option<LatestTable>, PortError>;

    /// Notes a state of `__LATEST` unless a newer one is known.
    async fn put_latest(
        &self,
        connector: &ConnectorId,
        workflow: &WorkflowId,
        latest: &LatestTable,
    ) -> Result<(), PortError>;

    /// Notes a proven version of a version table that `__LATEST` does not follow while it mirrors another one. A newer
    /// one that is noted stays.
    async fn pass_over(
        &self,
        connector: &ConnectorId,
        source: &TableName,
        source_version: u64,
    ) -> Result<(), PortError>;

    /// The newest version of a version table that was noted so. Sees every note that was made before.
    async fn passed_over(&self, connector: &ConnectorId, source: &TableName) -> Result<Option<u64>, PortError>;
}

/// Finds staged runs.
#[async_trait]
pub trait ManifestStore: Send + Sync {
    /// The manifest of a run that is staged whole, if there is one.
    async fn staged(&self, run: &RunKey) -> Result<Option<StagedRun>, PortError>;

    /// The manifests of several runs, in order.
    async fn staged_each(&self, runs: &[RunKey]) -> Vec<Result<Option<StagedRun>, PortError>> {
        let mut each = Vec::with_capacity(runs.len());
        for run in runs {
            each.push(self.staged(run).await);
        }
        each
    }
}

/// Stages runs.
#[async_trait]
pub trait RunStager: Send + Sync {
    /// Streams the run's output into the staging prefix and writes the manifest last.
    ///
    /// # Errors
    ///
    /// Codes of phase `staging`.
    async fn stage(&self, run: &Run, schema: &PublicSchema) -> Result<StagedRun, StepError>;
}

/// One atomic commit, in our words: what a table's log entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The Delta schema text that the table has from this commit on, if the commit makes the table or switches its
    /// schema.
    pub schema_string: Option<String>,
    /// Files that leave the table.
    pub removes: Vec<DataFile>,
    /// Files that enter the table.
    pub adds: Vec<DataFile>,
    /// `txn` actions: application id and its version.
    pub transactions: Vec<(String, i64)>,
    /// When the commit is made.
    pub timestamp: Timestamp,
    /// The operation's name in `commitInfo`.
    pub operation: &'static str,
    /// What the commit's files mean to readers of changes.
    pub change: DataChange,
}

/// What a commit's files mean to those who read changes: the `dataChange` flag of its actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataChange {
    /// Rows enter or leave the table.
    Rows,
    /// The same rows lie in other files.
    Layout,
}

/// A data file of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// The file's name in the table's folder.
    pub name: String,
    /// The file's size.
    pub size_bytes: u64,
    /// Statistics as the JSON text of a Delta `add` action.
    pub statistics: String,
}

/// A commit read back from a table's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedCommit {
    /// The Delta schema text that the table has from this commit on, if it says so.
    pub schema_string: Option<String>,
    /// Files that left the table.
    pub removes: Vec<DataFile>,
    /// Files that entered the table.
    pub adds: Vec<DataFile>,
    /// `txn` actions: application id and its version.
    pub transactions: Vec<(String, i64)>,
    /// What the files mean: [`DataChange::Layout`] if there are files and none of them says `dataChange`.
    pub change: DataChange,
}

/// What a table holds at one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableContents {
    /// The Delta schema text.
    pub schema_string: String,
    /// The files, in the order in which they were added.
    pub files: Vec<DataFile>,
}

/// Whether a version of a log was free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum WriteOutcome {
    /// The commit is that version now.
    Written,
    /// The version exists. Perhaps an earlier attempt of ours wrote it.
    Taken,
}

/// The Delta logs and data files of a connector's tables. There is no method that deletes: history outlives
/// revocation.
#[async_trait]
pub trait TableLog: Send + Sync {
    /// Offers one commit as one version of a table's log: a conditional write, one request.
    ///
    /// # Errors
    ///
    /// Returns [`PortError`] only if the outcome is unknown. Losing a race is an outcome.
    async fn write(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        table_version: u64,
        commit: &Commit,
    ) -> Result<WriteOutcome, PortError>;

    /// One commit of a table's log; `None` if that version is not there.
    async fn read(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        table_version: u64,
    ) -> Result<Option<LoggedCommit>, PortError>;

    /// The newest version of a table's log, found by listing; `None` if the table has no log.
    async fn newest_version(&self, connector: &ConnectorId, table: &TableName) -> Result<Option<u64>, PortError>;

    /// The Delta schema text of these columns, the two run columns behind them.
    fn schema_string(&self, schema: &PublicSchema) -> String;

    /// What a table holds at a version, by replaying its log.
    async fn contents(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        table_version: u64,
    ) -> Result<TableContents, PortError>;

    /// The version of an application's newest `txn` action in a table, found by replaying the log: for when the
    /// commits in question may have been cleaned up.
    async fn transaction(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        application_id: &str,
    ) -> Result<Option<i64>, PortError>;

    /// Copies a staged file into a table's folder inside the storage. Copying again is harmless.
    async fn copy_staged(
        &self,
        file: &StagedFile,
        connector: &ConnectorId,
        table: &TableName,
        name: &str,
    ) -> Result<(), PortError>;

    /// Copies several staged files, each under its name; what became of each, in order.
    async fn copy_staged_each(
        &self,
        files: &[(StagedFile, String)],
        connector: &ConnectorId,
        table: &TableName,
    ) -> Vec<Result<(), PortError>> {
        let mut each = Vec::with_capacity(files.len());
        for (file, name) in files {
            each.push(self.copy_staged(file, connector, table, name).await);
        }
        each
    }

    /// Copies data files from one table's folder to another's inside the storage.
    async fn copy_between(
        &self,
        connector: &ConnectorId,
        from: &TableName,
        to: &TableName,
        files: &[DataFile],
    ) -> Result<(), PortError>;
}

/// Starts the rollout of history to a connector.
#[async_trait]
pub trait RolloutStarter: Send + Sync {
    /// Starts the rollout of a connector that was ready in this revision of its record; one that was started for the
    /// same revision is left alone.
    async fn start(&self, connector: &ConnectorId, revision: u64) -> Result<(), PortError>;
}

/// Why a connector's rollout waits: its newest live delivery failed, and none was proven yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveFailure {
    /// The delivery.
    pub delivery: DeliveryKey,
    /// What it failed with.
    pub code: FailureCode,
    /// When.
    pub at: Timestamp,
}

/// Keeps what the rollout of a connector waits for.
#[async_trait]
pub trait RolloutStore: Send + Sync {
    /// Notes that a live delivery failed, if its connector is ready: in any other state nothing waits for it.
    async fn note_live_failure(&self, failure: &LiveFailure) -> Result<(), PortError>;

    /// The newest failure of a live delivery, unless one was proven since.
    async fn live_failure(&self, connector: &ConnectorId) -> Result<Option<LiveFailure>, PortError>;

    /// Forgets the failure: a live delivery was proven.
    async fn forget_live_failure(&self, connector: &ConnectorId) -> Result<(), PortError>;
}

/// Keeps connectors.
#[async_trait]
pub trait ConnectorStore: Send + Sync {
    /// A connector.
    async fn connector(&self, id: &ConnectorId) -> Result<Option<Connector>, PortError>;

    /// Writes a connector, its entry among the team's and an entry of its audit in one write, if the connector is
    /// still what was read (`before`, by its revision; `None`: there was none). A team's entry of before stays when the
    /// team changes: nobody but the team's own may set a connector up again.
    async fn change_connector(
        &self,
        before: Option<&Connector>,
        after: &Connector,
        entry: &AuditEntry,
    ) -> Result<Changed, PortError>;

    /// Every connector that was ever set up, in the order of their ids.
    async fn connectors(&self) -> Result<Vec<ConnectorId>, PortError>;

    /// A connector's audit, oldest first: at most the newest `limit` entries.
    async fn audit(&self, id: &ConnectorId, limit: usize) -> Result<Vec<Audited>, PortError>;
}

/// Asks for a table's maintenance.
#[async_trait]
pub trait MaintenanceRequests: Send + Sync {
    /// Has these tables looked at soon: checkpoint, and compaction if there are many small files. Asking twice is
    /// harmless.
    async fn request(&self, connector: &ConnectorId, tables: &[TableName]) -> Result<(), PortError>;
}

/// Asks for the full maintenance of tables.
#[async_trait]
pub trait FullMaintenanceRequests: Send + Sync {
    /// Has these tables looked at soon, log and files cleaned up too. Asking twice is harmless.
    async fn request_full(&self, connector: &ConnectorId, tables: &[TableName]) -> Result<(), PortError>;
}

/// Takes messages that will never pass, with the reason, where somebody can see them.
#[async_trait]
pub trait RefusedMessages: Send + Sync {
    /// Puts a refused message away. The body is kept as it came.
    async fn refuse(&self, body: &str, error: &StepError) -> Result<(), PortError>;
}
