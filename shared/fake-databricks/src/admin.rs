//! `/_fake/…`: what a test in another process asks of the fake itself. Needs no token.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ReadyCatalog;
use crate::answer::{Answer, Refusal};
use crate::faults::{Fault, FaultBody, FaultTime};
use crate::server::Workspace;

/// Every request so far.
pub(crate) async fn requests(State(workspace): State<Arc<Workspace>>) -> Json<Value> {
    let requests = workspace.requests().into_iter().map(|request| {
        json!({
            "id": request.id, "method": request.method, "path": request.path, "query": request.query,
            "principal": request.principal, "body": request.body, "status": request.status,
        })
    });
    Json(json!({"requests": requests.collect::<Vec<_>>()}))
}

/// Forgets the requests so far.
pub(crate) async fn forget_requests(State(workspace): State<Arc<Workspace>>) -> StatusCode {
    workspace.forget_requests();
    StatusCode::NO_CONTENT
}

/// A fault as JSON: `path` and `status` must be there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FaultInput {
    path: String,
    status: u16,
    method: Option<String>,
    #[serde(default)]
    after: u32,
    #[serde(default = "once")]
    times: u32,
    #[serde(default)]
    afterwards: bool,
    retry_after: Option<String>,
    code: Option<String>,
    message: Option<String>,
    text: Option<String>,
    /// The connection ends in the middle of the body.
    #[serde(default)]
    cut: bool,
}

fn once() -> u32 {
    1
}

/// Lets requests fail.
pub(crate) async fn add_fault(State(workspace): State<Arc<Workspace>>, body: bytes::Bytes) -> Answer {
    let input: FaultInput = crate::answer::read(&body)?;
    let method = input.method.map(|method| Method::from_bytes(method.as_bytes()));
    if input.cut && (input.text.is_some() || input.code.is_some() || input.message.is_some()) {
        return Err(Refusal::invalid("what is cut has no body of its own"));
    }
    let body = match input.text {
        _ if input.cut => FaultBody::Cut,
        Some(text) => FaultBody::Text(text),
        None => FaultBody::Json {
            code: input.code.unwrap_or_else(|| "INTERNAL_ERROR".to_owned()),
            message: input.message.unwrap_or_else(|| "a fault on demand".to_owned()),
        },
    };
    workspace.faults.add(Fault {
        method: method.transpose().map_err(|_| Refusal::invalid("method is not valid"))?,
        path: input.path,
        after: input.after,
        times: input.times,
        time: if input.afterwards { FaultTime::Afterwards } else { FaultTime::Instead },
        status: input.status,
        retry_after: input.retry_after,
        body,
    });
    Ok(Json(json!({})))
}

/// How many faults wait for their requests.
pub(crate) async fn faults_left(State(workspace): State<Arc<Workspace>>) -> Json<Value> {
    Json(json!({"faults": workspace.faults.left()}))
}

/// Every secret that the workspace told somebody so far: OAuth tokens, activation codes and bearer tokens.
pub(crate) async fn secrets(State(workspace): State<Arc<Workspace>>) -> Json<Value> {
    Json(json!({"secrets": workspace.metastore().handed_out}))
}

/// Makes every OAuth token invalid.
pub(crate) async fn end_tokens(State(workspace): State<Arc<Workspace>>) -> StatusCode {
    workspace.metastore().oauth_tokens.clear();
    StatusCode::NO_CONTENT
}

/// A catalog as the operator makes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CatalogInput {
    name: String,
    location_url: String,
}

/// Makes a catalog with its external location, with all that the service principals need in it.
pub(crate) async fn add_catalog(State(workspace): State<Arc<Workspace>>, body: bytes::Bytes) -> Answer {
    let input: CatalogInput = crate::answer::read(&body)?;
    let ready = ReadyCatalog { name: input.name, location_url: input.location_url };
    workspace.metastore().make_ready(&ready, workspace.options.principals.keys());
    Ok(Json(json!({})))
}

/// Who is to own a table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OwnerInput {
    table: String,
    owner: String,
}

/// Gives a table to another owner, which takes SELECT from the one of before.
pub(crate) async fn set_table_owner(State(workspace): State<Arc<Workspace>>, body: bytes::Bytes) -> Answer {
    let input: OwnerInput = crate::answer::read(&body)?;
    let mut metastore = workspace.metastore();
    let table = metastore.tables.get_mut(&input.table);
    let table = table.ok_or_else(|| Refusal::invalid(format!("there is no table {}", input.table)))?;
    table.owner = input.owner;
    Ok(Json(json!({})))
}

#[cfg(test)]
mod tests {
    use delivery::timestamp::Timestamp;

    use super::*;
    use crate::Options;
    use crate::state::Metastore;

    struct Still;

    impl delivery::ports::Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::EPOCH
        }
    }

    #[tokio::test]
    async fn a_fault_may_be_a_connection_that_ends_and_then_has_no_body_of_its_own() {
        let options = Options::new(Arc::new(Still));
        let metastore = Metastore::new(&options);
        let workspace = Arc::new(Workspace::new(options, metastore, String::new()));
        let asked = |body: Value| add_fault(State(workspace.clone()), body.to_string().into());
        let _ = asked(json!({"path": "/shares", "status": 200, "cut": true})).await.unwrap();
        let _ = asked(json!({"path": "/shares", "status": 500, "text": "x"})).await.unwrap();
        let bodies = [(); 2].map(|()| workspace.faults.take(&Method::GET, "/shares").unwrap().body);
        assert_eq!(bodies, [FaultBody::Cut, FaultBody::Text("x".to_owned())]);
        assert!(asked(json!({"path": "/shares", "status": 200, "cut": true, "text": "x"})).await.is_err());
        assert_eq!(workspace.faults.left(), 0);
    }
}
