//! The JSON grammar (RFC 8259) over the bytes of one line. Checks everything, builds nothing: a value is found as a
//! [`Slot`], its kind and where its text lies. Does not know columns, types or privacy.

use delivery::schema::DEPTH_MAX;

/// Why a line is not one JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A byte that the grammar does not allow here.
    Syntax,
    /// The line ends in the middle of a value.
    End,
    /// Nested deeper than [`DEPTH_MAX`].
    Deep,
}

/// The kind of a value that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The key does not occur.
    Missing,
    Null,
    True,
    False,
    Number,
    /// A string without escapes: its text is its bytes.
    Plain,
    /// A string with escapes.
    Escaped,
    Object,
    Array,
}

/// A value's kind and the place of its text: without the quotes for strings, with the brackets for objects and arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) kind: Kind,
    start: u32,
    end: u32,
}

impl Slot {
    pub(crate) const MISSING: Self = Self { kind: Kind::Missing, start: 0, end: 0 };

    /// Rows are shorter than 4 GiB by their limit, so the offsets fit.
    fn new(kind: Kind, start: usize, end: usize) -> Self {
        Self { kind, start: u32::try_from(start).unwrap_or(u32::MAX), end: u32::try_from(end).unwrap_or(u32::MAX) }
    }

    /// Whether there is no value.
    #[inline]
    pub(crate) fn is_null(self) -> bool {
        matches!(self.kind, Kind::Missing | Kind::Null)
    }

    /// The value's text in its line.
    #[inline]
    pub(crate) fn text(self, line: &[u8]) -> &[u8] {
        line.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// A reader's place in one line.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    #[inline]
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    #[inline]
    pub(crate) fn line(&self) -> &'a [u8] {
        self.line
    }

    #[inline]
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        self.line.get(start..self.at).unwrap_or_default()
    }

    /// The byte at the reader's place.
    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    /// Takes `token` if the line goes on with it.
    #[inline]
    pub(crate) fn take(&mut self, token: &[u8]) -> bool {
        let taken = self.line.get(self.at..).is_some_and(|rest| rest.starts_with(token));
        if taken {
            self.at += token.len();
        }
        taken
    }

    #[inline]
    pub(crate) fn whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.fault())
        }
    }

    /// The fault of a byte that does not fit, or of there being none.
    #[cold]
    pub(crate) fn fault(&self) -> Fault {
        if self.at >= self.line.len() { Fault::End } else { Fault::Syntax }
    }

    /// Reads the rest of the line, which must be white space.
    pub(crate) fn finish(&mut self) -> Result<(), Fault> {
        self.whitespace();
        if self.at == self.line.len() { Ok(()) } else { Err(Fault::Syntax) }
    }

    /// Reads one value that stands `depth` levels deep (the row itself is level 1).
    #[inline]
    pub(crate) fn value(&mut self, depth: usize) -> Result<Slot, Fault> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'n') => self.word(b"null", Kind::Null),
            Some(b't') => self.word(b"true", Kind::True),
            Some(b'f') => self.word(b"false", Kind::False),
            Some(b'{') => {
                self.object(depth)?;
                Ok(Slot::new(Kind::Object, start, self.at))
            }
            Some(b'[') => {
                self.array(depth)?;
                Ok(Slot::new(Kind::Array, start, self.at))
            }
            _ => Err(self.fault()),
        }
    }

    /// The slot of what was read since `start` by [`Self::next_member`] or [`Self::next_element`].
    #[inline]
    pub(crate) fn slot_since(&self, kind: Kind, start: usize) -> Slot {
        Slot::new(kind, start, self.at)
    }

    /// Reads a string, from its opening quote.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Slot, Fault> {
        self.expect(b'"')?;
        let start = self.at;
        let mut kind = Kind::Plain;
        loop {
            self.plain_text();
            match self.peek() {
                Some(b'"') => {
                    let slot = Slot::new(kind, start, self.at);
                    self.at += 1;
                    return Ok(slot);
                }
                Some(b'\\') => {
                    kind = Kind::Escaped;
                    self.at += 1;
                    self.escape()?;
                }
                _ => return Err(self.fault()),
            }
        }
    }

    /// Goes on to the next quote, backslash or control character, eight bytes at a time ("Bit Twiddling Hacks",
    /// S. E. Anderson: the lowest byte that is flagged is flagged rightly).
    #[inline]
    fn plain_text(&mut self) {
        let rest = self.line.get(self.at..).unwrap_or_default();
        let (words, tail) = rest.as_chunks::<8>();
        let mut passed = 0;
        for word in words {
            let word = u64::from_le_bytes(*word);
            let quote = word ^ (LOW * b'"' as u64);
            let backslash = word ^ (LOW * b'\\' as u64);
            let found = (quote.wrapping_sub(LOW) & !quote)
                | (backslash.wrapping_sub(LOW) & !backslash)
                | (word.wrapping_sub(LOW * 0x20) & !word);
            let found = found & HIGH;
            if found != 0 {
                self.at += passed + (found.trailing_zeros() / 8) as usize;
                return;
            }
            passed += 8;
        }
        let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        self.at += passed + tail.iter().position(special).unwrap_or(tail.len());
    }

    /// Reads what follows a backslash.
    fn escape(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(self.fault());
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.fault()),
        }
        Ok(())
    }

    #[inline]
    fn number(&mut self) -> Result<Slot, Fault> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Slot::new(Kind::Number, start, self.at))
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(self.fault()) } else { Ok(()) }
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Result<Slot, Fault> {
        let start = self.at;
        if self.take(word) {
            return Ok(Slot::new(kind, start, self.at));
        }
        let rest = self.line.get(start..).unwrap_or_default();
        Err(if word.starts_with(rest) { Fault::End } else { Fault::Syntax })
    }

    /// Reads the bracket that opens level `depth`.
    #[inline]
    pub(crate) fn open(&mut self, bracket: u8, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH_MAX { Err(Fault::Deep) } else { self.expect(bracket) }
    }

    /// Goes to the next member's value and returns its key, or reads the closing brace.
    pub(crate) fn next_member(&mut self, first: bool) -> Result<Option<Slot>, Fault> {
        self.whitespace();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(None);
        }
        if !first {
            self.expect(b',')?;
            self.whitespace();
        }
        let key = self.string()?;
        self.whitespace();
        self.expect(b':')?;
        self.whitespace();
        Ok(Some(key))
    }

    /// Goes to the next element and returns true, or reads the closing bracket.
    #[inline]
    pub(crate) fn next_element(&mut self, first: bool) -> Result<bool, Fault> {
        self.whitespace();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(false);
        }
        if !first {
            self.expect(b',')?;
            self.whitespace();
        }
        Ok(true)
    }

    fn object(&mut self, depth: usize) -> Result<(), Fault> {
        self.open(b'{', depth)?;
        let mut first = true;
        while self.next_member(first)?.is_some() {
            first = false;
            self.value(depth + 1)?;
        }
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), Fault> {
        self.open(b'[', depth)?;
        let mut first = true;
        while self.next_element(first)? {
            first = false;
            self.value(depth + 1)?;
        }
        Ok(())
    }
}

/// Whether `text` is exactly one JSON number.
pub(crate) fn is_number(text: &[u8]) -> bool {
    let mut scanner = Scanner::new(text);
    matches!(text.first(), Some(b'-' | b'0'..=b'9')) && scanner.number().is_ok() && scanner.at == text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    fn accepts(line: &[u8]) -> Result<(), Fault> {
        let mut scanner = Scanner::new(line);
        scanner.whitespace();
        scanner.value(1)?;
        scanner.finish()
    }

    #[test]
    fn a_line_that_ends_early_is_told_from_a_wrong_one() {
        for line in ["{", "{\"a", "{\"a\":", "{\"a\":1", "[1,", "\"", "\"\\", "\"\\u00", "tru", "-", "1.", "1e", ""] {
            assert_eq!(accepts(line.as_bytes()), Err(Fault::End), "{line}");
        }
        for line in
            ["{]", "{a}", "[1,]", "{\"a\":1,}", "01", "1.x", "trux", "\"\\x\"", "\"\u{1}\"", "1 2", "nul1", "+1"]
        {
            assert_eq!(accepts(line.as_bytes()), Err(Fault::Syntax), "{line}");
        }
    }

    #[test]
    fn sixty_four_levels_are_read_and_one_more_is_too_deep() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(accepts(nested(DEPTH_MAX).as_bytes()), Ok(()));
        assert_eq!(accepts(nested(DEPTH_MAX + 1).as_bytes()), Err(Fault::Deep));
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("false".to_owned()),
            "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
            any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
            Just(r#""\ud83d\ude00 \/ \u0041 \b\f\n\r\t\\\"""#.to_owned()),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(|all| format!("[{}]", all.join(" , "))),
                prop::collection::vec((any::<String>(), inner), 0..5).prop_map(|all| {
                    let all: Vec<_> =
                        all.iter().map(|(k, v)| format!("{} :\t{v}", serde_json::to_string(k).unwrap())).collect();
                    format!("{{ {} }}", all.join(","))
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn accepts_what_serde_json_accepts(
            text in json(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 0..3),
        ) {
            let mut bytes = text.into_bytes();
            for (place, byte, action) in edits {
                let at = place.index(bytes.len() + 1);
                match action {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at, byte),
                    2 if at < bytes.len() => bytes[at] = byte,
                    _ if at < bytes.len() => { bytes.remove(at); }
                    _ => {}
                }
            }
            // The encoding is checked apart from the grammar.
            let text = String::from_utf8_lossy(&bytes);
            let expected = serde_json::from_str::<IgnoredAny>(&text);
            let found = accepts(text.as_bytes());
            prop_assert_eq!(found.is_ok(), expected.is_ok(), "{:?}: {:?} {:?}", text, found, expected);
            if expected.is_err_and(|error| error.is_eof()) {
                // A wrong digit in an unfinished \u escape is the end for serde_json.
                let escape = text.rfind("\\u").is_some_and(|at| text.len() - at < 6);
                prop_assert!(found == Err(Fault::End) || escape, "{:?}: {:?}", text, found);
            }
        }
    }
}
