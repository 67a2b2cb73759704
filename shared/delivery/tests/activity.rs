//! Recording activity over in-memory ports: who gets a row, in how many calls, and what a fault leaves.

#![expect(clippy::unwrap_used, reason = "tests end at the first surprise")]

use std::collections::BTreeSet;

use delivery::activity::{PrivateValues, PublicActivity, Recording, ReportedActivity, record};
use delivery::connector::{Connector, ConnectorState, Scope};
use delivery::failure::{FailureCode, StepError};
use delivery::metadata::MetadataTable;
use delivery::ports::{Clock, MetadataStore as _, PortErrorKind};
use delivery::timestamp::Timestamp;
use testkit::builders::{PutConnector as _, connector, connector_id, instant, team_id, workflow_id};
use testkit::faults::Strikes;
use testkit::state::InMemoryState;

const LIST: &str = "list the team's connectors";
const PUT: &str = "put rows that wait";
const WAKE: &str = "wake the metadata writer";

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        instant(43_200)
    }
}

fn event(team: &str, id: &str, workflow: Option<&str>) -> PublicActivity {
    let reported = ReportedActivity {
        team: team_id(team),
        event_id: Some(id.to_owned()),
        identity: id.to_owned(),
        occurred_at: instant(0),
        title: "Something happened".to_owned(),
        resource_type: None,
        resource_name: None,
        workflow_id: workflow.map(str::to_owned),
        request_source: None,
        private: PrivateValues::default(),
    };
    PublicActivity::of(&reported).unwrap()
}

async fn state_of(connectors: impl IntoIterator<Item = Connector>) -> InMemoryState {
    let state = InMemoryState::default();
    for connector in connectors {
        state.put_connector(&connector).await.unwrap();
    }
    state
}

fn only(workflows: &[&str]) -> Scope {
    Scope::Only(workflows.iter().map(|id| workflow_id(id)).collect())
}

async fn recorded(state: &InMemoryState, events: &[PublicActivity]) -> Vec<Result<(), FailureCode>> {
    let recording = Recording { runs: state, outbox: state, waker: state, clock: &Noon };
    let answers = record(recording, events).await;
    answers.into_iter().map(|answer| answer.map_err(|error: StepError| error.code)).collect()
}

async fn keys(state: &InMemoryState, connector: &str) -> Vec<String> {
    let (rows, _) = state.waiting(&connector_id(connector), MetadataTable::ActivityLog).await.unwrap();
    rows.into_iter().map(|row| row.key).collect()
}

/// The calls since so many.
fn calls(state: &InMemoryState, since: usize) -> Vec<&'static str> {
    state.faults.calls().into_iter().skip(since).collect()
}

#[tokio::test]
async fn an_event_waits_for_each_connector_that_has_it_in_scope_and_is_not_revoked() {
    let state = state_of([
        connector("all", "t"),
        Connector { workflows: only(&["w-1"]), ..connector("one", "t") },
        Connector { workflows: only(&["w-2"]), ..connector("two", "t") },
        Connector { workflows: only(&[]), ..connector("none", "t") },
        Connector { activity_log: false, ..connector("unwanted", "t") },
        Connector { state: ConnectorState::Provisioning, ..connector("unready", "t") },
        Connector { state: ConnectorState::Disabled, ..connector("disabled", "t") },
        Connector { state: ConnectorState::Revoked, ..connector("revoked", "t") },
        connector("other", "u"),
    ])
    .await;
    let events = [
        event("t", "e-1", Some("w-1")),
        event("t", "e-2", Some("w-2")),
        event("t", "e-team", None),
        event("u", "e-other", Some("w-1")),
        event("v", "e-nobody", None),
    ];
    assert_eq!(recorded(&state, &events).await, [Ok(()); 5]);
    for (connector, expected) in [
        ("all", vec!["e-1", "e-2", "e-team"]),
        ("one", vec!["e-1"]),
        ("two", vec!["e-2"]),
        ("none", vec![]),
        ("unwanted", vec![]),
        ("unready", vec!["e-1", "e-2", "e-team"]),
        ("disabled", vec!["e-1", "e-2", "e-team"]),
        ("revoked", vec![]),
        ("other", vec!["e-other"]),
    ] {
        assert_eq!(keys(&state, connector).await, expected, "{connector}");
    }
    let woken: BTreeSet<_> = state.wakes().into_iter().collect();
    assert_eq!(woken, ["all", "disabled", "one", "other", "two", "unready"].map(connector_id).into());
    assert_eq!(state.wakes().len(), 6, "once each");
}

#[tokio::test]
async fn a_batch_reads_a_team_once_and_puts_and_wakes_once_a_connector() {
    let state = state_of([connector("a", "t"), connector("b", "t"), connector("c", "u")]).await;
    let since = state.faults.calls().len();
    let of_t = (0..40).map(|n| event("t", &format!("e-{n}"), Some("w-1")));
    let of_u = (0..40).map(|n| event("u", &format!("e-{n}"), None));
    let events: Vec<_> = of_t.zip(of_u).flat_map(|(one, other)| [one, other]).collect();
    assert_eq!(recorded(&state, &events).await, vec![Ok(()); 80]);
    assert_eq!(calls(&state, since), [LIST, LIST, PUT, WAKE, PUT, WAKE, PUT, WAKE]);
    assert_eq!(keys(&state, "c").await.len(), 40);
}

#[tokio::test]
async fn nothing_to_record_is_no_call() {
    let state = InMemoryState::default();
    assert_eq!(recorded(&state, &[]).await, []);
    assert_eq!(calls(&state, 0), Vec::<&str>::new());
}

#[tokio::test]
async fn copies_of_an_event_are_one_row() {
    let state = state_of([connector("a", "t")]).await;
    let copies = [event("t", "e-1", None), event("t", "e-1", None)];
    for _ in 0..2 {
        assert_eq!(recorded(&state, &copies).await, [Ok(()), Ok(())]);
    }
    assert_eq!(keys(&state, "a").await, ["e-1"]);
}

/// Two teams, three connectors, four events; `e-b` is for `b` alone.
async fn world() -> (InMemoryState, [PublicActivity; 4]) {
    let state = state_of([
        Connector { workflows: only(&["w-a", "w-both"]), ..connector("a", "t") },
        Connector { workflows: only(&["w-b", "w-both"]), ..connector("b", "t") },
        connector("c", "u"),
    ])
    .await;
    let events = [
        event("t", "e-a", Some("w-a")),
        event("t", "e-b", Some("w-b")),
        event("t", "e-both", Some("w-both")),
        event("u", "e-c", None),
    ];
    (state, events)
}

#[tokio::test]
async fn only_the_messages_that_a_fault_concerns_come_back() {
    const FAILED: Result<(), FailureCode> = Err(FailureCode::ActivityUnavailable);
    let kinds = [
        PortErrorKind::NotFound,
        PortErrorKind::Denied,
        PortErrorKind::Throttled,
        PortErrorKind::Unavailable,
        PortErrorKind::InvalidData,
    ];
    // The calls are: list t, list u, then put and wake of a, of b and of c.
    let concerned = [
        [FAILED, FAILED, FAILED, Ok(())],
        [Ok(()), Ok(()), Ok(()), FAILED],
        [FAILED, Ok(()), FAILED, Ok(())],
        [FAILED, Ok(()), FAILED, Ok(())],
        [Ok(()), FAILED, FAILED, Ok(())],
        [Ok(()), FAILED, FAILED, Ok(())],
        [Ok(()), Ok(()), Ok(()), FAILED],
        [Ok(()), Ok(()), Ok(()), FAILED],
    ];
    for (call, expected) in concerned.into_iter().enumerate() {
        for kind in kinds {
            for strikes in [Strikes::Before, Strikes::After] {
                let (state, events) = world().await;
                let since = state.faults.calls().len();
                state.faults.fail_call(since + call, kind, strikes);
                assert_eq!(recorded(&state, &events).await, expected, "call {call}, {kind:?}, {strikes:?}");

                let failed = events.iter().zip(expected).filter(|(_, answer)| answer.is_err());
                let again: Vec<_> = failed.map(|(event, _)| event.clone()).collect();
                assert_eq!(recorded(&state, &again).await, vec![Ok(()); again.len()]);
                assert_eq!(keys(&state, "a").await, ["e-a", "e-both"]);
                assert_eq!(keys(&state, "b").await, ["e-b", "e-both"]);
                assert_eq!(keys(&state, "c").await, ["e-c"]);
                let woken: BTreeSet<_> = state.wakes().into_iter().collect();
                assert_eq!(woken, ["a", "b", "c"].map(connector_id).into(), "call {call}, {strikes:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_failure_keeps_its_cause_and_names_no_event() {
    let (state, events) = world().await;
    state.faults.fail_call(state.faults.calls().len(), PortErrorKind::Denied, Strikes::Before);
    let recording = Recording { runs: &state, outbox: &state, waker: &state, clock: &Noon };
    let error = record(recording, &events).await.remove(0).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("check the function's role") && !text.contains("e-a"), "{text}");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), format!("could not {LIST}"));
}
