//! OpenAI Chat Completions.

use bytes::Bytes;

use super::{Ask, calls_tool, data_event, fragments, padding};
use crate::ids;
use crate::json::{Json, o};
use crate::reply::{Answer, Part, Stop, Usage};

fn finish(answer: &Answer) -> &'static str {
    match answer.stop {
        Some(Stop::MaxTokens) => "length",
        Some(Stop::Filter) => "content_filter",
        None if calls_tool(answer) => "tool_calls",
        _ => "stop",
    }
}

fn usage_object(usage: Usage) -> Json {
    o! {
        "prompt_tokens": usage.all_input(),
        "completion_tokens": usage.output,
        "total_tokens": usage.all_input() + usage.output,
        "prompt_tokens_details": o! {
            "cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write(), "audio_tokens": 0_u64,
        },
        "completion_tokens_details": o! {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0_u64,
            "accepted_prediction_tokens": 0_u64,
            "rejected_prediction_tokens": 0_u64,
        },
    }
}

fn call_id(id: Option<&String>, ask: &Ask, index: usize) -> String {
    let serial = ask.serial * 100 + u64::try_from(index).unwrap_or_default();
    id.cloned().unwrap_or_else(|| ids::id("call_", serial, 24))
}

/// The texts of one kind of part, joined; null if there is none.
fn joined(answer: &Answer, pick: impl Fn(&Part) -> Option<String>) -> Json {
    let texts: Vec<String> = answer.parts.iter().filter_map(pick).collect();
    if texts.is_empty() { Json::null() } else { texts.concat().into() }
}

pub(super) fn whole(answer: &Answer, ask: &Ask, usage: Usage) -> Json {
    let content = joined(answer, |part| match part {
        Part::Text(pieces) => Some(pieces.concat()),
        _ => None,
    });
    let thoughts = joined(answer, |part| match part {
        Part::Thinking(pieces) => Some(pieces.concat()),
        _ => None,
    });
    let tools = answer.parts.iter().filter_map(|part| match part {
        Part::Tool { id, name, arguments } => Some((id, name, arguments)),
        _ => None,
    });
    let calls: Vec<Json> = tools
        .enumerate()
        .map(|(index, (id, name, arguments))| {
            o! {
                "id": call_id(id.as_ref(), ask, index),
                "type": "function",
                "function": o! { "name": name, "arguments": arguments },
            }
        })
        .collect();
    let mut message = o! { "role": "assistant", "content": content };
    if thoughts.as_str() != "null" {
        message = message.with(&[("reasoning_content", thoughts)]);
    }
    if !calls.is_empty() {
        message = message.with(&[("tool_calls", calls.into())]);
    }
    message = message.with(&[("refusal", Json::null()), ("annotations", Vec::<Json>::new().into())]);
    o! {
        "id": ids::id("chatcmpl-", ask.serial, 29),
        "object": "chat.completion",
        "created": ask.clock.now_unix_s(),
        "model": &ask.model,
        "choices": vec![o! {
            "index": 0_u64, "message": message, "logprobs": Json::null(), "finish_reason": finish(answer),
        }],
        "usage": usage_object(usage),
        "service_tier": "default",
        "system_fingerprint": "fp_testkit",
    }
}

/// The chunks so far, and what is the same in all of them.
struct Chunks<'a> {
    frames: Vec<Bytes>,
    ask: &'a Ask,
    id: String,
    created: u64,
}

impl Chunks<'_> {
    /// `content` is the length of what the chunk says, for its padding.
    fn push(&mut self, choices: Vec<Json>, usage: Option<Json>, content: usize) {
        let mut chunk = o! {
            "id": &self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": &self.ask.model,
            "service_tier": "default",
            "system_fingerprint": "fp_testkit",
            "choices": choices,
        };
        if self.ask.include_usage {
            chunk = chunk.with(&[("usage", usage.into())]);
        }
        if self.ask.padded {
            chunk = chunk.with(&[("obfuscation", padding(self.ask, self.frames.len(), content).into())]);
        }
        self.frames.push(data_event(&chunk));
    }

    fn delta(&mut self, delta: Json, finish: Option<&str>, content: usize) {
        let choice = o! { "index": 0_u64, "delta": delta, "logprobs": Json::null(), "finish_reason": finish };
        self.push(vec![choice], None, content);
    }
}

pub(super) fn stream(answer: &Answer, ask: &Ask, usage: Usage) -> Vec<Bytes> {
    let id = ids::id("chatcmpl-", ask.serial, 29);
    let mut chunks = Chunks { frames: Vec::new(), ask, id, created: ask.clock.now_unix_s() };
    // A message that only calls tools has no text, and a single call begins with the role.
    let only_calls = !answer.parts.is_empty() && answer.parts.iter().all(|part| matches!(part, Part::Tool { .. }));
    let first_call = match answer.parts.as_slice() {
        [Part::Tool { id, name, .. }] => Some(call_start(id.as_ref(), name, ask, 0)),
        _ => None,
    };
    let is_single_call = first_call.is_some();
    let mut first = o! { "role": "assistant", "content": (!only_calls).then_some("") };
    if let Some(call) = first_call {
        first = first.with(&[("tool_calls", vec![call].into())]);
    }
    chunks.delta(first.with(&[("refusal", Json::null())]), None, 0);
    let mut calls = 0_usize;
    for part in &answer.parts {
        match part {
            Part::Text(pieces) => {
                for piece in pieces {
                    chunks.delta(o! { "content": piece }, None, piece.len());
                }
            }
            Part::Thinking(pieces) => {
                for piece in pieces {
                    chunks.delta(o! { "reasoning_content": piece }, None, piece.len());
                }
            }
            Part::Redacted => {}
            Part::Tool { id, name, arguments } => {
                if !is_single_call {
                    chunks.delta(o! { "tool_calls": vec![call_start(id.as_ref(), name, ask, calls)] }, None, 0);
                }
                for piece in fragments(arguments) {
                    let more = o! { "index": calls, "function": o! { "arguments": &piece } };
                    chunks.delta(o! { "tool_calls": vec![more] }, None, piece.len());
                }
                calls += 1;
            }
        }
    }
    chunks.delta(Json::empty(), Some(finish(answer)), 0);
    if ask.include_usage {
        chunks.push(Vec::new(), Some(usage_object(usage)), 0);
    }
    chunks.frames.push("data: [DONE]\n\n".into());
    chunks.frames
}

/// The first piece of a call: all but its arguments.
fn call_start(id: Option<&String>, name: &str, ask: &Ask, index: usize) -> Json {
    o! {
        "index": index,
        "id": call_id(id, ask, index),
        "type": "function",
        "function": o! { "name": name, "arguments": "" },
    }
}
