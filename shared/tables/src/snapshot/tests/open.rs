//! Tables opened for their files, their commits and their times.

use futures::TryStreamExt as _;

use super::*;

pub(super) fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(millis).unwrap()).unwrap()
}

pub(super) async fn all_files(mut view: TableView) -> Vec<Arc<File>> {
    let mut files = Vec::new();
    loop {
        let some = view.next_files().await.unwrap();
        assert!(some.len() <= 4_096);
        if some.is_empty() {
            assert!(view.next_files().await.unwrap().is_empty(), "the end stays the end");
            return files;
        }
        files.extend(some);
    }
}

/// Reads a view until it fails, because a file of the log is gone, and not before that as if it had ended.
pub(super) async fn fails_before_its_end(view: &mut TableView) {
    let mut read = Vec::new();
    while read.len() < 100 {
        match view.next_files().await {
            Ok(files) => read.push(files.len()),
            Err(error) => {
                assert_eq!(error.kind, PortErrorKind::NotFound);
                break;
            }
        }
    }
    assert!(read.len() < 100 && !read.contains(&0), "what is gone is no end: {read:?}");
}

pub(super) async fn all_paths(view: TableView) -> Vec<String> {
    all_files(view).await.iter().map(|file| file.path.clone()).collect()
}

pub(super) fn vector(place: &str) -> serde_json::Value {
    json!({"storageType": "u", "pathOrInlineDv": place, "offset": 4, "sizeInBytes": 40, "cardinality": 6})
}

pub(super) fn with_vector(mut action: serde_json::Value, place: &str) -> serde_json::Value {
    for (_, fields) in action.as_object_mut().unwrap() {
        fields["deletionVector"] = vector(place);
    }
    action
}

#[tokio::test]
async fn reading_may_move_between_threads() {
    fn is_free<T: Send + 'static>(given: T) -> T {
        given
    }
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..2).await;
    let reader = Arc::new(reader(&store));
    let commits = is_free(reader.commits(PATH, 0..=1));
    let found = is_free(async move {
        let mut view = reader.open(PATH, None, None).await.unwrap();
        reader.version_at(PATH, at(0), Side::AtOrAfter).await.unwrap();
        view.next_files().await.unwrap().len()
    });
    assert_eq!((found.await, commits.try_collect::<Vec<_>>().await.unwrap().len()), (2, 2));
}

#[tokio::test]
async fn a_view_says_what_the_snapshot_says() {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..4).await;
    store.write(PATH, 4, &[remove("f1"), add("g")]).await;
    let reader = reader(&store);
    let view = reader.open(PATH, None, None).await.unwrap();
    assert_eq!((view.version, view.base), (4, Base(None)));
    assert_eq!(view.counts, Some(Counts { files: 4, bytes: 40 }));
    assert_eq!((view.metadata.id.as_str(), view.protocol.min_writer_version), ("an-id", 4));
    assert_eq!(all_paths(view).await, ["f0", "f2", "f3", "g"]);
    let view = reader.open(PATH, Some(2), Some(Base(None))).await.unwrap();
    assert_eq!((view.version, view.timestamp), (2, at(1_002)));
    assert_eq!(all_paths(view).await, ["f0", "f1", "f2"]);
    for (version, base) in [(Some(5), None), (None, Some(Base(Some(3)))), (Some(2), Some(Base(Some(3))))] {
        assert_eq!(reader.open(PATH, version, base).await.unwrap_err().kind, PortErrorKind::NotFound);
    }
}

#[tokio::test]
async fn a_vector_goes_with_its_file_and_keeps_it_from_those_who_know_none() {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..3).await;
    store.write(PATH, 3, &[remove("f1"), with_vector(add("f1"), "one")]).await;
    let reader = reader(&store);
    let files = all_files(reader.open(PATH, None, None).await.unwrap()).await;
    let vectors: Vec<_> = files.iter().map(|file| (file.path.as_str(), file.deletion_vector.is_some())).collect();
    assert_eq!(vectors, [("f0", false), ("f2", false), ("f1", true)]);
    let vector = files[2].deletion_vector.as_ref().unwrap();
    assert_eq!((vector.unique_id().as_str(), vector.size_in_bytes, vector.cardinality), ("uone@4", 40, 6));
    assert_eq!(reader.snapshot(PATH, None).await.unwrap_err().kind, PortErrorKind::InvalidData);
    assert_eq!(reader.state(PATH).await.unwrap_err().kind, PortErrorKind::InvalidData);
    assert_eq!(reader.snapshot(PATH, Some(2)).await.unwrap().file_count(), 3);

    // The next vector takes the place of the first, in whatever order the commit says so.
    store.write(PATH, 4, &[with_vector(add("f1"), "two"), with_vector(remove("f1"), "one")]).await;
    let files = all_files(reader.open(PATH, None, None).await.unwrap()).await;
    assert_eq!(files.len(), 3);
    assert_eq!(files[2].deletion_vector.as_ref().unwrap().path_or_inline_dv, "two");
    store.write(PATH, 5, &[with_vector(remove("f1"), "two")]).await;
    assert_eq!(all_paths(reader.open(PATH, None, None).await.unwrap()).await, ["f0", "f2"]);
    assert_eq!(reader.snapshot(PATH, None).await.unwrap().file_count(), 2);
}

#[tokio::test]
async fn commits_come_in_order_with_all_that_they_changed() {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..60).await;
    let mut moved = add("g");
    moved["add"]["dataChange"] = false.into();
    moved["add"]["partitionValues"] = json!({"day": "1", "hour": null});
    let left = json!({"remove": {"path": "f3", "deletionTimestamp": 9, "dataChange": true, "size": 10,
        "extendedFileMetadata": true, "partitionValues": {"day": "2"}}});
    let changes = json!({"cdc": {"path": "_change_data/c", "partitionValues": {"day": "3"}, "size": 7,
        "dataChange": false}});
    let other = json!({"domainMetadata": {"domain": "x", "configuration": "", "removed": false}});
    store.write(PATH, 60, &[moved, left, with_vector(remove("f4"), "one"), changes, other]).await;

    let reader = reader(&store);
    let commits: Vec<_> = reader.commits(PATH, 0..=60).try_collect().await.unwrap();
    assert_eq!(commits.iter().map(|commit| commit.version).collect::<Vec<_>>(), (0..=60).collect::<Vec<_>>());
    assert_eq!(store.requests(), (61, 0));
    assert!(commits[0].protocol.is_some() && commits[0].metadata.is_some());
    assert!(commits[1].protocol.is_none() && commits[1].metadata.is_none());
    assert_eq!(
        (commits[9].timestamp, commits[9].adds[0].path.as_str(), commits[9].adds[0].data_change),
        (at(1_009), "f9", true)
    );
    let last = &commits[60];
    assert_eq!((last.adds.len(), last.removes.len(), last.changes.len()), (1, 2, 1));
    assert!(!last.adds[0].data_change);
    assert_eq!(
        last.adds[0].partition_values,
        [("day".to_owned(), Some("1".to_owned())), ("hour".to_owned(), None)].into()
    );
    assert_eq!((last.removes[0].size, last.removes[0].data_change), (Some(10), true));
    assert_eq!(last.removes[0].partition_values, Some([("day".to_owned(), Some("2".to_owned()))].into()));
    assert_eq!(last.removes[1].deletion_vector.as_ref().unwrap().unique_id(), "uone@4");
    assert_eq!((last.changes[0].path.as_str(), last.changes[0].size), ("_change_data/c", 7));

    let error = reader.commits(PATH, 59..=61).try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotFound);
}

#[tokio::test]
async fn a_version_is_found_by_its_time() {
    let store = Arc::new(Counted::default());
    // Committed at 1000, 1001, …, 1299, and after a pause at 2000.
    store.with_versions(PATH, 0..300).await;
    store.write(PATH, 300, &[json!({"commitInfo": {"timestamp": 5, "inCommitTimestamp": 2_000}}), add("g")]).await;
    let reader = reader(&store);
    let found = |version, millis| VersionAt::Found { version, timestamp: at(millis) };
    for (time, before, after) in [
        (999, VersionAt::BeforeFirst { version: 0, timestamp: at(1_000) }, found(0, 1_000)),
        (1_000, found(0, 1_000), found(0, 1_000)),
        (1_123, found(123, 1_123), found(123, 1_123)),
        (1_299, found(299, 1_299), found(299, 1_299)),
        (1_300, found(299, 1_299), found(300, 2_000)),
        (2_000, found(300, 2_000), found(300, 2_000)),
        (2_001, found(300, 2_000), VersionAt::AfterLast { version: 300, timestamp: at(2_000) }),
    ] {
        store.requests();
        assert_eq!(reader.version_at(PATH, at(time), Side::AtOrBefore).await.unwrap(), before, "{time}");
        let (gets, lists) = store.requests();
        assert!(gets <= 11 && lists == 1, "{gets} {lists}");
        assert_eq!(reader.version_at(PATH, at(time), Side::AtOrAfter).await.unwrap(), after, "{time}");
    }
    assert_eq!(reader.readable(PATH).await.unwrap(), 0..=300);
    assert_eq!(reader.readable("none").await.unwrap_err().kind, PortErrorKind::NotFound);
}
