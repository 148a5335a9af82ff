use super::*;
use crate::catalog::{
    TieredPricing, TtlPrice,
    tests::{global_model, model},
};
use proptest::prelude::*;

fn price(text: &str) -> PerMillion {
    text.parse().unwrap()
}

fn usd(text: &str) -> NanoUsd {
    text.parse().unwrap()
}

fn tier(up_to: Option<u64>, input: &str, output: &str) -> Tier {
    Tier {
        up_to,
        input_price_per_1m: price(input),
        output_price_per_1m: price(output),
        cache_creation_price_per_1m: None,
        cache_read_price_per_1m: None,
        cache_ttl_pricing: None,
    }
}

fn cost(tiers: Vec<Tier>, family: Family, ttl: u32, tokens: &TokenCounts) -> Cost {
    let mut global = global_model(1, "m");
    global.tiered_pricing = Some(TieredPricing { tiers });
    let serving = model(2, 3, 1, "m");
    let effective = EffectivePrice::of(&global, &serving);
    let units = effective.units(tokens.context(), ttl, family, &PriceDefaults::default()).unwrap();
    list_cost(tokens, &units, true).unwrap()
}

#[test]
fn worked_examples() {
    let tokens = TokenCounts {
        input: 1_000,
        cache_read: 10_000,
        cache_write_5m: 2_000,
        cache_write_1h: 500,
        output: 300,
        reasoning: 100,
    };
    // Anthropic ratios at $3 / $15: 0.003 + 0.0045 + (2000 × 3.75 + 500 × 6) / 10⁶ + 10000 × 0.3 / 10⁶.
    let plain = cost(vec![tier(None, "3", "15")], Family::Anthropic, 5, &tokens);
    assert_eq!((plain.input, plain.output), (usd("0.003"), usd("0.0045")));
    assert_eq!((plain.cache_creation, plain.cache_read), (usd("0.0105"), usd("0.003")));
    assert_eq!(plain.total, usd("0.021"));

    // Elsewhere a cache without a price of its own costs what input costs.
    let elsewhere = cost(vec![tier(None, "3", "15")], Family::Chat, 5, &tokens);
    assert_eq!((elsewhere.cache_creation, elsewhere.cache_read), (usd("0.0075"), usd("0.03")));

    // Prices by lifetime: the 60-minute entry prices 1-hour writes, and reads of a request that asked for it.
    let mut by_ttl = tier(None, "3", "15");
    by_ttl.cache_creation_price_per_1m = Some(price("4"));
    by_ttl.cache_ttl_pricing = Some(vec![TtlPrice {
        ttl_minutes: 60,
        cache_creation_price_per_1m: Some(price("8")),
        cache_read_price_per_1m: Some(price("1")),
    }]);
    let hour = cost(vec![by_ttl.clone()], Family::Anthropic, 60, &tokens);
    assert_eq!((hour.cache_creation, hour.cache_read), (usd("0.012"), usd("0.01")));
    let five = cost(vec![by_ttl], Family::Anthropic, 5, &tokens);
    assert_eq!(five.cache_read, usd("0.003"));
}

#[test]
fn the_whole_request_is_priced_at_the_tier_of_its_context() {
    let tiers = || vec![tier(Some(1_000), "1", "2"), tier(None, "10", "20")];
    let at = |input, cache_read| TokenCounts { input, cache_read, output: 1_000_000, ..TokenCounts::default() };
    assert_eq!(cost(tiers(), Family::Gemini, 5, &at(1_000, 0)).output, usd("2"), "the edge belongs to the lower tier");
    assert_eq!(cost(tiers(), Family::Gemini, 5, &at(999, 2)).output, usd("20"), "cached tokens count");
}

#[test]
fn prices_inherit_each_on_its_own() {
    let mut global = global_model(1, "m");
    global.price_per_request = Some(usd("0.01"));
    let mut serving = model(2, 3, 1, "m");
    serving.tiered_pricing = Some(TieredPricing { tiers: vec![tier(None, "7", "8")] });
    let units = |global: &_, serving: &_| {
        EffectivePrice::of(global, serving).units(1, 5, Family::Chat, &PriceDefaults::default()).unwrap()
    };
    assert_eq!((units(&global, &serving).input, units(&global, &serving).per_request), (price("7"), usd("0.01")));
    serving.price_per_request = Some(NanoUsd::ZERO);
    assert_eq!(units(&global, &serving).per_request, NanoUsd::ZERO, "0 is a price");
}

#[test]
fn a_free_tier_costs_the_operator_nothing_and_an_undelivered_answer_no_request_price() {
    let units = UnitPrices { output: price("15"), per_request: usd("0.5"), ..UnitPrices::default() };
    let tokens = TokenCounts { output: 1_000_000, ..TokenCounts::default() };
    let list = list_cost(&tokens, &units, false).unwrap();
    assert_eq!(list.total, usd("15"));
    assert_eq!(list.actual(Factor::ZERO).unwrap().total, NanoUsd::ZERO);
    assert_eq!(list_cost(&tokens, &units, true).unwrap().actual("0.5".parse().unwrap()).unwrap().total, usd("7.75"));
}

fn counts() -> impl Strategy<Value = TokenCounts> {
    let n = 0u64..5_000_000;
    (n.clone(), n.clone(), n.clone(), n.clone(), n).prop_map(
        |(input, cache_read, cache_write_5m, cache_write_1h, output)| TokenCounts {
            input,
            cache_read,
            cache_write_5m,
            cache_write_1h,
            output,
            reasoning: 0,
        },
    )
}

proptest! {
    #[test]
    fn the_total_is_the_sum_of_its_parts(tokens in counts(), millionths in 0u32..2_000_000) {
        let list = cost(vec![tier(None, "3.000000001", "15")], Family::Anthropic, 5, &tokens);
        for cost in [list, list.actual(Factor::from_millionths(millionths).unwrap()).unwrap()] {
            prop_assert_eq!(cost.total.0, cost.input.0 + cost.output.0 + cost.cache_creation.0 + cost.cache_read.0 + cost.request.0);
        }
    }

    #[test]
    fn more_tokens_in_a_tier_never_cost_less(tokens in counts(), more in counts()) {
        let both = TokenCounts {
            input: tokens.input + more.input,
            cache_read: tokens.cache_read + more.cache_read,
            cache_write_5m: tokens.cache_write_5m + more.cache_write_5m,
            cache_write_1h: tokens.cache_write_1h + more.cache_write_1h,
            output: tokens.output + more.output,
            reasoning: 0,
        };
        for family in [Family::Anthropic, Family::Chat] {
            let of = |tokens| cost(vec![tier(None, "3.3", "15.7")], family, 5, tokens).total;
            prop_assert!(of(&tokens) <= of(&both));
        }
    }
}
