//! The dictionary of a column chunk: distinct values in the order in which they came. Values are bytes here.

/// The most values, and bytes of values, that are worth a dictionary.
const ENTRIES_MAX: usize = 1 << 15;
const BYTES_MAX: usize = 512 << 10;
/// The most places that are looked at for one value. More means that the values were chosen to collide.
const PROBES_MAX: usize = 64;
const EMPTY: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Dictionary {
    /// Open addressing: indexes of entries, by hash.
    table: Vec<u32>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    start: usize,
    end: usize,
}

impl Dictionary {
    pub(crate) fn new() -> Self {
        Self { table: vec![EMPTY; 256], entries: Vec::new(), bytes: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().map(|entry| self.bytes.get(entry.start..entry.end).unwrap_or_default())
    }

    /// The index of a value, which is added if it is new. `None` if the dictionary is full.
    #[inline]
    pub(crate) fn index(&mut self, value: &[u8]) -> Option<u32> {
        let hash = hash(value);
        let mask = self.table.len() - 1;
        let mut place = usize::try_from(hash >> 32).unwrap_or(0) & mask;
        for _ in 0..PROBES_MAX {
            match self.table.get(place).copied() {
                None | Some(EMPTY) => return self.insert(hash, place, value),
                Some(index) => {
                    let entry = self.entries.get(index as usize)?;
                    if entry.hash == hash && self.bytes.get(entry.start..entry.end) == Some(value) {
                        return Some(index);
                    }
                }
            }
            place = (place + 1) & mask;
        }
        None
    }

    fn insert(&mut self, hash: u64, place: usize, value: &[u8]) -> Option<u32> {
        if self.entries.len() >= ENTRIES_MAX || self.bytes.len() + value.len() > BYTES_MAX {
            return None;
        }
        let index = u32::try_from(self.entries.len()).ok()?;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.entries.push(Entry { hash, start, end: self.bytes.len() });
        if let Some(slot) = self.table.get_mut(place) {
            *slot = index;
        }
        if self.entries.len() * 2 > self.table.len() {
            self.grow();
        }
        Some(index)
    }

    fn grow(&mut self) {
        let mask = self.table.len() * 2 - 1;
        self.table.clear();
        self.table.resize(mask + 1, EMPTY);
        for (index, entry) in (0_u32..).zip(&self.entries) {
            let mut place = usize::try_from(entry.hash >> 32).unwrap_or(0) & mask;
            while let Some(slot) = self.table.get_mut(place) {
                if *slot == EMPTY {
                    *slot = index;
                    break;
                }
                place = (place + 1) & mask;
            }
        }
    }
}

/// A multiplicative hash over words of eight bytes; quality matters here, resistance does not ([`PROBES_MAX`]).
#[inline]
fn hash(value: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let fold = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(FACTOR);
        let [low, high] = [product & u128::from(u64::MAX), product >> 64];
        u64::try_from(low ^ high).unwrap_or(0)
    };
    let (words, tail) = value.as_chunks::<8>();
    let state = words.iter().fold(value.len() as u64 ^ FACTOR, |state, word| fold(state, u64::from_le_bytes(*word)));
    let last = tail.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    fold(fold(state, last), FACTOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_dictionary_takes_no_more_but_knows_what_it_has() {
        let mut dictionary = Dictionary::new();
        for value in 0_u32.. {
            match dictionary.index(&value.to_le_bytes()) {
                Some(index) => assert_eq!(index, value),
                None => break,
            }
        }
        assert_eq!(dictionary.len(), ENTRIES_MAX);
        assert_eq!(dictionary.index(&7_u32.to_le_bytes()), Some(7));
        let mut large = Dictionary::new();
        assert_eq!(large.index(&vec![0; BYTES_MAX + 1]), None);
        assert_eq!(large.index(&vec![0; BYTES_MAX]), Some(0));
    }

    proptest! {
        #[test]
        fn every_index_leads_back_to_its_value(values in prop::collection::vec(".{0,20}", 0..500)) {
            let mut dictionary = Dictionary::new();
            let indexes: Vec<_> = values.iter().map(|value| dictionary.index(value.as_bytes()).unwrap()).collect();
            let entries: Vec<_> = dictionary.values().collect();
            let distinct: std::collections::BTreeSet<_> = values.iter().collect();
            prop_assert_eq!(entries.len(), distinct.len());
            for (value, index) in values.iter().zip(indexes) {
                prop_assert_eq!(entries[index as usize], value.as_bytes());
            }
        }
    }
}
