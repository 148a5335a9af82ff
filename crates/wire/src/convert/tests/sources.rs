//! Row 86 of the field map: what a text rests on.

use serde_json::{Value, json};

use super::support::{answer, frames, sse, stream, value};
use crate::{
    Wire,
    convert::{Ending, Memory, response},
};

const A: Wire = Wire::Anthropic;
const C: Wire = Wire::Chat;
const R: Wire = Wire::Responses;
const G: Wire = Wire::Gemini;

const PAGE: &str = "https://a.example/x";

/// What names the source of the text behind the word "See", on each wire.
fn cited(wire: Wire) -> Value {
    let text = "Séé this.";
    match wire {
        A => json!({ "content": [{ "type": "text", "text": "See " }, { "type": "text", "text": text, "citations": [
            { "type": "web_search_result_location", "url": PAGE, "title": "X", "encrypted_index": "E", "cited_text": "their words" },
        ] }], "stop_reason": "end_turn" }),
        C => {
            json!({ "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": format!("See {text}"), "annotations": [
            { "type": "url_citation", "url_citation": { "start_index": 4, "end_index": 13, "title": "X", "url": PAGE } },
        ] } }] })
        }
        R => {
            json!({ "status": "completed", "output": [{ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": format!("See {text}"), "annotations": [
            { "type": "url_citation", "start_index": 4, "end_index": 13, "title": "X", "url": PAGE },
        ] }] }] })
        }
        G => {
            json!({ "candidates": [{ "finishReason": "STOP", "content": { "role": "model", "parts": [{ "text": format!("See {text}") }] }, "groundingMetadata": {
            "groundingChunks": [{ "web": { "uri": PAGE, "title": "X" } }],
            // In bytes, of which each é takes two.
            "groundingSupports": [{ "segment": { "partIndex": 0, "startIndex": 4, "endIndex": 15, "text": text }, "groundingChunkIndices": [0] }],
        } }] })
        }
    }
}

/// Row 86.
#[test]
fn sources_keep_their_address_title_and_place() {
    let memory = Memory::default();
    let there = |from: Wire, to: Wire| {
        let there = response(from, to, &serde_json::to_vec(&cited(from)).unwrap(), &answer(&memory)).unwrap();
        let lost: Vec<String> = there.loss.items().iter().map(|lost| lost.pointer.clone()).collect();
        (value(&there.bytes), lost)
    };
    for from in [C, R, G] {
        let place = |to: Wire, pointer: &str| {
            let (there, lost) = there(from, to);
            assert!(lost.is_empty(), "{from:?}-{to:?}: {lost:?}");
            assert_eq!(there.pointer(pointer), cited(to).pointer(pointer), "{from:?}-{to:?}");
        };
        for to in [C, R, G].into_iter().filter(|to| *to != from) {
            let pointer = match to {
                C => "/choices/0/message/annotations",
                R => "/output/0/content/0/annotations",
                _ => "/candidates/0/groundingMetadata",
            };
            place(to, pointer);
        }
        let (claude, _) = there(from, A);
        let mark = &claude["content"][0]["citations"][0];
        assert_eq!((&mark["url"], &mark["title"], &mark["encrypted_index"]), (&json!(PAGE), &json!("X"), &json!("")));
    }
    let (chat, lost) = there(A, C);
    assert_eq!(chat["choices"][0]["message"]["annotations"], cited(C)["choices"][0]["message"]["annotations"]);
    assert_eq!(lost, ["/content/1/citations"], "their words");
    // A block of its own is a part of its own: it is cited from its start.
    let (gemini, _) = there(A, G);
    let segment = &gemini["candidates"][0]["groundingMetadata"]["groundingSupports"][0]["segment"];
    assert_eq!(segment, &json!({ "partIndex": 1, "startIndex": 0, "endIndex": 11, "text": "Séé this." }));
}

/// Row 86, in a stream.
#[test]
fn sources_come_with_the_text_of_a_stream() {
    let page = json!({ "start_index": 4, "end_index": 13, "title": "X", "url": PAGE });
    let mut flat = page.clone();
    flat["type"] = json!("url_citation");
    let native = |wire: Wire| match wire {
        A => sse(&[
            json!({ "type": "message_start", "message": {} }),
            json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
            json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "See " } }),
            json!({ "type": "content_block_stop", "index": 0 }),
            json!({ "type": "content_block_start", "index": 1, "content_block": { "type": "text", "text": "" } }),
            json!({ "type": "content_block_delta", "index": 1, "delta": { "type": "citations_delta", "citation": cited(A)["content"][1]["citations"][0] } }),
            json!({ "type": "content_block_delta", "index": 1, "delta": { "type": "text_delta", "text": "Séé this." } }),
            json!({ "type": "content_block_stop", "index": 1 }),
            json!({ "type": "message_stop" }),
        ]),
        C => {
            sse(&[
                json!({ "choices": [{ "index": 0, "delta": { "content": "See Séé this." } }] }),
                json!({ "choices": [{ "index": 0, "delta": { "annotations": [{ "type": "url_citation", "url_citation": page }] } }] }),
                json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] }),
            ]) + "data: [DONE]\n\n"
        }
        R => sse(&[
            json!({ "type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "See Séé this." }),
            json!({ "type": "response.output_text.annotation.added", "output_index": 0, "content_index": 0, "annotation_index": 0, "annotation": flat }),
            json!({ "type": "response.completed", "response": { "status": "completed" } }),
        ]),
        G => sse(&[
            json!({ "candidates": [{ "content": { "parts": [{ "text": "See Séé this." }] } }] }),
            json!({ "candidates": [{ "finishReason": "STOP", "groundingMetadata": { "groundingChunks": cited(G)["candidates"][0]["groundingMetadata"]["groundingChunks"] } }] }),
        ]),
    };
    for from in [A, C, R, G] {
        for to in [A, C, R, G].into_iter().filter(|to| *to != from) {
            let (bytes, ending, ..) = stream(from, to, [native(from).as_bytes()]);
            assert_eq!(ending, Ending::Whole);
            let events: Vec<Value> =
                frames(&bytes).iter().filter(|frame| *frame != b"[DONE]").map(|frame| value(frame)).collect();
            let all =
                |pointer: &str| events.iter().filter_map(|event| event.pointer(pointer).cloned()).collect::<Vec<_>>();
            // Gemini does not say of a text that comes in pieces which part is meant: all of it.
            let place = if from == G {
                json!({ "start_index": 0, "end_index": 13, "title": "X", "url": PAGE })
            } else {
                page.clone()
            };
            let mut flat = place.clone();
            flat["type"] = json!("url_citation");
            match to {
                A => assert_eq!(all("/delta/citation/url"), [json!(PAGE)], "{from:?}"),
                C => assert_eq!(all("/choices/0/delta/annotations/0/url_citation"), [place], "{from:?}"),
                R => {
                    // There each block of Anthropic's is a part, and the second begins anew.
                    if from == A {
                        (flat["start_index"], flat["end_index"]) = (json!(0), json!(9));
                    }
                    assert_eq!(all("/annotation"), [flat.clone()], "{from:?}");
                    let content = events.last().unwrap().pointer("/response/output/0/content").unwrap();
                    assert_eq!(content.as_array().unwrap().last().unwrap()["annotations"], json!([flat]), "{from:?}");
                }
                G => assert_eq!(
                    all("/candidates/0/groundingMetadata/groundingChunks/0/web/uri"),
                    [json!(PAGE)],
                    "{from:?}"
                ),
            }
        }
    }
}

/// What an answer says of its sources, and what of it was lost.
fn crossed(from: Wire, to: Wire, body: &Value) -> (Value, Vec<String>) {
    let memory = Memory::default();
    let there = response(from, to, &serde_json::to_vec(body).unwrap(), &answer(&memory)).unwrap();
    (value(&there.bytes), there.loss.items().iter().map(|lost| lost.pointer.clone()).collect())
}

/// Row 86: of several texts, each keeps its own sources.
#[test]
fn a_passage_is_of_the_part_that_it_names() {
    let cite = |url: &str| json!([{ "type": "web_search_result_location", "url": url, "title": "X", "encrypted_index": "E", "cited_text": "w" }]);
    let claude = json!({ "content": [
        { "type": "text", "text": "one" }, { "type": "text", "text": "twó", "citations": cite("https://b.example") },
        { "type": "text", "text": "three", "citations": cite("https://c.example") },
    ], "stop_reason": "end_turn" });
    let (gemini, _) = crossed(A, G, &claude);
    let (chat, lost) = crossed(G, C, &gemini);
    let places: Vec<Value> = chat["choices"][0]["message"]["annotations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["url_citation"])
        .map(|one| json!([one["start_index"], one["end_index"], one["url"]]))
        .collect();
    assert_eq!(places, [json!([3, 6, "https://b.example"]), json!([6, 11, "https://c.example"])]);
    assert_eq!(lost, Vec::<String>::new());
    // A thought in the same words is not the text.
    let same = json!({ "status": "completed", "output": [
        { "type": "reasoning", "summary": [{ "type": "summary_text", "text": "See Séé this." }] }, cited(R)["output"][0],
    ] });
    let (gemini, _) = crossed(R, G, &same);
    let candidate = &gemini["candidates"][0];
    assert_eq!(candidate["content"]["parts"][0]["thought"], true);
    assert_eq!(candidate["groundingMetadata"]["groundingSupports"][0]["segment"]["partIndex"], 1);
    // An index that leads to a thought is meant for the text.
    let mut thinks = cited(G);
    let text = thinks["candidates"][0]["content"]["parts"][0].clone();
    thinks["candidates"][0]["content"]["parts"] = json!([{ "text": "hm", "thought": true }, text]);
    let (chat, _) = crossed(G, C, &thinks);
    assert_eq!(chat["choices"][0]["message"]["annotations"], cited(C)["choices"][0]["message"]["annotations"]);
}

/// Row 86: an empty text does not outlast the conversion, and what rests on it does.
#[test]
fn sources_of_an_empty_text_go_to_one_that_says_something_or_are_named() {
    let mut body = cited(G);
    let text = body["candidates"][0]["content"]["parts"][0].clone();
    body["candidates"][0]["content"]["parts"] = json!([{ "text": "" }, text]);
    let (chat, lost) = crossed(G, C, &body);
    assert_eq!(chat["choices"][0]["message"]["annotations"], cited(C)["choices"][0]["message"]["annotations"]);
    assert_eq!(lost, Vec::<String>::new());
    body["candidates"][0]["content"]["parts"] = json!([{ "text": "" }]);
    let (_, lost) = crossed(G, C, &body);
    assert_eq!(
        lost,
        ["/candidates/0/groundingMetadata/groundingChunks", "/candidates/0/groundingMetadata/groundingSupports"]
    );
    for (from, to, text, want) in [
        (C, R, "/choices/0/message/content", "/choices/0/message/annotations"),
        (R, C, "/output/0/content/0/text", "/output/0/content/0/annotations"),
    ] {
        let mut body = cited(from);
        *body.pointer_mut(text).unwrap() = json!("");
        assert_eq!(crossed(from, to, &body).1, [want], "{from:?}");
    }
}

/// Row 86: some upstreams tell the sources with the finished item alone.
#[test]
fn sources_that_come_first_with_the_item_are_told() {
    let delta = |at: u64, text: &str| json!({ "type": "response.output_text.delta", "output_index": 0, "content_index": at, "delta": text });
    let content = cited(R)["output"][0]["content"][0].clone();
    let done = |parts: &[&Value]| json!({ "type": "response.output_item.done", "output_index": 0, "item": { "type": "message", "content": parts } });
    let whole = json!({ "type": "response.completed", "response": { "status": "completed" } });
    let told = |events: &[Value]| {
        let (bytes, _, loss, _) = stream(R, C, [sse(events).as_bytes()]);
        let events: Vec<Value> =
            frames(&bytes).iter().filter(|frame| *frame != b"[DONE]").map(|frame| value(frame)).collect();
        let all = events.iter().filter_map(|event| event.pointer("/choices/0/delta/annotations").cloned());
        (all.collect::<Vec<_>>(), loss.items().iter().map(|lost| lost.pointer.clone()).collect::<Vec<_>>())
    };
    let want = vec![cited(C)["choices"][0]["message"]["annotations"].clone()];
    assert_eq!(told(&[delta(0, "See Séé this."), done(&[&content]), whole.clone()]), (want.clone(), vec![]));
    let added = json!({ "type": "response.output_text.annotation.added", "output_index": 0, "content_index": 0, "annotation": content["annotations"][0] });
    assert_eq!(told(&[delta(0, "See Séé this."), added, done(&[&content]), whole.clone()]), (want, vec![]), "once");
    // The first part has ended when the second began.
    let second = json!({ "type": "output_text", "text": "b", "annotations": [] });
    let events = [delta(0, "See Séé this."), delta(1, "b"), done(&[&content, &second]), whole.clone()];
    assert_eq!(told(&events), (vec![], vec!["/output/0/content/0/annotations".to_owned()]));
    let mut file = content.clone();
    file["annotations"] = json!([{ "type": "file_citation", "file_id": "f", "index": 0 }]);
    assert_eq!(told(&[delta(0, "a"), done(&[&file]), whole]).1, ["/output/0/content/0/annotations"]);
}

/// Row 86: more passages than anybody reads do not cost more than their number.
#[test]
fn passages_are_bounded() {
    let support = json!({ "segment": { "endIndex": 4 }, "groundingChunkIndices": [0] });
    let mut body = cited(G);
    body["candidates"][0]["groundingMetadata"]["groundingSupports"] = json!(vec![support; 3_000]);
    let (chat, _) = crossed(G, C, &body);
    assert_eq!(chat["choices"][0]["message"]["annotations"].as_array().unwrap().len(), 1_000);
    let mut body = cited(C);
    let one = body["choices"][0]["message"]["annotations"][0].clone();
    body["choices"][0]["message"]["annotations"] = json!(vec![one; 3_000]);
    let grounding = crossed(C, G, &body).0["candidates"][0]["groundingMetadata"].clone();
    assert_eq!(grounding["groundingChunks"].as_array().unwrap().len(), 1);
    assert_eq!(grounding["groundingSupports"].as_array().unwrap().len(), 1_000);
}
