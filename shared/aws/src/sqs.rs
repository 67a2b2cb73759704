//! SQS: where refused messages go.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::MessageAttributeValue;
use delivery::failure::StepError;
use delivery::ports::{PortError, PortErrorKind, RefusedMessages};

use crate::failure::port_error;

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
        self.client
            .send_message()
            .queue_url(&self.queue_url)
            .message_body(body)
            .message_attributes("failureCode", attribute(error.code.as_str())?)
            .message_attributes("failureReason", attribute(&error.message)?)
            .send()
            .await
            .map_err(|error| port_error(REFUSE, error))?;
        Ok(())
    }
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
