//! The sums that a batch of settlements moves.

use super::{
    alerts::{Alert, Level, Subject},
    recover::INTERRUPTED,
};
use crate::{
    db::{DbError, Row, Tx},
    repo::live,
};
use domain::{
    format::RequestType,
    ids::{ClientKeyId, GlobalModelId, ProviderId, ProviderKeyId, UserId},
    ledger::Shipped,
    money::NanoUsd,
    records::{Account, AttemptOutcome, CandidateRow, Settled},
};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, Default)]
struct KeySums {
    requests: i64,
    cost: i64,
    last_used_at: i64,
}

#[derive(Debug, Clone, Default)]
struct ProviderKeySums {
    requests: i64,
    successes: i64,
    errors: i64,
    response_ms: i64,
    last_used_at: i64,
    last_error: Option<(i64, Option<String>)>,
}

/// Attempts of a provider within one of its windows.
#[derive(Debug, Clone, Copy, Default)]
struct WindowSums {
    requests: i64,
    successes: i64,
    errors: i64,
    response_ms: i64,
    cost: i64,
}

/// Width of a provider's window, in microseconds.
const WINDOW_US: i64 = 300_000_000;

/// Sums by what they belong to. They are written in the order of ids, so that two transactions cannot block each other.
#[derive(Debug, Default)]
pub(super) struct Tally {
    users: BTreeMap<UserId, i64>,
    accounts: BTreeMap<Account, i64>,
    keys: BTreeMap<ClientKeyId, KeySums>,
    providers: BTreeMap<ProviderId, i64>,
    windows: BTreeMap<(ProviderId, i64), WindowSums>,
    provider_keys: BTreeMap<ProviderKeyId, ProviderKeySums>,
    models: BTreeMap<GlobalModelId, i64>,
    /// Attempts that got a response: the provider key, when each began, and how often it counts.
    attempts: Vec<(ProviderKeyId, i64, i64)>,
}

fn plus(sum: &mut i64, amount: i64) {
    *sum = sum.saturating_add(amount);
}

impl Tally {
    /// Counts a settlement.
    pub(super) fn add(&mut self, settled: &Settled) {
        self.count(settled, 1);
        let usage = &settled.usage;
        let key = self.keys.entry(usage.api_key_id).or_default();
        key.last_used_at = key.last_used_at.max(usage.created_at);
        for row in &settled.candidates {
            let sums = self.provider_keys.entry(row.key_id).or_default();
            sums.last_used_at = sums.last_used_at.max(row.started_at);
            let newest = sums.last_error.as_ref().is_none_or(|(at, _)| *at <= row.finished_at);
            if row.outcome == AttemptOutcome::Failed && newest {
                let message = row.error_message.clone().or_else(|| row.skip_reason.clone());
                sums.last_error = Some((row.finished_at, message));
            }
        }
    }

    /// Takes a settlement back that was counted before.
    pub(super) fn take_out(&mut self, settled: &Settled) {
        self.count(settled, -1);
    }

    fn count(&mut self, settled: &Settled, sign: i64) {
        let usage = &settled.usage;
        // Counting tokens leaves a row and counts nowhere.
        if usage.request_type == RequestType::CountTokens {
            return;
        }
        let cost = sign * usage.cost.total.0;
        if let Some(user) = usage.user_id {
            plus(self.users.entry(user).or_default(), cost);
        }
        if let Some(account) = settled.account {
            plus(self.accounts.entry(account).or_default(), cost);
        }
        let key = self.keys.entry(usage.api_key_id).or_default();
        key.requests += sign;
        plus(&mut key.cost, cost);
        plus(self.models.entry(usage.global_model_id).or_default(), sign);
        if let Some(provider) = usage.provider_id {
            plus(self.providers.entry(provider).or_default(), sign * usage.actual.total.0);
            let began = settled.candidates.last().map_or(usage.created_at, |row| row.started_at);
            let window = self.windows.entry((provider, began - began.rem_euclid(WINDOW_US))).or_default();
            plus(&mut window.cost, sign * usage.actual.total.0);
        }
        let answered = |row: &CandidateRow| row.outcome == AttemptOutcome::Success;
        if let Some(key) = usage.provider_api_key_id
            && usage.delivered
            && usage.error_type.as_deref() == Some(INTERRUPTED)
            && !settled.candidates.last().is_some_and(answered)
        {
            // Its process ended before the attempt did, and its answer had begun.
            self.attempts.push((key, usage.created_at, sign));
        }
        for row in &settled.candidates {
            if row.status_code.is_some() {
                self.attempts.push((row.key_id, row.started_at, sign));
            }
            // Only an attempt that another one followed has a cost of its own.
            plus(self.providers.entry(row.provider_id).or_default(), sign * row.actual_cost_usd.0);
            let sums = self.provider_keys.entry(row.key_id).or_default();
            let began = row.started_at;
            let window = self.windows.entry((row.provider_id, began - began.rem_euclid(WINDOW_US))).or_default();
            plus(&mut window.cost, sign * row.actual_cost_usd.0);
            sums.requests += sign;
            window.requests += sign;
            sums.response_ms += sign * i64::from(row.latency_ms);
            window.response_ms += sign * i64::from(row.latency_ms);
            match row.outcome {
                AttemptOutcome::Success => {
                    (sums.successes, window.successes) = (sums.successes + sign, window.successes + sign)
                }
                AttemptOutcome::Failed => (sums.errors, window.errors) = (sums.errors + sign, window.errors + sign),
                AttemptOutcome::Cancelled => {}
            }
        }
    }

    /// Moves every counter. Hands back what was spent by it, and what that reached.
    ///
    /// Users come first, which locks their rows: no period opens or closes before this transaction has ended.
    pub(super) async fn write(self, tx: &mut Tx) -> Result<(Shipped, Vec<Alert>), DbError> {
        let spent = Shipped {
            accounts: self.accounts.iter().map(|(account, cost)| (*account, NanoUsd(*cost))).collect(),
            providers: self.providers.iter().map(|(provider, cost)| (*provider, NanoUsd(*cost))).collect(),
        };
        let mut alerts = Vec::new();
        const USER: &str = "UPDATE users SET total_usd = total_usd + $2 WHERE id = $1";
        for (user, cost) in self.users.into_iter().filter(|(_, cost)| *cost != 0) {
            tx.run(USER, vec![user.uuid().into(), cost.into()]).await?;
        }
        for (account, cost) in self.accounts.into_iter().filter(|(_, cost)| *cost != 0) {
            if let Some(level) = spend(tx, account, cost).await? {
                alerts.extend(level.raise(tx).await?);
            }
        }
        const KEY: &str = "UPDATE api_keys SET total_requests = total_requests + $2, \
                           total_cost_usd = total_cost_usd + $3, \
                           last_used_at = CASE WHEN last_used_at > $4 THEN last_used_at ELSE $4 END WHERE id = $1";
        for (key, sums) in self.keys {
            let values = vec![key.uuid().into(), sums.requests.into(), sums.cost.into(), sums.last_used_at.into()];
            tx.run(KEY, values).await?;
        }
        const PROVIDER: &str = "UPDATE providers SET monthly_used_usd = monthly_used_usd + $2 WHERE id = $1 \
                                RETURNING monthly_used_usd, CASE WHEN billing_type = 'monthly_quota' \
                                THEN monthly_quota_usd END AS quota_usd, quota_last_reset_at";
        for (provider, cost) in self.providers.into_iter().filter(|(_, cost)| *cost != 0) {
            let row = tx.row(PROVIDER, vec![provider.uuid().into(), cost.into()]).await?;
            let Some(row) = row else { continue };
            if let Some(limit) = row.opt_int("quota_usd")? {
                let began = row.opt_int("quota_last_reset_at")?.unwrap_or_default();
                let (subject, used) = (Subject::Provider(provider.uuid()), row.int("monthly_used_usd")?);
                let level = Level { subject, period: began.to_string(), cost, used, limit };
                alerts.extend(level.raise(tx).await?);
            }
        }
        for ((provider, start_us), sums) in self.windows {
            sums.write(tx, provider, start_us).await?;
        }
        for (key, sums) in self.provider_keys {
            sums.write(tx, key).await?;
        }
        live::count_attempts(tx, &self.attempts).await?;
        const MODEL: &str = "UPDATE global_models SET usage_count = usage_count + $2 WHERE id = $1";
        for (model, requests) in self.models.into_iter().filter(|(_, requests)| *requests != 0) {
            tx.run(MODEL, vec![model.uuid().into(), requests.into()]).await?;
        }
        Ok((spent, alerts))
    }
}

impl WindowSums {
    async fn write(self, tx: &mut Tx, provider: ProviderId, start_us: i64) -> Result<(), DbError> {
        const ADD: &str = "INSERT INTO provider_usage_tracking (provider_id, window_start, total_requests, \
                           success_requests, error_requests, response_time_sum_ms, actual_cost) \
                           VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (provider_id, window_start) DO UPDATE SET \
                           total_requests = provider_usage_tracking.total_requests + excluded.total_requests, \
                           success_requests = provider_usage_tracking.success_requests + excluded.success_requests, \
                           error_requests = provider_usage_tracking.error_requests + excluded.error_requests, \
                           response_time_sum_ms = \
                           provider_usage_tracking.response_time_sum_ms + excluded.response_time_sum_ms, \
                           actual_cost = provider_usage_tracking.actual_cost + excluded.actual_cost";
        let values = vec![
            provider.uuid().into(),
            start_us.into(),
            self.requests.into(),
            self.successes.into(),
            self.errors.into(),
            self.response_ms.into(),
            self.cost.into(),
        ];
        tx.run(ADD, values).await?;
        Ok(())
    }
}

impl ProviderKeySums {
    async fn write(self, tx: &mut Tx, key: ProviderKeyId) -> Result<(), DbError> {
        const COUNTS: &str = "UPDATE provider_api_keys SET request_count = request_count + $2, \
                              success_count = success_count + $3, error_count = error_count + $4, \
                              total_response_time_ms = total_response_time_ms + $5, \
                              last_used_at = CASE WHEN last_used_at > $6 THEN last_used_at ELSE $6 END WHERE id = $1";
        const ERROR: &str = "UPDATE provider_api_keys SET last_error_at = $2, last_error_msg = $3 \
                             WHERE id = $1 AND (last_error_at IS NULL OR last_error_at <= $2)";
        let values = vec![
            key.uuid().into(),
            self.requests.into(),
            self.successes.into(),
            self.errors.into(),
            self.response_ms.into(),
            self.last_used_at.into(),
        ];
        tx.run(COUNTS, values).await?;
        if let Some((at, message)) = self.last_error {
            let message = crate::db::Value::opt_outside(message.as_ref());
            tx.run(ERROR, vec![key.uuid().into(), at.into(), message]).await?;
        }
        Ok(())
    }
}

/// Moves what is spent from an account: a period's mirror in the user's row while it is the one in force; what is spent
/// outside periods past an open one. Hands back how far a user's limit is used up.
async fn spend(tx: &mut Tx, account: Account, cost: i64) -> Result<Option<Level>, DbError> {
    const QUOTA: &str = "UPDATE user_quotas SET used_usd = used_usd + $2 WHERE id = $1 RETURNING used_usd, quota_usd";
    const MIRROR: &str = "UPDATE users SET used_usd = used_usd + $2 WHERE id = $1 \
                          AND EXISTS (SELECT 1 FROM user_quotas WHERE id = $3 AND is_active)";
    const USER: &str = "UPDATE users SET used_usd = used_usd + $2 WHERE id = $1 \
                        AND NOT EXISTS (SELECT 1 FROM user_quotas WHERE user_id = $1 AND is_active) \
                        RETURNING used_usd, quota_usd, forgiven_usd";
    const LATE: &str = "UPDATE users SET forgiven_usd = forgiven_usd + $2 WHERE id = $1 \
                        AND EXISTS (SELECT 1 FROM user_quotas WHERE user_id = $1 AND is_active)";
    const BALANCE: &str = "UPDATE api_keys SET balance_used_usd = balance_used_usd + $2, \
                           current_balance_usd = current_balance_usd - $2 WHERE id = $1";
    match account {
        Account::Quota(user, quota) => {
            let row = tx.row(QUOTA, vec![quota.uuid().into(), cost.into()]).await?;
            tx.run(MIRROR, vec![user.uuid().into(), cost.into(), quota.uuid().into()]).await?;
            level(row, user, cost, |_| Ok(quota.to_string()))
        }
        Account::User(user) => {
            let row = tx.row(USER, vec![user.uuid().into(), cost.into()]).await?;
            tx.run(LATE, vec![user.uuid().into(), cost.into()]).await?;
            // Each reset forgives something, and what comes after it is another period.
            level(row, user, cost, |row| Ok(format!("after {}", row.int("forgiven_usd")?)))
        }
        Account::Key(key) => {
            tx.run(BALANCE, vec![key.uuid().into(), cost.into()]).await?;
            Ok(None)
        }
    }
}

fn level(
    row: Option<Row>,
    user: UserId,
    cost: i64,
    period: impl FnOnce(&Row) -> Result<String, DbError>,
) -> Result<Option<Level>, DbError> {
    let Some(row) = row else { return Ok(None) };
    let Some(limit) = row.opt_int("quota_usd")? else { return Ok(None) };
    let (subject, used) = (Subject::User(user.uuid()), row.int("used_usd")?);
    Ok(Some(Level { subject, period: period(&row)?, cost, used, limit }))
}
