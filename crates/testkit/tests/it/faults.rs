//! Answers that are held, slowed or broken do what their names say.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{At, Ended, ErrorShape, Gate, Limit, Reply, Upstream, Wire, bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::client::{Answer, Client, Mode, WIRES, ask, exchange, read};

fn answer() -> Reply {
    Reply::text(["one ", "two ", "three ", "four "]).usage(3, 4)
}

async fn on(wire: Wire, mode: Mode, reply: Reply) -> Answer {
    exchange(&Upstream::local().then(reply), ask(wire, mode, "hi")).await
}

/// How long nothing must come before an answer counts as stalled; time is paused, so it costs none.
const LONG: Duration = Duration::from_hours(1);

#[tokio::test(start_paused = true)]
async fn a_stall_sends_what_came_before_and_then_nothing() {
    for wire in WIRES {
        let upstream = Upstream::local().then(answer().stall_after(At::Nothing));
        let mut client = Client::new(&upstream).await;
        let head = timeout(LONG, client.begin(ask(wire, Mode::Stream, "hi"))).await;
        assert!(head.is_err(), "{wire:?}: nothing at all");
        drop(client);
        upstream.ended(Ended::Abandoned, 1).await;

        for at in [At::Head, At::Frames(2), bytes(40)] {
            let upstream = Upstream::local().then(answer().stall_after(at));
            let mut client = Client::new(&upstream).await;
            let response = client.begin(ask(wire, Mode::Stream, "hi")).await.unwrap();
            assert!(timeout(LONG, read(response)).await.is_err(), "{wire:?} {at:?}");
            let sent = upstream.sent_bytes().concat();
            match at {
                At::Frames(frames) => {
                    assert_eq!(crate::client::events(std::str::from_utf8(&sent).unwrap()).len(), frames)
                }
                At::Bytes(count) => assert_eq!(sent.len(), count),
                _ => assert!(sent.is_empty()),
            }
            drop(client);
            upstream.ended(Ended::Abandoned, 1).await;
        }
    }
}

#[tokio::test]
async fn a_cut_or_a_bad_chunk_ends_the_body_before_its_end() {
    for wire in WIRES {
        for mode in [Mode::Whole, Mode::Stream] {
            let full = on(wire, mode, answer()).await.body;
            for (name, reply) in
                [("cut", answer().cut_after(bytes(50))), ("chunk", answer().bad_chunk_after(bytes(50)))]
            {
                let upstream = Upstream::local().then(reply);
                let broken = exchange(&upstream, ask(wire, mode, "hi")).await;
                assert_eq!((broken.status, broken.is_whole), (200, false), "{wire:?} {mode:?} {name}");
                assert_eq!(broken.body, full[..50], "{wire:?} {mode:?} {name}");
                assert_eq!(upstream.endings(), [Ended::Broken]);
            }
            let late = on(wire, mode, answer().chunked().cut_after(99)).await;
            assert_eq!((late.is_whole, late.body), (false, full), "{wire:?} {mode:?}: only the end is missing");
            for at in [At::Nothing, At::Head] {
                let upstream = Upstream::local().then(answer().cut_after(at));
                let sent = Client::new(&upstream).await.send(ask(wire, mode, "hi")).await;
                assert_eq!(sent.is_err(), at == At::Nothing, "{wire:?} {at:?}");
                assert!(!sent.is_ok_and(|answer| answer.is_whole), "{wire:?} {at:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_reset_is_one_on_a_socket_and_a_cut_is_none() {
    for (reply, is_reset) in [
        (answer().reset_after(At::Nothing), true),
        (answer().reset_after(1), true),
        (answer().cut_after(At::Nothing), false),
        (answer().cut_after(1), false),
    ] {
        let upstream = Upstream::start().await.unwrap().then(reply);
        let mut socket = TcpStream::connect(upstream.address().unwrap()).await.unwrap();
        let request = "POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 15\r\n\r\n{\"stream\":true}";
        socket.write_all(request.as_bytes()).await.unwrap();
        let error = socket.read_to_end(&mut Vec::new()).await.err().map(|error| error.kind());
        assert_eq!(error, is_reset.then_some(std::io::ErrorKind::ConnectionReset));
        assert_eq!(upstream.endings(), [Ended::Broken]);
    }
}

#[tokio::test]
async fn an_error_event_ends_a_stream_in_each_vendors_form() {
    for (overloaded, words) in [(false, "rror"), (true, "verloaded")] {
        for wire in WIRES {
            let failed = on(wire, Mode::Stream, answer().error_event_after(2, overloaded)).await;
            assert!(failed.is_whole, "the body itself ends properly");
            let events = failed.events();
            assert_eq!(events.len(), 3, "{wire:?}");
            let (name, error) = events.last().unwrap();
            let (is_named, pointer, want) = match (wire, overloaded) {
                (Wire::Anthropic, true) => (true, "/error/type", json!("overloaded_error")),
                (Wire::Anthropic, false) => (true, "/error/type", json!("api_error")),
                (Wire::Chat, _) => (false, "/error/type", json!("server_error")),
                (Wire::Responses, _) => (true, "/error/code", json!("server_error")),
                (Wire::Gemini, true) => (false, "/error/code", json!(503)),
                (Wire::Gemini, false) => (false, "/error/code", json!(500)),
            };
            assert_eq!(name.as_deref(), is_named.then_some("error"), "{wire:?}");
            assert_eq!(error.pointer(pointer), Some(&want), "{wire:?}: {error}");
            assert!(error["error"]["message"].as_str().unwrap().contains(words), "{error}");
            if wire == Wire::Responses {
                assert_eq!(error["sequence_number"], 2);
            }
        }
    }
    let failed = on(Wire::Responses, Mode::Stream, answer().failed_after(2, true)).await.events().remove(2);
    assert_eq!(failed.0.as_deref(), Some("response.failed"));
    assert_eq!(failed.1["response"]["status"], "failed");
    assert_eq!(failed.1["response"]["error"]["code"], "server_error");
}

#[tokio::test(start_paused = true)]
async fn slow_starts_gaps_and_drips_take_their_time() {
    for (name, reply, start_s, gap_s) in [
        ("at once", answer(), 0, 0),
        ("late", answer().delay_start(Duration::from_secs(9)), 9, 0),
        ("gaps", answer().gap(Duration::from_secs(2)), 0, 2),
    ] {
        let began = Instant::now();
        let slow = on(Wire::Chat, Mode::Stream, reply).await;
        let gaps = u64::try_from(slow.events().len() - 1).unwrap();
        assert_eq!(began.elapsed().as_secs(), start_s + gaps * gap_s, "{name}");
    }
    let began = Instant::now();
    let dripped = on(Wire::Anthropic, Mode::Whole, answer().drip(10, Duration::from_secs(1))).await;
    assert_eq!(began.elapsed().as_secs(), u64::try_from(dripped.body.len().div_ceil(10) - 1).unwrap());
}

#[tokio::test]
async fn a_gate_holds_an_answer_at_its_place() {
    let (head, middle) = (Gate::new(), Gate::new());
    let upstream = Upstream::local().then(answer().hold_head(&head).hold(3, &middle));
    let mut client = Client::new(&upstream).await;
    let begun = async {
        head.reached().await;
        assert!(upstream.sent_bytes().concat().is_empty());
        head.pass_one();
    };
    let (response, ()) = tokio::join!(client.begin(ask(Wire::Chat, Mode::Stream, "hi")), begun);
    middle.reached().await;
    let sent = upstream.sent_bytes().concat();
    assert_eq!(crate::client::events(std::str::from_utf8(&sent).unwrap()).len(), 3);
    assert_eq!(upstream.endings(), [Ended::Open]);
    middle.open();
    assert!(read(response.unwrap()).await.is_whole);
    upstream.ended(Ended::Whole, 1).await;
}

#[tokio::test]
async fn an_endless_body_ends_when_the_client_leaves() {
    for wire in WIRES {
        for mode in [Mode::Whole, Mode::Stream] {
            let upstream = Upstream::local().then(answer().endless());
            let mut client = Client::new(&upstream).await;
            let response = client.begin(ask(wire, mode, "hi")).await.unwrap();
            upstream.until(|upstream| upstream.sent_bytes().concat().len() > 30_000).await;
            drop((response, client));
            upstream.ended(Ended::Abandoned, 1).await;
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_looks_like_none() {
    for wire in WIRES {
        let html = on(wire, Mode::Whole, Reply::error(ErrorShape::Html(502))).await;
        assert_eq!((html.status, html.header("content-type")), (502, Some("text/html; charset=UTF-8")));
        assert!(html.text().starts_with("<html>"));
        let empty = on(wire, Mode::Whole, Reply::error(ErrorShape::Empty(200))).await;
        assert_eq!((empty.status, empty.body.len(), empty.header("content-length")), (200, 0, Some("0")));
        for shape in [ErrorShape::TruncatedJson, ErrorShape::BrokenJson] {
            let broken = on(wire, Mode::Whole, Reply::error(shape.clone())).await;
            assert_eq!((broken.status, broken.is_whole), (200, true));
            serde_json::from_slice::<Value>(&broken.body).unwrap_err();
        }
        let inside = on(wire, Mode::Whole, Reply::error(ErrorShape::Overloaded).status(200)).await;
        assert_eq!(inside.status, 200);
        assert!(inside.json()["error"]["message"].as_str().unwrap().contains("verloaded"), "{wire:?}");
        let array = on(wire, Mode::Whole, Reply::error(ErrorShape::InArray(Box::new(ErrorShape::Server)))).await;
        assert!(array.json()[0]["error"].is_object(), "{wire:?}");
        let nested = on(wire, Mode::Whole, Reply::error(ErrorShape::Nested(Box::new(ErrorShape::Overloaded)))).await;
        assert!(nested.json()["error"]["message"].as_str().unwrap().contains("verloaded"), "{wire:?}");
        let away = on(wire, Mode::Whole, Reply::error(ErrorShape::Redirect("/else".to_owned()))).await;
        assert_eq!((away.status, away.header("location")), (307, Some("/else")));
    }
}

#[tokio::test]
async fn errors_have_each_vendors_status_and_words() {
    use ErrorShape as E;
    for (shape, anthropic, openai, gemini) in [
        (E::BadKey, (401, "authentication_error"), (401, "invalid_api_key"), (400, "INVALID_ARGUMENT")),
        (E::PermissionDenied, (403, "permission_error"), (403, "model_not_found"), (403, "PERMISSION_DENIED")),
        (E::UnknownModel, (404, "not_found_error"), (404, "model_not_found"), (404, "NOT_FOUND")),
        (
            E::ContextTooLong,
            (400, "invalid_request_error"),
            (400, "context_length_exceeded"),
            (400, "INVALID_ARGUMENT"),
        ),
        (E::TooLarge, (413, "request_too_large"), (413, "invalid_request_error"), (413, "INVALID_ARGUMENT")),
        (E::rate_limited(), (429, "rate_limit_error"), (429, "rate_limit_exceeded"), (429, "RESOURCE_EXHAUSTED")),
        (E::CreditExhausted, (400, "invalid_request_error"), (429, "insufficient_quota"), (429, "RESOURCE_EXHAUSTED")),
        (E::PaymentRequired, (402, "billing_error"), (429, "insufficient_quota"), (429, "RESOURCE_EXHAUSTED")),
        (E::Server, (500, "api_error"), (500, "server_error"), (500, "INTERNAL")),
        (E::Overloaded, (529, "overloaded_error"), (503, "server_error"), (503, "UNAVAILABLE")),
        (E::Timeout, (504, "timeout_error"), (504, "server_error"), (504, "DEADLINE_EXCEEDED")),
    ] {
        for (wire, (status, word)) in WIRES.into_iter().zip([anthropic, openai, openai, gemini]) {
            for mode in [Mode::Whole, Mode::Stream] {
                let answer = on(wire, mode, Reply::error(shape.clone())).await;
                let error = answer.json()["error"].clone();
                let said = [&error["code"], &error["type"], &error["status"]];
                assert_eq!(answer.status, status, "{wire:?} {shape:?}");
                assert!(said.iter().any(|said| **said == word), "{wire:?} {shape:?}: {error}");
                assert!(!error["message"].as_str().unwrap().is_empty());
                if wire == Wire::Anthropic {
                    assert_eq!(answer.json()["request_id"], answer.header("request-id").unwrap());
                }
            }
        }
    }
}

#[tokio::test]
async fn limits_say_which_and_when_in_each_vendors_headers() {
    let limited = |limit, retry_after_s| Reply::error(ErrorShape::RateLimited { limit, retry_after_s });
    let anthropic = on(Wire::Anthropic, Mode::Whole, limited(Limit::Tokens, Some(7))).await;
    for (name, want) in [
        ("retry-after", "7"),
        ("x-should-retry", "true"),
        ("anthropic-ratelimit-requests-remaining", "49"),
        ("anthropic-ratelimit-input-tokens-remaining", "0"),
        ("anthropic-ratelimit-input-tokens-reset", "2026-01-01T00:00:07Z"),
    ] {
        assert_eq!(anthropic.header(name), Some(want), "{name}");
    }
    for wire in [Wire::Chat, Wire::Responses] {
        let openai = on(wire, Mode::Whole, limited(Limit::Requests, Some(7))).await;
        for (name, want) in [
            ("retry-after", "7"),
            ("retry-after-ms", "7000"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "7s"),
            ("x-ratelimit-remaining-tokens", "29999"),
        ] {
            assert_eq!(openai.header(name), Some(want), "{name}");
        }
    }
    let gemini = on(Wire::Gemini, Mode::Whole, limited(Limit::Daily, Some(7))).await;
    assert_eq!(gemini.header("retry-after"), None);
    let details = gemini.json()["error"]["details"].clone();
    assert!(details[0]["violations"][0]["quotaId"].as_str().unwrap().contains("PerDay"));
    assert_eq!(details[1]["retryDelay"], "7s");
    for wire in WIRES {
        let bare = on(wire, Mode::Whole, limited(Limit::Bare, None)).await;
        assert_eq!(bare.status, 429);
        assert!(!bare.headers.keys().any(|name| name.as_str().contains("limit") || name == "retry-after"), "{wire:?}");
    }
}
