//! Quota periods: the active row is the limit in force, the others are history.
//!
//! `users.used_usd` mirrors the active period. Without one it counts what is spent outside periods since the last reset;
//! `users.forgiven_usd` keeps what was taken out of that count, so that both together follow from the usage rows. Whoever
//! changes a period locks the user's row first, as shipping does: what is spent meanwhile lands on one side of the change.

use crate::{
    db::{DbError, Row, Tx},
    feed, mint,
};
use domain::{
    catalog::Budget,
    ids::{QuotaId, UserId},
    money::NanoUsd,
    records::Account,
};
use std::{fmt, str::FromStr};

/// How periods follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaType {
    /// The business zone's days.
    Daily,
    /// Its months.
    Monthly,
    /// One period with dates of its own.
    Custom,
}

impl QuotaType {
    /// The stored text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Monthly => "monthly",
            Self::Custom => "custom",
        }
    }
}

impl fmt::Display for QuotaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for QuotaType {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "daily" => Ok(Self::Daily),
            "monthly" => Ok(Self::Monthly),
            "custom" => Ok(Self::Custom),
            _ => Err("expected one of daily, monthly, custom"),
        }
    }
}

/// A user's period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaRow {
    /// The row's id.
    pub id: QuotaId,
    /// Whose it is.
    pub user_id: UserId,
    /// What follows it.
    pub quota_type: QuotaType,
    /// The limit.
    pub quota_usd: NanoUsd,
    /// From when, Unix microseconds, included.
    pub period_start: i64,
    /// Until when, excluded.
    pub period_end: i64,
}

fn read(row: &Row) -> Result<QuotaRow, DbError> {
    Ok(QuotaRow {
        id: row.id("id")?,
        user_id: row.id("user_id")?,
        quota_type: row.named("quota_type")?,
        quota_usd: row.usd("quota_usd")?,
        period_start: row.int("period_start")?,
        period_end: row.int("period_end")?,
    })
}

/// A period in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Its row.
    pub quota: QuotaRow,
    /// What has been spent in it.
    pub used_usd: NanoUsd,
}

impl Open {
    /// As the catalog holds it. Days and months follow each other by themselves; past a custom period nothing may be spent.
    pub(crate) fn budget(&self) -> Budget {
        let Self { quota, used_usd } = self;
        Budget {
            account: Account::Quota(quota.user_id, quota.id),
            limit: Some(quota.quota_usd),
            spent: *used_usd,
            ends_at: (quota.quota_type == QuotaType::Custom).then_some(quota.period_end),
        }
    }
}

/// The active periods of all users.
pub async fn active_any_owner(tx: &mut Tx) -> Result<Vec<Open>, DbError> {
    const ACTIVE: &str = "SELECT id, user_id, quota_type, quota_usd, period_start, period_end, used_usd \
                          FROM user_quotas WHERE is_active ORDER BY id";
    let rows = tx.rows(ACTIVE, vec![]).await?;
    rows.iter().map(|row| Ok(Open { quota: read(row)?, used_usd: row.usd("used_usd")? })).collect()
}

/// Active days and months that were over at `now_us`, of users who are still there; the oldest first, `limit` at most.
pub(crate) async fn over_any_owner(tx: &mut Tx, now_us: i64, limit: i64) -> Result<Vec<QuotaRow>, DbError> {
    const OVER: &str = "SELECT q.id, q.user_id, q.quota_type, q.quota_usd, q.period_start, q.period_end \
                        FROM user_quotas q JOIN users u ON u.id = q.user_id \
                        WHERE q.is_active AND q.quota_type <> 'custom' AND q.period_end <= $1 AND NOT u.is_deleted \
                        ORDER BY q.period_end, q.id LIMIT $2";
    tx.rows(OVER, vec![now_us.into(), limit.into()]).await?.iter().map(read).collect()
}

/// Closes the user's active period, if there is one, and opens this one with nothing used; the user's row mirrors it.
pub async fn open(tx: &mut Tx, quota: &QuotaRow) -> Result<(), DbError> {
    const OPEN: &str = "INSERT INTO user_quotas (id, created_at, updated_at, user_id, quota_type, quota_usd, \
                        period_start, period_end, used_usd, is_active) VALUES ($1, $2, $2, $3, $4, $5, $6, $7, 0, TRUE)";
    const FORGIVE: &str = "UPDATE users SET forgiven_usd = forgiven_usd + used_usd WHERE id = $1";
    const MIRROR: &str = "UPDATE users SET quota_usd = $2, used_usd = 0 WHERE id = $1";
    let user = quota.user_id;
    touch(tx, user).await?;
    if deactivate(tx, user).await? == 0 {
        tx.run(FORGIVE, vec![user.uuid().into()]).await?;
    }
    let values = vec![
        quota.id.uuid().into(),
        tx.now_us().into(),
        user.uuid().into(),
        quota.quota_type.as_str().into(),
        quota.quota_usd.into(),
        quota.period_start.into(),
        quota.period_end.into(),
    ];
    tx.run(OPEN, values).await?;
    tx.run(MIRROR, vec![user.uuid().into(), quota.quota_usd.into()]).await?;
    feed::append(tx, "user_quotas", quota.id.uuid()).await
}

/// Changes the limit of the user's active period without touching what is used; false if there is none.
pub async fn set_limit(tx: &mut Tx, user: UserId, limit: NanoUsd) -> Result<bool, DbError> {
    const LIMIT: &str = "UPDATE user_quotas SET quota_usd = $2, updated_at = $3 WHERE user_id = $1 AND is_active";
    const MIRROR: &str = "UPDATE users SET quota_usd = $2 WHERE id = $1";
    touch(tx, user).await?;
    if tx.run(LIMIT, vec![user.uuid().into(), limit.into(), tx.now_us().into()]).await? == 0 {
        return Ok(false);
    }
    tx.run(MIRROR, vec![user.uuid().into(), limit.into()]).await?;
    feed::append(tx, "user_quotas", user.uuid()).await?;
    Ok(true)
}

/// Closes the user's active period and opens none: what is spent from here on counts from nothing. False if there was
/// none.
pub async fn close(tx: &mut Tx, user: UserId) -> Result<bool, DbError> {
    const EMPTY: &str = "UPDATE users SET used_usd = 0 WHERE id = $1";
    touch(tx, user).await?;
    if deactivate(tx, user).await? == 0 {
        return Ok(false);
    }
    tx.run(EMPTY, vec![user.uuid().into()]).await?;
    feed::append(tx, "user_quotas", user.uuid()).await?;
    Ok(true)
}

/// Lets the user spend anew, by hand: a period is followed by another with the same end, and without one what was spent
/// is forgiven. What was spent before it, or `None` if there is no such user.
pub async fn reset(tx: &mut Tx, user: UserId) -> Result<Option<NanoUsd>, DbError> {
    const USED: &str = "SELECT used_usd FROM users WHERE id = $1 AND NOT is_deleted";
    const ACTIVE: &str = "SELECT id, user_id, quota_type, quota_usd, period_start, period_end FROM user_quotas \
                          WHERE user_id = $1 AND is_active";
    const FORGET: &str = "UPDATE users SET forgiven_usd = forgiven_usd + used_usd, used_usd = 0 WHERE id = $1";
    touch(tx, user).await?;
    let Some(row) = tx.row(USED, vec![user.uuid().into()]).await? else { return Ok(None) };
    let used = row.usd("used_usd")?;
    if let Some(row) = tx.row(ACTIVE, vec![user.uuid().into()]).await? {
        let before = read(&row)?;
        open(tx, &QuotaRow { id: mint(), period_start: tx.now_us(), ..before }).await?;
    } else {
        tx.run(FORGET, vec![user.uuid().into()]).await?;
        feed::append(tx, "users", user.uuid()).await?;
    }
    Ok(Some(used))
}

/// Locks the user's row for the rest of the transaction.
async fn touch(tx: &mut Tx, user: UserId) -> Result<(), DbError> {
    const TOUCH: &str = "UPDATE users SET updated_at = $2 WHERE id = $1";
    tx.run(TOUCH, vec![user.uuid().into(), tx.now_us().into()]).await?;
    Ok(())
}

async fn deactivate(tx: &mut Tx, user: UserId) -> Result<u64, DbError> {
    const CLOSE: &str = "UPDATE user_quotas SET is_active = FALSE, updated_at = $2 WHERE user_id = $1 AND is_active";
    tx.run(CLOSE, vec![user.uuid().into(), tx.now_us().into()]).await
}
