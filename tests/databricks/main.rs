//! The fake Databricks workspace, judged by the official client: what `databricks-sdk` expects of a workspace, the fake
//! must do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests end at the first surprise"
)]

use std::process::Stdio;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use delivery::ports::Clock;
use delivery::timestamp::Timestamp;
use fake_databricks::{AlreadyExists, FakeDatabricks, Options, Switch};
use serde_json::Value;
use tests::root;

/// The official client compares with its own clock, which is the machine's.
struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        Timestamp::from_micros(i64::try_from(micros).unwrap()).unwrap()
    }
}

/// Runs the official client's flow against a workspace; returns what it saw.
async fn flow(fake: &FakeDatabricks) -> Value {
    let python = std::env::var("SPILLWAY_PYTHON")
        .unwrap_or_else(|_| panic!("SPILLWAY_PYTHON is not set; run the tests with `cargo xtask test`"));
    let output = tokio::process::Command::new(python)
        .arg(root().join("tests/clients/provide_databricks.py"))
        .args([&fake.url(), "principal-1", "secret-1", "principal-2", "secret-2", "tables"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn the_official_client_is_satisfied_whichever_way_the_workspace_answers() {
    for (already_exists, empty_pages, statement_polls) in
        [(AlreadyExists::Conflict, Switch::Off, 0), (AlreadyExists::BadRequest, Switch::On, 2)]
    {
        let options = Options::new(Arc::new(MachineClock));
        let options = Options { already_exists, empty_pages, statement_polls, page_items: 3, ..options };
        let fake = FakeDatabricks::start(options).await.unwrap();
        let seen = flow(&fake).await;
        let pages = if empty_pages == Switch::On { 6 } else { 3 };
        assert_eq!(seen, serde_json::json!({"tables": 8, "pages": pages}));
        let unknown = fake.requests().into_iter().find(|request| request.status == 405 || request.status >= 500);
        assert_eq!(unknown, None, "everything that the client asks for is there");
    }
}
