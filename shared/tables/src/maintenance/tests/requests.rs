//! What tables cost after years.

use delivery::ports::{Commit, DataChange, DataFile, TableLog as _, WriteOutcome};
use delivery::table::TableName;
use object_store::path::Path;

use super::super::*;
use super::support::*;
use crate::log::ObjectStoreTableLog;

fn commit(version: u64, store: &TestStore) -> Commit {
    Commit {
        schema_string: (version == 0).then(schema_text),
        removes: Vec::new(),
        adds: vec![DataFile { name: format!("f{version}"), size_bytes: 1 << 30, statistics: "{}".to_owned() }],
        transactions: vec![(format!("run/{version}"), 1)],
        timestamp: store.now(),
        operation: "WRITE",
        change: DataChange::Rows,
    }
}

#[tokio::test]
async fn two_thousand_small_commits_end_as_one_file_and_a_cold_read_of_few_requests() {
    let store = TestStore::at(1_000 * DAY);
    let mut table = Table::new(&store);
    table.append(2_000).await;
    store.take_calls();
    TableReader::new(store.clone()).snapshot(PATH, None).await.unwrap();
    assert!(store.take_calls() > 2_000);
    table.maintain(&Policy::keeping(30), Work::AfterCommits).await.unwrap();
    assert_eq!(table.files().await.len(), 1);
    table.append(9).await;
    store.take_calls();
    let reader = TableReader::new(store.clone());
    let snapshot = reader.snapshot(PATH, None).await.unwrap();
    assert_eq!((snapshot.version, snapshot.file_count()), (2_009, 10));
    assert_eq!(store.take_calls(), 12, "the hint, a listing, the checkpoint, nine commits");
    assert_eq!(reader.transaction(PATH, "run/7").await.unwrap(), Some(7));
    assert_eq!(reader.transaction(PATH, "run/2006").await.unwrap(), Some(2_006));
    assert_eq!(reader.transaction(PATH, "run/none").await.unwrap(), None);
    assert_eq!(reader.transaction("connectors/acme/NONE", "run/7").await.unwrap(), None);
}

#[tokio::test]
async fn the_next_commit_costs_the_same_at_any_age() {
    let store = TestStore::at(1_000 * DAY);
    let connector = delivery::ids::ConnectorId::new("acme").unwrap();
    let name = TableName::from_stored("WF_A__V1");
    let log = ObjectStoreTableLog::new(store.clone());
    let maintenance = Maintenance::new(store.clone(), Policy::keeping(7));
    let mut costs = Vec::new();
    for version in 0..10_000_u64 {
        store.set(1_000 * DAY + i64::try_from(version).unwrap() * 3_600);
        if version % 10 == 0 && version > 0 {
            let work = if version % 500 == 0 { Work::Full } else { Work::AfterCommits };
            maintenance.maintain(PATH, work, store.now()).await.unwrap();
        }
        store.take_calls();
        let outcome = log.write(&connector, &name, version, &commit(version, &store)).await.unwrap();
        assert_eq!(outcome, WriteOutcome::Written);
        if [15, 1_005, 9_995].contains(&version) {
            let written = store.take_calls();
            assert_eq!(log.newest_version(&connector, &name).await.unwrap(), Some(version));
            let found = store.take_calls();
            assert_eq!(log.transaction(&connector, &name, "run/7").await.unwrap(), Some(1));
            costs.push((written, found, store.take_calls()));
        }
    }
    // A commit; the hint and a listing; those, the checkpoint and six commits.
    assert_eq!(costs, [(1, 2, 9); 3]);
}

#[tokio::test]
async fn a_warm_reader_far_behind_begins_at_a_checkpoint() {
    let store = TestStore::at(1_000 * DAY);
    let mut table = Table::new(&store);
    table.append(1).await;
    let reader = TableReader::new(store.clone());
    reader.snapshot(PATH, None).await.unwrap();
    table.append(200).await;
    table.maintain(&Policy::keeping(30), Work::AfterCommits).await.unwrap();
    store.take_calls();
    assert_eq!(reader.snapshot(PATH, None).await.unwrap().version, table.version());
    assert!(store.take_calls() < 30);
}

#[tokio::test]
async fn a_hint_that_is_missing_stale_or_wrong_costs_a_listing() {
    let store = TestStore::at(1_000 * DAY);
    let mut table = Table::new(&store);
    for _ in 0..3 {
        table.append(10).await;
        table.maintain(&Policy::keeping(30), Work::AfterCommits).await.unwrap();
    }
    let hint = Path::from(format!("{PATH}/_delta_log/_last_checkpoint"));
    for text in ["{\"version\":9,\"size\":1}", "{\"version\":12,\"size\":1}", "{\"version\":999,\"size\":1}", "{", ""] {
        store.put(&hint, text.into()).await.unwrap();
        for version in [5, 9, 12, 19, 25, 29] {
            assert_eq!(table.read(version).await.unwrap().len(), 2 * usize::try_from(version + 1).unwrap());
        }
        assert_eq!(TableReader::new(store.clone()).newest_version(PATH).await.unwrap(), Some(29), "{text}");
    }
    store.delete(&hint).await.unwrap();
    table.check(&Policy::keeping(30)).await;
    // A damaged checkpoint is passed over as long as there is another way.
    let newest = Path::from(format!("{PATH}/_delta_log/{}", checkpoint::file_name(29)));
    store.put(&newest, "damaged".into()).await.unwrap();
    table.check(&Policy::keeping(30)).await;
}
