//! Public columns as JSON: of the staging manifest, and of a version table's item.

use delivery::schema::{Column, ColumnType, PublicSchema, StructField};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::StoredFormatError;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ColumnForm {
    source: String,
    name: String,
    #[serde(rename = "type")]
    column_type: Value,
    source_type: String,
    is_key: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
}

/// The columns of a schema.
pub(crate) fn write(schema: &PublicSchema) -> Vec<ColumnForm> {
    let column = |column: &Column| ColumnForm {
        source: column.source.clone(),
        name: column.name.clone(),
        column_type: write_type(&column.column_type),
        source_type: column.source_type.clone(),
        is_key: column.key,
        description: column.description.clone(),
    };
    schema.columns().iter().map(column).collect()
}

/// The schema of columns.
pub(crate) fn read(what: &'static str, columns: Vec<ColumnForm>) -> Result<PublicSchema, StoredFormatError> {
    let column = |form: ColumnForm| {
        let column_type = read_type(&form.column_type).ok_or_else(|| StoredFormatError {
            what,
            reason: "a column has a type that this program does not know".to_owned(),
        })?;
        Ok(Column {
            source: form.source,
            name: form.name,
            column_type,
            source_type: form.source_type,
            key: form.is_key,
            description: form.description,
        })
    };
    Ok(PublicSchema::from_columns(columns.into_iter().map(column).collect::<Result<_, _>>()?))
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
