//! Global models, provider models and their prices.

use super::{
    Patch, Place, Reference,
    read::Reader,
    tree::{Entry, Node},
    values::{boolean, decimal, integer, name, nothing, prose, text},
};
use domain::{
    catalog::{Alias, GlobalModelConfig, Tier, TieredPricing, TtlPrice},
    format::{Capability, Feature},
    money::{NanoUsd, PerMillion},
};
use std::collections::BTreeMap;

/// Largest token count that a model's limits or a tier may name.
const TOKENS_MAX: u64 = 1_000_000_000_000;

/// A name that callers ask for.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the fields are those of the document")]
pub struct GlobalModelDoc {
    /// Where it stands.
    pub at: Place,
    pub name: String,
    pub display_name: Option<String>,
    pub default_price_per_request: Patch<NanoUsd>,
    pub default_tiered_pricing: Patch<TieredPricing>,
    pub is_free: Option<bool>,
    pub supported_capabilities: Patch<Vec<Capability>>,
    pub config: Patch<GlobalModelConfig>,
    pub is_active: Option<bool>,
}

impl GlobalModelDoc {
    pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let mut fields = reader.fields(node)?;
        let doc = Self {
            at: fields.place(),
            name: fields.need("name", text(100)).unwrap_or_default(),
            display_name: fields.keep("display_name", text(100)),
            default_price_per_request: fields.patch("default_price_per_request", price_per_request),
            default_tiered_pricing: fields.patch_with("default_tiered_pricing", pricing),
            is_free: fields.keep("is_free", boolean),
            supported_capabilities: fields.patch_with("supported_capabilities", capabilities),
            config: fields.patch_with("config", global_config),
            is_active: fields.keep("is_active", boolean),
        };
        fields.finish();
        Some(doc)
    }
}

/// One provider's way to serve a global model.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the fields are those of the document")]
pub struct ModelDoc {
    /// Where it stands.
    pub at: Place,
    /// The global model's name.
    pub global_model: Reference,
    pub provider_model_name: Option<String>,
    pub provider_model_aliases: Patch<Vec<Alias>>,
    pub price_per_request: Patch<NanoUsd>,
    pub tiered_pricing: Patch<TieredPricing>,
    pub is_free: Option<bool>,
    /// The `supports_*` fields.
    pub supports: BTreeMap<Feature, Patch<bool>>,
    pub is_active: Option<bool>,
    pub is_available: Option<bool>,
}

impl ModelDoc {
    pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let mut fields = reader.fields(node)?;
        let global_model = fields.need("global_model", text(100)).unwrap_or_default();
        let doc = Self {
            at: fields.place(),
            global_model: Reference { name: global_model, at: fields.place_of("global_model") },
            provider_model_name: fields.keep("provider_model_name", text(200)),
            provider_model_aliases: fields
                .patch_with("provider_model_aliases", |reader, node| reader.items(node, alias)),
            price_per_request: fields.patch("price_per_request", price_per_request),
            tiered_pricing: fields.patch_with("tiered_pricing", pricing),
            is_free: fields.keep("is_free", boolean),
            supports: Feature::ALL
                .iter()
                .map(|feature| (*feature, fields.patch(supports(*feature), boolean)))
                .collect(),
            is_active: fields.keep("is_active", boolean),
            is_available: fields.keep("is_available", boolean),
        };
        fields.patch("config", nothing);
        fields.finish();
        Some(doc)
    }
}

/// The field that says whether a model has a feature.
pub(crate) const fn supports(feature: Feature) -> &'static str {
    match feature {
        Feature::Vision => "supports_vision",
        Feature::FunctionCalling => "supports_function_calling",
        Feature::Streaming => "supports_streaming",
        Feature::ExtendedThinking => "supports_extended_thinking",
        Feature::ImageGeneration => "supports_image_generation",
    }
}

fn price_per_request(node: &Node) -> Result<NanoUsd, String> {
    let price: NanoUsd = decimal(node)?;
    if price < NanoUsd::ZERO { Err("must not be negative".to_owned()) } else { Ok(price) }
}

pub(super) fn capabilities(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<Capability>> {
    let mut all = reader.items(node, |reader, item| reader.value(item, name))?;
    all.sort_unstable();
    all.dedup();
    Some(all)
}

/// `{capability: bool}`.
pub(super) fn capability_switches(reader: &mut Reader<'_>, node: &Node) -> Option<BTreeMap<Capability, bool>> {
    let pairs = reader.entries(node, |reader, entry: &Entry| {
        let capability = reader.value(&entry.value, |_| super::values::named(&entry.key));
        let value = reader.value(&entry.value, boolean);
        Some((capability?, value?))
    })?;
    Some(pairs.into_iter().collect())
}

fn alias(reader: &mut Reader<'_>, node: &Node) -> Option<Alias> {
    let mut fields = reader.fields(node)?;
    let name_sent = fields.need("name", text(200));
    let priority = fields.keep("priority", integer(1..=i32::MAX.unsigned_abs())).unwrap_or(1);
    let api_formats =
        fields.patch_with("api_formats", |reader, node| reader.items(node, |reader, item| reader.value(item, name)));
    fields.finish();
    Some(Alias { name: name_sent?, priority, api_formats: api_formats.value().cloned() })
}

/// Tiers as they were written; whether they make sense is checked when they are merged with the row's other fields.
fn pricing(reader: &mut Reader<'_>, node: &Node) -> Option<TieredPricing> {
    let mut fields = reader.fields(node)?;
    let tiers = fields.keep_with("tiers", |reader, node| reader.items(node, tier));
    if tiers.is_none() {
        fields.problem("tiers", "needs at least one tier");
    }
    fields.finish();
    Some(TieredPricing { tiers: tiers? })
}

fn tier(reader: &mut Reader<'_>, node: &Node) -> Option<Tier> {
    let mut fields = reader.fields(node)?;
    let up_to = fields.patch("up_to", integer(1..=TOKENS_MAX));
    let input = fields.need("input_price_per_1m", decimal::<PerMillion>);
    let output = fields.need("output_price_per_1m", decimal::<PerMillion>);
    let creation = fields.patch("cache_creation_price_per_1m", decimal::<PerMillion>);
    let read = fields.patch("cache_read_price_per_1m", decimal::<PerMillion>);
    let lifetimes = fields.patch_with("cache_ttl_pricing", |reader, node| reader.items(node, lifetime));
    fields.finish();
    Some(Tier {
        up_to: up_to.value().copied(),
        input_price_per_1m: input?,
        output_price_per_1m: output?,
        cache_creation_price_per_1m: creation.value().copied(),
        cache_read_price_per_1m: read.value().copied(),
        cache_ttl_pricing: lifetimes.value().cloned(),
    })
}

fn lifetime(reader: &mut Reader<'_>, node: &Node) -> Option<TtlPrice> {
    let mut fields = reader.fields(node)?;
    let minutes = fields.need("ttl_minutes", integer(1..=10_080));
    let creation = fields.patch("cache_creation_price_per_1m", decimal::<PerMillion>);
    let read = fields.patch("cache_read_price_per_1m", decimal::<PerMillion>);
    fields.finish();
    Some(TtlPrice {
        ttl_minutes: minutes?,
        cache_creation_price_per_1m: creation.value().copied(),
        cache_read_price_per_1m: read.value().copied(),
    })
}

fn global_config(reader: &mut Reader<'_>, node: &Node) -> Option<GlobalModelConfig> {
    let mut fields = reader.fields(node)?;
    let names = |reader: &mut Reader<'_>, node: &Node| reader.items(node, |reader, item| reader.value(item, text(50)));
    let tokens = || integer(1..=TOKENS_MAX);
    let config = GlobalModelConfig {
        streaming: fields.patch("streaming", boolean).into(),
        vision: fields.patch("vision", boolean).into(),
        function_calling: fields.patch("function_calling", boolean).into(),
        extended_thinking: fields.patch("extended_thinking", boolean).into(),
        image_generation: fields.patch("image_generation", boolean).into(),
        structured_output: fields.patch("structured_output", boolean).into(),
        context_limit: fields.patch("context_limit", tokens()).into(),
        output_limit: fields.patch("output_limit", tokens()).into(),
        description: fields.patch("description", prose(2_000)).into(),
        icon_url: fields.patch("icon_url", text(500)).into(),
        official_url: fields.patch("official_url", text(500)).into(),
        knowledge_cutoff: fields.patch("knowledge_cutoff", text(50)).into(),
        family: fields.patch("family", text(100)).into(),
        release_date: fields.patch("release_date", text(50)).into(),
        input_modalities: fields.patch_with("input_modalities", names).into(),
        output_modalities: fields.patch_with("output_modalities", names).into(),
    };
    fields.finish();
    Some(config)
}

/// Inside a structure that is replaced as a whole, null and absent are one.
impl<T> From<Patch<T>> for Option<T> {
    fn from(patch: Patch<T>) -> Self {
        match patch {
            Patch::Set(value) => Some(value),
            Patch::Absent | Patch::Null => None,
        }
    }
}
