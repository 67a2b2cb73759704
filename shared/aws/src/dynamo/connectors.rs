//! Connectors, each with an entry among its team's.

use async_trait::async_trait;
use delivery::connector::Connector;
use delivery::ids::ConnectorId;
use delivery::ports::{ConnectorStore, PortError};
use events::connector_record;

use super::expression::Write;
use super::item::{Attributes, Item, Key, text};
use super::{DynamoStore, Transacted, damaged};

const READ: &str = "read a connector";
const WRITE: &str = "write a connector";

/// What a team's entry says of a connector that takes activity.
pub(super) const ACTIVITY_WANTED: &str = "wanted";

#[async_trait]
impl ConnectorStore for DynamoStore {
    async fn connector(&self, id: &ConnectorId) -> Result<Option<Connector>, PortError> {
        let item = self.get(READ, Key::connector(id)).await?;
        item.map(|item| read(&item, READ)).transpose()
    }

    async fn put_connector(&self, connector: &Connector) -> Result<(), PortError> {
        match self.transact(WRITE, connector_items(connector)?).await? {
            Transacted::Done => Ok(()),
            Transacted::Refused(_) => Err(damaged(WRITE, "the connector belongs to another team")),
        }
    }
}

pub(super) fn read(item: &Item, operation: &'static str) -> Result<Connector, PortError> {
    let record = Attributes::of(item, operation).text("record")?;
    connector_record::read(record).map_err(|error| damaged(operation, error))
}

pub(super) fn connector_items(connector: &Connector) -> Result<Vec<Write>, PortError> {
    let unwritable = |error| damaged(WRITE, error);
    let record = connector_record::write(connector).map_err(unwritable)?;
    let scope = connector_record::write_scope(&connector.workflows).map_err(unwritable)?;
    let (id, team, state) = (connector.id.as_str(), connector.team.as_str(), connector.state.as_str());
    let common = [("connector_id", text(id)), ("team_id", text(team)), ("state", text(state))];
    let [a, b, c] = common.clone();
    let item = Write::put(Key::connector(&connector.id), [a, b, c, ("record", text(&record))]);
    let [a, b, c] = common;
    let activity_log = if connector.activity_log { ACTIVITY_WANTED } else { "unwanted" };
    let entry = Write::put(
        Key::team_entry(team, id),
        [a, b, c, ("workflows", text(&scope)), ("activity_log", text(activity_log))],
    );
    let item = item.when("attribute_not_exists(#pk) OR #team_id = :team_id").valued("team_id", text(team));
    Ok(vec![item, entry])
}
