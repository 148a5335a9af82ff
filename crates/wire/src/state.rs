//! What only the account understands that issued it: ids of what is kept there, signatures and encrypted thoughts.
//!
//! A [`crate::tap`] finds what an answer issues, [`crate::peek()`] what a request names. Both tell it by a [`Fingerprint`].

use std::ops::Range;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use crate::{convert::SEALED_MARK, json::unescape};

/// The first half of the SHA-256 of a text's first [`READ_MAX`] bytes.
pub type Fingerprint = [u8; 16];

/// Bytes of a text that tell it from all others. Ids are shorter, and what is encrypted begins with what is random.
pub const READ_MAX: usize = 256;
/// Letters of an envelope that hold as much of what is in it.
const ENVELOPE_READ: usize = 512;
/// The longest escape, for one byte of text.
const ESCAPE_MAX: usize = 6;

/// What tells a text from all others.
pub fn fingerprint(text: &[u8]) -> Fingerprint {
    let digest = Sha256::digest(&text[..text.len().min(READ_MAX)]);
    let mut half = Fingerprint::default();
    half.copy_from_slice(&digest[..16]);
    half
}

/// What kind of thing was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// An id of what is kept only if the request has it stored: a response, and what it is made of.
    Stored,
    /// An id of what is kept in any case: a container, a file.
    Kept,
    /// A signature or an encrypted thought.
    Sealed,
}

/// Something that an answer issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Its kind.
    pub what: What,
    /// Which.
    pub thing: Fingerprint,
}

/// Something that a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The text in the body, without its quotes.
    pub at: Range<usize>,
    /// The request goes without it, too: a signature or a thought, which can be taken out, or where the code of an earlier
    /// call ran.
    pub sealed: bool,
    /// It is an id, which is its owner's alone.
    pub id: bool,
}

impl Named {
    /// Which thing it names in `body`, from which it was read.
    pub fn thing(&self, body: &[u8]) -> Fingerprint {
        named(body.get(self.at.clone()).unwrap_or_default())
    }
}

/// The thing that the inside of a string names: itself, or what was put into an envelope.
pub(crate) fn named(raw: &[u8]) -> Fingerprint {
    let raw = &raw[..raw.len().min(ENVELOPE_READ * ESCAPE_MAX)];
    let unescaped;
    let text = if memchr::memchr(b'\\', raw).is_some() {
        unescaped = unescape(raw);
        unescaped.as_bytes()
    } else {
        raw
    };
    let sealed = text.starts_with(SEALED_MARK).then(|| enveloped(text)).flatten();
    sealed.unwrap_or_else(|| fingerprint(text))
}

/// The signature in an envelope, behind its four lines.
fn enveloped(text: &[u8]) -> Option<Fingerprint> {
    let letters = text.len().min(ENVELOPE_READ);
    let text = STANDARD.decode(&text[..letters - letters % 4]).ok()?;
    text.splitn(5, |byte| *byte == b'\n').nth(4).map(fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Wire, convert::seal_envelope};

    #[test]
    fn a_thing_is_the_same_however_it_is_written() {
        let plain = "sig+/=".repeat(200);
        let escaped = plain.replace('/', "\\/").replace('=', "\\u003d");
        let sealed = seal_envelope(Wire::Gemini, "0011223344556677", &plain, false);
        let want = fingerprint(plain.as_bytes());
        let escaped_seal = sealed.replace('A', "\\u0041").replace('/', "\\/");
        for text in [&plain, &escaped, &sealed, &escaped_seal] {
            assert_eq!(named(text.as_bytes()), want, "{text}");
        }
        assert_eq!(named(b"resp_1"), fingerprint(b"resp_1"));
        assert_ne!(named(b"resp_1"), fingerprint(b"resp_2"));
        // No envelope, whatever it begins with.
        assert_eq!(named(SEALED_MARK), fingerprint(SEALED_MARK));
    }
}
