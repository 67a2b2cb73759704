//! Checkpoints: what the log says up to a version, in one file or some (PROTOCOL.md, "Checkpoints").
//!
//! Knows their names, the hint at the newest one, and their content. Writes classic single-file checkpoints; reads
//! those, classic multi-part ones, and V2 ones in JSON or Parquet with their sidecars, in memory that does not grow with
//! their files.

mod open;
mod read;
mod work;
mod write;

use serde::{Deserialize, Serialize};

pub(crate) use open::{Checkpoint, CheckpointFiles, Reading, is_useless};
pub(crate) use read::Columns;
pub(crate) use write::write;

/// The folder of the log with the files of V2 checkpoints.
pub(crate) const SIDECARS: &str = "_sidecars";

/// The hint's file name in the log.
pub(crate) const HINT: &str = "_last_checkpoint";

/// The hint at the newest checkpoint (PROTOCOL.md, "Last Checkpoint File"). It may be missing, stale or wrong: it only
/// saves a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hint {
    /// The checkpoint's version.
    pub(crate) version: u64,
    /// The number of actions.
    pub(crate) size: u64,
    /// The file's size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size_in_bytes: Option<u64>,
    /// The number of `add` actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) num_of_add_files: Option<u64>,
}

/// A file of a log, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFile {
    /// `<version>.json`
    Commit(u64),
    /// `<version>.checkpoint.parquet`
    Checkpoint(u64),
    /// `<version>.checkpoint.<part>.<parts>.parquet`
    Part {
        /// The checkpoint's version.
        version: u64,
        /// Which part, from 1.
        part: u32,
        /// How many there are.
        parts: u32,
    },
    /// `<version>.checkpoint.<uuid>.json` or `.parquet`
    V2(u64),
}

impl LogFile {
    /// What a file name says; nothing if the file is of another kind.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (digits, rest) = name.split_once('.')?;
        let version = number(digits, 20)?;
        let pieces: Vec<&str> = rest.split('.').collect();
        match *pieces.as_slice() {
            ["json"] => Some(Self::Commit(version)),
            ["checkpoint", "parquet"] => Some(Self::Checkpoint(version)),
            ["checkpoint", part, parts, "parquet"] => {
                let (part, parts) = (number(part, 10)?.try_into().ok()?, number(parts, 10)?.try_into().ok()?);
                (1 <= part && part <= parts).then_some(Self::Part { version, part, parts })
            }
            ["checkpoint", _, "json" | "parquet"] => Some(Self::V2(version)),
            _ => None,
        }
    }
}

/// The name of a single-file checkpoint.
pub(crate) fn file_name(version: u64) -> String {
    format!("{version:020}.checkpoint.parquet")
}

fn number(digits: &str, length: usize) -> Option<u64> {
    (digits.len() == length && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_log_is_known_by_its_name() {
        for (name, file) in [
            ("00000000000000000010.json", Some(LogFile::Commit(10))),
            ("00000000000000000010.checkpoint.parquet", Some(LogFile::Checkpoint(10))),
            (
                "00000000000000000010.checkpoint.0000000002.0000000003.parquet",
                Some(LogFile::Part { version: 10, part: 2, parts: 3 }),
            ),
            ("00000000000000000010.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json", Some(LogFile::V2(10))),
            ("00000000000000000010.checkpoint.0000000004.0000000003.parquet", None),
            ("00000000000000000010.crc", None),
            ("10.json", None),
            ("00000000000000000010.00000000000000000012.compacted.json", None),
            ("_last_checkpoint", None),
        ] {
            assert_eq!(LogFile::parse(name), file, "{name}");
        }
    }
}
