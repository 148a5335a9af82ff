//! The laws, on generated documents.

use proptest::prelude::*;
use serde_json::Value;

use super::{
    generate::{Spoken, Wanted, spoken, wanted},
    shape::check_shape,
    support::{Said, WIRES, answered, asked, convert, folded, frames, many, said, some, sse, stream, value, whole},
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

/// Calls that wait for their results, by number.
#[derive(Default)]
struct Calls {
    made: usize,
    open: Vec<(usize, Option<String>, String)>,
}

impl Calls {
    fn made(&mut self, id: Option<&String>, name: &str) -> usize {
        self.open.push((self.made, id.cloned(), name.to_owned()));
        self.made += 1;
        self.made - 1
    }

    /// The call that a result is of: by its id, and without one the first of its name.
    fn answered(&mut self, id: Option<&String>, name: Option<&String>) -> Option<usize> {
        let is = |(_, known, called): &(usize, Option<String>, String)| match id {
            Some(id) => known.as_ref() == Some(id),
            None => name == Some(called),
        };
        let at = self.open.iter().position(is)?;
        Some(self.open.remove(at).0)
    }
}

/// With the ids of calls, or with the numbers of calls alone.
fn gist(request: &Request, ids: bool) -> Gist {
    let mut calls = Calls::default();
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
        let said = turn.parts.iter().filter(|part| !matches!(part.kind, Kind::Thinking { .. }));
        let parts: Vec<String> = said.map(|part| gist_of(part, &mut calls, ids)).collect();
        match turns.last_mut() {
            Some((last, all)) if *last == role => all.extend(parts),
            _ => turns.push((role, parts)),
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

fn gist_of(part: &Part, calls: &mut Calls, ids: bool) -> String {
    let shown = |id: &Option<String>| if ids { format!("{id:?}") } else { String::new() };
    match &part.kind {
        Kind::Text(text) => format!("text {text:?}"),
        Kind::Media { source: Source::Base64 { mime, data }, .. } => format!("{mime} {data}"),
        Kind::Call { id, name, arguments, .. } => {
            let arguments = if arguments.is_empty() { "{}" } else { arguments };
            let number = calls.made(id.as_ref(), name);
            format!("call {number} {} {name} {}", shown(id), serde_json::from_str::<Value>(arguments).unwrap())
        }
        Kind::Result { id, name, content, .. } => {
            let number = calls.answered(id.as_ref(), name.as_ref());
            format!("result of {number:?} {} {:?}", shown(id), content.iter().map(gist_of_result).collect::<Vec<_>>())
        }
        other => format!("{other:?}"),
    }
}

/// A result that is an object is one on every wire, with the blanks that the wire puts between its members.
fn gist_of_result(part: &Part) -> String {
    let object = part.text().and_then(|text| serde_json::from_str::<Value>(text).ok()).filter(Value::is_object);
    object.map_or_else(|| gist_of(part, &mut Calls::default(), true), |object| format!("object {object}"))
}

fn request_gist(wire: Wire, body: &Value, ids: bool) -> Gist {
    gist(&decode_request(wire, parse(&serde_json::to_vec(body).unwrap()).unwrap()).unwrap(), ids)
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
    let ids = from != Wire::Gemini || !wanted.nameless;
    let (mut want, mut got) = (request_gist(from, &body, ids), request_gist(to, &there, ids));
    if to == Wire::Responses || from == Wire::Responses {
        (want, got) = (without_stop(want), without_stop(got));
    }
    assert_eq!(got, want);
    assert!(got.turns.iter().flat_map(|(_, parts)| parts).all(|part| !part.starts_with("result of None")), "{got:?}");
    let lost: Vec<&str> = converted.loss.items().iter().map(|lost| lost.pointer.as_str()).collect();
    if to == Wire::Responses && from != Wire::Responses && !wanted.stop.is_empty() {
        assert!(lost.iter().any(|pointer| pointer.to_lowercase().contains("stop")), "{lost:?}");
    }
    // Nothing is lost in silence: not thoughts that another vendor signed, and not what no vendor has yet.
    assert_eq!(wanted.future, lost.iter().any(|pointer| pointer.starts_with("/xFuture")), "{lost:?}");
    let thoughts = converted.loss.items().iter().filter(|lost| lost.reason.starts_with("reasoning that only"));
    assert_eq!(thoughts.count(), wanted.rounds.iter().filter(|round| round.thought.is_some()).count(), "{lost:?}");
    let back = convert(to, from, &there);
    let mut again = request_gist(from, &value(&back.bytes), ids);
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
    let (back, _) = answered(to, from, &converted);
    let mut again = said(&whole(from, &back));
    level(from, to, &mut again);
    assert_eq!(again, want, "there and back");
}

const fn list(wire: Wire) -> &'static str {
    if matches!(wire, Wire::Gemini) { "candidates" } else { "choices" }
}

/// One of several answers, as if it were alone.
fn alone(list: &str, event: &Value, index: usize) -> Option<Value> {
    let mut event = event.clone();
    let all = event.get_mut(list)?.as_array_mut()?;
    let rest = all.is_empty() && index == 0;
    all.retain(|one| one["index"] == index);
    for one in all.iter_mut() {
        one["index"] = 0.into();
    }
    (rest || !event[list].as_array()?.is_empty()).then_some(event)
}

/// Several answers at once, of which each says what it says alone.
fn several_as_one(from: Wire, to: Wire, several: &[Spoken]) {
    let mut body = several[0].whole(from);
    let mut lanes: Vec<Vec<Value>> = Vec::new();
    for (index, spoken) in several.iter().enumerate() {
        let mut whole = spoken.whole(from);
        whole[list(from)][0]["index"] = index.into();
        if index > 0 {
            body[list(from)].as_array_mut().unwrap().push(whole[list(from)][0].clone());
        }
        let events = frames(&spoken.stream(from)).into_iter().filter(|frame| frame != b"[DONE]");
        let mut events: Vec<Value> = events.map(|frame| value(&frame)).collect();
        for event in &mut events {
            if event[list(from)][0].is_object() {
                event[list(from)][0]["index"] = index.into();
            }
        }
        // What counts all of them comes with the first one, which ends last.
        if index > 0 {
            events.retain(|event| event[list(from)][0].is_object());
            for event in &mut events {
                event.as_object_mut().unwrap().remove("usageMetadata");
            }
        }
        lanes.push(events);
    }
    let mut native = Vec::new();
    while lanes.iter().skip(1).any(|lane| !lane.is_empty()) || lanes[0].len() > 2 {
        let last = lanes[0].len() <= 2;
        native.extend(
            lanes.iter_mut().skip(usize::from(last)).filter(|lane| !lane.is_empty()).map(|lane| lane.remove(0)),
        );
    }
    native.append(&mut lanes[0]);
    let done = |wire| if wire == Wire::Chat { "data: [DONE]\n\n" } else { "" };
    let (bytes, ending, ..) = stream(from, to, [(sse(&native) + done(from)).as_bytes()]);
    assert_eq!(ending, Ending::Whole);
    let streamed = frames(&bytes).into_iter().filter(|frame| frame != b"[DONE]");
    let streamed: Vec<Value> = streamed.map(|frame| value(&frame)).collect();
    let (at_once, _) = answered(from, to, &serde_json::to_vec(&body).unwrap());
    let mut ids = Vec::new();
    for (index, spoken) in several.iter().enumerate() {
        let events: Vec<Value> = streamed.iter().filter_map(|event| alone(list(to), event, index)).collect();
        let mut streamed = said(&folded(to, (sse(&events) + done(to)).as_bytes()).unwrap());
        let one = alone(list(to), &value(&at_once), index).unwrap();
        let mut at_once = said(&whole(to, &serde_json::to_vec(&one).unwrap()));
        let mut want = said(&whole(from, &serde_json::to_vec(&spoken.whole(from)).unwrap()));
        ids.extend(streamed.calls.iter().filter_map(|(id, ..)| id.clone()));
        for said in [&mut streamed, &mut at_once, &mut want] {
            level(from, to, said);
            // It counts all answers together.
            said.usage = Default::default();
        }
        assert_eq!(streamed, at_once, "answer {index}");
        assert_eq!(at_once, want, "answer {index}");
    }
    if from == Wire::Gemini {
        let made = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), made, "a call's id is its own among all answers");
    }
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
        singly in prop::bool::weighted(0.1),
    ) {
        let native = spoken.stream(from);
        let want = stream(from, to, [native.as_slice()]);
        let text = String::from_utf8(native).unwrap().replace("\r\n", "\n");
        let text = text.replace('\n', ["\n", "\r\n", "\r"][usize::from(lines)]);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        ends.push(text.len());
        ends.sort_unstable();
        if singly {
            ends = (1..=text.len()).collect();
        }
        let mut start = 0;
        let pieces = ends.into_iter().map(|end| &text.as_bytes()[std::mem::replace(&mut start, end)..end]);
        prop_assert_eq!(stream(from, to, pieces), want);
    }
}

proptest! {
    #![proptest_config(some())]

    #[test]
    fn each_of_several_answers_says_what_it_says_alone(
        back in any::<bool>(), several in prop::collection::vec(spoken(), 2..4),
    ) {
        // The law of one answer has the smallest pieces.
        let several: Vec<Spoken> = several.into_iter().map(|spoken| Spoken { cut: spoken.cut + 8, ..spoken }).collect();
        let (from, to) = if back { (Wire::Gemini, Wire::Chat) } else { (Wire::Chat, Wire::Gemini) };
        several_as_one(from, to, &several);
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
