//! What SQL hints keep and leave out.

use proptest::prelude::*;
use serde_json::json;
use tables::snapshot::File;

use super::super::Predicate;
use super::super::tests::{file, metadata, usual};

fn keeps(hint: &str, file: &File) -> bool {
    Predicate::of(None, [hint], &metadata()).is_none_or(|predicate| predicate.may_match(file))
}

fn is_read(hint: &str) -> bool {
    Predicate::of(None, [hint], &metadata()).is_some()
}

/// n 5–9 and no null; s b–d with a null; d, t March 2026; f 1.5–2.5; b only null; p = 7.
#[test]
fn files_outside_the_bounds_are_left_out() {
    for (hint, expected) in [
        ("n = 4", false),
        ("n = 5", true),
        ("n == 10", false),
        ("n <=> 10", false),
        ("n <=> 7", true),
        ("`n` < 5", false),
        ("N < 6", true),
        ("n <= 4L", false),
        ("9 < n", false),
        ("9 >= n", true),
        ("(n) > (9)", false),
        ("n >= -9223372036854775808", true),
        ("n < -9223372036854775808", false),
        ("p <> 7", false),
        ("p != 8", true),
        ("s = 'a'", false),
        ("s = 'c'", true),
        ("'e' <= s", false),
        ("d < DATE '2026-03-01'", false),
        ("d < '2026-03-02'", true),
        ("d > date'2026-03-31'", false),
        ("d = CAST('2026-04-01' AS DATE)", false),
        ("t > TIMESTAMP '2026-03-31 12:00:00.001Z'", false),
        ("t > TIMESTAMP '2026-03-31 12:00:00.000999Z'", true),
        ("t > '2026-03-31T14:00:00+02:00'", true),
        ("t > cast('2026-03-31T15:00:00+02:00' as timestamp)", false),
        ("f < 1.4999", false),
        ("f < 1.6e0", true),
        ("f < 1", false),
        ("n = CAST('50' AS BIGINT)", false),
        ("n IN (1, 2, 3)", false),
        ("n in (1, 5)", true),
        ("n NOT IN (1, 2)", true),
        ("p NOT IN (6, 7)", false),
        ("p NOT IN (6, NULL)", false),
        ("n BETWEEN 1 AND 4", false),
        ("n BETWEEN 1 AND 5 AND p = 7", true),
        ("n NOT BETWEEN 1 AND 100", false),
        ("n IS NULL", false),
        ("n IS NOT NULL", true),
        ("b IS NOT NULL", false),
        ("b = TRUE", false),
        ("n = NULL", false),
        ("NOT n = NULL", false),
        ("n <=> NULL", false),
        ("s <=> NULL", true),
        ("NOT n > 4", false),
        ("! n > 7", true),
        ("NOT (n > 4 AND p = 7)", false),
        ("n = 50 OR p = 7", true),
        ("n = 5 OR p = 7 AND n = 50", true),
        ("(n = 5 OR p = 7) AND n = 50", false),
        ("upper(s) = 'A' AND n = 50", false),
        ("upper(s) = 'A' OR n = 50", true),
        ("s LIKE 'z%' AND p = 8", false),
    ] {
        assert!(is_read(hint), "{hint}");
        assert_eq!(keeps(hint, &usual()), expected, "{hint}");
    }
}

#[test]
fn what_engines_differ_on_costs_no_file() {
    for hint in [
        // Types that would have to be cast.
        "n = '50'",
        "n = 50.0",
        "n = 50e0",
        "s = 50",
        "d = 50",
        "d = '2026-4-1'",
        "d > TIMESTAMP '2027-01-01'",
        "b = 1",
        "n = CAST(50.5 AS INT)",
        "n = CAST(300 AS TINYINT)",
        "s = CAST('z' AS CHAR(1))",
        "n = 99999999999999999999",
        // Other expressions.
        "n + 1 > 50",
        "-n > 50",
        "n = -(50)",
        "n = 50 + 0",
        "abs(n) = 50",
        "s || 'a' = 'zz'",
        "s LIKE 'z%'",
        "n = p",
        "s.x = 'z'",
        "s[0] = 'z'",
        "absent = 50",
        "CAST(n AS STRING) = 'z'",
        "1 = 2",
        "b",
        "n = 50D",
        "n = 0x32",
        "(n = 50) = TRUE",
        "(n = 50) IS NULL",
        "n BETWEEN 50 AND p OR TRUE",
        // Quotes.
        r"s = 'z\'z'",
        "s = 'z''z'",
        "s = \"z\"",
        // Not in the grammar.
        "",
        "n",
        "n =",
        "= 50",
        "n = 50 = 1",
        "n = 50 n",
        "n = 50)",
        "(n = 50",
        "n IN ()",
        "n IN (SELECT 1)",
        "n IS 50",
        "n = 50 -- x",
        "n = 50; DROP",
        "CASE WHEN n = 50 THEN 1 END = 1",
        "n NOT 50",
        "s = r'z'",
        "s = 'z' COLLATE x",
        "(n, p) = (50, 8)",
        "n IN (50,)",
        "n = INTERVAL 1 DAY",
        "n = 50 AND",
        "OR",
        "rubbish here",
    ] {
        assert!(keeps(hint, &usual()), "{hint}");
    }
}

#[test]
fn a_time_without_a_zone_may_be_any_sessions() {
    for (hint, expected) in [
        ("t > '2026-04-01 05:59:59'", true),
        ("t > TIMESTAMP '2026-04-01 06:00:01'", false),
        ("t < '2026-02-28 06:00:01'", true),
        ("t < '2026-02-28 05:59:59'", false),
        ("t = '2026-04-01'", true),
        ("t = '2026-04-02'", false),
        ("t >= '9999-12-31 23:00:00'", true),
        ("NOT t = '2026-03-15'", true),
    ] {
        assert!(is_read(hint), "{hint}");
        assert_eq!(keeps(hint, &usual()), expected, "{hint}");
    }
}

#[test]
fn depth_and_length_are_bounded() {
    let wrapped = |depth: usize| format!("{}n = 50{}", "(".repeat(depth), ")".repeat(depth));
    assert!(is_read(&wrapped(60)) && !keeps(&wrapped(60), &usual()));
    for hint in [wrapped(70), wrapped(40_000), format!("{}n = 50", "NOT ".repeat(20_000)), "-".repeat(90_000)] {
        assert!(!is_read(&hint));
    }
    let long = format!("n = 50{}", " OR n = 50".repeat(20_000));
    assert!(!is_read(&long) && is_read(&long[..30_006]));
}

#[test]
fn all_hints_hold() {
    let json = json!({"op": "equal", "children": [
        {"op": "column", "name": "n", "valueType": "long"}, {"op": "literal", "value": "7", "valueType": "long"},
    ]})
    .to_string();
    for (json, sql, expected) in [
        (None, &["n = 5", "p = 8"][..], false),
        (None, &["n = 5", "rubbish here"], true),
        (Some(json.as_str()), &["p = 8"], false),
        (Some(json.as_str()), &["p = 7"], true),
        (Some("rubbish"), &["p = 8"], false),
    ] {
        let predicate = Predicate::of(json, sql.iter().copied(), &metadata()).unwrap();
        assert_eq!(predicate.may_match(&usual()), expected, "{sql:?}");
    }
}

/// A row of the columns n, s and d; values are small numbers, which texts and dates are made of.
type Row = (Option<i64>, Option<i64>, Option<i64>);

#[derive(Debug, Clone)]
enum Condition {
    Compare(usize, &'static str, i64),
    IsNull(usize),
    In(usize, Vec<Option<i64>>),
    Between(usize, i64, i64),
    Not(Box<Condition>),
    And(Vec<Condition>),
    Or(Vec<Condition>),
    /// Something that is not understood, and true.
    Other,
}

const COLUMNS: [&str; 3] = ["n", "s", "d"];

fn literal(column: usize, value: i64) -> String {
    match column {
        0 => value.to_string(),
        1 => format!("'{}'", text(value)),
        _ => format!("DATE '{}'", date(value)),
    }
}

fn text(value: i64) -> String {
    format!("v{:02}", value + 10)
}

fn date(value: i64) -> String {
    format!("2026-03-{:02}", value + 10)
}

impl Condition {
    fn sql(&self) -> String {
        let joined = |children: &[Self], word: &str| {
            let children: Vec<_> = children.iter().map(|child| format!("({})", child.sql())).collect();
            children.join(&format!(" {word} "))
        };
        match self {
            Self::Compare(column, sign, value) => format!("`{}` {sign} {}", COLUMNS[*column], literal(*column, *value)),
            Self::IsNull(column) => format!("{} IS NULL", COLUMNS[*column]),
            Self::In(column, values) => {
                let value = |value: &Option<i64>| value.map_or("NULL".to_owned(), |value| literal(*column, value));
                let values: Vec<_> = values.iter().map(value).collect();
                format!("{} IN ({})", COLUMNS[*column], values.join(", "))
            }
            Self::Between(column, least, greatest) => {
                format!("{} BETWEEN {} AND {}", COLUMNS[*column], literal(*column, *least), literal(*column, *greatest))
            }
            Self::Not(child) => format!("NOT ({})", child.sql()),
            Self::And(children) => joined(children, "AND"),
            Self::Or(children) => joined(children, "OR"),
            Self::Other => "length(s) < 100".to_owned(),
        }
    }

    /// SQL's own answer for one row.
    fn holds(&self, row: &Row) -> Option<bool> {
        let value = |column: usize| [row.0, row.1, row.2][column];
        match self {
            Self::Compare(column, "<=>", literal) => Some(value(*column) == Some(*literal)),
            Self::Compare(column, sign, literal) => {
                let value = value(*column)?;
                Some(match *sign {
                    "=" | "==" => value == *literal,
                    "<>" | "!=" => value != *literal,
                    "<" => value < *literal,
                    "<=" => value <= *literal,
                    ">" => value > *literal,
                    _ => value >= *literal,
                })
            }
            Self::IsNull(column) => Some(value(*column).is_none()),
            Self::In(column, literals) => {
                let value = value(*column)?;
                let found = literals.contains(&Some(value));
                (found || !literals.contains(&None)).then_some(found)
            }
            Self::Between(column, least, greatest) => value(*column).map(|value| (*least..=*greatest).contains(&value)),
            Self::Not(child) => child.holds(row).map(|held| !held),
            Self::And(children) => {
                let held: Vec<_> = children.iter().map(|child| child.holds(row)).collect();
                let all = held.iter().all(|held| *held == Some(true));
                if held.contains(&Some(false)) { Some(false) } else { all.then_some(true) }
            }
            Self::Or(children) => {
                let held: Vec<_> = children.iter().map(|child| child.holds(row)).collect();
                let none = held.iter().all(|held| *held == Some(false));
                if held.contains(&Some(true)) { Some(true) } else { none.then_some(false) }
            }
            Self::Other => Some(true),
        }
    }
}

fn conditions() -> impl Strategy<Value = Condition> {
    let signs = vec!["=", "==", "<=>", "<>", "!=", "<", "<=", ">", ">="];
    let (column, value) = (0_usize..3, -3..4_i64);
    let leaf = prop_oneof![
        (column.clone(), prop::sample::select(signs), value.clone())
            .prop_map(|(column, sign, value)| Condition::Compare(column, sign, value)),
        column.clone().prop_map(Condition::IsNull),
        (column.clone(), prop::collection::vec(prop::option::of(value.clone()), 1..4))
            .prop_map(|(column, values)| Condition::In(column, values)),
        (column, value.clone(), value).prop_map(|(column, a, b)| Condition::Between(column, a, b)),
        Just(Condition::Other),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|child| Condition::Not(Box::new(child))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Condition::And),
            prop::collection::vec(inner, 1..4).prop_map(Condition::Or),
        ]
    })
}

fn file_of(rows: &[Row]) -> File {
    let bounds = |pick: fn(&[i64]) -> i64| {
        let of = |values: Vec<i64>| (!values.is_empty()).then(|| pick(&values));
        json!({
            "n": of(rows.iter().filter_map(|row| row.0).collect()),
            "s": of(rows.iter().filter_map(|row| row.1).collect()).map(text),
            "d": of(rows.iter().filter_map(|row| row.2).collect()).map(date),
        })
    };
    let nulls = |value: fn(&Row) -> Option<i64>| rows.iter().filter(|row| value(row).is_none()).count();
    let stats = json!({
        "numRecords": rows.len(),
        "minValues": bounds(|values| *values.iter().min().unwrap()),
        "maxValues": bounds(|values| *values.iter().max().unwrap()),
        "nullCount": {"n": nulls(|row| row.0), "s": nulls(|row| row.1), "d": nulls(|row| row.2)},
    });
    file(Some(stats), None)
}

proptest! {
    #[test]
    fn a_file_with_a_matching_row_is_never_left_out(
        condition in conditions(),
        rows in prop::collection::vec(any::<(bool, bool, bool)>().prop_flat_map(|(n, s, d)| {
            let value = |given: bool| if given { (-3..4_i64).prop_map(Some).boxed() } else { Just(None).boxed() };
            (value(n), value(s), value(d))
        }), 1..5),
    ) {
        let hint = condition.sql();
        prop_assert!(is_read(&hint), "{}", hint);
        if rows.iter().any(|row| condition.holds(row) == Some(true)) {
            prop_assert!(keeps(&hint, &file_of(&rows)), "{}", hint);
        }
    }

    #[test]
    fn no_hint_panics(
        text in "\\PC{0,100}",
        words in prop::collection::vec(prop::sample::select(vec![
            "n", "`s`", "d", "t", "(", ")", ",", "=", "<=>", "<", "-", "+", ".", "[", "]", "5", "1.5", "'x'", "NULL", "AND",
            "OR", "NOT", "IN", "IS", "BETWEEN", "LIKE", "CAST", "AS", "DATE", "TIMESTAMP", "'2026-03-01'", "INT",
        ]), 0..40),
    ) {
        let _ = keeps(&text, &usual());
        let _ = keeps(&words.join(" "), &usual());
    }

    #[test]
    fn a_lone_comparison_leaves_out_what_it_can(value in 10_i64..1_000) {
        let hint = format!("n >= {value}");
        prop_assert!(!keeps(&hint, &usual()));
    }
}
