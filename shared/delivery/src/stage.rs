//! Staging runs: each once, whatever the number of connectors.

use crate::batch::{FailedRun, Origin, Others, may_pass, settle};
use crate::failure::{FailureCode, StepError};
use crate::ids::{ConnectorId, DeliveryKey, RunKey};
use crate::ports::{Clock, DeliveryStore, ManifestStore, PortError, PortErrorKind, RunStager, RunStore};
use crate::run::OutputFormat;
use crate::schema::{Fingerprint, PublicSchema};
use crate::staged::{StagedRun, StagedSummary};

/// What staging needs of the world.
#[derive(Clone, Copy)]
pub struct Staging<'a> {
    /// Where the run is recorded.
    pub runs: &'a dyn RunStore,
    /// Where the deliveries' states are kept.
    pub deliveries: &'a dyn DeliveryStore,
    /// Where the manifests of earlier attempts lie.
    pub manifests: &'a dyn ManifestStore,
    /// What reads the output and writes the staging prefix.
    pub stager: &'a dyn RunStager,
    /// The time.
    pub clock: &'a dyn Clock,
}

impl std::fmt::Debug for Staging<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Staging")
    }
}

/// What one invocation is asked to stage.
#[derive(Debug, Clone, Copy)]
pub struct ToStage<'a> {
    /// Runs of one workflow that are not staged yet, each once.
    pub runs: &'a [RunKey],
    /// The connectors that they go to.
    pub connectors: &'a [ConnectorId],
    /// What the deliveries are made for.
    pub origin: Origin,
    /// Whether earlier invocations staged runs of the batch.
    pub after: After<'a>,
}

impl ToStage<'_> {
    /// Every delivery: each run's to each connector.
    #[must_use]
    pub fn deliveries(&self) -> Vec<DeliveryKey> {
        let to = |run: &RunKey, connector: &ConnectorId| DeliveryKey { connector: connector.clone(), run: run.clone() };
        self.runs.iter().flat_map(|run| self.connectors.iter().map(move |connector| to(run, connector))).collect()
    }
}

/// What came before an invocation.
#[derive(Debug, Clone, Copy)]
pub enum After<'a> {
    /// Nothing: it is the batch's first.
    Nothing,
    /// Invocations that ran out of time; the schema of the runs that they staged, if they staged one.
    Others(Option<&'a Fingerprint>),
}

/// What an invocation came to.
#[derive(Debug)]
pub struct StagedRuns {
    /// Runs that are staged whole, all with one schema.
    pub staged: Vec<StagedSummary>,
    /// Runs that failed; each one's deliveries say why.
    pub failed: Vec<FailedRun>,
    /// Runs that the next invocation begins with: fewer every time.
    pub waiting: Vec<RunKey>,
}

/// How long an invocation may have been at work when it begins another run, in seconds. What is left of the
/// function's time is for that run; the next invocation has all of it.
pub const BEGIN_SECONDS_MAX: i64 = 300;

/// Stages recorded runs for their connectors, one after the other. A run that an earlier attempt staged whole costs
/// one look at its manifest. The first run that is staged gives the batch its schema.
///
/// # Errors
///
/// Codes of the phases `staging` and `schema`, if no run of the batch is staged.
pub async fn stage(ports: Staging<'_>, wanted: ToStage<'_>) -> Result<StagedRuns, StepError> {
    let begun_at = ports.clock.now();
    let in_time = || ports.clock.now().seconds() - begun_at.seconds() < BEGIN_SECONDS_MAX;
    let mut fingerprint = match wanted.after {
        After::Others(fingerprint) => fingerprint.cloned(),
        After::Nothing => {
            ports.deliveries.begin(&wanted.deliveries(), wanted.origin, begun_at).await.map_err(classify)?;
            None
        }
    };
    let mut outcome = StagedRuns { staged: Vec::new(), failed: Vec::new(), waiting: Vec::new() };
    let mut again = Vec::new();
    for (index, run) in wanted.runs.iter().enumerate() {
        if index > 0 && !in_time() {
            outcome.waiting.extend(wanted.runs.iter().skip(index).cloned());
            break;
        }
        match stage_one(ports, run, &mut fingerprint).await {
            Ok(staged) => outcome.staged.push(staged),
            Err(error) if may_pass(error.code) => again.push(FailedRun::new(run.clone(), error)),
            Err(error) => outcome.failed.push(FailedRun::new(run.clone(), error)),
        }
    }
    let before = matches!(wanted.after, After::Others(Some(_)));
    let goes_on = |outcome: &StagedRuns| before || !outcome.staged.is_empty() || !outcome.waiting.is_empty();
    // What the state machine would try again for a run alone is tried again here, because the others go on.
    for failed in again {
        if !goes_on(&outcome) || !in_time() {
            outcome.failed.push(failed);
            continue;
        }
        match stage_one(ports, &failed.run, &mut fingerprint).await {
            Ok(staged) => outcome.staged.push(staged),
            Err(error) => outcome.failed.push(FailedRun::new(failed.run, error)),
        }
    }
    let others = if goes_on(&outcome) { Others::GoOn } else { Others::AllFailed };
    let failed = std::mem::take(&mut outcome.failed);
    outcome.failed = settle(ports.deliveries, wanted.connectors, failed, others, ports.clock.now(), classify).await?;
    Ok(outcome)
}

/// Takes what is staged whole of a batch, after an invocation that ended without an answer more often than it is tried: a
/// run that ends the function costs the runs that were not staged, and those that were go on. The rest fails as
/// interrupted, if any run of the batch is staged; if none is, nothing is recorded here, because the batch fails whole.
///
/// # Errors
///
/// `STAGING_UNAVAILABLE` or `STAGING_DENIED` if the failures could not be recorded.
pub async fn take_staged(ports: Staging<'_>, wanted: ToStage<'_>) -> Result<StagedRuns, StepError> {
    let mut fingerprint = match wanted.after {
        After::Others(fingerprint) => fingerprint.cloned(),
        After::Nothing => None,
    };
    let mut outcome = StagedRuns { staged: Vec::new(), failed: Vec::new(), waiting: Vec::new() };
    for (run, manifest) in wanted.runs.iter().zip(ports.manifests.staged_each(wanted.runs).await) {
        let staged = manifest.map_err(classify).and_then(|staged| staged.ok_or_else(interrupted));
        match staged.and_then(|staged| of_batch(staged.summary(), &mut fingerprint)) {
            Ok(staged) => outcome.staged.push(staged),
            Err(error) => outcome.failed.push(FailedRun::new(run.clone(), error)),
        }
    }
    let failed = std::mem::take(&mut outcome.failed);
    if fingerprint.is_some() {
        let now = ports.clock.now();
        outcome.failed = settle(ports.deliveries, wanted.connectors, failed, Others::GoOn, now, classify).await?;
    }
    Ok(outcome)
}

fn interrupted() -> StepError {
    StepError::new(
        FailureCode::StagingInterrupted,
        "the function ended without an answer while it staged this run or one before it in the batch; see its log. The \
         next backfill stages this run alone",
    )
}

async fn stage_one(
    ports: Staging<'_>,
    run: &RunKey,
    fingerprint: &mut Option<Fingerprint>,
) -> Result<StagedSummary, StepError> {
    let staged = match ports.manifests.staged(run).await.map_err(classify)? {
        Some(staged) => staged.summary(),
        None => stage_new(ports, run).await?.summary(),
    };
    of_batch(staged, fingerprint)
}

/// A staged run, if it has the schema of its batch. The first gives it.
fn of_batch(staged: StagedSummary, fingerprint: &mut Option<Fingerprint>) -> Result<StagedSummary, StepError> {
    if staged.fingerprint != *fingerprint.get_or_insert_with(|| staged.fingerprint.clone()) {
        return Err(StepError::new(
            FailureCode::SchemaNotOfBatch,
            "the run has another public schema than its batch; deliver it with runs of its own schema, or alone",
        ));
    }
    Ok(staged)
}

async fn stage_new(ports: Staging<'_>, run: &RunKey) -> Result<StagedRun, StepError> {
    let recorded = ports.runs.recorded_run(run).await.map_err(classify)?.ok_or_else(|| {
        StepError::new(FailureCode::RunNotRecorded, "the run is not in the state table; send its message again")
    })?;
    let schema = PublicSchema::of(&recorded.fields)?;
    if OutputFormat::of(&recorded.output.format).is_none() {
        return Err(StepError::new(
            FailureCode::OutputFormatUnsupported,
            "the output's format cannot be staged; announce a new run as jsonl, json, csv or parquet",
        ));
    }
    ports.stager.stage(&recorded, &schema).await
}

fn classify(error: PortError) -> StepError {
    let (code, message) = match error.kind {
        PortErrorKind::Throttled | PortErrorKind::Unavailable => {
            (FailureCode::StagingUnavailable, "the state table or the storage did not answer")
        }
        PortErrorKind::Denied => (FailureCode::StagingDenied, "the staging function's role lacks a permission"),
        PortErrorKind::NotFound | PortErrorKind::InvalidData => (
            FailureCode::StagingCorrupt,
            "a run record or manifest cannot be read; delete the manifest and start again",
        ),
    };
    StepError::caused(code, message, error)
}
