//! Privileges on catalogs, schemas, tables and external locations. (Those on shares are in `shares`.)

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Refusal, read};
use crate::server::{Caller, Workspace};
use crate::state::Metastore;

/// What may be granted on what.
const PRIVILEGES: [(&str, &[&str]); 4] = [
    (
        "catalog",
        &[
            "CREATE_SCHEMA",
            "CREATE_TABLE",
            "EXTERNAL_USE_SCHEMA",
            "SELECT",
            "USE_CATALOG",
            "USE_SCHEMA",
            "ALL_PRIVILEGES",
        ],
    ),
    ("schema", &["CREATE_TABLE", "EXTERNAL_USE_SCHEMA", "SELECT", "USE_SCHEMA", "ALL_PRIVILEGES"]),
    ("table", &["MODIFY", "SELECT", "ALL_PRIVILEGES"]),
    ("external_location", &["CREATE_EXTERNAL_TABLE", "EXTERNAL_USE_LOCATION", "READ_FILES", "ALL_PRIVILEGES"]),
];

/// One principal's changes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    pub(crate) principal: String,
    #[serde(default)]
    pub(crate) add: Vec<String>,
    #[serde(default)]
    pub(crate) remove: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    #[serde(default)]
    changes: Vec<Change>,
}

pub(crate) async fn update(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path((kind, name)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let wanted: Update = read(&body)?;
    let (kind, name) = (kind.to_lowercase(), name.to_lowercase());
    let allowed = PRIVILEGES.iter().find(|(of, _)| *of == kind).map(|(_, allowed)| *allowed);
    let allowed = allowed.ok_or_else(|| Refusal::invalid(format!("\"{kind}\" is not a type of securable")))?;
    let mut metastore = workspace.metastore();
    let owner = metastore.owner(&kind, &name).ok_or_else(|| missing(&kind, &name))?;
    if owner != caller {
        return Err(Refusal::denied(format!("User is not an owner of {kind} '{name}'.")));
    }
    let named = wanted.changes.iter().flat_map(|change| change.add.iter().chain(&change.remove));
    if let Some(unknown) = named.into_iter().find(|privilege| !allowed.contains(&privilege.as_str())) {
        return Err(Refusal::invalid(format!("Privilege {unknown} is not applicable to {kind}.")));
    }
    apply(&mut metastore, &kind, &name, &wanted.changes);
    Ok(Json(assignments(&metastore, &kind, &name)))
}

pub(crate) async fn get(State(workspace): State<Arc<Workspace>>, Path((kind, name)): Path<(String, String)>) -> Answer {
    let (kind, name) = (kind.to_lowercase(), name.to_lowercase());
    let metastore = workspace.metastore();
    metastore.owner(&kind, &name).ok_or_else(|| missing(&kind, &name))?;
    Ok(Json(assignments(&metastore, &kind, &name)))
}

fn missing(kind: &str, name: &str) -> Refusal {
    Refusal::missing("RESOURCE_DOES_NOT_EXIST", format!("{kind} '{name}' does not exist."))
}

/// Makes changes. Granting what is held and revoking what is not held change nothing.
pub(crate) fn apply(metastore: &mut Metastore, kind: &str, name: &str, changes: &[Change]) {
    let grants = metastore.grants.entry((kind.to_owned(), name.to_owned())).or_default();
    for change in changes {
        let held = grants.entry(change.principal.clone()).or_default();
        held.extend(change.add.iter().cloned());
        held.retain(|privilege| !change.remove.contains(privilege));
    }
    grants.retain(|_, held| !held.is_empty());
}

/// Who holds what.
pub(crate) fn listed(metastore: &Metastore, kind: &str, name: &str) -> Vec<Value> {
    let none = BTreeMap::new();
    let grants = metastore.grants.get(&(kind.to_owned(), name.to_owned())).unwrap_or(&none);
    grants.iter().map(|(principal, held)| json!({"principal": principal, "privileges": held})).collect()
}

fn assignments(metastore: &Metastore, kind: &str, name: &str) -> Value {
    json!({"privilege_assignments": listed(metastore, kind, name)})
}
