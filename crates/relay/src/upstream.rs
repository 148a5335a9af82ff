//! The client side: connections to upstreams. One of HTTP/1.1 is driven by the task of the request that uses it.
//!
//! A pooled client that gives every connection a task of its own hands each frame from one task to another and writes it
//! alone. Here the request's own task reads, and what one read brought leaves in one piece: a burst of events costs a
//! fraction (`bench/RESULTS.md`). Connections are kept alive in a small pool; nothing follows redirects.
//!
//! Where a peer picks HTTP/2, requests share connections ([`multiplexed`]), which tasks of the client's own drive.

mod connect;
mod exchange;
mod multiplexed;
mod pool;
mod proxy;
mod reach;
mod target;

pub(crate) use exchange::{Answer, AnswerBody, BodyError, Timing};
pub use reach::Unreached;
pub(crate) use target::{BadEndpoint, Target};

use bytes::Bytes;
use domain::egress::{EgressPolicy, Forbidden};
use http::{HeaderMap, Method};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use std::{fmt, io, sync::Arc, time::Duration};
use tokio::io::DuplexStream;

/// What a client is made of.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// Which resolved addresses may be dialled.
    pub egress: EgressPolicy,
    /// Hosts that are served by this process itself.
    pub in_process: Vec<InProcess>,
    /// Certification authorities that are trusted beside those of the web.
    pub authorities: Vec<CertificateDer<'static>>,
}

/// A host that is dialled inside the process: no name is resolved, no socket opened.
#[derive(Clone)]
pub struct InProcess {
    /// The host, as base URLs spell it.
    pub host: String,
    /// Makes a connection.
    pub dial: Arc<dyn Fn() -> DuplexStream + Send + Sync>,
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InProcess({})", self.host)
    }
}

/// Sends requests upstream; clones share one pool.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    options: ClientOptions,
    tls: Tls,
    pool: pool::Pool,
}

/// TLS as targets ask for it: what is offered differs.
struct Tls {
    both: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

/// The TLS settings cannot be made: a defect of the build.
#[derive(Debug, thiserror::Error)]
#[error("TLS cannot be set up: {0}")]
pub struct NoTls(#[from] rustls::Error);

impl Client {
    /// A client with an empty pool.
    pub fn new(options: ClientOptions) -> Result<Self, NoTls> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for authority in &options.authorities {
            roots.add(authority.clone())?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let offering = |protocols: &[&[u8]]| {
            let mut tls = tls.clone();
            tls.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(tls)
        };
        let tls =
            Tls { both: offering(&[b"h2", b"http/1.1"]), http1: offering(&[b"http/1.1"]), http2: offering(&[b"h2"]) };
        Ok(Self(Arc::new(Shared { options, tls, pool: pool::Pool::default() })))
    }
}

/// One request, ready to be sent.
pub(crate) struct Call {
    pub target: Arc<Target>,
    pub method: Method,
    pub path_and_query: String,
    /// Without `host` and `content-length`, which follow from the rest.
    pub headers: HeaderMap,
    /// Pieces of the body; their order is theirs on the wire.
    pub body: Vec<Bytes>,
    pub connect_timeout: Duration,
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("{host}: {why}")]
    Egress { host: String, why: Forbidden },
    #[error("the host cannot be resolved: {0}")]
    Resolve(io::Error),
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("the proxy {0}")]
    Proxy(proxy::ProxyError),
    #[error("the peer does not speak HTTP/2, which the endpoint asks for")]
    NoHttp2,
    #[error("the connect deadline passed")]
    ConnectTimeout,
    #[error("the request cannot be written: {0}")]
    BadRequest(http::Error),
    #[error("the peer turns the request away unseen")]
    Unseen,
    #[error("{}", innermost(.0))]
    Exchange(hyper::Error),
}

/// An error's own words and those of its last cause, which tells what the system said.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.source().is_none() {
            text = format!("{text}: {inner}");
        }
        cause = inner.source();
    }
    text
}
