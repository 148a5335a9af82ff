use std::fmt::Write;

use super::*;

const WIRES: [Wire; 4] = [Wire::Anthropic, Wire::Chat, Wire::Responses, Wire::Gemini];

fn problem(class: Class) -> Problem<'static> {
    Problem {
        class,
        message: "words",
        param: matches!(class, Class::BadRequest | Class::Unsupported).then_some("field"),
        model: Some("gpt-x"),
        request_id: "req_1",
        retry_after_ms: matches!(class, Class::RateLimited).then_some(1_500),
    }
}

/// Every class on every wire. Chat and Responses answer alike.
#[test]
fn every_class_has_its_words_on_every_wire() {
    for wire in [Wire::Anthropic, Wire::Chat, Wire::Gemini] {
        let mut table = String::new();
        for class in Class::ALL {
            let Rendered { status, body } = render(wire, &problem(class));
            writeln!(table, "{class:?}: {status} {}", String::from_utf8(body).unwrap()).unwrap();
        }
        insta::assert_snapshot!(format!("{wire:?}"), table);
    }
    for class in Class::ALL {
        assert_eq!(render(Wire::Responses, &problem(class)), render(Wire::Chat, &problem(class)));
    }
}

#[test]
fn a_stream_ends_with_the_dialects_error_event() {
    let mut events = String::new();
    for wire in WIRES {
        events += &String::from_utf8(render_stream(wire, &problem(Class::Upstream))).unwrap();
    }
    insta::assert_snapshot!(events);
}

#[test]
fn a_failed_response_continues_the_stream_it_ends() {
    let seen =
        Seen { id: Some("resp_9".into()), model: Some("gpt-x-2026".into()), sequence: Some(4), ..Seen::default() };
    let event = String::from_utf8(render_stream_after(Wire::Responses, &problem(Class::Timeout), &seen)).unwrap();
    let data: Value = serde_json::from_str(event.split("data: ").nth(1).unwrap()).unwrap();
    assert_eq!(
        (&data["sequence_number"], &data["response"]["id"], &data["response"]["model"]),
        (&5.into(), &"resp_9".into(), &"gpt-x-2026".into())
    );
}

#[test]
fn words_that_clients_look_for_come_first() {
    for (message, want) in [
        ("prompt is too long: 9 tokens > 5 maximum", "prompt is too long: 9 tokens > 5 maximum"),
        ("9 tokens > 5 maximum", "prompt is too long: 9 tokens > 5 maximum"),
        ("", "prompt is too long"),
    ] {
        let body = render(Wire::Anthropic, &Problem { message, ..problem(Class::TooLong) }).body;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["message"], want);
    }
}

#[test]
fn durations_are_written_as_protocol_buffers_do() {
    for (ms, want) in [(0, "0s"), (2_000, "2s"), (1_500, "1.500s"), (34_005, "34.005s")] {
        assert_eq!(duration(ms), want);
    }
}

#[test]
fn our_own_errors_read_back() {
    for wire in WIRES {
        let facts = read_error(&render(wire, &problem(Class::RateLimited)).body);
        assert!(facts.native && !facts.html, "{wire:?}");
        assert_eq!(facts.message.as_deref(), Some("words"), "{wire:?}");
        assert_eq!(facts.retry_delay_ms, (wire == Wire::Gemini).then_some(1_500));
    }
}

#[test]
fn error_bodies_of_all_kinds_are_read() {
    let some = |text: &str| Some(text.to_owned());
    let native = ErrorFacts { native: true, ..ErrorFacts::default() };
    for (name, body, want) in [
        (
            "OpenAI",
            r#"{"error":{"message":"Bad","type":"invalid_request_error","param":"n","code":"invalid_value"}}"#,
            ErrorFacts {
                message: some("Bad"),
                kind: some("invalid_request_error"),
                param: some("n"),
                code: some("invalid_value"),
                ..native.clone()
            },
        ),
        (
            "Anthropic",
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}"#,
            ErrorFacts { message: some("Overloaded"), kind: some("overloaded_error"), ..native.clone() },
        ),
        (
            "Google, in an array",
            r#"[{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED","details":[{"@type":"x","violations":[{"quotaId":"PerMinute"},{"quotaId":"TokensPerDayX"},{"quotaId":"PerHour"}]},{"@type":"y","retryDelay":"34.5s"}]}}]"#,
            ErrorFacts {
                message: some("Quota"),
                kind: some("RESOURCE_EXHAUSTED"),
                http: Some(429),
                quota_id: some("TokensPerDayX"),
                retry_delay_ms: Some(34_500),
                ..native.clone()
            },
        ),
        (
            "Google's bad key",
            r#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#,
            ErrorFacts {
                message: some("m"),
                kind: some("INVALID_ARGUMENT"),
                http: Some(400),
                reason: some("API_KEY_INVALID"),
                ..native.clone()
            },
        ),
        (
            "JSON within words within JSON",
            r#"{"error":{"message":"upstream said: {\"error\":{\"message\":\"too long\",\"code\":\"context_length_exceeded\"}}","type":"proxy","code":"400"}}"#,
            ErrorFacts {
                message: some("too long"),
                kind: some("proxy"),
                code: some("context_length_exceeded"),
                http: Some(400),
                ..native.clone()
            },
        ),
        (
            "a bare detail",
            r#"{"detail":"Not Found"}"#,
            ErrorFacts { message: some("Not Found"), ..ErrorFacts::default() },
        ),
        (
            "a list of complaints",
            r#"{"detail":[{"loc":["body"],"msg":"field required"},{"msg":"other"}]}"#,
            ErrorFacts { message: some("field required"), ..ErrorFacts::default() },
        ),
        (
            "an error that is a word",
            r#"{"error":"nope"}"#,
            ErrorFacts { message: some("nope"), ..ErrorFacts::default() },
        ),
        (
            "flat",
            r#"{"object":"error","message":"m","type":"NotFoundError","code":404}"#,
            ErrorFacts { message: some("m"), kind: some("NotFoundError"), http: Some(404), ..ErrorFacts::default() },
        ),
        (
            "plain text",
            "  upstream connect error ",
            ErrorFacts { message: some("upstream connect error"), ..ErrorFacts::default() },
        ),
        ("a page", "\n<!DOCTYPE html><html>…", ErrorFacts { html: true, ..ErrorFacts::default() }),
        ("nothing", "", ErrorFacts::default()),
        (
            "a body that is cut",
            r#"{"error":{"type":"rate_limit_error","message":"slow do"#,
            ErrorFacts { kind: some("rate_limit_error"), ..native.clone() },
        ),
        (
            "an error that is null",
            r#"{"error":null,"message":"m"}"#,
            ErrorFacts { message: some("m"), ..ErrorFacts::default() },
        ),
    ] {
        assert_eq!(read_error(body.as_bytes()), want, "{name}");
    }
}

#[test]
fn only_the_beginning_of_a_body_is_read() {
    let body = format!(r#"{{"pad":"{}","error":{{"message":"late"}}}}"#, "x".repeat(READ_MAX));
    assert_eq!(read_error(body.as_bytes()), ErrorFacts::default());
}
