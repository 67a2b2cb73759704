//! Reading a share the way its recipient does: over HTTP, with a bearer token of its own. This is how a delivery is
//! proven.
//!
//! Knows the protocol from the client's end, in parquet format. Keeps a token for each connector while it is good.
//! Nothing here puts a URL or a token into an error.

pub mod footer;
mod response;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use delivery::connector::SHARE_SCHEMA;
use delivery::ids::ConnectorId;
use delivery::ports::{Clock, FetchedFile, PortError, PortErrorKind, ReadScope, ShareReader, SharedFile, SharedView};
use delivery::schema::RUN_COLUMNS;
use delivery::table::TableName;
use delivery::timestamp::Timestamp;
use futures::StreamExt as _;
use http::StatusCode;
use http::header::RANGE;
use serde_json::json;

use crate::ports::{Grant, Holder, SecretSource, TokenStore};
use crate::secrets::OsSecrets;
use crate::server;

pub use response::shared_file;

/// Life of a proof's token, in seconds.
const TOKEN_LIFE_SECONDS: i64 = 15 * 60;

/// A token is not used in its last minute: the answer may take that long.
const TOKEN_RESERVE_SECONDS: i64 = 60;

/// How long one request may take, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Footers under way at once.
const FETCHES_AT_ONCE: usize = 8;

/// A [`ShareReader`] over HTTP.
pub struct HttpShareReader {
    endpoint: String,
    tokens: Arc<dyn TokenStore>,
    secrets: Arc<dyn SecretSource>,
    clock: Arc<dyn Clock>,
    client: reqwest::Client,
    minted: Mutex<BTreeMap<ConnectorId, Minted>>,
}

impl fmt::Debug for HttpShareReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpShareReader").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// A token that this process made. Has no `Debug`.
struct Minted {
    token: Arc<str>,
    expires_at: Timestamp,
}

impl HttpShareReader {
    /// A reader of the shares at an endpoint, such as `https://host/delta-sharing`. Its tokens come from the operating
    /// system's randomness.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the HTTP client cannot be set up.
    pub fn new(endpoint: &str, tokens: Arc<dyn TokenStore>, clock: Arc<dyn Clock>) -> Result<Self, PortError> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| failed("set up the reader of shares", error))?;
        let endpoint = server::endpoint(server::host_url(endpoint));
        Ok(Self { endpoint, tokens, secrets: Arc::new(OsSecrets), clock, client, minted: Mutex::default() })
    }

    /// The same reader with tokens from elsewhere.
    #[must_use]
    pub fn with_secrets(self, secrets: Arc<dyn SecretSource>) -> Self {
        Self { secrets, ..self }
    }

    /// A token for a connector's share: the one of before while it is good, else a new one.
    async fn token(&self, connector: &ConnectorId) -> Result<Arc<str>, PortError> {
        let now = self.clock.now();
        {
            let mut minted = self.minted.lock().unwrap_or_else(PoisonError::into_inner);
            minted.retain(|_, token| now.plus_seconds(TOKEN_RESERVE_SECONDS) < token.expires_at);
            if let Some(kept) = minted.get(connector) {
                return Ok(kept.token.clone());
            }
        }
        let secret = self.secrets.secret()?;
        let expires_at = now.plus_seconds(TOKEN_LIFE_SECONDS);
        let (connector_id, allowed_ips) = (connector.clone(), Vec::new());
        let grant = Grant { connector: connector_id, holder: Holder::Proof, expires_at, allowed_ips, rotation: 0 };
        self.tokens.put_token(&secret.hash(), &grant).await?;
        let token: Arc<str> = secret.reveal().into();
        let minted = Minted { token: token.clone(), expires_at };
        self.minted.lock().unwrap_or_else(PoisonError::into_inner).insert(connector.clone(), minted);
        Ok(token)
    }

    async fn query(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        scope: ReadScope<'_>,
        token: &str,
    ) -> Result<reqwest::Response, PortError> {
        const OPERATION: &str = "query a shared table";
        let url = format!("{}/shares/{connector}/schemas/{SHARE_SCHEMA}/tables/{table}/query", self.endpoint);
        let body = match scope {
            ReadScope::Newest => json!({}),
            ReadScope::Runs { table_version, run_ids } => {
                json!({"version": table_version, "jsonPredicateHints": run_predicate(run_ids)})
            }
        };
        let request = self
            .client
            .post(url)
            .bearer_auth(token)
            .header("delta-sharing-capabilities", "responseformat=parquet")
            .header("content-type", "application/json")
            .body(body.to_string());
        let response = request.send().await.map_err(|error| failed(OPERATION, error))?;
        accepted(OPERATION, response)
    }
}

#[async_trait]
impl ShareReader for HttpShareReader {
    async fn read(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        scope: ReadScope<'_>,
    ) -> Result<SharedView, PortError> {
        let token = self.token(connector).await?;
        let answer = self.query(connector, table, scope, &token).await;
        if matches!(&answer, Err(error) if error.kind == PortErrorKind::Denied) {
            // Whatever the server has against the token, the next attempt comes with a new one.
            self.minted.lock().unwrap_or_else(PoisonError::into_inner).remove(connector);
        }
        response::view(answer?).await
    }

    async fn fetch_footer(&self, file: &SharedFile) -> Result<FetchedFile, PortError> {
        let mut tail_bytes = footer::TAIL_BYTES;
        loop {
            let tail = self.fetch_tail(&file.url, tail_bytes).await?;
            match footer::read(&tail.bytes)? {
                footer::Footer::Whole { rows, columns } => {
                    return Ok(FetchedFile { size_bytes: tail.object_bytes, rows, columns });
                }
                footer::Footer::LongerThanTail { bytes } if bytes > tail_bytes && bytes <= tail.object_bytes => {
                    tail_bytes = bytes;
                }
                footer::Footer::LongerThanTail { .. } => return Err(footer::unreadable("the footer is cut off")),
            }
        }
    }

    async fn fetch_footer_each(&self, files: &[SharedFile]) -> Vec<Result<FetchedFile, PortError>> {
        let fetches = files.iter().map(|file| self.fetch_footer(file));
        futures::stream::iter(fetches.collect::<Vec<_>>()).buffered(FETCHES_AT_ONCE).collect().await
    }
}

/// The end of an object, and how long the whole is.
struct Tail {
    bytes: bytes::Bytes,
    object_bytes: u64,
}

impl HttpShareReader {
    async fn fetch_tail(&self, url: &str, tail_bytes: u64) -> Result<Tail, PortError> {
        const OPERATION: &str = "fetch the footer of a shared file";
        let request = self.client.get(url).header(RANGE, format!("bytes=-{tail_bytes}"));
        let response = request.send().await.map_err(|error| failed(OPERATION, error))?;
        let response = accepted(OPERATION, response)?;
        let range = response.headers().get(http::header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
        let stated = range.and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        let partial = response.status() == StatusCode::PARTIAL_CONTENT;
        let bytes = response::limited_body(OPERATION, response, footer::FOOTER_BYTES_MAX).await?;
        let object_bytes = match stated {
            Some(stated) if partial => stated,
            None if !partial => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Some(_) | None => return Err(footer::unreadable("the storage does not say how long the file is")),
        };
        Ok(Tail { bytes, object_bytes })
    }
}

/// `run_id = <run>`, or any of several, as the protocol writes predicates.
fn run_predicate(run_ids: &[&str]) -> String {
    let [column, _] = RUN_COLUMNS;
    let equal = |run_id: &&str| {
        json!({"op": "equal", "children": [
            {"op": "column", "name": column, "valueType": "string"},
            {"op": "literal", "value": run_id, "valueType": "string"},
        ]})
    };
    match run_ids {
        [one] => equal(one).to_string(),
        many => json!({"op": "or", "children": many.iter().map(equal).collect::<Vec<_>>()}).to_string(),
    }
}

/// The answer, if it is a success; else what its status means to us. The body is not kept: it is not ours to print.
fn accepted(operation: &'static str, response: reqwest::Response) -> Result<reqwest::Response, PortError> {
    let status = response.status();
    let kind = match status {
        _ if status.is_success() => return Ok(response),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => PortErrorKind::Denied,
        StatusCode::NOT_FOUND | StatusCode::GONE => PortErrorKind::NotFound,
        StatusCode::TOO_MANY_REQUESTS => PortErrorKind::Throttled,
        _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => PortErrorKind::Unavailable,
        _ => PortErrorKind::InvalidData,
    };
    Err(PortError::new(kind, operation, format!("the answer was {}", status.as_u16())))
}

/// A request that got no answer, or not the whole of it. Without its URL, which may be presigned.
fn failed(operation: &'static str, error: reqwest::Error) -> PortError {
    PortError::new(PortErrorKind::Unavailable, operation, error.without_url())
}
