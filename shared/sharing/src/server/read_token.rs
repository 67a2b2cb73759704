//! Page and refresh tokens of reads: what they pin, how long they are good, and what a client is told of one that is
//! not. The messages are those that official clients know from the reference server.

use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::ProtocolError;
use super::seal::{self, Purpose};
use crate::ports::TokenKey;

/// How long a page token is good, in seconds: three days.
const PAGE_LIFE_SECONDS: i64 = 3 * 86_400;

/// How long a refresh token is good, in seconds.
const REFRESH_LIFE_SECONDS: i64 = 3_600;

/// Where the next page of a table's files begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FilePlace {
    /// The version that every page is of.
    pub(super) version: u64,
    /// What the order of the files depends on besides.
    pub(super) base: Option<u64>,
    /// Files of the version that earlier pages passed.
    pub(super) passed: u64,
    /// Rows in the files that earlier pages showed, as far as statistics tell.
    pub(super) rows: u64,
}

/// Where the next page of a table's changes begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChangePlace {
    /// The first version of all pages.
    pub(super) start: u64,
    /// The last version of all pages.
    pub(super) end: u64,
    /// The version to go on with.
    pub(super) version: u64,
    /// Lines of this version that earlier pages passed.
    pub(super) passed: u64,
}

/// A page's place, by what its token is for.
pub(super) trait Place: Serialize + DeserializeOwned {
    /// What the token is for.
    const PURPOSE: Purpose;
}

impl Place for FilePlace {
    const PURPOSE: Purpose = Purpose::Files;
}

impl Place for ChangePlace {
    const PURPOSE: Purpose = Purpose::Changes;
}

#[derive(Serialize, Deserialize)]
struct Claims<P> {
    table: String,
    /// What else was asked for.
    checksum: String,
    expires_at_seconds: i64,
    place: P,
}

/// Makes and reads the tokens of one table.
#[derive(Debug)]
pub(super) struct ReadTokens {
    pub(super) key: TokenKey,
    /// The table's id.
    pub(super) table: String,
    pub(super) now: Timestamp,
}

impl ReadTokens {
    /// The token of the page that begins at a place. `checksum` is of what else was asked for.
    pub(super) fn page<P: Place>(&self, place: P, checksum: &str) -> Result<String, PortError> {
        self.write(P::PURPOSE, place, checksum, PAGE_LIFE_SECONDS)
    }

    /// The place that a page token names.
    pub(super) fn read_page<P: Place>(&self, token: &str, checksum: &str) -> Result<P, ProtocolError> {
        self.read(P::PURPOSE, "page token", token, checksum)
    }

    /// A token that pins a version for an hour.
    pub(super) fn refresh(&self, version: u64) -> Result<String, PortError> {
        self.write(Purpose::Refresh, version, "", REFRESH_LIFE_SECONDS)
    }

    /// The version that a refresh token pins.
    pub(super) fn read_refresh(&self, token: &str) -> Result<u64, ProtocolError> {
        self.read(Purpose::Refresh, "refresh token", token, "")
    }

    fn write<P: Serialize>(
        &self,
        purpose: Purpose,
        place: P,
        checksum: &str,
        life_seconds: i64,
    ) -> Result<String, PortError> {
        const OPERATION: &str = "make a token of a read";
        let claims = Claims {
            table: self.table.clone(),
            checksum: checksum.to_owned(),
            expires_at_seconds: self.now.plus_seconds(life_seconds).seconds(),
            place,
        };
        let failed = |error| PortError::new(PortErrorKind::InvalidData, OPERATION, error);
        let content = serde_json::to_vec(&claims).map_err(failed)?;
        seal::seal(&self.key, purpose, "", &content)
            .ok_or_else(|| PortError::new(PortErrorKind::InvalidData, OPERATION, "the key is not one"))
    }

    fn read<P: DeserializeOwned>(
        &self,
        purpose: Purpose,
        called: &str,
        token: &str,
        checksum: &str,
    ) -> Result<P, ProtocolError> {
        let content = seal::open(&self.key, purpose, "", token);
        let claims = content.and_then(|content| serde_json::from_slice::<Claims<P>>(&content).ok());
        let claims = claims.ok_or_else(|| ProtocolError::invalid(format!("Error decoding the {called}.")))?;
        if claims.table != self.table {
            return Err(ProtocolError::invalid(format!(
                "The table specified in the {called} does not match the table being queried."
            )));
        }
        if claims.checksum != checksum {
            return Err(ProtocolError::invalid("Query parameter mismatch detected for the next page query."));
        }
        if claims.expires_at_seconds <= self.now.seconds() {
            return Err(ProtocolError::invalid(format!("The {called} has expired. Please restart the query.")));
        }
        Ok(claims.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLACE: FilePlace = FilePlace { version: 7, base: Some(3), passed: 100, rows: 5 };

    fn tokens(table: &str, seconds: i64) -> ReadTokens {
        let key = TokenKey::new(vec![1; 32]).unwrap();
        ReadTokens { key, table: table.to_owned(), now: Timestamp::EPOCH.plus_seconds(seconds) }
    }

    fn message<T: std::fmt::Debug>(result: Result<T, ProtocolError>) -> String {
        result.unwrap_err().message().to_owned()
    }

    #[test]
    fn a_page_token_leads_to_its_place_for_three_days() {
        let token = tokens("t", 0).page(PLACE, "asked").unwrap();
        for seconds in [0, 3 * 86_400 - 1] {
            assert_eq!(tokens("t", seconds).read_page::<FilePlace>(&token, "asked").unwrap(), PLACE);
        }
        let expired = tokens("t", 3 * 86_400).read_page::<FilePlace>(&token, "asked");
        assert_eq!(message(expired), "The page token has expired. Please restart the query.");
    }

    #[test]
    fn a_refresh_token_pins_its_version_for_an_hour() {
        let token = tokens("t", 0).refresh(7).unwrap();
        assert_eq!(tokens("t", 3_599).read_refresh(&token).unwrap(), 7);
        let expired = tokens("t", 3_600).read_refresh(&token);
        assert_eq!(message(expired), "The refresh token has expired. Please restart the query.");
        let foreign = tokens("u", 0).read_refresh(&token);
        assert!(message(foreign).starts_with("The table specified in the refresh token does not match"));
        assert!(message(tokens("t", 0).read_refresh("x")).starts_with("Error decoding the refresh token"));
    }

    #[test]
    fn a_page_token_of_something_else_is_told_why() {
        let ours = tokens("t", 0);
        let token = ours.page(PLACE, "asked").unwrap();
        let refresh = ours.refresh(7).unwrap();
        for (reader, token, checksum, expected) in [
            (
                &tokens("u", 0),
                token.as_str(),
                "asked",
                "The table specified in the page token does not match the table",
            ),
            (&ours, &token, "other", "Query parameter mismatch detected for the next page query"),
            (&ours, &refresh, "asked", "Error decoding the page token"),
            (&ours, "", "asked", "Error decoding the page token"),
        ] {
            let told = message(reader.read_page::<FilePlace>(token, checksum));
            assert!(told.starts_with(expected), "{told}");
        }
        let changes = message(ours.read_page::<ChangePlace>(&token, "asked"));
        assert!(changes.starts_with("Error decoding the page token"), "{changes}");
    }

    proptest! {
        #[test]
        fn no_token_panics(token in "\\PC{0,200}") {
            prop_assert!(tokens("t", 0).read_page::<FilePlace>(&token, "").is_err());
            prop_assert!(tokens("t", 0).read_page::<ChangePlace>(&token, "").is_err());
            prop_assert!(tokens("t", 0).read_refresh(&token).is_err());
        }
    }
}
