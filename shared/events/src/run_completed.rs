//! The message `RunCompleted`: what the producer announces, read leniently in what it adds and strictly in what it
//! means. Properties that are not named here are ignored.

use delivery::failure::{FailureCode, StepError};
use delivery::ids::{InvalidId, RunId, RunKey, TeamId, WorkflowId};
use delivery::run::{Announcement, Output, OutputObject, Run};
use delivery::schema::{Field, Marking};
use delivery::timestamp::Timestamp;

use crate::message;
use crate::property::Properties;
use crate::shape;

/// The largest message that is accepted, in bytes: its record has to fit an item of the state table (400 KB).
pub const MESSAGE_BYTES_MAX: usize = message::BYTES_MAX;

/// The most output objects of one run.
pub const OBJECTS_MAX: usize = 10_000;

/// The longest object key, in bytes (the limit of S3).
pub const KEY_BYTES_MAX: usize = 1_024;

const FORMAT_CHARS_MAX: usize = 32;
const STATE_CHARS_MAX: usize = 64;

/// Reads a message body: a `RunCompleted`, plain or as the `detail` of an EventBridge event.
///
/// # Errors
///
/// `MESSAGE_NOT_JSON`, `MESSAGE_INVALID` with the path of the property, `MESSAGE_ID_INVALID` and
/// `MESSAGE_TOO_LARGE`. No error holds a value of the message.
pub fn parse(body: &[u8]) -> Result<Announcement, StepError> {
    let document = message::read(body, "announce fewer objects or shorter descriptions")?;
    let event = message::unwrap_envelope(&document, "eventType");
    announcement(&Properties::of(event, FailureCode::MessageInvalid))
}

fn announcement(message: &Properties<'_>) -> Result<Announcement, StepError> {
    if message.string("eventType")? != "workflow_run_completed" {
        return Err(message.refuse("eventType", "must be workflow_run_completed"));
    }
    let state = message.string("state")?;
    if state != "FINISHED" {
        return Ok(Announcement::NotFinished { state: state.chars().take(STATE_CHARS_MAX).collect() });
    }
    let workflow = WorkflowId::new(message.string("workflowId")?).map_err(invalid_id)?;
    let key = RunKey {
        team: TeamId::new(message.string("teamId")?).map_err(invalid_id)?,
        run: RunId::new(message.string("runId")?).map_err(invalid_id)?,
        workflow,
    };
    Ok(Announcement::Finished(Box::new(Run {
        workflow_name: message.optional_string("workflowName")?.unwrap_or(key.workflow.as_str()).to_owned(),
        started_at: message
            .optional_string("startedAt")?
            .map(|text| instant(message, "startedAt", text))
            .transpose()?,
        finished_at: instant(message, "finishedAt", message.string("finishedAt")?)?,
        fields: message.object("schema")?.objects("fields")?.iter().map(field).collect::<Result<_, _>>()?,
        output: output(&message.object("output")?)?,
        key,
    })))
}

fn invalid_id(error: InvalidId) -> StepError {
    StepError::new(FailureCode::MessageIdInvalid, error.to_string())
}

fn instant(message: &Properties<'_>, name: &str, text: &str) -> Result<Timestamp, StepError> {
    Timestamp::parse(text).ok_or_else(|| message.refuse(name, "must be a time as RFC 3339 writes it"))
}

fn field(field: &Properties<'_>) -> Result<Field, StepError> {
    let name = field.string("name")?;
    if name.is_empty() {
        return Err(field.refuse("name", "must not be empty"));
    }
    let data_type = field.optional_string("dataType")?;
    let declared = field.get("shape").map(|value| shape::container(value).unwrap_or_else(|| shape::from_json(value)));
    let nested = matches!(data_type, Some("OBJECT" | "ARRAY"));
    let promoted = || field.get("example").filter(|_| nested).and_then(shape::container);
    Ok(Field {
        name: name.to_owned(),
        data_type: data_type.map(str::to_owned),
        field_type: field.optional_string("fieldType")?.map(str::to_owned),
        key: field.flag("isKey", false)?,
        marking: if field.flag("isPrivate", false)? { Marking::Private } else { Marking::Public },
        description: field.optional_string("description")?.map(str::to_owned),
        shape: declared.or_else(promoted),
    })
}

fn output(output: &Properties<'_>) -> Result<Output, StepError> {
    let format = output.string("format")?.to_owned();
    if format.is_empty() || format.chars().count() > FORMAT_CHARS_MAX {
        return Err(output.refuse("format", &format!("must have 1 to {FORMAT_CHARS_MAX} characters")));
    }
    let objects = output.objects("objects")?;
    if objects.is_empty() || objects.len() > OBJECTS_MAX {
        return Err(output.refuse("objects", &format!("must have 1 to {OBJECTS_MAX} elements")));
    }
    Ok(Output {
        format,
        objects: objects.iter().map(object).collect::<Result<_, _>>()?,
        row_count: output.optional_integer("rowCount")?,
    })
}

fn object(object: &Properties<'_>) -> Result<OutputObject, StepError> {
    let key = object.string("key")?;
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(object.refuse("key", &format!("must have 1 to {KEY_BYTES_MAX} bytes")));
    }
    let bucket = object.optional_string("bucket")?;
    if !bucket.is_none_or(is_bucket_name) {
        return Err(object.refuse("bucket", "must be the name of a bucket: 3 to 63 of a-z 0-9 . -"));
    }
    Ok(OutputObject { bucket: bucket.map(str::to_owned), key: key.to_owned() })
}

fn is_bucket_name(text: &str) -> bool {
    (3..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
#[path = "run_completed_tests.rs"]
mod tests;
