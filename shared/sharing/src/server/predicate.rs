//! `jsonPredicateHints`: which files can hold a row for which a predicate is true.
//!
//! A hint never costs a row: what is not understood can be anything. A predicate over a file comes to the set of
//! outcomes that a row of it may have, so that SQL's third value (null) and `not` cannot turn an estimate of what
//! may be into a statement of what is.

use serde::Deserialize;
use tables::snapshot::File;

use super::statistics::{ColumnFacts, Columns, Facts};
use super::value::{Value, ValueType};

/// The longest predicate text that is read.
const TEXT_BYTES_MAX: usize = 1_000_000;

/// The deepest predicate that is read: two levels of JSON each, and the JSON reader goes 128 deep. The reference server
/// reads 100; a hint that is passed over costs its sender files, not rows.
const DEPTH_MAX: usize = 64;

/// A predicate that was understood, as far as it goes.
#[derive(Debug)]
pub(super) struct Predicate {
    root: Node,
    columns: Columns,
}

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

#[derive(Debug)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    IsNull(usize),
    Compare { column: usize, comparison: Comparison, literal: Value },
    Unknown,
}

#[derive(Debug, Clone, Copy)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn parse(op: &str) -> Option<Self> {
        Some(match op {
            "equal" => Self::Equal,
            "lessThan" => Self::Less,
            "lessThanOrEqual" => Self::LessOrEqual,
            "greaterThan" => Self::Greater,
            "greaterThanOrEqual" => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    /// The comparison with its sides changed.
    fn mirrored(self) -> Self {
        match self {
            Self::Equal => Self::Equal,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }
}

/// What a predicate may come to for the rows of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outcomes {
    may_true: bool,
    may_false: bool,
    may_null: bool,
}

impl Outcomes {
    const ANY: Self = Self { may_true: true, may_false: true, may_null: true };
}

impl Predicate {
    /// Reads a predicate over a table's columns; `None` if its text is not one that is understood at all.
    pub(super) fn parse(text: &str, schema_string: &str, partition_columns: &[String]) -> Option<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let op: Op = serde_json::from_str(text).ok()?;
        let mut columns = Columns::of(schema_string, partition_columns)?;
        let root = node(&op, &mut columns, DEPTH_MAX)?;
        Some(Self { root, columns })
    }

    /// Whether a file can hold a row for which the predicate is true.
    pub(super) fn may_match(&self, file: &File) -> bool {
        let facts = self.columns.facts(file);
        outcomes(&self.root, &facts).may_true
    }
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
        ("isNull", [child]) => column(child, columns).map_or(Node::Unknown, |(column, _)| Node::IsNull(column)),
        (name, [left, right]) => Comparison::parse(name)
            .and_then(|comparison| compare(comparison, left, right, columns))
            .unwrap_or(Node::Unknown),
        (_, _) => Node::Unknown,
    })
}

fn compare(comparison: Comparison, left: &Op, right: &Op, columns: &mut Columns) -> Option<Node> {
    let (comparison, column_side, literal_side) = match (left.op.as_str(), right.op.as_str()) {
        ("column", "literal") => (comparison, left, right),
        ("literal", "column") => (comparison.mirrored(), right, left),
        (_, _) => return None,
    };
    let (column, value_type) = column(column_side, columns)?;
    let literal_type = ValueType::parse(literal_side.value_type.as_deref()?)?;
    let literal = Value::parse(literal_side.value.as_deref()?, literal_type)?;
    literal_type.compares_with(value_type).then_some(Node::Compare { column, comparison, literal })
}

/// The column that an operation names, if the table has it and its type is the one that the client thinks.
fn column(op: &Op, columns: &mut Columns) -> Option<(usize, ValueType)> {
    let said = ValueType::parse(op.value_type.as_deref()?)?;
    (op.op == "column").then_some(())?;
    let (column, value_type) = columns.wanted(op.name.as_deref()?)?;
    said.compares_with(value_type).then_some((column, value_type))
}

fn outcomes(node: &Node, facts: &Facts) -> Outcomes {
    match node {
        Node::And(children) => {
            let start = Outcomes { may_true: true, may_false: false, may_null: false };
            children.iter().map(|child| outcomes(child, facts)).fold(start, |all, child| Outcomes {
                may_true: all.may_true && child.may_true,
                may_false: all.may_false || child.may_false,
                may_null: all.may_null || child.may_null,
            })
        }
        Node::Or(children) => {
            let start = Outcomes { may_true: false, may_false: true, may_null: false };
            children.iter().map(|child| outcomes(child, facts)).fold(start, |any, child| Outcomes {
                may_true: any.may_true || child.may_true,
                may_false: any.may_false && child.may_false,
                may_null: any.may_null || child.may_null,
            })
        }
        Node::Not(child) => {
            let child = outcomes(child, facts);
            Outcomes { may_true: child.may_false, may_false: child.may_true, may_null: child.may_null }
        }
        Node::IsNull(column) => facts.column(*column).map_or(Outcomes::ANY, |facts| Outcomes {
            may_true: facts.may_null,
            may_false: facts.may_value,
            may_null: false,
        }),
        Node::Compare { column, comparison, literal } => {
            facts.column(*column).map_or(Outcomes::ANY, |facts| compared(*comparison, literal, facts))
        }
        Node::Unknown => Outcomes::ANY,
    }
}

/// What comparing a column's values with a literal may come to, by the bounds of the values. A bound that is absent
/// can be anything.
fn compared(comparison: Comparison, literal: &Value, facts: &ColumnFacts) -> Outcomes {
    let min = facts.min.as_ref().and_then(|min| min.partial_cmp(literal));
    let max = facts.max.as_ref().and_then(|max| max.partial_cmp(literal));
    let (can_be_less, can_be_greater) = (min.is_none_or(|min| min.is_lt()), max.is_none_or(|max| max.is_gt()));
    let can_be_equal = min.is_none_or(|min| min.is_le()) && max.is_none_or(|max| max.is_ge());
    let (may_true, may_false) = match comparison {
        Comparison::Equal => (can_be_equal, can_be_less || can_be_greater),
        Comparison::Less => (can_be_less, can_be_equal || can_be_greater),
        Comparison::LessOrEqual => (can_be_less || can_be_equal, can_be_greater),
        Comparison::Greater => (can_be_greater, can_be_less || can_be_equal),
        Comparison::GreaterOrEqual => (can_be_greater || can_be_equal, can_be_less),
    };
    // No statistic shows NaN, and engines disagree on whether it is above every number.
    let may_be_nan = matches!(literal, Value::Float(_));
    Outcomes {
        may_true: facts.may_value && may_true,
        may_false: facts.may_value && (may_false || may_be_nan),
        may_null: facts.may_null,
    }
}

#[cfg(test)]
mod tests;
