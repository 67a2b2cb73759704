//! Rows: finds a line's public fields, in any order and however they are written, and hands them to their columns.
//! A row that does not fit is taken back whole.
//!
//! Private and unknown values are checked for grammar and passed over.

use std::collections::HashMap;

use arrow_schema::{Field, Fields};
use delivery::schema::{self, is_private_name};

use crate::cast::{EXPECTS_MONEY, EXPECTS_OBJECT, Misfit};
use crate::column::Column;
use crate::scan::{Fault, Kind, Scanner, Slot};
use crate::text::key;

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

/// A struct, a money amount, or a whole row.
#[derive(Debug)]
pub(crate) struct StructColumn {
    pub(crate) members: Vec<Member>,
    by_key: HashMap<Box<[u8]>, usize>,
    /// The keys in the order in which they came before, as they were written: a row usually repeats them.
    habit: Vec<Habit>,
    /// Whether this is a money amount.
    money: bool,
    pub(crate) valid: Vec<bool>,
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

impl StructColumn {
    /// Members as source key, name and column. Private keys are not taken, whoever asks.
    pub(crate) fn new<'a>(members: impl Iterator<Item = (&'a str, &'a str, Column)>, money: bool) -> Self {
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

    pub(crate) fn fields(&self) -> Fields {
        self.members.iter().map(|member| Field::new(&member.name, member.column.data_type(), true)).collect()
    }

    /// Reads an object, checks its grammar, and notes where each member's last value is.
    pub(crate) fn find(&mut self, scanner: &mut Scanner<'_>, depth: usize) -> Result<Slot, Fault> {
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
                    // This row may have more white space behind the colon than the one that the habit is of.
                    scanner.whitespace();
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

    pub(crate) fn append(&mut self, slot: Slot, line: &[u8]) -> Result<(), Misfit> {
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

    pub(crate) fn append_null(&mut self) {
        for member in &mut self.members {
            member.column.append_null();
        }
        self.valid.push(false);
    }

    pub(crate) fn truncate(&mut self, rows: usize) {
        self.valid.truncate(rows);
        for member in &mut self.members {
            member.column.truncate(rows);
        }
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
    pub(crate) fn new(columns: &[schema::Column]) -> Self {
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
