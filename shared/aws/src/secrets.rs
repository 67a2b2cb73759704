//! Secrets Manager: the Databricks service principal's credential.

use std::fmt;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::SdkError;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use delivery::ports::{PortError, PortErrorKind, Refusal, Refused};
use serde::Deserialize;
use unity_catalog::ports::{ClientCredential, ClientSecret, CredentialSource};

use crate::failure;

const READ: &str = "read the service principal's secret";

/// Reads a service principal's credential: a secret whose text is `{"clientId": …, "clientSecret": …}`. Nothing of it is
/// kept; its user asks again when its token ends, so that a changed secret needs no deployment.
#[derive(Clone)]
pub struct SecretsManagerCredentials {
    client: Client,
    secret_arn: String,
}

impl fmt::Debug for SecretsManagerCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretsManagerCredentials").field("secret_arn", &self.secret_arn).finish_non_exhaustive()
    }
}

impl SecretsManagerCredentials {
    /// Reads the secret of an ARN.
    #[must_use]
    pub fn new(config: &SdkConfig, secret_arn: &str) -> Self {
        Self { client: Client::new(config), secret_arn: secret_arn.to_owned() }
    }
}

/// What Secrets Manager answered. An answer that cannot be read may hold the secret, so only its code is kept.
#[derive(Debug, thiserror::Error)]
#[error("Secrets Manager answered {code}; compare the secret's ARN and the role's policy with the template")]
struct SecretRefused {
    code: String,
}

/// A secret that is not what it should be. Says nothing of what it is.
#[derive(Debug, thiserror::Error)]
#[error("the secret must be the JSON object {{\"clientId\": …, \"clientSecret\": …}} of two texts")]
struct UnreadableSecret;

/// Has no `Debug`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    client_id: String,
    client_secret: String,
}

#[async_trait]
impl CredentialSource for SecretsManagerCredentials {
    async fn credential(&self) -> Result<ClientCredential, PortError> {
        let answer = self.client.get_secret_value().secret_id(&self.secret_arn).send().await;
        let answer = answer.map_err(|error| refused(&error))?;
        read(answer.secret_string().unwrap_or_default())
    }
}

fn read(text: &str) -> Result<ClientCredential, PortError> {
    // The parser's own error may quote the text.
    let stored: Option<Stored> = serde_json::from_str(text).ok();
    let stored = stored.filter(|stored| !stored.client_id.is_empty() && !stored.client_secret.is_empty());
    let stored = stored.ok_or_else(|| {
        PortError::new(PortErrorKind::InvalidData, READ, Refused::new(Refusal::Denied, UnreadableSecret))
    })?;
    Ok(ClientCredential { client_id: stored.client_id, secret: ClientSecret::new(stored.client_secret) })
}

fn refused<R>(error: &SdkError<GetSecretValueError, R>) -> PortError {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or("nothing in time");
    let refused = SecretRefused { code: code.to_owned() };
    match failure::kind(error) {
        kind @ (PortErrorKind::Denied | PortErrorKind::NotFound) => {
            PortError::new(kind, READ, Refused::new(Refusal::Denied, refused))
        }
        kind @ (PortErrorKind::Throttled | PortErrorKind::Unavailable | PortErrorKind::InvalidData) => {
            PortError::new(kind, READ, refused)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLANTED: &str = "dose-planted-7f3a";

    fn whole(error: &PortError) -> String {
        let refused = Refused::of(error).map(|refused| format!("{} {:?}", refused.source, refused.source));
        format!("{error} {error:?} {} {refused:?}", error.source)
    }

    #[test]
    fn a_credential_is_read_and_not_printed() {
        let text = format!(r#"{{"clientId": "c-1", "clientSecret": "{PLANTED}"}}"#);
        let credential = read(&text).unwrap();
        assert!(!format!("{credential:?}").contains(PLANTED));
        assert_eq!((credential.client_id.as_str(), credential.secret.reveal().as_str()), ("c-1", PLANTED));
    }

    #[test]
    fn a_secret_of_another_shape_is_refused_without_a_word_of_it() {
        for text in [
            PLANTED.to_owned(),
            format!("\"{PLANTED}\""),
            format!(r#"{{"clientId": "c-1", "clientSecret": ["{PLANTED}"]}}"#),
            format!(r#"{{"clientId": "", "clientSecret": "{PLANTED}"}}"#),
            format!(r#"{{"clientId": "{PLANTED}", "clientSecret": ""}}"#),
        ] {
            let error = read(&text).unwrap_err();
            assert!(!whole(&error).contains(PLANTED), "{}", whole(&error));
            assert!(whole(&error).contains("clientSecret"));
        }
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_kept() {
        let unreadable = SdkError::<GetSecretValueError, _>::response_error("cut off", PLANTED.to_owned());
        let error = refused(&unreadable);
        assert_eq!(error.kind, PortErrorKind::Unavailable);
        assert!(!whole(&error).contains(PLANTED), "{}", whole(&error));
    }
}
