//! Circuits of provider keys that an admin closes by hand.

use crate::apply::event;
use domain::{
    ids::{ProviderKeyId, UserId},
    ports::Circuits,
};
use serde_json::json;
use store::{
    DbError, Store,
    repo::{audit, live},
};

/// Lets a provider key serve again at once: its circuit is closed, here and after a restart. What an admin switched off stays
/// off. False if there is no such key.
pub async fn reset_circuit(
    store: &Store,
    circuits: &dyn Circuits,
    key: ProviderKeyId,
    actor: Option<UserId>,
) -> Result<bool, DbError> {
    let mut tx = store.db().begin().await?;
    if !live::reset_circuit(&mut tx, key).await? {
        return Ok(false);
    }
    let metadata = json!({ "provider_api_key_id": key.to_string() });
    let description = "the circuit of a provider key was closed by hand".to_owned();
    let happened = audit::Event { user_id: actor, ..event("provider_updated", description, metadata) };
    audit::append(&mut tx, store.node(), &[happened]).await?;
    tx.commit().await?;
    // Only now: a process that ends before this finds it closed, too.
    circuits.reset(key);
    Ok(true)
}
