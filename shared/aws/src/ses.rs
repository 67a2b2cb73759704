//! SES: sends e-mail.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sesv2::Client;
use aws_sdk_sesv2::error::SdkError;
use aws_sdk_sesv2::operation::send_email::SendEmailError;
use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use delivery::ports::{PortError, PortErrorKind};
use sharing::ports::{Mail, Mailer};

use crate::failure;

const SEND: &str = "send an e-mail";

/// Sends plain-text e-mail from one verified address.
#[derive(Debug, Clone)]
pub struct SesMailer {
    client: Client,
    sender: String,
}

impl SesMailer {
    /// Sends from an address that the account has verified.
    #[must_use]
    pub fn new(config: &SdkConfig, sender: &str) -> Self {
        Self { client: Client::new(config), sender: sender.to_owned() }
    }
}

/// What SES answered. Its texts name addresses, which must not be logged, so only its code is kept.
#[derive(Debug, thiserror::Error)]
#[error("the mail service answered {code}")]
struct MailRefused {
    code: String,
}

#[async_trait]
impl Mailer for SesMailer {
    async fn send(&self, mail: Mail<'_>) -> Result<(), PortError> {
        let text = |text: &str| Content::builder().data(text).charset("UTF-8").build();
        let invalid = |error| PortError::new(PortErrorKind::InvalidData, SEND, error);
        let body = Body::builder().text(text(&mail.body).map_err(invalid)?).build();
        let message = Message::builder().subject(text(mail.subject).map_err(invalid)?).body(body).build();
        self.client
            .send_email()
            .from_email_address(&self.sender)
            .destination(Destination::builder().to_addresses(mail.to.reveal()).build())
            .content(EmailContent::builder().simple(message).build())
            .send()
            .await
            .map_err(|error| refused(&error))?;
        Ok(())
    }
}

fn refused<R>(error: &SdkError<SendEmailError, R>) -> PortError {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or("nothing in time");
    let kind = match code {
        "MessageRejected"
        | "MailFromDomainNotVerifiedException"
        | "AccountSuspendedException"
        | "SendingPausedException"
        | "NotFoundException"
        | "BadRequestException" => PortErrorKind::Denied,
        _ => failure::kind(error),
    };
    PortError::new(kind, SEND, MailRefused { code: code.to_owned() })
}

#[cfg(test)]
mod tests {
    use aws_sdk_sesv2::types::error::MessageRejected;

    use super::*;

    #[test]
    fn a_refused_address_is_denied_and_not_printed() {
        let meta = aws_smithy_types::error::ErrorMetadata::builder().code("MessageRejected").build();
        let rejected = MessageRejected::builder().message("not verified: data@acme.test").meta(meta).build();
        let error = refused(&SdkError::service_error(SendEmailError::MessageRejected(rejected), ()));
        assert_eq!(error.kind, PortErrorKind::Denied);
        assert_eq!(error.source.to_string(), "the mail service answered MessageRejected");
        assert!(!format!("{error:?}").contains("acme.test"));
    }

    #[test]
    fn a_mail_service_that_does_not_answer_is_unavailable() {
        let error = refused(&SdkError::<SendEmailError, ()>::timeout_error("late"));
        assert_eq!(error.kind, PortErrorKind::Unavailable);
    }
}
