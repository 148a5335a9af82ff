//! Which addresses may be dialled.
//!
//! The public internet always may; what lies outside it only where the operator says so; link-local and metadata addresses
//! never, because a base URL that leads there asks the host's own cloud for credentials.

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
}

/// Link-local addresses, and the metadata services that clouds put elsewhere: Alibaba's 100.100.100.200, Oracle's 192.0.0.192
/// and the IPv6 ones of Amazon (`fd00:ec2::/32`) and Google (`fd20:ce::254`).
fn is_metadata(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_link_local() || ip == Ipv4Addr::new(100, 100, 100, 200) || ip == Ipv4Addr::new(192, 0, 0, 192)
        }
        IpAddr::V6(ip) => {
            let segments = ip.segments();
            ip.is_unicast_link_local()
                || (segments[0] == 0xfd00 && segments[1] == 0x0ec2)
                || ip == Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254)
        }
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
            // Global unicast is 2000::/3; of it documentation, benchmarks and what embeds IPv4 (6to4, Teredo) is not public.
            segments[0] & 0xe000 == 0x2000
                && segments[0] != 0x2002
                && segments[0] != 0x3fff
                && !(segments[0] == 0x2001 && (segments[1] < 0x0200 || segments[1] == 0x0db8))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_what_the_policy_says() {
        let policy = EgressPolicy::new(vec!["10.0.0.0/8".parse().unwrap(), "169.254.0.0/16".parse().unwrap()]);
        for (ip, want) in [
            ("8.8.8.8", "public"),
            ("2606:4700::1111", "public"),
            ("10.1.2.3", "public"), // allowed
            ("::ffff:10.1.2.3", "public"),
            ("192.168.1.1", "not allowed"),
            ("127.0.0.1", "not allowed"),
            ("::1", "not allowed"),
            ("0.0.0.0", "not allowed"),
            ("::", "not allowed"),
            ("100.64.0.1", "not allowed"),
            ("224.0.0.1", "not allowed"),
            ("255.255.255.255", "not allowed"),
            ("fc00::1", "not allowed"),
            ("2002:7f00:1::", "not allowed"), // 127.0.0.1 in 6to4
            ("64:ff9b::7f00:1", "not allowed"),
            ("169.254.169.254", "never"), // allowing it changes nothing
            ("::ffff:169.254.169.254", "never"),
            ("fe80::1", "never"),
            ("fd00:ec2::254", "never"),
            ("100.100.100.200", "never"),
        ] {
            let got = match policy.check(ip.parse().unwrap()) {
                Ok(()) => "public",
                Err(Forbidden::NotAllowed(_)) => "not allowed",
                Err(Forbidden::Never(_)) => "never",
            };
            assert_eq!(got, want, "{ip}");
        }
    }
}
