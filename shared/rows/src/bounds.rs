//! The smallest and the largest value of a column chunk, as Parquet's footer has them.

use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::statistics::{Statistics, ValueStatistics};

/// A text bound is cut to so many bytes, and the upper one raised so that it holds.
const TEXT_BOUND_BYTES: usize = 64;

/// The least and greatest value so far.
#[derive(Debug, Default)]
pub(crate) enum Bounds {
    #[default]
    None,
    Text(TextBounds),
    Double(f64, f64),
    Date(i32, i32),
    Timestamp(i64, i64),
    Amount(i128, i128),
}

/// The first bytes as numbers decide nearly every comparison.
#[derive(Debug)]
pub(crate) struct TextBounds {
    min: Vec<u8>,
    max: Vec<u8>,
    min_head: u64,
    max_head: u64,
}

#[inline]
fn head(text: &[u8]) -> u64 {
    match text.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut first = [0; 8];
            for (to, from) in first.iter_mut().zip(text) {
                *to = *from;
            }
            u64::from_be_bytes(first)
        }
    }
}

/// The least and greatest of some values and of the pair before them.
pub(crate) fn extremes<T: Copy + PartialOrd>(
    before: Option<(T, T)>,
    values: impl Iterator<Item = T>,
) -> Option<(T, T)> {
    values.fold(before, |bounds, value| {
        let (min, max) = bounds.unwrap_or((value, value));
        Some((if value < min { value } else { min }, if value > max { value } else { max }))
    })
}

impl Bounds {
    #[inline]
    pub(crate) fn add_text(&mut self, text: &[u8]) {
        let first = head(text);
        let Self::Text(bounds) = self else {
            let (min, max) = (text.to_vec(), text.to_vec());
            *self = Self::Text(TextBounds { min, max, min_head: first, max_head: first });
            return;
        };
        if first <= bounds.min_head && (first < bounds.min_head || text < bounds.min.as_slice()) {
            bounds.min_head = first;
            bounds.min.clear();
            bounds.min.extend_from_slice(text);
        }
        if first >= bounds.max_head && (first > bounds.max_head || text > bounds.max.as_slice()) {
            bounds.max_head = first;
            bounds.max.clear();
            bounds.max.extend_from_slice(text);
        }
    }

    /// The bounds and the number of nulls as Parquet statistics of the leaf's physical type. The order of text is the
    /// order of its UTF-8 bytes.
    pub(crate) fn statistics(self, physical: parquet::basic::Type, nulls: u64) -> Statistics {
        let nulls = Some(nulls);
        match self {
            Self::Text(bounds) => match (lower(&bounds.min), upper(&bounds.max)) {
                (Some(min), Some(max)) => {
                    let exact = (min.len() == bounds.min.len(), max == bounds.max);
                    let values = ValueStatistics::new(
                        Some(ByteArray::from(min)),
                        Some(ByteArray::from(max)),
                        None,
                        nulls,
                        false,
                    );
                    Statistics::ByteArray(values.with_min_is_exact(exact.0).with_max_is_exact(exact.1))
                }
                _ => none(physical, nulls),
            },
            Self::Double(min, max) => {
                // The footer's zeros are signed outwards (parquet.thrift, ColumnOrder).
                let min = if min == 0.0 { -0.0 } else { min };
                let max = if max == 0.0 { 0.0 } else { max };
                Statistics::double(Some(min), Some(max), None, nulls, false)
            }
            Self::Date(min, max) => Statistics::int32(Some(min), Some(max), None, nulls, false),
            Self::Timestamp(min, max) => Statistics::int64(Some(min), Some(max), None, nulls, false),
            Self::Amount(min, max) => {
                let bytes = |value: i128| Some(FixedLenByteArray::from(value.to_be_bytes().to_vec()));
                Statistics::fixed_len_byte_array(bytes(min), bytes(max), None, nulls, false)
            }
            Self::None => none(physical, nulls),
        }
    }
}

fn none(physical: parquet::basic::Type, nulls: Option<u64>) -> Statistics {
    use parquet::basic::Type;
    match physical {
        Type::BOOLEAN => Statistics::boolean(None, None, None, nulls, false),
        Type::INT32 => Statistics::int32(None, None, None, nulls, false),
        Type::INT64 => Statistics::int64(None, None, None, nulls, false),
        Type::DOUBLE => Statistics::double(None, None, None, nulls, false),
        Type::FIXED_LEN_BYTE_ARRAY => Statistics::fixed_len_byte_array(None, None, None, nulls, false),
        Type::BYTE_ARRAY | Type::INT96 | Type::FLOAT => Statistics::byte_array(None, None, None, nulls, false),
    }
}

fn prefix(text: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(text).ok()?;
    text.get(..text.floor_char_boundary(TEXT_BOUND_BYTES))
}

/// A text that is not greater: the text or a prefix.
fn lower(text: &[u8]) -> Option<Vec<u8>> {
    Some(prefix(text)?.as_bytes().to_vec())
}

/// A text that is not less: the text, or a prefix whose last character that can be raised is raised.
fn upper(text: &[u8]) -> Option<Vec<u8>> {
    let mut short = prefix(text)?;
    if short.len() == text.len() {
        return Some(text.to_vec());
    }
    while let Some(last) = short.chars().next_back() {
        short = short.strip_suffix(last)?;
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            return Some(format!("{short}{next}").into_bytes());
        }
    }
    None
}
