//! Connections of HTTP/2, which many requests share. Tasks of the client drive them and end with it.

use super::{connect::Stream, exchange::Rope};
use http::{HeaderMap, Request, Uri, header::HOST, uri::Scheme};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    error::Error as _,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

/// Requests at a time on one connection, if the peer allows so many.
const STREAMS_MAX: usize = 256;
/// And until it says how many: a request that finds no room dials, where it would wait behind another's answer.
const STREAMS_FIRST: usize = 1;
/// What of one stream may lie here unread: with it ends what a slow client makes the peer send ahead.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Of all streams of a connection: none is stopped by others that are not read.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Bytes of an answer's head, decoded.
const HEAD_MAX: u32 = 64 * 1024;
/// While requests are under way, a silent peer is asked whether it is there; without an answer the connection is broken.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_WITHIN: Duration = Duration::from_secs(10);

/// Runs connections. Each ends by itself once its last sender is dropped and what is under way on it is done.
#[derive(Clone, Default)]
pub(super) struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            future.await;
        });
    }
}

/// A connection that takes requests.
#[derive(Clone)]
pub(super) struct Multiplexed {
    sender: http2::SendRequest<Rope>,
    load: Arc<Load>,
}

struct Load {
    open: AtomicUsize,
    /// What the peer allows at a time.
    most: AtomicUsize,
    /// The peer takes no more requests here, or refuses them all.
    closing: AtomicBool,
}

/// The right to one request on a shared connection, until it is dropped.
pub(super) struct Lease(Multiplexed);

/// Why a request on a shared connection got no answer.
pub(super) enum Failed {
    /// The peer has not looked at it and takes no more on this connection: it may be sent on another (RFC 9113, 8.7).
    Unseen(hyper::Error),
    /// The peer has not looked at this one request; the connection is as good as before.
    Refused(hyper::Error),
    Seen(hyper::Error),
}

impl Multiplexed {
    /// Begins to speak HTTP/2.
    pub(super) async fn open(io: TokioIo<Stream>, tasks: &Tasks) -> hyper::Result<Self> {
        let mut builder = http2::Builder::new(tasks.clone());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(STREAMS_FIRST)
            .max_header_list_size(HEAD_MAX)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_WITHIN);
        let (sender, connection) = builder.handshake(io).await?;
        let (open, most, closing) = (AtomicUsize::new(0), AtomicUsize::new(STREAMS_FIRST), AtomicBool::new(false));
        let load = Arc::new(Load { open, most, closing });
        let (watched, mut connection) = (load.clone(), Box::pin(connection));
        hyper::rt::Executor::execute(tasks, async move {
            // How it ended, its requests say.
            let _ = poll_fn(|cx| {
                let ended = Pin::new(&mut connection).poll(cx);
                watched.most.store(connection.current_max_send_streams().min(STREAMS_MAX), Ordering::Relaxed);
                ended
            })
            .await;
            watched.closing.store(true, Ordering::Relaxed);
        });
        Ok(Self { sender, load })
    }

    /// Whether it takes requests at all, be it later.
    pub(super) fn is_good(&self) -> bool {
        !self.load.closing.load(Ordering::Relaxed) && !self.sender.is_closed()
    }

    /// Whether nothing is under way on it.
    pub(super) fn is_idle(&self) -> bool {
        self.load.open.load(Ordering::Relaxed) == 0
    }

    /// Takes the right to one request, if there is room.
    pub(super) fn lease(&self) -> Option<Lease> {
        let most = self.load.most.load(Ordering::Relaxed);
        let room = |open| (open < most).then_some(open + 1);
        let taken = self.load.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
        taken.is_ok().then(|| Lease(self.clone()))
    }
}

impl Lease {
    /// Sends and waits for the head of the answer.
    pub(super) async fn exchange(&mut self, request: Request<Rope>) -> Result<http::Response<Incoming>, Failed> {
        let Multiplexed { sender, load } = &mut self.0;
        sender.try_send_request(request).await.map_err(|mut error| {
            let unsent = error.take_message().is_some();
            let error = error.into_error();
            let h2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
            let left = h2.is_some_and(|error| error.is_remote() && error.is_go_away());
            if unsent || left {
                load.closing.store(true, Ordering::Relaxed);
                return Failed::Unseen(error);
            }
            let refusal = Some(h2::Reason::REFUSED_STREAM);
            if h2.is_some_and(|error| error.is_remote() && error.is_reset() && error.reason() == refusal) {
                Failed::Refused(error)
            } else {
                Failed::Seen(error)
            }
        })
    }

    /// No request is sent on the connection any more; what is under way on it ends.
    pub(super) fn leave(&self) {
        self.0.load.closing.store(true, Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.load.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The same request as HTTP/2 has it: with an absolute target instead of `host`.
pub(super) fn absolute(request: &Request<Rope>, tls: bool) -> Result<Request<Rope>, http::Error> {
    let host = request.headers().get(HOST).map_or(&b""[..], |host| host.as_bytes());
    let scheme = if tls { Scheme::HTTPS } else { Scheme::HTTP };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder().scheme(scheme).authority(host).path_and_query(path).build()?;
    let mut headers: HeaderMap = request.headers().clone();
    headers.remove(HOST);
    let mut absolute = Request::new(request.body().clone());
    *absolute.method_mut() = request.method().clone();
    *absolute.uri_mut() = uri;
    *absolute.headers_mut() = headers;
    Ok(absolute)
}
