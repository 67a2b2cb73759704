//! The metadata tables: what waits for them, what is known of them, their files.

use async_trait::async_trait;

use super::{DataFile, PortError};
use crate::catalogue::CatalogueEntry;
use crate::connector::Connector;
use crate::ids::ConnectorId;
use crate::metadata::{Batched, BegunBatch, DeliveredFacts, KeptRow, MetadataTable, Row, WaitingRow};
use crate::timestamp::Timestamp;

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
