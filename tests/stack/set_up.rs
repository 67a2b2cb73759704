//! Setting a connector up, and the recipient's first steps.

use serde_json::{Value, json};
use tests::{Place, Run, Stack, contact_of, set_up_input, table_name, unique};

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_consumed_by_the_button_and_by_nothing_else() {
    let stack = Stack::of_this_test();
    let (team, connector) = (unique(), unique());
    let ended = stack.set_up(&connector, &team, json!({})).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    let links = stack.activation_links(&connector).await;
    let [link] = links.as_slice() else { panic!("one e-mail with one link, not {}", links.len()) };
    for _ in 0..3 {
        let page = stack.http.get(link).send().await.unwrap();
        assert_eq!(page.status(), 200);
        let text = page.text().await.unwrap();
        assert!(text.contains(&connector) && text.contains("<button"), "the page says what it is: {text}");
        assert_eq!(stack.http.head(link).send().await.unwrap().status(), 200);
    }
    let first = stack.http.post(link).send().await.unwrap();
    assert_eq!(first.status(), 200);
    let profile: Value = first.json().await.unwrap();
    assert_eq!(profile["shareCredentialsVersion"], json!(1));
    assert_eq!(profile["endpoint"], json!(stack.file.sharing_endpoint));
    let again = stack.http.post(link).send().await.unwrap();
    assert_eq!(again.status(), 410, "a used link hands nothing out");
    assert!(!again.text().await.unwrap().contains("bearerToken"));

    let list = format!("{}/shares", stack.file.sharing_endpoint);
    let token = profile["bearerToken"].as_str().unwrap();
    let answer = stack.http.get(&list).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let shares: Value = answer.json().await.unwrap();
    assert_eq!(shares["items"][0]["name"], json!(connector));
    assert_eq!(stack.http.get(&list).bearer_auth("wrong").send().await.unwrap().status(), 401);
    assert_eq!(stack.http.get(&list).send().await.unwrap().status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn setting_up_again_with_the_same_input_changes_nothing_and_sends_nothing() {
    let stack = Stack::of_this_test();
    let (team, connector, workflow) = (unique(), unique(), unique());
    let profile = stack.ready_connector(&connector, &team, json!({})).await;
    let run = Run::small(&team, &workflow, 2);
    run.announce(&stack).await;
    assert_eq!(stack.delivered(&connector, &workflow, &run.run).await.state, "shared");
    let before = stack.tables(&profile).await;
    let again = stack.set_up(&connector, &team, json!({})).await;
    assert_eq!(again.status, "SUCCEEDED", "{again:?}");
    assert_eq!(stack.activation_links(&connector).await.len(), 1, "no second e-mail");
    assert_eq!(stack.tables(&profile).await, before, "and the token still works");
    assert!(!before.iter().any(|table| table.contains("PROBE")), "the probe table is out of the share: {before:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_says_nothing_of_the_link_or_the_contact() {
    let stack = Stack::of_this_test();
    let (team, connector) = (unique(), unique());
    let ended = stack.set_up(&connector, &team, json!({})).await;
    let output = ended.output.unwrap();
    assert!(!output.contains("activate") && !output.contains(&contact_of(&connector)), "{output}");
    let link = stack.activation_links(&connector).await.pop().unwrap();
    let code = link.rsplit('/').next().unwrap().to_owned();
    let mut pages = stack.dynamodb.scan().table_name(stack.output("StateTableName")).into_paginator().send();
    while let Some(page) = pages.next().await {
        for item in page.unwrap().items() {
            assert!(!format!("{item:?}").contains(&code), "the link's code is in the state table");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_that_are_not_allowed_are_refused_by_name() {
    let stack = Stack::of_this_test();
    let team = unique();
    let contact =
        |days: Value| json!({"recipient": {"type": "token", "secureContact": "a@b.test", "tokenLifetimeDays": days}});
    for (input, code, said) in [
        (set_up_input(&unique(), &team, contact(json!(366))), "CONNECTOR_INVALID", "tokenLifetimeDays"),
        (set_up_input("no/slashes", &team, json!({})), "CONNECTOR_INVALID", "connectorId"),
        (set_up_input(&unique(), &team, json!({"workflows": 7})), "CONNECTOR_INVALID", "workflows"),
        (set_up_input(&unique(), &team, json!({"maxRejectedFraction": 2})), "CONNECTOR_INVALID", "maxRejectedFraction"),
        (
            set_up_input(
                &unique(),
                &team,
                json!({"recipient": {"type": "databricks", "sharingIdentifier": "aws:x:y"}}),
            ),
            "CONNECTOR_INVALID",
            "sharingIdentifier",
        ),
    ] {
        let ended = stack.execute("SetupConnector", &input).await;
        assert_eq!(ended.status, "FAILED", "{input}");
        let cause = ended.cause.unwrap_or_default();
        assert!(cause.contains(code) && cause.contains(said), "{input}: {cause}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_id_belongs_to_one_team() {
    let stack = Stack::of_this_test();
    let connector = unique();
    assert_eq!(stack.set_up(&connector, "team-one", json!({})).await.status, "SUCCEEDED");
    let taken = stack.set_up(&connector, "team-two", json!({})).await;
    assert_eq!(taken.status, "FAILED");
    assert!(taken.cause.unwrap_or_default().contains("CONNECTOR_TAKEN"));
    let other_case = stack.set_up(&connector.to_uppercase(), "team-one", json!({})).await;
    assert_eq!(other_case.status, if connector == connector.to_uppercase() { "SUCCEEDED" } else { "FAILED" });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_puts_back_what_was_taken_out_of_the_share_and_takes_out_what_is_not_in_scope() {
    let place = Place::new().await;
    let (kept, left) = (place.run(), place.run());
    for run in [&kept, &left] {
        place.deliver(run).await;
    }
    let set_up = async |workflows: Value| {
        let more = json!({"backfill": false, "workflows": workflows});
        let ended = place.stack.set_up(&place.connector, &place.team, more).await;
        assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    };
    let of_workflow = async |run: &Run| {
        let label = table_name(&run.workflow, "");
        let tables = place.tables().await;
        tables.into_iter().filter(|table| table.starts_with(&label)).collect::<Vec<_>>()
    };
    let both = |run: &Run| ["LATEST", "V1"].map(|suffix| table_name(&run.workflow, suffix));
    place.unshare(&kept.workflow).await;
    assert_eq!(of_workflow(&kept).await, both(&kept)[..1]);
    set_up(json!("all")).await;
    assert_eq!(of_workflow(&kept).await, both(&kept));
    assert_eq!(place.read_workflow(&kept.workflow, "V1").await.rows.len(), 3);
    place.deliver(&Run::small(&place.team, &kept.workflow, 1)).await;

    set_up(json!([kept.workflow])).await;
    assert_eq!(of_workflow(&left).await, Vec::<String>::new());
    assert_eq!(of_workflow(&kept).await, both(&kept));
    set_up(json!("all")).await;
    assert_eq!(of_workflow(&left).await, both(&left), "its data was never deleted");
    assert_eq!(place.read_workflow(&left.workflow, "LATEST").await.rows.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_with_another_contact_replaces_the_unused_link() {
    let stack = Stack::of_this_test();
    let (team, connector, right) = (unique(), unique(), unique());
    assert_eq!(stack.set_up(&connector, &team, json!({})).await.status, "SUCCEEDED");
    let wrong = stack.activation_links(&connector).await.pop().unwrap();
    let recipient = json!({"recipient": {"type": "token", "secureContact": contact_of(&right)}});
    for _ in 0..2 {
        assert_eq!(stack.set_up(&connector, &team, recipient.clone()).await.status, "SUCCEEDED");
    }
    let links = stack.activation_links(&right).await;
    assert_eq!(links.len(), 1, "one e-mail to the right contact");
    assert_eq!(stack.http.post(&wrong).send().await.unwrap().status(), 410);
    assert_eq!(stack.http.post(&links[0]).send().await.unwrap().status(), 200);
}
