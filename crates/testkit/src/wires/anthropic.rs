//! Anthropic Messages.

use bytes::Bytes;

use super::{Ask, calls_tool, fragments, named_event};
use crate::ids;
use crate::json::{Json, o};
use crate::reply::{Answer, Part, Stop, Usage};

/// What a signature looks like; only its issuer can tell a good one.
const SIGNATURE: &str = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds";

fn stop(answer: &Answer) -> (&'static str, Json) {
    match &answer.stop {
        Some(Stop::MaxTokens) => ("max_tokens", Json::null()),
        Some(Stop::Sequence(sequence)) => ("stop_sequence", sequence.into()),
        Some(Stop::Filter) => ("refusal", Json::null()),
        Some(Stop::Pause) => ("pause_turn", Json::null()),
        None if calls_tool(answer) => ("tool_use", Json::null()),
        None | Some(Stop::End) => ("end_turn", Json::null()),
    }
}

fn usage_object(usage: Usage, output: u64) -> Json {
    let counts = o! {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write(),
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": o! {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": output,
    };
    with_thinking(counts, usage, output)
        .with(&[("service_tier", "standard".into()), ("inference_geo", "not_available".into())])
}

/// Tokens of thought are named apart only where there are some.
fn with_thinking(counts: Json, usage: Usage, output: u64) -> Json {
    let tokens = usage.reasoning.min(output);
    if tokens == 0 {
        return counts;
    }
    counts.with(&[("output_tokens_details", o! { "thinking_tokens": tokens })])
}

fn tool_id(id: Option<&String>, ask: &Ask, index: usize) -> String {
    let serial = ask.serial * 100 + u64::try_from(index).unwrap_or_default();
    id.cloned().unwrap_or_else(|| ids::id("toolu_01", serial, 22))
}

pub(super) fn whole(answer: &Answer, ask: &Ask, usage: Usage) -> Json {
    let blocks: Vec<Json> = answer
        .parts
        .iter()
        .enumerate()
        .map(|(index, part)| match part {
            Part::Text(pieces) => o! { "type": "text", "text": pieces.concat() },
            Part::Thinking(pieces) => {
                o! { "type": "thinking", "thinking": pieces.concat(), "signature": SIGNATURE }
            }
            Part::Redacted => o! { "type": "redacted_thinking", "data": SIGNATURE },
            Part::Tool { id, name, arguments } => o! {
                "type": "tool_use",
                "id": tool_id(id.as_ref(), ask, index),
                "name": name,
                "input": Json::raw(arguments.clone()),
                "caller": o! { "type": "direct" },
            },
        })
        .collect();
    let (reason, sequence) = stop(answer);
    let message = o! {
        "model": &ask.model,
        "id": ids::id("msg_01", ask.serial, 22),
        "type": "message",
        "role": "assistant",
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": sequence,
    };
    with_details(message, answer).with(&[("usage", usage_object(usage, usage.output))])
}

/// Only a refusal has details.
fn with_details(ending: Json, answer: &Answer) -> Json {
    if answer.stop != Some(Stop::Filter) {
        return ending;
    }
    let details = o! { "type": "refusal", "category": Json::null(), "explanation": Json::null() };
    ending.with(&[("stop_details", details)])
}

/// The events so far.
struct Events {
    frames: Vec<Bytes>,
    serial: u64,
}

impl Events {
    /// Adds an event with up to 15 blanks in front of its last brace: the vendor's own padding.
    fn push(&mut self, kind: &'static str, fields: &[(&str, Json)]) {
        let number = u64::try_from(self.frames.len()).unwrap_or_default();
        let blanks = ids::mix(self.serial.wrapping_mul(1_000).wrapping_add(number)) % 16;
        let mut data = o! { "type": kind }.with(fields).into_string();
        data.pop();
        data.extend((0..blanks).map(|_| ' '));
        data.push('}');
        self.frames.push(named_event(kind, &data));
    }
}

pub(super) fn stream(answer: &Answer, ask: &Ask, usage: Usage) -> Vec<Bytes> {
    let message = o! {
        "model": &ask.model,
        "id": ids::id("msg_01", ask.serial, 22),
        "type": "message",
        "role": "assistant",
        "content": Vec::<Json>::new(),
        "stop_reason": Json::null(),
        "stop_sequence": Json::null(),
        "usage": usage_object(usage, usage.output.min(1)),
    };
    let mut events = Events { frames: Vec::new(), serial: ask.serial };
    events.push("message_start", &[("message", message)]);
    for (index, part) in answer.parts.iter().enumerate() {
        let at = || ("index", Json::from(index));
        let mut start = |block: Json| {
            events.push("content_block_start", &[at(), ("content_block", block)]);
            if index == 0 {
                events.frames.push("event: ping\ndata: {\"type\": \"ping\"}\n\n".into());
            }
        };
        let mut deltas: Vec<Json> = Vec::new();
        match part {
            Part::Text(pieces) => {
                start(o! { "type": "text", "text": "" });
                deltas.extend(pieces.iter().map(|piece| o! { "type": "text_delta", "text": piece }));
            }
            Part::Thinking(pieces) => {
                start(o! { "type": "thinking", "thinking": "", "signature": "" });
                deltas.extend(pieces.iter().map(|piece| o! { "type": "thinking_delta", "thinking": piece }));
                deltas.push(o! { "type": "signature_delta", "signature": SIGNATURE });
            }
            Part::Redacted => start(o! { "type": "redacted_thinking", "data": SIGNATURE }),
            Part::Tool { id, name, arguments } => {
                let id = tool_id(id.as_ref(), ask, index);
                start(
                    o! { "type": "tool_use", "id": id, "name": name, "input": Json::empty(), "caller": o! { "type": "direct" } },
                );
                let pieces = std::iter::once(String::new()).chain(fragments(arguments));
                deltas.extend(pieces.map(|piece| o! { "type": "input_json_delta", "partial_json": piece }));
            }
        }
        for delta in deltas {
            events.push("content_block_delta", &[at(), ("delta", delta)]);
        }
        events.push("content_block_stop", &[at()]);
    }
    let (reason, sequence) = stop(answer);
    let delta = with_details(o! { "stop_reason": reason, "stop_sequence": sequence }, answer);
    let counts = o! {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write(),
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    };
    let counts = with_thinking(counts, usage, usage.output);
    events.push("message_delta", &[("delta", delta), ("usage", counts)]);
    events.push("message_stop", &[]);
    events.frames
}
