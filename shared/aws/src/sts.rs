//! STS: credentials that read the tables bucket, or one folder of it, for a while.

use std::collections::BTreeSet;
use std::fmt;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sts::Client;
use aws_sdk_sts::error::SdkError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::types::Credentials;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use delivery::ids::ConnectorId;
use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use serde_json::{Value, json};
use sharing::ports::{Folder, TemporaryCredential, TemporaryCredentials};

use crate::failure;

const MAKE: &str = "take a session of a role";

/// What STS takes for the life of a session, in seconds, where one role takes another.
const LIFE_SECONDS: std::ops::RangeInclusive<u32> = 900..=3_600;

/// What the sessions of the role are called.
const SESSION: &str = "recipient";

/// A role whose sessions read tables.
#[derive(Clone)]
pub struct ReaderRole {
    client: Client,
    arn: String,
}

impl fmt::Debug for ReaderRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaderRole").field("arn", &self.arn).finish_non_exhaustive()
    }
}

impl ReaderRole {
    /// The role of this ARN.
    #[must_use]
    pub fn new(config: &SdkConfig, arn: &str) -> Self {
        Self { client: Client::new(config), arn: arn.to_owned() }
    }

    /// A session of at least 15 minutes and at most an hour: what STS allows where one role takes another. A policy
    /// leaves it some of the role's rights.
    ///
    /// # Errors
    ///
    /// `Denied` if the role may not be taken, `Unavailable` if STS does not answer.
    pub async fn session(&self, life_seconds: u32, policy: Option<String>) -> Result<TemporaryCredential, PortError> {
        let life_seconds = life_seconds.clamp(*LIFE_SECONDS.start(), *LIFE_SECONDS.end());
        let request = self.client.assume_role().role_arn(&self.arn).role_session_name(SESSION).set_policy(policy);
        let answer = request.duration_seconds(i32::try_from(life_seconds).unwrap_or(i32::MAX)).send().await;
        let answer = answer.map_err(|error| refused(&error))?;
        let unreadable = || PortError::new(PortErrorKind::InvalidData, MAKE, "the answer holds no credential");
        answer.credentials.and_then(read).ok_or_else(unreadable)
    }
}

/// A [`TemporaryCredentials`] by a role that reads tables: each session of it is cut down to one folder.
pub struct StsCredentials {
    role: ReaderRole,
    bucket: String,
    connectors: BTreeSet<ConnectorId>,
}

impl fmt::Debug for StsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StsCredentials").field("role", &self.role).finish_non_exhaustive()
    }
}

impl StsCredentials {
    /// Sessions of a role that may read all tables, for the recipients of some connectors.
    #[must_use]
    pub fn new(role: ReaderRole, bucket: &str, connectors: BTreeSet<ConnectorId>) -> Self {
        Self { role, bucket: bucket.to_owned(), connectors }
    }
}

#[async_trait]
impl TemporaryCredentials for StsCredentials {
    fn serves(&self, connector: &ConnectorId) -> bool {
        self.connectors.contains(connector)
    }

    fn location(&self, path: &str) -> String {
        format!("s3://{}/{path}", self.bucket)
    }

    async fn reading(&self, folder: Folder<'_>) -> Result<TemporaryCredential, PortError> {
        let partition = self.role.arn.split(':').nth(1).unwrap_or("aws");
        self.role.session(folder.life_seconds, Some(policy(partition, &self.bucket, folder))).await
    }
}

/// An answer that cannot be read may hold the credential, so only its code is kept.
fn refused<R>(error: &SdkError<AssumeRoleError, R>) -> PortError {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or("nothing in time");
    PortError::new(failure::kind(error), MAKE, format!("STS answered {code}"))
}

fn read(credentials: Credentials) -> Option<TemporaryCredential> {
    let expires_at = Timestamp::from_micros(credentials.expiration.secs().checked_mul(1_000_000)?)?;
    Some(TemporaryCredential {
        access_key_id: credentials.access_key_id,
        secret_access_key: credentials.secret_access_key,
        session_token: credentials.session_token,
        expires_at,
    })
}

/// What is left of the role's rights in a session. Names of connectors and tables hold nothing that a policy's patterns
/// would read as more than itself.
fn policy(partition: &str, bucket: &str, folder: Folder<'_>) -> String {
    let bucket = format!("arn:{partition}:s3:::{bucket}");
    let below = format!("{}/*", folder.path);
    let read = json!({"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [format!("{bucket}/{below}")]});
    let list = json!({
        "Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [bucket],
        "Condition": {"StringLike": {"s3:prefix": [below]}},
    });
    let statements = [read, list].map(|statement| held_to(statement, folder.allowed_ips));
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

/// A statement that holds from these addresses only, if there are any.
fn held_to(mut statement: Value, addresses: &[String]) -> Value {
    if !addresses.is_empty()
        && let Some(members) = statement.as_object_mut()
        && let Some(condition) = members.entry("Condition").or_insert_with(|| json!({})).as_object_mut()
    {
        condition.insert("IpAddress".to_owned(), json!({"aws:SourceIp": addresses}));
    }
    statement
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy_for(allowed_ips: &[String]) -> serde_json::Value {
        let folder = Folder { path: "connectors/acme/WF_A__V1", allowed_ips, life_seconds: 60 };
        serde_json::from_str(&policy("aws", "tables", folder)).unwrap()
    }

    #[test]
    fn a_session_reads_one_folder_and_nothing_beside_it() {
        let expected = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::tables/connectors/acme/WF_A__V1/*"]},
            {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::tables"],
                "Condition": {"StringLike": {"s3:prefix": ["connectors/acme/WF_A__V1/*"]}}},
        ]});
        assert_eq!(policy_for(&[]), expected);
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_kept() {
        const PLANTED: &str = "dose-planted-7f3a";
        let error = refused(&SdkError::<AssumeRoleError, _>::response_error("cut off", PLANTED.to_owned()));
        assert_eq!(error.kind, PortErrorKind::Unavailable);
        assert!(!format!("{error} {error:?} {}", error.source).contains(PLANTED));
    }

    #[test]
    fn an_allow_list_holds_for_the_session_too() {
        let allowed = ["198.51.100.0/24".to_owned(), "2001:db8::/32".to_owned()];
        for statement in policy_for(&allowed)["Statement"].as_array().unwrap() {
            assert_eq!(statement["Condition"]["IpAddress"]["aws:SourceIp"], json!(allowed));
        }
    }
}
