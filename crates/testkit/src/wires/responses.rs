//! OpenAI Responses.

use bytes::Bytes;

use super::{Ask, fragments, named_event};
use crate::ids;
use crate::json::{Json, o};
use crate::reply::{Answer, Part, Stop, Usage};

fn status(answer: &Answer) -> &'static str {
    match answer.stop {
        Some(Stop::MaxTokens | Stop::Filter) => "incomplete",
        _ => "completed",
    }
}

fn incomplete(answer: &Answer) -> Json {
    match answer.stop {
        Some(Stop::MaxTokens) => o! { "reason": "max_output_tokens" },
        Some(Stop::Filter) => o! { "reason": "content_filter" },
        _ => Json::null(),
    }
}

fn usage_object(usage: Usage) -> Json {
    o! {
        "input_tokens": usage.all_input(),
        "input_tokens_details": o! { "cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write() },
        "output_tokens": usage.output,
        "output_tokens_details": o! { "reasoning_tokens": usage.reasoning },
        "total_tokens": usage.all_input() + usage.output,
    }
}

fn item_id(prefix: &str, ask: &Ask, index: usize) -> String {
    ids::hex(prefix, ask.serial * 100 + u64::try_from(index).unwrap_or_default(), 48)
}

fn text_part(text: &str) -> Json {
    o! { "type": "output_text", "annotations": Vec::<Json>::new(), "logprobs": Vec::<Json>::new(), "text": text }
}

/// A part as a finished output item.
fn item(part: &Part, ask: &Ask, index: usize) -> Json {
    match part {
        Part::Text(pieces) => o! {
            "id": item_id("msg_", ask, index),
            "type": "message",
            "status": "completed",
            "content": vec![text_part(&pieces.concat())],
            "role": "assistant",
        },
        Part::Thinking(pieces) => o! {
            "id": item_id("rs_", ask, index),
            "type": "reasoning",
            "summary": vec![o! { "type": "summary_text", "text": pieces.concat() }],
        },
        Part::Redacted => o! {
            "id": item_id("rs_", ask, index),
            "type": "reasoning",
            "encrypted_content": "gAAAAABm0XqOnGVzdGtpdA==",
            "summary": Vec::<Json>::new(),
        },
        Part::Tool { id, name, arguments } => o! {
            "id": item_id("fc_", ask, index),
            "type": "function_call",
            "status": "completed",
            "arguments": arguments,
            "call_id": call_id(id.as_ref(), ask, index),
            "name": name,
        },
    }
}

fn call_id(id: Option<&String>, ask: &Ask, index: usize) -> String {
    let serial = ask.serial * 100 + u64::try_from(index).unwrap_or_default();
    id.cloned().unwrap_or_else(|| ids::id("call_", serial, 24))
}

fn response(ask: &Ask, status: &str, details: Json, output: Vec<Json>, usage: Option<Json>) -> Json {
    o! {
        "id": ids::hex("resp_", ask.serial, 48),
        "object": "response",
        "created_at": ask.clock.now_unix_s(),
        "status": status,
        "background": false,
        "error": Json::null(),
        "incomplete_details": details,
        "instructions": Json::null(),
        "max_output_tokens": Json::null(),
        "model": &ask.model,
        "output": output,
        "parallel_tool_calls": true,
        "previous_response_id": Json::null(),
        "reasoning": o! { "effort": "medium", "summary": Json::null() },
        "service_tier": "default",
        "store": true,
        "temperature": Json::raw("1.0".to_owned()),
        "text": o! { "format": o! { "type": "text" }, "verbosity": "medium" },
        "tool_choice": "auto",
        "tools": Vec::<Json>::new(),
        "top_p": Json::raw("1.0".to_owned()),
        "truncation": "disabled",
        "usage": usage,
        "user": Json::null(),
        "metadata": Json::empty(),
    }
}

pub(super) fn whole(answer: &Answer, ask: &Ask, usage: Usage) -> Json {
    let items = answer.parts.iter().enumerate().map(|(index, part)| item(part, ask, index)).collect();
    response(ask, status(answer), incomplete(answer), items, Some(usage_object(usage)))
}

/// Events with their rising numbers.
struct Events {
    frames: Vec<Bytes>,
}

impl Events {
    fn push(&mut self, kind: &str, fields: &[(&str, Json)]) {
        let number = self.frames.len();
        let data = o! { "type": kind }.with(fields).with(&[("sequence_number", number.into())]);
        self.frames.push(named_event(kind, &data));
    }
}

pub(super) fn stream(answer: &Answer, ask: &Ask, usage: Usage) -> Vec<Bytes> {
    let mut events = Events { frames: Vec::new() };
    let begun = || response(ask, "in_progress", Json::null(), Vec::new(), None);
    events.push("response.created", &[("response", begun())]);
    events.push("response.in_progress", &[("response", begun())]);
    for (index, part) in answer.parts.iter().enumerate() {
        let at = || ("output_index", Json::from(index));
        match part {
            Part::Text(pieces) => {
                let id = item_id("msg_", ask, index);
                let within = |more: (&'static str, Json)| {
                    [("content_index", 0_u64.into()), ("item_id", (&id).into()), at(), more]
                };
                let empty = o! {
                    "id": &id, "type": "message", "status": "in_progress", "content": Vec::<Json>::new(), "role": "assistant",
                };
                events.push("response.output_item.added", &[("item", empty), at()]);
                events.push("response.content_part.added", &within(("part", text_part(""))));
                for piece in pieces {
                    events.push("response.output_text.delta", &within(("delta", piece.into())));
                }
                let text = pieces.concat();
                events.push("response.output_text.done", &within(("text", (&text).into())));
                events.push("response.content_part.done", &within(("part", text_part(&text))));
            }
            Part::Thinking(pieces) => {
                let id = item_id("rs_", ask, index);
                let within = |more: (&'static str, Json)| {
                    [("item_id", (&id).into()), at(), ("summary_index", 0_u64.into()), more]
                };
                let summary = |text: &str| o! { "type": "summary_text", "text": text };
                let empty = o! { "id": &id, "type": "reasoning", "summary": Vec::<Json>::new() };
                events.push("response.output_item.added", &[("item", empty), at()]);
                events.push("response.reasoning_summary_part.added", &within(("part", summary(""))));
                for piece in pieces {
                    events.push("response.reasoning_summary_text.delta", &within(("delta", piece.into())));
                }
                let text = pieces.concat();
                events.push("response.reasoning_summary_text.done", &within(("text", (&text).into())));
                events.push("response.reasoning_summary_part.done", &within(("part", summary(&text))));
            }
            Part::Redacted => {
                let empty = o! { "id": item_id("rs_", ask, index), "type": "reasoning", "summary": Vec::<Json>::new() };
                events.push("response.output_item.added", &[("item", empty), at()]);
            }
            Part::Tool { id: call, name, arguments } => {
                let id = item_id("fc_", ask, index);
                let within = |more: (&'static str, Json)| [("item_id", (&id).into()), at(), more];
                let empty = o! {
                    "id": &id, "type": "function_call", "status": "in_progress", "arguments": "",
                    "call_id": call_id(call.as_ref(), ask, index), "name": name,
                };
                events.push("response.output_item.added", &[("item", empty), at()]);
                for piece in fragments(arguments) {
                    events.push("response.function_call_arguments.delta", &within(("delta", piece.into())));
                }
                events.push("response.function_call_arguments.done", &within(("arguments", arguments.into())));
            }
        }
        events.push("response.output_item.done", &[("item", item(part, ask, index)), at()]);
    }
    let kind = format!("response.{}", status(answer));
    events.push(&kind, &[("response", whole(answer, ask, usage))]);
    events.frames
}
