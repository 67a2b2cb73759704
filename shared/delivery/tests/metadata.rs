//! Writing the metadata tables over in-memory ports: every failure of every call, other writers at every point, and
//! each row exactly once.

#![expect(clippy::unwrap_used, reason = "tests end at the first surprise")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

use delivery::batch::Batch;
use delivery::connector::{Connector, ConnectorState};
use delivery::failure::{RetryClass, StepError};
use delivery::ids::ConnectorId;
use delivery::metadata::{Cell, DeliveredRun, MetadataTable, Row};
use delivery::metadata_writer::{BATCHES_MAX, Drained, Writing, drain};
use delivery::outcome::{Recording, record_shared};
use delivery::ports::{Clock, Outbox, PortErrorKind, SharingBackend, TableLog, TableStore};
use delivery::table::VersionTable;
use delivery::timestamp::Timestamp;
use futures::FutureExt;
use testkit::builders::{
    PutConnector as _, connector, connector_id, delivered_run, delivery_key, instant, run_key, schema_of, workflow_id,
};
use testkit::faults::{Faults, Strikes};
use testkit::lake::InMemoryLake;
use testkit::metadata_contract::event;
use testkit::state::InMemoryState;

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        instant(43_200)
    }
}

#[derive(Default)]
struct World {
    state: InMemoryState,
    lake: InMemoryLake,
}

const CONNECTOR: &str = "acme";
const RUNS: MetadataTable = MetadataTable::WorkflowRuns;
const ACTIVITY: MetadataTable = MetadataTable::ActivityLog;

fn acme() -> ConnectorId {
    connector_id(CONNECTOR)
}

/// In-memory ports are always ready, so that work can be done where nothing can wait.
fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().unwrap()
}

impl World {
    fn new() -> Arc<Self> {
        Self::with(connector(CONNECTOR, "t"))
    }

    fn with(connector: Connector) -> Arc<Self> {
        let world = Self::default();
        let _ = ready(world.state.provision(&connector)).unwrap();
        ready(world.state.put_connector(&connector)).unwrap();
        Arc::new(world)
    }

    fn table(&self, workflow: &str, field: &str) -> VersionTable {
        let schema = schema_of(field);
        ready(self.state.open_schema_version(&acme(), &workflow_id(workflow), &schema, instant(0))).unwrap()
    }

    /// A run of workflow `w` is delivered as a table version of the schema's table.
    fn deliver(&self, run: &str, field: &str, table_version: u64, finished_seconds: i64) {
        let table = self.table("w", field);
        self.record(run, delivered_run(&table, table_version, instant(finished_seconds))).unwrap();
    }

    fn record(&self, run: &str, delivered: DeliveredRun) -> Result<(), StepError> {
        let key = delivery_key(&acme(), &run_key("t", "w", run));
        let ports = Recording {
            deliveries: &self.state,
            waker: &self.state,
            rollouts: &self.state,
            starter: &self.state,
            clock: &Noon,
        };
        let runs = vec![(key.run.run.clone(), delivered)];
        ready(record_shared(ports, &Batch::of(&key), runs))
    }

    fn happen(&self, events: &[&str]) {
        let rows: Vec<_> = events.iter().map(|key| event(key)).collect();
        ready(self.state.put(&acme(), ACTIVITY, &rows, instant(0))).unwrap();
    }

    fn drain(&self) -> Result<Drained, StepError> {
        let writing = Writing {
            store: &self.state,
            log: &self.lake,
            files: &self.lake,
            backend: &self.state,
            maintenance: &self.state,
            waker: &self.state,
            clock: &Noon,
        };
        ready(drain(writing, &acme()))
    }

    fn rows(&self, table: MetadataTable) -> Vec<Row> {
        self.lake.metadata_rows(&acme(), table)
    }

    /// The first column of a table, sorted.
    fn ids(&self, table: MetadataTable) -> Vec<String> {
        let mut ids: Vec<_> = self.rows(table).iter().map(|row| text(row.first().unwrap())).collect();
        ids.sort();
        ids
    }

    /// Commits behind the one that made a table.
    fn commits(&self, table: MetadataTable) -> usize {
        self.lake.commit_count(&acme(), &table.name()).saturating_sub(1)
    }
}

fn text(cell: &Cell) -> String {
    if let Cell::Text(text) = cell { text.clone() } else { format!("{cell:?}") }
}

/// Everything that the tables hold when two schemas' runs and three events are through.
fn check_the_story(world: &World, said: &str) {
    assert_eq!(world.ids(RUNS), ["r1", "r2", "r3"], "{said}");
    assert_eq!(world.ids(ACTIVITY), ["e1", "e2", "e3"], "{said}");
    let newest = &world.rows(MetadataTable::Workflows);
    let cells: Vec<_> = newest.iter().flatten().map(text).collect();
    assert_eq!(cells, ["w", "Box office", "Integer(2)", "WF_W__V2", "WF_W__LATEST"], "{said}");
    assert_eq!(world.rows(MetadataTable::WorkflowSchemaVersions).len(), 2, "{said}");
    let fields: Vec<_> =
        world.rows(MetadataTable::WorkflowSchemaFields).iter().map(|row| text(row.get(4).unwrap())).collect();
    assert_eq!(fields, ["a", "b"], "{said}");
    let shared: BTreeSet<_> = world.state.shared_tables(&acme()).into_iter().collect();
    assert!(MetadataTable::ALL.iter().all(|table| shared.contains(&table.name())), "{said}: {shared:?}");
    for table in MetadataTable::CATALOGUE {
        let newest = ready(world.lake.newest_version(&acme(), &table.name())).unwrap().unwrap();
        let files = ready(world.lake.contents(&acme(), &table.name(), newest)).unwrap().files;
        assert_eq!(files.len(), 1, "{said}: the old content has left {table:?}");
    }
}

#[test]
fn what_waits_comes_into_the_tables_in_one_commit_each_and_a_second_drain_writes_nothing() {
    let world = World::new();
    for (run, field, version, at) in [("r1", "a", 0, 10), ("r2", "b", 0, 20), ("r3", "a", 1, 30)] {
        world.deliver(run, field, version, at);
    }
    world.happen(&["e1", "e2", "e3"]);
    let drained = world.drain().unwrap();
    assert_eq!(drained, Drained { batches: 2, rows: 6, replaced: 3 });
    check_the_story(&world, "drained");
    for table in MetadataTable::ALL {
        assert_eq!(world.commits(table), 1, "{table:?}");
    }
    assert_eq!(world.state.wakes().len(), 3, "each delivery woke the writer, and the drain nobody");

    let (state, lake) = (world.state.faults.calls().len(), world.lake.faults.calls().len());
    assert_eq!(world.drain().unwrap(), Drained::default());
    let calls = world.state.faults.calls();
    assert_eq!(
        calls.get(state..).unwrap(),
        ["read what the metadata writer begins with", "list the rows that wait", "list the rows that wait"]
    );
    assert_eq!(world.lake.faults.calls().len(), lake, "nothing to write asks nothing of the storage");
}

#[test]
fn activity_waits_while_its_connector_takes_no_data_and_delivered_runs_do_not() {
    for state in [ConnectorState::Disabled, ConnectorState::Provisioning, ConnectorState::Revoked] {
        let world = World::with(Connector { state, ..connector(CONNECTOR, "t") });
        world.deliver("r1", "a", 0, 10);
        world.happen(&["e1", "e2"]);
        assert_eq!(world.drain().unwrap(), Drained { batches: 1, rows: 1, replaced: 3 }, "{state:?}");
        assert_eq!((world.ids(RUNS), world.commits(ACTIVITY)), (vec!["r1".to_owned()], 0), "{state:?}");
        let wakes = world.state.wakes().len();
        assert_eq!(world.drain().unwrap(), Drained::default(), "{state:?}");
        assert_eq!(world.state.wakes().len(), wakes, "{state:?}: what waits wakes nobody");

        ready(world.state.put_connector(&connector(CONNECTOR, "t"))).unwrap();
        world.happen(&["e2", "e3"]);
        for _ in 0..2 {
            world.drain().unwrap();
            assert_eq!(world.ids(ACTIVITY), ["e1", "e2", "e3"], "{state:?}: each once");
        }
    }
}

#[test]
fn a_batch_of_a_known_schema_costs_the_same_at_any_age() {
    let world = World::new();
    let mut costs = BTreeSet::new();
    for n in 0..40_u64 {
        let (state, lake) = (world.state.faults.calls().len(), world.lake.faults.calls().len());
        world.deliver(&format!("r{n}"), "a", n, 10 + i64::try_from(n).unwrap());
        world.drain().unwrap();
        let calls = world.state.faults.calls();
        let asked = calls.get(state..).unwrap().iter().filter(|call| **call == "ask for maintenance").count();
        let cost = (calls.len() - state - asked, world.lake.faults.calls().len() - lake);
        if n > 0 {
            costs.insert(cost);
        }
    }
    assert_eq!(costs.len(), 1, "{costs:?}");
    let due: Vec<_> = world.state.maintenance().into_iter().map(|(_, table)| table.as_str().to_owned()).collect();
    let own: Vec<_> = due.iter().filter(|name| *name == "WORKFLOW_RUNS").collect();
    let version: Vec<_> = due.iter().filter(|name| *name == "WF_W__V1").collect();
    let latest: Vec<_> = due.iter().filter(|name| *name == "WF_W__LATEST").collect();
    assert_eq!((own.len(), version.len(), latest.len()), (4, 3, 3), "10, 20, 30 and 40; 10, 20 and 30");
}

fn begin_the_story() -> Arc<World> {
    let world = World::new();
    world.deliver("r1", "a", 0, 10);
    world.happen(&["e1", "e2"]);
    world.deliver("r2", "b", 0, 20);
    world
}

/// What comes while a writer is held up, or between its end and the next.
fn go_on(world: &World) {
    world.deliver("r3", "a", 1, 30);
    world.happen(&["e2", "e3"]);
}

/// How many calls of the fakes a drain of the story makes.
fn calls_of_a_drain() -> [usize; 2] {
    let world = begin_the_story();
    let before = [&world.state.faults, &world.lake.faults].map(|faults| faults.calls().len());
    world.drain().unwrap();
    let after = [&world.state.faults, &world.lake.faults].map(|faults| faults.calls().len());
    [after[0] - before[0], after[1] - before[1]]
}

fn faults(world: &World, of_lake: bool) -> &Faults {
    if of_lake { &world.lake.faults } else { &world.state.faults }
}

/// Each point of a drain: which fake's call it is, and its number there.
fn points() -> Vec<(bool, usize)> {
    let [state, lake] = calls_of_a_drain();
    assert!(state > 12 && lake > 12, "{state} {lake}");
    (0..state).map(|number| (false, number)).chain((0..lake).map(|number| (true, number))).collect()
}

#[test]
fn a_drain_that_fails_at_any_call_is_ended_by_the_next() {
    for (of_lake, number) in points() {
        for strikes in [Strikes::Before, Strikes::After] {
            for more_comes in [false, true] {
                let said = format!("call {number} of {} {strikes:?}", if of_lake { "lake" } else { "state" });
                let world = begin_the_story();
                let faults = faults(&world, of_lake);
                faults.fail_call(faults.calls().len() + number, PortErrorKind::Unavailable, strikes);
                let error = world.drain().expect_err(&said);
                assert_eq!(error.code.class(), RetryClass::Transient, "{said}: {error}");
                if more_comes {
                    go_on(&world);
                    world.drain().unwrap();
                } else {
                    world.drain().unwrap();
                    go_on(&world);
                    world.drain().unwrap();
                }
                check_the_story(&world, &said);
                assert!(world.commits(RUNS) <= 2 && world.commits(ACTIVITY) <= 2, "{said}");
                assert_eq!(world.state.waiting_rows(&acme(), RUNS), 0, "{said}");
            }
        }
    }
}

#[test]
fn a_drain_that_is_held_up_at_any_call_meets_what_others_did_meanwhile() {
    for (of_lake, number) in points() {
        for more_comes in [false, true] {
            let said = format!("held up at call {number} of {}", if of_lake { "lake" } else { "state" });
            let world = begin_the_story();
            let faults = faults(&world, of_lake);
            let other = Arc::clone(&world);
            faults.meanwhile(faults.calls().len() + number, move || {
                other.drain().unwrap();
                if more_comes {
                    go_on(&other);
                    other.drain().unwrap();
                }
            });
            world.drain().expect(&said);
            if !more_comes {
                go_on(&world);
            }
            world.drain().unwrap();
            check_the_story(&world, &said);
            assert!(world.commits(RUNS) <= 2 && world.commits(ACTIVITY) <= 2, "{said}");
        }
    }
}

#[test]
fn two_writers_of_which_one_is_held_up_and_the_other_killed_lose_and_double_nothing() {
    for (held_in_lake, held_at) in points() {
        for (killed_in_lake, killed_at) in points() {
            let said = format!("held up at {held_in_lake} {held_at}, killed at {killed_in_lake} {killed_at}");
            let world = begin_the_story();
            let held = faults(&world, held_in_lake);
            let other = Arc::clone(&world);
            held.meanwhile(held.calls().len() + held_at, move || {
                go_on(&other);
                let killed = faults(&other, killed_in_lake);
                killed.fail_call(killed.calls().len() + killed_at, PortErrorKind::Unavailable, Strikes::After);
                let _ = other.drain();
            });
            // The fault may strike this writer instead, or nobody, if the other one needed fewer calls.
            let _ = world.drain();
            for faults in [&world.state.faults, &world.lake.faults] {
                faults.heal();
            }
            world.drain().expect(&said);
            check_the_story(&world, &said);
        }
    }
}

#[test]
fn a_table_that_maintenance_rewrote_and_cleaned_up_gets_a_begun_batch_once() {
    // Ended before its commit, or after it and before anything was noted.
    for (call, committed) in [("put a file", false), ("write", true)] {
        for cleaned_up in [false, true] {
            let world = begin_the_story();
            world.drain().unwrap();
            go_on(&world);
            let before = world.lake.faults.calls().len();
            let number = if call == "put a file" { before } else { before + 1 };
            world.lake.faults.fail_call(number, PortErrorKind::Unavailable, Strikes::After);
            world.drain().unwrap_err();
            assert_eq!(world.lake.faults.calls().last(), Some(&call));
            assert_eq!(world.commits(RUNS), if committed { 2 } else { 1 });
            for _ in 0..3 {
                world.lake.compact(&acme(), &RUNS.name());
            }
            if cleaned_up {
                let newest = ready(world.lake.newest_version(&acme(), &RUNS.name())).unwrap().unwrap();
                world.lake.clean_up(&acme(), &RUNS.name(), newest);
            }
            world.drain().unwrap();
            check_the_story(&world, call);
        }
    }
}

#[test]
fn a_state_table_that_forgot_its_batches_gives_no_number_twice() {
    let world = begin_the_story();
    world.drain().unwrap();
    world.state.forget_table_versions();
    go_on(&world);
    world.drain().unwrap();
    check_the_story(&world, "forgotten");
    let last = ready(world.lake.transaction(&acme(), &RUNS.name(), RUNS.name().as_str())).unwrap();
    assert_eq!(last, Some(2));
}

#[test]
fn a_thousand_deliveries_are_few_commits_and_none_is_lost_whatever_fails() {
    let world = World::new();
    let tables = ["a", "b"].map(|field| world.table("w", field));
    let deliverers = 4;
    thread::scope(|scope| {
        for deliverer in 0..deliverers {
            let (world, tables) = (&world, &tables);
            scope.spawn(move || {
                for (n, table) in (0..250_u64).zip(tables.iter().cycle()) {
                    let delivered = delivered_run(table, n, instant(10 + i64::try_from(n).unwrap()));
                    // A fault may strike here, too: the state machine tries again.
                    while world.record(&format!("r-{deliverer}-{n:03}"), delivered.clone()).is_err() {}
                }
            });
        }
        // Two writers that are woken now and then, as the queue would, and meet a fault each time.
        for writer in 0..2_usize {
            let world = &world;
            scope.spawn(move || {
                for round in 0..8 {
                    let faults = faults(world, (round + writer) % 2 == 0);
                    faults.fail_call(faults.calls().len() + 3 + round, PortErrorKind::Unavailable, Strikes::After);
                    let _ = world.drain();
                    thread::yield_now();
                }
            });
        }
    });
    for faults in [&world.state.faults, &world.lake.faults] {
        faults.heal();
    }
    world.drain().unwrap();
    let ids = world.ids(RUNS);
    let unique: BTreeSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), unique.len()), (1_000, 1_000));
    assert!(world.commits(RUNS) <= 20, "{} commits", world.commits(RUNS));
    assert_eq!(world.state.waiting_rows(&acme(), RUNS), 0);
}

#[test]
fn a_drain_takes_a_bounded_number_of_batches_and_wakes_the_next() {
    let world = World::new();
    let rows: Vec<_> = (0..BATCHES_MAX * 1_000 + 1).map(|n| event(&format!("e-{n:06}"))).collect();
    ready(world.state.put(&acme(), ACTIVITY, &rows, instant(0))).unwrap();
    let drained = world.drain().unwrap();
    assert_eq!((drained.batches, drained.rows), (BATCHES_MAX, BATCHES_MAX * 1_000));
    assert_eq!(world.state.wakes(), [acme()]);
    assert_eq!(world.drain().unwrap().rows, 1);
    assert_eq!(world.rows(ACTIVITY).len(), rows.len());
    assert_eq!(world.state.wakes().len(), 1);
}

#[test]
fn activity_that_a_connector_does_not_want_and_connectors_that_are_not_there_are_left_alone() {
    let world = World::with(Connector { activity_log: false, ..connector(CONNECTOR, "t") });
    world.happen(&["e1"]);
    world.deliver("r1", "a", 0, 10);
    world.drain().unwrap();
    assert_eq!(world.lake.commit_count(&acme(), &ACTIVITY.name()), 0);
    assert!(!world.state.shared_tables(&acme()).contains(&ACTIVITY.name()));
    assert_eq!(world.ids(RUNS), ["r1"]);

    let nobody = World::default();
    assert_eq!(nobody.drain().unwrap(), Drained::default());
    assert_eq!(nobody.lake.writes_offered(), 0);
}

#[test]
fn a_new_name_replaces_the_workflows_and_nothing_else() {
    let world = World::new();
    let deliver = |run: &str, name: &str, at: i64| {
        let mut delivered = delivered_run(&world.table("w", "a"), 0, instant(at));
        delivered.workflow_name = name.to_owned();
        world.record(run, delivered).unwrap();
        world.drain().unwrap()
    };
    for (run, name, at, replaced, shown) in [
        ("r1", "Films", 10, 3, "Films"),
        ("r2", "Films", 20, 0, "Films"),
        ("r3", "Cinema", 30, 1, "Cinema"),
        ("r4", "Late", 25, 0, "Cinema"),
    ] {
        assert_eq!(deliver(run, name, at).replaced, replaced, "{run}");
        assert_eq!(text(&world.rows(MetadataTable::Workflows)[0][1]), shown);
    }
    let first: Vec<_> = world.rows(MetadataTable::WorkflowSchemaVersions).iter().map(|row| text(&row[3])).collect();
    assert_eq!(first, ["r1"]);
}
