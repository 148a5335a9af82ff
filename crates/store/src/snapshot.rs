//! From the database to the catalog in force.

use crate::{
    Store,
    db::DbError,
    feed,
    repo::{
        api_keys, endpoints, global_models, mappings, models, prices, provider_keys, providers, quotas, settings, users,
    },
    settle,
};
use arc_swap::ArcSwap;
use domain::{
    catalog::{Catalog, Parts},
    ledger::Ledger,
    ports::Directory,
};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::watch;

/// Reads everything that a catalog is built from, as one state of the database.
pub async fn load(store: &Store) -> Result<Parts, DbError> {
    let mut tx = store.db().read().await?;
    let revision = feed::revision(&mut tx).await?;
    let settings = settings::load(&mut tx).await?;
    let quotas = quotas::active_any_owner(&mut tx).await?;
    let quotas: HashMap<_, _> = quotas.into_iter().map(|open| (open.quota.user_id, open)).collect();
    let shipped = settle::shipped(&mut tx, store.node()).await?;
    let spent = users::spent_any_owner(&mut tx).await?;
    let used = api_keys::used_any_owner(&mut tx).await?;
    let users = users::all_any_owner(&mut tx).await?;
    let mut by_key: HashMap<_, Vec<_>> = HashMap::new();
    for mapping in mappings::all_any_owner(&mut tx).await? {
        by_key.entry(mapping.api_key_id).or_default().push(mapping.mapping());
    }
    let client_keys = api_keys::catalog_any_owner(&mut tx, |row| {
        let mappings = by_key.remove(&row.id).unwrap_or_default();
        let used = used.get(&row.id).copied().unwrap_or_default();
        row.client_key(used, mappings)
    })
    .await?;
    let providers = providers::all(&mut tx).await?;
    let paid = providers::used(&mut tx).await?;
    let endpoints = endpoints::all(&mut tx).await?;
    let provider_keys = provider_keys::all(&mut tx).await?;
    let versions = prices::current(&mut tx).await?;
    let created = global_models::created_at(&mut tx).await?;
    let global_models = global_models::all(&mut tx).await?;
    let models = models::all(&mut tx).await?;
    tx.commit().await?;

    Ok(Parts {
        revision,
        shipped,
        settings,
        users: users
            .into_iter()
            .map(|row| {
                let (open, spent) = (quotas.get(&row.id), spent.get(&row.id).copied());
                row.user(open, spent.unwrap_or_default())
            })
            .collect(),
        client_keys,
        providers: providers.iter().map(|row| row.provider(paid.get(&row.id).copied().unwrap_or_default())).collect(),
        endpoints: endpoints.iter().map(endpoints::EndpointRow::endpoint).collect(),
        provider_keys: provider_keys.iter().map(provider_keys::ProviderKeyRow::provider_key).collect(),
        global_models: global_models
            .into_iter()
            .map(|row| {
                let (version, created_at) = (versions.get(&row.id.uuid()), created.get(&row.id));
                row.global_model(version.copied(), created_at.copied().unwrap_or_default())
            })
            .collect(),
        models: models
            .into_iter()
            .map(|row| {
                let version = versions.get(&row.id.uuid()).copied();
                row.model(version)
            })
            .collect(),
    })
}

/// The catalog in force, swapped whole and only forward, and the accounts that it sets limits to.
#[derive(Debug)]
pub struct Published {
    current: ArcSwap<Catalog>,
    revision: watch::Sender<u64>,
    ledger: Arc<Ledger>,
}

impl Published {
    /// Starts with this catalog.
    pub fn new(first: Catalog) -> Self {
        let revision = watch::Sender::new(first.revision);
        let first = Arc::new(first);
        Self { ledger: Arc::new(Ledger::new(first.clone())), current: ArcSwap::new(first), revision }
    }

    /// Every account's money. Its sums follow the database only if [`Shipper`](crate::settle::Shipper) has it, too.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Puts a newer catalog in force; false if the one in force is as new. One task per process publishes.
    pub fn publish(&self, next: Catalog) -> bool {
        let revision = next.revision;
        let newer = self.current.load().revision < revision;
        if newer {
            let next = Arc::new(next);
            self.ledger.rebase(&next);
            self.current.store(next);
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
