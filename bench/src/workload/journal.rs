//! What a request's records cost: writing them to the journal, and shipping them to the embedded database.

use anyhow::Result;
use domain::{
    format::{ApiFormat, RequestType, Status, UsageSource},
    ids::{ClientKeyId, EndpointId, GlobalModelId, PriceVersionId, ProviderId, ProviderKeyId, UserId},
    money::{Factor, NanoUsd, PerMillion},
    ports::Recorder,
    price::{TokenCounts, UnitPrices, list_cost},
    records::{AttemptOutcome, CandidateRow, Opened, RequestMetadata, Settled, Trace, TraceEntry, UsageRow},
};
use rustix::time::{ClockId, clock_gettime};
use std::{net::Ipv4Addr, path::Path, sync::Arc, time::Duration};
use store::{Store, StoreConfig, SyncMode, SystemClock, journal::Journal, lease::Lease, mint, settle::Shipper};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Run;
use crate::{
    figures::{median, scaled, to_f64},
    progress,
    report::{Table, Verdict, figure},
};

/// Requests of a round.
const REQUESTS: usize = 20_000;
const ROUNDS: usize = 5;
/// The bars.
const WRITE_MAX_US: f64 = 20.0;
const SHIPPED_MIN: f64 = 5_000.0;

pub(super) async fn measure(run: &Run) -> Result<Table> {
    let requests = scaled(REQUESTS, run.scale, 100);
    let (mut written, mut shipped, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let folder = tempfile::Builder::new().prefix("tollgate-bench-").tempdir()?;
        let found = once(folder.path(), requests).await?;
        progress(&format!("records, round {}: {found:?}", round + 1));
        written.push(found.write_us);
        shipped.push(found.ship_us);
        rates.push(found.per_second);
    }
    let (write, ship, rate) = (median(written), median(shipped), median(rates));
    let fast = format!("bar: ≥ {SHIPPED_MIN} settlements shipped per second");
    Ok(Table {
        title: "Records",
        what: format!(
            "The records of a request, one attempt and four candidates that were not reached: its admission and settlement \
             written to the journal, then shipped to the embedded database, one after the other. {ROUNDS} rounds of {requests}."
        ),
        head: vec!["", "CPU µs per request", "per second"],
        rows: vec![
            vec!["journal, on the request's thread".to_owned(), figure(write), String::new()],
            vec!["shipping".to_owned(), figure(ship), figure(rate)],
        ],
        verdicts: vec![
            Verdict::at_most(
                format!("bar: journal ≤ {WRITE_MAX_US} µs of a request"),
                Some(write),
                WRITE_MAX_US,
                " µs",
            ),
            Verdict { bar: fast, measured: figure(rate), met: Some(rate >= SHIPPED_MIN) },
        ],
    })
}

#[derive(Debug)]
struct Once {
    write_us: f64,
    ship_us: f64,
    per_second: f64,
}

async fn once(folder: &Path, requests: usize) -> Result<Once> {
    let config =
        StoreConfig { data_dir: folder.join("data"), database_url: None, master_key: None, sync: SyncMode::Interval };
    let store = Store::open(config).await?;
    let _lease = Lease::acquire(store.db(), store.node()).await?;
    let journal = store.open_journal().await?.journal;
    let world = World::default();
    let records: Vec<_> = (0..requests).map(|_| world.request()).collect::<Result<_>>()?;

    let before = clock_gettime(ClockId::ThreadCPUTime);
    write(&journal, records).await?;
    let write = since(before, ClockId::ThreadCPUTime);

    let (before, began) = (clock_gettime(ClockId::ProcessCPUTime), Instant::now());
    let shipper = Shipper::new(&store, journal.clone());
    let (shipping, cancel) = (shipper.shipping(), CancellationToken::new());
    let tasks = TaskTracker::new();
    tasks.spawn(shipper.run(cancel.clone()));
    shipping.caught_up().await;
    let (ship, took) = (since(before, ClockId::ProcessCPUTime), began.elapsed());
    cancel.cancel();
    tasks.close();
    tasks.wait().await;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / to_f64(requests);
    Ok(Once { write_us: each(write), ship_us: each(ship), per_second: to_f64(requests) / took.as_secs_f64() })
}

async fn write(journal: &Arc<Journal>, records: Vec<(Opened, Box<Settled>)>) -> Result<()> {
    for (opened, settled) in records {
        journal.opened(opened).await?;
        journal.settled(settled).await?;
    }
    Ok(())
}

fn since(before: rustix::time::Timespec, clock: ClockId) -> Duration {
    let of = |time: rustix::time::Timespec| {
        Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
    };
    of(clock_gettime(clock)).saturating_sub(of(before))
}

/// Whom the requests belong to.
struct World {
    user: UserId,
    client_key: ClientKeyId,
    model: GlobalModelId,
    version: PriceVersionId,
    provider: ProviderId,
    endpoint: EndpointId,
    keys: [ProviderKeyId; 4],
}

impl Default for World {
    fn default() -> Self {
        Self {
            user: mint(),
            client_key: mint(),
            model: mint(),
            version: mint(),
            provider: mint(),
            endpoint: mint(),
            keys: std::array::from_fn(|_| mint()),
        }
    }
}

impl World {
    fn request(&self) -> Result<(Opened, Box<Settled>)> {
        let now = SystemClock::now_us();
        let opened = Opened {
            request_id: mint(),
            created_at: now,
            account: None,
            hold: NanoUsd::ZERO,
            user_id: Some(self.user),
            api_key_id: self.client_key,
            model: "gpt-4o-mini".to_owned(),
            global_model_id: self.model,
            api_format: ApiFormat::OpenAi,
            request_type: RequestType::Chat,
            is_stream: false,
            price_version_id: Some(self.version),
        };
        let price = |nanos| PerMillion::new(nanos).unwrap_or_default();
        let prices = UnitPrices {
            input: price(3_000_000_000),
            output: price(15_000_000_000),
            cache_read: price(300_000_000),
            cache_write_5m: price(3_750_000_000),
            cache_write_1h: price(6_000_000_000),
            per_request: NanoUsd::ZERO,
            tier_index: 0,
        };
        let tokens = TokenCounts { input: 1_234, cache_read: 5_678, output: 321, ..TokenCounts::default() };
        let cost = list_cost(&tokens, &prices, true)?;
        let usage = UsageRow {
            request_id: opened.request_id,
            client_request_id: None,
            user_id: opened.user_id,
            api_key_id: opened.api_key_id,
            provider: "Example".to_owned(),
            model: opened.model.clone(),
            global_model_id: opened.global_model_id,
            target_model: Some("gpt-4o-mini-2024-07-18".to_owned()),
            provider_id: Some(self.provider),
            provider_endpoint_id: Some(self.endpoint),
            provider_api_key_id: Some(self.keys[0]),
            tokens,
            prices,
            price_version_id: opened.price_version_id,
            delivered: true,
            cost,
            actual: cost,
            rate_multiplier: Factor::ONE,
            usage_source: UsageSource::Upstream,
            request_type: opened.request_type,
            api_format: opened.api_format,
            endpoint_api_format: Some(opened.api_format),
            is_stream: false,
            is_converted: false,
            status_code: 200,
            upstream_status_code: Some(200),
            error_type: None,
            error_message: None,
            response_time_ms: 1_234,
            first_byte_time_ms: Some(321),
            status: Status::Completed,
            client_ip: Some(Ipv4Addr::LOCALHOST.into()),
            user_agent: Some("OpenAI/Python 2.8.1".to_owned()),
            metadata: RequestMetadata { edits: vec!["model".to_owned()], ..RequestMetadata::default() },
            created_at: now,
            finished_at: now,
        };
        let answered = CandidateRow {
            candidate_index: 0,
            retry_index: 0,
            provider_id: self.provider,
            endpoint_id: self.endpoint,
            key_id: self.keys[0],
            outcome: AttemptOutcome::Success,
            skip_reason: None,
            is_cached: false,
            status_code: Some(200),
            error_type: None,
            error_message: None,
            latency_ms: 1_230,
            queue_ms: 0,
            connect_ms: None,
            first_byte_ms: Some(320),
            stream_ms: Some(910),
            concurrent_requests: 7,
            actual_cost_usd: NanoUsd::ZERO,
            upstream_model: "gpt-4o-mini-2024-07-18".to_owned(),
            started_at: now,
            finished_at: now,
        };
        let entries = self.keys.map(|key_id| TraceEntry { key_id, code: "available".to_owned(), number: 0 }).into();
        let trace = Trace { entries, more: 0 };
        Ok((opened, Box::new(Settled { usage, candidates: vec![answered], trace, account: None, issued: Vec::new() })))
    }
}
