//! `MaintainTables`: a message a table in, a table that is cheap to open out. A message of the schedule asks for all
//! tables that lie in storage.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use aws::sqs::{DeadLetters, MaintenanceQueue};
use delivery::failure::{FailureCode, StepError};
use delivery::ids::ConnectorId;
use delivery::ports::{Clock, FullMaintenanceRequests, PortError, PortErrorKind, RefusedMessages};
use delivery::table::{TableName, table_path};
use events::maintenance::{Asked, Extent, TableAsked};
use lambda::{BatchTask, Environment, SettingsError, SystemClock};
use object_store::ObjectStore;
use object_store::path::Path;
use tables::maintenance::{HISTORY_DAYS_MAX, HISTORY_DAYS_MIN, Maintained, Maintenance, Policy, Work};

/// Where the connectors' tables lie.
const CONNECTORS: &str = "connectors";

/// The function.
pub struct MaintainTables {
    store: Arc<dyn ObjectStore>,
    maintenance: Maintenance,
    requests: Arc<dyn FullMaintenanceRequests>,
    refused: Arc<dyn RefusedMessages>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for MaintainTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaintainTables")
    }
}

#[async_trait]
impl BatchTask for MaintainTables {
    const STEP: &'static str = "MaintainTables";
    const SETTINGS: &'static [&'static str] =
        &["TABLES_BUCKET", "MAINTENANCE_QUEUE_URL", "REFUSED_MESSAGES_QUEUE_URL", "HISTORY_DAYS"];

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let days = environment.require_as("HISTORY_DAYS", "a number of days from 7 to 365", |text| {
            text.parse().ok().filter(|days| (HISTORY_DAYS_MIN..=HISTORY_DAYS_MAX).contains(days))
        })?;
        let bucket = aws::s3::bucket(environment.require("TABLES_BUCKET")?)
            .map_err(|_| SettingsError::Invalid { name: "TABLES_BUCKET", expected: "a bucket's name" })?;
        let config = aws::connect().await;
        let store: Arc<dyn ObjectStore> = Arc::new(bucket);
        Ok(Self {
            maintenance: Maintenance::new(store.clone(), Policy::keeping(days)),
            store,
            requests: Arc::new(MaintenanceQueue::new(&config, environment.require("MAINTENANCE_QUEUE_URL")?)),
            refused: Arc::new(DeadLetters::new(&config, environment.require("REFUSED_MESSAGES_QUEUE_URL")?)),
            clock: Arc::new(SystemClock),
        })
    }

    async fn handle(&self, body: &str) -> Result<(), StepError> {
        match events::maintenance::read(body)? {
            Asked::Table(asked) => self.maintain(asked).await,
            Asked::Sweep => self.sweep().await,
        }
    }

    fn refused(&self) -> &dyn RefusedMessages {
        &*self.refused
    }
}

impl MaintainTables {
    async fn maintain(&self, asked: TableAsked) -> Result<(), StepError> {
        let work = match asked.extent {
            Extent::AfterCommits => Work::AfterCommits,
            Extent::Full => Work::Full,
        };
        let path = table_path(&asked.connector, &asked.table);
        let done = self.maintenance.maintain(&path, work, self.clock.now()).await.map_err(classify)?;
        if done.unfinished {
            let again = std::slice::from_ref(&asked.table);
            self.requests.request_full(&asked.connector, again).await.map_err(classify)?;
        }
        log(&asked, &done);
        Ok(())
    }

    /// Asks for every table that lies in storage, whatever the state table knows of it.
    async fn sweep(&self) -> Result<(), StepError> {
        let (mut connectors, mut tables) = (0, 0);
        for id in self.folders(&Path::from(CONNECTORS)).await? {
            let Ok(connector) = ConnectorId::new(id.as_str()) else { continue };
            let names = self.folders(&Path::from(CONNECTORS).join(id)).await?;
            let names: Vec<_> = names.into_iter().map(TableName::from_stored).collect();
            self.requests.request_full(&connector, &names).await.map_err(classify)?;
            connectors += 1;
            tables += names.len();
        }
        tracing::info!(connectors, tables, "asked for the maintenance of all tables");
        Ok(())
    }

    /// The names of the folders in a folder.
    async fn folders(&self, folder: &Path) -> Result<Vec<String>, StepError> {
        let found = self.store.list_with_delimiter(Some(folder)).await.map_err(|error| {
            classify(PortError::new(PortErrorKind::Unavailable, "list the connectors' tables", error))
        })?;
        Ok(found.common_prefixes.iter().filter_map(|prefix| prefix.filename().map(str::to_owned)).collect())
    }
}

fn log(asked: &TableAsked, done: &Maintained) {
    tracing::info!(
        connector.id = asked.connector.as_str(),
        table = asked.table.as_str(),
        table_version = done.version,
        checkpoint = done.checkpoint,
        files_merged = done.files_merged,
        files_made = done.files_made,
        bytes_merged = done.bytes_merged,
        log_files_deleted = done.log_files_deleted,
        data_files_deleted = done.data_files_deleted,
        bytes_deleted = done.bytes_deleted,
        unfinished = done.unfinished,
        "table maintained"
    );
}

fn classify(error: PortError) -> StepError {
    let (code, message) = match error.kind {
        PortErrorKind::Throttled | PortErrorKind::Unavailable => {
            (FailureCode::MaintenanceUnavailable, "the storage or the queue did not answer")
        }
        PortErrorKind::Denied => (FailureCode::MaintenanceDenied, "the maintaining function's role lacks a permission"),
        PortErrorKind::NotFound | PortErrorKind::InvalidData => (
            FailureCode::MaintenanceTableCorrupt,
            "the table's log or one of its data files cannot be read; deliveries to it may go on",
        ),
    };
    StepError::caused(code, message, error)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use delivery::timestamp::Timestamp;
    use object_store::memory::InMemory;
    use object_store::{ObjectStoreExt as _, PutPayload};
    use testkit::sharing::ManualClock;
    use testkit::state::InMemoryState;

    use super::*;

    #[derive(Default)]
    struct Asks(Mutex<Vec<(String, Vec<String>)>>);

    #[async_trait]
    impl FullMaintenanceRequests for Asks {
        async fn request_full(&self, connector: &ConnectorId, tables: &[TableName]) -> Result<(), PortError> {
            let tables = tables.iter().map(|table| table.as_str().to_owned()).collect();
            self.0.lock().unwrap().push((connector.as_str().to_owned(), tables));
            Ok(())
        }
    }

    fn function(policy: Policy) -> (MaintainTables, Arc<InMemory>, Arc<Asks>) {
        let (store, asks) = (Arc::new(InMemory::new()), Arc::new(Asks::default()));
        let function = MaintainTables {
            store: store.clone(),
            maintenance: Maintenance::new(store.clone(), policy),
            requests: asks.clone(),
            refused: Arc::new(InMemoryState::default()),
            clock: Arc::new(ManualClock::at_seconds(0)),
        };
        (function, store, asks)
    }

    async fn put(store: &InMemory, path: &str, text: &str) {
        store.put(&Path::from(path), PutPayload::from(text.to_owned())).await.unwrap();
    }

    /// A table of so many commits, of which the first says what it is.
    async fn table(store: &InMemory, path: &str, versions: u64) {
        for version in 0..versions {
            let opening = serde_json::json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 4}}).to_string()
                + "\n"
                + &serde_json::json!({"metaData": {"id": "an-id", "format": {"provider": "parquet", "options": {}},
                    "schemaString": "{\"type\":\"struct\",\"fields\":[]}", "partitionColumns": [], "configuration": {}}})
                .to_string()
                + "\n";
            let text = if version == 0 { opening } else { "{\"commitInfo\":{\"timestamp\":1}}\n".to_owned() };
            put(store, &format!("{path}/_delta_log/{version:020}.json"), &text).await;
        }
    }

    #[tokio::test]
    async fn a_message_has_its_table_maintained() {
        let (function, store, asks) = function(Policy::keeping(30));
        table(&store, "connectors/acme/WF_A__V1", 12).await;
        function.handle(r#"{"connectorId":"acme","table":"WF_A__V1"}"#).await.unwrap();
        let checkpoint = "connectors/acme/WF_A__V1/_delta_log/00000000000000000011.checkpoint.parquet";
        store.get(&Path::from(checkpoint)).await.unwrap();
        assert!(asks.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_schedule_asks_for_every_table_in_storage() {
        let (function, store, asks) = function(Policy::keeping(30));
        for path in ["connectors/acme/WF_A__V1", "connectors/acme/WORKFLOWS", "connectors/beta/WF_B__LATEST"] {
            table(&store, path, 1).await;
        }
        put(&store, "staging/run/manifest.json", "{}").await;
        function.handle(r#"{"sweep":true}"#).await.unwrap();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let expected =
            [("acme".to_owned(), words(&["WF_A__V1", "WORKFLOWS"])), ("beta".to_owned(), words(&["WF_B__LATEST"]))];
        assert_eq!(*asks.0.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn work_that_is_left_is_asked_for_again() {
        let (function, store, asks) = function(Policy { deletes_max: 2, ..Policy::keeping(7) });
        table(&store, "connectors/acme/WF_A__V1", 12).await;
        let later = Timestamp::from_millis(4_000_000_000_000).unwrap();
        let function = MaintainTables { clock: Arc::new(ManualClock::at_seconds(later.seconds())), ..function };
        function.handle(r#"{"connectorId":"acme","table":"WF_A__V1","work":"full"}"#).await.unwrap();
        assert_eq!(*asks.0.lock().unwrap(), [("acme".to_owned(), vec!["WF_A__V1".to_owned()])]);
    }

    #[tokio::test]
    async fn failures_have_codes() {
        let (function, store, _) = function(Policy::keeping(30));
        put(&store, "connectors/acme/BAD/_delta_log/00000000000000000009.json", "{").await;
        for (body, code) in [
            ("{", FailureCode::MessageInvalid),
            (r#"{"connectorId":"acme","table":"BAD"}"#, FailureCode::MaintenanceTableCorrupt),
        ] {
            assert_eq!(function.handle(body).await.unwrap_err().code, code, "{body}");
        }
        function.handle(r#"{"connectorId":"acme","table":"NONE"}"#).await.unwrap();
    }
}
