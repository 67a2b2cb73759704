//! Small files, and who else writes meanwhile.

use super::support::*;
use object_store::path::Path;

use super::super::*;

#[tokio::test]
async fn many_small_files_become_one_with_their_rows_in_order_and_their_statistics() {
    let store = TestStore::at(100 * DAY);
    let mut table = Table::new(&store);
    table.append(20).await;
    let done = table.maintain(&eager(), Work::AfterCommits).await.unwrap();
    assert_eq!((done.files_merged, done.files_made, done.checkpoint), (20, 1, Some(20)));
    assert_eq!(table.read(20).await.unwrap(), (0..40).collect::<Vec<_>>());
    table.check(&eager()).await;
    let [file] = table.files().await.try_into().unwrap();
    let expected: serde_json::Value = serde_json::from_str(&parquet_of(&(0..40).collect::<Vec<_>>()).1).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&file.statistics).unwrap(), expected);
    let text = store.store.get(&Path::from(format!("{PATH}/_delta_log/{:020}.json", 20))).await.unwrap();
    let text = String::from_utf8(text.bytes().await.unwrap().to_vec()).unwrap();
    assert!(text.contains("\"OPTIMIZE\"") && !text.contains("\"dataChange\":true"));
}

#[tokio::test]
async fn a_table_that_needs_nothing_costs_two_requests() {
    let store = TestStore::at(100 * DAY);
    let mut table = Table::new(&store);
    table.append(19).await;
    table.maintain(&eager(), Work::AfterCommits).await.unwrap();
    table.append(3).await;
    store.take_calls();
    let done = Maintenance::new(store.clone(), eager()).maintain(PATH, Work::AfterCommits, store.now()).await.unwrap();
    assert_eq!(done, Maintained::default());
    assert_eq!(store.take_calls(), 2);
}

#[tokio::test]
async fn a_mirror_is_not_merged_but_gets_checkpoints() {
    let store = TestStore::at(100 * DAY);
    let mut table = Table { path: "connectors/acme/WF_A__LATEST".to_owned(), ..Table::new(&store) };
    table.append(20).await;
    let done = table.maintain(&eager(), Work::Full).await.unwrap();
    assert_eq!((done.files_merged, done.checkpoint), (0, Some(19)));
    table.check(&eager()).await;
}

#[tokio::test]
async fn appends_during_the_work_lose_nothing() {
    let store = TestStore::at(100 * DAY);
    let mut table = Table::new(&store);
    table.append(20).await;
    let maintenance = Maintenance::new(store.clone(), eager());
    let state = maintenance.reader.state(PATH).await.unwrap();
    table.append(3).await;
    let mut done = Maintained::default();
    maintenance.compact(PATH, &state, Work::Full, store.now(), &mut done).await.unwrap();
    table.follow_log().await;
    assert_eq!((done.files_merged, table.version()), (20, 23));
    table.check(&eager()).await;
    assert_eq!(table.files().await.len(), 4);
}

#[tokio::test]
async fn a_merge_whose_file_was_removed_meanwhile_is_given_up() {
    let store = TestStore::at(100 * DAY);
    let mut table = Table::new(&store);
    table.append(20).await;
    let maintenance = Maintenance::new(store.clone(), eager());
    let state = maintenance.reader.state(PATH).await.unwrap();
    let gone = table.files().await.swap_remove(7);
    table.commit(vec![gone], 1).await;
    let mut done = Maintained::default();
    maintenance.compact(PATH, &state, Work::Full, store.now(), &mut done).await.unwrap();
    assert_eq!(done, Maintained::default());
    table.follow_log().await;
    table.check(&eager()).await;
    assert_eq!(table.version(), 20);
}

#[tokio::test]
async fn two_merges_at_once_are_one() {
    let store = TestStore::at(100 * DAY);
    let mut table = Table::new(&store);
    table.append(20).await;
    let maintenance = Maintenance::new(store.clone(), eager());
    let state = maintenance.reader.state(PATH).await.unwrap();
    for _ in 0..2 {
        let mut done = Maintained::default();
        maintenance.compact(PATH, &state, Work::Full, store.now(), &mut done).await.unwrap();
        assert_eq!(done.files_made, 1);
    }
    table.follow_log().await;
    assert_eq!((table.version(), table.files().await.len()), (20, 1));
    table.check(&eager()).await;
}

#[tokio::test]
async fn a_data_file_that_cannot_be_read_holds_no_checkpoint_up() {
    let store = TestStore::at(100 * DAY);
    let mut table = Table::new(&store);
    table.append(20).await;
    let name = table.files().await.swap_remove(3).name;
    store.put(&Path::from(format!("{PATH}/{name}")), "damaged".into()).await.unwrap();
    let error = table.maintain(&eager(), Work::Full).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::InvalidData);
    assert_eq!(table.version(), 19);
    let reader = TableReader::new(store.clone());
    assert_eq!(reader.hint(PATH).await.unwrap().unwrap().version, 19);
}

#[tokio::test]
async fn files_with_other_columns_are_merged_apart() {
    use arrow_array::{Int64Array, RecordBatch};
    use delivery::ports::{Commit, DataChange, DataFile};
    use parquet::arrow::ArrowWriter;
    let store = TestStore::at(100 * DAY);
    let mut table = Table::new(&store);
    table.append(5).await;
    let batch =
        RecordBatch::try_from_iter([("key", Arc::new(Int64Array::from(vec![1])) as arrow_array::ArrayRef)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let bytes = writer.into_inner().unwrap();
    let mut adds = Vec::new();
    for name in ["a.parquet", "b.parquet"] {
        store.put(&Path::from(format!("{PATH}/{name}")), bytes.clone().into()).await.unwrap();
        let size_bytes = u64::try_from(bytes.len()).unwrap();
        adds.push(DataFile { name: name.to_owned(), size_bytes, statistics: r#"{"numRecords":1}"#.to_owned() });
    }
    let commit = Commit {
        schema_string: None,
        removes: Vec::new(),
        adds,
        transactions: Vec::new(),
        timestamp: store.now(),
        operation: "WRITE",
        change: DataChange::Rows,
    };
    let _ = crate::log::write_commit(&*store, PATH, 5, &commit).await.unwrap();
    let done = Maintenance::new(store.clone(), eager()).maintain(PATH, Work::Full, store.now()).await.unwrap();
    assert_eq!((done.files_merged, done.files_made), (7, 2));
}
