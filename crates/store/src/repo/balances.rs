//! Balance entries: what was granted to standalone keys. Their sum is what is left and what was spent.

use crate::{
    db::{DbError, Tx},
    mint,
};
use domain::{ids::ClientKeyId, money::NanoUsd};
use uuid::Uuid;

/// The balance that a new key begins with.
pub(crate) async fn begin(tx: &mut Tx, key: ClientKeyId, granted: NanoUsd) -> Result<(), DbError> {
    const BEGIN: &str = "INSERT INTO balance_entries (id, created_at, api_key_id, kind, amount_usd, balance_after_usd) \
                         VALUES ($1, $2, $3, 'top_up', $4, $4)";
    let values = vec![mint::<Uuid>().into(), tx.now_us().into(), key.uuid().into(), granted.into()];
    tx.run(BEGIN, values).await?;
    Ok(())
}
