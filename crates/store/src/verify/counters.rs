//! The sums of the rows, beside the counters that settlements moved.

use super::{Findings, bills::Line};
use crate::db::{DbError, Row, Tx};
use domain::records::Account;
use std::collections::HashMap;
use uuid::Uuid;

/// The attempts of the requests after one, up to another.
pub(super) const ATTEMPTS: &str = "SELECT request_id, provider_id, key_id, status, latency_ms, actual_cost_usd, \
    started_at, finished_at FROM request_candidates WHERE request_id > $1 AND request_id <= $2 ORDER BY request_id";

#[derive(Default)]
struct UserSums {
    total: i64,
    /// Spent outside periods.
    outside: i64,
}

#[derive(Default)]
struct KeySums {
    requests: i64,
    cost: i64,
    /// Out of its own balance.
    own: i64,
    last_used_at: Option<i64>,
}

#[derive(Default)]
struct ProviderKeySums {
    requests: i64,
    successes: i64,
    errors: i64,
    response_ms: i64,
    last_used_at: Option<i64>,
    last_error_at: Option<i64>,
}

/// What the counters should be, by the rows that they belong to.
#[derive(Default)]
pub(super) struct Sums {
    users: HashMap<Uuid, UserSums>,
    quotas: HashMap<Uuid, i64>,
    keys: HashMap<Uuid, KeySums>,
    providers: HashMap<Uuid, i64>,
    provider_keys: HashMap<Uuid, ProviderKeySums>,
    models: HashMap<Uuid, i64>,
}

fn plus(sum: &mut i64, amount: i64) {
    *sum = sum.saturating_add(amount);
}

/// Counts rows.
impl Sums {
    /// Adds some requests and their attempts, both in the order of requests.
    pub(super) fn add(&mut self, lines: &[Line], attempts: &[Row], findings: &mut Findings) -> Result<(), DbError> {
        for line in lines {
            self.line(line);
        }
        let mut left = lines;
        for attempt in attempts {
            let request: Uuid = attempt.id("request_id")?;
            while left.first().is_some_and(|line| line.request < request) {
                left = &left[1..];
            }
            match left.first().filter(|line| line.request == request) {
                Some(line) => self.attempt(attempt, line.counts)?,
                None => findings.add("request_candidates", request, "request_id", "there", "that of a usage row"),
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &Line) {
        let key = self.keys.entry(line.key).or_default();
        key.last_used_at = key.last_used_at.max(Some(line.created_at));
        if !line.counts {
            return;
        }
        key.requests += 1;
        plus(&mut key.cost, line.cost);
        *self.models.entry(line.model).or_default() += 1;
        if let Some(provider) = line.provider {
            plus(self.providers.entry(provider).or_default(), line.actual);
        }
        if let Some(user) = line.user {
            plus(&mut self.users.entry(user).or_default().total, line.cost);
        }
        match line.account {
            Some(Account::Quota(_, quota)) => plus(self.quotas.entry(quota.uuid()).or_default(), line.cost),
            Some(Account::User(user)) => plus(&mut self.users.entry(user.uuid()).or_default().outside, line.cost),
            Some(Account::Key(key)) => plus(&mut self.keys.entry(key.uuid()).or_default().own, line.cost),
            None => {}
        }
    }

    fn attempt(&mut self, row: &Row, counts: bool) -> Result<(), DbError> {
        let sums = self.provider_keys.entry(row.id("key_id")?).or_default();
        let status = row.text("status")?;
        sums.last_used_at = sums.last_used_at.max(Some(row.int("started_at")?));
        if status == "failed" {
            sums.last_error_at = sums.last_error_at.max(Some(row.int("finished_at")?));
        }
        if !counts {
            return Ok(());
        }
        sums.requests += 1;
        plus(&mut sums.response_ms, row.int("latency_ms")?);
        match status.as_str() {
            "success" => sums.successes += 1,
            "failed" => sums.errors += 1,
            _ => {}
        }
        plus(self.providers.entry(row.id("provider_id")?).or_default(), row.int("actual_cost_usd")?);
        Ok(())
    }
}

/// Runs through a configuration table in pages.
macro_rules! each {
    ($tx:expr, $sql:expr, |$id:ident, $row:ident| $body:block) => {{
        let mut after = Uuid::nil();
        loop {
            let rows = $tx.rows($sql, vec![after.into()]).await?;
            let Some(last) = rows.last() else { break };
            after = last.id("id")?;
            for $row in &rows {
                let $id: Uuid = $row.id("id")?;
                $body
            }
        }
    }};
}

/// Compares.
impl Sums {
    /// Compares every counter. What was deleted has none any more; users and periods are never deleted.
    pub(super) async fn compare(mut self, tx: &mut Tx, findings: &mut Findings) -> Result<(), DbError> {
        let open = self.quotas(tx, findings).await?;
        self.users(tx, &open, findings).await?;
        self.keys(tx, findings).await?;
        self.upstream(tx, findings).await
    }

    /// What is used of each user's open period, as it should be.
    async fn quotas(&mut self, tx: &mut Tx, findings: &mut Findings) -> Result<HashMap<Uuid, i64>, DbError> {
        const PAGE: &str =
            "SELECT id, user_id, used_usd, is_active FROM user_quotas WHERE id > $1 ORDER BY id LIMIT 1000";
        const TABLE: &str = "user_quotas";
        let mut open = HashMap::new();
        each!(tx, PAGE, |id, row| {
            let used = self.quotas.remove(&id).unwrap_or_default();
            findings.compare(TABLE, id, row, "used_usd", used)?;
            if row.flag("is_active")? {
                open.insert(row.id("user_id")?, used);
            }
        });
        for (id, used) in self.quotas.drain() {
            findings.add(TABLE, id, "id", "of no period", format!("one that {used} was spent in"));
        }
        Ok(open)
    }

    async fn users(&mut self, tx: &mut Tx, open: &HashMap<Uuid, i64>, findings: &mut Findings) -> Result<(), DbError> {
        const PAGE: &str =
            "SELECT id, total_usd, used_usd, forgiven_usd FROM users WHERE id > $1 ORDER BY id LIMIT 1000";
        const TABLE: &str = "users";
        each!(tx, PAGE, |id, row| {
            let UserSums { total, outside } = self.users.remove(&id).unwrap_or_default();
            findings.compare(TABLE, id, row, "total_usd", total)?;
            if let Some(used) = open.get(&id) {
                findings.compare(TABLE, id, row, "used_usd", *used)?;
                findings.compare(TABLE, id, row, "forgiven_usd", outside)?;
            } else {
                let stored = row.int("used_usd")?.saturating_add(row.int("forgiven_usd")?);
                if stored != outside {
                    findings.add(TABLE, id, "used_usd + forgiven_usd", stored, outside);
                }
            }
        });
        for (id, sums) in self.users.drain() {
            findings.add(TABLE, id, "id", "of no user", format!("one who spent {}", sums.total));
        }
        Ok(())
    }

    async fn keys(&mut self, tx: &mut Tx, findings: &mut Findings) -> Result<(), DbError> {
        const PAGE: &str = "SELECT id, total_requests, total_cost_usd, balance_used_usd, current_balance_usd, \
                            last_used_at FROM api_keys WHERE id > $1 ORDER BY id LIMIT 1000";
        const GRANTED: &str = "SELECT api_key_id, CAST(SUM(amount_usd) AS BIGINT) AS granted FROM balance_entries \
                               WHERE kind IN ('top_up', 'deduction', 'correction') GROUP BY api_key_id";
        const TABLE: &str = "api_keys";
        let mut granted = HashMap::new();
        for row in tx.rows(GRANTED, vec![]).await? {
            granted.insert(row.id::<Uuid>("api_key_id")?, row.int("granted")?);
        }
        each!(tx, PAGE, |id, row| {
            let sums = self.keys.remove(&id).unwrap_or_default();
            findings.compare(TABLE, id, row, "total_requests", sums.requests)?;
            findings.compare(TABLE, id, row, "total_cost_usd", sums.cost)?;
            findings.compare(TABLE, id, row, "balance_used_usd", sums.own)?;
            findings.compare_opt(TABLE, id, row, "last_used_at", sums.last_used_at)?;
            if row.opt_int("current_balance_usd")?.is_some() {
                let left = granted.get(&id).copied().unwrap_or_default().saturating_sub(sums.own);
                findings.compare(TABLE, id, row, "current_balance_usd", left)?;
            }
        });
        Ok(())
    }

    async fn upstream(&mut self, tx: &mut Tx, findings: &mut Findings) -> Result<(), DbError> {
        const PROVIDERS: &str =
            "SELECT id, monthly_used_usd, past_usd FROM providers WHERE id > $1 ORDER BY id LIMIT 1000";
        const KEYS: &str = "SELECT id, request_count, success_count, error_count, total_response_time_ms, \
                            last_used_at, last_error_at FROM provider_api_keys WHERE id > $1 ORDER BY id LIMIT 1000";
        const MODELS: &str = "SELECT id, usage_count FROM global_models WHERE id > $1 ORDER BY id LIMIT 1000";
        each!(tx, PROVIDERS, |id, row| {
            let stored = row.int("monthly_used_usd")?.saturating_add(row.int("past_usd")?);
            let derived = self.providers.remove(&id).unwrap_or_default();
            if stored != derived {
                findings.add("providers", id, "monthly_used_usd + past_usd", stored, derived);
            }
        });
        each!(tx, KEYS, |id, row| {
            const TABLE: &str = "provider_api_keys";
            let sums = self.provider_keys.remove(&id).unwrap_or_default();
            findings.compare(TABLE, id, row, "request_count", sums.requests)?;
            findings.compare(TABLE, id, row, "success_count", sums.successes)?;
            findings.compare(TABLE, id, row, "error_count", sums.errors)?;
            findings.compare(TABLE, id, row, "total_response_time_ms", sums.response_ms)?;
            findings.compare_opt(TABLE, id, row, "last_used_at", sums.last_used_at)?;
            findings.compare_opt(TABLE, id, row, "last_error_at", sums.last_error_at)?;
        });
        each!(tx, MODELS, |id, row| {
            let derived = self.models.remove(&id).unwrap_or_default();
            findings.compare("global_models", id, row, "usage_count", derived)?;
        });
        Ok(())
    }
}
