use super::*;
use crate::{
    Wire,
    state::{Issued, What, fingerprint},
};

fn tap(wire: Wire, stream: &str) -> (Vec<Frame>, Seen) {
    let mut tap = StreamTap::new(wire);
    let (mut frames, mut rest) = (Vec::new(), stream.as_bytes());
    while !rest.is_empty() {
        let (read, frame) = tap.next(rest);
        frames.extend(frame);
        rest = &rest[read..];
    }
    frames.extend(tap.finish());
    (frames, tap.seen().clone())
}

/// The frames of a stream of these data.
fn frames(wire: Wire, data: &[&str]) -> Vec<Frame> {
    tap(wire, &stream(data)).0
}

fn stream(data: &[&str]) -> String {
    data.iter().flat_map(|data| ["data: ", data, "\n\n"]).collect()
}

fn whole(wire: Wire, body: &str) -> Seen {
    let mut tap = WholeTap::new(wire);
    tap.feed(body.as_bytes());
    tap.finish();
    tap.seen().clone()
}

fn vector(usage: Usage) -> [u64; 6] {
    [usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h, usage.output, usage.reasoning]
}

#[test]
fn every_kind_of_frame_is_told() {
    use Frame::{Closing, Comment, Content, Error, Other, Start, UsageOnly};
    for (wire, data, want) in [
        (Wire::Anthropic, r#"{"type":"message_start","message":{}}"#, Start),
        (Wire::Anthropic, r#"{"type":"ping"}"#, Comment),
        (Wire::Anthropic, r#"{"type":"content_block_start","content_block":{"type":"text","text":""}}"#, Content),
        (Wire::Anthropic, r#"{"type":"content_block_delta","delta":{"text":"a"}}"#, Content),
        (Wire::Anthropic, r#"{"type":"content_block_stop"}"#, Other),
        (Wire::Anthropic, r#"{"type":"message_delta","usage":{}}"#, Other),
        (Wire::Anthropic, r#"{"type":"message_stop"}"#, Closing),
        (Wire::Anthropic, r#"{"type":"error","error":{"type":"overloaded_error"}}"#, Error),
        (Wire::Anthropic, r#"{"type":"thought_delta"}"#, Content),
        (Wire::Anthropic, r#"{"type":"future_event"}"#, Other),
        (Wire::Chat, r#"{"choices":[{"delta":{"role":"assistant","content":"","refusal":null}}]}"#, Start),
        (Wire::Chat, r#"{"choices":[{"delta":{"content":"a"}}]}"#, Content),
        (Wire::Chat, r#"{"choices":[{"delta":{"content":null,"reasoning_content":"a"}}]}"#, Content),
        (Wire::Chat, r#"{"choices":[{"delta":{"refusal":"no"}}]}"#, Content),
        (Wire::Chat, r#"{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":""}}]}}]}"#, Content),
        (Wire::Chat, r#"{"choices":[{"delta":{"tool_calls":[]}}]}"#, Start),
        (Wire::Chat, r#"{"choices":[{"text":"a"}]}"#, Content),
        (Wire::Chat, r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, Other),
        (Wire::Chat, r#"{"choices":[],"usage":{"prompt_tokens":1}}"#, UsageOnly),
        (Wire::Chat, r#"{"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}"#, Start),
        (Wire::Chat, r#"{"choices":[],"usage":null}"#, Start),
        (Wire::Chat, r#"{"error":{"message":"m"}}"#, Error),
        (Wire::Chat, r#"{"error":"m"}"#, Error),
        (Wire::Chat, r#"{"error":null,"choices":[{"delta":{"content":"a"}}]}"#, Content),
        (Wire::Chat, "[DONE]", Closing),
        (Wire::Chat, " [DONE] ", Closing),
        (Wire::Chat, "[DONE]x", Other),
        (Wire::Responses, r#"{"type":"response.created","response":{"error":null}}"#, Start),
        (Wire::Responses, r#"{"type":"response.output_item.added","item":{}}"#, Start),
        (Wire::Responses, r#"{"type":"response.output_text.delta","delta":"a"}"#, Content),
        (Wire::Responses, r#"{"type":"response.apply_patch_call_operation_diff.delta","delta":"a"}"#, Content),
        (Wire::Responses, r#"{"type":"response.web_search_call.searching"}"#, Other),
        (Wire::Responses, r#"{"type":"keepalive"}"#, Comment),
        (Wire::Responses, r#"{"type":"response.completed","response":{}}"#, Closing),
        (Wire::Responses, r#"{"type":"response.incomplete","response":{}}"#, Closing),
        (Wire::Responses, r#"{"type":"response.failed","response":{"error":{"code":"x"}}}"#, Closing),
        (Wire::Responses, r#"{"type":"error","code":"x","message":"m"}"#, Error),
        (Wire::Responses, "[DONE]", Other),
        (Wire::Gemini, r#"{"candidates":[{"content":{"role":"model"}}]}"#, Start),
        (Wire::Gemini, r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#, Content),
        (Wire::Gemini, r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]}}]}"#, Content),
        (Wire::Gemini, r#"{"candidates":[{"content":{"parts":[{"inlineData":{"data":"QQ=="}}]}}]}"#, Content),
        (Wire::Gemini, r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}"#, Closing),
        (Wire::Gemini, r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#, Closing),
        (Wire::Gemini, r#"{"error":{"code":503}}"#, Error),
        (Wire::Chat, "not json", Other),
        (Wire::Chat, "", Comment),
        (Wire::Chat, "  ", Comment),
    ] {
        assert_eq!(frames(wire, &[data]), [want], "{wire:?} {data}");
    }
}

#[test]
fn an_event_without_a_type_has_its_name() {
    use Frame::{Closing, Comment, Error, Other};
    for (wire, stream, want) in [
        (Wire::Anthropic, "event: message_stop\ndata: {}\n\n", Closing),
        (Wire::Anthropic, "event: error\ndata: {\"error\":{}}\n\n", Error),
        (Wire::Anthropic, "event: message\ndata: {\"type\":\"message_stop\"}\n\n", Closing),
        (Wire::Responses, "event: response.completed\ndata: {\"response\":{}}\n\n", Closing),
        (Wire::Chat, "event: error\ndata: {\"message\":\"m\"}\n\n", Error),
        (Wire::Chat, "event: error\ndata: out of memory\n\n", Error),
        (Wire::Anthropic, "event: message_stop\n\n", Comment),
        (Wire::Anthropic, "id: 7\nretry: 5\nevent: message_stop\nfield\ndata: {\n: in between\ndata: }\n\n", Closing),
        (Wire::Anthropic, ": ping\n\n", Comment),
        (Wire::Anthropic, "\u{feff}data: {\"type\":\"message_stop\"}\n\n", Closing),
        (Wire::Anthropic, "data: {\"type\":\"message_stop\"}\n\u{feff}\n\n", Closing),
        (Wire::Anthropic, "data: {\"type\":\"message_stop\"", Other),
        (Wire::Anthropic, "data:{\"type\":\"message_stop\"}", Closing),
    ] {
        assert_eq!(tap(wire, stream).0, [want], "{stream:?}");
    }
}

#[test]
fn a_frame_ends_with_its_blank_line() {
    for (stream, ends) in [
        ("data: {}\n\ndata: {}\n\n", vec![10, 20]),
        ("data: {}\r\n\r\ndata: {}\r\n\r\n", vec![12, 24]),
        ("data: {}\r\rdata: {}\r\r", vec![10, 20]),
        ("\n\ndata: {}\n\n", vec![1, 2, 12]),
    ] {
        let mut tap = StreamTap::new(Wire::Chat);
        let (mut at, mut got) = (0, Vec::new());
        while at < stream.len() {
            let (read, frame) = tap.next(&stream.as_bytes()[at..]);
            at += read;
            got.extend(frame.map(|_| at));
        }
        assert_eq!(got, ends, "{stream:?}");
        assert!(!tap.mid_frame());
    }
    let mut tap = StreamTap::new(Wire::Chat);
    assert_eq!(tap.next(b"data: {}\n"), (9, None));
    assert!(tap.mid_frame());
}

#[test]
fn later_anthropic_numbers_replace_and_zeros_do_not() {
    let (_, seen) = tap(
        Wire::Anthropic,
        &stream(&[
            r#"{"type":"message_start","message":{"usage":{"input_tokens":25,"cache_read_input_tokens":5,"cache_creation_input_tokens":10,"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":6},"output_tokens":1}}}"#,
            r#"{"type":"future_event","usage":{"input_tokens":999,"output_tokens":999}}"#,
            r#"{"usage":{"input_tokens":0,"cache_read_input_tokens":null,"output_tokens":8,"output_tokens_details":{"thinking_tokens":3}},"type":"message_delta"}"#,
        ]),
    );
    assert_eq!(vector(seen.usage), [25, 5, 4, 6, 8, 3]);
    assert!(seen.usage.reported && !seen.usage.disagrees);
}

#[test]
fn each_wire_has_its_own_arithmetic() {
    for (name, wire, body, want, disagrees) in [
        (
            "Anthropic: a total of writes is for five minutes",
            Wire::Anthropic,
            r#"{"type":"message","usage":{"input_tokens":7,"cache_creation_input_tokens":10,"output_tokens":2}}"#,
            [7, 0, 10, 0, 2, 0],
            false,
        ),
        (
            "chat: cached and written are inside the prompt",
            Wire::Chat,
            r#"{"usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,"prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":10},"completion_tokens_details":{"reasoning_tokens":5}}}"#,
            [30, 60, 10, 0, 20, 5],
            false,
        ),
        (
            "chat: never below zero, and noticed",
            Wire::Chat,
            r#"{"usage":{"prompt_tokens":10,"completion_tokens":1,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":60}}}"#,
            [0, 60, 0, 0, 1, 0],
            true,
        ),
        (
            "chat: another total is noticed and not followed",
            Wire::Chat,
            r#"{"usage":{"prompt_tokens":10,"completion_tokens":1,"total_tokens":99}}"#,
            [10, 0, 0, 0, 1, 0],
            true,
        ),
        ("a reranker's total", Wire::Chat, r#"{"usage":{"total_tokens":15}}"#, [15, 0, 0, 0, 0, 0], false),
        (
            "a reranker's units",
            Wire::Chat,
            r#"{"meta":{"tokens":{"input_tokens":15,"output_tokens":0}}}"#,
            [15, 0, 0, 0, 0, 0],
            false,
        ),
        (
            "images",
            Wire::Chat,
            r#"{"usage":{"input_tokens":9,"output_tokens":4,"total_tokens":13}}"#,
            [9, 0, 0, 0, 4, 0],
            false,
        ),
        (
            "Responses",
            Wire::Responses,
            r#"{"object":"response","usage":{"input_tokens":50,"input_tokens_details":{"cached_tokens":20,"cache_write_tokens":5},"output_tokens":9,"output_tokens_details":{"reasoning_tokens":4},"total_tokens":59}}"#,
            [25, 20, 5, 0, 9, 4],
            false,
        ),
        (
            "Gemini: tool prompts and thoughts come on top",
            Wire::Gemini,
            r#"{"usageMetadata":{"promptTokenCount":40,"toolUsePromptTokenCount":3,"cachedContentTokenCount":32,"candidatesTokenCount":15,"thoughtsTokenCount":12,"totalTokenCount":70}}"#,
            [11, 32, 0, 0, 27, 12],
            false,
        ),
        (
            "Gemini in an array: the last counts",
            Wire::Gemini,
            r#"[{"usageMetadata":{"promptTokenCount":4,"thoughtsTokenCount":9,"totalTokenCount":13}},{"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":2,"totalTokenCount":6}},{"candidates":[]}]"#,
            [4, 0, 0, 0, 2, 0],
            false,
        ),
    ] {
        let usage = whole(wire, body).usage;
        assert_eq!((vector(usage), usage.disagrees, usage.reported), (want, disagrees, true), "{name}");
    }
}

#[test]
fn odd_numbers_do_no_harm() {
    for (number, want) in [
        ("12", 12),
        ("12.9", 12),
        ("-5", 0),
        ("1e3", 0),
        ("99999999999999999999999", u64::MAX),
        ("null", 0),
        ("\"7\"", 0),
        ("{\"a\":7}", 0),
    ] {
        let usage = whole(Wire::Chat, &format!(r#"{{"usage":{{"prompt_tokens":{number}}}}}"#)).usage;
        assert_eq!((usage.input, usage.reported), (want, want > 0), "{number}");
    }
}

#[test]
fn choices_finish_one_by_one() {
    let chunk = |index: u32, finish: &str| {
        format!(r#"{{"choices":[{{"finish_reason":{finish},"index":{index},"delta":{{}}}}]}}"#)
    };
    let mut tap = StreamTap::new(Wire::Chat);
    for (data, all) in [
        (chunk(0, "null"), false),
        (chunk(1, "null"), false),
        (chunk(1, "\"stop\""), false),
        (chunk(0, "\"length\""), true),
    ] {
        tap.next(format!("data: {data}\n\n").as_bytes());
        assert_eq!(tap.seen().all_choices_finished, all, "{data}");
    }
    assert_eq!(tap.seen().finish.as_deref(), Some("length"));
    assert!(!tap.seen().closed, "without [DONE] the end of the stream closes");
}

#[test]
fn a_gemini_stream_closes_with_its_last_candidate_and_takes_later_usage() {
    let (frames, seen) = tap(
        Wire::Gemini,
        &stream(&[
            r#"{"candidates":[{"index":0,"content":{"parts":[{"text":"a"}]}},{"index":1}]}"#,
            r#"{"candidates":[{"index":1,"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":1}}"#,
            r#"{"candidates":[{"index":0,"finishReason":"MAX_TOKENS"}]}"#,
            r#"{"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2}}"#,
            r#"{"candidates":[{"index":0,"finishReason":"MAX_TOKENS"}]}"#,
        ]),
    );
    assert_eq!(frames, [Frame::Content, Frame::Other, Frame::Closing, Frame::Start, Frame::Other]);
    assert_eq!((seen.usage.output, seen.finish.as_deref()), (2, Some("MAX_TOKENS")));
}

#[test]
fn errors_within_a_stream_are_read() {
    for (wire, data, code, kind, message) in [
        (
            Wire::Responses,
            r#"{"type":"response.failed","response":{"id":"r","error":{"code":"rate_limit_exceeded","message":"slow"}}}"#,
            Some("rate_limit_exceeded"),
            None,
            Some("slow"),
        ),
        (
            Wire::Responses,
            r#"{"type":"error","code":"server_error","message":"m"}"#,
            Some("server_error"),
            None,
            Some("m"),
        ),
        (Wire::Responses, r#"{"type":"response.failed","response":{}}"#, None, None, None),
        (
            Wire::Anthropic,
            r#"{"error":{"message":"busy","type":"overloaded_error"},"type":"error"}"#,
            None,
            Some("overloaded_error"),
            Some("busy"),
        ),
        (Wire::Gemini, r#"{"error":{"code":503,"status":"UNAVAILABLE"}}"#, None, Some("UNAVAILABLE"), None),
    ] {
        let error = tap(wire, &stream(&[data])).1.error.unwrap_or_else(|| panic!("{data}"));
        assert_eq!(
            (error.code.as_deref(), error.kind.as_deref(), error.message.as_deref()),
            (code, kind, message),
            "{data}"
        );
    }
}

#[test]
fn a_broken_event_counts_for_nothing_but_its_text() {
    let (frames, seen) = tap(
        Wire::Chat,
        "data: {\"choices\":[{\"delta\":{\"content\":\"four\"}}],\"usage\":{\"prompt_tokens\":9}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"ok\"}}]}\n\n",
    );
    assert_eq!(frames, [Frame::Other, Frame::Content]);
    assert!(seen.broken_json && !seen.usage.reported);
    assert_eq!((seen.output_text_bytes, seen.content_events), (6, 1));
}

#[test]
fn a_cut_body_keeps_what_it_said() {
    let seen =
        whole(Wire::Anthropic, r#"{"id":"msg_1","usage":{"input_tokens":5,"output_tokens":2},"content":[{"text":"ab"#);
    assert!(seen.broken_json && !seen.closed);
    assert_eq!((seen.usage.input, seen.id.as_deref()), (5, Some("msg_1")));
    assert!(whole(Wire::Chat, r#"{"choices":[]} {}"#).broken_json, "one body, one document");
    assert!(whole(Wire::Chat, "<html>").broken_json);
}

#[test]
fn generated_text_is_measured_without_its_escapes() {
    for (wire, body, bytes) in [
        (
            Wire::Chat,
            r#"{"choices":[{"message":{"content":"a\nb","tool_calls":[{"function":{"name":"f","arguments":"{\"a\":1}"}}]}}]}"#,
            3 + 1 + 7,
        ),
        (
            Wire::Anthropic,
            r#"{"type":"message","content":[{"type":"text","text":"ab"},{"type":"tool_use","input":{"a":1}}]}"#,
            2 + 7,
        ),
        (
            Wire::Responses,
            r#"{"output":[{"content":[{"text":"ab"}]},{"arguments":"{}"},{"summary":[{"text":"abc"}]}]}"#,
            2 + 2 + 3,
        ),
        (
            Wire::Gemini,
            r#"{"candidates":[{"content":{"parts":[{"text":"ab"},{"functionCall":{"args":{"a":1}}},{"inlineData":{"data":"QUJD"}}]}}]}"#,
            2 + 7,
        ),
    ] {
        assert_eq!(whole(wire, body).output_text_bytes, bytes, "{body}");
    }
}

/// What an answer issued, as its texts and kinds.
fn issued(texts: &[(What, &str)]) -> Vec<Issued> {
    texts.iter().map(|(what, text)| Issued { what: *what, thing: fingerprint(text.as_bytes()) }).collect()
}

#[test]
fn what_an_answer_issues_is_found_once_and_nothing_else_is() {
    use What::{Kept, Sealed, Stored};
    for (wire, data, want) in [
        (
            Wire::Anthropic,
            &[
                r#"{"type":"message_start","message":{"id":"msg_1","container":null}}"#,
                r#"{"type":"content_block_start","content_block":{"type":"thinking","thinking":"","signature":""}}"#,
                r#"{"type":"content_block_delta","delta":{"type":"signature_delta","signature":"Eq\u003d"}}"#,
                r#"{"type":"content_block_start","content_block":{"type":"redacted_thinking","data":"Em"}}"#,
                r#"{"type":"content_block_start","content_block":{"type":"bash_code_execution_tool_result","content":{"type":"bash_code_execution_result","content":[{"type":"bash_code_execution_output","file_id":"file_1"}]}}}"#,
                r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","container":{"id":"container_1","expires_at":"x"}}}"#,
            ][..],
            issued(&[(Sealed, "Eq="), (Sealed, "Em"), (Kept, "file_1"), (Kept, "container_1")]),
        ),
        (
            Wire::Responses,
            &[
                r#"{"type":"response.created","response":{"id":"resp_1","conversation":{"id":"conv_1"}}}"#,
                r#"{"type":"response.output_item.added","item":{"id":"rs_1","type":"reasoning","encrypted_content":"gA"}}"#,
                r#"{"type":"response.output_item.done","item":{"id":"rs_1","type":"reasoning","encrypted_content":"gB"}}"#,
                r#"{"type":"response.output_item.done","item":{"id":"ci_1","type":"code_interpreter_call","container_id":"cntr_1"}}"#,
                r#"{"type":"response.output_item.done","item":{"type":"shell_call","environment":{"type":"container_reference","container_id":"cntr_2"}}}"#,
                r#"{"type":"response.completed","response":{"id":"resp_1","output":[{"id":"rs_1"}]}}"#,
            ],
            issued(&[
                (Stored, "resp_1"),
                (Stored, "rs_1"),
                (Sealed, "gA"),
                (Sealed, "gB"),
                (Stored, "ci_1"),
                (Kept, "cntr_1"),
                (Kept, "cntr_2"),
            ]),
        ),
        (
            Wire::Gemini,
            &[r#"{"responseId":"r","candidates":[{"content":{"parts":[{"text":"","thoughtSignature":"Ci"}]}}]}"#],
            issued(&[(Sealed, "Ci")]),
        ),
        (Wire::Chat, &[r#"{"id":"chatcmpl-1","choices":[{"delta":{"content":"signature"}}]}"#], issued(&[])),
    ] {
        assert_eq!(tap(wire, &stream(data)).1.issued, want, "{wire:?}");
    }
    for (wire, body, want) in [
        (
            Wire::Anthropic,
            r#"{"type":"message","id":"msg_1","content":[{"type":"thinking","thinking":"hm","signature":"Eq"}],"container":{"id":"c"}}"#,
            issued(&[(Sealed, "Eq"), (Kept, "c")]),
        ),
        (
            Wire::Responses,
            r#"{"id":"resp_1","object":"response","output":[{"id":"rs_1","type":"reasoning","encrypted_content":"gA"}]}"#,
            issued(&[(Stored, "resp_1"), (Stored, "rs_1"), (Sealed, "gA")]),
        ),
        (
            Wire::Gemini,
            r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"},"thoughtSignature":"Ci"}]}}]}"#,
            issued(&[(Sealed, "Ci")]),
        ),
    ] {
        assert_eq!(whole(wire, body).issued, want, "{wire:?}");
    }
}

#[test]
fn a_long_signature_is_known_by_its_beginning_and_many_are_bounded() {
    let long = "Eq/".repeat(KEPT_MAX);
    let delta = format!(r#"{{"type":"content_block_delta","delta":{{"signature":"{}"}}}}"#, long.replace('/', "\\/"));
    let (_, seen) = tap(Wire::Anthropic, &stream(&[&delta]));
    assert_eq!((seen.issued, seen.cut), (issued(&[(What::Sealed, &long)]), false));
    let deltas: Vec<String> = (0..ISSUED_MAX + 5)
        .map(|number| format!(r#"{{"type":"content_block_delta","delta":{{"signature":"{number}"}}}}"#))
        .collect();
    let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
    assert_eq!(tap(Wire::Anthropic, &stream(&deltas)).1.issued.len(), ISSUED_MAX);
}
