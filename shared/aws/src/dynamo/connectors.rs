//! Connectors, each with an entry among its team's.

use async_trait::async_trait;
use delivery::connector::Connector;
use delivery::ids::ConnectorId;
use delivery::lifecycle::{Action, Actor, AuditEntry, Audited, Changed};
use delivery::ports::{ConnectorStore, PortError};
use events::connector_record;

use super::expression::Write;
use super::item::{Attributes, Item, Key, instant, number, text};
use super::{DynamoStore, Transacted, damaged};

const READ: &str = "read a connector";
const LIST: &str = "list the connectors";
const WRITE: &str = "write a connector";
const AUDIT: &str = "read a connector's audit";

/// What a team's entry says of a connector that takes activity.
pub(super) const ACTIVITY_WANTED: &str = "wanted";

#[async_trait]
impl ConnectorStore for DynamoStore {
    async fn connector(&self, id: &ConnectorId) -> Result<Option<Connector>, PortError> {
        let item = self.get(READ, Key::connector(id)).await?;
        item.map(|item| read(&item, READ)).transpose()
    }

    async fn change_connector(
        &self,
        before: Option<&Connector>,
        after: &Connector,
        entry: &AuditEntry,
    ) -> Result<Changed, PortError> {
        let mut writes = connector_items(before, after)?;
        writes.push(audit_item(after, entry));
        Ok(match self.transact(WRITE, writes).await? {
            Transacted::Done => Changed::Now,
            Transacted::Refused(_) => Changed::Outdated,
        })
    }

    async fn connectors(&self) -> Result<Vec<ConnectorId>, PortError> {
        let items = self.list(LIST, Key::listed("")).await?;
        items.iter().map(|item| Attributes::of(item, LIST).connector_id()).collect()
    }

    async fn audit(&self, id: &ConnectorId, limit: usize) -> Result<Vec<Audited>, PortError> {
        let items = self.list(AUDIT, Key::all_of(id, "AUDIT")).await?;
        let newest = items.iter().skip(items.len().saturating_sub(limit));
        newest.map(read_audit).collect()
    }
}

/// An entry of the audit; its revision keeps it apart from others of its instant.
pub(super) fn audit_item(after: &Connector, entry: &AuditEntry) -> Write {
    let write = Write::update(Key::audit(&after.id, after.revision))
        .set("at", instant(entry.at))
        .set("action", text(entry.action.as_str()))
        .set("state", text(after.state.as_str()))
        .set("execution", text(&entry.actor.execution));
    match &entry.actor.requested_by {
        Some(who) => write.set("requested_by", text(who)),
        None => write,
    }
}

pub(super) fn read_audit(item: &Item) -> Result<Audited, PortError> {
    let attributes = Attributes::of(item, AUDIT);
    let actor = Actor {
        execution: attributes.text("execution")?.to_owned(),
        requested_by: attributes.optional_text("requested_by")?.map(str::to_owned),
    };
    let revision = attributes.read("sk", |sk| sk.strip_prefix("AUDIT#")?.parse().ok())?;
    let entry = AuditEntry { at: attributes.instant("at")?, action: attributes.read("action", Action::parse)?, actor };
    Ok(Audited { revision, entry })
}

pub(super) fn read(item: &Item, operation: &'static str) -> Result<Connector, PortError> {
    let record = Attributes::of(item, operation).text("record")?;
    connector_record::read(record).map_err(|error| damaged(operation, error))
}

/// A connector and its entries among the team's and among all, if the connector is still what was read.
pub(super) fn connector_items(before: Option<&Connector>, connector: &Connector) -> Result<Vec<Write>, PortError> {
    let unwritable = |error| damaged(WRITE, error);
    let record = connector_record::write(connector).map_err(unwritable)?;
    let scope = connector_record::write_scope(&connector.workflows).map_err(unwritable)?;
    let (id, team, state) = (connector.id.as_str(), connector.team.as_str(), connector.state.as_str());
    let common = [("connector_id", text(id)), ("team_id", text(team)), ("state", text(state))];
    let [a, b, c] = common.clone();
    let item = Write::put(
        Key::connector(&connector.id),
        [a, b, c, ("record", text(&record)), ("revision", number(connector.revision))],
    );
    let [a, b, c] = common;
    let activity_log = if connector.activity_log { ACTIVITY_WANTED } else { "unwanted" };
    let entry = Write::put(
        Key::team_entry(team, id),
        [a, b, c, ("workflows", text(&scope)), ("activity_log", text(activity_log))],
    );
    let item = match before {
        None => item.when_new(),
        Some(before) => item.when("#revision = :before").valued("before", number(before.revision)),
    };
    let listed = Write::put(Key::listed(id), [("connector_id", text(id)), ("team_id", text(team))]);
    Ok(vec![item, entry, listed])
}
