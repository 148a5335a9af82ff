//! Providers.

use super::Entity;
use crate::db::{DbError, Row, Tx, Value};
use domain::{
    catalog::{Provider, ProviderQuota},
    format::BillingType,
    ids::ProviderId,
    money::NanoUsd,
};
use std::collections::HashMap;
use uuid::Uuid;

/// A provider's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderRow {
    /// The row's id, from [`crate::mint`].
    pub id: ProviderId,
    /// Unique; [`update`] leaves it as it is.
    pub name: String,
    /// What people read.
    pub display_name: String,
    /// Shown to admins.
    pub description: Option<String>,
    /// Shown to admins.
    pub website: Option<String>,
    /// How it is paid.
    pub billing_type: BillingType,
    /// What may be spent in a period.
    pub monthly_quota_usd: Option<NanoUsd>,
    /// Length of a period in days.
    pub quota_reset_day: u32,
    /// From when periods are counted, Unix microseconds.
    pub quota_last_reset_at: Option<i64>,
    /// Attempts in a fixed minute.
    pub rpm_limit: Option<u32>,
    /// Lower first.
    pub provider_priority: i32,
    /// Off = skipped.
    pub is_active: bool,
    /// Past = skipped, Unix microseconds.
    pub quota_expires_at: Option<i64>,
    /// Attempts per sliding minute.
    pub rate_limit: Option<u32>,
    /// Attempts in flight.
    pub concurrent_limit: Option<u32>,
}

/// A day of a provider's period has 24 hours, whatever clocks do.
const DAY_US: i64 = 86_400_000_000;

impl ProviderRow {
    /// As the catalog holds it; `used` is what it has cost in its running period.
    pub fn provider(&self, used: NanoUsd) -> Provider {
        let quota = self.monthly_quota_usd.filter(|_| self.billing_type == BillingType::MonthlyQuota);
        let length_us = i64::from(self.quota_reset_day).saturating_mul(DAY_US);
        let ends_at = self.quota_last_reset_at.map_or(i64::MAX, |last| last.saturating_add(length_us));
        Provider {
            id: self.id,
            name: self.name.clone(),
            billing_type: self.billing_type,
            priority: self.provider_priority,
            is_active: self.is_active,
            quota: quota.map(|limit| ProviderQuota { limit, spent: used, ends_at }),
            quota_expires_at: self.quota_expires_at,
            rpm_limit: self.rpm_limit,
            rate_limit: self.rate_limit,
            concurrent_limit: self.concurrent_limit,
        }
    }
}

impl Entity for ProviderRow {
    const TABLE: &'static str = "providers";
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "display_name",
        "description",
        "website",
        "billing_type",
        "monthly_quota_usd",
        "quota_reset_day",
        "quota_last_reset_at",
        "rpm_limit",
        "provider_priority",
        "is_active",
        "quota_expires_at",
        "rate_limit",
        "concurrent_limit",
    ];

    fn id(&self) -> Uuid {
        self.id.uuid()
    }

    fn values(&self) -> Result<Vec<Value>, DbError> {
        Ok(vec![
            (&self.name).into(),
            (&self.display_name).into(),
            Value::Text(self.description.clone()),
            Value::Text(self.website.clone()),
            self.billing_type.as_str().into(),
            self.monthly_quota_usd.into(),
            self.quota_reset_day.into(),
            self.quota_last_reset_at.into(),
            self.rpm_limit.into(),
            self.provider_priority.into(),
            self.is_active.into(),
            self.quota_expires_at.into(),
            self.rate_limit.into(),
            self.concurrent_limit.into(),
        ])
    }

    fn read(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row.id("id")?,
            name: row.text("name")?,
            display_name: row.text("display_name")?,
            description: row.opt_text("description")?,
            website: row.opt_text("website")?,
            billing_type: row.named("billing_type")?,
            monthly_quota_usd: row.opt_usd("monthly_quota_usd")?,
            quota_reset_day: row.number("quota_reset_day")?,
            quota_last_reset_at: row.opt_int("quota_last_reset_at")?,
            rpm_limit: row.opt_number("rpm_limit")?,
            provider_priority: row.number("provider_priority")?,
            is_active: row.flag("is_active")?,
            quota_expires_at: row.opt_int("quota_expires_at")?,
            rate_limit: row.opt_number("rate_limit")?,
            concurrent_limit: row.opt_number("concurrent_limit")?,
        })
    }
}

/// All providers.
pub async fn all(tx: &mut Tx) -> Result<Vec<ProviderRow>, DbError> {
    super::select(tx, "", vec![]).await
}

/// What providers have cost in their running periods; those that have cost nothing are left out.
pub(crate) async fn used(tx: &mut Tx) -> Result<HashMap<ProviderId, NanoUsd>, DbError> {
    const USED: &str = "SELECT id, monthly_used_usd FROM providers WHERE monthly_used_usd <> 0";
    tx.rows(USED, vec![]).await?.iter().map(|row| Ok((row.id("id")?, row.usd("monthly_used_usd")?))).collect()
}

/// Adds a provider.
pub async fn insert(tx: &mut Tx, provider: &ProviderRow) -> Result<(), DbError> {
    super::insert(tx, provider).await
}

/// Writes a provider's configuration but its name; false if there is no such provider.
pub async fn update(tx: &mut Tx, provider: &ProviderRow) -> Result<bool, DbError> {
    super::update(tx, provider, &["name"]).await
}

/// Deletes a provider with its endpoints, keys, models and mappings.
pub async fn delete(tx: &mut Tx, id: ProviderId) -> Result<bool, DbError> {
    const BURY: [&str; 4] = [
        "SELECT id, 'provider' AS kind, name FROM providers WHERE id = $1",
        "SELECT id, 'endpoint' AS kind, api_format AS name FROM provider_endpoints WHERE provider_id = $1",
        "SELECT k.id, 'provider_key' AS kind, k.name FROM provider_api_keys k \
         JOIN provider_endpoints e ON e.id = k.endpoint_id WHERE e.provider_id = $1",
        "SELECT id, 'model' AS kind, provider_model_name AS name FROM models WHERE provider_id = $1",
    ];
    super::delete(tx, ProviderRow::TABLE, id.uuid(), &BURY).await
}
