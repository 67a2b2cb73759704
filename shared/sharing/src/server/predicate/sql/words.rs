//! The words of an SQL text.

/// A word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// A keyword, or a name without quotes.
    Name(String),
    /// A name in backticks.
    Quoted(String),
    /// A text in single quotes without anything to unescape.
    Text(String),
    /// Digits, perhaps with a fraction and an exponent.
    Number(String),
    /// A literal whose value depends on the engine's settings or on rules that are not followed here: escapes, quotes
    /// in quotes, double quotes, suffixes.
    Opaque,
    /// An operator or a bracket.
    Sign(&'static str),
}

/// Signs, the longer of those that begin alike first.
const SIGNS: [&str; 23] = [
    "<=>", "<=", "<>", "<", ">=", ">", "==", "=", "!=", "!", "||", "|", "(", ")", "[", "]", ",", ".", "+", "-", "*",
    "/", "%",
];

/// Cuts a text into words; `None` if something in it is none, such as a comment.
pub(super) fn words(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("--") || rest.starts_with("/*") {
            return None;
        }
        let (word, after) = match first {
            '\'' => quoted(rest, '\'')?,
            '"' => {
                let (_, after) = quoted(rest, '"')?;
                (Word::Opaque, after)
            }
            '`' => backticked(rest)?,
            '0'..='9' => number(rest),
            '_' | 'a'..='z' | 'A'..='Z' => {
                let (name, after) = split(rest, is_name_char);
                (Word::Name(name.to_owned()), after)
            }
            _ => {
                let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign))?;
                (Word::Sign(sign), rest.strip_prefix(sign)?)
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    Some(words)
}

fn is_name_char(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// A text in quotes, which may be doubled or escaped inside: then its value is not told.
fn quoted(text: &str, quote: char) -> Option<(Word, &str)> {
    let mut rest = text.strip_prefix(quote)?;
    let mut value = String::new();
    let mut plain = true;
    loop {
        let (part, after) = rest.split_at(rest.find([quote, '\\'])?);
        value.push_str(part);
        let mut chars = after.chars();
        if chars.next()? == '\\' {
            plain = false;
            chars.next()?;
            rest = chars.as_str();
            continue;
        }
        match chars.as_str().strip_prefix(quote) {
            Some(doubled) => {
                plain = false;
                rest = doubled;
            }
            None => return Some((if plain { Word::Text(value) } else { Word::Opaque }, chars.as_str())),
        }
    }
}

/// A name in backticks, which are doubled inside.
fn backticked(text: &str) -> Option<(Word, &str)> {
    let mut rest = text.strip_prefix('`')?;
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('`')?;
        name.push_str(part);
        match after.strip_prefix('`') {
            Some(doubled) => {
                name.push('`');
                rest = doubled;
            }
            None => return Some((Word::Quoted(name), after)),
        }
    }
}

fn number(text: &str) -> (Word, &str) {
    let digit = |c: char| c.is_ascii_digit();
    let (_, mut after) = split(text, digit);
    if let Some(fraction) = after.strip_prefix('.') {
        after = split(fraction, digit).1;
    }
    if let Some(exponent) = after.strip_prefix(['e', 'E']) {
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if unsigned.starts_with(digit) {
            after = split(unsigned, digit).1;
        }
    }
    let read = text.strip_suffix(after).unwrap_or(text);
    match split(after, is_name_char) {
        ("", _) => (Word::Number(read.to_owned()), after),
        ("l" | "L", after) => (Word::Number(read.to_owned()), after),
        (_, after) => (Word::Opaque, after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Word {
        Word::Name(text.to_owned())
    }

    #[test]
    fn words_are_told_apart() {
        let text = "`a``b`<=>'x' AND n_1>=-1.5e-3 OR 5L<>0x1F";
        let expected = [
            Word::Quoted("a`b".to_owned()),
            Word::Sign("<=>"),
            Word::Text("x".to_owned()),
            name("AND"),
            name("n_1"),
            Word::Sign(">="),
            Word::Sign("-"),
            Word::Number("1.5e-3".to_owned()),
            name("OR"),
            Word::Number("5".to_owned()),
            Word::Sign("<>"),
            Word::Opaque,
        ];
        assert_eq!(words(text).unwrap(), expected);
    }

    #[test]
    fn texts_whose_value_depends_on_settings_are_not_read() {
        for text in [r"'a\'b'", "'a''b'", "\"a\"", r#""a\"b""#, r"'\\'"] {
            assert_eq!(words(text), Some(vec![Word::Opaque]), "{text}");
        }
    }

    #[test]
    fn what_is_no_word_ends_the_reading() {
        for text in ["'a", "'a\\", "`a", "a ; b", "a -- b", "a /* b */", "é", "a ? b", "\"a"] {
            assert_eq!(words(text), None, "{text}");
        }
    }
}
