//! Global models: the names that callers ask for.

use super::{
    Entity,
    prices::{self, Price, Source},
};
use crate::db::{DbError, Row, Tx, Value};
use domain::{
    catalog::{GlobalModel, GlobalModelConfig, TieredPricing},
    format::Capability,
    ids::{GlobalModelId, PriceVersionId},
    money::NanoUsd,
};
use std::collections::HashMap;
use uuid::Uuid;

/// A global model's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalModelRow {
    /// The row's id, from [`crate::mint`].
    pub id: GlobalModelId,
    /// What callers ask for; unique.
    pub name: String,
    /// What people read.
    pub display_name: String,
    /// Added to the token cost.
    pub default_price_per_request: Option<NanoUsd>,
    /// `None` is unpriced, possible only while it is not active.
    pub default_tiered_pricing: Option<TieredPricing>,
    /// Prices of 0 in this row are meant.
    pub is_free: bool,
    /// What counts for this model.
    pub supported_capabilities: Vec<Capability>,
    /// What it can do.
    pub config: GlobalModelConfig,
    /// Off = unknown to callers.
    pub is_active: bool,
}

impl GlobalModelRow {
    fn price(&self) -> Price {
        Price {
            per_request: self.default_price_per_request,
            tiers: self.default_tiered_pricing.clone(),
            is_free: self.is_free,
        }
    }
}

impl GlobalModelRow {
    /// As the catalog holds it; `created_at` in Unix microseconds.
    pub fn global_model(self, price_version: Option<PriceVersionId>, created_at: i64) -> GlobalModel {
        GlobalModel {
            id: self.id,
            name: self.name,
            display_name: self.display_name,
            price_per_request: self.default_price_per_request,
            tiered_pricing: self.default_tiered_pricing,
            is_free: self.is_free,
            price_version,
            supported_capabilities: self.supported_capabilities,
            config: self.config,
            is_active: self.is_active,
            created_at,
        }
    }
}

impl Entity for GlobalModelRow {
    const TABLE: &'static str = "global_models";
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "display_name",
        "default_price_per_request",
        "default_tiered_pricing",
        "is_free",
        "supported_capabilities",
        "config",
        "is_active",
    ];

    fn id(&self) -> Uuid {
        self.id.uuid()
    }

    fn values(&self) -> Result<Vec<Value>, DbError> {
        Ok(vec![
            (&self.name).into(),
            (&self.display_name).into(),
            self.default_price_per_request.into(),
            Value::opt_json(self.default_tiered_pricing.as_ref())?,
            self.is_free.into(),
            Value::json(&self.supported_capabilities)?,
            Value::json(&self.config)?,
            self.is_active.into(),
        ])
    }

    fn read(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row.id("id")?,
            name: row.text("name")?,
            display_name: row.text("display_name")?,
            default_price_per_request: row.opt_usd("default_price_per_request")?,
            default_tiered_pricing: row.opt_json("default_tiered_pricing")?,
            is_free: row.flag("is_free")?,
            supported_capabilities: row.json("supported_capabilities")?,
            config: row.json("config")?,
            is_active: row.flag("is_active")?,
        })
    }
}

/// All global models.
pub async fn all(tx: &mut Tx) -> Result<Vec<GlobalModelRow>, DbError> {
    super::select(tx, "", vec![]).await
}

/// When each was made, Unix microseconds.
pub(crate) async fn created_at(tx: &mut Tx) -> Result<HashMap<GlobalModelId, i64>, DbError> {
    let rows = tx.rows("SELECT id, created_at FROM global_models", vec![]).await?;
    rows.iter().map(|row| Ok((row.id("id")?, row.int("created_at")?))).collect()
}

/// Adds a global model, and its price to the history.
pub async fn insert(tx: &mut Tx, model: &GlobalModelRow) -> Result<(), DbError> {
    super::insert(tx, model).await?;
    prices::record(tx, GlobalModelRow::TABLE, model.id.uuid(), &model.price(), Source::Import).await
}

/// Writes a global model; a new price is added to the history. False if there is none with this id.
pub async fn update(tx: &mut Tx, model: &GlobalModelRow) -> Result<bool, DbError> {
    let written = super::update(tx, model, &[]).await?;
    if written {
        prices::record(tx, GlobalModelRow::TABLE, model.id.uuid(), &model.price(), Source::Import).await?;
    }
    Ok(written)
}

/// Deletes a global model; [`DbError::InUse`] while a provider serves it.
pub async fn delete(tx: &mut Tx, id: GlobalModelId) -> Result<bool, DbError> {
    const BURY: &str = "SELECT id, 'global_model' AS kind, name FROM global_models WHERE id = $1";
    super::delete(tx, GlobalModelRow::TABLE, id.uuid(), &[BURY]).await
}
