//! Rows that wait for a batch of their metadata table, and how far the batches are.

use std::collections::BTreeMap;

use delivery::ids::ConnectorId;
use delivery::metadata::{
    BATCH_KEY_BYTES_MAX, BATCH_ROWS_MAX, Batched, BegunBatch, KeptRow, MetadataTable, WaitingRow,
};
use delivery::ports::{BatchBegun, More, Outbox, PortError};
use delivery::timestamp::Timestamp;
use events::waiting_row;

use async_trait::async_trait;

use super::expression::Write;
use super::item::{Attributes, Item, Key, instant, list, number, text};
use super::{CONFLICT_ATTEMPTS_MAX, DynamoStore, Met, Transacted, Written, busy, damaged};

/// How long a key that was put is known, in days: a producer that repeats a row later than that adds it again.
pub const SEEN_DAYS: i64 = 400;

/// The most rows of one transaction: each is two of its 100 writes.
pub(super) const PUT_ROWS_MAX: usize = 50;

/// The most bytes of rows of one transaction, which has at most 4 MB.
pub(super) const PUT_BYTES_MAX: usize = 3_000_000;

/// The longest key of a row, in bytes: an item's sort key has at most 1,024.
const KEY_BYTES_MAX: usize = 980;

const PUT: &str = "put rows that wait";
const WAITING: &str = "list the rows that wait";
const BEGIN: &str = "begin a batch";
const DELETE: &str = "delete the rows of a batch";
const FINISH: &str = "finish a batch";
const ROWS: &str = "read the rows of a batch";

#[async_trait]
impl Outbox for DynamoStore {
    async fn put(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
        rows: &[WaitingRow],
        now: Timestamp,
    ) -> Result<(), PortError> {
        // A transaction does not take the same item twice.
        let mut unique = BTreeMap::new();
        for row in rows {
            unique.entry(row.key.as_str()).or_insert(row);
        }
        let (mut some, mut some_bytes) = (Vec::new(), 0);
        for row in unique.into_values() {
            let kept = KeptRow { key: row.key.clone(), row: row.row.clone(), delivered: None };
            let write = waiting_item(connector, table, &kept, now, PUT)?;
            let row_bytes = write.text_bytes();
            if some.len() == PUT_ROWS_MAX || (some_bytes + row_bytes > PUT_BYTES_MAX && !some.is_empty()) {
                self.write_pairs(PUT, std::mem::take(&mut some)).await?;
                some_bytes = 0;
            }
            some_bytes += row_bytes;
            some.push((seen_item(connector, table, &row.key, now), write));
        }
        self.write_pairs(PUT, some).await
    }
}

impl DynamoStore {
    /// Pairs of writes in one transaction, leaving out the pairs whose first write is refused: what they say was
    /// written before.
    pub(super) async fn write_pairs(
        &self,
        operation: &'static str,
        mut pairs: Vec<(Write, Write)>,
    ) -> Result<(), PortError> {
        for _ in 0..CONFLICT_ATTEMPTS_MAX {
            if pairs.is_empty() {
                return Ok(());
            }
            let writes = pairs.iter().flat_map(|(first, second)| [first.clone(), second.clone()]).collect();
            let Transacted::Refused(met) = self.transact(operation, writes).await? else { return Ok(()) };
            let new = met.chunks(2).map(|pair| !matches!(pair.first(), Some(Met::Condition(_))));
            pairs = pairs.into_iter().zip(new).filter_map(|(pair, new)| new.then_some(pair)).collect();
        }
        Err(busy(operation))
    }

    pub(super) async fn first_waiting(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
    ) -> Result<(Vec<KeptRow>, More), PortError> {
        // One more than is wanted tells whether there is more.
        let items = self.list_first(WAITING, Key::waiting(connector, table, ""), BATCH_ROWS_MAX + 1).await?;
        let mut rows = Vec::new();
        let mut key_bytes = 0;
        for item in &items {
            let row = read_waiting(connector, table, item, WAITING)?;
            key_bytes += row.key.len();
            if rows.len() == BATCH_ROWS_MAX || key_bytes > BATCH_KEY_BYTES_MAX {
                return Ok((rows, More::Yes));
            }
            rows.push(row);
        }
        Ok((rows, More::No))
    }

    pub(super) async fn waiting_rows_of(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
        keys: &[String],
    ) -> Result<Vec<KeptRow>, PortError> {
        let keys: Vec<_> = keys.iter().map(|key| Key::waiting(connector, table, key)).collect();
        let items = self.get_many(ROWS, &keys).await?;
        items.iter().flatten().map(|item| read_waiting(connector, table, item, ROWS)).collect()
    }

    pub(super) async fn begin_batch(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
        known: &Batched,
        batch: &BegunBatch,
    ) -> Result<BatchBegun, PortError> {
        match self.update(BEGIN, begun(connector, table, known, batch)).await? {
            Written::Done(_) => Ok(BatchBegun::Now),
            Written::Refused(_) => Ok(BatchBegun::Outdated),
        }
    }

    pub(super) async fn finish_batch(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
        batch: &BegunBatch,
        table_version: u64,
    ) -> Result<(), PortError> {
        // Rows before the number: whoever reads the next number sees none of them.
        let keys: Vec<_> = batch.keys.iter().map(|key| Key::waiting(connector, table, key)).collect();
        self.delete_many(DELETE, &keys).await?;
        // Refused if another writer finished it.
        self.update(FINISH, finished(connector, table, batch, table_version)).await?;
        Ok(())
    }
}

pub(super) fn begun(connector: &ConnectorId, table: MetadataTable, known: &Batched, batch: &BegunBatch) -> Write {
    let same = if known.next == 1 {
        "(attribute_not_exists(#next_batch) OR #next_batch = :known)"
    } else {
        "#next_batch = :known"
    };
    Write::update(Key::batched(connector, table))
        .set("next_batch", number(batch.number))
        .set("aimed_table_version", number(batch.aimed_table_version))
        .set("keys", list(batch.keys.iter().map(String::as_str)))
        .when(&format!("{same} AND attribute_not_exists(#keys)"))
        .valued("known", number(known.next))
}

pub(super) fn finished(connector: &ConnectorId, table: MetadataTable, batch: &BegunBatch, table_version: u64) -> Write {
    Write::update(Key::batched(connector, table))
        .set("next_batch", number(batch.number.saturating_add(1)))
        .set("table_version", number(table_version))
        .remove("aimed_table_version")
        .remove("keys")
        .when("#next_batch = :number AND attribute_exists(#keys)")
        .valued("number", number(batch.number))
}

pub(super) fn read_batched(item: &Item, operation: &'static str) -> Result<Batched, PortError> {
    let attributes = Attributes::of(item, operation);
    let next = attributes.number("next_batch")?;
    let begun = if item.contains_key("keys") {
        let keys = attributes.list("keys", |key| Some(key.to_owned()))?;
        Some(BegunBatch { number: next, aimed_table_version: attributes.number("aimed_table_version")?, keys })
    } else {
        None
    };
    Ok(Batched { table_version: attributes.optional_number("table_version")?, next, begun })
}

pub(super) fn waiting_item(
    connector: &ConnectorId,
    table: MetadataTable,
    row: &KeptRow,
    now: Timestamp,
    operation: &'static str,
) -> Result<Write, PortError> {
    if row.key.len() > KEY_BYTES_MAX {
        return Err(damaged(operation, format!("a row's key has more than {KEY_BYTES_MAX} bytes")));
    }
    let record = waiting_row::write(&row.row, row.delivered.as_ref()).map_err(|error| damaged(operation, error))?;
    let attributes = [("row", text(&record)), ("put_at", instant(now))];
    Ok(Write::put(Key::waiting(connector, table, &row.key), attributes))
}

pub(super) fn seen_item(connector: &ConnectorId, table: MetadataTable, key: &str, now: Timestamp) -> Write {
    let expires_at = now.plus_seconds(SEEN_DAYS * 86_400);
    let attributes = [("expires_at_seconds", number(expires_at.seconds()))];
    Write::put(Key::seen(connector, table, key), attributes).when_new()
}

pub(super) fn read_waiting(
    connector: &ConnectorId,
    table: MetadataTable,
    item: &Item,
    operation: &'static str,
) -> Result<KeptRow, PortError> {
    let attributes = Attributes::of(item, operation);
    let begins = Key::waiting(connector, table, "");
    let key = attributes.read("sk", |sk| sk.strip_prefix(&begins.sk))?;
    waiting_row::read(table, key, attributes.text("row")?).map_err(|error| damaged(operation, error))
}
