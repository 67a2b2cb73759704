//! The smallest and the largest value of a column chunk, as Parquet's footer has them.

use parquet::basic::Type;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::statistics::{Statistics, ValueStatistics};

/// Text bounds are cut to so many bytes, the upper one raised so that it holds.
const TEXT_BOUND_BYTES: usize = 64;

#[derive(Debug, Default)]
pub(crate) enum Bounds {
    #[default]
    None,
    Text {
        min: Vec<u8>,
        max: Vec<u8>,
    },
    Double(f64, f64),
    Int32(i32, i32),
    Int64(i64, i64),
    Amount(i128, i128),
}

impl Bounds {
    pub(crate) fn add_doubles(&mut self, values: impl Iterator<Item = f64>) {
        for value in values {
            *self = match *self {
                Self::Double(min, max) => Self::Double(min.min(value), max.max(value)),
                _ => Self::Double(value, value),
            };
        }
    }
}
