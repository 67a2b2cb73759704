//! History: what lies in the run-output bucket and what was recorded reaches a connector, each row once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use futures::StreamExt as _;
use serde_json::{Value, json};
use tests::{Execution, Run, Stack, table_name, unique, until};

/// How many runs the large backfill has: many in the suite, ten thousand when it is measured.
const RUNS_VARIABLE: &str = "SPILLWAY_BACKFILL_RUNS";

struct Story {
    stack: Stack,
    team: String,
    connector: String,
    workflow: String,
    profile: PathBuf,
}

impl Story {
    async fn begin(more: Value) -> Self {
        let stack = Stack::of_this_test();
        let (team, connector, workflow) = (unique(), unique(), unique());
        let profile = stack.ready_connector(&connector, &team, more).await;
        Self { stack, team, connector, workflow, profile }
    }

    fn run(&self, day: u32, rows: u64) -> Run {
        let finished_at = format!("2026-07-{day:02}T06:07:30Z");
        Run { finished_at, ..Run::small(&self.team, &self.workflow, rows) }
    }

    async fn backfill(&self, more: Value) -> Value {
        let ended = self.stack.execute("Backfill", &self.input(more)).await;
        report(&ended)
    }

    fn input(&self, more: Value) -> Value {
        let mut input = json!({"connectorId": self.connector});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    }

    /// The names in the rows of a version table, sorted.
    async fn names(&self, suffix: &str) -> Vec<String> {
        let (_, rows) = self.stack.rows(&self.profile, &self.connector, &table_name(&self.workflow, suffix)).await;
        let mut names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    async fn state(&self) -> String {
        let connector = self.stack.item(&format!("CONNECTOR#{}", self.connector), "CONNECTOR").await;
        connector["state"].clone()
    }

    async fn recorded(&self, run: &Run) {
        let pk = format!("RUNS#{}#{}", run.team, run.workflow);
        let sk = format!("RUN#{}", run.run);
        until("a run is recorded", async || (!self.stack.item(&pk, &sk).await.is_empty()).then_some(())).await;
    }
}

fn report(ended: &Execution) -> Value {
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    serde_json::from_str(ended.output.as_deref().unwrap()).unwrap()
}

fn names_of<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Vec<String> {
    let of = |run: &Run| {
        let body = String::from_utf8(run.body.clone()).unwrap();
        let name = |line: &str| serde_json::from_str::<Value>(line).unwrap()["name"].as_str().unwrap().to_owned();
        body.lines().map(name).collect::<Vec<_>>()
    };
    let mut names: Vec<_> = runs.into_iter().flat_map(of).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn history_arrives_narrowed_and_whole_and_a_second_backfill_delivers_just_what_failed() {
    let stack = Stack::of_this_test();
    let (team, workflow) = (unique(), unique());
    // Recorded before there is a connector.
    let unwanted = Run::small(&team, &workflow, 4);
    unwanted.announce(&stack).await;
    let connector = unique();
    let profile = stack.ready_connector(&connector, &team, json!({})).await;
    let story = Story { stack, team, connector, workflow, profile };
    story.recorded(&unwanted).await;
    let found: Vec<_> = (1..=5).map(|day| story.run(day, u64::from(day))).collect();
    for run in &found {
        run.lie(&story.stack).await;
    }
    let mut broken = story.run(6, 2);
    broken.body = b"{\"name\": \"x\"".to_vec();
    broken.lie(&story.stack).await;
    let foreign = Run { team: "another".to_owned(), ..story.run(7, 1) };
    let own = Run { team: story.team.clone(), ..foreign.clone() };
    let misplaced = own.key().replace("data.jsonl", "run.json");
    story.stack.put_output(&misplaced, foreign.message().to_string()).await;

    let part = story.backfill(json!({"from": "2026-07-02T06:07:30Z", "to": "2026-07-04T06:07:30Z"})).await;
    assert_eq!((&part["counts"]["delivered"], &part["counts"]["failed"]), (&json!(2), &json!(0)), "{part}");
    assert_eq!(story.names("V1").await, names_of(&found[1..3]));

    let whole = story.backfill(json!({})).await;
    let counts = &whole["counts"];
    assert_eq!((&counts["delivered"], &counts["alreadyShared"], &counts["failed"]), (&json!(4), &json!(2), &json!(2)));
    let mut failures: Vec<_> = whole["failures"].as_array().unwrap().clone();
    failures.sort_by_key(|failure| failure["code"].to_string());
    let folder = misplaced.trim_end_matches("/run.json");
    assert_eq!(
        failures,
        [
            json!({"workflowId": story.workflow, "runId": own.run, "place": folder, "code": "HISTORY_MISMATCH"}),
            json!({"workflowId": story.workflow, "runId": broken.run, "code": "OUTPUT_TRUNCATED"}),
        ]
    );
    let stored = story.stack.object("TablesBucketName", whole["report"].as_str().unwrap()).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&stored).unwrap()["counts"], *counts);
    for suffix in ["V1", "LATEST"] {
        assert_eq!(story.names(suffix).await, names_of(found.iter().chain([&unwanted])), "{suffix}");
    }

    // Repaired by the producer: just that one.
    broken.body = Run::small(&story.team, &story.workflow, 2).body;
    broken.lie(&story.stack).await;
    story.stack.delete("RunOutputBucketName", &misplaced).await;
    let again = story.backfill(json!({})).await;
    let counts = &again["counts"];
    assert_eq!((&counts["planned"], &counts["delivered"], &counts["failed"]), (&json!(1), &json!(1), &json!(0)));
    assert_eq!(story.names("V1").await, names_of(found.iter().chain([&unwanted, &broken])));
    assert_eq!(story.state().await, "ready", "no live run was delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_was_stopped_goes_on_when_it_is_started_again() {
    let story = Story::begin(json!({})).await;
    let runs: Vec<_> = (0..240).map(|n| story.run(1 + n % 28, 2)).collect();
    futures::stream::iter(&runs).for_each_concurrent(16, |run| run.lie(&story.stack)).await;
    let first = story.stack.start("Backfill", &story.input(json!({}))).await;
    let name = first.rsplit(':').next().unwrap();
    let progress = ("BACKFILL", name);
    until("batches are planned", async || {
        let item =
            story.stack.item(&format!("CONNECTOR#{}", story.connector), &format!("{}#{}", progress.0, name)).await;
        (item.get("planned").is_some_and(|planned| planned == "240")).then_some(())
    })
    .await;
    story.stack.sfn.stop_execution().execution_arn(&first).send().await.unwrap();
    assert_eq!(story.stack.ended(&first).await.status, "ABORTED");
    let report = story.backfill(json!({})).await;
    let counts = &report["counts"];
    let arrived = counts["delivered"].as_u64().unwrap() + counts["alreadyShared"].as_u64().unwrap();
    assert_eq!((arrived, &counts["failed"]), (240, &json!(0)), "{report}");
    assert_eq!(story.names("V1").await, names_of(&runs));
    assert_eq!(story.names("LATEST").await, names_of(&runs));
}

#[tokio::test(flavor = "multi_thread")]
async fn older_activity_arrives_once_and_its_bad_lines_are_listed() {
    let story = Story::begin(json!({})).await;
    let event = |n: u64| {
        json!({
            "teamId": story.team, "title": "Run started", "dateTime": format!("2026-07-01T00:00:{:02}Z", n % 60),
            "eventId": format!("{}-{n}", story.connector), "source": {"requestSource": "UI", "userEmail": "ada@acme.test"},
        })
        .to_string()
    };
    let lines: Vec<_> = (0..60).map(event).collect();
    story.stack.put_output(&format!("kadoa/{}/activity/2026-06.jsonl", story.team), lines[..40].join("\n")).await;
    let bad = format!("{}\nplanted-words\n", lines[35..].join("\n"));
    story.stack.put_output(&format!("kadoa/{}/activity/2026-07.jsonl", story.team), bad).await;
    for _ in 0..2 {
        let report = story.backfill(json!({})).await;
        let place = format!("kadoa/{}/activity/2026-07.jsonl line 26", story.team);
        assert_eq!(report["failures"], json!([{"place": place, "code": "MESSAGE_NOT_JSON"}]));
    }
    let table = "ACTIVITY_LOG";
    let rows = until("the activity is written", async || {
        let (_, rows) = story.stack.rows(&story.profile, &story.connector, table).await;
        (rows.len() >= 60).then_some(rows)
    })
    .await;
    let ids: BTreeSet<_> = rows.iter().map(|row| row["event_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((rows.len(), ids.len()), (60, 60), "each event once");
    assert!(rows.iter().all(|row| !row.to_string().contains("ada@acme.test")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_is_refused_history_until_it_takes_data() {
    let stack = Stack::of_this_test();
    let ended = stack.execute("Backfill", &json!({"connectorId": unique()})).await;
    assert_eq!((ended.status.as_str(), ended.error.as_deref()), ("FAILED", Some("Delivery.Rejected")));
    assert!(ended.cause.unwrap().contains("CONNECTOR_NOT_FOUND"));
    let ended = stack.execute("Backfill", &json!({"connectorId": "a", "from": "soon"})).await;
    assert!(ended.cause.unwrap().contains("BACKFILL_INVALID"));
}

#[tokio::test(flavor = "multi_thread")]
async fn history_follows_the_first_proven_live_run_and_not_a_failed_one() {
    let story = Story::begin(json!({})).await;
    let old: Vec<_> = (1..=3).map(|day| story.run(day, 2)).collect();
    for run in &old {
        run.lie(&story.stack).await;
    }
    let mut failing = story.run(10, 2);
    failing.body = b"{\"name\": \"x\"".to_vec();
    failing.announce(&story.stack).await;
    assert_eq!(story.stack.delivered(&story.connector, &story.workflow, &failing.run).await.state, "failed");
    let refused = story.stack.execute("Backfill", &story.input(json!({}))).await;
    assert!(refused.cause.as_deref().unwrap().contains("BACKFILL_NOT_PROVEN"), "{refused:?}");
    assert_eq!(story.state().await, "ready");

    let live = story.run(11, 3);
    live.announce(&story.stack).await;
    assert_eq!(story.stack.delivered(&story.connector, &story.workflow, &live.run).await.state, "shared");
    until("the rollout ends", async || (story.state().await == "active").then_some(())).await;
    for suffix in ["V1", "LATEST"] {
        assert_eq!(story.names(suffix).await, names_of(old.iter().chain([&live])), "{suffix}");
    }
    let failed = story.stack.delivery(&story.connector, &story.workflow, &failing.run).await.unwrap();
    assert_eq!(failed.state, "failed", "the rollout tried it again, and hides nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_ended_before_it_began_anything_is_started_by_the_next_live_run() {
    let story = Story::begin(json!({})).await;
    let old = story.run(1, 2);
    old.lie(&story.stack).await;
    let record = story.stack.connector_record(&story.connector).await;
    let id = delivery::ids::ConnectorId::new(&story.connector).unwrap();
    let name = delivery::ids::rollout_execution_name(&id, record["revision"].as_u64().unwrap(), 1);
    let ended = story.stack.sfn.start_execution().state_machine_arn(story.stack.output("BackfillArn"));
    let ended = ended.name(name).input("{}").send().await.unwrap();
    assert_eq!(story.stack.ended(ended.execution_arn()).await.status, "FAILED", "it has no connector");

    let live = story.run(11, 3);
    live.announce(&story.stack).await;
    assert_eq!(story.stack.delivered(&story.connector, &story.workflow, &live.run).await.state, "shared");
    until("the rollout ends", async || (story.state().await == "active").then_some(())).await;
    assert_eq!(story.names("V1").await, names_of([&old, &live]));
}

#[tokio::test(flavor = "multi_thread")]
async fn set_up_again_brings_a_rollout_that_stopped_to_its_end() {
    let story = Story::begin(json!({})).await;
    let live = story.run(11, 3);
    live.announce(&story.stack).await;
    assert_eq!(story.stack.delivered(&story.connector, &story.workflow, &live.run).await.state, "shared");
    until("the rollout ends", async || (story.state().await == "active").then_some(())).await;
    // As if its execution had ended in the middle.
    let old = story.run(1, 2);
    old.lie(&story.stack).await;
    story.pretend("backfilling").await;
    let ended = story.stack.set_up(&story.connector, &story.team, json!({})).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    until("the rollout ends", async || (story.state().await == "active").then_some(())).await;
    assert_eq!(story.names("V1").await, names_of([&old, &live]));
}

impl Story {
    /// Moves the connector's record to a state, by the store that the functions use.
    async fn pretend(&self, state: &str) {
        use delivery::connector::ConnectorState;
        use delivery::ids::ConnectorId;
        use delivery::ports::ConnectorStore as _;
        let store = aws::dynamo::DynamoStore::new(&self.stack.config, self.stack.output("StateTableName"));
        let known = store.connector(&ConnectorId::new(&self.connector).unwrap()).await.unwrap().unwrap();
        let after = known.moved(ConnectorState::parse(state).unwrap());
        let entry = testkit::builders::audit_entry(delivery::lifecycle::Action::BeginBackfill, 0);
        let _ = store.change_connector(Some(&known), &after, &entry).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_run_does_not_wait_for_history() {
    let story = Story::begin(json!({"backfill": false})).await;
    let runs: Vec<_> =
        (0..400).map(|n| Run { workflow: format!("{}-{}", story.workflow, n % 4), ..story.run(1, 1) }).collect();
    futures::stream::iter(&runs).for_each_concurrent(16, |run| run.lie(&story.stack)).await;
    let backfill = story.stack.start("Backfill", &story.input(json!({}))).await;
    let name = backfill.rsplit(':').next().unwrap().to_owned();
    until("batches are on their way", async || {
        let item = story.stack.item(&format!("CONNECTOR#{}", story.connector), &format!("BACKFILL#{name}")).await;
        (item.get("planned").is_some_and(|planned| planned == "400")).then_some(())
    })
    .await;
    let live = story.run(20, 3);
    live.announce(&story.stack).await;
    assert_eq!(story.stack.delivered(&story.connector, &story.workflow, &live.run).await.state, "shared");
    assert!(story.stack.execution(&backfill).await.is_none(), "the live run arrived while history was delivered");
    let ended = story.stack.ended(&backfill).await;
    assert_eq!(report(&ended)["counts"]["delivered"], 400);
    assert_eq!(story.names("V1").await, names_of([&live]));
}

/// As many as the variable says, across 20 workflows.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_history_arrives_row_by_row_once_in_few_commits() {
    const WORKFLOWS: usize = 20;
    const BATCH_RUNS: usize = 100;
    let count = std::env::var(RUNS_VARIABLE).map_or(1_000, |text| text.parse::<usize>().unwrap());
    let story = Story::begin(json!({"backfill": false})).await;
    let runs: Vec<_> = (0..count)
        .map(|n| {
            let minute = n / WORKFLOWS % 60;
            let finished_at =
                format!("2026-07-01T{:02}:{minute:02}:{:02}Z", n / WORKFLOWS / 3_600 % 24, n / WORKFLOWS / 60 % 60);
            Run { workflow: format!("{}-{:02}", story.workflow, n % WORKFLOWS), finished_at, ..story.run(1, 2) }
        })
        .collect();
    let broken = [0, count / 2, count - 1];
    let began = Instant::now();
    futures::stream::iter(runs.iter().enumerate())
        .for_each_concurrent(32, |(n, run)| {
            let body = if broken.contains(&n) { b"{\"name\"".to_vec() } else { run.body.clone() };
            let run = Run { body, ..run.clone() };
            let stack = &story.stack;
            async move { run.lie(stack).await }
        })
        .await;
    let put = began.elapsed();
    let began = Instant::now();
    let execution = story.stack.start("Backfill", &story.input(json!({}))).await;
    let ended = loop {
        if let Some(ended) = story.stack.execution(&execution).await {
            break ended;
        }
        assert!(began.elapsed().as_secs() < 3_600, "the backfill is stuck");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    };
    let took = began.elapsed();
    let report = report(&ended);
    let counts = &report["counts"];
    assert_eq!((&counts["planned"], &counts["delivered"]), (&json!(count), &json!(count - broken.len())), "{report}");
    let failed: BTreeSet<_> =
        report["failures"].as_array().unwrap().iter().map(|f| f["runId"].as_str().unwrap()).collect();
    assert_eq!(failed, broken.iter().map(|n| runs[*n].run.as_str()).collect(), "no failed run hides");

    let mut expected: BTreeMap<String, Vec<&Run>> = BTreeMap::new();
    for (n, run) in runs.iter().enumerate().filter(|(n, _)| !broken.contains(n)) {
        let _ = n;
        expected.entry(table_name(&run.workflow, "V1")).or_default().push(run);
    }
    let began = Instant::now();
    let read = story.stack.read_tables(&story.profile, &story.connector, expected.keys().map(String::as_str)).await;
    let (mut commits, mut files) = (0, 0);
    for (table, runs) in &expected {
        let mut names: Vec<_> = read[table].rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        assert_eq!(names, names_of(runs.iter().copied()), "{table}");
        let versions = story.stack.commits(&story.connector, table).await;
        let adds = async |version| {
            let actions = story.stack.commit(&story.connector, table, version).await;
            actions.iter().filter(|action| action.get("add").is_some()).count()
        };
        let mut data_commits = 0;
        for version in versions {
            let added = adds(version).await;
            files += added;
            data_commits += usize::from(added > 0);
        }
        // Maintenance may add commits of its own.
        assert!(data_commits <= runs.len().div_ceil(BATCH_RUNS) + 2, "{table}: {data_commits} commits");
        commits += data_commits;
    }
    eprintln!(
        "{count} runs of {WORKFLOWS} workflows: put {put:?}, backfilled {took:?}, read {:?}, {commits} commits, {files} files, {counts}",
        began.elapsed()
    );
}
