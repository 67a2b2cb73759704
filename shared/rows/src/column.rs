//! Columns under construction: values are cast by the policy of their column's type and kept until a batch is
//! encoded. What a rejected row began is taken back.
//!
//! Knows the cast policy. Does not know how fields are found, Parquet, files or threads.

use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};
use delivery::schema::ColumnType;

use crate::cast::{
    EXPECTS_AMOUNT, EXPECTS_ARRAY, EXPECTS_BOOLEAN, EXPECTS_CODE, EXPECTS_DATE, EXPECTS_DOUBLE, EXPECTS_TIMESTAMP,
    Misfit, boolean, date, instant, millis, with_string,
};
use crate::chunk::Values;
use crate::number::{AMOUNT_PRECISION, AMOUNT_SCALE, amount, double};
use crate::row::{Member, StructColumn};
use crate::scan::{Fault, Kind, Scanner, Slot, is_number};
use crate::text::{compact, key, unescape};

/// One column under construction.
#[derive(Debug)]
pub(crate) enum Column {
    Text(TextColumn),
    Double(Slots<f64>),
    Boolean(Slots<bool>),
    Date(Slots<i32>),
    Timestamp(Slots<i64>),
    Amount(Slots<i128>),
    Struct(Box<StructColumn>),
    Array(Box<ArrayColumn>),
}

/// Which values a text column takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextRule {
    /// Strings as they are, everything else as JSON text.
    Any,
    /// Everything as JSON text.
    Json,
    /// Strings only: a currency code.
    StringOnly,
}

/// Values that may be null: one flag a value.
#[derive(Debug, Default)]
pub(crate) struct Slots<T> {
    values: Vec<T>,
    valid: Vec<bool>,
}

impl<T: Default> Slots<T> {
    /// Appends what was read of a value: null for null, a misfit if nothing could be read.
    #[inline]
    fn append(&mut self, slot: Slot, read: Option<T>, expected: &'static str) -> Result<(), Misfit> {
        if read.is_none() && !slot.is_null() {
            return Err(Misfit::Value(expected));
        }
        self.push(read);
        Ok(())
    }

    #[inline]
    fn push(&mut self, value: Option<T>) {
        self.valid.push(value.is_some());
        self.values.push(value.unwrap_or_default());
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.valid.truncate(rows);
    }
}

#[derive(Debug)]
pub(crate) struct TextColumn {
    rule: TextRule,
    bytes: Vec<u8>,
    /// Where each value ends in `bytes`, behind a zero.
    offsets: Vec<i32>,
    valid: Vec<bool>,
}

#[derive(Debug)]
pub(crate) struct ArrayColumn {
    element: Column,
    offsets: Vec<i32>,
    valid: Vec<bool>,
}

impl Column {
    pub(crate) fn new(column_type: &ColumnType) -> Self {
        match column_type {
            ColumnType::String => Self::text(TextRule::Any),
            ColumnType::Json => Self::text(TextRule::Json),
            ColumnType::Double => Self::Double(Slots::default()),
            ColumnType::Boolean => Self::Boolean(Slots::default()),
            ColumnType::Date => Self::Date(Slots::default()),
            ColumnType::Timestamp => Self::Timestamp(Slots::default()),
            ColumnType::Money => {
                let amount = ("amount", "amount", Self::Amount(Slots::default()));
                let code = ("currencyCode", "currency_code", Self::text(TextRule::StringOnly));
                Self::Struct(Box::new(StructColumn::new([amount, code].into_iter(), true)))
            }
            ColumnType::Struct(fields) => {
                let members = fields.iter().map(|f| (f.source.as_str(), f.name.as_str(), Self::new(&f.column_type)));
                Self::Struct(Box::new(StructColumn::new(members, false)))
            }
            ColumnType::Array(element) => {
                Self::Array(Box::new(ArrayColumn { element: Self::new(element), offsets: vec![0], valid: Vec::new() }))
            }
        }
    }

    fn text(rule: TextRule) -> Self {
        Self::Text(TextColumn { rule, bytes: Vec::new(), offsets: vec![0], valid: Vec::new() })
    }

    /// Casts a value that was found in `line` and appends it.
    #[inline]
    pub(crate) fn append(&mut self, slot: Slot, line: &[u8]) -> Result<(), Misfit> {
        match self {
            Self::Text(column) => column.append(slot, line),
            Self::Double(slots) => {
                let read = if slot.kind == Kind::Number {
                    double(slot.text(line))
                } else {
                    with_string(slot, line, |text| is_number(text).then(|| double(text)).flatten())
                };
                slots.append(slot, read, EXPECTS_DOUBLE)
            }
            Self::Boolean(slots) => {
                let read = match slot.kind {
                    Kind::True => Some(true),
                    Kind::False => Some(false),
                    Kind::Missing
                    | Kind::Null
                    | Kind::Number
                    | Kind::Plain
                    | Kind::Escaped
                    | Kind::Object
                    | Kind::Array => with_string(slot, line, boolean),
                };
                slots.append(slot, read, EXPECTS_BOOLEAN)
            }
            Self::Date(slots) => slots.append(slot, with_string(slot, line, date), EXPECTS_DATE),
            Self::Timestamp(slots) => {
                let read =
                    if slot.kind == Kind::Number { millis(slot.text(line)) } else { with_string(slot, line, instant) };
                slots.append(slot, read, EXPECTS_TIMESTAMP)
            }
            Self::Amount(slots) => {
                let read = if slot.kind == Kind::Number {
                    amount(slot.text(line))
                } else {
                    with_string(slot, line, |text| is_number(text).then(|| amount(text)).flatten())
                };
                // An amount that is null or missing is no amount; that the money is null is said elsewhere.
                slots.push(Some(read.ok_or(Misfit::Value(EXPECTS_AMOUNT))?));
                Ok(())
            }
            Self::Struct(column) => column.append(slot, line),
            Self::Array(column) => column.append(slot, line),
        }
    }

    pub(crate) fn append_null(&mut self) {
        match self {
            Self::Text(column) => column.push_null(),
            Self::Double(slots) => slots.push(None),
            Self::Boolean(slots) => slots.push(None),
            Self::Date(slots) => slots.push(None),
            Self::Timestamp(slots) => slots.push(None),
            Self::Amount(slots) => slots.push(None),
            Self::Struct(column) => column.append_null(),
            Self::Array(column) => column.append_null(),
        }
    }

    /// Takes back everything behind the first `rows` values.
    pub(crate) fn truncate(&mut self, rows: usize) {
        match self {
            Self::Text(column) => {
                column.valid.truncate(rows);
                column.offsets.truncate(rows + 1);
                column.bytes.truncate(end_of(&column.offsets));
            }
            Self::Double(slots) => slots.truncate(rows),
            Self::Boolean(slots) => slots.truncate(rows),
            Self::Date(slots) => slots.truncate(rows),
            Self::Timestamp(slots) => slots.truncate(rows),
            Self::Amount(slots) => slots.truncate(rows),
            Self::Struct(column) => column.truncate(rows),
            Self::Array(column) => {
                column.valid.truncate(rows);
                column.offsets.truncate(rows + 1);
                column.element.truncate(end_of(&column.offsets));
            }
        }
    }

    /// The column's type in Arrow's words.
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::Text(_) => DataType::Utf8,
            Self::Double(_) => DataType::Float64,
            Self::Boolean(_) => DataType::Boolean,
            Self::Date(_) => DataType::Date32,
            Self::Timestamp(_) => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
            Self::Amount(_) => DataType::Decimal128(AMOUNT_PRECISION, AMOUNT_SCALE),
            Self::Struct(column) => DataType::Struct(column.fields()),
            Self::Array(column) => DataType::List(Arc::new(column.element_field())),
        }
    }

    /// What encodes the column.
    pub(crate) fn parts(&self) -> Parts<'_> {
        match self {
            Self::Text(column) => Parts::Leaf {
                values: Values::Text {
                    bytes: &column.bytes,
                    offsets: &column.offsets,
                    bounded: column.rule != TextRule::Json,
                },
                valid: &column.valid,
            },
            Self::Double(slots) => Parts::Leaf { values: Values::Double(&slots.values), valid: &slots.valid },
            Self::Boolean(slots) => Parts::Leaf { values: Values::Boolean(&slots.values), valid: &slots.valid },
            Self::Date(slots) => Parts::Leaf { values: Values::Date(&slots.values), valid: &slots.valid },
            Self::Timestamp(slots) => Parts::Leaf { values: Values::Timestamp(&slots.values), valid: &slots.valid },
            Self::Amount(slots) => Parts::Leaf { values: Values::Amount(&slots.values), valid: &slots.valid },
            Self::Struct(column) => Parts::Struct { members: &column.members, valid: &column.valid },
            Self::Array(column) => {
                Parts::Array { element: &column.element, offsets: &column.offsets, valid: &column.valid }
            }
        }
    }

    /// A column that repeats one text.
    pub(crate) fn repeat_text(text: &str) -> Repeat<'_> {
        Repeat { column: Self::text(TextRule::Any), value: Repeated::Text(text) }
    }

    /// A column that repeats one instant.
    pub(crate) fn repeat_micros<'a>(micros: i64) -> Repeat<'a> {
        Repeat { column: Self::Timestamp(Slots::default()), value: Repeated::Micros(micros) }
    }
}

/// What a column is made of.
pub(crate) enum Parts<'a> {
    Leaf { values: Values<'a>, valid: &'a [bool] },
    Struct { members: &'a [Member], valid: &'a [bool] },
    Array { element: &'a Column, offsets: &'a [i32], valid: &'a [bool] },
}

/// A column with the same value in every row.
#[derive(Debug)]
pub(crate) struct Repeat<'a> {
    column: Column,
    value: Repeated<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Repeated<'a> {
    Text(&'a str),
    Micros(i64),
}

impl Repeat<'_> {
    /// The column with so many rows.
    pub(crate) fn rows(&mut self, rows: usize) -> &Column {
        match (&mut self.column, self.value) {
            (Column::Text(column), Repeated::Text(text)) => {
                while column.valid.len() < rows {
                    column.bytes.extend_from_slice(text.as_bytes());
                    column.push_end();
                }
            }
            (Column::Timestamp(slots), Repeated::Micros(micros)) => {
                while slots.valid.len() < rows {
                    slots.push(Some(micros));
                }
            }
            _ => {}
        }
        self.column.truncate(rows);
        &self.column
    }
}

fn end_of(offsets: &[i32]) -> usize {
    offsets.last().and_then(|end| usize::try_from(*end).ok()).unwrap_or(0)
}

impl TextColumn {
    #[inline]
    fn append(&mut self, slot: Slot, line: &[u8]) -> Result<(), Misfit> {
        let text = slot.text(line);
        match (slot.kind, self.rule) {
            (Kind::Missing | Kind::Null, _) => {
                self.push_null();
                return Ok(());
            }
            (Kind::Plain, TextRule::Any | TextRule::StringOnly) => self.bytes.extend_from_slice(text),
            (Kind::Escaped, TextRule::Any | TextRule::StringOnly) => unescape(text, &mut self.bytes)?,
            (_, TextRule::StringOnly) => return Err(Misfit::Value(EXPECTS_CODE)),
            (Kind::Plain | Kind::Escaped, TextRule::Json) => {
                if slot.kind == Kind::Escaped && !key(text, slot.kind).1 {
                    return Err(Misfit::Text);
                }
                self.bytes.push(b'"');
                self.bytes.extend_from_slice(text);
                self.bytes.push(b'"');
            }
            (Kind::True | Kind::False | Kind::Number, _) => self.bytes.extend_from_slice(text),
            (Kind::Object | Kind::Array, _) => compact(text, &mut self.bytes)?,
        }
        self.push_end();
        Ok(())
    }

    /// Ends the value whose bytes were appended. A batch is written long before its text reaches 2 GiB.
    #[inline]
    fn push_end(&mut self) {
        self.offsets.push(i32::try_from(self.bytes.len()).unwrap_or(i32::MAX));
        self.valid.push(true);
    }

    fn push_null(&mut self) {
        self.offsets.push(self.offsets.last().copied().unwrap_or(0));
        self.valid.push(false);
    }
}

impl ArrayColumn {
    fn element_field(&self) -> Field {
        Field::new("element", self.element.data_type(), true)
    }

    fn append(&mut self, slot: Slot, line: &[u8]) -> Result<(), Misfit> {
        if slot.is_null() {
            self.append_null();
            return Ok(());
        }
        if slot.kind != Kind::Array {
            return Err(Misfit::Value(EXPECTS_ARRAY));
        }
        let text = slot.text(line);
        let mut scanner = Scanner::new(text);
        scanner.open(b'[', 1)?;
        let mut length = 0;
        while scanner.next_element(length == 0)? {
            let found = self.element.find(&mut scanner, 1)?;
            self.element.append(found, text)?;
            length += 1;
        }
        self.offsets.push(self.offsets.last().copied().unwrap_or(0) + length);
        self.valid.push(true);
        Ok(())
    }

    fn append_null(&mut self) {
        self.offsets.push(self.offsets.last().copied().unwrap_or(0));
        self.valid.push(false);
    }
}

impl Column {
    /// Reads the next value; the members of a struct are found on the way.
    #[inline]
    pub(crate) fn find(&mut self, scanner: &mut Scanner<'_>, depth: usize) -> Result<Slot, Fault> {
        if let Self::Struct(column) = self
            && scanner.peek() == Some(b'{')
        {
            return column.find(scanner, depth);
        }
        scanner.value(depth)
    }
}
