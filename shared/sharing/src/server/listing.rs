//! Shares, schemas and tables: a token sees one share, with one schema.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use delivery::connector::SHARE_SCHEMA;
use delivery::table::{TableName, table_path};
use serde_json::{Value, json};

use super::Server;
use super::access::{Caller, Names, share_id};
use super::error::ProtocolError;
use super::page::{Page, PageQuery};
use crate::ports::Grant;

type Asked = Result<Query<PageQuery>, QueryRejection>;

fn query(asked: Asked) -> Result<PageQuery, ProtocolError> {
    let garbled = |_| ProtocolError::malformed("The query string is not valid.");
    asked.map(|Query(query)| query).map_err(garbled)
}

fn answer(page: Page<Value>) -> Response {
    let mut body = json!({"items": page.items});
    if let (Some(token), Some(body)) = (page.next_page_token, body.as_object_mut()) {
        body.insert("nextPageToken".to_owned(), token.into());
    }
    Json(body).into_response()
}

/// One entry listed by its name.
fn name_of(item: &Value) -> &str {
    item.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn share(grant: &Grant) -> Value {
    json!({"name": grant.connector.as_str(), "id": share_id(grant)})
}

fn table(server: &Server, grant: &Grant, name: &TableName) -> Value {
    let mut table = json!({
        "name": name.as_str(),
        "schema": SHARE_SCHEMA,
        "share": grant.connector.as_str(),
        "shareId": share_id(grant),
        "id": tables::table_id(&table_path(&grant.connector, name)),
    });
    if let Some(table) = table.as_object_mut() {
        table.extend(server.access_modes(grant, name));
    }
    table
}

/// `GET …/tables/{table}`, of the OpenSharing superset.
pub(super) async fn one_table(
    State(server): State<Arc<Server>>,
    caller: Caller,
    names: Names,
) -> Result<Response, ProtocolError> {
    let open = server.open_table(&caller, &names).await?;
    let mut body = table(&server, &open.grant, &open.name);
    if let Some(body) = body.as_object_mut() {
        body.insert("format".to_owned(), "delta".into());
    }
    Ok(Json(body).into_response())
}

/// `GET /shares`
pub(super) async fn shares(
    State(server): State<Arc<Server>>,
    caller: Caller,
    asked: Asked,
) -> Result<Response, ProtocolError> {
    let grant = server.grant(&caller).await?;
    Ok(answer(
        query(asked)?
            .page(&*server.signing, &format!("shares of {}", grant.connector), vec![share(&grant)], name_of)
            .await?,
    ))
}

/// `GET /shares/{share}`
pub(super) async fn one_share(
    State(server): State<Arc<Server>>,
    caller: Caller,
    names: Names,
) -> Result<Response, ProtocolError> {
    let grant = server.open_share(&caller, &names).await?;
    Ok(Json(json!({"share": share(&grant)})).into_response())
}

/// `GET /shares/{share}/schemas`
pub(super) async fn schemas(
    State(server): State<Arc<Server>>,
    caller: Caller,
    names: Names,
    asked: Asked,
) -> Result<Response, ProtocolError> {
    let grant = server.open_share(&caller, &names).await?;
    let items = vec![json!({"name": SHARE_SCHEMA, "share": grant.connector.as_str()})];
    Ok(answer(query(asked)?.page(&*server.signing, &format!("schemas of {}", grant.connector), items, name_of).await?))
}

/// `GET /shares/{share}/schemas/{schema}/tables` and `GET /shares/{share}/all-tables`: with one schema, the same.
pub(super) async fn tables(
    State(server): State<Arc<Server>>,
    caller: Caller,
    names: Names,
    asked: Asked,
) -> Result<Response, ProtocolError> {
    let grant = server.open_share(&caller, &names).await?;
    let query = query(asked)?;
    let tables = server.catalog.tables(&grant.connector).await?;
    let page =
        query.page(&*server.signing, &format!("tables of {}", grant.connector), tables, TableName::as_str).await?;
    let items = page.items.iter().map(|name| table(&server, &grant, name)).collect();
    Ok(answer(Page { items, next_page_token: page.next_page_token }))
}
