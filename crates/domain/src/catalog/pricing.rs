//! Tiered prices and the one validator for both tables that hold them.

use crate::money::PerMillion;
use serde::{Deserialize, Serialize};

/// Prices by context size: the first tier that a request's context fits prices the whole request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TieredPricing {
    /// In rising order of `up_to`; the last has none.
    pub tiers: Vec<Tier>,
}

/// The prices of one tier, nano-dollars per million tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Largest context in tokens, included; `None` in exactly the last tier.
    pub up_to: Option<u64>,
    /// Uncached prompt.
    pub input_price_per_1m: PerMillion,
    /// Everything generated.
    pub output_price_per_1m: PerMillion,
    /// 5-minute cache writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_creation_price_per_1m: Option<PerMillion>,
    /// Cache reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read_price_per_1m: Option<PerMillion>,
    /// Prices that depend on a cache's lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_ttl_pricing: Option<Vec<TtlPrice>>,
}

/// Cache prices for one lifetime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TtlPrice {
    /// The lifetime: 5 or 60 minutes with today's vendors.
    pub ttl_minutes: u32,
    /// Writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_creation_price_per_1m: Option<PerMillion>,
    /// Reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read_price_per_1m: Option<PerMillion>,
}

/// What is wrong with tiered prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPricing {
    /// No tier at all.
    #[error("needs at least one tier")]
    Empty,
    /// `up_to` must rise from tier to tier.
    #[error("tier {0}: up_to must be larger than in the tier before")]
    NotRising(usize),
    /// Only the last tier is open.
    #[error("tier {0}: up_to must be null in the last tier and only there")]
    OpenTier(usize),
    /// Zero prices without saying that they are meant.
    #[error("tier {0}: input and output cost nothing; set is_free if that is meant")]
    Free(usize),
}

impl TieredPricing {
    /// Checks order and openness, and that prices of 0 are meant.
    ///
    /// `has_request_price` says that the row also charges per request.
    pub fn validate(&self, is_free: bool, has_request_price: bool) -> Result<(), InvalidPricing> {
        let last = self.tiers.len().checked_sub(1).ok_or(InvalidPricing::Empty)?;
        let mut before = None;
        for (index, tier) in self.tiers.iter().enumerate() {
            match tier.up_to {
                None if index != last => return Err(InvalidPricing::OpenTier(index)),
                Some(_) if index == last => return Err(InvalidPricing::OpenTier(index)),
                Some(up_to) if before.is_some_and(|before| up_to <= before) => {
                    return Err(InvalidPricing::NotRising(index));
                }
                up_to => before = up_to.or(before),
            }
            let costs_nothing = tier.input_price_per_1m.nanos() == 0 && tier.output_price_per_1m.nanos() == 0;
            if costs_nothing && !is_free && !has_request_price {
                return Err(InvalidPricing::Free(index));
            }
        }
        Ok(())
    }

    /// The tier that a context of so many tokens falls in, and its index.
    pub fn tier(&self, context: u64) -> Option<(usize, &Tier)> {
        self.tiers.iter().enumerate().find(|(_, tier)| tier.up_to.is_none_or(|up_to| context <= up_to))
    }
}

impl Tier {
    /// The entry for a cache lifetime, if the tier names one.
    pub fn ttl(&self, minutes: u32) -> Option<&TtlPrice> {
        self.cache_ttl_pricing.as_ref()?.iter().find(|entry| entry.ttl_minutes == minutes)
    }
}
