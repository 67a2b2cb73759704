//! `serve-share`: the open Delta Sharing server and the activation pages, as one Lambda behind a streaming function
//! URL. The routers are `sharing`'s; this is their assembly on AWS.

mod urls;

use std::collections::BTreeSet;
use std::sync::Arc;

use aws::dynamo::DynamoStore;
use aws::signing_key::SecretsManagerSigningKey;
use aws::sts::{ReaderRole, StsCredentials};
use axum::Router;
use axum::extract::Request;
use axum::middleware::map_request;
use delivery::ids::ConnectorId;
use lambda::{Environment, SystemClock};
use lambda_http::RequestExt as _;
use lambda_http::request::RequestContext;
use sharing::activation::{self, ActivationPages};
use sharing::ports::TemporaryCredentials;
use sharing::secrets::OsSecrets;
use sharing::server::{self, ClientAddress, Server, Throttle, URL_LIFE_SECONDS};
use tables::snapshot::TableReader;

pub use urls::S3Urls;

/// A streamed answer of a function may have 200 MB; a little of it is kept for the last line.
const ANSWER_BYTES_MAX: u64 = 199_000_000;

/// The settings of the function.
pub const SETTINGS: &[&str] = &[
    "TABLES_BUCKET",
    "STATE_TABLE_NAME",
    "SIGNING_SECRET_ARN",
    "TABLE_READER_ROLE_ARN",
    "DIRECTORY_ACCESS_CONNECTORS",
];

/// Assembles the function and answers requests until the platform ends it.
///
/// # Errors
///
/// Returns an error that names the setting, if one is missing or wrong.
pub async fn serve() -> Result<(), lambda::Error> {
    lambda::start_logging();
    let app = assemble(&Environment::process(SETTINGS)).await?;
    lambda_http::run_with_streaming_response(app).await
}

async fn assemble(environment: &Environment) -> Result<Router, lambda::Error> {
    let config = aws::connect().await;
    let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
    let bucket = Arc::new(aws::s3::bucket(environment.require("TABLES_BUCKET")?)?);
    let clock = Arc::new(SystemClock);
    let role = ReaderRole::new(&config, environment.require("TABLE_READER_ROLE_ARN")?);
    let server = Server {
        catalog: store.clone(),
        tables: Arc::new(TableReader::new(bucket.clone())),
        urls: Arc::new(S3Urls::new(bucket, Arc::new(role.clone()), clock.clone())),
        clock: clock.clone(),
        url_life_seconds: URL_LIFE_SECONDS,
        answer_bytes_max: ANSWER_BYTES_MAX,
        signing: Arc::new(SecretsManagerSigningKey::new(&config, environment.require("SIGNING_SECRET_ARN")?)),
        throttle: Throttle::shared(store.clone()),
        credentials: credentials(environment, role)?,
    };
    Ok(app(server, ActivationPages { activations: store, secrets: Arc::new(OsSecrets), clock }))
}

/// Credentials for the recipients of the connectors that a deployment names, if it names any.
fn credentials(
    environment: &Environment,
    role: ReaderRole,
) -> Result<Option<Arc<dyn TemporaryCredentials>>, lambda::SettingsError> {
    if environment.optional("DIRECTORY_ACCESS_CONNECTORS").is_none() {
        return Ok(None);
    }
    let expected = "ids of connectors with commas between them";
    let connectors = environment.require_as("DIRECTORY_ACCESS_CONNECTORS", expected, connector_ids)?;
    let bucket = environment.require("TABLES_BUCKET")?;
    Ok(Some(Arc::new(StsCredentials::new(role, bucket, connectors))))
}

fn connector_ids(text: &str) -> Option<BTreeSet<ConnectorId>> {
    text.split(',').map(|id| ConnectorId::new(id.trim()).ok()).collect()
}

/// Everything that the function answers.
pub fn app(server: Server, pages: ActivationPages) -> Router {
    server::router(server).merge(activation::router(pages)).layer(map_request(with_client_address))
}

/// Notes the client's address as the platform saw it. What a client writes into headers is not asked.
async fn with_client_address(mut request: Request) -> Request {
    let address = if let Some(RequestContext::ApiGatewayV2(context)) = request.request_context_ref() {
        context.http.source_ip.as_deref().and_then(|text| text.parse().ok())
    } else {
        None
    };
    if let Some(address) = address {
        request.extensions_mut().insert(ClientAddress(address));
    }
    request
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Request, StatusCode};
    use sharing::ports::{Grant, Holder, SecretHash, TokenStore as _};
    use sharing::server::USUAL_LIMIT;
    use testkit::builders::{connector_id, instant};
    use testkit::sharing::{CountedSecrets, FakeSigner, InMemorySharing, ManualClock, token_key};
    use tower::ServiceExt as _;

    use super::*;

    async fn app_with_token_for(allowed_ip: &str) -> Router {
        let sharing = Arc::new(InMemorySharing::default());
        let clock = Arc::new(ManualClock::at_seconds(0));
        let grant = Grant {
            connector: connector_id("acme"),
            holder: Holder::Recipient,
            expires_at: instant(10),
            allowed_ips: vec![allowed_ip.to_owned()],
            rotation: 0,
        };
        sharing.put_token(&SecretHash::of("token"), &grant).await.unwrap();
        let server = Server {
            catalog: sharing.clone(),
            tables: Arc::new(TableReader::new(Arc::new(object_store::memory::InMemory::new()))),
            urls: Arc::new(FakeSigner::default()),
            clock: clock.clone(),
            url_life_seconds: URL_LIFE_SECONDS,
            answer_bytes_max: ANSWER_BYTES_MAX,
            signing: Arc::new(token_key()),
            throttle: Throttle::new(USUAL_LIMIT),
            credentials: None,
        };
        let secrets = Arc::new(CountedSecrets::default());
        app(server, ActivationPages { activations: sharing, secrets, clock })
    }

    /// A request as the function URL hands it over.
    fn event(path: &str) -> Request<lambda_http::Body> {
        let event = format!(
            r#"{{"version":"2.0","routeKey":"$default","rawPath":"{path}","rawQueryString":"",
            "headers":{{"authorization":"Bearer token","x-forwarded-for":"203.0.113.1","host":"h.lambda-url.test"}},
            "requestContext":{{"accountId":"anonymous","apiId":"a","domainName":"h.lambda-url.test","requestId":"r",
            "http":{{"method":"GET","path":"{path}","protocol":"HTTP/1.1","sourceIp":"198.51.100.7","userAgent":"x"}},
            "routeKey":"$default","stage":"$default","time":"12/Mar/2026:19:03:58 +0000","timeEpoch":1583348638390}},
            "isBase64Encoded":false}}"#
        );
        lambda_http::request::from_str(&event).unwrap()
    }

    #[tokio::test]
    async fn the_address_is_the_platforms_not_the_headers() {
        for (allowed_ip, expected) in [("198.51.100.0/24", StatusCode::OK), ("203.0.113.1", StatusCode::FORBIDDEN)] {
            let app = app_with_token_for(allowed_ip).await;
            let response = app.oneshot(event("/delta-sharing/shares")).await.unwrap();
            assert_eq!(response.status(), expected, "{allowed_ip}");
        }
    }

    #[tokio::test]
    async fn the_function_says_that_it_is_there() {
        let response = app_with_token_for("198.51.100.7").await.oneshot(event("/health")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }

    #[test]
    fn connectors_with_directory_access_are_named_one_by_one() {
        let ids = |text| connector_ids(text).map(|ids| ids.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(ids("acme, Other"), Some(vec!["Other".to_owned(), "acme".to_owned()]));
        for text in ["acme,", "*", "a b"] {
            assert_eq!(ids(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_function_without_settings_does_not_start() {
        let error = assemble(&Environment::from([("TABLES_BUCKET", "b")])).await.unwrap_err();
        assert!(error.to_string().contains("STATE_TABLE_NAME"), "{error}");
    }
}
