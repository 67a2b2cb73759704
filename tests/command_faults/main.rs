//! An operator's commands, whose functions end in the middle of their work, at every request that they make: each
//! command comes to its end, or is brought there by being started again. A binary of its own, because a fault strikes
//! whoever comes first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests end at the first surprise"
)]

use serde_json::json;
use tests::kills::Command;
use tests::{Place, Run, Stack, set_up_input, table_name, unique};

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_that_is_interrupted_anywhere_ends_with_a_connector_that_delivers() {
    let stack = Stack::of_this_test();
    let set_up = Command {
        machine: "SetupConnector",
        functions: &["provision-connector", "prove-delivery", "invite-recipient"],
        interrupted: "SETUP_INTERRUPTED",
    };
    let begin = async || {
        let (connector, team) = (unique(), unique());
        let input = set_up_input(&connector, &team, json!({}));
        ((connector, team), input)
    };
    stack
        .killed_anywhere(&set_up, begin, async |(connector, team), ended| {
            let output = ended.output.clone().unwrap_or_default();
            assert!(output.contains("\"ready\""), "{output}");
            // However many e-mails left, the newest link works, and the token reads what is delivered.
            let profile = stack.activate(connector).await;
            let run = Run::small(team, "w-1", 2);
            run.announce(&stack).await;
            assert_eq!(stack.delivered(connector, "w-1", &run.run).await.state, "shared");
            let (_, rows) = stack.rows(&profile, connector, &table_name("w-1", "V1")).await;
            assert_eq!(rows.len(), 2);
            let tables = stack.tables(&profile).await;
            assert!(!tables.iter().any(|table| table.contains("PROBE")), "{tables:?}");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_is_interrupted_anywhere_starts_each_failed_delivery_once() {
    let stack = Stack::of_this_test();
    let redrive = Command {
        machine: "RedriveDeliveries",
        functions: &["redrive-deliveries"],
        interrupted: "REDRIVE_INTERRUPTED",
    };
    let begin = async || {
        let place = Place::new().await;
        let first = place.run();
        place.deliver(&first).await;
        let run = Run::small(&place.team, &first.workflow, 2);
        let unshared = place.unshare(&first.workflow).await;
        run.announce(&place.stack).await;
        place.failed(&run).await;
        place.share_again(unshared).await;
        let input = json!({"connectorId": place.connector, "ratePerMinute": 600});
        ((place, run), input)
    };
    stack
        .killed_anywhere(&redrive, begin, async |(place, run), _| {
            let shared = place.arrived(run).await;
            assert_eq!(shared.attributes["attempts"], "2", "started once");
        })
        .await;
}
