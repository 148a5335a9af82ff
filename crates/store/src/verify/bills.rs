//! One bill: from the vector, the unit prices and the multiplier of a row to everything else in it.

use super::Findings;
use crate::{
    db::{DbError, Row},
    repo::usage,
};
use domain::{
    format::RequestType,
    money::{Factor, NanoUsd, Overflow, PerMillion},
    price::{Cost, TokenCounts, UnitPrices, list_cost},
    records::Account,
};
use uuid::Uuid;

const TABLE: &str = "usage";

/// Rows after a request, in the order of requests.
pub(super) const PAGE: &str = "SELECT request_id, user_id, api_key_id, quota_id, from_balance, global_model_id, \
    provider_id, input_tokens, output_tokens, cache_creation_input_tokens, cache_read_input_tokens, total_tokens, \
    cache_creation_5m_tokens, cache_creation_1h_tokens, reasoning_tokens, input_cost_usd, output_cost_usd, \
    cache_creation_cost_usd, cache_read_cost_usd, request_cost_usd, total_cost_usd, actual_input_cost_usd, \
    actual_output_cost_usd, actual_cache_creation_cost_usd, actual_cache_read_cost_usd, actual_request_cost_usd, \
    actual_total_cost_usd, cache_cost_usd, rate_multiplier, input_price_per_1m, output_price_per_1m, \
    cache_read_price_per_1m, price_per_request, cache_creation_price_per_1m, cache_creation_1h_price_per_1m, \
    tier_index, delivered, request_type, created_at \
    FROM usage WHERE request_id > $1 ORDER BY request_id LIMIT 1000";

/// What a row counts for.
pub(super) struct Line {
    pub(super) request: Uuid,
    /// Counting tokens counts nowhere.
    pub(super) counts: bool,
    pub(super) account: Option<Account>,
    pub(super) user: Option<Uuid>,
    pub(super) key: Uuid,
    pub(super) model: Uuid,
    pub(super) provider: Option<Uuid>,
    pub(super) created_at: i64,
    /// Derived, where that is possible, so that one wrong bill is one difference.
    pub(super) cost: i64,
    pub(super) actual: i64,
}

/// Checks a row's bill.
pub(super) fn check(row: &Row, findings: &mut Findings) -> Result<Line, DbError> {
    let request = row.id("request_id")?;
    let counts = row.named::<RequestType>("request_type")? != RequestType::CountTokens;
    let (mut cost, mut actual) = (row.int("total_cost_usd")?, row.int("actual_total_cost_usd")?);
    if let Some(basis) = Basis::read(row, request, findings)? {
        let sums =
            [("cache_creation_input_tokens", basis.tokens.cache_creation()), ("total_tokens", basis.tokens.total())];
        for (column, derived) in sums {
            findings.compare(TABLE, request, row, column, i64::try_from(derived).unwrap_or(i64::MAX))?;
        }
        match basis.bill(counts) {
            Ok((list, paid)) => {
                (cost, actual) = (list.total.0, paid.total.0);
                for (column, derived) in costs(&list, &paid) {
                    findings.compare(TABLE, request, row, column, derived.0)?;
                }
            }
            // A bill above what money can hold is not made: such a request costs nothing, at no price.
            Err(Overflow) => findings.add(TABLE, request, "total_cost_usd", cost, "above what an amount can be"),
        }
    }
    Ok(Line {
        request,
        counts,
        account: usage::account(row)?,
        user: row.opt_id("user_id")?,
        key: row.id("api_key_id")?,
        model: row.id("global_model_id")?,
        provider: row.opt_id("provider_id")?,
        created_at: row.int("created_at")?,
        cost,
        actual,
    })
}

/// What a bill is made of.
struct Basis {
    tokens: TokenCounts,
    prices: UnitPrices,
    multiplier: Factor,
    delivered: bool,
}

impl Basis {
    /// `None` if one of the values cannot be what it is.
    fn read(row: &Row, request: Uuid, findings: &mut Findings) -> Result<Option<Self>, DbError> {
        let mut good = true;
        let mut count = |column: &'static str| {
            let stored = row.int(column)?;
            Ok::<_, DbError>(u64::try_from(stored).unwrap_or_else(|_| {
                good = false;
                findings.add(TABLE, request, column, stored, "0 or more");
                0
            }))
        };
        let tokens = TokenCounts {
            input: count("input_tokens")?,
            cache_read: count("cache_read_input_tokens")?,
            cache_write_5m: count("cache_creation_5m_tokens")?,
            cache_write_1h: count("cache_creation_1h_tokens")?,
            output: count("output_tokens")?,
            reasoning: count("reasoning_tokens")?,
        };
        let mut price = |column| Ok::<_, DbError>(PerMillion::new(count(column)?).unwrap_or_default());
        let prices = UnitPrices {
            input: price("input_price_per_1m")?,
            output: price("output_price_per_1m")?,
            cache_read: price("cache_read_price_per_1m")?,
            cache_write_5m: price("cache_creation_price_per_1m")?,
            cache_write_1h: price("cache_creation_1h_price_per_1m")?,
            per_request: row.usd("price_per_request")?,
            tier_index: u32::try_from(count("tier_index")?).unwrap_or(u32::MAX),
        };
        let multiplier = count("rate_multiplier")?;
        let delivered = row.flag("delivered")?;
        let factor = u32::try_from(multiplier).ok().and_then(Factor::from_millionths);
        if factor.is_none() {
            good = false;
            findings.add(TABLE, request, "rate_multiplier", multiplier, "0 to 1000, in millionths");
        }
        Ok(factor.filter(|_| good).map(|multiplier| Self { tokens, prices, multiplier, delivered }))
    }

    /// List cost and actual cost.
    fn bill(&self, is_billed: bool) -> Result<(Cost, Cost), Overflow> {
        if !is_billed {
            return Ok(Default::default());
        }
        let list = list_cost(&self.tokens, &self.prices, self.delivered)?;
        Ok((list, list.actual(self.multiplier)?))
    }
}

fn costs(list: &Cost, paid: &Cost) -> [(&'static str, NanoUsd); 13] {
    [
        ("input_cost_usd", list.input),
        ("output_cost_usd", list.output),
        ("cache_creation_cost_usd", list.cache_creation),
        ("cache_read_cost_usd", list.cache_read),
        ("request_cost_usd", list.request),
        ("total_cost_usd", list.total),
        ("cache_cost_usd", list.cache_creation + list.cache_read),
        ("actual_input_cost_usd", paid.input),
        ("actual_output_cost_usd", paid.output),
        ("actual_cache_creation_cost_usd", paid.cache_creation),
        ("actual_cache_read_cost_usd", paid.cache_read),
        ("actual_request_cost_usd", paid.request),
        ("actual_total_cost_usd", paid.total),
    ]
}
