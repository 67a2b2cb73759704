//! Faults that tests order: at the nth matching request of a function, end it or refuse it.
//!
//! Decides *whether* a fault fires. Carrying it out is the proxy's part.

use serde::{Deserialize, Serialize};

use super::ledger::Observed;

/// When a fault happens, seen from the emulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultMoment {
    /// Before the request is forwarded: it has no effect.
    Before,
    /// After the emulator answered and before the caller learns of it: the effect is there.
    After,
}

/// What a fault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultAction {
    /// Ends the calling function's process at once (SIGKILL) and drops the connection.
    Kill,
    /// Answers with an HTTP status.
    Status,
    /// Drops the connection and leaves the process alone.
    Drop,
}

/// A fault, as ordered. Every filter that is left out matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// The function: its name, or a part of it (local names carry the stack's name and a suffix).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The service's signing name, such as `s3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The operation, such as `PutObject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// A part of the request's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_contains: Option<String>,
    /// The first matching request that is hit, counted from 1 since the fault was ordered.
    #[serde(default = "one")]
    pub nth: u64,
    /// How many matching requests in a row are hit, from `nth` on.
    #[serde(default = "one")]
    pub times: u64,
    /// When it happens.
    pub when: FaultMoment,
    /// What happens.
    pub action: FaultAction,
    /// The status of [`FaultAction::Status`]; 503 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

fn one() -> u64 {
    1
}

impl Fault {
    /// Says what is wrong with an order that could never fire as meant.
    ///
    /// # Errors
    ///
    /// Returns the reason, for the person who ordered it.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.nth == 0 || self.times == 0 {
            return Err("`nth` and `times` count from 1");
        }
        if self.status.is_some() && self.action != FaultAction::Status {
            return Err("`status` belongs to the action `status`");
        }
        if self.status.is_some_and(|status| !(200..600).contains(&status)) {
            return Err("`status` is an HTTP status from 200 to 599");
        }
        Ok(())
    }

    fn matches(&self, seen: &Observed<'_>) -> bool {
        // A function's process is the only thing that a fault may touch.
        let function = seen
            .function
            .is_some_and(|name| self.function.as_deref().is_none_or(|wanted| names_function(name, wanted)));
        function
            && self.service.as_deref().is_none_or(|wanted| wanted == seen.service)
            && self.operation.as_deref().is_none_or(|wanted| wanted == seen.operation)
            && self.path_contains.as_deref().is_none_or(|part| seen.path.contains(part))
    }
}

/// Compares names without case and dashes: `publish-run` names `spillway-PublishRun-1A2B`.
#[must_use]
pub fn names_function(name: &str, wanted: &str) -> bool {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
    plain(name).contains(&plain(wanted))
}

/// An ordered fault and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderedFault {
    /// Its number, in the order in which faults were added.
    pub id: u64,
    /// The order.
    #[serde(flatten)]
    pub fault: Fault,
    /// Matching requests seen so far.
    pub matched: u64,
    /// How often it fired.
    pub fired: u64,
    /// The processes that it ended.
    pub killed_pids: Vec<u32>,
}

/// All ordered faults.
#[derive(Debug, Default)]
pub struct Faults {
    next_id: u64,
    ordered: Vec<OrderedFault>,
}

impl Faults {
    /// Adds a fault and returns its number.
    pub fn add(&mut self, fault: Fault) -> u64 {
        self.next_id += 1;
        self.ordered.push(OrderedFault { id: self.next_id, fault, matched: 0, fired: 0, killed_pids: Vec::new() });
        self.next_id
    }

    /// Counts a request against every fault and returns the first that fires.
    pub fn observe(&mut self, seen: &Observed<'_>) -> Option<(u64, Fault)> {
        let mut firing = None;
        for ordered in &mut self.ordered {
            if !ordered.fault.matches(seen) {
                continue;
            }
            ordered.matched += 1;
            let first = ordered.fault.nth;
            let last = first.saturating_add(ordered.fault.times - 1);
            if firing.is_none() && (first..=last).contains(&ordered.matched) {
                ordered.fired += 1;
                firing = Some((ordered.id, ordered.fault.clone()));
            }
        }
        firing
    }

    /// Notes which process a fault ended.
    pub fn note_killed(&mut self, id: u64, pid: u32) {
        if let Some(ordered) = self.ordered.iter_mut().find(|ordered| ordered.id == id) {
            ordered.killed_pids.push(pid);
        }
    }

    /// Everything ordered, oldest first.
    #[must_use]
    pub fn all(&self) -> &[OrderedFault] {
        &self.ordered
    }

    /// Forgets every fault.
    pub fn clear(&mut self) {
        self.ordered.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault() -> Fault {
        Fault {
            function: Some("publish-run".to_owned()),
            service: Some("s3".to_owned()),
            operation: Some("PutObject".to_owned()),
            path_contains: None,
            nth: 1,
            times: 1,
            when: FaultMoment::Before,
            action: FaultAction::Kill,
            status: None,
        }
    }

    fn seen<'a>(function: Option<&'a str>, operation: &'a str, path: &'a str) -> Observed<'a> {
        Observed { function, service: "s3", operation, path }
    }

    const PUBLISH: Option<&str> = Some("spillway-PublishRun-1A2B3C");

    #[test]
    fn only_the_nth_matching_request_is_hit() {
        let mut faults = Faults::default();
        faults.add(Fault { nth: 3, ..fault() });
        let hits: Vec<bool> = (0..5).map(|_| faults.observe(&seen(PUBLISH, "PutObject", "/b/k")).is_some()).collect();
        assert_eq!(hits, [false, false, true, false, false]);
    }

    #[test]
    fn times_hits_that_many_in_a_row() {
        let mut faults = Faults::default();
        faults.add(Fault { nth: 2, times: 2, ..fault() });
        let hits: Vec<bool> = (0..5).map(|_| faults.observe(&seen(PUBLISH, "PutObject", "/b/k")).is_some()).collect();
        assert_eq!(hits, [false, true, true, false, false]);
    }

    #[test]
    fn requests_that_do_not_match_are_not_counted() {
        let mut faults = Faults::default();
        faults.add(fault());
        assert!(faults.observe(&seen(PUBLISH, "GetObject", "/b/k")).is_none());
        assert!(faults.observe(&seen(Some("other"), "PutObject", "/b/k")).is_none());
        assert!(faults.observe(&seen(PUBLISH, "PutObject", "/b/k")).is_some());
    }

    #[test]
    fn a_caller_that_is_no_function_is_never_hit() {
        let mut faults = Faults::default();
        faults.add(Fault { function: None, service: None, operation: None, ..fault() });
        assert!(faults.observe(&seen(None, "PutObject", "/b/k")).is_none());
        assert_eq!(faults.all().first().map(|ordered| ordered.matched), Some(0));
    }

    #[test]
    fn a_part_of_the_path_narrows_the_match() {
        let mut faults = Faults::default();
        faults.add(Fault { path_contains: Some("_delta_log/".to_owned()), ..fault() });
        assert!(faults.observe(&seen(PUBLISH, "PutObject", "/b/part-0.parquet")).is_none());
        assert!(faults.observe(&seen(PUBLISH, "PutObject", "/b/_delta_log/0.json")).is_some());
    }

    #[test]
    fn each_fault_counts_for_itself_and_the_oldest_fires_first() {
        let mut faults = Faults::default();
        let first = faults.add(fault());
        let second = faults.add(Fault { nth: 2, ..fault() });
        let one = faults.observe(&seen(PUBLISH, "PutObject", "/b/k")).map(|(id, _)| id);
        let two = faults.observe(&seen(PUBLISH, "PutObject", "/b/k")).map(|(id, _)| id);
        assert_eq!((one, two), (Some(first), Some(second)));
    }

    #[test]
    fn what_fired_can_be_read_back() {
        let mut faults = Faults::default();
        let id = faults.add(fault());
        faults.observe(&seen(PUBLISH, "PutObject", "/b/k"));
        faults.note_killed(id, 42);
        let told = faults.all().first().map(|o| (o.matched, o.fired, o.killed_pids.clone()));
        assert_eq!(told, Some((1, 1, vec![42])));
        faults.clear();
        assert!(faults.all().is_empty());
    }

    #[test]
    fn an_order_that_could_not_be_meant_is_refused() {
        assert!(fault().check().is_ok());
        assert!(Fault { nth: 0, ..fault() }.check().is_err());
        assert!(Fault { times: 0, ..fault() }.check().is_err());
        assert!(Fault { status: Some(503), ..fault() }.check().is_err());
        let answered = Fault { action: FaultAction::Status, ..fault() };
        assert!(Fault { status: Some(99), ..answered.clone() }.check().is_err());
        assert!(Fault { status: Some(503), ..answered }.check().is_ok());
    }

    #[test]
    fn an_order_is_read_from_json_and_unknown_words_are_refused() {
        let json = r#"{"function":"publish-run","service":"s3","operation":"PutObject",
                       "when":"before","action":"kill"}"#;
        assert_eq!(serde_json::from_str::<Fault>(json).ok(), Some(fault()));
        let typo = r#"{"fonction":"x","when":"before","action":"kill"}"#;
        assert!(serde_json::from_str::<Fault>(typo).is_err());
    }
}
