//! Models, providers, endpoints and provider keys.

use super::{ExportError, Exporter, sorted, switches, time};
use crate::document::{Fields, Value, list, supports};
use domain::{
    catalog::{Alias, HeaderMode, HeaderRule, Proxy},
    format::Feature,
};
use std::collections::HashSet;
use store::{
    repo::{endpoints::EndpointRow, models::ModelRow, provider_keys::ProviderKeyRow, providers::ProviderRow},
    vault::Column,
};

impl Exporter<'_> {
    pub(super) fn global_models(&self) -> Result<Vec<Value>, ExportError> {
        let mut all = Vec::new();
        for row in sorted(self.state.global_models.rows(), |row| row.name.clone()) {
            let mut fields = Fields::default();
            fields.text("name", &row.name);
            fields.text("display_name", &row.display_name);
            fields.opt_text("default_price_per_request", row.default_price_per_request);
            fields.structure("default_tiered_pricing", &row.default_tiered_pricing)?;
            fields.flag("is_free", row.is_free);
            fields.texts("supported_capabilities", &row.supported_capabilities);
            fields.structure("config", &row.config)?;
            fields.flag("is_active", row.is_active);
            all.push(fields.into());
        }
        Ok(all)
    }

    pub(super) fn providers(&self) -> Result<Vec<Value>, ExportError> {
        let rows = sorted(self.state.providers.rows(), |row| row.name.clone());
        rows.into_iter().map(|row| self.provider(row)).collect()
    }

    fn provider(&self, row: &ProviderRow) -> Result<Value, ExportError> {
        let mut fields = Fields::default();
        fields.text("name", &row.name);
        fields.text("display_name", &row.display_name);
        fields.opt_text("description", row.description.as_ref());
        fields.opt_text("website", row.website.as_ref());
        fields.text("billing_type", row.billing_type);
        fields.opt_text("monthly_quota_usd", row.monthly_quota_usd);
        fields.number("quota_reset_day", row.quota_reset_day);
        time(&mut fields, "quota_last_reset_at", row.quota_last_reset_at);
        fields.opt_number("rpm_limit", row.rpm_limit);
        fields.number("provider_priority", row.provider_priority);
        fields.flag("is_active", row.is_active);
        time(&mut fields, "quota_expires_at", row.quota_expires_at);
        fields.opt_number("rate_limit", row.rate_limit);
        fields.opt_number("concurrent_limit", row.concurrent_limit);
        let endpoints = self.state.endpoints.rows().filter(|endpoint| endpoint.provider_id == row.id);
        let endpoints = sorted(endpoints, |endpoint| endpoint.api_format.to_string());
        let served = self.served(row);
        let endpoints: Result<Vec<_>, _> =
            endpoints.into_iter().map(|endpoint| self.endpoint(endpoint, &served)).collect();
        fields.list("endpoints", endpoints?);
        let models = self.state.models.rows().filter(|model| model.provider_id == row.id);
        let models = sorted(models, |model| self.names.global_model(model.global_model_id));
        let models: Result<Vec<_>, _> = models.into_iter().map(|model| self.model(model)).collect();
        fields.list("models", models?);
        Ok(fields.into())
    }

    /// Names of models that a key of this provider can be restricted to.
    fn served(&self, provider: &ProviderRow) -> HashSet<&str> {
        let mut served: HashSet<&str> = self.state.global_models.rows().map(|model| model.name.as_str()).collect();
        for model in self.state.models.rows().filter(|model| model.provider_id == provider.id) {
            served.insert(&model.provider_model_name);
            served.extend(model.provider_model_aliases.iter().map(|alias| alias.name.as_str()));
        }
        served
    }

    fn endpoint(&self, row: &EndpointRow, served: &HashSet<&str>) -> Result<Value, ExportError> {
        let mut fields = Fields::default();
        fields.text("api_format", row.api_format);
        fields.text("base_url", &row.base_url);
        let mut headers = Fields::default();
        for (name, rule) in &row.headers {
            headers.put(name, header(rule));
        }
        fields.put("headers", headers.into());
        fields.number("timeout", row.timeout);
        fields.number("max_retries", row.max_retries);
        fields.opt_number("max_concurrent", row.max_concurrent);
        fields.opt_number("rate_limit", row.rate_limit);
        fields.flag("is_active", row.is_active);
        fields.opt_text("custom_path", row.custom_path.as_ref());
        fields.structure("config", &row.config)?;
        let proxy = row.proxy.as_ref().map(|proxy| self.proxy(row, proxy)).transpose()?;
        fields.put("proxy", proxy.unwrap_or(Value::Null));
        let keys = self.state.provider_keys.rows().filter(|key| key.endpoint_id == row.id);
        let keys = sorted(keys, |key| key.name.clone());
        let keys: Result<Vec<_>, _> = keys.into_iter().map(|key| self.provider_key(key, served)).collect();
        fields.list("keys", keys?);
        Ok(fields.into())
    }

    fn proxy(&self, row: &EndpointRow, proxy: &Proxy) -> Result<Value, ExportError> {
        let mut fields = Fields::default();
        fields.text("url", &proxy.url);
        if let Some(username) = &proxy.username {
            fields.text("username", username);
        }
        if let (Some(vault), Some(sealed)) = (self.vault, &row.proxy_password) {
            let clear = vault
                .unseal(Column::ProxyPassword, row.id.uuid(), sealed)
                .map_err(|_| ExportError::Sealed(format!("the proxy of endpoint {}", self.names.endpoint(row.id))))?;
            fields.secret("password", clear.expose());
        }
        fields.flag("enabled", proxy.enabled);
        Ok(fields.into())
    }

    fn provider_key(&self, row: &ProviderKeyRow, served: &HashSet<&str>) -> Result<Value, ExportError> {
        let mut fields = Fields::default();
        fields.text("name", &row.name);
        if let Some(vault) = self.vault {
            let clear = vault.unseal(Column::ProviderKey, row.id.uuid(), &row.api_key).map_err(|_| {
                ExportError::Sealed(format!("provider key {}/{}", self.names.endpoint(row.endpoint_id), row.name))
            })?;
            fields.secret("api_key", clear.expose());
        }
        fields.opt_text("note", row.note.as_ref());
        fields.text("rate_multiplier", row.rate_multiplier);
        fields.number("internal_priority", row.internal_priority);
        fields.opt_number("global_priority", row.global_priority);
        fields.opt_number("max_concurrent", row.max_concurrent);
        fields.opt_number("rate_limit", row.rate_limit);
        fields.opt_number("daily_limit", row.daily_limit);
        fields.opt_number("monthly_limit", row.monthly_limit);
        let models = row.allowed_models.as_ref();
        let live = models.map(|models| models.iter().filter(|name| served.contains(name.as_str())));
        fields.opt_texts("allowed_models", live);
        fields.put("capabilities", switches(&row.capabilities));
        fields.number("cache_ttl_minutes", row.cache_ttl_minutes);
        fields.number("max_probe_interval_minutes", row.max_probe_interval_minutes);
        fields.flag("is_active", row.is_active);
        time(&mut fields, "expires_at", row.expires_at);
        Ok(fields.into())
    }

    fn model(&self, row: &ModelRow) -> Result<Value, ExportError> {
        let mut fields = Fields::default();
        fields.text("global_model", self.names.global_model(row.global_model_id));
        fields.text("provider_model_name", &row.provider_model_name);
        fields.put("provider_model_aliases", list(row.provider_model_aliases.iter().map(alias)));
        fields.opt_text("price_per_request", row.price_per_request);
        fields.structure("tiered_pricing", &row.tiered_pricing)?;
        fields.flag("is_free", row.is_free);
        for feature in Feature::ALL {
            fields.opt_flag(supports(*feature), row.supports.get(feature).copied());
        }
        fields.flag("is_active", row.is_active);
        fields.flag("is_available", row.is_available);
        Ok(fields.into())
    }
}

fn header(rule: &HeaderRule) -> Value {
    let mode = match rule.mode {
        HeaderMode::Default => return Value::Text(rule.value.clone()),
        HeaderMode::Override => "override",
        HeaderMode::Remove => "remove",
    };
    let mut fields = Fields::default();
    if rule.mode != HeaderMode::Remove {
        fields.text("value", &rule.value);
    }
    fields.text("mode", mode);
    fields.into()
}

fn alias(alias: &Alias) -> Value {
    let mut fields = Fields::default();
    fields.text("name", &alias.name);
    fields.number("priority", alias.priority);
    if let Some(formats) = &alias.api_formats {
        fields.texts("api_formats", formats);
    }
    fields.into()
}
