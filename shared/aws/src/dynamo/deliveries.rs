//! The state of deliveries. `shared` is final: every write but the first of a delivery has that as its condition, and
//! a write that it refuses has nothing to say any more.

use async_trait::async_trait;
use delivery::ids::DeliveryKey;
use delivery::metadata::MetadataTable;
use delivery::ports::{DeliveryStore, PortError};
use delivery::state::{Delivery, DeliveryState, Ended, Step};
use delivery::timestamp::Timestamp;

use super::expression::Write;
use super::item::{Attributes, Item, Key, instant, number, text};
use super::outbox::waiting_item;
use super::{DynamoStore, Transacted};

/// The most deliveries of one transaction.
const WRITES_MAX: usize = 100;

const ENTER: &str = "note that a step began";
const END: &str = "note the outcome of a delivery";
const READ: &str = "read the delivery's record";

#[async_trait]
impl DeliveryStore for DynamoStore {
    async fn enter(&self, deliveries: &[DeliveryKey], step: Step, now: Timestamp) -> Result<(), PortError> {
        for some in deliveries.chunks(WRITES_MAX) {
            let writes: Vec<_> = some.iter().map(|delivery| entered(delivery, step, now)).collect();
            let together = writes.len() > 1 && self.transact(ENTER, writes.clone()).await? == Transacted::Done;
            // One that is shared already keeps the others from being written together.
            if !together {
                for write in writes {
                    self.update(ENTER, write).await?;
                }
            }
        }
        Ok(())
    }

    async fn end(&self, delivery: &DeliveryKey, ended: &Ended, now: Timestamp) -> Result<(), PortError> {
        let noted = outcome(delivery, ended, now);
        match ended {
            // The row only with the first `shared`: a delivery that is shared refuses the whole transaction.
            Ended::Shared(delivered) => {
                let row = delivered.row(&delivery.run, now);
                let row = waiting_item(&delivery.connector, MetadataTable::WorkflowRuns, &row, now, END)?;
                let _ = self.transact(END, vec![noted, row]).await?;
            }
            Ended::Failed(_) => {
                self.update(END, noted).await?;
            }
        }
        Ok(())
    }

    async fn delivery(&self, key: &DeliveryKey) -> Result<Option<Delivery>, PortError> {
        let item = self.get(READ, Key::delivery(key)).await?;
        item.map(|item| read(key, &item, READ)).transpose()
    }
}

/// A delivery's record as an item says.
pub(super) fn read(key: &DeliveryKey, item: &Item, operation: &'static str) -> Result<Delivery, PortError> {
    let attributes = Attributes::of(item, operation);
    Ok(Delivery {
        key: key.clone(),
        state: attributes.read("state", DeliveryState::parse)?,
        aimed_table_version: attributes.optional_number("aimed_table_version")?,
        loaded_table_version: attributes.optional_number("loaded_table_version")?,
    })
}

/// The first record of a delivery; one that is there stays as it is.
pub(super) fn accepted(delivery: &DeliveryKey, now: Timestamp) -> Write {
    let state = DeliveryState::Accepted.as_str();
    Write::update(Key::delivery(delivery))
        .set_ids(delivery)
        .set_once("state", text(state))
        .set_once("accepted_at", instant(now))
        .set_once("updated_at", instant(now))
}

/// A step that begins. What an earlier attempt failed with is no longer true.
pub(super) fn entered(delivery: &DeliveryKey, step: Step, now: Timestamp) -> Write {
    let write = moved(delivery, DeliveryState::InProgress(step), now);
    let write = write.remove("phase").remove("code").remove("message");
    if step == Step::Staging { write.add("attempts", number(1)) } else { write }
}

pub(super) fn outcome(delivery: &DeliveryKey, ended: &Ended, now: Timestamp) -> Write {
    match ended {
        Ended::Shared(delivered) => moved(delivery, DeliveryState::Shared, now)
            .set("rows", number(delivered.rows))
            .set("rejected_rows", number(delivered.rejected_rows))
            .set("bytes", number(delivered.bytes))
            .remove("phase")
            .remove("code")
            .remove("message"),
        Ended::Failed(failure) => moved(delivery, DeliveryState::Failed, now)
            .set("phase", text(failure.phase().as_str()))
            .set("code", text(failure.code.as_str()))
            .set("message", text(&failure.message)),
    }
}

fn moved(delivery: &DeliveryKey, state: DeliveryState, now: Timestamp) -> Write {
    Write::update(Key::delivery(delivery))
        .set_ids(delivery)
        .set("state", text(state.as_str()))
        .set(&format!("{}_at", state.as_str()), instant(now))
        .set("updated_at", instant(now))
        .when("attribute_not_exists(#state) OR #state <> :final")
        .valued("final", text(DeliveryState::Shared.as_str()))
}
