//! One connection: TLS if that is configured, HTTP/1.1 or HTTP/2, and a watch over what it does with its time.
//!
//! One timer per connection, none per request: at each [`TICK`] the [`Link`] tells whether a request is under way, has come
//! since, or is being spelled out too slowly.

use super::{Phase, Tls, Traffic, left, patient::Patient};
use crate::front::Front;
use hyper::{body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use socket2::{SockRef, TcpKeepalive};
use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_util::task::TaskTracker;

/// How long a TLS handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How often a connection is looked at. A head that is not complete at the second look ends its connection.
const TICK: Duration = Duration::from_secs(30);
/// Looks at a connection without any request after which it is closed: longer than common clients keep one.
const IDLE_TICKS: u32 = 4;
/// Bytes of a head in HTTP/1.1, request line included; beyond them 431.
const HEAD_MAX: usize = 64 << 10;
/// Bytes of a head in HTTP/2, decoded.
const HEAD_MAX_H2: u32 = 64 << 10;
/// Requests under way on one connection of HTTP/2.
const STREAMS_MAX: u32 = 256;
/// How often a silent HTTP/2 client is asked whether it is there, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_mins(1);
const PING_WITHIN: Duration = Duration::from_secs(20);

/// After this time of silence the system asks whether the client's machine is there, and again until it gives up.
const PROBE: Duration = Duration::from_secs(30);

/// What is known of one connection, by its task, its socket and its requests.
#[derive(Debug)]
pub(crate) struct Link {
    traffic: Arc<Traffic>,
    /// Requests under way.
    open: AtomicU32,
    /// Requests that came.
    begun: AtomicU64,
    /// Bytes came since the last look.
    heard: AtomicBool,
}

impl Link {
    pub(super) fn new(traffic: Arc<Traffic>) -> Arc<Self> {
        traffic.connections.fetch_add(1, Ordering::Relaxed);
        let (open, begun) = (AtomicU32::new(0), AtomicU64::new(0));
        Arc::new(Self { traffic, open, begun, heard: AtomicBool::new(false) })
    }

    pub(super) fn heard(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// A request came; it is under way until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>, counts: bool) -> UnderWay {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        if counts {
            self.traffic.open.fetch_add(1, Ordering::Relaxed);
        }
        UnderWay { link: self.clone(), counts }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.traffic.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request under way, from its head to the last byte of its answer.
#[derive(Debug)]
pub(crate) struct UnderWay {
    link: Arc<Link>,
    /// It is the data plane's.
    counts: bool,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.link.open.fetch_sub(1, Ordering::Relaxed);
        if self.counts {
            self.link.traffic.open.fetch_sub(1, Ordering::Relaxed);
            self.link.traffic.ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What the looks at a connection found so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Looks {
    begun: u64,
    idle: u32,
    spelling: bool,
}

/// What is found at one look.
#[derive(Debug, Clone, Copy)]
struct Found {
    is_open: bool,
    begun: u64,
    heard: bool,
}

impl Looks {
    /// Whether the connection may stay.
    fn look(&mut self, found: Found) -> bool {
        if found.is_open || found.begun != self.begun {
            *self = Self { begun: found.begun, ..Self::default() };
            return true;
        }
        // Bytes without a request: a head that has begun. At the second look in a row it has had its time.
        self.idle += 1;
        let stays = !self.spelling && self.idle < IDLE_TICKS;
        self.spelling |= found.heard;
        stays
    }
}

/// What all connections of a listener share.
pub(super) struct Shared {
    tls: Option<Tls>,
    front: Front,
    http: auto::Builder<Tracked>,
}

impl Shared {
    pub(super) fn new(tls: Option<Tls>, front: Front, streams: TaskTracker) -> Self {
        let mut http = auto::Builder::new(Tracked(streams));
        // A client that closes its side has left: half-open connections are not kept for it.
        http.http1().half_close(false).max_buf_size(HEAD_MAX).header_read_timeout(None).timer(TokioTimer::new());
        http.http2()
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_MAX_H2)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_WITHIN)
            .timer(TokioTimer::new());
        Self { tls, front, http }
    }
}

/// Runs what HTTP/2 spawns where the process can wait for it.
#[derive(Clone)]
pub(super) struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    link: Arc<Link>,
    mut phase: watch::Receiver<Phase>,
) {
    // Fails only if the connection is gone, which its first read tells.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE).with_interval(PROBE));
    let stream = Patient::new(stream, link.clone());
    let Some(tls) = &shared.tls else { return watched(stream, peer, &shared, link, phase).await };
    // On the heap: a connection in the clear does not keep its room.
    let secured = Box::pin(timeout(HANDSHAKE_WITHIN, tls.accept(stream)));
    let stream = tokio::select! {
        secured = secured => match secured {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "a TLS handshake failed"),
            Err(_) => return tracing::debug!(%peer, "a TLS handshake took too long"),
        },
        () = left(&mut phase, Phase::Serving) => return,
    };
    link.heard.store(false, Ordering::Relaxed); // a handshake is no head that has begun
    Box::pin(watched(stream, peer, &shared, link, phase)).await;
}

/// Serves what comes on a stream, and looks at it from time to time.
async fn watched<S>(
    stream: S,
    peer: SocketAddr,
    shared: &Arc<Shared>,
    link: Arc<Link>,
    mut phase: watch::Receiver<Phase>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = Requests { shared: shared.clone(), link: link.clone(), peer };
    let mut connection = pin!(shared.http.serve_connection(TokioIo::new(stream), service));
    let mut ticks = interval_at(Instant::now() + TICK, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = Looks::default();
    let mut closing = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error, "a connection ended");
                }
                return;
            }
            () = left(&mut phase, Phase::Serving), if !closing => {
                connection.as_mut().graceful_shutdown();
                closing = true;
            }
            _ = ticks.tick() => {
                let found = Found {
                    is_open: link.open.load(Ordering::Relaxed) > 0,
                    begun: link.begun.load(Ordering::Relaxed),
                    heard: link.heard.swap(false, Ordering::Relaxed),
                };
                if !looks.look(found) {
                    return;
                }
            }
        }
    }
}

/// The requests of one connection.
struct Requests {
    shared: Arc<Shared>,
    link: Arc<Link>,
    peer: SocketAddr,
}

impl Service<hyper::Request<Incoming>> for Requests {
    type Response = hyper::Response<crate::front::Reply>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    /// The future is on the heap, so that a connection whose answer is a long stream does not keep its room.
    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let (front, link, peer) = (self.shared.front.clone(), self.link.clone(), self.peer);
        Box::pin(async move { Ok(front.answer(request, peer, &link).await) })
    }
}

#[cfg(test)]
mod tests;
