mod converted;
mod pinned;

use super::{
    affinity::Record,
    attempt::{AllFailed, Failed, Left, Next, Verdict, all_failed, backoff_ms, next},
    *,
};
use crate::{
    catalog::{
        Access, Catalog, Mapping, Route,
        tests::{Fixture, endpoint, id, model, provider, provider_key},
    },
    format::{ApiFormat, Capability, Feature, PriorityMode, RequestType, SchedulingMode},
    ids::{GlobalModelId, ProviderKeyId},
    money::NanoUsd,
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
    /// The endpoints whose wire cannot carry the request.
    uncarried: Uncarried,
}

/// Endpoints that a request cannot be converted for.
#[derive(Debug, Default)]
struct Uncarried(Vec<u128>);

impl Conversion for Uncarried {
    fn carries(&self, route: &Route) -> bool {
        !self.0.iter().any(|number| route.endpoint.id == id(*number))
    }
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            format: ApiFormat::OpenAi,
            features: vec![],
            required: BTreeMap::new(),
            preferred: vec![],
            affinity: 1,
            uncarried: Uncarried::default(),
        }
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
            pin: Pin::Nowhere,
            conversion: &self.uncarried,
        }
    }

    fn plan<'a>(&self, catalog: &'a Catalog, record: Option<&Record>, state: &Live) -> Plan<'a> {
        let facts = self.facts(catalog);
        plan(&catalog.settings, eligible(catalog, &facts), &facts, record, state)
    }

    fn order(&self, catalog: &Catalog) -> Vec<ProviderKeyId> {
        keys(&self.plan(catalog, None, &Live::default()))
    }
}

fn keys(plan: &Plan<'_>) -> Vec<ProviderKeyId> {
    plan.order.iter().map(|planned| planned.route.key.id).collect()
}

/// Live state as tests set it.
#[derive(Debug, Default, Clone)]
struct Live(HashMap<ProviderKeyId, Look>);

impl Live {
    fn of<const N: usize>(looks: [(u128, Look); N]) -> Self {
        Self(looks.into_iter().map(|(number, look)| (id(number), look)).collect())
    }
}

impl StateView for Live {
    fn look(&self, route: &Route, _: GlobalModelId, _: bool) -> Look {
        self.0.get(&route.key.id).copied().unwrap_or_default()
    }
}

fn out(code: SkipCode, until_us: i64) -> Look {
    Look { out: Some(Out { code, until_us, likely_us: until_us }), ..Look::default() }
}

fn warm_at(target: u128) -> Record {
    Record { target: id(target), written_us: 0, expires_us: i64::MAX, cache_tokens: 50_000, ttl_minutes: 5 }
}

#[test]
fn each_static_rule_has_its_code() {
    type Change = fn(&mut Fixture, &mut Ask);
    let cases: [(Option<SkipCode>, Change); 26] = [
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
        (None, |_, ask| ask.format = ApiFormat::Claude),
        (Some(SkipCode::FormatMismatch), |f, ask| {
            f.parts.endpoints[0].config.accepts_conversion = Some(false);
            ask.format = ApiFormat::Claude;
        }),
        (None, |f, ask| {
            f.parts.endpoints[0].api_format = ApiFormat::Claude;
            f.parts.endpoints[0].config.accepts_conversion = Some(false);
            ask.format = ApiFormat::ClaudeCli; // no conversion: the wire is the same
        }),
        (Some(SkipCode::FormatMismatch), |f, _| f.parts.endpoints[0].api_format = ApiFormat::ClaudeCli),
        (None, |f, _| {
            f.parts.endpoints[0].api_format = ApiFormat::ClaudeCli;
            f.parts.endpoints[0].config.accepts_conversion = Some(true);
        }),
        (Some(SkipCode::ConversionUnsupported), |_, ask| {
            ask.format = ApiFormat::Claude;
            ask.uncarried = Uncarried(vec![11]);
        }),
        (None, |_, ask| ask.uncarried = Uncarried(vec![11])), // its own wire is not asked
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
    let cases: [(&str, PriorityMode, [u128; 3], Change); 8] = [
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
        ("where neither a default provider nor an adjustment counts", PriorityMode::GlobalKey, [12, 42, 32], |f, _| {
            f.parts.provider_keys[0].global_priority = Some(1);
            f.parts.provider_keys[2].global_priority = Some(2);
            f.parts.users[0].default_provider_id = Some(id(30));
            for (provider_id, priority_adjustment) in [(10, 90), (30, -90), (40, 0)] {
                let provider_id = id(provider_id);
                let mapping =
                    Mapping { provider_id, priority_adjustment, weight_millionths: 1_000_000, is_enabled: true };
                f.parts.client_keys[0].mappings.push(mapping);
            }
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
        fixture.parts.settings.provider_priority_mode = mode;
        let catalog = fixture.build();
        assert_eq!(ask.order(&catalog), want.map(id::<ProviderKeyId>), "{name}");
    }
}

#[test]
fn who_is_out_for_now_is_skipped_with_the_time_it_ends() {
    let catalog = three().build();
    let ask = Ask { format: ApiFormat::Claude, ..Ask::default() };
    let state = Live::of([(32, out(SkipCode::KeyCooling, 2_000_000)), (12, out(SkipCode::KeyConcurrency, 0))]);
    let plan = ask.plan(&catalog, None, &state);
    assert_eq!(keys(&plan), [id(42)]);
    let skips: Vec<_> = plan.skipped.iter().map(|skip| (skip.key_id, skip.code, skip.number)).collect();
    assert_eq!(skips, [(id(12), SkipCode::KeyConcurrency, 0), (id(32), SkipCode::KeyCooling, 2_000)]);
    assert_eq!(plan.economy, None, "nobody is warm");
}

#[test]
fn the_warm_target_goes_first_until_a_better_one_was_usable_for_a_cache_life() {
    const LIFE_US: i64 = 300_000_000;
    let ask = Ask { format: ApiFormat::Claude, ..Ask::default() };
    let since = |usable_since_us| Look { usable_since_us, ..Look::default() };
    for (name, mode, target, preferred, want, warm) in [
        ("warm before priority", SchedulingMode::CacheAffinity, 12, since(1_001 - LIFE_US), [12, 32, 42], true),
        (
            "until the better one has lasted",
            SchedulingMode::CacheAffinity,
            12,
            since(1_000 - LIFE_US),
            [32, 42, 12],
            false,
        ),
        ("the best itself stays warm", SchedulingMode::CacheAffinity, 32, since(-LIFE_US), [32, 42, 12], true),
        ("a target that is gone", SchedulingMode::CacheAffinity, 99, since(0), [32, 42, 12], false),
        ("fixed order knows no warmth", SchedulingMode::FixedOrder, 12, since(0), [32, 42, 12], false),
        ("nor does load balance", SchedulingMode::LoadBalance, 12, since(0), [32, 42, 12], false),
    ] {
        let mut fixture = three();
        fixture.parts.settings.scheduling_mode = mode;
        let catalog = fixture.build();
        let plan = ask.plan(&catalog, Some(&warm_at(target)), &Live::of([(32, preferred)]));
        assert_eq!(keys(&plan), want.map(id::<ProviderKeyId>), "{name}");
        assert_eq!(plan.order.iter().any(|planned| planned.warm), warm, "{name}");
    }
}

#[test]
fn a_busy_warm_target_is_waited_for_if_its_cache_is_worth_more() {
    let mut fixture = three();
    fixture.parts.global_models[0].tiered_pricing = Some(crate::catalog::tests::pricing("3", "15"));
    let catalog = fixture.build();
    let ask = Ask { format: ApiFormat::Claude, ..Ask::default() };
    let economy = |look| ask.plan(&catalog, Some(&warm_at(12)), &Live::of([(12, look)])).economy;
    // 50,000 tokens: 0.1875 dollars to write again less 0.015 to read.
    for (name, look, want) in [
        ("a second", out(SkipCode::KeyConcurrency, 1_000_000), Some((172_500_000, 10_000_000, true))),
        ("half a minute", out(SkipCode::KeyCooling, 30_000_000), Some((172_500_000, 300_000_000, false))),
        ("an open circuit is not waited for", out(SkipCode::CircuitOpen, 1_000_000), None),
        ("a free target needs no wait", Look::default(), None),
    ] {
        let got = economy(look).map(|economy| (economy.worth, economy.wait, economy.stays()));
        assert_eq!(got, want.map(|(worth, wait, stays)| (NanoUsd(worth), NanoUsd(wait), stays)), "{name}");
    }
}

#[test]
fn the_least_loaded_goes_first_among_equals() {
    let mut fixture = three();
    fixture.parts.settings.scheduling_mode = SchedulingMode::LoadBalance;
    fixture.parts.endpoints[2].api_format = ApiFormat::Claude;
    let catalog = fixture.build();
    let load = |load_millis| Look { load_millis, ..Look::default() };
    let ask = Ask { format: ApiFormat::Claude, ..Ask::default() };
    let order = |a, b| keys(&ask.plan(&catalog, None, &Live::of([(32, load(a)), (42, load(b)), (12, load(0))])));
    assert_eq!(order(501, 500), [id(42), id(32), id(12)], "priority comes before load");
    assert_eq!(order(499, 500), [id(32), id(42), id(12)]);
}

#[test]
fn if_all_circuits_are_open_the_one_that_is_due_first_is_probed() {
    let catalog = three().build();
    let ask = Ask { format: ApiFormat::Claude, ..Ask::default() };
    let open = |until_us| out(SkipCode::CircuitOpen, until_us);
    let plan = ask.plan(&catalog, None, &Live::of([(12, open(9_000)), (32, open(7_000)), (42, open(8_000))]));
    assert_eq!((keys(&plan), plan.order[0].probe), (vec![id(32)], Probe::Forced));
    assert_eq!(plan.skipped.len(), 2);
    let resting = [(12, open(9_000)), (32, open(7_000)), (42, out(SkipCode::KeyCooling, 8_000))];
    assert_eq!(keys(&ask.plan(&catalog, None, &Live::of(resting))), [], "one is out for another reason");
    let due = Look { probe: true, ..Look::default() };
    let plan = ask.plan(&catalog, None, &Live::of([(32, due)]));
    assert_eq!((keys(&plan)[0], plan.order[0].probe, plan.order[1].probe), (id(32), Probe::Due, Probe::No));
}

fn many(keys: impl Iterator<Item = u128>) -> Catalog {
    let mut fixture = Fixture::new();
    fixture.parts.provider_keys = keys.map(|number| provider_key(number, Fixture::ENDPOINT)).collect();
    fixture.build()
}

#[test]
fn removing_one_of_twenty_keys_moves_only_its_callers() {
    let (all, fewer) = (many(100..120), many(101..120));
    let first = |catalog: &Catalog, affinity| Ask { affinity, ..Ask::default() }.order(catalog)[0];
    let mut load: HashMap<ProviderKeyId, u32> = HashMap::new();
    for affinity in 0..2_000 {
        let before = first(&all, affinity);
        *load.entry(before).or_default() += 1;
        if before != id(100) {
            assert_eq!(before, first(&fewer, affinity), "caller {affinity}");
        }
    }
    // 2,000 callers over 20 keys: 100 each. Adding or removing a key moves its own, at most 1.5 of 20.
    assert!(load.len() == 20 && load.values().all(|count| (50..=150).contains(count)), "{load:?}");
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
            ask.order(&catalog)[0] == id(12)
        })
        .count();
    assert!((2_850..=3_150).contains(&heavy), "{heavy} of 4000, expected about 3000");
}

/// Any live state of the three keys.
fn any_live() -> impl Strategy<Value = Live> {
    let code = prop::option::weighted(0.4, prop::sample::select(&SkipCode::ALL[17..]));
    let look = (code, any::<bool>(), 0u32..2_000, 0i64..2_000).prop_map(|(code, probe, load_millis, at)| Look {
        out: code.map(|code| Out { code, until_us: at, likely_us: at }),
        probe,
        load_millis,
        usable_since_us: at,
    });
    [look.clone(), look.clone(), look].prop_map(|[a, b, c]| Live::of([(12, a), (32, b), (42, c)]))
}

proptest! {
    #[test]
    fn the_plan_never_holds_a_disallowed_candidate(
        allowed in prop::collection::vec(prop::sample::select(vec![10u128, 30, 40]), 0..3),
        affinity: u64, target in prop::sample::select(vec![12u128, 32, 42, 99]),
        mode in prop::sample::select(PriorityMode::ALL), scheduling in prop::sample::select(SchedulingMode::ALL),
        live in any_live(),
    ) {
        let mut fixture = three();
        let allowed: Vec<_> = allowed.into_iter().map(id).collect();
        fixture.parts.client_keys[0].access = Access { providers: Some(allowed.clone()), ..Access::default() };
        fixture.parts.settings.provider_priority_mode = mode;
        fixture.parts.settings.scheduling_mode = scheduling;
        let catalog = fixture.build();
        let ask = Ask { format: ApiFormat::Claude, affinity, ..Ask::default() };
        let result = ask.plan(&catalog, Some(&warm_at(target)), &live);
        for planned in &result.order {
            prop_assert!(allowed.contains(&planned.route.provider.id));
            let look = live.0[&planned.route.key.id];
            prop_assert!(look.out.is_none() || planned.probe == Probe::Forced);
        }
        prop_assert_eq!(result.order.len() + result.skipped.len(), 3, "everyone is in one of the lists");

        let again = ask.plan(&catalog, Some(&warm_at(target)), &live);
        prop_assert_eq!(keys(&again), keys(&result), "equal inputs give equal plans");
        prop_assert_eq!((again.skipped, again.economy), (result.skipped, result.economy));
    }
}

#[test]
fn what_follows_a_failed_attempt() {
    use Verdict::{
        CallersFault, CannotDo, EndpointFault, KeyUnusable, MalformedCall, NotPermitted, Overloaded, RateLimited,
        Transient, UnknownModel,
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
        ("a call that is none is asked for again", MalformedCall, false, Left { candidates: 0, ..plenty }, Next::Retry),
        ("once", MalformedCall, false, alone, Next::Stop),
        ("and then elsewhere", MalformedCall, false, retried, Next::OtherCandidate),
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
