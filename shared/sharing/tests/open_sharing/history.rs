//! Versions by number and by time.

use http::StatusCode;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use serde_json::json;
use testkit::builders::instant;

use crate::world::{NOW, World, add, committed, opening};

const TABLE: &str = "/shares/acme/schemas/data/tables/WF_A__V1";

/// A time as it stands in a query string.
fn encoded(time: &str) -> String {
    time.replace('+', "%2B").replace(' ', "%20").replace(':', "%3A")
}

/// An instant as `yyyy-MM-dd HH:mm:ss`.
fn spaced(seconds: i64) -> String {
    instant(seconds).to_string().replace('T', " ").replace('Z', "")
}

/// The versions 0, 1 and 2 were committed at NOW, NOW + 1 and NOW + 2.
#[tokio::test]
async fn a_version_is_the_first_since_a_time() {
    let world = World::new().await;
    let plus_one = instant(NOW + 3_600 + 1).to_string().replace('Z', "+01:00");
    for (time, expected) in [
        (instant(NOW + 1).to_string(), "1"),
        (spaced(NOW + 1), "1"),
        (format!("{}.5", spaced(NOW)), "1"),
        (plus_one, "1"),
        (instant(NOW + 2).to_string(), "2"),
        ("2000-01-01 00:00:00".to_owned(), "0"),
    ] {
        let answer = world.get(&format!("{TABLE}/version?startingTimestamp={}", encoded(&time))).await;
        assert_eq!(answer.header("delta-table-version"), Some(expected), "{time}");
    }
    for (time, part) in [
        ("9000-01-01T00:00:00Z", "is after the latest available version 2"),
        ("yesterday", "Invalid startingTimestamp: "),
    ] {
        let (status, code, message) = world.get(&format!("{TABLE}/version?startingTimestamp={time}")).await.error();
        assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"));
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn a_query_and_metadata_are_as_of_a_time() {
    let world = World::new().await;
    for (time, version) in
        [(instant(NOW).to_string(), 0), (format!("{}.999", spaced(NOW + 1)), 1), (spaced(NOW + 2), 2)]
    {
        let answer = world.query("WF_A__V1", &json!({"timestamp": time})).await;
        assert_eq!(answer.header("delta-table-version"), Some(version.to_string().as_str()), "{time}");
        assert_eq!(answer.runs().len(), version + 1);
        let metadata = world.get(&format!("{TABLE}/metadata?timestamp={}", encoded(&time))).await;
        assert_eq!(metadata.header("delta-table-version"), Some(version.to_string().as_str()), "{time}");
        assert_eq!(metadata.lines()[1]["metaData"]["numFiles"], version + 1);
    }
    for (time, parts) in [
        ("2000-01-01 00:00:00", ["is before the earliest available version", "greater than or equal to"]),
        ("9000-01-01 00:00:00", ["is after the latest available version", "less than or equal to"]),
        ("soon", ["Invalid timestamp:", ""]),
    ] {
        let of_query = world.query("WF_A__V1", &json!({"timestamp": time})).await.error();
        let of_metadata = world.get(&format!("{TABLE}/metadata?timestamp={}", encoded(time))).await.error();
        for (status, code, message) in [of_query, of_metadata] {
            assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"));
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
    }
    let both = world.get(&format!("{TABLE}/metadata?version=1&timestamp=2026-01-01T00:00:00Z")).await.error();
    assert_eq!(both.2, "Please only provide one of: version/timestamp");
}

#[tokio::test]
async fn what_was_cleaned_up_is_said_to_be() {
    let world = World::new().await;
    // Only a checkpoint leads to a version whose commits are gone; without one the table cannot be read at all.
    let log = "connectors/acme/WF_A__V1/_delta_log/00000000000000000000.json";
    world.store.delete(&Path::from(log)).await.unwrap();
    let (status, code, _) = world.query("WF_A__V1", &json!({"version": 0})).await.error();
    assert_eq!((status, code.as_str()), (500, "INTERNAL_ERROR"));
}

#[tokio::test]
async fn changes_begin_behind_a_version_of_which_only_the_checkpoint_is_left() {
    let world = World::new().await;
    let folder = "connectors/acme/WF_A__V1/_delta_log";
    let mut actions = vec![json!({"checkpointMetadata": {"version": 2}})];
    actions.extend(opening("WF_A__V1").into_iter().chain((0..3).map(add)));
    let text: String = actions.iter().map(|action| format!("{action}\n")).collect();
    let checkpoint = format!("{folder}/{:020}.checkpoint.00000000-0000-0000-0000-000000000000.json", 2);
    world.store.put(&Path::from(checkpoint), text.into()).await.unwrap();
    world.commit("acme", "WF_A__V1", 3, &[committed(3), add(3)]).await;
    for version in 0..3 {
        world.store.delete(&Path::from(format!("{folder}/{version:020}.json"))).await.unwrap();
    }
    let as_it_was = world.query("WF_A__V1", &json!({"version": 2})).await;
    assert_eq!(as_it_was.runs(), ["run-0", "run-1", "run-2"]);
    let gone = [
        world.get(&format!("{TABLE}/changes?startingVersion=2")).await.error(),
        world.query("WF_A__V1", &json!({"startingVersion": 2})).await.error(),
    ];
    for (status, code, message) in gone {
        assert_eq!((status, code.as_str()), (400, "INVALID_PARAMETER_VALUE"));
        assert_eq!(message, "You can only query table data since version 3.");
    }
    assert_eq!(world.get(&format!("{TABLE}/changes?startingVersion=3")).await.runs(), ["run-3"]);
}

#[tokio::test]
async fn a_table_without_a_log_is_not_there_at_any_time() {
    let world = World::new().await;
    let name = delivery::table::TableName::from_stored("WF_D__V1");
    let acme = testkit::builders::connector_id("acme");
    delivery::ports::SharingBackend::add_table(&*world.sharing, &acme, &name).await.unwrap();
    for path in [
        "version?startingTimestamp=2026-01-01T00:00:00Z",
        "metadata?timestamp=2026-01-01T00:00:00Z",
        "changes?startingVersion=0",
        "changes?startingTimestamp=2026-01-01T00:00:00Z",
    ] {
        let answer = world.get(&format!("/shares/acme/schemas/data/tables/WF_D__V1/{path}")).await;
        assert_eq!(answer.error().0, 404, "{path}");
    }
    let queried = world.query("WF_D__V1", &json!({"startingVersion": 0})).await;
    assert_eq!(queried.status, StatusCode::NOT_FOUND);
}
