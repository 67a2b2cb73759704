//! Inviting a recipient: a link by e-mail, of which nothing is kept but a hash; or the link of a backend that hands
//! credentials out itself, of which nothing is kept at all.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use delivery::connector::{Connector, TokenRecipient};
use delivery::ports::{Clock, HostedCredentials, Invitation, Inviter, PortError, PortErrorKind, WaitingCredential};
use delivery::timestamp::Timestamp;

use crate::ports::{Activation, ActivationState, ActivationStore, Mail, Mailed, Mailer, SecretSource};
use crate::secrets::OsSecrets;
use crate::{activation, server};

/// How long an activation link can be used, in days.
pub const LINK_LIFE_DAYS: u16 = 7;

const SECONDS_PER_DAY: i64 = 86_400;

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
        let sent = newest.is_some_and(|(activation, mailed)| match activation.state {
            ActivationState::Used => true,
            ActivationState::Unused => mailed == Mailed::Yes && now < activation.expires_at,
            ActivationState::Replaced => false,
        });
        Ok(if sent { Invitation::Sent } else { Invitation::Unsent })
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
            expires_at: now.plus_seconds(SECONDS_PER_DAY * i64::from(LINK_LIFE_DAYS)),
            token_lifetime_days: recipient.token_lifetime_days,
            allowed_ips: recipient.allowed_ips.clone(),
            state: ActivationState::Unused,
        };
        self.activations.put(&link, &activation).await?;
        let url = format!("{}{}/{}", self.host_url, activation::PREFIX, code.reveal());
        let mail = Mail {
            to: &recipient.secure_contact,
            subject: &subject(connector),
            body: body(connector, &activation, &url),
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
            body: hosted_body(connector, &url.reveal(), expires_at),
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

fn subject(connector: &Connector) -> String {
    format!("Activate your access to the data share {}", connector.share_name())
}

fn hosted_body(connector: &Connector, url: &str, expires_at: Option<Timestamp>) -> String {
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
         - Whoever has the file can read the share: keep it as you keep a password. Do not forward this e-mail.\n\
         \n\
         If the link was used and it was not you, or if you did not expect this e-mail, contact the person at your \
         data provider who arranged the share.\n",
        share = connector.share_name(),
    )
}

fn body(connector: &Connector, activation: &Activation, url: &str) -> String {
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
         - Whoever has the file can read the share: keep it as you keep a password. Do not forward this e-mail.\n\
         \n\
         If the link was used and it was not you, if it has expired, or if you did not expect this e-mail, contact \
         the person at your data provider who arranged the share.\n",
        share = connector.share_name(),
        until = activation.expires_at.minute_text(),
        days = activation.token_lifetime_days,
    )
}
