//! A server over in-memory ports, and requests to it.

use std::io::Read as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use delivery::connector::storage_path;
use delivery::ports::SharingBackend as _;
use delivery::table::TableName;
use http::header::{AUTHORIZATION, CONTENT_ENCODING};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload};
use serde_json::{Value, json};
use sharing::activation::ActivationPages;
use sharing::ports::{Grant, Holder, SecretHash, TokenStore as _};
use sharing::server::{ClientAddress, Server, Throttle, URL_LIFE_SECONDS, USUAL_LIMIT, router};
use tables::snapshot::TableReader;
use testkit::builders::{connector, connector_id, instant};
use testkit::sharing::{CountedSecrets, FakeCredentials, FakeSigner, InMemorySharing, ManualClock, token_key};
use tower::ServiceExt as _;

/// When the world begins, as seconds for [`instant`].
pub(crate) const NOW: i64 = 1_000_000;

/// Bytes of an answer, at most: more than a thousand files as they are, and less than two and a half thousand.
const ANSWER_BYTES_MAX: u64 = 600_000;

/// A token of the share `acme` that expires in 100 seconds.
pub(crate) const ACME: &str = "token-of-acme";

/// The share whose recipient may read folders.
const OTHER_SHARE: &str = "Other";

/// A token of the share `Other`.
pub(crate) const OTHER: &str = "token-of-other";

/// The shares `acme` (tables WF_A__V1, WF_B__V1, WF_C__V1) and `Other` (WF_OTHER__V1).
pub(crate) struct World {
    pub(crate) store: Arc<InMemory>,
    pub(crate) sharing: Arc<InMemorySharing>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) signer: Arc<FakeSigner>,
    app: Router,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_signer(FakeSigner { base_url: "https://files.test".to_owned(), ..FakeSigner::default() }).await
    }

    pub(crate) async fn with_signer(signer: FakeSigner) -> Self {
        let store = Arc::new(InMemory::new());
        let sharing = Arc::new(InMemorySharing::default());
        let clock = Arc::new(ManualClock::at_seconds(NOW));
        let signer = Arc::new(signer);
        let server = Server {
            catalog: sharing.clone(),
            tables: Arc::new(TableReader::new(store.clone())),
            urls: signer.clone(),
            clock: clock.clone(),
            url_life_seconds: URL_LIFE_SECONDS,
            answer_bytes_max: ANSWER_BYTES_MAX,
            signing: Arc::new(token_key()),
            throttle: Throttle::new(USUAL_LIMIT),
            credentials: Some(Arc::new(FakeCredentials::of(OTHER_SHARE))),
        };
        let secrets = Arc::new(CountedSecrets::default());
        let pages = ActivationPages { activations: sharing.clone(), secrets, clock: clock.clone() };
        let app = router(server).merge(sharing::activation::router(pages));
        let world = Self { store, sharing, clock, signer, app };
        for (share, tables, token) in
            [("acme", &["WF_A__V1", "WF_B__V1", "WF_C__V1"][..], ACME), ("Other", &["WF_OTHER__V1"], OTHER)]
        {
            let _ = world.sharing.provision(&connector(share, "team")).await.unwrap();
            for table in tables {
                let name = TableName::from_stored(*table);
                world.sharing.add_table(&connector_id(share), &name).await.unwrap();
                world.write_table(share, table, 3).await;
            }
            world.put_token(token, share, 100, &[]).await;
        }
        world
    }

    pub(crate) async fn put_token(&self, token: &str, share: &str, life_seconds: i64, allowed_ips: &[&str]) {
        let grant = Grant {
            connector: connector_id(share),
            holder: Holder::Recipient,
            expires_at: instant(NOW + life_seconds),
            allowed_ips: allowed_ips.iter().map(ToString::to_string).collect(),
            rotation: 0,
        };
        self.sharing.put_token(&SecretHash::of(token), &grant).await.unwrap();
    }

    /// Writes one version of a table's log.
    pub(crate) async fn commit(&self, share: &str, table: &str, version: u64, actions: &[Value]) {
        let text: String = actions.iter().map(|action| format!("{action}\n")).collect();
        let folder = storage_path(&connector_id(share));
        let location = Path::from(format!("{folder}/{table}/_delta_log/{version:020}.json"));
        self.store.put(&location, PutPayload::from(text)).await.unwrap();
    }

    /// A table of so many versions, each of one file and one run: version 0 has `run-0` with 10 rows, n from 0 to 9.
    pub(crate) async fn write_table(&self, share: &str, table: &str, versions: u64) {
        for version in 0..versions {
            let mut actions = if version == 0 { opening(table) } else { Vec::new() };
            actions.push(committed(version));
            actions.push(add(version));
            self.commit(share, table, version, &actions).await;
        }
    }

    /// A request with the token of `acme`.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path, ACME)).await
    }

    /// A query with the token of `acme`, of a table of `acme`.
    pub(crate) async fn query(&self, table: &str, body: &Value) -> Answer {
        self.query_with(table, body, &[]).await
    }

    pub(crate) async fn query_with(&self, table: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let path = format!("/shares/acme/schemas/data/tables/{table}/query");
        let mut request = request("POST", &path, ACME).map(|_| Body::from(body.to_string()));
        for (name, value) in headers {
            request.headers_mut().append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        self.send(request).await
    }

    /// A request with the token of `acme` and headers.
    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = request("GET", path, ACME);
        for (name, value) in headers {
            request.headers_mut().append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        self.send(request).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.into_body().collect().await;
        Answer { status, headers, body: body.map(|body| body.to_bytes().to_vec()).map_err(|error| error.to_string()) }
    }

    pub(crate) fn app(&self) -> Router {
        self.app.clone()
    }
}

/// A request of the protocol.
pub(crate) fn request(method: &str, path: &str, token: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("/delta-sharing{path}"))
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap()
}

/// A request from an address.
pub(crate) fn from_address(mut request: Request<Body>, address: &str) -> Request<Body> {
    request.extensions_mut().insert(ClientAddress(address.parse().unwrap()));
    request
}

pub(crate) fn opening(table: &str) -> Vec<Value> {
    let field = |name: &str, kind: &str| json!({"name": name, "type": kind, "nullable": true, "metadata": {"comment": "said", "delta.x": 1}});
    let schema = json!({"type": "struct", "fields": [field("n", "long"), field("run_id", "string")]});
    vec![
        json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 4}}),
        json!({"metaData": {
            "id": table, "format": {"provider": "parquet", "options": {}}, "schemaString": schema.to_string(),
            "partitionColumns": [], "configuration": {"delta.enableChangeDataFeed": "true"}, "createdTime": 7,
        }}),
    ]
}

/// When a version was committed: a second after the one before it.
pub(crate) fn committed(version: u64) -> Value {
    json!({"commitInfo": {"timestamp": instant(NOW).millis() + 1_000 * i64::try_from(version).unwrap()}})
}

/// The file of a version.
pub(crate) fn add(version: u64) -> Value {
    let run = format!("run-{version}");
    let stats = json!({
        "numRecords": 10,
        "minValues": {"n": version * 10, "run_id": run},
        "maxValues": {"n": version * 10 + 9, "run_id": run},
        "nullCount": {"n": 0, "run_id": 0},
    });
    json!({"add": {
        "path": format!("{run}-00000.parquet"), "partitionValues": {}, "size": 100 + version,
        "modificationTime": 5, "dataChange": true, "stats": stats.to_string(),
    }})
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The body as sent, or why it broke off.
    pub(crate) body: Result<Vec<u8>, String>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The body, decompressed if it has to be.
    pub(crate) fn text(&self) -> String {
        let body = self.body.as_deref().unwrap();
        let mut text = String::new();
        if self.headers.get(CONTENT_ENCODING).is_some() {
            flate2::read::GzDecoder::new(body).read_to_string(&mut text).unwrap();
        } else {
            text.push_str(std::str::from_utf8(body).unwrap());
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What an end says; nothing if there is none.
    pub(crate) fn end(&self) -> Value {
        self.lines().last().map(|line| line["endStreamAction"].clone()).unwrap_or_default()
    }

    /// The runs of the files in an answer of parquet format, by their URLs.
    pub(crate) fn runs(&self) -> Vec<String> {
        let url = |line: &Value| {
            let file = ["file", "add", "remove", "cdf"].iter().find_map(|word| line.get(word))?;
            Some(file.get("url")?.as_str()?.to_owned())
        };
        let run = |url: String| url.rsplit_once('/').unwrap().1.split_once("-00000").unwrap().0.to_owned();
        self.lines().iter().filter_map(url).map(run).collect()
    }

    /// Status, error code and message.
    pub(crate) fn error(&self) -> (u16, String, String) {
        let body = self.json();
        let text = |key: &str| body[key].as_str().unwrap().to_owned();
        (self.status.as_u16(), text("errorCode"), text("message"))
    }
}
