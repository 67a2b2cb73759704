//! A share as its connector's scope has it: tables of workflows that are not in scope leave it, and tables of workflows
//! in scope that went missing come back. No data is deleted, and a table that was never shared waits for its delivery.

use std::collections::{BTreeMap, BTreeSet};

use crate::connector::Connector;
use crate::ids::WorkflowId;
use crate::ports::{PortError, SharingBackend, TableStore};
use crate::table::{Membership, TableName, VersionTable};

/// The tables of one workflow.
struct WorkflowTables {
    latest: TableName,
    /// In the order of their numbers.
    versions: Vec<VersionTable>,
}

impl WorkflowTables {
    /// Every name, `__LATEST` first.
    fn names(&self) -> impl Iterator<Item = TableName> {
        [self.latest.clone()].into_iter().chain(self.versions.iter().map(|table| table.name.clone()))
    }

    /// The version tables that were put into the share at some time, in the order of their numbers.
    fn shared(&self) -> Vec<TableName> {
        let shared = self.versions.iter().filter(|table| table.shared == Membership::Shared);
        shared.map(|table| table.name.clone()).collect()
    }
}

/// Takes the tables of workflows that are not in the connector's scope out of its share: `__LATEST` first, so that a
/// workflow that comes back into scope gets all of them again, wherever this ended.
pub(crate) async fn withdraw(
    tables: &dyn TableStore,
    backend: &dyn SharingBackend,
    connector: &Connector,
) -> Result<(), PortError> {
    let beyond = workflows(tables, connector, |workflow| !connector.workflows.contains(workflow)).await?;
    for table in present(backend, connector, &beyond).await? {
        backend.remove_table(&connector.id, &table).await?;
    }
    Ok(())
}

/// Puts back what is missing of the workflows in the connector's scope, and says what that was: the newest version table
/// of each, and all tables of a workflow whose `__LATEST` is missing. An older version table alone may have been taken out
/// to make room. `__LATEST` comes last, so that a half of this is not taken for the whole.
pub(crate) async fn restore(
    tables: &dyn TableStore,
    backend: &dyn SharingBackend,
    connector: &Connector,
) -> Result<Vec<TableName>, PortError> {
    let within = workflows(tables, connector, |workflow| connector.workflows.contains(workflow)).await?;
    let there: BTreeSet<_> = present(backend, connector, &within).await?.into_iter().collect();
    let mut missing = Vec::new();
    for (workflow, of) in &within {
        let mut wanted = of.shared();
        if !there.contains(&of.latest) && was_promoted(tables, connector, workflow).await? {
            wanted.push(of.latest.clone());
        } else {
            wanted.drain(..wanted.len().saturating_sub(1));
        }
        missing.extend(wanted.into_iter().filter(|table| !there.contains(table)));
    }
    if !missing.is_empty() {
        backend.add_tables(&connector.id, &missing).await?;
    }
    Ok(missing)
}

async fn was_promoted(
    tables: &dyn TableStore,
    connector: &Connector,
    workflow: &WorkflowId,
) -> Result<bool, PortError> {
    let latest = tables.latest(&connector.id, workflow).await?;
    Ok(latest.is_some_and(|latest| latest.shared == Membership::Shared))
}

/// Some of the connector's workflows with their tables.
async fn workflows(
    tables: &dyn TableStore,
    connector: &Connector,
    wanted: impl Fn(&WorkflowId) -> bool,
) -> Result<BTreeMap<WorkflowId, WorkflowTables>, PortError> {
    let mut found = BTreeMap::new();
    for (workflow, table) in tables.version_tables(&connector.id).await? {
        if wanted(&workflow) {
            let new = || WorkflowTables { latest: TableName::latest(&table.label), versions: Vec::new() };
            found.entry(workflow).or_insert_with(new).versions.push(table);
        }
    }
    Ok(found)
}

/// What is in the share of these workflows. Nothing is asked for none.
async fn present(
    backend: &dyn SharingBackend,
    connector: &Connector,
    of: &BTreeMap<WorkflowId, WorkflowTables>,
) -> Result<Vec<TableName>, PortError> {
    let names: Vec<_> = of.values().flat_map(WorkflowTables::names).collect();
    if names.is_empty() { Ok(names) } else { backend.present(&connector.id, &names).await }
}
