//! Log lines and metrics of the process.

use crate::{
    config::{Config, LogFormat},
    lines::{JsonLines, Lines, Out},
    listen::Traffic,
};
use domain::ports::Directory as _;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::Registry,
};
use std::{
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
    let lines = tracing_subscriber::fmt::layer().with_writer(out.lines());
    let lines = if is_text {
        lines.with_ansi(io::stderr().is_terminal()).boxed()
    } else {
        lines.event_format(JsonLines).boxed()
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
) {
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("tollgate_build", "What runs", build);
    registry.register_collector(Box::new(Figures { journal, published, traffic }));
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
        counter("tollgate_accept_errors", "Connections that could not be accepted", self.traffic.accept_errors())
    }
}

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
