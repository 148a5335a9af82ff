//! TLS for clients: what real clients get over it, and what a start says of a bad certificate.

use crate::{
    commands::{Serving, folder_with, run},
    support::{CLIENT_KEY, MODEL, config, gateway},
};
use bytes::Bytes;
use gateway::app::{self, Start};
use http::{Request, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use std::{net::SocketAddr, path::Path, sync::Arc};
use testkit::{
    Reply, Upstream,
    servers::{Authority, Certified},
};
use tokio::{net::TcpStream, process::Command};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::task::TaskTracker;

/// An authority, and the files of a certificate for `localhost` and its key.
struct Files {
    authority: Authority,
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { authority: Authority::new().unwrap(), dir: tempfile::tempdir().unwrap() };
        let Certified { cert, key } = files.authority.certify("localhost").unwrap();
        for (name, text) in [("cert.pem", cert), ("key.pem", key), ("ca.pem", files.authority.pem())] {
            std::fs::write(files.dir.path().join(name), text).unwrap();
        }
        files
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// A connection on which these protocols were offered.
    async fn connect(&self, address: SocketAddr, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let tcp = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), tcp).await
    }
}

fn question(http2: bool) -> Request<Full<Bytes>> {
    let body = format!(r#"{{"model":"{MODEL}","stream":true,"messages":[{{"role":"user","content":"hi"}}]}}"#);
    let body = body.replace("\"stream\":true", "\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    let path = "/v1/chat/completions";
    let request = Request::post(if http2 { format!("https://localhost{path}") } else { path.to_owned() });
    let request = if http2 { request } else { request.header("host", "localhost") };
    request.header("authorization", format!("Bearer {CLIENT_KEY}")).body(Full::from(body)).unwrap()
}

#[tokio::test]
async fn clients_speak_http2_or_http1_over_tls_and_keep_their_connection() {
    let files = Files::new();
    let upstream = Upstream::start().await.unwrap().always(Reply::text(["he", "llo"]).usage(3, 2));
    let gw = gateway()
        .provider(&upstream)
        .set("tls.cert", &files.path("cert.pem"))
        .set("tls.key", &files.path("key.pem"))
        .set("admin.listen", "127.0.0.1:0")
        .start()
        .await;
    let tasks = TaskTracker::new();
    for (offered, picked) in [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)] {
        let tls = files.connect(gw.address(), offered).await.unwrap();
        let alpn = tls.get_ref().1.alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap());
        assert_eq!(alpn.as_deref(), picked);
        let asked = upstream.requests().len();
        let mut bodies = Vec::new();
        if picked == Some("h2") {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
            tasks.spawn(connection);
            let (one, two) = (sender.clone().send_request(question(true)), sender.send_request(question(true)));
            let (one, two) = tokio::join!(one, two);
            for answer in [one.unwrap(), two.unwrap()] {
                assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
                bodies.push(answer.into_body().collect().await.unwrap().to_bytes());
            }
        } else {
            let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await.unwrap();
            tasks.spawn(connection);
            for _ in 0..2 {
                sender.ready().await.unwrap();
                let answer = sender.send_request(question(false)).await.unwrap();
                assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_11));
                bodies.push(answer.into_body().collect().await.unwrap().to_bytes());
            }
        }
        let mut sent = upstream.sent_bytes()[asked..].to_vec();
        sent.sort();
        bodies.sort();
        assert_eq!(bodies, sent, "{offered:?}: the very bytes");
    }

    let tls = files.connect(gw.running.admin_address.unwrap(), &["http/1.1"]).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await.unwrap();
    tasks.spawn(connection);
    let request = Request::get("/metrics").header("host", "localhost").body(Full::<Bytes>::default()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200, "operators too");
    let stranger = Files::new();
    assert!(stranger.connect(gw.address(), &["h2"]).await.is_err(), "of another authority");
    assert_eq!(gw.entries().await.len(), 6);
    gw.stop().await;
}

#[tokio::test]
async fn curl_speaks_http2_with_the_program() {
    let files = Files::new();
    let upstream = Upstream::start().await.unwrap().always(Reply::text(["hello"]).usage(3, 1));
    let folder = folder_with(&upstream.base_url());
    let settings = format!("[tls]\ncert = '{}'\nkey = '{}'\n", files.path("cert.pem"), files.path("key.pem"));
    std::fs::write(folder.path().join("tollgate.toml"), settings).unwrap();
    let serving = Serving::start(folder.path(), &["--catalog", "catalog.yaml"]).await;
    let port = serving.address.port();
    let curl = async |more: &[&str]| {
        let out = Command::new("curl")
            .args(["-sS", "-m", "20", "--cacert", &files.path("ca.pem"), "-w", "\n%{http_code} %{http_version}"])
            .args(["-H", &format!("x-api-key: {CLIENT_KEY}"), "--resolve", &format!("localhost:{port}:127.0.0.1")])
            .args([
                "--json",
                &format!(r#"{{"model":"{MODEL}","max_tokens":9,"messages":[{{"role":"user","content":"hi"}}]}}"#),
            ])
            .args(more)
            .arg(format!("https://localhost:{port}/v1/messages"))
            .output()
            .await
            .expect("the tests need curl");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    for (more, want) in [(&["--http2"][..], "200 2"), (&["--http1.1"], "200 1.1"), (&["--tls-max", "1.2"], "200 2")] {
        let said = curl(more).await;
        assert!(said.contains("hello") && said.ends_with(want), "{more:?}: {said}");
    }
    let log = serving.terminate().await;
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

#[tokio::test]
async fn a_bad_certificate_stops_the_start_and_is_found_by_check() {
    let files = Files::new();
    let other = files.authority.certify("localhost").unwrap();
    std::fs::write(files.dir.path().join("other.pem"), &other.key).unwrap();
    let home = folder_with("http://127.0.0.1:9");
    let folder: &Path = home.path();
    for (cert, key, want) in [
        ("gone.pem", "key.pem", format!("tls.cert: {}: ", files.path("gone.pem"))),
        ("cert.pem", "gone.pem", format!("tls.key: {}: ", files.path("gone.pem"))),
        ("cert.pem", "other.pem", format!("tls.key: {} is not the key of", files.path("other.pem"))),
    ] {
        let tls = [("tls.cert", files.path(cert)), ("tls.key", files.path(key))];
        let error = app::start(&config(folder, &tls), Start::default()).await.err().unwrap();
        assert!(format!("{error:#}").starts_with(&want), "{error:#}");
        let text = format!("[tls]\ncert = '{}'\nkey = '{}'\n", files.path(cert), files.path(key));
        std::fs::write(folder.join("tollgate.toml"), text).unwrap();
        let (code, out, err) = run(folder, &["check", "catalog.yaml"]).await;
        assert!(code == 1 && out.contains(&format!("settings: {want}")), "{code} {out} {err}");
        let (code, _, err) = run(folder, &["serve"]).await;
        assert!(code == 1 && err.contains(&want), "{code} {err}");
    }
}
