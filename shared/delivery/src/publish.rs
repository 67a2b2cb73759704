//! Publishing a staged run: its files enter the version table in one commit, exactly once.
//!
//! No snapshot is opened. The state table says which version comes next, the conditional write of that version is
//! the check, and the commit carries the run as a `txn` action. Before the first write the delivery records the
//! version that it aims at; a later attempt reads the log from there, never from the newest state alone: an attempt
//! may have ended after its commit, and a neighbour may have moved the state on since.

use std::fmt;

use crate::connector::Connector;
use crate::failure::{FailureCode, StepError};
use crate::ids::{DeliveryKey, RunKey};
use crate::ports::{
    Clock, Commit, DataChange, DataFile, LoggedCommit, ManifestStore, PortError, PortErrorKind, TableLog, TableStore,
    WriteOutcome,
};
use crate::schema::Fingerprint;
use crate::staged::StagedRun;
use crate::table::{VersionTable, data_file_name};
use crate::timestamp::Timestamp;

/// The most versions that one attempt offers its commit as, before the state machine lets it begin again.
const WRITES_MAX: u64 = 256;

/// What publishing needs of the world.
#[derive(Clone, Copy)]
pub struct Publishing<'a> {
    /// Where the manifest lies.
    pub manifests: &'a dyn ManifestStore,
    /// What is known of the tables.
    pub tables: &'a dyn TableStore,
    /// The tables' logs.
    pub log: &'a dyn TableLog,
    /// The time.
    pub clock: &'a dyn Clock,
}

impl fmt::Debug for Publishing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Publishing")
    }
}

/// A run that is in its version table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The table.
    pub table: VersionTable,
    /// The table version that holds the run.
    pub table_version: u64,
    /// The Delta schema text of the table.
    pub schema_string: String,
}

/// Commits a staged run to the version table of its schema.
///
/// # Errors
///
/// Codes of the phases `load` and `share` (the connector), and, if more rows were rejected than the connector
/// allows, the code of the first rejection.
pub async fn publish(
    ports: Publishing<'_>,
    delivery: &DeliveryKey,
    fingerprint: &Fingerprint,
) -> Result<Published, StepError> {
    let view = ports.tables.load_view(delivery, fingerprint).await.map_err(classify)?;
    let connector = view.connector.ok_or_else(|| {
        StepError::new(FailureCode::ConnectorNotFound, "the connector does not exist; set it up first")
    })?;
    if !connector.state.takes_data() {
        return Err(StepError::new(
            FailureCode::ConnectorNotReady,
            "the connector is not ready to take data; finish its set-up first",
        ));
    }
    let staged = ports.manifests.staged(&delivery.run).await.map_err(classify)?.ok_or_else(|| {
        StepError::new(FailureCode::LoadStagingExpired, "the run's staged files have expired; start DeliverRun again")
    })?;
    check_rejected(&staged, &connector)?;
    let table = match view.table {
        Some(table) => table,
        None => ports
            .tables
            .open_schema_version(&delivery.connector, &delivery.run.workflow, &staged.schema, ports.clock.now())
            .await
            .map_err(classify)?,
    };
    let schema_string = ports.log.schema_string(&staged.schema);
    let loaded = view.delivery.as_ref().and_then(|delivery| delivery.loaded_table_version);
    let table_version = match loaded {
        Some(table_version) => table_version,
        None => {
            let earlier = view.delivery.and_then(|delivery| delivery.aimed_table_version);
            load(ports, delivery, &table, &staged, &schema_string, earlier).await?
        }
    };
    Ok(Published { table, table_version, schema_string })
}

fn check_rejected(staged: &StagedRun, connector: &Connector) -> Result<(), StepError> {
    let rejected = &staged.rejected;
    let Some(first) = &rejected.first else { return Ok(()) };
    let total = staged.rows.saturating_add(rejected.rows);
    #[expect(clippy::cast_precision_loss, reason = "a fraction of at most 2^53 rows")]
    let fraction = rejected.rows as f64 / total as f64;
    if fraction <= connector.max_rejected_fraction {
        return Ok(());
    }
    let column = first.column.as_ref().map(|column| format!(", column {column}")).unwrap_or_default();
    Err(StepError::new(
        first.code,
        format!(
            "{} of {total} rows were rejected, first line {}{column}: {}; correct the output, or raise the \
             connector's maxRejectedFraction ({}); every rejected row is listed in {} of the tables bucket",
            rejected.rows,
            first.line,
            first.reason,
            connector.max_rejected_fraction,
            rejected.key.as_deref().unwrap_or("the rejects file"),
        ),
    ))
}

/// The `txn` application id of a run in a table's log.
fn application_id(run: &RunKey) -> String {
    format!("run/{}", run.run)
}

async fn load(
    ports: Publishing<'_>,
    delivery: &DeliveryKey,
    table: &VersionTable,
    staged: &StagedRun,
    schema_string: &str,
    earlier_aim: Option<u64>,
) -> Result<u64, StepError> {
    let known_next = table.table_version.map_or(0, |version| version + 1);
    let aimed =
        ports.tables.aim(delivery, earlier_aim.unwrap_or(known_next), ports.clock.now()).await.map_err(classify)?;
    let found = if earlier_aim.is_some() || aimed != known_next || known_next == 0 {
        // An earlier attempt may have committed, or the state may have forgotten the table: the log knows.
        look(ports, delivery, table, aimed, known_next).await?
    } else {
        Found::Nothing { next: aimed }
    };
    let table_version = match found {
        Found::Commit { table_version } => table_version,
        Found::Nothing { next } => commit(ports, delivery, table, staged, schema_string, next).await?,
    };
    ports.tables.loaded(delivery, table, table_version, ports.clock.now()).await.map_err(classify)?;
    Ok(table_version)
}

/// Whether the log holds the run already.
enum Found {
    Commit { table_version: u64 },
    Nothing { next: u64 },
}

/// Looks for the run in every version since the aimed one.
async fn look(
    ports: Publishing<'_>,
    delivery: &DeliveryKey,
    table: &VersionTable,
    aimed: u64,
    known_next: u64,
) -> Result<Found, StepError> {
    let newest = ports.log.newest_version(&delivery.connector, &table.name).await.map_err(classify)?;
    let next = newest.map_or(0, |newest| newest + 1);
    if next < aimed.max(known_next) {
        return Err(StepError::new(
            FailureCode::LoadTableCorrupt,
            "a commit that the state table knows is not in the table's log; compare the log with the state table",
        ));
    }
    let application_id = application_id(&delivery.run);
    for table_version in aimed..next {
        let Some(commit) = read(ports, delivery, table, table_version).await? else {
            // Cleaned up since: what is left of these commits is in a checkpoint.
            let held = ports.log.transaction(&delivery.connector, &table.name, &application_id).await;
            let held = held.map_err(classify)?.is_some();
            return Ok(if held { Found::Commit { table_version: next - 1 } } else { Found::Nothing { next } });
        };
        if commit.holds(&application_id) {
            return Ok(Found::Commit { table_version });
        }
    }
    Ok(Found::Nothing { next })
}

async fn commit(
    ports: Publishing<'_>,
    delivery: &DeliveryKey,
    table: &VersionTable,
    staged: &StagedRun,
    schema_string: &str,
    first: u64,
) -> Result<u64, StepError> {
    let mut adds = Vec::with_capacity(staged.files.len());
    for (index, file) in staged.files.iter().enumerate() {
        let name = data_file_name(&delivery.run.run, index);
        ports.log.copy_staged(file, &delivery.connector, &table.name, &name).await.map_err(classify)?;
        adds.push(DataFile { name, size_bytes: file.size_bytes, statistics: file.statistics.clone() });
    }
    let application_id = application_id(&delivery.run);
    let mut commit = Commit {
        schema_string: None,
        removes: Vec::new(),
        adds,
        transactions: vec![(application_id.clone(), staged.finished_at.millis())],
        timestamp: ports.clock.now(),
        operation: "WRITE",
        change: DataChange::Rows,
    };
    for next in first..first + WRITES_MAX {
        commit.schema_string = (next == 0).then(|| schema_string.to_owned());
        match ports.log.write(&delivery.connector, &table.name, next, &commit).await.map_err(classify)? {
            WriteOutcome::Written => return Ok(next),
            WriteOutcome::Taken => {}
        }
        let taken = read(ports, delivery, table, next).await?.ok_or_else(|| {
            StepError::new(FailureCode::LoadConflict, "a version of the table's log is taken but cannot be read yet")
        })?;
        if taken.holds(&application_id) {
            return Ok(next);
        }
        if taken.schema_string.is_some_and(|other| other != schema_string) {
            return Err(StepError::new(
                FailureCode::LoadTableCorrupt,
                "the table in storage has another schema than the state table says; compare its log with the state table",
            ));
        }
    }
    Err(StepError::new(FailureCode::LoadConflict, "other runs were first too many times; the load begins again"))
}

async fn read(
    ports: Publishing<'_>,
    delivery: &DeliveryKey,
    table: &VersionTable,
    table_version: u64,
) -> Result<Option<LoggedCommit>, StepError> {
    ports.log.read(&delivery.connector, &table.name, table_version).await.map_err(classify)
}

impl LoggedCommit {
    /// Whether the commit holds this application id's transaction.
    #[must_use]
    pub fn holds(&self, application_id: &str) -> bool {
        self.transactions.iter().any(|(id, _)| id == application_id)
    }

    /// When the newest run of the commit finished, by its transactions.
    #[must_use]
    pub fn newest_finished_at(&self) -> Option<Timestamp> {
        self.transactions
            .iter()
            .filter(|(id, _)| id.starts_with("run/"))
            .filter_map(|(_, millis)| Timestamp::from_millis(*millis))
            .max()
    }
}

fn classify(error: PortError) -> StepError {
    let (code, message) = match error.kind {
        PortErrorKind::Throttled | PortErrorKind::Unavailable => {
            (FailureCode::LoadUnavailable, "the state table or the storage did not answer")
        }
        PortErrorKind::Denied => (FailureCode::LoadDenied, "the publishing function's role lacks a permission"),
        PortErrorKind::NotFound => (
            FailureCode::LoadStagingExpired,
            "a staged file is gone; delete the run's manifest and start DeliverRun again",
        ),
        PortErrorKind::InvalidData => (FailureCode::LoadTableCorrupt, "the table's log or state cannot be read"),
    };
    StepError::caused(code, message, error)
}
