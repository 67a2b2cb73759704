//! The Databricks workspace of the local stack: a fake in a process of its own.
//!
//! Knows how it is started, waited for and made ready; what it does is `fake-databricks`' own. It reads the logs of
//! registered tables from the emulator, past the gateway, so that nobody's requests are counted with the functions'.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use hyper::Method;
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use crate::{
    emulator::{REGION, ROOT_KEY},
    error::{Error, Result},
    files, http,
    process::{MARK, ProcessId, spawn_detached, tail},
};

/// The catalog that the workspace has for the stack.
pub(crate) const CATALOG: &str = "main";
/// What the stack calls itself in the workspace.
pub(crate) const DEPLOYMENT: &str = "local";
/// The name of the service principal's secret.
pub(crate) const SECRET_NAME: &str = "databricks-service-principal";
/// The stack's service principal, and its secret; these are the fake's own, and open nothing else.
pub(crate) const PRINCIPAL: (&str, &str) = ("principal-1", "secret-1");
/// Somebody else's service principal.
pub(crate) const OTHER_PRINCIPAL: (&str, &str) = ("principal-2", "secret-2");
/// The SQL warehouse.
pub(crate) const WAREHOUSE: &str = "warehouse-1";

const START_SECONDS_MAX: u64 = 20;

/// The running workspace, as its first line of output says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Started {
    /// The URL, without a slash at the end.
    pub(crate) url: String,
}

/// Starts the workspace.
pub(crate) fn start(program: &Path, emulator_port: u16, log: &Path, mark: &str) -> Result<(Child, ProcessId)> {
    let out = File::create(log).map_err(Error::file("create", log))?;
    let err = out.try_clone().map_err(Error::file("open", log))?;
    let mut command = Command::new(program);
    command
        .env_clear()
        .args(["--logs", &format!("http://127.0.0.1:{emulator_port}")])
        .env(MARK, mark)
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", ROOT_KEY)
        .env("AWS_SECRET_ACCESS_KEY", ROOT_KEY)
        .stdout(out)
        .stderr(err);
    spawn_detached(&mut command)
}

/// Waits until the workspace says where it is.
pub(crate) async fn ready(child: &mut Child, log: &Path) -> Result<Started> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(START_SECONDS_MAX) {
        if let Some(said) = files::read_json(log) {
            return Ok(said);
        }
        if let Ok(Some(status)) = child.try_wait() {
            let (what, status) = ("starting the Databricks workspace".to_owned(), status.to_string());
            return Err(Error::Failed { what, status, output: tail(log, 15) });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(Error::Slow { what: "the Databricks workspace", seconds: START_SECONDS_MAX, log: log.to_owned() })
}

/// Makes the stack's catalog, over its tables, as an operator does once.
pub(crate) async fn make_catalog(url: &str, tables_bucket: &str) -> Result<()> {
    let catalog = serde_json::json!({"name": CATALOG, "locationUrl": format!("s3://{tables_bucket}/connectors")});
    http::send_json(Method::POST, &format!("{url}/_fake/catalogs"), &catalog).await.map(drop)
}

/// Whether the workspace answers.
pub(crate) async fn answers(url: &str) -> bool {
    http::send(Method::GET, &format!("{url}/_fake/faults"), bytes::Bytes::new()).await.is_ok()
}
