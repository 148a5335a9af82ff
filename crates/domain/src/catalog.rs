//! The catalog: an immutable picture of people, keys, upstreams, models, prices and settings.
//!
//! The store reads [`Parts`], [`Catalog::build`] checks and indexes them, and requests hold the `Arc` they were admitted
//! with until they end. Nothing in it changes; a change publishes a new one.

mod build;
mod names;
mod parts;
mod people;
mod pricing;
mod upstream;

pub use build::Inconsistent;
pub use names::Resolved;
pub use parts::{Parts, PriceDefaults, Settings};
pub use people::{Access, Budget, ClientKey, KeyLimits, Mapping, User};
pub use pricing::{InvalidPricing, Tier, TieredPricing, TtlPrice};
pub use upstream::{
    Alias, Capabilities, Endpoint, EndpointConfig, GlobalModel, GlobalModelConfig, HeaderMode, HeaderRule, Model,
    Provider, ProviderKey, ProviderQuota, Proxy,
};

use crate::{
    ids::{ClientKeyId, EndpointId, GlobalModelId, IdMap, ModelId, ProviderId, ProviderKeyId, UserId},
    ledger::Mark,
};
use std::sync::Arc;

/// The SHA-256 of a client key's whole text.
pub type KeyHash = [u8; 32];

/// One consistent, indexed snapshot of the configuration.
#[derive(Debug, Default)]
pub struct Catalog {
    /// The change feed's revision that this snapshot includes.
    pub revision: u64,
    /// How much of this node's journal is in the sums of this snapshot.
    pub shipped: Mark,
    /// Settings in force.
    pub settings: Settings,
    /// Users by id.
    pub users: IdMap<UserId, Arc<User>>,
    /// Client keys by id.
    pub client_keys: IdMap<ClientKeyId, Arc<ClientKey>>,
    /// Global models by id.
    pub global_models: IdMap<GlobalModelId, Arc<GlobalModel>>,
    /// Providers in order of name.
    pub providers: Vec<Arc<Provider>>,
    by_hash: IdMap<KeyHash, Arc<ClientKey>>,
    by_name: IdMap<String, GlobalModelId>,
    claims: IdMap<String, Vec<ModelId>>,
    /// For each global model, everything that could serve it.
    routes: IdMap<GlobalModelId, Vec<Route>>,
    models: IdMap<ModelId, Arc<Model>>,
    endpoints: IdMap<EndpointId, Arc<Endpoint>>,
    provider_keys: IdMap<ProviderKeyId, Arc<ProviderKey>>,
}

/// One way to serve a global model: the pieces of a candidate.
#[derive(Debug, Clone)]
pub struct Route {
    /// Who serves it.
    pub provider: Arc<Provider>,
    /// Under which upstream name and price.
    pub model: Arc<Model>,
    /// Where.
    pub endpoint: Arc<Endpoint>,
    /// With which credential.
    pub key: Arc<ProviderKey>,
}

impl Catalog {
    /// The client key whose text has this hash, by one look-up; a rotated key's former hash counts until its date.
    ///
    /// `now_us` is Unix time in microseconds.
    pub fn client_key(&self, hash: &KeyHash, now_us: i64) -> Option<&Arc<ClientKey>> {
        let key = self.by_hash.get(hash)?;
        let current = key.key_hash == *hash || key.previous_valid_until.is_some_and(|until| now_us < until);
        current.then_some(key)
    }

    /// The money that this key's requests are paid from: its own, or its owner's.
    pub fn budget<'a>(&'a self, key: &'a ClientKey) -> Option<&'a Budget> {
        key.balance.as_ref().or_else(|| Some(&self.users.get(&key.user_id?)?.quota))
    }

    /// Everything that could serve a global model, before any rule is applied.
    pub fn routes(&self, model: GlobalModelId) -> &[Route] {
        self.routes.get(&model).map_or(&[], Vec::as_slice)
    }

    /// The endpoint with this id.
    pub fn endpoint(&self, id: EndpointId) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(&id)
    }

    /// Every endpoint, in no particular order.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values().map(Arc::as_ref)
    }

    /// The provider key with this id.
    pub fn provider_key(&self, id: ProviderKeyId) -> Option<&Arc<ProviderKey>> {
        self.provider_keys.get(&id)
    }

    /// Every provider key with its endpoint and provider, in no particular order.
    pub fn keys(&self) -> impl Iterator<Item = (&Provider, &Endpoint, &ProviderKey)> {
        self.provider_keys.values().filter_map(|key| {
            let endpoint = self.endpoints.get(&key.endpoint_id)?;
            Some((&**self.provider(endpoint.provider_id)?, &**endpoint, &**key))
        })
    }

    /// The provider with this id.
    pub fn provider(&self, id: ProviderId) -> Option<&Arc<Provider>> {
        self.providers.iter().find(|provider| provider.id == id)
    }

    /// The provider model with this id.
    pub fn model(&self, id: ModelId) -> Option<&Arc<Model>> {
        self.models.get(&id)
    }
}

#[cfg(test)]
mod size;
#[cfg(test)]
pub(crate) mod tests;
