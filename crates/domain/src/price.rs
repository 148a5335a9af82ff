//! Prices: the effective price of a model at a provider, and the exact cost of a usage vector.

use crate::{
    catalog::{GlobalModel, Model, PriceDefaults, Tier},
    format::Family,
    ids::PriceVersionId,
    money::{Factor, NanoUsd, Overflow, PerMillion, part_cost},
};
use serde::{Deserialize, Serialize};

/// Disjoint token counters of one request; `reasoning` is a part of `output`, for information.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCounts {
    /// Prompt tokens that no cache served or stored.
    pub input: u64,
    /// Prompt tokens read from a cache.
    pub cache_read: u64,
    /// Prompt tokens written to a 5-minute cache.
    pub cache_write_5m: u64,
    /// Prompt tokens written to a 1-hour cache.
    pub cache_write_1h: u64,
    /// Everything generated.
    pub output: u64,
    /// The part of `output` that was reasoning.
    pub reasoning: u64,
}

impl TokenCounts {
    /// The whole prompt: what decides the tier.
    pub fn context(&self) -> u64 {
        [self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h].into_iter().fold(0, u64::saturating_add)
    }

    /// Both kinds of cache writes.
    pub fn cache_creation(&self) -> u64 {
        self.cache_write_5m.saturating_add(self.cache_write_1h)
    }

    /// Prompt and output.
    pub fn total(&self) -> u64 {
        self.context().saturating_add(self.output)
    }
}

/// The unit prices that one request is billed at, nano-dollars per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UnitPrices {
    /// Uncached prompt.
    pub input: PerMillion,
    /// Output.
    pub output: PerMillion,
    /// Cache reads.
    pub cache_read: PerMillion,
    /// 5-minute writes.
    pub cache_write_5m: PerMillion,
    /// 1-hour writes.
    pub cache_write_1h: PerMillion,
    /// Added once, if something was delivered.
    pub per_request: NanoUsd,
    /// The tier they come from.
    pub tier_index: u32,
}

/// The parts of a cost; the total is their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Uncached prompt.
    pub input: NanoUsd,
    /// Output.
    pub output: NanoUsd,
    /// Both kinds of cache writes.
    pub cache_creation: NanoUsd,
    /// Cache reads.
    pub cache_read: NanoUsd,
    /// The per-request price.
    pub request: NanoUsd,
    /// Everything.
    pub total: NanoUsd,
}

/// A provider model's effective price: its own tiers and request price, else the global model's, each on its own.
#[derive(Debug, Clone, Copy)]
pub struct EffectivePrice<'a> {
    tiers: Option<&'a crate::catalog::TieredPricing>,
    /// Per request.
    pub per_request: Option<NanoUsd>,
    /// Whether zero prices are meant in the row the tiers come from.
    pub is_free: bool,
    /// The recorded price row.
    pub version: Option<PriceVersionId>,
}

impl<'a> EffectivePrice<'a> {
    /// What `model` charges for `global`.
    pub fn of(global: &'a GlobalModel, model: &'a Model) -> Self {
        let own = model.tiered_pricing.as_ref();
        Self {
            tiers: own.or(global.tiered_pricing.as_ref()),
            per_request: model.price_per_request.or(global.price_per_request),
            is_free: if own.is_some() { model.is_free } else { global.is_free || model.is_free },
            version: if own.is_some() { model.price_version } else { global.price_version },
        }
    }

    /// Whether generation can be billed at all.
    pub fn is_priced(&self) -> bool {
        self.tiers.is_some() || self.per_request.is_some_and(|price| price > NanoUsd::ZERO) || self.is_free
    }

    /// Whether a request can be billed whose answer may name no tokens: something must cost something.
    pub fn is_priced_per_request(&self) -> bool {
        let tiers = || self.tiers.into_iter().flat_map(|tiers| &tiers.tiers);
        self.per_request.is_some_and(|price| price > NanoUsd::ZERO)
            || self.is_free
            || tiers().any(|tier| tier.input_price_per_1m.nanos() > 0 || tier.output_price_per_1m.nanos() > 0)
    }

    /// A context in each tier that a prompt of up to `context` tokens can fall in; at least one.
    pub fn contexts_up_to(&self, context: u64) -> impl Iterator<Item = u64> + use<'a> {
        let below = self.tiers.into_iter().flat_map(|tiers| &tiers.tiers).filter_map(|tier| tier.up_to);
        below.take_while(move |up_to| *up_to < context).chain([context])
    }

    /// The unit prices for a prompt of `context` tokens; `ttl_minutes` is the cache lifetime that the request asked for.
    ///
    /// # Errors
    /// [`Overflow`] when a default factor takes a price out of range.
    pub fn units(
        &self,
        context: u64,
        ttl_minutes: u32,
        family: Family,
        defaults: &PriceDefaults,
    ) -> Result<UnitPrices, Overflow> {
        let per_request = self.per_request.unwrap_or_default();
        let Some((index, tier)) = self.tiers.and_then(|tiers| tiers.tier(context)) else {
            return Ok(UnitPrices { per_request, ..UnitPrices::default() });
        };
        let (write_5m, write_1h, read) = if family == Family::Anthropic {
            anthropic_cache(tier, ttl_minutes, defaults)?
        } else {
            let creation = |minutes| tier.ttl(minutes).and_then(|entry| entry.cache_creation_price_per_1m);
            let write = tier.cache_creation_price_per_1m.or_else(|| creation(5)).unwrap_or(tier.input_price_per_1m);
            (write, write, tier.cache_read_price_per_1m.unwrap_or(tier.input_price_per_1m))
        };
        Ok(UnitPrices {
            input: tier.input_price_per_1m,
            output: tier.output_price_per_1m,
            cache_read: read,
            cache_write_5m: write_5m,
            cache_write_1h: write_1h,
            per_request,
            tier_index: u32::try_from(index).unwrap_or(u32::MAX),
        })
    }
}

/// Write and read prices where the vendor tells 5-minute from 1-hour caches.
fn anthropic_cache(
    tier: &Tier,
    ttl_minutes: u32,
    defaults: &PriceDefaults,
) -> Result<(PerMillion, PerMillion, PerMillion), Overflow> {
    let creation = |minutes| tier.ttl(minutes).and_then(|entry| entry.cache_creation_price_per_1m);
    let input = tier.input_price_per_1m;
    let write_5m = match tier.cache_creation_price_per_1m.or_else(|| creation(5)) {
        Some(price) => price,
        None => input.times(defaults.write_5m)?,
    };
    let write_1h = match creation(60) {
        Some(price) => price,
        None => input.times(defaults.write_1h)?,
    };
    let read = tier.ttl(ttl_minutes).and_then(|entry| entry.cache_read_price_per_1m);
    let read = match read.or(tier.cache_read_price_per_1m) {
        Some(price) => price,
        None => input.times(defaults.read)?,
    };
    Ok((write_5m, write_1h, read))
}

/// The list cost of a usage vector: each part rounded half-even to a nano-dollar, the total their sum.
pub fn list_cost(tokens: &TokenCounts, prices: &UnitPrices, delivered: bool) -> Result<Cost, Overflow> {
    let write_5m = part_cost(tokens.cache_write_5m, prices.cache_write_5m)?;
    let write_1h = part_cost(tokens.cache_write_1h, prices.cache_write_1h)?;
    Cost {
        input: part_cost(tokens.input, prices.input)?,
        output: part_cost(tokens.output, prices.output)?,
        cache_creation: write_5m.checked_add(write_1h)?,
        cache_read: part_cost(tokens.cache_read, prices.cache_read)?,
        request: if delivered { prices.per_request } else { NanoUsd::ZERO },
        total: NanoUsd::ZERO,
    }
    .summed()
}

impl Cost {
    /// What the operator pays: each part times the provider key's multiplier.
    pub fn actual(&self, multiplier: Factor) -> Result<Self, Overflow> {
        Self {
            input: multiplier.of(self.input)?,
            output: multiplier.of(self.output)?,
            cache_creation: multiplier.of(self.cache_creation)?,
            cache_read: multiplier.of(self.cache_read)?,
            request: multiplier.of(self.request)?,
            total: NanoUsd::ZERO,
        }
        .summed()
    }

    fn summed(mut self) -> Result<Self, Overflow> {
        self.total = [self.output, self.cache_creation, self.cache_read, self.request]
            .into_iter()
            .try_fold(self.input, NanoUsd::checked_add)?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
