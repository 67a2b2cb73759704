//! Exactly once, whatever the queue and the neighbours do.

use std::collections::BTreeSet;

use serde_json::json;
use tests::{Run, Stack, table_name, unique, until};

#[tokio::test(flavor = "multi_thread")]
async fn ten_copies_of_a_message_deliver_its_rows_once() {
    let stack = Stack::of_this_test();
    let (team, connector, workflow) = (unique(), unique(), unique());
    let profile = stack.ready_connector(&connector, &team, json!({"backfill": false})).await;
    let run = Run::small(&team, &workflow, 25);
    stack.put_output(&run.key(), run.body.clone()).await;
    for _ in 0..10 {
        stack.send(&run.message().to_string()).await;
    }
    assert_eq!(stack.delivered(&connector, &workflow, &run.run).await.state, "shared");
    until("the queue is empty", async || (stack.queue_depth("RunCompletedQueueUrl").await == 0).then_some(())).await;
    let (_, rows) = stack.rows(&profile, &connector, &table_name(&workflow, "V1")).await;
    assert_eq!(rows.len(), 25);
    let judged = stack.judge(&connector, &table_name(&workflow, "V1")).await;
    assert_eq!(judged["version"], json!(0), "one commit made the table and holds the run");
    assert_eq!(stack.delivery(&connector, &workflow, &run.run).await.unwrap().attributes["attempts"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_runs_of_one_workflow_at_once_arrive_once_each() {
    let stack = Stack::of_this_test();
    let (team, connector, workflow) = (unique(), unique(), unique());
    let profile = stack.ready_connector(&connector, &team, json!({"backfill": false})).await;
    let runs: Vec<_> = (0..20).map(|n| Run::small(&team, &workflow, 5 + n)).collect();
    for run in &runs {
        stack.put_output(&run.key(), run.body.clone()).await;
    }
    for run in &runs {
        stack.send(&run.message().to_string()).await;
    }
    for run in &runs {
        let delivery = stack.delivered(&connector, &workflow, &run.run).await;
        assert_eq!(delivery.state, "shared", "{delivery:?}");
    }
    let expected: BTreeSet<_> =
        runs.iter().zip(5..).flat_map(|(run, rows)| (0..rows).map(move |n| format!("{} {n}", run.run))).collect();
    for suffix in ["V1", "LATEST"] {
        let (_, rows) = stack.rows(&profile, &connector, &table_name(&workflow, suffix)).await;
        let names: BTreeSet<_> = rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(names, expected, "{suffix}");
        assert_eq!(rows.len(), expected.len(), "{suffix} holds each row once");
    }
    let judged = stack.judge(&connector, &table_name(&workflow, "V1")).await;
    assert_eq!(judged["version"], json!(19), "one commit a run");
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_a_shared_delivery_again_changes_nothing() {
    let stack = Stack::of_this_test();
    let (team, connector, workflow) = (unique(), unique(), unique());
    stack.ready_connector(&connector, &team, json!({"backfill": false})).await;
    let run = Run::small(&team, &workflow, 3);
    run.announce(&stack).await;
    assert_eq!(stack.delivered(&connector, &workflow, &run.run).await.state, "shared");
    let ended = stack.execute("DeliverRun", &run.deliver_input(&[&connector])).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    assert_eq!(stack.delivery(&connector, &workflow, &run.run).await.unwrap().state, "shared");
    for suffix in ["V1", "LATEST"] {
        assert_eq!(stack.judge(&connector, &table_name(&workflow, suffix)).await["version"], json!(0), "{suffix}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_old_run_does_not_move_latest_back() {
    let stack = Stack::of_this_test();
    let (team, connector, workflow) = (unique(), unique(), unique());
    let profile = stack.ready_connector(&connector, &team, json!({"backfill": false})).await;
    let mut newer = Run::small(&team, &workflow, 4);
    newer.fields = json!([{"name": "name", "dataType": "STRING"}]);
    newer.finished_at = "2026-09-05T00:00:00Z".to_owned();
    newer.announce(&stack).await;
    assert_eq!(stack.delivered(&connector, &workflow, &newer.run).await.state, "shared");
    let older = Run::small(&team, &workflow, 6);
    older.announce(&stack).await;
    assert_eq!(stack.delivered(&connector, &workflow, &older.run).await.state, "shared");

    let (columns, rows) = stack.rows(&profile, &connector, &table_name(&workflow, "LATEST")).await;
    assert_eq!((columns, rows.len()), (vec!["name".into(), "run_id".into(), "run_finished_at".into()], 4));
    let (_, rows) = stack.rows(&profile, &connector, &table_name(&workflow, "V2")).await;
    assert_eq!(rows.len(), 6, "the old run is in the version table of its schema");

    // The newest run finished last: LATEST switches in place, and keeps its table id.
    let mut newest = Run::small(&team, &workflow, 2);
    newest.finished_at = "2026-09-06T00:00:00Z".to_owned();
    newest.announce(&stack).await;
    assert_eq!(stack.delivered(&connector, &workflow, &newest.run).await.state, "shared");
    let (columns, rows) = stack.rows(&profile, &connector, &table_name(&workflow, "LATEST")).await;
    assert_eq!(columns.len(), 4);
    assert_eq!(rows.len(), 8, "LATEST holds all rows of the newest schema");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_connectors_of_a_team_share_the_staging_and_nothing_else() {
    let stack = Stack::of_this_test();
    let (team, workflow) = (unique(), unique());
    let (one, two, other) = (unique(), unique(), unique());
    let profile_one = stack.ready_connector(&one, &team, json!({"backfill": false})).await;
    let profile_two = stack.ready_connector(&two, &team, json!({"workflows": [workflow]})).await;
    stack.ready_connector(&other, &team, json!({"workflows": ["another-workflow"]})).await;
    let run = Run::small(&team, &workflow, 7);
    run.announce(&stack).await;
    for connector in [&one, &two] {
        assert_eq!(stack.delivered(connector, &workflow, &run.run).await.state, "shared");
    }
    assert_eq!(stack.delivery(&other, &workflow, &run.run).await, None, "a workflow out of scope is not delivered");
    let table = table_name(&workflow, "V1");
    assert_eq!(stack.rows(&profile_one, &one, &table).await.1.len(), 7);
    assert_eq!(stack.rows(&profile_two, &two, &table).await.1.len(), 7);
    let crossed = stack
        .client("read_table.py", &[profile_one.to_str().unwrap(), "rows", &format!("{two}.data.{table}")])
        .await
        .unwrap_err();
    assert!(crossed.contains("404"), "a token opens one share: {crossed}");
    let staged = stack.keys("TablesBucketName", &format!("staging/{team}/{workflow}")).await;
    assert_eq!(staged.len(), 2, "one file and its manifest, whatever the number of connectors: {staged:?}");
}
