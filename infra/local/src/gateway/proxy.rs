//! Forwards requests to the emulator, and to the Databricks workspace, and answers back, both ways as streams.
//!
//! Host, path, query, body and signed headers stay as they came: signatures cover them. What is
//! added is `x-forwarded-proto: https`, which the emulator takes for a request over TLS, so that
//! bucket policies that deny plain HTTP hold locally as they stand in the template.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::{
    HeaderMap, Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue},
    http::uri::{Authority, PathAndQuery, Scheme},
};
use hyper_util::client::legacy::{Client, connect::HttpConnector};

use super::{
    Shared,
    caller::Caller,
    classify::{AwsRequest, classify, classify_databricks, needs_form},
    faults::{Fault, FaultAction, FaultMoment},
    ledger::{LoggedRequest, Observed},
};

/// A body on its way through: streamed as it comes, or at hand.
pub(super) type Body = Either<Incoming, Full<Bytes>>;

/// The connections to the emulator.
pub(super) type Upstream = Client<HttpConnector, Body>;

/// The connection is to be dropped without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection was dropped by a fault")]
pub(super) struct Dropped;

/// Headers that belong to one connection and are never forwarded.
const HOP_BY_HOP: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// Takes one AWS request to the emulator, counted, and with the faults that were ordered.
pub(super) async fn forward_aws(
    shared: Arc<Shared>,
    caller: Arc<Caller>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Dropped> {
    let (mut parts, body) = request.into_parts();
    let (form, body) = if needs_form(&parts.method, &parts.headers) {
        match body.collect().await {
            Ok(collected) => {
                let bytes = collected.to_bytes();
                (bytes.clone(), Either::Right(Full::new(bytes)))
            }
            Err(error) => return Ok(plain(StatusCode::BAD_REQUEST, error.to_string())),
        }
    } else {
        (Bytes::new(), Either::Left(body))
    };
    let asked = classify(&parts.method, &parts.uri, &parts.headers, &form);
    parts.headers.insert(HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static("https"));
    forward_disturbed(&shared, &caller, &asked, &shared.emulator, Request::from_parts(parts, body)).await
}

/// Takes one request to the Databricks workspace, counted, and with the faults that were ordered.
pub(super) async fn forward_databricks(
    shared: Arc<Shared>,
    caller: Arc<Caller>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Dropped> {
    let Some(workspace) = shared.workspace.lock().ok().and_then(|workspace| workspace.clone()) else {
        return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "the workspace is not started yet".to_owned()));
    };
    let asked = classify_databricks(request.method(), request.uri());
    forward_disturbed(&shared, &caller, &asked, &workspace, request.map(Either::Left)).await
}

async fn forward_disturbed(
    shared: &Shared,
    caller: &Caller,
    asked: &AwsRequest,
    target: &Authority,
    request: Request<Body>,
) -> Result<Response<Body>, Dropped> {
    let path = request.uri().path().to_owned();
    let (sequence, fault) = note(shared, caller, asked, request.method().as_str(), &path);

    if let Some((id, fault)) = fault.as_ref().filter(|(_, fault)| fault.when == FaultMoment::Before) {
        return carry_out(shared, caller, *id, fault, sequence);
    }
    let answer = send(shared, target, request).await;
    if let Some((id, fault)) = fault {
        return carry_out(shared, caller, id, &fault, sequence);
    }
    answered(shared, sequence, answer.status());
    Ok(answer)
}

/// Takes one request of a sharing client to the function URL that serves the shares.
pub(super) async fn forward_sharing(
    shared: Arc<Shared>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    let host = shared.sharing_host.lock().ok().and_then(|host| host.clone());
    let Some(host) = host.and_then(|host| HeaderValue::from_str(&host).ok()) else {
        let text = "the stack is not deployed yet; `cargo xtask up` says when it is";
        return plain(StatusCode::SERVICE_UNAVAILABLE, text.to_owned());
    };
    let (mut parts, body) = request.into_parts();
    // The emulator reads a streamed answer as UTF-8 and would break a compressed one; AWS passes it through.
    parts.headers.remove(ACCEPT_ENCODING);
    // A function URL tells the function its own name, and these three about the client.
    parts.headers.insert(HOST, host);
    let names = ["x-forwarded-proto", "x-forwarded-port", "x-forwarded-for"];
    let values = ["https".to_owned(), "443".to_owned(), peer.ip().to_string()];
    for (name, value) in names.into_iter().zip(values) {
        let name = HeaderName::from_static(name);
        if let Ok(value) = HeaderValue::from_str(&value)
            && !parts.headers.contains_key(&name)
        {
            parts.headers.insert(name, value);
        }
    }
    send(&shared, &shared.emulator, Request::from_parts(parts, Either::Left(body))).await
}

fn note(shared: &Shared, caller: &Caller, asked: &AwsRequest, method: &str, path: &str) -> (u64, Option<(u64, Fault)>) {
    let entry = LoggedRequest {
        sequence: 0,
        caller: caller.name().to_owned(),
        is_function: caller.function.is_some(),
        pid: caller.process.map(|process| process.pid),
        access_key_id: asked.access_key_id.clone(),
        service: asked.service.clone(),
        operation: asked.operation.clone(),
        method: method.to_owned(),
        path: path.to_owned(),
        status: None,
    };
    let sequence = shared.ledger.lock().map_or(0, |mut ledger| ledger.record(entry));
    let seen =
        Observed { function: caller.function.as_deref(), service: &asked.service, operation: &asked.operation, path };
    let fault = shared.faults.lock().ok().and_then(|mut faults| faults.observe(&seen));
    (sequence, fault)
}

fn carry_out(
    shared: &Shared,
    caller: &Caller,
    id: u64,
    fault: &Fault,
    sequence: u64,
) -> Result<Response<Body>, Dropped> {
    match fault.action {
        FaultAction::Status => {
            let status = fault.status.and_then(|status| StatusCode::from_u16(status).ok());
            let status = status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            answered(shared, sequence, status);
            Ok(plain(status, "this answer was ordered as a fault".to_owned()))
        }
        FaultAction::Drop => Err(Dropped),
        FaultAction::Kill => {
            if let Some(process) = caller.process
                && process.kill()
                && let Ok(mut faults) = shared.faults.lock()
            {
                faults.note_killed(id, process.pid);
            }
            Err(Dropped)
        }
    }
}

fn answered(shared: &Shared, sequence: u64, status: StatusCode) {
    if let Ok(mut ledger) = shared.ledger.lock() {
        ledger.answered(sequence, status.as_u16());
    }
}

/// Sends a request to the emulator or the workspace; its failure becomes a 502 that says so.
async fn send(shared: &Shared, target: &Authority, mut request: Request<Body>) -> Response<Body> {
    let target = Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(target.clone())
        .path_and_query(request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")))
        .build();
    match target {
        Ok(target) => *request.uri_mut() = target,
        Err(error) => return plain(StatusCode::BAD_REQUEST, error.to_string()),
    }
    *request.version_mut() = hyper::Version::HTTP_11;
    strip(request.headers_mut());
    match shared.upstream.request(request).await {
        Ok(answer) => {
            let mut answer = answer.map(Either::Left);
            strip(answer.headers_mut());
            answer
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map_or(String::new(), |c| format!(": {c}"));
            let text = format!("the emulator did not answer ({error}{cause}); see emulator.log");
            plain(StatusCode::BAD_GATEWAY, text)
        }
    }
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// A short answer in words.
pub(super) fn plain(status: StatusCode, text: String) -> Response<Body> {
    answer(status, "text/plain; charset=utf-8", text)
}

/// A short answer.
pub(super) fn answer(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Reads an authority such as `127.0.0.1:4566`.
pub(super) fn authority(address: SocketAddr) -> Authority {
    // An address of the loopback interface is always an authority.
    address.to_string().parse().unwrap_or_else(|_| Authority::from_static("127.0.0.1"))
}
