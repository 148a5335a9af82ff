//! Rows by entity. Functions that span owners end in `_any_owner`; mutations take the transaction and write the change
//! feed with it.
//!
//! A `…Row` holds an entity's configuration. Counters and states are written by shipping and never by these functions.

pub mod api_keys;
pub mod audit;
pub mod balances;
pub mod bindings;
pub mod candidates;
pub mod endpoints;
pub mod global_models;
pub mod live;
pub mod mappings;
pub mod models;
pub mod notifications;
pub mod prices;
pub mod provider_keys;
pub mod providers;
pub mod quotas;
pub mod settings;
mod texts;
pub mod usage;
pub mod users;

use crate::{
    db::{DbError, Row, Tx, Value},
    feed,
};
use domain::catalog::Access;
use sqlx::AssertSqlSafe;
use std::fmt::Write as _;
use uuid::Uuid;

/// A configuration table: the names here are constants of this crate, never input.
pub(crate) trait Entity: Sized {
    const TABLE: &'static str;
    /// Every configuration column but `id`, `created_at` and `updated_at`.
    const COLUMNS: &'static [&'static str];

    fn id(&self) -> Uuid;
    /// In the order of [`Self::COLUMNS`].
    fn values(&self) -> Result<Vec<Value>, DbError>;
    fn read(row: &Row) -> Result<Self, DbError>;
}

/// `$from, $from+1, …`
fn placeholders(from: usize, count: usize) -> String {
    let mut text = String::new();
    for number in from..from + count {
        let comma = if number == from { "" } else { ", " };
        let _ = write!(text, "{comma}${number}");
    }
    text
}

/// Every row that meets `condition`, oldest first.
async fn select<E: Entity>(tx: &mut Tx, condition: &str, values: Vec<Value>) -> Result<Vec<E>, DbError> {
    page(tx, &format!("{condition} ORDER BY id"), values).await
}

/// Rows that meet `condition`, which also says in which order and how many.
async fn page<E: Entity>(tx: &mut Tx, condition: &str, values: Vec<Value>) -> Result<Vec<E>, DbError> {
    let sql = format!("SELECT id, {} FROM {} {condition}", E::COLUMNS.join(", "), E::TABLE);
    tx.rows(AssertSqlSafe(sql), values).await?.iter().map(E::read).collect()
}

async fn insert<E: Entity>(tx: &mut Tx, entity: &E) -> Result<(), DbError> {
    let sql = format!(
        "INSERT INTO {} (id, created_at, updated_at, {}) VALUES ($1, $2, $2, {})",
        E::TABLE,
        E::COLUMNS.join(", "),
        placeholders(3, E::COLUMNS.len())
    );
    let mut values = vec![entity.id().into(), tx.now_us().into()];
    values.extend(entity.values()?);
    tx.run(AssertSqlSafe(sql), values).await?;
    feed::append(tx, E::TABLE, entity.id()).await
}

/// Writes every column but those of `keep`; false if there is no such row.
async fn update<E: Entity>(tx: &mut Tx, entity: &E, keep: &[&str]) -> Result<bool, DbError> {
    let mut values = vec![entity.id().into(), tx.now_us().into()];
    let mut sets = String::new();
    for (column, value) in E::COLUMNS.iter().zip(entity.values()?) {
        if keep.contains(column) {
            continue;
        }
        values.push(value);
        let _ = write!(sets, ", {column} = ${}", values.len());
    }
    let sql = format!("UPDATE {} SET updated_at = $2{sets} WHERE id = $1", E::TABLE);
    if tx.run(AssertSqlSafe(sql), values).await? == 0 {
        return Ok(false);
    }
    feed::append(tx, E::TABLE, entity.id()).await?;
    Ok(true)
}

/// Deletes a row; `buried` selects `(id, kind, name)` of it and of what goes with it, for the tombstones.
async fn delete(tx: &mut Tx, table: &'static str, id: Uuid, buried: &[&'static str]) -> Result<bool, DbError> {
    for select in buried {
        let sql = format!(
            "INSERT INTO tombstones (id, kind, name, deleted_at) SELECT id, kind, name, $2 FROM ({select}) AS gone \
             WHERE TRUE ON CONFLICT (id) DO NOTHING"
        );
        tx.run(AssertSqlSafe(sql), vec![id.into(), tx.now_us().into()]).await?;
    }
    let sql = format!("DELETE FROM {table} WHERE id = $1");
    if tx.run(AssertSqlSafe(sql), vec![id.into()]).await? == 0 {
        return Ok(false);
    }
    feed::append(tx, table, id).await?;
    Ok(true)
}

/// The four `allowed_*` columns of users and client keys.
fn access_values(access: &Access) -> Result<[Value; 4], DbError> {
    Ok([
        Value::opt_json(access.providers.as_ref())?,
        Value::opt_json(access.endpoints.as_ref())?,
        Value::opt_json(access.api_formats.as_ref())?,
        Value::opt_json(access.models.as_ref())?,
    ])
}

fn read_access(row: &Row) -> Result<Access, DbError> {
    Ok(Access {
        providers: row.opt_json("allowed_providers")?,
        endpoints: row.opt_json("allowed_endpoints")?,
        api_formats: row.opt_json("allowed_api_formats")?,
        models: row.opt_json("allowed_models")?,
    })
}

#[cfg(test)]
mod tests;
