//! The record of an accepted run, as JSON text of version 1: everything that a later delivery or backfill needs.

use delivery::ids::RunKey;
use delivery::run::{Output, OutputObject, Run};
use delivery::schema::{Field, Marking};
use delivery::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{StoredFormatError, read_stored, shape, text, write_stored};

const WHAT: &str = "run record";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordForm {
    v: u32,
    #[serde(with = "text::run_key")]
    run: RunKey,
    workflow_name: String,
    #[serde(with = "text::optional", default, skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(with = "text::one")]
    finished_at: Timestamp,
    fields: Vec<FieldForm>,
    output: OutputForm,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FieldForm {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    field_type: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    is_key: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    is_private: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// In an array of one, so that a shape of `null` is not an absent shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shape: Option<[Value; 1]>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OutputForm {
    format: String,
    objects: Vec<ObjectForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    row_count: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct ObjectForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bucket: Option<String>,
    key: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the property by reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Writes a run's record.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if the run cannot be written as JSON.
pub fn write(run: &Run) -> Result<String, StoredFormatError> {
    let form = RecordForm {
        v: VERSION,
        run: run.key.clone(),
        workflow_name: run.workflow_name.clone(),
        started_at: run.started_at,
        finished_at: run.finished_at,
        fields: run.fields.iter().map(field_form).collect(),
        output: OutputForm {
            format: run.output.format.clone(),
            objects: run
                .output
                .objects
                .iter()
                .map(|object| ObjectForm { bucket: object.bucket.clone(), key: object.key.clone() })
                .collect(),
            row_count: run.output.row_count,
        },
    };
    write_stored(WHAT, &form)
}

/// Reads a run's record.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if the text is not a record of a known version.
pub fn read(record: &str) -> Result<Run, StoredFormatError> {
    let form: RecordForm = read_stored(WHAT, VERSION, record.as_bytes())?;
    let objects =
        form.output.objects.into_iter().map(|object| OutputObject { bucket: object.bucket, key: object.key }).collect();
    Ok(Run {
        key: form.run,
        workflow_name: form.workflow_name,
        started_at: form.started_at,
        finished_at: form.finished_at,
        fields: form.fields.into_iter().map(field_of).collect(),
        output: Output { format: form.output.format, objects, row_count: form.output.row_count },
    })
}

fn field_form(field: &Field) -> FieldForm {
    FieldForm {
        name: field.name.clone(),
        data_type: field.data_type.clone(),
        field_type: field.field_type.clone(),
        is_key: field.key,
        is_private: field.marking == Marking::Private,
        description: field.description.clone(),
        shape: field.shape.as_ref().map(|shape| [shape::to_json(shape)]),
    }
}

fn field_of(form: FieldForm) -> Field {
    Field {
        name: form.name,
        data_type: form.data_type,
        field_type: form.field_type,
        key: form.is_key,
        marking: if form.is_private { Marking::Private } else { Marking::Public },
        description: form.description,
        shape: form.shape.map(|[shape]| shape::from_json(&shape)),
    }
}
