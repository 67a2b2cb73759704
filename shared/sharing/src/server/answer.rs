//! The body of a query's answer: file lines, made while they are sent.

use std::io::Write as _;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::Stream;
use tables::snapshot::{File, Snapshot};

use super::access::OpenTable;
use super::capabilities::{EndStreamAction, Format};
use super::error::chain;
use super::lines;
use super::predicate::Predicate;
use crate::ports::UrlSigner;

/// How much is made before it is sent, in bytes before compression.
const PART_BYTES: usize = 64 * 1_024;

/// What goes into an answer.
pub(super) struct Plan {
    pub(super) table: OpenTable,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) format: Format,
    pub(super) head: Vec<u8>,
    /// Files that cannot match are left out.
    pub(super) predicate: Option<Predicate>,
    /// Files behind so many rows are left out.
    pub(super) row_limit: Option<u64>,
    pub(super) urls: Arc<dyn UrlSigner>,
    pub(super) url_life_seconds: u32,
    pub(super) urls_expire_at: Timestamp,
    pub(super) end: EndStreamAction,
}

/// How the body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As it is.
    Identity,
    /// Compressed, for clients that accept it.
    Gzip,
}

/// The body of an answer. Its first part is made before this returns, so that what fails at once fails with a status.
pub(super) async fn body(plan: Plan, encoding: Encoding) -> Result<Body, PortError> {
    let audit = Audit::of(&plan);
    let writer = match encoding {
        Encoding::Identity => Writer::Identity(Vec::new()),
        Encoding::Gzip => Writer::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
    };
    let mut answer = Answer { position: Position::default(), rows: 0, audit, writer, plan };
    let head = std::mem::take(&mut answer.plan.head);
    answer.writer.write(&head)?;
    let first = answer.part().await?;
    Ok(Body::from_stream(answer.stream(first)))
}

/// A place in a snapshot's chunks of files.
#[derive(Debug, Default)]
struct Position {
    chunk: usize,
    file: usize,
}

impl Position {
    fn next(&mut self, snapshot: &Snapshot) -> Option<Arc<File>> {
        loop {
            let chunk = snapshot.chunks().get(self.chunk)?;
            if let Some(file) = chunk.get(self.file) {
                self.file += 1;
                return Some(file.clone());
            }
            *self = Self { chunk: self.chunk + 1, file: 0 };
        }
    }
}

struct Answer {
    plan: Plan,
    position: Position,
    /// Rows in the files written so far, as far as statistics tell.
    rows: u64,
    writer: Writer,
    audit: Audit,
}

impl Answer {
    /// Makes the next part; empty when there is no more.
    async fn part(&mut self) -> Result<Bytes, PortError> {
        let mut lines = Vec::new();
        loop {
            let Some(file) = self.next_file() else {
                return self.finish(None);
            };
            if let Err(error) = self.write_file(&mut lines, &file).await {
                if self.plan.end == EndStreamAction::Omitted {
                    return Err(error);
                }
                tracing::error!(error.kind = ?error.kind, error.chain = %chain(&error), "an answer ended early");
                return self.finish(Some("The share cannot be read whole at the moment. Try again in a while."));
            }
            self.writer.write(&lines)?;
            lines.clear();
            if self.writer.len() >= PART_BYTES {
                return Ok(self.writer.take());
            }
        }
    }

    /// The next file that the plan does not leave out.
    fn next_file(&mut self) -> Option<Arc<File>> {
        if self.plan.row_limit.is_some_and(|limit| self.rows >= limit) {
            return None;
        }
        loop {
            let file = self.position.next(&self.plan.snapshot)?;
            if self.plan.predicate.as_ref().is_none_or(|predicate| predicate.may_match(&file)) {
                return Some(file);
            }
        }
    }

    async fn write_file(&mut self, lines: &mut Vec<u8>, file: &File) -> Result<(), PortError> {
        let key = object_key(&self.plan.table.table.path, &file.path)
            .ok_or_else(|| failed(PortErrorKind::InvalidData, "a file's path is not inside its table"))?;
        let url = self.plan.urls.signed_url(&key, self.plan.url_life_seconds).await?;
        lines::file(lines, file, &url, self.plan.urls_expire_at, self.plan.format)
            .map_err(|error| failed(PortErrorKind::InvalidData, error.to_string()))?;
        if self.plan.row_limit.is_some() {
            self.rows += rows(file);
        }
        self.audit.files += 1;
        self.audit.bytes += file.size;
        Ok(())
    }

    fn finish(&mut self, error: Option<&str>) -> Result<Bytes, PortError> {
        if self.plan.end == EndStreamAction::Included {
            let expires_at = (self.audit.files > 0).then_some(self.plan.urls_expire_at);
            self.writer.write(&lines::end(expires_at, error))?;
            self.plan.end = EndStreamAction::Omitted;
        }
        // Whatever is asked for now, there is no more.
        self.plan.row_limit = Some(0);
        self.writer.finish()
    }

    fn stream(self, first: Bytes) -> impl Stream<Item = Result<Bytes, PortError>> + Send + 'static {
        futures::stream::try_unfold((self, Some(first)), async |(mut answer, first)| {
            let part = match first {
                Some(first) => first,
                None => answer.part().await?,
            };
            Ok((!part.is_empty()).then_some((part, (answer, None))))
        })
    }
}

/// The rows of a file; none if its statistics do not tell.
fn rows(file: &File) -> u64 {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Rows {
        num_records: u64,
    }
    let statistics = file.stats.as_deref().unwrap_or_default();
    serde_json::from_str(statistics).map_or(0, |rows: Rows| rows.num_records)
}

/// The key of a file by its path in the log, which is percent-encoded once and must not leave the table.
fn object_key(table_path: &str, logged: &str) -> Option<String> {
    let mut key = Vec::with_capacity(table_path.len() + 1 + logged.len());
    let mut rest = logged.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let escaped = (*byte == b'%').then(|| after.split_at_checked(2)).flatten();
        let decoded = escaped.and_then(|(digits, after)| {
            let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
            Some((u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?, after))
        });
        let (byte, after) = decoded.unwrap_or((*byte, after));
        key.push(byte);
        rest = after;
    }
    let relative = String::from_utf8(key).ok()?;
    let leaves = relative.contains("://") || relative.split('/').any(|part| matches!(part, "" | "." | ".."));
    (!leaves).then(|| format!("{table_path}/{relative}"))
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
        std::mem::take(self.buffer()).into()
    }

    fn finish(&mut self) -> Result<Bytes, PortError> {
        if let Self::Gzip(encoder) = self {
            encoder.try_finish().map_err(|error| failed(PortErrorKind::InvalidData, error))?;
        }
        Ok(self.take())
    }
}

/// One line for each read, written when the answer ends, however it ends.
struct Audit {
    connector: String,
    holder: &'static str,
    table: String,
    table_version: u64,
    files: u64,
    bytes: u64,
}

impl Audit {
    fn of(plan: &Plan) -> Self {
        Self {
            connector: plan.table.grant.connector.to_string(),
            holder: plan.table.grant.holder.as_str(),
            table: plan.table.table.name.to_string(),
            table_version: plan.snapshot.version,
            files: 0,
            bytes: 0,
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        tracing::info!(
            connector.id = self.connector,
            holder = self.holder,
            table = self.table,
            table_version = self.table_version,
            files = self.files,
            bytes = self.bytes,
            "shared table read"
        );
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
