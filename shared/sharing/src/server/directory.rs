//! Directory-based access: `POST …/temporary-table-credentials`, and where a table lies for those who may have it.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Server;
use super::access::{Caller, Names};
use super::answer::{Audit, Read};
use super::error::ProtocolError;
use crate::ports::{Folder, Grant, History, SharedTable, TemporaryCredentials};

/// The shortest life of a credential that STS makes, in seconds.
const CREDENTIAL_SECONDS_MIN: u32 = 900;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    location: Option<String>,
}

impl Asked {
    /// An empty body asks for the table's own folder.
    fn parse(body: &[u8]) -> Result<Self, ProtocolError> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let object = body.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(body).ok()).flatten();
        object.ok_or_else(|| ProtocolError::malformed("The body is not a JSON object with a location, or none."))
    }
}

/// `POST …/tables/{table}/temporary-table-credentials`
pub(super) async fn credentials(
    State(server): State<Arc<Server>>,
    caller: Caller,
    names: Names,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ProtocolError> {
    let table = server.open_table(&caller, &names).await?;
    let asked = Asked::parse(&body.map_err(ProtocolError::body)?)?;
    let maker = server.credentials_for(&table.grant, &table.shared).ok_or_else(|| {
        ProtocolError::unsupported(format!(
            "Directory-based access is not enabled on table {}: read it by the URLs of its files.",
            names.dotted()
        ))
    })?;
    let location = maker.location(&table.shared.path);
    if asked.location.is_some_and(|asked| asked.trim_end_matches('/') != location) {
        return Err(ProtocolError::invalid("location is not one of the table's."));
    }
    // A table that is listed before its first commit has nothing to be read.
    let view = server.view(&table, &names, None, None).await?;
    let left_seconds = table.grant.expires_at.seconds() - server.clock.now().seconds();
    let left_seconds = u32::try_from(left_seconds).unwrap_or(u32::MAX);
    if left_seconds < CREDENTIAL_SECONDS_MIN {
        return Err(ProtocolError::unsupported(
            "The token ends before a credential for the table's folder would: read the table by the URLs of its files, \
             or ask its owner for a new activation link.",
        ));
    }
    let folder = Folder {
        path: &table.shared.path,
        allowed_ips: &table.grant.allowed_ips,
        life_seconds: server.url_life_seconds.min(left_seconds),
    };
    let credential = maker.reading(folder).await?;
    drop(Audit::of(&table, Some(view.version), Read::Credentials));
    let body = json!({"credentials": {
        "location": location,
        "awsTempCredentials": {
            "accessKeyId": credential.access_key_id,
            "secretAccessKey": credential.secret_access_key,
            "sessionToken": credential.session_token,
        },
        "expirationTime": credential.expires_at.millis(),
    }});
    let mut response = super::json::document(StatusCode::OK, &body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl Server {
    /// Who makes credentials for a table's folder. The folder holds all that is kept of the table's past, so whoever has
    /// less of it by the protocol gets none.
    fn credentials_for(&self, grant: &Grant, shared: &SharedTable) -> Option<&dyn TemporaryCredentials> {
        let has_all = matches!(shared.history, History::From(0));
        self.credentials.as_deref().filter(|credentials| has_all && credentials.serves(&grant.connector))
    }

    /// What a table's entry says of the ways to read it; nothing if there is one only.
    pub(super) fn access_modes(&self, grant: &Grant, shared: &SharedTable) -> Map<String, Value> {
        let Some(credentials) = self.credentials_for(grant, shared) else { return Map::new() };
        let location = credentials.location(&shared.path);
        [("location", location.into()), ("accessModes", json!(["url", "dir"]))]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_location_may_be_named() {
        for (body, expected) in
            [("", None), (" ", None), ("{}", None), (r#"{"location":"s3://b/t","x":1}"#, Some("s3://b/t"))]
        {
            assert_eq!(Asked::parse(body.as_bytes()).unwrap().location.as_deref(), expected, "{body}");
        }
        for body in ["[]", "x", r#"{"location":5}"#, "null"] {
            assert!(Asked::parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Asked::parse(&body);
        }
    }
}
