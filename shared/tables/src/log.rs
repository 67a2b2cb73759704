//! [`TableLog`] on an object store. A commit is one conditional PUT; data moves by copies inside the store.

use std::sync::Arc;

use async_trait::async_trait;
use delivery::ids::ConnectorId;
use delivery::ports::{
    Commit, DataFile, LoggedCommit, PortError, PortErrorKind, TableContents, TableLog, WriteOutcome,
};
use delivery::schema::PublicSchema;
use delivery::staged::StagedFile;
use delivery::table::{TableName, table_path};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::actions::{self, Creates};
use crate::snapshot::TableReader;
use crate::{schema, table_id};

/// Copies under way at once: enough to hide the latency of storage, few enough not to be throttled.
const COPIES_AT_ONCE: usize = 16;

/// The logs and files of the tables in one store.
#[derive(Debug)]
pub struct ObjectStoreTableLog {
    store: Arc<dyn ObjectStore>,
    reader: TableReader,
}

impl ObjectStoreTableLog {
    /// The tables of a store, such as the tables bucket.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { reader: TableReader::new(Arc::clone(&store)), store }
    }

    async fn copy(&self, from: &Path, to: &Path) -> Result<(), PortError> {
        self.store.copy(from, to).await.map_err(|error| port_error("copy a data file", error))
    }
}

/// Offers a commit as one version of the log of the table at `path`: one conditional write.
pub(crate) async fn write_commit(
    store: &dyn ObjectStore,
    path: &str,
    table_version: u64,
    commit: &Commit,
) -> Result<WriteOutcome, PortError> {
    let creates = if table_version == 0 { Creates::Table } else { Creates::Nothing };
    let bytes = actions::encode(commit, &table_id(path), creates)
        .map_err(|error| PortError::new(PortErrorKind::InvalidData, "write a commit", error))?;
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    match store.put_opts(&log_entry(path, table_version), PutPayload::from(bytes), options).await {
        Ok(_) => Ok(WriteOutcome::Written),
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
            Ok(WriteOutcome::Taken)
        }
        Err(error) => Err(port_error("write a commit", error)),
    }
}

/// One commit of the log of the table at `path`; `None` if that version is not there.
pub(crate) async fn read_commit(
    store: &dyn ObjectStore,
    path: &str,
    table_version: u64,
) -> Result<Option<LoggedCommit>, PortError> {
    let bytes = match store.get(&log_entry(path, table_version)).await {
        Ok(found) => found.bytes().await.map_err(|error| port_error("read a commit", error))?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(port_error("read a commit", error)),
    };
    let commit =
        actions::decode(&bytes).map_err(|error| PortError::new(PortErrorKind::InvalidData, "read a commit", error))?;
    Ok(Some(commit))
}

fn log_entry(path: &str, table_version: u64) -> Path {
    Path::from(format!("{path}/_delta_log/{table_version:020}.json"))
}

fn data_file(connector: &ConnectorId, table: &TableName, name: &str) -> Path {
    Path::from(table_path(connector, table)).join(name)
}

#[async_trait]
impl TableLog for ObjectStoreTableLog {
    async fn write(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        table_version: u64,
        commit: &Commit,
    ) -> Result<WriteOutcome, PortError> {
        write_commit(&*self.store, &table_path(connector, table), table_version, commit).await
    }

    async fn read(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        table_version: u64,
    ) -> Result<Option<LoggedCommit>, PortError> {
        read_commit(&*self.store, &table_path(connector, table), table_version).await
    }

    async fn newest_version(&self, connector: &ConnectorId, table: &TableName) -> Result<Option<u64>, PortError> {
        self.reader.newest_version(&table_path(connector, table)).await
    }

    async fn transaction(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        application_id: &str,
    ) -> Result<Option<i64>, PortError> {
        self.reader.transaction(&table_path(connector, table), application_id).await
    }

    fn schema_string(&self, schema: &PublicSchema) -> String {
        schema::schema_string(schema)
    }

    async fn contents(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        table_version: u64,
    ) -> Result<TableContents, PortError> {
        let snapshot = self.reader.snapshot(&table_path(connector, table), Some(table_version)).await?;
        let files = snapshot
            .files()
            .map(|file| DataFile {
                name: file.path.clone(),
                size_bytes: file.size,
                statistics: file.stats.clone().unwrap_or_default(),
            })
            .collect();
        Ok(TableContents { schema_string: snapshot.metadata.schema_string.clone(), files })
    }

    async fn copy_staged(
        &self,
        file: &StagedFile,
        connector: &ConnectorId,
        table: &TableName,
        name: &str,
    ) -> Result<(), PortError> {
        self.copy(&Path::from(file.key.as_str()), &data_file(connector, table, name)).await
    }

    async fn copy_staged_each(
        &self,
        files: &[(StagedFile, String)],
        connector: &ConnectorId,
        table: &TableName,
    ) -> Vec<Result<(), PortError>> {
        let copies = files.iter().map(|(file, name)| self.copy_staged(file, connector, table, name));
        futures::stream::iter(copies.collect::<Vec<_>>()).buffered(COPIES_AT_ONCE).collect().await
    }

    async fn copy_between(
        &self,
        connector: &ConnectorId,
        from: &TableName,
        to: &TableName,
        files: &[DataFile],
    ) -> Result<(), PortError> {
        let copies: Vec<_> = files
            .iter()
            .map(|file| (data_file(connector, from, &file.name), data_file(connector, to, &file.name)))
            .collect();
        futures::stream::iter(copies)
            .map(|(from, to)| async move { self.copy(&from, &to).await })
            .buffer_unordered(COPIES_AT_ONCE)
            .try_collect()
            .await
    }
}

/// What a storage error means to the steps.
#[must_use]
pub fn port_error(operation: &'static str, error: object_store::Error) -> PortError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the store's error enum is non-exhaustive")]
    let kind = match &error {
        object_store::Error::NotFound { .. } => PortErrorKind::NotFound,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            PortErrorKind::Denied
        }
        object_store::Error::InvalidPath { .. } => PortErrorKind::InvalidData,
        _ => PortErrorKind::Unavailable,
    };
    PortError::new(kind, operation, error)
}
