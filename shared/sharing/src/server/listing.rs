//! Shares, schemas and tables: a token sees one share, with one schema.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::Server;
use super::access::{Caller, Names, share_id};
use super::error::ProtocolError;
use super::json;
use super::page::{Page, PageQuery};
use crate::ports::{Grant, SharedTable};

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
    json::document(StatusCode::OK, &body)
}

/// One entry listed by its name.
fn name_of(item: &Value) -> &str {
    item.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn share(grant: &Grant) -> Value {
    json!({"name": grant.connector.as_str(), "id": share_id(grant)})
}

fn table(server: &Server, grant: &Grant, shared: &SharedTable) -> Value {
    let mut table = json!({
        "name": shared.name.as_str(),
        "schema": shared.schema,
        "share": grant.connector.as_str(),
        "shareId": share_id(grant),
        "id": tables::table_id(&shared.path),
    });
    if let Some(table) = table.as_object_mut() {
        table.extend(server.access_modes(grant, shared));
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
    let mut body = table(&server, &open.grant, &open.shared);
    if let Some(body) = body.as_object_mut() {
        body.insert("format".to_owned(), "delta".into());
    }
    Ok(json::document(StatusCode::OK, &body))
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
    Ok(json::document(StatusCode::OK, &json!({"share": share(&grant)})))
}

/// `GET /shares/{share}/schemas`
pub(super) async fn schemas(
    State(server): State<Arc<Server>>,
    caller: Caller,
    names: Names,
    asked: Asked,
) -> Result<Response, ProtocolError> {
    let grant = server.open_share(&caller, &names).await?;
    let query = query(asked)?;
    let schemas = server.catalog.schemas(&grant.connector).await?;
    let items = schemas.iter().map(|name| json!({"name": name, "share": grant.connector.as_str()})).collect();
    Ok(answer(query.page(&*server.signing, &format!("schemas of {}", grant.connector), items, name_of).await?))
}

/// Whether two names are one: case does not count.
fn is_same(name: &str, other: &str) -> bool {
    name.to_lowercase() == other.to_lowercase()
}

/// `GET /shares/{share}/schemas/{schema}/tables` and `GET /shares/{share}/all-tables`.
pub(super) async fn tables(
    State(server): State<Arc<Server>>,
    caller: Caller,
    names: Names,
    asked: Asked,
) -> Result<Response, ProtocolError> {
    let grant = server.open_share(&caller, &names).await?;
    let query = query(asked)?;
    let mut listing = format!("tables of {}", grant.connector);
    if let Some(asked) = names.schema() {
        let schemas = server.catalog.schemas(&grant.connector).await?;
        let schema = schemas.iter().find(|schema| is_same(schema, asked)).ok_or_else(|| names.unknown())?;
        listing = format!("{listing}.{schema}");
    }
    let named = |table: &SharedTable| names.schema().is_none_or(|schema| is_same(&table.schema, schema));
    let tables = server.catalog.tables(&grant.connector).await?.into_iter().filter(named);
    // No name has a zero byte in it: the order is that of schemas, then of names.
    let tables = tables.map(|table| (format!("{}\0{}", table.schema, table.name), table)).collect();
    let page = query.page(&*server.signing, &listing, tables, |(key, _): &(String, SharedTable)| key).await?;
    let items = page.items.iter().map(|(_, shared)| table(&server, &grant, shared)).collect();
    Ok(answer(Page { items, next_page_token: page.next_page_token }))
}
