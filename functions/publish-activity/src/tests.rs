use delivery::metadata::{Cell, MetadataTable};
use delivery::ports::MetadataStore as _;
use serde_json::{Value, json};
use testkit::builders::{PutConnector as _, connector, connector_id};
use testkit::sharing::ManualClock;
use testkit::state::InMemoryState;

use super::*;

async fn function() -> (PublishActivity, Arc<InMemoryState>) {
    let state = Arc::new(InMemoryState::default());
    state.put_connector(&connector("acme", "team-acme")).await.unwrap();
    let function = PublishActivity {
        runs: state.clone(),
        outbox: state.clone(),
        waker: state.clone(),
        refused: state.clone(),
        clock: Arc::new(ManualClock::at_seconds(0)),
    };
    (function, state)
}

fn message(id: &str) -> String {
    json!({
        "eventId": id, "teamId": "team-acme", "title": "Workflow updated by jane@acme.test",
        "dateTime": "2026-09-01T06:07:30Z",
        "source": {"requestSource": "UI", "userId": "usr_1", "userEmail": "jane@acme.test"},
        "resource": {"type": "WORKFLOW", "workflowId": "w-1", "resourceId": "r-1", "name": "Box office"},
        "details": {"by": "usr_1"},
    })
    .to_string()
}

async fn rows(state: &InMemoryState) -> Vec<Vec<Value>> {
    let (waiting, _) = state.waiting(&connector_id("acme"), MetadataTable::ActivityLog).await.unwrap();
    let cell = |cell: Cell| match cell {
        Cell::Text(text) => text.into(),
        Cell::Timestamp(at) => at.to_string().into(),
        Cell::Null | Cell::Integer(_) | Cell::Boolean(_) => Value::Null,
    };
    waiting.into_iter().map(|waiting| waiting.row.into_iter().map(cell).collect()).collect()
}

#[tokio::test]
async fn messages_become_waiting_rows_and_one_wake() {
    let (function, state) = function().await;
    let (first, second) = (message("e-1"), message("e-2"));
    for _ in 0..2 {
        let answers = function.handle(&[&first, "{", &second, &first]).await;
        let codes: Vec<_> = answers.into_iter().map(|answer| answer.map_err(|error| error.code.as_str())).collect();
        assert_eq!(codes, [Ok(()), Err("MESSAGE_NOT_JSON"), Ok(()), Ok(())]);
    }
    let row = |id: &str| {
        let at = "2026-09-01T06:07:30Z";
        let row = json!([id, at, "Workflow updated by [redacted]", "WORKFLOW", "Box office", "w-1", "UI"]);
        row.as_array().unwrap().clone()
    };
    assert_eq!(rows(&state).await, [row("e-1"), row("e-2")]);
    assert_eq!(state.wakes(), [connector_id("acme"), connector_id("acme")], "one for each batch");
}

#[tokio::test]
async fn a_batch_of_messages_that_can_never_pass_reads_nothing() {
    let (function, state) = function().await;
    let before = state.faults.calls().len();
    let answers = function.handle(&["", "[]", "{}"]).await;
    assert!(answers.iter().all(Result::is_err));
    assert_eq!(state.faults.calls().len(), before);
}
