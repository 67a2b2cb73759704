//! A dead-letter queue whose messages go back to where they came from.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};
use delivery::ids::sha256_hex;
use delivery::ports::{DeadLetterQueue, PortError, PortErrorKind};
use delivery::redrive::{DeadLetter, QueueDepth};
use delivery::timestamp::Timestamp;

use crate::failure::port_error;

const RECEIVE: &str = "receive messages of a dead-letter queue";
const SEND: &str = "send a message back to its queue";
const LOOK: &str = "count the messages of a dead-letter queue";
const REMOVE: &str = "take a message out of a dead-letter queue";
const RELEASE: &str = "show a message of a dead-letter queue again";

/// The counts of a queue: messages that can be received, and hidden ones.
const DEPTH: [QueueAttributeName; 2] =
    [QueueAttributeName::ApproximateNumberOfMessages, QueueAttributeName::ApproximateNumberOfMessagesNotVisible];

/// How long a receive waits for a message, in seconds: with it every server of the queue is asked.
const RECEIVE_SECONDS: i32 = 2;

/// How long a received message is hidden from others, in seconds: longer than a page takes, and what a process that
/// ended had received is waited for this long (`delivery::redrive::HIDDEN_SECONDS_MAX`).
const HIDDEN_SECONDS: i32 = 30;

/// A dead-letter queue and its source. Bodies go back as they came, without the attributes of a refusal.
#[derive(Debug, Clone)]
pub struct SqsDeadLetterQueue {
    client: Client,
    dead_letters_url: String,
    source_url: String,
}

impl SqsDeadLetterQueue {
    /// The dead-letter queue of a source queue, both by their URLs.
    #[must_use]
    pub fn new(config: &SdkConfig, dead_letters_url: &str, source_url: &str) -> Self {
        Self {
            client: Client::new(config),
            dead_letters_url: dead_letters_url.to_owned(),
            source_url: source_url.to_owned(),
        }
    }
}

#[async_trait]
impl DeadLetterQueue for SqsDeadLetterQueue {
    async fn receive(&self, limit: usize) -> Result<Vec<DeadLetter>, PortError> {
        let answer = self
            .client
            .receive_message()
            .queue_url(&self.dead_letters_url)
            .max_number_of_messages(i32::try_from(limit).unwrap_or(1))
            .wait_time_seconds(RECEIVE_SECONDS)
            .visibility_timeout(HIDDEN_SECONDS)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_system_attribute_names(MessageSystemAttributeName::MessageGroupId)
            .send()
            .await
            .map_err(|error| port_error(RECEIVE, error))?;
        answer.messages.into_iter().flatten().map(read).collect()
    }

    async fn send_back(&self, letter: &DeadLetter) -> Result<(), PortError> {
        let request = self.client.send_message().queue_url(&self.source_url).message_body(&letter.body);
        let request = match &letter.group {
            // Sent twice for one receipt of it, it is one message.
            Some(group) if self.source_url.ends_with(".fifo") => {
                request.message_group_id(group).message_deduplication_id(sha256_hex(&["redrive", &letter.id]))
            }
            Some(_) | None => request,
        };
        request.send().await.map_err(|error| port_error(SEND, error))?;
        Ok(())
    }

    async fn depth(&self) -> Result<QueueDepth, PortError> {
        let [visible, hidden] = DEPTH;
        let request = self.client.get_queue_attributes().queue_url(&self.dead_letters_url);
        let request = request.attribute_names(visible.clone()).attribute_names(hidden.clone());
        let answer = request.send().await.map_err(|error| port_error(LOOK, error))?;
        let garbled = || PortError::new(PortErrorKind::InvalidData, LOOK, "the answer lacks a count");
        let count = |name: &QueueAttributeName| {
            let text = answer.attributes.as_ref().and_then(|all| all.get(name));
            text.and_then(|text| text.parse().ok()).ok_or_else(garbled)
        };
        Ok(QueueDepth { visible: count(&visible)?, hidden: count(&hidden)? })
    }

    async fn remove(&self, letter: &DeadLetter) -> Result<(), PortError> {
        let request = self.client.delete_message().queue_url(&self.dead_letters_url).receipt_handle(&letter.receipt);
        request.send().await.map_err(|error| port_error(REMOVE, error))?;
        Ok(())
    }

    async fn release(&self, letter: &DeadLetter) -> Result<(), PortError> {
        let request = self.client.change_message_visibility().queue_url(&self.dead_letters_url);
        let request = request.receipt_handle(&letter.receipt).visibility_timeout(0);
        request.send().await.map_err(|error| port_error(RELEASE, error))?;
        Ok(())
    }
}

fn read(message: Message) -> Result<DeadLetter, PortError> {
    let garbled = || PortError::new(PortErrorKind::InvalidData, RECEIVE, "a message lacks what every message has");
    let attribute = |name: &MessageSystemAttributeName| message.attributes.as_ref().and_then(|all| all.get(name));
    let sent_at = attribute(&MessageSystemAttributeName::SentTimestamp)
        .and_then(|millis| millis.parse().ok())
        .and_then(Timestamp::from_millis)
        .ok_or_else(garbled)?;
    let group = attribute(&MessageSystemAttributeName::MessageGroupId).cloned();
    Ok(DeadLetter {
        receipt: message.receipt_handle.ok_or_else(garbled)?,
        id: message.message_id.ok_or_else(garbled)?,
        group,
        body: message.body.ok_or_else(garbled)?,
        sent_at,
    })
}
