//! Which providers serve a client key.

use super::Entity;
use crate::db::{DbError, Row, Tx, Value};
use domain::{
    catalog::Mapping,
    ids::{ClientKeyId, ProviderId},
};
use uuid::Uuid;

/// A client key's tie to a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingRow {
    /// The row's id, from [`crate::mint`].
    pub id: Uuid,
    /// The client key.
    pub api_key_id: ClientKeyId,
    /// The provider.
    pub provider_id: ProviderId,
    /// Added to the provider's priority.
    pub priority_adjustment: i32,
    /// Weight in the spread in millionths, above 0.
    pub weight_millionths: u64,
    /// Off: as if it were not there.
    pub is_enabled: bool,
}

impl MappingRow {
    /// As the catalog holds it.
    pub fn mapping(&self) -> Mapping {
        Mapping {
            provider_id: self.provider_id,
            priority_adjustment: self.priority_adjustment,
            weight_millionths: self.weight_millionths,
            is_enabled: self.is_enabled,
        }
    }
}

impl Entity for MappingRow {
    const TABLE: &'static str = "api_key_provider_mappings";
    const COLUMNS: &'static [&'static str] =
        &["api_key_id", "provider_id", "priority_adjustment", "weight_multiplier", "is_enabled"];

    fn id(&self) -> Uuid {
        self.id
    }

    fn values(&self) -> Result<Vec<Value>, DbError> {
        Ok(vec![
            self.api_key_id.uuid().into(),
            self.provider_id.uuid().into(),
            self.priority_adjustment.into(),
            Value::count(self.weight_millionths),
            self.is_enabled.into(),
        ])
    }

    fn read(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: row.id("id")?,
            api_key_id: row.id("api_key_id")?,
            provider_id: row.id("provider_id")?,
            priority_adjustment: row.number("priority_adjustment")?,
            weight_millionths: row.number("weight_multiplier")?,
            is_enabled: row.flag("is_enabled")?,
        })
    }
}

/// The mappings of all keys.
pub async fn all_any_owner(tx: &mut Tx) -> Result<Vec<MappingRow>, DbError> {
    super::select(tx, "", vec![]).await
}

/// Adds a mapping.
pub async fn insert(tx: &mut Tx, mapping: &MappingRow) -> Result<(), DbError> {
    super::insert(tx, mapping).await
}

/// Writes a mapping; false if there is none with this id.
pub async fn update_any_owner(tx: &mut Tx, mapping: &MappingRow) -> Result<bool, DbError> {
    super::update(tx, mapping, &[]).await
}

/// Deletes a mapping.
pub async fn delete_any_owner(tx: &mut Tx, id: Uuid) -> Result<bool, DbError> {
    super::delete(tx, MappingRow::TABLE, id, &[]).await
}
