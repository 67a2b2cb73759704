//! How often one token may ask: a bucket of permits for each, in this process.
//!
//! Holds a server up against one client in a loop, not against many clients or over many processes. A bucket that is
//! full again is as good as none, so memory is bounded by forgetting the fullest.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use delivery::timestamp::Timestamp;

use crate::ports::SecretHash;

/// Buckets that are kept at once.
const BUCKETS_MAX: usize = 8_192;

/// One permit, in the parts that buckets count in: a microsecond at one permit a second.
const PERMIT: u64 = 1_000_000;

/// How often one token may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests at once; at least 1.
    pub burst: u32,
    /// Requests a second after that; at least 1.
    pub per_second: u32,
}

impl Default for RateLimit {
    /// More than a client with eight tables open needs, and little enough that a loop is noticed.
    fn default() -> Self {
        Self { burst: 100, per_second: 20 }
    }
}

/// The buckets of a server's tokens.
#[derive(Debug)]
pub struct Throttle {
    limit: RateLimit,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// What is left, in parts of a permit.
    level: u64,
    /// When it was that much.
    at: Timestamp,
}

impl Throttle {
    /// Full buckets for everybody.
    #[must_use]
    pub fn new(limit: RateLimit) -> Self {
        let limit = RateLimit { burst: limit.burst.max(1), per_second: limit.per_second.max(1) };
        Self { limit, buckets: Mutex::default() }
    }

    /// Takes one permit of a token, or says in how many whole seconds there is one.
    pub(super) fn take(&self, token: &SecretHash, now: Timestamp) -> Result<(), u32> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let level = buckets.get(token.as_str()).map_or(self.full(), |bucket| self.level(*bucket, now));
        let taken = level.checked_sub(PERMIT);
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(token.as_str()) {
            self.forget(&mut buckets, now);
        }
        buckets.insert(token.as_str().to_owned(), Bucket { level: taken.unwrap_or(level), at: now });
        taken.map(drop).ok_or_else(|| {
            let micros = (PERMIT - level).div_ceil(u64::from(self.limit.per_second));
            u32::try_from(micros.div_ceil(PERMIT)).unwrap_or(u32::MAX)
        })
    }

    fn full(&self) -> u64 {
        u64::from(self.limit.burst) * PERMIT
    }

    fn level(&self, bucket: Bucket, now: Timestamp) -> u64 {
        // A clock that was set back refills nothing.
        let micros = u64::try_from(now.micros().saturating_sub(bucket.at.micros())).unwrap_or(0);
        let refill = micros.saturating_mul(self.limit.per_second.into());
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
    use proptest::prelude::*;

    fn token(number: usize) -> SecretHash {
        SecretHash::of(&number.to_string())
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros).unwrap()
    }

    #[test]
    fn a_burst_is_allowed_and_then_a_rate() {
        let throttle = Throttle::new(RateLimit { burst: 3, per_second: 2 });
        for _ in 0..3 {
            assert_eq!(throttle.take(&token(1), at(0)), Ok(()));
        }
        assert_eq!(throttle.take(&token(1), at(0)), Err(1));
        assert_eq!(throttle.take(&token(1), at(499_999)), Err(1));
        assert_eq!(throttle.take(&token(1), at(500_000)), Ok(()));
        assert_eq!(throttle.take(&token(1), at(500_000)), Err(1));
        assert_eq!(throttle.take(&token(2), at(500_000)), Ok(()), "another token's bucket is its own");
    }

    #[test]
    fn a_clock_that_goes_back_refills_nothing() {
        let throttle = Throttle::new(RateLimit { burst: 1, per_second: 1 });
        assert_eq!(throttle.take(&token(1), at(5_000_000)), Ok(()));
        assert_eq!(throttle.take(&token(1), at(0)), Err(1));
        assert_eq!(throttle.take(&token(1), at(1_000_000)), Ok(()));
    }

    #[test]
    fn many_tokens_do_not_free_the_one_that_is_held_back() {
        let throttle = Throttle::new(RateLimit { burst: 2, per_second: 1 });
        assert_eq!((throttle.take(&token(0), at(0)), throttle.take(&token(0), at(0))), (Ok(()), Ok(())));
        for number in 1..3 * BUCKETS_MAX {
            assert_eq!(throttle.take(&token(number), at(0)), Ok(()));
            assert!(throttle.buckets.lock().unwrap().len() <= BUCKETS_MAX);
        }
        assert_eq!(throttle.take(&token(0), at(0)), Err(1));
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
                if throttle.take(&token(1), at(now)).is_ok() {
                    allowed += 1;
                }
                prop_assert!(allowed <= i64::from(burst) + now * i64::from(per_second) / 1_000_000);
            }
        }
    }
}
