//! What an earlier process left.

use super::world::{World, counters, expected, open};
use crate::{
    journal::SEGMENT_BYTES,
    sample,
    settle::{Recovered, recover},
};
use domain::{
    catalog::Catalog,
    format::{Status, UsageSource},
    money::NanoUsd,
    ports::Recorder as _,
};
use testkit::servers::Home;

testkit::on_both![
    an_epoch_is_never_taken_twice_even_if_the_directory_was_emptied,
    interrupted_requests_are_charged_with_what_was_relayed_or_released,
    a_price_that_has_changed_since_does_not_change_what_was_relayed,
    an_ending_that_only_the_journal_lost_is_not_replaced,
    an_open_request_keeps_its_segment_until_it_is_recovered,
];

async fn an_epoch_is_never_taken_twice_even_if_the_directory_was_emptied(home: Home) {
    let world = World::new(home).await;
    world.settle(sample::settled(1)).await;
    world.ship().await;
    let first = world.journal().epoch().number;
    let World { home: _home, store, opening } = world;
    drop(opening);
    std::fs::remove_dir_all(store.data_dir().journal()).unwrap();
    let opening = store.open_journal().await.unwrap();
    assert!(opening.journal.epoch().number > first);
}

async fn interrupted_requests_are_charged_with_what_was_relayed_or_released(home: Home) {
    let world = World::new(home).await;
    for number in 1..=3 {
        world.journal().opened(sample::opened(number)).await.unwrap();
        world.journal().attempt(sample::attempt(number));
    }
    world.journal().progress(sample::progress(1));
    world.settle(sample::settled(3)).await;

    let mut world = world.restart().await;
    let interrupted = std::mem::take(&mut world.opening.interrupted);
    assert_eq!(interrupted.len(), 2);
    let recovered = recover(world.store.db(), world.journal(), &world.catalog().await, interrupted).await.unwrap();
    assert_eq!(recovered, Recovered { charged: 1, released: 1, settled_before: 0 });
    world.ship().await;

    let charged = world.row(1).await.unwrap();
    assert_eq!((charged.status, charged.usage_source), (Status::Failed, UsageSource::Estimated));
    assert_eq!(charged.error_type.as_deref(), Some("interrupted"));
    assert_eq!((charged.tokens, charged.cost), (sample::tokens(), sample::cost()));
    assert_eq!((charged.prices, charged.delivered), (sample::prices(), true));
    assert_eq!(charged.actual, sample::cost().actual(sample::half()).unwrap());
    assert_eq!((charged.provider.as_str(), charged.provider_id), ("acme", Some(sample::provider())));
    assert_eq!(charged.price_version_id, sample::progress(1).price_version_id);

    let released = world.row(2).await.unwrap();
    assert_eq!((released.status, released.usage_source), (Status::Failed, UsageSource::None));
    assert_eq!((released.cost.total, released.delivered), (NanoUsd::ZERO, false));
    assert_eq!(released.provider, "acme", "the last one that was tried");
    let cost = world.int("SELECT total_usd AS n FROM users").await;
    assert_eq!(cost, 2 * sample::cost().total.0, "the one that was settled, and the one that was charged");

    // Two attempts of the settled one, one that had failed of each of the others, and the one that was answering.
    let attempts = "SELECT attempts AS n FROM limit_windows WHERE period = 'day'";
    assert_eq!(world.int(attempts).await, 2 + 2 + 1);

    let world = world.restart().await;
    assert_eq!(world.opening.interrupted, []);
}

async fn a_price_that_has_changed_since_does_not_change_what_was_relayed(home: Home) {
    let world = World::new(home).await;
    world.journal().opened(sample::opened(1)).await.unwrap();
    world.journal().progress(sample::progress(1));
    let mut world = world.restart().await;
    let interrupted = std::mem::take(&mut world.opening.interrupted);
    let catalog = Catalog::default();
    recover(world.store.db(), world.journal(), &catalog, interrupted).await.unwrap();
    world.ship().await;
    let row = world.row(1).await.unwrap();
    assert_eq!(row.cost, sample::cost());
    let derived = domain::price::list_cost(&row.tokens, &row.prices, row.delivered).unwrap();
    assert_eq!(derived, row.cost, "the bill follows from its row");
    assert_eq!(row.provider_api_key_id, Some(sample::provider_key()));
}

async fn an_ending_that_only_the_journal_lost_is_not_replaced(home: Home) {
    let world = World::new(home).await;
    world.journal().opened(sample::opened(1)).await.unwrap();
    let before = world.journal().end();
    world.settle(sample::settled(1)).await;
    world.ship().await;
    // A power cut takes what was not synced yet.
    let path = world.store.data_dir().journal().join(before.segment.file_name());
    let World { home, store, opening } = world;
    drop(opening);
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(before.offset).unwrap();
    let opening = open(&store, SEGMENT_BYTES).await;
    let mut world = World { home, store, opening };
    let interrupted = std::mem::take(&mut world.opening.interrupted);
    assert_eq!(interrupted.len(), 1);
    let recovered = recover(world.store.db(), world.journal(), &world.catalog().await, interrupted).await.unwrap();
    assert_eq!(recovered, Recovered { charged: 0, released: 0, settled_before: 1 });
    world.ship().await;
    assert_eq!(world.row(1).await, Some(sample::settled(1).usage));
    assert_eq!(counters(&world).await, expected(1, 0));
    assert_eq!(world.segments(), 1, "nothing keeps the old segment");
    assert_eq!(world.restart().await.opening.interrupted, []);
}

async fn an_open_request_keeps_its_segment_until_it_is_recovered(home: Home) {
    let world = World::new(home).await;
    world.journal().opened(sample::opened(1)).await.unwrap();
    world.settle(sample::settled(2)).await;
    // This process ships, and ends before it recovers.
    let world = world.restart().await;
    world.ship().await;
    let world = world.restart().await;
    assert_eq!(world.opening.interrupted.len(), 1);
    assert_eq!(counters(&world).await, expected(1, 0));
}
