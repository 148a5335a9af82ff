//! What a plan costs: the static rules and the order of 20 and of 1,000 candidates, with the live state that the gateway has.

use anyhow::Result;
use domain::{
    catalog::{
        Access, Budget, Catalog, ClientKey, Endpoint, EndpointConfig, GlobalModel, GlobalModelConfig, KeyLimits, Model,
        Parts, Provider, ProviderKey, Tier, TieredPricing, User,
    },
    format::{ApiFormat, BillingType, RequestType, Role},
    money::{Factor, NanoUsd, PerMillion},
    ports::Clock,
    records::Account,
    schedule::{
        self, Facts,
        affinity::{Conversation, Served},
        health::KeyState,
    },
    secret::Sealed,
};
use relay::health::Health;
use rustix::time::{ClockId, clock_gettime};
use std::{collections::BTreeMap, fmt::Write, hint::black_box, sync::Arc};
use store::SystemClock;
use uuid::Uuid;

/// Plans of one measurement, and measurements of which the median counts.
const PLANS: u32 = 200;
const ROUNDS: usize = 41;

/// One measured case.
struct Case {
    name: &'static str,
    candidates: u32,
    /// Out of ten candidates, so many rest.
    resting: u32,
    limited: bool,
}

/// Measures all cases; a part of the report.
pub(crate) fn section() -> Result<String> {
    let cases = [
        Case { name: "no limits", candidates: 20, resting: 0, limited: false },
        Case { name: "every limit set", candidates: 20, resting: 0, limited: true },
        Case { name: "half are out", candidates: 20, resting: 5, limited: false },
        Case { name: "no limits", candidates: 1_000, resting: 0, limited: false },
        Case { name: "every limit set", candidates: 1_000, resting: 0, limited: true },
        Case { name: "half are out", candidates: 1_000, resting: 5, limited: false },
    ];
    let mut text = "\n## Planning\n\nStatic rules and order of a request's candidates, with live state, ten keys to a provider. Bars: 20 candidates \
                    in less than 10 µs, 1,000 in less than 200 µs. \
                    A candidate that is out allocates nothing but its place in the list of codes, which a test of `domain` counts.\n\n| candidates | case | CPU µs per plan |\n| ---: | --- | ---: |\n".to_owned();
    for case in cases {
        let ns = measure(&case)?;
        writeln!(text, "| {} | {} | {}.{:02} |", case.candidates, case.name, ns / 1_000, ns % 1_000 / 10)?;
    }
    Ok(text)
}

/// CPU time of this thread so far: what else the cores do does not count.
pub(crate) fn cpu_ns() -> i64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Nanoseconds of CPU time of one plan, the median.
fn measure(case: &Case) -> Result<i64> {
    let clock = Arc::new(SystemClock::new());
    let catalog = Arc::new(Catalog::build(parts(case))?);
    let (health, _limiter) = Health::alone(clock.clone(), catalog.clone());
    let now_us = clock.unix_us();
    let (key, model) = (&catalog.client_keys[&id(2)], &catalog.global_models[&id(3)]);
    let routes = catalog.routes(model.id);
    // Some callers' caches are warm.
    for (hash, route) in (0..).zip(routes.iter().take(10)) {
        let conversation = Conversation { client: key.id, hash };
        let served = Served { target: route.key.id, ttl_minutes: 60, cache_tokens: 1_000, reports: true };
        health.served(conversation, &served, now_us);
    }
    for (number, route) in (0_u32..).zip(routes) {
        let mut state = KeyState::new(now_us);
        if number % 10 < case.resting {
            state.cool_until_us = now_us + 3_600_000_000;
        }
        health.restore(route.key.id, state, now_us);
    }
    let (required, mut rounds) = (BTreeMap::new(), Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        let began = cpu_ns();
        for affinity in 0..u64::from(PLANS) {
            let facts = Facts {
                user: key.user_id.and_then(|user| catalog.users.get(&user)).map(|user| &**user),
                key,
                model,
                format: ApiFormat::Claude,
                request_type: RequestType::Chat,
                features: &[],
                required: &required,
                preferred: &[],
                affinity,
                now_us,
                pin: domain::schedule::Pin::Nowhere,
                conversion: &schedule::CarriesAll,
            };
            let record = health.warm(Conversation { client: key.id, hash: affinity % 14 }, now_us);
            let eligible = schedule::eligible(&catalog, &facts);
            let view = health.view(key.id.into(), true, now_us);
            black_box(schedule::plan(&catalog.settings, eligible, &facts, record.as_ref(), &view));
        }
        rounds.push((cpu_ns() - began) / i64::from(PLANS));
    }
    rounds.sort_unstable();
    Ok(rounds[ROUNDS / 2])
}

fn id<T: From<Uuid>>(number: u128) -> T {
    T::from(Uuid::from_u128(number))
}

/// Ids like real ones, random in their last bits.
fn random<T: From<Uuid>>(number: u64) -> T {
    let low = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    T::from(Uuid::from_u64_pair(0x0190_0000_0000_7000, low ^ (low >> 31)))
}

fn parts(case: &Case) -> Parts {
    let limit = |number: u32| case.limited.then_some(number);
    let price = |nanos| PerMillion::new(nanos).unwrap_or_default();
    let tier = Tier {
        up_to: None,
        input_price_per_1m: price(3_000_000_000),
        output_price_per_1m: price(15_000_000_000),
        cache_creation_price_per_1m: None,
        cache_read_price_per_1m: None,
        cache_ttl_pricing: None,
    };
    let mut parts = Parts {
        users: vec![User {
            id: id(1),
            username: "ann".to_owned(),
            email: "ann@example.com".to_owned(),
            role: Role::User,
            is_active: true,
            access: Access::default(),
            model_capability_settings: BTreeMap::new(),
            default_provider_id: None,
            quota: Budget { account: Account::User(id(1)), limit: None, spent: NanoUsd::ZERO, ends_at: None },
        }],
        client_keys: vec![Box::new(ClientKey {
            id: id(2),
            user_id: Some(id(1)),
            name: "laptop".to_owned(),
            key_hash: [7; 32],
            previous_key_hash: None,
            previous_valid_until: None,
            balance: None,
            access: Access::default(),
            allowed_ips: None,
            limits: KeyLimits::default(),
            force_capabilities: BTreeMap::new(),
            on_disconnect: None,
            is_active: true,
            is_locked: false,
            expires_at: None,
            mappings: Vec::new(),
        })],
        global_models: vec![GlobalModel {
            id: id(3),
            name: "m".to_owned(),
            display_name: "M".to_owned(),
            price_per_request: None,
            tiered_pricing: Some(TieredPricing { tiers: vec![tier] }),
            is_free: false,
            price_version: None,
            supported_capabilities: Vec::new(),
            config: GlobalModelConfig::default(),
            is_active: true,
            created_at: 0,
        }],
        ..Parts::default()
    };
    // Ten keys to a provider.
    for number in 0..u64::from(case.candidates / 10) {
        let base = 1_000 * (number + 1);
        parts.providers.push(Provider {
            id: random(base),
            name: format!("p{number}"),
            billing_type: BillingType::PayAsYouGo,
            priority: i32::try_from(number % 5).unwrap_or(0),
            is_active: true,
            quota: None,
            quota_expires_at: None,
            rpm_limit: limit(1_000_000),
            rate_limit: limit(1_000_000),
            concurrent_limit: limit(1_000),
        });
        parts.endpoints.push(Endpoint {
            id: random(base + 1),
            provider_id: random(base),
            api_format: ApiFormat::Claude,
            base_url: "http://upstream.test".to_owned(),
            headers: BTreeMap::new(),
            timeout_s: 300,
            max_retries: 3,
            max_concurrent: limit(1_000),
            rate_limit: limit(1_000_000),
            is_active: true,
            custom_path: None,
            config: EndpointConfig::default(),
            proxy: None,
            proxy_password: None,
        });
        for key in 0..10 {
            parts.provider_keys.push(ProviderKey {
                id: random(base + 100 + key),
                endpoint_id: random(base + 1),
                name: format!("k{key}"),
                api_key: Sealed::default(),
                rate_multiplier: Factor::ONE,
                internal_priority: 50,
                global_priority: None,
                max_concurrent: limit(100),
                rate_limit: limit(1_000_000),
                daily_limit: limit(1_000_000),
                monthly_limit: limit(1_000_000),
                allowed_models: None,
                capabilities: BTreeMap::new(),
                cache_ttl_minutes: 5,
                max_probe_interval_minutes: 32,
                is_active: true,
                expires_at: None,
            });
        }
        parts.models.push(Model {
            id: random(base + 2),
            provider_id: random(base),
            global_model_id: id(3),
            provider_model_name: "up".to_owned(),
            aliases: Vec::new(),
            price_per_request: None,
            tiered_pricing: None,
            is_free: false,
            price_version: None,
            supports: BTreeMap::new(),
            is_active: true,
            is_available: true,
        });
    }
    parts
}
