//! Rows of the field map with a way of their own: several answers, pictures, searches, counts and embeddings.

use serde_json::{Value, json};

use super::support::{answer, asked, convert, frames, sse, stream, value};
use crate::{
    Wire,
    convert::{
        Asked, Ending, Memory, Quirks, Refused, Wanted, count_request, counted, embed_request, embedded, request,
        response, signs_calls,
    },
};

const A: Wire = Wire::Anthropic;
const C: Wire = Wire::Chat;
const R: Wire = Wire::Responses;
const G: Wire = Wire::Gemini;

fn lost(from: Wire, to: Wire, body: &Value) -> Vec<String> {
    convert(from, to, body).loss.items().iter().map(|lost| lost.pointer.clone()).collect()
}

fn refused(from: Wire, to: Wire, body: &Value, quirks: Quirks) -> String {
    let body = serde_json::to_vec(body).unwrap();
    match request(from, to, &body, &Asked::default(), quirks) {
        Err(Refused::Unsupported { pointer, .. }) => pointer,
        other => panic!("{other:?}"),
    }
}

fn chat(content: &Value) -> Value {
    json!({ "model": "m", "messages": [{ "role": "user", "content": content }] })
}

/// Row 14.
#[test]
fn several_answers_go_where_there_is_room_for_them() {
    let mut body = chat(&json!("hi"));
    body["n"] = json!(2);
    assert_eq!(asked(C, G, &body)["generationConfig"]["candidateCount"], 2);
    for to in [A, R] {
        assert_eq!(refused(C, to, &body, Quirks::default()), "/n");
    }
    body["stream"] = json!(true);
    assert_eq!(asked(C, G, &body)["generationConfig"]["candidateCount"], 2);
    let candidate = |text: &str| json!({ "content": { "parts": [{ "text": text }] }, "finishReason": "STOP" });
    let two = json!({ "candidates": [candidate("one"), candidate("two")] });
    let memory = Memory::default();
    let there = response(G, C, &serde_json::to_vec(&two).unwrap(), &answer(&memory)).unwrap();
    let choices = &value(&there.bytes)["choices"];
    assert_eq!((&choices[1]["index"], &choices[1]["message"]["content"]), (&json!(1), &json!("two")));
    let back = response(C, G, &there.bytes, &answer(&memory)).unwrap();
    assert_eq!(value(&back.bytes)["candidates"][1]["content"]["parts"][0]["text"], "two");
    // Where one answer has room, the other is named.
    let there = response(G, A, &serde_json::to_vec(&two).unwrap(), &answer(&memory)).unwrap();
    assert!(there.loss.items().iter().any(|lost| lost.pointer == "/candidates/1"));
}

/// Row 14, in streams.
#[test]
fn several_answers_are_streamed_side_by_side() {
    let chat = |index: u64, delta: Value, finish: Value| json!({ "choices": [{ "index": index, "delta": delta, "finish_reason": finish }] });
    let call =
        json!({ "tool_calls": [{ "index": 0, "id": "c", "function": { "name": "f", "arguments": "{\"a\":1}" } }] });
    let bytes = sse(&[
        chat(0, json!({ "content": "one" }), Value::Null),
        chat(1, json!({ "content": "two" }), Value::Null),
        chat(1, call, Value::Null),
        chat(1, json!({}), json!("tool_calls")),
        chat(0, json!({ "content": " more" }), Value::Null),
        chat(0, json!({}), json!("length")),
        json!({ "choices": [], "usage": { "prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8 } }),
    ]) + "data: [DONE]\n\n";
    let (there, ending, loss, usage) = stream(C, G, [bytes.as_bytes()]);
    assert_eq!((ending, usage.output, loss.items()), (Ending::Whole, 5, &[][..]));
    let of = |bytes: &[u8], list: &str, index: u64| -> Vec<Value> {
        let events = frames(bytes).into_iter().filter(|frame| frame != b"[DONE]").map(|frame| value(&frame));
        let all = events.flat_map(|event| event[list].as_array().cloned().unwrap_or_default());
        all.filter(|one| one["index"] == index).collect()
    };
    let second = of(&there, "candidates", 1);
    assert_eq!(second[0]["content"]["parts"][0]["text"], "two");
    assert_eq!(second[1]["content"]["parts"][0]["functionCall"]["args"], json!({ "a": 1 }));
    assert_eq!(second[2]["finishReason"], "STOP");
    let first = of(&there, "candidates", 0);
    assert_eq!((first.len(), &first[2]["finishReason"]), (3, &json!("MAX_TOKENS")), "{first:?}");
    let last = value(frames(&there).last().unwrap());
    assert_eq!((&last["candidates"][0]["index"], &last["usageMetadata"]["totalTokenCount"]), (&json!(0), &json!(8)));

    let (back, ending, loss, _) = stream(G, C, [&there[..]]);
    assert_eq!((ending, loss.items()), (Ending::Whole, &[][..]));
    let said = |index| -> (String, Vec<Value>) {
        let choices = of(&back, "choices", index);
        let text = choices.iter().filter_map(|one| one["delta"]["content"].as_str()).collect();
        (text, choices.iter().map(|one| one["finish_reason"].clone()).filter(|reason| !reason.is_null()).collect())
    };
    assert_eq!(said(0), ("one more".to_owned(), vec![json!("length")]));
    assert_eq!(said(1), ("two".to_owned(), vec![json!("tool_calls")]));
    assert_eq!(frames(&back).last().unwrap(), b"[DONE]");
}

/// Row 18.
#[test]
fn probabilities_are_asked_for_in_the_words_of_the_target() {
    let body = json!({ "input": "hi", "include": ["message.output_text.logprobs"], "top_logprobs": 3 });
    let there = asked(R, C, &body);
    assert_eq!((&there["logprobs"], &there["top_logprobs"]), (&json!(true), &json!(3)));
    let there = asked(R, G, &body);
    assert_eq!(there["generationConfig"], json!({ "responseLogprobs": true, "logprobs": 3 }));
    assert!(lost(R, A, &body).contains(&"/include/0".to_owned()));
    let mut body = chat(&json!("hi"));
    body["logprobs"] = json!(true);
    assert_eq!(asked(C, R, &body)["include"], json!(["message.output_text.logprobs"]));
}

/// Row 32, and what else is asked for beside the answer.
#[test]
fn sealed_reasoning_is_shown_to_who_asks_for_it() {
    let spoken =
        json!({ "content": [{ "type": "thinking", "thinking": "hm", "signature": "S" }], "stop_reason": "end_turn" });
    for (include, shown) in [(json!([]), false), (json!(["reasoning.encrypted_content"]), true)] {
        let converted = convert(R, A, &json!({ "input": "hi", "include": include }));
        assert!(converted.loss.is_empty());
        let there = response(A, R, &serde_json::to_vec(&spoken).unwrap(), &answer(&converted.memory)).unwrap();
        assert_eq!(value(&there.bytes)["output"][0]["encrypted_content"].is_string(), shown);
    }
    let body = json!({ "input": "hi", "include": ["code_interpreter_call.outputs"], "stream_options": { "x": 1, "include_obfuscation": false } });
    assert_eq!(lost(R, A, &body), ["/include/0", "/stream_options/x"]);
}

/// Rows 33 and 67.
#[test]
fn servers_and_containers_of_one_vendor_are_refused() {
    let body =
        json!({ "input": "hi", "tools": [{ "type": "mcp", "server_label": "s", "server_url": "https://s.example" }] });
    assert_eq!(refused(R, A, &body, Quirks::default()), "/tools/0");
    let claude = |name: &str, value: Value| {
        let mut body = json!({ "model": "m", "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }] });
        body[name] = value;
        body
    };
    assert_eq!(refused(A, R, &claude("container", json!("c_1")), Quirks::default()), "/container");
    let servers = claude("mcp_servers", json!([{ "type": "url", "url": "https://s.example", "name": "s" }]));
    assert_eq!(refused(A, R, &servers, Quirks::default()), "/mcp_servers");
}

/// Row 34.
#[test]
fn a_picture_is_of_the_type_that_its_bytes_say() {
    let rows = [
        ("iVBORw0KGgoAAAANSUhEUg==", "image/png"),
        ("/9j/4AAQSkZJRgABAQ==", "image/jpeg"),
        ("R0lGODlhAQABAAAAACw=", "image/gif"),
        ("UklGRiIAAABXRUJQVlA4", "image/webp"),
        ("AAAA", "image/x-said"),
    ];
    for (data, want) in rows {
        let url = format!("data:image/x-said;base64,{data}");
        let body = chat(&json!([{ "type": "image_url", "image_url": { "url": url } }]));
        let there = asked(C, A, &body);
        let source = &there["messages"][0]["content"][0]["source"];
        assert_eq!(source, &json!({ "type": "base64", "media_type": want, "data": data }));
    }
}

/// Row 35.
#[test]
fn a_pictures_address_is_passed_on_unless_only_its_vendor_can_follow_it() {
    let body = chat(&json!([{ "type": "image_url", "image_url": { "url": "https://a.example/x.PNG?y=.gif" } }]));
    assert_eq!(
        asked(C, G, &body)["contents"][0]["parts"][0]["fileData"],
        json!({ "fileUri": "https://a.example/x.PNG?y=.gif", "mimeType": "image/png" })
    );
    let file = |url: &str| json!({ "contents": [{ "role": "user", "parts": [{ "fileData": { "fileUri": url, "mimeType": "image/png" } }] }] });
    for url in ["gs://bucket/x.png", "https://generativelanguage.googleapis.com/v1beta/files/x"] {
        assert_eq!(refused(G, A, &file(url), Quirks::default()), "/contents/0/parts/0");
    }
    let there = asked(G, A, &file("https://a.example/x.png"));
    assert_eq!(there["messages"][0]["content"][0]["source"]["url"], "https://a.example/x.png");
}

/// Row 39.
#[test]
fn what_an_assistant_shows_is_shown_by_the_user() {
    let shown = json!({ "inlineData": { "mimeType": "application/pdf", "data": "AAAA" } });
    let call = json!({ "functionCall": { "name": "f", "args": {} } });
    let result = json!({ "role": "user", "parts": [{ "functionResponse": { "name": "f", "response": {} } }] });
    let ask = json!({ "role": "user", "parts": [{ "text": "hi" }] });
    let body = json!({ "contents": [ask, { "role": "model", "parts": [{ "text": "see" }, shown] }] });
    let there = asked(G, A, &body);
    assert_eq!(there["messages"][1]["content"], json!([{ "type": "text", "text": "see" }]));
    assert_eq!(
        (&there["messages"][2]["role"], &there["messages"][2]["content"][0]["type"]),
        (&json!("user"), &json!("document"))
    );
    // Between a call and its result there is no room.
    let body = json!({ "contents": [ask, { "role": "model", "parts": [call, shown] }, result] });
    let there = asked(G, C, &body);
    let roles: Vec<&Value> = there["messages"].as_array().unwrap().iter().map(|message| &message["role"]).collect();
    assert_eq!(roles, ["user", "user", "assistant", "tool"]);
}

/// Row 44.
#[test]
fn caching_is_asked_for_in_the_words_of_the_target() {
    let body = json!({
        "model": "m", "max_tokens": 99, "metadata": { "user_id": "session-1" }, "messages": [{ "role": "user", "content": "hi" }],
        "system": [{ "type": "text", "text": "s", "cache_control": { "type": "ephemeral", "ttl": "1h" } }],
    });
    assert_eq!(asked(A, C, &body)["prompt_cache_key"], "session-1");
    assert_eq!(lost(A, R, &body), ["/system/0/cache_control"]);
    let mut body = chat(&json!("hi"));
    body["prompt_cache_retention"] = json!("24h");
    assert_eq!(asked(C, R, &body)["prompt_cache_retention"], "24h");
    assert_eq!(lost(C, A, &body), ["/prompt_cache_retention"]);
    let mut body = chat(&json!("hi"));
    body["messages"].as_array_mut().unwrap().insert(0, json!({ "role": "system", "content": "s" }));
    body["tools"] = json!([{ "type": "function", "function": { "name": "f" } }, { "type": "function", "function": { "name": "g" } }]);
    let there = asked(C, A, &body);
    let marked = there.to_string().matches("cache_control").count();
    assert_eq!(marked, 3);
    for place in ["/system/0", "/tools/1", "/messages/0/content/0"] {
        assert_eq!(there.pointer(place).unwrap()["cache_control"], json!({ "type": "ephemeral" }), "{place}");
    }
}

/// Row 66.
#[test]
fn a_search_keeps_the_options_that_both_have() {
    let body = json!({ "input": "hi", "tools": [{
        "type": "web_search", "search_context_size": "low", "filters": { "allowed_domains": ["a.example"] },
        "user_location": { "type": "approximate", "city": "Oslo" }, "external_web_access": false,
    }] });
    assert_eq!(
        asked(R, A, &body)["tools"][0],
        json!({
            "type": "web_search_20250305", "name": "web_search", "allowed_domains": ["a.example"],
            "user_location": { "type": "approximate", "city": "Oslo" }, "cache_control": { "type": "ephemeral" },
        })
    );
    assert_eq!(lost(R, A, &body), ["/tools/0/search_context_size", "/tools/0/external_web_access"]);
    assert_eq!(
        asked(R, C, &body)["web_search_options"],
        json!({ "user_location": { "type": "approximate", "approximate": { "city": "Oslo" } }, "search_context_size": "low" })
    );
    let blocks = json!({ "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 99, "tools": [{
        "type": "web_search_20250305", "name": "web_search", "blocked_domains": ["b.example"],
    }] });
    assert_eq!(asked(A, R, &blocks)["tools"][0], json!({ "type": "web_search" }));
    assert_eq!(lost(A, R, &blocks), ["/tools/0/blocked_domains"]);
    let none = Quirks { web_search: false, ..Quirks::default() };
    let sent = request(R, C, &serde_json::to_vec(&body).unwrap(), &Asked::default(), none).unwrap();
    assert_eq!(value(&sent.bytes)["web_search_options"], Value::Null);
    assert_eq!(sent.loss.items()[0].pointer, "/tools/0");
    let mut forced = body;
    forced["tool_choice"] = json!("required");
    assert_eq!(refused(R, C, &forced, none), "/tools/0");
}

/// Rows 66 and 67: Gemini refuses a search beside functions, of its third generation too.
#[test]
fn gemini_does_not_search_beside_functions() {
    let search = json!({ "type": "web_search", "search_context_size": "low" });
    let function = json!({ "type": "function", "name": "f", "parameters": {} });
    let with = |tools: &[&Value], choice: Value| json!({ "input": "hi", "tools": tools, "tool_choice": choice });
    let both = with(&[&function, &search], json!("required"));
    let tools = asked(R, G, &both)["tools"].clone();
    assert_eq!((tools.as_array().unwrap().len(), tools[0]["functionDeclarations"][0]["name"].as_str()), (1, Some("f")));
    assert_eq!(lost(R, G, &both), ["/tools/1"], "a tool that must be called is there");
    let alone = with(&[&search], json!("auto"));
    assert_eq!(asked(R, G, &alone)["tools"], json!([{ "googleSearch": {} }]));
    let forced = json!({
        "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 99, "tool_choice": { "type": "tool", "name": "web_search" },
        "tools": [{ "name": "f", "input_schema": {} }, { "type": "web_search_20250305", "name": "web_search" }],
    });
    assert_eq!(refused(A, G, &forced, Quirks::default()), "/tools/1");
}

/// Row 66: a choice of Responses' that has no place elsewhere may want a search too.
#[test]
fn a_search_that_must_be_made_is_not_left_out() {
    const NAMED: [&str; 4] = ["/tools/1", "/tool_choice/mode", "/tool_choice/tools", "/tool_choice/type"];
    let function = json!({ "type": "function", "name": "f" });
    let listing = |mode: &str, tools: &[Value]| json!({ "type": "allowed_tools", "mode": mode, "tools": tools });
    let none = Quirks { web_search: false, ..Quirks::default() };
    for kind in ["web_search", "web_search_preview"] {
        let search = json!({ "type": kind });
        let with = |choice: &Value| json!({ "input": "hi", "tools": [{ "type": "function", "name": "f", "parameters": {} }, search], "tool_choice": choice });
        for choice in [search.clone(), listing("required", &[function.clone(), search.clone()])] {
            assert_eq!(refused(R, G, &with(&choice), Quirks::default()), "/tools/1", "beside functions: {choice}");
            assert_eq!(refused(R, C, &with(&choice), none), "/tools/1", "by one who does not search: {choice}");
        }
        let may = with(&listing("auto", &[function.clone(), search.clone()]));
        assert_eq!(lost(R, G, &may), NAMED);
        let other = with(&listing("required", std::slice::from_ref(&function)));
        assert_eq!(lost(R, G, &other), NAMED, "the tool that must be called is there");
        assert_eq!(refused(R, C, &other, none), "/tools/1");
    }
}

/// Row 76: Gemini's third generation takes no call of the history unsigned, and is told by the name that is sent.
#[test]
fn a_call_that_no_thought_of_geminis_signed_gets_a_word_for_its_signature() {
    let calls = |name: &str| json!({ "type": "tool_use", "id": name, "name": "f", "input": {} });
    let result = |name: &str| json!({ "type": "tool_result", "tool_use_id": name, "content": "r" });
    let body = |model: &str| {
        json!({ "model": model, "max_tokens": 99, "messages": [
            { "role": "user", "content": "hi" },
            { "role": "assistant", "content": [{ "type": "text", "text": "so" }, calls("a"), calls("b")] },
            { "role": "user", "content": [result("a"), result("b")] },
        ] })
    };
    let third = Quirks { signed_calls: true, ..Quirks::default() };
    for (model, quirks, want) in [
        ("m", Quirks::default(), Value::Null),
        ("m", third, json!("skip_thought_signature_validator")),
        ("gemini-3-pro-preview", Quirks::default(), json!("skip_thought_signature_validator")),
    ] {
        let there = request(A, G, &serde_json::to_vec(&body(model)).unwrap(), &Asked::default(), quirks).unwrap();
        let signature = |at: usize| value(&there.bytes)["contents"][1]["parts"][at]["thoughtSignature"].clone();
        assert_eq!(
            [signature(0), signature(1), signature(2)],
            [Value::Null, want, Value::Null],
            "{model}: the first alone"
        );
    }
}

/// Row 76.
#[test]
fn a_model_that_wants_calls_signed_is_told_by_its_generation() {
    let yes = [
        "gemini-3-pro",
        "models/gemini-3.1-flash",
        "gemini-4-pro",
        "gemini-12",
        "gemini-flash-latest",
        "gemini-pro-latest",
    ];
    let no = ["gemini-2.5-pro", "gemini-1.5-pro-latest", "gemini-exp-1206", "gpt-latest", "claude-3", ""];
    assert_eq!((yes.map(signs_calls), no.map(signs_calls)), ([true; 6], [false; 6]));
}

/// A name that is not sent decides nothing: the body's counts where no other is told.
#[test]
fn a_model_that_is_asked_by_another_name_does_not_count_by_it() {
    let body = json!({ "model": "m", "max_tokens": 99, "messages": [
        { "role": "user", "content": "hi" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "a", "name": "f", "input": {} }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "a", "content": "r" }] },
    ] });
    let asked = Asked { model: Some("gemini-3-pro"), ..Asked::default() };
    let there = request(A, G, body.to_string().as_bytes(), &asked, Quirks::default()).unwrap();
    assert_eq!(value(&there.bytes)["contents"][1]["parts"][0]["thoughtSignature"], Value::Null);
}

/// Row 85.
#[test]
fn a_call_that_is_none_has_failed() {
    let chunk = json!({ "candidates": [{ "content": {}, "finishReason": "MALFORMED_FUNCTION_CALL" }] });
    let memory = Memory::default();
    for to in [A, C, R] {
        let whole = response(G, to, &serde_json::to_vec(&chunk).unwrap(), &answer(&memory));
        assert!(matches!(whole, Err(Refused::Invalid { .. })), "{to:?}");
        let (bytes, ending, ..) = stream(G, to, [format!("data: {chunk}\n\n").as_bytes()]);
        assert_eq!(ending, Ending::Failed, "{to:?}");
        assert!(String::from_utf8(bytes).unwrap().contains("error"), "{to:?}");
    }
}

/// Row 96.
#[test]
fn tokens_are_counted_on_three_wires() {
    let asked = Asked { model: Some("up"), ..Asked::default() };
    let body = br#"{"model":"m","system":"s","messages":[{"role":"user","content":"hi"}]}"#;
    let there = count_request(A, R, body, &asked, Quirks::default()).unwrap();
    assert_eq!(
        value(&there.bytes),
        json!({ "model": "up", "instructions": "s", "input": [{ "type": "message", "role": "user", "content": "hi" }] })
    );
    let there = count_request(A, G, body, &asked, Quirks::default()).unwrap();
    let whole = &value(&there.bytes)["generateContentRequest"];
    assert_eq!((&whole["model"], &whole["contents"][0]["parts"][0]["text"]), (&json!("models/up"), &json!("hi")));
    let back = count_request(G, A, &there.bytes, &Asked::default(), Quirks::default()).unwrap();
    let back = value(&back.bytes);
    assert_eq!((&back["model"], &back["max_tokens"]), (&json!("up"), &Value::Null));
    assert_eq!(back["messages"][0]["content"][0]["text"], "hi");
    let snake = json!({ "generate_content_request": { "model": "models/up", "system_instruction": { "parts": [{ "text": "s" }] },
        "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }] } });
    let there = count_request(G, A, snake.to_string().as_bytes(), &Asked::default(), Quirks::default()).unwrap();
    assert_eq!(value(&there.bytes), back, "the vendor takes either spelling");
    assert!(count_request(A, C, body, &asked, Quirks::default()).is_err());
    let told = |wire| match wire {
        A => json!({ "input_tokens": 7 }),
        R => json!({ "object": "response.input_tokens", "input_tokens": 7 }),
        _ => json!({ "totalTokens": 7 }),
    };
    for (from, to) in [A, R, G].into_iter().flat_map(|from| [A, R, G].map(|to| (from, to))) {
        let answer = counted(from, to, told(from).to_string().as_bytes()).unwrap();
        assert_eq!(value(&answer.bytes), told(to), "{from:?} {to:?}");
    }
    assert!(counted(G, A, b"{}").is_err() && counted(A, C, b"{\"input_tokens\":7}").is_err());
}

/// Row 97.
#[test]
fn embeddings_cross_in_lists_and_in_base64() {
    let body = br#"{"model":"m","input":["a","b"],"dimensions":2,"encoding_format":"base64","user":"u"}"#;
    let there = embed_request(C, G, body, Some("up")).unwrap();
    let one = |text: &str| json!({ "model": "models/up", "content": { "parts": [{ "text": text }] }, "outputDimensionality": 2 });
    assert_eq!(value(&there.bytes), json!({ "requests": [one("a"), one("b")] }));
    assert_eq!((there.batch, there.wanted), (true, Wanted { base64: true, batch: false }));
    assert_eq!(there.loss.items()[0].pointer, "/user");
    let told = br#"{"embeddings":[{"values":[1.0,-2.0]},{"values":[0.5,0.25]}]}"#;
    let told = embedded(G, C, told, "m", there.wanted).unwrap();
    assert!(!told.usage.reported);
    let told = value(&told.bytes);
    // 1.0 is 00 00 80 3f, and -2.0 is 00 00 00 c0.
    assert_eq!(told["data"][0], json!({ "object": "embedding", "index": 0, "embedding": "AACAPwAAAMA=" }));
    let back = embedded(C, G, &serde_json::to_vec(&told).unwrap(), "m", Wanted { batch: true, base64: false }).unwrap();
    assert_eq!(value(&back.bytes), json!({ "embeddings": [{ "values": [1.0, -2.0] }, { "values": [0.5, 0.25] }] }));
    let one = br#"{"content":{"parts":[{"text":"a"}]},"task_type":"RETRIEVAL_QUERY"}"#;
    let one = embed_request(G, C, one, Some("up")).unwrap();
    assert_eq!(value(&one.bytes), json!({ "model": "up", "input": ["a"], "encoding_format": "float" }));
    assert_eq!((one.wanted.batch, one.loss.items()[0].pointer.as_str()), (false, "/taskType"));
    assert!(embed_request(C, G, br#"{"input":[[1,2]]}"#, None).is_err(), "tokens are of one vendor");
    assert!(embed_request(C, A, body, None).is_err());
    let told = br#"{"embedding":{"values":[1.0]},"usageMetadata":{"promptTokenCount":3}}"#;
    let told = embedded(G, C, told, "m", Wanted::default()).unwrap();
    assert_eq!((told.usage.input, told.usage.reported, told.loss.items()), (3, true, &[][..]));
    assert_eq!(value(&told.bytes)["usage"], json!({ "prompt_tokens": 3, "total_tokens": 3 }));
    let tokens = br#"{"model":"m","input":[[1,2]],"encoding_format":"base64","user":"u"}"#;
    let same = embed_request(C, R, tokens, Some("up")).unwrap();
    let want = json!({ "model": "up", "input": [[1, 2]], "encoding_format": "base64", "user": "u" });
    assert_eq!((value(&same.bytes), same.loss.items()), (want, &[][..]), "one route of one vendor");
}

/// Row 57.
#[test]
fn ids_of_calls_are_of_the_letters_that_the_target_takes() {
    let id = "functions.look_up:0";
    let body = json!({ "model": "m", "messages": [
        { "role": "user", "content": "hi" },
        { "role": "assistant", "content": null, "tool_calls": [{ "id": id, "type": "function", "function": { "name": "f", "arguments": "{}" } }] },
        { "role": "tool", "tool_call_id": id, "content": "x" },
    ] });
    let there = asked(C, A, &body);
    let made = there["messages"][1]["content"][0]["id"].as_str().unwrap();
    assert!(made.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_'), "{made}");
    assert_eq!(there["messages"][2]["content"][0]["tool_use_id"], made);
    assert_eq!(asked(C, R, &body)["input"][1]["call_id"], id);
    let chunk = json!({ "choices": [{ "index": 0, "delta": { "tool_calls": [{ "index": 0, "id": id, "function": { "name": "f", "arguments": "{}" } }] } }] });
    let (bytes, ..) = stream(C, A, [format!("data: {chunk}\n\ndata: [DONE]\n\n").as_bytes()]);
    assert!(String::from_utf8(bytes).unwrap().contains(made), "the same in its stream");
}
