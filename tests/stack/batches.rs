//! Batches: several runs in one execution and one commit.

use serde_json::{Value, json};
use tests::{Run, Stack, table_name, unique};

/// Announces runs that no connector wants yet: they are recorded, and nothing is started.
async fn record(stack: &Stack, runs: &[Run]) {
    for run in runs {
        run.announce(stack).await;
    }
    for run in runs {
        stack.recorded(&run.team, &run.workflow, &run.run).await;
    }
}

fn input(runs: &[Run], connector: &str) -> Value {
    let ids: Vec<_> = runs.iter().map(|run| run.run.as_str()).collect();
    json!({
        "teamId": runs[0].team, "workflowId": runs[0].workflow, "runIds": ids, "connectors": [connector],
        "origin": "backfill",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_one_commit_and_a_bad_run_fails_alone() {
    let stack = Stack::of_this_test();
    let (team, connector, workflow) = (unique(), unique(), unique());
    let mut runs: Vec<_> = (0..8).map(|n| Run::small(&team, &workflow, 5 + n)).collect();
    (runs[3].body, runs[3].row_count) = (b"no json\n".to_vec(), Some(1));
    runs[5].fields = json!([{"name": "name", "dataType": "STRING"}]);
    record(&stack, &runs).await;
    let profile = stack.ready_connector(&connector, &team, json!({"backfill": false})).await;
    for attempt in 1..=2 {
        let ended = stack.execute("DeliverRun", &input(&runs, &connector)).await;
        assert_eq!(ended.status, "FAILED", "no failed run hides: {ended:?}");
        assert!(ended.cause.unwrap().contains(&connector));
        for (n, run) in runs.iter().enumerate() {
            let delivery = stack.delivery(&connector, &workflow, &run.run).await.unwrap();
            let expected = match n {
                3 => ("failed", Some("ROW_NOT_JSON")),
                5 => ("failed", Some("SCHEMA_NOT_OF_BATCH")),
                _ => ("shared", None),
            };
            assert_eq!((delivery.state.as_str(), delivery.code.as_deref()), expected, "run {n}: {delivery:?}");
        }
        for suffix in ["V1", "LATEST"] {
            let (_, rows) = stack.rows(&profile, &connector, &table_name(&workflow, suffix)).await;
            assert_eq!(rows.len(), 5 + 6 + 7 + 9 + 11 + 12, "attempt {attempt}: {suffix} holds each row once");
            let judged = stack.judge(&connector, &table_name(&workflow, suffix)).await;
            assert_eq!(judged["version"], json!(0), "attempt {attempt}: {suffix} has one commit");
        }
    }
    // The one of another schema is delivered by itself, and nothing keeps it.
    let ended = stack.execute("DeliverRun", &input(&runs[5..6], &connector)).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    assert_eq!(stack.rows(&profile, &connector, &table_name(&workflow, "V2")).await.1.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_and_live_deliveries_of_the_same_runs_at_once_hold_each_row_once() {
    let stack = Stack::of_this_test();
    let (team, connector, workflow) = (unique(), unique(), unique());
    let runs: Vec<_> = (0..12).map(|n| Run::small(&team, &workflow, 3 + n)).collect();
    record(&stack, &runs).await;
    let profile = stack.ready_connector(&connector, &team, json!({"backfill": false})).await;
    let (first, second, live) =
        (input(&runs[..8], &connector), input(&runs[4..], &connector), runs[6].deliver_input(&[&connector]));
    let inputs = [first, second, live];
    let ended = futures::future::join_all(inputs.iter().map(|input| stack.execute("DeliverRun", input))).await;
    assert!(ended.iter().all(|ended| ended.status == "SUCCEEDED"), "{ended:?}");
    for suffix in ["V1", "LATEST"] {
        let (_, rows) = stack.rows(&profile, &connector, &table_name(&workflow, suffix)).await;
        let mut names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        let mut expected: Vec<_> =
            runs.iter().zip(3..).flat_map(|(run, rows)| (0..rows).map(move |n| format!("{} {n}", run.run))).collect();
        expected.sort();
        assert_eq!(names, expected, "{suffix}");
    }
}
