//! Rows that wait for the metadata tables, and what is known of these tables. What the real store does in several
//! requests is several calls here, so that a fault can strike between them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use delivery::catalogue::CatalogueEntry;
use delivery::ids::ConnectorId;
use delivery::metadata::{
    BATCH_KEY_BYTES_MAX, BATCH_ROWS_MAX, Batched, BegunBatch, DeliveredFacts, KeptRow, MetadataTable, WaitingRow,
};
use delivery::ports::{
    BatchBegun, CatalogueChange, CatalogueMark, MaintenanceRequests, MetadataStore, MetadataWriterWaker, More, Outbox,
    PortError, WriterView,
};
use delivery::table::TableName;
use delivery::timestamp::Timestamp;

use super::{InMemoryState, Inner, missing};

/// Rows of one request that deletes some.
const DELETED_AT_ONCE: usize = 25;

impl InMemoryState {
    /// How many rows of a table wait for a batch.
    #[must_use]
    pub fn waiting_rows(&self, connector: &ConnectorId, table: MetadataTable) -> usize {
        self.with(|inner| inner.of_table(connector, table).count())
    }

    /// The connectors whose writer was woken, call by call.
    #[must_use]
    pub fn wakes(&self) -> Vec<ConnectorId> {
        self.with(|inner| inner.wakes.clone())
    }

    /// The tables that somebody was asked to look after, call by call.
    #[must_use]
    pub fn maintenance(&self) -> Vec<(ConnectorId, TableName)> {
        self.with(|inner| inner.maintenance.clone())
    }
}

impl Inner {
    pub(super) fn wait(&mut self, connector: &ConnectorId, table: MetadataTable, row: KeptRow) {
        self.waiting.insert((connector.clone(), table, row.key.clone()), row);
    }

    fn of_table(&self, connector: &ConnectorId, table: MetadataTable) -> impl Iterator<Item = &KeptRow> {
        let first = (connector.clone(), table, String::new());
        let of = connector.clone();
        let rows =
            self.waiting.range(first..).take_while(move |((of_row, name, _), _)| *of_row == of && *name == table);
        rows.map(|(_, row)| row)
    }

    fn known(&self, connector: &ConnectorId, table: MetadataTable) -> Batched {
        self.batched.get(&(connector.clone(), table)).cloned().unwrap_or_default()
    }

    fn mark(&self, connector: &ConnectorId) -> CatalogueMark {
        self.catalogue.get(connector).copied().unwrap_or_default()
    }
}

#[async_trait]
impl Outbox for InMemoryState {
    async fn put(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
        rows: &[WaitingRow],
        _now: Timestamp,
    ) -> Result<(), PortError> {
        self.call("put rows that wait", |inner| {
            for row in rows {
                if inner.seen.insert((connector.clone(), table, row.key.clone())) {
                    let kept = KeptRow { key: row.key.clone(), row: row.row.clone(), delivered: None };
                    inner.wait(connector, table, kept);
                }
            }
            Ok(())
        })
    }
}

#[async_trait]
impl MetadataStore for InMemoryState {
    async fn writer_view(&self, connector: &ConnectorId) -> Result<WriterView, PortError> {
        self.call("read what the metadata writer begins with", |inner| {
            Ok(WriterView {
                connector: inner.connectors.get(connector).cloned(),
                runs: inner.known(connector, MetadataTable::WorkflowRuns),
                activity: inner.known(connector, MetadataTable::ActivityLog),
                catalogue: inner.mark(connector),
            })
        })
    }

    async fn batched(&self, connector: &ConnectorId, table: MetadataTable) -> Result<Batched, PortError> {
        self.call("read what is known of a batched table", |inner| Ok(inner.known(connector, table)))
    }

    async fn waiting(&self, connector: &ConnectorId, table: MetadataTable) -> Result<(Vec<KeptRow>, More), PortError> {
        self.call("list the rows that wait", |inner| {
            let mut bytes = 0;
            let mut taken = Vec::new();
            for row in inner.of_table(connector, table) {
                bytes += row.key.len();
                if taken.len() == BATCH_ROWS_MAX || bytes > BATCH_KEY_BYTES_MAX {
                    return Ok((taken, More::Yes));
                }
                taken.push(row.clone());
            }
            Ok((taken, More::No))
        })
    }

    async fn rows_of(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
        keys: &[String],
    ) -> Result<Vec<KeptRow>, PortError> {
        self.call("read the rows of a batch", |inner| {
            let row = |key: &String| inner.waiting.get(&(connector.clone(), table, key.clone())).cloned();
            Ok(keys.iter().filter_map(row).collect())
        })
    }

    async fn begin(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
        known: &Batched,
        batch: &BegunBatch,
    ) -> Result<BatchBegun, PortError> {
        self.call("begin a batch", |inner| {
            let mut found = inner.known(connector, table);
            if found.begun.is_some() || found.next != known.next {
                return Ok(BatchBegun::Outdated);
            }
            found.next = batch.number;
            found.begun = Some(batch.clone());
            inner.batched.insert((connector.clone(), table), found);
            Ok(BatchBegun::Now)
        })
    }

    async fn finish(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
        batch: &BegunBatch,
        table_version: u64,
    ) -> Result<(), PortError> {
        for keys in batch.keys.chunks(DELETED_AT_ONCE) {
            self.call("delete the rows of a batch", |inner| {
                for key in keys {
                    inner.waiting.remove(&(connector.clone(), table, key.clone()));
                }
                Ok(())
            })?;
        }
        self.call("finish a batch", |inner| {
            let mut found = inner.known(connector, table);
            if found.begun.as_ref().is_some_and(|begun| begun.number == batch.number) {
                found.begun = None;
                found.next = batch.number + 1;
                found.table_version = Some(table_version);
                inner.batched.insert((connector.clone(), table), found);
            }
            Ok(())
        })
    }

    async fn note_delivered(
        &self,
        connector: &ConnectorId,
        delivered: &[DeliveredFacts],
    ) -> Result<CatalogueChange, PortError> {
        self.call("note delivered runs", |inner| {
            let mut changed = false;
            let mut in_order: Vec<_> = delivered.iter().collect();
            in_order.sort_by_key(|facts| (facts.finished_at, &facts.run));
            for facts in in_order {
                let schema = (connector.clone(), facts.workflow.clone(), facts.fingerprint.clone());
                if !inner.schemas.contains_key(&schema) {
                    return Err(missing("note delivered runs"));
                }
                inner.first_runs.entry(schema).or_insert_with(|| {
                    changed = true;
                    facts.run.clone()
                });
                let workflow = (connector.clone(), facts.workflow.clone());
                let named = inner.names.get(&workflow);
                if named.is_none_or(|(_, at)| *at < facts.finished_at) {
                    changed |= named.is_none_or(|(name, _)| *name != facts.workflow_name);
                    inner.names.insert(workflow, (facts.workflow_name.clone(), facts.finished_at));
                }
            }
            if !changed {
                return Ok(CatalogueChange::Unchanged);
            }
            inner.catalogue.entry(connector.clone()).or_default().changes += 1;
            Ok(CatalogueChange::Changed)
        })
    }

    async fn catalogue_mark(&self, connector: &ConnectorId) -> Result<CatalogueMark, PortError> {
        self.call("read how far the catalogue tables follow", |inner| Ok(inner.mark(connector)))
    }

    async fn catalogue(&self, connector: &ConnectorId) -> Result<Vec<CatalogueEntry>, PortError> {
        self.call("list the schema versions with delivered runs", |inner| {
            let mut entries = BTreeMap::new();
            for ((of, workflow), tables) in &inner.versions {
                for table in tables.iter().filter(|_| of == connector) {
                    let schema = (connector.clone(), workflow.clone(), table.fingerprint.clone());
                    let Some(first_run) = inner.first_runs.get(&schema) else { continue };
                    let name = inner.names.get(&(connector.clone(), workflow.clone()));
                    let entry = CatalogueEntry {
                        workflow: workflow.clone(),
                        workflow_name: name.map(|(name, _)| name.clone()).unwrap_or_default(),
                        label: table.label.clone(),
                        schema_version: table.schema_version,
                        fingerprint: table.fingerprint.clone(),
                        table: table.name.clone(),
                        first_run: first_run.clone(),
                        schema: inner.schemas[&schema].clone(),
                    };
                    entries.insert((workflow.clone(), table.schema_version), entry);
                }
            }
            Ok(entries.into_values().collect())
        })
    }

    async fn catalogue_published(&self, connector: &ConnectorId, changes: u64) -> Result<(), PortError> {
        self.call("note how far the catalogue tables follow", |inner| {
            let mark = inner.catalogue.entry(connector.clone()).or_default();
            mark.published = mark.published.max(changes);
            Ok(())
        })
    }
}

#[async_trait]
impl MetadataWriterWaker for InMemoryState {
    async fn wake(&self, connector: &ConnectorId, _now: Timestamp) -> Result<(), PortError> {
        self.call("wake the metadata writer", |inner| {
            inner.wakes.push(connector.clone());
            Ok(())
        })
    }
}

#[async_trait]
impl MaintenanceRequests for InMemoryState {
    async fn request(&self, connector: &ConnectorId, tables: &[TableName]) -> Result<(), PortError> {
        self.call("ask for maintenance", |inner| {
            inner.maintenance.extend(tables.iter().map(|table| (connector.clone(), table.clone())));
            Ok(())
        })
    }
}
