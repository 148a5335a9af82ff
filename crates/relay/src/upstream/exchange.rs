//! One request and its answer on one connection, driven by whoever waits for it.

use super::{
    Call, Client, SendError, Shared, Target,
    connect::{Dialled, Stream, connect},
    innermost,
    multiplexed::{Failed, Lease, Multiplexed, absolute},
    pool::Taken,
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode, Uri, header::HOST};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::{
    collections::VecDeque,
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;

/// Most bytes that a connection buffers, which also bounds an answer's head.
const BUFFER_MAX: usize = 64 * 1024;
/// Connections that may in a row turn a request away unseen; and how often one may refuse it.
const UNSEEN_MAX: u32 = 3;
/// Frames that are ready together leave as one piece up to this size.
const JOINED_MAX: usize = 32 * 1024;

/// A connection and the right to send on it.
pub(super) struct Connection {
    sender: http1::SendRequest<Rope>,
    // Boxed: it moves between pool and bodies.
    driver: Pin<Box<http1::Connection<TokioIo<Stream>, Rope>>>,
}

/// A body of known pieces.
#[derive(Clone)]
pub(super) struct Rope {
    pieces: VecDeque<Bytes>,
    left: u64,
}

/// When what happened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timing {
    /// `None` on a connection that was open already.
    pub connect_ms: Option<u32>,
}

/// An answer, as soon as its head is here.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: AnswerBody,
    pub timing: Timing,
}

/// The body of an answer; it drives the connection and gives it back at its end. Dropped before, it closes it, or ends its
/// stream on a shared one.
pub(crate) struct AnswerBody {
    incoming: Incoming,
    connection: Option<Connection>,
    /// On a shared connection, which drives itself.
    lease: Option<Lease>,
    target: Arc<Target>,
    shared: Arc<Shared>,
    /// An error that came after bytes that had to leave first.
    broken: Option<BodyError>,
    ended: bool,
}

/// The connection broke within a body.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BodyError(String);

impl Client {
    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer, SendError> {
        let Call { target, method, path_and_query, headers, body, connect_timeout } = call;
        let uri: Uri =
            path_and_query.parse().map_err(|error: http::uri::InvalidUri| SendError::BadRequest(error.into()))?;
        let mut request = Request::new(Rope::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        request.headers_mut().insert(HOST, target.authority.clone());

        while let Some(taken) = self.0.pool.take(&target) {
            let mut connection = match taken {
                Taken::Own(connection) => connection,
                Taken::Shared(lease) => match self.multiplexed(lease, &request, &target, Timing::default()).await {
                    Ok(Some(answer)) => return Ok(answer),
                    // Nobody takes this connection again.
                    Ok(None) | Err(SendError::Unseen) => continue,
                    Err(error) => return Err(error),
                },
            };
            if !connection.is_alive().await {
                continue;
            }
            match connection.exchange(request).await {
                Ok(response) => return Ok(self.answer(response, Held::Own(connection), target, Timing::default())),
                // The connection was closed before anything of the request went out: nobody has seen it.
                Err((_, Some(unsent))) => request = unsent,
                Err((error, None)) => return Err(SendError::Exchange(error)),
            }
        }
        // On the heap: dialling needs much room, and most requests do not dial.
        Box::pin(self.send_anew(request, target, connect_timeout)).await
    }

    /// Sends on a new connection.
    async fn send_anew(
        &self,
        request: Request<Rope>,
        target: Arc<Target>,
        within: Duration,
    ) -> Result<Answer, SendError> {
        for _ in 0..UNSEEN_MAX {
            let (dialled, timing) = self.dial(&target, within).await?;
            if !dialled.http2 {
                return self.on_own(dialled.io, request, target, timing).await;
            }
            let shared = Multiplexed::open(dialled.io, &self.0.pool.tasks).await.map_err(SendError::Exchange)?;
            let lease = shared.lease();
            self.0.pool.share(&target, shared);
            if let Some(lease) = lease
                && let Some(answer) = self.multiplexed(lease, &request, &target, timing).await?
            {
                return Ok(answer);
            }
        }
        Err(SendError::Unseen)
    }

    /// Sends on a shared connection; `None` if the peer has not looked at the request and takes no more on it. Refused
    /// alone, the request is sent again where it was, as the connection is good. One that refuses it every time is left,
    /// with [`SendError::Unseen`].
    async fn multiplexed(
        &self,
        mut lease: Lease,
        request: &Request<Rope>,
        target: &Arc<Target>,
        timing: Timing,
    ) -> Result<Option<Answer>, SendError> {
        for _ in 0..UNSEEN_MAX {
            let request = absolute(request, target.tls).map_err(SendError::BadRequest)?;
            match lease.exchange(request).await {
                Ok(response) => {
                    return Ok(Some(self.answer(response, Held::Lease(lease), target.clone(), timing)));
                }
                Err(Failed::Refused(error)) => tracing::debug!(%error, "an HTTP/2 peer refused a request"),
                Err(Failed::Unseen(error)) => {
                    tracing::debug!(%error, "an HTTP/2 connection took no more requests");
                    return Ok(None);
                }
                Err(Failed::Seen(error)) => return Err(SendError::Exchange(error)),
            }
        }
        lease.leave();
        Err(SendError::Unseen)
    }

    async fn dial(&self, target: &Target, within: Duration) -> Result<(Dialled, Timing), SendError> {
        let began = Instant::now();
        let dialled = connect(&self.0, target, within).await?;
        let connect_ms = u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX);
        Ok((dialled, Timing { connect_ms: Some(connect_ms) }))
    }

    /// Sends on a new connection of the request's own. An answer's head may have 100 headers on it, which is the library's
    /// default: more would be allocated and cleared for every answer.
    async fn on_own(
        &self,
        io: TokioIo<Stream>,
        request: Request<Rope>,
        target: Arc<Target>,
        timing: Timing,
    ) -> Result<Answer, SendError> {
        let mut builder = http1::Builder::new();
        let builder = builder.max_buf_size(BUFFER_MAX).handshake(io);
        let (sender, driver) = builder.await.map_err(SendError::Exchange)?;
        let mut connection = Connection { sender, driver: Box::pin(driver) };
        let response = connection.exchange(request).await.map_err(|(error, _)| SendError::Exchange(error))?;
        Ok(self.answer(response, Held::Own(connection), target, timing))
    }

    fn answer(&self, response: http::Response<Incoming>, held: Held, target: Arc<Target>, timing: Timing) -> Answer {
        let (parts, incoming) = response.into_parts();
        let (connection, lease) = match held {
            Held::Own(connection) => (Some(connection), None),
            Held::Lease(lease) => (None, Some(lease)),
        };
        let shared = self.0.clone();
        let body = AnswerBody { incoming, connection, lease, target, shared, broken: None, ended: false };
        Answer { status: parts.status, headers: parts.headers, body, timing }
    }
}

/// What an answer's body comes on.
enum Held {
    Own(Connection),
    Lease(Lease),
}

impl Connection {
    /// Whether an idle connection has not been closed meanwhile.
    async fn is_alive(&mut self) -> bool {
        poll_fn(|cx| Poll::Ready(self.driver.as_mut().poll(cx).is_pending())).await && self.sender.is_ready()
    }

    /// Sends and waits for the head; an error hands back a request of which nothing was written.
    async fn exchange(
        &mut self,
        request: Request<Rope>,
    ) -> Result<http::Response<Incoming>, (hyper::Error, Option<Request<Rope>>)> {
        let mut response = pin!(self.sender.try_send_request(request));
        let driver = &mut self.driver;
        let mut driver_ended = false;
        poll_fn(|cx| {
            if let Poll::Ready(result) = response.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            if !driver_ended {
                // What it says of an error, the response says too.
                driver_ended = driver.as_mut().poll(cx).is_ready();
            }
            response.as_mut().poll(cx)
        })
        .await
        .map_err(|mut error| {
            let unsent = error.take_message();
            (error.into_error(), unsent)
        })
    }
}

impl AnswerBody {
    /// Whether everything has been read.
    pub(crate) fn is_end(&self) -> bool {
        self.ended || (self.broken.is_none() && self.incoming.is_end_stream())
    }

    /// The next bytes: all that is ready, in one piece of at most [`JOINED_MAX`] bytes or one frame.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(broken) = self.broken.take() {
            self.ended = true;
            return Poll::Ready(Some(Err(broken)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let mut joined = Joined::default();
        loop {
            match self.poll_frame(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    joined.push(data);
                    if self.incoming.is_end_stream() {
                        self.give_back(cx);
                        break;
                    }
                    if joined.len() >= JOINED_MAX {
                        break;
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.connection = None;
                    if joined.len() > 0 {
                        self.broken = Some(error);
                        break;
                    }
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    self.give_back(cx);
                    if joined.len() > 0 {
                        break;
                    }
                    self.ended = true;
                    return Poll::Ready(None);
                }
                Poll::Pending if joined.len() > 0 => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Some(Ok(joined.into_bytes())))
    }

    /// A frame that is here, or that one more turn of the connection brings.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut turned = false;
        loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers carry nothing for us.
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(BodyError(innermost(&error))))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending if turned => return Poll::Pending,
                Poll::Pending => {
                    turned = true;
                    if let Some(connection) = &mut self.connection
                        && connection.driver.as_mut().poll(cx).is_ready()
                    {
                        self.connection = None; // ended; what it read is in the body's channel
                    }
                }
            }
        }
    }

    /// The answer is complete: the connection may serve another request.
    fn give_back(&mut self, cx: &mut Context<'_>) {
        self.lease = None;
        let Some(mut connection) = self.connection.take() else { return };
        if connection.driver.as_mut().poll(cx).is_pending() && connection.sender.is_ready() {
            self.shared.pool.put(&self.target, connection);
        }
    }
}

/// Frames on their way into one piece; a single one stays as it is.
#[derive(Default)]
struct Joined {
    first: Bytes,
    all: BytesMut,
}

impl Joined {
    fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    fn push(&mut self, data: Bytes) {
        if self.len() == 0 {
            self.first = data;
            return;
        }
        if !self.first.is_empty() {
            self.all.reserve(self.first.len() + data.len());
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&data);
    }

    fn into_bytes(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}

impl Rope {
    fn new(pieces: Vec<Bytes>) -> Self {
        let pieces: VecDeque<Bytes> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { pieces, left }
    }
}

impl Body for Rope {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
