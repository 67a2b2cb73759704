//! A table's version and metadata.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use delivery::ports::PortErrorKind;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tables::snapshot::Snapshot;

use super::Server;
use super::access::{Caller, Names, OpenTable};
use super::capabilities::{CAPABILITIES, Capabilities};
use super::error::ProtocolError;
use super::lines::{self, NDJSON};

/// The header that every answer about a table has.
pub(super) const TABLE_VERSION: HeaderName = HeaderName::from_static("delta-table-version");

/// What version is asked for. Texts, because what is not a number gets an answer in the protocol's form.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    version: Option<String>,
    timestamp: Option<String>,
    starting_timestamp: Option<String>,
}

type AskedQuery = Result<Query<Asked>, QueryRejection>;

fn asked(query: AskedQuery) -> Result<Asked, ProtocolError> {
    query.map(|Query(asked)| asked).map_err(|_| ProtocolError::malformed("The query string is not valid."))
}

/// `GET …/tables/{table}/version`, and its older twin `HEAD …/tables/{table}`.
pub(super) async fn version(
    State(server): State<Arc<Server>>,
    caller: Caller,
    names: Names,
    query: AskedQuery,
) -> Result<Response, ProtocolError> {
    let table = server.open_table(&caller, &names).await?;
    if asked(query)?.starting_timestamp.is_some() {
        return Err(ProtocolError::unsupported("Finding a version by startingTimestamp is not supported."));
    }
    let snapshot = server.snapshot(&table, &names, None).await?;
    Ok((StatusCode::OK, [(TABLE_VERSION, HeaderValue::from(snapshot.version))]).into_response())
}

/// `GET …/tables/{table}/metadata`
pub(super) async fn metadata(
    State(server): State<Arc<Server>>,
    caller: Caller,
    names: Names,
    headers: HeaderMap,
    query: AskedQuery,
) -> Result<Response, ProtocolError> {
    let table = server.open_table(&caller, &names).await?;
    let asked = asked(query)?;
    if asked.timestamp.is_some() {
        return Err(ProtocolError::unsupported("Reading metadata by timestamp is not supported: give a version."));
    }
    let not_a_version = |_| ProtocolError::invalid("version must be a whole number that is not negative.");
    let version = asked.version.map(|text| text.parse()).transpose().map_err(not_a_version)?;
    let snapshot = server.snapshot(&table, &names, version).await?;
    let capabilities = Capabilities::of(&headers);
    let format = capabilities.format_for(&snapshot)?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(NDJSON)),
        (TABLE_VERSION, HeaderValue::from(snapshot.version)),
        (HeaderName::from_static(CAPABILITIES), capabilities.echo(format)),
    ];
    Ok((StatusCode::OK, headers, lines::head(&snapshot, format, &capabilities)).into_response())
}

/// `GET …/tables/{table}/changes`
pub(super) async fn changes(
    State(server): State<Arc<Server>>,
    caller: Caller,
    names: Names,
) -> Result<Response, ProtocolError> {
    server.open_table(&caller, &names).await?;
    let message = format!("cdf is not enabled on table {}: this server does not share changes.", names.dotted());
    Err(ProtocolError::unsupported(message))
}

impl Server {
    /// The table at a version, or at the newest one. A table in the share whose log is not there reads as unknown: it
    /// is listed a moment before its first commit.
    pub(super) async fn snapshot(
        &self,
        table: &OpenTable,
        names: &Names,
        version: Option<u64>,
    ) -> Result<Arc<Snapshot>, ProtocolError> {
        let newest = match self.tables.snapshot(&table.table.path, version).await {
            Err(error) if error.kind == PortErrorKind::NotFound && version.is_some() => {
                self.tables.snapshot(&table.table.path, None).await
            }
            other => return other.map_err(|error| missing_or(error, names)),
        };
        let newest = newest.map_err(|error| missing_or(error, names))?.version;
        let asked = version.unwrap_or_default();
        Err(ProtocolError::invalid(format!(
            "Cannot time travel Delta table to version {asked}. Available versions: [0, {newest}]."
        )))
    }
}

fn missing_or(error: delivery::ports::PortError, names: &Names) -> ProtocolError {
    if error.kind == PortErrorKind::NotFound { names.unknown() } else { error.into() }
}
