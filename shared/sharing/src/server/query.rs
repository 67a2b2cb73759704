//! `POST …/query`: what is asked, and the plan of the answer.

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use http::{HeaderMap, StatusCode};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::Server;
use super::access::{Caller, Names};
use super::answer::{self, Encoding, Plan};
use super::capabilities::{CAPABILITIES, Capabilities};
use super::error::ProtocolError;
use super::lines::{self, NDJSON};
use super::predicate::Predicate;
use super::table::TABLE_VERSION;

/// The body of a query, as far as it is answered. Properties that are not known are passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Query {
    predicate_hints: Option<serde_json::Value>,
    json_predicate_hints: Option<serde_json::Value>,
    limit_hint: Option<Whole>,
    version: Option<Whole>,
    timestamp: Option<serde_json::Value>,
    starting_version: Option<Whole>,
}

/// A whole number, as JSON's number or as a text of digits: protocol buffers write either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Whole(i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Whole, E> {
                Ok(Whole(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Whole, E> {
                i64::try_from(number).map(Whole).map_err(|_| E::custom("the number is too large"))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Whole, E> {
                text.parse().map(Whole).map_err(|_| E::custom("the text is not a whole number"))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Query {
    fn parse(body: &[u8]) -> Result<Self, ProtocolError> {
        if body.trim_ascii().is_empty() {
            return Err(ProtocolError::malformed("The request has no body; an empty query is {}."));
        }
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(ProtocolError::malformed("The body is not a query: a query is a JSON object."));
        }
        let query: Self = serde_json::from_slice(body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            ProtocolError::malformed(format!("The body is not a query: see line {line}, column {column}."))
        })?;
        query.check()?;
        Ok(query)
    }

    fn check(&self) -> Result<(), ProtocolError> {
        let given = [self.version.is_some(), self.timestamp.is_some(), self.starting_version.is_some()];
        if given.iter().filter(|given| **given).count() > 1 {
            return Err(ProtocolError::invalid("Please only provide one of: version/timestamp/startingVersion"));
        }
        for (name, number) in
            [("version", self.version), ("limitHint", self.limit_hint), ("startingVersion", self.starting_version)]
        {
            if number.is_some_and(|number| number.0 < 0) {
                return Err(ProtocolError::invalid(format!("{name} cannot be negative.")));
            }
        }
        if self.timestamp.is_some() {
            return Err(ProtocolError::unsupported("Reading a table by timestamp is not supported: give a version."));
        }
        if self.starting_version.is_some() {
            return Err(ProtocolError::unsupported("Reading changes from startingVersion is not supported."));
        }
        Ok(())
    }

    fn version(&self) -> Option<u64> {
        self.version.and_then(|version| u64::try_from(version.0).ok())
    }

    /// The limit, if nothing else says which rows the client keeps: it counts rows after its predicates, we before.
    fn row_limit(&self) -> Option<u64> {
        let filtered = match &self.predicate_hints {
            None | Some(serde_json::Value::Null) => false,
            Some(hints) => hints.as_array().is_none_or(|hints| !hints.is_empty()),
        };
        let limit = self.limit_hint.and_then(|limit| u64::try_from(limit.0).ok());
        limit.filter(|_| !filtered && self.json_predicate_hints.is_none())
    }
}

/// `POST …/tables/{table}/query`
pub(super) async fn query(
    State(server): State<Arc<Server>>,
    caller: Caller,
    names: Names,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ProtocolError> {
    let table = server.open_table(&caller, &names).await?;
    let body = body.map_err(ProtocolError::body)?;
    let query = Query::parse(&body)?;
    let snapshot = server.snapshot(&table, &names, query.version()).await?;
    let capabilities = Capabilities::of(&headers);
    let format = capabilities.format_for(&snapshot)?;
    let json = query.json_predicate_hints.as_ref().and_then(|hints| hints.as_str());
    let sql = query.predicate_hints.as_ref().and_then(|hints| hints.as_array()).into_iter().flatten();
    let predicate = Predicate::of(json, sql.filter_map(|hint| hint.as_str()), &snapshot.metadata);
    let version = HeaderValue::from(snapshot.version);
    let plan = Plan {
        table,
        format,
        head: lines::head(&snapshot, format, &capabilities),
        predicate,
        row_limit: query.row_limit(),
        urls: server.urls.clone(),
        url_life_seconds: server.url_life_seconds,
        urls_expire_at: server.urls_expire_at(server.clock.now()),
        end: capabilities.end,
        snapshot,
    };
    let encoding = encoding(&headers);
    let body = answer::body(plan, encoding).await?;
    Ok(respond(body, encoding, version, capabilities.echo(format)))
}

fn respond(body: Body, encoding: Encoding, version: HeaderValue, capabilities: HeaderValue) -> Response {
    let mut response = (StatusCode::OK, body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    headers.insert(TABLE_VERSION, version);
    headers.insert(CAPABILITIES, capabilities);
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if encoding == Encoding::Gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Gzip if the client lists it and does not refuse it (`q=0`).
fn encoding(headers: &HeaderMap) -> Encoding {
    let texts = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let takes_gzip = texts.flat_map(|text| text.split(',')).any(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        named && weight.is_none_or(|weight| weight.parse().is_ok_and(|weight: f32| weight > 0.0))
    });
    if takes_gzip { Encoding::Gzip } else { Encoding::Identity }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_may_be_texts() {
        let query = Query::parse(br#"{"version":"3","limitHint":0,"unknown":{"x":[1]}}"#).unwrap();
        assert_eq!((query.version(), query.row_limit()), (Some(3), Some(0)));
        let large = Query::parse(br#"{"version":9223372036854775807}"#).unwrap();
        assert_eq!(large.version(), Some(i64::MAX as u64));
    }

    #[test]
    fn a_limit_does_not_count_before_predicates() {
        for (body, expected) in [
            (r#"{"limitHint":5}"#, Some(5)),
            (r#"{"limitHint":5,"predicateHints":[]}"#, Some(5)),
            (r#"{"limitHint":5,"predicateHints":["a = 1"]}"#, None),
            (r#"{"limitHint":5,"jsonPredicateHints":"{}"}"#, None),
        ] {
            assert_eq!(Query::parse(body.as_bytes()).unwrap().row_limit(), expected, "{body}");
        }
    }

    #[test]
    fn queries_that_cannot_be_answered_are_refused() {
        for body in [
            "",
            " ",
            "[]",
            "{",
            r#"{"version":-1}"#,
            r#"{"version":1.5}"#,
            r#"{"version":"x"}"#,
            r#"{"version":9223372036854775808}"#,
            r#"{"limitHint":-1}"#,
            r#"{"version":1,"startingVersion":1}"#,
            r#"{"timestamp":"2026-01-01T00:00:00Z"}"#,
            r#"{"startingVersion":0}"#,
        ] {
            assert!(Query::parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for (accepted, expected) in [
            ("gzip", Encoding::Gzip),
            ("br, GZIP;q=0.5", Encoding::Gzip),
            ("gzip;q=0", Encoding::Identity),
            ("gzip;q=0.0, br", Encoding::Identity),
            ("deflate", Encoding::Identity),
            ("", Encoding::Identity),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_str(accepted).unwrap())]);
            assert_eq!(encoding(&headers), expected, "{accepted}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Query::parse(&body);
        }

        #[test]
        fn no_values_panic(version in "\\PC{0,24}", limit in any::<f64>(), hints in "\\PC{0,40}") {
            let body = serde_json::json!({"version": version, "limitHint": limit, "jsonPredicateHints": hints});
            let _ = Query::parse(body.to_string().as_bytes());
        }
    }
}
