//! The bill of a request, and the hold that guards it.
//!
//! [`bill`] settles, [`Sizing`] says with the same prices what a request may cost at most, and the [`Ledger`] keeps every
//! account's money: `settled + held ≤ limit` at every instant.

mod accounts;
mod size;

pub use accounts::{Hold, Ledger, Shipped, Short, Standing};
pub use size::{CacheUse, Output, Sizing};

use crate::{
    catalog::PriceDefaults,
    format::{BillingType, Family},
    money::{Factor, Overflow},
    price::{Cost, EffectivePrice, TokenCounts, UnitPrices, list_cost},
};

/// A place in a node's journal: what lies before it is in the database's sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The count of the node's starts.
    pub epoch: u64,
    /// The segment's number within the epoch.
    pub segment: u32,
    /// Bytes into it.
    pub offset: u64,
}

/// A request's bill, ready for its usage row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bill {
    /// Unit prices used.
    pub prices: UnitPrices,
    /// What the caller pays.
    pub list: Cost,
    /// What the operator pays.
    pub actual: Cost,
    /// The multiplier between them, 0 on a free tier.
    pub multiplier: Factor,
}

/// Bills a usage vector at one candidate's price.
pub fn bill(
    tokens: &TokenCounts,
    price: &EffectivePrice<'_>,
    ttl_minutes: u32,
    family: Family,
    defaults: &PriceDefaults,
    rate: (BillingType, Factor),
    delivered: bool,
) -> Result<Bill, Overflow> {
    let prices = price.units(tokens.context(), ttl_minutes, family, defaults)?;
    let list = list_cost(tokens, &prices, delivered)?;
    let multiplier = if rate.0 == BillingType::FreeTier { Factor::ZERO } else { rate.1 };
    Ok(Bill { prices, list, actual: list.actual(multiplier)?, multiplier })
}

#[cfg(test)]
mod tests;
