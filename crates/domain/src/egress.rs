//! Which addresses may be dialled.
//!
//! The public internet always may; what lies outside it only where the operator says so; link-local and metadata addresses
//! never, because a base URL that leads there asks the host's own cloud for credentials.

mod proxy;

pub use proxy::{BadProxy, ProxyAddress, ProxyScheme};

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The operator's word on addresses outside the public internet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressPolicy {
    allow: Vec<IpNet>,
}

/// Why an address is not dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Link-local and metadata addresses.
    #[error("{0} is a link-local or metadata address, which is never dialled")]
    Never(IpAddr),
    /// Not public, and not allowed.
    #[error("{0} is not a public address; the setting egress.allow does not hold it")]
    NotAllowed(IpAddr),
}

impl EgressPolicy {
    /// The public internet and these networks.
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self { allow }
    }

    /// The networks outside the public internet that may be dialled.
    pub fn allowed(&self) -> &[IpNet] {
        &self.allow
    }

    /// Whether a resolved address may be dialled.
    pub fn check(&self, ip: IpAddr) -> Result<(), Forbidden> {
        let ip = ip.to_canonical();
        if is_metadata(ip) {
            return Err(Forbidden::Never(ip));
        }
        if is_public(ip) || self.allow.iter().any(|net| net.contains(&ip)) {
            return Ok(());
        }
        Err(Forbidden::NotAllowed(ip))
    }

    /// Whether the address of a configured proxy may be dialled: that is the operator's decision, but for the metadata rule.
    pub fn check_proxy(&self, ip: IpAddr) -> Result<(), Forbidden> {
        let ip = ip.to_canonical();
        if is_metadata(ip) { Err(Forbidden::Never(ip)) } else { Ok(()) }
    }

    /// Whether a proxy that resolves names itself may be asked for this host: addresses and `localhost` are judged, other
    /// names are the proxy's to resolve.
    pub fn check_unresolved(&self, host: &Host) -> Result<(), Forbidden> {
        match host {
            Host::Address(ip) => self.check(*ip),
            Host::Localhost => self.check(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Host::Name => Ok(()),
        }
    }
}

/// What a URL's host is, before any name is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// `localhost` or a name below it, which every resolver must take for loopback (RFC 6761, 6.3).
    Localhost,
    /// Another name.
    Name,
}

/// A host that ends in a number and is no address, such as `127.1` or `0x7f000001`: some resolvers take it for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host looks like an address and is none")]
pub struct Ambiguous;

impl Host {
    /// Reads a host as URLs have it; brackets and a final dot do not matter.
    pub fn parse(text: &str) -> Result<Self, Ambiguous> {
        let text = text.trim_start_matches('[').trim_end_matches(']');
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if let Ok(ip) = text.parse() {
            return Ok(Self::Address(ip));
        }
        let last = text.rsplit('.').next().unwrap_or_default();
        // As the URL standard has it: a host whose last label is a number is an address or nothing.
        let is_hex = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if is_hex || (!last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(Ambiguous);
        }
        Ok(if last == "localhost" { Self::Localhost } else { Self::Name })
    }
}

/// Link-local addresses, and the metadata services that clouds put elsewhere: Alibaba's 100.100.100.200, Oracle's 192.0.0.192,
/// Azure's host of virtual machines at the public 168.63.129.16, and the IPv6 ones of Amazon (`fd00:ec2::/32`) and Google (`fd20:ce::254`).
fn is_metadata(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            const ELSEWHERE: [[u8; 4]; 3] = [[100, 100, 100, 200], [192, 0, 0, 192], [168, 63, 129, 16]];
            ip.is_link_local() || ELSEWHERE.contains(&ip.octets())
        }
        IpAddr::V6(ip) => {
            let segments = ip.segments();
            embedded(ip).is_some_and(|ip| is_metadata(IpAddr::V4(ip)))
                || ip.is_unicast_link_local()
                || (segments[0] == 0xfd00 && segments[1] == 0x0ec2)
                || ip == Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254)
        }
    }
}

/// The IPv4 address that an IPv6 address leads to: through NAT64 (RFC 6052, RFC 8215), 6to4, or as "compatible".
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0, 0, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => of(high, low),
        _ => None,
    }
}

/// Whether an address is reachable over the internet, by the IANA special-purpose registries.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(a == 0
                || ip.is_private()
                || ip.is_loopback()
                || ip.is_broadcast()
                || ip.is_documentation()
                || ip.is_multicast()
                || (a == 100 && (64..128).contains(&b)) // carrier-grade NAT
                || (a == 192 && b == 0 && c == 0)
                || (a == 192 && b == 88 && c == 99)
                || (a == 198 && (b == 18 || b == 19)) // benchmarks
                || a >= 240)
        }
        IpAddr::V6(ip) => {
            let segments = ip.segments();
            // Where DNS64 makes addresses, every IPv4 upstream has one of these.
            if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
                return embedded(ip).is_some_and(|ip| is_public(IpAddr::V4(ip)));
            }
            // Global unicast is 2000::/3; of it documentation, benchmarks and what embeds IPv4 (6to4, Teredo) is not public.
            segments[0] & 0xe000 == 0x2000
                && segments[0] != 0x2002
                && segments[0] != 0x3fff
                && !(segments[0] == 0x2001 && (segments[1] < 0x0200 || segments[1] == 0x0db8))
        }
    }
}

#[cfg(test)]
mod tests;
