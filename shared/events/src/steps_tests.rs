use std::fmt::Debug;

use serde::de::DeserializeOwned;

use super::*;

fn written_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) -> T {
    let value: T = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&value).unwrap(), text.trim_end());
    value
}

#[test]
fn payloads_are_written_back_as_they_were() {
    written_back::<DeliverRunInput>(include_str!("../fixtures/steps/deliver-run-input.json"));
    written_back::<Staged>(include_str!("../fixtures/steps/staged.json"));
    written_back::<LoadedTable>(include_str!("../fixtures/steps/loaded-table.json"));
    written_back::<OutcomeRecorded>(include_str!("../fixtures/steps/outcome-recorded.json"));
    written_back::<ConnectorInput>(include_str!("../fixtures/steps/connector-input.json"));
    written_back::<ConnectorReport>(include_str!("../fixtures/steps/connector-report.json"));
    written_back::<DeliverRunInput>(include_str!("../fixtures/steps/deliver-runs-input.json"));
    written_back::<RolloutInput>(include_str!("../fixtures/steps/rollout-input.json"));
    let input: PublishInput = written_back(include_str!("../fixtures/steps/publish-input.json"));
    let published: Published = written_back(include_str!("../fixtures/steps/published.json"));
    assert_eq!(input.batch().runs.len(), 3);
    assert_eq!(published.batch().runs.len(), 1, "one was not loaded, and one was not proven");
    assert!(published.lost_runs());
    assert_eq!(published.batch().deliveries()[0].to_string(), "acme-token/w-1/r-1");
}

#[test]
fn an_execution_that_began_before_there_were_batches_ends_as_a_batch_of_one() {
    let input: PublishInput =
        serde_json::from_str(include_str!("../fixtures/steps/publish-input.before-batches.json")).unwrap();
    assert_eq!(
        (input.batch().deliveries()[0].to_string().as_str(), input.staged.runs[0].rows),
        ("acme-token/w-1/r-1", 3_200)
    );
    let before = include_str!("../fixtures/steps/published.before-batches.json");
    let published: Published = serde_json::from_str(before).unwrap();
    let delivered = published.delivered();
    assert_eq!((delivered.len(), delivered[0].1.rows, delivered[0].1.table_version), (1, 3_200, 41));
    assert_eq!((published.input.staged.origin, published.table.connector_state), (Origin::Live, None));
    assert!(!published.lost_runs());

    // Its later tasks may run after the deployment: the new payloads lie where the old ones did.
    let mut mixed: Value = serde_json::from_str(before).unwrap();
    let new: Value = serde_json::from_str(include_str!("../fixtures/steps/published.json")).unwrap();
    mixed["staged"] = new["staged"].clone();
    mixed["table"] = new["table"].clone();
    let published: Published = serde_json::from_value(mixed).unwrap();
    assert_eq!(published.batch().runs.len(), 2);
}

#[test]
fn a_batch_has_one_to_a_hundred_runs_each_once() {
    let read = |runs: Value| {
        let mut input = serde_json::json!({"teamId": "t", "workflowId": "w", "connectors": ["c"]});
        input.as_object_mut().unwrap().extend(runs.as_object().unwrap().clone());
        serde_json::from_value::<DeliverRunInput>(input)
            .map(|input| input.runs.len())
            .map_err(|error| crate::decode_reason(&error))
    };
    let ids = |count: usize| serde_json::json!({"runIds": (0..count).map(|n| format!("r-{n}")).collect::<Vec<_>>()});
    assert_eq!(read(ids(100)), Ok(100));
    assert_eq!(read(serde_json::json!({"runIds": ["r-1"], "origin": "backfill"})), Ok(1));
    let limit = "expected at most 100 run ids, each once";
    assert_eq!(read(ids(101)).unwrap_err(), limit);
    assert_eq!(read(serde_json::json!({"runIds": ["r-1", "r-1"]})).unwrap_err(), limit);
    assert_eq!(read(ids(0)).unwrap_err(), "missing field `runId`");
    assert_eq!(
        read(serde_json::json!({"runIds": ["r-1"], "runId": "r-2"})).unwrap_err(),
        "expected one of runId and runIds"
    );
}

#[test]
fn what_was_caught_at_the_staging_says_that_only_staged_runs_are_taken() {
    let mut input: Value = serde_json::from_str(include_str!("../fixtures/steps/deliver-runs-input.json")).unwrap();
    let read = |input: &Value| serde_json::from_value::<DeliverRunInput>(input.clone()).unwrap().staging;
    assert_eq!(read(&input), StagingTask::Stage);
    input["failure"] = serde_json::json!({"StageRun": {"Error": "Runtime.ExitError", "Cause": "killed"}});
    assert_eq!(read(&input), StagingTask::TakeStaged);
}

#[test]
fn a_run_that_is_started_again_is_still_history() {
    let run = RunKey {
        team: TeamId::new("t").unwrap(),
        workflow: WorkflowId::new("w").unwrap(),
        run: RunId::new("r").unwrap(),
    };
    for origin in [Origin::Live, Origin::Backfill] {
        let input = DeliverRunInput::of_one(&run, &[ConnectorId::new("acme").unwrap()], origin);
        let read: DeliverRunInput = serde_json::from_str(&serde_json::to_string(&input).unwrap()).unwrap();
        assert_eq!(read, input);
    }
}

#[test]
fn the_state_of_a_hundred_runs_is_far_below_its_limit() {
    let run = |n: usize| format!("{n:0>128}");
    let runs: Vec<_> = (0..100)
        .map(|n| {
            let finished_at = "2026-09-03T06:07:30.123456Z";
            serde_json::json!({"runId": run(n), "rows": u64::MAX, "rejectedRows": u64::MAX, "bytes": u64::MAX, "finishedAt": finished_at})
        })
        .collect();
    let loaded: Vec<_> = (0..100).map(|n| serde_json::json!({"runId": run(n), "tableVersion": u64::MAX})).collect();
    let mut state: Value = serde_json::from_str(include_str!("../fixtures/steps/published.json")).unwrap();
    state["staged"]["runs"] = runs.into();
    state["staged"]["workflowName"] = "é".repeat(WORKFLOW_NAME_CHARS_MAX).into();
    state["table"]["runs"] = loaded.into();
    let published: Published = serde_json::from_value(state).unwrap();
    let bytes = serde_json::to_string(&published).unwrap().len();
    assert!(bytes < 256 * 1_024 / 4, "{bytes} bytes with ids of the greatest length");
}

#[test]
fn a_delivery_that_went_well_is_recorded_as_it_was_published() {
    let text = include_str!("../fixtures/steps/published.json");
    let published: Published = serde_json::from_str(text).unwrap();
    let input: RecordOutcomeInput = serde_json::from_str(text).unwrap();
    assert_eq!(input, RecordOutcomeInput::Delivered(Box::new(published)));
}

#[test]
fn a_run_that_could_not_be_staged_fails_all_its_deliveries_with_the_functions_code() {
    let text = include_str!("../fixtures/steps/record-outcome-input-staging-failed.json");
    let RecordOutcomeInput::Failed { deliveries, step, failure, .. } = serde_json::from_str(text).unwrap() else {
        panic!()
    };
    assert_eq!(step, Step::Staging);
    let ids: Vec<_> = deliveries.iter().map(ToString::to_string).collect();
    assert_eq!(ids, ["acme-token/w-1/r-1", "acme-lake/w-1/r-1"]);
    let message = "line 17, column score: not a number".to_owned();
    assert_eq!(failure, Some(Failure { code: FailureCode::ValueNotCastable, message }));
}

#[test]
fn a_function_that_ended_without_an_answer_gives_no_failure() {
    for (text, expected) in [
        (include_str!("../fixtures/steps/record-outcome-input-publish-failed.json"), (3, Origin::Backfill)),
        (include_str!("../fixtures/steps/record-outcome-input-publish-failed.before-batches.json"), (1, Origin::Live)),
    ] {
        let RecordOutcomeInput::Failed { deliveries, origin, step, failure } = serde_json::from_str(text).unwrap()
        else {
            panic!()
        };
        assert_eq!(((deliveries.len(), origin), step), (expected, Step::Loading));
        assert_eq!(failure, None);
    }
    for cause in
        ["", "NO_SUCH_CODE: text", r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: 1 Error: late"}"#]
    {
        assert_eq!(CaughtError { error: "States.TaskFailed".into(), cause: cause.into() }.failure(), None);
    }
}

#[test]
fn a_failure_text_is_kept_up_to_its_limit() {
    let cause = format!("LOAD_DENIED: {}", "é".repeat(FAILURE_CHARS_MAX + 1));
    let failure = CaughtError { error: "Delivery.Defect".into(), cause }.failure().unwrap();
    assert_eq!(failure.message.chars().count(), FAILURE_CHARS_MAX);
}

#[test]
fn a_payload_that_does_not_fit_is_refused_without_its_values() {
    let refusal = |text: &str| {
        let error = serde_json::from_str::<RecordOutcomeInput>(text).unwrap_err();
        crate::decode_reason(&error)
    };
    let published = include_str!("../fixtures/steps/published.json");
    assert!(refusal(&published.replace("\"rows\":3200,", "")).contains("missing field `rows`"));
    assert!(!refusal(&published.replace("3200", "\"secret\"")).contains("secret"));
    assert!(refusal(&published.replace("acme-token", "../secret")).contains("expected a connector id"));
    let nobody = r#"{"teamId":"t","workflowId":"w","runId":"r","connectors":[],"failure":{"Error":"E","Cause":""}}"#;
    assert!(refusal(nobody).contains("missing field `connectorId`"));
}
