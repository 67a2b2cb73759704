//! Measures the memory of opening a table of many files and of reading them all.
//!
//! usage: open_large FILES. Makes a table of so many files, all of them in one checkpoint of one row group as delta-rs
//! writes it, in a folder of its own; opens it in a process of its own, once kept if it is small enough and once streamed
//! in any case; prints what that process took at the most.

use std::error::Error;
use std::path::Path as FilePath;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::builder::{MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, StructArray, new_null_array};
use arrow_schema::{DataType, Field, Fields, Schema};
use object_store::local::LocalFileSystem;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::json;
use tables::snapshot::{KeptBytes, TableReader};

const PATH: &str = "table";

/// Files that are columns in memory at once.
const BATCH_FILES: u64 = 10_000;

type Failure = Box<dyn Error>;

fn structure(members: Vec<(&str, ArrayRef)>) -> StructArray {
    let fields = members.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
    let (fields, arrays) = (fields.collect::<Fields>(), members.into_iter().map(|(_, array)| array).collect());
    StructArray::new(fields, arrays, None)
}

/// A number that looks like any other.
fn mixed(number: u64) -> u64 {
    let mixed = (number ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// Statistics of ten columns, some 600 bytes.
fn stats(file: u64) -> String {
    let bounds = |shift: u64| -> serde_json::Map<_, _> {
        let bound = |place: u64| (format!("column_{place}"), ((mixed(file * 20 + place) >> 20) + shift).into());
        (0..10).map(bound).collect()
    };
    json!({"numRecords": mixed(file) % 100_000, "minValues": bounds(0), "maxValues": bounds(1_000)}).to_string()
}

fn adds(files: std::ops::Range<u64>) -> Result<StructArray, Failure> {
    let path = |file| format!("part-{file:05}-{:016x}-{:016x}-c000.snappy.parquet", mixed(file), mixed(file + 7));
    let names = MapFieldNames { entry: "key_value".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    let mut partition = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for file in files.clone() {
        partition.keys().append_value("day");
        partition.values().append_value(format!("2026-01-{:02}", file % 28 + 1));
        partition.append(true)?;
    }
    let number = |file: u64| i64::try_from(mixed(file) % (1 << 30)).unwrap_or_default();
    let numbers = || Arc::new(Int64Array::from_iter_values(files.clone().map(number)));
    Ok(structure(vec![
        ("path", Arc::new(StringArray::from_iter_values(files.clone().map(path)))),
        ("partitionValues", Arc::new(partition.finish())),
        ("size", numbers()),
        ("modificationTime", numbers()),
        ("stats", Arc::new(StringArray::from_iter_values(files.clone().map(stats)))),
    ]))
}

fn build(folder: &FilePath, files: u64) -> Result<(), Failure> {
    let log = folder.join(PATH).join("_delta_log");
    std::fs::create_dir_all(&log)?;
    let version = || Arc::new(Int32Array::from(vec![1]));
    let text = |text: &str| Arc::new(StringArray::from(vec![text]));
    let protocol = structure(vec![("minReaderVersion", version()), ("minWriterVersion", version())]);
    let schema_string = text("{\"type\":\"struct\",\"fields\":[]}");
    let metadata = structure(vec![("id", text("an-id")), ("schemaString", schema_string)]);
    let columns = [("add", adds(0..0)?), ("metaData", metadata), ("protocol", protocol)];
    let field = |(name, column): &(&str, StructArray)| Field::new(*name, column.data_type().clone(), true);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let checkpoint = log.join(format!("{:020}.checkpoint.parquet", 9));
    let mut writer = ArrowWriter::try_new(std::fs::File::create(&checkpoint)?, schema.clone(), Some(properties))?;
    let types: Vec<DataType> = columns.iter().map(|(_, column)| column.data_type().clone()).collect();
    let mut put = |place: usize, column: StructArray| -> Result<(), Failure> {
        let rows = column.len();
        let mut arrays: Vec<ArrayRef> = types.iter().map(|of| new_null_array(of, rows)).collect();
        if let Some(slot) = arrays.get_mut(place) {
            *slot = Arc::new(column);
        }
        Ok(writer.write(&RecordBatch::try_new(schema.clone(), arrays)?)?)
    };
    let [_, (_, metadata), (_, protocol)] = columns;
    put(1, metadata)?;
    put(2, protocol)?;
    for begin in (0..files).step_by(usize::try_from(BATCH_FILES)?) {
        put(0, adds(begin..(begin + BATCH_FILES).min(files))?)?;
    }
    writer.close()?;
    std::fs::write(log.join("_last_checkpoint"), json!({"version": 9, "size": files + 2}).to_string())?;
    let tail = json!({"add": {"path": "last", "partitionValues": {}, "size": 1, "modificationTime": 1,
        "dataChange": true}});
    std::fs::write(log.join(format!("{:020}.json", 10)), tail.to_string())?;
    Ok(())
}

/// Opens the table and reads all its files. Prints one JSON document.
async fn read(folder: &FilePath, bounds: KeptBytes) -> Result<(), Failure> {
    let reader = TableReader::keeping(Arc::new(LocalFileSystem::new_with_prefix(folder)?), bounds);
    let before = high_water_kib()?;
    let began = Instant::now();
    let mut view = reader.open(PATH, None, None).await?;
    let opened = began.elapsed();
    let (kept, mut files, mut bytes) = (view.counts.is_some(), 0, 0);
    loop {
        let some = view.next_files().await?;
        if some.is_empty() {
            break;
        }
        files += some.len();
        bytes += some.iter().map(|file| file.path.len() + file.stats.as_ref().map_or(0, String::len)).sum::<usize>();
    }
    let report = json!({"kept": kept, "files": files, "textKib": bytes >> 10, "beforeKib": before,
        "peakKib": high_water_kib()?, "openMs": opened.as_millis(), "readMs": began.elapsed().as_millis()});
    say(&report.to_string());
    Ok(())
}

/// The most memory that this process has had.
fn high_water_kib() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("the system does not say VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

#[expect(clippy::print_stdout, reason = "the answer of a program")]
fn say(text: &str) {
    println!("{text}");
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments.as_slice() {
        ["build", folder, files] => build(FilePath::new(folder), files.parse()?),
        ["read", folder] => read(FilePath::new(folder), KeptBytes::default()).await,
        ["stream", folder] => read(FilePath::new(folder), KeptBytes { together_max: 0, table_max: 0 }).await,
        [files] => {
            let folder = std::env::temp_dir().join(format!("open_large-{}", std::process::id()));
            let run = |arguments: &[&str]| -> Result<(), Failure> {
                let status = Command::new(std::env::current_exe()?).args(arguments).status()?;
                if status.success() { Ok(()) } else { Err("a part of the measurement failed".into()) }
            };
            let name = folder.to_str().ok_or("the folder's name is no text")?;
            let done =
                run(&["build", name, files]).and_then(|()| run(&["read", name])).and_then(|()| run(&["stream", name]));
            std::fs::remove_dir_all(&folder)?;
            done
        }
        _ => Err("usage: open_large FILES".into()),
    }
}
