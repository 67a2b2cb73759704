//! The open Delta Sharing server as a local process, over Delta tables in directories: the router of the deployed server,
//! with shares from a small file, and files from the same process.
//!
//! Knows no AWS. Meant to try clients against, and for tests; it speaks plain HTTP.

pub mod files;
pub mod shares;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::map_request;
use delivery::ports::{Clock, PortError};
use delivery::timestamp::Timestamp;
use object_store::local::LocalFileSystem;
use sharing::ports::RateLimit;
use sharing::ports::{SecretSource as _, TokenKey};
use sharing::secrets::OsSecrets;
use sharing::server::{self, ClientAddress, Server, Throttle, URL_LIFE_SECONDS};
use tables::snapshot::TableReader;
use tokio::net::TcpListener;

use files::SignedUrls;
use shares::{Misconfigured, Recipient, Shares};

/// Life of tokens without an end of their own: as long as anybody tries something out.
const TOKEN_LIFE_SECONDS: i64 = 7 * 86_400;

/// What to serve, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// A share file, or a directory of Delta tables.
    pub source: PathBuf,
    /// The address to listen on.
    pub address: IpAddr,
    /// The port; 0 for any that is free.
    pub port: u16,
    /// What clients reach the server by, such as `http://host:8080`, if that is not the address.
    pub url: Option<String>,
    /// Where the recipients' profiles are written.
    pub profiles: PathBuf,
    /// How often each token may ask.
    pub rate_limit: RateLimit,
}

/// A server that listens, and is not answering yet.
#[derive(Debug)]
pub struct Listening {
    /// The sharing endpoint: what profiles say.
    pub endpoint: String,
    /// What is shared: `share.schema.table`.
    pub tables: Vec<String>,
    /// What of a directory is not shared, and why.
    pub skipped: Vec<String>,
    /// The profiles that were written.
    pub profiles: Vec<PathBuf>,
    listener: TcpListener,
    app: Router,
}

impl Listening {
    /// Reads the shares, listens, and writes a profile for each recipient, readable by its owner only.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the share file or the directory, or that the address or the profiles' folder cannot be
    /// used.
    pub async fn start(settings: &Settings) -> Result<Self, Misconfigured> {
        let clock = Arc::new(WallClock);
        let token_ends_at = clock.now().plus_seconds(TOKEN_LIFE_SECONDS);
        if settings.address.is_unspecified() && settings.url.is_none() {
            return Err(Misconfigured(format!(
                "{} is no address that a client can reach: say with --url what reaches this machine, such as --url \
                 http://host:8080 with --port 8080",
                settings.address
            )));
        }
        let (mut shares, recipients) = Shares::read(&settings.source, token_ends_at)?;
        let address = SocketAddr::new(settings.address, settings.port);
        let listening = async {
            let listener = TcpListener::bind(address).await?;
            let local = listener.local_addr()?;
            Ok::<_, std::io::Error>((listener, local))
        };
        let (listener, local) =
            listening.await.map_err(|error| Misconfigured(format!("cannot listen on {address}: {error}")))?;
        let host_url = match &settings.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{local}"),
        };
        let endpoint = server::endpoint(&host_url);

        let mut profiles = Vec::new();
        for recipient in &recipients {
            let token = match &recipient.token {
                Some(token) => token.clone(),
                None => fresh_secret()?,
            };
            shares.admit(&sharing::ports::SecretHash::of(&token), recipient);
            profiles.push(write_profile(&settings.profiles, recipient, &endpoint, &token)?);
        }

        let store = Arc::new(LocalFileSystem::new());
        let (tables, skipped) = (shares.table_names(), std::mem::take(&mut shares.skipped));
        let urls = Arc::new(SignedUrls::new(host_url, fresh_key()?, clock.clone()));
        let signing = TokenKey::new(fresh_key()?).ok_or_else(|| Misconfigured("a key is too short".to_owned()))?;
        let server = Server {
            catalog: Arc::new(shares),
            tables: Arc::new(TableReader::of_strangers(store.clone())),
            urls: urls.clone(),
            clock,
            url_life_seconds: URL_LIFE_SECONDS,
            answer_bytes_max: u64::MAX,
            signing: Arc::new(signing),
            throttle: Throttle::new(settings.rate_limit),
            credentials: None,
        };
        let app = server::router(server).layer(map_request(with_client_address)).merge(files::router(store, urls));
        Ok(Self { endpoint, tables, skipped, profiles, listener, app })
    }

    /// Answers until `end` comes.
    ///
    /// # Errors
    ///
    /// What the listener failed with.
    pub async fn serve(self, end: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
        let app = self.app.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(self.listener, app).with_graceful_shutdown(end).await
    }
}

/// Notes the address that the connection came from.
async fn with_client_address(mut request: Request) -> Request {
    if let Some(ConnectInfo(address)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() {
        request.extensions_mut().insert(ClientAddress(address.ip()));
    }
    request
}

fn fresh_secret() -> Result<String, Misconfigured> {
    let secret = OsSecrets.secret().map_err(no_randomness)?;
    Ok(secret.reveal())
}

fn fresh_key() -> Result<[u8; 32], Misconfigured> {
    use sha2::Digest as _;
    Ok(sha2::Sha256::digest(fresh_secret()?).into())
}

fn no_randomness(error: PortError) -> Misconfigured {
    Misconfigured(format!("the system has no randomness to give: {error}"))
}

/// Writes a recipient's profile, for its owner's eyes only.
fn write_profile(folder: &Path, recipient: &Recipient, endpoint: &str, token: &str) -> Result<PathBuf, Misconfigured> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = folder.join(format!("{}.share", recipient.name));
    let profile = serde_json::json!({
        "shareCredentialsVersion": 1,
        "endpoint": endpoint,
        "bearerToken": token,
        "expirationTime": recipient.grant.expires_at.to_string(),
    });
    let write = || {
        std::fs::create_dir_all(folder)?;
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        writeln!(file, "{profile}")
    };
    write().map_err(|error| Misconfigured(format!("cannot write {}: {error}", path.display())))?;
    Ok(path)
}

/// The system's clock.
#[derive(Debug, Clone, Copy)]
struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).ok().and_then(Timestamp::from_micros).unwrap_or(Timestamp::EPOCH)
    }
}
