//! Gemini `generateContent`.

use bytes::Bytes;

use super::Ask;
use crate::ids;
use crate::json::{Json, o};
use crate::reply::{Answer, Part, Stop, Usage};

const SIGNATURE: &str = "CiQBVKhc7vB+vaaq6rA1f2bmfXpHZ3S5bSPZr1zXyWRWjQ3yE0o=";

/// An event as Gemini frames it.
pub(super) fn event(data: &Json) -> Bytes {
    format!("data: {}\r\n\r\n", data.spaced().as_str()).into()
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

fn thought(thought: &str) -> Json {
    text(thought).with(&[("thought", true.into())])
}

fn call(id: Option<&String>, name: &str, arguments: &str) -> Json {
    let mut call = o! { "name": name, "args": Json::raw(arguments.to_owned()) };
    if let Some(id) = id {
        call = call.with(&[("id", id.into())]);
    }
    o! { "functionCall": call }
}

fn signed(part: Json) -> Json {
    part.with(&[("thoughtSignature", SIGNATURE.into())])
}

/// The answer's parts; `together` makes one of each text, for a whole answer. Signatures stand behind the thoughts: on the
/// first call, or if there is none and something was thought, on the last text.
fn parts(answer: &Answer, together: bool) -> Vec<Json> {
    let mut parts: Vec<Json> = Vec::new();
    let (mut first_call, mut last_text, mut has_thought) = (None, None, false);
    for part in &answer.parts {
        let texts = |pieces: &Vec<String>| if together { vec![pieces.concat()] } else { pieces.clone() };
        match part {
            // Without a piece there is no part, however the answer is asked for.
            Part::Text(pieces) | Part::Thinking(pieces) if pieces.is_empty() => {}
            Part::Text(pieces) => {
                parts.extend(texts(pieces).iter().map(|piece| text(piece)));
                last_text = parts.len().checked_sub(1);
            }
            Part::Thinking(pieces) => {
                parts.extend(texts(pieces).iter().map(|piece| thought(piece)));
                has_thought = true;
            }
            Part::Redacted => {}
            Part::Tool { id, name, arguments } => {
                first_call = first_call.or(Some(parts.len()));
                parts.push(call(id.as_ref(), name, arguments));
            }
        }
    }
    let place = first_call.or(last_text.filter(|_| has_thought));
    if let Some(part) = place.and_then(|place| parts.get_mut(place)) {
        *part = signed(part.clone());
    }
    parts
}

/// A prompt that the filter keeps from the model: there is no candidate.
fn blocked(ask: &Ask, usage: Usage) -> Json {
    o! {
        "promptFeedback": o! { "blockReason": "SAFETY" },
        "usageMetadata": usage_object(Usage { output: 0, reasoning: 0, ..usage }),
        "modelVersion": &ask.model,
        "responseId": ids::id("", ask.serial, 22),
    }
}

fn is_blocked(answer: &Answer) -> bool {
    answer.parts.is_empty() && answer.stop == Some(Stop::Filter)
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
    if is_blocked(answer) {
        return blocked(ask, usage);
    }
    chunk(ask, parts(answer, true), Some(finish(answer)), usage)
}

/// Every chunk is a whole answer of its own; usage grows, and the last chunk says why it is the last.
pub(super) fn stream(answer: &Answer, ask: &Ask, usage: Usage) -> Vec<Bytes> {
    if is_blocked(answer) {
        return vec![event(&blocked(ask, usage))];
    }
    let mut parts = parts(answer, false);
    let last = parts.pop().unwrap_or_else(|| text(""));
    let so_far = Usage { output: usage.output.min(1), reasoning: 0, ..usage };
    let mut frames: Vec<Bytes> = parts.into_iter().map(|part| event(&chunk(ask, vec![part], None, so_far))).collect();
    frames.push(event(&chunk(ask, vec![last], Some(finish(answer)), usage)));
    frames
}
