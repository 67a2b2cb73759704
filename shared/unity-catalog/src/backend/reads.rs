//! [`RecipientBackend`]: the recipient's side, from connecting to revoking.

use async_trait::async_trait;
use delivery::connector::{Connector, Recipient};
use delivery::ports::{Connected, PortError, RecipientBackend, ShareReport};
use delivery::table::TableName;
use delivery::timestamp::Timestamp;

use super::{BackendError, Reader, UnityCatalogBackend};

const VERIFY: &str = "read a connector's share and recipient back";

#[async_trait]
impl RecipientBackend for UnityCatalogBackend {
    /// Adopts or makes the recipient, and grants it the connector's share, which nobody else may read from then on: the
    /// connector may have had another recipient before. A foreign one is refused by its name: the error says which.
    async fn connect(&self, connector: &Connector) -> Result<Connected, PortError> {
        let reader = Reader::of(connector, self.workspace.now());
        let adopted = self.adopt(&connector.id, &reader).await?;
        self.grant_alone(&connector.id, &adopted.recipient).await?;
        Ok(Connected::Ready)
    }

    /// A table that the metastore says nothing of is an error that may pass; an IP access list that does not read back
    /// is one that does not.
    async fn verify(&self, connector: &Connector, tables: &[TableName]) -> Result<ShareReport, PortError> {
        let reader = Reader::of(connector, self.workspace.now());
        let recipient = self.find_recipient(&connector.id, &reader).await?;
        let recipient = recipient.filter(|recipient| self.is_ours(recipient, &connector.id, &reader));
        if let Some(recipient) = &recipient {
            Self::check_addresses(recipient, &reader)?;
        }
        let name = recipient.as_ref().map(|recipient| recipient.name.as_str());
        let report = self.report(&connector.id, name.unwrap_or_default(), tables).await?;
        let told = report.missing.is_empty() && report.denied.is_empty();
        if told && !report.unproven.is_empty() {
            return Err(BackendError::NotProven { tables: report.unproven }.during(VERIFY));
        }
        Ok(ShareReport {
            ungranted: name.is_none() || !report.access.is_granted(),
            missing: report.missing,
            denied: report.denied,
        })
    }

    /// Tokens of the workspace's own end; a metastore that reads has none.
    async fn expire_tokens(
        &self,
        connector: &Connector,
        overlap_seconds: u32,
        now: Timestamp,
    ) -> Result<(), PortError> {
        match &connector.recipient {
            Recipient::Databricks(_) => Ok(()),
            Recipient::Token(_) => self.end_tokens_of_before(connector, overlap_seconds, now).await,
        }
    }

    /// Takes every grant of the connector's own share, those of recipients of before included, then ends its tokens,
    /// those of before it read in a metastore included. The recipients stay: a metastore's may read other shares of
    /// ours.
    async fn revoke(&self, connector: &Connector, now: Timestamp) -> Result<(), PortError> {
        let ungranted = self.ungrant_all(connector).await;
        // A grant that cannot be taken must not keep the tokens alive.
        let ended = self.end_tokens(connector, 0, now).await;
        ungranted.and(ended)
    }
}
