//! What predicates keep and leave out.

use std::collections::BTreeMap;
use std::sync::Arc;

use delivery::timestamp::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const COLUMNS: [(&str, &str); 7] = [
    ("n", "long"),
    ("s", "string"),
    ("d", "date"),
    ("t", "timestamp"),
    ("f", "double"),
    ("b", "boolean"),
    ("p", "integer"),
];

fn schema() -> String {
    let field = |(name, kind): &(&str, &str)| json!({"name": name, "type": kind, "nullable": true, "metadata": {}});
    json!({"type": "struct", "fields": COLUMNS.iter().map(field).collect::<Vec<_>>()}).to_string()
}

pub(super) fn metadata() -> Metadata {
    Metadata {
        id: "t".to_owned(),
        name: None,
        description: None,
        schema_string: schema(),
        partition_columns: vec!["p".to_owned()],
        configuration: BTreeMap::new(),
        created_time: None,
    }
}

pub(super) fn file(stats: Option<serde_json::Value>, partition: Option<&str>) -> File {
    File {
        path: "f".to_owned(),
        size: 1,
        modification_time: 0,
        stats: stats.map(|stats| stats.to_string()),
        partition_values: Arc::new(BTreeMap::from([("p".to_owned(), partition.map(str::to_owned))])),
        deletion_vector: None,
        version: 0,
        timestamp: Timestamp::from_micros(0).unwrap(),
    }
}

/// n 5–9 and no null; s b–d with a null; d, t one day; f 1.5–2.5; b without bounds; p = 7.
pub(super) fn usual() -> File {
    let stats = json!({
        "numRecords": 10,
        "minValues": {"n": 5, "s": "b", "d": "2026-03-01", "t": "2026-03-01T00:00:00.000Z", "f": 1.5},
        "maxValues": {"n": 9, "s": "d", "d": "2026-03-31", "t": "2026-03-31T12:00:00.000Z", "f": 2.5},
        "nullCount": {"n": 0, "s": 1, "d": 0, "t": 0, "f": 0, "b": 10},
    });
    file(Some(stats), Some("7"))
}

fn column(name: &str) -> serde_json::Value {
    let value_type = match name {
        "n" => "long",
        "s" => "string",
        "d" => "date",
        "t" => "timestamp",
        "f" => "double",
        "b" => "bool",
        _ => "int",
    };
    json!({"op": "column", "name": name, "valueType": value_type})
}

fn compare(op: &str, name: &str, literal: &str) -> serde_json::Value {
    let column = column(name);
    json!({"op": op, "children": [column, {"op": "literal", "value": literal, "valueType": column["valueType"]}]})
}

fn is_null(name: &str) -> serde_json::Value {
    json!({"op": "isNull", "children": [column(name)]})
}

fn not(child: serde_json::Value) -> serde_json::Value {
    json!({"op": "not", "children": [child]})
}

fn all(op: &str, children: &[serde_json::Value]) -> serde_json::Value {
    json!({"op": op, "children": children})
}

fn keeps(predicate: &serde_json::Value, file: &File) -> bool {
    let read = Predicate::of(Some(&predicate.to_string()), [], &metadata());
    read.is_none_or(|predicate| predicate.may_match(file))
}

#[test]
fn files_outside_the_bounds_are_left_out() {
    for (op, name, literal, expected) in [
        ("equal", "n", "4", false),
        ("equal", "n", "5", true),
        ("equal", "n", "9", true),
        ("equal", "n", "10", false),
        ("lessThan", "n", "5", false),
        ("lessThan", "n", "6", true),
        ("lessThanOrEqual", "n", "4", false),
        ("lessThanOrEqual", "n", "5", true),
        ("greaterThan", "n", "9", false),
        ("greaterThan", "n", "8", true),
        ("greaterThanOrEqual", "n", "10", false),
        ("greaterThanOrEqual", "n", "9", true),
        ("equal", "s", "a", false),
        ("equal", "s", "c", true),
        ("equal", "s", "e", false),
        ("equal", "d", "2026-02-28", false),
        ("equal", "d", "2026-03-15", true),
        ("greaterThan", "d", "2026-03-31", false),
        ("greaterThan", "t", "2026-03-31T13:00:00+01:00", true),
        ("greaterThan", "t", "2026-03-31 12:00:00.000999", true),
        ("greaterThan", "t", "2026-03-31T12:00:00.001Z", false),
        ("lessThan", "t", "2026-03-01T00:00:00Z", false),
        ("lessThan", "t", "2026-03-01T00:00:00.0000000Z", false),
        ("lessThan", "t", "2026-03-01T00:00:00.0000005Z", true),
        ("equal", "f", "1.0", false),
        ("lessThan", "f", "1.4999", false),
        ("greaterThan", "f", "3", true),
        ("equal", "p", "7", true),
        ("equal", "p", "8", false),
        ("greaterThan", "p", "7", false),
    ] {
        assert_eq!(keeps(&compare(op, name, literal), &usual()), expected, "{name} {op} {literal}");
    }
}

#[test]
fn not_keeps_what_may_be_otherwise() {
    let one_value =
        file(Some(json!({"numRecords": 2, "minValues": {"n": 5}, "maxValues": {"n": 5}, "nullCount": {"n": 0}})), None);
    for (predicate, file, expected) in [
        (not(compare("equal", "n", "6")), usual(), true),
        (not(compare("equal", "n", "20")), usual(), true),
        (not(compare("equal", "n", "5")), one_value, false),
        (not(compare("greaterThan", "n", "4")), usual(), false),
        (not(compare("greaterThan", "n", "7")), usual(), true),
        (not(not(compare("equal", "n", "20"))), usual(), false),
        (not(compare("greaterThan", "f", "1")), usual(), true),
        (not(compare("equal", "p", "7")), usual(), false),
        (not(is_null("n")), usual(), true),
        (not(is_null("b")), usual(), false),
        (not(compare("lessThan", "s", "z")), usual(), false),
    ] {
        assert_eq!(keeps(&predicate, &file), expected, "{predicate}");
    }
}

#[test]
fn nulls_are_the_third_value() {
    let no_partition = file(None, None);
    for (predicate, file, expected) in [
        (is_null("n"), usual(), false),
        (is_null("s"), usual(), true),
        (is_null("b"), usual(), true),
        (compare("equal", "b", "true"), usual(), false),
        (not(compare("equal", "b", "true")), usual(), false),
        (is_null("p"), usual(), false),
        (is_null("p"), no_partition.clone(), true),
        (compare("equal", "p", "7"), no_partition, false),
    ] {
        assert_eq!(keeps(&predicate, &file), expected, "{predicate}");
    }
}

#[test]
fn and_or_combine() {
    let (yes, no) = (compare("equal", "n", "5"), compare("equal", "n", "50"));
    let unknown = json!({"op": "startsWith", "children": [column("s"), column("s")]});
    for (predicate, expected) in [
        (all("and", &[yes.clone(), no.clone()]), false),
        (all("and", &[yes.clone(), yes.clone(), unknown.clone()]), true),
        (all("and", &[unknown.clone(), no.clone()]), false),
        (all("or", &[no.clone(), no.clone()]), false),
        (all("or", &[no.clone(), yes.clone()]), true),
        (all("or", &[no.clone(), unknown.clone()]), true),
        (not(all("or", &[no.clone(), unknown])), true),
        (not(all("and", &[no.clone(), yes])), true),
        (not(all("or", &[compare("greaterThan", "n", "4"), no])), false),
    ] {
        assert_eq!(keeps(&predicate, &usual()), expected, "{predicate}");
    }
}

/// A comparison of a column, said to be of a type, with a literal of a type.
fn said(op: &str, (name, column_type): (&str, &str), (literal, literal_type): (&str, &str)) -> serde_json::Value {
    json!({"op": op, "children": [
        {"op": "column", "name": name, "valueType": column_type},
        {"op": "literal", "value": literal, "valueType": literal_type},
    ]})
}

fn with_bounds(name: &str, min: serde_json::Value, max: serde_json::Value) -> File {
    let stats = json!({"numRecords": 2, "minValues": {name: min}, "maxValues": {name: max}, "nullCount": {name: 0}});
    file(Some(stats), None)
}

#[test]
fn numbers_that_are_cut_to_32_bits_before_they_are_compared_cost_no_file() {
    // 0.1 as a number of 32 bits, written out as one of 64.
    let narrow = with_bounds("f", json!(0.100_000_001_490_116_12), json!(0.2));
    for (op, types, literal, expected) in [
        ("equal", ("double", "float"), "0.1", true),
        ("equal", ("float", "double"), "0.1", true),
        ("lessThanOrEqual", ("float", "float"), "0.1", true),
        ("equal", ("double", "double"), "0.09", false),
        ("equal", ("double", "float"), "0.09", false),
        ("lessThan", ("double", "float"), "1e-30", false),
        ("lessThan", ("double", "float"), "-1e300", true),
    ] {
        assert_eq!(keeps(&said(op, ("f", types.0), (literal, types.1)), &narrow), expected, "{op} {types:?} {literal}");
    }
    let wraps = with_bounds("n", json!(4_294_967_297_i64), json!(4_294_967_297_i64));
    let fits = with_bounds("n", json!(5), json!(9));
    for (column_type, literal, file, expected) in [
        ("int", ("1", "int"), &wraps, true),
        ("long", ("1", "int"), &wraps, false),
        ("int", ("4", "int"), &fits, false),
        ("int", ("4294967297", "long"), &fits, false),
        ("long", ("4294967297", "int"), &fits, true),
    ] {
        let predicate = said("equal", ("n", column_type), literal);
        assert_eq!(keeps(&predicate, file), expected, "{predicate}");
    }
    assert!(!keeps(&not(said("equal", ("n", "int"), ("1", "int"))), &with_bounds("n", json!(1), json!(1))));
    assert!(keeps(&not(said("equal", ("n", "int"), ("1", "int"))), &wraps), "whatever it wraps around to");
}

#[test]
fn a_time_without_a_zone_is_any_sessions() {
    for (op, literal, expected) in [
        ("greaterThan", "2026-03-31T20:00:00", true),
        ("greaterThan", "2026-04-01T06:00:01", false),
        ("greaterThan", "2026-03-31T20:00:00Z", false),
        ("lessThan", "2026-02-28 08:00:00", true),
        ("lessThan", "2026-02-28 05:59:59", false),
    ] {
        assert_eq!(keeps(&compare(op, "t", literal), &usual()), expected, "{op} {literal}");
    }
}

#[test]
fn names_that_differ_by_case_only_are_nobodys() {
    let field = |name: &str| json!({"name": name, "type": "long", "nullable": true, "metadata": {}});
    let schema_string = json!({"type": "struct", "fields": [field("n"), field("N")]}).to_string();
    let metadata = Metadata { schema_string, ..metadata() };
    let hint = compare("equal", "n", "50").to_string();
    assert!(Predicate::of(Some(&hint), [], &metadata).is_none_or(|predicate| predicate.may_match(&usual())));
}

#[test]
fn more_terms_than_are_worth_it_are_passed_over() {
    let no = compare("equal", "n", "50");
    let many = |count| Predicate::of(Some(&all("or", &vec![no.clone(); count]).to_string()), [], &metadata());
    assert!(!many(TERMS_MAX - 1).unwrap().may_match(&usual()));
    assert!(many(TERMS_MAX).is_none());
    let sql = vec!["n = 50"; TERMS_MAX].join(" OR ");
    let both = Predicate::of(Some(&no.to_string()), [sql.as_str()], &metadata()).unwrap();
    assert!(!both.may_match(&usual()), "the others are read");
    assert_eq!(both.roots.len(), 1);
}

#[test]
fn what_is_not_understood_costs_no_file() {
    let literal = json!({"op": "literal", "value": "50", "valueType": "long"});
    let mut deep = compare("equal", "n", "50");
    for _ in 0..300 {
        deep = not(deep);
    }
    for predicate in [
        json!("bad"),
        json!({}),
        json!({"op": "equal", "children": []}),
        json!({"op": "equal", "children": [literal, literal]}),
        json!({"op": "and", "children": []}),
        json!({"op": "column", "name": "b", "valueType": "bool"}),
        json!({"op": "equal", "children": [{"op": "column", "name": "absent", "valueType": "long"}, literal]}),
        json!({"op": "equal", "children": [{"op": "column", "name": "s", "valueType": "long"}, literal]}),
        json!({"op": "equal", "children": [column("n"), {"op": "literal", "value": "x", "valueType": "long"}]}),
        json!({"op": "equal", "children": [column("n"), {"op": "literal", "value": "50", "valueType": "money"}]}),
        deep,
    ] {
        assert!(keeps(&predicate, &usual()), "{predicate}");
    }
    for stats in
        [None, Some(json!({})), Some(json!([])), Some(json!({"minValues": {"n": "x"}, "maxValues": {"n": null}}))]
    {
        assert!(keeps(&compare("equal", "n", "50"), &file(stats, None)));
    }
    assert!(Predicate::of(Some(&" ".repeat(1_000_001)), [], &metadata()).is_none());
}

#[test]
fn sides_and_case_do_not_matter() {
    let literal = json!({"op": "literal", "value": "9", "valueType": "int"});
    let mirrored = json!({"op": "lessThan", "children": [literal, column("n")]});
    assert!(!keeps(&mirrored, &usual()), "9 < n is n > 9");
    let shouted =
        json!({"op": "greaterThan", "children": [{"op": "column", "name": "N", "valueType": "int"}, literal]});
    assert!(!keeps(&shouted, &usual()));
}

#[test]
fn a_column_is_looked_up_by_the_name_that_files_know_it_by() {
    let field = |name: &str, physical: &str| {
        let metadata = json!({"delta.columnMapping.id": 1, "delta.columnMapping.physicalName": physical});
        json!({"name": name, "type": "long", "nullable": true, "metadata": metadata})
    };
    let fields = [field("renamed", "n"), field("n", "col-1")];
    let schema_string = json!({"type": "struct", "fields": fields}).to_string();
    let configuration = BTreeMap::from([("delta.columnMapping.mode".to_owned(), "name".to_owned())]);
    let metadata = Metadata { schema_string, configuration, ..metadata() };
    let keeps = |name: &str| {
        let column = json!({"op": "column", "name": name, "valueType": "long"});
        let literal = json!({"op": "literal", "value": "50", "valueType": "long"});
        let predicate = json!({"op": "equal", "children": [column, literal]}).to_string();
        Predicate::of(Some(&predicate), [], &metadata).unwrap().may_match(&usual())
    };
    assert!(!keeps("renamed") && keeps("n"));
}

#[test]
fn texts_that_do_not_compare_byte_by_byte_are_not_compared() {
    for key in ["__CHAR_VARCHAR_TYPE_STRING", "__COLLATIONS"] {
        let field = json!({"name": "s", "type": "string", "nullable": true, "metadata": {key: "char(5)"}});
        let metadata = Metadata { schema_string: json!({"fields": [field]}).to_string(), ..metadata() };
        let hint = compare("equal", "s", "z").to_string();
        assert!(Predicate::of(Some(&hint), [], &metadata).unwrap().may_match(&usual()), "{key}");
    }
}

#[test]
fn a_long_text_that_was_cut_off_still_has_its_rows() {
    let prefix = "x".repeat(32);
    for (end, literal, expected) in [
        ("\u{7f}", "x".repeat(40), true),
        ("\u{10ffff}", format!("{prefix}\u{1f600}"), true),
        ("\u{fffd}", format!("{prefix}\u{1f600}"), true),
        ("\u{7f}", "y".to_owned(), false),
    ] {
        let stats = json!({"numRecords": 1, "minValues": {"s": prefix}, "maxValues": {"s": format!("{prefix}{end}")},
            "nullCount": {"s": 0}});
        assert_eq!(keeps(&compare("equal", "s", &literal), &file(Some(stats), None)), expected, "{literal}");
    }
}

#[test]
fn a_partition_of_a_time_without_a_zone_is_in_any_zone() {
    let mut metadata = metadata();
    metadata.partition_columns = vec!["t".to_owned()];
    for (partition, literal, expected) in [
        ("2026-03-01 00:00:00", "2026-03-01T05:00:00Z", true),
        ("2026-03-01 00:00:00", "2026-03-03T00:00:00Z", false),
        ("2026-03-01T00:00:00Z", "2026-03-01T05:00:00Z", false),
        ("2026-03-01T00:00:00.000000Z", "2026-03-01T00:00:00Z", true),
    ] {
        let hint = compare("equal", "t", literal).to_string();
        let predicate = Predicate::of(Some(&hint), [], &metadata).unwrap();
        let values = Arc::new(BTreeMap::from([("t".to_owned(), Some(partition.to_owned()))]));
        let file = File { partition_values: values, ..file(None, None) };
        assert_eq!(predicate.may_match(&file), expected, "{partition} {literal}");
    }
}

/// A predicate over `n`, and what it is for a row.
fn arbitrary() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        (
            prop::sample::select(vec!["equal", "lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"]),
            -3..4_i64
        )
            .prop_map(|(op, literal)| compare(op, "n", &literal.to_string())),
        Just(is_null("n")),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(not),
            (prop::sample::select(vec!["and", "or"]), prop::collection::vec(inner, 1..4))
                .prop_map(|(op, children)| all(op, &children)),
        ]
    })
}

/// SQL's own answer for one row.
fn holds(predicate: &serde_json::Value, row: Option<i64>) -> Option<bool> {
    let children = predicate["children"].as_array().unwrap();
    let child = |place: usize| holds(&children[place], row);
    match predicate["op"].as_str().unwrap() {
        "not" => child(0).map(|held| !held),
        "isNull" => Some(row.is_none()),
        "and" if (0..children.len()).any(|place| child(place) == Some(false)) => Some(false),
        "and" => (0..children.len()).all(|place| child(place) == Some(true)).then_some(true),
        "or" if (0..children.len()).any(|place| child(place) == Some(true)) => Some(true),
        "or" => (0..children.len()).all(|place| child(place) == Some(false)).then_some(false),
        comparison => {
            let (row, literal) = (row?, children[1]["value"].as_str().unwrap().parse::<i64>().unwrap());
            Some(match comparison {
                "equal" => row == literal,
                "lessThan" => row < literal,
                "lessThanOrEqual" => row <= literal,
                "greaterThan" => row > literal,
                _ => row >= literal,
            })
        }
    }
}

proptest! {
    #[test]
    fn a_file_with_a_matching_row_is_never_left_out(
        predicate in arbitrary(),
        rows in prop::collection::vec(prop::option::of(-3..4_i64), 1..5),
    ) {
        let values: Vec<_> = rows.iter().flatten().collect();
        let stats = json!({
            "numRecords": rows.len(),
            "minValues": {"n": values.iter().min()},
            "maxValues": {"n": values.iter().max()},
            "nullCount": {"n": rows.len() - values.len()},
        });
        if rows.iter().any(|row| holds(&predicate, *row) == Some(true)) {
            prop_assert!(keeps(&predicate, &file(Some(stats), None)));
        }
    }

    #[test]
    fn a_file_with_the_number_itself_is_never_left_out(number in prop::num::f64::NORMAL, sql in any::<bool>()) {
        let stats = json!({"numRecords": 1, "minValues": {"f": number}, "maxValues": {"f": number}, "nullCount": {"f": 0}});
        let file = file(Some(stats), None);
        if sql {
            let hint = format!("f = {number:?}");
            prop_assert!(Predicate::of(None, [hint.as_str()], &metadata()).is_none_or(|read| read.may_match(&file)));
        } else {
            let hint = compare("equal", "f", &format!("{number:?}"));
            prop_assert!(keeps(&hint, &file));
        }
    }

    #[test]
    fn no_predicate_panics(text in "\\PC{0,100}", op in "\\PC{0,12}", value in "\\PC{0,12}", kind in "[a-z]{0,9}") {
        let _ = Predicate::of(Some(&text), [], &metadata());
        let odd = json!({"op": op, "children": [column("n"), {"op": "literal", "value": value, "valueType": kind}]});
        let _ = keeps(&odd, &usual());
    }
}
