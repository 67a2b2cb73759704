//! Staging a run: once, whatever the number of connectors.

use crate::failure::{FailureCode, StepError};
use crate::ids::{ConnectorId, DeliveryKey, RunKey};
use crate::ports::{Clock, DeliveryStore, ManifestStore, PortError, PortErrorKind, RunStager, RunStore};
use crate::run::OutputFormat;
use crate::schema::PublicSchema;
use crate::staged::StagedRun;
use crate::state::Step;

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

/// Stages a recorded run for its connectors, or returns the manifest of an earlier attempt that finished.
///
/// # Errors
///
/// Codes of the phases `staging` and `schema`.
pub async fn stage(ports: Staging<'_>, run: &RunKey, connectors: &[ConnectorId]) -> Result<StagedRun, StepError> {
    let deliveries: Vec<_> =
        connectors.iter().map(|connector| DeliveryKey { connector: connector.clone(), run: run.clone() }).collect();
    ports.deliveries.enter(&deliveries, Step::Staging, ports.clock.now()).await.map_err(classify)?;
    if let Some(staged) = ports.manifests.staged(run).await.map_err(classify)? {
        return Ok(staged);
    }
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
