//! Rows that did not pass: what is said about each, and the rejects file.

use std::io::{self, Write};

use delivery::failure::FailureCode;
use delivery::schema::{Column, DEPTH_MAX};
use delivery::staged::Rejection;

use crate::cast::Misfit;
use crate::row::RowFault;
use crate::scan::Fault;

/// Why one line was rejected; small, because a block can be full of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Row(RowFault),
    TooLarge {
        limit_bytes: usize,
    },
    /// A CSV record and its header differ in length.
    Cells {
        found: u64,
        expected: u64,
    },
}

/// A rejected row: its line in its block, or its place in the output if its format has no lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rejected {
    pub(crate) line: u64,
    pub(crate) reason: Reason,
}

impl Rejected {
    /// Puts the rejection into words that hold no value and no private name.
    pub(crate) fn describe(self, lines_before: u64, columns: &[Column]) -> Rejection {
        let mut column = None;
        let (code, reason) = match self.reason {
            Reason::TooLarge { limit_bytes } => {
                (FailureCode::RowTooLarge, format!("the row is larger than {limit_bytes} bytes"))
            }
            Reason::Cells { found, expected } => {
                (FailureCode::RowCellsMismatch, format!("the record has {found} cells and its header has {expected}"))
            }
            Reason::Row(RowFault::Json(Fault::Deep)) => {
                (FailureCode::RowTooDeep, format!("the row is nested deeper than {DEPTH_MAX} levels"))
            }
            Reason::Row(RowFault::Json(Fault::Syntax | Fault::End)) => {
                (FailureCode::RowNotJson, "the row is not JSON".to_owned())
            }
            Reason::Row(RowFault::Encoding) => (FailureCode::RowNotJson, "the row is not UTF-8".to_owned()),
            Reason::Row(RowFault::NotObject) => (FailureCode::RowNotObject, "the row is not a JSON object".to_owned()),
            Reason::Row(RowFault::Column(index, misfit)) => {
                let name = columns.get(index).map_or("", |column| column.name.as_str());
                column = Some(name.to_owned());
                match misfit {
                    Misfit::Value(expected) => {
                        (FailureCode::ValueNotCastable, format!("column {name}: the value is not {expected}"))
                    }
                    Misfit::Text => (
                        FailureCode::TextInvalid,
                        format!("column {name}: the text has a NUL, a lone surrogate or bytes that are not UTF-8"),
                    ),
                }
            }
        };
        Rejection { line: lines_before + self.line, column, code, reason }
    }
}

/// Writes one line of the rejects file: `{"line":1,"column":"price","code":"VALUE_NOT_CASTABLE","reason":"…"}`.
pub(crate) fn write_line(rejection: &Rejection, out: &mut dyn Write) -> io::Result<()> {
    let line = serde_json::json!({
        "line": rejection.line,
        "column": rejection.column,
        "code": rejection.code.as_str(),
        "reason": rejection.reason,
    });
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}
