//! Requests and answers made at random, and how each vendor writes them: by hand, not by the encoders under test.

use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};

use crate::Wire;

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
    const SNIPPETS: [&str; 16] = [
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
                    out += &format!("data: {chunk}\r\n\r\n");
                }
            }
        }
        out.into_bytes()
    }

    fn anthropic(&self, out: &mut String) {
        let mut say = |event: Value| *out += &format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
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
            *out += &format!(
                "data: {}\n\n",
                json!({ "id": "c", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": [choice] })
            );
        };
        say(json!({ "role": "assistant", "content": "" }), Value::Null);
        let mut calls: Vec<(usize, Vec<String>)> = Vec::new();
        for (at, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Thought(text) => cut(text, self.cut)
                    .into_iter()
                    .for_each(|piece| say(json!({ "reasoning_content": piece }), Value::Null)),
                Piece::Text(text) => {
                    cut(text, self.cut).into_iter().for_each(|piece| say(json!({ "content": piece }), Value::Null))
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
        *out += &format!("data: {}\n\n", json!({ "id": "c", "choices": [], "usage": usage(Wire::Chat, self) }));
        *out += "data: [DONE]\n\n";
    }

    fn responses(&self, out: &mut String) {
        let mut say = |event: Value| *out += &format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
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

/// A conversation that all four wires can hold.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) system: Option<String>,
    pub(super) rounds: Vec<Round>,
    pub(super) tools: bool,
    pub(super) max_tokens: u64,
    pub(super) temperature: Option<f64>,
    pub(super) stop: Vec<String>,
    pub(super) choice: Option<u8>,
    pub(super) schema: bool,
    /// A member that no vendor has, in the places that may have one.
    pub(super) future: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) text: String,
    pub(super) image: Option<String>,
    pub(super) reply: Option<String>,
    pub(super) calls: Vec<(Value, String)>,
}

pub(super) fn wanted() -> impl Strategy<Value = Wanted> {
    let round =
        (text(), option::weighted(0.3, "[A-Za-z0-9+/]{8}"), option::of(text()), vec((arguments(), text()), 0..3))
            .prop_map(|(text, image, reply, calls)| Round { text, image, reply, calls });
    (
        (option::of(text()), vec(round, 1..4), 16..9000u64, option::of((0..5u8).prop_map(|n| f64::from(n) / 4.0))),
        (vec("[a-z]{1,4}", 0..4), option::of(0..4u8), any::<bool>(), any::<bool>()),
    )
        .prop_map(|((system, rounds, max_tokens, temperature), (stop, choice, schema, future))| {
            let tools = rounds.iter().any(|round| !round.calls.is_empty()) || choice.is_some();
            Wanted { system, rounds, tools, max_tokens, temperature, stop, choice, schema, future }
        })
}

pub(super) fn schema() -> Value {
    json!({
        "type": "object", "properties": { "zeta": { "type": "string" }, "alpha": { "type": ["integer", "null"] } },
        "required": ["zeta"], "additionalProperties": false,
    })
}

impl Wanted {
    fn put_future(&self, node: &mut Value) {
        if self.future {
            node["xFuture"] = json!({ "deep": [1, "two"] });
            node["xNull"] = Value::Null;
        }
    }

    fn image(data: &str, wire: Wire) -> Value {
        match wire {
            Wire::Anthropic => {
                json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": data } })
            }
            Wire::Chat => {
                json!({ "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{data}") } })
            }
            Wire::Responses => json!({ "type": "input_image", "image_url": format!("data:image/png;base64,{data}") }),
            Wire::Gemini => json!({ "inlineData": { "mimeType": "image/png", "data": data } }),
        }
    }

    /// The request as `wire` has it.
    pub(super) fn body(&self, wire: Wire) -> Value {
        let mut body = match wire {
            Wire::Anthropic => self.anthropic(),
            Wire::Chat => self.chat(),
            Wire::Responses => self.responses(),
            Wire::Gemini => self.gemini(),
        };
        self.put_future(&mut body);
        body
    }

    fn anthropic(&self) -> Value {
        let mut messages = Vec::new();
        for (number, round) in self.rounds.iter().enumerate() {
            let mut user = json!({ "role": "user", "content": round.text });
            if let Some(image) = &round.image {
                let mut text = json!({ "type": "text", "text": round.text, "cache_control": { "type": "ephemeral" } });
                self.put_future(&mut text);
                user["content"] = json!([text, Self::image(image, Wire::Anthropic)]);
            }
            messages.push(user);
            let mut content: Vec<Value> =
                round.reply.iter().map(|text| json!({ "type": "text", "text": text })).collect();
            let mut results = Vec::new();
            for (at, (arguments, result)) in round.calls.iter().enumerate() {
                let id = format!("call_{number}_{at}");
                content.push(json!({ "type": "tool_use", "id": id, "name": NAMES[at % 3], "input": arguments }));
                results.push(json!({ "type": "tool_result", "tool_use_id": id, "content": result }));
            }
            if !content.is_empty() {
                messages.push(json!({ "role": "assistant", "content": content }));
            }
            if !results.is_empty() {
                messages.push(json!({ "role": "user", "content": results }));
            }
        }
        let mut body = json!({ "model": "m", "max_tokens": self.max_tokens, "messages": messages });
        if let Some(system) = &self.system {
            body["system"] = json!([{ "type": "text", "text": system }]);
        }
        self.common(&mut body, "temperature", "stop_sequences");
        if self.tools {
            body["tools"] = NAMES
                .iter()
                .map(|name| json!({ "name": name, "description": "d", "input_schema": schema() }))
                .collect();
            let choices = [
                json!({ "type": "auto" }),
                json!({ "type": "none" }),
                json!({ "type": "any" }),
                json!({ "type": "tool", "name": NAMES[1] }),
            ];
            if let Some(choice) = self.choice {
                body["tool_choice"] = choices[usize::from(choice)].clone();
            }
        }
        if self.schema {
            body["output_config"] = json!({ "format": { "type": "json_schema", "schema": schema() } });
        }
        body
    }

    fn common(&self, body: &mut Value, temperature: &str, stop: &str) {
        if let Some(value) = self.temperature {
            body[temperature] = value.into();
        }
        if !self.stop.is_empty() && !stop.is_empty() {
            body[stop] = self.stop.clone().into();
        }
    }

    fn chat(&self) -> Value {
        let mut messages: Vec<Value> =
            self.system.iter().map(|text| json!({ "role": "system", "content": text })).collect();
        for (number, round) in self.rounds.iter().enumerate() {
            let mut user = json!({ "role": "user", "content": round.text });
            if let Some(image) = &round.image {
                user["content"] = json!([{ "type": "text", "text": round.text }, Self::image(image, Wire::Chat)]);
                self.put_future(&mut user);
            }
            messages.push(user);
            let calls: Vec<Value> = round
                .calls
                .iter()
                .enumerate()
                .map(|(at, (arguments, _))| {
                    json!({
                        "id": format!("call_{number}_{at}"), "type": "function",
                        "function": { "name": NAMES[at % 3], "arguments": arguments.to_string() },
                    })
                })
                .collect();
            if round.reply.is_some() || !calls.is_empty() {
                let mut reply = json!({ "role": "assistant", "content": round.reply });
                if !calls.is_empty() {
                    reply["tool_calls"] = calls.into();
                }
                messages.push(reply);
            }
            for (at, (_, result)) in round.calls.iter().enumerate() {
                messages
                    .push(json!({ "role": "tool", "tool_call_id": format!("call_{number}_{at}"), "content": result }));
            }
        }
        let mut body = json!({ "model": "m", "max_completion_tokens": self.max_tokens, "messages": messages });
        self.common(&mut body, "temperature", "stop");
        if self.tools {
            body["tools"] = NAMES
                .iter()
                .map(|name| {
                    json!({
                        "type": "function", "function": { "name": name, "description": "d", "parameters": schema() },
                    })
                })
                .collect();
            let choices = [
                json!("auto"),
                json!("none"),
                json!("required"),
                json!({ "type": "function", "function": { "name": NAMES[1] } }),
            ];
            if let Some(choice) = self.choice {
                body["tool_choice"] = choices[usize::from(choice)].clone();
            }
        }
        if self.schema {
            body["response_format"] =
                json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": schema() } });
        }
        body
    }

    fn responses(&self) -> Value {
        let mut input = Vec::new();
        for (number, round) in self.rounds.iter().enumerate() {
            let mut user = json!({ "role": "user", "content": round.text });
            if let Some(image) = &round.image {
                user["content"] =
                    json!([{ "type": "input_text", "text": round.text }, Self::image(image, Wire::Responses)]);
                self.put_future(&mut user);
            }
            input.push(user);
            if let Some(reply) = &round.reply {
                input.push(json!({ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": reply }] }));
            }
            for (at, (arguments, _)) in round.calls.iter().enumerate() {
                input.push(json!({
                    "type": "function_call", "call_id": format!("call_{number}_{at}"), "name": NAMES[at % 3],
                    "arguments": arguments.to_string(),
                }));
            }
            for (at, (_, result)) in round.calls.iter().enumerate() {
                input.push(json!({ "type": "function_call_output", "call_id": format!("call_{number}_{at}"), "output": result }));
            }
        }
        let mut body = json!({ "model": "m", "max_output_tokens": self.max_tokens, "input": input, "store": false });
        if let Some(system) = &self.system {
            body["instructions"] = system.clone().into();
        }
        self.common(&mut body, "temperature", "");
        if self.tools {
            body["tools"] = NAMES
                .iter()
                .map(|name| {
                    json!({
                        "type": "function", "name": name, "description": "d", "parameters": schema(), "strict": false,
                    })
                })
                .collect();
            let choices =
                [json!("auto"), json!("none"), json!("required"), json!({ "type": "function", "name": NAMES[1] })];
            if let Some(choice) = self.choice {
                body["tool_choice"] = choices[usize::from(choice)].clone();
            }
        }
        if self.schema {
            body["text"] = json!({ "format": { "type": "json_schema", "name": "answer", "schema": schema() } });
        }
        body
    }

    fn gemini(&self) -> Value {
        let mut contents = Vec::new();
        for (number, round) in self.rounds.iter().enumerate() {
            let mut text = json!({ "text": round.text });
            self.put_future(&mut text);
            let mut parts = vec![text];
            parts.extend(round.image.iter().map(|image| Self::image(image, Wire::Gemini)));
            contents.push(json!({ "role": "user", "parts": parts }));
            let mut parts: Vec<Value> = round.reply.iter().map(|text| json!({ "text": text })).collect();
            let mut results = Vec::new();
            for (at, (arguments, result)) in round.calls.iter().enumerate() {
                let id = format!("call_{number}_{at}");
                parts.push(json!({ "functionCall": { "id": id, "name": NAMES[at % 3], "args": arguments } }));
                results.push(json!({ "functionResponse": { "id": id, "name": NAMES[at % 3], "response": { "output": result } } }));
            }
            if !parts.is_empty() {
                contents.push(json!({ "role": "model", "parts": parts }));
            }
            if !results.is_empty() {
                contents.push(json!({ "role": "user", "parts": results }));
            }
        }
        let mut body = json!({ "contents": contents, "generationConfig": { "maxOutputTokens": self.max_tokens } });
        if let Some(system) = &self.system {
            body["systemInstruction"] = json!({ "parts": [{ "text": system }] });
        }
        self.common(&mut body["generationConfig"], "temperature", "stopSequences");
        if self.tools {
            let functions: Vec<Value> = NAMES
                .iter()
                .map(|name| json!({ "name": name, "description": "d", "parametersJsonSchema": schema() }))
                .collect();
            body["tools"] = json!([{ "functionDeclarations": functions }]);
            let choices = [
                json!({ "mode": "AUTO" }),
                json!({ "mode": "NONE" }),
                json!({ "mode": "ANY" }),
                json!({ "mode": "ANY", "allowedFunctionNames": [NAMES[1]] }),
            ];
            if let Some(choice) = self.choice {
                body["toolConfig"] = json!({ "functionCallingConfig": choices[usize::from(choice)] });
            }
        }
        if self.schema {
            body["generationConfig"]["responseMimeType"] = "application/json".into();
            body["generationConfig"]["responseJsonSchema"] = schema();
        }
        body
    }
}
