//! Which change of state makes which event, and how a bus that refuses is answered.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests end at the first surprise")]

use std::collections::BTreeSet;

use delivery::connector::ConnectorState;
use delivery::failure::FailureCode;
use delivery::outgoing::{
    Change, DeliveryAfter, EVENTS_PER_REQUEST_MAX, FailedFacts, Happening, OFFERS_MAX, OutgoingEvent, SharedFacts,
    event, publish,
};
use delivery::ports::PortErrorKind;
use delivery::state::{DeliveryState, Failure};
use delivery::table::TableName;
use testkit::builders::{connector_id, delivery_key, instant, run_key, team_id};
use testkit::faults::Strikes;
use testkit::outgoing::InMemoryBus;

fn delivery(run: &str, before: Option<DeliveryState>, after: DeliveryState, at: i64) -> Change {
    let after = match after {
        DeliveryState::Shared => DeliveryAfter::Shared(SharedFacts {
            at: instant(at),
            table: TableName::from_stored("WF_W_1__V1"),
            table_version: 4,
            rows: 3,
            rejected_rows: 1,
        }),
        DeliveryState::Failed => DeliveryAfter::Failed(FailedFacts {
            at: instant(at),
            failure: Failure { code: FailureCode::ShareUnavailable, message: "away".to_owned() },
            attempts: 2,
        }),
        state @ (DeliveryState::Accepted | DeliveryState::InProgress(_)) => DeliveryAfter::Unfinished(state),
    };
    Change::Delivery { key: delivery_key(&connector_id("acme"), &run_key("t", "w-1", run)), before, after }
}

fn connector(before: Option<ConnectorState>, after: ConnectorState, revision: u64) -> Change {
    let (id, team) = (connector_id("acme"), team_id("t"));
    Change::Connector { id, team, before, after, revision, at: instant(9) }
}

fn token(before: Option<u16>, after: Option<u16>) -> Change {
    let (connector, hash) = (connector_id("acme"), "the-hash".to_owned());
    Change::Token { connector, hash, before, after, expires_at: instant(100), at: instant(9) }
}

fn name(change: &Change) -> Option<&'static str> {
    event(change).map(|event| event.what.name())
}

#[test]
fn a_delivery_tells_when_it_becomes_shared_or_failed_and_never_else() {
    let before = std::iter::once(None).chain(DeliveryState::ALL.map(Some));
    for before in before {
        for after in DeliveryState::ALL {
            let expected = match after {
                _ if before == Some(after) => None,
                DeliveryState::Shared => Some("delivery.shared"),
                DeliveryState::Failed => Some("delivery.failed"),
                DeliveryState::Accepted | DeliveryState::InProgress(_) => None,
            };
            assert_eq!(name(&delivery("r-1", before, after, 5)), expected, "{before:?} to {after:?}");
        }
    }
}

#[test]
fn a_connector_tells_when_it_is_verified_and_when_it_is_revoked_and_never_else() {
    let before = std::iter::once(None).chain(ConnectorState::ALL.map(Some));
    for before in before {
        for after in ConnectorState::ALL {
            let expected = match (before, after) {
                (Some(ConnectorState::Provisioning), ConnectorState::Ready) => Some("connector.ready"),
                (Some(ConnectorState::Revoked), ConnectorState::Revoked) => None,
                (_, ConnectorState::Revoked) => Some("connector.revoked"),
                _ => None,
            };
            assert_eq!(name(&connector(before, after, 3)), expected, "{before:?} to {after:?}");
        }
    }
}

#[test]
fn a_token_tells_each_threshold_once() {
    let steps = [None, Some(30), Some(7), Some(1)];
    for before in steps {
        for after in steps {
            let expected = (after.is_some() && before != after).then_some("token.expiring");
            assert_eq!(name(&token(before, after)), expected, "{before:?} to {after:?}");
        }
    }
    let told = event(&token(Some(30), Some(7))).unwrap();
    assert!(!format!("{told:?}").contains("the-hash"), "the hash stays inside");
    let Happening::TokenExpiring { days_left, expires_at, token_id, .. } = told.what else { panic!("a token's event") };
    assert_eq!((days_left, expires_at, token_id.len()), (7, instant(100), 32));
}

#[test]
fn the_same_change_has_the_same_id_and_another_change_another() {
    let failed = |run, at| event(&delivery(run, None, DeliveryState::Failed, at)).unwrap().id;
    let changes = [
        failed("r-1", 5),
        failed("r-1", 6),
        failed("r-2", 5),
        event(&delivery("r-1", None, DeliveryState::Shared, 5)).unwrap().id,
        event(&connector(Some(ConnectorState::Provisioning), ConnectorState::Ready, 2)).unwrap().id,
        event(&connector(Some(ConnectorState::Ready), ConnectorState::Revoked, 2)).unwrap().id,
        event(&connector(Some(ConnectorState::Ready), ConnectorState::Revoked, 7)).unwrap().id,
        event(&token(None, Some(30))).unwrap().id,
        event(&token(Some(30), Some(7))).unwrap().id,
    ];
    assert_eq!(changes.iter().collect::<BTreeSet<_>>().len(), changes.len());
    assert!(changes.iter().all(|id| id.len() == 32));
    assert_eq!(failed("r-1", 5), failed("r-1", 5));
}

fn events(runs: impl IntoIterator<Item = String>) -> Vec<OutgoingEvent> {
    runs.into_iter().map(|run| event(&delivery(&run, None, DeliveryState::Failed, 5)).unwrap()).collect()
}

#[tokio::test]
async fn a_hundred_events_leave_in_order_ten_with_each_request() {
    let bus = InMemoryBus::default();
    let all = events((0..100).map(|n| format!("r-{n}")));
    publish(&bus, &all).await.unwrap();
    assert_eq!(bus.taken(), all);
    assert_eq!(bus.requests().iter().map(Vec::len).collect::<Vec<_>>(), [EVENTS_PER_REQUEST_MAX; 10]);
    publish(&bus, &[]).await.unwrap();
    assert_eq!(bus.requests().len(), 10, "nothing is no request");
}

#[tokio::test]
async fn events_of_one_delivery_do_not_overtake_each_other() {
    let bus = InMemoryBus::default();
    let again = event(&delivery("r-1", None, DeliveryState::Shared, 9)).unwrap();
    let mut all = events(["r-1".to_owned(), "r-2".to_owned()]);
    all.push(again.clone());
    all.extend(events(["r-3".to_owned()]));
    bus.refuse_some(1);
    publish(&bus, &all).await.unwrap();
    let requests: Vec<usize> = bus.requests().iter().map(Vec::len).collect();
    assert_eq!(requests, [2, 1, 2], "two, the one that was refused again, then the second of r-1 and r-3");
    let ids: Vec<_> = bus.taken().into_iter().map(|event| event.id).collect();
    let place = |id: &str| ids.iter().position(|taken| taken == id).unwrap();
    assert!(place(&all[0].id) < place(&again.id));
    assert_eq!(ids.len(), 4, "what was taken is not offered again");
}

#[tokio::test]
async fn a_bus_that_goes_on_refusing_fails_the_batch_with_a_code() {
    let bus = InMemoryBus::default();
    bus.refuse_some(usize::MAX);
    let error = publish(&bus, &events(["r-1".to_owned()])).await.unwrap_err();
    assert_eq!(error.code, FailureCode::EventsUnavailable);
    assert!(error.message.contains("ThrottlingException"), "{error}");
    assert_eq!(bus.requests().len(), OFFERS_MAX);
    for (kind, code) in [
        (PortErrorKind::Unavailable, FailureCode::EventsUnavailable),
        (PortErrorKind::Throttled, FailureCode::EventsUnavailable),
        (PortErrorKind::Denied, FailureCode::EventsDenied),
        (PortErrorKind::NotFound, FailureCode::EventsDenied),
        (PortErrorKind::InvalidData, FailureCode::EventsDenied),
    ] {
        let bus = InMemoryBus::default();
        bus.faults.fail_call(0, kind, Strikes::Before);
        assert_eq!(publish(&bus, &events(["r-1".to_owned()])).await.unwrap_err().code, code);
    }
}
