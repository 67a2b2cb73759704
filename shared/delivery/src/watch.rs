//! Watching over connectors: whose token ends soon is warned, once for each of 30, 7 and 1 days.
//!
//! The e-mail goes first and its note after: a process that ends between may warn twice, and never not at all.

use std::fmt;

use crate::connector::{Connector, ConnectorState, Rotation};
use crate::failure::{FailureCode, StepError};
use crate::ids::ConnectorId;
use crate::lifecycle::LINK_LIFE_SECONDS;
use crate::ports::{
    Clock, ConnectorStore, ExpiryNotice, NextToken, PortError, PortErrorKind, TokenWatch, WatchedToken,
};
use crate::timestamp::Timestamp;

/// How many days before a token's end its recipient is warned.
pub const WARNING_DAYS: [u16; 3] = [30, 7, 1];

/// Tokens that end within so many days are counted.
pub const EXPIRING_DAYS: u16 = 7;

const SECONDS_PER_DAY: i64 = 86_400;

/// What watching over tokens needs of the world.
#[derive(Clone, Copy)]
pub struct Watching<'a> {
    /// Where connectors are kept.
    pub connectors: &'a dyn ConnectorStore,
    /// The recipients' tokens.
    pub tokens: &'a dyn TokenWatch,
    /// Tells recipients.
    pub notice: &'a dyn ExpiryNotice,
    /// The time.
    pub clock: &'a dyn Clock,
}

impl fmt::Debug for Watching<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watching")
    }
}

/// What was seen of a connector's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokensSeen {
    /// Tokens in use that end within [`EXPIRING_DAYS`].
    pub expiring: u32,
    /// Warnings that were due now.
    pub warnings: u32,
    /// Warnings among them that the mail service refused for good. They are noted as given, so that the operator's
    /// event about them leaves.
    pub refused: u32,
}

impl WatchedToken {
    /// Within how many days the token ends, if its recipient has to be warned of that now. A threshold that the token's
    /// whole life is within is none: it would warn of every new token.
    #[must_use]
    pub fn warning_due(&self, now: Timestamp) -> Option<u16> {
        let days = |days: u16| i64::from(days) * SECONDS_PER_DAY;
        let left = self.expires_at.seconds() - now.seconds();
        let life = self.made_at.map_or(i64::MAX, |made_at| self.expires_at.seconds() - made_at.seconds());
        let reached = |threshold: &u16| left > 0 && left <= days(*threshold) && days(*threshold) < life;
        let nearest = WARNING_DAYS.into_iter().filter(reached).min()?;
        self.warned_days.is_none_or(|warned| warned > nearest).then_some(nearest)
    }

    /// How the token's recipient comes to the next one. A rotation has the token end soon, and has sent a link before.
    #[must_use]
    pub fn next(&self, connector: &Connector, now: Timestamp) -> NextToken {
        let link_is_out =
            |newest: Rotation| newest.number > self.rotation && now < newest.began_at.plus_seconds(LINK_LIFE_SECONDS);
        if connector.rotation.is_some_and(link_is_out) { NextToken::LinkSent } else { NextToken::OnRequest }
    }

    /// Whether the token ends within [`EXPIRING_DAYS`] and has not ended.
    #[must_use]
    pub fn is_expiring(&self, now: Timestamp) -> bool {
        let left = self.expires_at.seconds() - now.seconds();
        left > 0 && left <= i64::from(EXPIRING_DAYS) * SECONDS_PER_DAY
    }
}

/// The connector of an id, if its recipient may read.
///
/// # Errors
///
/// `WATCH_UNAVAILABLE`.
pub async fn watched(connectors: &dyn ConnectorStore, id: &ConnectorId) -> Result<Option<Connector>, StepError> {
    let connector = connectors.connector(id).await.map_err(classify)?;
    Ok(connector.filter(|connector| connector.state != ConnectorState::Revoked))
}

/// Warns a connector's recipient of tokens that end soon. A token is no concern any more when the recipient has one of a
/// later rotation; as long as the link of a rotation was not used, the one of before is what it reads by.
///
/// # Errors
///
/// `WATCH_UNAVAILABLE`; what was not done is done the next time.
pub async fn watch_tokens(ports: Watching<'_>, connector: &Connector) -> Result<TokensSeen, StepError> {
    let now = ports.clock.now();
    let mut seen = TokensSeen::default();
    let tokens = ports.tokens.tokens(&connector.id).await.map_err(classify)?;
    let newest_rotation = tokens.iter().map(|token| token.rotation).max();
    for token in tokens {
        if Some(token.rotation) < newest_rotation {
            continue;
        }
        seen.expiring += u32::from(token.is_expiring(now));
        let Some(days) = token.warning_due(now) else { continue };
        match ports.notice.warn(connector, token.expires_at, token.next(connector, now)).await {
            Ok(()) => {}
            Err(error) if error.kind == PortErrorKind::Denied => seen.refused += 1,
            Err(error) => return Err(classify(error)),
        }
        ports.tokens.warned(&connector.id, &token, days).await.map_err(classify)?;
        seen.warnings += 1;
    }
    Ok(seen)
}

/// The failure of watching. It comes again by the schedule.
pub fn classify(error: PortError) -> StepError {
    StepError::caused(
        FailureCode::WatchUnavailable,
        "the state table or the mail service did not answer; the next watch tries again",
        error,
    )
}
