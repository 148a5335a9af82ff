//! Providers, endpoints and provider keys.

use super::{Once, Planner, existing, keep, patch, reset};
use crate::{
    apply::{ApplyError, state::State},
    document::{EndpointDoc, Patch, ProviderDoc, ProviderKeyDoc, ProxyDoc},
};
use domain::{
    catalog::EndpointConfig,
    format::{ApiFormat, BillingType},
    ids::{EndpointId, ProviderId},
    money::Factor,
    secret::{Sealed, Secret},
};
use std::collections::BTreeMap;
use store::{
    repo::{endpoints::EndpointRow, provider_keys::ProviderKeyRow, providers::ProviderRow},
    vault::Column,
};
use uuid::Uuid;

impl Planner<'_> {
    pub(super) fn providers(&mut self, docs: &[ProviderDoc]) -> Result<(), ApplyError> {
        let mut once = Once::new();
        for doc in docs {
            if once.first(&mut self.problems, &doc.name, &doc.at, "name", "a provider of this name") {
                self.provider(doc)?;
            }
        }
        Ok(())
    }

    fn provider(&mut self, doc: &ProviderDoc) -> Result<(), ApplyError> {
        let at = match existing(self.state.providers.find(&doc.name)) {
            Ok(at) => at,
            Err(ids) => {
                self.ambiguous(&doc.at, "provider", &ids);
                return Ok(());
            }
        };
        let mut row = at.map_or_else(|| new_provider(doc), |at| self.state.providers.get(at).clone());
        keep(&mut row.display_name, doc.display_name.as_ref());
        patch(&mut row.description, &doc.description);
        patch(&mut row.website, &doc.website);
        keep(&mut row.billing_type, doc.billing_type.as_ref());
        patch(&mut row.monthly_quota_usd, &doc.monthly_quota_usd);
        keep(&mut row.quota_reset_day, doc.quota_reset_day.as_ref());
        patch(&mut row.quota_last_reset_at, &doc.quota_last_reset_at);
        patch(&mut row.rpm_limit, &doc.rpm_limit);
        keep(&mut row.provider_priority, doc.provider_priority.as_ref());
        keep(&mut row.is_active, doc.is_active.as_ref());
        patch(&mut row.quota_expires_at, &doc.quota_expires_at);
        patch(&mut row.rate_limit, &doc.rate_limit);
        patch(&mut row.concurrent_limit, &doc.concurrent_limit);
        if row.billing_type == BillingType::MonthlyQuota && row.quota_last_reset_at.is_none() {
            let message = "is required with billing_type monthly_quota: periods are counted from it";
            self.problem(doc.at.field_problem("quota_last_reset_at", message));
        }
        if row.billing_type != BillingType::MonthlyQuota && row.monthly_quota_usd.is_some() {
            let message = format!("provider {}: monthly_quota_usd acts only with billing_type monthly_quota", row.name);
            self.warnings.push(message);
        }
        let provider = row.id;
        self.state.providers.put(at, row);

        let mut once = Once::new();
        let mut endpoints = Vec::new();
        for endpoint in &doc.endpoints {
            let (format, at) = (endpoint.api_format, &endpoint.at);
            if once.first(&mut self.problems, format, at, "api_format", "this provider's endpoint for it") {
                endpoints.extend(self.endpoint(provider, endpoint)?.map(|id| (id, endpoint)));
            }
        }
        // A key may be restricted to models by their upstream names.
        self.models(provider, &doc.models);
        for (id, endpoint) in endpoints {
            self.provider_keys(provider, id, &endpoint.keys)?;
        }
        Ok(())
    }

    fn endpoint(&mut self, provider: ProviderId, doc: &EndpointDoc) -> Result<Option<EndpointId>, ApplyError> {
        let at = match existing(self.state.endpoints.find(&(provider, doc.api_format))) {
            Ok(at) => at,
            Err(ids) => {
                self.ambiguous(&doc.at, "endpoint", &ids);
                return Ok(None);
            }
        };
        if at.is_none() && doc.base_url.is_none() {
            self.problem(doc.at.field_problem("base_url", "is required for a new endpoint"));
        }
        let mut row = at.map_or_else(|| new_endpoint(provider, doc), |at| self.state.endpoints.get(at).clone());
        keep(&mut row.base_url, doc.base_url.as_ref());
        reset(&mut row.headers, &doc.headers, BTreeMap::new());
        keep(&mut row.timeout, doc.timeout.as_ref());
        keep(&mut row.max_retries, doc.max_retries.as_ref());
        patch(&mut row.max_concurrent, &doc.max_concurrent);
        patch(&mut row.rate_limit, &doc.rate_limit);
        keep(&mut row.is_active, doc.is_active.as_ref());
        patch(&mut row.custom_path, &doc.custom_path);
        reset(&mut row.config, &doc.config, EndpointConfig::default());
        self.proxy(&mut row, &doc.proxy)?;
        let id = row.id;
        self.state.endpoints.put(at, row);
        Ok(Some(id))
    }

    fn proxy(&self, row: &mut EndpointRow, doc: &Patch<ProxyDoc>) -> Result<(), ApplyError> {
        match doc {
            Patch::Absent => {}
            Patch::Null => (row.proxy, row.proxy_password) = (None, None),
            Patch::Set(doc) => {
                row.proxy = Some(doc.proxy.clone());
                let stored = row.proxy_password.take().filter(|_| doc.proxy.username.is_some());
                row.proxy_password = match &doc.password {
                    Some(password) => {
                        Some(self.sealed(Column::ProxyPassword, row.id.uuid(), stored.as_ref(), password)?)
                    }
                    None => stored,
                };
            }
        }
        Ok(())
    }

    fn provider_keys(
        &mut self,
        provider: ProviderId,
        endpoint: EndpointId,
        docs: &[ProviderKeyDoc],
    ) -> Result<(), ApplyError> {
        let mut once = Once::new();
        for doc in docs {
            if once.first(&mut self.problems, &doc.name, &doc.at, "name", "this endpoint's key of this name") {
                self.provider_key(provider, endpoint, doc)?;
            }
        }
        Ok(())
    }

    fn provider_key(
        &mut self,
        provider: ProviderId,
        endpoint: EndpointId,
        doc: &ProviderKeyDoc,
    ) -> Result<(), ApplyError> {
        let at = match existing(self.state.provider_keys.find(&(endpoint, doc.name.clone()))) {
            Ok(at) => at,
            Err(ids) => {
                self.ambiguous(&doc.at, "provider key", &ids);
                return Ok(());
            }
        };
        let mut row = at.map_or_else(|| new_provider_key(endpoint, doc), |at| self.state.provider_keys.get(at).clone());
        match &doc.api_key {
            Some(secret) => {
                row.api_key = self.sealed(Column::ProviderKey, row.id.uuid(), Some(&row.api_key), secret)?;
            }
            None if at.is_none() => self.problem(doc.at.field_problem("api_key", "is required for a new key")),
            None => {}
        }
        patch(&mut row.note, &doc.note);
        keep(&mut row.rate_multiplier, doc.rate_multiplier.as_ref());
        keep(&mut row.internal_priority, doc.internal_priority.as_ref());
        patch(&mut row.global_priority, &doc.global_priority);
        patch(&mut row.max_concurrent, &doc.max_concurrent);
        patch(&mut row.rate_limit, &doc.rate_limit);
        patch(&mut row.daily_limit, &doc.daily_limit);
        patch(&mut row.monthly_limit, &doc.monthly_limit);
        let served = |state: &State| {
            let models = state.models.rows().filter(move |model| model.provider_id == provider);
            let aliases = |model: &store::repo::models::ModelRow| {
                let aliases = model.provider_model_aliases.iter().map(|alias| alias.name.clone());
                aliases.chain([model.provider_model_name.clone()]).collect::<Vec<_>>()
            };
            let globals = state.global_models.rows().map(|model| model.name.clone());
            models.flat_map(aliases).chain(globals).collect::<Vec<_>>()
        };
        let find = |state: &State, name: &str| served(state).iter().any(|known| known == name).then(|| name.to_owned());
        let lives = |state: &State, name: &String| find(state, name).is_some();
        self.resolve_patch(&mut row.allowed_models, "model", &doc.allowed_models, find, served, lives);
        reset(&mut row.capabilities, &doc.capabilities, BTreeMap::new());
        keep(&mut row.cache_ttl_minutes, doc.cache_ttl_minutes.as_ref());
        keep(&mut row.max_probe_interval_minutes, doc.max_probe_interval_minutes.as_ref());
        keep(&mut row.is_active, doc.is_active.as_ref());
        patch(&mut row.expires_at, &doc.expires_at);
        self.state.provider_keys.put(at, row);
        Ok(())
    }

    /// The secret sealed for its row, or what is stored if that is the same: sealing it again would look like a change.
    fn sealed(
        &self,
        column: Column,
        row: Uuid,
        stored: Option<&Sealed>,
        secret: &Secret,
    ) -> Result<Sealed, ApplyError> {
        let is_same = |stored: &&Sealed| {
            self.vault.unseal(column, row, stored).is_ok_and(|clear| clear.expose() == secret.expose())
        };
        match stored.filter(is_same) {
            Some(stored) => Ok(stored.clone()),
            None => Ok(self.vault.seal(column, row, secret)?),
        }
    }
}

/// The provider of a name, and all names.
pub(super) fn provider_named(state: &State, name: &str) -> Option<ProviderId> {
    state.providers.named(&name.to_owned()).map(|row| row.id)
}

/// All global models.
pub(super) fn model_names(state: &State) -> Vec<String> {
    state.global_models.rows().map(|row| row.name.clone()).collect()
}

pub(super) fn provider_names(state: &State) -> Vec<String> {
    state.providers.rows().map(|row| row.name.clone()).collect()
}

/// The endpoint written `acme/CLAUDE`, and all of them.
pub(super) fn endpoint_named(state: &State, name: &str) -> Option<EndpointId> {
    let (provider, format) = name.rsplit_once('/')?;
    let format: ApiFormat = format.parse().ok()?;
    state.endpoint(provider_named(state, provider)?, format).map(|row| row.id)
}

pub(super) fn endpoint_names(state: &State) -> Vec<String> {
    let names = crate::apply::show::Names::of(state);
    state.endpoints.rows().map(|row| names.endpoint(row.id)).collect()
}

fn new_provider(doc: &ProviderDoc) -> ProviderRow {
    ProviderRow {
        id: store::mint(),
        name: doc.name.clone(),
        display_name: doc.name.clone(),
        description: None,
        website: None,
        billing_type: BillingType::PayAsYouGo,
        monthly_quota_usd: None,
        quota_reset_day: 30,
        quota_last_reset_at: None,
        rpm_limit: None,
        provider_priority: 100,
        is_active: true,
        quota_expires_at: None,
        rate_limit: None,
        concurrent_limit: None,
    }
}

fn new_endpoint(provider: ProviderId, doc: &EndpointDoc) -> EndpointRow {
    EndpointRow {
        id: store::mint(),
        provider_id: provider,
        api_format: doc.api_format,
        base_url: String::new(),
        headers: BTreeMap::new(),
        timeout: 300,
        max_retries: 3,
        max_concurrent: None,
        rate_limit: None,
        is_active: true,
        custom_path: None,
        config: EndpointConfig::default(),
        proxy: None,
        proxy_password: None,
    }
}

fn new_provider_key(endpoint: EndpointId, doc: &ProviderKeyDoc) -> ProviderKeyRow {
    ProviderKeyRow {
        id: store::mint(),
        endpoint_id: endpoint,
        api_key: Sealed::default(),
        name: doc.name.clone(),
        note: None,
        rate_multiplier: Factor::ONE,
        internal_priority: 50,
        global_priority: None,
        max_concurrent: None,
        rate_limit: None,
        daily_limit: None,
        monthly_limit: None,
        allowed_models: None,
        capabilities: BTreeMap::new(),
        cache_ttl_minutes: 5,
        max_probe_interval_minutes: 32,
        is_active: true,
        expires_at: None,
    }
}
