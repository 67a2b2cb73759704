//! The reader against the server, over a loopback connection.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use delivery::ports::{PortErrorKind, ReadScope, ShareReader as _, SharedFile};
use delivery::table::TableName;
use serde_json::json;
use sharing::reader::HttpShareReader;
use testkit::builders::connector_id;
use testkit::faults::Strikes;
use testkit::sharing::CountedSecrets;

use crate::world::World;

/// A Parquet file as large as `parquet` can write without a codec: one column, so many rows.
fn parquet_file(rows: i64, key_value_bytes: usize) -> Vec<u8> {
    use parquet::data_type::Int64Type;
    use parquet::file::metadata::KeyValue;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    let schema = "message m { optional int64 n; optional group money { optional int64 amount; } \
                  optional group tags (LIST) { repeated group list { optional int64 element; } } }";
    let padding = KeyValue::new("padding".to_owned(), "x".repeat(key_value_bytes));
    let properties = WriterProperties::builder().set_key_value_metadata(Some(vec![padding])).build();
    let mut file = Vec::new();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    while let Some(mut column) = group.next_column().unwrap() {
        let levels = vec![0; usize::try_from(rows).unwrap()];
        column.typed::<Int64Type>().write_batch(&[], Some(&levels), Some(&levels)).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    file
}

async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://{address}")
}

async fn reader(world: &World) -> HttpShareReader {
    let host = serve(world.app()).await;
    reader_at(world, &format!("{host}/delta-sharing"))
}

fn reader_at(world: &World, endpoint: &str) -> HttpShareReader {
    HttpShareReader::new(endpoint, world.sharing.clone(), world.clock.clone())
        .unwrap()
        .with_secrets(Arc::new(CountedSecrets::default()))
}

fn table(name: &str) -> TableName {
    TableName::from_stored(name)
}

#[tokio::test]
async fn a_run_is_read_in_its_table_version() {
    let world = World::new().await;
    let reader = reader(&world).await;
    let scope = ReadScope::Runs { table_version: 1, run_ids: &["run-1"] };
    let view = reader.read(&connector_id("acme"), &table("WF_A__V1"), scope).await.unwrap();
    assert_eq!(view.table_version, 1);
    assert_eq!(view.columns, ["n long", "run_id string"]);
    assert_eq!(view.names, ["n", "run_id"]);
    let [file] = &view.files[..] else { panic!("one file: {}", view.files.len()) };
    assert!(file.url.contains("/connectors/acme/WF_A__V1/run-1-00000.parquet?"));
    assert_eq!((file.size_bytes, file.rows, file.run_id.as_deref()), (101, Some(10), Some("run-1")));

    let newest = reader.read(&connector_id("acme"), &table("WF_A__V1"), ReadScope::Newest).await.unwrap();
    assert_eq!((newest.table_version, newest.files.len()), (2, 3));
}

#[tokio::test]
async fn a_token_serves_until_a_minute_before_its_end() {
    let world = World::new().await;
    let reader = reader(&world).await;
    let mut tokens = Vec::new();
    for seconds in [0, 60, 14 * 60 - 61, 1, 0] {
        world.clock.advance(seconds);
        reader.read(&connector_id("acme"), &table("WF_A__V1"), ReadScope::Newest).await.unwrap();
        tokens.push(world.sharing.grants().len() - 2);
    }
    assert_eq!(tokens, [1, 1, 1, 2, 2]);
    reader.read(&connector_id("Other"), &table("WF_OTHER__V1"), ReadScope::Newest).await.unwrap();
    assert_eq!(world.sharing.grants().len() - 2, 3, "one for each share");
}

#[tokio::test]
async fn what_is_refused_and_what_is_missing_are_told_apart() {
    let world = World::new().await;
    let reader = reader(&world).await;
    let missing = reader.read(&connector_id("acme"), &table("WF_NONE__V1"), ReadScope::Newest).await.unwrap_err();
    assert_eq!(missing.kind, PortErrorKind::NotFound);
    for (kind, expected) in [
        (PortErrorKind::Throttled, PortErrorKind::Throttled),
        (PortErrorKind::Unavailable, PortErrorKind::Unavailable),
        (PortErrorKind::Denied, PortErrorKind::Unavailable),
    ] {
        world.sharing.faults.fail_call(world.sharing.faults.calls().len(), kind, Strikes::Before);
        let error = reader.read(&connector_id("acme"), &table("WF_A__V1"), ReadScope::Newest).await.unwrap_err();
        assert_eq!(error.kind, expected);
    }
    world.clock.advance(20 * 60);
    world.sharing.faults.fail_call(world.sharing.faults.calls().len(), PortErrorKind::Throttled, Strikes::Before);
    let error = reader.read(&connector_id("acme"), &table("WF_A__V1"), ReadScope::Newest).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Throttled, "the token could not be stored");
}

#[tokio::test]
async fn a_refused_token_is_not_used_again() {
    async fn refuse(State(seen): State<Arc<Mutex<Vec<String>>>>, headers: HeaderMap) -> StatusCode {
        seen.lock().unwrap().push(headers["authorization"].to_str().unwrap().to_owned());
        StatusCode::UNAUTHORIZED
    }
    let world = World::new().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let path = "/delta-sharing/shares/acme/schemas/data/tables/WF_A__V1/query";
    let host = serve(Router::new().route(path, post(refuse)).with_state(seen.clone())).await;
    let reader = reader_at(&world, &host);
    for _ in 0..2 {
        let error = reader.read(&connector_id("acme"), &table("WF_A__V1"), ReadScope::Newest).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Denied);
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert_ne!(seen[0], seen[1]);
}

#[tokio::test]
async fn an_answer_that_is_not_whole_or_not_the_protocols_is_not_believed() {
    let world = World::new().await;
    let metadata = json!({"metaData": {"schemaString": "{\"type\":\"struct\",\"fields\":[]}"}}).to_string();
    let ended = format!("{metadata}\n{}", json!({"endStreamAction": {"errorMessage": "x"}}));
    for (version, body, kind) in [
        (None, metadata.clone(), PortErrorKind::InvalidData),
        (Some("x"), metadata.clone(), PortErrorKind::InvalidData),
        (Some("1"), String::new(), PortErrorKind::InvalidData),
        (Some("1"), format!("{metadata}\n{{\"file\":{{\"url\":\"https://secret\"}}}}"), PortErrorKind::InvalidData),
        (Some("1"), ended, PortErrorKind::Unavailable),
    ] {
        let answer = move || async move {
            let mut response = body.into_response();
            if let Some(version) = version {
                response.headers_mut().insert("delta-table-version", version.parse().unwrap());
            }
            response
        };
        let path = "/delta-sharing/shares/acme/schemas/data/tables/WF_A__V1/query";
        let host = serve(Router::new().route(path, post(answer))).await;
        let reader = reader_at(&world, &format!("{host}/delta-sharing/"));
        let error = reader.read(&connector_id("acme"), &table("WF_A__V1"), ReadScope::Newest).await.unwrap_err();
        assert_eq!(error.kind, kind);
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_unavailable_and_the_error_holds_no_url() {
    let world = World::new().await;
    let reader = reader_at(&world, "http://127.0.0.1:1/delta-sharing");
    let error = reader.read(&connector_id("acme"), &table("WF_A__V1"), ReadScope::Newest).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unavailable);
    let file = SharedFile { url: "http://127.0.0.1:1/secret-path".to_owned(), size_bytes: 1, rows: None, run_id: None };
    let error = reader.fetch_footer(&file).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unavailable);
    assert!(!format!("{error:?}").contains("secret-path"), "{error:?}");
}

/// Storage that answers ranges from the end, as S3 does, and counts requests.
struct Storage {
    file: Vec<u8>,
    requests: Mutex<Vec<String>>,
}

async fn object(State(storage): State<Arc<Storage>>, headers: HeaderMap) -> Response {
    let range = headers["range"].to_str().unwrap().to_owned();
    let suffix: usize = range.strip_prefix("bytes=-").unwrap().parse().unwrap();
    storage.requests.lock().unwrap().push(range);
    let total = storage.file.len();
    let start = total.saturating_sub(suffix);
    let range = format!("bytes {start}-{}/{total}", total - 1);
    (StatusCode::PARTIAL_CONTENT, [("content-range", range)], storage.file[start..].to_vec()).into_response()
}

async fn stored(file: Vec<u8>) -> (Arc<Storage>, SharedFile) {
    let size_bytes = file.len() as u64;
    let storage = Arc::new(Storage { file, requests: Mutex::default() });
    let host = serve(Router::new().route("/f", get(object)).with_state(storage.clone())).await;
    (storage, SharedFile { url: format!("{host}/f?X-Amz-Signature=s"), size_bytes, rows: None, run_id: None })
}

#[tokio::test]
async fn a_footer_costs_one_request() {
    let world = World::new().await;
    let reader = reader_at(&world, "http://127.0.0.1:1");
    let (storage, file) = stored(parquet_file(42, 10)).await;
    let fetched = reader.fetch_footer(&file).await.unwrap();
    assert_eq!((fetched.rows, fetched.size_bytes), (42, file.size_bytes));
    assert_eq!(fetched.columns, ["n", "money", "amount", "tags", "list", "element"]);
    assert_eq!(storage.requests.lock().unwrap()[..], ["bytes=-65536"]);
}

#[tokio::test]
async fn a_long_footer_costs_two() {
    let world = World::new().await;
    let reader = reader_at(&world, "http://127.0.0.1:1");
    let (storage, file) = stored(parquet_file(7, 200_000)).await;
    assert_eq!(reader.fetch_footer(&file).await.unwrap().rows, 7);
    assert_eq!(storage.requests.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_file_that_is_not_parquet_is_said_to_be_so() {
    let world = World::new().await;
    let reader = reader_at(&world, "http://127.0.0.1:1");
    let whole = parquet_file(7, 10);
    let mut garbled = whole.clone();
    let length = garbled.len();
    garbled[length - 40..length - 8].fill(0xff);
    let too_long = [&[0; 20][..], &u32::MAX.to_le_bytes(), b"PAR1"].concat();
    let longer_than_file = [&[0; 20][..], &100_000_u32.to_le_bytes(), b"PAR1"].concat();
    for file in [whole[..length - 1].to_vec(), garbled, too_long, longer_than_file, b"PAR1".to_vec()] {
        let (_, file) = stored(file).await;
        assert_eq!(reader.fetch_footer(&file).await.unwrap_err().kind, PortErrorKind::InvalidData);
    }
    let host = serve(Router::new().route("/gone", get(async || StatusCode::FORBIDDEN))).await;
    for (path, kind) in [("gone", PortErrorKind::Denied), ("none", PortErrorKind::NotFound)] {
        let file = SharedFile { url: format!("{host}/{path}"), size_bytes: 1, rows: None, run_id: None };
        assert_eq!(reader.fetch_footer(&file).await.unwrap_err().kind, kind);
    }
}
