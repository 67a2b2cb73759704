//! What a client says it can read (`delta-sharing-capabilities`), and the format that follows from it.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderValue};
use tables::snapshot::Snapshot;

use super::error::ProtocolError;

/// The header, both ways.
pub(super) const CAPABILITIES: &str = "delta-sharing-capabilities";

/// How table metadata and files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// The protocol's own words.
    Parquet,
    /// Actions of the Delta log.
    Delta,
}

/// Whether a last line says how the answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndStreamAction {
    /// The client asked for it.
    Included,
    /// Clients that did not ask may fail on it.
    Omitted,
}

/// What a client can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Capabilities {
    parquet: bool,
    delta: bool,
    reader_features: BTreeSet<String>,
    /// Whether it wants an end.
    pub(super) end: EndStreamAction,
}

impl Capabilities {
    /// Reads the header: `key=value,value;key=value`, without case. What is not understood is passed over; without a
    /// known format the client reads parquet.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let texts = headers.get_all(CAPABILITIES).iter().filter_map(|value| value.to_str().ok());
        Self::parse(&texts.collect::<Vec<_>>().join(";"))
    }

    fn parse(text: &str) -> Self {
        let mut read =
            Self { parquet: false, delta: false, reader_features: BTreeSet::new(), end: EndStreamAction::Omitted };
        for (key, values) in text.split(';').filter_map(|pair| pair.split_once('=')) {
            let values: BTreeSet<_> = values.split(',').map(|value| value.trim().to_ascii_lowercase()).collect();
            match key.trim().to_ascii_lowercase().as_str() {
                "responseformat" => {
                    read.parquet |= values.contains("parquet");
                    read.delta |= values.contains("delta");
                }
                "readerfeatures" => read.reader_features.extend(values),
                "includeendstreamaction" if values.contains("true") => read.end = EndStreamAction::Included,
                _ => {}
            }
        }
        read.parquet |= !read.delta;
        read
    }

    /// Whether the client knows any reader feature, and so the protocol of tables that have them.
    pub(super) fn knows_features(&self) -> bool {
        !self.reader_features.is_empty()
    }

    /// The format to answer in: parquet if the client takes it and the table is plain.
    pub(super) fn format_for(&self, snapshot: &Snapshot) -> Result<Format, ProtocolError> {
        let needed = needed_features(snapshot);
        if needed.is_empty() {
            return Ok(if self.parquet { Format::Parquet } else { Format::Delta });
        }
        let lacking: Vec<_> = needed.difference(&self.reader_features).map(String::as_str).collect();
        if self.delta && lacking.is_empty() {
            return Ok(Format::Delta);
        }
        let lacking = if self.delta { lacking.join(", ") } else { "responseformat=delta".to_owned() };
        Err(ProtocolError::unsupported(format!(
            "Unsupported Delta Table Properties: the table cannot be read without {lacking}. Use a client that \
             supports it."
        )))
    }

    /// The header of the answer.
    pub(super) fn echo(&self, format: Format) -> HeaderValue {
        HeaderValue::from_static(match (format, self.end) {
            (Format::Parquet, EndStreamAction::Omitted) => "responseformat=parquet",
            (Format::Parquet, EndStreamAction::Included) => "responseformat=parquet;includeendstreamaction=true",
            (Format::Delta, EndStreamAction::Omitted) => "responseformat=delta",
            (Format::Delta, EndStreamAction::Included) => "responseformat=delta;includeendstreamaction=true",
        })
    }
}

/// The reader features of a table, in lower case. None for a table of reader version 1.
fn needed_features(snapshot: &Snapshot) -> BTreeSet<String> {
    match snapshot.protocol.min_reader_version {
        0 | 1 => BTreeSet::new(),
        2 => BTreeSet::from(["columnmapping".to_owned()]),
        _ => snapshot.protocol.reader_features.iter().map(|feature| feature.to_ascii_lowercase()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn capabilities_are_read_without_case() {
        let read = Capabilities::parse(
            "ResponseFormat=Delta , PARQUET;readerFeatures=deletionVectors,TimestampNtz; IncludeEndStreamAction=TRUE;x",
        );
        assert!(read.parquet && read.delta && read.knows_features());
        assert_eq!(read.reader_features, BTreeSet::from(["deletionvectors".to_owned(), "timestampntz".to_owned()]));
        assert_eq!(read.end, EndStreamAction::Included);
    }

    #[test]
    fn a_client_that_names_no_known_format_reads_parquet() {
        for text in ["", ";;", "responseformat", "responseformat=", "responseformat=avro", "asyncquery=true"] {
            let read = Capabilities::parse(text);
            assert!(read.parquet && !read.delta, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read(text in "\\PC{0,200}") {
            let read = Capabilities::parse(&text);
            prop_assert!(read.parquet || read.delta);
        }
    }
}
