//! The in-memory state passes the suites that the real one passes.

use delivery::ports::{DeliveryStore, PortErrorKind};
use testkit::backfill_contract::backfill_store_contract;
use testkit::faults::Strikes;
use testkit::metadata_contract::*;
use testkit::state::InMemoryState;
use testkit::state_contract::*;

#[tokio::test]
async fn the_fake_run_store_keeps_the_contract() {
    let state = InMemoryState::default();
    run_store_contract(&state, &state, "p").await;
    run_store_race_contract(&state, "p").await;
}

#[tokio::test]
async fn the_fake_backfill_store_keeps_the_contract() {
    let state = InMemoryState::default();
    backfill_store_contract(&state, &state, &state, "p").await;
}

#[tokio::test]
async fn the_fake_delivery_store_keeps_the_contract() {
    delivery_store_contract(&InMemoryState::default(), "p").await;
}

#[tokio::test]
async fn the_fake_table_store_keeps_the_contract() {
    let state = InMemoryState::default();
    table_store_contract(&state, "p").await;
    table_store_race_contract(&state, "p").await;
    load_contract(&state, &state, &state, "p").await;
    batch_contract(&state, &state, "p").await;
}

#[tokio::test]
async fn the_fake_connector_store_keeps_the_contract() {
    let state = InMemoryState::default();
    connector_store_contract(&state, &state, "p").await;
}

#[tokio::test]
async fn the_fake_rollout_store_keeps_the_contract() {
    let state = InMemoryState::default();
    rollout_store_contract(&state, &state, &state, "p").await;
}

#[tokio::test]
async fn the_fake_sharing_backend_keeps_the_contract() {
    sharing_backend_contract(&InMemoryState::default(), "p").await;
}

#[tokio::test]
async fn a_fault_strikes_one_call_before_or_after_its_work() {
    use testkit::builders::{connector_id, delivery_key, instant, run_key};
    for (strikes, happened) in [(Strikes::Before, false), (Strikes::After, true)] {
        let state = InMemoryState::default();
        let key = delivery_key(&connector_id("c"), &run_key("t", "w", "r"));
        state.faults.fail_call(1, PortErrorKind::Throttled, strikes);
        assert_eq!(state.delivery(&key).await.unwrap(), None);
        let keys = [key.clone()];
        let error = state.enter(&keys, delivery::state::Step::Staging, instant(0)).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Throttled);
        assert_eq!(state.delivery(&key).await.unwrap().is_some(), happened);
        assert_eq!(state.faults.calls().len(), 3);
    }
}

#[tokio::test]
async fn the_fake_outbox_keeps_the_contract() {
    let state = InMemoryState::default();
    outbox_contract(&state, &state, "p").await;
    outbox_race_contract(&state, &state, "p").await;
    delivered_run_contract(&state, &state, &state, "p").await;
}

#[tokio::test]
async fn the_fake_catalogue_keeps_the_contract() {
    let state = InMemoryState::default();
    catalogue_contract(&state, &state, &state, "p").await;
    catalogue_race_contract(&state, &state, "p").await;
}

#[tokio::test]
async fn the_fake_recipient_backend_keeps_the_contract() {
    let state = InMemoryState::default();
    let recipient = testkit::builders::connector("any", "any").recipient;
    testkit::recipient_contract::recipient_backend_contract(&state, &state, &recipient, "p").await;
}
