//! Makes the same rows as tables of four ages of care, and measures what opening them costs: for
//! `cargo xtask bench maintenance` and for other programs to read.
//!
//! usage: aged_tables FOLDER COMMITS ROWS_A_COMMIT. Prints one JSON document.

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arrow_array::{ArrayRef, Date32Array, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use async_trait::async_trait;
use bytes::Bytes;
use delivery::ids::ConnectorId;
use delivery::ports::{Commit, DataChange, DataFile, TableLog as _, WriteOutcome};
use delivery::table::{TableName, table_path};
use delivery::timestamp::{Timestamp, format_date};
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use tables::log::ObjectStoreTableLog;
use tables::maintenance::{Maintenance, Policy, Work};
use tables::snapshot::TableReader;

/// 2026-01-01.
const EPOCH_SECONDS: i64 = 1_767_225_600;

/// Counts requests.
#[derive(Debug)]
struct Counted {
    store: LocalFileSystem,
    requests: AtomicUsize,
}

impl Counted {
    fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self) -> usize {
        self.requests.swap(0, Ordering::Relaxed)
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counted")
    }
}

#[async_trait]
impl ObjectStore for Counted {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> StoreResult<PutResult> {
        self.count();
        self.store.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.count();
        self.store.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.count();
        self.store.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        self.count();
        self.store.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        self.count();
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.count();
        self.store.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.count();
        self.store.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.count();
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.count();
        self.store.copy_opts(from, to, options).await
    }
}

const SCHEMA: &str = r#"{"type":"struct","fields":[{"name":"title","type":"string","nullable":true,"metadata":{}},{"name":"price","type":"double","nullable":true,"metadata":{}},{"name":"seen","type":"date","nullable":true,"metadata":{}},{"name":"run_id","type":"string","nullable":true,"metadata":{}},{"name":"run_finished_at","type":"timestamp","nullable":true,"metadata":{}}]}"#;

fn instant(seconds: i64) -> String {
    let text = Timestamp::from_millis(seconds * 1_000).map(|at| at.to_string()).unwrap_or_default();
    format!("{}.000Z", text.trim_end_matches('Z'))
}

/// The rows of these runs as a Parquet file with its statistics.
fn file_of(runs: Range<i64>, rows: i64) -> Result<(Vec<u8>, String), Box<dyn Error>> {
    let keys: Vec<i64> = (runs.start * rows..runs.end * rows).collect();
    let title = |key: &i64| (key % 7 != 0).then(|| format!("Article number {:08} of the shop", key * 7_919 % 99_991));
    let titles: Vec<_> = keys.iter().map(title).collect();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let prices: Vec<f64> = keys.iter().map(|key| (key * 31 % 10_000) as f64 / 100.0).collect();
    let days: Vec<i32> = keys.iter().map(|key| 20_000 + i32::try_from(key % 1_000).unwrap_or_default()).collect();
    let run_of = |key: &i64| key / rows.max(1);
    let run_ids: Vec<_> = keys.iter().map(|key| format!("run-{:06}", run_of(key))).collect();
    let finished: Vec<i64> = keys.iter().map(|key| (EPOCH_SECONDS + run_of(key)) * 1_000_000).collect();
    let nulls = titles.iter().filter(|title| title.is_none()).count();
    let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let statistics = json!({
        "numRecords": keys.len(),
        "minValues": {"title": titles.iter().flatten().min(), "price": least(&prices),
            "seen": days.iter().min().map(|day| format_date(*day)), "run_id": run_ids.iter().min(),
            "run_finished_at": instant(EPOCH_SECONDS + runs.start)},
        "maxValues": {"title": titles.iter().flatten().max(), "price": most(&prices),
            "seen": days.iter().max().map(|day| format_date(*day)), "run_id": run_ids.iter().max(),
            "run_finished_at": instant(EPOCH_SECONDS + runs.end - 1)},
        "nullCount": {"title": nulls, "price": 0, "seen": 0, "run_id": 0, "run_finished_at": 0},
    });
    let columns: [(&str, ArrayRef, bool); 5] = [
        ("title", Arc::new(StringArray::from(titles)), true),
        ("price", Arc::new(Float64Array::from(prices)), true),
        ("seen", Arc::new(Date32Array::from(days)), true),
        ("run_id", Arc::new(StringArray::from(run_ids)), true),
        ("run_finished_at", Arc::new(TimestampMicrosecondArray::from(finished).with_timezone("UTC")), true),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    Ok((writer.into_inner()?, statistics.to_string()))
}

struct World {
    store: Arc<Counted>,
    log: ObjectStoreTableLog,
    connector: ConnectorId,
    rows: i64,
}

impl World {
    /// A commit of some runs as one file. Returns the requests of the commit itself.
    async fn commit(&self, table: &TableName, version: u64, runs: Range<i64>) -> Result<usize, Box<dyn Error>> {
        let (bytes, statistics) = file_of(runs.clone(), self.rows)?;
        let name = format!("run-{:06}-00000.parquet", runs.start);
        let size_bytes = u64::try_from(bytes.len())?;
        let location = Path::from(format!("{}/{name}", table_path(&self.connector, table)));
        self.store.put(&location, PutPayload::from(bytes)).await?;
        let commit = Commit {
            schema_string: (version == 0).then(|| SCHEMA.to_owned()),
            removes: Vec::new(),
            adds: vec![DataFile { name, size_bytes, statistics }],
            transactions: runs.map(|run| (format!("run/run-{run:06}"), run)).collect(),
            timestamp: now()?,
            operation: "WRITE",
            change: DataChange::Rows,
        };
        self.store.take();
        match self.log.write(&self.connector, table, version, &commit).await? {
            WriteOutcome::Written => Ok(self.store.take()),
            WriteOutcome::Taken => Err("the version is taken".into()),
        }
    }

    /// What a first look at a table costs.
    async fn open(&self, table: &TableName) -> Result<Value, Box<dyn Error>> {
        self.store.take();
        let mut milliseconds = Vec::new();
        let mut requests = 0;
        let mut files = 0;
        for _ in 0..5 {
            let began = Instant::now();
            let reader = TableReader::new(self.store.clone());
            files = reader.snapshot(&table_path(&self.connector, table), None).await?.file_count();
            milliseconds.push(began.elapsed().as_secs_f64() * 1_000.0);
            requests = self.store.take();
        }
        milliseconds.sort_by(f64::total_cmp);
        Ok(json!({"files": files, "requests": requests, "milliseconds": milliseconds.get(2)}))
    }
}

fn now() -> Result<Timestamp, Box<dyn Error>> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Timestamp::from_millis(i64::try_from(since.as_millis())?).ok_or_else(|| "the clock is wrong".into())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, commits, rows] = arguments.as_slice() else {
        return Err("usage: aged_tables FOLDER COMMITS ROWS".into());
    };
    let (commits, rows): (i64, i64) = (commits.parse()?, rows.parse()?);
    let store = LocalFileSystem::new_with_prefix(folder)?;
    let store = Arc::new(Counted { store, requests: AtomicUsize::new(0) });
    let connector = ConnectorId::new("bench")?;
    let world = World { log: ObjectStoreTableLog::new(store.clone()), store: store.clone(), connector, rows };
    let table = |name: &str| TableName::from_stored(format!("WF_{name}__V1"));
    let mut tables = serde_json::Map::new();

    let (raw, checkpointed, merged, at_once) = (table("RAW"), table("CHECKPOINTED"), table("MERGED"), table("AT_ONCE"));
    for name in [&raw, &checkpointed, &merged] {
        for run in 0..commits {
            world.commit(name, u64::try_from(run)?, run..run + 1).await?;
        }
    }
    world.commit(&at_once, 0, 0..commits).await?;
    let checkpoints_only = Policy { small_files_after_commits: usize::MAX, ..Policy::keeping(30) };
    let path = |name: &TableName| table_path(&world.connector, name);
    Maintenance::new(store.clone(), checkpoints_only)
        .maintain(&path(&checkpointed), Work::AfterCommits, now()?)
        .await?;
    store.take();
    let began = Instant::now();
    let done = Maintenance::new(store.clone(), Policy::keeping(30))
        .maintain(&path(&merged), Work::AfterCommits, now()?)
        .await?;
    let maintenance = json!({"milliseconds": began.elapsed().as_secs_f64() * 1_000.0, "requests": store.take(),
        "filesMerged": done.files_merged, "filesMade": done.files_made, "bytesMerged": done.bytes_merged});
    for (key, name) in [("raw", &raw), ("checkpointed", &checkpointed), ("merged", &merged), ("atOnce", &at_once)] {
        tables.insert(key.to_owned(), json!({"path": path(name), "open": world.open(name).await?}));
    }

    // The next delivery's commit, on a table that is maintained as it grows.
    let kept = table("KEPT");
    let maintained = Maintenance::new(store.clone(), Policy::keeping(30));
    let mut next = serde_json::Map::new();
    let small = World { log: ObjectStoreTableLog::new(store.clone()), rows: 1, ..world };
    let mut version = 0;
    for delivery in 0..=10_000_i64 {
        let requests = small.commit(&kept, version, delivery..delivery + 1).await?;
        if [10, 1_000, 10_000].contains(&delivery) {
            store.take();
            small.log.newest_version(&small.connector, &kept).await?;
            let recovery = store.take();
            let open = small.open(&kept).await?;
            let cost = json!({"commitRequests": requests, "newestVersionRequests": recovery, "open": open});
            next.insert(delivery.to_string(), cost);
        }
        if delivery % 10 == 9 {
            let done = maintained.maintain(&table_path(&small.connector, &kept), Work::AfterCommits, now()?).await?;
            version += u64::from(done.files_made > 0);
        }
        version += 1;
    }
    let report = json!({"tables": tables, "maintenance": maintenance, "nextCommit": next});
    #[expect(clippy::print_stdout, reason = "the answer of a program")]
    {
        println!("{report}");
    }
    Ok(())
}
