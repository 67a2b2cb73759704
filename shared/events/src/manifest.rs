//! The staging manifest, as JSON text of version 1: what load, proof and promote know of a run's files without
//! opening one. Its existence says that the run is staged whole.

use delivery::failure::FailureCode;
use delivery::ids::RunKey;
use delivery::schema::{Column, ColumnType, PublicSchema, StructField};
use delivery::staged::{RejectedRows, Rejection, StagedFile, StagedRun};
use delivery::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
struct ColumnForm {
    source: String,
    name: String,
    #[serde(rename = "type")]
    column_type: Value,
    is_key: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
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
    let column = |column: &Column| ColumnForm {
        source: column.source.clone(),
        name: column.name.clone(),
        column_type: write_type(&column.column_type),
        is_key: column.key,
        description: column.description.clone(),
    };
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
        columns: staged.schema.columns().iter().map(column).collect(),
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
    let column = |form: ColumnForm| {
        let column_type = read_type(&form.column_type).ok_or_else(|| StoredFormatError {
            what: WHAT,
            reason: "a column has a type that this program does not know".to_owned(),
        })?;
        Ok(Column {
            source: form.source,
            name: form.name,
            column_type,
            key: form.is_key,
            description: form.description,
        })
    };
    let file = |form: FileForm| StagedFile {
        key: form.key,
        size_bytes: form.size_bytes,
        rows: form.rows,
        statistics: form.statistics,
    };
    let rejection =
        |form: RejectionForm| Rejection { line: form.line, column: form.column, code: form.code, reason: form.reason };
    let columns: Vec<_> = form.columns.into_iter().map(column).collect::<Result<_, StoredFormatError>>()?;
    Ok(StagedRun {
        run: form.run,
        workflow_name: form.workflow_name,
        finished_at: form.finished_at,
        schema: PublicSchema::from_columns(columns),
        files: form.files.into_iter().map(file).collect(),
        rows: form.rows,
        rejected: RejectedRows {
            rows: form.rejected.rows,
            first: form.rejected.first.map(rejection),
            key: form.rejected.key,
        },
    })
}

/// A type as JSON: a word, `["array", element]`, or `["struct", source, name, type, …]`. One level of JSON for one
/// level of type, so that the deepest type that is allowed can be read back (JSON is read 128 levels deep).
fn write_type(column_type: &ColumnType) -> Value {
    let word = match column_type {
        ColumnType::String => "string",
        ColumnType::Json => "json",
        ColumnType::Double => "double",
        ColumnType::Boolean => "boolean",
        ColumnType::Date => "date",
        ColumnType::Timestamp => "timestamp",
        ColumnType::Money => "money",
        ColumnType::Array(element) => return Value::Array(vec!["array".into(), write_type(element)]),
        ColumnType::Struct(fields) => {
            let members = fields.iter().flat_map(|field| {
                [field.source.as_str().into(), field.name.as_str().into(), write_type(&field.column_type)]
            });
            return Value::Array([Value::from("struct")].into_iter().chain(members).collect());
        }
    };
    word.into()
}

fn read_type(value: &Value) -> Option<ColumnType> {
    let Value::Array(parts) = value else {
        return match value.as_str()? {
            "string" => Some(ColumnType::String),
            "json" => Some(ColumnType::Json),
            "double" => Some(ColumnType::Double),
            "boolean" => Some(ColumnType::Boolean),
            "date" => Some(ColumnType::Date),
            "timestamp" => Some(ColumnType::Timestamp),
            "money" => Some(ColumnType::Money),
            _ => None,
        };
    };
    let (word, rest) = parts.split_first()?;
    match (word.as_str()?, rest) {
        ("array", [element]) => Some(ColumnType::Array(Box::new(read_type(element)?))),
        ("struct", members) => {
            let (members, rest) = members.as_chunks::<3>();
            let fields = members.iter().map(|[source, name, column_type]| {
                Some(StructField {
                    source: source.as_str()?.to_owned(),
                    name: name.as_str()?.to_owned(),
                    column_type: read_type(column_type)?,
                })
            });
            if rest.is_empty() { Some(ColumnType::Struct(fields.collect::<Option<_>>()?)) } else { None }
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "stored_tests.rs"]
mod tests;
