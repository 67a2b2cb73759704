//! How often one token may ask: a bucket of permits for each.
//!
//! A process of a function answers one request at a time, so buckets of processes alone would hold nobody back who asks
//! many at once. A process gives a few permits of its own, which cost nothing; whoever asks more often takes them out of
//! a budget that all processes share, some at a time. A bucket that is full again is as good as none, so memory is bounded
//! by forgetting the fullest.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use delivery::timestamp::Timestamp;

use crate::ports::{RateLimit, RequestBudget, SecretHash};

/// Buckets that are kept at once.
const BUCKETS_MAX: usize = 8_192;

/// One permit, in the parts that buckets count in: a microsecond at one permit a second.
const PERMIT: u64 = 1_000_000;

/// Permits that a process takes out of the shared budget at once.
const LOAN_PERMITS: u32 = 10;

/// More than a client with eight tables open needs, and little enough that a loop is noticed.
pub const USUAL_LIMIT: RateLimit = RateLimit { burst: 100, per_second: 20 };

/// What each process gives beside a shared budget.
const OWN_LIMIT: RateLimit = RateLimit { burst: 10, per_second: 1 };

/// The buckets of a server's tokens.
pub struct Throttle {
    own: RateLimit,
    shared: Option<(RateLimit, Arc<dyn RequestBudget>)>,
    buckets: Mutex<HashMap<String, Bucket>>,
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").field("own", &self.own).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// What is left, in parts of a permit.
    level: u64,
    /// When it was that much.
    at: Timestamp,
    /// Permits of the shared budget that are not used yet.
    lent: u32,
    /// Until when the shared budget has none, if it had none.
    empty_until: Option<Timestamp>,
}

/// Where a permit comes from.
enum Found {
    /// It was here.
    Taken,
    /// Not from this process, which has one in so many seconds.
    Elsewhere(u32),
    /// From nowhere for so many seconds.
    Nowhere(u32),
}

impl Throttle {
    /// Full buckets for everybody, in this process.
    #[must_use]
    pub fn new(limit: RateLimit) -> Self {
        let own = RateLimit { burst: limit.burst.max(1), per_second: limit.per_second.max(1) };
        Self { own, shared: None, buckets: Mutex::default() }
    }

    /// The usual limit over all processes that share a budget.
    #[must_use]
    pub fn shared(budget: Arc<dyn RequestBudget>) -> Self {
        let limit = RateLimit { burst: USUAL_LIMIT.burst - OWN_LIMIT.burst, ..USUAL_LIMIT };
        Self { own: OWN_LIMIT, shared: Some((limit, budget)), buckets: Mutex::default() }
    }

    /// Takes one permit of a token, or says in how many whole seconds there is one.
    pub(super) async fn take(&self, token: &SecretHash, now: Timestamp) -> Result<(), u32> {
        let own_wait = match self.find(token, now) {
            Found::Taken => return Ok(()),
            Found::Nowhere(wait) => return Err(wait),
            Found::Elsewhere(wait) => wait,
        };
        let Some((limit, budget)) = &self.shared else { return Err(own_wait) };
        match budget.take(token, LOAN_PERMITS, *limit, now).await {
            Ok(Ok(())) => {
                self.note(token, now, |bucket| bucket.lent += LOAN_PERMITS - 1);
                Ok(())
            }
            Ok(Err(wait)) => {
                let wait = wait.min(own_wait);
                self.note(token, now, |bucket| bucket.empty_until = Some(now.plus_seconds(wait.into())));
                Err(wait)
            }
            Err(error) => {
                // Who may read is not refused because nobody counts.
                tracing::warn!(%error, "the budget of a token is not to be had");
                Ok(())
            }
        }
    }

    fn find(&self, token: &SecretHash, now: Timestamp) -> Found {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Bucket { level: self.full(), at: now, lent: 0, empty_until: None };
        let mut bucket = buckets.get(token.as_str()).copied().unwrap_or(fresh);
        bucket.level = self.level(bucket, now);
        bucket.at = now;
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(token.as_str()) {
            self.forget(&mut buckets, now);
        }
        let micros = PERMIT.saturating_sub(bucket.level).div_ceil(u64::from(self.own.per_second));
        let wait = u32::try_from(micros.div_ceil(PERMIT)).unwrap_or(u32::MAX);
        let found = if let Some(level) = bucket.level.checked_sub(PERMIT) {
            bucket.level = level;
            Found::Taken
        } else if let Some(lent) = bucket.lent.checked_sub(1) {
            bucket.lent = lent;
            Found::Taken
        } else if let Some(until) = bucket.empty_until.filter(|until| now < *until) {
            let micros = u64::try_from(until.micros() - now.micros()).unwrap_or_default();
            Found::Nowhere(u32::try_from(micros.div_ceil(PERMIT)).unwrap_or(u32::MAX))
        } else {
            Found::Elsewhere(wait)
        };
        buckets.insert(token.as_str().to_owned(), bucket);
        found
    }

    fn note(&self, token: &SecretHash, now: Timestamp, change: impl FnOnce(&mut Bucket)) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Bucket { level: 0, at: now, lent: 0, empty_until: None };
        change(buckets.entry(token.as_str().to_owned()).or_insert(fresh));
    }

    fn full(&self) -> u64 {
        u64::from(self.own.burst) * PERMIT
    }

    fn level(&self, bucket: Bucket, now: Timestamp) -> u64 {
        // A clock that was set back refills nothing.
        let micros = u64::try_from(now.micros().saturating_sub(bucket.at.micros())).unwrap_or(0);
        let refill = micros.saturating_mul(self.own.per_second.into());
        bucket.level.saturating_add(refill).min(self.full())
    }

    /// Forgets the fuller half, which costs each of its tokens least of what it is held back by.
    fn forget(&self, buckets: &mut HashMap<String, Bucket>, now: Timestamp) {
        let mut levels: Vec<_> = buckets.values().map(|bucket| self.level(*bucket, now)).collect();
        let (_, median, _) = levels.select_nth_unstable(BUCKETS_MAX / 2);
        let median = *median;
        buckets.retain(|_, bucket| self.level(*bucket, now) < median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use delivery::ports::{PortError, PortErrorKind};
    use futures::FutureExt as _;
    use proptest::prelude::*;

    fn token(number: usize) -> SecretHash {
        SecretHash::of(&number.to_string())
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros).unwrap()
    }

    #[tokio::test]
    async fn a_burst_is_allowed_and_then_a_rate() {
        let throttle = Throttle::new(RateLimit { burst: 3, per_second: 2 });
        for _ in 0..3 {
            assert_eq!(throttle.take(&token(1), at(0)).await, Ok(()));
        }
        assert_eq!(throttle.take(&token(1), at(0)).await, Err(1));
        assert_eq!(throttle.take(&token(1), at(499_999)).await, Err(1));
        assert_eq!(throttle.take(&token(1), at(500_000)).await, Ok(()));
        assert_eq!(throttle.take(&token(1), at(500_000)).await, Err(1));
        assert_eq!(throttle.take(&token(2), at(500_000)).await, Ok(()), "another token's bucket is its own");
    }

    #[tokio::test]
    async fn a_clock_that_goes_back_refills_nothing() {
        let throttle = Throttle::new(RateLimit { burst: 1, per_second: 1 });
        assert_eq!(throttle.take(&token(1), at(5_000_000)).await, Ok(()));
        assert_eq!(throttle.take(&token(1), at(0)).await, Err(1));
        assert_eq!(throttle.take(&token(1), at(1_000_000)).await, Ok(()));
    }

    #[tokio::test]
    async fn many_tokens_do_not_free_the_one_that_is_held_back() {
        let throttle = Throttle::new(RateLimit { burst: 2, per_second: 1 });
        assert_eq!((throttle.take(&token(0), at(0)).await, throttle.take(&token(0), at(0)).await), (Ok(()), Ok(())));
        for number in 1..3 * BUCKETS_MAX {
            assert_eq!(throttle.take(&token(number), at(0)).await, Ok(()));
            assert!(throttle.buckets.lock().unwrap().len() <= BUCKETS_MAX);
        }
        assert_eq!(throttle.take(&token(0), at(0)).await, Err(1));
    }

    /// A budget that is not filled up again; none at all is out of order.
    struct Budget {
        left: Option<AtomicU32>,
        asked: AtomicU32,
    }

    impl Budget {
        fn of(permits: Option<u32>) -> Arc<Self> {
            Arc::new(Self { left: permits.map(AtomicU32::new), asked: AtomicU32::new(0) })
        }
    }

    #[async_trait]
    impl RequestBudget for Budget {
        async fn take(
            &self,
            _: &SecretHash,
            permits: u32,
            _: RateLimit,
            _: Timestamp,
        ) -> Result<Result<(), u32>, PortError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let none = || PortError::new(PortErrorKind::Unavailable, "take permits", "out of order");
            let left = self.left.as_ref().ok_or_else(none)?;
            let taken = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(permits));
            Ok(taken.map(drop).map_err(|_| 1))
        }
    }

    #[tokio::test]
    async fn processes_share_a_budget_and_ask_it_now_and_then_only() {
        let budget = Budget::of(Some(90));
        let processes: Vec<_> = (0..4).map(|_| Throttle::shared(budget.clone())).collect();
        let mut allowed = 0;
        for _ in 0..100 {
            for process in &processes {
                allowed += u32::from(process.take(&token(1), at(0)).await.is_ok());
            }
        }
        assert_eq!(allowed, 4 * OWN_LIMIT.burst + 90);
        let asked = budget.asked.load(Ordering::SeqCst);
        assert!(asked <= 9 + 4, "nine loans, and a refusal for each process: {asked}");
        for process in &processes {
            assert_eq!(process.take(&token(1), at(999_000)).await, Err(1));
        }
        assert_eq!(budget.asked.load(Ordering::SeqCst), asked, "who was told to wait is not asked for again");
        let one = processes.first().unwrap();
        assert_eq!(one.take(&token(1), at(1_000_000)).await, Ok(()), "each process gives one a second");
        assert_eq!(one.take(&token(2), at(0)).await, Ok(()), "another token's bucket is its own");
    }

    #[tokio::test]
    async fn nobody_is_refused_because_the_budget_is_not_to_be_had() {
        let process = Throttle::shared(Budget::of(None));
        for number in 0..OWN_LIMIT.burst + 5 {
            assert_eq!(process.take(&token(1), at(0)).await, Ok(()), "{number}");
        }
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_rate(
            burst in 1_u32..5,
            per_second in 1_u32..5,
            steps in prop::collection::vec(0_i64..2_000_000, 1..80),
        ) {
            let throttle = Throttle::new(RateLimit { burst, per_second });
            let (mut now, mut allowed) = (0, 0_i64);
            for step in steps {
                now += step;
                if throttle.take(&token(1), at(now)).now_or_never().is_some_and(|taken| taken.is_ok()) {
                    allowed += 1;
                }
                prop_assert!(allowed <= i64::from(burst) + now * i64::from(per_second) / 1_000_000);
            }
        }
    }
}
