//! Who may read what.

use delivery::ports::PortErrorKind;
use http::StatusCode;
use serde_json::json;
use testkit::builders::instant;
use testkit::faults::Strikes;

use crate::world::{ACME, NOW, OTHER, World, from_address, request};

const TABLE_PATHS: [(&str, &str); 8] = [
    ("GET", "/version"),
    ("HEAD", ""),
    ("GET", ""),
    ("GET", "/metadata"),
    ("POST", "/query"),
    ("GET", "/changes"),
    ("POST", "/queries/some"),
    ("POST", "/temporary-table-credentials"),
];

#[tokio::test]
async fn a_request_without_a_good_token_is_not_answered() {
    let world = World::new().await;
    for path in
        ["/shares", "/shares/acme", "/shares/acme/all-tables", "/shares/acme/schemas/data/tables/WF_A__V1/version"]
    {
        for header in [None, Some("Bearer"), Some("Bearer "), Some("Basic eA=="), Some("Bearer nobodys")] {
            let mut request = request("GET", path, "");
            request.headers_mut().remove("authorization");
            if let Some(header) = header {
                request.headers_mut().insert("authorization", header.parse().unwrap());
            }
            let answer = world.send(request).await;
            assert_eq!((answer.error().0, answer.error().1.as_str()), (401, "UNAUTHENTICATED"), "{path} {header:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
}

#[tokio::test]
async fn an_expired_token_is_told_so() {
    let world = World::new().await;
    world.clock.advance(99);
    assert_eq!(world.get("/shares").await.status, StatusCode::OK);
    world.clock.advance(1);
    for path in ["/shares", "/shares/acme/schemas/data/tables/WF_A__V1/version"] {
        let (status, code, message) = world.get(path).await.error();
        assert_eq!((status, code.as_str()), (401, "UNAUTHENTICATED"));
        assert!(message.contains(&format!("expired at {}", instant(NOW + 100))), "{message}");
    }
}

#[tokio::test]
async fn somebody_elses_and_nobodys_read_alike() {
    let world = World::new().await;
    for (method, rest) in TABLE_PATHS {
        let mut seen = Vec::new();
        for (share, schema, table) in [
            ("Other", "data", "WF_OTHER__V1"),
            ("nobody", "data", "WF_OTHER__V1"),
            ("acme", "data", "WF_OTHER__V1"),
            ("acme", "elsewhere", "WF_A__V1"),
        ] {
            let path = format!("/shares/{share}/schemas/{schema}/tables/{table}{rest}");
            let calls = world.sharing.faults.calls().len();
            let answer = world.send(request(method, &path, ACME)).await;
            let name = format!("{share}/{schema}/{table}");
            let body = String::from_utf8(answer.body.clone().unwrap()).unwrap().replace(&name, "…");
            seen.push((answer.status, body, world.sharing.faults.calls()[calls..].to_vec()));
        }
        assert_eq!(seen[0].0, StatusCode::NOT_FOUND, "{method} {rest}");
        assert!(seen.iter().all(|answer| *answer == seen[0]), "{method} {rest}: {seen:?}");
        if method != "HEAD" {
            assert_eq!(
                seen[0].1,
                r#"{"errorCode":"RESOURCE_DOES_NOT_EXIST","message":"[Share/Schema/Table] '…' does not exist, please contact your share provider for further information."}"#
            );
        }
    }
    for path in ["/shares/Other", "/shares/Other/schemas", "/shares/Other/all-tables", "/shares/acme/schemas/x/tables"]
    {
        assert_eq!(world.get(path).await.error().0, 404, "{path}");
    }
    let theirs = request("GET", "/shares/other/schemas/data/tables/wf_other__v1/version", OTHER);
    assert_eq!(world.send(theirs).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_allow_list_holds_for_the_address_that_the_platform_saw() {
    let world = World::new().await;
    world.put_token("listed", "acme", 100, &["198.51.100.0/24", "2001:db8::/32"]).await;
    for (address, expected) in [
        (Some("198.51.100.9"), 200),
        (Some("2001:db8::9"), 200),
        (Some("::ffff:198.51.100.9"), 200),
        (Some("198.51.101.9"), 403),
        (Some("2001:db9::9"), 403),
        (None, 403),
    ] {
        for path in ["/shares", "/shares/acme/schemas/data/tables/WF_A__V1/version"] {
            let mut request = request("GET", path, "listed");
            request.headers_mut().insert("x-forwarded-for", "198.51.100.9".parse().unwrap());
            let request = address.into_iter().fold(request, from_address);
            assert_eq!(world.send(request).await.status.as_u16(), expected, "{address:?} {path}");
        }
    }
}

#[tokio::test]
async fn a_table_request_costs_one_request_to_the_catalog() {
    let world = World::new().await;
    let before = world.sharing.faults.calls().len();
    assert_eq!(world.query("WF_A__V1", &json!({})).await.status, StatusCode::OK);
    assert_eq!(world.sharing.faults.calls()[before..], ["grant and table"]);
}

#[tokio::test]
async fn a_token_that_asks_in_a_loop_is_held_back() {
    let world = World::new().await;
    for _ in 0..100 {
        assert_eq!(world.get("/shares").await.status, StatusCode::OK);
    }
    let calls = world.sharing.faults.calls().len();
    for path in ["/shares", "/shares/acme/schemas/data/tables/WF_A__V1/version"] {
        let held = world.get(path).await;
        assert_eq!((held.error().0, held.error().1.as_str()), (429, "RESOURCE_EXHAUSTED"), "{path}");
        assert_eq!(held.header("retry-after"), Some("1"));
    }
    assert_eq!(world.sharing.faults.calls().len(), calls, "the catalog is not asked");
    assert_eq!(world.send(request("GET", "/shares", OTHER)).await.status, StatusCode::OK);
    world.clock.advance(1);
    let mut allowed = 0;
    while world.get("/shares").await.status == StatusCode::OK {
        allowed += 1;
    }
    assert_eq!(allowed, 20);
}

#[tokio::test]
async fn a_failing_catalog_says_whether_to_try_again() {
    let world = World::new().await;
    for (kind, expected) in [
        (PortErrorKind::Throttled, 429),
        (PortErrorKind::Unavailable, 503),
        (PortErrorKind::Denied, 500),
        (PortErrorKind::InvalidData, 500),
    ] {
        world.sharing.faults.fail_call(world.sharing.faults.calls().len(), kind, Strikes::Before);
        let (status, _, message) = world.get("/shares").await.error();
        assert_eq!(status, expected);
        assert!(!message.contains("injected"), "{message}");
    }
}

#[tokio::test]
async fn what_is_not_an_endpoint_answers_in_the_protocols_form() {
    let world = World::new().await;
    for (method, path) in [("GET", "/"), ("GET", "/nothing"), ("POST", "/shares"), ("GET", "/shares/acme/schemas/data")]
    {
        assert_eq!(world.send(request(method, path, ACME)).await.error().0, 404, "{method} {path}");
    }
    assert_eq!(world.get("/shares/%FF").await.error().0, 400);
    let long = "x".repeat(300);
    assert_eq!(world.get(&format!("/shares/acme/schemas/data/tables/{long}/version")).await.error().0, 404);
}
