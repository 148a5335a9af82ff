//! Changed settings, a row each; what is not stored has its default.

use crate::{
    db::{DbError, Tx, Value},
    feed, mint,
};
use domain::catalog::Settings;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Every changed setting by its name.
pub async fn all(tx: &mut Tx) -> Result<BTreeMap<String, serde_json::Value>, DbError> {
    let rows = tx.rows("SELECT key, value FROM system_configs", vec![]).await?;
    let mut settings = BTreeMap::new();
    for row in rows {
        if let Some(value) = row.opt_json("value")? {
            settings.insert(row.text("key")?, value);
        }
    }
    Ok(settings)
}

/// The settings that act on the data plane, defaults filled in.
pub async fn load(tx: &mut Tx) -> Result<Settings, DbError> {
    let changed = all(tx).await?;
    let unreadable = |error: serde_json::Error| DbError::Unreadable {
        column: "system_configs.value".to_owned(),
        why: error.to_string(),
    };
    let mut settings = serde_json::to_value(Settings::default()).map_err(unreadable)?;
    // Others belong to the control plane.
    for (name, known) in settings.as_object_mut().into_iter().flatten() {
        if let Some(value) = changed.get(name) {
            known.clone_from(value);
        }
    }
    serde_json::from_value(settings).map_err(unreadable)
}

/// Stores a setting; `None` takes it back to its default.
pub async fn set(tx: &mut Tx, key: &str, value: Option<&serde_json::Value>) -> Result<(), DbError> {
    const SET: &str = "INSERT INTO system_configs (id, created_at, updated_at, key, value) VALUES ($1, $2, $2, $3, $4) \
                       ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";
    match value {
        Some(value) => {
            let values = vec![mint::<Uuid>().into(), tx.now_us().into(), key.into(), Value::json(value)?];
            tx.run(SET, values).await?;
        }
        None => {
            tx.run("DELETE FROM system_configs WHERE key = $1", vec![key.into()]).await?;
        }
    }
    feed::append(tx, "system_configs", Uuid::nil()).await
}
