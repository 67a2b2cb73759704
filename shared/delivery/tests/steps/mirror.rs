//! `__LATEST` beside maintenance: compactions, cleaned logs, lost state.

use delivery::ports::{DataChange, TableStore as _};

use super::*;

impl World {
    async fn arrive(&self, run: &Run) {
        self.record(run).await;
        self.deliver(run).await.unwrap();
    }

    pub(super) async fn stay_behind(&self, run: &Run) -> Proven {
        self.record(run).await;
        let delivery = delivery_key(&connector_id(CONNECTOR), &run.key);
        let staged = self.stage_runs(std::slice::from_ref(run)).await.unwrap().remove(0);
        let published = self.publish_batch(&Batch::of(&delivery), &staged.fingerprint, &self.lake).await.unwrap();
        Proven { source: published.table.name, source_version: published.runs[0].1, finished_at: run.finished_at }
    }

    async fn promote(&self, run: &Run, proven: &Proven) -> Result<(), StepError> {
        let promoting = Promoting {
            deliveries: &self.state,
            tables: &self.state,
            log: &self.lake,
            backend: &self.state,
            clock: &Noon,
        };
        promote(promoting, &Batch::of(&delivery_key(&connector_id(CONNECTOR), &run.key)), &label(), proven).await
    }

    async fn log_of(&self, table: &TableName) -> Vec<LoggedCommit> {
        let connector = connector_id(CONNECTOR);
        let mut log = Vec::new();
        while let Some(commit) = self.lake.read(&connector, table, log.len() as u64).await.unwrap() {
            log.push(commit);
        }
        log
    }
}

fn names(files: &[DataFile]) -> Vec<&str> {
    files.iter().map(|file| file.name.as_str()).collect()
}

#[tokio::test]
async fn rows_that_a_compaction_moved_are_seen_to_arrive_first() {
    let world = World::new().await;
    world.arrive(&a_run("r1", 10)).await;
    let second = a_run("r2", 20);
    world.stay_behind(&second).await;
    world.lake.compact(&connector_id(CONNECTOR), &version(1));
    world.arrive(&a_run("r3", 30)).await;
    assert_eq!(world.files(&latest()).await, world.files(&version(1)).await);
    let log = world.log_of(&latest()).await;
    let told: Vec<_> = log.iter().map(|commit| (commit.change, names(&commit.adds), names(&commit.removes))).collect();
    let expected = [
        (DataChange::Rows, vec!["r1-00000.parquet"], vec![]),
        (DataChange::Rows, vec!["r2-00000.parquet"], vec![]),
        (DataChange::Layout, vec!["compact-2"], vec!["r1-00000.parquet", "r2-00000.parquet"]),
        (DataChange::Rows, vec!["r3-00000.parquet"], vec![]),
    ];
    assert_eq!(told, expected);
    // The run that stayed behind comes later and finds its rows there.
    world.deliver(&second).await.unwrap();
    assert_eq!(world.log_of(&latest()).await.len(), expected.len());
}

#[tokio::test]
async fn a_mirror_whose_source_was_cleaned_up_is_rebuilt_in_one_commit() {
    let world = World::new().await;
    world.arrive(&a_run("r1", 10)).await;
    for run in ["r2", "r3"] {
        world.stay_behind(&a_run(run, 20)).await;
    }
    world.lake.compact(&connector_id(CONNECTOR), &version(1));
    world.lake.clean_up(&connector_id(CONNECTOR), &version(1), 3);
    world.arrive(&a_run("r4", 30)).await;
    assert_eq!(world.files(&latest()).await, world.files(&version(1)).await);
    assert_eq!(world.commits(&latest()), 2);
    world.arrive(&a_run("r5", 40)).await;
    assert_eq!(world.files(&latest()).await, world.files(&version(1)).await);
    assert_eq!(world.commits(&latest()), 3, "and shipped to again");
}

#[tokio::test]
async fn a_mirror_that_is_far_behind_is_rebuilt_and_keeps_what_it_has() {
    let world = World::new().await;
    world.arrive(&a_run("first", 10)).await;
    for n in 0..70 {
        world.stay_behind(&a_run(&format!("r{n}"), 20 + n)).await;
    }
    world.arrive(&a_run("last", 1_000)).await;
    let mut found = world.files(&latest()).await;
    found.sort();
    let mut expected = world.files(&version(1)).await;
    expected.sort();
    assert_eq!(found, expected);
    let log = world.log_of(&latest()).await;
    assert_eq!(log.len(), 2);
    assert_eq!((log[1].adds.len(), log[1].removes.len()), (71, 0));
}

#[tokio::test]
async fn a_neighbour_that_promotes_more_than_its_own_run_does_not_hide_when_that_finished() {
    let world = World::new().await;
    let (early, late) = (a_run("early", 10), a_run("late", 30));
    let late_proven = world.stay_behind(&late).await;
    let early_proven = world.stay_behind(&early).await;
    // The early run switches to a version that holds the late one, too.
    world.promote(&early, &early_proven).await.unwrap();
    world.promote(&late, &late_proven).await.unwrap();
    let between = with_fields(a_run("between", 20), vec![field("other", "NUMBER")]);
    world.arrive(&between).await;
    assert_eq!(world.files(&latest()).await, world.files(&version(1)).await, "an older run of another schema");
}

#[tokio::test]
async fn rows_that_came_while_another_schema_was_newest_are_there_after_the_switch() {
    let world = World::new().await;
    world.arrive(&a_run("first", 10)).await;
    let other = |id: &str, finished| with_fields(a_run(id, finished), vec![field("other", "NUMBER")]);
    let (newest, early) = (other("newest", 30), other("early", 5));
    let newest_proven = world.stay_behind(&newest).await;
    let early_proven = world.stay_behind(&early).await;
    // The early run is older than what the table mirrors; its rows lie behind the newest run's.
    world.promote(&early, &early_proven).await.unwrap();
    assert_eq!(world.files(&latest()).await, world.files(&version(1)).await);
    world.promote(&newest, &newest_proven).await.unwrap();
    assert_eq!(world.files(&latest()).await, ["newest-00000.parquet", "early-00000.parquet"]);
    assert_eq!(world.commits(&latest()), 2, "in the commit that switches");
}

#[tokio::test]
async fn forgotten_tables_go_on_where_their_logs_end() {
    let world = World::new().await;
    for n in 0..3 {
        world.arrive(&a_run(&format!("r{n}"), n)).await;
    }
    world.state.forget_table_versions();
    for table in [version(1), latest()] {
        world.lake.clean_up(&connector_id(CONNECTOR), &table, 2);
    }
    world.arrive(&a_run("r3", 40)).await;
    assert_eq!(world.files(&latest()).await, world.files(&version(1)).await);
    assert_eq!(world.commits(&latest()), 4);
}

#[tokio::test]
async fn a_load_that_aimed_at_a_version_that_was_cleaned_up_is_found_or_made_once() {
    for committed in [true, false] {
        let world = World::new().await;
        let run = a_run("r", 10);
        world.record(&run).await;
        let delivery = delivery_key(&connector_id(CONNECTOR), &run.key);
        if committed {
            world.stay_behind(&run).await;
            world.state.forget_load(&delivery);
        } else {
            world.state.aim(std::slice::from_ref(&delivery), 0, instant(0)).await.unwrap();
        }
        for n in 0..4 {
            world.stay_behind(&a_run(&format!("n{n}"), n)).await;
        }
        world.lake.clean_up(&connector_id(CONNECTOR), &version(1), 3);
        world.state.forget_table_versions();
        world.stay_behind(&run).await;
        let files = world.files(&version(1)).await;
        assert_eq!(files.iter().filter(|name| name.starts_with("r-")).count(), 1, "{files:?}");
        assert_eq!(files.len(), 5);
    }
}
