//! Versions, metadata and queries of a table.

use delivery::ports::PortErrorKind;
use http::StatusCode;
use serde_json::{Value, json};
use testkit::builders::instant;
use testkit::faults::Strikes;
use testkit::sharing::FakeSigner;

use crate::world::{ACME, NOW, World, add, opening, request};

const TABLE: &str = "/shares/acme/schemas/data/tables/WF_A__V1";
const CAPABILITIES: &str = "delta-sharing-capabilities";
const DELTA: &[(&str, &str)] = &[(CAPABILITIES, "responseformat=delta")];

#[tokio::test]
async fn a_tables_version_is_its_newest() {
    let world = World::new().await;
    for (method, path) in [("GET", format!("{TABLE}/version")), ("HEAD", TABLE.to_owned())] {
        let answer = world.send(request(method, &path, ACME)).await;
        assert_eq!((answer.status, answer.header("delta-table-version")), (StatusCode::OK, Some("2")), "{method}");
        assert_eq!(answer.text(), "");
    }
    world.commit("acme", "WF_A__V1", 3, &[add(3)]).await;
    assert_eq!(world.get(&format!("{TABLE}/version")).await.header("delta-table-version"), Some("3"));
}

#[tokio::test]
async fn metadata_in_parquet_format_is_the_protocols_own() {
    let world = World::new().await;
    let answer = world.get(&format!("{TABLE}/metadata")).await;
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson; charset=utf-8"));
    assert_eq!(answer.header("delta-table-version"), Some("2"));
    assert_eq!(answer.header(CAPABILITIES), Some("responseformat=parquet"));
    let lines = answer.lines();
    assert_eq!(lines[0], json!({"protocol": {"minReaderVersion": 1}}));
    let metadata = &lines[1]["metaData"];
    assert_eq!(metadata["id"], "WF_A__V1");
    assert_eq!(metadata["format"], json!({"provider": "parquet"}));
    assert_eq!((&metadata["numFiles"], &metadata["size"]), (&json!(3), &json!(303)));
    assert_eq!(
        (&metadata["partitionColumns"], &metadata["configuration"]),
        (&json!([]), &json!({"enableChangeDataFeed": "true"}))
    );
    let schema: Value = serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
    assert_eq!(schema["fields"][0]["metadata"], json!({"comment": "said"}));
    assert_eq!(lines.len(), 2);
}

#[tokio::test]
async fn metadata_in_delta_format_is_the_logs_own() {
    let world = World::new().await;
    let mut asked = request("GET", &format!("{TABLE}/metadata?version=1"), ACME);
    asked.headers_mut().insert(CAPABILITIES, "responseformat=delta".parse().unwrap());
    let answer = world.send(asked).await;
    assert_eq!(answer.header("delta-table-version"), Some("1"));
    let lines = answer.lines();
    assert_eq!(lines[0], json!({"protocol": {"deltaProtocol": {"minReaderVersion": 1, "minWriterVersion": 4}}}));
    let metadata = &lines[1]["metaData"];
    assert_eq!((&metadata["numFiles"], &metadata["size"]), (&json!(2), &json!(201)));
    let delta = &metadata["deltaMetadata"];
    assert_eq!(delta["configuration"], json!({"delta.enableChangeDataFeed": "true"}));
    assert_eq!((&delta["createdTime"], &delta["format"]["options"]), (&json!(7), &json!({})));
    assert!(delta["schemaString"].as_str().unwrap().contains("delta.x"));
}

#[tokio::test]
async fn a_query_lists_every_file_in_parquet_format() {
    let world = World::new().await;
    let answer = world.query("WF_A__V1", &json!({})).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("delta-table-version"), Some("2"));
    assert_eq!(answer.header(CAPABILITIES), Some("responseformat=parquet"));
    assert_eq!(answer.runs(), ["run-0", "run-1", "run-2"]);
    let lines = answer.lines();
    let file = &lines[2]["file"];
    assert_eq!(
        file["url"],
        "https://files.test/connectors/acme/WF_A__V1/run-0-00000.parquet?X-Amz-Expires=3600&X-Amz-Signature=fake"
    );
    assert_eq!((&file["size"], &file["partitionValues"]), (&json!(100), &json!({})));
    assert_eq!(file["expirationTimestamp"], json!(instant(NOW + 3_600).millis()));
    let stats: Value = serde_json::from_str(file["stats"].as_str().unwrap()).unwrap();
    assert_eq!(stats["numRecords"], 10);
    assert_eq!(file["id"].as_str().unwrap().len(), 32);
    assert_eq!(world.query("WF_A__V1", &json!({})).await.lines()[2]["file"]["id"], file["id"], "ids are stable");
}

#[tokio::test]
async fn a_query_in_delta_format_has_the_logs_actions() {
    let world = World::new().await;
    let answer = world.query_with("wf_a__v1", &json!({}), DELTA).await;
    assert_eq!(answer.header(CAPABILITIES), Some("responseformat=delta"));
    let lines = answer.lines();
    assert_eq!(lines.len(), 5);
    let action = &lines[2]["file"]["deltaSingleAction"]["add"];
    assert!(action["path"].as_str().unwrap().starts_with("https://files.test/connectors/acme/WF_A__V1/run-0"));
    assert_eq!(
        (&action["size"], &action["modificationTime"], &action["dataChange"]),
        (&json!(100), &json!(5), &json!(true))
    );
    assert!(lines[2]["file"]["id"].is_string() && action["stats"].is_string());
}

#[tokio::test]
async fn the_format_is_agreed_on() {
    let world = World::new().await;
    for (asked, expected) in [
        ("responseformat=parquet", "responseformat=parquet"),
        ("responseformat=delta,parquet;readerfeatures=deletionvectors", "responseformat=parquet"),
        ("RESPONSEFORMAT=DELTA", "responseformat=delta"),
        ("includeEndStreamAction=true", "responseformat=parquet;includeendstreamaction=true"),
    ] {
        let answer = world.query_with("WF_A__V1", &json!({}), &[(CAPABILITIES, asked)]).await;
        assert_eq!(answer.header(CAPABILITIES), Some(expected), "{asked}");
    }
}

#[tokio::test]
async fn a_table_with_features_goes_to_clients_that_know_them() {
    let world = World::new().await;
    let mut actions = opening("t");
    actions[0] = json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": ["timestampNtz"], "writerFeatures": ["timestampNtz"]}});
    actions[1]["metaData"]["schemaString"] =
        json!({"type": "struct", "fields": [{"name": "t", "type": "timestamp_ntz", "nullable": true, "metadata": {}}]})
            .to_string()
            .into();
    world.commit("acme", "WF_B__V1", 3, &actions).await;
    for (asked, expected) in [
        ("", None),
        ("responseformat=parquet;readerfeatures=timestampntz", None),
        ("responseformat=delta", None),
        ("responseformat=delta;readerfeatures=deletionvectors", None),
        ("responseformat=delta;readerfeatures=timestampntz", Some("responseformat=delta")),
        ("responseformat=parquet,delta;readerfeatures=TimestampNtz", Some("responseformat=delta")),
    ] {
        let answer = world.query_with("WF_B__V1", &json!({}), &[(CAPABILITIES, asked)]).await;
        assert_eq!(answer.header(CAPABILITIES), expected, "{asked}");
        match expected {
            Some(_) => {
                assert_eq!(answer.lines()[0]["protocol"]["deltaProtocol"]["readerFeatures"], json!(["timestampNtz"]))
            }
            None => {
                let (status, code, message) = answer.error();
                assert_eq!((status, code.as_str()), (400, "UNSUPPORTED_OPERATION"));
                assert!(message.starts_with("Unsupported Delta Table Properties"), "{message}");
            }
        }
    }
}

#[tokio::test]
async fn earlier_versions_can_be_read() {
    let world = World::new().await;
    for version in [json!(0), json!("1"), json!(2)] {
        let answer = world.query("WF_A__V1", &json!({"version": version})).await;
        let number: usize = version.to_string().trim_matches('"').parse().unwrap();
        assert_eq!(answer.header("delta-table-version"), Some(number.to_string().as_str()));
        assert_eq!(answer.runs().len(), number + 1);
    }
    let (status, code, message) = world.query("WF_A__V1", &json!({"version": 3})).await.error();
    assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"));
    assert_eq!(message, "Cannot time travel Delta table to version 3. Available versions: [0, 2].");
    assert_eq!(world.get(&format!("{TABLE}/metadata?version=9")).await.error().0, 400);
    assert_eq!(world.get(&format!("{TABLE}/metadata?version=x")).await.error().0, 400);
}

#[tokio::test]
async fn queries_that_are_not_answered_say_why() {
    let world = World::new().await;
    for (body, code, part) in [
        (json!({"version": 1, "timestamp": "x"}), "INVALID_PARAMETER_VALUE", "Please only provide one of"),
        (json!({"version": -1}), "INVALID_PARAMETER_VALUE", "negative"),
        (json!({"timestamp": "yesterday"}), "INVALID_PARAMETER_VALUE", "Invalid timestamp:"),
        (json!({"startingVersion": 9}), "INVALID_PARAMETER_VALUE", "cannot be greater than the latest version"),
        (json!({"maxFiles": 0}), "INVALID_PARAMETER_VALUE", "maxFiles must be positive"),
        (json!({"refreshToken": "x", "version": 1}), "INVALID_PARAMETER_VALUE", "includeRefreshToken"),
        (json!({"refreshToken": "x"}), "INVALID_PARAMETER_VALUE", "Error decoding the refresh token"),
        (json!({"pageToken": "x"}), "INVALID_PARAMETER_VALUE", "Error decoding the page token"),
        (json!({"version": {}}), "MALFORMED_REQUEST", "line 1"),
        (json!([]), "MALFORMED_REQUEST", "JSON object"),
    ] {
        let (status, found, message) = world.query("WF_A__V1", &body).await.error();
        assert_eq!((status, found.as_str()), (400, code), "{body}");
        assert!(message.contains(part), "{message}");
    }
    let empty = world.send(request("POST", &format!("{TABLE}/query"), ACME)).await;
    assert_eq!(empty.error().1, "MALFORMED_REQUEST");
    let long = json!({"jsonPredicateHints": "x".repeat(3_000_000)});
    let (status, code, _) = world.query("WF_A__V1", &long).await.error();
    assert_eq!((status, code.as_str()), (413, "MALFORMED_REQUEST"));
}

#[tokio::test]
async fn a_table_without_a_log_is_not_there_yet() {
    let world = World::new().await;
    let name = delivery::table::TableName::from_stored("WF_D__V1");
    delivery::ports::SharingBackend::add_table(&*world.sharing, &testkit::builders::connector_id("acme"), &name)
        .await
        .unwrap();
    for body in [json!({}), json!({"version": 0})] {
        assert_eq!(world.query("WF_D__V1", &body).await.error().0, 404);
    }
}

#[tokio::test]
async fn hints_leave_out_files_and_never_rows() {
    let world = World::new().await;
    let run = |literal: &str| {
        json!({"op": "equal", "children": [
            {"op": "column", "name": "run_id", "valueType": "string"},
            {"op": "literal", "value": literal, "valueType": "string"},
        ]})
        .to_string()
    };
    for (body, expected) in [
        (json!({"jsonPredicateHints": run("run-1")}), &["run-1"][..]),
        (json!({"jsonPredicateHints": run("run-9")}), &[]),
        (json!({"jsonPredicateHints": run("run-1"), "version": 0}), &[]),
        (json!({"jsonPredicateHints": "bad-predicates"}), &["run-0", "run-1", "run-2"]),
        (json!({"jsonPredicateHints": {"op": "equal"}}), &["run-0", "run-1", "run-2"]),
        (json!({"predicateHints": ["n < 5", "rubbish here"]}), &["run-0"]),
        (json!({"predicateHints": ["n < 15"], "jsonPredicateHints": run("run-1")}), &["run-1"]),
        (json!({"predicateHints": "n < 5"}), &["run-0", "run-1", "run-2"]),
        (json!({"limitHint": 0}), &[]),
        (json!({"limitHint": 10}), &["run-0"]),
        (json!({"limitHint": 11}), &["run-0", "run-1"]),
        (json!({"limitHint": 5, "jsonPredicateHints": run("run-2")}), &["run-2"]),
    ] {
        assert_eq!(world.query("WF_A__V1", &body).await.runs(), expected, "{body}");
    }
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_ask() {
    let world = World::new().await;
    world.write_table("acme", "WF_C__V1", 600).await;
    let plain = world.query("WF_C__V1", &json!({})).await;
    let packed = world.query_with("WF_C__V1", &json!({}), &[("accept-encoding", "gzip, deflate")]).await;
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(packed.text(), plain.text());
    assert_eq!(plain.runs().len(), 600);
    assert!(packed.body.unwrap().len() * 4 < plain.body.unwrap().len());
}

#[tokio::test]
async fn a_url_does_not_claim_to_outlive_its_credential() {
    let end = instant(NOW + 60);
    let signer = FakeSigner { credential_expires_at: Some(end), ..FakeSigner::default() };
    let world = World::with_signer(signer).await;
    let lines = world.query("WF_A__V1", &json!({})).await.lines();
    assert_eq!(lines[2]["file"]["expirationTimestamp"], json!(end.millis()));
    assert!(lines[2]["file"]["url"].as_str().unwrap().contains("X-Amz-Expires=60&"), "{}", lines[2]);
}

#[tokio::test]
async fn an_answer_that_fails_at_once_fails_with_a_status() {
    let world = World::new().await;
    world.signer.faults.fail_call(1, PortErrorKind::Unavailable, Strikes::Before);
    assert_eq!(world.query("WF_A__V1", &json!({})).await.error().0, 503);
}

#[tokio::test]
async fn an_answer_that_fails_later_does_not_look_whole() {
    let world = World::new().await;
    let actions: Vec<_> = opening("WF_C__V1").into_iter().chain((0..8_000).map(add)).collect();
    world.commit("acme", "WF_C__V1", 0, &actions).await;
    for (headers, whole) in [
        (&[][..], 500),
        (&[("accept-encoding", "gzip")], 7_000),
        (&[(CAPABILITIES, "includeendstreamaction=true")], 500),
    ] {
        let signed = world.signer.faults.calls().len();
        world.signer.faults.fail_call(signed + whole, PortErrorKind::Unavailable, Strikes::Before);
        let broken = world.query_with("WF_C__V1", &json!({}), headers).await;
        assert_eq!(broken.status, StatusCode::OK);
        let lines = broken.lines();
        let end = &lines.last().unwrap()["endStreamAction"];
        assert!(end["errorMessage"].is_string(), "{headers:?}: {end}");
        assert_eq!(end["httpStatusErrorCode"], 503, "{headers:?}");
        assert_eq!(lines.len(), 2 + whole + 1, "{headers:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_too_long_to_be_sent_says_what_to_do() {
    let world = World::new().await;
    world.write_table("acme", "WF_C__V1", 2_500).await;
    for headers in [&[][..], &[(CAPABILITIES, "includeendstreamaction=true")]] {
        let lines = world.query_with("WF_C__V1", &json!({}), headers).await.lines();
        let end = &lines.last().unwrap()["endStreamAction"];
        assert_eq!(end["httpStatusErrorCode"], 413);
        assert!(end["errorMessage"].as_str().unwrap().contains("maxFiles"), "{end}");
        assert!(lines.len() > 1_000 && lines.len() < 2_500, "{}", lines.len());
        assert!(lines[2..lines.len() - 1].iter().all(|line| line["file"]["url"].is_string()), "all of it is whole");
    }
    let page = world.query("WF_C__V1", &json!({"maxFiles": 1_000})).await.lines();
    assert_eq!(page.len(), 2 + 1_000 + 1);
    assert!(page.last().unwrap()["endStreamAction"]["nextPageToken"].is_string());
    let zipped = [(CAPABILITIES, "includeendstreamaction=true"), ("accept-encoding", "gzip")];
    assert_eq!(world.query_with("WF_C__V1", &json!({}), &zipped).await.lines().len(), 2 + 2_500 + 1);

    // Compressed answers can be too long, too: ids and signatures hardly get shorter.
    let actions: Vec<_> = opening("WF_B__V1").into_iter().chain((0..40_000).map(add)).collect();
    world.commit("acme", "WF_B__V1", 0, &actions).await;
    let lines = world.query_with("WF_B__V1", &json!({}), &zipped).await.lines();
    assert_eq!(lines.last().unwrap()["endStreamAction"]["httpStatusErrorCode"], 413);
    assert!(lines.len() > 2_500 && lines.len() < 40_000, "{}", lines.len());
}

#[tokio::test]
async fn an_end_that_was_asked_for_is_the_last_line() {
    let world = World::new().await;
    let asked = [(CAPABILITIES, "includeendstreamaction=true"), ("accept-encoding", "gzip")];
    let lines = world.query_with("WF_A__V1", &json!({}), &asked).await.lines();
    let expected = json!({"endStreamAction": {"minUrlExpirationTimestamp": instant(NOW + 3_600).millis()}});
    assert_eq!(lines.last(), Some(&expected));
    assert_eq!(lines.len(), 6);
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_our_failure() {
    let world = World::new().await;
    world.commit("acme", "WF_A__V1", 3, &[json!({"add": {"path": 1}})]).await;
    let (status, code, message) = world.query("WF_A__V1", &json!({})).await.error();
    assert_eq!((status, code.as_str()), (500, "INTERNAL_ERROR"));
    assert!(!message.contains("path"), "{message}");
}
