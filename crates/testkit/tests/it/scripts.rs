//! What is answered when: scripts, rules for models, directives; and the ends of a server.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Ended, ErrorShape, Options, Reply, Upstream, Wire};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::client::{Client, MODES, Mode, WIRES, ask, asked, exchange, post, without_body};
use crate::fold::{self, Said};

async fn said(upstream: &Upstream, wire: Wire, mode: Mode, body: &Value) -> Said {
    let answer = exchange(upstream, post(asked(wire, mode, "").0, body.to_string())).await;
    assert_eq!((answer.status, answer.is_whole), (200, true), "{body}: {}", answer.text());
    match mode {
        Mode::Whole => fold::whole(wire, &answer.json()),
        Mode::Stream => fold::stream(wire, &answer.events()),
    }
}

async fn text(upstream: &Upstream, model: &str) -> String {
    let body = json!({ "model": model, "messages": [] });
    said(upstream, Wire::Chat, Mode::Whole, &body).await.text
}

#[tokio::test]
async fn a_models_rule_comes_first_then_the_script_then_what_is_always_said() {
    let upstream = Upstream::local()
        .on_model("ruled", Reply::text(["rule"]))
        .then(Reply::text(["first"]))
        .then(Reply::text(["second"]))
        .always(Reply::text(["always"]));
    let mut got = Vec::new();
    for model in ["x", "ruled", "x", "x", "ruled", "x"] {
        got.push(text(&upstream, model).await);
    }
    assert_eq!(got, ["first", "rule", "second", "always", "rule", "always"]);
    upstream.push(Reply::error(ErrorShape::Server));
    assert_eq!(exchange(&upstream, post("/v1/messages", "{}")).await.status, 500);
}

#[tokio::test]
async fn without_a_script_an_answer_is_friendly_and_names_the_model() {
    for wire in WIRES {
        for mode in MODES {
            let (_, mut body) = asked(wire, mode, "hello");
            body["tools"] = json!([{ "name": "t", "type": "function" }]);
            let said = said(&Upstream::local(), wire, mode, &body).await;
            assert!(said.text.starts_with("Hello! ") && said.text.ends_with(" as m."), "{said:?}");
            assert!(said.tools.is_empty(), "tools are not called unasked");
        }
        let streamed = exchange(&Upstream::local(), ask(wire, Mode::Stream, "hello")).await;
        assert!(streamed.events().len() > 4, "{wire:?}: several deltas");
    }
}

/// A turn that ends with results of the tools that were called before.
fn with_results(wire: Wire, mode: Mode, words: &str, results: &[&str]) -> Value {
    let (_, mut body) = asked(wire, mode, words);
    let each = |result: &dyn Fn(&str) -> Value| results.iter().map(|text| result(text)).collect::<Vec<_>>();
    let (list, more) = match wire {
        Wire::Anthropic => {
            let blocks = each(&|text| json!({ "type": "tool_result", "tool_use_id": "i", "content": text }));
            ("messages", vec![json!({ "role": "user", "content": blocks })])
        }
        Wire::Chat => ("messages", each(&|text| json!({ "role": "tool", "tool_call_id": "i", "content": text }))),
        Wire::Responses => {
            ("input", each(&|text| json!({ "type": "function_call_output", "call_id": "i", "output": text })))
        }
        Wire::Gemini => {
            let parts = each(&|text| json!({ "functionResponse": { "name": "t", "response": { "output": text } } }));
            ("contents", vec![json!({ "role": "user", "parts": parts })])
        }
    };
    if !results.is_empty() {
        body[list].as_array_mut().unwrap().extend(more);
    }
    body["tools"] = json!([{ "name": "t", "type": "function" }]);
    body
}

#[tokio::test]
async fn directives_lead_an_answer_on_every_wire() {
    let upstream = Upstream::local();
    for wire in WIRES {
        for mode in MODES {
            for (words, results, want_text, want_tools) in [
                (
                    "do [[say exactly this, in several deltas]] please",
                    [].as_slice(),
                    "exactly this, in several deltas",
                    json!([]),
                ),
                ("[[tool look {\"at\":[[1,2],[3]]}]]", &[], "", json!([["look", { "at": [[1, 2], [3]] }]])),
                ("[[tools a {\"n\":1} b {}]]", &[], "", json!([["a", { "n": 1 }], ["b", {}]])),
                ("[[tool look {\"at\":1}]]", &["22 degrees"], "tool said: 22 degrees", json!([])),
                ("[[tools a {} b {}]]", &["one", "two"], "tool said: one\ntwo", json!([])),
                ("no directive", &["odd"], "tool said: odd", json!([])),
                ("[[think hard]]", &[], "Done thinking.", json!([])),
            ] {
                let body = with_results(wire, mode, words, results);
                let said = said(&upstream, wire, mode, &body).await;
                assert_eq!(said.text, want_text, "{wire:?} {mode:?} {words}");
                assert_eq!(json!(said.tools), want_tools, "{wire:?} {mode:?} {words}");
                assert_eq!(said.thoughts, if words.contains("think") { "hard" } else { "" });
            }
        }
        for (name, want) in [
            ("rate_limited", [429, 429, 429, 429]),
            ("overloaded", [529, 503, 503, 503]),
            ("server", [500, 500, 500, 500]),
            ("bad_request", [400, 400, 400, 400]),
            ("auth", [401, 401, 401, 400]),
            ("permission", [403, 403, 403, 403]),
            ("unknown_model", [404, 404, 404, 404]),
            ("context_too_long", [400, 400, 400, 400]),
            ("quota", [400, 429, 429, 429]),
            ("timeout", [504, 504, 504, 504]),
        ] {
            let answer = exchange(&upstream, ask(wire, Mode::Stream, &format!("[[error {name}]]"))).await;
            let place = WIRES.iter().position(|known| *known == wire).unwrap();
            assert_eq!(answer.status, want[place], "{wire:?} {name}");
            if name == "rate_limited" && wire != Wire::Gemini {
                assert_eq!(answer.header("retry-after"), Some("7"));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn directives_break_slow_and_burst_streams() {
    for wire in WIRES {
        let upstream = Upstream::local();
        assert!(!exchange(&upstream, ask(wire, Mode::Stream, "[[cut]]")).await.is_whole, "{wire:?}");

        let failed = exchange(&upstream, ask(wire, Mode::Stream, "[[fail]]")).await;
        assert!(failed.is_whole && failed.text().contains("verloaded"), "{wire:?}");

        let began = Instant::now();
        let slow = exchange(&upstream, ask(wire, Mode::Stream, "[[slow 1000]]")).await;
        let gaps = u64::try_from(slow.text().matches("data: ").count() - 1).unwrap();
        assert_eq!(began.elapsed().as_secs(), gaps, "{wire:?}");

        let (_, body) = asked(wire, Mode::Stream, "[[burst 500]]");
        assert_eq!(said(&upstream, wire, Mode::Stream, &body).await.text, "lorem ".repeat(500), "{wire:?}");

        let mut client = Client::new(&upstream).await;
        let response = client.begin(ask(wire, Mode::Stream, "[[stall]]")).await.unwrap();
        let stalled = tokio::time::timeout(Duration::from_hours(1), crate::client::read(response)).await;
        assert!(stalled.is_err(), "{wire:?}");
    }
}

#[tokio::test]
async fn an_upstream_of_bursts_streams_nothing_else() {
    let upstream = Upstream::local_with(&Options { burst: Some(30), ..Options::default() });
    for wire in WIRES {
        let (_, body) = asked(wire, Mode::Stream, "hi");
        assert_eq!(said(&upstream, wire, Mode::Stream, &body).await.text, "lorem ".repeat(30), "{wire:?}");
        let (_, body) = asked(wire, Mode::Whole, "hi");
        assert!(said(&upstream, wire, Mode::Whole, &body).await.text.starts_with("Hello!"), "{wire:?}");
    }
    assert!(upstream.requests().is_empty(), "nothing is kept unless it is asked for");
}

#[tokio::test(start_paused = true)]
async fn a_least_gap_slows_streams_and_nothing_else() {
    let upstream = Upstream::local_with(&Options { min_gap: Duration::from_secs(1), ..Options::default() });
    for (mode, words, is_slow) in
        [(Mode::Stream, "[[burst 5]]", true), (Mode::Stream, "hi", true), (Mode::Whole, "hi", false)]
    {
        let began = Instant::now();
        exchange(&upstream, ask(Wire::Chat, mode, words)).await;
        assert_eq!(began.elapsed() > Duration::from_secs(5), is_slow, "{mode:?} {words}");
    }
}

#[tokio::test]
async fn a_request_that_comes_again_gets_the_very_same_bytes_where_that_is_wanted() {
    for (reuse, is_same) in [(true, true), (false, false)] {
        let upstream = Upstream::local_with(&Options { reuse, ..Options::default() });
        for wire in WIRES {
            for mode in MODES {
                let first = exchange(&upstream, ask(wire, mode, "hi")).await;
                let other = exchange(&upstream, ask(wire, mode, "ho")).await;
                let again = exchange(&upstream, ask(wire, mode, "hi")).await;
                assert_eq!((first.body == again.body, first.body == other.body), (is_same, false), "{wire:?} {mode:?}");
            }
        }
        upstream.push(Reply::text(["scripted"]));
        let scripted = exchange(&upstream, ask(Wire::Chat, Mode::Whole, "hi")).await;
        assert!(scripted.text().contains("scripted"), "a script is never passed over");
        let after = exchange(&upstream, ask(Wire::Chat, Mode::Whole, "hi")).await;
        assert!(after.text().contains("Hello!"));
    }
}

#[tokio::test]
async fn every_request_is_reported_as_it_comes() {
    let (report, mut reports) = mpsc::unbounded_channel();
    let upstream = Upstream::local_with(&Options { report: Some(report), reuse: true, ..Options::default() });
    for _ in 0..2 {
        exchange(&upstream, post("/v1/messages?beta=true", "{\"model\":\"m\"}")).await;
        let received = reports.recv().await.unwrap();
        assert_eq!((received.path.as_str(), received.query.as_str()), ("/v1/messages", "beta=true"));
        assert_eq!(received.json(), json!({ "model": "m" }));
    }
}

#[tokio::test]
async fn a_host_that_refuses_closes_everything_and_can_come_back() {
    let upstream = Upstream::start().await.unwrap();
    let address = upstream.address().unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    upstream.until(|upstream| upstream.connections() == 1).await;
    upstream.refuse().await;
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0, "open connections are closed");
    for _ in 0..3 {
        let error = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    upstream.accept_again().unwrap();
    let mut client = Client::over(TcpStream::connect(address).await.unwrap()).await;
    assert_eq!(client.send(post("/v1/messages", "{}")).await.unwrap().status, 200);

    let local = Upstream::local();
    local.refuse().await;
    assert_eq!(local.connect().read(&mut [0; 1]).await.unwrap(), 0);
    local.accept_again().unwrap();
    assert_eq!(exchange(&local, post("/v1/messages", "{}")).await.status, 200);
}

#[tokio::test]
async fn dropping_the_last_clone_or_shutting_down_ends_every_connection() {
    for shuts_down in [true, false] {
        let upstream = Upstream::start().await.unwrap();
        let clone = upstream.clone();
        let address = upstream.address().unwrap();
        let (mut far, mut near) = (TcpStream::connect(address).await.unwrap(), upstream.connect());
        upstream.until(|upstream| upstream.connections() == 2).await;
        drop(clone);
        assert_eq!(exchange(&upstream, post("/v1/messages", "{}")).await.status, 200, "one clone is left");
        if shuts_down {
            upstream.shutdown().await;
            TcpStream::connect(address).await.unwrap_err();
        } else {
            drop(upstream);
        }
        assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!(near.read(&mut [0; 1]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() {
    let gate = testkit::Gate::new();
    let upstream = Upstream::local().then(Reply::text(["a", "b"]).hold(2, &gate));
    let mut client = Client::new(&upstream).await;
    let response = client.begin(ask(Wire::Chat, Mode::Stream, "hi")).await.unwrap();
    gate.reached().await;
    drop((response, client));
    upstream.ended(Ended::Abandoned, 1).await;
    assert_eq!(upstream.endings(), [Ended::Abandoned]);
}

#[tokio::test]
async fn a_kept_response_is_told_by_its_id() {
    for (method, path, status, pointer, want) in [
        ("GET", "/v1/responses/resp_7", 200, "/id", json!("resp_7")),
        ("GET", "/v1/responses/resp_7/input_items", 200, "/data", json!([])),
        ("DELETE", "/v1/responses/resp_7", 200, "/deleted", json!(true)),
        ("POST", "/v1/responses/resp_7/cancel", 400, "/error/type", json!("invalid_request_error")),
        ("GET", "/v1/responses/resp_7/other", 404, "/error/type", json!("invalid_request_error")),
    ] {
        let answer = exchange(&Upstream::local(), without_body(method, path)).await;
        assert_eq!((answer.status, answer.json().pointer(pointer)), (status, Some(&want)), "{method} {path}");
    }
}
