//! The steps over in-memory ports: a whole delivery, with every failure of every port call.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests end at the first surprise")]

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use delivery::batch::{Batch, FailedRun, Origin};
use delivery::connector::{Connector, ConnectorState, Scope};
use delivery::failure::{FailureCode, StepError};
use delivery::ids::{ConnectorId, DeliveryKey};
use delivery::metadata::{DeliveredRun, MetadataTable};
use delivery::outcome::{Recording, record_failed, record_shared};
use delivery::ports::{
    Clock, Commit, DataFile, LoggedCommit, ManifestStore, PortError, PortErrorKind, RunConnectors, RunStager, RunStore,
    SharingBackend, TableContents, TableLog, WriteOutcome,
};
use delivery::promote::{Promoting, Proven, promote};
use delivery::prove::{Expected, ExpectedRun, Proving, prove, schema_digest};
use delivery::publish::{Published, Publishing, publish};
use delivery::run::Run;
use delivery::schema::{Field, Fingerprint, PublicSchema};
use delivery::share::{Sharing, share};
use delivery::stage::{After, Staging, ToStage, stage};
use delivery::staged::{RejectedRows, Rejection, StagedFile, StagedSummary};
use delivery::state::{DeliveryState, Failure, Step};
use delivery::table::{TableName, WorkflowLabel};
use delivery::timestamp::Timestamp;
use testkit::builders::{
    PutConnector as _, connector, connector_id, delivery_key, field, instant, run, run_key, workflow_id,
};
use testkit::faults::Strikes;
use testkit::lake::{InMemoryLake, InMemoryShareReader, table_log_contract};
use testkit::state::InMemoryState;

#[path = "steps/accept.rs"]
mod accept;
#[path = "steps/batch.rs"]
mod batch;
#[path = "steps/interleaving.rs"]
mod interleaving;
#[path = "steps/mirror.rs"]
mod mirror;

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

impl World {
    async fn new() -> Self {
        let world = Self::default();
        world.set_up(connector(CONNECTOR, "t")).await;
        world
    }

    async fn with(runs: &[Run]) -> Self {
        let world = Self::new().await;
        for run in runs {
            world.record(run).await;
        }
        world
    }

    async fn set_up(&self, connector: Connector) {
        let _ = self.state.provision(&connector).await.unwrap();
        self.state.put_connector(&connector).await.unwrap();
    }

    async fn record(&self, run: &Run) {
        let _ =
            self.state.record_run(run, &RunConnectors::taking(&[connector_id(CONNECTOR)]), instant(0)).await.unwrap();
    }

    /// The steps of `DeliverRun` for one connector, in the state machine's order.
    async fn deliver(&self, run: &Run) -> Result<(), StepError> {
        self.deliver_through(run, &self.lake).await
    }

    async fn deliver_through(&self, run: &Run, log: &dyn TableLog) -> Result<(), StepError> {
        let delivered = self.deliver_batch(std::slice::from_ref(run), log).await?;
        assert_eq!(delivered, 1, "a run alone is delivered, or its step fails");
        Ok(())
    }

    /// The same for a batch; how many of its runs are delivered.
    async fn deliver_batch(&self, runs: &[Run], log: &dyn TableLog) -> Result<usize, StepError> {
        let staged = self.stage_runs(runs).await?;
        let Some(first) = staged.first() else { panic!("a step without runs fails") };
        let batch = batch_of(&staged);
        let published = self.publish_batch(&batch, &first.fingerprint, log).await?;
        let table = &published.table;
        let loaded: BTreeMap<_, _> = published.runs.iter().cloned().collect();
        let through = |failed: &[FailedRun]| {
            let through = staged.iter().filter(|staged| loaded.contains_key(&staged.run));
            through
                .filter(|staged| failed.iter().all(|failed| failed.run.run != staged.run))
                .cloned()
                .collect::<Vec<_>>()
        };
        let loaded_batch = batch_of(&through(&[]));
        let sharing = Sharing { deliveries: &self.state, tables: &self.state, backend: &self.state };
        share(sharing, &loaded_batch, &table.name, &table.fingerprint, table.shared, Noon.now()).await?;
        let reader = InMemoryShareReader { lake: &self.lake, state: &self.state };
        let proving = Proving { deliveries: &self.state, reader: &reader, clock: &Noon };
        let expected_run = |staged: &StagedSummary| ExpectedRun {
            run: staged.run.clone(),
            table_version: loaded[&staged.run],
            rows: staged.rows,
        };
        let expected = Expected {
            table: table.name.clone(),
            schema_digest: schema_digest(std::slice::from_ref(&published.schema_string)),
            runs: through(&[]).iter().map(expected_run).collect(),
        };
        let unproven = prove(proving, &loaded_batch, &expected).await?;
        let proven_runs = through(&unproven);
        let proven_batch = batch_of(&proven_runs);
        let promoting =
            Promoting { deliveries: &self.state, tables: &self.state, log, backend: &self.state, clock: &Noon };
        let proven = Proven {
            source: table.name.clone(),
            source_version: proven_runs.iter().map(|staged| loaded[&staged.run]).max().unwrap(),
            finished_at: proven_runs.iter().map(|staged| staged.finished_at).max().unwrap(),
        };
        promote(promoting, &proven_batch, &table.label, &proven).await?;
        let delivered = proven_runs.iter().map(|staged| {
            let delivered = DeliveredRun {
                workflow_name: staged.workflow_name.clone(),
                fingerprint: table.fingerprint.clone(),
                schema_version: table.schema_version,
                label: table.label.clone(),
                table: table.name.clone(),
                table_version: loaded[&staged.run],
                rows: staged.rows,
                rejected_rows: 0,
                bytes: staged.bytes,
                finished_at: staged.finished_at,
            };
            (staged.run.clone(), delivered)
        });
        record_shared(self.recording(), &proven_batch, delivered.collect()).await?;
        Ok(proven_runs.len())
    }

    async fn stage_runs(&self, runs: &[Run]) -> Result<Vec<StagedSummary>, StepError> {
        let keys: Vec<_> = runs.iter().map(|run| run.key.clone()).collect();
        let connectors = [connector_id(CONNECTOR)];
        let wanted = ToStage { runs: &keys, connectors: &connectors, origin: Origin::Backfill, after: After::Nothing };
        let outcome = stage(self.staging(), wanted).await?;
        assert_eq!(outcome.waiting, [], "at noon no time passes");
        Ok(outcome.staged)
    }

    fn staging(&self) -> Staging<'_> {
        Staging { runs: &self.state, deliveries: &self.state, manifests: &self.lake, stager: &self.lake, clock: &Noon }
    }

    fn recording(&self) -> Recording<'_> {
        Recording {
            deliveries: &self.state,
            waker: &self.state,
            rollouts: &self.state,
            starter: &self.state,
            clock: &Noon,
        }
    }

    async fn publish_batch(
        &self,
        batch: &Batch,
        fingerprint: &Fingerprint,
        log: &dyn TableLog,
    ) -> Result<Published, StepError> {
        let publishing =
            Publishing { deliveries: &self.state, manifests: &self.lake, tables: &self.state, log, clock: &Noon };
        publish(publishing, batch, fingerprint, Origin::Live).await
    }

    async fn publish_through(
        &self,
        delivery: &DeliveryKey,
        schema: &PublicSchema,
        log: &dyn TableLog,
    ) -> Result<Published, StepError> {
        self.publish_batch(&Batch::of(delivery), &schema.fingerprint(), log).await
    }

    async fn files(&self, table: &TableName) -> Vec<String> {
        let connector = connector_id(CONNECTOR);
        let newest = self.lake.newest_version(&connector, table).await.unwrap().unwrap();
        let contents = self.lake.contents(&connector, table, newest).await.unwrap();
        contents.files.into_iter().map(|file| file.name).collect()
    }

    fn commits(&self, table: &TableName) -> usize {
        self.lake.commit_count(&connector_id(CONNECTOR), table)
    }

    fn state_of(&self, run: &Run) -> DeliveryState {
        self.state.record(&delivery_key(&connector_id(CONNECTOR), &run.key)).unwrap().delivery.state
    }
}

fn batch_of(staged: &[StagedSummary]) -> Batch {
    let mut batch = Batch::of(&delivery_key(&connector_id(CONNECTOR), &run_key("t", "w", "r")));
    batch.runs = staged.iter().map(|staged| staged.run.clone()).collect();
    batch
}

fn a_run(id: &str, finished_seconds: i64) -> Run {
    Run { finished_at: instant(finished_seconds), ..run(run_key("t", "w", id)) }
}

fn with_fields(run: Run, fields: Vec<Field>) -> Run {
    Run { fields, ..run }
}

fn version(n: u32) -> TableName {
    TableName::version(&label(), delivery::table::SchemaVersion(n))
}

fn latest() -> TableName {
    TableName::latest(&label())
}

fn label() -> WorkflowLabel {
    WorkflowLabel::preferred(&workflow_id("w"))
}

#[tokio::test]
async fn a_run_goes_all_the_way() {
    let world = World::new().await;
    let run = a_run("r", 10);
    world.record(&run).await;
    world.deliver(&run).await.unwrap();
    assert_eq!(world.state_of(&run), DeliveryState::Shared);
    assert_eq!(world.files(&version(1)).await, ["r-00000.parquet"]);
    assert_eq!(world.files(&latest()).await, ["r-00000.parquet"]);
    let shared = world.state.shared_tables(&connector_id(CONNECTOR));
    assert_eq!(shared, [latest(), version(1)]);
}

/// Every call of every port fails once, before or after its effect; the delivery is started again, and the tables
/// come out as if nothing had happened.
#[tokio::test]
async fn a_delivery_that_fails_at_any_call_and_is_started_again_holds_each_row_once() {
    let smooth = World::new().await;
    let (first, second) = (a_run("r1", 10), a_run("r2", 20));
    for run in [&first, &second] {
        smooth.record(run).await;
    }
    smooth.deliver(&first).await.unwrap();
    let (state_before, lake_before) = (smooth.state.faults.calls().len(), smooth.lake.faults.calls().len());
    smooth.deliver(&second).await.unwrap();
    let state_calls = smooth.state.faults.calls().len() - state_before;
    let lake_calls = smooth.lake.faults.calls().len() - lake_before;
    assert!(state_calls > 8 && lake_calls > 8, "{state_calls} {lake_calls}");

    for (of_state, number) in (0..state_calls).map(|n| (true, n)).chain((0..lake_calls).map(|n| (false, n))) {
        for strikes in [Strikes::Before, Strikes::After] {
            for neighbour in [false, true] {
                let world = World::new().await;
                let third = a_run("r3", 15);
                for run in [&first, &second, &third] {
                    world.record(run).await;
                }
                world.deliver(&first).await.unwrap();
                let faults = if of_state { &world.state.faults } else { &world.lake.faults };
                faults.fail_call(faults.calls().len() + number, PortErrorKind::Unavailable, strikes);
                let failed = world.deliver(&second).await;
                let said = format!("call {number} of {} {strikes:?}", if of_state { "state" } else { "lake" });
                let error = failed.expect_err(&said);
                assert_eq!(error.code.class(), delivery::failure::RetryClass::Transient, "{said}: {error}");
                if neighbour {
                    world.deliver(&third).await.unwrap();
                }
                world.deliver(&second).await.unwrap();
                world.deliver(&third).await.unwrap();

                for table in [version(1), latest()] {
                    let mut files = world.files(&table).await;
                    files.sort();
                    assert_eq!(files, ["r1-00000.parquet", "r2-00000.parquet", "r3-00000.parquet"], "{said} {table}");
                }
                assert_eq!(world.commits(&version(1)), 3, "{said}: one commit a run");
                let waiting = world.state.waiting_rows(&connector_id(CONNECTOR), MetadataTable::WorkflowRuns);
                assert_eq!(waiting, 3, "{said}: one row a run");
                assert!(world.commits(&latest()) <= 3, "{said}");
                for run in [&first, &second, &third] {
                    assert_eq!(world.state_of(run), DeliveryState::Shared, "{said}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_state_table_that_forgot_its_versions_costs_reads_and_nothing_else() {
    let world = World::new().await;
    for (id, at) in [("r1", 10), ("r2", 20), ("r3", 30)] {
        let run = a_run(id, at);
        world.record(&run).await;
        world.deliver(&run).await.unwrap();
    }
    world.state.forget_table_versions();
    let late = a_run("r4", 40);
    world.record(&late).await;
    world.deliver(&late).await.unwrap();
    assert_eq!(world.files(&version(1)).await.len(), 4);
    assert_eq!(world.commits(&version(1)), 4);
    assert_eq!(world.files(&latest()).await.len(), 4);
}

/// Lets neighbours commit just before our own write, a number of times.
struct Busy<'a> {
    lake: &'a InMemoryLake,
    neighbours: Mutex<u32>,
}

#[async_trait]
impl TableLog for Busy<'_> {
    async fn write(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        table_version: u64,
        commit: &Commit,
    ) -> Result<WriteOutcome, PortError> {
        let meddles = {
            let mut left = self.neighbours.lock().unwrap();
            let meddles = *left > 0 && *table == version(1);
            *left -= u32::from(meddles);
            meddles
        };
        if meddles {
            let neighbour = Commit {
                schema_string: commit.schema_string.clone(),
                adds: vec![DataFile {
                    name: format!("neighbour-{table_version}"),
                    size_bytes: 10,
                    statistics: "1 neighbour".to_owned(),
                }],
                transactions: vec![(format!("run/neighbour-{table_version}"), 5_000)],
                ..commit.clone()
            };
            let staged = StagedFile {
                key: format!("n-{table_version}"),
                size_bytes: 10,
                rows: 1,
                statistics: "1 neighbour".to_owned(),
            };
            self.lake.put_staged(&staged.key);
            self.lake.copy_staged(&staged, connector, table, &format!("neighbour-{table_version}")).await?;
            let _ = self.lake.write(connector, table, table_version, &neighbour).await?;
        }
        self.lake.write(connector, table, table_version, commit).await
    }

    async fn read(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        table_version: u64,
    ) -> Result<Option<LoggedCommit>, PortError> {
        self.lake.read(connector, table, table_version).await
    }

    async fn newest_version(&self, connector: &ConnectorId, table: &TableName) -> Result<Option<u64>, PortError> {
        self.lake.newest_version(connector, table).await
    }

    async fn transaction(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        application_id: &str,
    ) -> Result<Option<i64>, PortError> {
        self.lake.transaction(connector, table, application_id).await
    }

    fn schema_string(&self, schema: &PublicSchema) -> String {
        self.lake.schema_string(schema)
    }

    async fn contents(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        table_version: u64,
    ) -> Result<TableContents, PortError> {
        self.lake.contents(connector, table, table_version).await
    }

    async fn copy_staged(
        &self,
        file: &StagedFile,
        connector: &ConnectorId,
        table: &TableName,
        name: &str,
    ) -> Result<(), PortError> {
        self.lake.copy_staged(file, connector, table, name).await
    }

    async fn copy_between(
        &self,
        connector: &ConnectorId,
        from: &TableName,
        to: &TableName,
        files: &[DataFile],
    ) -> Result<(), PortError> {
        self.lake.copy_between(connector, from, to, files).await
    }
}

#[tokio::test]
async fn neighbours_that_are_first_move_a_commit_on() {
    for neighbours in [1, 7, 40] {
        let world = World::new().await;
        let run = a_run("r", 10);
        world.record(&run).await;
        let busy = Busy { lake: &world.lake, neighbours: Mutex::new(neighbours) };
        world.deliver_through(&run, &busy).await.unwrap();
        let files = world.files(&version(1)).await;
        assert_eq!(files.len(), neighbours as usize + 1);
        assert_eq!(files.iter().filter(|name| name.starts_with("r-")).count(), 1);
        assert_eq!(world.files(&latest()).await.len(), files.len(), "LATEST ships the neighbours' commits too");
    }
}

#[tokio::test]
async fn neighbours_without_end_are_a_conflict_and_not_a_loop() {
    let world = World::new().await;
    let run = a_run("r", 10);
    world.record(&run).await;
    let busy = Busy { lake: &world.lake, neighbours: Mutex::new(u32::MAX) };
    let error = world.deliver_through(&run, &busy).await.unwrap_err();
    assert_eq!(error.code, FailureCode::LoadConflict);
    let calm = Busy { lake: &world.lake, neighbours: Mutex::new(0) };
    world.deliver_through(&run, &calm).await.unwrap();
    assert_eq!(world.files(&version(1)).await.iter().filter(|name| name.starts_with("r-")).count(), 1);
}

#[tokio::test]
async fn latest_follows_the_newest_finished_run() {
    let world = World::new().await;
    let old_schema = |id, at| a_run(id, at);
    let new_schema = |id, at| with_fields(a_run(id, at), vec![field("other", "NUMBER")]);
    let runs = [
        (old_schema("r1", 10), vec!["r1"]),
        (new_schema("r2", 30), vec!["r2"]),
        // An old run of the old schema, late: LATEST stays.
        (old_schema("r3", 20), vec!["r2"]),
        // An old run of the newest schema, late: the version table only appends, and LATEST mirrors it.
        (new_schema("r4", 25), vec!["r2", "r4"]),
        // The earlier schema returns with a newer run: LATEST holds all rows of that schema.
        (old_schema("r5", 40), vec!["r1", "r3", "r5"]),
        (old_schema("r6", 50), vec!["r1", "r3", "r5", "r6"]),
    ];
    for (run, expected) in &runs {
        world.record(run).await;
        world.deliver(run).await.unwrap();
        let expected: Vec<_> = expected.iter().map(|id| format!("{id}-00000.parquet")).collect();
        assert_eq!(world.files(&latest()).await, expected, "after {}", run.key.run);
    }
    assert_eq!(world.commits(&latest()), 5, "each switch and each shipment is one commit");
    assert_eq!(world.files(&version(2)).await.len(), 2);
}

#[tokio::test]
async fn the_backend_hears_of_every_switch_of_latest_and_of_no_other_commit() {
    let refreshed =
        |world: &World| world.state.faults.calls().iter().filter(|call| **call == "refresh a table").count();
    let switching = |id, at| with_fields(a_run(id, at), vec![field("other", "NUMBER")]);
    let world = World::new().await;
    for (run, expected) in [
        (a_run("r1", 10), 1),
        (a_run("r2", 20), 1),
        (switching("r3", 30), 2),
        (switching("r4", 40), 2),
        (a_run("r5", 50), 3),
    ] {
        world.record(&run).await;
        world.deliver(&run).await.unwrap();
        assert_eq!(refreshed(&world), expected, "after {}", run.key.run);
    }
    // A refresh that failed is made good by the next attempt, though the switch itself is in the log.
    let (calm, struck) = (World::new().await, World::new().await);
    let (first, last) = (a_run("r1", 10), switching("r2", 20));
    for world in [&calm, &struck] {
        world.record(&first).await;
        world.deliver(&first).await.unwrap();
        world.record(&last).await;
    }
    calm.deliver(&last).await.unwrap();
    let refresh = calm.state.faults.calls().iter().rposition(|call| *call == "refresh a table").unwrap();
    struck.state.faults.fail_call(refresh, PortErrorKind::Unavailable, Strikes::Before);
    struck.deliver(&last).await.unwrap_err();
    let before = refreshed(&struck);
    struck.deliver(&last).await.unwrap();
    assert_eq!(refreshed(&struck), before + 1);
}

#[tokio::test]
async fn a_connector_that_is_missing_or_not_ready_takes_nothing() {
    let world = World::new().await;
    let run = a_run("r", 10);
    world.record(&run).await;
    let staging = Connector { state: ConnectorState::Provisioning, ..connector(CONNECTOR, "t") };
    world.state.put_connector(&staging).await.unwrap();
    assert_eq!(world.deliver(&run).await.unwrap_err().code, FailureCode::ConnectorNotReady);
    let delivery = delivery_key(&connector_id("nobody"), &run.key);
    let schema = PublicSchema::of(&run.fields).unwrap();
    let error = world.publish_through(&delivery, &schema, &world.lake).await.unwrap_err();
    assert_eq!(error.code, FailureCode::ConnectorNotFound);
    assert_eq!(world.lake.writes_offered(), 0);
}

/// Staged runs with rejected rows: all, or only one of a name.
struct Rejecting<'a> {
    lake: &'a InMemoryLake,
    only: Option<&'a str>,
}

#[async_trait]
impl ManifestStore for Rejecting<'_> {
    async fn staged(&self, run: &delivery::ids::RunKey) -> Result<Option<delivery::staged::StagedRun>, PortError> {
        if self.only.is_some_and(|only| only != run.run.as_str()) {
            return self.lake.staged(run).await;
        }
        Ok(self.lake.staged(run).await?.map(|staged| delivery::staged::StagedRun {
            rejected: RejectedRows {
                rows: 1,
                first: Some(Rejection {
                    line: 3,
                    column: Some("title".to_owned()),
                    code: FailureCode::TextInvalid,
                    reason: "holds a NUL".to_owned(),
                }),
                key: Some("staging/rejects".to_owned()),
            },
            ..staged
        }))
    }
}

#[tokio::test]
async fn rejected_rows_fail_a_delivery_unless_the_connector_allows_their_fraction() {
    for (allowed, passes) in [(0.0, false), (0.24, false), (0.25, true), (1.0, true)] {
        let world = World::new().await;
        world.set_up(Connector { max_rejected_fraction: allowed, ..connector(CONNECTOR, "t") }).await;
        let run = a_run("r", 10);
        world.record(&run).await;
        let schema = PublicSchema::of(&run.fields).unwrap();
        world.lake.stage(&run, &schema).await.unwrap();
        let delivery = delivery_key(&connector_id(CONNECTOR), &run.key);
        let rejecting = Rejecting { lake: &world.lake, only: None };
        let ports = Publishing {
            deliveries: &world.state,
            manifests: &rejecting,
            tables: &world.state,
            log: &world.lake,
            clock: &Noon,
        };
        let published = publish(ports, &Batch::of(&delivery), &schema.fingerprint(), Origin::Live).await;
        if passes {
            published.unwrap();
        } else {
            let error = published.unwrap_err();
            assert_eq!(error.code, FailureCode::TextInvalid, "the first rejection gives the code");
            assert!(error.message.starts_with("1 of 4 rows were rejected, first line 3, column title"), "{error}");
            assert_eq!(world.lake.writes_offered(), 0);
        }
    }
}

#[tokio::test]
async fn a_step_without_an_answer_is_reported_by_its_own_code() {
    let world = World::new().await;
    let run = a_run("r", 10);
    world.record(&run).await;
    let deliveries = [delivery_key(&connector_id(CONNECTOR), &run.key)];
    for step in Step::ALL {
        let kept = record_failed(world.recording(), &deliveries, Origin::Live, step, None).await.unwrap();
        assert_eq!(kept.code, step.interrupted());
        assert_eq!(world.state_of(&run), DeliveryState::Failed);
    }
    let named = Failure { code: FailureCode::RowNotJson, message: "said".to_owned() };
    let kept =
        record_failed(world.recording(), &deliveries, Origin::Live, Step::Staging, Some(named.clone())).await.unwrap();
    assert_eq!(kept, named);
}

#[tokio::test]
async fn the_in_memory_lake_keeps_the_rules_of_a_table_log() {
    let lake = InMemoryLake::default();
    let staged =
        StagedFile { key: "staged".to_owned(), size_bytes: 10, rows: 1, statistics: "{\"numRecords\":1}".to_owned() };
    lake.put_staged(&staged.key);
    table_log_contract(&lake, &staged, "test").await;
}
