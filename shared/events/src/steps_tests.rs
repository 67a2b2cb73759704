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
    let input: PublishInput = written_back(include_str!("../fixtures/steps/publish-input.json"));
    let published: Published = written_back(include_str!("../fixtures/steps/published.json"));
    assert_eq!(input.delivery(), published.delivery());
    assert_eq!(input.delivery().to_string(), "acme-token/w-1/r-1");
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
    let RecordOutcomeInput::Failed { deliveries, step, failure } = serde_json::from_str(text).unwrap() else {
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
    let text = include_str!("../fixtures/steps/record-outcome-input-publish-failed.json");
    let RecordOutcomeInput::Failed { deliveries, step, failure } = serde_json::from_str(text).unwrap() else {
        panic!()
    };
    assert_eq!((deliveries.len(), step), (1, Step::Loading));
    assert_eq!(failure, None);
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
