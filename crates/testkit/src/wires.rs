//! The four wires: an answer as each vendor lays it out, whole and as a stream.

mod anthropic;
mod chat;
mod extras;
mod gemini;
mod responses;

pub(crate) use extras::{count, embeddings, models};

use bytes::Bytes;

use crate::clock::Clock;
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

/// What an answer depends on beside its script.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) wire: Wire,
    pub(crate) model: String,
    pub(crate) stream: bool,
    /// A chat stream was asked for its usage.
    pub(crate) include_usage: bool,
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
        Wire::Chat => chat::whole(answer, ask, usage),
        Wire::Responses => responses::whole(answer, ask, usage),
        Wire::Gemini => gemini::whole(answer, ask, usage),
    };
    body.into_string().into()
}

/// A stream's frames, one event each.
pub(crate) fn stream(answer: &Answer, ask: &Ask) -> Vec<Bytes> {
    let usage = usage(answer, ask);
    match ask.wire {
        Wire::Anthropic => anthropic::stream(answer, ask, usage),
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

/// An error's event, framed as this wire frames it.
pub(crate) fn error_event(wire: Wire, body: &Json) -> Bytes {
    match wire {
        Wire::Anthropic => named_event("error", body),
        Wire::Chat => data_event(body),
        Wire::Responses => {
            let error = body.as_str().strip_prefix("{\"error\":").and_then(|rest| rest.strip_suffix('}'));
            let error = Json::raw(error.unwrap_or("null").to_owned());
            named_event("error", &crate::json::o! { "type": "error", "error": error, "sequence_number": 99_u64 })
        }
        Wire::Gemini => gemini::event(body),
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
fn named_event(name: &str, data: &Json) -> Bytes {
    format!("event: {name}\ndata: {}\n\n", data.as_str()).into()
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
