//! Reading a delivery from a metastore's side: what the recipient's metastore is given, and what lies where it points.
//!
//! Nobody but the recipient can read as the recipient does. So this reads everything that its reading goes by: the share
//! has the table and may hand it out, the grant stands at both ends, the registered columns, the commit at the registered
//! place, and the files that it names.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use delivery::ids::ConnectorId;
use delivery::ports::{
    DataFile, FetchedFile, PortError, PortErrorKind, ReadScope, ShareReader, SharedFile, SharedView, TableLog,
};
use delivery::table::{TableName, table_path};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};
use sharing::reader::footer::{self, Footer};
use sharing::reader::shared_file;
use tables::log::ObjectStoreTableLog;
use unity_catalog::backend::UnityCatalogBackend;

const READ: &str = "read what a recipient's metastore is given";
const FETCH: &str = "fetch the footer of a data file";

/// A [`ShareReader`] of a metastore's shares.
pub struct MetastoreReader {
    backend: Arc<UnityCatalogBackend>,
    log: ObjectStoreTableLog,
    bucket: Arc<dyn ObjectStore>,
}

impl fmt::Debug for MetastoreReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetastoreReader")
    }
}

impl MetastoreReader {
    /// Reads the shares of a backend whose tables lie in this bucket.
    #[must_use]
    pub fn new(backend: Arc<UnityCatalogBackend>, bucket: Arc<dyn ObjectStore>) -> Self {
        Self { backend, log: ObjectStoreTableLog::new(bucket.clone()), bucket }
    }

    /// The files of a table version; of one run's commit, if the log still has it: what a run brought stands there.
    async fn files(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        scope: ReadScope<'_>,
    ) -> Result<(u64, Vec<DataFile>, Option<String>), PortError> {
        let version = match scope {
            ReadScope::Runs { table_version, .. } => {
                if let Some(commit) = self.log.read(connector, table, table_version).await? {
                    return Ok((table_version, commit.adds, commit.schema_string));
                }
                table_version
            }
            ReadScope::Newest => {
                let newest = self.log.newest_version(connector, table).await?;
                newest.ok_or_else(|| PortError::new(PortErrorKind::NotFound, READ, "the table has no log"))?
            }
        };
        let contents = self.log.contents(connector, table, version).await?;
        Ok((version, contents.files, Some(contents.schema_string)))
    }
}

#[async_trait]
impl ShareReader for MetastoreReader {
    async fn read(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        scope: ReadScope<'_>,
    ) -> Result<SharedView, PortError> {
        let unreadable = |source| PortError::new(PortErrorKind::InvalidData, READ, source);
        let registered = self.backend.registered_schema(connector, table).await?;
        let shown = tables::schema::describe(&registered).map_err(|error| unreadable(error.to_string()))?;
        let (table_version, files, logged) = self.files(connector, table, scope).await?;
        if let Some(logged) = logged {
            let logged = tables::schema::describe(&logged).map_err(|error| unreadable(error.to_string()))?;
            if logged.columns != shown.columns {
                return Err(unreadable("the metastore's columns are not the log's".to_owned()));
            }
        }
        let place = table_path(connector, table);
        let file = |file: DataFile| {
            shared_file(format!("{place}/{}", file.name), file.size_bytes, Some(file.statistics.as_str()))
        };
        Ok(SharedView {
            table_version,
            columns: shown.columns,
            names: shown.names,
            files: files.into_iter().map(file).collect(),
        })
    }

    /// The file's place stands where its URL would.
    async fn fetch_footer(&self, file: &SharedFile) -> Result<FetchedFile, PortError> {
        let place = Path::parse(&file.url).map_err(|error| PortError::new(PortErrorKind::InvalidData, FETCH, error))?;
        let mut tail_bytes = footer::TAIL_BYTES;
        loop {
            let (tail, object_bytes) = self.tail(&place, tail_bytes).await?;
            match footer::read(&tail)? {
                Footer::Whole { rows, columns } => {
                    return Ok(FetchedFile { size_bytes: object_bytes, rows, columns });
                }
                Footer::LongerThanTail { bytes } if bytes > tail_bytes && bytes <= object_bytes => tail_bytes = bytes,
                Footer::LongerThanTail { .. } => {
                    return Err(PortError::new(PortErrorKind::InvalidData, FETCH, "the footer is cut off"));
                }
            }
        }
    }
}

impl MetastoreReader {
    async fn tail(&self, place: &Path, tail_bytes: u64) -> Result<(Bytes, u64), PortError> {
        let options = GetOptions { range: Some(GetRange::Suffix(tail_bytes)), ..GetOptions::default() };
        let failed = |error| tables::log::port_error(FETCH, error);
        let found = self.bucket.get_opts(place, options).await.map_err(failed)?;
        let object_bytes = found.meta.size;
        Ok((found.bytes().await.map_err(failed)?, object_bytes))
    }
}
