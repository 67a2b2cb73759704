//! Faults on demand.

use std::sync::{Mutex, PoisonError};

use http::Method;

/// A failure that some requests meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The method, or any.
    pub method: Option<Method>,
    /// A part of the path.
    pub path: String,
    /// How many requests go through before the first that fails.
    pub after: u32,
    /// How many requests fail.
    pub times: u32,
    /// Whether the request is done all the same.
    pub time: FaultTime,
    /// The answer's status.
    pub status: u16,
    /// The answer's `Retry-After`, as it stands.
    pub retry_after: Option<String>,
    /// The answer's body.
    pub body: FaultBody,
}

/// Whether a request that fails is done all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultTime {
    /// The request is not done.
    Instead,
    /// The request is done, and its answer is lost.
    Afterwards,
}

/// What a failure's body looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultBody {
    /// `{error_code, message, details}`.
    Json {
        /// The error code.
        code: String,
        /// The message.
        message: String,
    },
    /// Text as it stands, such as `CODE: message` or a page in HTML.
    Text(String),
    /// No answer at all: the connection ends in the middle of the body.
    Cut,
}

impl Fault {
    /// The next request whose path has this part is refused with 429.
    #[must_use]
    pub fn throttled(path: &str, retry_after: Option<&str>) -> Self {
        Self {
            method: None,
            path: path.to_owned(),
            after: 0,
            times: 1,
            time: FaultTime::Instead,
            status: 429,
            retry_after: retry_after.map(ToOwned::to_owned),
            body: FaultBody::Json {
                code: "REQUEST_LIMIT_EXCEEDED".to_owned(),
                message: "RPC token bucket limit has been exceeded".to_owned(),
            },
        }
    }
}

/// The faults that wait for their requests.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    pub(crate) fn left(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The fault of this request, if it meets one.
    pub(crate) fn take(&self, method: &Method, path: &str) -> Option<Fault> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let meets =
            |fault: &Fault| path.contains(&fault.path) && fault.method.as_ref().is_none_or(|wanted| wanted == method);
        let index = faults.iter().position(meets)?;
        let fault = faults.get_mut(index)?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times = fault.times.saturating_sub(1);
        let met = fault.clone();
        if met.times == 0 {
            faults.remove(index);
        }
        Some(met)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_meets_its_requests_and_no_other() {
        let faults = Faults::default();
        faults.add(Fault { method: Some(Method::GET), after: 1, times: 2, ..Fault::throttled("/shares", None) });
        let met = |method: Method, path: &str| faults.take(&method, path).is_some();
        assert!(!met(Method::POST, "/shares") && !met(Method::GET, "/recipients"));
        assert!(!met(Method::GET, "/shares"), "the first goes through");
        assert!(met(Method::GET, "/shares/a") && met(Method::GET, "/shares/a") && !met(Method::GET, "/shares/a"));
        assert_eq!(faults.left(), 0);
    }
}
