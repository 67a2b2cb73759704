//! A connector's life, as an operator and an auditor see it.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};

use crate::stack::{Execution, Stack};

impl Stack {
    /// Runs an operator's command to a connector to its end.
    pub async fn command(&self, machine: &str, connector: &str, more: Value) -> Execution {
        let mut input = json!({"connectorId": connector, "requestedBy": "ada@vendor.test"});
        if let (Some(input), Value::Object(more)) = (input.as_object_mut(), more) {
            input.extend(more);
        }
        self.execute(machine, &input).await
    }

    /// What was done to a connector, oldest first.
    pub async fn audit(&self, connector: &str) -> Vec<String> {
        self.audit_entries(connector)
            .await
            .into_iter()
            .map(|entry| entry["action"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The entries of a connector's audit with their texts, oldest first.
    pub async fn audit_entries(&self, connector: &str) -> Vec<Value> {
        let items = self.items(&format!("CONNECTOR#{connector}"), "AUDIT#").await;
        let texts = |item: std::collections::HashMap<String, AttributeValue>| {
            item.into_iter().filter_map(|(name, value)| Some((name, Value::from(value.as_s().ok()?.clone())))).collect()
        };
        items.into_iter().map(texts).collect()
    }

    /// A connector's state, as its record says it.
    pub async fn connector_state(&self, connector: &str) -> String {
        self.connector_record(connector).await["state"].as_str().unwrap().to_owned()
    }

    /// A connector's record.
    pub async fn connector_record(&self, connector: &str) -> Value {
        let items = self.items(&format!("CONNECTOR#{connector}"), "CONNECTOR").await;
        serde_json::from_str(items[0]["record"].as_s().unwrap()).unwrap()
    }

    /// The items of a partition of the state table whose sort keys begin so.
    pub async fn items(&self, pk: &str, sk: &str) -> Vec<std::collections::HashMap<String, AttributeValue>> {
        let found = self
            .dynamodb
            .query()
            .table_name(self.output("StateTableName"))
            .consistent_read(true)
            .key_condition_expression("pk = :pk AND begins_with(sk, :sk)")
            .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
            .expression_attribute_values(":sk", AttributeValue::S(sk.to_owned()))
            .send()
            .await
            .unwrap();
        found.items.unwrap_or_default()
    }

    /// The bearer token in a profile.
    #[must_use]
    pub fn bearer(profile: &std::path::Path) -> String {
        let profile: Value = serde_json::from_slice(&std::fs::read(profile).unwrap()).unwrap();
        profile["bearerToken"].as_str().unwrap().to_owned()
    }

    /// What the sharing server says to a profile that lists its shares: the status, and the message of a refusal.
    pub async fn told(&self, profile: &std::path::Path) -> (u16, String) {
        let list = format!("{}/shares", self.file.sharing_endpoint);
        let answer = self.http.get(list).bearer_auth(Self::bearer(profile)).send().await.unwrap();
        let (status, body) = (answer.status().as_u16(), answer.json::<Value>().await.unwrap());
        (status, body["message"].as_str().unwrap_or_default().to_owned())
    }

    /// Keeps a profile under another name, so that the next activation does not take its place.
    #[must_use]
    pub fn keep(&self, profile: &std::path::Path, name: &str) -> std::path::PathBuf {
        let kept = profile.with_file_name(format!("{name}-{}", profile.file_name().unwrap().to_str().unwrap()));
        std::fs::copy(profile, &kept).unwrap();
        kept
    }
}
