//! Checkpoints of every form, as other writers make them: with deletion vectors, in parts, with sidecars.

use arrow_array::builder::{Int32Builder, Int64Builder, ListBuilder, MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray, new_null_array};
use arrow_schema::{DataType, Field, Fields, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::*;

/// How a checkpoint is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Classic,
    Parts,
    V2Json,
    V2Parquet,
    /// A classic name, and sidecars.
    ClassicV2,
}

impl Form {
    pub(super) const ALL: [Self; 5] = [Self::Classic, Self::Parts, Self::V2Json, Self::V2Parquet, Self::ClassicV2];
}

fn log_path(name: &str) -> Path {
    Path::from(format!("{PATH}/_delta_log/{name}"))
}

impl Counted {
    /// Writes a checkpoint of these files, and returns what it put beside the hint, which it leaves alone.
    pub(super) async fn checkpoint(&self, version: u64, files: &[Arc<File>], form: Form) -> Vec<Path> {
        let half = files.len() / 2;
        let sidecars = [format!("{version}-a.parquet"), format!("{version}-b.parquet")];
        let names = [&*sidecars[0], &*sidecars[1]];
        let mut puts: Vec<(String, Vec<u8>)> = match form {
            Form::Classic => vec![(format!("{version:020}.checkpoint.parquet"), parquet(files, Head::Said, &[]))],
            Form::Parts => {
                let name = |part| format!("{version:020}.checkpoint.{part:010}.0000000002.parquet");
                let (first, second) =
                    (parquet(&files[..half], Head::Missing, &[]), parquet(&files[half..], Head::Said, &[]));
                vec![(name(1), first), (name(2), second)]
            }
            Form::V2Json => {
                vec![(format!("{version:020}.checkpoint.{}.json", uuid::Uuid::nil()), text(version, &names))]
            }
            Form::V2Parquet => {
                vec![(
                    format!("{version:020}.checkpoint.{}.parquet", uuid::Uuid::nil()),
                    parquet(&[], Head::Said, &names),
                )]
            }
            Form::ClassicV2 => vec![(format!("{version:020}.checkpoint.parquet"), parquet(&[], Head::Said, &names))],
        };
        if !matches!(form, Form::Classic | Form::Parts) {
            for (name, some) in sidecars.iter().zip([&files[..half], &files[half..]]) {
                puts.push((format!("_sidecars/{name}"), parquet(some, Head::Missing, &[])));
            }
        }
        let mut paths = Vec::new();
        for (name, bytes) in puts {
            paths.push(log_path(&name));
            self.store.put(&log_path(&name), bytes.into()).await.unwrap();
        }
        paths
    }

    pub(super) async fn hint(&self, text: &str) {
        self.store.put(&log_path("_last_checkpoint"), PutPayload::from(text.to_owned())).await.unwrap();
    }

    /// Loses the commits of these versions.
    pub(super) async fn lose(&self, versions: Range<u64>) {
        for version in versions {
            self.store.delete(&log_path(&format!("{version:020}.json"))).await.unwrap();
        }
    }
}

/// Whether a file has `protocol` and `metaData`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    Said,
    Missing,
}

fn text(version: u64, sidecars: &[&str]) -> Vec<u8> {
    let mut lines = vec![json!({"checkpointMetadata": {"version": version}})];
    lines.extend(opening());
    lines.push(json!({"txn": {"appId": "an-app", "version": 7}}));
    for (place, name) in sidecars.iter().enumerate() {
        let folder = if place == 0 { "" } else { "s3://bucket/table/_delta_log/_sidecars/" };
        lines.push(json!({"sidecar": {"path": format!("{folder}{name}"), "sizeInBytes": 1, "modificationTime": 1}}));
    }
    lines.into_iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes()
}

fn strings(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    let mut builder = StringBuilder::new();
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}

fn longs(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let mut builder = Int64Builder::new();
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}

fn ints(values: impl Iterator<Item = Option<i32>>) -> ArrayRef {
    let mut builder = Int32Builder::new();
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}

fn maps<'a>(values: impl Iterator<Item = &'a PartitionValues>) -> ArrayRef {
    let names = MapFieldNames { entry: "key_value".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for value in values {
        for (key, value) in value {
            builder.keys().append_value(key);
            builder.values().append_option(value.as_deref());
        }
        builder.append(true).unwrap();
    }
    Arc::new(builder.finish())
}

fn structure(members: Vec<(&str, ArrayRef)>, nulls: Option<Vec<bool>>) -> StructArray {
    let fields = members.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
    let (fields, arrays) = (fields.collect::<Fields>(), members.into_iter().map(|(_, array)| array).collect());
    StructArray::new(fields, arrays, nulls.map(Into::into))
}

fn adds(files: &[Arc<File>]) -> StructArray {
    let vectors = || files.iter().map(|file| file.deletion_vector.as_deref());
    let vector = structure(
        vec![
            ("storageType", strings(vectors().map(|vector| Some(vector?.storage_type.clone())))),
            ("pathOrInlineDv", strings(vectors().map(|vector| Some(vector?.path_or_inline_dv.clone())))),
            ("offset", ints(vectors().map(|vector| vector?.offset))),
            ("sizeInBytes", ints(vectors().map(|vector| Some(vector?.size_in_bytes)))),
            ("cardinality", longs(vectors().map(|vector| Some(vector?.cardinality)))),
        ],
        Some(vectors().map(|vector| vector.is_some()).collect()),
    );
    structure(
        vec![
            ("path", strings(files.iter().map(|file| Some(file.path.clone())))),
            ("partitionValues", maps(files.iter().map(|file| &*file.partition_values))),
            ("size", longs(files.iter().map(|file| i64::try_from(file.size).ok()))),
            ("modificationTime", longs(files.iter().map(|file| Some(file.modification_time)))),
            ("stats", strings(files.iter().map(|file| file.stats.clone()))),
            ("deletionVector", Arc::new(vector)),
        ],
        None,
    )
}

fn protocols() -> StructArray {
    let version = |number| ints(std::iter::once(Some(number)));
    structure(vec![("minReaderVersion", version(1)), ("minWriterVersion", version(4))], None)
}

fn metadata() -> StructArray {
    let text = |text: &str| strings(std::iter::once(Some(text.to_owned())));
    let mut partition = ListBuilder::new(StringBuilder::new());
    partition.append(true);
    let configuration = [("delta.enableChangeDataFeed".to_owned(), Some("true".to_owned()))].into();
    structure(
        vec![
            ("id", text("an-id")),
            ("schemaString", text("{\"type\":\"struct\",\"fields\":[]}")),
            ("partitionColumns", Arc::new(partition.finish())),
            ("configuration", maps(std::iter::once(&configuration))),
            ("createdTime", longs(std::iter::once(Some(7)))),
        ],
        None,
    )
}

/// A file of a checkpoint: one row group, one action a row.
fn parquet(files: &[Arc<File>], head: Head, sidecars: &[&str]) -> Vec<u8> {
    let sidecar = structure(vec![("path", strings(sidecars.iter().map(|name| Some((*name).to_owned()))))], None);
    let columns = [("add", adds(files)), ("metaData", metadata()), ("protocol", protocols()), ("sidecar", sidecar)];
    let field = |(name, column): &(&str, StructArray)| Field::new(*name, column.data_type().clone(), true);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties)).unwrap();
    for (name, column) in &columns {
        if head == Head::Missing && matches!(*name, "metaData" | "protocol") || column.is_empty() {
            continue;
        }
        let array = |(other, empty): &(&str, StructArray)| -> ArrayRef {
            let DataType::Struct(_) = empty.data_type() else { unreachable!() };
            if other == name { Arc::new(column.clone()) } else { new_null_array(empty.data_type(), column.len()) }
        };
        writer.write(&RecordBatch::try_new(schema.clone(), columns.iter().map(array).collect()).unwrap()).unwrap();
    }
    writer.into_inner().unwrap()
}
