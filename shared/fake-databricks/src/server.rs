//! The router, and what every request goes through: faults, authentication, the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::answer::Refusal;
use crate::faults::{Fault, FaultBody, FaultTime, Faults};
use crate::state::Metastore;
use crate::{
    Options, activation, admin, federation, oauth, permissions, quotas, reads, recipients, schemas, shares, statements,
    tables,
};

/// The longest body, in bytes.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The header that names a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) String);

/// A request that was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedRequest {
    /// The request's id, as in its answer's `x-request-id`.
    pub id: String,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The query, undecoded.
    pub query: Option<String>,
    /// The service principal.
    pub principal: Option<String>,
    /// The body, if it is JSON. Headers are not kept.
    pub body: Option<Value>,
    /// The answer's status.
    pub status: u16,
}

/// The workspace behind the handlers.
pub(crate) struct Workspace {
    pub(crate) options: Options,
    pub(crate) host: String,
    pub(crate) faults: Faults,
    metastore: Mutex<Metastore>,
    log: Mutex<RequestLog>,
}

#[derive(Default)]
struct RequestLog {
    requests: Vec<LoggedRequest>,
    count: u64,
}

impl Workspace {
    pub(crate) fn new(options: Options, metastore: Metastore, host: String) -> Self {
        Self { options, host, faults: Faults::default(), metastore: Mutex::new(metastore), log: Mutex::default() }
    }

    pub(crate) fn metastore(&self) -> MutexGuard<'_, Metastore> {
        self.metastore.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a principal may see a share or a recipient of this owner. What it may not see does not exist for it, but
    /// for its name and its sharing identifier, which are taken.
    pub(crate) fn sees(&self, owner: &str, principal: &str) -> bool {
        owner == principal || self.options.metastore_admins.iter().any(|admin| admin == principal)
    }

    pub(crate) fn now_millis(&self) -> i64 {
        self.options.clock.now().millis()
    }

    fn log(&self) -> MutexGuard<'_, RequestLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn requests(&self) -> Vec<LoggedRequest> {
        self.log().requests.clone()
    }

    pub(crate) fn forget_requests(&self) {
        self.log().requests.clear();
    }
}

pub(crate) fn router(workspace: Arc<Workspace>) -> Router {
    let unity_catalog = Router::new()
        .route("/recipients", post(recipients::create).get(recipients::list))
        .route("/recipients/{name}", get(recipients::get).patch(recipients::update).delete(recipients::delete))
        .route("/recipients/{name}/rotate-token", post(recipients::rotate_token))
        .route("/recipients/{name}/share-permissions", get(recipients::share_permissions))
        .route("/shares", post(shares::create).get(shares::list))
        .route("/shares/{name}", get(shares::get).patch(shares::update).delete(shares::delete))
        .route("/shares/{name}/permissions", get(shares::permissions).patch(shares::update_permissions))
        .route("/storage-credentials", post(schemas::create_credential))
        .route("/external-locations", post(schemas::create_location))
        .route("/catalogs", post(schemas::create_catalog))
        .route("/catalogs/{name}", get(schemas::get_catalog))
        .route("/schemas", post(schemas::create_schema).get(schemas::list_schemas))
        .route("/schemas/{name}", get(schemas::get_schema))
        .route("/permissions/{kind}/{name}", patch(permissions::update).get(permissions::get))
        .route("/resource-quotas/{kind}/{name}/{quota}", get(quotas::get))
        .route("/tables", post(tables::create).get(tables::list))
        .route("/tables/{name}", get(tables::get).patch(tables::update).delete(tables::delete))
        .route("/tables/{name}/exists", get(tables::exists))
        .route("/public/data_sharing_activation/{code}", get(activation::activate))
        .route("/public/data_sharing_activation_info/{code}", get(activation::info));
    let federation = Router::new()
        .route("/recipients/{recipient}/federation-policies", post(federation::create).get(federation::list))
        .route("/recipients/{recipient}/federation-policies/{name}", get(federation::get).delete(federation::delete));
    let admin = Router::new()
        .route("/requests", get(admin::requests).delete(admin::forget_requests))
        .route("/faults", post(admin::add_fault).get(admin::faults_left))
        .route("/end-tokens", post(admin::end_tokens))
        .route("/catalogs", post(admin::add_catalog))
        .route("/reads", post(reads::tables))
        .route("/secrets", get(admin::secrets))
        .route("/table-owners", post(admin::set_table_owner));
    Router::new()
        .nest("/api/2.1/unity-catalog", unity_catalog)
        .nest("/api/2.0/data-sharing", federation)
        .route("/api/2.0/sql/statements", post(statements::execute))
        .route("/api/2.0/sql/statements/", post(statements::execute))
        .route("/api/2.0/sql/statements/{id}", get(statements::get))
        .route("/oidc/v1/token", post(oauth::token))
        .route("/oidc/.well-known/oauth-authorization-server", get(oauth::discovery))
        .route("/.well-known/databricks-config", get(oauth::host_metadata))
        .fallback(no_endpoint)
        .layer(from_fn_with_state(workspace.clone(), admit))
        .nest("/_fake", admin)
        .with_state(workspace)
}

async fn no_endpoint() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "ENDPOINT_NOT_FOUND", "No API found for this path and method.")
}

async fn admit(State(workspace): State<Arc<Workspace>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let id = {
        let mut log = workspace.log();
        log.count += 1;
        format!("request-{}", log.count)
    };
    let path = parts.uri.path().to_owned();
    let principal = oauth::principal(&workspace, &parts.headers);
    let mut logged = LoggedRequest {
        id: id.clone(),
        method: parts.method.to_string(),
        path: path.clone(),
        query: parts.uri.query().map(ToOwned::to_owned),
        principal: principal.clone(),
        body: serde_json::from_slice(&body).ok(),
        status: 0,
    };
    let fault = workspace.faults.take(&parts.method, &path);
    let instead = fault.as_ref().is_some_and(|fault| fault.time == FaultTime::Instead);
    let mut response = if instead {
        StatusCode::OK.into_response()
    } else if needs_token(&path) && principal.is_none() {
        let message = "Credential was not sent or was of an unsupported type for this API.";
        Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message).into_response()
    } else if path.starts_with("/api/") && !body.is_empty() && !is_json(&parts.headers) {
        Refusal::new(StatusCode::BAD_REQUEST, "MALFORMED_REQUEST", "the body must be application/json").into_response()
    } else {
        parts.extensions.insert(Caller(principal.unwrap_or_default()));
        next.run(Request::from_parts(parts, Body::from(body))).await
    };
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        response.headers_mut().remove(CONTENT_LENGTH);
        *response.body_mut() = Body::from(refusal.body(&id).to_string());
    }
    if let Some(fault) = fault {
        response = faulty(&fault, &id);
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    logged.status = response.status().as_u16();
    workspace.log().requests.push(logged);
    response
}

/// Whoever has the link may activate a recipient.
fn needs_token(path: &str) -> bool {
    path.starts_with("/api/") && !path.starts_with("/api/2.1/unity-catalog/public/")
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.split(';').next() == Some("application/json"))
}

fn faulty(fault: &Fault, request_id: &str) -> Response {
    let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match &fault.body {
        FaultBody::Json { code, message } => {
            let details = json!([{"@type": "type.googleapis.com/google.rpc.RequestInfo", "request_id": request_id}]);
            let body = json!({"error_code": code, "message": message, "details": details});
            (status, axum::Json(body)).into_response()
        }
        FaultBody::Text(text) => (status, text.clone()).into_response(),
        FaultBody::Cut => {
            // A body that promises more than it holds.
            let mut response = (status, Body::from(Bytes::from_static(b"{\"name\": "))).into_response();
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("1000"));
            response
        }
    };
    if let Some(Ok(retry_after)) = fault.retry_after.as_deref().map(HeaderValue::from_str) {
        response.headers_mut().insert(RETRY_AFTER, retry_after);
    }
    response
}
