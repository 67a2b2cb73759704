//! Federation policies of recipients whose readers come with tokens of their own identity provider.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{Answer, Refusal, read};
use crate::paging::{PageQuery, page};
use crate::recipients::owned;
use crate::server::{Caller, Workspace};
use crate::state::{Authentication, FederationPolicy, Recipient, without_nulls};

/// The claims that may name the reader.
const SUBJECT_CLAIMS: [&str; 4] = ["oid", "azp", "groups", "sub"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    comment: Option<String>,
    oidc_policy: OidcPolicy,
}

/// What a reader's token has to say.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OidcPolicy {
    issuer: String,
    subject_claim: String,
    subject: String,
    #[serde(default)]
    audiences: Vec<String>,
}

fn check(wanted: &Create) -> Result<(), Refusal> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if wanted.name.is_empty() || !wanted.name.chars().all(plain) {
        return Err(Refusal::invalid("a policy's name is of lowercase letters, digits and hyphens"));
    }
    let OidcPolicy { issuer, subject_claim, subject, audiences } = &wanted.oidc_policy;
    if !issuer.starts_with("https://") || subject.is_empty() || audiences.iter().any(String::is_empty) {
        return Err(Refusal::invalid("oidc_policy needs an issuer, a subject, and audiences that are not empty"));
    }
    if !SUBJECT_CLAIMS.contains(&subject_claim.as_str()) {
        return Err(Refusal::invalid(format!("\"{subject_claim}\" is not a supported subject_claim")));
    }
    if audiences.iter().collect::<BTreeSet<_>>().len() != audiences.len() {
        return Err(Refusal::invalid("an audience is named twice"));
    }
    Ok(())
}

fn info(policy: &FederationPolicy) -> Value {
    without_nulls(json!({
        "id": policy.id,
        "name": policy.name,
        "comment": policy.comment,
        "oidc_policy": policy.oidc_policy,
    }))
}

fn missing(name: &str) -> Refusal {
    Refusal::missing("RESOURCE_DOES_NOT_EXIST", format!("Federation policy '{name}' does not exist."))
}

fn of(recipient: &mut Recipient) -> Result<&mut Vec<FederationPolicy>, Refusal> {
    match recipient.authentication_type {
        Authentication::OidcFederation => Ok(&mut recipient.policies),
        Authentication::Token | Authentication::Databricks | Authentication::OauthClientCredentials => {
            Err(Refusal::invalid("federation policies are for recipients of authentication type OIDC_FEDERATION only"))
        }
    }
}

pub(crate) async fn create(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(recipient): Path<String>,
    body: Bytes,
) -> Answer {
    let wanted: Create = read(&body)?;
    check(&wanted)?;
    let mut metastore = workspace.metastore();
    let id = metastore.new_id();
    let policies = of(owned(&mut metastore, &recipient, &caller)?)?;
    let Create { name, comment, oidc_policy } = wanted;
    if policies.iter().any(|policy| policy.name == name) {
        let message = format!("Federation policy '{name}' already exists");
        return Err(Refusal::exists(workspace.options.already_exists, "ALREADY_EXISTS", message));
    }
    let policy = FederationPolicy { id, name, comment, oidc_policy };
    let answer = info(&policy);
    policies.push(policy);
    Ok(Json(answer))
}

pub(crate) async fn list(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(recipient): Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let mut metastore = workspace.metastore();
    let items = of(owned(&mut metastore, &recipient, &caller)?)?.iter().map(info).collect();
    Ok(Json(page(&workspace.options, &query, "policies", items)?))
}

pub(crate) async fn get(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path((recipient, name)): Path<(String, String)>,
) -> Answer {
    let mut metastore = workspace.metastore();
    let policies = of(owned(&mut metastore, &recipient, &caller)?)?;
    let found = policies.iter().find(|policy| policy.name == name).ok_or_else(|| missing(&name))?;
    Ok(Json(info(found)))
}

pub(crate) async fn delete(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path((recipient, name)): Path<(String, String)>,
) -> Answer {
    let mut metastore = workspace.metastore();
    let policies = of(owned(&mut metastore, &recipient, &caller)?)?;
    let at = policies.iter().position(|policy| policy.name == name).ok_or_else(|| missing(&name))?;
    policies.remove(at);
    Ok(Json(json!({})))
}
