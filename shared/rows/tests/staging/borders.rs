//! Lines, chunks, objects and lanes: however the same bytes arrive, the same rows come out.

use bytes::Bytes;
use delivery::failure::FailureCode;
use delivery::schema::{ColumnType, PublicSchema};
use proptest::prelude::*;
use rows::{Chunk, Input, InputError, StageError};
use serde_json::{Value, json};

use crate::support::{FINISHED_AT, RUN_ID, every_type, lanes, objects, schema, stage_bytes, stage_chunks};

const LINES: &str = concat!(
    "\u{feff}{\"text\":\"a\\u00e9\",\"number\":1,\"tags\":[\"x\",null]}\r\n",
    "\n",
    "  \t\r\n",
    "not json\n",
    "{\"seller\":{\"name\":\"日本語\",\"marks\":[[1],[]]},\"_p\":\"\\ud800\"}\n",
    "{\"number\":\"12 EUR\"}\n",
    "{\"offers\":[{\"sku\":\"s\",\"tags\":[]}],\"price\":{\"amount\":1.5}}\n",
    "{\"any\":{\"b\":1,\"b\":2},\"at\":0}",
);

fn expected_rejections() -> Vec<(u64, Option<String>, FailureCode)> {
    vec![(4, None, FailureCode::RowNotJson), (6, Some("number".to_owned()), FailureCode::ValueNotCastable)]
}

#[test]
fn chunk_borders_make_no_difference() {
    let bytes = LINES.as_bytes();
    let whole = stage_bytes(bytes, &every_type()).unwrap();
    assert_eq!(whole.rows().len(), 4);
    assert_eq!(whole.rejected(), expected_rejections());
    assert_eq!(whole.rows()[0]["text"], json!("aé"), "the byte order mark is not text");
    for border in 0..=bytes.len() {
        let (left, right) = bytes.split_at(border);
        let chunks = [left, right].map(|part| Chunk::Bytes(Bytes::copy_from_slice(part))).to_vec();
        let cut = stage_chunks(chunks, &every_type(), &lanes(1)).unwrap();
        assert_eq!((&cut.files, &cut.rejects), (&whole.files, &whole.rejects), "border at {border}");
    }
    for size in 1..20 {
        let cut = stage_chunks(objects(&[bytes], size), &every_type(), &lanes(1)).unwrap();
        assert_eq!((&cut.files, &cut.rejects), (&whole.files, &whole.rejects), "chunks of {size}");
    }
}

#[test]
fn an_object_border_is_a_line_border_and_lines_are_counted_on() {
    let parts: [&[u8]; 3] = [b"\xef\xbb\xbf{\"text\":\"a\"}", b"\xef\xbb\xbf{\"text\":\"b\"}\n", b"\xef\xbb\xbfx"];
    let outcome = stage_chunks(objects(&parts, 5), &every_type(), &lanes(2)).unwrap();
    assert_eq!(outcome.staged.rows, 2);
    assert_eq!(outcome.rejected(), [(3, None, FailureCode::RowNotJson)]);
}

fn many_rows(rows: usize) -> String {
    (0..rows)
        .map(|row| {
            if row % 1_000 == 999 {
                format!("{{\"number\":\"{row} EUR\"}}\n")
            } else {
                format!(
                    "{{\"text\":\"row {row}\",\"number\":{row},\"tags\":[\"{}\"],\"_p\":{row}}}\n",
                    "t".repeat(row % 300)
                )
            }
        })
        .collect()
}

fn sorted(mut rows: Vec<Value>) -> Vec<String> {
    let mut texts: Vec<_> = rows.drain(..).map(|row| row.to_string()).collect();
    texts.sort();
    texts
}

#[test]
fn any_number_of_lanes_stages_the_same_rows_and_rejections() {
    let text = many_rows(20_000);
    let one = stage_chunks(objects(&[text.as_bytes()], 70_000), &every_type(), &lanes(1)).unwrap();
    assert_eq!(one.files.len(), 1);
    assert_eq!(one.staged.rejected, 20);
    let expected = sorted(one.rows());
    for count in [2, 3] {
        let outcome = stage_chunks(objects(&[text.as_bytes()], 70_000), &every_type(), &lanes(count)).unwrap();
        assert_eq!(outcome.files.len(), count);
        assert_eq!(outcome.rejects, one.rejects);
        assert_eq!(sorted(outcome.rows()), expected);
        let again = stage_chunks(objects(&[text.as_bytes()], 999), &every_type(), &lanes(count)).unwrap();
        assert_eq!(again.staged.rows, outcome.staged.rows);
        let same = stage_chunks(objects(&[text.as_bytes()], 70_000), &every_type(), &lanes(count)).unwrap();
        assert_eq!(same.files, outcome.files, "the same input makes the same bytes");
    }
}

#[test]
fn row_groups_and_files_are_cut_at_their_limits() {
    let text = many_rows(10_000);
    let mut limits = lanes(1);
    limits.row_group_rows_max = 1_000;
    limits.file_bytes_max = 10_000;
    let cut = stage_chunks(objects(&[text.as_bytes()], 70_000), &every_type(), &limits).unwrap();
    assert!(cut.files.len() > 1, "several files");
    let whole = stage_chunks(objects(&[text.as_bytes()], 70_000), &every_type(), &lanes(1)).unwrap();
    assert_eq!(cut.rows(), whole.rows());
    limits.file_bytes_max = u64::MAX;
    let groups = stage_chunks(objects(&[text.as_bytes()], 70_000), &every_type(), &limits).unwrap();
    let reader =
        parquet::file::serialized_reader::SerializedFileReader::new(Bytes::from(groups.files[&0].clone())).unwrap();
    let metadata = parquet::file::reader::FileReader::metadata(&reader);
    assert!(metadata.num_row_groups() >= 10);
    assert!(metadata.row_groups().iter().all(|group| group.num_rows() <= 1_000));
    assert_eq!(groups.rows(), whole.rows());
}

#[test]
fn a_small_output_is_one_file_and_an_empty_one_none() {
    assert_eq!(stage_chunks(objects(&[b"{}\n{}\n"], 9), &every_type(), &lanes(2)).unwrap().files.len(), 1);
    for nothing in ["", "\n", " \r\n\t\n", "\u{feff}", "\u{feff}\n", "x\n"] {
        let outcome = stage_bytes(nothing.as_bytes(), &every_type()).unwrap();
        assert_eq!((outcome.staged.rows, outcome.files.len()), (0, 0), "{nothing:?}");
    }
    assert!(stage_chunks(Vec::new(), &every_type(), &lanes(2)).unwrap().files.is_empty());
}

#[test]
fn every_row_has_the_run_columns() {
    for row in stage_bytes(b"{\"run_id\":\"forged\"}\n{}\n", &every_type()).unwrap().rows() {
        assert_eq!((&row["run_id"], &row["run_finished_at"]), (&json!(RUN_ID), &json!(FINISHED_AT)));
    }
}

#[test]
fn an_output_that_ends_in_the_middle_of_a_row_is_truncated() {
    let row = r#"{"text":"a\u00e9","number":-1.5e3,"any":[true,null,{}]}"#;
    for end in 1..row.len() {
        for before in ["", "{}\n\nx\n"] {
            let text = format!("{before}{}", &row[..end]);
            let error = stage_bytes(text.as_bytes(), &every_type()).unwrap_err();
            let expected = if before.is_empty() { 1 } else { 4 };
            assert!(matches!(error, StageError::Truncated { line } if line == expected), "{text}: {error}");
            assert_eq!(error.code(), Some(FailureCode::OutputTruncated));
        }
    }
    assert_eq!(stage_bytes(row.as_bytes(), &every_type()).unwrap().staged.rows, 1);
    let first = [b"{\"text\":".as_slice(), b"{}\n"];
    let error = stage_chunks(objects(&first, 100), &every_type(), &lanes(2)).unwrap_err();
    assert!(matches!(error, StageError::Truncated { line: 1 }), "an earlier object counts as well: {error}");
    let rejected = stage_bytes(b"{\"text\":\n{}", &every_type()).unwrap();
    assert_eq!(rejected.rejected(), [(1, None, FailureCode::RowNotJson)], "a line in between is only rejected");
}

#[test]
fn rows_over_the_limit_are_rejected_without_being_kept() {
    let mut limits = lanes(1);
    limits.row_bytes_max = 40;
    let fits = format!("{{\"text\":\"{}\"}}", "x".repeat(40 - 11));
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(41 - 11));
    assert_eq!((fits.len(), long.len()), (40, 41));
    let text = format!("{long}\n{fits}\n{}\n{fits}\n{long}", "y".repeat(5_000));
    for size in [1, 7, 39, 40, 41, 42, 43, 100, 100_000] {
        let outcome = stage_chunks(objects(&[text.as_bytes()], size), &every_type(), &limits).unwrap();
        assert_eq!(outcome.staged.rows, 2, "chunks of {size}");
        let expected = [1, 3, 5].map(|line| (line, None, FailureCode::RowTooLarge));
        assert_eq!(outcome.rejected(), expected, "chunks of {size}");
    }
}

#[test]
fn a_failing_source_or_sink_ends_staging_with_its_error() {
    struct Broken(u32);
    impl rows::BlockSource for Broken {
        fn next_block(&mut self) -> std::io::Result<Option<Chunk>> {
            self.0 += 1;
            if self.0 > 20 {
                return Err(std::io::Error::other("away"));
            }
            Ok(Some(Chunk::Bytes(Bytes::from(b"{\"text\":\"a\"}\n".repeat(100_000)))))
        }
    }
    struct Full;
    impl rows::FileFactory for Full {
        fn create(&self, _: usize) -> std::io::Result<Box<dyn rows::FileSink>> {
            Ok(Box::new(Full))
        }
    }
    impl rows::FileSink for Full {
        fn write(&mut self, _: Bytes) -> std::io::Result<()> {
            Err(std::io::Error::other("full"))
        }
        fn finish(self: Box<Self>) -> std::io::Result<()> {
            panic!("a file that could not be written is not finished")
        }
    }
    let run =
        rows::RunColumns { run_id: RUN_ID, finished_at: delivery::timestamp::Timestamp::parse(FINISHED_AT).unwrap() };
    let schema: PublicSchema = schema(&[("text", ColumnType::String)]);
    let mut none = std::io::sink();
    let files = crate::support::Files::default();
    let error = rows::stage(Input::JsonLines(&mut Broken(0)), &files, &mut none, &schema, run, &lanes(2)).unwrap_err();
    assert!(matches!(error, StageError::Input(InputError::Read(_))), "{error}");
    let mut source = crate::support::Chunks(objects(&[b"{}\n"], 100).into_iter());
    let error = rows::stage(Input::JsonLines(&mut source), &Full, &mut none, &schema, run, &lanes(2)).unwrap_err();
    assert!(matches!(error, StageError::Write(_)), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn arbitrary_bytes_do_no_harm(
        bytes in prop::collection::vec(prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            Just(b"\n".to_vec()),
            Just(LINES.as_bytes().to_vec()),
            (0..LINES.len(), 0..LINES.len())
                .prop_map(|(a, b)| LINES.as_bytes()[a.min(b)..a.max(b)].to_vec()),
            Just(br#"{"seller":{"marks":[[{"#.to_vec()),
            Just(br#""any":{"a":"\u"#.to_vec()),
        ], 0..30),
        size in 1_usize..200,
    ) {
        let bytes = bytes.concat();
        let one = stage_chunks(objects(&[&bytes], size), &every_type(), &lanes(1));
        let other = stage_bytes(&bytes, &every_type());
        match (one, other) {
            (Ok(one), Ok(other)) => {
                prop_assert_eq!(one.rows(), other.rows());
                prop_assert_eq!(one.rejects, other.rejects);
                let lines = bytes
                    .split(|byte| *byte == b'\n')
                    .map(|line| line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line))
                    .filter(|line| line.iter().any(|byte| !byte.is_ascii_whitespace()))
                    .count() as u64;
                // A byte order mark on a later line is no white space, so this can only be more.
                prop_assert!(one.staged.rows + one.staged.rejected >= lines.min(1) && one.staged.rows <= lines);
            }
            (Err(StageError::Truncated { line: a }), Err(StageError::Truncated { line: b })) => prop_assert_eq!(a, b),
            (one, other) => prop_assert!(false, "{:?} {:?}", one, other),
        }
    }
}
