//! Sharing a table: it is in the connector's share, and that was checked.

use crate::batch::Batch;
use crate::failure::{FailureCode, StepError};
use crate::ports::{DeliveryStore, PortError, PortErrorKind, SharingBackend, TableStore};
use crate::schema::Fingerprint;
use crate::state::Step;
use crate::table::{Membership, TableName};
use crate::timestamp::Timestamp;

/// What sharing needs of the world.
#[derive(Clone, Copy)]
pub struct Sharing<'a> {
    /// Where the deliveries' states are kept.
    pub deliveries: &'a dyn DeliveryStore,
    /// What is known of the tables.
    pub tables: &'a dyn TableStore,
    /// Who may read what.
    pub backend: &'a dyn SharingBackend,
}

impl std::fmt::Debug for Sharing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sharing")
    }
}

/// Puts the version table of a batch into the connector's share; nothing to do if it is known to be there.
///
/// # Errors
///
/// Codes of phase `share`.
pub async fn share(
    ports: Sharing<'_>,
    batch: &Batch,
    table: &TableName,
    fingerprint: &Fingerprint,
    known: Membership,
    now: Timestamp,
) -> Result<(), StepError> {
    ports.deliveries.enter(&batch.deliveries(), Step::Sharing, now).await.map_err(classify)?;
    if known == Membership::Shared {
        return Ok(());
    }
    ports.backend.add_table(&batch.connector, table).await.map_err(classify)?;
    ports.tables.version_table_shared(&batch.connector, &batch.workflow, fingerprint).await.map_err(classify)
}

fn classify(error: PortError) -> StepError {
    let (code, message) = match error.kind {
        PortErrorKind::NotFound => (FailureCode::ConnectorNotFound, "the connector has no share; set it up first"),
        PortErrorKind::Throttled | PortErrorKind::Unavailable | PortErrorKind::Denied | PortErrorKind::InvalidData => {
            (FailureCode::ShareUnavailable, "the sharing backend did not take the table")
        }
    };
    StepError::caused(code, message, error)
}
