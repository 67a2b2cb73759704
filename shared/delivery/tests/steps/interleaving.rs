//! Two executions that load the same runs, each held up, ended and begun again wherever chance has it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use delivery::batch::Batch;
use delivery::ports::{LoadView, TableStore};
use delivery::table::{LatestTable, VersionTable};
use proptest::prelude::*;

use super::*;

/// Lets others work before each call and after it.
struct HeldUp<'a>(&'a World);

struct Pause(bool);

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

async fn held_up<T>(call: impl Future<Output = T>) -> T {
    Pause(false).await;
    let answer = call.await;
    Pause(false).await;
    answer
}

#[async_trait]
impl TableStore for HeldUp<'_> {
    async fn load_view(&self, batch: &Batch, fingerprint: &Fingerprint) -> Result<LoadView, PortError> {
        held_up(self.0.state.load_view(batch, fingerprint)).await
    }

    async fn open_schema_version(
        &self,
        connector: &ConnectorId,
        workflow: &delivery::ids::WorkflowId,
        schema: &PublicSchema,
        now: Timestamp,
    ) -> Result<VersionTable, PortError> {
        held_up(self.0.state.open_schema_version(connector, workflow, schema, now)).await
    }

    async fn aim(&self, deliveries: &[DeliveryKey], table_version: u64, now: Timestamp) -> Result<Vec<u64>, PortError> {
        held_up(self.0.state.aim(deliveries, table_version, now)).await
    }

    async fn loaded(
        &self,
        deliveries: &[(DeliveryKey, u64)],
        table: &VersionTable,
        now: Timestamp,
    ) -> Result<(), PortError> {
        held_up(self.0.state.loaded(deliveries, table, now)).await
    }

    async fn version_table_shared(
        &self,
        connector: &ConnectorId,
        workflow: &delivery::ids::WorkflowId,
        fingerprint: &Fingerprint,
    ) -> Result<(), PortError> {
        self.0.state.version_table_shared(connector, workflow, fingerprint).await
    }

    async fn latest(
        &self,
        connector: &ConnectorId,
        workflow: &delivery::ids::WorkflowId,
    ) -> Result<Option<LatestTable>, PortError> {
        held_up(self.0.state.latest(connector, workflow)).await
    }

    async fn version_tables(
        &self,
        connector: &ConnectorId,
    ) -> Result<Vec<(delivery::ids::WorkflowId, VersionTable)>, PortError> {
        self.0.state.version_tables(connector).await
    }

    async fn put_latest(
        &self,
        connector: &ConnectorId,
        workflow: &delivery::ids::WorkflowId,
        latest: &LatestTable,
    ) -> Result<(), PortError> {
        held_up(self.0.state.put_latest(connector, workflow, latest)).await
    }

    async fn pass_over(
        &self,
        connector: &ConnectorId,
        source: &TableName,
        source_version: u64,
    ) -> Result<(), PortError> {
        held_up(self.0.state.pass_over(connector, source, source_version)).await
    }

    async fn passed_over(&self, connector: &ConnectorId, source: &TableName) -> Result<Option<u64>, PortError> {
        held_up(self.0.state.passed_over(connector, source)).await
    }
}

#[async_trait]
impl TableLog for HeldUp<'_> {
    async fn write(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        table_version: u64,
        commit: &Commit,
    ) -> Result<WriteOutcome, PortError> {
        held_up(self.0.lake.write(connector, table, table_version, commit)).await
    }

    async fn read(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        table_version: u64,
    ) -> Result<Option<LoggedCommit>, PortError> {
        held_up(self.0.lake.read(connector, table, table_version)).await
    }

    async fn newest_version(&self, connector: &ConnectorId, table: &TableName) -> Result<Option<u64>, PortError> {
        held_up(self.0.lake.newest_version(connector, table)).await
    }

    async fn transaction(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        application_id: &str,
    ) -> Result<Option<i64>, PortError> {
        held_up(self.0.lake.transaction(connector, table, application_id)).await
    }

    fn schema_string(&self, schema: &PublicSchema) -> String {
        self.0.lake.schema_string(schema)
    }

    async fn contents(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        table_version: u64,
    ) -> Result<TableContents, PortError> {
        self.0.lake.contents(connector, table, table_version).await
    }

    async fn copy_staged(
        &self,
        file: &StagedFile,
        connector: &ConnectorId,
        table: &TableName,
        name: &str,
    ) -> Result<(), PortError> {
        held_up(self.0.lake.copy_staged(file, connector, table, name)).await
    }

    async fn copy_between(
        &self,
        connector: &ConnectorId,
        from: &TableName,
        to: &TableName,
        files: &[DataFile],
    ) -> Result<(), PortError> {
        self.0.lake.copy_between(connector, from, to, files).await
    }
}

const RUNS: usize = 5;

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// An execution does its next call, or lets its answer reach it.
    Goes(usize),
    /// An execution's function ends where it is, and begins again.
    Ends(usize),
    /// The state table is restored from a time when no version was known.
    Forgotten,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![30 => (0..2_usize).prop_map(Turn::Goes), 2 => (0..2_usize).prop_map(Turn::Ends), 1 => Just(Turn::Forgotten)]
}

/// As `turn`, for every promotion.
fn promotion_turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        40 => (0..RUNS).prop_map(Turn::Goes),
        2 => (0..RUNS).prop_map(Turn::Ends),
        1 => Just(Turn::Forgotten),
    ]
}

type Promotion<'a> = Pin<Box<dyn Future<Output = Result<(), StepError>> + 'a>>;

fn promotion<'a>(world: &'a World, held: &'a HeldUp<'a>, batch: &'a Batch, proven: &'a Proven) -> Promotion<'a> {
    let ports = Promoting { deliveries: &world.state, tables: held, log: held, backend: &world.state, clock: &Noon };
    Box::pin(async move { promote(ports, batch, &label(), proven).await })
}

type Load<'a> = Pin<Box<dyn Future<Output = Result<Published, StepError>> + 'a>>;

fn load<'a>(world: &'a World, held: &'a HeldUp<'a>, batch: &'a Batch, fingerprint: &'a Fingerprint) -> Load<'a> {
    let ports = Publishing { deliveries: &world.state, manifests: &world.lake, tables: held, log: held, clock: &Noon };
    Box::pin(publish(ports, batch, fingerprint, Origin::Backfill))
}

fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut context) {
            return answer;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn executions_that_overlap_in_any_way_load_each_run_once(
        before in prop::collection::btree_set(0..RUNS, 0..RUNS),
        of_first in prop::collection::btree_set(0..RUNS, 1..=RUNS),
        of_second in prop::collection::btree_set(0..RUNS, 1..=RUNS),
        turns in prop::collection::vec(turn(), 0..160),
    ) {
        let all: Vec<_> = (0..RUNS).map(|n| a_run(&format!("r{n}"), 10)).collect();
        let world = now(World::with(&all));
        let staged = now(world.stage_runs(&all)).unwrap();
        let fingerprint = staged[0].fingerprint.clone();
        let batch = |of: &std::collections::BTreeSet<usize>| {
            batch_of(&of.iter().map(|n| staged[*n].clone()).collect::<Vec<_>>())
        };
        // Some runs are in, and of every second one nobody remembers it.
        for n in &before {
            let delivery = delivery_key(&connector_id(CONNECTOR), &all[*n].key);
            now(world.publish_batch(&Batch::of(&delivery), &fingerprint, &world.lake)).unwrap();
            if n % 2 == 0 {
                world.state.forget_load(&delivery);
            }
        }
        let held = HeldUp(&world);
        let batches = [batch(&of_first), batch(&of_second)];
        let mut loads: Vec<Option<Load<'_>>> =
            batches.iter().map(|batch| Some(load(&world, &held, batch, &fingerprint))).collect();
        let mut context = Context::from_waker(Waker::noop());
        for turn in turns {
            match turn {
                Turn::Goes(which) => {
                    let done = loads[which].as_mut().map(|load| load.as_mut().poll(&mut context));
                    if let Some(Poll::Ready(outcome)) = done {
                        outcome.unwrap();
                        loads[which] = None;
                    }
                }
                Turn::Ends(which) => {
                    loads[which] = Some(load(&world, &held, &batches[which], &fingerprint));
                }
                Turn::Forgotten => world.state.forget_table_versions(),
            }
        }
        for load in loads.into_iter().flatten() {
            now(load).unwrap();
        }

        let wanted: std::collections::BTreeSet<_> = before.iter().chain(&of_first).chain(&of_second).collect();
        let mut expected: Vec<_> = wanted.iter().map(|n| format!("r{n}-00000.parquet")).collect();
        expected.sort();
        let mut files = now(world.files(&version(1)));
        files.sort();
        prop_assert_eq!(files, expected);
        let mut versions = BTreeMap::new();
        for table_version in 0..world.commits(&version(1)) as u64 {
            let commit = now(world.lake.read(&connector_id(CONNECTOR), &version(1), table_version)).unwrap().unwrap();
            prop_assert!(!commit.transactions.is_empty(), "no commit is empty");
            for (id, _) in commit.transactions {
                prop_assert!(versions.insert(id, table_version).is_none(), "each run is one transaction");
            }
        }
        for n in of_first.iter().chain(&of_second) {
            let record = world.state.record(&delivery_key(&connector_id(CONNECTOR), &all[*n].key)).unwrap();
            let known = record.delivery.loaded_table_version;
            prop_assert_eq!(known, versions.get(&format!("run/r{n}")).copied(), "the record says where the run is");
        }
    }

    #[test]
    fn promotions_that_overlap_in_any_way_leave_latest_with_all_rows_of_the_newest_schema(
        days in Just((0..RUNS).collect::<Vec<_>>()).prop_shuffle(),
        of_second_schema in prop::collection::vec(any::<bool>(), RUNS),
        turns in prop::collection::vec(promotion_turn(), 0..240),
    ) {
        let runs: Vec<_> = (0..RUNS)
            .map(|n| {
                let run = a_run(&format!("r{n}"), days[n] as i64);
                let fields = || vec![field("other", "NUMBER")];
                if of_second_schema[n] { with_fields(run, fields()) } else { run }
            })
            .collect();
        let world = now(World::new());
        let proven: Vec<_> = runs.iter().map(|run| now(world.stay_behind(run))).collect();
        let connector = connector_id(CONNECTOR);
        let batches: Vec<_> = runs.iter().map(|run| Batch::of(&delivery_key(&connector, &run.key))).collect();
        let held = HeldUp(&world);
        let begin = |which: usize| Some(promotion(&world, &held, &batches[which], &proven[which]));
        let mut promotions: Vec<_> = (0..RUNS).map(begin).collect();
        let mut context = Context::from_waker(Waker::noop());
        for turn in turns {
            match turn {
                Turn::Goes(which) => {
                    let done = promotions[which].as_mut().map(|promotion| promotion.as_mut().poll(&mut context));
                    if let Some(Poll::Ready(outcome)) = done {
                        outcome.unwrap();
                        promotions[which] = None;
                    }
                }
                // One that has ended does not begin again: its delivery is on its way.
                Turn::Ends(which) if promotions[which].is_some() => promotions[which] = begin(which),
                Turn::Ends(_) => {}
                Turn::Forgotten => world.state.forget_table_versions(),
            }
        }
        for promotion in promotions.into_iter().flatten() {
            now(promotion).unwrap();
        }
        let newest = (0..RUNS).max_by_key(|n| days[*n]).unwrap();
        let (mut mirrored, mut expected) = (now(world.files(&latest())), now(world.files(&proven[newest].source)));
        mirrored.sort();
        expected.sort();
        prop_assert_eq!(mirrored, expected);
    }
}
