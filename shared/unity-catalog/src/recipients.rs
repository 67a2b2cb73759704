//! `/recipients`: who reads.

use std::collections::BTreeMap;
use std::fmt;

use delivery::timestamp::Timestamp;
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::transport::{Call, Workspace};
use delivery::connector::SharingIdentifier;

const CREATE: &str = "make a recipient";
const READ: &str = "read a recipient";
const FIND: &str = "look a recipient up by its sharing identifier";
const UPDATE: &str = "change a recipient";
const ROTATE: &str = "rotate a recipient's token";
const SHARES: &str = "read what a recipient may read";

/// A recipient as the metastore knows it.
#[derive(Debug)]
pub struct Recipient {
    /// The name.
    pub name: String,
    /// How it shows who it is, such as `DATABRICKS` or `TOKEN`.
    pub authentication: String,
    /// The metastore that it stands for (`DATABRICKS`).
    pub sharing_identifier: Option<SharingIdentifier>,
    /// The service principal, user or group that owns it.
    pub owner: String,
    /// Properties, ours among them.
    pub properties: BTreeMap<String, String>,
    /// CIDR blocks that may read; empty means any.
    pub allowed_ips: Vec<String>,
    /// Tokens, the oldest first (`TOKEN`).
    pub tokens: Vec<RecipientToken>,
}

/// A token of a recipient. The token itself is nowhere in the API but behind its activation URL.
#[derive(Debug)]
pub struct RecipientToken {
    /// The token's id. No secret.
    pub id: String,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Where its credential can be downloaded, once; absent when that was done.
    pub activation: Option<ActivationUrl>,
}

/// Where a credential can be downloaded, once. It can be handed out once, and never printed, copied or stored. Nothing
/// here opens it.
pub struct ActivationUrl(String);

impl ActivationUrl {
    /// Gives up the URL. The caller sends it to the secure contact, untouched, and drops it.
    #[must_use]
    pub fn reveal(self) -> String {
        self.0
    }
}

impl fmt::Debug for ActivationUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActivationUrl(redacted)")
    }
}

/// A recipient to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecipient<'a> {
    /// The name.
    pub name: &'a str,
    /// What people read about it.
    pub comment: &'a str,
    /// How it shows who it is.
    pub kind: NewRecipientKind<'a>,
    /// Properties. `databricks.` is reserved.
    pub properties: BTreeMap<&'a str, &'a str>,
}

/// How a recipient to be shows who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewRecipientKind<'a> {
    /// It is a metastore.
    Databricks(&'a SharingIdentifier),
    /// It has a bearer token.
    Token {
        /// When the token ends, at most a year from now.
        expires_at: Option<Timestamp>,
        /// CIDR blocks that may read, at most 100; empty means any.
        allowed_ips: &'a [String],
    },
}

/// What a share lets a recipient do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareAccess {
    /// The share's name.
    pub share: String,
    /// Privileges, such as `SELECT`.
    pub privileges: Vec<String>,
}

impl Workspace {
    /// Makes a recipient.
    ///
    /// # Errors
    ///
    /// `Exists` if the name is taken or the metastore has a recipient.
    pub async fn create_recipient(&self, new: &NewRecipient<'_>) -> Result<Recipient, ApiError> {
        let mut body = Map::new();
        body.insert("name".to_owned(), json!(new.name));
        body.insert("comment".to_owned(), json!(new.comment));
        body.insert("properties_kvpairs".to_owned(), json!({"properties": new.properties}));
        match &new.kind {
            NewRecipientKind::Databricks(identifier) => {
                body.insert("authentication_type".to_owned(), json!("DATABRICKS"));
                body.insert("data_recipient_global_metastore_id".to_owned(), json!(identifier.as_str()));
            }
            NewRecipientKind::Token { expires_at, allowed_ips } => {
                body.insert("authentication_type".to_owned(), json!("TOKEN"));
                if let Some(expires_at) = expires_at {
                    body.insert("expiration_time".to_owned(), json!(expires_at.millis()));
                }
                if !allowed_ips.is_empty() {
                    body.insert("ip_access_list".to_owned(), json!({"allowed_ip_addresses": allowed_ips}));
                }
            }
        }
        let call = Call::catalog(CREATE, Method::POST, &["recipients"]).with_body(Value::Object(body));
        Ok(self.call::<RecipientInfo>(call).await?.read())
    }

    /// A recipient by name.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`] but `Missing`.
    pub async fn recipient(&self, name: &str) -> Result<Option<Recipient>, ApiError> {
        let call = Call::catalog(READ, Method::GET, &["recipients", name]);
        Ok(self.find::<RecipientInfo>(call).await?.map(RecipientInfo::read))
    }

    /// The recipient of a metastore, of which there is one at most.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`].
    pub async fn recipient_of(&self, identifier: &SharingIdentifier) -> Result<Option<Recipient>, ApiError> {
        let query = [("data_recipient_global_metastore_id", identifier.as_str())];
        let found: Vec<RecipientInfo> = self.list(FIND, &["recipients"], &query, "recipients").await?;
        // The filter is a convenience of the server's; what counts is what it answered.
        let mut found = found.into_iter().map(RecipientInfo::read);
        Ok(found.find(|recipient| recipient.sharing_identifier.as_ref() == Some(identifier)))
    }

    /// Sets the CIDR blocks from which a token recipient may read; empty means any.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`].
    pub async fn set_allowed_ips(&self, name: &str, allowed_ips: &[String]) -> Result<(), ApiError> {
        self.update_recipient(name, json!({"ip_access_list": {"allowed_ip_addresses": allowed_ips}})).await
    }

    /// Sets a recipient's properties, all of them: what is not among these is gone.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`].
    pub async fn set_properties(&self, name: &str, properties: &BTreeMap<String, String>) -> Result<(), ApiError> {
        self.update_recipient(name, json!({"properties_kvpairs": {"properties": properties}})).await
    }

    /// Sets when the newest token of a recipient ends.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`].
    pub async fn set_expiration(&self, name: &str, expires_at: Timestamp) -> Result<(), ApiError> {
        self.update_recipient(name, json!({"expiration_time": expires_at.millis()})).await
    }

    async fn update_recipient(&self, name: &str, body: Value) -> Result<(), ApiError> {
        let call = Call::catalog(UPDATE, Method::PATCH, &["recipients", name]).with_body(body);
        self.call::<RecipientInfo>(call).await.map(drop)
    }

    /// Makes a new token for a recipient; the one of before ends after so many seconds at the latest.
    ///
    /// Not sent again if its answer is lost: that would make one more token.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`].
    pub async fn rotate_token(&self, name: &str, overlap_seconds: u32) -> Result<Recipient, ApiError> {
        let body = json!({"existing_token_expire_in_seconds": overlap_seconds});
        let call = Call::catalog(ROTATE, Method::POST, &["recipients", name, "rotate-token"]).with_body(body).once();
        Ok(self.call::<RecipientInfo>(call).await?.read())
    }

    /// The shares that a recipient may read.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`].
    pub async fn recipient_shares(&self, name: &str) -> Result<Vec<ShareAccess>, ApiError> {
        let path = ["recipients", name, "share-permissions"];
        let found: Vec<ShareAccessInfo> = self.list(SHARES, &path, &[], "permissions_out").await?;
        Ok(found.into_iter().map(ShareAccessInfo::read).collect())
    }
}

/// The wire's recipient. Has no `Debug`: it holds activation URLs.
#[derive(Deserialize)]
struct RecipientInfo {
    name: String,
    authentication_type: Option<String>,
    data_recipient_global_metastore_id: Option<String>,
    owner: Option<String>,
    properties_kvpairs: Option<Properties>,
    ip_access_list: Option<IpAccessList>,
    #[serde(default)]
    tokens: Option<Vec<TokenInfo>>,
}

#[derive(Deserialize)]
struct Properties {
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct IpAccessList {
    #[serde(default)]
    allowed_ip_addresses: Vec<String>,
}

#[derive(Deserialize)]
struct TokenInfo {
    id: Option<String>,
    activation_url: Option<String>,
    expiration_time: Option<i64>,
    created_at: Option<i64>,
}

impl RecipientInfo {
    fn read(self) -> Recipient {
        let mut tokens = self.tokens.unwrap_or_default();
        tokens.sort_by_key(|token| token.created_at);
        let tokens = tokens.into_iter().map(|token| RecipientToken {
            id: token.id.unwrap_or_default(),
            expires_at: token.expiration_time.and_then(Timestamp::from_millis),
            activation: token.activation_url.filter(|url| !url.is_empty()).map(ActivationUrl),
        });
        Recipient {
            name: self.name,
            authentication: self.authentication_type.unwrap_or_default(),
            sharing_identifier: self.data_recipient_global_metastore_id.as_deref().and_then(SharingIdentifier::new),
            owner: self.owner.unwrap_or_default(),
            properties: self.properties_kvpairs.map(|it| it.properties).unwrap_or_default(),
            allowed_ips: self.ip_access_list.map(|list| list.allowed_ip_addresses).unwrap_or_default(),
            tokens: tokens.collect(),
        }
    }
}

#[derive(Deserialize)]
struct ShareAccessInfo {
    share_name: String,
    #[serde(default)]
    privilege_assignments: Option<Vec<Assignment>>,
}

#[derive(Deserialize)]
struct Assignment {
    #[serde(default)]
    privileges: Vec<String>,
}

impl ShareAccessInfo {
    fn read(self) -> ShareAccess {
        let assignments = self.privilege_assignments.unwrap_or_default();
        let privileges = assignments.into_iter().flat_map(|assignment| assignment.privileges).collect();
        ShareAccess { share: self.share_name, privileges }
    }
}
