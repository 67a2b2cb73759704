//! Accepting a run: record it, then start its execution.

use crate::failure::{FailureCode, StepError};
use crate::ids::ConnectorId;
use crate::ports::{DeliveryStarter, PortError, PortErrorKind, Recorded, RunStore, TableStore};
use crate::run::Announcement;
use crate::schema::PublicSchema;
use crate::timestamp::Timestamp;

/// The most connectors of one team: their deliveries are recorded with the run in one transaction, which holds 100
/// items.
pub const CONNECTORS_PER_TEAM_MAX: usize = 90;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Accepted {
    /// The run is not finished: acknowledged, nothing to do.
    NotFinished,
    /// Recorded; no connector wants it yet, so nothing was started.
    Unwanted,
    /// Recorded now, and its execution started.
    Started,
    /// Recorded before; its execution exists.
    Duplicate,
}

/// Records a finished run with a delivery for each connector in scope, and starts its execution. Doing it twice
/// does it once: the first record of a run says which connectors get it, and the execution's name is the run's.
///
/// A schema that is new to a connector gets its number here, so that numbers follow the order in which runs are
/// announced and not the time that each takes.
///
/// # Errors
///
/// `ACCEPT_UNAVAILABLE`: the message goes back to the queue.
pub async fn accept(
    runs: &dyn RunStore,
    tables: &dyn TableStore,
    starter: &dyn DeliveryStarter,
    announcement: Announcement,
    now: Timestamp,
) -> Result<Accepted, StepError> {
    let run = match announcement {
        Announcement::NotFinished { .. } => return Ok(Accepted::NotFinished),
        Announcement::Finished(run) => run,
    };
    let in_scope: Vec<ConnectorId> = runs
        .team_connectors(run.team())
        .await
        .map_err(classify)?
        .into_iter()
        .filter(|connector| connector.state.takes_data() && connector.workflows.contains(run.workflow()))
        .map(|connector| connector.id)
        .take(CONNECTORS_PER_TEAM_MAX)
        .collect();
    let (connectors, accepted) = match runs.record_run(&run, &in_scope, now).await.map_err(classify)? {
        Recorded::New => (in_scope, Accepted::Started),
        Recorded::Before { connectors } => (connectors, Accepted::Duplicate),
        // Its execution has one name however often it is announced, and what a backfill shared stays as it is.
        Recorded::Found => (in_scope, Accepted::Started),
    };
    if connectors.is_empty() {
        return Ok(Accepted::Unwanted);
    }
    // A schema that cannot be public is the staging's to refuse.
    if let (Accepted::Started, Ok(schema)) = (&accepted, PublicSchema::of(&run.fields)) {
        for connector in &connectors {
            tables.open_schema_version(connector, run.workflow(), &schema, now).await.map_err(classify)?;
        }
    }
    starter.start(&run.key, &connectors).await.map_err(classify)?;
    Ok(accepted)
}

fn classify(error: PortError) -> StepError {
    // A denied or garbled answer is tried again too: the queue counts the receives, and its dead-letter queue keeps
    // the message for after the fix.
    let advice = match error.kind {
        PortErrorKind::Throttled | PortErrorKind::Unavailable => "the message will be tried again",
        PortErrorKind::NotFound | PortErrorKind::Denied | PortErrorKind::InvalidData => {
            "the message will be tried again; check the function's role and the state table"
        }
    };
    StepError::caused(FailureCode::AcceptUnavailable, format!("the run could not be recorded; {advice}"), error)
}
