//! Starting failed deliveries again, and sending dead-letter messages back.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests end at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};

use delivery::batch::Origin;
use delivery::connector::{Connector, ConnectorState, Scope};
use delivery::failure::{FailureCode, Phase};
use delivery::ids::DeliveryKey;
use delivery::ports::{DeadLetterQueue as _, DeliveryStore, PortErrorKind, Recorded, RunConnectors, RunStore as _};
use delivery::redrive::{
    CONNECTORS_PER_PAGE_MAX, EXAMINED_PER_PAGE_MAX, EXECUTION_SECONDS_MAX, HIDDEN_SECONDS_MAX, MessageRedrive,
    MessagesRedriven, NEWER_PAGES_MAX, Next, QueueDepth, Redrive, RedriveMode, Redriven, Redriving, oldest_expected,
    redrive_messages_page, redrive_page, restart_name,
};
use delivery::state::{Ended, Failure, Step};
use testkit::builders::{PutConnector as _, connector, connector_id, delivery_key, instant, run, run_key, workflow_id};
use testkit::faults::Strikes;
use testkit::redrive::{InMemoryDeadLetters, dead_letter_queue_contract, undelivered_contract};
use testkit::state::InMemoryState;

fn key(workflow: &str, run: &str) -> DeliveryKey {
    delivery_key(&connector_id("acme"), &run_key("team-acme", workflow, run))
}

async fn fail(state: &InMemoryState, key: &DeliveryKey, code: FailureCode, at: i64) {
    let failure = Failure { code, message: "it failed".to_owned() };
    state.enter(std::slice::from_ref(key), Step::Staging, instant(at - 1)).await.unwrap();
    state.end(&[(key.clone(), Ended::Failed(failure))], instant(at)).await.unwrap();
}

/// A connector with four failed deliveries and one that is under way.
async fn world() -> InMemoryState {
    let state = InMemoryState::default();
    state.put_connector(&connector("acme", "team-acme")).await.unwrap();
    fail(&state, &key("w-1", "r-1"), FailureCode::ShareUnavailable, 10).await;
    fail(&state, &key("w-1", "r-2"), FailureCode::ShareInterrupted, 20).await;
    fail(&state, &key("w-2", "r-3"), FailureCode::ProofRefused, 30).await;
    fail(&state, &key("w-2", "r-4"), FailureCode::ShareUnavailable, 40).await;
    state.enter(&[key("w-2", "r-5")], Step::Proving, instant(50)).await.unwrap();
    state
}

fn all() -> Redrive {
    Redrive {
        connector: Some(connector_id("acme")),
        phase: None,
        code: None,
        from: None,
        to: None,
        workflows: None,
        rate_per_minute: 600,
        mode: RedriveMode::Start,
        begun_at: instant(1_000),
    }
}

fn ports(state: &InMemoryState) -> Redriving<'_> {
    Redriving { connectors: state, deliveries: state, records: state, restarter: state }
}

async fn run_to_its_end(state: &InMemoryState, redrive: &Redrive) -> (Redriven, Vec<u32>) {
    let (mut redriven, mut waits) = (Redriven::default(), Vec::new());
    loop {
        let (now, next) = redrive_page(ports(state), redrive, redriven).await.unwrap();
        redriven = now;
        match next {
            Next::Page { wait_seconds } => waits.push(wait_seconds),
            Next::Done => return (redriven, waits),
        }
    }
}

fn started(state: &InMemoryState) -> BTreeSet<String> {
    state.started().into_values().map(|(run, _)| run.run.as_str().to_owned()).collect()
}

#[tokio::test]
async fn each_failed_delivery_is_started_once_for_each_failure() {
    let state = world().await;
    let (redriven, waits) = run_to_its_end(&state, &all()).await;
    let counts = BTreeMap::from([
        (FailureCode::ShareUnavailable, 2),
        (FailureCode::ShareInterrupted, 1),
        (FailureCode::ProofRefused, 1),
    ]);
    assert_eq!((redriven.matched, redriven.examined, waits.len()), (counts, 5, 0));
    assert_eq!(started(&state), ["r-1", "r-2", "r-3", "r-4"].map(str::to_owned).into());
    assert!(state.started().values().all(|(_, connectors)| *connectors == [connector_id("acme")]), "and nobody else");

    run_to_its_end(&state, &all()).await;
    assert_eq!(state.started().len(), 4, "the same redrive again starts nothing again");
    fail(&state, &key("w-1", "r-1"), FailureCode::ShareUnavailable, 1_000).await;
    run_to_its_end(&state, &all()).await;
    assert_eq!(state.started().len(), 4, "what failed since the redrive began is not started by it");
    run_to_its_end(&state, &Redrive { begun_at: instant(1_001), ..all() }).await;
    assert_eq!(state.started().len(), 5, "the next one starts a new failure");
}

#[tokio::test]
async fn a_delivery_is_started_again_for_what_it_was_made_for() {
    let state = world().await;
    let (history, unbegun) = (key("w-1", "history"), key("w-1", "unbegun"));
    let failure = Failure { code: FailureCode::StagingUnavailable, message: "it failed".to_owned() };
    state.begin(std::slice::from_ref(&history), Origin::Backfill, instant(50)).await.unwrap();
    let ended = [(history.clone(), Ended::Failed(failure.clone()))];
    state.end(&ended, instant(60)).await.unwrap();
    state.fail(std::slice::from_ref(&unbegun), &failure, Origin::Backfill, instant(60)).await.unwrap();
    run_to_its_end(&state, &all()).await;
    let origins = state.started_again_for();
    for (key, at, origin) in [
        (&history, 60, Origin::Backfill),
        (&unbegun, 60, Origin::Backfill),
        (&self::key("w-1", "r-1"), 10, Origin::Live),
    ] {
        assert_eq!(origins.get(&restart_name(key, instant(at), 1)), Some(&origin), "{key}");
    }
    // Its message came after all, and that failed, too.
    state.begin(std::slice::from_ref(&history), Origin::Live, instant(70)).await.unwrap();
    state.end(&ended, instant(80)).await.unwrap();
    run_to_its_end(&state, &all()).await;
    assert_eq!(state.started_again_for()[&restart_name(&history, instant(80), 1)], Origin::Live);
}

#[tokio::test]
async fn a_delivery_that_its_execution_left_behind_is_started_again_and_no_other_that_has_not_failed() {
    let state = world().await;
    let run = |name: &str| run(run_key("team-acme", "w-3", name));
    let acme = RunConnectors::taking(&[connector_id("acme")]);
    assert_eq!(state.record_run(&run("unbegun"), &acme, instant(60)).await.unwrap(), Recorded::New);
    let loading = key("w-3", "loading");
    state.begin(std::slice::from_ref(&loading), Origin::Backfill, instant(60)).await.unwrap();
    state.enter(std::slice::from_ref(&loading), Step::Loading, instant(70)).await.unwrap();
    let restarted = key("w-3", "restarted");
    fail(&state, &restarted, FailureCode::LoadConflict, 60).await;
    state.enter(std::slice::from_ref(&restarted), Step::Loading, instant(71)).await.unwrap();

    let redrive = |begun_at| Redrive { workflows: Some([workflow_id("w-3")].into()), begun_at, ..all() };
    let in_time = redrive(instant(60 + EXECUTION_SECONDS_MAX));
    assert_eq!(run_to_its_end(&state, &in_time).await.0.matched, BTreeMap::new(), "its execution may be at work");
    let later = redrive(instant(71 + EXECUTION_SECONDS_MAX));
    let loads = Redrive { phase: Some(Phase::Load), ..later.clone() };
    let (counted, _) = run_to_its_end(&state, &Redrive { mode: RedriveMode::Count, ..loads }).await;
    assert_eq!(counted.matched, BTreeMap::from([(FailureCode::LoadInterrupted, 1)]), "it counts as interrupted");
    let (redriven, _) = run_to_its_end(&state, &later).await;
    let counts = BTreeMap::from([(FailureCode::LoadInterrupted, 1), (FailureCode::StagingInterrupted, 1)]);
    assert_eq!((redriven.matched, started(&state)), (counts, ["loading", "unbegun"].map(str::to_owned).into()));
    assert_eq!(state.started_again_for()[&restart_name(&loading, instant(70), 1)], Origin::Backfill);
    run_to_its_end(&state, &later).await;
    assert_eq!(state.started().len(), 2, "once, as long as it does not move");

    state.begin(std::slice::from_ref(&loading), Origin::Backfill, instant(20_000)).await.unwrap();
    run_to_its_end(&state, &redrive(instant(20_001))).await;
    assert_eq!(started(&state).len(), 3, "what moves again is not left behind; the one that was restarted is by now");
    assert_eq!(state.started().len(), 3);
}

#[tokio::test]
async fn a_redrive_takes_what_it_was_asked_for() {
    let workflows = |ids: &[&str]| Some(ids.iter().map(|id| workflow_id(id)).collect());
    let (at, unavailable) = (|seconds| Some(instant(seconds)), Some(FailureCode::ShareUnavailable));
    let cases: [(Redrive, &[&str]); 9] = [
        (Redrive { phase: Some(Phase::Share), ..all() }, &["r-1", "r-2", "r-4"]),
        (Redrive { phase: Some(Phase::Proof), ..all() }, &["r-3"]),
        (Redrive { phase: Some(Phase::Load), ..all() }, &[]),
        (Redrive { code: unavailable, ..all() }, &["r-1", "r-4"]),
        (Redrive { from: at(20), ..all() }, &["r-2", "r-3", "r-4"]),
        (Redrive { to: at(20), ..all() }, &["r-1"]),
        (Redrive { from: at(20), to: at(40), ..all() }, &["r-2", "r-3"]),
        (Redrive { workflows: workflows(&["w-2"]), ..all() }, &["r-3", "r-4"]),
        (Redrive { workflows: workflows(&["w-2"]), code: unavailable, from: at(11), ..all() }, &["r-4"]),
    ];
    for (redrive, expected) in cases {
        let state = world().await;
        run_to_its_end(&state, &redrive).await;
        assert_eq!(started(&state), expected.iter().map(|run| (*run).to_owned()).collect(), "{redrive:?}");
    }
}

#[tokio::test]
async fn a_redrive_that_names_no_connector_takes_those_that_take_data_one_after_the_other() {
    let state = world().await;
    let of = |name: &str, run: &str| delivery_key(&connector_id(name), &run_key("team-acme", "w-1", run));
    for (name, connector_state) in
        [("acme-2", ConnectorState::Active), ("off", ConnectorState::Disabled), ("zebra", ConnectorState::Ready)]
    {
        let connector = Connector { state: connector_state, ..connector(name, "team-acme") };
        state.put_connector(&connector).await.unwrap();
        for run in ["r-6", "r-7"] {
            fail(&state, &of(name, run), FailureCode::ShareUnavailable, 10).await;
        }
    }
    let unavailable = Some(FailureCode::ShareUnavailable);
    let redrive = Redrive { connector: None, code: unavailable, rate_per_minute: 6, ..all() };
    let (redriven, waits) = run_to_its_end(&state, &redrive).await;
    assert_eq!(redriven.matched, BTreeMap::from([(FailureCode::ShareUnavailable, 6)]));
    assert_eq!((redriven.examined, waits), (9, vec![10; 5]), "one a page");
    let started: Vec<_> = state.started().into_values().map(|(run, to)| (to, run.run.as_str().to_owned())).collect();
    let expected =
        [("acme", "r-1"), ("acme", "r-4"), ("acme-2", "r-6"), ("acme-2", "r-7"), ("zebra", "r-6"), ("zebra", "r-7")];
    for (connector, run) in expected {
        assert!(started.contains(&(vec![connector_id(connector)], run.to_owned())), "{connector} {run}: {started:?}");
    }
    assert_eq!(started.len(), 6);
    run_to_its_end(&state, &Redrive { rate_per_minute: 600, ..redrive }).await;
    assert_eq!(state.started().len(), 6, "the same redrive again starts nothing again");
}

#[tokio::test]
async fn many_connectors_take_several_pages() {
    let state = InMemoryState::default();
    for n in 0..2 * CONNECTORS_PER_PAGE_MAX + 1 {
        let name = format!("c-{n:04}");
        state.put_connector(&connector(&name, &format!("team-{n}"))).await.unwrap();
    }
    let of_last = delivery_key(&connector_id("c-0400"), &run_key("team-400", "w-1", "r-1"));
    fail(&state, &of_last, FailureCode::ShareUnavailable, 10).await;
    let (redriven, waits) = run_to_its_end(&state, &Redrive { connector: None, ..all() }).await;
    assert_eq!((redriven.examined, waits.len()), (1, 2));
    assert_eq!(started(&state), ["r-1".to_owned()].into());
}

#[tokio::test]
async fn what_left_the_scope_is_not_owed_any_more() {
    let state = world().await;
    let scope = Scope::Only([workflow_id("w-1")].into());
    let narrowed = Connector { workflows: scope, ..connector("acme", "team-acme") };
    state.put_connector(&narrowed).await.unwrap();
    run_to_its_end(&state, &all()).await;
    assert_eq!(started(&state), ["r-1", "r-2"].map(str::to_owned).into());
}

#[tokio::test]
async fn a_redrive_that_only_counts_starts_nothing() {
    let state = world().await;
    let redrive = Redrive { mode: RedriveMode::Count, rate_per_minute: 1, ..all() };
    let (redriven, waits) = run_to_its_end(&state, &redrive).await;
    assert_eq!((redriven.matched.values().sum::<u64>(), waits.len()), (4, 0));
    assert!(state.started().is_empty());
}

#[tokio::test]
async fn no_more_is_started_than_the_rate_allows() {
    for (rate, page, wait) in [(1, 1, 60), (5, 1, 12), (6, 1, 10), (60, 10, 10), (61, 10, 10), (600, 100, 10)] {
        let state = InMemoryState::default();
        state.put_connector(&connector("acme", "team-acme")).await.unwrap();
        for run in 0..3 * page {
            fail(&state, &key("w-1", &format!("r-{run}")), FailureCode::LoadConflict, 10 + run).await;
        }
        let (redriven, waits) = run_to_its_end(&state, &Redrive { rate_per_minute: rate, ..all() }).await;
        assert_eq!(redriven.matched, BTreeMap::from([(FailureCode::LoadConflict, 3 * page.unsigned_abs())]));
        assert_eq!(waits, [wait, wait], "{rate} a minute: {page} every {wait} s");
        assert!(page * 60 <= i64::from(rate) * i64::from(wait), "{rate} a minute");
    }
}

#[tokio::test]
async fn a_page_that_is_cut_off_anywhere_and_done_again_starts_each_delivery_once() {
    let calls = {
        let state = world().await;
        let before = state.faults.calls().len();
        run_to_its_end(&state, &all()).await;
        state.faults.calls().len() - before
    };
    assert_eq!(calls, 10, "the connector, the list, and four looks and starts");
    for call in 0..calls {
        for strikes in [Strikes::Before, Strikes::After] {
            let state = world().await;
            state.faults.fail_call(state.faults.calls().len() + call, PortErrorKind::Unavailable, strikes);
            let error = redrive_page(ports(&state), &all(), Redriven::default()).await.unwrap_err();
            assert_eq!(error.code, FailureCode::RedriveUnavailable);
            run_to_its_end(&state, &all()).await;
            assert_eq!(state.started().len(), 4, "call {call} {strikes:?}");
        }
    }
    let state = world().await;
    state.faults.fail_call(state.faults.calls().len() + 3, PortErrorKind::Denied, Strikes::Before);
    let error = redrive_page(ports(&state), &all(), Redriven::default()).await.unwrap_err();
    assert_eq!(error.code, FailureCode::RedriveDenied);
}

#[tokio::test]
async fn a_connector_that_takes_no_data_is_not_redriven() {
    for state in ConnectorState::ALL {
        let store = world().await;
        store.put_connector(&delivery::connector::Connector { state, ..connector("acme", "team-acme") }).await.unwrap();
        let answer = redrive_page(ports(&store), &all(), Redriven::default()).await;
        let code = match state {
            ConnectorState::Ready | ConnectorState::Backfilling | ConnectorState::Active => None,
            ConnectorState::Provisioning => Some(FailureCode::ConnectorNotReady),
            ConnectorState::Disabled => Some(FailureCode::ConnectorDisabled),
            ConnectorState::Revoked => Some(FailureCode::ConnectorRevoked),
        };
        assert_eq!(answer.err().map(|error| error.code), code, "{state:?}");
        assert_eq!(store.started().is_empty(), code.is_some());
    }
    let store = world().await;
    let unknown = Redrive { connector: Some(connector_id("nobody")), ..all() };
    let error = redrive_page(ports(&store), &unknown, Redriven::default()).await.unwrap_err();
    assert_eq!(error.code, FailureCode::ConnectorNotFound);
}

#[tokio::test]
async fn the_oldest_delivery_that_is_expected_is_none_whose_run_was_rejected() {
    let state = InMemoryState::default();
    let oldest = async || oldest_expected(&state, &connector_id("acme")).await.unwrap();
    assert_eq!(oldest().await, None);
    fail(&state, &key("w-1", "r-1"), FailureCode::RowNotJson, 10).await;
    assert_eq!(oldest().await, None, "its failure is the answer");
    fail(&state, &key("w-1", "r-2"), FailureCode::ShareUnavailable, 20).await;
    assert_eq!(oldest().await, Some(instant(19)), "what may pass is owed since it began");
    state.enter(&[key("w-1", "r-0")], Step::Proving, instant(5)).await.unwrap();
    assert_eq!(oldest().await, Some(instant(5)), "and so is what is under way");
    state.enter(&[key("w-1", "r-1")], Step::Staging, instant(30)).await.unwrap();
    assert_eq!(oldest().await, Some(instant(5)));
}

#[tokio::test]
async fn rejected_deliveries_do_not_hide_one_that_is_late() {
    let state = InMemoryState::default();
    for n in 0..=EXAMINED_PER_PAGE_MAX {
        fail(&state, &key("w-1", &format!("rejected-{n}")), FailureCode::RowNotJson, 10).await;
    }
    assert_eq!(oldest_expected(&state, &connector_id("acme")).await.unwrap(), None);
    state.enter(&[key("w-1", "late")], Step::Staging, instant(20)).await.unwrap();
    assert_eq!(oldest_expected(&state, &connector_id("acme")).await.unwrap(), Some(instant(20)));
}

#[test]
fn a_restart_is_named_for_its_failure_and_fits() {
    let long = key("w-1", &"r".repeat(128));
    assert!(restart_name(&long, instant(0), 50).len() <= 80);
    assert_ne!(restart_name(&long, instant(0), 1), restart_name(&long, instant(1), 1));
    assert_ne!(restart_name(&long, instant(0), 1), restart_name(&long, instant(0), 2));
    assert_ne!(restart_name(&key("w-1", "r-1"), instant(0), 1), restart_name(&key("w-2", "r-1"), instant(0), 1));
    assert_eq!(restart_name(&long, instant(0), 1), restart_name(&long, instant(0), 1));
}

fn messages(limit: u64, rate_per_minute: u32) -> MessageRedrive {
    MessageRedrive { limit, rate_per_minute, begun_at: instant(100) }
}

async fn send_all(queue: &InMemoryDeadLetters, redrive: &MessageRedrive) -> (u64, Vec<u32>) {
    let (mut redriven, mut waits) = (MessagesRedriven::default(), Vec::new());
    loop {
        let now = instant(i64::from(waits.iter().sum::<u32>()));
        let (after, next) = redrive_messages_page(queue, redrive, redriven, now).await.unwrap();
        redriven = after;
        match next {
            Next::Page { wait_seconds } => waits.push(wait_seconds),
            Next::Done => return (redriven.sent, waits),
        }
    }
}

#[tokio::test]
async fn messages_go_back_up_to_the_limit_and_at_the_rate() {
    for (limit, rate, sent, wait) in [(1_000, 600, 25, 1), (1_000, 60, 25, 10), (12, 60, 12, 10), (1, 60, 1, 10)] {
        let queue = InMemoryDeadLetters::default();
        (0..25).for_each(|n| queue.put(&format!("body {n}"), instant(n)));
        let (count, waits) = send_all(&queue, &messages(limit, rate)).await;
        assert_eq!((count, queue.sent_back().len(), queue.dead().len()), (sent, sent as usize, 25 - sent as usize));
        assert!(waits.iter().all(|waited| *waited <= wait), "{waits:?}");
        let allowed = waits.iter().map(|waited| u64::from(*waited * rate) / 60).sum::<u64>();
        assert!(allowed + 10 >= sent, "{waits:?}");
    }
}

#[tokio::test]
async fn a_message_that_failed_again_since_the_redrive_began_stays() {
    let queue = InMemoryDeadLetters::default();
    queue.put("old", instant(99));
    queue.put("new", instant(100));
    assert_eq!(send_all(&queue, &messages(10, 600)).await.0, 1);
    assert_eq!((queue.sent_back(), queue.dead()), (vec!["old".to_owned()], vec!["new".to_owned()]));
    assert_eq!(queue.depth().await.unwrap(), QueueDepth { visible: 1, hidden: 0 }, "it can be seen at once");
}

#[tokio::test]
async fn older_messages_behind_newer_ones_are_sent_back_too() {
    // Receives of a dead-letter queue come in no order: here the newer ones come first, page after page.
    let queue = InMemoryDeadLetters::default();
    (0..35).for_each(|n| queue.put(&format!("new {n}"), instant(200)));
    (0..5).for_each(|n| queue.put(&format!("old {n}"), instant(50)));
    let mut redriven = MessagesRedriven::default();
    for (newer_pages, sent) in [(1, 0), (2, 0), (3, 0), (0, 5)] {
        let (after, next) = redrive_messages_page(&queue, &messages(100, 600), redriven, instant(300)).await.unwrap();
        assert_eq!((after.newer_pages, after.sent), (newer_pages, sent));
        assert_eq!(next, Next::Page { wait_seconds: 1 }, "there may be more");
        redriven = after;
    }
    assert!(queue.dead().iter().all(|body| body.starts_with("new")), "all that was older went back");
    assert_eq!(queue.depth().await.unwrap(), QueueDepth { visible: 5, hidden: 30 }, "the last page was seen");
}

#[tokio::test]
async fn newer_messages_are_gone_through_and_not_for_ever() {
    let queue = InMemoryDeadLetters::default();
    (0..25).for_each(|n| queue.put(&format!("new {n}"), instant(200)));
    let mut redriven = MessagesRedriven::default();
    for page in 1..=NEWER_PAGES_MAX {
        let (after, next) = redrive_messages_page(&queue, &messages(100, 600), redriven, instant(300)).await.unwrap();
        assert_eq!(after.newer_pages, page);
        assert_eq!(next == Next::Done, page == NEWER_PAGES_MAX, "page {page}");
        redriven = after;
        if page < NEWER_PAGES_MAX {
            queue.show_hidden();
        }
    }
    assert_eq!((redriven.sent, queue.depth().await.unwrap()), (0, QueueDepth { visible: 25, hidden: 0 }));
}

#[tokio::test]
async fn messages_that_are_hidden_are_waited_for_and_not_for_ever() {
    let queue = InMemoryDeadLetters::default();
    queue.put("hidden", instant(1));
    let _ = queue.receive(1).await.unwrap();
    let (redrive, none) = (messages(10, 600), MessagesRedriven::default());
    let (waiting, next) = redrive_messages_page(&queue, &redrive, none, instant(7)).await.unwrap();
    assert_eq!((waiting.hidden_since, next), (Some(instant(7)), Next::Page { wait_seconds: 10 }));

    let latest = instant(7 + HIDDEN_SECONDS_MAX);
    let (_, next) = redrive_messages_page(&queue, &redrive, waiting, latest).await.unwrap();
    assert_eq!(next, Next::Page { wait_seconds: 10 });
    let too_late = latest.plus_seconds(1);
    let (given_up, next) = redrive_messages_page(&queue, &redrive, waiting, too_late).await.unwrap();
    assert_eq!((given_up, next), (waiting, Next::Done), "it says that messages are hidden");

    queue.show_hidden();
    let (sent, next) = redrive_messages_page(&queue, &redrive, waiting, latest).await.unwrap();
    assert_eq!((sent.sent, sent.hidden_since), (1, None));
    assert_ne!(next, Next::Done, "there may be more");
    let (done, next) = redrive_messages_page(&queue, &redrive, sent, latest).await.unwrap();
    assert_eq!((done, next), (sent, Next::Done));
}

#[tokio::test]
async fn a_message_whose_way_back_is_cut_off_is_never_lost() {
    for call in 0..7 {
        for strikes in [Strikes::Before, Strikes::After] {
            let queue = InMemoryDeadLetters::default();
            ["a", "b", "c"].iter().for_each(|body| queue.put(body, instant(1)));
            queue.faults.fail_call(call, PortErrorKind::Unavailable, strikes);
            let first =
                redrive_messages_page(&queue, &messages(10, 600), MessagesRedriven::default(), instant(0)).await;
            if let Err(error) = &first {
                assert_eq!(error.code, FailureCode::RedriveUnavailable);
            }
            let gone: BTreeSet<_> = queue.sent_back().into_iter().chain(queue.dead()).collect();
            assert_eq!(gone.len(), 3, "call {call} {strikes:?}: each is in one of the queues");
            queue.show_hidden();
            send_all(&queue, &messages(10, 600)).await;
            assert!(queue.dead().is_empty());
            let back = queue.sent_back();
            assert_eq!(back.iter().collect::<BTreeSet<_>>().len(), 3);
            assert!(back.len() <= 4, "one may be sent twice: {back:?}");
        }
    }
}

#[tokio::test]
async fn the_fakes_keep_the_rules_of_the_redriving_ports() {
    let state = InMemoryState::default();
    undelivered_contract(&state, &state, "m").await;
    let queue = InMemoryDeadLetters::default();
    let bodies = ["body one", "body two", "body three"];
    bodies.iter().for_each(|body| queue.put(body, instant(1)));
    assert_eq!(dead_letter_queue_contract(&queue, &bodies).await.len(), 3);
    assert_eq!(queue.sent_back().len(), 3);
}
