//! Reads an answer as its bytes pass: usage, finish, ids, errors. No event is stored; what is kept is bounded.

mod counts;
mod facts;
mod place;
mod stream;
mod whole;

pub(crate) use facts::Facts;
pub use stream::StreamTap;
pub use whole::WholeTap;

use crate::{error::ErrorFacts, state::Issued, usage::Usage};

/// Most bytes of any one value that is kept; a longer one is cut and marked by [`Seen::cut`].
pub const KEPT_MAX: usize = 4096;

/// Things issued by one answer that are kept; more are not.
pub const ISSUED_MAX: usize = 256;

/// What a tap has learnt so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Tokens reported.
    pub usage: Usage,
    /// Why generation ended, in the vendor's word.
    pub finish: Option<String>,
    /// The answer's id.
    pub id: Option<String>,
    /// The model that answered, as the vendor names it.
    pub model: Option<String>,
    /// The response's status (Responses).
    pub status: Option<String>,
    /// An error within the answer.
    pub error: Option<ErrorFacts>,
    /// Events that brought content; 1 for a whole body that did.
    pub content_events: u64,
    /// Bytes of generated text and arguments, for the estimate.
    pub output_text_bytes: u64,
    /// The closing frame has been seen.
    pub closed: bool,
    /// Every choice that appeared has finished (chat, Gemini).
    pub all_choices_finished: bool,
    /// A choice ended in a call that is none (Gemini), which no other wire can tell.
    pub malformed_call: bool,
    /// Something that should have been JSON was not, or ended early.
    pub broken_json: bool,
    /// The last `sequence_number` (Responses).
    pub sequence: Option<u64>,
    /// A kept value was longer than [`KEPT_MAX`].
    pub cut: bool,
    /// What only its issuer understands, each once, at most [`ISSUED_MAX`].
    pub issued: Vec<Issued>,
}

/// What a frame was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A comment, a ping, or nothing.
    Comment,
    /// Valid, and without content yet.
    Start,
    /// Generated content.
    Content,
    /// Usage and nothing else (chat).
    UsageOnly,
    /// Anything else.
    Other,
    /// An error.
    Error,
    /// The frame that completes the answer.
    Closing,
}

#[cfg(test)]
mod tests;
