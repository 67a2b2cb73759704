//! What is known of tables: schema versions and labels, how far their logs reach, and what `__LATEST` mirrors.

use async_trait::async_trait;
use delivery::batch::Batch;
use delivery::ids::{ConnectorId, DeliveryKey, WorkflowId};
use delivery::ports::{DeliveryStore as _, LoadView, PortError, PortErrorKind, TableStore};
use delivery::schema::{Fingerprint, PublicSchema};
use delivery::state::Step;
use delivery::table::{LatestTable, Membership, Mirrored, SchemaVersion, TableName, VersionTable, WorkflowLabel};
use delivery::timestamp::Timestamp;
use events::schema_record;

use super::expression::Write;
use super::item::{Attributes, Item, Key, bytes, instant, membership, number, text};
use super::{DynamoStore, Met, Transacted, Written, busy, connectors, damaged, deliveries, pause};

/// How often opening a schema version begins again because another writer was first.
const OPEN_ATTEMPTS_MAX: u32 = 40;

const VIEW: &str = "read what a load needs";
const OPEN: &str = "open a schema version";
const AIM: &str = "note the table version that a load aims at";
const LOADED: &str = "note that a run is loaded";
const SHARED: &str = "note that a table is shared";
const TABLES: &str = "list a connector's version tables";
const LATEST: &str = "read the state of a latest table";
const PUT_LATEST: &str = "note the state of a latest table";
const PASS_OVER: &str = "note what a latest table does not follow";
const PASSED_OVER: &str = "read what a latest table did not follow";

#[async_trait]
impl TableStore for DynamoStore {
    async fn load_view(&self, batch: &Batch, fingerprint: &Fingerprint) -> Result<LoadView, PortError> {
        let deliveries = batch.deliveries();
        let mut keys =
            vec![Key::connector(&batch.connector), Key::table(&batch.connector, &batch.workflow, fingerprint)];
        keys.extend(deliveries.iter().map(Key::delivery));
        let mut found = self.get_many(VIEW, &keys).await?.into_iter();
        let connector = found.next().flatten().map(|item| connectors::read(&item, VIEW)).transpose()?;
        let table = found.next().flatten().map(|item| read_table(&item, VIEW)).transpose()?;
        let read = |(delivery, item): (&DeliveryKey, Option<Item>)| {
            item.map(|item| deliveries::read(delivery, &item, VIEW)).transpose()
        };
        let deliveries = deliveries.iter().zip(found).map(read).collect::<Result<_, _>>()?;
        Ok(LoadView { connector, deliveries, table })
    }

    async fn open_schema_version(
        &self,
        connector: &ConnectorId,
        workflow: &WorkflowId,
        schema: &PublicSchema,
        now: Timestamp,
    ) -> Result<VersionTable, PortError> {
        let fingerprint = &schema.fingerprint();
        let mut label = WorkflowLabel::preferred(workflow);
        for attempt in 0..OPEN_ATTEMPTS_MAX {
            let keys = [Key::table(connector, workflow, fingerprint), Key::workflow(connector, workflow)];
            let [table, known] = self.get_all(OPEN, keys).await?;
            if let Some(item) = table {
                return read_table(&item, OPEN);
            }
            let newest = known.map(|item| read_workflow(&item)).transpose()?;
            let (table, mut writes) = opening(connector, workflow, fingerprint, newest, &label, now);
            writes.push(schema_item(connector, workflow, schema)?);
            match self.transact(OPEN, writes).await? {
                Transacted::Done => return Ok(table),
                // The claim of the label is the last write of a workflow's first table.
                Transacted::Refused(met) => {
                    if matches!(met.get(LABEL_CLAIM), Some(Met::Condition(_))) {
                        label = WorkflowLabel::distinct(workflow);
                    }
                }
            }
            pause(attempt).await;
        }
        Err(busy(OPEN))
    }

    async fn aim(&self, deliveries: &[DeliveryKey], table_version: u64, now: Timestamp) -> Result<Vec<u64>, PortError> {
        // The answer to one update tells the kept aim; a transaction has no answer but its refusals.
        let write = if deliveries.len() == 1 { aimed } else { aimed_first };
        let writes = deliveries.iter().map(|delivery| write(delivery, table_version, now)).collect();
        let mut kept = Vec::with_capacity(deliveries.len());
        let mut aimed_before = Vec::new();
        for (delivery, written) in deliveries.iter().zip(self.update_each(AIM, writes).await?) {
            let item = match written {
                Written::Done(item) => item,
                Written::Refused(item) => {
                    aimed_before.push(delivery.clone());
                    item.unwrap_or_default()
                }
            };
            kept.push(Attributes::of(&item, AIM).optional_number("aimed_table_version")?.unwrap_or(table_version));
        }
        if deliveries.len() > 1 {
            self.enter(&aimed_before, Step::Loading, now).await?;
        }
        Ok(kept)
    }

    async fn loaded(
        &self,
        deliveries: &[(DeliveryKey, u64)],
        table: &VersionTable,
        now: Timestamp,
    ) -> Result<(), PortError> {
        let Some((first, _)) = deliveries.first() else { return Ok(()) };
        let newest = deliveries.iter().map(|(_, table_version)| *table_version).max().unwrap_or_default();
        let key = Key::table(&first.connector, &first.run.workflow, &table.fingerprint);
        let reached = Write::update(key).set("table_version", number(newest)).when(
            "attribute_exists(#pk) AND (attribute_not_exists(#table_version) OR #table_version <= :table_version)",
        );
        let noted = deliveries.iter().map(|(delivery, table_version)| noted(delivery, table, *table_version, now));
        let written = self.update_each(LOADED, std::iter::once(reached).chain(noted).collect()).await?;
        match written.first() {
            Some(Written::Refused(None)) => Err(unopened(LOADED)),
            // Or a neighbour's commit is ahead.
            Some(Written::Done(_) | Written::Refused(Some(_))) | None => Ok(()),
        }
    }

    async fn version_table_shared(
        &self,
        connector: &ConnectorId,
        workflow: &WorkflowId,
        fingerprint: &Fingerprint,
    ) -> Result<(), PortError> {
        let write = Write::update(Key::table(connector, workflow, fingerprint))
            .set("membership", membership(Membership::Shared))
            .when("attribute_exists(#pk)");
        match self.update(SHARED, write).await? {
            Written::Done(_) => Ok(()),
            Written::Refused(_) => Err(unopened(SHARED)),
        }
    }

    async fn version_tables(&self, connector: &ConnectorId) -> Result<Vec<(WorkflowId, VersionTable)>, PortError> {
        let items = self.list(TABLES, Key::all_of(connector, "TABLE")).await?;
        let read = |item| {
            let workflow = Attributes::of(item, TABLES).read("workflow_id", |id| WorkflowId::new(id).ok())?;
            Ok((workflow, read_table(item, TABLES)?))
        };
        let mut tables = items.iter().map(read).collect::<Result<Vec<_>, PortError>>()?;
        tables.sort_by(|(a, one), (b, other)| (a, one.schema_version).cmp(&(b, other.schema_version)));
        Ok(tables)
    }

    async fn latest(&self, connector: &ConnectorId, workflow: &WorkflowId) -> Result<Option<LatestTable>, PortError> {
        let item = self.get(LATEST, Key::latest(connector, workflow)).await?;
        item.map(|item| read_latest(&item)).transpose()
    }

    async fn put_latest(
        &self,
        connector: &ConnectorId,
        workflow: &WorkflowId,
        latest: &LatestTable,
    ) -> Result<(), PortError> {
        // A newer state that is known already is what was asked for.
        self.update(PUT_LATEST, latest_item(connector, workflow, latest)).await?;
        Ok(())
    }

    async fn pass_over(
        &self,
        connector: &ConnectorId,
        source: &TableName,
        source_version: u64,
    ) -> Result<(), PortError> {
        // A newer version that is noted already is what was asked for.
        self.update(PASS_OVER, passed_over_item(connector, source, source_version)).await?;
        Ok(())
    }

    async fn passed_over(&self, connector: &ConnectorId, source: &TableName) -> Result<Option<u64>, PortError> {
        let item = self.get(PASSED_OVER, Key::passed_over(connector, source)).await?;
        item.map(|item| Attributes::of(&item, PASSED_OVER).number("source_version")).transpose()
    }
}

pub(super) fn aimed(delivery: &DeliveryKey, table_version: u64, now: Timestamp) -> Write {
    deliveries::entered(delivery, Step::Loading, now).set_once("aimed_table_version", number(table_version))
}

/// The first aim of a delivery, refused if there is one.
pub(super) fn aimed_first(delivery: &DeliveryKey, table_version: u64, now: Timestamp) -> Write {
    deliveries::entered(delivery, Step::Loading, now)
        .set("aimed_table_version", number(table_version))
        .when("(attribute_not_exists(#state) OR #state <> :final) AND attribute_not_exists(#aimed_table_version)")
}

pub(super) fn noted(delivery: &DeliveryKey, table: &VersionTable, table_version: u64, now: Timestamp) -> Write {
    deliveries::entered(delivery, Step::Publishing, now)
        .set("loaded_table_version", number(table_version))
        .set("table_name", text(table.name.as_str()))
}

fn unopened(operation: &'static str) -> PortError {
    PortError::new(PortErrorKind::NotFound, operation, "the schema version was not opened")
}

/// The place of a label's claim among the writes of a workflow's first table.
pub(super) const LABEL_CLAIM: usize = 2;

/// The next version table of a workflow, and the writes that open it if nobody else was first.
pub(super) fn opening(
    connector: &ConnectorId,
    workflow: &WorkflowId,
    fingerprint: &Fingerprint,
    newest: Option<(WorkflowLabel, u32)>,
    label: &WorkflowLabel,
    now: Timestamp,
) -> (VersionTable, Vec<Write>) {
    let first = newest.is_none();
    let (label, known) = newest.unwrap_or_else(|| (label.clone(), 0));
    let schema_version = SchemaVersion(known.saturating_add(1));
    let table = VersionTable {
        name: TableName::version(&label, schema_version),
        label: label.clone(),
        schema_version,
        fingerprint: fingerprint.clone(),
        table_version: None,
        shared: Membership::Unshared,
    };
    let counted = Write::update(Key::workflow(connector, workflow))
        .set("label", text(label.as_str()))
        .set("newest_schema_version", number(schema_version.0));
    let counted = if first {
        counted.when_new()
    } else {
        counted.when("#newest_schema_version = :known").valued("known", number(known))
    };
    let mut writes = vec![table_item(connector, workflow, &table, now), counted];
    if first {
        let claim = Write::put(Key::label(connector, &label), [("workflow_id", text(workflow.as_str()))]);
        let claim = claim.when("attribute_not_exists(#pk) OR #workflow_id = :workflow_id");
        writes.push(claim.valued("workflow_id", text(workflow.as_str())));
    }
    (table, writes)
}

/// The public columns, in an item of their own: loads read the table's item, and have no use for them.
pub(super) fn schema_item(
    connector: &ConnectorId,
    workflow: &WorkflowId,
    schema: &PublicSchema,
) -> Result<Write, PortError> {
    let record = schema_record::write(schema).map_err(|error| damaged(OPEN, error))?;
    Ok(Write::put(Key::schema(connector, workflow, &schema.fingerprint()), [("record", bytes(record))]))
}

pub(super) fn table_item(
    connector: &ConnectorId,
    workflow: &WorkflowId,
    table: &VersionTable,
    now: Timestamp,
) -> Write {
    let attributes = [
        ("connector_id", text(connector.as_str())),
        ("workflow_id", text(workflow.as_str())),
        ("table_name", text(table.name.as_str())),
        ("label", text(table.label.as_str())),
        ("schema_version", number(table.schema_version.0)),
        ("fingerprint", text(table.fingerprint.as_str())),
        ("membership", membership(table.shared)),
        ("opened_at", instant(now)),
    ];
    Write::put(Key::table(connector, workflow, &table.fingerprint), attributes).when_new()
}

pub(super) fn read_table(item: &Item, operation: &'static str) -> Result<VersionTable, PortError> {
    let attributes = Attributes::of(item, operation);
    Ok(VersionTable {
        name: attributes.table_name("table_name")?,
        label: WorkflowLabel::from_stored(attributes.text("label")?),
        schema_version: SchemaVersion(attributes.number("schema_version")?),
        fingerprint: Fingerprint::from_stored(attributes.text("fingerprint")?),
        table_version: attributes.optional_number("table_version")?,
        shared: attributes.membership()?,
    })
}

pub(super) fn read_workflow(item: &Item) -> Result<(WorkflowLabel, u32), PortError> {
    let attributes = Attributes::of(item, OPEN);
    Ok((WorkflowLabel::from_stored(attributes.text("label")?), attributes.number("newest_schema_version")?))
}

pub(super) fn latest_item(connector: &ConnectorId, workflow: &WorkflowId, latest: &LatestTable) -> Write {
    Write::update(Key::latest(connector, workflow))
        .set("connector_id", text(connector.as_str()))
        .set("workflow_id", text(workflow.as_str()))
        .set("table_version", number(latest.table_version))
        .set("source_table", text(latest.mirrored.source.as_str()))
        .set("source_version", number(latest.mirrored.source_version))
        .set("newest_finished_at", instant(latest.mirrored.newest_finished_at))
        .set("membership", membership(latest.shared))
        .when("attribute_not_exists(#pk) OR #table_version <= :table_version")
}

pub(super) fn passed_over_item(connector: &ConnectorId, source: &TableName, source_version: u64) -> Write {
    Write::update(Key::passed_over(connector, source))
        .set("connector_id", text(connector.as_str()))
        .set("source_version", number(source_version))
        .when("attribute_not_exists(#pk) OR #source_version <= :source_version")
}

pub(super) fn read_latest(item: &Item) -> Result<LatestTable, PortError> {
    let attributes = Attributes::of(item, LATEST);
    Ok(LatestTable {
        table_version: attributes.number("table_version")?,
        mirrored: Mirrored {
            source: attributes.table_name("source_table")?,
            source_version: attributes.number("source_version")?,
            newest_finished_at: attributes.instant("newest_finished_at")?,
        },
        shared: attributes.membership()?,
    })
}
