//! What the steps need of the world, in our words. Adapters live in `aws`, `tables`, `rows` assemblies and
//! `sharing`; fakes in `testkit`, where one contract suite per port runs against both.

use async_trait::async_trait;

use crate::catalogue::CatalogueEntry;
use crate::connector::{Connector, Scope};
use crate::failure::StepError;
use crate::ids::{ConnectorId, DeliveryKey, RunKey, TeamId, WorkflowId};
use crate::metadata::{Batched, BegunBatch, DeliveredFacts, KeptRow, MetadataTable, Row, WaitingRow};
use crate::run::Run;
use crate::schema::{Fingerprint, PublicSchema};
use crate::staged::{StagedFile, StagedRun};
use crate::state::{Delivery, Ended, Step};
use crate::table::{LatestTable, TableName, VersionTable};
use crate::timestamp::Timestamp;

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

/// Passes the time in, so that steps can be replayed.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// A connector that takes data, as far as accepting a run or an activity event needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyConnector {
    /// The connector.
    pub id: ConnectorId,
    /// Which workflows it takes.
    pub workflows: Scope,
    /// Whether activity is delivered.
    pub activity_log: bool,
}

/// Whether a run was recorded now or before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Recorded {
    /// Recorded now, with a delivery for each connector.
    New,
    /// A copy of its message was recorded before, for these connectors.
    Before {
        /// The connectors that were in scope then.
        connectors: Vec<ConnectorId>,
    },
}

/// Keeps every finished run, wanted or not.
#[async_trait]
pub trait RunStore: Send + Sync {
    /// The ready connectors of a team.
    async fn ready_connectors(&self, team: &TeamId) -> Result<Vec<ReadyConnector>, PortError>;

    /// Records a run and, in the same write, an `accepted` delivery for each connector (at most 90). The first
    /// record of a run stays.
    async fn record_run(&self, run: &Run, connectors: &[ConnectorId], now: Timestamp) -> Result<Recorded, PortError>;

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
    /// Notes that a step began for these deliveries, making records that do not exist. Entering
    /// [`Step::Staging`] counts an attempt.
    async fn enter(&self, deliveries: &[DeliveryKey], step: Step, now: Timestamp) -> Result<(), PortError>;

    /// Notes what a delivery ended with. The first `shared` of a delivery puts, in the same write, its row of
    /// [`MetadataTable::WorkflowRuns`] among those that wait for a batch; a later one adds nothing.
    async fn end(&self, delivery: &DeliveryKey, ended: &Ended, now: Timestamp) -> Result<(), PortError>;

    /// The delivery's record.
    async fn delivery(&self, key: &DeliveryKey) -> Result<Option<Delivery>, PortError>;
}

/// Everything that a load needs to know, read in one request.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadView {
    /// The connector, if it exists.
    pub connector: Option<Connector>,
    /// The delivery, if it is recorded.
    pub delivery: Option<Delivery>,
    /// The version table of the run's schema, if it was opened.
    pub table: Option<VersionTable>,
}

/// Keeps what is known of tables, so that the hot path needs no snapshot.
#[async_trait]
pub trait TableStore: Send + Sync {
    /// Reads connector, delivery and version table.
    async fn load_view(&self, delivery: &DeliveryKey, fingerprint: &Fingerprint) -> Result<LoadView, PortError>;

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
    /// of a delivery stays; returns the one that is kept.
    async fn aim(&self, delivery: &DeliveryKey, table_version: u64, now: Timestamp) -> Result<u64, PortError>;

    /// Notes, in one write, that the delivery is loaded (entering [`Step::Publishing`]) and that the table's log
    /// reaches at least this version.
    async fn loaded(
        &self,
        delivery: &DeliveryKey,
        table: &VersionTable,
        table_version: u64,
        now: Timestamp,
    ) -> Result<(), PortError>;

    /// Notes that a version table is in the share.
    async fn version_table_shared(
        &self,
        connector: &ConnectorId,
        workflow: &WorkflowId,
        fingerprint: &Fingerprint,
    ) -> Result<(), PortError>;

    /// What is known of a workflow's `__LATEST`.
    async fn latest(&self, connector: &ConnectorId, workflow: &WorkflowId) -> Result<Option<LatestTable>, PortError>;

    /// Notes a state of `__LATEST` unless a newer one is known.
    async fn put_latest(
        &self,
        connector: &ConnectorId,
        workflow: &WorkflowId,
        latest: &LatestTable,
    ) -> Result<(), PortError>;
}

/// Finds staged runs.
#[async_trait]
pub trait ManifestStore: Send + Sync {
    /// The manifest of a run that is staged whole, if there is one.
    async fn staged(&self, run: &RunKey) -> Result<Option<StagedRun>, PortError>;
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

    /// Copies data files from one table's folder to another's inside the storage.
    async fn copy_between(
        &self,
        connector: &ConnectorId,
        from: &TableName,
        to: &TableName,
        files: &[DataFile],
    ) -> Result<(), PortError>;
}

/// The sharing backend: who may read what.
#[async_trait]
pub trait SharingBackend: Send + Sync {
    /// Makes the connector's share, empty, if it is not there.
    async fn provision(&self, connector: &Connector) -> Result<Provisioned, PortError>;

    /// Puts a table into the connector's share, and reads back that it is there.
    async fn add_table(&self, connector: &ConnectorId, table: &TableName) -> Result<(), PortError>;

    /// Takes a table out of the connector's share.
    async fn remove_table(&self, connector: &ConnectorId, table: &TableName) -> Result<(), PortError>;
}

/// Whether a share is the connector's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Provisioned {
    /// The share is there and belongs to this connector.
    Ready,
    /// A share of that name belongs to another connector.
    Taken,
}

/// One file of a shared table, as a recipient sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFile {
    /// The short-lived URL. Never logged.
    pub url: String,
    /// The file's size, as stated.
    pub size_bytes: u64,
    /// The file's rows, as stated by its statistics.
    pub rows: Option<u64>,
    /// The run that all rows of the file belong to, as stated by its statistics.
    pub run_id: Option<String>,
}

/// A shared table version, as a recipient sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedView {
    /// The table version that the server answered with.
    pub table_version: u64,
    /// The columns in order, each as `name type` with nested types written out.
    pub columns: Vec<String>,
    /// Every name in the schema, nested ones included.
    pub names: Vec<String>,
    /// The files.
    pub files: Vec<SharedFile>,
}

/// What the tail of a fetched Parquet file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedFile {
    /// The object's whole size.
    pub size_bytes: u64,
    /// The row count in the Parquet footer.
    pub rows: u64,
    /// The leaf column names in the Parquet footer.
    pub columns: Vec<String>,
}

/// Reads a share the way the recipient does: over HTTP, with a bearer token.
#[async_trait]
pub trait ShareReader: Send + Sync {
    /// Reads what a table version holds of one run: schema and files.
    async fn read(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        scope: ReadScope<'_>,
    ) -> Result<SharedView, PortError>;

    /// Fetches the footer of one file by its URL.
    async fn fetch_footer(&self, file: &SharedFile) -> Result<FetchedFile, PortError>;
}

/// What a proof reads of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadScope<'a> {
    /// The newest table version, all files.
    Newest,
    /// One run in one table version: the run's files are those whose statistics hold its id.
    Run {
        /// The table version.
        table_version: u64,
        /// The run's id.
        run_id: &'a str,
    },
}

/// Keeps connectors.
#[async_trait]
pub trait ConnectorStore: Send + Sync {
    /// A connector.
    async fn connector(&self, id: &ConnectorId) -> Result<Option<Connector>, PortError>;

    /// Writes a connector and its entry among the team's connectors in one write.
    async fn put_connector(&self, connector: &Connector) -> Result<(), PortError>;
}

/// Whether the secure contact has a link to the credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invitation {
    /// A link was sent, or was used already.
    Sent,
    /// No link was sent, or nobody knows whether it was.
    Unsent,
}

/// Invites the recipient: link, e-mail, and nothing kept but a hash.
#[async_trait]
pub trait Inviter: Send + Sync {
    /// Whether the connector's recipient was invited before.
    async fn invitation(&self, connector: &ConnectorId) -> Result<Invitation, PortError>;

    /// Makes a new link in place of any earlier unused one, sends it to the secure contact, and notes that it was
    /// sent. The link exists nowhere else.
    async fn invite(&self, connector: &Connector, now: Timestamp) -> Result<(), PortError>;
}

/// Keeps rows of the tables that are written in batches until their batch is committed.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Puts rows that wait for the next batch of their table. A key that was put before, waiting still or committed
    /// already, is passed over: doing it twice does it once.
    async fn put(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
        rows: &[WaitingRow],
        now: Timestamp,
    ) -> Result<(), PortError>;
}

/// What the writer of the metadata tables begins with.
#[derive(Debug, Clone, PartialEq)]
pub struct WriterView {
    /// The connector, if it exists.
    pub connector: Option<Connector>,
    /// What is known of [`MetadataTable::WorkflowRuns`].
    pub runs: Batched,
    /// What is known of [`MetadataTable::ActivityLog`].
    pub activity: Batched,
    /// How far the catalogue tables follow.
    pub catalogue: CatalogueMark,
}

/// How far the catalogue tables follow what is known of workflows and their schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CatalogueMark {
    /// How often something changed that the tables tell of.
    pub changes: u64,
    /// The changes that the tables are known to tell of.
    pub published: u64,
}

/// Whether a batch is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum BatchBegun {
    /// Begun now.
    Now,
    /// Another writer was first: what is known is out of date.
    Outdated,
}

/// Whether something that the catalogue tables tell of is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum CatalogueChange {
    /// A schema version has its first delivered run, or a workflow a new name; [`CatalogueMark::changes`] counts it.
    Changed,
    /// The tables stay as they are.
    Unchanged,
}

/// The writer's side of the [`Outbox`], and what it knows of the tables. All reads are consistent: what was written
/// before a read is seen by it.
#[async_trait]
pub trait MetadataStore: Send + Sync {
    /// Reads everything that a drain begins with, in one request.
    async fn writer_view(&self, connector: &ConnectorId) -> Result<WriterView, PortError>;

    /// What is known of a table that is written in batches.
    async fn batched(&self, connector: &ConnectorId, table: MetadataTable) -> Result<Batched, PortError>;

    /// The first rows that wait, in the order of their keys: at most [`crate::metadata::BATCH_ROWS_MAX`] with at most
    /// [`crate::metadata::BATCH_KEY_BYTES_MAX`] of keys, and whether more wait.
    async fn waiting(&self, connector: &ConnectorId, table: MetadataTable) -> Result<(Vec<KeptRow>, More), PortError>;

    /// Those of these rows that still wait, in the order of the keys.
    async fn rows_of(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
        keys: &[String],
    ) -> Result<Vec<KeptRow>, PortError>;

    /// Begins a batch if `known` is still what is known of the table. [`Batched`] has to be read before the rows that
    /// wait: rows of a finished batch are gone before its number is.
    async fn begin(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
        known: &Batched,
        batch: &BegunBatch,
    ) -> Result<BatchBegun, PortError>;

    /// Deletes the rows of a committed batch, and then notes that it is finished and the table version that its commit
    /// is at most behind. Finishing again is harmless.
    async fn finish(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
        batch: &BegunBatch,
        table_version: u64,
    ) -> Result<(), PortError>;

    /// Notes of delivered runs, for each schema version, the first one (once, by `finished_at`), and for each workflow
    /// its name as of the newest one; in the same write, that the catalogue changed, if one of these is new.
    async fn note_delivered(
        &self,
        connector: &ConnectorId,
        delivered: &[DeliveredFacts],
    ) -> Result<CatalogueChange, PortError>;

    /// How far the catalogue tables follow.
    async fn catalogue_mark(&self, connector: &ConnectorId) -> Result<CatalogueMark, PortError>;

    /// The schema versions with at least one delivered run, in the order of workflows and numbers.
    async fn catalogue(&self, connector: &ConnectorId) -> Result<Vec<CatalogueEntry>, PortError>;

    /// Notes that the catalogue tables tell of this many changes. Never goes back.
    async fn catalogue_published(&self, connector: &ConnectorId, changes: u64) -> Result<(), PortError>;
}

/// Whether there is more than was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// More waits.
    Yes,
    /// That was all.
    No,
}

/// A data file of a metadata table with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedFile {
    /// Name, size and statistics.
    pub file: DataFile,
    /// The file's bytes.
    pub bytes: Vec<u8>,
}

/// Encodes rows of metadata tables, and puts the files where the tables lie.
#[async_trait]
pub trait MetadataFiles: Send + Sync {
    /// The Delta schema text of a metadata table, with a comment on each column.
    fn metadata_schema_string(&self, table: MetadataTable) -> String;

    /// Rows as one data file. Its name begins with `prefix` and ends with a hash of its bytes: equal rows make an equal
    /// file, and different ones never overwrite each other.
    ///
    /// # Errors
    ///
    /// `InvalidData` if a row does not have its table's columns.
    fn encode(&self, table: MetadataTable, prefix: &str, rows: &[Row]) -> Result<EncodedFile, PortError>;

    /// Puts a file into a table's folder. Putting again is harmless.
    async fn put_file(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
        file: &EncodedFile,
    ) -> Result<(), PortError>;
}

/// Wakes the writer of a connector's metadata tables.
#[async_trait]
pub trait MetadataWriterWaker: Send + Sync {
    /// Has the metadata tables of a connector written some seconds from now. Many calls at about one time are one
    /// wake; rows that were put into the [`Outbox`] before the call are seen by it.
    async fn wake(&self, connector: &ConnectorId, now: Timestamp) -> Result<(), PortError>;
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
