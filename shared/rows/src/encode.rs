//! Parquet's encodings of integers (Encodings.md of parquet-format): bit packing, the RLE hybrid of levels and
//! dictionary indexes, and DELTA_BINARY_PACKED. Knows no pages and no columns.

/// Appends an unsigned LEB128 number.
pub(crate) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

/// Bits that every value up to `largest` fits in.
pub(crate) fn width_of(largest: u32) -> u32 {
    u32::BITS - largest.leading_zeros()
}

/// Appends values of at most 32 bits, the lowest bit first, padded to whole bytes.
fn pack(values: impl Iterator<Item = u32>, width: u32, out: &mut Vec<u8>) {
    let (mut word, mut filled) = (0_u64, 0);
    for value in values {
        word |= u64::from(value) << filled;
        filled += width;
        if filled >= 32 {
            out.extend_from_slice(&word.to_le_bytes()[..4]);
            word >>= 32;
            filled -= 32;
        }
    }
    while filled > 0 {
        out.push(low_byte(word));
        word >>= 8;
        filled = filled.saturating_sub(8);
    }
}

/// The shortest run that is worth a run of its own.
const RUN_MIN: usize = 16;

/// Appends values in the hybrid of runs and bit-packed groups of eight, each of `width` bits.
pub(crate) fn hybrid(values: &[u32], width: u32, out: &mut Vec<u8>) {
    let mut literal = 0;
    let mut at = 0;
    while let Some(value) = values.get(at) {
        let rest = values.get(at..).unwrap_or_default();
        let run = rest.iter().position(|other| other != value).unwrap_or(rest.len());
        // Bit-packed groups have to be full, so the run lends what is missing.
        let lent = (at - literal).next_multiple_of(8) - (at - literal);
        if run >= RUN_MIN + lent {
            literals(values.get(literal..at + lent).unwrap_or_default(), width, out);
            varint(((run - lent) as u64) << 1, out);
            out.extend(value.to_le_bytes().iter().take(width.div_ceil(8) as usize));
            literal = at + run;
        }
        at += run;
    }
    literals(values.get(literal..).unwrap_or_default(), width, out);
}

fn literals(values: &[u32], width: u32, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(8);
    varint((groups as u64) << 1 | 1, out);
    let padding = std::iter::repeat_n(0, groups * 8 - values.len());
    pack(values.iter().copied().chain(padding), width, out);
}

/// Appends flags, a bit each.
pub(crate) fn pack_flags(flags: impl Iterator<Item = bool>, out: &mut Vec<u8>) {
    pack(flags.map(u32::from), 1, out);
}

const DELTA_BLOCK: usize = 128;
const DELTA_MINIBLOCK: usize = 32;

/// Appends lengths as DELTA_BINARY_PACKED.
pub(crate) fn delta(values: &[u32], out: &mut Vec<u8>) {
    varint(DELTA_BLOCK as u64, out);
    varint((DELTA_BLOCK / DELTA_MINIBLOCK) as u64, out);
    varint(values.len() as u64, out);
    let mut last = i64::from(values.first().copied().unwrap_or(0));
    varint(zigzag(last), out);
    let mut deltas = [0_i64; DELTA_BLOCK];
    for block in values.get(1..).unwrap_or_default().chunks(DELTA_BLOCK) {
        for (delta, value) in deltas.iter_mut().zip(block) {
            *delta = i64::from(*value) - last;
            last = i64::from(*value);
        }
        let deltas = deltas.get(..block.len()).unwrap_or_default();
        let least = deltas.iter().copied().min().unwrap_or(0);
        varint(zigzag(least), out);
        // Differences of 32-bit numbers and their least one: at most 33 bits, of lengths below 2^31 at most 32.
        let above = |delta: &i64| u32::try_from(delta - least).unwrap_or(u32::MAX);
        let widths_at = out.len();
        out.resize(widths_at + DELTA_BLOCK / DELTA_MINIBLOCK, 0);
        for (index, mini) in deltas.chunks(DELTA_MINIBLOCK).enumerate() {
            let width = width_of(mini.iter().map(above).max().unwrap_or(0));
            if let Some(place) = out.get_mut(widths_at + index) {
                *place = low_byte(width.into());
            }
            let padding = std::iter::repeat_n(0, DELTA_MINIBLOCK - mini.len());
            pack(mini.iter().map(above).chain(padding), width, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }

    fn bits(bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let bit = |at: usize| u32::from(bytes[at / 8] >> (at % 8) & 1);
        (0..count).map(|n| (0..width as usize).map(|b| bit(n * width as usize + b) << b).sum()).collect()
    }

    /// Reads the hybrid by the book.
    fn read_hybrid(mut bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let mut values = Vec::new();
        while values.len() < count {
            let header = read_varint(&mut bytes);
            let length = usize::try_from(header >> 1).unwrap();
            if header & 1 == 0 {
                let (value, rest) = bytes.split_at(width.div_ceil(8) as usize);
                bytes = rest;
                let value = value.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
                values.extend(std::iter::repeat_n(value, length));
            } else {
                let (groups, rest) = bytes.split_at(length * width as usize);
                bytes = rest;
                values.extend(bits(groups, width, length * 8));
            }
        }
        assert!(bytes.is_empty());
        values.truncate(count);
        values
    }

    /// Reads DELTA_BINARY_PACKED by the book.
    fn read_delta(mut bytes: &[u8]) -> Vec<u32> {
        let unzigzag = |value: u64| (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
        let (block, minis) = (read_varint(&mut bytes), read_varint(&mut bytes));
        assert_eq!((block, minis), (128, 4));
        let count = usize::try_from(read_varint(&mut bytes)).unwrap();
        let mut last = unzigzag(read_varint(&mut bytes));
        let mut values: Vec<_> = (count > 0).then_some(last).into_iter().collect();
        while values.len() < count {
            let least = unzigzag(read_varint(&mut bytes));
            let (widths, rest) = bytes.split_at(4);
            bytes = rest;
            for width in widths {
                if values.len() >= count {
                    assert_eq!(*width, 0, "a miniblock without values has no width");
                    continue;
                }
                let (mini, rest) = bytes.split_at(4 * usize::from(*width));
                bytes = rest;
                for above in bits(mini, u32::from(*width), 32) {
                    last += least + i64::from(above);
                    values.push(last);
                }
                values.truncate(count);
                last = *values.last().unwrap();
            }
        }
        assert!(bytes.is_empty());
        values.into_iter().map(|value| u32::try_from(value).unwrap()).collect()
    }

    fn runs(largest: u32) -> impl Strategy<Value = Vec<u32>> {
        prop::collection::vec((0..=largest, 1_usize..60, any::<bool>()), 0..12).prop_map(move |parts| {
            let values = parts.into_iter().flat_map(|(value, length, same)| {
                (0..length as u32).map(move |n| if same { value } else { (value + n) % largest.max(1) })
            });
            values.collect()
        })
    }

    proptest! {
        #[test]
        fn hybrid_values_are_read_back(values in prop_oneof![runs(1), runs(3), runs(300), runs(70_000)]) {
            let width = width_of(values.iter().copied().max().unwrap_or(0)).max(1);
            let mut bytes = Vec::new();
            hybrid(&values, width, &mut bytes);
            prop_assert_eq!(read_hybrid(&bytes, width, values.len()), values);
        }

        #[test]
        fn delta_values_are_read_back(
            values in prop_oneof![
                prop::collection::vec(0_u32..300, 0..400),
                prop::collection::vec(0_u32..0x7fff_ffff, 0..400),
                runs(5),
            ],
        ) {
            let mut bytes = Vec::new();
            delta(&values, &mut bytes);
            prop_assert_eq!(read_delta(&bytes), values);
        }
    }
}
