//! Files of metadata tables. Their rows are kept beside them, so that a test reads a table's rows.

use async_trait::async_trait;
use delivery::ids::{ConnectorId, sha256_hex};
use delivery::metadata::{MetadataTable, Row};
use delivery::ports::{DataFile, EncodedFile, MetadataFiles, PortError, PortErrorKind};
use delivery::table::table_path;

use super::{InMemoryLake, contents};

impl InMemoryLake {
    /// The rows of a metadata table at its newest version.
    ///
    /// # Panics
    ///
    /// Panics if there is no such table, or if a file of it was never put.
    #[must_use]
    pub fn metadata_rows(&self, connector: &ConnectorId, table: MetadataTable) -> Vec<Row> {
        self.with(|inner| {
            let path = table_path(connector, &table.name());
            let files = contents(inner.logs.get(&path).expect("a table")).files;
            let rows = |name: &str| inner.rows.get(&format!("{path}/{name}")).cloned().expect("a file that was put");
            files.iter().flat_map(|file| rows(&file.name)).collect()
        })
    }
}

#[async_trait]
impl MetadataFiles for InMemoryLake {
    fn metadata_schema_string(&self, table: MetadataTable) -> String {
        format!("{:?}", table.columns())
    }

    fn encode(&self, table: MetadataTable, prefix: &str, rows: &[Row]) -> Result<EncodedFile, PortError> {
        if rows.iter().any(|row| row.len() != table.columns().len()) {
            return Err(PortError::new(PortErrorKind::InvalidData, "encode rows", "a row of another table"));
        }
        let text = format!("{rows:?}");
        let name = format!("{prefix}-{}.parquet", &sha256_hex(&[&text])[..16]);
        self.with(|inner| inner.encoded.insert(name.clone(), rows.to_vec()));
        let statistics = format!("{} metadata", rows.len());
        Ok(EncodedFile { file: DataFile { name, size_bytes: text.len() as u64, statistics }, bytes: text.into_bytes() })
    }

    async fn put_file(
        &self,
        connector: &ConnectorId,
        table: MetadataTable,
        file: &EncodedFile,
    ) -> Result<(), PortError> {
        self.call("put a file", |inner| {
            let path = format!("{}/{}", table_path(connector, &table.name()), file.file.name);
            inner.rows.insert(path.clone(), inner.encoded[&file.file.name].clone());
            inner.files.push(path);
            Ok(())
        })
    }
}
