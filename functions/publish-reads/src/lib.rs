//! `PublishReads`: by a schedule, what the sharing server logged of reads since the last time becomes rows of
//! `SHARE_READS`.

use std::sync::Arc;

use async_trait::async_trait;
use aws::logs::CloudWatchReadLog;
use delivery::failure::{FailureCode, StepError};
use delivery::ports::{Clock, PortError, PortErrorKind};
use delivery::reads::{READS_TABLE_PATH, ReadLog, ReadsTable, SETTLE_SECONDS_USUAL, publish_reads};
use lambda::{Environment, SettingsError, Subject, SystemClock, Task};
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};
use tables::maintenance::{HISTORY_DAYS_USUAL, Maintenance, Policy, Work};
use tables::reads::ObjectStoreReadsTable;

const SECONDS_PER_DAY: i64 = 86_400;

/// The function.
pub struct PublishReads {
    log: Arc<dyn ReadLog>,
    table: Arc<dyn ReadsTable>,
    maintenance: Maintenance,
    clock: Arc<dyn Clock>,
    /// Days that the log keeps its lines.
    kept_days: i64,
}

impl std::fmt::Debug for PublishReads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublishReads")
    }
}

/// What the schedule or an operator sends.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// For who cannot wait: reads until so many seconds ago. A line that reaches the log later than that is not
    /// published.
    settle_seconds: Option<u32>,
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// Rows that were added.
    pub rows: u64,
    /// Until when the table holds all reads (ISO 8601, UTC).
    pub until: String,
}

#[async_trait]
impl Task for PublishReads {
    const STEP: &'static str = "PublishReads";
    const SETTINGS: &'static [&'static str] = &["TABLES_BUCKET", "LOG_GROUP_NAME", "LOG_RETENTION_DAYS"];
    type Input = Input;
    type Output = Published;

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let kept_days = environment
            .require_as("LOG_RETENTION_DAYS", "a number of days", |text| text.parse().ok().filter(|days| *days > 0))?;
        let bucket = aws::s3::bucket(environment.require("TABLES_BUCKET")?)
            .map_err(|_| SettingsError::Invalid { name: "TABLES_BUCKET", expected: "a bucket's name" })?;
        let store: Arc<dyn ObjectStore> = Arc::new(bucket);
        let config = aws::connect().await;
        Ok(Self {
            log: Arc::new(CloudWatchReadLog::new(&config, environment.require("LOG_GROUP_NAME")?)),
            table: Arc::new(ObjectStoreReadsTable::new(store.clone())),
            maintenance: Maintenance::new(store, Policy::keeping(HISTORY_DAYS_USUAL)),
            clock: Arc::new(SystemClock),
            kept_days,
        })
    }

    fn subject(_: &Input) -> Subject {
        Subject::Unknown
    }

    async fn handle(&self, input: Input) -> Result<Published, StepError> {
        let now = self.clock.now();
        let kept_since = now.plus_seconds(-self.kept_days * SECONDS_PER_DAY);
        let settled = now.plus_seconds(-i64::from(input.settle_seconds.unwrap_or(SETTLE_SECONDS_USUAL)));
        let done = publish_reads(&*self.log, &*self.table, kept_since, settled).await.map_err(classify)?;
        if done.rows > 0 {
            self.maintenance.maintain(READS_TABLE_PATH, Work::AfterCommits, now).await.map_err(classify)?;
        }
        tracing::info!(rows = done.rows, until = %done.until, "reads published");
        Ok(Published { rows: done.rows, until: done.until.to_string() })
    }
}

fn classify(error: PortError) -> StepError {
    let (code, message) = match error.kind {
        PortErrorKind::Throttled | PortErrorKind::Unavailable => {
            (FailureCode::ReadsUnavailable, "the log or the storage did not answer")
        }
        PortErrorKind::Denied => (FailureCode::ReadsDenied, "the publishing function's role lacks a permission"),
        PortErrorKind::NotFound | PortErrorKind::InvalidData => {
            (FailureCode::ReadsCorrupt, "the table of reads cannot be read or added to; the log has everything")
        }
    };
    StepError::caused(code, message, error)
}

#[cfg(test)]
mod tests {
    use delivery::reads::{Logged, SharedRead};
    use delivery::timestamp::Timestamp;
    use object_store::memory::InMemory;
    use tables::snapshot::TableReader;

    use super::*;

    struct Log;

    /// One read in each hour of 1970's first day.
    #[async_trait]
    impl ReadLog for Log {
        async fn reads(&self, from: Timestamp, until: Timestamp) -> Result<Logged, PortError> {
            let read = |hour| SharedRead {
                read_at: Timestamp::EPOCH.plus_seconds(hour * 3_600),
                connector: "acme".to_owned(),
                holder: "recipient".to_owned(),
                table: "WF_A__V1".to_owned(),
                table_version: 1,
                kind: "query".to_owned(),
                files: 1,
                bytes: 9,
            };
            let day = (0_i64..24).map(read);
            Ok(Logged::All(day.filter(|read| from <= read.read_at && read.read_at < until).collect()))
        }
    }

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp::EPOCH.plus_seconds(12 * 3_600)
        }
    }

    #[tokio::test]
    async fn reads_become_rows_of_the_table_once() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let function = PublishReads {
            log: Arc::new(Log),
            table: Arc::new(ObjectStoreReadsTable::new(store.clone())),
            maintenance: Maintenance::new(store.clone(), Policy::keeping(HISTORY_DAYS_USUAL)),
            clock: Arc::new(Noon),
            kept_days: 1,
        };
        let said = function.handle(Input::default()).await.unwrap();
        assert_eq!(serde_json::to_value(&said).unwrap()["rows"], 12);
        assert_eq!(function.handle(Input { settle_seconds: Some(1) }).await.unwrap().rows, 0, "once each");
        let snapshot = TableReader::new(store.clone()).snapshot(READS_TABLE_PATH, None).await.unwrap();
        assert_eq!(snapshot.file_count(), 1);
    }
}
