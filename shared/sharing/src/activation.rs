//! The activation page: where a recipient takes the credential, once.
//!
//! Opening the page shows what the link is for and changes nothing: mail scanners and previews follow links. Only the
//! button hands the credential out. What is stored are hashes; the token is in the answer and nowhere else.

mod page;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use delivery::ports::{Clock, PortError};
use delivery::timestamp::Timestamp;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::ports::{Activation, ActivationState, ActivationStore, Consumed, Grant, Holder, SecretHash, SecretSource};
use page::Message;

/// Where activation pages begin on a host: the link is the host's URL, this, and the code.
pub const PREFIX: &str = "/activate";

/// The longest code that is looked up, in bytes.
const CODE_BYTES_MAX: usize = 128;

const SECONDS_PER_DAY: i64 = 86_400;

/// What the pages need of the world.
pub struct ActivationPages {
    /// The links.
    pub activations: Arc<dyn ActivationStore>,
    /// Where tokens come from.
    pub secrets: Arc<dyn SecretSource>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for ActivationPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActivationPages")
    }
}

/// The pages below [`PREFIX`].
pub fn router(pages: ActivationPages) -> Router {
    Router::new()
        .route(&format!("{PREFIX}/{{code}}"), get(open).post(download))
        .layer(DefaultBodyLimit::max(4_096))
        .with_state(Arc::new(pages))
}

/// `GET /activate/{code}`: shows what the link is for.
async fn open(State(pages): State<Arc<ActivationPages>>, Path(code): Path<String>) -> Response {
    let found = pages.look_up(&code).await;
    let now = pages.clock.now();
    match found.map(|found| found.map_or(Err(Message::Unknown), |activation| usable(activation, now))) {
        Ok(Ok(activation)) => html(StatusCode::OK, page::invitation(&activation)),
        Ok(Err(message)) => say(message),
        Err(error) => trouble(&error),
    }
}

/// `POST /activate/{code}`: the button.
async fn download(State(pages): State<Arc<ActivationPages>>, Path(code): Path<String>) -> Response {
    match pages.hand_out(&code).await {
        Ok(Ok(profile)) => profile,
        Ok(Err(message)) => say(message),
        Err(error) => trouble(&error),
    }
}

/// The activation, if its button works.
fn usable(activation: Activation, now: Timestamp) -> Result<Activation, Message> {
    match activation.state {
        ActivationState::Used => Err(Message::Used),
        ActivationState::Replaced => Err(Message::Replaced),
        ActivationState::Revoked => Err(Message::Revoked),
        ActivationState::Unused if now >= activation.expires_at => Err(Message::Expired),
        ActivationState::Unused => Ok(activation),
    }
}

impl ActivationPages {
    async fn look_up(&self, code: &str) -> Result<Option<Activation>, PortError> {
        if code.len() > CODE_BYTES_MAX {
            return Ok(None);
        }
        self.activations.activation(&SecretHash::of(code)).await
    }

    /// What became of a link whose button worked a moment ago.
    async fn why_too_late(&self, code: &str, now: Timestamp) -> Result<Message, PortError> {
        let activation = self.look_up(code).await?.map(|activation| usable(activation, now));
        // A link that is as it was is refused with its whole share.
        Ok(activation.map_or(Message::Unknown, |activation| activation.err().unwrap_or(Message::Revoked)))
    }

    /// Uses the link and makes the profile, or says why not.
    async fn hand_out(&self, code: &str) -> Result<Result<Response, Message>, PortError> {
        let now = self.clock.now();
        let Some(activation) = self.look_up(code).await? else { return Ok(Err(Message::Unknown)) };
        let activation = match usable(activation, now) {
            Ok(activation) => activation,
            Err(message) => return Ok(Err(message)),
        };
        let token = self.secrets.secret()?;
        let grant = Grant {
            connector: activation.connector.clone(),
            holder: Holder::Recipient,
            expires_at: whole_seconds(now).plus_seconds(SECONDS_PER_DAY * i64::from(activation.token_lifetime_days)),
            allowed_ips: activation.allowed_ips.clone(),
            rotation: activation.rotation,
        };
        match self.activations.consume(&SecretHash::of(code), &token.hash(), &grant, now).await? {
            Consumed::TooLate => Ok(Err(self.why_too_late(code, now).await?)),
            Consumed::Now => {
                tracing::info!(
                    connector.id = grant.connector.as_str(),
                    expires_at = %grant.expires_at,
                    "credential handed out"
                );
                Ok(Ok(profile(&activation.endpoint, token.reveal(), grant.expires_at)))
            }
        }
    }
}

/// Some clients cannot read a profile's time with a fraction.
fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.seconds() * 1_000).unwrap_or(at)
}

/// The profile file, version 1: the one that every client reads.
fn profile(endpoint: &str, token: String, expires_at: Timestamp) -> Response {
    let profile = json!({
        "shareCredentialsVersion": 1,
        "endpoint": endpoint,
        "bearerToken": token,
        "expirationTime": expires_at.to_string(),
    });
    let mut response = (StatusCode::OK, format!("{profile:#}\n")).into_response();
    private(response.headers_mut());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let attachment = HeaderValue::from_static("attachment; filename=\"config.share\"");
    response.headers_mut().insert(CONTENT_DISPOSITION, attachment);
    response
}

fn say(message: Message) -> Response {
    let status = match message {
        Message::Unknown => StatusCode::NOT_FOUND,
        Message::Used | Message::Replaced | Message::Expired | Message::Revoked => StatusCode::GONE,
        Message::Trouble => StatusCode::SERVICE_UNAVAILABLE,
    };
    html(status, page::message(message))
}

fn trouble(error: &PortError) -> Response {
    tracing::error!(error.kind = ?error.kind, error.chain = %crate::server::chain(error), "an activation page failed");
    say(Message::Trouble)
}

fn html(status: StatusCode, page: String) -> Response {
    let mut response = (status, page).into_response();
    private(response.headers_mut());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// Nothing of these pages is kept, framed, indexed or told to other sites.
fn private(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex, nofollow"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    headers.insert(
        HeaderName::from_static("content-security-policy"),
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; \
             base-uri 'none'",
        ),
    );
}
