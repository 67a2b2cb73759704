//! `/shares`: what is read, and by whom.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::transport::{Call, Workspace};

/// The most updates that the API takes in one request.
pub const UPDATES_MAX: usize = 100;

const CREATE: &str = "make a share";
const READ: &str = "read a share";
const LIST: &str = "list the shares";
const UPDATE: &str = "change a share";
const GRANTS: &str = "read who may read a share";
const GRANT: &str = "grant a share";
const REVOKE: &str = "revoke a share";

/// A share as the metastore knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The name.
    pub name: String,
    /// The service principal, user or group that owns it.
    pub owner: String,
    /// What is written on it.
    pub comment: Option<String>,
    /// What is in it.
    pub objects: Vec<SharedObject>,
}

/// Something in a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedObject {
    /// The full name in the metastore, in lower case.
    pub name: String,
    /// What it is, such as `TABLE`.
    pub kind: String,
    /// The name that recipients see.
    pub shared_as: String,
    /// Whether recipients can read it.
    pub status: ObjectStatus,
}

/// Whether recipients can read what is in a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectStatus {
    /// They can.
    Active,
    /// The share's owner lost SELECT on it, so they cannot.
    PermissionDenied,
    /// The metastore says something else, or nothing: that proves nothing.
    Unknown,
}

/// A change to what is in a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareUpdate {
    /// A table joins, its history with it, so that recipients can read its changes and earlier versions.
    AddTable {
        /// The full name in the metastore.
        name: String,
        /// The name that recipients see: two parts of letters, digits and underscores.
        shared_as: String,
    },
    /// A table leaves.
    RemoveTable {
        /// The full name in the metastore.
        name: String,
    },
}

impl ShareUpdate {
    fn body(&self) -> Value {
        match self {
            Self::AddTable { name, shared_as } => json!({
                "action": "ADD",
                "data_object": {
                    "name": name,
                    "data_object_type": "TABLE",
                    "shared_as": shared_as,
                    "history_data_sharing_status": "ENABLED",
                },
            }),
            Self::RemoveTable { name } => {
                json!({"action": "REMOVE", "data_object": {"name": name, "data_object_type": "TABLE"}})
            }
        }
    }
}

/// What somebody may do with a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareGrant {
    /// The recipient's name.
    pub recipient: String,
    /// Privileges, such as `SELECT`.
    pub privileges: Vec<String>,
}

impl Workspace {
    /// Makes an empty share.
    ///
    /// # Errors
    ///
    /// `Exists` if the name is taken.
    pub async fn create_share(&self, name: &str, comment: &str) -> Result<Share, ApiError> {
        let body = json!({"name": name, "comment": comment});
        let call = Call::catalog(CREATE, Method::POST, &["shares"]).with_body(body);
        Ok(self.call::<ShareInfo>(call).await?.read())
    }

    /// A share with everything in it.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`] but `Missing`.
    pub async fn share(&self, name: &str) -> Result<Option<Share>, ApiError> {
        let call = Call::catalog(READ, Method::GET, &["shares", name]).with_query("include_shared_data", "true");
        Ok(self.find::<ShareInfo>(call).await?.map(ShareInfo::read))
    }

    /// The shares that the service principal sees, without what is in them.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`].
    pub async fn shares(&self) -> Result<Vec<Share>, ApiError> {
        let found: Vec<ShareInfo> = self.list(LIST, &["shares"], &[], "shares").await?;
        Ok(found.into_iter().map(ShareInfo::read).collect())
    }

    /// Changes what is in a share, [`UPDATES_MAX`] changes a request. Each request is done whole or not at all; an
    /// error leaves the ones before it done. No change makes no request: the API refuses an empty one.
    ///
    /// # Errors
    ///
    /// `Exists` if a table is in the share, `Missing` if one to be removed is not.
    pub async fn update_share(&self, name: &str, updates: &[ShareUpdate]) -> Result<(), ApiError> {
        for some in updates.chunks(UPDATES_MAX) {
            let body = json!({"updates": some.iter().map(ShareUpdate::body).collect::<Vec<_>>()});
            let call = Call::catalog(UPDATE, Method::PATCH, &["shares", name]).with_body(body);
            self.call::<serde::de::IgnoredAny>(call).await?;
        }
        Ok(())
    }

    /// Who may read a share.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`].
    pub async fn share_grants(&self, name: &str) -> Result<Vec<ShareGrant>, ApiError> {
        let path = ["shares", name, "permissions"];
        let found: Vec<GrantInfo> = self.list(GRANTS, &path, &[], "privilege_assignments").await?;
        Ok(found.into_iter().map(|it| ShareGrant { recipient: it.principal, privileges: it.privileges }).collect())
    }

    /// Lets a recipient read a share. Granting twice is no error.
    ///
    /// # Errors
    ///
    /// `Denied` unless the service principal owns both; `Missing` if one of them does not exist.
    pub async fn grant_share(&self, name: &str, recipient: &str) -> Result<(), ApiError> {
        self.change_grant(GRANT, name, json!({"principal": recipient, "add": ["SELECT"]})).await
    }

    /// Lets a recipient read a share no longer. Revoking twice is no error.
    ///
    /// # Errors
    ///
    /// `Missing` if share or recipient does not exist.
    pub async fn revoke_share(&self, name: &str, recipient: &str) -> Result<(), ApiError> {
        self.change_grant(REVOKE, name, json!({"principal": recipient, "remove": ["SELECT"]})).await
    }

    async fn change_grant(&self, operation: &'static str, name: &str, change: Value) -> Result<(), ApiError> {
        let body = json!({"changes": [change], "omit_permissions_list": true});
        let call = Call::catalog(operation, Method::PATCH, &["shares", name, "permissions"]).with_body(body);
        self.call::<serde::de::IgnoredAny>(call).await.map(drop)
    }
}

#[derive(Deserialize)]
struct ShareInfo {
    name: String,
    owner: Option<String>,
    comment: Option<String>,
    objects: Option<Vec<ObjectInfo>>,
}

#[derive(Deserialize)]
struct ObjectInfo {
    name: String,
    data_object_type: Option<String>,
    shared_as: Option<String>,
    status: Option<String>,
}

impl ShareInfo {
    fn read(self) -> Share {
        let objects = self.objects.unwrap_or_default().into_iter().map(ObjectInfo::read).collect();
        Share { name: self.name, owner: self.owner.unwrap_or_default(), comment: self.comment, objects }
    }
}

impl ObjectInfo {
    fn read(self) -> SharedObject {
        let status = match self.status.as_deref() {
            Some("ACTIVE") => ObjectStatus::Active,
            Some("PERMISSION_DENIED") => ObjectStatus::PermissionDenied,
            Some(_) | None => ObjectStatus::Unknown,
        };
        SharedObject {
            name: self.name.to_lowercase(),
            kind: self.data_object_type.unwrap_or_default(),
            shared_as: self.shared_as.unwrap_or_default(),
            status,
        }
    }
}

#[derive(Deserialize)]
struct GrantInfo {
    principal: String,
    #[serde(default)]
    privileges: Vec<String>,
}
