//! The laws, on generated documents.

use proptest::prelude::*;
use serde_json::Value;

use super::{
    generate::{Spoken, Wanted, spoken, wanted},
    support::{Said, WIRES, answered, asked, convert, folded, frames, many, said, stream, value, whole},
};
use crate::{
    Wire,
    convert::{Ending, decode_request, parse},
    ir::{Choice, Format, Kind, Param, Part, Request, Role, Source},
};

fn wire() -> impl Strategy<Value = Wire> {
    prop::sample::select(&WIRES[..])
}

pub(super) fn pair() -> impl Strategy<Value = (Wire, Wire)> {
    (wire(), 1..4usize).prop_map(|(from, by)| {
        let at = WIRES.iter().position(|wire| *wire == from).unwrap();
        (from, WIRES[(at + by) % 4])
    })
}

/// Takes out what the wires cannot both say.
pub(super) fn level(from: Wire, to: Wire, said: &mut Said) {
    let one_text = |wire| matches!(wire, Wire::Anthropic | Wire::Gemini);
    if one_text(from) || one_text(to) {
        said.text += &std::mem::take(&mut said.refusal);
    }
    let calls = !said.calls.is_empty();
    if matches!(said.finish.as_str(), "StopSequence" | "Pause" | "Malformed" | "Stop" | "ToolCalls") {
        said.finish = if calls { "ToolCalls" } else { "Stop" }.to_owned();
    }
    // Gemini has no count of what was written to a cache: it is prompt.
    if from == Wire::Gemini || to == Wire::Gemini {
        said.usage.0 += std::mem::take(&mut said.usage.2);
    }
    // Its arguments are an object: what is none is kept in one.
    if from == Wire::Gemini || to == Wire::Gemini {
        for (.., arguments) in &mut said.calls {
            if arguments.is_string() {
                *arguments = serde_json::json!({ "_raw": arguments.take() });
            }
        }
    }
    // Sealed, or without a place.
    said.signatures.clear();
    if from == Wire::Gemini {
        // Its calls come without ids: they get some.
        said.calls.iter_mut().for_each(|(id, ..)| *id = None);
    }
}

fn check_shape(to: Wire, bytes: &[u8]) {
    let frames = frames(bytes);
    let events: Vec<Value> = frames.iter().filter(|frame| *frame != b"[DONE]").map(|frame| value(frame)).collect();
    match to {
        Wire::Anthropic => {
            let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
            assert_eq!(kinds.first(), Some(&"message_start"));
            assert_eq!(kinds[kinds.len() - 2..], ["message_delta", "message_stop"]);
            let mut open: Option<u64> = None;
            let mut next = 0;
            for event in &events[1..events.len() - 2] {
                let index = event["index"].as_u64().unwrap();
                match event["type"].as_str().unwrap() {
                    "content_block_start" => {
                        assert_eq!((open.replace(index), index), (None, next));
                        next += 1;
                    }
                    "content_block_delta" => assert_eq!(open, Some(index)),
                    "content_block_stop" => assert_eq!(open.take(), Some(index)),
                    other => panic!("{other}"),
                }
            }
            assert_eq!(open, None);
        }
        Wire::Chat => {
            assert_eq!(frames.last().unwrap(), b"[DONE]");
            assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
            let finishes = events.iter().filter(|event| event["choices"][0]["finish_reason"].is_string()).count();
            let usages = events.iter().filter(|event| event["usage"].is_object()).count();
            assert_eq!((finishes, usages), (1, 1));
            assert!(events[events.len() - 1]["usage"].is_object());
            assert!(events.iter().all(|event| event["id"] == events[0]["id"]));
            let mut next = 0;
            for call in events.iter().filter_map(|event| event["choices"][0]["delta"]["tool_calls"].get(0)) {
                let index = call["index"].as_u64().unwrap();
                if call["id"].is_string() {
                    assert_eq!(index, next);
                    next += 1;
                } else {
                    assert_eq!(index + 1, next, "pieces of one call at a time");
                }
            }
        }
        Wire::Responses => {
            for (at, event) in events.iter().enumerate() {
                assert_eq!(event["sequence_number"], at as u64);
            }
            let kind = |event: &Value| event["type"].as_str().unwrap().to_owned();
            let last = events.last().unwrap();
            assert!(matches!(kind(last).as_str(), "response.completed" | "response.incomplete"));
            let (mut added, mut done) = (Vec::new(), Vec::new());
            for event in &events {
                match kind(event).as_str() {
                    "response.output_item.added" => {
                        assert_eq!(event["output_index"], done.len() as u64);
                        assert_eq!(added.len(), done.len(), "one item after another");
                        added.push(event["item"]["id"].clone());
                    }
                    "response.output_item.done" => {
                        assert_eq!(event["item"]["id"], added[done.len()]);
                        done.push(event["item"].clone());
                    }
                    name if name.rsplit('.').next() == Some("delta") => {
                        assert_eq!(event["item_id"], added[done.len()]);
                        assert_eq!(event["output_index"], done.len() as u64);
                    }
                    _ => {}
                }
            }
            assert_eq!(last["response"]["output"], Value::from(done));
        }
        Wire::Gemini => {
            let finishes = events.iter().filter(|event| event["candidates"][0]["finishReason"].is_string()).count();
            assert_eq!(finishes, 1);
            assert!(events.last().unwrap()["candidates"][0]["finishReason"].is_string());
        }
    }
}

/// What a request asks, apart from how its wire cuts it.
#[derive(Debug, PartialEq)]
struct Gist {
    system: String,
    turns: Vec<(&'static str, Vec<String>)>,
    tools: Vec<String>,
    choice: Option<Choice>,
    max: Option<u64>,
    temperature: Option<f64>,
    stop: Value,
    schema: Option<Value>,
}

fn gist(request: &Request) -> Gist {
    let mut system: Vec<String> = request.system.iter().filter_map(|part| part.text().map(str::to_owned)).collect();
    let mut turns: Vec<(&'static str, Vec<String>)> = Vec::new();
    for turn in &request.turns {
        let role = match turn.role {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::System | Role::Developer => {
                system.extend(turn.parts.iter().filter_map(|part| part.text().map(str::to_owned)));
                continue;
            }
        };
        let parts = turn.parts.iter().map(gist_of);
        match turns.last_mut() {
            Some((last, all)) if *last == role => all.extend(parts),
            _ => turns.push((role, parts.collect())),
        }
    }
    let tools = request.tools.iter().map(|tool| match tool {
        crate::ir::Tool::Function(one) => {
            let schema: Value = value(&one.schema.clone().unwrap_or_default().to_bytes());
            format!("{} {:?} {schema}", one.name, one.description)
        }
        other => format!("{other:?}"),
    });
    let schema = match &request.format {
        Some(Format::Schema { schema, .. }) => Some(value(&schema.to_bytes())),
        _ => None,
    };
    Gist {
        system: system.join("\n\n"),
        turns,
        tools: tools.collect(),
        choice: request.choice.clone(),
        max: request.param(Param::MaxTokens).and_then(crate::ir::Json::u64),
        temperature: request.param(Param::Temperature).and_then(crate::ir::Json::f64),
        stop: request.param(Param::Stop).map_or(Value::Null, |stop| value(&stop.to_bytes())),
        schema,
    }
}

fn gist_of(part: &Part) -> String {
    match &part.kind {
        Kind::Text(text) => format!("text {text:?}"),
        Kind::Media { source: Source::Base64 { mime, data }, .. } => format!("{mime} {data}"),
        Kind::Call { id, name, arguments, .. } => {
            let arguments = if arguments.is_empty() { "{}" } else { arguments };
            format!("call {id:?} {name} {}", serde_json::from_str::<Value>(arguments).unwrap())
        }
        Kind::Result { id, content, .. } => {
            format!("result {id:?} {:?}", content.iter().map(gist_of_result).collect::<Vec<_>>())
        }
        other => format!("{other:?}"),
    }
}

/// A result that is an object is one on every wire, with the blanks that the wire puts between its members.
fn gist_of_result(part: &Part) -> String {
    let object = part.text().and_then(|text| serde_json::from_str::<Value>(text).ok()).filter(Value::is_object);
    object.map_or_else(|| gist_of(part), |object| format!("object {object}"))
}

fn request_gist(wire: Wire, body: &Value) -> Gist {
    gist(&decode_request(wire, parse(&serde_json::to_vec(body).unwrap()).unwrap()).unwrap())
}

/// Stop sequences have no place on the Responses wire.
fn without_stop(mut gist: Gist) -> Gist {
    gist.stop = Value::Null;
    gist
}

fn conserved(from: Wire, to: Wire, wanted: &Wanted) {
    let body = wanted.body(from);
    let converted = convert(from, to, &body);
    let there = value(&converted.bytes);
    let (mut want, mut got) = (request_gist(from, &body), request_gist(to, &there));
    if to == Wire::Responses || from == Wire::Responses {
        (want, got) = (without_stop(want), without_stop(got));
    }
    assert_eq!(got, want);
    let lost: Vec<&str> = converted.loss.items().iter().map(|lost| lost.pointer.as_str()).collect();
    if to == Wire::Responses && from != Wire::Responses && !wanted.stop.is_empty() {
        assert!(lost.iter().any(|pointer| pointer.to_lowercase().contains("stop")), "{lost:?}");
    }
    // Nothing is lost in silence: not what no vendor has yet.
    assert_eq!(wanted.future, lost.iter().any(|pointer| pointer.starts_with("/xFuture")), "{lost:?}");
    let back = convert(to, from, &there);
    let mut again = request_gist(from, &value(&back.bytes));
    if to == Wire::Responses {
        again = without_stop(again);
    }
    assert_eq!(again, want, "there and back");
}

fn streamed_as_whole(from: Wire, to: Wire, spoken: &Spoken) {
    let native = spoken.stream(from);
    let body = serde_json::to_vec(&spoken.whole(from)).unwrap();
    let (bytes, ending, ..) = stream(from, to, [native.as_slice()]);
    assert_eq!(ending, Ending::Whole);
    check_shape(to, &bytes);
    let (converted, _) = answered(from, to, &body);
    let mut streamed = said(&folded(to, &bytes).unwrap());
    let mut at_once = said(&whole(to, &converted));
    assert_eq!(streamed.signatures.is_empty(), at_once.signatures.is_empty());
    assert_eq!(streamed.calls, at_once.calls);
    let mut want = said(&whole(from, &body));
    level(from, to, &mut want);
    level(from, to, &mut streamed);
    level(from, to, &mut at_once);
    assert_eq!(streamed, at_once, "a stream folds to the whole");
    assert_eq!(at_once, want, "what was said is what arrives");
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn a_request_comes_back_as_it_was(wire in wire(), wanted in wanted()) {
        let body = wanted.body(wire);
        prop_assert_eq!(asked(wire, wire, &body), body);
    }

    #[test]
    fn an_answer_comes_back_as_it_was(wire in wire(), spoken in spoken()) {
        let body = spoken.whole(wire);
        let (bytes, loss) = answered(wire, wire, &serde_json::to_vec(&body).unwrap());
        prop_assert_eq!(value(&bytes), body);
        prop_assert!(loss.is_empty());
    }

    #[test]
    fn a_request_keeps_what_both_can_say_and_names_the_rest((from, to) in pair(), wanted in wanted()) {
        conserved(from, to, &wanted);
    }

    #[test]
    fn a_stream_says_what_the_whole_says((from, to) in pair(), spoken in spoken()) {
        streamed_as_whole(from, to, &spoken);
    }

    #[test]
    fn any_chunking_gives_the_same(
        (from, to) in pair(), spoken in spoken(), cuts in prop::collection::vec(any::<usize>(), 0..12), lines in 0..3u8,
    ) {
        let native = spoken.stream(from);
        let want = stream(from, to, [native.as_slice()]);
        let text = String::from_utf8(native).unwrap().replace("\r\n", "\n");
        let text = text.replace('\n', ["\n", "\r\n", "\r"][usize::from(lines)]);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        ends.push(text.len());
        ends.sort_unstable();
        let mut start = 0;
        let pieces = ends.into_iter().map(|end| &text.as_bytes()[std::mem::replace(&mut start, end)..end]);
        prop_assert_eq!(stream(from, to, pieces), want);
    }
}

#[test]
fn one_byte_at_a_time_gives_the_same() {
    let native = b"data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xe5\xa4\xa9\"}}]}\r\n\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\r\n\r\ndata: [DONE]\r\n\r\n";
    for to in WIRES {
        let want = stream(Wire::Chat, to, [native.as_slice()]);
        assert_eq!(stream(Wire::Chat, to, native.chunks(1)), want);
        assert_eq!(want.1, Ending::Whole);
    }
}
