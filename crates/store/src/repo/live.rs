//! Snapshots of live state: what is known of provider keys, and how far their windows are used. Written every few seconds by
//! the process that serves, read when it starts; no request waits for them, and no catalog changes with them.

use crate::{
    db::{DbError, Row, Tx, Value},
    feed,
    repo::settings,
};
use domain::{
    ids::{ModelId, ProviderId, ProviderKeyId},
    limit::window::{Count, FixedMinute, Periods, Span},
    schedule::{
        adaptive::{Last429, Learning},
        breaker::{Breaker, Outcome, State, Window},
        health::KeyState,
    },
};
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, HashMap};

const DAY: &str = "day";
const MONTH: &str = "month";

/// Writes what is known of a key at this instant; nothing if the key is gone.
pub async fn write_key(tx: &mut Tx, id: ProviderKeyId, state: &KeyState) -> Result<(), DbError> {
    const WRITE: &str = "UPDATE provider_api_keys SET learned_max_concurrent = $2, concurrent_429_count = $3, \
        rpm_429_count = $4, last_429_at = $5, last_429_type = $6, last_concurrent_peak = $7, adjustment_history = $8, \
        utilization_samples = $9, last_probe_increase_at = $10, health_score = $11, consecutive_failures = $12, \
        last_failure_at = $13, request_results_window = $14, circuit_breaker_open = $15, circuit_breaker_open_at = $16, \
        circuit_breaker_trips = $17, next_probe_at = $18, half_open_until = $19, half_open_successes = $20, \
        half_open_failures = $21 WHERE id = $1";
    let KeyState { breaker, learning, stats, .. } = state;
    let last = learning.last;
    let some = |us: i64| Some(us).filter(|us| *us > 0);
    let (open_at, next_probe, half_open, good, bad) = match breaker.state {
        State::Closed { .. } => (None, None, None, 0, 0),
        State::Open { since_us, until_us } => (Some(since_us), Some(until_us), None, 0, 0),
        State::HalfOpen { since_us, good, bad, probe_until_us } => {
            (Some(since_us), None, Some(probe_until_us), good, bad)
        }
    };
    let results: Vec<Outcome> = breaker.window.recent(tx.now_us()).copied().collect();
    let values = vec![
        id.uuid().into(),
        learning.limit.into(),
        Value::count(learning.concurrent_429),
        Value::count(learning.rpm_429),
        last.map(|last| last.at_us).into(),
        Value::Text(last.map(|last| last.kind.to_string())),
        last.map(|last| last.in_flight).into(),
        Value::json(&learning.history)?,
        Value::json(&learning.samples)?,
        some(learning.last_probe_us).into(),
        (i64::from(breaker.window.health_millis(tx.now_us())) * 1_000).into(),
        stats.consecutive_failures.into(),
        some(stats.last_failure_us).into(),
        Value::json(&results)?,
        open_at.is_some().into(),
        open_at.into(),
        breaker.trips.into(),
        next_probe.into(),
        half_open.into(),
        u32::from(good).into(),
        u32::from(bad).into(),
    ];
    tx.run(WRITE, values).await?;
    Ok(())
}

/// Closes a key's circuit and forgets what it was opened for; false if the key is gone.
pub async fn reset_circuit(tx: &mut Tx, id: ProviderKeyId) -> Result<bool, DbError> {
    const RESET: &str = "UPDATE provider_api_keys SET circuit_breaker_open = FALSE, circuit_breaker_open_at = NULL, \
        circuit_breaker_trips = 0, next_probe_at = NULL, half_open_until = NULL, half_open_successes = 0, \
        half_open_failures = 0, request_results_window = '[]', health_score = 1000000 WHERE id = $1";
    Ok(tx.run(RESET, vec![id.uuid().into()]).await? > 0)
}

/// What was known of every key. A probe that was out is out no more.
pub async fn keys(tx: &mut Tx) -> Result<Vec<(ProviderKeyId, KeyState)>, DbError> {
    const READ: &str = "SELECT id, request_count, success_count, learned_max_concurrent, concurrent_429_count, \
        rpm_429_count, last_429_at, last_429_type, last_concurrent_peak, adjustment_history, utilization_samples, \
        last_probe_increase_at, consecutive_failures, last_failure_at, request_results_window, circuit_breaker_open, \
        circuit_breaker_open_at, circuit_breaker_trips, next_probe_at, half_open_until, half_open_successes, \
        half_open_failures FROM provider_api_keys ORDER BY id";
    tx.rows(READ, vec![]).await?.iter().map(read_key).collect()
}

fn read_key(row: &Row) -> Result<(ProviderKeyId, KeyState), DbError> {
    let mut state = KeyState::default();
    let last =
        row.opt_int("last_429_at")?.zip(row.opt_named("last_429_type")?).zip(row.opt_number("last_concurrent_peak")?);
    state.learning = Learning {
        limit: row.opt_number("learned_max_concurrent")?,
        concurrent_429: row.number("concurrent_429_count")?,
        rpm_429: row.number("rpm_429_count")?,
        last: last.map(|((at_us, kind), in_flight)| Last429 { at_us, kind, in_flight }),
        history: row.opt_json("adjustment_history")?.unwrap_or_default(),
        samples: row.opt_json("utilization_samples")?.unwrap_or_default(),
        last_probe_us: row.opt_int("last_probe_increase_at")?.unwrap_or_default(),
    };
    let mut window = Window::default();
    for outcome in row.opt_json::<Vec<Outcome>>("request_results_window")?.unwrap_or_default() {
        window.push(outcome);
    }
    let open_at = row.opt_int("circuit_breaker_open_at")?.filter(|_| row.flag("circuit_breaker_open").unwrap_or(false));
    let (next_probe, half_open) = (row.opt_int("next_probe_at")?, row.opt_int("half_open_until")?);
    let circuit = match (open_at, next_probe, half_open) {
        (Some(since_us), _, Some(_)) => State::HalfOpen {
            since_us,
            good: row.number("half_open_successes")?,
            bad: row.number("half_open_failures")?,
            probe_until_us: 0,
        },
        (Some(since_us), Some(until_us), None) => State::Open { since_us, until_us },
        _ => State::Closed { since_us: 0 },
    };
    state.breaker = Breaker { state: circuit, trips: row.number("circuit_breaker_trips")?, window };
    state.opened_us = state.breaker.opened_us().unwrap_or_default();
    state.stats.requests = row.number("request_count")?;
    state.stats.successes = row.number("success_count")?;
    state.stats.consecutive_failures = row.number("consecutive_failures")?;
    state.stats.last_failure_us = row.opt_int("last_failure_at")?.unwrap_or_default();
    Ok((row.id("id")?, state))
}

/// Adds attempts that got a response to the days and months in which they began: key, when, and how many (below 0 where a
/// settlement is replaced). Shipping does it, so that each attempt of the journal counts once, whatever ended the process.
pub(crate) async fn count_attempts(tx: &mut Tx, attempts: &[(ProviderKeyId, i64, i64)]) -> Result<(), DbError> {
    const ADD: &str = "INSERT INTO limit_windows (provider_key_id, period, period_start, period_end, attempts) \
        SELECT id, $2, $3, $4, $5 FROM provider_api_keys WHERE id = $1 \
        ON CONFLICT (provider_key_id, period, period_start) DO UPDATE SET attempts = limit_windows.attempts + excluded.attempts";
    if attempts.is_empty() {
        return Ok(());
    }
    let zone = TimeZone::get(&settings::load(tx).await?.timezone).unwrap_or(TimeZone::UTC);
    let mut spans = (Span::default(), Span::default());
    let mut counts: BTreeMap<(ProviderKeyId, &str, i64, i64), i64> = BTreeMap::new();
    for (key, began, count) in attempts {
        if !(spans.0.start_us..spans.0.end_us).contains(began) {
            spans = Span::day_and_month(&zone, *began);
        }
        for (period, span) in [(DAY, spans.0), (MONTH, spans.1)] {
            *counts.entry((*key, period, span.start_us, span.end_us)).or_default() += count;
        }
    }
    for ((key, period, start_us, end_us), count) in counts.into_iter().filter(|(_, count)| *count != 0) {
        let values = vec![key.uuid().into(), Value::outside(period), start_us.into(), end_us.into(), count.into()];
        tx.run(ADD, values).await?;
    }
    Ok(())
}

/// The days and months of all keys as they are counted; a period that is over is told as it was.
pub async fn periods(tx: &mut Tx) -> Result<HashMap<ProviderKeyId, Periods>, DbError> {
    const READ: &str = "SELECT provider_key_id, period, period_start, period_end, attempts FROM limit_windows \
        ORDER BY period_start";
    let mut all: HashMap<ProviderKeyId, Periods> = HashMap::new();
    for row in tx.rows(READ, vec![]).await? {
        let periods = all.entry(row.id("provider_key_id")?).or_default();
        let span = Span { start_us: row.int("period_start")?, end_us: row.int("period_end")? };
        let count = Count { span, used: row.number("attempts")? };
        match row.text("period")?.as_str() {
            DAY => periods.day = count,
            MONTH => periods.month = count,
            _ => {}
        }
    }
    Ok(all)
}

/// Writes a provider's fixed minute.
pub async fn write_minute(tx: &mut Tx, id: ProviderId, minute: FixedMinute) -> Result<(), DbError> {
    const WRITE: &str = "UPDATE providers SET rpm_used = $2, rpm_reset_at = $3 WHERE id = $1";
    tx.run(WRITE, vec![id.uuid().into(), minute.used.into(), minute.reset_us.into()]).await?;
    Ok(())
}

/// The fixed minutes of all providers that have had one.
pub async fn minutes(tx: &mut Tx) -> Result<Vec<(ProviderId, FixedMinute)>, DbError> {
    const READ: &str = "SELECT id, rpm_used, rpm_reset_at FROM providers WHERE rpm_reset_at IS NOT NULL ORDER BY id";
    let minute = |row: &Row| -> Result<_, DbError> {
        Ok((row.id("id")?, FixedMinute { used: row.number("rpm_used")?, reset_us: row.int("rpm_reset_at")? }))
    };
    tx.rows(READ, vec![]).await?.iter().map(minute).collect()
}

/// A provider model was not known upstream: it is skipped until a check or a person sets it again.
pub async fn model_unavailable(tx: &mut Tx, id: ModelId) -> Result<(), DbError> {
    const SET: &str = "UPDATE models SET is_available = FALSE, updated_at = $2 WHERE id = $1 AND is_available";
    if tx.run(SET, vec![id.uuid().into(), tx.now_us().into()]).await? > 0 {
        feed::append(tx, "models", id.uuid()).await?;
    }
    Ok(())
}
