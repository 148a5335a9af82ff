//! What is stored of requests: one row for each that was admitted. Shipping writes them.

use super::texts::Texts;
use crate::db::{DbError, Insert, Row, Target, Tx, Value};
use domain::{
    format::{ApiFormat, RequestType, Status, UsageSource},
    ids::{
        ClientKeyId, EndpointId, GlobalModelId, PriceVersionId, ProviderId, ProviderKeyId, QuotaId, RequestId, UserId,
    },
    money::{Factor, NanoUsd, PerMillion},
    price::{Cost, TokenCounts, UnitPrices},
    records::{Account, RequestMetadata, Settled, UsageRow},
};
use sqlx::AssertSqlSafe;
use std::collections::HashSet;

/// Where rows go.
const TARGET: Target = Target {
    table: "usage",
    shared: &[
        "client_request_id",
        "user_id",
        "api_key_id",
        "quota_id",
        "from_balance",
        "provider",
        "model",
        "global_model_id",
        "target_model",
        "provider_id",
        "provider_endpoint_id",
        "provider_api_key_id",
        "cache_creation_input_tokens",
        "cache_creation_5m_tokens",
        "cache_creation_1h_tokens",
        "reasoning_tokens",
        "cache_creation_cost_usd",
        "request_cost_usd",
        "actual_cache_creation_cost_usd",
        "actual_request_cost_usd",
        "rate_multiplier",
        "input_price_per_1m",
        "output_price_per_1m",
        "cache_read_price_per_1m",
        "price_per_request",
        "cache_creation_price_per_1m",
        "cache_creation_1h_price_per_1m",
        "tier_index",
        "price_version_id",
        "delivered",
        "usage_source",
        "request_type",
        "api_format",
        "endpoint_api_format",
        "is_stream",
        "is_converted",
        "status_code",
        "upstream_status_code",
        "error_type",
        "error_message",
        "status",
        "client_ip",
        "user_agent",
        "request_metadata",
    ],
    own: &[
        "request_id",
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "total_tokens",
        "input_cost_usd",
        "output_cost_usd",
        "cache_read_cost_usd",
        "total_cost_usd",
        "actual_input_cost_usd",
        "actual_output_cost_usd",
        "actual_cache_read_cost_usd",
        "actual_total_cost_usd",
        "cache_cost_usd",
        "response_time_ms",
        "first_byte_time_ms",
        "created_at",
        "finished_at",
    ],
    conflict: "ON CONFLICT (request_id) DO NOTHING",
};

/// A row on its way in, whose money it was, and its texts that many rows share.
struct Incoming<'r> {
    row: &'r UsageRow,
    account: Option<Account>,
    client_ip: Value,
    user_agent: Value,
    metadata: Value,
}

impl<'r> Incoming<'r> {
    /// Most rows have the texts of the one `before`.
    fn new(settled: &'r Settled, before: Option<&Self>, texts: &mut Texts) -> Result<Self, DbError> {
        let row = &settled.usage;
        let client_ip = match before {
            Some(before) if before.row.client_ip == row.client_ip => before.client_ip.clone(),
            _ => texts.add(row.client_ip.map(|ip| ip.to_string()).as_deref()),
        };
        let user_agent = match before {
            Some(before) if before.row.user_agent == row.user_agent => before.user_agent.clone(),
            _ => texts.add(row.user_agent.as_deref()),
        };
        let metadata = match before {
            Some(before) if before.row.metadata == row.metadata => before.metadata.clone(),
            _ if row.metadata.is_empty() => Value::Int(None),
            _ => {
                let text = serde_json::to_string(&row.metadata);
                texts.add(Some(&text.map_err(|error| DbError::Unstorable(error.to_string()))?))
            }
        };
        Ok(Self { row, account: settled.account, client_ip, user_agent, metadata })
    }
}

/// What rows of one caller, model and provider key have in common.
type Alike<'r> = (Who<'r>, What<'r>, Ended<'r>, [u64; 3], [i64; 4]);
type Who<'r> = (Option<UserId>, ClientKeyId, Option<Account>, Option<&'r str>, [&'r Value; 3]);
type What<'r> = (
    (&'r str, &'r str, GlobalModelId, Option<&'r str>),
    (Option<ProviderId>, Option<EndpointId>, Option<ProviderKeyId>),
    (Factor, UnitPrices, Option<PriceVersionId>),
    (RequestType, ApiFormat, Option<ApiFormat>, bool, bool),
);
type Ended<'r> = (bool, UsageSource, u16, Option<u16>, Option<&'r str>, Option<&'r str>, Status);

impl Insert for Incoming<'_> {
    type Alike<'r>
        = Alike<'r>
    where
        Self: 'r;

    fn alike(&self) -> Alike<'_> {
        let row = self.row;
        let texts = [&self.client_ip, &self.user_agent, &self.metadata];
        (
            (row.user_id, row.api_key_id, self.account, row.client_request_id.as_deref(), texts),
            (
                (&row.provider, &row.model, row.global_model_id, row.target_model.as_deref()),
                (row.provider_id, row.provider_endpoint_id, row.provider_api_key_id),
                (row.rate_multiplier, row.prices, row.price_version_id),
                (row.request_type, row.api_format, row.endpoint_api_format, row.is_stream, row.is_converted),
            ),
            (
                row.delivered,
                row.usage_source,
                row.status_code,
                row.upstream_status_code,
                row.error_type.as_deref(),
                row.error_message.as_deref(),
                row.status,
            ),
            [row.tokens.cache_write_5m, row.tokens.cache_write_1h, row.tokens.reasoning],
            [row.cost.cache_creation, row.cost.request, row.actual.cache_creation, row.actual.request]
                .map(|cost| cost.0),
        )
    }

    fn shared(&self, values: &mut Vec<Value>) -> Result<(), DbError> {
        let row = self.row;
        let (tokens, prices) = (&row.tokens, &row.prices);
        values.extend([
            Value::opt_outside(row.client_request_id.as_ref()),
            row.user_id.map(UserId::uuid).into(),
            row.api_key_id.uuid().into(),
            quota_of(self.account).map(QuotaId::uuid).into(),
            matches!(self.account, Some(Account::Key(_))).into(),
            Value::outside(&row.provider),
            Value::outside(&row.model),
            row.global_model_id.uuid().into(),
            Value::opt_outside(row.target_model.as_ref()),
            row.provider_id.map(ProviderId::uuid).into(),
            row.provider_endpoint_id.map(EndpointId::uuid).into(),
            row.provider_api_key_id.map(ProviderKeyId::uuid).into(),
            Value::count(tokens.cache_creation()),
            Value::count(tokens.cache_write_5m),
            Value::count(tokens.cache_write_1h),
            Value::count(tokens.reasoning),
            row.cost.cache_creation.into(),
            row.cost.request.into(),
            row.actual.cache_creation.into(),
            row.actual.request.into(),
            row.rate_multiplier.into(),
            Value::count(prices.input.nanos()),
            Value::count(prices.output.nanos()),
            Value::count(prices.cache_read.nanos()),
            prices.per_request.into(),
            Value::count(prices.cache_write_5m.nanos()),
            Value::count(prices.cache_write_1h.nanos()),
            prices.tier_index.into(),
            row.price_version_id.map(PriceVersionId::uuid).into(),
            row.delivered.into(),
            row.usage_source.as_str().into(),
            row.request_type.as_str().into(),
            row.api_format.as_str().into(),
            row.endpoint_api_format.map(domain::format::ApiFormat::as_str).into(),
            row.is_stream.into(),
            row.is_converted.into(),
            row.status_code.into(),
            row.upstream_status_code.into(),
            Value::opt_outside(row.error_type.as_ref()),
            Value::opt_outside(row.error_message.as_ref()),
            row.status.as_str().into(),
            self.client_ip.clone(),
            self.user_agent.clone(),
            self.metadata.clone(),
        ]);
        Ok(())
    }

    fn own(&self, values: &mut Vec<Value>) {
        let row = self.row;
        let tokens = &row.tokens;
        values.extend([
            row.request_id.uuid().into(),
            Value::count(tokens.input),
            Value::count(tokens.output),
            Value::count(tokens.cache_read),
            Value::count(tokens.total()),
            row.cost.input.into(),
            row.cost.output.into(),
            row.cost.cache_read.into(),
            row.cost.total.into(),
            row.actual.input.into(),
            row.actual.output.into(),
            row.actual.cache_read.into(),
            row.actual.total.into(),
            (row.cost.cache_creation + row.cost.cache_read).into(),
            row.response_time_ms.into(),
            row.first_byte_time_ms.into(),
            row.created_at.into(),
            row.finished_at.into(),
        ]);
    }
}

fn read(row: &Row) -> Result<UsageRow, DbError> {
    let price = |column: &str| {
        PerMillion::new(row.number(column)?)
            .ok_or_else(|| DbError::Unreadable { column: column.to_owned(), why: "out of range".to_owned() })
    };
    let cost = |prefix: &str| {
        let part = |name: &str| row.usd(&format!("{prefix}{name}_cost_usd"));
        Ok::<_, DbError>(Cost {
            input: part("input")?,
            output: part("output")?,
            cache_creation: part("cache_creation")?,
            cache_read: part("cache_read")?,
            request: part("request")?,
            total: part("total")?,
        })
    };
    Ok(UsageRow {
        request_id: row.id("request_id")?,
        client_request_id: row.opt_text("client_request_id")?,
        user_id: row.opt_id("user_id")?,
        api_key_id: row.id::<ClientKeyId>("api_key_id")?,
        provider: row.text("provider")?,
        model: row.text("model")?,
        global_model_id: row.id::<GlobalModelId>("global_model_id")?,
        target_model: row.opt_text("target_model")?,
        provider_id: row.opt_id("provider_id")?,
        provider_endpoint_id: row.opt_id("provider_endpoint_id")?,
        provider_api_key_id: row.opt_id("provider_api_key_id")?,
        tokens: TokenCounts {
            input: row.number("input_tokens")?,
            cache_read: row.number("cache_read_input_tokens")?,
            cache_write_5m: row.number("cache_creation_5m_tokens")?,
            cache_write_1h: row.number("cache_creation_1h_tokens")?,
            output: row.number("output_tokens")?,
            reasoning: row.number("reasoning_tokens")?,
        },
        prices: UnitPrices {
            input: price("input_price_per_1m")?,
            output: price("output_price_per_1m")?,
            cache_read: price("cache_read_price_per_1m")?,
            cache_write_5m: price("cache_creation_price_per_1m")?,
            cache_write_1h: price("cache_creation_1h_price_per_1m")?,
            per_request: row.usd("price_per_request")?,
            tier_index: row.number("tier_index")?,
        },
        price_version_id: row.opt_id("price_version_id")?,
        delivered: row.flag("delivered")?,
        cost: cost("")?,
        actual: cost("actual_")?,
        rate_multiplier: row.factor("rate_multiplier")?,
        usage_source: row.named("usage_source")?,
        request_type: row.named("request_type")?,
        api_format: row.named("api_format")?,
        endpoint_api_format: row.opt_named("endpoint_api_format")?,
        is_stream: row.flag("is_stream")?,
        is_converted: row.flag("is_converted")?,
        status_code: row.number("status_code")?,
        upstream_status_code: row.opt_number("upstream_status_code")?,
        error_type: row.opt_text("error_type")?,
        error_message: row.opt_text("error_message")?,
        response_time_ms: row.number("response_time_ms")?,
        first_byte_time_ms: row.opt_number("first_byte_time_ms")?,
        status: row.named("status")?,
        client_ip: row.opt_named("client_ip_text")?,
        user_agent: row.opt_text("user_agent_text")?,
        metadata: row.json::<RequestMetadata>("request_metadata_text")?,
        created_at: row.int("created_at")?,
        finished_at: row.int("finished_at")?,
    })
}

/// Adds rows; false if some request had a row already, which then stays as it is.
pub(crate) async fn insert(tx: &mut Tx, requests: &[&Settled]) -> Result<bool, DbError> {
    let mut texts = Texts::default();
    let mut incoming: Vec<Incoming<'_>> = Vec::with_capacity(requests.len());
    for settled in requests {
        incoming.push(Incoming::new(settled, incoming.last(), &mut texts)?);
    }
    texts.store(tx).await?;
    let statements = tx.insertions(&TARGET, &incoming)?;
    Ok(tx.run_all(statements).await? == requests.len() as u64)
}

const fn quota_of(account: Option<Account>) -> Option<QuotaId> {
    match account {
        Some(Account::Quota(_, quota)) => Some(quota),
        _ => None,
    }
}

/// Whose money a request's row says it was; `None` if there is no row, or nobody's.
pub(crate) async fn account_any_owner(tx: &mut Tx, request: RequestId) -> Result<Option<Account>, DbError> {
    const ACCOUNT: &str = "SELECT user_id, api_key_id, quota_id, from_balance FROM usage WHERE request_id = $1";
    let row = tx.row(ACCOUNT, vec![request.uuid().into()]).await?;
    row.map_or(Ok(None), |row| account(&row))
}

/// Whose money a row says it was.
pub(crate) fn account(row: &Row) -> Result<Option<Account>, DbError> {
    if row.flag("from_balance")? {
        return Ok(Some(Account::Key(row.id("api_key_id")?)));
    }
    let Some(user) = row.opt_id("user_id")? else { return Ok(None) };
    Ok(Some(row.opt_id("quota_id")?.map_or(Account::User(user), |quota| Account::Quota(user, quota))))
}

/// Takes a row out.
pub(crate) async fn remove(tx: &mut Tx, request: RequestId) -> Result<(), DbError> {
    tx.run("DELETE FROM usage WHERE request_id = $1", vec![request.uuid().into()]).await?;
    Ok(())
}

/// Which of these requests have a row.
pub(crate) async fn known(tx: &mut Tx, requests: &[RequestId]) -> Result<HashSet<RequestId>, DbError> {
    const AT_ONCE: usize = 1_000;
    let mut known = HashSet::new();
    for some in requests.chunks(AT_ONCE) {
        let sql = format!("SELECT request_id FROM usage WHERE request_id IN ({})", tx.placeholders(1, some.len()));
        let values = some.iter().map(|request| request.uuid().into()).collect();
        for row in tx.rows_once(AssertSqlSafe(sql), values).await? {
            known.insert(row.id("request_id")?);
        }
    }
    Ok(known)
}

async fn select(tx: &mut Tx, rest: &str, values: Vec<Value>) -> Result<Vec<UsageRow>, DbError> {
    let columns: Vec<_> = TARGET.shared.iter().chain(TARGET.own).map(|column| format!("u.{column}")).collect();
    let sql = format!(
        "SELECT {}, ip.value AS client_ip_text, agent.value AS user_agent_text, meta.value AS request_metadata_text \
         FROM usage u LEFT JOIN usage_texts ip ON ip.id = u.client_ip \
         LEFT JOIN usage_texts agent ON agent.id = u.user_agent \
         LEFT JOIN usage_texts meta ON meta.id = u.request_metadata {rest}",
        columns.join(", ")
    );
    tx.rows(AssertSqlSafe(sql), values).await?.iter().map(read).collect()
}

/// A request's row.
pub async fn find_any_owner(tx: &mut Tx, request: RequestId) -> Result<Option<UsageRow>, DbError> {
    Ok(select(tx, "WHERE u.request_id = $1", vec![request.uuid().into()]).await?.pop())
}

/// The newest rows, the newest first.
pub async fn latest_any_owner(tx: &mut Tx, limit: u32) -> Result<Vec<UsageRow>, DbError> {
    select(tx, "ORDER BY u.request_id DESC LIMIT $1", vec![limit.into()]).await
}

/// How many rows there are, and what they cost.
pub async fn totals_any_owner(tx: &mut Tx) -> Result<Totals, DbError> {
    const TOTALS: &str = "SELECT COUNT(*) AS requests, CAST(COALESCE(SUM(total_cost_usd), 0) AS BIGINT) AS cost, \
                          CAST(COALESCE(SUM(actual_total_cost_usd), 0) AS BIGINT) AS actual FROM usage";
    let Some(row) = tx.row(TOTALS, vec![]).await? else { return Ok(Totals::default()) };
    Ok(Totals { requests: row.number("requests")?, cost: row.usd("cost")?, actual: row.usd("actual")? })
}

/// Sums over all rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows.
    pub requests: u64,
    /// List cost.
    pub cost: NanoUsd,
    /// Actual cost.
    pub actual: NanoUsd,
}
