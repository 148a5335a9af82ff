//! What somebody should be told, once each. What accounts have spent is told by shipping.

use crate::{
    db::{DbError, Tx},
    mint, period,
    repo::settings,
};
use domain::ids::ProviderKeyId;
use uuid::Uuid;

/// Notes that an upstream refuses the credential of a provider key: once per key and business day. False if that was noted
/// before, or the key is gone.
pub async fn key_unusable(tx: &mut Tx, key: ProviderKeyId) -> Result<bool, DbError> {
    const NOTE: &str = "INSERT INTO notifications \
                        (id, created_at, kind, subject_id, period, threshold, used_usd, limit_usd) \
                        SELECT $1, $2, 'key_unusable', id, $4, 0, 0, 0 FROM provider_api_keys WHERE id = $3 \
                        ON CONFLICT (kind, subject_id, period, threshold) DO NOTHING";
    let zone = settings::load(tx).await?.timezone;
    // A zone that is not known here still tells once.
    let day = period::day(tx.now_us(), &zone).map_or_else(|_| String::new(), |day| day.start.to_string());
    let values = vec![mint::<Uuid>().into(), tx.now_us().into(), key.uuid().into(), day.as_str().into()];
    Ok(tx.run(NOTE, values).await? > 0)
}
