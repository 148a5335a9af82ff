//! Tunnels through proxies: `CONNECT` (RFC 9110, 9.3.6) and SOCKS5 (RFC 1928, RFC 1929).
//!
//! Every target is reached through a tunnel, also one in the clear: so an answer's origin is never in doubt, and the proxy's
//! credentials are said once per connection.

use super::{
    SendError,
    target::{Login, Via},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{collections::VecDeque, future::poll_fn, io, net::IpAddr, pin::Pin, task::Poll, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};
use zeroize::Zeroizing;

/// Most bytes of the head with which a proxy answers.
const HEAD_MAX: usize = 16 * 1024;
/// How long an address is waited for before another of the same host is asked for beside it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a proxy did instead of leading on. No text holds its credentials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("cannot be resolved: {0}")]
    Resolve(io::Error),
    #[error("cannot be reached: {0}")]
    Connect(io::Error),
    #[error("fails at TLS: {0}")]
    Tls(io::Error),
    #[error("broke off: {0}")]
    Broken(io::Error),
    #[error("does not take the user name and password")]
    Login,
    #[error("wants a user name and password")]
    WantsLogin,
    #[error("refuses: status {0}")]
    Status(u16),
    #[error("refuses: {0}")]
    Refused(&'static str),
    #[error("cannot reach the host: {0}")]
    Unreachable(&'static str),
    #[error("refuses: it does not know the kind of address")]
    AddressKind,
    #[error("does not speak {0}")]
    Protocol(&'static str),
}

impl ProxyError {
    /// Whether only the operator can do something about it.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Login | Self::WantsLogin | Self::Refused(_) | Self::AddressKind | Self::Protocol(_) => true,
            Self::Status(status) => (400..500).contains(status) && ![408, 425, 429].contains(status),
            Self::Resolve(_) | Self::Connect(_) | Self::Tls(_) | Self::Broken(_) | Self::Unreachable(_) => false,
        }
    }
}

/// Where a tunnel leads.
pub(super) enum Destination<'t> {
    /// The proxy resolves it.
    Name(&'t str),
    Address(IpAddr),
}

/// Asks an HTTP proxy for a tunnel to `authority`, which is host and port.
pub(super) async fn connect<S>(stream: &mut S, authority: &str, via: &Via) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Zeroizing::new(format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n"));
    if let Some(Login { username, password }) = &via.login {
        let pair = Zeroizing::new(format!("{username}:{}", password.expose()));
        head.push_str("proxy-authorization: Basic ");
        head.push_str(&Zeroizing::new(STANDARD.encode(pair.as_bytes())));
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.map_err(ProxyError::Broken)?;
    stream.flush().await.map_err(ProxyError::Broken)?;
    let mut answer = status(stream).await?;
    while (100..200).contains(&answer) {
        answer = status(stream).await?; // an interim one: the answer follows
    }
    match answer {
        200..=299 => Ok(()),
        // tinyproxy says 401 of a wrong password: no origin can have said it, there is no tunnel yet.
        401 | 407 if via.login.is_some() => Err(ProxyError::Login),
        401 | 407 => Err(ProxyError::WantsLogin),
        status => Err(ProxyError::Status(status)),
    }
}

/// Reads an answer's head, and not a byte more: what follows is the target's.
async fn status<S: AsyncRead + Unpin>(stream: &mut S) -> Result<u16, ProxyError> {
    const NO_HTTP: ProxyError = ProxyError::Protocol("HTTP");
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        if head.len() == HEAD_MAX {
            return Err(NO_HTTP);
        }
        head.push(stream.read_u8().await.map_err(ProxyError::Broken)?);
        if head.len() == 5 && head != b"HTTP/" {
            return Err(NO_HTTP);
        }
    }
    let line = head.split(|byte| *byte == b'\n').next().and_then(|line| std::str::from_utf8(line).ok());
    let status = line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok());
    status.ok_or(NO_HTTP)
}

/// Asks a SOCKS5 proxy for a tunnel to the first of these addresses that it reaches; it takes one question a connection.
///
/// The next one is asked as soon as one is refused, and beside one that has not been answered for [`PATIENCE`]: so neither
/// a slow proxy nor a dead address is in the way.
pub(super) async fn socks5_any<S, F>(
    dial: impl Fn() -> F,
    addresses: &[IpAddr],
    port: u16,
    via: &Via,
) -> Result<S, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Result<S, SendError>>,
{
    let ask = |address: IpAddr| {
        let dialled = dial();
        Box::pin(async move {
            let stream = async {
                let mut stream = dialled.await?;
                socks5(&mut stream, Destination::Address(address), port, via).await.map_err(SendError::Proxy)?;
                Ok(stream)
            };
            (address, stream.await)
        })
    };
    let mut failed = SendError::Resolve(io::Error::other("the name has no address"));
    let mut left: VecDeque<IpAddr> = addresses.iter().copied().collect();
    let mut asked = Vec::new();
    loop {
        asked.extend(left.pop_front().map(&ask));
        let (address, error) = match (asked.is_empty(), left.is_empty()) {
            (true, _) => return Err(failed),
            (false, true) => first_of(&mut asked).await,
            (false, false) => match timeout(PATIENCE, first_of(&mut asked)).await {
                Ok(answered) => answered,
                Err(_) => continue,
            },
        };
        match error {
            Ok(stream) => return Ok(stream),
            Err(SendError::Proxy(ProxyError::AddressKind)) => {
                left.retain(|other| other.is_ipv4() != address.is_ipv4());
                // What may pass weighs more.
                if !matches!(failed, SendError::Proxy(_)) {
                    failed = SendError::Proxy(ProxyError::AddressKind);
                }
            }
            Err(error @ SendError::Proxy(ProxyError::Unreachable(_))) => failed = error,
            Err(error) if asked.is_empty() => return Err(error),
            Err(error) => {
                // It is about the proxy; only what is under way may still be answered.
                left.clear();
                failed = error;
            }
        }
    }
}

/// The first that is done, which is taken out.
async fn first_of<F: Future>(all: &mut Vec<Pin<Box<F>>>) -> F::Output {
    poll_fn(|cx| {
        let mut done = None;
        all.retain_mut(|one| match &done {
            Some(_) => true,
            None => match one.as_mut().poll(cx) {
                Poll::Ready(output) => {
                    done = Some(output);
                    false
                }
                Poll::Pending => true,
            },
        });
        done.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Asks a SOCKS5 proxy for a tunnel.
pub(super) async fn socks5<S>(stream: &mut S, to: Destination<'_>, port: u16, via: &Via) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    const NO_SOCKS: ProxyError = ProxyError::Protocol("SOCKS5");
    const NO_LOGIN: u8 = 0;
    const LOGIN: u8 = 2;
    let offer: &[u8] = if via.login.is_some() { &[5, 1, LOGIN] } else { &[5, 1, NO_LOGIN] };
    stream.write_all(offer).await.map_err(ProxyError::Broken)?;
    let mut picked = [0; 2];
    stream.read_exact(&mut picked).await.map_err(ProxyError::Broken)?;
    match (picked, &via.login) {
        ([5, NO_LOGIN], None) => {}
        ([5, LOGIN], Some(Login { username, password })) => {
            let length = |text: &str| u8::try_from(text.len()).map_err(|_| ProxyError::Login);
            let mut message = Zeroizing::new(vec![1, length(username)?]);
            message.extend_from_slice(username.as_bytes());
            message.push(length(password.expose())?);
            message.extend_from_slice(password.expose().as_bytes());
            stream.write_all(&message).await.map_err(ProxyError::Broken)?;
            let mut verdict = [0; 2];
            stream.read_exact(&mut verdict).await.map_err(ProxyError::Broken)?;
            if verdict[1] != 0 {
                return Err(ProxyError::Login);
            }
        }
        ([5, 0xff], Some(_)) => return Err(ProxyError::Login),
        ([5, _], _) => return Err(ProxyError::WantsLogin),
        _ => return Err(NO_SOCKS),
    }
    let mut request = vec![5, 1, 0];
    match to {
        Destination::Address(IpAddr::V4(ip)) => {
            request.push(1);
            request.extend_from_slice(&ip.octets());
        }
        Destination::Address(IpAddr::V6(ip)) => {
            request.push(4);
            request.extend_from_slice(&ip.octets());
        }
        Destination::Name(name) => {
            let length = u8::try_from(name.len()).map_err(|_| ProxyError::Refused("the host's name is too long"))?;
            request.extend_from_slice(&[3, length]);
            request.extend_from_slice(name.as_bytes());
        }
    }
    request.extend_from_slice(&port.to_be_bytes());
    stream.write_all(&request).await.map_err(ProxyError::Broken)?;
    let mut reply = [0; 4];
    stream.read_exact(&mut reply).await.map_err(ProxyError::Broken)?;
    if reply[0] != 5 {
        return Err(NO_SOCKS);
    }
    match reply[1] {
        0 => {}
        1 => return Err(ProxyError::Unreachable("general failure")),
        2 => return Err(ProxyError::Refused("not allowed by its rules")),
        3 => return Err(ProxyError::Unreachable("network unreachable")),
        4 => return Err(ProxyError::Unreachable("host unreachable")),
        5 => return Err(ProxyError::Unreachable("connection refused")),
        6 => return Err(ProxyError::Unreachable("too many hops")),
        7 => return Err(ProxyError::Refused("it does not know the command")),
        8 => return Err(ProxyError::AddressKind),
        _ => return Err(NO_SOCKS),
    }
    // The address it is bound to tells nothing here.
    let rest = match reply[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await.map_err(ProxyError::Broken)?),
        _ => return Err(NO_SOCKS),
    };
    let mut bound = vec![0; rest + 2];
    stream.read_exact(&mut bound).await.map_err(ProxyError::Broken)?;
    Ok(())
}

#[cfg(test)]
mod tests;
