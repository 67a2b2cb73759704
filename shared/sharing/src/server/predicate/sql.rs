//! `predicateHints`: conditions in SQL, as far as they are understood.
//!
//! Reads comparisons of a column with a literal, `IS NULL`, `IN`, `BETWEEN`, `AND`, `OR` and `NOT`. An expression of
//! another kind (arithmetic, functions, nested fields, `LIKE`) has its place in the grammar and no meaning; a text
//! that the grammar does not have is no hint at all. Where engines or their settings disagree on a literal, it has
//! none or a range.

mod words;

use delivery::timestamp::parse_date;

use super::super::statistics::Columns;
use super::super::value::{Value, ValueType, instants};
use super::{Comparison, DEPTH_MAX, Literal, Node, Width};
use words::{Word, words};

/// The longest text that is read.
const TEXT_BYTES_MAX: usize = 100_000;

/// Reads one hint; `None` if it says nothing that is understood.
pub(super) fn parse(text: &str, columns: &mut Columns) -> Option<Node> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let mut parser = Parser { words: words(text)?, at: 0, columns, depth_left: DEPTH_MAX };
    let term = parser.disjunction()?;
    parser.peek().is_none().then(|| term.condition())
}

/// An expression, by what it may be used for.
#[derive(Debug)]
enum Term {
    /// It is true, false or null.
    Condition(Node),
    Column(usize, ValueType),
    Constant(Constant),
    /// Anything.
    Opaque,
}

impl Term {
    fn condition(self) -> Node {
        match self {
            Self::Condition(node) => node,
            Self::Column(..) | Self::Constant(_) | Self::Opaque => Node::Unknown,
        }
    }
}

/// A literal, by what is written.
#[derive(Debug, Clone, PartialEq)]
enum Constant {
    Null,
    Bool(bool),
    Whole(i64),
    Fraction(f64),
    Text(String),
    Date(i32),
    /// A time, perhaps without its zone.
    Time(String),
}

struct Parser<'a> {
    words: Vec<Word>,
    at: usize,
    columns: &'a mut Columns,
    depth_left: usize,
}

/// What the grammar has no place for is `None`.
impl Parser<'_> {
    fn peek(&self) -> Option<&Word> {
        self.words.get(self.at)
    }

    fn next(&mut self) -> Option<Word> {
        let word = self.words.get(self.at).cloned();
        self.at += 1;
        word
    }

    fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Word::Sign(found)) if *found == sign);
        self.at += usize::from(found);
        found
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Some(Word::Name(found)) if found.eq_ignore_ascii_case(keyword));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Option<()> {
        self.sign(sign).then_some(())
    }

    /// One level further down.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.depth_left = self.depth_left.checked_sub(1)?;
        let read = read(self);
        self.depth_left += 1;
        read
    }

    fn disjunction(&mut self) -> Option<Term> {
        self.deeper(|parser| parser.joined("OR", Node::Or, |parser| parser.joined("AND", Node::And, Self::negation)))
    }

    fn joined(
        &mut self,
        keyword: &str,
        join: fn(Vec<Node>) -> Node,
        mut part: impl FnMut(&mut Self) -> Option<Term>,
    ) -> Option<Term> {
        let first = part(self)?;
        if !self.keyword(keyword) {
            return Some(first);
        }
        let mut nodes = vec![first.condition(), part(self)?.condition()];
        while self.keyword(keyword) {
            nodes.push(part(self)?.condition());
        }
        Some(Term::Condition(join(nodes)))
    }

    fn negation(&mut self) -> Option<Term> {
        if self.keyword("NOT") || self.sign("!") {
            let negated = self.deeper(Self::negation)?.condition();
            return Some(Term::Condition(Node::Not(Box::new(negated))));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Option<Term> {
        let left = self.sum()?;
        let node = if self.keyword("IS") {
            let negated = self.keyword("NOT");
            self.keyword("NULL").then_some(())?;
            negate(negated, is_null(&left))
        } else if let Some(sign) = self.comparing() {
            let right = self.sum()?;
            compare(sign, &left, &right)
        } else {
            let negated = self.keyword("NOT");
            if self.keyword("IN") {
                self.expect("(")?;
                let items = self.list()?;
                negate(negated, Node::Or(items.iter().map(|item| compare("=", &left, item)).collect()))
            } else if self.keyword("BETWEEN") {
                let least = self.sum()?;
                self.keyword("AND").then_some(())?;
                let greatest = self.sum()?;
                negate(negated, Node::And(vec![compare(">=", &left, &least), compare("<=", &left, &greatest)]))
            } else if self.keyword("LIKE") {
                self.sum()?;
                Node::Unknown
            } else if negated {
                return None;
            } else {
                return Some(left);
            }
        };
        Some(Term::Condition(node))
    }

    fn comparing(&mut self) -> Option<&'static str> {
        let Some(Word::Sign(sign @ ("=" | "==" | "<=>" | "<>" | "!=" | "<" | "<=" | ">" | ">="))) = self.peek() else {
            return None;
        };
        let sign = *sign;
        self.at += 1;
        Some(sign)
    }

    fn sum(&mut self) -> Option<Term> {
        let mut term = self.signed()?;
        while ["+", "-", "*", "/", "%", "||", "|"].iter().any(|sign| self.sign(sign)) {
            self.signed()?;
            term = Term::Opaque;
        }
        Some(term)
    }

    fn signed(&mut self) -> Option<Term> {
        if !self.sign("-") {
            return self.primary();
        }
        // The least whole number has no positive twin, so the sign is read with the digits.
        if let Some(Word::Number(digits)) = self.peek() {
            let number = number(&format!("-{digits}"));
            self.at += 1;
            return Some(number);
        }
        self.deeper(Self::signed)?;
        Some(Term::Opaque)
    }

    fn primary(&mut self) -> Option<Term> {
        let term = match self.next()? {
            Word::Sign("(") => {
                let inner = self.disjunction()?;
                self.expect(")")?;
                inner
            }
            Word::Sign(_) => return None,
            Word::Opaque => Term::Opaque,
            Word::Number(digits) => number(&digits),
            Word::Text(text) => Term::Constant(Constant::Text(text)),
            Word::Quoted(name) => self.column(&name),
            Word::Name(name) => self.named(&name)?,
        };
        self.path(term)
    }

    /// Fields and elements of what was read.
    fn path(&mut self, term: Term) -> Option<Term> {
        let mut term = term;
        loop {
            if self.sign(".") {
                matches!(self.next()?, Word::Name(_) | Word::Quoted(_)).then_some(())?;
            } else if self.sign("[") {
                self.disjunction()?;
                self.expect("]")?;
            } else {
                return Some(term);
            }
            term = Term::Opaque;
        }
    }

    fn named(&mut self, name: &str) -> Option<Term> {
        match name.to_ascii_uppercase().as_str() {
            "NULL" => return Some(Term::Constant(Constant::Null)),
            "TRUE" => return Some(Term::Constant(Constant::Bool(true))),
            "FALSE" => return Some(Term::Constant(Constant::Bool(false))),
            "DATE" | "TIMESTAMP" if matches!(self.peek(), Some(Word::Text(_))) => {
                let Some(Word::Text(text)) = self.next() else { return None };
                return Some(cast(Constant::Text(text), name));
            }
            "CAST" if self.sign("(") => return self.cast(),
            "AND" | "OR" | "NOT" | "IN" | "IS" | "BETWEEN" | "LIKE" | "CASE" | "AS" | "INTERVAL" => return None,
            _ => {}
        }
        if self.sign("(") {
            if !self.sign(")") {
                self.list()?;
            }
            return Some(Term::Opaque);
        }
        Some(self.column(name))
    }

    fn column(&mut self, name: &str) -> Term {
        self.columns.wanted(name).map_or(Term::Opaque, |(place, value_type)| Term::Column(place, value_type))
    }

    /// The rest of `CAST(expression AS type)`.
    fn cast(&mut self) -> Option<Term> {
        let inner = self.disjunction()?;
        self.keyword("AS").then_some(())?;
        let Word::Name(target) = self.next()? else { return None };
        if self.sign("(") {
            // A length or a precision: what is cut off by it is not followed.
            self.list()?;
            self.expect(")")?;
            return Some(Term::Opaque);
        }
        self.expect(")")?;
        Some(match inner {
            Term::Constant(constant) => cast(constant, &target),
            Term::Condition(_) | Term::Column(..) | Term::Opaque => Term::Opaque,
        })
    }

    /// The rest of a list in parentheses, which has one element at least.
    fn list(&mut self) -> Option<Vec<Term>> {
        let mut items = vec![self.disjunction()?];
        while self.sign(",") {
            items.push(self.disjunction()?);
        }
        self.expect(")")?;
        Some(items)
    }
}

fn number(digits: &str) -> Term {
    let whole = digits.parse().ok().map(Constant::Whole);
    let number = whole.or_else(|| digits.parse().ok().filter(|n: &f64| n.is_finite()).map(Constant::Fraction));
    number.map_or(Term::Opaque, Term::Constant)
}

/// A literal of another type, where no engine could mean another value by it.
fn cast(constant: Constant, target: &str) -> Term {
    let whole = |least: i64, greatest: i64| {
        let number = match &constant {
            Constant::Whole(number) => Some(*number),
            Constant::Text(text) => text.parse().ok(),
            Constant::Null | Constant::Bool(_) | Constant::Fraction(_) | Constant::Date(_) | Constant::Time(_) => None,
        };
        number.filter(|number| (least..=greatest).contains(number)).map(Constant::Whole)
    };
    let cast = match (target.to_ascii_uppercase().as_str(), &constant) {
        (_, Constant::Null) => Some(Constant::Null),
        ("BOOLEAN", Constant::Bool(_)) | ("STRING", Constant::Text(_)) | ("DATE", Constant::Date(_)) => Some(constant),
        ("TIMESTAMP", Constant::Time(_)) => Some(constant),
        ("TINYINT" | "BYTE", _) => whole(i8::MIN.into(), i8::MAX.into()),
        ("SMALLINT" | "SHORT", _) => whole(i16::MIN.into(), i16::MAX.into()),
        ("INT" | "INTEGER", _) => whole(i32::MIN.into(), i32::MAX.into()),
        ("BIGINT" | "LONG", _) => whole(i64::MIN, i64::MAX),
        ("DOUBLE", Constant::Fraction(_)) => Some(constant),
        ("DATE", Constant::Text(text)) => parse_date(text).map(Constant::Date),
        ("TIMESTAMP", Constant::Text(text)) => Some(Constant::Time(text.clone())),
        (_, _) => None,
    };
    cast.map_or(Term::Opaque, Term::Constant)
}

fn negate(negated: bool, node: Node) -> Node {
    if negated { Node::Not(Box::new(node)) } else { node }
}

fn is_null(term: &Term) -> Node {
    match term {
        Term::Column(column, _) => Node::IsNull(*column),
        Term::Condition(_) | Term::Constant(_) | Term::Opaque => Node::Unknown,
    }
}

fn compare(sign: &str, left: &Term, right: &Term) -> Node {
    let (column, value_type, constant, mirrored) = match (left, right) {
        (Term::Column(column, value_type), Term::Constant(constant)) => (*column, *value_type, constant, false),
        (Term::Constant(constant), Term::Column(column, value_type)) => (*column, *value_type, constant, true),
        (_, _) => return Node::Unknown,
    };
    if *constant == Constant::Null {
        return if sign == "<=>" { Node::IsNull(column) } else { Node::Null };
    }
    let Some(literal) = literal(constant, value_type) else { return Node::Unknown };
    let comparison = match sign {
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        ">=" => Comparison::GreaterOrEqual,
        _ => Comparison::Equal,
    };
    let comparison = if mirrored { comparison.mirrored() } else { comparison };
    let compared = Node::Compare { column, comparison, literal, width: Width::AsStored };
    match sign {
        "<>" | "!=" => negate(true, compared),
        "<=>" => Node::And(vec![negate(true, Node::IsNull(column)), compared]),
        _ => compared,
    }
}

/// What a constant is beside a column of a type; `None` if engines differ on it.
fn literal(constant: &Constant, value_type: ValueType) -> Option<Literal> {
    match (value_type, constant) {
        (ValueType::Bool, Constant::Bool(value)) => Some(Literal::exactly(Value::Bool(*value))),
        (ValueType::Int | ValueType::Long, Constant::Whole(value)) => Some(Literal::exactly(Value::Integer(*value))),
        (ValueType::Float | ValueType::Double, Constant::Whole(value)) => {
            Some(Literal::exactly(Value::parse(&value.to_string(), ValueType::Double)?))
        }
        (ValueType::Float | ValueType::Double, Constant::Fraction(value)) => {
            Some(Literal::exactly(Value::Float(*value)))
        }
        (ValueType::String, Constant::Text(value)) => Some(Literal::exactly(Value::String(value.clone()))),
        (ValueType::Date, Constant::Date(days)) => Some(Literal::exactly(Value::Date(*days))),
        (ValueType::Date, Constant::Text(text)) => parse_date(text).map(|days| Literal::exactly(Value::Date(days))),
        (ValueType::Timestamp, Constant::Text(text) | Constant::Time(text)) => time(text),
        (_, _) => None,
    }
}

fn time(text: &str) -> Option<Literal> {
    let midnight = parse_date(text).map(|_| format!("{text} 00:00:00"));
    let (least, greatest) = instants(midnight.as_deref().unwrap_or(text))?;
    Some(Literal { least, greatest })
}

#[cfg(test)]
mod tests;
