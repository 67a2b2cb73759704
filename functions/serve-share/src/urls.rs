//! Presigned URLs of the tables bucket.
//!
//! An answer may hold ten thousand of them. The object store's own signer derives the day's key and sorts the query for
//! each, which takes longer than everything else about an answer. So the store signs one URL when the credential or
//! the day changes; the others are made of its parts, by the rules of AWS Signature Version 4 for query strings.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use delivery::ports::{Clock, PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use object_store::aws::{AmazonS3, AwsCredential};
use object_store::path::Path;
use object_store::signer::Signer;
use ring::hmac::{HMAC_SHA256, Key, sign};
use sharing::ports::UrlSigner;

const OPERATION: &str = "sign the URL of a file";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The key of the URL that the object store signs. It is never fetched.
const SAMPLE: &str = "sample";

/// A [`UrlSigner`] with the function's own credentials. When they end is not known: the platform does not say.
pub struct S3Urls {
    bucket: Arc<AmazonS3>,
    clock: Arc<dyn Clock>,
    signing: Mutex<Option<Arc<Signing>>>,
}

impl std::fmt::Debug for S3Urls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Urls").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

/// What all URLs of one credential and one day have in common. Has no `Debug` of its secrets.
struct Signing {
    credential: Arc<AwsCredential>,
    /// Year, month and day.
    date: String,
    /// `<date>/<region>/s3/aws4_request`.
    scope: String,
    key: Key,
    /// Scheme, host and what stands before a key: `https://bucket.host/`.
    base_url: String,
    /// The host with its port, as clients send it.
    host: String,
    /// What of the path stands before a key.
    path: String,
}

impl S3Urls {
    /// URLs of a bucket.
    #[must_use]
    pub fn new(bucket: Arc<AmazonS3>, clock: Arc<dyn Clock>) -> Self {
        Self { bucket, clock, signing: Mutex::new(None) }
    }

    /// What signs URLs at this date: as before, or anew if the credential or the day is another.
    async fn signing(&self, date: &str) -> Result<Arc<Signing>, PortError> {
        let credential = self.bucket.credentials().get_credential().await.map_err(failed)?;
        let kept = self.signing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(kept) = kept.filter(|kept| kept.date == date && kept.credential == credential) {
            return Ok(kept);
        }
        let sample = self
            .bucket
            .signed_url(http::Method::GET, &Path::from(SAMPLE), Duration::from_secs(1))
            .await
            .map_err(failed)?;
        let signing = Signing::of(sample.as_str(), credential, date)
            .ok_or_else(|| failed("the object store's URL is not signed as expected"))?;
        let signing = Arc::new(signing);
        *self.signing.lock().unwrap_or_else(PoisonError::into_inner) = Some(signing.clone());
        Ok(signing)
    }
}

#[async_trait]
impl UrlSigner for S3Urls {
    async fn signed_url(&self, key: &str, life_seconds: u32) -> Result<String, PortError> {
        let time = basic_time(self.clock.now());
        let date = time.get(..8).unwrap_or_default();
        Ok(self.signing(date).await?.url(key, &time, life_seconds))
    }
}

impl Signing {
    /// Reads the parts of a URL of the key [`SAMPLE`] that the object store signed.
    fn of(sample: &str, credential: Arc<AwsCredential>, date: &str) -> Option<Self> {
        let (url, query) = sample.split_once('?')?;
        let base_url = url.strip_suffix(SAMPLE)?;
        let (_, authority) = base_url.split_once("://")?;
        let (host, path) = authority.split_once('/')?;
        let value = query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-Credential="))?;
        // `<key id>/<date>/<region>/s3/aws4_request`, the slashes encoded.
        let mut parts = value.rsplit("%2F");
        let (Some("aws4_request"), Some("s3"), Some(region)) = (parts.next(), parts.next(), parts.next()) else {
            return None;
        };
        let derive = |key: &[u8], text: &str| sign(&Key::new(HMAC_SHA256, key), text.as_bytes());
        let day = derive(format!("AWS4{}", credential.secret_key).as_bytes(), date);
        let service = derive(derive(day.as_ref(), region).as_ref(), "s3");
        Some(Self {
            date: date.to_owned(),
            scope: format!("{date}/{region}/s3/aws4_request"),
            key: Key::new(HMAC_SHA256, derive(service.as_ref(), "aws4_request").as_ref()),
            base_url: base_url.to_owned(),
            host: host.to_owned(),
            path: format!("/{path}"),
            credential,
        })
    }

    /// The URL of a key, signed at a time such as `20260301T120000Z`.
    fn url(&self, key: &str, time: &str, life_seconds: u32) -> String {
        let token = self.credential.token.as_deref().unwrap_or_default();
        let mut query = String::with_capacity(320 + token.len() * 3 / 2);
        let _ = write!(query, "X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential=");
        encode(&mut query, self.credential.key_id.as_bytes(), "");
        query.push_str("%2F");
        encode(&mut query, self.scope.as_bytes(), "");
        let _ = write!(query, "&X-Amz-Date={time}&X-Amz-Expires={life_seconds}");
        if !token.is_empty() {
            query.push_str("&X-Amz-Security-Token=");
            encode(&mut query, token.as_bytes(), "");
        }
        query.push_str("&X-Amz-SignedHeaders=host");

        let mut path = String::with_capacity(key.len() * 2);
        encode(&mut path, key.as_bytes(), "/");
        let request = format!("GET\n{}{path}\n{query}\nhost:{}\n\nhost\nUNSIGNED-PAYLOAD", self.path, self.host);
        let request = ring::digest::digest(&ring::digest::SHA256, request.as_bytes());
        let mut to_sign = format!("{ALGORITHM}\n{time}\n{}\n", self.scope);
        hex(&mut to_sign, request.as_ref());

        let mut url = String::with_capacity(self.base_url.len() + path.len() + query.len() + 96);
        for part in [self.base_url.as_str(), &path, "?", &query, "&X-Amz-Signature="] {
            url.push_str(part);
        }
        hex(&mut url, sign(&self.key, to_sign.as_bytes()).as_ref());
        url
    }
}

/// Percent-encodes every byte that is neither unreserved (RFC 3986) nor in `kept`.
fn encode(out: &mut String, bytes: &[u8], kept: &str) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') || kept.as_bytes().contains(&byte)
        {
            out.push(byte.into());
        } else {
            out.push('%');
            out.extend([byte >> 4, byte & 15].map(|digit| digit_of(digit).to_ascii_uppercase()));
        }
    }
}

fn hex(out: &mut String, bytes: &[u8]) {
    out.extend(bytes.iter().flat_map(|byte| [digit_of(byte >> 4), digit_of(byte & 15)]));
}

fn digit_of(value: u8) -> char {
    char::from_digit(value.into(), 16).unwrap_or('0')
}

/// An instant in ISO 8601's basic format, to the second.
fn basic_time(at: Timestamp) -> String {
    let text = at.to_string();
    let seconds = text.get(..19).unwrap_or_default();
    seconds.chars().filter(|c| !matches!(c, '-' | ':')).chain(['Z']).collect()
}

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PortError {
    PortError::new(PortErrorKind::Unavailable, OPERATION, source)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use object_store::aws::AmazonS3Builder;
    use testkit::sharing::ManualClock;

    use super::*;

    fn bucket(token: Option<&str>, endpoint: Option<&str>) -> Arc<AmazonS3> {
        let builder = AmazonS3Builder::new()
            .with_region("eu-west-1")
            .with_bucket_name("tables")
            .with_access_key_id("AKIDEXAMPLE")
            .with_secret_access_key("secret/with+signs")
            .with_virtual_hosted_style_request(endpoint.is_none())
            .with_allow_http(true);
        let builder = token.into_iter().fold(builder, |builder, token| builder.with_token(token));
        let builder = endpoint.into_iter().fold(builder, |builder, url| builder.with_endpoint(url));
        Arc::new(builder.build().unwrap())
    }

    fn parts(url: &str) -> (String, BTreeMap<String, String>) {
        let (address, query) = url.split_once('?').unwrap();
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
        (address.to_owned(), pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    #[tokio::test]
    async fn a_url_is_the_one_that_the_object_store_signs() {
        for (token, endpoint) in
            [(None, None), (Some("a/token+of=STS&more"), None), (Some("t"), Some("http://127.0.0.1:4566"))]
        {
            let bucket = bucket(token, endpoint);
            for key in ["connectors/acme/T/k=a%20b/f+1.parquet", "c/é ~_-.!'()*:@,;$&/x", "plain"] {
                let path = Path::parse(key).unwrap();
                let theirs = bucket.signed_url(http::Method::GET, &path, Duration::from_secs(60)).await.unwrap();
                let (address, theirs) = parts(theirs.as_str());
                let time = &theirs["X-Amz-Date"];
                let urls = S3Urls::new(bucket.clone(), Arc::new(ManualClock::at_seconds(0)));
                let ours = urls.signing(&time[..8]).await.unwrap().url(key, time, 60);
                assert_eq!(parts(&ours), (address, theirs), "{key} {token:?} {endpoint:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_key_is_encoded_once_and_the_time_is_the_clocks() {
        let urls = S3Urls::new(bucket(None, None), Arc::new(ManualClock::at_seconds(3_600)));
        let url = urls.signed_url("connectors/acme/T/k=a%20b/f+1.parquet", 60).await.unwrap();
        assert!(url.contains("/connectors/acme/T/k%3Da%2520b/f%2B1.parquet?"), "{url}");
        assert!(url.contains("&X-Amz-Date=20260901T010000Z&X-Amz-Expires=60&"), "{url}");
    }
}
