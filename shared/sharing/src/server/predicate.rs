//! Hints: which files can hold a row for which a predicate is true.
//!
//! A hint never costs a row: what is not understood can be anything. A predicate over a file comes to the set of
//! outcomes that a row of it may have, so that SQL's third value (null) and `not` cannot turn an estimate of what
//! may be into a statement of what is. Reading the two languages of hints is `json`'s and `sql`'s part.

mod json;
mod sql;

use tables::snapshot::{File, Metadata};

use super::statistics::{ColumnFacts, Columns, Facts};
use super::value::Value;

/// The deepest predicate that is read. The reference server reads 100; a hint that is passed over costs its sender
/// files, not rows.
const DEPTH_MAX: usize = 64;

/// Hints in SQL that are read; more are passed over.
const SQL_HINTS_MAX: usize = 64;

/// Comparisons, and what joins them, in a query's hints together; a hint beyond them is passed over. Each is looked at for
/// each file: a long answer has millions of times this to do.
const TERMS_MAX: usize = 4_000;

/// What was understood of a query's hints: all of it holds.
#[derive(Debug)]
pub(super) struct Predicate {
    roots: Vec<Node>,
    columns: Columns,
}

#[derive(Debug)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    IsNull(usize),
    Compare {
        column: usize,
        comparison: Comparison,
        literal: Literal,
        width: Width,
    },
    /// Null in every row.
    Null,
    /// Anything.
    Unknown,
}

impl Node {
    /// How many operations it has. (No deeper than [`DEPTH_MAX`].)
    fn terms(&self) -> usize {
        match self {
            Self::And(children) | Self::Or(children) => 1 + children.iter().map(Self::terms).sum::<usize>(),
            Self::Not(child) => 1 + child.terms(),
            Self::IsNull(_) | Self::Compare { .. } | Self::Null | Self::Unknown => 1,
        }
    }
}

/// What a column's values are before they are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    /// What they are.
    AsStored,
    /// 32 bits of 64, as the predicate says: larger values wrap around.
    Narrowed,
}

/// A value to compare with, or the range that it is somewhere in.
#[derive(Debug)]
struct Literal {
    least: Value,
    greatest: Value,
}

impl Literal {
    fn exactly(value: Value) -> Self {
        Self { least: value.clone(), greatest: value }
    }
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
    /// Reads a query's hints over a table's columns; `None` if nothing in them is understood.
    pub(super) fn of<'a>(
        json: Option<&str>,
        sql: impl IntoIterator<Item = &'a str>,
        metadata: &Metadata,
    ) -> Option<Self> {
        let mut columns = Columns::of(metadata)?;
        let mut roots: Vec<_> = json.and_then(|text| json::parse(text, &mut columns)).into_iter().collect();
        let sql = sql.into_iter().take(SQL_HINTS_MAX);
        roots.extend(sql.filter_map(|text| sql::parse(text, &mut columns)));
        let mut terms_left = TERMS_MAX;
        roots.retain(|root| match terms_left.checked_sub(root.terms()) {
            Some(left) => {
                terms_left = left;
                true
            }
            None => false,
        });
        (!roots.is_empty()).then_some(Self { roots, columns })
    }

    /// Whether a file can hold a row for which the predicate is true.
    pub(super) fn may_match(&self, file: &File) -> bool {
        let facts = self.columns.facts(file);
        self.roots.iter().all(|root| outcomes(root, &facts).may_true)
    }
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
        Node::Compare { column, comparison, literal, width } => match facts.column(*column) {
            Some(facts) if *width == Width::AsStored || facts.fits_int() => compared(*comparison, literal, facts),
            _ => Outcomes::ANY,
        },
        Node::Null => Outcomes { may_true: false, may_false: false, may_null: true },
        Node::Unknown => Outcomes::ANY,
    }
}

/// What comparing a column's values with a literal may come to, by the bounds of the values. A bound that is absent
/// can be anything.
fn compared(comparison: Comparison, literal: &Literal, facts: &ColumnFacts) -> Outcomes {
    let min = facts.min.as_ref().and_then(|min| min.partial_cmp(&literal.greatest));
    let max = facts.max.as_ref().and_then(|max| max.partial_cmp(&literal.least));
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
    let may_be_nan = matches!(literal.least, Value::Float(_));
    Outcomes {
        may_true: facts.may_value && may_true,
        may_false: facts.may_value && (may_false || may_be_nan),
        may_null: facts.may_null,
    }
}

#[cfg(test)]
mod tests;
