//! When a request is sent again, and after how long. Knows no clock: it counts what it told the caller to wait.

use std::time::Duration;

use crate::error::{ApiErrorKind, Refusal};

/// What a server that names no time means (the official SDKs' default).
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// The longest wait that grows by itself.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// How long a call may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The most times that one request is sent.
    pub attempts_max: u32,
    /// The longest that one call waits between its attempts, in total. A server that wants longer is not waited for.
    pub wait_max: Duration,
    /// How long one request may take, its body included.
    pub request_max: Duration,
}

impl Default for Patience {
    /// Five attempts, a minute of waiting, a minute for a request.
    fn default() -> Self {
        Self { attempts_max: 5, wait_max: Duration::from_secs(60), request_max: Duration::from_secs(60) }
    }
}

/// Whether a request may be sent again when nobody knows whether it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replay {
    /// Doing it twice comes out the same, or is refused.
    Safe,
    /// Doing it twice does something twice: it is only sent again if the server says that it was not done.
    Unsafe,
}

/// The attempts of one call.
#[derive(Debug)]
pub(crate) struct Attempts {
    patience: Patience,
    replay: Replay,
    made: u32,
    waited: Duration,
}

impl Attempts {
    pub(crate) fn new(patience: Patience, replay: Replay) -> Self {
        Self { patience, replay, made: 1, waited: Duration::ZERO }
    }

    /// How many times the request was sent.
    pub(crate) fn made(&self) -> u32 {
        self.made
    }

    /// How long to wait before the next attempt after a refusal; `None` if there is no next one.
    pub(crate) fn after_refusal(&mut self, refusal: &Refusal) -> Option<Duration> {
        let not_done = matches!(refusal.status, 429 | 503) || refusal.kind == ApiErrorKind::Throttled;
        let again = match refusal.kind {
            ApiErrorKind::Throttled | ApiErrorKind::Unavailable => not_done || self.replay == Replay::Safe,
            ApiErrorKind::Missing
            | ApiErrorKind::Exists
            | ApiErrorKind::Denied
            | ApiErrorKind::Unauthenticated
            | ApiErrorKind::Invalid
            | ApiErrorKind::Conflict
            | ApiErrorKind::Unreadable => false,
        };
        let asked = refusal.retry_after_seconds.map(Duration::from_secs);
        again.then(|| self.next(asked)).flatten()
    }

    /// How long to wait before the next attempt after a request without an answer; `None` if there is no next one.
    pub(crate) fn after_silence(&mut self) -> Option<Duration> {
        (self.replay == Replay::Safe).then(|| self.next(None)).flatten()
    }

    fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let grown = RETRY_AFTER_DEFAULT.saturating_mul(1 << (self.made - 1).min(10)).min(BACKOFF_MAX);
        let wait = asked.unwrap_or(grown);
        let waited = self.waited.saturating_add(wait);
        if self.made >= self.patience.attempts_max || waited > self.patience.wait_max {
            return None;
        }
        self.made += 1;
        self.waited = waited;
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(kind: ApiErrorKind, status: u16, retry_after_seconds: Option<u64>) -> Refusal {
        Refusal { kind, status, code: None, message: None, request_id: None, retry_after_seconds }
    }

    fn attempts(replay: Replay) -> Attempts {
        Attempts::new(Patience::default(), replay)
    }

    #[test]
    fn the_server_s_word_counts_and_else_waits_grow() {
        let seconds = Duration::from_secs;
        let mut asked = attempts(Replay::Unsafe);
        let throttled = refusal(ApiErrorKind::Throttled, 429, Some(7));
        assert_eq!(asked.after_refusal(&throttled), Some(seconds(7)));
        let mut silent = attempts(Replay::Safe);
        let waits: Vec<_> = std::iter::from_fn(|| silent.after_silence()).collect();
        assert_eq!(waits, [seconds(1), seconds(2), seconds(4), seconds(8)]);
        assert_eq!(silent.made(), 5);
    }

    #[test]
    fn a_server_that_wants_too_long_is_not_waited_for() {
        let busy = refusal(ApiErrorKind::Unavailable, 503, Some(61));
        assert_eq!(attempts(Replay::Safe).after_refusal(&busy), None);
        let mut twice = attempts(Replay::Safe);
        let busy = refusal(ApiErrorKind::Unavailable, 503, Some(40));
        assert!(twice.after_refusal(&busy).is_some());
        assert_eq!(twice.after_refusal(&busy), None, "80 seconds in total");
    }

    #[test]
    fn what_may_have_been_done_is_only_sent_again_if_that_is_harmless() {
        let lost = refusal(ApiErrorKind::Unavailable, 504, None);
        let busy = refusal(ApiErrorKind::Unavailable, 503, None);
        assert!(attempts(Replay::Safe).after_refusal(&lost).is_some());
        assert!(attempts(Replay::Unsafe).after_refusal(&lost).is_none());
        assert!(attempts(Replay::Unsafe).after_silence().is_none());
        assert!(attempts(Replay::Unsafe).after_refusal(&busy).is_some(), "the server says that it did not take it");
    }

    #[test]
    fn a_final_answer_is_final() {
        for kind in [ApiErrorKind::Missing, ApiErrorKind::Exists, ApiErrorKind::Denied, ApiErrorKind::Invalid] {
            assert_eq!(attempts(Replay::Safe).after_refusal(&refusal(kind, 400, Some(1))), None);
        }
    }

    proptest! {
        #[test]
        fn waiting_ends(asked in proptest::collection::vec(proptest::option::of(0_u64..100), 0..50)) {
            let patience = Patience::default();
            let mut attempts = Attempts::new(patience, Replay::Safe);
            let mut waited = Duration::ZERO;
            for seconds in asked {
                let Some(wait) = attempts.after_refusal(&refusal(ApiErrorKind::Throttled, 429, seconds)) else { break };
                waited += wait;
            }
            prop_assert!(waited <= patience.wait_max);
            prop_assert!(attempts.made() <= patience.attempts_max);
        }
    }
}
