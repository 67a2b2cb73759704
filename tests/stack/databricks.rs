//! Connectors of a Databricks metastore, on the fake workspace of the local stack, judged by the official client.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{Run, Stack, table_name, unique};

/// The tables that every connector has.
const METADATA: [&str; 5] =
    ["ACTIVITY_LOG", "WORKFLOWS", "WORKFLOW_RUNS", "WORKFLOW_SCHEMA_FIELDS", "WORKFLOW_SCHEMA_VERSIONS"];

/// A recipient in a metastore that nobody else has.
fn metastore() -> Value {
    json!({"type": "databricks", "sharingIdentifier": format!("aws:us-west-2:{}", uuid::Uuid::new_v4())})
}

/// What a connector's set-up has on top of the least.
fn reads(recipient: &Value) -> Value {
    json!({"recipient": recipient, "backend": "databricks", "backfill": false})
}

impl Judge<'_> {
    /// What the official client says of a connector's share.
    async fn share(&self, connector: &str) -> Value {
        self.0.workspace_share(connector).await
    }

    async fn make_strangers_recipient(&self, name: &str, identifier: &str) {
        let workspace = &self.0.file.databricks;
        let (id, secret) = (&workspace.other_client_id, &workspace.other_client_secret);
        let arguments = [&workspace.host, id, secret, "recipient", name, identifier];
        self.0.client("judge_databricks.py", &arguments).await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Asks the fake itself.
    async fn tell(&self, path: &str, body: &Value) {
        let answer = self.0.workspace(path, body).await;
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// The requests so far that name a text, in their path or body.
    async fn requests(&self, naming: &str) -> Vec<Value> {
        let url = format!("{}/_fake/requests", self.0.file.databricks.host);
        let all: Value = self.0.http.get(url).send().await.unwrap().json().await.unwrap();
        let named = all["requests"].as_array().unwrap().iter().filter(|it| it.to_string().contains(naming));
        named.cloned().collect()
    }
}

/// The stack, as who looks into its workspace.
struct Judge<'a>(&'a Stack);

fn columns(share: &Value, table: &str) -> Vec<String> {
    let columns = share["objects"][format!("data.{table}")]["columns"].as_array();
    columns
        .unwrap_or_else(|| panic!("{table} is not shared"))
        .iter()
        .map(|it| it.as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_databricks_recipient_is_granted_a_share_that_follows_its_runs() {
    let stack = Stack::of_this_test();
    let judge = Judge(&stack);
    let (team, connector, workflow, recipient) = (unique(), unique(), unique(), metastore());
    let ended = stack.set_up(&connector, &team, reads(&recipient)).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    assert!(stack.mails(&connector).await.is_empty(), "who reads in a metastore is sent nothing");

    let share = judge.share(&connector).await;
    let shared: BTreeSet<&str> = share["objects"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(shared, METADATA.map(|table| format!("data.{table}")).iter().map(String::as_str).collect());
    let grants = share["grants"].as_object().unwrap();
    let [grant] = grants.values().collect::<Vec<_>>()[..] else { panic!("one recipient: {grants:?}") };
    assert_eq!((&grant["privileges"], &grant["agreed"]), (&json!(["SELECT"]), &json!(true)));
    assert_eq!(grant["identifier"], recipient["sharingIdentifier"]);

    let first = Run::small(&team, &workflow, 3);
    first.announce(&stack).await;
    let delivery = stack.delivered(&connector, &workflow, &first.run).await;
    assert_eq!(delivery.state, "shared", "{delivery:?}");
    let (v1, v2, latest) = (table_name(&workflow, "V1"), table_name(&workflow, "V2"), table_name(&workflow, "LATEST"));
    let share = judge.share(&connector).await;
    let of_v1 = columns(&share, &v1);
    assert!(of_v1.iter().any(|column| column.starts_with("name ")) && !of_v1.iter().any(|it| it.contains("_secret")));
    assert_eq!(columns(&share, &latest), of_v1);
    let object = &share["objects"][format!("data.{v1}")];
    let place = format!("s3://{}/connectors/{connector}/{v1}", stack.output("TablesBucketName"));
    assert_eq!((&object["location"], &object["status"]), (&json!(place), &json!("ACTIVE")));
    assert_eq!(object["history"], json!("ENABLED"));

    let mut changed = Run::small(&team, &workflow, 2);
    changed.finished_at = "2026-09-02T06:07:30Z".to_owned();
    changed.fields[1]["name"] = json!("amount");
    changed.announce(&stack).await;
    let delivery = stack.delivered(&connector, &workflow, &changed.run).await;
    assert_eq!(delivery.state, "shared", "{delivery:?}");
    let share = judge.share(&connector).await;
    let of_v2 = columns(&share, &v2);
    assert_ne!(of_v2, of_v1);
    assert_eq!(columns(&share, &latest), of_v2, "the metastore follows the switch of LATEST");
    assert_eq!(columns(&share, &v1), of_v1);

    let before = judge.requests(&connector).await.len();
    let mut third = Run::small(&team, &workflow, 2);
    third.finished_at = "2026-09-03T06:07:30Z".to_owned();
    third.fields[1]["name"] = json!("amount");
    third.announce(&stack).await;
    assert_eq!(stack.delivered(&connector, &workflow, &third.run).await.state, "shared");
    let asked = judge.requests(&connector).await;
    let asked: Vec<_> = asked[before..].iter().map(|it| (it["method"].as_str().unwrap(), &it["path"])).collect();
    assert!(asked.iter().all(|(method, _)| *method == "GET"), "a known table is only read back: {asked:?}");
    let of = |part: &str| asked.iter().filter(|(_, path)| path.as_str().unwrap().contains(part)).count();
    assert_eq!((of("/permissions"), of("/tables/")), (1, 1), "by the proof, each once: {asked:?}");

    let again = stack.set_up(&connector, &team, reads(&recipient)).await;
    assert_eq!(again.status, "SUCCEEDED", "{again:?}");
    assert_eq!(judge.share(&connector).await, share, "setting up again changes nothing");
    let beside = unique();
    assert_eq!(stack.set_up(&beside, &team, reads(&recipient)).await.status, "SUCCEEDED");
    let revoked = stack.execute("RevokeConnector", &json!({"connectorId": connector})).await;
    assert_eq!(revoked.status, "SUCCEEDED", "{revoked:?}");
    let after = judge.share(&connector).await;
    assert_eq!((&after["grants"], &after["objects"]), (&json!({}), &share["objects"]), "no data is deleted");
    let grants = judge.share(&beside).await["grants"].clone();
    assert_eq!(grants.as_object().unwrap().len(), 1, "the same recipient still reads another share: {grants}");
    let other = stack.set_up(&connector, &team, json!({})).await;
    assert!(other.cause.unwrap_or_default().contains("CONNECTOR_INVALID"), "the backend stays what it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_of_somebody_else_is_refused_by_its_name() {
    let stack = Stack::of_this_test();
    let (connector, recipient, name) = (unique(), metastore(), format!("theirs-{}", unique()));
    Judge(&stack).make_strangers_recipient(&name, recipient["sharingIdentifier"].as_str().unwrap()).await;
    let ended = stack.set_up(&connector, &unique(), reads(&recipient)).await;
    let cause = ended.cause.unwrap_or_default();
    assert!(cause.contains("RECIPIENT_FOREIGN") && cause.contains(&name), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_recipients_could_not_read_fails_by_its_code_and_works_when_it_is_mended() {
    let stack = Stack::of_this_test();
    let judge = Judge(&stack);
    let (team, connector, workflow) = (unique(), unique(), unique());
    let ended = stack.set_up(&connector, &team, reads(&metastore())).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    let first = Run::small(&team, &workflow, 2);
    first.announce(&stack).await;
    assert_eq!(stack.delivered(&connector, &workflow, &first.run).await.state, "shared");

    let table = format!("main.{connector}.{}", table_name(&workflow, "V1").to_lowercase());
    judge.tell("table-owners", &json!({"table": table, "owner": "somebody"})).await;
    let second = Run::small(&team, &workflow, 2);
    second.announce(&stack).await;
    let failed = stack.delivered(&connector, &workflow, &second.run).await;
    assert_eq!((failed.state.as_str(), failed.code.as_deref()), ("failed", Some("SHARE_NOT_READABLE")), "{failed:?}");
    assert!(failed.message.unwrap_or_default().contains(&table), "it is named");

    judge.tell("table-owners", &json!({"table": table, "owner": stack.file.databricks.client_id})).await;
    let ended = stack.execute("DeliverRun", &second.deliver_input(&[&connector])).await;
    let delivery = stack.delivered(&connector, &workflow, &second.run).await;
    assert_eq!((ended.status.as_str(), delivery.state.as_str()), ("SUCCEEDED", "shared"), "{delivery:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_is_busy_or_away_for_a_moment_delays_and_breaks_nothing() {
    let stack = Stack::of_this_test();
    let judge = Judge(&stack);
    let (team, connector, workflow) = (unique(), unique(), unique());
    for (path, status) in [("shares", 429), ("schemas", 503), ("tables", 503)] {
        let named = if path == "shares" { format!("/shares/{connector}") } else { format!("main.{connector}") };
        let fault = json!({"path": named, "status": status, "retryAfter": "1", "code": "REQUEST_LIMIT_EXCEEDED"});
        judge.tell("faults", &fault).await;
    }
    let ended = stack.set_up(&connector, &team, reads(&metastore())).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    let refused = judge.requests(&connector).await;
    let refused = refused.iter().filter(|it| matches!(it["status"].as_u64(), Some(429 | 503))).count();
    assert_eq!(refused, 3, "each of the faults was met");
    let run = Run::small(&team, &workflow, 2);
    run.announce(&stack).await;
    assert_eq!(stack.delivered(&connector, &workflow, &run.run).await.state, "shared");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_recipient_of_the_workspace_is_sent_its_link_untouched_and_nobody_else_opens_it() {
    let stack = Stack::of_this_test();
    let judge = Judge(&stack);
    let (team, connector, workflow) = (unique(), unique(), unique());
    let hosted = json!({"backend": "databricks", "backfill": false});
    let ended = stack.set_up(&connector, &team, hosted.clone()).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    let codes = stack.workspace_codes(&connector).await;
    let [code] = codes.as_slice() else { panic!("one e-mail, not {}", codes.len()) };
    assert!(code.len() > 20, "{code}");

    let run = Run::small(&team, &workflow, 2);
    run.announce(&stack).await;
    assert_eq!(stack.delivered(&connector, &workflow, &run.run).await.state, "shared");
    let share = judge.share(&connector).await;
    let grants = share["grants"].as_object().unwrap();
    assert!(grants.values().all(|it| it["authentication"] == "TOKEN" && it["tokens"] == 1), "{grants:?}");

    assert_eq!(stack.set_up(&connector, &team, hosted).await.status, "SUCCEEDED");
    assert_eq!(stack.mails(&connector).await.len(), 1, "no second e-mail");

    let rotated = stack.execute("RotateToken", &json!({"connectorId": connector})).await;
    assert_eq!(rotated.status, "SUCCEEDED", "{rotated:?}");
    let codes = stack.workspace_codes(&connector).await;
    assert_eq!(codes.len(), 2, "a new link");
    assert_ne!(&codes[1], code, "of a new token");
    let share = judge.share(&connector).await;
    assert!(share["grants"].as_object().unwrap().values().all(|it| it["tokens"] == 2), "both for a while: {share}");
    let revoked = stack.execute("RevokeConnector", &json!({"connectorId": connector})).await;
    assert_eq!(revoked.status, "SUCCEEDED", "{revoked:?}");
    assert_eq!(judge.share(&connector).await["grants"], json!({}), "the next request is refused");
    assert!(judge.requests(code).await.is_empty(), "its endpoint was never called");
    assert!(!stack.state_holds(code).await, "nothing of it is kept");
    assert!(!stack.state_holds(&stack.file.databricks.client_secret).await, "nor of the service principal's secret");
    assert!(!ended.output.unwrap_or_default().contains(code.as_str()));
}
