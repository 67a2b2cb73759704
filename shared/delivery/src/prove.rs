//! Proving deliveries: read the delivered table version the way the recipient does, and compare.

use std::collections::BTreeMap;

use crate::batch::{Batch, FailedRun, Others, settle};
use crate::connector::Backend;
use crate::failure::{FailureCode, StepError};
use crate::ids::{ConnectorId, RunId, sha256_hex};
use crate::ports::{
    Clock, ConnectorStore, DeliveryStore, FetchedFile, PortError, PortErrorKind, ReadScope, ShareReader, SharedFile,
    SharedView,
};
use crate::schema::is_private_name;
use crate::share::refused;
use crate::state::Step;
use crate::table::TableName;

/// What proving needs of the world.
#[derive(Clone, Copy)]
pub struct Proving<'a> {
    /// Where the deliveries' states are kept.
    pub deliveries: &'a dyn DeliveryStore,
    /// What reads the share.
    pub reader: &'a dyn ShareReader,
    /// The time.
    pub clock: &'a dyn Clock,
}

impl std::fmt::Debug for Proving<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proving")
    }
}

/// What the recipient must find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The table.
    pub table: TableName,
    /// The digest of the columns, see [`schema_digest`].
    pub schema_digest: String,
    /// The runs of the batch.
    pub runs: Vec<ExpectedRun>,
}

/// What the recipient must find of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedRun {
    /// The run.
    pub run: RunId,
    /// The table version that holds it.
    pub table_version: u64,
    /// Its rows.
    pub rows: u64,
}

/// What schemas are compared by: SHA-256 over the columns in order, each as `name type` with nested types written
/// out, in hex.
#[must_use]
pub fn schema_digest(columns: &[String]) -> String {
    sha256_hex(&columns.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Reads the runs of a batch in their table versions through the sharing endpoint: the schema is the one that was
/// loaded and shows no private name, the files hold each run's rows, and one file of each run can be fetched and is
/// what the share says. Returns the runs that do not read back; each one's delivery says why.
///
/// # Errors
///
/// Codes of phase `proof`, if no run reads back.
pub async fn prove(ports: Proving<'_>, batch: &Batch, expected: &Expected) -> Result<Vec<FailedRun>, StepError> {
    ports.deliveries.enter(&batch.deliveries(), Step::Proving, ports.clock.now()).await.map_err(classify)?;
    let mut by_version: BTreeMap<u64, Vec<&ExpectedRun>> = BTreeMap::new();
    for run in &expected.runs {
        by_version.entry(run.table_version).or_default().push(run);
    }
    let mut failed = Vec::new();
    let mut files = Vec::new();
    for (table_version, runs) in by_version {
        let view = match read_version(ports.reader, batch, expected, table_version, &runs).await {
            Ok(view) => view,
            Err(error) => {
                failed.extend(all_failed(batch, &runs, error));
                continue;
            }
        };
        for run in runs {
            match file_of(&view, run) {
                Ok(file) => files.extend(file.map(|file| (run.run.clone(), file))),
                Err(error) => failed.push(FailedRun::new(batch.run(&run.run), error)),
            }
        }
    }
    let fetched: Vec<_> = files.iter().map(|(_, file)| file.clone()).collect();
    let fetched = ports.reader.fetch_footer_each(&fetched).await;
    for ((run, file), fetched) in files.iter().zip(fetched) {
        if let Err(error) = fetched.map_err(classify).and_then(|fetched| check_file(file, &fetched)) {
            failed.push(FailedRun::new(batch.run(run), error));
        }
    }
    let others = if failed.len() < expected.runs.len() { Others::GoOn } else { Others::AllFailed };
    let connectors = std::slice::from_ref(&batch.connector);
    settle(ports.deliveries, connectors, failed, others, ports.clock.now(), classify).await
}

/// Reads some runs in the table version that holds them.
async fn read_version(
    reader: &dyn ShareReader,
    batch: &Batch,
    expected: &Expected,
    table_version: u64,
    runs: &[&ExpectedRun],
) -> Result<SharedView, StepError> {
    let run_ids: Vec<_> = runs.iter().map(|run| run.run.as_str()).collect();
    let scope = ReadScope::Runs { table_version, run_ids: &run_ids };
    let view = reader.read(&batch.connector, &expected.table, scope).await.map_err(classify)?;
    if view.names.iter().any(|name| is_private_name(name)) {
        return Err(StepError::new(
            FailureCode::ProofPrivateColumn,
            "the shared schema shows a private column; take the table out of the share at once",
        ));
    }
    if view.table_version != table_version || schema_digest(&view.columns) != expected.schema_digest {
        return Err(StepError::new(
            FailureCode::ProofSchemaMismatch,
            "the shared table version or schema is not the one that was loaded; compare the share with the table's log",
        ));
    }
    Ok(view)
}

/// The same failure for several runs; the first has its cause.
fn all_failed(batch: &Batch, runs: &[&ExpectedRun], error: StepError) -> Vec<FailedRun> {
    let copies: Vec<_> = runs.iter().skip(1).map(|_| StepError::new(error.code, error.message.clone())).collect();
    let errors = std::iter::once(error).chain(copies);
    runs.iter().zip(errors).map(|(run, error)| FailedRun::new(batch.run(&run.run), error)).collect()
}

/// A file of a run whose rows are all there; `None` if the run has no rows.
fn file_of(view: &SharedView, run: &ExpectedRun) -> Result<Option<SharedFile>, StepError> {
    let files: Vec<_> = view.files.iter().filter(|file| file.run_id.as_deref() == Some(run.run.as_str())).collect();
    let rows: Option<u64> = files.iter().map(|file| file.rows).sum();
    if rows != Some(run.rows) {
        return Err(StepError::new(
            FailureCode::ProofRowsMismatch,
            format!("the share does not show the run's {} rows; compare the share with the table's log", run.rows),
        ));
    }
    Ok(files.first().map(|file| (*file).clone()))
}

fn check_file(file: &SharedFile, fetched: &FetchedFile) -> Result<(), StepError> {
    if fetched.columns.iter().any(|name| is_private_name(name)) {
        return Err(StepError::new(
            FailureCode::ProofPrivateColumn,
            "a shared file holds a private column; take the table out of the share at once",
        ));
    }
    if fetched.size_bytes != file.size_bytes || Some(fetched.rows) != file.rows {
        return Err(StepError::new(
            FailureCode::ProofFileUnreadable,
            "a shared file is not the file that was loaded; compare its size and rows with the table's log",
        ));
    }
    Ok(())
}

/// Which backend serves a connector.
///
/// # Errors
///
/// Codes of phase `proof`, and `CONNECTOR_NOT_FOUND`.
pub async fn backend_of(connectors: &dyn ConnectorStore, id: &ConnectorId) -> Result<Backend, StepError> {
    let connector = connectors.connector(id).await.map_err(classify)?;
    connector.map(|connector| connector.backend).ok_or_else(|| {
        StepError::new(FailureCode::ConnectorNotFound, "the connector does not exist; start SetupConnector first")
    })
}

/// Reads the probe table of a new share: it is there, and it is empty.
///
/// # Errors
///
/// Codes of phase `proof`.
pub async fn prove_probe(reader: &dyn ShareReader, connector: &ConnectorId) -> Result<(), StepError> {
    let view = reader.read(connector, &TableName::probe(), ReadScope::Newest).await.map_err(classify)?;
    if view.files.is_empty() {
        return Ok(());
    }
    Err(StepError::new(FailureCode::ProofRowsMismatch, "the probe table is not empty; look for who writes to it"))
}

fn classify(error: PortError) -> StepError {
    let error = match refused(error) {
        Ok(refused) => return refused,
        Err(error) => error,
    };
    let (code, message) = match error.kind {
        PortErrorKind::Throttled | PortErrorKind::Unavailable => {
            (FailureCode::ProofUnavailable, "the sharing endpoint did not answer")
        }
        PortErrorKind::Denied | PortErrorKind::NotFound => {
            (FailureCode::ProofRefused, "the sharing endpoint refused the recipient or does not know the table")
        }
        PortErrorKind::InvalidData => {
            (FailureCode::ProofFileUnreadable, "the sharing endpoint's answer or a shared file cannot be read")
        }
    };
    StepError::caused(code, message, error)
}
