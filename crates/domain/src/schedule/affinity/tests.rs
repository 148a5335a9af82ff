use super::*;
use crate::catalog::tests::id;
use proptest::prelude::*;

const MIN: i64 = MINUTE_US;

fn of(client: u128, hash: u64) -> Conversation {
    Conversation { client: id(client), hash }
}

fn served(target: u128, cache_tokens: u64) -> Served {
    Served { target: id(target), ttl_minutes: 5, cache_tokens, reports: true }
}

#[test]
fn a_record_lives_as_long_as_its_cache_is_seen() {
    let mut table = Table::default();
    table.served(of(1, 1), &served(7, 0), 0);
    assert_eq!(table.get(of(1, 1), 0).map(|record| record.target), Some(id(7)), "a first success is written");
    table.served(of(1, 1), &served(7, 0), MIN);
    assert_eq!(table.get(of(1, 1), 5 * MIN), None, "no cache was seen: not refreshed");

    table.served(of(1, 1), &served(7, 10), 0);
    table.served(of(1, 1), &served(7, 900), MIN);
    let record = table.get(of(1, 1), 6 * MIN - 1).unwrap();
    assert_eq!((record.written_us, record.cache_tokens), (MIN, 900));
    assert_eq!((table.get(of(1, 1), 6 * MIN), table.len()), (None, 0));

    table.served(of(1, 1), &Served { reports: false, ..served(7, 0) }, 0);
    table.served(of(1, 1), &Served { reports: false, ..served(7, 0) }, MIN);
    assert!(table.get(of(1, 1), 6 * MIN - 1).is_some(), "a wire that does not report counts as seen");

    table.served(of(1, 1), &Served { ttl_minutes: 60, ..served(8, 10) }, 2 * MIN);
    assert_eq!(table.get(of(1, 1), 61 * MIN).map(|record| record.target), Some(id(8)), "an hour's cache, elsewhere");
    table.served(of(1, 2), &Served { ttl_minutes: 0, ..served(8, 10) }, 0);
    assert_eq!(table.get(of(1, 2), 0), None, "0 minutes: no affinity");
}

#[test]
fn the_least_recently_used_goes_first() {
    let mut table = Table::bounded(5, 3);
    for hash in 0..3 {
        table.served(of(1, hash), &served(7, 10), 0);
    }
    table.get(of(1, 0), 0);
    table.served(of(1, 3), &served(7, 10), 0);
    assert_eq!(table.get(of(1, 1), 0), None, "a client's own bound takes its own oldest");
    for hash in 0..3 {
        table.served(of(2, hash), &served(7, 10), 0);
    }
    assert_eq!(table.len(), 5);
    assert_eq!(table.get(of(1, 2), 0), None, "the whole's bound takes the oldest of all");
    assert!(table.get(of(1, 0), 0).is_some() && table.get(of(1, 3), 0).is_some());
}

#[test]
fn a_cache_is_worth_what_writing_it_again_costs_more_than_reading_it() {
    use crate::{
        catalog::tests::{Fixture, pricing},
        format::ApiFormat,
    };
    let mut fixture = Fixture::new();
    fixture.parts.endpoints[0].api_format = ApiFormat::Claude;
    fixture.parts.global_models[0].tiered_pricing = Some(pricing("3", "15"));
    let catalog = fixture.build();
    let model = &catalog.global_models[&id(Fixture::GLOBAL)];
    let route = &catalog.routes(model.id)[0];
    let weigh = |cache_tokens, ttl_minutes, wait_us| {
        let record = Record { target: route.key.id, written_us: 0, expires_us: 0, cache_tokens, ttl_minutes };
        Economy::weigh(&record, model, route, route, &catalog.settings.price_defaults, wait_us)
    };
    // 100,000 tokens: written for 0.375, read for 0.03 dollars; a second counts as a cent.
    let large = weigh(100_000, 5, 2_000_000);
    assert_eq!((large.worth, large.wait), (NanoUsd(345_000_000), NanoUsd(20_000_000)));
    assert_eq!((large.patience_us, large.stays()), (34_500_000, true));
    // 1,000 tokens are worth a third of a second.
    let small = weigh(1_000, 5, 1_000_000);
    assert_eq!((small.worth, small.patience_us, small.stays()), (NanoUsd(3_450_000), 345_000, false));
    assert_eq!(weigh(1_000, 60, 0).worth, NanoUsd(5_700_000), "an hour's cache costs twice the input");
}

proptest! {
    /// Against a table that looks at every record.
    #[test]
    fn the_bounds_hold_and_nothing_else_is_lost(steps in prop::collection::vec((1u128..4, 0u64..6, any::<bool>()), 1..200)) {
        let mut table = Table::bounded(6, 3);
        let mut model: Vec<Conversation> = Vec::new(); // oldest use first
        for (client, hash, write) in steps {
            let key = of(client, hash);
            let known = model.contains(&key);
            if write {
                table.served(key, &served(7, 1), 0);
                if !known && model.iter().filter(|other| other.client == key.client).count() == 3 {
                    let oldest = model.iter().position(|other| other.client == key.client).unwrap();
                    model.remove(oldest);
                }
                if !known && model.len() == 6 {
                    model.remove(0);
                }
            } else {
                prop_assert_eq!(table.get(key, 0).is_some(), known);
            }
            if known || write {
                model.retain(|other| *other != key);
                model.push(key);
            }
            prop_assert_eq!(table.len(), model.len());
        }
        for key in model {
            prop_assert!(table.get(key, 0).is_some());
        }
    }
}
