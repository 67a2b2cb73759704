//! What of a text may leave. Knows e-mail addresses, embedded payloads and the private values of one message.

use std::collections::BTreeSet;
use std::fmt;

use super::reading::{Reading, is_silent};

/// What stands in a text for something that may not leave.
pub const REDACTED: &str = "[redacted]";

/// How much of a text is looked at, in characters: far more than leaves of it.
const LOOKED_AT_CHARS_MAX: usize = 4_000;

/// The shortest value that is found anywhere in a text, inside of words too, in characters. A shorter one is found as
/// a whole word.
const ANYWHERE_CHARS_MIN: usize = 4;

/// Parts of the names of members and types that are about a person or a secret.
const PERSONAL_WORDS: [&str; 38] = [
    "account",
    "actor",
    "apikey",
    "approver",
    "assignee",
    "author",
    "contact",
    "cookie",
    "creator",
    "credential",
    "displayname",
    "editor",
    "firstname",
    "fullname",
    "impersonat",
    "initiator",
    "invite",
    "invitation",
    "ipaddress",
    "lastname",
    "login",
    "mail",
    "member",
    "owner",
    "password",
    "person",
    "phone",
    "principal",
    "profile",
    "recipient",
    "requester",
    "reviewer",
    "secret",
    "sender",
    "session",
    "subscriber",
    "token",
    "user",
];

/// Whether the name of a member or of a type says that it is about a person or a secret: `userId`, `Team Member`,
/// `created_by`, `notificationEmails`.
#[must_use]
pub fn is_personal(name: &str) -> bool {
    let letters: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    PERSONAL_WORDS.iter().any(|word| letters.contains(word)) || letters == "by" || letters.ends_with("edby")
}

/// Values of one message that may not leave in any of its texts.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PrivateValues {
    anywhere: BTreeSet<Vec<char>>,
    whole_words: BTreeSet<Vec<char>>,
    payload: BTreeSet<Vec<char>>,
}

impl fmt::Debug for PrivateValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.anywhere.len() + self.whole_words.len() + self.payload.len();
        write!(f, "PrivateValues({count} redacted)")
    }
}

impl PrivateValues {
    /// Adds a value of a person. Letter case does not count, nor do encodings of characters. Of an address, the part before the
    /// at sign is private as well if it looks like an account name: if it has a digit or one of `. _ - +`.
    pub fn insert(&mut self, value: &str) {
        for Reading { chars, .. } in Reading::both(value.trim()) {
            if let Some(at) = chars.iter().position(|read| *read == '@') {
                let account = chars.get(..at).unwrap_or_default();
                if account.iter().any(|read| read.is_ascii_digit() || matches!(read, '.' | '_' | '-' | '+')) {
                    self.insert_chars(account.to_vec());
                }
            }
            self.insert_chars(chars);
        }
    }

    /// Adds a value of the event's payload, if it has at least 4 characters. It may be part of a workflow's id.
    pub fn insert_payload(&mut self, value: &str) {
        let readings = Reading::both(value.trim()).map(|reading| reading.chars);
        self.payload.extend(readings.into_iter().filter(|chars| chars.len() >= ANYWHERE_CHARS_MIN));
    }

    fn insert_chars(&mut self, value: Vec<char>) {
        if value.len() >= ANYWHERE_CHARS_MIN {
            self.anywhere.insert(value);
        } else if !value.is_empty() {
            self.whole_words.insert(value);
        }
    }

    /// Whether a text leaves unchanged.
    pub(super) fn leaves(&self, text: &str) -> bool {
        self.redact(text) == text
    }

    /// Whether a text would leave unchanged if nothing but the values of persons were private.
    pub(super) fn names_nobody(&self, text: &str) -> bool {
        redacted(text, |chars, hidden| self.hide_personal(chars, hidden)) == text
    }

    /// The text as it may leave: without control characters, and with [`REDACTED`] in place of
    ///
    /// - every at sign, however it is written, with all that is joined to it, or else with the words beside it;
    /// - all from where a JSON object or array begins;
    /// - every private value.
    ///
    /// Of a text that is longer than 4,000 characters, whole words within these are looked at and the rest does not
    /// leave.
    pub(super) fn redact(&self, text: &str) -> String {
        redacted(text, |chars, hidden| {
            hide_anywhere(&self.payload, chars, hidden);
            self.hide_personal(chars, hidden);
        })
    }

    fn hide_personal(&self, chars: &[char], hidden: &mut [bool]) {
        hide_anywhere(&self.anywhere, chars, hidden);
        // What is hidden ends a word, which may make a whole word of its neighbour.
        loop {
            let mut found = false;
            for value in &self.whole_words {
                for start in starts(chars, value) {
                    let end = start + value.len();
                    let ends_word = |index: Option<usize>| {
                        let inside = |index: usize| {
                            chars.get(index).is_some_and(|read| read.is_alphanumeric())
                                && hidden.get(index) == Some(&false)
                        };
                        !index.is_some_and(inside)
                    };
                    let covered = hidden.get(start..end).is_some_and(|hidden| hidden.iter().all(|hidden| *hidden));
                    if !covered && ends_word(start.checked_sub(1)) && ends_word(Some(end)) {
                        hide(hidden, start, end);
                        found = true;
                    }
                }
            }
            if !found {
                return;
            }
        }
    }
}

fn redacted(text: &str, hide_values: impl Fn(&[char], &mut [bool])) -> String {
    let Some(text) = cleaned(text) else { return REDACTED.to_owned() };
    let mut hidden_bytes = vec![false; text.len()];
    for Reading { chars, ends } in Reading::both(&text) {
        let mut hidden = vec![false; chars.len()];
        hide_addresses(&chars, &mut hidden);
        hide_payload(&chars, &mut hidden);
        hide_values(&chars, &mut hidden);
        let mut start = 0;
        for (end, hidden) in ends.into_iter().zip(hidden) {
            if hidden {
                hide(&mut hidden_bytes, start, end);
            }
            start = end;
        }
    }
    shown(&text, &hidden_bytes)
}

fn hide_anywhere(values: &BTreeSet<Vec<char>>, chars: &[char], hidden: &mut [bool]) {
    for value in values {
        for start in starts(chars, value) {
            hide(hidden, start, start + value.len());
        }
    }
}

/// The text without characters that are no text; `None` if it is one word longer than what is looked at.
fn cleaned(text: &str) -> Option<String> {
    let printed = |written: char| match written {
        written if written.is_whitespace() => Some(' '),
        // A joiner makes one emoji of several; the others only reorder or hide.
        '\u{200D}' | '\u{FE0F}' => Some(written),
        written if is_silent(written) => None,
        written => Some(written),
    };
    let mut cleaned: String = text.chars().filter_map(printed).take(LOOKED_AT_CHARS_MAX + 1).collect();
    if cleaned.chars().count() > LOOKED_AT_CHARS_MAX {
        cleaned.truncate(cleaned.rfind(' ')?);
    }
    Some(cleaned.trim().to_owned())
}

fn starts<'a>(chars: &'a [char], value: &'a [char]) -> impl Iterator<Item = usize> + 'a {
    let windows = chars.windows(value.len().max(1)).enumerate();
    windows.filter(move |(_, window)| *window == value).map(|(start, _)| start)
}

fn hide(hidden: &mut [bool], start: usize, end: usize) {
    hidden.iter_mut().take(end).skip(start).for_each(|hidden| *hidden = true);
}

fn is_quote(read: char) -> bool {
    matches!(read, '"' | '\'' | '`' | '“' | '”' | '„' | '‘' | '’' | '«' | '»')
}

/// Hides each at sign with what is joined to it. White space ends that: an address's other borders are legal inside of
/// one, so brackets and commas go with it. A quoted name may have spaces.
fn hide_addresses(chars: &[char], hidden: &mut [bool]) {
    let at_signs = chars.iter().enumerate().filter(|(_, read)| **read == '@');
    for (at, _) in at_signs {
        let (before, after) = (chars.get(..at).unwrap_or_default(), chars.get(at + 1..).unwrap_or_default());
        let mut start = at - joined(before.iter().rev());
        if let Some((quote, quoted)) = before.split_last()
            && is_quote(*quote)
            && let Some(opened) = quoted.iter().rposition(|read| is_quote(*read))
        {
            start = start.min(opened);
        }
        hide(hidden, start, at + 1 + joined(after.iter()));
    }
}

/// How many characters belong to an at sign on one side: up to the next white space, or the next word if there is
/// white space at once.
fn joined<'a>(side: impl Iterator<Item = &'a char> + Clone) -> usize {
    let apart = side.clone().take_while(|read| read.is_whitespace()).count();
    apart + side.skip(apart).take_while(|read| !read.is_whitespace()).count()
}

/// Hides all from where an object with members, or an array of texts or objects, begins. A payload may be cut off at
/// its end, so its end is not looked for.
fn hide_payload(chars: &[char], hidden: &mut [bool]) {
    let begins = |start: usize| {
        let rest = chars.get(start + 1..).unwrap_or_default();
        match chars.get(start) {
            Some('{') => rest.iter().take_while(|read| **read != '}').any(|read| *read == ':' || is_quote(*read)),
            Some('[') => {
                let skipped = |read: &&char| read.is_whitespace() || matches!(read, '[' | '{' | '\\');
                rest.iter().find(|read| !skipped(read)).is_some_and(|read| is_quote(*read))
            }
            _ => false,
        }
    };
    if let Some(start) = (0..chars.len()).find(|start| begins(*start)) {
        hide(hidden, start, chars.len());
    }
}

/// The text with one mark for each stretch that is hidden.
fn shown(text: &str, hidden_bytes: &[bool]) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut marked = false;
    for (at, written) in text.char_indices() {
        let hidden = hidden_bytes.get(at) == Some(&true);
        if !hidden {
            shown.push(written);
        } else if !marked {
            shown.push_str(REDACTED);
        }
        marked = hidden;
    }
    shown
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
