//! Shapes as JSON values. Example values are not kept, only their kinds.

use delivery::schema::{DEPTH_MAX, Shape};
use serde_json::Value;

/// A shape of a JSON value. What lies deeper than a schema may is cut off one level below the limit, so that the
/// verdict stays the schema's and what is stored can always be read back.
pub(crate) fn from_json(value: &Value) -> Shape {
    from_json_at(value, 1)
}

fn from_json_at(value: &Value, depth: usize) -> Shape {
    if depth > DEPTH_MAX + 1 {
        return Shape::Null;
    }
    match value {
        Value::Null => Shape::Null,
        Value::Bool(_) => Shape::Boolean,
        Value::Number(_) => Shape::Number,
        Value::String(text) => Shape::String(text.clone()),
        Value::Array(elements) => {
            Shape::Array(elements.iter().map(|element| from_json_at(element, depth + 1)).collect())
        }
        Value::Object(keys) => {
            Shape::Object(keys.iter().map(|(key, value)| (key.clone(), from_json_at(value, depth + 1))).collect())
        }
    }
}

/// A JSON value that [`from_json`] reads as this shape.
pub(crate) fn to_json(shape: &Shape) -> Value {
    match shape {
        Shape::Null => Value::Null,
        Shape::Boolean => Value::Bool(false),
        Shape::Number => Value::from(0),
        Shape::String(text) => Value::String(text.clone()),
        Shape::Array(elements) => Value::Array(elements.iter().map(to_json).collect()),
        Shape::Object(keys) => Value::Object(keys.iter().map(|(key, shape)| (key.clone(), to_json(shape))).collect()),
    }
}

/// The object or array that a value is, or that it holds as text.
pub(crate) fn container(value: &Value) -> Option<Shape> {
    match value {
        Value::Object(_) | Value::Array(_) => Some(from_json(value)),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(parsed @ (Value::Object(_) | Value::Array(_))) => Some(from_json(&parsed)),
            Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | Err(_) => None,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}
