//! What clients write into query strings and bodies: whole numbers, times, and yes or no.

use std::fmt;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use delivery::timestamp::Timestamp;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::error::ProtocolError;

/// The longest time that is looked at, in bytes.
const TIME_BYTES_MAX: usize = 64;

/// A query string that was understood.
pub(super) fn query_string<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ProtocolError> {
    query.map(|Query(asked)| asked).map_err(|_| ProtocolError::malformed("The query string is not valid."))
}

/// A version in a query string.
pub(super) fn version(name: &str, text: Option<&str>) -> Result<Option<u64>, ProtocolError> {
    let not_one = |_| ProtocolError::invalid(format!("{name} must be a whole number that is not negative."));
    text.map(str::parse).transpose().map_err(not_one)
}

/// A time: ISO 8601 with an offset, or `yyyy-MM-dd HH:mm:ss` in UTC.
pub(super) fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, ProtocolError> {
    let not_one = || {
        ProtocolError::invalid(format!(
            "Invalid {name}: a time is written as 2026-01-31T12:30:00Z, 2026-01-31T12:30:00+01:00 or, in UTC, \
             2026-01-31 12:30:00."
        ))
    };
    let read = |text: &str| Timestamp::parse(text).filter(|_| text.len() <= TIME_BYTES_MAX).ok_or_else(not_one);
    text.map(read).transpose()
}

/// Whether something is wanted: `true` in any case, as Python writes it.
pub(super) fn is_true(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.eq_ignore_ascii_case("true"))
}

/// At most one of some parameters.
pub(super) fn at_most_one(given: &[(&str, bool)]) -> Result<(), ProtocolError> {
    if given.iter().filter(|(_, given)| *given).count() <= 1 {
        return Ok(());
    }
    let names: Vec<_> = given.iter().map(|(name, _)| *name).collect();
    Err(ProtocolError::invalid(format!("Please only provide one of: {}", names.join("/"))))
}

/// A whole number in a body, as JSON's number or as a text of digits: protocol buffers write either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole(pub(super) i64);

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

impl Whole {
    /// The number, if it is not negative.
    pub(super) fn positive(name: &str, number: Option<Self>) -> Result<Option<u64>, ProtocolError> {
        let negative = |_| ProtocolError::invalid(format!("{name} cannot be negative."));
        number.map(|Self(number)| u64::try_from(number)).transpose().map_err(negative)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_read_in_both_ways_of_writing() {
        let at = Timestamp::parse("2026-01-31T12:30:00Z");
        for text in
            ["2026-01-31T12:30:00Z", "2026-01-31T13:30:00+01:00", "2026-01-31 12:30:00", "2026-01-31 12:30:00.0"]
        {
            assert_eq!(time("timestamp", Some(text)).unwrap(), at, "{text}");
        }
        for text in ["", "yesterday", "2026-01-31", "1769862600", &format!("2026-01-31T12:30:00.{}Z", "0".repeat(60))] {
            let told = time("startingTimestamp", Some(text)).unwrap_err();
            assert!(told.message().starts_with("Invalid startingTimestamp: "), "{text}");
        }
    }

    #[test]
    fn versions_are_whole_and_not_negative() {
        assert_eq!(version("version", Some("18446744073709551615")).unwrap(), Some(u64::MAX));
        assert_eq!(version("version", None).unwrap(), None);
        for text in ["", "-1", "1.5", "x", "18446744073709551616", " 1"] {
            assert!(version("version", Some(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn one_of_several_may_be_given() {
        assert!(at_most_one(&[("version", true), ("timestamp", false)]).is_ok());
        let told = at_most_one(&[("version", true), ("timestamp", true)]).unwrap_err();
        assert_eq!(told.message(), "Please only provide one of: version/timestamp");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = (version("version", Some(&text)), time("timestamp", Some(&text)), is_true(Some(&text)));
        }
    }
}
