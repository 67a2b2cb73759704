//! The activation page in a real browser: what uses a link up, what does not, and what a person is told.

use std::path::PathBuf;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use sharing::ports::SecretHash;
use tests::{Run, Stack, unique};

const BUTTON: &str = "Download config.share";

/// What a person saw after each step.
struct Seen(Vec<Value>);

impl Seen {
    /// What was seen after a step.
    fn at(&self, place: usize) -> &Value {
        &self.0[place]
    }

    fn last(&self) -> &Value {
        self.0.last().unwrap()
    }
}

fn text(seen: &Value) -> &str {
    seen["text"].as_str().unwrap()
}

/// The page with the button, and nothing downloaded.
fn is_invitation(seen: &Value) {
    assert_eq!((&seen["buttons"], &seen["files"]), (&json!([BUTTON]), &json!([])), "{seen}");
    assert_eq!((&seen["title"], &seen["lang"]), (&json!("Download your sharing credential"), &json!("en")), "{seen}");
}

/// A page that says what to do, without a button.
fn says(seen: &Value, title: &str, advice: &str) {
    assert_eq!((&seen["title"], &seen["lang"], &seen["buttons"]), (&json!(title), &json!("en"), &json!([])), "{seen}");
    assert!(text(seen).contains(title) && text(seen).contains(advice), "{seen}");
}

struct Walk {
    stack: Stack,
    connector: String,
    team: String,
    folder: PathBuf,
}

impl Walk {
    async fn new() -> Self {
        let stack = Stack::of_this_test();
        let (team, connector) = (unique(), unique());
        let ended = stack.set_up(&connector, &team, json!({"backfill": false})).await;
        assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
        let folder = std::env::temp_dir().join(format!("spillway-browser-{connector}"));
        Self { stack, connector, team, folder }
    }

    async fn link(&self) -> String {
        self.stack.activation_links(&self.connector).await.pop().unwrap()
    }

    async fn steps(&self, steps: &[String]) -> Seen {
        let arguments: Vec<_> =
            std::iter::once(self.folder.to_str().unwrap()).chain(steps.iter().map(String::as_str)).collect();
        let lines = self.stack.client("browse.py", &arguments).await.unwrap_or_else(|error| panic!("{error}"));
        Seen(lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    async fn open(&self, link: &str) -> Value {
        self.steps(&[format!("open {link}")]).await.last().clone()
    }

    /// Keeps the downloaded profile where the others are, and nothing else.
    fn end(self) {
        let kept = self.stack.profiles().join(format!("{}.share", self.connector));
        let _ = std::fs::create_dir_all(self.stack.profiles());
        let _ = std::fs::copy(self.folder.join("config.share"), kept);
        std::fs::remove_dir_all(self.folder).unwrap();
    }

    /// Has a link expire a minute ago.
    async fn expire(&self, link: &str) {
        let code = link.rsplit('/').next().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let end = delivery::timestamp::Timestamp::EPOCH.plus_seconds(i64::try_from(now).unwrap() - 60);
        let update = self.stack.dynamodb.update_item().table_name(self.stack.output("StateTableName"));
        update
            .key("pk", AttributeValue::S(format!("ACTIVATION#{}", SecretHash::of(code).as_str())))
            .key("sk", AttributeValue::S("ACTIVATION".to_owned()))
            .update_expression("SET expires_at = :at, expires_at_micros = :micros")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":at", AttributeValue::S(end.to_string()))
            .expression_attribute_values(":micros", AttributeValue::N(end.micros().to_string()))
            .send()
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_button_uses_a_link_up_and_the_file_that_it_downloads_is_read_with() {
    let walk = Walk::new().await;
    let (stack, link) = (&walk.stack, walk.link().await);
    // A mail scanner: it follows the link as it is, and with whatever a proxy adds.
    for request in [stack.http.get(&link), stack.http.head(&link), stack.http.get(format!("{link}?utm_source=mail"))] {
        let scanned = request.header("purpose", "prefetch").send().await.unwrap();
        assert_eq!(scanned.status(), 200);
    }
    let open = format!("open {link}");
    let steps = [format!("prefetch {link}"), open.clone(), "reload".into(), open];
    let seen = walk.steps(&steps).await;
    for place in 1..steps.len() {
        is_invitation(seen.at(place));
    }
    assert!(text(seen.last()).contains(&walk.connector), "it says for which share: {}", seen.last());

    let steps = [format!("open {link}"), "press".into(), "press".into(), "reload".into(), "back".into()];
    let seen = walk.steps(&steps).await;
    is_invitation(seen.at(0));
    assert_eq!(seen.at(1)["files"], json!(["config.share"]), "{}", seen.at(1));
    for place in 2..steps.len() {
        assert_eq!(seen.at(place)["files"], json!([]), "once");
        says(seen.at(place), "This link was used already", "ask for a new activation link");
    }
    says(&walk.open(&link).await, "This link was used already", "tell your data provider at once");

    let profile = walk.folder.join("config.share");
    let run = Run::small(&walk.team, "w-1", 2);
    run.announce(stack).await;
    assert_eq!(stack.delivered(&walk.connector, "w-1", &run.run).await.state, "shared");
    let (_, rows) = stack.rows(&profile, &walk.connector, &tests::table_name("w-1", "V1")).await;
    assert_eq!(rows.len(), 2, "the file works as it was downloaded");
    walk.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_works_without_scripts_and_by_keyboard() {
    let walk = Walk::new().await;
    let link = walk.link().await;
    let steps = ["javascript off".into(), format!("open {link}"), "press-by-key".into(), "reload".into()];
    let seen = walk.steps(&steps).await;
    is_invitation(seen.at(1));
    assert_eq!(seen.at(2)["files"], json!(["config.share"]), "{}", seen.at(2));
    says(seen.at(3), "This link was used already", "ask for a new activation link");
    let profile = walk.folder.join("config.share");
    assert_eq!(walk.stack.told(&profile).await.0, 200);
    walk.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_does_not_work_says_why_and_what_to_do() {
    let walk = Walk::new().await;
    let stack = &walk.stack;
    let host = stack.file.sharing_endpoint.strip_suffix("/delta-sharing").unwrap();
    says(&walk.open(&format!("{host}/activate/nobodys")).await, "This link is not known", "whole link");

    let first = walk.link().await;
    walk.expire(&first).await;
    says(&walk.open(&first).await, "This link has expired", "Ask your data provider for a new activation link");

    let rotate = async || {
        let ended = stack.command("RotateToken", &walk.connector, json!({"newLink": true})).await;
        assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
        walk.link().await
    };
    let second = rotate().await;
    let third = rotate().await;
    says(&walk.open(&second).await, "A newer link took this one's place", "later e-mail");
    is_invitation(&walk.open(&third).await);

    let ended = stack.command("RevokeConnector", &walk.connector, json!({})).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    says(&walk.open(&third).await, "This link was revoked", "ask your data provider");
    walk.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_was_left_open_says_what_happened_meanwhile() {
    let walk = Walk::new().await;
    let link = walk.link().await;
    // The page is opened, and its button pressed only after the link has expired: the browser waits at a page of ours.
    let steps = [format!("open {link}"), "wait-for-file go".into(), "press".into()];
    let go = walk.folder.join("go");
    let (seen, ()) = tokio::join!(walk.steps(&steps), async {
        tests::until("the page is open", async || walk.folder.join("waiting").exists().then_some(())).await;
        walk.expire(&link).await;
        std::fs::write(&go, "").unwrap();
    });
    is_invitation(seen.at(0));
    says(seen.last(), "This link has expired", "Ask your data provider for a new activation link");
    walk.end();
}
