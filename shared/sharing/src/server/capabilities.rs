//! What a client says it can read (`delta-sharing-capabilities`), and the format that follows from it.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderValue};
use tables::snapshot::{Metadata, Protocol};

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
            let values = values.split(',').map(|value| value.trim().to_ascii_lowercase());
            let values: BTreeSet<_> = values.filter(|value| !value.is_empty()).collect();
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

    /// The same for an answer that has no end to say: a table's metadata.
    pub(super) fn without_end(self) -> Self {
        Self { end: EndStreamAction::Omitted, ..self }
    }

    /// The formats that the client takes, as one word.
    pub(super) fn formats(&self) -> &'static str {
        match (self.parquet, self.delta) {
            (true, true) => "either",
            (_, false) => "parquet",
            (false, true) => "delta",
        }
    }

    /// Whether the client knows any reader feature, and so the protocol of tables that have them.
    pub(super) fn knows_features(&self) -> bool {
        !self.reader_features.is_empty()
    }

    /// The format to answer in: parquet if the client takes it and the table is plain. A table that could have deletion
    /// vectors may have some of before, whatever its properties say: who can read them gets it in delta.
    pub(super) fn format_for(&self, protocol: &Protocol, metadata: &Metadata) -> Result<Format, ProtocolError> {
        let needed = needed_features(protocol, metadata);
        if needed.is_empty() {
            let may_have_vectors = protocol.reader_features.iter().any(|it| it.eq_ignore_ascii_case(DELETION_VECTORS));
            let reads_vectors = self.delta && self.reader_features.contains(DELETION_VECTORS);
            let is_plain = !(may_have_vectors && reads_vectors);
            return Ok(if self.parquet && is_plain { Format::Parquet } else { Format::Delta });
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

    /// The reader features that a table may have if it is answered about in a format.
    pub(super) fn accepted(&self, format: Format) -> BTreeSet<String> {
        match format {
            Format::Parquet => BTreeSet::new(),
            Format::Delta => self.reader_features.clone(),
        }
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

/// The feature of files with deleted rows, in lower case.
pub(super) const DELETION_VECTORS: &str = "deletionvectors";

/// The newest reader version that is known here.
const READER_VERSION_MAX: u32 = 3;

/// What only those must know who read the log themselves.
const OF_THE_LOG: [&str; 3] = ["checkpointprotection", "v2checkpoint", "vacuumprotocolcheck"];

/// The reader features that shared files of a table cannot be read without, in lower case: those of its protocol and
/// of its properties. A feature that nothing of the table uses is not needed.
pub(super) fn needed_features(protocol: &Protocol, metadata: &Metadata) -> BTreeSet<String> {
    let property = |key: &str| metadata.configuration.get(key).map(|value| value.to_ascii_lowercase());
    let is_mapped = property("delta.columnMapping.mode").is_some_and(|mode| mode != "none");
    let has_vectors = property("delta.enableDeletionVectors").as_deref() == Some("true");
    let has_unzoned_times = metadata.schema_string.contains("timestamp_ntz");
    let of_protocol = protocol.reader_features.iter().map(|feature| feature.to_ascii_lowercase());
    let mut needed: BTreeSet<_> = of_protocol
        .filter(|_| protocol.min_reader_version >= 3)
        .filter(|feature| match feature.as_str() {
            "columnmapping" => is_mapped,
            DELETION_VECTORS => has_vectors,
            "timestampntz" => has_unzoned_times,
            feature => !OF_THE_LOG.contains(&feature),
        })
        .collect();
    let version = protocol.min_reader_version;
    needed.extend((version > READER_VERSION_MAX).then(|| format!("reader version {version}")));
    needed.extend(is_mapped.then(|| "columnmapping".to_owned()));
    needed.extend(has_vectors.then(|| DELETION_VECTORS.to_owned()));
    needed
}

/// The property of tables whose changes can be read.
pub(super) const CHANGE_DATA_FEED: &str = "delta.enableChangeDataFeed";

/// Whether a table's changes can be read: its writers keep them.
pub(super) fn has_change_data_feed(metadata: &Metadata) -> bool {
    let property = metadata.configuration.get(CHANGE_DATA_FEED);
    property.is_some_and(|value| value.eq_ignore_ascii_case("true"))
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
            assert!(!Capabilities::parse(&format!("{text};readerfeatures=, ")).knows_features(), "{text}");
        }
    }

    #[test]
    fn a_feature_is_needed_if_the_table_uses_it() {
        let protocol = |version: u32, features: &[&str]| Protocol {
            min_reader_version: version,
            min_writer_version: 7,
            reader_features: features.iter().map(ToString::to_string).collect(),
            writer_features: BTreeSet::new(),
        };
        let metadata = |property: Option<(&str, &str)>, kind: &str| Metadata {
            id: "t".to_owned(),
            name: None,
            description: None,
            schema_string: format!(r#"{{"fields":[{{"name":"a","type":"{kind}"}}]}}"#),
            partition_columns: Vec::new(),
            configuration: property.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            created_time: None,
        };
        let mapped = Some(("delta.columnMapping.mode", "name"));
        for (protocol, metadata, expected) in [
            (protocol(1, &[]), metadata(None, "long"), &[][..]),
            (protocol(2, &[]), metadata(None, "long"), &[]),
            (protocol(2, &[]), metadata(mapped, "long"), &["columnmapping"]),
            (protocol(3, &["columnMapping"]), metadata(Some(("delta.columnMapping.mode", "none")), "long"), &[]),
            (protocol(3, &["v2Checkpoint", "timestampNtz"]), metadata(None, "long"), &[]),
            (protocol(3, &["timestampNtz"]), metadata(None, "timestamp_ntz"), &["timestampntz"]),
            (protocol(3, &["deletionVectors"]), metadata(None, "long"), &[]),
            (
                protocol(3, &["deletionVectors"]),
                metadata(Some(("delta.enableDeletionVectors", "true")), "long"),
                &["deletionvectors"],
            ),
            (protocol(4, &[]), metadata(None, "long"), &["reader version 4"]),
            (protocol(1, &[]), metadata(Some(("delta.enableDeletionVectors", "TRUE")), "long"), &["deletionvectors"]),
            (protocol(3, &["variantType"]), metadata(mapped, "long"), &["columnmapping", "varianttype"]),
        ] {
            let needed: Vec<_> = needed_features(&protocol, &metadata).into_iter().collect();
            assert_eq!(needed, expected, "{protocol:?} {metadata:?}");
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
