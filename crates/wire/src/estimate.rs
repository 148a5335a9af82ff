//! The local token count: for answers that report no usage, and for token counting where no upstream can.

use crate::peek::Peek;

/// Tokens that a message or a tool costs beside its text, as the bound counts them.
const PER_PART_BOUND: u64 = 64;
/// The same as the estimate counts them.
const PER_PART: u64 = 8;

/// Tokens of a request's prompt, estimated.
///
/// Text counts a token per four bytes, and per three bytes outside ASCII, where a token rarely holds more than one
/// character. Never above half the bytes of text + 64 per message and tool + `image_tokens` per image or document.
pub fn prompt_tokens(peek: &Peek, image_tokens: u64) -> u64 {
    let ascii = peek.text_bytes.saturating_sub(peek.wide_bytes);
    let count = ascii.div_ceil(4) + peek.wide_bytes.div_ceil(3) + parts(peek) * PER_PART;
    count.min(text_bound(peek)).saturating_add(seen(peek, image_tokens))
}

/// The most tokens that a request's prompt can have; `None` with content whose size does not show in the body.
pub fn prompt_bound(peek: &Peek, image_tokens: u64) -> Option<u64> {
    (!peek.uncountable).then(|| text_bound(peek).saturating_add(seen(peek, image_tokens)))
}

/// Rerankers bill their query with each document again (<https://docs.voyageai.com/docs/reranker>).
fn text_bound(peek: &Peek) -> u64 {
    let again = peek.query_bytes.saturating_mul(u64::from(peek.messages).saturating_sub(1));
    peek.text_bytes.saturating_add(again) / 2 + parts(peek) * PER_PART_BOUND
}

fn parts(peek: &Peek) -> u64 {
    u64::from(peek.messages) + u64::from(peek.tools)
}

fn seen(peek: &Peek, image_tokens: u64) -> u64 {
    image_tokens.saturating_mul(u64::from(peek.images) + u64::from(peek.documents))
}

/// Tokens of a text of so many characters that is to be spoken, estimated: four characters each, rounded up.
pub const fn spoken_tokens(characters: u64) -> u64 {
    characters.div_ceil(4)
}

/// Tokens of `bytes` of generated text, estimated: four bytes each, rounded up.
pub const fn text_tokens(bytes: u64) -> u64 {
    bytes.div_ceil(4)
}

#[cfg(test)]
mod tests;
