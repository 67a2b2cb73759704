//! Setting a connector up: record, share, and a probe table of zero rows that must read back before data comes.

use crate::connector::{Connector, ConnectorState};
use crate::failure::{FailureCode, StepError};
use crate::ids::ConnectorId;
use crate::lifecycle::{Action, Actor, AuditEntry, Audited, Changed};
use crate::metadata::MetadataTable;
use crate::metadata_writer::{make_table, tables_of};
use crate::ports::{
    Clock, Commit, Connected, ConnectorStore, DataChange, Invitation, Inviter, MetadataFiles, PortError, PortErrorKind,
    Provisioned, RecipientBackend, Refused, RunStore, SharingBackend, TableLog, TableStore,
};
use crate::schema::{Column, ColumnType, PublicSchema};
use crate::scope::{restore, withdraw};
use crate::share::{check, refused};
use crate::table::TableName;
use crate::team::check_room;
use crate::timestamp::Timestamp;

/// What provisioning needs of the world.
#[derive(Clone, Copy)]
pub struct Provisioning<'a> {
    /// Where connectors are kept.
    pub connectors: &'a dyn ConnectorStore,
    /// Where a team's connectors are counted.
    pub runs: &'a dyn RunStore,
    /// What is known of the tables.
    pub tables: &'a dyn TableStore,
    /// The tables' logs.
    pub log: &'a dyn TableLog,
    /// The metadata tables' schemas.
    pub files: &'a dyn MetadataFiles,
    /// Who may read what.
    pub backend: &'a dyn SharingBackend,
    /// Who reads.
    pub recipients: &'a dyn RecipientBackend,
    /// The time.
    pub clock: &'a dyn Clock,
}

impl std::fmt::Debug for Provisioning<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Provisioning")
    }
}

/// Makes or updates a connector, its share, and the probe table in it, for a set-up that began then. A connector that is
/// ready stays ready. Tables of workflows that are not in its scope leave the share before anybody is let in.
///
/// # Errors
///
/// Codes of phase `setup`; `CONNECTOR_REVOKED` if the connector was revoked since the set-up began.
pub async fn provision(
    ports: Provisioning<'_>,
    wanted: Connector,
    started_at: Timestamp,
    actor: &Actor,
) -> Result<Connector, StepError> {
    let existing = ports.connectors.connector(&wanted.id).await.map_err(classify)?;
    if let Some(existing) = existing.as_ref().filter(|existing| existing.team == wanted.team) {
        keep_revoked(ports, existing, started_at).await?;
    }
    let counts = |existing: &Connector| existing.state != ConnectorState::Revoked && existing.team == wanted.team;
    if !existing.as_ref().is_some_and(counts) {
        check_room(ports.runs, &wanted, classify).await?;
    }
    let connector = match &existing {
        Some(existing) if existing.team != wanted.team => return Err(taken()),
        // Its tables are where the other backend's recipients look for them.
        Some(existing) if existing.backend != wanted.backend => {
            return Err(StepError::new(
                FailureCode::ConnectorInvalid,
                format!(
                    "the connector is served by the {} backend, for its whole life; choose another id for another one",
                    existing.backend.as_str()
                ),
            ));
        }
        Some(existing) => Connector {
            // Setting up anew is all that brings a revoked connector back.
            state: if existing.state == ConnectorState::Revoked {
                ConnectorState::Provisioning
            } else {
                existing.state
            },
            disabled_in: existing.disabled_in,
            missed_since: existing.missed_since,
            rotation: existing.rotation,
            // What is named after the time of the set-up, such as its rollout, begins again with a new one.
            created_at: if existing.state == ConnectorState::Revoked { wanted.created_at } else { existing.created_at },
            revision: existing.revision + 1,
            ..wanted
        },
        None => wanted,
    };
    match ports.backend.provision(&connector).await.map_err(classify)? {
        Provisioned::Ready => {}
        Provisioned::Taken => return Err(taken()),
    }
    let unchanged = existing
        .as_ref()
        .is_some_and(|existing| Connector { revision: existing.revision, ..connector.clone() } == *existing);
    let connector = match existing {
        Some(existing) if unchanged => existing,
        existing => {
            change(ports, existing.as_ref(), &connector, Action::SetUp, actor).await?;
            connector
        }
    };
    withdraw(ports.tables, ports.backend, &connector).await.map_err(classify)?;
    let mut tables = vec![TableName::probe()];
    if connector.state != ConnectorState::Provisioning {
        // Live runs of a workflow that is back in scope are proven from now on. Who reads nothing yet waits for the probe.
        tables.extend(restore(ports.tables, ports.backend, &connector).await.map_err(classify)?);
    }
    match ports.recipients.connect(&connector).await.map_err(classify)? {
        Connected::Ready => {}
        Connected::Foreign => return Err(foreign()),
    }
    // A revocation that was marked before this is seen here; one that is marked later takes the access away behind it.
    let marked = ports.connectors.connector(&connector.id).await.map_err(classify)?;
    if let Some(revoked) = marked.filter(|marked| marked.state == ConnectorState::Revoked) {
        shut(ports, &revoked).await?;
    }
    let commit = Commit {
        schema_string: Some(ports.log.schema_string(&probe_schema())),
        removes: Vec::new(),
        adds: Vec::new(),
        transactions: Vec::new(),
        timestamp: ports.clock.now(),
        operation: "CREATE TABLE",
        change: DataChange::Rows,
    };
    // Written by an earlier attempt, or now: the same table.
    let _ = ports.log.write(&connector.id, &TableName::probe(), 0, &commit).await.map_err(classify)?;
    ports.backend.add_table(&connector.id, &TableName::probe()).await.map_err(classify)?;
    verify(ports, &connector, &tables).await?;
    Ok(connector)
}

/// Refuses a set-up that a revocation came behind: what it may have opened is shut, and it is no set-up anew. The attempt
/// that loses its write to the revocation begins again here.
async fn keep_revoked(ports: Provisioning<'_>, connector: &Connector, started_at: Timestamp) -> Result<(), StepError> {
    if connector.state != ConnectorState::Revoked {
        return Ok(());
    }
    let newest = ports.connectors.audit(&connector.id, 1).await.map_err(classify)?;
    let since = |change: &Audited| change.entry.action == Action::Revoke && change.entry.at >= started_at;
    if newest.iter().any(since) { shut(ports, connector).await } else { Ok(()) }
}

/// Shuts what a set-up may have opened behind a revocation, and refuses it.
async fn shut(ports: Provisioning<'_>, connector: &Connector) -> Result<(), StepError> {
    ports.recipients.revoke(connector, ports.clock.now()).await.map_err(classify)?;
    Err(revoked_meanwhile())
}

/// Reads back what the backend was asked for: tables, and the recipient's right to read them.
async fn verify(ports: Provisioning<'_>, connector: &Connector, tables: &[TableName]) -> Result<(), StepError> {
    check(&ports.recipients.verify(connector, tables).await.map_err(classify)?)
}

/// Marks a connector whose probe was read back as ready, takes the probe table out of the share and puts the metadata
/// tables into it, of no rows yet. An activity log that is not wanted any more leaves the share; its rows stay. Tables that
/// went missing come back.
///
/// # Errors
///
/// Codes of phase `setup`; `CONNECTOR_REVOKED` if it was revoked since the set-up began, which may have opened the share
/// again: it is shut.
pub async fn make_ready(ports: Provisioning<'_>, id: &ConnectorId, actor: &Actor) -> Result<Connector, StepError> {
    let connector = ports.connectors.connector(id).await.map_err(classify)?.ok_or_else(not_found)?;
    if connector.state == ConnectorState::Revoked {
        shut(ports, &connector).await?;
    }
    ports.backend.remove_table(id, &TableName::probe()).await.map_err(classify)?;
    let wanted = tables_of(&connector);
    for table in &wanted {
        make_table(ports.log, ports.files, ports.clock, id, *table).await.map_err(classify)?;
    }
    let mut tables: Vec<_> = wanted.into_iter().map(MetadataTable::name).collect();
    ports.backend.add_tables(id, &tables).await.map_err(classify)?;
    if !connector.activity_log {
        ports.backend.remove_table(id, &MetadataTable::ActivityLog.name()).await.map_err(classify)?;
    }
    tables.extend(restore(ports.tables, ports.backend, &connector).await.map_err(classify)?);
    verify(ports, &connector, &tables).await?;
    if connector.state != ConnectorState::Provisioning {
        return Ok(connector);
    }
    check_room(ports.runs, &connector, classify).await?;
    let ready = connector.moved(ConnectorState::Ready);
    change(ports, Some(&connector), &ready, Action::Verify, actor).await?;
    Ok(ready)
}

fn revoked_meanwhile() -> StepError {
    StepError::new(
        FailureCode::ConnectorRevoked,
        "the connector was revoked while it was set up; start SetupConnector once more to set it up anew",
    )
}

async fn change(
    ports: Provisioning<'_>,
    before: Option<&Connector>,
    after: &Connector,
    action: Action,
    actor: &Actor,
) -> Result<(), StepError> {
    let entry = AuditEntry { at: ports.clock.now(), action, actor: actor.clone() };
    match ports.connectors.change_connector(before, after, &entry).await.map_err(classify)? {
        Changed::Now => Ok(()),
        Changed::Outdated => Err(StepError::new(
            FailureCode::SetupConflict,
            "the connector was changed by somebody else at this moment; the step begins again",
        )),
    }
}

/// Invites the recipient if it reads by a token, unless that was done before.
///
/// # Errors
///
/// Codes of phase `setup`; `CONNECTOR_REVOKED` if the connector was revoked meanwhile.
pub async fn invite(
    connectors: &dyn ConnectorStore,
    inviter: &dyn Inviter,
    clock: &dyn Clock,
    id: &ConnectorId,
) -> Result<(), StepError> {
    let connector = connectors.connector(id).await.map_err(classify)?.ok_or_else(not_found)?;
    if connector.state == ConnectorState::Revoked {
        return Err(revoked_meanwhile());
    }
    if connector.recipient.token().is_none() {
        // Who reads in a metastore of its own finds the share there.
        return Ok(());
    }
    match inviter.invitation(&connector).await.map_err(classify)? {
        Invitation::Open | Invitation::Used => Ok(()),
        Invitation::Unsent => send_invitation(inviter, clock, &connector, classify).await,
    }
}

/// Sends a connector's recipient a link. Each step has its own codes for what else may fail.
pub(crate) async fn send_invitation(
    inviter: &dyn Inviter,
    clock: &dyn Clock,
    connector: &Connector,
    classify: fn(PortError) -> StepError,
) -> Result<(), StepError> {
    inviter.invite(connector, clock.now()).await.map_err(|error| {
        if error.kind == PortErrorKind::Denied && Refused::of(&error).is_none() {
            return StepError::caused(
                FailureCode::InvitationRefused,
                "the mail service refused the activation e-mail; verify the sender, and check the secure contact",
                error,
            );
        }
        classify(error)
    })
}

fn probe_schema() -> PublicSchema {
    PublicSchema::from_columns(vec![Column {
        source: "probe".to_owned(),
        name: "probe".to_owned(),
        column_type: ColumnType::String,
        source_type: "STRING".to_owned(),
        key: false,
        description: None,
    }])
}

fn taken() -> StepError {
    StepError::new(
        FailureCode::ConnectorTaken,
        "the connector id belongs to another team or differs by case only; choose another id",
    )
}

fn foreign() -> StepError {
    StepError::new(
        FailureCode::RecipientForeign,
        "the metastore has a recipient for this reader that is not this deployment's; see the runbook",
    )
}

fn not_found() -> StepError {
    StepError::new(FailureCode::ConnectorNotFound, "the connector does not exist; start SetupConnector first")
}

fn classify(error: PortError) -> StepError {
    let error = match refused(error) {
        Ok(refused) => return refused,
        Err(error) => error,
    };
    let (code, message) = match error.kind {
        PortErrorKind::Denied => (FailureCode::SetupDenied, "a set-up function's role lacks a permission"),
        PortErrorKind::Throttled
        | PortErrorKind::Unavailable
        | PortErrorKind::NotFound
        | PortErrorKind::InvalidData => {
            (FailureCode::SetupUnavailable, "the state table, the storage or the mail service did not answer")
        }
    };
    StepError::caused(code, message, error)
}
