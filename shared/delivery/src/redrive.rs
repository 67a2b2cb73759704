//! Redriving after a fix: deliveries that failed or were left behind are started again, and dead-letter messages go back
//! to their queue, both at a limited rate.
//!
//! Both go page by page; what a page leaves behind is passed to the next one, so that a process may end at any point.
//! A page that is done twice starts nothing twice. A delivery that is started again goes on from its failed step,
//! because each step finds what was done: the manifest, the aimed version, the commit.

use std::collections::{BTreeMap, BTreeSet};

use crate::batch::Origin;
use crate::connector::{Connector, ConnectorState};
use crate::failure::{FailureCode, Phase, RetryClass, StepError};
use crate::ids::{ConnectorId, DeliveryKey, RunId, WorkflowId, sha256_hex};
use crate::ports::{
    ConnectorStore, DeadLetterQueue, DeliveryRestarter, DeliveryStore, PortError, PortErrorKind, UndeliveredDeliveries,
};
use crate::state::{DeliveryState, Step};
use crate::timestamp::Timestamp;

/// The highest rate of a redrive, in deliveries or messages a minute.
pub const RATE_PER_MINUTE_MAX: u32 = 600;

/// The rate of a redrive that says none, in deliveries or messages a minute.
pub const RATE_PER_MINUTE_DEFAULT: u32 = 60;

/// The most deliveries that one page looks at.
pub const EXAMINED_PER_PAGE_MAX: usize = 1_000;

/// The most connectors whose deliveries one page looks through.
pub const CONNECTORS_PER_PAGE_MAX: usize = 200;

/// The most pages of undelivered deliveries that are looked through for the oldest that is expected.
pub const OLDEST_PAGES_MAX: usize = 100;

/// The most messages of one page, as SQS has it.
pub const MESSAGES_PER_PAGE_MAX: usize = 10;

/// The most messages of one redrive that says no limit.
pub const MESSAGES_DEFAULT: u64 = 1_000;

/// The most messages of one redrive.
pub const MESSAGES_MAX: u64 = 10_000;

/// The longest that a redrive waits for messages that somebody received and neither took out nor showed again, in
/// seconds: longer than a receipt of the redrive's own hides them.
pub const HIDDEN_SECONDS_MAX: i64 = 90;

/// The most pages in a row that hold only messages that are newer than the redrive: behind them there may be older ones.
pub const NEWER_PAGES_MAX: u32 = 10;

/// How long one page leaves hidden messages before the next one looks, in seconds.
const HIDDEN_WAIT_SECONDS: u32 = 10;

/// Pages in a minute, as long as the rate allows: what is started then comes in equal parts.
const PAGES_PER_MINUTE: u32 = 6;

/// The longest that an execution of `DeliverRun` lives, in seconds: Step Functions ends it then. A delivery that came into
/// its state longer ago and is neither shared nor failed was left behind.
pub const EXECUTION_SECONDS_MAX: i64 = 3 * 60 * 60;

/// A delivery that is not shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// The delivery.
    pub key: DeliveryKey,
    /// Since when it is owed.
    pub since: Timestamp,
    /// Its state.
    pub state: DeliveryState,
    /// Why and when it failed, if it did.
    pub failed: Option<(FailureCode, Timestamp)>,
}

impl Undelivered {
    /// Its place in the list.
    #[must_use]
    pub fn position(&self) -> UndeliveredPosition {
        UndeliveredPosition {
            since: self.since,
            workflow: self.key.run.workflow.clone(),
            run: self.key.run.run.clone(),
        }
    }

    /// Whether the delivery is still expected: it has not failed, or failed with what passes, or is ours to mend. A
    /// delivery whose run was rejected is answered: its failure was told, and waiting does not change it.
    #[must_use]
    pub fn expected(&self) -> bool {
        self.failed.is_none_or(|(code, _)| code.class() != RetryClass::Rejected)
    }
}

/// A place in the list of a connector's deliveries that are not shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndeliveredPosition {
    /// Since when the delivery is owed.
    pub since: Timestamp,
    /// Its workflow.
    pub workflow: WorkflowId,
    /// Its run.
    pub run: RunId,
}

/// How often a delivery is started again for one stop. An execution that ends before the delivery's first step leaves
/// the delivery as it was, and the next redrive starts another.
pub const STARTS_PER_STOP_MAX: u32 = 50;

/// The execution's name of a delivery that is started again after it failed or was left behind at an instant, for the
/// first time, the second, …: another for another instant, 61 characters at most (Step Functions allows 80).
#[must_use]
pub fn restart_name(delivery: &DeliveryKey, stopped_at: Timestamp, start: u32) -> String {
    let (run, stopped_at, start) = (&delivery.run, stopped_at.to_string(), start.to_string());
    let ids = [delivery.connector.as_str(), run.team.as_str(), run.workflow.as_str(), run.run.as_str()];
    let parts: Vec<&str> = ids.into_iter().chain([stopped_at.as_str(), start.as_str()]).collect();
    let readable: String = run.run.as_str().chars().filter(|c| *c != '.').take(36).collect();
    let digits: String = sha256_hex(&parts).chars().take(16).collect();
    format!("redrive-{readable}-{digits}")
}

/// Since when the oldest delivery of a connector is owed that is still [expected](Undelivered::expected); `None` if none
/// is, or none among the first [`OLDEST_PAGES_MAX`] pages of those that wait longest.
///
/// # Errors
///
/// Returns the store's error.
pub async fn oldest_expected(
    deliveries: &dyn UndeliveredDeliveries,
    connector: &ConnectorId,
) -> Result<Option<Timestamp>, PortError> {
    let mut position = None;
    for _ in 0..OLDEST_PAGES_MAX {
        let waiting = deliveries.undelivered(connector, position.as_ref(), EXAMINED_PER_PAGE_MAX).await?;
        if let Some(expected) = waiting.iter().find(|delivery| delivery.expected()) {
            return Ok(Some(expected.since));
        }
        let Some(last) = waiting.last() else { return Ok(None) };
        position = Some(last.position());
    }
    Ok(None)
}

/// Which deliveries are started again: failed ones, and those that were left behind by an execution that ended without a
/// record of it. These count as interrupted in their step, at the instant at which they came into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// Only deliveries to this connector; `None`: to every one that takes data.
    pub connector: Option<ConnectorId>,
    /// Only failures of this phase.
    pub phase: Option<Phase>,
    /// Only failures with this code.
    pub code: Option<FailureCode>,
    /// Only failures at this instant or later.
    pub from: Option<Timestamp>,
    /// Only failures before this instant.
    pub to: Option<Timestamp>,
    /// Only deliveries of these workflows.
    pub workflows: Option<BTreeSet<WorkflowId>>,
    /// How many are started in a minute, 1 to [`RATE_PER_MINUTE_MAX`].
    pub rate_per_minute: u32,
    /// Whether anything is started.
    pub mode: RedriveMode,
    /// When the redrive began: a delivery that failed later has been started again meanwhile, and stays.
    pub begun_at: Timestamp,
}

/// Whether a redrive starts anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedriveMode {
    /// It does.
    Start,
    /// It counts what it would start.
    Count,
}

impl Redrive {
    fn takes(&self, delivery: &Undelivered, code: FailureCode, stopped_at: Timestamp) -> bool {
        stopped_at < self.begun_at
            && self.phase.is_none_or(|phase| phase == code.phase())
            && self.code.is_none_or(|wanted| wanted == code)
            && self.from.is_none_or(|from| stopped_at >= from)
            && self.to.is_none_or(|to| stopped_at < to)
            && self.workflows.as_ref().is_none_or(|workflows| workflows.contains(&delivery.key.run.workflow))
    }

    /// Why and when a delivery stopped; `None` if an execution may be at work on it.
    async fn stop(
        &self,
        records: &dyn DeliveryStore,
        delivery: &Undelivered,
    ) -> Result<Option<(FailureCode, Timestamp)>, PortError> {
        // What is owed for a shorter time was not left behind. What is owed for longer may have been started again.
        if delivery.failed.is_some() || !self.left_behind(delivery.since) {
            return Ok(delivery.failed);
        }
        let Some(record) = records.delivery(&delivery.key).await? else { return Ok(None) };
        let code = match record.state {
            DeliveryState::InProgress(step) => step.interrupted(),
            DeliveryState::Accepted => Step::Staging.interrupted(),
            DeliveryState::Shared | DeliveryState::Failed => return Ok(None),
        };
        Ok(self.left_behind(record.moved_at).then_some((code, record.moved_at)))
    }

    fn left_behind(&self, since: Timestamp) -> bool {
        since.plus_seconds(EXECUTION_SECONDS_MAX) < self.begun_at
    }
}

/// How far a redrive of deliveries is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Whose deliveries the next page begins with; `None`: the first connector's.
    pub connector: Option<ConnectorId>,
    /// Behind which delivery of this connector the next page begins.
    pub position: Option<UndeliveredPosition>,
    /// Deliveries that were looked at.
    pub examined: u64,
    /// Deliveries that the redrive takes, by code. Unless it only counts, each of them was started.
    pub matched: BTreeMap<FailureCode, u64>,
}

/// What redriving deliveries needs of the world.
#[derive(Clone, Copy)]
pub struct Redriving<'a> {
    /// Where the connector is kept.
    pub connectors: &'a dyn ConnectorStore,
    /// Which deliveries are not shared.
    pub deliveries: &'a dyn UndeliveredDeliveries,
    /// The deliveries' own records.
    pub records: &'a dyn DeliveryStore,
    /// What starts a delivery again.
    pub restarter: &'a dyn DeliveryRestarter,
}

impl std::fmt::Debug for Redriving<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redriving")
    }
}

/// What follows a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// Another page, so many seconds later.
    Page {
        /// The seconds, 1 or more.
        wait_seconds: u32,
    },
    /// Nothing.
    Done,
}

/// Starts the next deliveries of a redrive again, as many as the rate allows for one page, each for what it was made for.
///
/// # Errors
///
/// `CONNECTOR_NOT_FOUND`, `CONNECTOR_NOT_READY`, `CONNECTOR_DISABLED` or `CONNECTOR_REVOKED` if the connector that is
/// named takes no data; `REDRIVE_UNAVAILABLE` or `REDRIVE_DENIED` if the state table or Step Functions did not do it.
pub async fn redrive_page(
    ports: Redriving<'_>,
    redrive: &Redrive,
    before: Redriven,
) -> Result<(Redriven, Next), StepError> {
    let mut now = before;
    let mut page = Page {
        starts_left: match redrive.mode {
            RedriveMode::Start => per_page(redrive.rate_per_minute),
            RedriveMode::Count => usize::MAX,
        },
        examined_left: EXAMINED_PER_PAGE_MAX,
        started: 0,
    };
    let connectors = match &redrive.connector {
        Some(connector) => vec![connector.clone()],
        None => ports.connectors.connectors().await.map_err(classify)?,
    };
    let first = now.connector.clone();
    let rest = connectors.into_iter().filter(|id| first.as_ref().is_none_or(|first| first <= id));
    for (visited, id) in rest.enumerate() {
        if now.connector.as_ref() != Some(&id) {
            (now.connector, now.position) = (Some(id.clone()), None);
        }
        if visited == CONNECTORS_PER_PAGE_MAX {
            return Ok((now, page.next(redrive)));
        }
        let Some(connector) = taking_data(ports.connectors, redrive, &id).await? else { continue };
        if !page.redrive(ports, redrive, &connector, &mut now).await? {
            return Ok((now, page.next(redrive)));
        }
    }
    Ok((now, Next::Done))
}

/// A connector, if it takes data. One that is named and takes none is a failure.
async fn taking_data(
    connectors: &dyn ConnectorStore,
    redrive: &Redrive,
    id: &ConnectorId,
) -> Result<Option<Connector>, StepError> {
    let found = connectors.connector(id).await.map_err(classify)?;
    let refusal = match &found {
        Some(connector) => refusal(connector.state),
        None => Some(StepError::new(FailureCode::ConnectorNotFound, "the connector does not exist")),
    };
    match refusal {
        None => Ok(found),
        Some(_) if redrive.connector.is_none() => Ok(None),
        Some(refusal) => Err(refusal),
    }
}

/// What is left to do in one page.
struct Page {
    starts_left: usize,
    examined_left: usize,
    started: usize,
}

impl Page {
    /// The page behind this one.
    fn next(&self, redrive: &Redrive) -> Next {
        let wait_seconds = match redrive.mode {
            RedriveMode::Start => wait_seconds(self.started, redrive.rate_per_minute),
            RedriveMode::Count => 1,
        };
        Next::Page { wait_seconds }
    }

    /// Goes on with a connector's deliveries; `false` if some are left for the next page.
    async fn redrive(
        &mut self,
        ports: Redriving<'_>,
        redrive: &Redrive,
        connector: &Connector,
        now: &mut Redriven,
    ) -> Result<bool, StepError> {
        let wanted = self.examined_left;
        let waiting = ports.deliveries.undelivered(&connector.id, now.position.as_ref(), wanted);
        let waiting = waiting.await.map_err(classify)?;
        for delivery in &waiting {
            let stop = redrive.stop(ports.records, delivery).await.map_err(classify)?;
            // What is not in scope any more is not owed any more.
            let owed = |_: &_| connector.workflows.contains(&delivery.key.run.workflow);
            let taken = stop.filter(|(code, at)| redrive.takes(delivery, *code, *at)).filter(owed);
            if let Some((code, stopped_at)) = taken {
                if self.starts_left == 0 {
                    return Ok(false);
                }
                if redrive.mode == RedriveMode::Start {
                    let record = ports.records.delivery(&delivery.key).await.map_err(classify)?;
                    let origin = record.map_or(Origin::Live, |record| record.origin);
                    ports.restarter.start_again(&delivery.key, origin, stopped_at).await.map_err(classify)?;
                }
                self.starts_left -= 1;
                self.started += 1;
                *now.matched.entry(code).or_default() += 1;
            }
            now.examined += 1;
            now.position = Some(delivery.position());
            self.examined_left -= 1;
        }
        Ok(waiting.len() < wanted)
    }
}

/// Why a connector in a state takes no data, if so.
fn refusal(state: ConnectorState) -> Option<StepError> {
    let (code, message) = match state {
        ConnectorState::Ready | ConnectorState::Backfilling | ConnectorState::Active => return None,
        ConnectorState::Provisioning => {
            (FailureCode::ConnectorNotReady, "the connector is not set up; start SetupConnector first")
        }
        ConnectorState::Disabled => (FailureCode::ConnectorDisabled, "the connector is disabled; enable it first"),
        ConnectorState::Revoked => (FailureCode::ConnectorRevoked, "the connector is revoked; set it up anew first"),
    };
    Some(StepError::new(code, message))
}

/// How many are started in one page.
fn per_page(rate_per_minute: u32) -> usize {
    usize::try_from((rate_per_minute / PAGES_PER_MINUTE).max(1)).unwrap_or(1)
}

/// How long what was started in one page lasts at a rate, in whole seconds and at least one.
fn wait_seconds(started: usize, rate_per_minute: u32) -> u32 {
    let started = u32::try_from(started).unwrap_or(u32::MAX);
    started.saturating_mul(60).div_ceil(rate_per_minute.max(1)).max(1)
}

/// A message of a dead-letter queue.
#[derive(Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// What the queue knows this receipt of it by.
    pub receipt: String,
    /// The message's id.
    pub id: String,
    /// Its group, if the queue has groups.
    pub group: Option<String>,
    /// The body, as it came.
    pub body: String,
    /// When it was sent.
    pub sent_at: Timestamp,
}

impl std::fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetter").field("id", &self.id).field("sent_at", &self.sent_at).finish_non_exhaustive()
    }
}

/// How many messages a queue holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Messages that can be received.
    pub visible: u64,
    /// Messages that somebody received, who has neither taken them out nor shown them again.
    pub hidden: u64,
}

/// How messages are sent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRedrive {
    /// The most messages, 1 to [`MESSAGES_MAX`].
    pub limit: u64,
    /// How many are sent in a minute, 1 to [`RATE_PER_MINUTE_MAX`].
    pub rate_per_minute: u32,
    /// When the redrive began: a message that was sent later has failed again meanwhile, and stays.
    pub begun_at: Timestamp,
}

/// How far a redrive of messages is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MessagesRedriven {
    /// Messages that were sent back.
    pub sent: u64,
    /// Since when every message that is left is hidden; `None` if some were not.
    pub hidden_since: Option<Timestamp>,
    /// Pages in a row that held only newer messages, while there was more in the queue than they held.
    pub newer_pages: u32,
}

/// Sends the next messages of a dead-letter queue back, as many as the rate allows for one page. A message leaves the
/// dead-letter queue behind its copy: it may be sent twice and is never lost. What a process had received that ended is
/// hidden for a while: it is waited for. A page of newer messages only is the last one if the queue holds no others, or
/// after [`NEWER_PAGES_MAX`] such pages in a row.
///
/// # Errors
///
/// `REDRIVE_UNAVAILABLE` or `REDRIVE_DENIED` if a queue did not do it before any message of the page was sent.
pub async fn redrive_messages_page(
    queue: &dyn DeadLetterQueue,
    redrive: &MessageRedrive,
    before: MessagesRedriven,
    now: Timestamp,
) -> Result<(MessagesRedriven, Next), StepError> {
    let left = usize::try_from(redrive.limit.saturating_sub(before.sent)).unwrap_or(usize::MAX);
    let page_max = per_page(redrive.rate_per_minute).min(MESSAGES_PER_PAGE_MAX).min(left);
    if page_max == 0 {
        return Ok((before, Next::Done));
    }
    let letters = queue.receive(page_max).await.map_err(classify)?;
    if letters.is_empty() {
        return wait_for_hidden(queue, before, now).await;
    }
    let (older, newer): (Vec<_>, Vec<_>) = letters.into_iter().partition(|letter| letter.sent_at < redrive.begun_at);
    let mut sent = 0;
    for letter in &older {
        if let Err(error) = send_back(queue, letter).await {
            // What was sent is kept; the next page meets the failure first, if it is still there.
            if sent == 0 {
                return Err(classify(error));
            }
            break;
        }
        sent += 1;
    }
    let mut after = MessagesRedriven { sent: before.sent + sent, ..MessagesRedriven::default() };
    let next = if older.is_empty() {
        let depth = queue.depth().await.map_err(classify)?;
        if depth.visible + depth.hidden > newer.len() as u64 {
            after.newer_pages = before.newer_pages + 1;
        }
        if (1..NEWER_PAGES_MAX).contains(&after.newer_pages) { Next::Page { wait_seconds: 1 } } else { Next::Done }
    } else if after.sent >= redrive.limit {
        Next::Done
    } else {
        let started = usize::try_from(sent).unwrap_or(usize::MAX);
        Next::Page { wait_seconds: wait_seconds(started, redrive.rate_per_minute) }
    };
    // Behind a page of newer messages only there may be others: it stays hidden, so that the next page holds them.
    if next == Next::Done || !older.is_empty() {
        for letter in &newer {
            if queue.release(letter).await.is_err() {
                // They come out by themselves; what was sent is kept.
                break;
            }
        }
    }
    Ok((after, next))
}

/// Nothing can be received: the redrive is done, unless messages are hidden that may be seen again.
async fn wait_for_hidden(
    queue: &dyn DeadLetterQueue,
    before: MessagesRedriven,
    now: Timestamp,
) -> Result<(MessagesRedriven, Next), StepError> {
    let since = before.hidden_since.unwrap_or(now);
    if queue.depth().await.map_err(classify)?.hidden == 0 {
        return Ok((MessagesRedriven { hidden_since: None, ..before }, Next::Done));
    }
    let waited = now.seconds().saturating_sub(since.seconds());
    let next = if waited > HIDDEN_SECONDS_MAX { Next::Done } else { Next::Page { wait_seconds: HIDDEN_WAIT_SECONDS } };
    Ok((MessagesRedriven { hidden_since: Some(since), ..before }, next))
}

async fn send_back(queue: &dyn DeadLetterQueue, letter: &DeadLetter) -> Result<(), PortError> {
    queue.send_back(letter).await?;
    queue.remove(letter).await
}

fn classify(error: PortError) -> StepError {
    match error.kind {
        PortErrorKind::Throttled | PortErrorKind::Unavailable => StepError::caused(
            FailureCode::RedriveUnavailable,
            "a service did not answer; the page is tried again",
            error,
        ),
        PortErrorKind::Denied | PortErrorKind::NotFound | PortErrorKind::InvalidData => StepError::caused(
            FailureCode::RedriveDenied,
            "a service refused the redrive; check the function's role and the cause in its log",
            error,
        ),
    }
}
