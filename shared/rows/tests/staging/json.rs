//! JSON documents: arrays and envelopes of rows, found while they stream by.

use delivery::failure::FailureCode;
use delivery::schema::{ColumnType, PublicSchema};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Chunks, Streamed, bits, lanes, objects, schema, stage_input, stage_streamed};

fn columns() -> PublicSchema {
    schema(&[("a", ColumnType::Double), ("s", ColumnType::Json)])
}

fn numbers(texts: &[&str], size: usize) -> Vec<Value> {
    let parts: Vec<_> = texts.iter().map(|text| text.as_bytes()).collect();
    let outcome = stage_streamed(Streamed::Json, &parts, size, &columns()).unwrap();
    assert_eq!(outcome.staged.rejected, 0, "{texts:?}: {:?}", outcome.rejects);
    outcome.rows().iter().map(|row| row["a"].clone()).collect()
}

const TWO: [&str; 9] = [
    r#"[{"a":1},{"a":2}]"#,
    "\u{feff}[{\"a\":1},{\"a\":2}]",
    " \r\n\t[ { \"a\" : 1 }\n , \r\n{\n  \"a\": 2\n}\n ]\n\n",
    "\u{feff} {\"data\":[{\"a\":1},{\"a\":2}]} ",
    r#"{"workflowId":"w","runId":null,"executedAt":1.5e3,"ok":true,"data":[{"a":1},{"a":2}]}"#,
    r#"{"meta":{"data":[{"a":7}],"x":"]}"},"list":[{"data":[{"a":7}]},"\"data\":["],"data":[{"a":1},{"a":2}],"after":{"data":[{}]}}"#,
    r#"{"\u0064ata":[{"a":1,"s":"]},{"},{"a":2,"s":{"data":[1]}}],"dat":[1],"datas":[1],"Data":[1],"":[1]}"#,
    r#"{"a\"data":1,"data"  :  [{"s":"\\","a":1},{"s":"\\\"]","a":2}]  ,  "z":"\\"}"#,
    "{\"very long key that is longer than any way to write the other one\":[{\"a\":5}],\n\"data\":[{\"a\":1}\n,\n{\"a\":2}]\n}\n",
];

#[test]
fn arrays_and_envelopes_hold_the_same_rows_however_they_arrive() {
    for text in TWO {
        for size in (1..40).chain([1_000]) {
            assert_eq!(numbers(&[text], size), [bits(1.0), bits(2.0)], "{text} in chunks of {size}");
        }
    }
    for size in [1, 7, 1_000] {
        assert_eq!(numbers(&TWO, size).len(), 2 * TWO.len(), "several objects");
    }
    for empty in ["[]", " [ ] ", r#"{"data":[]}"#, r#"{"x":[{}],"data": [ ] ,"y":1}"#, "\u{feff}[]\n"] {
        assert!(numbers(&[empty, empty], 3).is_empty(), "{empty}");
    }
}

#[test]
fn elements_that_are_no_rows_are_rejected_by_their_number() {
    let text = r#"[{"a":1}, 1, "x", null, [{"a":2}], {"a":"x"}, {"a":01}, nope, {"a":], {"a":2}]"#;
    let not_object = |place| (place, None, FailureCode::RowNotObject);
    for size in [1, 5, 1_000] {
        let parts: [&[u8]; 2] = [b"[{},{}]", text.as_bytes()];
        let outcome = stage_streamed(Streamed::Json, &parts, size, &columns()).unwrap();
        assert_eq!(outcome.staged.rows, 4);
        assert_eq!(
            outcome.rejected(),
            [
                not_object(4),
                not_object(5),
                not_object(6),
                not_object(7),
                (8, Some("a".to_owned()), FailureCode::ValueNotCastable),
                (9, None, FailureCode::RowNotJson),
                (10, None, FailureCode::RowNotJson),
                (11, None, FailureCode::RowNotJson),
            ]
        );
    }
}

fn code(text: &[u8], size: usize) -> FailureCode {
    let error = stage_streamed(Streamed::Json, &[b"[{}]", text], size, &columns()).unwrap_err();
    assert!(error.to_string().starts_with("object 2 of the output "), "{error}");
    error.code().unwrap()
}

#[test]
fn documents_that_end_early_are_truncated() {
    let documents =
        [r#"  [{"a":1}, "x\"", 2, [3]]"#, r#"{"w":"x","m":{"d":[1]},"data":[{"a":1},{}],"z":[true]}"#, "\u{feff}[]"];
    for document in documents {
        for end in 0..document.len() {
            for size in [1, 1_000] {
                assert_eq!(
                    code(&document.as_bytes()[..end], size),
                    FailureCode::OutputTruncated,
                    "{document} to {end}"
                );
            }
        }
    }
}

#[test]
fn documents_of_another_form_are_invalid() {
    for text in [
        "{}",
        r#"{"rows":[{"a":1}]}"#,
        r#"{"data":{"a":1}}"#,
        r#"{"data":null}"#,
        r#"{"data":"[]"}"#,
        r#"{"data":[],"data":[]}"#,
        r#"{"a":1}"#,
        "{\"a\":1}\n{\"a\":2}\n",
        "[{}] x",
        "[{}][{}]",
        r#"{"data":[]}{}"#,
        "[{},]",
        "[,{}]",
        "[{},,{}]",
        "[{} {}]",
        "[{}}",
        "[1 2]",
        r#"{"data":[]]"#,
        r#"{"data":[{}},"x":1}"#,
        r#"{"data":[],}"#,
        r#"{,"data":[]}"#,
        r#"{"x" "data":[]}"#,
        r#"{"x":,"data":[]}"#,
        r#"{x:1,"data":[]}"#,
        "\"text\"",
        "12",
        "null",
        "a,b\n1,2\n",
        "\u{feff}\u{feff}[]",
        "\0[]",
    ] {
        for size in [1, 1_000] {
            assert_eq!(code(text.as_bytes(), size), FailureCode::OutputInvalid, "{text}");
        }
    }
    assert_eq!(code(b"\xef\xbb[]", 1), FailureCode::OutputInvalid);
    assert_eq!(code(b"\xff\xfe[\0]\0", 2), FailureCode::OutputInvalid);
}

#[test]
fn rows_over_the_limits_are_rejected_and_not_kept() {
    let mut limits = lanes(1);
    limits.row_bytes_max = 40;
    let of_size = |size: usize| format!("{{\"s\":\"{}\"}}", "x".repeat(size - 8));
    let deep = |levels: usize| format!("{{\"s\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    let text = format!("[{}, {},{},{}]", of_size(40), of_size(41), of_size(50_000), of_size(40));
    for size in [1, 39, 40, 41, 100_000] {
        let mut chunks = Chunks(objects(&[text.as_bytes()], size).into_iter());
        let outcome = stage_input(rows::Input::Json(&mut chunks), &columns(), &limits).unwrap();
        assert_eq!(outcome.staged.rows, 2);
        assert_eq!(outcome.rejected(), [2, 3].map(|place| (place, None, FailureCode::RowTooLarge)));
    }
    let text = format!("[{},{}]", deep(64), deep(65));
    let outcome = stage_streamed(Streamed::Json, &[text.as_bytes()], 9, &columns()).unwrap();
    assert_eq!(outcome.rejected(), [(2, None, FailureCode::RowTooDeep)]);
}

#[test]
fn many_small_and_large_rows_come_in_order_on_any_number_of_lanes() {
    let rows: Vec<String> = (0..40_000)
        .map(|n| format!("{{\"a\":{n},\"s\":\"{}\"}}", "y".repeat(if n % 997 == 0 { 30_000 } else { 3 })))
        .collect();
    let text = format!("{{\"data\":[{}]}}", rows.join(",\n"));
    for count in [1, 3] {
        let mut chunks = Chunks(objects(&[text.as_bytes()], 60_000).into_iter());
        let outcome = stage_input(rows::Input::Json(&mut chunks), &columns(), &lanes(count)).unwrap();
        assert_eq!(outcome.staged.rows, 40_000);
        assert_eq!(outcome.files.len(), count);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(
        parts in prop::collection::vec(prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            (0..TWO.len(), any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(which, a, b)| {
                let text = TWO[which].as_bytes();
                let (a, b) = (a.index(text.len()), b.index(text.len()));
                text[a.min(b)..a.max(b)].to_vec()
            }),
            Just(b"{\"data\":[".to_vec()),
            Just(b"]}".to_vec()),
            Just(b"[".to_vec()),
            Just(b"]".to_vec()),
        ], 0..12),
        size in 1_usize..50,
    ) {
        let bytes = parts.concat();
        let cut = stage_streamed(Streamed::Json, &[&bytes], size, &columns());
        let whole = stage_streamed(Streamed::Json, &[&bytes], 1 << 20, &columns());
        match (cut, whole) {
            (Ok(cut), Ok(whole)) => {
                prop_assert_eq!(cut.rows(), whole.rows());
                prop_assert_eq!(cut.rejects, whole.rejects);
            }
            (Err(cut), Err(whole)) => prop_assert_eq!(cut.to_string(), whole.to_string()),
            (cut, whole) => prop_assert!(false, "{:?} {:?}", cut, whole),
        }
        // What serde_json takes is never refused as a whole, but for its form.
        if let Ok(document) = serde_json::from_slice::<Value>(&bytes) {
            let rows = document.as_array().or_else(|| document["data"].as_array());
            let staged = stage_streamed(Streamed::Json, &[&bytes], size, &columns());
            if let (Some(rows), Ok(outcome)) = (rows, &staged) {
                prop_assert_eq!(outcome.staged.rows + outcome.staged.rejected, rows.len() as u64);
            }
            prop_assert_eq!(rows.is_some(), staged.is_ok() || bytes.windows(6).filter(|w| w == b"\"data\"").count() > 1);
        }
    }
}

#[test]
fn rows_with_a_member_data_are_rows() {
    let text = br#"[{"a":1,"data":[{"a":2}]},{"data":[],"a":3}]"#;
    let outcome = stage_streamed(Streamed::Json, &[text], 4, &schema(&[("data", ColumnType::Json)])).unwrap();
    let found: Vec<_> = outcome.rows().iter().map(|row| row["data"].clone()).collect();
    assert_eq!(found, [json!(r#"[{"a":2}]"#), json!("[]")]);
}
