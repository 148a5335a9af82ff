//! What an unscripted request is answered: directives in its last user text, so that real client programs can be led.
//!
//! | directive | answer |
//! | --- | --- |
//! | `[[say TEXT]]` | exactly that text |
//! | `[[think TEXT]]` | that thought, then an answer |
//! | `[[tool NAME {"a":1}]]` | that call, if tools are offered; its result is then answered `tool said: RESULT` |
//! | `[[tools NAME {…} NAME {…}]]` | several calls at once |
//! | `[[error NAME]]` | that error; the names are those of `error_named` |
//! | `[[cut]]`, `[[stall]]` | a stream that breaks, or stops, in its middle |
//! | `[[slow MS]]` | a pause before every event |
//! | `[[burst N]]` | a stream of N events in one write |
//!
//! Anything else is answered by a friendly sentence.

use serde_json::Value;
use std::time::Duration;

use crate::errors::{ErrorShape, Limit};
use crate::reply::{Reply, pieces_of};
use crate::wires::Wire;

/// Most events of a burst.
const BURST_MAX: usize = 100_000;

/// The answer to a request that nothing was scripted for.
pub(crate) fn reply(wire: Wire, body: &Value, model: &str) -> Reply {
    let last = Last::of(wire, body);
    let Some(directive) = find(&last.text) else {
        return match last.tool_result {
            Some(result) => Reply::text(pieces_of(&format!("tool said: {result}"))),
            None => friendly(model),
        };
    };
    let (word, rest) = directive.split_once(' ').unwrap_or((directive, ""));
    match (word, &last.tool_result) {
        ("tool" | "tools", Some(result)) => Reply::text(pieces_of(&format!("tool said: {result}"))),
        ("tool" | "tools", None) if offers_tools(body) => calls(rest),
        ("say", _) => Reply::text(pieces_of(rest)),
        ("think", _) => Reply::nothing().thinking(rest).say(["Done ", "thinking."]),
        ("error", _) => Reply::error(error_named(rest)),
        ("cut", _) => Reply::text(pieces_of(&"This answer breaks off. ".repeat(4))).cut_after(7),
        ("stall", _) => Reply::text(pieces_of(&"This answer stops. ".repeat(4))).stall_after(7),
        ("slow", _) => friendly(model).gap(Duration::from_millis(rest.trim().parse().unwrap_or(100))),
        ("burst", _) => {
            let events = rest.trim().parse().unwrap_or(100).min(BURST_MAX);
            Reply::text(std::iter::repeat_n("lorem ", events)).in_one_write()
        }
        _ => friendly(model),
    }
}

fn friendly(model: &str) -> Reply {
    Reply::text(["Hello! ", "This is ", "the scripted ", "upstream, ", "answering ", "as ", model, "."])
}

/// The directive's inside: from the last `[[` that has a `]]` behind it.
fn find(text: &str) -> Option<&str> {
    let start = text.rfind("[[")? + 2;
    let rest = &text[start..];
    // Arguments may end in brackets of their own: the outermost pair counts.
    let mut end = rest.find("]]")?;
    while rest[end + 1..].starts_with("]]") {
        end += 1;
    }
    Some(rest[..end].trim())
}

fn offers_tools(body: &Value) -> bool {
    body["tools"].as_array().is_some_and(|tools| !tools.is_empty())
}

/// `NAME {…} NAME {…}` as calls.
fn calls(mut rest: &str) -> Reply {
    let mut reply = Reply::nothing();
    while let Some((name, after)) = rest.trim_start().split_once(' ') {
        let mut values = serde_json::Deserializer::from_str(after).into_iter::<Value>();
        let Some(Ok(arguments)) = values.next() else { break };
        reply = reply.tool(name, &arguments);
        rest = &after[values.byte_offset()..];
    }
    reply
}

/// An error by the name that directives use.
fn error_named(name: &str) -> ErrorShape {
    match name.trim() {
        "rate_limited" => ErrorShape::RateLimited { limit: Limit::Requests, retry_after_s: Some(7) },
        "overloaded" => ErrorShape::Overloaded,
        "bad_request" => {
            ErrorShape::InvalidRequest { field: "messages".to_owned(), message: "scripted to be wrong".to_owned() }
        }
        "auth" => ErrorShape::BadKey,
        "permission" => ErrorShape::PermissionDenied,
        "unknown_model" => ErrorShape::UnknownModel,
        "context_too_long" => ErrorShape::ContextTooLong,
        "quota" => ErrorShape::CreditExhausted,
        "timeout" => ErrorShape::Timeout,
        _ => ErrorShape::Server,
    }
}

/// What the conversation ends with.
#[derive(Debug, Default)]
struct Last {
    /// The last words of the user.
    text: String,
    tool_result: Option<String>,
}

impl Last {
    fn of(wire: Wire, body: &Value) -> Self {
        match wire {
            Wire::Anthropic | Wire::Chat => Self::of_messages(&body["messages"]),
            Wire::Responses => Self::of_input(&body["input"]),
            Wire::Gemini => Self::of_contents(&body["contents"]),
        }
    }

    fn of_messages(messages: &Value) -> Self {
        let messages = messages.as_array().map_or(&[][..], Vec::as_slice);
        let mut last = Self::default();
        // Chat has a message per result, Anthropic a block.
        if let Some(message) = messages.last() {
            last.tool_result = if message["role"] == "tool" {
                Some(texts(&message["content"]))
            } else {
                let blocks = message["content"].as_array().map_or(&[][..], Vec::as_slice);
                blocks.iter().find(|block| block["type"] == "tool_result").map(|block| texts(&block["content"]))
            };
        }
        last.text = with_directive(
            messages.iter().rev().filter(|message| message["role"] == "user").map(|message| texts(&message["content"])),
        );
        last
    }

    fn of_input(input: &Value) -> Self {
        if let Some(text) = input.as_str() {
            return Self { text: text.to_owned(), tool_result: None };
        }
        let items = input.as_array().map_or(&[][..], Vec::as_slice);
        let output = items.last().filter(|item| {
            item["type"]
                .as_str()
                .is_some_and(|kind| kind == "function_call_output" || kind == "custom_tool_call_output")
        });
        Self {
            tool_result: output.map(|item| texts(&item["output"])),
            text: with_directive(
                items.iter().rev().filter(|item| item["role"] == "user").map(|item| texts(&item["content"])),
            ),
        }
    }

    fn of_contents(contents: &Value) -> Self {
        let contents = contents.as_array().map_or(&[][..], Vec::as_slice);
        let parts = |content: &Value| content["parts"].as_array().cloned().unwrap_or_default();
        let response = contents.last().and_then(|content| {
            parts(content).iter().find_map(|part| {
                let response = part.get("functionResponse").or_else(|| part.get("function_response"))?;
                Some(response["response"].clone())
            })
        });
        Self {
            tool_result: response.map(|response| match &response["output"] {
                Value::String(output) => output.clone(),
                _ => response.to_string(),
            }),
            text: with_directive(
                contents
                    .iter()
                    .rev()
                    .filter(|content| content["role"] != "model")
                    .map(|content| texts(&content["parts"])),
            ),
        }
    }
}

/// The newest text that holds a directive and is not older than the newest words; tool results come between.
fn with_directive(newest_first: impl Iterator<Item = String>) -> String {
    newest_first.into_iter().find(|text| !text.trim().is_empty()).unwrap_or_default()
}

/// Every text of a message's content, on any wire.
fn texts(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let all: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
            all.join("\n")
        }
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
