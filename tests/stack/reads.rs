//! What recipients read is a table that the operator can query, and nobody else.

use serde_json::Value;
use tests::{Place, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_recipient_read_is_a_row_of_the_operators_table_once() {
    let place = Place::new().await;
    let run = place.run();
    place.deliver(&run).await;
    let read = place.read_workflow(&run.workflow, "V1").await;
    let stack = &place.stack;

    let publish = async || {
        let said = stack.client("invoke.py", &["PublishReadsFunction", r#"{"settleSeconds": 1}"#]).await.unwrap();
        serde_json::from_str::<Value>(&said[0]).unwrap()["rows"].as_u64().unwrap()
    };
    let lines = async || {
        let arguments = [stack.output("TablesBucketName"), &place.connector];
        let said = stack.client("query_reads.py", &arguments).await;
        said.map(|said| said.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>())
    };
    let table = tests::table_name(&run.workflow, "V1");
    let mine = |line: &Value| line["table_name"] == *table && line["kind"] == "query";
    let found = until("the read is a row", async || {
        publish().await;
        let lines = lines().await.ok()?;
        let by = |holder: &str| lines.iter().find(|line| mine(line) && line["holder"] == holder).cloned();
        Some((by("recipient")?, by("proof")?))
    })
    .await;
    let (recipient, proof) = found;
    assert_eq!(recipient["files"], 1, "{recipient}: {} rows were read", read.rows.len());
    assert!(recipient["bytes"].as_u64().unwrap() > 0 && proof["reads"].as_u64().unwrap() >= 1, "{recipient} {proof}");

    publish().await;
    let after = lines().await.unwrap();
    assert_eq!(after.iter().find(|line| mine(line) && line["holder"] == "recipient"), Some(&recipient), "once");
    let counted = after.last().unwrap();
    assert_eq!(counted["rows"], counted["different"], "{counted}");
    let keys = stack.keys("TablesBucketName", "audit/").await;
    assert!(keys.iter().any(|key| key.ends_with("/_delta_log/00000000000000000000.json")), "{keys:?}");
    let listed = place.tables().await;
    assert!(!listed.iter().any(|name| name.contains("READS")), "it is in no share: {listed:?}");
}
