//! The one setting by which a deployment names its Databricks workspace.

use lambda::SettingsError;
use serde::Deserialize;
use unity_catalog::backend::{BackendSettings, Registration};
use unity_catalog::names::DeploymentName;
use unity_catalog::transport::WorkspaceUrl;

/// The setting's name. Its text is a JSON object, or empty.
pub const DATABRICKS: &str = "DATABRICKS";

/// A workspace, and what of it is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Databricks {
    /// The workspace.
    pub url: WorkspaceUrl,
    /// Where the service principal's credential is kept.
    pub secret_arn: String,
    /// The catalog of our schemas.
    pub catalog: String,
    /// This deployment among others of the metastore.
    pub deployment: DeploymentName,
    /// How tables are registered.
    pub registration: Registration,
    /// The bucket that the tables lie in.
    pub tables_bucket: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stated {
    host: String,
    secret_arn: String,
    catalog: String,
    deployment: String,
    warehouse_id: String,
    registration: String,
    tables_bucket: String,
}

impl Databricks {
    /// Reads the setting.
    ///
    /// # Errors
    ///
    /// Returns [`SettingsError::Invalid`] if it is not what the template makes of its parameters.
    pub fn read(text: &str) -> Result<Self, SettingsError> {
        let wrong = |expected| SettingsError::Invalid { name: DATABRICKS, expected };
        let stated: Stated = serde_json::from_str(text)
            .map_err(|_| wrong("a JSON object of the texts that the template makes of its Databricks parameters"))?;
        let text = |text: String, expected| if text.is_empty() { Err(wrong(expected)) } else { Ok(text) };
        let warehouse = Some(stated.warehouse_id).filter(|id| !id.is_empty());
        let registration = match (stated.registration.as_str(), warehouse) {
            ("api", refresh_warehouse) => Registration::TablesApi { refresh_warehouse },
            ("warehouse", Some(id)) => Registration::Warehouse(id),
            ("warehouse", None) => return Err(wrong("with a warehouse, if tables are registered by one")),
            _ => return Err(wrong("with a registration of api or warehouse")),
        };
        Ok(Self {
            url: WorkspaceUrl::new(&stated.host).ok_or_else(|| wrong("with a host such as https://x.example"))?,
            secret_arn: text(stated.secret_arn, "with the ARN of a secret")?,
            catalog: text(stated.catalog, "with a catalog")?,
            deployment: DeploymentName::new(&stated.deployment)
                .ok_or_else(|| wrong("with a deployment's name of 1 to 32 of a-z, 0-9 and -"))?,
            registration,
            tables_bucket: text(stated.tables_bucket, "with a tables bucket")?,
        })
    }

    /// What the backend is made of.
    #[must_use]
    pub fn backend(&self) -> BackendSettings {
        BackendSettings {
            deployment: self.deployment.clone(),
            catalog: self.catalog.clone(),
            tables_url: format!("s3://{}", self.tables_bucket),
            registration: self.registration.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stated(change: impl FnOnce(&mut Value)) -> Result<Databricks, SettingsError> {
        let mut stated = json!({
            "host": "https://dbc-1.cloud.example", "secretArn": "arn:s", "catalog": "main", "deployment": "prod",
            "warehouseId": "", "registration": "api", "tablesBucket": "tables",
        });
        change(&mut stated);
        Databricks::read(&stated.to_string())
    }

    #[test]
    fn a_workspace_is_read() {
        let read = stated(|_| {}).unwrap();
        assert_eq!(read.registration, Registration::TablesApi { refresh_warehouse: None });
        assert_eq!(read.backend().tables_url, "s3://tables");
        let warehouse = stated(|it| {
            it["registration"] = json!("warehouse");
            it["warehouseId"] = json!("w-1");
        });
        assert_eq!(warehouse.unwrap().registration, Registration::Warehouse("w-1".to_owned()));
    }

    #[test]
    fn a_wrong_one_is_refused_by_what_is_wrong() {
        for (property, value, said) in [
            ("host", json!("http://dbc-1.cloud.example"), "host"),
            ("secretArn", json!(""), "ARN"),
            ("catalog", json!(""), "catalog"),
            ("deployment", json!("Prod Stack"), "deployment"),
            ("registration", json!("warehouse"), "warehouse"),
            ("registration", json!("magic"), "api or warehouse"),
            ("tablesBucket", json!(""), "bucket"),
            ("clientSecret", json!("dose-planted"), "JSON"),
        ] {
            let error = stated(|it| it[property] = value).unwrap_err().to_string();
            assert!(error.contains("DATABRICKS") && error.contains(said), "{property}: {error}");
            assert!(!error.contains("planted"), "{error}");
        }
    }
}
