//! Pages of files, and refreshing the URLs of a read.

use serde_json::{Value, json};
use testkit::builders::instant;

use crate::world::{NOW, World, add, committed};

fn with(mut body: Value, key: &str, value: impl Into<Value>) -> Value {
    body[key] = value.into();
    body
}

#[tokio::test]
async fn pages_of_files_are_of_one_version() {
    let world = World::new().await;
    world.write_table("acme", "WF_C__V1", 7).await;
    let mut runs = Vec::new();
    let mut body = json!({"maxFiles": 3});
    for page in 0..3 {
        let answer = world.query("WF_C__V1", &body).await;
        assert_eq!(answer.header("delta-table-version"), Some("6"));
        assert_eq!(answer.lines()[1]["metaData"]["numFiles"], 7, "every page begins with the table");
        runs.extend(answer.runs());
        let end = answer.end();
        assert_eq!(end["minUrlExpirationTimestamp"], json!(instant(NOW + 3_600).millis()));
        assert_eq!(end["nextPageToken"].is_string(), page < 2, "{end}");
        assert_eq!(
            answer.header("delta-sharing-capabilities"),
            Some("responseformat=parquet"),
            "the end is not echoed"
        );
        body = with(body, "pageToken", end["nextPageToken"].clone());
        let later = 7 + page;
        world.commit("acme", "WF_C__V1", later, &[committed(later), add(later)]).await;
    }
    let expected: Vec<_> = (0..7).map(|run| format!("run-{run}")).collect();
    assert_eq!(runs, expected);
}

#[tokio::test]
async fn a_page_that_is_exactly_full_is_the_last_one() {
    let world = World::new().await;
    for (max_files, more) in [(2, true), (3, false), (4, false)] {
        let end = world.query("WF_A__V1", &json!({"maxFiles": max_files})).await.end();
        assert_eq!(end["nextPageToken"].is_string(), more, "{max_files}");
    }
    // A hint and a limit count over the pages.
    let hint = json!({"maxFiles": 1, "predicateHints": ["n >= 10"]});
    let first = world.query("WF_A__V1", &hint).await;
    assert_eq!(first.runs(), ["run-1"]);
    let second = world.query("WF_A__V1", &with(hint, "pageToken", first.end()["nextPageToken"].clone())).await;
    assert_eq!((second.runs(), second.end()["nextPageToken"].clone()), (vec!["run-2".to_owned()], Value::Null));
    let limited = json!({"maxFiles": 1, "limitHint": 15});
    let first = world.query("WF_A__V1", &limited).await;
    let second = world.query("WF_A__V1", &with(limited, "pageToken", first.end()["nextPageToken"].clone())).await;
    assert_eq!((second.runs(), second.end()["nextPageToken"].clone()), (vec!["run-1".to_owned()], Value::Null));
}

#[tokio::test]
async fn a_page_token_is_for_its_table_its_query_and_three_days() {
    let world = World::new().await;
    world.put_token("long", "acme", 10 * 86_400, &[]).await;
    let body = json!({"maxFiles": 1});
    let token = world.query("WF_A__V1", &body).await.end()["nextPageToken"].clone();
    let next = with(body.clone(), "pageToken", token.clone());
    for (table, body, expected) in [
        ("WF_B__V1", next.clone(), "The table specified in the page token does not match the table being queried."),
        ("WF_A__V1", with(next.clone(), "version", 1), "Query parameter mismatch detected for the next page query"),
        ("WF_A__V1", with(next.clone(), "limitHint", 1), "Query parameter mismatch detected for the next page query"),
        (
            "WF_A__V1",
            with(next.clone(), "pageToken", format!("A{}", token.as_str().unwrap())),
            "Error decoding the page",
        ),
    ] {
        let (status, code, message) = world.query(table, &body).await.error();
        assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"));
        assert!(message.starts_with(expected), "{message}");
    }
    assert_eq!(world.query("WF_A__V1", &with(next.clone(), "maxFiles", 5)).await.runs(), ["run-1", "run-2"]);
    world.clock.advance(3 * 86_400);
    let path = "/shares/acme/schemas/data/tables/WF_A__V1/query";
    let request = crate::world::request("POST", path, "long").map(|_| axum::body::Body::from(next.to_string()));
    assert_eq!(world.send(request).await.error().2, "The page token has expired. Please restart the query.");
}

#[tokio::test]
async fn a_refreshed_read_has_the_same_files_with_new_urls() {
    let world = World::new().await;
    world.put_token("long", "acme", 86_400, &[]).await;
    let first = world.query("WF_A__V1", &json!({"includeRefreshToken": true})).await;
    let token = first.end()["refreshToken"].clone();
    assert!(token.is_string());
    world.commit("acme", "WF_A__V1", 3, &[committed(3), add(3)]).await;
    let again = world.query("WF_A__V1", &json!({"refreshToken": token, "includeRefreshToken": true})).await;
    assert_eq!(again.header("delta-table-version"), Some("2"));
    assert_eq!(again.runs(), first.runs());
    assert!(again.end()["refreshToken"].is_string());
    assert_eq!(world.query("WF_A__V1", &json!({})).await.runs().len(), 4);

    let other = world.query("WF_B__V1", &json!({"refreshToken": token})).await.error().2;
    assert!(other.starts_with("The table specified in the refresh token does not match"), "{other}");
    let plain = world.query("WF_A__V1", &json!({"refreshToken": token})).await;
    assert_eq!((plain.runs().len(), plain.end()), (3, Value::Null), "no end without a wish for one");
    world.clock.advance(3_600);
    let path = "/shares/acme/schemas/data/tables/WF_A__V1/query";
    let body = json!({"refreshToken": token}).to_string();
    let request = crate::world::request("POST", path, "long").map(|_| axum::body::Body::from(body));
    assert_eq!(world.send(request).await.error().2, "The refresh token has expired. Please restart the query.");
}

#[tokio::test]
async fn a_refresh_token_comes_with_the_first_page() {
    let world = World::new().await;
    let first = world.query("WF_A__V1", &json!({"maxFiles": 2, "includeRefreshToken": true})).await.end();
    assert!(first["refreshToken"].is_string() && first["nextPageToken"].is_string());
    let body = json!({"maxFiles": 2, "pageToken": first["nextPageToken"]});
    assert_eq!(world.query("WF_A__V1", &body).await.runs(), ["run-2"]);
}
