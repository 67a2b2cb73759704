//! Random histories against the model.

use object_store::path::Path;
use proptest::prelude::*;

use super::super::*;
use super::support::*;

#[derive(Debug, Clone, Copy)]
enum Event {
    Append,
    /// Takes out a file, and puts one in.
    Replace(usize),
    Pass(i64),
    AfterCommits,
    Full,
    /// Leaves a file that no commit has.
    Orphan,
    /// Somebody writes nonsense over the hint, or it is lost.
    LoseHint,
    SpoilHint,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => Just(Event::Append),
        2 => (0..8_usize).prop_map(Event::Replace),
        3 => (1..40_i64).prop_map(|tenths| Event::Pass(tenths * DAY / 10)),
        2 => Just(Event::AfterCommits),
        2 => Just(Event::Full),
        1 => Just(Event::Orphan),
        1 => Just(Event::LoseHint),
        1 => Just(Event::SpoilHint),
    ]
}

async fn live(events: Vec<Event>) {
    let store = TestStore::at(1_000 * DAY);
    let mut table = Table::new(&store);
    let policy = Policy { checkpoint_interval: 4, ..eager() };
    table.append(1).await;
    let hint = Path::from(format!("{PATH}/_delta_log/_last_checkpoint"));
    for (number, event) in events.into_iter().enumerate() {
        match event {
            Event::Append => table.append(1).await,
            Event::Replace(which) => {
                let files = table.files().await;
                let file = files.get(which % files.len().max(1)).cloned();
                table.commit(file.into_iter().collect(), 1).await;
            }
            Event::Pass(seconds) => store.set(store.now().seconds() + seconds),
            Event::AfterCommits => drop(table.maintain(&policy, Work::AfterCommits).await.unwrap()),
            Event::Full => drop(table.maintain(&policy, Work::Full).await.unwrap()),
            Event::Orphan => {
                let name = Path::from(format!("{PATH}/orphan-{number}.parquet"));
                store.put(&name, "rows".into()).await.unwrap();
            }
            Event::LoseHint => drop(store.delete(&hint).await),
            Event::SpoilHint => drop(store.put(&hint, "{\"version\":99999,\"size\":1}".into()).await.unwrap()),
        }
        store.set(store.now().seconds() + 60);
    }
    table.check(&policy).await;
    // Long after, one maintenance leaves what the newest version needs and nothing else.
    store.set(store.now().seconds() + 20 * DAY);
    table.maintain(&policy, Work::Full).await.unwrap();
    table.check(&policy).await;
    store.set(store.now().seconds() + 20 * DAY);
    table.maintain(&policy, Work::Full).await.unwrap();
    table.check(&policy).await;
    let mut expected: Vec<_> = table.files().await.into_iter().map(|file| file.name).collect();
    expected.sort();
    assert_eq!(store.names(PATH).await, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_promised_version_reads_the_same_whatever_happens(events in proptest::collection::vec(event(), 1..60)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(live(events));
    }
}

#[tokio::test]
async fn an_old_log_is_cut_at_a_checkpoint_that_leads_to_every_promised_version() {
    let store = TestStore::at(1_000 * DAY);
    let mut table = Table::new(&store);
    let policy = Policy { small_files_full: 1_000, small_files_after_commits: 1_000, ..Policy::keeping(7) };
    for _ in 0..40 {
        table.append(1).await;
        store.set(store.now().seconds() + DAY / 2);
        table.maintain(&policy, Work::AfterCommits).await.unwrap();
    }
    table.maintain(&policy, Work::Full).await.unwrap();
    table.check(&policy).await;
    // The version that was the newest seven days (and an hour of slack) ago is 25; 19 is the last checkpoint before.
    let log = store.names(&format!("{PATH}/_delta_log")).await;
    assert_eq!(log.first().unwrap(), "00000000000000000019.checkpoint.parquet");
    assert_eq!(table.read(18).await.unwrap_err().kind, PortErrorKind::NotFound);
    table.read(19).await.unwrap();
}

#[tokio::test]
async fn a_file_stays_for_longer_than_a_link_to_it_lives() {
    let store = TestStore::at(1_000 * DAY);
    let mut table = Table::new(&store);
    table.append(12).await;
    let policy = Policy { history_days: 0, ..eager() };
    let old = table.files().await;
    table.maintain(&policy, Work::Full).await.unwrap();
    // A recipient who listed the table just before gets links of an hour, and may page for as long.
    for hours in [2, 24, 24 * 6] {
        store.set(1_000 * DAY + hours * 3_600);
        table.maintain(&policy, Work::Full).await.unwrap();
        for file in &old {
            store.get(&Path::from(format!("{PATH}/{}", file.name))).await.unwrap();
        }
    }
    store.set(1_008 * DAY);
    let done = table.maintain(&policy, Work::Full).await.unwrap();
    assert_eq!(done.data_files_deleted, 12);
}

#[tokio::test]
async fn nothing_but_data_files_of_the_table_is_deleted() {
    let store = TestStore::at(1_000 * DAY);
    let mut table = Table::new(&store);
    table.append(3).await;
    let neighbours = [
        "connectors/acme/WF_A__V10/run-0.parquet".to_owned(),
        format!("{PATH}/_change_data/part.parquet"),
        format!("{PATH}/_delta_log/{:020}.crc", 0),
        format!("{PATH}/.hidden"),
    ];
    for neighbour in &neighbours {
        store.put(&Path::from(neighbour.as_str()), "rows".into()).await.unwrap();
    }
    store.put(&Path::from(format!("{PATH}/half-a-delivery.parquet")), "rows".into()).await.unwrap();
    store.set(1_100 * DAY);
    store.put(&Path::from(format!("{PATH}/under-way.parquet")), "rows".into()).await.unwrap();
    let done = table.maintain(&Policy::keeping(30), Work::Full).await.unwrap();
    assert_eq!((done.data_files_deleted, done.log_files_deleted), (1, 0));
    for neighbour in &neighbours {
        store.get(&Path::from(neighbour.as_str())).await.unwrap();
    }
    store.get(&Path::from(format!("{PATH}/under-way.parquet"))).await.unwrap();
    table.check(&Policy::keeping(30)).await;
}

#[tokio::test]
async fn a_table_of_a_newer_protocol_is_left_alone() {
    let store = TestStore::at(1_000 * DAY);
    let text = "{\"protocol\":{\"minReaderVersion\":3,\"minWriterVersion\":7}}\n{\"metaData\":{\"id\":\"x\",\
                \"schemaString\":\"{}\"}}\n";
    store.put(&Path::from(format!("{PATH}/_delta_log/{:020}.json", 0)), text.into()).await.unwrap();
    let maintenance = Maintenance::new(store.clone(), Policy::keeping(30));
    let error = maintenance.maintain(PATH, Work::Full, store.now()).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::InvalidData);
    let none = maintenance.maintain("connectors/acme/NONE", Work::Full, store.now()).await.unwrap();
    assert_eq!(none, Maintained::default());
}
