//! Shares: their objects, and who may read them.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Refusal, read};
use crate::paging::{PageQuery, page};
use crate::permissions::{Change, apply, listed};
use crate::server::{Caller, Workspace};
use crate::state::{Metastore, ObjectKind, Partition, Share, SharedObject, without_nulls};
use crate::{Options, names};

/// The most updates of one PATCH.
const UPDATES_MAX: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    comment: Option<String>,
    #[expect(dead_code, reason = "shares of tables keep nothing in the storage root")]
    storage_root: Option<String>,
}

pub(crate) async fn create(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(owner)): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let wanted: Create = read(&body)?;
    let key = names::kept("Share", &wanted.name)?;
    let mut metastore = workspace.metastore();
    if metastore.shares.contains_key(&key) {
        let message = format!("Share '{key}' already exists");
        return Err(Refusal::exists(workspace.options.already_exists, "SHARE_ALREADY_EXISTS", message));
    }
    let created_at = workspace.now_millis();
    let share = Share { name: key.clone(), owner, comment: wanted.comment, objects: Vec::new(), created_at };
    let answer = info(&metastore, &share, Objects::Without);
    metastore.shares.insert(key, share);
    Ok(Json(answer))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Objects {
    With,
    Without,
}

fn info(metastore: &Metastore, share: &Share, objects: Objects) -> Value {
    let shown = (objects == Objects::With && !share.objects.is_empty())
        .then(|| share.objects.iter().map(|object| object_info(metastore, share, object)).collect::<Vec<_>>());
    without_nulls(json!({
        "name": share.name,
        "owner": share.owner,
        "comment": share.comment,
        "objects": shown,
        "created_at": share.created_at,
        "created_by": share.owner,
        "updated_at": share.created_at,
        "updated_by": share.owner,
    }))
}

fn object_info(metastore: &Metastore, share: &Share, object: &SharedObject) -> Value {
    let readable = match object.kind {
        ObjectKind::Table => metastore.may_select(&object.name, &share.owner),
        ObjectKind::Schema => metastore.schemas.get(&object.name).is_some_and(|schema| schema.owner == share.owner),
    };
    without_nulls(json!({
        "name": object.name,
        "data_object_type": object.kind,
        "shared_as": object.shared_as,
        "comment": object.comment,
        "cdf_enabled": object.cdf_enabled,
        "history_data_sharing_status": if object.history { "ENABLED" } else { "DISABLED" },
        "start_version": object.start_version,
        "partitions": (!object.partitions.is_empty()).then_some(&object.partitions),
        "status": if readable { "ACTIVE" } else { "PERMISSION_DENIED" },
        "added_at": object.added_at,
        "added_by": object.added_by,
    }))
}

fn missing(name: &str) -> Refusal {
    Refusal::missing("RESOURCE_DOES_NOT_EXIST", format!("Share '{name}' does not exist."))
}

fn visible<'a>(
    workspace: &Workspace,
    metastore: &'a Metastore,
    name: &str,
    caller: &str,
) -> Result<&'a Share, Refusal> {
    let share = metastore.shares.get(&name.to_lowercase());
    share.filter(|share| workspace.sees(&share.owner, caller)).ok_or_else(|| missing(name))
}

fn owned(metastore: &Metastore, name: &str, caller: &str) -> Result<Share, Refusal> {
    let share = metastore.shares.get(&name.to_lowercase()).ok_or_else(|| missing(name))?;
    if share.owner == caller {
        return Ok(share.clone());
    }
    Err(Refusal::denied(format!("User is not an owner of Share '{name}'.")))
}

#[derive(Debug, Deserialize)]
pub(crate) struct Include {
    #[serde(default)]
    include_shared_data: bool,
}

pub(crate) async fn get(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(name): Path<String>,
    Query(include): Query<Include>,
) -> Answer {
    let metastore = workspace.metastore();
    let share = visible(&workspace, &metastore, &name, &caller)?;
    let objects = if include.include_shared_data { Objects::With } else { Objects::Without };
    Ok(Json(info(&metastore, share, objects)))
}

pub(crate) async fn list(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let metastore = workspace.metastore();
    let shown = metastore.shares.values().filter(|share| workspace.sees(&share.owner, &caller));
    let items = shown.map(|share| info(&metastore, share, Objects::Without)).collect();
    Ok(Json(page(&workspace.options, &query, "shares", items)?))
}

pub(crate) async fn delete(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(name): Path<String>,
) -> Answer {
    let mut metastore = workspace.metastore();
    owned(&metastore, &name, &caller)?;
    let key = name.to_lowercase();
    metastore.shares.remove(&key);
    metastore.grants.remove(&("share".to_owned(), key));
    Ok(Json(json!({})))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    new_name: Option<String>,
    owner: Option<String>,
    comment: Option<String>,
    storage_root: Option<String>,
    #[serde(default)]
    updates: Vec<ObjectUpdate>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectUpdate {
    action: Action,
    data_object: DataObject,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Action {
    Add,
    Remove,
    Update,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DataObject {
    name: String,
    data_object_type: Option<ObjectKind>,
    shared_as: Option<String>,
    comment: Option<String>,
    cdf_enabled: Option<bool>,
    history_data_sharing_status: Option<History>,
    start_version: Option<i64>,
    partitions: Option<Vec<Partition>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum History {
    Enabled,
    Disabled,
}

pub(crate) async fn update(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let wanted: Update = read(&body)?;
    let fields = [&wanted.new_name, &wanted.owner, &wanted.comment, &wanted.storage_root];
    if wanted.updates.is_empty() && fields.iter().all(|field| field.is_none()) {
        return Err(Refusal::invalid("UpdateShare no fields to update."));
    }
    if wanted.updates.len() > UPDATES_MAX {
        return Err(Refusal::invalid(format!(
            "UpdateShare has {} updates, which exceeds the maximum of {UPDATES_MAX}.",
            wanted.updates.len()
        )));
    }
    let mut named = BTreeSet::new();
    if !wanted.updates.iter().all(|update| named.insert(update.data_object.name.to_lowercase())) {
        return Err(Refusal::invalid("UpdateShare duplicate updates on the same data object in one request."));
    }
    let mut metastore = workspace.metastore();
    let mut share = owned(&metastore, &name, &caller)?;
    let now = workspace.now_millis();
    for update in &wanted.updates {
        update_object(&workspace.options, &metastore, &mut share, update, (now, &caller))?;
    }
    let key = name.to_lowercase();
    let new_key = match &wanted.new_name {
        Some(new_name) => names::kept("Share", new_name)?,
        None => key.clone(),
    };
    if new_key != key && metastore.shares.contains_key(&new_key) {
        let message = format!("Share '{new_key}' already exists");
        return Err(Refusal::exists(workspace.options.already_exists, "SHARE_ALREADY_EXISTS", message));
    }
    share.name.clone_from(&new_key);
    share.owner = wanted.owner.unwrap_or(share.owner);
    share.comment = wanted.comment.or(share.comment);
    let answer = info(&metastore, &share, Objects::With);
    metastore.shares.remove(&key);
    if let Some(grants) = metastore.grants.remove(&("share".to_owned(), key)) {
        metastore.grants.insert(("share".to_owned(), new_key.clone()), grants);
    }
    metastore.shares.insert(new_key, share);
    Ok(Json(answer))
}

fn update_object(
    options: &Options,
    metastore: &Metastore,
    share: &mut Share,
    update: &ObjectUpdate,
    (now, caller): (i64, &str),
) -> Result<(), Refusal> {
    let wanted = &update.data_object;
    let name = wanted.name.to_lowercase();
    if update.action != Action::Remove {
        check_rows(metastore, wanted, &name)?;
    }
    let index = share.objects.iter().position(|object| object.name == name);
    match (update.action, index) {
        (Action::Add, Some(_)) => Err(shared_already(options, &name)),
        (Action::Add, None) => {
            let object = new_object(metastore, wanted, &name, (now, caller))?;
            if share.objects.iter().any(|other| other.shared_as.eq_ignore_ascii_case(&object.shared_as)) {
                return Err(shared_already(options, &object.shared_as));
            }
            let tables = share.objects.iter().filter(|object| object.kind == ObjectKind::Table).count();
            if object.kind == ObjectKind::Table && tables >= options.tables_per_share_max {
                let message = format!(
                    "Cannot create 1 Table(s) in Share {} (estimated count: {tables}, limit: {}).",
                    share.name, options.tables_per_share_max
                );
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "QUOTA_EXCEEDED", message));
            }
            share.objects.push(object);
            Ok(())
        }
        (Action::Remove, Some(index)) => {
            share.objects.remove(index);
            Ok(())
        }
        (Action::Update, Some(index)) => {
            if let Some(alias) = &wanted.shared_as {
                names::check_shared_as(alias)?;
                let others = share.objects.iter().enumerate().filter(|(at, _)| *at != index);
                if others.into_iter().any(|(_, other)| other.shared_as.eq_ignore_ascii_case(alias)) {
                    return Err(shared_already(options, alias));
                }
            }
            if let Some(object) = share.objects.get_mut(index) {
                object.shared_as = wanted.shared_as.clone().unwrap_or_else(|| object.shared_as.clone());
                object.comment = wanted.comment.clone().or_else(|| object.comment.take());
                object.cdf_enabled = wanted.cdf_enabled.unwrap_or(object.cdf_enabled);
                object.history = wanted.history_data_sharing_status.map_or(object.history, |it| it == History::Enabled);
                object.start_version = wanted.start_version.or(object.start_version);
                object.partitions = wanted.partitions.clone().unwrap_or_else(|| std::mem::take(&mut object.partitions));
            }
            Ok(())
        }
        (Action::Remove | Action::Update, None) => {
            let message = format!("Shared Table '{name}' does not exist in Share '{}'.", share.name);
            Err(Refusal::missing("RESOURCE_DOES_NOT_EXIST", message))
        }
    }
}

/// Checks which rows of a table are to be shared: those of some versions, those of some partitions.
fn check_rows(metastore: &Metastore, wanted: &DataObject, name: &str) -> Result<(), Refusal> {
    if wanted.cdf_enabled == Some(true) && wanted.history_data_sharing_status.is_some() {
        return Err(Refusal::invalid("cdf_enabled and history_data_sharing_status exclude each other"));
    }
    if wanted.start_version.is_some_and(|version| version < 0) {
        return Err(Refusal::invalid("start_version must not be negative"));
    }
    let columns = metastore.tables.get(name).map(|table| table.columns.as_slice()).unwrap_or_default();
    let is_partition_column =
        |name: &str| columns.iter().any(|column| column.name == name && column.partition_index.is_some());
    for partition in wanted.partitions.iter().flatten() {
        if partition.values.is_empty() {
            return Err(Refusal::invalid("a partition needs values"));
        }
        for value in &partition.values {
            if value.value.is_some() && value.recipient_property_key.is_some() {
                return Err(Refusal::invalid("value and recipient_property_key exclude each other"));
            }
            if !is_partition_column(&value.name) {
                return Err(Refusal::invalid(format!("\"{}\" is not a partition column of '{name}'", value.name)));
            }
        }
    }
    Ok(())
}

fn shared_already(options: &Options, name: &str) -> Refusal {
    let message = format!("Shared Table '{name}' already exists");
    Refusal::exists(options.already_exists, "RESOURCE_ALREADY_EXISTS", message)
}

fn new_object(
    metastore: &Metastore,
    wanted: &DataObject,
    name: &str,
    (now, caller): (i64, &str),
) -> Result<SharedObject, Refusal> {
    let kind = wanted.data_object_type.unwrap_or(ObjectKind::Table);
    let parts: Vec<_> = name.split('.').collect();
    let default = match (kind, parts.as_slice()) {
        (ObjectKind::Table, [_, schema, table]) => format!("{schema}.{table}"),
        (ObjectKind::Schema, [_, schema]) => (*schema).to_owned(),
        (ObjectKind::Table | ObjectKind::Schema, _) => {
            return Err(Refusal::invalid(format!("\"{name}\" is not a full name")));
        }
    };
    match kind {
        ObjectKind::Table if !metastore.tables.contains_key(name) => {
            return Err(Refusal::missing("TABLE_DOES_NOT_EXIST", format!("Table '{name}' does not exist.")));
        }
        ObjectKind::Table if !metastore.may_select(name, caller) => {
            return Err(Refusal::denied(format!("User does not have SELECT on Table '{name}'.")));
        }
        ObjectKind::Schema if !metastore.schemas.contains_key(name) => {
            return Err(Refusal::missing("SCHEMA_DOES_NOT_EXIST", format!("Schema '{name}' does not exist.")));
        }
        ObjectKind::Table | ObjectKind::Schema => {}
    }
    if let Some(alias) = &wanted.shared_as {
        names::check_shared_as(alias)?;
    } else if kind == ObjectKind::Table {
        names::check_shared_as(&default)?;
    }
    Ok(SharedObject {
        name: name.to_owned(),
        kind,
        shared_as: wanted.shared_as.clone().unwrap_or(default),
        comment: wanted.comment.clone(),
        cdf_enabled: wanted.cdf_enabled.unwrap_or(false),
        history: wanted.history_data_sharing_status == Some(History::Enabled),
        start_version: wanted.start_version,
        partitions: wanted.partitions.clone().unwrap_or_default(),
        added_at: now,
        added_by: caller.to_owned(),
    })
}

pub(crate) async fn permissions(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(name): Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let metastore = workspace.metastore();
    let key = name.to_lowercase();
    visible(&workspace, &metastore, &name, &caller)?;
    let items = listed(&metastore, "share", &key);
    Ok(Json(page(&workspace.options, &query, "privilege_assignments", items)?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdatePermissions {
    #[serde(default)]
    changes: Vec<Change>,
    #[serde(default)]
    omit_permissions_list: bool,
}

pub(crate) async fn update_permissions(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let mut wanted: UpdatePermissions = read(&body)?;
    let mut metastore = workspace.metastore();
    owned(&metastore, &name, &caller)?;
    for change in &mut wanted.changes {
        change.principal = change.principal.to_lowercase();
        if change.add.iter().chain(&change.remove).any(|privilege| privilege != "SELECT") {
            return Err(Refusal::invalid("only SELECT can be granted on a share"));
        }
        let principal = &change.principal;
        let recipient = metastore.recipients.get(principal);
        let recipient = recipient.ok_or_else(|| {
            Refusal::missing("RESOURCE_DOES_NOT_EXIST", format!("Recipient '{principal}' does not exist."))
        })?;
        if !change.add.is_empty() && recipient.owner != caller {
            return Err(Refusal::denied(format!("User is not an owner of Recipient '{principal}'.")));
        }
    }
    let key = name.to_lowercase();
    apply(&mut metastore, "share", &key, &wanted.changes);
    if wanted.omit_permissions_list {
        return Ok(Json(json!({})));
    }
    Ok(Json(json!({"privilege_assignments": listed(&metastore, "share", &key)})))
}
