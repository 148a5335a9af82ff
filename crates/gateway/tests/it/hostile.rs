//! What no client should send, and what some send all the same.

use crate::support::{CLIENT_KEY, Gateway, MODEL, gateway};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::fmt::Write as _;
use testkit::{Reply, Upstream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::task::TaskTracker;

async fn served() -> (Gateway, Upstream) {
    let upstream = Upstream::start().await.unwrap().always(Reply::text(["hello"]).usage(1, 1));
    (gateway().provider(&upstream).start().await, upstream)
}

/// The first line of what comes back for these bytes; empty if nothing does.
async fn first_line(gw: &Gateway, bytes: &[u8]) -> String {
    let (mut reader, mut writer) = TcpStream::connect(gw.address()).await.unwrap().into_split();
    // What is refused early is not read to its end.
    let writing = async {
        let _ = writer.write_all(bytes).await;
    };
    let mut answer = Vec::new();
    let reading = async {
        let mut part = [0; 4096];
        while !answer.contains(&b'\n') {
            match reader.read(&mut part).await {
                Ok(count) if count > 0 => answer.extend_from_slice(&part[..count]),
                _ => break,
            }
        }
    };
    tokio::join!(writing, reading);
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {CLIENT_KEY}\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn heads_have_their_bounds() {
    let (gw, upstream) = served().await;
    let mut many = String::new();
    for number in 0..200 {
        write!(many, "x-{number}: y\r\n").unwrap();
    }
    let good =
        format!("{{\"model\":\"{MODEL}\",\"max_tokens\":9,\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}");
    for (name, bytes, want) in [
        ("a good one", post("", good.as_bytes()), "HTTP/1.1 200 OK"),
        (
            "a large header",
            post(&format!("x: {}\r\n", "y".repeat(100_000)), b""),
            "HTTP/1.1 431 Request Header Fields Too Large",
        ),
        (
            "an endless header",
            [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'y'; 200_000]].concat(),
            "HTTP/1.1 431 Request Header Fields Too Large",
        ),
        ("many headers", post(&many, b""), "HTTP/1.1 431 Request Header Fields Too Large"),
        ("two lengths", post("content-length: 7\r\n", b""), "HTTP/1.1 400 Bad Request"),
        (
            "a length that is no number",
            b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n".to_vec(),
            "HTTP/1.1 400 Bad Request",
        ),
        ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n".to_vec(), "HTTP/1.1 400 Bad Request"),
        ("no version of it", b"GET / HTTP/9.9\r\n\r\n".to_vec(), "HTTP/1.1 400 Bad Request"),
        (
            "a long path",
            [b"GET /v1/".to_vec(), vec![b'a'; 70_000], b" HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()].concat(),
            "HTTP/1.1 431 Request Header Fields Too Large",
        ),
        ("nesting of 64 MiB", post("", &vec![b'['; 64 << 20]), "HTTP/1.1 400 Bad Request"),
        ("more than 64 MiB", post("", &vec![b' '; (64 << 20) + 1]), "HTTP/1.1 413 Payload Too Large"),
    ] {
        assert_eq!(first_line(&gw, &bytes).await, want, "{name}");
    }
    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(gw.chat("hi").whole().await.text(), "hello", "everybody else is served");
    gw.stop().await;
}

#[tokio::test]
async fn http_2_is_spoken_to_those_who_begin_with_it() {
    let (gw, _upstream) = served().await;
    let tasks = TaskTracker::new();
    let stream = TcpStream::connect(gw.address()).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tasks.spawn(connection);
    let asks = (0..20).map(|_| {
        let mut sender = sender.clone();
        let body = format!(
            "{{\"model\":\"{MODEL}\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}"
        );
        let request =
            Request::post("http://gateway/v1/chat/completions").header("authorization", format!("Bearer {CLIENT_KEY}"));
        let request = request.body(Full::<Bytes>::from(body)).unwrap();
        tasks.spawn(async move {
            let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
            (parts.status.as_u16(), body.collect().await.unwrap().to_bytes())
        })
    });
    for answer in asks.collect::<Vec<_>>() {
        let (status, bytes) = answer.await.unwrap();
        assert!(status == 200 && bytes.ends_with(b"data: [DONE]\n\n"), "{status} {bytes:?}");
    }
    assert_eq!(gw.entries().await.len(), 20);
    drop(sender);
    gw.stop().await;
}
