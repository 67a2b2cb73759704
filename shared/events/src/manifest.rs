//! The staging manifest, as JSON text of version 1: what load, proof and promote know of a run's files without
//! opening one. Its existence says that the run is staged whole.

use delivery::failure::FailureCode;
use delivery::ids::RunKey;
use delivery::staged::{RejectedRows, Rejection, StagedFile, StagedRun};
use delivery::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use crate::columns::{self, ColumnForm};
use crate::{StoredFormatError, read_stored, text, write_stored};

const WHAT: &str = "staging manifest";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManifestForm {
    v: u32,
    #[serde(with = "text::run_key")]
    run: RunKey,
    workflow_name: String,
    #[serde(with = "text::one")]
    finished_at: Timestamp,
    columns: Vec<ColumnForm>,
    files: Vec<FileForm>,
    rows: u64,
    rejected: RejectedForm,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileForm {
    key: String,
    size_bytes: u64,
    rows: u64,
    statistics: String,
}

#[derive(Serialize, Deserialize)]
struct RejectedForm {
    rows: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<RejectionForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct RejectionForm {
    line: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    column: Option<String>,
    #[serde(with = "text::one")]
    code: FailureCode,
    reason: String,
}

/// Writes a staged run's manifest.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if the manifest cannot be written as JSON.
pub fn write(staged: &StagedRun) -> Result<String, StoredFormatError> {
    let file = |file: &StagedFile| FileForm {
        key: file.key.clone(),
        size_bytes: file.size_bytes,
        rows: file.rows,
        statistics: file.statistics.clone(),
    };
    let rejection = |first: &Rejection| RejectionForm {
        line: first.line,
        column: first.column.clone(),
        code: first.code,
        reason: first.reason.clone(),
    };
    let form = ManifestForm {
        v: VERSION,
        run: staged.run.clone(),
        workflow_name: staged.workflow_name.clone(),
        finished_at: staged.finished_at,
        columns: columns::write(&staged.schema),
        files: staged.files.iter().map(file).collect(),
        rows: staged.rows,
        rejected: RejectedForm {
            rows: staged.rejected.rows,
            first: staged.rejected.first.as_ref().map(rejection),
            key: staged.rejected.key.clone(),
        },
    };
    write_stored(WHAT, &form)
}

/// Reads a staged run's manifest.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if the text is not a manifest of a known version.
pub fn read(manifest: &[u8]) -> Result<StagedRun, StoredFormatError> {
    let form: ManifestForm = read_stored(WHAT, VERSION, manifest)?;
    let file = |form: FileForm| StagedFile {
        key: form.key,
        size_bytes: form.size_bytes,
        rows: form.rows,
        statistics: form.statistics,
    };
    let rejection =
        |form: RejectionForm| Rejection { line: form.line, column: form.column, code: form.code, reason: form.reason };
    Ok(StagedRun {
        run: form.run,
        workflow_name: form.workflow_name,
        finished_at: form.finished_at,
        schema: columns::read(WHAT, form.columns)?,
        files: form.files.into_iter().map(file).collect(),
        rows: form.rows,
        rejected: RejectedRows {
            rows: form.rejected.rows,
            first: form.rejected.first.map(rejection),
            key: form.rejected.key,
        },
    })
}

#[cfg(test)]
#[path = "stored_tests.rs"]
mod tests;
