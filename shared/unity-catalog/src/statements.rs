//! `/sql/statements`: the few statements that a SQL warehouse is needed for.

use std::time::Duration;

use delivery::timestamp::Timestamp;
use http::Method;
use serde::Deserialize;
use serde_json::json;

use crate::error::{ApiError, ApiErrorKind};
use crate::retry::Replay;
use crate::transport::{Call, Workspace};

/// How often a statement is asked for at most: together with [`POLL_PAUSE`] this is 20 seconds, or what the caller has
/// left. A warehouse that is started for it needs longer: the statement goes on there, and what is run at a later attempt
/// finds the warehouse running.
const POLLS_MAX: u32 = 10;

/// The time between two questions.
const POLL_PAUSE: Duration = Duration::from_secs(2);

const RUN: &str = "run a statement on the SQL warehouse";

/// A statement that may be run twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement(String);

/// A text that cannot be put into a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name or location holds a quote, a back quote or a control character")]
pub struct Unquotable;

impl Statement {
    /// Registers the Delta table at a location, with the columns of its log, unless the name is taken.
    ///
    /// # Errors
    ///
    /// Returns [`Unquotable`] if a name or the location could end its quotes.
    pub fn create_table(full_name: &[&str; 3], location: &str) -> Result<Self, Unquotable> {
        let plain = !location.chars().any(|c| c.is_control() || matches!(c, '\'' | '\\'));
        let location = plain.then_some(location).ok_or(Unquotable)?;
        Ok(Self(format!("CREATE TABLE IF NOT EXISTS {} USING DELTA LOCATION '{location}'", quoted(full_name)?)))
    }

    /// Makes a registered table's columns those of its log.
    ///
    /// # Errors
    ///
    /// Returns [`Unquotable`] if a name could end its quotes.
    pub fn sync_metadata(full_name: &[&str; 3]) -> Result<Self, Unquotable> {
        Ok(Self(format!("MSCK REPAIR TABLE {} SYNC METADATA", quoted(full_name)?)))
    }

    /// The statement's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn quoted(full_name: &[&str; 3]) -> Result<String, Unquotable> {
    let plain = |part: &&str| !part.is_empty() && !part.chars().any(|c| c.is_control() || c == '`');
    let parts = full_name.iter().map(|part| Some(part).filter(|part| plain(part)).map(|part| format!("`{part}`")));
    Ok(parts.collect::<Option<Vec<_>>>().ok_or(Unquotable)?.join("."))
}

impl Workspace {
    /// Runs a statement to its end.
    ///
    /// # Errors
    ///
    /// `Invalid` with the warehouse's word if the statement failed, `Denied` if our service principal may not run it,
    /// `Unavailable` if it did not end in time or the warehouse failed.
    pub async fn run_statement(&self, warehouse_id: &str, statement: &Statement) -> Result<(), ApiError> {
        let body = json!({
            "statement": statement.0,
            "warehouse_id": warehouse_id,
            // An id at once: an answer that waits could take longer than the client waits for an answer.
            "wait_timeout": "0s",
            "on_wait_timeout": "CONTINUE",
        });
        let mut path = vec!["api", "2.0", "sql", "statements"];
        let (query, replay) = (Vec::new(), Replay::Safe);
        let call = Call { operation: RUN, method: Method::POST, path: path.clone(), query, body: Some(body), replay };
        let mut answer: StatementInfo = self.call(call).await?;
        let id = answer.statement_id.take().unwrap_or_default();
        path.push(&id);
        for _ in 0..POLLS_MAX {
            if let Some(outcome) = answer.status.outcome() {
                return outcome;
            }
            if self.wait(POLL_PAUSE).await.is_none() {
                break;
            }
            let (path, query, body) = (path.clone(), Vec::new(), None);
            answer = self.call(Call { operation: RUN, method: Method::GET, path, query, body, replay }).await?;
        }
        answer.status.outcome().unwrap_or_else(|| Err(ended(ApiErrorKind::Unavailable, "it did not end in time")))
    }
}

#[derive(Deserialize)]
struct StatementInfo {
    statement_id: Option<String>,
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    state: String,
    error: Option<StatusError>,
}

#[derive(Deserialize)]
struct StatusError {
    error_code: Option<String>,
    message: Option<String>,
}

impl Status {
    /// What the statement came to; `None` while it runs.
    fn outcome(&mut self) -> Option<Result<(), ApiError>> {
        match self.state.as_str() {
            // One that was closed succeeded, and its result was dropped.
            "SUCCEEDED" | "CLOSED" => Some(Ok(())),
            "PENDING" | "RUNNING" => None,
            "CANCELED" => Some(Err(ended(ApiErrorKind::Unavailable, "somebody stopped it"))),
            _ => {
                let error = self.error.take();
                let (code, message) = error.map_or((None, None), |error| (error.error_code, error.message));
                let kind = code.as_deref().and_then(failure);
                // The same shape, the same care with what it says.
                let body = json!({"error_code": code, "message": message}).to_string();
                let refusal = crate::error::Refusal::read(
                    http::StatusCode::BAD_REQUEST,
                    &http::HeaderMap::new(),
                    body.as_bytes(),
                    // Nothing here says when to come back.
                    Timestamp::EPOCH,
                );
                let error = refusal.error(RUN, 1);
                Some(Err(ApiError { status: None, kind: kind.unwrap_or(error.kind), ..error }))
            }
        }
    }
}

/// The kind of failure that a statement's error code names; `None` if the error is to be read as any other.
fn failure(code: &str) -> Option<ApiErrorKind> {
    match code {
        "RESOURCE_EXHAUSTED"
        | "TEMPORARILY_UNAVAILABLE"
        | "DEADLINE_EXCEEDED"
        | "INTERNAL_ERROR"
        | "ABORTED"
        | "SERVICE_UNDER_MAINTENANCE" => Some(ApiErrorKind::Unavailable),
        "PERMISSION_DENIED" => Some(ApiErrorKind::Denied),
        _ => None,
    }
}

fn ended(kind: ApiErrorKind, what: &'static str) -> ApiError {
    ApiError { kind, ..ApiError::unreadable(RUN, what) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_quote_what_they_are_given() {
        let create = Statement::create_table(&["main", "acme-1", "wf_a__v1"], "s3://bucket/a").unwrap();
        assert_eq!(
            create.as_str(),
            "CREATE TABLE IF NOT EXISTS `main`.`acme-1`.`wf_a__v1` USING DELTA LOCATION 's3://bucket/a'"
        );
        let sync = Statement::sync_metadata(&["main", "acme-1", "wf_a__v1"]).unwrap();
        assert_eq!(sync.as_str(), "MSCK REPAIR TABLE `main`.`acme-1`.`wf_a__v1` SYNC METADATA");
    }

    #[test]
    fn nothing_can_end_its_quotes() {
        for part in ["", "a`b", "a\nb"] {
            assert_eq!(Statement::sync_metadata(&["main", part, "t"]), Err(Unquotable), "{part:?}");
        }
        for location in ["s3://b/'; DROP TABLE t; --", "s3://b/\\", "s3://b/\n"] {
            assert_eq!(Statement::create_table(&["a", "b", "c"], location), Err(Unquotable), "{location:?}");
        }
    }
}
