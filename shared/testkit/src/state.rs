//! The state table in memory: runs, deliveries, tables, connectors and shares. It passes the suites of
//! [`crate::state_contract`], as the real one does.

mod backfill;
mod metadata;
mod redrive;
mod rollouts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use async_trait::async_trait;
use delivery::backfill::BackfillId;
use delivery::batch::{Batch, Origin};
use delivery::connector::{Connector, ConnectorState};
use delivery::failure::StepError;
use delivery::ids::{ConnectorId, DeliveryKey, RunId, RunKey, TeamId, WorkflowId};
use delivery::lifecycle::{AuditEntry, Audited, Changed};
use delivery::metadata::{Batched, KeptRow, MetadataTable};
use delivery::ports::{
    BackfillNote, CatalogueMark, Connected, ConnectorStore, DeliveryStarter, DeliveryStore, FoundBy, LiveFailure,
    LoadView, PortError, PortErrorKind, Provisioned, RecipientBackend, Recorded, RecordedRun, RefusedMessages,
    RunConnectors, RunOrigin, RunStore, ShareReport, SharingBackend, TableStore, TeamConnector,
};
use delivery::run::Run;
use delivery::schema::{Fingerprint, PublicSchema};
use delivery::state::{Delivery, DeliveryEvent, DeliveryState, Ended, Failure, Step};
use delivery::table::{LatestTable, Membership, SchemaVersion, TableName, VersionTable, WorkflowLabel};
use delivery::timestamp::Timestamp;

use crate::faults::Faults;

/// The state table in memory.
#[derive(Debug, Default)]
pub struct InMemoryState {
    /// Faults of its calls.
    pub faults: Faults,
    inner: Mutex<Inner>,
}

/// Everything that is known of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// What the steps read.
    pub delivery: Delivery,
    /// How often staging began.
    pub attempts: u32,
    /// What it ended with last; `None` while it is under way.
    pub ended: Option<Ended>,
    /// When each state was entered last.
    pub entered_at: BTreeMap<DeliveryState, Timestamp>,
    /// Since when it is owed.
    pub owed_since: Option<Timestamp>,
}

type WorkflowOf = (ConnectorId, WorkflowId);
type Schema = (ConnectorId, WorkflowId, Fingerprint);

#[derive(Debug, Default)]
struct Inner {
    runs: BTreeMap<RunKey, (Run, RunConnectors)>,
    history: BTreeMap<(TeamId, String), RecordedRun>,
    found_by: BTreeMap<RunKey, FoundBy>,
    notes: BTreeMap<(ConnectorId, BackfillId), BackfillNote>,
    deliveries: BTreeMap<DeliveryKey, DeliveryRecord>,
    connectors: BTreeMap<ConnectorId, Connector>,
    audits: BTreeMap<ConnectorId, Vec<Audited>>,
    revoked: BTreeSet<ConnectorId>,
    labels: BTreeMap<(ConnectorId, WorkflowLabel), WorkflowId>,
    versions: BTreeMap<WorkflowOf, Vec<VersionTable>>,
    latest: BTreeMap<WorkflowOf, LatestTable>,
    passed_over: BTreeMap<(ConnectorId, TableName), u64>,
    shares: BTreeMap<String, (ConnectorId, BTreeSet<TableName>)>,
    started: BTreeMap<String, (RunKey, Vec<ConnectorId>)>,
    origins: BTreeMap<String, Origin>,
    refused: Vec<(String, String)>,
    schemas: BTreeMap<Schema, PublicSchema>,
    first_runs: BTreeMap<Schema, RunId>,
    names: BTreeMap<WorkflowOf, (String, Timestamp)>,
    waiting: BTreeMap<(ConnectorId, MetadataTable, String), KeptRow>,
    seen: BTreeSet<(ConnectorId, MetadataTable, String)>,
    batched: BTreeMap<(ConnectorId, MetadataTable), Batched>,
    catalogue: BTreeMap<ConnectorId, CatalogueMark>,
    wakes: Vec<ConnectorId>,
    live_failures: BTreeMap<ConnectorId, LiveFailure>,
    rollouts: Vec<(ConnectorId, u64)>,
    maintenance: Vec<(ConnectorId, TableName)>,
}

impl InMemoryState {
    /// The record of a delivery.
    #[must_use]
    pub fn record(&self, key: &DeliveryKey) -> Option<DeliveryRecord> {
        self.with(|inner| inner.deliveries.get(key).cloned())
    }

    /// The executions that were started, by name.
    #[must_use]
    pub fn started(&self) -> BTreeMap<String, (RunKey, Vec<ConnectorId>)> {
        self.with(|inner| inner.started.clone())
    }

    /// What the executions that were started again are for, by name.
    #[must_use]
    pub fn started_again_for(&self) -> BTreeMap<String, Origin> {
        self.with(|inner| inner.origins.clone())
    }

    /// The messages that were refused: body and failure.
    #[must_use]
    pub fn refused(&self) -> Vec<(String, String)> {
        self.with(|inner| inner.refused.clone())
    }

    /// The tables of a connector's share, in the order of their names.
    #[must_use]
    pub fn shared_tables(&self, connector: &ConnectorId) -> Vec<TableName> {
        self.with(|inner| {
            inner
                .shares
                .get(&share_key(connector))
                .map_or_else(Vec::new, |(_, tables)| tables.iter().cloned().collect())
        })
    }

    /// Forgets the table versions that are known, as a state table restored from a backup would.
    pub fn forget_table_versions(&self) {
        self.with(|inner| {
            inner.versions.values_mut().flatten().for_each(|table| table.table_version = None);
            inner.latest.clear();
            inner.batched.clear();
        });
    }

    /// Forgets that a delivery was loaded, as if the process had ended behind its commit.
    pub fn forget_load(&self, delivery: &DeliveryKey) {
        self.with(|inner| {
            if let Some(record) = inner.deliveries.get_mut(delivery) {
                record.delivery.loaded_table_version = None;
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn call<T>(
        &self,
        name: &'static str,
        act: impl FnOnce(&mut Inner) -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        self.faults.call(name, || self.with(act))
    }
}

fn share_key(connector: &ConnectorId) -> String {
    connector.as_str().to_ascii_lowercase()
}

fn missing(operation: &'static str) -> PortError {
    PortError::new(PortErrorKind::NotFound, operation, "it is not there")
}

impl Inner {
    fn record(&mut self, key: &DeliveryKey, now: Timestamp) -> &mut DeliveryRecord {
        self.deliveries.entry(key.clone()).or_insert_with(|| DeliveryRecord {
            delivery: Delivery {
                key: key.clone(),
                state: DeliveryState::Accepted,
                origin: Origin::Live,
                moved_at: now,
                aimed_table_version: None,
                loaded_table_version: None,
            },
            attempts: 0,
            ended: None,
            entered_at: BTreeMap::new(),
            owed_since: None,
        })
    }

    /// Ends a delivery, if that changes its state.
    fn end(&mut self, key: &DeliveryKey, ended: &Ended, now: Timestamp) -> bool {
        let record = self.record(key, now);
        let event = match ended {
            Ended::Shared(_) => DeliveryEvent::Delivered,
            Ended::Failed(_) => DeliveryEvent::Failed,
        };
        let after = record.delivery.state.after(event);
        if after == record.delivery.state {
            return false;
        }
        record.delivery.state = after;
        record.delivery.moved_at = now;
        record.ended = Some(ended.clone());
        record.owed_since.get_or_insert(now);
        record.entered_at.insert(after, now);
        if let Ended::Shared(delivered) = ended {
            self.wait(&key.connector, MetadataTable::WorkflowRuns, delivered.row(&key.run, now));
        }
        true
    }

    fn table(
        &mut self,
        connector: &ConnectorId,
        workflow: &WorkflowId,
        fingerprint: &Fingerprint,
    ) -> Option<&mut VersionTable> {
        let tables = self.versions.get_mut(&(connector.clone(), workflow.clone()))?;
        tables.iter_mut().find(|table| table.fingerprint == *fingerprint)
    }
}

impl DeliveryRecord {
    fn enter(&mut self, step: Step, now: Timestamp) {
        if self.delivery.state == DeliveryState::Shared {
            return;
        }
        self.delivery.state = self.delivery.state.after(DeliveryEvent::Entered(step));
        self.attempts += u32::from(step == Step::Staging);
        self.ended = None;
        self.delivery.moved_at = now;
        self.owed_since.get_or_insert(now);
        self.entered_at.insert(self.delivery.state, now);
    }
}

#[async_trait]
impl RunStore for InMemoryState {
    async fn team_connectors(&self, team: &TeamId) -> Result<Vec<TeamConnector>, PortError> {
        self.call("list the team's connectors", |inner| {
            let of_team = inner.connectors.values().filter(|connector| connector.team == *team);
            let entry = |connector: &Connector| TeamConnector {
                id: connector.id.clone(),
                state: connector.state,
                workflows: connector.workflows.clone(),
                activity_log: connector.activity_log,
            };
            Ok(of_team.filter(|connector| connector.state != ConnectorState::Revoked).map(entry).collect())
        })
    }

    async fn record_run(&self, run: &Run, connectors: &RunConnectors, now: Timestamp) -> Result<Recorded, PortError> {
        self.call("record the run", |inner| {
            match inner.runs.get(&run.key) {
                Some((_, connectors)) if !inner.was_found(&run.key) => {
                    return Ok(Recorded::Before(connectors.clone()));
                }
                Some(_) => inner.announce(&run.key, connectors, now),
                None => inner.record_run(run, connectors, RunOrigin::Announced, None, now),
            }
            for connector in &connectors.taken_by {
                let key = DeliveryKey { connector: connector.clone(), run: run.key.clone() };
                let record = inner.record(&key, now);
                record.entered_at.entry(DeliveryState::Accepted).or_insert(now);
                record.owed_since.get_or_insert(now);
            }
            Ok(Recorded::New)
        })
    }

    async fn recorded_run(&self, key: &RunKey) -> Result<Option<Run>, PortError> {
        self.call("read the run's record", |inner| Ok(inner.runs.get(key).map(|(run, _)| run.clone())))
    }
}

#[async_trait]
impl DeliveryStore for InMemoryState {
    async fn begin(&self, deliveries: &[DeliveryKey], origin: Origin, now: Timestamp) -> Result<(), PortError> {
        self.call("note that a step began", |inner| {
            for key in deliveries {
                let record = inner.record(key, now);
                record.enter(Step::Staging, now);
                if record.delivery.state != DeliveryState::Shared {
                    record.delivery.origin = origin;
                }
            }
            Ok(())
        })
    }

    async fn enter(&self, deliveries: &[DeliveryKey], step: Step, now: Timestamp) -> Result<(), PortError> {
        self.call("note that a step began", |inner| {
            deliveries.iter().for_each(|key| inner.record(key, now).enter(step, now));
            Ok(())
        })
    }

    async fn end(&self, ended: &[(DeliveryKey, Ended)], now: Timestamp) -> Result<(), PortError> {
        self.call("note the outcome of deliveries", |inner| {
            for (delivery, ended) in ended {
                inner.end(delivery, ended, now);
            }
            Ok(())
        })
    }

    async fn fail(
        &self,
        deliveries: &[DeliveryKey],
        failure: &Failure,
        origin: Origin,
        now: Timestamp,
    ) -> Result<(), PortError> {
        self.call("note the outcome of deliveries", |inner| {
            for key in deliveries {
                if inner.end(key, &Ended::Failed(failure.clone()), now) {
                    inner.record(key, now).delivery.origin = origin;
                }
            }
            Ok(())
        })
    }

    async fn delivery(&self, key: &DeliveryKey) -> Result<Option<Delivery>, PortError> {
        self.call("read the delivery's record", |inner| {
            Ok(inner.deliveries.get(key).map(|record| record.delivery.clone()))
        })
    }
}

#[async_trait]
impl TableStore for InMemoryState {
    async fn load_view(&self, batch: &Batch, fingerprint: &Fingerprint) -> Result<LoadView, PortError> {
        self.call("read what a load needs", |inner| {
            let delivery = |key| inner.deliveries.get(&key).map(|record| record.delivery.clone());
            Ok(LoadView {
                connector: inner.connectors.get(&batch.connector).cloned(),
                deliveries: batch.deliveries().into_iter().map(delivery).collect(),
                table: inner.table(&batch.connector, &batch.workflow, fingerprint).cloned(),
            })
        })
    }

    async fn open_schema_version(
        &self,
        connector: &ConnectorId,
        workflow: &WorkflowId,
        schema: &PublicSchema,
        _now: Timestamp,
    ) -> Result<VersionTable, PortError> {
        let fingerprint = schema.fingerprint();
        self.call("open a schema version", |inner| {
            if let Some(table) = inner.table(connector, workflow, &fingerprint) {
                return Ok(table.clone());
            }
            let of = (connector.clone(), workflow.clone());
            let known = inner.versions.get(&of).and_then(|tables| tables.last());
            let label = known.map_or_else(
                || {
                    let preferred = WorkflowLabel::preferred(workflow);
                    let holder = inner.labels.get(&(connector.clone(), preferred.clone()));
                    if holder.is_none_or(|holder| holder == workflow) {
                        preferred
                    } else {
                        WorkflowLabel::distinct(workflow)
                    }
                },
                |table| table.label.clone(),
            );
            let schema_version = SchemaVersion(known.map_or(0, |table| table.schema_version.0) + 1);
            let table = VersionTable {
                name: TableName::version(&label, schema_version),
                label: label.clone(),
                schema_version,
                fingerprint,
                table_version: None,
                shared: Membership::Unshared,
            };
            inner.labels.insert((connector.clone(), label), workflow.clone());
            inner.schemas.insert((connector.clone(), workflow.clone(), table.fingerprint.clone()), schema.clone());
            inner.versions.entry(of).or_default().push(table.clone());
            Ok(table)
        })
    }

    async fn aim(&self, deliveries: &[DeliveryKey], table_version: u64, now: Timestamp) -> Result<Vec<u64>, PortError> {
        self.call("note the table version that a load aims at", |inner| {
            let aim = |delivery| {
                let record = inner.record(delivery, now);
                record.enter(Step::Loading, now);
                if record.delivery.state == DeliveryState::Shared {
                    return record.delivery.aimed_table_version.unwrap_or(table_version);
                }
                *record.delivery.aimed_table_version.get_or_insert(table_version)
            };
            Ok(deliveries.iter().map(aim).collect())
        })
    }

    async fn loaded(
        &self,
        deliveries: &[(DeliveryKey, u64)],
        table: &VersionTable,
        now: Timestamp,
    ) -> Result<(), PortError> {
        self.call("note that runs are loaded", |inner| {
            for (delivery, table_version) in deliveries {
                let known = inner
                    .table(&delivery.connector, &delivery.run.workflow, &table.fingerprint)
                    .ok_or_else(|| missing("note that runs are loaded"))?;
                known.table_version = known.table_version.max(Some(*table_version));
                let record = inner.record(delivery, now);
                record.enter(Step::Publishing, now);
                if record.delivery.state != DeliveryState::Shared {
                    record.delivery.loaded_table_version = Some(*table_version);
                }
            }
            Ok(())
        })
    }

    async fn version_table_shared(
        &self,
        connector: &ConnectorId,
        workflow: &WorkflowId,
        fingerprint: &Fingerprint,
    ) -> Result<(), PortError> {
        self.call("note that a table is shared", |inner| {
            let table = inner.table(connector, workflow, fingerprint);
            table.ok_or_else(|| missing("note that a table is shared"))?.shared = Membership::Shared;
            Ok(())
        })
    }

    async fn version_tables(&self, connector: &ConnectorId) -> Result<Vec<(WorkflowId, VersionTable)>, PortError> {
        self.call("list a connector's version tables", |inner| {
            let mine = inner.versions.iter().filter(|((of, _), _)| of == connector);
            Ok(mine
                .flat_map(|((_, workflow), tables)| tables.iter().map(|it| (workflow.clone(), it.clone())))
                .collect())
        })
    }

    async fn latest(&self, connector: &ConnectorId, workflow: &WorkflowId) -> Result<Option<LatestTable>, PortError> {
        self.call("read the state of a latest table", |inner| {
            Ok(inner.latest.get(&(connector.clone(), workflow.clone())).cloned())
        })
    }

    async fn put_latest(
        &self,
        connector: &ConnectorId,
        workflow: &WorkflowId,
        latest: &LatestTable,
    ) -> Result<(), PortError> {
        self.call("note the state of a latest table", |inner| {
            let of = (connector.clone(), workflow.clone());
            let newer = inner.latest.get(&of).is_some_and(|known| known.table_version > latest.table_version);
            if !newer {
                inner.latest.insert(of, latest.clone());
            }
            Ok(())
        })
    }

    async fn pass_over(
        &self,
        connector: &ConnectorId,
        source: &TableName,
        source_version: u64,
    ) -> Result<(), PortError> {
        self.call("note what a latest table does not follow", |inner| {
            let noted = inner.passed_over.entry((connector.clone(), source.clone())).or_default();
            *noted = source_version.max(*noted);
            Ok(())
        })
    }

    async fn passed_over(&self, connector: &ConnectorId, source: &TableName) -> Result<Option<u64>, PortError> {
        self.call("read what a latest table did not follow", |inner| {
            Ok(inner.passed_over.get(&(connector.clone(), source.clone())).copied())
        })
    }
}

#[async_trait]
impl ConnectorStore for InMemoryState {
    async fn connector(&self, id: &ConnectorId) -> Result<Option<Connector>, PortError> {
        self.call("read a connector", |inner| Ok(inner.connectors.get(id).cloned()))
    }

    async fn change_connector(
        &self,
        before: Option<&Connector>,
        after: &Connector,
        entry: &AuditEntry,
    ) -> Result<Changed, PortError> {
        self.call("write a connector", |inner| {
            let known = inner.connectors.get(&after.id).map(|known| known.revision);
            if known != before.map(|before| before.revision) {
                return Ok(Changed::Outdated);
            }
            inner.connectors.insert(after.id.clone(), after.clone());
            let audited = Audited { revision: after.revision, entry: entry.clone() };
            inner.audits.entry(after.id.clone()).or_default().push(audited);
            Ok(Changed::Now)
        })
    }

    async fn connectors(&self) -> Result<Vec<ConnectorId>, PortError> {
        self.call("list the connectors", |inner| Ok(inner.connectors.keys().cloned().collect()))
    }

    async fn audit(&self, id: &ConnectorId, limit: usize) -> Result<Vec<Audited>, PortError> {
        self.call("read a connector's audit", |inner| {
            let entries = inner.audits.get(id).map(Vec::as_slice).unwrap_or_default();
            Ok(entries.iter().skip(entries.len().saturating_sub(limit)).cloned().collect())
        })
    }
}

#[async_trait]
impl SharingBackend for InMemoryState {
    async fn provision(&self, connector: &Connector) -> Result<Provisioned, PortError> {
        self.call("make a share", |inner| {
            let share =
                inner.shares.entry(share_key(&connector.id)).or_insert_with(|| (connector.id.clone(), BTreeSet::new()));
            Ok(if share.0 == connector.id { Provisioned::Ready } else { Provisioned::Taken })
        })
    }

    async fn add_table(&self, connector: &ConnectorId, table: &TableName) -> Result<(), PortError> {
        self.call("put a table into a share", |inner| {
            let share = inner.shares.get_mut(&share_key(connector)).filter(|(holder, _)| holder == connector);
            share.ok_or_else(|| missing("put a table into a share"))?.1.insert(table.clone());
            Ok(())
        })
    }

    async fn present(&self, connector: &ConnectorId, tables: &[TableName]) -> Result<Vec<TableName>, PortError> {
        self.call("look which tables are in a share", |inner| {
            let (_, shared) = inner.shares.get(&share_key(connector)).ok_or_else(|| missing("look into a share"))?;
            Ok(tables.iter().filter(|table| shared.contains(table)).cloned().collect())
        })
    }

    async fn remove_table(&self, connector: &ConnectorId, table: &TableName) -> Result<(), PortError> {
        self.call("take a table out of a share", |inner| {
            if let Some((holder, tables)) = inner.shares.get_mut(&share_key(connector))
                && holder == connector
            {
                tables.remove(table);
            }
            Ok(())
        })
    }

    async fn refresh_table(&self, _: &ConnectorId, _: &TableName) -> Result<(), PortError> {
        self.call("refresh a table", |_| Ok(()))
    }
}

#[async_trait]
impl RecipientBackend for InMemoryState {
    async fn connect(&self, connector: &Connector) -> Result<Connected, PortError> {
        self.call("connect a recipient", |inner| {
            inner.revoked.remove(&connector.id);
            Ok(Connected::Ready)
        })
    }

    async fn verify(&self, connector: &Connector, tables: &[TableName]) -> Result<ShareReport, PortError> {
        self.call("verify a share", |inner| {
            let (_, shared) = inner.shares.get(&share_key(&connector.id)).ok_or_else(|| missing("verify a share"))?;
            let missing = tables.iter().filter(|table| !shared.contains(table)).map(ToString::to_string).collect();
            let ungranted = inner.revoked.contains(&connector.id);
            Ok(ShareReport { missing, denied: Vec::new(), ungranted })
        })
    }

    async fn expire_tokens(&self, _: &Connector, _: u32, _: Timestamp) -> Result<(), PortError> {
        self.call("have tokens expire", |_| Ok(()))
    }

    async fn revoke(&self, connector: &Connector, _: Timestamp) -> Result<(), PortError> {
        self.call("revoke access", |inner| {
            inner.revoked.insert(connector.id.clone());
            Ok(())
        })
    }
}

#[async_trait]
impl DeliveryStarter for InMemoryState {
    async fn start(&self, run: &RunKey, connectors: &[ConnectorId]) -> Result<(), PortError> {
        self.call("start an execution", |inner| {
            inner.started.entry(run.execution_name()).or_insert_with(|| (run.clone(), connectors.to_vec()));
            Ok(())
        })
    }
}

#[async_trait]
impl RefusedMessages for InMemoryState {
    async fn refuse(&self, body: &str, error: &StepError) -> Result<(), PortError> {
        self.call("refuse a message", |inner| {
            inner.refused.push((body.to_owned(), error.to_string()));
            Ok(())
        })
    }
}
