//! A Databricks workspace for tests: the REST API that a provider of Delta Sharing uses, on a free loopback port.
//!
//! Knows what the API does as the vendor's documents, SDKs and the Terraform provider's issues tell, quirks included,
//! and is stricter where they are vague: what it refuses need not be refused by the real one, what it accepts should
//! be. Nothing of it was compared with a real workspace; the official Python SDK runs against it in the tests. It
//! serves no table data: it reads the logs of registered tables for their columns, and nothing else.
//!
//! Code for tests only.

mod activation;
mod admin;
mod answer;
mod faults;
mod federation;
pub mod logs;
mod names;
mod oauth;
mod paging;
mod permissions;
mod quotas;
mod reads;
mod recipients;
mod schemas;
mod server;
mod shares;
mod state;
mod statements;
mod tables;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use delivery::ports::Clock;

pub use faults::{Fault, FaultBody, FaultTime};
pub use server::LoggedRequest;

use crate::logs::TableLogs;
use crate::server::Workspace;
use crate::state::Metastore;

/// How the workspace behaves.
pub struct Options {
    /// Service principals: OAuth client id to secret.
    pub principals: BTreeMap<String, String>,
    /// Those of them that are metastore admins: they see every share and recipient, others see what they own.
    pub metastore_admins: Vec<String>,
    /// Life of an OAuth token, in seconds.
    pub token_life_seconds: i64,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What finds the columns of a table at a location. Without it columns are not compared.
    pub logs: Option<Arc<dyn TableLogs>>,
    /// Whether the metastore's "External Delta Sharing" is on: recipients by token need it.
    pub external_delta_sharing: Switch,
    /// Whether the metastore's "External data access" is on: registering tables without compute needs it.
    pub external_data_access: Switch,
    /// Which status an "already exists" comes with; the real API uses both.
    pub already_exists: AlreadyExists,
    /// How many items a page of a list holds.
    pub page_items: usize,
    /// Whether every second page is empty with a token for the next.
    pub empty_pages: Switch,
    /// The most tables in one share.
    pub tables_per_share_max: usize,
    /// The SQL warehouse's id.
    pub warehouse_id: String,
    /// How many times a statement is asked for until it has ended.
    pub statement_polls: u32,
    /// A catalog that is there from the beginning, as the operator makes it.
    pub catalog: Option<ReadyCatalog>,
}

/// Something that is on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// Which status an "already exists" comes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlreadyExists {
    /// 409.
    Conflict,
    /// 400.
    BadRequest,
}

/// A catalog with its external location, and what service principals need to make external tables there: all of them
/// hold `CREATE_SCHEMA`, `USE_CATALOG`, `EXTERNAL_USE_SCHEMA`, `CREATE_EXTERNAL_TABLE` and `EXTERNAL_USE_LOCATION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyCatalog {
    /// The catalog's name.
    pub name: String,
    /// The external location's URL, such as `s3://bucket/connectors`.
    pub location_url: String,
}

impl Options {
    /// A workspace with two service principals, `principal-1` and `principal-2`, whose secrets are `secret-1` and
    /// `secret-2`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let principals = [("principal-1", "secret-1"), ("principal-2", "secret-2")];
        Self {
            principals: principals.map(|(id, secret)| (id.to_owned(), secret.to_owned())).into(),
            metastore_admins: Vec::new(),
            token_life_seconds: 3_600,
            clock,
            logs: None,
            external_delta_sharing: Switch::On,
            external_data_access: Switch::On,
            already_exists: AlreadyExists::Conflict,
            page_items: 100,
            empty_pages: Switch::Off,
            tables_per_share_max: 1_000,
            warehouse_id: "warehouse-1".to_owned(),
            statement_polls: 0,
            catalog: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("catalog", &self.catalog).finish_non_exhaustive()
    }
}

/// A running workspace. Dropping it ends it.
pub struct FakeDatabricks {
    workspace: Arc<Workspace>,
    address: SocketAddr,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl fmt::Debug for FakeDatabricks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeDatabricks").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for FakeDatabricks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeDatabricks {
    /// Starts a workspace on a free loopback port.
    ///
    /// # Errors
    ///
    /// Returns the error of binding the port.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        Self::start_on(options, 0).await
    }

    /// Starts a workspace on a loopback port; 0 means any that is free.
    ///
    /// # Errors
    ///
    /// Returns the error of binding the port.
    pub async fn start_on(options: Options, port: u16) -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let host = format!("http://{address}");
        let metastore = Metastore::new(&options);
        let workspace = Arc::new(Workspace::new(options, metastore, host));
        let task = tokio::spawn(axum::serve(listener, server::router(workspace.clone())).into_future());
        Ok(Self { workspace, address, task })
    }

    /// The workspace's URL, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        self.workspace.host.clone()
    }

    /// Lets requests fail.
    pub fn add_fault(&self, fault: Fault) {
        self.workspace.faults.add(fault);
    }

    /// Faults that did not happen yet, so that a test can tell that all of its faults did.
    #[must_use]
    pub fn faults_left(&self) -> usize {
        self.workspace.faults.left()
    }

    /// Every request so far, in the order in which they were answered.
    #[must_use]
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.workspace.requests()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.workspace.forget_requests();
    }

    /// Makes every OAuth token that was handed out invalid.
    pub fn end_tokens(&self) {
        self.workspace.metastore().oauth_tokens.clear();
    }

    /// Gives a table to another owner, which takes SELECT from the one of before.
    ///
    /// # Panics
    ///
    /// Panics if there is no such table: the test would test nothing.
    pub fn set_table_owner(&self, full_name: &str, owner: &str) {
        let mut metastore = self.workspace.metastore();
        let table = metastore.tables.get_mut(full_name);
        assert!(table.is_some(), "there is no table {full_name}");
        if let Some(table) = table {
            owner.clone_into(&mut table.owner);
        }
    }

    /// Waits until the server ends, which it does not do by itself.
    ///
    /// # Errors
    ///
    /// Returns the server's error.
    pub async fn ended(mut self) -> std::io::Result<()> {
        (&mut self.task).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
    }
}
