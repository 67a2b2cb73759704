//! The state table in DynamoDB: one table, string keys `pk` and `sk`, and `expires_at_seconds` for its time to live.
//!
//! | `pk` | `sk` | what |
//! |---|---|---|
//! | `RUNS#<team>#<workflow>` | `RUN#<run>` | a recorded run |
//! | `HISTORY#<team>` | `<workflow>#<finished at, in microseconds>#<run>` | a recorded run in short |
//! | `CONNECTOR#<id>` | `CONNECTOR` | a connector |
//! | `CONNECTOR#<id>` | `BACKFILL#<id>` | how far a backfill is |
//! | `CONNECTOR#<id>` | `AUDIT#<revision>` | what was done to it: who, when, what |
//! | `TEAM#<team>` | `CONNECTOR#<id>` | its entry among the team's |
//! | `CONNECTORS` | `CONNECTOR#<id>` | its entry among all |
//! | `CONNECTOR#<id>` | `DELIVERY#<workflow>#<run>` | a delivery |
//! | `CONNECTOR#<id>` | `TABLE#<workflow>#<fingerprint>` | a version table |
//! | `CONNECTOR#<id>` | `WORKFLOW#<workflow>` | its label and newest schema version |
//! | `CONNECTOR#<id>` | `LABEL#<label>` | a label's workflow |
//! | `CONNECTOR#<id>` | `LATEST#<workflow>` | a `__LATEST` table |
//! | `CONNECTOR#<id>` | `SCHEMA#<workflow>#<fingerprint>` | a version table's public columns |
//! | `CONNECTOR#<id>` | `OUTBOX#<table>#<key>` | a row that waits for a batch of a metadata table |
//! | `CONNECTOR#<id>` | `SEEN#<table>#<key>` | that such a row was put, kept for [`SEEN_DAYS`] days |
//! | `CONNECTOR#<id>` | `BATCHED#<table>` | how far a metadata table's batches are |
//! | `CONNECTOR#<id>` | `LIVE_FAILED` | why a ready connector's rollout waits |
//! | `CONNECTOR#<id>` | `CATALOGUE` | how far the catalogue tables follow |
//! | `CONNECTOR#<id>` | `ACTIVATION` | the newest activation's link, by its hash |
//! | `SHARE#<id in lower case>` | `SHARE` | a share's connector |
//! | `SHARE#<id in lower case>` | `TABLE#<name in upper case>` | a shared table |
//! | `TOKEN#<hash>` | `TOKEN` | what a token opens |
//! | `TOKENS#<connector>` | `TOKEN#<hash>` | a recipient's token of the connector: when it ends, which warning was given |
//! | `ACTIVATION#<hash>` | `ACTIVATION` | an activation |
//!
//! Ids hold no `#`, so keys cannot run into each other; a waiting row's key is the last part of its item's. Every rule that two writers could break is a condition of the
//! write.

mod activations;
mod backfill;
mod budgets;
mod changes;
mod connectors;
mod deliveries;
mod expression;
mod item;
mod metadata;
mod outbox;
mod recipients;
mod rollouts;
mod runs;
mod shares;
mod tables;
mod undelivered;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    DeleteRequest, KeysAndAttributes, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, WriteRequest,
};
use delivery::ports::{PortError, PortErrorKind};

use expression::Write;
use item::{Item, Key};

pub use changes::read_change;
pub use outbox::SEEN_DAYS;
pub use undelivered::{UNDELIVERED_ATTRIBUTES, UNDELIVERED_INDEX, UNDELIVERED_KEYS};

use crate::failure::port_error;

/// How often a write is tried that meets another transaction on its items.
pub const CONFLICT_ATTEMPTS_MAX: u32 = 12;

/// How often what a batch read left out is asked for again.
pub const BATCH_ATTEMPTS_MAX: u32 = 6;

/// The most items of one request that reads several.
const GET_ITEMS_MAX: usize = 100;

/// The most writes of one transaction.
const WRITES_MAX: usize = 100;

/// The most items of one request that deletes several.
const DELETE_ITEMS_MAX: usize = 25;

/// The most pages that a list is read in. A page has up to 1 MB.
pub const PAGES_MAX: usize = 50;

/// The state table.
#[derive(Clone)]
pub struct DynamoStore {
    client: Client,
    table: String,
}

impl fmt::Debug for DynamoStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoStore").field("table", &self.table).finish_non_exhaustive()
    }
}

/// What became of one conditional write.
#[derive(Debug, Clone, PartialEq)]
enum Written {
    /// Written; the new values of the attributes that an update touched.
    Done(Item),
    /// The condition did not hold; the item that is there, if there is one.
    Refused(Option<Item>),
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq)]
enum Transacted {
    /// Everything is written.
    Done,
    /// Nothing is written; what each write met, in their order.
    Refused(Vec<Met>),
}

/// What one write of a refused transaction met.
#[derive(Debug, Clone, PartialEq)]
enum Met {
    /// Nothing in its way.
    Nothing,
    /// Its condition did not hold; the item that is there, if there is one.
    Condition(Option<Item>),
}

impl DynamoStore {
    /// The state table of a name.
    #[must_use]
    pub fn new(config: &SdkConfig, table: &str) -> Self {
        Self { client: Client::new(config), table: table.to_owned() }
    }

    /// One item, as it is now.
    async fn get(&self, operation: &'static str, key: Key) -> Result<Option<Item>, PortError> {
        let request = self.client.get_item().table_name(&self.table).set_key(Some(key.attributes()));
        let answer = request.consistent_read(true).send().await.map_err(|error| port_error(operation, error))?;
        Ok(answer.item)
    }

    /// Several items, as they are now, in the order of their keys: one request, unless the table holds some back.
    async fn get_all<const N: usize>(
        &self,
        operation: &'static str,
        keys: [Key; N],
    ) -> Result<[Option<Item>; N], PortError> {
        let found = self.get_many(operation, &keys).await?;
        found.try_into().map_err(|_| damaged(operation, "the table answered for other items"))
    }

    /// Many items, as they are now, in the order of their keys: one request for each hundred. No key comes twice.
    async fn get_many(&self, operation: &'static str, keys: &[Key]) -> Result<Vec<Option<Item>>, PortError> {
        self.get_many_of(operation, keys, None).await
    }

    /// These attributes of many items, the keys among them; all if none are named.
    async fn get_many_of(
        &self,
        operation: &'static str,
        keys: &[Key],
        attributes: Option<&str>,
    ) -> Result<Vec<Option<Item>>, PortError> {
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(GET_ITEMS_MAX) {
            found.extend(self.get_some(operation, keys, attributes).await?);
        }
        Ok(found)
    }

    async fn get_some(
        &self,
        operation: &'static str,
        keys: &[Key],
        attributes: Option<&str>,
    ) -> Result<Vec<Option<Item>>, PortError> {
        let invalid = |error| PortError::new(PortErrorKind::InvalidData, operation, error);
        let wanted = keys.iter().map(Key::attributes).collect();
        let request = KeysAndAttributes::builder().set_keys(Some(wanted)).consistent_read(true);
        let mut request = request.set_projection_expression(attributes.map(str::to_owned)).build().map_err(invalid)?;
        let mut found: Vec<Option<Item>> = keys.iter().map(|_| None).collect();
        for attempt in 0..BATCH_ATTEMPTS_MAX {
            let answer = self.client.batch_get_item().request_items(&self.table, request).send().await;
            let answer = answer.map_err(|error| port_error(operation, error))?;
            for item in answer.responses.into_iter().flatten().flat_map(|(_, items)| items) {
                if let Some((_, place)) = keys.iter().zip(&mut found).find(|(key, _)| key.is_of(&item)) {
                    *place = Some(item);
                }
            }
            match answer.unprocessed_keys.and_then(|mut keys| keys.remove(&self.table)) {
                Some(rest) => request = rest,
                None => return Ok(found),
            }
            pause(attempt).await;
        }
        Err(PortError::new(PortErrorKind::Throttled, operation, "the table held items back every time"))
    }

    /// Takes items away, [`DELETE_ITEMS_MAX`] with each request. One that is not there is no error.
    async fn delete_many(&self, operation: &'static str, keys: &[Key]) -> Result<(), PortError> {
        let invalid = |error| PortError::new(PortErrorKind::InvalidData, operation, error);
        for keys in keys.chunks(DELETE_ITEMS_MAX) {
            let delete = |key: &Key| DeleteRequest::builder().set_key(Some(key.attributes())).build();
            let deletes = keys.iter().map(delete).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
            let mut rest: Vec<_> =
                deletes.into_iter().map(|delete| WriteRequest::builder().delete_request(delete).build()).collect();
            for attempt in 0..BATCH_ATTEMPTS_MAX {
                let answer = self.client.batch_write_item().request_items(&self.table, rest).send().await;
                let answer = answer.map_err(|error| port_error(operation, error))?;
                rest = answer.unprocessed_items.and_then(|mut items| items.remove(&self.table)).unwrap_or_default();
                if rest.is_empty() {
                    break;
                }
                pause(attempt).await;
            }
            if !rest.is_empty() {
                return Err(PortError::new(
                    PortErrorKind::Throttled,
                    operation,
                    "the table held items back every time",
                ));
            }
        }
        Ok(())
    }

    /// The items of a partition whose sort key begins so, as they are now, in the order of their keys.
    async fn list(&self, operation: &'static str, begins: Key) -> Result<Vec<Item>, PortError> {
        self.list_first(operation, begins, usize::MAX).await
    }

    /// At least the first `items_min` of these items, if there are so many.
    async fn list_first(&self, operation: &'static str, begins: Key, items_min: usize) -> Result<Vec<Item>, PortError> {
        let limit = i32::try_from(items_min).ok();
        let mut items = Vec::new();
        let mut from = None;
        for _ in 0..PAGES_MAX {
            let answer = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("pk = :pk AND begins_with(sk, :sk)")
                .expression_attribute_values(":pk", item::text(&begins.pk))
                .expression_attribute_values(":sk", item::text(&begins.sk))
                .consistent_read(true)
                .set_limit(limit)
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(|error| port_error(operation, error))?;
            items.extend(answer.items.into_iter().flatten());
            from = answer.last_evaluated_key;
            if from.is_none() || items.len() >= items_min {
                return Ok(items);
            }
        }
        let source = format!("the list has more than {PAGES_MAX} pages");
        Err(PortError::new(PortErrorKind::InvalidData, operation, source))
    }

    /// One update.
    async fn update(&self, operation: &'static str, write: Write) -> Result<Written, PortError> {
        for attempt in 0..CONFLICT_ATTEMPTS_MAX {
            let write = write.clone();
            let answer = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(write.key.attributes()))
                .set_update_expression(write.update_expression())
                .set_condition_expression(write.condition)
                .set_expression_attribute_names(write.names)
                .set_expression_attribute_values(write.values)
                .return_values(ReturnValue::UpdatedNew)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send()
                .await;
            let error = match answer {
                Ok(answer) => return Ok(Written::Done(answer.attributes.unwrap_or_default())),
                Err(error) => error,
            };
            match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refusal)) => {
                    return Ok(Written::Refused(refusal.item.clone()));
                }
                Some(UpdateItemError::TransactionConflictException(_)) => pause(attempt).await,
                _ => return Err(port_error(operation, error)),
            }
        }
        Err(busy(operation))
    }

    /// Several updates in as few requests as can be: one whose condition does not hold keeps no other from being
    /// written. What became of each, in order; one that was written together with others tells no attributes.
    async fn update_each(&self, operation: &'static str, writes: Vec<Write>) -> Result<Vec<Written>, PortError> {
        let mut outcomes = Vec::with_capacity(writes.len());
        for some in writes.chunks(WRITES_MAX) {
            let mut of_some = vec![Written::Done(Item::default()); some.len()];
            let mut rest: Vec<_> = some.iter().zip(&mut of_some).collect();
            while rest.len() > 1 {
                let together = rest.iter().map(|(write, _)| (*write).clone()).collect();
                let Transacted::Refused(met) = self.transact(operation, together).await? else {
                    rest.clear();
                    break;
                };
                let mut left = Vec::new();
                for ((write, outcome), met) in rest.into_iter().zip(met) {
                    match met {
                        Met::Condition(item) => *outcome = Written::Refused(item),
                        Met::Nothing => left.push((write, outcome)),
                    }
                }
                rest = left;
            }
            for (write, outcome) in rest {
                *outcome = self.update(operation, write.clone()).await?;
            }
            outcomes.extend(of_some);
        }
        Ok(outcomes)
    }

    /// Several writes, all or none.
    async fn transact(&self, operation: &'static str, writes: Vec<Write>) -> Result<Transacted, PortError> {
        let writes = writes.into_iter().map(|write| write.transacted(&self.table));
        let writes: Vec<TransactWriteItem> = writes
            .collect::<Result<_, _>>()
            .map_err(|error| PortError::new(PortErrorKind::InvalidData, operation, error))?;
        for attempt in 0..CONFLICT_ATTEMPTS_MAX {
            let answer = self.client.transact_write_items().set_transact_items(Some(writes.clone())).send().await;
            let Err(error) = answer else { return Ok(Transacted::Done) };
            let Some(TransactWriteItemsError::TransactionCanceledException(refusal)) = error.as_service_error() else {
                return Err(port_error(operation, error));
            };
            let mut met = Vec::new();
            let mut conflict = false;
            for reason in refusal.cancellation_reasons() {
                met.push(match reason.code() {
                    Some("ConditionalCheckFailed") => Met::Condition(reason.item.clone()),
                    Some("TransactionConflict") => {
                        conflict = true;
                        Met::Nothing
                    }
                    None | Some("None") => Met::Nothing,
                    Some(_) => return Err(port_error(operation, error)),
                });
            }
            if met.iter().any(|met| matches!(met, Met::Condition(_))) {
                return Ok(Transacted::Refused(met));
            }
            if !conflict {
                return Err(port_error(operation, error));
            }
            pause(attempt).await;
        }
        Err(busy(operation))
    }
}

fn busy(operation: &'static str) -> PortError {
    PortError::new(PortErrorKind::Throttled, operation, "other transactions held the items every time")
}

fn damaged(operation: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PortError {
    PortError::new(PortErrorKind::InvalidData, operation, source)
}

/// Waits a random time of up to 10, 20, 40, … 640 milliseconds, so that writers that met do not meet again.
async fn pause(attempt: u32) {
    let longest = 10_u64 << attempt.min(6);
    let random = getrandom::u32().unwrap_or(u32::MAX);
    tokio::time::sleep(Duration::from_millis(1 + u64::from(random) % longest)).await;
}
