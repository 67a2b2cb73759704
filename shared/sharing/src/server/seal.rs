//! Texts that only this server can have made: HMAC-SHA256 over what they say, what they are for, and to whom.
//!
//! Knows no token's content. Signed, not encrypted: nothing in a token is news to its bearer.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::ports::TokenKey;

/// Bytes of the code behind a token's content.
const CODE_BYTES: usize = 32;

/// The longest token that is looked at, in characters: longer than any of ours.
const TOKEN_CHARS_MAX: usize = 4_096;

/// What a token is for: one of one kind is never taken for one of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The next page of a listing.
    Listing,
    /// The next page of a table's files.
    Files,
    /// The next page of a table's changes.
    Changes,
    /// The same files of a table again, with new URLs.
    Refresh,
}

impl Purpose {
    fn text(self) -> &'static [u8] {
        match self {
            Self::Listing => b"listing",
            Self::Files => b"files",
            Self::Changes => b"changes",
            Self::Refresh => b"refresh",
        }
    }
}

/// A token with this content. `context` is what it is bound to and does not say itself; it holds no NUL.
pub(super) fn seal(key: &TokenKey, purpose: Purpose, context: &str, content: &[u8]) -> Option<String> {
    let code = code(key, purpose, context, content)?.finalize().into_bytes();
    Some(URL_SAFE_NO_PAD.encode([content, &code].concat()))
}

/// The content of a token, if it is one of ours for this purpose and context. Compares in constant time.
pub(super) fn open(key: &TokenKey, purpose: Purpose, context: &str, token: &str) -> Option<Vec<u8>> {
    if token.len() > TOKEN_CHARS_MAX {
        return None;
    }
    let mut content = URL_SAFE_NO_PAD.decode(token).ok()?;
    let given = content.split_off(content.len().checked_sub(CODE_BYTES)?);
    code(key, purpose, context, &content)?.verify_slice(&given).ok()?;
    Some(content)
}

fn code(key: &TokenKey, purpose: Purpose, context: &str, content: &[u8]) -> Option<Hmac<Sha256>> {
    let mut code = Hmac::<Sha256>::new_from_slice(key.bytes()).ok()?;
    for part in [purpose.text(), b"\0", context.as_bytes(), b"\0", content] {
        code.update(part);
    }
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(byte: u8) -> TokenKey {
        TokenKey::new(vec![byte; 32]).unwrap()
    }

    #[test]
    fn a_token_opens_for_its_purpose_context_and_key_only() {
        let token = seal(&key(1), Purpose::Files, "acme", b"said").unwrap();
        assert_eq!(open(&key(1), Purpose::Files, "acme", &token).as_deref(), Some(&b"said"[..]));
        assert_eq!(open(&key(2), Purpose::Files, "acme", &token), None);
        assert_eq!(open(&key(1), Purpose::Changes, "acme", &token), None);
        assert_eq!(open(&key(1), Purpose::Files, "other", &token), None);
    }

    #[test]
    fn every_changed_bit_is_seen() {
        let token = URL_SAFE_NO_PAD.decode(seal(&key(1), Purpose::Refresh, "", b"said").unwrap()).unwrap();
        for bit in 0..token.len() * 8 {
            let mut changed = token.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&key(1), Purpose::Refresh, "", &URL_SAFE_NO_PAD.encode(changed)), None, "bit {bit}");
        }
    }

    #[test]
    fn a_short_key_is_none_and_a_key_is_not_printed() {
        assert!(TokenKey::new(vec![7; 31]).is_none());
        assert_eq!(format!("{:?}", key(7)), "TokenKey(redacted)");
    }

    proptest! {
        #[test]
        fn no_text_is_taken_for_a_token(token in "\\PC{0,200}", ours in "[A-Za-z0-9_-]{43,90}") {
            prop_assert_eq!(open(&key(1), Purpose::Listing, "acme", &token), None);
            prop_assert_eq!(open(&key(1), Purpose::Listing, "acme", &ours), None);
        }
    }
}
