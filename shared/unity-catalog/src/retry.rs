//! When a request is sent again, and after how long. Knows no clock: it counts what it told the caller to wait, and is
//! told how long the caller has.

use std::time::Duration;

use crate::error::{ApiErrorKind, Refusal};

/// What a server that names no time means (the official SDKs' default).
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// The longest wait that grows by itself.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// How long a call may go on. Whatever it says, nothing goes on beyond the time that the caller has left, less a
/// reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The most times that one request is sent.
    pub attempts_max: u32,
    /// The longest that one call waits between its attempts, in total. A server that wants longer is not waited for.
    pub wait_max: Duration,
    /// How long one request may take, its body included.
    pub request_max: Duration,
    /// What is left to the caller at the end, to say what came of it. A request that has no more time than this besides
    /// is not begun.
    pub reserve: Duration,
}

impl Default for Patience {
    /// Five attempts, a minute of waiting, a minute for a request, and two seconds in reserve.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { attempts_max: 5, wait_max: seconds(60), request_max: seconds(60), reserve: seconds(2) }
    }
}

impl Patience {
    /// How long a request may take that is begun after a wait, by a caller that has so long left; `None` if it is not to
    /// be begun.
    pub(crate) fn request(&self, wait: Duration, left: Option<Duration>) -> Option<Duration> {
        let Some(left) = left else { return Some(self.request_max) };
        let most = left.checked_sub(wait)?.checked_sub(self.reserve)?;
        (most >= self.reserve).then(|| most.min(self.request_max))
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

    /// How long to wait before the next attempt after a refusal, if the caller has so long left; `None` if there is no
    /// next one.
    pub(crate) fn after_refusal(&mut self, refusal: &Refusal, left: Option<Duration>) -> Option<Duration> {
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
        again.then(|| self.next(asked, left)).flatten()
    }

    /// How long to wait before the next attempt after a request without an answer; `None` if there is no next one.
    pub(crate) fn after_silence(&mut self, left: Option<Duration>) -> Option<Duration> {
        (self.replay == Replay::Safe).then(|| self.next(None, left)).flatten()
    }

    fn next(&mut self, asked: Option<Duration>, left: Option<Duration>) -> Option<Duration> {
        let grown = RETRY_AFTER_DEFAULT.saturating_mul(1 << (self.made - 1).min(10)).min(BACKOFF_MAX);
        let wait = asked.unwrap_or(grown);
        let waited = self.waited.saturating_add(wait);
        if self.made >= self.patience.attempts_max || waited > self.patience.wait_max {
            return None;
        }
        self.patience.request(wait, left)?;
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
        assert_eq!(asked.after_refusal(&throttled, None), Some(seconds(7)));
        let mut silent = attempts(Replay::Safe);
        let waits: Vec<_> = std::iter::from_fn(|| silent.after_silence(None)).collect();
        assert_eq!(waits, [seconds(1), seconds(2), seconds(4), seconds(8)]);
        assert_eq!(silent.made(), 5);
    }

    #[test]
    fn a_server_that_wants_too_long_is_not_waited_for() {
        let busy = refusal(ApiErrorKind::Unavailable, 503, Some(61));
        assert_eq!(attempts(Replay::Safe).after_refusal(&busy, None), None);
        let mut twice = attempts(Replay::Safe);
        let busy = refusal(ApiErrorKind::Unavailable, 503, Some(40));
        assert!(twice.after_refusal(&busy, None).is_some());
        assert_eq!(twice.after_refusal(&busy, None), None, "80 seconds in total");
    }

    #[test]
    fn nothing_is_begun_that_the_caller_would_not_see_the_end_of() {
        let seconds = Duration::from_secs;
        let throttled = refusal(ApiErrorKind::Throttled, 429, Some(20));
        for (left, wait) in [(None, Some(20)), (Some(30), Some(20)), (Some(24), Some(20)), (Some(23), None)] {
            let mut attempts = attempts(Replay::Safe);
            assert_eq!(attempts.after_refusal(&throttled, left.map(seconds)), wait.map(seconds), "{left:?}");
        }
        assert_eq!(attempts(Replay::Safe).after_silence(Some(seconds(4))), None, "a second, and no time for a request");
        let patience = Patience::default();
        for (left, longest) in [(Some(100), Some(60)), (Some(10), Some(8)), (Some(4), Some(2)), (Some(3), None)] {
            assert_eq!(patience.request(Duration::ZERO, left.map(seconds)), longest.map(seconds), "{left:?}");
        }
        assert_eq!(patience.request(Duration::ZERO, None), Some(patience.request_max));
        assert_eq!(patience.request(seconds(1), Some(Duration::ZERO)), None);
    }

    #[test]
    fn what_may_have_been_done_is_only_sent_again_if_that_is_harmless() {
        let lost = refusal(ApiErrorKind::Unavailable, 504, None);
        let busy = refusal(ApiErrorKind::Unavailable, 503, None);
        assert!(attempts(Replay::Safe).after_refusal(&lost, None).is_some());
        assert!(attempts(Replay::Unsafe).after_refusal(&lost, None).is_none());
        assert!(attempts(Replay::Unsafe).after_silence(None).is_none());
        assert!(
            attempts(Replay::Unsafe).after_refusal(&busy, None).is_some(),
            "the server says that it did not take it"
        );
    }

    #[test]
    fn a_final_answer_is_final() {
        for kind in [ApiErrorKind::Missing, ApiErrorKind::Exists, ApiErrorKind::Denied, ApiErrorKind::Invalid] {
            assert_eq!(attempts(Replay::Safe).after_refusal(&refusal(kind, 400, Some(1)), None), None);
        }
    }

    proptest! {
        #[test]
        fn waiting_ends(asked in proptest::collection::vec(proptest::option::of(0_u64..100), 0..50)) {
            let patience = Patience::default();
            let mut attempts = Attempts::new(patience, Replay::Safe);
            let mut waited = Duration::ZERO;
            for seconds in asked {
                let throttled = refusal(ApiErrorKind::Throttled, 429, seconds);
                let Some(wait) = attempts.after_refusal(&throttled, None) else { break };
                waited += wait;
            }
            prop_assert!(waited <= patience.wait_max);
            prop_assert!(attempts.made() <= patience.attempts_max);
        }
    }
}
