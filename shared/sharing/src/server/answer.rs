//! The body of an answer about a table's files, made while it is sent.

use std::io::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::Stream;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, VARY};
use http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::Map;

use super::access::OpenTable;
use super::capabilities::{CAPABILITIES, Capabilities, DELETION_VECTORS, EndStreamAction, Format};
use super::error::ProtocolError;
use super::file_ids::FILE_ID_HASH;
use super::lines::{self, End, FileStyle, NDJSON, Urls};
use super::read_token::ReadTokens;
use super::source::{Entry, Object, Source};
use crate::ports::UrlSigner;

/// The header that every answer about a table has.
pub(super) const TABLE_VERSION: HeaderName = HeaderName::from_static("delta-table-version");

/// How much is made before it is sent, in bytes before compression.
const PART_BYTES: usize = 64 * 1_024;
/// What a part takes: it is sent when its last line is there.
const PART_CAPACITY: usize = PART_BYTES + 4 * 1_024;

/// What goes into an answer.
pub(super) struct Plan {
    pub(super) bytes_max: u64,
    pub(super) source: Source,
    pub(super) head: Vec<u8>,
    pub(super) style: FileStyle,
    pub(super) capabilities: Capabilities,
    pub(super) links: Links,
    pub(super) end: EndStreamAction,
    pub(super) refresh_token: Option<String>,
    pub(super) paging: Option<Paging>,
    pub(super) audit: Audit,
}

/// How URLs of a table's files are made.
pub(super) struct Links {
    pub(super) table_path: String,
    pub(super) urls: Arc<dyn UrlSigner>,
    pub(super) life_seconds: u32,
    /// Until when all of them are good.
    pub(super) expires_at: Timestamp,
}

/// How an answer ends before everything is said.
pub(super) struct Paging {
    pub(super) files_max: u64,
    pub(super) tokens: ReadTokens,
    pub(super) checksum: String,
}

/// What the headers of an answer in lines say.
pub(super) struct Headers {
    pub(super) version: u64,
    pub(super) capabilities: HeaderValue,
    pub(super) file_ids: Option<HeaderValue>,
}

/// How the body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As it is.
    Identity,
    /// Compressed, for clients that accept it.
    Gzip,
}

impl Encoding {
    /// Gzip if the client lists it and does not refuse it (`q=0`).
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let texts = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let takes_gzip = texts.flat_map(|text| text.split(',')).any(|entry| {
            let mut parts = entry.split(';').map(str::trim);
            let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
            named && weight.is_none_or(|weight| weight.parse().is_ok_and(|weight: f32| weight > 0.0))
        });
        if takes_gzip { Self::Gzip } else { Self::Identity }
    }
}

impl Headers {
    /// An answer in lines.
    pub(super) fn respond(self, body: impl Into<Body>, encoding: Encoding) -> Response {
        let mut response = (StatusCode::OK, body.into()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
        headers.insert(TABLE_VERSION, HeaderValue::from(self.version));
        headers.insert(CAPABILITIES, self.capabilities);
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        headers.extend(self.file_ids.map(|ids| (HeaderName::from_static(FILE_ID_HASH), ids)));
        if encoding == Encoding::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// The body of an answer. Its first part is made before this returns, so that what fails at once fails with a status.
pub(super) async fn body(plan: Plan, encoding: Encoding) -> Result<Body, ProtocolError> {
    let writer = match encoding {
        Encoding::Identity => Writer::Identity(Vec::with_capacity(PART_CAPACITY)),
        Encoding::Gzip => Writer::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
    };
    let mut answer = Answer { progress: Progress::UnderWay, writer, plan, sent_bytes: 0 };
    let head = std::mem::take(&mut answer.plan.head);
    answer.writer.write(&head)?;
    let first = match answer.part().await {
        Ok(first) => first,
        Err(error) => {
            answer.plan.audit.withdraw();
            return Err(error);
        }
    };
    Ok(Body::from_stream(answer.stream(first)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    UnderWay,
    Ended,
}

struct Answer {
    plan: Plan,
    progress: Progress,
    writer: Writer,
    /// Bytes that were handed on to be sent.
    sent_bytes: u64,
}

impl Answer {
    /// Makes the next part; empty when there is no more.
    ///
    /// What fails behind the first part is the last line, whether an end was asked for or not: nothing else tells a
    /// client behind a function URL, which closes a connection in good order whatever the function does. No client
    /// takes such a line for a file.
    async fn part(&mut self) -> Result<Bytes, ProtocolError> {
        let mut lines = Vec::new();
        while self.progress == Progress::UnderWay {
            match self.step(&mut lines).await {
                Ok(None) => {}
                Ok(Some(end)) => return Ok(self.finish(end)?),
                Err(error) if self.sent_bytes == 0 => return Err(error),
                Err(error) => return Ok(self.break_off(&error)?),
            }
            self.writer.write(&lines)?;
            lines.clear();
            if self.writer.len() >= PART_BYTES {
                self.sent_bytes += self.writer.len() as u64;
                if self.sent_bytes > self.plan.bytes_max {
                    return Ok(self.break_off(&ProtocolError::too_long())?);
                }
                self.plan.audit.part();
                return Ok(self.writer.take());
            }
        }
        Ok(Bytes::new())
    }

    /// Writes the next entry, or says how the answer ends.
    async fn step(&mut self, lines: &mut Vec<u8>) -> Result<Option<End>, ProtocolError> {
        let plan = &mut self.plan;
        let Some(entry) = plan.source.next().await? else {
            return Ok(Some(End { refresh_token: plan.refresh_token.take(), ..End::default() }));
        };
        let format = plan.style.format;
        match &entry {
            Entry::Protocol(version, protocol) => {
                lines.extend(lines::protocol_line(protocol, Some(*version), format, &plan.capabilities));
                return Ok(None);
            }
            Entry::Metadata(version, metadata) => {
                lines.extend(lines::metadata_line(metadata, None, Some(*version), Map::new(), format));
                return Ok(None);
            }
            Entry::File(_) | Entry::Added(..) | Entry::Removed(..) | Entry::Changed(..) => {}
        }
        if let Some(paging) = &plan.paging
            && plan.audit.files >= paging.files_max
        {
            let next_page_token = Some(plan.source.page_token(&paging.tokens, &paging.checksum)?);
            return Ok(Some(End { next_page_token, refresh_token: plan.refresh_token.take(), ..End::default() }));
        }
        let Some(object) = entry.object() else { return Ok(None) };
        check(object, format, &plan.capabilities)?;
        let urls = plan.links.sign(object).await?;
        plan.style
            .write(lines, &entry, &urls)
            .map_err(|error| failed(PortErrorKind::InvalidData, error.to_string()))?;
        plan.audit.count(object.size);
        Ok(None)
    }

    fn break_off(&mut self, error: &ProtocolError) -> Result<Bytes, PortError> {
        tracing::warn!(status = error.status(), bytes = self.sent_bytes, "an answer broke off: {}", error.message());
        self.finish(End { error: Some((error.message().to_owned(), error.status())), ..End::default() })
    }

    fn finish(&mut self, end: End) -> Result<Bytes, PortError> {
        self.progress = Progress::Ended;
        if self.plan.end == EndStreamAction::Included || end.error.is_some() {
            let urls_expire_at = (self.plan.audit.files > 0).then_some(self.plan.style.expires_at);
            self.writer.write(&End { urls_expire_at, ..end }.line())?;
        }
        self.writer.finish()
    }

    fn stream(self, first: Bytes) -> impl Stream<Item = Result<Bytes, PortError>> + Send + 'static {
        futures::stream::try_unfold((self, Some(first)), async |(mut answer, first)| {
            let part = match first {
                Some(first) => first,
                None => answer.part().await.map_err(|error| failed(PortErrorKind::InvalidData, error.message()))?,
            };
            Ok((!part.is_empty()).then_some((part, (answer, None))))
        })
    }
}

/// Refuses what would be read wrongly: a file with deleted rows in a table whose properties do not say that it has such.
fn check(object: Object<'_>, format: Format, capabilities: &Capabilities) -> Result<(), ProtocolError> {
    if object.vector.is_none() || capabilities.accepted(format).contains(DELETION_VECTORS) {
        return Ok(());
    }
    Err(ProtocolError::unsupported(
        "Unsupported Delta Table Properties: the table cannot be read without deletionvectors. Use a client that supports \
         it.",
    ))
}

impl Links {
    async fn sign(&self, object: Object<'_>) -> Result<Urls, PortError> {
        let key = object_key(&self.table_path, object.path)
            .ok_or_else(|| failed(PortErrorKind::InvalidData, "a file's path is not inside its table"))?;
        let file = self.urls.signed_url(&key, self.life_seconds).await?;
        let vector = match object.vector.and_then(|vector| vector.relative_path()) {
            Some(path) => {
                let path = path?;
                let url = self.urls.signed_url(&format!("{}/{path}", self.table_path), self.life_seconds).await?;
                Some((url, path))
            }
            None => None,
        };
        Ok(Urls { file, vector })
    }
}

/// The key of a file by its path in the log, which is percent-encoded once and must not leave the table. (A URL has an
/// empty part.)
fn object_key(table_path: &str, logged: &str) -> Option<String> {
    let relative = match logged.contains('%') {
        true => percent_decode_str(logged).decode_utf8().ok()?,
        false => logged.into(),
    };
    let leaves = relative.split('/').any(|part| matches!(part, "" | "." | ".."));
    (!leaves).then(|| [table_path, "/", &relative].concat())
}

fn failed(kind: PortErrorKind, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PortError {
    PortError::new(kind, "write the answer to a query", source)
}

/// Where bytes gather before they are sent.
enum Writer {
    Identity(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Writer {
    fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        let written = match self {
            Self::Identity(buffer) => buffer.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
        };
        written.map_err(|error| failed(PortErrorKind::InvalidData, error))
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Identity(buffer) => buffer,
            Self::Gzip(encoder) => encoder.get_mut(),
        }
    }

    fn len(&mut self) -> usize {
        self.buffer().len()
    }

    fn take(&mut self) -> Bytes {
        std::mem::replace(self.buffer(), Vec::with_capacity(PART_CAPACITY)).into()
    }

    fn finish(&mut self) -> Result<Bytes, PortError> {
        if let Self::Gzip(encoder) = self {
            encoder.try_finish().map_err(|error| failed(PortErrorKind::InvalidData, error))?;
        }
        Ok(std::mem::take(self.buffer()).into())
    }
}

/// What kind of read an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// A table's newest version.
    Version,
    /// A table's metadata.
    Metadata,
    /// The files of a version.
    Query,
    /// The files that came and went since a version.
    QuerySince,
    /// The change data feed.
    Changes,
    /// A credential for the table's folder.
    Credentials,
}

impl Read {
    fn text(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Metadata => "metadata",
            Self::Query => "query",
            Self::QuerySince => "query since a version",
            Self::Changes => "changes",
            Self::Credentials => "credentials",
        }
    }
}

/// Files of a long answer that one line tells of, at least.
const LINE_FILES_MIN: u64 = 10_000;

/// One line for each read, written when the answer ends, however it ends. A long answer has its first line before
/// anything of it is sent, and more of them on its way: nothing of what the process has handed out goes unsaid for long
/// if it is ended.
pub(super) struct Audit {
    connector: String,
    holder: &'static str,
    table: String,
    table_version: Option<u64>,
    read: Read,
    files: u64,
    /// Files and bytes that no line has told of.
    untold: (u64, u64),
    lines: u32,
}

impl Audit {
    /// Of a read that begins now.
    pub(super) fn of(table: &OpenTable, table_version: Option<u64>, read: Read) -> Self {
        Self {
            connector: table.grant.connector.to_string(),
            holder: table.grant.holder.as_str(),
            table: table.shared.name.to_string(),
            table_version,
            read,
            files: 0,
            untold: (0, 0),
            lines: 0,
        }
    }

    /// Counts a file whose URL is in the answer.
    fn count(&mut self, file_bytes: u64) {
        self.files += 1;
        self.untold = (self.untold.0 + 1, self.untold.1 + file_bytes);
    }

    /// Nothing of the answer was sent: there was no read.
    fn withdraw(&mut self) {
        (self.untold, self.lines) = ((0, 0), 1);
    }

    /// A part of the answer is about to be sent, and there is more to come.
    fn part(&mut self) {
        if self.lines == 0 || self.untold.0 >= LINE_FILES_MIN {
            self.tell();
        }
    }

    fn tell(&mut self) {
        let (files, bytes) = std::mem::take(&mut self.untold);
        let continued = if self.lines == 0 { "" } else { ", continued" };
        self.lines += 1;
        tracing::info!(
            connector.id = self.connector,
            holder = self.holder,
            table = self.table,
            table_version = self.table_version,
            read = format!("{}{continued}", self.read.text()),
            files,
            bytes,
            "shared table read"
        );
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        if self.lines == 0 || self.untold.0 > 0 {
            self.tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_path_is_decoded_once_and_stays_in_its_table() {
        for (logged, expected) in [
            ("f.parquet", Some("t/f.parquet")),
            ("k=a%2520b/f", Some("t/k=a%20b/f")),
            ("100%/f", Some("t/100%/f")),
            ("%+1/f", Some("t/%+1/f")),
            ("k=%C3%A9/f", Some("t/k=é/f")),
            ("k=%ff/f", None),
            ("../f", None),
            ("%2e%2e/f", None),
            ("/f", None),
            ("s3://bucket/f", None),
            ("", None),
        ] {
            assert_eq!(object_key("t", logged).as_deref(), expected, "{logged}");
        }
    }
}
