//! Deletion vectors, as the log describes them: where the bitmap of a file's deleted rows lies. Opens none.

use delivery::ports::{PortError, PortErrorKind};
use serde::Deserialize;
use uuid::Uuid;

/// Which rows of a file are deleted (PROTOCOL.md, "Deletion Vector Descriptor Schema").
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletionVector {
    /// How the bitmap is stored: `u` in a file named by a UUID, `p` in a file of an absolute path, `i` in the log.
    pub storage_type: String,
    /// The name of the file, or the bitmap itself in Z85.
    pub path_or_inline_dv: String,
    /// Where the bitmap begins in its file, in bytes.
    #[serde(default)]
    pub offset: Option<i32>,
    /// The size of the bitmap in bytes, without framing.
    pub size_in_bytes: i32,
    /// How many rows are deleted.
    pub cardinality: i64,
}

/// Characters of a UUID in Z85.
const UUID_CHARACTERS: usize = 20;

/// The 85 digits of ZeroMQ's Z85 (rfc.zeromq.org/spec/32).
const DIGITS: &[u8; 85] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

impl DeletionVector {
    /// What tells this vector from others of the same file (PROTOCOL.md, "Derived Fields"); `path` and this are the
    /// key of a file's actions.
    #[must_use]
    pub fn unique_id(&self) -> String {
        let Self { storage_type, path_or_inline_dv, offset, .. } = self;
        match offset {
            Some(offset) => format!("{storage_type}{path_or_inline_dv}@{offset}"),
            None => format!("{storage_type}{path_or_inline_dv}"),
        }
    }

    /// Where the vector's file lies, relative to the table, not percent-encoded; `None` if the vector is in the log.
    ///
    /// # Errors
    ///
    /// `InvalidData` for an absolute path, which leads out of the table, and for what is no name of a vector.
    pub fn relative_path(&self) -> Option<Result<String, PortError>> {
        match self.storage_type.as_str() {
            "i" => None,
            "u" => Some(named(&self.path_or_inline_dv)),
            "p" => Some(Err(unreadable("a deletion vector has an absolute path"))),
            _ => Some(Err(unreadable("a deletion vector is stored in an unknown way"))),
        }
    }
}

/// The file that a UUID in Z85 stands for, in the folder that may be said before it.
fn named(text: &str) -> Result<String, PortError> {
    let split = text.len().checked_sub(UUID_CHARACTERS).and_then(|at| text.split_at_checked(at));
    let (folder, digits) = split.ok_or_else(|| unreadable("the name of a deletion vector is too short"))?;
    // A folder's name is a few random letters and digits, and leads nowhere else.
    if !folder.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(unreadable("the folder of a deletion vector is not one name"));
    }
    let uuid = uuid(digits).ok_or_else(|| unreadable("the name of a deletion vector is no UUID in Z85"))?;
    let file = format!("deletion_vector_{uuid}.bin");
    Ok(if folder.is_empty() { file } else { format!("{folder}/{file}") })
}

/// A UUID of four groups of five digits, each a big-endian number of 32 bits.
fn uuid(digits: &str) -> Option<Uuid> {
    let mut number = 0_u128;
    for group in digits.as_bytes().chunks(5) {
        let mut part = 0_u64;
        for digit in group {
            let value = DIGITS.iter().position(|known| known == digit)?;
            part = part * 85 + u64::try_from(value).ok()?;
        }
        number = number << 32 | u128::from(u32::try_from(part).ok()?);
    }
    Some(Uuid::from_u128(number))
}

fn unreadable(source: &'static str) -> PortError {
    PortError::new(PortErrorKind::InvalidData, "find a deletion vector", source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(storage_type: &str, place: &str, offset: Option<i32>) -> DeletionVector {
        let (storage_type, path_or_inline_dv) = (storage_type.to_owned(), place.to_owned());
        DeletionVector { storage_type, path_or_inline_dv, offset, size_in_bytes: 40, cardinality: 6 }
    }

    /// The examples of PROTOCOL.md, "JSON Example 1" to "3".
    #[test]
    fn the_examples_of_the_protocol_are_found() {
        let relative = vector("u", "ab^-aqEH.-t@S}K{vb[*k^", Some(4));
        let path = relative.relative_path().unwrap().unwrap();
        assert_eq!(path, "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin");
        assert_eq!(relative.unique_id(), "uab^-aqEH.-t@S}K{vb[*k^@4");
        let without = vector("u", "^-aqEH.-t@S}K{vb[*k^", None);
        let path = without.relative_path().unwrap().unwrap();
        assert_eq!(path, "deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin");
        let inline = vector("i", "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", None);
        assert!(inline.relative_path().is_none());
        assert_eq!(inline.unique_id(), "iwi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L");
    }

    #[test]
    fn a_vector_outside_its_table_is_refused() {
        for (storage_type, place) in [
            ("p", "s3://another/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin"),
            ("u", "../^-aqEH.-t@S}K{vb[*k^"),
            ("u", "a/b^-aqEH.-t@S}K{vb[*k^"),
            ("u", "^-aqEH.-t@S}K{vb[*k"),
            ("u", "é-aqEH.-t@S}K{vb[*k^"),
            ("u", "^-aqEH.-t@S}K{vb[*k\""),
            ("u", "#####EH.-t@S}K{vb[*k"),
            ("u", ""),
            ("x", "^-aqEH.-t@S}K{vb[*k^"),
        ] {
            let error = vector(storage_type, place, None).relative_path().unwrap().unwrap_err();
            assert_eq!(error.kind, PortErrorKind::InvalidData, "{place}");
        }
    }
}
