//! `jsonPredicateHints`: a tree of operations.

use serde::Deserialize;

use super::super::statistics::Columns;
use super::super::value::{Value, ValueType, instants};
use super::{Comparison, DEPTH_MAX, Literal, Node, Width};

/// The longest text that is read.
const TEXT_BYTES_MAX: usize = 1_000_000;

/// One operation of the predicate's text.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Op {
    op: String,
    #[serde(default)]
    children: Vec<Op>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    value_type: Option<String>,
}

/// Reads a predicate; `None` if its text is not one, or too deep. (The JSON reader itself goes 128 deep, two levels for
/// each operation.)
pub(super) fn parse(text: &str, columns: &mut Columns) -> Option<Node> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let op: Op = serde_json::from_str(text).ok()?;
    node(&op, columns, DEPTH_MAX)
}

/// `None` if the predicate is too deep; operations that are not understood become [`Node::Unknown`].
fn node(op: &Op, columns: &mut Columns, depth_left: usize) -> Option<Node> {
    let depth_left = depth_left.checked_sub(1)?;
    let all = |columns: &mut Columns| {
        op.children.iter().map(|child| node(child, columns, depth_left)).collect::<Option<Vec<_>>>()
    };
    Some(match (op.op.as_str(), op.children.as_slice()) {
        ("and", [_, ..]) => Node::And(all(columns)?),
        ("or", [_, ..]) => Node::Or(all(columns)?),
        ("not", [child]) => Node::Not(Box::new(node(child, columns, depth_left)?)),
        ("isNull", [child]) => column(child, columns).map_or(Node::Unknown, |column| Node::IsNull(column.place)),
        (name, [left, right]) => {
            comparison(name).and_then(|comparison| compare(comparison, left, right, columns)).unwrap_or(Node::Unknown)
        }
        (_, _) => Node::Unknown,
    })
}

fn compare(comparison: Comparison, left: &Op, right: &Op, columns: &mut Columns) -> Option<Node> {
    let (comparison, column_side, literal_side) = match (left.op.as_str(), right.op.as_str()) {
        ("column", "literal") => (comparison, left, right),
        ("literal", "column") => (comparison.mirrored(), right, left),
        (_, _) => return None,
    };
    let Column { place: column, value_type, said } = column(column_side, columns)?;
    let literal_type = ValueType::parse(literal_side.value_type.as_deref()?)?;
    literal_type.compares_with(value_type).then_some(())?;
    let text = literal_side.value.as_deref()?;
    // Either side is cut to 32 bits before they are compared.
    let are_cut = literal_type == ValueType::Float || said == ValueType::Float;
    let literal = if literal_type == ValueType::Timestamp {
        let (least, greatest) = instants(text)?;
        Literal { least, greatest }
    } else if are_cut {
        let (least, greatest) = Value::parse(text, literal_type)?.around_float()?;
        Literal { least, greatest }
    } else {
        Literal::exactly(Value::parse(text, literal_type)?)
    };
    let is_cut = said == ValueType::Int && value_type == ValueType::Long;
    let width = if is_cut { Width::Narrowed } else { Width::AsStored };
    Some(Node::Compare { column, comparison, literal, width })
}

/// A column of a predicate.
struct Column {
    /// Its place among the wanted ones.
    place: usize,
    value_type: ValueType,
    /// The type that its values are cast to.
    said: ValueType,
}

/// The column that an operation names, if the table has it and its type is about the one that the client thinks.
fn column(op: &Op, columns: &mut Columns) -> Option<Column> {
    let said = ValueType::parse(op.value_type.as_deref()?)?;
    (op.op == "column").then_some(())?;
    let (place, value_type) = columns.wanted(op.name.as_deref()?)?;
    said.compares_with(value_type).then_some(Column { place, value_type, said })
}

fn comparison(op: &str) -> Option<Comparison> {
    Some(match op {
        "equal" => Comparison::Equal,
        "lessThan" => Comparison::Less,
        "lessThanOrEqual" => Comparison::LessOrEqual,
        "greaterThan" => Comparison::Greater,
        "greaterThanOrEqual" => Comparison::GreaterOrEqual,
        _ => return None,
    })
}
