//! OpenAI Chat Completions.

use bytes::Bytes;

use super::{Ask, calls_tool, data_event, fragments};
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

pub(super) fn stream(answer: &Answer, ask: &Ask, usage: Usage) -> Vec<Bytes> {
    let id = ids::id("chatcmpl-", ask.serial, 29);
    let created = ask.clock.now_unix_s();
    let chunk = |choices: Vec<Json>, usage: Option<Json>| {
        let mut chunk = o! {
            "id": &id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": &ask.model,
            "service_tier": "default",
            "system_fingerprint": "fp_testkit",
            "choices": choices,
        };
        if ask.include_usage {
            chunk = chunk.with(&[("usage", usage.into())]);
        }
        data_event(&chunk)
    };
    let delta = |delta: Json, finish: Option<&str>| {
        let choice = o! { "index": 0_u64, "delta": delta, "logprobs": Json::null(), "finish_reason": finish };
        chunk(vec![choice], None)
    };
    let mut frames = vec![delta(o! { "role": "assistant", "content": "", "refusal": Json::null() }, None)];
    let mut calls = 0_usize;
    for part in &answer.parts {
        match part {
            Part::Text(pieces) => frames.extend(pieces.iter().map(|piece| delta(o! { "content": piece }, None))),
            Part::Thinking(pieces) => {
                frames.extend(pieces.iter().map(|piece| delta(o! { "reasoning_content": piece }, None)));
            }
            Part::Redacted => {}
            Part::Tool { id, name, arguments } => {
                let call = |fields: Json| delta(o! { "tool_calls": vec![fields] }, None);
                frames.push(call(o! {
                    "index": calls,
                    "id": call_id(id.as_ref(), ask, calls),
                    "type": "function",
                    "function": o! { "name": name, "arguments": "" },
                }));
                let pieces = fragments(arguments);
                frames.extend(
                    pieces.into_iter().map(|piece| call(o! { "index": calls, "function": o! { "arguments": piece } })),
                );
                calls += 1;
            }
        }
    }
    frames.push(delta(Json::empty(), Some(finish(answer))));
    if ask.include_usage {
        frames.push(chunk(Vec::new(), Some(usage_object(usage))));
    }
    frames.push("data: [DONE]\n\n".into());
    frames
}
