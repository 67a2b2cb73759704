//! Comma-separated values: headers, quotes, cells and lines.

use delivery::failure::FailureCode;
use delivery::schema::{Column, ColumnType, PublicSchema, StructField};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{
    Chunks, Outcome, Streamed, bits, every_type, lanes, objects, schema, stage_input, stage_streamed,
};

fn columns() -> PublicSchema {
    schema(&[("a", ColumnType::String), ("n", ColumnType::Double)])
}

fn stage_csv(texts: &[&str], size: usize, schema: &PublicSchema) -> Outcome {
    let parts: Vec<_> = texts.iter().map(|text| text.as_bytes()).collect();
    stage_streamed(Streamed::Csv, &parts, size, schema).unwrap()
}

/// The columns `a` and `n`.
fn rows(texts: &[&str], size: usize) -> Vec<(Value, Value)> {
    let outcome = stage_csv(texts, size, &columns());
    assert_eq!(outcome.staged.rejected, 0, "{texts:?}: {:?}", outcome.rejects);
    outcome.rows().iter().map(|row| (row["a"].clone(), row["n"].clone())).collect()
}

#[test]
fn records_are_read_as_rfc_4180_writes_them() {
    let expected = [(json!("x"), bits(1.0)), (json!("say \"hi\",\nthen\r\nbye"), Value::Null), (json!(""), bits(2.5))];
    for text in [
        "a,n\nx,1\n\"say \"\"hi\"\",\nthen\r\nbye\",\n,2.5\n",
        "a,n\r\nx,1\r\n\"say \"\"hi\"\",\nthen\r\nbye\",\r\n,2.5\r\n",
        "\u{feff}a,n\nx,1\n\"say \"\"hi\"\",\nthen\r\nbye\",\n,2.5",
        "\u{feff}\"a\",\"n\"\r\n\"x\",\"1\"\r\n\r\n\r\n\"say \"\"hi\"\",\nthen\r\nbye\",\"\"\r\n\"\",\"2.5\"",
        "n,a\n1,x\n\n,\"say \"\"hi\"\",\nthen\r\nbye\"\n2.5,\n\n\n",
        "\n\r\n_p,a,unknown,n,\n\"p,\"\"\np\",x,,1,\n,\"say \"\"hi\"\",\nthen\r\nbye\",u,,\n_,,,2.5,",
    ] {
        for size in (1..30).chain([1_000]) {
            assert_eq!(rows(&[text], size), expected, "{text:?} in chunks of {size}");
        }
    }
}

#[test]
fn each_object_has_its_own_header() {
    let texts = ["a,n\nx,1", "\u{feff}n,x,a\r\n2,_,y", "", "\n\n", "\u{feff}", "a\nz\n", "n\n"];
    for size in [1, 2, 3, 1_000] {
        let expected = [(json!("x"), bits(1.0)), (json!("y"), bits(2.0)), (json!("z"), Value::Null)];
        assert_eq!(rows(&texts, size), expected);
    }
    assert!(rows(&["a,n\n", "a,n"], 2).is_empty());
}

#[test]
fn names_in_the_header_are_exact() {
    let outcome = stage_csv(&["A, n,\"n\",a \nx,1,2,y\n"], 3, &columns());
    assert_eq!((&outcome.rows()[0]["a"], &outcome.rows()[0]["n"]), (&Value::Null, &bits(2.0)));
    let quoted = schema(&[("with \"quotes\", and comma", ColumnType::String)]);
    let outcome = stage_csv(&["x,\"with \"\"quotes\"\", and comma\"\n1,2"], 1, &quoted);
    assert_eq!(outcome.rows()[0]["with \"quotes\", and comma"], json!("2"));
}

#[test]
fn headers_that_say_nothing_or_twice_the_same_are_refused() {
    for (header, fault) in [
        ("a,n,a\n1,2,3\n", "names the column a twice in its header"),
        ("x,y\n1,2\n", "has a header that names none of the public fields"),
        ("a;n\n1;2\n", "has a header that names none of the public fields"),
        ("{\"a\":1}\n", "has a header that names none of the public fields"),
    ] {
        let error = stage_streamed(Streamed::Csv, &[b"a\n", header.as_bytes()], 2, &columns()).unwrap_err();
        assert_eq!(error.code(), Some(FailureCode::OutputInvalid));
        assert!(error.to_string().contains(fault) && error.to_string().starts_with("object 2 "), "{error}");
    }
    let wide = format!("a{}\n", ",x".repeat(20_000));
    let error = stage_streamed(Streamed::Csv, &[wide.as_bytes()], 100, &columns()).unwrap_err();
    assert_eq!(error.code(), Some(FailureCode::OutputInvalid));
    assert_eq!(rows(&["x,x,a,,\n1,2,y,4,5\n"], 3), [(json!("y"), Value::Null)], "other columns may repeat");
}

#[test]
fn an_object_that_ends_within_quotes_is_truncated() {
    for text in ["a,n\nx,1\n\"y", "a,n\nx,1\n\"y\n", "a,n\nx,1\n\"y\"\"", "a,n\nx,1\ny,\"", "a,n\nx,1\n\"y\r\n\"\"\n"] {
        for size in [1, 2, 1_000] {
            let Err(error) = stage_streamed(Streamed::Csv, &[text.as_bytes()], size, &columns()) else {
                panic!("{text:?} in chunks of {size}")
            };
            assert_eq!(error.code(), Some(FailureCode::OutputTruncated), "{text:?}");
            assert!(error.to_string().contains("line 3"), "{error}");
        }
    }
    let error = stage_streamed(Streamed::Csv, &[b"a,\"n", b"a\nx"], 9, &columns()).unwrap_err();
    assert_eq!(error.code(), Some(FailureCode::OutputTruncated), "also in an earlier object, and in a header");
    for whole in ["a\n\"y\"", "a,n\n\"y\",\"1\"", "a,n\n\"y\"\"\",", "a,n\ny,"] {
        assert_eq!(rows(&[whole], 1).len(), 1, "{whole:?}");
    }
}

#[test]
fn rejections_say_the_line_on_which_the_record_begins() {
    let text = "a,n\n\n\"two\nlines\",1\nx,bad\r\n\"y\r\ny\",bad\n\n\nz\nz,1,2\nlast,bad";
    let again = "n,a\nbad,x\n";
    for size in [1, 2, 5, 1_000] {
        let outcome = stage_csv(&[text, again], size, &columns());
        assert_eq!(outcome.staged.rows, 1);
        let n = |line| (line, Some("n".to_owned()), FailureCode::ValueNotCastable);
        let cells = |line| (line, None, FailureCode::RowCellsMismatch);
        assert_eq!(outcome.rejected(), [n(5), n(6), cells(10), cells(11), n(12), n(14)], "chunks of {size}");
        assert_eq!(outcome.rejects[2]["reason"], json!("the record has 1 cells and its header has 2"));
        assert_eq!(outcome.rejects[3]["reason"], json!("the record has 3 cells and its header has 2"));
    }
}

/// What one cell becomes.
fn cast(column_type: &ColumnType, cell: &str) -> Result<Value, FailureCode> {
    let text = format!("x,v\n,\"{}\"\n", cell.replace('"', "\"\""));
    let outcome = stage_csv(&[&text], 4, &schema(&[("v", column_type.clone())]));
    match outcome.rejected().as_slice() {
        [] => Ok(outcome.rows()[0]["v"].clone()),
        [(2, _, code)] => Err(*code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn cells_follow_the_cast_policy_as_strings() {
    let refused = || Err(FailureCode::ValueNotCastable);
    let list = ColumnType::Array(Box::new(ColumnType::Double));
    let object = ColumnType::Struct(vec![StructField {
        source: "k".to_owned(),
        name: "k".to_owned(),
        column_type: ColumnType::Date,
    }]);
    let deep = "[".repeat(64) + &"]".repeat(64);
    for (column_type, cell, expected) in [
        (&ColumnType::String, "", Ok(json!(""))),
        (&ColumnType::String, "null", Ok(json!("null"))),
        (&ColumnType::String, "{\"_p\":1}", Ok(json!("{\"_p\":1}"))),
        (&ColumnType::String, "a\u{0}", Err(FailureCode::TextInvalid)),
        (&ColumnType::String, "\\u0000 \\", Ok(json!("\\u0000 \\"))),
        (&ColumnType::Double, "", Ok(Value::Null)),
        (&ColumnType::Double, "-1.5e3", Ok(bits(-1500.0))),
        (&ColumnType::Double, "1,299.00", refused()),
        (&ColumnType::Double, " 1", refused()),
        (&ColumnType::Double, "007", refused()),
        (&ColumnType::Double, "9007199254740993", refused()),
        (&ColumnType::Double, "null", refused()),
        (&ColumnType::Double, "NaN", refused()),
        (&ColumnType::Boolean, "", Ok(Value::Null)),
        (&ColumnType::Boolean, "TRUE", Ok(json!(true))),
        (&ColumnType::Boolean, "0", refused()),
        (&ColumnType::Date, "", Ok(Value::Null)),
        (&ColumnType::Date, "2024-02-29", Ok(json!("2024-02-29"))),
        (&ColumnType::Date, "2026-02-29", refused()),
        (&ColumnType::Timestamp, "", Ok(Value::Null)),
        (&ColumnType::Timestamp, "1788242850123", Ok(json!("2026-09-01T06:07:30.123000Z"))),
        (&ColumnType::Timestamp, "-1", Ok(json!("1969-12-31T23:59:59.999000Z"))),
        (&ColumnType::Timestamp, "00", Ok(json!("1970-01-01T00:00:00Z"))),
        (&ColumnType::Timestamp, "2026-09-01T06:07:30Z", Ok(json!("2026-09-01T06:07:30Z"))),
        (&ColumnType::Timestamp, "99999999999999999999", refused()),
        (&ColumnType::Timestamp, "1.5", refused()),
        (&ColumnType::Timestamp, "-", refused()),
        (&ColumnType::Money, "", Ok(Value::Null)),
        (
            &ColumnType::Money,
            r#"{"amount":1,"currencyCode":"EUR"}"#,
            Ok(json!({"amount":"1.000000","currency_code":"EUR"})),
        ),
        (&ColumnType::Money, "{\n\"amount\": \"2\"}\r\n", Ok(json!({"amount":"2.000000","currency_code":null}))),
        (&ColumnType::Money, "12.50", refused()),
        (&ColumnType::Money, "12 EUR", refused()),
        (&ColumnType::Money, "{\"amount\":1", refused()),
        (&ColumnType::Json, "", Ok(Value::Null)),
        (&ColumnType::Json, r#"{ "a" : [1, {"_p":2}] , "_q":3 }"#, Ok(json!(r#"{"a":[1,{}]}"#))),
        (&ColumnType::Json, "12.50", Ok(json!("12.50"))),
        (&ColumnType::Json, "null", Ok(Value::Null)),
        (&ColumnType::Json, "no JSON", Ok(json!("\"no JSON\""))),
        (&ColumnType::Json, "{\"a\":1}x", Ok(json!(r#""{\"a\":1}x""#))),
        (&ColumnType::Json, deep.as_str(), Err(FailureCode::RowTooDeep)),
        (&list, "", Ok(Value::Null)),
        (&list, "[1, null]", Ok(json!([bits(1.0), null]))),
        (&list, "1", refused()),
        (&list, "[1", refused()),
        (&object, r#"{"k":"2026-09-01","_p":1,"z":2}"#, Ok(json!({"k":"2026-09-01"}))),
        (&object, "{}", Ok(json!({"k":null}))),
        (&object, "k", refused()),
    ] {
        assert_eq!(cast(column_type, cell), expected, "{cell:?} as {column_type:?}");
    }
}

#[test]
fn cells_that_are_not_utf_8_are_refused_if_their_column_is_public() {
    let outcome = stage_streamed(Streamed::Csv, &[b"_p,a\n\xff,x\n,\xff\n\xfe,\xc3\xa9\n"], 1, &columns()).unwrap();
    assert_eq!(outcome.rejected(), [(3, Some("a".to_owned()), FailureCode::TextInvalid)]);
    assert_eq!(outcome.staged.rows, 2);
}

#[test]
fn private_cells_are_nowhere() {
    let marker = "PLANTED-PRIVATE-VALUE";
    let mut all = every_type().columns().to_vec();
    all.push(Column { source: "_asked".to_owned(), ..all[0].clone() });
    let text = format!("_asked,text,any,hidden\n{marker},t,\"{{\"\"_k\"\":\"\"{marker}\"\"}}\",{marker}\n{marker},t\n");
    let outcome = stage_csv(&[&text], 7, &PublicSchema::from_columns(all));
    let told = format!("{:?} {:?} {:?}", outcome.staged, outcome.rejects, outcome.rows());
    assert!(!told.contains(marker) && !told.contains("_asked") && !told.contains("hidden"), "{told}");
    assert_eq!((outcome.staged.rows, outcome.staged.rejected), (1, 1));
}

#[test]
fn records_over_the_limit_are_rejected_and_not_kept() {
    let mut limits = lanes(1);
    limits.row_bytes_max = 40;
    let record = |size: usize| format!("\"{}\",1\n", "x".repeat(size - 5));
    let text = format!("a,n\n{}{}{}{}", record(40), record(41), record(50_000), record(40));
    for size in [1, 39, 40, 41, 100_000] {
        let mut chunks = Chunks(objects(&[text.as_bytes()], size).into_iter());
        let outcome = stage_input(rows::Input::Csv(&mut chunks), &columns(), &limits).unwrap();
        assert_eq!(outcome.staged.rows, 2);
        assert_eq!(outcome.rejected(), [3, 4].map(|line| (line, None, FailureCode::RowTooLarge)));
    }
    let error = stage_input(
        rows::Input::Csv(&mut Chunks(objects(&[format!("a,{}\n", "x".repeat(100)).as_bytes()], 9).into_iter())),
        &columns(),
        &limits,
    );
    assert_eq!(error.unwrap_err().code(), Some(FailureCode::OutputInvalid));
}

#[test]
fn many_records_are_staged_on_any_number_of_lanes() {
    let text: String = (0..50_000).map(|n| format!("{n},\"{}\"\r\n", "y\n".repeat(n % 40))).collect();
    let text = format!("n,a\r\n{text}");
    for count in [1, 3] {
        let mut chunks = Chunks(objects(&[text.as_bytes()], 60_000).into_iter());
        let outcome = stage_input(rows::Input::Csv(&mut chunks), &columns(), &lanes(count)).unwrap();
        assert_eq!((outcome.staged.rows, outcome.files.len()), (50_000, count));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(
        parts in prop::collection::vec(
            prop_oneof![
                any::<u8>().prop_map(|byte| vec![byte]),
                prop::sample::select(vec!["\"", "\"\"", ",", "\n", "\r\n", "\r", "a,n\n", "x,1\n", "\u{feff}"])
                    .prop_map(|text| text.as_bytes().to_vec()),
            ],
            0..40,
        ),
        size in 1_usize..20,
    ) {
        let bytes = [b"a,n\n".to_vec(), parts.concat()].concat();
        let cut = stage_streamed(Streamed::Csv, &[&bytes], size, &columns());
        let whole = stage_streamed(Streamed::Csv, &[&bytes], 1 << 20, &columns());
        match (cut, whole) {
            (Ok(cut), Ok(whole)) => {
                prop_assert_eq!(cut.rows(), whole.rows());
                prop_assert_eq!(cut.rejects, whole.rejects);
            }
            (Err(cut), Err(whole)) => prop_assert_eq!(cut.to_string(), whole.to_string()),
            (cut, whole) => prop_assert!(false, "{:?} {:?}", cut, whole),
        }
    }
}
