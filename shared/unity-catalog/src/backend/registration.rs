//! Registering tables where they lie, and keeping the metastore's columns those of the log.

use delivery::ids::ConnectorId;
use delivery::ports::{PortError, PortErrorKind};
use delivery::table::{TableName, table_path};

use super::{BackendError, Registration, UnityCatalogBackend};
use crate::columns::{Column, columns};
use crate::error::{ApiError, ApiErrorKind};
use crate::shares::ShareUpdate;
use crate::statements::{Statement, Unquotable};
use crate::tables::{NewTable, Table};

const REGISTER: &str = "register a table in the metastore";
const REFRESH: &str = "refresh a table's columns in the metastore";

/// What refreshing a table came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Refreshed {
    /// The metastore's columns were the log's.
    Unchanged,
    /// The columns were replaced in place.
    InPlace,
    /// The table was registered anew, and was out of the share for a moment.
    Anew,
}

impl UnityCatalogBackend {
    /// Makes sure that a table is registered at its path; returns its full name.
    pub(super) async fn register(&self, connector: &ConnectorId, table: &TableName) -> Result<String, PortError> {
        let full_name = self.full_name(connector, table);
        if self.registered(&full_name, connector, table).await?.is_some() {
            return Ok(full_name);
        }
        match self.create(connector, table).await? {
            Ok(()) => {}
            // Somebody was faster: what they registered is looked at below.
            Err(error) if error.kind == ApiErrorKind::Exists => {}
            Err(error) if error.is_location_overlap() => {
                let cause = BackendError::PathTaken { table: full_name };
                return Err(cause.during(REGISTER));
            }
            Err(error) => return Err(error.into()),
        }
        // `CREATE TABLE IF NOT EXISTS` succeeds for a table elsewhere, too.
        let registered = self.registered(&full_name, connector, table).await?;
        registered
            .map(|_| full_name.clone())
            .ok_or_else(|| BackendError::NotThere { names: vec![full_name] }.during(REGISTER))
    }

    /// The table of a name, if there is one and it lies where ours does.
    pub(super) async fn registered(
        &self,
        full_name: &str,
        connector: &ConnectorId,
        table: &TableName,
    ) -> Result<Option<Table>, PortError> {
        let registered = self.workspace.table(full_name).await?;
        match registered {
            Some(registered) if registered.storage_location != self.location(connector, table) => {
                Err(BackendError::OtherTable { table: full_name.to_owned() }.during(REGISTER))
            }
            registered => Ok(registered),
        }
    }

    async fn create(&self, connector: &ConnectorId, table: &TableName) -> Result<Result<(), ApiError>, PortError> {
        let location = self.location(connector, table);
        let [catalog, schema, name] = &self.name_parts(connector, table);
        match &self.settings.registration {
            Registration::TablesApi { .. } => {
                let columns = self.logged_columns(REGISTER, connector, table).await?;
                let new = NewTable { catalog, schema, name, storage_location: &location, columns: &columns };
                Ok(self.workspace.create_table(new).await.map(drop))
            }
            Registration::Warehouse(warehouse) => {
                let statement = Statement::create_table(&[catalog, schema, name], &location).map_err(unquotable)?;
                Ok(self.workspace.run_statement(warehouse, &statement).await)
            }
        }
    }

    fn location(&self, connector: &ConnectorId, table: &TableName) -> String {
        format!("{}/{}", self.settings.tables_url.trim_end_matches('/'), table_path(connector, table))
    }

    async fn logged_columns(
        &self,
        operation: &'static str,
        connector: &ConnectorId,
        table: &TableName,
    ) -> Result<Vec<Column>, PortError> {
        let text = self.schemas.schema_text(connector, table).await?;
        let text = text.ok_or_else(|| BackendError::NoLog { table: table.to_string() }.during(operation))?;
        columns(&text).map_err(|error| PortError::new(PortErrorKind::InvalidData, operation, error))
    }

    /// Makes the metastore's columns of a registered table those of its log. A table that is not registered needs
    /// nothing.
    ///
    /// # Errors
    ///
    /// `NotFound` if the table has no log, `InvalidData` if the columns stay different.
    pub async fn refresh_columns(&self, connector: &ConnectorId, table: &TableName) -> Result<Refreshed, PortError> {
        let full_name = self.full_name(connector, table);
        let Some(before) = self.registered(&full_name, connector, table).await? else {
            return Ok(Refreshed::Unchanged);
        };
        let logged = self.logged_columns(REFRESH, connector, table).await?;
        let logged: Vec<_> = logged.iter().map(Column::describe).collect();
        if before.columns == logged {
            return Ok(Refreshed::Unchanged);
        }
        let refreshed = match self.settings.registration.warehouse() {
            Some(warehouse) => {
                let [catalog, schema, name] = &self.name_parts(connector, table);
                let statement = Statement::sync_metadata(&[catalog, schema, name]).map_err(unquotable)?;
                self.workspace.run_statement(warehouse, &statement).await?;
                Refreshed::InPlace
            }
            None => {
                self.register_anew(connector, table, &full_name).await?;
                Refreshed::Anew
            }
        };
        let after = self.registered(&full_name, connector, table).await?;
        if after.is_some_and(|after| after.columns == logged) {
            return Ok(refreshed);
        }
        Err(BackendError::Stale { table: full_name }.during(REFRESH))
    }

    /// Registers a table once more, in the share if it was there. An attempt that ends half leaves it out of the share,
    /// or unregistered: the next attempt to put it in makes that good.
    async fn register_anew(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        full_name: &str,
    ) -> Result<(), PortError> {
        let share = self.own_share(REFRESH, connector).await?;
        let shared = share.objects.iter().any(|object| object.name == full_name);
        if shared {
            let remove = ShareUpdate::RemoveTable { name: full_name.to_owned() };
            match self.workspace.update_share(&share.name, &[remove]).await {
                // Somebody took it out meanwhile, or an attempt of ours whose answer was lost did.
                Err(error) if error.kind == ApiErrorKind::Missing => {}
                outcome => outcome?,
            }
        }
        self.workspace.unregister_table(full_name).await?;
        if shared {
            return self.put_tables(connector, std::slice::from_ref(table)).await;
        }
        self.register(connector, table).await.map(drop)
    }
}

fn unquotable(error: Unquotable) -> PortError {
    PortError::new(PortErrorKind::InvalidData, REGISTER, error)
}
