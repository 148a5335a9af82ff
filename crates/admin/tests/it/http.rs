use admin::http::{AdminState, Audience, Figures, JournalFigures, Readiness, Status, router};
use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Request, StatusCode},
};
use http_body_util::BodyExt as _;
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tower::ServiceExt as _;

struct Doing(Readiness);

impl Status for Doing {
    fn readiness(&self) -> Readiness {
        self.0.clone()
    }

    fn figures(&self) -> Figures {
        Figures {
            listen: vec!["127.0.0.1:8088".to_owned()],
            uptime: Duration::from_secs(3_700),
            revision: 42,
            global_models: 7,
            providers: 3,
            provider_keys: 12,
            users: 5,
            client_keys: 1_234,
            open_requests: 6,
            requests: 98_765,
            journal: JournalFigures { segments: 2, bytes: 3 << 20, unshipped: 11 },
        }
    }
}

fn app(audience: Audience, readiness: Readiness) -> axum::Router {
    let mut registry = Registry::default();
    let counter: Counter = Counter::default();
    counter.inc_by(3);
    registry.register("tollgate_things", "Things", counter);
    router(AdminState { version: "1.2.3", audience, status: Arc::new(Doing(readiness)), registry: Arc::new(registry) })
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn ask(app: &axum::Router, method: &str, path: &str, peer: Option<&str>, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    if let Some(peer) = peer {
        request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
    }
    let reply = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = reply.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    Reply { status: parts.status, headers: parts.headers, body }
}

const LOCAL: Option<&str> = Some("127.0.0.1:5000");
const REMOTE: Option<&str> = Some("203.0.113.9:5000");

#[tokio::test]
async fn details_are_for_loopback_without_a_proxy_and_for_the_admin_listener() {
    let everybody = app(Audience::Everybody, Readiness::Degraded(vec!["the database is away".to_owned()]));
    let operators = app(Audience::Operators, Readiness::Degraded(vec!["the database is away".to_owned()]));
    for (name, peer, headers, local) in [
        ("loopback", LOCAL, &[][..], true),
        ("loopback of IPv6", Some("[::1]:5000"), &[("host", "[::1]:8088")], true),
        ("loopback in an IPv4-mapped address", Some("[::ffff:127.0.0.1]:5000"), &[("host", "localhost:8088")], true),
        ("another host", REMOTE, &[("host", "127.0.0.1:8088")], false),
        ("an unknown peer", None, &[], false),
        ("a proxy on this machine", LOCAL, &[("x-forwarded-for", "203.0.113.9")], false),
        ("a proxy by the standard", LOCAL, &[("forwarded", "for=203.0.113.9")], false),
        ("a proxy with a header of its own", LOCAL, &[("x-real-ip", "203.0.113.9")], false),
        ("a proxy that says its name", LOCAL, &[("via", "1.1 cache")], false),
        ("a CDN's tunnel", LOCAL, &[("cf-connecting-ip", "203.0.113.9")], false),
        ("a web page's own name for this machine", LOCAL, &[("host", "attacker.example:8088")], false),
        ("an address as the name", LOCAL, &[("host", "192.168.1.5:8088")], true),
    ] {
        for (app, details) in [(&everybody, local), (&operators, true)] {
            let metrics = ask(app, "GET", "/metrics", peer, headers).await;
            let ready = ask(app, "GET", "/readyz", peer, headers).await;
            let health = ask(app, "GET", "/healthz", peer, headers).await;
            let page = ask(app, "GET", "/", peer, headers).await;
            if details {
                assert_eq!(metrics.status, StatusCode::OK, "{name}");
                assert!(
                    metrics.body.contains("tollgate_things_total 3\n") && metrics.body.ends_with("# EOF\n"),
                    "{name}"
                );
                assert_eq!(
                    metrics.header("content-type"),
                    "application/openmetrics-text; version=1.0.0; charset=utf-8"
                );
                assert_eq!(ready.body, "degraded\nthe database is away\n", "{name}");
                assert_eq!(health.body, "ok\nversion: 1.2.3\nuptime: 1 h 1 min\n", "{name}");
                assert!(page.body.contains("98,765"), "{name}");
            } else {
                assert_eq!((metrics.status, metrics.body.as_str()), (StatusCode::NOT_FOUND, "not found\n"), "{name}");
                assert_eq!(ready.body, "degraded\n", "{name}");
                assert_eq!(health.body, "ok\n", "{name}");
                assert_eq!(page.body, "Tollgate 1.2.3\n", "{name}");
            }
            assert_eq!((ready.status, health.status, page.status), (StatusCode::OK, StatusCode::OK, StatusCode::OK));
        }
    }
}

#[tokio::test]
async fn readiness_is_a_word_and_a_status() {
    for (readiness, status, body) in [
        (Readiness::Ready, StatusCode::OK, "ready\n"),
        (Readiness::Degraded(vec!["journal lags".to_owned()]), StatusCode::OK, "degraded\njournal lags\n"),
        (
            Readiness::Unready(vec!["the journal does not write".to_owned()]),
            StatusCode::SERVICE_UNAVAILABLE,
            "unready\nthe journal does not write\n",
        ),
    ] {
        let reply = ask(&app(Audience::Everybody, readiness), "GET", "/readyz", LOCAL, &[]).await;
        assert_eq!((reply.status, reply.body.as_str()), (status, body));
    }
}

#[tokio::test]
async fn the_page_is_html_for_browsers_and_text_for_all_else() {
    let app = app(Audience::Everybody, Readiness::Ready);
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (accept, peer, html, words) in [
        (
            Some(browser),
            LOCAL,
            true,
            &["Tollgate", "1.2.3", "1,234", "3.0 MiB", "127.0.0.1:8088", "ready", "1 h 1 min"][..],
        ),
        (Some(browser), REMOTE, true, &["Tollgate", "1.2.3"]),
        (Some("application/json"), LOCAL, false, &["Tollgate 1.2.3\nready\n", "Client keys              1,234"]),
        (Some("*/*"), REMOTE, false, &["Tollgate 1.2.3\n"]),
        (None, REMOTE, false, &["Tollgate 1.2.3\n"]),
    ] {
        let headers: Vec<_> = accept.map(|accept| ("accept", accept)).into_iter().collect();
        let reply = ask(&app, "GET", "/", peer, &headers).await;
        let kind = if html { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" };
        assert_eq!(reply.header("content-type"), kind, "{accept:?}");
        assert_eq!(reply.header("vary"), "accept");
        for word in words {
            assert!(reply.body.contains(word), "{accept:?} {peer:?}: {word}\n{}", reply.body);
        }
        if peer == REMOTE {
            for detail in ["1,234", "8088", "Journal", "ready\n", "98,765"] {
                assert!(!reply.body.contains(detail), "{accept:?}: {detail}\n{}", reply.body);
            }
        }
        assert!(!reply.body.contains("<script"));
    }
}

#[tokio::test]
async fn head_is_answered_without_a_body_and_writing_is_not() {
    let app = app(Audience::Everybody, Readiness::Ready);
    for path in ["/", "/healthz", "/readyz"] {
        let reply = ask(&app, "HEAD", path, REMOTE, &[]).await;
        assert_eq!((reply.status, reply.body.as_str()), (StatusCode::OK, ""), "{path}");
        let reply = ask(&app, "POST", path, LOCAL, &[]).await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    assert_eq!(ask(&app, "HEAD", "/metrics", REMOTE, &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn every_answer_tells_browsers_to_be_careful() {
    let app = app(Audience::Everybody, Readiness::Ready);
    for (method, path) in [("GET", "/"), ("HEAD", "/"), ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")] {
        for peer in [LOCAL, REMOTE] {
            let reply = ask(&app, method, path, peer, &[("accept", "text/html")]).await;
            assert!(reply.header("content-security-policy").starts_with("default-src 'none'; style-src"), "{path}");
            assert_eq!(reply.header("x-content-type-options"), "nosniff");
            assert_eq!(reply.header("referrer-policy"), "no-referrer");
            assert_eq!(reply.header("x-frame-options"), "DENY");
            assert_eq!(reply.header("cache-control"), "no-store");
        }
    }
}
