//! Shares, schemas and tables.

use http::StatusCode;
use serde_json::json;

use crate::world::{OTHER, World, request};

#[tokio::test]
async fn a_token_sees_its_share_and_nothing_else() {
    let world = World::new().await;
    let shares = world.get("/shares").await;
    assert_eq!(shares.header("content-type"), Some("application/json; charset=utf-8"));
    let id = tables::table_id("connectors/acme");
    assert_eq!(shares.json(), json!({"items": [{"name": "acme", "id": id}]}));
    assert_eq!(world.get("/shares/ACME").await.json(), json!({"share": {"name": "acme", "id": id}}));
    assert_eq!(world.get("/shares/acme/schemas").await.json(), json!({"items": [{"name": "data", "share": "acme"}]}));
    let theirs = world.send(request("GET", "/shares", OTHER)).await.json();
    assert_eq!(theirs["items"][0]["name"], "Other");
}

#[tokio::test]
async fn tables_are_listed_with_stable_ids() {
    let world = World::new().await;
    let listed = world.get("/shares/acme/schemas/data/tables").await.json();
    assert_eq!(listed, world.get("/shares/Acme/all-tables").await.json());
    assert_eq!(
        listed["items"][0],
        json!({
            "name": "WF_A__V1", "schema": "data", "share": "acme",
            "shareId": tables::table_id("connectors/acme"), "id": tables::table_id("connectors/acme/WF_A__V1"),
        })
    );
    let names: Vec<_> = listed["items"].as_array().unwrap().iter().map(|item| item["name"].clone()).collect();
    assert_eq!(names, ["WF_A__V1", "WF_B__V1", "WF_C__V1"]);
    assert_eq!(listed.get("nextPageToken"), None);
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_ended() {
    let world = World::new().await;
    let mut names = Vec::new();
    let mut next = String::new();
    for _ in 0..3 {
        let page = world.get(&format!("/shares/acme/all-tables?maxResults=1&pageToken={next}")).await.json();
        names.push(page["items"][0]["name"].as_str().unwrap().to_owned());
        next = page["nextPageToken"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(names, ["WF_A__V1", "WF_B__V1", "WF_C__V1"]);
    assert_eq!(next, "");
    let none = world.get("/shares?maxResults=0").await.json();
    assert_eq!(none["items"], json!([]));
    assert!(none["nextPageToken"].is_string());
}

#[tokio::test]
async fn pages_that_cannot_be_are_refused() {
    let world = World::new().await;
    let token = world.get("/shares/acme/all-tables?maxResults=1").await.json()["nextPageToken"].clone();
    let token = token.as_str().unwrap();
    let foreign = world.send(request("GET", &format!("/shares/other/all-tables?pageToken={token}"), OTHER)).await;
    assert_eq!(foreign.error().2, "invalid 'nextPageToken'");
    for query in ["maxResults=501", "maxResults=-1", "maxResults=x", "pageToken=x", "maxResults=1&maxResults=2"] {
        assert_eq!(world.get(&format!("/shares?{query}")).await.status, StatusCode::BAD_REQUEST, "{query}");
    }
}
