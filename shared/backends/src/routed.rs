//! One sharing backend in front of two: the connector says which of them serves it.
//!
//! The connector's record is read only where nothing else says the backend, and only in a deployment that has two. A
//! delivery to a table that is known to be in its share comes here with nothing.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use delivery::connector::{Backend, Connector};
use delivery::ids::ConnectorId;
use delivery::ports::{
    Connected, ConnectorStore, PortError, PortErrorKind, Provisioned, RecipientBackend, Refusal, Refused, ShareReport,
    SharingBackend,
};
use delivery::table::TableName;
use delivery::timestamp::Timestamp;

const CHOOSE: &str = "choose the connector's sharing backend";

/// Both sides of a sharing backend.
pub trait ShareBackend: SharingBackend + RecipientBackend {}

impl<T: SharingBackend + RecipientBackend> ShareBackend for T {}

/// A deployment without a workspace.
#[derive(Debug, thiserror::Error)]
#[error("it names no Databricks workspace; deploy it with DatabricksHost, or choose the open backend")]
struct NoWorkspace;

/// A connector that needs a workspace, in a deployment that has none.
pub(crate) fn unsupported(operation: &'static str) -> PortError {
    PortError::new(PortErrorKind::Denied, operation, Refused::new(Refusal::Unsupported, NoWorkspace))
}

/// The backends of a deployment as one.
pub struct Routed {
    connectors: Arc<dyn ConnectorStore>,
    open: Arc<dyn ShareBackend>,
    databricks: Option<Arc<dyn ShareBackend>>,
}

impl fmt::Debug for Routed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routed").field("databricks", &self.databricks.is_some()).finish_non_exhaustive()
    }
}

impl Routed {
    /// Our own server, and a workspace if the deployment has one.
    #[must_use]
    pub fn new(
        connectors: Arc<dyn ConnectorStore>,
        open: Arc<dyn ShareBackend>,
        databricks: Option<Arc<dyn ShareBackend>>,
    ) -> Self {
        Self { connectors, open, databricks }
    }

    fn of(&self, connector: &Connector) -> Result<&dyn ShareBackend, PortError> {
        match connector.backend {
            Backend::Open => Ok(&*self.open),
            Backend::Databricks => self.databricks.as_deref().ok_or_else(|| unsupported(CHOOSE)),
        }
    }

    async fn of_id(&self, id: &ConnectorId) -> Result<&dyn ShareBackend, PortError> {
        if self.databricks.is_none() {
            // A connector of a workspace that is gone has no share here, and is told so.
            return Ok(&*self.open);
        }
        match self.connectors.connector(id).await? {
            Some(connector) => self.of(&connector),
            None => Err(PortError::new(PortErrorKind::NotFound, CHOOSE, "the connector does not exist")),
        }
    }
}

#[async_trait]
impl SharingBackend for Routed {
    async fn provision(&self, connector: &Connector) -> Result<Provisioned, PortError> {
        self.of(connector)?.provision(connector).await
    }

    async fn add_table(&self, connector: &ConnectorId, table: &TableName) -> Result<(), PortError> {
        self.of_id(connector).await?.add_table(connector, table).await
    }

    async fn add_tables(&self, connector: &ConnectorId, tables: &[TableName]) -> Result<(), PortError> {
        self.of_id(connector).await?.add_tables(connector, tables).await
    }

    async fn present(&self, connector: &ConnectorId, tables: &[TableName]) -> Result<Vec<TableName>, PortError> {
        self.of_id(connector).await?.present(connector, tables).await
    }

    async fn remove_table(&self, connector: &ConnectorId, table: &TableName) -> Result<(), PortError> {
        self.of_id(connector).await?.remove_table(connector, table).await
    }

    async fn refresh_table(&self, connector: &ConnectorId, table: &TableName) -> Result<(), PortError> {
        self.of_id(connector).await?.refresh_table(connector, table).await
    }
}

#[async_trait]
impl RecipientBackend for Routed {
    async fn connect(&self, connector: &Connector) -> Result<Connected, PortError> {
        self.of(connector)?.connect(connector).await
    }

    async fn verify(&self, connector: &Connector, tables: &[TableName]) -> Result<ShareReport, PortError> {
        self.of(connector)?.verify(connector, tables).await
    }

    async fn expire_tokens(
        &self,
        connector: &Connector,
        overlap_seconds: u32,
        now: Timestamp,
    ) -> Result<(), PortError> {
        self.of(connector)?.expire_tokens(connector, overlap_seconds, now).await
    }

    async fn revoke(&self, connector: &Connector, now: Timestamp) -> Result<(), PortError> {
        self.of(connector)?.revoke(connector, now).await
    }
}

#[cfg(test)]
mod tests {
    use testkit::builders::{PutConnector as _, connector, instant};
    use testkit::recipient_contract::recipient_backend_contract;
    use testkit::state::InMemoryState;
    use testkit::state_contract::sharing_backend_contract;

    use super::*;

    fn of(id: &str, backend: Backend) -> Connector {
        Connector { backend, ..connector(id, "t") }
    }

    #[tokio::test]
    async fn each_connector_is_served_by_its_own_backend() {
        let states = [(); 3].map(|()| Arc::new(InMemoryState::default()));
        let [connectors, open, databricks] = &states;
        let routed = Routed::new(connectors.clone(), open.clone(), Some(databricks.clone()));
        let table = TableName::from_stored("WF_A__V1");
        for (made, home, other) in
            [(of("a", Backend::Open), open, databricks), (of("b", Backend::Databricks), databricks, open)]
        {
            let _ = routed.provision(&made).await.unwrap();
            connectors.put_connector(&made).await.unwrap();
            let _ = routed.connect(&made).await.unwrap();
            let strangers = other.faults.calls().len();
            routed.add_table(&made.id, &table).await.unwrap();
            assert_eq!(home.shared_tables(&made.id), std::slice::from_ref(&table));
            let second = TableName::from_stored("WF_A__V2");
            routed.add_tables(&made.id, &[table.clone(), second.clone()]).await.unwrap();
            assert_eq!(home.shared_tables(&made.id), [table.clone(), second.clone()]);
            let present = routed.present(&made.id, std::slice::from_ref(&second)).await.unwrap();
            assert_eq!(present, std::slice::from_ref(&second));
            routed.remove_table(&made.id, &second).await.unwrap();
            assert!(routed.verify(&made, std::slice::from_ref(&table)).await.unwrap().is_good());
            routed.refresh_table(&made.id, &table).await.unwrap();
            routed.remove_table(&made.id, &table).await.unwrap();
            routed.expire_tokens(&made, 0, instant(0)).await.unwrap();
            routed.revoke(&made, instant(0)).await.unwrap();
            assert_eq!(other.faults.calls().len(), strangers, "the other one is not asked");
        }
        let error = routed.add_table(&of("nobody", Backend::Open).id, &table).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_deployment_without_a_workspace_asks_for_no_connector_and_refuses_those_that_need_one() {
        let state = Arc::new(InMemoryState::default());
        let nobody = Arc::new(InMemoryState::default());
        let routed = Routed::new(nobody.clone(), state.clone(), None);
        sharing_backend_contract(&routed, "p").await;
        recipient_backend_contract(&routed, &routed, &connector("any", "any").recipient, "p").await;
        assert_eq!(nobody.faults.calls().len(), 0, "no connector was read");
        let hosted = of("b", Backend::Databricks);
        for error in [
            routed.provision(&hosted).await.map(drop).unwrap_err(),
            routed.connect(&hosted).await.map(drop).unwrap_err(),
            routed.revoke(&hosted, instant(0)).await.unwrap_err(),
        ] {
            assert_eq!(Refused::of(&error).map(|refused| refused.refusal), Some(Refusal::Unsupported));
        }
    }
}
