//! The footer of a Parquet file: how many rows, which columns. Pages are not read.

use std::collections::BTreeSet;

use delivery::ports::{PortError, PortErrorKind};
use parquet::file::metadata::ParquetMetaDataReader;

/// How much of a file's end is fetched at first: enough for the footer of all but the widest tables.
pub const TAIL_BYTES: u64 = 65_536;

/// The largest footer that is fetched, its end mark included.
pub const FOOTER_BYTES_MAX: u64 = 64 * 1_024 * 1_024;

/// The length of the footer (4 bytes) and the mark behind it (4 bytes).
const END_BYTES: usize = 8;

/// What a file's end says.
#[derive(Debug, PartialEq, Eq)]
pub enum Footer {
    /// The footer was in it.
    Whole {
        /// The rows of the file.
        rows: u64,
        /// The names of the leaf columns and of every group around them, each once, in the order of the schema.
        columns: Vec<String>,
    },
    /// The footer begins before it.
    LongerThanTail {
        /// How much of the end has to be fetched.
        bytes: u64,
    },
}

/// Reads the end of a file.
///
/// # Errors
///
/// `InvalidData` if it is not the end of a Parquet file.
pub fn read(tail: &[u8]) -> Result<Footer, PortError> {
    let Some((before, [l1, l2, l3, l4, b'P', b'A', b'R', b'1'])) = tail.split_last_chunk::<END_BYTES>() else {
        return Err(unreadable("the file does not end as a Parquet file"));
    };
    let length = u32::from_le_bytes([*l1, *l2, *l3, *l4]);
    let start = usize::try_from(length).ok().and_then(|length| before.len().checked_sub(length));
    let Some(metadata) = start.and_then(|start| before.get(start..)) else {
        let bytes = u64::from(length) + END_BYTES as u64;
        if bytes > FOOTER_BYTES_MAX {
            return Err(unreadable("the footer is too long"));
        }
        return Ok(Footer::LongerThanTail { bytes });
    };
    let metadata = ParquetMetaDataReader::decode_metadata(metadata).map_err(unreadable)?;
    let file = metadata.file_metadata();
    let rows = u64::try_from(file.num_rows()).map_err(unreadable)?;
    let mut columns: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    for part in file.schema_descr().columns().iter().flat_map(|column| column.path().parts()) {
        if seen.insert(part.as_str()) {
            columns.push(part.clone());
        }
    }
    Ok(Footer::Whole { rows, columns })
}

pub(crate) fn unreadable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PortError {
    PortError::new(PortErrorKind::InvalidData, "read the footer of a shared file", source)
}
