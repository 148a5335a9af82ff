//! What comes due as time goes by: the next quota period of a user, the next period of a provider, the end of a client key.
//!
//! Each step finds what is due in the database and does it in a transaction, so that it may be done again, late, or by
//! another process. After an outage only the present period is opened: nothing was spent in those that were missed.

use crate::{
    Store, SystemClock,
    db::{DbError, Lock, Tx, within},
    feed, mint, period,
    repo::{
        api_keys, audit, bindings,
        quotas::{self, QuotaRow, QuotaType},
        settings,
    },
};
use domain::{
    catalog::Settings,
    ids::{ClientKeyId, NodeId, ProviderId},
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked: a period opens so late at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long one look may take.
const LOOK_WITHIN: Duration = Duration::from_secs(30);
/// What is done in one transaction; requests are never held up, but shipping is.
const AT_ONCE: i64 = 200;
/// Bindings that are forgotten in one transaction: shipping waits no longer than for that.
const BINDINGS_AT_ONCE: u64 = 1_000;
/// How long an expired key, or a window that is over, stays before it is deleted.
const KEPT_US: i64 = 24 * HOUR_US;
const HOUR_US: i64 = 3_600_000_000;

/// What was done at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Users whose next period was opened.
    pub periods: u64,
    /// Providers whose next period began.
    pub providers: u64,
    /// Client keys that were switched off.
    pub disabled: u64,
    /// Client keys that were deleted.
    pub deleted: u64,
    /// Counts of days and months that are over, of provider keys.
    pub windows: u64,
}

impl Done {
    /// Whether there was nothing to do.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Looks after all of it until it is told to stop.
pub async fn run(store: Store, cancel: CancellationToken) {
    let mut failing = false;
    let mut bindings = Bindings::default();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            done = within(LOOK_WITHIN, look(&store, &mut bindings, SystemClock::now_us())) => match done {
                Ok(done) => {
                    failing = false;
                    if !done.is_nothing() {
                        let Done { periods, providers, disabled, deleted, windows } = done;
                        tracing::info!(periods, providers, disabled, deleted, windows, "periods and keys that were due");
                    }
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(error = %error, "what comes due cannot be done now; it is tried again");
                    }
                    failing = true;
                }
            }
        }
    }
}

async fn look(store: &Store, bindings: &mut Bindings, now_us: i64) -> Result<Done, DbError> {
    let done = due(store, now_us).await?;
    bindings.forget(store, now_us).await?;
    Ok(done)
}

/// Forgets bindings that have expired. Under steady traffic there are some at every instant, and one that is over and still
/// there is harmless: so that is done once an hour, and whole.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    next_us: i64,
}

impl Bindings {
    /// How many were forgotten; none before the hour is over.
    pub(crate) async fn forget(&mut self, store: &Store, now_us: i64) -> Result<u64, DbError> {
        if now_us < self.next_us {
            return Ok(0);
        }
        let mut forgotten = 0;
        loop {
            let mut tx = store.db().begin().await?;
            tx.serialize(Lock::Upkeep).await?;
            let batch = bindings::forget(&mut tx, now_us, BINDINGS_AT_ONCE).await?;
            tx.commit().await?;
            forgotten += batch;
            if batch < BINDINGS_AT_ONCE {
                // What failed, or took too long, goes on at the next look.
                self.next_us = now_us.saturating_add(HOUR_US);
                return Ok(forgotten);
            }
        }
    }
}

/// Does what is due at `now_us`, in Unix microseconds.
pub async fn due(store: &Store, now_us: i64) -> Result<Done, DbError> {
    let mut done = Done::default();
    if !any(store, now_us).await? {
        return Ok(done);
    }
    loop {
        let mut tx = store.db().begin().await?;
        tx.serialize(Lock::Upkeep).await?;
        let settings = settings::load(&mut tx).await?;
        let (periods, more) = open_periods(&mut tx, &settings, now_us).await?;
        let providers = begin_provider_periods(&mut tx, now_us).await?;
        let (disabled, deleted) = end_keys(&mut tx, store.node(), &settings, now_us).await?;
        let windows = forget_windows(&mut tx, now_us).await?;
        tx.commit().await?;
        done.windows += windows;
        done.periods += periods;
        done.providers += providers;
        done.disabled += disabled;
        done.deleted += deleted;
        if !more {
            return Ok(done);
        }
    }
}

/// Whether anything may be due: a look that finds nothing writes nothing.
async fn any(store: &Store, now_us: i64) -> Result<bool, DbError> {
    const ANY: &str = "SELECT CAST(CASE WHEN EXISTS (SELECT 1 FROM user_quotas q JOIN users u ON u.id = q.user_id \
                           WHERE q.is_active AND q.quota_type <> 'custom' AND q.period_end <= $1 AND NOT u.is_deleted) \
                       OR EXISTS (SELECT 1 FROM providers WHERE billing_type = 'monthly_quota' \
                           AND quota_reset_day > 0 AND quota_last_reset_at + quota_reset_day * 86400000000 <= $1) \
                       OR EXISTS (SELECT 1 FROM api_keys WHERE expires_at <= $1 AND is_active \
                           AND NOT auto_delete_on_expiry AND NOT $3) \
                       OR EXISTS (SELECT 1 FROM api_keys WHERE expires_at <= $2 AND (auto_delete_on_expiry OR $3)) \
                       OR EXISTS (SELECT 1 FROM limit_windows WHERE period_end <= $2) \
                       THEN 1 ELSE 0 END AS BIGINT) AS due";
    let mut tx = store.db().read().await?;
    let all = settings::load(&mut tx).await?.auto_delete_expired_keys;
    let row = tx.row(ANY, vec![now_us.into(), (now_us - KEPT_US).into(), all.into()]).await?;
    row.map_or(Ok(false), |row| Ok(row.int("due")? == 1))
}

/// Opens the present period of users whose last one is over; whether there may be more of them.
async fn open_periods(tx: &mut Tx, settings: &Settings, now_us: i64) -> Result<(u64, bool), DbError> {
    let over = quotas::over_any_owner(tx, now_us, AT_ONCE).await?;
    let more = over.len() == usize::try_from(AT_ONCE).unwrap_or(usize::MAX);
    let mut opened = 0;
    for before in over {
        let present = match before.quota_type {
            QuotaType::Daily => period::day(now_us, &settings.timezone),
            QuotaType::Monthly => period::month(now_us, &settings.timezone),
            QuotaType::Custom => continue,
        };
        let present = match present {
            Ok(present) => present,
            Err(why) => {
                tracing::error!(error = why, "quota periods cannot follow each other");
                return Ok((opened, false));
            }
        };
        let next = QuotaRow { id: mint(), period_start: present.start, period_end: present.end, ..before };
        quotas::open(tx, &next).await?;
        opened += 1;
    }
    Ok((opened, more))
}

/// Begins the present period of providers with a monthly quota: exact multiples of their days from the last reset.
async fn begin_provider_periods(tx: &mut Tx, now_us: i64) -> Result<u64, DbError> {
    const OVER: &str = "SELECT id, quota_reset_day, quota_last_reset_at FROM providers \
                        WHERE billing_type = 'monthly_quota' AND quota_reset_day > 0 \
                        AND quota_last_reset_at + quota_reset_day * 86400000000 <= $1 ORDER BY id";
    const BEGIN: &str = "UPDATE providers SET past_usd = past_usd + monthly_used_usd, monthly_used_usd = 0, \
                         quota_last_reset_at = $2, updated_at = $3 WHERE id = $1";
    let mut begun = 0;
    for row in tx.rows(OVER, vec![now_us.into()]).await? {
        let id: ProviderId = row.id("id")?;
        let (days, last) = (row.int("quota_reset_day")?, row.int("quota_last_reset_at")?);
        let length = days.saturating_mul(24 * HOUR_US);
        let start = now_us - (now_us - last).rem_euclid(length);
        tx.run(BEGIN, vec![id.uuid().into(), start.into(), tx.now_us().into()]).await?;
        feed::append(tx, "providers", id.uuid()).await?;
        begun += 1;
    }
    Ok(begun)
}

/// Forgets days and months a day after their end: what the journal still brings of them counts nowhere.
async fn forget_windows(tx: &mut Tx, now_us: i64) -> Result<u64, DbError> {
    const FORGET: &str = "DELETE FROM limit_windows WHERE period_end <= $1";
    tx.run(FORGET, vec![(now_us - KEPT_US).into()]).await
}

/// Switches expired keys off, or deletes them a day later, whichever the key or the setting says.
async fn end_keys(tx: &mut Tx, node: NodeId, settings: &Settings, now_us: i64) -> Result<(u64, u64), DbError> {
    const EXPIRED: &str = "SELECT id FROM api_keys WHERE expires_at <= $1 AND is_active \
                           AND NOT auto_delete_on_expiry AND NOT $2 ORDER BY id LIMIT 200";
    const OLD: &str = "SELECT id FROM api_keys WHERE expires_at <= $1 AND (auto_delete_on_expiry OR $2) \
                       ORDER BY id LIMIT 200";
    let all = settings.auto_delete_expired_keys;
    let mut events = Vec::new();
    let mut disabled = 0;
    for row in tx.rows(EXPIRED, vec![now_us.into(), all.into()]).await? {
        let id: ClientKeyId = row.id("id")?;
        if api_keys::disable_any_owner(tx, id).await? {
            events.push(event(id, "api_key_updated", "a client key expired and was switched off"));
            disabled += 1;
        }
    }
    let mut deleted = 0;
    for row in tx.rows(OLD, vec![(now_us - KEPT_US).into(), all.into()]).await? {
        let id: ClientKeyId = row.id("id")?;
        if api_keys::delete_any_owner(tx, id).await? {
            events.push(event(id, "api_key_deleted", "a client key was deleted a day after it expired"));
            deleted += 1;
        }
    }
    if !events.is_empty() {
        audit::append(tx, node, &events).await?;
    }
    Ok((disabled, deleted))
}

fn event(key: ClientKeyId, event_type: &'static str, description: &str) -> audit::Event {
    audit::Event {
        id: mint(),
        event_type,
        description: description.to_owned(),
        user_id: None,
        api_key_id: Some(key),
        ip_address: None,
        user_agent: None,
        request_id: None,
        metadata: serde_json::json!({ "reason": "expired" }),
        status_code: None,
        error_message: None,
    }
}

#[cfg(test)]
mod tests;
