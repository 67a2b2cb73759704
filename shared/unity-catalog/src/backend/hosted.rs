//! Tokens that the workspace makes: when they end, and where they are downloaded.
//!
//! The API ends a token early only by making the next one. So the newest token of a recipient may be one that nobody was
//! told of: it waits for the next invitation, and opens nothing while nothing is granted. Which token's URL was sent is
//! noted on the recipient, by the token's id; the URL itself is never kept, and never opened here.

use async_trait::async_trait;
use delivery::connector::Connector;
use delivery::ports::{CredentialUrl, HostedCredentials, Invitation, PortError, WaitingCredential};
use delivery::timestamp::Timestamp;

use super::{BackendError, Reader, UnityCatalogBackend};
use crate::names::INVITED_PROPERTY;
use crate::recipients::{Recipient, RecipientToken};

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
        let waiting = newest(&recipient, now).filter(|token| is_unsent(&recipient, token));
        let ends = now.plus_seconds(i64::from(overlap_seconds));
        let told = recipient.tokens.iter().filter(|token| waiting.is_none_or(|waiting| waiting.id != token.id));
        let mut told = told.filter(|token| token.lives_at(ends));
        if waiting.is_some() && told.next().is_none() {
            return Ok(());
        }
        self.rotate(connector, &recipient, overlap_seconds, now).await.map(drop)
    }

    /// Makes a new token, which lives no longer than the connector says.
    async fn rotate(
        &self,
        connector: &Connector,
        recipient: &Recipient,
        overlap_seconds: u32,
        now: Timestamp,
    ) -> Result<RecipientToken, PortError> {
        let rotated = self.workspace.rotate_token(&recipient.name, overlap_seconds).await?;
        // The new token is the one that was not there, wherever it stands in the list.
        let is_new = |token: &RecipientToken| recipient.tokens.iter().all(|old| old.id != token.id);
        let new = rotated.tokens.into_iter().find(is_new);
        let mut new = new.ok_or_else(|| BackendError::NoActivation.during(ROTATE))?;
        if let Reader::Token { expires_at, .. } = Reader::of(connector, now)
            && new.lives_at(expires_at)
        {
            self.workspace.set_expiration(&recipient.name, expires_at).await?;
            new.expires_at = Some(expires_at);
        }
        Ok(new)
    }
}

#[async_trait]
impl HostedCredentials for UnityCatalogBackend {
    async fn invitation(&self, connector: &Connector) -> Result<Invitation, PortError> {
        let recipient = self.hosted(connector).await?;
        let sent = recipient.as_ref().is_some_and(|recipient| {
            recipient.tokens.last().is_some_and(|token| match &token.activation {
                // Downloaded: somebody was told.
                None => true,
                Some(_) => token.lives_at(self.workspace.now()) && !is_unsent(recipient, token),
            })
        });
        Ok(if sent { Invitation::Sent } else { Invitation::Unsent })
    }

    async fn waiting(&self, connector: &Connector, now: Timestamp) -> Result<WaitingCredential, PortError> {
        let mut recipient = self.hosted(connector).await?.ok_or_else(|| BackendError::NoRecipient.during(INVITE))?;
        let token = match newest(&recipient, now).is_some() {
            true => recipient.tokens.pop(),
            false => Some(self.rotate(connector, &recipient, 0, now).await?),
        };
        let token = token.ok_or_else(|| BackendError::NoActivation.during(INVITE))?;
        let url = token.activation.ok_or_else(|| BackendError::NoActivation.during(INVITE))?;
        Ok(WaitingCredential { token: token.id, url: CredentialUrl::new(url.reveal()), expires_at: token.expires_at })
    }

    async fn sent(&self, connector: &Connector, token: &str) -> Result<(), PortError> {
        let recipient = self.hosted(connector).await?.ok_or_else(|| BackendError::NoRecipient.during(INVITE))?;
        // Properties are replaced as a whole.
        let mut properties = recipient.properties;
        properties.insert(INVITED_PROPERTY.to_owned(), token.to_owned());
        Ok(self.workspace.set_properties(&recipient.name, &properties).await?)
    }
}
