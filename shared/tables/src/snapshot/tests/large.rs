//! Commits that are too large to hold.

use futures::{StreamExt as _, TryStreamExt as _};
use proptest::prelude::*;

use super::checkpoints::keeping;
use super::forms::Form;
use super::open::{all_files, all_paths, at, fails_before_its_end};
use super::*;
use crate::object::Object;
use crate::snapshot::action_lines::ActionLines;
use crate::snapshot::commits::open_commits;

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
    let entered_again: Vec<String> = (0..40_000).map(|number| format!("f{number}")).collect();
    let mut opened = Vec::new();
    for version in [None, None, Some(3)] {
        store.requests();
        let view = warm.open(PATH, version, None).await.unwrap();
        assert_eq!((view.version, view.counts), (3, None));
        opened.push(store.requests());
        assert_eq!(all_paths(view).await, entered_again);
    }
    // The hint, the commits for what may be kept, and for what they make void; before that once what is behind the kept
    // version, which nobody tries again.
    let [(first, _), (second, _), third] = opened[..] else { panic!("{opened:?}") };
    assert!(first > second && second <= 28 && third == (second, 1), "{opened:?}");
    let files = all_files(reader(&store).open(PATH, Some(2), None).await.unwrap()).await;
    store.checkpoint(2, &files, Form::Classic).await;
    let view = warm.open(PATH, None, Some(Base(Some(2)))).await.unwrap();
    assert_eq!((view.version, view.timestamp, view.counts, view.base), (3, at(1_003), None, Base(Some(2))));
    assert_eq!(all_paths(view).await, entered_again, "the checkpoint's entries are void");

    // A checkpoint that cannot be read is passed over, also if it is first read for what its files are known by.
    let location = Path::from(format!("{PATH}/_delta_log/{:020}.checkpoint.parquet", 2));
    let bytes = store.store.get(&location).await.unwrap().bytes().await.unwrap();
    let mut broken = bytes.to_vec();
    broken[4..40].fill(0);
    store.store.put(&location, PutPayload::from(broken)).await.unwrap();
    let view = reader(&store).open(PATH, None, None).await.unwrap();
    assert_eq!((view.version, view.base), (3, Base(None)));
    assert_eq!(all_paths(view).await, entered_again);
}

#[tokio::test]
async fn a_commit_that_goes_while_its_files_are_read_is_no_end() {
    let (store, _) = large().await;
    let mut view = reader(&store).open(PATH, None, None).await.unwrap();
    view.next_files().await.unwrap();
    store.store.delete(&Path::from(format!("{PATH}/_delta_log/{:020}.json", 0))).await.unwrap();
    fails_before_its_end(&mut view).await;
    assert!(view.next_files().await.is_err(), "nor is what is asked for behind the error");
}

#[tokio::test]
async fn a_small_table_is_kept_however_much_its_commits_came_to() {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..1).await;
    for version in 1..40 {
        let left = format!("f{}", version - 1);
        // What no reader needs makes the text large beside the files.
        let filler = json!({"domainMetadata": {"domain": "x", "configuration": "x".repeat(2_000)}});
        store.write(PATH, version, &[with_time(version), filler, remove(&left), add(&format!("f{version}"))]).await;
    }
    for table_max in [8_000, 400_000] {
        let reader = keeping(&store, table_max);
        for again in [false, true] {
            store.requests();
            let view = reader.open(PATH, None, None).await.unwrap();
            assert_eq!(view.counts, Some(Counts { files: 1, bytes: 10 }), "{table_max}");
            assert_eq!(store.requests() == (1, 0), again, "{table_max}");
            assert_eq!(all_paths(view).await, ["f39"]);
        }
    }
    // A guess that was too low: what was read for nothing is handed out, and the rest behind it.
    let actions: Vec<_> =
        (0..3_000).flat_map(|number| [add(&format!("g{number}")), remove(&format!("h{number}"))]).collect();
    let gone: Vec<_> = (0..3_000).map(|number| add(&format!("h{number}"))).collect();
    store.write(PATH, 40, &gone).await;
    store.write(PATH, 41, &actions).await;
    store.write(PATH, 42, &(0..3_000).map(|number| remove(&format!("h{number}"))).collect::<Vec<_>>()).await;
    let view = keeping(&store, 150_000).open(PATH, None, None).await.unwrap();
    assert_eq!(view.counts, None);
    let expected: Vec<String> = ["f39".to_owned()].into_iter().chain((0..3_000).map(|n| format!("g{n}"))).collect();
    assert_eq!(all_paths(view).await, expected);
}

#[tokio::test]
async fn what_left_makes_room_for_what_came() {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..1).await;
    for version in 1..30 {
        store.write(PATH, version, &[remove(&format!("f{}", version - 1)), add(&format!("f{version}"))]).await;
    }
    let text = 30 * 350;
    let view = keeping(&store, text / 2).open(PATH, None, None).await.unwrap();
    assert_eq!(view.counts, Some(Counts { files: 1, bytes: 10 }));
    assert_eq!(store.requests(), (31, 1), "what is held is read once");
}

#[tokio::test]
async fn a_checkpoint_that_fails_while_a_table_is_collected_is_passed_over() {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..3).await;
    let files = all_files(reader(&store).open(PATH, Some(2), None).await.unwrap()).await;
    store.checkpoint(2, &files, Form::Classic).await;
    for version in 3..40 {
        let left = format!("f{}", version - 1);
        let filler = json!({"domainMetadata": {"domain": "x", "configuration": "x".repeat(2_000)}});
        store.write(PATH, version, &[filler, remove(&left), add(&format!("f{version}"))]).await;
    }
    let open = async || keeping(&store, 8_000).open(PATH, None, None).await.unwrap();
    let view = open().await;
    assert_eq!((view.base, view.counts), (Base(Some(2)), Some(Counts { files: 3, bytes: 30 })));
    // The statistics are damaged, which nobody looks at for what files are known by.
    let location = Path::from(format!("{PATH}/_delta_log/{:020}.checkpoint.parquet", 2));
    let mut bytes = store.store.get(&location).await.unwrap().bytes().await.unwrap().to_vec();
    let stats = bytes.windows(12).position(|window| window == b"{\"numRecords").unwrap();
    bytes[stats - 24..stats].fill(0xff);
    store.store.put(&location, PutPayload::from(bytes)).await.unwrap();
    let view = open().await;
    assert_eq!((view.base, view.counts), (Base(None), Some(Counts { files: 3, bytes: 30 })));
}

#[tokio::test]
async fn an_empty_commit_is_a_version() {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..2).await;
    store.write(PATH, 2, &[]).await;
    for table_max in [0, 1 << 20] {
        let view = keeping(&store, table_max).open(PATH, None, None).await.unwrap();
        assert_eq!(view.version, 2);
        assert_eq!(all_paths(view).await, ["f0", "f1"]);
    }
}

#[tokio::test]
async fn commits_are_fetched_ahead_by_their_bytes() {
    let store = Arc::new(Counted::default());
    let filler = || json!({"domainMetadata": {"domain": "x", "configuration": "x".repeat(1 << 20)}});
    for version in 0..60 {
        let [protocol, metadata] = opening();
        store.write(PATH, version, &[protocol, metadata, filler(), add(&format!("f{version}"))]).await;
    }
    let reader = reader(&store);
    let listed = reader.list(PATH, None).await.unwrap().listed(0..60);
    store.waits.store(true, Ordering::Relaxed);
    store.requests();
    let mut commits = open_commits(store.clone(), PATH, 0..=59, listed).boxed();
    let first = commits.try_next().await.unwrap().unwrap();
    let (gets, _) = store.requests();
    assert_eq!(gets, 7, "a little more than 1 MiB each, of 8 MiB");
    assert_eq!(first.0, 0);
    drop(first);
    let read = async {
        let mut versions = Vec::new();
        while let Some((version, lines)) = commits.try_next().await.unwrap() {
            assert_eq!(lines.all().await.unwrap().adds.len(), 1);
            versions.push(version);
        }
        versions
    };
    let versions = tokio::time::timeout(std::time::Duration::from_secs(60), read).await.unwrap();
    assert!(versions.into_iter().eq(1..60));
}

#[tokio::test]
async fn the_order_of_actions_says_nothing_across_the_parts_of_a_commit() {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..1).await;
    let fillers = || (1..1_500).map(|number| add(&format!("f{number}")));
    // Added, and then removed of before; removed, and then added; removed without ever having been there, then added.
    let first = [add("f0"), remove("late")];
    let last = [remove("f0"), add("late"), with_time(1)];
    store.write(PATH, 1, &first.into_iter().chain(fillers()).chain(last).collect::<Vec<_>>()).await;
    store.write(PATH, 2, &[remove("f7"), add("f7")]).await;
    for table_max in [0, 1 << 30] {
        let files = all_files(keeping(&store, table_max).open(PATH, None, None).await.unwrap()).await;
        assert!(files.iter().all(|file| file.timestamp == at(1_001) || file.path == "f7"), "{table_max}");
        let mut paths: Vec<_> = files.iter().map(|file| file.path.clone()).collect();
        assert_eq!(paths.len(), 1_501);
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), 1_501);
    }
}

#[tokio::test]
async fn a_large_commit_is_told_in_parts_that_know_of_the_whole() {
    let store = Arc::new(Counted::default());
    let change = json!({"cdc": {"path": "_change_data/c", "partitionValues": {}, "size": 7, "dataChange": false}});
    let opening = opening();
    let removes = (0..3_000).map(|number| remove(&format!("r{number}")));
    let files = (0..3_000).map(large_add).zip(removes).flat_map(|(add, remove)| [add, remove]);
    let actions: Vec<_> = files.chain(opening).chain([change, with_time(0)]).collect();
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
    // Those that joined come first, as in a commit that is told at once: no part has both.
    let adds = parts.iter().flat_map(|part| &part.adds).map(|add| add.path.clone());
    let removes = parts.iter().flat_map(|part| &part.removes).map(|remove| remove.path.clone());
    assert!(adds.eq((0..3_000).map(|number| format!("f{number}"))));
    assert!(removes.eq((0..3_000).map(|number| format!("r{number}"))));
    let first_left = parts.iter().position(|part| !part.removes.is_empty()).unwrap();
    assert!(parts[first_left..].iter().all(|part| part.adds.is_empty()));
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
            let paths: Vec<_> = again.all().await.unwrap().adds.iter().map(|add| add.path.len()).collect();
            (paths, time)
        };
        let (found, time) = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(read);
        prop_assert_eq!(found, lengths);
        prop_assert_eq!(time, at(77));
    }
}
