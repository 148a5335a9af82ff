//! A running gateway: everything wired together, from the store to the listeners, and taken down in the opposite order.

use crate::{
    catalog,
    config::Config,
    front::{Front, cors::Cors},
    jobs::{
        Jobs,
        issued::{Issued, Table},
        live,
    },
    listen::{self, Phase, Tls, Traffic},
    status::Process,
    telemetry,
};
use admin::{
    Report,
    document::Document,
    http::{AdminState, Audience, router},
};
use anyhow::{Context as _, Result};
use domain::{catalog::Catalog, ledger::Ledger, ports::Clock};
use prometheus_client::registry::Registry;
use relay::{
    Ports, Relay,
    limiter::Local,
    upstream::{Client, ClientOptions, InProcess},
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use store::{
    Published, Store, SystemClock,
    journal::{Journal, Opening},
    lease::Lease,
    load,
    settle::{self, Shipper},
};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long requests that lost their connections may take to settle.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);
/// How long the database may take for the end, each for the last of the journal and for the lease; and in a hurry.
const LAST_WITHIN: Duration = Duration::from_secs(10);
const HURRIED_WITHIN: Duration = Duration::from_secs(1);

/// What a start does beside serving.
#[derive(Debug, Default)]
pub struct Start {
    /// A document that is applied first.
    pub catalog: Option<Document>,
    /// Hosts that are served by the process itself.
    pub in_process: Vec<InProcess>,
}

/// A gateway that serves.
pub struct Running {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where operators connect, if that is elsewhere.
    pub admin_address: Option<SocketAddr>,
    /// What both begin with in a URL: `https` where TLS is spoken, else `http`.
    pub scheme: &'static str,
    /// What applying the document did.
    pub applied: Option<Report>,
    store: Store,
    published: Arc<Published>,
    journal: Arc<Journal>,
    lease: Lease,
    jobs: Jobs,
    traffic: Arc<Traffic>,
    requests: TaskTracker,
    phase: watch::Sender<Phase>,
    shutdown: CancellationToken,
    grace: Duration,
}

/// Opens the store, takes over what an earlier process left, and serves.
///
/// The addresses are taken first: whoever connects meanwhile waits. An error leaves nothing behind that runs.
pub async fn start(config: &Config, start: Start) -> Result<Running> {
    let (tls, watch) = config.tls.as_ref().map(Tls::open).transpose()?.unzip();
    let clients = bind(config.listen).await?;
    let operators = match config.admin_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let address = clients.local_addr()?;
    let admin_address = operators.as_ref().map(TcpListener::local_addr).transpose()?;

    let store = Store::open(config.store()).await?;
    let lease = Lease::acquire(store.db(), store.node()).await?;
    let Opening { journal, interrupted, replayed } = store.open_journal().await?;
    for torn in &replayed.torn {
        tracing::warn!(
            ?torn,
            "the journal's end was torn, as a power cut leaves it; it was cut at the last whole record"
        );
    }
    let applied = match &start.catalog {
        Some(document) => Some(catalog::apply(&store, document, config, catalog::How::default()).await?),
        None => None,
    };
    let mut first = read_catalog(&store).await?;
    settle::recover(store.db(), &journal, &first, interrupted).await?;
    let mut shipper = Shipper::new(&store, journal.clone());
    if shipper.catch_up().await.context("what the journal has for the database cannot be shipped")? {
        first = read_catalog(&store).await?; // its sums are whole now
    }
    let published = Arc::new(Published::new(first));
    let shipper = shipper.with_ledger(published.ledger().clone());

    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let traffic = Arc::new(Traffic::default());
    let (requests, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let mut registry = Registry::default();
    let limiter = Arc::new(Local::new(clock.clone(), published.clone()));
    let ports = Ports {
        directory: published.clone(),
        keyring: store.vault().clone(),
        recorder: journal.clone(),
        issuers: Arc::new(Table(store.db().clone())),
        limiter: limiter.clone(),
        ledger: published.ledger().clone(),
        clock: clock.clone(),
    };
    let client = Client::new(ClientOptions { in_process: start.in_process, ..config.upstream() })?;
    let relay = Relay::new(ports, config.bounds.clone(), client, &mut registry, requests.clone(), shutdown.clone());
    let live = (relay.clone(), clock.clone());
    telemetry::register(&mut registry, journal.clone(), published.clone(), traffic.clone(), live);

    let kept = live::restore(store.db(), relay.health(), &limiter, clock.unix_us()).await?;
    let issued = Issued::restore(store.db(), relay.bindings(), clock.unix_us()).await?;
    let live = (relay.clone(), limiter, kept, issued);
    let jobs = Jobs::start(&store, &journal, &published, lease.clone(), shipper, live);
    let status = Arc::new(Process {
        listen: [Some(address), admin_address].into_iter().flatten().collect(),
        clock,
        journal: journal.clone(),
        published: published.clone(),
        traffic: traffic.clone(),
        health: jobs.health().clone(),
    });
    let registry = Arc::new(registry);
    let admin = |audience| {
        router(AdminState {
            version: env!("CARGO_PKG_VERSION"),
            audience,
            status: status.clone(),
            registry: registry.clone(),
        })
    };
    let (phase, phases) = watch::channel(Phase::Serving);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let serve = |listener, front| {
        let served = listen::serve(listener, tls.clone(), front, traffic.clone(), phases.clone(), requests.clone());
        requests.spawn(served);
    };
    let cors = Cors::new(config.cors_origins.clone());
    serve(clients, Front::clients(relay, cors, admin(Audience::Everybody), operators.is_none()));
    if let Some(operators) = operators {
        serve(operators, Front::operators(admin(Audience::Operators)));
    }
    if let Some(watch) = watch {
        requests.spawn(watch.run(phases.clone()));
    }
    Ok(Running {
        address,
        admin_address,
        scheme,
        applied,
        store,
        published,
        journal,
        lease,
        jobs,
        traffic,
        requests,
        phase,
        shutdown,
        grace: config.shutdown_grace,
    })
}

async fn read_catalog(store: &Store) -> Result<Catalog> {
    Catalog::build(load(store).await?).context("the catalog in the database contradicts itself")
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

impl Running {
    /// The store that it works on.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Every account's money, as this process knows it.
    pub fn ledger(&self) -> &Arc<Ledger> {
        self.published.ledger()
    }

    /// Waits until a catalog of this revision, or a later one, is in force.
    pub async fn reached(&self, revision: u64) {
        self.published.reached(revision).await;
    }

    /// Waits until everything that was recorded is in the database.
    pub async fn caught_up(&self) {
        self.jobs.shipping().caught_up().await;
    }

    /// Takes no new requests, lets open ones end within the grace or until `hurry` is ready, and closes everything.
    pub async fn stop(self, hurry: impl Future<Output = ()>) {
        self.phase.send_replace(Phase::Draining);
        self.requests.close();
        let (open, grace_s) = (self.traffic.open(), self.grace.as_secs());
        tracing::info!(open_requests = open, grace_s, "stopping: no new requests, open ones may end");
        let ended = tokio::select! {
            ended = timeout(self.grace, self.requests.wait()) => ended.is_ok(),
            () = hurry => false,
        };
        // Answers that are read on for clients that have left end here, too.
        self.shutdown.cancel();
        if !ended {
            tracing::warn!(open_requests = self.traffic.open(), "connections are cut");
            self.phase.send_replace(Phase::Cut);
            if timeout(SETTLE_WITHIN, self.requests.wait()).await.is_err() {
                tracing::error!(tasks = self.requests.len(), "some requests did not end");
            }
        }
        // Whoever is in a hurry does not wait for a database that does not answer: the journal has everything.
        let patience = if ended { LAST_WITHIN } else { HURRIED_WITHIN };
        if timeout(patience, self.jobs.stop()).await.is_err() {
            tracing::warn!("the database did not take the last of the journal");
        }
        let journal = self.journal;
        // It waits for the disk.
        let closed = tokio::task::spawn_blocking(move || journal.close()).await;
        if let Err(error) = closed {
            tracing::error!(%error, "the journal was not closed");
        }
        let released = async {
            if let Err(error) = self.lease.release().await {
                tracing::warn!(%error, "the node's lease was not given back; it runs out by itself");
            }
            self.store.db().close().await;
        };
        if timeout(patience, released).await.is_err() {
            tracing::warn!("the database did not answer at the end");
        }
        tracing::info!("stopped");
    }
}
