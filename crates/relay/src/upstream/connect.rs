//! Dialling: names, addresses within the egress policy, TLS.

use super::{SendError, Shared, Target};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A silent peer is probed after this long: a half-open connection does not stay for ever.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// A connected stream, whatever it runs over.
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Local(DuplexStream),
}

/// Connects to a target within `limit`.
pub(super) async fn connect(shared: &Shared, target: &Target, limit: Duration) -> Result<TokioIo<Stream>, SendError> {
    if let Some(local) = shared.options.in_process.iter().find(|local| local.host == target.host) {
        return Ok(TokioIo::new(Stream::Local((local.dial)())));
    }
    let stream = timeout(limit, dial(shared, target)).await.map_err(|_| SendError::ConnectTimeout)??;
    Ok(TokioIo::new(stream))
}

async fn dial(shared: &Shared, target: &Target) -> Result<Stream, SendError> {
    let tcp = dial_any(&addresses(shared, target).await?).await?;
    // Both are improvements; a stream without them works.
    let _ = tcp.set_nodelay(true);
    let _ = SockRef::from(&tcp).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE));
    if !target.tls {
        return Ok(Stream::Tcp(tcp));
    }
    let name = ServerName::try_from(target.host.clone()).map_err(|error| SendError::Tls(io::Error::other(error)))?;
    let tls = TlsConnector::from(shared.tls.clone()).connect(name, tcp).await.map_err(SendError::Tls)?;
    Ok(Stream::Tls(Box::new(tls)))
}

/// The addresses of a target that may be dialled.
async fn addresses(shared: &Shared, target: &Target) -> Result<Vec<SocketAddr>, SendError> {
    let resolved: Vec<SocketAddr> = match target.literal() {
        Some(ip) => vec![SocketAddr::new(ip, target.port)],
        None => lookup_host((target.host.as_str(), target.port)).await.map_err(SendError::Resolve)?.collect(),
    };
    let mut forbidden = None;
    let mut allowed = Vec::with_capacity(resolved.len().min(ADDRESSES_MAX));
    for address in resolved {
        match shared.options.egress.check(address.ip()) {
            Ok(()) if allowed.len() < ADDRESSES_MAX => allowed.push(address),
            Ok(()) => break,
            Err(why) => forbidden = Some(why),
        }
    }
    match (allowed.is_empty(), forbidden) {
        (true, Some(why)) => Err(SendError::Egress { host: target.host.clone(), why }),
        (true, None) => Err(SendError::Resolve(io::Error::other("the name has no address"))),
        (false, _) => Ok(allowed),
    }
}

/// The first address that answers. All but the last get two seconds, so that a dead one leaves time for another.
async fn dial_any(addresses: &[SocketAddr]) -> Result<TcpStream, SendError> {
    const EACH: Duration = Duration::from_secs(2);
    let Some((last, others)) = addresses.split_last() else {
        return Err(SendError::Resolve(io::Error::other("the name has no address")));
    };
    for address in others {
        if let Ok(Ok(stream)) = timeout(EACH, TcpStream::connect(address)).await {
            return Ok(stream);
        }
    }
    TcpStream::connect(last).await.map_err(SendError::Connect)
}

macro_rules! on_stream {
    ($self:expr, |$stream:ident| $body:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $body,
            Stream::Tls($stream) => $body,
            Stream::Local($stream) => $body,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, |stream| Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self, |stream| Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, |stream| Pin::new(stream).poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Local(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, |stream| Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, |stream| Pin::new(stream).poll_shutdown(cx))
    }
}
