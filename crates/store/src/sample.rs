//! A small world for tests: one of everything in the database, and the records of its requests.

#![allow(dead_code, reason = "each test binary uses a part")]

use domain::{
    catalog::{Access, EndpointConfig, GlobalModelConfig, TieredPricing},
    format::{ApiFormat, BillingType, RequestType, Role, Status, UsageSource},
    ids::{ClientKeyId, EndpointId, GlobalModelId, ModelId, ProviderId, ProviderKeyId, QuotaId, RequestId, UserId},
    money::{Factor, NanoUsd, PerMillion},
    price::{Cost, TokenCounts, UnitPrices, list_cost},
    records::{
        Account, AttemptEnded, AttemptOutcome, CandidateRow, Opened, Progress, Refusal, RequestMetadata, Settled,
        Trace, TraceEntry, UsageRow,
    },
    secret::Secret,
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};
use store::{
    DbError, Store, StoreConfig, SyncMode, Tx, fingerprint,
    repo::{
        api_keys::{self, ClientKeyRow},
        endpoints::{self, EndpointRow},
        global_models::{self, GlobalModelRow},
        mappings::{self, MappingRow},
        models::{self, ModelRow},
        provider_keys::{self, ProviderKeyRow},
        providers::{self, ProviderRow},
        quotas::{self, QuotaRow, QuotaType},
        users::{self, UserRow},
    },
    vault::Column,
};
use testkit::servers::Home;
use uuid::Uuid;

fn id<T: From<Uuid>>(number: u128) -> T {
    T::from(Uuid::from_u128(number))
}

pub(crate) fn user() -> UserId {
    id(1)
}

pub(crate) fn key() -> ClientKeyId {
    id(2)
}

pub(crate) fn standalone() -> ClientKeyId {
    id(3)
}

pub(crate) fn provider() -> ProviderId {
    id(4)
}

pub(crate) fn endpoint() -> EndpointId {
    id(5)
}

pub(crate) fn provider_key() -> ProviderKeyId {
    id(6)
}

pub(crate) fn global_model() -> GlobalModelId {
    id(7)
}

pub(crate) fn model() -> ModelId {
    id(8)
}

pub(crate) fn quota() -> QuotaId {
    id(9)
}

pub(crate) fn request(number: u128) -> RequestId {
    id(1_000_000 + number)
}

/// 2030-01-01.
pub(crate) const ARRIVED: i64 = 1_893_456_000_000_000;

/// A process's store.
pub(crate) async fn store(home: &Home) -> Store {
    open(home.path(), home.database_url()).await
}

/// The same for one who is told where.
pub(crate) async fn open(dir: &Path, database_url: Option<&str>) -> Store {
    Store::open(config(dir, database_url)).await.unwrap()
}

pub(crate) fn config(dir: &Path, database_url: Option<&str>) -> StoreConfig {
    let database_url = database_url.map(|url| Secret::new(url.to_owned()));
    StoreConfig { data_dir: dir.join("data"), database_url, master_key: None, sync: SyncMode::Never }
}

/// Runs a statement on the database itself, as somebody else might.
pub(crate) async fn run(store: &Store, sql: &'static str) {
    match store.db() {
        store::Db::Sqlite { writer, .. } => drop(sqlx::query(sql).execute(writer).await.unwrap()),
        store::Db::Postgres(pool) => drop(sqlx::query(sql).execute(pool).await.unwrap()),
    }
}

/// The one number that a query finds.
pub(crate) async fn number(store: &Store, sql: &'static str) -> i64 {
    match store.db() {
        store::Db::Sqlite { readers, .. } => sqlx::query_scalar(sql).fetch_one(readers).await.unwrap(),
        store::Db::Postgres(pool) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
    }
}

/// Puts the world into the database.
pub(crate) async fn seed(store: &Store) {
    let mut tx = store.db().begin().await.unwrap();
    rows(&mut tx, store).await.unwrap();
    tx.commit().await.unwrap();
}

async fn rows(tx: &mut Tx, store: &Store) -> Result<(), DbError> {
    users::insert(tx, &user_row()).await?;
    providers::insert(tx, &provider_row()).await?;
    endpoints::insert(tx, &endpoint_row()).await?;
    let credential = Secret::new("sk-upstream".to_owned());
    let sealed = store.vault().seal(Column::ProviderKey, provider_key().uuid(), &credential).unwrap();
    provider_keys::insert(tx, &ProviderKeyRow { api_key: sealed, ..provider_key_row() }).await?;
    global_models::insert(tx, &global_model_row()).await?;
    models::insert(tx, &model_row()).await?;
    api_keys::insert(tx, &client_key_row()).await?;
    api_keys::insert(tx, &standalone_row()).await?;
    mappings::insert(tx, &mapping_row()).await
}

pub(crate) fn user_row() -> UserRow {
    UserRow {
        id: user(),
        email: "ann@example.com".to_owned(),
        username: "ann".to_owned(),
        password_hash: None,
        role: Role::User,
        access: Access { models: Some(vec!["sonnet".to_owned()]), ..Access::default() },
        model_capability_settings: BTreeMap::new(),
        quota_usd: None,
        is_active: true,
        default_provider_id: None,
    }
}

pub(crate) fn provider_row() -> ProviderRow {
    ProviderRow {
        id: provider(),
        name: "acme".to_owned(),
        display_name: "Acme".to_owned(),
        description: None,
        website: None,
        billing_type: BillingType::PayAsYouGo,
        monthly_quota_usd: None,
        quota_reset_day: 30,
        quota_last_reset_at: None,
        rpm_limit: None,
        provider_priority: 100,
        is_active: true,
        quota_expires_at: None,
        rate_limit: Some(60),
        concurrent_limit: None,
    }
}

pub(crate) fn endpoint_row() -> EndpointRow {
    EndpointRow {
        id: endpoint(),
        provider_id: provider(),
        api_format: ApiFormat::Claude,
        base_url: "https://api.example.com".to_owned(),
        headers: BTreeMap::new(),
        timeout: 300,
        max_retries: 3,
        max_concurrent: None,
        rate_limit: None,
        is_active: true,
        custom_path: None,
        config: EndpointConfig { first_event_timeout_s: Some(30), ..EndpointConfig::default() },
        proxy: None,
        proxy_password: None,
    }
}

pub(crate) fn provider_key_row() -> ProviderKeyRow {
    ProviderKeyRow {
        id: provider_key(),
        endpoint_id: endpoint(),
        api_key: domain::secret::Sealed::default(),
        name: "main".to_owned(),
        note: None,
        rate_multiplier: half(),
        internal_priority: 50,
        global_priority: None,
        max_concurrent: Some(4),
        rate_limit: None,
        daily_limit: None,
        monthly_limit: None,
        allowed_models: None,
        capabilities: BTreeMap::new(),
        cache_ttl_minutes: 5,
        max_probe_interval_minutes: 32,
        is_active: true,
        expires_at: None,
    }
}

/// 3 and 15 dollars per million tokens.
pub(crate) fn pricing() -> TieredPricing {
    serde_json::from_str(r#"{"tiers": [{"up_to": null, "input_price_per_1m": "3", "output_price_per_1m": "15"}]}"#)
        .unwrap()
}

pub(crate) fn global_model_row() -> GlobalModelRow {
    GlobalModelRow {
        id: global_model(),
        name: "sonnet".to_owned(),
        display_name: "Sonnet".to_owned(),
        default_price_per_request: None,
        default_tiered_pricing: Some(pricing()),
        is_free: false,
        supported_capabilities: Vec::new(),
        config: GlobalModelConfig { vision: Some(true), ..GlobalModelConfig::default() },
        is_active: true,
    }
}

pub(crate) fn model_row() -> ModelRow {
    ModelRow {
        id: model(),
        provider_id: provider(),
        global_model_id: global_model(),
        provider_model_name: "sonnet-4-5".to_owned(),
        provider_model_aliases: Vec::new(),
        price_per_request: None,
        tiered_pricing: None,
        is_free: false,
        supports: BTreeMap::new(),
        is_active: true,
        is_available: true,
    }
}

pub(crate) fn client_key_row() -> ClientKeyRow {
    let text = fingerprint(Secret::new("sk-laptop".to_owned()));
    ClientKeyRow {
        id: key(),
        user_id: Some(user()),
        key_hash: text.hash,
        previous_key_hash: None,
        previous_valid_until: None,
        key_encrypted: None,
        key_prefix: Some(text.prefix),
        key_last4: Some(text.last4),
        name: Some("laptop".to_owned()),
        is_standalone: false,
        current_balance_usd: None,
        access: Access::default(),
        allowed_ips: None,
        rate_limit: Some(100),
        concurrent_limit: Some(5),
        force_capabilities: BTreeMap::new(),
        on_disconnect: None,
        capture_until: None,
        is_active: true,
        locked_at: None,
        lock_reason: None,
        expires_at: None,
        auto_delete_on_expiry: false,
    }
}

/// With a balance of one dollar.
pub(crate) fn standalone_row() -> ClientKeyRow {
    let text = fingerprint(Secret::new("sk-kiosk".to_owned()));
    ClientKeyRow {
        id: standalone(),
        user_id: None,
        key_hash: text.hash,
        name: Some("kiosk".to_owned()),
        is_standalone: true,
        current_balance_usd: Some(NanoUsd(1_000_000_000)),
        ..client_key_row()
    }
}

pub(crate) fn mapping_row() -> MappingRow {
    MappingRow {
        id: id(10),
        api_key_id: key(),
        provider_id: provider(),
        priority_adjustment: -10,
        weight_millionths: 1_000_000,
        is_enabled: true,
    }
}

/// Opens a monthly quota of ten dollars for the user.
pub(crate) async fn open_quota(store: &Store, id: QuotaId) {
    let mut tx = store.db().begin().await.unwrap();
    let row = QuotaRow {
        id,
        user_id: user(),
        quota_type: QuotaType::Monthly,
        quota_usd: NanoUsd(10_000_000_000),
        period_start: 0,
        period_end: i64::MAX,
    };
    quotas::open(&mut tx, &row).await.unwrap();
    tx.commit().await.unwrap();
}

pub(crate) fn half() -> Factor {
    Factor::from_millionths(500_000).unwrap()
}

/// The unit prices of [`pricing`] on an Anthropic endpoint.
pub(crate) fn prices() -> UnitPrices {
    let price = |nanos| PerMillion::new(nanos).unwrap();
    UnitPrices {
        input: price(3_000_000_000),
        output: price(15_000_000_000),
        cache_read: price(300_000_000),
        cache_write_5m: price(3_750_000_000),
        cache_write_1h: price(6_000_000_000),
        per_request: NanoUsd::ZERO,
        tier_index: 0,
    }
}

pub(crate) fn tokens() -> TokenCounts {
    TokenCounts { input: 1_000, output: 100, cache_read: 10, ..TokenCounts::default() }
}

/// What [`tokens`] cost: 0.004503 dollars.
pub(crate) fn cost() -> Cost {
    list_cost(&tokens(), &prices(), true).unwrap()
}

pub(crate) fn opened(number: u128) -> Opened {
    Opened {
        request_id: request(number),
        created_at: ARRIVED,
        account: Some(Account::User(user())),
        hold: NanoUsd::ZERO,
        user_id: Some(user()),
        api_key_id: key(),
        model: "sonnet".to_owned(),
        global_model_id: global_model(),
        api_format: ApiFormat::Claude,
        request_type: RequestType::Chat,
        is_stream: true,
        price_version_id: None,
    }
}

pub(crate) fn candidate(outcome: AttemptOutcome) -> CandidateRow {
    let failed = outcome == AttemptOutcome::Failed;
    CandidateRow {
        candidate_index: 0,
        retry_index: 0,
        provider_id: provider(),
        endpoint_id: endpoint(),
        key_id: provider_key(),
        outcome,
        skip_reason: failed.then(|| "transient".to_owned()),
        is_cached: false,
        status_code: Some(if failed { 503 } else { 200 }),
        error_type: None,
        error_message: failed.then(|| "try again".to_owned()),
        latency_ms: 40,
        queue_ms: 0,
        connect_ms: None,
        first_byte_ms: Some(10),
        stream_ms: Some(30),
        concurrent_requests: 1,
        actual_cost_usd: if failed { NanoUsd(7) } else { NanoUsd::ZERO },
        upstream_model: "sonnet-4-5".to_owned(),
        started_at: ARRIVED + 1_000,
        finished_at: ARRIVED + 41_000,
    }
}

pub(crate) fn attempt(number: u128) -> AttemptEnded {
    AttemptEnded { request_id: request(number), candidate: candidate(AttemptOutcome::Failed) }
}

pub(crate) fn progress(number: u128) -> Progress {
    Progress {
        request_id: request(number),
        tokens: tokens(),
        source: UsageSource::Upstream,
        provider_api_key_id: provider_key(),
        prices: prices(),
        price_version_id: Some(id(12)),
        cost: cost(),
        actual: cost().actual(half()).unwrap(),
        rate_multiplier: half(),
    }
}

/// Answered at the second try.
pub(crate) fn settled(number: u128) -> Settled {
    let usage = UsageRow {
        request_id: request(number),
        client_request_id: Some("theirs".to_owned()),
        user_id: Some(user()),
        api_key_id: key(),
        provider: "acme".to_owned(),
        model: "sonnet".to_owned(),
        global_model_id: global_model(),
        target_model: Some("sonnet-4-5".to_owned()),
        provider_id: Some(provider()),
        provider_endpoint_id: Some(endpoint()),
        provider_api_key_id: Some(provider_key()),
        tokens: tokens(),
        prices: prices(),
        price_version_id: None,
        delivered: true,
        cost: cost(),
        actual: cost().actual(half()).unwrap(),
        rate_multiplier: half(),
        usage_source: UsageSource::Upstream,
        request_type: RequestType::Chat,
        api_format: ApiFormat::Claude,
        endpoint_api_format: Some(ApiFormat::Claude),
        is_stream: true,
        is_converted: false,
        status_code: 200,
        upstream_status_code: Some(200),
        error_type: None,
        error_message: None,
        response_time_ms: 50,
        first_byte_time_ms: Some(20),
        status: Status::Completed,
        client_ip: Some(address()),
        user_agent: Some("sdk/1".to_owned()),
        metadata: RequestMetadata { edits: vec!["model".to_owned()], ..RequestMetadata::default() },
        created_at: ARRIVED,
        finished_at: ARRIVED + 50_000,
    };
    let mut answered = candidate(AttemptOutcome::Success);
    answered.retry_index = 1;
    let skipped = TraceEntry { key_id: id(11), code: "key_inactive".to_owned(), number: 0 };
    Settled {
        usage,
        candidates: vec![candidate(AttemptOutcome::Failed), answered],
        trace: Trace { entries: vec![skipped], more: 2 },
        account: Some(Account::User(user())),
        issued: vec![u128::to_be_bytes(number)],
    }
}

pub(crate) fn refusal(at: i64) -> Refusal {
    Refusal {
        api_key_id: Some(key()),
        key_hash_prefix: None,
        reason: "rate_limited".to_owned(),
        at,
        path: "/v1/messages".to_owned(),
        model: Some("sonnet".to_owned()),
        ip: address(),
    }
}

fn address() -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))
}
