//! Resource quotas: how much of something a parent may hold, and holds.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::json;

use crate::answer::{Answer, Refusal};
use crate::server::{Caller, Workspace};
use crate::state::ObjectKind;

/// The most shares of a metastore.
const SHARES_MAX: usize = 1_000;

/// The most recipients of a metastore.
const RECIPIENTS_MAX: usize = 5_000;

/// The most schemas of a share.
const SCHEMAS_PER_SHARE_MAX: usize = 500;

/// A quota of the metastore or of a share. Quotas of other parents are not kept.
pub(crate) async fn get(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path((kind, name, quota)): Path<(String, String, String)>,
) -> Answer {
    let metastore = workspace.metastore();
    let missing = |what: String| Refusal::missing("RESOURCE_DOES_NOT_EXIST", format!("{what} does not exist."));
    let kind = kind.to_uppercase();
    let (count, limit) = match kind.as_str() {
        "METASTORE" => match quota.as_str() {
            "share-quota" => (metastore.shares.len(), SHARES_MAX),
            "recipient-quota" => (metastore.recipients.len(), RECIPIENTS_MAX),
            _ => return Err(missing(format!("Quota '{quota}' of METASTORE"))),
        },
        "SHARE" => {
            let share = metastore.shares.get(&name.to_lowercase());
            let share = share.filter(|share| workspace.sees(&share.owner, &caller));
            let share = share.ok_or_else(|| missing(format!("Share '{name}'")))?;
            let of = |wanted: ObjectKind| share.objects.iter().filter(|object| object.kind == wanted).count();
            match quota.as_str() {
                "table-quota" => (of(ObjectKind::Table), workspace.options.tables_per_share_max),
                "schema-quota" => (of(ObjectKind::Schema), SCHEMAS_PER_SHARE_MAX),
                _ => return Err(missing(format!("Quota '{quota}' of SHARE"))),
            }
        }
        _ => return Err(Refusal::invalid(format!("\"{kind}\" is not a parent of quotas here"))),
    };
    Ok(Json(json!({"quota_info": {
        "parent_securable_type": kind,
        "parent_full_name": name,
        "quota_name": quota,
        "quota_count": count,
        "quota_limit": limit,
        "last_refreshed_at": workspace.now_millis(),
    }})))
}
