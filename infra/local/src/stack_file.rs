//! `stack.json`: what a client of the local stack needs, and how it is put together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    deploy::{Deployed, STACK},
    emulator::{REGION, ROOT_KEY},
    error::{Error, Result},
    gateway::Ports,
    workspace,
};

/// What `stack.json` says: all that a client of the local stack needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StackFile {
    /// The AWS endpoint, for any SDK.
    pub aws_endpoint: String,
    /// The region.
    pub region: String,
    /// The access key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The stack's name.
    pub stack_name: String,
    /// The stack's outputs.
    pub outputs: BTreeMap<String, String>,
    /// The `endpoint` of a Delta Sharing profile, without a slash at its end.
    pub sharing_endpoint: String,
    /// Lists sent e-mails.
    pub mailbox: String,
    /// The gateway's admin API: request counts and faults.
    pub gateway_admin: String,
    /// The Databricks workspace.
    pub databricks: DatabricksFile,
}

/// What a test needs of the Databricks workspace. Functions come to it through the gateway, a test directly. Its requests and faults are at `<host>/_fake/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabricksFile {
    /// The workspace's URL.
    pub host: String,
    /// The stack's service principal.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The ARN of the secret's place.
    pub secret_arn: String,
    /// Somebody else's service principal.
    pub other_client_id: String,
    /// Its secret.
    pub other_client_secret: String,
    /// The catalog of the connectors' schemas.
    pub catalog: String,
    /// What the stack calls itself in the workspace.
    pub deployment: String,
    /// The SQL warehouse.
    pub warehouse_id: String,
}

impl DatabricksFile {
    pub(crate) fn new(url: &str, secret_arn: &str) -> Self {
        let [(client_id, client_secret), (other_client_id, other_client_secret)] =
            [workspace::PRINCIPAL, workspace::OTHER_PRINCIPAL].map(|(id, secret)| (id.to_owned(), secret.to_owned()));
        Self {
            host: url.to_owned(),
            client_id,
            client_secret,
            secret_arn: secret_arn.to_owned(),
            other_client_id,
            other_client_secret,
            catalog: workspace::CATALOG.to_owned(),
            deployment: workspace::DEPLOYMENT.to_owned(),
            warehouse_id: workspace::WAREHOUSE.to_owned(),
        }
    }
}

impl StackFile {
    /// Puts the file together. Everything in it leads through the gateway.
    pub(crate) fn new(
        ports: Ports,
        emulator_port: u16,
        sharing_path: &str,
        outputs: BTreeMap<String, String>,
        databricks: DatabricksFile,
    ) -> Self {
        let endpoint = address(ports.aws);
        // The emulator names itself in queue addresses; clients are to go through the gateway.
        let direct = address(emulator_port);
        let outputs = outputs.into_iter().map(|(name, value)| (name, value.replace(&direct, &endpoint))).collect();
        Self {
            mailbox: format!("{endpoint}/_ministack/ses/messages"),
            aws_endpoint: endpoint,
            region: REGION.to_owned(),
            access_key_id: ROOT_KEY.to_owned(),
            secret_access_key: ROOT_KEY.to_owned(),
            stack_name: STACK.to_owned(),
            outputs,
            sharing_endpoint: address(ports.sharing) + sharing_path,
            gateway_admin: address(ports.admin),
            databricks,
        }
    }
}

/// An address on the loopback interface.
pub(crate) fn address(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Where the shares are served: the function URL's host, and the path below it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sharing {
    /// The function URL's host name.
    pub(crate) host: String,
    /// Empty, or with a slash before it and none after it.
    pub(crate) path: String,
}

/// Finds the function URL: in `SharingEndpoint`, or as the only one that the stack has.
pub(crate) fn sharing(deployed: &Deployed) -> Result<Sharing> {
    let output = deployed.outputs.get("SharingEndpoint");
    let (output_host, path) = output.map(|url| host_and_path(url)).unwrap_or_default();
    let mut hosts = deployed.function_urls.values().map(|url| host_and_path(url).0);
    let host = if output_host.contains(".lambda-url.") {
        Some(output_host)
    } else {
        hosts.next().filter(|_| hosts.next().is_none())
    };
    let host = host.ok_or_else(|| {
        Error::Project("the template's output `SharingEndpoint` must be the function URL that serves shares".to_owned())
    })?;
    Ok(Sharing { host, path })
}

fn host_and_path(url: &str) -> (String, String) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.trim_end_matches('/');
    let path = if path.is_empty() { String::new() } else { format!("/{path}") };
    (host.to_owned(), path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployed(output: Option<&str>, urls: &[&str]) -> Deployed {
        let outputs = output.map(|url| ("SharingEndpoint".to_owned(), url.to_owned()));
        let function_urls = urls.iter().enumerate().map(|(index, url)| (index.to_string(), (*url).to_owned()));
        Deployed {
            outputs: outputs.into_iter().collect(),
            function_urls: function_urls.collect(),
            secret_arn: String::new(),
        }
    }

    #[test]
    fn the_sharing_host_is_the_outputs_or_the_only_function_url() {
        let url = "https://abc.lambda-url.us-east-1.on.aws/";
        let host = "abc.lambda-url.us-east-1.on.aws".to_owned();
        let plain = Sharing { host: host.clone(), path: String::new() };
        let deep = Sharing { host, path: "/delta-sharing".to_owned() };
        let local = "http://127.0.0.1:9/delta-sharing/";
        assert_eq!(sharing(&deployed(Some(url), &[])).ok(), Some(plain));
        assert_eq!(sharing(&deployed(Some(local), &[url])).ok(), Some(deep));
        assert_eq!(sharing(&deployed(Some(local), &[url, "https://b/"])).ok(), None);
        assert_eq!(sharing(&deployed(None, &[])).ok(), None);
    }

    #[test]
    fn the_stack_file_has_the_documented_keys_and_leads_through_the_gateway() {
        let ports = Ports { aws: 1001, sharing: 1002, databricks: 1005, admin: 1003 };
        let queue = "http://127.0.0.1:4566/000000000000/q".to_owned();
        let outputs = BTreeMap::from([("RunCompletedQueueUrl".to_owned(), queue)]);
        let file = StackFile::new(
            ports,
            4566,
            "/delta-sharing",
            outputs,
            DatabricksFile::new("http://127.0.0.1:1004", "arn:s"),
        );
        let expected = serde_json::json!({
            "awsEndpoint": "http://127.0.0.1:1001",
            "region": "us-east-1",
            "accessKeyId": "test",
            "secretAccessKey": "test",
            "stackName": "spillway",
            "outputs": {"RunCompletedQueueUrl": "http://127.0.0.1:1001/000000000000/q"},
            "sharingEndpoint": "http://127.0.0.1:1002/delta-sharing",
            "mailbox": "http://127.0.0.1:1001/_ministack/ses/messages",
            "gatewayAdmin": "http://127.0.0.1:1003",
            "databricks": {
                "host": "http://127.0.0.1:1004",
                "clientId": "principal-1",
                "clientSecret": "secret-1",
                "secretArn": "arn:s",
                "otherClientId": "principal-2",
                "otherClientSecret": "secret-2",
                "catalog": "main",
                "deployment": "local",
                "warehouseId": "warehouse-1",
            },
        });
        assert_eq!(serde_json::to_value(file).ok(), Some(expected));
    }
}
