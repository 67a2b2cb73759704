//! Directory-based access, which the recipient of `Other` has and that of `acme` has not.

use axum::body::Body;
use http::StatusCode;
use serde_json::{Value, json};
use testkit::builders::instant;

use crate::world::{ACME, Answer, OTHER, World, from_address, request};

/// A token of the share `Other` that lives longer than the shortest session.
const LASTING: &str = "lasting-token-of-other";

const FOLDER: &str = "s3://tables/connectors/Other/WF_OTHER__V1";

async fn ask(world: &World, token: &str, table: &str, body: &str) -> Answer {
    let path = format!("/shares/{table}/temporary-table-credentials");
    world.send(request("POST", &path, token).map(|_| Body::from(body.to_owned()))).await
}

#[tokio::test]
async fn a_credential_is_for_the_tables_folder() {
    let world = World::new().await;
    world.put_token(LASTING, "Other", 1_000, &[]).await;
    for body in
        ["", "{}", &json!({"location": FOLDER}).to_string(), &json!({"location": format!("{FOLDER}/")}).to_string()]
    {
        let answer = ask(&world, LASTING, "other/schemas/data/tables/wf_other__v1", body).await;
        assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, Some("no-store")), "{body}");
        let expected = json!({"credentials": {
            "location": FOLDER,
            "awsTempCredentials": {
                "accessKeyId": "key of connectors/Other/WF_OTHER__V1", "secretAccessKey": "secret for ",
                "sessionToken": "session",
            },
            // The token's own end.
            "expirationTime": instant(1_000).millis(),
        }});
        assert_eq!(answer.json(), expected);
    }
    for body in [json!({"location": "s3://tables/connectors/acme/WF_A__V1"}), json!({"location": ""})] {
        let refused = ask(&world, LASTING, "other/schemas/data/tables/wf_other__v1", &body.to_string()).await;
        assert_eq!(refused.error().1, "INVALID_PARAMETER_VALUE");
    }
}

#[tokio::test]
async fn an_allow_list_goes_with_the_credential() {
    let world = World::new().await;
    world.put_token("listed", "Other", 1_000, &["198.51.100.0/24"]).await;
    let path = "/shares/other/schemas/data/tables/wf_other__v1/temporary-table-credentials";
    let answer = world.send(from_address(request("POST", path, "listed"), "198.51.100.7")).await.json();
    assert_eq!(answer["credentials"]["awsTempCredentials"]["secretAccessKey"], "secret for 198.51.100.0/24");
    assert_eq!(world.send(request("POST", path, "listed")).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn nobody_else_gets_one() {
    let world = World::new().await;
    let (status, code, message) = ask(&world, ACME, "acme/schemas/data/tables/WF_A__V1", "").await.error();
    assert_eq!((status, code.as_str()), (400, "UNSUPPORTED_OPERATION"));
    assert!(message.contains("not enabled on table acme.data.WF_A__V1"), "{message}");
    let (status, code, message) = ask(&world, OTHER, "other/schemas/data/tables/wf_other__v1", "").await.error();
    assert_eq!((status, code.as_str()), (400, "UNSUPPORTED_OPERATION"), "its end is nearer than a session's can be");
    assert!(message.starts_with("The token ends before"), "{message}");
    let foreign = ask(&world, ACME, "other/schemas/data/tables/WF_OTHER__V1", "").await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn tables_say_how_they_can_be_read_where_there_are_two_ways() {
    let world = World::new().await;
    for (token, share, table, expected) in [
        (OTHER, "Other", "WF_OTHER__V1", [json!(FOLDER), json!(["url", "dir"])]),
        (ACME, "acme", "WF_A__V1", [Value::Null, Value::Null]),
    ] {
        let folder = format!("/shares/{share}/schemas/data/tables");
        let listed = world.send(request("GET", &folder, token)).await.json()["items"][0].clone();
        let metadata = world.send(request("GET", &format!("{folder}/{table}/metadata"), token)).await;
        let metadata = metadata.lines()[1]["metaData"].clone();
        for told in [listed, metadata] {
            assert_eq!([told["location"].clone(), told["accessModes"].clone()], expected, "{told}");
        }
    }
}
