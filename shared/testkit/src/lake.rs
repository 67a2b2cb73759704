//! An in-memory [`TableLog`] and the rules that every [`TableLog`] keeps.

mod metadata;

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use delivery::failure::{FailureCode, StepError};
use delivery::ids::{ConnectorId, RunKey};
use delivery::metadata::Row;
use delivery::ports::{
    Commit, DataChange, DataFile, FetchedFile, LoggedCommit, ManifestStore, PortError, PortErrorKind, ReadScope,
    RunStager, ShareReader, SharedFile, SharedView, TableContents, TableLog, WriteOutcome,
};
use delivery::run::Run;
use delivery::schema::{Column, ColumnType, PublicSchema};
use delivery::staged::{RejectedRows, StagedFile, StagedRun, staged_file_key};
use delivery::table::{TableName, table_path};
use delivery::timestamp::Timestamp;

use crate::faults::Faults;
use crate::state::InMemoryState;

/// Tables in memory, with staged runs and a recipient's view beside them. Files are names only.
#[derive(Debug, Default)]
pub struct InMemoryLake {
    /// Faults on demand.
    pub faults: Faults,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    staged: Vec<String>,
    manifests: BTreeMap<RunKey, StagedRun>,
    files: Vec<String>,
    /// Rows of files that were encoded, by file name.
    encoded: BTreeMap<String, Vec<Row>>,
    /// Rows of files that were put, by path.
    rows: BTreeMap<String, Vec<Row>>,
    logs: BTreeMap<String, Vec<LoggedCommit>>,
    /// For each table, the first version whose log entry was not cleaned up.
    kept_from: BTreeMap<String, u64>,
    writes: usize,
}

impl Inner {
    fn is_cleaned_up(&self, connector: &ConnectorId, table: &TableName, table_version: u64) -> bool {
        self.kept_from.get(&table_path(connector, table)).is_some_and(|kept_from| table_version < *kept_from)
    }
}

impl InMemoryLake {
    /// Puts a staged file into the storage.
    pub fn put_staged(&self, key: &str) {
        self.with(|inner| inner.staged.push(key.to_owned()));
    }

    /// Takes a staged file away, as its expiry does.
    pub fn remove_staged(&self, key: &str) {
        self.with(|inner| inner.staged.retain(|staged| staged != key));
    }

    /// How many commits a table's log has.
    #[must_use]
    pub fn commit_count(&self, connector: &ConnectorId, table: &TableName) -> usize {
        self.with(|inner| inner.logs.get(&table_path(connector, table)).map_or(0, Vec::len))
    }

    /// Takes log entries before a version away, as maintenance does when a checkpoint holds what they say.
    pub fn clean_up(&self, connector: &ConnectorId, table: &TableName, kept_from: u64) {
        self.with(|inner| inner.kept_from.insert(table_path(connector, table), kept_from));
    }

    /// Writes a table's files as one file, in one commit that changes no rows, as maintenance does.
    ///
    /// # Panics
    ///
    /// Panics if there is no such table.
    pub fn compact(&self, connector: &ConnectorId, table: &TableName) {
        self.with(|inner| {
            let path = table_path(connector, table);
            let log = inner.logs.get_mut(&path).expect("a table");
            let removes = contents(log).files;
            let rows: u64 =
                removes.iter().filter_map(|file| file.statistics.split(' ').next()?.parse::<u64>().ok()).sum();
            let added = DataFile {
                name: format!("compact-{}", log.len()),
                size_bytes: removes.iter().map(|file| file.size_bytes).sum(),
                statistics: format!("{rows} several"),
            };
            inner.files.push(format!("{path}/{}", added.name));
            let rows_of = |file: &DataFile| inner.rows.get(&format!("{path}/{}", file.name)).cloned();
            let kept = removes.iter().filter_map(rows_of).flatten().collect();
            inner.rows.insert(format!("{path}/{}", added.name), kept);
            log.push(LoggedCommit {
                schema_string: None,
                removes,
                adds: vec![added],
                transactions: Vec::new(),
                change: DataChange::Layout,
            });
        });
    }

    /// How many writes were offered, taken versions included.
    #[must_use]
    pub fn writes_offered(&self) -> usize {
        self.with(|inner| inner.writes)
    }

    fn call<T>(
        &self,
        name: &'static str,
        act: impl FnOnce(&mut Inner) -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        self.faults.call(name, || self.with(act))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// What some commits from a table's first on come to.
fn contents(commits: &[LoggedCommit]) -> TableContents {
    let mut contents = TableContents { schema_string: String::new(), files: Vec::new() };
    for commit in commits {
        if let Some(schema_string) = &commit.schema_string {
            contents.schema_string.clone_from(schema_string);
        }
        contents.files.retain(|file| !commit.removes.iter().any(|removed| removed.name == file.name));
        contents.files.extend(commit.adds.iter().cloned());
    }
    contents
}

fn missing(operation: &'static str) -> PortError {
    PortError::new(PortErrorKind::NotFound, operation, "not in the storage")
}

#[async_trait]
impl TableLog for InMemoryLake {
    async fn write(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        table_version: u64,
        commit: &Commit,
    ) -> Result<WriteOutcome, PortError> {
        self.call("write", |inner| {
            inner.writes += 1;
            if inner.is_cleaned_up(connector, table, table_version) {
                // A real store would take it: two histories in one log.
                return Err(PortError::new(
                    PortErrorKind::InvalidData,
                    "write a commit",
                    "a version that was cleaned up",
                ));
            }
            let log = inner.logs.entry(table_path(connector, table)).or_default();
            let length = log.len() as u64;
            if table_version < length {
                return Ok(WriteOutcome::Taken);
            }
            if table_version > length {
                return Err(PortError::new(PortErrorKind::InvalidData, "write a commit", "a gap in the log"));
            }
            log.push(LoggedCommit {
                schema_string: commit.schema_string.clone(),
                removes: commit.removes.clone(),
                adds: commit.adds.clone(),
                transactions: commit.transactions.clone(),
                change: commit.change,
            });
            Ok(WriteOutcome::Written)
        })
    }

    async fn read(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        table_version: u64,
    ) -> Result<Option<LoggedCommit>, PortError> {
        let index = usize::try_from(table_version).unwrap_or(usize::MAX);
        self.call("read", |inner| {
            if inner.is_cleaned_up(connector, table, table_version) {
                return Ok(None);
            }
            Ok(inner.logs.get(&table_path(connector, table)).and_then(|log| log.get(index)).cloned())
        })
    }

    async fn newest_version(&self, connector: &ConnectorId, table: &TableName) -> Result<Option<u64>, PortError> {
        Ok(self.with(|inner| {
            inner.logs.get(&table_path(connector, table)).and_then(|log| (log.len() as u64).checked_sub(1))
        }))
    }

    async fn transaction(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        application_id: &str,
    ) -> Result<Option<i64>, PortError> {
        self.call("transaction", |inner| {
            let log = inner.logs.get(&table_path(connector, table)).map(Vec::as_slice).unwrap_or_default();
            let newest = log.iter().rev().find_map(|commit| {
                commit.transactions.iter().find(|(id, _)| id == application_id).map(|(_, version)| *version)
            });
            Ok(newest)
        })
    }

    fn schema_string(&self, schema: &PublicSchema) -> String {
        format!("{:?}", schema.columns())
    }

    async fn contents(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        table_version: u64,
    ) -> Result<TableContents, PortError> {
        self.call("contents", |inner| {
            let log = inner.logs.get(&table_path(connector, table)).ok_or_else(|| missing("read a table"))?;
            let count = usize::try_from(table_version).unwrap_or(usize::MAX).saturating_add(1);
            log.get(..count).map(contents).ok_or_else(|| missing("read a table version"))
        })
    }

    async fn copy_staged(
        &self,
        file: &StagedFile,
        connector: &ConnectorId,
        table: &TableName,
        name: &str,
    ) -> Result<(), PortError> {
        self.call("copy_staged", |inner| {
            if !inner.staged.contains(&file.key) {
                return Err(missing("copy a data file"));
            }
            inner.files.push(format!("{}/{name}", table_path(connector, table)));
            Ok(())
        })
    }

    async fn copy_between(
        &self,
        connector: &ConnectorId,
        from: &TableName,
        to: &TableName,
        files: &[DataFile],
    ) -> Result<(), PortError> {
        self.call("copy_between", |inner| {
            for file in files {
                if !inner.files.contains(&format!("{}/{}", table_path(connector, from), file.name)) {
                    return Err(missing("copy a data file"));
                }
                inner.files.push(format!("{}/{}", table_path(connector, to), file.name));
            }
            Ok(())
        })
    }
}

#[async_trait]
impl ManifestStore for InMemoryLake {
    async fn staged(&self, run: &RunKey) -> Result<Option<StagedRun>, PortError> {
        self.call("staged", |inner| Ok(inner.manifests.get(run).cloned()))
    }
}

#[async_trait]
impl RunStager for InMemoryLake {
    /// Stages one file with the announced number of rows.
    async fn stage(&self, run: &Run, schema: &PublicSchema) -> Result<StagedRun, StepError> {
        self.call("stage", |inner| {
            let rows = run.output.row_count.unwrap_or(1);
            let key = staged_file_key(&run.key, 0);
            inner.staged.push(key.clone());
            let statistics = format!("{rows} {}", run.key.run);
            let staged = StagedRun {
                run: run.key.clone(),
                workflow_name: run.workflow_name.clone(),
                finished_at: run.finished_at,
                schema: schema.clone(),
                files: vec![StagedFile { key, size_bytes: rows * 10, rows, statistics }],
                rows,
                rejected: RejectedRows::default(),
            };
            inner.manifests.insert(run.key.clone(), staged.clone());
            Ok(staged)
        })
        .map_err(|error| StepError::caused(FailureCode::StagingUnavailable, "injected", error))
    }
}

/// Reads the lake's tables as a recipient would: those that are in the share only.
#[derive(Debug)]
pub struct InMemoryShareReader<'a> {
    /// The tables.
    pub lake: &'a InMemoryLake,
    /// What is shared.
    pub state: &'a InMemoryState,
}

#[async_trait]
impl ShareReader for InMemoryShareReader<'_> {
    async fn read(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        scope: ReadScope<'_>,
    ) -> Result<SharedView, PortError> {
        if !self.state.shared_tables(connector).contains(table) {
            return Err(missing("read a share"));
        }
        let newest = self.lake.newest_version(connector, table).await?.ok_or_else(|| missing("read a share"))?;
        let table_version = match scope {
            ReadScope::Newest => newest,
            ReadScope::Runs { table_version, .. } => table_version,
        };
        let contents = self.lake.contents(connector, table, table_version).await?;
        let file = |file: &DataFile| {
            let (rows, run_id) = file.statistics.split_once(' ').expect("statistics of a fake");
            SharedFile {
                url: file.name.clone(),
                size_bytes: file.size_bytes,
                rows: rows.parse().ok(),
                run_id: Some(run_id.to_owned()),
            }
        };
        Ok(SharedView {
            table_version,
            columns: vec![contents.schema_string],
            names: Vec::new(),
            files: contents.files.iter().map(file).collect(),
        })
    }

    async fn fetch_footer(&self, file: &SharedFile) -> Result<FetchedFile, PortError> {
        let rows = file.rows.unwrap_or_default();
        self.lake.call("fetch_footer", |_| {
            Ok(FetchedFile { size_bytes: file.size_bytes, rows, columns: vec!["name".to_owned()] })
        })
    }
}

/// The rules that every [`TableLog`] keeps. `staged` is a file that is in the storage; `prefix` keeps this run apart
/// from others in a shared store.
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn table_log_contract(log: &dyn TableLog, staged: &StagedFile, prefix: &str) {
    let connector = ConnectorId::new(format!("{prefix}-lake")).expect("a valid prefix");
    let (source, target) = (TableName::from_stored("WF_A__V1"), TableName::from_stored("WF_A__LATEST"));
    let schema = PublicSchema::from_columns(vec![Column {
        source: "a".to_owned(),
        name: "a".to_owned(),
        column_type: ColumnType::Double,
        source_type: "NUMBER".to_owned(),
        key: false,
        description: None,
    }]);
    let schema_string = log.schema_string(&schema);
    let file = |name: &str| DataFile {
        name: name.to_owned(),
        size_bytes: staged.size_bytes,
        statistics: staged.statistics.clone(),
    };
    let commit = |adds: Vec<DataFile>, removes: Vec<DataFile>, schema_string: Option<String>| Commit {
        schema_string,
        removes,
        adds,
        transactions: vec![("run/r".to_owned(), 7)],
        timestamp: Timestamp::from_micros(1_000_000).expect("a valid instant"),
        operation: "WRITE",
        change: DataChange::Rows,
    };

    assert_eq!(log.newest_version(&connector, &source).await.expect("list"), None, "there is no table yet");
    assert_eq!(log.read(&connector, &source, 0).await.expect("read"), None, "a missing version is no error");

    log.copy_staged(staged, &connector, &source, "r-0.parquet").await.expect("copy");
    log.copy_staged(staged, &connector, &source, "r-0.parquet").await.expect("copying again is harmless");
    let missing = StagedFile { key: format!("{}-missing", staged.key), ..staged.clone() };
    let error = log.copy_staged(&missing, &connector, &source, "r-1.parquet").await.expect_err("a missing file");
    assert_eq!(error.kind, PortErrorKind::NotFound);

    let first = commit(vec![file("r-0.parquet")], vec![], Some(schema_string.clone()));
    assert_eq!(log.write(&connector, &source, 0, &first).await.expect("write"), WriteOutcome::Written);
    assert_eq!(
        log.write(&connector, &source, 0, &first).await.expect("write"),
        WriteOutcome::Taken,
        "versions are written once"
    );
    let logged = log.read(&connector, &source, 0).await.expect("read").expect("version 0");
    assert_eq!(logged.schema_string.as_ref(), Some(&schema_string));
    assert_eq!(logged.transactions, [("run/r".to_owned(), 7)]);
    assert_eq!(logged.adds, first.adds);

    let second = commit(vec![file("r-1.parquet")], vec![file("r-0.parquet")], None);
    assert_eq!(log.write(&connector, &source, 1, &second).await.expect("write"), WriteOutcome::Written);
    assert_eq!(log.newest_version(&connector, &source).await.expect("list"), Some(1));
    let old = log.contents(&connector, &source, 0).await.expect("contents");
    assert_eq!((old.schema_string.as_str(), old.files), (schema_string.as_str(), vec![file("r-0.parquet")]));
    let new = log.contents(&connector, &source, 1).await.expect("contents");
    assert_eq!((new.schema_string, new.files), (schema_string, vec![file("r-1.parquet")]));

    log.copy_between(&connector, &source, &target, &[file("r-0.parquet")]).await.expect("copy");
    let error = log.copy_between(&connector, &source, &target, &[file("gone")]).await.expect_err("a missing file");
    assert_eq!(error.kind, PortErrorKind::NotFound);
}
