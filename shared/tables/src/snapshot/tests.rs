//! Replay and the requests that it costs.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use serde_json::json;

use super::actions::CommitActions;
use super::replay::{Before, Replay};
use super::*;

mod checkpoints;
mod forms;
mod histories;
mod large;
mod open;

const PATH: &str = "connectors/acme/WF_A__V1";

/// Counts the requests that a reader makes.
#[derive(Debug, Default)]
struct Counted {
    store: InMemory,
    gets: AtomicUsize,
    lists: AtomicUsize,
    /// The most bytes of one answer.
    most: AtomicU64,
    /// Whether an answer lets others begin before it comes.
    waits: AtomicBool,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counted")
    }
}

#[async_trait]
impl ObjectStore for Counted {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.store.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        if self.waits.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
        let found = self.store.get_opts(location, options).await?;
        self.most.fetch_max(found.range.end - found.range.start, Ordering::Relaxed);
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.store.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.store.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

impl Counted {
    /// Requests since the last call: entries asked for, listings.
    fn requests(&self) -> (usize, usize) {
        (self.gets.swap(0, Ordering::Relaxed), self.lists.swap(0, Ordering::Relaxed))
    }

    async fn write(&self, path: &str, version: u64, actions: &[serde_json::Value]) {
        self.write_text(path, version, actions.iter().map(|action| format!("{action}\n")).collect()).await;
    }

    async fn write_text(&self, path: &str, version: u64, text: String) {
        let location = Path::from(format!("{path}/_delta_log/{version:020}.json"));
        self.store.put(&location, PutPayload::from(text)).await.unwrap();
    }

    /// A table of one file a version: `f0`, `f1`, …
    async fn with_versions(self: &Arc<Self>, path: &str, versions: Range<u64>) {
        for version in versions {
            let mut actions = vec![json!({"commitInfo": {"timestamp": 1_000 + version}})];
            if version == 0 {
                actions.extend(opening());
            }
            actions.push(add(&format!("f{version}")));
            self.write(path, version, &actions).await;
        }
    }
}

fn opening() -> [serde_json::Value; 2] {
    [
        json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 4}}),
        json!({"metaData": {"id": "an-id", "format": {"provider": "parquet", "options": {}},
            "schemaString": "{\"type\":\"struct\",\"fields\":[]}", "partitionColumns": [],
            "configuration": {"delta.enableChangeDataFeed": "true"}, "createdTime": 7}}),
    ]
}

fn add(path: &str) -> serde_json::Value {
    json!({"add": {"path": path, "partitionValues": {}, "size": 10, "modificationTime": 5, "dataChange": true,
        "stats": "{\"numRecords\":1}"}})
}

fn remove(path: &str) -> serde_json::Value {
    json!({"remove": {"path": path, "deletionTimestamp": 1, "dataChange": true}})
}

fn paths(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.files().map(|file| file.path.as_str()).collect()
}

fn reader(store: &Arc<Counted>) -> TableReader {
    TableReader::new(store.clone())
}

#[tokio::test]
async fn a_snapshot_holds_what_the_log_says() {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..3).await;
    let snapshot = reader(&store).snapshot(PATH, None).await.unwrap();

    assert_eq!(snapshot.version, 2);
    assert_eq!(snapshot.timestamp.millis(), 1_002);
    assert_eq!(snapshot.protocol.min_writer_version, 4);
    assert_eq!(snapshot.metadata.id, "an-id");
    assert_eq!(snapshot.metadata.created_time, Some(7));
    assert_eq!((snapshot.file_count(), snapshot.size_bytes()), (3, 30));
    assert_eq!(paths(&snapshot), ["f0", "f1", "f2"]);
    let last = snapshot.files().last().unwrap();
    assert_eq!((last.version, last.timestamp.millis(), last.size), (2, 1_002, 10));
    assert_eq!(last.stats.as_deref(), Some("{\"numRecords\":1}"));
}

#[tokio::test]
async fn files_leave_and_come_back_at_the_end() {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..4).await;
    let reader = reader(&store);
    let before = reader.snapshot(PATH, None).await.unwrap();
    store.write(PATH, 4, &[remove("f1"), remove("f3"), add("g")]).await;
    store.write(PATH, 5, &[add("f0"), add("f1")]).await;

    for reader in [reader, self::reader(&store)] {
        assert_eq!(paths(&reader.snapshot(PATH, Some(4)).await.unwrap()), ["f0", "f2", "g"]);
        assert_eq!(paths(&reader.snapshot(PATH, None).await.unwrap()), ["f2", "g", "f0", "f1"]);
    }
    assert_eq!(paths(&before), ["f0", "f1", "f2", "f3"]);
}

#[tokio::test]
async fn a_cold_read_without_a_checkpoint_costs_the_hint_a_listing_and_one_request_a_commit() {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..40).await;
    reader(&store).snapshot(PATH, None).await.unwrap();
    assert_eq!(store.requests(), (41, 1));
}

#[tokio::test]
async fn a_warm_read_costs_the_new_commits_and_one() {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..5).await;
    let reader = reader(&store);
    reader.snapshot(PATH, None).await.unwrap();
    store.requests();

    assert_eq!(reader.snapshot(PATH, None).await.unwrap().version, 4);
    assert_eq!(store.requests(), (1, 0));
    store.with_versions(PATH, 5..8).await;
    assert_eq!(reader.snapshot(PATH, None).await.unwrap().version, 7);
    assert_eq!(store.requests(), (4, 0));
}

#[tokio::test]
async fn a_table_of_strangers_is_read_anew_when_it_was_cleaned_up_or_replaced() {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..5).await;
    let reader = TableReader::of_strangers(store.clone());
    let open = async |version| reader.open(PATH, version, None).await.unwrap();
    assert_eq!(open(None).await.version, 4);
    store.requests();
    assert_eq!(open(None).await.version, 4);
    assert_eq!(store.requests(), (2, 0), "the commit that is kept, and the next one");

    // Replaced by a table of as many versions, and then by one of fewer.
    for versions in [5, 2] {
        for version in 0..5 {
            let commit = Path::from(format!("{PATH}/_delta_log/{version:020}.json"));
            store.store.delete(&commit).await.unwrap_or_default();
        }
        store.with_versions(PATH, 0..versions).await;
        store.write(PATH, versions - 1, &[opening()[0].clone(), opening()[1].clone(), add("new")]).await;
        let mut view = open(None).await;
        assert_eq!(view.version, versions - 1);
        let files = view.next_files().await.unwrap();
        assert_eq!(files.last().unwrap().path, "new");
        assert_eq!(open(Some(0)).await.version, 0);
    }
}

#[tokio::test]
async fn an_exact_version_costs_one_request_for_each_commit_behind_the_kept_one() {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..8).await;
    let reader = reader(&store);
    reader.snapshot(PATH, Some(4)).await.unwrap();
    store.requests();

    assert_eq!(reader.snapshot(PATH, Some(5)).await.unwrap().version, 5);
    assert_eq!(store.requests(), (1, 0));
    assert_eq!(reader.snapshot(PATH, Some(7)).await.unwrap().version, 7);
    assert_eq!(store.requests(), (2, 0));
    assert_eq!(reader.snapshot(PATH, Some(5)).await.unwrap().version, 5);
    assert_eq!(store.requests(), (0, 0), "a version that was just overtaken is still kept");
    for ahead in [8, u64::MAX] {
        let error = reader.snapshot(PATH, Some(ahead)).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::NotFound);
    }
}

#[tokio::test]
async fn a_snapshot_left_far_behind_is_advanced_by_a_listing() {
    let store = Arc::new(Counted::default());
    store.with_versions(PATH, 0..1).await;
    let reader = reader(&store);
    reader.snapshot(PATH, None).await.unwrap();
    store.requests();
    store.with_versions(PATH, 1..101).await;

    let snapshot = reader.snapshot(PATH, None).await.unwrap();
    assert_eq!((snapshot.version, snapshot.file_count()), (100, 101));
    assert_eq!(store.requests(), (100, 1));
}

#[tokio::test]
async fn kept_files_are_bounded_and_the_least_used_table_goes_first() {
    let store = Arc::new(Counted::default());
    for path in ["a", "b", "c"] {
        store.with_versions(path, 0..4).await;
    }
    let reader = TableReader::keeping(store.clone(), KeptBytes { together_max: 5_600, table_max: 1 << 20 });
    for path in ["a", "b", "a", "c"] {
        reader.snapshot(path, None).await.unwrap();
    }
    store.requests();
    reader.snapshot("a", None).await.unwrap();
    assert_eq!(store.requests(), (1, 0), "a was used after b");
    reader.snapshot("b", None).await.unwrap();
    assert_eq!(store.requests(), (5, 1), "b made room for c");
}

#[tokio::test]
async fn snapshots_of_neighbouring_versions_share_their_files() {
    let store = Arc::new(Counted::default());
    let many: Vec<_> = opening().into_iter().chain((0..5_000).map(|n| add(&format!("f{n}")))).collect();
    store.write(PATH, 0, &many).await;
    store.write(PATH, 1, &[add("g"), remove("f2000")]).await;
    let reader = reader(&store);
    let (first, second) = (reader.snapshot(PATH, Some(0)).await.unwrap(), reader.snapshot(PATH, None).await.unwrap());

    let shared = first.chunks().iter().filter(|chunk| second.chunks().iter().any(|other| Arc::ptr_eq(chunk, other)));
    assert_eq!((first.chunks().len(), shared.count()), (5, 3), "one chunk lost a file, the last one gained one");
    assert_eq!((second.file_count(), second.size_bytes()), (5_000, 50_000));
}

#[tokio::test]
async fn what_kept_versions_share_counts_once_and_a_table_too_large_is_not_kept() {
    let store = Arc::new(Counted::default());
    let many: Vec<_> = opening().into_iter().chain((0..8_192).map(|n| add(&format!("f{n}")))).collect();
    store.write(PATH, 0, &many).await;
    let size = reader(&store).snapshot(PATH, None).await.unwrap().files.total().kept_bytes;
    assert!((150 * 8_192..400 * 8_192).contains(&size), "{size}");
    for version in 1..4 {
        store.write(PATH, version, &[add(&format!("g{version}"))]).await;
    }
    for (table_max, kept) in [(size + size / 2, true), (size - 1, false)] {
        let bounds = KeptBytes { together_max: table_max, table_max };
        let reader = TableReader::keeping(store.clone(), bounds);
        for version in 0..4 {
            reader.open(PATH, Some(version), None).await.unwrap();
        }
        store.requests();
        for version in 0..4 {
            let view = reader.open(PATH, Some(version), None).await.unwrap();
            assert_eq!((view.counts.is_some(), store.requests() == (0, 0)), (kept, kept), "{version} of {table_max}");
        }
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_read_whole_is_said_to_be_so() {
    let store = Arc::new(Counted::default());
    store.with_versions("late", 3..5).await;
    store.with_versions("hole", 0..2).await;
    store.with_versions("hole", 3..4).await;
    store.write("garbled", 0, &[json!({"add": {"path": 1}})]).await;
    store.write("empty", 0, &[add("f")]).await;
    let mut deleted = add("f");
    deleted["add"]["deletionVector"] =
        json!({"storageType": "u", "pathOrInlineDv": "x", "sizeInBytes": 1, "cardinality": 1});
    store.write("vector", 0, &[deleted]).await;

    for (path, kind) in [
        ("none", PortErrorKind::NotFound),
        ("late", PortErrorKind::InvalidData),
        ("hole", PortErrorKind::InvalidData),
        ("garbled", PortErrorKind::InvalidData),
        ("empty", PortErrorKind::InvalidData),
        ("vector", PortErrorKind::InvalidData),
    ] {
        assert_eq!(reader(&store).snapshot(path, None).await.unwrap_err().kind, kind, "{path}");
    }
}

/// A snapshot of files of these sizes, in this order.
pub(crate) fn snapshot_of(sizes: &[u64]) -> Snapshot {
    let adds =
        sizes.iter().enumerate().map(|(place, size)| json!({"add": {"path": format!("f{place}"), "size": size}}));
    let text: String = opening().into_iter().chain(adds).map(|action| format!("{action}\n")).collect();
    let mut replay = Replay::default();
    let at = Timestamp::from_millis(0).unwrap();
    replay.apply(0, CommitActions::parse(text.as_bytes(), at).unwrap());
    replay.onto(Before::default()).unwrap()
}
