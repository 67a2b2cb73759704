//! A row that waits for a batch of a metadata table, as JSON text of version 1.

use delivery::ids::{RunId, WorkflowId};
use delivery::metadata::{Cell, CellType, DeliveredFacts, KeptRow, MetadataTable, Row};
use delivery::schema::Fingerprint;
use delivery::table::{TableName, WorkflowLabel};
use delivery::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{StoredFormatError, read_stored, text, write_stored};

const WHAT: &str = "waiting row";
const VERSION: u32 = 1;

/// The cells are those of the table's columns in order: a timestamp is an RFC 3339 text.
#[derive(Serialize, Deserialize)]
struct RowForm {
    v: u32,
    cells: Vec<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delivered: Option<DeliveredForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeliveredForm {
    #[serde(with = "text::one")]
    workflow_id: WorkflowId,
    #[serde(with = "text::one")]
    run_id: RunId,
    workflow_name: String,
    #[serde(with = "text::one")]
    fingerprint: Fingerprint,
    #[serde(with = "text::one")]
    label: WorkflowLabel,
    #[serde(with = "text::one")]
    table: TableName,
    table_version: u64,
    #[serde(with = "text::one")]
    finished_at: Timestamp,
}

/// Writes a row without its key.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if the row cannot be written as JSON.
pub fn write(row: &Row, delivered: Option<&DeliveredFacts>) -> Result<String, StoredFormatError> {
    let cell = |cell: &Cell| match cell {
        Cell::Null => Value::Null,
        Cell::Text(text) => text.as_str().into(),
        Cell::Integer(number) => (*number).into(),
        Cell::Boolean(flag) => (*flag).into(),
        Cell::Timestamp(at) => at.to_string().into(),
    };
    let delivered = delivered.map(|facts| DeliveredForm {
        workflow_id: facts.workflow.clone(),
        run_id: facts.run.clone(),
        workflow_name: facts.workflow_name.clone(),
        fingerprint: facts.fingerprint.clone(),
        label: facts.label.clone(),
        table: facts.table.clone(),
        table_version: facts.table_version,
        finished_at: facts.finished_at,
    });
    write_stored(WHAT, &RowForm { v: VERSION, cells: row.iter().map(cell).collect(), delivered })
}

/// Reads a row of a table.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if the text is not a row of the table's columns, of a known version.
pub fn read(table: MetadataTable, key: &str, text: &str) -> Result<KeptRow, StoredFormatError> {
    let form: RowForm = read_stored(WHAT, VERSION, text.as_bytes())?;
    let columns = table.columns();
    let cells = columns.iter().zip(&form.cells).map(|(column, value)| cell(column.cell_type, value));
    let row: Option<Row> = cells.collect();
    let row = row.filter(|_| form.cells.len() == columns.len()).ok_or_else(|| StoredFormatError {
        what: WHAT,
        reason: "its cells are not of its table's columns".to_owned(),
    })?;
    let delivered = form.delivered.map(|form| DeliveredFacts {
        workflow: form.workflow_id,
        run: form.run_id,
        workflow_name: form.workflow_name,
        fingerprint: form.fingerprint,
        label: form.label,
        table: form.table,
        table_version: form.table_version,
        finished_at: form.finished_at,
    });
    Ok(KeptRow { key: key.to_owned(), row, delivered })
}

fn cell(cell_type: CellType, value: &Value) -> Option<Cell> {
    if value.is_null() {
        return Some(Cell::Null);
    }
    match cell_type {
        CellType::Text => value.as_str().map(|text| Cell::Text(text.to_owned())),
        CellType::Integer => value.as_i64().map(Cell::Integer),
        CellType::Boolean => value.as_bool().map(Cell::Boolean),
        CellType::Timestamp => value.as_str().and_then(Timestamp::parse).map(Cell::Timestamp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_written_back_as_it_was() {
        for (table, text) in [
            (MetadataTable::WorkflowRuns, include_str!("../fixtures/waiting-row-run.v1.json").trim_end()),
            (MetadataTable::ActivityLog, include_str!("../fixtures/waiting-row-activity.v1.json").trim_end()),
        ] {
            let row = read(table, "a key", text).unwrap();
            assert_eq!(write(&row.row, row.delivered.as_ref()).unwrap(), text);
            assert_eq!((row.key.as_str(), row.row.len()), ("a key", table.columns().len()));
        }
    }

    #[test]
    fn a_row_of_another_table_is_refused_and_not_quoted() {
        let text = include_str!("../fixtures/waiting-row-activity.v1.json");
        for damaged in [text.replace("\"2026-", "\"secret-"), text.replace(",\"w-1\"", ""), text.replace("null", "7")] {
            let error = read(MetadataTable::ActivityLog, "k", &damaged).unwrap_err().to_string();
            assert_eq!(error, "the stored waiting row cannot be read: its cells are not of its table's columns");
        }
    }
}
