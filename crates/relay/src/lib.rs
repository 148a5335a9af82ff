//! The data plane: from a request's bytes to the last byte of its answer.
//!
//! [`Relay::handle`] takes a request; [`pipeline`] tells its whole life in one function. No request to a model waits for
//! a database: the catalog is a snapshot in memory, and records go to a journal through the ports of `domain`.

mod admit;
mod attempt;
pub mod bindings;
mod body;
mod call;
mod coding;
mod convert;
mod counting;
mod directory;
pub mod explain;
mod flight;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod health;
mod ingress;
pub mod limiter;
mod lists;
mod meter;
mod pipeline;
mod respond;
pub mod simulate;
mod stored;
pub mod upstream;

pub use body::{Aborted, Body};

use domain::{
    format::Family,
    ids::ProviderKeyId,
    ledger::Ledger,
    ports::{Circuits, Clock, Directory, Issuers, Keyring, Limiter, Recorder},
};
use http::{Request, Response};
use ipnet::IpNet;
use prometheus_client::registry::Registry;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wire::Wire;

/// What the data plane needs from the outside.
pub struct Ports {
    /// The snapshot in force.
    pub directory: Arc<dyn Directory>,
    /// Opens provider credentials.
    pub keyring: Arc<dyn Keyring>,
    /// The journal.
    pub recorder: Arc<dyn Recorder>,
    /// Asked for kept responses that memory does not hold.
    pub issuers: Arc<dyn Issuers>,
    /// Rates and slots.
    pub limiter: Arc<dyn Limiter>,
    /// Every account's money.
    pub ledger: Arc<Ledger>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What one request, and all of them together, may take.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// One request body, decoded.
    pub max_request_bytes: usize,
    /// One answer, decoded.
    pub max_response_bytes: u64,
    /// All buffered request bytes together.
    pub request_budget: usize,
    /// Until a request's body is here.
    pub body_read_timeout: Duration,
    /// All attempts of a request until its answer begins.
    pub total_timeout: Duration,
    /// Candidates that one request may try.
    pub max_candidates: u32,
    /// How long a request waits for a slot when all that could serve it are busy; 0 is not at all.
    pub queue_wait: Duration,
    /// How long a failing provider key's circuit rests when it opens for the first time.
    pub first_rest: Duration,
    /// Proxies whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// The data plane of one process.
#[derive(Clone)]
pub struct Relay(Arc<Core>);

/// What all requests share.
pub(crate) struct Core {
    pub(crate) ports: Ports,
    pub(crate) bounds: Bounds,
    pub(crate) client: upstream::Client,
    pub(crate) budget: ingress::body::Budget,
    pub(crate) health: health::Health,
    pub(crate) bindings: bindings::Bindings,
    pub(crate) doorman: directory::Doorman,
    pub(crate) lists: lists::ListRates,
    pub(crate) targets: attempt::Targets,
    pub(crate) metrics: meter::Metrics,
    pub(crate) tracker: TaskTracker,
    pub(crate) shutdown: CancellationToken,
    pub(crate) runtime: Handle,
}

impl Relay {
    /// A data plane on the current Tokio runtime; tasks it leaves behind are in `tracker`.
    pub fn new(
        ports: Ports,
        bounds: Bounds,
        client: upstream::Client,
        registry: &mut Registry,
        tracker: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        Self(Arc::new(Core {
            budget: ingress::body::Budget::new(bounds.request_budget),
            client,
            health: health::Health::new(ports.limiter.clone(), ports.ledger.clone()).with_first_rest(bounds.first_rest),
            bindings: bindings::Bindings::default(),
            bounds,
            ports,
            doorman: directory::Doorman::default(),
            lists: lists::ListRates::default(),
            targets: attempt::Targets::default(),
            metrics: meter::Metrics::register(registry),
            tracker,
            shutdown,
            runtime: Handle::current(),
        }))
    }

    /// What is known of provider keys.
    pub fn health(&self) -> &health::Health {
        &self.0.health
    }

    /// Who issued what.
    pub fn bindings(&self) -> &bindings::Bindings {
        &self.0.bindings
    }

    /// Whether a path belongs to the data plane.
    pub fn owns(&self, path: &str) -> bool {
        ingress::route::is_ours(path)
    }

    /// Serves one request. Dropping the future, or the response's body, is the client leaving.
    pub async fn handle<B>(&self, request: Request<B>, peer: SocketAddr) -> Response<Body>
    where
        B: http_body::Body<Data = bytes::Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        pipeline::serve(&self.0, request, peer).await
    }
}

impl Circuits for Relay {
    fn reset(&self, key: ProviderKeyId) {
        self.0.health.reset(key, self.0.ports.clock.unix_us());
    }
}

/// The wire of a stored format.
pub(crate) const fn wire_of(family: Family) -> Wire {
    match family {
        Family::Anthropic => Wire::Anthropic,
        Family::Chat => Wire::Chat,
        Family::Responses => Wire::Responses,
        Family::Gemini => Wire::Gemini,
    }
}
