//! Who is looking.

use super::Audience;
use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderMap, header::HOST},
};
use std::net::{IpAddr, SocketAddr};

/// What a caller may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Viewer {
    /// Details.
    Operator,
    /// One word.
    Stranger,
}

impl Viewer {
    /// Someone at the machine itself, or at the operators' listener; anybody else is a stranger.
    pub(super) fn of(request: &Request, audience: Audience) -> Self {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        let is_local = peer.is_some_and(|ip| ip.to_canonical().is_loopback())
            && !is_forwarded(request.headers())
            && is_addressed_locally(request);
        if audience == Audience::Operators || is_local { Self::Operator } else { Self::Stranger }
    }
}

/// Whether a proxy says that it passes on what someone else asked.
fn is_forwarded(headers: &HeaderMap) -> bool {
    const FORWARDING: [&str; 8] = [
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "true-client-ip",
        "fastly-client-ip",
        "x-original-forwarded-for",
    ];
    const PREFIXES: [&str; 2] = ["x-forwarded", "cf-"];
    headers
        .keys()
        .map(http::HeaderName::as_str)
        .any(|name| FORWARDING.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// Whether the host that was asked for is an address or `localhost`: a web page can point a name of its own at this
/// machine and read the answers as its own.
fn is_addressed_locally(request: &Request) -> bool {
    let header = request.headers().get(HOST).map(|host| host.to_str().unwrap_or("?"));
    let Some(host) = request.uri().authority().map(http::uri::Authority::as_str).or(header) else { return true };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}
