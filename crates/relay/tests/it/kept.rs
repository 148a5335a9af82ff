//! Responses that a vendor keeps: fetched, cancelled and deleted where they are.

use crate::{
    state::{other, rate_limited, respond, response, two_clients, whole},
    support::{Gateway, Got, Kept, MODEL, PROVIDER_KEY, START_US, id, request, scripted},
};
use domain::{
    bindings::{Binding, Fingerprint},
    format::ApiFormat,
    ports::{Answer, Issuers, NotTold},
};
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::{
    fmt::Debug,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};
use testkit::{ErrorShape, Reply};
use tokio::time::sleep;
use tracing::{Subscriber, field::Field, span};
use wire::state::fingerprint;

impl Issuers for Kept {
    fn find(&self, thing: Fingerprint) -> Answer<Result<Option<Binding>, NotTold>> {
        if self.broken.load(Ordering::Relaxed) {
            return Answer::now(Err(NotTold("scripted".to_owned())));
        }
        Answer::now(Ok(self.bound.lock().unwrap().get(&thing).copied()))
    }
}

/// Asks for what is kept.
async fn kept(gw: &Gateway, method: Method, path: &str) -> Got {
    gw.send(request(method, &format!("/v1/responses/{path}"), "")).await
}

#[tokio::test(start_paused = true)]
async fn a_kept_response_is_fetched_cancelled_and_deleted_where_it_is_kept() {
    let (first, second) = (scripted([rate_limited()]), scripted([response("resp_1", &[])]));
    let gw = two_clients(ApiFormat::OpenAiCli, &[&first, &second]).start();
    assert_eq!(respond(&gw, &json!({ "model": MODEL, "input": "hi" })).await.status, 200);
    let settlements = gw.kept.settled.lock().unwrap().len();
    for (method, path, up) in [
        (Method::GET, "resp_1?include=a&stream=false", "/v1/responses/resp_1"),
        (Method::GET, "resp_1/input_items", "/v1/responses/resp_1/input_items"),
        (Method::POST, "resp_1/cancel", "/v1/responses/resp_1/cancel"),
        (Method::DELETE, "resp_1", "/v1/responses/resp_1"),
    ] {
        let body = json!({ "id": "resp_1", "asked": path });
        second.push(whole(&body).header("x-request-id", "req_up"));
        let got = kept(&gw, method.clone(), path).await;
        assert_eq!((got.status.as_u16(), got.json()), (200, body), "{method} {path}");
        assert_eq!(got.header("x-upstream-request-id"), Some("req_up"));
        let asked = second.requests().pop().unwrap();
        assert_eq!((asked.method.as_str(), asked.path.as_str()), (method.as_str(), up));
        assert_eq!(asked.query, path.split_once('?').map_or("", |(_, query)| query));
        assert_eq!(asked.header("authorization"), Some(format!("Bearer {PROVIDER_KEY}").as_str()));
        assert_eq!((asked.header("x-api-key"), asked.body.len()), (None, 0));
    }
    assert_eq!(first.requests().len(), 1);
    assert_eq!(gw.kept.settled.lock().unwrap().len(), settlements, "nothing is billed");

    let asked = second.requests().len();
    for path in ["resp_1", "resp_1/input_items", "resp_unknown"] {
        let mut asking = request(Method::GET, &format!("/v1/responses/{path}"), "");
        asking = if path == "resp_unknown" { asking } else { other(asking) };
        let got = gw.send(asking).await;
        assert_eq!(got.status, 404, "{path}: {}", got.text());
        assert_eq!(got.json()["error"]["type"], "invalid_request_error", "{path}");
        assert_eq!(got.json()["error"]["code"], Value::Null, "{path}");
    }
    assert_eq!(second.requests().len(), asked, "nothing upstream happens");
}

#[tokio::test(start_paused = true)]
async fn a_kept_response_that_memory_does_not_hold_is_looked_up_for_whom_it_was_issued() {
    let (first, second) = (scripted([]), scripted([whole(&json!({ "id": "resp_far" }))]));
    let gw = two_clients(ApiFormat::OpenAiCli, &[&first, &second]).start();
    let bind = |name: &str, client, expires_us| {
        let binding = Binding { client, issuer: id(112), expires_us };
        gw.kept.bound.lock().unwrap().insert(fingerprint(name.as_bytes()), binding);
    };
    let own = gw.catalog.client_keys.values().find(|key| key.id != id(20)).unwrap().id;
    bind("resp_far", own, START_US + 60_000_000);
    bind("resp_others", id(20), START_US + 60_000_000);
    bind("resp_over", own, START_US);

    gw.kept.broken.store(true, Ordering::Relaxed);
    let got = kept(&gw, Method::GET, "resp_far").await;
    assert_eq!((got.status.as_u16(), got.header("retry-after")), (503, Some("5")), "{}", got.text());
    gw.kept.broken.store(false, Ordering::Relaxed);
    for (name, status) in [("resp_others", 404), ("resp_over", 404), ("resp_far", 200)] {
        assert_eq!(kept(&gw, Method::GET, name).await.status, status, "{name}");
    }
    assert_eq!((first.requests().len(), second.requests().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_an_upstream_says_of_a_kept_response_is_handed_on_without_its_secrets() {
    let upstream = scripted([response("resp_1", &[])]);
    let gw = two_clients(ApiFormat::OpenAiCli, &[&upstream]).start();
    assert_eq!(respond(&gw, &json!({ "model": MODEL, "input": "hi" })).await.status, 200);
    let error = |words: &str| json!({ "error": { "message": words, "type": "invalid_request_error", "param": null, "code": null } });
    let refusal =
        |status, words: &str| Reply::raw(status, &[("content-type", "application/json")], error(words).to_string());
    for (name, reply, status, told) in [
        ("gone", refusal(404, "Response 'resp_1' not found."), 404, Some("Response 'resp_1' not found.")),
        ("not cancellable", refusal(400, "Cannot cancel a synchronous response."), 400, Some("Cannot cancel")),
        ("its key", refusal(400, &format!("bad {PROVIDER_KEY} here")), 400, Some("bad *** here")),
        ("our credential", refusal(401, "Incorrect API key"), 502, None),
        ("a page", Reply::raw(200, &[("content-type", "text/html; charset=utf-8")], "<html>nginx</html>"), 502, None),
        ("no server of the vendor", Reply::raw(404, &[("content-type", "text/html")], "<html>nginx</html>"), 502, None),
        ("overload", Reply::error(ErrorShape::Server), 502, None),
        ("rate", rate_limited(), 429, None),
    ] {
        upstream.push(reply);
        let got = kept(&gw, Method::GET, "resp_1").await;
        assert_eq!(got.status, status, "{name}: {}", got.text());
        assert!(told.is_none_or(|told| got.text().contains(told)), "{name}: {}", got.text());
        assert!(!got.text().contains("Incorrect") && !got.text().contains("nginx"), "{name}: {}", got.text());
        assert_eq!(got.header("retry-after"), (status == 429).then_some("7"), "{name}");
    }
    // Streams pass as they come, and a break is one.
    let events = "event: response.created\ndata: {}\n\n";
    let stream = |body: &str| Reply::raw(200, &[("content-type", "text/event-stream")], body.to_owned());
    upstream.push(stream(events));
    let got = kept(&gw, Method::GET, "resp_1?stream=true").await;
    assert_eq!((got.text().as_str(), got.header("content-type")), (events, Some("text/event-stream")));
    upstream.push(stream(events).chunked_at([10]).stall_after(2));
    let got = kept(&gw, Method::GET, "resp_1?stream=true").await;
    assert!(got.aborted, "silence ends it");
}

/// Keeps the fields of every event.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = self.0.lock().unwrap();
        event.record(&mut |field: &Field, value: &dyn Debug| text.extend([format!("{field}={value:?} ")]));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_repeats_our_key_is_logged_without_it() {
    let upstream = scripted([response("resp_1", &[])]);
    let gw = two_clients(ApiFormat::OpenAiCli, &[&upstream]).start();
    assert_eq!(respond(&gw, &json!({ "model": MODEL, "input": "hi" })).await.status, 200);
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    for status in [401, 500] {
        let body = json!({ "error": { "message": format!("Incorrect API key: {PROVIDER_KEY}."), "type": "x" } });
        upstream.push(Reply::raw(status, &[("content-type", "application/json")], body.to_string()));
        let got = kept(&gw, Method::GET, "resp_1").await;
        let text = std::mem::take(&mut *log.0.lock().unwrap());
        assert!(text.contains("Incorrect API key: ***."), "{text}");
        assert!(!text.contains(PROVIDER_KEY) && !got.text().contains("Incorrect"), "{text} {}", got.text());
    }
}

#[tokio::test(start_paused = true)]
async fn kept_responses_share_a_rate_with_lists_and_need_their_format() {
    let gw = two_clients(ApiFormat::OpenAiCli, &[&scripted([])])
        .with(|builder| builder.parts.client_keys[1].access.api_formats = Some(vec![ApiFormat::OpenAi]))
        .start();
    let listed = async || gw.send(request(Method::GET, "/v1/models", "")).await;
    for _ in 0..30 {
        assert_eq!(kept(&gw, Method::GET, "resp_none").await.status, 404);
        assert_eq!(listed().await.status, 200);
    }
    for got in [kept(&gw, Method::GET, "resp_none").await, listed().await] {
        assert!(got.status == 429 && got.header("retry-after").is_some(), "{}", got.text());
    }
    let path = "/v1/responses/resp_none";
    assert_eq!(gw.send(other(request(Method::GET, path, ""))).await.status, 403);
    assert_eq!(gw.send(request(Method::PUT, path, "")).await.status, 405);
}

#[tokio::test(start_paused = true)]
async fn a_slow_clients_time_is_not_its_upstreams_silence() {
    let upstream = scripted([response("resp_1", &[])]);
    let gw = two_clients(ApiFormat::OpenAiCli, &[&upstream]).start();
    assert_eq!(respond(&gw, &json!({ "model": MODEL, "input": "hi" })).await.status, 200);
    let events = "event: response.created\ndata: {}\n\nevent: response.completed\ndata: {}\n\n";
    let streamed = Reply::raw(200, &[("content-type", "text/event-stream")], events.to_owned());
    for (name, gap_s, away_s, whole) in [
        ("the client is away for most of the silence", 500, 400, true),
        ("it waits for all that may be", 500, 190, false),
    ] {
        upstream.push(streamed.clone().chunked_at([10, 100]).gap(Duration::from_secs(gap_s)));
        let response = gw.open(request(Method::GET, "/v1/responses/resp_1?stream=true", "")).await;
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        sleep(Duration::from_secs(away_s)).await; // of the 300 s that the endpoint may be silent
        let rest = body.collect().await.map(|rest| [first, rest.to_bytes()].concat());
        assert_eq!(rest.is_ok_and(|all| all == events.as_bytes()), whole, "{name}");
    }
}
