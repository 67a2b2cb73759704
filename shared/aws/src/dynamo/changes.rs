//! Changes of items as the table's stream tells them: old and new image of a record of `NEW_AND_OLD_IMAGES`.

use aws_sdk_dynamodb::types::AttributeValue;
use delivery::connector::ConnectorState;
use delivery::failure::FailureCode;
use delivery::ids::{ConnectorId, DeliveryKey, RunId, RunKey, TeamId, WorkflowId};
use delivery::outgoing::{Change, DeliveryAfter, FailedFacts, SharedFacts};
use delivery::ports::PortError;
use delivery::state::{DeliveryState, Failure};
use delivery::timestamp::Timestamp;
use serde_json::Value;

use super::damaged;
use super::item::{Attributes, Item};

const READ: &str = "read a change of the state table";

/// What a record of the stream tells, as Lambda hands it over; `None` if it is of no item that events are made of, or
/// if the item is gone.
///
/// # Errors
///
/// Returns a [`PortError`] of kind `InvalidData` if the record or an attribute in it is not what it should be. It holds
/// no value of the item.
pub fn read_change(record: &Value) -> Result<Option<Change>, PortError> {
    let record = &record["dynamodb"];
    let Some(new) = image(&record["NewImage"]) else { return Ok(None) };
    let old = image(&record["OldImage"]);
    let new = Attributes::of(&new, READ);
    let old = old.as_ref().map(|old| Attributes::of(old, READ));
    let (pk, sk) = (new.text("pk")?, new.text("sk")?);
    let of_connector = pk.starts_with("CONNECTOR#");
    if of_connector && sk.starts_with("DELIVERY#") {
        delivery(new, old).map(Some)
    } else if of_connector && sk == "CONNECTOR" {
        Ok(Some(Change::Connector {
            id: new.connector_id()?,
            team: new.read("team_id", |text| TeamId::new(text).ok())?,
            before: old.map(|old| old.read("state", ConnectorState::parse)).transpose()?,
            after: new.read("state", ConnectorState::parse)?,
            revision: new.number("revision")?,
            at: written_at(record)?,
        }))
    } else if let (Some(connector), Some(hash)) = (pk.strip_prefix("TOKENS#"), sk.strip_prefix("TOKEN#")) {
        Ok(Some(Change::Token {
            connector: ConnectorId::new(connector).map_err(|error| damaged(READ, error))?,
            hash: hash.to_owned(),
            before: old.map_or(Ok(None), |old| old.optional_number("warned_days"))?,
            after: new.optional_number("warned_days")?,
            expires_at: new.instant("expires_at")?,
            at: written_at(record)?,
        }))
    } else {
        Ok(None)
    }
}

fn delivery(new: Attributes<'_>, old: Option<Attributes<'_>>) -> Result<Change, PortError> {
    let key = DeliveryKey {
        connector: new.connector_id()?,
        run: RunKey {
            team: new.read("team_id", |text| TeamId::new(text).ok())?,
            workflow: new.read("workflow_id", |text| WorkflowId::new(text).ok())?,
            run: new.read("run_id", |text| RunId::new(text).ok())?,
        },
    };
    let before = old.map(|old| old.read("state", DeliveryState::parse)).transpose()?;
    let after = match new.read("state", DeliveryState::parse)? {
        DeliveryState::Shared => DeliveryAfter::Shared(SharedFacts {
            at: new.instant("shared_at")?,
            table: new.table_name("table_name")?,
            table_version: new.number("loaded_table_version")?,
            rows: new.number("rows")?,
            rejected_rows: new.number("rejected_rows")?,
        }),
        DeliveryState::Failed => DeliveryAfter::Failed(FailedFacts {
            at: new.instant("failed_at")?,
            failure: Failure { code: new.read("code", FailureCode::parse)?, message: new.text("message")?.to_owned() },
            attempts: new.optional_number("attempts")?.unwrap_or(0),
        }),
        state @ (DeliveryState::Accepted | DeliveryState::InProgress(_)) => DeliveryAfter::Unfinished(state),
    };
    Ok(Change::Delivery { key, before, after })
}

/// The texts and numbers of an image. No event is made of anything else.
fn image(image: &Value) -> Option<Item> {
    let attribute = |(name, value): (&String, &Value)| {
        let text = |kind: &str| value[kind].as_str().map(str::to_owned);
        let value = text("S").map(AttributeValue::S).or_else(|| text("N").map(AttributeValue::N))?;
        Some((name.clone(), value))
    };
    Some(image.as_object()?.iter().filter_map(attribute).collect())
}

/// When the table was written, to the second.
fn written_at(record: &Value) -> Result<Timestamp, PortError> {
    let seconds = record["ApproximateCreationDateTime"].as_f64().filter(|seconds| seconds.is_finite());
    #[expect(clippy::cast_possible_truncation, reason = "seconds of this century; the fraction is not kept")]
    let millis = seconds.map(|seconds| seconds as i64).and_then(|seconds| seconds.checked_mul(1_000));
    millis
        .and_then(Timestamp::from_millis)
        .ok_or_else(|| damaged(READ, "a record of the stream does not say when it was written"))
}
