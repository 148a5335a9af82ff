//! The bill of a request, and the hold that guards it.
//!
//! In this version no account has a ledger: every hold is of nothing, and settling only computes the bill.

use crate::{
    catalog::PriceDefaults,
    format::{BillingType, Family},
    money::{Factor, NanoUsd, Overflow},
    price::{Cost, EffectivePrice, TokenCounts, UnitPrices, list_cost},
    records::Account,
};

/// Money reserved for a request in flight.
#[derive(Debug, Default)]
pub struct Hold {
    /// Whose money; `None` on an account without limit.
    pub account: Option<Account>,
    /// How much.
    pub amount: NanoUsd,
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
