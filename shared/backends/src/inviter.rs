//! Inviting by the backend that hands a connector's credential out.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use delivery::connector::{Backend, Connector};
use delivery::ports::{Invitation, Inviter, PortError};
use delivery::timestamp::Timestamp;

use crate::routed::unsupported;

/// An [`Inviter`] that chooses by the connector's backend.
pub struct RoutedInviter {
    open: Arc<dyn Inviter>,
    databricks: Option<Arc<dyn Inviter>>,
}

impl fmt::Debug for RoutedInviter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutedInviter").field("databricks", &self.databricks.is_some()).finish_non_exhaustive()
    }
}

impl RoutedInviter {
    /// Invites to our own server, or to a workspace if the deployment has one.
    #[must_use]
    pub fn new(open: Arc<dyn Inviter>, databricks: Option<Arc<dyn Inviter>>) -> Self {
        Self { open, databricks }
    }

    fn of(&self, connector: &Connector) -> Result<&dyn Inviter, PortError> {
        match connector.backend {
            Backend::Open => Ok(&*self.open),
            Backend::Databricks => self.databricks.as_deref().ok_or_else(|| unsupported("invite a recipient")),
        }
    }
}

#[async_trait]
impl Inviter for RoutedInviter {
    async fn invitation(&self, connector: &Connector) -> Result<Invitation, PortError> {
        self.of(connector)?.invitation(connector).await
    }

    async fn invite(&self, connector: &Connector, now: Timestamp) -> Result<(), PortError> {
        self.of(connector)?.invite(connector, now).await
    }
}
