//! Rows of the field map that the laws do not reach: what is changed, refused or named.

use serde_json::{Value, json};

use super::support::{answered, asked, convert, frames, stream, value};
use crate::{
    Class, ErrorFacts, Wire,
    convert::{Asked, Quirks, Refused, class_of, error, request},
};

const A: Wire = Wire::Anthropic;
const C: Wire = Wire::Chat;
const R: Wire = Wire::Responses;
const G: Wire = Wire::Gemini;

fn chat(more: &Value) -> Value {
    let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn claude(more: &Value) -> Value {
    let mut body = json!({ "model": "m", "max_tokens": 4000, "messages": [{ "role": "user", "content": "hi" }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn lost(from: Wire, to: Wire, body: &Value) -> Vec<String> {
    convert(from, to, body).loss.items().iter().map(|lost| lost.pointer.clone()).collect()
}

#[test]
fn a_value_changes_as_its_row_says() {
    let rows: [(&str, Wire, Wire, Value, &str, Value); 21] = [
        ("9: a maximum that is none", C, A, chat(&json!({})), "/max_tokens", json!(16_384)),
        ("9: the old name", C, R, chat(&json!({ "max_tokens": 99 })), "/max_output_tokens", json!(99)),
        ("9: at least 16", C, R, chat(&json!({ "max_tokens": 5 })), "/max_output_tokens", json!(16)),
        ("10: at most 1", C, A, chat(&json!({ "temperature": 1.7 })), "/temperature", json!(1)),
        ("11: one of the two", C, A, chat(&json!({ "temperature": 0.5, "top_p": 0.9 })), "/top_p", Value::Null),
        ("12: no top_k", A, C, claude(&json!({ "top_k": 5 })), "/top_k", Value::Null),
        ("13: a string is a list of one", C, A, chat(&json!({ "stop": "x" })), "/stop_sequences", json!(["x"])),
        (
            "13: four at most",
            A,
            C,
            claude(&json!({ "stop_sequences": ["1", "2", "3", "4", "5"] })),
            "/stop",
            json!(["1", "2", "3", "4"]),
        ),
        (
            "20: usage is asked for",
            A,
            C,
            claude(&json!({ "stream": true })),
            "/stream_options/include_usage",
            json!(true),
        ),
        ("21: who asks", A, R, claude(&json!({ "metadata": { "user_id": "u" } })), "/safety_identifier", json!("u")),
        ("24: nothing is stored unasked", A, R, claude(&json!({})), "/store", json!(false)),
        ("31: verbosity", C, R, chat(&json!({ "verbosity": "low" })), "/text/verbosity", json!("low")),
        (
            "49: a tool without a schema",
            C,
            A,
            chat(&json!({ "tools": [{ "type": "function", "function": { "name": "f" } }] })),
            "/tools/0/input_schema",
            json!({ "type": "object", "properties": {} }),
        ),
        (
            "50: not strict unless asked",
            C,
            R,
            chat(&json!({ "tools": [{ "type": "function", "function": { "name": "f" } }] })),
            "/tools/0/strict",
            json!(false),
        ),
        (
            "55: one call at a time",
            A,
            C,
            claude(
                &json!({ "tools": [{ "name": "f", "input_schema": {} }], "tool_choice": { "type": "auto", "disable_parallel_tool_use": true } }),
            ),
            "/parallel_tool_calls",
            json!(false),
        ),
        (
            "66: a search is a search",
            R,
            G,
            json!({ "input": "hi", "tools": [{ "type": "web_search" }] }),
            "/tools/0/googleSearch",
            json!({}),
        ),
        (
            "70: a budget is an effort",
            A,
            C,
            claude(&json!({ "max_tokens": 9000, "thinking": { "type": "enabled", "budget_tokens": 8000 } })),
            "/reasoning_effort",
            json!("medium"),
        ),
        (
            "70: an effort is a budget",
            C,
            A,
            chat(&json!({ "reasoning_effort": "medium", "max_tokens": 20_000 })),
            "/thinking/budget_tokens",
            json!(8192),
        ),
        (
            "70: below the maximum",
            C,
            A,
            chat(&json!({ "reasoning_effort": "high", "max_tokens": 2000 })),
            "/thinking/budget_tokens",
            json!(1999),
        ),
        (
            "70: and off below 1,024",
            C,
            A,
            chat(&json!({ "reasoning_effort": "high", "max_tokens": 1000 })),
            "/thinking",
            Value::Null,
        ),
        (
            "71: off",
            R,
            G,
            json!({ "input": "hi", "reasoning": { "effort": "none" } }),
            "/generationConfig/thinkingConfig/thinkingBudget",
            json!(0),
        ),
    ];
    for (row, from, to, body, pointer, want) in rows {
        let there = asked(from, to, &body);
        assert_eq!(there.pointer(pointer).unwrap_or(&Value::Null), &want, "{row}: {there}");
    }
}

#[test]
fn what_is_lost_is_named_where_it_stood() {
    let marked = json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "a", "cache_control": { "type": "ephemeral" } }] }], "max_tokens": 5, "model": "m" });
    let rows: [(&str, Wire, Wire, Value, &str); 10] = [
        ("10", C, A, chat(&json!({ "temperature": 1.7 })), "/temperature"),
        ("12", A, C, claude(&json!({ "top_k": 5 })), "/top_k"),
        ("13", C, R, chat(&json!({ "stop": ["x"] })), "/stop"),
        ("15", C, A, chat(&json!({ "seed": 5 })), "/seed"),
        ("16", C, R, chat(&json!({ "presence_penalty": 0.5 })), "/presence_penalty"),
        ("17", C, G, chat(&json!({ "logit_bias": { "5": 1 } })), "/logit_bias"),
        ("22", C, A, chat(&json!({ "metadata": { "a": "b" } })), "/metadata"),
        ("23", C, A, chat(&json!({ "service_tier": "flex" })), "/service_tier"),
        (
            "29",
            G,
            C,
            json!({ "contents": [{ "role": "user", "parts": [{ "text": "a" }] }], "safetySettings": [{ "category": "x" }] }),
            "/safetySettings",
        ),
        ("44", A, C, marked, "/messages/0/content/0/cache_control"),
    ];
    for (row, from, to, body, pointer) in rows {
        let lost = lost(from, to, &body);
        assert!(lost.iter().any(|lost| lost == pointer), "row {row}: {lost:?}");
    }
}

#[test]
fn what_cannot_be_left_out_is_refused_by_name() {
    let audio = json!({ "role": "user", "content": [{ "type": "input_audio", "input_audio": { "data": "AA==", "format": "wav" } }] });
    let file =
        json!({ "role": "user", "content": [{ "type": "image", "source": { "type": "file", "file_id": "f" } }] });
    let item = |item: Value| json!({ "input": [{ "role": "user", "content": "hi" }, item] });
    let rows: [(&str, Wire, Wire, Value, &str); 13] = [
        ("14", C, A, chat(&json!({ "n": 2 })), "/n"),
        ("24", R, A, json!({ "input": "hi", "previous_response_id": "resp_1" }), "/previous_response_id"),
        ("24", R, A, item(json!({ "type": "item_reference", "id": "msg_1" })), "/input/1"),
        ("24", R, A, item(json!({ "type": "web_search_call", "id": "ws_1", "status": null })), "/input/1"),
        ("24", R, A, item(json!({ "type": "image_generation_call", "id": "ig_1" })), "/input/1"),
        ("24", R, A, item(json!({ "type": "image_generation_call", "id": "ig_1", "result": null })), "/input/1"),
        ("27", R, A, item(json!({ "type": "compaction", "id": "cmp_1", "encrypted_content": "gA" })), "/input/1"),
        ("25", R, A, json!({ "input": "hi", "background": true }), "/background"),
        ("30", C, A, chat(&json!({ "modalities": ["text", "audio"] })), "/modalities"),
        ("33", A, C, claude(&json!({ "mcp_servers": [{ "name": "x" }] })), "/mcp_servers"),
        ("37", A, C, claude(&json!({ "messages": [file] })), "/messages/0/content/0"),
        ("42", C, A, chat(&json!({ "messages": [audio] })), "/messages/0/content/0"),
        ("67", A, C, claude(&json!({ "tools": [{ "type": "bash_20250124", "name": "bash" }] })), "/tools/0"),
    ];
    for (row, from, to, body, want) in rows {
        let body = serde_json::to_vec(&body).unwrap();
        let refused = request(from, to, &body, &Asked::default(), Quirks::default()).unwrap_err();
        assert!(matches!(&refused, Refused::Unsupported { pointer, .. } if pointer == want), "row {row}: {refused}");
    }
}

#[test]
fn a_failed_result_says_so_on_every_wire() {
    let body = claude(&json!({ "messages": [
        { "role": "user", "content": "hi" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "c1", "name": "f", "input": {} }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "c1", "content": "no file", "is_error": true }] },
    ] }));
    assert_eq!(asked(A, C, &body)["messages"][2]["content"], "Error: no file");
    assert_eq!(asked(A, R, &body)["input"][2]["output"], "Error: no file");
    assert_eq!(
        asked(A, G, &body)["contents"][2]["parts"][0]["functionResponse"],
        json!({ "id": "c1", "name": "f", "response": { "error": "no file" } })
    );
}

#[test]
fn a_call_without_a_result_gets_one() {
    let body = claude(&json!({ "messages": [
        { "role": "user", "content": "hi" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "c1", "name": "f", "input": {} }] },
        { "role": "user", "content": "never mind" },
    ] }));
    let there = asked(A, C, &body);
    assert_eq!(there["messages"][2], json!({ "role": "tool", "tool_call_id": "c1", "content": "Error: no result" }));
    assert_eq!(there["messages"][3]["content"], "never mind");
}

#[test]
fn pictures_in_results_follow_in_a_message_of_their_own() {
    let image = json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AAAA" } });
    let body = claude(&json!({ "messages": [
        { "role": "user", "content": "hi" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "c1", "name": "f", "input": {} }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "c1", "content": [image] }] },
    ] }));
    let there = asked(A, C, &body);
    assert_eq!(there["messages"][2]["content"], "see next message");
    assert_eq!(there["messages"][3]["content"][0]["image_url"]["url"], "data:image/png;base64,AAAA");
}

#[test]
fn reasoning_goes_back_to_its_issuer_and_to_nobody_else() {
    let spoken = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use", "usage": {},
        "content": [
            { "type": "thinking", "thinking": "hm", "signature": "SECRET" },
            { "type": "tool_use", "id": "c1", "name": "f", "input": {} },
        ],
    });
    for client in [R, G] {
        let answer = value(&answered(A, client, &serde_json::to_vec(&spoken).unwrap()).0);
        assert!(!answer.to_string().contains("SECRET"), "sealed: {answer}");
        let history = match client {
            R => {
                json!({ "input": answer["output"].as_array().unwrap().iter().cloned().chain([json!({ "type": "function_call_output", "call_id": "c1", "output": "x" })]).collect::<Vec<_>>() })
            }
            _ => {
                json!({ "contents": [answer["candidates"][0]["content"], { "role": "user", "parts": [{ "functionResponse": { "name": "f", "response": {} } }] }] })
            }
        };
        let body = serde_json::to_vec(&history).unwrap();
        let to = |issuer| {
            let asked = Asked { issuer: Some(issuer), ..Asked::default() };
            let converted = request(client, A, &body, &asked, Quirks::default()).unwrap();
            (value(&converted.bytes), converted.loss)
        };
        let (same, _) = to("pk1");
        let thought = &same["messages"][1]["content"][0];
        assert_eq!(thought, &json!({ "type": "thinking", "thinking": "hm", "signature": "SECRET" }), "{same}");
        let (other, loss) = to("pk2");
        assert_eq!(other["messages"][1]["content"][0]["type"], "tool_use", "{other}");
        assert!(!loss.is_empty());
    }
}

#[test]
fn free_text_tools_are_wrapped_and_unwrapped() {
    let body = json!({ "input": "hi", "tools": [{ "type": "custom", "name": "patch" }, { "type": "namespace", "name": "ns", "tools": [{ "type": "function", "name": "run", "parameters": {} }] }] });
    let converted = convert(R, A, &body);
    let there = value(&converted.bytes);
    assert_eq!(there["tools"][0]["input_schema"]["required"], json!(["input"]));
    assert_eq!(there["tools"][1]["name"], "ns__run");
    let spoken = json!({ "content": [
        { "type": "tool_use", "id": "c1", "name": "patch", "input": { "input": "*** Begin" } },
        { "type": "tool_use", "id": "c2", "name": "ns__run", "input": {} },
    ], "stop_reason": "tool_use" });
    let answer = super::support::answer(&converted.memory);
    let back = crate::convert::response(A, R, &serde_json::to_vec(&spoken).unwrap(), &answer).unwrap();
    let back = value(&back.bytes);
    assert_eq!(
        (&back["output"][0]["type"], &back["output"][0]["input"]),
        (&json!("custom_tool_call"), &json!("*** Begin"))
    );
    assert_eq!((&back["output"][1]["name"], &back["output"][1]["namespace"]), (&json!("run"), &json!("ns")));
}

#[test]
fn long_names_are_shortened_and_found_again() {
    let name = "mcp__a_server_with_a_very_long_name__and_a_tool_with_a_longer_one_still".to_owned() + &"x".repeat(40);
    let converted = convert(A, C, &claude(&json!({ "tools": [{ "name": name, "input_schema": {} }] })));
    let upstream = value(&converted.bytes)["tools"][0]["function"]["name"].as_str().unwrap().to_owned();
    assert_eq!(upstream.len(), 64);
    assert_eq!(converted.memory.client_name(&upstream).0, name);
}

#[test]
fn an_error_keeps_its_class_in_the_clients_words() {
    let rows: [(&str, u16, Value, Wire, u16, &str, &str); 5] = [
        (
            "overloaded",
            529,
            json!({ "type": "error", "error": { "type": "overloaded_error", "message": "busy" } }),
            C,
            503,
            "/error/type",
            "server_error",
        ),
        (
            "too long",
            400,
            json!({ "error": { "message": "too many", "type": "invalid_request_error", "code": "context_length_exceeded" } }),
            A,
            400,
            "/error/type",
            "invalid_request_error",
        ),
        (
            "a rate",
            429,
            json!({ "error": { "code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow" } }),
            A,
            429,
            "/error/type",
            "rate_limit_error",
        ),
        (
            "our key",
            401,
            json!({ "error": { "message": "bad key", "code": "invalid_api_key" } }),
            A,
            502,
            "/error/type",
            "api_error",
        ),
        (
            "the caller's",
            400,
            json!({ "error": { "message": "bad", "type": "invalid_request_error", "param": "x" } }),
            G,
            400,
            "/error/status",
            "INVALID_ARGUMENT",
        ),
    ];
    for (name, status, body, to, want, pointer, word) in rows {
        let rendered = error(to, status, body.to_string().as_bytes(), Some("m"), "req_1");
        assert_eq!(rendered.status, want, "{name}");
        let body = value(&rendered.body);
        assert_eq!(body.pointer(pointer), Some(&json!(word)), "{name}: {body}");
    }
    assert_eq!(class_of(503, &ErrorFacts::default()), Class::Overloaded);
}

#[test]
fn thinking_is_off_where_the_history_has_lost_its_thoughts() {
    let call = json!({ "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}" });
    let result = json!({ "type": "function_call_output", "call_id": "c1", "output": "x" });
    let body =
        |input: Value| json!({ "input": input, "reasoning": { "effort": "medium" }, "max_output_tokens": 20_000 });
    let lone = body(json!([{ "role": "user", "content": "hi" }, call, result]));
    assert_eq!(asked(R, A, &lone)["thinking"], Value::Null);
    assert!(lost(R, A, &lone).contains(&"/reasoning".to_owned()));
    let done = body(
        json!([{ "role": "user", "content": "hi" }, call, result, { "role": "assistant", "content": "x" }, { "role": "user", "content": "and?" }]),
    );
    assert_eq!(asked(R, A, &done)["thinking"]["type"], "enabled");
}

#[test]
fn a_search_result_is_text_elsewhere() {
    let block = json!({ "type": "search_result", "source": "https://a.example", "title": "A", "content": [{ "type": "text", "text": "found" }], "citations": { "enabled": true } });
    let body = claude(&json!({ "messages": [{ "role": "user", "content": [block] }] }));
    assert_eq!(asked(A, C, &body)["messages"][0]["content"], "A\nhttps://a.example\nfound");
    assert!(lost(A, C, &body).contains(&"/messages/0/content/0/citations".to_owned()));
}

#[test]
fn servers_of_one_wire_differ_by_quirks() {
    let converted = |quirks: Quirks| {
        let body = claude(&json!({ "stream": true, "thinking": { "type": "enabled", "budget_tokens": 2000 } }));
        let body = serde_json::to_vec(&body).unwrap();
        value(&request(A, C, &body, &Asked::default(), quirks).unwrap().bytes)
    };
    let plain = converted(Quirks { old_max_tokens: true, include_usage: false, ..Quirks::default() });
    assert_eq!((&plain["max_tokens"], &plain["stream_options"]), (&json!(4000), &Value::Null));
    assert_eq!(
        converted(Quirks { thinking_switch: true, ..Quirks::default() })["thinking"],
        json!({ "type": "enabled" })
    );
    let qwen = converted(Quirks { enable_thinking: true, ..Quirks::default() });
    assert_eq!((&qwen["enable_thinking"], &qwen["thinking_budget"]), (&json!(true), &json!(2000)));
    let old = chat(
        &json!({ "tools": [{ "type": "function", "function": { "name": "f", "parameters": { "$ref": "#/$defs/a", "$defs": { "a": { "type": ["string", "null"], "const": "x" } } } } }] }),
    );
    let old = request(
        C,
        G,
        &serde_json::to_vec(&old).unwrap(),
        &Asked::default(),
        Quirks { json_schema: false, ..Quirks::default() },
    )
    .unwrap();
    let parameters = &value(&old.bytes)["tools"][0]["functionDeclarations"][0]["parameters"];
    assert_eq!(parameters, &json!({ "type": "STRING", "nullable": true, "enum": ["x"] }));
}

#[test]
fn media_leave_gemini_in_the_alphabet_that_all_know() {
    let parts = json!([{ "inlineData": { "mimeType": "image/png", "data": "-_-_" } }]);
    let body = json!({ "contents": [{ "role": "user", "parts": parts }] });
    for (to, pointer, want) in [
        (A, "/messages/0/content/0/source/data", "+/+/"),
        (C, "/messages/0/content/0/image_url/url", "data:image/png;base64,+/+/"),
        (R, "/input/0/content/0/image_url", "data:image/png;base64,+/+/"),
    ] {
        assert_eq!(value(&convert(G, to, &body).bytes).pointer(pointer).unwrap(), want, "{to:?}");
    }
}

#[test]
fn a_text_that_gemini_signs_stays_the_last_block_in_one_piece() {
    let chunk = |part: Value, finish: Value| {
        let candidate = json!({ "content": { "parts": [part] }, "finishReason": finish });
        format!("data: {}\n\n", json!({ "candidates": [candidate] }))
    };
    let said = [
        chunk(json!({ "text": "hm", "thought": true }), Value::Null),
        chunk(json!({ "text": "one " }), Value::Null),
        chunk(json!({ "text": "text", "thoughtSignature": "c2ln" }), Value::Null),
        chunk(json!({ "text": "", "thoughtSignature": "c2ln" }), json!("STOP")),
    ];
    let (bytes, _, loss, _) = stream(G, A, said.iter().map(String::as_bytes));
    assert_eq!(loss.items()[0].pointer, "/candidates/0/content/parts/0/thoughtSignature");
    let events: Vec<Value> = frames(&bytes).iter().map(|frame| value(frame)).collect();
    let opened: Vec<&Value> = events.iter().filter_map(|event| event.pointer("/content_block/type")).collect();
    assert_eq!(opened, ["thinking", "text"]);
    let texts: Vec<&str> = events.iter().filter_map(|event| event.pointer("/delta/text")?.as_str()).collect();
    assert_eq!(texts.concat(), "one text");
    let parts = json!([{ "text": "one text", "thoughtSignature": "c2ln" }, { "text": "", "thoughtSignature": "c2ln" }]);
    let whole = json!({ "candidates": [{ "content": { "parts": parts }, "finishReason": "STOP" }] });
    let (whole, loss) = answered(G, A, whole.to_string().as_bytes());
    assert_eq!(value(&whole)["content"].as_array().map(Vec::len), Some(2), "signed thoughts, and the text");
    assert_eq!(loss.items()[0].pointer, "/candidates/0/content/parts/1/thoughtSignature");
}
