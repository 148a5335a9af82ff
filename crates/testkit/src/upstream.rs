//! The server: connections, scripts, and the log of what came and went.

mod door;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::Clock;
use crate::deliver::{After, deliver};
use crate::http::{Conn, Io, Request};
use crate::laid::{Laid, lay_out};
use crate::received::{Ended, Log, Received};
use crate::reply::Reply;
use crate::reuse::Reuse;
use crate::route::{Route, unscripted};
use door::Door;

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
    /// Makes every stream that is not scripted a burst of so many events in one write.
    pub burst: Option<usize>,
    /// Sends an unscripted request that came before the very bytes of its first answer, ids and dates too.
    pub reuse: bool,
    /// Where every request is reported as it comes.
    pub report: Option<UnboundedSender<Received>>,
}

/// A scripted upstream. Clones are the same one; the last of them ends it.
#[derive(Clone)]
pub struct Upstream {
    shared: Arc<Shared>,
    _end: Arc<DropGuard>,
}

/// What is to be answered.
#[derive(Default)]
struct Script {
    queue: VecDeque<Reply>,
    models: HashMap<String, Reply>,
    always: Option<Reply>,
}

struct Shared {
    log: Log,
    script: Mutex<Script>,
    reuse: Option<Reuse>,
    clock: Clock,
    serial: AtomicU64,
    connections: AtomicU64,
    min_gap: Duration,
    burst: Option<usize>,
    report: Option<UnboundedSender<Received>>,
    door: Mutex<Door>,
    /// Keeps the port while nobody listens on it.
    reserved: Mutex<Option<TcpSocket>>,
    address: Option<SocketAddr>,
    end: CancellationToken,
}

/// Makes an upstream.
impl Upstream {
    fn new(options: &Options, address: Option<SocketAddr>) -> Self {
        let end = CancellationToken::new();
        let shared = Arc::new(Shared {
            log: Log::keeping(options.keep),
            script: Mutex::default(),
            reuse: options.reuse.then(Reuse::default),
            clock: Clock::starting_at(START_UNIX_S),
            serial: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            min_gap: options.min_gap,
            burst: options.burst,
            report: options.report.clone(),
            door: Mutex::new(Door::open(&end)),
            reserved: Mutex::default(),
            address,
            end: end.clone(),
        });
        Self { shared, _end: Arc::new(end.drop_guard()) }
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
        upstream.shared.accept(listener);
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
        self.address().map_or_else(|| "http://upstream.invalid".to_owned(), |address| format!("http://{address}"))
    }

    /// Where it listens; `None` inside the process.
    pub fn address(&self) -> Option<SocketAddr> {
        self.shared.address
    }

    /// Closes its port and every connection: whoever dials is refused, as by a host whose program has died. The port stays
    /// reserved. Inside the process, connections end at once.
    pub async fn refuse(&self) {
        let door = self.shared.door().clone();
        door.close().await;
        let reserved = self.shared.address.and_then(|address| door::bind(address).ok());
        *self.shared.reserved.lock().unwrap_or_else(PoisonError::into_inner) = reserved;
    }

    /// Listens again on the same port after [`Upstream::refuse`].
    pub fn accept_again(&self) -> io::Result<()> {
        let reserved = self.shared.reserved.lock().unwrap_or_else(PoisonError::into_inner).take();
        *self.shared.door() = Door::open(&self.shared.end);
        if let Some(address) = self.shared.address {
            let socket = reserved.map_or_else(|| door::bind(address), Ok)?;
            self.shared.accept(socket.listen(door::BACKLOG)?);
        }
        Ok(())
    }

    /// Ends it, and waits until its last task has ended.
    pub async fn shutdown(&self) {
        self.shared.end.cancel();
        let door = self.shared.door().clone();
        door.close().await;
    }
}

/// What it is to answer.
impl Upstream {
    /// Adds an answer to the script; each is used once, in order.
    pub fn push(&self, reply: Reply) {
        self.shared.script().queue.push_back(reply);
    }

    /// Adds an answer to the script.
    #[must_use]
    pub fn then(self, reply: Reply) -> Self {
        self.push(reply);
        self
    }

    /// What every request for this model is answered, before the script.
    #[must_use]
    pub fn on_model(self, model: &str, reply: Reply) -> Self {
        self.shared.script().models.insert(model.to_owned(), reply);
        self
    }

    /// What is answered when the script is over, in place of directives.
    #[must_use]
    pub fn always(self, reply: Reply) -> Self {
        self.shared.script().always = Some(reply);
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

    /// Waits until this holds; it is asked anew whenever a connection, a request, bytes or an ending are added.
    pub async fn until(&self, met: impl Fn(&Self) -> bool) {
        self.shared.log.until(|_| met(self)).await;
    }
}

impl Shared {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connection(&self, mut conn: Conn) {
        while let Ok(Some(request)) = conn.request().await {
            if let Some(report) = &self.report {
                // Nobody may listen any more.
                let _ = report.send(request.received());
            }
            let laid = self.answer(&request);
            let slot = if self.log.keeps() { self.log.arrived(request.received()) } else { None };
            // Its buffer may be filled anew.
            drop(request);
            match deliver(conn, &laid, &self.log, slot).await {
                After::Open(open) => conn = open,
                After::Closed => return,
            }
        }
    }

    fn answer(&self, request: &Request) -> Arc<Laid> {
        let key = self.reuse.as_ref().and_then(|_| Reuse::key(request));
        if let Some(laid) = self.reuse.as_ref().and_then(|reuse| reuse.find(key, request))
            && !self.script().is_set()
        {
            return laid;
        }
        let route = Route::of(request);
        let ask = route.ask(&request.body, self.serial.fetch_add(1, Ordering::Relaxed), self.clock);
        let scripted = self.script().next(&ask.model);
        let is_scripted = scripted.is_some();
        let reply = scripted.unwrap_or_else(|| unscripted(&route, request, &ask, self.burst));
        let laid = lay_out(reply, &ask, self.min_gap);
        let laid = Arc::new(if request.method() == "HEAD" { laid.without_body() } else { laid });
        if let Some(reuse) = self.reuse.as_ref().filter(|_| !is_scripted) {
            reuse.keep(key, request, &laid);
        }
        laid
    }
}

impl Script {
    fn next(&mut self, model: &str) -> Option<Reply> {
        let by_model = self.models.get(model).cloned();
        by_model.or_else(|| self.queue.pop_front()).or_else(|| self.always.clone())
    }

    fn is_set(&self) -> bool {
        !self.queue.is_empty() || !self.models.is_empty() || self.always.is_some()
    }
}
