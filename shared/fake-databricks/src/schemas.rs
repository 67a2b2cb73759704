//! What lies above tables: storage credentials, external locations, catalogs, schemas.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Refusal, read};
use crate::names;
use crate::paging::{PageQuery, page};
use crate::server::{Caller, Workspace};
use crate::state::{Catalog, Credential, Location, Schema, without_nulls};
use crate::tables::nested;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateCredential {
    name: String,
    aws_iam_role: Role,
    #[serde(default)]
    read_only: bool,
    #[expect(dead_code, reason = "the fake assumes no role")]
    skip_validation: Option<bool>,
    #[expect(dead_code, reason = "comments of credentials are not read back")]
    comment: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Role {
    role_arn: String,
}

pub(crate) async fn create_credential(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(owner)): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let wanted: CreateCredential = read(&body)?;
    let key = names::kept("Storage Credential", &wanted.name)?;
    if !wanted.aws_iam_role.role_arn.starts_with("arn:aws:iam::") {
        return Err(Refusal::invalid("aws_iam_role.role_arn is not an ARN of a role"));
    }
    let mut metastore = workspace.metastore();
    if metastore.credentials.contains_key(&key) {
        return Err(already(&workspace, "STORAGE_CREDENTIAL_ALREADY_EXISTS", &format!("Storage Credential '{key}'")));
    }
    let external_id = metastore.new_id();
    let credential =
        Credential { owner, role_arn: wanted.aws_iam_role.role_arn, read_only: wanted.read_only, external_id };
    let answer = json!({
        "name": key,
        "owner": credential.owner,
        "read_only": credential.read_only,
        "aws_iam_role": {
            "role_arn": credential.role_arn,
            "external_id": credential.external_id,
            "unity_catalog_iam_arn": "arn:aws:iam::414351767826:role/fake-unity-catalog",
        },
    });
    metastore.credentials.insert(key, credential);
    Ok(Json(answer))
}

fn already(workspace: &Workspace, code: &str, what: &str) -> Refusal {
    Refusal::exists(workspace.options.already_exists, code, format!("{what} already exists"))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateLocation {
    name: String,
    url: String,
    credential_name: String,
    #[serde(default)]
    read_only: bool,
    #[expect(dead_code, reason = "the fake opens no storage")]
    skip_validation: Option<bool>,
    #[expect(dead_code, reason = "comments of locations are not read back")]
    comment: Option<String>,
}

pub(crate) async fn create_location(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(owner)): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let wanted: CreateLocation = read(&body)?;
    let key = names::kept("External Location", &wanted.name)?;
    let url = wanted.url.trim_end_matches('/').to_owned();
    if !url.starts_with("s3://") {
        return Err(Refusal::invalid("url must begin with s3://"));
    }
    let mut metastore = workspace.metastore();
    let credential = wanted.credential_name.to_lowercase();
    if !metastore.credentials.contains_key(&credential) {
        let message = format!("Storage Credential '{credential}' does not exist.");
        return Err(Refusal::missing("STORAGE_CREDENTIAL_DOES_NOT_EXIST", message));
    }
    if metastore.locations.contains_key(&key) {
        return Err(already(&workspace, "EXTERNAL_LOCATION_ALREADY_EXISTS", &format!("External Location '{key}'")));
    }
    if let Some((other, _)) = metastore.locations.iter().find(|(_, other)| nested(&other.url, &url)) {
        return Err(Refusal::invalid(format!(
            "LOCATION_OVERLAP: Input path url '{url}' overlaps with other external locations. Conflicting: {other}."
        )));
    }
    let location = Location { owner, url, credential, read_only: wanted.read_only };
    let answer = json!({
        "name": key, "owner": location.owner, "url": location.url, "credential_name": location.credential,
        "read_only": location.read_only,
    });
    metastore.locations.insert(key, location);
    Ok(Json(answer))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateCatalog {
    name: String,
    comment: Option<String>,
    storage_root: Option<String>,
}

fn catalog_info(name: &str, catalog: &Catalog) -> Value {
    without_nulls(json!({
        "name": name, "owner": catalog.owner, "comment": catalog.comment, "storage_root": catalog.storage_root,
        "catalog_type": "MANAGED_CATALOG",
    }))
}

pub(crate) async fn create_catalog(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(owner)): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let wanted: CreateCatalog = read(&body)?;
    let key = names::kept("Catalog", &wanted.name)?;
    let mut metastore = workspace.metastore();
    if metastore.catalogs.contains_key(&key) {
        return Err(already(&workspace, "CATALOG_ALREADY_EXISTS", &format!("Catalog '{key}'")));
    }
    let storage_root = wanted.storage_root.map(|root| root.trim_end_matches('/').to_owned());
    let catalog = Catalog { owner, comment: wanted.comment, storage_root };
    let answer = catalog_info(&key, &catalog);
    metastore.catalogs.insert(key, catalog);
    Ok(Json(answer))
}

pub(crate) async fn get_catalog(State(workspace): State<Arc<Workspace>>, Path(name): Path<String>) -> Answer {
    let metastore = workspace.metastore();
    let key = name.to_lowercase();
    let catalog = metastore.catalogs.get(&key).ok_or_else(|| missing_catalog(&key))?;
    Ok(Json(catalog_info(&key, catalog)))
}

fn missing_catalog(name: &str) -> Refusal {
    Refusal::missing("CATALOG_DOES_NOT_EXIST", format!("Catalog '{name}' does not exist."))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateSchema {
    name: String,
    catalog_name: String,
    comment: Option<String>,
}

fn schema_info(full_name: &str, schema: &Schema) -> Value {
    let (catalog, name) = full_name.split_once('.').unwrap_or((full_name, ""));
    without_nulls(json!({
        "name": name, "catalog_name": catalog, "full_name": full_name, "owner": schema.owner,
        "comment": schema.comment, "created_at": schema.created_at,
    }))
}

pub(crate) async fn create_schema(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(owner)): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let wanted: CreateSchema = read(&body)?;
    let (catalog, name) = (wanted.catalog_name.to_lowercase(), names::kept("Schema", &wanted.name)?);
    let mut metastore = workspace.metastore();
    let above = metastore.catalogs.get(&catalog).ok_or_else(|| missing_catalog(&catalog))?;
    let may = above.owner == owner
        || (metastore.holds("catalog", &catalog, &owner, "CREATE_SCHEMA")
            && metastore.holds("catalog", &catalog, &owner, "USE_CATALOG"));
    if !may {
        return Err(Refusal::denied(format!("User does not have CREATE SCHEMA on Catalog '{catalog}'.")));
    }
    let full_name = format!("{catalog}.{name}");
    if metastore.schemas.contains_key(&full_name) {
        return Err(already(&workspace, "SCHEMA_ALREADY_EXISTS", &format!("Schema '{full_name}'")));
    }
    let schema = Schema { owner, comment: wanted.comment, created_at: workspace.now_millis() };
    let answer = schema_info(&full_name, &schema);
    metastore.schemas.insert(full_name, schema);
    Ok(Json(answer))
}

pub(crate) async fn get_schema(State(workspace): State<Arc<Workspace>>, Path(name): Path<String>) -> Answer {
    let metastore = workspace.metastore();
    let key = name.to_lowercase();
    let missing = || Refusal::missing("SCHEMA_DOES_NOT_EXIST", format!("Schema '{key}' does not exist."));
    let schema = metastore.schemas.get(&key).ok_or_else(missing)?;
    Ok(Json(schema_info(&key, schema)))
}

#[derive(Debug, Deserialize)]
pub(crate) struct OfCatalog {
    catalog_name: String,
}

pub(crate) async fn list_schemas(
    State(workspace): State<Arc<Workspace>>,
    Query(of): Query<OfCatalog>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let metastore = workspace.metastore();
    let catalog = of.catalog_name.to_lowercase();
    metastore.catalogs.get(&catalog).ok_or_else(|| missing_catalog(&catalog))?;
    let prefix = format!("{catalog}.");
    let inside = metastore.schemas.iter().filter(|(name, _)| name.starts_with(&prefix));
    let items = inside.map(|(name, schema)| schema_info(name, schema)).collect();
    Ok(Json(page(&workspace.options, &query, "schemas", items)?))
}
