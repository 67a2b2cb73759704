//! Sharing a table: it is in the connector's share, and that was checked.

use crate::batch::Batch;
use crate::failure::{FailureCode, StepError};
use crate::ports::{
    DeliveryStore, PortError, PortErrorKind, Refusal, Refused, ShareReport, SharingBackend, TableStore,
};
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

/// What a sharing backend's refusal is to a delivery or a set-up: a code of its own, whatever the step. An error that is
/// no refusal comes back.
///
/// # Errors
///
/// Returns the error that is no refusal.
pub fn refused(error: PortError) -> Result<StepError, PortError> {
    let Some(refused) = Refused::of(&error) else { return Err(error) };
    let (code, what) = match refused.refusal {
        Refusal::Denied => (FailureCode::ShareDenied, "the sharing backend's principal lacks a privilege"),
        Refusal::NotReadable => (FailureCode::ShareNotReadable, "recipients could not read the share"),
        Refusal::Full => (FailureCode::ShareFull, "the share is full"),
        Refusal::PathTaken => (FailureCode::TablePathTaken, "the table cannot be registered"),
        Refusal::Foreign => (FailureCode::RecipientForeign, "the recipient is not this deployment's"),
        Refusal::Unsupported => (FailureCode::RecipientUnsupported, "this deployment does not serve the connector"),
        Refusal::Invalid => (FailureCode::ShareInvalid, "the sharing backend does not take this"),
    };
    let message = format!("{what}: {}", refused.source);
    Ok(StepError::caused(code, message, error))
}

/// Whether a share reads back as it was made.
///
/// # Errors
///
/// `SHARE_NOT_READABLE` if recipients could not read what is in it, `SHARE_INCOMPLETE` if something is not there (yet).
pub fn check(report: &ShareReport) -> Result<(), StepError> {
    if !report.denied.is_empty() {
        let denied = report.denied.join(", ");
        return Err(StepError::new(
            FailureCode::ShareNotReadable,
            format!("recipients could not read {denied}: the share's owner may not; grant it SELECT"),
        ));
    }
    if !report.missing.is_empty() {
        let missing = report.missing.join(", ");
        return Err(StepError::new(
            FailureCode::ShareIncomplete,
            format!("the share does not read back whole: {missing} missing"),
        ));
    }
    if report.ungranted {
        return Err(StepError::new(
            FailureCode::ShareIncomplete,
            "the recipient's grant does not read back from both ends",
        ));
    }
    Ok(())
}

fn classify(error: PortError) -> StepError {
    let error = match refused(error) {
        Ok(refused) => return refused,
        Err(error) => error,
    };
    let (code, message) = match error.kind {
        PortErrorKind::NotFound => (FailureCode::ConnectorNotFound, "the connector has no share; set it up first"),
        PortErrorKind::Throttled | PortErrorKind::Unavailable | PortErrorKind::Denied | PortErrorKind::InvalidData => {
            (FailureCode::ShareUnavailable, "the sharing backend did not take the table")
        }
    };
    StepError::caused(code, message, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: PortErrorKind, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PortError {
        PortError::new(kind, "put tables into a share", source)
    }

    #[test]
    fn a_refusal_keeps_its_code_in_every_step_and_says_what_the_backend_says() {
        for (refusal, code) in [
            (Refusal::Denied, FailureCode::ShareDenied),
            (Refusal::NotReadable, FailureCode::ShareNotReadable),
            (Refusal::Full, FailureCode::ShareFull),
            (Refusal::PathTaken, FailureCode::TablePathTaken),
            (Refusal::Foreign, FailureCode::RecipientForeign),
            (Refusal::Unsupported, FailureCode::RecipientUnsupported),
            (Refusal::Invalid, FailureCode::ShareInvalid),
        ] {
            let refused = classify(error(PortErrorKind::Denied, Refused::new(refusal, "main.acme.wf_a__v1")));
            assert_eq!(refused.code, code);
            assert!(refused.message.contains("main.acme.wf_a__v1"), "{refused}");
            assert!(!matches!(code.class(), crate::failure::RetryClass::Transient), "{code} is not tried again");
        }
        let plain = classify(error(PortErrorKind::Unavailable, "nobody there"));
        assert_eq!(plain.code, FailureCode::ShareUnavailable);
        assert_eq!(classify(error(PortErrorKind::NotFound, "no share")).code, FailureCode::ConnectorNotFound);
    }

    #[test]
    fn a_share_passes_only_if_all_of_it_reads_back() {
        let names = || vec!["main.acme.t".to_owned()];
        let code = |report| check(&report).map_err(|error| error.code);
        let good = ShareReport::default();
        assert_eq!(code(good.clone()), Ok(()));
        assert_eq!(code(ShareReport { denied: names(), ..good.clone() }), Err(FailureCode::ShareNotReadable));
        assert_eq!(code(ShareReport { missing: names(), ..good.clone() }), Err(FailureCode::ShareIncomplete));
        assert_eq!(code(ShareReport { ungranted: true, ..good }), Err(FailureCode::ShareIncomplete));
    }
}
