//! Counters of the data plane; every label set is closed.

use domain::{
    format::{RequestType, UsageSource},
    money::NanoUsd,
    records::UsageRow,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    format: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct One {
    kind: &'static str,
}

/// What the data plane counts.
pub(crate) struct Metrics {
    /// Admitted requests that have not been settled.
    pub open: Gauge,
    requests: Family<Ended, Counter>,
    refusals: Family<One, Counter>,
    attempts: Family<One, Counter>,
    tokens: Family<One, Counter>,
    cost: Counter,
    actual_cost: Counter,
    unbilled: Counter,
    disagreements: Counter,
    seconds: Histogram,
    first_byte_seconds: Histogram,
}

impl Metrics {
    /// Adds the counters to a registry that prefixes their names.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        // 5 ms to about 11 minutes.
        let seconds = || Histogram::new(exponential_buckets(0.005, 2.0, 18));
        let metrics = Self {
            open: Gauge::default(),
            requests: Family::default(),
            refusals: Family::default(),
            attempts: Family::default(),
            tokens: Family::default(),
            cost: Counter::default(),
            actual_cost: Counter::default(),
            unbilled: Counter::default(),
            disagreements: Counter::default(),
            seconds: seconds(),
            first_byte_seconds: seconds(),
        };
        registry.register("tollgate_open_requests", "Requests in flight", metrics.open.clone());
        registry.register("tollgate_requests", "Settled requests by format and status", metrics.requests.clone());
        registry.register("tollgate_refusals", "Requests refused before admission", metrics.refusals.clone());
        registry.register("tollgate_attempts", "Upstream attempts by verdict", metrics.attempts.clone());
        registry.register("tollgate_tokens", "Billed tokens", metrics.tokens.clone());
        registry.register("tollgate_list_cost_nano_usd", "List cost in nano-dollars", metrics.cost.clone());
        registry.register("tollgate_actual_cost_nano_usd", "Actual cost in nano-dollars", metrics.actual_cost.clone());
        registry.register("tollgate_unbilled", "Answers without anything to bill", metrics.unbilled.clone());
        registry.register(
            "tollgate_usage_disagreements",
            "Vendor totals unlike their parts",
            metrics.disagreements.clone(),
        );
        registry.register("tollgate_response_seconds", "Arrival to end", metrics.seconds.clone());
        registry.register("tollgate_first_byte_seconds", "Arrival to first byte", metrics.first_byte_seconds.clone());
        metrics
    }

    /// A request was refused before it was admitted.
    pub(crate) fn refused(&self, kind: &'static str) {
        self.refusals.get_or_create(&One { kind }).inc();
    }

    /// An attempt ended.
    pub(crate) fn attempt(&self, kind: &'static str) {
        self.attempts.get_or_create(&One { kind }).inc();
    }

    /// An admitted request was settled.
    pub(crate) fn ended(&self, row: &UsageRow) {
        self.open.dec();
        let labels = Ended { format: row.api_format.as_str(), status: row.status.as_str() };
        self.requests.get_or_create(&labels).inc();
        let tokens = &row.tokens;
        for (kind, count) in [
            ("input", tokens.input),
            ("cache_read", tokens.cache_read),
            ("cache_write", tokens.cache_creation()),
            ("output", tokens.output),
        ] {
            if count > 0 {
                self.tokens.get_or_create(&One { kind }).inc_by(count);
            }
        }
        self.cost.inc_by(u64::try_from(row.cost.total.0).unwrap_or(0));
        self.actual_cost.inc_by(u64::try_from(row.actual.total.0).unwrap_or(0));
        let counted = row.request_type == RequestType::CountTokens;
        let bills_nothing = row.usage_source == UsageSource::None && row.prices.per_request == NanoUsd::ZERO;
        if bills_nothing && row.delivered && !counted {
            self.unbilled.inc();
        }
        if row.metadata.usage_disagrees {
            self.disagreements.inc();
        }
        self.seconds.observe(f64::from(row.response_time_ms) / 1_000.0);
        if let Some(first) = row.first_byte_time_ms {
            self.first_byte_seconds.observe(f64::from(first) / 1_000.0);
        }
    }
}
