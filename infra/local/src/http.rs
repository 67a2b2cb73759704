//! A very small HTTP client for the local stack's own loopback addresses.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Error, Result};

/// How long any of these requests may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends a request and returns the body of a 2xx answer.
///
/// # Errors
///
/// Returns [`Error::Http`] if there is no answer, or another one.
pub async fn send(method: Method, address: &str, body: Bytes) -> Result<Bytes> {
    let described = format!("{method} {address}");
    let fail = |reason: String| Error::Http { request: described.clone(), reason };
    let request = Request::builder()
        .method(method.clone())
        .uri(address)
        .header("content-type", "application/json")
        .body(Full::new(body))
        .map_err(|error| fail(error.to_string()))?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let exchange = async {
        let answer = client.request(request).await.map_err(|error| fail(error.to_string()))?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map_err(|error| fail(error.to_string()))?;
        Ok((status, bytes.to_bytes()))
    };
    let (status, bytes) = tokio::time::timeout(TIMEOUT, exchange)
        .await
        .map_err(|_| fail(format!("no answer after {} s", TIMEOUT.as_secs())))??;
    if status.is_success() { Ok(bytes) } else { Err(fail(format!("{status}: {}", String::from_utf8_lossy(&bytes)))) }
}

/// Reads JSON.
///
/// # Errors
///
/// Returns [`Error::Http`] if there is no 2xx answer or it is something else.
pub async fn get_json<T: DeserializeOwned>(address: &str) -> Result<T> {
    let bytes = send(Method::GET, address, Bytes::new()).await?;
    decode(address, &bytes)
}

/// Sends JSON and returns the body of a 2xx answer.
///
/// # Errors
///
/// Returns [`Error::Http`] if there is no 2xx answer.
pub async fn send_json(method: Method, address: &str, value: &impl Serialize) -> Result<Bytes> {
    let body = serde_json::to_vec(value)
        .map_err(|error| Error::Http { request: address.to_owned(), reason: error.to_string() })?;
    send(method, address, body.into()).await
}

/// Reads an answer as JSON.
///
/// # Errors
///
/// Returns [`Error::Http`] if it is something else.
pub fn decode<T: DeserializeOwned>(address: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::Http { request: address.to_owned(), reason: error.to_string() })
}
