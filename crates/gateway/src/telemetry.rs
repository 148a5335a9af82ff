//! Log lines and metrics of the process.

use crate::{
    config::{Config, LogFormat},
    lines::{JsonLines, Lines, Out},
    listen::Traffic,
};
use domain::{
    catalog::Catalog,
    ports::{Clock, Directory as _},
    schedule::breaker::Weights,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::Registry,
};
use relay::{Relay, health::Shown};
use std::{
    collections::BTreeMap,
    fmt,
    io::{self, IsTerminal as _},
    sync::Arc,
};
use store::{Published, journal::Journal};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer as _, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// The crates whose lines are wanted; libraries only warn.
const OURS: [&str; 5] = ["admin", "domain", "gateway", "relay", "store"];

/// Begins to log, on standard error, until what it returns is dropped. A second call in one process changes nothing.
pub(crate) fn start(config: &Config) -> io::Result<Out> {
    let libraries = config.log_level.min(LevelFilter::WARN);
    let wanted = Targets::new().with_default(libraries).with_targets(OURS.map(|name| (name, config.log_level)));
    let is_text = match config.log_format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => io::stderr().is_terminal(),
    };
    let out = Lines::to(io::stderr())?;
    let lines = if is_text {
        tracing_subscriber::fmt::layer().with_writer(out.lines()).with_ansi(io::stderr().is_terminal()).boxed()
    } else {
        JsonLines(out.lines()).boxed()
    };
    // It fails only if somebody logs already.
    let _ = tracing_subscriber::registry().with(lines.with_filter(wanted)).try_init();
    // A panic ends one request, not the process, and is a line like any other.
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string);
        tracing::error!(at, panic = panic.payload_as_str(), "a defect: something panicked");
    }));
    Ok(out)
}

/// Figures that are asked for when metrics are read, and not counted meanwhile.
struct Figures {
    journal: Arc<Journal>,
    published: Arc<Published>,
    traffic: Arc<Traffic>,
    relay: Relay,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

/// Adds the process's figures to what the data plane counts.
pub(crate) fn register(
    registry: &mut Registry,
    journal: Arc<Journal>,
    published: Arc<Published>,
    traffic: Arc<Traffic>,
    (relay, clock): (Relay, Arc<dyn Clock>),
) {
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("tollgate_build", "What runs", build);
    registry.register_collector(Box::new(Figures { journal, published, traffic, relay, clock }));
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name: &str, help: &str, value: u64| {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        let stats = self.journal.stats();
        gauge("tollgate_journal_segments", "Segment files of the journal", stats.segments)?;
        gauge("tollgate_journal_bytes", "Size of the journal's segments", stats.bytes)?;
        gauge("tollgate_journal_unshipped", "Settlements that are not in the database yet", stats.unshipped)?;
        gauge("tollgate_journal_waiting", "Settlements that wait in memory for the journal", stats.waiting)?;
        gauge("tollgate_journal_writable", "Whether the journal takes records", u64::from(stats.writable))?;
        let ledger = self.published.ledger();
        let held = u64::try_from(ledger.held().0).unwrap_or(0);
        gauge("tollgate_held_nano_usd", "Held for requests in flight, in nano-dollars", held)?;
        gauge("tollgate_connections", "Open client connections", self.traffic.connections())?;
        let catalog = self.published.catalog();
        gauge("tollgate_catalog_revision", "Revision of the catalog in force", catalog.revision)?;
        for (kind, count) in counts(&catalog) {
            let name = format!("tollgate_catalog_{kind}");
            gauge(&name, &format!("Catalog entries: {}", kind.replace('_', " ")), count)?;
        }
        let mut counter = |name: &str, help: &str, value: u64| {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
        };
        counter("tollgate_journal_write_errors", "Failed writes and syncs of the journal", stats.write_errors)?;
        counter("tollgate_journal_lost", "Settlements that neither journal nor memory had room for", stats.lost)?;
        let excess = "Reported usage above what was held for it, in nano-dollars";
        counter("tollgate_hold_excess_nano_usd", excess, ledger.excess())?;
        counter("tollgate_interrupted", "Requests found open at the start", stats.interrupted)?;
        counter("tollgate_accept_errors", "Connections that could not be accepted", self.traffic.accept_errors())?;
        self.upstreams(&catalog, &mut encoder)
    }
}

impl Figures {
    /// Health of providers, endpoints and provider keys, all from the keys' last outcomes.
    fn upstreams(&self, catalog: &Catalog, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let now_us = self.clock.unix_us();
        let mut health: BTreeMap<Place, Weights> = BTreeMap::new();
        let mut keys: BTreeMap<Place, Shown> = BTreeMap::new();
        for (provider, endpoint, key) in catalog.keys() {
            let shown = self.relay.health().shows(key, now_us);
            let mut place = [("provider", provider.name.clone()), ("endpoint", String::new()), ("key", String::new())];
            for (at, name) in [(0, &provider.name), (1, &endpoint.api_format.to_string()), (2, &key.name)] {
                place[at].1.clone_from(name);
                let sum = health.entry(place.clone()).or_default();
                *sum = *sum + shown.weights;
            }
            keys.insert(place, shown);
        }
        let mut family = |name: &str, help: &str, values: Vec<(&Place, f64)>| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (place, value) in values {
                ConstGauge::new(value).encode(family.encode_family(place)?)?;
            }
            Ok(())
        };
        let share = |weights: &Weights| f64::from(weights.health_millis()) / 1_000.0;
        let health = health.iter().map(|(place, weights)| (place, share(weights))).collect();
        family("tollgate_health_ratio", "Share of the last outcomes that were no failures", health)?;
        let of = |value: &dyn Fn(&Shown) -> Option<f64>| {
            keys.iter().filter_map(|(place, shown)| Some((place, value(shown)?))).collect()
        };
        let open = of(&|shown| Some(f64::from(u8::from(!shown.is_closed))));
        family("tollgate_circuit_open", "Whether the key's circuit is not closed", open)?;
        let in_flight = of(&|shown| Some(f64::from(shown.in_flight)));
        family("tollgate_upstream_in_flight", "Attempts in flight", in_flight)?;
        let limit = of(&|shown| shown.limit.map(f64::from));
        family("tollgate_upstream_limit", "Attempts at a time, as set or as learned", limit)
    }
}

/// Labels of a provider, an endpoint or a provider key; what is below is empty.
type Place = [(&'static str, String); 3];

/// How much a catalog holds, by kind.
pub(crate) fn counts(catalog: &domain::catalog::Catalog) -> [(&'static str, u64); 5] {
    let routes = catalog.global_models.keys().flat_map(|model| catalog.routes(*model));
    let keys: std::collections::HashSet<_> = routes.map(|route| route.key.id).collect();
    [
        ("global_models", catalog.global_models.len() as u64),
        ("providers", catalog.providers.len() as u64),
        ("provider_keys", keys.len() as u64),
        ("users", catalog.users.len() as u64),
        ("client_keys", catalog.client_keys.len() as u64),
    ]
}
