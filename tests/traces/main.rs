//! What the other tests left behind, searched for secrets. Runs after them, by its name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests end at the first surprise"
)]

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sharing::ports::{Secret, SecretHash};
use tests::{Place, Stack, unique};

/// The tokens in the profiles that the tests downloaded, the codes in the links that were e-mailed, and what opens the
/// Databricks workspace.
async fn known_secrets(stack: &Stack) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for entry in std::fs::read_dir(stack.profiles()).unwrap() {
        let profile: Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        known.insert(profile["bearerToken"].as_str().unwrap().to_owned());
    }
    let mails: Value = stack.http.get(&stack.file.mailbox).send().await.unwrap().json().await.unwrap();
    let mails = mails.to_string();
    for link in ["/activate/", "retrieve_config.html?"] {
        for rest in mails.split(link).skip(1) {
            known.insert(rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).collect());
        }
    }
    known.extend(workspace_secrets(stack).await);
    known
}

/// Everything that the workspace handed out: access tokens, codes, bearer tokens.
async fn handed_out(stack: &Stack) -> Vec<String> {
    let asked = format!("{}/_fake/secrets", stack.file.databricks.host);
    let answer: Value = stack.http.get(asked).send().await.unwrap().json().await.unwrap();
    answer["secrets"].as_array().unwrap().iter().map(|secret| secret.as_str().unwrap().to_owned()).collect()
}

/// What the workspace handed out, and the secrets of the service principals, as they are and as they travel.
async fn workspace_secrets(stack: &Stack) -> BTreeSet<String> {
    let workspace = &stack.file.databricks;
    let mut known: BTreeSet<_> = handed_out(stack).await.into_iter().collect();
    let ours = (&workspace.client_id, &workspace.client_secret);
    for (id, secret) in [ours, (&workspace.other_client_id, &workspace.other_client_secret)] {
        known.extend([secret.clone(), STANDARD.encode(format!("{id}:{secret}"))]);
    }
    known
}

/// What a scan found, by the secret: the places; and how many texts it read, by their kind.
async fn scan(stack: &Stack) -> (BTreeMap<String, BTreeSet<String>>, Value) {
    let file = stack.folder().join(format!("known-{}.txt", unique()));
    let known: Vec<_> = known_secrets(stack).await.into_iter().collect();
    std::fs::write(&file, known.join("\n")).unwrap();
    let (table, folder) = (stack.output("StateTableName"), stack.folder());
    let arguments = [table, folder.to_str().unwrap(), file.to_str().unwrap()];
    let lines = stack.client("scan_secrets.py", &arguments).await.unwrap_or_else(|error| panic!("{error}"));
    std::fs::remove_file(&file).unwrap();
    let mut lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let read = lines.pop().expect("how much was read");
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in lines {
        let place = format!("{} ({})", line["place"].as_str().unwrap(), line["what"].as_str().unwrap());
        found.entry(line["secret"].as_str().unwrap().to_owned()).or_default().insert(place);
    }
    (found, read)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_line_an_execution_or_an_item_but_the_ones_that_are_planted() {
    let place = Place::new().await;
    place.deliver(&place.run()).await;
    let stack = &place.stack;
    let hosted = unique();
    let ended = stack.set_up(&hosted, &place.team, json!({"backend": "databricks", "backfill": false})).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");

    // A secret of whose text only its hash is stored, as with every token, in one place of each kind.
    let secret = Secret::from_random(uuid_bytes());
    let hash = secret.hash().as_str().to_owned();
    // With it what is known of the workspace: a code, an access token, and the secret of a service principal.
    let code = stack.workspace_codes(&hosted).await.pop().expect("a link of the workspace");
    let mut handed_out = handed_out(stack).await.into_iter();
    let access_token = handed_out.find(|secret| secret.starts_with("fake-oauth-token-")).expect("an access token");
    let secrets = [secret.reveal(), code, access_token, stack.file.databricks.client_secret.clone()];
    let text = secrets.join(" ");
    let key = |pk: &str| {
        [("pk", pk.to_owned()), ("sk", "TOKEN".to_owned())].map(|(name, value)| (name, AttributeValue::S(value)))
    };
    let (holder, planted) = (format!("TOKEN#{hash}"), format!("PLANTED#{}", unique()));
    for (pk, note) in [(&holder, "nothing"), (&planted, text.as_str())] {
        let [pk, sk] = key(pk);
        let put = stack.dynamodb.put_item().table_name(stack.output("StateTableName"));
        let put = put.item(pk.0, pk.1).item(sk.0, sk.1).item("note", AttributeValue::S(note.to_owned()));
        put.send().await.unwrap();
    }
    let refused = stack.execute("SetupConnector", &json!({"connectorId": "no/id", "note": text})).await;
    assert_eq!(refused.status, "FAILED");
    let log = stack.folder().join("planted.log");
    std::fs::write(&log, format!("a line\na line with {text} in it\n")).unwrap();

    let (mut found, read) = scan(stack).await;
    std::fs::remove_file(&log).unwrap();
    for pk in [&holder, &planted] {
        let [pk, sk] = key(pk);
        let delete = stack.dynamodb.delete_item().table_name(stack.output("StateTableName"));
        delete.key(pk.0, pk.1).key(sk.0, sk.1).send().await.unwrap();
    }

    println!("{read}");
    for (secret, what) in secrets.iter().zip(["a token", "a workspace's code", "an access token", "a client secret"]) {
        let places = found
            .remove(&SecretHash::of(secret).as_str()[..12])
            .unwrap_or_else(|| panic!("{what} that is planted is found"));
        for kind in ["item PLANTED#", "execution ", "log planted.log"] {
            assert!(places.iter().any(|place| place.starts_with(kind)), "{kind} is searched for {what}: {places:?}");
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    for kind in ["item", "execution", "log"] {
        assert!(read["read"][kind].as_u64().unwrap() > 10, "there is something to search: {read}");
    }
    assert!(read["known"].as_u64().unwrap() >= 2 && read["hashes"].as_u64().unwrap() >= 3, "{read}");
}

fn uuid_bytes() -> [u8; 32] {
    let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(a.as_bytes());
    bytes[16..].copy_from_slice(b.as_bytes());
    bytes
}
