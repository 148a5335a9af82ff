//! Rows of the field map about tools, calls and results.

use serde_json::{Value, json};

use super::support::{answered, asked, convert, value};
use crate::Wire;

const A: Wire = Wire::Anthropic;
const C: Wire = Wire::Chat;
const R: Wire = Wire::Responses;
const G: Wire = Wire::Gemini;

/// A request with two functions, and more.
fn chat(more: &Value) -> Value {
    let function = |name: &str| json!({ "type": "function", "function": { "name": name, "description": "d", "parameters": { "type": "object" } } });
    let mut body = json!({
        "model": "m", "messages": [{ "role": "user", "content": "hi" }], "tools": [function("f"), function("g")],
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Row 47.
#[test]
fn a_function_is_declared_as_the_target_declares_them() {
    let body = chat(&json!({}));
    let schema = json!({ "type": "object" });
    assert_eq!(asked(C, A, &body)["tools"][0], json!({ "name": "f", "description": "d", "input_schema": schema }));
    assert_eq!(
        asked(C, R, &body)["tools"][0],
        json!({ "type": "function", "name": "f", "description": "d", "parameters": schema, "strict": false })
    );
    assert_eq!(
        asked(C, G, &body)["tools"],
        json!([{ "functionDeclarations": [
            { "name": "f", "description": "d", "parametersJsonSchema": schema },
            { "name": "g", "description": "d", "parametersJsonSchema": schema },
        ] }])
    );
}

/// Rows 52, 53 and 54.
#[test]
fn which_tool_is_to_be_called_is_said_in_the_words_of_the_target() {
    let one = json!({ "type": "function", "function": { "name": "g" } });
    let list = json!({ "type": "allowed_tools", "allowed_tools": { "mode": "required", "tools": [one, { "type": "function", "function": { "name": "f" } }] } });
    for (choice, claude, responses, gemini) in [
        (json!("auto"), json!({ "type": "auto" }), json!("auto"), json!({ "mode": "AUTO" })),
        (json!("none"), json!({ "type": "none" }), json!("none"), json!({ "mode": "NONE" })),
        (json!("required"), json!({ "type": "any" }), json!("required"), json!({ "mode": "ANY" })),
        (
            one.clone(),
            json!({ "type": "tool", "name": "g" }),
            json!({ "type": "function", "name": "g" }),
            json!({ "mode": "ANY", "allowedFunctionNames": ["g"] }),
        ),
        (
            list,
            json!({ "type": "any" }),
            json!({ "type": "allowed_tools", "mode": "required", "tools": [{ "type": "function", "name": "g" }, { "type": "function", "name": "f" }] }),
            json!({ "mode": "ANY", "allowedFunctionNames": ["g", "f"] }),
        ),
    ] {
        let body = chat(&json!({ "tool_choice": choice }));
        assert_eq!(asked(C, A, &body)["tool_choice"], claude, "{choice}");
        assert_eq!(asked(C, R, &body)["tool_choice"], responses, "{choice}");
        assert_eq!(asked(C, G, &body)["toolConfig"]["functionCallingConfig"], gemini, "{choice}");
    }
    let forced = chat(&json!({ "tool_choice": "required", "reasoning_effort": "low", "max_tokens": 9_000 }));
    let there = convert(C, A, &forced);
    assert_eq!(value(&there.bytes)["tool_choice"], json!({ "type": "auto" }), "Anthropic refuses it while thinking");
    assert_eq!((there.loss.items()[0].pointer.as_str(), there.loss.drops()), ("/tool_choice", false));
}

/// Row 56.
#[test]
fn arguments_that_are_no_json_are_kept_as_they_are() {
    let call = |arguments: &str| {
        let call = json!({ "id": "c1", "type": "function", "function": { "name": "f", "arguments": arguments } });
        json!({ "role": "assistant", "content": null, "tool_calls": [call] })
    };
    let result = json!({ "role": "tool", "tool_call_id": "c1", "content": "x" });
    for (arguments, want) in [(r#"{"a":1}"#, json!({ "a": 1 })), ("{\"a\":", json!({ "_raw": "{\"a\":" }))] {
        let body = chat(&json!({ "messages": [{ "role": "user", "content": "hi" }, call(arguments), result] }));
        assert_eq!(asked(C, A, &body)["messages"][1]["content"][0]["input"], want);
        assert_eq!(asked(C, G, &body)["contents"][1]["parts"][0]["functionCall"]["args"], want);
        assert_eq!(asked(C, R, &body)["input"][1]["arguments"], arguments);
    }
}

/// Rows 58 and 61.
#[test]
fn results_stand_where_the_target_looks_for_them() {
    let call = |id: &str, name: &str| json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
    let result = |id: &str, text: &str| json!({ "type": "tool_result", "tool_use_id": id, "content": text });
    let body = json!({ "model": "m", "max_tokens": 9, "messages": [
        { "role": "user", "content": "hi" },
        { "role": "assistant", "content": [call("c1", "f"), call("c2", "g")] },
        { "role": "user", "content": [result("c2", "two"), result("c1", r#"{"one":1}"#), { "type": "text", "text": "go on" }] },
    ] });
    let there = asked(A, C, &body);
    let ids: Vec<&Value> =
        there["messages"].as_array().unwrap().iter().map(|message| &message["tool_call_id"]).collect();
    assert_eq!(ids, [&Value::Null, &Value::Null, &json!("c2"), &json!("c1"), &Value::Null], "a message each: {there}");
    let there = asked(A, G, &body);
    let parts = there["contents"][2]["parts"].as_array().unwrap();
    assert_eq!(parts[0]["functionResponse"], json!({ "id": "c2", "name": "g", "response": { "output": "two" } }));
    assert_eq!(parts[1]["functionResponse"]["name"], "f", "by the name of their call");
    assert_eq!(parts[1]["functionResponse"]["response"], json!({ "one": 1 }), "an object stays one");
    let chat = json!({ "model": "m", "messages": [
        { "role": "user", "content": "hi" },
        { "role": "assistant", "tool_calls": [{ "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{}" } }] },
        { "role": "tool", "tool_call_id": "c1", "content": "one" },
        { "role": "user", "content": "go on" },
    ] });
    let there = asked(C, A, &chat);
    let kinds: Vec<&Value> =
        there["messages"][2]["content"].as_array().unwrap().iter().map(|block| &block["type"]).collect();
    assert_eq!(kinds, ["tool_result", "text"], "results come first in the next turn: {there}");
}

/// Row 63.
#[test]
fn a_history_with_calls_needs_no_tools() {
    let body = json!({ "model": "m", "tool_choice": "auto", "messages": [
        { "role": "user", "content": "hi" },
        { "role": "assistant", "tool_calls": [{ "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{}" } }] },
        { "role": "tool", "tool_call_id": "c1", "content": "one" },
    ] });
    for to in [A, R, G] {
        let there = asked(C, to, &body);
        let empty = [&there["tools"], &there["tool_choice"], &there["toolConfig"]];
        assert!(empty.into_iter().all(Value::is_null), "{to:?}: {there}");
    }
}

/// Rows 57 and 80.
#[test]
fn a_call_without_an_id_gets_one_and_ends_the_turn_as_a_call() {
    let spoken = json!({ "candidates": [{
        "content": { "role": "model", "parts": [{ "functionCall": { "name": "f", "args": {} } }] }, "finishReason": "STOP",
    }] });
    let spoken = spoken.to_string();
    let there = value(&answered(G, A, spoken.as_bytes()).0);
    assert_eq!((&there["content"][0]["id"], &there["stop_reason"]), (&json!("call_s1_0"), &json!("tool_use")));
    let there = value(&answered(G, C, spoken.as_bytes()).0);
    assert_eq!(there["choices"][0]["finish_reason"], "tool_calls");
    let back = value(&answered(C, G, there.to_string().as_bytes()).0);
    assert_eq!(back["candidates"][0]["finishReason"], "STOP", "no client of Gemini's knows another word");
    let there = value(&answered(G, R, spoken.as_bytes()).0);
    let item = &there["output"][0];
    assert_eq!((&there["status"], &item["call_id"]), (&json!("completed"), &json!("call_s1_0")));
    assert!(item["id"].as_str().unwrap().starts_with("fc_"));
}
