//! The rules that every store of waiting rows, of batches and of what the catalogue tells keeps.

use delivery::ids::ConnectorId;
use delivery::metadata::{BATCH_ROWS_MAX, Batched, BegunBatch, Cell, DeliveredFacts, MetadataTable, WaitingRow};
use delivery::ports::{
    BatchBegun, CatalogueChange, CatalogueMark, ConnectorStore, DeliveryStore, MetadataStore, More, Outbox,
    PortErrorKind, TableStore,
};
use delivery::schema::Fingerprint;
use delivery::state::Ended;
use futures::future::join_all;

use crate::builders::{
    PutConnector as _, connector, connector_id, delivered_run, delivery_key, instant, run_key, schema_of, workflow_id,
};

const ACTIVITY: MetadataTable = MetadataTable::ActivityLog;
const RUNS: MetadataTable = MetadataTable::WorkflowRuns;

/// An event of the activity log.
#[must_use]
pub fn event(key: &str) -> WaitingRow {
    let text = |text: &str| Cell::Text(text.to_owned());
    let row = vec![
        text(key),
        Cell::Timestamp(instant(1)),
        text("Workflow updated"),
        text("WORKFLOW"),
        Cell::Null,
        text("w-1"),
        text("UI"),
    ];
    WaitingRow { key: key.to_owned(), row }
}

async fn waiting(store: &dyn MetadataStore, connector: &ConnectorId, table: MetadataTable) -> Vec<String> {
    let (rows, more) = store.waiting(connector, table).await.expect("list");
    assert_eq!(more, More::No);
    rows.into_iter().map(|row| row.key).collect()
}

fn batch(number: u64, aimed_table_version: u64, keys: &[&str]) -> BegunBatch {
    BegunBatch { number, aimed_table_version, keys: keys.iter().map(|key| (*key).to_owned()).collect() }
}

/// The rules of [`Outbox`], and how rows become batches.
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn outbox_contract(outbox: &dyn Outbox, store: &dyn MetadataStore, prefix: &str) {
    let (mine, other) = (connector_id(&format!("{prefix}-o-1")), connector_id(&format!("{prefix}-o-2")));
    let put = async |connector: &ConnectorId, keys: &[&str]| {
        let rows: Vec<_> = keys.iter().map(|key| event(key)).collect();
        outbox.put(connector, ACTIVITY, &rows, instant(1)).await.expect("put");
    };
    assert_eq!(waiting(store, &mine, ACTIVITY).await, Vec::<String>::new());
    put(&mine, &[]).await;
    put(&mine, &["b", "a#1", "b"]).await;
    put(&mine, &["b", "c"]).await;
    put(&other, &["a"]).await;
    assert_eq!(waiting(store, &mine, ACTIVITY).await, ["a#1", "b", "c"], "in order, each once");
    assert_eq!(waiting(store, &mine, RUNS).await, Vec::<String>::new(), "each table for itself");
    let (rows, _) = store.waiting(&mine, ACTIVITY).await.expect("list");
    assert_eq!((&rows[1].row, &rows[1].delivered), (&event("b").row, &None), "a row is read as it was put");

    let known = store.batched(&mine, ACTIVITY).await.expect("read");
    assert_eq!(known, Batched::default());
    let first = batch(1, 4, &["a#1", "b"]);
    assert_eq!(store.begin(&mine, ACTIVITY, &known, &first).await.expect("begin"), BatchBegun::Now);
    let late = batch(1, 4, &["c"]);
    assert_eq!(store.begin(&mine, ACTIVITY, &known, &late).await.expect("begin"), BatchBegun::Outdated);
    let begun = store.batched(&mine, ACTIVITY).await.expect("read");
    assert_eq!(begun, Batched { table_version: None, next: 1, begun: Some(first.clone()) });
    let keys = ["b".to_owned(), "gone".to_owned(), "a#1".to_owned()];
    let rows = store.rows_of(&mine, ACTIVITY, &keys).await.expect("read");
    assert_eq!(rows.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["b", "a#1"], "in the keys' order");

    for _ in 0..2 {
        store.finish(&mine, ACTIVITY, &first, 6).await.expect("finishing twice is no error");
        let done = store.batched(&mine, ACTIVITY).await.expect("read");
        assert_eq!(done, Batched { table_version: Some(6), next: 2, begun: None });
        assert_eq!(waiting(store, &mine, ACTIVITY).await, ["c"]);
    }
    assert_eq!(store.begin(&mine, ACTIVITY, &known, &late).await.expect("begin"), BatchBegun::Outdated);
    put(&mine, &["a#1", "b", "d"]).await;
    assert_eq!(waiting(store, &mine, ACTIVITY).await, ["c", "d"], "what was committed is passed over");

    let known = store.batched(&mine, ACTIVITY).await.expect("read");
    let second = batch(9, 7, &["c"]);
    assert_eq!(store.begin(&mine, ACTIVITY, &known, &second).await.expect("begin"), BatchBegun::Now);
    store.finish(&mine, ACTIVITY, &first, 6).await.expect("a late end of an earlier batch is no error");
    let begun = store.batched(&mine, ACTIVITY).await.expect("read");
    assert_eq!(begun, Batched { table_version: Some(6), next: 9, begun: Some(second.clone()) });
    store.finish(&mine, ACTIVITY, &second, 7).await.expect("finish");
    assert_eq!(store.batched(&mine, ACTIVITY).await.expect("read").next, 10);
    assert_eq!(waiting(store, &other, ACTIVITY).await, ["a"], "each connector for itself");
}

/// More rows than a batch takes, put by many at once.
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn outbox_race_contract(outbox: &dyn Outbox, store: &dyn MetadataStore, prefix: &str) {
    let connector = connector_id(&format!("{prefix}-o-race"));
    let rows: Vec<_> = (0..BATCH_ROWS_MAX + 20).map(|n| event(&format!("e-{n:05}"))).collect();
    let puts = rows.chunks(60).chain(rows.chunks(170)).map(|some| outbox.put(&connector, ACTIVITY, some, instant(1)));
    for put in join_all(puts).await {
        put.expect("put");
    }
    let (taken, more) = store.waiting(&connector, ACTIVITY).await.expect("list");
    assert_eq!((taken.len(), more), (BATCH_ROWS_MAX, More::Yes));
    let keys: Vec<_> = taken.iter().map(|row| row.key.clone()).collect();
    assert_eq!(store.rows_of(&connector, ACTIVITY, &keys).await.expect("read"), taken);
    let first = BegunBatch { number: 1, aimed_table_version: 1, keys };
    let known = Batched::default();
    let begun = join_all((0..5).map(|_| store.begin(&connector, ACTIVITY, &known, &first))).await;
    let now = begun.into_iter().filter(|begun| matches!(begun, Ok(BatchBegun::Now))).count();
    assert_eq!(now, 1, "one of them begins it");
    for finished in join_all((0..3).map(|_| store.finish(&connector, ACTIVITY, &first, 1))).await {
        finished.expect("finish");
    }
    assert_eq!(waiting(store, &connector, ACTIVITY).await.len(), 20);
}

/// A delivery that is shared leaves one row, however often it is recorded.
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn delivered_run_contract(
    deliveries: &dyn DeliveryStore,
    tables: &dyn TableStore,
    store: &dyn MetadataStore,
    prefix: &str,
) {
    let connector = connector_id(&format!("{prefix}-r-1"));
    let key = delivery_key(&connector, &run_key(&format!("{prefix}-team"), "w-1", "r-1"));
    let schema = schema_of("a");
    let table = tables.open_schema_version(&connector, &key.run.workflow, &schema, instant(1)).await.expect("open");
    let delivered = delivered_run(&table, 7, instant(450));
    let ended = Ended::Shared(Box::new(delivered.clone()));
    for at in [500, 501] {
        deliveries.end(&[(key.clone(), ended.clone())], instant(at)).await.expect("end");
        let (rows, _) = store.waiting(&connector, RUNS).await.expect("list");
        assert_eq!(rows, [delivered.row(&key.run, instant(500))], "the first one's row stays the only one");
    }
    let first = batch(1, 1, &["w-1/r-1"]);
    assert_eq!(store.begin(&connector, RUNS, &Batched::default(), &first).await.expect("begin"), BatchBegun::Now);
    store.finish(&connector, RUNS, &first, 1).await.expect("finish");
    deliveries.end(&[(key.clone(), ended)], instant(502)).await.expect("end");
    assert_eq!(waiting(store, &connector, RUNS).await, Vec::<String>::new(), "also when the row is committed");
}

/// What the catalogue tells of, and how changes are counted.
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn catalogue_contract(
    tables: &dyn TableStore,
    connectors: &dyn ConnectorStore,
    store: &dyn MetadataStore,
    prefix: &str,
) {
    let to = connector(&format!("{prefix}-k-1"), &format!("{prefix}-team"));
    assert_eq!(store.writer_view(&to.id).await.expect("read").connector, None);
    connectors.put_connector(&to).await.expect("write");
    let view = store.writer_view(&to.id).await.expect("read");
    assert_eq!(
        (view.connector.as_ref(), &view.runs, &view.activity),
        (Some(&to), &Batched::default(), &Batched::default())
    );
    assert_eq!(view.catalogue, CatalogueMark::default());

    let (schemas, workflow) = (["a", "b"].map(schema_of), workflow_id("w-1"));
    let mut opened = Vec::new();
    for schema in &schemas {
        opened.push(tables.open_schema_version(&to.id, &workflow, schema, instant(1)).await.expect("open"));
    }
    assert_eq!(store.catalogue(&to.id).await.expect("list"), [], "no run is delivered yet");
    let facts = |schema: usize, run: &str, finished: i64, name: &str| {
        let delivered = delivered_run(&opened[schema], 3, instant(finished));
        let row = delivered.row(&run_key("t", "w-1", run), instant(900));
        DeliveredFacts { workflow_name: name.to_owned(), ..row.delivered.expect("a delivered run has facts") }
    };
    let note = async |facts: &[DeliveredFacts]| store.note_delivered(&to.id, facts).await.expect("note");
    assert_eq!(note(&[]).await, CatalogueChange::Unchanged);
    let several = [facts(1, "r-3", 30, "Third"), facts(1, "r-2", 20, "Second"), facts(1, "r-9", 25, "Other")];
    assert_eq!(note(&several).await, CatalogueChange::Changed);
    assert_eq!(note(&several).await, CatalogueChange::Unchanged, "noting again changes nothing");
    let entries = store.catalogue(&to.id).await.expect("list");
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].first_run.as_str(), entries[0].workflow_name.as_str()), ("r-2", "Third"));
    assert_eq!((&entries[0].schema, &entries[0].table), (&schemas[1], &opened[1].name));
    assert_eq!(
        (entries[0].schema_version, &entries[0].label, &entries[0].fingerprint),
        (opened[1].schema_version, &opened[1].label, &opened[1].fingerprint)
    );
    let mark = store.catalogue_mark(&to.id).await.expect("read");
    assert_eq!(mark, CatalogueMark { changes: 1, published: 0 });
    store.catalogue_published(&to.id, 1).await.expect("note");
    store.catalogue_published(&to.id, 0).await.expect("an earlier one is no error");
    let view = store.writer_view(&to.id).await.expect("read");
    assert_eq!(view.catalogue, CatalogueMark { changes: 1, published: 1 }, "it never goes back");

    assert_eq!(note(&[facts(1, "r-1", 10, "Old")]).await, CatalogueChange::Unchanged, "the first one noted stays");
    assert_eq!(note(&[facts(1, "r-4", 40, "Third")]).await, CatalogueChange::Unchanged);
    assert_eq!(note(&[facts(1, "r-5", 35, "Late")]).await, CatalogueChange::Unchanged, "a late run names nothing");
    assert_eq!(note(&[facts(0, "r-6", 5, "Late")]).await, CatalogueChange::Changed, "another schema's first run");
    assert_eq!(note(&[facts(0, "r-7", 50, "New")]).await, CatalogueChange::Changed, "another name");
    let entries = store.catalogue(&to.id).await.expect("list");
    let told: Vec<_> =
        entries.iter().map(|e| (e.schema_version.0, e.first_run.as_str(), e.workflow_name.as_str())).collect();
    assert_eq!(told, [(1, "r-6", "New"), (2, "r-2", "New")], "in the order of the numbers");
    assert_eq!(store.catalogue_mark(&to.id).await.expect("read"), CatalogueMark { changes: 3, published: 1 });

    let unopened = DeliveredFacts { fingerprint: Fingerprint::from_stored("f-unknown"), ..facts(0, "r-8", 60, "New") };
    let error = store.note_delivered(&to.id, &[unopened]).await.expect_err("an unopened table");
    assert_eq!(error.kind, PortErrorKind::NotFound);
}

/// Two writers note at once.
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn catalogue_race_contract(tables: &dyn TableStore, store: &dyn MetadataStore, prefix: &str) {
    let connector = connector_id(&format!("{prefix}-k-race"));
    let schema = schema_of("a");
    let table = tables.open_schema_version(&connector, &workflow_id("w-1"), &schema, instant(1)).await.expect("open");
    let facts: Vec<_> = (0..8)
        .map(|n| {
            let row = delivered_run(&table, n, instant(100 + i64::try_from(n).expect("small")));
            row.row(&run_key("t", "w-1", &format!("r-{n}")), instant(900)).delivered.expect("facts")
        })
        .collect();
    let noted = join_all(facts.iter().map(|facts| store.note_delivered(&connector, std::slice::from_ref(facts)))).await;
    let changed = noted.into_iter().filter(|noted| matches!(noted, Ok(CatalogueChange::Changed))).count();
    assert_eq!(changed, 1, "the schema has one first run, and the name stays the same");
    assert_eq!(store.catalogue(&connector).await.expect("list").len(), 1);
}
