//! Where a proxy is and what it speaks.

use super::Host;

/// What is spoken with a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyScheme {
    /// HTTP in the clear.
    Http,
    /// HTTP over TLS.
    Https,
    /// SOCKS5 (RFC 1928); names are resolved here.
    Socks5,
    /// SOCKS5; names are resolved by the proxy.
    Socks5h,
}

impl ProxyScheme {
    /// Whether names are resolved, and their addresses checked, before the proxy is asked.
    pub const fn resolves_here(self) -> bool {
        matches!(self, Self::Socks5)
    }
}

/// A proxy's URL, read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProxyAddress {
    /// What it speaks.
    pub scheme: ProxyScheme,
    /// A name in lower case, or an address without brackets.
    pub host: String,
    /// The scheme's default, if the URL names none: 80, 443, and 1080 for SOCKS.
    pub port: u16,
}

/// Why a URL names no proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadProxy {
    /// None of the four.
    #[error("must begin with http://, https://, socks5:// or socks5h://")]
    Scheme,
    /// They have fields of their own.
    #[error("must not hold credentials; they have fields of their own")]
    Credentials,
    /// Behind the host.
    #[error("must hold nothing behind host and port")]
    Rest,
    /// No host, or a port that is none.
    #[error("must name a host, and a port from 1 to 65535 if any")]
    Host,
}

impl ProxyAddress {
    /// Reads a proxy's URL.
    pub fn parse(url: &str) -> Result<Self, BadProxy> {
        let (scheme, rest) = url.split_once("://").ok_or(BadProxy::Scheme)?;
        let (scheme, default) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (ProxyScheme::Http, 80),
            "https" => (ProxyScheme::Https, 443),
            "socks5" => (ProxyScheme::Socks5, 1080),
            "socks5h" => (ProxyScheme::Socks5h, 1080),
            _ => return Err(BadProxy::Scheme),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(BadProxy::Credentials);
        }
        if rest.contains(['/', '?', '#']) {
            return Err(BadProxy::Rest);
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| BadProxy::Host)?),
            _ => (rest, default),
        };
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or(BadProxy::Host)?,
            None if host.contains(':') => return Err(BadProxy::Host),
            None => host,
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if host.is_empty() || port == 0 || !host.bytes().all(is_plain) || Host::parse(host).is_err() {
            return Err(BadProxy::Host);
        }
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port })
    }
}
