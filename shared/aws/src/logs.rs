//! CloudWatch Logs: the sharing server's log, as the audit reads it.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_cloudwatchlogs::Client;
use delivery::ports::PortError;
use delivery::reads::{Logged, READS_MAX, ReadLog};
use delivery::timestamp::Timestamp;
use events::shared_read;

use crate::failure::port_error;

const READ: &str = "read the sharing server's log";

/// A line may be noted by the service some time after the server wrote it, in milliseconds. Shorter than the time that
/// the audit leaves a window to settle.
const LATE_MILLISECONDS_MAX: i64 = 300_000;

/// A log group that the sharing server writes.
#[derive(Debug, Clone)]
pub struct CloudWatchReadLog {
    client: Client,
    group: String,
}

impl CloudWatchReadLog {
    /// The log group of a name.
    #[must_use]
    pub fn new(config: &SdkConfig, group: &str) -> Self {
        Self { client: Client::new(config), group: group.to_owned() }
    }
}

#[async_trait]
impl ReadLog for CloudWatchReadLog {
    async fn reads(&self, from: Timestamp, until: Timestamp) -> Result<Logged, PortError> {
        let mut reads = Vec::new();
        let mut token = None;
        loop {
            let page = self
                .client
                .filter_log_events()
                .log_group_name(&self.group)
                .start_time(from.millis())
                .end_time(until.millis() + LATE_MILLISECONDS_MAX)
                .filter_pattern(format!("\"{}\"", shared_read::MESSAGE))
                .set_next_token(token)
                .send()
                .await
                .map_err(|error| port_error(READ, error))?;
            let lines = page.events().iter().filter_map(|event| event.message());
            let found = lines.filter_map(shared_read::parse);
            reads.extend(found.filter(|read| from <= read.read_at && read.read_at < until));
            token = page.next_token;
            if reads.len() > READS_MAX {
                return Ok(Logged::TooMany);
            }
            if token.is_none() {
                return Ok(Logged::All(reads));
            }
        }
    }
}
