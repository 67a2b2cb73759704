//! The team's older activity, into one connector's outbox.

use super::{BackfillFailure, Counts, Coverage, classify};
use crate::activity::PublicActivity;
use crate::failure::{FailureCode, StepError};
use crate::metadata::MetadataTable;
use crate::ports::{ActivityPlace, Clock, HistoryBucket, MetadataWriterWaker, Outbox};

/// What delivering older activity needs of the world.
#[derive(Clone, Copy)]
pub struct ActivityPorts<'a> {
    /// The lines.
    pub bucket: &'a dyn HistoryBucket,
    /// Keeps the rows.
    pub outbox: &'a dyn Outbox,
    /// Has them written.
    pub waker: &'a dyn MetadataWriterWaker,
    /// The time.
    pub clock: &'a dyn Clock,
}

impl std::fmt::Debug for ActivityPorts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ActivityPorts")
    }
}

/// What a page of activity held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityRecorded {
    /// Behind which place there is more.
    pub after: Option<ActivityPlace>,
    /// What it counted.
    pub counts: Counts,
    /// Lines that are no event of the team: place and code, never their content.
    pub failures: Vec<BackfillFailure>,
}

/// Puts a page of the team's older activity into the connector's outbox, and wakes its writer. A row's key is the
/// event's id, so doing it twice does it once. The last page wakes the writer even if it holds nothing: rows may wait
/// that came while the connector took no data.
///
/// # Errors
///
/// Codes of phase `backfill`.
pub async fn deliver_activity(
    ports: ActivityPorts<'_>,
    coverage: &Coverage,
    after: &ActivityPlace,
) -> Result<ActivityRecorded, StepError> {
    if !coverage.activity {
        return Ok(ActivityRecorded { after: None, counts: Counts::default(), failures: Vec::new() });
    }
    let page = ports.bucket.activity(&coverage.team, after).await.map_err(classify)?;
    let (mut counts, mut failures, mut rows) = (Counts::default(), Vec::new(), Vec::new());
    for line in page.lines {
        let code = match line.event {
            Ok(event) if *event.team() != coverage.team => FailureCode::HistoryMismatch,
            Ok(event) => {
                if takes(coverage, &event) {
                    rows.push(event.row());
                }
                continue;
            }
            Err(error) => error.code,
        };
        let place = Some(format!("{} line {}", line.key, line.line));
        failures.push(BackfillFailure { workflow: None, run: None, place, code });
    }
    counts.activity_events = rows.len() as u64;
    counts.activity_refused = failures.len() as u64;
    if !rows.is_empty() {
        let now = ports.clock.now();
        ports.outbox.put(&coverage.connector, MetadataTable::ActivityLog, &rows, now).await.map_err(classify)?;
    }
    if !rows.is_empty() || page.after.is_none() {
        // The time after the rows are there: a wake covers what was put before it.
        ports.waker.wake(&coverage.connector, ports.clock.now()).await.map_err(classify)?;
    }
    Ok(ActivityRecorded { after: page.after, counts, failures })
}

fn takes(coverage: &Coverage, event: &PublicActivity) -> bool {
    event.is_in(&coverage.workflows)
        && coverage.takes_time(event.occurred_at())
        && coverage.missed_since.is_none_or(|since| event.occurred_at() >= since)
}
