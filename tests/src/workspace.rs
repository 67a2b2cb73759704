//! The Databricks workspace of the stack: what it says of a share to its owner, and what it hands to recipients.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::recipient::Read;
use crate::stack::Stack;

impl Stack {
    /// Asks the fake itself, behind the workspace's API.
    pub async fn workspace(&self, path: &str, body: &Value) -> reqwest::Response {
        let url = format!("{}/_fake/{path}", self.file.databricks.host);
        self.http.post(url).json(body).send().await.unwrap()
    }

    /// What the official client says of a connector's share: its objects, and its grants.
    pub async fn workspace_share(&self, connector: &str) -> Value {
        let workspace = &self.file.databricks;
        let arguments = [&workspace.host, &workspace.client_id, &workspace.client_secret, "share", connector];
        let lines = self.client("judge_databricks.py", &arguments).await.unwrap_or_else(|error| panic!("{error}"));
        serde_json::from_str(&lines[0]).unwrap()
    }

    /// How the links begin that the workspace makes for token recipients; the code is what follows.
    #[must_use]
    pub fn workspace_link(&self) -> String {
        format!("{}/delta_sharing/retrieve_config.html?", self.file.databricks.host)
    }

    /// The codes in the workspace's links that were e-mailed to a connector's contact, oldest first.
    pub async fn workspace_codes(&self, connector: &str) -> Vec<String> {
        let start = self.workspace_link();
        let code = |mail: String| {
            let rest = mail.split_once(&start).unwrap_or_else(|| panic!("the workspace's link: {mail}")).1;
            rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
        };
        self.mails(connector).await.into_iter().map(code).collect()
    }

    /// Downloads the credential behind the newest of the workspace's links, as the recipient does: who reads by it, for
    /// [`Self::handed`].
    pub async fn workspace_reader(&self, connector: &str) -> Value {
        let code = self.workspace_codes(connector).await.pop().expect("a link of the workspace in the mailbox");
        let path = "api/2.1/unity-catalog/public/data_sharing_activation";
        let answer = self.http.get(format!("{}/{path}/{code}", self.file.databricks.host)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "the newest link works");
        let credential: Value = answer.json().await.unwrap();
        json!({"bearerToken": credential["bearerToken"]})
    }

    /// The tables that the workspace hands to a recipient, with where they lie, by their names without the schema.
    ///
    /// # Errors
    ///
    /// Returns the workspace's word if it refuses the recipient.
    pub async fn handed(&self, reader: &Value, connector: &str) -> Result<BTreeMap<String, String>, String> {
        let mut asked = reader.clone();
        asked["share"] = json!(connector);
        let answer = self.workspace("reads", &asked).await;
        let status = answer.status();
        let answer: Value = answer.json().await.unwrap();
        if !status.is_success() {
            return Err(format!("{status}: {}", answer["message"].as_str().unwrap()));
        }
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let tables = answer["tables"].as_array().unwrap().iter();
        Ok(tables.map(|it| (text(&it["name"]).replacen("data.", "", 1), text(&it["location"]))).collect())
    }

    /// A table that the workspace hands to a recipient, read where it lies.
    pub async fn read_handed(&self, reader: &Value, connector: &str, table: &str) -> Read {
        let tables = self.handed(reader, connector).await.unwrap_or_else(|refusal| panic!("{table}: {refusal}"));
        let location = tables.get(table).unwrap_or_else(|| panic!("{table} is not handed out: {tables:?}"));
        let lines = self.client("read_stored.py", &[location]).await.unwrap_or_else(|error| panic!("{table}: {error}"));
        let mut read: Value = serde_json::from_str(&lines[0]).unwrap();
        let Value::Array(rows) = read["rows"].take() else { panic!("{table} has no rows") };
        Read::of(&read["columns"], rows)
    }
}
