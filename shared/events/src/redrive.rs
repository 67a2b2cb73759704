//! The inputs of `RedriveDeliveries` and `RedriveMessages`, an operator's words checked property by property, and what
//! their pages leave behind.

use std::collections::{BTreeMap, BTreeSet};

use delivery::failure::{FailureCode, Phase, StepError};
use delivery::ids::{ConnectorId, RunId, WorkflowId};
use delivery::redrive::{
    MESSAGES_DEFAULT, MESSAGES_MAX, MessageRedrive, MessagesRedriven, NEWER_PAGES_MAX, Next, RATE_PER_MINUTE_DEFAULT,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveriesProgress {
    #[serde(with = "text::one")]
    begun_at: Timestamp,
    #[serde(with = "text::optional", default, skip_serializing_if = "Option::is_none")]
    connector_id: Option<ConnectorId>,
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
    #[serde(with = "text::optional", skip_serializing_if = "Option::is_none")]
    connector_id: Option<ConnectorId>,
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
        (0, _) => "nothing to do: no delivery that stopped is what was asked for",
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
    let (connector_id, examined) = (redriven.connector.clone(), redriven.examined);
    let progress = DeliveriesProgress { begun_at: redrive.begun_at, connector_id, position, examined, by_code };
    PageDone::of(next, progress, report)
}

impl From<DeliveriesProgress> for Redriven {
    /// A code that this program does not know any more is left out of the counts.
    fn from(progress: DeliveriesProgress) -> Self {
        let known = |(code, count): (String, u64)| FailureCode::parse(&code).map(|code| (code, count));
        Self {
            connector: progress.connector_id,
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

/// Reads the input of `RedriveDeliveries`. A property that is not known is refused, and so is one that is null: a
/// narrowing that is misspelt or was not filled in would start more than was meant.
///
/// # Errors
///
/// `REDRIVE_INVALID` with the path of the property.
pub fn deliveries(input: &RedriveDeliveriesInput) -> Result<Redrive, StepError> {
    let begun_at = input.progress.begun_at;
    let input = known_properties(&input.command, &DELIVERY_PROPERTIES)?;
    if let Some(empty) = input.first_null() {
        return Err(input.refuse(empty, "must be left out or have a value"));
    }
    let connector = input
        .optional_string("connectorId")?
        .map(ConnectorId::new)
        .transpose()
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
    let rate_per_minute = rate(&input)?;
    Ok(Redrive { connector, phase, code, from, to, workflows, rate_per_minute, mode, begun_at })
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
    #[serde(with = "text::optional", default, skip_serializing_if = "Option::is_none")]
    hidden_since: Option<Timestamp>,
    #[serde(default)]
    newer_pages: u32,
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
    let MessagesProgress { sent, hidden_since, newer_pages, .. } = input.progress;
    Ok((queue, redrive, MessagesRedriven { sent, hidden_since, newer_pages }))
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
        _ if redriven.hidden_since.is_some() => {
            "messages of the queue are with another receiver; start it again when they can be seen"
        }
        _ if redriven.newer_pages >= NEWER_PAGES_MAX => {
            "the queue holds many messages that came since the redrive began; older ones may be left behind them: start \
             it again"
        }
        0 => "nothing to do: the queue held no message that was there when the redrive began",
        sent if sent >= redrive.limit => "the limit is reached; start it again for the rest",
        _ => "what is refused again comes back to the dead-letter queue with a new reason",
    };
    let MessagesRedriven { sent, hidden_since, newer_pages } = redriven;
    let progress = MessagesProgress { begun_at: redrive.begun_at, sent, hidden_since, newer_pages };
    let report = MessagesReport { queue: queue.as_str(), sent: redriven.sent, next: advice.to_owned() };
    PageDone::of(next, progress, report)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BEGUN: &str = "2026-09-01T06:07:30.123Z";

    fn deliveries(command: &Value) -> Result<Redrive, StepError> {
        let input = json!({"command": command, "progress": {"begunAt": BEGUN}});
        super::deliveries(&serde_json::from_value(input).unwrap())
    }

    #[test]
    fn a_redrive_is_read_with_its_defaults_and_narrowings() {
        let plain = deliveries(&json!({"connectorId": "acme"})).unwrap();
        assert_eq!(plain.connector, Some(ConnectorId::new("acme").unwrap()));
        assert_eq!(deliveries(&json!({})).unwrap().connector, None, "every connector");
        assert_eq!((plain.rate_per_minute, plain.mode), (60, RedriveMode::Start));
        assert_eq!((plain.phase, plain.code, plain.from, plain.to, plain.workflows), (None, None, None, None, None));
        let narrow = deliveries(&json!({
            "connectorId": "acme", "phase": "share", "code": "SHARE_UNAVAILABLE", "from": "2026-09-01T00:00:00Z",
            "to": "2026-09-02T00:00:00Z", "workflows": ["w-1"], "ratePerMinute": 600, "dryRun": true,
            "requestedBy": "ada",
        }))
        .unwrap();
        assert_eq!((narrow.phase, narrow.code), (Some(Phase::Share), Some(FailureCode::ShareUnavailable)));
        assert_eq!((narrow.rate_per_minute, narrow.mode), (600, RedriveMode::Count));
        assert!(narrow.from < narrow.to && narrow.workflows.unwrap().len() == 1);
    }

    #[test]
    fn a_redrive_that_cannot_be_meant_is_refused_by_property() {
        for (more, said) in [
            (json!({"connectorId": "a/b"}), "connectorId must be 1 to"),
            (json!({"pahse": "share"}), "the input has a property that is none of connectorId, "),
            (json!({"phase": "lunch"}), "phase must be the phase"),
            (json!({"code": "LUNCH"}), "code must be a failure code"),
            (json!({"from": "yesterday"}), "from must be an RFC 3339 time"),
            (json!({"from": "2026-09-02T00:00:00Z", "to": "2026-09-02T00:00:00Z"}), "to must be later than from"),
            (json!({"workflows": []}), "workflows must have 1 to 1000 elements"),
            (json!({"workflows": ["a b"]}), "workflows[0] must be a workflow id"),
            (json!({"ratePerMinute": 0}), "ratePerMinute must be 1 to 600"),
            (json!({"ratePerMinute": 601}), "ratePerMinute must be 1 to 600"),
            (json!({"dryRun": "yes"}), "dryRun must be true or false"),
            (json!({"requestedBy": 7}), "requestedBy must be a string"),
        ] {
            let mut input = json!({"connectorId": "acme"});
            input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let refused = deliveries(&input).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("REDRIVE_INVALID: {said}")), "{refused}");
        }
        for (name, said) in [("connectorId", json!(7)), ("connectorId", json!(null)), ("code", json!(null))] {
            assert!(deliveries(&json!({name: said})).is_err(), "{name}");
        }
        assert!(deliveries(&json!([])).is_err());
    }

    #[test]
    fn what_a_page_leaves_behind_is_where_the_next_one_begins() {
        let redrive = deliveries(&json!({"connectorId": "acme"})).unwrap();
        let redriven = Redriven {
            connector: Some(ConnectorId::new("acme").unwrap()),
            position: Some(UndeliveredPosition {
                since: Timestamp::parse("2026-09-01T06:07:30.5Z").unwrap(),
                workflow: WorkflowId::new("w-1").unwrap(),
                run: RunId::new("r-1").unwrap(),
            }),
            examined: 7,
            matched: BTreeMap::from([(FailureCode::ShareUnavailable, 3), (FailureCode::ProofRefused, 2)]),
        };
        let page = deliveries_page(&redrive, &redriven, Next::Page { wait_seconds: 10 });
        let written = serde_json::to_value(&page).unwrap();
        let by_code = json!({"PROOF_REFUSED": 2, "SHARE_UNAVAILABLE": 3});
        assert_eq!(
            written["progress"],
            json!({
                "begunAt": "2026-09-01T06:07:30.123000Z",
                "connectorId": "acme",
                "position": {"since": "2026-09-01T06:07:30.500000Z", "workflowId": "w-1", "runId": "r-1"},
                "examined": 7, "byCode": by_code,
            })
        );
        assert_eq!((&written["more"], &written["waitSeconds"]), (&json!(true), &json!(10)));
        assert_eq!((&written["report"]["started"], &written["report"]["byCode"]), (&json!(5), &by_code));
        let input = json!({"command": {"connectorId": "acme"}, "progress": written["progress"]});
        let read: RedriveDeliveriesInput = serde_json::from_value(input).unwrap();
        assert_eq!(super::deliveries(&read).unwrap(), redrive);
        assert_eq!(Redriven::from(read.progress), redriven);
        let first = json!({"command": {}, "progress": {"begunAt": BEGUN}});
        let first: RedriveDeliveriesInput = serde_json::from_value(first).unwrap();
        assert_eq!(Redriven::from(first.progress), Redriven::default());
        let done = serde_json::to_value(deliveries_page(&redrive, &redriven, Next::Done)).unwrap();
        assert_eq!(done["more"], false);
    }

    #[test]
    fn a_redrive_of_messages_is_read_and_goes_on() {
        let read = |command: Value, progress: Value| {
            let input = json!({"command": command, "progress": progress});
            messages(&serde_json::from_value(input).unwrap())
        };
        for queue in DeadLetters::ALL {
            let (named, redrive, before) = read(json!({"queue": queue.as_str()}), json!({"begunAt": BEGUN})).unwrap();
            assert_eq!((named, redrive.limit, redrive.rate_per_minute, before.sent), (queue, 1_000, 60, 0));
            let page = messages_page(
                named,
                &redrive,
                MessagesRedriven { sent: 8, newer_pages: 3, ..MessagesRedriven::default() },
                Next::Page { wait_seconds: 8 },
            );
            let progress = serde_json::to_value(page).unwrap()["progress"].clone();
            let (_, again, before) = read(json!({"queue": queue.as_str()}), progress).unwrap();
            assert_eq!((again, before.sent, before.newer_pages), (redrive, 8, 3));
        }
        for (command, said) in [
            (json!({}), "queue is missing"),
            (json!({"queue": "lunch"}), "queue must be runCompleted, activity, metadata or maintenance"),
            (json!({"queue": "activity", "limit": 10_001}), "limit must be 1 to 10000"),
            (json!({"queue": "activity", "ratePerMinute": 0}), "ratePerMinute must be 1 to 600"),
            (json!({"queue": "activity", "rate": 7}), "the input has a property that is none of queue, "),
        ] {
            let refused = read(command, json!({"begunAt": BEGUN})).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("REDRIVE_INVALID: {said}")), "{refused}");
        }
    }
}
