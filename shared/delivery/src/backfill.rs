//! Backfill: a team's history to one connector, through the same deliveries as live runs.
//!
//! The run-output bucket is looked through first: what lies there and is not recorded is recorded ([`find`]). Then the
//! recorded runs are planned, workflow by workflow in the order in which they finished ([`plan`]), delivered in batches
//! by the state machine, and asked after ([`settle`]). Activity comes last ([`deliver_activity`]). Each is a page at a
//! time, so that memory does not grow with history, and a page that is done again does no harm: what is shared is
//! passed over, so a backfill that was stopped goes on by starting again.
//!
//! Knows no storage and no state machine.

mod activity;
mod find;
mod plan;

use std::collections::BTreeSet;

pub use activity::{ActivityPorts, ActivityRecorded, deliver_activity};
pub use find::{FOLDERS_MAX, Found, find};
pub use plan::{BATCH_BYTES_MAX, PAGE_RUNS_MAX, PlanPorts, Planned, Settled, plan, settle};

use crate::connector::{Connector, ConnectorState, Scope};
use crate::failure::{FailureCode, RetryClass, StepError};
use crate::ids::{ConnectorId, RunId, TeamId, WorkflowId, sha256_hex};
use crate::lifecycle::{Action, Actor, AuditEntry, Changed};
use crate::ports::{Clock, ConnectorStore, PortError, PortErrorKind, RolloutStore};
use crate::timestamp::Timestamp;

/// How long before a connector was disabled a run may have been recorded that it missed, in seconds: who records a run
/// may have read the connector's state before.
pub const MISSED_MARGIN_SECONDS: i64 = 15 * 60;

/// The newest entries of the audit that the end of a catch-up looks at.
const AUDIT_ENTRIES_MAX: usize = 100;

/// Names one backfill: its execution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackfillId(String);

impl BackfillId {
    /// The backfill of an execution. The name of an execution may have characters that an object's key should not.
    #[must_use]
    pub fn of_execution(arn: &str) -> Self {
        let name = arn.rsplit(':').next().unwrap_or(arn);
        let plain = !name.is_empty()
            && name.len() <= 80
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        Self(if plain { name.to_owned() } else { sha256_hex(&[name]).chars().take(32).collect() })
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a backfill was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An operator asked for it.
    Operator,
    /// The connector's first live delivery was proven.
    Rollout,
    /// The connector was enabled again.
    CatchUp,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The connector.
    pub connector: ConnectorId,
    /// What for.
    pub purpose: Purpose,
    /// Only these workflows.
    pub workflows: Option<BTreeSet<WorkflowId>>,
    /// Only what finished, or happened, at this time or later.
    pub from: Option<Timestamp>,
    /// Only what finished, or happened, before this time.
    pub to: Option<Timestamp>,
}

impl Request {
    fn is_narrowed(&self) -> bool {
        self.workflows.is_some() || self.from.is_some() || self.to.is_some()
    }
}

/// What a backfill does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Looks through the run-output bucket.
    Find,
    /// Plans and delivers recorded runs.
    Deliver,
    /// Delivers activity.
    Activity,
    /// Everything is done but the report.
    Finish,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 4] = [Self::Find, Self::Deliver, Self::Activity, Self::Finish];

    /// The phase's stable text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Find => "find",
            Self::Deliver => "deliver",
            Self::Activity => "activity",
            Self::Finish => "finish",
        }
    }
}

/// What did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillFailure {
    /// The workflow, if it is known.
    pub workflow: Option<WorkflowId>,
    /// The run, if it is known.
    pub run: Option<RunId>,
    /// Where it lies, if it is an object or a line.
    pub place: Option<String>,
    /// Why.
    pub code: FailureCode,
}

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// What a backfill counts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counts {
            /// Both together.
            #[must_use]
            pub fn plus(self, other: Self) -> Self {
                Self { $($name: self.$name.saturating_add(other.$name),)+ }
            }

            /// Every count with its name.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)+]
            }
        }
    };
}

counts! {
    /// Runs of the run-output bucket that were recorded by this backfill.
    found,
    /// Runs of the run-output bucket that are not finished.
    unfinished,
    /// Runs in batches.
    planned,
    /// Batches.
    batches,
    /// Runs that had arrived before.
    already_shared,
    /// Planned runs that arrived.
    delivered,
    /// What did not arrive: runs, planned or not, and messages of the history.
    failed,
    /// Activity events in the connector's outbox.
    activity_events,
    /// Lines of the activity history that are no events of the team.
    activity_refused,
}

/// What a backfill covers.
#[derive(Debug, Clone, PartialEq)]
pub struct Coverage {
    /// The connector.
    pub connector: ConnectorId,
    /// Its team.
    pub team: TeamId,
    /// Its scope, narrowed.
    pub workflows: Scope,
    /// See [`Request::from`].
    pub from: Option<Timestamp>,
    /// See [`Request::to`].
    pub to: Option<Timestamp>,
    /// Only what was announced since, and deliveries that failed because the connector was disabled.
    pub missed_since: Option<Timestamp>,
    /// Whether the connector takes activity.
    pub activity: bool,
}

impl Coverage {
    pub(crate) fn takes_time(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| at >= from) && self.to.is_none_or(|to| at < to)
    }
}

/// A backfill that began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beginning {
    /// What it does first.
    pub begun: Begun,
    /// The revision of the connector's record that it began with.
    pub revision: u64,
}

/// How a backfill begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// With the history in the run-output bucket.
    WithHistory,
    /// With the runs that the connector missed since this time.
    WithMissed(Timestamp),
    /// There is nothing to do.
    Done,
}

/// Begins a backfill. A rollout's moves its connector on: `ready` becomes `backfilling`, or `active` if history is not
/// wanted. If that is disabled, its rollout begins when it is enabled. Beginning again is harmless.
///
/// # Errors
///
/// Refuses a connector that takes no data; one whose live deliveries failed (`BACKFILL_NOT_PROVEN`); workflows out of
/// its scope (`BACKFILL_INVALID`).
pub async fn begin(
    connectors: &dyn ConnectorStore,
    rollouts: &dyn RolloutStore,
    clock: &dyn Clock,
    request: &Request,
    actor: &Actor,
) -> Result<Beginning, StepError> {
    let connector = found(connectors, &request.connector).await?;
    if (request.purpose, connector.state) == (Purpose::Rollout, ConnectorState::Disabled) {
        return postpone(connectors, clock, &connector, actor).await;
    }
    check_takes_data(&connector)?;
    coverage_of(&connector, request, None)?;
    // A rollout is begun by a proven live delivery.
    let waits = connector.state == ConnectorState::Ready && request.purpose != Purpose::Rollout;
    if waits && rollouts.live_failure(&connector.id).await.map_err(classify)?.is_some() {
        return Err(StepError::new(
            FailureCode::BackfillNotProven,
            "no live delivery of this connector is proven; have one delivered first, see the code of the failed one",
        ));
    }
    let mut revision = connector.revision;
    let begun = match (request.purpose, connector.state) {
        (Purpose::Rollout, ConnectorState::Ready) => {
            let (state, action) = connector.proven();
            let begun = if connector.backfill { Begun::WithHistory } else { Begun::Done };
            let moved = connector.moved(state);
            change(connectors, clock, &connector, &moved, action, actor).await?;
            revision = moved.revision;
            begun
        }
        (Purpose::Rollout, ConnectorState::Active) => Begun::Done,
        // The whole of history holds what was missed.
        (Purpose::CatchUp, ConnectorState::Backfilling) => Begun::WithHistory,
        (Purpose::CatchUp, _) => connector.missed_since.map_or(Begun::Done, Begun::WithMissed),
        (Purpose::Rollout | Purpose::Operator, _) => Begun::WithHistory,
    };
    Ok(Beginning { begun, revision })
}

/// Notes on a disabled connector that its rollout is to begin: the catch-up behind its enabling is the whole history then.
async fn postpone(
    connectors: &dyn ConnectorStore,
    clock: &dyn Clock,
    connector: &Connector,
    actor: &Actor,
) -> Result<Beginning, StepError> {
    if let Some(proven) = connector.proven_while_disabled() {
        let (_, action) = connector.proven();
        change(connectors, clock, connector, &proven, action, actor).await?;
    }
    Ok(Beginning { begun: Begun::Done, revision: connector.revision })
}

/// The state of a connector, for the report of a backfill that had nothing to do: it moves no connector on.
///
/// # Errors
///
/// As [`begin`], of a connector that is not there.
pub async fn state_of(connectors: &dyn ConnectorStore, id: &ConnectorId) -> Result<ConnectorState, StepError> {
    Ok(found(connectors, id).await?.state)
}

/// What a backfill covers, by its connector as it is now. Each page asks: a connector that was disabled meanwhile gets
/// no further page.
///
/// # Errors
///
/// As [`begin`].
pub async fn coverage(
    connectors: &dyn ConnectorStore,
    request: &Request,
    missed_since: Option<Timestamp>,
) -> Result<Coverage, StepError> {
    let connector = taking(connectors, &request.connector).await?;
    coverage_of(&connector, request, missed_since)
}

fn coverage_of(
    connector: &Connector,
    request: &Request,
    missed_since: Option<Timestamp>,
) -> Result<Coverage, StepError> {
    let workflows = match &request.workflows {
        None => connector.workflows.clone(),
        Some(wanted) => {
            if !wanted.iter().all(|workflow| connector.workflows.contains(workflow)) {
                return Err(StepError::new(
                    FailureCode::BackfillInvalid,
                    "workflows names one that the connector does not take; set the connector up with it first",
                ));
            }
            Scope::Only(wanted.clone())
        }
    };
    Ok(Coverage {
        connector: connector.id.clone(),
        team: connector.team.clone(),
        workflows,
        from: request.from,
        to: request.to,
        missed_since: missed_since.map(|since| since.plus_seconds(-MISSED_MARGIN_SECONDS)),
        activity: connector.activity_log,
    })
}

/// Ends a backfill: a connector that was `backfilling` is `active` once all of its history was gone through, and what
/// it missed while it was disabled is no longer missing, unless a catch-up left something that may still pass, or it was
/// disabled behind the revision that the backfill began with. Ending again is harmless. Returns the connector's state.
///
/// # Errors
///
/// Refuses a connector that takes no data any more; `BACKFILL_CONFLICT` if it changes at this moment.
pub async fn finish(
    connectors: &dyn ConnectorStore,
    clock: &dyn Clock,
    request: &Request,
    begun_with: u64,
    left: Left,
    actor: &Actor,
) -> Result<ConnectorState, StepError> {
    let mut connector = taking(connectors, &request.connector).await?;
    if request.is_narrowed() {
        return Ok(connector.state);
    }
    if connector.missed_since.is_some() && !disabled_since(connectors, &connector.id, begun_with).await? {
        let done = if request.purpose == Purpose::CatchUp {
            left == Left::Nothing
        } else {
            connector.state == ConnectorState::Backfilling
        };
        if done {
            let caught_up = Connector { missed_since: None, ..connector.moved(connector.state) };
            change(connectors, clock, &connector, &caught_up, Action::CatchUp, actor).await?;
            connector = caught_up;
        }
    }
    if connector.state == ConnectorState::Backfilling && connector.missed_since.is_none() {
        let active = connector.moved(ConnectorState::Active);
        change(connectors, clock, &connector, &active, Action::Activate, actor).await?;
        connector = active;
    }
    Ok(connector.state)
}

/// What a backfill left behind that another one may bring: what failed and was not rejected for what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Everything arrived, or was refused for good.
    Nothing,
    /// Something may pass when it is tried again.
    Some,
}

impl Left {
    /// What these failures leave.
    #[must_use]
    pub fn by(failures: &[BackfillFailure]) -> Self {
        let may_pass = |failure: &BackfillFailure| failure.code.class() != RetryClass::Rejected;
        if failures.iter().any(may_pass) { Self::Some } else { Self::Nothing }
    }
}

/// Whether the connector was disabled behind a revision: what it missed then is the next catch-up's. So many changes
/// that the audit is not read back to the revision may hold a disabling, too.
async fn disabled_since(connectors: &dyn ConnectorStore, id: &ConnectorId, revision: u64) -> Result<bool, StepError> {
    let audit = connectors.audit(id, AUDIT_ENTRIES_MAX).await.map_err(classify)?;
    let unread = audit.first().is_some_and(|oldest| oldest.revision > revision + 1);
    Ok(unread || audit.iter().any(|change| change.revision > revision && change.entry.action == Action::Disable))
}

async fn taking(connectors: &dyn ConnectorStore, id: &ConnectorId) -> Result<Connector, StepError> {
    let connector = found(connectors, id).await?;
    check_takes_data(&connector)?;
    Ok(connector)
}

async fn found(connectors: &dyn ConnectorStore, id: &ConnectorId) -> Result<Connector, StepError> {
    let missing =
        || StepError::new(FailureCode::ConnectorNotFound, "the connector does not exist; start SetupConnector first");
    connectors.connector(id).await.map_err(classify)?.ok_or_else(missing)
}

fn check_takes_data(connector: &Connector) -> Result<(), StepError> {
    let refused = |code, message: &str| Err(StepError::new(code, message));
    match connector.state {
        ConnectorState::Ready | ConnectorState::Backfilling | ConnectorState::Active => Ok(()),
        ConnectorState::Provisioning => refused(
            FailureCode::ConnectorNotReady,
            "the connector is not set up to its end; start SetupConnector again with the same input",
        ),
        ConnectorState::Disabled => {
            refused(FailureCode::ConnectorDisabled, "the connector is disabled; start EnableConnector first")
        }
        ConnectorState::Revoked => {
            refused(FailureCode::ConnectorRevoked, "the connector is revoked; it can only be set up anew")
        }
    }
}

async fn change(
    connectors: &dyn ConnectorStore,
    clock: &dyn Clock,
    before: &Connector,
    after: &Connector,
    action: Action,
    actor: &Actor,
) -> Result<(), StepError> {
    let entry = AuditEntry { at: clock.now(), action, actor: actor.clone() };
    match connectors.change_connector(Some(before), after, &entry).await.map_err(classify)? {
        Changed::Now => Ok(()),
        Changed::Outdated => Err(StepError::new(
            FailureCode::BackfillConflict,
            "the connector was changed by somebody else at this moment; the step begins again",
        )),
    }
}

/// The failure of a port while history is planned.
#[must_use]
pub fn classify(error: PortError) -> StepError {
    let (code, message) = match error.kind {
        PortErrorKind::Denied => {
            (FailureCode::BackfillDenied, "history could not be planned: the function's role lacks a permission")
        }
        PortErrorKind::InvalidData | PortErrorKind::NotFound => (
            FailureCode::BackfillCorrupt,
            "history could not be planned: something that is stored cannot be read; start a new backfill",
        ),
        PortErrorKind::Throttled | PortErrorKind::Unavailable => (
            FailureCode::BackfillUnavailable,
            "history could not be planned: storage, the state table or a queue did not answer; it is tried again",
        ),
    };
    StepError::caused(code, message, error)
}
