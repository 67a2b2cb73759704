//! Parquet files into one: batch by batch, in bounded memory.
//!
//! An input is small, so it is fetched whole, in one request. Texts are read as views of their pages: a value that a
//! dictionary holds once is not copied for each row.

use std::error::Error;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use bytes::Bytes;
use delivery::ports::{PortError, PortErrorKind};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::statistics::Merged;
use super::{Maintenance, file_name};
use crate::log::port_error;
use crate::snapshot::File;

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 1_024;

/// Rows of a row group, as in staged files.
const ROW_GROUP_ROWS_MAX: usize = 131_072;

/// Encoded bytes of a row group: what the writer holds.
const ROW_GROUP_BYTES_MAX: usize = 64 << 20;

/// A part of an upload.
const PART_BYTES: usize = 8 << 20;

/// Inputs that are fetched at once, and their bytes.
const FETCHES_AT_ONCE: u64 = 16;
const FETCHED_BYTES_MAX: u64 = 64 << 20;

/// Text bounds in the Parquet footer are cut to so many bytes, as in staged files.
const TEXT_BOUND_BYTES: usize = 64;

/// What became of some files.
#[derive(Debug)]
pub(super) enum Rewritten {
    /// They are one file.
    Whole {
        /// Its size.
        size_bytes: u64,
        /// The statistics of its `add` action.
        statistics: String,
    },
    /// A file has other columns than the ones before it; nothing was written.
    Differs {
        /// Which one.
        at: usize,
    },
}

impl Maintenance {
    /// Writes the rows of some files, in order, as one file of the table.
    pub(super) async fn rewrite(
        &self,
        path: &str,
        schema_string: &str,
        files: &[Arc<File>],
        name: &str,
    ) -> Result<Rewritten, PortError> {
        let mut output = Output::new(self.store.clone(), location(path, name)?);
        let rewritten = self.rewrite_into(&mut output, path, schema_string, files).await;
        if !matches!(rewritten, Ok(Rewritten::Whole { .. })) {
            output.abort().await;
        }
        rewritten
    }

    async fn rewrite_into(
        &self,
        output: &mut Output,
        path: &str,
        schema_string: &str,
        files: &[Arc<File>],
    ) -> Result<Rewritten, PortError> {
        let mut statistics = Merged::new(schema_string).map_err(unusable)?;
        let mut locations = Vec::with_capacity(files.len());
        for file in files {
            let name = file_name(&file.path).ok_or_else(|| unusable("a file lies outside the table's folder"))?;
            locations.push((location(path, &name)?, file.size));
        }
        let largest = files.iter().map(|file| file.size).max().unwrap_or_default().max(1);
        let at_once = usize::try_from((FETCHED_BYTES_MAX / largest).clamp(1, FETCHES_AT_ONCE)).unwrap_or(1);
        let store = self.store.clone();
        let fetches = locations.into_iter().map(move |(location, size)| fetch(store.clone(), location, size));
        let mut inputs = futures::stream::iter(fetches).buffered(at_once).boxed();
        let mut sheet: Option<(SchemaRef, ArrowWriter<Vec<u8>>)> = None;
        let mut rows = 0_u64;
        for (at, file) in files.iter().enumerate() {
            let input = inputs.try_next().await?.ok_or_else(|| unusable("a file was not fetched"))?;
            let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
            let metadata = ArrowReaderMetadata::load(&input, options.clone()).map_err(unusable)?;
            let schema = Arc::new(Schema::new(views(metadata.schema().fields())));
            let (of_first, writer) = match &mut sheet {
                Some((of_first, writer)) => (of_first, writer),
                None => {
                    let writer = writer(schema.clone())?;
                    let (of_first, writer) = sheet.insert((schema.clone(), writer));
                    (of_first, writer)
                }
            };
            if *of_first != schema {
                return Ok(Rewritten::Differs { at });
            }
            let in_file = u64::try_from(metadata.metadata().file_metadata().num_rows()).map_err(unusable)?;
            statistics.add(file.stats.as_deref(), in_file).map_err(unusable)?;
            rows += in_file;
            let options = options.with_schema(schema);
            let batches = ParquetRecordBatchReaderBuilder::try_new_with_options(input, options)
                .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build())
                .map_err(unusable)?;
            for batch in batches {
                writer.write(&batch.map_err(unusable)?).map_err(unusable)?;
                if writer.inner().len() >= PART_BYTES {
                    let bytes = std::mem::take(writer.inner_mut());
                    output.put(bytes).await?;
                }
            }
        }
        let (_, mut writer) = sheet.ok_or_else(|| unusable("there are no files"))?;
        let written = writer.finish().map_err(unusable)?.file_metadata().num_rows();
        if u64::try_from(written) != Ok(rows) {
            return Err(unusable("the merged file has another number of rows"));
        }
        output.put(std::mem::take(writer.inner_mut())).await?;
        let size_bytes = output.finish().await?;
        Ok(Rewritten::Whole { size_bytes, statistics: statistics.into_text() })
    }
}

async fn fetch(store: Arc<dyn ObjectStore>, location: Path, size: u64) -> Result<Bytes, PortError> {
    const OPERATION: &str = "read a data file";
    let found = store.get(&location).await.map_err(|error| port_error(OPERATION, error))?;
    if found.meta.size != size {
        return Err(unusable("a data file has another size than the log says"));
    }
    found.bytes().await.map_err(|error| port_error(OPERATION, error))
}

fn writer(schema: SchemaRef) -> Result<ArrowWriter<Vec<u8>>, PortError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).map_err(unusable)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES_MAX))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(Some(TEXT_BOUND_BYTES))
        .set_created_by(concat!("spillway/", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(Vec::new(), schema, options).map_err(unusable)
}

/// The same fields with their texts as views.
fn views(fields: &Fields) -> Fields {
    fields.iter().map(view).collect()
}

fn view(field: &Arc<Field>) -> Arc<Field> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "of some forty types the texts and what holds them change")]
    let data_type = match field.data_type() {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        DataType::Struct(fields) => DataType::Struct(views(fields)),
        DataType::List(element) => DataType::List(view(element)),
        other => other.clone(),
    };
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
}

fn location(path: &str, name: &str) -> Result<Path, PortError> {
    Path::parse(format!("{path}/{name}")).map_err(unusable)
}

/// A file under way: small ones are put at once, larger ones in parts.
struct Output {
    store: Arc<dyn ObjectStore>,
    location: Path,
    waiting: Vec<u8>,
    upload: Option<Box<dyn MultipartUpload>>,
    size_bytes: u64,
}

impl Output {
    fn new(store: Arc<dyn ObjectStore>, location: Path) -> Self {
        Self { store, location, waiting: Vec::new(), upload: None, size_bytes: 0 }
    }

    async fn put(&mut self, bytes: Vec<u8>) -> Result<(), PortError> {
        self.size_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.waiting.is_empty() {
            self.waiting = bytes;
        } else {
            self.waiting.extend(bytes);
        }
        while self.waiting.len() >= 2 * PART_BYTES {
            let rest = self.waiting.split_off(PART_BYTES);
            let part = std::mem::replace(&mut self.waiting, rest);
            self.put_part(part).await?;
        }
        Ok(())
    }

    async fn put_part(&mut self, part: Vec<u8>) -> Result<(), PortError> {
        let upload = match &mut self.upload {
            Some(upload) => upload,
            None => self.upload.insert(self.store.put_multipart(&self.location).await.map_err(unwritten)?),
        };
        upload.put_part(PutPayload::from(part)).await.map_err(unwritten)
    }

    /// The file is there, whole, from now on. Returns its size.
    async fn finish(&mut self) -> Result<u64, PortError> {
        let rest = std::mem::take(&mut self.waiting);
        if self.upload.is_some() {
            self.put_part(rest).await?;
        } else {
            self.store.put(&self.location, PutPayload::from(rest)).await.map_err(unwritten)?;
        }
        if let Some(upload) = &mut self.upload {
            upload.complete().await.map_err(unwritten)?;
        }
        self.upload = None;
        Ok(self.size_bytes)
    }

    /// What was uploaded is given up. The bucket forgets parts that nobody does.
    async fn abort(&mut self) {
        if let Some(upload) = &mut self.upload {
            drop(upload.abort().await);
        }
    }
}

fn unwritten(error: object_store::Error) -> PortError {
    port_error("write a merged file", error)
}

fn unusable(source: impl Into<Box<dyn Error + Send + Sync>>) -> PortError {
    PortError::new(PortErrorKind::InvalidData, "merge small files", source)
}
