//! Gzip around an object: told by its first bytes, of one or several members, for every streamed format.

use delivery::failure::FailureCode;
use delivery::schema::ColumnType;
use rows::{InputError, StageError, inflate};
use serde_json::json;

use crate::support::{Chunks, Streamed, gzip, objects, schema, stage_streamed};

const ROWS: [(Streamed, &str); 3] = [
    (Streamed::JsonLines, "{\"a\":\"x\"}\n{\"a\":\"y\"}\n"),
    (Streamed::Json, "[{\"a\":\"x\"},{\"a\":\"y\"}]"),
    (Streamed::Csv, "a\nx\ny\n"),
];

#[test]
fn plain_and_gzip_objects_may_stand_side_by_side() {
    let columns = schema(&[("a", ColumnType::String)]);
    for (format, text) in ROWS {
        let whole = gzip(text.as_bytes());
        let (left, right) = text.as_bytes().split_at(text.len() / 2);
        let members = [gzip(left), gzip(b""), gzip(right)].concat();
        for size in [1, 2, 3, 1_000] {
            let parts: [&[u8]; 4] = [&whole, text.as_bytes(), &members, &whole];
            let outcome = stage_streamed(format, &parts, size, &columns).unwrap();
            assert_eq!(outcome.staged.rejected, 0);
            let texts: Vec<_> = outcome.rows().iter().map(|row| row["a"].clone()).collect();
            assert_eq!(texts, ["x", "y", "x", "y", "x", "y", "x", "y"].map(|text| json!(text)), "{format:?}, {size}");
        }
    }
}

#[test]
fn a_gzip_stream_that_ends_early_is_truncated_and_one_that_is_wrong_is_invalid() {
    let columns = schema(&[("a", ColumnType::String)]);
    for (format, text) in ROWS {
        let whole = gzip(text.as_bytes());
        for end in 2..whole.len() {
            let error = stage_streamed(format, &[text.as_bytes(), &whole[..end]], 5, &columns).unwrap_err();
            assert_eq!(error.code(), Some(FailureCode::OutputTruncated), "{format:?} up to {end}: {error}");
            assert!(error.to_string().starts_with("object 2 of the output ends"), "{error}");
        }
        let checksum = whole.len() - 6;
        let mut wrong = whole.clone();
        wrong[checksum] ^= 1;
        let mut longer = whole.clone();
        longer.extend_from_slice(b"and so on, and so on");
        for broken in [wrong, longer] {
            let error = stage_streamed(format, &[&broken], 7, &columns).unwrap_err();
            assert_eq!(error.code(), Some(FailureCode::OutputInvalid), "{format:?}: {error}");
        }
    }
}

#[test]
fn a_small_object_may_hold_much_and_is_not_held_at_once() {
    // A source that can tell how much was taken of it before rows were.
    let row = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1_000));
    let text = row.repeat(60_000);
    let packed = gzip(text.as_bytes());
    assert!(packed.len() < text.len() / 100);
    let outcome =
        stage_streamed(Streamed::JsonLines, &[&packed], 1 << 20, &schema(&[("a", ColumnType::String)])).unwrap();
    assert_eq!(outcome.staged.rows, 60_000);
}

#[test]
fn what_is_copied_out_of_gzip_has_a_limit() {
    let packed = gzip(&[b'x'; 3_000_000]);
    let copy = |bytes_max: u64, out: &mut Vec<u8>| {
        inflate(&mut Chunks(objects(&[&packed], 100).into_iter()), 7, bytes_max, out)
    };
    let mut out = Vec::new();
    assert_eq!(copy(3_000_000, &mut out).unwrap(), 3_000_000);
    assert_eq!(out.len(), 3_000_000);
    let mut out = Vec::new();
    let error = copy(2 << 20, &mut out).unwrap_err();
    assert!(matches!(error, InputError::TooLarge { object: 7, .. }), "{error}");
    assert!(out.len() <= 2 << 20);
    assert_eq!(StageError::from(error).code(), Some(FailureCode::OutputTooLarge));
}
