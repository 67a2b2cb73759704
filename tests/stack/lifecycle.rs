//! A token recipient's whole life with a connector, the official client reading at each point of it.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tests::{Place, Run, Stack, contact_of, set_up_input, table_name, unique};

/// The texts of a table's column `name`, sorted.
async fn names(stack: &Stack, profile: &std::path::Path, connector: &str) -> Vec<String> {
    let (_, rows) = stack.rows(profile, connector, &table_name("w-1", "LATEST")).await;
    let mut names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn names_of(runs: &[&Run], rows: u64) -> Vec<String> {
    let mut names: Vec<_> = runs.iter().flat_map(|run| (0..rows).map(|n| format!("{} {n}", run.run))).collect();
    names.sort();
    names
}

fn said(ended: &tests::Execution) -> Value {
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    serde_json::from_str(ended.output.as_deref().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_reads_through_set_up_rotation_and_disabling_and_not_after_the_revocation() {
    let stack = Stack::of_this_test();
    let (team, connector) = (unique(), unique());
    let no_backfill = json!({"backfill": false, "requestedBy": "ada@vendor.test"});
    let profile = stack.ready_connector(&connector, &team, no_backfill.clone()).await;
    let first = stack.keep(&profile, "first");
    let one = Run::small(&team, "w-1", 2);
    one.announce(&stack).await;
    assert_eq!(stack.delivered(&connector, "w-1", &one.run).await.state, "shared");
    assert_eq!(names(&stack, &first, &connector).await, names_of(&[&one], 2));

    // Rotated: both tokens read; without an overlap the old one has ended.
    let rotated = said(&stack.command("RotateToken", &connector, json!({})).await);
    assert_eq!((&rotated["connectorId"], &rotated["rotation"]), (&json!(connector), &json!(1)));
    let again = said(&stack.command("RotateToken", &connector, json!({})).await);
    assert_eq!(again, rotated, "started again, it is the same rotation");
    assert_eq!(stack.activation_links(&connector).await.len(), 2, "and no further e-mail");
    let second = stack.keep(&stack.activate(&connector).await, "second");
    for profile in [&first, &second] {
        assert_eq!(names(&stack, profile, &connector).await, names_of(&[&one], 2));
    }
    let at_once = said(&stack.command("RotateToken", &connector, json!({"overlapSeconds": 0})).await);
    assert_eq!(at_once["rotation"], 2);
    let third = stack.keep(&stack.activate(&connector).await, "third");
    for profile in [&first, &second] {
        let (status, message) = stack.told(profile).await;
        assert!(status == 401 && message.contains("expired"), "{status} {message}");
    }
    assert_eq!(names(&stack, &third, &connector).await, names_of(&[&one], 2));

    // Disabled: a run is not delivered, and what is there is read.
    for _ in 0..2 {
        let disabled = said(&stack.command("DisableConnector", &connector, json!({})).await);
        assert_eq!(disabled, json!({"connectorId": connector, "state": "disabled"}));
    }
    let two = Run::small(&team, "w-1", 3);
    two.announce(&stack).await;
    tests::until("the run is recorded", async || {
        let recorded = stack.items(&format!("RUNS#{team}#w-1"), &format!("RUN#{}", two.run)).await;
        recorded.into_iter().next()
    })
    .await;
    assert_eq!(stack.delivery(&connector, "w-1", &two.run).await, None, "nobody takes it");
    assert_eq!(names(&stack, &third, &connector).await, names_of(&[&one], 2));
    assert!(stack.connector_record(&connector).await["missedSince"].is_string());

    // Revoked: the next request is refused, whatever the token; nothing is deleted.
    let before = stack.keys("TablesBucketName", &format!("connectors/{connector}")).await;
    for _ in 0..2 {
        let revoked = said(&stack.command("RevokeConnector", &connector, json!({})).await);
        assert_eq!(revoked, json!({"connectorId": connector, "state": "revoked"}));
        for profile in [&first, &second, &third] {
            let (status, message) = stack.told(profile).await;
            assert!(status == 401 && message.contains("was revoked"), "{status} {message}");
        }
    }
    let refused = stack.client("read_table.py", &[third.to_str().unwrap(), "tables"]).await.unwrap_err();
    assert!(refused.contains("401"), "{refused}");
    assert_eq!(stack.keys("TablesBucketName", &format!("connectors/{connector}")).await, before, "no data is deleted");
    for machine in ["EnableConnector", "DisableConnector", "RotateToken"] {
        let ended = stack.command(machine, &connector, json!({})).await;
        assert_eq!((ended.status.as_str(), ended.error.as_deref()), ("FAILED", Some("Delivery.Rejected")));
        assert!(ended.cause.unwrap().contains("CONNECTOR_REVOKED"), "{machine}");
    }

    // Set up anew: a new link and token, the old ones stay refused, and nothing arrives twice.
    let anew = stack.ready_connector(&connector, &team, no_backfill).await;
    assert_eq!(stack.connector_state(&connector).await, "ready");
    assert_eq!(names(&stack, &anew, &connector).await, names_of(&[&one], 2));
    for profile in [&first, &second, &third] {
        assert!(stack.told(profile).await.1.contains("was revoked"));
    }
    let ended = stack.execute("DeliverRun", &one.deliver_input(&[&connector])).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    let three = Run::small(&team, "w-1", 1);
    three.announce(&stack).await;
    assert_eq!(stack.delivered(&connector, "w-1", &three.run).await.state, "shared");
    let mut expected = names_of(&[&one], 2);
    expected.extend(names_of(&[&three], 1));
    expected.sort();
    assert_eq!(names(&stack, &anew, &connector).await, expected);

    // One entry for each change, none for what was repeated, and each says who, when and how.
    let audit = stack.audit_entries(&connector).await;
    let actions: Vec<_> = audit.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    let activations = |action: &&str| !["activate", "begin-backfill"].contains(action);
    let changes: Vec<_> = actions.iter().copied().filter(activations).collect();
    let life = ["set-up", "verify", "rotate-token", "rotate-token", "disable", "revoke", "set-up", "verify"];
    assert_eq!(changes, life);
    for entry in audit.iter().filter(|entry| life.contains(&entry["action"].as_str().unwrap())) {
        assert_eq!(entry["requested_by"], "ada@vendor.test", "{entry}");
        assert!(entry["execution"].as_str().unwrap().starts_with("arn:aws:states:"), "{entry}");
        assert!(entry["at"].as_str().unwrap().ends_with('Z'), "{entry}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enabled_connector_has_caught_up_when_its_execution_has_succeeded() {
    let stack = Stack::of_this_test();
    let (team, connector) = (unique(), unique());
    let profile = stack.ready_connector(&connector, &team, json!({"backfill": false})).await;
    let one = Run::small(&team, "w-1", 2);
    one.announce(&stack).await;
    assert_eq!(stack.delivered(&connector, "w-1", &one.run).await.state, "shared");
    said(&stack.command("DisableConnector", &connector, json!({})).await);
    let two = Run::small(&team, "w-1", 2);
    two.announce(&stack).await;
    tests::until("the run is recorded", async || {
        stack.items(&format!("RUNS#{team}#w-1"), &format!("RUN#{}", two.run)).await.into_iter().next()
    })
    .await;
    // A set-up leaves a disabled connector as it is.
    assert_eq!(stack.set_up(&connector, &team, json!({"backfill": false})).await.status, "SUCCEEDED");
    assert_eq!(stack.connector_state(&connector).await, "disabled");

    for _ in 0..2 {
        said(&stack.command("EnableConnector", &connector, json!({})).await);
        assert_eq!(names(&stack, &profile, &connector).await, names_of(&[&one, &two], 2), "each once");
        assert!(stack.connector_record(&connector).await.get("missedSince").is_none(), "nothing is left to catch up");
    }
    let audit = stack.audit(&connector).await;
    let counted = ["disable", "enable", "catch-up"].map(|action| audit.iter().filter(|found| *found == action).count());
    assert_eq!(counted, [1, 1, 1], "{audit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enabling_whose_catch_up_left_something_says_so_and_goes_on_when_it_is_started_again() {
    let place = Place::new().await;
    let first = place.run();
    place.deliver(&first).await;
    tests::until("the rollout ended", async || {
        (place.stack.connector_state(&place.connector).await == "active").then_some(())
    })
    .await;
    said(&place.stack.command("DisableConnector", &place.connector, json!({})).await);
    let missed = Run::small(&place.team, &first.workflow, 2);
    missed.announce(&place.stack).await;
    place.stack.recorded(&place.team, &first.workflow, &missed.run).await;
    // What is not in the share cannot be proven.
    let unshared = place.unshare(&first.workflow).await;
    let ended = place.stack.command("EnableConnector", &place.connector, json!({})).await;
    assert_eq!((ended.status.as_str(), ended.error.as_deref()), ("FAILED", Some("Delivery.Defect")), "{ended:?}");
    assert!(ended.cause.as_deref().unwrap().starts_with("CATCH_UP_FAILED: "), "{ended:?}");
    assert_eq!(place.failed(&missed).await.code.as_deref(), Some("PROOF_REFUSED"));
    assert!(place.stack.connector_record(&place.connector).await["missedSince"].is_string());

    place.share_again(unshared).await;
    said(&place.stack.command("EnableConnector", &place.connector, json!({})).await);
    assert!(place.stack.connector_record(&place.connector).await.get("missedSince").is_none());
    let rows = place.read_workflow(&first.workflow, "V1").await.rows;
    assert_eq!(rows.len(), 3 + 2, "each row once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_live_delivery_that_is_proven_while_its_connector_is_disabled_brings_the_history_behind_the_enabling() {
    let (stack, team) = (Stack::of_this_test(), unique());
    let old = Run::small(&team, "w-1", 2);
    old.announce(&stack).await;
    stack.recorded(&team, "w-1", &old.run).await;
    let place = Place::of_team(&team, json!({"backfill": true})).await;
    said(&stack.command("DisableConnector", &place.connector, json!({})).await);
    let live = Run::small(&team, "w-1", 3);
    live.announce(&stack).await;
    stack.recorded(&team, "w-1", &live.run).await;
    // As a delivery that had begun before.
    let ended = stack.execute("DeliverRun", &live.deliver_input(&[&place.connector])).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    tests::until("the rollout is noted", async || {
        stack.audit(&place.connector).await.contains(&"begin-backfill".to_owned()).then_some(())
    })
    .await;
    assert_eq!(stack.connector_state(&place.connector).await, "disabled");
    said(&stack.command("EnableConnector", &place.connector, json!({})).await);
    assert_eq!(stack.connector_state(&place.connector).await, "active");
    let mut expected = [names_of(&[&old], 2), names_of(&[&live], 3)].concat();
    expected.sort();
    assert_eq!(names(&stack, &place.profile, &place.connector).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_cannot_be_are_refused_by_name() {
    let stack = Stack::of_this_test();
    let connector = unique();
    for (machine, input, code) in [
        ("DisableConnector", json!({"connectorId": connector}), "CONNECTOR_NOT_FOUND"),
        ("EnableConnector", json!({"connectorId": connector}), "CONNECTOR_NOT_FOUND"),
        ("RevokeConnector", json!({"connectorId": connector}), "CONNECTOR_NOT_FOUND"),
        ("RotateToken", json!({"connectorId": connector}), "CONNECTOR_NOT_FOUND"),
        ("RevokeConnector", json!({}), "CONNECTOR_INVALID: connectorId"),
        (
            "RotateToken",
            json!({"connectorId": connector, "overlapSeconds": 2_592_001}),
            "CONNECTOR_INVALID: overlapSeconds",
        ),
        ("DisableConnector", json!({"connectorId": connector, "requestedBy": ""}), "CONNECTOR_INVALID: requestedBy"),
        (
            "SetupConnector",
            set_up_input(
                &connector,
                "t",
                json!({"recipient": {"type": "token", "secureContact": "a@b.test", "tokenLifetimeDays": 366}}),
            ),
            "CONNECTOR_INVALID: recipient.tokenLifetimeDays",
        ),
    ] {
        let ended = stack.execute(machine, &input).await;
        assert_eq!((ended.status.as_str(), ended.error.as_deref()), ("FAILED", Some("Delivery.Rejected")), "{machine}");
        assert!(ended.cause.as_deref().unwrap().contains(code), "{machine}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allow_list_cannot_be_talked_round_by_headers() {
    let stack = Stack::of_this_test();
    let (team, here, elsewhere) = (unique(), unique(), unique());
    let allowed = |connector: &str, blocks: Value| json!({"recipient": {"type": "token", "secureContact": contact_of(connector), "allowedIps": blocks}});
    let local = json!(["127.0.0.0/8", "::1/128"]);
    let reads = stack.ready_connector(&here, &team, allowed(&here, local)).await;
    let shut = stack
        .ready_connector(&elsewhere, &team, allowed(&elsewhere, json!(["198.51.100.0/24", "2001:db8::/32"])))
        .await;
    let list = format!("{}/shares", stack.file.sharing_endpoint);
    let spoofs = [
        ("x-forwarded-for", "198.51.100.7"),
        ("x-forwarded-for", "198.51.100.7, 127.0.0.1"),
        ("forwarded", "for=198.51.100.7"),
        ("forwarded", "for=\"[2001:db8::1]\""),
        ("x-real-ip", "198.51.100.7"),
        ("true-client-ip", "198.51.100.7"),
        ("cf-connecting-ip", "198.51.100.7"),
        ("x-amzn-source-ip", "198.51.100.7"),
    ];
    for (profile, status) in [(&reads, 200), (&shut, 403)] {
        let token = Stack::bearer(profile);
        let asked = stack.http.get(&list).bearer_auth(&token).send().await.unwrap();
        assert_eq!(asked.status(), status);
        for (name, value) in spoofs {
            let asked = stack.http.get(&list).bearer_auth(&token).header(name, value).send().await.unwrap();
            assert_eq!(asked.status(), status, "{name}: {value}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_soon_is_warned_of_once_by_the_schedules_function() {
    let stack = Stack::of_this_test();
    let (team, connector) = (unique(), unique());
    let days =
        json!({"recipient": {"type": "token", "secureContact": contact_of(&connector), "tokenLifetimeDays": 40}});
    stack.ready_connector(&connector, &team, days).await;
    let warnings = async || {
        let mailbox: Value = stack.http.get(&stack.file.mailbox).send().await.unwrap().json().await.unwrap();
        let mails = mailbox["messages"].as_object().unwrap().values().filter_map(Value::as_array).flatten();
        let mine = mails.map(Value::to_string).filter(|mail| mail.contains(&contact_of(&connector)));
        mine.filter(|mail| mail.contains("ends soon")).count()
    };
    let watch = async || {
        let said = stack.client("invoke.py", &["WatchConnectorsFunction"]).await.unwrap();
        let said: Value = serde_json::from_str(&said[0]).unwrap();
        assert_eq!(said["failed"], 0, "{said}");
        assert!(said["connectors"].as_u64().unwrap() >= 1, "{said}");
    };
    watch().await;
    assert_eq!(warnings().await, 0, "40 days are left");

    // As if the token had been made longer ago.
    let key = stack.items(&format!("TOKENS#{connector}"), "TOKEN#").await.remove(0);
    let days_from_now = |days: i64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let seconds = i64::try_from(now).unwrap() + days * 86_400 - 600;
        delivery::timestamp::Timestamp::EPOCH.plus_seconds(seconds).to_string()
    };
    for (left, given) in [(29_i64, 1), (29, 1), (7, 2), (1, 3), (1, 3)] {
        stack
            .dynamodb
            .update_item()
            .table_name(stack.output("StateTableName"))
            .key("pk", key["pk"].clone())
            .key("sk", key["sk"].clone())
            .update_expression("SET expires_at = :end, made_at = :made")
            .expression_attribute_values(":end", AttributeValue::S(days_from_now(left)))
            .expression_attribute_values(":made", AttributeValue::S(days_from_now(left - 40)))
            .send()
            .await
            .unwrap();
        watch().await;
        assert_eq!(warnings().await, given, "{left} days are left");
        let noted = stack.items(&format!("TOKENS#{connector}"), "TOKEN#").await.remove(0);
        let expected = if left == 29 { "30" } else { &left.to_string() };
        assert_eq!(noted["warned_days"].as_n().unwrap(), expected);
    }
}
