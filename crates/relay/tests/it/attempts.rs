//! Failover, retries, deadlines and rests; what each fault comes to is in `faults`.

use crate::support::{Got, MODEL, PROVIDER_KEY, WIRES, ask, gateway, scripted};
use domain::format::ApiFormat;
use serde_json::json;
use std::time::Duration;
use testkit::{ErrorShape, Limit, Reply, bytes};

fn healthy() -> Reply {
    Reply::text(["hel", "lo"]).usage(12, 2)
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
async fn a_504_is_what_its_body_says_and_says_when_to_come_back() {
    for (kind, status) in [("overloaded_error", 529), ("rate_limit_error", 429), ("timeout_error", 504), ("x", 504)] {
        let said = json!({"type": "error", "error": {"type": kind, "message": "not now"}}).to_string();
        let refused = Reply::raw(504, &[("content-type", "application/json"), ("retry-after", "7")], said);
        let upstream = scripted(std::iter::repeat_n(refused, 4));
        let gw = gateway().upstream(ApiFormat::Claude, &upstream).start();
        let (path, body) = ask(ApiFormat::Claude, false);
        let got = gw.post(&path, &body).await;
        assert_eq!((got.status.as_u16(), got.header("retry-after")), (status, Some("7")), "{kind}: {}", got.text());
    }
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

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_for_the_next_request_and_one_that_was_closed_costs_no_attempt() {
    let upstream = scripted([]).always(healthy());
    let gw = gateway().upstream(ApiFormat::OpenAi, &upstream).start();
    for stream in [false, true, false] {
        let (path, body) = ask(ApiFormat::OpenAi, stream);
        assert_eq!(gw.post(&path, &body).await.status, 200);
    }
    assert_eq!(upstream.connections(), 1);
    let (path, body) = ask(ApiFormat::OpenAi, false);
    tokio::time::advance(Duration::from_secs(56)).await;
    assert_eq!(gw.post(&path, &body).await.status, 200);
    assert_eq!(upstream.connections(), 2, "servers close after a minute; nobody waits for that");
    upstream.refuse().await;
    upstream.accept_again().unwrap();
    assert_eq!(gw.post(&path, &body).await.status, 200);
    assert_eq!(upstream.connections(), 3);
    assert!(gw.kept.attempts.lock().unwrap().is_empty(), "nothing failed");
}

#[tokio::test(start_paused = true)]
async fn a_generated_answer_is_read_as_what_was_asked_for_or_is_none() {
    for format in WIRES {
        for stream in [false, true] {
            let answer = || Reply::text(["hel", "lo"]).usage(12, 90);
            let (path, body) = ask(format, stream);
            let typed = |kind: &str| answer().without_header("content-type").header("content-type", kind);
            for (name, reply) in [
                ("nothing", answer().without_header("content-type")),
                ("text", typed("text/plain; charset=utf-8")),
                ("bytes", typed("application/octet-stream")),
            ] {
                let upstream = scripted([reply]);
                let gw = gateway().upstream(format, &upstream).start();
                let got = gw.post(&path, &body).await;
                assert_eq!(got.status, 200, "{format} {stream} {name}: {}", got.text());
                assert_eq!(gw.settled().usage.tokens.output, 90, "{format} {stream} {name}: billed as reported");
            }

            let (first, second) = (scripted([typed("audio/mpeg")]), scripted([answer()]));
            let gw = gateway().upstream(format, &first).upstream(format, &second).start();
            let got = gw.post(&path, &body).await;
            assert_eq!((got.status.as_u16(), second.requests().len()), (200, 1), "{format} {stream}");
            let settled = gw.settled();
            let said = settled.candidates[0].error_message.clone().unwrap_or_default();
            assert!(said.contains("neither JSON nor events"), "{format} {stream}: {said}");
            assert_eq!(settled.usage.tokens.output, 90, "{format} {stream}");
        }
    }
}
