//! `GET …/changes`, and what a query with a `startingVersion` has in common with it: the changes of some versions.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use delivery::ids::sha256_hex;
use futures::StreamExt as _;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Map;

use super::Server;
use super::access::{Caller, Names, OpenTable};
use super::answer::{self, Audit, Encoding, Headers, Paging, Plan, Read};
use super::asked;
use super::capabilities::{Capabilities, EndStreamAction, Format, has_change_data_feed};
use super::error::ProtocolError;
use super::file_ids::AskedIds;
use super::history::{self, Early};
use super::lines::{self, FileStyle};
use super::query::Page;
use super::read_token::ChangePlace;
use super::source::{Changes, Historical, Shown, Source, Wish};
use crate::ports::History;

/// The query parameters, as texts: what is not a number gets an answer in the protocol's form.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    starting_version: Option<String>,
    starting_timestamp: Option<String>,
    ending_version: Option<String>,
    ending_timestamp: Option<String>,
    include_historical_metadata: Option<String>,
    include_historical_protocol: Option<String>,
    max_files: Option<String>,
    page_token: Option<String>,
}

/// Versions, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u64,
    /// The newest if there is none.
    pub(super) end: Option<u64>,
}

/// Changes that were asked for.
#[derive(Debug)]
pub(super) struct ChangeQuery {
    pub(super) range: Range,
    pub(super) shown: Shown,
    pub(super) metadata: Historical,
    pub(super) protocol: Historical,
    /// What every page of one query asks alike.
    pub(super) checksum: String,
    pub(super) page: Page,
}

impl Asked {
    fn check(&self) -> Result<(), ProtocolError> {
        let given = |value: &Option<String>| value.is_some();
        asked::at_most_one(&[
            ("startingVersion", given(&self.starting_version)),
            ("startingTimestamp", given(&self.starting_timestamp)),
        ])?;
        asked::at_most_one(&[
            ("endingVersion", given(&self.ending_version)),
            ("endingTimestamp", given(&self.ending_timestamp)),
        ])?;
        if self.starting_version.is_none() && self.starting_timestamp.is_none() {
            return Err(ProtocolError::invalid("No startingVersion or startingTimestamp provided for CDF read."));
        }
        Ok(())
    }

    fn page(&self) -> Result<Page, ProtocolError> {
        let not_one = |_| ProtocolError::invalid("maxFiles must be positive");
        Page::new(self.max_files.as_deref().map(str::parse).transpose().map_err(not_one)?, self.page_token.clone())
    }

    fn checksum(&self) -> String {
        let given = [
            &self.starting_version,
            &self.starting_timestamp,
            &self.ending_version,
            &self.ending_timestamp,
            &self.include_historical_metadata,
            &self.include_historical_protocol,
        ];
        sha256_hex(&given.map(|text| text.as_deref().unwrap_or_default()))
    }
}

/// `GET …/tables/{table}/changes`
pub(super) async fn changes(
    State(server): State<Arc<Server>>,
    caller: Caller,
    names: Names,
    headers: HeaderMap,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, ProtocolError> {
    let table = server.open_table(&caller, &names).await?;
    if table.shared.history == History::NotShared {
        return Err(no_change_data_feed(&names));
    }
    let asked = asked::query_string(query)?;
    asked.check()?;
    let page = asked.page()?;
    // The later pages' versions are in their token.
    let range = match page.token {
        Some(_) => Range { start: 0, end: None },
        None => server.range(&table, &names, &asked).await?,
    };
    let shown = |text: &Option<String>| match asked::is_true(text.as_deref()) {
        true => Historical::Shown,
        false => Historical::Hidden,
    };
    let query = ChangeQuery {
        range,
        shown: Shown::ChangeDataFeed,
        metadata: shown(&asked.include_historical_metadata),
        protocol: shown(&asked.include_historical_protocol),
        checksum: asked.checksum(),
        page,
    };
    server.answer_changes(table, &names, &headers, query).await
}

impl Server {
    /// The versions that a reading of changes names, by number or by time.
    async fn range(&self, table: &OpenTable, names: &Names, asked: &Asked) -> Result<Range, ProtocolError> {
        let start = match asked::time("startingTimestamp", asked.starting_timestamp.as_deref())? {
            Some(at) => Some(self.version_since(table, names, at, Early::Refused).await?),
            None => asked::version("startingVersion", asked.starting_version.as_deref())?,
        };
        let end = match asked::time("endingTimestamp", asked.ending_timestamp.as_deref())? {
            Some(at) => Some(self.version_as_of(table, names, at).await?),
            None => asked::version("endingVersion", asked.ending_version.as_deref())?,
        };
        Ok(Range { start: start.unwrap_or_default(), end })
    }

    /// Answers with changes. Versions behind the newest one are not waited for.
    pub(super) async fn answer_changes(
        &self,
        table: OpenTable,
        names: &Names,
        headers: &HeaderMap,
        query: ChangeQuery,
    ) -> Result<Response, ProtocolError> {
        let ids = AskedIds::of(headers)?;
        let now = self.clock.now();
        let tokens = match query.page.files_max {
            Some(_) => Some(self.read_tokens(&table, now).await?),
            None => None,
        };
        let newest = self.view(&table, names, None, None).await?;
        if query.shown == Shown::ChangeDataFeed && !has_change_data_feed(&newest.metadata) {
            return Err(no_change_data_feed(names));
        }
        let capabilities = Capabilities::of(headers);
        // How the lines of a page are counted depends on the format.
        let checksum = sha256_hex(&[&query.checksum, capabilities.formats()]);
        let place: ChangePlace = match (&query.page.token, &tokens) {
            (Some(token), Some(tokens)) => tokens.read_page(token, &checksum)?,
            (_, _) => {
                history::check_shared(&table, names, query.range.start)?;
                first_place(query.range, newest.version)?
            }
        };
        let start = self.view(&table, names, Some(place.start), None).await?;
        if query.shown == Shown::ChangeDataFeed && !has_change_data_feed(&start.metadata) {
            return Err(ProtocolError::not_recorded(place.start, place.end, place.start));
        }
        // Both ends of the way are in one format: if one of them needs delta format, so does the whole.
        let format = match capabilities.format_for(&start.protocol, &start.metadata)? {
            Format::Parquet => capabilities.format_for(&newest.protocol, &newest.metadata)?,
            Format::Delta => {
                capabilities.format_for(&newest.protocol, &newest.metadata)?;
                Format::Delta
            }
        };
        let head = match (query.shown, query.metadata) {
            (Shown::ChangeDataFeed, Historical::Hidden) => &newest,
            (Shown::ChangeDataFeed, Historical::Shown) | (Shown::DataChanges, _) => &start,
        };
        let wish = Wish {
            shown: query.shown,
            metadata: query.metadata,
            // Parquet format has one protocol.
            protocol: if format == Format::Parquet { Historical::Hidden } else { query.protocol },
            accepted: capabilities.accepted(format),
        };
        let paging = query.page.files_max.zip(tokens);
        let paging = paging.map(|(files_max, tokens)| Paging { files_max, tokens, checksum });
        let version = place.start;
        let read = match query.shown {
            Shown::ChangeDataFeed => Read::Changes,
            Shown::DataChanges => Read::QuerySince,
        };
        let commits = self.tables.commits(&table.shared.path, place.version..=place.end).boxed();
        let mut lines = match query.protocol {
            Historical::Shown => lines::protocol_line(&start.protocol, Some(start.version), format, &capabilities),
            Historical::Hidden => lines::protocol_line(&head.protocol, None, format, &capabilities),
        };
        lines.extend(lines::metadata_line(&head.metadata, None, Some(head.version), Map::new(), format));
        let links = self.links(&table, now).await?;
        let plan = Plan {
            head: lines,
            style: FileStyle { format, ids: ids.in_format(format), expires_at: links.expires_at, of_version: None },
            bytes_max: self.answer_bytes_max,
            links,
            end: if paging.is_some() { EndStreamAction::Included } else { capabilities.end },
            refresh_token: None,
            paging,
            audit: Audit::of(&table, Some(version), read),
            source: Source::Changes(Changes::new(commits, place, &start, wish)),
            capabilities: capabilities.clone(),
        };
        let encoding = Encoding::of(headers);
        let body = answer::body(plan, encoding).await?;
        Ok(Headers { version, capabilities: capabilities.echo(format), file_ids: ids.echo() }.respond(body, encoding))
    }
}

fn no_change_data_feed(names: &Names) -> ProtocolError {
    ProtocolError::invalid(format!("cdf is not enabled on table {}", names.dotted()))
}

/// Where the changes of a range begin and end, if the table has come that far.
fn first_place(range: Range, newest: u64) -> Result<ChangePlace, ProtocolError> {
    let Range { start, end } = range;
    if start > newest {
        return Err(ProtocolError::invalid(format!(
            "Provided Start version({start}) for reading change data is invalid. Start version cannot be greater than \
             the latest version of the table({newest})."
        )));
    }
    let end = end.unwrap_or(newest).min(newest);
    if end < start {
        return Err(ProtocolError::invalid(format!(
            "CDF range from start {start} to end {end} was invalid. End cannot be before start."
        )));
    }
    Ok(ChangePlace { start, end, version: start, passed: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_range_ends_where_the_table_does() {
        let place =
            |start, end, newest| first_place(Range { start, end }, newest).map(|place| (place.start, place.end));
        assert_eq!(place(0, None, 5).unwrap(), (0, 5));
        assert_eq!(place(5, Some(9), 5).unwrap(), (5, 5));
        for (start, end) in [(6, None), (6, Some(9)), (3, Some(2))] {
            assert!(place(start, end, 5).is_err(), "{start} {end:?}");
        }
    }

    #[test]
    fn one_beginning_is_needed_and_one_end_allowed() {
        let some = || Some("1".to_owned());
        assert!(Asked::default().check().is_err());
        assert!(Asked { starting_version: some(), ..Asked::default() }.check().is_ok());
        for asked in [
            Asked { starting_version: some(), starting_timestamp: some(), ..Asked::default() },
            Asked { starting_version: some(), ending_version: some(), ending_timestamp: some(), ..Asked::default() },
        ] {
            assert!(asked.check().unwrap_err().message().starts_with("Please only provide one of"));
        }
    }

    proptest! {
        #[test]
        fn no_parameters_panic(text in "\\PC{0,30}", start in any::<u64>(), end in any::<Option<u64>>(), newest in any::<u64>()) {
            let asked = Asked { max_files: Some(text.clone()), page_token: Some(text), ..Asked::default() };
            let _ = (asked.page(), asked.check(), asked.checksum());
            if let Ok(place) = first_place(Range { start, end }, newest) {
                prop_assert!(place.start <= place.end && place.end <= newest);
            }
        }
    }
}
