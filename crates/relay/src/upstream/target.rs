//! Where a base URL leads.

use domain::{
    catalog::Endpoint,
    egress::{BadProxy, Host, ProxyAddress},
    ports::CannotOpen,
    secret::Secret,
};
use http::{HeaderValue, Uri, uri::Scheme};
use std::{
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

/// Whether HTTP/2 is spoken with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Http2 {
    /// Over TLS, if the peer picks it (ALPN).
    Offered,
    /// Not at all.
    Never,
    /// Nothing else: over TLS the only offer, in the clear by prior knowledge.
    Only,
}

/// A proxy to dial through.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Via {
    pub address: ProxyAddress,
    pub login: Option<Login>,
}

/// Who a proxy is asked as.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub username: String,
    pub password: Secret,
}

impl PartialEq for Login {
    fn eq(&self, other: &Self) -> bool {
        self.username == other.username && self.password.expose() == other.password.expose()
    }
}

impl Eq for Login {}

impl Hash for Login {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.username.hash(state);
    }
}

/// Where connections lead, and how: they are kept apart by all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub tls: bool,
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
    /// For the `host` header.
    pub authority: HeaderValue,
    pub http2: Http2,
    pub via: Option<Arc<Via>>,
}

/// Two that share host and port are rare: each request looks one up twice, and the rest is told apart by comparing.
impl Hash for Target {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.host.hash(state);
        self.port.hash(state);
    }
}

/// An endpoint that cannot be dialled as it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadEndpoint {
    #[error("base_url {0}")]
    Url(#[from] BadUrl),
    #[error("the proxy's url {0}")]
    Proxy(#[from] BadProxy),
    #[error("the proxy's password: {0}")]
    Sealed(#[from] CannotOpen),
}

/// A base URL that leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadUrl {
    #[error("is not a URL")]
    Malformed,
    #[error("must begin with http:// or https://")]
    Scheme,
    #[error("must not hold a user name or password")]
    UserInfo,
    #[error("must not hold a query")]
    Query,
    #[error("has a host that looks like an address and is none")]
    Ambiguous,
}

impl Target {
    /// Host and path of a base URL.
    pub(crate) fn parse(base_url: &str) -> Result<(Self, String), BadUrl> {
        let uri: Uri = base_url.trim().parse().map_err(|_| BadUrl::Malformed)?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(BadUrl::Scheme),
        };
        let authority = uri.authority().ok_or(BadUrl::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(BadUrl::UserInfo);
        }
        if uri.query().is_some() {
            return Err(BadUrl::Query);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() {
            return Err(BadUrl::Malformed);
        }
        Host::parse(&host).map_err(|_| BadUrl::Ambiguous)?;
        let default_port = if tls { 443 } else { 80 };
        let port = authority.port_u16().unwrap_or(default_port);
        let shown = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.clone() };
        let text = if port == default_port { shown } else { format!("{shown}:{port}") };
        let authority = HeaderValue::try_from(text).map_err(|_| BadUrl::Malformed)?;
        Ok((Self { tls, host, port, authority, http2: Http2::Offered, via: None }, uri.path().to_owned()))
    }

    /// The host of a base URL that [`Target::parse`] takes, as it is spelt there: no more of it is read.
    pub(crate) fn host_of(base_url: &str) -> &str {
        let (_, rest) = base_url.trim().split_once("://").unwrap_or_default();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        match authority.strip_prefix('[') {
            Some(literal) => literal.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        }
    }

    /// Where an endpoint's base URL leads, through its proxy, and the URL's path. `password` opens the proxy's.
    pub(crate) fn of(
        endpoint: &Endpoint,
        password: impl FnOnce() -> Result<Option<Secret>, CannotOpen>,
    ) -> Result<(Self, String), BadEndpoint> {
        let (mut target, path) = Self::parse(&endpoint.base_url)?;
        target.http2 = match endpoint.config.http2 {
            None => Http2::Offered,
            Some(false) => Http2::Never,
            Some(true) => Http2::Only,
        };
        if let Some(proxy) = endpoint.live_proxy() {
            let address = ProxyAddress::parse(&proxy.url)?;
            let login = match &proxy.username {
                Some(username) => {
                    let password = password()?.unwrap_or_else(|| Secret::new(String::new()));
                    Some(Login { username: username.clone(), password })
                }
                None => None,
            };
            target.via = Some(Arc::new(Via { address, login }));
        }
        Ok((target, path))
    }

    /// Host and port as `CONNECT` and TLS peers are told.
    pub(crate) fn host_and_port(&self) -> String {
        let (host, port) = (&self.host, self.port);
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The address, where the host is one.
    pub(crate) fn literal(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls() {
        for (url, want) in [
            ("https://api.example.com", Ok((true, "api.example.com", 443, "api.example.com", "/"))),
            ("http://API.example.com:8080/v1/", Ok((false, "api.example.com", 8080, "api.example.com:8080", "/v1/"))),
            ("http://[::1]:9/x", Ok((false, "::1", 9, "[::1]:9", "/x"))),
            ("https://h:443/p", Ok((true, "h", 443, "h", "/p"))),
            (" https://[::1]#f", Ok((true, "::1", 443, "[::1]", "/"))),
            ("ftp://h", Err(BadUrl::Scheme)),
            ("api.example.com", Err(BadUrl::Scheme)),
            ("https://u:p@h", Err(BadUrl::UserInfo)),
            ("https://h/?a=b", Err(BadUrl::Query)),
            ("https:// h", Err(BadUrl::Malformed)),
            ("http://127.1", Err(BadUrl::Ambiguous)),
            ("http://2130706433/v1", Err(BadUrl::Ambiguous)),
        ] {
            let got = Target::parse(url);
            let got = got.as_ref().map(|(target, path)| {
                (target.tls, target.host.as_str(), target.port, target.authority.to_str().unwrap(), path.as_str())
            });
            assert_eq!(got.map_err(|error| *error), want, "{url}");
            if let Ok((_, host, ..)) = want {
                assert_eq!(Target::host_of(url).to_ascii_lowercase(), host, "{url}");
            }
        }
    }
}
