//! What a client is told when it cannot have what it asked for: `{"errorCode","message"}`.

use std::error::Error;

use axum::Json;
use axum::response::{IntoResponse, Response};
use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use http::StatusCode;
use http::header::{HeaderValue, WWW_AUTHENTICATE};
use serde_json::json;

/// An error of the protocol.
#[derive(Debug)]
pub(super) struct ProtocolError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ProtocolError {
    /// A parameter has a value that is not allowed.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "INVALID_PARAMETER_VALUE", message: message.into() }
    }

    /// The request is not in the protocol's form.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "MALFORMED_REQUEST", message: message.into() }
    }

    /// The protocol has it, this table or server does not. A 501 would be retried by every client.
    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "UNSUPPORTED_OPERATION", message: message.into() }
    }

    /// No share, schema or table of that name, as far as this token goes. Somebody else's and nobody's read alike.
    pub(super) fn unknown(path: &[&str]) -> Self {
        let (kinds, path) = (["Share", "Schema", "Table"].join("/"), path.join("/"));
        let message =
            format!("[{kinds}] '{path}' does not exist, please contact your share provider for further information.");
        Self { status: StatusCode::NOT_FOUND, code: "RESOURCE_DOES_NOT_EXIST", message }
    }

    /// Nothing of the protocol is at this address.
    pub(super) fn no_endpoint() -> Self {
        let message = "There is no such endpoint of the Delta Sharing protocol here.".to_owned();
        Self { status: StatusCode::NOT_FOUND, code: "RESOURCE_DOES_NOT_EXIST", message }
    }

    /// The token is missing or nobody's.
    pub(super) fn unauthenticated() -> Self {
        let message = "The bearer token is missing or not valid. Check the sharing profile, or ask your share \
                       provider for a new activation link."
            .to_owned();
        Self { status: StatusCode::UNAUTHORIZED, code: "UNAUTHENTICATED", message }
    }

    /// The token was good once.
    pub(super) fn expired(at: Timestamp) -> Self {
        let message = format!("The bearer token expired at {at}. Ask your share provider for a new activation link.");
        Self { status: StatusCode::UNAUTHORIZED, code: "UNAUTHENTICATED", message }
    }

    /// The token was good once, until somebody took the recipient's access away.
    pub(super) fn revoked() -> Self {
        let message =
            "The access of this bearer token was revoked. Ask your share provider whether it is meant to be, \
                       and for a new activation link if it is not."
                .to_owned();
        Self { status: StatusCode::UNAUTHORIZED, code: "UNAUTHENTICATED", message }
    }

    /// The address may not use the token.
    pub(super) fn address_refused() -> Self {
        let message = "This share may not be read from your IP address. Ask your share provider to add it to the \
                       allow list."
            .to_owned();
        Self { status: StatusCode::FORBIDDEN, code: "PERMISSION_DENIED", message }
    }
}

impl From<PortError> for ProtocolError {
    /// Hides what is ours behind a message that says whether to try again, and logs it, once.
    fn from(error: PortError) -> Self {
        tracing::error!(error.kind = ?error.kind, error.chain = %chain(&error), "a sharing request failed");
        match error.kind {
            PortErrorKind::Throttled => Self {
                status: StatusCode::TOO_MANY_REQUESTS,
                code: "RESOURCE_EXHAUSTED",
                message: "The share is read too often at the moment. Try again in a while.".to_owned(),
            },
            PortErrorKind::Unavailable => Self {
                status: StatusCode::SERVICE_UNAVAILABLE,
                code: "TEMPORARILY_UNAVAILABLE",
                message: "The share cannot be read at the moment. Try again in a while.".to_owned(),
            },
            PortErrorKind::NotFound | PortErrorKind::Denied | PortErrorKind::InvalidData => Self {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                code: "INTERNAL_ERROR",
                message: "The share cannot be read. Please contact your share provider.".to_owned(),
            },
        }
    }
}

/// An error with its causes on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (**error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl IntoResponse for ProtocolError {
    fn into_response(self) -> Response {
        let body = Json(json!({"errorCode": self.code, "message": self.message}));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
