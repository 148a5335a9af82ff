//! Upstreams that speak HTTP/2: many requests on one connection, peers that turn them away, and peers that fall silent.

use crate::support::{Builder, MODEL, gateway};
use bytes::Bytes;
use domain::{catalog::EndpointConfig, format::ApiFormat};
use h2::server::SendResponse;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;

const PATH: &str = "/v1/chat/completions";

fn body() -> Value {
    json!({ "model": MODEL, "messages": [{ "role": "user", "content": "hi" }] })
}

/// The endpoint speaks nothing but HTTP/2, and is asked once.
fn prior_knowledge(builder: &mut Builder) {
    builder.parts.endpoints[0].max_retries = 0;
    builder.parts.endpoints[0].config = EndpointConfig { http2: Some(true), ..EndpointConfig::default() };
}

/// A peer inside the process: a way to dial it, and how often it was dialled. Each connection is one more call of `serve`.
fn peer<F>(
    serve: impl Fn(DuplexStream) -> F + Send + Sync + 'static,
) -> (impl Fn() -> DuplexStream + Send + Sync, Arc<AtomicU32>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let tasks = TaskTracker::new();
    let connections = Arc::new(AtomicU32::new(0));
    let dialled = connections.clone();
    let dial = move || {
        dialled.fetch_add(1, Ordering::Relaxed);
        let (near, far) = tokio::io::duplex(64 << 10);
        tasks.spawn(serve(far));
        near
    };
    (dial, connections)
}

fn answer(respond: &mut SendResponse<Bytes>) {
    let head = http::Response::builder().header("content-type", "application/json").body(()).unwrap();
    let mut stream = respond.send_response(head, false).unwrap();
    stream.send_data(Bytes::from_static(b"{\"choices\":[]}"), true).unwrap();
}

#[tokio::test(start_paused = true)]
async fn requests_share_a_connection_and_none_waits_behind_another() {
    const TOGETHER: u32 = 20;
    for (allowed, most) in [(100, 1), (2, TOGETHER)] {
        let (inside, _) = watch::channel(0);
        let (open, gate) = watch::channel(true);
        let entered = inside.clone();
        let (dial, connections) = peer(move |io| {
            let (entered, gate) = (entered.clone(), gate.clone());
            let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let (entered, mut gate) = (entered.clone(), gate.clone());
                async move {
                    request.into_body().collect().await?;
                    entered.send_modify(|count| *count += 1);
                    gate.wait_for(|open| *open).await.unwrap();
                    let response = hyper::Response::builder().header("content-type", "application/json");
                    Ok::<_, hyper::Error>(response.body(Full::new(Bytes::from_static(b"{\"choices\":[]}"))).unwrap())
                }
            });
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.max_concurrent_streams(allowed);
            let connection = builder.serve_connection(TokioIo::new(io), service);
            async move { drop(connection.await) }
        });
        let gw = Arc::new(gateway().dialled(ApiFormat::OpenAi, dial).with(prior_knowledge).start());
        assert_eq!(gw.post(PATH, &body()).await.status, 200);
        assert_eq!(connections.load(Ordering::Relaxed), 1);

        open.send_replace(false);
        let mut asked = JoinSet::new();
        for _ in 0..TOGETHER {
            let gw = gw.clone();
            asked.spawn(async move { gw.post(PATH, &body()).await.status });
        }
        let together = inside.subscribe().wait_for(|count| *count == 1 + TOGETHER).await.map(|_| ());
        assert!(together.is_ok(), "all are there before any is answered");
        open.send_replace(true);
        while let Some(status) = asked.join_next().await {
            assert_eq!(status.unwrap(), 200);
        }
        let opened = connections.load(Ordering::Relaxed);
        assert!((TOGETHER / allowed..=most).contains(&opened), "{allowed} at a time: {opened} connections");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_its_leave_answers_what_it_has_and_the_next_request_dials() {
    let (dial, connections) = peer(|io| async move {
        let mut connection = h2::server::handshake(io).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            connection.graceful_shutdown();
            answer(&mut respond);
        }
    });
    let gw = gateway().dialled(ApiFormat::OpenAi, dial).with(prior_knowledge).start();
    for number in 1..=3 {
        let got = gw.post(PATH, &body()).await;
        assert_eq!(got.status, 200, "{}", got.text());
        assert_eq!(connections.load(Ordering::Relaxed), number);
    }
    assert_eq!(gw.kept.attempts.lock().unwrap().len(), 0, "nothing failed");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_idle_for_a_minute_is_let_go() {
    let (dial, connections) = peer(|io| async move {
        let mut connection = h2::server::handshake(io).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            answer(&mut respond);
        }
    });
    let gw = gateway().dialled(ApiFormat::OpenAi, dial).with(prior_knowledge).start();
    for (after_s, want) in [(0, 1), (50, 1), (50, 1), (60, 2)] {
        tokio::time::advance(Duration::from_secs(after_s)).await;
        assert_eq!(gw.post(PATH, &body()).await.status, 200);
        assert_eq!(connections.load(Ordering::Relaxed), want, "after {after_s} s");
    }
}

/// Takes everything, and says nothing after its settings: no answer, no sign of life.
async fn mute(mut io: DuplexStream) {
    io.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let _ = io.read_to_end(&mut Vec::new()).await;
}

/// Takes everything, and answers nothing but pings.
async fn thinking(io: DuplexStream) {
    let mut connection = h2::server::handshake(io).await.unwrap();
    let mut taken = Vec::new();
    while let Some(Ok(request)) = connection.accept().await {
        taken.push(request);
    }
}

/// Begins a stream, and then is gone without a word.
async fn vanishing(io: DuplexStream) {
    let mut connection = h2::server::handshake(io).await.unwrap();
    let (_, mut respond) = connection.accept().await.unwrap().unwrap();
    let head = http::Response::builder().header("content-type", "text/event-stream").body(()).unwrap();
    let mut stream = respond.send_response(head, false).unwrap();
    let chunk = json!({ "id": "c", "choices": [{ "index": 0, "delta": { "content": "hello" } }] });
    stream.send_data(Bytes::from(format!("data: {chunk}\n\n")), false).unwrap();
    // What is to be sent goes out while it waits for another request; then nobody drives it.
    let _ = timeout(Duration::from_secs(1), connection.accept()).await;
    std::future::pending::<()>().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_no_ping_is_gone_and_one_that_thinks_is_not() {
    let mut ask = body();
    ask["stream"] = true.into();
    let begin = |dial| gateway().dialled(ApiFormat::OpenAi, dial).with(prior_knowledge).start();
    type Dial = Box<dyn Fn() -> DuplexStream + Send + Sync>;
    for (name, dial, status, verdict, seconds) in [
        ("mute", Box::new(peer(mute).0) as Dial, 502, "transient", 30),
        ("thinking", Box::new(peer(thinking).0), 504, "transient: first_event", 120),
        // After its last words.
        ("vanishing", Box::new(peer(vanishing).0), 200, "transient", 30),
    ] {
        let gw = begin(dial);
        let began = Instant::now();
        let got = gw.post(PATH, &ask).await;
        let took = began.elapsed().as_secs();
        assert_eq!(got.status.as_u16(), status, "{name}: {}", got.text());
        assert!((seconds..=seconds + 2).contains(&took), "{name}: {took} s");
        assert_eq!(gw.settled().candidates[0].skip_reason.as_deref(), Some(verdict), "{name}");
        assert_eq!(got.text().contains("hello"), status == 200, "{name}");
    }
}

/// Waits for a request's head and says that no stream was looked at (RFC 9113, 6.8).
async fn turn_away(tcp: &mut tokio::net::TcpStream) {
    const HEADERS: u8 = 1;
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    tcp.read_exact(&mut [0; 24]).await.unwrap(); // the preface
    tcp.write_all(&SETTINGS).await.unwrap();
    loop {
        let mut head = [0; 9];
        tcp.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        tcp.read_exact(&mut vec![0; length as usize]).await.unwrap();
        if head[3] == HEADERS {
            break;
        }
    }
    tcp.write_all(&GOAWAY).await.unwrap();
    // Until the client has closed: an early close would be a reset.
    let _ = tcp.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn a_request_that_an_http2_peer_has_not_looked_at_is_sent_again() {
    for refusal in ["REFUSED_STREAM", "GOAWAY", "GOAWAY after it was taken", "always"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = TaskTracker::new();
        let (seen, connections) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (counted, dialled) = (seen.clone(), connections.clone());
        tasks.spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                dialled.fetch_add(1, Ordering::Relaxed);
                if refusal == "GOAWAY" && counted.fetch_add(1, Ordering::Relaxed) == 0 {
                    turn_away(&mut tcp).await;
                    continue;
                }
                let mut connection = h2::server::handshake(tcp).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    assert_eq!(request.uri().path(), PATH);
                    let first = counted.fetch_add(1, Ordering::Relaxed) == 0;
                    match refusal {
                        "GOAWAY after it was taken" if first => connection.abrupt_shutdown(h2::Reason::NO_ERROR),
                        _ if first || refusal == "always" => respond.send_reset(h2::Reason::REFUSED_STREAM),
                        _ => answer(&mut respond),
                    }
                    if refusal == "always" && counted.load(Ordering::Relaxed) > 20 {
                        return;
                    }
                }
            }
        });
        let gw = gateway()
            .candidate(ApiFormat::OpenAi, &format!("http://{address}"))
            .allow("127.0.0.0/8")
            .with(prior_knowledge)
            .start();
        let got = gw.post(PATH, &body()).await;
        assert_eq!(gw.settled().candidates.len(), 1, "{refusal}: it is one attempt");
        if refusal == "always" {
            assert_eq!(got.status, 502);
            assert_eq!(seen.load(Ordering::Relaxed), 3, "the tries are bounded");
        } else if refusal == "GOAWAY after it was taken" {
            assert_eq!(got.status, 502);
            assert_eq!(seen.load(Ordering::Relaxed), 1, "it may have been acted on");
        } else {
            assert_eq!(got.status, 200, "{refusal}: {}", got.text());
            assert!(seen.load(Ordering::Relaxed) >= 2, "{refusal}");
        }
        if ["REFUSED_STREAM", "always"].contains(&refusal) {
            assert_eq!(connections.load(Ordering::Relaxed), 1, "{refusal}: the connection is good");
            gw.post(PATH, &body()).await;
            let opened = if refusal == "always" { 2 } else { 1 };
            assert_eq!(connections.load(Ordering::Relaxed), opened, "{refusal}: and is used on, if it ever took one");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_refuses_every_stream_is_left_for_another() {
    let number = AtomicU32::new(0);
    let (dial, connections) = peer(move |io| {
        let spoilt = number.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            let mut connection = h2::server::handshake(io).await.unwrap();
            let mut served = 0;
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                if spoilt && served > 0 {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                } else {
                    answer(&mut respond);
                    served += 1;
                }
            }
        }
    });
    let gw = gateway().dialled(ApiFormat::OpenAi, dial).with(prior_knowledge).start();
    for opened in [1, 2, 2] {
        let got = gw.post(PATH, &body()).await;
        assert_eq!(got.status, 200, "{}", got.text());
        assert_eq!(connections.load(Ordering::Relaxed), opened);
    }
    assert_eq!(gw.kept.attempts.lock().unwrap().len(), 0, "nothing failed");
}
