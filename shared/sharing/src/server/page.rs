//! Pages of listings: `maxResults` and `pageToken`.
//!
//! A token says after which name to go on, and is bound to the listing that it was given for. It is checked for
//! damage, not signed: it holds nothing that its bearer may not ask for anyway.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use delivery::ids::sha256_hex;
use serde::Deserialize;

use super::error::ProtocolError;

/// The largest page, and the size of a page that nobody asked for otherwise.
const RESULTS_MAX: usize = 500;

/// Hex digits of the checksum in a token.
const CHECKSUM_CHARS: usize = 16;

/// The query parameters of a listing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageQuery {
    max_results: Option<String>,
    page_token: Option<String>,
}

/// One page of a listing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next_page_token: Option<String>,
}

impl PageQuery {
    /// Cuts a page out of all items, which are in the order of their names. `listing` names what is listed.
    pub(super) fn page<T>(
        &self,
        listing: &str,
        items: Vec<T>,
        name: impl Fn(&T) -> &str,
    ) -> Result<Page<T>, ProtocolError> {
        let size = match &self.max_results {
            Some(text) => text.parse().ok().filter(|size| *size <= RESULTS_MAX).ok_or_else(|| {
                ProtocolError::invalid(format!(
                    "Acceptable values of 'maxResults' are 0 to {RESULTS_MAX}, inclusive. Yours is not one of them."
                ))
            })?,
            None => RESULTS_MAX,
        };
        let after = match self.page_token.as_deref() {
            None | Some("") => String::new(),
            Some(token) => {
                read_token(token, listing).ok_or_else(|| ProtocolError::invalid("invalid 'nextPageToken'"))?
            }
        };
        let mut rest = items.into_iter().skip_while(|item| name(item) <= after.as_str());
        let items: Vec<_> = rest.by_ref().take(size).collect();
        let last = items.last().map_or(after.as_str(), &name);
        let next_page_token = rest.next().is_some().then(|| write_token(last, listing));
        Ok(Page { items, next_page_token })
    }
}

fn checksum(name: &str, listing: &str) -> String {
    sha256_hex(&["page", listing, name]).chars().take(CHECKSUM_CHARS).collect()
}

fn write_token(name: &str, listing: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}{name}", checksum(name, listing)))
}

fn read_token(token: &str, listing: &str) -> Option<String> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let (given, name) = text.split_at_checked(CHECKSUM_CHARS)?;
    (given == checksum(name, listing)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ask(max_results: Option<&str>, page_token: Option<&str>) -> Result<Page<&'static str>, ProtocolError> {
        let query =
            PageQuery { max_results: max_results.map(str::to_owned), page_token: page_token.map(str::to_owned) };
        query.page("tables of acme", vec!["A", "B", "C"], |item| item)
    }

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let first = ask(Some("2"), None).unwrap();
        assert_eq!(first.items, ["A", "B"]);
        let second = ask(Some("2"), first.next_page_token.as_deref()).unwrap();
        assert_eq!(second, Page { items: vec!["C"], next_page_token: None });
        assert_eq!(ask(None, Some("")).unwrap(), Page { items: vec!["A", "B", "C"], next_page_token: None });
    }

    #[test]
    fn a_page_of_nothing_goes_on_from_its_beginning() {
        let none = ask(Some("0"), None).unwrap();
        assert!(none.items.is_empty());
        assert_eq!(ask(None, none.next_page_token.as_deref()).unwrap().items, ["A", "B", "C"]);
    }

    #[test]
    fn sizes_and_tokens_that_are_not_ours_are_refused() {
        for size in ["-1", "501", "x", "", "1.5"] {
            assert!(ask(Some(size), None).is_err(), "{size}");
        }
        for token in ["x", "!", &write_token("A", "tables of other")] {
            assert!(ask(None, Some(token)).is_err(), "{token}");
        }
    }

    proptest! {
        #[test]
        fn no_token_panics(token in "\\PC{0,80}", size in "\\PC{0,10}") {
            let _ = ask(Some(&size), Some(&token));
        }
    }
}
