//! From rows to an indexed snapshot.

use super::{Catalog, ClientKey, Parts, Route};
use crate::ids::{EndpointId, GlobalModelId, ModelId, ProviderId, ProviderKeyId};
use std::{collections::HashMap, sync::Arc};

/// Rows that contradict each other; the snapshot in force stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistent {
    /// A row names one that is not there.
    #[error("{what} {id} refers to {missing}, which does not exist")]
    Dangling {
        /// The row's kind.
        what: &'static str,
        /// The row's id.
        id: String,
        /// What it refers to.
        missing: String,
    },
    /// Two active global models of one name.
    #[error("global model name {0:?} is there twice")]
    DoubledModel(String),
    /// Two client keys with one hash.
    #[error("two client keys have the same hash: {0} and {1}")]
    DoubledKey(String, String),
}

#[allow(clippy::needless_pass_by_value, reason = "ids are small")]
fn dangling(what: &'static str, id: impl std::fmt::Display, missing: impl std::fmt::Display) -> Inconsistent {
    Inconsistent::Dangling { what, id: id.to_string(), missing: missing.to_string() }
}

impl Catalog {
    /// Checks references and names and builds the indexes.
    pub fn build(parts: Parts) -> Result<Self, Inconsistent> {
        let mut catalog =
            Self { revision: parts.revision, shipped: parts.shipped, settings: parts.settings, ..Self::default() };
        catalog.users = parts.users.into_iter().map(|user| (user.id, Arc::new(user))).collect();

        catalog.by_hash.reserve(parts.client_keys.len());
        catalog.client_keys.reserve(parts.client_keys.len());
        for key in parts.client_keys {
            if let Some(owner) = key.user_id
                && !catalog.users.contains_key(&owner)
            {
                // The owner is deleted: the key is unknown from here on.
                continue;
            }
            let key: Arc<ClientKey> = Arc::from(key);
            for hash in [Some(key.key_hash), key.previous_key_hash].into_iter().flatten() {
                if let Some(other) = catalog.by_hash.insert(hash, key.clone())
                    && other.id != key.id
                {
                    return Err(Inconsistent::DoubledKey(other.id.to_string(), key.id.to_string()));
                }
            }
            catalog.client_keys.insert(key.id, key);
        }

        for model in parts.global_models {
            if model.is_active && catalog.by_name.insert(model.name.clone(), model.id).is_some() {
                return Err(Inconsistent::DoubledModel(model.name));
            }
            catalog.global_models.insert(model.id, Arc::new(model));
        }

        let mut providers: Vec<_> = parts.providers.into_iter().map(Arc::new).collect();
        providers.sort_by(|a, b| a.name.cmp(&b.name));
        let by_id: HashMap<ProviderId, _> = providers.iter().map(|provider| (provider.id, provider.clone())).collect();
        catalog.providers = providers;

        let mut of_provider: HashMap<ProviderId, Vec<EndpointId>> = HashMap::new();
        for endpoint in parts.endpoints {
            if !by_id.contains_key(&endpoint.provider_id) {
                return Err(dangling("endpoint", endpoint.id, endpoint.provider_id));
            }
            of_provider.entry(endpoint.provider_id).or_default().push(endpoint.id);
            catalog.endpoints.insert(endpoint.id, Arc::new(endpoint));
        }
        let mut of_endpoint: HashMap<EndpointId, Vec<ProviderKeyId>> = HashMap::new();
        for key in parts.provider_keys {
            if !catalog.endpoints.contains_key(&key.endpoint_id) {
                return Err(dangling("provider key", key.id, key.endpoint_id));
            }
            of_endpoint.entry(key.endpoint_id).or_default().push(key.id);
            catalog.provider_keys.insert(key.id, Arc::new(key));
        }
        for list in of_provider.values_mut() {
            list.sort_unstable();
        }
        for list in of_endpoint.values_mut() {
            list.sort_unstable();
        }

        let mut models: Vec<_> = parts.models.into_iter().map(Arc::new).collect();
        models.sort_by_key(|model| model.id);
        for model in models {
            let Some(provider) = by_id.get(&model.provider_id) else {
                return Err(dangling("model", model.id, model.provider_id));
            };
            if !catalog.global_models.contains_key(&model.global_model_id) {
                return Err(dangling("model", model.id, model.global_model_id));
            }
            let names =
                std::iter::once(&model.provider_model_name).chain(model.aliases.iter().map(|alias| &alias.name));
            for name in names {
                let claims = catalog.claims.entry(name.clone()).or_default();
                if claims.last() != Some(&model.id) {
                    claims.push(model.id);
                }
            }
            let routes = catalog.routes.entry(model.global_model_id).or_default();
            for endpoint_id in of_provider.get(&provider.id).into_iter().flatten() {
                let Some(endpoint) = catalog.endpoints.get(endpoint_id) else { continue };
                for key_id in of_endpoint.get(endpoint_id).into_iter().flatten() {
                    let Some(key) = catalog.provider_keys.get(key_id) else { continue };
                    routes.push(Route {
                        provider: provider.clone(),
                        model: model.clone(),
                        endpoint: endpoint.clone(),
                        key: key.clone(),
                    });
                }
            }
            catalog.models.insert(model.id, model);
        }
        Ok(catalog)
    }

    pub(super) fn id_by_name(&self, name: &str) -> Option<GlobalModelId> {
        self.by_name.get(name).copied()
    }

    pub(super) fn claims(&self, name: &str) -> &[ModelId] {
        self.claims.get(name).map_or(&[], Vec::as_slice)
    }
}
