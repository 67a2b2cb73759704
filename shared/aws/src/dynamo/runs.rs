//! Recorded runs, and the connectors of a team.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use delivery::connector::ConnectorState;
use delivery::ids::{ConnectorId, DeliveryKey, RunKey, TeamId};
use delivery::ports::{FoundBy, PortError, Recorded, RunConnectors, RunOrigin, RunStore, TeamConnector};
use delivery::run::Run;
use delivery::schema::PublicSchema;
use delivery::timestamp::Timestamp;
use events::{connector_record, run_record};

use super::connectors::ACTIVITY_WANTED;
use super::expression::Write;
use super::item::{Attributes, Item, Key, instant, list, number, text};
use super::{DynamoStore, Met, Transacted, backfill, damaged, deliveries};

/// The most connectors of one run: a transaction has at most 100 writes, and two are the run's.
const CONNECTORS_MAX: usize = 90;

/// Is on the record of a run that a backfill found and that was not announced yet, and says when.
const FOUND: &str = "found_at";

const LIST: &str = "list the team's connectors";
const RECORD: &str = "record the run";
const READ: &str = "read the run's record";

#[async_trait]
impl RunStore for DynamoStore {
    async fn team_connectors(&self, team: &TeamId) -> Result<Vec<TeamConnector>, PortError> {
        let items = self.list(LIST, Key::team_entry(team.as_str(), "")).await?;
        items.iter().filter_map(|item| team_connector(item).transpose()).collect()
    }

    async fn record_run(&self, run: &Run, connectors: &RunConnectors, now: Timestamp) -> Result<Recorded, PortError> {
        let takers = connectors.taken_by.len();
        if takers > CONNECTORS_MAX {
            let source = format!("{takers} connectors of the team take the run; {CONNECTORS_MAX} is the limit");
            return Err(damaged(RECORD, source));
        }
        let record = [run_item(run, connectors, now)?, history_item(run, RunOrigin::Announced, None, now)];
        let Some(known) = self.record(run, record, connectors, now).await? else { return Ok(Recorded::New) };
        if !known.contains_key(FOUND) {
            return recorded_connectors(&known).map(Recorded::Before);
        }
        // Its place in the history is by its record, whatever the message says.
        let finished_at = Attributes::of(&known, RECORD).instant("finished_at")?;
        let announced = announced_items(&run.key, finished_at, connectors, now);
        let Some(known) = self.record(run, announced, connectors, now).await? else { return Ok(Recorded::New) };
        recorded_connectors(&known).map(Recorded::Before)
    }

    async fn recorded_run(&self, key: &RunKey) -> Result<Option<Run>, PortError> {
        let Some(item) = self.get(READ, Key::run(key)).await? else { return Ok(None) };
        let record = Attributes::of(&item, READ).text("record")?;
        run_record::read(record).map(Some).map_err(|error| damaged(READ, error))
    }
}

impl DynamoStore {
    /// Writes a run's record and history with its deliveries; the record that is there if the first write is refused.
    async fn record(
        &self,
        run: &Run,
        record: [Write; 2],
        connectors: &RunConnectors,
        now: Timestamp,
    ) -> Result<Option<Item>, PortError> {
        let accepted = connectors.taken_by.iter().map(|connector| {
            deliveries::accepted(&DeliveryKey { connector: connector.clone(), run: run.key.clone() }, now)
        });
        match self.transact(RECORD, record.into_iter().chain(accepted).collect()).await? {
            Transacted::Done => Ok(None),
            Transacted::Refused(met) => match met.into_iter().next() {
                Some(Met::Condition(Some(item))) => Ok(Some(item)),
                Some(Met::Condition(None) | Met::Nothing) | None => {
                    Err(damaged(RECORD, "the table refused the record and did not say what is there"))
                }
            },
        }
    }
}

pub(super) fn run_item(run: &Run, connectors: &RunConnectors, now: Timestamp) -> Result<Write, PortError> {
    Ok(Write::put(Key::run(&run.key), run_attributes(run, connectors, now)?).when_new())
}

/// The record of a run that a backfill found, which is nobody's live delivery.
pub(super) fn found_item(run: &Run, by: &FoundBy, now: Timestamp) -> Result<Write, PortError> {
    let [record, finished_at, accepted_at, connectors, missed_by] =
        run_attributes(run, &RunConnectors::default(), now)?;
    let (found_at, found_by) = ((FOUND, instant(now)), ("found_by", text(by.as_str())));
    let attributes = [record, finished_at, accepted_at, connectors, missed_by, found_at, found_by];
    Ok(Write::put(Key::run(&run.key), attributes).when_new())
}

/// What the first announcement makes of a run that was found: its record and its entry in the history.
pub(super) fn announced_items(
    run: &RunKey,
    finished_at: Timestamp,
    connectors: &RunConnectors,
    now: Timestamp,
) -> [Write; 2] {
    let record = Write::update(Key::run(run))
        .set("accepted_at", instant(now))
        .set("connectors", ids(&connectors.taken_by))
        .set("missed_by", ids(&connectors.missed_by))
        .remove(FOUND)
        .when("attribute_exists(#found_at)");
    let entry = Write::update(Key::history(run, finished_at))
        .set("accepted_at", instant(now))
        .set("origin", text(backfill::origin_text(RunOrigin::Announced)))
        .when("attribute_exists(#pk)");
    [record, entry]
}

fn ids(connectors: &[ConnectorId]) -> AttributeValue {
    list(connectors.iter().map(ConnectorId::as_str))
}

fn run_attributes(
    run: &Run,
    connectors: &RunConnectors,
    now: Timestamp,
) -> Result<[(&'static str, AttributeValue); 5], PortError> {
    let record = run_record::write(run).map_err(|error| damaged(RECORD, error))?;
    Ok([
        ("record", text(&record)),
        ("finished_at", instant(run.finished_at)),
        ("accepted_at", instant(now)),
        ("connectors", ids(&connectors.taken_by)),
        ("missed_by", ids(&connectors.missed_by)),
    ])
}

/// A run's entry in the history of its team: what a backfill plans by, without its record.
pub(super) fn history_item(run: &Run, origin: RunOrigin, bytes: Option<u64>, now: Timestamp) -> Write {
    let write = Write::update(Key::history(&run.key, run.finished_at))
        .set("workflow_id", text(run.key.workflow.as_str()))
        .set("run_id", text(run.key.run.as_str()))
        .set("finished_at", instant(run.finished_at))
        .set("accepted_at", instant(now))
        .set("origin", text(backfill::origin_text(origin)));
    let write = match PublicSchema::of(&run.fields) {
        Ok(schema) => write.set("fingerprint", text(schema.fingerprint().as_str())),
        // Nothing of it may be shared, which the staging or the plan says.
        Err(_) => write,
    };
    match bytes {
        Some(bytes) => write.set("bytes", number(bytes)),
        None => write,
    }
}

pub(super) fn recorded_connectors(item: &Item) -> Result<RunConnectors, PortError> {
    let attributes = Attributes::of(item, RECORD);
    let ids = |name| attributes.list(name, |id| ConnectorId::new(id).ok());
    // A record that was written before this was noted does not say who missed the run.
    let missed_by = if item.contains_key("missed_by") { ids("missed_by")? } else { Vec::new() };
    Ok(RunConnectors { taken_by: ids("connectors")?, missed_by })
}

/// A team's entry of a connector, unless it is revoked.
pub(super) fn team_connector(item: &Item) -> Result<Option<TeamConnector>, PortError> {
    let attributes = Attributes::of(item, LIST);
    let state = attributes.read("state", ConnectorState::parse)?;
    if state == ConnectorState::Revoked {
        return Ok(None);
    }
    let workflows = attributes.read("workflows", |scope| connector_record::read_scope(scope).ok())?;
    // An entry that was written before there was activity says nothing, which may mean "unwanted": setting the
    // connector up again makes it say so.
    let activity_log = item.contains_key("activity_log") && attributes.text("activity_log")? == ACTIVITY_WANTED;
    Ok(Some(TeamConnector { id: attributes.connector_id()?, state, workflows, activity_log }))
}
