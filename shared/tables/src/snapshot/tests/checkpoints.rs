//! Tables read from checkpoints: every form of them, those that fail, and those that are too large to keep.

use super::forms::Form;
use super::open::{all_files, all_paths, fails_before_its_end, with_vector};
use super::*;

/// A reader that keeps so many bytes of a table.
pub(super) fn keeping(store: &Arc<Counted>, table_max: u64) -> TableReader {
    TableReader::keeping(store.clone(), KeptBytes { together_max: table_max, table_max })
}

/// A reader that keeps nothing: every table is too large for it, and every commit.
pub(super) fn streaming(store: &Arc<Counted>) -> TableReader {
    keeping(store, 0)
}

async fn files_at(store: &Arc<Counted>, version: u64) -> Vec<Arc<File>> {
    all_files(reader(store).open(PATH, Some(version), None).await.unwrap()).await
}

/// Ten versions, the fifth of them with a vector.
async fn table() -> Arc<Counted> {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..5).await;
    store.write(PATH, 5, &[remove("f2"), with_vector(add("f2"), "one"), remove("f0")]).await;
    store.with_versions(PATH, 6..10).await;
    store
}

#[tokio::test]
async fn a_checkpoint_of_any_form_stands_for_the_commits_before_it() {
    for form in Form::ALL {
        let store = table().await;
        let files = files_at(&store, 7).await;
        store.checkpoint(7, &files, form).await;
        store.lose(0..8).await;
        for hint in ["{\"version\":7,\"size\":9}", "{\"version\":3,\"size\":9}", "{\"version\":70,\"size\":9}", "{"] {
            store.hint(hint).await;
            for reader in [reader(&store), streaming(&store)] {
                let view = reader.open(PATH, None, None).await.unwrap();
                assert_eq!((view.version, view.base), (9, Base(Some(7))), "{form:?}");
                assert_eq!((view.metadata.id.as_str(), view.protocol.min_writer_version), ("an-id", 4));
                assert_eq!(view.metadata.configuration["delta.enableChangeDataFeed"], "true");
                let found = all_files(view).await;
                let paths: Vec<_> = found.iter().map(|file| file.path.as_str()).collect();
                assert_eq!(paths, ["f1", "f3", "f4", "f2", "f6", "f7", "f8", "f9"], "{form:?}");
                assert_eq!(found[3].deletion_vector, files[3].deletion_vector, "{form:?}");
                assert_eq!((found[3].stats.as_deref(), found[3].version), (Some("{\"numRecords\":1}"), 7));
                assert!(found[3].deletion_vector.is_some());
                let view = reader.open(PATH, Some(7), None).await.unwrap();
                assert_eq!(all_paths(view).await.len(), 6);
            }
        }
        assert_eq!(reader(&store).readable(PATH).await.unwrap(), 7..=9);
        let (old, gone) = (reader(&store).open(PATH, Some(6), None).await, Base(Some(6)));
        assert_eq!(old.unwrap_err().kind, PortErrorKind::NotFound);
        assert_eq!(reader(&store).open(PATH, None, Some(gone)).await.unwrap_err().kind, PortErrorKind::NotFound);
        assert_eq!(reader(&store).transaction(PATH, "an-app").await.unwrap(), (form == Form::V2Json).then_some(7));
    }
}

#[tokio::test]
async fn a_checkpoint_that_lacks_a_file_or_is_damaged_is_passed_over() {
    for form in Form::ALL {
        for first in [Form::V2Parquet, Form::Classic] {
            let store = table().await;
            store.checkpoint(3, &files_at(&store, 3).await, first).await;
            let parts = store.checkpoint(7, &files_at(&store, 7).await, form).await;
            store.lose(0..2).await;
            for part in parts {
                let bytes = store.store.get(&part).await.unwrap().bytes().await.unwrap();
                for damaged in [None, Some(bytes.slice(..bytes.len() / 2))] {
                    match damaged {
                        Some(bytes) => drop(store.store.put(&part, bytes.into()).await.unwrap()),
                        None => store.store.delete(&part).await.unwrap(),
                    }
                    let view = reader(&store).open(PATH, None, None).await.unwrap();
                    assert_eq!(view.base, Base(Some(3)), "{form:?} {part}");
                    assert_eq!(
                        all_paths(view).await,
                        ["f1", "f3", "f4", "f2", "f6", "f7", "f8", "f9"].map(String::from)
                    );
                }
                store.store.put(&part, bytes.into()).await.unwrap();
            }
            assert_eq!(reader(&store).open(PATH, None, None).await.unwrap().base, Base(Some(7)), "{form:?}");
            // A base is kept to, however much newer another checkpoint is.
            for base in [Base(Some(3)), Base(Some(7))] {
                assert_eq!(reader(&store).open(PATH, None, Some(base)).await.unwrap().base, base);
            }
            assert!(reader(&store).open(PATH, None, Some(Base(None))).await.is_err());
        }
    }
}

#[tokio::test]
async fn a_table_opened_again_costs_one_request_and_a_kept_version_none() {
    let store = table().await;
    store.checkpoint(7, &files_at(&store, 7).await, Form::Classic).await;
    store.hint("{\"version\":7,\"size\":9}").await;
    let reader = reader(&store);
    store.requests();
    reader.open(PATH, None, None).await.unwrap();
    assert_eq!(store.requests(), (4, 1), "the hint, the checkpoint, two commits");
    let view = reader.open(PATH, None, None).await.unwrap();
    assert_eq!(store.requests(), (1, 0), "the next version");
    assert_eq!(all_paths(view).await.len(), 8);
    for base in [None, Some(Base(Some(7)))] {
        reader.open(PATH, Some(9), base).await.unwrap();
    }
    assert_eq!(store.requests(), (0, 0));
    reader.open(PATH, Some(9), Some(Base(None))).await.unwrap();
    assert_eq!(store.requests(), (10, 1), "another order is read from its beginning");
    keeping(&store, 1_000).open(PATH, Some(9), Some(Base(Some(7)))).await.unwrap();
    assert_eq!(store.requests(), (3, 1), "a base needs no hint");
}

#[tokio::test]
async fn a_log_of_three_thousand_commits_is_read_with_and_without_its_beginning() {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..3_000).await;
    let whole = reader(&store).open(PATH, None, None).await.unwrap();
    assert_eq!((whole.version, whole.counts.unwrap().files), (2_999, 3_000));
    let files = files_at(&store, 2_990).await;
    store.checkpoint(2_990, &files, Form::V2Json).await;
    store.lose(0..2_980).await;
    store.requests();
    for reader in [reader(&store), keeping(&store, 10_000)] {
        let view = reader.open(PATH, None, None).await.unwrap();
        assert_eq!(store.requests(), (13, 1), "no hint; a file, two sidecars, nine commits");
        assert_eq!(all_paths(view).await, (0..3_000).map(|file| format!("f{file}")).collect::<Vec<_>>());
        store.requests();
    }
    assert_eq!(reader(&store).readable(PATH).await.unwrap(), 2_990..=2_999);
}

/// Texts that do not compress well.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from((state >> 33) % 90).unwrap())
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[tokio::test]
async fn a_large_checkpoint_is_read_in_ranges_and_handed_out_in_its_order() {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..1).await;
    let file = files_at(&store, 0).await[0].clone();
    let files: Vec<_> = (0..24_000)
        .map(|number| {
            let (path, stats) = (format!("g{number}"), Some(noise(number, 1_000)));
            Arc::new(File { path, stats, ..(*file).clone() })
        })
        .collect();
    for form in [Form::Classic, Form::V2Json] {
        let written = store.checkpoint(0, &files, form).await;
        store.write(PATH, 1, &[remove("g0"), remove("g12345"), add("g7"), add("h")]).await;
        let reader = TableReader::new(store.clone());
        store.most.store(0, Ordering::Relaxed);
        store.requests();
        let view = reader.open(PATH, None, None).await.unwrap();
        assert_eq!((view.counts, view.base), (None, Base(Some(0))), "{form:?}: more than is kept");
        let (gets, lists) = store.requests();
        assert!(gets <= 6 && lists == 1, "{form:?}: {gets}, {lists}");
        let found = all_files(view).await;
        let expected = files.iter().filter(|file| !["g0", "g7", "g12345"].contains(&file.path.as_str()));
        let tail = ["g7", "h"].map(|path| Arc::new(File { path: path.to_owned(), version: 1, ..(*file).clone() }));
        assert_eq!(found.len(), 23_999);
        for (found, expected) in found.iter().zip(expected.chain(&tail)) {
            assert_eq!((&found.path, found.version), (&expected.path, expected.version));
            assert!(found.stats == expected.stats);
        }
        let (gets, _) = store.requests();
        assert!(gets < 60, "{form:?}: {gets}");
        assert!(store.most.load(Ordering::Relaxed) <= 4 << 20, "{form:?}");
        // A view that is dropped half-way, and a call that is, do no harm.
        let mut view = reader.open(PATH, None, None).await.unwrap();
        drop(futures::poll!(Box::pin(view.next_files())));
        assert!(view.next_files().await.unwrap().len() <= 4_096);
        for path in written {
            store.store.delete(&path).await.unwrap();
        }
        fails_before_its_end(&mut view).await;
    }
}
