//! Requests and answers made at random, and how each vendor writes them: by hand, not by the encoders under test.

mod requests;

use std::fmt::Write as _;

use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};

use crate::Wire;
pub(super) use requests::{Wanted, wanted};

#[derive(Clone, Debug)]
pub(super) enum Piece {
    Thought(String),
    Text(String),
    Call { name: &'static str, arguments: Value },
}

#[derive(Clone, Debug)]
pub(super) struct Spoken {
    pub(super) pieces: Vec<Piece>,
    pub(super) length: bool,
    /// input, read, written, output, reasoning
    pub(super) usage: (u64, u64, u64, u64, u64),
    /// Pieces of parallel calls come interleaved, where a wire can do that.
    pub(super) interleaved: bool,
    /// Bytes of text to a delta.
    pub(super) cut: usize,
}

/// Texts of what is hard to carry: quotes, ends of lines, letters of several bytes, what looks like a frame.
fn text() -> impl Strategy<Value = String> {
    const SNIPPETS: [&str; 18] = [
        "a",
        "word ",
        "\"",
        "\\",
        "\\\"",
        "\n",
        "\r\n",
        "{",
        "}",
        "[1,",
        "é",
        "天",
        "🦀",
        "\u{2028}",
        "{}",
        "{\"output\":\"x\"}",
        "\u{1}",
        "data: [DONE]\n\nevent: x",
    ];
    vec(prop::sample::select(&SNIPPETS[..]), 1..5).prop_map(|snippets| snippets.concat())
}

fn arguments() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![text().prop_map(Value::from), any::<i32>().prop_map(Value::from), Just(Value::Null)];
    let value = (leaf.clone(), leaf.clone(), 0..3u8).prop_map(|(one, other, shape)| match shape {
        0 => one,
        1 => json!([one, [], other]),
        _ => json!({ "in}\"": one, "": { "deep": other } }),
    });
    let name = prop::sample::select(&["path", "q\"", "n", "é"][..]);
    vec((name, value), 0..3)
        .prop_map(|members| Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
}

const NAMES: [&str; 3] = ["look_up", "run", "mcp__files__read"];

pub(super) fn spoken() -> impl Strategy<Value = Spoken> {
    let call =
        (prop::sample::select(&NAMES[..]), arguments()).prop_map(|(name, arguments)| Piece::Call { name, arguments });
    let pieces = (option::of(text()), vec(text(), 0..3), vec(call, 0..4)).prop_map(|(thought, texts, calls)| {
        let texts = if texts.is_empty() && calls.is_empty() { vec!["ok".to_owned()] } else { texts };
        let said = thought.into_iter().map(Piece::Thought).chain(texts.into_iter().map(Piece::Text));
        said.chain(calls).collect()
    });
    let usage = (1..9000u64, 0..900u64, 0..90u64, 0..500u64, 0..50u64).prop_map(
        |(input, read, written, visible, reasoning)| (input, read, written, 1 + visible + reasoning, reasoning),
    );
    (pieces, prop::bool::weighted(0.2), usage, any::<bool>(), 1..9usize)
        .prop_map(|(pieces, length, usage, interleaved, cut)| Spoken { pieces, length, usage, interleaved, cut })
}

fn cut(text: &str, letters: usize) -> Vec<String> {
    let letters_of: Vec<char> = text.chars().collect();
    letters_of.chunks(letters).map(|chunk| chunk.iter().collect()).collect()
}

pub(super) fn usage(wire: Wire, spoken: &Spoken) -> Value {
    let (input, read, written, output, reasoning) = spoken.usage;
    match wire {
        Wire::Anthropic => json!({
            "input_tokens": input, "cache_read_input_tokens": read, "cache_creation_input_tokens": written,
            "output_tokens": output, "output_tokens_details": { "thinking_tokens": reasoning },
        }),
        Wire::Chat => json!({
            "prompt_tokens": input + read + written, "completion_tokens": output,
            "total_tokens": input + read + written + output,
            "prompt_tokens_details": { "cached_tokens": read, "cache_write_tokens": written },
            "completion_tokens_details": { "reasoning_tokens": reasoning },
        }),
        Wire::Responses => json!({
            "input_tokens": input + read + written, "output_tokens": output,
            "total_tokens": input + read + written + output,
            "input_tokens_details": { "cached_tokens": read, "cache_write_tokens": written },
            "output_tokens_details": { "reasoning_tokens": reasoning },
        }),
        Wire::Gemini => json!({
            "promptTokenCount": input + read + written, "cachedContentTokenCount": read,
            "candidatesTokenCount": output - reasoning, "thoughtsTokenCount": reasoning,
            "totalTokenCount": input + read + written + output,
        }),
    }
}

impl Spoken {
    fn calls(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Call { .. }))
    }

    fn word(&self, length: &'static str, calls: &'static str, stop: &'static str) -> &'static str {
        match (self.length, self.calls()) {
            (true, _) => length,
            (false, true) => calls,
            (false, false) => stop,
        }
    }

    fn texts(&self) -> String {
        self.pieces
            .iter()
            .filter_map(|piece| if let Piece::Text(text) = piece { Some(text.as_str()) } else { None })
            .collect()
    }

    fn thoughts(&self) -> Option<&String> {
        self.pieces.iter().find_map(|piece| if let Piece::Thought(text) = piece { Some(text) } else { None })
    }

    /// The answer as a whole body.
    pub(super) fn whole(&self, wire: Wire) -> Value {
        let usage = usage(wire, self);
        match wire {
            Wire::Anthropic => json!({
                "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": null,
                "stop_reason": self.word("max_tokens", "tool_use", "end_turn"), "usage": usage,
                "content": self.pieces.iter().enumerate().map(|(at, piece)| match piece {
                    Piece::Thought(text) => json!({ "type": "thinking", "thinking": text, "signature": "c2ln" }),
                    Piece::Text(text) => json!({ "type": "text", "text": text }),
                    Piece::Call { name, arguments } => json!({
                        "type": "tool_use", "id": format!("toolu_{at}"), "name": name, "input": arguments,
                    }),
                }).collect::<Vec<_>>(),
            }),
            Wire::Chat => {
                let text = self.texts();
                let mut message =
                    json!({ "role": "assistant", "content": if text.is_empty() { Value::Null } else { text.into() } });
                if let Some(thought) = self.thoughts() {
                    message["reasoning_content"] = thought.clone().into();
                }
                if self.calls() {
                    message["tool_calls"] = self
                        .pieces
                        .iter()
                        .enumerate()
                        .filter_map(|(at, piece)| match piece {
                            Piece::Call { name, arguments } => Some(json!({
                                "id": format!("call_{at}"), "type": "function",
                                "function": { "name": name, "arguments": arguments.to_string() },
                            })),
                            _ => None,
                        })
                        .collect();
                }
                let reason = self.word("length", "tool_calls", "stop");
                json!({
                    "id": "chatcmpl-1", "object": "chat.completion", "created": 5, "model": "m", "usage": usage,
                    "choices": [{ "index": 0, "message": message, "finish_reason": reason }],
                })
            }
            Wire::Responses => {
                let status = if self.length { "incomplete" } else { "completed" };
                let details = if self.length { json!({ "reason": "max_output_tokens" }) } else { Value::Null };
                let items: Vec<Value> = self.pieces.iter().enumerate().map(|(at, piece)| item(at, piece)).collect();
                json!({
                    "id": "resp_1", "object": "response", "created_at": 5, "model": "m", "status": status, "error": null,
                    "incomplete_details": details, "output": items, "usage": usage,
                })
            }
            Wire::Gemini => json!({
                "candidates": [{
                    "content": { "role": "model", "parts": self.pieces.iter().map(gemini_part).collect::<Vec<_>>() },
                    "finishReason": self.word("MAX_TOKENS", "STOP", "STOP"), "index": 0,
                }],
                "usageMetadata": usage, "modelVersion": "m", "responseId": "r1",
            }),
        }
    }

    /// The same answer as a stream.
    pub(super) fn stream(&self, wire: Wire) -> Vec<u8> {
        let mut out = String::new();
        match wire {
            Wire::Anthropic => self.anthropic(&mut out),
            Wire::Chat => self.chat(&mut out),
            Wire::Responses => self.responses(&mut out),
            Wire::Gemini => {
                let last = self.pieces.len() - 1;
                for (at, piece) in self.pieces.iter().enumerate() {
                    let mut chunk = json!({ "candidates": [{ "content": { "role": "model", "parts": [gemini_part(piece)] }, "index": 0 }], "modelVersion": "m" });
                    if at == last {
                        chunk["candidates"][0]["finishReason"] = self.word("MAX_TOKENS", "STOP", "STOP").into();
                        chunk["usageMetadata"] = usage(wire, self);
                    }
                    write!(out, "data: {chunk}\r\n\r\n").unwrap();
                }
            }
        }
        out.into_bytes()
    }

    fn anthropic(&self, out: &mut String) {
        let mut say =
            |event: Value| write!(out, "event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()).unwrap();
        say(json!({ "type": "message_start", "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": null,
            "stop_sequence": null, "usage": { "input_tokens": self.usage.0, "output_tokens": 1 },
        } }));
        say(json!({ "type": "ping" }));
        for (index, piece) in self.pieces.iter().enumerate() {
            let (start, kind, member, text) = match piece {
                Piece::Thought(text) => (
                    json!({ "type": "thinking", "thinking": "", "signature": "" }),
                    "thinking_delta",
                    "thinking",
                    text.clone(),
                ),
                Piece::Text(text) => (json!({ "type": "text", "text": "" }), "text_delta", "text", text.clone()),
                Piece::Call { name, arguments } => (
                    json!({ "type": "tool_use", "id": format!("toolu_{index}"), "name": name, "input": {} }),
                    "input_json_delta",
                    "partial_json",
                    arguments.to_string(),
                ),
            };
            say(json!({ "type": "content_block_start", "index": index, "content_block": start }));
            for piece in cut(&text, self.cut) {
                say(json!({ "type": "content_block_delta", "index": index, "delta": { "type": kind, member: piece } }));
            }
            if let Piece::Thought(_) = piece {
                say(
                    json!({ "type": "content_block_delta", "index": index, "delta": { "type": "signature_delta", "signature": "c2ln" } }),
                );
            }
            say(json!({ "type": "content_block_stop", "index": index }));
        }
        let reason = self.word("max_tokens", "tool_use", "end_turn");
        say(
            json!({ "type": "message_delta", "delta": { "stop_reason": reason, "stop_sequence": null }, "usage": usage(Wire::Anthropic, self) }),
        );
        say(json!({ "type": "message_stop" }));
    }

    fn chat(&self, out: &mut String) {
        let mut say = |delta: Value, reason: Value| {
            let choice = json!({ "index": 0, "delta": delta, "finish_reason": reason });
            write!(
                out,
                "data: {}\n\n",
                json!({ "id": "c", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": [choice] })
            )
            .unwrap();
        };
        say(json!({ "role": "assistant", "content": "" }), Value::Null);
        let mut calls: Vec<(usize, Vec<String>)> = Vec::new();
        for (at, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Thought(text) => {
                    for piece in cut(text, self.cut) {
                        say(json!({ "reasoning_content": piece }), Value::Null);
                    }
                }
                Piece::Text(text) => {
                    for piece in cut(text, self.cut) {
                        say(json!({ "content": piece }), Value::Null);
                    }
                }
                Piece::Call { name, arguments } => {
                    let index = calls.len();
                    let start = json!({ "index": index, "id": format!("call_{at}"), "type": "function", "function": { "name": name, "arguments": "" } });
                    calls.push((index, cut(&arguments.to_string(), self.cut)));
                    say(json!({ "tool_calls": [start] }), Value::Null);
                    if !self.interleaved {
                        for piece in calls.last_mut().unwrap().1.drain(..) {
                            say(
                                json!({ "tool_calls": [{ "index": index, "function": { "arguments": piece } }] }),
                                Value::Null,
                            );
                        }
                    }
                }
            }
        }
        // What is left comes one piece of each call in turn.
        while calls.iter().any(|(_, pieces)| !pieces.is_empty()) {
            for (index, pieces) in calls.iter_mut().filter(|(_, pieces)| !pieces.is_empty()) {
                let piece = pieces.remove(0);
                say(json!({ "tool_calls": [{ "index": *index, "function": { "arguments": piece } }] }), Value::Null);
            }
        }
        say(json!({}), self.word("length", "tool_calls", "stop").into());
        write!(out, "data: {}\n\n", json!({ "id": "c", "choices": [], "usage": usage(Wire::Chat, self) })).unwrap();
        *out += "data: [DONE]\n\n";
    }

    fn responses(&self, out: &mut String) {
        let mut say =
            |event: Value| write!(out, "event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()).unwrap();
        say(
            json!({ "type": "response.created", "response": { "id": "resp_1", "model": "m", "status": "in_progress", "output": [] } }),
        );
        for (at, piece) in self.pieces.iter().enumerate() {
            let done = item(at, piece);
            let mut added = done.clone();
            let (kind, text) = match piece {
                Piece::Thought(text) => {
                    added["summary"] = json!([]);
                    ("response.reasoning_summary_text.delta", text.clone())
                }
                Piece::Text(text) => {
                    added["content"] = json!([]);
                    ("response.output_text.delta", text.clone())
                }
                Piece::Call { arguments, .. } => {
                    added["arguments"] = "".into();
                    ("response.function_call_arguments.delta", arguments.to_string())
                }
            };
            say(json!({ "type": "response.output_item.added", "output_index": at, "item": added }));
            for piece in cut(&text, self.cut) {
                say(
                    json!({ "type": kind, "output_index": at, "content_index": 0, "summary_index": 0, "item_id": "i", "delta": piece }),
                );
            }
            say(json!({ "type": "response.output_item.done", "output_index": at, "item": done }));
        }
        let kind = if self.length { "response.incomplete" } else { "response.completed" };
        say(json!({ "type": kind, "response": self.whole(Wire::Responses) }));
    }
}

fn item(at: usize, piece: &Piece) -> Value {
    match piece {
        Piece::Thought(text) => json!({
            "type": "reasoning", "id": format!("rs_{at}"), "summary": [{ "type": "summary_text", "text": text }],
            "encrypted_content": "c2ln",
        }),
        Piece::Text(text) => json!({
            "type": "message", "id": format!("msg_{at}"), "status": "completed", "role": "assistant",
            "content": [{ "type": "output_text", "text": text, "annotations": [] }],
        }),
        Piece::Call { name, arguments } => json!({
            "type": "function_call", "id": format!("fc_{at}"), "call_id": format!("call_{at}"), "name": name,
            "arguments": arguments.to_string(), "status": "completed",
        }),
    }
}

fn gemini_part(piece: &Piece) -> Value {
    match piece {
        Piece::Thought(text) => json!({ "text": text, "thought": true }),
        Piece::Text(text) => json!({ "text": text }),
        Piece::Call { name, arguments } => json!({ "functionCall": { "name": name, "args": arguments } }),
    }
}
