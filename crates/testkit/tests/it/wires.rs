//! The four wires: whole answers and streams say the same, in the order and with the fields of the vendors.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use testkit::{Reply, Stop, Upstream, Wire};

use crate::client::{MODES, Mode, WIRES, ask, asked, events, exchange, post};
use crate::fold::{self, Said};

async fn said(wire: Wire, mode: Mode, reply: Reply) -> Said {
    let answer = exchange(&Upstream::local().then(reply), ask(wire, mode, "hi")).await;
    assert_eq!((answer.status, answer.is_whole), (200, true));
    match mode {
        Mode::Whole => fold::whole(wire, &answer.json()),
        Mode::Stream => fold::stream(wire, &answer.events()),
    }
}

fn words() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("\\PC{0,20}|[\"\\\\/\u{1}\n\u{2028}]{1,3}", 0..5)
}

#[derive(Clone, Debug)]
enum Piece {
    Say(Vec<String>),
    Think(String),
    Sealed,
    Call(String),
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        words().prop_map(Piece::Say),
        "\\PC{0,40}".prop_map(Piece::Think),
        Just(Piece::Sealed),
        "\\PC{0,30}".prop_map(Piece::Call),
    ]
}

fn reply(pieces: &[Piece]) -> Reply {
    pieces.iter().fold(Reply::nothing(), |reply, piece| match piece {
        Piece::Say(words) => reply.say(words.clone()),
        Piece::Think(thought) => reply.thinking(thought),
        Piece::Sealed => reply.redacted_thinking(),
        Piece::Call(argument) => reply.tool("call_me", &json!({ "argument": argument, "n": [1.5, null] })),
    })
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_stream_adds_up_to_the_whole_answer(pieces in prop::collection::vec(piece(), 0..5), counts in any::<[u16; 3]>()) {
        let [input, output, read] = counts.map(u64::from);
        let reply = reply(&pieces).usage(input, output).cache(read, 0, 0);
        let text: String = pieces.iter().filter_map(|piece| match piece {
            Piece::Say(words) => Some(words.concat()),
            _ => None,
        }).collect();
        for wire in WIRES {
            let whole = run(said(wire, Mode::Whole, reply.clone()));
            let streamed = run(said(wire, Mode::Stream, reply.clone()));
            prop_assert_eq!(&whole.text, &text, "{:?}", wire);
            prop_assert_eq!(whole, streamed, "{:?}", wire);
        }
    }
}

#[tokio::test]
async fn usage_is_counted_as_each_vendor_counts() {
    let reply = || Reply::text(["x"]).usage(100, 50).cache(30, 7, 5).reasoning(20);
    for mode in MODES {
        let anthropic = said(Wire::Anthropic, mode, reply()).await.usage;
        for (field, want) in [
            ("/input_tokens", 100),
            ("/cache_read_input_tokens", 30),
            ("/cache_creation_input_tokens", 12),
            ("/cache_creation/ephemeral_5m_input_tokens", 7),
            ("/cache_creation/ephemeral_1h_input_tokens", 5),
            ("/output_tokens", 50),
            ("/output_tokens_details/thinking_tokens", 20),
        ] {
            assert_eq!(anthropic.pointer(field), Some(&json!(want)), "{mode:?} {field}");
        }
        let chat = said(Wire::Chat, mode, reply()).await.usage;
        let responses = said(Wire::Responses, mode, reply()).await.usage;
        for (chat_field, responses_field, want) in [
            ("/prompt_tokens", "/input_tokens", 142),
            ("/prompt_tokens_details/cached_tokens", "/input_tokens_details/cached_tokens", 30),
            ("/prompt_tokens_details/cache_write_tokens", "/input_tokens_details/cache_write_tokens", 12),
            ("/completion_tokens", "/output_tokens", 50),
            ("/completion_tokens_details/reasoning_tokens", "/output_tokens_details/reasoning_tokens", 20),
            ("/total_tokens", "/total_tokens", 192),
        ] {
            assert_eq!(chat.pointer(chat_field), Some(&json!(want)), "{mode:?} {chat_field}");
            assert_eq!(responses.pointer(responses_field), Some(&json!(want)), "{mode:?} {responses_field}");
        }
        let gemini = said(Wire::Gemini, mode, reply()).await.usage;
        for (field, want) in [
            ("promptTokenCount", 142),
            ("cachedContentTokenCount", 30),
            ("candidatesTokenCount", 30),
            ("thoughtsTokenCount", 20),
            ("totalTokenCount", 192),
        ] {
            assert_eq!(gemini[field], want, "{mode:?} {field}");
        }
    }
}

#[tokio::test]
async fn answers_end_with_each_vendors_reason() {
    let plain = || Reply::text(["x"]);
    let call = || plain().tool("t", &json!({}));
    let length = json!(["incomplete", { "reason": "max_output_tokens" }]);
    let filter = json!(["incomplete", { "reason": "content_filter" }]);
    let done = json!(["completed", null]);
    for (reply, [anthropic, chat, responses, gemini]) in [
        (plain(), [json!(["end_turn", null]), json!("stop"), done.clone(), json!("STOP")]),
        (call(), [json!(["tool_use", null]), json!("tool_calls"), done.clone(), json!("STOP")]),
        (
            plain().stop_reason(Stop::MaxTokens),
            [json!(["max_tokens", null]), json!("length"), length, json!("MAX_TOKENS")],
        ),
        (
            plain().stop_reason(Stop::Sequence("##".to_owned())),
            [json!(["stop_sequence", "##"]), json!("stop"), done.clone(), json!("STOP")],
        ),
        (
            plain().stop_reason(Stop::Filter),
            [json!(["refusal", null]), json!("content_filter"), filter, json!("SAFETY")],
        ),
        (plain().stop_reason(Stop::Pause), [json!(["pause_turn", null]), json!("stop"), done, json!("STOP")]),
    ] {
        for (wire, want) in WIRES.into_iter().zip([anthropic, chat, responses, gemini]) {
            for mode in MODES {
                assert_eq!(said(wire, mode, reply.clone()).await.stop, want, "{wire:?} {mode:?}");
            }
        }
    }
}

#[tokio::test]
async fn parallel_calls_keep_their_order_and_have_ids_of_their_own() {
    let reply = || Reply::nothing().tool("one", &json!({ "a": 1 })).tool_as("id-of-ours", "two", "{\"b\":2}");
    for wire in WIRES {
        for mode in MODES {
            let said = said(wire, mode, reply()).await;
            let want = [("one".to_owned(), json!({ "a": 1 })), ("two".to_owned(), json!({ "b": 2 }))];
            assert_eq!(said.tools, want, "{wire:?} {mode:?}");
            assert_eq!(said.ids.last().map(String::as_str), Some("id-of-ours"), "{wire:?}");
            let distinct: BTreeSet<&String> = said.ids.iter().collect();
            assert_eq!(distinct.len(), said.ids.len(), "{wire:?} {mode:?}: {:?}", said.ids);
        }
    }
}

#[tokio::test]
async fn thoughts_are_signed_and_sealed_where_the_vendor_does_so() {
    let open = || Reply::nothing().thinking("let me see").say(["so"]);
    let sealed = || Reply::nothing().redacted_thinking().say(["so"]);
    for mode in MODES {
        for (wire, of_open, of_sealed) in
            [(Wire::Anthropic, 1, 1), (Wire::Chat, 0, 0), (Wire::Responses, 0, 1), (Wire::Gemini, 1, 0)]
        {
            let open = said(wire, mode, open()).await;
            assert_eq!((open.thoughts.as_str(), open.sealed.len()), ("let me see", of_open), "{wire:?} {mode:?}");
            assert_eq!(said(wire, mode, sealed()).await.sealed.len(), of_sealed, "{wire:?} {mode:?}");
        }
        let (path, mut body) = asked(Wire::Responses, mode, "hi");
        body["include"] = json!(["reasoning.encrypted_content"]);
        let answer = exchange(&Upstream::local().then(open()), post(path, body.to_string())).await;
        let said = match mode {
            Mode::Whole => fold::whole(Wire::Responses, &answer.json()),
            Mode::Stream => fold::stream(Wire::Responses, &answer.events()),
        };
        assert_eq!(said.sealed.len(), 1, "{mode:?}: encrypted when it is asked for");
    }
}

#[tokio::test]
async fn chat_streams_have_usage_and_padding_as_asked() {
    for (options, wants_usage, wants_padding) in [
        (Value::Null, false, true),
        (json!({ "include_usage": true }), true, true),
        (json!({ "include_usage": true, "include_obfuscation": false }), true, false),
    ] {
        let body = json!({ "model": "m", "stream": true, "stream_options": options, "messages": [] });
        let answer = exchange(&Upstream::local(), post("/v1/chat/completions", body.to_string())).await;
        let chunks: Vec<Value> = answer.events().into_iter().map(|(_, data)| data).filter(Value::is_object).collect();
        assert_eq!(chunks.iter().any(|chunk| chunk["choices"] == json!([])), wants_usage, "{options}");
        assert!(chunks.iter().all(|chunk| chunk.get("usage").is_some() == wants_usage), "{options}");
        assert!(chunks.iter().all(|chunk| chunk.get("obfuscation").is_some() == wants_padding), "{options}");
    }
}

#[tokio::test]
async fn a_gemini_stream_without_sse_is_an_array_of_the_same_chunks() {
    let reply = Reply::nothing().thinking("hm").say(["a \": b", "c"]).tool("t", &json!({ "x": "y: z" }));
    let upstream = Upstream::local().then(reply.clone()).then(reply);
    let (path, body) = asked(Wire::Gemini, Mode::Stream, "hi");
    let as_events = exchange(&upstream, post(path, body.to_string())).await;
    let as_array = exchange(&upstream, post(path.strip_suffix("?alt=sse").unwrap(), body.to_string())).await;
    let mut chunks: Vec<Value> = as_events.events().into_iter().map(|(_, data)| data).collect();
    let mut elements = as_array.json();
    for chunk in chunks.iter_mut().chain(elements.as_array_mut().unwrap()) {
        // Ids are new in each answer.
        chunk["responseId"].take();
    }
    assert_eq!(elements, json!(chunks));
    assert_eq!(as_events.header("content-type"), Some("text/event-stream"));
    assert_eq!(as_array.header("content-type"), Some("application/json; charset=UTF-8"));
}

#[tokio::test]
async fn a_prompt_that_gemini_blocks_has_no_candidate() {
    let blocked = || Reply::nothing().stop_reason(Stop::Filter);
    for mode in MODES {
        let answer = exchange(&Upstream::local().then(blocked()), ask(Wire::Gemini, mode, "hi")).await;
        let body = if mode == Mode::Whole { answer.json() } else { answer.events().remove(0).1 };
        assert_eq!(body["promptFeedback"]["blockReason"], "SAFETY");
        assert_eq!(body.get("candidates"), None);
    }
}

#[tokio::test]
async fn responses_repeats_what_it_was_asked() {
    let tools = json!([{ "type": "function", "name": "t", "parameters": {} }]);
    let body = json!({
        "model": "m", "input": "hi", "tools": tools, "instructions": "be brief", "max_output_tokens": 77,
        "reasoning": { "effort": "high" }, "metadata": { "k": "v" }, "store": false,
    });
    let answer = exchange(&Upstream::local(), post("/v1/responses", body.to_string())).await.json();
    for field in ["tools", "instructions", "max_output_tokens", "metadata", "store"] {
        assert_eq!(answer[field], body[field], "{field}");
    }
    assert_eq!(answer["reasoning"], json!({ "effort": "high", "summary": null }));
}

/// Fields that recorded traffic has and these answers lack: of single accounts, or of items that they do not hold.
const NOT_OURS: [&str; 4] = ["phase", "moderation", "tool_usage", "summary"];
/// Fields of ours that are newer than the recorded traffic, or that it had no occasion for.
const NEWER: [&str; 4] = ["obfuscation", "service_tier", "cache_write_tokens", "logprobs"];

#[tokio::test]
async fn events_have_the_fields_of_recorded_ones() {
    let answers = [
        Reply::text(["a", "b"]),
        Reply::nothing().tool("get_weather", &json!({ "location": "here" })),
        Reply::nothing().tool("one", &json!({})).tool("two", &json!({})),
    ];
    for (wire, recorded) in [
        (Wire::Anthropic, ["anthropic/agent-loop", "anthropic/tool"].as_slice()),
        (Wire::Chat, ["chat/tools", "chat/structured-usage", "chat/reasoning"].as_slice()),
        (Wire::Responses, ["responses/agent-loop", "responses/codex"].as_slice()),
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire/corpus");
        let read = |case: &&str| std::fs::read_to_string(folder.join(case).join("stream.sse")).unwrap();
        let recorded: Vec<Value> = recorded.iter().flat_map(|case| events(&read(case))).map(|(_, data)| data).collect();
        let known: BTreeSet<String> = recorded.iter().flat_map(|event| paths(event, "")).collect();
        let mut ours = BTreeSet::new();
        for reply in &answers {
            let answer = exchange(&Upstream::local().then(reply.clone()), ask(wire, Mode::Stream, "hi")).await;
            ours.extend(answer.events().iter().flat_map(|(_, event)| paths(event, "")));
        }
        let is = |path: &str, names: &[&str]| names.iter().any(|name| path.contains(name));
        let strange: Vec<&String> = ours.difference(&known).filter(|path| !is(path, &NEWER)).collect();
        assert!(strange.is_empty(), "{wire:?} never sent {strange:#?}");
        // What is missing only counts for kinds of events that we send.
        let kinds: BTreeSet<&str> = ours.iter().filter_map(|path| path.split('/').next()).collect();
        let missing: Vec<&String> = known
            .difference(&ours)
            .filter(|path| path.split('/').next().is_some_and(|kind| kinds.contains(kind)) && !is(path, &NOT_OURS))
            .collect();
        assert!(missing.is_empty(), "{wire:?} also sends {missing:#?}");
    }
}

/// Every field of an event, as a path behind its type; what lists hold counts once, and what a caller wrote not at all.
fn paths(value: &Value, at: &str) -> BTreeSet<String> {
    const CALLERS: [&str; 5] = ["tools", "metadata", "input", "instructions", "text"];
    let at = if at.is_empty() { value["type"].as_str().unwrap_or_default() } else { at };
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| {
                let path = format!("{at}/{name}");
                let below = if CALLERS.contains(&name.as_str()) { BTreeSet::new() } else { paths(value, &path) };
                std::iter::once(path).chain(below)
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(|item| paths(item, &format!("{at}[]"))).collect(),
        _ => BTreeSet::new(),
    }
}

#[tokio::test]
async fn tokens_are_counted_and_models_listed_in_each_dialect() {
    let upstream = Upstream::local();
    let prompt = json!({ "model": "m", "messages": [{ "role": "user", "content": "x".repeat(400) }] }).to_string();
    let tokens = prompt.len().div_ceil(4);
    for (path, field) in [
        ("/v1/messages/count_tokens", "input_tokens"),
        ("/v1/responses/input_tokens", "input_tokens"),
        ("/v1beta/models/m:countTokens", "totalTokens"),
    ] {
        assert_eq!(exchange(&upstream, post(path, prompt.clone())).await.json()[field], tokens, "{path}");
    }
    let get = |path: &str, version: Option<&str>| {
        let mut request = crate::client::without_body("GET", path);
        if let Some(version) = version {
            request.headers_mut().insert("anthropic-version", version.parse().unwrap());
        }
        request
    };
    for (path, version, pointer, want) in [
        ("/v1/models", None, "/object", "list"),
        ("/v1/models", None, "/data/0/object", "model"),
        ("/v1/models?limit=1000", Some("2023-06-01"), "/data/0/type", "model"),
        ("/v1beta/models", None, "/models/0/name", "models/scripted"),
        ("/v1/models/gpt-x", None, "/id", "gpt-x"),
        ("/v1beta/models/gemini-x", None, "/name", "models/gemini-x"),
    ] {
        let list = exchange(&upstream, get(path, version)).await.json();
        assert_eq!(list.pointer(pointer), Some(&json!(want)), "{path} {version:?}");
    }
}

#[tokio::test]
async fn embeddings_are_numbers_or_base64_one_for_each_input() {
    let upstream = Upstream::local();
    let numbers = json!([0.125, 0.125, 0.125]);
    for (input, encoding, count, want) in [
        (json!("one"), "float", 1, numbers.clone()),
        (json!(["one", "two"]), "float", 2, numbers.clone()),
        (json!([1, 2, 3]), "float", 1, numbers.clone()),
        (json!([[1], [2], [3]]), "base64", 3, json!("AAAAPgAAAD4AAAA+")),
    ] {
        let body = json!({ "model": "e", "input": input, "encoding_format": encoding, "dimensions": 3 });
        let answer = exchange(&upstream, post("/v1/embeddings", body.to_string())).await.json();
        assert_eq!(answer["data"].as_array().unwrap().len(), count, "{body}");
        assert_eq!(answer["data"][count - 1]["embedding"], want, "{body}");
        assert_eq!(answer["data"][count - 1]["index"], count - 1);
    }
    let body = json!({ "requests": [{ "outputDimensionality": 3 }, {}] });
    let batch = exchange(&upstream, post("/v1beta/models/e:batchEmbedContents", body.to_string())).await.json();
    assert_eq!(batch["embeddings"][0]["values"], numbers);
    assert_eq!(batch["embeddings"].as_array().unwrap().len(), 2);
    let one = exchange(&upstream, post("/v1beta/models/e:embedContent", "{}")).await.json();
    assert_eq!(one["embedding"]["values"].as_array().unwrap().len(), 8);
}
