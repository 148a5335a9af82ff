//! The taps and the peek on recorded traffic.

use proptest::prelude::*;
use serde_json::Value;
use wire::{Frame, Kind, Seen, Wire, peek};

use crate::{
    oracle::{self, Facts},
    support::{cases, cut_at, tap_stream, tap_whole},
};

fn facts(seen: &Seen) -> Facts {
    Facts {
        usage: seen.usage,
        finish: seen.finish.clone(),
        id: seen.id.clone(),
        model: seen.model.clone(),
        status: seen.status.clone(),
    }
}

#[test]
fn a_stream_is_read_as_a_parser_would_read_it() {
    for case in cases("stream.sse") {
        let (_, seen) = tap_stream(case.wire, &[&case.bytes]);
        let want = oracle::fold(case.wire, &oracle::events(&case.bytes));
        assert_eq!(facts(&seen), want, "{}", case.name);
        assert!(want.usage.output > 0 || case.name.contains("refusal"), "{} shows nothing", case.name);
    }
}

#[test]
fn a_whole_answer_is_read_as_a_parser_would_read_it() {
    for case in cases("response.json") {
        let (seen, complete) = tap_whole(case.wire, &[&case.bytes]);
        let value: Value = serde_json::from_slice(&case.bytes).unwrap();
        assert_eq!(facts(&seen), oracle::fold(case.wire, &[value]), "{}", case.name);
        let content = u64::from(!case.name.contains("absent-parts"));
        assert!(complete && seen.closed && !seen.broken_json && seen.content_events == content, "{}", case.name);
    }
}

#[test]
fn a_recorded_stream_brings_content_and_closes_once() {
    for case in cases("stream.sse") {
        let (frames, seen) = tap_stream(case.wire, &[&case.bytes]);
        let closing = frames.iter().filter(|frame| **frame == Frame::Closing).count();
        assert_eq!(closing, 1, "{}", case.name);
        assert!(seen.closed && !seen.broken_json && seen.error.is_none(), "{}", case.name);
        assert!(seen.content_events > 0, "{}", case.name);
        let content = frames.iter().position(|frame| *frame == Frame::Content).unwrap();
        let closed = frames.iter().position(|frame| *frame == Frame::Closing).unwrap();
        assert!(content < closed, "{}", case.name);
    }
}

/// All strings that a client would show or run, by the paths of each wire.
fn generated_text(wire: Wire, event: &Value) -> usize {
    let len = |value: &Value| value.as_str().map_or(0, str::len);
    match wire {
        Wire::Anthropic => {
            let delta = &event["delta"];
            ["text", "thinking", "partial_json", "content"].iter().map(|key| len(&delta[*key])).sum()
        }
        Wire::Chat => {
            let delta = &event["choices"][0]["delta"];
            let calls = delta["tool_calls"].as_array().cloned().unwrap_or_default();
            let function = |call: &Value| len(&call["function"]["name"]) + len(&call["function"]["arguments"]);
            len(&delta["content"]) + len(&delta["reasoning_content"]) + calls.iter().map(function).sum::<usize>()
        }
        Wire::Responses => len(&event["delta"]),
        Wire::Gemini => 0,
    }
}

#[test]
fn generated_text_is_measured() {
    for case in cases("stream.sse").iter().filter(|case| case.wire != Wire::Gemini) {
        let (_, seen) = tap_stream(case.wire, &[&case.bytes]);
        let want: usize = oracle::events(&case.bytes).iter().map(|event| generated_text(case.wire, event)).sum();
        assert_eq!(seen.output_text_bytes, want as u64, "{}", case.name);
    }
}

#[test]
fn every_recorded_request_can_be_peeked() {
    for case in cases("request.json") {
        let peek =
            peek(case.wire, Kind::Generate, &case.bytes).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let body: Value = serde_json::from_slice(&case.bytes).unwrap();
        assert_eq!(peek.model.as_ref().map(|model| model.value.as_str()), body["model"].as_str(), "{}", case.name);
        assert_eq!(peek.stream.as_ref().map(|stream| stream.value), body["stream"].as_bool(), "{}", case.name);
        assert!(peek.messages > 0 && peek.text_bytes > 0, "{}", case.name);
    }
}

proptest! {
    #[test]
    fn any_chunking_of_a_stream_gives_the_same(
        which in any::<prop::sample::Index>(), cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let cases = cases("stream.sse");
        let case = which.get(&cases);
        prop_assert_eq!(
            tap_stream(case.wire, &cut_at(&case.bytes, &cuts)),
            tap_stream(case.wire, &[&case.bytes]),
            "{}", &case.name
        );
    }

    #[test]
    fn any_chunking_of_a_whole_answer_gives_the_same(
        which in any::<prop::sample::Index>(), cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let cases = cases("response.json");
        let case = which.get(&cases);
        prop_assert_eq!(
            tap_whole(case.wire, &cut_at(&case.bytes, &cuts)),
            tap_whole(case.wire, &[&case.bytes]),
            "{}", &case.name
        );
    }
}

#[test]
fn byte_by_byte_gives_the_same() {
    for case in cases("stream.sse") {
        for line_end in ["\n", "\r\n", "\r"] {
            let text = String::from_utf8(case.bytes.clone()).unwrap().replace("\r\n", "\n").replace('\n', line_end);
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            let whole = tap_stream(case.wire, &[&case.bytes]);
            assert_eq!(tap_stream(case.wire, &bytes), whole, "{} with {line_end:?}", case.name);
        }
    }
}
