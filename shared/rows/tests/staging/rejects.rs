//! Rows that do not pass: the right line, column, code and words, and no trace in the files.

use delivery::failure::FailureCode;
use delivery::schema::ColumnType;
use serde_json::json;

use crate::support::{Streamed, bits, every_type, lanes, objects, schema, stage_bytes, stage_chunks, stage_streamed};

#[test]
fn each_fault_has_its_code() {
    let deep = format!("{{\"any\":{}1{}}}", "[".repeat(64), "]".repeat(64));
    let private_deep = format!("{{\"_p\":{}1{}}}", "[".repeat(64), "]".repeat(64));
    for (line, column, code) in [
        (b"nonsense".as_slice(), None, FailureCode::RowNotJson),
        (b"{\"text\":1}}", None, FailureCode::RowNotJson),
        (b"{\"text\":01}", None, FailureCode::RowNotJson),
        (b"{,\"text\":1}", None, FailureCode::RowNotJson),
        (b"{\"text\":1,}", None, FailureCode::RowNotJson),
        (b"{\"text\":1 \"any\":1}", None, FailureCode::RowNotJson),
        (b"{\"text\":\"a\tb\"}", None, FailureCode::RowNotJson),
        (b"{\"_p\":\"\xff\",\"text\":\"a\"}", None, FailureCode::RowNotJson),
        (b"{\"\xff\":1}", None, FailureCode::RowNotJson),
        (b"[1,2]", None, FailureCode::RowNotObject),
        (b"null", None, FailureCode::RowNotObject),
        (b"\"text\"", None, FailureCode::RowNotObject),
        (deep.as_bytes(), None, FailureCode::RowTooDeep),
        (private_deep.as_bytes(), None, FailureCode::RowTooDeep),
        (b"{\"text\":\"\xff\"}", Some("text"), FailureCode::TextInvalid),
        (b"{\"flag\":\"\xff\"}", Some("flag"), FailureCode::TextInvalid),
        (b"{\"seller\":{\"name\":\"\\ud800\"}}", Some("seller"), FailureCode::TextInvalid),
        (b"{\"tags\":[\"ok\",\"\\u0000\"]}", Some("tags"), FailureCode::TextInvalid),
        (b"{\"offers\":[{\"sold\":1}]}", Some("offers"), FailureCode::ValueNotCastable),
        (b"{\"flag\":1,\"number\":\"x\"}", Some("number"), FailureCode::ValueNotCastable),
    ] {
        let lines = [b"{\"text\":\"before\"}\n", line, b"\n{\"text\":\"after\"}\n"].concat();
        let outcome = stage_bytes(&lines, &every_type()).unwrap();
        let shown = String::from_utf8_lossy(line);
        assert_eq!(outcome.rejected(), [(2, column.map(str::to_owned), code)], "{shown}");
        let first = outcome.staged.first_rejection.clone().unwrap();
        assert_eq!((first.line, first.column.as_deref(), first.code), (2, column, code), "{shown}");
        let texts: Vec<_> = outcome.rows().iter().map(|row| row["text"].clone()).collect();
        assert_eq!(texts, [json!("before"), json!("after")], "{shown}");
    }
    for level in [63, 64] {
        let line = format!("{{\"any\":{}1{}}}", "[".repeat(level - 1), "]".repeat(level - 1));
        assert_eq!(stage_bytes(line.as_bytes(), &every_type()).unwrap().staged.rows, 1, "{level} levels");
    }
}

#[test]
fn a_rejected_row_is_taken_back_from_every_column() {
    let good = r#"{"text":"t","any":[1],"number":1,"flag":true,"day":"2026-09-01","at":0,"price":{"amount":1,"currencyCode":"EUR"},"seller":{"name":"n","rating":2,"marks":[[1,2]]},"offers":[{"sku":"s","tags":["a"]}],"tags":["x","y"]}"#;
    // The last column fails, when all others have their values already.
    let bad = good.replace(r#""tags":["x","y"]"#, r#""tags":["x","\ud800"]"#).replace("\"t\"", "\"bad\"");
    let lines = format!("{good}\n{bad}\n{good}\n{bad}\n{bad}\n{good}\n");
    let clean = format!("{good}\n{good}\n{good}\n");
    let outcome = stage_bytes(lines.as_bytes(), &every_type()).unwrap();
    assert_eq!(outcome.rejected().iter().map(|(line, _, _)| *line).collect::<Vec<_>>(), [2, 4, 5]);
    assert_eq!(outcome.files, stage_bytes(clean.as_bytes(), &every_type()).unwrap().files);
}

#[test]
fn reasons_name_the_column_and_what_it_takes_but_no_value() {
    let outcome = stage_bytes(b"{\"number\":\"secret 12 EUR\"}\n", &every_type()).unwrap();
    let expected = "column number: the value is not a number that a double holds without loss, or a string that is \
                    exactly such a number";
    assert_eq!(outcome.rejects[0]["reason"], json!(expected));
}

#[test]
fn the_rejects_file_has_a_longest_length_and_counting_goes_on() {
    let text: String = (0..50_000).map(|row| if row % 10 == 0 { "{\"a\":1}\n" } else { "x\n" }).collect();
    let columns = schema(&[("a", ColumnType::Double)]);
    let mut limits = lanes(2);
    for (most, written) in [(7, 7), (0, 0), (1_000_000, 45_000)] {
        limits.rejects_written_max = most;
        let outcome = stage_chunks(objects(&[text.as_bytes()], 4_096), &columns, &limits).unwrap();
        assert_eq!((outcome.staged.rows, outcome.staged.rejected, outcome.rejects.len()), (5_000, 45_000, written));
        assert_eq!(outcome.staged.first_rejection.map(|first| first.line), Some(2));
        let lines: Vec<_> = outcome.rejects.iter().map(|reject| reject["line"].as_u64().unwrap()).collect();
        assert!(lines.is_sorted() && lines.first().is_none_or(|line| *line == 2));
    }
    let row = stage_bytes(b"x\n{\"a\":1}", &columns).unwrap().rows().remove(0);
    assert_eq!(row["a"], bits(1.0));
}

#[test]
fn no_format_says_a_value_or_a_private_name() {
    let marker = "PLANTED-VALUE";
    let columns = every_type();
    let names: Vec<_> = columns.columns().iter().map(|column| column.source.as_str()).collect();
    let row = |name: &str| json!({"_secret_name": marker, name: format!("{marker}\u{0}")}).to_string();
    let rows: Vec<_> = names.iter().map(|name| row(name)).collect();
    let csv: String = (0..=names.len())
        .map(|at| format!("{}{marker}\u{0},{}\n", ",".repeat(at), ",".repeat(names.len() - at)))
        .collect();
    let json = format!("[{},\"{marker}\"]", rows.join(","));
    for (format, text, rejected) in [
        (Streamed::JsonLines, format!("{}\n\"{marker}\"\n{marker}", rows.join("\n")), names.len() + 2),
        (Streamed::Json, json, names.len() + 1),
        // The last record has its mark in the private column, and every one a cell too many.
        (Streamed::Csv, format!("{},_secret_name\n{csv}", names.join(",")), names.len() + 1),
        (Streamed::Csv, format!("{},_secret_name,x\n{csv}", names.join(",")), names.len()),
    ] {
        let outcome = stage_streamed(format, &[text.as_bytes()], 100, &columns).unwrap();
        assert_eq!(outcome.rejects.len(), rejected, "{format:?}: {:?}", outcome.rejects);
        let told = format!("{:?} {:?}", outcome.rejects, outcome.staged.first_rejection);
        assert!(!told.contains("PLANTED") && !told.contains("_secret"), "{told}");
    }
}
