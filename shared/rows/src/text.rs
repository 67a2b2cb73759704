//! The text of strings and of compact JSON: unescaping, what may not leave, and private keys. Works on text whose
//! grammar is checked already.

use std::borrow::Cow;

use crate::scan::{Fault, Kind, Scanner};

/// A public text holds what may not leave: a NUL, a lone surrogate or invalid UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forbidden;

/// Appends a string's text without its escapes.
pub(crate) fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Result<(), Forbidden> {
    let clean = decode(raw, out);
    if clean { Ok(()) } else { Err(Forbidden) }
}

/// Appends the decoded text; lone surrogates in their three-byte form, so that texts can still be compared. Returns
/// whether the text may leave.
fn decode(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let mut clean = true;
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        let Some((&escape, after)) = rest.split_first() else { break };
        rest = after;
        let byte = match escape {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (unit, after) = code_unit(rest);
                rest = after;
                let mut point = unit;
                if (0xd800..0xdc00).contains(&unit)
                    && let [b'\\', b'u', low @ ..] = rest
                    && let (low @ 0xdc00..0xe000, after) = code_unit(low)
                {
                    point = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                    rest = after;
                }
                clean &= point != 0 && push_point(point, out);
                continue;
            }
            other => other,
        };
        out.push(byte);
    }
    out.extend_from_slice(rest);
    clean
}

/// Four hexadecimal digits; the grammar was checked.
fn code_unit(text: &[u8]) -> (u32, &[u8]) {
    let (digits, rest) = text.split_at_checked(4).unwrap_or((text, &[]));
    let unit = digits.iter().fold(0, |unit, &digit| unit << 4 | char::from(digit).to_digit(16).unwrap_or(0));
    (unit, rest)
}

/// Appends a code point; a surrogate as three bytes, and returns false for it.
fn push_point(point: u32, out: &mut Vec<u8>) -> bool {
    if let Some(character) = char::from_u32(point) {
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        return true;
    }
    let six = |shift: u32| 0x80 | u8::try_from(point >> shift & 0x3f).unwrap_or(0);
    out.extend_from_slice(&[0xed, six(6), six(0)]);
    false
}

/// A key as it compares, and whether it may leave.
pub(crate) fn key(raw: &[u8], kind: Kind) -> (Cow<'_, [u8]>, bool) {
    if kind != Kind::Escaped {
        return (Cow::Borrowed(raw), true);
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let clean = decode(raw, &mut decoded);
    (Cow::Owned(decoded), clean)
}

/// Appends a value as compact JSON: no white space, no private keys at any depth, of duplicate keys the last one, at
/// its own place. Numbers and strings keep their literal text.
///
/// What is left out (a private value, an earlier duplicate) may hold anything.
pub(crate) fn compact(value: &[u8], out: &mut Vec<u8>) -> Result<(), Forbidden> {
    let mut compactor = Compactor { scanner: Scanner::new(value), text: value, out };
    // The grammar was checked, so a fault cannot happen; it would mean that the text may not leave.
    match compactor.value() {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(Forbidden),
    }
}

struct Compactor<'a, 'o> {
    scanner: Scanner<'a>,
    text: &'a [u8],
    out: &'o mut Vec<u8>,
}

struct Member<'a> {
    key: Cow<'a, [u8]>,
    clean: bool,
    start: usize,
    end: usize,
}

impl Compactor<'_, '_> {
    /// Appends the next value and returns whether it may leave.
    fn value(&mut self) -> Result<bool, Fault> {
        match self.scanner.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => {
                self.scanner.open(b'[', 1)?;
                self.out.push(b'[');
                let (mut first, mut clean) = (true, true);
                while self.scanner.next_element(first)? {
                    if !first {
                        self.out.push(b',');
                    }
                    first = false;
                    clean &= self.value()?;
                }
                self.out.push(b']');
                Ok(clean)
            }
            _ => {
                let start = self.scanner.position();
                let slot = self.scanner.value(1)?;
                self.out.extend_from_slice(self.scanner.since(start));
                Ok(slot.kind != Kind::Escaped || key(slot.text(self.text), slot.kind).1)
            }
        }
    }

    fn object(&mut self) -> Result<bool, Fault> {
        self.scanner.open(b'{', 1)?;
        let begin = self.out.len();
        let mut members: Vec<Member<'_>> = Vec::new();
        let mut first = true;
        while let Some(slot) = self.scanner.next_member(first)? {
            first = false;
            let raw = slot.text(self.text);
            let (name, key_clean) = key(raw, slot.kind);
            if name.first() == Some(&b'_') {
                self.scanner.value(1)?;
                continue;
            }
            let start = self.out.len();
            self.out.extend_from_slice(b",\"");
            self.out.extend_from_slice(raw);
            self.out.extend_from_slice(b"\":");
            let clean = self.value()? && key_clean;
            members.push(Member { key: name, clean, start, end: self.out.len() });
        }
        let mut order: Vec<_> = (0..members.len()).collect();
        // Stable, so that among equal keys the last one in the text stays last.
        order.sort_by(|a, b| members.get(*a).map(|m| &m.key).cmp(&members.get(*b).map(|m| &m.key)));
        let mut duplicates: Vec<_> = order
            .array_windows()
            .filter_map(|[a, b]| {
                let (earlier, later) = (members.get(*a)?, members.get(*b)?);
                (earlier.key == later.key).then_some(*a)
            })
            .collect();
        if !duplicates.is_empty() {
            duplicates.sort_unstable();
            let mut kept = begin;
            let mut position = 0;
            members.retain(|member| {
                let drop = duplicates.binary_search(&position).is_ok();
                position += 1;
                if !drop {
                    self.out.copy_within(member.start..member.end, kept);
                    kept += member.end - member.start;
                }
                !drop
            });
            self.out.truncate(kept);
        }
        // The first member's comma becomes the opening brace.
        match self.out.get_mut(begin) {
            Some(comma) => *comma = b'{',
            None => self.out.push(b'{'),
        }
        self.out.push(b'}');
        Ok(members.iter().all(|member| member.clean))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compacted(value: &str) -> Result<String, Forbidden> {
        let mut out = b"before".to_vec();
        compact(value.as_bytes(), &mut out)?;
        Ok(String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned())
    }

    #[test]
    fn compact_json_has_no_white_space_no_private_keys_and_no_duplicates() {
        for (value, expected) in [
            ("{ }", "{}"),
            ("[ ]", "[]"),
            ("1.50e+3", "1.50e+3"),
            (r#""a\u0041\/ ""#, r#""a\u0041\/ ""#),
            (
                r#"{ "a" : 1 , "_b" : 2 , "c" : [ 1 , { "_d" : 3 } , { "e" : null , "_f" : "\ud800" } ] }"#,
                r#"{"a":1,"c":[1,{},{"e":null}]}"#,
            ),
            (r#"{"\u005fp":1,"a":2}"#, r#"{"a":2}"#),
            (r#"{"_p":1,"_q":{"a":1}}"#, "{}"),
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"b":2,"a":3}"#),
            (r#"{"a":"\ud800","b":2,"\u0061":{"x":1,"x":2}}"#, r#"{"b":2,"\u0061":{"x":2}}"#),
            (r#"{"a":1,"a":2,"a":3,"a":4}"#, r#"{"a":4}"#),
            (r#"{"":1,"":2}"#, r#"{"":2}"#),
        ] {
            assert_eq!(compacted(value).unwrap(), expected, "{value}");
        }
    }

    #[test]
    fn a_nul_or_a_lone_surrogate_may_not_leave() {
        for value in [r#""\u0000""#, r#"["\ud800"]"#, r#"{"\udc00":1}"#, r#"{"a":"\ud800\ud800"}"#, r#""\ud800\u0041""#]
        {
            assert_eq!(compacted(value), Err(Forbidden), "{value}");
            assert!(serde_json::from_str::<String>(value).map_or(true, |text| text.contains('\0')));
        }
        assert!(compacted(r#""\ud83d\ude00""#).is_ok());
    }

    #[test]
    fn unescaping_agrees_with_serde_json() {
        for raw in
            [r"", r"a", r"\n\t\b\f\r\/\\\x22", r"\u00e9\u65e5\ud83d\ude00z", r"\ud83d\ude00\ud83d\ude00", r"é日\u0041"]
        {
            let raw = raw.replace(r"\x22", "\\\"");
            let mut out = Vec::new();
            unescape(raw.as_bytes(), &mut out).unwrap();
            let expected: String = serde_json::from_str(&format!("\"{raw}\"")).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
