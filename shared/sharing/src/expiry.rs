//! Telling a recipient by e-mail that its token ends: when, and whom to ask. Nothing in it opens anything.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use delivery::connector::Connector;
use delivery::ports::{ExpiryNotice, NextToken, PortError};
use delivery::timestamp::Timestamp;

use crate::ports::{Mail, Mailer};

/// An [`ExpiryNotice`] by e-mail.
pub struct MailedNotice {
    mailer: Arc<dyn Mailer>,
}

impl fmt::Debug for MailedNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MailedNotice")
    }
}

impl MailedNotice {
    /// Sends by this mailer.
    #[must_use]
    pub fn new(mailer: Arc<dyn Mailer>) -> Self {
        Self { mailer }
    }
}

#[async_trait]
impl ExpiryNotice for MailedNotice {
    /// A recipient without a secure contact reads without a token.
    async fn warn(&self, connector: &Connector, expires_at: Timestamp, next: NextToken) -> Result<(), PortError> {
        let Some(recipient) = connector.recipient.token() else { return Ok(()) };
        let share = connector.share_name();
        let mail = Mail {
            to: &recipient.secure_contact,
            subject: &format!("Your access to the data share {share} ends soon"),
            body: format!(
                "Hello,\n\
                 \n\
                 the credential (config.share) for the data share \"{share}\" works until {}.\n\
                 \n\
                 {} The present credential goes on until its end, so that you can change over without a gap.\n",
                expires_at.minute_text(),
                advice(next),
            ),
        };
        self.mailer.send(mail).await
    }
}

fn advice(next: NextToken) -> &'static str {
    match next {
        NextToken::LinkSent => {
            "An activation link for the next one was sent already: use it before then. If you cannot find that e-mail, \
             ask the person at your data provider who arranged the share."
        }
        NextToken::OnRequest => {
            "Ask the person at your data provider who arranged the share for a new activation link."
        }
    }
}
