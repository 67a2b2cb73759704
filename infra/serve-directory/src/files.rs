//! The files of the tables, under signed URLs: what S3 does for the deployed server.
//!
//! A URL names a file and an end, and carries the HMAC-SHA256 of both. Its query keys are those of a presigned S3 URL,
//! because clients that read in delta format look for them. Nobody's token is asked: as in S3, who has the URL may read.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use delivery::ids::hex;
use delivery::ports::{Clock, PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use hmac::digest::Key as MacKey;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use http::{HeaderMap, StatusCode};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, ObjectStore as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use sha2::Sha256;
use sharing::ports::UrlSigner;

/// Where files begin on the host.
const PREFIX: &str = "/files";
/// What the rest of a URL takes, about.
const QUERY_BYTES_MAX: usize = 160;
/// What of a path is percent-encoded: all but the unreserved characters of RFC 3986, and the slash.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Signs URLs of files, and knows its own again. Has no `Debug` of its key.
pub struct SignedUrls {
    host_url: String,
    /// With the key, and nothing else yet.
    mac: Hmac<Sha256>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for SignedUrls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedUrls").field("host_url", &self.host_url).finish_non_exhaustive()
    }
}

impl SignedUrls {
    /// URLs below a host's URL, such as `http://127.0.0.1:8080`, signed with a key that nobody else has.
    #[must_use]
    pub fn new(host_url: String, key: [u8; 32], clock: Arc<dyn Clock>) -> Self {
        // A key that is shorter than a block is filled up with zeros (RFC 2104).
        let mut block = MacKey::<Hmac<Sha256>>::default();
        block.iter_mut().zip(key).for_each(|(to, from)| *to = from);
        Self { host_url, mac: Hmac::new(&block), clock }
    }

    fn mac(&self, file: &str, expires_at: i64) -> Hmac<Sha256> {
        self.mac.clone().chain_update(expires_at.to_string()).chain_update("\n").chain_update(file)
    }

    fn is_good(&self, file: &str, asked: &Asked) -> bool {
        let alive = self.clock.now() < Timestamp::EPOCH.plus_seconds(asked.ends_at);
        let signature = hex::decode(&asked.signature).ok();
        alive && signature.is_some_and(|signature| self.mac(file, asked.ends_at).verify_slice(&signature).is_ok())
    }
}

#[async_trait]
impl UrlSigner for SignedUrls {
    async fn signed_url(&self, key: &str, life_seconds: u32) -> Result<String, PortError> {
        let ends_at = self.clock.now().seconds() + i64::from(life_seconds);
        let signature = self.mac(key, ends_at).finalize().into_bytes();
        let (host, path) = (&self.host_url, utf8_percent_encode(key, ENCODED));
        // One piece of memory for the whole: this is done for each of many thousands of files.
        let mut url = String::with_capacity(host.len() + 2 * key.len() + QUERY_BYTES_MAX);
        url.extend([host.as_str(), PREFIX, "/"]);
        url.extend(path);
        write!(url, "?X-Amz-Expires={life_seconds}&ends-at={ends_at}&X-Amz-Signature={}", hex(&signature))
            .map_err(|error| PortError::new(PortErrorKind::InvalidData, "sign a URL", error))?;
        Ok(url)
    }
}

/// The query of a file's URL.
#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(rename = "ends-at")]
    ends_at: i64,
    #[serde(rename = "X-Amz-Signature")]
    signature: String,
}

#[derive(Debug, Clone)]
struct Files {
    store: Arc<LocalFileSystem>,
    urls: Arc<SignedUrls>,
}

/// Answers the URLs that `urls` signs, from a store whose paths they name. Understands one range a request.
pub fn router(store: Arc<LocalFileSystem>, urls: Arc<SignedUrls>) -> Router {
    Router::new().route(&format!("{PREFIX}/{{*file}}"), get(file)).with_state(Files { store, urls })
}

async fn file(
    State(files): State<Files>,
    Path(file): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let good = asked.is_ok_and(|Query(asked)| files.urls.is_good(&file, &asked));
    if !good {
        return (StatusCode::FORBIDDEN, "The URL is not signed, or its time is over.\n").into_response();
    }
    let Ok(key) = Key::parse(&file) else { return StatusCode::NOT_FOUND.into_response() };
    let range = headers.get(RANGE).and_then(|range| range.to_str().ok()).and_then(parse_range);
    let partial = range.is_some();
    let found = match files.store.get_opts(&key, GetOptions { range, ..GetOptions::default() }).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return StatusCode::NOT_FOUND.into_response(),
        Err(_) => return StatusCode::RANGE_NOT_SATISFIABLE.into_response(),
    };
    let (range, size) = (found.range.clone(), found.meta.size);
    let length = [(CONTENT_LENGTH, (range.end - range.start).to_string()), (ACCEPT_RANGES, "bytes".to_owned())];
    let body = Body::from_stream(found.into_stream());
    if partial {
        let content_range = format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1));
        (StatusCode::PARTIAL_CONTENT, length, [(CONTENT_RANGE, content_range)], body).into_response()
    } else {
        (StatusCode::OK, length, body).into_response()
    }
}

/// One range of bytes; a header that is anything else is passed over (RFC 9110, 14.2), and the whole file is sent.
fn parse_range(text: &str) -> Option<GetRange> {
    Some(match text.strip_prefix("bytes=")?.split_once('-')? {
        ("", suffix) => GetRange::Suffix(suffix.parse().ok()?),
        (start, "") => GetRange::Offset(start.parse().ok()?),
        (start, end) => GetRange::Bounded(start.parse().ok()?..end.parse::<u64>().ok()?.checked_add(1)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;
    use tower::ServiceExt as _;

    struct Still(i64);

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::EPOCH.plus_seconds(self.0)
        }
    }

    fn urls(now: i64) -> Arc<SignedUrls> {
        Arc::new(SignedUrls::new("http://h".to_owned(), [7; 32], Arc::new(Still(now))))
    }

    async fn fetch(urls: Arc<SignedUrls>, url: &str, range: Option<&str>) -> (StatusCode, Vec<u8>) {
        let store = Arc::new(LocalFileSystem::new());
        let request = Request::get(url.strip_prefix("http://h").unwrap());
        let request = range.into_iter().fold(request, |request, range| request.header(RANGE, range));
        let answer = router(store, urls).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        (answer.status(), answer.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    proptest! {
        #[test]
        fn a_range_is_read_or_passed_over(first in any::<u64>(), last in any::<u64>(), other in "\\PC{0,30}") {
            let expected = last.checked_add(1).map(|end| GetRange::Bounded(first..end));
            prop_assert_eq!(parse_range(&format!("bytes={first}-{last}")), expected);
            prop_assert_eq!(parse_range(&format!("bytes={first}-")), Some(GetRange::Offset(first)));
            let _ = (parse_range(&other), parse_range(&format!("bytes={other}")));
        }

        #[test]
        fn no_query_of_a_url_is_good_unless_it_is_signed(ends_at in any::<i64>(), signature in "\\PC{0,70}") {
            let asked = Asked { ends_at, signature };
            prop_assert!(!urls(0).is_good("t/f", &asked), "{asked:?}");
        }
    }

    #[tokio::test]
    async fn a_signed_url_fetches_its_file_until_its_end() {
        let path = std::env::temp_dir().join(format!("serve-directory k=a%20b é {}", std::process::id()));
        std::fs::write(&path, b"0123456789").unwrap();
        let key = path.to_str().unwrap().trim_start_matches('/').to_owned();
        let url = urls(100).signed_url(&key, 60).await.unwrap();
        assert!(url.contains("k%3Da%2520b%20%C3%A9") && url.contains("X-Amz-Signature="), "{url}");

        assert_eq!(fetch(urls(159), &url, None).await, (StatusCode::OK, b"0123456789".to_vec()));
        for (range, expected) in [("bytes=2-4", "234"), ("bytes=7-", "789"), ("bytes=-2", "89"), ("bytes=8-99", "89")] {
            assert_eq!(
                fetch(urls(100), &url, Some(range)).await,
                (StatusCode::PARTIAL_CONTENT, expected.into()),
                "{range}"
            );
        }
        assert_eq!(fetch(urls(100), &url, Some("bytes=99-")).await.0, StatusCode::RANGE_NOT_SATISFIABLE);
        for range in ["bytes=5-x", "bytes=x-5", "bytes=0-1,3-4", "bytes=-", "lines=0-1", "bytes=0-18446744073709551615"]
        {
            assert_eq!(fetch(urls(100), &url, Some(range)).await, (StatusCode::OK, b"0123456789".to_vec()), "{range}");
        }
        assert_eq!(fetch(urls(160), &url, None).await.0, StatusCode::FORBIDDEN, "its time is over");
        for forged in [
            url.replace("ends-at=160", "ends-at=161"),
            url.replace("serve-directory", "serve-directori"),
            url.replace("X-Amz-Signature=", "X-Amz-Signature=00"),
            url.split_once('?').unwrap().0.to_owned(),
        ] {
            assert_eq!(fetch(urls(100), &forged, None).await.0, StatusCode::FORBIDDEN, "{forged}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(fetch(urls(100), &url, None).await.0, StatusCode::NOT_FOUND);
    }
}
