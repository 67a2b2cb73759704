//! Whatever a client sends, the answer is the protocol's: no request is our failure, and none is left without words.

use axum::body::Body;
use http::{Method, Request};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::world::{ACME, World};

/// A part of a path: mostly one that leads somewhere.
fn part() -> impl Strategy<Value = String> {
    let known = [
        "shares",
        "acme",
        "ACME",
        "Other",
        "schemas",
        "data",
        "tables",
        "all-tables",
        "WF_A__V1",
        "version",
        "metadata",
        "query",
        "changes",
        "queries",
        "temporary-table-credentials",
        "",
        "%2F",
        "%",
        "%ff",
        "..",
    ];
    prop_oneof![4 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => "[!-~]{0,12}"]
}

fn path() -> impl Strategy<Value = String> {
    let table = "/shares/acme/schemas/data/tables/WF_A__V1";
    let ends = ["", "/query", "/changes", "/version", "/metadata", "/temporary-table-credentials", "/queries/1"];
    prop_oneof![
        3 => prop::sample::select(ends.to_vec()).prop_map(move |end| format!("{table}{end}")),
        2 => prop::collection::vec(part(), 0..9).prop_map(|parts| format!("/{}", parts.join("/"))),
    ]
}

fn parameters() -> impl Strategy<Value = String> {
    let names = [
        "version",
        "timestamp",
        "startingVersion",
        "endingVersion",
        "startingTimestamp",
        "endingTimestamp",
        "maxFiles",
        "pageToken",
        "maxResults",
        "includeHistoricalMetadata",
        "x",
    ];
    let values = prop_oneof![
        Just("0".to_owned()),
        Just("3".to_owned()),
        Just("-1".to_owned()),
        Just("true".to_owned()),
        Just("18446744073709551616".to_owned()),
        Just("2026-09-01T00:00:00Z".to_owned()),
        "[!-~]{0,20}",
    ];
    let pair = (prop::sample::select(names.to_vec()), values).prop_map(|(name, value)| format!("{name}={value}"));
    prop::collection::vec(pair, 0..4).prop_map(|pairs| pairs.join("&"))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let member = prop_oneof![
        Just(r#""version":1"#),
        Just(r#""version":"x""#),
        Just(r#""limitHint":1"#),
        Just(r#""maxFiles":1"#),
        Just(r#""startingVersion":0"#),
        Just(r#""timestamp":"2026-09-01T00:00:00Z""#),
        Just(r#""pageToken":"e30""#),
        Just(r#""predicateHints":["n = 1",2]"#),
        Just(r#""jsonPredicateHints":"{}""#),
        Just(r#""includeRefreshToken":true"#),
        Just(r#""location":"s3://x""#),
        Just(r#""maxFiles":null"#),
        Just(r#""version":1e99"#),
    ];
    prop_oneof![
        4 => prop::collection::vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(",")).into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..60),
    ]
}

fn header() -> impl Strategy<Value = (&'static str, String)> {
    let names = ["delta-sharing-capabilities", "accept-encoding", "fileidhash", "content-type", "range"];
    let values = prop_oneof![
        Just("responseformat=delta;readerfeatures=deletionvectors".to_owned()),
        Just("includeendstreamaction=true;asyncquery=true".to_owned()),
        Just("gzip;q=0.5".to_owned()),
        Just("delta".to_owned()),
        "[ -~]{0,30}",
    ];
    (prop::sample::select(names.to_vec()), values)
}

#[test]
fn every_request_has_an_answer_of_the_protocol() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::new());
    let methods = [Method::GET, Method::POST, Method::HEAD, Method::PUT, Method::OPTIONS, Method::DELETE];
    let tokens =
        [format!("Bearer {ACME}"), format!("bearer  {ACME} "), "Bearer nobody".to_owned(), "Basic x".to_owned()];
    let requests = (
        prop::sample::select(methods.to_vec()),
        (path(), parameters()),
        prop::option::of(prop_oneof![8 => Just(tokens[0].clone()), 1 => prop::sample::select(tokens.to_vec())]),
        prop::collection::vec(header(), 0..3),
        body(),
    );
    let mut runner = TestRunner::new(ProptestConfig { cases: 2_000, ..ProptestConfig::default() });
    let result = runner.run(&requests, |(method, (path, query), token, headers, body)| {
        let mut request = Request::builder().method(method.clone()).uri(format!("/delta-sharing{path}?{query}"));
        for (name, value) in
            headers.iter().map(|(name, value)| (*name, value)).chain(token.iter().map(|t| ("authorization", t)))
        {
            request = request.header(name, value);
        }
        // What is no request at all does not reach a server.
        let Ok(request) = request.body(Body::from(body)) else { return Ok(()) };
        world.clock.advance(1);
        let answer = runtime.block_on(world.send(request));
        let status = answer.status.as_u16();
        prop_assert!(status == 200 || (400..500).contains(&status), "{method} {path}?{query}: {status}");
        if status == 200 {
            prop_assert!(answer.body.is_ok());
        } else if method != Method::HEAD {
            let (_, code, message) = answer.error();
            prop_assert!(!code.is_empty() && !message.is_empty());
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
