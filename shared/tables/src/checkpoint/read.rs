//! From a checkpoint's Parquet to actions.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, ListArray, MapArray, StringArray, StructArray};
use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::statistics::Statistics;
use parquet::schema::types::SchemaDescriptor;

use super::work::{Gone, Out, Ranged};
use crate::snapshot::FILE_BYTES;
use crate::snapshot::actions::{CommitActions, Sidecar, TransactionAction};
use crate::snapshot::{AddedFile, DeletionVector, Metadata, Protocol, RemovedFile};

/// Actions in one batch.
const BATCH_ROWS: usize = 1_024;

/// What of a checkpoint is read behind its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Columns {
    /// The protocol, the metadata, and where the rest lies.
    Head,
    /// What files are known by.
    Keys,
    /// The files.
    Files,
    /// The `txn` actions.
    Transactions,
    /// Everything but the head.
    All,
}

impl Columns {
    fn hold(self, action: &str, field: &str) -> bool {
        let key = matches!(field, "path" | "size" | "deletionVector");
        let file = key || field == "partitionValues";
        match action {
            "protocol" | "metaData" | "sidecar" => self == Self::Head,
            "add" if self == Self::Keys => key,
            "add" => matches!(self, Self::Files | Self::All) && (file || matches!(field, "modificationTime" | "stats")),
            "remove" => self == Self::All && (file || matches!(field, "deletionTimestamp" | "extendedFileMetadata")),
            "txn" => matches!(self, Self::Transactions | Self::All),
            _ => false,
        }
    }
}

/// What a file of a checkpoint says of the table, and its footer.
pub(super) fn head(file: &Ranged, timestamp: Timestamp) -> Result<(ArrowReaderMetadata, CommitActions), PortError> {
    let footer = footer(file)?;
    let mut actions = CommitActions::at(timestamp);
    for batch in decode(file, footer.clone(), Columns::Head)? {
        let batch = StructArray::from(batch.map_err(unreadable)?);
        protocol(&batch, &mut actions)?;
        metadata(&batch, &mut actions)?;
        sidecars(&batch, &mut actions)?;
    }
    Ok((footer, actions))
}

/// The actions of one file of a checkpoint, as if they were commits of that time.
pub(super) fn batches(
    file: &Ranged,
    known: Option<ArrowReaderMetadata>,
    columns: Columns,
    timestamp: Timestamp,
    out: &Out<CommitActions>,
) -> Result<(), PortError> {
    let footer = known.map_or_else(|| footer(file), Ok)?;
    for batch in decode(file, footer, columns)? {
        let batch = StructArray::from(batch.map_err(unreadable)?);
        let mut actions = CommitActions::at(timestamp);
        add_actions(&batch, &mut actions)?;
        remove_actions(&batch, &mut actions)?;
        transactions(&batch, &mut actions)?;
        if let Err(Gone) = out.put(actions) {
            break;
        }
    }
    Ok(())
}

fn footer(file: &Ranged) -> Result<ArrowReaderMetadata, PortError> {
    ArrowReaderMetadata::load(file, ArrowReaderOptions::new().with_skip_arrow_metadata(true)).map_err(unreadable)
}

fn decode(file: &Ranged, footer: ArrowReaderMetadata, columns: Columns) -> Result<ParquetRecordBatchReader, PortError> {
    let schema = footer.parquet_schema();
    let leaves = leaves(schema, columns);
    file.share_among(leaves.len());
    let mask = ProjectionMask::leaves(schema, leaves);
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), footer);
    builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(unreadable)
}

/// About what the files of a part take in memory: their texts, and a fixed size for each.
pub(super) fn files_bytes(footer: &ArrowReaderMetadata) -> u64 {
    let leaves = leaves(footer.parquet_schema(), Columns::Files);
    let mut bytes = 0;
    for group in footer.metadata().row_groups() {
        for leaf in &leaves {
            let Some(column) = group.columns().get(*leaf) else { continue };
            bytes += u64::try_from(column.uncompressed_size()).unwrap_or_default();
            if column.column_path().string() == "add.path" {
                let nulls = column.statistics().and_then(Statistics::null_count_opt).unwrap_or_default();
                let files = u64::try_from(column.num_values()).unwrap_or_default().saturating_sub(nulls);
                bytes += files * FILE_BYTES;
            }
        }
    }
    bytes
}

fn leaves(schema: &SchemaDescriptor, columns: Columns) -> Vec<usize> {
    let wanted = schema.columns().iter().enumerate().filter_map(|(leaf, column)| match column.path().parts() {
        [action, field, ..] => columns.hold(action, field).then_some(leaf),
        _ => None,
    });
    wanted.collect()
}

/// The files of a V2 checkpoint (PROTOCOL.md, "Sidecar File Information").
fn sidecars(batch: &StructArray, actions: &mut CommitActions) -> Result<(), PortError> {
    let Some(sidecar) = Group::of(batch, "sidecar")? else { return Ok(()) };
    let path = sidecar.texts("path")?;
    let paths = sidecar.rows().filter_map(|row| path.at(row));
    actions.sidecars.extend(paths.map(|path| Sidecar { path: path.to_owned() }));
    Ok(())
}

fn add_actions(batch: &StructArray, actions: &mut CommitActions) -> Result<(), PortError> {
    let Some(add) = Group::of(batch, "add")? else { return Ok(()) };
    let (path, stats) = (add.texts("path")?, add.texts("stats")?);
    let (size, modified) = (add.integers("size")?, add.integers("modificationTime")?);
    let partition = add.maps("partitionValues")?;
    let vectors = Vectors::of(&add)?;
    for row in add.rows() {
        let Some(path) = path.at(row) else { continue };
        actions.adds.push(AddedFile {
            path: path.to_owned(),
            partition_values: partition.at(row)?.unwrap_or_default(),
            size: size.at(row).and_then(|size| size.try_into().ok()).ok_or_else(|| unreadable("a file has no size"))?,
            modification_time: modified.at(row).unwrap_or_default(),
            // A checkpoint says what there is, and no change.
            data_change: false,
            stats: stats.at(row).map(str::to_owned),
            deletion_vector: vectors.as_ref().map_or(Ok(None), |vectors| vectors.at(row))?,
        });
    }
    Ok(())
}

fn remove_actions(batch: &StructArray, actions: &mut CommitActions) -> Result<(), PortError> {
    let Some(remove) = Group::of(batch, "remove")? else { return Ok(()) };
    let path = remove.texts("path")?;
    let (size, deleted) = (remove.integers("size")?, remove.integers("deletionTimestamp")?);
    let (extended, partition) = (remove.flags("extendedFileMetadata")?, remove.maps("partitionValues")?);
    let vectors = Vectors::of(&remove)?;
    for row in remove.rows() {
        let Some(path) = path.at(row) else { continue };
        actions.removes.push(RemovedFile {
            path: path.to_owned(),
            deletion_timestamp: deleted.at(row),
            data_change: false,
            extended_file_metadata: extended.filter(|flags| flags.is_valid(row)).map(|flags| flags.value(row)),
            partition_values: partition.at(row)?,
            size: size.at(row).and_then(|size| size.try_into().ok()),
            stats: None,
            deletion_vector: vectors.as_ref().map_or(Ok(None), |vectors| vectors.at(row))?,
        });
    }
    Ok(())
}

fn transactions(batch: &StructArray, actions: &mut CommitActions) -> Result<(), PortError> {
    let Some(txn) = Group::of(batch, "txn")? else { return Ok(()) };
    let (app_id, version) = (txn.texts("appId")?, txn.integers("version")?);
    let last_updated = txn.integers("lastUpdated")?;
    for row in txn.rows() {
        if let (Some(app_id), Some(version)) = (app_id.at(row), version.at(row)) {
            let last_updated = last_updated.at(row);
            actions.transactions.push(TransactionAction { app_id: app_id.to_owned(), version, last_updated });
        }
    }
    Ok(())
}

fn protocol(batch: &StructArray, actions: &mut CommitActions) -> Result<(), PortError> {
    let Some(protocol) = Group::of(batch, "protocol")? else { return Ok(()) };
    let (reader, writer) = (protocol.integers("minReaderVersion")?, protocol.integers("minWriterVersion")?);
    let (reads, writes) = (protocol.lists("readerFeatures")?, protocol.lists("writerFeatures")?);
    for row in protocol.rows() {
        let version = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        let (Some(reader), Some(writer)) = (version(reader.at(row)), version(writer.at(row))) else { continue };
        actions.protocol = Some(Protocol {
            min_reader_version: reader,
            min_writer_version: writer,
            reader_features: features(reads, row)?,
            writer_features: features(writes, row)?,
        });
    }
    Ok(())
}

fn features(lists: Option<&ListArray>, row: usize) -> Result<BTreeSet<String>, PortError> {
    Ok(list(lists, row)?.into_iter().collect())
}

fn metadata(batch: &StructArray, actions: &mut CommitActions) -> Result<(), PortError> {
    let Some(metadata) = Group::of(batch, "metaData")? else { return Ok(()) };
    let (id, name, description) = (metadata.texts("id")?, metadata.texts("name")?, metadata.texts("description")?);
    let (schema, created) = (metadata.texts("schemaString")?, metadata.integers("createdTime")?);
    let (partition, configuration) = (metadata.lists("partitionColumns")?, metadata.maps("configuration")?);
    for row in metadata.rows() {
        let (Some(id), Some(schema)) = (id.at(row), schema.at(row)) else { continue };
        let configuration = configuration.at(row)?.unwrap_or_default();
        actions.metadata = Some(Metadata {
            id: id.to_owned(),
            name: name.at(row).map(str::to_owned),
            description: description.at(row).map(str::to_owned),
            schema_string: schema.to_owned(),
            partition_columns: list(partition, row)?,
            configuration: configuration.into_iter().filter_map(|(key, value)| Some((key, value?))).collect(),
            created_time: created.at(row),
        });
    }
    Ok(())
}

/// The deletion vectors of files.
struct Vectors<'a> {
    present: &'a StructArray,
    storage_type: Texts<'a>,
    place: Texts<'a>,
    offset: Integers<'a>,
    size: Integers<'a>,
    cardinality: Integers<'a>,
}

impl<'a> Vectors<'a> {
    fn of(action: &Group<'a>) -> Result<Option<Self>, PortError> {
        let Some(column) = action.column("deletionVector") else { return Ok(None) };
        let vector = Group(column.as_struct_opt().ok_or_else(mistyped)?);
        Ok(Some(Self {
            present: vector.0,
            storage_type: vector.texts("storageType")?,
            place: vector.texts("pathOrInlineDv")?,
            offset: vector.integers("offset")?,
            size: vector.integers("sizeInBytes")?,
            cardinality: vector.integers("cardinality")?,
        }))
    }

    fn at(&self, row: usize) -> Result<Option<Arc<DeletionVector>>, PortError> {
        let (storage_type, place) = (self.storage_type.at(row), self.place.at(row));
        // Some writers make a struct of nulls for no vector.
        if self.present.is_null(row) || storage_type.is_none() && place.is_none() {
            return Ok(None);
        }
        let small = |number: i64| i32::try_from(number).map_err(|error| unreadable(error.to_string()));
        let whole = || unreadable("a deletion vector is not described whole");
        Ok(Some(Arc::new(DeletionVector {
            storage_type: storage_type.ok_or_else(whole)?.to_owned(),
            path_or_inline_dv: place.ok_or_else(whole)?.to_owned(),
            offset: self.offset.at(row).map(small).transpose()?,
            size_in_bytes: small(self.size.at(row).ok_or_else(whole)?)?,
            cardinality: self.cardinality.at(row).ok_or_else(whole)?,
        })))
    }
}

/// The column of one kind of action.
struct Group<'a>(&'a StructArray);

impl<'a> Group<'a> {
    fn of(batch: &'a StructArray, action: &str) -> Result<Option<Self>, PortError> {
        let Some(column) = batch.column_by_name(action) else { return Ok(None) };
        column.as_struct_opt().map(|column| Some(Self(column))).ok_or_else(mistyped)
    }

    /// The rows that are actions of this kind.
    fn rows(&self) -> impl Iterator<Item = usize> {
        (0..self.0.len()).filter(|row| self.0.is_valid(*row))
    }

    fn column(&self, field: &str) -> Option<&'a ArrayRef> {
        self.0.column_by_name(field)
    }

    fn texts(&self, field: &str) -> Result<Texts<'a>, PortError> {
        self.column(field).map(|column| column.as_string_opt().ok_or_else(mistyped)).transpose().map(Texts)
    }

    fn integers(&self, field: &str) -> Result<Integers<'a>, PortError> {
        let Some(column) = self.column(field) else { return Ok(Integers(None)) };
        if column.as_primitive_opt::<Int64Type>().is_none() && column.as_primitive_opt::<Int32Type>().is_none() {
            return Err(mistyped());
        }
        Ok(Integers(Some(column)))
    }

    fn flags(&self, field: &str) -> Result<Option<&'a BooleanArray>, PortError> {
        self.column(field).map(|column| column.as_boolean_opt().ok_or_else(mistyped)).transpose()
    }

    fn lists(&self, field: &str) -> Result<Option<&'a ListArray>, PortError> {
        self.column(field).map(|column| column.as_list_opt().ok_or_else(mistyped)).transpose()
    }

    fn maps(&self, field: &str) -> Result<Maps<'a>, PortError> {
        self.column(field).map(|column| column.as_map_opt().ok_or_else(mistyped)).transpose().map(Maps)
    }
}

struct Texts<'a>(Option<&'a StringArray>);

impl<'a> Texts<'a> {
    fn at(&self, row: usize) -> Option<&'a str> {
        self.0.filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row))
    }
}

struct Integers<'a>(Option<&'a ArrayRef>);

impl Integers<'_> {
    fn at(&self, row: usize) -> Option<i64> {
        let column = self.0.filter(|column| column.is_valid(row))?;
        let wide = column.as_primitive_opt::<Int64Type>().map(|column| column.value(row));
        wide.or_else(|| column.as_primitive_opt::<Int32Type>().map(|column| column.value(row).into()))
    }
}

struct Maps<'a>(Option<&'a MapArray>);

impl Maps<'_> {
    fn at(&self, row: usize) -> Result<Option<BTreeMap<String, Option<String>>>, PortError> {
        let Some(map) = self.0.filter(|map| map.is_valid(row)) else { return Ok(None) };
        let entries = map.value(row);
        let text = |column: &'_ ArrayRef| column.as_string_opt::<i32>().cloned().ok_or_else(mistyped);
        let [keys, values] = entries.columns() else { return Err(mistyped()) };
        let (keys, values) = (text(keys)?, text(values)?);
        let entries = keys.iter().zip(values.iter());
        Ok(Some(entries.filter_map(|(key, value)| Some((key?.to_owned(), value.map(str::to_owned)))).collect()))
    }
}

fn list(lists: Option<&ListArray>, row: usize) -> Result<Vec<String>, PortError> {
    let Some(list) = lists.filter(|list| list.is_valid(row)) else { return Ok(Vec::new()) };
    let values = list.value(row);
    let texts = values.as_string_opt::<i32>().ok_or_else(mistyped)?;
    Ok(texts.iter().flatten().map(str::to_owned).collect())
}

fn mistyped() -> PortError {
    unreadable("a column has another type than the protocol says")
}

pub(super) fn unreadable(source: impl Into<Box<dyn Error + Send + Sync>>) -> PortError {
    PortError::new(PortErrorKind::InvalidData, "read a checkpoint", source)
}
