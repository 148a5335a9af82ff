//! Tunnels through proxies: `CONNECT` (RFC 9110, 9.3.6) and SOCKS5 (RFC 1928, RFC 1929).
//!
//! Every target is reached through a tunnel, also one in the clear: so an answer's origin is never in doubt, and the proxy's
//! credentials are said once per connection.

use super::{
    SendError,
    target::{Login, Via},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{io, net::IpAddr, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};
use zeroize::Zeroizing;

/// Most bytes of the head with which a proxy answers.
const HEAD_MAX: usize = 16 * 1024;

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
    /// Whether it is about the address that was asked for, so that another of the same host may do.
    fn is_of_address(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::AddressKind)
    }

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
/// All but the last get an equal share of `within`, so that one that does not answer leaves time for the others.
pub(super) async fn socks5_any<S, F>(
    dial: impl Fn() -> F,
    addresses: &[IpAddr],
    port: u16,
    via: &Via,
    within: Duration,
) -> Result<S, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Result<S, SendError>>,
{
    let each = within / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut failed = SendError::Resolve(io::Error::other("the name has no address"));
    for (place, address) in addresses.iter().enumerate() {
        let mut stream = dial().await?;
        let asked = socks5(&mut stream, Destination::Address(*address), port, via);
        let last = place + 1 == addresses.len();
        let asked = if last { Ok(asked.await) } else { timeout(each, asked).await };
        failed = match asked {
            Ok(Ok(())) => return Ok(stream),
            Ok(Err(error)) if error.is_of_address() => SendError::Proxy(error),
            Ok(Err(error)) => return Err(SendError::Proxy(error)),
            Err(_) => SendError::ConnectTimeout,
        };
    }
    Err(failed)
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
