//! Statistics of a merged file, from those of its parts (PROTOCOL.md, "Per-file Statistics").
//!
//! A bound holds for the whole if every part has one, or no values at all in that column; cut texts stay bounds. What
//! cannot be compared with certainty is left out: a missing bound costs a reader time, a wrong one costs rows.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Statistics or a schema that cannot be understood, or that do not agree with the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct InvalidStatistics(&'static str);

/// The merged statistics of the parts so far.
#[derive(Debug)]
pub(super) struct Merged {
    root: Vec<(String, Node)>,
    rows: u64,
}

#[derive(Debug)]
enum Node {
    Leaf(Leaf),
    Struct(Vec<(String, Node)>),
}

#[derive(Debug)]
struct Leaf {
    kind: Kind,
    min: Bound,
    max: Bound,
    /// `None` if a part does not say.
    nulls: Option<u64>,
}

/// How bounds of a column compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// ISO 8601 texts of one length.
    Instant,
    Number,
    /// No bounds.
    Other,
}

/// A bound of what was merged so far, as the text of a JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bound {
    /// There are no values yet.
    Empty,
    Known(String),
    Unknown,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats<'a> {
    num_records: u64,
    #[serde(borrow, default)]
    min_values: Option<&'a RawValue>,
    #[serde(borrow, default)]
    max_values: Option<&'a RawValue>,
    #[serde(borrow, default)]
    null_count: Option<&'a RawValue>,
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

impl Merged {
    /// No parts, of a table with this schema.
    pub(super) fn new(schema_string: &str) -> Result<Self, InvalidStatistics> {
        let schema: Value =
            serde_json::from_str(schema_string).map_err(|_| InvalidStatistics("the table's schema is not JSON"))?;
        Ok(Self { root: nodes(&schema), rows: 0 })
    }

    /// Adds a part of so many rows.
    pub(super) fn add(&mut self, statistics: Option<&str>, rows: u64) -> Result<(), InvalidStatistics> {
        self.rows += rows;
        let parsed: Option<Stats<'_>> = match statistics.filter(|text| !text.is_empty()) {
            Some(text) => {
                let invalid = InvalidStatistics("a file's statistics cannot be read");
                Some(serde_json::from_str(text).map_err(|_| invalid)?)
            }
            None => None,
        };
        if parsed.as_ref().is_some_and(|stats| stats.num_records != rows) {
            return Err(InvalidStatistics("a file has another number of rows than its statistics say"));
        }
        let (min, max, nulls) = match &parsed {
            Some(stats) => (members(stats.min_values), members(stats.max_values), members(stats.null_count)),
            None => Default::default(),
        };
        add(&mut self.root, &min, &max, &nulls, rows);
        Ok(())
    }

    /// The JSON text of an `add` action's `stats`.
    pub(super) fn into_text(self) -> String {
        let tree =
            |value: &dyn Fn(&Leaf) -> Option<String>| object(&self.root, value).unwrap_or_else(|| "{}".to_owned());
        format!(
            r#"{{"numRecords":{},"minValues":{},"maxValues":{},"nullCount":{}}}"#,
            self.rows,
            tree(&|leaf| leaf.min.known()),
            tree(&|leaf| leaf.max.known()),
            tree(&|leaf| leaf.nulls.map(|nulls| nulls.to_string())),
        )
    }
}

fn nodes(structure: &Value) -> Vec<(String, Node)> {
    let fields = structure.get("fields").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let node = |field: &Value| {
        let name = field.get("name")?.as_str()?.to_owned();
        let of_type = field.get("type")?;
        if of_type.get("type").and_then(Value::as_str) == Some("struct") {
            return Some((name, Node::Struct(nodes(of_type))));
        }
        let kind = match of_type.as_str().unwrap_or_default() {
            "string" => Kind::Text,
            "date" | "timestamp" | "timestamp_ntz" => Kind::Instant,
            "double" | "float" | "byte" | "short" | "integer" | "long" => Kind::Number,
            decimal if decimal.starts_with("decimal") => Kind::Number,
            _ => Kind::Other,
        };
        Some((name, Node::Leaf(Leaf { kind, min: Bound::Empty, max: Bound::Empty, nulls: Some(0) })))
    };
    fields.iter().filter_map(node).collect()
}

/// The members of a JSON object; of anything else, none.
fn members(value: Option<&RawValue>) -> Members<'_> {
    value.and_then(|value| serde_json::from_str(value.get()).ok()).unwrap_or_default()
}

fn add(nodes: &mut [(String, Node)], min: &Members<'_>, max: &Members<'_>, nulls: &Members<'_>, rows: u64) {
    for (name, node) in nodes {
        let (min, max, nulls) = (min.get(name).copied(), max.get(name).copied(), nulls.get(name).copied());
        match node {
            Node::Struct(inner) => {
                add(inner, &members(min), &members(max), &members(nulls), rows);
            }
            Node::Leaf(leaf) => {
                let nulls: Option<u64> = nulls.and_then(|nulls| nulls.get().parse().ok());
                leaf.nulls = leaf.nulls.zip(nulls).map(|(before, nulls)| before + nulls);
                let empty = nulls == Some(rows);
                leaf.min.join(leaf.kind, Ordering::Less, min.map(|bound| bound.get()), empty);
                leaf.max.join(leaf.kind, Ordering::Greater, max.map(|bound| bound.get()), empty);
            }
        }
    }
}

fn object(nodes: &[(String, Node)], value: &dyn Fn(&Leaf) -> Option<String>) -> Option<String> {
    let members: Vec<_> = nodes
        .iter()
        .filter_map(|(name, node)| {
            let value = match node {
                Node::Leaf(leaf) => value(leaf)?,
                Node::Struct(inner) => object(inner, value)?,
            };
            Some(format!("{}:{value}", Value::from(name.as_str())))
        })
        .collect();
    (!members.is_empty()).then(|| format!("{{{}}}", members.join(",")))
}

impl Bound {
    fn known(&self) -> Option<String> {
        if let Self::Known(text) = self { Some(text.clone()) } else { None }
    }

    /// Takes a part's bound in. `outer` is how the bound that stays compares with the other.
    fn join(&mut self, kind: Kind, outer: Ordering, part: Option<&str>, empty: bool) {
        let part = match part.filter(|text| *text != "null" && kind != Kind::Other) {
            Some(text) => Self::Known(text.to_owned()),
            None if empty => return,
            None => Self::Unknown,
        };
        let joined = match (&*self, part) {
            (Self::Empty, part) => part,
            (Self::Known(before), Self::Known(part)) => match compare(kind, &part, before) {
                Some(ordering) if ordering == outer => Self::Known(part),
                Some(_) => return,
                None => Self::Unknown,
            },
            (Self::Unknown, _) | (_, Self::Unknown | Self::Empty) => Self::Unknown,
        };
        *self = joined;
    }
}

/// How two JSON values of a column compare; nothing if that is not certain.
fn compare(kind: Kind, left: &str, right: &str) -> Option<Ordering> {
    let text = |json: &str| serde_json::from_str::<String>(json).ok();
    match kind {
        // Text is ordered by its UTF-8 bytes, in Delta as in Rust.
        Kind::Text => Some(text(left)?.cmp(&text(right)?)),
        Kind::Instant => {
            let (left, right) = (text(left)?, text(right)?);
            let digit = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
            (left.len() == right.len() && digit(&left) && digit(&right)).then(|| left.cmp(&right))
        }
        Kind::Number => compare_numbers(left, right),
        Kind::Other => None,
    }
}

/// Compares two JSON numbers digit by digit: an amount has more of them than a double. Numbers with an exponent are
/// doubles.
fn compare_numbers(left: &str, right: &str) -> Option<Ordering> {
    match (decimal(left), decimal(right)) {
        (Some((left_negative, left_digits)), Some((right_negative, right_digits))) => {
            let zero = |digits: &(String, String)| digits.0.is_empty() && digits.1.is_empty();
            let left_negative = left_negative && !zero(&left_digits);
            let right_negative = right_negative && !zero(&right_digits);
            let magnitude = left_digits.0.len().cmp(&right_digits.0.len()).then_with(|| left_digits.cmp(&right_digits));
            Some(match (left_negative, right_negative) {
                (false, false) => magnitude,
                (true, true) => magnitude.reverse(),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
            })
        }
        _ => left.parse::<f64>().ok()?.partial_cmp(&right.parse::<f64>().ok()?),
    }
}

/// Sign, digits before the point without leading zeros, digits behind it without trailing ones.
fn decimal(text: &str) -> Option<(bool, (String, String))> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (all_digits(whole) && all_digits(fraction))
        .then(|| (negative, (whole.trim_start_matches('0').to_owned(), fraction.trim_end_matches('0').to_owned())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(schema: &Value, parts: &[(Value, u64)]) -> Value {
        let mut merged = Merged::new(&schema.to_string()).unwrap();
        for (part, rows) in parts {
            merged.add(Some(&part.to_string()), *rows).unwrap();
        }
        serde_json::from_str(&merged.into_text()).unwrap()
    }

    fn of(fields: &[(&str, &str)]) -> Value {
        let fields: Vec<_> = fields.iter().map(|(name, of_type)| json!({"name": name, "type": of_type})).collect();
        json!({"type": "struct", "fields": fields})
    }

    #[test]
    fn counts_add_up_and_bounds_widen() {
        let schema = of(&[("a", "string"), ("b", "double"), ("c", "timestamp")]);
        let part = |low: &str, high: &str, b: f64, c: &str| {
            json!({"numRecords": 2, "minValues": {"a": low, "b": b, "c": c}, "maxValues": {"a": high, "b": b, "c": c},
                "nullCount": {"a": 0, "b": 1, "c": 0}})
        };
        let parts = [
            (part("b", "é", -1.5e-7, "2026-01-02T00:00:00.000Z"), 2),
            (part("aa", "c", -20.25, "2025-12-31T23:59:59.999Z"), 2),
        ];
        assert_eq!(
            merged(&schema, &parts),
            json!({"numRecords": 4,
                "minValues": {"a": "aa", "b": -20.25, "c": "2025-12-31T23:59:59.999Z"},
                "maxValues": {"a": "é", "b": -1.5e-7, "c": "2026-01-02T00:00:00.000Z"},
                "nullCount": {"a": 0, "b": 2, "c": 0}})
        );
    }

    #[test]
    fn a_part_without_values_changes_no_bound_and_one_without_a_bound_drops_it() {
        let schema = of(&[("a", "string")]);
        let known = json!({"numRecords": 1, "minValues": {"a": "x"}, "maxValues": {"a": "x"}, "nullCount": {"a": 0}});
        let nulls = json!({"numRecords": 3, "minValues": {}, "maxValues": {}, "nullCount": {"a": 3}});
        let silent = json!({"numRecords": 3, "minValues": {}, "maxValues": {}, "nullCount": {"a": 2}});
        for parts in [[(known.clone(), 1), (nulls.clone(), 3)], [(nulls, 3), (known.clone(), 1)]] {
            let whole = merged(&schema, &parts);
            assert_eq!((&whole["minValues"]["a"], &whole["nullCount"]["a"]), (&json!("x"), &json!(3)));
        }
        for parts in [[(known.clone(), 1), (silent.clone(), 3)], [(silent, 3), (known, 1)]] {
            let whole = merged(&schema, &parts);
            assert_eq!((&whole["minValues"], &whole["nullCount"]["a"]), (&json!({}), &json!(2)));
        }
    }

    #[test]
    fn amounts_compare_beyond_the_digits_of_a_double() {
        for (less, more) in [
            ("90071992547409930.000001", "90071992547409930.000002"),
            ("-90071992547409930.000002", "-90071992547409930.000001"),
            ("9.5", "10.000000"),
            ("-1", "0.000001"),
            ("1.05", "1.5"),
            ("1e300", "2e300"),
        ] {
            assert_eq!(compare_numbers(less, more), Some(Ordering::Less), "{less} {more}");
            assert_eq!(compare_numbers(more, less), Some(Ordering::Greater), "{less} {more}");
        }
        assert_eq!(compare_numbers("-0.0", "0"), Some(Ordering::Equal));
        assert_eq!(compare(Kind::Instant, "\"2026-01-01\"", "\"12026-01-01\""), None);
    }

    #[test]
    fn nested_columns_merge_like_others_and_arrays_count_nulls() {
        let schema = json!({"type": "struct", "fields": [
            {"name": "price", "type": {"type": "struct", "fields": [
                {"name": "amount", "type": "decimal(38,6)"}, {"name": "currency_code", "type": "string"}]}},
            {"name": "tags", "type": {"type": "array", "elementType": "string"}},
        ]});
        let part = |amount: &str| {
            let text = format!(
                r#"{{"numRecords":1,"minValues":{{"price":{{"amount":{amount}}}}},"maxValues":{{"price":{{"amount":{amount}}}}},
                "nullCount":{{"price":{{"amount":0,"currency_code":1}},"tags":1}}}}"#
            );
            text
        };
        let mut whole = Merged::new(&schema.to_string()).unwrap();
        for amount in ["12345678901234567890.000001", "2.500000"] {
            whole.add(Some(&part(amount)), 1).unwrap();
        }
        assert_eq!(
            whole.into_text(),
            r#"{"numRecords":2,"minValues":{"price":{"amount":2.500000}},"maxValues":{"price":{"amount":12345678901234567890.000001}},"nullCount":{"price":{"amount":0,"currency_code":2},"tags":2}}"#
        );
    }

    #[test]
    fn statistics_that_do_not_agree_with_the_file_are_refused() {
        let mut whole = Merged::new(&of(&[("a", "string")]).to_string()).unwrap();
        assert!(whole.add(Some(r#"{"numRecords":2}"#), 3).is_err());
        assert!(whole.add(Some("{"), 3).is_err());
        whole.add(None, 3).unwrap();
        assert_eq!(whole.into_text(), r#"{"numRecords":9,"minValues":{},"maxValues":{},"nullCount":{}}"#);
    }
}
