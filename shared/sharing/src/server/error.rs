//! What a client is told when it cannot have what it asked for: `{"errorCode","message"}`.

use std::error::Error;

use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::json;

use super::{BODY_BYTES_MAX, json};

/// An error of the protocol.
#[derive(Debug)]
pub(super) struct ProtocolError {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after_seconds: Option<u32>,
}

impl ProtocolError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after_seconds: None }
    }

    /// The status of an answer that is nothing but this error.
    pub(super) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// What the client is told.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// A parameter has a value that is not allowed.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_PARAMETER_VALUE", message)
    }

    /// The request is not in the protocol's form.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MALFORMED_REQUEST", message)
    }

    /// The protocol has it, this table or server does not. A 501 would be retried by every client.
    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "UNSUPPORTED_OPERATION", message)
    }

    /// No share, schema or table of that name, as far as this token goes. Somebody else's and nobody's read alike.
    pub(super) fn unknown(path: &[&str]) -> Self {
        let (kinds, path) = (["Share", "Schema", "Table"].join("/"), path.join("/"));
        let message =
            format!("[{kinds}] '{path}' does not exist, please contact your share provider for further information.");
        Self::new(StatusCode::NOT_FOUND, "RESOURCE_DOES_NOT_EXIST", message)
    }

    /// No query of that id: none is left unanswered.
    pub(super) fn no_such_query() -> Self {
        let message = "There is no query of this id: this server answers every query at once.";
        Self::new(StatusCode::NOT_FOUND, "RESOURCE_DOES_NOT_EXIST", message)
    }

    /// Nothing of the protocol is at this address.
    pub(super) fn no_endpoint() -> Self {
        let message = "There is no such endpoint of the Delta Sharing protocol here.".to_owned();
        Self::new(StatusCode::NOT_FOUND, "RESOURCE_DOES_NOT_EXIST", message)
    }

    /// The token is missing or nobody's.
    pub(super) fn unauthenticated() -> Self {
        let message = "The bearer token is missing or not valid. Check the sharing profile, or ask your share \
                       provider for a new activation link."
            .to_owned();
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)
    }

    /// The token was good once.
    pub(super) fn expired(at: Timestamp) -> Self {
        let message = format!("The bearer token expired at {at}. Ask your share provider for a new activation link.");
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)
    }

    /// The token was good once, until its overlap with a newer one was over.
    pub(super) fn replaced(at: Timestamp) -> Self {
        let message = format!(
            "The bearer token expired at {at}: a newer one has taken its place. Use the profile from the newest \
             activation link, or ask your share provider for one."
        );
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)
    }

    /// The token was good once, until somebody took the recipient's access away.
    pub(super) fn revoked() -> Self {
        let message =
            "The access of this bearer token was revoked. Ask your share provider whether it is meant to be, \
                       and for a new activation link if it is not."
                .to_owned();
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)
    }

    /// The address may not use the token.
    pub(super) fn address_refused() -> Self {
        let message = "This share may not be read from your IP address. Ask your share provider to add it to the \
                       allow list."
            .to_owned();
        Self::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message)
    }

    /// The token asks too often.
    pub(super) fn too_many_requests(retry_after_seconds: u32) -> Self {
        let message = format!("This bearer token asks too often at the moment. Try again in {retry_after_seconds} s.");
        let retry_after_seconds = Some(retry_after_seconds);
        Self { retry_after_seconds, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", message) }
    }

    /// Older versions are gone, or not shared.
    pub(super) fn not_since(version: u64) -> Self {
        Self::invalid(format!("You can only query table data since version {version}."))
    }

    /// The change data feed was off at a version.
    pub(super) fn not_recorded(start: u64, end: u64, version: u64) -> Self {
        Self::invalid(format!(
            "Error getting change data for range [{start}, {end}] as change data was not recorded for version [{version}]"
        ))
    }

    /// The answer is longer than the platform lets through.
    pub(super) fn too_long() -> Self {
        let message = "The answer is longer than this server can send. Accept gzip, name the rows by predicate hints, \
                       or read page by page with maxFiles.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RESOURCE_EXHAUSTED", message)
    }

    /// The body is longer than what is read, or did not come.
    pub(super) fn body(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let message = format!("The body is too long: at most {BODY_BYTES_MAX} bytes are read.");
            Self::new(StatusCode::PAYLOAD_TOO_LARGE, "MALFORMED_REQUEST", message)
        } else {
            Self::malformed("The body did not arrive whole.")
        }
    }
}

impl From<PortError> for ProtocolError {
    /// Hides what is ours behind a message that says whether to try again, and logs it, once.
    fn from(error: PortError) -> Self {
        tracing::error!(error.kind = ?error.kind, error.chain = %chain(&error), "a sharing request failed");
        let told = match error.kind {
            PortErrorKind::Throttled => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "RESOURCE_EXHAUSTED",
                "The share is read too often at the moment. Try again in a while.",
            ),
            PortErrorKind::Unavailable => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "TEMPORARILY_UNAVAILABLE",
                "The share cannot be read at the moment. Try again in a while.",
            ),
            PortErrorKind::NotFound | PortErrorKind::Denied | PortErrorKind::InvalidData => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "INTERNAL_ERROR",
                "The share cannot be read. Please contact your share provider.",
            ),
        };
        let passes = matches!(error.kind, PortErrorKind::Throttled | PortErrorKind::Unavailable);
        Self { retry_after_seconds: passes.then_some(1), ..told }
    }
}

/// An error with its causes on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (**error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl IntoResponse for ProtocolError {
    fn into_response(self) -> Response {
        let body = json!({"errorCode": self.code, "message": self.message});
        let mut response = json::document(self.status, &body);
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
