//! How single values are read by the cast policy, and what is said when they cannot be.

use delivery::timestamp::{Timestamp, parse_date};

use crate::scan::{Fault, Kind, Slot};
use crate::text::{Forbidden, unescape};

/// Why a value is not in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It does not fit the cast policy; the text says what the type takes.
    Value(&'static str),
    /// Its text holds what may not leave.
    Text,
}

impl From<Forbidden> for Misfit {
    fn from(_: Forbidden) -> Self {
        Self::Text
    }
}

impl From<Fault> for Misfit {
    /// Values are cast after their grammar was checked, so this does not happen.
    fn from(_: Fault) -> Self {
        Self::Text
    }
}

pub(crate) const EXPECTS_DOUBLE: &str =
    "a number that a double holds without loss, or a string that is exactly such a number";
pub(crate) const EXPECTS_BOOLEAN: &str = "true or false";
pub(crate) const EXPECTS_DATE: &str = "a date as YYYY-MM-DD, or an RFC 3339 time at midnight UTC";
pub(crate) const EXPECTS_TIMESTAMP: &str =
    "an RFC 3339 time, or whole milliseconds since 1970, within the years 1 to 9999";
pub(crate) const EXPECTS_AMOUNT: &str = "an amount with at most 6 decimals and 32 digits before them";
pub(crate) const EXPECTS_MONEY: &str = "an object with an amount and a currencyCode";
pub(crate) const EXPECTS_CODE: &str = "a currencyCode that is a string";
pub(crate) const EXPECTS_OBJECT: &str = "an object";
pub(crate) const EXPECTS_ARRAY: &str = "an array";

/// Reads a string's text, without its escapes. `None` for other values.
#[inline]
pub(crate) fn with_string<T>(slot: Slot, line: &[u8], read: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
    match slot.kind {
        Kind::Plain => read(slot.text(line)),
        Kind::Escaped => {
            let mut decoded = Vec::new();
            unescape(slot.text(line), &mut decoded).ok()?;
            read(&decoded)
        }
        Kind::Missing | Kind::Null | Kind::True | Kind::False | Kind::Number | Kind::Object | Kind::Array => None,
    }
}

pub(crate) fn boolean(text: &[u8]) -> Option<bool> {
    if text.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else if text.eq_ignore_ascii_case(b"false") {
        Some(false)
    } else {
        None
    }
}

/// A date, or a time that is exactly midnight in UTC and says so by an offset.
pub(crate) fn date(text: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(days) = parse_date(text) {
        return Some(days);
    }
    let (_, clock) = text.split_at_checked(10)?;
    let offset = clock.rfind(['Z', 'z', '+', '-'])?;
    // Digits that the timestamp would cut off have to be zeros here.
    let fraction = clock.get(..offset)?.split_once('.').map_or("", |(_, fraction)| fraction);
    if fraction.bytes().any(|digit| digit != b'0') {
        return None;
    }
    Timestamp::parse(text)?.midnight_days()
}

pub(crate) fn instant(text: &[u8]) -> Option<i64> {
    Timestamp::parse(std::str::from_utf8(text).ok()?).map(Timestamp::micros)
}

/// An integer of milliseconds; JSON numbers with a fraction or an exponent are none.
pub(crate) fn millis(literal: &[u8]) -> Option<i64> {
    let millis: i64 = std::str::from_utf8(literal).ok()?.parse().ok()?;
    Timestamp::from_millis(millis).map(Timestamp::micros)
}
