//! Providers, endpoints, provider keys and models.

use super::TieredPricing;
use crate::{
    format::{ApiFormat, BillingType, Capability, ConversionLoss, Feature},
    ids::{EndpointId, GlobalModelId, ModelId, PriceVersionId, ProviderId, ProviderKeyId},
    money::{Factor, NanoUsd},
    secret::Sealed,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What may be spent with a provider in its running period, as actual cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderQuota {
    /// All of it.
    pub limit: NanoUsd,
    /// What the database had as spent when the snapshot was read.
    pub spent: NanoUsd,
    /// When the next period begins, Unix microseconds.
    pub ends_at: i64,
}

/// An upstream company or account group.
#[derive(Debug, Clone)]
pub struct Provider {
    /// The row's id.
    pub id: ProviderId,
    /// Unique, immutable.
    pub name: String,
    /// How it is paid.
    pub billing_type: BillingType,
    /// Lower first.
    pub priority: i32,
    /// Off = skipped.
    pub is_active: bool,
    /// With `monthly_quota` only; spent = skipped.
    pub quota: Option<ProviderQuota>,
    /// Past = skipped, Unix microseconds.
    pub quota_expires_at: Option<i64>,
    /// Attempts in a fixed minute.
    pub rpm_limit: Option<u32>,
    /// Attempts per sliding minute over all its endpoints.
    pub rate_limit: Option<u32>,
    /// Attempts in flight over all its endpoints.
    pub concurrent_limit: Option<u32>,
}

/// What to do with one extra header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum HeaderMode {
    /// Set only where the client sent none.
    #[default]
    Default,
    /// Set in any case.
    Override,
    /// Taken out.
    Remove,
}

/// An endpoint's extra header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderRule {
    /// Its value; empty for `remove`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// When it applies.
    #[serde(default)]
    pub mode: HeaderMode,
}

/// One provider's base URL for one format.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The row's id.
    pub id: EndpointId,
    /// Whose it is.
    pub provider_id: ProviderId,
    /// What it speaks.
    pub api_format: ApiFormat,
    /// Where it is.
    pub base_url: String,
    /// Extra headers by lower-case name.
    pub headers: BTreeMap<String, HeaderRule>,
    /// Seconds: silence in a stream, else the whole attempt.
    pub timeout_s: u32,
    /// Retries after the first attempt on the same candidate.
    pub max_retries: u32,
    /// Attempts in flight.
    pub max_concurrent: Option<u32>,
    /// Attempts per sliding minute.
    pub rate_limit: Option<u32>,
    /// Off = skipped.
    pub is_active: bool,
    /// Replaces the format's path; may hold `{model}` and `{action}`.
    pub custom_path: Option<String>,
    /// The rest.
    pub config: EndpointConfig,
    /// What it is dialled through.
    pub proxy: Option<Proxy>,
    /// The proxy's password, if it wants one.
    pub proxy_password: Option<Sealed>,
}

impl Endpoint {
    /// The proxy, unless it is switched off.
    pub fn live_proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|proxy| proxy.enabled)
    }
}

/// What an endpoint is dialled through. Its password is a secret and lies beside it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// Where it is; read with [`crate::egress::ProxyAddress::parse`].
    pub url: String,
    /// Who it is asked as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Off = dialled directly.
    pub enabled: bool,
}

/// An endpoint's quirks; an absent field takes its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointConfig {
    /// Seconds until a stream's first event; `None` is 120, or the endpoint's timeout when thinking is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_event_timeout_s: Option<u32>,
    /// Whether HTTP/2 may be used; `None` is by ALPN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http2: Option<bool>,
    /// Whether other clients and formats are served; `None` is the format's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepts_conversion: Option<bool>,
    /// `None` is the setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversion_loss: Option<ConversionLoss>,
    /// Whether chat streams are asked for usage; `None` is yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_usage: Option<bool>,
    /// The chat field for a maximum that we set; `None` is `max_completion_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens_field: Option<String>,
    /// Top-level body fields that are taken out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub strip_params: Vec<String>,
    /// The deployment of Azure OpenAI that an `OPENAI` endpoint asks, in its path and with `api-key`; `{model}` in it is the
    /// upstream's name of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure_deployment: Option<String>,
}

/// Which capabilities a provider key has.
pub type Capabilities = BTreeMap<Capability, bool>;

/// A credential of an endpoint.
#[derive(Debug, Clone)]
pub struct ProviderKey {
    /// The row's id.
    pub id: ProviderKeyId,
    /// Where it is used.
    pub endpoint_id: EndpointId,
    /// Unique per endpoint.
    pub name: String,
    /// The credential.
    pub api_key: Sealed,
    /// Actual cost = list cost × this.
    pub rate_multiplier: Factor,
    /// Within the endpoint, lower first.
    pub internal_priority: i32,
    /// Across providers in `global_key` mode, lower first, `None` last.
    pub global_priority: Option<i32>,
    /// Attempts in flight; `None` is adaptive.
    pub max_concurrent: Option<u32>,
    /// Attempts per sliding minute.
    pub rate_limit: Option<u32>,
    /// Attempts that got a response, per business day.
    pub daily_limit: Option<u32>,
    /// The same per month.
    pub monthly_limit: Option<u32>,
    /// Global or upstream model names; `None` is all.
    pub allowed_models: Option<Vec<String>>,
    /// What it has beyond others.
    pub capabilities: Capabilities,
    /// Affinity lifetime; 0 = none.
    pub cache_ttl_minutes: u32,
    /// Cap of the breaker's back-off.
    pub max_probe_interval_minutes: u32,
    /// Off = skipped.
    pub is_active: bool,
    /// Past = skipped, Unix microseconds.
    pub expires_at: Option<i64>,
}

/// A global model's `config`: what it can do, where the provider model does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are the features; the rest is shown to people only")]
pub struct GlobalModelConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streaming: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vision: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_calling: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended_thinking: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_generation: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structured_output: Option<bool>,
    /// Tokens of prompt and answer together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_limit: Option<u64>,
    /// Tokens of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub official_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knowledge_cutoff: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release_date: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_modalities: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_modalities: Option<Vec<String>>,
}

impl GlobalModelConfig {
    /// What the model says of a feature; `None` is unknown.
    pub fn feature(&self, feature: Feature) -> Option<bool> {
        match feature {
            Feature::Vision => self.vision,
            Feature::FunctionCalling => self.function_calling,
            Feature::Streaming => self.streaming,
            Feature::ExtendedThinking => self.extended_thinking,
            Feature::ImageGeneration => self.image_generation,
        }
    }
}

/// A model name that callers ask for.
#[derive(Debug, Clone)]
pub struct GlobalModel {
    /// The row's id.
    pub id: GlobalModelId,
    /// What callers ask for.
    pub name: String,
    /// What people read.
    pub display_name: String,
    /// Added to the token cost.
    pub price_per_request: Option<NanoUsd>,
    /// Default prices; `None` is unpriced.
    pub tiered_pricing: Option<TieredPricing>,
    /// Prices of 0 in this row are meant.
    pub is_free: bool,
    /// The price row in force, if one is recorded.
    pub price_version: Option<PriceVersionId>,
    /// Capabilities that count for this model.
    pub supported_capabilities: Vec<Capability>,
    /// What it can do.
    pub config: GlobalModelConfig,
    /// Off = unknown to callers.
    pub is_active: bool,
    /// When the row was made, Unix microseconds; model lists show it.
    pub created_at: i64,
}

/// Another upstream name of a provider model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// The name sent upstream.
    pub name: String,
    /// Lower first, from 1.
    #[serde(default = "first_priority")]
    pub priority: u32,
    /// The endpoint formats it is for; none = all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_formats: Option<Vec<ApiFormat>>,
}

const fn first_priority() -> u32 {
    1
}

/// One provider's way to serve a global model.
#[derive(Debug, Clone)]
pub struct Model {
    /// The row's id.
    pub id: ModelId,
    /// Who serves it.
    pub provider_id: ProviderId,
    /// What it serves.
    pub global_model_id: GlobalModelId,
    /// The name sent upstream.
    pub provider_model_name: String,
    /// Further names.
    pub aliases: Vec<Alias>,
    /// `None` inherits.
    pub price_per_request: Option<NanoUsd>,
    /// `None` inherits.
    pub tiered_pricing: Option<TieredPricing>,
    /// Prices of 0 in this row are meant.
    pub is_free: bool,
    /// The price row in force, if one is recorded.
    pub price_version: Option<PriceVersionId>,
    /// Feature by feature; absent inherits.
    pub supports: BTreeMap<Feature, bool>,
    /// Off = skipped.
    pub is_active: bool,
    /// False = skipped, until a check or a person sets it again.
    pub is_available: bool,
}
