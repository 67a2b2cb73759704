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

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::kills::Command;
use tests::{Place, Run, Stack, set_up_input, table_name, unique};

/// Faults and counts are the gateway's: one command at a time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Connectors that are made ready, and looked at, beside one another: a client of theirs mostly waits.
const AT_ONCE: usize = 6;

const SET_UP: Command<'_> = Command {
    machine: "SetupConnector",
    functions: &["provision-connector", "prove-delivery", "invite-recipient"],
    interrupted: "SETUP_INTERRUPTED",
    at_once: AT_ONCE,
};

const REVOKE: Command<'_> = changing("RevokeConnector");

const ROTATE: Command<'_> = Command {
    machine: "RotateToken",
    functions: &["invite-recipient", "change-connector"],
    interrupted: "CHANGE_INTERRUPTED",
    at_once: AT_ONCE,
};

/// A command that one function carries out alone.
const fn changing(machine: &str) -> Command<'_> {
    Command { machine, functions: &["change-connector"], interrupted: "CHANGE_INTERRUPTED", at_once: AT_ONCE }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_that_is_interrupted_anywhere_ends_with_a_connector_that_delivers() {
    let _turn = TURN.lock().await;
    let stack = Stack::of_this_test();
    let begin = async || {
        let (connector, team) = (unique(), unique());
        let input = set_up_input(&connector, &team, json!({}));
        ((connector, team), input)
    };
    stack
        .killed_anywhere(&SET_UP, begin, async |(connector, team), ended| {
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

/// A connector with a token, and one delivered run behind it.
async fn read_connector(stack: &Stack) -> (String, String, std::path::PathBuf) {
    let (connector, team) = (unique(), unique());
    let profile = stack.ready_connector(&connector, &team, json!({"backfill": false})).await;
    (connector, team, profile)
}

fn count(audit: &[String], action: &str) -> usize {
    audit.iter().filter(|found| *found == action).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabling_that_is_interrupted_anywhere_disables_once() {
    let _turn = TURN.lock().await;
    let stack = Stack::of_this_test();
    let disable = changing("DisableConnector");
    let begin = async || {
        let (connector, _, profile) = read_connector(&stack).await;
        let input = json!({"connectorId": connector});
        ((connector, profile), input)
    };
    stack
        .killed_anywhere(&disable, begin, async |(connector, profile), _| {
            assert_eq!(stack.connector_state(connector).await, "disabled");
            assert_eq!(count(&stack.audit(connector).await, "disable"), 1);
            assert_eq!(stack.told(profile).await.0, 200, "what is there is read");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_is_interrupted_anywhere_revokes_once_and_for_good() {
    let _turn = TURN.lock().await;
    let stack = Stack::of_this_test();
    let begin = async || {
        let (connector, team, profile) = read_connector(&stack).await;
        let input = json!({"connectorId": connector});
        ((connector, team, profile), input)
    };
    stack
        .killed_anywhere(&REVOKE, begin, async |(connector, team, profile), _| {
            assert_eq!(stack.connector_state(connector).await, "revoked");
            assert_eq!(count(&stack.audit(connector).await, "revoke"), 1);
            assert!(stack.told(profile).await.1.contains("was revoked"));
            let kept = stack.keep(profile, "before");
            let anew = stack.ready_connector(connector, team, json!({"backfill": false})).await;
            assert_eq!(stack.told(&anew).await.0, 200, "it can be set up anew");
            assert!(stack.told(&kept).await.1.contains("was revoked"), "and the token of before stays refused");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_is_interrupted_anywhere_leaves_the_recipient_its_access() {
    let _turn = TURN.lock().await;
    let stack = Stack::of_this_test();
    let begin = async || {
        let (connector, _, profile) = read_connector(&stack).await;
        let input = json!({"connectorId": connector, "overlapSeconds": 600});
        ((connector, profile), input)
    };
    stack
        .killed_anywhere(&ROTATE, begin, async |(connector, profile), _| {
            assert_eq!(count(&stack.audit(connector).await, "rotate-token"), 1);
            assert_eq!(stack.told(profile).await.0, 200, "the token of before reads until its end");
            let kept = stack.keep(profile, "before");
            let anew = stack.activate(connector).await;
            assert_eq!(stack.told(&anew).await.0, 200, "however many e-mails left, the newest link works");
            let ends = stack.items(&format!("TOKENS#{connector}"), "TOKEN#").await;
            let rotated_away = ends.iter().filter(|token| token["rotation"].as_n().unwrap() == "0");
            let in_an_hour = std::time::SystemTime::now() + std::time::Duration::from_secs(3_600);
            let in_an_hour = in_an_hour.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            for token in rotated_away {
                let end = delivery::timestamp::Timestamp::parse(token["expires_at"].as_s().unwrap()).unwrap();
                assert!(end.seconds() < i64::try_from(in_an_hour).unwrap(), "the token of before ends: {end}");
            }
            assert_eq!((ends.len(), stack.told(&kept).await.0), (2, 200));
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_is_interrupted_anywhere_starts_each_failed_delivery_once() {
    let _turn = TURN.lock().await;
    let stack = Stack::of_this_test();
    let redrive = Command {
        machine: "RedriveDeliveries",
        functions: &["redrive-deliveries"],
        interrupted: "REDRIVE_INTERRUPTED",
        at_once: AT_ONCE,
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

#[tokio::test(flavor = "multi_thread")]
async fn an_enabling_that_is_interrupted_anywhere_catches_up_with_each_row_once() {
    let _turn = TURN.lock().await;
    let stack = Stack::of_this_test();
    let enable = changing("EnableConnector");
    let begin = async || {
        let (connector, team, profile) = read_connector(&stack).await;
        let disabled = stack.command("DisableConnector", &connector, json!({})).await;
        assert_eq!(disabled.status, "SUCCEEDED", "{disabled:?}");
        let missed = Run::small(&team, "w-1", 2);
        missed.announce(&stack).await;
        stack.recorded(&team, "w-1", &missed.run).await;
        let input = json!({"connectorId": connector});
        ((connector, profile, missed), input)
    };
    stack
        .killed_anywhere(&enable, begin, async |(connector, profile, missed), _| {
            assert_eq!(stack.connector_state(connector).await, "ready");
            let audit = stack.audit(connector).await;
            assert_eq!(["enable", "catch-up"].map(|action| count(&audit, action)), [1, 1], "{audit:?}");
            let (_, rows) = stack.rows(profile, connector, &table_name("w-1", "V1")).await;
            let runs: Vec<_> = rows.iter().map(|row| row["run_id"].as_str().unwrap()).collect();
            assert_eq!(runs, [missed.run.as_str(); 2], "what was missed, each row once");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_of_messages_that_is_interrupted_anywhere_sends_each_back_before_it_ends() {
    let _turn = TURN.lock().await;
    let place = Place::new().await;
    // The first one would send the messages of all others back.
    let redrive = Command {
        machine: "RedriveMessages",
        functions: &["redrive-messages"],
        interrupted: "REDRIVE_INTERRUPTED",
        at_once: 1,
    };
    // Dead letters of other tests would be sent back, and refused, each time.
    let dead_letters = place.stack.output("RunCompletedDeadLetterQueueUrl");
    place.stack.sqs.purge_queue().queue_url(dead_letters).send().await.unwrap();
    let input = json!({"queue": "runCompleted", "ratePerMinute": 600});
    let begin = async || {
        let run = place.run();
        place.stack.put_output(&run.key(), run.body.clone()).await;
        place.stack.send_to("RunCompletedDeadLetterQueueUrl", &run.message().to_string()).await;
        (run, input.clone())
    };
    place
        .stack
        .killed_anywhere(&redrive, begin, async |run, _| {
            place.shared(run).await;
            let left = place.stack.refused("RunCompletedDeadLetterQueueUrl", &run.run).await;
            assert_eq!(left, None, "it is not there any more");
            let (_, rows) = place.stack.rows(&place.profile, &place.connector, &table_name(&run.workflow, "V1")).await;
            assert_eq!(rows.len(), 3, "sent twice or not, each row is there once");
        })
        .await;
}

/// What a connector's set-up has on top of the least, for a token recipient of the Databricks workspace.
fn hosted() -> Value {
    json!({"backend": "databricks", "backfill": false})
}

/// A connector of a token recipient of the workspace, who downloaded its credential.
async fn hosted_connector(stack: &Stack) -> (String, String, Value) {
    let (connector, team) = (unique(), unique());
    let ended = stack.set_up(&connector, &team, hosted()).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    let reader = stack.workspace_reader(&connector).await;
    (connector, team, reader)
}

/// What the workspace hands to a recipient is a new connector's tables, and no other.
async fn assert_handed(stack: &Stack, reader: &Value, connector: &str, who: &str) {
    const METADATA: [&str; 5] =
        ["ACTIVITY_LOG", "WORKFLOWS", "WORKFLOW_RUNS", "WORKFLOW_SCHEMA_FIELDS", "WORKFLOW_SCHEMA_VERSIONS"];
    let tables = stack.handed(reader, connector).await.unwrap_or_else(|refusal| panic!("{who}: {refusal}"));
    assert_eq!(tables.keys().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(METADATA), "{who}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_in_a_workspace_that_is_interrupted_behind_any_write_ends_with_one_recipient_that_reads() {
    let _turn = TURN.lock().await;
    let stack = Stack::of_this_test();
    let begin = async || {
        let connector = unique();
        let input = set_up_input(&connector, &unique(), hosted());
        (connector, input)
    };
    stack
        .killed_behind_writes(&SET_UP, begin, async |connector, ended| {
            let output = ended.output.clone().unwrap_or_default();
            assert!(output.contains("\"ready\""), "{output}");
            assert_eq!(count(&stack.audit(connector).await, "set-up"), 1);
            let codes: BTreeSet<_> = stack.workspace_codes(connector).await.into_iter().collect();
            assert_eq!(codes.len(), 1, "however many e-mails left, there is one token");
            let reader = stack.workspace_reader(connector).await;
            assert_handed(&stack, &reader, connector, "who got the link").await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_in_a_workspace_that_is_interrupted_behind_any_write_makes_one_token_and_ends_none_early() {
    let _turn = TURN.lock().await;
    let stack = Stack::of_this_test();
    let begin = async || {
        let (connector, _, reader) = hosted_connector(&stack).await;
        let input = json!({"connectorId": connector, "overlapSeconds": 600});
        ((connector, reader), input)
    };
    stack
        .killed_behind_writes(&ROTATE, begin, async |(connector, before), _| {
            assert_eq!(count(&stack.audit(connector).await, "rotate-token"), 1);
            let codes: BTreeSet<_> = stack.workspace_codes(connector).await.into_iter().collect();
            assert_eq!(codes.len(), 2, "however many e-mails left, there is one more token");
            let anew = stack.workspace_reader(connector).await;
            assert_ne!(&anew, before);
            assert_handed(&stack, &anew, connector, "the new token").await;
            assert_handed(&stack, before, connector, "the token of before, until its end").await;
            let share = stack.workspace_share(connector).await;
            let grants: Vec<_> = share["grants"].as_object().unwrap().values().collect();
            assert!(matches!(grants[..], [grant] if grant["tokens"] == 2), "{grants:?}");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_in_a_workspace_that_is_interrupted_behind_any_write_takes_the_grant_for_good() {
    let _turn = TURN.lock().await;
    let stack = Stack::of_this_test();
    let begin = async || {
        let (connector, team, reader) = hosted_connector(&stack).await;
        let input = json!({"connectorId": connector});
        ((connector, team, reader), input)
    };
    stack
        .killed_behind_writes(&REVOKE, begin, async |(connector, team, before), _| {
            assert_eq!(stack.connector_state(connector).await, "revoked");
            assert_eq!(count(&stack.audit(connector).await, "revoke"), 1);
            stack.handed(before, connector).await.expect_err("the next request is refused");
            let anew = stack.set_up(connector, team, hosted()).await;
            assert_eq!(anew.status, "SUCCEEDED", "it can be set up anew: {anew:?}");
            let reader = stack.workspace_reader(connector).await;
            assert_handed(&stack, &reader, connector, "who got the new link").await;
            stack.handed(before, connector).await.expect_err("the token of before has ended");
        })
        .await;
}
