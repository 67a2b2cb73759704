//! Tables: external Delta tables at paths of their own.
//!
//! Where the real API takes any columns, this one compares them with the log, if it can read it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Refusal, read};
use crate::paging::{PageQuery, page};
use crate::server::{Caller, Workspace};
use crate::state::{Column, Metastore, Table, without_nulls};
use crate::{Switch, logs, names};

/// Catalog and `catalog.schema` of a table's full name.
pub(crate) fn parents(full_name: &str) -> (&str, &str) {
    let schema = full_name.rsplit_once('.').map_or(full_name, |(schema, _)| schema);
    (schema.split_once('.').map_or(schema, |(catalog, _)| catalog), schema)
}

/// Whether two URLs are the same or one lies in the other.
pub(crate) fn nested(a: &str, b: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    within(a, b) || within(b, a)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    catalog_name: String,
    schema_name: String,
    table_type: String,
    data_source_format: String,
    storage_location: String,
    #[serde(default)]
    columns: Vec<Column>,
    comment: Option<String>,
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

pub(crate) async fn create(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(owner)): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let wanted: Create = read(&body)?;
    let name = names::kept("Table", &wanted.name)?;
    let full_name = format!("{}.{}.{name}", wanted.catalog_name.to_lowercase(), wanted.schema_name.to_lowercase());
    if workspace.options.external_data_access == Switch::Off {
        return Err(Refusal::denied("External data access is not enabled on the metastore."));
    }
    if wanted.table_type != "EXTERNAL" || wanted.data_source_format != "DELTA" {
        return Err(Refusal::invalid("only EXTERNAL tables of format DELTA can be created through this API"));
    }
    check_positions(&wanted.columns)?;
    if let Some(logged) = logged_columns(&workspace, &wanted.storage_location).await?
        && let Some(difference) = logs::difference(&wanted.columns, &logged)
    {
        return Err(Refusal::invalid(format!("the columns are not the table's: {difference}")));
    }
    let mut metastore = workspace.metastore();
    let (catalog, schema) = parents(&full_name);
    let uses = [("schema", schema), ("catalog", catalog)]
        .map(|(kind, it)| metastore.holds(kind, it, &owner, "EXTERNAL_USE_SCHEMA"));
    if metastore.schemas.contains_key(schema) && !uses.contains(&true) {
        return Err(Refusal::denied(format!("User does not have EXTERNAL USE SCHEMA on Schema '{schema}'.")));
    }
    let table = NewTable {
        full_name: &full_name,
        location: &wanted.storage_location,
        owner: &owner,
        columns: wanted.columns,
        by: Registration::WithoutCompute,
    };
    register(&workspace, &mut metastore, table)?;
    let table = metastore.tables.get_mut(&full_name).ok_or_else(|| missing(&full_name))?;
    table.comment = wanted.comment;
    table.properties = wanted.properties;
    Ok(Json(info(&full_name, table)))
}

fn check_positions(columns: &[Column]) -> Result<(), Refusal> {
    let positions: Vec<_> = columns.iter().map(|column| column.position).collect();
    let count = u32::try_from(columns.len()).unwrap_or(u32::MAX);
    if positions == (0..count).collect::<Vec<_>>() {
        return Ok(());
    }
    Err(Refusal::invalid("the columns' positions must count from 0"))
}

/// The columns in the log at a location, if logs are read at all.
pub(crate) async fn logged_columns(workspace: &Workspace, location: &str) -> Result<Option<Vec<Column>>, Refusal> {
    let Some(logs) = &workspace.options.logs else { return Ok(None) };
    let text = logs.schema_text(location).await.map_err(|message| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", format!("reading the log failed: {message}"))
    })?;
    let text = text.ok_or_else(|| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "DELTA_TABLE_NOT_FOUND",
            format!("There is no Delta table at {location}."),
        )
    })?;
    logs::columns(&text).map(Some).ok_or_else(|| Refusal::invalid("the log's schema cannot be read"))
}

/// How a table is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registration {
    /// By the Tables API.
    WithoutCompute,
    /// By a statement.
    Statement,
}

/// A table to be.
pub(crate) struct NewTable<'a> {
    pub(crate) full_name: &'a str,
    pub(crate) location: &'a str,
    pub(crate) owner: &'a str,
    pub(crate) columns: Vec<Column>,
    pub(crate) by: Registration,
}

/// Registers a table, whichever way it is asked for.
pub(crate) fn register(workspace: &Workspace, metastore: &mut Metastore, table: NewTable<'_>) -> Result<(), Refusal> {
    let NewTable { full_name, location, owner, columns, by } = table;
    let (_, schema_name) = parents(full_name);
    let schema = metastore
        .schemas
        .get(schema_name)
        .ok_or_else(|| Refusal::missing("SCHEMA_DOES_NOT_EXIST", format!("Schema '{schema_name}' does not exist.")))?;
    if schema.owner != owner && !metastore.holds("schema", schema_name, owner, "CREATE_TABLE") {
        return Err(Refusal::denied(format!("User does not have CREATE TABLE on Schema '{schema_name}'.")));
    }
    let url = location.trim_end_matches('/');
    if !url.starts_with("s3://") {
        return Err(Refusal::invalid("storage_location must begin with s3://"));
    }
    if metastore.tables.contains_key(full_name) {
        let message = format!("Table '{full_name}' already exists");
        return Err(Refusal::exists(workspace.options.already_exists, "TABLE_ALREADY_EXISTS", message));
    }
    let covering = metastore
        .locations
        .iter()
        .find(|(_, location)| url.strip_prefix(location.url.as_str()).is_some_and(|rest| rest.starts_with('/')));
    let (location_name, covering) = covering.ok_or_else(|| {
        Refusal::missing("EXTERNAL_LOCATION_DOES_NOT_EXIST", format!("No external location covers '{url}'."))
    })?;
    let create =
        covering.owner == owner || metastore.holds("external_location", location_name, owner, "CREATE_EXTERNAL_TABLE");
    // This privilege does not come with ownership.
    let external_use = by == Registration::Statement
        || metastore.holds("external_location", location_name, owner, "EXTERNAL_USE_LOCATION");
    if !create || !external_use {
        let lacking = if create { "EXTERNAL USE LOCATION" } else { "CREATE EXTERNAL TABLE" };
        return Err(Refusal::denied(format!("User does not have {lacking} on External Location '{location_name}'.")));
    }
    let managed = metastore.catalogs.values().filter_map(|catalog| catalog.storage_root.as_deref());
    let taken = metastore.tables.iter().map(|(name, table)| (name.as_str(), table.storage_location.as_str()));
    let taken = taken.chain(managed.map(|root| ("managed storage", root)));
    if let Some((other, _)) = taken.into_iter().find(|(_, other)| nested(other, url)) {
        return Err(Refusal::invalid(format!(
            "LOCATION_OVERLAP: Input path url '{url}' overlaps with other external tables or volumes within \
             'CreateTable' call. Conflicting tables/volumes: {other}."
        )));
    }
    let table = Table {
        owner: owner.to_owned(),
        storage_location: url.to_owned(),
        columns,
        comment: None,
        properties: BTreeMap::new(),
        id: metastore.new_id(),
        created_at: workspace.now_millis(),
    };
    metastore.tables.insert(full_name.to_owned(), table);
    Ok(())
}

fn info(full_name: &str, table: &Table) -> Value {
    let (catalog, schema) = parents(full_name);
    let schema_name = schema.split_once('.').map_or(schema, |(_, schema)| schema);
    without_nulls(json!({
        "name": full_name.rsplit_once('.').map_or(full_name, |(_, name)| name),
        "catalog_name": catalog,
        "schema_name": schema_name,
        "full_name": full_name,
        "table_type": "EXTERNAL",
        "data_source_format": "DELTA",
        "storage_location": table.storage_location,
        "columns": table.columns,
        "comment": table.comment,
        "properties": table.properties,
        "owner": table.owner,
        "table_id": table.id,
        "created_at": table.created_at,
    }))
}

fn missing(full_name: &str) -> Refusal {
    Refusal::missing("TABLE_DOES_NOT_EXIST", format!("Table '{full_name}' does not exist."))
}

pub(crate) async fn get(State(workspace): State<Arc<Workspace>>, Path(name): Path<String>) -> Answer {
    let metastore = workspace.metastore();
    let key = name.to_lowercase();
    let table = metastore.tables.get(&key).ok_or_else(|| missing(&key))?;
    Ok(Json(info(&key, table)))
}

pub(crate) async fn exists(State(workspace): State<Arc<Workspace>>, Path(name): Path<String>) -> Answer {
    let metastore = workspace.metastore();
    let key = name.to_lowercase();
    let (_, schema) = parents(&key);
    if !metastore.schemas.contains_key(schema) {
        return Err(Refusal::missing("SCHEMA_DOES_NOT_EXIST", format!("Schema '{schema}' does not exist.")));
    }
    Ok(Json(json!({"table_exists": metastore.tables.contains_key(&key)})))
}

#[derive(Debug, Deserialize)]
pub(crate) struct OfSchema {
    catalog_name: String,
    schema_name: String,
}

pub(crate) async fn list(
    State(workspace): State<Arc<Workspace>>,
    Query(of): Query<OfSchema>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let metastore = workspace.metastore();
    let prefix = format!("{}.{}.", of.catalog_name.to_lowercase(), of.schema_name.to_lowercase());
    let inside = metastore.tables.iter().filter(|(name, _)| name.starts_with(&prefix));
    let items = inside.map(|(name, table)| info(name, table)).collect();
    Ok(Json(page(&workspace.options, &query, "tables", items)?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    owner: String,
}

fn check_owner(metastore: &Metastore, full_name: &str, caller: &str) -> Result<(), Refusal> {
    let table = metastore.tables.get(full_name).ok_or_else(|| missing(full_name))?;
    let (catalog, schema) = parents(full_name);
    let owners = [Some(table.owner.as_str()), metastore.owner("schema", schema), metastore.owner("catalog", catalog)];
    if owners.contains(&Some(caller)) {
        return Ok(());
    }
    Err(Refusal::denied(format!("User is not an owner of Table '{full_name}'.")))
}

pub(crate) async fn update(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let wanted: Update = read(&body)?;
    let mut metastore = workspace.metastore();
    let key = name.to_lowercase();
    check_owner(&metastore, &key, &caller)?;
    let table = metastore.tables.get_mut(&key).ok_or_else(|| missing(&key))?;
    table.owner = wanted.owner;
    Ok(Json(json!({})))
}

pub(crate) async fn delete(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(name): Path<String>,
) -> Answer {
    let mut metastore = workspace.metastore();
    let key = name.to_lowercase();
    check_owner(&metastore, &key, &caller)?;
    metastore.tables.remove(&key);
    metastore.grants.remove(&("table".to_owned(), key));
    Ok(Json(json!({})))
}
