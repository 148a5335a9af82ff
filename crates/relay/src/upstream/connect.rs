//! Dialling: names, addresses within the egress policy, proxies, TLS.

use super::{
    SendError, Shared, Target,
    proxy::{Destination, ProxyError, connect as connect_through, socks5, socks5_any},
    target::{Http2, Via},
};
use domain::egress::{Forbidden, Host, ProxyScheme};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use std::{
    io,
    net::{IpAddr, SocketAddr},
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
    /// Through a proxy that is itself reached over TLS.
    TlsInTls(Box<TlsStream<TlsStream<TcpStream>>>),
    Local(DuplexStream),
}

/// A connection, and whether HTTP/2 is spoken on it.
pub(super) struct Dialled {
    pub io: TokioIo<Stream>,
    pub http2: bool,
}

/// Connects to a target within `limit`.
pub(super) async fn connect(shared: &Shared, target: &Target, limit: Duration) -> Result<Dialled, SendError> {
    if let Some(local) = shared.options.in_process.iter().find(|local| local.host == target.host) {
        let http2 = target.http2 == Http2::Only && !target.tls;
        return Ok(Dialled { io: TokioIo::new(Stream::Local((local.dial)())), http2 });
    }
    let (stream, http2) = timeout(limit, dial(shared, target)).await.map_err(|_| SendError::ConnectTimeout)??;
    Ok(Dialled { io: TokioIo::new(stream), http2 })
}

async fn dial(shared: &Shared, target: &Target) -> Result<(Stream, bool), SendError> {
    let Some(via) = &target.via else {
        let addresses = addresses(shared, target).await?;
        let tcp = dial_any(&addresses).await.map_err(SendError::Connect)?;
        return finish(shared, target, tcp).await;
    };
    if via.address.scheme.resolves_here() {
        let addresses: Vec<IpAddr> = addresses(shared, target).await?.iter().map(SocketAddr::ip).collect();
        let tcp = socks5_any(|| dial_proxy(shared, via), &addresses, target.port, via).await?;
        return finish(shared, target, tcp).await;
    }
    let tcp = dial_proxy(shared, via).await?;
    if via.address.scheme == ProxyScheme::Https {
        let host = via.address.host.clone();
        let name = ServerName::try_from(host).map_err(|error| ProxyError::Tls(io::Error::other(error)));
        let tls = TlsConnector::from(shared.tls.http1.clone()).connect(name.map_err(SendError::Proxy)?, tcp).await;
        let mut tls = tls.map_err(|error| SendError::Proxy(ProxyError::Tls(error)))?;
        tunnel(shared, target, via, &mut tls).await?;
        return match handshake(shared, target, tls).await? {
            Secured::Clear(tls, http2) => Ok((Stream::Tls(Box::new(tls)), http2)),
            Secured::Tls(tls, http2) => Ok((Stream::TlsInTls(tls), http2)),
        };
    }
    let mut tcp = tcp;
    tunnel(shared, target, via, &mut tcp).await?;
    finish(shared, target, tcp).await
}

async fn finish(shared: &Shared, target: &Target, tcp: TcpStream) -> Result<(Stream, bool), SendError> {
    Ok(match handshake(shared, target, tcp).await? {
        Secured::Clear(tcp, http2) => (Stream::Tcp(tcp), http2),
        Secured::Tls(tls, http2) => (Stream::Tls(tls), http2),
    })
}

/// A stream after the target's scheme had its say, and whether HTTP/2 is spoken on it.
enum Secured<S> {
    Clear(S, bool),
    Tls(Box<TlsStream<S>>, bool),
}

async fn handshake<S>(shared: &Shared, target: &Target, stream: S) -> Result<Secured<S>, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if !target.tls {
        return Ok(Secured::Clear(stream, target.http2 == Http2::Only));
    }
    let config = match target.http2 {
        Http2::Offered => &shared.tls.both,
        Http2::Never => &shared.tls.http1,
        Http2::Only => &shared.tls.http2,
    };
    let name = ServerName::try_from(target.host.clone()).map_err(|error| SendError::Tls(io::Error::other(error)))?;
    let tls = TlsConnector::from(config.clone()).connect(name, stream).await.map_err(SendError::Tls)?;
    let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    if target.http2 == Http2::Only && !http2 {
        return Err(SendError::NoHttp2);
    }
    Ok(Secured::Tls(Box::new(tls), http2))
}

/// A connection to a proxy. Its address is the operator's decision, but for the metadata rule.
async fn dial_proxy(shared: &Shared, via: &Via) -> Result<TcpStream, SendError> {
    let (host, port) = (via.address.host.as_str(), via.address.port);
    let unresolved = |error| SendError::Proxy(ProxyError::Resolve(error));
    let resolved = lookup_host((host, port)).await.map_err(unresolved)?;
    let addresses = within(resolved, host, |ip| shared.options.egress.check_proxy(ip), unresolved)?;
    dial_any(&addresses).await.map_err(|error| SendError::Proxy(ProxyError::Connect(error)))
}

/// Makes a connection to a proxy that resolves names one to the target.
async fn tunnel<S>(shared: &Shared, target: &Target, via: &Via, stream: &mut S) -> Result<(), SendError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let egress = &shared.options.egress;
    let refused = |why| SendError::Egress { host: target.host.clone(), why };
    // A host that is neither was refused when the base URL was read.
    let host = Host::parse(&target.host).unwrap_or(Host::Localhost);
    egress.check_unresolved(&host).map_err(refused)?;
    let asked = match via.address.scheme {
        ProxyScheme::Http | ProxyScheme::Https => connect_through(stream, &target.host_and_port(), via).await,
        ProxyScheme::Socks5 | ProxyScheme::Socks5h => {
            let to = target.literal().map_or(Destination::Name(&target.host), Destination::Address);
            socks5(stream, to, target.port, via).await
        }
    };
    asked.map_err(SendError::Proxy)
}

/// The addresses of a target that may be dialled: what is checked is what is dialled.
async fn addresses(shared: &Shared, target: &Target) -> Result<Vec<SocketAddr>, SendError> {
    let resolved: Vec<SocketAddr> = match target.literal() {
        Some(ip) => vec![SocketAddr::new(ip, target.port)],
        None => lookup_host((target.host.as_str(), target.port)).await.map_err(SendError::Resolve)?.collect(),
    };
    within(resolved, &target.host, |ip| shared.options.egress.check(ip), SendError::Resolve)
}

/// Those addresses that pass, as many as are tried; none is an error.
fn within(
    resolved: impl IntoIterator<Item = SocketAddr>,
    host: &str,
    check: impl Fn(IpAddr) -> Result<(), Forbidden>,
    unresolved: impl FnOnce(io::Error) -> SendError,
) -> Result<Vec<SocketAddr>, SendError> {
    let mut forbidden = None;
    let mut allowed = Vec::with_capacity(ADDRESSES_MAX);
    for address in resolved {
        match check(address.ip()) {
            Ok(()) => allowed.push(address),
            Err(why) => forbidden = Some(why),
        }
    }
    match (allowed.is_empty(), forbidden) {
        (true, Some(why)) => Err(SendError::Egress { host: host.to_owned(), why }),
        (true, None) => Err(unresolved(no_address())),
        (false, _) => Ok(picked(allowed)),
    }
}

/// The families by turns, each in the resolver's order: where one leads nowhere, the other is among those that are tried.
fn picked(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let begins_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|one| one.is_ipv6() == begins_v6);
    let (mut first, mut other) = (first.into_iter(), other.into_iter());
    let turns = std::iter::from_fn(|| {
        let turn = [first.next(), other.next()];
        turn.iter().any(Option::is_some).then_some(turn)
    });
    turns.flatten().flatten().take(ADDRESSES_MAX).collect()
}

fn no_address() -> io::Error {
    io::Error::other("the name has no address")
}

/// The first address that answers. All but the last get two seconds, so that a dead one leaves time for another.
async fn dial_any(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    const EACH: Duration = Duration::from_secs(2);
    let Some((last, others)) = addresses.split_last() else {
        return Err(no_address());
    };
    for address in others {
        if let Ok(Ok(stream)) = timeout(EACH, TcpStream::connect(address)).await {
            return Ok(tuned(stream));
        }
    }
    TcpStream::connect(last).await.map(tuned)
}

fn tuned(tcp: TcpStream) -> TcpStream {
    // Both are improvements; a stream without them works.
    let _ = tcp.set_nodelay(true);
    let _ = SockRef::from(&tcp).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE));
    tcp
}

macro_rules! on_stream {
    ($self:expr, |$stream:ident| $body:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $body,
            Stream::Tls($stream) => $body,
            Stream::TlsInTls($stream) => $body,
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
            Self::TlsInTls(stream) => stream.is_write_vectored(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_addresses_both_families_are_tried() {
        let (v6, v4) = (["[::1]:1", "[::2]:1", "[::3]:1", "[::4]:1", "[::5]:1"], ["1.1.1.1:1", "1.1.1.2:1"]);
        for (resolved, want) in [
            ([&v6[..], &v4[..]].concat(), vec![v6[0], v4[0], v6[1], v4[1]]),
            ([&v4[..1], &v6[..]].concat(), vec![v4[0], v6[0], v6[1], v6[2]]),
            (v6.to_vec(), v6[..4].to_vec()),
            (v4.to_vec(), v4.to_vec()),
        ] {
            let parsed = |all: &[&str]| all.iter().map(|one| one.parse().unwrap()).collect::<Vec<SocketAddr>>();
            let got = within(parsed(&resolved), "h.test", |_| Ok(()), SendError::Resolve).unwrap();
            assert_eq!(got, parsed(&want), "{resolved:?}");
        }
    }
}
