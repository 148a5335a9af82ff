//! Health, metrics and status, and who sees them.

use crate::support::{CLIENT_KEY, fetch, gateway, plain};
use testkit::{Reply, Upstream};

#[tokio::test]
async fn operators_on_the_machine_see_how_it_does() {
    let upstream = Upstream::start().await.unwrap().always(Reply::text(["hi"]).usage(1, 1));
    let gw = gateway().provider(&upstream).start().await;
    assert_eq!(gw.chat("hi").whole().await.status, 200);
    gw.entries().await;

    let (status, _, text) = fetch(gw.address(), plain("GET", "/metrics")).await;
    assert_eq!(status, 200);
    for line in [
        "tollgate_requests_total{format=\"OPENAI\",status=\"completed\"} 1",
        "tollgate_journal_unshipped 0",
        "tollgate_journal_writable 1",
        "tollgate_catalog_provider_keys 4",
        "tollgate_catalog_client_keys 1",
        "tollgate_health_ratio{provider=\"provider-0\",endpoint=\"OPENAI\",key=\"main\"} 1.0",
        "tollgate_health_ratio{provider=\"provider-0\",endpoint=\"\",key=\"\"} 1.0",
        "tollgate_circuit_open{provider=\"provider-0\",endpoint=\"OPENAI\",key=\"main\"} 0.0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let (_, _, text) = fetch(gw.address(), plain("GET", "/")).await;
    assert!(text.contains("ready") && text.contains("Ended since the start    1"), "{text}");
    let (status, _, text) = fetch(gw.address(), plain("GET", "/readyz")).await;
    assert_eq!((status, text.as_str()), (200, "ready\n"));
    let (status, ..) = fetch(gw.address(), plain("HEAD", "/")).await;
    assert_eq!(status, 200);
    let (status, _, text) = fetch(gw.address(), plain("GET", "/metrics").header("x-forwarded-for", "1.2.3.4")).await;
    assert_eq!((status, text.as_str()), (404, "not found\n"));
    gw.stop().await;
}

#[tokio::test]
async fn with_a_listener_of_their_own_operators_see_more_there_and_nobody_elsewhere() {
    let upstream = Upstream::start().await.unwrap();
    let gw = gateway().provider(&upstream).set("admin.listen", "127.0.0.1:0").start().await;
    let operators = gw.running.admin_address.unwrap();

    let (status, _, text) = fetch(operators, plain("GET", "/metrics").header("x-forwarded-for", "1.2.3.4")).await;
    assert!(status == 200 && text.contains("tollgate_catalog_revision"), "{status} {text}");
    for (path, want) in [("/metrics", 404), ("/healthz", 200), ("/readyz", 200), ("/", 200)] {
        let (status, _, text) = fetch(gw.address(), plain("GET", path)).await;
        assert_eq!(status, want, "{path}");
        assert_eq!(text.lines().count(), 1, "{path}: {text}");
    }
    let (status, ..) = fetch(operators, plain("GET", "/v1/models").header("x-api-key", CLIENT_KEY)).await;
    assert_eq!(status, 404, "clients have no business here");
    assert_eq!(gw.chat("hi").whole().await.status, 200);
    gw.stop().await;
}

#[tokio::test]
async fn pages_of_listed_origins_may_call() {
    let upstream = Upstream::start().await.unwrap();
    let gw = gateway().provider(&upstream).set("cors.origins", "https://chat.example").start().await;

    let page = gw.chat("hi").header("origin", "https://chat.example").whole().await;
    assert_eq!(page.header("access-control-allow-origin"), Some("https://chat.example"));
    let other = gw.chat("hi").header("origin", "https://other.example").whole().await;
    assert_eq!((other.status, other.header("access-control-allow-origin")), (200, None));
    let question = plain("OPTIONS", "/v1/messages")
        .header("origin", "https://chat.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "x-api-key");
    let (status, headers, _) = fetch(gw.address(), question).await;
    assert_eq!((status, headers["access-control-allow-headers"].to_str().unwrap()), (204, "x-api-key"));
    gw.stop().await;
}
