//! Tokens that the workspace makes: when they end, and where they are downloaded.
//!
//! The API ends a token early only by making the next one. So a rotation's new token and the end of the ones before are
//! one call, made when the rotation's link is sent; and the newest token of a recipient may be one that nobody was told
//! of: it waits for the next invitation, and opens nothing while nothing is granted. Which token's URL was sent, and by
//! which rotation, is noted on the recipient; the URL itself is never kept, and never opened here.

use async_trait::async_trait;
use delivery::connector::Connector;
use delivery::ports::{CredentialUrl, HostedCredentials, Invitation, PortError, WaitingCredential};
use delivery::timestamp::Timestamp;

use super::{BackendError, Reader, UnityCatalogBackend};
use crate::names::{INVITED_PROPERTY, RESERVED_PROPERTIES, ROTATION_PROPERTY};
use crate::recipients::{Recipient, RecipientToken};

/// How much later than planned tokens of before may end, in seconds. The workspace counts an overlap from when it
/// answers, in whole seconds; the plan counts from when the clock was read, which was before that by the requests
/// between, their attempts and their waits.
const ROTATION_GRACE_SECONDS: i64 = 120;

const ROTATE: &str = "rotate a recipient's token";
const INVITE: &str = "find the URL of a recipient's token";

impl RecipientToken {
    fn lives_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| now < at)
    }
}

/// The newest token, if it can be downloaded.
fn newest(recipient: &Recipient, now: Timestamp) -> Option<&RecipientToken> {
    recipient.tokens.last().filter(|token| token.activation.is_some() && token.lives_at(now))
}

/// Whether nobody was told of a token.
fn is_unsent(recipient: &Recipient, token: &RecipientToken) -> bool {
    recipient.properties.get(INVITED_PROPERTY) != Some(&token.id)
}

/// The rotation that the newest token of which somebody was told came by.
fn rotation(recipient: &Recipient) -> u32 {
    recipient.properties.get(ROTATION_PROPERTY).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Whether a recipient has a token that nobody was told of, and every other ends as a rotation with this overlap has it
/// end.
fn waits_alone(recipient: &Recipient, now: Timestamp, ends: Timestamp, overlap_seconds: u32) -> bool {
    // Without an overlap they are to have ended by now, and the workspace takes another rotation at any time.
    let ends = if overlap_seconds > 0 { ends.plus_seconds(ROTATION_GRACE_SECONDS) } else { ends };
    let waiting = newest(recipient, now).filter(|token| is_unsent(recipient, token));
    waiting.is_some_and(|waiting| {
        recipient.tokens.iter().filter(|token| token.id != waiting.id).all(|token| !token.lives_at(ends))
    })
}

impl UnityCatalogBackend {
    /// The connector's token recipient, if it is there and ours.
    async fn hosted(&self, connector: &Connector) -> Result<Option<Recipient>, PortError> {
        let reader = Reader::of(connector, self.workspace.now());
        let found = self.find_recipient(&connector.id, &reader).await?;
        Ok(found.filter(|recipient| self.is_ours(recipient, &connector.id, &reader)))
    }

    /// Has every token that somebody was told of end, `overlap_seconds` from `now` at the latest, and leaves one that
    /// waits. An attempt after one whose answer was lost finds its token and makes no other.
    pub(super) async fn end_tokens(
        &self,
        connector: &Connector,
        overlap_seconds: u32,
        now: Timestamp,
    ) -> Result<(), PortError> {
        let Some(recipient) = self.hosted(connector).await? else { return Ok(()) };
        if waits_alone(&recipient, now, now.plus_seconds(i64::from(overlap_seconds)), overlap_seconds) {
            return Ok(());
        }
        self.rotate(&recipient, overlap_seconds).await.map(drop)
    }

    /// Has the tokens of before the connector's newest rotation end, if its link was not sent yet: sending it ends them.
    pub(super) async fn end_tokens_of_before(
        &self,
        connector: &Connector,
        overlap_seconds: u32,
        now: Timestamp,
    ) -> Result<(), PortError> {
        let sent = match self.hosted(connector).await? {
            Some(recipient) => rotation(&recipient) >= connector.rotation_number(),
            None => true,
        };
        if sent { Ok(()) } else { self.end_tokens(connector, overlap_seconds, now).await }
    }

    /// Makes a new token.
    async fn rotate(&self, recipient: &Recipient, overlap_seconds: u32) -> Result<RecipientToken, PortError> {
        let rotated = self.workspace.rotate_token(&recipient.name, overlap_seconds).await?;
        // The new token is the one that was not there, wherever it stands in the list.
        let is_new = |token: &RecipientToken| recipient.tokens.iter().all(|old| old.id != token.id);
        rotated.tokens.into_iter().find(is_new).ok_or_else(|| BackendError::NoActivation.during(ROTATE))
    }
}

#[async_trait]
impl HostedCredentials for UnityCatalogBackend {
    async fn invitation(&self, connector: &Connector) -> Result<Invitation, PortError> {
        let Some(recipient) = self.hosted(connector).await? else { return Ok(Invitation::Unsent) };
        let told = rotation(&recipient) >= connector.rotation_number();
        Ok(match recipient.tokens.last() {
            Some(token) if told && token.activation.is_none() => Invitation::Used,
            Some(token) if told && token.lives_at(self.workspace.now()) && !is_unsent(&recipient, token) => {
                Invitation::Open
            }
            Some(_) | None => Invitation::Unsent,
        })
    }

    async fn waiting(&self, connector: &Connector, now: Timestamp) -> Result<WaitingCredential, PortError> {
        let mut recipient = self.hosted(connector).await?.ok_or_else(|| BackendError::NoRecipient.during(INVITE))?;
        let begun = connector.rotation.filter(|begun| rotation(&recipient) < begun.number);
        let ends = begun.map_or(now, |begun| begun.tokens_end_at.max(now));
        let overlap = u32::try_from(ends.seconds() - now.seconds()).unwrap_or(0);
        let there = match begun {
            Some(_) => waits_alone(&recipient, now, ends, overlap),
            None => newest(&recipient, now).is_some(),
        };
        let (name, sent) = (recipient.name.clone(), recipient.properties.get(INVITED_PROPERTY).cloned());
        let token = if there { recipient.tokens.pop() } else { Some(self.rotate(&recipient, overlap).await?) };
        let token = token.ok_or_else(|| BackendError::NoActivation.during(INVITE))?;
        let url = token.activation.ok_or_else(|| BackendError::NoActivation.during(INVITE))?;
        let mut expires_at = token.expires_at;
        // Its life is the connector's from now on, whenever it was made; once it is sent it stays as it was told.
        if let Reader::Token { expires_at: wanted, .. } = Reader::of(connector, now)
            && sent.as_ref() != Some(&token.id)
            && expires_at != Some(wanted)
        {
            self.workspace.set_expiration(&name, wanted).await?;
            expires_at = Some(wanted);
        }
        Ok(WaitingCredential { token: token.id, url: CredentialUrl::new(url.reveal()), expires_at })
    }

    async fn sent(&self, connector: &Connector, token: &str) -> Result<(), PortError> {
        let recipient = self.hosted(connector).await?.ok_or_else(|| BackendError::NoRecipient.during(INVITE))?;
        // Properties are replaced as a whole, all but the workspace's own, which it takes from nobody.
        let mut properties = recipient.properties;
        properties.retain(|key, _| !key.starts_with(RESERVED_PROPERTIES));
        properties.insert(INVITED_PROPERTY.to_owned(), token.to_owned());
        properties.insert(ROTATION_PROPERTY.to_owned(), connector.rotation_number().to_string());
        Ok(self.workspace.set_properties(&recipient.name, &properties).await?)
    }
}
