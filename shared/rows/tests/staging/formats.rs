//! The same rows in every format: equal columns and equal rejections, however the bytes are cut.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, StringArray};
use delivery::failure::FailureCode;
use delivery::schema::{Column, PublicSchema};
use delivery::timestamp::{Timestamp, format_date};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::parquet_files::plain;
use crate::support::{Outcome, Streamed, every_type, gzip, stage_bytes, stage_parquet, stage_streamed};

/// A row as its values in JSON, each also as the text that stands for it where a format has only texts.
type Row = Vec<(&'static str, Value)>;

/// Columns whose cells are JSON texts.
const AS_JSON: [&str; 5] = ["any", "price", "seller", "offers", "tags"];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z ,;]{0,8}",
        prop::sample::select(vec!["\"", "\r\n", "\n", "a\"b", ",", "é日😀", " ", "\\u0041", "\\", "]", "}", "\t"])
            .prop_map(str::to_owned),
        any::<String>(),
    ]
    .prop_map(|text| text.replace('\0', "0"))
}

fn nested() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop_oneof![text(), Just("_p".to_owned()), Just("data".to_owned())], inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A member's value, now and then null, and now and then one that does not fit.
fn or_misfit(value: impl Strategy<Value = Value> + 'static, misfit: Value) -> BoxedStrategy<Value> {
    prop_oneof![10 => value, 2 => Just(Value::Null), 1 => Just(misfit)].boxed()
}

fn seller() -> impl Strategy<Value = Value> {
    let rating = or_misfit(any::<i32>().prop_map(Value::from), json!("1,299.00"));
    let since = or_misfit((-719_162_i32..2_932_897).prop_map(|days| json!(format_date(days))), json!("01.09.2026"));
    let paid = or_misfit((0_u32..9_999).prop_map(|amount| json!({"amount": amount, "_p": 1})), json!({}));
    (text(), rating, since, paid, prop::collection::vec(any::<i16>(), 0..3), nested()).prop_map(
        |(name, rating, since, paid, marks, unknown)| {
            json!({"unknown": unknown, "name": name, "rating": rating, "_secret": name, "since": since, "paid": paid,
                "marks": [marks, null, []]})
        },
    )
}

fn row() -> impl Strategy<Value = Row> {
    let number = prop_oneof![
        any::<f64>().prop_filter("fractions", |value| value.is_finite() && value.fract() != 0.0).prop_map(Value::from),
        (-9_007_199_254_740_992_i64..=9_007_199_254_740_992).prop_map(Value::from),
    ];
    let at = prop_oneof![
        (-62_135_596_800_000_i64..253_402_300_800_000).prop_map(Value::from),
        (-62_135_596_800_000_000_i64..253_402_300_800_000_000)
            .prop_map(|micros| json!(Timestamp::from_micros(micros).unwrap().to_string())),
    ];
    let offers = prop::collection::vec(
        (text(), any::<bool>(), prop::collection::vec(text(), 0..3))
            .prop_map(|(sku, sold, tags)| json!({"sku": sku, "sold": sold, "tags": tags, "_cost": 1})),
        0..3,
    );
    (
        (
            text(),
            or_misfit(number, json!("12 EUR")),
            or_misfit(any::<bool>().prop_map(Value::from), json!("yes")),
            or_misfit((-719_162_i32..2_932_897).prop_map(|days| json!(format_date(days))), json!("2026-02-29")),
            or_misfit(at, json!("2026-09-01T24:00:00Z")),
        ),
        (
            or_misfit(
                (any::<i32>(), "[A-Z]{3}").prop_map(|(amount, code)| json!({"amount": amount, "currencyCode": code})),
                json!({"currencyCode": "EUR"}),
            ),
            or_misfit(seller(), json!([])),
            or_misfit(offers.prop_map(Value::from), json!({})),
            or_misfit(prop::collection::vec(text(), 0..4).prop_map(Value::from), json!("x")),
            nested(),
            text(),
        ),
    )
        .prop_map(|((text, number, flag, day, at), (price, seller, offers, tags, any, private))| {
            vec![
                ("_private", json!(private)),
                ("text", json!(text)),
                ("number", number),
                ("flag", flag),
                ("undeclared", json!(private)),
                ("day", day),
                ("at", at),
                ("price", price),
                ("seller", seller),
                ("offers", offers),
                ("tags", tags),
                ("any", any),
            ]
        })
}

fn json_text(row: &Row, pretty: bool) -> String {
    let object: Map<String, Value> = row.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    if pretty { serde_json::to_string_pretty(&object).unwrap() } else { serde_json::to_string(&object).unwrap() }
}

/// The text that stands for a value where a format has only texts; `None` is null.
fn cell(name: &str, value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        value if AS_JSON.contains(&name) => Some(value.to_string()),
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn csv(rows: &[Row], ends: &str) -> String {
    let quoted = |text: &str| {
        let bare =
            !text.contains(['"', ',', '\r', '\n']) && text.len().is_multiple_of(2) && !text.starts_with('\u{feff}');
        if bare { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
    };
    let record = |cells: Vec<String>| cells.join(",") + ends;
    let Some(first) = rows.first() else { return "text".to_owned() };
    let header = record(first.iter().map(|(name, _)| quoted(name)).collect());
    let records =
        rows.iter().map(|row| record(row.iter().map(|(n, v)| quoted(&cell(n, v).unwrap_or_default())).collect()));
    header + &records.collect::<String>()
}

fn parquet(rows: &[Row]) -> Vec<u8> {
    let names =
        ["_private", "text", "number", "flag", "undeclared", "day", "at", "price", "seller", "offers", "tags", "any"];
    let columns: Vec<(&str, ArrayRef)> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let array: StringArray = rows.iter().map(|row| cell(name, &row[index].1)).collect();
            (*name, Arc::new(array) as ArrayRef)
        })
        .collect();
    assert!(columns.iter().all(|(_, array)| array.len() == rows.len()));
    plain(&columns)
}

/// Column and code of each rejection.
fn refused(outcome: &Outcome) -> Vec<(Option<String>, FailureCode)> {
    outcome.rejected().into_iter().map(|(_, column, code)| (column, code)).collect()
}

/// The columns, but times: Parquet writes them as texts here, where milliseconds are no numbers.
fn without_times() -> PublicSchema {
    let columns: Vec<Column> = every_type().columns().iter().filter(|column| column.name != "at").cloned().collect();
    PublicSchema::from_columns(columns)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn every_format_holds_the_same_rows(
        rows in prop::collection::vec(row(), 0..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        size in prop_oneof![1_usize..8, 8_usize..3_000],
        (pretty, packed, mark) in any::<(bool, bool, bool)>(),
        ends in prop::sample::select(vec!["\n", "\r\n"]),
    ) {
        let lines: String = rows.iter().map(|row| json_text(row, false) + "\n").collect();
        let expected = stage_bytes(lines.as_bytes(), &every_type()).unwrap();
        prop_assert_eq!(expected.staged.rows + expected.staged.rejected, rows.len() as u64);

        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(rows.len() + 1)).chain([0, rows.len()]).collect();
        cuts.sort_unstable();
        let parts: Vec<&[Row]> = cuts.array_windows().map(|[from, to]| &rows[*from..*to]).collect();
        let objects = |write: &dyn Fn(&[Row]) -> String| -> Vec<Vec<u8>> {
            let text = |part: &&[Row]| {
                let text = write(part);
                // A mark alone would be a line.
                let text = if mark && !text.is_empty() { format!("\u{feff}{text}") } else { text };
                if packed { gzip(text.as_bytes()) } else { text.into_bytes() }
            };
            parts.iter().map(text).collect()
        };
        let elements = |part: &[Row]| part.iter().map(|row| json_text(row, pretty)).collect::<Vec<_>>().join(" ,\n");
        for (format, of) in [
            (Streamed::JsonLines, objects(&|part| part.iter().map(|row| json_text(row, false) + ends).collect())),
            (Streamed::Json, objects(&|part| format!("[{}]", elements(part)))),
            (Streamed::Json, objects(&|part| {
                format!(r#"{{"workflowId":"w","x":{{"data":[{{}}]}},"data":[{}],"runId":[{{}}]}}"#, elements(part))
            })),
            (Streamed::Csv, objects(&|part| csv(part, ends))),
        ] {
            let of: Vec<&[u8]> = of.iter().map(Vec::as_slice).collect();
            let found = stage_streamed(format, &of, size, &every_type()).unwrap();
            prop_assert_eq!(found.rows(), expected.rows(), "{:?}", format);
            if format == Streamed::Csv {
                prop_assert_eq!(refused(&found), refused(&expected));
            } else {
                prop_assert_eq!(&found.rejects, &expected.rejects, "{:?}", format);
            }
        }

        let expected = stage_bytes(lines.as_bytes(), &without_times()).unwrap();
        let of: Vec<_> = parts.iter().map(|part| parquet(part)).collect();
        let found = stage_parquet(&of, &without_times()).unwrap();
        prop_assert_eq!(found.rows(), expected.rows(), "Parquet");
        prop_assert_eq!(&found.rejects, &expected.rejects, "Parquet");
    }
}
