use super::*;

#[test]
fn addresses_and_what_the_policy_says() {
    let policy = EgressPolicy::new(
        ["10.0.0.0/8", "169.254.0.0/16", "64:ff9b::/96", "64:ff9b:1::/48"].map(|net| net.parse().unwrap()).to_vec(),
    );
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
        ("64:ff9b::808:808", "public"),
        ("64:ff9b::a9fe:a9fe", "never"), // 169.254.169.254 through NAT64, whatever is allowed
        ("64:ff9b:1::a9fe:a9fe", "never"),
        ("2002:a9fe:a9fe::1", "never"),
        ("::169.254.169.254", "never"),
        ("169.254.169.254", "never"), // allowing it changes nothing
        ("::ffff:169.254.169.254", "never"),
        ("fe80::1", "never"),
        ("fd00:ec2::254", "never"),
        ("100.100.100.200", "never"),
        ("168.63.129.16", "never"), // public, and still the machine's own
    ] {
        let got = match policy.check(ip.parse().unwrap()) {
            Ok(()) => "public",
            Err(Forbidden::NotAllowed(_)) => "not allowed",
            Err(Forbidden::Never(_)) => "never",
        };
        assert_eq!(got, want, "{ip}");
    }
    let policy = EgressPolicy::default();
    assert!(policy.check("64:ff9b::7f00:1".parse().unwrap()).is_err(), "127.0.0.1 through NAT64");
    assert!(policy.check("64:ff9b::808:808".parse().unwrap()).is_ok());
}

#[test]
fn a_proxys_own_address_is_exempt_but_for_metadata() {
    let policy = EgressPolicy::default();
    for (ip, want) in [("127.0.0.1", true), ("10.0.0.1", true), ("169.254.169.254", false), ("fd00:ec2::254", false)] {
        assert_eq!(policy.check_proxy(ip.parse().unwrap()).is_ok(), want, "{ip}");
    }
}

#[test]
fn what_a_proxy_is_asked_for_is_judged_where_it_can_be() {
    let closed = EgressPolicy::default();
    let open = EgressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()]);
    for (host, want_closed, want_open) in [
        ("api.example.com", true, true),
        ("8.8.8.8", true, true),
        ("127.0.0.1", false, true),
        ("LocalHost", false, true),
        ("a.localhost.", false, true),
        ("[::1]", false, false),
        ("169.254.169.254", false, false),
    ] {
        let host_kind = Host::parse(host).unwrap();
        assert_eq!(closed.check_unresolved(&host_kind).is_ok(), want_closed, "{host}");
        assert_eq!(open.check_unresolved(&host_kind).is_ok(), want_open, "{host}");
    }
    for host in ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "1.2.3.4.5"] {
        assert_eq!(Host::parse(host), Err(Ambiguous), "{host}");
    }
}

#[test]
fn proxy_urls() {
    for (url, want) in [
        ("http://proxy.example.com", Ok((ProxyScheme::Http, "proxy.example.com", 80))),
        ("https://proxy.example.com/", Ok((ProxyScheme::Https, "proxy.example.com", 443))),
        ("socks5://10.0.0.1:9050", Ok((ProxyScheme::Socks5, "10.0.0.1", 9050))),
        ("SOCKS5H://[::1]", Ok((ProxyScheme::Socks5h, "::1", 1080))),
        ("ftp://h", Err(BadProxy::Scheme)),
        ("h:80", Err(BadProxy::Scheme)),
        ("http://u:p@h", Err(BadProxy::Credentials)),
        ("http://h/path", Err(BadProxy::Rest)),
        ("http://h:0", Err(BadProxy::Host)),
        ("http://h:99999", Err(BadProxy::Host)),
        ("http://", Err(BadProxy::Host)),
        ("http://127.1", Err(BadProxy::Host)),
        ("http://a b", Err(BadProxy::Host)),
    ] {
        let got = ProxyAddress::parse(url);
        let got = got.as_ref().map(|proxy| (proxy.scheme, proxy.host.as_str(), proxy.port));
        assert_eq!(got.map_err(|bad| *bad), want, "{url}");
    }
}
