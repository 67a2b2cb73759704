//! Definition and repetition levels (Dremel): where nulls, empty arrays and the borders of arrays are. Everything is
//! nullable, so each struct adds one definition level, each array two, and each leaf one.

use crate::encode::{hybrid, width_of};

/// No value stands behind the entry.
pub(crate) const NONE: u32 = u32::MAX;

/// One entry of a column: its levels, and the index of its value in the node.
#[derive(Debug, Clone, Copy)]
struct Entry {
    definition: u32,
    repetition: u32,
    index: u32,
}

/// The entries of a node: of whole rows, of the members of a struct, or of the elements of an array.
#[derive(Debug)]
pub(crate) struct Entries {
    /// `None` while nothing nests: then the entry with index `i` is the row `i`.
    nested: Option<Vec<Entry>>,
    rows: usize,
    definition: u32,
    repetition: u32,
}

impl Entries {
    pub(crate) fn of_rows(rows: usize) -> Self {
        Self { nested: None, rows, definition: 0, repetition: 0 }
    }

    /// Whether they are elements of an array, at any depth.
    pub(crate) fn are_elements(&self) -> bool {
        self.repetition > 0
    }

    fn each(&self, mut visit: impl FnMut(Entry)) {
        match &self.nested {
            Some(entries) => entries.iter().for_each(|entry| visit(*entry)),
            None => {
                (0..).take(self.rows).for_each(|index| visit(Entry { definition: 0, repetition: 0, index }));
            }
        }
    }

    /// The entries of a struct's members.
    pub(crate) fn members(&self, valid: &[bool]) -> Self {
        let mut nested = Vec::with_capacity(self.rows);
        self.each(|entry| {
            nested.push(match valid.get(entry.index as usize) {
                Some(true) => Entry { definition: self.definition + 1, ..entry },
                _ => Entry { index: NONE, ..entry },
            });
        });
        Self { nested: Some(nested), rows: self.rows, definition: self.definition + 1, repetition: self.repetition }
    }

    /// The entries of an array's elements.
    pub(crate) fn elements(&self, valid: &[bool], offsets: &[i32]) -> Self {
        let mut nested = Vec::with_capacity(self.rows);
        let repetition = self.repetition + 1;
        let offset = |index: usize| offsets.get(index).map_or(0, |offset| offset.cast_unsigned());
        self.each(|entry| {
            let index = entry.index as usize;
            if valid.get(index) != Some(&true) {
                nested.push(Entry { index: NONE, ..entry });
                return;
            }
            let elements = offset(index)..offset(index + 1);
            if elements.is_empty() {
                nested.push(Entry { definition: self.definition + 1, index: NONE, ..entry });
            }
            for (element, first) in elements.zip(std::iter::once(true).chain(std::iter::repeat(false))) {
                let repetition = if first { entry.repetition } else { repetition };
                nested.push(Entry { definition: self.definition + 2, repetition, index: element });
            }
        });
        Self { nested: Some(nested), rows: self.rows, definition: self.definition + 2, repetition }
    }

    /// Writes the levels of a leaf with these entries.
    pub(crate) fn write(&self, valid: &[bool], scratch: &mut Vec<u32>, out: &mut Vec<u8>) -> LevelSizes {
        let mut sizes = LevelSizes { rows: self.rows, ..LevelSizes::default() };
        if let Some(entries) = &self.nested
            && self.repetition > 0
        {
            scratch.clear();
            scratch.extend(entries.iter().map(|entry| entry.repetition));
            hybrid(scratch, width_of(self.repetition), out);
            sizes.repetition_bytes = out.len();
        }
        scratch.clear();
        match &self.nested {
            None => scratch.extend(valid.iter().map(|valid| u32::from(*valid))),
            Some(entries) => scratch.extend(entries.iter().map(|entry| {
                let value = valid.get(entry.index as usize) == Some(&true);
                entry.definition + u32::from(value)
            })),
        }
        let whole = self.definition + 1;
        sizes.entries = scratch.len();
        sizes.nulls = scratch.iter().filter(|level| **level != whole).count();
        hybrid(scratch, width_of(whole), out);
        sizes.definition_bytes = out.len() - sizes.repetition_bytes;
        sizes
    }
}

/// What the header of a page says of its levels.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LevelSizes {
    pub(crate) rows: usize,
    pub(crate) entries: usize,
    /// Entries without a value, for whatever reason.
    pub(crate) nulls: usize,
    pub(crate) repetition_bytes: usize,
    pub(crate) definition_bytes: usize,
}
