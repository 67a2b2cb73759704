//! A store with a clock, a counter and faults; tables of real Parquet files; a model of what their versions hold.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use async_trait::async_trait;
use bytes::Bytes;
use delivery::ports::{Commit, DataChange, DataFile, WriteOutcome};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStoreExt as _,
    PutMultipartOptions, PutResult, Result,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriter;

use super::super::*;

pub(crate) const PATH: &str = "connectors/acme/WF_A__V1";
pub(crate) const DAY: i64 = 86_400;

/// What a store does with a call that is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strikes {
    Before,
    After,
}

/// An in-memory store whose clock is the test's.
#[derive(Debug, Default)]
pub(crate) struct TestStore {
    pub(crate) store: InMemory,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    now_seconds: i64,
    modified: BTreeMap<Path, i64>,
    calls: usize,
    fault: Option<(usize, Strikes)>,
}

impl fmt::Display for TestStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store of a test")
    }
}

impl TestStore {
    pub(crate) fn at(now_seconds: i64) -> Arc<Self> {
        let store = Self::default();
        store.set(now_seconds);
        Arc::new(store)
    }

    pub(crate) fn set(&self, now_seconds: i64) {
        self.inner.lock().unwrap().now_seconds = now_seconds;
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.inner.lock().unwrap().now_seconds * 1_000).unwrap()
    }

    /// Calls since the last time that this was asked.
    pub(crate) fn take_calls(&self) -> usize {
        std::mem::take(&mut self.inner.lock().unwrap().calls)
    }

    /// Fails the call with this number from now on, once.
    pub(crate) fn fail(&self, number: usize, strikes: Strikes) {
        let mut inner = self.inner.lock().unwrap();
        inner.calls = 0;
        inner.fault = Some((number, strikes));
    }

    /// Whether the fault was met.
    pub(crate) fn heal(&self) -> bool {
        let mut inner = self.inner.lock().unwrap();
        inner.fault.take().is_some_and(|(number, _)| inner.calls > number)
    }

    fn call(&self) -> Option<Strikes> {
        let mut inner = self.inner.lock().unwrap();
        let number = inner.calls;
        inner.calls += 1;
        inner.fault.filter(|(failing, _)| *failing == number).map(|(_, strikes)| strikes)
    }

    async fn act<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.call() {
            None => work.await,
            Some(Strikes::Before) => Err(fault()),
            Some(Strikes::After) => work.await.and_then(|_| Err(fault())),
        }
    }

    fn touch(&self, location: &Path) {
        let mut inner = self.inner.lock().unwrap();
        let now = inner.now_seconds;
        inner.modified.insert(location.clone(), now);
    }

    fn aged(&self, mut meta: ObjectMeta) -> ObjectMeta {
        let seconds = self.inner.lock().unwrap().modified.get(&meta.location).copied().unwrap_or_default();
        meta.last_modified = std::time::UNIX_EPOCH
            .checked_add(std::time::Duration::from_secs(u64::try_from(seconds).unwrap()))
            .unwrap()
            .into();
        meta
    }

    pub(crate) async fn names(&self, folder: &str) -> Vec<String> {
        let prefix = Path::from(folder);
        let found = self.store.list_with_delimiter(Some(&prefix)).await.unwrap();
        found.objects.iter().map(|meta| meta.location.filename().unwrap().to_owned()).collect()
    }
}

fn fault() -> object_store::Error {
    object_store::Error::Generic { store: "test", source: "injected".into() }
}

#[async_trait]
impl ObjectStore for TestStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.act(async {
            let put = self.store.put_opts(location, payload, opts).await?;
            self.touch(location);
            Ok(put)
        })
        .await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.touch(location);
        self.act(self.store.put_multipart_opts(location, opts)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut found = self.act(self.store.get_opts(location, options)).await?;
        found.meta = self.aged(found.meta);
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.act(self.store.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.call() {
            None => self.store.delete_stream(locations),
            // A bulk request of which half is done.
            Some(Strikes::After) => {
                let some = locations.enumerate().filter(|(at, _)| futures::future::ready(at % 2 == 0));
                let deleted = self.store.delete_stream(some.map(|(_, location)| location).boxed());
                deleted.chain(futures::stream::once(async { Err(fault()) })).boxed()
            }
            Some(Strikes::Before) => futures::stream::once(async { Err(fault()) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(self.store.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(self.store.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut found = self.act(self.store.list_with_delimiter(prefix)).await?;
        found.objects = found.objects.into_iter().map(|meta| self.aged(meta)).collect();
        Ok(found)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.act(self.store.copy_opts(from, to, options)).await?;
        self.touch(to);
        Ok(())
    }
}

impl TestStore {
    fn listed(&self, entries: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.call().is_some() {
            return futures::stream::once(async { Err(fault()) }).boxed();
        }
        // What is in memory is ready at once.
        let entries: Vec<ObjectMeta> = entries.try_collect().now_or_never().unwrap().unwrap();
        let entries: Vec<_> = entries.into_iter().map(|meta| Ok(self.aged(meta))).collect();
        futures::stream::iter(entries).boxed()
    }
}

/// The rows of a file: a key each.
pub(crate) type Rows = Vec<i64>;

/// A table, and what it should hold at each version.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) store: Arc<TestStore>,
    pub(crate) path: String,
    /// Rows by version, in any order, and when the version was committed.
    pub(crate) versions: Vec<(i64, Rows)>,
    pub(crate) next_key: i64,
}

pub(crate) fn schema_text() -> String {
    r#"{"type":"struct","fields":[{"name":"key","type":"long","nullable":true,"metadata":{}},{"name":"text","type":"string","nullable":true,"metadata":{}},{"name":"number","type":"double","nullable":true,"metadata":{}}]}"#.to_owned()
}

/// A Parquet file with these keys, and its statistics.
pub(crate) fn parquet_of(keys: &[i64]) -> (Vec<u8>, String) {
    let texts: Vec<Option<String>> = keys.iter().map(|key| (key % 3 != 0).then(|| format!("text {key}"))).collect();
    let numbers: Vec<f64> = keys.iter().map(|key| *key as f64 / 4.0).collect();
    let columns: [(&str, ArrayRef, bool); 3] = [
        ("key", Arc::new(arrow_array::Int64Array::from(keys.to_vec())), true),
        ("text", Arc::new(StringArray::from(texts.clone())), true),
        ("number", Arc::new(Float64Array::from(numbers)), true),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let bytes = writer.into_inner().unwrap();
    let (low, high) = (keys.iter().min().unwrap(), keys.iter().max().unwrap());
    let mut statistics = serde_json::json!({
        "numRecords": keys.len(),
        "minValues": {"key": low, "number": *low as f64 / 4.0},
        "maxValues": {"key": high, "number": *high as f64 / 4.0},
        "nullCount": {"key": 0, "text": texts.iter().filter(|text| text.is_none()).count(), "number": 0},
    });
    if let Some(low) = texts.iter().flatten().min() {
        statistics["minValues"]["text"] = low.as_str().into();
        statistics["maxValues"]["text"] = texts.iter().flatten().max().unwrap().as_str().into();
    }
    (bytes, statistics.to_string())
}

/// The keys of a Parquet file; checks that each row is whole.
pub(crate) fn keys_of(bytes: Bytes) -> Rows {
    let mut keys = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
        let batch = batch.unwrap();
        let column = batch.column(0).as_primitive::<Int64Type>();
        let (texts, numbers) = (batch.column(1).as_string::<i32>(), batch.column(2).as_primitive::<Float64Type>());
        for (row, key) in column.values().iter().enumerate() {
            let text = texts.iter().nth(row).unwrap();
            assert_eq!(text.map(str::to_owned), (key % 3 != 0).then(|| format!("text {key}")));
            assert_eq!(numbers.value(row).to_bits(), (*key as f64 / 4.0).to_bits());
        }
        keys.extend(column.values());
    }
    keys
}

impl Table {
    pub(crate) fn new(store: &Arc<TestStore>) -> Self {
        Self { store: store.clone(), path: PATH.to_owned(), versions: Vec::new(), next_key: 0 }
    }

    pub(crate) fn version(&self) -> u64 {
        u64::try_from(self.versions.len()).unwrap() - 1
    }

    /// A commit with a `txn` of its own that takes these files out and puts a file of so many new rows in.
    pub(crate) async fn commit(&mut self, removes: Vec<DataFile>, rows: i64) {
        let keys: Rows = (self.next_key..self.next_key + rows).collect();
        self.next_key += rows;
        let mut after = self.versions.last().map(|(_, rows)| rows.clone()).unwrap_or_default();
        for file in &removes {
            let gone = self.rows_of(&file.name).await;
            after.retain(|key| !gone.contains(key));
        }
        let mut adds = Vec::new();
        if rows > 0 {
            let (bytes, statistics) = parquet_of(&keys);
            let name = format!("run-{}.parquet", keys[0]);
            let size_bytes = u64::try_from(bytes.len()).unwrap();
            self.store.put(&Path::from(format!("{}/{name}", self.path)), bytes.into()).await.unwrap();
            adds.push(DataFile { name, size_bytes, statistics });
        }
        after.extend(keys);
        let next = self.versions.len();
        let commit = Commit {
            schema_string: (next == 0).then(schema_text),
            removes,
            adds,
            transactions: vec![(format!("run/{next}"), i64::try_from(next).unwrap())],
            timestamp: self.store.now(),
            operation: "WRITE",
            change: DataChange::Rows,
        };
        let outcome =
            crate::log::write_commit(&*self.store, &self.path, u64::try_from(next).unwrap(), &commit).await.unwrap();
        assert_eq!(outcome, WriteOutcome::Written);
        self.versions.push((self.store.now().seconds(), after));
    }

    pub(crate) async fn append(&mut self, commits: usize) {
        for _ in 0..commits {
            self.commit(Vec::new(), 2).await;
        }
    }

    /// Notes what maintenance committed: a version with the same rows.
    pub(crate) async fn follow_log(&mut self) {
        let newest = TableReader::new(self.store.clone()).newest_version(&self.path).await.unwrap().unwrap();
        while self.version() < newest {
            let (_, rows) = self.versions.last().unwrap().clone();
            self.versions.push((self.store.now().seconds(), rows));
        }
    }

    pub(crate) async fn maintain(&mut self, policy: &Policy, work: Work) -> Result<Maintained, PortError> {
        let maintenance = Maintenance::new(self.store.clone(), policy.clone());
        let done = maintenance.maintain(&self.path, work, self.store.now()).await;
        self.store.inner.lock().unwrap().fault = None;
        self.follow_log().await;
        done
    }

    async fn rows_of(&self, name: &str) -> Rows {
        let location = Path::from(format!("{}/{name}", self.path));
        keys_of(self.store.store.get(&location).await.unwrap().bytes().await.unwrap())
    }

    /// The rows of a version, read from its files by a reader that knows nothing yet.
    pub(crate) async fn read(&self, version: u64) -> Result<Rows, PortError> {
        let snapshot = TableReader::new(self.store.clone()).snapshot(&self.path, Some(version)).await?;
        assert_eq!(snapshot.version, version);
        let mut rows = Vec::new();
        for file in snapshot.files() {
            rows.extend(self.rows_of(&file.path).await);
        }
        Ok(rows)
    }

    /// Every version that was the newest at some time within the promise holds what the model says, and every `txn`
    /// is known.
    pub(crate) async fn check(&self, policy: &Policy) {
        let since = self.store.now().seconds() - i64::from(policy.history_days) * DAY;
        for (version, (_, expected)) in self.versions.iter().enumerate() {
            let overtaken = self.versions.get(version + 1).map(|(at, _)| *at);
            if overtaken.is_some_and(|at| at < since) {
                continue;
            }
            let mut found = self.read(u64::try_from(version).unwrap()).await.unwrap();
            let mut expected = expected.clone();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "version {version}");
        }
        let state = TableReader::new(self.store.clone()).state(&self.path).await.unwrap();
        assert_eq!(state.snapshot.version, self.version());
    }

    /// The files of the newest version.
    pub(crate) async fn files(&self) -> Vec<DataFile> {
        let snapshot = TableReader::new(self.store.clone()).snapshot(&self.path, None).await.unwrap();
        let file = |file: &Arc<crate::snapshot::File>| DataFile {
            name: file.path.clone(),
            size_bytes: file.size,
            statistics: file.stats.clone().unwrap_or_default(),
        };
        snapshot.files().map(file).collect()
    }
}

/// A policy under which little is much.
pub(crate) fn eager() -> Policy {
    Policy { small_files_after_commits: 8, small_files_full: 4, ..Policy::keeping(7) }
}
