//! JSON as clients take it apart: documents with their encoding said, and lines that end at a newline and nowhere else.

use std::io;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::Formatter;

/// A JSON document as an answer.
pub(super) fn document(status: StatusCode, body: &Value) -> Response {
    let mut response = (status, Body::from(body.to_string())).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    response
}

/// Writes a value as one line.
pub(super) fn write_line(out: &mut Vec<u8>, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, OneLine))?;
    out.push(b'\n');
    Ok(())
}

/// A JSON value as one line.
pub(super) fn line(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    // A value that is in memory is written to memory.
    let written = write_line(&mut out, value);
    debug_assert!(written.is_ok());
    out
}

/// Escapes the characters that some clients take for the end of a line: the official Python client splits at them.
struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.is_ascii() {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some(place) = rest.find(['\u{85}', '\u{2028}', '\u{2029}']) {
            let (before, at) = rest.split_at(place);
            writer.write_all(before.as_bytes())?;
            let mut characters = at.chars();
            if let Some(separator) = characters.next() {
                write!(writer, "\\u{:04x}", u32::from(separator))?;
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_has_no_end_but_its_own() {
        let text = "a\u{85}b\u{2028}\u{2029}c\n\r\u{b}é";
        let line = String::from_utf8(line(&json!({"t": text}))).unwrap();
        assert_eq!(line, "{\"t\":\"a\\u0085b\\u2028\\u2029c\\n\\r\\u000bé\"}\n");
    }

    proptest! {
        #[test]
        fn every_text_reads_back_as_it_was(text in any::<String>(), inner in "[\u{80}-\u{90}\u{2020}-\u{2030}a\\\\\"]{0,20}") {
            let value = json!({(text.clone()): inner, "k": [text]});
            let line = line(&value);
            prop_assert_eq!(serde_json::from_slice::<Value>(&line).unwrap(), value);
            let line = String::from_utf8(line).unwrap();
            prop_assert_eq!(line.find(['\n', '\u{85}', '\u{2028}', '\u{2029}']), Some(line.len() - 1));
        }
    }
}
