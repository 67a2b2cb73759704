//! A text as somebody reads it, or reads it after decoding it. Knows encodings of characters; knows nothing of what is private.

/// A text, character by character, so that no way of writing a character hides it: letter case and full-width forms are
/// folded, and characters that show nothing (controls, zero-width, variation selectors) are not read; they belong to
/// the character before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// The characters as they are read.
    pub(super) chars: Vec<char>,
    /// Where each character's writing ends in the text, in bytes. It begins where the one before ends.
    pub(super) ends: Vec<usize>,
}

impl Reading {
    /// Reads a text as it stands.
    pub(super) fn plain(text: &str) -> Self {
        let mut reading = Self { chars: Vec::with_capacity(text.len()), ends: Vec::with_capacity(text.len()) };
        for (start, written) in text.char_indices() {
            reading.push(written, start + written.len_utf8());
        }
        reading
    }

    /// Reads a text after decoding percent-encoding, HTML character references, `\u0040` and `\x40`, each in any depth.
    /// The work grows with the square of its length at worst.
    pub(super) fn decoded(text: &str) -> Self {
        let mut reading = Self::plain(text);
        loop {
            let decoded = reading.decoded_once();
            if decoded == reading {
                return reading;
            }
            reading = decoded;
        }
    }

    /// Both readings. Decoding may take the beginning of a plain word for a code, so that neither is enough.
    pub(super) fn both(text: &str) -> [Self; 2] {
        [Self::plain(text), Self::decoded(text)]
    }

    fn push(&mut self, written: char, end: usize) {
        for read in folded(written).to_lowercase() {
            if !is_silent(read) {
                self.chars.push(read);
                self.ends.push(end);
            } else if let Some(last) = self.ends.last_mut() {
                *last = end;
            }
        }
    }

    /// The reading with one layer of encoding taken off.
    fn decoded_once(&self) -> Self {
        let mut decoded = Self { chars: Vec::with_capacity(self.chars.len()), ends: Vec::new() };
        let mut rest = self.chars.as_slice();
        while let Some(first) = rest.first() {
            let (read, length) = encoded(rest).unwrap_or((*first, 1));
            let place = self.chars.len() - rest.len() + length;
            let end = place.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or_default();
            decoded.push(read, end);
            rest = rest.get(length..).unwrap_or_default();
        }
        decoded
    }
}

/// Full-width forms as ASCII, and the other at sign.
fn folded(written: char) -> char {
    match written {
        '\u{FF01}'..='\u{FF5E}' => u32::from(written).checked_sub(0xFEE0).and_then(char::from_u32).unwrap_or(written),
        '\u{FE6B}' => '@',
        other => other,
    }
}

/// Whether a character shows nothing and parts nothing.
pub(super) fn is_silent(read: char) -> bool {
    let invisible = matches!(
        read,
        '\u{AD}'
            | '\u{34F}'
            | '\u{61C}'
            | '\u{115F}'
            | '\u{1160}'
            | '\u{17B4}'
            | '\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{3164}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}'
            | '\u{FFA0}'
            | '\u{FFF9}'..='\u{FFFB}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}'
    );
    invisible || (read.is_control() && !read.is_whitespace())
}

/// An encoded character at the beginning, and how many characters its writing has.
fn encoded(text: &[char]) -> Option<(char, usize)> {
    match text {
        ['%', ..] => percent(text),
        ['&', '#', 'x', rest @ ..] => reference(rest, 16).map(|(read, length)| (read, length + 3)),
        ['&', '#', rest @ ..] => reference(rest, 10).map(|(read, length)| (read, length + 2)),
        ['&', rest @ ..] => named(rest).map(|(read, length)| (read, length + 1)),
        ['\\', 'u', rest @ ..] => digits(rest, 16, 4)
            .filter(|(_, length)| *length == 4)
            .and_then(|(value, _)| char::from_u32(value).map(|read| (read, 6))),
        ['\\', 'x', rest @ ..] => digits(rest, 16, 2)
            .filter(|(_, length)| *length == 2)
            .and_then(|(value, _)| char::from_u32(value).map(|read| (read, 4))),
        _ => None,
    }
}

/// Percent-encoded UTF-8; a byte that is none counts as Latin-1.
fn percent(text: &[char]) -> Option<(char, usize)> {
    let byte = |index: usize| {
        let written = text.get(index * 3..)?;
        let (sign, hex) = written.split_first()?;
        let (value, length) = digits(hex, 16, 2)?;
        if *sign == '%' && length == 2 { u8::try_from(value).ok() } else { None }
    };
    let first = byte(0)?;
    let bytes: Vec<u8> = (0..4).map_while(byte).collect();
    let whole = (1..=bytes.len()).find_map(|length| {
        let read = std::str::from_utf8(bytes.get(..length)?).ok()?;
        Some((read.chars().next()?, length * 3))
    });
    Some(whole.unwrap_or((char::from(first), 3)))
}

fn reference(text: &[char], radix: u32) -> Option<(char, usize)> {
    let (value, length) = digits(text, radix, 8)?;
    let closed = usize::from(text.get(length) == Some(&';'));
    Some((char::from_u32(value)?, length + closed))
}

fn named(text: &[char]) -> Option<(char, usize)> {
    const NAMES: [(&str, char); 9] = [
        ("amp;", '&'),
        ("apos;", '\''),
        ("bsol;", '\\'),
        ("commat;", '@'),
        ("lbrace;", '{'),
        ("lcub;", '{'),
        ("num;", '#'),
        ("percnt;", '%'),
        ("quot;", '"'),
    ];
    let begins = |name: &str| name.chars().enumerate().all(|(index, letter)| text.get(index) == Some(&letter));
    NAMES.into_iter().find(|(name, _)| begins(name)).map(|(name, read)| (read, name.len()))
}

/// The number at the beginning, of at most so many digits, and how many it has.
fn digits(text: &[char], radix: u32, count_max: usize) -> Option<(u32, usize)> {
    let found: Vec<u32> = text.iter().take(count_max).map_while(|digit| digit.to_digit(radix)).collect();
    let value = found.iter().try_fold(0_u32, |value, digit| value.checked_mul(radix)?.checked_add(*digit))?;
    if found.is_empty() { None } else { Some((value, found.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_character_is_read_however_it_is_written() {
        for written in [
            "a@b",
            "A@B",
            "a＠b",
            "ａ﹫ｂ",
            "a%40b",
            "a%2540b",
            "a%252540b",
            "a%25252540b",
            "a%EF%BC%A0b",
            "a&#64;b",
            "a&#64b;",
            "a&#x40;b",
            "a&#0064;b",
            "a&commat;b",
            "a&amp;#64;b",
            "a&amp;amp;commat;b",
            r"a\u0040b",
            r"a\x40b",
            r"a\u005cu0040b",
            "a%5Cu0040b",
            "a\u{200B}@\u{FEFF}b",
            "a%4\u{0}0b",
            "a%\u{AD}40b",
            "a％４０b",
            "a&#6\u{2060}4;b",
            "a@\u{FE0F}b",
            "%61%40%62",
        ] {
            let reading = Reading::decoded(written);
            let text: String = reading.chars.iter().collect();
            let expected = if written == "a&#64b;" { "a@b;" } else { "a@b" };
            assert_eq!(text, expected, "{written:?}");
        }
    }

    #[test]
    fn what_is_no_encoding_stays() {
        for written in ["100%", "% 40", "%4", "%zz", "a & b", "&#;", "&nosuch;", r"\u00", r"\ud800", "&#xd800;"] {
            let text: String = Reading::decoded(written).chars.iter().collect();
            assert_eq!(text, written);
        }
        assert_eq!(Reading::decoded("%FF").chars, ['ÿ']);
        assert_eq!(Reading::decoded("%E9@").chars, ['é', '@']);
    }

    proptest! {
        #[test]
        fn each_character_knows_its_place(text in any::<String>()) {
            let reading = Reading::decoded(&text);
            prop_assert_eq!(reading.chars.len(), reading.ends.len());
            prop_assert!(reading.ends.is_sorted());
            prop_assert!(reading.ends.iter().all(|end| text.is_char_boundary(*end)));
        }

        #[test]
        fn any_depth_of_percent_encoding_is_read(depth in 1_usize..40) {
            let written = format!("a%{}40b", "25".repeat(depth));
            prop_assert_eq!(Reading::decoded(&written).chars, ['a', '@', 'b']);
        }
    }
}
