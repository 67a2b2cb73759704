//! JSON numbers as doubles and decimals: exactly, or not at all.

/// The scale of money amounts.
pub(crate) const AMOUNT_SCALE: i8 = 6;
/// The precision of money amounts.
pub(crate) const AMOUNT_PRECISION: u8 = 38;

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// The nearest double of a JSON number. `None` for an integer that a double cannot hold exactly, for a number beyond
/// the doubles, and for one that is not zero but would become zero.
#[inline]
pub(crate) fn double(literal: &[u8]) -> Option<f64> {
    // Up to 2^53 and 10^22 both parts are exact, so one division rounds once (W. Clinger, "How to Read Floating Point
    // Numbers Accurately"). An integer among these is below 2^53, hence exact.
    let (negative, digits) = match literal {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if digits.len() <= 17 {
        let mut mantissa: u64 = 0;
        let mut point = None;
        for (at, byte) in digits.iter().enumerate() {
            match byte {
                b'0'..=b'9' => mantissa = mantissa * 10 + u64::from(byte - b'0'),
                b'.' => point = Some(at + 1),
                _ => return careful_double(literal),
            }
        }
        if mantissa <= 1 << 53 {
            let decimals = point.map_or(0, |point| digits.len() - point);
            #[expect(clippy::cast_precision_loss, reason = "at most 2^53")]
            let magnitude = mantissa as f64 / POWERS.get(decimals).copied()?;
            return Some(if negative { -magnitude } else { magnitude });
        }
    }
    careful_double(literal)
}

#[cold]
fn careful_double(literal: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(literal).ok()?.parse().ok()?;
    let parts = Parts::of(literal);
    if !value.is_finite() || (value == 0.0 && !parts.digits.is_empty()) {
        return None;
    }
    if parts.exponent >= 0 && !parts.digits.is_empty() {
        // An integer: the double's own digits, which are written exactly, have to be the literal's.
        let zeros = usize::try_from(parts.exponent).ok()?;
        let exact = format!("{:.0}", value.abs());
        let written = parts.digits.iter().copied().chain(std::iter::repeat_n(b'0', zeros));
        if !exact.bytes().eq(written) {
            return None;
        }
    }
    Some(value)
}

/// A JSON number as an integer of millionths, if it has no more than six decimals and 38 digits.
pub(crate) fn amount(literal: &[u8]) -> Option<i128> {
    let parts = Parts::of(literal);
    let zeros = parts.exponent.checked_add(i64::from(AMOUNT_SCALE))?;
    let zeros = usize::try_from(zeros).ok()?;
    if parts.digits.is_empty() {
        return Some(0);
    }
    if parts.digits.len().checked_add(zeros)? > usize::from(AMOUNT_PRECISION) {
        return None;
    }
    let digits = parts.digits.iter().copied().chain(std::iter::repeat_n(b'0', zeros));
    let magnitude = digits.fold(0_i128, |value, digit| value * 10 + i128::from(digit - b'0'));
    Some(if parts.negative { -magnitude } else { magnitude })
}

/// A JSON number as `digits * 10^exponent`, without zeros in front or behind. No digits mean zero.
struct Parts {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Parts {
    fn of(literal: &[u8]) -> Self {
        let negative = literal.first() == Some(&b'-');
        let (mantissa, power) = match literal.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (literal.get(..at).unwrap_or_default(), literal.get(at + 1..).unwrap_or_default()),
            None => (literal, &[] as &[u8]),
        };
        let decimals = mantissa.iter().position(|byte| *byte == b'.').map_or(0, |at| mantissa.len() - at - 1);
        let digits = mantissa.iter().copied().filter(u8::is_ascii_digit);
        let mut digits: Vec<u8> = digits.skip_while(|digit| *digit == b'0').collect();
        let significant = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
        let zeros = digits.len() - significant;
        digits.truncate(significant);
        let power_digits = power.iter().filter(|byte| byte.is_ascii_digit());
        let power_magnitude = power_digits.fold(0_i64, |value, digit| {
            value.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(i64::from(i32::MAX))
        });
        let power = if power.first() == Some(&b'-') { -power_magnitude } else { power_magnitude };
        let shift = i64::try_from(zeros).unwrap_or(i64::MAX) - i64::try_from(decimals).unwrap_or(i64::MAX);
        let exponent = if digits.is_empty() { 0 } else { power.saturating_add(shift) };
        Self { negative, digits, exponent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn doubles_are_exact_integers_or_nearest_fractions() {
        for (literal, expected) in [
            ("0", Some(0.0)),
            ("-0", Some(-0.0)),
            ("0e999", Some(0.0)),
            ("1.5", Some(1.5)),
            ("9.97788185410981e-05", Some(9.977_881_854_109_81e-5)),
            ("9007199254740992", Some(9_007_199_254_740_992.0)),
            ("9007199254740993", None),
            ("-9007199254740993", None),
            ("9007199254740993.0", None),
            ("9007199254740993.00000", None),
            ("9007199254740993.5", Some(9_007_199_254_740_993.5)),
            ("9.007199254740993e15", None),
            ("900719925474099300e-2", None),
            ("9007199254740994", Some(9_007_199_254_740_994.0)),
            ("9007199254740994.0", Some(9_007_199_254_740_994.0)),
            ("1e22", Some(1e22)),
            ("1e23", None),
            ("1267650600228229401496703205376", Some(1_267_650_600_228_229_401_496_703_205_376.0)),
            ("1267650600228229401496703205377", None),
            ("1.7976931348623157e308", None),
            ("1e400", None),
            ("-1e400", None),
            ("1e-400", None),
            ("5e-324", Some(5e-324)),
            ("0.000000000000000000000000000000001", Some(1e-33)),
            ("123456789012345678", None),
            ("100000000000000000000", Some(1e20)),
        ] {
            assert_eq!(double(literal.as_bytes()).map(f64::to_bits), expected.map(f64::to_bits), "{literal}");
        }
    }

    #[test]
    fn amounts_have_six_decimals_and_thirty_eight_digits_at_most() {
        for (literal, expected) in [
            ("12450", Some(12_450_000_000)),
            ("-1.5", Some(-1_500_000)),
            ("0.000001", Some(1)),
            ("0.0000001", None),
            ("1.1000000", Some(1_100_000)),
            ("1e-6", Some(1)),
            ("1e-7", None),
            ("12.5e1", Some(125_000_000)),
            ("0", Some(0)),
            ("-0.0000000000", Some(0)),
            ("0e-99999999999999999999", Some(0)),
            ("99999999999999999999999999999999.999999", Some(10_i128.pow(38) - 1)),
            ("100000000000000000000000000000000", None),
            ("1e99999999999999999999", None),
            ("1e-99999999999999999999", None),
        ] {
            assert_eq!(amount(literal.as_bytes()), expected, "{literal}");
        }
    }

    proptest! {
        #[test]
        fn every_finite_double_that_is_no_large_integer_is_read_as_it_was_written(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let shortest = serde_json::to_string(&value).unwrap();
            match double(shortest.as_bytes()) {
                Some(read) => prop_assert_eq!(read.to_bits(), bits),
                // The shortest text of a large double is another integer than the double.
                None => {
                    prop_assert!(value.abs() > 9_007_199_254_740_992.0);
                    prop_assert_ne!(format!("{value:.0}"), shortest);
                }
            }
            if value.fract() == 0.0 {
                prop_assert_eq!(double(format!("{value:.0}").as_bytes()).map(f64::to_bits), Some(bits));
            }
        }

        #[test]
        fn doubles_agree_with_the_standard_library(text in "-?(0|[1-9][0-9]{0,19})(\\.[0-9]{1,19})?([eE][+-]?[0-9]{1,2})?") {
            if let Some(value) = double(text.as_bytes()) {
                prop_assert_eq!(value.to_bits(), text.parse::<f64>().unwrap().to_bits());
            }
        }

        #[test]
        fn integers_pass_exactly_when_a_double_holds_them(value in any::<i128>(), shift in 0_u32..120) {
            let value = value >> shift;
            #[expect(clippy::cast_precision_loss, reason = "that is the question")]
            let held = (value as f64) as i128 == value && value != i128::MAX;
            prop_assert_eq!(double(value.to_string().as_bytes()).is_some(), held);
        }

        #[test]
        fn every_amount_is_read_as_it_was_written(value in -(10_i128.pow(38) - 1)..10_i128.pow(38)) {
            let text = format!("{}{}.{:06}", if value < 0 { "-" } else { "" }, value.abs() / 1_000_000, value.abs() % 1_000_000);
            prop_assert_eq!(amount(text.as_bytes()), Some(value));
        }
    }
}
