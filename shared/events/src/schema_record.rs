//! The public columns of a schema version, as gzip of JSON text of version 1: kept in its table's item, so that the
//! catalogue tables can be made without a manifest, which expires.

use std::io::{Read, Write};

use delivery::schema::{Column, PublicSchema};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use crate::columns::{self, ColumnForm};
use crate::{StoredFormatError, read_stored, write_stored};

const WHAT: &str = "schema record";
const VERSION: u32 = 1;

/// The largest record: an item of the state table has at most 400 KB, and other attributes beside this one.
pub const RECORD_BYTES_MAX: usize = 350_000;

/// The largest text of a record, as a limit of what is unpacked.
const TEXT_BYTES_MAX: u64 = 16 << 20;

#[derive(Serialize, Deserialize)]
struct RecordForm {
    v: u32,
    columns: Vec<ColumnForm>,
}

/// Writes a schema's record. One that is over [`RECORD_BYTES_MAX`] with its descriptions is written without them.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if the record is over the limit without descriptions, too.
pub fn write(schema: &PublicSchema) -> Result<Vec<u8>, StoredFormatError> {
    let whole = pack(&text(schema)?)?;
    if whole.len() <= RECORD_BYTES_MAX {
        return Ok(whole);
    }
    let bare = schema.columns().iter().map(|column| Column { description: None, ..column.clone() });
    let bare = pack(&text(&PublicSchema::from_columns(bare.collect()))?)?;
    if bare.len() <= RECORD_BYTES_MAX {
        return Ok(bare);
    }
    Err(invalid(format!("it has {} bytes; {RECORD_BYTES_MAX} is the limit", bare.len())))
}

/// Reads a schema's record.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if the bytes are not a record of a known version.
pub fn read(record: &[u8]) -> Result<PublicSchema, StoredFormatError> {
    let mut text = Vec::new();
    let unpacked = GzDecoder::new(record).take(TEXT_BYTES_MAX).read_to_end(&mut text);
    unpacked.map_err(|_| invalid("it is not whole gzip".to_owned()))?;
    let form: RecordForm = read_stored(WHAT, VERSION, &text)?;
    columns::read(WHAT, form.columns)
}

fn text(schema: &PublicSchema) -> Result<String, StoredFormatError> {
    write_stored(WHAT, &RecordForm { v: VERSION, columns: columns::write(schema) })
}

fn pack(text: &str) -> Result<Vec<u8>, StoredFormatError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let packed = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    packed.map_err(|_| invalid("it could not be packed".to_owned()))
}

fn invalid(reason: String) -> StoredFormatError {
    StoredFormatError { what: WHAT, reason }
}

#[cfg(test)]
mod tests {
    use delivery::schema::ColumnType;

    use super::*;

    fn fixture() -> &'static str {
        include_str!("../fixtures/schema-record.v1.json").trim_end()
    }

    #[test]
    fn a_record_is_written_back_as_it_was() {
        let schema = read(&pack(fixture()).unwrap()).unwrap();
        assert_eq!(schema.columns().len(), 3);
        assert_eq!(text(&schema).unwrap(), fixture());
        assert_eq!(read(&write(&schema).unwrap()).unwrap(), schema);
    }

    #[test]
    fn a_record_that_is_too_large_does_without_descriptions() {
        let letters = |seed: u64| -> String {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut letter = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                char::from(b'!' + u8::try_from(state % 90).unwrap())
            };
            (0..300).map(|_| letter()).collect()
        };
        let column = |n: u64| Column {
            source: format!("field-{n}"),
            name: format!("field_{n}"),
            column_type: ColumnType::Double,
            source_type: "NUMBER".to_owned(),
            key: false,
            description: Some(letters(n)),
        };
        let schema = PublicSchema::from_columns((1..=2_000).map(column).collect());
        let record = write(&schema).unwrap();
        assert!(record.len() <= RECORD_BYTES_MAX);
        let kept = read(&record).unwrap();
        assert_eq!(kept.fingerprint(), schema.fingerprint());
        assert!(kept.columns().iter().all(|column| column.description.is_none()));
    }

    #[test]
    fn what_is_not_a_record_is_refused() {
        let other = pack(&fixture().replace("\"v\":1", "\"v\":2")).unwrap();
        for bytes in [&b"{}"[..], &other, &pack(fixture()).unwrap()[..20]] {
            assert_eq!(read(bytes).unwrap_err().what, WHAT);
        }
    }
}
