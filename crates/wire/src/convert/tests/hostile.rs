//! Input that nobody should send: no panic, and bounds that hold.

use std::collections::HashMap;

use proptest::prelude::*;

use super::support::{WIRES, answer, many, memory};
use crate::{
    StreamTap, Wire,
    convert::{Asked, EVENT_MAX, Ending, Quirks, Refused, Stream, request, response},
    ir::steps::COMPARED,
    loss::steps::BUILT,
};

/// JSON made of the words that decoders look for, in places where they do not belong.
fn confused() -> impl Strategy<Value = String> {
    const WORDS: [&str; 42] = [
        "messages",
        "contents",
        "input",
        "parts",
        "content",
        "type",
        "text",
        "tool_use",
        "function_call",
        "role",
        "user",
        "assistant",
        "model",
        "choices",
        "delta",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "candidates",
        "functionCall",
        "args",
        "usage",
        "system",
        "tools",
        "thinking",
        "reasoning",
        "summary",
        "index",
        "output",
        "message_start",
        "content_block_start",
        "content_block_delta",
        "response.output_item.done",
        "item",
        "signature",
        "response.output_text.delta",
        "output_index",
        "content_block",
        "message",
        "tool_result",
        "finish_reason",
    ];
    let word = prop::sample::select(&WORDS[..]).prop_map(|word| format!("\"{word}\""));
    let leaf = prop_oneof![
        word.clone(),
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<u64>().prop_map(|number| number.to_string()),
        Just("-1.5e300".to_owned()),
        Just("\"\\ud83e\\udd80\"".to_owned()),
    ];
    leaf.prop_recursive(5, 48, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((word.clone(), inner), 0..6).prop_map(|members| {
                let members: Vec<String> = members.into_iter().map(|(name, value)| format!("{name}:{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn no_document_panics(from in prop::sample::select(&WIRES[..]), to in prop::sample::select(&WIRES[..]), body in confused()) {
        let memory = memory();
        let list = if from == Wire::Responses { "input" } else if from == Wire::Gemini { "contents" } else { "messages" };
        for body in [body.clone(), format!("{{\"{list}\":[{body}]}}"), format!("{{\"{list}\":[{{\"role\":\"user\",\"content\":[{body}],\"parts\":[{body}]}}],\"tools\":[{body}]}}")] {
            if let Ok(converted) = request(from, to, body.as_bytes(), &Asked::default(), Quirks::default()) {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&converted.bytes).is_ok());
            }
            let _ = response(from, to, body.as_bytes(), &answer(&memory));
        }
    }

    #[test]
    fn no_stream_panics(
        from in prop::sample::select(&WIRES[..]), to in prop::sample::select(&WIRES[..]),
        events in prop::collection::vec(confused(), 0..6),
    ) {
        let memory = memory();
        let mut stream = Stream::new(from, to, &answer(&memory));
        let mut out = Vec::new();
        for event in events {
            if stream.feed(format!("data: {event}\n\n").as_bytes(), &mut out).is_err() {
                break;
            }
        }
        let _ = stream.finish(&mut out);
    }
}

#[test]
fn deep_nesting_is_refused_and_not_walked() {
    let deep = "[".repeat(100_000);
    let body = format!("{{\"messages\":{deep}");
    for wire in WIRES {
        let refused = request(wire, Wire::Chat, body.as_bytes(), &Asked::default(), Quirks::default());
        assert!(matches!(refused, Err(Refused::Invalid { .. })));
    }
}

#[test]
fn an_event_above_the_bound_ends_the_stream() {
    let memory = memory();
    let mut stream = Stream::new(Wire::Chat, Wire::Anthropic, &answer(&memory));
    let mut out = Vec::new();
    stream.feed(b"data: \"", &mut out).unwrap();
    let piece = vec![b'x'; 1 << 20];
    let mut fed = 0;
    let refused = loop {
        match stream.feed(&piece, &mut out) {
            Ok(()) => fed += piece.len(),
            Err(refused) => break refused,
        }
        assert!(fed <= EVENT_MAX, "the bound holds");
    };
    assert_eq!(refused, Refused::TooLarge);
    assert!(fed >= EVENT_MAX - piece.len(), "and is not far below");
}

#[test]
fn a_cut_stream_is_not_ended_as_if_it_were_whole() {
    let starts: [(Wire, &str); 4] = [
        (Wire::Anthropic, "data: {\"type\":\"message_start\",\"message\":{}}\n\n"),
        (Wire::Chat, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n"),
        (Wire::Responses, "data: {\"type\":\"response.created\",\"response\":{}}\n\n"),
        (Wire::Gemini, "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}\n\n"),
    ];
    let memory = memory();
    for (from, start) in starts {
        for to in WIRES {
            let mut stream = Stream::new(from, to, &answer(&memory));
            let mut out = Vec::new();
            stream.feed(start.as_bytes(), &mut out).unwrap();
            assert_eq!(stream.finish(&mut out).unwrap(), Ending::Cut);
            let text = String::from_utf8(out).unwrap();
            for end in ["message_stop", "[DONE]", "response.completed", "finishReason"] {
                assert!(!text.contains(end), "{from:?}-{to:?}: {text}");
            }
        }
    }
}

#[test]
fn a_stream_of_which_one_answer_is_cut_is_not_ended_as_if_it_were_whole() {
    let chat = |at: u64, finish: &str| {
        format!(r#"data: {{"choices":[{{"index":{at},"delta":{{"content":"a"}},"finish_reason":{finish}}}]}}"#) + "\n\n"
    };
    let gemini = |at: u64, finish: &str| {
        format!(
            r#"data: {{"candidates":[{{"index":{at},"content":{{"parts":[{{"text":"a"}}]}},"finishReason":{finish}}}]}}"#
        ) + "\n\n"
    };
    let memory = memory();
    for (from, to) in [(Wire::Chat, Wire::Gemini), (Wire::Gemini, Wire::Chat)] {
        let event = |at: u64, done: bool| match (from, done) {
            (Wire::Chat, done) => chat(at, if done { "\"stop\"" } else { "null" }),
            (_, done) => gemini(at, if done { "\"STOP\"" } else { "null" }),
        };
        let run = |second_done: bool| {
            let mut stream = Stream::new(from, to, &answer(&memory));
            let mut out = Vec::new();
            for piece in [event(1, false), event(0, true), event(1, second_done)] {
                stream.feed(piece.as_bytes(), &mut out).unwrap();
            }
            (stream.finish(&mut out).unwrap(), String::from_utf8(out).unwrap())
        };
        let (ending, text) = run(false);
        assert_eq!(ending, Ending::Cut, "{from:?}-{to:?}: {text}");
        for end in ["[DONE]", "finishReason"] {
            assert!(!text.contains(end), "{from:?}-{to:?}: {text}");
        }
        let (ending, text) = run(true);
        assert_eq!(ending, Ending::Whole, "{from:?}-{to:?}: {text}");
        let reason = if to == Wire::Chat { "\"stop\"" } else { "\"STOP\"" };
        assert_eq!(text.matches(reason).count(), 2, "{from:?}-{to:?}: {text}");
    }
}

/// Feeds a stream that never ends what it begins, and tells the most that was held.
fn held_by(from: Wire, to: Wire, mut event: impl FnMut(usize) -> String) -> usize {
    let memory = memory();
    let mut stream = Stream::new(from, to, &answer(&memory));
    let (mut out, mut most) = (Vec::new(), 0);
    for at in 0..200_000 {
        out.clear();
        match stream.feed(format!("data: {}\n\n", event(at)).as_bytes(), &mut out) {
            Ok(()) => most = most.max(stream.held()),
            Err(refused) => {
                assert_eq!(refused, Refused::TooLarge);
                return most;
            }
        }
    }
    panic!("{from:?}-{to:?}: no bound was met, and {most} bytes are held");
}

#[test]
fn a_stream_that_ends_nothing_meets_a_bound() {
    let big = "x".repeat(100_000);
    for to in WIRES {
        // Calls that come with their input, and are never closed.
        let calls = |at: usize| {
            format!(
                r#"{{"type":"content_block_start","index":{at},"content_block":{{"type":"tool_use","id":"c{at}","name":"f","input":{{"a":"{big}"}}}}}}"#
            )
        };
        assert!(held_by(Wire::Anthropic, to, calls) <= EVENT_MAX);
        let small = |at: usize| {
            format!(
                r#"{{"type":"content_block_start","index":{at},"content_block":{{"type":"tool_use","id":"c{at}","name":"f","input":{{}}}}}}"#
            )
        };
        assert!(held_by(Wire::Anthropic, to, small) <= EVENT_MAX);
        let foreign = |at: usize| {
            format!(r#"{{"type":"content_block_start","index":{at},"content_block":{{"type":"server_tool_use"}}}}"#)
        };
        assert!(held_by(Wire::Anthropic, to, foreign) <= EVENT_MAX);
        // Arguments of a call that waits for one that does not end.
        let pieces = |at: usize| {
            match at {
            0 => r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}},{"index":1,"id":"b","function":{"name":"g"}}]}}]}"#.to_owned(),
            _ => format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{{"index":1,"function":{{"arguments":"{big}"}}}}]}}}}]}}"#),
        }
        };
        assert!(held_by(Wire::Chat, to, pieces) <= EVENT_MAX);
        let many = |at: usize| {
            format!(
                r#"{{"choices":[{{"delta":{{"tool_calls":[{{"index":{at},"id":"c{at}","function":{{"name":"f","arguments":"{{"}}}}]}}}}]}}"#
            )
        };
        assert!(held_by(Wire::Chat, to, many) <= EVENT_MAX);
        let items = |at: usize| {
            format!(r#"{{"type":"response.output_text.delta","output_index":{at},"content_index":0,"delta":"a"}}"#)
        };
        assert!(held_by(Wire::Responses, to, items) <= EVENT_MAX);
        let calls = |at: usize| {
            format!(
                r#"{{"type":"response.output_item.added","output_index":{at},"item":{{"type":"function_call","call_id":"c{at}","name":"f"}}}}"#
            )
        };
        assert!(held_by(Wire::Responses, to, calls) <= EVENT_MAX);
    }
}

#[test]
fn an_answer_that_is_said_again_whole_is_bounded() {
    let big = "x".repeat(100_000);
    let text = |_: usize| format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{big}"}}]}}}}]}}"#);
    assert!(held_by(Wire::Gemini, Wire::Responses, text) <= EVENT_MAX);
    let call =
        |_: usize| format!(r#"{{"candidates":[{{"content":{{"parts":[{{"functionCall":{{"name":"{big}"}}}}]}}}}]}}"#);
    assert!(held_by(Wire::Gemini, Wire::Responses, call) <= EVENT_MAX);
}

#[test]
fn an_event_of_too_many_values_is_refused() {
    let memory = memory();
    let mut stream = Stream::new(Wire::Chat, Wire::Anthropic, &answer(&memory));
    let event = format!("data: {{\"choices\":[{}0]}}\n\n", "0,".repeat(300_000));
    let refused = stream.feed(event.as_bytes(), &mut Vec::new());
    assert!(matches!(refused, Err(Refused::Invalid { .. })), "it takes 32 times the memory of its text");
}

#[test]
fn no_space_but_jsons_own_is_passed_over_around_an_event() {
    let memory = memory();
    let data = r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#;
    for (space, good) in [(" ", true), ("\t", true), ("\u{c}", false), ("\u{b}", false)] {
        for data in [format!("{space}{data}{space}"), format!("{space}[DONE]"), space.to_owned()] {
            let mut stream = Stream::new(Wire::Chat, Wire::Anthropic, &answer(&memory));
            let fed = stream.feed(format!("data: {data}\n\n").as_bytes(), &mut Vec::new());
            assert_eq!(fed.is_ok(), good, "{data:?}: {fed:?}");
            let mut tap = StreamTap::new(Wire::Chat);
            tap.next(format!("data: {data}\n\n").as_bytes());
            assert_eq!(tap.seen().broken_json, !good, "the tap reads it alike: {data:?}");
        }
    }
}

#[test]
fn many_calls_are_paired_and_named_by_looking_up_and_not_by_searching() {
    const CALLS: usize = 100_000;
    // Two of three are answered, those without an id by their names, and the last first.
    let open = |at: &usize| at % 3 == 2;
    let call = |at: usize| format!(r#"{{"functionCall":{{"name":"f{at}","args":{{}}}}}}"#);
    let result = |at: usize| format!(r#"{{"functionResponse":{{"name":"f{at}","response":{{"output":"{at}"}}}}}}"#);
    let calls: Vec<String> = (0..CALLS).map(call).collect();
    let results: Vec<String> = (0..CALLS).rev().filter(|at| !open(at)).map(result).collect();
    let body = format!(
        r#"{{"contents":[{{"role":"model","parts":[{}]}},{{"role":"user","parts":[{}]}}]}}"#,
        calls.join(","),
        results.join(",")
    );
    COMPARED.set(0);
    let converted = request(Wire::Gemini, Wire::Responses, body.as_bytes(), &Asked::default(), Quirks::default());
    // A look-up takes some 60 steps in 100,000; a search took 50,000.
    let steps = COMPARED.get() / CALLS as u64;
    assert!((1..1000).contains(&steps), "{steps} steps for a call");
    let there: serde_json::Value = serde_json::from_slice(&converted.unwrap().bytes).unwrap();
    let (mut made, mut answered, mut missing) = (HashMap::new(), 0, 0);
    for item in there["input"].as_array().unwrap() {
        let (id, output) = (item["call_id"].as_str().unwrap(), item["output"].as_str());
        match output {
            None => drop(made.insert(id, item["name"].as_str().unwrap())),
            Some(at) if made[id].strip_prefix('f') == Some(at) => answered += 1,
            Some(text) => {
                assert_eq!(text, "Error: no result");
                missing += 1;
            }
        }
    }
    let without = (0..CALLS).filter(open).count();
    assert_eq!((made.len(), answered, missing), (CALLS, CALLS - without, without));
}

#[test]
fn results_that_go_by_name_find_it_by_looking_up() {
    const CALLS: usize = 100_000;
    let calls: Vec<String> =
        (0..CALLS).map(|at| format!(r#"{{"type":"tool_use","id":"c{at}","name":"f{at}","input":{{}}}}"#)).collect();
    let results: Vec<String> = (0..CALLS)
        .rev()
        .map(|at| format!(r#"{{"type":"tool_result","tool_use_id":"c{at}","content":"{at}"}}"#))
        .collect();
    let body = format!(
        r#"{{"messages":[{{"role":"assistant","content":[{}]}},{{"role":"user","content":[{}]}}]}}"#,
        calls.join(","),
        results.join(",")
    );
    COMPARED.set(0);
    let converted = request(Wire::Anthropic, Wire::Gemini, body.as_bytes(), &Asked::default(), Quirks::default());
    let steps = COMPARED.get() / CALLS as u64;
    assert!((1..1000).contains(&steps), "{steps} steps for a call");
    let there: serde_json::Value = serde_json::from_slice(&converted.unwrap().bytes).unwrap();
    let parts = there["contents"].as_array().unwrap().iter().flat_map(|turn| turn["parts"].as_array().unwrap());
    let names: Vec<&str> = parts.filter_map(|part| part["functionResponse"]["name"].as_str()).collect();
    assert_eq!((names.len(), names[0], names[CALLS - 1]), (CALLS, "f99999", "f0"));
}

#[test]
fn places_of_what_is_lost_below_a_long_name_are_not_built_longer_than_they_are_told() {
    const MEMBERS: u64 = 10_000;
    let long = "n".repeat(10_000);
    let many: Vec<String> = (0..MEMBERS).map(|at| format!(r#""x{at}":1"#)).collect();
    let many = many.join(",");
    let member = format!(r#"{{"messages":[{{"role":"user","content":"a"}}],"{long}":{{{many}}}}}"#);
    let schema = format!(
        r#"{{"messages":[{{"role":"user","content":"a"}}],"tools":[{{"type":"function","function":{{"name":"f","parameters":{{"type":"object","properties":{{"{long}":{{{many}}}}}}}}}}}]}}"#
    );
    let answer_of = format!(r#"{{"choices":[{{"message":{{"content":"a"}}}}],"usage":{{"{long}":{{{many}}}}}}}"#);
    let memory = memory();
    let quirks = Quirks { json_schema: false, ..Quirks::default() };
    let lost_of =
        |body: &str| request(Wire::Chat, Wire::Gemini, body.as_bytes(), &Asked::default(), quirks).unwrap().loss;
    let lost = [
        lost_of(&member),
        lost_of(&schema),
        response(Wire::Chat, Wire::Gemini, answer_of.as_bytes(), &answer(&memory)).unwrap().loss,
    ];
    for loss in &lost {
        assert!(loss.items().iter().any(|lost| lost.pointer.contains("nnn")), "{loss:?}");
    }
    // Whole, each place has more than 10,000 bytes.
    let bytes = BUILT.get() / (3 * MEMBERS);
    assert!((1..1000).contains(&bytes), "{bytes} bytes for a place");
}

#[test]
fn references_to_a_large_schema_copy_it_a_bounded_number_of_times() {
    const SIZE: usize = 100_000;
    let large =
        format!(r#"{{"type":"object","properties":{{"a":{{"type":"string","description":"{}"}}}}}}"#, "d".repeat(SIZE));
    let uses: Vec<String> = (0..5000).map(|at| format!(r##""p{at}":{{"$ref":"#/$defs/d"}}"##)).collect();
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"a"}}],"tools":[{{"type":"function","function":{{"name":"f","parameters":{{"type":"object","properties":{{{}}},"$defs":{{"d":{large}}}}}}}}}]}}"#,
        uses.join(",")
    );
    let quirks = Quirks { json_schema: false, ..Quirks::default() };
    let made = request(Wire::Chat, Wire::Gemini, body.as_bytes(), &Asked::default(), quirks).unwrap();
    // The first forty or so are there, each with its whole text; the others are told.
    assert!((10 * SIZE..100 * SIZE).contains(&made.bytes.len()), "{} bytes", made.bytes.len());
    assert!(made.loss.items().iter().any(|lost| lost.pointer.starts_with("/tools/0/function/parameters")));
}
