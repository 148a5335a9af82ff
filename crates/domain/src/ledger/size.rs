//! How much a request may cost at most: the price of its bounds at the dearest candidate that could serve it.

use crate::{
    catalog::{GlobalModel, PriceDefaults, Route},
    format::Family,
    money::{NanoUsd, PerMillion},
    price::{EffectivePrice, TokenCounts, UnitPrices, list_cost},
};

/// Parts of a prompt that are priced apart round apart, each by half a nano-dollar at most: four of them may come to this
/// much more than the prompt priced as one.
const ROUNDING: NanoUsd = NanoUsd(2);

/// What decides the size of a hold.
#[derive(Debug)]
pub struct Sizing {
    /// The dearest unit prices of each candidate and of each tier that the prompt can fall in.
    prices: Vec<UnitPrices>,
    prompt: u64,
    pub(super) output: Output,
}

/// Bounds of what is generated, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Answers asked for.
    pub choices: u64,
    /// The most of each answer.
    pub maximum: u64,
    /// The least maximum that is worth sending; below it a request is refused.
    pub least: u64,
}

/// How a request may write a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheUse {
    /// Its body marks parts for the cache.
    pub marked: bool,
    /// The lifetime that it asks for.
    pub ttl_minutes: u32,
}

impl Sizing {
    /// Sizes for a prompt of at most `prompt` tokens, at the prices of these candidates.
    pub fn new<'a>(
        model: &GlobalModel,
        candidates: impl Iterator<Item = &'a Route>,
        defaults: &PriceDefaults,
        cache: CacheUse,
        prompt: u64,
        output: Output,
    ) -> Self {
        let mut prices = Vec::new();
        let mut last = None;
        for route in candidates {
            let family = route.endpoint.api_format.family();
            // The keys of one endpoint follow each other and cost the same.
            if last.replace((route.model.id, family)) == Some((route.model.id, family)) {
                continue;
            }
            let price = EffectivePrice::of(model, &route.model);
            for context in price.contexts_up_to(prompt) {
                // A price out of range bills nothing, here as there.
                let units = price.units(context, cache.ttl_minutes, family, defaults).unwrap_or_default();
                prices.push(UnitPrices { input: dearest_prompt(&units, family, cache), ..units });
            }
        }
        Self { prices, prompt, output }
    }

    /// The most that the request can cost when each answer has `maximum` tokens at most.
    pub fn cost(&self, maximum: u64) -> NanoUsd {
        let tokens = TokenCounts {
            input: self.prompt,
            output: self.output.choices.saturating_mul(maximum),
            ..TokenCounts::default()
        };
        let costs = self.prices.iter().map(|units| {
            let cost = list_cost(&tokens, units, true).map_or(NanoUsd(i64::MAX), |cost| cost.total);
            if units.input.nanos() == 0 { cost } else { cost + ROUNDING }
        });
        costs.max().unwrap_or_default()
    }

    /// The largest maximum that costs no more than `left`, and what it costs; `None` below [`Output::least`].
    pub fn fitting(&self, left: NanoUsd) -> Option<(u64, NanoUsd)> {
        let Output { maximum, least, .. } = self.output;
        if maximum < least || self.cost(least) > left {
            return None;
        }
        // The cost rises with the maximum: `fits` always fits, `above` never does, or is not wanted.
        let (mut fits, mut above) = (least, maximum.saturating_add(1));
        while above - fits > 1 {
            let middle = fits + (above - fits) / 2;
            if self.cost(middle) <= left { fits = middle } else { above = middle }
        }
        Some((fits, self.cost(fits)))
    }
}

/// The price of a prompt's dearest token: one read, one written if the request can write, one that no cache knows.
fn dearest_prompt(units: &UnitPrices, family: Family, cache: CacheUse) -> PerMillion {
    // Elsewhere than with Anthropic a write costs what input costs, unless the tier names a price for it.
    let writes = match (family == Family::Anthropic, cache.marked) {
        (true, false) => units.input,
        (true, true) if cache.ttl_minutes == 60 => units.cache_write_1h.max(units.cache_write_5m),
        _ => units.cache_write_5m,
    };
    units.input.max(units.cache_read).max(writes)
}
