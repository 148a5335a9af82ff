//! Row 18: how likely each token of an answer was.

use serde_json::{Value, json};

use super::support::{answered, frames, sse, stream, value};
use crate::Wire;

const A: Wire = Wire::Anthropic;
const C: Wire = Wire::Chat;
const R: Wire = Wire::Responses;
const G: Wire = Wire::Gemini;

/// `OpenAI`'s list for "hé", of which the second token had a rival.
fn tokens() -> Value {
    json!([
        { "token": "h", "logprob": -0.25, "bytes": [104], "top_logprobs": [] },
        {
            "token": "é", "logprob": -0.5, "bytes": [195, 169],
            "top_logprobs": [{ "token": "e", "logprob": -1.5, "bytes": [101] }],
        },
    ])
}

fn result() -> Value {
    json!({
        "chosenCandidates": [
            { "token": "h", "logProbability": -0.25 }, { "token": "é", "logProbability": -0.5 },
        ],
        "topCandidates": [{ "candidates": [] }, { "candidates": [{ "token": "e", "logProbability": -1.5 }] }],
    })
}

fn whole(wire: Wire) -> Value {
    match wire {
        C => json!({
            "id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{
                "index": 0, "message": { "role": "assistant", "content": "hé" }, "finish_reason": "stop",
                "logprobs": { "content": tokens(), "refusal": null },
            }],
        }),
        R => json!({
            "id": "r", "object": "response", "status": "completed", "model": "m",
            "output": [{
                "type": "message", "id": "msg", "role": "assistant", "status": "completed",
                "content": [{ "type": "output_text", "text": "hé", "annotations": [], "logprobs": tokens() }],
            }],
        }),
        _ => json!({ "candidates": [{
            "content": { "role": "model", "parts": [{ "text": "hé" }] }, "finishReason": "STOP", "index": 0,
            "logprobsResult": result(),
        }] }),
    }
}

fn events(wire: Wire) -> String {
    match wire {
        C => {
            let delta = |delta: Value, logprobs: Value, finish: Value| json!({ "choices": [{ "index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish }] });
            let events = [
                delta(json!({ "content": "hé" }), json!({ "content": tokens(), "refusal": null }), Value::Null),
                delta(json!({}), Value::Null, json!("stop")),
            ];
            sse(&events) + "data: [DONE]\n\n"
        }
        R => sse(&[
            json!({ "type": "response.created", "response": { "id": "r", "model": "m" } }),
            json!({ "type": "response.output_item.added", "output_index": 0, "item": { "type": "message", "content": [] } }),
            json!({
                "type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "hé",
                "logprobs": tokens(),
            }),
            json!({ "type": "response.output_item.done", "output_index": 0, "item": whole(R)["output"][0] }),
            json!({ "type": "response.completed", "response": whole(R) }),
        ]),
        _ => sse(&[whole(G)]),
    }
}

/// Where an answer has them.
fn place(wire: Wire) -> (&'static str, Value) {
    match wire {
        C => ("/choices/0/logprobs/content", tokens()),
        R => ("/output/0/content/0/logprobs", tokens()),
        _ => ("/candidates/0/logprobsResult", result()),
    }
}

#[test]
fn probabilities_cross_in_answers() {
    for (from, to) in [C, R, G].into_iter().flat_map(|from| [C, R, G].map(|to| (from, to))) {
        let (bytes, loss) = answered(from, to, whole(from).to_string().as_bytes());
        let (pointer, want) = place(to);
        assert_eq!(value(&bytes).pointer(pointer), Some(&want), "{from:?} {to:?}");
        assert_eq!(loss.items(), [], "{from:?} {to:?}");
    }
}

#[test]
fn probabilities_cross_in_streams() {
    for (from, to) in [C, R, G].into_iter().flat_map(|from| [C, R, G].map(|to| (from, to))) {
        let (bytes, _, loss, _) = stream(from, to, [events(from).as_bytes()]);
        let told: Vec<Value> =
            frames(&bytes).iter().filter(|frame| *frame != b"[DONE]").map(|frame| value(frame)).collect();
        let (pointer, want) = place(to);
        let found = told.iter().find_map(|event| match to {
            R => event["response"].pointer(pointer),
            _ => event.pointer(pointer),
        });
        assert_eq!(found, Some(&want), "{from:?} {to:?}");
        if to == R {
            let delta = told.iter().find(|event| event["logprobs"].as_array().is_some_and(|list| !list.is_empty()));
            assert_eq!(delta.unwrap()["type"], "response.output_text.delta");
        }
        assert_eq!(loss.items(), [], "{from:?} {to:?}");
    }
}

#[test]
fn probabilities_are_named_where_a_wire_has_none() {
    for from in [C, R, G] {
        let (_, loss) = answered(from, A, whole(from).to_string().as_bytes());
        assert_eq!(pointers(&loss), [place(from).0], "{from:?}");
        let (_, _, loss, _) = stream(from, A, [events(from).as_bytes()]);
        assert_eq!(pointers(&loss), [place(from).0], "{from:?}");
    }
}

#[test]
fn an_item_that_says_them_first_when_it_is_done_says_them() {
    let said = whole(R);
    let bytes = sse(&[
        json!({ "type": "response.created", "response": { "id": "r", "model": "m" } }),
        json!({ "type": "response.output_item.done", "output_index": 0, "item": said["output"][0] }),
        json!({ "type": "response.completed", "response": said }),
    ]);
    let (bytes, ..) = stream(R, G, [bytes.as_bytes()]);
    assert!(frames(&bytes).iter().any(|frame| value(frame).pointer("/candidates/0/logprobsResult") == Some(&result())));
}

fn pointers(loss: &crate::loss::Loss) -> Vec<&str> {
    loss.items().iter().map(|lost| lost.pointer.as_str()).collect()
}

/// Deltas of two texts, of which each says its own.
#[test]
fn each_text_of_an_item_says_its_own() {
    let part = |text: &str| json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": tokens() });
    let delta = |at: u64, logprobs: Value| json!({ "type": "response.output_text.delta", "output_index": at, "content_index": 0, "delta": "hé", "logprobs": logprobs });
    let done = |at: u64| json!({ "type": "response.output_item.done", "output_index": at, "item": { "type": "message", "content": [part("hé")] } });
    let whole = json!({ "type": "response.completed", "response": { "status": "completed" } });
    let told = |bytes: &[u8]| {
        let place =
            |frame: &Vec<u8>| frame != b"[DONE]" && value(frame).pointer("/choices/0/logprobs/content").is_some();
        frames(bytes).iter().filter(|frame| place(frame)).count()
    };
    // The first has them in its delta, the second first in its item.
    let events = [delta(0, tokens()), done(0), delta(1, json!([])), done(1), whole.clone()];
    let (bytes, _, loss, _) = stream(R, C, [sse(&events).as_bytes()]);
    assert_eq!((told(&bytes), pointers(&loss)), (2, vec![]));
    // An empty delta opens nothing.
    let mut early = delta(0, tokens());
    early["delta"] = json!("");
    let (bytes, _, loss, _) = stream(R, C, [sse(&[early, whole.clone()]).as_bytes()]);
    assert_eq!((told(&bytes), pointers(&loss)), (0, vec!["/output/0/content/0/logprobs"]));
    // A part of the item that has ended before it takes none.
    let second = json!({ "type": "response.output_text.delta", "output_index": 0, "content_index": 1, "delta": "b" });
    let (bytes, _, loss, _) = stream(R, C, [sse(&[delta(0, json!([])), second, done(0), whole]).as_bytes()]);
    assert_eq!((told(&bytes), pointers(&loss)), (0, vec!["/output/0/content/0/logprobs"]));
}

#[test]
fn those_of_an_empty_text_go_to_the_first_that_says_something_or_are_named() {
    let mut body = whole(G);
    body["candidates"][0]["content"]["parts"] = json!([{ "text": "" }, { "text": "hé" }]);
    let (bytes, loss) = answered(G, C, body.to_string().as_bytes());
    assert_eq!(value(&bytes)["choices"][0]["logprobs"]["content"], tokens());
    assert_eq!(pointers(&loss), Vec::<&str>::new());
    body["candidates"][0]["content"]["parts"] = json!([{ "text": "" }]);
    let (_, loss) = answered(G, C, body.to_string().as_bytes());
    assert_eq!(pointers(&loss), ["/candidates/0/logprobsResult"]);
    let mut body = whole(C);
    body["choices"][0]["message"]["content"] = json!("");
    let (_, loss) = answered(C, G, body.to_string().as_bytes());
    assert_eq!(pointers(&loss), ["/choices/0/logprobs/content"]);
    let mut body = whole(R);
    body["output"][0]["content"][0]["text"] = json!("");
    let (_, loss) = answered(R, C, body.to_string().as_bytes());
    assert_eq!(pointers(&loss), ["/output/0/content/0/logprobs"]);
}

/// Beside each token stands what is made anew of its text, or numbers it; all else is named.
#[test]
fn what_is_said_beside_the_tokens_is_named() {
    const CHAT: &str = "/choices/0/logprobs/content";
    const GEMINI: &str = "/candidates/0/logprobsResult";
    for (from, member, name) in [
        (C, format!("{CHAT}/1"), "xToken"),
        (C, format!("{CHAT}/1/top_logprobs/0"), "xToken"),
        (G, GEMINI.to_owned(), "logProbabilitySum"),
        (G, format!("{GEMINI}/chosenCandidates/1"), "xToken"),
        (G, format!("{GEMINI}/topCandidates/1"), "xPlace"),
        (G, format!("{GEMINI}/topCandidates/1/candidates/0"), "xToken"),
    ] {
        let mut body = whole(from);
        body.pointer_mut(&member).unwrap()[name] = json!(-0.75);
        let named = format!("{member}/{name}");
        let (_, loss) = answered(from, R, body.to_string().as_bytes());
        assert_eq!(pointers(&loss), [named.as_str()], "{from:?}");
        let event = if from == C {
            let choice = &body["choices"][0];
            let delta = json!({ "index": 0, "delta": { "content": "hé" }, "logprobs": choice["logprobs"] });
            sse(&[json!({ "choices": [delta] })]) + "data: [DONE]\n\n"
        } else {
            sse(&[body])
        };
        let (_, _, loss, _) = stream(from, R, [event.as_bytes()]);
        assert_eq!(pointers(&loss), [named.as_str()], "{from:?}, as a stream");
    }
    let mut body = whole(G);
    body.pointer_mut(&format!("{GEMINI}/chosenCandidates/0")).unwrap()["tokenId"] = json!(7);
    let result = body.pointer_mut(GEMINI).unwrap();
    result["topCandidates"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "candidates": [{ "token": "x", "logProbability": -9.0 }] }));
    let (_, loss) = answered(G, C, body.to_string().as_bytes());
    assert_eq!(pointers(&loss), [format!("{GEMINI}/topCandidates/2")], "rivals of no token");
}

#[test]
fn tokens_without_a_number_are_named() {
    for (from, at, member) in [
        (C, "/choices/0/logprobs/content", "logprob"),
        (R, "/output/0/content/0/logprobs", "logprob"),
        (G, "/candidates/0/logprobsResult/chosenCandidates", "logProbability"),
    ] {
        let mut body = whole(from);
        body.pointer_mut(at).unwrap()[0][member] = json!("-inf");
        let (_, loss) = answered(from, if from == C { R } else { C }, body.to_string().as_bytes());
        assert_eq!(pointers(&loss), [at.trim_end_matches("/chosenCandidates")], "{from:?}");
    }
    let mut body = whole(R);
    body["output"][0]["content"][0]["logprobs"][1]["top_logprobs"][0]["logprob"] = Value::Null;
    let (_, loss) = answered(R, C, body.to_string().as_bytes());
    assert_eq!(pointers(&loss), ["/output/0/content/0/logprobs"], "a rival");
}
