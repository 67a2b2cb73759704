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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use delivery::connector::{Connector, Recipient, SharingIdentifier};
    use delivery::ports::{
        Commit, DataChange, RecipientBackend as _, Refusal, Refused, SharingBackend as _, WriteOutcome,
    };
    use fake_databricks::{FakeDatabricks, Options, ReadyCatalog};
    use object_store::memory::InMemory;
    use object_store::{ObjectStoreExt as _, PutPayload};
    use testkit::builders::{connector, instant, schema_of};
    use testkit::sharing::ManualClock;
    use unity_catalog::backend::{BackendSettings, Registration};
    use unity_catalog::names::DeploymentName;
    use unity_catalog::ports::{ClientCredential, ClientSecret, CredentialSource, LoggedSchemas};
    use unity_catalog::transport::{Patience, Workspace, WorkspaceUrl};

    use super::*;

    struct Principal;

    #[async_trait]
    impl CredentialSource for Principal {
        async fn credential(&self) -> Result<ClientCredential, PortError> {
            let secret = ClientSecret::new("secret-1");
            Ok(ClientCredential { client_id: "principal-1".to_owned(), secret })
        }
    }

    struct World {
        fake: FakeDatabricks,
        backend: Arc<UnityCatalogBackend>,
        reader: MetastoreReader,
        log: ObjectStoreTableLog,
        store: Arc<InMemory>,
        acme: Connector,
        table: TableName,
    }

    impl World {
        /// A connector of a metastore with a table of one run, which is in the share.
        async fn new() -> Self {
            let clock = Arc::new(ManualClock::at_seconds(0));
            let mut options = Options::new(clock.clone());
            let location_url = "s3://tables/connectors".to_owned();
            options.catalog = Some(ReadyCatalog { name: "main".to_owned(), location_url });
            let fake = FakeDatabricks::start(options).await.unwrap();
            let store = Arc::new(InMemory::new());
            let log = ObjectStoreTableLog::new(store.clone());
            let patience = Patience { request_max: Duration::from_secs(5), ..Patience::default() };
            let url = WorkspaceUrl::new(&fake.url()).unwrap();
            let workspace =
                Workspace::new(url, Arc::new(Principal), clock, Arc::new(crate::pause::InvocationPause), patience)
                    .unwrap();
            let settings = BackendSettings {
                deployment: DeploymentName::new("test").unwrap(),
                catalog: "main".to_owned(),
                tables_url: "s3://tables".to_owned(),
                registration: Registration::TablesApi { refresh_warehouse: None },
            };
            let schemas = LoggedSchemas::new(Arc::new(ObjectStoreTableLog::new(store.clone())));
            let backend = Arc::new(UnityCatalogBackend::new(Arc::new(workspace), Arc::new(schemas), settings));
            let identifier = SharingIdentifier::new("aws:us-west-2:19a84bee-54bc-43a2-87de-023d0ec16016").unwrap();
            let acme = Connector { recipient: Recipient::Databricks(identifier), ..connector("acme", "t") };
            let reader = MetastoreReader::new(backend.clone(), store.clone());
            let table = TableName::from_stored("WF_A__V1");
            let world = Self { fake, backend, reader, log, store, acme, table };
            world.commit(0, Some("title"), &["r-1"]).await;
            let _ = world.backend.provision(&world.acme).await.unwrap();
            let _ = world.backend.connect(&world.acme).await.unwrap();
            world.backend.add_table(&world.acme.id, &world.table).await.unwrap();
            world
        }

        async fn commit(&self, version: u64, field: Option<&str>, runs: &[&str]) {
            let file = |run: &&str| DataFile {
                name: format!("{run}-00000.parquet"),
                size_bytes: 7,
                statistics: format!(
                    r#"{{"numRecords":2,"minValues":{{"run_id":"{run}"}},"maxValues":{{"run_id":"{run}"}},"nullCount":{{"run_id":0}}}}"#
                ),
            };
            let commit = Commit {
                schema_string: field.map(|field| self.log.schema_string(&schema_of(field))),
                removes: Vec::new(),
                adds: runs.iter().map(file).collect(),
                transactions: Vec::new(),
                timestamp: instant(0),
                operation: "WRITE",
                change: DataChange::Rows,
            };
            let written = self.log.write(&self.acme.id, &self.table, version, &commit).await.unwrap();
            assert_eq!(written, WriteOutcome::Written);
        }

        async fn read(&self, table_version: u64) -> Result<SharedView, PortError> {
            let scope = ReadScope::Runs { table_version, run_ids: &["r-2"] };
            self.reader.read(&self.acme.id, &self.table, scope).await
        }
    }

    #[tokio::test]
    async fn a_version_is_read_as_its_recipient_s_metastore_is_given_it() {
        let world = World::new().await;
        world.commit(1, None, &["r-2", "r-3"]).await;
        let view = world.read(1).await.unwrap();
        let text = world.log.schema_string(&schema_of("title"));
        assert_eq!(view.columns, tables::schema::describe(&text).unwrap().columns, "the words of the proof");
        let files: Vec<_> = view.files.iter().map(|file| (file.run_id.as_deref(), file.rows)).collect();
        assert_eq!((view.table_version, files), (1, vec![(Some("r-2"), Some(2)), (Some("r-3"), Some(2))]));
        let newest = world.reader.read(&world.acme.id, &world.table, ReadScope::Newest).await.unwrap();
        assert_eq!((newest.table_version, newest.files.len()), (1, 3));
    }

    #[tokio::test]
    async fn a_file_that_is_no_parquet_file_or_not_there_is_not_proven() {
        let world = World::new().await;
        let file = world.read(0).await.unwrap().files.remove(0);
        let error = world.reader.fetch_footer(&file).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::NotFound);
        world.store.put(&Path::from(file.url.as_str()), PutPayload::from_static(b"garbled")).await.unwrap();
        let error = world.reader.fetch_footer(&file).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn what_its_recipient_could_not_read_is_not_proven() {
        let world = World::new().await;
        world.commit(1, Some("another"), &["r-2"]).await;
        assert_eq!(world.read(1).await.unwrap_err().kind, PortErrorKind::InvalidData, "columns that nobody registered");

        world.fake.set_table_owner("main.acme.wf_a__v1", "somebody");
        let error = world.read(0).await.unwrap_err();
        assert_eq!(Refused::of(&error).map(|refused| refused.refusal), Some(Refusal::NotReadable));
        world.fake.set_table_owner("main.acme.wf_a__v1", "principal-1");
        world.read(0).await.unwrap();

        world.backend.revoke(&world.acme, instant(0)).await.unwrap();
        assert!(world.read(0).await.is_err(), "nobody is granted the share");
        let _ = world.backend.connect(&world.acme).await.unwrap();
        world.backend.remove_table(&world.acme.id, &world.table).await.unwrap();
        assert_eq!(world.read(0).await.unwrap_err().kind, PortErrorKind::NotFound, "not in the share");
    }
}
