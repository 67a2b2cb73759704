//! SQS: where refused messages go, and who is woken through queues.

mod redrive;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::MessageAttributeValue;
use delivery::failure::StepError;
use delivery::ids::{ConnectorId, sha256_hex};
use delivery::ports::{
    FullMaintenanceRequests, MaintenanceRequests, MetadataWriterWaker, PortError, PortErrorKind, RefusedMessages,
};
use delivery::table::TableName;
use delivery::timestamp::Timestamp;
use events::maintenance::{Extent, TableAsked};

use crate::failure::port_error;

pub use redrive::SqsDeadLetterQueue;

const WAKE: &str = "wake the metadata writer";
const MAINTAIN: &str = "ask for a table's maintenance";
const REFUSE: &str = "put a refused message into the dead-letter queue";

/// Sends refused messages to a dead-letter queue, body as it came, with the attributes `failureCode` and
/// `failureReason`. The queue itself notes when (`SentTimestamp`).
#[derive(Debug, Clone)]
pub struct DeadLetters {
    client: Client,
    queue_url: String,
}

impl DeadLetters {
    /// Refuses messages into one queue.
    #[must_use]
    pub fn new(config: &SdkConfig, queue_url: &str) -> Self {
        Self { client: Client::new(config), queue_url: queue_url.to_owned() }
    }
}

#[async_trait]
impl RefusedMessages for DeadLetters {
    async fn refuse(&self, body: &str, error: &StepError) -> Result<(), PortError> {
        let request = self.client.send_message().queue_url(&self.queue_url).message_body(body);
        let request = if self.queue_url.ends_with(".fifo") {
            let deduplication_id = sha256_hex(&[body, error.code.as_str()]);
            request.message_group_id("refused").message_deduplication_id(deduplication_id)
        } else {
            request
        };
        request
            .message_attributes("failureCode", attribute(error.code.as_str())?)
            .message_attributes("failureReason", attribute(&error.message)?)
            .send()
            .await
            .map_err(|error| port_error(REFUSE, error))?;
        Ok(())
    }
}

/// Wakes the writer of the metadata tables through a FIFO queue that holds messages back for `batch_seconds`.
///
/// Wakes of a connector in the same half of that time are one message: their deduplication id is the same. The message
/// comes out after the last of them: at least `batch_seconds` after the half began.
#[derive(Debug, Clone)]
pub struct MetadataQueue {
    client: Client,
    queue_url: String,
    batch_seconds: u32,
}

impl MetadataQueue {
    /// Wakes through one queue, whose `DelaySeconds` is `batch_seconds`: at least 2.
    #[must_use]
    pub fn new(config: &SdkConfig, queue_url: &str, batch_seconds: u32) -> Self {
        Self { client: Client::new(config), queue_url: queue_url.to_owned(), batch_seconds }
    }
}

#[async_trait]
impl MetadataWriterWaker for MetadataQueue {
    async fn wake(&self, connector: &ConnectorId, now: Timestamp) -> Result<(), PortError> {
        let body = events::metadata_wake::write(connector)
            .map_err(|error| PortError::new(PortErrorKind::InvalidData, WAKE, error))?;
        self.client
            .send_message()
            .queue_url(&self.queue_url)
            .message_body(body)
            .message_group_id(connector.as_str())
            .message_deduplication_id(deduplication_id(connector, now, self.batch_seconds))
            .send()
            .await
            .map_err(|error| port_error(WAKE, error))?;
        Ok(())
    }
}

/// Asks for the maintenance of tables through a queue, a message each.
#[derive(Debug, Clone)]
pub struct MaintenanceQueue {
    client: Client,
    queue_url: String,
}

impl MaintenanceQueue {
    /// Asks through one queue.
    #[must_use]
    pub fn new(config: &SdkConfig, queue_url: &str) -> Self {
        Self { client: Client::new(config), queue_url: queue_url.to_owned() }
    }

    async fn send(&self, connector: &ConnectorId, tables: &[TableName], extent: Extent) -> Result<(), PortError> {
        // One by one: they are few, and the emulator asks for a permission for batches that AWS does not have.
        for table in tables {
            let asked = TableAsked { connector: connector.clone(), table: table.clone(), extent };
            let body = events::maintenance::write(&asked)
                .map_err(|error| PortError::new(PortErrorKind::InvalidData, MAINTAIN, error))?;
            let request = self.client.send_message().queue_url(&self.queue_url).message_body(body);
            request.send().await.map_err(|error| port_error(MAINTAIN, error))?;
        }
        Ok(())
    }
}

#[async_trait]
impl MaintenanceRequests for MaintenanceQueue {
    async fn request(&self, connector: &ConnectorId, tables: &[TableName]) -> Result<(), PortError> {
        self.send(connector, tables, Extent::AfterCommits).await
    }
}

#[async_trait]
impl FullMaintenanceRequests for MaintenanceQueue {
    async fn request_full(&self, connector: &ConnectorId, tables: &[TableName]) -> Result<(), PortError> {
        self.send(connector, tables, Extent::Full).await
    }
}

/// The connector and which half of the batch time it is. At most 128 characters, as SQS demands: a long id is hashed.
fn deduplication_id(connector: &ConnectorId, now: Timestamp, batch_seconds: u32) -> String {
    let half_micros = i64::from((batch_seconds / 2).max(1)) * 1_000_000;
    let half = now.micros().div_euclid(half_micros).to_string();
    sha256_hex(&[connector.as_str(), &half])
}

/// SQS refuses an attribute that is empty.
fn attribute(text: &str) -> Result<MessageAttributeValue, PortError> {
    let text = if text.is_empty() { "-" } else { text };
    MessageAttributeValue::builder()
        .data_type("String")
        .string_value(text)
        .build()
        .map_err(|error| PortError::new(PortErrorKind::InvalidData, REFUSE, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_in_the_same_half_of_the_batch_time_are_one_message() {
        let connector = |id: &str| ConnectorId::new(id).unwrap();
        let id = |of: &str, millis, seconds| {
            deduplication_id(&connector(of), Timestamp::from_millis(millis).unwrap(), seconds)
        };
        assert_eq!(id("a", 0, 60), id("a", 29_999, 60));
        assert_ne!(id("a", 29_999, 60), id("a", 30_000, 60));
        assert_ne!(id("a", 0, 60), id("b", 0, 60));
        assert_eq!(id("a", 0, 2), id("a", 999, 2));
        assert_ne!(id("a", 999, 2), id("a", 1_000, 2));
        assert_eq!(id(&"x".repeat(128), 0, 60).len(), 64);
    }
}
