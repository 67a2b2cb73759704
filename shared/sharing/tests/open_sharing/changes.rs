//! The change data feed, and queries since a version.

use http::StatusCode;
use serde_json::{Value, json};
use testkit::builders::instant;

use crate::world::{Answer, NOW, World, add, committed, opening};

const TABLE: &str = "/shares/acme/schemas/data/tables/WF_A__V1";
const CAPABILITIES: &str = "delta-sharing-capabilities";
const DELTA: &[(&str, &str)] = &[(CAPABILITIES, "responseformat=delta")];

fn remove(version: u64, data_change: bool) -> Value {
    json!({"remove": {
        "path": format!("run-{version}-00000.parquet"), "deletionTimestamp": 9, "dataChange": data_change,
        "extendedFileMetadata": true, "partitionValues": {}, "size": 100 + version,
    }})
}

fn change(version: u64) -> Value {
    json!({"cdc": {"path": format!("_change_data/run-{version}-00000.parquet"), "partitionValues": {}, "size": 7,
        "dataChange": false}})
}

fn moved(version: u64) -> Value {
    let mut moved = add(version);
    moved["add"]["dataChange"] = false.into();
    moved
}

/// Version 3 rewrites without a change, 4 takes a run away, 5 has change files, 6 has new metadata and a run.
async fn eventful() -> World {
    let world = World::new().await;
    world.commit("acme", "WF_A__V1", 3, &[committed(3), remove(0, false), moved(30)]).await;
    world.commit("acme", "WF_A__V1", 4, &[committed(4), remove(1, true)]).await;
    world.commit("acme", "WF_A__V1", 5, &[committed(5), change(5), remove(2, true), add(5)]).await;
    let mut described = opening("WF_A__V1").remove(1);
    described["metaData"]["description"] = "new".into();
    world.commit("acme", "WF_A__V1", 6, &[committed(6), described, add(6)]).await;
    world
}

/// What kind of lines there are, and of which version, behind the first two.
fn told(answer: &Answer) -> Vec<String> {
    let lines = answer.lines();
    let told = |line: &Value| {
        let (word, inner) = line.as_object().unwrap().iter().next().unwrap();
        let (word, inner) = match inner.get("deltaSingleAction") {
            Some(action) => (action.as_object().unwrap().keys().next().unwrap(), inner),
            None => (word, inner),
        };
        format!("{word} {}", inner["version"])
    };
    lines.iter().skip(2).map(told).collect()
}

#[tokio::test]
async fn changes_are_told_version_by_version_in_both_formats() {
    let world = eventful().await;
    for (headers, word) in [(&[][..], "cdf"), (DELTA, "cdc")] {
        let answer = world.get_with(&format!("{TABLE}/changes?startingVersion=1"), headers).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("delta-table-version"), Some("1"));
        assert_eq!(answer.header("content-type"), Some("application/x-ndjson; charset=utf-8"));
        let changed = format!("{word} 5");
        assert_eq!(told(&answer), ["add 1", "add 2", "remove 4", &changed, "add 6"]);
        assert_eq!(answer.lines()[1]["metaData"]["version"], 6, "the newest metadata");
    }
}

#[tokio::test]
async fn a_change_in_parquet_format_has_its_version_and_time() {
    let world = eventful().await;
    let lines = world.get(&format!("{TABLE}/changes?startingVersion=4&endingVersion=5")).await.lines();
    assert_eq!(lines.len(), 4);
    let removed = &lines[2]["remove"];
    assert_eq!((&removed["size"], &removed["version"], &removed["stats"]), (&json!(101), &json!(4), &Value::Null));
    assert_eq!(removed["timestamp"], json!(instant(NOW + 4).millis()));
    assert_eq!(removed["expirationTimestamp"], json!(instant(NOW + 3_600).millis()));
    assert!(removed["url"].as_str().unwrap().contains("/run-1-00000.parquet?"));
    let changed = &lines[3]["cdf"];
    assert!(changed["url"].as_str().unwrap().contains("/_change_data/run-5-00000.parquet?"));
    assert_eq!((&changed["partitionValues"], &changed["size"]), (&json!({}), &json!(7)));
    let first = world.get(&format!("{TABLE}/changes?startingVersion=0&endingVersion=0")).await.lines();
    assert!(first[2]["add"]["stats"].is_string());
}

#[tokio::test]
async fn a_change_in_delta_format_is_the_logs_action() {
    let world = eventful().await;
    let lines = world.get_with(&format!("{TABLE}/changes?startingVersion=4&endingVersion=5"), DELTA).await.lines();
    let file = &lines[2]["file"];
    assert_eq!((&file["version"], &file["timestamp"]), (&json!(4), &json!(instant(NOW + 4).millis())));
    let removed = &file["deltaSingleAction"]["remove"];
    assert_eq!((&removed["deletionTimestamp"], &removed["dataChange"]), (&json!(9), &json!(true)));
    assert!(removed["path"].as_str().unwrap().starts_with("https://"));
    let changed = &lines[3]["file"]["deltaSingleAction"]["cdc"];
    assert_eq!((&changed["size"], &changed["dataChange"]), (&json!(7), &json!(false)));
}

#[tokio::test]
async fn historical_metadata_begins_with_the_first_versions() {
    let world = eventful().await;
    for wanted in ["True", "true", "TRUE"] {
        let path = format!("{TABLE}/changes?startingVersion=5&includeHistoricalMetadata={wanted}");
        let answer = world.get_with(&path, DELTA).await;
        assert_eq!(answer.lines()[1]["metaData"]["version"], 5, "{wanted}");
        assert_eq!(answer.lines()[0]["protocol"].get("version"), None, "the protocol's history was not asked for");
        assert_eq!(told(&answer), ["cdc 5", "metaData 6", "add 6"]);
        assert_eq!(answer.lines()[3]["metaData"]["deltaMetadata"]["description"], "new");
    }
    let protocol = json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 5}});
    world.commit("acme", "WF_A__V1", 7, &[committed(7), protocol, add(7)]).await;
    let path = format!("{TABLE}/changes?startingVersion=6&includeHistoricalProtocol=true");
    let answer = world.get_with(&path, DELTA).await;
    assert_eq!(answer.lines()[0]["protocol"]["version"], 6);
    assert_eq!(told(&answer), ["add 6", "protocol 7", "add 7"]);
    assert_eq!(told(&world.get(&path).await), ["add 6", "add 7"], "parquet format has one protocol");
}

#[tokio::test]
async fn a_removed_file_of_which_the_log_says_too_little_is_refused() {
    let without = |member: &str| {
        let mut remove = json!({"path": "run-1-00000.parquet", "deletionTimestamp": 9, "dataChange": true,
            "partitionValues": {"run_id": "run-1"}, "size": 101});
        remove.as_object_mut().unwrap().remove(member).unwrap();
        json!({"remove": remove})
    };
    for (partitioned, member, expected) in [
        (false, "size", StatusCode::BAD_REQUEST),
        (false, "partitionValues", StatusCode::OK),
        (true, "partitionValues", StatusCode::BAD_REQUEST),
    ] {
        let world = World::new().await;
        let mut actions = opening("WF_A__V1");
        if partitioned {
            actions[1]["metaData"]["partitionColumns"] = json!(["run_id"]);
        }
        actions.extend([committed(3), without(member)]);
        world.commit("acme", "WF_A__V1", 3, &actions).await;
        let changes = world.get(&format!("{TABLE}/changes?startingVersion=3")).await;
        assert_eq!(changes.status, expected, "{member}");
        let since = world.query("WF_A__V1", &json!({"startingVersion": 3})).await;
        assert_eq!(since.status, expected, "{member}");
        if expected == StatusCode::BAD_REQUEST {
            assert!(changes.error().2.starts_with("Version 3 of the table removes a file"), "{:?}", changes.error());
        }
        assert_eq!(world.query("WF_A__V1", &json!({})).await.status, StatusCode::OK, "the newest version is read");
    }
}

#[tokio::test]
async fn changes_are_found_by_time() {
    let world = eventful().await;
    let (start, end) = (instant(NOW + 1), instant(NOW + 4));
    let path = format!("{TABLE}/changes?startingTimestamp={start}&endingTimestamp={end}");
    let answer = world.get(&path).await;
    assert_eq!(answer.header("delta-table-version"), Some("1"));
    assert_eq!(told(&answer), ["add 1", "add 2", "remove 4"]);
    for (query, part) in [
        ("startingTimestamp=2000-01-01%2000:00:00", "Please use a timestamp greater"),
        ("startingTimestamp=9000-01-01%2000:00:00", "Please use a timestamp less"),
        ("startingVersion=0&endingTimestamp=9000-01-01%2000:00:00", "Please use a timestamp less"),
        ("startingVersion=0&endingTimestamp=2000-01-01%2000:00:00", "Please use a timestamp greater"),
        ("startingTimestamp=x", "Invalid startingTimestamp:"),
        ("startingVersion=0&endingTimestamp=x", "Invalid endingTimestamp:"),
        ("startingVersion=x", "startingVersion must be a whole number"),
        ("startingVersion=-1", "startingVersion must be a whole number"),
        ("startingVersion=7", "Start version cannot be greater than the latest version"),
        ("startingVersion=3&endingVersion=2", "End cannot be before start"),
        ("startingVersion=1&startingTimestamp=2026-01-01T00:00:00Z", "Please only provide one of"),
        ("startingVersion=1&endingVersion=2&endingTimestamp=2026-01-01T00:00:00Z", "Please only provide one of"),
        ("endingVersion=1", "No startingVersion or startingTimestamp provided"),
        ("startingVersion=0&maxFiles=0", "maxFiles must be positive"),
        ("startingVersion=0&maxFiles=x", "maxFiles must be positive"),
        ("startingVersion=0&pageToken=x", "Error decoding the page token"),
    ] {
        let (status, code, message) = world.get(&format!("{TABLE}/changes?{query}")).await.error();
        assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"), "{query}: {message}");
        assert!(message.contains(part), "{query}: {message}");
    }
    let clamped = world.get(&format!("{TABLE}/changes?startingVersion=6&endingVersion=99")).await;
    assert_eq!(told(&clamped), ["add 6"]);
}

#[tokio::test]
async fn a_table_without_the_feed_has_no_changes() {
    let world = World::new().await;
    let mut without = opening("WF_A__V1").remove(1);
    without["metaData"]["configuration"] = json!({});
    world.commit("acme", "WF_A__V1", 3, &[committed(3), without]).await;
    let path = format!("{TABLE}/changes?startingVersion=0");
    let (status, code, message) = world.get(&path).await.error();
    assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"));
    assert_eq!(message, "cdf is not enabled on table acme.data.WF_A__V1");

    // It is on again: what lies behind the gap can be read, what lies across it cannot.
    world.commit("acme", "WF_A__V1", 4, &[committed(4), opening("WF_A__V1").remove(1), add(4)]).await;
    let from_within = world.get(&format!("{TABLE}/changes?startingVersion=3")).await;
    assert!(from_within.error().2.contains("range [3, 4] as change data was not recorded for version [3]"));
    assert_eq!(told(&world.get(&format!("{TABLE}/changes?startingVersion=4")).await), ["add 4"]);
    let (status, code, message) = world.get(&path).await.error();
    assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"));
    let gap = "Error getting change data for range [0, 4] as change data was not recorded for version [3]";
    assert_eq!(message, gap);
    let asked_for_an_end = world.get_with(&path, &[(CAPABILITIES, "includeendstreamaction=true")]).await;
    assert_eq!(asked_for_an_end.error().2, gap, "before anything was sent, an error has its status");
}

#[tokio::test]
async fn a_query_since_a_version_tells_what_came_and_went() {
    let world = eventful().await;
    for (headers, body, expected) in [
        (
            &[][..],
            json!({"startingVersion": 1}),
            &["add 1", "add 2", "remove 4", "add 5", "remove 5", "metaData 6", "add 6"][..],
        ),
        (DELTA, json!({"startingVersion": "4", "endingVersion": "5"}), &["remove 4", "add 5", "remove 5"]),
        (&[], json!({"startingVersion": 3, "endingVersion": 3}), &[]),
        (&[], json!({"startingVersion": 6, "endingVersion": 99}), &["add 6"]),
    ] {
        let answer = world.query_with("WF_A__V1", &body, headers).await;
        let start = body["startingVersion"].to_string().trim_matches('"').to_owned();
        assert_eq!(answer.header("delta-table-version"), Some(start.as_str()), "{body}");
        assert_eq!(told(&answer), expected, "{body}");
        assert_eq!(answer.lines()[1]["metaData"]["version"].to_string(), start, "the table as it was then");
    }
    for body in
        [json!({"startingVersion": 7}), json!({"startingVersion": 2, "endingVersion": 1}), json!({"endingVersion": 1})]
    {
        assert_eq!(world.query("WF_A__V1", &body).await.error().0, 400, "{body}");
    }
}

#[tokio::test]
async fn changes_come_in_pages() {
    for query in ["startingVersion=1&includeHistoricalMetadata=true", "startingVersion=1"] {
        let world = eventful().await;
        let whole = told(&world.get(&format!("{TABLE}/changes?{query}")).await);
        let mut paged = Vec::new();
        let mut token = String::new();
        for page in 0..3 {
            let answer = world.get(&format!("{TABLE}/changes?{query}&maxFiles=2&pageToken={token}")).await;
            assert_eq!(answer.header("delta-table-version"), Some("1"));
            let mut lines = told(&answer);
            assert!(lines.pop().unwrap().starts_with("endStreamAction"), "page {page}");
            paged.extend(lines);
            let next = answer.end()["nextPageToken"].clone();
            assert_eq!(next.is_string(), page < 2, "page {page}");
            token = next.as_str().unwrap_or_default().to_owned();
            // What comes in the meantime belongs to no page.
            world.commit("acme", "WF_A__V1", 7 + page, &[committed(7 + page), add(7 + page)]).await;
        }
        assert_eq!(paged, whole, "{query}");
    }
}

#[tokio::test]
async fn a_commit_too_large_to_hold_is_told_whole_and_in_pages_of_any_size() {
    let world = World::new().await;
    let mut actions = vec![committed(3)];
    for file in 100..1_200 {
        actions.push(add(file));
        actions.extend((file % 11 == 0).then(|| remove(file + 10_000, true)));
    }
    let filler = json!({"domainMetadata": {"domain": "x", "configuration": "x".repeat(600_000), "removed": false}});
    actions.insert(300, filler);
    world.commit("acme", "WF_A__V1", 3, &actions).await;
    world.commit("acme", "WF_A__V1", 4, &[committed(4), add(4)]).await;
    // Change files say all of their commit, wherever in it they are.
    actions[0] = committed(5);
    actions.push(change(5));
    world.commit("acme", "WF_A__V1", 5, &actions).await;
    let lines_of = |answer: &Answer| -> Vec<(String, String)> {
        let mut lines = answer.lines().split_off(2);
        lines.retain(|line| line.get("endStreamAction").is_none());
        let mut places = Vec::new();
        for line in lines {
            let (word, inner) = line.as_object().unwrap().iter().next().unwrap();
            let url = inner["url"].as_str().unwrap().split_once('?').unwrap().0;
            places.push((word.clone(), url.to_owned()));
        }
        places
    };
    let whole = lines_of(&world.get(&format!("{TABLE}/changes?startingVersion=3")).await);
    let mut distinct = whole.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!((whole.len(), distinct.len()), (1_100 + 100 + 1 + 1, whole.len()));
    let count = |word: &str| whole.iter().filter(|line| line.0 == word).count();
    assert_eq!((count("add"), count("remove"), count("cdf")), (1_101, 100, 1));
    assert_eq!(whole.last().unwrap().0, "cdf");
    assert!(whole[..1_200].is_sorted_by_key(|line| line.0 == "remove"), "in the order of a commit that is small");
    for max_files in [250, 298, 1_024, 1_200, 1_201] {
        let (mut paged, mut token) = (Vec::new(), String::new());
        for _ in 0..6 {
            let path = format!("{TABLE}/changes?startingVersion=3&maxFiles={max_files}&pageToken={token}");
            let answer = world.get(&path).await;
            paged.extend(lines_of(&answer));
            token = answer.end()["nextPageToken"].as_str().unwrap_or_default().to_owned();
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(paged, whole, "{max_files} a page");
    }
    let first = lines_of(&world.query("WF_A__V1", &json!({"startingVersion": 3, "maxFiles": 1_201})).await);
    let last = lines_of(&world.query("WF_A__V1", &json!({"startingVersion": 5, "maxFiles": 1_201})).await);
    assert_eq!(first.len() + last.len(), 2 * (1_100 + 100) + 1, "a query since a version tells files");
}

#[tokio::test]
async fn a_page_of_changes_is_of_one_query() {
    let world = eventful().await;
    let first = world.get(&format!("{TABLE}/changes?startingVersion=1&maxFiles=2")).await.end();
    let token = first["nextPageToken"].as_str().unwrap();
    for (path, expected) in [
        (format!("{TABLE}/changes?startingVersion=2&pageToken={token}"), "Query parameter mismatch detected"),
        (
            format!("/shares/acme/schemas/data/tables/WF_B__V1/changes?startingVersion=1&pageToken={token}"),
            "The table specified in the page token does not match",
        ),
    ] {
        let told = world.get(&path).await.error().2;
        assert!(told.starts_with(expected), "{told}");
    }
    let of_query = json!({"maxFiles": 2, "pageToken": token});
    assert!(world.query("WF_A__V1", &of_query).await.error().2.starts_with("Error decoding the page token"));
}
