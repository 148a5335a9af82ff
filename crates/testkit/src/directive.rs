//! What an unscripted request is answered: directives in its last user text, so that real client programs can be led.
//!
//! | directive | answer |
//! | --- | --- |
//! | `[[say TEXT]]` | exactly that text |
//! | `[[think TEXT]]` | that thought, then an answer |
//! | `[[tool NAME {"a":1}]]` | that call, if tools are offered; its result is then answered `tool said: RESULT` |
//! | `[[tools NAME {…} NAME {…}]]` | several calls at once; several results are answered line by line |
//! | `[[error NAME]]` | that error; the names are those of `error_named` |
//! | `[[fail]]`, `[[cut]]`, `[[stall]]` | a stream that ends in an error event, breaks or stops in its middle |
//! | `[[slow MS]]` | a pause before every event |
//! | `[[burst N]]` | a stream of N events in one write |
//!
//! Anything else is answered by a friendly sentence. Text completions know the same words; routes without words of their own
//! to answer with know `error` alone, and transcripts also `say`.

use serde_json::Value;
use std::time::Duration;

use crate::errors::{ErrorShape, Limit};
use crate::reply::{Reply, pieces_of};
use crate::wires::Wire;

/// The words of directives.
const WORDS: [&str; 10] = ["say", "think", "tool", "tools", "error", "fail", "cut", "stall", "slow", "burst"];
/// Most events of a burst.
const BURST_MAX: usize = 100_000;

/// What a tool's result is marked by on one of the wires.
const RESULT_MARKS: [&[u8]; 4] = [b"tool_result", b"\"tool\"", b"call_output", b"unction"];

/// Whether a body is worth parsing: it may hold a directive or a tool's result.
pub(crate) fn is_likely(body: &[u8]) -> bool {
    let holds = |mark: &[u8]| memchr::memmem::find(body, mark).is_some();
    holds(b"[[") || RESULT_MARKS.into_iter().any(holds)
}

/// The answer to a request that nothing was scripted for.
pub(crate) fn reply(wire: Wire, body: &Value, model: &str) -> Reply {
    let last = Last::of(wire, body);
    let Some((word, rest)) = find(&last.text) else {
        return last.tool_result.map_or_else(|| friendly(model), |result| tool_said(&result));
    };
    match (word, &last.tool_result) {
        ("tool" | "tools", Some(result)) => tool_said(result),
        ("tool" | "tools", None) if offers_tools(body) => calls(rest),
        ("say", _) => Reply::text(pieces_of(rest)),
        ("think", _) => Reply::nothing().thinking(rest).say(["Done ", "thinking."]),
        ("error", _) => Reply::error(error_named(rest)),
        ("fail", _) => Reply::text(pieces_of(&"This answer fails. ".repeat(4))).error_event_after(7, true),
        ("cut", _) => Reply::text(pieces_of(&"This answer breaks off. ".repeat(4))).cut_after(7),
        ("stall", _) => Reply::text(pieces_of(&"This answer stops. ".repeat(4))).stall_after(7),
        ("slow", _) => friendly(model).gap(Duration::from_millis(rest.parse().unwrap_or(100))),
        ("burst", _) => burst(rest.parse().unwrap_or(100)),
        _ => friendly(model),
    }
}

/// A stream of so many events in one write.
pub(crate) fn burst(events: usize) -> Reply {
    Reply::text(std::iter::repeat_n("lorem ", events.min(BURST_MAX))).in_one_write()
}

pub(crate) fn friendly(model: &str) -> Reply {
    Reply::text(["Hello! ", "This is ", "the scripted ", "upstream, ", "answering ", "as ", model, "."])
}

fn tool_said(result: &str) -> Reply {
    Reply::text(pieces_of(&format!("tool said: {result}")))
}

/// The last directive of a text: its word, and what stands behind it.
fn find(text: &str) -> Option<(&str, &str)> {
    text.rmatch_indices("[[").find_map(|(at, _)| {
        let inside = inside(&text[at + 2..])?;
        let (word, rest) = inside.split_once(' ').unwrap_or((inside, ""));
        // Arguments may hold double brackets of their own: what begins there is no word.
        WORDS.contains(&word).then(|| (word, rest.trim()))
    })
}

/// What stands before the closing brackets: those that balance the opening ones, else the first.
fn inside(rest: &str) -> Option<&str> {
    let mut open = 2_usize;
    let balanced = rest.bytes().position(|byte| {
        match byte {
            b'[' => open += 1,
            b']' => open = open.saturating_sub(1),
            _ => {}
        }
        open == 0
    });
    let balanced = balanced.and_then(|end| rest[..=end].strip_suffix("]]"));
    balanced.or_else(|| rest.split_once("]]").map(|(inside, _)| inside)).map(str::trim)
}

/// The error that a body asks for, wherever in it the directive stands.
pub(crate) fn error_in(body: &[u8]) -> Option<Reply> {
    match find(&String::from_utf8_lossy(body)) {
        Some(("error", name)) => Some(Reply::error(error_named(name))),
        _ => None,
    }
}

/// What a text asks to be said.
pub(crate) fn saying(text: &str) -> Option<&str> {
    find(text).filter(|(word, _)| *word == "say").map(|(_, rest)| rest)
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
        // Chat has a message per result, Anthropic a block.
        let mut results: Vec<String> = messages
            .iter()
            .rev()
            .take_while(|message| message["role"] == "tool")
            .map(|of| texts(&of["content"]))
            .collect();
        results.reverse();
        let blocks = messages.last().and_then(|message| message["content"].as_array());
        let blocks = blocks.into_iter().flatten().filter(|block| block["type"] == "tool_result");
        results.extend(blocks.map(|block| texts(&block["content"])));
        let said = messages.iter().rev().filter(|message| message["role"] == "user").map(|of| texts(&of["content"]));
        Self { text: newest(said), tool_result: lines(&results) }
    }

    fn of_input(input: &Value) -> Self {
        if let Some(text) = input.as_str() {
            return Self { text: text.to_owned(), tool_result: None };
        }
        let items = input.as_array().map_or(&[][..], Vec::as_slice);
        let is_result =
            |item: &&Value| item["type"] == "function_call_output" || item["type"] == "custom_tool_call_output";
        let mut results: Vec<String> =
            items.iter().rev().take_while(is_result).map(|item| texts(&item["output"])).collect();
        results.reverse();
        let said = items.iter().rev().filter(|item| item["role"] == "user").map(|item| texts(&item["content"]));
        Self { text: newest(said), tool_result: lines(&results) }
    }

    fn of_contents(contents: &Value) -> Self {
        let contents = contents.as_array().map_or(&[][..], Vec::as_slice);
        let parts = contents.last().and_then(|content| content["parts"].as_array()).into_iter().flatten();
        let results = parts.filter_map(|part| {
            let response = part.get("functionResponse").or_else(|| part.get("function_response"))?;
            let response = &response["response"];
            Some(response["output"].as_str().map_or_else(|| response.to_string(), str::to_owned))
        });
        let said = contents.iter().rev().filter(|content| content["role"] != "model").map(|of| texts(&of["parts"]));
        Self { tool_result: lines(&results.collect::<Vec<_>>()), text: newest(said) }
    }
}

/// The newest text that says anything; tool results, which come after it, say nothing.
fn newest(newest_first: impl Iterator<Item = String>) -> String {
    newest_first.into_iter().find(|text| !text.trim().is_empty()).unwrap_or_default()
}

/// Results, a line each; `None` if there are none.
fn lines(results: &[String]) -> Option<String> {
    (!results.is_empty()).then(|| results.join("\n"))
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
