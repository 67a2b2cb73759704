//! Delta schema text: written from public columns, read back as plain column descriptions.

use std::collections::BTreeMap;

use delivery::schema::{ColumnType, PublicSchema, RUN_COLUMNS};
use serde_json::{Value, json};

use crate::maintenance::{CHECKPOINT_INTERVAL, HISTORY_DAYS_USUAL};

/// The Delta schema text of public columns with the two run columns behind them (PROTOCOL.md, "Schema Serialization
/// Format"). Every column is nullable.
#[must_use]
pub fn schema_string(schema: &PublicSchema) -> String {
    let [run_id, run_finished_at] = RUN_COLUMNS;
    let fields: Vec<_> = schema
        .columns()
        .iter()
        .map(|column| field(&column.name, &delta_type(&column.column_type)))
        .chain([field(run_id, &json!("string")), field(run_finished_at, &json!("timestamp"))])
        .collect();
    structure(&fields).to_string()
}

fn delta_type(column_type: &ColumnType) -> Value {
    match column_type {
        ColumnType::String | ColumnType::Json => json!("string"),
        ColumnType::Double => json!("double"),
        ColumnType::Boolean => json!("boolean"),
        ColumnType::Date => json!("date"),
        ColumnType::Timestamp => json!("timestamp"),
        ColumnType::Money => {
            structure(&[field("amount", &json!("decimal(38,6)")), field("currency_code", &json!("string"))])
        }
        ColumnType::Struct(members) => structure(
            &members.iter().map(|member| field(&member.name, &delta_type(&member.column_type))).collect::<Vec<_>>(),
        ),
        ColumnType::Array(element) => {
            json!({"type": "array", "elementType": delta_type(element), "containsNull": true})
        }
    }
}

fn field(name: &str, delta_type: &Value) -> Value {
    json!({"name": name, "type": delta_type, "nullable": true, "metadata": {}})
}

fn structure(fields: &[Value]) -> Value {
    json!({"type": "struct", "fields": fields})
}

/// A schema text as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The top-level columns in order, each as `name type` with nested types written out.
    pub columns: Vec<String>,
    /// Every name, nested ones included.
    pub names: Vec<String>,
}

/// A schema text that is not Delta's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the schema text is not a Delta schema")]
pub struct InvalidSchema;

/// Reads a Delta schema text.
///
/// # Errors
///
/// Returns [`InvalidSchema`] if the text is not a Delta struct.
pub fn describe(schema_string: &str) -> Result<Described, InvalidSchema> {
    let schema: Value = serde_json::from_str(schema_string).map_err(|_| InvalidSchema)?;
    let mut names = Vec::new();
    let columns =
        fields_of(&schema)?.iter().map(|field| describe_field(field, " ", &mut names)).collect::<Result<_, _>>()?;
    Ok(Described { columns, names })
}

fn fields_of(structure: &Value) -> Result<&Vec<Value>, InvalidSchema> {
    structure.get("fields").and_then(Value::as_array).ok_or(InvalidSchema)
}

fn describe_field(field: &Value, separator: &str, names: &mut Vec<String>) -> Result<String, InvalidSchema> {
    let name = field.get("name").and_then(Value::as_str).ok_or(InvalidSchema)?;
    names.push(name.to_owned());
    Ok(format!("{name}{separator}{}", describe_type(field.get("type").ok_or(InvalidSchema)?, names)?))
}

fn describe_type(delta_type: &Value, names: &mut Vec<String>) -> Result<String, InvalidSchema> {
    if let Some(primitive) = delta_type.as_str() {
        return Ok(primitive.to_owned());
    }
    match delta_type.get("type").and_then(Value::as_str) {
        Some("struct") => {
            let fields: Vec<_> = fields_of(delta_type)?
                .iter()
                .map(|field| describe_field(field, ":", names))
                .collect::<Result<_, _>>()?;
            Ok(format!("struct<{}>", fields.join(",")))
        }
        Some("array") => {
            let element = delta_type.get("elementType").ok_or(InvalidSchema)?;
            Ok(format!("array<{}>", describe_type(element, names)?))
        }
        _ => Err(InvalidSchema),
    }
}

/// What Delta writes into `metaData.configuration` of every table of ours: a change data feed, checkpoints often
/// enough that opening a table stays cheap, and how long a version stays readable. The text is a table's from its first
/// commit on; what [`crate::maintenance`] does is ruled by its [`crate::maintenance::Policy`].
#[must_use]
pub fn configuration() -> BTreeMap<String, String> {
    let history = format!("interval {HISTORY_DAYS_USUAL} days");
    [
        ("delta.checkpointInterval", CHECKPOINT_INTERVAL.to_string()),
        ("delta.deletedFileRetentionDuration", history.clone()),
        ("delta.enableChangeDataFeed", "true".to_owned()),
        ("delta.logRetentionDuration", history),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use delivery::schema::{Column, StructField};

    fn column(name: &str, column_type: ColumnType) -> Column {
        Column {
            source: name.to_owned(),
            name: name.to_owned(),
            column_type,
            source_type: "STRING".to_owned(),
            key: false,
            description: None,
        }
    }

    #[test]
    fn a_schema_reads_back_as_it_was_written() {
        let member =
            |name: &str, column_type| StructField { source: name.to_owned(), name: name.to_owned(), column_type };
        let schema = PublicSchema::from_columns(vec![
            column("title", ColumnType::String),
            column("extra", ColumnType::Json),
            column("budget", ColumnType::Money),
            column(
                "seller",
                ColumnType::Struct(vec![
                    member("rating", ColumnType::Double),
                    member("tags", ColumnType::Array(Box::new(ColumnType::Date))),
                ]),
            ),
            column("flags", ColumnType::Array(Box::new(ColumnType::Boolean))),
        ]);
        let described = describe(&schema_string(&schema)).unwrap();
        assert_eq!(
            described.columns,
            [
                "title string",
                "extra string",
                "budget struct<amount:decimal(38,6),currency_code:string>",
                "seller struct<rating:double,tags:array<date>>",
                "flags array<boolean>",
                "run_id string",
                "run_finished_at timestamp",
            ]
        );
        assert!(described.names.contains(&"currency_code".to_owned()));
        assert_eq!(describe("{}"), Err(InvalidSchema));
        assert_eq!(describe("not json"), Err(InvalidSchema));
    }
}
