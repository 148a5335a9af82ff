//! A store to ship to, and what its counters say.

use crate::{
    Store,
    journal::{Journal, JournalOptions, Opening, SEGMENT_BYTES, SyncMode},
    repo::usage,
    sample,
    settle::{Shipper, last_epoch},
};
use domain::{
    catalog::Catalog,
    ports::Recorder as _,
    records::{Settled, UsageRow},
};
use std::sync::Arc;
use testkit::servers::Home;

/// A store with the sample's rows, and its journal.
pub(super) struct World {
    pub(super) home: Home,
    pub(super) store: Store,
    pub(super) opening: Opening,
}

impl World {
    pub(super) async fn new(home: Home) -> Self {
        Self::with_segments(home, SEGMENT_BYTES).await
    }

    pub(super) async fn with_segments(home: Home, bytes: u64) -> Self {
        let store = sample::store(&home).await;
        sample::seed(&store).await;
        let opening = open(&store, bytes).await;
        Self { home, store, opening }
    }

    /// Ends the process and starts it again: what is not on the way to the database is in the journal.
    pub(super) async fn restart(self) -> Self {
        let Self { home, store, opening } = self;
        drop(opening);
        let opening = open(&store, SEGMENT_BYTES).await;
        Self { home, store, opening }
    }

    pub(super) fn journal(&self) -> &Arc<Journal> {
        &self.opening.journal
    }

    pub(super) fn shipper(&self) -> Shipper {
        Shipper::new(&self.store, self.journal().clone())
    }

    pub(super) async fn settle(&self, settled: Settled) {
        self.journal().settled(Box::new(settled)).await.unwrap();
    }

    pub(super) async fn ship(&self) {
        self.shipper().pass().await.unwrap();
    }

    pub(super) async fn int(&self, sql: &'static str) -> i64 {
        let mut tx = self.store.db().read().await.unwrap();
        tx.row(sql, vec![]).await.unwrap().unwrap().int("n").unwrap()
    }

    pub(super) async fn run(&self, sql: &'static str) {
        let mut tx = self.store.db().begin().await.unwrap();
        tx.run(sql, vec![]).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub(super) async fn row(&self, number: u128) -> Option<UsageRow> {
        let mut tx = self.store.db().read().await.unwrap();
        usage::find_any_owner(&mut tx, sample::request(number)).await.unwrap()
    }

    /// Files of the journal.
    pub(super) fn segments(&self) -> usize {
        let files = std::fs::read_dir(self.store.data_dir().journal()).unwrap();
        files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|name| name == "log")).count()
    }

    pub(super) async fn catalog(&self) -> Catalog {
        Catalog::build(crate::load(&self.store).await.unwrap()).unwrap()
    }
}

pub(super) async fn open(store: &Store, segment_bytes: u64) -> Opening {
    let (dir, node) = (store.data_dir().journal(), store.node());
    let after_epoch = last_epoch(store.db(), node).await.unwrap();
    Journal::open(JournalOptions { segment_bytes, after_epoch, ..JournalOptions::new(dir, node, SyncMode::Never) })
        .unwrap()
}

/// Every counter that settlements move, summed over its table.
const COUNTERS: [(&str, &str); 19] = [
    ("rows", "SELECT COUNT(*) AS n FROM usage"),
    ("candidates", "SELECT COUNT(*) AS n FROM request_candidates"),
    ("traces", "SELECT COUNT(*) AS n FROM request_traces"),
    ("user total", "SELECT CAST(SUM(total_usd) AS BIGINT) AS n FROM users"),
    ("user used", "SELECT CAST(SUM(used_usd) AS BIGINT) AS n FROM users"),
    ("key requests", "SELECT CAST(SUM(total_requests) AS BIGINT) AS n FROM api_keys"),
    ("key cost", "SELECT CAST(SUM(total_cost_usd) AS BIGINT) AS n FROM api_keys"),
    ("provider", "SELECT CAST(SUM(monthly_used_usd) AS BIGINT) AS n FROM providers"),
    ("attempts", "SELECT CAST(SUM(request_count) AS BIGINT) AS n FROM provider_api_keys"),
    ("successes", "SELECT CAST(SUM(success_count) AS BIGINT) AS n FROM provider_api_keys"),
    ("errors", "SELECT CAST(SUM(error_count) AS BIGINT) AS n FROM provider_api_keys"),
    ("attempt time", "SELECT CAST(SUM(total_response_time_ms) AS BIGINT) AS n FROM provider_api_keys"),
    ("window attempts", "SELECT CAST(COALESCE(SUM(total_requests), 0) AS BIGINT) AS n FROM provider_usage_tracking"),
    ("window successes", "SELECT CAST(COALESCE(SUM(success_requests), 0) AS BIGINT) AS n FROM provider_usage_tracking"),
    ("window errors", "SELECT CAST(COALESCE(SUM(error_requests), 0) AS BIGINT) AS n FROM provider_usage_tracking"),
    ("window time", "SELECT CAST(COALESCE(SUM(response_time_sum_ms), 0) AS BIGINT) AS n FROM provider_usage_tracking"),
    ("window cost", "SELECT CAST(COALESCE(SUM(actual_cost), 0) AS BIGINT) AS n FROM provider_usage_tracking"),
    ("day and month", "SELECT CAST(COALESCE(SUM(attempts), 0) AS BIGINT) AS n FROM limit_windows"),
    ("model", "SELECT CAST(SUM(usage_count) AS BIGINT) AS n FROM global_models"),
];

pub(super) async fn counters(world: &World) -> Vec<(&'static str, i64)> {
    let mut counters = Vec::new();
    for (name, sql) in COUNTERS {
        counters.push((name, world.int(sql).await));
    }
    counters
}

/// What they are after so many of the sample's settlements, with `more` of list cost.
pub(super) fn expected(requests: i64, more: i64) -> Vec<(&'static str, i64)> {
    let cost = requests * sample::cost().total.0 + more;
    // Each request has one attempt that failed over and one that answered.
    let values = [
        requests,
        2 * requests,
        requests,
        cost,
        cost,
        requests,
        cost,
        cost / 2 + 7 * requests,
        2 * requests,
        requests,
        requests,
        80 * requests,
        2 * requests,
        requests,
        requests,
        80 * requests,
        cost / 2 + 7 * requests,
        2 * 2 * requests,
        requests,
    ];
    COUNTERS.iter().map(|(name, _)| *name).zip(values).collect()
}
