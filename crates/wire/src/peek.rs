//! One pass over a request's body: what routing, limits and money must know, and where the few values lie that may
//! have to change. The bytes themselves stay as they are.

mod level;
mod named;
mod place;
mod scan;

use std::ops::Range;

use crate::{Wire, json::ReadError, state::Named};

/// What the route wants with the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Generation: there must be a model, in the body or (Gemini) in the path.
    Generate,
    /// Counting the tokens of a prompt.
    CountTokens,
    /// A route that is passed on and metered; some have a default model, so none need be named.
    Metered,
}

/// A value that was read, and the bytes it was read from (a string's with its quotes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<T> {
    /// The value.
    pub value: T,
    /// Its bytes in the body.
    pub span: Range<usize>,
}

/// An object we may have to add a member to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Slot {
    /// There is no such member.
    #[default]
    Absent,
    /// It is null.
    Null(Range<usize>),
    /// It is an object.
    Object {
        /// Its bytes, braces included.
        span: Range<usize>,
        /// It has no members.
        empty: bool,
    },
    /// It is something else, which is the upstream's to judge.
    Other,
}

/// A field that bounds what is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxField {
    /// `max_tokens` (Anthropic, chat).
    MaxTokens,
    /// `max_completion_tokens` (chat).
    MaxCompletionTokens,
    /// `max_output_tokens` (Responses).
    MaxOutputTokens,
    /// `generationConfig.maxOutputTokens`.
    GeminiMaxOutputTokens,
}

impl MaxField {
    /// The field's name, on Gemini its path.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::MaxOutputTokens => "max_output_tokens",
            Self::GeminiMaxOutputTokens => "generationConfig.maxOutputTokens",
        }
    }
}

/// A maximum that the caller gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maximum {
    /// Where.
    pub field: MaxField,
    /// How many tokens.
    pub tokens: Field<u64>,
}

/// Whether thinking is asked for, and how much of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thinking {
    /// It is asked for.
    pub asked: bool,
    /// The budget in tokens, if one is given as a count.
    pub budget: Option<Field<u64>>,
}

/// The body's `cache_control` marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheMarks {
    /// There is one.
    pub any: bool,
    /// One asks for an hour.
    pub one_hour: bool,
    /// Those without a TTL, at most [`BARE_MAX`].
    pub bare: Vec<Bare>,
}

/// Where a TTL goes into a `cache_control` that has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bare {
    /// Before the closing brace at this offset, after another member.
    Last(usize),
    /// Before the closing brace at this offset of an empty object.
    Only(usize),
    /// In place of this null.
    Null(Range<usize>),
}

/// Longest model name, in bytes.
pub(crate) const MODEL_MAX: usize = 512;
pub(crate) const MODEL_TYPE: &str = "a string of 1 to 512 bytes";

/// Marks without a TTL that are remembered. The vendor takes four.
pub const BARE_MAX: usize = 64;

/// Ids, and signatures, that a body may name: as many turns and files are in no conversation.
pub const NAMED_MAX: usize = 1024;

/// Repetitions of the model that are remembered. The vendor takes a batch of 100.
pub const ECHOES_MAX: usize = 256;

/// What a body says, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peek {
    /// The model; none on Gemini, where it is in the path.
    pub model: Option<Field<String>>,
    /// Where a body says the path's model again (Gemini embeddings and counting), at most [`ECHOES_MAX`].
    pub model_echoes: Vec<Field<String>>,
    /// Whether a stream is asked for.
    pub stream: Option<Field<bool>>,
    /// `stream_options` (chat).
    pub stream_options: Slot,
    /// `stream_options.include_usage` (chat); null counts as false.
    pub include_usage: Option<Field<bool>>,
    /// Every maximum the caller gave.
    pub maxima: Vec<Maximum>,
    /// Maxima that are null: not given, but their place is taken.
    pub null_maxima: Vec<(MaxField, Range<usize>)>,
    /// `generationConfig` (Gemini).
    pub generation_config: Slot,
    /// Answers that are generated; at least 1. With `best_of` more than are given.
    pub choices: u64,
    /// Thinking.
    pub thinking: Thinking,
    /// Messages, contents or input items.
    pub messages: u32,
    /// Tools; on Gemini every declared function counts.
    pub tools: u32,
    /// Bytes of prompt text, escapes undone: strings within messages, system and tools, and the schema of the answer.
    /// Base64 of images and documents is not text.
    pub text_bytes: u64,
    /// Those of `text_bytes` that are outside ASCII.
    pub wide_bytes: u64,
    /// Those of `text_bytes` that every one of `messages` may be read with (a reranker's query).
    pub query_bytes: u64,
    /// Images.
    pub images: u32,
    /// Documents that are not plain text.
    pub documents: u32,
    /// Content whose size does not show here: audio, video, files and pages by id or URL, earlier responses, caches.
    pub uncountable: bool,
    /// Cache marks.
    pub cache: CacheMarks,
    /// `metadata.user_id` (Anthropic), at most 1 KiB.
    pub metadata_user_id: Option<String>,
    /// `prompt_cache_key`, at most 1 KiB.
    pub prompt_cache_key: Option<String>,
    /// `previous_response_id` (Responses), at most 1 KiB.
    pub previous_response_id: Option<String>,
    /// `background` is true (Responses).
    pub background: bool,
    /// `store` is false (Responses): what is answered is not kept.
    pub unstored: bool,
    /// What only its issuer understands: of ids and of signatures at most [`NAMED_MAX`] each, of these the last ones.
    pub named: Vec<Named>,
    /// More ids are named than [`NAMED_MAX`].
    pub more_named: bool,
    /// A conversion wrote what the vendor of this wire would refuse: a source without a mark (Anthropic), a thought that
    /// nobody signed (Responses).
    pub written: bool,
    /// The system prompt: `system`, `instructions` or `systemInstruction`.
    pub system: Option<Range<usize>>,
    /// The tools.
    pub tools_span: Option<Range<usize>>,
    /// An image is asked for.
    pub image_output: bool,
    /// Where a first member of the body may be inserted: just after its opening brace, or at a form's first boundary.
    pub root_open: usize,
    /// The body has no members.
    pub root_empty: bool,
    /// The boundary, of a body that is a form: its values stand without quotes.
    pub form: Option<Box<str>>,
    /// Characters of a prompt that is one text, on chat's other routes.
    pub prompt_chars: u64,
    /// The answer is to come as events (`stream_format`, speech).
    pub as_events: bool,
}

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeekError {
    /// It is not UTF-8.
    #[error("the body is not valid UTF-8 at byte {at}")]
    NotUtf8 {
        /// Offset of the first bad byte.
        at: usize,
    },
    /// It is not JSON.
    #[error("the body is not valid JSON at byte {at}")]
    NotJson {
        /// Offset of the first bad byte.
        at: usize,
    },
    /// It is no form that all would read alike.
    #[error("the body is not valid multipart/form-data at byte {at}: {reason}")]
    NotAForm {
        /// Offset of what cannot be read.
        at: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It is JSON, but no object.
    #[error("the body must be a JSON object")]
    NotAnObject,
    /// It is nested deeper than [`crate::json::MAX_DEPTH`].
    #[error("the body is nested too deeply")]
    TooDeep,
    /// A field that we read is there twice.
    #[error("`{0}` is given twice")]
    DuplicateKey(&'static str),
    /// A field that we read has the wrong type.
    #[error("`{field}` must be {expected}")]
    WrongType {
        /// Which.
        field: &'static str,
        /// What it should be, with its article.
        expected: &'static str,
    },
    /// There is no model.
    #[error("you must provide a model")]
    MissingModel,
}

impl PeekError {
    /// The field at fault, if it is one.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::DuplicateKey(field) | Self::WrongType { field, .. } => Some(field),
            Self::MissingModel => Some("model"),
            Self::NotUtf8 { .. } | Self::NotJson { .. } | Self::NotAForm { .. } | Self::NotAnObject | Self::TooDeep => {
                None
            }
        }
    }
}

impl From<ReadError> for PeekError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Bad(at) => Self::NotJson { at },
            ReadError::TooDeep => Self::TooDeep,
        }
    }
}

/// Reads what matters out of `body`, which must be one well-formed JSON object.
///
/// Keys are compared with their escapes undone. A field that we read and find twice is an error, also where both of Gemini's
/// spellings meet; of all other members that come twice the last one counts.
pub fn peek(wire: Wire, kind: Kind, body: &[u8]) -> Result<Peek, PeekError> {
    std::str::from_utf8(body).map_err(|bad| PeekError::NotUtf8 { at: bad.valid_up_to() })?;
    scan::Scan::new(wire, body).run(kind)
}

#[cfg(test)]
mod tests;
