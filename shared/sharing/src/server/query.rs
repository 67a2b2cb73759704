//! `POST …/query`: what is asked, and the plan of the answer.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::Response;
use bytes::Bytes;
use delivery::ids::sha256_hex;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use tables::snapshot::Base;

use super::Server;
use super::access::{Caller, Names, OpenTable};
use super::answer::{self, Audit, Encoding, Headers, Paging, Plan, Read};
use super::asked::{self, Whole};
use super::capabilities::{Capabilities, EndStreamAction};
use super::changes::{ChangeQuery, Range};
use super::error::ProtocolError;
use super::file_ids::AskedIds;
use super::history;
use super::lines::{self, FileStyle};
use super::predicate::Predicate;
use super::read_token::FilePlace;
use super::source::{At, Files, Historical, Shown, Source};

/// The most files of a page.
pub(super) const PAGE_FILES_MAX: u64 = 10_000;

/// The body of a query, as far as it is answered. Properties that are not known are passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    predicate_hints: Option<Value>,
    json_predicate_hints: Option<Value>,
    limit_hint: Option<Whole>,
    version: Option<Whole>,
    timestamp: Option<String>,
    starting_version: Option<Whole>,
    ending_version: Option<Whole>,
    include_historical_protocol: Option<bool>,
    max_files: Option<Whole>,
    page_token: Option<String>,
    include_refresh_token: Option<bool>,
    refresh_token: Option<String>,
}

/// A query that may be answered.
#[derive(Debug)]
struct Query {
    body: Body,
    version: Option<u64>,
    starting_version: Option<u64>,
    ending_version: Option<u64>,
    limit: Option<u64>,
    page: Page,
}

/// How much of the answer is wanted at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// The most files; all of them if there is none.
    pub(super) files_max: Option<u64>,
    /// Where the page begins; at the beginning if there is none.
    pub(super) token: Option<String>,
}

impl Page {
    /// What is asked for, within what is given.
    pub(super) fn new(max_files: Option<i64>, token: Option<String>) -> Result<Self, ProtocolError> {
        let token = token.filter(|token| !token.is_empty());
        let files_max = match max_files {
            Some(files) => {
                let positive = u64::try_from(files).ok().filter(|files| *files > 0);
                Some(positive.ok_or_else(|| ProtocolError::invalid("maxFiles must be positive"))?.min(PAGE_FILES_MAX))
            }
            None => token.as_ref().map(|_| PAGE_FILES_MAX),
        };
        Ok(Self { files_max, token })
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
        let body: Body = serde_json::from_slice(body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            ProtocolError::malformed(format!("The body is not a query: see line {line}, column {column}."))
        })?;
        Self::check(body)
    }

    fn check(body: Body) -> Result<Self, ProtocolError> {
        asked::at_most_one(&[
            ("version", body.version.is_some()),
            ("timestamp", body.timestamp.is_some()),
            ("startingVersion", body.starting_version.is_some()),
        ])?;
        let query = Self {
            version: Whole::positive("version", body.version)?,
            starting_version: Whole::positive("startingVersion", body.starting_version)?,
            ending_version: Whole::positive("endingVersion", body.ending_version)?,
            limit: Whole::positive("limitHint", body.limit_hint)?,
            page: Page::new(body.max_files.map(|files| files.0), body.page_token.clone())?,
            body,
        };
        match (query.starting_version, query.ending_version) {
            (None, Some(_)) => {
                return Err(ProtocolError::invalid("endingVersion goes with a startingVersion only."));
            }
            (Some(start), Some(end)) if start > end => {
                return Err(ProtocolError::invalid("startingVersion must be smaller than or equal to endingVersion."));
            }
            (_, _) => {}
        }
        let of_a_version =
            query.version.is_some() || query.body.timestamp.is_some() || query.starting_version.is_some();
        if query.refreshes() && (of_a_version || query.page.token.is_some()) {
            return Err(ProtocolError::invalid(
                "includeRefreshToken and refreshToken are for the newest version and its first page: give no version, \
                 timestamp, startingVersion or pageToken beside them.",
            ));
        }
        Ok(query)
    }

    fn refreshes(&self) -> bool {
        self.body.include_refresh_token == Some(true) || self.refresh_token().is_some()
    }

    /// Whether it asks for one version: its files say so then.
    fn is_of_a_version(&self) -> bool {
        self.version.is_some() || self.body.timestamp.is_some()
    }

    fn refresh_token(&self) -> Option<&str> {
        self.body.refresh_token.as_deref().filter(|token| !token.is_empty())
    }

    /// The limit, if nothing else says which rows the client keeps: it counts rows after its predicates, we before.
    fn row_limit(&self) -> Option<u64> {
        let filtered = match &self.body.predicate_hints {
            None | Some(Value::Null) => false,
            Some(hints) => hints.as_array().is_none_or(|hints| !hints.is_empty()),
        };
        self.limit.filter(|_| !filtered && self.body.json_predicate_hints.is_none())
    }

    /// What every page of one query asks alike.
    fn checksum(&self) -> String {
        let text = |value: &Option<Value>| value.as_ref().map_or_else(String::new, Value::to_string);
        let whole = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
        sha256_hex(&[
            &text(&self.body.predicate_hints),
            &text(&self.body.json_predicate_hints),
            &whole(self.limit),
            &whole(self.version),
            self.body.timestamp.as_deref().unwrap_or_default(),
            &whole(self.starting_version),
            &whole(self.ending_version),
            &self.body.include_historical_protocol.map_or_else(String::new, |wanted| wanted.to_string()),
        ])
    }

    fn predicate(&self, metadata: &tables::snapshot::Metadata) -> Option<Predicate> {
        let json = self.body.json_predicate_hints.as_ref().and_then(Value::as_str);
        let sql = self.body.predicate_hints.as_ref().and_then(Value::as_array).into_iter().flatten();
        Predicate::of(json, sql.filter_map(Value::as_str), metadata)
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
    let query = Query::parse(&body.map_err(ProtocolError::body)?)?;
    if let Some(start) = query.starting_version {
        let protocol = match query.body.include_historical_protocol {
            Some(true) => Historical::Shown,
            Some(false) | None => Historical::Hidden,
        };
        let asked = ChangeQuery {
            range: Range { start, end: query.ending_version },
            shown: Shown::DataChanges,
            metadata: Historical::Shown,
            protocol,
            checksum: query.checksum(),
            page: query.page,
        };
        return server.answer_changes(table, &names, &headers, asked).await;
    }
    server.answer_query(table, &names, &headers, &query).await
}

/// `POST …/tables/{table}/queries/{query}`: every query is answered at once, so there is none to come back to.
pub(super) async fn query_info(
    State(server): State<Arc<Server>>,
    caller: Caller,
    names: Names,
) -> Result<Response, ProtocolError> {
    server.open_table(&caller, &names).await?;
    Err(ProtocolError::no_such_query())
}

impl Server {
    async fn answer_query(
        &self,
        table: OpenTable,
        names: &Names,
        headers: &HeaderMap,
        query: &Query,
    ) -> Result<Response, ProtocolError> {
        let ids = AskedIds::of(headers)?;
        let checksum = query.checksum();
        let now = self.clock.now();
        let needs_tokens = query.page.files_max.is_some() || query.refreshes();
        let tokens = if needs_tokens { Some(self.read_tokens(&table, now).await?) } else { None };
        let place: Option<FilePlace> = match (&query.page.token, &tokens) {
            (Some(token), Some(tokens)) => Some(tokens.read_page(token, &checksum)?),
            (_, _) => None,
        };
        let version = match (&place, query.refresh_token(), &tokens) {
            (Some(place), _, _) => Some(place.version),
            (None, Some(token), Some(tokens)) => Some(tokens.read_refresh(token)?),
            (None, _, _) => match asked::time("timestamp", query.body.timestamp.as_deref())? {
                Some(at) => Some(self.version_as_of(&table, names, at).await?),
                None => query.version,
            },
        };
        if let Some(version) = version.filter(|_| place.is_none() && !query.refreshes()) {
            history::check_shared(&table, names, version)?;
        }
        let view = self.view(&table, names, version, place.as_ref().map(|place| Base(place.base))).await?;
        let capabilities = Capabilities::of(headers);
        let format = capabilities.format_for(&view.protocol, &view.metadata)?;
        let refresh_token = match (&tokens, query.body.include_refresh_token) {
            (Some(tokens), Some(true)) => Some(tokens.refresh(view.version)?),
            (_, _) => None,
        };
        let paging = query.page.files_max.zip(tokens);
        let paging = paging.map(|(files_max, tokens)| Paging { files_max, tokens, checksum });
        let wants_end = paging.is_some() || refresh_token.is_some();
        let version = view.version;
        let predicate = query.predicate(&view.metadata);
        let of_version = query.is_of_a_version().then_some(At { version: view.version, timestamp: view.timestamp });
        let mut head = lines::protocol_line(&view.protocol, None, format, &capabilities);
        let access_modes = self.access_modes(&table.grant, &table.shared);
        head.extend(lines::metadata_line(&view.metadata, view.counts, None, access_modes, format));
        let links = self.links(&table, now).await?;
        let plan = Plan {
            head,
            style: FileStyle { format, ids: ids.in_format(format), expires_at: links.expires_at, of_version },
            bytes_max: self.answer_bytes_max,
            links,
            end: if wants_end { EndStreamAction::Included } else { capabilities.end },
            refresh_token,
            paging,
            audit: Audit::of(&table, Some(version), Read::Query),
            source: Source::Files(Files::new(view, place.as_ref(), predicate, query.row_limit())),
            capabilities: capabilities.clone(),
        };
        let encoding = Encoding::of(headers);
        let body = answer::body(plan, encoding).await?;
        Ok(Headers { version, capabilities: capabilities.echo(format), file_ids: ids.echo() }.respond(body, encoding))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_may_be_texts() {
        let query = Query::parse(br#"{"version":"3","limitHint":0,"unknown":{"x":[1]}}"#).unwrap();
        assert_eq!((query.version, query.row_limit()), (Some(3), Some(0)));
        let large = Query::parse(br#"{"version":9223372036854775807}"#).unwrap();
        assert_eq!(large.version, Some(i64::MAX as u64));
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
            r#"{"version":1,"timestamp":"2026-01-01T00:00:00Z"}"#,
            r#"{"startingVersion":-1}"#,
            r#"{"startingVersion":2,"endingVersion":1}"#,
            r#"{"endingVersion":1}"#,
            r#"{"maxFiles":0}"#,
            r#"{"maxFiles":-1}"#,
            r#"{"timestamp":5}"#,
            r#"{"includeRefreshToken":true,"version":1}"#,
            r#"{"includeRefreshToken":true,"startingVersion":1}"#,
            r#"{"includeRefreshToken":true,"pageToken":"x"}"#,
            r#"{"refreshToken":"x","timestamp":"2026-01-01T00:00:00Z"}"#,
            r#"{"refreshToken":"x","pageToken":"x"}"#,
        ] {
            assert!(Query::parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_page_is_as_large_as_was_asked_and_bounded() {
        for (max_files, token, expected) in [
            (None, None, None),
            (Some(1), None, Some(1)),
            (Some(i64::MAX), None, Some(PAGE_FILES_MAX)),
            (None, Some("t"), Some(PAGE_FILES_MAX)),
            (None, Some(""), None),
        ] {
            assert_eq!(Page::new(max_files, token.map(str::to_owned)).unwrap().files_max, expected);
        }
    }

    #[test]
    fn a_checksum_is_of_everything_but_the_page() {
        let checksum = |body: &str| Query::parse(body.as_bytes()).unwrap().checksum();
        let plain = checksum("{}");
        assert_eq!(checksum(r#"{"maxFiles":5,"pageToken":"x","unknown":1}"#), plain);
        for body in [
            r#"{"version":0}"#,
            r#"{"limitHint":0}"#,
            r#"{"startingVersion":0}"#,
            r#"{"timestamp":"2026-01-01T00:00:00Z"}"#,
            r#"{"predicateHints":[]}"#,
            r#"{"jsonPredicateHints":"{}"}"#,
            r#"{"includeHistoricalProtocol":true}"#,
        ] {
            assert_ne!(checksum(body), plain, "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Query::parse(&body);
        }

        #[test]
        fn no_values_panic(version in "\\PC{0,24}", limit in any::<f64>(), files in any::<i64>(), text in "\\PC{0,40}") {
            let body = serde_json::json!({
                "version": version, "limitHint": limit, "jsonPredicateHints": text, "maxFiles": files, "pageToken": text,
            });
            let _ = Query::parse(body.to_string().as_bytes());
            let body = serde_json::json!({"startingVersion": files, "endingVersion": version, "timestamp": text});
            let _ = Query::parse(body.to_string().as_bytes());
        }
    }
}
