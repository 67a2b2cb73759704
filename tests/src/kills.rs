//! Ending functions in the middle of their work, by the gateway that their requests go through.

use std::collections::BTreeMap;

use futures::future::join_all;
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
    /// For how many of its executions what they need may be there before the first of them begins.
    pub at_once: usize,
}

/// A fault that ends processes of a command's functions.
#[derive(Debug)]
struct Strike {
    what: String,
    fault: Value,
    /// How many processes it ends: a function that ends three times fails the execution.
    times: usize,
}

/// Requests of one function for one operation.
#[derive(Debug)]
struct Requests<'a> {
    function: &'a str,
    /// The service's signing name, or `databricks`.
    service: String,
    operation: String,
    count: u64,
}

impl Requests<'_> {
    /// Whether they change what others see: state, mails, the workspace. What is written to the tables bucket is the same
    /// whoever shares it.
    fn are_changes(&self) -> bool {
        const READS: [&str; 7] = ["BatchGet", "Describe", "Get", "List", "Query", "Read", "TransactGet"];
        let reads = READS.iter().any(|read| self.operation.starts_with(read));
        ["databricks", "dynamodb", "ses"].contains(&self.service.as_str()) && !reads
    }
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

    /// How many requests functions made since, by their names.
    pub async fn requests_of<'a>(&self, functions: &[&'a str]) -> BTreeMap<&'a str, u64> {
        let mut counts: BTreeMap<_, _> = functions.iter().map(|function| (*function, 0)).collect();
        for Requests { function, count, .. } in self.operations_of(functions).await {
            *counts.entry(function).or_default() += count;
        }
        counts
    }

    /// The requests of functions since, by their operations.
    async fn operations_of<'a>(&self, functions: &[&'a str]) -> Vec<Requests<'a>> {
        let counted = self.gateway(Method::GET, "/requests", None).await;
        let plain = |text: &str| text.to_ascii_lowercase().replace('-', "");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let request = |entry: &Value| {
            let caller = plain(entry["caller"].as_str().unwrap());
            let function = functions.iter().find(|function| caller.contains(&plain(function)))?;
            let (service, operation) = (text(&entry["service"]), text(&entry["operation"]));
            Some(Requests { function, service, operation, count: entry["count"].as_u64().unwrap() })
        };
        counted.as_array().unwrap().iter().filter_map(request).collect()
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
        let requests = self.undisturbed(command, &begin, &check).await;
        let mut strikes = Vec::new();
        for function in command.functions {
            let count = requests.iter().filter(|some| some.function == *function).map(|some| some.count).sum();
            assert!(count > 0, "{}: {function} makes requests", command.machine);
            // Ended behind a request is ended before the next one.
            let points = std::iter::once((1, "before")).chain((1..=count).map(|nth| (nth, "after")));
            strikes.extend(points.map(|(nth, when)| Strike {
                what: format!("{}: {function} ended {when} request {nth} of {count}", command.machine),
                fault: json!({"function": function, "nth": nth, "when": when, "action": "kill"}),
                times: 1,
            }));
            strikes.push(Strike {
                what: format!("{}: {function} ended three times", command.machine),
                fault: json!({"function": function, "nth": 1, "when": "after", "times": 3, "action": "kill"}),
                times: 3,
            });
        }
        self.struck(command, &strikes, &begin, &check).await;
    }

    /// Carries a command out once for each change that its functions make outside of the tables bucket, the function being
    /// ended behind it. `begin` makes what the command is for, and gives its input; `check` looks at what came of it.
    pub async fn killed_behind_writes<T>(
        &self,
        command: &Command<'_>,
        begin: impl AsyncFn() -> (T, Value),
        check: impl AsyncFn(&T, &Execution),
    ) {
        let requests = self.undisturbed(command, &begin, &check).await;
        let writes: Vec<_> = requests.into_iter().filter(Requests::are_changes).collect();
        assert!(writes.iter().any(|write| write.service == "databricks"), "{}: {writes:?}", command.machine);
        let strikes = writes.iter().flat_map(|Requests { function, service, operation, count }| {
            (1..=*count).map(move |nth| Strike {
                what: format!("{}: {function} ended behind {service} {operation} {nth} of {count}", command.machine),
                fault: json!({
                    "function": function, "service": service, "operation": operation, "nth": nth, "when": "after",
                    "action": "kill",
                }),
                times: 1,
            })
        });
        self.struck(command, &strikes.collect::<Vec<_>>(), &begin, &check).await;
    }

    /// Carries a command out without any fault, and returns the requests of its functions.
    async fn undisturbed<'a, T>(
        &self,
        command: &Command<'a>,
        begin: &impl AsyncFn() -> (T, Value),
        check: &impl AsyncFn(&T, &Execution),
    ) -> Vec<Requests<'a>> {
        self.without_waits().await;
        self.forget_faults().await;
        let (subject, input) = begin().await;
        self.forget_requests().await;
        let ended = self.execute(command.machine, &input).await;
        let requests = self.operations_of(command.functions).await;
        assert_eq!(ended.status, "SUCCEEDED", "{}: {ended:?}", command.machine);
        check(&subject, &ended).await;
        requests
    }

    /// Carries a command out once for each strike. What it is for is made beside others', and looked at beside others';
    /// the faults strike one command after another.
    async fn struck<T>(
        &self,
        command: &Command<'_>,
        strikes: &[Strike],
        begin: &impl AsyncFn() -> (T, Value),
        check: &impl AsyncFn(&T, &Execution),
    ) {
        for strikes in strikes.chunks(command.at_once) {
            let subjects = join_all(strikes.iter().map(|_| begin())).await;
            let mut ended = Vec::new();
            for (strike, (_, input)) in strikes.iter().zip(&subjects) {
                ended.push(self.struck_once(command, strike, input).await);
            }
            join_all(subjects.iter().zip(&ended).map(|((subject, _), ended)| check(subject, ended))).await;
        }
    }

    /// Carries a command out while its processes are ended, and again where that failed it, as it must.
    async fn struck_once(&self, command: &Command<'_>, strike: &Strike, input: &Value) -> Execution {
        let Strike { what, fault, times } = strike;
        self.forget_faults().await;
        self.gateway(Method::POST, "/faults", Some(fault.clone())).await;
        let mut ended = self.execute(command.machine, input).await;
        assert_eq!(self.kills().await, *times, "{what}: {ended:?}");
        self.forget_faults().await;
        if *times > 1 {
            assert_eq!(ended.status, "FAILED", "{what}: {ended:?}");
            assert!(ended.cause.unwrap_or_default().contains(command.interrupted), "{what}");
            ended = self.execute(command.machine, input).await;
        }
        assert_eq!(ended.status, "SUCCEEDED", "{what}: {ended:?}");
        ended
    }
}
