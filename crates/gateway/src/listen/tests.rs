//! Connections over real sockets, on a clock that only these tests move.

use super::*;
use axum::{Router, body::Body, routing::get};
use std::{convert::Infallible, net::SocketAddr};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep},
};

/// A listener whose routes answer at once, after an hour, and without end.
pub(super) struct Listening {
    address: SocketAddr,
    pub(super) traffic: Arc<Traffic>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) tasks: TaskTracker,
}

impl Listening {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    pub(super) async fn start_with(tls: Option<Tls>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endless = || async { Body::new(Endless(bytes::Bytes::from(vec![0; 64 << 10]))) };
        let long = || async {
            sleep(Duration::from_hours(1)).await;
            "long\n"
        };
        let routes = Router::new()
            .route("/", get(|| async { "here\n" }))
            .route("/long", get(long))
            .route("/endless", get(endless));
        let (phase, phases) = watch::channel(Phase::Serving);
        let (traffic, tasks) = (Arc::new(Traffic::default()), TaskTracker::new());
        tasks.spawn(serve(listener, tls, Front::operators(routes), traffic.clone(), phases, tasks.clone()));
        Self { address, traffic, phase, tasks }
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// How long somebody is borne with who asks for more than it reads; it is alone here.
    pub(super) async fn bears(&self, mut deaf: impl AsyncWrite + Unpin) -> Duration {
        deaf.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let began = Instant::now();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(self.traffic.connections(), 1);
        while self.traffic.connections() > 0 {
            sleep(Duration::from_secs(1)).await;
        }
        began.elapsed()
    }

    pub(super) async fn ends(self) {
        self.tasks.close();
        self.tasks.wait().await;
        assert_eq!(self.traffic.connections(), 0);
    }
}

/// How long the other side keeps the connection open.
pub(super) async fn open_for(stream: &mut (impl AsyncRead + Unpin)) -> Duration {
    let began = Instant::now();
    let _ = stream.read_to_end(&mut Vec::new()).await;
    began.elapsed()
}

async fn ask(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n") || answer.ends_with(b"\r\n") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8(answer).unwrap()
}

pub(super) fn is_about(time: Duration, seconds: std::ops::RangeInclusive<u64>) -> bool {
    seconds.contains(&time.as_secs())
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_left_after_two_minutes() {
    let listening = Listening::start().await;
    let mut stream = listening.connect().await;
    let open = open_for(&mut stream).await;
    assert!(is_about(open, 115..=125), "{open:?}");
}

#[tokio::test(start_paused = true)]
async fn who_spells_a_head_slowly_is_left_after_a_minute() {
    let listening = Listening::start().await;
    let mut stream = listening.connect().await;
    let began = Instant::now();
    for byte in std::iter::repeat(b"GET / HTTP/1.1\r\nx: yyyyyyyyyyyyyyyyyy").flatten() {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(5)).await;
    }
    assert!(is_about(began.elapsed(), 55..=75), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_rest_between_requests_and_an_answer_may_take_its_time() {
    let listening = Listening::start().await;
    let mut stream = listening.connect().await;
    for _ in 0..3 {
        assert!(ask(&mut stream, "/").await.ends_with("here\n"));
        sleep(Duration::from_secs(80)).await;
    }
    assert!(ask(&mut stream, "/long").await.ends_with("long\n"));
    let open = open_for(&mut stream).await;
    assert!(is_about(open, 85..=155), "{open:?}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_an_answer_loses_it() {
    let listening = Listening::start().await;
    let borne = listening.bears(listening.connect().await).await;
    assert!(is_about(borne, 295..=305), "{borne:?}");
}

#[tokio::test(start_paused = true)]
async fn at_the_end_idle_connections_close_and_open_answers_are_waited_for() {
    let listening = Listening::start().await;
    let mut idle = listening.connect().await;
    assert!(ask(&mut idle, "/").await.ends_with("here\n"));
    let mut busy = listening.connect().await;
    busy.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    sleep(Duration::from_secs(1)).await;

    listening.phase.send_replace(Phase::Draining);
    let open = open_for(&mut idle).await;
    assert!(is_about(open, 0..=0), "{open:?}");
    assert!(TcpStream::connect(listening.address).await.is_err());
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("long\n"), "{answer}");
    listening.ends().await;
}

#[tokio::test(start_paused = true)]
async fn in_a_hurry_open_answers_are_cut() {
    let listening = Listening::start().await;
    let mut busy = listening.connect().await;
    busy.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    sleep(Duration::from_secs(1)).await;
    listening.phase.send_replace(Phase::Draining);
    sleep(Duration::from_secs(1)).await;
    listening.phase.send_replace(Phase::Cut);
    let open = open_for(&mut busy).await;
    assert!(is_about(open, 0..=0), "{open:?}");
    listening.ends().await;
}

/// The same bytes again and again.
struct Endless(bytes::Bytes);

impl hyper::body::Body for Endless {
    type Data = bytes::Bytes;
    type Error = Infallible;
    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, Infallible>>> {
        std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(self.0.clone()))))
    }
}
