//! Batches: one commit, each run once, and a run that fails fails alone.

use delivery::failure::RetryClass;
use delivery::outcome::begin_rollout;
use delivery::ports::{DeliveryStore as _, RolloutStore as _, TableStore as _};
use delivery::stage::{BEGIN_SECONDS_MAX, take_staged};
use delivery::state::Ended;
use testkit::sharing::ManualClock;

use super::*;

fn runs(ids: &[&str]) -> Vec<Run> {
    ids.iter().zip(1..).map(|(id, n)| a_run(id, n * 10)).collect()
}

fn file_names(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| format!("{id}-00000.parquet")).collect()
}

impl World {
    async fn in_state(state: ConnectorState, runs: &[Run]) -> Self {
        let world = Self::with(runs).await;
        world.state.put_connector(&Connector { state, ..connector(CONNECTOR, "t") }).await.unwrap();
        world
    }

    async fn batch(&self, runs: &[Run]) -> Result<usize, StepError> {
        self.deliver_batch(runs, &self.lake).await
    }

    /// The files of a table, in the order of their names.
    async fn sorted_files(&self, table: &TableName) -> Vec<String> {
        let mut files = self.files(table).await;
        files.sort();
        files
    }

    fn failure_of(&self, run: &Run) -> Option<FailureCode> {
        match self.state.record(&delivery_key(&connector_id(CONNECTOR), &run.key))?.ended? {
            Ended::Failed(failure) => Some(failure.code),
            Ended::Shared(_) => None,
        }
    }

    fn waiting_rows(&self) -> usize {
        self.state.waiting_rows(&connector_id(CONNECTOR), MetadataTable::WorkflowRuns)
    }
}

#[tokio::test]
async fn a_batch_is_one_commit_and_costs_hardly_more_calls_than_one_run() {
    let ids: Vec<String> = (0..100).map(|n| format!("r{n:02}")).collect();
    let all = runs(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let world = World::with(&all).await;
    let before = world.state.faults.calls().len();
    assert_eq!(world.batch(&all).await.unwrap(), 100);
    let calls = &world.state.faults.calls()[before..];
    let not_reads_of_runs = calls.iter().filter(|call| **call != "read the run's record").count();
    assert!(not_reads_of_runs < 25, "the state table is asked for the batch, not for each run: {calls:?}");
    assert_eq!((world.commits(&version(1)), world.commits(&latest())), (1, 1));
    assert_eq!(world.files(&version(1)).await.len(), 100);
    assert_eq!(world.waiting_rows(), 100, "each run has its row");
    assert_eq!(world.state.wakes().len(), 1, "and the writer is woken once");
    for run in &all {
        assert_eq!(world.state_of(run), DeliveryState::Shared);
    }
}

#[tokio::test]
async fn a_batch_that_fails_at_any_call_and_is_started_again_holds_each_row_once() {
    let all = runs(&["r1", "r2", "r3", "r4"]);
    let deliver_first = async |world: &World| {
        world.deliver(&all[0]).await.unwrap();
    };
    let smooth = World::with(&all).await;
    deliver_first(&smooth).await;
    let (state_before, lake_before) = (smooth.state.faults.calls().len(), smooth.lake.faults.calls().len());
    smooth.batch(&all).await.unwrap();
    let state_calls = smooth.state.faults.calls().len() - state_before;
    let lake_calls = smooth.lake.faults.calls().len() - lake_before;
    assert!(state_calls > 8 && lake_calls > 15, "{state_calls} {lake_calls}");

    for (of_state, number) in (0..state_calls).map(|n| (true, n)).chain((0..lake_calls).map(|n| (false, n))) {
        for strikes in [Strikes::Before, Strikes::After] {
            for neighbour in [false, true] {
                let world = World::with(&all).await;
                deliver_first(&world).await;
                let faults = if of_state { &world.state.faults } else { &world.lake.faults };
                faults.fail_call(faults.calls().len() + number, PortErrorKind::Unavailable, strikes);
                let said = format!("call {number} of {} {strikes:?}", if of_state { "state" } else { "lake" });
                match world.batch(&all).await {
                    // Staging tries a run again; later steps leave it behind, and say so.
                    Ok(_) => {
                        let seen = |run: &&Run| {
                            world.failure_of(run).is_some() || world.state_of(run) == DeliveryState::Shared
                        };
                        assert_eq!(all.iter().filter(seen).count(), all.len(), "{said}: no run is lost from sight");
                    }
                    Err(error) => assert_eq!(error.code.class(), RetryClass::Transient, "{said}: {error}"),
                }
                faults.heal();
                if neighbour {
                    world.deliver(&all[2]).await.unwrap();
                }
                assert_eq!(world.batch(&all).await.unwrap(), all.len(), "{said}");
                for table in [version(1), latest()] {
                    let files = world.sorted_files(&table).await;
                    assert_eq!(files, file_names(&["r1", "r2", "r3", "r4"]), "{said} {table}");
                }
                assert_eq!(world.waiting_rows(), 4, "{said}: one row a run");
                for run in &all {
                    assert_eq!(world.state_of(run), DeliveryState::Shared, "{said}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_run_that_will_never_pass_fails_alone_with_its_code() {
    let all = runs(&["good", "unrecorded", "private", "unknown", "stranger", "also-good"]);
    let world = World::new().await;
    for (n, run) in all.iter().enumerate() {
        let mut run = run.clone();
        match n {
            1 => continue,
            2 => run.fields.iter_mut().for_each(|field| field.marking = delivery::schema::Marking::Private),
            3 => run.output.format = "xml".to_owned(),
            4 => run.fields = vec![field("other", "NUMBER")],
            _ => {}
        }
        world.record(&run).await;
    }
    assert_eq!(world.batch(&all).await.unwrap(), 2);
    let codes: Vec<_> = all.iter().map(|run| world.failure_of(run)).collect();
    let expected = [
        None,
        Some(FailureCode::RunNotRecorded),
        Some(FailureCode::NoPublicFields),
        Some(FailureCode::OutputFormatUnsupported),
        Some(FailureCode::SchemaNotOfBatch),
        None,
    ];
    assert_eq!(codes, expected);
    assert_eq!(world.sorted_files(&version(1)).await, file_names(&["also-good", "good"]));
}

#[tokio::test]
async fn a_batch_whose_every_run_fails_keeps_each_ones_code() {
    let all = runs(&["r1", "r2"]);
    let world = World::new().await;
    let unknown = |run: &Run| Run {
        output: delivery::run::Output { format: "xml".to_owned(), ..run.output.clone() },
        ..run.clone()
    };
    world.record(&unknown(&all[1])).await;
    let error = world.batch(&all).await.unwrap_err();
    assert_eq!(error.code, FailureCode::RunNotRecorded, "the step fails with the first");
    let deliveries: Vec<_> = all.iter().map(|run| delivery_key(&connector_id(CONNECTOR), &run.key)).collect();
    let caught = Failure::of(&error);
    record_failed(world.recording(), &deliveries, Origin::Backfill, Step::Staging, Some(caught)).await.unwrap();
    let codes: Vec<_> = all.iter().map(|run| world.failure_of(run).unwrap()).collect();
    assert_eq!(
        codes,
        [FailureCode::RunNotRecorded, FailureCode::OutputFormatUnsupported],
        "what was caught takes no place"
    );
    world.state.enter(&deliveries, Step::Staging, instant(1)).await.unwrap();
    record_failed(world.recording(), &deliveries, Origin::Backfill, Step::Staging, None).await.unwrap();
    assert_eq!(
        world.failure_of(&all[1]),
        Some(FailureCode::StagingInterrupted),
        "a step that began again may fail anew"
    );
}

#[tokio::test]
async fn a_staged_file_that_is_gone_fails_its_run_alone() {
    let all = runs(&["r1", "r2", "r3"]);
    let world = World::with(&all).await;
    let staged = world.stage_runs(&all).await.unwrap();
    world.lake.remove_staged(&delivery::staged::staged_file_key(&all[1].key, 0));
    let published = world.publish_batch(&batch_of(&staged), &staged[0].fingerprint, &world.lake).await.unwrap();
    let loaded: Vec<_> = published.runs.iter().map(|(run, at)| (run.as_str(), *at)).collect();
    assert_eq!(loaded, [("r1", 0), ("r3", 0)]);
    assert_eq!(published.failed.len(), 1);
    assert_eq!(world.failure_of(&all[1]), Some(FailureCode::LoadStagingExpired));
    assert_eq!(world.sorted_files(&version(1)).await, file_names(&["r1", "r3"]));
}

#[tokio::test]
async fn runs_with_rejected_rows_fail_alone_in_a_batch() {
    let all = runs(&["r1", "r2"]);
    let world = World::with(&all).await;
    let staged = world.stage_runs(&all).await.unwrap();
    let rejecting = Rejecting { lake: &world.lake, only: Some("r2") };
    let ports = Publishing {
        deliveries: &world.state,
        manifests: &rejecting,
        tables: &world.state,
        log: &world.lake,
        clock: &Noon,
    };
    let published = publish(ports, &batch_of(&staged), &staged[0].fingerprint, Origin::Backfill).await.unwrap();
    assert_eq!((published.runs.len(), published.failed.len()), (1, 1));
    assert_eq!(world.failure_of(&all[1]), Some(FailureCode::TextInvalid));
    assert_eq!(world.failure_of(&all[0]), None);
}

#[tokio::test]
async fn a_connector_takes_what_its_state_and_the_origin_allow() {
    use ConnectorState::{Active, Backfilling, Disabled, Provisioning, Ready, Revoked};
    use Origin::{Backfill, Live};
    for (state, origin, expected) in [
        (Provisioning, Live, Some(FailureCode::ConnectorNotReady)),
        (Provisioning, Backfill, Some(FailureCode::ConnectorNotReady)),
        (Ready, Live, None),
        (Backfilling, Live, None),
        (Backfilling, Backfill, None),
        (Active, Live, None),
        (Active, Backfill, None),
        (Disabled, Live, None),
        (Disabled, Backfill, Some(FailureCode::ConnectorDisabled)),
        (Revoked, Live, Some(FailureCode::ConnectorRevoked)),
        (Revoked, Backfill, Some(FailureCode::ConnectorRevoked)),
    ] {
        let all = runs(&["r1", "r2"]);
        let world = World::in_state(state, &all).await;
        let staged = world.stage_runs(&all).await.unwrap();
        let ports = Publishing {
            deliveries: &world.state,
            manifests: &world.lake,
            tables: &world.state,
            log: &world.lake,
            clock: &Noon,
        };
        let published = publish(ports, &batch_of(&staged), &staged[0].fingerprint, origin).await;
        assert_eq!(published.as_ref().err().map(|error| error.code), expected, "{state:?} {origin:?}");
        assert_eq!(world.lake.writes_offered(), usize::from(expected.is_none()), "{state:?} {origin:?}");
        if let Ok(published) = published {
            assert_eq!(published.connector.state, state);
        }
    }
}

/// A stager that takes its time.
struct Slow<'a> {
    lake: &'a InMemoryLake,
    clock: &'a ManualClock,
    seconds: i64,
}

#[async_trait]
impl RunStager for Slow<'_> {
    async fn stage(&self, run: &Run, schema: &PublicSchema) -> Result<delivery::staged::StagedRun, StepError> {
        self.clock.advance(self.seconds);
        self.lake.stage(run, schema).await
    }
}

#[tokio::test]
async fn staging_that_runs_out_of_time_goes_on_in_the_next_invocation() {
    for (seconds, expected) in
        [(BEGIN_SECONDS_MAX * 2, vec![4, 3, 2, 1, 0]), (BEGIN_SECONDS_MAX / 2, vec![3, 1, 0]), (1, vec![0])]
    {
        let all = runs(&["r1", "r2", "r3", "r4", "r5"]);
        let world = World::with(&all).await;
        let clock = ManualClock::at_seconds(0);
        let slow = Slow { lake: &world.lake, clock: &clock, seconds };
        let ports = Staging { stager: &slow, clock: &clock, ..world.staging() };
        let connectors = [connector_id(CONNECTOR)];
        let mut waiting: Vec<_> = all.iter().map(|run| run.key.clone()).collect();
        let mut fingerprint = None;
        let (mut left, mut staged) = (Vec::new(), Vec::new());
        while !waiting.is_empty() {
            let after = if left.is_empty() { After::Nothing } else { After::Others(fingerprint.as_ref()) };
            let wanted = ToStage { runs: &waiting, connectors: &connectors, origin: Origin::Backfill, after };
            let outcome = stage(ports, wanted).await.unwrap();
            assert!(outcome.waiting.len() < waiting.len(), "every invocation gets on");
            fingerprint = outcome.staged.first().map(|run| run.fingerprint.clone());
            staged.extend(outcome.staged.into_iter().map(|run| run.run));
            waiting = outcome.waiting;
            left.push(waiting.len());
        }
        assert_eq!(left, expected, "{seconds} seconds a run");
        assert_eq!(staged, all.iter().map(|run| run.key.run.clone()).collect::<Vec<_>>());
        let record = world.state.record(&delivery_key(&connectors[0], &all[4].key)).unwrap();
        assert_eq!(record.attempts, 1, "an execution is one attempt");
    }
}

#[tokio::test]
async fn runs_that_were_staged_before_the_function_ended_go_on_without_the_others() {
    let all = runs(&["r1", "r2", "r3", "r4"]);
    let connectors = [connector_id(CONNECTOR)];
    let keys: Vec<_> = all.iter().map(|run| run.key.clone()).collect();
    let wanted = |after| ToStage { runs: &keys, connectors: &connectors, origin: Origin::Backfill, after };
    let world = World::with(&all).await;
    world.state.begin(&wanted(After::Nothing).deliveries(), Origin::Backfill, instant(1)).await.unwrap();
    let none = take_staged(world.staging(), wanted(After::Nothing)).await.unwrap();
    assert_eq!((none.staged.len(), none.failed.len(), none.waiting.len()), (0, 0, 0));
    assert!(all.iter().all(|run| world.failure_of(run).is_none()), "the batch fails whole, elsewhere");

    // The third ended the function.
    let staged = world.stage_runs(&all[..2]).await.unwrap();
    for _ in 0..2 {
        let taken = take_staged(world.staging(), wanted(After::Nothing)).await.unwrap();
        assert_eq!(taken.staged.iter().map(|run| &run.run).collect::<Vec<_>>(), [&keys[0].run, &keys[1].run]);
        assert_eq!(taken.failed.iter().map(|failed| &failed.run).collect::<Vec<_>>(), [&keys[2], &keys[3]]);
        assert_eq!(taken.waiting, [], "nothing is tried again");
    }
    let interrupted = Some(FailureCode::StagingInterrupted);
    assert_eq!(all.iter().map(|run| world.failure_of(run)).collect::<Vec<_>>(), [None, None, interrupted, interrupted]);
    world.publish_batch(&batch_of(&staged), &staged[0].fingerprint, &world.lake).await.unwrap();
    assert_eq!(world.sorted_files(&version(1)).await, file_names(&["r1", "r2"]));

    // Behind invocations that staged others, the runs that are left fail even if none of them is staged.
    let after = After::Others(Some(&staged[0].fingerprint));
    let taken = take_staged(world.staging(), ToStage { runs: &keys[3..], ..wanted(after) }).await.unwrap();
    assert_eq!((taken.staged.len(), taken.failed.len()), (0, 1));
}

#[tokio::test]
async fn the_first_live_delivery_of_a_ready_connector_begins_its_rollout_once() {
    let all = runs(&["r1"]);
    let world = World::with(&all).await;
    let acme = connector_id(CONNECTOR);
    let delivery = [delivery_key(&acme, &all[0].key)];
    record_failed(world.recording(), &delivery, Origin::Backfill, Step::Loading, None).await.unwrap();
    assert_eq!(world.state.live_failure(&acme).await.unwrap(), None, "history is not what the rollout waits for");
    record_failed(world.recording(), &delivery, Origin::Live, Step::Loading, None).await.unwrap();
    let noted = world.state.live_failure(&acme).await.unwrap().unwrap();
    assert_eq!((noted.code, &noted.delivery), (FailureCode::LoadInterrupted, &delivery[0]));
    for _ in 0..2 {
        begin_rollout(world.recording(), &acme, 3).await.unwrap();
    }
    assert_eq!(world.state.rollouts(), [(acme.clone(), 3)]);
    assert_eq!(world.state.live_failure(&acme).await.unwrap(), None, "what it waited for is forgotten");
}

#[tokio::test]
async fn a_batch_finds_what_attempts_of_before_committed_wherever_they_aimed() {
    let all = runs(&["r1", "r2", "r3", "r4", "r5"]);
    let world = World::with(&all).await;
    let acme = connector_id(CONNECTOR);
    world.deliver(&all[0]).await.unwrap();
    // The second ended behind its commit; the third ended behind its aim, before the fourth went in.
    let staged = world.stage_runs(&all[1..]).await.unwrap();
    world.publish_batch(&batch_of(&staged[..1]), &staged[0].fingerprint, &world.lake).await.unwrap();
    world.state.forget_load(&delivery_key(&acme, &all[1].key));
    world.state.aim(&[delivery_key(&acme, &all[2].key)], 1, instant(0)).await.unwrap();
    world.deliver(&all[3]).await.unwrap();
    for cleaned_up in [false, true] {
        if cleaned_up {
            world.state.forget_load(&delivery_key(&acme, &all[4].key));
            world.lake.clean_up(&acme, &version(1), 3);
        }
        let published = world.publish_batch(&batch_of(&staged), &staged[0].fingerprint, &world.lake).await.unwrap();
        let loaded: Vec<_> = published.runs.iter().map(|(run, at)| (run.as_str(), *at)).collect();
        assert_eq!(loaded, [("r2", 1), ("r3", 3), ("r4", 2), ("r5", 3)], "cleaned up: {cleaned_up}");
        assert_eq!(world.sorted_files(&version(1)).await, file_names(&["r1", "r2", "r3", "r4", "r5"]));
        assert_eq!(world.commits(&version(1)), 4);
    }
}
