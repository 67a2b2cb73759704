//! The gateway's own small API, on a port of its own: counts, log, faults, where shares are served.
//!
//! | request | does |
//! |---|---|
//! | `GET /health` | answers 200 |
//! | `GET /requests` | counts by caller, service and operation |
//! | `GET /requests/log` | the requests in order |
//! | `DELETE /requests` | forgets counts and log |
//! | `GET /faults` | the ordered faults, and which fired |
//! | `POST /faults` | orders a fault; answers with its `id` |
//! | `DELETE /faults` | forgets all faults |
//! | `PUT /sharing` | `{"host"}`: the function URL that the sharing port stands for |
//! | `PUT /databricks` | `{"authority"}`: the workspace that the port for Databricks stands for |

use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, http::uri::Authority};
use serde::{Deserialize, Serialize};

use super::{
    Shared,
    faults::Fault,
    proxy::{Body, answer, plain},
};

const BODY_BYTES_MAX: usize = 64 * 1024;

/// The function URL that the sharing port stands for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SharingHost {
    /// Its host name.
    pub host: String,
}

/// The Databricks workspace that the port for it stands for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkspaceAddress {
    /// Its host and port.
    pub authority: String,
}

/// The answer to an ordered fault.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct FaultId {
    /// The fault's number.
    pub id: u64,
}

pub(super) async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => return plain(StatusCode::BAD_REQUEST, error.to_string()),
    };
    match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/health") => plain(StatusCode::OK, "ready".to_owned()),
        (&Method::GET, "/requests") => with(&shared.ledger, |ledger| json(&ledger.counts())),
        (&Method::GET, "/requests/log") => with(&shared.ledger, |ledger| json(&ledger.log())),
        (&Method::DELETE, "/requests") => with(&shared.ledger, |ledger| {
            ledger.reset();
            plain(StatusCode::OK, String::new())
        }),
        (&Method::GET, "/faults") => with(&shared.faults, |faults| json(&faults.all())),
        (&Method::DELETE, "/faults") => with(&shared.faults, |faults| {
            faults.clear();
            plain(StatusCode::OK, String::new())
        }),
        (&Method::POST, "/faults") => match serde_json::from_slice::<Fault>(&body) {
            Err(error) => plain(StatusCode::BAD_REQUEST, error.to_string()),
            Ok(fault) => match fault.check() {
                Err(reason) => plain(StatusCode::BAD_REQUEST, reason.to_owned()),
                Ok(()) => with(&shared.faults, |faults| json(&FaultId { id: faults.add(fault) })),
            },
        },
        (&Method::PUT, "/sharing") => match serde_json::from_slice::<SharingHost>(&body) {
            Err(error) => plain(StatusCode::BAD_REQUEST, error.to_string()),
            Ok(sharing) => with(&shared.sharing_host, |host| {
                *host = Some(sharing.host);
                plain(StatusCode::OK, String::new())
            }),
        },
        (&Method::PUT, "/databricks") => match read_workspace(&body) {
            Err(reason) => plain(StatusCode::BAD_REQUEST, reason),
            Ok(authority) => with(&shared.workspace, |workspace| {
                *workspace = Some(authority);
                plain(StatusCode::OK, String::new())
            }),
        },
        _ => plain(StatusCode::NOT_FOUND, "no such request; see gateway/admin.rs".to_owned()),
    }
}

fn read_workspace(body: &[u8]) -> Result<Authority, String> {
    let address: WorkspaceAddress = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    address.authority.parse().map_err(|_| format!("{} is no host and port", address.authority))
}

fn with<T>(guarded: &std::sync::Mutex<T>, act: impl FnOnce(&mut T) -> Response<Body>) -> Response<Body> {
    match guarded.lock() {
        Ok(mut value) => act(&mut value),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the gateway is broken".to_owned()),
    }
}

fn json(value: &impl Serialize) -> Response<Body> {
    match serde_json::to_string(value) {
        Ok(text) => answer(StatusCode::OK, "application/json", text),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
