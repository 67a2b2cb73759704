//! Changing a connector that was set up: disable, enable, revoke, and the end of tokens that were rotated.
//!
//! The rules are [`crate::lifecycle`]'s. Knows their order towards the sharing backend: a recipient's access goes before
//! the connector says so, and so nobody reads from a connector that is said to be revoked.

use crate::connector::Connector;
use crate::failure::{FailureCode, StepError};
use crate::ids::ConnectorId;
use crate::lifecycle::{Action, Actor, AuditEntry, Changed, Refusal};
use crate::ports::{Clock, ConnectorStore, PortError, PortErrorKind, RecipientBackend, RunStore};
use crate::share;
use crate::team::check_room;

/// What changing a connector needs of the world.
#[derive(Clone, Copy)]
pub struct Changing<'a> {
    /// Where connectors are kept.
    pub connectors: &'a dyn ConnectorStore,
    /// Where a team's connectors are counted.
    pub runs: &'a dyn RunStore,
    /// Who reads.
    pub recipients: &'a dyn RecipientBackend,
    /// The time.
    pub clock: &'a dyn Clock,
}

impl std::fmt::Debug for Changing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Changing")
    }
}

/// Stops a connector from taking anything new.
///
/// # Errors
///
/// Codes of phase `lifecycle`, and `CONNECTOR_NOT_FOUND` or `CONNECTOR_REVOKED`.
pub async fn disable(ports: Changing<'_>, id: &ConnectorId, actor: &Actor) -> Result<Connector, StepError> {
    let connector = find(ports.connectors, id).await?;
    let after = connector.disabled(ports.clock.now()).map_err(refused)?;
    write(ports, connector, after, Action::Disable, actor).await
}

/// Has a connector take data again, in the state that it was disabled in.
///
/// # Errors
///
/// Codes of phase `lifecycle`, and `CONNECTOR_NOT_FOUND`, `CONNECTOR_REVOKED` or `TEAM_FULL`.
pub async fn enable(ports: Changing<'_>, id: &ConnectorId, actor: &Actor) -> Result<Connector, StepError> {
    let connector = find(ports.connectors, id).await?;
    let after = connector.enabled().map_err(refused)?;
    if after.is_some() {
        check_room(ports.runs, &connector, classify).await?;
    }
    write(ports, connector, after, Action::Enable, actor).await
}

/// Takes a connector's recipient its access, then marks the connector as revoked. Deletes no data.
///
/// The access goes twice: before the mark, so that nobody reads from what is said to be revoked, and behind it, because
/// a set-up that began before the mark may have opened the share again in between.
///
/// # Errors
///
/// Codes of phase `lifecycle`, and `CONNECTOR_NOT_FOUND`.
pub async fn revoke(ports: Changing<'_>, id: &ConnectorId, actor: &Actor) -> Result<Connector, StepError> {
    let connector = find(ports.connectors, id).await?;
    ports.recipients.revoke(&connector, ports.clock.now()).await.map_err(classify)?;
    let Some(revoked) = connector.revoked() else { return Ok(connector) };
    audited(ports.connectors, ports.clock, &connector, &revoked, Action::Revoke, actor).await?;
    ports.recipients.revoke(&revoked, ports.clock.now()).await.map_err(classify)?;
    Ok(revoked)
}

/// Has the tokens of before a connector's newest rotation end when it says.
///
/// # Errors
///
/// Codes of phase `lifecycle`, and `CONNECTOR_NOT_FOUND`.
pub async fn end_tokens(ports: Changing<'_>, id: &ConnectorId) -> Result<Connector, StepError> {
    let connector = find(ports.connectors, id).await?;
    if let Some(rotation) = connector.rotation {
        let now = ports.clock.now();
        let left = (rotation.tokens_end_at.seconds() - now.seconds()).max(0);
        let overlap = u32::try_from(left).unwrap_or(u32::MAX);
        ports.recipients.expire_tokens(&connector, overlap, now).await.map_err(classify)?;
    }
    Ok(connector)
}

async fn write(
    ports: Changing<'_>,
    before: Connector,
    after: Option<Connector>,
    action: Action,
    actor: &Actor,
) -> Result<Connector, StepError> {
    let Some(after) = after else { return Ok(before) };
    audited(ports.connectors, ports.clock, &before, &after, action, actor).await?;
    Ok(after)
}

/// A connector that is there.
pub(crate) async fn find(connectors: &dyn ConnectorStore, id: &ConnectorId) -> Result<Connector, StepError> {
    let missing =
        || StepError::new(FailureCode::ConnectorNotFound, "the connector does not exist; start SetupConnector first");
    connectors.connector(id).await.map_err(classify)?.ok_or_else(missing)
}

/// Writes a change and its entry of the audit.
pub(crate) async fn audited(
    connectors: &dyn ConnectorStore,
    clock: &dyn Clock,
    before: &Connector,
    after: &Connector,
    action: Action,
    actor: &Actor,
) -> Result<(), StepError> {
    let entry = AuditEntry { at: clock.now(), action, actor: actor.clone() };
    match connectors.change_connector(Some(before), after, &entry).await.map_err(classify)? {
        Changed::Now => Ok(()),
        Changed::Outdated => Err(StepError::new(
            FailureCode::ChangeConflict,
            "the connector was changed by somebody else at this moment; the step begins again",
        )),
    }
}

pub(crate) fn refused(refusal: Refusal) -> StepError {
    match refusal {
        Refusal::Provisioning => StepError::new(
            FailureCode::ChangeRefused,
            "the connector is still being set up; start SetupConnector again, and then this",
        ),
        Refusal::Revoked => StepError::new(
            FailureCode::ConnectorRevoked,
            "the connector was revoked; set it up anew with SetupConnector",
        ),
    }
}

pub(crate) fn classify(error: PortError) -> StepError {
    let error = match share::refused(error) {
        Ok(refused) => return refused,
        Err(error) => error,
    };
    let (code, message) = match error.kind {
        PortErrorKind::Denied => (FailureCode::ChangeDenied, "the function's role lacks a permission"),
        PortErrorKind::Throttled
        | PortErrorKind::Unavailable
        | PortErrorKind::NotFound
        | PortErrorKind::InvalidData => {
            (FailureCode::ChangeUnavailable, "the state table or the sharing backend did not answer")
        }
    };
    StepError::caused(code, message, error)
}
