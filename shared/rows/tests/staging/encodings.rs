//! Pages, dictionaries and levels: whatever a column looks like, its values are read back in their places.

use bytes::Bytes;
use delivery::schema::ColumnType;
use parquet::basic::Encoding;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{FINISHED_AT, RUN_ID, bits, every_type, lanes, objects, schema, stage_chunks};

/// A row as it is read back, of a kind that changes with its number.
fn row(n: u32) -> (Value, Value) {
    let number = f64::from(n);
    // A few texts first, then a new one in every row: the dictionary overflows.
    let text = if n < 6_000 { format!("few {}", n % 50) } else { format!("many {}", n.wrapping_mul(2_654_435_761)) };
    let tags: Vec<Value> =
        (0..n % 4).map(|at| if at == 2 { Value::Null } else { json!(format!("tag {}", (n + at) % 9)) }).collect();
    let marks: Value = if n.is_multiple_of(5) { Value::Null } else { json!([[number], [], Value::Null]) };
    let read_marks: Value = if n.is_multiple_of(5) { Value::Null } else { json!([[bits(number)], [], Value::Null]) };
    let offers: Vec<Value> =
        (0..n % 3).map(|at| json!({"sku": format!("{n}-{at}"), "sold": at == 0, "tags": [text]})).collect();
    let seller = !n.is_multiple_of(6);
    let line = json!({
        "text": text,
        "number": if n.is_multiple_of(7) { Value::Null } else { json!(number) },
        "flag": if n.is_multiple_of(3) { Value::Null } else { json!(n.is_multiple_of(2)) },
        "day": format!("2026-01-{:02}", n % 28 + 1),
        "at": n,
        "price": if n.is_multiple_of(2) { json!({"amount": n, "currencyCode": "EUR"}) } else { Value::Null },
        "seller": if seller { json!({"name": format!("n{n}"), "marks": marks}) } else { Value::Null },
        "offers": if n.is_multiple_of(11) { Value::Null } else { json!(offers) },
        "tags": tags,
        "_private": n,
    });
    let read = json!({
        "text": text,
        "any": null,
        "number": if n.is_multiple_of(7) { Value::Null } else { bits(number) },
        "flag": if n.is_multiple_of(3) { Value::Null } else { json!(n.is_multiple_of(2)) },
        "day": format!("2026-01-{:02}", n % 28 + 1),
        "at": delivery::timestamp::Timestamp::from_millis(n.into()).unwrap().to_string(),
        "price": if n.is_multiple_of(2) { json!({"amount": format!("{n}.000000"), "currency_code": "EUR"}) } else { Value::Null },
        "seller": if seller {
            json!({"name": format!("n{n}"), "rating": null, "paid": null, "since": null, "marks": read_marks})
        } else {
            Value::Null
        },
        "offers": if n.is_multiple_of(11) { Value::Null } else { json!(offers) },
        "tags": tags,
        "run_id": RUN_ID,
        "run_finished_at": FINISHED_AT,
    });
    (line, read)
}

#[test]
fn every_value_of_a_large_output_is_in_its_place() {
    let (lines, expected): (Vec<_>, Vec<_>) = (0..60_000).map(row).unzip();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let mut limits = lanes(1);
    for rows_max in [131_072, 7_000] {
        limits.row_group_rows_max = rows_max;
        let outcome = stage_chunks(objects(&[text.as_bytes()], 100_000), &every_type(), &limits).unwrap();
        for (found, expected) in outcome.rows().iter().zip(&expected) {
            assert_eq!(found, expected);
        }
        assert_eq!(outcome.staged.rows, 60_000);
    }
}

#[test]
fn a_column_begins_with_a_dictionary_and_goes_on_without() {
    let text: String = (0..60_000).map(|n| format!("{}\n", row(n).0)).collect();
    let columns = schema(&[("text", ColumnType::String), ("number", ColumnType::Double), ("day", ColumnType::Date)]);
    let outcome = stage_chunks(objects(&[text.as_bytes()], 100_000), &columns, &lanes(1)).unwrap();
    let reader = SerializedFileReader::new(Bytes::from(outcome.files[&0].clone())).unwrap();
    let group = reader.metadata().row_group(0);
    let has = |leaf: usize, encoding| group.column(leaf).encodings().any(|found| found == encoding);
    assert!(has(0, Encoding::RLE_DICTIONARY) && has(0, Encoding::DELTA_LENGTH_BYTE_ARRAY), "a dictionary that is full");
    assert!(!has(1, Encoding::RLE_DICTIONARY), "unique values have no dictionary");
    assert!(has(2, Encoding::RLE_DICTIONARY), "few values have one");
}

proptest! {
    #[test]
    fn nested_arrays_are_read_back(
        rows in prop::collection::vec(
            prop::option::of(prop::collection::vec(
                prop::option::of(prop::collection::vec(prop::option::of(0_u8..4), 0..4)),
                0..4,
            )),
            0..60,
        ),
    ) {
        let nested = ColumnType::Array(Box::new(ColumnType::Array(Box::new(ColumnType::String))));
        let text: String = rows.iter().map(|value| format!("{}\n", json!({"v": value}))).collect();
        let outcome = stage_chunks(objects(&[text.as_bytes()], 50), &schema(&[("v", nested)]), &lanes(1)).unwrap();
        let expected: Vec<_> = rows
            .iter()
            .map(|value| {
                let texts = value.as_ref().map(|outer| -> Vec<_> {
                    let inner = |inner: &Option<Vec<Option<u8>>>| {
                        inner.as_ref().map(|inner| inner.iter().map(|n| n.map(|n| n.to_string())).collect::<Vec<_>>())
                    };
                    outer.iter().map(inner).collect()
                });
                json!(texts)
            })
            .collect();
        let found: Vec<_> = outcome.rows().iter().map(|row| row["v"].clone()).collect();
        prop_assert_eq!(found, expected);
    }
}
