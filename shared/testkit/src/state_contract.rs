//! The rules that every store of state keeps. A `prefix` that no other run of the suite has keeps runs in a shared
//! table apart.

use std::collections::BTreeSet;

use delivery::batch::{Batch, Origin};
use delivery::connector::{Connector, ConnectorState, Scope};
use delivery::failure::FailureCode;
use delivery::ids::DeliveryKey;
use delivery::lifecycle::{Action, Audited, Changed};
use delivery::ports::{
    ConnectorStore, DeliveryStore, LiveFailure, PortErrorKind, Provisioned, Recorded, RolloutStore, RunConnectors,
    RunStore, SharingBackend, TableStore, TeamConnector,
};
use delivery::schema::Fingerprint;
use delivery::state::{Delivery, DeliveryState, Ended, Failure, Step};
use delivery::table::{LatestTable, Membership, Mirrored, SchemaVersion, TableName, VersionTable, WorkflowLabel};
use futures::future::join_all;

use crate::builders::{
    PutConnector as _, audit_entry, connector, connector_id, delivered_run, delivery_key, instant, run, run_key,
    schema_of, team_id, workflow_id,
};

fn shared() -> Ended {
    let label = WorkflowLabel::preferred(&workflow_id("w-1"));
    let table = VersionTable {
        name: TableName::version(&label, SchemaVersion(1)),
        label,
        schema_version: SchemaVersion(1),
        fingerprint: Fingerprint::from_stored("f-1"),
        table_version: None,
        shared: Membership::Unshared,
    };
    Ended::Shared(Box::new(delivered_run(&table, 5, instant(450))))
}

fn failed() -> Ended {
    Ended::Failed(Failure { code: FailureCode::LoadConflict, message: "others were first".to_owned() })
}

fn state(delivery: Option<Delivery>) -> Option<DeliveryState> {
    delivery.map(|delivery| delivery.state)
}

/// The rules of [`RunStore`].
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn run_store_contract(runs: &dyn RunStore, deliveries: &dyn DeliveryStore, prefix: &str) {
    let key = run_key(&format!("{prefix}-team"), "w-1", "r-1");
    let first = run(key.clone());
    let ids = [connector_id(&format!("{prefix}-c-1")), connector_id(&format!("{prefix}-c-2"))];
    let missed_by = vec![connector_id(&format!("{prefix}-c-asleep"))];
    let connectors = RunConnectors { missed_by, ..RunConnectors::taking(&ids) };
    let nobody = RunConnectors::default();
    assert_eq!(runs.recorded_run(&key).await.expect("read"), None, "nothing is recorded yet");

    let recorded = runs.record_run(&first, &connectors, instant(1)).await.expect("record");
    assert_eq!(recorded, Recorded::New);
    assert_eq!(runs.recorded_run(&key).await.expect("read"), Some(first.clone()), "a run is read as it was recorded");
    for id in &ids {
        let found = deliveries.delivery(&delivery_key(id, &key)).await.expect("read");
        assert_eq!(state(found), Some(DeliveryState::Accepted), "each connector that takes it has a delivery");
    }
    let asleep = deliveries.delivery(&delivery_key(&connectors.missed_by[0], &key)).await.expect("read");
    assert_eq!(asleep, None, "one that takes no data has none");

    let mut copy = first.clone();
    copy.workflow_name = "another name".to_owned();
    let before = Recorded::Before(connectors.clone());
    assert_eq!(runs.record_run(&copy, &nobody, instant(2)).await.expect("record"), before, "the first scope stays");
    assert_eq!(runs.recorded_run(&key).await.expect("read"), Some(first), "the first record stays");

    let unwanted = run(run_key(key.team.as_str(), "w-1", "r-unwanted"));
    assert_eq!(runs.record_run(&unwanted, &nobody, instant(1)).await.expect("record"), Recorded::New);
    let before = Recorded::Before(nobody.clone());
    assert_eq!(runs.record_run(&unwanted, &connectors, instant(1)).await.expect("record"), before);

    let begun = run(run_key(key.team.as_str(), "w-1", "r-begun"));
    let delivery = delivery_key(&ids[0], &begun.key);
    deliveries.enter(std::slice::from_ref(&delivery), Step::Staging, instant(1)).await.expect("enter");
    assert_eq!(runs.record_run(&begun, &connectors, instant(2)).await.expect("record"), Recorded::New);
    let found = deliveries.delivery(&delivery).await.expect("read");
    assert_eq!(state(found), Some(DeliveryState::InProgress(Step::Staging)), "a delivery that began is left alone");

    let wide: Vec<_> = (0..90).map(|n| connector_id(&format!("{prefix}-wide-{n}"))).collect();
    let wide = RunConnectors::taking(&wide);
    let widest = run(run_key(key.team.as_str(), "w-1", "r-wide"));
    assert_eq!(runs.record_run(&widest, &wide, instant(1)).await.expect("record"), Recorded::New);
    let before = Recorded::Before(wide);
    assert_eq!(runs.record_run(&widest, &nobody, instant(1)).await.expect("record"), before, "ninety fit");
}

/// Ten copies of a message at once: one record.
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn run_store_race_contract(runs: &dyn RunStore, prefix: &str) {
    let raced = run(run_key(&format!("{prefix}-team"), "w-1", "r-raced"));
    let connectors = RunConnectors::taking(&[connector_id(&format!("{prefix}-c-raced"))]);
    let answers = join_all((0..10).map(|_| runs.record_run(&raced, &connectors, instant(1)))).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("record")).collect();
    let before = Recorded::Before(connectors.clone());
    assert_eq!(answers.iter().filter(|answer| **answer == Recorded::New).count(), 1, "one is the first");
    assert_eq!(answers.iter().filter(|answer| **answer == before).count(), 9, "the others know its connectors");
}

/// The rules of [`DeliveryStore`].
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn delivery_store_contract(deliveries: &dyn DeliveryStore, prefix: &str) {
    let key = run_key(&format!("{prefix}-team"), "w-1", "r-1");
    let ids = [connector_id(&format!("{prefix}-d-1")), connector_id(&format!("{prefix}-d-2"))];
    let keys: Vec<DeliveryKey> = ids.iter().map(|id| delivery_key(id, &key)).collect();
    let (one, other) = (&keys[0], &keys[1]);
    let read = async |key: &DeliveryKey| state(deliveries.delivery(key).await.expect("read"));
    assert_eq!(read(one).await, None, "nothing is known yet");
    deliveries.enter(&[], Step::Staging, instant(0)).await.expect("entering nothing is no error");

    for step in Step::ALL {
        deliveries.enter(&keys, step, instant(1)).await.expect("enter");
        assert_eq!(read(one).await, Some(DeliveryState::InProgress(step)), "a missing record is made");
        assert_eq!(read(other).await, Some(DeliveryState::InProgress(step)));
    }
    deliveries.end(&[(one.clone(), failed())], instant(2)).await.expect("end");
    assert_eq!(read(one).await, Some(DeliveryState::Failed));
    assert_eq!(read(other).await, Some(DeliveryState::InProgress(Step::Promoting)), "a neighbour is left alone");
    deliveries.enter(&keys[..1], Step::Staging, instant(3)).await.expect("enter");
    assert_eq!(read(one).await, Some(DeliveryState::InProgress(Step::Staging)), "a failed delivery may begin again");

    deliveries.end(&[(one.clone(), shared())], instant(4)).await.expect("end");
    assert_eq!(read(one).await, Some(DeliveryState::Shared));
    deliveries.end(&[(one.clone(), shared())], instant(5)).await.expect("ending twice is no error");
    deliveries.end(&[(one.clone(), failed())], instant(5)).await.expect("a late failure is no error");
    deliveries.enter(&keys[..1], Step::Staging, instant(5)).await.expect("a late step is no error");
    assert_eq!(read(one).await, Some(DeliveryState::Shared), "shared is final");
    deliveries.enter(&keys, Step::Proving, instant(6)).await.expect("enter");
    assert_eq!(read(one).await, Some(DeliveryState::Shared), "shared is final among others");
    assert_eq!(read(other).await, Some(DeliveryState::InProgress(Step::Proving)), "the others go on");

    let unseen = delivery_key(&connector_id(&format!("{prefix}-d-3")), &key);
    deliveries.end(&[(unseen.clone(), failed())], instant(7)).await.expect("end");
    let found = deliveries.delivery(&unseen).await.expect("read").expect("a record is made");
    let expected = Delivery {
        key: unseen,
        state: DeliveryState::Failed,
        origin: Origin::Live,
        moved_at: instant(7),
        aimed_table_version: None,
        loaded_table_version: None,
    };
    assert_eq!(found, expected);
    let many: Vec<_> = (0..90).map(|n| delivery_key(&connector_id(&format!("{prefix}-d-many-{n}")), &key)).collect();
    deliveries.enter(&many, Step::Staging, instant(8)).await.expect("ninety fit");
    assert_eq!(read(&many[89]).await, Some(DeliveryState::InProgress(Step::Staging)));
    origins(deliveries, prefix).await;
}

/// What a delivery is made for, and when it moved.
async fn origins(deliveries: &dyn DeliveryStore, prefix: &str) {
    let key = |run: &str| {
        delivery_key(&connector_id(&format!("{prefix}-o-1")), &run_key(&format!("{prefix}-team"), "w-1", run))
    };
    let read = async |key: &DeliveryKey| {
        let found = deliveries.delivery(key).await.expect("read").expect("it is recorded");
        (found.state, found.origin, found.moved_at)
    };
    let failure = Failure { code: FailureCode::LoadConflict, message: "others were first".to_owned() };
    let (staging, failed) = (DeliveryState::InProgress(Step::Staging), DeliveryState::Failed);
    let (live, history) = (key("r-1"), key("r-2"));
    deliveries.begin(&[], Origin::Live, instant(0)).await.expect("beginning nothing is no error");
    deliveries.begin(std::slice::from_ref(&live), Origin::Live, instant(1)).await.expect("begin");
    let both = [live.clone(), history.clone()];
    deliveries.begin(&both[1..], Origin::Backfill, instant(2)).await.expect("begin");
    assert_eq!(read(&live).await, (staging, Origin::Live, instant(1)));
    assert_eq!(read(&history).await, (staging, Origin::Backfill, instant(2)));

    deliveries.enter(&both, Step::Loading, instant(3)).await.expect("enter");
    let loading = DeliveryState::InProgress(Step::Loading);
    assert_eq!(read(&history).await, (loading, Origin::Backfill, instant(3)), "a step changes no origin");
    deliveries.fail(&both[1..], &failure, Origin::Backfill, instant(4)).await.expect("fail");
    deliveries.fail(&both[1..], &failure, Origin::Live, instant(5)).await.expect("failing twice is no error");
    assert_eq!(read(&history).await, (failed, Origin::Backfill, instant(4)), "the first failure stays");
    deliveries.begin(&both, Origin::Live, instant(6)).await.expect("begin");
    assert_eq!(read(&history).await, (staging, Origin::Live, instant(6)), "the last beginning says what for");

    let unbegun = key("r-3");
    deliveries.fail(std::slice::from_ref(&unbegun), &failure, Origin::Backfill, instant(7)).await.expect("fail");
    assert_eq!(read(&unbegun).await, (failed, Origin::Backfill, instant(7)), "a record is made");
}

/// The rules of [`TableStore`], loads aside.
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn table_store_contract(tables: &dyn TableStore, prefix: &str) {
    let connector = connector_id(&format!("{prefix}-t-1"));
    let (dash, dot) = (workflow_id("w-1"), workflow_id("w.1"));
    let open = async |workflow, field: &str| {
        tables.open_schema_version(&connector, workflow, &schema_of(field), instant(1)).await.expect("open")
    };
    let first = open(&dash, "f-1").await;
    assert_eq!(first.label, WorkflowLabel::preferred(&dash));
    assert_eq!(first.name, TableName::version(&first.label, SchemaVersion(1)));
    assert_eq!(
        (first.schema_version, first.table_version, first.shared),
        (SchemaVersion(1), None, Membership::Unshared)
    );
    let second = open(&dash, "f-2").await;
    assert_eq!((second.schema_version, &second.label), (SchemaVersion(2), &first.label), "a new one gets the next");
    assert_eq!(open(&dash, "f-1").await, first, "a known fingerprint keeps its number");

    let stranger = open(&dot, "f-1").await;
    assert_eq!(stranger.label, WorkflowLabel::distinct(&dot), "a label that is taken is not given twice");
    assert_eq!(stranger.schema_version, SchemaVersion(1), "each workflow counts for itself");
    assert_eq!(open(&dot, "f-2").await.label, stranger.label);
    let elsewhere = connector_id(&format!("{prefix}-t-2"));
    let apart = tables.open_schema_version(&elsewhere, &dot, &schema_of("f-1"), instant(1)).await.expect("open");
    assert_eq!(apart.label, WorkflowLabel::preferred(&dot), "each connector gives labels for itself");

    tables.version_table_shared(&connector, &dash, &first.fingerprint).await.expect("note");
    tables.version_table_shared(&connector, &dash, &first.fingerprint).await.expect("noting twice is no error");
    assert_eq!(open(&dash, "f-1").await.shared, Membership::Shared);
    assert_eq!(open(&dash, "f-2").await.shared, Membership::Unshared);
    let unknown = Fingerprint::from_stored("f-unknown");
    let error = tables.version_table_shared(&connector, &dash, &unknown).await.expect_err("an unopened table");
    assert_eq!(error.kind, PortErrorKind::NotFound);
    let listed = tables.version_tables(&connector).await.expect("list");
    let shared = VersionTable { shared: Membership::Shared, ..first.clone() };
    let other = open(&dot, "f-2").await;
    let expected = [(&dash, shared), (&dash, second), (&dot, stranger), (&dot, other)];
    assert_eq!(listed, expected.map(|(workflow, table)| (workflow.clone(), table)), "each connector's own, in order");

    assert_eq!(tables.latest(&connector, &dash).await.expect("read"), None);
    let latest = |table_version, source_version, shared| LatestTable {
        table_version,
        mirrored: Mirrored { source: first.name.clone(), source_version, newest_finished_at: instant(450) },
        shared,
    };
    for (put, kept) in [
        (latest(3, 3, Membership::Unshared), latest(3, 3, Membership::Unshared)),
        (latest(3, 3, Membership::Shared), latest(3, 3, Membership::Shared)),
        (latest(10, 9, Membership::Shared), latest(10, 9, Membership::Shared)),
        (latest(9, 8, Membership::Unshared), latest(10, 9, Membership::Shared)),
    ] {
        tables.put_latest(&connector, &dash, &put).await.expect("put");
        assert_eq!(
            tables.latest(&connector, &dash).await.expect("read"),
            Some(kept),
            "only a newer one takes its place"
        );
    }
    assert_eq!(tables.latest(&connector, &dot).await.expect("read"), None);

    assert_eq!(tables.passed_over(&connector, &first.name).await.expect("read"), None);
    for (noted, kept) in [(4, 4), (4, 4), (7, 7), (5, 7)] {
        tables.pass_over(&connector, &first.name, noted).await.expect("note");
        assert_eq!(tables.passed_over(&connector, &first.name).await.expect("read"), Some(kept), "the newest stays");
    }
    let unknown = TableName::from_stored("WF_UNKNOWN__V1");
    assert_eq!(tables.passed_over(&connector, &unknown).await.expect("read"), None);
}

/// What a load notes, and what the next one reads.
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn load_contract(
    tables: &dyn TableStore,
    deliveries: &dyn DeliveryStore,
    connectors: &dyn ConnectorStore,
    prefix: &str,
) {
    let to = connector(&format!("{prefix}-l-1"), &format!("{prefix}-team"));
    let workflow = workflow_id("w-1");
    let schema = schema_of("f-1");
    let fingerprint = schema.fingerprint();
    let key = |run: &str| delivery_key(&to.id, &run_key(to.team.as_str(), "w-1", run));
    let view = async |key: &DeliveryKey| tables.load_view(&Batch::of(key), &fingerprint).await.expect("read");
    let nothing = view(&key("r-1")).await;
    assert_eq!((nothing.connector, nothing.deliveries, nothing.table), (None, vec![None], None));

    connectors.put_connector(&to).await.expect("write");
    let table = tables.open_schema_version(&to.id, &workflow, &schema, instant(0)).await.expect("open");
    assert_eq!(tables.aim(&[key("r-1")], 4, instant(1)).await.expect("aim"), [4]);
    assert_eq!(tables.aim(&[key("r-1")], 7, instant(2)).await.expect("aim"), [4], "the first aim stays");
    let aimed = view(&key("r-1")).await;
    assert_eq!((aimed.connector.as_ref(), aimed.table.as_ref()), (Some(&to), Some(&table)));
    let loading = |run, aimed, loaded, state, moved_at| {
        let (key, moved_at) = (key(run), instant(moved_at));
        let origin = Origin::Live;
        Some(Delivery { key, state, origin, moved_at, aimed_table_version: aimed, loaded_table_version: loaded })
    };
    assert_eq!(aimed.deliveries, [loading("r-1", Some(4), None, DeliveryState::InProgress(Step::Loading), 2)]);

    tables.loaded(&[(key("r-1"), 5)], &table, instant(3)).await.expect("note");
    tables.loaded(&[(key("r-1"), 5)], &table, instant(3)).await.expect("noting twice is no error");
    let done = view(&key("r-1")).await;
    assert_eq!(done.deliveries, [loading("r-1", Some(4), Some(5), DeliveryState::InProgress(Step::Publishing), 3)]);
    assert_eq!(done.table.and_then(|table| table.table_version), Some(5));

    tables.loaded(&[(key("r-2"), 3)], &table, instant(4)).await.expect("a neighbour that is ahead is no error");
    let late = view(&key("r-2")).await;
    assert_eq!(late.deliveries, [loading("r-2", None, Some(3), DeliveryState::InProgress(Step::Publishing), 4)]);
    assert_eq!(late.table.and_then(|table| table.table_version), Some(5), "a table version only moves forward");

    deliveries.end(&[(key("r-1"), shared())], instant(5)).await.expect("end");
    assert_eq!(tables.aim(&[key("r-1")], 9, instant(6)).await.expect("aim"), [4]);
    tables.loaded(&[(key("r-1"), 12)], &table, instant(6)).await.expect("note");
    let kept = view(&key("r-1")).await;
    assert_eq!(kept.deliveries, [loading("r-1", Some(4), Some(5), DeliveryState::Shared, 5)], "shared is final");
    assert_eq!(kept.table.and_then(|table| table.table_version), Some(12), "the log is there all the same");

    let mut unopened = table.clone();
    unopened.fingerprint = Fingerprint::from_stored("f-unknown");
    let error = tables.loaded(&[(key("r-3"), 0)], &unopened, instant(7)).await.expect_err("an unopened table");
    assert_eq!(error.kind, PortErrorKind::NotFound);
}

/// What the load of a batch notes: a hundred runs, some of which were here before.
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn batch_contract(tables: &dyn TableStore, deliveries: &dyn DeliveryStore, prefix: &str) {
    let connector = connector_id(&format!("{prefix}-b-1"));
    let schema = schema_of("f-1");
    let names: Vec<String> = (0..100).map(|n| format!("r-{n}")).collect();
    let key = |run: &str| delivery_key(&connector, &run_key(&format!("{prefix}-team"), "w-1", run));
    let mut batch = Batch::of(&key("r-0"));
    batch.runs = names.iter().map(|name| key(name).run.run).collect();
    let all = batch.deliveries();
    let table = tables.open_schema_version(&connector, &batch.workflow, &schema, instant(0)).await.expect("open");
    let view = async || tables.load_view(&batch, &table.fingerprint).await.expect("read");
    assert_eq!(view().await.deliveries, vec![None; 100], "nothing is recorded yet, in the order of the runs");

    deliveries.enter(&all, Step::Staging, instant(1)).await.expect("a hundred fit");
    assert_eq!(tables.aim(&[key("r-7")], 3, instant(2)).await.expect("aim"), [3]);
    tables.loaded(&[(key("r-8"), 4)], &table, instant(3)).await.expect("note");
    deliveries.end(&[(key("r-8"), shared()), (key("r-9"), failed())], instant(4)).await.expect("end");
    let aims = tables.aim(&all, 6, instant(5)).await.expect("aim");
    let expected = |n: usize| if n == 7 { 3 } else { 6 };
    assert_eq!(aims, (0..100).map(expected).collect::<Vec<_>>(), "an aim of before stays, and the others are kept");
    assert_eq!(tables.aim(&all[..2], 9, instant(6)).await.expect("aim"), [6, 6], "a later attempt finds them");
    let seen = view().await.deliveries;
    for (n, seen) in seen.iter().enumerate() {
        let seen = seen.as_ref().expect("recorded");
        let shared = n == 8;
        assert_eq!(seen.key, all[n]);
        assert_eq!(seen.state == DeliveryState::Shared, shared, "shared is final among a hundred");
        assert_eq!(seen.state == DeliveryState::InProgress(Step::Loading), !shared, "the others go on: {n}");
        assert_eq!(seen.aimed_table_version, (!shared).then(|| expected(n)), "{n}");
    }

    let loaded: Vec<_> = all.iter().map(|key| (key.clone(), if *key == all[7] { 5 } else { 11 })).collect();
    tables.loaded(&loaded, &table, instant(7)).await.expect("note");
    let after = view().await;
    assert_eq!(after.table.and_then(|table| table.table_version), Some(11), "the newest of them is how far the log is");
    let versions: BTreeSet<_> = after
        .deliveries
        .iter()
        .flatten()
        .map(|seen| (seen.loaded_table_version, seen.key.run.run.as_str() == "r-7"))
        .collect();
    assert_eq!(versions, BTreeSet::from([(Some(4), false), (Some(5), true), (Some(11), false)]));

    let mut ended: Vec<_> = all.iter().map(|key| (key.clone(), shared())).collect();
    ended[1].1 = failed();
    deliveries.end(&ended, instant(8)).await.expect("end");
    deliveries.end(&ended, instant(9)).await.expect("ending twice is no error");
    let states: Vec<_> = view().await.deliveries.into_iter().map(state).collect();
    let expected = |n| if n == 1 { DeliveryState::Failed } else { DeliveryState::Shared };
    assert_eq!(states, (0..100).map(|n| Some(expected(n))).collect::<Vec<_>>());
}

/// The rules of [`RolloutStore`].
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn rollout_store_contract(
    rollouts: &dyn RolloutStore,
    connectors: &dyn ConnectorStore,
    deliveries: &dyn DeliveryStore,
    prefix: &str,
) {
    let to = connector(&format!("{prefix}-o-1"), &format!("{prefix}-team"));
    let failure = |run: &str, seconds| LiveFailure {
        delivery: delivery_key(&to.id, &run_key(to.team.as_str(), "w-1", run)),
        code: FailureCode::RowNotJson,
        at: instant(seconds),
    };
    let noted = async || rollouts.live_failure(&to.id).await.expect("read");
    rollouts.note_live_failure(&failure("r-0", 1)).await.expect("note");
    assert_eq!(noted().await, None, "nothing waits for a connector that is not there");
    connectors.put_connector(&to).await.expect("write");
    for (run, at) in [("r-1", 2), ("r-2", 3)] {
        rollouts.note_live_failure(&failure(run, at)).await.expect("note");
    }
    assert_eq!(noted().await, Some(failure("r-2", 3)), "the newest is kept");
    rollouts.forget_live_failure(&to.id).await.expect("forget");
    rollouts.forget_live_failure(&to.id).await.expect("forgetting twice is no error");
    assert_eq!(noted().await, None);
    let proven = failure("r-proven", 3);
    let key = proven.delivery.clone();
    deliveries.begin(std::slice::from_ref(&key), Origin::Live, instant(2)).await.expect("begin");
    deliveries.enter(std::slice::from_ref(&key), Step::Proving, instant(2)).await.expect("enter");
    deliveries.end(&[(key, shared())], instant(3)).await.expect("end");
    rollouts.note_live_failure(&proven).await.expect("note");
    assert_eq!(noted().await, None, "what was proven has not failed, whatever failed behind it");
    connectors.put_connector(&to.moved(ConnectorState::Active)).await.expect("write");
    rollouts.note_live_failure(&failure("r-3", 4)).await.expect("note");
    assert_eq!(noted().await, None, "an active connector waits for nothing");
}

/// Many open, aim and load at once.
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn table_store_race_contract(tables: &dyn TableStore, prefix: &str) {
    let connector = connector_id(&format!("{prefix}-t-race"));
    let workflow = workflow_id("w-1");
    let same = schema_of("f-same");
    let open = |schema| tables.open_schema_version(&connector, &workflow, schema, instant(1));
    let opened = join_all((0..20).map(|_| open(&same))).await;
    let opened: Vec<_> = opened.into_iter().map(|table| table.expect("open")).collect();
    assert!(opened.iter().all(|table| *table == opened[0]), "twenty that open the same agree");
    assert_eq!(opened[0].schema_version, SchemaVersion(1));

    let others: Vec<_> = (0..5).map(|n| schema_of(&format!("f-{n}"))).collect();
    let numbers = join_all(others.iter().map(open)).await;
    let numbers: BTreeSet<_> = numbers.into_iter().map(|table| table.expect("open").schema_version.0).collect();
    assert_eq!(numbers, (2..7).collect(), "each gets its own number, and none is left out");

    let clashing = ["x-1", "x.1", "x_1"].map(workflow_id);
    let labels = clashing.iter().map(|workflow| tables.open_schema_version(&connector, workflow, &same, instant(1)));
    let labels: BTreeSet<_> = join_all(labels).await.into_iter().map(|table| table.expect("open").label).collect();
    assert_eq!(labels.len(), 3, "no two workflows share a label");

    let run = |n: u64| delivery_key(&connector, &run_key(&format!("{prefix}-team"), "w-1", &format!("r-{n}")));
    let aims = join_all((0..10).map(|n| {
        let key = run(0);
        async move { tables.aim(&[key], n, instant(2)).await }
    }))
    .await;
    let aims: BTreeSet<_> = aims.into_iter().flat_map(|aims| aims.expect("aim")).collect();
    assert_eq!(aims.len(), 1, "ten that aim agree");

    let table = &opened[0];
    let loads = (0..10).map(|n| {
        let key = run(n);
        async move { tables.loaded(&[(key, n)], table, instant(3)).await }
    });
    join_all(loads).await.into_iter().for_each(|load| load.expect("note"));
    let table = open(&same).await.expect("open");
    assert_eq!(table.table_version, Some(9), "the newest version is known in the end");
}

/// The rules of [`ConnectorStore`], and of the list that [`RunStore`] reads.
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn connector_store_contract(connectors: &dyn ConnectorStore, runs: &dyn RunStore, prefix: &str) {
    let team = format!("{prefix}-k-team");
    let id = |n: &str| format!("{prefix}-k-{n}");
    let listed = async || runs.team_connectors(&team_id(&team)).await.expect("list");
    assert_eq!(connectors.connector(&connector_id(&id("1"))).await.expect("read"), None);
    assert_eq!(listed().await, []);

    let some = Scope::Only(BTreeSet::from(["w-1", "w-2"].map(workflow_id)));
    let first =
        Connector { state: ConnectorState::Provisioning, workflows: some.clone(), ..connector(&id("1"), &team) };
    connectors.put_connector(&first).await.expect("write");
    assert_eq!(connectors.connector(&first.id).await.expect("read"), Some(first.clone()));
    let entry = |connector: &Connector| TeamConnector {
        id: connector.id.clone(),
        state: connector.state,
        workflows: connector.workflows.clone(),
        activity_log: connector.activity_log,
    };
    assert_eq!(listed().await, [entry(&first)], "a connector that is being set up is the team's");

    let first = Connector {
        state: ConnectorState::Ready,
        activity_log: false,
        max_rejected_fraction: 0.25,
        revision: 1,
        ..first
    };
    connectors.put_connector(&first).await.expect("write");
    let second = connector(&id("2"), &team);
    connectors.put_connector(&second).await.expect("write");
    connectors.put_connector(&connector(&id("3"), &format!("{team}-other"))).await.expect("write");
    assert_eq!(
        connectors.connector(&first.id).await.expect("read"),
        Some(first.clone()),
        "a later write takes its place"
    );
    let expected = [entry(&first), entry(&second)];
    assert_eq!((&expected[0].workflows, &expected[1].workflows), (&some, &Scope::All));
    assert_eq!(listed().await, expected, "a team sees its own");

    let stale = Connector { revision: 7, ..first.clone() };
    let disabling = audit_entry(Action::Disable, 9);
    let disabled = first.moved(ConnectorState::Disabled);
    let change = async |before: Option<&Connector>, after: &Connector| {
        connectors.change_connector(before, after, &disabling).await.expect("write")
    };
    assert_eq!(change(Some(&stale), &disabled).await, Changed::Outdated, "another revision was read");
    assert_eq!(change(None, &disabled).await, Changed::Outdated, "a connector that is there is not new");
    assert_eq!(connectors.connector(&first.id).await.expect("read"), Some(first.clone()));
    assert_eq!(listed().await, expected);
    assert_eq!(change(Some(&first), &disabled).await, Changed::Now);
    assert_eq!(change(Some(&first), &disabled).await, Changed::Outdated, "a change is made once");
    assert_eq!(connectors.connector(&first.id).await.expect("read"), Some(disabled.clone()));
    assert_eq!(listed().await, [entry(&disabled), entry(&second)], "a disabled connector is the team's");
    connectors.put_connector(&second.revoked().expect("it was not")).await.expect("write");
    assert_eq!(listed().await, [entry(&disabled)], "a revoked one is not");
    let audit = connectors.audit(&first.id, 10).await.expect("read");
    let actions: Vec<_> = audit.iter().map(|change| change.entry.action).collect();
    assert_eq!(actions, [Action::SetUp, Action::SetUp, Action::Disable], "each change once, oldest first");
    let newest = Audited { revision: disabled.revision, entry: disabling };
    assert_eq!(connectors.audit(&first.id, 1).await.expect("read"), [newest], "each with the revision that it made");
    let all = connectors.connectors().await.expect("list");
    let mine: Vec<_> = all.into_iter().filter(|found| found.as_str().starts_with(&id(""))).collect();
    assert_eq!(mine, ["1", "2", "3"].map(|n| connector_id(&id(n))), "every team's, each once, in order");
}

/// The rules of [`SharingBackend`].
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn sharing_backend_contract(backend: &dyn SharingBackend, prefix: &str) {
    let mine = connector(&format!("{prefix}-share"), &format!("{prefix}-team"));
    let table = TableName::from_stored("WF_A__V1");
    let error = backend.add_table(&mine.id, &table).await.expect_err("a share that is not there");
    assert_eq!(error.kind, PortErrorKind::NotFound);

    assert_eq!(backend.provision(&mine).await.expect("make"), Provisioned::Ready);
    assert_eq!(backend.provision(&mine).await.expect("make"), Provisioned::Ready, "making it twice is no error");
    let shouting = connector(&format!("{}-SHARE", prefix.to_ascii_uppercase()), mine.team.as_str());
    assert_eq!(backend.provision(&shouting).await.expect("make"), Provisioned::Taken, "names compare without case");
    let error = backend.add_table(&shouting.id, &table).await.expect_err("another connector's share");
    assert_eq!(error.kind, PortErrorKind::NotFound);

    backend.add_table(&mine.id, &table).await.expect("add");
    backend.add_table(&mine.id, &table).await.expect("adding twice is no error");
    let asked = [TableName::from_stored("WF_A__LATEST"), table.clone()];
    assert_eq!(backend.present(&mine.id, &asked).await.expect("look"), std::slice::from_ref(&table));
    backend.remove_table(&mine.id, &table).await.expect("remove");
    backend.remove_table(&mine.id, &table).await.expect("removing what is not there is no error");
    assert_eq!(backend.present(&mine.id, &asked).await.expect("look"), []);
}
