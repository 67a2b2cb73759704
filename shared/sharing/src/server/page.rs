//! Pages of listings: `maxResults` and `pageToken`.
//!
//! A token says after which name to go on, and is bound to the listing that it was given for.

use serde::Deserialize;

use super::error::ProtocolError;
use super::seal::{self, Purpose};
use crate::ports::{SigningKey, TokenKey};

/// The largest page, and the size of a page that nobody asked for otherwise.
const RESULTS_MAX: usize = 500;

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
    /// Cuts a page out of all items, by the order of their names. `listing` names what is listed, and whose.
    /// The key is asked for only if a token comes or goes.
    pub(super) async fn page<T>(
        &self,
        keys: &dyn SigningKey,
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
            Some(token) => read_token(&keys.key().await?, token, listing)
                .ok_or_else(|| ProtocolError::invalid("invalid 'nextPageToken'"))?,
        };
        let mut items = items;
        items.sort_by(|left, right| name(left).cmp(name(right)));
        let mut rest = items.into_iter().skip_while(|item| name(item) <= after.as_str());
        let items: Vec<_> = rest.by_ref().take(size).collect();
        let last = items.last().map_or(after.as_str(), &name);
        let next_page_token = if rest.next().is_some() { write_token(&keys.key().await?, last, listing) } else { None };
        Ok(Page { items, next_page_token })
    }
}

fn write_token(key: &TokenKey, name: &str, listing: &str) -> Option<String> {
    seal::seal(key, Purpose::Listing, listing, name.as_bytes())
}

fn read_token(key: &TokenKey, token: &str, listing: &str) -> Option<String> {
    String::from_utf8(seal::open(key, Purpose::Listing, listing, token)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use proptest::prelude::*;

    fn key() -> TokenKey {
        TokenKey::new(vec![1; 32]).unwrap()
    }

    fn ask(max_results: Option<&str>, page_token: Option<&str>) -> Result<Page<&'static str>, ProtocolError> {
        let query =
            PageQuery { max_results: max_results.map(str::to_owned), page_token: page_token.map(str::to_owned) };
        query.page(&key(), "tables of acme", vec!["B", "C", "A"], |item| item).now_or_never().unwrap()
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
        for token in ["x", "!", &write_token(&key(), "A", "tables of other").unwrap()] {
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
