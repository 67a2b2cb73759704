//! Presigned URLs of the tables bucket.
//!
//! A URL ends with the credential that signed it. When a function's own credential ends the platform does not say, so a
//! session of a role signs, which does nothing but read tables. It is taken anew when half of it is over.
//!
//! An answer may hold ten thousand URLs. The object store's own signer derives the day's key and sorts the query for
//! each, which takes longer than everything else about an answer. So the store signs one URL when the session or the
//! day changes; the others are made of its parts, by the rules of AWS Signature Version 4 for query strings.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use aws::sts::ReaderRole;
use delivery::ids::hex;
use delivery::ports::{Clock, PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::signer::Signer;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::digest::{SHA256, digest};
use ring::hmac::{HMAC_SHA256, Key, sign};
use sharing::ports::{TemporaryCredential, UrlSigner};
use tokio::sync::Mutex;

const OPERATION: &str = "sign the URL of a file";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What of a query is percent-encoded: all but the unreserved characters of RFC 3986.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What of a path is.
const PATH: &AsciiSet = &QUERY.remove(b'/');
/// The key of the URL that the object store signs. It is never fetched.
const SAMPLE: &str = "sample";
/// How long a session is good for, in seconds: as long as one role may take another.
const SESSION_SECONDS: u32 = 3_600;
/// How much of a session is left when the next one is taken, in seconds. URLs are good for this long at least.
const SESSION_SECONDS_MIN: i64 = 1_800;
/// How much of a session must be left for it to sign at all, in seconds.
const SESSION_SECONDS_LAST: i64 = 60;
/// How long after a session was not to be had the next try is, in seconds.
const RETRY_SECONDS: i64 = 15;

/// Gives sessions of a role that reads tables.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// A new one, of so many seconds.
    async fn session(&self, life_seconds: u32) -> Result<TemporaryCredential, PortError>;
}

#[async_trait]
impl Sessions for ReaderRole {
    async fn session(&self, life_seconds: u32) -> Result<TemporaryCredential, PortError> {
        Self::session(self, life_seconds, None).await
    }
}

/// A [`UrlSigner`] with sessions of a role.
pub struct S3Urls {
    bucket: Arc<AmazonS3>,
    sessions: Arc<dyn Sessions>,
    clock: Arc<dyn Clock>,
    signing: RwLock<Option<Arc<Signing>>>,
    /// The session in use. Whoever takes the next one holds the lock: the others wait for it.
    session: Mutex<Option<Arc<TemporaryCredential>>>,
}

impl std::fmt::Debug for S3Urls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Urls").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

/// What all URLs of one session and one day have in common. Has no `Debug` of its secrets.
struct Signing {
    /// When the session ends.
    expires_at: Timestamp,
    /// Until when it signs without a look for the next one.
    settled_until: Timestamp,
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
    /// The query as far as the date, and from behind the lifetime to the signature.
    query: (String, String),
}

impl S3Urls {
    /// URLs of a bucket.
    #[must_use]
    pub fn new(bucket: Arc<AmazonS3>, sessions: Arc<dyn Sessions>, clock: Arc<dyn Clock>) -> Self {
        Self { bucket, sessions, clock, signing: RwLock::new(None), session: Mutex::new(None) }
    }

    /// What signs URLs now: as before, or anew if the session is half over or the day is another.
    async fn signing(&self, now: Timestamp, date: &str) -> Result<Arc<Signing>, PortError> {
        if let Some(kept) = self.kept(now, date) {
            return Ok(kept);
        }
        let mut session = self.session.lock().await;
        if let Some(kept) = self.kept(now, date) {
            return Ok(kept);
        }
        let (credential, settled_until) = self.session_for(session.clone(), now).await?;
        let sample = self.bucket.signed_url(http::Method::GET, &Path::from(SAMPLE), Duration::from_secs(1)).await;
        let signing = Signing::of(sample.map_err(failed)?.as_str(), &credential, settled_until, date)
            .ok_or_else(|| failed("the object store's URL is not signed as expected"))?;
        let signing = Arc::new(signing);
        *session = Some(credential);
        *self.signing.write().unwrap_or_else(PoisonError::into_inner) = Some(signing.clone());
        Ok(signing)
    }

    /// The session that signs now, and until when there is no need to look for another.
    async fn session_for(
        &self,
        held: Option<Arc<TemporaryCredential>>,
        now: Timestamp,
    ) -> Result<(Arc<TemporaryCredential>, Timestamp), PortError> {
        let half = |session: &TemporaryCredential| session.expires_at.plus_seconds(-SESSION_SECONDS_MIN);
        let last = |session: &TemporaryCredential| session.expires_at.plus_seconds(-SESSION_SECONDS_LAST);
        if let Some(held) = held.as_ref().filter(|held| now < half(held)) {
            return Ok((held.clone(), half(held)));
        }
        match (self.sessions.session(SESSION_SECONDS).await, held.filter(|held| now < last(held))) {
            (Ok(new), _) => {
                let until = half(&new);
                Ok((Arc::new(new), until))
            }
            (Err(error), Some(held)) => {
                tracing::warn!(%error, "the role's next session is not to be had; the last one signs");
                let until = last(&held).min(now.plus_seconds(RETRY_SECONDS));
                Ok((held, until))
            }
            (Err(error), None) => Err(error),
        }
    }

    fn kept(&self, now: Timestamp, date: &str) -> Option<Arc<Signing>> {
        let kept = self.signing.read().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|kept| kept.date == date && now < kept.settled_until).cloned()
    }
}

#[async_trait]
impl UrlSigner for S3Urls {
    async fn signed_url(&self, key: &str, life_seconds: u32) -> Result<String, PortError> {
        let now = self.clock.now();
        let time = basic_time(now);
        let date = time.get(..8).unwrap_or_default();
        Ok(self.signing(now, date).await?.url(key, &time, life_seconds))
    }

    async fn credential_expires_at(&self) -> Result<Option<Timestamp>, PortError> {
        let now = self.clock.now();
        let time = basic_time(now);
        Ok(Some(self.signing(now, time.get(..8).unwrap_or_default()).await?.expires_at))
    }
}

impl Signing {
    /// Reads the parts of a URL of the key [`SAMPLE`] that the object store signed.
    fn of(sample: &str, credential: &TemporaryCredential, settled_until: Timestamp, date: &str) -> Option<Self> {
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
        let day = derive(format!("AWS4{}", credential.secret_access_key).as_bytes(), date);
        let service = derive(derive(day.as_ref(), region).as_ref(), "s3");
        let scope = format!("{date}/{region}/s3/aws4_request");
        let whole = format!("{}/{scope}", credential.access_key_id);
        let token = utf8_percent_encode(&credential.session_token, QUERY);
        Some(Self {
            query: (
                format!("X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={}", utf8_percent_encode(&whole, QUERY)),
                format!("&X-Amz-Security-Token={token}&X-Amz-SignedHeaders=host"),
            ),
            expires_at: credential.expires_at,
            settled_until,
            date: date.to_owned(),
            scope,
            key: Key::new(HMAC_SHA256, derive(service.as_ref(), "aws4_request").as_ref()),
            base_url: base_url.to_owned(),
            host: host.to_owned(),
            path: format!("/{path}"),
        })
    }

    /// The URL of a key, signed at a time such as `20260301T120000Z`.
    fn url(&self, key: &str, time: &str, life_seconds: u32) -> String {
        let (base_url, path, query) = (&self.base_url, utf8_percent_encode(key, PATH), &self.query);
        // In the order of the names: the security token stands between the lifetime and the signed headers.
        let query = format!("{}&X-Amz-Date={time}&X-Amz-Expires={life_seconds}{}", query.0, query.1);
        let request = format!("GET\n{}{path}\n{query}\nhost:{}\n\nhost\nUNSIGNED-PAYLOAD", self.path, self.host);
        let request = hex(digest(&SHA256, request.as_bytes()).as_ref());
        let to_sign = format!("{ALGORITHM}\n{time}\n{}\n{request}", self.scope);
        let signature = hex(sign(&self.key, to_sign.as_bytes()).as_ref());
        format!("{base_url}{path}?{query}&X-Amz-Signature={signature}")
    }
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use object_store::aws::AmazonS3Builder;
    use testkit::builders::instant;
    use testkit::sharing::ManualClock;

    use super::*;

    const TOKEN: &str = "a/token+of=STS&more";

    fn bucket(endpoint: Option<&str>) -> Arc<AmazonS3> {
        let builder = AmazonS3Builder::new()
            .with_region("eu-west-1")
            .with_bucket_name("tables")
            .with_access_key_id("AKIDEXAMPLE")
            .with_secret_access_key("secret/with+signs")
            .with_token(TOKEN)
            .with_virtual_hosted_style_request(endpoint.is_none())
            .with_allow_http(true);
        let builder = endpoint.into_iter().fold(builder, |builder, url| builder.with_endpoint(url));
        Arc::new(builder.build().unwrap())
    }

    /// Sessions with the bucket's own secrets, each an hour longer than the last; as many as there are.
    struct SomeSessions {
        asked: AtomicUsize,
        given: usize,
    }

    #[async_trait]
    impl Sessions for SomeSessions {
        async fn session(&self, life_seconds: u32) -> Result<TemporaryCredential, PortError> {
            let asked = self.asked.fetch_add(1, Ordering::SeqCst);
            if asked >= self.given {
                return Err(failed("no more"));
            }
            Ok(TemporaryCredential {
                access_key_id: "AKIDEXAMPLE".to_owned(),
                secret_access_key: "secret/with+signs".to_owned(),
                session_token: TOKEN.to_owned(),
                expires_at: instant(i64::try_from(asked + 1).unwrap() * i64::from(life_seconds)),
            })
        }
    }

    fn urls(endpoint: Option<&str>, given: usize) -> (S3Urls, Arc<ManualClock>, Arc<SomeSessions>) {
        let clock = Arc::new(ManualClock::at_seconds(0));
        let sessions = Arc::new(SomeSessions { asked: AtomicUsize::new(0), given });
        (S3Urls::new(bucket(endpoint), sessions.clone(), clock.clone()), clock, sessions)
    }

    fn set(clock: &ManualClock, seconds: i64) {
        clock.advance(instant(seconds).seconds() - clock.now().seconds());
    }

    fn parts(url: &str) -> (String, BTreeMap<String, String>) {
        let (address, query) = url.split_once('?').unwrap();
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
        (address.to_owned(), pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    #[tokio::test]
    async fn a_url_is_the_one_that_the_object_store_signs() {
        for endpoint in [None, Some("http://127.0.0.1:4566")] {
            for key in ["connectors/acme/T/k=a%20b/f+1.parquet", "c/é ~_-.!'()*:@,;$&/x", "plain"] {
                let path = Path::parse(key).unwrap();
                let store = bucket(endpoint);
                let theirs = store.signed_url(http::Method::GET, &path, Duration::from_secs(60)).await.unwrap();
                let (address, theirs) = parts(theirs.as_str());
                let time = &theirs["X-Amz-Date"];
                let (urls, ..) = urls(endpoint, 1);
                let ours = urls.signing(instant(0), &time[..8]).await.unwrap().url(key, time, 60);
                assert_eq!(parts(&ours), (address, theirs), "{key} {endpoint:?}");
                let (signed, _) = ours.split_once("&X-Amz-Signature=").unwrap();
                let names: Vec<_> = signed.split(['?', '&']).skip(1).collect();
                assert!(names.is_sorted(), "the signature is of the names in their order: {ours}");
            }
        }
    }

    #[tokio::test]
    async fn a_key_is_encoded_once_and_the_time_is_the_clocks() {
        let (urls, clock, _) = urls(None, 1);
        set(&clock, 1_200);
        let url = urls.signed_url("connectors/acme/T/k=a%20b/f+1.parquet", 60).await.unwrap();
        assert!(url.contains("/connectors/acme/T/k%3Da%2520b/f%2B1.parquet?"), "{url}");
        assert!(url.contains("&X-Amz-Date=20260901T002000Z&X-Amz-Expires=60&"), "{url}");
    }

    #[tokio::test]
    async fn a_session_signs_until_half_of_it_is_over() {
        let (urls, clock, sessions) = urls(None, 3);
        for (now, end, asked) in
            [(0, 3_600, 1), (1_799, 3_600, 1), (1_800, 7_200, 2), (5_399, 7_200, 2), (8_999, 10_800, 3)]
        {
            set(&clock, now);
            urls.signed_url("k", 60).await.unwrap();
            assert_eq!(urls.credential_expires_at().await.unwrap(), Some(instant(end)), "{now}");
            assert_eq!(sessions.asked.load(Ordering::SeqCst), asked, "{now}");
        }
    }

    #[tokio::test]
    async fn the_last_session_signs_while_it_lives_when_there_is_no_next() {
        let (urls, clock, sessions) = urls(None, 1);
        urls.signed_url("k", 60).await.unwrap();
        for (now, asked) in [(1_800, 2), (1_814, 2), (1_815, 3), (3_539, 4)] {
            set(&clock, now);
            assert_eq!(urls.credential_expires_at().await.unwrap(), Some(instant(3_600)), "{now}");
            urls.signed_url("k", 60).await.unwrap();
            assert_eq!(sessions.asked.load(Ordering::SeqCst), asked, "tried again now and then only: {now}");
        }
        set(&clock, 3_540);
        assert_eq!(urls.signed_url("k", 60).await.unwrap_err().kind, PortErrorKind::Unavailable);
    }
}
