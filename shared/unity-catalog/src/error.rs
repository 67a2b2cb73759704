//! Errors of the REST API, typed: what happened, by what the caller does about it.
//!
//! Knows the API's error shapes: `{error_code, message, details[]}`, the older `{error}` and plain `CODE: message`.
//! Anything else, such as a proxy's page in HTML, keeps its status only. Neither tokens nor the part of a URL behind
//! its `?` (an activation code stands there) get into an error.

use std::fmt;
use std::time::UNIX_EPOCH;

use delivery::ports::{PortError, PortErrorKind, Refusal as PortRefusal, Refused};
use delivery::timestamp::Timestamp;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;

/// The longest message that is kept, in characters.
const MESSAGE_CHARACTERS_MAX: usize = 500;

/// The longest error code or request id that is kept, in bytes.
const WORD_BYTES_MAX: usize = 128;

/// Messages that mean "later", whatever the status (the official SDKs retry them).
const LATER: [&str; 3] = [
    "RPC token bucket limit has been exceeded",
    "Please try again later or try a faster operation.",
    "Unexpected error",
];

/// What the refusal of a second recipient for one metastore says, whatever its status and code.
const SAME_IDENTIFIER: &str = "same sharing identifier";

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub struct ApiError {
    /// What kind of failure it is.
    pub kind: ApiErrorKind,
    /// What was tried, as a verb phrase.
    pub operation: &'static str,
    /// The answer's status, if there was an answer.
    pub status: Option<u16>,
    /// The API's error code, such as `PERMISSION_DENIED`.
    pub code: Option<String>,
    /// The API's message, shortened.
    pub message: Option<String>,
    /// The request's id, which the vendor's support asks for.
    pub request_id: Option<String>,
    /// How many times the request was sent.
    pub attempts: u32,
    /// What went wrong below the API, if it did.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Kinds of failed calls, by what the caller does about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiErrorKind {
    /// What was named does not exist.
    Missing,
    /// What was to be made exists.
    Exists,
    /// The service principal may not do this.
    Denied,
    /// The service principal or its token was refused.
    Unauthenticated,
    /// The request is not one that the API takes.
    Invalid,
    /// Somebody changed the same at the same time.
    Conflict,
    /// Too many requests, after all retries.
    Throttled,
    /// No answer, or not in time, after all retries.
    Unavailable,
    /// The answer cannot be understood.
    Unreadable,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}: ", self.operation)?;
        match self.status {
            Some(status) => write!(f, "the workspace answered {status}")?,
            None if self.code.is_some() || self.message.is_some() => f.write_str("the workspace reported")?,
            None => f.write_str("the workspace gave no answer that counts")?,
        }
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if let Some(request_id) = &self.request_id {
            write!(f, " (request {request_id})")?;
        }
        if self.attempts > 1 {
            write!(f, " at attempt {}", self.attempts)?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        Ok(())
    }
}

impl ApiError {
    /// A call without a whole answer.
    pub(crate) fn without_answer(operation: &'static str, error: reqwest::Error) -> Self {
        Self {
            kind: ApiErrorKind::Unavailable,
            operation,
            status: None,
            code: None,
            message: None,
            request_id: None,
            attempts: 1,
            source: Some(Box::new(error.without_url())),
        }
    }

    /// A request that was not sent, because the caller would not have seen its end.
    pub(crate) fn too_late(operation: &'static str) -> Self {
        let source = "the function's time is nearly over; the next attempt goes on from here";
        Self { kind: ApiErrorKind::Unavailable, ..Self::unreadable(operation, source) }
    }

    /// An answer that cannot be understood.
    pub(crate) fn unreadable(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind: ApiErrorKind::Unreadable,
            operation,
            status: None,
            code: None,
            message: None,
            request_id: None,
            attempts: 1,
            source: Some(source.into()),
        }
    }

    /// Whether paths of tables were refused because they overlap.
    #[must_use]
    pub fn is_location_overlap(&self) -> bool {
        let says = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains("LOCATION_OVERLAP"));
        says(&self.code) || says(&self.message)
    }

    /// Whether a recipient was refused because the metastore has one with the same sharing identifier.
    #[must_use]
    pub fn is_same_sharing_identifier(&self) -> bool {
        self.message.as_deref().is_some_and(|message| message.to_lowercase().contains(SAME_IDENTIFIER))
    }

    /// The kind that a port's caller sees.
    #[must_use]
    pub fn port_kind(&self) -> PortErrorKind {
        match self.kind {
            ApiErrorKind::Missing => PortErrorKind::NotFound,
            ApiErrorKind::Denied | ApiErrorKind::Unauthenticated => PortErrorKind::Denied,
            ApiErrorKind::Throttled => PortErrorKind::Throttled,
            ApiErrorKind::Unavailable | ApiErrorKind::Conflict => PortErrorKind::Unavailable,
            ApiErrorKind::Exists | ApiErrorKind::Invalid | ApiErrorKind::Unreadable => PortErrorKind::InvalidData,
        }
    }
}

impl From<ApiError> for PortError {
    fn from(error: ApiError) -> Self {
        let (kind, operation) = (error.port_kind(), error.operation);
        match error.kind {
            ApiErrorKind::Denied | ApiErrorKind::Unauthenticated => {
                Self::new(kind, operation, Refused::new(PortRefusal::Denied, error))
            }
            ApiErrorKind::Invalid | ApiErrorKind::Unreadable | ApiErrorKind::Exists => {
                Self::new(kind, operation, Refused::new(PortRefusal::Invalid, error))
            }
            ApiErrorKind::Missing | ApiErrorKind::Conflict | ApiErrorKind::Throttled | ApiErrorKind::Unavailable => {
                Self::new(kind, operation, error)
            }
        }
    }
}

/// What a refusal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: ApiErrorKind,
    pub(crate) status: u16,
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) request_id: Option<String>,
    /// How long the server wants to be left alone, in seconds.
    pub(crate) retry_after_seconds: Option<u64>,
}

impl Refusal {
    /// Reads the answer to a request that did not succeed, which came at a time.
    pub(crate) fn read(status: StatusCode, headers: &HeaderMap, body: &[u8], at: Timestamp) -> Self {
        let shape = Shape::read(body);
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let request_id = header("x-request-id").or_else(|| header("x-databricks-request-id"));
        let request_id = request_id.map(ToOwned::to_owned).or_else(|| shape.detail("RequestInfo", "request_id"));
        let answered_at = header("date").and_then(http_seconds).unwrap_or_else(|| at.seconds());
        let retry_after = header("retry-after").and_then(|text| retry_after_seconds(text.trim(), answered_at));
        Self {
            kind: kind(status, &shape),
            status: status.as_u16(),
            request_id: request_id.and_then(word),
            retry_after_seconds: retry_after.or_else(|| shape.retry_delay_seconds()),
            code: shape.code.and_then(word),
            message: shape.message.as_deref().map(shorten).filter(|message| !message.is_empty()),
        }
    }

    pub(crate) fn error(self, operation: &'static str, attempts: u32) -> ApiError {
        ApiError {
            kind: self.kind,
            operation,
            status: Some(self.status),
            code: self.code,
            message: self.message,
            request_id: self.request_id,
            attempts,
            source: None,
        }
    }
}

/// How long a `Retry-After` asks for, in seconds: a number of them, or a date, which counts from the answer's own, so that
/// nobody's clock has to be right. A date that has passed asks for nothing.
fn retry_after_seconds(text: &str, answered_at: i64) -> Option<u64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let wait = http_seconds(text)?.saturating_sub(answered_at);
    Some(u64::try_from(wait).unwrap_or(0))
}

/// A date as HTTP writes it (RFC 9110, section 5.6.7), in seconds since 1970.
fn http_seconds(text: &str) -> Option<i64> {
    let since_1970 = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since_1970.as_secs()).ok()
}

/// An error's body, whichever shape it has.
#[derive(Debug, Default, PartialEq)]
struct Shape {
    known: bool,
    code: Option<String>,
    message: Option<String>,
    details: Vec<Value>,
}

#[derive(Deserialize)]
struct JsonShape {
    error_code: Option<Value>,
    message: Option<String>,
    error: Option<String>,
    #[serde(default)]
    details: Option<Vec<Value>>,
}

impl Shape {
    fn read(body: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(body) else { return Self::default() };
        if let Ok(json) = serde_json::from_str::<JsonShape>(text) {
            let code = json.error_code.and_then(|code| match code {
                Value::String(code) => Some(code),
                Value::Number(code) => Some(code.to_string()),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
            });
            let known = code.is_some() || json.message.is_some() || json.error.is_some();
            let details = json.details.unwrap_or_default();
            return Self { known, code, message: json.error.or(json.message), details };
        }
        match text.split_once(": ") {
            Some((code, message)) if is_code(code) => Self {
                known: true,
                code: Some(code.to_owned()),
                message: Some(message.to_owned()),
                details: Vec::new(),
            },
            _ => Self::default(),
        }
    }

    /// A text of one of the `google.rpc` details.
    fn detail(&self, kind: &str, field: &str) -> Option<String> {
        let is_kind = |detail: &&Value| {
            detail.get("@type").and_then(Value::as_str).is_some_and(|name| name.ends_with(&format!(".{kind}")))
        };
        self.details.iter().find(is_kind)?.get(field)?.as_str().map(ToOwned::to_owned)
    }

    fn retry_delay_seconds(&self) -> Option<u64> {
        let delay = self.detail("RetryInfo", "retry_delay")?;
        let whole = delay.strip_suffix('s')?.split('.').next()?;
        whole.parse().ok()
    }

    fn says(&self, text: &str) -> bool {
        self.message.as_ref().is_some_and(|message| message.contains(text))
    }

    fn has_code(&self, ending: &str) -> bool {
        self.code.as_ref().is_some_and(|code| code.ends_with(ending))
    }
}

fn is_code(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

fn kind(status: StatusCode, shape: &Shape) -> ApiErrorKind {
    if status == StatusCode::TOO_MANY_REQUESTS || shape.says(LATER[0]) {
        return ApiErrorKind::Throttled;
    }
    if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT || LATER.iter().any(|text| shape.says(text)) {
        return ApiErrorKind::Unavailable;
    }
    // "Already exists" comes as 409 and as 400, with a code for each kind of thing or with a general one.
    if shape.has_code("ALREADY_EXISTS")
        || (matches!(status, StatusCode::BAD_REQUEST | StatusCode::CONFLICT)
            && (shape.says("already exists") || shape.says(SAME_IDENTIFIER)))
    {
        return ApiErrorKind::Exists;
    }
    match status {
        StatusCode::UNAUTHORIZED => ApiErrorKind::Unauthenticated,
        StatusCode::FORBIDDEN => ApiErrorKind::Denied,
        StatusCode::CONFLICT => ApiErrorKind::Conflict,
        // Only the API itself can say that something is missing: a proxy's 404 says that the address is wrong.
        StatusCode::NOT_FOUND if shape.has_code("ENDPOINT_NOT_FOUND") => ApiErrorKind::Invalid,
        StatusCode::NOT_FOUND if shape.known => ApiErrorKind::Missing,
        _ if shape.has_code("DOES_NOT_EXIST") => ApiErrorKind::Missing,
        _ if status.is_client_error() && shape.known => ApiErrorKind::Invalid,
        _ => ApiErrorKind::Unreadable,
    }
}

/// A code or an id, if it looks like one.
fn word(text: String) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (!text.is_empty() && text.len() <= WORD_BYTES_MAX && text.bytes().all(plain)).then_some(text)
}

/// A message as it may be printed: one line, not too long, without what could be a secret.
fn shorten(message: &str) -> String {
    let words = message.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let clean: Vec<_> = words.map(without_secret).collect();
    clean.join(" ").chars().take(MESSAGE_CHARACTERS_MAX).collect()
}

/// A word without a URL's query, and without a token (`dapi…` is a personal one, `eyJ…` a JWT) or OAuth secret
/// (`dose…`).
fn without_secret(word: &str) -> String {
    if let Some((before, _)) =
        word.split_once('?').filter(|(before, after)| before.contains("://") && !after.is_empty())
    {
        return format!("{before}?…");
    }
    let bare = word.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let is_token = ["dapi", "eyJ", "dose"].iter().any(|prefix| bare.starts_with(prefix)) && bare.len() >= 20;
    if is_token { "…".to_owned() } else { word.to_owned() }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
