//! Deliveries that are not shared, by connector and by how long they are owed: the sparse index `UndeliveredIndex`.
//!
//! Its two attributes are on a delivery's item only while it is not shared; they come and go with the writes that
//! change the state. A delivery whose record is older than the index is in it after its next step.

use async_trait::async_trait;
use delivery::failure::FailureCode;
use delivery::ids::{ConnectorId, DeliveryKey, RunId, RunKey, TeamId, WorkflowId};
use delivery::ports::{PortError, UndeliveredDeliveries};
use delivery::redrive::{Undelivered, UndeliveredPosition};
use delivery::state::DeliveryState;
use delivery::timestamp::Timestamp;

use super::expression::Write;
use super::item::{Attributes, Item, Key, number, text};
use super::{DynamoStore, PAGES_MAX, damaged};
use crate::failure::port_error;

/// The index's name.
pub const UNDELIVERED_INDEX: &str = "UndeliveredIndex";

/// The attributes of its key: the connector, and since when the delivery is owed.
pub const UNDELIVERED_KEYS: [&str; 2] = [TO, SINCE];

/// The other attributes in it.
pub const UNDELIVERED_ATTRIBUTES: [&str; 7] =
    ["connector_id", "team_id", "workflow_id", "run_id", "state", "code", "failed_at"];

const TO: &str = "undelivered_to";
const SINCE: &str = "undelivered_since_micros";

const LIST: &str = "list the deliveries that are not shared";

/// The delivery is owed: since now, unless it is already.
pub(super) fn owed(write: Write, delivery: &DeliveryKey, now: Timestamp) -> Write {
    write.set(TO, text(delivery.connector.as_str())).set_once(SINCE, number(now.micros()))
}

/// The delivery is shared.
pub(super) fn settled(write: Write) -> Write {
    write.remove(TO).remove(SINCE)
}

#[async_trait]
impl UndeliveredDeliveries for DynamoStore {
    async fn undelivered(
        &self,
        connector: &ConnectorId,
        after: Option<&UndeliveredPosition>,
        limit: usize,
    ) -> Result<Vec<Undelivered>, PortError> {
        let mut found = Vec::new();
        let mut from = after.map(|position| start_key(connector, position));
        for _ in 0..PAGES_MAX {
            let answer = self
                .client
                .query()
                .table_name(&self.table)
                .index_name(UNDELIVERED_INDEX)
                .key_condition_expression("#to = :to")
                .expression_attribute_names("#to", TO)
                .expression_attribute_values(":to", text(connector.as_str()))
                .set_limit(i32::try_from(limit - found.len()).ok())
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(|error| port_error(LIST, error))?;
            for item in answer.items.into_iter().flatten() {
                found.push(read(&item)?);
            }
            from = answer.last_evaluated_key;
            if from.is_none() || found.len() >= limit {
                return Ok(found);
            }
        }
        Err(damaged(LIST, format!("the list has more than {PAGES_MAX} pages")))
    }
}

fn start_key(connector: &ConnectorId, position: &UndeliveredPosition) -> Item {
    let mut key = Key::delivery_of(connector, &position.workflow, &position.run).attributes();
    key.insert(TO.to_owned(), text(connector.as_str()));
    key.insert(SINCE.to_owned(), number(position.since.micros()));
    key
}

pub(super) fn read(item: &Item) -> Result<Undelivered, PortError> {
    let attributes = Attributes::of(item, LIST);
    let key = DeliveryKey {
        connector: attributes.connector_id()?,
        run: RunKey {
            team: attributes.read("team_id", |text| TeamId::new(text).ok())?,
            workflow: attributes.read("workflow_id", |text| WorkflowId::new(text).ok())?,
            run: attributes.read("run_id", |text| RunId::new(text).ok())?,
        },
    };
    let state = attributes.read("state", DeliveryState::parse)?;
    let failed = if state == DeliveryState::Failed {
        Some((attributes.read("code", FailureCode::parse)?, attributes.instant("failed_at")?))
    } else {
        None
    };
    let since = Timestamp::from_micros(attributes.number(SINCE)?).ok_or_else(|| attributes.damaged(SINCE))?;
    Ok(Undelivered { key, since, state, failed })
}
