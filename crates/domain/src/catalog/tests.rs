use super::*;
use crate::{
    format::{ApiFormat, BillingType, Role},
    money::{Factor, NanoUsd, PerMillion},
    records::Account,
    secret::Sealed,
};
use uuid::Uuid;

/// A small consistent catalog that tests change: one user, one key, one provider `acme` that serves `big-model`.
pub(crate) struct Fixture {
    pub(crate) parts: Parts,
}

pub(crate) fn id<T: From<Uuid>>(number: u128) -> T {
    T::from(Uuid::from_u128(number))
}

/// Nothing spent yet.
pub(crate) fn budget(account: Account, limit: Option<NanoUsd>) -> Budget {
    Budget { account, limit, spent: NanoUsd::ZERO, ends_at: None }
}

pub(crate) fn provider(number: u128, name: &str) -> Provider {
    Provider {
        id: id(number),
        name: name.to_owned(),
        billing_type: BillingType::PayAsYouGo,
        priority: 100,
        is_active: true,
        quota: None,
        quota_expires_at: None,
        rpm_limit: None,
        rate_limit: None,
        concurrent_limit: None,
    }
}

pub(crate) fn endpoint(number: u128, provider: u128, api_format: ApiFormat) -> Endpoint {
    Endpoint {
        id: id(number),
        provider_id: id(provider),
        api_format,
        base_url: "http://127.0.0.1:1".to_owned(),
        headers: std::collections::BTreeMap::default(),
        timeout_s: 300,
        max_retries: 3,
        max_concurrent: None,
        rate_limit: None,
        is_active: true,
        custom_path: None,
        config: EndpointConfig::default(),
        proxy: None,
        proxy_password: None,
    }
}

pub(crate) fn provider_key(number: u128, endpoint: u128) -> ProviderKey {
    ProviderKey {
        id: id(number),
        endpoint_id: id(endpoint),
        name: format!("key {number}"),
        api_key: Sealed::default(),
        rate_multiplier: Factor::ONE,
        internal_priority: 50,
        global_priority: None,
        max_concurrent: None,
        rate_limit: None,
        daily_limit: None,
        monthly_limit: None,
        allowed_models: None,
        capabilities: Capabilities::default(),
        cache_ttl_minutes: 5,
        max_probe_interval_minutes: 32,
        is_active: true,
        expires_at: None,
    }
}

pub(crate) fn pricing(input: &str, output: &str) -> TieredPricing {
    let price = |text: &str| text.parse::<PerMillion>().unwrap();
    TieredPricing {
        tiers: vec![Tier {
            up_to: None,
            input_price_per_1m: price(input),
            output_price_per_1m: price(output),
            cache_creation_price_per_1m: None,
            cache_read_price_per_1m: None,
            cache_ttl_pricing: None,
        }],
    }
}

pub(crate) fn global_model(number: u128, name: &str) -> GlobalModel {
    GlobalModel {
        id: id(number),
        name: name.to_owned(),
        display_name: name.to_owned(),
        price_per_request: None,
        tiered_pricing: Some(pricing("3", "15")),
        is_free: false,
        price_version: None,
        supported_capabilities: vec![],
        config: GlobalModelConfig::default(),
        is_active: true,
        created_at: 0,
    }
}

pub(crate) fn model(number: u128, provider: u128, global: u128, name: &str) -> Model {
    Model {
        id: id(number),
        provider_id: id(provider),
        global_model_id: id(global),
        provider_model_name: name.to_owned(),
        aliases: vec![],
        price_per_request: None,
        tiered_pricing: None,
        is_free: false,
        price_version: None,
        supports: std::collections::BTreeMap::default(),
        is_active: true,
        is_available: true,
    }
}

impl Fixture {
    pub(crate) const USER: u128 = 1;
    pub(crate) const CLIENT_KEY: u128 = 2;
    pub(crate) const PROVIDER: u128 = 10;
    pub(crate) const ENDPOINT: u128 = 11;
    pub(crate) const PROVIDER_KEY: u128 = 12;
    pub(crate) const GLOBAL: u128 = 20;
    pub(crate) const MODEL: u128 = 21;

    pub(crate) fn new() -> Self {
        let user = User {
            id: id(Self::USER),
            username: "ann".to_owned(),
            email: "ann@example.com".to_owned(),
            role: Role::User,
            is_active: true,
            access: Access::default(),
            model_capability_settings: std::collections::BTreeMap::default(),
            default_provider_id: None,
            quota: budget(Account::User(id(Self::USER)), None),
        };
        let key = ClientKey {
            id: id(Self::CLIENT_KEY),
            user_id: Some(id(Self::USER)),
            name: "laptop".to_owned(),
            key_hash: [7; 32],
            previous_key_hash: None,
            previous_valid_until: None,
            balance: None,
            access: Access::default(),
            allowed_ips: None,
            limits: KeyLimits::default(),
            force_capabilities: std::collections::BTreeMap::default(),
            on_disconnect: None,
            is_active: true,
            is_locked: false,
            expires_at: None,
            mappings: vec![],
        };
        Self {
            parts: Parts {
                users: vec![user],
                client_keys: vec![Box::new(key)],
                providers: vec![provider(Self::PROVIDER, "acme")],
                endpoints: vec![endpoint(Self::ENDPOINT, Self::PROVIDER, ApiFormat::OpenAi)],
                provider_keys: vec![provider_key(Self::PROVIDER_KEY, Self::ENDPOINT)],
                global_models: vec![global_model(Self::GLOBAL, "big-model")],
                models: vec![model(Self::MODEL, Self::PROVIDER, Self::GLOBAL, "big-model-20250929")],
                ..Parts::default()
            },
        }
    }

    pub(crate) fn build(self) -> Catalog {
        Catalog::build(self.parts).unwrap()
    }
}

#[test]
fn a_name_resolves_exactly_or_by_its_only_claim() {
    let mut fixture = Fixture::new();
    fixture.parts.providers.push(provider(30, "other"));
    fixture.parts.global_models.push(global_model(40, "small"));
    fixture.parts.models.push(model(41, 30, 40, "shared-name"));
    fixture.parts.models[0].aliases.push(Alias { name: "shared-name".to_owned(), priority: 1, api_formats: None });
    let catalog = fixture.build();
    let only_other = Access { providers: Some(vec![id(30)]), ..Access::default() };
    let anything = Access::default();
    for (asked, access, want) in [
        ("big-model", &anything, Some("big-model")),
        (" models/big-model ", &anything, Some("big-model")),
        ("big-model-20250929", &anything, Some("big-model")),
        ("big-model-20250929", &only_other, None),
        ("shared-name", &anything, None), // two claim it
        ("shared-name", &only_other, Some("small")),
        ("Big-Model", &anything, None),
        ("", &anything, None),
    ] {
        let got = catalog.resolve(asked, &[access]).map(|found| found.model.name.clone());
        assert_eq!(got.as_deref(), want, "{asked}");
    }
}

#[test]
fn upstream_names_go_by_priority_then_by_a_hash_of_the_caller() {
    let mut serving = model(1, 2, 3, "own");
    let alias = |name: &str, priority, formats: Option<Vec<ApiFormat>>| Alias {
        name: name.to_owned(),
        priority,
        api_formats: formats,
    };
    serving.aliases = vec![
        alias("b", 2, None),
        alias("a", 2, Some(vec![])),
        alias("first", 1, None),
        alias("gemini-only", 1, Some(vec![ApiFormat::Gemini])),
    ];
    let at = endpoint(4, 2, ApiFormat::OpenAi);
    assert_eq!(serving.upstream_names(&at, None), ["first", "a", "b", "own"]);
    // `md5sum` gives d70552b4… for "…0001:a" and 0be298c7… for "…0001:b".
    assert_eq!(serving.upstream_names(&at, Some(id(1))), ["first", "b", "a", "own"]);
}

#[test]
fn a_rotated_key_is_known_until_its_date() {
    let mut fixture = Fixture::new();
    fixture.parts.client_keys[0].previous_key_hash = Some([9; 32]);
    fixture.parts.client_keys[0].previous_valid_until = Some(1_000);
    let catalog = fixture.build();
    assert!(catalog.client_key(&[7; 32], 5_000).is_some());
    assert!(catalog.client_key(&[9; 32], 999).is_some());
    assert!(catalog.client_key(&[9; 32], 1_000).is_none());
    assert!(catalog.client_key(&[1; 32], 0).is_none());
}

#[test]
fn rows_that_contradict_each_other_make_no_catalog() {
    let mut fixture = Fixture::new();
    fixture.parts.endpoints[0].provider_id = id(999);
    assert!(matches!(Catalog::build(fixture.parts), Err(Inconsistent::Dangling { what: "endpoint", .. })));
    let mut fixture = Fixture::new();
    fixture.parts.global_models.push(global_model(99, "big-model"));
    assert_eq!(Catalog::build(fixture.parts).unwrap_err(), Inconsistent::DoubledModel("big-model".to_owned()));
}

#[test]
fn tiers_rise_and_only_the_last_is_open() {
    let tier = |up_to, input: u64| Tier {
        up_to,
        input_price_per_1m: PerMillion::new(input).unwrap(),
        ..pricing("0", "0").tiers.remove(0)
    };
    for (name, tiers, free, want) in [
        ("none", vec![], false, Err(InvalidPricing::Empty)),
        ("one", vec![tier(None, 1)], false, Ok(())),
        ("rising", vec![tier(Some(10), 1), tier(None, 2)], false, Ok(())),
        ("closed at the end", vec![tier(Some(10), 1)], false, Err(InvalidPricing::OpenTier(0))),
        ("open in the middle", vec![tier(None, 1), tier(None, 1)], false, Err(InvalidPricing::OpenTier(0))),
        (
            "falling",
            vec![tier(Some(10), 1), tier(Some(10), 1), tier(None, 1)],
            false,
            Err(InvalidPricing::NotRising(1)),
        ),
        ("free by accident", vec![tier(None, 0)], false, Err(InvalidPricing::Free(0))),
        ("free on purpose", vec![tier(None, 0)], true, Ok(())),
    ] {
        assert_eq!(TieredPricing { tiers }.validate(free, false), want, "{name}");
    }
}
