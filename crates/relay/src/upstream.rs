//! The client side: connections to upstreams over HTTP/1.1, each driven by the task of the request that uses it.
//!
//! A pooled client that gives every connection a task of its own hands each frame from one task to another and writes it
//! alone. Here the request's own task reads, and what one read brought leaves in one piece: a burst of events costs a
//! fraction (`bench/RESULTS.md`). Connections are kept alive in a small pool; nothing follows redirects.

mod connect;
mod exchange;
mod pool;
mod target;

pub(crate) use exchange::{Answer, AnswerBody, BodyError, Timing};
pub(crate) use target::{BadUrl, Target};

use bytes::Bytes;
use domain::egress::{EgressPolicy, Forbidden};
use http::{HeaderMap, Method};
use rustls::{ClientConfig, RootCertStore};
use std::{fmt, io, sync::Arc, time::Duration};
use tokio::io::DuplexStream;

/// What a client is made of.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// Which resolved addresses may be dialled.
    pub egress: EgressPolicy,
    /// Hosts that are served by this process itself.
    pub in_process: Vec<InProcess>,
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
    tls: Arc<ClientConfig>,
    pool: pool::Pool,
}

/// The TLS settings cannot be made: a defect of the build.
#[derive(Debug, thiserror::Error)]
#[error("TLS cannot be set up: {0}")]
pub struct NoTls(#[from] rustls::Error);

impl Client {
    /// A client with an empty pool.
    pub fn new(options: ClientOptions) -> Result<Self, NoTls> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(Shared { options, tls: Arc::new(tls), pool: pool::Pool::default() })))
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
    #[error("the connect deadline passed")]
    ConnectTimeout,
    #[error("the request cannot be written: {0}")]
    BadRequest(http::Error),
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
