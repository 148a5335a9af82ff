//! Provider keys: upstream credentials and how they may be used.

use super::Entity;
use crate::db::{DbError, Row, Tx, Value};
use domain::{
    catalog::{Capabilities, ProviderKey},
    ids::{EndpointId, ProviderKeyId},
    money::Factor,
    secret::Sealed,
};
use uuid::Uuid;

/// A provider key's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderKeyRow {
    /// The row's id, from [`crate::mint`]; the credential is sealed for it.
    pub id: ProviderKeyId,
    /// Where it is used.
    pub endpoint_id: EndpointId,
    /// The credential, sealed as [`crate::vault::Column::ProviderKey`].
    pub api_key: Sealed,
    /// Shown to people.
    pub name: String,
    /// Shown to admins.
    pub note: Option<String>,
    /// Actual cost = list cost × this.
    pub rate_multiplier: Factor,
    /// Within the endpoint, lower first.
    pub internal_priority: i32,
    /// Across providers.
    pub global_priority: Option<i32>,
    /// Attempts in flight; `None` is adaptive.
    pub max_concurrent: Option<u32>,
    /// Attempts per sliding minute.
    pub rate_limit: Option<u32>,
    /// Attempts with a response per business day.
    pub daily_limit: Option<u32>,
    /// And per month.
    pub monthly_limit: Option<u32>,
    /// `None` is all.
    pub allowed_models: Option<Vec<String>>,
    /// What it has beyond others.
    pub capabilities: Capabilities,
    /// Affinity lifetime; 0 = none.
    pub cache_ttl_minutes: u32,
    /// Cap of the breaker's back-off.
    pub max_probe_interval_minutes: u32,
    /// Off = skipped.
    pub is_active: bool,
    /// Past = skipped, Unix microseconds.
    pub expires_at: Option<i64>,
}

impl ProviderKeyRow {
    /// As the catalog holds it.
    pub fn provider_key(&self) -> ProviderKey {
        ProviderKey {
            id: self.id,
            endpoint_id: self.endpoint_id,
            name: self.name.clone(),
            api_key: self.api_key.clone(),
            rate_multiplier: self.rate_multiplier,
            internal_priority: self.internal_priority,
            global_priority: self.global_priority,
            max_concurrent: self.max_concurrent,
            rate_limit: self.rate_limit,
            daily_limit: self.daily_limit,
            monthly_limit: self.monthly_limit,
            allowed_models: self.allowed_models.clone(),
            capabilities: self.capabilities.clone(),
            cache_ttl_minutes: self.cache_ttl_minutes,
            max_probe_interval_minutes: self.max_probe_interval_minutes,
            is_active: self.is_active,
            expires_at: self.expires_at,
        }
    }
}

impl Entity for ProviderKeyRow {
    const TABLE: &'static str = "provider_api_keys";
    const COLUMNS: &'static [&'static str] = &[
        "endpoint_id",
        "api_key",
        "name",
        "note",
        "rate_multiplier",
        "internal_priority",
        "global_priority",
        "max_concurrent",
        "rate_limit",
        "daily_limit",
        "monthly_limit",
        "allowed_models",
        "capabilities",
        "cache_ttl_minutes",
        "max_probe_interval_minutes",
        "is_active",
        "expires_at",
    ];

    fn id(&self) -> Uuid {
        self.id.uuid()
    }

    fn values(&self) -> Result<Vec<Value>, DbError> {
        Ok(vec![
            self.endpoint_id.uuid().into(),
            (&self.api_key).into(),
            (&self.name).into(),
            Value::Text(self.note.clone()),
            self.rate_multiplier.into(),
            self.internal_priority.into(),
            self.global_priority.into(),
            self.max_concurrent.into(),
            self.rate_limit.into(),
            self.daily_limit.into(),
            self.monthly_limit.into(),
            Value::opt_json(self.allowed_models.as_ref())?,
            Value::json(&self.capabilities)?,
            self.cache_ttl_minutes.into(),
            self.max_probe_interval_minutes.into(),
            self.is_active.into(),
            self.expires_at.into(),
        ])
    }

    fn read(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row.id("id")?,
            endpoint_id: row.id("endpoint_id")?,
            api_key: Sealed(row.bytes("api_key")?),
            name: row.text("name")?,
            note: row.opt_text("note")?,
            rate_multiplier: row.factor("rate_multiplier")?,
            internal_priority: row.number("internal_priority")?,
            global_priority: row.opt_number("global_priority")?,
            max_concurrent: row.opt_number("max_concurrent")?,
            rate_limit: row.opt_number("rate_limit")?,
            daily_limit: row.opt_number("daily_limit")?,
            monthly_limit: row.opt_number("monthly_limit")?,
            allowed_models: row.opt_json("allowed_models")?,
            capabilities: row.json("capabilities")?,
            cache_ttl_minutes: row.number("cache_ttl_minutes")?,
            max_probe_interval_minutes: row.number("max_probe_interval_minutes")?,
            is_active: row.flag("is_active")?,
            expires_at: row.opt_int("expires_at")?,
        })
    }
}

/// All provider keys, sealed.
pub async fn all(tx: &mut Tx) -> Result<Vec<ProviderKeyRow>, DbError> {
    super::select(tx, "", vec![]).await
}

/// Adds a provider key.
pub async fn insert(tx: &mut Tx, key: &ProviderKeyRow) -> Result<(), DbError> {
    super::insert(tx, key).await
}

/// Writes a provider key; false if there is none with this id.
pub async fn update(tx: &mut Tx, key: &ProviderKeyRow) -> Result<bool, DbError> {
    super::update(tx, key, &[]).await
}

/// Deletes a provider key.
pub async fn delete(tx: &mut Tx, id: ProviderKeyId) -> Result<bool, DbError> {
    const BURY: &str = "SELECT id, 'provider_key' AS kind, name FROM provider_api_keys WHERE id = $1";
    super::delete(tx, ProviderKeyRow::TABLE, id.uuid(), &[BURY]).await
}
