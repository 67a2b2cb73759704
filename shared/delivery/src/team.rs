//! The limit of a team's connectors.

use crate::connector::Connector;
use crate::failure::{FailureCode, StepError};
use crate::ports::{PortError, RunStore};

/// The most connectors of one team that are not revoked: the deliveries to those that take data are recorded with the
/// run in one transaction, which holds 100 items.
pub const CONNECTORS_PER_TEAM_MAX: usize = 90;

/// Refuses a connector that would be one too many among those of its team that are not revoked. Asked before a
/// connector is set up, and again, when its record is there, before it takes data: of two that are set up at once at
/// least the later one sees the other.
pub(crate) async fn check_room(
    runs: &dyn RunStore,
    connector: &Connector,
    classify: fn(PortError) -> StepError,
) -> Result<(), StepError> {
    let team = runs.team_connectors(&connector.team).await.map_err(classify)?;
    let others = team.iter().filter(|other| other.id != connector.id).count();
    if others < CONNECTORS_PER_TEAM_MAX { Ok(()) } else { Err(full()) }
}

pub(crate) fn full() -> StepError {
    StepError::new(
        FailureCode::TeamFull,
        format!(
            "the team has more connectors than {CONNECTORS_PER_TEAM_MAX} that are not revoked; revoke one of them, and \
             start again"
        ),
    )
}
