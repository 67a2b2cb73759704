//! Budgets of tokens in memory, and what every store of them keeps to.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use delivery::ports::PortError;
use delivery::timestamp::Timestamp;
use sharing::ports::{RateLimit, RequestBudget, SecretHash};

use crate::builders::instant;

/// Budgets of tokens: when each is full again.
#[derive(Debug, Default)]
pub struct InMemoryBudget {
    until_micros: Mutex<HashMap<String, i64>>,
}

#[async_trait]
impl RequestBudget for InMemoryBudget {
    async fn take(
        &self,
        token: &SecretHash,
        permits: u32,
        limit: RateLimit,
        now: Timestamp,
    ) -> Result<Result<(), u32>, PortError> {
        let mut budgets = self.until_micros.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let until = budgets.entry(token.as_str().to_owned()).or_insert(0);
        let permit = 1_000_000 / i64::from(limit.per_second);
        let next = (*until).max(now.micros()) + permit * i64::from(permits);
        let wait = next - permit * i64::from(limit.burst) - now.micros();
        if wait > 0 {
            return Ok(Err(u32::try_from(wait.div_euclid(1_000_000) + 1).unwrap_or(u32::MAX)));
        }
        *until = next;
        Ok(Ok(()))
    }
}

/// What every store of budgets keeps to.
///
/// # Panics
///
/// Panics if the store breaks a rule.
pub async fn request_budget_contract(store: &impl RequestBudget, prefix: &str) {
    let limit = RateLimit { burst: 30, per_second: 10 };
    let [one, other] = ["one", "other"].map(|token| SecretHash::of(&format!("{prefix}-{token}")));
    let take = async |token: &SecretHash, seconds: i64| {
        store.take(token, 10, limit, instant(seconds)).await.expect("take permits")
    };
    for _ in 0..3 {
        assert_eq!(take(&one, 0).await, Ok(()));
    }
    let wait = take(&one, 0).await.expect_err("all are taken");
    assert!((1..=2).contains(&wait), "ten more are there after a second: {wait}");
    assert_eq!(take(&other, 0).await, Ok(()), "another token's budget is its own");
    assert_eq!(take(&one, 2).await, Ok(()));
    assert_eq!(take(&one, 2).await, Ok(()), "what was refused took nothing");
    assert!(take(&one, 2).await.is_err());
    for _ in 0..3 {
        assert_eq!(take(&one, 1_000).await, Ok(()), "it does not fill up over its brim");
    }
    assert!(take(&one, 1_000).await.is_err());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_budget_in_memory_keeps_the_contract() {
        request_budget_contract(&InMemoryBudget::default(), "b").await;
    }
}
