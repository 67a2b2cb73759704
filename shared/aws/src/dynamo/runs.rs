//! Recorded runs, and the connectors of a team.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use delivery::connector::ConnectorState;
use delivery::ids::{ConnectorId, DeliveryKey, RunKey, TeamId};
use delivery::ports::{PortError, Recorded, RunOrigin, RunStore, TeamConnector};
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

/// Is on the record of a run that a backfill found, and says when.
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

    async fn record_run(&self, run: &Run, connectors: &[ConnectorId], now: Timestamp) -> Result<Recorded, PortError> {
        if connectors.len() > CONNECTORS_MAX {
            let source =
                format!("the team has {} connectors in scope; {CONNECTORS_MAX} is the limit", connectors.len());
            return Err(damaged(RECORD, source));
        }
        let mut writes = vec![run_item(run, connectors, now)?, history_item(run, RunOrigin::Announced, None, now)];
        writes.extend(connectors.iter().map(|connector| {
            deliveries::accepted(&DeliveryKey { connector: connector.clone(), run: run.key.clone() }, now)
        }));
        match self.transact(RECORD, writes).await? {
            Transacted::Done => Ok(Recorded::New),
            Transacted::Refused(met) => match met.into_iter().next() {
                Some(Met::Condition(Some(item))) if item.contains_key(FOUND) => Ok(Recorded::Found),
                Some(Met::Condition(Some(item))) => Ok(Recorded::Before { connectors: recorded_connectors(&item)? }),
                Some(Met::Condition(None) | Met::Nothing) | None => {
                    Err(damaged(RECORD, "the table refused the record and did not say what is there"))
                }
            },
        }
    }

    async fn recorded_run(&self, key: &RunKey) -> Result<Option<Run>, PortError> {
        let Some(item) = self.get(READ, Key::run(key)).await? else { return Ok(None) };
        let record = Attributes::of(&item, READ).text("record")?;
        run_record::read(record).map(Some).map_err(|error| damaged(READ, error))
    }
}

pub(super) fn run_item(run: &Run, connectors: &[ConnectorId], now: Timestamp) -> Result<Write, PortError> {
    Ok(Write::put(Key::run(&run.key), run_attributes(run, connectors, now)?).when_new())
}

/// The record of a run that a backfill found, which is nobody's live delivery.
pub(super) fn found_item(run: &Run, now: Timestamp) -> Result<Write, PortError> {
    let [record, finished_at, accepted_at, connectors] = run_attributes(run, &[], now)?;
    let attributes = [record, finished_at, accepted_at, connectors, (FOUND, instant(now))];
    Ok(Write::put(Key::run(&run.key), attributes).when_new())
}

fn run_attributes(
    run: &Run,
    connectors: &[ConnectorId],
    now: Timestamp,
) -> Result<[(&'static str, AttributeValue); 4], PortError> {
    let record = run_record::write(run).map_err(|error| damaged(RECORD, error))?;
    Ok([
        ("record", text(&record)),
        ("finished_at", instant(run.finished_at)),
        ("accepted_at", instant(now)),
        ("connectors", list(connectors.iter().map(ConnectorId::as_str))),
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

pub(super) fn recorded_connectors(item: &Item) -> Result<Vec<ConnectorId>, PortError> {
    Attributes::of(item, RECORD).list("connectors", |id| ConnectorId::new(id).ok())
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
