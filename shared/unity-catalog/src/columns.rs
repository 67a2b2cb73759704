//! Delta schema text to the columns of the catalog.
//!
//! The names of types are the catalog's (`ColumnTypeName` of the SDKs), their text is Spark SQL's, and `type_json` is
//! the field as the Delta log writes it (PROTOCOL.md, "Schema Serialization Format").

use serde::Serialize;
use serde_json::Value;

/// A column as the Tables API takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// The name.
    pub name: String,
    /// The type as SQL writes it.
    pub type_text: String,
    /// The type's name, without what is inside it.
    pub type_name: String,
    /// The whole field as JSON text.
    pub type_json: String,
    /// The place, from 0.
    pub position: u32,
    /// Whether it may be null.
    pub nullable: bool,
    /// A decimal's digits; 0 for other types.
    pub type_precision: u32,
    /// A decimal's digits behind the point; 0 for other types.
    pub type_scale: u32,
}

impl Column {
    /// The column as `name type`, to compare with what is registered.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} {}", self.name, self.type_text)
    }
}

/// A schema text that cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the schema text is not a Delta schema of known types")]
pub struct InvalidSchema;

/// The columns of a Delta schema text.
///
/// # Errors
///
/// Returns [`InvalidSchema`] if the text is not a Delta struct, or has a type that this deployment never writes.
pub fn columns(schema_text: &str) -> Result<Vec<Column>, InvalidSchema> {
    let schema: Value = serde_json::from_str(schema_text).map_err(|_| InvalidSchema)?;
    let fields = schema.get("fields").and_then(Value::as_array).ok_or(InvalidSchema)?;
    (0..).zip(fields).map(|(position, field)| column(position, field).ok_or(InvalidSchema)).collect()
}

fn column(position: u32, field: &Value) -> Option<Column> {
    let known = Type::of(field.get("type")?)?;
    let (type_precision, type_scale) = known.decimal.unwrap_or_default();
    Some(Column {
        name: field.get("name")?.as_str()?.to_owned(),
        type_text: known.text,
        type_name: known.name.to_owned(),
        type_json: field.to_string(),
        position,
        nullable: field.get("nullable").and_then(Value::as_bool).unwrap_or(true),
        type_precision,
        type_scale,
    })
}

/// A type in the catalog's words.
struct Type {
    name: &'static str,
    text: String,
    /// Digits, and digits behind the point.
    decimal: Option<(u32, u32)>,
}

impl Type {
    fn of(data_type: &Value) -> Option<Self> {
        if let Some(word) = data_type.as_str() {
            return Self::primitive(word);
        }
        let inner = |field: &str| Some(Self::of(data_type.get(field)?)?.text);
        let (name, text) = match data_type.get("type")?.as_str()? {
            "struct" => {
                let fields = data_type.get("fields")?.as_array()?;
                let fields: Option<Vec<_>> = fields
                    .iter()
                    .map(|field| {
                        Some(format!("{}:{}", field.get("name")?.as_str()?, Self::of(field.get("type")?)?.text))
                    })
                    .collect();
                ("STRUCT", format!("struct<{}>", fields?.join(",")))
            }
            "array" => ("ARRAY", format!("array<{}>", inner("elementType")?)),
            "map" => ("MAP", format!("map<{},{}>", inner("keyType")?, inner("valueType")?)),
            _ => return None,
        };
        Some(Self { name, text, decimal: None })
    }

    fn primitive(word: &str) -> Option<Self> {
        let (name, text) = match word {
            "string" => ("STRING", "string"),
            "long" => ("LONG", "bigint"),
            "integer" => ("INT", "int"),
            "short" => ("SHORT", "smallint"),
            "byte" => ("BYTE", "tinyint"),
            "double" => ("DOUBLE", "double"),
            "float" => ("FLOAT", "float"),
            "boolean" => ("BOOLEAN", "boolean"),
            "binary" => ("BINARY", "binary"),
            "date" => ("DATE", "date"),
            "timestamp" => ("TIMESTAMP", "timestamp"),
            "timestamp_ntz" => ("TIMESTAMP_NTZ", "timestamp_ntz"),
            _ => {
                let (digits, scale) = word.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
                let decimal = (digits.trim().parse().ok()?, scale.trim().parse().ok()?);
                let text = format!("decimal({},{})", decimal.0, decimal.1);
                return Some(Self { name: "DECIMAL", text, decimal: Some(decimal) });
            }
        };
        Some(Self { name, text: text.to_owned(), decimal: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(fields: &[(&str, Value)]) -> String {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, data_type)| json!({"name": name, "type": data_type, "nullable": true, "metadata": {}}))
            .collect();
        json!({"type": "struct", "fields": fields}).to_string()
    }

    #[test]
    fn every_type_that_we_write_has_its_words() {
        let money = json!({"type": "struct", "fields": [
            {"name": "amount", "type": "decimal(38,6)", "nullable": true, "metadata": {}},
            {"name": "currency_code", "type": "string", "nullable": true, "metadata": {}}]});
        let text = schema(&[
            ("title", json!("string")),
            ("price", json!("double")),
            ("open", json!("boolean")),
            ("day", json!("date")),
            ("at", json!("timestamp")),
            ("count", json!("long")),
            ("rate", json!("decimal(10,2)")),
            ("budget", money.clone()),
            ("offers", json!({"type": "array", "elementType": money, "containsNull": true})),
            ("by_key", json!({"type": "map", "keyType": "string", "valueType": "integer", "valueContainsNull": true})),
        ]);
        let columns = columns(&text).unwrap();
        let words: Vec<_> = columns.iter().map(|c| (c.type_name.as_str(), c.type_text.as_str())).collect();
        assert_eq!(
            words,
            [
                ("STRING", "string"),
                ("DOUBLE", "double"),
                ("BOOLEAN", "boolean"),
                ("DATE", "date"),
                ("TIMESTAMP", "timestamp"),
                ("LONG", "bigint"),
                ("DECIMAL", "decimal(10,2)"),
                ("STRUCT", "struct<amount:decimal(38,6),currency_code:string>"),
                ("ARRAY", "array<struct<amount:decimal(38,6),currency_code:string>>"),
                ("MAP", "map<string,int>"),
            ]
        );
        assert_eq!(columns.iter().map(|column| column.position).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        assert_eq!((columns[6].type_precision, columns[6].type_scale), (10, 2));
        let field: Value = serde_json::from_str(&columns[0].type_json).unwrap();
        assert_eq!(field, json!({"name": "title", "type": "string", "nullable": true, "metadata": {}}));
    }

    #[test]
    fn what_cannot_be_registered_is_refused() {
        for text in ["", "{}", "[]", r#"{"fields": 1}"#] {
            assert_eq!(columns(text), Err(InvalidSchema), "{text}");
        }
        for unknown in [json!("variant"), json!("decimal(x,2)"), json!({"type": "array"}), json!(1)] {
            assert_eq!(columns(&schema(&[("a", unknown.clone())])), Err(InvalidSchema), "{unknown}");
        }
    }
}
