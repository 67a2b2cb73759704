//! The ids of files (`fileidhash`): a hash of the path in the log, which stays the same whenever the file is shared.

use delivery::ids::hex;
use http::{HeaderMap, HeaderValue};
use md5::{Digest as _, Md5};
use sha2::Sha256;

use super::capabilities::Format;
use super::error::ProtocolError;

/// The header, both ways.
pub(super) const FILE_ID_HASH: &str = "fileidhash";

/// How an id is made of a path. It hides the path from nobody who can guess it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileIds {
    /// `parquet`: MD5.
    Md5,
    /// `delta`: SHA-256.
    Sha256,
}

/// What a client said of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AskedIds(Option<FileIds>);

impl AskedIds {
    /// Reads the header. A value that is none of the two is an error, for ids that change unseen are worse.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ProtocolError> {
        let Some(value) = headers.get(FILE_ID_HASH) else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default().trim().to_ascii_lowercase();
        match text.as_str() {
            "parquet" => Ok(Self(Some(FileIds::Md5))),
            "delta" => Ok(Self(Some(FileIds::Sha256))),
            _ => Err(ProtocolError::invalid("The header fileidhash must be parquet or delta.")),
        }
    }

    /// What was asked for, else what goes with the format.
    pub(super) fn in_format(self, format: Format) -> FileIds {
        self.0.unwrap_or(match format {
            Format::Parquet => FileIds::Md5,
            Format::Delta => FileIds::Sha256,
        })
    }

    /// The header of the answer, if there was one in the request.
    pub(super) fn echo(self) -> Option<HeaderValue> {
        self.0.map(|ids| match ids {
            FileIds::Md5 => HeaderValue::from_static("parquet"),
            FileIds::Sha256 => HeaderValue::from_static("delta"),
        })
    }
}

impl FileIds {
    /// The id of a path, in hex.
    pub(super) fn id(self, path: &str) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(path.as_bytes())),
            Self::Sha256 => hex(&<Sha256 as sha2::Digest>::digest(path.as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(value: &str) -> Result<AskedIds, ProtocolError> {
        AskedIds::of(&HeaderMap::from_iter([(FILE_ID_HASH.parse().unwrap(), HeaderValue::from_str(value).unwrap())]))
    }

    #[test]
    fn ids_are_the_hashes_that_the_protocol_names() {
        assert_eq!(FileIds::Md5.id("abc"), "900150983cd24fb0d6963f7d28e17f72");
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(FileIds::Sha256.id("abc"), sha256);
    }

    #[test]
    fn the_header_goes_before_the_format() {
        let nothing = AskedIds::of(&HeaderMap::new()).unwrap();
        assert_eq!((nothing.in_format(Format::Parquet), nothing.echo()), (FileIds::Md5, None));
        assert_eq!(nothing.in_format(Format::Delta), FileIds::Sha256);
        let delta = asked(" Delta ").unwrap();
        assert_eq!(
            (delta.in_format(Format::Parquet), delta.echo().unwrap()),
            (FileIds::Sha256, "delta".parse().unwrap())
        );
        for value in ["", " ", "md5", "parquet,delta"] {
            assert!(asked(value).is_err(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(value in "[ -~]{0,40}") {
            let _ = asked(&value);
        }
    }
}
