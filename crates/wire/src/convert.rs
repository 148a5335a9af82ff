//! Conversion among the four wires: requests, whole answers, streams and errors.
//!
//! Decode → IR → encode, so that four codecs make twelve pairs. What a target cannot carry is named in [`Loss`]; what
//! it must not go without is [`Refused`]. Whoever relays converts the request first and keeps the [`Memory`] that comes
//! with it: the answer is written in the names of that request.
//!
//! ```text
//! request(from, to, body, &Asked, Quirks)      → Converted { bytes, model, stream, loss, memory }
//! response(from, to, body, &Answer)             → Answered { bytes, usage, loss }
//! Stream::new(from, to, Answer)  feed(bytes, &mut out)…  finish(&mut out) → whole or cut
//! error(to, status, body, …)                    → Rendered
//! count_request, counted                       the tokens of a prompt
//! embed_request, embedded                      embeddings
//! ```

mod adapt;
mod adapter;
mod choices;
pub(crate) mod cite;
mod count;
mod embed;
mod envelope;
mod fault;
mod media;
mod names;
mod pairs;
mod params;
pub(crate) mod probs;
mod schema;
mod search;
pub(crate) mod stream;

use crate::{
    Wire, anthropic, gemini,
    ir::{Json, Request, Response},
    loss::Loss,
    openai_chat, openai_responses,
    usage::Usage,
};
pub use count::{count_request, counted};
pub use embed::{Embed, Wanted, embed_request, embedded};
pub use envelope::{ISSUERS_MAX, issuers};
pub(crate) use fault::problem;
pub use fault::{class_of, error};
pub use names::Memory;
pub use stream::{Ending, Stream};

pub use crate::gemini::encode::signs_calls;
pub(crate) use envelope::{SEALED_MARK, open as open_envelope, seal as seal_envelope};
pub(crate) use media::type_of_url;
pub(crate) use params::{put_format, put_params, take_format, take_params};
pub(crate) use schema::{to_json_schema, to_openapi};
pub(crate) use search::tool as search_tool;

/// Most bytes that a codec holds of one event, and of parts that wait for their turn: 16 MiB.
pub const EVENT_MAX: usize = 16 << 20;

/// Most parts of one stream that are open or wait at a time: no vendor opens more than a few.
pub(crate) const PARTS_MAX: usize = 4096;

/// Why a document cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not what its format says.
    #[error("{pointer}: {reason}")]
    Invalid {
        /// Where, as a JSON pointer.
        pointer: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The target has no way to do this, and it cannot be left out: a native 400 that names the field.
    #[error("{pointer} cannot be converted: {reason}")]
    Unsupported {
        /// Where, as a JSON pointer.
        pointer: String,
        /// What the target lacks.
        reason: &'static str,
    },
    /// An event, or what has to wait for its turn, is above [`EVENT_MAX`], or more than 4,096 parts are open.
    #[error("an event, or what waits for its turn, is larger than 16 MiB")]
    TooLarge,
}

impl Refused {
    /// The value at fault, as a JSON pointer.
    pub fn pointer(&self) -> &str {
        match self {
            Self::Invalid { pointer, .. } | Self::Unsupported { pointer, .. } => pointer,
            Self::TooLarge => "",
        }
    }

    pub(crate) fn invalid(pointer: impl Into<String>, reason: &'static str) -> Self {
        Self::Invalid { pointer: pointer.into(), reason }
    }

    pub(crate) fn unsupported(pointer: impl Into<String>, reason: &'static str) -> Self {
        Self::Unsupported { pointer: pointer.into(), reason }
    }
}

/// What the server of the target understands, where servers of one wire differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// Chat: bounds the answer by `max_tokens`, not by `max_completion_tokens`.
    pub old_max_tokens: bool,
    /// Chat: reports usage in streams when `stream_options` asks for it; false where that field is refused.
    pub include_usage: bool,
    /// Chat: shows thoughts as `reasoning_content`, and takes them back in the history.
    pub reasoning_content: bool,
    /// Chat: `thinking: {type}` switches thinking (`DeepSeek`, Moonshot, Zhipu).
    pub thinking_switch: bool,
    /// Chat: `enable_thinking` and `thinking_budget` switch it (Qwen).
    pub enable_thinking: bool,
    /// Anthropic: takes `role: "system"` inside the conversation (a beta).
    pub system_turns: bool,
    /// Anthropic: takes `temperature`, `top_p` and `top_k` (versions before 2026-10-21).
    pub sampling: bool,
    /// Searches the web when it is asked to.
    pub web_search: bool,
    /// Gemini: refuses a call of the history that no thought has signed. Without [`Asked::model`], one that the body
    /// names so ([`signs_calls`]) does in any case.
    pub signed_calls: bool,
    /// Gemini: takes JSON Schema (`parametersJsonSchema`); false for the subset of `OpenAPI` alone.
    pub json_schema: bool,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            old_max_tokens: false,
            include_usage: true,
            reasoning_content: false,
            thinking_switch: false,
            enable_thinking: false,
            system_turns: false,
            sampling: true,
            web_search: true,
            signed_calls: false,
            json_schema: true,
        }
    }
}

/// What of a request stands outside its body, or is decided here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// The name to ask the upstream for; without one the caller's stays.
    pub model: Option<&'a str>,
    /// Gemini: the method asked for is the streaming one.
    pub stream: bool,
    /// The model's most tokens of an answer, for Anthropic, which must be told one.
    pub output_limit: Option<u64>,
    /// The envelope's account: reasoning signed by it goes back to it, other is taken out.
    pub issuer: Option<&'a str>,
}

/// A converted request.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The body.
    pub bytes: Vec<u8>,
    /// A stream is asked for. Gemini's body does not say so: its method must.
    pub stream: bool,
    /// What was not carried.
    pub loss: Loss,
    /// What the answer's conversion has to know.
    pub memory: Memory,
}

/// What an answer is written with.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The model's name as the client asked for it; without one the upstream's.
    pub model: Option<&'a str>,
    /// Letters and digits that make the answer's ids: the same for all of one answer.
    pub seed: &'a str,
    /// When, in seconds since 1970.
    pub created: u64,
    /// The request's own, by [`request`].
    pub memory: &'a Memory,
    /// The account that answers, to mark what only it can read.
    pub issuer: Option<&'a str>,
    /// Chat: thoughts are shown, as `reasoning_content`.
    pub show_thoughts: bool,
    /// What an error within a stream names the request by.
    pub request_id: &'a str,
}

/// A converted answer.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The body.
    pub bytes: Vec<u8>,
    /// Tokens, as the upstream reported them.
    pub usage: Usage,
    /// What was not carried.
    pub loss: Loss,
}

/// Converts a request.
///
/// # Errors
/// [`Refused`]: the body is not what its format says, or asks for what the target cannot do.
pub fn request(from: Wire, to: Wire, body: &[u8], asked: &Asked<'_>, quirks: Quirks) -> Result<Converted, Refused> {
    let mut loss = Loss::default();
    let body = parse(body)?;
    let echo = if from == Wire::Responses && to != from { openai_responses::echo(&body) } else { Vec::new() };
    let mut request = decode_request(from, body)?;
    request.stream |= from == Wire::Gemini && asked.stream;
    if let Some(model) = asked.model {
        model.clone_into(&mut request.model);
    }
    let signed_calls = quirks.signed_calls || (asked.model.is_none() && signs_calls(&request.model));
    let quirks = Quirks { signed_calls, ..quirks };
    let mut memory = Memory::default();
    if from != to {
        memory = Memory { echo, ..adapt::request(&mut request, to, asked, quirks, &mut loss)? };
    }
    let bytes = encode_request(to, &request, asked, quirks, &mut loss)?.to_bytes();
    Ok(Converted { bytes, stream: request.stream, loss, memory })
}

/// Converts a whole answer.
///
/// # Errors
/// [`Refused`]: the body is not what its format says, or the model wrote a call that is none (Gemini): then it is to be
/// asked again, or has failed.
pub fn response(from: Wire, to: Wire, body: &[u8], answer: &Answer<'_>) -> Result<Answered, Refused> {
    let mut loss = Loss::default();
    let mut response = decode_response(from, parse(body)?)?;
    let usage = response.usage;
    if from == to {
        let bytes = encode_response(to, &response, answer, &mut loss).to_bytes();
        return Ok(Answered { bytes, usage, loss });
    }
    let (list, others) = match (list_of(from), list_of(to)) {
        (Some(list), Some(_)) => (list, std::mem::take(&mut response.others)),
        _ => ("", Vec::new()),
    };
    adapt::response(&mut response, to, answer, &mut loss)?;
    let mut body = encode_response(to, &response, answer, &mut loss);
    for (at, other) in (1u64..).zip(others) {
        let mut alone = Json::empty();
        alone.put(list, vec![other]);
        let mut response = decode_response(from, alone)?;
        let seed = format!("{}c{at}", answer.seed);
        let answer = Answer { seed: &seed, ..*answer };
        let mut lost = Loss::default();
        adapt::response(&mut response, to, &answer, &mut lost)?;
        let made_list = list_of(to).unwrap_or_default();
        let mut made = encode_response(to, &response, &answer, &mut lost).take_array(made_list).unwrap_or_default();
        loss.absorb(lost, &format!("/{list}/0"), &format!("/{list}/{at}"));
        if let Some(choice) = made.first_mut() {
            choice.put("index", at);
        }
        let mut choices = body.take_array(made_list).unwrap_or_default();
        choices.append(&mut made);
        body.put(made_list, choices);
    }
    Ok(Answered { bytes: body.to_bytes(), usage, loss })
}

/// Where a wire that can answer several times at once lists its answers.
const fn list_of(wire: Wire) -> Option<&'static str> {
    match wire {
        Wire::Chat => Some("choices"),
        Wire::Gemini => Some("candidates"),
        Wire::Anthropic | Wire::Responses => None,
    }
}

/// What a document is, by the members it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// A request to generate.
    Request,
    /// A whole answer.
    Answer,
    /// An error.
    Error,
}

/// Tells what a document is; `None` if it is nothing that could be converted.
pub fn document(body: &[u8]) -> Option<Document> {
    let body = Json::parse(body).ok()?;
    let has = |name: &str| !body.get(name).is_null();
    match () {
        () if has("error") => Some(Document::Error),
        () if ["messages", "contents", "input"].into_iter().any(has) => Some(Document::Request),
        () if ["choices", "candidates", "promptFeedback", "output", "content"].into_iter().any(has) => {
            Some(Document::Answer)
        }
        () => None,
    }
}

fn parse(body: &[u8]) -> Result<Json, Refused> {
    match Json::parse(body) {
        Ok(json @ Json::Object(_)) => Ok(json),
        Ok(_) => Err(Refused::invalid("", "not an object")),
        Err(_) => Err(Refused::invalid("", "not valid JSON, or nested deeper than 128")),
    }
}

pub(crate) fn decode_request(wire: Wire, body: Json) -> Result<Request, Refused> {
    match wire {
        Wire::Anthropic => anthropic::decode::request(body),
        Wire::Chat => openai_chat::decode::request(body),
        Wire::Responses => openai_responses::decode::request(body),
        Wire::Gemini => gemini::decode::request(body),
    }
}

pub(crate) fn encode_request(
    wire: Wire,
    request: &Request,
    asked: &Asked<'_>,
    quirks: Quirks,
    loss: &mut Loss,
) -> Result<Json, Refused> {
    match wire {
        Wire::Anthropic => anthropic::encode::request(request, asked, quirks, loss),
        Wire::Chat => openai_chat::encode::request(request, quirks, loss),
        Wire::Responses => openai_responses::encode::request(request, quirks, loss),
        Wire::Gemini => gemini::encode::request(request, quirks, loss),
    }
}

pub(crate) fn decode_response(wire: Wire, body: Json) -> Result<Response, Refused> {
    match wire {
        Wire::Anthropic => anthropic::decode::response(body),
        Wire::Chat => openai_chat::decode::response(body),
        Wire::Responses => openai_responses::decode::response(body),
        Wire::Gemini => gemini::decode::response(body),
    }
}

pub(crate) fn encode_response(wire: Wire, response: &Response, answer: &Answer<'_>, loss: &mut Loss) -> Json {
    match wire {
        Wire::Anthropic => anthropic::encode::response(response, answer, loss),
        Wire::Chat => openai_chat::encode::response(response, answer, loss),
        Wire::Responses => openai_responses::encode::response(response, answer, loss),
        Wire::Gemini => gemini::encode::response(response, answer, loss),
    }
}

#[cfg(test)]
mod tests;
