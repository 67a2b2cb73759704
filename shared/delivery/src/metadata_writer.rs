//! Writing a connector's metadata tables: rows that wait become few commits, exactly once, and the catalogue tables
//! are replaced when what they tell of has changed.
//!
//! A batch is written down (its number, its rows' keys, the table version that it aims at) before its first write, so
//! that any number of writers, each of which may end at any point, make the same commit: the number is the version of
//! the table's `txn` action, and whoever goes on reads the log from the aimed version. Rows are deleted after their
//! commit and before their batch's number is, so a batch whose rows are gone is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::catalogue;
use crate::connector::Connector;
use crate::failure::{FailureCode, StepError};
use crate::ids::ConnectorId;
use crate::metadata::{Batched, BegunBatch, DeliveredFacts, KeptRow, MetadataTable};
use crate::ports::{
    BatchBegun, CatalogueChange, Clock, Commit, DataChange, DataFile, LoggedCommit, MaintenanceRequests, MetadataFiles,
    MetadataStore, MetadataWriterWaker, More, PortError, PortErrorKind, SharingBackend, TableLog, WriteOutcome,
};
use crate::share::refused;
use crate::table::TableName;

/// The most versions that one attempt offers a commit as.
const WRITES_MAX: u64 = 256;

/// The most batches of one drain: what is left is for the next, which it wakes.
pub const BATCHES_MAX: usize = 20;

/// The most times that one drain makes a plan again because another writer was first.
const LOOKS_MAX: usize = 64;

/// Tables are looked after each time that their version passes a multiple of this.
pub const MAINTENANCE_VERSIONS: u64 = 10;

/// What writing needs of the world.
#[derive(Clone, Copy)]
pub struct Writing<'a> {
    /// The rows that wait, and what is known of the tables.
    pub store: &'a dyn MetadataStore,
    /// The tables' logs.
    pub log: &'a dyn TableLog,
    /// The tables' files.
    pub files: &'a dyn MetadataFiles,
    /// Who may read what.
    pub backend: &'a dyn SharingBackend,
    /// Who looks after tables.
    pub maintenance: &'a dyn MaintenanceRequests,
    /// Who is woken for what is left.
    pub waker: &'a dyn MetadataWriterWaker,
    /// The time.
    pub clock: &'a dyn Clock,
}

impl fmt::Debug for Writing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writing")
    }
}

/// What one drain did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Batches that were brought to their end.
    pub batches: usize,
    /// Rows of them that this drain committed.
    pub rows: usize,
    /// Catalogue tables that were replaced.
    pub replaced: usize,
}

/// Writes what waits for a connector's metadata tables. A connector that does not exist has nothing to write.
///
/// Activity waits while its connector takes no data. Delivered runs do not: a delivery that had begun when its connector
/// was disabled ends, and the tables tell of it.
///
/// # Errors
///
/// Codes `METADATA_*`. What was begun is ended by the next drain.
pub async fn drain(ports: Writing<'_>, connector: &ConnectorId) -> Result<Drained, StepError> {
    let view = ports.store.writer_view(connector).await.map_err(classify)?;
    let Some(known) = view.connector else { return Ok(Drained::default()) };
    let mut drain = Drain { ports, connector, drained: Drained::default(), changed: CatalogueChange::Unchanged };
    let mut more = drain.batches(MetadataTable::WorkflowRuns, view.runs).await?;
    let takes_activity = known.activity_log && known.state.takes_data();
    if takes_activity && drain.batches(MetadataTable::ActivityLog, view.activity).await? == More::Yes {
        more = More::Yes;
    }
    if drain.changed == CatalogueChange::Changed || view.catalogue.changes != view.catalogue.published {
        drain.catalogue().await?;
    }
    if more == More::Yes {
        ports.waker.wake(connector, ports.clock.now()).await.map_err(classify)?;
    }
    Ok(drain.drained)
}

/// The metadata tables that a connector has.
#[must_use]
pub fn tables_of(connector: &Connector) -> Vec<MetadataTable> {
    let wanted = |table: &MetadataTable| *table != MetadataTable::ActivityLog || connector.activity_log;
    MetadataTable::ALL.into_iter().filter(wanted).collect()
}

/// Makes a metadata table of no rows, if it is not there. It is not in the share yet.
///
/// # Errors
///
/// Returns the storage's failure.
pub async fn make_table(
    log: &dyn TableLog,
    files: &dyn MetadataFiles,
    clock: &dyn Clock,
    connector: &ConnectorId,
    table: MetadataTable,
) -> Result<(), PortError> {
    let commit = Commit {
        schema_string: Some(files.metadata_schema_string(table)),
        operation: "CREATE TABLE",
        ..commit_of(clock, Vec::new(), Vec::new())
    };
    // Written by an earlier attempt, or now: the same table.
    let _ = log.write(connector, &table.name(), 0, &commit).await?;
    Ok(())
}

fn commit_of(clock: &dyn Clock, removes: Vec<DataFile>, adds: Vec<DataFile>) -> Commit {
    Commit {
        schema_string: None,
        removes,
        adds,
        transactions: Vec::new(),
        timestamp: clock.now(),
        operation: "WRITE",
        change: DataChange::Rows,
    }
}

struct Drain<'a> {
    ports: Writing<'a>,
    connector: &'a ConnectorId,
    drained: Drained,
    changed: CatalogueChange,
}

/// Where a batch's commit is, or may be.
enum Place {
    /// It is this version.
    Found(u64),
    /// It is nowhere; this is the first version that may be free.
    Free(u64),
}

impl Drain<'_> {
    /// Brings the rows of a table that wait into it, batch by batch.
    async fn batches(&mut self, table: MetadataTable, mut known: Batched) -> Result<More, StepError> {
        let store = self.ports.store;
        let mut looks = 0;
        for _ in 0..BATCHES_MAX + LOOKS_MAX {
            if self.drained.batches >= BATCHES_MAX {
                return Ok(More::Yes);
            }
            let mut more = More::Yes;
            let (batch, rows, place) = if let Some(batch) = known.begun.take() {
                let rows = store.rows_of(self.connector, table, &batch.keys).await.map_err(classify)?;
                let place = self.look(table, &batch).await?;
                (batch, rows, place)
            } else {
                let (rows, rest) = store.waiting(self.connector, table).await.map_err(classify)?;
                more = rest;
                if rows.is_empty() {
                    return Ok(More::No);
                }
                let (number, newest) = self.next_batch(table, &known).await?;
                let keys = rows.iter().map(|row| row.key.clone()).collect();
                let batch = BegunBatch { number, aimed_table_version: newest + 1, keys };
                if store.begin(self.connector, table, &known, &batch).await.map_err(classify)? == BatchBegun::Outdated {
                    looks += 1;
                    if looks > LOOKS_MAX {
                        return Err(conflict());
                    }
                    known = store.batched(self.connector, table).await.map_err(classify)?;
                    continue;
                }
                let place = Place::Free(newest + 1);
                (batch, rows, place)
            };
            let complete = rows.len() == batch.keys.len();
            let table_version = match place {
                Place::Found(table_version) => table_version,
                Place::Free(first) if complete => self.commit(table, &batch, &rows, first).await?,
                Place::Free(_) => {
                    return Err(StepError::new(
                        FailureCode::MetadataCorrupt,
                        "rows of a begun batch are gone, but its commit is not in the table's log",
                    ));
                }
            };
            if complete {
                self.note(table, &batch, &rows, table_version).await?;
            }
            store.finish(self.connector, table, &batch, table_version).await.map_err(classify)?;
            self.drained.batches += 1;
            known = Batched { table_version: Some(table_version), next: batch.number.saturating_add(1), begun: None };
            // Rows that come after this read are seen by the drain that their own wake begins.
            if more == More::No {
                return Ok(More::No);
            }
        }
        Err(conflict())
    }

    /// The number of a table's next batch and the newest version of its log, as far as it is known.
    async fn next_batch(&self, table: MetadataTable, known: &Batched) -> Result<(u64, u64), StepError> {
        if let Some(newest) = known.table_version {
            return Ok((known.next, newest));
        }
        let Writing { log, files, backend, clock, .. } = self.ports;
        let name = table.name();
        make_table(log, files, clock, self.connector, table).await.map_err(classify)?;
        backend.add_table(self.connector, &name).await.map_err(classify)?;
        let newest = log.newest_version(self.connector, &name).await.map_err(classify)?.unwrap_or(0);
        // A state table that was restored from a backup must not give a number twice.
        let last = if newest > 0 {
            log.transaction(self.connector, &name, name.as_str()).await.map_err(classify)?
        } else {
            None
        };
        let after = last.and_then(|last| u64::try_from(last).ok()).map_or(1, |last| last.saturating_add(1));
        Ok((known.next.max(after), newest))
    }

    /// Looks for a batch's commit from the version that it aimed at.
    async fn look(&self, table: MetadataTable, batch: &BegunBatch) -> Result<Place, StepError> {
        let (log, name) = (self.ports.log, table.name());
        let mut next = batch.aimed_table_version;
        while let Some(commit) = log.read(self.connector, &name, next).await.map_err(classify)? {
            if is_of(&commit, &name, batch) {
                return Ok(Place::Found(next));
            }
            next += 1;
        }
        if next > batch.aimed_table_version {
            return Ok(Place::Free(next));
        }
        // Nothing came since, or it was cleaned up behind a checkpoint.
        let newest = log.newest_version(self.connector, &name).await.map_err(classify)?;
        let Some(newest) = newest.filter(|newest| *newest >= next) else { return Ok(Place::Free(next)) };
        let last = log.transaction(self.connector, &name, name.as_str()).await.map_err(classify)?;
        let committed = last.and_then(|last| u64::try_from(last).ok()).is_some_and(|last| last >= batch.number);
        Ok(if committed { Place::Found(newest) } else { Place::Free(newest + 1) })
    }

    async fn commit(
        &mut self,
        table: MetadataTable,
        batch: &BegunBatch,
        rows: &[KeptRow],
        first: u64,
    ) -> Result<u64, StepError> {
        let Writing { log, files, clock, .. } = self.ports;
        let name = table.name();
        let cells: Vec<_> = rows.iter().map(|row| row.row.clone()).collect();
        let encoded = files.encode(table, &format!("batch-{:08}", batch.number), &cells).map_err(classify)?;
        files.put_file(self.connector, table, &encoded).await.map_err(classify)?;
        let mut commit = commit_of(clock, Vec::new(), vec![encoded.file]);
        commit.transactions = vec![transaction(&name, batch)];
        for next in first..first.saturating_add(WRITES_MAX) {
            let taken = match log.write(self.connector, &name, next, &commit).await.map_err(classify)? {
                WriteOutcome::Written => None,
                WriteOutcome::Taken => {
                    let taken = log.read(self.connector, &name, next).await.map_err(classify)?;
                    Some(taken.ok_or_else(conflict)?)
                }
            };
            if taken.is_none_or(|taken| is_of(&taken, &name, batch)) {
                self.drained.rows += rows.len();
                return Ok(next);
            }
        }
        Err(conflict())
    }

    /// What a committed batch means to other tables. Done before its rows are deleted, so that no end of a process
    /// leaves it out; doing it again is harmless.
    async fn note(
        &mut self,
        table: MetadataTable,
        batch: &BegunBatch,
        rows: &[KeptRow],
        table_version: u64,
    ) -> Result<(), StepError> {
        let delivered: Vec<_> = rows.iter().filter_map(|row| row.delivered.clone()).collect();
        if !delivered.is_empty() {
            let change = self.ports.store.note_delivered(self.connector, &delivered).await.map_err(classify)?;
            if change == CatalogueChange::Changed {
                self.changed = CatalogueChange::Changed;
            }
        }
        let mut due = tables_due(&delivered);
        if passes_multiple(batch.aimed_table_version, table_version) {
            due.insert(table.name());
        }
        self.request(due).await
    }

    async fn request(&self, due: BTreeSet<TableName>) -> Result<(), StepError> {
        if due.is_empty() {
            return Ok(());
        }
        let due: Vec<_> = due.into_iter().collect();
        self.ports.maintenance.request(self.connector, &due).await.map_err(classify)
    }

    /// Replaces the catalogue tables whose content changed.
    async fn catalogue(&mut self) -> Result<(), StepError> {
        let Writing { store, backend, .. } = self.ports;
        let changes = store.catalogue_mark(self.connector).await.map_err(classify)?.changes;
        let mut positions = Vec::new();
        for table in MetadataTable::CATALOGUE {
            positions.push((table, self.position(table).await?));
        }
        // Read after the tables' versions: a writer that knows less than another one has an older version, too.
        let mut entries = store.catalogue(self.connector).await.map_err(classify)?;
        for (table, mut position) in positions {
            let mut looks = 0;
            while !self.replace(table, &mut position, &catalogue::rows(table, &entries)).await? {
                looks += 1;
                if looks > LOOKS_MAX {
                    return Err(conflict());
                }
                entries = store.catalogue(self.connector).await.map_err(classify)?;
            }
        }
        backend
            .add_tables(self.connector, &MetadataTable::CATALOGUE.map(MetadataTable::name))
            .await
            .map_err(classify)?;
        store.catalogue_published(self.connector, changes).await.map_err(classify)
    }

    /// The newest version of a catalogue table and its files; the table is made if it is not there.
    async fn position(&self, table: MetadataTable) -> Result<Position, StepError> {
        let Writing { log, files, clock, .. } = self.ports;
        let name = table.name();
        let Some(table_version) = log.newest_version(self.connector, &name).await.map_err(classify)? else {
            make_table(log, files, clock, self.connector, table).await.map_err(classify)?;
            return Ok(Position { table_version: 0, files: Vec::new() });
        };
        let contents = log.contents(self.connector, &name, table_version).await.map_err(classify)?;
        Ok(Position { table_version, files: contents.files })
    }

    /// Offers one commit that replaces a table's content; `false` if another writer was first and the position moved.
    async fn replace(
        &mut self,
        table: MetadataTable,
        position: &mut Position,
        rows: &[Vec<crate::metadata::Cell>],
    ) -> Result<bool, StepError> {
        let Writing { log, files, clock, .. } = self.ports;
        let name = table.name();
        let encoded =
            if rows.is_empty() { None } else { Some(files.encode(table, "content", rows).map_err(classify)?) };
        let wanted: Vec<_> = encoded.iter().map(|encoded| encoded.file.name.as_str()).collect();
        if position.files.iter().map(|file| file.name.as_str()).eq(wanted.iter().copied()) {
            return Ok(true);
        }
        if let Some(encoded) = &encoded {
            files.put_file(self.connector, table, encoded).await.map_err(classify)?;
        }
        let adds = encoded.into_iter().map(|encoded| encoded.file).collect();
        let commit = commit_of(clock, position.files.clone(), adds);
        let next = position.table_version + 1;
        match log.write(self.connector, &name, next, &commit).await.map_err(classify)? {
            WriteOutcome::Written => {
                self.drained.replaced += 1;
                if passes_multiple(next, next) {
                    self.request(BTreeSet::from([name])).await?;
                }
                Ok(true)
            }
            WriteOutcome::Taken => {
                let taken = log.read(self.connector, &name, next).await.map_err(classify)?.ok_or_else(conflict)?;
                position.table_version = next;
                position.files.retain(|file| taken.removes.iter().all(|removed| removed.name != file.name));
                position.files.extend(taken.adds);
                Ok(false)
            }
        }
    }
}

struct Position {
    table_version: u64,
    files: Vec<DataFile>,
}

fn transaction(table: &TableName, batch: &BegunBatch) -> (String, i64) {
    (table.as_str().to_owned(), i64::try_from(batch.number).unwrap_or(i64::MAX))
}

fn is_of(commit: &LoggedCommit, table: &TableName, batch: &BegunBatch) -> bool {
    commit.transactions.contains(&transaction(table, batch))
}

/// Whether one of the versions `first..=last` is the first at or behind a multiple of [`MAINTENANCE_VERSIONS`].
fn passes_multiple(first: u64, last: u64) -> bool {
    last / MAINTENANCE_VERSIONS > first.saturating_sub(1) / MAINTENANCE_VERSIONS
}

/// The version tables that delivered runs brought past a multiple, with the `__LATEST` tables that follow them.
fn tables_due(delivered: &[DeliveredFacts]) -> BTreeSet<TableName> {
    let mut reached: BTreeMap<&TableName, (u64, u64, &DeliveredFacts)> = BTreeMap::new();
    for facts in delivered {
        let version = facts.table_version;
        let (first, last, _) = reached.entry(&facts.table).or_insert((version, version, facts));
        *first = version.min(*first);
        *last = version.max(*last);
    }
    let due = reached.into_values().filter(|(first, last, _)| passes_multiple(*first, *last));
    due.flat_map(|(_, _, facts)| [facts.table.clone(), TableName::latest(&facts.label)]).collect()
}

fn conflict() -> StepError {
    StepError::new(
        FailureCode::MetadataConflict,
        "other writers of a metadata table were first too many times; writing begins again",
    )
}

fn classify(error: PortError) -> StepError {
    let error = match refused(error) {
        Ok(refused) => return refused,
        Err(error) => error,
    };
    let (code, message) = match error.kind {
        PortErrorKind::Throttled | PortErrorKind::Unavailable => {
            (FailureCode::MetadataUnavailable, "the state table, the storage or a queue did not answer")
        }
        PortErrorKind::Denied => {
            (FailureCode::MetadataDenied, "the role of the metadata tables' writer lacks a permission")
        }
        PortErrorKind::NotFound | PortErrorKind::InvalidData => {
            (FailureCode::MetadataCorrupt, "the log of a metadata table, or what is known of it, cannot be read")
        }
    };
    StepError::caused(code, message, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multiple_is_passed_once() {
        let passing: Vec<_> = (0..=40).filter(|version| passes_multiple(*version, *version)).collect();
        assert_eq!(passing, [10, 20, 30, 40]);
        assert!(passes_multiple(3, 11) && !passes_multiple(11, 19) && passes_multiple(0, 10));
    }
}
