//! Who asked AWS for what, and how often.
//!
//! Keeps counts for as long as it lives and a bounded log of the requests in order.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// What a fault looks at.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// The calling function; nothing when the caller is no function.
    pub function: Option<&'a str>,
    /// The service's signing name.
    pub service: &'a str,
    /// The operation.
    pub operation: &'a str,
    /// The request's path, without its query.
    pub path: &'a str,
}

/// How often a caller asked for an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestCount {
    /// The function's name, or the program's when the caller is no function.
    pub caller: String,
    /// Whether the caller is a function of the stack.
    pub is_function: bool,
    /// The service's signing name.
    pub service: String,
    /// The operation.
    pub operation: String,
    /// How often.
    pub count: u64,
}

/// One request, in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoggedRequest {
    /// Its number, from 1; a reset does not start it again, so a late answer finds its own request.
    pub sequence: u64,
    /// The function's name, or the program's when the caller is no function.
    pub caller: String,
    /// Whether the caller is a function of the stack.
    pub is_function: bool,
    /// The caller's process, when it was found.
    pub pid: Option<u32>,
    /// The access key that signed it; empty when it was not signed.
    pub access_key_id: String,
    /// The service's signing name.
    pub service: String,
    /// The operation.
    pub operation: String,
    /// The HTTP method.
    pub method: String,
    /// The path, without the query (which may hold a signature).
    pub path: String,
    /// The answer's status; nothing while it is out or when the connection was dropped.
    pub status: Option<u16>,
}

/// The counts and the log.
#[derive(Debug, Default)]
pub struct Ledger {
    sequence: u64,
    counts: BTreeMap<(String, bool, String, String), u64>,
    log: VecDeque<LoggedRequest>,
}

/// How many requests the log holds; older ones are dropped, counts are not.
pub const LOG_ENTRIES_MAX: usize = 100_000;

impl Ledger {
    /// Writes a request down and returns its number. `sequence` and `status` of `entry` are set here.
    pub fn record(&mut self, entry: LoggedRequest) -> u64 {
        self.sequence += 1;
        let key = (entry.caller.clone(), entry.is_function, entry.service.clone(), entry.operation.clone());
        *self.counts.entry(key).or_default() += 1;
        if self.log.len() == LOG_ENTRIES_MAX {
            self.log.pop_front();
        }
        self.log.push_back(LoggedRequest { sequence: self.sequence, status: None, ..entry });
        self.sequence
    }

    /// Notes the status with which a request was answered.
    pub fn answered(&mut self, sequence: u64, status: u16) {
        let first = self.log.front().map_or(0, |entry| entry.sequence);
        let index = sequence.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        if let Some(entry) = index.and_then(|index| self.log.get_mut(index)) {
            entry.status = Some(status);
        }
    }

    /// All counts, ordered by caller, service and operation.
    #[must_use]
    pub fn counts(&self) -> Vec<RequestCount> {
        self.counts
            .iter()
            .map(|((caller, is_function, service, operation), count)| RequestCount {
                caller: caller.clone(),
                is_function: *is_function,
                service: service.clone(),
                operation: operation.clone(),
                count: *count,
            })
            .collect()
    }

    /// The requests in order.
    #[must_use]
    pub fn log(&self) -> Vec<LoggedRequest> {
        self.log.iter().cloned().collect()
    }

    /// Starts again from nothing.
    pub fn reset(&mut self) {
        self.counts.clear();
        self.log.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(caller: &str, operation: &str) -> LoggedRequest {
        LoggedRequest {
            sequence: 0,
            caller: caller.to_owned(),
            is_function: true,
            pid: Some(7),
            access_key_id: "ASIA1".to_owned(),
            service: "s3".to_owned(),
            operation: operation.to_owned(),
            method: "GET".to_owned(),
            path: "/b/k".to_owned(),
            status: None,
        }
    }

    #[test]
    fn equal_requests_are_counted_together_and_kept_apart_in_the_log() {
        let mut ledger = Ledger::default();
        for (caller, operation) in [("a", "GetObject"), ("b", "GetObject"), ("a", "GetObject")] {
            ledger.record(entry(caller, operation));
        }
        let counts: Vec<(String, u64)> = ledger.counts().into_iter().map(|count| (count.caller, count.count)).collect();
        assert_eq!(counts, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
        let order: Vec<u64> = ledger.log().iter().map(|entry| entry.sequence).collect();
        assert_eq!(order, [1, 2, 3]);
    }

    #[test]
    fn a_status_lands_on_its_own_request() {
        let mut ledger = Ledger::default();
        let first = ledger.record(entry("a", "GetObject"));
        let second = ledger.record(entry("a", "PutObject"));
        ledger.answered(second, 412);
        ledger.answered(first, 200);
        let statuses: Vec<Option<u16>> = ledger.log().iter().map(|entry| entry.status).collect();
        assert_eq!(statuses, [Some(200), Some(412)]);
    }

    #[test]
    fn the_log_is_bounded_and_the_counts_are_not() {
        let mut ledger = Ledger::default();
        for _ in 0..=LOG_ENTRIES_MAX {
            ledger.record(entry("a", "GetObject"));
        }
        ledger.answered(1, 200);
        ledger.answered(2, 201);
        assert_eq!(ledger.log().len(), LOG_ENTRIES_MAX);
        assert_eq!(ledger.log().first().and_then(|entry| entry.status), Some(201));
        let total: u64 = ledger.counts().iter().map(|count| count.count).sum();
        assert_eq!(usize::try_from(total).ok(), Some(LOG_ENTRIES_MAX + 1));
    }

    #[test]
    fn a_reset_forgets_everything() {
        let mut ledger = Ledger::default();
        let old = ledger.record(entry("a", "GetObject"));
        ledger.reset();
        ledger.answered(old, 200);
        assert!(ledger.counts().is_empty() && ledger.log().is_empty());
        let new = ledger.record(entry("a", "GetObject"));
        ledger.answered(old, 500);
        assert_eq!((new, ledger.log().first().and_then(|entry| entry.status)), (2, None));
    }
}
