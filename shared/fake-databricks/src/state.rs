//! What the metastore holds.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::Refusal;
use crate::federation::OidcPolicy;
use crate::{Options, ReadyCatalog, tables};

/// Everything that the workspace keeps. Keys are names in lower case.
#[derive(Debug, Default)]
pub(crate) struct Metastore {
    /// OAuth tokens: principal, and when they end.
    pub(crate) oauth_tokens: BTreeMap<String, (String, i64)>,
    pub(crate) credentials: BTreeMap<String, Credential>,
    pub(crate) locations: BTreeMap<String, Location>,
    pub(crate) catalogs: BTreeMap<String, Catalog>,
    /// By `catalog.schema`.
    pub(crate) schemas: BTreeMap<String, Schema>,
    /// By `catalog.schema.table`.
    pub(crate) tables: BTreeMap<String, Table>,
    pub(crate) recipients: BTreeMap<String, Recipient>,
    pub(crate) shares: BTreeMap<String, Share>,
    /// Privileges by securable (type and full name) and principal.
    pub(crate) grants: BTreeMap<(String, String), BTreeMap<String, BTreeSet<String>>>,
    pub(crate) statements: BTreeMap<String, Statement>,
    /// Every OAuth token, activation code and bearer token that somebody was told, good or not any more.
    pub(crate) handed_out: BTreeSet<String>,
    serial: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Credential {
    pub(crate) owner: String,
    pub(crate) role_arn: String,
    pub(crate) read_only: bool,
    pub(crate) external_id: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Location {
    pub(crate) owner: String,
    /// Without a slash at its end.
    pub(crate) url: String,
    pub(crate) credential: String,
    pub(crate) read_only: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    pub(crate) owner: String,
    pub(crate) comment: Option<String>,
    /// Managed storage: no external table may lie in it.
    pub(crate) storage_root: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Schema {
    pub(crate) owner: String,
    pub(crate) comment: Option<String>,
    pub(crate) created_at: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) owner: String,
    /// Without a slash at its end.
    pub(crate) storage_location: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) comment: Option<String>,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) id: String,
    pub(crate) created_at: i64,
}

/// A column, as the Tables API words it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) type_text: String,
    pub(crate) type_name: String,
    pub(crate) type_json: String,
    pub(crate) position: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nullable: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) partition_index: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) type_precision: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) type_scale: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) type_interval_type: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Recipient {
    /// As it was given; names compare without case.
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) authentication_type: Authentication,
    pub(crate) sharing_identifier: Option<String>,
    pub(crate) comment: Option<String>,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) allowed_ips: Option<Vec<String>>,
    pub(crate) tokens: Vec<Token>,
    /// Of recipients of authentication type `OIDC_FEDERATION`.
    pub(crate) policies: Vec<FederationPolicy>,
    pub(crate) created_at: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct FederationPolicy {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) comment: Option<String>,
    pub(crate) oidc_policy: OidcPolicy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Authentication {
    Token,
    Databricks,
    OidcFederation,
    OauthClientCredentials,
}

#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) id: String,
    /// What stands behind the `?` of the activation URL.
    pub(crate) activation_code: String,
    pub(crate) activated: bool,
    pub(crate) created_at: i64,
    pub(crate) expires_at: Option<i64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) comment: Option<String>,
    pub(crate) objects: Vec<SharedObject>,
    pub(crate) created_at: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct SharedObject {
    /// In lower case.
    pub(crate) name: String,
    pub(crate) kind: ObjectKind,
    pub(crate) shared_as: String,
    pub(crate) comment: Option<String>,
    pub(crate) cdf_enabled: bool,
    pub(crate) history: bool,
    pub(crate) start_version: Option<i64>,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) added_at: i64,
    pub(crate) added_by: String,
}

/// Rows of a table that are shared: those of which all of these hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Partition {
    pub(crate) values: Vec<PartitionValue>,
}

/// A condition on a partition column. Without a value and without a property it means NULL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartitionValue {
    pub(crate) name: String,
    pub(crate) op: PartitionOp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) recipient_property_key: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum PartitionOp {
    Equal,
    Like,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ObjectKind {
    Table,
    Schema,
}

#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) caller: String,
    pub(crate) polls_left: u32,
    /// Absent while the statement runs.
    pub(crate) outcome: Option<Result<(), Refusal>>,
}

impl Metastore {
    /// The metastore as its operator leaves it.
    pub(crate) fn new(options: &Options) -> Self {
        let mut metastore = Self::default();
        if let Some(ready) = &options.catalog {
            metastore.make_ready(ready, options.principals.keys());
        }
        metastore
    }

    /// Makes a catalog as the operator does, for these service principals. Doing it again changes nothing.
    pub(crate) fn make_ready<'a>(&mut self, ready: &ReadyCatalog, principals: impl Iterator<Item = &'a String>) {
        let metastore = self;
        let owner = "operator".to_owned();
        let name = ready.name.to_lowercase();
        let credential = Credential {
            owner: owner.clone(),
            role_arn: "arn:aws:iam::111122223333:role/tables".to_owned(),
            read_only: true,
            external_id: "external-id".to_owned(),
        };
        metastore.credentials.insert(name.clone(), credential);
        let location = Location {
            owner: owner.clone(),
            url: ready.location_url.trim_end_matches('/').to_owned(),
            credential: name.clone(),
            read_only: true,
        };
        metastore.locations.insert(name.clone(), location);
        metastore.catalogs.insert(name.clone(), Catalog { owner, comment: None, storage_root: None });
        for principal in principals {
            for privilege in ["CREATE_SCHEMA", "USE_CATALOG", "USE_SCHEMA", "EXTERNAL_USE_SCHEMA"] {
                metastore.grant("catalog", &name, principal, privilege);
            }
            for privilege in ["CREATE_EXTERNAL_TABLE", "EXTERNAL_USE_LOCATION"] {
                metastore.grant("external_location", &name, principal, privilege);
            }
        }
    }

    /// A UUID that nothing else has.
    pub(crate) fn new_id(&mut self) -> String {
        self.serial += 1;
        format!("00000000-0000-4000-8000-{:012x}", self.serial)
    }

    pub(crate) fn grant(&mut self, kind: &str, name: &str, principal: &str, privilege: &str) {
        let grants = self.grants.entry((kind.to_owned(), name.to_owned())).or_default();
        grants.entry(principal.to_owned()).or_default().insert(privilege.to_owned());
    }

    /// Whether a principal was given a privilege on this very securable.
    pub(crate) fn holds(&self, kind: &str, name: &str, principal: &str, privilege: &str) -> bool {
        let grants = self.grants.get(&(kind.to_owned(), name.to_owned())).and_then(|grants| grants.get(principal));
        grants.is_some_and(|held| held.contains(privilege) || held.contains("ALL_PRIVILEGES"))
    }

    /// Whether a principal may read a table: as its owner, or by a privilege on it or above it; and it may come there by
    /// way of catalog and schema, which their owners may and others by a privilege.
    pub(crate) fn may_select(&self, full_name: &str, principal: &str) -> bool {
        let Some(table) = self.tables.get(full_name) else { return false };
        let (catalog, schema) = tables::parents(full_name);
        let owns_catalog = self.owner("catalog", catalog) == Some(principal);
        let comes_there = (owns_catalog || self.holds("catalog", catalog, principal, "USE_CATALOG"))
            && (owns_catalog
                || self.owner("schema", schema) == Some(principal)
                || self.holds("schema", schema, principal, "USE_SCHEMA")
                || self.holds("catalog", catalog, principal, "USE_SCHEMA"));
        let selects = table.owner == principal
            || self.holds("table", full_name, principal, "SELECT")
            || self.holds("schema", schema, principal, "SELECT")
            || self.holds("catalog", catalog, principal, "SELECT");
        comes_there && selects
    }

    /// Who owns a securable.
    pub(crate) fn owner(&self, kind: &str, name: &str) -> Option<&str> {
        let owner = match kind {
            "storage_credential" => self.credentials.get(name).map(|it| &it.owner),
            "external_location" => self.locations.get(name).map(|it| &it.owner),
            "catalog" => self.catalogs.get(name).map(|it| &it.owner),
            "schema" => self.schemas.get(name).map(|it| &it.owner),
            "table" => self.tables.get(name).map(|it| &it.owner),
            _ => None,
        };
        owner.map(String::as_str)
    }
}

/// A JSON object without the fields that have no value, as the API writes it.
pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn select_is_of_use_to_who_may_come_there() {
        let (owner, created_at) = ("operator".to_owned(), 0);
        let mut metastore = Metastore::default();
        let catalog = Catalog { owner: owner.clone(), comment: None, storage_root: None };
        metastore.catalogs.insert("main".to_owned(), catalog);
        metastore.schemas.insert("main.acme".to_owned(), Schema { owner, comment: None, created_at });
        let table = Table {
            owner: "p".to_owned(),
            storage_location: "s3://b/t".to_owned(),
            columns: Vec::new(),
            comment: None,
            properties: BTreeMap::new(),
            id: String::new(),
            created_at,
        };
        metastore.tables.insert("main.acme.t".to_owned(), table);
        let mut grant_and_ask = |kind: &str, name: &str, who: &str, privilege: &str| {
            metastore.grant(kind, name, who, privilege);
            metastore.may_select("main.acme.t", who)
        };
        assert!(!grant_and_ask("table", "main.acme.t", "p", "MODIFY"), "its owner does not come there");
        assert!(!grant_and_ask("catalog", "main", "p", "USE_CATALOG"), "to the catalog only");
        assert!(grant_and_ask("schema", "main.acme", "p", "USE_SCHEMA"));
        assert!(!grant_and_ask("catalog", "main", "q", "USE_CATALOG"));
        assert!(!grant_and_ask("catalog", "main", "q", "USE_SCHEMA"), "and nothing to read there");
        assert!(grant_and_ask("schema", "main.acme", "q", "SELECT"));
        assert!(!grant_and_ask("schema", "main.acme", "r", "ALL_PRIVILEGES"), "the catalog is above it");
        assert!(grant_and_ask("catalog", "main", "r", "ALL_PRIVILEGES"));
    }
}
