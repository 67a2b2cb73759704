//! Values of predicates and statistics, by type. Values of different types do not compare.

use std::cmp::Ordering;

use delivery::timestamp::{Timestamp, parse_date};

/// The types that a predicate can name, and that a column can have for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueType {
    /// `bool`
    Bool,
    /// `int`, and what is shorter
    Int,
    /// `long`
    Long,
    /// `float`: 32 bits, which predicates may compare as 64.
    Float,
    /// `double`
    Double,
    /// `string`
    String,
    /// `date`
    Date,
    /// `timestamp`
    Timestamp,
}

impl ValueType {
    /// Reads a type of the protocol's predicates.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "bool" => Self::Bool,
            "int" => Self::Int,
            "long" => Self::Long,
            "float" => Self::Float,
            "double" => Self::Double,
            "string" => Self::String,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp,
            _ => return None,
        })
    }

    /// Reads a primitive type of a Delta schema.
    pub(super) fn of_column(text: &str) -> Option<Self> {
        Some(match text {
            "boolean" => Self::Bool,
            "byte" | "short" | "integer" => Self::Int,
            "long" => Self::Long,
            "float" => Self::Float,
            "double" => Self::Double,
            "string" => Self::String,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp,
            _ => return None,
        })
    }

    /// Whether values of the two types are put side by side.
    pub(super) fn compares_with(self, other: Self) -> bool {
        let is_whole = |value_type| matches!(value_type, Self::Int | Self::Long);
        let is_float = |value_type| matches!(value_type, Self::Float | Self::Double);
        self == other || is_whole(self) && is_whole(other) || is_float(self) && is_float(other)
    }
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number; never NaN.
    Float(f64),
    /// A text, in the order of its UTF-8 bytes.
    String(String),
    /// Days since the epoch.
    Date(i32),
    /// An instant.
    Timestamp(Timestamp),
}

impl Value {
    /// Reads the text of a literal or of a partition value.
    pub(super) fn parse(text: &str, value_type: ValueType) -> Option<Self> {
        match value_type {
            ValueType::Bool => text.to_ascii_lowercase().parse().ok().map(Self::Bool),
            ValueType::Int => text.parse::<i32>().ok().map(|number| Self::Integer(number.into())),
            ValueType::Long => text.parse().ok().map(Self::Integer),
            ValueType::Float | ValueType::Double => {
                text.parse().ok().filter(|number: &f64| !number.is_nan()).map(Self::Float)
            }
            ValueType::String => Some(Self::String(text.to_owned())),
            ValueType::Date => parse_date(text).map(Self::Date),
            ValueType::Timestamp => exact_time(text).map(Self::Timestamp),
        }
    }

    /// Reads a bound in a file's statistics.
    pub(super) fn of_statistic(value: &serde_json::Value, value_type: ValueType) -> Option<Self> {
        match value_type {
            ValueType::Bool => value.as_bool().map(Self::Bool),
            ValueType::Int | ValueType::Long => value.as_i64().map(Self::Integer),
            ValueType::Float | ValueType::Double => value.as_f64().map(Self::Float),
            ValueType::String | ValueType::Date => Self::parse(value.as_str()?, value_type),
            // Digits that are cut off make a lower bound lower, and the upper one is a millisecond above.
            ValueType::Timestamp => Timestamp::parse(value.as_str()?).map(Self::Timestamp),
        }
    }

    /// The bound below a value of a statistic: the digits of a number of 32 bits are not those that it has as one of
    /// 64, which engines compare it as. A column of 64 bits may have had 32 when a file was written.
    pub(super) fn lower_bound(self) -> Self {
        match self {
            Self::Float(number) => Self::Float(number - float_reach(number)),
            Self::Bool(_) | Self::Integer(_) | Self::String(_) | Self::Date(_) | Self::Timestamp(_) => self,
        }
    }

    /// The numbers of 64 bits that may be equal to a number where both are cut to 32; `None` near the end of what 32 bits
    /// hold, and beyond it.
    pub(super) fn around_float(&self) -> Option<(Self, Self)> {
        let Self::Float(number) = *self else { return None };
        let reach = float_reach(number);
        (number.abs() + reach < f64::from(f32::MAX))
            .then_some((Self::Float(number - reach), Self::Float(number + reach)))
    }

    /// The bound above a value of a statistic: timestamps are cut to milliseconds there, so the real one may be up to
    /// a millisecond later; a float column may hold NaN, which no statistic shows and which is above everything; and
    /// a long text was once cut off with U+FFFD behind it, which is above the rest in UTF-16 but not in UTF-8.
    pub(super) fn upper_bound(self) -> Option<Self> {
        match self {
            Self::Timestamp(at) => Timestamp::from_micros(at.micros().checked_add(1_000)?).map(Self::Timestamp),
            Self::Float(_) => None,
            Self::String(text) if text.ends_with(char::REPLACEMENT_CHARACTER) => None,
            Self::Bool(_) | Self::Integer(_) | Self::String(_) | Self::Date(_) => Some(self),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.partial_cmp(b),
            (Self::Integer(a), Self::Integer(b)) => a.partial_cmp(b),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(b),
            (Self::String(a), Self::String(b)) => a.partial_cmp(b),
            (Self::Date(a), Self::Date(b)) => a.partial_cmp(b),
            (Self::Timestamp(a), Self::Timestamp(b)) => a.partial_cmp(b),
            (_, _) => None,
        }
    }
}

/// How far a number may be from what it is as one of 32 bits.
fn float_reach(number: f64) -> f64 {
    number.abs() * f64::from(f32::EPSILON) + f64::from(f32::MIN_POSITIVE)
}

/// The furthest that a session's zone is from UTC, in microseconds: 18 hours.
const ZONE_MICROS_MAX: i64 = 18 * 3_600 * 1_000_000;

/// A time whose digits all count; `None` for one that is finer than a microsecond.
fn exact_time(text: &str) -> Option<Timestamp> {
    let fraction = text.get(19..)?.bytes().skip(1).take_while(u8::is_ascii_digit);
    if fraction.skip(6).any(|digit| digit != b'0') { None } else { Timestamp::parse(text) }
}

/// The first and the last instant that a text may mean: without a zone it is meant in the session's, which is not known
/// here.
pub(super) fn instants(text: &str) -> Option<(Value, Value)> {
    let at = exact_time(text)?;
    let reach = if text.get(10..)?.contains(['Z', 'z', '+', '-']) { 0 } else { ZONE_MICROS_MAX };
    let moved = |micros: i64| Timestamp::from_micros(at.micros().checked_add(micros)?).map(Value::Timestamp);
    Some((moved(-reach)?, moved(reach)?))
}
