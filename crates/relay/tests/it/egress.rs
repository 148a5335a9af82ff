//! How upstreams are reached: proxies that are real programs, certificates of a private authority, HTTP/2.

use crate::support::{Builder, MODEL, PROXY_PASSWORD, gateway};
use bytes::Bytes;
use domain::{
    catalog::{EndpointConfig, Proxy},
    format::ApiFormat,
    secret::Sealed,
};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use testkit::{Reply, Upstream, servers};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

fn body() -> Value {
    json!({ "model": MODEL, "messages": [{ "role": "user", "content": "hi" }] })
}

/// Sends the endpoint through a proxy.
fn through(builder: &mut Builder, url: &str, password: bool) {
    let endpoint = &mut builder.parts.endpoints[0];
    endpoint.max_retries = 0;
    endpoint.proxy = Some(Proxy { url: url.to_owned(), username: password.then(|| "user".to_owned()), enabled: true });
    endpoint.proxy_password = password.then(Sealed::default);
}

#[tokio::test]
async fn requests_go_through_real_proxies_and_names_are_resolved_where_the_scheme_says() {
    let upstream = Upstream::start().await.unwrap().always(Reply::text(["ok"]).usage(1, 1));
    let port = upstream.base_url().rsplit(':').next().unwrap().to_owned();
    let http = servers::Proxy::http(Some(("user", PROXY_PASSWORD))).unwrap();
    let socks = servers::Proxy::socks5(Some(("user", PROXY_PASSWORD))).unwrap();
    let open = servers::Proxy::socks5(None).unwrap();
    let named = format!("localhost:{port}");
    let resolved = format!("127.0.0.1:{port}");
    for (url, proxy, password, logged) in [
        (format!("http://{}", http.address()), &http, true, &named),
        (format!("socks5h://{}", socks.address()), &socks, true, &named),
        (format!("socks5h://{}", open.address()), &open, false, &named),
        (format!("socks5://{}", socks.address()), &socks, true, &resolved),
    ] {
        let gw = gateway()
            .candidate(ApiFormat::OpenAi, &format!("http://localhost:{port}"))
            .allow("127.0.0.0/8")
            .with(|builder| through(builder, &url, password))
            .start();
        let got = gw.post("/v1/chat/completions", &body()).await;
        assert_eq!(got.status, 200, "{url}: {}", got.text());
        assert!(proxy.log().contains(logged.as_str()), "{url}: {}", proxy.log());
        // The tunnel is kept for the next request.
        let before = proxy.log().matches(logged.as_str()).count();
        assert_eq!(gw.post("/v1/chat/completions", &body()).await.status, 200);
        assert_eq!(proxy.log().matches(logged.as_str()).count(), before, "{url}");
    }
}

#[tokio::test]
async fn what_a_proxy_does_not_do_is_told_as_its_own_and_without_the_password() {
    let upstream = Upstream::start().await.unwrap().always(Reply::text(["ok"]).usage(1, 1));
    let http = servers::Proxy::http(Some(("user", "another"))).unwrap();
    let socks = servers::Proxy::socks5(Some(("user", "another"))).unwrap();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, password, verdict, words) in [
        (format!("http://{}", http.address()), false, "not_dialled", "the proxy wants a user name and password"),
        (format!("http://{}", http.address()), true, "not_dialled", "the proxy does not take"),
        (format!("socks5h://{}", socks.address()), true, "not_dialled", "the proxy does not take"),
        (format!("socks5h://{}", socks.address()), false, "not_dialled", "the proxy wants a user name and password"),
        (format!("http://{gone}"), false, "transient", "the proxy cannot be reached"),
    ] {
        let gw = gateway()
            .candidate(ApiFormat::OpenAi, &upstream.base_url())
            .allow("127.0.0.0/8")
            .with(|builder| through(builder, &url, password))
            .start();
        assert_eq!(gw.post("/v1/chat/completions", &body()).await.status, 502, "{url}");
        let attempts = gw.kept.attempts.lock().unwrap();
        let told = format!("{:?}", attempts[0]);
        assert!(told.contains(words), "{url}: {told}");
        assert_eq!(attempts[0].candidate.skip_reason.as_deref(), Some(verdict), "{url}");
        assert!(!told.contains(PROXY_PASSWORD), "{told}");
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn behind_a_proxy_addresses_are_judged_and_a_refused_one_is_no_fault_of_the_key() {
    let proxy = servers::Proxy::socks5(None).unwrap();
    for (base_url, scheme) in [
        ("http://127.0.0.1:9", "socks5h"),
        ("http://localhost:9", "socks5h"),
        ("http://[::ffff:169.254.169.254]", "socks5h"),
        ("http://localhost:9", "socks5"),
    ] {
        let gw = gateway()
            .candidate(ApiFormat::OpenAi, base_url)
            .with(|builder| through(builder, &format!("{scheme}://{}", proxy.address()), false))
            .start();
        assert_eq!(gw.post("/v1/chat/completions", &body()).await.status, 502, "{base_url}");
        let attempts = gw.kept.attempts.lock().unwrap();
        let verdict = attempts[0].candidate.skip_reason.as_deref();
        assert_eq!(verdict, Some("not_dialled"), "{base_url}: {:?}", attempts[0]);
    }
    assert!(!proxy.log().contains("connected to"), "{}", proxy.log());
}

/// An authority, and what a server for `localhost` needs that it certified.
struct Certified {
    authority: CertificateDer<'static>,
    config: ServerConfig,
}

fn certified(protocols: &[&[u8]]) -> Certified {
    let authority = servers::Authority::new().unwrap();
    let servers::Certified { cert, key } = authority.certify("localhost").unwrap();
    let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![cert], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Certified { authority: CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap(), config }
}

/// A server that answers every request with a chat completion, by HTTP/2 where that was agreed on.
struct Served {
    address: SocketAddr,
    connections: Arc<AtomicU32>,
    http2: Arc<AtomicU32>,
}

async fn serve(config: ServerConfig) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connections, http2) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (accepted, spoken) = (connections.clone(), http2.clone());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let tasks = TaskTracker::new();
    let spawner = tasks.clone();
    tasks.spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            accepted.fetch_add(1, Ordering::Relaxed);
            let (acceptor, spoken) = (acceptor.clone(), spoken.clone());
            spawner.spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let answer = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    if request.version() == http::Version::HTTP_2 {
                        spoken.fetch_add(1, Ordering::Relaxed);
                    }
                    async move {
                        request.into_body().collect().await?;
                        let text = json!({
                            "id": "c", "object": "chat.completion", "created": 1, "model": "m",
                            "choices": [{ "index": 0, "finish_reason": "stop",
                                          "message": { "role": "assistant", "content": "ok" } }],
                            "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 },
                        });
                        let response = hyper::Response::builder().header("content-type", "application/json");
                        let body = Full::new(Bytes::from(text.to_string()));
                        Ok::<_, hyper::Error>(response.body(body).unwrap())
                    }
                });
                let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                builder.http2().max_concurrent_streams(2);
                let _ = builder.serve_connection(TokioIo::new(tls), answer).await;
            });
        }
    });
    Served { address, connections, http2 }
}

#[tokio::test]
async fn tls_of_a_private_authority_and_http2_where_the_peer_picks_it() {
    const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];
    const OLD: &[&[u8]] = &[b"http/1.1"];
    for (name, offered, wanted, trusted, host, status, http2) in [
        ("picked", BOTH, None, true, "localhost", 200, 2),
        ("not offered by the peer", OLD, None, true, "localhost", 200, 0),
        ("switched off", BOTH, Some(false), true, "localhost", 200, 0),
        ("nothing else", BOTH, Some(true), true, "localhost", 200, 2),
        ("nothing else, and the peer does not", OLD, Some(true), true, "localhost", 502, 0),
        ("an unknown authority", BOTH, None, false, "localhost", 502, 0),
        ("another name", BOTH, None, true, "127.0.0.1", 502, 0),
    ] {
        let certified = certified(offered);
        let served = serve(certified.config).await;
        let gw = gateway()
            .candidate(ApiFormat::OpenAi, &format!("https://{host}:{}", served.address.port()))
            .allow("127.0.0.0/8")
            .with(|builder| {
                builder.parts.endpoints[0].max_retries = 0;
                builder.parts.endpoints[0].config = EndpointConfig { http2: wanted, ..EndpointConfig::default() };
                builder.authorities = trusted.then_some(certified.authority).into_iter().collect();
            })
            .start();
        for _ in 0..2 {
            let got = gw.post("/v1/chat/completions", &body()).await;
            assert_eq!(got.status, status, "{name}: {}", got.text());
        }
        assert_eq!(served.http2.load(Ordering::Relaxed), http2, "{name}");
        if status == 200 {
            assert_eq!(served.connections.load(Ordering::Relaxed), 1, "{name}: kept for the next request");
        } else {
            let told = format!("{:?}", gw.kept.attempts.lock().unwrap()[0]);
            let words = if trusted && wanted.is_some() { "TLS" } else { "certificate" };
            assert!(told.contains(words) || told.contains("HTTP/2"), "{name}: {told}");
        }
    }
}

#[tokio::test]
async fn tls_ends_at_the_upstream_also_behind_a_proxy() {
    let certified = certified(&[b"h2"]);
    let served = serve(certified.config).await;
    let proxy = servers::Proxy::http(None).unwrap();
    let gw = gateway()
        .candidate(ApiFormat::OpenAi, &format!("https://localhost:{}", served.address.port()))
        .allow("127.0.0.0/8")
        .with(|builder| {
            through(builder, &format!("http://{}", proxy.address()), false);
            builder.authorities = vec![certified.authority];
        })
        .start();
    let got = gw.post("/v1/chat/completions", &body()).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(served.http2.load(Ordering::Relaxed), 1);
}

/// A program that ends TLS in front of another.
async fn in_front_of(to: SocketAddr, config: ServerConfig) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let tasks = TaskTracker::new();
    let spawner = tasks.clone();
    tasks.spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            spawner.spawn(async move {
                let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                let mut behind = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut tls, &mut behind).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_proxy_may_itself_be_reached_over_tls() {
    let upstream = certified(&[b"h2"]);
    let served = serve(upstream.config).await;
    let plain = Upstream::start().await.unwrap().always(Reply::text(["ok"]).usage(1, 1));
    let proxy = servers::Proxy::http(Some(("user", PROXY_PASSWORD))).unwrap();
    let front = certified(&[]);
    let address = in_front_of(proxy.address(), front.config).await;
    let secured = format!("https://localhost:{}", served.address.port());
    for (base_url, trusted, name, want) in [
        (secured.as_str(), true, "localhost", Ok(())),
        (&plain.base_url(), true, "localhost", Ok(())),
        (&secured, true, "127.0.0.1", Err("the proxy fails at TLS")),
        (&secured, false, "localhost", Err("the proxy fails at TLS")),
    ] {
        let gw = gateway()
            .candidate(ApiFormat::OpenAi, base_url)
            .allow("127.0.0.0/8")
            .with(|builder| {
                through(builder, &format!("https://{name}:{}", address.port()), true);
                builder.authorities = vec![upstream.authority.clone()];
                builder.authorities.extend(trusted.then(|| front.authority.clone()));
            })
            .start();
        let got = gw.post("/v1/chat/completions", &body()).await;
        let attempts = gw.kept.attempts.lock().unwrap();
        match want {
            Ok(()) => assert_eq!(got.status, 200, "{base_url}: {}", got.text()),
            Err(words) => {
                assert_eq!(got.status, 502);
                let told = format!("{:?}", attempts[0]);
                assert!(told.contains(words), "{name}: {told}");
                assert_eq!(attempts[0].candidate.skip_reason.as_deref(), Some("transient"), "it may pass");
            }
        }
    }
    assert_eq!(served.http2.load(Ordering::Relaxed), 1, "HTTP/2 in TLS in TLS");
    assert_eq!(plain.requests().len(), 1);
}
