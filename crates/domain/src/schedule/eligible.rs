//! Static rules: which candidates could ever serve this request, and why the others could not.

use super::{Skip, SkipCode};
use crate::{
    catalog::{Catalog, ClientKey, GlobalModel, Route, User},
    format::{ApiFormat, Capability, Feature, RequestType},
    ids::ProviderKeyId,
    price::EffectivePrice,
};
use std::{collections::BTreeMap, fmt::Debug};

/// What the rules need to know of a request.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Who owns the key.
    pub user: Option<&'a User>,
    /// Who asks.
    pub key: &'a ClientKey,
    /// What is asked for.
    pub model: &'a GlobalModel,
    /// In which format.
    pub format: ApiFormat,
    /// On which kind of route.
    pub request_type: RequestType,
    /// Features that the request needs.
    pub features: &'a [Feature],
    /// Capabilities that it requires (true) or rules out (false).
    pub required: &'a BTreeMap<Capability, bool>,
    /// Capabilities that it would like among equals.
    pub preferred: &'a [Capability],
    /// Names the caller in the spread: the same seed prefers the same key.
    pub affinity: u64,
    /// Unix microseconds.
    pub now_us: i64,
    /// Where what it names was issued.
    pub pin: Pin,
    /// What conversion can do for it.
    pub conversion: &'a dyn Conversion,
}

/// Where a request belongs, by what it names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pin {
    /// Anywhere.
    #[default]
    Nowhere,
    /// To this provider key. If that cannot serve, others can: without what only it understands.
    First(ProviderKeyId),
    /// To this provider key and no other.
    Only(ProviderKeyId),
}

impl Pin {
    /// The provider key it belongs to.
    pub const fn target(self) -> Option<ProviderKeyId> {
        match self {
            Self::Nowhere => None,
            Self::First(key) | Self::Only(key) => Some(key),
        }
    }
}

/// What conversion can do for a request.
pub trait Conversion: Debug + Sync {
    /// Whether it can be carried to the wire of this route: the wire has a way to say it, and what would be lost may be.
    ///
    /// Asked of routes alone that are open to it, and have nothing else against them.
    fn carries(&self, route: &Route) -> bool;
}

/// Carries everything: for questions about requests that have no body.
#[derive(Debug, Clone, Copy, Default)]
pub struct CarriesAll;

impl Conversion for CarriesAll {
    fn carries(&self, _: &Route) -> bool {
        true
    }
}

/// How close a candidate is to the caller's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Native {
    /// The very format.
    Format,
    /// The same wire for another kind of client.
    Wire,
    /// Another wire: the request and its answer are converted.
    Converted,
}

/// A candidate that could serve.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// Its pieces.
    pub route: &'a Route,
    /// How close it is.
    pub native: Native,
}

/// The result of the static rules.
#[derive(Debug, Default)]
pub struct Eligible<'a> {
    /// Who could serve.
    pub candidates: Vec<Candidate<'a>>,
    /// Who could not, and why.
    pub skipped: Vec<Skip>,
}

/// Applies every static rule to every route of the model, in one pass.
pub fn eligible<'a>(catalog: &'a Catalog, facts: &Facts<'_>) -> Eligible<'a> {
    let mapped = facts.key.mappings.iter().any(|mapping| mapping.is_enabled);
    let routes = catalog.routes(facts.model.id);
    let mut result = Eligible { candidates: Vec::with_capacity(routes.len()), skipped: Vec::new() };
    for route in routes {
        match judge(route, facts, mapped) {
            Ok(native) => result.candidates.push(Candidate { route, native }),
            Err(code) => result.skipped.push(Skip { key_id: route.key.id, code, number: 0 }),
        }
    }
    result
}

/// The first static reason against a route.
fn judge(route: &Route, facts: &Facts<'_>, mapped: bool) -> Result<Native, SkipCode> {
    let Route { provider, model, endpoint, key } = route;
    let past = |at: Option<i64>| at.is_some_and(|at| at <= facts.now_us);
    let mut levels = facts.user.map(|user| &user.access).into_iter().chain([&facts.key.access]);

    if !provider.is_active {
        return Err(SkipCode::ProviderInactive);
    }
    let in_mapping =
        || facts.key.mappings.iter().any(|mapping| mapping.is_enabled && mapping.provider_id == provider.id);
    if !levels.clone().all(|level| level.allows_provider(provider.id)) || (mapped && !in_mapping()) {
        return Err(SkipCode::ProviderNotAllowed);
    }
    if past(provider.quota_expires_at) {
        return Err(SkipCode::ProviderExpired);
    }
    if !endpoint.is_active {
        return Err(SkipCode::EndpointInactive);
    }
    if !levels.all(|level| level.allows_endpoint(endpoint.id)) {
        return Err(SkipCode::EndpointNotAllowed);
    }
    let (format, opened) = (endpoint.api_format, endpoint.config.accepts_conversion);
    let converts = facts.request_type.is_convertible() && format.serves_converted(facts.format, opened);
    if !converts && !format.serves_natively(facts.format, opened) {
        return Err(SkipCode::FormatMismatch);
    }
    if !model.is_active {
        return Err(SkipCode::ModelInactive);
    }
    if !model.is_available {
        return Err(SkipCode::ModelUnavailable);
    }
    let lacks = |feature: &Feature| {
        model.supports.get(feature).copied().or_else(|| facts.model.config.feature(*feature)) == Some(false)
    };
    if facts.features.iter().any(lacks) {
        return Err(SkipCode::FeatureMissing);
    }
    check_capabilities(route, facts)?;
    if !key.is_active {
        return Err(SkipCode::KeyInactive);
    }
    if past(key.expires_at) {
        return Err(SkipCode::KeyExpired);
    }
    let names_model = |allowed: &String| {
        *allowed == facts.model.name
            || *allowed == model.provider_model_name
            || model.aliases.iter().any(|alias| alias.name == *allowed)
    };
    if key.allowed_models.as_ref().is_some_and(|allowed| !allowed.iter().any(names_model)) {
        return Err(SkipCode::KeyModelNotAllowed);
    }
    let price = EffectivePrice::of(facts.model, model);
    let priced = match facts.request_type {
        RequestType::CountTokens => true,
        metered if metered.is_billed_per_request() => price.is_priced_per_request(),
        _ => price.is_priced(),
    };
    if !priced {
        return Err(SkipCode::Unpriced);
    }
    if matches!(facts.pin, Pin::Only(pinned) if pinned != key.id) {
        return Err(SkipCode::StateBound);
    }
    // Last, because it is the only rule that looks at the body.
    if converts && !facts.conversion.carries(route) {
        return Err(SkipCode::ConversionUnsupported);
    }
    Ok(match converts {
        true => Native::Converted,
        false if format == facts.format => Native::Format,
        false => Native::Wire,
    })
}

/// An exclusive capability must match both ways; a compatible one only has to be there when it is required.
fn check_capabilities(route: &Route, facts: &Facts<'_>) -> Result<(), SkipCode> {
    for capability in &facts.model.supported_capabilities {
        let has = route.key.capabilities.get(capability) == Some(&true);
        let required = facts.required.get(capability) == Some(&true);
        let exclusive = *capability == Capability::Cache1h;
        if required && !has {
            return Err(SkipCode::CapabilityMissing);
        }
        if exclusive && has && !required {
            return Err(SkipCode::CapabilityReserved);
        }
    }
    Ok(())
}
