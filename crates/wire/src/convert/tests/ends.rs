//! Rows of the field map about how an answer ends, what it counted, and what names it.

use serde_json::{Value, json};

use super::support::{answer, answered, asked, frames, said, sse, stream, value, whole};
use crate::{
    Wire,
    convert::{Asked, Memory, Quirks, Stream, request, response},
};

const A: Wire = Wire::Anthropic;
const C: Wire = Wire::Chat;
const R: Wire = Wire::Responses;
const G: Wire = Wire::Gemini;
const WIRES: [Wire; 4] = [A, C, R, G];

/// An answer of one word that ends with this word of its wire.
fn ended(wire: Wire, word: &str) -> Value {
    match wire {
        A => {
            json!({ "id": "msg_up", "type": "message", "role": "assistant", "model": "up", "content": [{ "type": "text", "text": "a" }], "stop_reason": word, "stop_sequence": null })
        }
        C => {
            json!({ "id": "chatcmpl-up", "object": "chat.completion", "created": 1, "model": "up", "choices": [{ "index": 0, "message": { "role": "assistant", "content": "a" }, "finish_reason": word }] })
        }
        R => {
            let (status, details) = match word {
                "completed" => ("completed", Value::Null),
                reason => ("incomplete", json!({ "reason": reason })),
            };
            let part = json!({ "type": "output_text", "text": "a", "annotations": [] });
            json!({ "id": "resp_up", "object": "response", "created_at": 1, "status": status, "incomplete_details": details, "model": "up", "output": [{ "type": "message", "id": "msg_up", "role": "assistant", "status": "completed", "content": [part] }] })
        }
        G => {
            json!({ "responseId": "up", "modelVersion": "up", "candidates": [{ "content": { "role": "model", "parts": [{ "text": "a" }] }, "finishReason": word, "index": 0 }] })
        }
    }
}

/// The word that an answer ends with.
fn word(wire: Wire, answer: &Value) -> String {
    let word = match wire {
        A => &answer["stop_reason"],
        C => &answer["choices"][0]["finish_reason"],
        R if answer["status"] == "completed" => &answer["status"],
        R => &answer["incomplete_details"]["reason"],
        G => &answer["candidates"][0]["finishReason"],
    };
    word.as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// Rows 79, 81, 83 and 84.
#[test]
fn an_end_has_a_word_on_every_wire() {
    let ends = [
        ["end_turn", "stop", "completed", "STOP"],
        ["max_tokens", "length", "max_output_tokens", "MAX_TOKENS"],
        ["refusal", "content_filter", "content_filter", "SAFETY"],
    ];
    for words in ends {
        for (at, from) in WIRES.into_iter().enumerate() {
            for (to, want) in WIRES.into_iter().zip(words).filter(|(to, _)| *to != from) {
                let there = value(&answered(from, to, ended(from, words[at]).to_string().as_bytes()).0);
                assert_eq!(word(to, &there), want, "{from:?} {to:?}");
            }
        }
    }
    for (from, source, to, want) in [
        (A, "model_context_window_exceeded", C, "length"),
        (A, "pause_turn", C, "stop"),
        (A, "stop_sequence", G, "STOP"),
        (G, "RECITATION", A, "refusal"),
        (G, "BLOCKLIST", C, "content_filter"),
        (G, "PROHIBITED_CONTENT", R, "content_filter"),
        (G, "SPII", A, "refusal"),
        (G, "IMAGE_SAFETY", A, "refusal"),
    ] {
        let there = value(&answered(from, to, ended(from, source).to_string().as_bytes()).0);
        assert_eq!(word(to, &there), want, "{source} on {to:?}");
    }
}

/// Row 82.
#[test]
fn a_stop_sequence_that_was_met_is_named_where_it_cannot_be_told() {
    let mut met = ended(A, "stop_sequence");
    met["stop_sequence"] = json!("END");
    let (there, loss) = answered(A, C, met.to_string().as_bytes());
    assert_eq!(word(C, &value(&there)), "stop");
    assert_eq!(loss.items()[0].pointer, "/stop_sequence");
}

/// Row 83: a prompt that was blocked has no candidate.
#[test]
fn a_blocked_prompt_is_an_empty_answer_that_says_so() {
    let blocked = json!({ "promptFeedback": { "blockReason": "SAFETY" }, "usageMetadata": { "promptTokenCount": 5 } });
    for to in [A, C, R] {
        let there = value(&answered(G, to, blocked.to_string().as_bytes()).0);
        assert_eq!(word(to, &there), if to == A { "refusal" } else { "content_filter" }, "{there}");
        let (bytes, ..) = stream(G, to, [sse(std::slice::from_ref(&blocked)).as_bytes()]);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(if to == A { "\"refusal\"" } else { "content_filter" }), "{to:?}: {text}");
    }
}

/// Rows 78, 88, 89, 90 and 91: what each dialect counts inside what, for the same tokens: 60 new of the prompt, 30 read from
/// a cache, 10 written to one, 20 of answer, of which 5 are thoughts.
#[test]
fn tokens_are_counted_in_the_terms_of_the_client() {
    let usage = |wire| match wire {
        A => {
            json!({ "input_tokens": 60, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 10, "output_tokens": 20, "output_tokens_details": { "thinking_tokens": 5 } })
        }
        C => {
            json!({ "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "prompt_tokens_details": { "cached_tokens": 30, "cache_write_tokens": 10 }, "completion_tokens_details": { "reasoning_tokens": 5 } })
        }
        R => {
            json!({ "input_tokens": 100, "output_tokens": 20, "total_tokens": 120, "input_tokens_details": { "cached_tokens": 30, "cache_write_tokens": 10 }, "output_tokens_details": { "reasoning_tokens": 5 } })
        }
        G => {
            json!({ "promptTokenCount": 100, "cachedContentTokenCount": 30, "candidatesTokenCount": 15, "thoughtsTokenCount": 5, "totalTokenCount": 120 })
        }
    };
    let words = |wire| match wire {
        A => ("end_turn", "usage"),
        C => ("stop", "usage"),
        R => ("completed", "usage"),
        G => ("STOP", "usageMetadata"),
    };
    for (from, to) in WIRES.into_iter().flat_map(|from| WIRES.map(|to| (from, to))).filter(|(from, to)| from != to) {
        let (word, member) = words(from);
        let mut said = ended(from, word);
        said[member] = usage(from);
        let there = value(&answered(from, to, said.to_string().as_bytes()).0);
        let got = &there[words(to).1];
        let mut want = usage(to);
        if from == G {
            // It has no word for what was written.
            match to {
                A => (want["input_tokens"], want["cache_creation_input_tokens"]) = (json!(70), json!(0)),
                C => want["prompt_tokens_details"]["cache_write_tokens"] = json!(0),
                _ => want["input_tokens_details"]["cache_write_tokens"] = json!(0),
            }
        }
        for (pointer, want) in flat(&want) {
            assert_eq!(got.pointer(&pointer), Some(&want), "{from:?} {to:?} {pointer}: {got}");
        }
    }
    let mut tools = ended(G, "STOP");
    tools["usageMetadata"] = json!({ "promptTokenCount": 10, "toolUsePromptTokenCount": 7, "candidatesTokenCount": 2, "totalTokenCount": 19 });
    let there = value(&answered(G, C, tools.to_string().as_bytes()).0);
    assert_eq!(there["usage"]["prompt_tokens"], 17, "what tools brought into the prompt is input");
}

/// Every number of an object, by its pointer.
fn flat(value: &Value) -> Vec<(String, Value)> {
    let members = value.as_object().unwrap().iter();
    let all = members.flat_map(|(name, value)| match value {
        Value::Object(_) => flat(value).into_iter().map(|(below, value)| (format!("/{name}{below}"), value)).collect(),
        value => vec![(format!("/{name}"), value.clone())],
    });
    all.collect()
}

/// Rows 1, 92, 93 and 94.
#[test]
fn an_answer_bears_the_name_asked_and_ids_and_times_of_its_own() {
    for (from, word) in [(A, "end_turn"), (C, "stop"), (R, "completed"), (G, "STOP")] {
        let mut said = ended(from, word);
        if from == C {
            (said["system_fingerprint"], said["service_tier"]) = (json!("fp"), json!("default"));
        }
        for to in WIRES.into_iter().filter(|to| *to != from) {
            let (there, loss) = answered(from, to, said.to_string().as_bytes());
            let there = value(&there);
            let (id, model, created) = match to {
                A => (&there["id"], &there["model"], None),
                C => (&there["id"], &there["model"], Some(&there["created"])),
                R => (&there["id"], &there["model"], Some(&there["created_at"])),
                G => (&there["responseId"], &there["modelVersion"], None),
            };
            let prefix = match to {
                A => "msg_",
                C => "chatcmpl-",
                R => "resp_",
                G => "s1",
            };
            assert!(id.as_str().unwrap().starts_with(prefix) && id.as_str().unwrap().ends_with("s1"), "{to:?}: {id}");
            assert_eq!(model, "asked", "{from:?} {to:?}");
            assert!(created.is_none_or(|created| created == 7), "the gateway's clock: {created:?}");
            assert_eq!(loss.items(), [], "{from:?} {to:?}");
        }
    }
}

/// Row 98.
#[test]
fn an_answer_to_responses_repeats_what_was_asked() {
    let tool = json!({ "type": "function", "name": "f", "parameters": { "type": "object" }, "strict": false });
    let body = json!({ "model": "m", "input": "hi", "tools": [tool], "temperature": 0.5, "metadata": { "a": "b" } });
    let asked = request(R, C, body.to_string().as_bytes(), &Asked::default(), Quirks::default()).unwrap();
    let there = response(C, R, ended(C, "stop").to_string().as_bytes(), &answer(&asked.memory)).unwrap();
    let there = value(&there.bytes);
    assert_eq!(
        (&there["tools"], &there["temperature"], &there["metadata"]),
        (&json!([tool]), &json!(0.5), &json!({ "a": "b" }))
    );
    assert_eq!((&there["tool_choice"], &there["parallel_tool_calls"]), (&json!("auto"), &json!(true)), "the defaults");
}

/// Rows 73 and 99.
#[test]
fn thoughts_stand_apart_from_the_text_and_padding_stays_behind() {
    let delta = |delta: Value| json!({ "obfuscation": "xx", "choices": [{ "index": 0, "delta": delta }] });
    let bytes = sse(&[
        delta(json!({ "reasoning_content": "hm" })),
        delta(json!({ "content": "a" })),
        json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop", "logprobs": null }] }),
        json!({ "choices": [], "usage": { "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 } }),
    ]) + "data: [DONE]\n\n";
    let (there, _, loss, _) = stream(C, A, [bytes.as_bytes()]);
    let events: Vec<Value> = frames(&there).iter().map(|frame| value(frame)).collect();
    let kinds: Vec<&Value> = events.iter().filter_map(|event| event.pointer("/content_block/type")).collect();
    assert_eq!(kinds, ["thinking", "text"]);
    let last = events.iter().find(|event| event["type"] == "message_delta").unwrap();
    assert_eq!(last["usage"]["output_tokens"], 2, "counts come behind the finish");
    assert_eq!(loss.items(), []);
}

/// Row 87.
#[test]
fn what_a_vendors_own_tools_did_is_named() {
    let mut said = ended(A, "end_turn");
    said["content"] = json!([
        { "type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": { "query": "q" } },
        { "type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [] },
        { "type": "text", "text": "a" },
    ]);
    said["usage"] = json!({ "input_tokens": 1, "output_tokens": 1, "server_tool_use": { "web_search_requests": 1 } });
    for to in [C, R, G] {
        let (_, loss) = answered(A, to, said.to_string().as_bytes());
        let lost: Vec<&str> = loss.items().iter().map(|lost| lost.pointer.as_str()).collect();
        for want in ["/content/0", "/content/1", "/usage/server_tool_use/web_search_requests"] {
            assert!(lost.contains(&want), "{to:?}: {lost:?}");
        }
    }
}

/// Row 74, where nobody signed: the thought comes back in an envelope that says so, and goes to none that signs.
#[test]
fn a_thought_that_nobody_signed_is_not_taken_for_anthropics_own() {
    let mut said = ended(C, "stop");
    said["choices"][0]["message"]["reasoning_content"] = json!("hm");
    let whole = value(&answered(C, A, said.to_string().as_bytes()).0);
    let bytes = sse(&[
        json!({ "choices": [{ "index": 0, "delta": { "reasoning_content": "hm" } }] }),
        json!({ "choices": [{ "index": 0, "delta": { "content": "a" }, "finish_reason": "stop" }] }),
    ]) + "data: [DONE]\n\n";
    let (streamed, ..) = stream(C, A, [bytes.as_bytes()]);
    let events: Vec<Value> = frames(&streamed).iter().map(|frame| value(frame)).collect();
    let signature = events.iter().find_map(|event| event.pointer("/delta/signature")).unwrap();
    let thought = &whole["content"][0];
    assert_eq!((&thought["thinking"], &thought["signature"]), (&json!("hm"), signature));
    let user = |text: &str| json!({ "role": "user", "content": text });
    let body = json!({ "model": "m", "max_tokens": 9, "messages": [user("hi"), { "role": "assistant", "content": whole["content"] }, user("and?")] });
    let body = body.to_string();
    assert_eq!(
        crate::recode::strip_sealed(body.as_bytes(), |_| crate::recode::Issuer::Unknown).edits.len(),
        1,
        "it goes before Anthropic could see it"
    );
    let asked = Asked { issuer: Some("pk1"), ..Asked::default() };
    let shows = Quirks { reasoning_content: true, ..Quirks::default() };
    let back = request(A, C, body.as_bytes(), &asked, shows).unwrap();
    assert_eq!(value(&back.bytes)["messages"][1]["reasoning_content"], "hm");
    for (to, quirks) in [(C, Quirks::default()), (R, Quirks::default()), (G, Quirks::default())] {
        let there = request(A, to, body.as_bytes(), &asked, quirks).unwrap();
        assert!(!String::from_utf8(there.bytes).unwrap().contains("hm\""), "{to:?}");
        assert!(!there.loss.drops(), "{to:?}");
    }
}

/// The same on the Responses wire, for clients that keep a thought without its id; those that asked for no signature are
/// shown none.
#[test]
fn a_thought_that_nobody_signed_is_not_taken_for_openais_own() {
    let mut said = ended(C, "stop");
    said["choices"][0]["message"]["reasoning_content"] = json!("hm");
    let bytes = sse(&[
        json!({ "choices": [{ "index": 0, "delta": { "reasoning_content": "hm" } }] }),
        json!({ "choices": [{ "index": 0, "delta": { "content": "a" }, "finish_reason": "stop" }] }),
    ]) + "data: [DONE]\n\n";
    for (include, kept) in [(json!(["reasoning.encrypted_content"]), true), (json!([]), false)] {
        let first = json!({ "model": "m", "include": include, "input": "hi" }).to_string();
        let memory = request(R, C, first.as_bytes(), &Asked::default(), Quirks::default()).unwrap().memory;
        let whole = value(&response(C, R, said.to_string().as_bytes(), &answer(&memory)).unwrap().bytes);
        let (mut stream, mut out) = (Stream::new(C, R, &answer(&memory)), Vec::new());
        stream.feed(bytes.as_bytes(), &mut out).unwrap();
        stream.finish(&mut out).unwrap();
        let events: Vec<Value> = frames(&out).iter().map(|frame| value(frame)).collect();
        let done = events.iter().find(|event| event["type"] == "response.output_item.done").unwrap();
        assert_eq!(whole["output"][0]["summary"][0]["text"], "hm");
        for thought in [&whole["output"][0], &done["item"]] {
            let mut thought = thought.clone();
            thought.as_object_mut().unwrap().remove("id");
            assert_eq!(thought.get("encrypted_content").is_some(), kept, "{thought}");
            let body = json!({ "model": "m", "input": ["hi", thought, "and?"] }).to_string();
            let edits = crate::recode::strip_sealed(body.as_bytes(), |_| crate::recode::Issuer::Unknown).edits;
            assert_eq!(edits.len(), usize::from(kept), "it goes before OpenAI could see it");
        }
    }
}

/// Row 20.
#[test]
fn usage_comes_to_those_who_asked_for_it() {
    let bytes = sse(&[
        json!({ "candidates": [{ "content": { "parts": [{ "text": "a" }] }, "finishReason": "STOP" }], "usageMetadata": { "promptTokenCount": 3 } }),
    ]);
    for (memory, want) in [(Memory::default(), false), (super::support::memory(), true)] {
        let (mut stream, mut out) = (Stream::new(G, C, &answer(&memory)), Vec::new());
        stream.feed(bytes.as_bytes(), &mut out).unwrap();
        stream.finish(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!((text.contains("prompt_tokens"), text.contains("\"usage\"")), (want, want), "{text}");
    }
}

/// Row 73: peers call thoughts by two names, in whole answers as in streams.
#[test]
fn thoughts_are_read_under_either_name() {
    for name in ["reasoning_content", "reasoning"] {
        let message = json!({ "role": "assistant", "content": "a", name: "hm" });
        let body = json!({ "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }] }).to_string();
        let (bytes, loss) = super::support::answered(C, R, body.as_bytes());
        assert_eq!(value(&bytes)["output"][0]["summary"][0]["text"], "hm", "{name}");
        assert_eq!(loss.items(), [], "{name}");
        let (same, _) = super::support::answered(C, C, body.as_bytes());
        assert_eq!(value(&same)["choices"][0]["message"], message, "{name}");
    }
}

/// Row 73: some say a thought under both names, or nothing under one; this wire says it again as it came.
#[test]
fn thoughts_are_read_once_where_both_names_are_there() {
    for (first, second, want) in [("", "hm", "hm"), ("hm", "hm", "hm"), ("hm", "", "hm")] {
        let message = json!({ "role": "assistant", "content": "a", "reasoning_content": first, "reasoning": second });
        let body = json!({ "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }] }).to_string();
        for to in [A, R, G] {
            let (bytes, loss) = answered(C, to, body.as_bytes());
            assert_eq!(said(&whole(to, &bytes)).thoughts, want, "{to:?}: {message}");
            assert_eq!(loss.items(), [], "{to:?}: {message}");
        }
        let (same, _) = answered(C, C, body.as_bytes());
        assert_eq!(value(&same)["choices"][0]["message"], message);
        let history = json!({ "model": "m", "messages": [message] });
        assert_eq!(asked(C, C, &history)["messages"][0], message);
    }
    let message = json!({ "role": "assistant", "content": "a", "reasoning_content": "hm", "reasoning": "so" });
    let body = json!({ "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }] }).to_string();
    let (_, loss) = answered(C, R, body.as_bytes());
    let lost: Vec<&str> = loss.items().iter().map(|lost| lost.pointer.as_str()).collect();
    assert_eq!(lost, ["/choices/0/message/reasoning"], "another thought is not said again");
    assert_eq!(value(&answered(C, C, body.as_bytes()).0)["choices"][0]["message"], message);
    let chunk = json!({ "choices": [{ "index": 0, "delta": message, "finish_reason": "stop" }] });
    let (_, _, loss, _) = stream(C, R, [sse(&[chunk]).as_bytes()]);
    assert_eq!(loss.items()[0].pointer, "/choices/0/message/reasoning", "nor in a stream");
}

/// Row 74: a signature before a call stands where it came, not where the call does.
#[test]
fn a_signature_between_a_text_and_a_call_is_named_by_its_own_place() {
    let parts = json!([{ "text": "", "thoughtSignature": "s" }, { "functionCall": { "name": "f", "args": {} } }]);
    let bytes = sse(&[
        json!({ "candidates": [{ "content": { "parts": [{ "text": "a" }] } }] }),
        json!({ "candidates": [{ "content": { "parts": parts }, "finishReason": "STOP" }] }),
    ]);
    let (_, _, loss, _) = stream(G, C, [bytes.as_bytes()]);
    let lost: Vec<&str> = loss.items().iter().map(|lost| lost.pointer.as_str()).collect();
    assert_eq!(lost, ["/candidates/0/content/parts/0/thoughtSignature"]);
}
