//! Gemini `generateContent`.

use bytes::Bytes;

use super::Ask;
use crate::ids;
use crate::json::{Json, o};
use crate::reply::{Answer, Part, Stop, Usage};

const SIGNATURE: &str = "CiQBVKhc7vB+vaaq6rA1f2bmfXpHZ3S5bSPZr1zXyWRWjQ3yE0o=";

/// An event as Gemini frames it.
pub(super) fn event(data: &Json) -> Bytes {
    format!("data: {}\r\n\r\n", data.as_str()).into()
}

fn finish(answer: &Answer) -> &'static str {
    match answer.stop {
        Some(Stop::MaxTokens) => "MAX_TOKENS",
        Some(Stop::Filter) => "SAFETY",
        _ => "STOP",
    }
}

fn usage_object(usage: Usage) -> Json {
    let mut counts = o! {
        "promptTokenCount": usage.all_input(),
        "candidatesTokenCount": usage.output.saturating_sub(usage.reasoning),
        "totalTokenCount": usage.all_input() + usage.output,
        "promptTokensDetails": vec![o! { "modality": "TEXT", "tokenCount": usage.all_input() }],
    };
    if usage.cache_read > 0 {
        counts = counts.with(&[("cachedContentTokenCount", usage.cache_read.into())]);
    }
    if usage.reasoning > 0 {
        counts = counts.with(&[("thoughtsTokenCount", usage.reasoning.into())]);
    }
    counts
}

fn text(text: &str) -> Json {
    o! { "text": text }
}

fn call(id: Option<&String>, name: &str, arguments: &str) -> Json {
    let mut call = o! { "name": name, "args": Json::raw(arguments.to_owned()) };
    if let Some(id) = id {
        call = call.with(&[("id", id.into())]);
    }
    o! { "functionCall": call, "thoughtSignature": SIGNATURE }
}

fn chunk(ask: &Ask, parts: Vec<Json>, finish: Option<&str>, usage: Usage) -> Json {
    let mut candidate = o! { "content": o! { "parts": parts, "role": "model" } };
    if let Some(finish) = finish {
        candidate = candidate.with(&[("finishReason", finish.into())]);
    }
    o! {
        "candidates": vec![candidate.with(&[("index", 0_u64.into())])],
        "usageMetadata": usage_object(usage),
        "modelVersion": &ask.model,
        "responseId": ids::id("", ask.serial, 22),
    }
}

pub(super) fn whole(answer: &Answer, ask: &Ask, usage: Usage) -> Json {
    let parts = answer
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Text(pieces) => Some(text(&pieces.concat())),
            Part::Thinking(pieces) => Some(text(&pieces.concat()).with(&[("thought", true.into())])),
            Part::Redacted => None,
            Part::Tool { id, name, arguments } => Some(call(id.as_ref(), name, arguments)),
        })
        .collect();
    chunk(ask, parts, Some(finish(answer)), usage)
}

/// Every chunk is a whole answer of its own; usage grows, and the last chunk says why it is the last.
pub(super) fn stream(answer: &Answer, ask: &Ask, usage: Usage) -> Vec<Bytes> {
    let mut pieces: Vec<Json> = Vec::new();
    for part in &answer.parts {
        match part {
            Part::Text(texts) => pieces.extend(texts.iter().map(|piece| text(piece))),
            Part::Thinking(texts) => {
                pieces.extend(texts.iter().map(|piece| text(piece).with(&[("thought", true.into())])));
            }
            Part::Redacted => {}
            Part::Tool { id, name, arguments } => pieces.push(call(id.as_ref(), name, arguments)),
        }
    }
    let last = pieces.pop().unwrap_or_else(|| text(""));
    let so_far = Usage { output: usage.output.min(1), reasoning: 0, ..usage };
    let mut frames: Vec<Bytes> =
        pieces.into_iter().map(|piece| event(&chunk(ask, vec![piece], None, so_far))).collect();
    frames.push(event(&chunk(ask, vec![last], Some(finish(answer)), usage)));
    frames
}
