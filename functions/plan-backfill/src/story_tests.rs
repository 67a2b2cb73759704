use std::collections::{BTreeMap, BTreeSet};

use delivery::connector::{Connector, ConnectorState, Scope};
use delivery::failure::{FailureCode, RetryClass};
use delivery::ids::{DeliveryKey, RunKey};
use delivery::lifecycle::Action as Changes;
use delivery::metadata::MetadataTable;
use delivery::ports::{LiveFailure, Recorded, RunConnectors};
use delivery::run::{Announcement, Run};
use delivery::schema::Fingerprint;
use delivery::state::{Ended, Failure};
use delivery::table::{Membership, SchemaVersion, TableName, VersionTable, WorkflowLabel};
use delivery::timestamp::Timestamp;
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use serde_json::json;
use testkit::builders::{
    PutConnector as _, audit_entry, connector, connector_id, delivered_run, delivery_key, field, instant, run, run_key,
    workflow_id,
};
use testkit::faults::Strikes;
use testkit::sharing::ManualClock;
use testkit::state::InMemoryState;

use super::*;

#[path = "catch_up_tests.rs"]
mod catch_up;

/// A stack in memory; the test plays the state machine.
struct World {
    state: Arc<InMemoryState>,
    output: Arc<InMemory>,
    tables: Arc<InMemory>,
    clock: Arc<ManualClock>,
    function: PlanBackfill,
    /// What deliveries fail with.
    failing: BTreeMap<String, FailureCode>,
    /// How often each run was in a batch.
    tried: BTreeMap<String, u32>,
    executions: u32,
}

impl World {
    async fn with(connector: Connector) -> Self {
        let state = Arc::new(InMemoryState::default());
        state.put_connector(&connector).await.unwrap();
        let (output, tables) = (Arc::new(InMemory::new()), Arc::new(InMemory::new()));
        let clock = Arc::new(ManualClock::at_seconds(10_000));
        let function = PlanBackfill {
            connectors: state.clone(),
            rollouts: state.clone(),
            store: state.clone(),
            runs: state.clone(),
            tables: state.clone(),
            deliveries: state.clone(),
            outbox: state.clone(),
            waker: state.clone(),
            bucket: Arc::new(ObjectStoreHistory::new(output.clone())),
            pages: Arc::new(ObjectStorePages::new(tables.clone())),
            clock: clock.clone(),
        };
        let (failing, tried) = (BTreeMap::new(), BTreeMap::new());
        Self { state, output, tables, clock, function, failing, tried, executions: 0 }
    }

    async fn active() -> Self {
        Self::with(Connector { state: ConnectorState::Active, ..connector("acme", "t") }).await
    }

    async fn put(&self, key: &str, text: String) {
        self.output.put(&Path::from(key), text.into()).await.unwrap();
    }

    /// A run in the run-output bucket that finished in a minute of an hour.
    async fn lies(&self, workflow: &str, run: &str, minute: u32, column: &str) {
        let folder = format!("kadoa/t/{workflow}/2026-08-01T10-{minute:02}-00Z-{run}");
        self.put(&format!("{folder}/data.jsonl"), "{}\n".to_owned()).await;
        self.put(&format!("{folder}/run.json"), message("t", workflow, run, minute, column).to_string()).await;
    }

    /// A run that was announced, for these connectors.
    async fn announced(&self, workflow: &str, name: &str, connectors: &[&str]) -> Run {
        let recorded = run(run_key("t", workflow, name));
        let connectors: Vec<_> = connectors.iter().map(|id| connector_id(id)).collect();
        assert_eq!(
            self.state.record_run(&recorded, &RunConnectors::taking(&connectors), self.clock.now()).await.unwrap(),
            Recorded::New,
            "{name}"
        );
        recorded
    }

    async fn ended(&self, key: &DeliveryKey, ended: Ended) {
        self.state.end(&[(key.clone(), ended)], self.clock.now()).await.unwrap();
    }

    async fn change(&self, action: Changes, to: impl FnOnce(&Connector) -> Connector) {
        let known = self.connector().await;
        let after = to(&known);
        let entry = delivery::lifecycle::AuditEntry { at: self.clock.now(), ..audit_entry(action, 0) };
        let _ = self.state.change_connector(Some(&known), &after, &entry).await.unwrap();
    }

    async fn connector(&self) -> Connector {
        self.state.connector(&connector_id("acme")).await.unwrap().unwrap()
    }

    async fn actions(&self) -> Vec<Changes> {
        let audit = self.state.audit(&connector_id("acme"), 100).await.unwrap();
        audit.into_iter().map(|change| change.entry.action).skip(1).collect()
    }

    /// One task, tried again as the state machine does.
    async fn task(&self, action: &str, command: &Value, execution: &str, progress: &Value) -> Result<Value, StepError> {
        let mut attempts = 0;
        loop {
            let input = json!({"action": action, "command": command, "execution": execution, "progress": progress});
            match self.function.handle(serde_json::from_value(input).unwrap()).await {
                Ok(output) => return Ok(serde_json::to_value(output).unwrap()),
                Err(error) if attempts < 5 && error.code.class() == RetryClass::Transient => attempts += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// The state machine, until its end or until so many tasks are done: then it is stopped.
    async fn execute(&mut self, command: &Value, tasks_max: usize) -> Result<Option<Value>, StepError> {
        self.executions += 1;
        let execution = format!("arn:aws:states:eu-west-1:1:execution:backfill:e-{}", self.executions);
        let mut progress = Value::Null;
        for _ in 0..tasks_max {
            let next = progress["next"].as_str().unwrap_or("plan").to_owned();
            match next.as_str() {
                "plan" => progress = self.task("plan", command, &execution, &progress).await?,
                "deliver" => {
                    self.deliver(progress["batches"].as_str().unwrap()).await;
                    progress = self.task("settle", command, &execution, &progress).await?;
                }
                _ => return Ok(Some(self.task("finish", command, &execution, &progress).await?)),
            }
        }
        Ok(None)
    }

    async fn backfill(&mut self, more: Value) -> Result<Value, StepError> {
        let mut command = json!({"connectorId": "acme"});
        command.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Ok(self.execute(&command, 1_000).await?.expect("it ends"))
    }

    /// What the executions of a page's batches do.
    async fn deliver(&mut self, page: &str) {
        let page = self.tables.get(&Path::from(page)).await.unwrap().bytes().await.unwrap();
        for batch in events::backfill::read_batches(&page).unwrap() {
            assert!((1..=100).contains(&batch.runs.len()));
            for run in &batch.runs {
                let key = RunKey { team: batch.team.clone(), workflow: batch.workflow.clone(), run: run.clone() };
                let delivery = delivery_key(&batch.connector, &key);
                let known = twice(async || self.state.delivery(&delivery).await).await;
                assert_ne!(known.map(|known| known.state), Some(delivery::state::DeliveryState::Shared), "{run}");
                *self.tried.entry(run.as_str().to_owned()).or_default() += 1;
                let ended = self.failing.get(run.as_str()).map_or_else(shared, |code| failed(*code));
                let ended = [(delivery, ended)];
                twice(async || self.state.end(&ended, self.clock.now()).await).await;
            }
        }
    }

    fn shared(&self) -> BTreeSet<String> {
        let of = |run: &RunKey| {
            let record = self.state.record(&delivery_key(&connector_id("acme"), run))?;
            matches!(record.ended, Some(Ended::Shared(_))).then(|| run.run.as_str().to_owned())
        };
        self.state.recorded_runs().iter().filter_map(of).collect()
    }

    async fn stored(&self, key: &str) -> Value {
        let bytes = self.tables.get(&Path::from(key)).await.unwrap().bytes().await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }
}

/// What the executions of batches do has its own tests: here it succeeds, whatever fault is ordered.
async fn twice<T>(call: impl AsyncFn() -> Result<T, PortError>) -> T {
    match call().await {
        Ok(done) => done,
        Err(_) => call().await.unwrap(),
    }
}

fn message(team: &str, workflow: &str, run: &str, minute: u32, column: &str) -> Value {
    json!({
        "eventType": "workflow_run_completed", "teamId": team, "workflowId": workflow, "runId": run,
        "state": "FINISHED", "finishedAt": format!("2026-08-01T10:{minute:02}:00Z"),
        "schema": {"fields": [{"name": column, "dataType": "STRING"}]},
        "output": {"format": "jsonl", "objects": [{"key": "data.jsonl"}]},
    })
}

fn shared() -> Ended {
    let label = WorkflowLabel::from_stored("W");
    let table = VersionTable {
        name: TableName::version(&label, SchemaVersion(1)),
        label,
        schema_version: SchemaVersion(1),
        fingerprint: Fingerprint::from_stored("f"),
        table_version: None,
        shared: Membership::Unshared,
    };
    Ended::Shared(Box::new(delivered_run(&table, 0, instant(0))))
}

fn failed(code: FailureCode) -> Ended {
    Ended::Failed(Failure { code, message: "see the runbook".to_owned() })
}

fn names(runs: &[&str]) -> BTreeSet<String> {
    runs.iter().map(|run| (*run).to_owned()).collect()
}

#[tokio::test]
async fn history_in_the_bucket_and_recorded_runs_arrive_and_a_second_backfill_has_nothing_to_do() {
    let mut world = World::active().await;
    world.lies("w-1", "old-1", 1, "a").await;
    world.lies("w-1", "old-2", 2, "a").await;
    world.lies("w-2", "old-3", 1, "a").await;
    world.announced("w-1", "unwanted", &[]).await;
    let live = world.announced("w-1", "live", &["acme"]).await;
    world.ended(&delivery_key(&connector_id("acme"), &live.key), shared()).await;
    let report = world.backfill(json!({})).await.unwrap();
    let counts = &report["counts"];
    assert_eq!(
        [&counts["found"], &counts["planned"], &counts["delivered"], &counts["alreadyShared"], &counts["failed"]],
        [&json!(3), &json!(4), &json!(4), &json!(1), &json!(0)]
    );
    assert_eq!(counts["batches"], 3, "a batch for each workflow and schema");
    assert_eq!(world.shared(), names(&["live", "old-1", "old-2", "old-3", "unwanted"]));
    let again = world.backfill(json!({})).await.unwrap();
    assert_eq!((&again["counts"]["planned"], &again["counts"]["alreadyShared"]), (&json!(0), &json!(5)));
    assert!(world.tried.values().all(|tried| *tried == 1), "{:?}", world.tried);
}

#[tokio::test]
async fn from_to_and_workflows_narrow_a_backfill() {
    for (more, expected) in [
        (json!({"from": "2026-08-01T10:02:00Z"}), names(&["b", "c", "x"])),
        (json!({"to": "2026-08-01T10:02:00Z"}), names(&["a"])),
        (json!({"from": "2026-08-01T10:02:00Z", "to": "2026-08-01T10:03:00Z"}), names(&["b", "x"])),
        (json!({"workflows": ["w-2"]}), names(&["x"])),
        (json!({"workflows": ["w-1"], "to": "2026-08-01T10:03:00Z"}), names(&["a", "b"])),
    ] {
        let mut world = World::active().await;
        for (run, minute) in [("a", 1), ("b", 2), ("c", 3)] {
            world.lies("w-1", run, minute, "a").await;
        }
        world.lies("w-2", "x", 2, "a").await;
        world.backfill(more.clone()).await.unwrap();
        assert_eq!(world.shared(), expected, "{more}");
        let rest = world.backfill(json!({})).await.unwrap();
        assert_eq!(rest["counts"]["delivered"], 4 - expected.len(), "{more}");
    }
}

#[tokio::test]
async fn numbers_of_schemas_follow_history() {
    let mut world = World::active().await;
    for (run, minute, column) in [("r-9", 1, "a"), ("r-5", 2, "b"), ("r-7", 3, "a"), ("r-1", 4, "c")] {
        world.lies("w-1", run, minute, column).await;
    }
    world.backfill(json!({})).await.unwrap();
    for (column, number) in [("a", 1), ("b", 2), ("c", 3)] {
        let schema = delivery::schema::PublicSchema::of(&[field(column, "STRING")]).unwrap();
        let table = world
            .state
            .open_schema_version(&connector_id("acme"), &workflow_id("w-1"), &schema, instant(0))
            .await
            .unwrap();
        assert_eq!(table.schema_version, SchemaVersion(number), "{column}");
    }
}

#[tokio::test]
async fn what_cannot_arrive_is_listed_with_its_code_and_hides_nothing() {
    let mut world = World::active().await;
    world.lies("w-1", "good", 1, "a").await;
    world.lies("w-1", "bad-rows", 2, "a").await;
    world.failing.insert("bad-rows".to_owned(), FailureCode::ValueNotCastable);
    let at = |run: &str| format!("kadoa/t/w-1/2026-08-01T10-03-00Z-{run}");
    world.put(&format!("{}/run.json", at("no-json")), "{".to_owned()).await;
    world.put(&format!("{}/run.json", at("other-team")), message("u", "w-1", "other-team", 3, "a").to_string()).await;
    world.put(&format!("{}/run.json", at("other-run")), message("t", "w-1", "good", 3, "a").to_string()).await;
    world.put(&format!("{}/data.jsonl", at("no-message")), "{}".to_owned()).await;
    world.put("kadoa/t/w-1/somewhere/run.json", message("t", "w-1", "x", 3, "a").to_string()).await;
    let mut unfinished = message("t", "w-1", "unfinished", 3, "a");
    unfinished["state"] = json!("FAILED");
    world.put(&format!("{}/run.json", at("unfinished")), unfinished.to_string()).await;
    let mut private = message("t", "w-1", "private", 3, "a");
    private["schema"]["fields"] = json!([{"name": "_a", "dataType": "STRING"}]);
    world.put(&format!("{}/run.json", at("private")), private.to_string()).await;

    let report = world.backfill(json!({})).await.unwrap();
    assert_eq!((&report["counts"]["delivered"], &report["counts"]["unfinished"]), (&json!(1), &json!(1)));
    let whole = world.stored(report["report"].as_str().unwrap()).await;
    assert_eq!(whole["failures"], report["failures"], "the report has what the output has, and here that is all");
    let failures = report["failures"].as_array().unwrap();
    assert_eq!(report["counts"]["failed"], failures.len());
    let said: BTreeSet<_> = failures
        .iter()
        .map(|failure| {
            let run = failure["runId"].as_str().map_or("-", |run| run);
            format!("{run} {}", failure["code"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        said,
        names(&[
            "- HISTORY_MISMATCH",
            "bad-rows VALUE_NOT_CASTABLE",
            "no-json MESSAGE_NOT_JSON",
            "no-message HISTORY_MISMATCH",
            "other-run HISTORY_MISMATCH",
            "other-team HISTORY_MISMATCH",
            "private NO_PUBLIC_FIELDS",
        ])
    );
    assert_eq!(world.shared(), names(&["good"]));
    let record = world.state.record(&delivery_key(&connector_id("acme"), &run_key("t", "w-1", "private"))).unwrap();
    assert!(matches!(record.ended, Some(Ended::Failed(failure)) if failure.code == FailureCode::NoPublicFields));

    // Repaired: the second backfill delivers just what failed.
    world.failing.clear();
    let again = world.backfill(json!({})).await.unwrap();
    assert_eq!((&again["counts"]["planned"], &again["counts"]["delivered"]), (&json!(1), &json!(1)));
    assert_eq!(world.tried["good"], 1);
}

#[tokio::test]
async fn a_run_that_its_execution_left_behind_is_listed() {
    let mut world = World::active().await;
    world.lies("w-1", "r-1", 1, "a").await;
    let command = json!({"connectorId": "acme"});
    let mut progress = Value::Null;
    while progress["next"] != "deliver" {
        progress = world.task("plan", &command, "arn:e", &progress).await.unwrap();
    }
    // Its execution was stopped.
    let settled = world.task("settle", &command, "arn:e", &progress).await.unwrap();
    assert_eq!(settled["failures"], json!([{"workflowId": "w-1", "runId": "r-1", "code": "BACKFILL_INTERRUPTED"}]));
    assert_eq!(world.backfill(json!({})).await.unwrap()["counts"]["delivered"], 1);
}

#[tokio::test]
async fn a_run_that_ended_the_staging_of_its_batch_goes_alone_the_next_time() {
    let mut world = World::active().await;
    for name in ["a", "b", "heavy"] {
        let run = world.announced("w-1", name, &[]).await;
        if name != "b" {
            let delivery = delivery_key(&connector_id("acme"), &run.key);
            world.ended(&delivery, failed(FailureCode::StagingInterrupted)).await;
        }
    }
    world.announced("w-1", "c", &[]).await;
    let report = world.backfill(json!({})).await.unwrap();
    assert_eq!((&report["counts"]["planned"], &report["counts"]["batches"]), (&json!(4), &json!(3)));
    assert_eq!(world.shared(), names(&["a", "b", "c", "heavy"]));
}

/// Whatever stops a backfill, wherever: what follows delivers every run once.
#[tokio::test]
async fn a_backfill_that_is_stopped_anywhere_goes_on_when_it_is_started_again() {
    for stop in 0..12 {
        let mut world = World::active().await;
        let mut expected = BTreeSet::new();
        for n in 0..230 {
            let (run, workflow) = (format!("r-{n}"), format!("w-{}", n % 3));
            world.lies(&workflow, &run, n % 60, "a").await;
            expected.insert(run);
        }
        world.put("kadoa/t/activity/1.jsonl", activity(&["e-1", "e-2"])).await;
        let command = json!({"connectorId": "acme"});
        // Stopped at the same task again and again, and once somewhere else.
        for tasks in [stop, stop, (stop * 7) % 5] {
            world.execute(&command, tasks).await.unwrap();
        }
        let report = world.backfill(json!({})).await.unwrap();
        assert_eq!(world.shared(), expected, "stopped after {stop} tasks");
        assert!(world.tried.values().all(|tried| *tried == 1), "stopped after {stop} tasks");
        let counts = &report["counts"];
        assert_eq!(counts["delivered"].as_u64().unwrap() + counts["alreadyShared"].as_u64().unwrap(), 230);
        assert_eq!(world.state.waiting_rows(&connector_id("acme"), MetadataTable::ActivityLog), 2);
    }
}

/// Each call of the state table fails once, before or after it did its work.
#[tokio::test]
async fn a_page_that_is_done_twice_is_done_once() {
    let story = async |fault: Option<(usize, Strikes)>| {
        let mut world = World::with(Connector { backfill: true, ..connector("acme", "t") }).await;
        let live = world.announced("w-1", "live", &["acme"]).await;
        world.ended(&delivery_key(&connector_id("acme"), &live.key), shared()).await;
        for (run, minute, column) in [("r-1", 1, "a"), ("r-2", 2, "b"), ("r-3", 3, "a")] {
            world.lies("w-1", run, minute, column).await;
        }
        world.failing.insert("r-2".to_owned(), FailureCode::RowNotJson);
        world.put("kadoa/t/activity/1.jsonl", activity(&["e-1"])).await;
        let before = world.state.faults.calls().len();
        if let Some((call, strikes)) = fault {
            world.state.faults.fail_call(before + call, PortErrorKind::Unavailable, strikes);
        }
        let report = world.backfill(json!({"rollout": true})).await;
        let calls = world.state.faults.calls().len() - before;
        let actions = world.actions().await;
        (report.map(|report| (report["counts"].clone(), report["failures"].clone())), actions, world.shared(), calls)
    };
    let undisturbed = story(None).await;
    assert_eq!(undisturbed.1, [Changes::BeginBackfill, Changes::Activate]);
    assert_eq!(undisturbed.2, names(&["live", "r-1", "r-3"]));
    assert_eq!(undisturbed.0.as_ref().unwrap().0["found"], 3);
    for call in 0..undisturbed.3 {
        for strikes in [Strikes::Before, Strikes::After] {
            let disturbed = story(Some((call, strikes))).await;
            if let Err(error) = &disturbed.0 {
                panic!("call {call} {strikes:?}: {error}");
            }
            assert_eq!(disturbed.0.as_ref().unwrap(), undisturbed.0.as_ref().unwrap(), "call {call} {strikes:?}");
            assert_eq!((&disturbed.1, &disturbed.2), (&undisturbed.1, &undisturbed.2), "call {call} {strikes:?}");
        }
    }
}

fn activity(ids: &[&str]) -> String {
    let line = |id: &&str| {
        json!({"teamId": "t", "title": "Run started", "dateTime": "2026-08-01T10:00:00Z", "eventId": id}).to_string()
    };
    ids.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn activity_arrives_once_and_bad_lines_are_listed_by_place() {
    let mut world = World::active().await;
    let foreign = json!({"teamId": "u", "title": "x", "dateTime": "2026-08-01T10:00:00Z", "eventId": "e-9"});
    let lines = format!("{}\nsecret words\n{foreign}\n", activity(&["e-1", "e-2"]));
    world.put("kadoa/t/activity/1.jsonl", lines).await;
    for _ in 0..2 {
        let report = world.backfill(json!({})).await.unwrap();
        assert_eq!(
            report["failures"],
            json!([
                {"place": "kadoa/t/activity/1.jsonl line 3", "code": "MESSAGE_NOT_JSON"},
                {"place": "kadoa/t/activity/1.jsonl line 4", "code": "HISTORY_MISMATCH"},
            ])
        );
        assert_eq!(report["counts"]["activityRefused"], 2);
        assert!(!report.to_string().contains("secret"));
        assert_eq!(world.state.waiting_rows(&connector_id("acme"), MetadataTable::ActivityLog), 2);
    }
    let mut without =
        World::with(Connector { state: ConnectorState::Active, activity_log: false, ..connector("acme", "t") }).await;
    without.put("kadoa/t/activity/1.jsonl", activity(&["e-1"])).await;
    assert_eq!(without.backfill(json!({})).await.unwrap()["counts"]["activityEvents"], 0);
}

#[tokio::test]
async fn connectors_that_take_no_data_are_refused_each_with_its_code() {
    for (state, code) in [
        (ConnectorState::Provisioning, FailureCode::ConnectorNotReady),
        (ConnectorState::Disabled, FailureCode::ConnectorDisabled),
        (ConnectorState::Revoked, FailureCode::ConnectorRevoked),
    ] {
        let mut world = World::with(Connector { state, ..connector("acme", "t") }).await;
        assert_eq!(world.backfill(json!({})).await.unwrap_err().code, code);
    }
    let mut world = World::active().await;
    let error = world.backfill(json!({"connectorId": "nobody"})).await.unwrap_err();
    assert_eq!(error.code, FailureCode::ConnectorNotFound);
    let scope = Scope::Only([workflow_id("w-1")].into());
    world.change(Changes::SetUp, |known| Connector { workflows: scope, ..known.moved(known.state) }).await;
    let error = world.backfill(json!({"workflows": ["w-2"]})).await.unwrap_err();
    assert_eq!(error.code, FailureCode::BackfillInvalid);
}

#[tokio::test]
async fn a_disabled_connector_gets_no_further_page() {
    let mut world = World::active().await;
    world.lies("w-1", "r-1", 1, "a").await;
    let command = json!({"connectorId": "acme"});
    let begun = world.task("plan", &command, "arn:e", &Value::Null).await.unwrap();
    world.change(Changes::Disable, |known| known.moved(ConnectorState::Disabled)).await;
    let error = world.task("plan", &command, "arn:e", &begun).await.unwrap_err();
    assert_eq!(error.code, FailureCode::ConnectorDisabled);
    assert_eq!(world.backfill(json!({})).await.unwrap_err().code, FailureCode::ConnectorDisabled);
}

#[tokio::test]
async fn history_waits_for_a_proven_live_delivery() {
    let mut world = World::with(connector("acme", "t")).await;
    world.lies("w-1", "old", 1, "a").await;
    let first = world.announced("w-1", "first", &["acme"]).await;
    let first = delivery_key(&connector_id("acme"), &first.key);
    world.ended(&first, failed(FailureCode::ProofRefused)).await;
    let failure = LiveFailure { delivery: first.clone(), code: FailureCode::ProofRefused, at: world.clock.now() };
    world.state.note_live_failure(&failure).await.unwrap();
    for more in [json!({"catchUp": true}), json!({})] {
        assert_eq!(world.backfill(more).await.unwrap_err().code, FailureCode::BackfillNotProven);
    }
    assert_eq!(world.connector().await.state, ConnectorState::Ready);
    assert_eq!(world.shared(), names(&[]));

    world.ended(&first, shared()).await;
    world.state.forget_live_failure(&first.connector).await.unwrap();
    let report = world.backfill(json!({"rollout": true})).await.unwrap();
    assert_eq!((&report["state"], &report["counts"]["delivered"]), (&json!("active"), &json!(1)));
    assert_eq!(world.actions().await, [Changes::BeginBackfill, Changes::Activate]);
    // The message of a rollout may come twice.
    let again = world.backfill(json!({"rollout": true})).await.unwrap();
    assert_eq!((&again["state"], &again["counts"]["alreadyShared"]), (&json!("active"), &json!(0)));
}

#[tokio::test]
async fn an_operator_may_backfill_a_ready_connector_that_has_no_live_run_yet() {
    let mut world = World::with(connector("acme", "t")).await;
    world.lies("w-1", "old", 1, "a").await;
    world.failing.insert("old".to_owned(), FailureCode::RowNotJson);
    assert_eq!(world.backfill(json!({})).await.unwrap()["state"], "ready");
    // What failed then was no live delivery.
    world.failing.clear();
    assert_eq!(world.backfill(json!({})).await.unwrap()["counts"]["delivered"], 1);
}

#[tokio::test]
async fn a_connector_without_backfill_is_active_at_once() {
    let mut world = World::with(Connector { backfill: false, ..connector("acme", "t") }).await;
    world.lies("w-1", "old", 1, "a").await;
    let live = world.announced("w-1", "live", &["acme"]).await;
    world.ended(&delivery_key(&connector_id("acme"), &live.key), shared()).await;
    let report = world.backfill(json!({"rollout": true})).await.unwrap();
    assert_eq!((&report["state"], &report["counts"]["found"]), (&json!("active"), &json!(0)));
    assert_eq!(world.shared(), names(&["live"]));
}

#[tokio::test]
async fn a_rollout_that_meets_a_disabled_connector_begins_when_that_is_enabled() {
    for backfill in [true, false] {
        let mut world = World::with(Connector { backfill, ..connector("acme", "t") }).await;
        world.lies("w-1", "old", 1, "a").await;
        let live = world.announced("w-1", "live", &["acme"]).await;
        let now = world.clock.now();
        world.change(Changes::Disable, |known| known.disabled(now).unwrap().unwrap()).await;
        world.ended(&delivery_key(&connector_id("acme"), &live.key), shared()).await;
        for _ in 0..2 {
            assert_eq!(world.backfill(json!({"rollout": true})).await.unwrap()["state"], "disabled");
        }
        assert_eq!(world.shared(), names(&["live"]), "nothing is delivered to it");

        world.change(Changes::Enable, |known| known.enabled().unwrap().unwrap()).await;
        let report = world.backfill(json!({"catchUp": true})).await.unwrap();
        let history = u64::from(backfill);
        assert_eq!((&report["state"], &report["counts"]["delivered"]), (&json!("active"), &json!(history)));
        let begun = if backfill { Changes::BeginBackfill } else { Changes::Activate };
        let actions = world.actions().await;
        assert_eq!(actions[..4], [Changes::Disable, begun, Changes::Enable, Changes::CatchUp], "{backfill}");
        assert_eq!(actions.get(4), backfill.then_some(&Changes::Activate));
    }
}

#[tokio::test]
async fn a_rollout_that_is_only_noted_ends_nothing_of_a_connector_that_is_enabled_meanwhile() {
    let world = World::with(Connector { backfill: true, ..connector("acme", "t") }).await;
    let now = world.clock.now();
    world.change(Changes::Disable, |known| known.disabled(now).unwrap().unwrap()).await;
    let (command, execution) = (json!({"connectorId": "acme", "rollout": true}), "arn:e");
    let progress = world.task("plan", &command, execution, &Value::Null).await.unwrap();
    world.change(Changes::Enable, |known| known.enabled().unwrap().unwrap()).await;
    let report = world.task("finish", &command, execution, &progress).await.unwrap();
    assert_eq!(report["state"], "backfilling", "its history is still to come");
    assert_eq!(world.connector().await.missed_since, Some(now));
}

#[tokio::test]
async fn a_rollout_that_was_stopped_is_brought_to_its_end_by_a_backfill_and_not_by_a_part_of_one() {
    let mut world = World::with(Connector { state: ConnectorState::Backfilling, ..connector("acme", "t") }).await;
    world.lies("w-1", "old", 1, "a").await;
    assert_eq!(world.backfill(json!({"workflows": ["w-1"]})).await.unwrap()["state"], "backfilling");
    assert_eq!(world.backfill(json!({})).await.unwrap()["state"], "active");
}

/// Runs of before, of while it was disabled, and of after.
#[tokio::test]
async fn an_execution_carries_a_bounded_state_and_the_report_has_everything() {
    let mut world = World::active().await;
    for n in 0..120 {
        world.lies("w-1", &format!("r-{n:03}"), n % 60, "a").await;
        world.failing.insert(format!("r-{n:03}"), FailureCode::RowNotJson);
    }
    let report = world.backfill(json!({})).await.unwrap();
    assert_eq!(report["failures"].as_array().unwrap().len(), FAILURES_SHOWN_MAX);
    assert_eq!((&report["counts"]["failed"], &report["counts"]["batches"]), (&json!(120), &json!(2)));
    let whole = world.stored(report["report"].as_str().unwrap()).await;
    assert_eq!(whole["failures"].as_array().unwrap().len(), 120);
    let note = world.state.note(&connector_id("acme"), &BackfillId::of_execution("arn:e-1")).unwrap();
    assert_eq!((note.phase, note.counts.failed), (Phase::Finish, 120));
}

#[test]
fn an_input_that_means_nothing_is_refused_with_its_path() {
    let time = |text: &str| Timestamp::parse(text).unwrap();
    let read = |input: Value| events::backfill::request(&input);
    let request =
        read(json!({"connectorId": "a", "workflows": ["w"], "from": "2026-01-01T00:00:00Z", "requestedBy": "Ada"}));
    let request = request.unwrap();
    assert_eq!((request.from, request.to), (Some(time("2026-01-01T00:00:00Z")), None));
    for (input, expected) in [
        (json!([]), "the input must be a JSON object"),
        (json!({}), "connectorId is missing"),
        (json!({"connectorId": "a", "workflows": []}), "workflows must have 1 to 1000 elements"),
        (json!({"connectorId": "a", "workflows": "all"}), "workflows must be an array"),
        (json!({"connectorId": "a", "workflows": ["a/b"]}), "workflows must hold workflow ids"),
        (json!({"connectorId": "a", "from": "yesterday"}), "from must be a time as RFC 3339 writes it"),
        (
            json!({"connectorId": "a", "from": "2026-01-02T00:00:00Z", "to": "2026-01-02T00:00:00Z"}),
            "from must be earlier than to",
        ),
        (json!({"connectorId": "a", "rollout": true, "catchUp": true}), "catchUp cannot be asked for together"),
        (json!({"connectorId": "a", "rollout": true, "workflows": ["w"]}), "workflows from and to cannot narrow"),
    ] {
        let refused = read(input.clone()).unwrap_err();
        assert_eq!(refused.code, FailureCode::BackfillInvalid);
        assert!(refused.message.starts_with(expected), "{input}: {}", refused.message);
    }
}
