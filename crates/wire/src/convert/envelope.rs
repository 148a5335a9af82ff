//! Signatures of one vendor in the field of another: marked with who can read them, so that they go back to nobody else.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::Wire;

/// How every envelope begins.
const MARK: &str = "tollgate1";

fn word(wire: Wire) -> &'static str {
    match wire {
        Wire::Anthropic => "anthropic",
        Wire::Chat => "chat",
        Wire::Responses => "responses",
        Wire::Gemini => "gemini",
    }
}

/// [`MARK`], as every envelope's text begins: nine bytes are twelve letters of base64.
pub(crate) const SEALED_MARK: &[u8] = b"dG9sbGdhdGUx";
/// Letters of an envelope in which its issuer is named.
const HEAD_MAX: usize = 128;
/// Issuers that [`issuers`] looks for.
pub const ISSUERS_MAX: usize = 8;

/// Who has sealed the envelopes that a document holds: each once, in the order they are met, at most [`ISSUERS_MAX`].
pub fn issuers(document: &[u8]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for at in memchr::memmem::find_iter(document, SEALED_MARK) {
        let text = &document[at..document.len().min(at + HEAD_MAX)];
        let letters = text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte)).count();
        let Ok(head) = STANDARD.decode(&text[..letters - letters % 4]) else { continue };
        let mut lines = head.split(|byte| *byte == b'\n');
        // The third line, if it is there to its end.
        let (Some(issuer), Some(_)) = (lines.nth(2), lines.next()) else { continue };
        let issuer = String::from_utf8_lossy(issuer).into_owned();
        if !found.contains(&issuer) {
            found.push(issuer);
        }
        if found.len() == ISSUERS_MAX {
            break;
        }
    }
    found
}

/// An opened envelope.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) signature: String,
    pub(crate) redacted: bool,
}

/// Wraps a signature of `wire`, issued by `issuer`.
pub(crate) fn seal(wire: Wire, issuer: &str, signature: &str, redacted: bool) -> String {
    let kind = if redacted { "redacted" } else { "signed" };
    STANDARD.encode(format!("{MARK}\n{}\n{issuer}\n{kind}\n{signature}", word(wire)))
}

/// What is in an envelope that `issuer` on `wire` can read; `None` for anyone else's, and for bare signatures.
pub(crate) fn open(wire: Wire, issuer: &str, sealed: &str) -> Option<Opened> {
    let text = String::from_utf8(STANDARD.decode(sealed).ok()?).ok()?;
    let mut lines = text.splitn(5, '\n');
    let (mark, of, by) = (lines.next()?, lines.next()?, lines.next()?);
    let (kind, signature) = (lines.next()?, lines.next()?);
    let ours = mark == MARK && of == word(wire) && by == issuer;
    ours.then(|| Opened { signature: signature.to_owned(), redacted: kind == "redacted" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sealed_what_a_document_holds_is_read_from_it() {
        let one = seal(Wire::Anthropic, "0011223344556677", "sig", false);
        let other = seal(Wire::Responses, "8899aabbccddeeff", &"long ".repeat(100), true);
        let document = format!(r#"{{"a":"{one}","b":["{other}","{one}"],"c":"dG9sbGdhdGUx","d":"dG9sbGdhdGUxCm"}}"#);
        assert_eq!(issuers(document.as_bytes()), ["0011223344556677", "8899aabbccddeeff"]);
        assert_eq!(issuers(b"{}"), Vec::<String>::new());
    }
}
