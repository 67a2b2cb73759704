//! Accepting a run: record it, then start its execution.

use crate::failure::{FailureCode, StepError};
use crate::ids::ConnectorId;
use crate::ports::{DeliveryStarter, PortError, PortErrorKind, Recorded, RunConnectors, RunStore, TableStore};
use crate::run::{Announcement, Run};
use crate::schema::PublicSchema;
use crate::team::{CONNECTORS_PER_TEAM_MAX, full};
use crate::timestamp::Timestamp;

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
/// A connector that takes no data when the list is read, and does once the run is recorded, gets it live: its catch-up
/// may have passed the run's place before the record. One that is enabled later finds the record when it catches up.
///
/// A schema that is new to a connector gets its number here, so that numbers follow the order in which runs are
/// announced and not the time that each takes.
///
/// # Errors
///
/// `ACCEPT_UNAVAILABLE`: the message goes back to the queue. `TEAM_FULL` if more connectors take the run than can be
/// recorded with it: nobody gets it.
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
    let in_scope = in_scope(runs, &run).await?;
    if in_scope.taken_by.len() > CONNECTORS_PER_TEAM_MAX {
        return Err(full());
    }
    let (recorded, accepted) = match runs.record_run(&run, &in_scope, now).await.map_err(classify)? {
        Recorded::New => (in_scope, Accepted::Started),
        Recorded::Before(in_scope) => (in_scope, Accepted::Duplicate),
    };
    let connectors = takers(runs, &run, recorded).await?;
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

async fn in_scope(runs: &dyn RunStore, run: &Run) -> Result<RunConnectors, StepError> {
    let mut in_scope = RunConnectors::default();
    for connector in runs.team_connectors(run.team()).await.map_err(classify)? {
        if connector.workflows.contains(run.workflow()) {
            let connectors =
                if connector.state.takes_data() { &mut in_scope.taken_by } else { &mut in_scope.missed_by };
            connectors.push(connector.id);
        }
    }
    Ok(in_scope)
}

/// The connectors that a recorded run is started for: those that it was recorded for, and those that take data now and
/// took none then. Has to be asked behind the record.
async fn takers(runs: &dyn RunStore, run: &Run, recorded: RunConnectors) -> Result<Vec<ConnectorId>, StepError> {
    let RunConnectors { mut taken_by, missed_by } = recorded;
    if !missed_by.is_empty() {
        let now = in_scope(runs, run).await?.taken_by;
        taken_by.extend(now.into_iter().filter(|connector| missed_by.contains(connector)));
    }
    Ok(taken_by)
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
