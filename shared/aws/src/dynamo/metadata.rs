//! What the writer of the metadata tables knows: batches, and what the catalogue tables tell of.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use delivery::catalogue::CatalogueEntry;
use delivery::ids::{ConnectorId, RunId, WorkflowId};
use delivery::metadata::{Batched, BegunBatch, DeliveredFacts, KeptRow, MetadataTable};
use delivery::ports::{
    BatchBegun, CatalogueChange, CatalogueMark, MetadataStore, More, PortError, PortErrorKind, WriterView,
};
use delivery::schema::{Fingerprint, PublicSchema};
use delivery::timestamp::Timestamp;
use events::schema_record;

use super::expression::Write;
use super::item::{Attributes, Item, Key, instant, number, text};
use super::outbox::read_batched;
use super::tables::read_table;
use super::{CONFLICT_ATTEMPTS_MAX, DynamoStore, Transacted, busy, connectors, damaged, pause};

/// The most facts that are noted in one transaction: one of its 100 writes counts the change.
const NOTES_MAX: usize = 99;

const VIEW: &str = "read what the metadata writer begins with";
const BATCHED: &str = "read what is known of a batched table";
const NOTE: &str = "note delivered runs";
const MARK: &str = "read how far the catalogue tables follow";
const LIST: &str = "list the schema versions with delivered runs";
const PUBLISHED: &str = "note how far the catalogue tables follow";

#[async_trait]
impl MetadataStore for DynamoStore {
    async fn writer_view(&self, connector: &ConnectorId) -> Result<WriterView, PortError> {
        let keys = [
            Key::connector(connector),
            Key::batched(connector, MetadataTable::WorkflowRuns),
            Key::batched(connector, MetadataTable::ActivityLog),
            Key::catalogue(connector),
        ];
        let [record, runs, activity, catalogue] = self.get_all(VIEW, keys).await?;
        let batched = |item: Option<Item>| item.map_or(Ok(Batched::default()), |item| read_batched(&item, VIEW));
        Ok(WriterView {
            connector: record.map(|item| connectors::read(&item, VIEW)).transpose()?,
            runs: batched(runs)?,
            activity: batched(activity)?,
            catalogue: read_mark(catalogue.as_ref(), VIEW)?,
        })
    }

    async fn batched(&self, connector: &ConnectorId, table: MetadataTable) -> Result<Batched, PortError> {
        let item = self.get(BATCHED, Key::batched(connector, table)).await?;
        item.map_or(Ok(Batched::default()), |item| read_batched(&item, BATCHED))
    }

    async fn waiting(&self, connector: &ConnectorId, table: MetadataTable) -> Result<(Vec<KeptRow>, More), PortError> {
        self.first_waiting(connector, table).await
    }

    async fn rows_of(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
        keys: &[String],
    ) -> Result<Vec<KeptRow>, PortError> {
        self.waiting_rows_of(connector, table, keys).await
    }

    async fn begin(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
        known: &Batched,
        batch: &BegunBatch,
    ) -> Result<BatchBegun, PortError> {
        self.begin_batch(connector, table, known, batch).await
    }

    async fn finish(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
        batch: &BegunBatch,
        table_version: u64,
    ) -> Result<(), PortError> {
        self.finish_batch(connector, table, batch, table_version).await
    }

    async fn note_delivered(
        &self,
        connector: &ConnectorId,
        delivered: &[DeliveredFacts],
    ) -> Result<CatalogueChange, PortError> {
        let mut change = CatalogueChange::Unchanged;
        for notes in Note::of(delivered).chunks(NOTES_MAX) {
            if self.note(connector, notes).await? == CatalogueChange::Changed {
                change = CatalogueChange::Changed;
            }
        }
        Ok(change)
    }

    async fn catalogue_mark(&self, connector: &ConnectorId) -> Result<CatalogueMark, PortError> {
        let item = self.get(MARK, Key::catalogue(connector)).await?;
        read_mark(item.as_ref(), MARK)
    }

    async fn catalogue(&self, connector: &ConnectorId) -> Result<Vec<CatalogueEntry>, PortError> {
        let workflows = self.list(LIST, Key::all_of(connector, "WORKFLOW")).await?;
        let schemas = self.list(LIST, Key::all_of(connector, "SCHEMA")).await?;
        let tables = self.list(LIST, Key::all_of(connector, "TABLE")).await?;
        let names = by_rest(&workflows, "WORKFLOW#");
        let schemas = by_rest(&schemas, "SCHEMA#");
        let mut entries = Vec::new();
        for item in &tables {
            entries.extend(entry(item, &names, &schemas)?);
        }
        entries.sort_by(|a, b| (&a.workflow, a.schema_version).cmp(&(&b.workflow, b.schema_version)));
        Ok(entries)
    }

    async fn catalogue_published(&self, connector: &ConnectorId, changes: u64) -> Result<(), PortError> {
        // Refused if the tables are known to tell of more.
        self.update(PUBLISHED, published(connector, changes)).await?;
        Ok(())
    }
}

impl DynamoStore {
    async fn note(&self, connector: &ConnectorId, notes: &[Note<'_>]) -> Result<CatalogueChange, PortError> {
        let keys: Vec<_> = notes.iter().map(|note| note.key(connector)).collect();
        for attempt in 0..CONFLICT_ATTEMPTS_MAX {
            let items = self.get_many(NOTE, &keys).await?;
            let mut writes = Vec::new();
            let mut change = CatalogueChange::Unchanged;
            for (note, item) in notes.iter().zip(&items) {
                let Some(item) = item else {
                    return Err(PortError::new(PortErrorKind::NotFound, NOTE, "the schema version was not opened"));
                };
                let Some((write, new)) = note.write(connector, item)? else { continue };
                writes.push(write);
                if new == CatalogueChange::Changed {
                    change = new;
                }
            }
            if writes.is_empty() {
                return Ok(CatalogueChange::Unchanged);
            }
            if change == CatalogueChange::Changed {
                writes.push(changed(connector));
            }
            if self.transact(NOTE, writes).await? == Transacted::Done {
                return Ok(change);
            }
            pause(attempt).await;
        }
        Err(busy(NOTE))
    }
}

/// One fact of some delivered runs.
#[derive(Debug)]
pub(super) enum Note<'a> {
    /// The first run of a schema version.
    First { workflow: &'a WorkflowId, fingerprint: &'a Fingerprint, run: &'a RunId },
    /// A workflow's name as of a run that finished then.
    Name { workflow: &'a WorkflowId, name: &'a str, at: Timestamp },
}

impl<'a> Note<'a> {
    pub(super) fn of(delivered: &'a [DeliveredFacts]) -> Vec<Self> {
        let (mut first, mut newest) = (BTreeMap::new(), BTreeMap::new());
        let order = |facts: &'a DeliveredFacts| (facts.finished_at, &facts.run);
        for facts in delivered {
            let kept = first.entry((&facts.workflow, &facts.fingerprint)).or_insert(facts);
            if order(facts) < order(kept) {
                *kept = facts;
            }
            let kept = newest.entry(&facts.workflow).or_insert(facts);
            if order(facts) > order(kept) {
                *kept = facts;
            }
        }
        let first = first.into_iter().map(|((workflow, fingerprint), facts)| Self::First {
            workflow,
            fingerprint,
            run: &facts.run,
        });
        let names = newest.into_iter().map(|(workflow, facts)| Self::Name {
            workflow,
            name: &facts.workflow_name,
            at: facts.finished_at,
        });
        first.chain(names).collect()
    }

    fn key(&self, connector: &ConnectorId) -> Key {
        match self {
            Self::First { workflow, fingerprint, .. } => Key::table(connector, workflow, fingerprint),
            Self::Name { workflow, .. } => Key::workflow(connector, workflow),
        }
    }

    /// The write that notes the fact on its item, if the item does not say it, and whether the catalogue tables tell
    /// of it.
    pub(super) fn write(
        &self,
        connector: &ConnectorId,
        item: &Item,
    ) -> Result<Option<(Write, CatalogueChange)>, PortError> {
        let attributes = Attributes::of(item, NOTE);
        let write = Write::update(self.key(connector));
        match self {
            Self::First { run, .. } => {
                if attributes.optional_text("first_run_id")?.is_some() {
                    return Ok(None);
                }
                let write = write
                    .set("first_run_id", text(run.as_str()))
                    .when("attribute_exists(#pk) AND attribute_not_exists(#first_run_id)");
                Ok(Some((write, CatalogueChange::Changed)))
            }
            Self::Name { name, at, .. } => {
                let write = write.set("name", text(name)).set("name_at", instant(*at));
                let Some(known) = attributes.optional_text("name")? else {
                    let write = write.when("attribute_exists(#pk) AND attribute_not_exists(#name)");
                    return Ok(Some((write, CatalogueChange::Changed)));
                };
                let known_at = attributes.instant("name_at")?;
                if known_at >= *at {
                    return Ok(None);
                }
                let write = write.when("#name_at = :known_at").valued("known_at", instant(known_at));
                let change = if known == *name { CatalogueChange::Unchanged } else { CatalogueChange::Changed };
                Ok(Some((write, change)))
            }
        }
    }
}

pub(super) fn changed(connector: &ConnectorId) -> Write {
    Write::update(Key::catalogue(connector)).add("changes", number(1))
}

pub(super) fn published(connector: &ConnectorId, changes: u64) -> Write {
    Write::update(Key::catalogue(connector))
        .set("published", number(changes))
        .when("attribute_not_exists(#published) OR #published < :published")
}

fn read_mark(item: Option<&Item>, operation: &'static str) -> Result<CatalogueMark, PortError> {
    let Some(item) = item else { return Ok(CatalogueMark::default()) };
    let attributes = Attributes::of(item, operation);
    Ok(CatalogueMark {
        changes: attributes.optional_number("changes")?.unwrap_or_default(),
        published: attributes.optional_number("published")?.unwrap_or_default(),
    })
}

/// Items by what stands behind a beginning of their sort keys.
fn by_rest<'a>(items: &'a [Item], beginning: &str) -> HashMap<&'a str, &'a Item> {
    let rest = |item: &'a Item| item.get("sk")?.as_s().ok()?.strip_prefix(beginning);
    items.iter().filter_map(|item| Some((rest(item)?, item))).collect()
}

/// What a version table's item says, if it has a delivered run.
pub(super) fn entry(
    item: &Item,
    workflows: &HashMap<&str, &Item>,
    schemas: &HashMap<&str, &Item>,
) -> Result<Option<CatalogueEntry>, PortError> {
    let attributes = Attributes::of(item, LIST);
    let Some(first_run) = attributes.optional_text("first_run_id")? else { return Ok(None) };
    let first_run = RunId::new(first_run).map_err(|_| attributes.damaged("first_run_id"))?;
    let workflow = attributes.read("workflow_id", |id| WorkflowId::new(id).ok())?;
    let table = read_table(item, LIST)?;
    let name = workflows.get(workflow.as_str()).map(|item| Attributes::of(item, LIST).optional_text("name"));
    let workflow_name = name.transpose()?.flatten().unwrap_or(workflow.as_str()).to_owned();
    let schema = match schemas.get(format!("{workflow}#{}", table.fingerprint.as_str()).as_str()) {
        Some(item) => {
            schema_record::read(Attributes::of(item, LIST).bytes("record")?).map_err(|error| damaged(LIST, error))?
        }
        // Opened by a program that did not keep the columns.
        None => PublicSchema::from_columns(Vec::new()),
    };
    Ok(Some(CatalogueEntry {
        workflow,
        workflow_name,
        label: table.label,
        schema_version: table.schema_version,
        fingerprint: table.fingerprint,
        table: table.name,
        first_run,
        schema,
    }))
}
