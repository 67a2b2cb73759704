//! The AWS services behind the ports: DynamoDB, S3, SQS, Step Functions, EventBridge, SES, STS, Secrets Manager and
//! CloudWatch Logs.
//!
//! Knows the SDKs, their retries and their time limits, and turns every error of theirs into a [`delivery::ports::PortError`] whose
//! source is the SDK's own. No type of an SDK leaves, but for the configuration and the bucket that the adapters are
//! built from. Knows no step.

#[cfg(feature = "dynamodb")]
pub mod dynamo;
#[cfg(feature = "eventbridge")]
pub mod eventbridge;
#[cfg(feature = "logs")]
pub mod logs;
#[cfg(feature = "s3")]
pub mod s3;
#[cfg(feature = "secretsmanager")]
pub mod secrets;
#[cfg(feature = "ses")]
pub mod ses;
#[cfg(feature = "sfn")]
pub mod sfn;
#[cfg(feature = "signing-key")]
pub mod signing_key;
#[cfg(feature = "sqs")]
pub mod sqs;
#[cfg(feature = "sts")]
pub mod sts;

#[cfg(any(
    feature = "dynamodb",
    feature = "eventbridge",
    feature = "logs",
    feature = "secretsmanager",
    feature = "ses",
    feature = "sfn",
    feature = "signing-key",
    feature = "sqs",
    feature = "sts"
))]
mod failure;

use std::time::Duration;

use aws_config::BehaviorVersion;
pub use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

/// How often an SDK tries one request, the first time included.
pub const ATTEMPTS_MAX: u32 = 3;

/// How long one attempt of an SDK's request may take, in seconds.
pub const ATTEMPT_SECONDS_MAX: u64 = 5;

/// How long an SDK's request may take with all its attempts, in seconds.
pub const REQUEST_SECONDS_MAX: u64 = 20;

const CONNECT_SECONDS_MAX: u64 = 2;

/// What every SDK client is built from: region, credentials and `AWS_ENDPOINT_URL` of the process, standard retries,
/// and bounded times.
pub async fn connect() -> SdkConfig {
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let times = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
        .operation_attempt_timeout(Duration::from_secs(ATTEMPT_SECONDS_MAX))
        .operation_timeout(Duration::from_secs(REQUEST_SECONDS_MAX))
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
        .timeout_config(times)
        .load()
        .await
}
