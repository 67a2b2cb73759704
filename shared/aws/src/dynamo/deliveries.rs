//! The state of deliveries. `shared` is final: every write but the first of a delivery has that as its condition, and
//! a write that it refuses has nothing to say any more.

use async_trait::async_trait;
use delivery::batch::Origin;
use delivery::ids::DeliveryKey;
use delivery::metadata::MetadataTable;
use delivery::ports::{DeliveryStore, PortError};
use delivery::state::{Delivery, DeliveryState, Ended, Failure, Step};
use delivery::timestamp::Timestamp;

use super::expression::Write;
use super::item::{Attributes, Item, Key, instant, number, text};
use super::outbox::waiting_item;
use super::{DynamoStore, undelivered};

/// The most deliveries of one transaction that puts a row with each.
const PAIRS_MAX: usize = 50;

/// Is on a delivery that was begun for history, and on no other.
const ORIGIN: &str = "origin";

const ENTER: &str = "note that a step began";
const END: &str = "note the outcome of a delivery";
const READ: &str = "read the delivery's record";

#[async_trait]
impl DeliveryStore for DynamoStore {
    async fn begin(&self, deliveries: &[DeliveryKey], origin: Origin, now: Timestamp) -> Result<(), PortError> {
        let writes = deliveries.iter().map(|delivery| begun(delivery, origin, now)).collect();
        self.update_each(ENTER, writes).await?;
        Ok(())
    }

    async fn enter(&self, deliveries: &[DeliveryKey], step: Step, now: Timestamp) -> Result<(), PortError> {
        let writes = deliveries.iter().map(|delivery| entered(delivery, step, now)).collect();
        self.update_each(ENTER, writes).await?;
        Ok(())
    }

    async fn end(&self, ended: &[(DeliveryKey, Ended)], now: Timestamp) -> Result<(), PortError> {
        let (mut shared, mut failed) = (Vec::new(), Vec::new());
        for (delivery, ended) in ended {
            let noted = outcome(delivery, ended, now);
            match ended {
                // The row only with the first `shared`: a delivery that is shared refuses both writes.
                Ended::Shared(delivered) => {
                    let row = delivered.row(&delivery.run, now);
                    let row = waiting_item(&delivery.connector, MetadataTable::WorkflowRuns, &row, now, END)?;
                    shared.push((noted, row));
                }
                Ended::Failed(_) => failed.push(noted),
            }
        }
        while !shared.is_empty() {
            let rest = shared.split_off(shared.len().min(PAIRS_MAX));
            self.write_pairs(END, std::mem::replace(&mut shared, rest)).await?;
        }
        self.update_each(END, failed).await?;
        Ok(())
    }

    async fn fail(
        &self,
        deliveries: &[DeliveryKey],
        failure: &Failure,
        origin: Origin,
        now: Timestamp,
    ) -> Result<(), PortError> {
        let failed = deliveries.iter().map(|delivery| made_for(failed(delivery, failure, now), origin)).collect();
        self.update_each(END, failed).await?;
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
    let origin = if item.contains_key(ORIGIN) { attributes.read(ORIGIN, Origin::parse)? } else { Origin::Live };
    Ok(Delivery {
        key: key.clone(),
        state: attributes.read("state", DeliveryState::parse)?,
        origin,
        moved_at: attributes.instant("updated_at")?,
        aimed_table_version: attributes.optional_number("aimed_table_version")?,
        loaded_table_version: attributes.optional_number("loaded_table_version")?,
    })
}

/// The first record of a delivery; one that is there stays as it is.
pub(super) fn accepted(delivery: &DeliveryKey, now: Timestamp) -> Write {
    let state = DeliveryState::Accepted.as_str();
    let write = Write::update(Key::delivery(delivery))
        .set_ids(delivery)
        .set_once("state", text(state))
        .set_once("accepted_at", instant(now))
        .set_once("updated_at", instant(now));
    undelivered::owed(write, delivery, now)
}

/// An execution that begins.
pub(super) fn begun(delivery: &DeliveryKey, origin: Origin, now: Timestamp) -> Write {
    made_for(entered(delivery, Step::Staging, now), origin)
}

fn made_for(write: Write, origin: Origin) -> Write {
    match origin {
        Origin::Live => write.remove(ORIGIN),
        Origin::Backfill => write.set(ORIGIN, text(origin.as_str())),
    }
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
        Ended::Failed(failure) => failed(delivery, failure, now),
    }
}

fn failed(delivery: &DeliveryKey, failure: &Failure, now: Timestamp) -> Write {
    moved(delivery, DeliveryState::Failed, now)
        .when("attribute_not_exists(#state) OR (#state <> :final AND #state <> :state)")
        .set("phase", text(failure.phase().as_str()))
        .set("code", text(failure.code.as_str()))
        .set("message", text(&failure.message))
}

fn moved(delivery: &DeliveryKey, state: DeliveryState, now: Timestamp) -> Write {
    let write = Write::update(Key::delivery(delivery))
        .set_ids(delivery)
        .set("state", text(state.as_str()))
        .set(&format!("{}_at", state.as_str()), instant(now))
        .set("updated_at", instant(now))
        .when("attribute_not_exists(#state) OR #state <> :final")
        .valued("final", text(DeliveryState::Shared.as_str()));
    if state == DeliveryState::Shared { undelivered::settled(write) } else { undelivered::owed(write, delivery, now) }
}
