//! When the invocation ends, for adapters that wait: whoever waits longer is ended without an answer, and nobody reads
//! why.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

tokio::task_local! {
    static ENDS_AT: Instant;
}

/// The time that is left of the invocation that this is called in; `None` if there is none, or if nobody said when it
/// ends. What is spawned from an invocation is not in it.
#[must_use]
pub fn time_left() -> Option<Duration> {
    ENDS_AT.try_with(|ends_at| ends_at.saturating_duration_since(Instant::now())).ok()
}

/// Does an invocation's work, which can ask for its [`time_left`]. A deadline that is over before the work begins was
/// not meant: there would be no invocation.
pub(crate) async fn until<W: Future>(deadline: SystemTime, work: W) -> W::Output {
    match deadline.duration_since(SystemTime::now()) {
        Ok(left) => ENDS_AT.scope(Instant::now() + left, work).await,
        Err(_) => work.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_can_ask_how_long_it_has_and_nobody_else() {
        let deadline = SystemTime::now() + Duration::from_secs(30);
        let (first, later) = until(deadline, async { (time_left().unwrap(), time_left().unwrap()) }).await;
        assert!(first > Duration::from_secs(20) && first <= Duration::from_secs(30), "{first:?}");
        assert!(later <= first, "{later:?}");
        assert_eq!(time_left(), None, "outside");
    }

    #[tokio::test]
    async fn a_deadline_that_is_over_leaves_nothing() {
        let left = ENDS_AT.scope(Instant::now() - Duration::from_millis(1), async { time_left() }).await;
        assert_eq!(left, Some(Duration::ZERO));
    }

    #[tokio::test]
    async fn a_deadline_that_was_over_before_is_none() {
        assert_eq!(until(SystemTime::UNIX_EPOCH, async { time_left() }).await, None);
    }
}
