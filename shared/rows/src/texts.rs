//! Rows as JSON texts, one behind the other: what every format but JSON lines is read into, so that the cast policy
//! and the privacy rule are applied in one place. Knows how text is written as JSON, and nothing of files.

use delivery::schema::ColumnType;

use crate::reject::Reason;
use crate::scan::{Fault, Scanner};

/// Consecutive rows, each with its place in the output.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RowTexts {
    text: Vec<u8>,
    rows: Vec<Row>,
    /// Where the text of the next row begins.
    begin: usize,
}

#[derive(Debug, PartialEq, Eq)]
struct Row {
    end: usize,
    place: u64,
    refused: Option<Reason>,
}

/// How many bytes of text make a block.
const BLOCK_BYTES: usize = 1 << 20;
/// How many rows make a block, however short they are.
const BLOCK_ROWS: usize = 8_192;

impl RowTexts {
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether the block is large enough to be handed on. Asked between two rows.
    pub(crate) fn is_full(&self) -> bool {
        self.begin >= BLOCK_BYTES || self.rows.len() >= BLOCK_ROWS
    }

    /// Where the next row is written: its text is appended, and then ended or dropped.
    pub(crate) fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Bytes of the row that is being written.
    pub(crate) fn row_bytes(&self) -> usize {
        self.text.len() - self.begin
    }

    /// Takes back what is written of the row.
    pub(crate) fn drop_row(&mut self) {
        self.text.truncate(self.begin);
    }

    /// Ends the row that stands at `place` in the output.
    pub(crate) fn end_row(&mut self, place: u64) {
        self.begin = self.text.len();
        self.rows.push(Row { end: self.begin, place, refused: None });
    }

    /// Takes back what is written of the row, and notes why it is no row.
    pub(crate) fn refuse_row(&mut self, place: u64, reason: Reason) {
        self.drop_row();
        self.rows.push(Row { end: self.begin, place, refused: Some(reason) });
    }

    /// The rows as place and text, or the reason why there is none.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Result<&[u8], Reason>)> {
        let begins = std::iter::once(0).chain(self.rows.iter().map(|row| row.end));
        self.rows.iter().zip(begins).map(|(row, begin)| {
            let text = || self.text.get(begin..row.end).unwrap_or_default();
            (row.place, row.refused.map_or_else(|| Ok(text()), Err))
        })
    }
}

/// A value that no column takes: for what has no JSON text, such as a date in the year 20000.
pub(crate) const UNFIT: &[u8] = br#""\ud800""#;

/// Appends a JSON string. Bytes that are not UTF-8 stay as they are; the lanes refuse them.
pub(crate) fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
        let (plain, special) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((&byte, after)) = special.split_first() else { break };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => {
                let digit = |nibble: u8| char::from_digit(nibble.into(), 16).map_or(b'0', |digit| digit as u8);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(other >> 4), digit(other & 15)]);
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// A text as a JSON string.
pub(crate) fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_string(text.as_bytes(), &mut out);
    out
}

/// Appends a member's comma (or the row's opening brace), key and colon.
pub(crate) fn write_key(quoted_key: &[u8], first: bool, out: &mut Vec<u8>) {
    out.push(if first { b'{' } else { b',' });
    out.extend_from_slice(quoted_key);
    out.push(b':');
}

/// Ends a row of so many members.
pub(crate) fn write_end(members: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(if members == 0 { b"{}" } else { b"}" });
}

/// What a text stands for in a column, where a format has nothing but texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Itself.
    Text,
    /// Itself, unless it is empty: then nothing.
    Scalar,
    /// Milliseconds if it is digits; otherwise as [`Self::Scalar`].
    Time,
    /// A JSON value, if it is one.
    Json,
}

impl Meaning {
    pub(crate) fn of(column_type: &ColumnType) -> Self {
        match column_type {
            ColumnType::String => Self::Text,
            ColumnType::Double | ColumnType::Boolean | ColumnType::Date => Self::Scalar,
            ColumnType::Timestamp => Self::Time,
            ColumnType::Money | ColumnType::Json | ColumnType::Struct(_) | ColumnType::Array(_) => Self::Json,
        }
    }

    /// Whether an empty cell is null.
    pub(crate) fn empty_is_null(self) -> bool {
        self != Self::Text
    }
}

/// Appends a text that stands for a JSON value: as that value, or as a string if it is none. The text is in a column,
/// so it nests one level deeper than the row; if it nests too deep, the lanes say so.
pub(crate) fn write_json_or_string(text: &[u8], out: &mut Vec<u8>) {
    let mut scanner = Scanner::new(text);
    scanner.whitespace();
    let found = scanner.value(2).and_then(|_| scanner.finish());
    if matches!(found, Ok(()) | Err(Fault::Deep)) { out.extend_from_slice(text) } else { write_string(text, out) }
}

/// Appends the value that a cell stands for.
pub(crate) fn write_cell(meaning: Meaning, cell: &[u8], out: &mut Vec<u8>) {
    match meaning {
        Meaning::Text | Meaning::Scalar => write_string(cell, out),
        Meaning::Json => write_json_or_string(cell, out),
        Meaning::Time => match integer(cell) {
            Some((sign, digits)) => {
                out.extend_from_slice(sign);
                out.extend_from_slice(digits);
            }
            None => write_string(cell, out),
        },
    }
}

/// A cell of digits as sign and digits, without the zeros in front, which JSON does not allow.
fn integer(cell: &[u8]) -> Option<(&[u8], &[u8])> {
    let digits_at = usize::from(cell.first() == Some(&b'-'));
    let (sign, digits) = cell.split_at_checked(digits_at)?;
    let (last, _) = digits.split_last()?;
    if !last.is_ascii_digit() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let zeros = digits.iter().take(digits.len() - 1).take_while(|digit| **digit == b'0').count();
    Some((sign, digits.get(zeros..)?))
}

#[cfg(test)]
mod tests {
    use std::io;

    use bytes::Bytes;
    use delivery::schema::Column;

    use super::*;
    use crate::blocks::{Block, BlockReader, Piece};
    use crate::csv::CsvRows;
    use crate::input::{BlockSource, Chunk, Objects};
    use crate::json::JsonRows;

    const ROW_BYTES_MAX: usize = 100_000;

    /// Repeats a text between a beginning and an end, up to so many bytes.
    struct Repeated {
        begin: Option<Bytes>,
        text: Bytes,
        left: usize,
        end: Option<Bytes>,
    }

    impl BlockSource for Repeated {
        fn next_block(&mut self) -> io::Result<Option<Chunk>> {
            if let Some(begin) = self.begin.take() {
                return Ok(Some(Chunk::Bytes(begin)));
            }
            self.left = self.left.saturating_sub(self.text.len());
            Ok(if self.left > 0 { Some(self.text.clone()) } else { self.end.take() }.map(Chunk::Bytes))
        }
    }

    /// The most bytes that a block holds, and the rows of all.
    fn largest(reader: &mut dyn BlockReader) -> (usize, usize) {
        let (mut bytes, mut rows) = (0, 0);
        while let Some(Block { pieces, .. }) = reader.next().unwrap() {
            for piece in pieces {
                let Piece::Rows(texts) = piece else { panic!("{piece:?}") };
                bytes = bytes.max(texts.text.len() + texts.rows.len() * size_of::<Row>());
                rows += texts.rows.len();
            }
        }
        (bytes, rows)
    }

    #[test]
    fn blocks_stay_small_however_long_the_output_and_its_rows_are() {
        let column = Column {
            source: "a".to_owned(),
            name: "a".to_owned(),
            column_type: ColumnType::String,
            source_type: "STRING".to_owned(),
            key: false,
            description: None,
        };
        for length in [0, 1, 300, 90_000, 101_000, 3_000_000] {
            let rows = 1 + 2_000_000 / (length + 20);
            let source = |begin: &'static str, row: String, end: &'static str| Repeated {
                begin: Some(begin.into()),
                text: row.repeat(rows).into(),
                left: 40 << 20,
                end: Some(end.into()),
            };
            let bound = BLOCK_BYTES + 2 * ROW_BYTES_MAX + BLOCK_ROWS * size_of::<Row>();
            let mut json = source("[", format!("{{\"a\":\"{}\"}},", "x".repeat(length)), "{}]");
            let (bytes, found) = largest(&mut JsonRows::new(Objects::new(&mut json), ROW_BYTES_MAX));
            assert!(bytes <= bound && found >= 10, "{bytes} bytes and {found} rows of JSON");
            let mut csv = source("a,b\n", format!("\"{}\",1\n", "\n".repeat(length)), "x,1");
            let columns = [column.clone()];
            let (bytes, found) = largest(&mut CsvRows::new(Objects::new(&mut csv), &columns, ROW_BYTES_MAX));
            assert!(bytes <= bound && found >= 10, "{bytes} bytes and {found} rows of CSV");
        }
    }

    #[test]
    fn strings_are_written_as_serde_json_reads_them() {
        for text in ["", "plain", "\"\\/", "\u{0}\u{1}\u{1f}\u{7f}", "a\r\n\tb", "é日😀\u{2028}"] {
            let mut out = Vec::new();
            write_string(text.as_bytes(), &mut out);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn cells_of_digits_are_milliseconds() {
        let written = |cell: &str| {
            let mut out = Vec::new();
            write_cell(Meaning::Time, cell.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        };
        for (cell, expected) in [
            ("0", "0"),
            ("-1", "-1"),
            ("1788242850123", "1788242850123"),
            ("007", "7"),
            ("-000", "-0"),
            ("-", "\"-\""),
            ("+1", "\"+1\""),
            ("1.0", "\"1.0\""),
            ("2026-09-01", "\"2026-09-01\""),
        ] {
            assert_eq!(written(cell), expected);
        }
    }

    #[test]
    fn texts_that_are_no_json_become_strings() {
        let written = |cell: &str| {
            let mut out = Vec::new();
            write_cell(Meaning::Json, cell.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        };
        for (cell, expected) in [
            (" {\"a\": 1} ", " {\"a\": 1} "),
            ("null", "null"),
            ("\"x\"", "\"x\""),
            ("x", "\"x\""),
            ("{\"a\":1", r#""{\"a\":1""#),
            ("1 2", "\"1 2\""),
        ] {
            assert_eq!(written(cell), expected);
        }
        let deep = "[".repeat(64) + &"]".repeat(64);
        assert_eq!(written(&deep), deep, "too deep is said of the row");
    }
}
