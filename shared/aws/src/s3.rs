//! Buckets as object stores.

use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

/// How often a request is tried again. A download whose time is up goes on where it was, as one of these.
pub const RETRIES_MAX: usize = 4;

/// How long after its beginning a request is still tried again, in seconds. A download as slow as its reader can last
/// as long as all its attempts: ten minutes, less than a function lives.
pub const RETRY_SECONDS_MAX: u64 = 600;

/// How long one attempt may take, its body included, in seconds.
pub const ATTEMPT_SECONDS_MAX: u64 = 120;

const CONNECT_SECONDS_MAX: u64 = 2;

/// A bucket, by the region, the credentials and `AWS_ENDPOINT_URL` of the process. Writes with
/// [`object_store::PutMode::Create`] are conditional (`If-None-Match`). Payloads are not signed: TLS keeps them whole,
/// and hashing them twice costs more than sending them. Plain HTTP is spoken only to an endpoint that is set so.
///
/// # Errors
///
/// Returns the store's error if the name or the process's AWS configuration cannot be used.
pub fn bucket(name: &str) -> Result<AmazonS3, object_store::Error> {
    configure(AmazonS3Builder::from_env(), name).build()
}

fn configure(builder: AmazonS3Builder, name: &str) -> AmazonS3Builder {
    let endpoint = builder
        .get_config_value(&AmazonS3ConfigKey::S3Endpoint)
        .or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint));
    let plain = endpoint.as_deref().is_some_and(|url| url.starts_with("http://"));
    let times = ClientOptions::new()
        .with_allow_http(plain)
        .with_connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
        .with_timeout(Duration::from_secs(ATTEMPT_SECONDS_MAX));
    builder
        .with_bucket_name(name)
        // Buckets of an endpoint that is set are addressed by path; AWS's own by host name.
        .with_virtual_hosted_style_request(endpoint.is_none())
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_unsigned_payload(true)
        .with_client_options(times)
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: RETRIES_MAX,
            retry_timeout: Duration::from_secs(RETRY_SECONDS_MAX),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> AmazonS3Builder {
        AmazonS3Builder::new().with_access_key_id("test").with_secret_access_key("test").with_region("us-east-1")
    }

    fn described(builder: AmazonS3Builder) -> String {
        format!("{:?}", configure(builder, "tables").build().unwrap())
    }

    #[test]
    fn a_bucket_of_aws_is_addressed_by_host_over_tls() {
        let bucket = described(builder());
        assert!(bucket.contains("https://tables.s3.us-east-1.amazonaws.com"), "{bucket}");
    }

    #[test]
    fn a_bucket_of_an_endpoint_is_addressed_by_path() {
        let bucket = described(builder().with_endpoint("http://127.0.0.1:4566"));
        assert!(bucket.contains("http://127.0.0.1:4566/tables"), "{bucket}");
        assert!(bucket.contains("ETagMatch"), "{bucket}");
    }
}
