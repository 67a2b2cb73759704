//! Instants as microseconds since 1970-01-01T00:00:00Z, and dates as days since then: reading and writing their
//! texts (RFC 3339). There is no clock here.

use std::fmt;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// An instant, UTC, in microseconds since the epoch. Years 1 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// The instant so many microseconds after the epoch, if its year is 1 to 9999.
    #[must_use]
    pub fn from_micros(micros: i64) -> Option<Self> {
        let first = days_from_civil(1, 1, 1) * MICROS_PER_DAY;
        let end = days_from_civil(10_000, 1, 1) * MICROS_PER_DAY;
        (first..end).contains(&micros).then_some(Self(micros))
    }

    /// The instant so many milliseconds after the epoch, if its year is 1 to 9999.
    #[must_use]
    pub fn from_millis(millis: i64) -> Option<Self> {
        millis.checked_mul(1_000).and_then(Self::from_micros)
    }

    /// Reads an RFC 3339 time. A missing offset means UTC; digits finer than microseconds are cut off.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let days = i64::from(parse_date(text.get(..10)?)?);
        if !matches!(bytes.get(10)?, b'T' | b't' | b' ') || *bytes.get(13)? != b':' || *bytes.get(16)? != b':' {
            return None;
        }
        let hour = number(bytes.get(11..13)?)?;
        let minute = number(bytes.get(14..16)?)?;
        let second = number(bytes.get(17..19)?)?;
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let mut rest = bytes.get(19..)?;
        let mut fraction = 0;
        if let Some((b'.', after)) = rest.split_first() {
            let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (kept, tail) = (after.get(..digits.min(6))?, after.get(digits..)?);
            if digits == 0 {
                return None;
            }
            fraction = number(kept)? * 10_i64.pow(6 - u32::try_from(kept.len()).ok()?);
            rest = tail;
        }
        let offset_seconds = match rest {
            [] | [b'Z' | b'z'] => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
                if hours > 23 || minutes > 59 {
                    return None;
                }
                let magnitude = hours * 3_600 + minutes * 60;
                if *sign == b'-' { -magnitude } else { magnitude }
            }
            _ => return None,
        };
        let seconds = hour * 3_600 + minute * 60 + second - offset_seconds;
        Self::from_micros(days * MICROS_PER_DAY + seconds * MICROS_PER_SECOND + fraction)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since the epoch, rounded down.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Seconds since the epoch, rounded down.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// This instant moved by so many seconds, held within years 1 to 9999.
    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self::from_micros(self.0.saturating_add(seconds.saturating_mul(MICROS_PER_SECOND))).unwrap_or(self)
    }

    /// The instant to the minute, for people: `2026-09-01 06:07 UTC`.
    #[must_use]
    pub fn minute_text(self) -> String {
        let text = self.to_string();
        let (date, time) = (text.get(..10).unwrap_or_default(), text.get(11..16).unwrap_or_default());
        format!("{date} {time} UTC")
    }

    /// The date, if the instant is a midnight in UTC: days since the epoch.
    #[must_use]
    pub fn midnight_days(self) -> Option<i32> {
        if self.0.rem_euclid(MICROS_PER_DAY) == 0 {
            i32::try_from(self.0.div_euclid(MICROS_PER_DAY)).ok()
        } else {
            None
        }
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC: whole seconds without a fraction, anything else with six digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.0.div_euclid(MICROS_PER_DAY);
        let within = self.0.rem_euclid(MICROS_PER_DAY);
        let (seconds, fraction) = (within / MICROS_PER_SECOND, within % MICROS_PER_SECOND);
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if fraction != 0 {
            write!(f, ".{fraction:06}")?;
        }
        f.write_str("Z")
    }
}

/// Reads `YYYY-MM-DD` as days since the epoch; years 0001 to 9999.
#[must_use]
pub fn parse_date(text: &str) -> Option<i32> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *text.as_bytes() else { return None };
    let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if year < 1 || day < 1 || day > length {
        return None;
    }
    i32::try_from(days_from_civil(year, month, day)).ok()
}

/// Writes days since the epoch as `YYYY-MM-DD`.
#[must_use]
pub fn format_date(days: i32) -> String {
    let (year, month, day) = civil_from_days(i64::from(days));
    format!("{year:04}-{month:02}-{day:02}")
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0_i64, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

/// Days since the epoch of a date of the proleptic Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level
/// Date Algorithms": years run from March, so that the leap day comes last).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`], from the same source.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_and_instants_agree() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1969-12-31T23:59:59.999999Z", Some(-1)),
            ("2026-09-01T06:07:30Z", Some(1_788_242_850_000_000)),
            ("2026-09-01t06:07:30z", Some(1_788_242_850_000_000)),
            ("2026-09-01 06:07:30", Some(1_788_242_850_000_000)),
            ("2026-09-01T08:07:30+02:00", Some(1_788_242_850_000_000)),
            ("2026-09-01T06:07:30.123456789Z", Some(1_788_242_850_123_456)),
            ("2026-09-01T06:07:30.5Z", Some(1_788_242_850_500_000)),
            ("2026-02-29T00:00:00Z", None),
            ("2026-09-01T24:00:00Z", None),
            ("2026-09-01T06:07:60Z", None),
            ("2026-09-01T06:07Z", None),
            ("2026-09-01T06:07:30.Z", None),
            ("2026-09-01T06:07:30+0200", None),
            ("2026-09-01", None),
            ("0000-01-01T00:00:00Z", None),
            ("é026-09-01T06:07:30Z", None),
        ] {
            assert_eq!(Timestamp::parse(text).map(Timestamp::micros), micros, "{text}");
        }
    }

    #[test]
    fn people_read_minutes() {
        let instant = Timestamp::parse("2026-09-01T06:07:30.5Z").unwrap();
        assert_eq!(instant.minute_text(), "2026-09-01 06:07 UTC");
    }

    proptest! {
        #[test]
        fn every_instant_is_read_as_it_was_written(micros in -62_135_596_800_000_000_i64..253_402_300_800_000_000) {
            let instant = Timestamp::from_micros(micros).unwrap();
            prop_assert_eq!(Timestamp::parse(&instant.to_string()), Some(instant));
        }

        #[test]
        fn every_date_is_read_as_it_was_written(days in -719_162_i32..2_932_897) {
            prop_assert_eq!(parse_date(&format_date(days)), Some(days));
        }
    }
}
