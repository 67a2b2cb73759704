//! How much of its budget each token has used, over all processes of the sharing server.
//!
//! An item holds the instant at which the bucket would be full again (the "theoretical arrival time" of the generic cell
//! rate algorithm): one number, moved on by one conditional update.

use async_trait::async_trait;
use delivery::ports::PortError;
use delivery::timestamp::Timestamp;
use sharing::ports::{RateLimit, RequestBudget, SecretHash};

use super::expression::Write;
use super::item::{Attributes, Key, number};
use super::{DynamoStore, Written};

const TAKE: &str = "take permits of a token's budget";
const FULL_AT: &str = "full_at_micros";

/// How often a taking starts anew when others are in between. After that it goes through: nobody is refused because
/// many ask.
const ATTEMPTS_MAX: usize = 4;

/// How long a budget is kept after it is full again, in seconds.
const KEPT_SECONDS: i64 = 3_600;

#[async_trait]
impl RequestBudget for DynamoStore {
    async fn take(
        &self,
        token: &SecretHash,
        permits: u32,
        limit: RateLimit,
        now: Timestamp,
    ) -> Result<Result<(), u32>, PortError> {
        let permit = 1_000_000 / i64::from(limit.per_second.max(1));
        let (now, cost) = (now.micros(), permit * i64::from(permits));
        let latest = now + permit * i64::from(limit.burst) - cost;
        let kept = (now + permit * i64::from(limit.burst)) / 1_000_000 + KEPT_SECONDS;
        let write = || Write::update(Key::budget(token)).set("expires_at_seconds", number(kept));
        let used = || {
            let in_use = "#full_at_micros BETWEEN :now AND :latest";
            write().add(FULL_AT, number(cost)).when(in_use).valued("now", number(now)).valued("latest", number(latest))
        };
        let unused = || {
            let is_full = "attribute_not_exists(#full_at_micros) OR #full_at_micros < :now";
            write().set(FULL_AT, number(now + cost)).when(is_full).valued("now", number(now))
        };
        let mut next = used();
        for _ in 0..ATTEMPTS_MAX {
            let Written::Refused(item) = self.update(TAKE, next).await? else { return Ok(Ok(())) };
            let full_at = match item {
                Some(item) => Attributes::of(&item, TAKE).optional_number(FULL_AT)?.unwrap_or(0),
                None => 0,
            };
            if full_at > latest {
                return Ok(Err(u32::try_from((full_at - latest).div_euclid(1_000_000) + 1).unwrap_or(u32::MAX)));
            }
            next = if full_at < now { unused() } else { used() };
        }
        Ok(Ok(()))
    }
}
