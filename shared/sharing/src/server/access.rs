//! Who is asking, and what a token opens.

use std::net::IpAddr;

use axum::extract::{FromRequestParts, Path};
use delivery::connector::storage_path;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::Server;
use super::error::ProtocolError;
use crate::allow_list;
use crate::ports::{Grant, SecretHash, SharedTable, Standing};

/// The longest name in the protocol, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// The address that a request came from, as the platform saw it. Headers that a client sends are not asked.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub IpAddr);

/// A request with a token that may be good: nothing is looked up yet.
#[derive(Debug)]
pub(super) struct Caller {
    token: SecretHash,
    address: Option<IpAddr>,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ProtocolError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ProtocolError> {
        let token = bearer(&parts.headers).ok_or_else(ProtocolError::unauthenticated)?;
        let address = parts.extensions.get::<ClientAddress>().map(|address| address.0);
        Ok(Self { token: SecretHash::of(token), address })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The names in a request's path: a share, and perhaps a schema and a table of it.
#[derive(Debug)]
pub(super) struct Names(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Names {
    type Rejection = ProtocolError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ProtocolError> {
        let names = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        names.map(|Path(names)| Self(names)).map_err(|_| ProtocolError::malformed("The path is not valid UTF-8."))
    }
}

impl Names {
    fn get(&self, part: &str) -> &str {
        self.0.iter().find(|(name, _)| name == part).map_or("", |(_, value)| value)
    }

    /// The share's name as it was asked for.
    pub(super) fn share(&self) -> &str {
        self.get("share")
    }

    /// The schema's name as it was asked for; `None` if the request is about a share.
    pub(super) fn schema(&self) -> Option<&str> {
        self.0.iter().find(|(part, _)| part == "schema").map(|(_, value)| value.as_str())
    }

    /// The error for names that lead nowhere.
    pub(super) fn unknown(&self) -> ProtocolError {
        let of_a_table = self.0.iter().filter(|(part, _)| part != "query");
        let path: Vec<_> = of_a_table.map(|(_, value)| value.as_str()).collect();
        ProtocolError::unknown(&path)
    }

    /// `share.schema.table`, for messages.
    pub(super) fn dotted(&self) -> String {
        [self.get("share"), self.get("schema"), self.get("table")].join(".")
    }
}

/// A table that a caller may read.
#[derive(Debug)]
pub(super) struct OpenTable {
    /// What opened it.
    pub(super) grant: Grant,
    /// The table.
    pub(super) shared: SharedTable,
}

impl Server {
    /// The grant of a caller's token, if it is good now and here.
    pub(super) async fn grant(&self, caller: &Caller) -> Result<Grant, ProtocolError> {
        self.permit(caller).await?;
        let standing = self.catalog.grant(&caller.token).await?;
        self.check(standing, caller)
    }

    /// The grant of a caller's token, if it opens the named share.
    pub(super) async fn open_share(&self, caller: &Caller, names: &Names) -> Result<Grant, ProtocolError> {
        let grant = self.grant(caller).await?;
        if opens(&grant, names) { Ok(grant) } else { Err(names.unknown()) }
    }

    /// The named table, if the caller's token opens it: one request to the catalog.
    pub(super) async fn open_table(&self, caller: &Caller, names: &Names) -> Result<OpenTable, ProtocolError> {
        let (share, schema, table) = (names.share(), names.get("schema"), names.get("table"));
        if [share, schema, table].iter().any(|name| name.len() > NAME_BYTES_MAX) {
            self.grant(caller).await?;
            return Err(names.unknown());
        }
        self.permit(caller).await?;
        let (standing, table) = self.catalog.grant_and_table(&caller.token, share, schema, table).await?;
        let grant = self.check(standing, caller)?;
        match table {
            Some(shared) if opens(&grant, names) => Ok(OpenTable { grant, shared }),
            Some(_) | None => Err(names.unknown()),
        }
    }

    /// Before anything is looked up: nobody's token is held back as a good one is.
    async fn permit(&self, caller: &Caller) -> Result<(), ProtocolError> {
        self.throttle.take(&caller.token, self.clock.now()).await.map_err(ProtocolError::too_many_requests)
    }

    fn check(&self, standing: Option<Standing>, caller: &Caller) -> Result<Grant, ProtocolError> {
        let (grant, ended) = match standing.ok_or_else(ProtocolError::unauthenticated)? {
            Standing::Granted(grant) => (grant, ProtocolError::expired as fn(_) -> _),
            Standing::Replaced(grant) => (grant, ProtocolError::replaced as fn(_) -> _),
            Standing::Revoked => return Err(ProtocolError::revoked()),
        };
        if self.clock.now() >= grant.expires_at {
            return Err(ended(grant.expires_at));
        }
        if !allow_list::allows(&grant.allowed_ips, caller.address) {
            return Err(ProtocolError::address_refused());
        }
        Ok(grant)
    }
}

fn opens(grant: &Grant, names: &Names) -> bool {
    names.share().eq_ignore_ascii_case(grant.connector.as_str())
}

/// The share's id: a UUID, as a table's is.
pub(super) fn share_id(grant: &Grant) -> String {
    tables::table_id(&storage_path(&grant.connector))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(value: &[u8]) -> Option<String> {
        let value = http::HeaderValue::from_bytes(value).ok()?;
        bearer(&HeaderMap::from_iter([(AUTHORIZATION, value)])).map(str::to_owned)
    }

    proptest! {
        #[test]
        fn a_token_is_what_stands_behind_the_scheme(
            scheme in "[Bb][Ee][Aa][Rr][Ee][Rr]", token in "[!-~]{1,60}", spaces in " {1,3}",
        ) {
            prop_assert_eq!(read(format!("{scheme}{spaces}{token}").as_bytes()), Some(token));
        }

        #[test]
        fn no_authorization_panics(value in proptest::collection::vec(any::<u8>(), 0..80), other in "[A-Za-z]{0,9}") {
            let _ = read(&value);
            let found = read([other.as_bytes(), b" ", &value].concat().as_slice());
            prop_assert!(found.is_none() || other.eq_ignore_ascii_case("bearer"));
        }
    }
}
