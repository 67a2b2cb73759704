//! Refusals, as the API words them.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::AlreadyExists;

/// A success's body.
pub(crate) type Answer = Result<axum::Json<Value>, Refusal>;

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_PARAMETER_VALUE", message)
    }

    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message)
    }

    /// The API says "missing" in several ways; `RESOURCE_DOES_NOT_EXIST` is the sharing endpoints', others have a code
    /// of their own.
    pub(crate) fn missing(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(crate) fn exists(by: AlreadyExists, code: &str, message: impl Into<String>) -> Self {
        let status = match by {
            AlreadyExists::Conflict => StatusCode::CONFLICT,
            AlreadyExists::BadRequest => StatusCode::BAD_REQUEST,
        };
        Self::new(status, code, message)
    }

    /// The body in the API's newer shape.
    pub(crate) fn body(&self, request_id: &str) -> Value {
        json!({
            "error_code": self.code,
            "message": self.message,
            "details": [{
                "@type": "type.googleapis.com/google.rpc.RequestInfo",
                "request_id": request_id,
                "serving_data": "",
            }],
        })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::new(self.body("").to_string().into());
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        response.extensions_mut().insert(self);
        response
    }
}

/// Reads a JSON body. Fields that the API does not have are refused: they are a client's mistake.
pub(crate) fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, "MALFORMED_REQUEST", format!("Could not parse request object: {error}"))
    })
}
