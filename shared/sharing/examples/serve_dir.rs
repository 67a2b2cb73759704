//! Shares the tables in a folder, to try clients against: `serve_dir <folder> <share> <port>`.
//!
//! The folder has a `connectors/<share>/<TABLE>` for each table. Files are served by the same process, under URLs that
//! look presigned but are open to everybody who can reach the loopback address. The profile goes to standard output.
#![allow(clippy::print_stdout, clippy::indexing_slicing, reason = "an example talks to its terminal")]

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use delivery::ids::ConnectorId;
use delivery::ports::{Clock, SharingBackend as _};
use delivery::table::TableName;
use delivery::timestamp::Timestamp;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use http::{HeaderMap, StatusCode};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _};
use sharing::activation::ActivationPages;
use sharing::ports::{Grant, Holder, SecretHash, TokenStore as _};
use sharing::secrets::OsSecrets;
use sharing::server::{self, RateLimit, Server, Throttle, URL_LIFE_SECONDS};
use tables::snapshot::TableReader;
use testkit::builders::connector;
use testkit::sharing::{FakeSigner, InMemorySharing, token_key};

const TOKEN: &str = "a-token-for-the-loopback-address-only";

struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).ok().and_then(Timestamp::from_micros).unwrap_or(Timestamp::EPOCH)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [folder, share, port] = &arguments[..] else { return Err("usage: serve_dir <folder> <share> <port>".into()) };
    let connector = connector(ConnectorId::new(share.as_str())?.as_str(), "team");
    let base_url = format!("http://127.0.0.1:{port}");

    let sharing = Arc::new(InMemorySharing::default());
    let clock = Arc::new(WallClock);
    let _ = sharing.provision(&connector).await?;
    for entry in std::fs::read_dir(format!("{folder}/connectors/{share}"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        sharing.add_table(&connector.id, &TableName::from_stored(name)).await?;
    }
    let grant = Grant {
        connector: connector.id.clone(),
        holder: Holder::Recipient,
        expires_at: clock.now().plus_seconds(86_400),
        allowed_ips: Vec::new(),
        rotation: 0,
    };
    sharing.put_token(&SecretHash::of(TOKEN), &grant).await?;

    let store = Arc::new(LocalFileSystem::new_with_prefix(folder)?);
    let protocol = server::router(Server {
        catalog: sharing.clone(),
        tables: Arc::new(TableReader::new(store.clone())),
        urls: Arc::new(FakeSigner { base_url: format!("{base_url}/files"), ..FakeSigner::default() }),
        clock: clock.clone(),
        url_life_seconds: URL_LIFE_SECONDS,
        signing: Arc::new(token_key()),
        throttle: Throttle::new(RateLimit::default()),
        credentials: None,
    });
    let pages = ActivationPages { activations: sharing, secrets: Arc::new(OsSecrets), clock };
    let files = Router::new().route("/files/{*key}", get(file)).with_state(store);
    let app = protocol.merge(sharing::activation::router(pages)).merge(files);

    let endpoint = server::endpoint(&base_url);
    println!(r#"{{"shareCredentialsVersion":1,"endpoint":"{endpoint}","bearerToken":"{TOKEN}"}}"#);
    axum::serve(tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?, app).await?;
    Ok(())
}

/// One file, or a range of it.
async fn file(State(store): State<Arc<LocalFileSystem>>, Path(key): Path<String>, headers: HeaderMap) -> Response {
    let range = headers.get(RANGE).and_then(|range| range.to_str().ok()).and_then(parse_range);
    let partial = range.is_some();
    let Ok(key) = Key::parse(&key) else { return StatusCode::BAD_REQUEST.into_response() };
    let Ok(meta) = store.head(&key).await else { return StatusCode::NOT_FOUND.into_response() };
    let Ok(found) = store.get_opts(&key, GetOptions { range, ..GetOptions::default() }).await else {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    };
    let range = found.range.clone();
    let length = [(CONTENT_LENGTH, (range.end - range.start).to_string()), (ACCEPT_RANGES, "bytes".to_owned())];
    let body = Body::from_stream(found.into_stream());
    if partial {
        let content_range = format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), meta.size);
        (StatusCode::PARTIAL_CONTENT, length, [(CONTENT_RANGE, content_range)], body).into_response()
    } else {
        (StatusCode::OK, length, body).into_response()
    }
}

fn parse_range(text: &str) -> Option<GetRange> {
    let (start, end) = text.strip_prefix("bytes=")?.split_once('-')?;
    Some(match (start.parse().ok(), end.parse::<u64>().ok()) {
        (Some(start), Some(end)) => GetRange::Bounded(start..end + 1),
        (Some(start), None) => GetRange::Offset(start),
        (None, Some(suffix)) => GetRange::Suffix(suffix),
        (None, None) => return None,
    })
}
