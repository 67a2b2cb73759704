//! HTTP to one workspace: tokens, attempts, and what an answer means.
//!
//! Knows OAuth for service principals (machine to machine) and nothing of any endpoint. Nothing here prints a token, a
//! secret or a body.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use delivery::ports::{Clock, PortError};
use delivery::timestamp::Timestamp;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::error::{ApiError, ApiErrorKind, Refusal};
use crate::paging::Pager;
use crate::ports::{CredentialSource, Pause};
pub use crate::retry::Patience;
use crate::retry::{Attempts, Replay};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest body that is read, in bytes: a share of a thousand tables is a tenth of it.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A token is not used in its last minute (or second half, if it lives shorter): the answer may take that long.
const TOKEN_RESERVE_SECONDS: i64 = 60;

const TOKEN: &str = "get a token of the workspace";

/// A workspace's URL: HTTPS, or plain HTTP on the loopback for tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceUrl(String);

impl WorkspaceUrl {
    /// Reads a URL such as `https://dbc-1234.cloud.databricks.com`: scheme and host, nothing behind them. Plain HTTP
    /// is for loopback addresses only, because the secret would be readable on the way.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let url = reqwest::Url::parse(text).ok()?;
        let loopback = matches!(url.host_str()?, "127.0.0.1" | "localhost" | "[::1]");
        let safe = url.scheme() == "https" || (url.scheme() == "http" && loopback);
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let anonymous = url.username().is_empty() && url.password().is_none();
        (safe && bare && anonymous).then(|| Self(text.trim_end_matches('/').to_owned()))
    }
}

/// A client of one workspace.
pub struct Workspace {
    url: WorkspaceUrl,
    client: reqwest::Client,
    credentials: Arc<dyn CredentialSource>,
    clock: Arc<dyn Clock>,
    pause: Arc<dyn Pause>,
    patience: Patience,
    token: Mutex<Option<Held>>,
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A token that is used until it ends. Has no `Debug`.
#[derive(Clone)]
struct Held {
    token: Arc<str>,
    good_until: Timestamp,
}

/// A request, before it has a token.
pub(crate) struct Call<'a> {
    pub(crate) operation: &'static str,
    pub(crate) method: Method,
    /// Segments of the path; each is escaped.
    pub(crate) path: Vec<&'a str>,
    pub(crate) query: Vec<(&'static str, &'a str)>,
    pub(crate) body: Option<Value>,
    pub(crate) replay: Replay,
}

impl<'a> Call<'a> {
    /// A request to the catalog's endpoints that may be repeated.
    pub(crate) fn catalog(operation: &'static str, method: Method, path: &[&'a str]) -> Self {
        let path = ["api", "2.1", "unity-catalog"].iter().chain(path).copied().collect();
        Self { operation, method, path, query: Vec::new(), body: None, replay: Replay::Safe }
    }

    pub(crate) fn with_query(mut self, name: &'static str, value: &'a str) -> Self {
        self.query.push((name, value));
        self
    }

    pub(crate) fn with_body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    pub(crate) fn once(self) -> Self {
        Self { replay: Replay::Unsafe, ..self }
    }
}

impl Workspace {
    /// A client of a workspace.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the HTTP client cannot be set up.
    pub fn new(
        url: WorkspaceUrl,
        credentials: Arc<dyn CredentialSource>,
        clock: Arc<dyn Clock>,
        pause: Arc<dyn Pause>,
        patience: Patience,
    ) -> Result<Self, PortError> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(patience.request_max)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| ApiError::without_answer("set up the client of the workspace", error))?;
        Ok(Self { url, client, credentials, clock, pause, patience, token: Mutex::default() })
    }

    /// Does a call and reads its answer.
    pub(crate) async fn call<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, ApiError> {
        let operation = call.operation;
        let body = self.authorized(&call).await?;
        // Some endpoints answer success with nothing.
        let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
        serde_json::from_slice(body).map_err(|error| ApiError::unreadable(operation, position_of(&error)))
    }

    /// Does a call whose answer may be that the thing does not exist.
    pub(crate) async fn find<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<Option<T>, ApiError> {
        match self.call(call).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind == ApiErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a list to its end. The items are in `field` of each page.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        path: &[&str],
        query: &[(&'static str, &str)],
        field: &'static str,
    ) -> Result<Vec<T>, ApiError> {
        let mut pager = Pager::new();
        while let Some(token) = pager.wanted() {
            // 0 lets the server choose the length; without it the API does not page at all.
            let mut call = Call::catalog(operation, Method::GET, path).with_query("max_results", "0");
            call.query.extend(query);
            if let Some(token) = token {
                call = call.with_query("page_token", token);
            }
            let mut page: serde_json::Map<String, Value> = self.call(call).await?;
            let items = match page.remove(field) {
                None | Some(Value::Null) => Vec::new(),
                Some(items) => serde_json::from_value(items)
                    .map_err(|error| ApiError::unreadable(operation, position_of(&error)))?,
            };
            let next = page.get("next_page_token").and_then(Value::as_str).map(ToOwned::to_owned);
            pager.take(items, next).map_err(|error| ApiError::unreadable(operation, error))?;
        }
        Ok(pager.items())
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Waits between two looks at something that takes its time, unless the caller would be ended before the next one.
    pub(crate) async fn wait(&self, duration: Duration) -> Option<()> {
        self.patience.request(duration, self.pause.time_left())?;
        self.pause.pause(duration).await;
        Some(())
    }

    async fn authorized(&self, call: &Call<'_>) -> Result<Bytes, ApiError> {
        let token = self.token().await?;
        match self.attempt(call, &token).await {
            // The token may have been revoked before its time. A new one is tried once.
            Err(error) if error.kind == ApiErrorKind::Unauthenticated => {
                self.forget(&token).await;
                let token = self.token().await?;
                self.attempt(call, &token).await
            }
            outcome => outcome,
        }
    }

    async fn attempt(&self, call: &Call<'_>, token: &str) -> Result<Bytes, ApiError> {
        let mut url = self.url.0.clone();
        for segment in &call.path {
            url.push('/');
            url.push_str(&escaped(segment));
        }
        let build = || {
            let request = self.client.request(call.method.clone(), &url).query(&call.query).bearer_auth(token);
            match &call.body {
                Some(body) => request.header(CONTENT_TYPE, "application/json").body(body.to_string()),
                None => request,
            }
        };
        let answer = self.send(call.operation, call.replay, build).await?;
        answer.success(call.operation)
    }

    /// Sends a request until it has an answer that counts.
    async fn send(
        &self,
        operation: &'static str,
        replay: Replay,
        build: impl Fn() -> reqwest::RequestBuilder,
    ) -> Result<Answer, ApiError> {
        let mut attempts = Attempts::new(self.patience, replay);
        loop {
            let Some(longest) = self.patience.request(Duration::ZERO, self.pause.time_left()) else {
                return Err(ApiError { attempts: attempts.made() - 1, ..ApiError::too_late(operation) });
            };
            let sent = async { Answer::read(build().timeout(longest).send().await?, &*self.clock).await }.await;
            let left = self.pause.time_left();
            let (wait, failure) = match sent {
                Ok(Body::Whole(answer)) if answer.status.is_success() => return Ok(answer),
                Ok(Body::Whole(answer)) => (attempts.after_refusal(&answer.refusal(), left), Failure::Refused(answer)),
                Ok(Body::TooLong) => return Err(ApiError::unreadable(operation, "the body is too long")),
                Err(error) => (attempts.after_silence(left), Failure::Silent(error)),
            };
            match (wait, failure) {
                (Some(wait), _) => self.pause.pause(wait).await,
                (None, Failure::Refused(answer)) => return Ok(Answer { attempts: attempts.made(), ..answer }),
                (None, Failure::Silent(error)) => {
                    let error = ApiError::without_answer(operation, error);
                    return Err(ApiError { attempts: attempts.made(), ..error });
                }
            }
        }
    }

    /// A token: the one of before while it is good, else a new one. Callers at the same time share it.
    async fn token(&self) -> Result<Arc<str>, ApiError> {
        let mut held = self.token.lock().await;
        let now = self.clock.now();
        if let Some(held) = held.as_ref().filter(|held| now < held.good_until) {
            return Ok(held.token.clone());
        }
        let fresh = self.fresh_token(now).await?;
        let token = fresh.token.clone();
        *held = Some(fresh);
        Ok(token)
    }

    async fn forget(&self, token: &str) {
        let mut held = self.token.lock().await;
        held.take_if(|held| &*held.token == token);
    }

    async fn fresh_token(&self, now: Timestamp) -> Result<Held, ApiError> {
        let credential = self.credentials.credential().await.map_err(unknown_credential)?;
        let secret = credential.secret.reveal();
        let url = format!("{}/oidc/v1/token", self.url.0);
        let build = || {
            let form = "grant_type=client_credentials&scope=all-apis";
            let request = self.client.post(&url).basic_auth(&credential.client_id, Some(&secret));
            request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form)
        };
        let answer = self.send(TOKEN, Replay::Safe, build).await?;
        if !answer.status.is_success() {
            return Err(answer.refused_token());
        }
        let token: TokenAnswer =
            serde_json::from_slice(&answer.body).map_err(|_| ApiError::unreadable(TOKEN, "the answer has no token"))?;
        if !token.token_type.eq_ignore_ascii_case("bearer") {
            return Err(ApiError::unreadable(TOKEN, "the token is no bearer token"));
        }
        let life = token.expires_in.max(0);
        let good_until = now.plus_seconds(life - TOKEN_RESERVE_SECONDS.min(life / 2));
        Ok(Held { token: token.access_token.into(), good_until })
    }
}

/// What came of one attempt that does not count as an answer.
enum Failure {
    Refused(Answer),
    Silent(reqwest::Error),
}

/// An answer, read whole. Its body may hold an activation URL or a token, so it has no `Debug`.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// When it had come.
    at: Timestamp,
    attempts: u32,
}

enum Body {
    Whole(Answer),
    TooLong,
}

impl Answer {
    async fn read(mut response: reqwest::Response, clock: &dyn Clock) -> Result<Body, reqwest::Error> {
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = BytesMut::new();
        while let Some(part) = response.chunk().await? {
            if body.len() + part.len() > BODY_BYTES_MAX {
                return Ok(Body::TooLong);
            }
            body.extend_from_slice(&part);
        }
        Ok(Body::Whole(Self { status, headers, body: body.freeze(), at: clock.now(), attempts: 1 }))
    }

    fn success(self, operation: &'static str) -> Result<Bytes, ApiError> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        Err(self.refusal().error(operation, self.attempts))
    }

    /// What it says, if it is no success.
    fn refusal(&self) -> Refusal {
        Refusal::read(self.status, &self.headers, &self.body, self.at)
    }

    /// The token endpoint's refusal. It has a shape of its own (RFC 6749), whose description is not kept.
    fn refused_token(self) -> ApiError {
        #[derive(Deserialize)]
        struct OauthError {
            error: String,
        }
        let code = serde_json::from_slice::<OauthError>(&self.body).ok().map(|error| error.error);
        let word = |code: &String| code.len() <= 64 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let code = code.filter(word);
        let refusal = Refusal::read(self.status, &self.headers, b"", self.at);
        let error = refusal.error(TOKEN, self.attempts);
        match error.kind {
            ApiErrorKind::Throttled | ApiErrorKind::Unavailable => ApiError { code, ..error },
            // Whatever the status, the service principal did not get in: asking again with it is of no use.
            ApiErrorKind::Missing
            | ApiErrorKind::Exists
            | ApiErrorKind::Denied
            | ApiErrorKind::Unauthenticated
            | ApiErrorKind::Invalid
            | ApiErrorKind::Conflict
            | ApiErrorKind::Unreadable => ApiError { kind: ApiErrorKind::Denied, code, ..error },
        }
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    token_type: String,
    /// Life in seconds. A token that does not say lives for one call.
    #[serde(default)]
    expires_in: i64,
}

fn unknown_credential(error: PortError) -> ApiError {
    let kind = match error.kind {
        delivery::ports::PortErrorKind::Throttled => ApiErrorKind::Throttled,
        delivery::ports::PortErrorKind::Unavailable => ApiErrorKind::Unavailable,
        delivery::ports::PortErrorKind::NotFound
        | delivery::ports::PortErrorKind::Denied
        | delivery::ports::PortErrorKind::InvalidData => ApiErrorKind::Denied,
    };
    ApiError { kind, ..ApiError::unreadable(TOKEN, error) }
}

/// Where a body stopped being readable. `serde_json`'s own text may quote the body.
fn position_of(error: &serde_json::Error) -> String {
    format!("the body is not what the API describes, at line {} column {}", error.line(), error.column())
}

/// A segment of a path, everything but unreserved characters escaped.
fn escaped(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_only_travels_encrypted_or_not_at_all() {
        for good in ["https://dbc-1.cloud.databricks.com", "https://host/", "http://127.0.0.1:8080", "http://[::1]:1"] {
            assert!(WorkspaceUrl::new(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "host",
            "http://dbc-1.cloud.databricks.com",
            "http://127.0.0.1.evil.test",
            "https://host/path",
            "https://host?x",
            "https://user:secret@host",
            "ftp://host",
        ] {
            assert!(WorkspaceUrl::new(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_segment_cannot_leave_its_place() {
        assert_eq!(escaped("main.acme.wf_a__v1"), "main.acme.wf_a__v1");
        assert_eq!(escaped("a/b?c#d e%"), "a%2Fb%3Fc%23d%20e%25");
    }
}
