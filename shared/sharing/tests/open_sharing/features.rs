//! Ids of files, deletion vectors, column mapping, and what else a table or a client may have.

use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{ACME, World, add, committed, opening, request};

const CAPABILITIES: &str = "delta-sharing-capabilities";
const TABLE: &str = "/shares/acme/schemas/data/tables/WF_A__V1";

fn hex_digits(line: &Value) -> usize {
    line["file"]["id"].as_str().unwrap().len()
}

#[tokio::test]
async fn ids_are_hashed_as_asked() {
    let world = World::new().await;
    for (headers, digits, echoed) in [
        (&[][..], 32, None),
        (&[(CAPABILITIES, "responseformat=delta")], 64, None),
        (&[("fileidhash", "Delta")], 64, Some("delta")),
        (&[("fileidhash", "parquet"), (CAPABILITIES, "responseformat=delta")], 32, Some("parquet")),
    ] {
        let answer = world.query_with("WF_A__V1", &json!({}), headers).await;
        assert_eq!((hex_digits(&answer.lines()[2]), answer.header("fileidhash")), (digits, echoed), "{headers:?}");
        let changes = world.get_with(&format!("{TABLE}/changes?startingVersion=0"), headers).await;
        assert_eq!(changes.header("fileidhash"), echoed);
    }
    let id = world.query("WF_A__V1", &json!({})).await.lines()[2]["file"]["id"].clone();
    assert_eq!(id, "5426851cfb4c7e2456b8c35482f45cb7", "the MD5 of run-0-00000.parquet");
    for value in ["", "md5"] {
        for answer in [
            world.query_with("WF_A__V1", &json!({}), &[("fileidhash", value)]).await,
            world.get_with(&format!("{TABLE}/changes?startingVersion=0"), &[("fileidhash", value)]).await,
        ] {
            assert_eq!(answer.error().0, 400, "{value}");
        }
    }
}

/// A table whose one file has a deletion vector.
async fn with_vector(vector: Value) -> World {
    let mut opening = opening_for_vectors();
    opening[1]["metaData"]["configuration"]["delta.enableDeletionVectors"] = "true".into();
    with_file_of_vector(opening, vector).await
}

/// A table whose protocol allows deletion vectors, and whose properties do not say that it gets any.
fn opening_for_vectors() -> Vec<Value> {
    let mut actions = opening("WF_B__V1");
    actions[0] = json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}});
    actions
}

async fn with_file_of_vector(opening: Vec<Value>, vector: Value) -> World {
    let world = World::new().await;
    let mut actions = opening;
    let mut file = add(0);
    file["add"]["deletionVector"] = vector;
    actions.extend([committed(3), file]);
    world.commit("acme", "WF_B__V1", 3, &actions).await;
    world
}

#[tokio::test]
async fn a_deletion_vector_goes_along_with_a_url_of_its_own() {
    let vector = json!({"storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^", "offset": 4,
        "sizeInBytes": 40, "cardinality": 6});
    let world = with_vector(vector).await;
    let headers = [(CAPABILITIES, "responseformat=delta;readerfeatures=deletionvectors")];
    let answer = world.query_with("WF_B__V1", &json!({}), &headers).await;
    let lines = answer.lines();
    assert_eq!(lines[0]["protocol"]["deltaProtocol"]["readerFeatures"], json!(["deletionVectors"]));
    let with = lines.iter().find(|line| line["file"].get("deletionVectorFileId").is_some()).unwrap();
    assert_eq!(with["file"]["deletionVectorFileId"].as_str().unwrap().len(), 64);
    let vector = &with["file"]["deltaSingleAction"]["add"]["deletionVector"];
    assert_eq!(
        vector["pathOrInlineDv"],
        "https://files.test/connectors/acme/WF_B__V1/ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin?X-Amz-Expires=3600&X-Amz-Signature=fake"
    );
    assert_eq!(
        (&vector["storageType"], &vector["offset"], &vector["sizeInBytes"], &vector["cardinality"]),
        (&json!("p"), &json!(4), &json!(40), &json!(6))
    );
    for capabilities in ["", "responseformat=parquet;readerfeatures=deletionvectors", "responseformat=delta"] {
        let refused = world.query_with("WF_B__V1", &json!({}), &[(CAPABILITIES, capabilities)]).await.error();
        assert_eq!((refused.0, refused.1.as_str()), (400, "UNSUPPORTED_OPERATION"));
        assert!(refused.2.starts_with("Unsupported Delta Table Properties"), "{}", refused.2);
    }
}

#[tokio::test]
async fn a_table_that_could_have_vectors_is_plain_until_it_has_some() {
    let world = World::new().await;
    world.commit("acme", "WF_B__V1", 3, &opening_for_vectors()).await;
    for capabilities in ["", "responseformat=delta"] {
        let answer = world.query_with("WF_B__V1", &json!({}), &[(CAPABILITIES, capabilities)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{capabilities}");
    }
    let vector = json!({"storageType": "i", "pathOrInlineDv": "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L",
        "sizeInBytes": 40, "cardinality": 6});
    let world = with_file_of_vector(opening_for_vectors(), vector).await;
    for (capabilities, expected) in [
        ("", StatusCode::BAD_REQUEST),
        ("responseformat=delta", StatusCode::BAD_REQUEST),
        ("responseformat=delta;readerfeatures=deletionvectors", StatusCode::OK),
        ("responseformat=parquet,delta;readerfeatures=deletionvectors", StatusCode::OK),
    ] {
        let answer = world.query_with("WF_B__V1", &json!({}), &[(CAPABILITIES, capabilities)]).await;
        assert_eq!(answer.status, expected, "{capabilities}");
    }
}

#[tokio::test]
async fn a_reader_version_that_nobody_knows_is_refused() {
    let world = World::new().await;
    let protocol = json!({"protocol": {"minReaderVersion": 4, "minWriterVersion": 7}});
    world.commit("acme", "WF_B__V1", 3, &[committed(3), protocol]).await;
    for capabilities in ["", "responseformat=delta;readerfeatures=deletionvectors"] {
        let refused = world.query_with("WF_B__V1", &json!({}), &[(CAPABILITIES, capabilities)]).await.error();
        assert_eq!((refused.0, refused.1.as_str()), (400, "UNSUPPORTED_OPERATION"), "{capabilities}");
    }
}

#[tokio::test]
async fn what_a_writer_says_of_a_commit_is_its_own_business() {
    let world = World::new().await;
    let info = json!({"commitInfo": {"timestamp": "2024-01-01T00:00:00Z", "inCommitTimestamp": 1.5, "by": [{}]}});
    world.commit("acme", "WF_B__V1", 3, &[info, add(3)]).await;
    assert_eq!(world.query("WF_B__V1", &json!({})).await.runs().len(), 4);
}

#[tokio::test]
async fn a_deletion_vector_in_the_log_stays_as_it_is() {
    let vector = json!({"storageType": "i", "pathOrInlineDv": "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L",
        "sizeInBytes": 40, "cardinality": 6});
    let world = with_vector(vector.clone()).await;
    let headers = [(CAPABILITIES, "responseformat=delta;readerfeatures=deletionvectors")];
    let lines = world.query_with("WF_B__V1", &json!({}), &headers).await.lines();
    let with = lines.iter().find(|line| line.to_string().contains("deletionVector\"")).unwrap();
    assert_eq!(with["file"]["deltaSingleAction"]["add"]["deletionVector"], vector);
    assert_eq!(with["file"].get("deletionVectorFileId"), None);
}

#[tokio::test]
async fn a_mapped_table_goes_to_clients_that_know_mapping() {
    let world = World::new().await;
    let mut actions = opening("WF_B__V1");
    actions[0] = json!({"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}});
    actions[1]["metaData"]["configuration"]["delta.columnMapping.mode"] = "name".into();
    world.commit("acme", "WF_B__V1", 3, &actions).await;
    for (capabilities, expected) in [
        ("responseformat=delta,parquet;readerfeatures=columnmapping", StatusCode::OK),
        ("responseformat=delta", StatusCode::BAD_REQUEST),
        ("", StatusCode::BAD_REQUEST),
    ] {
        let headers = [(CAPABILITIES, capabilities)];
        assert_eq!(world.query_with("WF_B__V1", &json!({}), &headers).await.status, expected, "{capabilities}");
        let metadata = "/shares/acme/schemas/data/tables/WF_B__V1/metadata";
        assert_eq!(world.get_with(metadata, &headers).await.status, expected, "{capabilities}");
        // The changes cross from a plain version to a mapped one.
        let changes = "/shares/acme/schemas/data/tables/WF_B__V1/changes?startingVersion=0";
        assert_eq!(world.get_with(changes, &headers).await.status, expected, "{capabilities}");
    }
}

#[tokio::test]
async fn a_client_without_features_is_shown_a_plain_protocol() {
    let world = World::new().await;
    let mut actions = opening("WF_B__V1");
    actions[0] = json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": ["v2Checkpoint"], "writerFeatures": ["v2Checkpoint", "appendOnly"]}});
    world.commit("acme", "WF_B__V1", 3, &actions).await;
    for (capabilities, expected) in [
        ("responseformat=delta", json!({"minReaderVersion": 1, "minWriterVersion": 2})),
        (
            "responseformat=delta;readerfeatures=deletionvectors",
            json!({"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["v2Checkpoint"],
                "writerFeatures": ["appendOnly", "v2Checkpoint"]}),
        ),
    ] {
        let answer = world.query_with("WF_B__V1", &json!({}), &[(CAPABILITIES, capabilities)]).await;
        assert_eq!(answer.lines()[0]["protocol"]["deltaProtocol"], expected, "{capabilities}");
    }
}

#[tokio::test]
async fn a_file_outside_its_table_is_not_shared() {
    for path in ["s3://elsewhere/f.parquet", "../WF_A__V1/run-0-00000.parquet", "%2e%2e/f.parquet"] {
        let world = World::new().await;
        let mut file = add(3);
        file["add"]["path"] = path.into();
        world.commit("acme", "WF_B__V1", 3, &[committed(3), file]).await;
        let (status, code, message) = world.query("WF_B__V1", &json!({})).await.error();
        assert_eq!((status, code.as_str()), (500, "INTERNAL_ERROR"), "{path}");
        assert!(!message.contains(path));
    }
}

#[tokio::test]
async fn an_asynchronous_query_is_answered_at_once() {
    let world = World::new().await;
    let headers = [(CAPABILITIES, "asyncquery=true")];
    let answer = world.query_with("WF_A__V1", &json!({"idempotencyKey": "k"}), &headers).await;
    assert_eq!(answer.header(CAPABILITIES), Some("responseformat=parquet"));
    assert_eq!(answer.runs().len(), 3);
    let asked = request("POST", &format!("{TABLE}/queries/some-query"), ACME);
    let (status, code, _) = world.send(asked).await.error();
    assert_eq!((status, code.as_str()), (404, "RESOURCE_DOES_NOT_EXIST"));
}

#[tokio::test]
async fn a_table_can_be_asked_for_by_its_name() {
    let world = World::new().await;
    let table = world.get("/shares/acme/schemas/data/tables/wf_a__v1").await.json();
    assert_eq!((&table["name"], &table["format"]), (&json!("WF_A__V1"), &json!("delta")));
    assert_eq!(table["id"], tables::table_id("connectors/acme/WF_A__V1"));
}
