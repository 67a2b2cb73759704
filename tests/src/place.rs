//! A connector of its own for each test, with everything that a story about it needs.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use serde_json::{Value, json};

use crate::recipient::Read;
use crate::runs::{Run, table_name, unique};
use crate::stack::{DeliveryRecord, Stack, until};

/// One team, one connector, one recipient.
#[derive(Debug, Clone)]
pub struct Place {
    /// The stack.
    pub stack: Stack,
    /// The team.
    pub team: String,
    /// The connector.
    pub connector: String,
    /// The recipient's profile file.
    pub profile: PathBuf,
}

impl Place {
    /// A connector that takes all workflows of a new team.
    pub async fn new() -> Self {
        Self::with(json!({})).await
    }

    /// A connector of a new team with properties on top of the least.
    pub async fn with(more: Value) -> Self {
        Self::of_team(&unique(), more).await
    }

    /// A connector of a team with properties on top of the least. Its team's history is not asked for unless `more` does:
    /// what a test announces is delivered by its own execution, and by no backfill beside it.
    pub async fn of_team(team: &str, more: Value) -> Self {
        let stack = Stack::of_this_test();
        let connector = unique();
        let mut properties = json!({"backfill": false});
        properties.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let profile = stack.ready_connector(&connector, team, properties).await;
        Self { stack, team: team.to_owned(), connector, profile }
    }

    /// A small run of a workflow of its own.
    #[must_use]
    pub fn run(&self) -> Run {
        Run::small(&self.team, &unique(), 3)
    }

    /// Waits until a run's delivery has ended.
    pub async fn ended(&self, run: &Run) -> DeliveryRecord {
        self.stack.delivered(&self.connector, &run.workflow, &run.run).await
    }

    /// Waits until a run is shared.
    pub async fn shared(&self, run: &Run) -> DeliveryRecord {
        let delivery = self.ended(run).await;
        assert_eq!(delivery.state, "shared", "{delivery:?}");
        delivery
    }

    /// Waits until a run's delivery has failed.
    pub async fn failed(&self, run: &Run) -> DeliveryRecord {
        let delivery = self.ended(run).await;
        assert_eq!(delivery.state, "failed", "{delivery:?}");
        delivery
    }

    /// Announces a run and waits until it is shared.
    pub async fn deliver(&self, run: &Run) -> DeliveryRecord {
        run.announce(&self.stack).await;
        self.shared(run).await
    }

    /// A shared table, read by the official client.
    pub async fn read(&self, table: &str) -> Read {
        self.read_tables([table]).await.remove(table).unwrap()
    }

    /// Several shared tables, read by the official client.
    pub async fn read_tables<'a>(&self, tables: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, Read> {
        self.stack.read_tables(&self.profile, &self.connector, tables).await
    }

    /// A table of a workflow, read by the official client.
    pub async fn read_workflow(&self, workflow: &str, suffix: &str) -> Read {
        self.read(&table_name(workflow, suffix)).await
    }

    /// The names of the shared tables.
    pub async fn tables(&self) -> Vec<String> {
        let name = |table: &String| table.rsplit('.').next().unwrap().to_owned();
        self.stack.tables(&self.profile).await.iter().map(name).collect()
    }

    /// Waits until a batched table is in the share and its rows are as they should be.
    pub async fn eventually(&self, table: &str, ready: impl Fn(&Read) -> bool) -> Read {
        until(&format!("{table} has its rows"), async || {
            if !self.tables().await.iter().any(|name| name == table) {
                return None;
            }
            Some(self.read(table).await).filter(&ready)
        })
        .await
    }

    /// Waits until a delivery that had failed is shared.
    pub async fn arrived(&self, run: &Run) -> DeliveryRecord {
        until("a delivery that was started again is shared", async || {
            let delivery = self.stack.delivery(&self.connector, &run.workflow, &run.run).await;
            delivery.filter(|delivery| delivery.state == "shared")
        })
        .await
    }

    /// Takes a workflow's version table out of the share behind everybody's back: what is delivered next is not proven.
    pub async fn unshare(&self, workflow: &str) -> Unshared {
        let key = |text: String| AttributeValue::S(text);
        let delete = self.stack.dynamodb.delete_item().table_name(self.stack.output("StateTableName"));
        let delete = delete.key("pk", key(format!("SHARE#{}", self.connector)));
        let delete = delete.key("sk", key(format!("TABLE#{}", table_name(workflow, "V1"))));
        let taken = delete.return_values(ReturnValue::AllOld).send().await.unwrap();
        Unshared(taken.attributes.expect("the table was shared"))
    }

    /// Puts a table back that was taken out of the share.
    pub async fn share_again(&self, unshared: Unshared) {
        let put = self.stack.dynamodb.put_item().table_name(self.stack.output("StateTableName"));
        put.set_item(Some(unshared.0)).send().await.unwrap();
    }
}

/// A table's entry in a share that it was taken out of.
#[derive(Debug)]
pub struct Unshared(HashMap<String, AttributeValue>);
