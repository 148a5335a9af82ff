//! Requests made at random.

use proptest::{collection::vec, option, prelude::*, string::string_regex};
use serde_json::{Value, json};

use super::{NAMES, arguments, text};
use crate::Wire;

/// A conversation that all four wires can hold.
#[derive(Clone, Debug)]
pub(in super::super) struct Wanted {
    pub(in super::super) system: Option<String>,
    pub(in super::super) rounds: Vec<Round>,
    pub(in super::super) tools: bool,
    pub(in super::super) max_tokens: u64,
    pub(in super::super) temperature: Option<f64>,
    pub(in super::super) stop: Vec<String>,
    pub(in super::super) choice: Option<u8>,
    pub(in super::super) schema: bool,
    /// A member that no vendor has, in the places that may have one.
    pub(in super::super) future: bool,
    /// Calls come without ids, where a wire can do that.
    pub(in super::super) nameless: bool,
}

#[derive(Clone, Debug)]
pub(in super::super) struct Round {
    pub(in super::super) text: String,
    pub(in super::super) image: Option<String>,
    /// What the model thought before it said something, signed for its own vendor.
    pub(in super::super) thought: Option<String>,
    pub(in super::super) reply: Option<String>,
    pub(in super::super) calls: Vec<(Value, String)>,
}

pub(in super::super) fn wanted() -> impl Strategy<Value = Wanted> {
    // Read once, not for every case.
    let (data, word) = (string_regex("[A-Za-z0-9+/]{8}").unwrap(), string_regex("[a-z]{1,4}").unwrap());
    let round =
        (text(), option::weighted(0.3, data), option::of(text()), vec((arguments(), text()), 0..4), option::of(text()))
            .prop_map(|(text, image, reply, calls, thought)| {
                let thought = thought.filter(|_| reply.is_some() || !calls.is_empty());
                Round { text, image, thought, reply, calls }
            });
    (
        (option::of(text()), vec(round, 1..3), 16..9000u64, option::of((0..5u8).prop_map(|n| f64::from(n) / 4.0))),
        (vec(word, 0..4), option::of(0..4u8), any::<bool>(), any::<bool>(), any::<bool>()),
    )
        .prop_map(|((system, rounds, max_tokens, temperature), (stop, choice, schema, future, nameless))| {
            let tools = rounds.iter().any(|round| !round.calls.is_empty()) || choice.is_some();
            Wanted { system, rounds, tools, max_tokens, temperature, stop, choice, schema, future, nameless }
        })
}

pub(in super::super) fn schema() -> Value {
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
    pub(in super::super) fn body(&self, wire: Wire) -> Value {
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
            let thought = round.thought.iter();
            let mut content: Vec<Value> = thought
                .map(|text| json!({ "type": "thinking", "thinking": text, "signature": "c2ln" }))
                .chain(round.reply.iter().map(|text| json!({ "type": "text", "text": text })))
                .collect();
            let mut results = Vec::new();
            for (at, (arguments, result)) in round.calls.iter().enumerate() {
                let id = format!("call_{number}_{at}");
                content.push(json!({ "type": "tool_use", "id": id, "name": NAMES[at % 2], "input": arguments }));
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
                        "function": { "name": NAMES[at % 2], "arguments": arguments.to_string() },
                    })
                })
                .collect();
            if round.reply.is_some() || !calls.is_empty() {
                let mut reply = json!({ "role": "assistant", "content": round.reply });
                if let Some(thought) = &round.thought {
                    reply["reasoning_content"] = thought.clone().into();
                }
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
            input.extend(round.thought.iter().map(|text| {
                json!({
                    "type": "reasoning", "id": format!("rs_{number}"), "encrypted_content": "c2ln",
                    "summary": [{ "type": "summary_text", "text": text }],
                })
            }));
            if let Some(reply) = &round.reply {
                input.push(json!({ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": reply }] }));
            }
            for (at, (arguments, _)) in round.calls.iter().enumerate() {
                input.push(json!({
                    "type": "function_call", "call_id": format!("call_{number}_{at}"), "name": NAMES[at % 2],
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
                let mut call = json!({ "name": NAMES[at % 2], "args": arguments });
                let mut response = json!({ "name": NAMES[at % 2], "response": { "output": result } });
                if !self.nameless {
                    let id = format!("call_{number}_{at}");
                    (call["id"], response["id"]) = (id.clone().into(), id.into());
                }
                parts.push(json!({ "functionCall": call }));
                results.push(json!({ "functionResponse": response }));
            }
            if let Some(thought) = &round.thought {
                // It signs the part after it.
                parts[0]["thoughtSignature"] = "c2ln".into();
                parts.insert(0, json!({ "text": thought, "thought": true }));
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
