//! What a client holds a stream to: its order, its numbers, its ends.

use std::collections::BTreeSet;

use serde_json::Value;

use super::support::{frames, value};
use crate::Wire;

pub(super) fn check_shape(to: Wire, bytes: &[u8]) {
    let frames = frames(bytes);
    let events: Vec<Value> = frames.iter().filter(|frame| *frame != b"[DONE]").map(|frame| value(frame)).collect();
    match to {
        Wire::Anthropic => anthropic(&events),
        Wire::Chat => {
            assert_eq!(
                frames.iter().position(|frame| frame == b"[DONE]"),
                Some(frames.len() - 1),
                "the end comes last"
            );
            chat(&events);
        }
        Wire::Responses => responses(&events),
        Wire::Gemini => gemini(&events),
    }
}

/// Every call has an id of its own, and arguments that are an object.
fn calls<'c>(calls: impl IntoIterator<Item = (&'c Value, Value)>) {
    let mut ids = BTreeSet::new();
    for (id, arguments) in calls {
        assert!(ids.insert(id.as_str().filter(|id| !id.is_empty()).unwrap()), "{id} is there twice");
        assert!(arguments.is_object(), "{arguments}");
    }
}

fn parsed(arguments: &str) -> Value {
    if arguments.is_empty() { Value::Object(serde_json::Map::new()) } else { value(arguments.as_bytes()) }
}

fn anthropic(events: &[Value]) {
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds.first(), Some(&"message_start"));
    assert_eq!(kinds[kinds.len() - 2..], ["message_delta", "message_stop"]);
    let (mut open, mut next): (Option<u64>, u64) = (None, 0);
    let mut called: Vec<(&Value, String)> = Vec::new();
    for event in &events[1..events.len() - 2] {
        let index = event["index"].as_u64().unwrap();
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!((open.replace(index), index), (None, next));
                next += 1;
                if event["content_block"]["type"] == "tool_use" {
                    called.push((&event["content_block"]["id"], String::new()));
                }
            }
            "content_block_delta" => {
                assert_eq!(open, Some(index));
                if let Some(piece) = event["delta"]["partial_json"].as_str() {
                    called.last_mut().unwrap().1.push_str(piece);
                }
            }
            "content_block_stop" => assert_eq!(open.take(), Some(index)),
            other => panic!("{other}"),
        }
    }
    assert_eq!(open, None);
    calls(called.iter().map(|(id, arguments)| (*id, parsed(arguments))));
}

fn chat(events: &[Value]) {
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let finish = events.iter().position(|event| event["choices"][0]["finish_reason"].is_string());
    let finishes = events.iter().filter(|event| event["choices"][0]["finish_reason"].is_string()).count();
    let usages = events.iter().filter(|event| event["usage"].is_object()).count();
    assert_eq!((finishes, usages), (1, 1));
    assert_eq!(finish, Some(events.len() - 2), "behind the finish comes the usage alone");
    assert!(events[events.len() - 1]["usage"].is_object());
    assert!(events.iter().all(|event| event["id"] == events[0]["id"]));
    let mut called: Vec<(&Value, String)> = Vec::new();
    for call in events.iter().filter_map(|event| event["choices"][0]["delta"]["tool_calls"].get(0)) {
        let index = call["index"].as_u64().unwrap();
        if call["id"].is_string() {
            assert_eq!(index, called.len() as u64);
            called.push((&call["id"], String::new()));
        }
        assert_eq!(index + 1, called.len() as u64, "pieces of one call at a time");
        called.last_mut().unwrap().1.push_str(call["function"]["arguments"].as_str().unwrap());
    }
    calls(called.iter().map(|(id, arguments)| (*id, parsed(arguments))));
}

fn responses(events: &[Value]) {
    for (at, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], at as u64);
    }
    let kind = |event: &Value| event["type"].as_str().unwrap().to_owned();
    assert_eq!([kind(&events[0]), kind(&events[1])], ["response.created", "response.in_progress"]);
    let ends = |event: &&Value| matches!(kind(event).as_str(), "response.completed" | "response.incomplete");
    let last = events.last().unwrap();
    assert!(ends(&last) && events.iter().filter(ends).count() == 1);
    let (mut added, mut done) = (Vec::new(), Vec::new());
    // The part of the item that is open, by its number, and how many the item has.
    let (mut part, mut parts): (Option<Value>, u64) = (None, 0);
    for event in events {
        let number = if event["content_index"].is_null() { &event["summary_index"] } else { &event["content_index"] };
        match kind(event).as_str() {
            "response.output_item.added" => {
                assert_eq!(event["output_index"], done.len() as u64);
                assert_eq!(added.len(), done.len(), "one item after another");
                added.push(event["item"]["id"].clone());
                parts = 0;
            }
            "response.output_item.done" => {
                assert_eq!((event["item"]["id"].clone(), &part), (added[done.len()].clone(), &None));
                done.push(event["item"].clone());
            }
            "response.content_part.added" | "response.reasoning_summary_part.added" => {
                assert_eq!((part.replace(number.clone()), number), (None, &Value::from(parts)));
                parts += 1;
            }
            "response.content_part.done" | "response.reasoning_summary_part.done" => {
                assert_eq!(part.take().as_ref(), Some(number));
            }
            name if name.rsplit('.').next() == Some("delta") => {
                assert_eq!(event["item_id"], added[done.len()]);
                assert_eq!(event["output_index"], done.len() as u64);
                assert!(number.is_null() || part.as_ref() == Some(number), "a piece of what is not open: {event}");
            }
            _ => {}
        }
    }
    let called = done.iter().filter(|item| item["type"] == "function_call");
    calls(called.map(|item| (&item["call_id"], parsed(item["arguments"].as_str().unwrap()))));
    assert_eq!(last["response"]["output"], Value::from(done.clone()));
}

fn gemini(events: &[Value]) {
    let finishes = events.iter().filter(|event| event["candidates"][0]["finishReason"].is_string()).count();
    let last = events.last().unwrap();
    assert_eq!(finishes, 1);
    assert!(last["candidates"][0]["finishReason"].is_string() && last["usageMetadata"].is_object());
    let parts = events.iter().filter_map(|event| event["candidates"][0]["content"]["parts"].as_array()).flatten();
    let called = parts.filter_map(|part| part.get("functionCall"));
    calls(called.map(|call| (&call["id"], call["args"].clone())));
}
