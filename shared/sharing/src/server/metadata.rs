//! A table's version and metadata.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use http::header::HeaderValue;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::Server;
use super::access::{Caller, Names};
use super::answer::{Audit, Encoding, Headers, Read, TABLE_VERSION};
use super::asked;
use super::capabilities::Capabilities;
use super::error::ProtocolError;
use super::history::{self, Early};
use super::lines;

/// What version is asked for. Texts, because what is not a number gets an answer in the protocol's form.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    version: Option<String>,
    timestamp: Option<String>,
    starting_timestamp: Option<String>,
}

type AskedQuery = Result<Query<Asked>, QueryRejection>;

/// `GET …/tables/{table}/version`, and its older twin `HEAD …/tables/{table}`.
pub(super) async fn version(
    State(server): State<Arc<Server>>,
    caller: Caller,
    names: Names,
    query: AskedQuery,
) -> Result<Response, ProtocolError> {
    let table = server.open_table(&caller, &names).await?;
    let asked = asked::query_string(query)?;
    let version = match asked::time("startingTimestamp", asked.starting_timestamp.as_deref())? {
        Some(at) => {
            let version = server.version_since(&table, &names, at, Early::First).await?;
            history::check_shared(&table, &names, version)?;
            version
        }
        None => server.view(&table, &names, None, None).await?.version,
    };
    drop(Audit::of(&table, Some(version), Read::Version));
    Ok((StatusCode::OK, [(TABLE_VERSION, HeaderValue::from(version))]).into_response())
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
    let asked = asked::query_string(query)?;
    asked::at_most_one(&[("version", asked.version.is_some()), ("timestamp", asked.timestamp.is_some())])?;
    let version = match asked::time("timestamp", asked.timestamp.as_deref())? {
        Some(at) => Some(server.version_as_of(&table, &names, at).await?),
        None => asked::version("version", asked.version.as_deref())?,
    };
    if let Some(version) = version {
        history::check_shared(&table, &names, version)?;
    }
    let view = server.view(&table, &names, version, None).await?;
    let capabilities = Capabilities::of(&headers).without_end();
    let format = capabilities.format_for(&view.protocol, &view.metadata)?;
    drop(Audit::of(&table, Some(view.version), Read::Metadata));
    let mut lines = lines::protocol_line(&view.protocol, None, format, &capabilities);
    let access_modes = server.access_modes(&table.grant, &table.shared);
    lines.extend(lines::metadata_line(&view.metadata, view.counts, None, access_modes, format));
    let headers = Headers { version: view.version, capabilities: capabilities.echo(format), file_ids: None };
    Ok(headers.respond(lines, Encoding::Identity))
}
