use super::*;
use domain::{
    catalog::{
        Access, Budget, Catalog, ClientKey, Endpoint, EndpointConfig, GlobalModel, GlobalModelConfig, KeyLimits, Model,
        Parts, Provider, ProviderKey, Tier, TieredPricing, User,
    },
    format::{ApiFormat, BillingType, Role},
    money::{Factor, NanoUsd},
    records::Account,
    secret::Sealed,
};
use std::{collections::BTreeMap, sync::Arc};
use uuid::Uuid;

const S: i64 = 1_000_000;

fn id<T: From<Uuid>>(number: u128) -> T {
    // Like real ids, random in their last bits.
    let (mut high, mut low) = (Chance(u64::try_from(number).unwrap()), Chance(!u64::try_from(number).unwrap()));
    T::from(Uuid::from_u64_pair(high.next(), low.next()))
}

/// A catalog of one model, with client keys `c0` and `c1` and a provider per key: (priority, limit).
fn catalog(keys: &[(i32, Option<u32>)]) -> Arc<Catalog> {
    let price = |text: &str| text.parse().unwrap();
    let tier = Tier {
        up_to: None,
        input_price_per_1m: price("3"),
        output_price_per_1m: price("15"),
        cache_creation_price_per_1m: None,
        cache_read_price_per_1m: None,
        cache_ttl_pricing: None,
    };
    let user = User {
        id: id(1),
        username: "ann".to_owned(),
        email: "ann@example.com".to_owned(),
        role: Role::User,
        is_active: true,
        access: Access::default(),
        model_capability_settings: BTreeMap::new(),
        default_provider_id: None,
        quota: Budget { account: Account::User(id(1)), limit: None, spent: NanoUsd::ZERO, ends_at: None },
    };
    let client = |number: u8| ClientKey {
        id: id(10 + u128::from(number)),
        user_id: Some(id(1)),
        name: format!("c{number}"),
        key_hash: [number; 32],
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
    };
    let model = GlobalModel {
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
    };
    let mut parts = Parts {
        users: vec![user],
        client_keys: vec![Box::new(client(0)), Box::new(client(1))],
        global_models: vec![model],
        ..Parts::default()
    };
    for (number, (priority, max_concurrent)) in keys.iter().enumerate() {
        let base = 100 + 10 * number as u128;
        parts.providers.push(Provider {
            id: id(base),
            name: format!("p{number:02}"),
            billing_type: BillingType::PayAsYouGo,
            priority: *priority,
            is_active: true,
            quota: None,
            quota_expires_at: None,
            rpm_limit: None,
            rate_limit: None,
            concurrent_limit: None,
        });
        parts.endpoints.push(Endpoint {
            id: id(base + 1),
            provider_id: id(base),
            api_format: ApiFormat::Claude,
            base_url: "http://upstream.test".to_owned(),
            headers: BTreeMap::new(),
            timeout_s: 300,
            max_retries: 3,
            max_concurrent: None,
            rate_limit: None,
            is_active: true,
            custom_path: None,
            config: EndpointConfig::default(),
            proxy: None,
            proxy_password: None,
        });
        parts.provider_keys.push(ProviderKey {
            id: id(base + 2),
            endpoint_id: id(base + 1),
            name: "main".to_owned(),
            api_key: Sealed::default(),
            rate_multiplier: Factor::ONE,
            internal_priority: 50,
            global_priority: None,
            max_concurrent: *max_concurrent,
            rate_limit: None,
            daily_limit: None,
            monthly_limit: None,
            allowed_models: None,
            capabilities: BTreeMap::new(),
            cache_ttl_minutes: 5,
            max_probe_interval_minutes: 32,
            is_active: true,
            expires_at: None,
        });
        parts.models.push(Model {
            id: id(base + 3),
            provider_id: id(base),
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
    Arc::new(Catalog::build(parts).unwrap())
}

/// Agents of `c0` that go on to the end.
fn agents(sessions: u32, think_ms: u32) -> Traffic {
    Traffic {
        client: "c0".to_owned(),
        model: "m".to_owned(),
        format: ApiFormat::Claude,
        sessions,
        turns: 0,
        think_ms,
        start_s: 0,
        end_s: 0,
        prompt_tokens: 8_000,
        grows_by: 300,
        output_tokens: 200,
        kind: Kind::Good,
    }
}

fn scenario(minutes: u32, traffic: Vec<Traffic>, upstream: Vec<Behaviour>) -> Scenario {
    Scenario { minutes, policy: Policy::Configured, queue_wait_ms: 2_000, traffic, recorded: Vec::new(), upstream }
}

fn of(provider: &str, behaviour: Behaviour) -> Behaviour {
    Behaviour { provider: Some(provider.to_owned()), ..behaviour }
}

fn play(catalog: &Arc<Catalog>, scenario: &Scenario) -> Report {
    run(catalog, scenario, 7).unwrap()
}

#[test]
fn fifty_agents_keep_their_caches_warm() {
    let catalog = catalog(&[(1, Some(8)); 8]);
    let traffic = Traffic { turns: 100, ..agents(50, 4_000) };
    let mut scenario = scenario(60, vec![traffic], vec![]);
    let mut hits = Vec::new();
    for policy in [Policy::Configured, Policy::HashOnly, Policy::RoundRobin] {
        scenario.policy = policy;
        let report = play(&catalog, &scenario);
        assert_eq!((report.requests, report.served), (5_000, 5_000), "{policy:?}\n{report}");
        println!("{policy:?}: {} ‰ of cacheable tokens hit, ${}", report.hit_millis(), report.cost);
        hits.push(report.hit_millis());
    }
    assert!(hits[0] >= 950, "{hits:?}");
    assert!(hits[0] >= hits[1] && hits[1] > hits[2], "{hits:?}");
}

#[test]
fn a_keys_true_limit_is_learned() {
    for (truth, least, most) in [(Some(7), 6, 8), (Some(40), 32, 48), (None, 0, 0)] {
        let sessions = truth.map_or(60, |truth| truth * 2);
        let upstream = of("p00", Behaviour { concurrency: truth, ..Behaviour::default() });
        let report =
            play(&catalog(&[(1, None), (2, None)]), &scenario(30, vec![agents(sessions, 1_500)], vec![upstream]));
        println!("true limit {truth:?}:\n{report}");
        let learned = report.keys[0].learned.unwrap_or(0);
        assert!((least..=most).contains(&learned), "{truth:?}: {learned}");
        assert!(report.met_429 * 100 < report.requests, "{truth:?}: {} of {}", report.met_429, report.requests);
        assert_eq!(report.served, report.requests, "{truth:?}");
    }
}

#[test]
fn a_key_that_fails_for_ten_minutes_is_left_alone_and_found_again() {
    let fails = vec![Failure { from_s: 300, to_s: 900, bad_key: false }];
    let upstream = of("p00", Behaviour { fails, ..Behaviour::default() });
    // Two callers: one alone could be the cause of what it meets.
    let traffic = vec![agents(10, 3_000), Traffic { client: "c1".to_owned(), ..agents(10, 3_000) }];
    let report = play(&catalog(&[(1, None), (2, None)]), &scenario(30, traffic, vec![upstream]));
    println!("{report}");
    assert_eq!(report.served, report.requests, "everybody was served");
    let down: Vec<i64> = report.keys[0].attempts.iter().filter(|(_, ok)| !ok).map(|(at, _)| *at).collect();
    let touched = down.iter().filter(|at| **at > down[0] + 30 * S / 2).count();
    assert!(touched <= 10, "{touched} requests after it opened");
    // The last opening before the recovery may take this long.
    let rests: Vec<i64> = down.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let interval = 2 * rests.iter().max().unwrap() * 12 / 10;
    let back = report.keys[0].attempts.iter().find(|(at, ok)| *ok && *at >= 900 * S).unwrap().0;
    assert!(back <= 900 * S + interval, "back after {} s", (back - 900 * S) / S);
    let after = |number: usize| report.keys[number].attempts.iter().filter(|(at, _)| *at >= 1_500 * S).count();
    assert!(after(0) > 100 && after(1) == 0, "all traffic is back: {} and {}", after(0), after(1));
}

#[test]
fn a_flood_of_callers_mistakes_moves_nothing() {
    let mistakes = Traffic { kind: Kind::Mistake, ..agents(50, 200) };
    let report = play(&catalog(&[(1, None), (2, None)]), &scenario(5, vec![agents(5, 2_000), mistakes], vec![]));
    assert!(report.mistakes > 10_000, "{report}");
    assert_eq!((report.failed, report.refused, report.met_429), (0, 0, 0));
    for key in &report.keys {
        assert_eq!((key.openings, key.learned, key.limited, key.health_millis), (0, None, 0, 1_000), "{}", key.name);
    }
    assert_eq!(report.keys[1].attempts.len(), 0, "and drives nobody elsewhere");
}

#[test]
fn an_overflow_goes_to_the_next_priority_and_comes_back() {
    let rush = Traffic { start_s: 120, end_s: 420, client: "c1".to_owned(), ..agents(20, 1_000) };
    let catalog = catalog(&[(1, Some(10)), (2, None)]);
    let report = play(&catalog, &scenario(20, vec![agents(3, 2_000), rush], vec![]));
    println!("{report}");
    assert_eq!(report.served, report.requests, "nobody was refused");
    assert_eq!(report.keys[0].peak, 10, "the first is used to its limit");
    let count = |number: usize, from_s: i64, to_s: i64| {
        let within = |(at, _): &&(i64, bool)| (from_s * S..to_s * S).contains(at);
        report.keys[number].attempts.iter().filter(within).count()
    };
    assert_eq!(count(1, 0, 120), 0, "before the rush");
    assert!(count(1, 120, 420) > 100, "during the rush");
    assert_eq!(count(1, 420 + 330, 1_200), 0, "a cache's life after it");
    assert!(count(0, 420 + 330, 1_200) > 100);
}

#[test]
fn one_bad_client_among_good_ones_opens_no_breaker() {
    // The bad one comes when the good ones are there, and sends far more.
    let poison = Traffic { kind: Kind::Poison, client: "c1".to_owned(), start_s: 30, ..agents(10, 300) };
    let catalog = catalog(&[(1, None), (1, None), (1, None)]);
    let report = play(&catalog, &scenario(20, vec![agents(9, 5_000), poison], vec![]));
    println!("{report}");
    assert!(report.failed > 1_000 && report.served > 1_000);
    let unused = report.keys.iter().filter(|key| key.attempts.iter().all(|(_, ok)| !ok)).count();
    assert!(unused > 0, "one of the keys is one that only the bad one meets");
    for key in &report.keys {
        assert_eq!(key.openings, 0, "{}", key.name);
    }
}

#[test]
fn equal_inputs_give_equal_reports() {
    let catalog = catalog(&[(1, None), (2, Some(3))]);
    let fails = vec![Failure { from_s: 30, to_s: 90, bad_key: true }];
    let upstream = of("p00", Behaviour { concurrency: Some(4), fails, ..Behaviour::default() });
    let scenario = scenario(5, vec![agents(12, 1_000)], vec![upstream]);
    let first = run(&catalog, &scenario, 1).unwrap();
    assert_eq!(first, run(&catalog, &scenario, 1).unwrap());
    assert_ne!(first, run(&catalog, &scenario, 2).unwrap(), "the seed counts");
}

#[test]
fn recorded_requests_come_when_they_came() {
    let recorded = |at_ms, session| Recorded {
        at_ms,
        client: "c0".to_owned(),
        model: "m".to_owned(),
        format: ApiFormat::Claude,
        session,
        prompt_tokens: 1_000,
        output_tokens: 100,
    };
    let mut scenario = scenario(60, vec![], vec![]);
    scenario.recorded = vec![recorded(0, 1), recorded(1_000, 2), recorded(60_000, 1), recorded(3_000_000, 1)];
    let report = play(&catalog(&[(1, None)]), &scenario);
    let at: Vec<i64> = report.keys[0].attempts.iter().map(|(at, _)| at / 1_000).collect();
    assert_eq!(at, [0, 1_000, 60_000, 3_000_000]);
    assert_eq!((report.cacheable_tokens, report.cached_tokens), (2_000, 1_000), "the last came too late for the cache");
    // Three prompts written for 3.75 dollars a million, one read for 0.30; 400 tokens of answers for 15.
    assert_eq!(report.cost, NanoUsd(3 * 3_750_000 + 300_000 + 400 * 15_000));
    scenario.recorded[0].model = "x".to_owned();
    let unknown = UnknownName { what: "global model", name: "x".to_owned() };
    assert_eq!(run(&catalog(&[(1, None)]), &scenario, 1), Err(unknown));
}
