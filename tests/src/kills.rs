//! Ending functions in the middle of their work, by the gateway that their requests go through.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::stack::{Execution, Stack};

/// A command whose functions are ended at each of their requests.
#[derive(Debug)]
pub struct Command<'a> {
    /// The state machine.
    pub machine: &'a str,
    /// The functions behind its tasks, by their names.
    pub functions: &'a [&'a str],
    /// The error code of a function that ends again and again.
    pub interrupted: &'a str,
}

impl Stack {
    /// Forgets all faults that were ordered.
    pub async fn forget_faults(&self) {
        self.gateway(Method::DELETE, "/faults", None).await;
    }

    /// Has a function's process end before or after the nth request that it makes from now on, so many times.
    pub async fn order_kill(&self, function: &str, nth: u64, when: &str, times: u64) {
        self.forget_faults().await;
        let fault = json!({"function": function, "nth": nth, "when": when, "times": times, "action": "kill"});
        self.gateway(Method::POST, "/faults", Some(fault)).await;
    }

    /// How many processes were ended since.
    pub async fn kills(&self) -> usize {
        let faults = self.gateway(Method::GET, "/faults", None).await;
        faults.as_array().unwrap().iter().map(|fault| fault["killedPids"].as_array().map_or(0, Vec::len)).sum()
    }

    /// Forgets the requests that were counted.
    pub async fn forget_requests(&self) {
        self.gateway(Method::DELETE, "/requests", None).await;
    }

    /// The requests of functions since, by their names.
    pub async fn requests_of<'a>(&self, functions: &[&'a str]) -> BTreeMap<&'a str, u64> {
        let counted = self.gateway(Method::GET, "/requests", None).await;
        let plain = |text: &str| text.to_ascii_lowercase().replace('-', "");
        let of = |function: &str| {
            let mine = |entry: &&Value| plain(entry["caller"].as_str().unwrap()).contains(&plain(function));
            counted.as_array().unwrap().iter().filter(mine).map(|entry| entry["count"].as_u64().unwrap()).sum()
        };
        functions.iter().map(|function| (*function, of(function))).collect()
    }

    /// Carries a command out once for each request of its functions, the function being ended there; then with a
    /// function that ends again and again, which fails the execution, and once more. `begin` makes what the command is
    /// for, and gives its input; `check` looks at what came of it.
    pub async fn killed_anywhere<T>(
        &self,
        command: &Command<'_>,
        begin: impl AsyncFn() -> (T, Value),
        check: impl AsyncFn(&T, &Execution),
    ) {
        self.without_waits().await;
        self.forget_faults().await;
        let (subject, input) = begin().await;
        self.forget_requests().await;
        let ended = self.execute(command.machine, &input).await;
        let requests = self.requests_of(command.functions).await;
        assert_eq!(ended.status, "SUCCEEDED", "{}: {ended:?}", command.machine);
        check(&subject, &ended).await;

        for (function, count) in requests {
            assert!(count > 0, "{}: {function} makes requests", command.machine);
            // Ended behind a request is ended before the next one.
            let points = std::iter::once((1, "before")).chain((1..=count).map(|nth| (nth, "after")));
            for (nth, when) in points {
                let what = format!("{}: {function} ended {when} request {nth} of {count}", command.machine);
                let (subject, input) = begin().await;
                self.order_kill(function, nth, when, 1).await;
                let ended = self.execute(command.machine, &input).await;
                let kills = self.kills().await;
                self.forget_faults().await;
                assert_eq!((kills, ended.status.as_str()), (1, "SUCCEEDED"), "{what}: {ended:?}");
                check(&subject, &ended).await;
            }
            let (subject, input) = begin().await;
            self.order_kill(function, 1, "after", 3).await;
            let failed = self.execute(command.machine, &input).await;
            let kills = self.kills().await;
            self.forget_faults().await;
            let what = format!("{}: {function} ended three times", command.machine);
            assert_eq!((kills, failed.status.as_str()), (3, "FAILED"), "{what}: {failed:?}");
            assert!(failed.cause.unwrap_or_default().contains(command.interrupted), "{what}");
            let again = self.execute(command.machine, &input).await;
            assert_eq!(again.status, "SUCCEEDED", "{what}, and started again: {again:?}");
            check(&subject, &again).await;
        }
    }
}
