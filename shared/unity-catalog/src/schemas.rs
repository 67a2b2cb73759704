//! `/schemas`: where a connector's tables are registered.

use http::Method;
use serde::Deserialize;
use serde_json::json;

use crate::error::ApiError;
use crate::transport::{Call, Workspace};

const CREATE: &str = "make a schema";
const READ: &str = "read a schema";

/// A schema as the metastore knows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Schema {
    /// `<catalog>.<schema>`.
    pub full_name: String,
    /// The service principal, user or group that owns it.
    #[serde(default)]
    pub owner: String,
    /// What is written on it.
    pub comment: Option<String>,
}

impl Workspace {
    /// Makes an empty schema.
    ///
    /// # Errors
    ///
    /// `Exists` if the name is taken, `Missing` if there is no such catalog, `Denied` without CREATE SCHEMA on it.
    pub async fn create_schema(&self, catalog: &str, name: &str, comment: &str) -> Result<Schema, ApiError> {
        let body = json!({"name": name, "catalog_name": catalog, "comment": comment});
        self.call(Call::catalog(CREATE, Method::POST, &["schemas"]).with_body(body)).await
    }

    /// A schema by its full name.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`] but `Missing`.
    pub async fn schema(&self, full_name: &str) -> Result<Option<Schema>, ApiError> {
        self.find(Call::catalog(READ, Method::GET, &["schemas", full_name])).await
    }
}
