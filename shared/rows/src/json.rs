//! Finds the rows of a JSON document while it streams by: the elements of the array that it is, or of the array in its
//! member `data`. Knows brackets, strings and commas; what a row is made of is checked where it is parsed.
//!
//! Nothing but the row at the reader's place is held. Other members are passed over.

use std::mem;

use bytes::{Buf, Bytes};

use crate::blocks::{Block, BlockReader};
use crate::input::{BYTE_ORDER_MARK, Chunk, InputError, Objects};
use crate::reject::Reason;
use crate::scan::{Kind, Scanner};
use crate::text::key;
use crate::texts::RowTexts;

/// The member of an envelope that holds the rows.
const ROWS_KEY: &[u8] = b"data";

/// No key that means `data` is longer, however it is escaped.
const KEY_BYTES_MAX: usize = 6 * ROWS_KEY.len() + 2;

const NOT_JSON: &str = "is neither a JSON array of rows nor a JSON object with such an array";
const NO_ROWS: &str = "has no member data at its top level";
const ROWS_NOT_ARRAY: &str = "has a member data that is not an array";
const ROWS_TWICE: &str = "has two members data";
const BROKEN_ARRAY: &str = "has something else than values and single commas in its array of rows";
const BROKEN_OBJECT: &str = "has something else than keys, values and single commas at its top level";
const GOES_ON: &str = "goes on behind the end of its JSON";

pub(crate) struct JsonRows<'a> {
    source: Objects<'a>,
    row_bytes_max: usize,
    /// What is left of the last chunk.
    rest: Bytes,
    place: Place,
    /// Whether the document is an object around the rows.
    envelope: bool,
    /// Whether its rows were found.
    found: bool,
    /// The key at the reader's place, with its quotes.
    key: Vec<u8>,
    /// The row at the reader's place is over the limit.
    oversize: bool,
    /// Rows so far.
    rows: u64,
    done: bool,
}

/// Where in the document the reader is.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Behind nothing, or so many bytes of a byte order mark.
    Start(usize),
    /// Before a key, or the end of the envelope.
    Member {
        first: bool,
    },
    Key(Walk),
    Colon,
    /// Before the value of a member.
    Value,
    Skipped(Walk),
    AfterMember,
    /// Before a row, or the end of the array.
    Element {
        first: bool,
    },
    Row(Walk),
    AfterRow,
    /// Behind the document.
    End,
}

impl<'a> JsonRows<'a> {
    pub(crate) fn new(source: Objects<'a>, row_bytes_max: usize) -> Self {
        Self {
            source,
            row_bytes_max,
            rest: Bytes::new(),
            place: Place::Start(0),
            envelope: false,
            found: false,
            key: Vec::new(),
            oversize: false,
            rows: 0,
            done: false,
        }
    }

    /// Goes on by one step: white space, one sign, or as much of a value as there is.
    fn step(&mut self, rows: &mut RowTexts) -> Result<(), &'static str> {
        let Some(&byte) = self.rest.first() else { return Ok(()) };
        if let Place::Key(walk) | Place::Skipped(walk) | Place::Row(walk) = &mut self.place {
            let mut next = *walk;
            let (passed, ended) = next.pass(&self.rest);
            *walk = next;
            self.pass(passed, ended, rows);
            return Ok(());
        }
        let white = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        if white && !matches!(self.place, Place::Start(1 | 2)) {
            let passed = self.rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
            self.rest.advance(passed);
            if let Place::Start(_) = self.place {
                self.place = Place::Start(BYTE_ORDER_MARK.len());
            }
            return Ok(());
        }
        self.place = match (self.place, byte) {
            (Place::Start(passed), _) if BYTE_ORDER_MARK.get(passed) == Some(&byte) => Place::Start(passed + 1),
            (Place::Start(0 | 3), b'[') => {
                self.found = true;
                Place::Element { first: true }
            }
            (Place::Start(0 | 3), b'{') => {
                self.envelope = true;
                Place::Member { first: true }
            }
            (Place::Start(_), _) => return Err(NOT_JSON),
            (Place::Member { first: true } | Place::AfterMember, b'}') if self.found => Place::End,
            (Place::Member { first: true } | Place::AfterMember, b'}') => return Err(NO_ROWS),
            (Place::AfterMember, b',') => Place::Member { first: false },
            (Place::Member { .. }, b'"') => {
                self.key.clear();
                self.place = Place::Key(Walk::begin(byte).ok_or(BROKEN_OBJECT)?);
                return Ok(());
            }
            (Place::Colon, b':') => Place::Value,
            (Place::Value, b'[') if self.key_is_rows() => {
                if mem::replace(&mut self.found, true) {
                    return Err(ROWS_TWICE);
                }
                Place::Element { first: true }
            }
            (Place::Value, _) if self.key_is_rows() => return Err(ROWS_NOT_ARRAY),
            (Place::Value, _) => {
                self.place = Place::Skipped(Walk::begin(byte).ok_or(BROKEN_OBJECT)?);
                return Ok(());
            }
            (Place::Element { first: true } | Place::AfterRow, b']') => {
                if self.envelope {
                    Place::AfterMember
                } else {
                    Place::End
                }
            }
            (Place::AfterRow, b',') => Place::Element { first: false },
            (Place::Element { .. }, _) => {
                self.oversize = false;
                self.place = Place::Row(Walk::begin(byte).ok_or(BROKEN_ARRAY)?);
                return Ok(());
            }
            (Place::AfterRow, _) => return Err(BROKEN_ARRAY),
            (Place::End, _) => return Err(GOES_ON),
            (
                Place::Member { .. }
                | Place::Key(_)
                | Place::Colon
                | Place::Skipped(_)
                | Place::AfterMember
                | Place::Row(_),
                _,
            ) => return Err(BROKEN_OBJECT),
        };
        self.rest.advance(1);
        Ok(())
    }

    /// Takes so many bytes of the value at the reader's place.
    fn pass(&mut self, passed: usize, ended: bool, rows: &mut RowTexts) {
        let bytes = self.rest.split_to(passed.min(self.rest.len()));
        if let Place::Key(_) = self.place {
            let room = (KEY_BYTES_MAX + 1).saturating_sub(self.key.len()).min(bytes.len());
            self.key.extend_from_slice(bytes.get(..room).unwrap_or_default());
            if ended {
                self.place = Place::Colon;
            }
        } else if let Place::Row(_) = self.place {
            self.pass_row(&bytes, ended, rows);
        } else if ended {
            self.place = Place::AfterMember;
        }
    }

    fn pass_row(&mut self, bytes: &[u8], ended: bool, rows: &mut RowTexts) {
        if !self.oversize {
            rows.text().extend_from_slice(bytes);
            self.oversize = rows.row_bytes() > self.row_bytes_max;
            if self.oversize {
                rows.drop_row();
            }
        }
        if !ended {
            return;
        }
        self.rows += 1;
        self.place = Place::AfterRow;
        if self.oversize {
            rows.refuse_row(self.rows, Reason::TooLarge { limit_bytes: self.row_bytes_max });
        } else {
            rows.end_row(self.rows);
        }
    }

    fn key_is_rows(&self) -> bool {
        let mut scanner = Scanner::new(&self.key);
        match scanner.string() {
            Ok(slot) => key(slot.text(&self.key), slot.kind).0.as_ref() == ROWS_KEY,
            Err(_) => false,
        }
    }

    /// Ends an object, which must be behind its document.
    fn end_object(&mut self) -> Result<(), InputError> {
        let object = self.source.object();
        let place = match mem::replace(&mut self.place, Place::Start(0)) {
            Place::End => None,
            Place::Start(_) => Some("before its JSON begins".to_owned()),
            Place::Row(_) => Some(format!("in the middle of row {}", self.rows + 1)),
            Place::Element { .. } | Place::AfterRow => Some(format!("before its array does, behind row {}", self.rows)),
            Place::Member { .. }
            | Place::Key(_)
            | Place::Colon
            | Place::Value
            | Place::Skipped(_)
            | Place::AfterMember => Some("before its JSON object does".to_owned()),
        };
        self.envelope = false;
        self.found = false;
        place.map_or(Ok(()), |place| Err(InputError::truncated(object, place)))
    }
}

impl BlockReader for JsonRows<'_> {
    fn next(&mut self) -> Result<Option<Block>, InputError> {
        let mut rows = RowTexts::default();
        // A row is never cut: the block ends between two rows.
        while !self.done && (matches!(self.place, Place::Row(_)) || !rows.is_full()) {
            if self.rest.is_empty() {
                match self.source.next()? {
                    Some(Chunk::Bytes(bytes)) => self.rest = bytes,
                    Some(Chunk::ObjectEnd) => self.end_object()?,
                    None => {
                        self.done = true;
                        if !matches!(self.place, Place::Start(0)) {
                            self.end_object()?;
                        }
                    }
                }
            } else if let Err(fault) = self.step(&mut rows) {
                return Err(InputError::invalid(self.source.object(), fault));
            }
        }
        Ok(rows.into())
    }
}

/// The way through one value.
#[derive(Debug, Clone, Copy)]
struct Walk {
    kind: Kind,
    depth: u64,
    text: Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Outside,
    Inside,
    /// Behind a backslash.
    Escaped,
}

impl Walk {
    /// A walk that begins with this byte, or `None` if no value, right or wrong, does.
    fn begin(byte: u8) -> Option<Self> {
        let kind = match byte {
            b'{' | b'[' => Kind::Object,
            b'"' => Kind::Plain,
            b'}' | b']' | b',' | b':' => return None,
            _ => Kind::Missing,
        };
        Some(Self { kind, depth: 0, text: Text::Outside })
    }

    /// Walks on: how many bytes belong to the value, and whether it ends with them.
    fn pass(&mut self, bytes: &[u8]) -> (usize, bool) {
        if self.kind == Kind::Missing {
            // A number, a word or nonsense: up to what cannot be in one.
            let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n');
            return bytes.iter().position(ends).map_or((bytes.len(), false), |at| (at, true));
        }
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match self.text {
                Text::Escaped => {
                    self.text = Text::Inside;
                    at += 1;
                }
                Text::Inside => match memchr::memchr2(b'"', b'\\', rest) {
                    None => return (bytes.len(), false),
                    Some(found) => {
                        at += found + 1;
                        let quote = rest.get(found) == Some(&b'"');
                        self.text = if quote { Text::Outside } else { Text::Escaped };
                        if quote && self.depth == 0 {
                            return (at, true);
                        }
                    }
                },
                Text::Outside => {
                    let sign = |byte: &u8| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']');
                    let Some(found) = rest.iter().position(sign) else { return (bytes.len(), false) };
                    at += found + 1;
                    match rest.get(found) {
                        Some(b'"') => self.text = Text::Inside,
                        Some(b'{' | b'[') => self.depth += 1,
                        _ => {
                            self.depth = self.depth.saturating_sub(1);
                            if self.depth == 0 {
                                return (at, true);
                            }
                        }
                    }
                }
            }
        }
        (bytes.len(), false)
    }
}
