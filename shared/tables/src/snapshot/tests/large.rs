//! Commits that are too large to hold.

use futures::TryStreamExt as _;
use proptest::prelude::*;

use super::checkpoints::keeping;
use super::forms::Form;
use super::open::{all_files, all_paths, at};
use super::*;
use crate::object::Object;
use crate::snapshot::action_lines::ActionLines;

/// About 1,000 bytes of statistics.
fn large_add(number: usize) -> serde_json::Value {
    let mut action = add(&format!("f{number}"));
    action["add"]["stats"] = format!("{{\"numRecords\":1,\"x\":\"{}\"}}", "x".repeat(1_000)).into();
    action
}

fn with_time(version: u64) -> serde_json::Value {
    json!({"commitInfo": {"timestamp": 1_000 + version}})
}

/// 40,000 files in one commit, some of which leave in the next, and some of which are entered again.
async fn large() -> (Arc<Counted>, Vec<String>) {
    let store = Arc::new(Counted::default());
    let adds = (0..40_000).map(large_add);
    // The time comes last, as some writers have it.
    let actions: Vec<_> = opening().into_iter().chain(adds).chain([with_time(0)]).collect();
    store.write(PATH, 0, &actions).await;
    let removes = (0..5_000).map(|number| remove(&format!("f{}", number * 2)));
    let again = (20_000..25_000).map(large_add);
    let actions: Vec<_> = [with_time(1)].into_iter().chain(removes).chain(again).chain([add("g")]).collect();
    store.write(PATH, 1, &actions).await;
    let stayed = (1..10_000).step_by(2).chain(10_000..20_000).chain(25_000..40_000);
    let paths = stayed.chain(20_000..25_000).map(|number| format!("f{number}"));
    let paths = paths.chain(["g".to_owned()]).collect();
    (store, paths)
}

#[tokio::test]
async fn commits_that_are_too_large_are_read_twice_and_a_part_at_a_time() {
    let (store, paths) = large().await;
    let reader = reader(&store);
    let view = reader.open(PATH, None, None).await.unwrap();
    assert_eq!((view.version, view.timestamp, view.counts, view.base), (1, at(1_001), None, Base(None)));
    assert_eq!(view.metadata.id, "an-id");
    assert!(store.most.load(Ordering::Relaxed) <= 4 << 20);
    let files = all_files(view).await;
    assert!(files.iter().map(|file| &file.path).eq(&paths), "each file once, in the order of their addition");
    let moments = files.iter().map(|file| (file.path.as_str(), file.version, file.timestamp));
    let of = |path: &str| if path == "g" || (20_000..25_000).any(|n| path == format!("f{n}")) { 1 } else { 0 };
    for (path, version, timestamp) in moments.step_by(101) {
        assert_eq!((version, timestamp), (of(path), at(1_000 + of(path))), "{path}");
    }
    assert!(store.most.load(Ordering::Relaxed) <= 4 << 20);
    let (gets, lists) = store.requests();
    assert!(gets <= 60 && lists == 1, "{gets}, {lists}");
    let before = all_files(reader.open(PATH, Some(0), Some(Base(None))).await.unwrap()).await;
    assert_eq!((before.len(), before[39_999].timestamp), (40_000, at(1_000)));
    let snapshot = reader.snapshot(PATH, None).await.unwrap();
    assert!(snapshot.files().eq(&files), "the same as in memory");
}

#[tokio::test]
async fn a_large_commit_behind_a_kept_version_or_a_checkpoint_is_not_held() {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..3).await;
    let warm = reader(&store);
    assert!(warm.open(PATH, None, None).await.unwrap().counts.is_some());
    let actions: Vec<_> = (0..40_000).map(large_add).chain([with_time(3)]).collect();
    store.write(PATH, 3, &actions).await;
    let expected: Vec<String> = (3..40_000).chain(0..3).map(|number| format!("f{number}")).collect();
    for version in [None, Some(3)] {
        let view = warm.open(PATH, version, None).await.unwrap();
        assert_eq!((view.version, view.counts), (3, None));
        let mut paths = all_paths(view).await;
        paths.sort_by_key(|path| expected.iter().position(|known| known == path));
        assert_eq!(paths.len(), 40_000);
    }
    let files = all_files(reader(&store).open(PATH, Some(2), None).await.unwrap()).await;
    store.checkpoint(2, &files, Form::Classic).await;
    let view = warm.open(PATH, None, Some(Base(Some(2)))).await.unwrap();
    assert_eq!((view.version, view.timestamp, view.counts, view.base), (3, at(1_003), None, Base(Some(2))));
    let paths = all_paths(view).await;
    let entered_again: Vec<String> = (0..40_000).map(|number| format!("f{number}")).collect();
    assert_eq!(paths, entered_again, "the checkpoint's entries are void");
}

#[tokio::test]
async fn a_large_commit_is_told_in_parts_that_know_of_the_whole() {
    let store = Arc::new(Counted::default());
    let change = json!({"cdc": {"path": "_change_data/c", "partitionValues": {}, "size": 7, "dataChange": false}});
    let opening = opening();
    let actions: Vec<_> = (0..3_000).map(large_add).chain(opening).chain([change, with_time(0)]).collect();
    store.write(PATH, 0, &actions).await;
    store.write(PATH, 1, &[with_time(1), add("g")]).await;
    let parts: Vec<Commit> = reader(&store).commits(PATH, 0..=1).try_collect().await.unwrap();
    let (last, parts) = parts.split_last().unwrap();
    assert_eq!((last.version, last.has_changes, last.adds.len()), (1, false, 1));
    assert!(parts.len() > 3 && parts.iter().all(|part| part.adds.len() <= 1_024));
    assert!(parts.iter().all(|part| (part.version, part.timestamp, part.has_changes) == (0, at(1_000), true)));
    let is_head = |part: &Commit| part.protocol.is_some() && part.metadata.is_some();
    assert!(is_head(&parts[0]) && parts[0].adds.is_empty());
    assert!(!parts[1..].iter().any(|part| part.protocol.is_some() || part.metadata.is_some()));
    let paths = parts.iter().flat_map(|part| &part.adds).map(|add| add.path.clone());
    assert!(paths.eq((0..3_000).map(|number| format!("f{number}"))));
    assert_eq!(parts.iter().map(|part| part.changes.len()).sum::<usize>(), 1);
    assert!(store.most.load(Ordering::Relaxed) <= 4 << 20);

    let found = reader(&store).version_at(PATH, at(1_000), Side::AtOrBefore).await.unwrap();
    assert_eq!(found, VersionAt::Found { version: 0, timestamp: at(1_000) }, "the time is found behind all files");
}

#[tokio::test]
async fn a_file_that_a_commit_says_twice_is_told_once() {
    let store = Arc::new(Counted::default());
    let (mut first, mut second) = (add("f"), add("f"));
    first["add"]["size"] = 1.into();
    second["add"]["size"] = 2.into();
    let [protocol, metadata] = opening();
    store.write(PATH, 0, &[protocol, metadata, first.clone(), second.clone()]).await;
    store.write(PATH, 1, &[second, first]).await;
    for table_max in [0, 1 << 20] {
        for (version, size) in [(0, 1), (1, 2)] {
            let view = keeping(&store, table_max).open(PATH, Some(version), None).await.unwrap();
            let sizes: Vec<_> = all_files(view).await.iter().map(|file| (file.version, file.size)).collect();
            assert_eq!(sizes, [(version, size)], "{table_max}");
        }
    }
}

async fn lines_of(text: &str, first: u64) -> ActionLines {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let location = Path::from("log");
    store.put(&location, PutPayload::from(text.to_owned())).await.unwrap();
    let meta = store.head(&location).await.unwrap();
    ActionLines::new(Object::listed(&store, meta).begin(first).await.unwrap(), at(9))
}

#[tokio::test]
async fn a_line_may_be_longer_than_what_is_fetched_at_once() {
    let long = add(&"x".repeat(9 << 20)).to_string();
    let text = format!("{long}\n\n{}\n{long}", add("g"));
    let mut lines = lines_of(&text, 100).await;
    assert!(!lines.are_here());
    let mut sizes = Vec::new();
    while let Some(actions) = lines.next().await.unwrap() {
        sizes.extend(actions.adds.into_iter().map(|add| add.path.len()));
    }
    assert_eq!(sizes, [9 << 20, 1, 9 << 20]);
    let error = lines_of(&add(&"x".repeat(80 << 20)).to_string(), 100).await.next().await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::InvalidData);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn lines_are_the_same_wherever_the_fetched_part_ends(
        lengths in proptest::collection::vec(0..400_usize, 0..40),
        first in 0..20_000_u64,
        has_end in any::<bool>(),
        time_at in 0..40_usize,
    ) {
        let mut actions: Vec<_> = lengths.iter().map(|length| add(&"p".repeat(*length)).to_string()).collect();
        let time = json!({"commitInfo": {"timestamp": 77}}).to_string();
        actions.insert(time_at.min(actions.len()), time);
        let text = actions.join("\n") + if has_end { "\n" } else { "" };
        let read = async {
            let first = first.min(text.len() as u64);
            let lines = lines_of(&text, first).await;
            let (again, time) = (lines.again(), lines.again().time().await.unwrap());
            let paths: Vec<_> = again.all(u64::MAX).await.unwrap().unwrap().adds.iter().map(|add| add.path.len()).collect();
            (paths, time)
        };
        let (found, time) = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(read);
        prop_assert_eq!(found, lengths);
        prop_assert_eq!(time, at(77));
    }
}
