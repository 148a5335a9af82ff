//! The four wires: an answer as each vendor lays it out, whole and as a stream.

mod anthropic;
mod chat;
mod extras;
mod gemini;
mod responses;
mod text;

pub(crate) use extras::{count, embeddings, gemini_embeddings, model, models};
pub(crate) use responses::{Echo, kept};

use bytes::Bytes;

use crate::clock::Clock;
use crate::errors::{self, About};
use crate::ids;
use crate::json::Json;
use crate::reply::{Answer, Part, Usage};

/// A vendor's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI Chat Completions.
    Chat,
    /// OpenAI Responses.
    Responses,
    /// Gemini `generateContent`.
    Gemini,
}

/// How an answer is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One JSON value.
    Whole,
    /// Server-sent events.
    Events,
    /// The events as elements of one array: a Gemini stream without `alt=sse`.
    Array,
}

/// What an answer depends on beside its script.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) wire: Wire,
    pub(crate) model: String,
    pub(crate) form: Form,
    /// A text completion, of those that chat's wire had before chat.
    pub(crate) as_text: bool,
    /// A chat stream was asked for its usage.
    pub(crate) include_usage: bool,
    /// OpenAI's streams are padded, unless they are asked not to be.
    pub(crate) padded: bool,
    /// What Responses repeats of the request.
    pub(crate) echo: Echo,
    /// Bytes of the request's body, from which an unset usage is computed.
    pub(crate) prompt_bytes: usize,
    /// Number of the request, from which ids are made.
    pub(crate) serial: u64,
    pub(crate) clock: Clock,
}

/// A whole answer's body.
pub(crate) fn whole(answer: &Answer, ask: &Ask) -> Bytes {
    let usage = usage(answer, ask);
    let body = match ask.wire {
        Wire::Anthropic => anthropic::whole(answer, ask, usage),
        Wire::Chat if ask.as_text => text::whole(answer, ask, usage),
        Wire::Chat => chat::whole(answer, ask, usage),
        Wire::Responses => responses::whole(answer, ask, usage),
        Wire::Gemini => gemini::whole(answer, ask, usage),
    };
    dressed(ask.wire, &body).into()
}

/// A whole body as the vendor spaces it.
pub(crate) fn dressed(wire: Wire, body: &Json) -> String {
    match wire {
        Wire::Anthropic => body.as_str().to_owned(),
        Wire::Chat | Wire::Responses => body.pretty(2).into_string(),
        Wire::Gemini => body.pretty(2).into_string() + "\n",
    }
}

/// A stream's frames, one event each.
pub(crate) fn stream(answer: &Answer, ask: &Ask) -> Vec<Bytes> {
    let usage = usage(answer, ask);
    match ask.wire {
        Wire::Anthropic => anthropic::stream(answer, ask, usage),
        Wire::Chat if ask.as_text => text::stream(answer, ask, usage),
        Wire::Chat => chat::stream(answer, ask, usage),
        Wire::Responses => responses::stream(answer, ask, usage),
        Wire::Gemini => gemini::stream(answer, ask, usage),
    }
}

/// The number of a stream's first content frame: what an endless stream repeats.
pub(crate) const fn first_content(wire: Wire) -> usize {
    match wire {
        Wire::Anthropic => 3,
        Wire::Chat => 1,
        Wire::Responses => 4,
        Wire::Gemini => 0,
    }
}

/// The event with which a stream fails, as its frame number `number`: the wire's own error event, or for Responses, if
/// `as_status`, the response with a failed status.
pub(crate) fn failure(ask: &Ask, overloaded: bool, as_status: bool, number: usize) -> Bytes {
    let about = About { wire: ask.wire, model: &ask.model, serial: ask.serial, clock: ask.clock };
    let failure = errors::failure(overloaded, &about);
    match ask.wire {
        Wire::Anthropic => named_event("error", failure.body.as_str()),
        Wire::Chat => data_event(&failure.body),
        Wire::Responses if as_status => responses::failed(ask, failure.code, &failure.message, number),
        Wire::Responses => responses::error_event(failure.error, number),
        Wire::Gemini => gemini::event(&failure.body),
    }
}

/// What an answer reports: as scripted, else a token for each four bytes.
fn usage(answer: &Answer, ask: &Ask) -> Usage {
    answer.usage.unwrap_or_else(|| {
        let said: usize = answer
            .parts
            .iter()
            .map(|part| match part {
                Part::Text(pieces) | Part::Thinking(pieces) => pieces.iter().map(String::len).sum(),
                Part::Redacted => 0,
                Part::Tool { name, arguments, .. } => name.len() + arguments.len(),
            })
            .sum();
        let tokens = |bytes: usize| u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX);
        Usage { input: tokens(ask.prompt_bytes), output: tokens(said).max(1), ..Usage::default() }
    })
}

/// An event with a name, as Anthropic and Responses send it.
fn named_event(name: &str, data: &str) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// An event without a name, as chat sends it.
fn data_event(data: &Json) -> Bytes {
    format!("data: {}\n\n", data.as_str()).into()
}

/// Whether the answer calls a tool.
fn calls_tool(answer: &Answer) -> bool {
    answer.parts.iter().any(|part| matches!(part, Part::Tool { .. }))
}

/// Arguments in pieces, as they are streamed.
fn fragments(arguments: &str) -> Vec<String> {
    crate::reply::pieces_of(arguments)
}

/// Characters that bring an event near to a common length, so that its length does not tell its content.
fn padding(ask: &Ask, number: usize, content: usize) -> String {
    let serial = ask.serial.wrapping_mul(1_000).wrapping_add(u64::try_from(number).unwrap_or_default());
    ids::id("", serial, 16 - content % 16)
}
