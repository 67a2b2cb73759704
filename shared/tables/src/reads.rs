//! The table of the audit of reads: rows appended, and until when it is complete, in one commit.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use delivery::metadata::Row;
use delivery::ports::{Commit, DataChange, PortError, WriteOutcome};
use delivery::reads::{Appended, READS_COLUMNS, READS_TABLE_PATH, ReadsTable, SharedRead};
use delivery::timestamp::Timestamp;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};

use crate::log::{port_error, write_commit};
use crate::metadata::{encode, schema_of};
use crate::snapshot::TableReader;

/// The application of the `txn` action whose version is the end of the newest window, in microseconds.
const APPLICATION: &str = "share-reads";

/// `SHARE_READS` in one store.
#[derive(Debug)]
pub struct ObjectStoreReadsTable {
    store: Arc<dyn ObjectStore>,
    reader: TableReader,
}

impl ObjectStoreReadsTable {
    /// The table of a store, such as the tables bucket.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { reader: TableReader::new(store.clone()), store }
    }
}

#[async_trait]
impl ReadsTable for ObjectStoreReadsTable {
    async fn published_until(&self) -> Result<Option<Timestamp>, PortError> {
        Ok(self.reader.transaction(READS_TABLE_PATH, APPLICATION).await?.and_then(Timestamp::from_micros))
    }

    async fn append(
        &self,
        from: Option<Timestamp>,
        until: Timestamp,
        reads: &[SharedRead],
    ) -> Result<Appended, PortError> {
        // The version comes first: whoever moves the end on after it takes the version behind it, too.
        let newest = self.reader.newest_version(READS_TABLE_PATH).await?;
        if self.published_until().await? != from {
            return Ok(Appended::Overtaken);
        }
        let rows: Vec<Row> = reads.iter().map(SharedRead::row).collect();
        let encoded = encode(READS_COLUMNS, &format!("until-{}", until.micros()), &rows)?;
        let path = Path::from(READS_TABLE_PATH).join(encoded.file.name.as_str());
        let put = self.store.put(&path, PutPayload::from(Bytes::from(encoded.bytes))).await;
        put.map_err(|error| port_error("put a file of the audit", error))?;
        let commit = Commit {
            schema_string: newest.is_none().then(|| schema_of(READS_COLUMNS)),
            removes: Vec::new(),
            adds: vec![encoded.file],
            transactions: vec![(APPLICATION.to_owned(), until.micros())],
            timestamp: until,
            operation: "WRITE",
            change: DataChange::Rows,
        };
        let version = newest.map_or(0, |newest| newest + 1);
        Ok(match write_commit(&*self.store, READS_TABLE_PATH, version, &commit).await? {
            WriteOutcome::Written => Appended::Done,
            WriteOutcome::Taken => Appended::Overtaken,
        })
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn read(micros: i64) -> SharedRead {
        SharedRead {
            read_at: Timestamp::from_micros(micros).unwrap(),
            connector: "acme".to_owned(),
            holder: "recipient".to_owned(),
            table: "WF_A__V1".to_owned(),
            table_version: 1,
            kind: "query".to_owned(),
            files: 1,
            bytes: 9,
        }
    }

    #[tokio::test]
    async fn windows_are_appended_once_each() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let table = ObjectStoreReadsTable::new(store.clone());
        let at = |micros| Timestamp::from_micros(micros).unwrap();
        assert_eq!(table.published_until().await.unwrap(), None);
        assert_eq!(table.append(None, at(100), &[read(1), read(2)]).await.unwrap(), Appended::Done);
        assert_eq!(table.append(None, at(100), &[read(1), read(2)]).await.unwrap(), Appended::Overtaken);
        assert_eq!(table.published_until().await.unwrap(), Some(at(100)));
        assert_eq!(table.append(Some(at(100)), at(200), &[read(101)]).await.unwrap(), Appended::Done);

        let snapshot = TableReader::new(store).snapshot(READS_TABLE_PATH, None).await.unwrap();
        assert_eq!((snapshot.version, snapshot.file_count()), (1, 2));
        let rows = snapshot.files().map(|file| file.stats.as_deref().unwrap_or_default().contains(r#""numRecords":2"#));
        assert_eq!(rows.collect::<Vec<_>>(), [true, false]);
    }
}
