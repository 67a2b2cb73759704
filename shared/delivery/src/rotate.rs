//! Rotating a recipient's token: a new link first, and only then an end for the tokens of before.
//!
//! Begun, mailed, ended: each is done once for a rotation, and a rotation that stopped anywhere is gone on with. Whoever
//! held a token holds it until its end, and has the new link before.

use std::fmt;

use crate::change::{audited, classify, find, refused};
use crate::connector::Connector;
use crate::failure::{FailureCode, StepError};
use crate::ids::ConnectorId;
use crate::lifecycle::{Action, Actor, RotationWish};
use crate::ports::{Clock, ConnectorStore, Invitation, Inviter};
use crate::provision::send_invitation;

/// What beginning a rotation needs of the world.
#[derive(Clone, Copy)]
pub struct Rotating<'a> {
    /// Where connectors are kept.
    pub connectors: &'a dyn ConnectorStore,
    /// Sends links.
    pub inviter: &'a dyn Inviter,
    /// The time.
    pub clock: &'a dyn Clock,
}

impl fmt::Debug for Rotating<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rotating")
    }
}

/// Begins a rotation, or goes on with the one that is under way, and sends its link unless that was done.
///
/// # Errors
///
/// Codes of phase `lifecycle`, `CONNECTOR_NOT_FOUND`, `CONNECTOR_REVOKED`, and `INVITATION_REFUSED`.
pub async fn rotate(
    ports: Rotating<'_>,
    id: &ConnectorId,
    wish: RotationWish,
    actor: &Actor,
) -> Result<Connector, StepError> {
    let mut connector = find(ports.connectors, id).await?;
    if connector.recipient.token().is_none() {
        return Err(StepError::new(
            FailureCode::RotationUnsupported,
            "the recipient reads in its own metastore, without a token; there is nothing to rotate",
        ));
    }
    let mut invitation = ports.inviter.invitation(&connector).await.map_err(classify)?;
    if let Some(rotated) = connector.rotated(wish, invitation, ports.clock.now()).map_err(refused)? {
        audited(ports.connectors, ports.clock, &connector, &rotated, Action::RotateToken, actor).await?;
        invitation = Invitation::Unsent;
        connector = rotated;
    }
    if invitation == Invitation::Unsent {
        send_invitation(ports.inviter, ports.clock, &connector, classify).await?;
    }
    Ok(connector)
}
