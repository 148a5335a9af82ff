//! The sums that a batch of settlements moves.

use crate::db::{DbError, Tx};
use domain::{
    format::RequestType,
    ids::{ClientKeyId, GlobalModelId, ProviderId, ProviderKeyId, QuotaId, UserId},
    money::NanoUsd,
    records::{Account, AttemptOutcome, Settled},
};
use sqlx::AssertSqlSafe;
use std::collections::{BTreeMap, HashMap};

/// What is spent from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pot {
    Quota(UserId, QuotaId),
    User(UserId),
    Key(ClientKeyId),
}

/// A cost whose settlement does not name an account: its account has no limit.
#[derive(Debug, Clone, Copy)]
struct Unnamed {
    user: Option<UserId>,
    key: ClientKeyId,
    created_at: i64,
    cost: i64,
}

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

/// Sums by what they belong to. They are written in the order of ids, so that two transactions cannot block each other.
#[derive(Debug, Default)]
pub(super) struct Tally {
    users: BTreeMap<UserId, i64>,
    pots: BTreeMap<Pot, i64>,
    unnamed: Vec<Unnamed>,
    keys: BTreeMap<ClientKeyId, KeySums>,
    providers: BTreeMap<ProviderId, i64>,
    provider_keys: BTreeMap<ProviderKeyId, ProviderKeySums>,
    models: BTreeMap<GlobalModelId, i64>,
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
        let pot = settled.account.map(|account| match account {
            Account::Quota(user, quota) => Pot::Quota(user, quota),
            Account::User(user) => Pot::User(user),
            Account::Key(key) => Pot::Key(key),
        });
        if let Some(pot) = pot {
            plus(self.pots.entry(pot).or_default(), cost);
        } else {
            let (user, key, created_at) = (usage.user_id, usage.api_key_id, usage.created_at);
            self.unnamed.push(Unnamed { user, key, created_at, cost });
        }
        let key = self.keys.entry(usage.api_key_id).or_default();
        key.requests += sign;
        plus(&mut key.cost, cost);
        plus(self.models.entry(usage.global_model_id).or_default(), sign);
        if let Some(provider) = usage.provider_id {
            plus(self.providers.entry(provider).or_default(), sign * usage.actual.total.0);
        }
        for row in &settled.candidates {
            // Only an attempt that another one followed has a cost of its own.
            plus(self.providers.entry(row.provider_id).or_default(), sign * row.actual_cost_usd.0);
            let sums = self.provider_keys.entry(row.key_id).or_default();
            sums.requests += sign;
            sums.response_ms += sign * i64::from(row.latency_ms);
            match row.outcome {
                AttemptOutcome::Success => sums.successes += sign,
                AttemptOutcome::Failed => sums.errors += sign,
                AttemptOutcome::Cancelled => {}
            }
        }
    }

    /// Moves every counter. Hands back what each account has spent by it.
    pub(super) async fn write(mut self, tx: &mut Tx) -> Result<Vec<(Account, NanoUsd)>, DbError> {
        self.name_pots(tx).await?;
        let account = |pot: &Pot| match *pot {
            Pot::Quota(user, quota) => Account::Quota(user, quota),
            Pot::User(user) => Account::User(user),
            Pot::Key(key) => Account::Key(key),
        };
        let spent = self.pots.iter().map(|(pot, cost)| (account(pot), NanoUsd(*cost))).collect();
        const USER: &str = "UPDATE users SET total_usd = total_usd + $2 WHERE id = $1";
        for (user, cost) in self.users.into_iter().filter(|(_, cost)| *cost != 0) {
            tx.run(USER, vec![user.uuid().into(), cost.into()]).await?;
        }
        for (pot, cost) in self.pots.into_iter().filter(|(_, cost)| *cost != 0) {
            spend(tx, pot, cost).await?;
        }
        const KEY: &str = "UPDATE api_keys SET total_requests = total_requests + $2, \
                           total_cost_usd = total_cost_usd + $3, \
                           last_used_at = CASE WHEN last_used_at > $4 THEN last_used_at ELSE $4 END WHERE id = $1";
        for (key, sums) in self.keys {
            let values = vec![key.uuid().into(), sums.requests.into(), sums.cost.into(), sums.last_used_at.into()];
            tx.run(KEY, values).await?;
        }
        const PROVIDER: &str = "UPDATE providers SET monthly_used_usd = monthly_used_usd + $2 WHERE id = $1";
        for (provider, cost) in self.providers.into_iter().filter(|(_, cost)| *cost != 0) {
            tx.run(PROVIDER, vec![provider.uuid().into(), cost.into()]).await?;
        }
        for (key, sums) in self.provider_keys {
            sums.write(tx, key).await?;
        }
        const MODEL: &str = "UPDATE global_models SET usage_count = usage_count + $2 WHERE id = $1";
        for (model, requests) in self.models.into_iter().filter(|(_, requests)| *requests != 0) {
            tx.run(MODEL, vec![model.uuid().into(), requests.into()]).await?;
        }
        Ok(spent)
    }

    /// Finds what is spent from where a settlement does not say: a standalone key's balance, or the user's period that
    /// was open when the request arrived, or the user.
    async fn name_pots(&mut self, tx: &mut Tx) -> Result<(), DbError> {
        let unnamed = std::mem::take(&mut self.unnamed);
        if unnamed.is_empty() {
            return Ok(());
        }
        let mut keys: Vec<_> = unnamed.iter().map(|one| one.key).collect();
        let mut users: Vec<_> = unnamed.iter().filter_map(|one| one.user).collect();
        keys.sort_unstable();
        keys.dedup();
        users.sort_unstable();
        users.dedup();
        let standalone = standalone_any_owner(tx, &keys).await?;
        let periods = periods_any_owner(tx, &users).await?;
        for one in unnamed {
            let pot = match one.user {
                _ if standalone.contains(&one.key) => Pot::Key(one.key),
                Some(user) => {
                    let open = periods.get(&user).into_iter().flatten().find(|period| period.holds(one.created_at));
                    open.map_or(Pot::User(user), |period| Pot::Quota(user, period.id))
                }
                None => continue,
            };
            plus(self.pots.entry(pot).or_default(), one.cost);
        }
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

/// Moves what is spent, and its mirror in the user's row while the period is the one in force.
async fn spend(tx: &mut Tx, pot: Pot, cost: i64) -> Result<(), DbError> {
    const QUOTA: &str = "UPDATE user_quotas SET used_usd = used_usd + $2 WHERE id = $1";
    const MIRROR: &str = "UPDATE users SET used_usd = used_usd + $2 WHERE id = $1 \
                          AND EXISTS (SELECT 1 FROM user_quotas WHERE id = $3 AND is_active)";
    const USER: &str = "UPDATE users SET used_usd = used_usd + $2 WHERE id = $1 \
                        AND NOT EXISTS (SELECT 1 FROM user_quotas WHERE user_id = $1 AND is_active)";
    const BALANCE: &str = "UPDATE api_keys SET balance_used_usd = balance_used_usd + $2, \
                           current_balance_usd = current_balance_usd - $2 WHERE id = $1";
    match pot {
        Pot::Quota(user, quota) => {
            tx.run(QUOTA, vec![quota.uuid().into(), cost.into()]).await?;
            tx.run(MIRROR, vec![user.uuid().into(), cost.into(), quota.uuid().into()]).await?;
        }
        Pot::User(user) => {
            tx.run(USER, vec![user.uuid().into(), cost.into()]).await?;
        }
        Pot::Key(key) => {
            tx.run(BALANCE, vec![key.uuid().into(), cost.into()]).await?;
        }
    }
    Ok(())
}

/// Which of these keys spend a balance of their own, in order.
async fn standalone_any_owner(tx: &mut Tx, keys: &[ClientKeyId]) -> Result<Vec<ClientKeyId>, DbError> {
    let list = tx.placeholders(1, keys.len());
    let sql = format!("SELECT id FROM api_keys WHERE id IN ({list}) AND is_standalone");
    let values = keys.iter().map(|key| key.uuid().into()).collect();
    tx.rows_once(AssertSqlSafe(sql), values).await?.iter().map(|row| row.id("id")).collect()
}

/// When a period was the one in force: from when its row was made until it was closed, which is its last change.
struct Period {
    id: QuotaId,
    opened_at: i64,
    closed_at: Option<i64>,
}

impl Period {
    fn holds(&self, at: i64) -> bool {
        self.opened_at <= at && self.closed_at.is_none_or(|closed| at < closed)
    }
}

async fn periods_any_owner(tx: &mut Tx, users: &[UserId]) -> Result<HashMap<UserId, Vec<Period>>, DbError> {
    let mut periods: HashMap<_, Vec<_>> = HashMap::new();
    if users.is_empty() {
        return Ok(periods);
    }
    let list = tx.placeholders(1, users.len());
    let sql =
        format!("SELECT id, user_id, created_at, updated_at, is_active FROM user_quotas WHERE user_id IN ({list})");
    let values = users.iter().map(|user| user.uuid().into()).collect();
    for row in tx.rows_once(AssertSqlSafe(sql), values).await? {
        let closed_at = if row.flag("is_active")? { None } else { Some(row.int("updated_at")?) };
        let period = Period { id: row.id("id")?, opened_at: row.int("created_at")?, closed_at };
        periods.entry(row.id("user_id")?).or_default().push(period);
    }
    Ok(periods)
}
