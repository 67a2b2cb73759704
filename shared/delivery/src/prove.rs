//! Proving a delivery: read the delivered table version the way the recipient does, and compare.

use crate::failure::{FailureCode, StepError};
use crate::ids::{ConnectorId, DeliveryKey, sha256_hex};
use crate::ports::{Clock, DeliveryStore, PortError, PortErrorKind, ReadScope, ShareReader};
use crate::schema::is_private_name;
use crate::state::Step;
use crate::table::TableName;

/// What proving needs of the world.
#[derive(Clone, Copy)]
pub struct Proving<'a> {
    /// Where the delivery's state is kept.
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
    /// The table version.
    pub table_version: u64,
    /// The digest of the columns, see [`schema_digest`].
    pub schema_digest: String,
    /// The run's rows.
    pub rows: u64,
}

/// What schemas are compared by: SHA-256 over the columns in order, each as `name type` with nested types written
/// out, in hex.
#[must_use]
pub fn schema_digest(columns: &[String]) -> String {
    sha256_hex(&columns.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Reads one run in its table version through the sharing endpoint: the schema is the one that was loaded and shows
/// no private name, the files hold the run's rows, and one file can be fetched and is what the share says.
///
/// # Errors
///
/// Codes of phase `proof`.
pub async fn prove(ports: Proving<'_>, delivery: &DeliveryKey, expected: &Expected) -> Result<(), StepError> {
    ports.deliveries.enter(std::slice::from_ref(delivery), Step::Proving, ports.clock.now()).await.map_err(classify)?;
    let run_id = delivery.run.run.as_str();
    let scope = ReadScope::Run { table_version: expected.table_version, run_id };
    let view = ports.reader.read(&delivery.connector, &expected.table, scope).await.map_err(classify)?;
    if view.names.iter().any(|name| is_private_name(name)) {
        return Err(StepError::new(
            FailureCode::ProofPrivateColumn,
            "the shared schema shows a private column; take the table out of the share at once",
        ));
    }
    if view.table_version != expected.table_version || schema_digest(&view.columns) != expected.schema_digest {
        return Err(StepError::new(
            FailureCode::ProofSchemaMismatch,
            "the shared table version or schema is not the one that was loaded; compare the share with the table's log",
        ));
    }
    let files: Vec<_> = view.files.iter().filter(|file| file.run_id.as_deref() == Some(run_id)).collect();
    let rows: Option<u64> = files.iter().map(|file| file.rows).sum();
    if rows != Some(expected.rows) {
        return Err(StepError::new(
            FailureCode::ProofRowsMismatch,
            format!("the share does not show the run's {} rows; compare the share with the table's log", expected.rows),
        ));
    }
    let Some(file) = files.first() else { return Ok(()) };
    let fetched = ports.reader.fetch_footer(file).await.map_err(classify)?;
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
