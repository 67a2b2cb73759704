//! The statistics of a staged file: bounds that hold for every row, in the words of a Delta `add` action.

use delivery::schema::{ColumnType, PublicSchema, StructField};
use proptest::prelude::*;
use rows::SCHEMA_LEAVES_MAX;
use serde_json::{Value, json};

use crate::support::{every_type, lanes, objects, schema, stage_bytes, stage_chunks};

fn statistics(lines: &str, schema: &PublicSchema) -> Value {
    let outcome = stage_bytes(lines.as_bytes(), schema).unwrap();
    assert_eq!(outcome.staged.rejected, 0, "{:?}", outcome.rejects);
    serde_json::from_str(&outcome.staged.files[0].statistics).unwrap()
}

#[test]
fn every_type_has_its_own_statistics() {
    let lines = concat!(
        r#"{"text":"b","any":1,"number":1.5,"flag":true,"day":"2026-09-01","at":"2026-09-01T06:07:30.123456Z","#,
        r#""price":{"amount":-1.5,"currencyCode":"EUR"},"seller":{"name":"n","rating":2,"paid":{"amount":"12345678901234567890.5"}},"#,
        r#""offers":[{"sku":"a"},null],"tags":[null,null]}"#,
        "\n",
        r#"{"text":"a","number":-2,"day":"1969-12-31","at":-1,"price":{"amount":2},"tags":[]}"#,
        "\n{}\n",
    );
    let outcome = stage_bytes(lines.as_bytes(), &every_type()).unwrap();
    let text = &outcome.staged.files[0].statistics;
    assert!(text.contains("12345678901234567890.500000"), "decimals are exact: {text}");
    assert_eq!(
        serde_json::from_str::<Value>(text).unwrap(),
        json!({
            "numRecords": 3,
            "minValues": {
                "text": "a", "number": -2.0, "day": "1969-12-31", "at": "1969-12-31T23:59:59.999Z",
                "price": {"amount": -1.5, "currency_code": "EUR"},
                "seller": {"name": "n", "rating": 2.0, "paid": {"amount": 12_345_678_901_234_567_890.5_f64}},
                "run_id": "run-1", "run_finished_at": "2026-09-01T06:07:30.000Z",
            },
            "maxValues": {
                "text": "b", "number": 1.5, "day": "2026-09-01", "at": "2026-09-01T06:07:30.124Z",
                "price": {"amount": 2.0, "currency_code": "EUR"},
                "seller": {"name": "n", "rating": 2.0, "paid": {"amount": 12_345_678_901_234_567_890.5_f64}},
                "run_id": "run-1", "run_finished_at": "2026-09-01T06:07:30.000Z",
            },
            "nullCount": {
                "text": 1, "any": 2, "number": 1, "flag": 2, "day": 1, "at": 1,
                "price": {"amount": 1, "currency_code": 2},
                "seller": {"name": 2, "rating": 2, "paid": {"amount": 2, "currency_code": 3}, "since": 3, "marks": 3},
                "offers": 2, "tags": 1, "run_id": 0, "run_finished_at": 0,
            },
        })
    );
}

#[test]
fn the_nulls_of_an_array_are_rows_without_one_however_it_nests() {
    let array = |element| ColumnType::Array(Box::new(element));
    let member = StructField { source: "x".into(), name: "x".into(), column_type: array(array(ColumnType::Double)) };
    let columns = schema(&[
        ("grid", array(array(ColumnType::Double))),
        ("deep", array(ColumnType::Struct(vec![member.clone()]))),
        ("inside", ColumnType::Struct(vec![member])),
    ]);
    let lines = concat!(
        r#"{"grid":[null,[null],null],"deep":[{"x":null},{"x":[null,null]},null],"inside":{"x":[null,null]}}"#,
        "\n",
        r#"{"deep":[{"x":[null]}],"inside":{}}"#,
        "\n{}\n",
    );
    let nulls = &statistics(lines, &columns)["nullCount"];
    assert_eq!(nulls["grid"], json!(2));
    assert_eq!(nulls["deep"], json!(1));
    assert_eq!(nulls["inside"], json!({"x": 2}));
}

#[test]
fn the_first_leaves_and_the_run_columns_are_indexed() {
    let names: Vec<_> = (0..40).map(|index| format!("c{index:02}")).collect();
    let columns: Vec<_> = names.iter().map(|name| (name.as_str(), ColumnType::Double)).collect();
    let line = format!("{{{}}}\n", names.iter().map(|name| format!("\"{name}\":1")).collect::<Vec<_>>().join(","));
    let found = statistics(&line, &schema(&columns));
    for part in ["minValues", "maxValues", "nullCount"] {
        let keys: Vec<_> = found[part].as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys.len(), 32, "{part}");
        assert_eq!(keys[..SCHEMA_LEAVES_MAX], names[..SCHEMA_LEAVES_MAX]);
        assert_eq!(keys[SCHEMA_LEAVES_MAX..], ["run_id", "run_finished_at"]);
    }
}

#[test]
fn statistics_cover_all_row_groups() {
    let lines: String = (0..5_000).map(|n| format!("{{\"n\":{},\"s\":\"{:05}\"}}\n", n - 2_500, n)).collect();
    let mut limits = lanes(1);
    limits.row_group_rows_max = 700;
    let columns = schema(&[("n", ColumnType::Double), ("s", ColumnType::String)]);
    let outcome = stage_chunks(objects(&[lines.as_bytes()], 1_000), &columns, &limits).unwrap();
    let found: Value = serde_json::from_str(&outcome.staged.files[0].statistics).unwrap();
    assert_eq!(
        found["minValues"],
        json!({"n": -2500.0, "s": "00000", "run_id": "run-1", "run_finished_at": "2026-09-01T06:07:30.000Z"})
    );
    assert_eq!(found["maxValues"]["n"], json!(2499.0));
    assert_eq!(found["maxValues"]["s"], json!("04999"));
}

proptest! {
    #[test]
    fn text_bounds_hold_for_every_text(
        texts in prop::collection::vec(
            prop_oneof!["[a-c]{0,3}", "é{30,80}", "\u{10ffff}{60,70}", "\u{7f}{60,70}.{0,3}", ".{0,100}"]
                .prop_filter("text without NUL", |text| !text.contains('\0')),
            1..6,
        ),
    ) {
        let columns = schema(&[("s", ColumnType::String)]);
        let lines: String = texts.iter().map(|text| format!("{}\n", json!({"s": text}))).collect();
        let found = statistics(&lines, &columns);
        for text in &texts {
            if let Some(min) = found["minValues"]["s"].as_str() {
                prop_assert!(min <= text.as_str(), "{:?} {:?}", min, text);
            }
            if let Some(max) = found["maxValues"]["s"].as_str() {
                prop_assert!(max >= text.as_str(), "{:?} {:?}", max, text);
            }
        }
        let short = texts.iter().all(|text| text.len() <= 64);
        prop_assert!(!short || (found["minValues"]["s"].is_string() && found["maxValues"]["s"].is_string()));
    }
}
