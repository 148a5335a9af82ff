//! The server: connections, scripts, and the log of what came and went.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::deliver::{After, Laid, deliver, lay_out};
use crate::directive;
use crate::http::{Conn, Io};
use crate::received::{Ended, Log, Received};
use crate::reply::Reply;
use crate::wires::{self, Ask, Wire};

/// Exchanges that are kept for tests to look at.
const KEPT: usize = 20_000;
/// Buffer of a connection inside the process, each way.
const DUPLEX: usize = 64 << 10;
/// 2026-01-01, when every upstream's clock begins.
const START_UNIX_S: u64 = 1_767_225_600;

/// How an upstream behaves as a whole.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Exchanges to keep, requests and bytes; the default of 0 keeps none.
    pub keep: usize,
    /// A pause between the events of every stream.
    pub min_gap: Duration,
}

/// A scripted upstream. Clones are the same one; the last of them ends it.
#[derive(Clone)]
pub struct Upstream {
    shared: Arc<Shared>,
    address: Option<SocketAddr>,
    _end: Arc<DropGuard>,
}

struct Shared {
    log: Log,
    script: Mutex<VecDeque<Reply>>,
    always: Mutex<Option<Reply>>,
    clock: Clock,
    serial: AtomicU64,
    connections: AtomicU64,
    min_gap: Duration,
    tracker: TaskTracker,
    end: CancellationToken,
}

/// Makes an upstream.
impl Upstream {
    fn new(options: &Options, address: Option<SocketAddr>) -> Self {
        let end = CancellationToken::new();
        let shared = Arc::new(Shared {
            log: Log::keeping(options.keep),
            script: Mutex::default(),
            always: Mutex::default(),
            clock: Clock::starting_at(START_UNIX_S),
            serial: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            min_gap: options.min_gap,
            tracker: TaskTracker::new(),
            end: end.clone(),
        });
        Self { shared, address, _end: Arc::new(end.drop_guard()) }
    }

    /// An upstream inside the process, reached by [`Upstream::connect`]; keeps what it exchanges.
    pub fn local() -> Self {
        Self::new(&Options { keep: KEPT, ..Options::default() }, None)
    }

    /// An upstream inside the process that keeps what the options say.
    pub fn local_with(options: &Options) -> Self {
        Self::new(options, None)
    }

    /// An upstream on a free port of the loopback interface; keeps what it exchanges.
    pub async fn start() -> io::Result<Self> {
        let options = Options { keep: KEPT, ..Options::default() };
        Self::listen(SocketAddr::from(([127, 0, 0, 1], 0)), &options).await
    }

    /// An upstream on this address.
    pub async fn listen(address: SocketAddr, options: &Options) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let upstream = Self::new(options, Some(listener.local_addr()?));
        let shared = upstream.shared.clone();
        upstream.shared.tracker.spawn(async move {
            let end = shared.end.clone();
            let accepting = async {
                loop {
                    // A connection that is gone before it is accepted is no reason to stop.
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    let _ = stream.set_nodelay(true);
                    shared.serve(Io::Tcp(stream));
                }
            };
            end.run_until_cancelled(accepting).await;
        });
        Ok(upstream)
    }

    /// A connection inside the process.
    pub fn connect(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(DUPLEX);
        self.shared.serve(Io::Local(far));
        near
    }

    /// Where it listens, as a base URL; inside the process, a host that nobody resolves.
    pub fn base_url(&self) -> String {
        self.address.map_or_else(|| "http://upstream.invalid".to_owned(), |address| format!("http://{address}"))
    }

    /// Where it listens; `None` inside the process.
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

/// What it is to answer.
impl Upstream {
    /// Adds an answer to the script; each is used once, in order.
    pub fn push(&self, reply: Reply) {
        self.shared.script.lock().unwrap_or_else(PoisonError::into_inner).push_back(reply);
    }

    /// Adds an answer to the script.
    #[must_use]
    pub fn then(self, reply: Reply) -> Self {
        self.push(reply);
        self
    }

    /// What is answered when the script is over, in place of directives.
    #[must_use]
    pub fn always(self, reply: Reply) -> Self {
        *self.shared.always.lock().unwrap_or_else(PoisonError::into_inner) = Some(reply);
        self
    }
}

/// What came and went.
impl Upstream {
    /// Every request so far.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.log.requests()
    }

    /// The body sent for each request so far.
    pub fn sent_bytes(&self) -> Vec<Bytes> {
        self.shared.log.sent_bytes()
    }

    /// How each answer ended.
    pub fn endings(&self) -> Vec<Ended> {
        self.shared.log.endings()
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Waits until so many requests have come.
    pub async fn received(&self, count: usize) {
        self.shared.log.until(|log| log.len() >= count).await;
    }

    /// Waits until so many answers have ended this way.
    pub async fn ended(&self, how: Ended, count: usize) {
        self.shared.log.until(|log| log.count(how) >= count).await;
    }
}

impl Shared {
    fn serve(self: &Arc<Self>, io: Io) {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let shared = self.clone();
        self.tracker.spawn(async move {
            let end = shared.end.clone();
            end.run_until_cancelled(shared.connection(Conn::new(io, number))).await;
        });
    }

    async fn connection(&self, mut conn: Conn) {
        while let Ok(Some(received)) = conn.request().await {
            let laid = self.answer(&received);
            let slot = if self.log.keeps() { self.log.arrived(received) } else { None };
            match deliver(conn, laid, &self.log, slot, self.min_gap).await {
                After::Open(open) => conn = open,
                After::Closed => return,
            }
        }
    }

    fn answer(&self, received: &Received) -> Laid {
        let route = Route::of(received);
        let hints: Hints = serde_json::from_slice(&received.body).unwrap_or_default();
        let ask = Ask {
            wire: route.wire,
            model: route.model.map_or_else(|| hints.model.unwrap_or_default(), str::to_owned),
            stream: route.streams || hints.stream.unwrap_or_default(),
            include_usage: hints.stream_options.and_then(|options| options.include_usage).unwrap_or_default(),
            prompt_bytes: received.body.len(),
            serial: self.serial.fetch_add(1, Ordering::Relaxed),
            clock: self.clock,
        };
        let scripted = self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let scripted = scripted.or_else(|| self.always.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let as_sse = received.query.split('&').any(|pair| pair == "alt=sse");
        let reply = scripted.unwrap_or_else(|| unscripted(&route, &received.body, &ask));
        lay_out(reply, &ask, as_sse)
    }
}

/// What is answered by itself.
fn unscripted(route: &Route<'_>, body: &[u8], ask: &Ask) -> Reply {
    let json = |body: crate::json::Json| Reply::raw(200, &[("content-type", "application/json")], body.into_string());
    let tokens = u64::try_from(ask.prompt_bytes.div_ceil(4)).unwrap_or_default();
    match route.kind {
        Kind::Generate if memchr::memmem::find(body, b"[[").is_none() && !holds_tool_result(body) => {
            directive::reply(ask.wire, &Value::Null, &ask.model)
        }
        Kind::Generate => directive::reply(ask.wire, &serde_json::from_slice(body).unwrap_or_default(), &ask.model),
        Kind::Count => json(wires::count(ask.wire, tokens)),
        Kind::Models => json(wires::models(ask.wire)),
        Kind::Embed => json(wires::embeddings(&serde_json::from_slice(body).unwrap_or_default(), &ask.model)),
    }
}

/// Whether it is worth parsing a body for a tool's result.
fn holds_tool_result(body: &[u8]) -> bool {
    let marks: [&[u8]; 4] = [b"tool_result", b"\"tool\"", b"call_output", b"unction"];
    marks.iter().any(|mark| memchr::memmem::find(body, mark).is_some())
}

/// The few fields that decide the form of an answer.
#[derive(Debug, Default, Deserialize)]
struct Hints {
    model: Option<String>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Generate,
    Count,
    Models,
    Embed,
}

struct Route<'a> {
    wire: Wire,
    kind: Kind,
    model: Option<&'a str>,
    streams: bool,
}

impl<'a> Route<'a> {
    /// By the end of the path, so that any base path is as good; a path that nobody knows is chat.
    fn of(received: &'a Received) -> Self {
        let path = received.path.trim_end_matches('/');
        let plain = |wire, kind| Self { wire, kind, model: None, streams: false };
        if let Some((_, name)) = path.rsplit_once("/models/")
            && let Some((model, action)) = name.rsplit_once(':')
        {
            let kind = match action {
                "countTokens" => Kind::Count,
                _ => Kind::Generate,
            };
            return Self { wire: Wire::Gemini, kind, model: Some(model), streams: action == "streamGenerateContent" };
        }
        let lists = path.ends_with("/models") && received.method == "GET";
        match path {
            _ if lists && path.contains("/v1beta") => plain(Wire::Gemini, Kind::Models),
            _ if lists && received.header("anthropic-version").is_some() => plain(Wire::Anthropic, Kind::Models),
            _ if lists => plain(Wire::Chat, Kind::Models),
            _ if path.ends_with("/messages/count_tokens") => plain(Wire::Anthropic, Kind::Count),
            _ if path.ends_with("/responses/input_tokens") => plain(Wire::Responses, Kind::Count),
            _ if path.ends_with("/messages") => plain(Wire::Anthropic, Kind::Generate),
            _ if path.ends_with("/responses") => plain(Wire::Responses, Kind::Generate),
            _ if path.ends_with("/embeddings") => plain(Wire::Chat, Kind::Embed),
            _ => plain(Wire::Chat, Kind::Generate),
        }
    }
}
