//! The history of prices: a row for every price that was ever in force.

use crate::{
    db::{DbError, Tx, Value},
    mint,
};
use domain::{catalog::TieredPricing, ids::PriceVersionId, money::NanoUsd};
use std::collections::HashMap;
use uuid::Uuid;

/// What one row charges.
#[derive(Debug, Clone, PartialEq)]
pub struct Price {
    /// Per request.
    pub per_request: Option<NanoUsd>,
    /// Per million tokens.
    pub tiers: Option<TieredPricing>,
    /// Prices of 0 are meant.
    pub is_free: bool,
}

/// Who set a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A document.
    Import,
}

impl Source {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Import => "import",
        }
    }
}

/// The newest version of each row.
const NEWEST: &str = "SELECT id, row_id, price_per_request, tiered_pricing, is_free FROM ( \
                      SELECT id, row_id, price_per_request, tiered_pricing, is_free, \
                      ROW_NUMBER() OVER (PARTITION BY row_id ORDER BY effective_from DESC, id DESC) AS place \
                      FROM price_versions) AS ranked WHERE place = 1";

/// Adds a price to a row's history, unless it is the one in force already.
pub(crate) async fn record(
    tx: &mut Tx,
    table: &'static str,
    row: Uuid,
    price: &Price,
    source: Source,
) -> Result<(), DbError> {
    const LAST: &str = "SELECT price_per_request, tiered_pricing, is_free FROM price_versions WHERE row_id = $1 \
                        ORDER BY effective_from DESC, id DESC LIMIT 1";
    const RECORD: &str = "INSERT INTO price_versions (id, created_at, row_table, row_id, price_per_request, \
                          tiered_pricing, is_free, effective_from, actor_id, source) \
                          VALUES ($1, $2, $3, $4, $5, $6, $7, $2, NULL, $8)";
    let last = tx.row(LAST, vec![row.into()]).await?;
    let last = last
        .map(|row| {
            Ok::<_, DbError>(Price {
                per_request: row.opt_usd("price_per_request")?,
                tiers: row.opt_json("tiered_pricing")?,
                is_free: row.flag("is_free")?,
            })
        })
        .transpose()?;
    let unpriced = Price { per_request: None, tiers: None, is_free: false };
    if last.as_ref().unwrap_or(&unpriced) == price {
        return Ok(());
    }
    let values = vec![
        mint::<Uuid>().into(),
        tx.now_us().into(),
        table.into(),
        row.into(),
        price.per_request.into(),
        Value::opt_json(price.tiers.as_ref())?,
        price.is_free.into(),
        source.as_str().into(),
    ];
    tx.run(RECORD, values).await?;
    Ok(())
}

/// The version in force of each global model and model that has a price, by the row's id.
pub(crate) async fn current(tx: &mut Tx) -> Result<HashMap<Uuid, PriceVersionId>, DbError> {
    let mut current = HashMap::new();
    for row in tx.rows(NEWEST, vec![]).await? {
        let is_unpriced = row.opt_int("price_per_request")?.is_none()
            && row.opt_text("tiered_pricing")?.is_none()
            && !row.flag("is_free")?;
        if !is_unpriced {
            current.insert(row.id("row_id")?, row.id("id")?);
        }
    }
    Ok(current)
}
