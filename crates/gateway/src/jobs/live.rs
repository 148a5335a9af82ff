//! Live state across restarts: what is known of provider keys and providers' minutes goes to the database every few seconds,
//! and comes back at the start. So do the days and months of provider keys, which the journal counts there. Routing never
//! waits for any of it.

use domain::{
    ids::{ModelId, ProviderId, ProviderKeyId},
    limit::window::FixedMinute,
    schedule::health::KeyState,
};
use relay::{Relay, health::Health, limiter::Local};
use std::{collections::HashMap, hash::Hash, mem, sync::Arc, time::Duration};
use store::{
    Db, DbError,
    repo::{live, notifications},
};
use tokio_util::sync::CancellationToken;

/// How often it is written.
const EVERY: Duration = Duration::from_secs(3);

/// Takes over what an earlier process knew; what its journal held is in the database by now.
pub(crate) async fn restore(db: &Db, health: &Health, limiter: &Local, now_us: i64) -> Result<Kept, DbError> {
    let mut tx = db.read().await?;
    let mut kept = Kept::default();
    for (id, state) in live::keys(&mut tx).await? {
        kept.keys.insert(id, state.clone());
        health.restore(id, state, now_us);
    }
    for (id, periods) in live::periods(&mut tx).await? {
        limiter.restore_periods(id, periods);
    }
    for (id, minute) in live::minutes(&mut tx).await? {
        kept.minutes.insert(id, minute);
        limiter.restore_minute(id, minute);
    }
    tx.commit().await?;
    Ok(kept)
}

/// What is in the database already.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    keys: HashMap<ProviderKeyId, KeyState>,
    minutes: HashMap<ProviderId, FixedMinute>,
    /// Models that were written as unavailable at the last turn: by now the catalog says so.
    unavailable: Vec<ModelId>,
    /// Keys whose credentials are refused, that nobody was told of yet.
    unusable: Vec<ProviderKeyId>,
}

impl Kept {
    /// Writes what has changed, until `cancel`; then once more.
    pub(crate) async fn run(mut self, db: Db, relay: Relay, limiter: Arc<Local>, cancel: CancellationToken) {
        let mut ends = false;
        while !ends {
            tokio::select! {
                () = cancel.cancelled() => ends = true,
                () = tokio::time::sleep(EVERY) => {}
            }
            if let Err(error) = self.write(&db, relay.health(), &limiter).await {
                tracing::warn!(%error, "what is known of provider keys was not written; it is tried again");
            }
        }
    }

    async fn write(&mut self, db: &Db, health: &Health, limiter: &Local) -> Result<(), DbError> {
        for model in mem::take(&mut self.unavailable) {
            health.forget_unknown(model);
        }
        let keys: Vec<_> = changed(health.states(), &self.keys);
        let minutes: Vec<_> = changed(limiter.minutes_of_all(), &self.minutes);
        let unavailable = health.unknown_models();
        self.unusable.extend(health.take_unusable());
        if keys.is_empty() && minutes.is_empty() && unavailable.is_empty() && self.unusable.is_empty() {
            return Ok(());
        }
        let mut tx = db.begin().await?;
        for (id, state) in &keys {
            live::write_key(&mut tx, *id, state).await?;
        }
        for (id, minute) in &minutes {
            live::write_minute(&mut tx, *id, *minute).await?;
        }
        for model in &unavailable {
            live::model_unavailable(&mut tx, *model).await?;
        }
        let mut told = Vec::new();
        for key in &self.unusable {
            if notifications::key_unusable(&mut tx, *key).await? {
                told.push(*key);
            }
        }
        tx.commit().await?;
        self.unusable.clear();
        for key in told {
            tracing::warn!(provider_key.id = %key, "the credential of a provider key is refused; admins are notified");
        }
        self.keys.extend(keys);
        self.minutes.extend(minutes);
        self.unavailable = unavailable;
        Ok(())
    }
}

fn changed<K: Hash + Eq, V: PartialEq>(now: Vec<(K, V)>, kept: &HashMap<K, V>) -> Vec<(K, V)> {
    now.into_iter().filter(|(id, value)| kept.get(id) != Some(value)).collect()
}
