//! `StageRun`: runs' outputs become validated Parquet under the staging prefix, each once. `TakeStaged`: what is staged
//! of a batch whose staging ended without an answer.

pub mod input;
pub mod seekable;
pub mod stager;
pub mod upload;

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use delivery::failure::StepError;
use delivery::ports::{Clock, DeliveryStore, ManifestStore, RunStager, RunStore};
use delivery::stage::{After, Staging, ToStage, stage, take_staged};
use events::steps::{DeliverRunInput, Staged, StagingTask};
use lambda::{Environment, SettingsError, Subject, SystemClock, Task};
use object_store::ObjectStore;
use tables::manifest::ObjectStoreManifests;

use crate::stager::{ObjectStoreStager, OutputBuckets};

/// The function.
pub struct StageRun {
    runs: Arc<dyn RunStore>,
    deliveries: Arc<dyn DeliveryStore>,
    manifests: Arc<dyn ManifestStore>,
    stager: Arc<dyn RunStager>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for StageRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StageRun")
    }
}

/// The run-output bucket, and any other that a message names: whether the function may read it is its role's matter.
struct S3Outputs {
    usual: Arc<dyn ObjectStore>,
}

impl OutputBuckets for S3Outputs {
    fn open(&self, bucket: Option<&str>) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
        match bucket {
            None => Ok(Arc::clone(&self.usual)),
            Some(name) => Ok(Arc::new(aws::s3::bucket(name)?)),
        }
    }
}

#[async_trait]
impl Task for StageRun {
    const STEP: &'static str = "StageRun";
    const SETTINGS: &'static [&'static str] = &["STATE_TABLE_NAME", "TABLES_BUCKET", "RUN_OUTPUT_BUCKET"];
    type Input = DeliverRunInput;
    type Output = Staged;

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        let bucket = |name: &'static str| {
            environment.require_as(name, "the name of a bucket", |bucket| aws::s3::bucket(bucket).ok())
        };
        let tables: Arc<dyn ObjectStore> = Arc::new(bucket("TABLES_BUCKET")?);
        let outputs = S3Outputs { usual: Arc::new(bucket("RUN_OUTPUT_BUCKET")?) };
        Ok(Self {
            runs: store.clone(),
            deliveries: store,
            manifests: Arc::new(ObjectStoreManifests::new(Arc::clone(&tables))),
            stager: Arc::new(ObjectStoreStager::new(Arc::new(outputs), tables)),
            clock: Arc::new(SystemClock),
        })
    }

    fn subject(input: &DeliverRunInput) -> Subject {
        Subject::of_runs(&input.run_keys())
    }

    async fn handle(&self, input: DeliverRunInput) -> Result<Staged, StepError> {
        let ports = Staging {
            runs: &*self.runs,
            deliveries: &*self.deliveries,
            manifests: &*self.manifests,
            stager: &*self.stager,
            clock: &*self.clock,
        };
        let (runs, after) = match &input.staged {
            Some(staged) => (&staged.waiting, After::Others(staged.fingerprint.as_ref())),
            None => (&input.runs, After::Nothing),
        };
        let runs: Vec<_> = runs.iter().map(|run| input.run(run)).collect();
        let wanted = ToStage { runs: &runs, connectors: &input.connectors, origin: input.origin, after };
        let outcome = match input.staging {
            StagingTask::Stage => stage(ports, wanted).await?,
            StagingTask::TakeStaged => take_staged(ports, wanted).await?,
        };
        lambda::log_failed_runs(&outcome.failed);
        Ok(Staged::and(input.staged, input.origin, outcome))
    }
}
