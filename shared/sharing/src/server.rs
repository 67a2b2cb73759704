//! The server's end of the protocol, as a router: the same one as a Lambda and as a local process.
//!
//! Knows HTTP and the protocol. Who may read what comes from a [`ShareCatalog`], what a table is from its log, and
//! the files go from storage to the client without passing through here.

mod access;
mod answer;
mod asked;
mod capabilities;
mod changes;
mod directory;
mod error;
mod file_ids;
mod history;
mod json;
mod lines;
mod listing;
mod metadata;
mod page;
mod predicate;
mod query;
mod read_token;
mod seal;
mod source;
mod statistics;
mod throttle;
mod value;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, head, post};
use delivery::ports::{Clock, PortError};
use delivery::timestamp::Timestamp;
use tables::snapshot::TableReader;

pub use access::ClientAddress;
use access::OpenTable;
use answer::Links;
use error::ProtocolError;
pub(crate) use error::chain;
use read_token::ReadTokens;
pub use throttle::{Throttle, USUAL_LIMIT};

use crate::ports::{ShareCatalog, SigningKey, TemporaryCredentials, UrlSigner};

/// Where the protocol begins on a host: the sharing endpoint is the host's URL and this.
pub const PREFIX: &str = "/delta-sharing";

/// The sharing endpoint of a host's URL, such as `https://host`: what goes into a profile.
#[must_use]
pub fn endpoint(host_url: &str) -> String {
    format!("{host_url}{PREFIX}")
}

/// The host's URL of a sharing endpoint, without a slash at its end.
#[must_use]
pub fn host_url(endpoint: &str) -> &str {
    let endpoint = endpoint.trim_end_matches('/');
    endpoint.strip_suffix(PREFIX).unwrap_or(endpoint)
}

/// Life of a file's URL unless told otherwise, in seconds.
pub const URL_LIFE_SECONDS: u32 = 3_600;

/// The largest request body that is read: a predicate of 1 MB, escaped.
const BODY_BYTES_MAX: usize = 2 * 1_024 * 1_024;

/// What the router needs of the world.
pub struct Server {
    /// Who may read what.
    pub catalog: Arc<dyn ShareCatalog>,
    /// The tables.
    pub tables: Arc<TableReader>,
    /// URLs of files.
    pub urls: Arc<dyn UrlSigner>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Life of a file's URL in seconds, at most.
    pub url_life_seconds: u32,
    /// Bytes of an answer, at most: what the platform lets through.
    pub answer_bytes_max: u64,
    /// The key of page and refresh tokens.
    pub signing: Arc<dyn SigningKey>,
    /// How often a token may ask.
    pub throttle: Throttle,
    /// Credentials for clients that read logs themselves; none if nobody gets any.
    pub credentials: Option<Arc<dyn TemporaryCredentials>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("url_life_seconds", &self.url_life_seconds).finish_non_exhaustive()
    }
}

impl Server {
    /// How URLs are made from now on. They are not good for longer than the credential that signs them.
    async fn links(&self, table: &OpenTable, now: Timestamp) -> Result<Links, PortError> {
        // A URL says its time in whole seconds, and so does what is said of it.
        let now = Timestamp::EPOCH.plus_seconds(now.seconds());
        let asked = now.plus_seconds(self.url_life_seconds.into());
        let expires_at = self.urls.credential_expires_at().await?.map_or(asked, |end| end.min(asked));
        let life_seconds = u32::try_from(expires_at.seconds() - now.seconds()).unwrap_or_default();
        let expires_at = now.plus_seconds(life_seconds.into());
        Ok(Links { table_path: table.shared.path.clone(), urls: self.urls.clone(), life_seconds, expires_at })
    }

    async fn read_tokens(&self, table: &OpenTable, now: Timestamp) -> Result<ReadTokens, PortError> {
        Ok(ReadTokens { key: self.signing.key().await?, table: tables::table_id(&table.shared.path), now })
    }
}

/// The protocol's endpoints below [`PREFIX`], and `GET /health`.
///
/// The platform's view of the client's address goes in as an extension, [`ClientAddress`]; without it, tokens that
/// have an allow list are refused.
pub fn router(server: Server) -> Router {
    const SCHEMA: &str = "/shares/{share}/schemas/{schema}/tables";
    let table = |rest: &str| format!("{SCHEMA}/{{table}}{rest}");
    let protocol = Router::new()
        .route("/shares", get(listing::shares))
        .route("/shares/{share}", get(listing::one_share))
        .route("/shares/{share}/schemas", get(listing::schemas))
        .route("/shares/{share}/all-tables", get(listing::tables))
        .route(SCHEMA, get(listing::tables))
        .route(&table(""), head(metadata::version).get(listing::one_table))
        .route(&table("/version"), get(metadata::version))
        .route(&table("/metadata"), get(metadata::metadata))
        .route(&table("/query"), post(query::query))
        .route(&table("/changes"), get(changes::changes))
        .route(&table("/temporary-table-credentials"), post(directory::credentials))
        .route(&table("/queries/{query}"), post(query::query_info))
        .fallback(async || ProtocolError::no_endpoint())
        .method_not_allowed_fallback(async || ProtocolError::no_endpoint())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(server));
    Router::new()
        .nest(PREFIX, protocol)
        .route("/health", get(async || "ok\n"))
        .fallback(async || ProtocolError::no_endpoint())
}
