//! Publishing staged runs: the files of a batch enter the version table in one commit, each run exactly once.
//!
//! No snapshot is opened. The state table says which version comes next, the conditional write of that version is
//! the check, and the commit carries each run as a `txn` action. Before the first write every delivery records the
//! version that it aims at; a later attempt reads the log from the smallest earlier aim, never from the newest state
//! alone: an attempt may have ended after its commit, and a neighbour may have moved the state on since. Runs that the
//! log holds leave the commit, so that batches and single deliveries of the same runs may overlap in any way.

use std::collections::BTreeMap;
use std::fmt;

use crate::batch::{Batch, FailedRun, Origin, Others, settle};
use crate::connector::{Connector, ConnectorState};
use crate::failure::{FailureCode, StepError};
use crate::ids::RunId;
use crate::ports::{
    Clock, Commit, DataChange, DataFile, DeliveryStore, LoggedCommit, ManifestStore, PortError, PortErrorKind,
    TableLog, TableStore, WriteOutcome,
};
use crate::schema::Fingerprint;
use crate::staged::StagedRun;
use crate::state::Delivery;
use crate::table::{VersionTable, data_file_name};
use crate::timestamp::Timestamp;

/// The most versions that one attempt offers its commit as, before the state machine lets it begin again.
const WRITES_MAX: u64 = 256;

/// What publishing needs of the world.
#[derive(Clone, Copy)]
pub struct Publishing<'a> {
    /// Where the deliveries' states are kept.
    pub deliveries: &'a dyn DeliveryStore,
    /// Where the manifests lie.
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

/// The runs of a batch that are in their version table.
#[derive(Debug)]
pub struct Published {
    /// The connector as it was when the runs were loaded.
    pub connector: Connector,
    /// The table.
    pub table: VersionTable,
    /// The Delta schema text of the table.
    pub schema_string: String,
    /// Each run with the table version that holds it, in the order of the batch.
    pub runs: Vec<(RunId, u64)>,
    /// Runs that failed; each one's delivery says why.
    pub failed: Vec<FailedRun>,
}

/// Commits staged runs to the version table of their schema.
///
/// # Errors
///
/// Codes of the phases `load` and `share` (the connector). If no run got through, also the code of the first row that
/// was rejected of a run with more of them than the connector allows.
pub async fn publish(
    ports: Publishing<'_>,
    batch: &Batch,
    fingerprint: &Fingerprint,
    origin: Origin,
) -> Result<Published, StepError> {
    let view = ports.tables.load_view(batch, fingerprint).await.map_err(classify)?;
    let connector = view.connector.ok_or_else(|| {
        StepError::new(FailureCode::ConnectorNotFound, "the connector does not exist; set it up first")
    })?;
    check_state(&connector, origin)?;
    let (mut good, mut failed) = (Vec::new(), Vec::new());
    let manifests = ports.manifests.staged_each(&batch.run_keys()).await;
    for ((run, manifest), known) in batch.runs.iter().zip(manifests).zip(view.deliveries) {
        match usable(manifest, fingerprint, &connector) {
            Ok(staged) => good.push(ToLoad { run: run.clone(), staged, known }),
            Err(error) => failed.push(FailedRun::new(batch.run(run), error)),
        }
    }
    let table = match (view.table, good.first()) {
        (Some(table), _) => table,
        (None, Some(first)) => ports
            .tables
            .open_schema_version(&batch.connector, &batch.workflow, &first.staged.schema, ports.clock.now())
            .await
            .map_err(classify)?,
        (None, None) => return Err(all_failed(ports, batch, failed).await),
    };
    let schema_string = good.first().map(|run| ports.log.schema_string(&run.staged.schema)).unwrap_or_default();
    let mut loaded = BTreeMap::new();
    let mut new = Vec::new();
    for run in good {
        match run.known.as_ref().and_then(|delivery| delivery.loaded_table_version) {
            Some(table_version) => drop(loaded.insert(run.run, table_version)),
            None => new.push(run),
        }
    }
    if !new.is_empty() {
        load(Load { ports, batch, table: &table, schema_string: &schema_string }, new, &mut loaded, &mut failed)
            .await?;
    }
    let runs: Vec<_> = batch.runs.iter().filter_map(|run| Some((run.clone(), *loaded.get(run)?))).collect();
    let others = if runs.is_empty() { Others::AllFailed } else { Others::GoOn };
    let connectors = std::slice::from_ref(&batch.connector);
    let failed = settle(ports.deliveries, connectors, failed, others, ports.clock.now(), classify).await?;
    Ok(Published { connector, table, schema_string, runs, failed })
}

/// The failure of a step whose every run failed.
async fn all_failed(ports: Publishing<'_>, batch: &Batch, failed: Vec<FailedRun>) -> StepError {
    let connectors = std::slice::from_ref(&batch.connector);
    let settled = settle(ports.deliveries, connectors, failed, Others::AllFailed, ports.clock.now(), classify).await;
    settled.err().unwrap_or_else(|| {
        StepError::new(FailureCode::LoadStagingExpired, "the batch has no staged run; start DeliverRun again")
    })
}

/// Whether the connector takes what is to be loaded. A live delivery that had begun may end while the connector is
/// disabled: who takes a new run is decided when the run is accepted.
fn check_state(connector: &Connector, origin: Origin) -> Result<(), StepError> {
    let (code, message) = match (connector.state, origin) {
        (ConnectorState::Ready | ConnectorState::Backfilling | ConnectorState::Active, _)
        | (ConnectorState::Disabled, Origin::Live) => return Ok(()),
        (ConnectorState::Provisioning, _) => {
            (FailureCode::ConnectorNotReady, "the connector is not ready to take data; finish its set-up first")
        }
        (ConnectorState::Disabled, Origin::Backfill) => (
            FailureCode::ConnectorDisabled,
            "the connector is disabled and takes no history; enable it, then start the backfill again",
        ),
        (ConnectorState::Revoked, _) => (
            FailureCode::ConnectorRevoked,
            "the connector's recipient was revoked; set the connector up anew, or leave the run undelivered",
        ),
    };
    Err(StepError::new(code, message))
}

/// A run's manifest, if the run can be loaded.
fn usable(
    manifest: Result<Option<StagedRun>, PortError>,
    fingerprint: &Fingerprint,
    connector: &Connector,
) -> Result<StagedRun, StepError> {
    let staged = manifest.map_err(classify)?.ok_or_else(|| {
        StepError::new(FailureCode::LoadStagingExpired, "the run's staged files have expired; start DeliverRun again")
    })?;
    if staged.schema.fingerprint() != *fingerprint {
        return Err(StepError::new(
            FailureCode::SchemaNotOfBatch,
            "the run was staged again with another public schema; start DeliverRun again",
        ));
    }
    check_rejected(&staged, connector)?;
    Ok(staged)
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
fn application_id(run: &RunId) -> String {
    format!("run/{run}")
}

/// A run on its way into the table.
struct ToLoad {
    run: RunId,
    staged: StagedRun,
    /// Its record when the step began.
    known: Option<Delivery>,
}

/// One load: where to, and the ports.
#[derive(Clone, Copy)]
struct Load<'a> {
    ports: Publishing<'a>,
    batch: &'a Batch,
    table: &'a VersionTable,
    schema_string: &'a str,
}

/// Loads runs that are not known to be loaded, in one commit of those that the log does not hold.
async fn load(
    load: Load<'_>,
    new: Vec<ToLoad>,
    loaded: &mut BTreeMap<RunId, u64>,
    failed: &mut Vec<FailedRun>,
) -> Result<(), StepError> {
    let Load { ports, batch, table, .. } = load;
    let known_next = table.table_version.map_or(0, |version| version + 1);
    let aimed_before: Vec<_> =
        new.iter().map(|run| run.known.as_ref().and_then(|known| known.aimed_table_version)).collect();
    let deliveries: Vec<_> = new.iter().map(|run| batch.delivery(&run.run)).collect();
    let aims = ports.tables.aim(&deliveries, known_next, ports.clock.now()).await.map_err(classify)?;
    let first_attempts = aimed_before.iter().all(Option::is_none) && aims.iter().all(|aim| *aim == known_next);
    let mut found = BTreeMap::new();
    let next = if first_attempts && known_next > 0 {
        known_next
    } else {
        // An earlier attempt may have committed, or the state may have forgotten the table: the log knows.
        let from = aims.iter().copied().min().unwrap_or(known_next);
        let reached = aims.iter().copied().max().unwrap_or(known_next).max(known_next);
        look(load, &new, from, reached, &mut found).await?
    };
    let rest: Vec<_> = new.into_iter().filter(|run| !found.contains_key(&run.run)).collect();
    if !rest.is_empty() {
        commit(load, rest, next, &mut found, failed).await?;
    }
    let noted: Vec<_> = found.iter().map(|(run, table_version)| (batch.delivery(run), *table_version)).collect();
    if !noted.is_empty() {
        ports.tables.loaded(&noted, table, ports.clock.now()).await.map_err(classify)?;
    }
    loaded.extend(found);
    Ok(())
}

/// Looks for the runs in every version from one on; returns the next version of the log, which reaches as far as is
/// known.
async fn look(
    load: Load<'_>,
    runs: &[ToLoad],
    from: u64,
    reached: u64,
    found: &mut BTreeMap<RunId, u64>,
) -> Result<u64, StepError> {
    let Load { ports, batch, table, .. } = load;
    let newest = ports.log.newest_version(&batch.connector, &table.name).await.map_err(classify)?;
    let next = newest.map_or(0, |newest| newest + 1);
    if next < reached {
        return Err(StepError::new(
            FailureCode::LoadTableCorrupt,
            "a commit that the state table knows is not in the table's log; compare the log with the state table",
        ));
    }
    for table_version in from..next {
        if found.len() == runs.len() {
            break;
        }
        let Some(commit) = read(load, table_version).await? else {
            // Cleaned up since: what is left of these commits is in a checkpoint.
            for run in runs.iter().filter(|run| !found.contains_key(&run.run)).collect::<Vec<_>>() {
                let id = application_id(&run.run);
                let held = ports.log.transaction(&batch.connector, &table.name, &id).await.map_err(classify)?;
                if held.is_some() {
                    found.insert(run.run.clone(), next - 1);
                }
            }
            break;
        };
        note_held(&commit, runs, table_version, found);
    }
    Ok(next)
}

/// Notes the runs that a commit holds.
fn note_held(commit: &LoggedCommit, runs: &[ToLoad], table_version: u64, found: &mut BTreeMap<RunId, u64>) {
    for run in runs.iter().filter(|run| commit.holds(&application_id(&run.run))) {
        found.entry(run.run.clone()).or_insert(table_version);
    }
}

/// Copies the runs' files and commits them together, as the first version that is free. Runs that somebody else
/// commits meanwhile are left out.
async fn commit(
    load: Load<'_>,
    runs: Vec<ToLoad>,
    first: u64,
    found: &mut BTreeMap<RunId, u64>,
    failed: &mut Vec<FailedRun>,
) -> Result<(), StepError> {
    let Load { ports, batch, table, schema_string } = load;
    let mut runs = copy(load, runs, failed).await;
    for next in first..first + WRITES_MAX {
        if runs.is_empty() {
            return Ok(());
        }
        let commit = commit_of(&runs, (next == 0).then(|| schema_string.to_owned()), ports.clock.now());
        match ports.log.write(&batch.connector, &table.name, next, &commit).await.map_err(classify)? {
            WriteOutcome::Written => {
                found.extend(runs.into_iter().map(|run| (run.run, next)));
                return Ok(());
            }
            WriteOutcome::Taken => {}
        }
        let taken = read(load, next).await?.ok_or_else(|| {
            StepError::new(FailureCode::LoadConflict, "a version of the table's log is taken but cannot be read yet")
        })?;
        note_held(&taken, &runs, next, found);
        runs.retain(|run| !found.contains_key(&run.run));
        if !runs.is_empty() && taken.schema_string.is_some_and(|other| other != schema_string) {
            return Err(StepError::new(
                FailureCode::LoadTableCorrupt,
                "the table in storage has another schema than the state table says; compare its log with the state table",
            ));
        }
    }
    if runs.is_empty() {
        return Ok(());
    }
    Err(StepError::new(FailureCode::LoadConflict, "other runs were first too many times; the load begins again"))
}

/// Copies the runs' files into the table's folder, and returns the runs whose files are all there.
async fn copy(load: Load<'_>, runs: Vec<ToLoad>, failed: &mut Vec<FailedRun>) -> Vec<ToLoad> {
    let Load { ports, batch, table, .. } = load;
    let named = |run: &ToLoad| {
        let names = run.staged.files.iter().enumerate().map(|(index, _)| data_file_name(&run.run, index));
        run.staged.files.iter().cloned().zip(names).collect::<Vec<_>>()
    };
    let files: Vec<_> = runs.iter().flat_map(named).collect();
    let mut copied = ports.log.copy_staged_each(&files, &batch.connector, &table.name).await.into_iter();
    let mut there = Vec::with_capacity(runs.len());
    for run in runs {
        let of_run: Vec<_> = copied.by_ref().take(run.staged.files.len()).collect();
        match of_run.into_iter().collect::<Result<Vec<()>, _>>() {
            Ok(_) => there.push(run),
            Err(error) => failed.push(FailedRun::new(batch.run(&run.run), classify(error))),
        }
    }
    there
}

/// The commit of some runs.
fn commit_of(runs: &[ToLoad], schema_string: Option<String>, timestamp: Timestamp) -> Commit {
    let file = |run: &ToLoad, index: usize| {
        let staged = run.staged.files.get(index)?;
        let name = data_file_name(&run.run, index);
        Some(DataFile { name, size_bytes: staged.size_bytes, statistics: staged.statistics.clone() })
    };
    Commit {
        schema_string,
        removes: Vec::new(),
        adds: runs
            .iter()
            .flat_map(|run| (0..run.staged.files.len()).filter_map(move |index| file(run, index)))
            .collect(),
        transactions: runs.iter().map(|run| (application_id(&run.run), run.staged.finished_at.millis())).collect(),
        timestamp,
        operation: "WRITE",
        change: DataChange::Rows,
    }
}

async fn read(load: Load<'_>, table_version: u64) -> Result<Option<LoggedCommit>, StepError> {
    let Load { ports, batch, table, .. } = load;
    ports.log.read(&batch.connector, &table.name, table_version).await.map_err(classify)
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
