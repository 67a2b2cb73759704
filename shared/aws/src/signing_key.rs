//! Secrets Manager: the key of the sharing server's page and refresh tokens.

use std::fmt;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::SdkError;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use delivery::ports::{PortError, PortErrorKind};
use sharing::ports::{SigningKey, TokenKey};
use tokio::sync::OnceCell;

use crate::failure;

const READ: &str = "read the key of page tokens";

/// A [`SigningKey`] in Secrets Manager: the text of a secret, read when it is first needed and kept for the process's
/// life. A changed secret ends the tokens of before as processes come and go; they are good for days at most.
pub struct SecretsManagerSigningKey {
    client: Client,
    secret_arn: String,
    kept: OnceCell<TokenKey>,
}

impl fmt::Debug for SecretsManagerSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretsManagerSigningKey").field("secret_arn", &self.secret_arn).finish_non_exhaustive()
    }
}

impl SecretsManagerSigningKey {
    /// Reads the secret of an ARN.
    #[must_use]
    pub fn new(config: &SdkConfig, secret_arn: &str) -> Self {
        Self { client: Client::new(config), secret_arn: secret_arn.to_owned(), kept: OnceCell::new() }
    }

    async fn read(&self) -> Result<TokenKey, PortError> {
        let answer = self.client.get_secret_value().secret_id(&self.secret_arn).send().await;
        let answer = answer.map_err(|error| refused(&error))?;
        TokenKey::new(answer.secret_string().unwrap_or_default().as_bytes())
            .ok_or_else(|| PortError::new(PortErrorKind::InvalidData, READ, "the secret is too short for a key"))
    }
}

#[async_trait]
impl SigningKey for SecretsManagerSigningKey {
    async fn key(&self) -> Result<TokenKey, PortError> {
        self.kept.get_or_try_init(|| self.read()).await.cloned()
    }
}

/// An answer that cannot be read may hold the secret, so only its code is kept.
fn refused<R>(error: &SdkError<GetSecretValueError, R>) -> PortError {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or("nothing in time");
    PortError::new(failure::kind(error), READ, format!("Secrets Manager answered {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_cannot_be_read_is_not_kept() {
        const PLANTED: &str = "dose-planted-7f3a";
        let unreadable = SdkError::<GetSecretValueError, _>::response_error("cut off", PLANTED.to_owned());
        let error = refused(&unreadable);
        assert_eq!(error.kind, PortErrorKind::Unavailable);
        assert!(!format!("{error} {error:?} {}", error.source).contains(PLANTED));
    }
}
