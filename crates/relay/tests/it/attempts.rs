//! Failover, retries, and what the client gets when nobody answers.

use crate::support::{Got, MODEL, PROVIDER_KEY, WIRES, ask, gateway, scripted};
use domain::{
    format::{ApiFormat, Status},
    records::{AttemptOutcome, Settled},
};
use serde_json::json;
use std::time::Duration;
use testkit::{ErrorShape, Limit, Reply, bytes};

fn healthy() -> Reply {
    Reply::text(["hel", "lo"]).usage(12, 2)
}

/// One way for a candidate to fail.
struct Fault {
    name: &'static str,
    reply: Reply,
    /// Whether it is about whole answers, streams, or both.
    stream: Option<bool>,
    verdict: &'static str,
    status: Option<u16>,
    /// Attempts on the failing candidate while another is left.
    tries: usize,
}

fn faults() -> Vec<Fault> {
    let whole = Some(false);
    let stream = Some(true);
    let row =
        |name, reply: Reply, stream, verdict, status, tries| Fault { name, reply, stream, verdict, status, tries };
    let error = |shape| Reply::error(shape);
    let limited = |limit| error(ErrorShape::RateLimited { limit, retry_after_s: Some(7) });
    let redirect = error(ErrorShape::Redirect("https://elsewhere.example/".to_owned()));
    let plain_404 = Reply::raw(404, &[("content-type", "text/plain")], "404 page not found");
    vec![
        row("a reset before the head", healthy().reset_after(testkit::At::Nothing), None, "transient", None, 2),
        row("a close before the head", healthy().cut_after(testkit::At::Nothing), None, "transient", None, 2),
        row("a close after the head", healthy().cut_after(testkit::At::Head), None, "transient", Some(200), 2),
        row("a close within a whole answer", healthy().cut_after(bytes(40)), whole, "transient", Some(200), 2),
        row("a stream that only begins", healthy().cut_after(1), stream, "transient", Some(200), 2),
        row("a chunk that is none", healthy().bad_chunk_after(testkit::At::Head), None, "transient", Some(200), 2),
        row("a coding that is none", healthy().bad_gzip(), None, "transient", Some(200), 2),
        row("nothing in a 200", error(ErrorShape::Empty(200)), None, "transient", Some(200), 2),
        row("truncated JSON", error(ErrorShape::TruncatedJson), whole, "transient", Some(200), 2),
        row("broken JSON", error(ErrorShape::BrokenJson), whole, "transient", Some(200), 2),
        row("an error in a 200", error(ErrorShape::Server).status(200), whole, "transient", Some(200), 2),
        row("overload in a 200", error(ErrorShape::Overloaded).status(200), whole, "overloaded", Some(200), 2),
        row(
            "a stream that begins with an error",
            healthy().error_event_after(0, true),
            stream,
            "overloaded",
            Some(200),
            2,
        ),
        row("500", error(ErrorShape::Server), None, "transient", Some(500), 2),
        row("502 of a balancer", error(ErrorShape::Html(502)), None, "transient", Some(502), 2),
        row("504", error(ErrorShape::Timeout), None, "transient", Some(504), 2),
        row("408", error(ErrorShape::Empty(408)), None, "transient", Some(408), 2),
        row("overloaded", error(ErrorShape::Overloaded), None, "overloaded", None, 2),
        row("requests per minute", limited(Limit::Requests), None, "rate_limited", Some(429), 1),
        row("tokens per minute", limited(Limit::Tokens), None, "rate_limited", Some(429), 1),
        row("a bare 429", limited(Limit::Bare), None, "rate_limited", Some(429), 1),
        row("a bad key", error(ErrorShape::BadKey), None, "key_unusable", None, 1),
        row("no credit", error(ErrorShape::CreditExhausted), None, "key_unusable", None, 1),
        row("an account without permission", error(ErrorShape::PermissionDenied), None, "not_permitted", Some(403), 1),
        row("a model it does not have", error(ErrorShape::UnknownModel), None, "unknown_model", Some(404), 1),
        row("a page in a 200", error(ErrorShape::Html(200)), None, "endpoint_fault", Some(200), 1),
        row("a page in a 403", error(ErrorShape::Html(403)), None, "endpoint_fault", Some(403), 1),
        row("a redirect", redirect, None, "endpoint_fault", Some(307), 1),
        row("405", error(ErrorShape::Empty(405)), None, "endpoint_fault", Some(405), 1),
        row("another server's 404", plain_404, None, "endpoint_fault", Some(404), 1),
    ]
}

/// Gemini's words for "no credit" are those of any exhausted quota, and its first chunk is content.
fn applies(fault: &Fault, format: ApiFormat, stream: bool) -> bool {
    let gemini_says_otherwise = format == ApiFormat::Gemini && fault.name == "no credit";
    let gemini_begins_with_content = format == ApiFormat::Gemini && fault.name == "a stream that only begins";
    fault.stream.is_none_or(|wanted| wanted == stream) && !gemini_says_otherwise && !gemini_begins_with_content
}

#[tokio::test(start_paused = true)]
async fn every_failure_moves_to_the_next_candidate_and_is_recorded_with_its_verdict() {
    for format in WIRES {
        for stream in [false, true] {
            for fault in faults().into_iter().filter(|fault| applies(fault, format, stream)) {
                let name = format!("{format}, stream {stream}: {}", fault.name);
                let failing = scripted(std::iter::repeat_n(fault.reply.clone(), fault.tries));
                let serving = scripted([healthy()]);
                let gw = gateway().upstream(format, &failing).upstream(format, &serving).start();
                let (path, body) = ask(format, stream);

                let got = gw.post(&path, &body).await;

                assert_eq!(got.status, 200, "{name}: {}", got.text());
                assert_eq!(serving.sent_bytes().concat(), got.body, "{name}");
                let Settled { usage, candidates, .. } = gw.settled();
                assert_eq!(failing.requests().len(), fault.tries, "{name}: attempts");
                assert_eq!(candidates.len(), fault.tries + 1, "{name}: rows");
                let first = &candidates[0];
                assert_eq!(first.skip_reason.as_deref(), Some(fault.verdict), "{name}");
                if fault.status.is_some() {
                    assert_eq!(first.status_code, fault.status, "{name}");
                }
                assert_eq!(candidates.last().unwrap().outcome, AttemptOutcome::Success, "{name}");
                assert_eq!((usage.tokens.input, usage.tokens.output), (12, 2), "{name}: only the answer is billed");
                assert_eq!((usage.status, usage.provider.as_str()), (Status::Completed, "provider-1"), "{name}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_callers_mistake_is_handed_on_and_nobody_else_is_asked() {
    let mistakes = [
        ErrorShape::ContextTooLong,
        ErrorShape::InvalidRequest { field: "max_tokens".to_owned(), message: "must be positive".to_owned() },
        ErrorShape::ContentPolicy,
        ErrorShape::TooLarge,
    ];
    for format in WIRES {
        for mistake in &mistakes {
            let (first, second) = (scripted([Reply::error(mistake.clone())]), scripted([healthy()]));
            let gw = gateway().upstream(format, &first).upstream(format, &second).start();
            let (path, body) = ask(format, false);

            let got = gw.post(&path, &body).await;

            assert_eq!(got.body, first.sent_bytes().concat(), "{format} {mistake:?}: the very bytes");
            assert!(got.status.is_client_error(), "{format} {mistake:?}: {}", got.status);
            assert_eq!(second.requests().len(), 0, "{format} {mistake:?}");
            let settled = gw.settled();
            assert_eq!(settled.usage.status, Status::Failed);
            assert_eq!(settled.usage.cost.total.0, 0);
            assert_eq!(settled.candidates[0].skip_reason.as_deref(), Some("callers_fault"));
        }
    }
}

/// Status and, where it matters, `retry-after` when the only candidate fails so.
#[tokio::test(start_paused = true)]
async fn when_all_have_failed_the_client_gets_the_first_rule_that_fits() {
    let limited = ErrorShape::RateLimited { limit: Limit::Requests, retry_after_s: Some(7) };
    for (shape, anthropic, openai, retry_after) in [
        (ErrorShape::Server, 502, 502, None),
        (ErrorShape::Html(403), 502, 502, None),
        (ErrorShape::BadKey, 502, 502, None),
        (ErrorShape::CreditExhausted, 502, 502, None),
        (ErrorShape::PermissionDenied, 502, 502, None),
        (ErrorShape::Overloaded, 529, 503, None),
        (limited, 429, 429, Some("7")),
        (ErrorShape::UnknownModel, 404, 404, None),
    ] {
        for (format, want) in
            [(ApiFormat::Claude, anthropic), (ApiFormat::OpenAi, openai), (ApiFormat::OpenAiCli, openai)]
        {
            let failing = scripted(std::iter::repeat_n(Reply::error(shape.clone()), 4));
            let gw = gateway().upstream(format, &failing).start();
            let (path, body) = ask(format, true);

            let got = gw.post(&path, &body).await;

            assert_eq!(got.status.as_u16(), want, "{format} {shape:?}: {}", got.text());
            assert_eq!(got.header("retry-after"), retry_after, "{format} {shape:?}");
            assert!(!got.text().contains("up-0"), "{format} {shape:?} names the upstream's model: {}", got.text());
            assert!(!got.text().contains("provider-0"), "{format} {shape:?}");
            assert_eq!(gw.settled().usage.status, Status::Failed);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_candidate_is_retried_as_often_as_its_endpoint_says() {
    let failing = scripted(std::iter::repeat_n(Reply::error(ErrorShape::Server), 4));
    let gw = gateway().upstream(ApiFormat::Claude, &failing).start();
    let (path, body) = ask(ApiFormat::Claude, false);
    let got = gw.post(&path, &body).await;
    assert_eq!(got.status, 502);
    assert_eq!(failing.requests().len(), 4, "one attempt and three retries");
    let rows = gw.settled().candidates;
    assert_eq!(rows.iter().map(|row| row.retry_index).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(gw.kept.attempts.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn no_more_candidates_are_tried_than_the_bound_says_and_the_rest_are_traced() {
    let failing: Vec<_> = (0..4).map(|_| scripted([Reply::error(ErrorShape::BadKey)])).collect();
    let mut builder = gateway().with(|builder| builder.bounds.max_candidates = 2);
    for upstream in &failing {
        builder = builder.upstream(ApiFormat::OpenAi, upstream);
    }
    let gw = builder.start();
    let (path, body) = ask(ApiFormat::OpenAi, false);
    assert_eq!(gw.post(&path, &body).await.status, 502);
    assert_eq!(failing.iter().map(|upstream| upstream.requests().len()).collect::<Vec<_>>(), [1, 1, 0, 0]);
    let settled = gw.settled();
    assert_eq!(settled.candidates.len(), 2);
    assert_eq!(settled.trace.entries.iter().map(|entry| entry.code.as_str()).collect::<Vec<_>>(), ["available"; 2]);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_repeats_our_key_leaves_it_in_no_record() {
    let said = json!({"type": "error", "error": {"type": "authentication_error", "message": format!("{PROVIDER_KEY} is bad")}});
    let refusing = scripted([Reply::raw(401, &[("content-type", "application/json")], said.to_string())]);
    let gw = gateway().upstream(ApiFormat::Claude, &refusing).start();
    let (path, body) = ask(ApiFormat::Claude, false);
    assert_eq!(gw.post(&path, &body).await.status, 502);
    let settled = gw.settled();
    assert_eq!(settled.candidates[0].error_message.as_deref(), Some("*** is bad"));
    assert!(!format!("{settled:?}").contains(&PROVIDER_KEY[..8]), "{settled:?}");
    assert!(!format!("{:?}", gw.kept.attempts.lock().unwrap()).contains(&PROVIDER_KEY[..8]));
}

#[tokio::test(start_paused = true)]
async fn each_deadline_has_its_name_in_the_record() {
    let stalled = |at| healthy().stall_after(at);
    for (reply, stream, want, limit_s) in [
        (stalled(testkit::At::Nothing), false, "transient: timeout", 300),
        (stalled(testkit::At::Nothing), true, "transient: first_event", 120),
        (stalled(testkit::At::Head), true, "transient: first_event", 120),
        (stalled(bytes(30)), false, "transient: timeout", 300),
    ] {
        let (slow, serving) = (scripted([reply.clone(), reply]), scripted([healthy()]));
        let gw = gateway().upstream(ApiFormat::Claude, &slow).upstream(ApiFormat::Claude, &serving).start();
        let (path, body) = ask(ApiFormat::Claude, stream);
        let began = tokio::time::Instant::now();

        assert_eq!(gw.post(&path, &body).await.status, 200, "{want}");

        let rows = gw.settled().candidates;
        assert_eq!(rows[0].skip_reason.as_deref(), Some(want));
        let took = began.elapsed();
        let two = Duration::from_secs(2 * limit_s);
        assert!((two..two + Duration::from_secs(3)).contains(&took), "{want}: {took:?} for two attempts");
    }
}

#[tokio::test(start_paused = true)]
async fn thinking_may_be_silent_longer_unless_the_endpoint_says_how_long() {
    for (own, limit_s) in [(None, 300), (Some(20), 20)] {
        let slow = healthy().stall_after(testkit::At::Head);
        let (slow, serving) = (scripted([slow.clone(), slow]), scripted([healthy()]));
        let gw = gateway()
            .upstream(ApiFormat::Claude, &slow)
            .upstream(ApiFormat::Claude, &serving)
            .with(|builder| builder.parts.endpoints[0].config.first_event_timeout_s = own)
            .start();
        let (path, mut body) = ask(ApiFormat::Claude, true);
        body["thinking"] = json!({ "type": "enabled", "budget_tokens": 50 });
        let began = tokio::time::Instant::now();
        assert_eq!(gw.post(&path, &body).await.status, 200);
        let two = Duration::from_secs(2 * limit_s);
        assert!((two..two + Duration::from_secs(3)).contains(&began.elapsed()), "{own:?}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn all_attempts_together_end_at_the_total_deadline() {
    let slow = scripted(std::iter::repeat_n(healthy().stall_after(testkit::At::Nothing), 4));
    let gw = gateway()
        .with(|builder| builder.bounds.total_timeout = Duration::from_secs(400))
        .upstream(ApiFormat::OpenAi, &slow)
        .start();
    let (path, body) = ask(ApiFormat::OpenAi, false);
    let began = tokio::time::Instant::now();
    let got = gw.post(&path, &body).await;
    assert_eq!(got.status, 504, "{}", got.text());
    assert_eq!(began.elapsed().as_secs(), 400);
    let rows = gw.settled().candidates;
    assert_eq!(rows.last().unwrap().skip_reason.as_deref(), Some("transient: total"));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_begins_and_then_thinks_is_handed_on_after_ten_seconds() {
    let gate = testkit::Gate::new();
    let upstream = scripted([Reply::text(["late"]).usage(3, 1).hold(1, &gate)]);
    let gw = gateway().upstream(ApiFormat::Claude, &upstream).start();
    let (path, body) = ask(ApiFormat::Claude, true);
    let began = tokio::time::Instant::now();
    let response = gw.open(crate::support::post(&path, &body)).await;
    assert_eq!(began.elapsed().as_secs(), 10, "the start event was there at once");
    gate.open();
    let Got { body, .. } = crate::support::read(response).await;
    assert_eq!(body, upstream.sent_bytes().concat());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_told_to_wait_rests_and_the_others_serve() {
    let limited = Reply::error(ErrorShape::RateLimited { limit: Limit::Requests, retry_after_s: Some(30) });
    let first = scripted([limited, healthy()]);
    let second = scripted([healthy(), healthy(), healthy()]);
    let gw = gateway().upstream(ApiFormat::Claude, &first).upstream(ApiFormat::Claude, &second).start();
    let (path, body) = ask(ApiFormat::Claude, false);
    for _ in 0..2 {
        assert_eq!(gw.post(&path, &body).await.status, 200);
    }
    assert_eq!((first.requests().len(), second.requests().len()), (1, 2));
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(gw.post(&path, &body).await.status, 200);
    assert_eq!((first.requests().len(), second.requests().len()), (1, 3), "the caller's cache is warm at the second");
    tokio::time::advance(Duration::from_mins(5)).await;
    assert_eq!(gw.post(&path, &body).await.status, 200);
    assert_eq!(
        (first.requests().len(), second.requests().len()),
        (2, 3),
        "for as long as it lives; then first is first"
    );
    let traced: Vec<_> = gw.kept.settled.lock().unwrap().iter().map(|settled| settled.trace.clone()).collect();
    assert_eq!(traced[1].entries[0].code, "key_cooling");
    assert!(traced[1].entries[0].number > 0, "until when");
}

#[tokio::test(start_paused = true)]
async fn an_alias_that_the_upstream_does_not_know_is_followed_by_the_next_name() {
    let upstream = scripted([Reply::error(ErrorShape::UnknownModel), healthy()]);
    let gw = gateway()
        .upstream(ApiFormat::OpenAi, &upstream)
        .with(|builder| {
            let alias =
                |name: &str, priority| domain::catalog::Alias { name: name.to_owned(), priority, api_formats: None };
            builder.parts.models[0].aliases = vec![alias("second", 2), alias("first", 1)];
        })
        .start();
    let got = gw.post("/v1/chat/completions", &json!({ "model": MODEL, "messages": [] })).await;
    assert_eq!(got.status, 200);
    let asked: Vec<_> = upstream.requests().iter().map(|request| request.json()["model"].clone()).collect();
    assert_eq!(asked, ["first", "second"]);
    let rows = gw.settled().candidates;
    assert_eq!((rows[0].candidate_index, rows[0].retry_index), (0, 0));
    assert_eq!((rows[1].candidate_index, rows[1].retry_index), (0, 1));
    assert_eq!(gw.settled().usage.target_model.as_deref(), Some("second"));
}
