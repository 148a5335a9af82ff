use super::{
    attempt::{AllFailed, Failed, Left, Next, Verdict, all_failed, backoff_ms, next},
    *,
};
use crate::{
    catalog::{
        Access, Catalog, Mapping,
        tests::{Fixture, endpoint, id, model, provider, provider_key},
    },
    format::{ApiFormat, Capability, Feature, PriorityMode, RequestType},
    ids::ProviderKeyId,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// Asks for the fixture's model with its key.
struct Ask {
    format: ApiFormat,
    features: Vec<Feature>,
    required: BTreeMap<Capability, bool>,
    preferred: Vec<Capability>,
    affinity: u64,
}

impl Default for Ask {
    fn default() -> Self {
        Self { format: ApiFormat::OpenAi, features: vec![], required: BTreeMap::new(), preferred: vec![], affinity: 1 }
    }
}

impl Ask {
    fn facts<'a>(&'a self, catalog: &'a Catalog) -> Facts<'a> {
        let key = &catalog.client_keys[&id(Fixture::CLIENT_KEY)];
        Facts {
            user: key.user_id.and_then(|id| catalog.users.get(&id)).map(|user| &**user),
            key,
            model: &catalog.global_models[&id(Fixture::GLOBAL)],
            format: self.format,
            request_type: RequestType::Chat,
            features: &self.features,
            required: &self.required,
            preferred: &self.preferred,
            affinity: self.affinity,
            now_us: 1_000,
        }
    }

    fn order(&self, catalog: &Catalog, mode: PriorityMode, state: &StateView<'_>) -> Vec<ProviderKeyId> {
        let facts = self.facts(catalog);
        plan(mode, eligible(catalog, &facts), &facts, state).order.iter().map(|planned| planned.route.key.id).collect()
    }
}

#[test]
fn each_static_rule_has_its_code() {
    type Change = fn(&mut Fixture, &mut Ask);
    let cases: [(Option<SkipCode>, Change); 20] = [
        (None, |_, _| ()),
        (Some(SkipCode::ProviderInactive), |f, _| f.parts.providers[0].is_active = false),
        (Some(SkipCode::ProviderNotAllowed), |f, _| f.parts.users[0].access.providers = Some(vec![])),
        (Some(SkipCode::ProviderNotAllowed), |f, _| {
            let mapping =
                Mapping { provider_id: id(99), priority_adjustment: 0, weight_millionths: 1, is_enabled: true };
            f.parts.client_keys[0].mappings.push(mapping);
        }),
        (Some(SkipCode::ProviderExpired), |f, _| f.parts.providers[0].quota_expires_at = Some(1_000)),
        (Some(SkipCode::EndpointInactive), |f, _| f.parts.endpoints[0].is_active = false),
        (Some(SkipCode::EndpointNotAllowed), |f, _| f.parts.client_keys[0].access.endpoints = Some(vec![id(99)])),
        (Some(SkipCode::FormatMismatch), |_, ask| ask.format = ApiFormat::Claude),
        (Some(SkipCode::FormatMismatch), |f, ask| {
            f.parts.endpoints[0].api_format = ApiFormat::GeminiCli;
            ask.format = ApiFormat::Gemini;
        }),
        (None, |f, ask| {
            f.parts.endpoints[0].api_format = ApiFormat::GeminiCli;
            f.parts.endpoints[0].config.accepts_conversion = Some(true);
            ask.format = ApiFormat::Gemini;
        }),
        (Some(SkipCode::ModelInactive), |f, _| f.parts.models[0].is_active = false),
        (Some(SkipCode::ModelUnavailable), |f, _| f.parts.models[0].is_available = false),
        (Some(SkipCode::FeatureMissing), |f, ask| {
            f.parts.global_models[0].config.vision = Some(false);
            ask.features = vec![Feature::Vision];
        }),
        (None, |f, ask| {
            f.parts.global_models[0].config.vision = Some(false);
            f.parts.models[0].supports.insert(Feature::Vision, true);
            ask.features = vec![Feature::Vision, Feature::FunctionCalling];
        }),
        (Some(SkipCode::CapabilityMissing), |f, ask| {
            f.parts.global_models[0].supported_capabilities = vec![Capability::Context1m];
            ask.required.insert(Capability::Context1m, true);
        }),
        (Some(SkipCode::CapabilityReserved), |f, _| {
            f.parts.global_models[0].supported_capabilities = vec![Capability::Cache1h];
            f.parts.provider_keys[0].capabilities.insert(Capability::Cache1h, true);
        }),
        (Some(SkipCode::KeyInactive), |f, _| f.parts.provider_keys[0].is_active = false),
        (Some(SkipCode::KeyExpired), |f, _| f.parts.provider_keys[0].expires_at = Some(999)),
        (Some(SkipCode::KeyModelNotAllowed), |f, _| {
            f.parts.provider_keys[0].allowed_models = Some(vec!["x".to_owned()])
        }),
        (Some(SkipCode::Unpriced), |f, _| f.parts.global_models[0].tiered_pricing = None),
    ];
    for (index, (want, change)) in cases.into_iter().enumerate() {
        let (mut fixture, mut ask) = (Fixture::new(), Ask::default());
        change(&mut fixture, &mut ask);
        let catalog = fixture.build();
        let result = eligible(&catalog, &ask.facts(&catalog));
        assert_eq!(result.skipped.first().map(|skip| skip.code), want, "case {index}");
        assert_eq!(result.candidates.len(), usize::from(want.is_none()), "case {index}");
    }
}

/// Three providers with a key each: 12 (priority 100), 32 (priority 50), 42 (priority 50, speaks the wire as another format).
fn three() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.parts.endpoints[0].api_format = ApiFormat::Claude;
    for (number, name, format) in [(30, "b", ApiFormat::Claude), (40, "c", ApiFormat::ClaudeCli)] {
        fixture.parts.providers.push(provider(number, name));
        let mut at = endpoint(number + 1, number, format);
        at.config.accepts_conversion = Some(true);
        fixture.parts.endpoints.push(at);
        fixture.parts.provider_keys.push(provider_key(number + 2, number + 1));
        fixture.parts.models.push(model(number + 3, number, Fixture::GLOBAL, "x"));
    }
    fixture.parts.providers[1].priority = 50;
    fixture.parts.providers[2].priority = 50;
    fixture
}

#[test]
fn the_first_difference_decides_the_order() {
    type Change = fn(&mut Fixture, &mut Ask);
    let cases: [(&str, PriorityMode, [u128; 3], Change); 7] = [
        ("priority, then the very format", PriorityMode::Provider, [32, 42, 12], |_, _| ()),
        ("the format the caller speaks", PriorityMode::Provider, [42, 32, 12], |_, ask| {
            ask.format = ApiFormat::ClaudeCli
        }),
        ("the user's default provider", PriorityMode::Provider, [42, 32, 12], |f, _| {
            f.parts.users[0].default_provider_id = Some(id(40));
        }),
        ("but only within its priority", PriorityMode::Provider, [32, 42, 12], |f, _| {
            f.parts.users[0].default_provider_id = Some(id(10));
        }),
        ("a mapping's adjustment", PriorityMode::Provider, [12, 32, 42], |f, _| {
            for (provider_id, priority_adjustment) in [(10, -60), (30, 0), (40, 0)] {
                let provider_id = id(provider_id);
                let mapping =
                    Mapping { provider_id, priority_adjustment, weight_millionths: 1_000_000, is_enabled: true };
                f.parts.client_keys[0].mappings.push(mapping);
            }
        }),
        ("across providers, unset last", PriorityMode::GlobalKey, [12, 42, 32], |f, _| {
            f.parts.provider_keys[0].global_priority = Some(1);
            f.parts.provider_keys[2].global_priority = Some(2);
        }),
        ("a preferred capability among equals", PriorityMode::GlobalKey, [12, 32, 42], |f, ask| {
            f.parts.endpoints[2].api_format = ApiFormat::OpenAi; // leaves two equals of the very format
            f.parts.endpoints[2].api_format = ApiFormat::ClaudeCli;
            f.parts.provider_keys[0].capabilities.insert(Capability::Context1m, true);
            ask.preferred = vec![Capability::Context1m];
        }),
    ];
    for (name, mode, want, change) in cases {
        let (mut fixture, mut ask) = (three(), Ask { format: ApiFormat::Claude, ..Ask::default() });
        change(&mut fixture, &mut ask);
        let catalog = fixture.build();
        assert_eq!(ask.order(&catalog, mode, &StateView::default()), want.map(id::<ProviderKeyId>), "{name}");
    }
}

#[test]
fn a_resting_key_is_out_until_its_time() {
    let catalog = three().build();
    let ask = Ask { format: ApiFormat::Claude, ..Ask::default() };
    let mut ends = limits::Ends::new();
    limits::cool(&mut ends, (id(32), None), 0, Some(1_001));
    limits::cool(&mut ends, (id(32), None), 0, Some(5));
    limits::cool(&mut ends, (id(42), None), 0, Some(1_000));
    limits::cool(&mut ends, (id(12), Some(id(999))), 0, Some(5_000)); // rests for another model
    let state = StateView { limits: limits::View::new(&ends), ..StateView::default() };
    assert_eq!(ask.order(&catalog, PriorityMode::Provider, &state), [id(42), id(12)]);
}

fn many(keys: impl Iterator<Item = u128>) -> Catalog {
    let mut fixture = Fixture::new();
    fixture.parts.provider_keys = keys.map(|number| provider_key(number, Fixture::ENDPOINT)).collect();
    fixture.build()
}

#[test]
fn removing_one_of_twenty_keys_moves_only_its_callers() {
    let (all, fewer) = (many(100..120), many(101..120));
    let first = |catalog: &Catalog, affinity| {
        Ask { affinity, ..Ask::default() }.order(catalog, PriorityMode::Provider, &StateView::default())[0]
    };
    let mut load: HashMap<ProviderKeyId, u32> = HashMap::new();
    for affinity in 0..2_000 {
        let before = first(&all, affinity);
        *load.entry(before).or_default() += 1;
        if before != id(100) {
            assert_eq!(before, first(&fewer, affinity), "caller {affinity}");
        }
    }
    // 2,000 callers over 20 keys: 100 each, give or take six standard deviations of about 10.
    assert!(load.len() == 20 && load.values().all(|count| (40..=160).contains(count)), "{load:?}");
}

#[test]
fn a_weight_of_three_gets_three_times_the_callers() {
    let mut fixture = three();
    for (provider_id, weight_millionths) in [(10, 3_000_000), (30, 1_000_000)] {
        let mapping =
            Mapping { provider_id: id(provider_id), priority_adjustment: 0, weight_millionths, is_enabled: true };
        fixture.parts.client_keys[0].mappings.push(mapping);
    }
    fixture.parts.providers[0].priority = 50;
    let catalog = fixture.build();
    let heavy = (0..4_000)
        .filter(|affinity| {
            let ask = Ask { format: ApiFormat::Claude, affinity: *affinity, ..Ask::default() };
            ask.order(&catalog, PriorityMode::Provider, &StateView::default())[0] == id(12)
        })
        .count();
    assert!((2_850..=3_150).contains(&heavy), "{heavy} of 4000, expected about 3000");
}

proptest! {
    #[test]
    fn the_plan_never_holds_a_disallowed_candidate(allowed in prop::collection::vec(prop::sample::select(vec![10u128, 30, 40]), 0..3), affinity: u64) {
        let mut fixture = three();
        let allowed: Vec<_> = allowed.into_iter().map(id).collect();
        fixture.parts.client_keys[0].access = Access { providers: Some(allowed.clone()), ..Access::default() };
        let catalog = fixture.build();
        let ask = Ask { format: ApiFormat::Claude, affinity, ..Ask::default() };
        let facts = ask.facts(&catalog);
        let result = plan(PriorityMode::Provider, eligible(&catalog, &facts), &facts, &StateView::default());
        prop_assert!(result.order.iter().all(|planned| allowed.contains(&planned.route.provider.id)));
        prop_assert_eq!(result.order.len() + result.skipped.len(), 3);
    }
}

#[test]
fn what_follows_a_failed_attempt() {
    use Verdict::{
        CallersFault, CannotDo, EndpointFault, KeyUnusable, NotPermitted, Overloaded, RateLimited, Transient,
        UnknownModel,
    };
    let plenty = Left { retries: 3, names: 1, candidates: 2, retried: false };
    let retried = Left { retried: true, ..plenty };
    let alone = Left { candidates: 0, ..retried };
    let nothing = Left { retries: 0, names: 0, candidates: 0, retried: true };
    for (name, verdict, committed, left, want) in [
        ("a bad request is the caller's", CallersFault, false, plenty, Next::Stop),
        ("a 429 moves on at once", RateLimited, false, plenty, Next::OtherCandidate),
        ("a dead host is tried again", Transient, false, plenty, Next::Retry),
        ("and then left", Transient, false, retried, Next::OtherCandidate),
        ("unless it is the only one", Overloaded, false, alone, Next::Retry),
        ("as long as retries last", Overloaded, false, nothing, Next::Stop),
        ("no such model: the next name", UnknownModel, false, plenty, Next::OtherName),
        ("then the next candidate", UnknownModel, false, Left { names: 0, ..plenty }, Next::OtherCandidate),
        ("a feature it lacks: the next candidate", CannotDo, false, plenty, Next::OtherCandidate),
        ("a redirect is no answer", EndpointFault, false, plenty, Next::OtherCandidate),
        ("a bad key, and another", KeyUnusable, false, plenty, Next::OtherCandidate),
        ("a bad key, and no other", KeyUnusable, false, nothing, Next::Stop),
        ("a forbidden region, and another", NotPermitted, false, plenty, Next::OtherCandidate),
        ("a break in mid-stream", Transient, true, plenty, Next::Stop),
    ] {
        assert_eq!(next(verdict, committed, left), want, "{name}");
    }
}

#[test]
fn what_the_client_hears_when_all_failed() {
    use Verdict::{CannotDo, KeyUnusable, Overloaded, RateLimited, Transient};
    let failed = |verdict| Failed { verdict, timed_out: false };
    let late = Failed { verdict: Transient, timed_out: true };
    for (name, tried, busy, want) in [
        ("cannot do, and nothing passing", vec![failed(KeyUnusable), failed(CannotDo)], false, AllFailed::HandOn(1)),
        ("cannot do, but another may later", vec![failed(CannotDo), failed(RateLimited)], false, AllFailed::Upstream),
        ("all rate limited", vec![failed(RateLimited), failed(RateLimited)], true, AllFailed::RateLimited),
        ("all late", vec![late, late], false, AllFailed::Timeout),
        ("all overloaded", vec![failed(Overloaded)], false, AllFailed::Overloaded),
        ("a mixture", vec![late, failed(Overloaded)], false, AllFailed::Upstream),
    ] {
        assert_eq!(all_failed(&tried, busy), want, "{name}");
    }
}

#[test]
fn back_off_doubles_within_its_bounds() {
    for (retry, least, most) in
        [(0, 50, 100), (1, 100, 200), (3, 400, 800), (5, 1_000, 2_000), (u32::MAX, 1_000, 2_000)]
    {
        assert_eq!(backoff_ms(retry, 0), least, "retry {retry}");
        assert!((most - 1..=most).contains(&backoff_ms(retry, u32::MAX)), "retry {retry}");
    }
}
