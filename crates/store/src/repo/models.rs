//! Models: one provider's way to serve a global model.

use super::{
    Entity,
    prices::{self, Price, Source},
};
use crate::db::{DbError, Row, Tx, Value};
use domain::{
    catalog::{Alias, Model, TieredPricing},
    format::Feature,
    ids::{GlobalModelId, ModelId, PriceVersionId, ProviderId},
    money::NanoUsd,
};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A model's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelRow {
    /// The row's id, from [`crate::mint`].
    pub id: ModelId,
    /// Who serves it; one model per provider and global model.
    pub provider_id: ProviderId,
    /// What it serves.
    pub global_model_id: GlobalModelId,
    /// The name sent upstream; unique per provider.
    pub provider_model_name: String,
    /// Further names.
    pub provider_model_aliases: Vec<Alias>,
    /// `None` inherits.
    pub price_per_request: Option<NanoUsd>,
    /// `None` inherits.
    pub tiered_pricing: Option<TieredPricing>,
    /// Prices of 0 in this row are meant.
    pub is_free: bool,
    /// `supports_*` by feature; absent inherits.
    pub supports: BTreeMap<Feature, bool>,
    /// Off = skipped.
    pub is_active: bool,
    /// False = skipped until it is set again.
    pub is_available: bool,
}

/// Features in the order of their columns.
const SUPPORTS: [(Feature, &str); 5] = [
    (Feature::Vision, "supports_vision"),
    (Feature::FunctionCalling, "supports_function_calling"),
    (Feature::Streaming, "supports_streaming"),
    (Feature::ExtendedThinking, "supports_extended_thinking"),
    (Feature::ImageGeneration, "supports_image_generation"),
];

impl ModelRow {
    fn price(&self) -> Price {
        Price { per_request: self.price_per_request, tiers: self.tiered_pricing.clone(), is_free: self.is_free }
    }
}

impl ModelRow {
    /// As the catalog holds it.
    pub fn model(self, price_version: Option<PriceVersionId>) -> Model {
        Model {
            id: self.id,
            provider_id: self.provider_id,
            global_model_id: self.global_model_id,
            provider_model_name: self.provider_model_name,
            aliases: self.provider_model_aliases,
            price_per_request: self.price_per_request,
            tiered_pricing: self.tiered_pricing,
            is_free: self.is_free,
            price_version,
            supports: self.supports,
            is_active: self.is_active,
            is_available: self.is_available,
        }
    }
}

impl Entity for ModelRow {
    const TABLE: &'static str = "models";
    const COLUMNS: &'static [&'static str] = &[
        "provider_id",
        "global_model_id",
        "provider_model_name",
        "provider_model_aliases",
        "price_per_request",
        "tiered_pricing",
        "is_free",
        SUPPORTS[0].1,
        SUPPORTS[1].1,
        SUPPORTS[2].1,
        SUPPORTS[3].1,
        SUPPORTS[4].1,
        "is_active",
        "is_available",
    ];

    fn id(&self) -> Uuid {
        self.id.uuid()
    }

    fn values(&self) -> Result<Vec<Value>, DbError> {
        let mut values = vec![
            self.provider_id.uuid().into(),
            self.global_model_id.uuid().into(),
            (&self.provider_model_name).into(),
            Value::json(&self.provider_model_aliases)?,
            self.price_per_request.into(),
            Value::opt_json(self.tiered_pricing.as_ref())?,
            self.is_free.into(),
        ];
        values.extend(SUPPORTS.map(|(feature, _)| Value::Bool(self.supports.get(&feature).copied())));
        values.extend([self.is_active.into(), self.is_available.into()]);
        Ok(values)
    }

    fn read(row: &Row) -> Result<Self, DbError> {
        let mut supports = BTreeMap::new();
        for (feature, column) in SUPPORTS {
            if let Some(supported) = row.opt_flag(column)? {
                supports.insert(feature, supported);
            }
        }
        Ok(Self {
            id: row.id("id")?,
            provider_id: row.id("provider_id")?,
            global_model_id: row.id("global_model_id")?,
            provider_model_name: row.text("provider_model_name")?,
            provider_model_aliases: row.json("provider_model_aliases")?,
            price_per_request: row.opt_usd("price_per_request")?,
            tiered_pricing: row.opt_json("tiered_pricing")?,
            is_free: row.flag("is_free")?,
            supports,
            is_active: row.flag("is_active")?,
            is_available: row.flag("is_available")?,
        })
    }
}

/// All models.
pub async fn all(tx: &mut Tx) -> Result<Vec<ModelRow>, DbError> {
    super::select(tx, "", vec![]).await
}

/// Adds a model, and its own price, if it has one, to the history.
pub async fn insert(tx: &mut Tx, model: &ModelRow) -> Result<(), DbError> {
    super::insert(tx, model).await?;
    prices::record(tx, ModelRow::TABLE, model.id.uuid(), &model.price(), Source::Import).await
}

/// Writes a model; a new price is added to the history. False if there is none with this id.
pub async fn update(tx: &mut Tx, model: &ModelRow) -> Result<bool, DbError> {
    let written = super::update(tx, model, &[]).await?;
    if written {
        prices::record(tx, ModelRow::TABLE, model.id.uuid(), &model.price(), Source::Import).await?;
    }
    Ok(written)
}

/// Deletes a model.
pub async fn delete(tx: &mut Tx, id: ModelId) -> Result<bool, DbError> {
    const BURY: &str = "SELECT id, 'model' AS kind, provider_model_name AS name FROM models WHERE id = $1";
    super::delete(tx, ModelRow::TABLE, id.uuid(), &[BURY]).await
}
