//! The inputs of `RedriveDeliveries` and `RedriveMessages`, an operator's words checked property by property, and what
//! their pages leave behind.

use std::collections::{BTreeMap, BTreeSet};

use delivery::failure::{FailureCode, Phase, StepError};
use delivery::ids::{ConnectorId, RunId, WorkflowId};
use delivery::redrive::{
    MESSAGES_DEFAULT, MESSAGES_MAX, MessageRedrive, MessagesRedriven, Next, RATE_PER_MINUTE_DEFAULT,
    RATE_PER_MINUTE_MAX, Redrive, RedriveMode, Redriven, UndeliveredPosition,
};
use delivery::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::property::Properties;
use crate::setup::WORKFLOWS_MAX;
use crate::text;

const DELIVERY_PROPERTIES: [&str; 9] =
    ["connectorId", "phase", "code", "from", "to", "workflows", "ratePerMinute", "dryRun", "requestedBy"];

const MESSAGE_PROPERTIES: [&str; 4] = ["queue", "limit", "ratePerMinute", "requestedBy"];

/// A dead-letter queue by the name of what it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeadLetters {
    /// Run-completed messages.
    RunCompleted,
    /// Activity messages.
    Activity,
    /// Wakes of the metadata writer.
    Metadata,
    /// Asks for maintenance.
    Maintenance,
}

impl DeadLetters {
    /// Every queue.
    pub const ALL: [Self; 4] = [Self::RunCompleted, Self::Activity, Self::Metadata, Self::Maintenance];

    /// The queue's name in a redrive's input.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RunCompleted => "runCompleted",
            Self::Activity => "activity",
            Self::Metadata => "metadata",
            Self::Maintenance => "maintenance",
        }
    }
}

/// Input of the task `RedriveDeliveries`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RedriveDeliveriesInput {
    /// The execution's input.
    pub command: Value,
    /// What the page before left.
    pub progress: DeliveriesProgress,
}

/// How far a redrive of deliveries is, between its pages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveriesProgress {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<PositionForm>,
    #[serde(default)]
    examined: u64,
    #[serde(default)]
    by_code: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PositionForm {
    #[serde(with = "text::one")]
    since: Timestamp,
    #[serde(with = "text::one")]
    workflow_id: WorkflowId,
    #[serde(with = "text::one")]
    run_id: RunId,
}

/// What a redrive did, for its operator.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveriesReport {
    #[serde(with = "text::one")]
    connector_id: ConnectorId,
    dry_run: bool,
    examined: u64,
    matched: u64,
    started: u64,
    by_code: BTreeMap<String, u64>,
    next: String,
}

/// Output of a task that does one page.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PageDone<P, R> {
    /// What the next page is given.
    pub progress: P,
    /// Whether there is a next page.
    pub more: bool,
    /// Seconds until the next page, 1 or more.
    pub wait_seconds: u32,
    /// What was done until now.
    pub report: R,
}

impl<P, R> PageDone<P, R> {
    fn of(next: Next, progress: P, report: R) -> Self {
        let (more, wait_seconds) = match next {
            Next::Page { wait_seconds } => (true, wait_seconds),
            Next::Done => (false, 1),
        };
        Self { progress, more, wait_seconds, report }
    }
}

/// What a page of deliveries leaves behind.
#[must_use]
pub fn deliveries_page(
    redrive: &Redrive,
    redriven: &Redriven,
    next: Next,
) -> PageDone<DeliveriesProgress, DeliveriesReport> {
    let by_code: BTreeMap<_, _> =
        redriven.matched.iter().map(|(code, count)| (code.as_str().to_owned(), *count)).collect();
    let matched = by_code.values().sum();
    let dry_run = redrive.mode == RedriveMode::Count;
    let advice = match (matched, dry_run) {
        (0, _) => "nothing to do: no failed delivery of the connector is what was asked for",
        (_, true) => "start it without dryRun to start these deliveries again",
        (_, false) => {
            "each delivery is an execution of DeliverRun now; what fails again is a failed delivery again, and a \
             redrive with from set to this one's start finds it"
        }
    };
    let report = DeliveriesReport {
        connector_id: redrive.connector.clone(),
        dry_run,
        examined: redriven.examined,
        matched,
        started: if dry_run { 0 } else { matched },
        by_code: by_code.clone(),
        next: advice.to_owned(),
    };
    let position = redriven.position.as_ref().map(|position| PositionForm {
        since: position.since,
        workflow_id: position.workflow.clone(),
        run_id: position.run.clone(),
    });
    PageDone::of(next, DeliveriesProgress { position, examined: redriven.examined, by_code }, report)
}

impl From<DeliveriesProgress> for Redriven {
    /// A code that this program does not know any more is left out of the counts.
    fn from(progress: DeliveriesProgress) -> Self {
        let known = |(code, count): (String, u64)| FailureCode::parse(&code).map(|code| (code, count));
        Self {
            position: progress.position.map(|position| UndeliveredPosition {
                since: position.since,
                workflow: position.workflow_id,
                run: position.run_id,
            }),
            examined: progress.examined,
            matched: progress.by_code.into_iter().filter_map(known).collect(),
        }
    }
}

/// Reads the input of `RedriveDeliveries`. A property that is not known is refused: a narrowing that is misspelt would
/// start more than was meant.
///
/// # Errors
///
/// `REDRIVE_INVALID` with the path of the property.
pub fn deliveries(input: &Value) -> Result<Redrive, StepError> {
    let input = known_properties(input, &DELIVERY_PROPERTIES)?;
    let connector = ConnectorId::new(input.string("connectorId")?)
        .map_err(|error| StepError::new(FailureCode::RedriveInvalid, error.to_string()))?;
    let phase = read(&input, "phase", "must be the phase of a failure, such as share", Phase::parse)?;
    let code = read(&input, "code", "must be a failure code, such as SHARE_UNAVAILABLE", FailureCode::parse)?;
    let from = read(&input, "from", "must be an RFC 3339 time", Timestamp::parse)?;
    let to = read(&input, "to", "must be an RFC 3339 time", Timestamp::parse)?;
    if from.zip(to).is_some_and(|(from, to)| from >= to) {
        return Err(input.refuse("to", "must be later than from"));
    }
    input.optional_string("requestedBy")?;
    let mode = if input.flag("dryRun", false)? { RedriveMode::Count } else { RedriveMode::Start };
    let workflows = workflows(&input)?;
    Ok(Redrive { connector, phase, code, from, to, workflows, rate_per_minute: rate(&input)?, mode })
}

fn known_properties<'a>(input: &'a Value, known: &[&str]) -> Result<Properties<'a>, StepError> {
    let Value::Object(input) = input else {
        return Err(StepError::new(FailureCode::RedriveInvalid, "the input must be a JSON object"));
    };
    let properties = Properties::of(input, FailureCode::RedriveInvalid);
    if input.keys().any(|name| !known.contains(&name.as_str())) {
        let message = format!("the input has a property that is none of {}", known.join(", "));
        return Err(StepError::new(FailureCode::RedriveInvalid, message));
    }
    Ok(properties)
}

fn read<T>(
    input: &Properties<'_>,
    name: &str,
    problem: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, StepError> {
    let text = input.optional_string(name)?;
    text.map(|text| parse(text).ok_or_else(|| input.refuse(name, problem))).transpose()
}

fn rate(input: &Properties<'_>) -> Result<u32, StepError> {
    input
        .optional_integer("ratePerMinute")?
        .map_or(Some(RATE_PER_MINUTE_DEFAULT), |rate| u32::try_from(rate).ok())
        .filter(|rate| (1..=RATE_PER_MINUTE_MAX).contains(rate))
        .ok_or_else(|| input.refuse("ratePerMinute", &format!("must be 1 to {RATE_PER_MINUTE_MAX}")))
}

fn workflows(input: &Properties<'_>) -> Result<Option<BTreeSet<WorkflowId>>, StepError> {
    if input.get("workflows").is_none() {
        return Ok(None);
    }
    let listed = input.array("workflows")?;
    if listed.is_empty() || listed.len() > WORKFLOWS_MAX {
        return Err(input.refuse("workflows", &format!("must have 1 to {WORKFLOWS_MAX} elements")));
    }
    let one = |(index, value): (usize, &Value)| {
        let id = value.as_str().and_then(|text| WorkflowId::new(text).ok());
        id.ok_or_else(|| input.refuse(&format!("workflows[{index}]"), "must be a workflow id"))
    };
    listed.iter().enumerate().map(one).collect::<Result<_, _>>().map(Some)
}

/// Input of the task `RedriveMessages`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RedriveMessagesInput {
    /// The execution's input.
    pub command: Value,
    /// What the page before left.
    pub progress: MessagesProgress,
}

/// How far a redrive of messages is, between its pages.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessagesProgress {
    #[serde(with = "text::one")]
    begun_at: Timestamp,
    #[serde(default)]
    sent: u64,
}

/// What a redrive of messages did, for its operator.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessagesReport {
    queue: &'static str,
    sent: u64,
    next: String,
}

/// Reads the input of `RedriveMessages`: which queue, and how.
///
/// # Errors
///
/// `REDRIVE_INVALID` with the path of the property.
pub fn messages(input: &RedriveMessagesInput) -> Result<(DeadLetters, MessageRedrive, MessagesRedriven), StepError> {
    let command = known_properties(&input.command, &MESSAGE_PROPERTIES)?;
    let named = command.string("queue")?;
    let queue = DeadLetters::ALL
        .into_iter()
        .find(|queue| queue.as_str() == named)
        .ok_or_else(|| command.refuse("queue", "must be runCompleted, activity, metadata or maintenance"))?;
    let limit = command.optional_integer("limit")?.unwrap_or(MESSAGES_DEFAULT);
    if !(1..=MESSAGES_MAX).contains(&limit) {
        return Err(command.refuse("limit", &format!("must be 1 to {MESSAGES_MAX}")));
    }
    command.optional_string("requestedBy")?;
    let redrive = MessageRedrive { limit, rate_per_minute: rate(&command)?, begun_at: input.progress.begun_at };
    Ok((queue, redrive, MessagesRedriven { sent: input.progress.sent }))
}

/// What a page of messages leaves behind.
#[must_use]
pub fn messages_page(
    queue: DeadLetters,
    redrive: &MessageRedrive,
    redriven: MessagesRedriven,
    next: Next,
) -> PageDone<MessagesProgress, MessagesReport> {
    let advice = match redriven.sent {
        0 => "nothing to do: the queue held no message that was there when the redrive began",
        sent if sent >= redrive.limit => "the limit is reached; start it again for the rest",
        _ => "what is refused again comes back to the dead-letter queue with a new reason",
    };
    let progress = MessagesProgress { begun_at: redrive.begun_at, sent: redriven.sent };
    let report = MessagesReport { queue: queue.as_str(), sent: redriven.sent, next: advice.to_owned() };
    PageDone::of(next, progress, report)
}
