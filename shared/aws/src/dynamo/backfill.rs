//! The history of a team, and how far a backfill is.

use async_trait::async_trait;
use delivery::backfill::BackfillId;
use delivery::failure::FailureCode;
use delivery::ids::{ConnectorId, DeliveryKey, RunId, RunKey, TeamId, WorkflowId};
use delivery::ports::{
    BackfillNote, BackfillStore, DeliverySummary, FoundBy, FoundRun, Known, PortError, RecordedRun, RunOrigin,
};
use delivery::schema::Fingerprint;
use delivery::state::DeliveryState;
use delivery::timestamp::Timestamp;

use super::expression::Write;
use super::item::{Attributes, Item, Key, instant, number, text};
use super::outbox::{PUT_BYTES_MAX, PUT_ROWS_MAX};
use super::runs::{found_item, history_item};
use super::{DynamoStore, PAGES_MAX, damaged};
use crate::failure::port_error;

const HISTORY: &str = "list the team's recorded runs";
const RECORDED: &str = "read which runs are recorded";
const FOUND: &str = "record runs that were found";
const DELIVERIES: &str = "read what became of deliveries";
const NOTE: &str = "note how far a backfill is";

#[async_trait]
impl BackfillStore for DynamoStore {
    async fn history(&self, team: &TeamId, after: Option<&str>, max: usize) -> Result<Vec<RecordedRun>, PortError> {
        let begin = Key::history_of(team);
        let mut runs = Vec::new();
        let mut from = after.map(|place| Key { pk: begin.pk.clone(), sk: place.to_owned() }.attributes());
        for _ in 0..PAGES_MAX {
            let limit = i32::try_from(max.saturating_sub(runs.len())).unwrap_or(i32::MAX);
            let answer = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("pk = :pk")
                .expression_attribute_values(":pk", text(&begin.pk))
                .consistent_read(true)
                .limit(limit)
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(|error| port_error(HISTORY, error))?;
            for item in answer.items() {
                runs.push(read_history(item)?);
            }
            from = answer.last_evaluated_key;
            if from.is_none() || runs.len() >= max {
                return Ok(runs);
            }
        }
        Err(damaged(HISTORY, format!("the list has more than {PAGES_MAX} pages")))
    }

    async fn recorded(&self, runs: &[RunKey]) -> Result<Vec<Known>, PortError> {
        let keys: Vec<_> = runs.iter().map(Key::run).collect();
        let found = self.get_many_of(RECORDED, &keys, Some("pk, sk, found_by")).await?;
        let known = |item: &Option<Item>| {
            let Some(item) = item else { return Ok(Known::No) };
            let by = Attributes::of(item, RECORDED).optional_text("found_by")?;
            Ok(Known::Yes(by.map(FoundBy::from_stored)))
        };
        found.iter().map(known).collect()
    }

    async fn record_found(&self, runs: &[FoundRun], by: &FoundBy, now: Timestamp) -> Result<(), PortError> {
        let (mut some, mut some_bytes) = (Vec::new(), 0);
        for found in runs {
            let run = found_item(&found.run, by, now)?;
            let run_bytes = run.text_bytes();
            if some.len() == PUT_ROWS_MAX || (some_bytes + run_bytes > PUT_BYTES_MAX && !some.is_empty()) {
                self.write_pairs(FOUND, std::mem::take(&mut some)).await?;
                some_bytes = 0;
            }
            some_bytes += run_bytes;
            some.push((run, history_item(&found.run, RunOrigin::Found, Some(found.bytes), now)));
        }
        self.write_pairs(FOUND, some).await
    }

    async fn deliveries(
        &self,
        connector: &ConnectorId,
        runs: &[RunKey],
    ) -> Result<Vec<Option<DeliverySummary>>, PortError> {
        let key = |run: &RunKey| Key::delivery(&DeliveryKey { connector: connector.clone(), run: run.clone() });
        let keys: Vec<_> = runs.iter().map(key).collect();
        let found = self.get_many(DELIVERIES, &keys).await?;
        found.iter().map(|item| item.as_ref().map(read_summary).transpose()).collect()
    }

    async fn note_backfill(
        &self,
        connector: &ConnectorId,
        backfill: &BackfillId,
        note: &BackfillNote,
        now: Timestamp,
    ) -> Result<(), PortError> {
        self.update(NOTE, noted(connector, backfill, note, now)).await?;
        Ok(())
    }
}

pub(super) fn noted(connector: &ConnectorId, backfill: &BackfillId, note: &BackfillNote, now: Timestamp) -> Write {
    let write = Write::update(Key::backfill(connector, backfill))
        .set("phase", text(note.phase.as_str()))
        .set("pages", number(note.pages))
        .set("started_at", instant(note.started_at))
        .set("updated_at", instant(now));
    note.counts.named().into_iter().fold(write, |write, (name, count)| write.set(name, number(count)))
}

pub(super) fn origin_text(origin: RunOrigin) -> &'static str {
    match origin {
        RunOrigin::Announced => "announced",
        RunOrigin::Found => "found",
    }
}

pub(super) fn read_history(item: &Item) -> Result<RecordedRun, PortError> {
    let attributes = Attributes::of(item, HISTORY);
    Ok(RecordedRun {
        workflow: attributes.read("workflow_id", |id| WorkflowId::new(id).ok())?,
        run: attributes.read("run_id", |id| RunId::new(id).ok())?,
        finished_at: attributes.instant("finished_at")?,
        accepted_at: attributes.instant("accepted_at")?,
        origin: attributes.read("origin", |text| {
            [RunOrigin::Announced, RunOrigin::Found].into_iter().find(|origin| origin_text(*origin) == text)
        })?,
        fingerprint: attributes.optional_text("fingerprint")?.map(Fingerprint::from_stored),
        bytes: attributes.optional_number("bytes")?,
        place: attributes.text("sk")?.to_owned(),
    })
}

fn read_summary(item: &Item) -> Result<DeliverySummary, PortError> {
    let attributes = Attributes::of(item, DELIVERIES);
    Ok(DeliverySummary {
        state: attributes.read("state", DeliveryState::parse)?,
        code: attributes.optional_text("code")?.and_then(FailureCode::parse),
    })
}
