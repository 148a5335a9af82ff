//! What a client makes of an answer, by the rules that clients go by: from a whole body, and from a stream.

use serde_json::{Value, json};
use testkit::Wire;

/// What an answer says, on any wire.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Said {
    pub text: String,
    pub thoughts: String,
    /// Names and arguments.
    pub tools: Vec<(String, Value)>,
    pub ids: Vec<String>,
    /// Signatures and encrypted thoughts.
    pub sealed: Vec<String>,
    pub stop: Value,
    pub usage: Value,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn parsed(arguments: &str) -> Value {
    serde_json::from_str(arguments).unwrap_or_else(|_| Value::from(arguments))
}

/// Of a whole body.
pub(crate) fn whole(wire: Wire, body: &Value) -> Said {
    match wire {
        Wire::Anthropic => of_message(body),
        Wire::Chat => {
            of_completion(&body["choices"][0]["message"], &body["choices"][0]["finish_reason"], &body["usage"])
        }
        Wire::Responses => of_response(body),
        Wire::Gemini => {
            let mut said = Said::default();
            gemini_chunk(&mut said, body);
            said
        }
    }
}

/// Of a stream's events.
pub(crate) fn stream(wire: Wire, events: &[(Option<String>, Value)]) -> Said {
    match wire {
        Wire::Anthropic => anthropic(events),
        Wire::Chat => chat(events),
        Wire::Responses => responses(events),
        Wire::Gemini => {
            let mut said = Said::default();
            for (place, (name, chunk)) in events.iter().enumerate() {
                assert_eq!(name, &None);
                let is_last = place == events.len() - 1;
                assert_eq!(chunk["candidates"][0]["finishReason"].is_string(), is_last, "only the last chunk finishes");
                gemini_chunk(&mut said, chunk);
            }
            said
        }
    }
}

fn gemini_chunk(said: &mut Said, chunk: &Value) {
    for part in list(&chunk["candidates"][0]["content"]["parts"]) {
        if let Some(call) = part.get("functionCall") {
            said.tools.push((text(&call["name"]), call["args"].clone()));
            said.ids.extend(call["id"].as_str().map(str::to_owned));
        } else if part["thought"] == true {
            said.thoughts += part["text"].as_str().unwrap();
        } else {
            said.text += part["text"].as_str().unwrap();
        }
        said.sealed.extend(part["thoughtSignature"].as_str().map(str::to_owned));
    }
    said.stop = chunk["candidates"][0]["finishReason"].clone();
    said.usage = chunk["usageMetadata"].clone();
}

fn of_message(message: &Value) -> Said {
    assert_eq!((&message["type"], &message["role"]), (&json!("message"), &json!("assistant")));
    let stop = json!([message["stop_reason"], message["stop_sequence"]]);
    let mut said = Said { stop, usage: message["usage"].clone(), ..Said::default() };
    for block in list(&message["content"]) {
        match block["type"].as_str().unwrap() {
            "text" => said.text += block["text"].as_str().unwrap(),
            "thinking" => {
                said.thoughts += block["thinking"].as_str().unwrap();
                said.sealed.push(text(&block["signature"]));
            }
            "redacted_thinking" => said.sealed.push(text(&block["data"])),
            "tool_use" => {
                said.tools.push((text(&block["name"]), block["input"].clone()));
                said.ids.push(text(&block["id"]));
            }
            other => panic!("a block of type {other}"),
        }
    }
    said
}

/// Blocks come one after another, each opened and closed; usage fields of the end replace those of the start.
fn anthropic(events: &[(Option<String>, Value)]) -> Said {
    let mut message = Value::Null;
    let (mut open, mut arguments, mut is_over) = (None, String::new(), false);
    for (name, event) in events {
        let kind = event["type"].as_str().unwrap();
        assert_eq!(name.as_deref(), Some(kind));
        assert!(!is_over, "{kind} after the end");
        if kind == "ping" {
            continue;
        }
        assert_eq!(message.is_null(), kind == "message_start");
        match kind {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                let blocks = message["content"].as_array_mut().unwrap();
                assert_eq!((open, &event["index"]), (None, &json!(blocks.len())));
                open = Some(blocks.len());
                blocks.push(event["content_block"].clone());
                arguments.clear();
            }
            "content_block_delta" => {
                assert_eq!(json!(open), event["index"]);
                let block = &mut message["content"][open.unwrap()];
                let delta = &event["delta"];
                let add = |field: &mut Value, more: &Value| *field = json!(text(field) + more.as_str().unwrap());
                match delta["type"].as_str().unwrap() {
                    "text_delta" => add(&mut block["text"], &delta["text"]),
                    "thinking_delta" => add(&mut block["thinking"], &delta["thinking"]),
                    "signature_delta" => add(&mut block["signature"], &delta["signature"]),
                    "input_json_delta" => arguments += delta["partial_json"].as_str().unwrap(),
                    other => panic!("a delta of type {other}"),
                }
            }
            "content_block_stop" => {
                let block = &mut message["content"][open.take().unwrap()];
                if block["type"] == "tool_use" {
                    block["input"] = parsed(&arguments);
                }
            }
            "message_delta" => {
                assert_eq!(open, None);
                for (field, value) in event["delta"].as_object().unwrap() {
                    message[field] = value.clone();
                }
                for (field, value) in event["usage"].as_object().unwrap() {
                    message["usage"][field] = value.clone();
                }
            }
            "message_stop" => is_over = true,
            other => panic!("an event of type {other}"),
        }
    }
    assert!(is_over, "no message_stop");
    of_message(&message)
}

fn of_completion(message: &Value, finish: &Value, usage: &Value) -> Said {
    assert_eq!(message["role"], "assistant");
    let calls: Vec<&Value> = list(&message["tool_calls"]).collect();
    assert!(calls.iter().all(|call| call["type"] == "function"));
    let call = |call: &&Value| {
        let function = &call["function"];
        (text(&function["name"]), parsed(function["arguments"].as_str().unwrap()))
    };
    Said {
        text: text(&message["content"]),
        thoughts: text(&message["reasoning_content"]),
        tools: calls.iter().map(call).collect(),
        ids: calls.iter().map(|call| text(&call["id"])).collect(),
        sealed: Vec::new(),
        stop: finish.clone(),
        usage: usage.clone(),
    }
}

/// The role comes first, then pieces, then a finish with an empty delta, then usage, then the end.
fn chat(events: &[(Option<String>, Value)]) -> Said {
    let (done, chunks) = events.split_last().unwrap();
    assert_eq!(done, &(None, json!("[DONE]")));
    let mut message = json!({});
    let (mut finish, mut usage) = (Value::Null, Value::Null);
    for (place, (name, chunk)) in chunks.iter().enumerate() {
        assert_eq!((name, &chunk["id"]), (&None, &chunks[0].1["id"]));
        if chunk["choices"].as_array().unwrap().is_empty() {
            assert_eq!(place, chunks.len() - 1, "usage comes last");
            usage = chunk["usage"].clone();
            continue;
        }
        assert!(chunk["usage"].is_null() && finish.is_null());
        let delta = &chunk["choices"][0]["delta"];
        assert_eq!(delta.get("role").is_some(), place == 0);
        finish = chunk["choices"][0]["finish_reason"].clone();
        assert!(finish.is_null() || delta == &json!({}));
        for field in ["role", "content", "reasoning_content"] {
            if let Some(more) = delta.get(field).and_then(Value::as_str) {
                message[field] = json!(text(&message[field]) + more);
            }
        }
        for piece in list(&delta["tool_calls"]) {
            let index = usize::try_from(piece["index"].as_u64().unwrap()).unwrap();
            if piece.get("id").is_some() {
                assert_eq!(list(&message["tool_calls"]).count(), index, "calls begin in order");
                let mut calls: Vec<Value> = list(&message["tool_calls"]).cloned().collect();
                calls.push(piece.clone());
                message["tool_calls"] = json!(calls);
            } else {
                let arguments = &mut message["tool_calls"][index]["function"]["arguments"];
                *arguments = json!(text(arguments) + piece["function"]["arguments"].as_str().unwrap());
            }
        }
    }
    of_completion(&message, &finish, &usage)
}

fn of_response(response: &Value) -> Said {
    let stop = json!([response["status"], response["incomplete_details"]]);
    let mut said = Said { stop, usage: response["usage"].clone(), ..Said::default() };
    for item in list(&response["output"]) {
        match item["type"].as_str().unwrap() {
            "message" => said.text += item["content"][0]["text"].as_str().unwrap(),
            "reasoning" => {
                said.thoughts += &list(&item["summary"]).map(|part| text(&part["text"])).collect::<String>();
                said.sealed.extend(item["encrypted_content"].as_str().map(str::to_owned));
            }
            "function_call" => {
                said.tools.push((text(&item["name"]), parsed(item["arguments"].as_str().unwrap())));
                said.ids.push(text(&item["call_id"]));
            }
            other => panic!("an item of type {other}"),
        }
    }
    said
}

/// Built from the pieces alone; the finished items and the finished response must then say the same.
fn responses(events: &[(Option<String>, Value)]) -> Said {
    let mut items: Vec<Value> = Vec::new();
    let mut last = Value::Null;
    for (number, (name, event)) in events.iter().enumerate() {
        let kind = event["type"].as_str().unwrap();
        assert_eq!((name.as_deref(), &event["sequence_number"]), (Some(kind), &json!(number)));
        assert!(last.is_null(), "{kind} after the end");
        let place = event["output_index"].as_u64().map_or(0, |place| usize::try_from(place).unwrap());
        if let Some(id) = event.get("item_id") {
            assert_eq!(&items[place]["id"], id, "{kind}");
        }
        let add = |field: &mut Value| *field = json!(text(field) + event["delta"].as_str().unwrap());
        match kind {
            "response.created" | "response.in_progress" => assert_eq!(event["response"]["status"], "in_progress"),
            "response.output_item.added" => {
                assert_eq!(place, items.len(), "none is skipped");
                items.push(event["item"].clone());
            }
            "response.content_part.added" => items[place]["content"] = json!([event["part"]]),
            "response.reasoning_summary_part.added" => items[place]["summary"] = json!([event["part"]]),
            "response.output_text.delta" => add(&mut items[place]["content"][0]["text"]),
            "response.reasoning_summary_text.delta" => add(&mut items[place]["summary"][0]["text"]),
            "response.function_call_arguments.delta" => add(&mut items[place]["arguments"]),
            "response.output_text.done" => assert_eq!(items[place]["content"][0]["text"], event["text"]),
            "response.reasoning_summary_text.done" => assert_eq!(items[place]["summary"][0]["text"], event["text"]),
            "response.function_call_arguments.done" => assert_eq!(items[place]["arguments"], event["arguments"]),
            "response.content_part.done" => assert_eq!(items[place]["content"][0], event["part"]),
            "response.reasoning_summary_part.done" => assert_eq!(items[place]["summary"][0], event["part"]),
            "response.output_item.done" => {
                if items[place].get("status").is_some() {
                    items[place]["status"] = json!("completed");
                }
                assert_eq!(items[place], event["item"]);
            }
            "response.completed" | "response.incomplete" => {
                assert_eq!(kind, format!("response.{}", event["response"]["status"].as_str().unwrap()));
                last = event["response"].clone();
            }
            other => panic!("an event of type {other}"),
        }
    }
    assert_eq!(last["output"], json!(items));
    of_response(&last)
}
