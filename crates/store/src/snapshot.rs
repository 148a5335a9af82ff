//! From the database to the catalog in force.

use crate::{
    db::{Db, DbError},
    feed,
    repo::{
        api_keys, endpoints, global_models, mappings, models, prices, provider_keys, providers, quotas, settings, users,
    },
};
use arc_swap::ArcSwap;
use domain::{
    catalog::{Catalog, ClientKey, GlobalModel, KeyLimits, Model, Parts, User},
    ports::Directory,
};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::watch;

/// Reads everything that a catalog is built from, as one state of the database.
pub async fn load(db: &Db) -> Result<Parts, DbError> {
    let mut tx = db.read().await?;
    let revision = feed::revision(&mut tx).await?;
    let settings = settings::load(&mut tx).await?;
    let quotas = quotas::active_any_owner(&mut tx).await?;
    let quotas: HashMap<_, _> = quotas.into_iter().map(|quota| (quota.user_id, quota.quota_usd)).collect();
    let users = users::all_any_owner(&mut tx).await?;
    let mut by_key: HashMap<_, Vec<_>> = HashMap::new();
    for mapping in mappings::all_any_owner(&mut tx).await? {
        by_key.entry(mapping.api_key_id).or_default().push(mapping.mapping());
    }
    let keys = api_keys::all_any_owner(&mut tx).await?;
    let providers = providers::all(&mut tx).await?;
    let endpoints = endpoints::all(&mut tx).await?;
    let provider_keys = provider_keys::all(&mut tx).await?;
    let versions = prices::current(&mut tx).await?;
    let created = global_models::created_at(&mut tx).await?;
    let global_models = global_models::all(&mut tx).await?;
    let models = models::all(&mut tx).await?;
    tx.commit().await?;

    Ok(Parts {
        revision,
        settings,
        users: users
            .into_iter()
            .map(|row| {
                let quota = quotas.get(&row.id).copied().or(row.quota_usd);
                user(row, quota)
            })
            .collect(),
        client_keys: keys
            .into_iter()
            .map(|row| {
                let mappings = by_key.remove(&row.id).unwrap_or_default();
                client_key(row, mappings)
            })
            .collect(),
        providers: providers.iter().map(providers::ProviderRow::provider).collect(),
        endpoints: endpoints.iter().map(endpoints::EndpointRow::endpoint).collect(),
        provider_keys: provider_keys.iter().map(provider_keys::ProviderKeyRow::provider_key).collect(),
        global_models: global_models
            .into_iter()
            .map(|row| GlobalModel {
                price_version: versions.get(&row.id.uuid()).copied(),
                created_at: created.get(&row.id).copied().unwrap_or_default(),
                id: row.id,
                name: row.name,
                display_name: row.display_name,
                price_per_request: row.default_price_per_request,
                tiered_pricing: row.default_tiered_pricing,
                is_free: row.is_free,
                supported_capabilities: row.supported_capabilities,
                config: row.config,
                is_active: row.is_active,
            })
            .collect(),
        models: models
            .into_iter()
            .map(|row| Model {
                price_version: versions.get(&row.id.uuid()).copied(),
                id: row.id,
                provider_id: row.provider_id,
                global_model_id: row.global_model_id,
                provider_model_name: row.provider_model_name,
                aliases: row.provider_model_aliases,
                price_per_request: row.price_per_request,
                tiered_pricing: row.tiered_pricing,
                is_free: row.is_free,
                supports: row.supports,
                is_active: row.is_active,
                is_available: row.is_available,
            })
            .collect(),
    })
}

fn user(row: users::UserRow, quota: Option<domain::money::NanoUsd>) -> User {
    User {
        id: row.id,
        username: row.username,
        email: row.email,
        role: row.role,
        is_active: row.is_active,
        access: row.access,
        model_capability_settings: row.model_capability_settings,
        default_provider_id: row.default_provider_id,
        quota,
    }
}

fn client_key(row: api_keys::ClientKeyRow, mappings: Vec<domain::catalog::Mapping>) -> ClientKey {
    ClientKey {
        id: row.id,
        user_id: row.user_id,
        name: row.name.unwrap_or_default(),
        key_hash: row.key_hash,
        previous_key_hash: row.previous_key_hash,
        previous_valid_until: row.previous_valid_until,
        is_standalone: row.is_standalone,
        balance: row.current_balance_usd.filter(|_| row.is_standalone),
        access: row.access,
        allowed_ips: row.allowed_ips,
        limits: KeyLimits { rate: row.rate_limit, concurrent: row.concurrent_limit },
        force_capabilities: row.force_capabilities,
        on_disconnect: row.on_disconnect,
        is_active: row.is_active,
        is_locked: row.locked_at.is_some(),
        expires_at: row.expires_at,
        mappings,
    }
}

/// The catalog in force, swapped whole and only forward.
#[derive(Debug, Default)]
pub struct Published {
    current: ArcSwap<Catalog>,
    revision: watch::Sender<u64>,
}

impl Published {
    /// Starts with this catalog.
    pub fn new(first: Catalog) -> Self {
        let revision = watch::Sender::new(first.revision);
        Self { current: ArcSwap::from_pointee(first), revision }
    }

    /// Puts a newer catalog in force; false if the one in force is as new. One task per process publishes.
    pub fn publish(&self, next: Catalog) -> bool {
        let revision = next.revision;
        let newer = self.current.load().revision < revision;
        if newer {
            self.current.store(Arc::new(next));
            self.revision.send_replace(revision);
        }
        newer
    }

    /// Waits until a catalog of this revision, or a later one, is in force.
    pub async fn reached(&self, revision: u64) {
        // Fails only when the sender is gone, which this borrow rules out.
        let _ = self.revision.subscribe().wait_for(|current| *current >= revision).await;
    }
}

impl Directory for Published {
    fn catalog(&self) -> Arc<Catalog> {
        self.current.load_full()
    }
}
