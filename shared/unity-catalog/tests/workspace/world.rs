//! A fake workspace, a client of it, and what a test needs to see of both.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use delivery::ids::ConnectorId;
use delivery::ports::PortError;
use delivery::table::{TableName, table_path};
use fake_databricks::logs::StatedLogs;
use fake_databricks::{FakeDatabricks, LoggedRequest, Options, ReadyCatalog};
use testkit::faults::Faults;
use testkit::sharing::ManualClock;
use unity_catalog::backend::{BackendError, BackendSettings, Registration, UnityCatalogBackend};
use unity_catalog::names::DeploymentName;
use unity_catalog::ports::{ClientCredential, ClientSecret, CredentialSource, Pause, TableSchemas};
use unity_catalog::transport::{Patience, Workspace, WorkspaceUrl};

pub(crate) const BUCKET: &str = "s3://tables";

/// A credential store that counts how often it is asked.
pub(crate) struct Credentials {
    pub(crate) client_id: String,
    pub(crate) secret: Mutex<String>,
    pub(crate) faults: Faults,
}

#[async_trait]
impl CredentialSource for Credentials {
    async fn credential(&self) -> Result<ClientCredential, PortError> {
        let (client_id, secret) = (self.client_id.clone(), self.secret.lock().unwrap().clone());
        self.faults.call("credential", || Ok(ClientCredential { client_id, secret: ClientSecret::new(secret) }))
    }
}

/// Waits for nothing and notes how long it should have waited, which it takes from the time that is left.
#[derive(Default)]
pub(crate) struct NotedPauses {
    pub(crate) noted: Mutex<Vec<Duration>>,
    pub(crate) left: Mutex<Option<Duration>>,
}

#[async_trait]
impl Pause for NotedPauses {
    async fn pause(&self, duration: Duration) {
        self.noted.lock().unwrap().push(duration);
        let mut left = self.left.lock().unwrap();
        *left = left.map(|left| left.saturating_sub(duration));
    }

    fn time_left(&self) -> Option<Duration> {
        *self.left.lock().unwrap()
    }
}

/// The schemas of tables, and the logs that the workspace reads: the same texts.
pub(crate) struct Tables(pub(crate) Arc<StatedLogs>);

impl Tables {
    /// States that a connector's table has these columns.
    pub(crate) fn put(&self, connector: &ConnectorId, table: &TableName, columns: &[(&str, &str)]) {
        let fields: Vec<_> = columns
            .iter()
            .map(|(name, data_type)| {
                serde_json::json!({"name": name, "type": data_type, "nullable": true, "metadata": {}})
            })
            .collect();
        let text = serde_json::json!({"type": "struct", "fields": fields}).to_string();
        self.0.put(&format!("{BUCKET}/{}", table_path(connector, table)), &text);
    }
}

#[async_trait]
impl TableSchemas for Tables {
    async fn schema_text(&self, connector: &ConnectorId, table: &TableName) -> Result<Option<String>, PortError> {
        use fake_databricks::logs::TableLogs as _;
        let location = format!("{BUCKET}/{}", table_path(connector, table));
        Ok(self.0.schema_text(&location).await.unwrap())
    }
}

pub(crate) struct World {
    pub(crate) fake: FakeDatabricks,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) pauses: Arc<NotedPauses>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) workspace: Arc<Workspace>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A world whose workspace has other options.
    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let clock = Arc::new(ManualClock::at_seconds(0));
        let logs = Arc::new(StatedLogs::default());
        let mut options = Options::new(clock.clone());
        options.logs = Some(logs.clone());
        options.catalog = Some(ReadyCatalog { name: "main".to_owned(), location_url: format!("{BUCKET}/connectors") });
        change(&mut options);
        let fake = FakeDatabricks::start(options).await.unwrap();
        let credentials = credentials("principal-1", "secret-1");
        let pauses = Arc::new(NotedPauses::default());
        let workspace = client(&fake, &clock, &credentials, &pauses);
        Self { fake, clock, credentials, pauses, tables: Arc::new(Tables(logs)), workspace }
    }

    /// A client of the other service principal.
    pub(crate) fn other(&self) -> Arc<Workspace> {
        client(&self.fake, &self.clock, &credentials("principal-2", "secret-2"), &self.pauses)
    }

    pub(crate) fn backend(&self) -> UnityCatalogBackend {
        self.backend_by(Registration::TablesApi { refresh_warehouse: None })
    }

    pub(crate) fn backend_by(&self, registration: Registration) -> UnityCatalogBackend {
        let settings = BackendSettings {
            deployment: DeploymentName::new("test").unwrap(),
            catalog: "main".to_owned(),
            tables_url: BUCKET.to_owned(),
            registration,
        };
        UnityCatalogBackend::new(self.workspace.clone(), self.tables.clone(), settings)
    }

    /// Tables of a connector, with a log each.
    pub(crate) fn loaded(&self, connector: &ConnectorId, count: usize) -> Vec<TableName> {
        let tables = (1..=count).map(|n| TableName::from_stored(format!("WF_A__V{n}")));
        tables.inspect(|table| self.tables.put(connector, table, &[("id", "long"), ("title", "string")])).collect()
    }

    /// The requests since the last time, without those for tokens.
    pub(crate) fn requests(&self) -> Vec<LoggedRequest> {
        let requests = self.fake.requests();
        self.fake.forget_requests();
        requests.into_iter().filter(|request| request.path.starts_with("/api/")).collect()
    }

    /// How often a token was asked for.
    pub(crate) fn token_requests(&self) -> usize {
        self.fake.requests().iter().filter(|request| request.path == "/oidc/v1/token").count()
    }

    /// The caller is ended in so many seconds.
    pub(crate) fn leave(&self, seconds: u64) {
        *self.pauses.left.lock().unwrap() = Some(Duration::from_secs(seconds));
    }

    /// The pauses since the last time, in seconds.
    pub(crate) fn pauses(&self) -> Vec<u64> {
        std::mem::take(&mut *self.pauses.noted.lock().unwrap()).iter().map(Duration::as_secs).collect()
    }
}

fn credentials(client_id: &str, secret: &str) -> Arc<Credentials> {
    let secret = Mutex::new(secret.to_owned());
    Arc::new(Credentials { client_id: client_id.to_owned(), secret, faults: Faults::default() })
}

fn client(
    fake: &FakeDatabricks,
    clock: &Arc<ManualClock>,
    credentials: &Arc<Credentials>,
    pauses: &Arc<NotedPauses>,
) -> Arc<Workspace> {
    let url = WorkspaceUrl::new(&fake.url()).unwrap();
    let patience = Patience { request_max: Duration::from_secs(5), ..Patience::default() };
    Arc::new(Workspace::new(url, credentials.clone(), clock.clone(), pauses.clone(), patience).unwrap())
}

/// What the backend has against a step.
pub(crate) fn cause(error: &PortError) -> &BackendError {
    BackendError::of(error).unwrap_or_else(|| panic!("another cause: {:?}", error.source))
}

/// Everything that an error says, its causes included.
pub(crate) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(" {cause} {cause:?}"));
        next = cause.source();
    }
    text
}
