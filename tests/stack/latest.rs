//! `__LATEST` follows the newest finished run's schema, in place, while readers hold on to what they have.

use serde_json::{Value, json};
use tests::{Place, Read, Run, sorted, table_name, unique};

struct Story {
    place: Place,
    workflow: String,
}

impl Story {
    async fn begin() -> Self {
        Self { place: Place::new().await, workflow: unique() }
    }

    /// Delivers a run with a wide or narrow schema that finished on a day of September.
    async fn deliver(&self, wide: bool, day: u32, rows: u64) -> Run {
        let mut run = Run::small(&self.place.team, &self.workflow, rows);
        if !wide {
            run.fields = json!([{"name": "name", "dataType": "STRING", "fieldType": "SCHEMA"}]);
        }
        run.finished_at = format!("2026-09-{day:02}T00:00:00Z");
        self.place.deliver(&run).await;
        run
    }

    fn latest(&self) -> String {
        table_name(&self.workflow, "LATEST")
    }

    async fn read(&self, suffix: &str) -> Read {
        self.place.read_workflow(&self.workflow, suffix).await
    }

    async fn assert_latest_is(&self, suffix: &str) {
        let (latest, source) = (self.read("LATEST").await, self.read(suffix).await);
        assert_eq!(latest.columns, source.columns);
        assert_eq!(sorted(&latest.rows), sorted(&source.rows), "__LATEST holds the rows of {suffix}");
    }

    async fn commits(&self) -> Vec<u64> {
        self.place.stack.commits(&self.place.connector, &self.latest()).await
    }

    /// The table's id, as the log has it.
    async fn table_id(&self, version: u64) -> Value {
        let actions = self.place.stack.commit(&self.place.connector, &self.latest(), version).await;
        actions.iter().find_map(|action| action.get("metaData")).expect("a metaData action")["id"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_follows_switches_in_one_commit_and_comes_back_to_an_earlier_schema() {
    let story = Story::begin().await;
    story.deliver(true, 1, 3).await;
    story.deliver(true, 2, 4).await;
    story.assert_latest_is("V1").await;
    let before = story.commits().await;

    story.deliver(false, 5, 2).await;
    story.assert_latest_is("V2").await;
    let after = story.commits().await;
    assert_eq!(after.len(), before.len() + 1, "a switch is one commit");
    let switched = *after.last().unwrap();
    let actions = story.place.stack.commit(&story.place.connector, &story.latest(), switched).await;
    let count = |kind: &str| actions.iter().filter(|action| action.get(kind).is_some()).count();
    assert_eq!((count("metaData"), count("remove"), count("add")), (1, 2, 1), "{actions:?}");
    assert_eq!(story.table_id(switched).await, story.table_id(0).await, "it stays the same table");

    // A run that finished earlier goes to its version table and nowhere else.
    story.deliver(true, 3, 6).await;
    story.assert_latest_is("V2").await;
    assert_eq!(story.read("V1").await.rows.len(), 13);

    // A newer run with the earlier schema brings it back, the late run's rows with it.
    story.deliver(true, 7, 1).await;
    story.assert_latest_is("V1").await;
    assert_eq!(story.read("LATEST").await.rows.len(), 14);
    assert_eq!(story.table_id(0).await, story.table_id(*story.commits().await.last().unwrap()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_holds_a_table_version_reads_the_same_rows_after_a_switch() {
    let story = Story::begin().await;
    let Place { stack, profile, connector, .. } = &story.place;
    story.deliver(true, 1, 3).await;
    story.deliver(true, 2, 4).await;
    let held = stack.table_version(profile, connector, &story.latest()).await;
    let before = stack.rows_at(profile, connector, &story.latest(), held).await;
    assert_eq!(before.len(), 7);

    story.deliver(false, 3, 2).await;
    story.deliver(false, 4, 2).await;
    let newest = stack.table_version(profile, connector, &story.latest()).await;
    assert!(newest > held);
    assert_eq!(stack.rows_at(profile, connector, &story.latest(), held).await, before);
    assert!(before[0].get("n").is_some(), "with the columns that it had");
    assert_eq!(stack.rows_at(profile, connector, &story.latest(), newest).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_runs_of_two_schemas_leave_latest_with_the_newest() {
    let story = Story::begin().await;
    let runs: Vec<_> = (1..=10_u32)
        .map(|day| {
            let mut run = Run::small(&story.place.team, &story.workflow, 2);
            if day % 2 == 0 {
                run.fields = json!([{"name": "name", "dataType": "STRING", "fieldType": "SCHEMA"}]);
            }
            run.finished_at = format!("2026-09-{day:02}T00:00:00Z");
            run
        })
        .collect();
    for run in &runs {
        run.announce(&story.place.stack).await;
    }
    for run in &runs {
        story.place.shared(run).await;
    }
    let latest = story.read("LATEST").await;
    assert_eq!(latest.columns, ["name", "run_id", "run_finished_at"], "the run of the tenth has this schema");
    assert_eq!(latest.rows.len(), 10, "all rows of its five runs");
}
