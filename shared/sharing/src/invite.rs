//! Inviting a recipient: a link by e-mail, of which nothing is kept but a hash; or the link of a backend that hands
//! credentials out itself, of which nothing is kept at all.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use delivery::connector::{Connector, TokenRecipient};
use delivery::lifecycle::LINK_LIFE_SECONDS;
use delivery::ports::{Clock, HostedCredentials, Invitation, Inviter, PortError, PortErrorKind, WaitingCredential};
use delivery::timestamp::Timestamp;

use crate::ports::{Activation, ActivationState, ActivationStore, Mail, Mailed, Mailer, SecretHash, SecretSource};
use crate::secrets::OsSecrets;
use crate::{activation, server};

/// An [`Inviter`] by activation link and e-mail.
pub struct LinkInviter {
    activations: Arc<dyn ActivationStore>,
    mailer: Arc<dyn Mailer>,
    secrets: Arc<dyn SecretSource>,
    clock: Arc<dyn Clock>,
    host_url: String,
}

impl fmt::Debug for LinkInviter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkInviter").field("host_url", &self.host_url).finish_non_exhaustive()
    }
}

impl LinkInviter {
    /// An inviter to the server at an endpoint, such as `https://host/delta-sharing`; the activation pages are on the
    /// same host. Its links come from the operating system's randomness.
    #[must_use]
    pub fn new(
        activations: Arc<dyn ActivationStore>,
        mailer: Arc<dyn Mailer>,
        endpoint: &str,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let host_url = server::host_url(endpoint).to_owned();
        Self { activations, mailer, secrets: Arc::new(OsSecrets), clock, host_url }
    }

    /// The same inviter with links from elsewhere.
    #[must_use]
    pub fn with_secrets(self, secrets: Arc<dyn SecretSource>) -> Self {
        Self { secrets, ..self }
    }
}

#[async_trait]
impl Inviter for LinkInviter {
    async fn invitation(&self, connector: &Connector) -> Result<Invitation, PortError> {
        let now = self.clock.now();
        let newest = self.activations.newest(&connector.id).await?;
        // Whoever reads an older connector than the link's does not send it again.
        let newest = newest.filter(|(activation, _)| activation.rotation >= connector.rotation_number());
        Ok(newest.map_or(Invitation::Unsent, |(activation, mailed)| match activation.state {
            ActivationState::Used => Invitation::Used,
            ActivationState::Unused
                if mailed == Mailed::Yes && now < activation.expires_at && is_as_set_up(&activation, connector) =>
            {
                Invitation::Open
            }
            ActivationState::Unused | ActivationState::Replaced | ActivationState::Revoked => Invitation::Unsent,
        }))
    }

    /// The hash is stored before the e-mail leaves, so that no link is out that does not work; it is noted as mailed
    /// after, so that a failure in between sends another link rather than none.
    async fn invite(&self, connector: &Connector, now: Timestamp) -> Result<(), PortError> {
        let recipient = token_recipient(connector)?;
        let code = self.secrets.secret()?;
        let link = code.hash();
        let activation = Activation {
            connector: connector.id.clone(),
            endpoint: server::endpoint(&self.host_url),
            expires_at: now.plus_seconds(LINK_LIFE_SECONDS),
            token_lifetime_days: recipient.token_lifetime_days,
            allowed_ips: recipient.allowed_ips.clone(),
            state: ActivationState::Unused,
            rotation: connector.rotation_number(),
            contact: Some(hash_of(recipient)),
        };
        self.activations.put(&link, &activation).await?;
        let url = format!("{}{}/{}", self.host_url, activation::PREFIX, code.reveal());
        let mail = Mail {
            to: &recipient.secure_contact,
            subject: &subject(connector),
            body: body(connector, &activation, &url, now),
        };
        self.mailer.send(mail).await?;
        self.activations.mailed(&connector.id, &link).await
    }
}

/// An [`Inviter`] by the URL of a credential that the sharing backend makes and hands out itself. The URL goes into the
/// e-mail as the backend wrote it; nothing here opens it, and nothing of it is kept.
pub struct HostedInviter {
    credentials: Arc<dyn HostedCredentials>,
    mailer: Arc<dyn Mailer>,
}

impl fmt::Debug for HostedInviter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostedInviter")
    }
}

impl HostedInviter {
    /// An inviter to what a backend hands out.
    #[must_use]
    pub fn new(credentials: Arc<dyn HostedCredentials>, mailer: Arc<dyn Mailer>) -> Self {
        Self { credentials, mailer }
    }
}

#[async_trait]
impl Inviter for HostedInviter {
    async fn invitation(&self, connector: &Connector) -> Result<Invitation, PortError> {
        self.credentials.invitation(connector).await
    }

    /// Noted as sent after the e-mail left, so that a failure in between sends the URL again rather than never.
    async fn invite(&self, connector: &Connector, now: Timestamp) -> Result<(), PortError> {
        let recipient = token_recipient(connector)?;
        let WaitingCredential { token, url, expires_at } = self.credentials.waiting(connector, now).await?;
        let mail = Mail {
            to: &recipient.secure_contact,
            subject: &subject(connector),
            body: hosted_body(connector, &url.reveal(), expires_at, now),
        };
        self.mailer.send(mail).await?;
        self.credentials.sent(connector, &token).await
    }
}

fn token_recipient(connector: &Connector) -> Result<&TokenRecipient, PortError> {
    connector.recipient.token().ok_or_else(|| {
        let source = "only a token recipient is invited by a link";
        PortError::new(PortErrorKind::InvalidData, "invite a recipient", source)
    })
}

/// Whether a link went to the contact that the connector names, and hands out the token that it says.
fn is_as_set_up(activation: &Activation, connector: &Connector) -> bool {
    connector.recipient.token().is_some_and(|recipient| {
        activation.token_lifetime_days == recipient.token_lifetime_days
            && activation.allowed_ips == recipient.allowed_ips
            && activation.contact.as_ref().is_none_or(|contact| *contact == hash_of(recipient))
    })
}

fn hash_of(recipient: &TokenRecipient) -> SecretHash {
    SecretHash::of(recipient.secure_contact.reveal())
}

fn subject(connector: &Connector) -> String {
    format!("Activate your access to the data share {}", connector.share_name())
}

fn hosted_body(connector: &Connector, url: &str, expires_at: Option<Timestamp>, now: Timestamp) -> String {
    let rotated = earlier(connector, now);
    let life = expires_at.map_or_else(
        || "The credential ends by itself.".to_owned(),
        |at| format!("The credential is good until {}. It reads the share, and cannot change it.", at.minute_text()),
    );
    format!(
        "Hello,\n\
         \n\
         you were named as the contact for the data share \"{share}\".\n\
         \n\
         Open this link, a page of Databricks, and download the credential file:\n\
         \n\
         {url}\n\
         \n\
         - The link works for one download.\n\
         - {life}\n\
         {rotated}\
         - Whoever has the file can read the share: keep it as you keep a password. Do not forward this e-mail.\n\
         \n\
         If the link was used and it was not you, or if you did not expect this e-mail, contact the person at your \
         data provider who arranged the share.\n",
        share = connector.share_name(),
    )
}

/// What becomes of an earlier credential.
fn earlier(connector: &Connector, now: Timestamp) -> String {
    connector.rotation.map_or_else(String::new, |rotation| {
        // The contact may have no earlier credential; the sentence says "if".
        if rotation.tokens_end_at > now {
            format!(
                "- If you have an earlier credential for this share, it works until {}. Replace it before.\n",
                rotation.tokens_end_at.minute_text()
            )
        } else {
            "- If you have an earlier credential for this share, it works no longer.\n".to_owned()
        }
    })
}

fn body(connector: &Connector, activation: &Activation, url: &str, now: Timestamp) -> String {
    let share = connector.share_name();
    let rotated = earlier(connector, now);
    format!(
        "Hello,\n\
         \n\
         you were named as the contact for the data share \"{share}\".\n\
         \n\
         Open this link and press the button to download the credential, a file named config.share:\n\
         \n\
         {url}\n\
         \n\
         - The link works until {until}, and for one download.\n\
         - The credential is good for {days} days from the download. It reads the share, and cannot change it.\n\
         {rotated}\
         - Whoever has the file can read the share: keep it as you keep a password. Do not forward this e-mail.\n\
         \n\
         If the link was used and it was not you, if it has expired, or if you did not expect this e-mail, contact \
         the person at your data provider who arranged the share.\n",
        until = activation.expires_at.minute_text(),
        days = activation.token_lifetime_days,
    )
}
