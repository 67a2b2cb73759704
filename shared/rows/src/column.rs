//! Columns under construction: a tree per public schema that finds its fields in a line, casts them by the policy of
//! their types and keeps the values until a batch is taken. A row that does not fit is taken back whole.
//!
//! Knows the cast policy. Does not know Parquet, files or threads.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, TimeUnit};
use delivery::schema::{ColumnType, is_private_name};
use delivery::timestamp::{Timestamp, parse_date};

use crate::chunk::Values;
use crate::number::{AMOUNT_PRECISION, AMOUNT_SCALE, amount, double};
use crate::scan::{Fault, Kind, Scanner, Slot, is_number};
use crate::text::{Forbidden, compact, key, unescape};

/// Why a value is not in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It does not fit the cast policy; the text says what the type takes.
    Value(&'static str),
    /// Its text holds what may not leave.
    Text,
}

impl From<Forbidden> for Misfit {
    fn from(_: Forbidden) -> Self {
        Self::Text
    }
}

impl From<Fault> for Misfit {
    /// Values are cast after their grammar was checked, so this does not happen.
    fn from(_: Fault) -> Self {
        Self::Text
    }
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
struct Slots<T> {
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

/// A struct, a money amount, or a whole row.
#[derive(Debug)]
pub(crate) struct StructColumn {
    members: Vec<Member>,
    by_key: HashMap<Box<[u8]>, usize>,
    /// The keys in the order in which they came before, as they were written: a row usually repeats them.
    habit: Vec<Habit>,
    money: bool,
    valid: Vec<bool>,
}

/// One member of a struct, or one column of a row.
#[derive(Debug)]
pub(crate) struct Member {
    name: String,
    pub(crate) column: Column,
    /// Where the value was found in the line that is being read.
    slot: Slot,
    /// Where in the habit the key stood last.
    place: usize,
}

/// What was written between two values: comma, white space, key and colon. The same bytes read the same way again.
#[derive(Debug)]
struct Habit {
    written: Vec<u8>,
    first: bool,
    target: Option<usize>,
}

/// How much habit is kept for one object; longer ones are read the long way.
const HABIT_KEYS_MAX: usize = 4_096;
const HABIT_BYTES_MAX: usize = 256;

#[derive(Debug)]
pub(crate) struct ArrayColumn {
    element: Column,
    offsets: Vec<i32>,
    valid: Vec<bool>,
}

/// One column under construction.
#[derive(Debug)]
pub(crate) enum Column {
    Text(TextColumn),
    Double(DoubleColumn),
    Boolean(BooleanColumn),
    Date(DateColumn),
    Timestamp(TimestampColumn),
    Amount(AmountColumn),
    Struct(Box<StructColumn>),
    Array(Box<ArrayColumn>),
}

#[derive(Debug, Default)]
pub(crate) struct DoubleColumn(Slots<f64>);
#[derive(Debug, Default)]
pub(crate) struct BooleanColumn(Slots<bool>);
#[derive(Debug, Default)]
pub(crate) struct DateColumn(Slots<i32>);
#[derive(Debug, Default)]
pub(crate) struct TimestampColumn(Slots<i64>);
#[derive(Debug, Default)]
pub(crate) struct AmountColumn(Slots<i128>);

const EXPECTS_DOUBLE: &str = "a number that a double holds without loss, or a string that is exactly such a number";
const EXPECTS_BOOLEAN: &str = "true or false";
const EXPECTS_DATE: &str = "a date as YYYY-MM-DD, or an RFC 3339 time at midnight UTC";
const EXPECTS_TIMESTAMP: &str = "an RFC 3339 time, or whole milliseconds since 1970, within the years 1 to 9999";
const EXPECTS_AMOUNT: &str = "an amount with at most 6 decimals and 32 digits before them";
const EXPECTS_MONEY: &str = "an object with an amount and a currencyCode";
const EXPECTS_CODE: &str = "a currencyCode that is a string";
const EXPECTS_OBJECT: &str = "an object";
const EXPECTS_ARRAY: &str = "an array";

impl Column {
    pub(crate) fn new(column_type: &ColumnType) -> Self {
        match column_type {
            ColumnType::String => Self::text(TextRule::Any),
            ColumnType::Json => Self::text(TextRule::Json),
            ColumnType::Double => Self::Double(DoubleColumn::default()),
            ColumnType::Boolean => Self::Boolean(BooleanColumn::default()),
            ColumnType::Date => Self::Date(DateColumn::default()),
            ColumnType::Timestamp => Self::Timestamp(TimestampColumn::default()),
            ColumnType::Money => {
                let amount = ("amount", "amount", Self::Amount(AmountColumn::default()));
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
    fn append(&mut self, slot: Slot, line: &[u8]) -> Result<(), Misfit> {
        match self {
            Self::Text(column) => column.append(slot, line),
            Self::Double(DoubleColumn(slots)) => {
                let read = if slot.kind == Kind::Number {
                    double(slot.text(line))
                } else {
                    with_string(slot, line, |text| is_number(text).then(|| double(text)).flatten())
                };
                slots.append(slot, read, EXPECTS_DOUBLE)
            }
            Self::Boolean(BooleanColumn(slots)) => {
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
            Self::Date(DateColumn(slots)) => slots.append(slot, with_string(slot, line, date), EXPECTS_DATE),
            Self::Timestamp(TimestampColumn(slots)) => {
                let read =
                    if slot.kind == Kind::Number { millis(slot.text(line)) } else { with_string(slot, line, instant) };
                slots.append(slot, read, EXPECTS_TIMESTAMP)
            }
            Self::Amount(AmountColumn(slots)) => {
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

    fn append_null(&mut self) {
        match self {
            Self::Text(column) => column.push_null(),
            Self::Double(DoubleColumn(slots)) => slots.push(None),
            Self::Boolean(BooleanColumn(slots)) => slots.push(None),
            Self::Date(DateColumn(slots)) => slots.push(None),
            Self::Timestamp(TimestampColumn(slots)) => slots.push(None),
            Self::Amount(AmountColumn(slots)) => slots.push(None),
            Self::Struct(column) => column.append_null(),
            Self::Array(column) => column.append_null(),
        }
    }

    /// Takes back everything behind the first `rows` values.
    fn truncate(&mut self, rows: usize) {
        match self {
            Self::Text(column) => {
                column.valid.truncate(rows);
                column.offsets.truncate(rows + 1);
                column.bytes.truncate(end_of(&column.offsets));
            }
            Self::Double(DoubleColumn(slots)) => slots.truncate(rows),
            Self::Boolean(BooleanColumn(slots)) => slots.truncate(rows),
            Self::Date(DateColumn(slots)) => slots.truncate(rows),
            Self::Timestamp(TimestampColumn(slots)) => slots.truncate(rows),
            Self::Amount(AmountColumn(slots)) => slots.truncate(rows),
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
            Self::Double(DoubleColumn(slots)) => {
                Parts::Leaf { values: Values::Double(&slots.values), valid: &slots.valid }
            }
            Self::Boolean(BooleanColumn(slots)) => {
                Parts::Leaf { values: Values::Boolean(&slots.values), valid: &slots.valid }
            }
            Self::Date(DateColumn(slots)) => Parts::Leaf { values: Values::Date(&slots.values), valid: &slots.valid },
            Self::Timestamp(TimestampColumn(slots)) => {
                Parts::Leaf { values: Values::Timestamp(&slots.values), valid: &slots.valid }
            }
            Self::Amount(AmountColumn(slots)) => {
                Parts::Leaf { values: Values::Amount(&slots.values), valid: &slots.valid }
            }
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
        Repeat { column: Self::Timestamp(TimestampColumn::default()), value: Repeated::Micros(micros) }
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
            (Column::Timestamp(TimestampColumn(slots)), Repeated::Micros(micros)) => {
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

/// Reads a string's text, without its escapes. `None` for other values.
#[inline]
fn with_string<T>(slot: Slot, line: &[u8], read: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
    match slot.kind {
        Kind::Plain => read(slot.text(line)),
        Kind::Escaped => {
            let mut decoded = Vec::new();
            unescape(slot.text(line), &mut decoded).ok()?;
            read(&decoded)
        }
        Kind::Missing | Kind::Null | Kind::True | Kind::False | Kind::Number | Kind::Object | Kind::Array => None,
    }
}

fn boolean(text: &[u8]) -> Option<bool> {
    if text.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else if text.eq_ignore_ascii_case(b"false") {
        Some(false)
    } else {
        None
    }
}

/// A date, or a time that is exactly midnight in UTC and says so by an offset.
fn date(text: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(days) = parse_date(text) {
        return Some(days);
    }
    let (_, clock) = text.split_at_checked(10)?;
    let offset = clock.rfind(['Z', 'z', '+', '-'])?;
    // Digits that the timestamp would cut off have to be zeros here.
    let fraction = clock.get(..offset)?.split_once('.').map_or("", |(_, fraction)| fraction);
    if fraction.bytes().any(|digit| digit != b'0') {
        return None;
    }
    Timestamp::parse(text)?.midnight_days()
}

fn instant(text: &[u8]) -> Option<i64> {
    Timestamp::parse(std::str::from_utf8(text).ok()?).map(Timestamp::micros)
}

/// An integer of milliseconds; JSON numbers with a fraction or an exponent are none.
fn millis(literal: &[u8]) -> Option<i64> {
    let millis: i64 = std::str::from_utf8(literal).ok()?.parse().ok()?;
    Timestamp::from_millis(millis).map(Timestamp::micros)
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
    fn find(&mut self, scanner: &mut Scanner<'_>, depth: usize) -> Result<Slot, Fault> {
        if let Self::Struct(column) = self
            && scanner.peek() == Some(b'{')
        {
            return column.find(scanner, depth);
        }
        scanner.value(depth)
    }
}

impl StructColumn {
    /// Members as source key, name and column. Private keys are not taken, whoever asks.
    fn new<'a>(members: impl Iterator<Item = (&'a str, &'a str, Column)>, money: bool) -> Self {
        let mut by_key = HashMap::new();
        let members = members
            .enumerate()
            .map(|(index, (source, name, column))| {
                if !is_private_name(source) {
                    by_key.insert(source.as_bytes().into(), index);
                }
                Member { name: name.to_owned(), column, slot: Slot::MISSING, place: 0 }
            })
            .collect();
        Self { members, by_key, habit: Vec::new(), money, valid: Vec::new() }
    }

    fn fields(&self) -> Fields {
        self.members.iter().map(|member| Field::new(&member.name, member.column.data_type(), true)).collect()
    }

    /// Reads an object, checks its grammar, and notes where each member's last value is.
    fn find(&mut self, scanner: &mut Scanner<'_>, depth: usize) -> Result<Slot, Fault> {
        let start = scanner.position();
        scanner.open(b'{', depth)?;
        for member in &mut self.members {
            member.slot = Slot::MISSING;
        }
        let mut cursor = 0;
        let mut first = true;
        loop {
            let target = match self.habit.get(cursor) {
                Some(habit) if habit.first == first && scanner.take(&habit.written) => {
                    cursor += 1;
                    habit.target
                }
                _ => match self.learn(scanner, &mut cursor, first)? {
                    Some(target) => target,
                    None => return Ok(scanner.slot_since(Kind::Object, start)),
                },
            };
            match target.and_then(|index| self.members.get_mut(index)) {
                Some(member) => member.slot = member.column.find(scanner, depth + 1)?,
                None => {
                    scanner.value(depth + 1)?;
                }
            }
            first = false;
        }
    }

    /// Reads a key the long way, and keeps it as habit. `None` is the object's end, `Some(None)` a key that is not
    /// ours.
    #[expect(clippy::option_option, reason = "the end of an object is not a key")]
    fn learn(
        &mut self,
        scanner: &mut Scanner<'_>,
        cursor: &mut usize,
        first: bool,
    ) -> Result<Option<Option<usize>>, Fault> {
        let before = scanner.position();
        let Some(slot) = scanner.next_member(first)? else { return Ok(None) };
        let written = scanner.since(before);
        let (key, _) = key(slot.text(scanner.line()), slot.kind);
        let target = self.by_key.get(key.as_ref()).copied();
        let place = target.and_then(|index| self.members.get(index)).map(|member| member.place);
        if let Some(place) = place
            && self.habit.get(place).is_some_and(|habit| habit.target == target)
        {
            *cursor = place + 1;
            return Ok(Some(target));
        }
        if *cursor < HABIT_KEYS_MAX && written.len() <= HABIT_BYTES_MAX {
            let habit = Habit { written: written.to_vec(), first, target };
            match self.habit.get_mut(*cursor) {
                Some(old) => *old = habit,
                None => self.habit.push(habit),
            }
            if let Some(member) = target.and_then(|index| self.members.get_mut(index)) {
                member.place = *cursor;
            }
            *cursor += 1;
        }
        Ok(Some(target))
    }

    fn append(&mut self, slot: Slot, line: &[u8]) -> Result<(), Misfit> {
        if slot.is_null() {
            self.append_null();
            return Ok(());
        }
        if slot.kind != Kind::Object {
            return Err(Misfit::Value(if self.money { EXPECTS_MONEY } else { EXPECTS_OBJECT }));
        }
        for member in &mut self.members {
            member.column.append(member.slot, line)?;
        }
        self.valid.push(true);
        Ok(())
    }

    fn append_null(&mut self) {
        for member in &mut self.members {
            member.column.append_null();
        }
        self.valid.push(false);
    }

    fn truncate(&mut self, rows: usize) {
        self.valid.truncate(rows);
        for member in &mut self.members {
            member.column.truncate(rows);
        }
    }
}

/// Why a line is not a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowFault {
    Json(Fault),
    NotObject,
    /// The line is not UTF-8 outside the public values.
    Encoding,
    /// The value of the column with this index does not fit.
    Column(usize, Misfit),
}

impl From<Fault> for RowFault {
    fn from(fault: Fault) -> Self {
        Self::Json(fault)
    }
}

/// The columns of a public schema, filled row by row.
#[derive(Debug)]
pub(crate) struct Rows {
    row: StructColumn,
    rows: usize,
    bytes: usize,
}

impl Rows {
    pub(crate) fn new(columns: &[delivery::schema::Column]) -> Self {
        let members = columns.iter().map(|c| (c.source.as_str(), c.name.as_str(), Column::new(&c.column_type)));
        Self { row: StructColumn::new(members, false), rows: 0, bytes: 0 }
    }

    /// Rows since the last batch.
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// Bytes of the lines of the rows since the last batch.
    pub(crate) fn line_bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn fields(&self) -> Fields {
        self.row.fields()
    }

    /// Appends one line as a row, or leaves the columns as they were.
    pub(crate) fn append(&mut self, line: &[u8]) -> Result<(), RowFault> {
        let mut scanner = Scanner::new(line);
        scanner.whitespace();
        if scanner.peek() != Some(b'{') {
            scanner.value(1)?;
            scanner.finish()?;
            return Err(RowFault::NotObject);
        }
        self.row.find(&mut scanner, 1)?;
        scanner.finish()?;
        if simdutf8::basic::from_utf8(line).is_err() {
            let wrong = |member: &Member| simdutf8::basic::from_utf8(member.slot.text(line)).is_err();
            return Err(match self.row.members.iter().position(wrong) {
                Some(index) => RowFault::Column(index, Misfit::Text),
                None => RowFault::Encoding,
            });
        }
        for index in 0..self.row.members.len() {
            let Some(member) = self.row.members.get_mut(index) else { break };
            if let Err(misfit) = member.column.append(member.slot, line) {
                for member in self.row.members.iter_mut().take(index + 1) {
                    member.column.truncate(self.rows);
                }
                return Err(RowFault::Column(index, misfit));
            }
        }
        self.rows += 1;
        self.bytes += line.len();
        Ok(())
    }

    /// The columns.
    pub(crate) fn members(&self) -> &[Member] {
        &self.row.members
    }

    /// Forgets the rows since the last batch, and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.rows = 0;
        self.bytes = 0;
        self.row.truncate(0);
    }
}
