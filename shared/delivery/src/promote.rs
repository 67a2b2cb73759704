//! Promoting `__LATEST`: the table mirrors the version table of the newest finished run.
//!
//! What a version of `__LATEST` mirrors is said by the `txn` actions of its own log, so a plan made on version `k`
//! can only become version `k + 1`: whoever loses the race reads the winner's commit and plans again. Running twice
//! plans nothing the second time.
//!
//! A proven version that the table does not follow, because it mirrors the version table of a newer run, is noted in the
//! state table before the log is looked at for the last time; and so is the version that a switch leaves. Who switches
//! looks for such a note behind its commit: between the two, one of them sees the other's.
//!
//! The usual plan ships the version table's commits. If they are too many, or the first of them are cleaned up, the
//! plan compares what both tables hold and makes up for the difference in one commit.

use std::collections::BTreeSet;

use crate::batch::Batch;
use crate::failure::{FailureCode, StepError};
use crate::ids::ConnectorId;
use crate::ports::{
    Clock, Commit, DataChange, DataFile, DeliveryStore, LoggedCommit, PortError, PortErrorKind, SharingBackend,
    TableLog, TableStore, WriteOutcome,
};
use crate::share::refused;
use crate::state::Step;
use crate::table::{LatestTable, Membership, Mirrored, TableName, WorkflowLabel};
use crate::timestamp::Timestamp;

/// The most plans that one attempt makes, before the state machine lets it begin again.
const PLANS_MAX: u32 = 64;

/// The most commits that are shipped one by one. Whoever is further behind reads both tables instead.
const SHIPPED_COMMITS_MAX: u64 = 64;

/// What promoting needs of the world.
#[derive(Clone, Copy)]
pub struct Promoting<'a> {
    /// Where the deliveries' states are kept.
    pub deliveries: &'a dyn DeliveryStore,
    /// What is known of the tables.
    pub tables: &'a dyn TableStore,
    /// The tables' logs.
    pub log: &'a dyn TableLog,
    /// Who may read what.
    pub backend: &'a dyn SharingBackend,
    /// The time.
    pub clock: &'a dyn Clock,
}

impl std::fmt::Debug for Promoting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Promoting")
    }
}

/// The proven table version that `__LATEST` shall reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The version table.
    pub source: TableName,
    /// The table version that was proven.
    pub source_version: u64,
    /// When the newest of the proven runs finished.
    pub finished_at: Timestamp,
}

/// Brings `__LATEST` up to a proven version of a version table: ships its commits, or switches to it in one commit
/// if its newest run finished after every run mirrored so far. A late old run of another schema changes nothing; it is
/// noted for the switch that may come.
///
/// # Errors
///
/// Codes of phase `publish`.
pub async fn promote(
    ports: Promoting<'_>,
    batch: &Batch,
    label: &WorkflowLabel,
    proven: &Proven,
) -> Result<(), StepError> {
    let (connector, workflow) = (&batch.connector, &batch.workflow);
    ports.deliveries.enter(&batch.deliveries(), Step::Promoting, ports.clock.now()).await.map_err(classify)?;
    let table = TableName::latest(label);
    let known = ports.tables.latest(connector, workflow).await.map_err(classify)?;
    let mut membership = known.as_ref().map_or(Membership::Unshared, |latest| latest.shared);
    let mut position = match &known {
        Some(latest) => Some(Position { table_version: latest.table_version, mirrored: latest.mirrored.clone() }),
        None => position_in_log(ports, connector, &table).await?,
    };
    let mut proven = proven.clone();
    let mut has_switched = known.is_none();
    for _ in 0..PLANS_MAX {
        let next = position.as_ref().map_or(0, |position| position.table_version + 1);
        if position.as_ref().is_some_and(|position| position.gives_way_to(&proven)) {
            let noted = ports.tables.passed_over(connector, &proven.source).await.map_err(classify)?;
            proven.source_version = proven.source_version.max(noted.unwrap_or_default());
        }
        if let Some(planned) = plan(ports, connector, &table, position.as_ref(), &proven).await? {
            ports.log.copy_between(connector, &proven.source, &table, &planned.commit.adds).await.map_err(classify)?;
            if let Some(left) = position.as_ref().map(|position| &position.mirrored)
                && left.source != proven.source
            {
                let noted = ports.tables.pass_over(connector, &left.source, left.source_version);
                noted.await.map_err(classify)?;
            }
            let outcome = ports.log.write(connector, &table, next, &planned.commit).await.map_err(classify)?;
            let reached = match outcome {
                WriteOutcome::Written => Position { table_version: next, mirrored: planned.mirrored },
                WriteOutcome::Taken => read_position(ports, connector, &table, next, position.clone()).await?,
            };
            has_switched |= position.is_none_or(|before| before.mirrored.source != reached.mirrored.source);
            position = Some(reached);
            continue;
        }
        let Some(reached) = position.clone() else { return Ok(()) };
        if reached.mirrored.source != proven.source {
            ports.tables.pass_over(connector, &proven.source, proven.source_version).await.map_err(classify)?;
            let Some(commit) = ports.log.read(connector, &table, next).await.map_err(classify)? else {
                // What the table is now is noted by who made it so, behind a look at the notes.
                return Ok(());
            };
            let mirrored = mirrored_after(position, &commit)?;
            has_switched |= mirrored.source != reached.mirrored.source;
            position = Some(Position { table_version: next, mirrored });
            continue;
        }
        if has_switched {
            let noted = ports.tables.passed_over(connector, &proven.source).await.map_err(classify)?;
            if let Some(noted) = noted.filter(|noted| *noted > reached.mirrored.source_version) {
                proven.source_version = noted;
                continue;
            }
        }
        if membership == Membership::Unshared {
            ports.backend.add_table(connector, &table).await.map_err(classify)?;
            membership = Membership::Shared;
        }
        if has_switched {
            // Another version table means other columns. Noted below only when the backend knows them.
            ports.backend.refresh_table(connector, &table).await.map_err(classify)?;
        }
        let latest =
            LatestTable { table_version: reached.table_version, mirrored: reached.mirrored, shared: membership };
        if known.as_ref() != Some(&latest) {
            ports.tables.put_latest(connector, workflow, &latest).await.map_err(classify)?;
        }
        return Ok(());
    }
    Err(StepError::new(FailureCode::PublishConflict, "other runs were first too many times; promoting begins again"))
}

/// Where the log stands, for when the state table does not know: before the first commit, or after the state was lost.
async fn position_in_log(
    ports: Promoting<'_>,
    connector: &ConnectorId,
    table: &TableName,
) -> Result<Option<Position>, StepError> {
    match ports.log.newest_version(connector, table).await.map_err(classify)? {
        Some(newest) => read_position(ports, connector, table, newest, None).await.map(Some),
        None => Ok(None),
    }
}

/// The position after a version that somebody else wrote.
async fn read_position(
    ports: Promoting<'_>,
    connector: &ConnectorId,
    table: &TableName,
    table_version: u64,
    before: Option<Position>,
) -> Result<Position, StepError> {
    let commit = ports.log.read(connector, table, table_version).await.map_err(classify)?.ok_or_else(|| {
        StepError::new(FailureCode::PublishConflict, "a version of the log of LATEST is taken but cannot be read yet")
    })?;
    Ok(Position { table_version, mirrored: mirrored_after(before, &commit)? })
}

/// A version of `__LATEST`, and what it mirrors.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Position {
    table_version: u64,
    mirrored: Mirrored,
}

impl Position {
    /// Whether the table switches to another version table.
    fn gives_way_to(&self, proven: &Proven) -> bool {
        self.mirrored.source != proven.source && self.mirrored.newest_finished_at < proven.finished_at
    }
}

/// The next commit of `__LATEST`, and what the table mirrors after it.
struct Planned {
    commit: Commit,
    mirrored: Mirrored,
}

async fn plan(
    ports: Promoting<'_>,
    connector: &ConnectorId,
    table: &TableName,
    position: Option<&Position>,
    proven: &Proven,
) -> Result<Option<Planned>, StepError> {
    match position {
        Some(position) if position.mirrored.source == proven.source => {
            catch_up(ports, connector, table, position, proven).await
        }
        Some(position) if !position.gives_way_to(proven) => Ok(None),
        Some(_) | None => switch(ports, connector, table, position, proven).await.map(Some),
    }
}

/// The next commit on the way to a version of the table that is mirrored already; `None` if it is reached.
async fn catch_up(
    ports: Promoting<'_>,
    connector: &ConnectorId,
    table: &TableName,
    position: &Position,
    proven: &Proven,
) -> Result<Option<Planned>, StepError> {
    let mirrored = &position.mirrored;
    if mirrored.source_version >= proven.source_version {
        // The rows came with a neighbour's promotion, which may not have known when this run finished.
        let later = mirrored.newest_finished_at < proven.finished_at;
        let mirrored = Mirrored { newest_finished_at: proven.finished_at, ..mirrored.clone() };
        return Ok(later.then(|| Planned::of(ports, Contents::default(), mirrored)));
    }
    if proven.source_version - mirrored.source_version <= SHIPPED_COMMITS_MAX
        && let Some(planned) = ship(ports, connector, mirrored, proven).await?
    {
        return Ok(Some(planned));
    }
    rebuild(ports, connector, table, position, proven).await.map(Some)
}

/// Ships the source's commits since the mirrored one, as one commit: as many as mean the same to readers of changes,
/// so that rows which a compaction moved are still seen to arrive. `None` if a commit was cleaned up.
async fn ship(
    ports: Promoting<'_>,
    connector: &ConnectorId,
    mirrored: &Mirrored,
    proven: &Proven,
) -> Result<Option<Planned>, StepError> {
    let mut shipped: Option<Contents> = None;
    let mut after = mirrored.clone();
    for version in mirrored.source_version + 1..=proven.source_version {
        let read = ports.log.read(connector, &proven.source, version).await.map_err(classify)?;
        let Some(commit) = read else { return Ok(None) };
        match &mut shipped {
            Some(contents) if contents.change != commit.change => break,
            Some(_) | None => {}
        }
        after.source_version = version;
        after.newest_finished_at =
            commit.newest_finished_at().unwrap_or(after.newest_finished_at).max(after.newest_finished_at);
        shipped.get_or_insert_with(|| Contents { change: commit.change, ..Contents::default() }).apply(commit);
    }
    Ok(shipped.map(|contents| Planned::of(ports, contents, after)))
}

/// Brings the table to the source's files at once: what both have stays.
async fn rebuild(
    ports: Promoting<'_>,
    connector: &ConnectorId,
    table: &TableName,
    position: &Position,
    proven: &Proven,
) -> Result<Planned, StepError> {
    let source = ports.log.contents(connector, &proven.source, proven.source_version).await.map_err(classify)?;
    let own = ports.log.contents(connector, table, position.table_version).await.map_err(classify)?;
    let names = |files: &[DataFile]| files.iter().map(|file| file.name.clone()).collect::<BTreeSet<_>>();
    let (in_source, in_own) = (names(&source.files), names(&own.files));
    let contents = Contents {
        removes: own.files.into_iter().filter(|file| !in_source.contains(&file.name)).collect(),
        adds: source.files.into_iter().filter(|file| !in_own.contains(&file.name)).collect(),
        ..Contents::default()
    };
    let mirrored = Mirrored {
        source: proven.source.clone(),
        source_version: proven.source_version,
        newest_finished_at: position.mirrored.newest_finished_at.max(proven.finished_at),
    };
    Ok(Planned::of(ports, contents, mirrored))
}

/// Replaces everything in place: the source's schema and files for the table's own, in one commit.
async fn switch(
    ports: Promoting<'_>,
    connector: &ConnectorId,
    table: &TableName,
    position: Option<&Position>,
    proven: &Proven,
) -> Result<Planned, StepError> {
    let source = ports.log.contents(connector, &proven.source, proven.source_version).await.map_err(classify)?;
    let removes = match position {
        Some(position) => ports.log.contents(connector, table, position.table_version).await.map_err(classify)?.files,
        None => Vec::new(),
    };
    let mirrored = Mirrored {
        source: proven.source.clone(),
        source_version: proven.source_version,
        newest_finished_at: proven.finished_at,
    };
    let contents =
        Contents { schema_string: Some(source.schema_string), removes, adds: source.files, change: DataChange::Rows };
    Ok(Planned::of(ports, contents, mirrored))
}

const MIRROR_PREFIX: &str = "mirror/";
const FINISHED_AT: &str = "newest-finished-at";

/// What a commit of `__LATEST` changes.
struct Contents {
    schema_string: Option<String>,
    removes: Vec<DataFile>,
    adds: Vec<DataFile>,
    change: DataChange,
}

impl Default for Contents {
    fn default() -> Self {
        Self { schema_string: None, removes: Vec::new(), adds: Vec::new(), change: DataChange::Rows }
    }
}

impl Contents {
    /// Adds a commit of the source behind those before it.
    fn apply(&mut self, commit: LoggedCommit) {
        for removed in commit.removes {
            match self.adds.iter().position(|added| added.name == removed.name) {
                Some(shipped_here) => drop(self.adds.remove(shipped_here)),
                None => self.removes.push(removed),
            }
        }
        self.adds.extend(commit.adds);
    }
}

impl Planned {
    fn of(ports: Promoting<'_>, contents: Contents, mirrored: Mirrored) -> Self {
        let source_version = i64::try_from(mirrored.source_version).unwrap_or(i64::MAX);
        let commit = Commit {
            schema_string: contents.schema_string,
            removes: contents.removes,
            adds: contents.adds,
            transactions: vec![
                (format!("{MIRROR_PREFIX}{}", mirrored.source), source_version),
                (FINISHED_AT.to_owned(), mirrored.newest_finished_at.millis()),
            ],
            timestamp: ports.clock.now(),
            operation: "MIRROR",
            change: contents.change,
        };
        Self { commit, mirrored }
    }
}

/// What `__LATEST` mirrors after a commit of its log.
fn mirrored_after(before: Option<Position>, commit: &LoggedCommit) -> Result<Mirrored, StepError> {
    let mut mirrored = before.map(|position| position.mirrored);
    let source = commit.transactions.iter().find_map(|(id, version)| {
        let source = id.strip_prefix(MIRROR_PREFIX)?;
        Some((TableName::from_stored(source), u64::try_from(*version).ok()?))
    });
    let finished_at =
        commit.transactions.iter().find(|(id, _)| id == FINISHED_AT).and_then(|(_, at)| Timestamp::from_millis(*at));
    if let (Some((source, source_version)), Some(newest_finished_at)) = (source, finished_at) {
        mirrored = Some(Mirrored { source, source_version, newest_finished_at });
    }
    // A commit that mirrors nothing (maintenance) leaves the position's facts as they were.
    mirrored.ok_or_else(|| {
        StepError::new(FailureCode::PublishTableCorrupt, "the first commit of LATEST does not say what it mirrors")
    })
}

fn classify(error: PortError) -> StepError {
    let error = match refused(error) {
        Ok(refused) => return refused,
        Err(error) => error,
    };
    let (code, message) = match error.kind {
        PortErrorKind::Throttled | PortErrorKind::Unavailable => {
            (FailureCode::PublishUnavailable, "the state table or the storage did not answer")
        }
        PortErrorKind::Denied => (FailureCode::PublishDenied, "the promoting function's role lacks a permission"),
        PortErrorKind::NotFound | PortErrorKind::InvalidData => {
            (FailureCode::PublishTableCorrupt, "a log of LATEST or of its version table cannot be read")
        }
    };
    StepError::caused(code, message, error)
}
