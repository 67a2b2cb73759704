//! OAuth for service principals: discovery, and the token endpoint (RFC 6749, client credentials).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::server::Workspace;

/// Where clients find the endpoints.
pub(crate) async fn discovery(State(workspace): State<Arc<Workspace>>) -> Json<Value> {
    let host = &workspace.host;
    Json(json!({
        "issuer": format!("{host}/oidc"),
        "authorization_endpoint": format!("{host}/oidc/v1/authorize"),
        "token_endpoint": format!("{host}/oidc/v1/token"),
        "grant_types_supported": ["client_credentials"],
        "scopes_supported": ["all-apis"],
    }))
}

/// What newer SDKs ask a host about itself.
pub(crate) async fn host_metadata(State(workspace): State<Arc<Workspace>>) -> Json<Value> {
    Json(json!({"oidc_endpoint": format!("{}/oidc", workspace.host), "workspace_id": "1", "cloud": "AWS"}))
}

#[derive(Debug, Deserialize)]
struct TokenForm {
    grant_type: String,
    scope: String,
}

/// Hands out a token.
pub(crate) async fn token(State(workspace): State<Arc<Workspace>>, headers: HeaderMap, body: Bytes) -> Response {
    let Ok(axum::Form(form)) = read_form(&body) else { return refused(StatusCode::BAD_REQUEST, "invalid_request") };
    if form.grant_type != "client_credentials" {
        return refused(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    if !form.scope.split(' ').any(|scope| scope == "all-apis") {
        return refused(StatusCode::BAD_REQUEST, "invalid_scope");
    }
    let known = basic(&headers).filter(|(id, secret)| workspace.options.principals.get(id) == Some(secret));
    let Some((principal, _)) = known else { return refused(StatusCode::UNAUTHORIZED, "invalid_client") };
    let life_seconds = workspace.options.token_life_seconds;
    let expires_at = workspace.now_millis() + life_seconds * 1_000;
    let mut metastore = workspace.metastore();
    let token = format!("fake-oauth-token-{}", metastore.new_id());
    metastore.handed_out.insert(token.clone());
    metastore.oauth_tokens.insert(token.clone(), (principal, expires_at));
    let answer = json!({
        "access_token": token, "token_type": "Bearer", "expires_in": life_seconds, "scope": "all-apis",
    });
    Json(answer).into_response()
}

fn read_form(body: &Bytes) -> Result<axum::Form<TokenForm>, ()> {
    let uri = format!("/?{}", std::str::from_utf8(body).map_err(|_| ())?).parse().map_err(|_| ())?;
    let axum::extract::Query(form) = axum::extract::Query::try_from_uri(&uri).map_err(|_| ())?;
    Ok(axum::Form(form))
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

fn refused(status: StatusCode, error: &str) -> Response {
    let answer = json!({"error": error, "error_description": "the fake's token endpoint refused the request"});
    (status, Json(answer)).into_response()
}

/// The principal of a request to the API.
pub(crate) fn principal(workspace: &Workspace, headers: &HeaderMap) -> Option<String> {
    let token = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    let (principal, expires_at) = workspace.metastore().oauth_tokens.get(token)?.clone();
    (workspace.now_millis() < expires_at).then_some(principal)
}
