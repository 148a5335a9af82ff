//! Refusals in every dialect, and hostile input: a native 4xx, and never a panic or a hang.

use crate::support::{CLIENT_KEY, Gateway, Got, MODEL, WIRES, ask, gateway, post, request, scripted};
use bytes::Bytes;
use domain::format::{ApiFormat, Feature};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use std::{sync::atomic::Ordering, time::Duration};
use testkit::{Gate, Reply, Upstream};

fn healthy() -> Reply {
    Reply::text(["ok"]).usage(1, 1)
}

/// The error's word on its wire: type, code or status.
fn word(format: ApiFormat, got: &Got) -> String {
    let json = got.json();
    let word = match format {
        ApiFormat::OpenAi | ApiFormat::OpenAiCli if json["error"]["code"].is_string() => &json["error"]["code"],
        ApiFormat::Claude | ApiFormat::ClaudeCli | ApiFormat::OpenAi | ApiFormat::OpenAiCli => &json["error"]["type"],
        ApiFormat::Gemini | ApiFormat::GeminiCli => &json["error"]["status"],
    };
    word.as_str().unwrap_or_else(|| panic!("{format}: {json}")).to_owned()
}

/// A refusal by name: what is done to gateway and request, and (status, word) on each wire.
type Case = (&'static str, fn(&mut crate::support::Builder), fn(&mut Request<Full<Bytes>>), [(u16, &'static str); 4]);

fn nothing(_: &mut crate::support::Builder) {}
fn as_is(_: &mut Request<Full<Bytes>>) {}

#[tokio::test(start_paused = true)]
async fn each_refusal_has_the_shape_that_raises_the_clients_own_exception() {
    let bad_key =
        [(401, "authentication_error"), (401, "invalid_api_key"), (401, "invalid_api_key"), (400, "INVALID_ARGUMENT")];
    let limited = [
        (429, "rate_limit_error"),
        (429, "rate_limit_exceeded"),
        (429, "rate_limit_exceeded"),
        (429, "RESOURCE_EXHAUSTED"),
    ];
    let forbidden = [
        (403, "permission_error"),
        (403, "invalid_request_error"),
        (403, "invalid_request_error"),
        (403, "PERMISSION_DENIED"),
    ];
    let unknown = [(404, "not_found_error"), (404, "model_not_found"), (404, "model_not_found"), (404, "NOT_FOUND")];
    let unavailable = [(503, "api_error"), (503, "server_error"), (503, "server_error"), (503, "UNAVAILABLE")];
    let cases: [Case; 11] = [
        ("no key", nothing, |request| drop(request.headers_mut().remove("x-api-key")), bad_key),
        (
            "a wrong key",
            nothing,
            |request| drop(request.headers_mut().insert("x-api-key", "sk-x".parse().unwrap())),
            bad_key,
        ),
        (
            "two keys",
            nothing,
            |request| drop(request.headers_mut().insert("authorization", "Bearer other".parse().unwrap())),
            bad_key,
        ),
        ("a locked key", |builder| builder.parts.client_keys[0].is_locked = true, as_is, bad_key),
        ("another address", |builder| builder.parts.client_keys[0].allowed_ips = Some(vec![]), as_is, bad_key),
        ("no such model", |builder| builder.parts.global_models[0].is_active = false, as_is, unknown),
        ("a model not allowed", |builder| builder.parts.users[0].access.models = Some(vec![]), as_is, forbidden),
        (
            "a format not allowed",
            |builder| builder.parts.client_keys[0].access.api_formats = Some(vec![]),
            as_is,
            forbidden,
        ),
        ("a rate of nothing", |builder| builder.parts.client_keys[0].limits.rate = Some(0), as_is, limited),
        ("no slot", |builder| builder.parts.client_keys[0].limits.concurrent = Some(0), as_is, limited),
        ("nobody serves it", |builder| builder.parts.providers[0].is_active = false, as_is, unavailable),
    ];
    for (name, change, spoil, want) in cases {
        for (format, (status, want_word)) in WIRES.into_iter().zip(want) {
            let upstream = scripted([healthy()]);
            let gw = gateway().upstream(format, &upstream).with(change).start();
            let (path, body) = ask(format, true);
            let mut request = post(&path, &body);
            spoil(&mut request);

            let got = gw.send(request).await;

            assert_eq!(
                (got.status.as_u16(), word(format, &got).as_str()),
                (status, want_word),
                "{format} {name}: {}",
                got.text()
            );
            assert_eq!(upstream.requests().len(), 0, "{format} {name}");
            assert!(got.header("x-request-id").is_some(), "{format} {name}");
            assert_eq!(got.header("retry-after").is_some(), status == 429, "{format} {name}");
            let refused = gw.kept.refused.lock().unwrap();
            assert_eq!(refused.len(), 1, "{format} {name}");
            assert!(gw.kept.settled.lock().unwrap().is_empty(), "{format} {name}: was never admitted");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_model_says_that_retrying_is_no_use() {
    let gw = gateway().start();
    let (path, body) = ask(ApiFormat::Claude, false);
    let got = gw.post(&path, &body).await;
    assert_eq!((got.status.as_u16(), got.header("x-should-retry")), (503, Some("false")));
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_does_not_write_refuses_new_requests() {
    let upstream = scripted([healthy()]);
    let gw = gateway().upstream(ApiFormat::OpenAi, &upstream).start();
    gw.kept.broken.store(true, Ordering::Relaxed);
    let (path, body) = ask(ApiFormat::OpenAi, false);
    let got = gw.post(&path, &body).await;
    assert_eq!((got.status.as_u16(), got.header("retry-after")), (503, Some("1")));
    assert_eq!(upstream.requests().len(), 0);
    gw.kept.broken.store(false, Ordering::Relaxed);
    assert_eq!(gw.post(&path, &body).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_rate_says_when_to_come_back_and_keeps_its_word() {
    let upstream = scripted([healthy(), healthy(), healthy()]);
    let gw = gateway()
        .upstream(ApiFormat::OpenAi, &upstream)
        .with(|builder| builder.parts.client_keys[0].limits.rate = Some(2))
        .start();
    let (path, body) = ask(ApiFormat::OpenAi, false);
    for _ in 0..2 {
        assert_eq!(gw.post(&path, &body).await.status, 200);
    }
    let got = gw.post(&path, &body).await;
    assert_eq!(got.status, 429);
    assert_eq!(got.header("x-ratelimit-limit-requests"), Some("2"));
    let wait: u64 = got.header("retry-after").unwrap().parse().unwrap();
    tokio::time::advance(Duration::from_secs(wait)).await;
    assert_eq!(gw.post(&path, &body).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_held_until_the_answers_end() {
    let gate = Gate::new();
    let upstream = scripted([healthy().hold_head(&gate), healthy()]);
    let gw = gateway()
        .upstream(ApiFormat::OpenAi, &upstream)
        .with(|builder| builder.parts.client_keys[0].limits.concurrent = Some(1))
        .start();
    let (path, body) = ask(ApiFormat::OpenAi, false);
    let first = gw.post(&path, &body);
    tokio::pin!(first);
    tokio::select! {
        _ = &mut first => panic!("it is held"),
        () = gate.reached() => {}
    }
    assert_eq!(gw.post(&path, &body).await.status, 429);
    gate.open();
    assert_eq!(first.await.status, 200);
    assert_eq!(gw.post(&path, &body).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn only_an_explicit_no_keeps_a_model_from_a_feature() {
    let with_tools = json!({ "model": MODEL, "messages": [], "tools": [{ "name": "t", "input_schema": {} }] });
    for (supports, want) in [(None, 200), (Some(true), 200), (Some(false), 503)] {
        let upstream = scripted([healthy()]);
        let gw = gateway()
            .upstream(ApiFormat::Claude, &upstream)
            .with(|builder| {
                builder.parts.models[0].supports =
                    supports.map(|supports| (Feature::FunctionCalling, supports)).into_iter().collect();
            })
            .start();
        assert_eq!(gw.post("/v1/messages", &with_tools).await.status, want, "{supports:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_keeps_guessing_gets_a_bare_429_and_a_good_key_passes() {
    let upstream = scripted([healthy()]);
    let gw = gateway().upstream(ApiFormat::Claude, &upstream).start();
    let (path, body) = ask(ApiFormat::Claude, false);
    let guess = || {
        let mut request = post(&path, &body);
        request.headers_mut().insert("x-api-key", "sk-guess".parse().unwrap());
        request
    };
    for _ in 0..60 {
        assert_eq!(gw.send(guess()).await.status, 401);
    }
    let got = gw.send(guess()).await;
    assert_eq!((got.status.as_u16(), got.body.len()), (429, 0));
    assert!(got.header("retry-after").is_some());
    assert_eq!(gw.post(&path, &body).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn unknown_routes_and_methods_are_native_too() {
    let gw = gateway().start();
    for (method, path, status, pointer) in [
        (Method::POST, "/v1/messages/batches", 404, "/error/type"),
        (Method::GET, "/v1/messages", 405, "/error/type"),
        (Method::POST, "/v1/nothing", 404, "/error/type"),
        (Method::POST, "/v1beta/models/m:teleport", 404, "/error/status"),
        (Method::PUT, "/v1beta/models", 405, "/error/status"),
    ] {
        let got = gw.send(request(method.clone(), path, "{}")).await;
        assert_eq!(got.status.as_u16(), status, "{method} {path}");
        assert!(got.json().pointer(pointer).is_some_and(Value::is_string), "{method} {path}: {}", got.text());
    }
}

/// A gateway with one candidate per wire, for bodies that must not get there.
fn fortress(upstream: &Upstream) -> Gateway {
    WIRES.into_iter().fold(gateway(), |builder, format| builder.upstream(format, upstream)).start()
}

#[tokio::test(start_paused = true)]
async fn hostile_bodies_get_a_native_400() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{{\"model\":\"{MODEL}\",\"messages\":{}{}}}", open.repeat(depth), close.repeat(depth)).into_bytes()
    };
    let deep = (64 << 20) / 2 - 64;
    let text = |text: &str| text.as_bytes().to_vec();
    let long_name = format!("{{\"model\":\"{}\",\"messages\":[]}}", "m".repeat(1 << 20));
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("nothing", text(""), 400),
        ("no JSON", text("model=x"), 400),
        ("no object", text("[1,2]"), 400),
        ("a cut object", text("{\"model\":\"big-model\",\"messages\":["), 400),
        ("two objects", text("{\"model\":\"big-model\"}{}"), 400),
        ("no model", text("{\"messages\":[]}"), 400),
        ("a model that is a number", text("{\"model\":7,\"messages\":[]}"), 400),
        ("a model twice", text("{\"model\":\"big-model\",\"model\":\"other\",\"messages\":[]}"), 400),
        (
            "a model twice, once escaped",
            text("{\"model\":\"big-model\",\"mod\\u0065l\":\"other\",\"messages\":[]}"),
            400,
        ),
        ("a stream twice", text("{\"model\":\"big-model\",\"stream\":true,\"messages\":[],\"stream\":false}"), 400),
        ("messages twice", text("{\"model\":\"big-model\",\"messages\":[],\"messages\":[1]}"), 400),
        ("a maximum that is text", text("{\"model\":\"big-model\",\"max_tokens\":\"many\",\"messages\":[]}"), 400),
        ("no UTF-8", b"{\"model\":\"big-model\",\"messages\":[\"\xff\xfe\"]}".to_vec(), 400),
        ("half a surrogate in the model", text("{\"model\":\"\\ud800\",\"messages\":[]}"), 404),
        ("a model of a megabyte", text(&long_name), 400),
        ("a model of control characters", text("{\"model\":\"a\\u0000\\n\\u001b[31m\",\"messages\":[]}"), 404),
        ("a model that is a path", text("{\"model\":\"../../etc/passwd\",\"messages\":[]}"), 404),
        ("64 MiB of arrays", nested("[", "]", deep), 400),
        ("64 MiB of open arrays", nested("[", "", 2 * deep), 400),
        ("10 MiB of objects", nested("{\"a\":", "}", (10 << 20) / 6), 400),
        ("too large", vec![b' '; (64 << 20) + 1], 413),
    ];
    let upstream = scripted([]);
    let gw = fortress(&upstream);
    for (name, body, want) in cases {
        for (format, path) in [(ApiFormat::Claude, "/v1/messages"), (ApiFormat::OpenAi, "/v1/chat/completions")] {
            let got = gw.send(request(Method::POST, path, body.clone())).await;
            assert_eq!(got.status.as_u16(), want, "{format} {name}: {}", &got.text()[..got.text().len().min(300)]);
            word(format, &got);
            assert!(got.body.len() < 2 << 20, "{format} {name}");
        }
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn gemini_bodies_are_refused_when_both_spellings_meet() {
    let upstream = scripted([]);
    let gw = fortress(&upstream);
    let path = format!("/v1beta/models/{MODEL}:generateContent");
    for body in [
        "{\"contents\":[],\"generationConfig\":{},\"generation_config\":{}}",
        "{\"contents\":[],\"generationConfig\":{\"maxOutputTokens\":1,\"max_output_tokens\":2}}",
        "{\"contents\":[],\"contents\":[]}",
    ] {
        let got = gw.send(request(Method::POST, &path, body)).await;
        assert_eq!((got.status.as_u16(), word(ApiFormat::Gemini, &got).as_str()), (400, "INVALID_ARGUMENT"), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn background_responses_are_refused_by_name() {
    let upstream = scripted([]);
    let gw = fortress(&upstream);
    let got = gw.post("/v1/responses", &json!({ "model": MODEL, "input": "x", "background": true })).await;
    assert_eq!(got.status, 400);
    assert_eq!(got.json()["error"]["code"], "unsupported_parameter");
    assert_eq!(got.json()["error"]["param"], "background");
}

#[tokio::test(start_paused = true)]
async fn coded_bodies_are_decoded_and_bombs_are_not() {
    use std::io::Write;
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let (_, body) = ask(ApiFormat::Claude, false);
    let plain = body.to_string().into_bytes();
    for (name, coding, bytes, want) in [
        ("gzip", "gzip", gzip(&plain), 200),
        ("no gzip", "gzip", plain.clone(), 400),
        ("an unknown coding", "lzma", plain.clone(), 400),
        ("a bomb", "gzip", gzip(&vec![b' '; 200 << 20]), 413),
    ] {
        let upstream = scripted([healthy()]);
        let gw = gateway().upstream(ApiFormat::Claude, &upstream).start();
        let mut request = request(Method::POST, "/v1/messages", bytes);
        request.headers_mut().insert("content-encoding", coding.parse().unwrap());
        let got = gw.send(request).await;
        assert_eq!(got.status.as_u16(), want, "{name}: {}", got.text());
        if want == 200 {
            assert_eq!(upstream.requests()[0].json()["max_tokens"], 100);
            assert_eq!(upstream.requests()[0].header("content-encoding"), None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_never_in_a_record() {
    let upstream = scripted([healthy()]);
    let gw = gateway().upstream(ApiFormat::Gemini, &upstream).start();
    let path = format!("/v1beta/models/nothing:generateContent?key={CLIENT_KEY}");
    gw.post(&path, &json!({ "contents": [] })).await;
    let records = format!("{:?}{:?}", gw.kept.refused.lock().unwrap(), gw.kept.settled.lock().unwrap());
    assert!(records.contains("nothing"));
    assert!(!records.contains(CLIENT_KEY));
}
