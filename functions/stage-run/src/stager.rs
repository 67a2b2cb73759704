//! [`RunStager`] over object stores: streams the output in, the staged files out, the manifest last.

use std::error::Error;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use async_trait::async_trait;
use delivery::failure::{FailureCode, StepError};
use delivery::ports::{PortError, PortErrorKind, RunStager};
use delivery::run::{OutputFormat, Run};
use delivery::schema::PublicSchema;
use delivery::staged::{RejectedRows, StagedFile, StagedRun, rejects_key, staged_file_key};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use rows::{Input, InputError, Limits, RunColumns, StageError};
use tables::manifest::ObjectStoreManifests;

use crate::input::{ObjectBlocks, StoredObject};
use crate::seekable::SeekableObjects;
use crate::upload::Uploads;

/// Opens the buckets that outputs lie in.
pub trait OutputBuckets: Send + Sync {
    /// The named bucket, or the usual one.
    ///
    /// # Errors
    ///
    /// Returns the store's error if the bucket cannot be addressed.
    fn open(&self, bucket: Option<&str>) -> Result<Arc<dyn ObjectStore>, object_store::Error>;
}

/// Stages from output buckets to a bucket's staging prefix.
pub struct ObjectStoreStager {
    outputs: Arc<dyn OutputBuckets>,
    tables: Arc<dyn ObjectStore>,
    manifests: ObjectStoreManifests,
}

impl std::fmt::Debug for ObjectStoreStager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ObjectStoreStager")
    }
}

impl ObjectStoreStager {
    /// A stager between buckets.
    #[must_use]
    pub fn new(outputs: Arc<dyn OutputBuckets>, tables: Arc<dyn ObjectStore>) -> Self {
        Self { outputs, manifests: ObjectStoreManifests::new(Arc::clone(&tables)), tables }
    }

    fn objects(&self, run: &Run) -> Result<Vec<StoredObject>, StepError> {
        run.output
            .objects
            .iter()
            .map(|object| {
                let store = self.outputs.open(object.bucket.as_deref()).map_err(classify_output)?;
                let path = Path::parse(&object.key).map_err(|error| {
                    StepError::caused(
                        FailureCode::OutputNotFound,
                        "an output object has a key that no object can have; announce the run with the right key",
                        error,
                    )
                })?;
                Ok(StoredObject { store, path })
            })
            .collect()
    }
}

/// An output that is being read.
enum OpenOutput {
    JsonLines(ObjectBlocks),
    Json(ObjectBlocks),
    Csv(ObjectBlocks),
    Parquet(SeekableObjects),
}

impl OpenOutput {
    fn begin(format: &str, objects: Vec<StoredObject>) -> Result<Self, StepError> {
        Ok(match OutputFormat::of(format) {
            Some(OutputFormat::JsonLines) => Self::JsonLines(ObjectBlocks::begin(objects)),
            Some(OutputFormat::Json) => Self::Json(ObjectBlocks::begin(objects)),
            Some(OutputFormat::Csv) => Self::Csv(ObjectBlocks::begin(objects)),
            Some(OutputFormat::Parquet) => Self::Parquet(SeekableObjects::new(objects)),
            None => {
                return Err(StepError::new(
                    FailureCode::OutputFormatUnsupported,
                    "the output's format cannot be staged; announce a new run as jsonl, json, csv or parquet",
                ));
            }
        })
    }

    fn input(&mut self) -> Input<'_> {
        match self {
            Self::JsonLines(blocks) => Input::JsonLines(blocks),
            Self::Json(blocks) => Input::Json(blocks),
            Self::Csv(blocks) => Input::Csv(blocks),
            Self::Parquet(objects) => Input::Parquet(objects),
        }
    }
}

#[async_trait]
impl RunStager for ObjectStoreStager {
    async fn stage(&self, run: &Run, schema: &PublicSchema) -> Result<StagedRun, StepError> {
        let mut output = OpenOutput::begin(&run.output.format, self.objects(run)?)?;
        let key = run.key.clone();
        let files = Uploads::new(Arc::clone(&self.tables), move |index| staged_file_key(&key, index));
        let lanes = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let (schema_of_rows, run_id, finished_at) = (schema.clone(), run.key.run.to_string(), run.finished_at);
        // Bounded by `Limits::rejects_written_max` lines.
        let (staged, rejects) = tokio::task::spawn_blocking(move || {
            let mut rejects = Vec::new();
            let columns = RunColumns { run_id: &run_id, finished_at };
            let limits = Limits::with_lanes(lanes);
            rows::stage(output.input(), &files, &mut rejects, &schema_of_rows, columns, &limits)
                .map(|staged| (staged, rejects))
        })
        .await
        .map_err(|error| StepError::caused(FailureCode::StagingInterrupted, "staging ended without an answer", error))?
        .map_err(classify)?;

        let rows_in_output = staged.rows + staged.rejected;
        if let Some(announced) = run.output.row_count.filter(|announced| *announced != rows_in_output) {
            return Err(StepError::new(
                FailureCode::RowCountMismatch,
                format!(
                    "the output has {rows_in_output} rows and {announced} were announced; have the producer write the \
                     output or the message again"
                ),
            ));
        }
        let mut rejected = RejectedRows { rows: staged.rejected, first: staged.first_rejection, key: None };
        if staged.rejected > 0 {
            let key = rejects_key(&run.key);
            let path = Path::from(key.as_str());
            self.tables.put(&path, PutPayload::from(rejects)).await.map_err(classify_staging)?;
            rejected.key = Some(key);
        }
        let files = staged
            .files
            .into_iter()
            .map(|part| StagedFile {
                key: staged_file_key(&run.key, part.index),
                size_bytes: part.size_bytes,
                rows: part.rows,
                statistics: part.statistics,
            })
            .collect();
        let manifest = StagedRun {
            run: run.key.clone(),
            workflow_name: run.workflow_name.clone(),
            finished_at: run.finished_at,
            schema: schema.clone(),
            files,
            rows: staged.rows,
            rejected,
        };
        self.manifests.put(&manifest).await.map_err(classify_manifest)?;
        Ok(manifest)
    }
}

fn classify(error: StageError) -> StepError {
    if let Some(code) = error.code() {
        return StepError::new(code, error.to_string());
    }
    match error {
        StageError::Input(InputError::Read(error)) => from_io(error, classify_output),
        StageError::Write(error) | StageError::Rejects(error) => from_io(error, classify_staging),
        error
        @ (StageError::Truncated { .. } | StageError::Input(_) | StageError::Encode(_) | StageError::LaneLost) => {
            StepError::caused(
                FailureCode::StagingCorrupt,
                "the rows could not be encoded; see the function's log",
                error,
            )
        }
    }
}

/// Finds the store's error that came through a reader or writer.
fn from_io(error: io::Error, classify: fn(object_store::Error) -> StepError) -> StepError {
    match error.downcast::<object_store::Error>() {
        Ok(error) => classify(error),
        Err(error) => unavailable("the storage did not answer while the run was staged", error),
    }
}

fn classify_output(error: object_store::Error) -> StepError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the store's error enum is non-exhaustive")]
    match error {
        object_store::Error::NotFound { .. } => StepError::caused(
            FailureCode::OutputNotFound,
            "an announced output object is not there; it is looked for again for a while",
            error,
        ),
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            StepError::caused(
                FailureCode::OutputDenied,
                "an output object may not be read; announce it in the stack's run-output bucket",
                error,
            )
        }
        _ => unavailable("the run-output bucket did not answer", error),
    }
}

fn classify_staging(error: object_store::Error) -> StepError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the store's error enum is non-exhaustive")]
    match error {
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            StepError::caused(
                FailureCode::StagingDenied,
                "the staging function's role may not write the staging prefix",
                error,
            )
        }
        _ => unavailable("the staging prefix could not be written", error),
    }
}

fn classify_manifest(error: PortError) -> StepError {
    match error.kind {
        PortErrorKind::Denied => StepError::caused(
            FailureCode::StagingDenied,
            "the staging function's role may not write the staging prefix",
            error,
        ),
        PortErrorKind::NotFound
        | PortErrorKind::Throttled
        | PortErrorKind::Unavailable
        | PortErrorKind::InvalidData => unavailable("the manifest could not be written", error),
    }
}

fn unavailable(message: &str, error: impl Error + Send + Sync + 'static) -> StepError {
    StepError::caused(FailureCode::StagingUnavailable, message, error)
}

#[cfg(test)]
#[path = "stager_tests.rs"]
mod tests;
