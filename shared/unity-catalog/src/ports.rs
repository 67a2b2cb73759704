//! What the client and the backend need of the world, beyond the ports of `delivery`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use delivery::ids::ConnectorId;
use delivery::ports::{PortError, TableLog};
use delivery::table::TableName;

/// A service principal's OAuth secret. It can be handed out once, and never printed, copied or stored.
pub struct ClientSecret(String);

impl ClientSecret {
    /// A secret as its store gave it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Gives up the secret. The caller sends it and drops it.
    #[must_use]
    pub fn reveal(self) -> String {
        self.0
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(redacted)")
    }
}

/// How a service principal shows who it is.
#[derive(Debug)]
pub struct ClientCredential {
    /// The OAuth client id. No secret.
    pub client_id: String,
    /// The OAuth secret.
    pub secret: ClientSecret,
}

/// Where the service principal's credential is kept. It is asked for each new token, about once an hour, so that a
/// changed secret needs no restart.
#[async_trait]
pub trait CredentialSource: Send + Sync {
    /// The credential as it is now.
    async fn credential(&self) -> Result<ClientCredential, PortError>;
}

/// Waits between attempts, and knows for how long anybody waits for what they come to. Passed in, so that tests wait for
/// nothing.
#[async_trait]
pub trait Pause: Send + Sync {
    /// Returns after this time.
    async fn pause(&self, duration: Duration);

    /// How long it is until whoever asks is ended; `None` if nobody ends it.
    fn time_left(&self) -> Option<Duration>;
}

/// Finds the schemas of a connector's tables, for their registration.
#[async_trait]
pub trait TableSchemas: Send + Sync {
    /// The Delta schema text of a table's newest version; `None` if the table has no log.
    async fn schema_text(&self, connector: &ConnectorId, table: &TableName) -> Result<Option<String>, PortError>;
}

/// Schemas as the tables' logs say them.
#[derive(Clone)]
pub struct LoggedSchemas(Arc<dyn TableLog>);

impl LoggedSchemas {
    /// Reads these logs.
    #[must_use]
    pub fn new(log: Arc<dyn TableLog>) -> Self {
        Self(log)
    }
}

impl fmt::Debug for LoggedSchemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoggedSchemas")
    }
}

#[async_trait]
impl TableSchemas for LoggedSchemas {
    async fn schema_text(&self, connector: &ConnectorId, table: &TableName) -> Result<Option<String>, PortError> {
        let Some(newest) = self.0.newest_version(connector, table).await? else { return Ok(None) };
        Ok(Some(self.0.contents(connector, table, newest).await?.schema_string))
    }
}
