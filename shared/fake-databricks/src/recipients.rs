//! Recipients: one per recipient metastore, tokens with rotation.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{Answer, Refusal, read};
use crate::paging::{PageQuery, page};
use crate::server::{Caller, Workspace};
use crate::state::{Authentication, Metastore, Recipient, Token, without_nulls};
use crate::{Switch, names};

/// The most blocks in an IP access list.
const ALLOWED_IPS_MAX: usize = 100;

/// The longest life of a new token.
const TOKEN_LIFE_MILLIS_MAX: i64 = 365 * 86_400 * 1_000;

/// How the names of the properties begin that the workspace sets itself, and takes from nobody.
const RESERVED_PROPERTIES: &str = "databricks.";

/// The most tokens that are good at the same time, during a rotation.
const GOOD_TOKENS_MAX: usize = 2;

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct IpAccessList {
    #[serde(default)]
    allowed_ip_addresses: Vec<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Properties {
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    authentication_type: Authentication,
    comment: Option<String>,
    data_recipient_global_metastore_id: Option<String>,
    expiration_time: Option<i64>,
    ip_access_list: Option<IpAccessList>,
    owner: Option<String>,
    properties_kvpairs: Option<Properties>,
    sharing_code: Option<String>,
}

pub(crate) async fn create(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let wanted: Create = read(&body)?;
    let key = names::kept("Recipient", &wanted.name)?;
    let now = workspace.now_millis();
    check_create(&workspace, &wanted, now)?;
    let mut metastore = workspace.metastore();
    let already = workspace.options.already_exists;
    if metastore.recipients.contains_key(&key) {
        let message = format!("Recipient '{key}' already exists");
        return Err(Refusal::exists(already, "RECIPIENT_ALREADY_EXISTS", message));
    }
    if let Some(identifier) = &wanted.data_recipient_global_metastore_id
        && let Some(other) =
            metastore.recipients.values().find(|other| other.sharing_identifier.as_ref() == Some(identifier))
    {
        let message = format!(
            "There is already a Recipient object '{}' with the same sharing identifier {identifier}",
            other.name
        );
        return Err(Refusal::exists(already, "RESOURCE_ALREADY_EXISTS", message));
    }
    let tokens = match wanted.authentication_type {
        Authentication::Token => vec![new_token(&mut metastore, now, wanted.expiration_time)],
        Authentication::Databricks | Authentication::OidcFederation | Authentication::OauthClientCredentials => {
            Vec::new()
        }
    };
    let recipient = Recipient {
        name: wanted.name,
        owner: wanted.owner.unwrap_or(caller),
        authentication_type: wanted.authentication_type,
        sharing_identifier: wanted.data_recipient_global_metastore_id,
        comment: wanted.comment,
        properties: wanted.properties_kvpairs.map(|it| it.properties).unwrap_or_default(),
        allowed_ips: wanted.ip_access_list.map(|list| list.allowed_ip_addresses),
        tokens,
        policies: Vec::new(),
        created_at: now,
    };
    let answer = info(&workspace.host, &recipient);
    metastore.recipients.insert(key, recipient);
    Ok(Json(answer))
}

fn check_create(workspace: &Workspace, wanted: &Create, now: i64) -> Result<(), Refusal> {
    let databricks = wanted.authentication_type == Authentication::Databricks;
    if !databricks && workspace.options.external_delta_sharing == Switch::Off {
        return Err(Refusal::invalid("External Delta Sharing is not enabled on the metastore."));
    }
    if databricks {
        let identifier = wanted.data_recipient_global_metastore_id.as_deref();
        if !identifier.is_some_and(is_sharing_identifier) {
            return Err(Refusal::invalid(
                "data_recipient_global_metastore_id must be <cloud>:<region>:<metastore-uuid> for authentication type \
                 DATABRICKS",
            ));
        }
        if wanted.ip_access_list.is_some() {
            return Err(Refusal::invalid("ip_access_list is not supported for authentication type DATABRICKS"));
        }
    } else if wanted.data_recipient_global_metastore_id.is_some() || wanted.sharing_code.is_some() {
        return Err(Refusal::invalid("a sharing identifier is for authentication type DATABRICKS only"));
    }
    check_expiration(wanted.authentication_type, wanted.expiration_time, now)?;
    check_ips(wanted.ip_access_list.as_ref())?;
    check_properties(wanted.properties_kvpairs.as_ref())
}

fn is_sharing_identifier(text: &str) -> bool {
    let parts: Vec<_> = text.split(':').collect();
    let [cloud, region, uuid] = parts.as_slice() else { return false };
    let groups: Vec<_> = uuid.split('-').map(str::len).collect();
    matches!(*cloud, "aws" | "azure" | "gcp")
        && !region.is_empty()
        && groups == [8, 4, 4, 4, 12]
        && uuid.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

fn check_expiration(kind: Authentication, expires_at: Option<i64>, now: i64) -> Result<(), Refusal> {
    match expires_at {
        None => Ok(()),
        Some(_) if kind != Authentication::Token => {
            Err(Refusal::invalid("expiration_time is for authentication type TOKEN only"))
        }
        Some(at) if at <= now => Err(Refusal::invalid("expiration_time must be in the future")),
        Some(at) if at > now + TOKEN_LIFE_MILLIS_MAX => {
            Err(Refusal::invalid("expiration_time must be within one year"))
        }
        Some(_) => Ok(()),
    }
}

fn check_ips(list: Option<&IpAccessList>) -> Result<(), Refusal> {
    let blocks = list.map(|list| list.allowed_ip_addresses.as_slice()).unwrap_or_default();
    if blocks.len() > ALLOWED_IPS_MAX {
        return Err(Refusal::invalid(format!("an IP access list holds at most {ALLOWED_IPS_MAX} addresses")));
    }
    let wrong = blocks.iter().find(|block| {
        let (address, bits) = block.split_once('/').map_or((block.as_str(), None), |(a, bits)| (a, Some(bits)));
        let Ok(address) = address.parse::<IpAddr>() else { return true };
        let most = if address.is_ipv4() { 32 } else { 128 };
        bits.is_some_and(|bits| bits.parse::<u8>().ok().is_none_or(|bits| bits > most))
    });
    wrong.map_or(Ok(()), |block| Err(Refusal::invalid(format!("\"{block}\" is not an IP address or CIDR block"))))
}

fn check_properties(properties: Option<&Properties>) -> Result<(), Refusal> {
    let reserved =
        properties.into_iter().flat_map(|it| it.properties.keys()).find(|key| key.starts_with(RESERVED_PROPERTIES));
    reserved.map_or(Ok(()), |key| Err(Refusal::invalid(format!("the property \"{key}\" is reserved"))))
}

fn new_token(metastore: &mut Metastore, now: i64, expires_at: Option<i64>) -> Token {
    let (id, activation_code) = (metastore.new_id(), metastore.new_id());
    metastore.handed_out.insert(activation_code.clone());
    // Without an expiration time a token lives as long as the metastore says: a year here.
    let expires_at = expires_at.or(Some(now + TOKEN_LIFE_MILLIS_MAX));
    Token { id, activation_code, activated: false, created_at: now, expires_at }
}

/// A recipient as the API shows it.
fn info(host: &str, recipient: &Recipient) -> Value {
    let activation_url = |token: &Token| {
        let url = format!("{host}/delta_sharing/retrieve_config.html?{}", token.activation_code);
        (!token.activated).then_some(url)
    };
    let tokens = recipient.tokens.iter().map(|token| {
        without_nulls(json!({
            "id": token.id,
            "created_at": token.created_at,
            "created_by": recipient.owner,
            "activation_url": activation_url(token),
            "expiration_time": token.expires_at,
            "updated_at": token.created_at,
            "updated_by": recipient.owner,
        }))
    });
    let is_token = recipient.authentication_type == Authentication::Token;
    let identifier = recipient.sharing_identifier.as_deref();
    let mut properties = recipient.properties.clone();
    // Enough to refuse a client that writes back what it read: nobody changes the properties of the other kinds.
    if is_token {
        properties.insert(format!("{RESERVED_PROPERTIES}name"), recipient.name.clone());
    }
    let part = |n: usize| identifier.and_then(|identifier| identifier.split(':').nth(n));
    without_nulls(json!({
        "name": recipient.name,
        "authentication_type": recipient.authentication_type,
        "owner": recipient.owner,
        "comment": recipient.comment,
        "data_recipient_global_metastore_id": identifier,
        "cloud": part(0),
        "region": part(1),
        "metastore_id": part(2),
        "properties_kvpairs": {"properties": properties},
        "ip_access_list": recipient.allowed_ips.as_ref().map(|ips| json!({"allowed_ip_addresses": ips})),
        "activated": is_token.then(|| recipient.tokens.iter().any(|token| token.activated)),
        "activation_url": recipient.tokens.last().and_then(activation_url),
        "tokens": is_token.then(|| tokens.collect::<Vec<_>>()),
        "created_at": recipient.created_at,
        "created_by": recipient.owner,
        "updated_at": recipient.created_at,
        "updated_by": recipient.owner,
    }))
}

fn missing(name: &str) -> Refusal {
    Refusal::missing("RESOURCE_DOES_NOT_EXIST", format!("Recipient '{name}' does not exist."))
}

pub(crate) fn owned<'a>(metastore: &'a mut Metastore, name: &str, caller: &str) -> Result<&'a mut Recipient, Refusal> {
    let recipient = metastore.recipients.get_mut(&name.to_lowercase()).ok_or_else(|| missing(name))?;
    if recipient.owner == caller {
        return Ok(recipient);
    }
    Err(Refusal::denied(format!("User is not an owner of Recipient '{name}'.")))
}

pub(crate) async fn get(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(name): Path<String>,
) -> Answer {
    let metastore = workspace.metastore();
    let recipient = metastore.recipients.get(&name.to_lowercase());
    let recipient = recipient.filter(|it| workspace.sees(&it.owner, &caller)).ok_or_else(|| missing(&name))?;
    Ok(Json(info(&workspace.host, recipient)))
}

#[derive(Debug, Deserialize)]
pub(crate) struct Filter {
    data_recipient_global_metastore_id: Option<String>,
}

pub(crate) async fn list(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Query(filter): Query<Filter>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let metastore = workspace.metastore();
    let wanted = filter.data_recipient_global_metastore_id;
    let chosen = |recipient: &&Recipient| {
        workspace.sees(&recipient.owner, &caller) && (wanted.is_none() || recipient.sharing_identifier == wanted)
    };
    let items = metastore.recipients.values().filter(chosen).map(|recipient| info(&workspace.host, recipient));
    Ok(Json(page(&workspace.options, &query, "recipients", items.collect())?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    new_name: Option<String>,
    owner: Option<String>,
    comment: Option<String>,
    expiration_time: Option<i64>,
    ip_access_list: Option<IpAccessList>,
    properties_kvpairs: Option<Properties>,
}

pub(crate) async fn update(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let wanted: Update = read(&body)?;
    let now = workspace.now_millis();
    let new_key = wanted.new_name.as_deref().map(|new| names::kept("Recipient", new)).transpose()?;
    check_ips(wanted.ip_access_list.as_ref())?;
    check_properties(wanted.properties_kvpairs.as_ref())?;
    let mut metastore = workspace.metastore();
    if let Some(new_key) = new_key.as_ref().filter(|new| metastore.recipients.contains_key(*new)) {
        let message = format!("Recipient '{new_key}' already exists");
        return Err(Refusal::exists(workspace.options.already_exists, "RECIPIENT_ALREADY_EXISTS", message));
    }
    let recipient = owned(&mut metastore, &name, &caller)?;
    check_expiration(recipient.authentication_type, wanted.expiration_time, now)?;
    if wanted.ip_access_list.is_some() && recipient.authentication_type == Authentication::Databricks {
        return Err(Refusal::invalid("ip_access_list is not supported for authentication type DATABRICKS"));
    }
    let Update { new_name, owner, comment, expiration_time, ip_access_list, properties_kvpairs } = wanted;
    let none = new_name.is_none()
        && owner.is_none()
        && comment.is_none()
        && expiration_time.is_none()
        && ip_access_list.is_none()
        && properties_kvpairs.is_none();
    if none {
        return Err(Refusal::invalid("UpdateRecipient no fields to update."));
    }
    recipient.owner = owner.unwrap_or_else(|| recipient.owner.clone());
    recipient.comment = comment.or_else(|| recipient.comment.take());
    if let Some(list) = ip_access_list {
        recipient.allowed_ips = Some(list.allowed_ip_addresses);
    }
    if let Some(replaced) = properties_kvpairs {
        recipient.properties = replaced.properties;
    }
    if let (Some(at), Some(token)) = (expiration_time, recipient.tokens.last_mut()) {
        token.expires_at = Some(at);
    }
    if let (Some(new_name), Some(new_key)) = (new_name, new_key) {
        let mut moved = recipient.clone();
        moved.name = new_name;
        metastore.recipients.remove(&name.to_lowercase());
        rename_in_grants(&mut metastore, &name.to_lowercase(), &new_key);
        let answer = info(&workspace.host, &moved);
        metastore.recipients.insert(new_key, moved);
        return Ok(Json(answer));
    }
    Ok(Json(info(&workspace.host, recipient)))
}

fn rename_in_grants(metastore: &mut Metastore, from: &str, to: &str) {
    let of_shares = metastore.grants.iter_mut().filter(|((kind, _), _)| kind == "share");
    for (_, grants) in of_shares {
        if let Some(held) = grants.remove(from) {
            grants.insert(to.to_owned(), held);
        }
    }
}

pub(crate) async fn delete(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(name): Path<String>,
) -> Answer {
    let mut metastore = workspace.metastore();
    owned(&mut metastore, &name, &caller)?;
    let key = name.to_lowercase();
    metastore.recipients.remove(&key);
    for ((kind, _), grants) in &mut metastore.grants {
        if kind == "share" {
            grants.remove(&key);
        }
    }
    Ok(Json(json!({})))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    existing_token_expire_in_seconds: i64,
}

pub(crate) async fn rotate_token(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let wanted: Rotate = read(&body)?;
    let now = workspace.now_millis();
    let mut metastore = workspace.metastore();
    let recipient = owned(&mut metastore, &name, &caller)?;
    if recipient.authentication_type != Authentication::Token {
        return Err(Refusal::invalid("only recipients of authentication type TOKEN have tokens to rotate"));
    }
    if wanted.existing_token_expire_in_seconds < 0 {
        return Err(Refusal::invalid("existing_token_expire_in_seconds must not be negative"));
    }
    let end = now.saturating_add(wanted.existing_token_expire_in_seconds.saturating_mul(1_000));
    recipient.tokens.retain(|token| token.expires_at.is_none_or(|at| now < at));
    let goes_on = wanted.existing_token_expire_in_seconds > 0;
    if goes_on && recipient.tokens.len() >= GOOD_TOKENS_MAX {
        let message = format!("Recipient '{name}' has two active tokens; wait until one has expired.");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "INVALID_STATE", message));
    }
    for token in &mut recipient.tokens {
        // Rotation shortens a token's life and never extends it.
        token.expires_at = Some(token.expires_at.map_or(end, |at| at.min(end)));
    }
    recipient.tokens.retain(|token| token.expires_at.is_none_or(|at| now < at));
    let token = new_token(&mut metastore, now, None);
    let recipient = owned(&mut metastore, &name, &caller)?;
    recipient.tokens.push(token);
    Ok(Json(info(&workspace.host, recipient)))
}

pub(crate) async fn share_permissions(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(name): Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let metastore = workspace.metastore();
    let key = name.to_lowercase();
    if !metastore.recipients.get(&key).is_some_and(|recipient| workspace.sees(&recipient.owner, &caller)) {
        return Err(missing(&name));
    }
    let of_recipient =
        metastore.grants.iter().filter(|((kind, _), _)| kind == "share").filter_map(|((_, share), held)| {
            let privileges = held.get(&key).filter(|held| !held.is_empty())?;
            let assignments = [json!({"principal": key, "privileges": privileges})];
            Some(json!({"share_name": share, "privilege_assignments": assignments}))
        });
    let items = of_recipient.collect();
    Ok(Json(page(&workspace.options, &query, "permissions_out", items)?))
}
