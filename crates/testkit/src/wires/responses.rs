//! OpenAI Responses.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Ask, fragments, named_event, padding};
use crate::ids;
use crate::json::{Json, o};
use crate::reply::{Answer, Part, Stop, Usage};

/// What a response repeats of its request, as JSON text; the vendor's default where the request is silent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Echo {
    said: Vec<(&'static str, String)>,
    /// Reasoning is to come encrypted too.
    encrypted: bool,
}

impl Echo {
    const NAMES: [&'static str; 16] = [
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt_cache_key",
        "safety_identifier",
        "store",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    ];

    /// Of a request's body; nothing if that is no object.
    pub(crate) fn of(body: &[u8]) -> Self {
        let fields: HashMap<String, &RawValue> = serde_json::from_slice(body).unwrap_or_default();
        let mut said: Vec<(&'static str, String)> = Self::NAMES
            .into_iter()
            .filter_map(|name| fields.get(name).map(|value| (name, value.get().to_owned())))
            .collect();
        let part = |name: &str, field: &str| -> Option<String> {
            let value: Value = serde_json::from_str(fields.get(name)?.get()).ok()?;
            value.get(field).map(Value::to_string)
        };
        let parts = [("effort", "reasoning"), ("summary", "reasoning"), ("format", "text"), ("verbosity", "text")];
        said.extend(parts.into_iter().filter_map(|(field, name)| part(name, field).map(|value| (field, value))));
        let encrypted =
            fields.get("include").is_some_and(|list| list.get().contains("\"reasoning.encrypted_content\""));
        Self { said, encrypted }
    }

    fn or(&self, name: &str, default: impl Into<Json>) -> Json {
        let said = self.said.iter().find(|(known, _)| *known == name);
        said.map_or_else(|| default.into(), |(_, value)| Json::raw(value.clone()))
    }
}

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
        Part::Thinking(pieces) => {
            let summary = vec![o! { "type": "summary_text", "text": pieces.concat() }];
            reasoning(ask, index, ask.echo.encrypted, summary)
        }
        Part::Redacted => reasoning(ask, index, true, Vec::new()),
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

fn reasoning(ask: &Ask, index: usize, is_encrypted: bool, summary: Vec<Json>) -> Json {
    let mut item = o! { "id": item_id("rs_", ask, index), "type": "reasoning" };
    if is_encrypted {
        item = item.with(&[("encrypted_content", ids::id("gAAAAAB", ask.serial, 93).into())]);
    }
    item.with(&[("summary", summary.into())])
}

fn call_id(id: Option<&String>, ask: &Ask, index: usize) -> String {
    let serial = ask.serial * 100 + u64::try_from(index).unwrap_or_default();
    id.cloned().unwrap_or_else(|| ids::id("call_", serial, 24))
}

/// What changes in a response while it comes to be.
struct State {
    status: &'static str,
    error: Json,
    incomplete: Json,
    output: Vec<Json>,
    usage: Option<Json>,
}

impl State {
    const fn begun(status: &'static str, error: Json, incomplete: Json) -> Self {
        Self { status, error, incomplete, output: Vec::new(), usage: None }
    }
}

fn response(ask: &Ask, state: State) -> Json {
    response_with(&ids::hex("resp_", ask.serial, 48), ask, state)
}

fn response_with(id: &str, ask: &Ask, state: State) -> Json {
    let Ask { echo, .. } = ask;
    let null = Json::null;
    let number = |text: &str| Json::raw(text.to_owned());
    let now = ask.clock.now_unix_s();
    o! {
        "id": id,
        "object": "response",
        "created_at": now,
        "status": state.status,
        "background": false,
        "completed_at": (state.status == "completed").then_some(now),
        "error": state.error,
        "frequency_penalty": number("0.0"),
        "incomplete_details": state.incomplete,
        "instructions": echo.or("instructions", null()),
        "max_output_tokens": echo.or("max_output_tokens", null()),
        "max_tool_calls": echo.or("max_tool_calls", null()),
        "model": &ask.model,
        "output": state.output,
        "parallel_tool_calls": echo.or("parallel_tool_calls", true),
        "presence_penalty": number("0.0"),
        "previous_response_id": echo.or("previous_response_id", null()),
        "prompt_cache_key": echo.or("prompt_cache_key", null()),
        "prompt_cache_retention": null(),
        "reasoning": o! { "effort": echo.or("effort", "medium"), "summary": echo.or("summary", null()) },
        "safety_identifier": echo.or("safety_identifier", null()),
        "service_tier": "default",
        "store": echo.or("store", true),
        "temperature": echo.or("temperature", number("1.0")),
        "text": o! { "format": echo.or("format", o! { "type": "text" }), "verbosity": echo.or("verbosity", "medium") },
        "tool_choice": echo.or("tool_choice", "auto"),
        "tools": echo.or("tools", Vec::<Json>::new()),
        "top_logprobs": echo.or("top_logprobs", 0_u64),
        "top_p": echo.or("top_p", number("0.98")),
        "truncation": echo.or("truncation", "disabled"),
        "usage": state.usage,
        "user": echo.or("user", null()),
        "metadata": echo.or("metadata", Json::empty()),
    }
}

pub(super) fn whole(answer: &Answer, ask: &Ask, usage: Usage) -> Json {
    let output = answer.parts.iter().enumerate().map(|(index, part)| item(part, ask, index)).collect();
    let usage = Some(usage_object(usage));
    let state = State { status: status(answer), error: Json::null(), incomplete: incomplete(answer), output, usage };
    response(ask, state)
}

/// What is said of a kept response, by the path behind `/responses/`; `None` if there is no such path. Every id is one of a
/// response that has ended.
pub(crate) fn kept(method: &str, of: &str, ask: &Ask) -> Option<(u16, Json)> {
    let (id, after) = of.split_once('/').unwrap_or((of, ""));
    Some(match (method, after) {
        ("GET", "") => {
            let state = State::begun("completed", Json::null(), Json::null());
            (200, response_with(id, ask, state))
        }
        ("GET", "input_items") => {
            let (data, none) = (Vec::<Json>::new(), Json::null);
            (200, o! { "object": "list", "data": data, "first_id": none(), "has_more": false, "last_id": none() })
        }
        ("DELETE", "") => (200, o! { "id": id, "object": "response", "deleted": true }),
        ("POST", "cancel") => {
            let message = "Cannot cancel a synchronous response.";
            let error =
                o! { "message": message, "type": "invalid_request_error", "param": Json::null(), "code": Json::null() };
            (400, o! { "error": error })
        }
        _ => return None,
    })
}

/// The last event of a stream whose response failed.
pub(super) fn failed(ask: &Ask, code: &str, message: &str, number: usize) -> Bytes {
    let error = o! { "code": code, "message": message };
    let response = response(ask, State::begun("failed", error, Json::null()));
    numbered("response.failed", &[("response", response)], number)
}

/// The event of an error that is no response's.
pub(super) fn error_event(error: Json, number: usize) -> Bytes {
    numbered("error", &[("error", error)], number)
}

/// After the type, fields stand in the order of the alphabet.
fn numbered(kind: &str, fields: &[(&str, Json)], number: usize) -> Bytes {
    let mut fields: Vec<(&str, Json)> = fields.to_vec();
    fields.push(("sequence_number", number.into()));
    fields.sort_by_key(|(name, _)| *name);
    named_event(kind, o! { "type": kind }.with(&fields).as_str())
}

/// Events with their rising numbers.
struct Events<'a> {
    frames: Vec<Bytes>,
    ask: &'a Ask,
}

impl Events<'_> {
    fn push(&mut self, kind: &str, fields: &[(&str, Json)]) {
        self.frames.push(numbered(kind, fields, self.frames.len()));
    }

    fn delta(&mut self, kind: &str, piece: &str, fields: &[(&str, Json)]) {
        let mut fields = fields.to_vec();
        fields.push(("delta", piece.into()));
        if self.ask.padded {
            fields.push(("obfuscation", padding(self.ask, self.frames.len(), piece.len()).into()));
        }
        self.push(kind, &fields);
    }
}

pub(super) fn stream(answer: &Answer, ask: &Ask, usage: Usage) -> Vec<Bytes> {
    let mut events = Events { frames: Vec::new(), ask };
    let begun = || response(ask, State::begun("in_progress", Json::null(), Json::null()));
    events.push("response.created", &[("response", begun())]);
    events.push("response.in_progress", &[("response", begun())]);
    for (index, part) in answer.parts.iter().enumerate() {
        let at = || ("output_index", Json::from(index));
        let none = || Json::from(Vec::<Json>::new());
        match part {
            Part::Text(pieces) => {
                let id = item_id("msg_", ask, index);
                let of = || ("item_id", Json::from(&id));
                let within = || [("content_index", 0_u64.into()), of(), at()];
                let said = |more: (&'static str, Json)| [&within()[..], &[more]].concat();
                let empty = o! {
                    "id": &id, "type": "message", "status": "in_progress", "content": none(), "role": "assistant",
                };
                events.push("response.output_item.added", &[("item", empty), at()]);
                events.push("response.content_part.added", &said(("part", text_part(""))));
                for piece in pieces {
                    events.delta("response.output_text.delta", piece, &said(("logprobs", none())));
                }
                let text = pieces.concat();
                let done = [&said(("logprobs", none()))[..], &[("text", (&text).into())]].concat();
                events.push("response.output_text.done", &done);
                events.push("response.content_part.done", &said(("part", text_part(&text))));
            }
            Part::Thinking(pieces) => {
                let id = item_id("rs_", ask, index);
                let within = || [("item_id", Json::from(&id)), at(), ("summary_index", 0_u64.into())];
                let said = |more: (&'static str, Json)| [&within()[..], &[more]].concat();
                let summary = |text: &str| o! { "type": "summary_text", "text": text };
                let empty = reasoning(ask, index, ask.echo.encrypted, Vec::new());
                events.push("response.output_item.added", &[("item", empty), at()]);
                events.push("response.reasoning_summary_part.added", &said(("part", summary(""))));
                for piece in pieces {
                    events.delta("response.reasoning_summary_text.delta", piece, &within());
                }
                let text = pieces.concat();
                events.push("response.reasoning_summary_text.done", &said(("text", (&text).into())));
                events.push("response.reasoning_summary_part.done", &said(("part", summary(&text))));
            }
            Part::Redacted => events.push("response.output_item.added", &[("item", item(part, ask, index)), at()]),
            Part::Tool { id: call, name, arguments } => {
                let id = item_id("fc_", ask, index);
                let within = || [("item_id", Json::from(&id)), at()];
                let empty = o! {
                    "id": &id, "type": "function_call", "status": "in_progress", "arguments": "",
                    "call_id": call_id(call.as_ref(), ask, index), "name": name,
                };
                events.push("response.output_item.added", &[("item", empty), at()]);
                for piece in fragments(arguments) {
                    events.delta("response.function_call_arguments.delta", &piece, &within());
                }
                let done = [&within()[..], &[("arguments", arguments.into())]].concat();
                events.push("response.function_call_arguments.done", &done);
            }
        }
        events.push("response.output_item.done", &[("item", item(part, ask, index)), at()]);
    }
    let kind = format!("response.{}", status(answer));
    events.push(&kind, &[("response", whole(answer, ask, usage))]);
    events.frames
}
