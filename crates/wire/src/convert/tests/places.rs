//! What was lost is named by the place where it stands: every pointer leads somewhere.

use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use super::{
    generate::{Spoken, spoken, wanted},
    laws::pair,
    support::{answer, frames, memory, some, sse, value},
};
use crate::{
    Loss, Wire,
    convert::{Answer, Asked, Memory, Quirks, Refused, Stream, request, response},
    loss::step,
};

/// A member that no wire has.
const NEW: &str = "xNew";

/// The pointers of all objects in `value`.
fn objects(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            out.push(at.to_owned());
            for (name, value) in members {
                objects(value, &step(at, name), out);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                objects(item, &format!("{at}/{index}"), out);
            }
        }
        _ => {}
    }
}

/// Puts the new member into some of the objects.
fn adorn(value: &mut Value, picks: &[usize]) {
    let mut all = Vec::new();
    objects(value, "", &mut all);
    for pick in picks {
        value.pointer_mut(&all[pick % all.len()]).unwrap()[NEW] = json!({ "deep": [1, "two"] });
    }
}

fn resolves(loss: &Loss, source: &Value) -> Result<(), TestCaseError> {
    for lost in loss.items() {
        // That is the whole document, and what a place that is missing comes to.
        prop_assert!(!lost.pointer.is_empty(), "{} in {source}", lost.reason);
        prop_assert!(source.pointer(&lost.pointer).is_some(), "{}: {} in {source}", lost.pointer, lost.reason);
    }
    Ok(())
}

/// Wishes that most of the others have no place for.
fn wishes(wire: Wire) -> Value {
    let location = json!({ "type": "approximate", "city": "Oslo" });
    match wire {
        Wire::Anthropic => json!({
            "top_k": 4, "top_p": 0.5, "metadata": { "user_id": "u" }, "service_tier": "standard_only",
            "thinking": { "type": "enabled", "budget_tokens": 2_000, "display": "omitted" }, "cache_control": { "type": "ephemeral" },
            "context_management": { "edits": [{ "type": "clear_thinking_20251015" }] }, "output_config": { "effort": "max" },
        }),
        Wire::Chat => json!({
            "seed": 1, "presence_penalty": 0.5, "frequency_penalty": 0.5, "logit_bias": { "1": 2 }, "logprobs": true,
            "top_logprobs": 2, "metadata": { "a": "b" }, "user": "u", "safety_identifier": "s", "service_tier": "flex",
            "verbosity": "low", "prompt_cache_key": "k", "reasoning_effort": "high", "parallel_tool_calls": false,
            "web_search_options": { "search_context_size": "low", "user_location": { "type": "approximate", "approximate": { "city": "Oslo" } } },
            "max_tokens": 9, "prediction": { "type": "content", "content": "x" },
        }),
        Wire::Responses => json!({
            "top_logprobs": 2, "include": ["message.output_text.logprobs", "reasoning.encrypted_content", "file_search_call.results"],
            "metadata": { "a": "b" }, "user": "u", "safety_identifier": "s", "service_tier": "flex", "truncation": "auto",
            "text": { "verbosity": "low" }, "reasoning": { "effort": "low", "summary": "auto" }, "prompt_cache_key": "k",
            "parallel_tool_calls": false, "client_metadata": { "a": "b" }, "max_tool_calls": 4, "stream_options": { "include_obfuscation": false },
            "tools": [
                { "type": "web_search", "search_context_size": "low", "filters": { "allowed_domains": ["a.example"], "blocked_domains": ["b.example"] }, "user_location": location },
                { "type": "namespace", "name": "n", "description": "d", "tools": [{ "type": "function", "name": "f", "parameters": {}, "strict": true }] },
            ],
        }),
        Wire::Gemini => json!({
            "safetySettings": [{ "category": "c", "threshold": "t" }], "labels": { "a": "b" },
            "generationConfig": {
                "seed": 1, "topK": 4, "topP": 0.5, "presencePenalty": 0.5, "frequencyPenalty": 0.5, "responseLogprobs": true,
                "logprobs": 2, "mediaResolution": "LOW", "thinkingConfig": { "includeThoughts": true, "thinkingLevel": "HIGH" },
            },
        }),
    }
}

/// Content that others name in another way, or not at all.
fn content(wire: Wire) -> Vec<Value> {
    const DATA: &str = "data:application/pdf;base64,AAAA";
    match wire {
        Wire::Anthropic => vec![
            json!({ "type": "document", "title": "t", "context": "c", "source": { "type": "base64", "media_type": "application/pdf", "data": "AAAA" }, "citations": { "enabled": true } }),
            json!({ "type": "search_result", "title": "t", "source": "https://a.example", "content": [{ "type": "text", "text": "x" }] }),
        ],
        Wire::Chat => vec![
            json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA", "detail": "low" } }),
            json!({ "type": "file", "file": { "file_data": DATA, "filename": "a.pdf" } }),
        ],
        Wire::Responses => vec![
            json!({ "type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low" }),
            json!({ "type": "input_file", "file_data": DATA, "filename": "a.pdf" }),
        ],
        Wire::Gemini => vec![
            json!({ "inlineData": { "mimeType": "application/pdf", "data": "AAAA", "displayName": "a.pdf" } }),
            json!({ "fileData": { "mimeType": "image/png", "fileUri": "https://a.example/a.png" } }),
        ],
    }
}

/// Adds to `body` the members of `more`, of lists their elements, as `picks` says.
fn merge(body: &mut Value, more: &Value, picks: &[bool]) {
    let mut picks = picks.iter().cycle();
    for (name, value) in more.as_object().unwrap() {
        if !picks.next().unwrap() {
            continue;
        }
        match (&mut body[name.as_str()], value) {
            (Value::Array(list), Value::Array(more)) => list.extend(more.clone()),
            (Value::Object(members), Value::Object(more)) => {
                members.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            (place, value) => *place = value.clone(),
        }
    }
}

fn probs(wire: Wire) -> Value {
    let one = |number: &str| json!({ "token": "a", number: -0.5 });
    match wire {
        Wire::Gemini => {
            json!({ "chosenCandidates": [one("logProbability")], "topCandidates": [{ "candidates": [one("logProbability")] }] })
        }
        _ => json!([{ "token": "a", "logprob": -0.5, "top_logprobs": [one("logprob")] }]),
    }
}

const PAGE: &str = "https://a.example";

/// What an answer may hold beside words and calls.
fn enrich(wire: Wire, body: &mut Value) {
    match wire {
        Wire::Anthropic => {
            let blocks = body["content"].as_array_mut().unwrap();
            for block in blocks.iter_mut().filter(|block| block["type"] == "text") {
                block["citations"] = json!([{ "type": "web_search_result_location", "url": PAGE, "cited_text": "w" }, { "type": "char_location", "document_index": 0 }]);
            }
            blocks.insert(0, json!({ "type": "redacted_thinking", "data": "c2ln" }));
            blocks.push(json!({ "type": "server_tool_use", "id": "s", "name": "web_search", "input": {} }));
            blocks.push(json!({ "type": "text", "text": "", "citations": [{ "type": "web_search_result_location", "url": PAGE }] }));
            body["container"] = json!({ "id": "c" });
            body["usage"]["server_tool_use"] = json!({ "web_search_requests": 1 });
        }
        Wire::Chat => {
            let choice = &mut body["choices"][0];
            choice["logprobs"] = json!({ "content": probs(wire), "refusal": probs(wire) });
            choice["message"]["annotations"] = json!([
                { "type": "url_citation", "url_citation": { "url": PAGE, "title": "t", "start_index": 0, "end_index": 1 } }, { "type": "file_citation" },
            ]);
            let mut second = choice.clone();
            second["index"] = json!(1);
            body["choices"].as_array_mut().unwrap().push(second);
            body["usage"]["completion_tokens_details"]["audio_tokens"] = json!(3);
        }
        Wire::Responses => {
            let items = body["output"].as_array_mut().unwrap();
            for part in items.iter_mut().filter_map(|item| item.get_mut("content")?.get_mut(0)) {
                part["logprobs"] = probs(wire);
                part["annotations"] = json!([{ "type": "url_citation", "url": PAGE, "title": "t", "start_index": 0, "end_index": 1 }, { "type": "file_citation" }]);
            }
            items.push(json!({ "type": "code_interpreter_call", "id": "ci", "container_id": "c", "code": "1" }));
            let empty = json!({ "type": "output_text", "text": "", "annotations": [{ "type": "url_citation", "url": PAGE }], "logprobs": probs(wire) });
            items.push(json!({ "type": "message", "role": "assistant", "content": [{ "type": "refusal", "refusal": "no" }, empty] }));
            body["billing"] = json!({ "payer": "x" });
        }
        Wire::Gemini => {
            let candidate = &mut body["candidates"][0];
            let parts = candidate["content"]["parts"].as_array_mut().unwrap();
            for part in parts.iter_mut() {
                part["thoughtSignature"] = json!("c2ln");
            }
            parts.push(json!({ "executableCode": { "language": "PYTHON", "code": "1" } }));
            parts.push(json!({ "text": "", "thoughtSignature": "c2ln" }));
            candidate["groundingMetadata"] =
                json!({ "groundingChunks": [{ "web": { "uri": PAGE, "title": "t" } }], "webSearchQueries": ["q"] });
            candidate["logprobsResult"] = probs(wire);
            candidate["avgLogprobs"] = json!(-0.5);
            let mut second = candidate.clone();
            second["index"] = json!(1);
            body["candidates"].as_array_mut().unwrap().push(second);
            body["usageMetadata"]["promptTokensDetails"] = json!([{ "modality": "AUDIO", "tokenCount": 1 }]);
        }
    }
}

/// The same in the events of a stream.
fn enrich_event(wire: Wire, event: &mut Value) {
    match wire {
        Wire::Chat if event["choices"][0]["delta"]["content"].as_str().is_some_and(|text| !text.is_empty()) => {
            event["choices"][0]["logprobs"] = json!({ "content": probs(wire), "refusal": probs(wire) });
        }
        Wire::Responses if event["type"] == "response.output_text.delta" => event["logprobs"] = probs(wire),
        Wire::Gemini => {
            let candidate = &mut event["candidates"][0];
            candidate["logprobsResult"] = probs(wire);
            candidate["content"]["parts"][0]["thoughtSignature"] = json!("c2ln");
        }
        _ => {}
    }
}

/// The parts of several of Gemini's events in one, as `joins` says.
fn joined(events: Vec<Value>, joins: &[bool]) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    let mut joins = joins.iter().cycle();
    for mut event in events {
        match out.last_mut() {
            Some(last) if *joins.next().unwrap() => {
                let mut parts = last["candidates"][0]["content"]["parts"].take();
                let more = event["candidates"][0]["content"]["parts"].take();
                parts.as_array_mut().unwrap().extend(more.as_array().unwrap().clone());
                event["candidates"][0]["content"]["parts"] = parts;
                *last = event;
            }
            _ => out.push(event),
        }
    }
    out
}

/// The events of a stream, and those of a second answer beside the first.
fn events(wire: Wire, spoken: &Spoken, picks: &[usize], joins: &[bool]) -> Vec<Value> {
    let mut events = Vec::new();
    let spoken = frames(&spoken.stream(wire));
    let mut said: Vec<Value> = spoken.iter().filter(|frame| *frame != b"[DONE]").map(|frame| value(frame)).collect();
    if wire == Wire::Gemini {
        said = joined(said, joins);
    }
    for mut event in said {
        enrich_event(wire, &mut event);
        let list = if wire == Wire::Gemini { "candidates" } else { "choices" };
        let second = event.get(list).filter(|all| all[0].is_object()).map(|_| {
            let mut second = event.clone();
            second[list][0]["index"] = json!(1);
            second
        });
        events.push(event);
        events.extend(second);
    }
    let count = events.len();
    for pick in picks {
        adorn(&mut events[pick % count], &[pick / count]);
    }
    events
}

/// What of an event holds members of the answer itself.
fn wholes(event: &Value) -> [&Value; 4] {
    let end = if event["type"] == "message_delta" { &event["delta"] } else { event };
    [event, end, &event["response"], &event["message"]]
}

fn given(memory: &Memory, show_thoughts: bool) -> Answer<'_> {
    Answer { show_thoughts, ..answer(memory) }
}

proptest! {
    #![proptest_config(some())]

    #[test]
    fn a_loss_of_a_request_points_into_it(
        (from, to) in pair(), wanted in wanted(), wishing in vec(any::<bool>(), 1..20), picks in vec(any::<usize>(), 0..4),
        other in any::<bool>(), plain in any::<bool>(),
    ) {
        let mut body = wanted.body(from);
        merge(&mut body, &wishes(from), &wishing);
        if other {
            let part = content(from)[usize::from(plain)].clone();
            let user = match from {
                Wire::Gemini => json!({ "role": "user", "parts": [part] }),
                _ => json!({ "role": "user", "content": [part] }),
            };
            let list = ["messages", "input", "contents"].into_iter().find(|name| body.get(name).is_some()).unwrap();
            body[list].as_array_mut().unwrap().push(user);
        }
        adorn(&mut body, &picks);
        let asked = Asked { issuer: Some("pk1"), ..Asked::default() };
        match request(from, to, body.to_string().as_bytes(), &asked, Quirks { json_schema: plain, ..Quirks::default() }) {
            Ok(there) => resolves(&there.loss, &body)?,
            Err(Refused::Unsupported { pointer, .. }) => prop_assert!(body.pointer(&pointer).is_some(), "{pointer} in {body}"),
            Err(other) => prop_assert!(!picks.is_empty(), "{other} in {body}"),
        }
    }

    #[test]
    fn a_loss_of_an_answer_points_into_it(
        (from, to) in pair(), spoken in spoken(), picks in vec(any::<usize>(), 0..4), show in any::<bool>(),
    ) {
        let mut body = spoken.whole(from);
        enrich(from, &mut body);
        adorn(&mut body, &picks);
        let memory = memory();
        match response(from, to, body.to_string().as_bytes(), &given(&memory, show)) {
            Ok(there) => resolves(&there.loss, &body)?,
            Err(refused) => prop_assert!(!picks.is_empty(), "{refused} in {body}"),
        }
    }

    /// A stream's losses are named by their places in the answer that it adds up to, or in one of its events.
    #[test]
    fn a_loss_of_a_stream_points_into_it(
        (from, to) in pair(), spoken in spoken(), picks in vec(any::<usize>(), 0..4), show in any::<bool>(),
        joins in vec(any::<bool>(), 1..4),
    ) {
        let events = events(from, &spoken, &picks, &joins);
        let mut whole = spoken.whole(from);
        if from != Wire::Anthropic {
            enrich(from, &mut whole);
        }
        let memory = memory();
        let (mut stream, mut out) = (Stream::new(from, to, &given(&memory, show)), Vec::new());
        stream.feed(sse(&events).as_bytes(), &mut out).unwrap();
        stream.finish(&mut out).unwrap();
        for lost in stream.loss().items() {
            let place = lost.pointer.split(&format!("/{NEW}")).next().unwrap();
            // Gemini's events are whole answers: its parts are numbered within one, and its answers by what they say.
            let alone = place.replacen("/candidates/1", "/candidates/0", 1);
            let within = |event: &Value| match alone.as_str() {
                "" => wholes(event).iter().any(|answer| answer.get(NEW).is_some()),
                alone => event.pointer(alone).is_some(),
            };
            let adds_up = from != Wire::Gemini && !place.is_empty() && whole.pointer(place).is_some();
            let found = !lost.pointer.is_empty() && (adds_up || events.iter().any(within));
            prop_assert!(found, "{}: {} in {whole}", lost.pointer, lost.reason);
        }
    }
}

#[test]
fn each_answer_of_several_names_its_own() {
    let memory = memory();
    let said = |index: u64| json!({ "index": index, "finish_reason": "stop", "message": { "role": "assistant", "content": "a", "xMessage": 1 }, "xChoice": 1 });
    let body = json!({ "choices": [said(0), said(1), said(2)] });
    let there = response(Wire::Chat, Wire::Gemini, body.to_string().as_bytes(), &answer(&memory)).unwrap();
    let lost: Vec<&str> = there.loss.items().iter().map(|lost| lost.pointer.as_str()).collect();
    let want: Vec<String> =
        (0..3).flat_map(|at| [format!("/choices/{at}/xChoice"), format!("/choices/{at}/message/xMessage")]).collect();
    assert_eq!((lost.len(), want.iter().all(|one| lost.contains(&one.as_str()))), (6, true), "{lost:?}");
}

/// Without a name to write, each of several answers has the upstream's.
#[test]
fn every_answer_of_several_has_a_model() {
    let memory = memory();
    let nameless = Answer { model: None, ..answer(&memory) };
    for (from, to, name) in [(Wire::Chat, Wire::Gemini, "modelVersion"), (Wire::Gemini, Wire::Chat, "model")] {
        let chunk = |index: u64, text: &str, end: bool| match from {
            Wire::Chat => {
                json!({ "model": "m", "choices": [{ "index": index, "delta": { "content": text }, "finish_reason": end.then_some("stop") }] })
            }
            _ => {
                json!({ "modelVersion": "m", "candidates": [{ "index": index, "content": { "parts": [{ "text": text }] }, "finishReason": end.then_some("STOP") }] })
            }
        };
        let events = [chunk(1, "b", false), chunk(0, "a", false), chunk(1, "b", true), chunk(0, "a", true)];
        let (mut stream, mut out) = (Stream::new(from, to, &nameless), Vec::new());
        stream.feed(sse(&events).as_bytes(), &mut out).unwrap();
        stream.finish(&mut out).unwrap();
        let told: Vec<Value> =
            frames(&out).iter().filter(|frame| *frame != b"[DONE]").map(|frame| value(frame)).collect();
        assert!(told.len() > 4 && told.iter().all(|event| event[name] == "m"), "{told:?}");
    }
}
