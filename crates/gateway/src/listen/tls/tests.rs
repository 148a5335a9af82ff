use super::*;
use crate::listen::tests::{Listening, is_about, open_for};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use std::fs;
use tempfile::TempDir;
use testkit::servers::{Authority, Certified};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A certificate in files.
struct Folder {
    dir: TempDir,
    authority: Authority,
    first: Certified,
}

impl Folder {
    fn new() -> Self {
        let authority = Authority::new().unwrap();
        let first = authority.certify("first.test").unwrap();
        let folder = Self { dir: tempfile::tempdir().unwrap(), authority, first };
        folder.write(Some(&folder.first.cert), Some(&folder.first.key));
        folder
    }

    fn files(&self) -> TlsFiles {
        TlsFiles { cert: self.dir.path().join("cert.pem"), key: self.dir.path().join("key.pem") }
    }

    /// Writes either file, or takes it away.
    fn write(&self, cert: Option<&str>, key: Option<&str>) {
        let files = self.files();
        for (path, text) in [(files.cert, cert), (files.key, key)] {
            match text {
                Some(text) => fs::write(path, text).unwrap(),
                None => drop(fs::remove_file(path)),
            }
        }
    }

    fn second(&self) -> Certified {
        self.authority.certify("second.test").unwrap()
    }

    /// A connection to a host that must show a certificate of this name.
    async fn connect(&self, tcp: TcpStream, name: &'static str) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
        connector.connect(ServerName::try_from(name).unwrap(), tcp).await
    }
}

/// What a start, or a look, says of these files.
fn said(cert: Option<&str>, key: Option<&str>) -> String {
    let folder = Folder::new();
    folder.write(cert, key);
    let error = Tls::open(&folder.files()).err().unwrap();
    format!("{error:#}").replace(folder.dir.path().to_str().unwrap(), "DIR")
}

#[test]
fn what_is_wrong_with_the_files_is_told_with_setting_and_file() {
    let folder = Folder::new();
    let (Certified { cert, key }, other) = (folder.first.clone(), folder.second());
    let half = &cert[..cert.len() / 2];
    let hollow = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (name, cert, key, want) in [
        ("no certificate", None, Some(key.as_str()), "tls.cert: DIR/cert.pem: No such file"),
        ("no key", Some(cert.as_str()), None, "tls.key: DIR/key.pem: No such file"),
        ("an empty certificate", Some(""), Some(&key), "tls.cert: DIR/cert.pem holds no certificate"),
        ("half a certificate", Some(half), Some(&key), "tls.cert: DIR/cert.pem: "),
        ("a hollow certificate", Some(hollow), Some(&key), "tls.cert: DIR/cert.pem: "),
        ("the certificate as the key", Some(&cert), Some(&cert), "tls.key: DIR/key.pem holds no private key"),
        (
            "another key",
            Some(&cert),
            Some(&other.key),
            "tls.key: DIR/key.pem is not the key of the certificate in DIR/cert",
        ),
    ] {
        let said = said(cert, key);
        assert!(said.starts_with(want), "{name}: {said}");
        assert!(!said.contains(&folder.first.key[30..60]), "{name}: {said}");
    }
    let long = "x".repeat(usize::try_from(FILE_MAX).unwrap() + 1);
    assert_eq!(said(Some(&long), Some(&key)), format!("tls.cert: DIR/cert.pem: larger than {FILE_MAX} bytes"));
}

#[test]
fn a_new_pair_is_taken_when_it_is_whole_and_stands_still() {
    let folder = Folder::new();
    let (_, mut watch) = Tls::open(&folder.files()).unwrap();
    let shown = watch.shown.clone();
    let key = || Arc::as_ptr(&shown.key.read().unwrap());
    let (first, second) = (key(), folder.second());
    assert!(!watch.look().unwrap(), "nothing has changed");

    folder.write(Some(&second.cert), Some(&folder.first.key));
    assert!(!watch.look().unwrap(), "the key may be on its way");
    let error = format!("{:#}", watch.look().unwrap_err());
    assert!(error.contains("is not the key of the certificate"), "{error}");
    assert_eq!(key(), first, "the old one stays");

    folder.write(Some(&second.cert), None);
    assert!(watch.look().is_err() && key() == first);

    folder.write(Some(&second.cert), Some(&second.key));
    assert!(!watch.look().unwrap());
    assert!(watch.look().unwrap(), "two looks found the same");
    assert_ne!(key(), first);
    assert!(!watch.look().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_new_certificate_is_shown_to_new_connections_and_open_ones_go_on() {
    let folder = Folder::new();
    let (tls, watch) = Tls::open(&folder.files()).unwrap();
    let listening = Listening::start_with(Some(tls)).await;
    listening.tasks.spawn(watch.run(listening.phase.subscribe()));
    let mut open = folder.connect(listening.connect().await, "first.test").await.unwrap();
    let mut ask = async |path: &str| {
        open.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"here\n") {
            assert!(open.read_buf(&mut answer).await.unwrap() > 0);
        }
    };
    ask("/").await;

    let second = folder.second();
    folder.write(Some(&second.cert), Some(&second.key));
    sleep(2 * LOOK_EVERY + Duration::from_millis(1)).await;
    let within = Duration::from_mins(1);
    timeout(within, async {
        // The disk is read in real time.
        while folder.connect(listening.connect().await, "second.test").await.is_err() {
            sleep(LOOK_EVERY).await;
        }
    })
    .await
    .unwrap();
    assert!(folder.connect(listening.connect().await, "first.test").await.is_err());
    ask("/").await;

    drop(open);
    listening.phase.send_replace(Phase::Draining);
    listening.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_its_time_however_it_is_drawn_out() {
    let folder = Folder::new();
    let (tls, _) = Tls::open(&folder.files()).unwrap();
    let listening = Listening::start_with(Some(tls)).await;

    let mut silent = listening.connect().await;
    let open = open_for(&mut silent).await;
    assert!(is_about(open, 9..=11), "{open:?}");

    let mut slow = listening.connect().await;
    let began = Instant::now();
    // The head of a record of 512 bytes, and then one byte after the other.
    for byte in [22, 3, 1, 2, 0, 1, 0, 1, 252].into_iter().chain(std::iter::repeat(0)) {
        if slow.write_all(&[byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert!(is_about(began.elapsed(), 9..=13), "{:?}", began.elapsed());

    // What is no TLS at all ends at once.
    let mut clear = listening.connect().await;
    clear.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let open = open_for(&mut clear).await;
    assert!(is_about(open, 0..=0), "{open:?}");

    let mut late = listening.connect().await;
    sleep(Duration::from_secs(1)).await;
    listening.phase.send_replace(Phase::Draining);
    let open = open_for(&mut late).await;
    assert!(is_about(open, 0..=0), "nothing was asked yet: {open:?}");
    listening.ends().await;
}

#[tokio::test(start_paused = true)]
async fn behind_tls_a_connection_has_the_same_bounds() {
    let folder = Folder::new();
    let (tls, _) = Tls::open(&folder.files()).unwrap();
    let listening = Listening::start_with(Some(tls)).await;
    let mut idle = folder.connect(listening.connect().await, "first.test").await.unwrap();
    let open = open_for(&mut idle).await;
    assert!(is_about(open, 115..=125), "{open:?}");

    let deaf = folder.connect(listening.connect().await, "first.test").await.unwrap();
    let borne = listening.bears(deaf).await;
    assert!(is_about(borne, 295..=305), "{borne:?}");
}
