//! Tokens that the workspace makes: when they end, and where they are downloaded.
//!
//! The API ends a token early only by making the next one. So a rotation's new token and the end of the ones before are
//! one call, made when the rotation's link is sent; and the newest token of a recipient may be one that nobody was told
//! of: it waits for the next invitation, and opens nothing while nothing is granted. Which token's URL was sent, by
//! which rotation and to whom (a hash), is noted on the recipient; the URL itself is never kept, and never opened here.

use async_trait::async_trait;
use delivery::connector::Connector;
use delivery::ids::sha256_hex;
use delivery::ports::{CredentialUrl, HostedCredentials, Invitation, PortError, WaitingCredential};
use delivery::timestamp::Timestamp;

use super::{BackendError, Reader, UnityCatalogBackend};
use crate::names::{CONTACT_PROPERTY, INVITED_PROPERTY, RESERVED_PROPERTIES, ROTATION_PROPERTY};
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

/// The secure contact of now, as it is noted when a URL was sent.
fn contact(connector: &Connector) -> Option<String> {
    let recipient = connector.recipient.token()?;
    Some(sha256_hex(&[connector.id.as_str(), recipient.secure_contact.reveal()]))
}

/// Whether the token that somebody was told of is, as far as is known, the contact's of now.
fn is_to_contact(recipient: &Recipient, connector: &Connector) -> bool {
    let told = recipient.properties.get(CONTACT_PROPERTY);
    told.is_none_or(|told| contact(connector).is_some_and(|contact| contact == *told))
}

/// How long the tokens that somebody uses have left, in seconds; 0 if there are none.
fn seconds_in_use(recipient: &Recipient, now: Timestamp) -> u32 {
    let in_use = recipient.tokens.iter().filter(|token| token.activation.is_none() && token.lives_at(now));
    in_use.map(|token| token.expires_at.map_or(u32::MAX, |at| seconds_between(now, at))).max().unwrap_or(0)
}

fn seconds_between(from: Timestamp, to: Timestamp) -> u32 {
    u32::try_from((to.seconds() - from.seconds()).max(0)).unwrap_or(u32::MAX)
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
    /// Has every token that somebody was told of end, `overlap_seconds` from `now` at the latest, and leaves one that
    /// waits, whoever reads for the connector now. An attempt after one whose answer was lost finds its token and makes
    /// no other.
    pub(super) async fn end_tokens(
        &self,
        connector: &Connector,
        overlap_seconds: u32,
        now: Timestamp,
    ) -> Result<(), PortError> {
        let Some(recipient) = self.token_recipient(&connector.id).await? else { return Ok(()) };
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
        let sent = match self.token_recipient(&connector.id).await? {
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
        let Some(recipient) = self.token_recipient(&connector.id).await? else { return Ok(Invitation::Unsent) };
        let told = rotation(&recipient) >= connector.rotation_number();
        let is_sent = |token: &RecipientToken| !is_unsent(&recipient, token) && is_to_contact(&recipient, connector);
        Ok(match recipient.tokens.last() {
            Some(token) if told && token.activation.is_none() => Invitation::Used,
            Some(token) if told && token.lives_at(self.workspace.now()) && is_sent(token) => Invitation::Open,
            Some(_) | None => Invitation::Unsent,
        })
    }

    async fn waiting(&self, connector: &Connector, now: Timestamp) -> Result<WaitingCredential, PortError> {
        let found = self.token_recipient(&connector.id).await?;
        let mut recipient = found.ok_or_else(|| BackendError::NoRecipient.during(INVITE))?;
        let begun = connector.rotation.filter(|begun| rotation(&recipient) < begun.number);
        let unused = newest(&recipient, now);
        // Another contact's URL is to be dead, and its token is nobody's yet: only tokens in use need an overlap.
        let is_elsewhere =
            unused.is_some_and(|token| !is_unsent(&recipient, token) && !is_to_contact(&recipient, connector));
        let overlap_max = if is_elsewhere { seconds_in_use(&recipient, now) } else { u32::MAX };
        let (there, overlap) = match begun {
            Some(begun) => {
                let ends = begun.tokens_end_at.max(now);
                let overlap = seconds_between(now, ends);
                (waits_alone(&recipient, now, ends, overlap), overlap.min(overlap_max))
            }
            None if is_elsewhere => (false, overlap_max),
            None => (unused.is_some(), 0),
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
        let found = self.token_recipient(&connector.id).await?;
        let recipient = found.ok_or_else(|| BackendError::NoRecipient.during(INVITE))?;
        // Properties are replaced as a whole, all but the workspace's own, which it takes from nobody.
        let mut properties = recipient.properties;
        properties.retain(|key, _| !key.starts_with(RESERVED_PROPERTIES));
        properties.insert(INVITED_PROPERTY.to_owned(), token.to_owned());
        properties.insert(ROTATION_PROPERTY.to_owned(), connector.rotation_number().to_string());
        if let Some(contact) = contact(connector) {
            properties.insert(CONTACT_PROPERTY.to_owned(), contact);
        }
        Ok(self.workspace.set_properties(&recipient.name, &properties).await?)
    }
}
