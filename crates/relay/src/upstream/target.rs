//! Where a base URL leads.

use http::{HeaderValue, Uri, uri::Scheme};
use std::net::{IpAddr, Ipv6Addr};

/// Scheme, host and port of a base URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub tls: bool,
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
    /// For the `host` header.
    pub authority: HeaderValue,
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
        let default_port = if tls { 443 } else { 80 };
        let port = authority.port_u16().unwrap_or(default_port);
        let shown = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.clone() };
        let text = if port == default_port { shown } else { format!("{shown}:{port}") };
        let authority = HeaderValue::try_from(text).map_err(|_| BadUrl::Malformed)?;
        Ok((Self { tls, host, port, authority }, uri.path().to_owned()))
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
            ("ftp://h", Err(BadUrl::Scheme)),
            ("api.example.com", Err(BadUrl::Scheme)),
            ("https://u:p@h", Err(BadUrl::UserInfo)),
            ("https://h/?a=b", Err(BadUrl::Query)),
            ("https:// h", Err(BadUrl::Malformed)),
        ] {
            let got = Target::parse(url);
            let got = got.as_ref().map(|(target, path)| {
                (target.tls, target.host.as_str(), target.port, target.authority.to_str().unwrap(), path.as_str())
            });
            assert_eq!(got.map_err(|error| *error), want, "{url}");
        }
    }
}
