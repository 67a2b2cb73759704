//! The sharing backends of a deployment: our own server always, a Databricks metastore if the settings name one.
//!
//! [`Backends::assemble`] is what functions call; [`Routed`] chooses by the connector; [`proof`] reads a metastore's side
//! of a delivery. Knows the adapters, so that functions which share tables need not. Knows no step.

mod inviter;
mod pause;
pub mod proof;
mod routed;
pub mod settings;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws::SdkConfig;
use aws::dynamo::DynamoStore;
use aws::secrets::SecretsManagerCredentials;
use delivery::connector::Backend;
use delivery::failure::{FailureCode, StepError};
use delivery::ports::{Inviter, RecipientBackend, ShareReader, SharingBackend};
use lambda::{Environment, SettingsError, SystemClock};
use object_store::ObjectStore;
use sharing::invite::HostedInviter;
use sharing::ports::Mailer;
use tables::log::ObjectStoreTableLog;
use unity_catalog::backend::UnityCatalogBackend;
use unity_catalog::ports::LoggedSchemas;
use unity_catalog::transport::{Patience, Workspace};

pub use inviter::RoutedInviter;
pub use routed::{Routed, ShareBackend};

use crate::pause::InvocationPause;
use crate::proof::MetastoreReader;
use crate::settings::{DATABRICKS, Databricks};

/// What serves the shares of a deployment.
pub struct Backends {
    routed: Arc<Routed>,
    metastore: Option<Metastore>,
}

struct Metastore {
    backend: Arc<UnityCatalogBackend>,
    bucket: Arc<dyn ObjectStore>,
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backends").field("metastore", &self.metastore.is_some()).finish_non_exhaustive()
    }
}

impl Backends {
    /// The backends that the settings name. The function declares [`DATABRICKS`] among its settings; an empty one means
    /// that there is no metastore, and connectors that need one are refused.
    ///
    /// # Errors
    ///
    /// Returns an error that names the setting, if it is wrong.
    pub fn assemble(
        environment: &Environment,
        config: &SdkConfig,
        store: Arc<DynamoStore>,
    ) -> Result<Self, SettingsError> {
        let metastore = match environment.optional(DATABRICKS) {
            Some(text) => Some(Metastore::of(&Databricks::read(text)?, config)?),
            None => None,
        };
        let databricks = metastore.as_ref().map(|metastore| metastore.backend.clone() as Arc<dyn ShareBackend>);
        Ok(Self { routed: Arc::new(Routed::new(store.clone(), store, databricks)), metastore })
    }

    /// Who may read what.
    #[must_use]
    pub fn sharing(&self) -> Arc<dyn SharingBackend> {
        self.routed.clone()
    }

    /// Who reads.
    #[must_use]
    pub fn recipients(&self) -> Arc<dyn RecipientBackend> {
        self.routed.clone()
    }

    /// What invites recipients: to our own server, or to the workspace that hands their credential out.
    #[must_use]
    pub fn inviter(&self, open: Arc<dyn Inviter>, mailer: Arc<dyn Mailer>) -> Arc<dyn Inviter> {
        let hosted = self
            .metastore
            .as_ref()
            .map(|metastore| Arc::new(HostedInviter::new(metastore.backend.clone(), mailer)) as Arc<dyn Inviter>);
        Arc::new(RoutedInviter::new(open, hosted))
    }

    /// What deliveries are proven by.
    #[must_use]
    pub fn readers(&self, open: Arc<dyn ShareReader>) -> Readers {
        let databricks = self.metastore.as_ref().map(|metastore| {
            let reader = MetastoreReader::new(metastore.backend.clone(), metastore.bucket.clone());
            Arc::new(reader) as Arc<dyn ShareReader>
        });
        Readers { open, databricks }
    }
}

impl Metastore {
    fn of(settings: &Databricks, config: &SdkConfig) -> Result<Self, SettingsError> {
        let wrong = |expected| SettingsError::Invalid { name: DATABRICKS, expected };
        let bucket = aws::s3::bucket(&settings.tables_bucket).map_err(|_| wrong("with the name of a tables bucket"))?;
        let bucket: Arc<dyn ObjectStore> = Arc::new(bucket);
        let credentials = Arc::new(SecretsManagerCredentials::new(config, &settings.secret_arn));
        let (clock, pause) = (Arc::new(SystemClock), Arc::new(InvocationPause));
        let workspace = Workspace::new(settings.url.clone(), credentials, clock, pause, patience())
            .map_err(|_| wrong("with a host that an HTTP client takes"))?;
        let schemas = LoggedSchemas::new(Arc::new(ObjectStoreTableLog::new(bucket.clone())));
        let backend = UnityCatalogBackend::new(Arc::new(workspace), Arc::new(schemas), settings.backend());
        Ok(Self { backend: Arc::new(backend), bucket })
    }
}

/// What one call may take of an invocation at most: a workspace that wants to be left alone for longer is asked again by
/// the state machine, later. All calls of an invocation together end by its own deadline, which [`InvocationPause`]
/// knows.
fn patience() -> Patience {
    let seconds = Duration::from_secs;
    Patience { attempts_max: 4, wait_max: seconds(40), request_max: seconds(10), reserve: seconds(2) }
}

/// What deliveries are proven by, one reader for each backend.
#[derive(Clone)]
pub struct Readers {
    open: Arc<dyn ShareReader>,
    databricks: Option<Arc<dyn ShareReader>>,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("databricks", &self.databricks.is_some()).finish_non_exhaustive()
    }
}

impl Readers {
    /// A deployment's readers.
    #[must_use]
    pub fn new(open: Arc<dyn ShareReader>, databricks: Option<Arc<dyn ShareReader>>) -> Self {
        Self { open, databricks }
    }

    /// Whether connectors can differ in their reader.
    #[must_use]
    pub fn differ(&self) -> bool {
        self.databricks.is_some()
    }

    /// The reader for a backend's shares.
    ///
    /// # Errors
    ///
    /// `RECIPIENT_UNSUPPORTED` if the deployment has no such backend.
    pub fn of(&self, backend: Backend) -> Result<&dyn ShareReader, StepError> {
        match backend {
            Backend::Open => Ok(&*self.open),
            Backend::Databricks => self.databricks.as_deref().ok_or_else(|| {
                StepError::new(
                    FailureCode::RecipientUnsupported,
                    "this deployment names no Databricks workspace; deploy it with DatabricksHost",
                )
            }),
        }
    }
}
