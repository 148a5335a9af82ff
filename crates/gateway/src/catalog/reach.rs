//! Whether upstreams answer at all: any HTTP answer to `HEAD` counts, no credential and no prompt is sent.

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use domain::egress::EgressPolicy;
use http_body_util::Empty;
use hyper::{Request, Uri, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// How long one host may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Hosts that are asked at a time.
const AT_ONCE: usize = 8;

/// The endpoints that do not answer, and why. Names that do not resolve are left to the check of the catalog.
pub(super) async fn all(base_urls: &[(String, String)], egress: &EgressPolicy) -> Result<Vec<(String, String)>> {
    let mut by_url: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (endpoint, url) in base_urls {
        by_url.entry(url).or_default().push(endpoint);
    }
    let tls = TlsConnector::from(Arc::new(tls()?));
    let mut waiting = by_url.keys().map(|url| (*url).to_owned());
    let mut running = JoinSet::new();
    let mut silent = BTreeMap::new();
    loop {
        while running.len() < AT_ONCE
            && let Some(url) = waiting.next()
        {
            let (tls, egress) = (tls.clone(), egress.clone());
            running.spawn(async move {
                let asked = timeout(ANSWER_WITHIN, ask(&url, &egress, &tls)).await;
                let asked = asked.unwrap_or_else(|_| Err(anyhow!("no answer within {} s", ANSWER_WITHIN.as_secs())));
                (url, asked)
            });
        }
        match running.join_next().await {
            None => break,
            Some(done) => {
                let (url, asked) = done?;
                if let Err(error) = asked {
                    silent.insert(url, format!("{error:#}"));
                }
            }
        }
    }
    let told = |(endpoint, url): &(String, String)| {
        silent.get(url).map(|why| (endpoint.clone(), format!("{url} does not answer: {why}")))
    };
    Ok(base_urls.iter().filter_map(told).collect())
}

fn tls() -> Result<ClientConfig> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

async fn ask(url: &str, egress: &EgressPolicy, tls: &TlsConnector) -> Result<()> {
    let uri: Uri = url.parse().context("is no URL")?;
    let host = uri.host().context("names no host")?;
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let Ok(addresses) = lookup_host((name, port)).await else { return Ok(()) };
    let stream = connect(addresses.collect(), egress).await?;
    if is_tls {
        let name = ServerName::try_from(name.to_owned())?;
        head(tls.connect(name, stream).await.context("TLS")?, &uri).await
    } else {
        head(stream, &uri).await
    }
}

async fn connect(addresses: Vec<SocketAddr>, egress: &EgressPolicy) -> Result<TcpStream> {
    let mut last = None;
    for address in addresses {
        egress.check(address.ip())?;
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error).context("cannot connect"),
        None => bail!("the host has no address"),
    }
}

async fn head<S: AsyncRead + AsyncWrite + Unpin + Send>(stream: S, uri: &Uri) -> Result<()> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let authority = uri.authority().map_or_else(String::new, ToString::to_string);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::head(path).header(HOST, authority).body(Empty::<Bytes>::new())?;
    tokio::select! {
        answer = sender.send_request(request) => answer.map(|_| ()).map_err(Into::into),
        ended = connection => {
            ended?;
            bail!("the connection was closed without an answer")
        }
    }
}
