//! What recipients see: shared tables by the official client, and tables in storage by packages that know nothing of
//! us.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::stack::Stack;

/// A table as a client read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// The columns, in order.
    pub columns: Vec<String>,
    /// The rows: times in ISO form, decimals as text.
    pub rows: Vec<Value>,
}

impl Read {
    pub(crate) fn of(columns: &Value, rows: Vec<Value>) -> Self {
        let columns = columns.as_array().unwrap().iter().map(|c| c.as_str().unwrap().to_owned()).collect();
        Self { columns, rows }
    }

    /// The rows in which a column has this text.
    #[must_use]
    pub fn having(&self, column: &str, text: &str) -> Vec<Value> {
        self.rows.iter().filter(|row| row[column].as_str() == Some(text)).cloned().collect()
    }
}

/// Rows as texts with their names in order, sorted: equal for tables that hold the same rows.
#[must_use]
pub fn sorted<'a>(rows: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    let ordered = |row: &Value| {
        let names: BTreeMap<_, _> = row.as_object().unwrap().iter().collect();
        serde_json::to_string(&names).unwrap()
    };
    let mut rows: Vec<_> = rows.into_iter().map(ordered).collect();
    rows.sort();
    rows
}

impl Stack {
    /// The columns and rows of a shared table, as the official client reads them.
    pub async fn rows(&self, profile: &Path, connector: &str, table: &str) -> (Vec<String>, Vec<Value>) {
        self.rows_in_format(profile, connector, table, "parquet").await
    }

    /// The columns and rows of a shared table in a response format.
    pub async fn rows_in_format(
        &self,
        profile: &Path,
        connector: &str,
        table: &str,
        format: &str,
    ) -> (Vec<String>, Vec<Value>) {
        let read = self.read(profile, connector, table, &[format]).await;
        (read.columns, read.rows)
    }

    /// The rows of a shared table at a table version.
    pub async fn rows_at(&self, profile: &Path, connector: &str, table: &str, version: u64) -> Vec<Value> {
        self.read(profile, connector, table, &["parquet", &version.to_string()]).await.rows
    }

    async fn read(&self, profile: &Path, connector: &str, table: &str, how: &[&str]) -> Read {
        let name = format!("{connector}.data.{table}");
        let arguments: Vec<_> = [profile.to_str().unwrap(), "rows", &name].iter().chain(how).copied().collect();
        let lines =
            self.client("read_table.py", &arguments).await.unwrap_or_else(|error| panic!("reading {name}: {error}"));
        let mut lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let columns = lines.next().unwrap();
        Read::of(&columns["columns"], lines.collect())
    }

    /// Several shared tables, read by one client, by their names.
    pub async fn read_tables<'a>(
        &self,
        profile: &Path,
        connector: &str,
        tables: impl IntoIterator<Item = &'a str>,
    ) -> BTreeMap<String, Read> {
        let prefix = format!("{connector}.data.");
        let names: Vec<_> = tables.into_iter().map(|table| format!("{prefix}{table}")).collect();
        let mut arguments = vec![profile.to_str().unwrap(), "many"];
        arguments.extend(names.iter().map(String::as_str));
        let lines = self.client("read_table.py", &arguments).await.unwrap_or_else(|error| panic!("{names:?}: {error}"));
        let read = |line: &String| {
            let mut table: Value = serde_json::from_str(line).unwrap();
            let name = table["table"].as_str().unwrap().strip_prefix(&prefix).unwrap().to_owned();
            let Value::Array(rows) = table["rows"].take() else { panic!("{name} has no rows") };
            (name, Read::of(&table["columns"], rows))
        };
        lines.iter().map(read).collect()
    }

    /// The tables that a recipient sees, as `share.schema.table`.
    pub async fn tables(&self, profile: &Path) -> Vec<String> {
        self.client("read_table.py", &[profile.to_str().unwrap(), "tables"]).await.unwrap()
    }

    /// The newest version of a shared table, as the sharing server says it.
    pub async fn table_version(&self, profile: &Path, connector: &str, table: &str) -> u64 {
        let name = format!("{connector}.data.{table}");
        self.client("read_table.py", &[profile.to_str().unwrap(), "version", &name]).await.unwrap()[0].parse().unwrap()
    }

    /// What the `deltalake` package says of a table in storage.
    pub async fn judge(&self, connector: &str, table: &str) -> Value {
        let uri = format!("s3://{}/connectors/{connector}/{table}", self.output("TablesBucketName"));
        let lines = self.client("judge_table.py", &[&uri]).await.unwrap_or_else(|error| panic!("{uri}: {error}"));
        serde_json::from_str(lines.last().unwrap()).unwrap()
    }

    /// The commits in a table's log, as versions.
    pub async fn commits(&self, connector: &str, table: &str) -> Vec<u64> {
        let keys = self.keys("TablesBucketName", &format!("connectors/{connector}/{table}/_delta_log")).await;
        let version = |key: &String| key.rsplit('/').next()?.strip_suffix(".json")?.parse().ok();
        let mut versions: Vec<u64> = keys.iter().filter_map(version).collect();
        versions.sort_unstable();
        versions
    }

    /// The actions of one commit of a table's log.
    pub async fn commit(&self, connector: &str, table: &str, version: u64) -> Vec<Value> {
        let key = format!("connectors/{connector}/{table}/_delta_log/{version:020}.json");
        let bytes = self.object("TablesBucketName", &key).await.unwrap_or_else(|| panic!("{key} is not there"));
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
