//! `/tables`: external tables, registered without compute.
//!
//! The Tables API needs "External data access" on the metastore, EXTERNAL USE SCHEMA, EXTERNAL USE LOCATION and CREATE
//! EXTERNAL TABLE, none of which comes with ownership. It takes columns as they are stated, so they must be right.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::columns::Column;
use crate::error::ApiError;
use crate::transport::{Call, Workspace};

const CREATE: &str = "register a table";
const READ: &str = "read a table's registration";
const DELETE: &str = "take a table's registration back";

/// A table as the metastore knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// `<catalog>.<schema>.<table>`, in lower case.
    pub full_name: String,
    /// Where its files lie, without a slash at the end.
    pub storage_location: String,
    /// Its columns in order, each as `name type`.
    pub columns: Vec<String>,
    /// The same columns as the text of a Delta schema; `None` if the metastore does not say one of their types in full.
    pub schema_text: Option<String>,
    /// The service principal, user or group that owns it.
    pub owner: String,
}

/// A table to be registered.
#[derive(Debug, Clone, Copy)]
pub struct NewTable<'a> {
    /// The catalog.
    pub catalog: &'a str,
    /// The schema.
    pub schema: &'a str,
    /// The table.
    pub name: &'a str,
    /// Where its files lie.
    pub storage_location: &'a str,
    /// Its columns.
    pub columns: &'a [Column],
}

impl Workspace {
    /// Registers an external Delta table.
    ///
    /// # Errors
    ///
    /// `Exists` if the name is taken. See [`ApiError::is_location_overlap`] for paths that are.
    pub async fn create_table(&self, new: NewTable<'_>) -> Result<Table, ApiError> {
        let body = json!({
            "name": new.name,
            "catalog_name": new.catalog,
            "schema_name": new.schema,
            "table_type": "EXTERNAL",
            "data_source_format": "DELTA",
            "storage_location": new.storage_location,
            "columns": new.columns,
        });
        let call = Call::catalog(CREATE, Method::POST, &["tables"]).with_body(body);
        Ok(self.call::<TableInfo>(call).await?.read())
    }

    /// A table by its full name.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`] but `Missing`.
    pub async fn table(&self, full_name: &str) -> Result<Option<Table>, ApiError> {
        let call = Call::catalog(READ, Method::GET, &["tables", full_name]);
        Ok(self.find::<TableInfo>(call).await?.map(TableInfo::read))
    }

    /// Takes an external table's registration back. Its files stay where they are.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`]; that there is no such table is none.
    pub async fn unregister_table(&self, full_name: &str) -> Result<(), ApiError> {
        let call = Call::catalog(DELETE, Method::DELETE, &["tables", full_name]);
        self.find::<serde::de::IgnoredAny>(call).await.map(drop)
    }
}

#[derive(Deserialize)]
struct TableInfo {
    full_name: String,
    storage_location: Option<String>,
    owner: Option<String>,
    columns: Option<Vec<ColumnInfo>>,
}

#[derive(Deserialize)]
struct ColumnInfo {
    name: String,
    #[serde(default)]
    type_text: String,
    type_json: Option<String>,
    #[serde(default)]
    position: u32,
}

impl TableInfo {
    fn read(self) -> Table {
        let mut columns = self.columns.unwrap_or_default();
        columns.sort_by_key(|column| column.position);
        let field = |column: &ColumnInfo| serde_json::from_str::<Value>(column.type_json.as_deref()?).ok();
        let fields: Option<Vec<_>> = columns.iter().map(field).collect();
        let schema_text = fields.map(|fields| json!({"type": "struct", "fields": fields}).to_string());
        Table {
            full_name: self.full_name.to_lowercase(),
            storage_location: self.storage_location.unwrap_or_default().trim_end_matches('/').to_owned(),
            columns: columns.into_iter().map(|column| format!("{} {}", column.name, column.type_text)).collect(),
            schema_text,
            owner: self.owner.unwrap_or_default(),
        }
    }
}
