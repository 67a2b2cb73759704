//! Items and their attributes.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use delivery::backfill::BackfillId;
use delivery::ids::{ConnectorId, DeliveryKey, RunId, RunKey, TeamId, WorkflowId};
use delivery::metadata::MetadataTable;
use delivery::ports::{PortError, PortErrorKind};
use delivery::schema::Fingerprint;
use delivery::table::{Membership, TableName, WorkflowLabel};
use delivery::timestamp::Timestamp;
use sharing::ports::SecretHash;

pub(super) type Item = HashMap<String, AttributeValue>;

/// The key of an item, or where a list begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) pk: String,
    pub(super) sk: String,
}

impl Key {
    fn new(pk: String, sk: impl Into<String>) -> Self {
        Self { pk, sk: sk.into() }
    }

    fn of_connector(connector: &ConnectorId, sk: impl Into<String>) -> Self {
        Self::new(format!("CONNECTOR#{connector}"), sk)
    }

    pub(super) fn run(run: &RunKey) -> Self {
        Self::new(format!("RUNS#{}#{}", run.team, run.workflow), format!("RUN#{}", run.run))
    }

    /// A recorded run in the history of its team, in the order in which its workflow's runs finished.
    pub(super) fn history(run: &RunKey, finished_at: Timestamp) -> Self {
        let micros = finished_at.micros().max(0);
        Self::new(format!("HISTORY#{}", run.team), format!("{}#{micros:016}#{}", run.workflow, run.run))
    }

    /// Where the list of a team's recorded runs begins.
    pub(super) fn history_of(team: &TeamId) -> Self {
        Self::new(format!("HISTORY#{team}"), "")
    }

    pub(super) fn backfill(connector: &ConnectorId, backfill: &BackfillId) -> Self {
        Self::of_connector(connector, format!("BACKFILL#{}", backfill.as_str()))
    }

    pub(super) fn connector(connector: &ConnectorId) -> Self {
        Self::of_connector(connector, "CONNECTOR")
    }

    /// An entry of a connector's audit, in the order of its revisions.
    pub(super) fn audit(connector: &ConnectorId, revision: u64) -> Self {
        Self::of_connector(connector, format!("AUDIT#{revision:012}"))
    }

    pub(super) fn team_entry(team: &str, connector: &str) -> Self {
        Self::new(format!("TEAM#{team}"), format!("CONNECTOR#{connector}"))
    }

    pub(super) fn delivery(delivery: &DeliveryKey) -> Self {
        Self::delivery_of(&delivery.connector, &delivery.run.workflow, &delivery.run.run)
    }

    pub(super) fn delivery_of(connector: &ConnectorId, workflow: &WorkflowId, run: &RunId) -> Self {
        Self::of_connector(connector, format!("DELIVERY#{workflow}#{run}"))
    }

    pub(super) fn table(connector: &ConnectorId, workflow: &WorkflowId, fingerprint: &Fingerprint) -> Self {
        Self::of_connector(connector, format!("TABLE#{workflow}#{}", fingerprint.as_str()))
    }

    pub(super) fn workflow(connector: &ConnectorId, workflow: &WorkflowId) -> Self {
        Self::of_connector(connector, format!("WORKFLOW#{workflow}"))
    }

    pub(super) fn label(connector: &ConnectorId, label: &WorkflowLabel) -> Self {
        Self::of_connector(connector, format!("LABEL#{}", label.as_str()))
    }

    pub(super) fn latest(connector: &ConnectorId, workflow: &WorkflowId) -> Self {
        Self::of_connector(connector, format!("LATEST#{workflow}"))
    }

    pub(super) fn passed_over(connector: &ConnectorId, source: &TableName) -> Self {
        Self::of_connector(connector, format!("PASSED#{}", source.as_str()))
    }

    pub(super) fn schema(connector: &ConnectorId, workflow: &WorkflowId, fingerprint: &Fingerprint) -> Self {
        Self::of_connector(connector, format!("SCHEMA#{workflow}#{}", fingerprint.as_str()))
    }

    /// Where the list of a connector's items of a kind begins.
    pub(super) fn all_of(connector: &ConnectorId, kind: &str) -> Self {
        Self::of_connector(connector, format!("{kind}#"))
    }

    /// A row that waits; an empty key is where the list of a table's rows begins.
    pub(super) fn waiting(connector: &ConnectorId, table: MetadataTable, key: &str) -> Self {
        Self::of_connector(connector, format!("OUTBOX#{}#{key}", table.name()))
    }

    pub(super) fn seen(connector: &ConnectorId, table: MetadataTable, key: &str) -> Self {
        Self::of_connector(connector, format!("SEEN#{}#{key}", table.name()))
    }

    pub(super) fn batched(connector: &ConnectorId, table: MetadataTable) -> Self {
        Self::of_connector(connector, format!("BATCHED#{}", table.name()))
    }

    pub(super) fn catalogue(connector: &ConnectorId) -> Self {
        Self::of_connector(connector, "CATALOGUE")
    }

    pub(super) fn live_failure(connector: &ConnectorId) -> Self {
        Self::of_connector(connector, "LIVE_FAILED")
    }

    pub(super) fn newest_activation(connector: &ConnectorId) -> Self {
        Self::of_connector(connector, "ACTIVATION")
    }

    pub(super) fn share(name: &str) -> Self {
        Self::new(format!("SHARE#{}", name.to_ascii_lowercase()), "SHARE")
    }

    /// A shared table; an empty name is where the list of a share's tables begins.
    pub(super) fn shared_table(share: &str, table: &str) -> Self {
        let sk = format!("TABLE#{}", table.to_ascii_uppercase());
        Self::new(format!("SHARE#{}", share.to_ascii_lowercase()), sk)
    }

    pub(super) fn token(token: &SecretHash) -> Self {
        Self::token_of(token.as_str())
    }

    /// The token of a stored hash.
    pub(super) fn token_of(token: &str) -> Self {
        Self::new(format!("TOKEN#{token}"), "TOKEN")
    }

    /// What a token has used of its budget, whoever's it is.
    pub(super) fn budget(token: &SecretHash) -> Self {
        Self::new(format!("BUDGET#{}", token.as_str()), "BUDGET")
    }

    /// A recipient's token among its connector's; an empty hash is where their list begins. They are apart from the
    /// connector's own items, because the public function may write them.
    pub(super) fn recipient_token(connector: &ConnectorId, token: &str) -> Self {
        Self::new(format!("TOKENS#{connector}"), format!("TOKEN#{token}"))
    }

    /// A connector in the list of all; an empty id is where the list begins.
    pub(super) fn listed(connector: &str) -> Self {
        Self::new("CONNECTORS".to_owned(), format!("CONNECTOR#{connector}"))
    }

    pub(super) fn activation(link: &SecretHash) -> Self {
        Self::activation_of(link.as_str())
    }

    /// The activation of a stored hash.
    pub(super) fn activation_of(link: &str) -> Self {
        Self::new(format!("ACTIVATION#{link}"), "ACTIVATION")
    }

    pub(super) fn attributes(&self) -> Item {
        Item::from([("pk".to_owned(), text(&self.pk)), ("sk".to_owned(), text(&self.sk))])
    }

    pub(super) fn is_of(&self, item: &Item) -> bool {
        let has = |name: &str, expected: &str| {
            item.get(name).and_then(|value| value.as_s().ok()).is_some_and(|found| found == expected)
        };
        has("pk", &self.pk) && has("sk", &self.sk)
    }
}

pub(super) fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

pub(super) fn number(value: impl std::fmt::Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(super) fn instant(value: Timestamp) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

pub(super) fn bytes(value: Vec<u8>) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

pub(super) fn list<'a>(values: impl Iterator<Item = &'a str>) -> AttributeValue {
    AttributeValue::L(values.map(text).collect())
}

pub(super) fn membership(value: Membership) -> AttributeValue {
    text(match value {
        Membership::Shared => "shared",
        Membership::Unshared => "unshared",
    })
}

/// Reads an item's attributes. A failure names the attribute and never its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a> {
    pub(super) item: &'a Item,
    pub(super) operation: &'static str,
}

impl<'a> Attributes<'a> {
    pub(super) fn of(item: &'a Item, operation: &'static str) -> Self {
        Self { item, operation }
    }

    pub(super) fn damaged(&self, name: &str) -> PortError {
        let source = format!("the attribute {name} of an item is missing or is not what it should be");
        PortError::new(PortErrorKind::InvalidData, self.operation, source)
    }

    /// A text as what it stands for.
    pub(super) fn read<T>(&self, name: &str, read: impl FnOnce(&'a str) -> Option<T>) -> Result<T, PortError> {
        read(self.text(name)?).ok_or_else(|| self.damaged(name))
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str, PortError> {
        let value = self.item.get(name).and_then(|value| value.as_s().ok());
        value.map(String::as_str).ok_or_else(|| self.damaged(name))
    }

    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, PortError> {
        self.optional_number(name)?.ok_or_else(|| self.damaged(name))
    }

    pub(super) fn optional_number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, PortError> {
        let Some(value) = self.item.get(name) else { return Ok(None) };
        let number = value.as_n().ok().and_then(|digits| digits.parse().ok());
        number.map(Some).ok_or_else(|| self.damaged(name))
    }

    pub(super) fn list<T>(&self, name: &str, read: impl Fn(&'a str) -> Option<T>) -> Result<Vec<T>, PortError> {
        let values = self.item.get(name).and_then(|value| value.as_l().ok()).ok_or_else(|| self.damaged(name))?;
        let one = |value: &'a AttributeValue| value.as_s().ok().and_then(|text| read(text));
        values.iter().map(one).collect::<Option<_>>().ok_or_else(|| self.damaged(name))
    }

    pub(super) fn optional_text(&self, name: &str) -> Result<Option<&'a str>, PortError> {
        if self.item.contains_key(name) { self.text(name).map(Some) } else { Ok(None) }
    }

    pub(super) fn bytes(&self, name: &str) -> Result<&'a [u8], PortError> {
        let value = self.item.get(name).and_then(|value| value.as_b().ok());
        value.map(AsRef::as_ref).ok_or_else(|| self.damaged(name))
    }

    pub(super) fn instant(&self, name: &str) -> Result<Timestamp, PortError> {
        self.read(name, Timestamp::parse)
    }

    pub(super) fn connector_id(&self) -> Result<ConnectorId, PortError> {
        self.read("connector_id", |text| ConnectorId::new(text).ok())
    }

    pub(super) fn table_name(&self, name: &str) -> Result<TableName, PortError> {
        self.read(name, |text| Some(TableName::from_stored(text)))
    }

    pub(super) fn membership(&self) -> Result<Membership, PortError> {
        self.read("membership", |text| match text {
            "shared" => Some(Membership::Shared),
            "unshared" => Some(Membership::Unshared),
            _ => None,
        })
    }
}
