use super::*;
use crate::{
    catalog::{
        Budget, Catalog, ClientKey, ProviderQuota, Tier, TieredPricing, TtlPrice,
        tests::{Fixture, budget, global_model, id},
    },
    ids::QuotaId,
    money::{NanoUsd, PerMillion},
    records::Account,
};
use proptest::prelude::*;
use std::sync::Arc;

const NOW: i64 = 1_000;

fn usd(text: &str) -> NanoUsd {
    text.parse().unwrap()
}

/// A catalog whose one user has this money.
fn catalog(quota: Budget, shipped: Mark) -> Arc<Catalog> {
    let mut parts = Fixture::new().parts;
    parts.users[0].quota = quota;
    parts.shipped = shipped;
    Arc::new(Catalog::build(parts).unwrap())
}

fn account() -> Account {
    Account::User(id(Fixture::USER))
}

fn limited(limit: i64) -> Budget {
    budget(account(), Some(NanoUsd(limit)))
}

fn key(catalog: &Catalog) -> Arc<ClientKey> {
    catalog.client_keys[&id(Fixture::CLIENT_KEY)].clone()
}

fn by_account(accounts: Vec<(Account, NanoUsd)>) -> Shipped {
    Shipped { accounts, ..Shipped::default() }
}

/// One answer, whose bound the test names itself.
const ONE: Output = Output { choices: 1, maximum: 0, least: 0 };

/// Costs exactly a nano-dollar per token of the answer, and no more than `tokens` of them.
fn sizing(catalog: &Catalog, tokens: u64, least: u64) -> Sizing {
    let model = Arc::new(priced("0", "0.001"));
    let routes = catalog.routes(id(Fixture::GLOBAL));
    let cache = CacheUse { marked: false, ttl_minutes: 5 };
    let output = Output { choices: 1, maximum: tokens, least };
    Sizing::new(&model, routes.iter(), &PriceDefaults::default(), cache, 100, output)
}

fn tier(up_to: Option<u64>, input: &str, output: &str) -> Tier {
    Tier {
        up_to,
        input_price_per_1m: input.parse().unwrap(),
        output_price_per_1m: output.parse().unwrap(),
        cache_creation_price_per_1m: None,
        cache_read_price_per_1m: None,
        cache_ttl_pricing: None,
    }
}

fn priced(input: &str, output: &str) -> crate::catalog::GlobalModel {
    let mut model = global_model(Fixture::GLOBAL, "big-model");
    model.tiered_pricing = Some(TieredPricing { tiers: vec![tier(None, input, output)] });
    model
}

#[test]
fn a_hold_ends_once_settled_or_released() {
    let world = catalog(limited(1_000), Mark::default());
    let (ledger, key) = (Arc::new(Ledger::new(world.clone())), key(&world));
    let hold = |tokens| ledger.hold(&key, NOW, || sizing(&world, tokens, tokens));

    let (first, second) = (hold(400).unwrap(), hold(600).unwrap());
    assert_eq!(hold(1).unwrap_err(), Short { left: NanoUsd::ZERO, needed: NanoUsd(1) });
    assert_eq!(ledger.held(), NanoUsd(1_000));
    drop(first);
    second.settle(NanoUsd(250));
    assert_eq!((ledger.held(), ledger.standing(account()).settled), (NanoUsd::ZERO, NanoUsd(250)));
    assert_eq!(hold(751).unwrap_err().left, NanoUsd(750));
    hold(750).unwrap().settle(NanoUsd(800));
    assert_eq!(
        (ledger.excess(), ledger.standing(account()).settled),
        (50, NanoUsd(1_050)),
        "reported above its bounds"
    );
    assert_eq!(hold(0).unwrap_err().left, NanoUsd(-50), "refused until it is back under its limit");
}

#[test]
fn what_does_not_fit_is_lowered_or_refused() {
    let world = catalog(limited(1_000), Mark::default());
    let ledger = Arc::new(Ledger::new(world.clone()));
    let hold = |tokens, least| ledger.hold(&key(&world), NOW, || sizing(&world, tokens, least));
    let lowered = hold(5_000, 1_000).unwrap();
    assert_eq!((lowered.amount(), lowered.lowered_to()), (NanoUsd(1_000), Some(1_000)));
    drop(lowered);
    assert_eq!(hold(5_000, 1_001).unwrap_err(), Short { left: NanoUsd(1_000), needed: NanoUsd(1_001) });
    let whole = hold(1_000, 1_000).unwrap();
    assert_eq!((whole.amount(), whole.lowered_to(), whole.is_limited()), (NanoUsd(1_000), None, true));
}

#[test]
fn without_a_limit_nothing_is_held_and_spending_counts_all_the_same() {
    let world = catalog(budget(account(), None), Mark::default());
    let (ledger, key) = (Arc::new(Ledger::new(world.clone())), key(&world));
    let hold = ledger.hold(&key, NOW, || panic!("nobody asks what it may cost")).unwrap();
    assert_eq!((hold.amount(), hold.is_limited(), hold.account()), (NanoUsd::ZERO, false, Some(account())));
    hold.settle(NanoUsd(700));
    ledger.rebase(&catalog(limited(1_000), Mark::default()));
    assert_eq!(
        ledger.hold(&key, NOW, || sizing(&world, 301, 301)).unwrap_err().left,
        NanoUsd(300),
        "a limit came later"
    );
}

#[test]
fn past_the_end_of_a_last_period_nothing_may_be_spent() {
    let world = catalog(Budget { ends_at: Some(NOW), ..limited(1_000) }, Mark::default());
    let ledger = Arc::new(Ledger::new(world.clone()));
    assert!(ledger.hold(&key(&world), NOW - 1, || sizing(&world, 1, 1)).is_ok());
    assert_eq!(ledger.hold(&key(&world), NOW, || sizing(&world, 1, 1)).unwrap_err().left, NanoUsd::ZERO);
}

#[test]
fn a_new_period_begins_with_nothing_and_the_old_one_settles_its_own() {
    let period = |number| Account::Quota(id(Fixture::USER), QuotaId::from(uuid::Uuid::from_u128(number)));
    let of = |number| catalog(budget(period(number), Some(NanoUsd(1_000))), Mark::default());
    let (first, second) = (of(1), of(2));
    let (ledger, key) = (Arc::new(Ledger::new(first.clone())), key(&first));
    let hold = || ledger.hold(&key, NOW, || sizing(&first, 1_000, 1_000));
    let late = hold().unwrap();
    ledger.rebase(&second);
    let early = hold().unwrap();
    late.settle(NanoUsd(900));
    assert_eq!((ledger.standing(period(1)).settled, ledger.standing(period(2)).settled), (NanoUsd(900), NanoUsd::ZERO));
    drop(early);
    assert!(hold().is_ok());
}

#[test]
fn a_transaction_that_a_snapshot_has_seen_is_not_added_again() {
    let mark = |offset| Mark { epoch: 1, segment: 0, offset };
    let spent = |amount| Budget { spent: NanoUsd(amount), ..limited(1_000) };
    let world = catalog(spent(0), mark(10));
    let ledger = Arc::new(Ledger::new(world.clone()));
    ledger.hold(&key(&world), NOW, || sizing(&world, 500, 500)).unwrap().settle(NanoUsd(500));
    // Its commit was not answered; the snapshot shows that it had come through.
    ledger.rebase(&catalog(spent(500), mark(20)));
    assert_eq!(ledger.standing(account()).settled, NanoUsd(1_000), "in doubt, rather too much");
    ledger.shipped(mark(20), &by_account(vec![(account(), NanoUsd(500))]));
    assert_eq!(ledger.standing(account()).settled, NanoUsd(500));
    // Taken out of use by hand, as a reset does.
    ledger.rebase(&catalog(spent(0), mark(20)));
    assert_eq!(ledger.standing(account()).settled, NanoUsd::ZERO);
}

#[test]
fn a_provider_whose_quota_is_spent_is_known_at_once_and_free_again_in_its_next_period() {
    let world = |limit: i64, spent: i64, shipped| {
        let mut parts = Fixture::new().parts;
        parts.providers[0].quota = Some(ProviderQuota { limit: NanoUsd(limit), spent: NanoUsd(spent), ends_at: NOW });
        parts.shipped = shipped;
        Arc::new(Catalog::build(parts).unwrap())
    };
    let mark = |offset| Mark { epoch: 1, segment: 0, offset };
    let first = world(100, 60, mark(1));
    let (ledger, provider) = (Ledger::new(first.clone()), first.providers[0].clone());
    assert!(!ledger.is_spent(&provider));
    ledger.spend(&provider, NanoUsd(39));
    assert!(!ledger.is_spent(&provider));
    ledger.spend(&provider, NanoUsd(1));
    assert!(ledger.is_spent(&provider));
    let costs = Shipped { providers: vec![(provider.id, NanoUsd(40))], ..Shipped::default() };
    ledger.shipped(mark(2), &costs);
    assert!(ledger.is_spent(&provider));
    ledger.rebase(&world(100, 0, mark(2)));
    assert!(!ledger.is_spent(&provider), "the period is another");
    assert!(!ledger.is_spent(&crate::catalog::tests::provider(1, "without quota")));
}

/// What may happen to an account.
#[derive(Debug, Clone)]
enum Step {
    Hold { maximum: u64, least: u64 },
    Settle { which: usize, share: u64 },
    Release { which: usize },
    Ship { count: usize },
    Reload,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u64..400, 0u64..400).prop_map(|(a, b)| Step::Hold { maximum: a.max(b), least: a.min(b) }),
        3 => (any::<usize>(), 0u64..=100).prop_map(|(which, share)| Step::Settle { which, share }),
        1 => any::<usize>().prop_map(|which| Step::Release { which }),
        1 => (0usize..4).prop_map(|count| Step::Ship { count }),
        1 => Just(Step::Reload),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    /// The promise: at no instant is more settled and held than may be spent, and whatever fits is served.
    #[test]
    fn a_limit_is_never_overrun(limit in 0i64..2_000, steps in steps()) {
        let world = catalog(limited(limit), Mark::default());
        let (ledger, key) = (Arc::new(Ledger::new(world.clone())), key(&world));
        let (mut open, mut settled, mut shipped, mut waiting) = (Vec::<Hold>::new(), 0, 0, Vec::new());
        let mut mark = Mark::default();
        for step in steps {
            match step {
                Step::Hold { maximum, least } => {
                    let held: i64 = open.iter().map(|hold| hold.amount().0).sum();
                    let left = limit - settled - held;
                    match ledger.hold(&key, NOW, || sizing(&world, maximum, least)) {
                        Ok(hold) => {
                            let granted = hold.lowered_to().unwrap_or(maximum);
                            prop_assert_eq!(hold.amount(), NanoUsd(i64::try_from(granted).unwrap()));
                            prop_assert_eq!(hold.amount().0, left.min(i64::try_from(maximum).unwrap()), "all that fits");
                            open.push(hold);
                        }
                        Err(short) => prop_assert!(
                            short.left.0 == left && i64::try_from(least).unwrap() > left,
                            "refused without need: {:?}", short
                        ),
                    }
                }
                Step::Settle { which, share } if !open.is_empty() => {
                    let hold = open.swap_remove(which % open.len());
                    let cost = hold.amount().0 * i64::try_from(share).unwrap() / 100;
                    settled += cost;
                    waiting.push(cost);
                    hold.settle(NanoUsd(cost));
                }
                Step::Release { which } if !open.is_empty() => drop(open.swap_remove(which % open.len())),
                Step::Ship { count } => {
                    let costs: Vec<_> = waiting.drain(..count.min(waiting.len())).collect();
                    shipped += costs.iter().sum::<i64>();
                    mark.offset += 1;
                    let costs: Vec<_> = costs.into_iter().map(|cost| (account(), NanoUsd(cost))).collect();
                    ledger.shipped(mark, &by_account(costs));
                }
                Step::Reload => ledger.rebase(&catalog(Budget { spent: NanoUsd(shipped), ..limited(limit) }, mark)),
                Step::Settle { .. } | Step::Release { .. } => {}
            }
            let held: i64 = open.iter().map(|hold| hold.amount().0).sum();
            prop_assert_eq!(ledger.standing(account()), Standing { settled: NanoUsd(settled), held: NanoUsd(held) });
            prop_assert_eq!(ledger.held(), NanoUsd(held));
            prop_assert!(settled + held <= limit);
        }
        drop(open);
        prop_assert_eq!(ledger.held(), NanoUsd::ZERO);
        prop_assert_eq!(ledger.excess(), 0);
    }

    /// What is billed within the bounds never exceeds the hold, whatever tier, cache and lifetime it falls in.
    #[test]
    fn a_bill_within_its_bounds_never_exceeds_its_hold(
        prices in prop::collection::vec((0u64..50_000_000_000, 0u64..90_000_000_000), 3),
        own in prop::option::of((0u64..70_000_000_000, 0u64..9_000_000_000)),
        hour in prop::option::of((0u64..70_000_000_000, 0u64..9_000_000_000)),
        edges in (1u64..5_000, 1u64..5_000),
        shares in prop::collection::vec(0u64..5_000, 4),
        output in 0u64..5_000,
        family in prop::sample::select(vec![Family::Anthropic, Family::Chat, Family::Responses, Family::Gemini]),
        one_hour in any::<bool>(),
        per_request in 0i64..1_000_000,
    ) {
        let per_million = |nanos| PerMillion::new(nanos).unwrap();
        let up_to = [Some(edges.0), Some(edges.0 + edges.1), None];
        let tiers = prices.iter().zip(up_to).map(|((input, output), up_to)| Tier {
            up_to,
            input_price_per_1m: per_million(*input),
            output_price_per_1m: per_million(*output),
            cache_creation_price_per_1m: own.map(|(write, _)| per_million(write)),
            cache_read_price_per_1m: own.map(|(_, read)| per_million(read)),
            cache_ttl_pricing: hour.map(|(write, read)| vec![TtlPrice {
                ttl_minutes: 60,
                cache_creation_price_per_1m: Some(per_million(write)),
                cache_read_price_per_1m: Some(per_million(read)),
            }]),
        });
        let mut model = global_model(Fixture::GLOBAL, "big-model");
        model.tiered_pricing = Some(TieredPricing { tiers: tiers.collect() });
        model.price_per_request = Some(NanoUsd(per_request));
        let mut parts = Fixture::new().parts;
        parts.endpoints[0].api_format = match family {
            Family::Anthropic => crate::format::ApiFormat::Claude,
            Family::Chat => crate::format::ApiFormat::OpenAi,
            Family::Responses => crate::format::ApiFormat::OpenAiCli,
            Family::Gemini => crate::format::ApiFormat::Gemini,
        };
        let world = Catalog::build(parts).unwrap();
        let routes = world.routes(id(Fixture::GLOBAL));
        let defaults = PriceDefaults::default();
        let cache = CacheUse { marked: true, ttl_minutes: if one_hour { 60 } else { 5 } };
        // Only Anthropic tells lifetimes apart, and writes for an hour only when it is asked to.
        let for_an_hour = if one_hour && family == Family::Anthropic { shares[3] } else { 0 };
        let tokens = TokenCounts {
            input: shares[0], cache_read: shares[1], cache_write_5m: shares[2], cache_write_1h: for_an_hour, output,
            reasoning: 0,
        };
        let sizing = Sizing::new(&model, routes.iter(), &defaults, cache, tokens.context(), ONE);
        let price = EffectivePrice::of(&model, &routes[0].model);
        let rate = (BillingType::PayAsYouGo, Factor::ONE);
        let bill = bill(&tokens, &price, cache.ttl_minutes, family, &defaults, rate, true).unwrap();
        prop_assert!(bill.list.total <= sizing.cost(output), "{:?} > {:?}", bill.list, sizing.cost(output));
    }

    /// The lowered maximum is the largest that fits.
    #[test]
    fn lowering_takes_no_more_than_it_must(left in 0i64..2_000, maximum in 0u64..1_000, least in 0u64..1_000) {
        let world = catalog(limited(0), Mark::default());
        let mut sizing = sizing(&world, maximum, least);
        sizing.output.choices = 3;
        match sizing.fitting(NanoUsd(left)) {
            Some((fits, cost)) => {
                prop_assert!(least <= fits && fits <= maximum && cost <= NanoUsd(left));
                prop_assert!(fits == maximum || sizing.cost(fits + 1) > NanoUsd(left));
            }
            None => prop_assert!(least > maximum || sizing.cost(least) > NanoUsd(left)),
        }
    }
}

/// Worked out by hand: $3 and $15 up to 200,000 tokens of context, $6 and $22.50 above; writes $3.75, for an hour $6; reads
/// $0.30, after an hour's write $0.50; a cent per request.
#[test]
fn bills_on_every_wire() {
    let with_cache = |tier: Tier| Tier {
        cache_creation_price_per_1m: Some("3.75".parse().unwrap()),
        cache_read_price_per_1m: Some("0.30".parse().unwrap()),
        cache_ttl_pricing: Some(vec![TtlPrice {
            ttl_minutes: 60,
            cache_creation_price_per_1m: Some("6".parse().unwrap()),
            cache_read_price_per_1m: Some("0.50".parse().unwrap()),
        }]),
        ..tier
    };
    let mut global = global_model(1, "m");
    let tiers = vec![with_cache(tier(Some(200_000), "3", "15")), with_cache(tier(None, "6", "22.5"))];
    global.tiered_pricing = Some(TieredPricing { tiers });
    global.price_per_request = Some(usd("0.01"));
    let model = crate::catalog::tests::model(2, 3, 1, "m");
    let price = EffectivePrice::of(&global, &model);
    let vector = |cache_write_5m, cache_write_1h| TokenCounts {
        input: 1_000,
        cache_read: 10_000,
        cache_write_5m,
        cache_write_1h,
        output: 300,
        reasoning: 100,
    };
    let long = TokenCounts { input: 200_001, output: 300, ..TokenCounts::default() };
    let edge = TokenCounts { input: 200_000, ..long };
    let paid = (BillingType::PayAsYouGo, Factor::ONE);
    let half = (BillingType::PayAsYouGo, "0.5".parse().unwrap());
    let nothing = (BillingType::PayAsYouGo, Factor::ZERO);
    let free = (BillingType::FreeTier, Factor::ONE);
    use Family::{Anthropic, Chat, Gemini, Responses};
    for (name, family, ttl, tokens, rate, delivered, list, actual) in [
        // 0.003 + 0.0045 + (0.0075 + 0.003) + 0.003 + 0.01
        ("both writes", Anthropic, 5, vector(2_000, 500), paid, true, "0.031", "0.031"),
        ("reads of an hour's cache", Anthropic, 60, vector(2_000, 500), paid, true, "0.033", "0.033"),
        ("nothing handed on", Anthropic, 5, vector(2_000, 500), paid, false, "0.021", "0.021"),
        ("a reported write", Chat, 5, vector(2_000, 0), paid, true, "0.028", "0.028"),
        ("a reported write", Responses, 5, vector(2_000, 0), half, true, "0.028", "0.014"),
        ("no writes", Gemini, 5, vector(0, 0), nothing, true, "0.0205", "0"),
        ("a free tier", Gemini, 5, vector(0, 0), free, true, "0.0205", "0"),
        ("the last token of the lower tier", Chat, 5, edge, paid, true, "0.6145", "0.6145"),
        ("the first of the upper one", Chat, 5, long, paid, true, "1.216756", "1.216756"),
    ] {
        let bill = bill(&tokens, &price, ttl, family, &PriceDefaults::default(), rate, delivered).unwrap();
        assert_eq!((bill.list.total, bill.actual.total), (usd(list), usd(actual)), "{name} {family:?}");
    }
}

#[test]
fn a_hold_is_priced_at_the_dearest_that_could_serve() {
    let mut parts = Fixture::new().parts;
    // A second provider asks twice as much for output.
    parts.providers.push(crate::catalog::tests::provider(30, "dear"));
    parts.endpoints.push(crate::catalog::tests::endpoint(31, 30, crate::format::ApiFormat::OpenAi));
    parts.provider_keys.push(crate::catalog::tests::provider_key(32, 31));
    let mut dear = crate::catalog::tests::model(33, 30, Fixture::GLOBAL, "m");
    dear.tiered_pricing = Some(TieredPricing { tiers: vec![tier(Some(1_000), "3", "30"), tier(None, "6", "30")] });
    parts.models.push(dear);
    let world = Catalog::build(parts).unwrap();
    let model = priced("3", "15");
    let cache = CacheUse { marked: false, ttl_minutes: 5 };
    for (prompt, maximum, want) in [
        (1_000, 100, usd("0.006") + NanoUsd(2)),    // 1,000 × $3 + 100 × $30 per million
        (1_001, 100, usd("0.009006") + NanoUsd(2)), // the second tier: 1,001 × $6
        (1_000, 0, usd("0.003") + NanoUsd(2)),
    ] {
        let routes = world.routes(id(Fixture::GLOBAL));
        let sizing = Sizing::new(&model, routes.iter(), &PriceDefaults::default(), cache, prompt, ONE);
        assert_eq!(sizing.cost(maximum), want, "{prompt} {maximum}");
    }
}
