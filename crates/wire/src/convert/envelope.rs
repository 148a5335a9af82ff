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
