//! `PlanBackfill`, `SettleBatches` and `FinishBackfill`: a team's history, page by page, for one connector.

pub mod bucket;
pub mod pages;

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use aws::sqs::MetadataQueue;
use delivery::backfill::{
    ActivityPorts, BackfillFailure, BackfillId, Beginning, Begun, Counts, Coverage, Left, Phase, PlanPorts, Request,
    begin, classify, coverage, deliver_activity, find, finish, plan, settle, state_of,
};
use delivery::failure::StepError;
use delivery::ids::ConnectorId;
use delivery::lifecycle::Actor;
use delivery::ports::{
    ActivityPlace, BackfillNote, BackfillPages, BackfillStore, Clock, ConnectorStore, DeliveryStore, FailureList,
    FoundBy, HistoryBucket, MetadataWriterWaker, Outbox, PortError, PortErrorKind, RolloutStore, RunStore, TableStore,
};
use events::backfill::{FAILURES_REPORTED_MAX, FAILURES_SHOWN_MAX, FailureForm, Next, Place, Progress, Report};
use events::command::command;
use lambda::{Environment, SettingsError, Subject, SystemClock, Task};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bucket::ObjectStoreHistory;
use crate::pages::ObjectStorePages;

/// The function.
pub struct PlanBackfill {
    connectors: Arc<dyn ConnectorStore>,
    rollouts: Arc<dyn RolloutStore>,
    store: Arc<dyn BackfillStore>,
    runs: Arc<dyn RunStore>,
    tables: Arc<dyn TableStore>,
    deliveries: Arc<dyn DeliveryStore>,
    outbox: Arc<dyn Outbox>,
    waker: Arc<dyn MetadataWriterWaker>,
    bucket: Arc<dyn HistoryBucket>,
    pages: Arc<dyn BackfillPages>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for PlanBackfill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlanBackfill")
    }
}

/// What is asked for.
#[derive(Debug, Deserialize)]
pub struct Input {
    action: Action,
    /// The execution's input.
    command: Value,
    /// The execution's ARN.
    execution: String,
    /// What the task before handed on; none before the first.
    #[serde(default)]
    progress: Option<Progress>,
}

/// The tasks of the function.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Action {
    Plan,
    Settle,
    Finish,
}

/// What a task hands on.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Output {
    /// To the next task.
    Progress(Box<Progress>),
    /// To the operator.
    Report(Box<Report>),
}

#[async_trait]
impl Task for PlanBackfill {
    const STEP: &'static str = "PlanBackfill";
    const SETTINGS: &'static [&'static str] =
        &["STATE_TABLE_NAME", "RUN_OUTPUT_BUCKET", "TABLES_BUCKET", "METADATA_QUEUE_URL", "METADATA_BATCH_SECONDS"];
    type Input = Input;
    type Output = Output;

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        let bucket = |name: &'static str| {
            environment.require_as(name, "the name of a bucket", |bucket| aws::s3::bucket(bucket).ok())
        };
        let seconds =
            environment.require_as("METADATA_BATCH_SECONDS", "a number of seconds", |text| text.parse().ok())?;
        Ok(Self {
            connectors: store.clone(),
            rollouts: store.clone(),
            store: store.clone(),
            runs: store.clone(),
            tables: store.clone(),
            deliveries: store.clone(),
            outbox: store,
            waker: Arc::new(MetadataQueue::new(&config, environment.require("METADATA_QUEUE_URL")?, seconds)),
            bucket: Arc::new(ObjectStoreHistory::new(Arc::new(bucket("RUN_OUTPUT_BUCKET")?))),
            pages: Arc::new(ObjectStorePages::new(Arc::new(bucket("TABLES_BUCKET")?))),
            clock: Arc::new(SystemClock),
        })
    }

    fn subject(input: &Input) -> Subject {
        let id = input.command.get("connectorId").and_then(Value::as_str);
        id.and_then(|id| ConnectorId::new(id).ok()).map_or(Subject::Unknown, Subject::Connector)
    }

    async fn handle(&self, input: Input) -> Result<Output, StepError> {
        let request = events::backfill::request(&input.command)?;
        let actor = command(&input.command, &input.execution)?.actor;
        let backfill = BackfillId::of_execution(&input.execution);
        let Some(progress) = input.progress else {
            return self.begin(&request, &actor, &backfill).await;
        };
        match input.action {
            Action::Plan => self.next_page(&request, &backfill, progress).await,
            Action::Settle => self.settle(&request, &backfill, progress).await,
            Action::Finish => self.finish(&request, &actor, &backfill, progress).await,
        }
    }
}

/// What a page came to.
struct Page {
    counts: Counts,
    failures: Vec<BackfillFailure>,
    next: Next,
    phase: Phase,
    after: Option<Place>,
}

impl PlanBackfill {
    async fn begin(&self, request: &Request, actor: &Actor, backfill: &BackfillId) -> Result<Output, StepError> {
        let started_at = self.clock.now();
        let Beginning { begun, revision } =
            begin(&*self.connectors, &*self.rollouts, &*self.clock, request, actor).await?;
        let (next, phase, missed_since) = match begun {
            Begun::WithHistory => (Next::Plan, Phase::Find, None),
            Begun::WithMissed(since) => (Next::Plan, Phase::Deliver, Some(since)),
            Begun::Done => (Next::Finish, Phase::Finish, None),
        };
        let progress = Progress {
            next,
            phase,
            after: None,
            page: 0,
            batches: None,
            counts: Counts::default(),
            failures: Vec::new(),
            started_at,
            revision,
            missed_since,
        };
        self.note(request, backfill, progress).await
    }

    async fn next_page(
        &self,
        request: &Request,
        backfill: &BackfillId,
        mut progress: Progress,
    ) -> Result<Output, StepError> {
        let covers = coverage(&*self.connectors, request, progress.missed_since).await?;
        progress.page += 1;
        progress.batches = None;
        let page = match (progress.phase, progress.after.take()) {
            (Phase::Find, after) => self.find(&covers, &FoundBy::page(backfill, progress.page), after).await?,
            (Phase::Deliver, after) => self.plan(&covers, backfill, &mut progress, after).await?,
            (Phase::Activity, after) => self.activity(&covers, after).await?,
            (Phase::Finish, _) => Page {
                counts: Counts::default(),
                failures: Vec::new(),
                next: Next::Finish,
                phase: Phase::Finish,
                after: None,
            },
        };
        let list = FailureList::Unplanned(progress.page);
        self.counted(request, backfill, progress, page, list).await
    }

    async fn find(&self, covers: &Coverage, by: &FoundBy, after: Option<Place>) -> Result<Page, StepError> {
        let found = find(&*self.store, &*self.bucket, covers, by, behind(&after), self.clock.now()).await?;
        let phase = if found.after.is_some() { Phase::Find } else { Phase::Deliver };
        let after = found.after.map(Place::Behind);
        Ok(Page { counts: found.counts, failures: found.failures, next: Next::Plan, phase, after })
    }

    async fn plan(
        &self,
        covers: &Coverage,
        backfill: &BackfillId,
        progress: &mut Progress,
        after: Option<Place>,
    ) -> Result<Page, StepError> {
        let ports =
            PlanPorts { store: &*self.store, runs: &*self.runs, tables: &*self.tables, deliveries: &*self.deliveries };
        let planned = plan(ports, covers, behind(&after), self.clock.now()).await?;
        let phase = if planned.after.is_some() { Phase::Deliver } else { Phase::Activity };
        let next = if planned.batches.is_empty() { Next::Plan } else { Next::Deliver };
        if next == Next::Deliver {
            let connector = &covers.connector;
            self.pages.write_batches(connector, backfill, progress.page, &planned.batches).await.map_err(classify)?;
            progress.batches = Some(events::backfill::batches_key(connector, backfill, progress.page));
        }
        let after = planned.after.map(Place::Behind);
        Ok(Page { counts: planned.counts, failures: planned.failures, next, phase, after })
    }

    async fn activity(&self, covers: &Coverage, after: Option<Place>) -> Result<Page, StepError> {
        let ports =
            ActivityPorts { bucket: &*self.bucket, outbox: &*self.outbox, waker: &*self.waker, clock: &*self.clock };
        let after = match after {
            Some(Place::Activity(place)) => place,
            Some(Place::Behind(_)) | None => ActivityPlace::default(),
        };
        let recorded = deliver_activity(ports, covers, &after).await?;
        let (next, phase) = match recorded.after {
            Some(_) => (Next::Plan, Phase::Activity),
            None => (Next::Finish, Phase::Finish),
        };
        let after = recorded.after.map(Place::Activity);
        Ok(Page { counts: recorded.counts, failures: recorded.failures, next, phase, after })
    }

    async fn settle(&self, request: &Request, backfill: &BackfillId, progress: Progress) -> Result<Output, StepError> {
        let batches = self.pages.batches(&request.connector, backfill, progress.page).await.map_err(classify)?;
        let settled = settle(&*self.store, &batches).await?;
        let page = Page {
            counts: settled.counts,
            failures: settled.failures,
            next: Next::Plan,
            phase: progress.phase,
            after: progress.after.clone(),
        };
        let list = FailureList::Undelivered(progress.page);
        self.counted(request, backfill, progress, page, list).await
    }

    async fn finish(
        &self,
        request: &Request,
        actor: &Actor,
        backfill: &BackfillId,
        progress: Progress,
    ) -> Result<Output, StepError> {
        let connector = &request.connector;
        let failures = self.pages.failures(connector, backfill, FAILURES_REPORTED_MAX).await.map_err(classify)?;
        let left = Left::by(&failures);
        let state = if progress.page == 0 {
            // Nothing was to be done, so there is nothing that could have come to its end.
            state_of(&*self.connectors, connector).await?
        } else {
            finish(&*self.connectors, &*self.clock, request, progress.revision, left, actor).await?
        };
        let key = events::backfill::report_key(connector, backfill);
        let report = Report::of(connector, state, &progress, left, self.clock.now(), key);
        let whole = serde_json::to_string(&report.with_failures(&failures)).map_err(|error| {
            classify(PortError::new(PortErrorKind::InvalidData, "write a backfill's report", error))
        })?;
        self.pages.write_report(connector, backfill, &whole).await.map_err(classify)?;
        self.note(request, backfill, Progress { phase: Phase::Finish, ..progress }).await?;
        tracing::info!(backfill = backfill.as_str(), counts = ?report.counts, "backfill ended");
        Ok(Output::Report(Box::new(report)))
    }

    /// Adds a page to the progress: in full where its failures are kept, in short in what is handed on.
    async fn counted(
        &self,
        request: &Request,
        backfill: &BackfillId,
        progress: Progress,
        page: Page,
        list: FailureList,
    ) -> Result<Output, StepError> {
        if !page.failures.is_empty() {
            self.pages.write_failures(&request.connector, backfill, list, &page.failures).await.map_err(classify)?;
        }
        let mut failures = progress.failures;
        let room = FAILURES_SHOWN_MAX.saturating_sub(failures.len());
        failures.extend(page.failures.iter().take(room).map(FailureForm::from));
        let progress = Progress {
            next: page.next,
            phase: page.phase,
            after: page.after,
            counts: progress.counts.plus(page.counts),
            failures,
            ..progress
        };
        self.note(request, backfill, progress).await
    }

    /// Notes the progress for the operator, and hands it on.
    async fn note(&self, request: &Request, backfill: &BackfillId, progress: Progress) -> Result<Output, StepError> {
        let note = BackfillNote {
            phase: progress.phase,
            pages: progress.page,
            counts: progress.counts,
            started_at: progress.started_at,
        };
        let noted = self.store.note_backfill(&request.connector, backfill, &note, self.clock.now()).await;
        noted.map_err(classify)?;
        Ok(Output::Progress(Box::new(progress)))
    }
}

fn behind(after: &Option<Place>) -> Option<&str> {
    match after {
        Some(Place::Behind(place)) => Some(place),
        Some(Place::Activity(_)) | None => None,
    }
}

#[cfg(test)]
#[path = "story_tests.rs"]
mod tests;
