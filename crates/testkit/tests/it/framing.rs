//! HTTP itself: connections that are kept, bodies in both framings, and the same bytes under any cuts.

use bytes::Bytes;
use flate2::read::GzDecoder;
use proptest::prelude::*;
use serde_json::Value;
use std::io::Read;
use testkit::{Reply, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Answer, Client, MODES, Mode, WIRES, ask, exchange, post, without_body};

#[tokio::test]
async fn a_connection_carries_one_exchange_after_the_other() {
    let upstream = Upstream::start().await.unwrap();
    let mut client = Client::over(TcpStream::connect(upstream.address().unwrap()).await.unwrap()).await;
    for wire in WIRES {
        for mode in MODES {
            let answer = client.send(ask(wire, mode, "[[say same connection]]")).await.unwrap();
            assert_eq!((answer.status, answer.is_whole), (200, true), "{wire:?} {mode:?}");
            let is_chunked = answer.header("transfer-encoding") == Some("chunked");
            assert_eq!(is_chunked, mode == Mode::Stream, "{wire:?} {mode:?}");
        }
    }
    assert_eq!(upstream.connections(), 1);
    assert!(upstream.requests().iter().all(|request| request.at_connection == 0));
    assert_eq!(upstream.base_url(), format!("http://{}", upstream.address().unwrap()));
}

#[tokio::test]
async fn head_has_the_head_of_an_answer_and_no_body() {
    let upstream = Upstream::local();
    let mut client = Client::new(&upstream).await;
    for (method, path, status, is_empty) in [
        ("HEAD", "/", 200, true),
        ("GET", "/", 200, false),
        ("HEAD", "/v1/models", 200, true),
        ("GET", "/nowhere", 404, false),
        ("HEAD", "/nowhere", 404, true),
        ("GET", "/v1/models", 200, false),
    ] {
        let answer = client.send(without_body(method, path)).await.unwrap();
        assert_eq!((answer.status, answer.body.is_empty()), (status, is_empty), "{method} {path}");
        assert_ne!(answer.header("content-length"), Some("0"), "{method} {path}");
    }
    client.send(post("/v1/messages", "{}")).await.unwrap();
    assert_eq!(upstream.connections(), 1, "what follows a HEAD is read in its place");
}

#[tokio::test]
async fn any_base_path_is_as_good() {
    let upstream = Upstream::local();
    for (path, field) in [
        ("/v1/messages", "stop_reason"),
        ("/anything/v1/messages?beta=true", "stop_reason"),
        ("/v1/chat/completions", "choices"),
        ("/openai/deployments/x/chat", "choices"),
        ("/responses", "output"),
        ("/a/b/v1beta/models/m:generateContent", "candidates"),
        ("/v1/models/publishers/x/m:generateContent", "candidates"),
    ] {
        let answer = exchange(&upstream, post(path, "{}")).await.json();
        assert!(answer.get(field).is_some(), "{path}: {answer}");
    }
}

/// A request in pieces, each written by itself.
async fn trickle(upstream: &Upstream, pieces: &[&[u8]]) -> String {
    let mut io = upstream.connect();
    for piece in pieces {
        io.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    io.shutdown().await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    answer
}

fn cut<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let (mut rest, mut pieces) = (bytes, Vec::new());
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, more) = rest.split_at((*size).clamp(1, rest.len()));
        pieces.push(piece);
        rest = more;
    }
    pieces
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_request_is_the_same_in_any_pieces(
        body in prop::collection::vec(any::<u8>(), 0..3_000),
        chunks in prop::collection::vec(1..500_usize, 1..4),
        pieces in prop::collection::vec(1..700_usize, 1..4),
    ) {
        let head = "POST /v1/messages?x=%20y HTTP/1.1\r\nHost: up\r\nX-Odd:  spaced \r\n";
        let plain = [format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat();
        let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        for chunk in cut(&body, &chunks) {
            chunked.extend_from_slice(format!("{:X};ext=1\r\n", chunk.len()).as_bytes());
            chunked.extend_from_slice(chunk);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\nTrailer: t\r\n\r\n");
        for request in [plain, chunked] {
            let upstream = Upstream::local();
            let answer = run(trickle(&upstream, &cut(&request, &pieces)));
            prop_assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{}", answer);
            let received = upstream.requests().remove(0);
            prop_assert_eq!(&received.body[..], &body[..]);
            prop_assert_eq!((received.path.as_str(), received.query.as_str()), ("/v1/messages", "x=%20y"));
            prop_assert_eq!(received.header("x-odd"), Some("spaced"));
            prop_assert!(received.headers.iter().any(|(name, _)| name == "X-Odd"), "names as they were spelled");
        }
    }

    #[test]
    fn an_answer_is_the_same_under_any_cuts(
        words in prop::collection::vec("\\PC{1,20}", 1..5),
        sizes in prop::collection::vec(0..90_usize, 1..5),
    ) {
        for wire in WIRES {
            for mode in MODES {
                let reply = Reply::text(words.clone()).usage(1, 2);
                let uncut = run(exchange(&Upstream::local().then(reply.clone()), ask(wire, mode, "hi")));
                for reply in [reply.clone(), reply.clone().chunked(), reply.with_length()] {
                    let upstream = Upstream::local().then(reply.chunked_at(sizes.clone()));
                    let answer = run(exchange(&upstream, ask(wire, mode, "hi")));
                    prop_assert!(answer.is_whole);
                    prop_assert_eq!(&answer.body, &uncut.body);
                    prop_assert_eq!(upstream.sent_bytes().concat(), &uncut.body[..]);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_waits_for_a_hundred_is_told_to_go_on() {
    let upstream = Upstream::local();
    let mut io = upstream.connect();
    io.write_all(b"POST /v1/messages HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n").await.unwrap();
    let mut interim = [0; 25];
    io.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    io.write_all(b"{}").await.unwrap();
    upstream.received(1).await;
    assert_eq!(upstream.requests()[0].json(), serde_json::json!({}));
}

#[tokio::test]
async fn what_is_no_request_ends_the_connection() {
    for request in [
        "POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_owned(),
        "POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\n1234".to_owned(),
        format!("POST / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(60_000)),
    ] {
        let upstream = Upstream::local();
        let mut io = upstream.connect();
        // The server may be gone before all of it is written.
        let _ = io.write_all(request.as_bytes()).await;
        let _ = io.shutdown().await;
        let mut answer = Vec::new();
        io.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
        assert!(upstream.requests().is_empty());
    }
}

fn unpacked(answer: &Answer) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    GzDecoder::new(&answer.body[..]).read_to_end(&mut plain).map(|_| plain)
}

#[tokio::test]
async fn a_coded_answer_decodes_to_the_plain_one_unless_it_is_scripted_not_to() {
    let reply = || Reply::text(["some ", "words"]).usage(1, 2);
    for wire in WIRES {
        for mode in MODES {
            let plain = exchange(&Upstream::local().then(reply()), ask(wire, mode, "hi")).await;
            let coded = exchange(&Upstream::local().then(reply().gzip()), ask(wire, mode, "hi")).await;
            assert_eq!(coded.header("content-encoding"), Some("gzip"));
            assert_eq!(unpacked(&coded).unwrap(), plain.body, "{wire:?} {mode:?}");
            let bad = exchange(&Upstream::local().then(reply().bad_gzip()), ask(wire, mode, "hi")).await;
            assert_eq!(bad.header("content-encoding"), Some("gzip"));
            unpacked(&bad).unwrap_err();
        }
    }
}

#[tokio::test]
async fn raw_replies_have_their_own_headers_and_vendor_headers_can_be_changed() {
    let upstream = Upstream::local()
        .then(Reply::raw(418, &[("x-only", "this")], "tea"))
        .then(Reply::text(["x"]).header("request-id", "mine").without_header("server").then_close())
        .then(Reply::verbatim("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nno length"));
    let raw = exchange(&upstream, post("/v1/messages", "{}")).await;
    assert_eq!((raw.status, raw.text(), raw.header("x-only")), (418, "tea", Some("this")));
    assert_eq!(raw.headers.len(), 2, "{:?}", raw.headers);

    let mut client = Client::new(&upstream).await;
    let changed = client.send(post("/v1/messages", "{}")).await.unwrap();
    assert_eq!((changed.header("request-id"), changed.header("server")), (Some("mine"), None));
    assert_eq!(changed.header("connection"), Some("close"));
    client.end().await.unwrap();

    assert_eq!(exchange(&upstream, post("/v1/messages", "{}")).await.body, Bytes::from("no length"));
}

#[tokio::test]
async fn a_burst_leaves_in_one_write_and_a_stream_event_by_event() {
    for (reply, is_one) in [(Reply::text(["x"; 50]).in_one_write(), true), (Reply::text(["x"; 50]), false)] {
        let gate = testkit::Gate::new();
        // Without a hold the other one could be read at once too.
        let reply = if is_one { reply } else { reply.hold(10, &gate) };
        let upstream = Upstream::local().then(reply);
        let mut io = upstream.connect();
        io.write_all(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 15\r\n\r\n{\"stream\":true}")
            .await
            .unwrap();
        let mut buffer = vec![0; 64 << 10];
        let count = io.read(&mut buffer).await.unwrap();
        assert_eq!(buffer[..count].ends_with(b"0\r\n\r\n"), is_one);
    }
}

#[tokio::test]
async fn ids_differ_from_answer_to_answer() {
    let upstream = Upstream::local();
    let mut seen = std::collections::BTreeSet::new();
    for wire in WIRES {
        for _ in 0..3 {
            let answer = exchange(&upstream, ask(wire, Mode::Whole, "hi")).await.json();
            let id = answer.get("id").or_else(|| answer.get("responseId")).and_then(Value::as_str).unwrap();
            assert!(seen.insert(id.to_owned()), "{id} came twice");
        }
    }
}
