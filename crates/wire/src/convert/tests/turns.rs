//! Rows of the field map about who says what: the system, turns, their content and what is only asked for along with it.

use serde_json::{Value, json};

use super::support::{asked, convert, value};
use crate::{
    Wire,
    convert::{Asked, Quirks, Refused, request},
};

const A: Wire = Wire::Anthropic;
const C: Wire = Wire::Chat;
const R: Wire = Wire::Responses;
const G: Wire = Wire::Gemini;

fn chat(messages: &Value) -> Value {
    json!({ "model": "m", "messages": messages })
}

fn claude(messages: &Value) -> Value {
    json!({ "model": "m", "max_tokens": 4000, "messages": messages })
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

fn texts(content: &Value) -> Vec<&str> {
    content.as_array().unwrap().iter().map(|block| block["text"].as_str().unwrap()).collect()
}

/// Every loss of a request, and whether one of them is missed.
fn lost(from: Wire, to: Wire, body: &Value) -> (Vec<String>, bool) {
    let loss = convert(from, to, body).loss;
    (loss.items().iter().map(|lost| lost.pointer.clone()).collect(), loss.drops())
}

/// Row 2.
#[test]
fn system_texts_are_joined_where_one_text_is_taken() {
    let mut body = claude(&json!([user("hi")]));
    body["system"] = json!([{ "type": "text", "text": "one" }, { "type": "text", "text": "two" }]);
    assert_eq!(asked(A, C, &body)["messages"][0], json!({ "role": "system", "content": "one\n\ntwo" }));
    assert_eq!(asked(A, R, &body)["instructions"], "one\n\ntwo");
    assert_eq!(asked(A, G, &body)["systemInstruction"]["parts"], json!([{ "text": "one" }, { "text": "two" }]));
    let leading =
        chat(&json!([{ "role": "system", "content": "one" }, { "role": "developer", "content": "two" }, user("hi")]));
    assert_eq!(texts(&asked(C, A, &leading)["system"]), ["one", "two"]);
    assert_eq!(texts(&asked(C, G, &leading)["systemInstruction"]["parts"]), ["one", "two"]);
}

/// Row 3.
#[test]
fn a_system_text_amid_the_conversation_stays_in_its_place() {
    let body = chat(
        &json!([user("hi"), { "role": "system", "content": "be brief" }, { "role": "assistant", "content": "ok" }]),
    );
    let reminder = "<system-reminder>\nbe brief\n</system-reminder>";
    let there = asked(C, A, &body);
    assert_eq!((texts(&there["messages"][0]["content"]), &there["system"]), (vec!["hi", reminder], &Value::Null));
    assert_eq!(texts(&asked(C, G, &body)["contents"][0]["parts"]), ["hi", reminder]);
    assert_eq!(asked(C, R, &body)["input"][1]["role"], "system");
    let beta = Quirks { system_turns: true, ..Quirks::default() };
    let there = request(C, A, body.to_string().as_bytes(), &Asked::default(), beta).unwrap();
    let there: Value = serde_json::from_slice(&there.bytes).unwrap();
    assert_eq!(
        (&there["messages"][1]["role"], texts(&there["messages"][1]["content"])),
        (&json!("system"), vec!["be brief"])
    );
}

/// Rows 4 and 5.
#[test]
fn texts_are_strings_or_blocks_and_empty_ones_are_left_out_for_anthropic() {
    let body = chat(&json!([user("hi"), { "role": "assistant", "content": "" }, user("still there?")]));
    let there = asked(C, A, &body);
    assert_eq!(
        texts(&there["messages"][0]["content"]),
        ["hi", "still there?"],
        "row 6: neighbours of one role are one"
    );
    assert_eq!(there["messages"].as_array().unwrap().len(), 1);
    let blocks = claude(
        &json!([{ "role": "user", "content": [{ "type": "text", "text": "hi" }] }, { "role": "assistant", "content": [{ "type": "text", "text": "ok" }] }]),
    );
    assert_eq!(asked(A, R, &blocks)["input"][1]["content"][0]["type"], "output_text");
    assert_eq!(asked(A, G, &blocks)["contents"][1], json!({ "role": "model", "parts": [{ "text": "ok" }] }));
}

/// Rows 7 and 8.
#[test]
fn a_conversation_may_begin_and_end_with_the_assistant() {
    let body = chat(
        &json!([{ "role": "assistant", "content": "welcome" }, user("hi"), { "role": "assistant", "content": "I" }]),
    );
    let there = asked(C, A, &body);
    let roles: Vec<&Value> = there["messages"].as_array().unwrap().iter().map(|message| &message["role"]).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
    assert_eq!(texts(&there["messages"][0]["content"]), ["."]);
    assert_eq!(texts(&there["messages"][3]["content"]), ["I"], "what is to be continued is never dropped");
    assert_eq!(asked(C, G, &body)["contents"][2]["role"], "model");
}

/// Rows 26, 27, 40, 44, 65, 68, 69 and 72, and what clients say of themselves: what `conversion_loss: reject` refuses, and what it does not.
#[test]
fn some_losses_are_missed_and_others_are_not() {
    let with = |name: &str, value: Value| {
        let mut body = claude(&json!([user("hi")]));
        body[name] = value;
        body
    };
    let tool = |more: &str| with("tools", json!([{ "name": "f", "input_schema": {}, more: true }]));
    let document = json!({ "type": "document", "source": { "type": "text", "media_type": "text/plain", "data": "x" }, "citations": { "enabled": true } });
    let cited = claude(&json!([{ "role": "user", "content": [document] }]));
    let source = json!({ "type": "web_search_result_location", "url": "https://a.example", "title": "A", "encrypted_index": "", "cited_text": "" });
    let said = json!({ "type": "text", "text": "so", "citations": [source] });
    let echoed = claude(&json!([user("hi"), { "role": "assistant", "content": [said] }, user("on")]));
    let clear = json!({ "edits": [{ "type": "clear_tool_uses_20250919" }] });
    let inner = json!({ "type": "function", "name": "f", "parameters": {} });
    let group = json!({ "type": "namespace", "name": "n", "description": "d", "tools": [inner] });
    let shown = json!({ "type": "adaptive", "display": "summarized" });
    for (row, from, body, want, missed) in [
        (26, R, json!({ "input": "hi", "truncation": "auto" }), Some("/truncation"), true),
        (26, R, json!({ "input": "hi", "truncation": "disabled" }), None, false),
        (65, R, json!({ "input": "hi", "tools": [group] }), Some("/tools/0/description"), false),
        (0, R, json!({ "input": "hi", "client_metadata": { "a": "b" } }), Some("/client_metadata"), false),
        (27, A, with("context_management", clear), Some("/context_management"), false),
        (40, A, cited, Some("/messages/0/content/0/citations"), true),
        (40, A, echoed, Some("/messages/1/content/0/citations"), false),
        (44, A, with("cache_control", json!({ "type": "ephemeral" })), Some("/cache_control"), false),
        (68, A, tool("defer_loading"), Some("/tools/0/defer_loading"), false),
        (69, A, tool("eager_input_streaming"), None, false),
        (72, A, with("thinking", shown), Some("/thinking/display"), false),
    ] {
        let (lost, drops) = lost(from, C, &body);
        let lost = lost.iter().map(|pointer| pointer.strip_suffix("/enabled").unwrap_or(pointer));
        assert_eq!((lost.collect::<Vec<_>>(), drops), (want.into_iter().collect::<Vec<_>>(), missed), "row {row}");
    }
}

/// Rows 36, 38, 43 and 45.
#[test]
fn details_and_names_stay_with_those_who_know_them() {
    let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA", "detail": "low" } });
    let body = chat(&json!([{ "role": "user", "content": [image] }]));
    assert_eq!(asked(C, R, &body)["input"][0]["content"][0]["detail"], "low");
    assert_eq!(lost(C, A, &body), (vec!["/messages/0/content/0/image_url/detail".to_owned()], true));
    let file =
        json!({ "type": "file", "file": { "file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf" } });
    let body = chat(&json!([{ "role": "user", "content": [file] }]));
    assert_eq!(asked(C, A, &body)["messages"][0]["content"][0]["title"], "a.pdf");
    assert_eq!(asked(C, R, &body)["input"][0]["content"][0]["filename"], "a.pdf");
    let data = json!({ "mimeType": "application/pdf", "data": "AAAA" });
    assert_eq!(asked(C, G, &body)["contents"][0]["parts"][0]["inlineData"], data);
    let text = json!({ "type": "document", "source": { "type": "text", "media_type": "text/plain", "data": "words" } });
    let there = asked(A, G, &claude(&json!([{ "role": "user", "content": [text] }])));
    assert_eq!(there["contents"][0]["parts"][0]["text"], "words", "documents of text are text");
    let texts = json!([{ "type": "text", "text": "one" }, { "type": "text", "text": "two" }]);
    let made = json!({ "type": "document", "title": "t", "source": { "type": "content", "content": texts } });
    let there = convert(A, C, &claude(&json!([{ "role": "user", "content": [made] }])));
    assert_eq!(value(&there.bytes)["messages"][0]["content"], "t\none\ntwo");
    assert_eq!(there.loss.items(), []);
    let video = json!({ "contents": [{ "role": "user", "parts": [{ "inlineData": { "mimeType": "video/mp4", "data": "AAAA" } }] }] });
    for to in [A, C, R] {
        let refused = request(G, to, video.to_string().as_bytes(), &Asked::default(), Quirks::default());
        assert!(matches!(refused, Err(Refused::Unsupported { .. })), "{to:?}");
    }
    let body = chat(&json!([{ "role": "user", "name": "ann", "content": "hi" }]));
    assert_eq!(lost(C, A, &body), (vec!["/messages/0/name".to_owned()], true));
}

/// Row 46.
#[test]
fn what_an_assistant_refused_is_a_text_of_the_history() {
    let body = chat(&json!([user("hi"), { "role": "assistant", "content": null, "refusal": "no" }, user("please")]));
    assert_eq!(texts(&asked(C, A, &body)["messages"][1]["content"]), ["no"]);
    assert_eq!(asked(C, G, &body)["contents"][1]["parts"][0]["text"], "no");
    assert_eq!(asked(C, R, &body)["input"][1]["content"][0], json!({ "type": "refusal", "refusal": "no" }));
}

/// Row 33.
#[test]
fn servers_of_tools_and_containers_are_refused_by_name() {
    let mcp =
        json!({ "input": "hi", "tools": [{ "type": "mcp", "server_label": "x", "server_url": "https://x.example" }] });
    let mut container = claude(&json!([user("hi")]));
    container["container"] = json!({ "skills": [{ "type": "anthropic", "skill_id": "pptx", "version": "latest" }] });
    for (from, to, body, want) in [(R, A, &mcp, "/tools/0"), (R, G, &mcp, "/tools/0"), (A, R, &container, "/container")]
    {
        let refused = request(from, to, body.to_string().as_bytes(), &Asked::default(), Quirks::default()).unwrap_err();
        assert!(matches!(&refused, Refused::Unsupported { pointer, .. } if pointer == want), "{refused}");
    }
}
