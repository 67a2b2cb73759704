//! Activity: what of an event may stand in `ACTIVITY_LOG`, and for which connectors its row waits.
//!
//! Knows the rules of the allowlist. Knows no message format and no table on storage.

mod public;
mod reading;
mod redact;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use public::{PublicActivity, REQUEST_SOURCES, ReportedActivity, TEXT_CHARS_MAX};
pub use redact::{PrivateValues, REDACTED, is_personal};

use crate::failure::{FailureCode, StepError};
use crate::ids::{ConnectorId, TeamId};
use crate::metadata::{MetadataTable, WaitingRow};
use crate::ports::{Clock, MetadataWriterWaker, Outbox, PortError, PortErrorKind, RunStore};

/// What recording activity needs.
#[derive(Clone, Copy)]
pub struct Recording<'a> {
    /// Knows the teams' connectors.
    pub runs: &'a dyn RunStore,
    /// Keeps the rows.
    pub outbox: &'a dyn Outbox,
    /// Has them written.
    pub waker: &'a dyn MetadataWriterWaker,
    /// The time.
    pub clock: &'a dyn Clock,
}

impl std::fmt::Debug for Recording<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recording")
    }
}

/// Puts a batch of events into the outbox of each connector of their teams that is not revoked, wants activity and has
/// the event in scope, and wakes the writer of each connector that got one. Gives an answer for each event, in their
/// order.
///
/// The rows of a connector that takes no data wait until it does: its writer leaves them ([`crate::metadata_writer`]).
/// The writer is woken all the same, because the connector may have been enabled since the list was read.
///
/// The connectors of a team are read once, the rows of a connector put in one call, and its writer is woken once. A
/// row's key is the event's id, so doing it twice does it once.
///
/// # Errors
///
/// `ACTIVITY_UNAVAILABLE` for each event that did not reach every connector: its message goes back to the queue.
pub async fn record(recording: Recording<'_>, events: &[PublicActivity]) -> Vec<Result<(), StepError>> {
    let mut failures: Vec<Option<Arc<PortError>>> = events.iter().map(|_| None).collect();
    let mut fail = |places: &[usize], error: PortError| {
        let error = Arc::new(error);
        for place in places {
            if let Some(failure) = failures.get_mut(*place) {
                *failure = Some(Arc::clone(&error));
            }
        }
    };
    let mut waiting: BTreeMap<ConnectorId, Waiting> = BTreeMap::new();
    for (team, events) in by_team(events) {
        let connectors = match recording.runs.team_connectors(team).await {
            Ok(connectors) => connectors,
            Err(error) => {
                let places: Vec<usize> = events.iter().map(|(place, _)| *place).collect();
                fail(&places, error);
                continue;
            }
        };
        for connector in connectors.into_iter().filter(|connector| connector.activity_log) {
            let wanted = events.iter().filter(|(_, event)| event.is_in(&connector.workflows));
            for (place, event) in wanted {
                waiting.entry(connector.id.clone()).or_default().add(*place, event);
            }
        }
    }
    for (connector, Waiting { places, rows }) in waiting {
        let rows: Vec<WaitingRow> = rows.into_values().collect();
        if let Err(error) = hand_over(recording, &connector, &rows).await {
            fail(&places, error);
        }
    }
    failures.into_iter().map(|failure| failure.map_or(Ok(()), |error| Err(classify(error)))).collect()
}

/// The rows for one connector.
#[derive(Debug, Default)]
struct Waiting {
    /// Which events of the batch they are of.
    places: Vec<usize>,
    /// By key: a batch may hold two copies of a message, and the first counts, as it does in the outbox.
    rows: BTreeMap<String, WaitingRow>,
}

impl Waiting {
    fn add(&mut self, place: usize, event: &PublicActivity) {
        self.places.push(place);
        self.rows.entry(event.id().to_owned()).or_insert_with(|| event.row());
    }
}

fn by_team(events: &[PublicActivity]) -> BTreeMap<&TeamId, Vec<(usize, &PublicActivity)>> {
    let mut teams: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (place, event) in events.iter().enumerate() {
        teams.entry(event.team()).or_default().push((place, event));
    }
    teams
}

async fn hand_over(recording: Recording<'_>, connector: &ConnectorId, rows: &[WaitingRow]) -> Result<(), PortError> {
    recording.outbox.put(connector, MetadataTable::ActivityLog, rows, recording.clock.now()).await?;
    // The time after the rows are there: a wake that is made out to be earlier may be taken for one that is over.
    recording.waker.wake(connector, recording.clock.now()).await
}

fn classify(error: Arc<PortError>) -> StepError {
    // A denied or garbled answer is tried again too: the queue counts the receives, and its dead-letter queue keeps
    // the message for after the fix.
    let advice = match error.kind {
        PortErrorKind::Throttled | PortErrorKind::Unavailable => "the message will be tried again",
        PortErrorKind::NotFound | PortErrorKind::Denied | PortErrorKind::InvalidData => {
            "the message will be tried again; check the function's role and the state table"
        }
    };
    let message = format!("the event did not reach every connector's outbox; {advice}");
    StepError::caused(FailureCode::ActivityUnavailable, message, error)
}
